//! The handshake messages as bytes (RFC 5246 section 7.4, RFC 6347 section 4.2.2, RFC 4279, RFC 5489).
//!
//! Reading borrows and never allocates; `None` is a message that does not parse.

pub mod certificates;

use super::Fault;
use super::secrets::Side;
use crate::dtls::connection_id::ChosenId;
use crate::dtls::crypto::POINT_LEN;
use crate::dtls::record::DTLS_1_2;

/// A piece of a handshake message, as a record carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    pub kind: u8,
    /// Of the whole message.
    pub length: usize,
    pub message_seq: u16,
    pub offset: usize,
    pub body: &'a [u8],
}

/// A ClientHello up to its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    pub version: u16,
    pub random: &'a [u8; RANDOM_LEN],
    pub session_id: &'a [u8],
    pub cookie: &'a [u8],
    /// Pairs of bytes.
    pub suites: &'a [u8],
    pub compressions: &'a [u8],
    extensions: &'a [u8],
}

/// What the extensions of a ClientHello say, as far as it concerns us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub extended_master_secret: bool,
    pub renegotiation_info: bool,
    pub encrypt_then_mac: bool,
    /// The code of RFC 6066 section 4, 1 to 4.
    pub max_fragment_length: Option<u8>,
    pub record_size_limit: Option<u16>,
    /// What supported_groups says of P-256 (RFC 8422 section 5.1.1).
    pub p256: Listed,
    /// What ec_point_formats says of uncompressed points (RFC 8422 section 5.1.2).
    pub uncompressed_points: Listed,
    /// What signature_algorithms says of ECDSA with SHA-256 (RFC 5246 section 7.4.1.4.1).
    pub ecdsa_sha256: Listed,
    /// What the client can show (RFC 7250); in an answer, what it is to show.
    pub client_certificate: CertificateTypes,
    /// What the client can read of the server; in an answer, what it is shown.
    pub server_certificate: CertificateTypes,
    /// What is to stand on records to whoever says this (RFC 9146 section 3).
    pub connection_id: Option<ChosenId>,
    /// Whether paths may be probed (RFC 9853 section 3).
    pub return_routability: bool,
}

/// What a list of certificate types (RFC 7250) comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateTypes {
    /// There is no list, or X.509 is in it: whoever lists that expects it, whatever stands before it.
    #[default]
    X509,
    /// Raw public keys, and no X.509.
    RawKey,
    /// Neither.
    Other,
}

/// Whether the only thing that we would choose is in a peer's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listed {
    /// There is no list, so the choice is free.
    #[default]
    NoList,
    /// It is.
    Yes,
    /// Others are.
    No,
}

