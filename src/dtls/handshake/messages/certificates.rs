//! The messages that carry and prove certificates (RFC 5246 sections 7.4.2, 7.4.4, 7.4.6 and 7.4.8, RFC 8422 section 5,
//! RFC 7250).

use super::{
    CERTIFICATE, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, CLIENT_KEY_EXCHANGE, NAMED_CURVE, RANDOM_LEN,
    Reader, SECP256R1, SERVER_KEY_EXCHANGE, message,
};
use crate::dtls::crypto::{POINT_LEN, SignatureHash};
use crate::dtls::handshake::Fault;
use crate::dtls::handshake::secrets::Randoms;

/// A signature as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    pub hash: SignatureHash,
    pub bytes: &'a [u8],
}

/// A ServerKeyExchange that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedExchange<'a> {
    /// What the signature covers beside the randoms.
    parameters: &'a [u8],
    pub point: &'a [u8],
    pub signature: Signature<'a>,
}

/// A whole Certificate message; without any certificate it says that there is none.
pub fn certificate(seq: u16, chain: &[Vec<u8>]) -> Vec<u8> {
    message(CERTIFICATE, seq, |body| {
        let len: usize = chain.iter().map(|certificate| 3 + certificate.len()).sum();
        push_u24(len, body);
        for certificate in chain {
            push_u24(certificate.len(), body);
            body.extend_from_slice(certificate);
        }
    })
}

/// A whole Certificate message with a public key alone (RFC 7250 section 3).
pub fn raw_key(seq: u16, public_key_info: &[u8]) -> Vec<u8> {
    message(CERTIFICATE, seq, |body| {
        push_u24(public_key_info.len(), body);
        body.extend_from_slice(public_key_info);
    })
}

/// A whole CertificateRequest message. The authorities stay unnamed: a device has one certificate, and the list may be
/// empty (RFC 5246 section 7.4.4).
pub fn certificate_request(seq: u16) -> Vec<u8> {
    message(CERTIFICATE_REQUEST, seq, |body| {
        body.extend_from_slice(&[1, ECDSA_SIGN]);
        body.extend_from_slice(&((2 * SIGNATURE_SCHEMES.len()) as u16).to_be_bytes());
        for scheme in SIGNATURE_SCHEMES {
            body.extend_from_slice(&scheme.to_be_bytes());
        }
        body.extend_from_slice(&[0, 0]);
    })
}

/// A whole ServerKeyExchange message: our point on P-256, and what `sign` makes of it.
pub fn signed_exchange(
    seq: u16,
    randoms: &Randoms,
    point: &[u8; POINT_LEN],
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    message(SERVER_KEY_EXCHANGE, seq, |body| {
        let start = body.len();
        body.push(NAMED_CURVE);
        body.extend_from_slice(&SECP256R1.to_be_bytes());
        body.push(POINT_LEN as u8);
        body.extend_from_slice(point);
        let signature = sign(&signed_part(randoms, &body[start..]));
        push_signature(&signature, body);
    })
}

/// A whole ClientKeyExchange message: our point (RFC 8422 section 5.7).
pub fn client_point(seq: u16, point: &[u8; POINT_LEN]) -> Vec<u8> {
    message(CLIENT_KEY_EXCHANGE, seq, |body| {
        body.push(POINT_LEN as u8);
        body.extend_from_slice(point);
    })
}

/// A whole CertificateVerify message.
pub fn certificate_verify(seq: u16, signature: &[u8]) -> Vec<u8> {
    message(CERTIFICATE_VERIFY, seq, |body| push_signature(signature, body))
}

/// The certificates of a Certificate message.
pub fn parse_certificate(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(Reader(body).only(Reader::vec24)?);
    let mut chain = Vec::new();
    while !list.0.is_empty() {
        chain.push(
            list.vec24()
                .filter(|certificate| !certificate.is_empty())?
                .to_vec(),
        );
    }
    Some(chain)
}

/// The public key of a Certificate message that has one alone.
pub fn parse_raw_key(body: &[u8]) -> Option<&[u8]> {
    Reader(body).only(Reader::vec24)
}

/// Checks that a CertificateRequest is one that we can serve.
pub fn parse_certificate_request(body: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader(body);
    let mut read = || Some((reader.vec8()?, reader.vec16()?, reader.vec16()?));
    let (types, schemes, _authorities) = read().ok_or(Fault::MALFORMED)?;
    if !reader.0.is_empty() || !schemes.len().is_multiple_of(2) {
        return Err(Fault::MALFORMED);
    }
    let ours = ECDSA_SHA256.to_be_bytes();
    if types.contains(&ECDSA_SIGN) && schemes.chunks_exact(2).any(|scheme| scheme == ours) {
        Ok(())
    } else {
        Err(Fault::NO_COMMON_SUITE)
    }
}