/// A ServerHello up to its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    pub version: u16,
    pub random: &'a [u8; RANDOM_LEN],
    pub suite: u16,
    pub compression: u8,
    extensions: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Takes a fragment off the front of a record's body. `None` at its end, or where its length reaches past it.
    pub fn read(record: &mut &'a [u8]) -> Option<Self> {
        let mut reader = Reader(record);
        let kind = reader.u8()?;
        let length = reader.u24()?;
        let message_seq = reader.u16()?;
        let offset = reader.u24()?;
        let fragment_length = reader.u24()?;
        let body = reader.take(fragment_length)?;
        *record = reader.0;
        (offset + fragment_length <= length).then_some(Self {
            kind,
            length,
            message_seq,
            offset,
            body,
        })
    }

    /// Whether this is all of its message.
    pub fn is_whole(&self) -> bool {
        self.body.len() == self.length
    }
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a message.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let hello = Self {
            version: reader.u16()?,
            random: reader.array()?,
            session_id: reader.vec8()?,
            cookie: reader.vec8()?,
            suites: reader.vec16()?,
            compressions: reader.vec8()?,
            extensions: if reader.0.is_empty() { &[] } else { reader.vec16()? },
        };
        let sound = hello.session_id.len() <= 32
            && !hello.suites.is_empty()
            && hello.suites.len().is_multiple_of(2)
            && !hello.compressions.is_empty()
            && reader.0.is_empty();
        sound.then_some(hello)
    }

    /// The suites in the client's order.
    pub fn suites(&self) -> impl Iterator<Item = u16> {
        self.suites
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// Reads the extensions; unknown ones are ignored, whatever they hold.
    pub fn offer(&self) -> Result<Offer, Fault> {
        let mut offer = Offer::default();
        let mut seen = 0_u16;
        let mut reader = Reader(self.extensions);
        while !reader.0.is_empty() {
            let (kind, body) = reader.extension().ok_or(Fault::MALFORMED)?;
            let Some(bit) = KNOWN_EXTENSIONS.iter().position(|known| *known == kind) else {
                continue;
            };
            //= RFC 5246 section 7.4.1.4
            //# There MUST NOT be more than one extension of the same type.
            if seen & (1 << bit) != 0 {
                return Err(Fault::ILLEGAL_PARAMETER);
            }
            seen |= 1 << bit;
            match kind {
                EXTENDED_MASTER_SECRET if body.is_empty() => offer.extended_master_secret = true,
                RENEGOTIATION_INFO if body == [0] => offer.renegotiation_info = true,
                //= RFC 5746 section 3.6
                //# The server MUST then verify that the length of the "renegotiated_connection" field is zero, and if it
                //# is not, MUST abort the handshake.
                RENEGOTIATION_INFO => return Err(Fault::RENEGOTIATION),
                MAX_FRAGMENT_LENGTH => match *body {
                    [code @ 1..=4] => offer.max_fragment_length = Some(code),
                    //= RFC 6066 section 4
                    //# If a server receives a maximum fragment length negotiation request for a value other than the
                    //# allowed values, it MUST abort the handshake with an "illegal_parameter" alert.
                    [_] => return Err(Fault::ILLEGAL_PARAMETER),
                    _ => return Err(Fault::MALFORMED),
                },
                RECORD_SIZE_LIMIT => offer.record_size_limit = Some(record_size_limit(body)?),
                ENCRYPT_THEN_MAC if body.is_empty() => offer.encrypt_then_mac = true,
                SUPPORTED_GROUPS => {
                    let groups = Reader(body).only(Reader::vec16).ok_or(Fault::MALFORMED)?;
                    let p256 = SECP256R1.to_be_bytes();
                    offer.p256 = Listed::among(groups.chunks(2), &p256);
                }
                EC_POINT_FORMATS => {
                    let formats = Reader(body).only(Reader::vec8).ok_or(Fault::MALFORMED)?;
                    offer.uncompressed_points = Listed::among(formats.chunks(1), &[UNCOMPRESSED]);
                }
                SIGNATURE_ALGORITHMS => {
                    let schemes = Reader(body).only(Reader::vec16).ok_or(Fault::MALFORMED)?;
                    let ours = certificates::ECDSA_SHA256.to_be_bytes();
                    offer.ecdsa_sha256 = Listed::among(schemes.chunks(2), &ours);
                }
                CLIENT_CERTIFICATE_TYPE => offer.client_certificate = CertificateTypes::listed(body)?,
                SERVER_CERTIFICATE_TYPE => offer.server_certificate = CertificateTypes::listed(body)?,
                // One that is longer than what we write is left unanswered: there is no way to ask for a shorter one.
                CONNECTION_ID => offer.connection_id = ChosenId::new(connection_id(body)?),
                RETURN_ROUTABILITY if body.is_empty() => offer.return_routability = true,
                SUPPORTED_VERSIONS => {
                    // A peer that can do without DTLS 1.2 but lists it falls back to it; one that does not list it
                    // would not understand our answer.
                    let versions = Reader(body).vec8().ok_or(Fault::MALFORMED)?;
                    if !versions
                        .chunks_exact(2)
                        .any(|version| version == DTLS_1_2.to_be_bytes())
                    {
                        return Err(Fault::UNSUPPORTED_VERSION);
                    }
                }
                _ => return Err(Fault::MALFORMED),
            }
        }
        Ok(offer)
    }
}

impl<'a> ServerHello<'a> {
    /// Reads the body of a message.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let version = reader.u16()?;
        let random = reader.array()?;
        // There is nothing to resume, so the session's name does not matter.
        let _session_id = reader.vec8()?;
        let suite = reader.u16()?;
        let compression = reader.u8()?;
        let extensions = if reader.0.is_empty() {
            &[][..]
        } else {
            reader.vec16()?
        };
        reader.0.is_empty().then_some(Self {
            version,
            random,
            suite,
            compression,
            extensions,
        })
    }

    /// Reads the extensions, which must answer what was offered.
    pub fn accepted(&self, offered: &Offer) -> Result<Offer, Fault> {
        let mut accepted = Offer::default();
        let mut reader = Reader(self.extensions);
        while !reader.0.is_empty() {
            let (kind, body) = reader.extension().ok_or(Fault::MALFORMED)?;
            match kind {
                EXTENDED_MASTER_SECRET if offered.extended_master_secret && body.is_empty() => {
                    accepted.extended_master_secret = true;
                }
                RENEGOTIATION_INFO if offered.renegotiation_info && body == [0] => {
                    accepted.renegotiation_info = true
                }
                MAX_FRAGMENT_LENGTH if offered.max_fragment_length.is_some_and(|code| body == [code]) => {
                    accepted.max_fragment_length = offered.max_fragment_length;
                }
                RECORD_SIZE_LIMIT if offered.record_size_limit.is_some() => {
                    accepted.record_size_limit = Some(record_size_limit(body)?);
                }
                ENCRYPT_THEN_MAC if offered.encrypt_then_mac && body.is_empty() => {
                    accepted.encrypt_then_mac = true
                }
                EC_POINT_FORMATS if offered.uncompressed_points == Listed::Yes => {
                    let formats = Reader(body).only(Reader::vec8).ok_or(Fault::MALFORMED)?;
                    accepted.uncompressed_points = Listed::among(formats.chunks(1), &[UNCOMPRESSED]);
                    //= RFC 8422 section 5.2
                    //# The Supported Point Formats Extension, when used, MUST contain the value 0 (uncompressed) as one of
                    //# the items in the list of point formats.
                    if accepted.uncompressed_points != Listed::Yes {
                        return Err(Fault::ILLEGAL_PARAMETER);
                    }
                }
                CLIENT_CERTIFICATE_TYPE if offered.client_certificate == CertificateTypes::RawKey => {
                    accepted.client_certificate = CertificateTypes::chosen(body)?;
                }
                SERVER_CERTIFICATE_TYPE if offered.server_certificate == CertificateTypes::RawKey => {
                    accepted.server_certificate = CertificateTypes::chosen(body)?;
                }
                CONNECTION_ID if offered.connection_id.is_some() => {
                    let id = ChosenId::new(connection_id(body)?).ok_or(Fault::ILLEGAL_PARAMETER)?;
                    accepted.connection_id = Some(id);
                }
                RETURN_ROUTABILITY if offered.return_routability && body.is_empty() => {
                    accepted.return_routability = true;
                }
                EXTENDED_MASTER_SECRET | RENEGOTIATION_INFO | MAX_FRAGMENT_LENGTH | ENCRYPT_THEN_MAC => {
                    return Err(Fault::ILLEGAL_PARAMETER);
                }
                //= RFC 5246 section 7.4.1.4
                //# If a client receives an extension type in ServerHello that it did not request in the associated
                //# ClientHello, it MUST abort the handshake with an unsupported_extension fatal alert.
                _ => return Err(Fault::UNSUPPORTED_EXTENSION),
            }
        }
        //= RFC 8449 section 5
        //# A client MUST treat receipt of both "max_fragment_length" and "record_size_limit" as a fatal error, and it
        //# SHOULD generate an "illegal_parameter" alert.
        if accepted.max_fragment_length.is_some() && accepted.record_size_limit.is_some() {
            return Err(Fault::ILLEGAL_PARAMETER);
        }
        if accepted.return_routability && accepted.connection_id.is_none() {
            return Err(Fault::ILLEGAL_PARAMETER);
        }
        Ok(accepted)
    }
}

impl Offer {
    /// The longest plaintext that one side may send after this has been agreed on.
    pub fn max_plaintext(&self) -> Option<u16> {
        self.record_size_limit
            .or(self.max_fragment_length.map(|code| 1 << (8 + code)))
    }