/// A signed ServerKeyExchange.
pub fn parse_signed_exchange(body: &[u8]) -> Result<SignedExchange<'_>, Fault> {
    let mut reader = Reader(body);
    // RFC 8422 section 5.4 has no other types of curves left.
    let curve = reader.u8().zip(reader.u16()).ok_or(Fault::MALFORMED)?;
    if curve != (NAMED_CURVE, SECP256R1) {
        return Err(Fault::ILLEGAL_PARAMETER);
    }
    let point = reader.vec8().ok_or(Fault::MALFORMED)?;
    let parameters = &body[..body.len() - reader.0.len()];
    Ok(SignedExchange {
        parameters,
        point,
        signature: parse_signature(reader)?,
    })
}

/// The point of a ClientKeyExchange.
pub fn parse_client_point(body: &[u8]) -> Option<&[u8]> {
    Reader(body).only(Reader::vec8)
}

/// The signature of a CertificateVerify.
pub fn parse_certificate_verify(body: &[u8]) -> Result<Signature<'_>, Fault> {
    parse_signature(Reader(body))
}

impl SignedExchange<'_> {
    /// What the signature is over.
    pub fn signed(&self, randoms: &Randoms) -> Vec<u8> {
        signed_part(randoms, self.parameters)
    }
}

//= RFC 8422 section 5.4
//# signed_params: A hash of the params, with the signature appropriate to that hash applied.
// And of both randoms before them (RFC 5246 section 7.4.3).
fn signed_part(randoms: &Randoms, parameters: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(2 * RANDOM_LEN + parameters.len());
    signed.extend_from_slice(&randoms.client);
    signed.extend_from_slice(&randoms.server);
    signed.extend_from_slice(parameters);
    signed
}

fn parse_signature(mut reader: Reader<'_>) -> Result<Signature<'_>, Fault> {
    let scheme = reader.u16().ok_or(Fault::MALFORMED)?;
    let bytes = reader.only(Reader::vec16).ok_or(Fault::MALFORMED)?;
    //= RFC 5246 section 7.4.8
    //# The hash and signature algorithms used in the signature MUST be one of those present in the
    //# supported_signature_algorithms field of the CertificateRequest message.
    let hash = match scheme {
        ECDSA_SHA256 => SignatureHash::Sha256,
        ECDSA_SHA384 => SignatureHash::Sha384,
        _ => return Err(Fault::ILLEGAL_PARAMETER),
    };
    Ok(Signature { hash, bytes })
}

fn push_signature(signature: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&ECDSA_SHA256.to_be_bytes());
    out.extend_from_slice(&(signature.len() as u16).to_be_bytes());
    out.extend_from_slice(signature);
}

fn push_u24(value: usize, out: &mut Vec<u8>) {
    let [_, a, b, c] = (value as u32).to_be_bytes();
    out.extend_from_slice(&[a, b, c]);
}