    /// Appends the extensions block of one side's hello, or nothing where there is nothing to say.
    fn write(&self, side: Side, out: &mut Vec<u8>) {
        let mut block = Vec::with_capacity(48);
        let mut extension = |kind: u16, body: &[u8]| {
            block.extend_from_slice(&kind.to_be_bytes());
            block.extend_from_slice(&(body.len() as u16).to_be_bytes());
            block.extend_from_slice(body);
        };
        if self.renegotiation_info {
            extension(RENEGOTIATION_INFO, &[0]);
        }
        if self.extended_master_secret {
            extension(EXTENDED_MASTER_SECRET, &[]);
        }
        if self.encrypt_then_mac {
            extension(ENCRYPT_THEN_MAC, &[]);
        }
        if self.p256 == Listed::Yes {
            let [g0, g1] = SECP256R1.to_be_bytes();
            extension(SUPPORTED_GROUPS, &[0, 2, g0, g1]);
        }
        if self.uncompressed_points == Listed::Yes {
            extension(EC_POINT_FORMATS, &[1, UNCOMPRESSED]);
        }
        if self.ecdsa_sha256 == Listed::Yes {
            let schemes = certificates::SIGNATURE_SCHEMES;
            let mut body = ((2 * schemes.len()) as u16).to_be_bytes().to_vec();
            body.extend(schemes.iter().flat_map(|scheme| scheme.to_be_bytes()));
            extension(SIGNATURE_ALGORITHMS, &body);
        }
        for (kind, types) in [
            (CLIENT_CERTIFICATE_TYPE, self.client_certificate),
            (SERVER_CERTIFICATE_TYPE, self.server_certificate),
        ] {
            match (types, side) {
                (CertificateTypes::RawKey, Side::Client) => extension(kind, &[1, RAW_PUBLIC_KEY]),
                (CertificateTypes::RawKey, Side::Server) => extension(kind, &[RAW_PUBLIC_KEY]),
                (CertificateTypes::X509 | CertificateTypes::Other, _) => {}
            }
        }
        if let Some(code) = self.max_fragment_length {
            extension(MAX_FRAGMENT_LENGTH, &[code]);
        }
        if let Some(limit) = self.record_size_limit {
            extension(RECORD_SIZE_LIMIT, &limit.to_be_bytes());
        }
        if let Some(id) = &self.connection_id {
            let id = id.as_bytes();
            extension(CONNECTION_ID, &[&[id.len() as u8], id].concat());
        }
        if self.return_routability {
            extension(RETURN_ROUTABILITY, &[]);
        }
        if !block.is_empty() {
            out.extend_from_slice(&(block.len() as u16).to_be_bytes());
            out.extend_from_slice(&block);
        }
    }
}

impl Listed {
    fn among<'a>(mut list: impl Iterator<Item = &'a [u8]>, wanted: &[u8]) -> Self {
        if list.any(|entry| entry == wanted) {
            Self::Yes
        } else {
            Self::No
        }
    }
}

impl CertificateTypes {
    /// What a client's list comes to.
    fn listed(body: &[u8]) -> Result<Self, Fault> {
        let types = Reader(body).only(Reader::vec8).ok_or(Fault::MALFORMED)?;
        Ok(if types.contains(&X509) {
            Self::X509
        } else if types.contains(&RAW_PUBLIC_KEY) {
            Self::RawKey
        } else {
            Self::Other
        })
    }

    /// What a server chose of a list that had raw public keys alone.
    fn chosen(body: &[u8]) -> Result<Self, Fault> {
        match body {
            [RAW_PUBLIC_KEY] => Ok(Self::RawKey),
            [_] => Err(Fault::ILLEGAL_PARAMETER),
            _ => Err(Fault::MALFORMED),
        }
    }
}

/// The cookie of a HelloVerifyRequest.
pub fn parse_hello_verify_request(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(body);
    let _version = reader.u16()?;
    let cookie = reader.vec8()?;
    reader.0.is_empty().then_some(cookie)
}

/// The identity in a ClientKeyExchange (RFC 4279 section 2).
pub fn parse_client_key_exchange(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(body);
    let identity = reader.vec16()?;
    reader.0.is_empty().then_some(identity)
}

/// The hint in a ServerKeyExchange (RFC 4279 section 2).
pub fn parse_server_key_exchange(body: &[u8]) -> Option<&[u8]> {
    // The two have the same form.
    parse_client_key_exchange(body)
}

/// The identity and the client's point in a ClientKeyExchange with ECDHE (RFC 5489 section 2).
pub fn parse_ecdhe_client_key_exchange(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader(body);
    let (identity, point) = (reader.vec16()?, reader.vec8()?);
    reader.0.is_empty().then_some((identity, point))
}

/// The server's point in a ServerKeyExchange with ECDHE (RFC 5489 section 2).
pub fn parse_ecdhe_server_key_exchange(body: &[u8]) -> Result<&[u8], Fault> {
    let mut reader = Reader(body);
    let mut parameters = || {
        // A hint for choosing among identities; there is but one.
        let _hint = reader.vec16()?;
        Some((reader.u8()?, reader.u16()?))
    };
    // RFC 8422 section 5.4 has no other types of curves left.
    if parameters().ok_or(Fault::MALFORMED)? != (NAMED_CURVE, SECP256R1) {
        return Err(Fault::ILLEGAL_PARAMETER);
    }
    reader.only(Reader::vec8).ok_or(Fault::MALFORMED)
}

/// A whole ClientHello message.
pub fn client_hello(
    seq: u16,
    random: &[u8; RANDOM_LEN],
    cookie: &[u8],
    suites: &[u16],
    offer: &Offer,
) -> Vec<u8> {
    message(CLIENT_HELLO, seq, |body| {
        body.extend_from_slice(&DTLS_1_2.to_be_bytes());
        body.extend_from_slice(random);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend_from_slice(cookie);
        body.extend_from_slice(&((2 * suites.len()) as u16).to_be_bytes());
        for suite in suites {
            body.extend_from_slice(&suite.to_be_bytes());
        }
        body.extend_from_slice(&[1, NULL_COMPRESSION]);
        offer.write(Side::Client, body);
    })
}

/// A whole ServerHello message. The session has no name: nothing is ever resumed.
pub fn server_hello(seq: u16, random: &[u8; RANDOM_LEN], suite: u16, answer: &Offer) -> Vec<u8> {
    message(SERVER_HELLO, seq, |body| {
        body.extend_from_slice(&DTLS_1_2.to_be_bytes());
        body.extend_from_slice(random);
        body.push(0);
        body.extend_from_slice(&suite.to_be_bytes());
        body.push(NULL_COMPRESSION);
        answer.write(Side::Server, body);
    })
}

/// A whole ClientKeyExchange message.
pub fn client_key_exchange(seq: u16, identity: &[u8]) -> Vec<u8> {
    message(CLIENT_KEY_EXCHANGE, seq, |body| {
        body.extend_from_slice(&(identity.len() as u16).to_be_bytes());
        body.extend_from_slice(identity);
    })
}

/// A whole ServerKeyExchange message with ECDHE: no hint, P-256, our point.
pub fn ecdhe_server_key_exchange(seq: u16, point: &[u8; POINT_LEN]) -> Vec<u8> {
    message(SERVER_KEY_EXCHANGE, seq, |body| {
        body.extend_from_slice(&[0, 0]);
        body.push(NAMED_CURVE);
        body.extend_from_slice(&SECP256R1.to_be_bytes());
        body.push(POINT_LEN as u8);
        body.extend_from_slice(point);
    })
}

/// A whole ClientKeyExchange message with ECDHE.
pub fn ecdhe_client_key_exchange(seq: u16, identity: &[u8], point: &[u8; POINT_LEN]) -> Vec<u8> {
    message(CLIENT_KEY_EXCHANGE, seq, |body| {
        body.extend_from_slice(&(identity.len() as u16).to_be_bytes());
        body.extend_from_slice(identity);
        body.push(POINT_LEN as u8);
        body.extend_from_slice(point);
    })
}

/// A whole message: unfragmented header, then what `write` appends.
pub fn message(kind: u8, seq: u16, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    message.resize(MESSAGE_HEADER_LEN, 0);
    write(&mut message);
    let length = (message.len() - MESSAGE_HEADER_LEN) as u32;
    let [_, l0, l1, l2] = length.to_be_bytes();
    let [s0, s1] = seq.to_be_bytes();
    message[..MESSAGE_HEADER_LEN].copy_from_slice(&[kind, l0, l1, l2, s0, s1, 0, 0, 0, l0, l1, l2]);
    message
}