/// The type of a client's certificate that can sign with ECDSA (RFC 8422 section 5.5).
const ECDSA_SIGN: u8 = 64;
/// ECDSA with SHA-256 (`ecdsa_secp256r1_sha256` in later registries).
pub const ECDSA_SHA256: u16 = 0x0403;
const ECDSA_SHA384: u16 = 0x0503;
/// What we verify. The three with RSA are for signatures in chains alone (RFC 5246 section 7.4.4): no key of a device can
/// make one, by the type of certificate asked for.
pub const SIGNATURE_SCHEMES: [u16; 5] = [ECDSA_SHA256, ECDSA_SHA384, 0x0401, 0x0501, 0x0601];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dtls::handshake::messages::MESSAGE_HEADER_LEN;

    #[test]
    fn rfc5246_7_4_2_a_certificate_message_is_a_list_of_certificates() {
        let written = certificate(2, &[vec![1, 2, 3], vec![4]]);
        #[rustfmt::skip]
        assert_eq!(written, [
            11, 0, 0, 13, 0, 2, 0, 0, 0, 0, 0, 13,
            0, 0, 10,
            0, 0, 3, 1, 2, 3,
            0, 0, 1, 4,
        ]);
        let body = &written[MESSAGE_HEADER_LEN..];
        assert_eq!(parse_certificate(body), Some(vec![vec![1, 2, 3], vec![4]]));
        for len in 0..body.len() {
            assert_eq!(parse_certificate(&body[..len]), None, "{len}");
        }
        assert_eq!(parse_certificate(&[0, 0, 0]), Some(Vec::new()), "none at all");
        assert_eq!(parse_certificate(&[0, 0, 3, 0, 0, 0]), None, "an empty one");
        assert_eq!(parse_certificate(&[0, 0, 0, 0]), None, "something behind");
    }

    #[test]
    fn rfc7250_3_a_raw_key_stands_alone() {
        let written = raw_key(2, &[9, 9]);
        assert_eq!(written[MESSAGE_HEADER_LEN..], [0, 0, 2, 9, 9]);
        assert_eq!(parse_raw_key(&[0, 0, 2, 9, 9]), Some(&[9, 9][..]));
        assert_eq!(parse_raw_key(&[0, 0, 2, 9, 9, 9]), None);
    }

    #[test]
    fn rfc8422_5_5_a_request_asks_for_ecdsa() {
        let written = certificate_request(3);
        #[rustfmt::skip]
        assert_eq!(written[MESSAGE_HEADER_LEN..], [
            1, 64,
            0, 10, 4, 3, 5, 3, 4, 1, 5, 1, 6, 1,
            0, 0,
        ]);
        let cases: [(&[u8], Result<(), Fault>); 6] = [
            (&written[MESSAGE_HEADER_LEN..], Ok(())),
            (&[2, 1, 64, 0, 2, 4, 3, 0, 4, 0, 2, 48, 0], Ok(())),
            (&[1, 1, 0, 2, 4, 3, 0, 0], Err(Fault::NO_COMMON_SUITE)),
            (&[1, 64, 0, 2, 4, 1, 0, 0], Err(Fault::NO_COMMON_SUITE)),
            (&[1, 64, 0, 3, 4, 3, 0, 0, 0], Err(Fault::MALFORMED)),
            (&[1, 64, 0, 2, 4, 3, 0, 0, 0], Err(Fault::MALFORMED)),
        ];
        for (body, expected) in cases {
            assert_eq!(parse_certificate_request(body), expected, "{body:02x?}");
        }
    }

    #[test]
    fn rfc8422_5_4_a_signed_exchange_covers_randoms_and_parameters() {
        let randoms = Randoms {
            client: [1; RANDOM_LEN],
            server: [2; RANDOM_LEN],
        };
        let point = [4; POINT_LEN];
        let mut covered = Vec::new();
        let written = signed_exchange(2, &randoms, &point, |signed| {
            covered = signed.to_vec();
            vec![7, 8]
        });
        let body = &written[MESSAGE_HEADER_LEN..];
        let parameters = [&[3, 0, 23, 65][..], &point].concat();
        assert_eq!(covered, [&[1; 32][..], &[2; 32], &parameters].concat());
        assert_eq!(body, [&parameters[..], &[4, 3, 0, 2, 7, 8]].concat());

        let read = parse_signed_exchange(body).unwrap();
        assert_eq!((read.point, read.signature.bytes), (&point[..], &[7, 8][..]));
        assert_eq!(read.signed(&randoms), covered);
        for len in 0..body.len() {
            assert_eq!(
                parse_signed_exchange(&body[..len]),
                Err(Fault::MALFORMED),
                "{len}"
            );
        }
        for (index, value) in [(0, 1), (2, 24), (69, 1), (70, 1)] {
            let mut other = body.to_vec();
            other[index] = value;
            assert_eq!(
                parse_signed_exchange(&other),
                Err(Fault::ILLEGAL_PARAMETER),
                "{index}"
            );
        }
    }

    #[test]
    fn rfc5246_7_4_8_a_signature_names_a_scheme_that_was_asked_for() {
        let written = certificate_verify(5, &[7]);
        assert_eq!(written[MESSAGE_HEADER_LEN..], [4, 3, 0, 1, 7]);
        let hash = |body: &[u8]| parse_certificate_verify(body).map(|signature| signature.hash);
        assert_eq!(hash(&[4, 3, 0, 1, 7]), Ok(SignatureHash::Sha256));
        assert_eq!(hash(&[5, 3, 0, 1, 7]), Ok(SignatureHash::Sha384));
        assert_eq!(hash(&[2, 3, 0, 1, 7]), Err(Fault::ILLEGAL_PARAMETER), "SHA-1");
        assert_eq!(hash(&[4, 1, 0, 1, 7]), Err(Fault::ILLEGAL_PARAMETER), "RSA");
        assert_eq!(hash(&[4, 3, 0, 2, 7]), Err(Fault::MALFORMED));
        assert_eq!(hash(&[4, 3, 0, 1, 7, 7]), Err(Fault::MALFORMED));
    }

    proptest! {
        #[test]
        fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_certificate(&body);
            let _ = parse_raw_key(&body);
            let _ = parse_certificate_request(&body);
            let _ = parse_signed_exchange(&body);
            let _ = parse_client_point(&body);
            let _ = parse_certificate_verify(&body);
        }
    }
}