//= RFC 8449 section 4
//# An endpoint MUST treat receipt of a smaller value as a fatal error and generate an "illegal_parameter" alert.
fn record_size_limit(body: &[u8]) -> Result<u16, Fault> {
    let limit = <[u8; 2]>::try_from(body).map_err(|_| Fault::MALFORMED)?;
    let limit = u16::from_be_bytes(limit);
    if limit < MIN_RECORD_SIZE_LIMIT {
        Err(Fault::ILLEGAL_PARAMETER)
    } else {
        Ok(limit)
    }
}

/// The ID in a connection_id extension, of any length.
fn connection_id(body: &[u8]) -> Result<&[u8], Fault> {
    Reader(body).only(Reader::vec8).ok_or(Fault::MALFORMED)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| *byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().copied().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Option<usize> {
        self.array()
            .map(|[a, b, c]| usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c))
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn vec24(&mut self) -> Option<&'a [u8]> {
        let len = self.u24()?;
        self.take(len)
    }

    /// What `read` gives, if it leaves nothing behind.
    fn only(mut self, read: impl FnOnce(&mut Self) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
        read(&mut self).filter(|_| self.0.is_empty())
    }

    fn extension(&mut self) -> Option<(u16, &'a [u8])> {
        Some((self.u16()?, self.vec16()?))
    }
}

pub const CLIENT_HELLO: u8 = 1;
pub const SERVER_HELLO: u8 = 2;
pub const HELLO_VERIFY_REQUEST: u8 = 3;
pub const CERTIFICATE: u8 = 11;
pub const SERVER_KEY_EXCHANGE: u8 = 12;
pub const CERTIFICATE_REQUEST: u8 = 13;
pub const SERVER_HELLO_DONE: u8 = 14;
pub const CERTIFICATE_VERIFY: u8 = 15;
pub const CLIENT_KEY_EXCHANGE: u8 = 16;
pub const FINISHED: u8 = 20;

/// Bytes of a message header: type, length, number, fragment offset and length.
pub const MESSAGE_HEADER_LEN: usize = 12;
pub const RANDOM_LEN: usize = 32;
pub const NULL_COMPRESSION: u8 = 0;
/// Stands in a list of suites for an empty renegotiation_info (RFC 5746 section 3.3).
pub const EMPTY_RENEGOTIATION_INFO: u16 = 0x00ff;
/// The most that RFC 8449 lets a DTLS 1.2 endpoint announce; more than any datagram of ours.
pub const MAX_RECORD_SIZE_LIMIT: u16 = 1 << 14;

const MAX_FRAGMENT_LENGTH: u16 = 1;
const SUPPORTED_GROUPS: u16 = 10;
const EC_POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const CLIENT_CERTIFICATE_TYPE: u16 = 19;
const SERVER_CERTIFICATE_TYPE: u16 = 20;
const ENCRYPT_THEN_MAC: u16 = 22;
const EXTENDED_MASTER_SECRET: u16 = 23;
const RECORD_SIZE_LIMIT: u16 = 28;
const SUPPORTED_VERSIONS: u16 = 43;
const CONNECTION_ID: u16 = 54;
const RETURN_ROUTABILITY: u16 = 61;
const RENEGOTIATION_INFO: u16 = 0xff01;
const KNOWN_EXTENSIONS: [u16; 13] = [
    MAX_FRAGMENT_LENGTH,
    SUPPORTED_GROUPS,
    EC_POINT_FORMATS,
    SIGNATURE_ALGORITHMS,
    CLIENT_CERTIFICATE_TYPE,
    SERVER_CERTIFICATE_TYPE,
    ENCRYPT_THEN_MAC,
    EXTENDED_MASTER_SECRET,
    RECORD_SIZE_LIMIT,
    SUPPORTED_VERSIONS,
    CONNECTION_ID,
    RETURN_ROUTABILITY,
    RENEGOTIATION_INFO,
];
const MIN_RECORD_SIZE_LIMIT: u16 = 64;
/// The curve type of a curve that is named (RFC 8422 section 5.4).
const NAMED_CURVE: u8 = 3;
/// P-256 among the named curves.
const SECP256R1: u16 = 23;
/// The format of a point with both coordinates.
const UNCOMPRESSED: u8 = 0;
/// Types of certificates (RFC 7250 section 3).
const X509: u8 = 0;
const RAW_PUBLIC_KEY: u8 = 2;

#[cfg(test)]
mod tests;
