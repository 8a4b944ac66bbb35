//! What is vouched for and what is not. The certificates are made by `openssl` (`../tests/certificates/make.sh`).

use super::*;
use crate::dtls::tests::fixtures::{self, NOW, chain, pem};

#[test]
fn an_anchor_vouches_for_its_leaf_and_the_facts_are_the_leafs() {
    let leaf = chain(&[pem!("device")]);
    let (facts, anchor) = verify_chain(&leaf, &fixtures::anchors(), NOW).unwrap();
    assert_eq!(anchor, 0);
    assert_eq!(facts.organization.as_deref(), Some("acme"));
    assert_eq!(facts.common_name.as_deref(), Some("lamp-1"));
    assert_eq!(facts.fingerprint, KeyDigest::of(leaf.leaf()));
    assert!(facts.serial.len() >= 16, "openssl draws 20 bytes");
    assert!((facts.not_before_unix_s..facts.not_after_unix_s).contains(&NOW));
    assert!(facts.to_string().starts_with("O=acme, CN=lamp-1, SHA-256 "));
}

#[test]
fn who_vouches_for_whom() {
    let (ca, other, rsa, root) = (pem!("ca"), pem!("other_ca"), pem!("rsa_ca"), pem!("root_ca"));
    type Case<'a> = (&'a str, &'a [&'a [u8]], &'a [u8], Result<usize, ChainFault>);
    let cases: [Case<'_>; 17] = [
        ("a leaf", &[pem!("device")], ca, Ok(0)),
        ("a leaf on P-384", &[pem!("device_p384")], ca, Ok(0)),
        ("by RSA", &[pem!("device_by_rsa")], rsa, Ok(0)),
        (
            "over a P-384 issuer",
            &[pem!("device_by_sub"), pem!("sub_ca")],
            root,
            Ok(0),
        ),
        (
            "the issuer missing",
            &[pem!("device_by_sub")],
            root,
            Err(ChainFault::Untrusted),
        ),
        // The same name, another key.
        (
            "another CA of the same name",
            &[pem!("device")],
            other,
            Err(ChainFault::Untrusted),
        ),
        ("another CA", &[pem!("device")], rsa, Err(ChainFault::Untrusted)),
        ("version 1", &[pem!("device_v1")], ca, Ok(0)),
        ("version 1 by RSA", &[pem!("device_by_rsa_v1")], rsa, Ok(0)),
        (
            "version 1, another CA of the same name",
            &[pem!("device_v1")],
            other,
            Err(ChainFault::Untrusted),
        ),
        (
            "version 1, another CA",
            &[pem!("device_v1")],
            rsa,
            Err(ChainFault::Untrusted),
        ),
        (
            "version 1 as an issuer",
            &[pem!("device_by_v1"), pem!("v1_ca")],
            ca,
            Err(ChainFault::Unsupported),
        ),
        (
            "an issuer that may not sign",
            &[pem!("device_by_no_sign"), pem!("no_sign_ca")],
            ca,
            Err(ChainFault::Untrusted),
        ),
        (
            "a leaf as an issuer",
            &[pem!("device_by_sub"), pem!("device")],
            ca,
            Err(ChainFault::Untrusted),
        ),
        (
            "for servers",
            &[pem!("device_server_use")],
            ca,
            Err(ChainFault::NotForClientUse),
        ),
        (
            "not for signatures",
            &[pem!("device_no_signature")],
            ca,
            Err(ChainFault::NotForClientUse),
        ),
        (
            "a CA itself",
            &[pem!("device_as_ca")],
            ca,
            Err(ChainFault::NotForClientUse),
        ),
    ];
    for (name, texts, anchor, expected) in cases {
        let anchors = TrustAnchors::from_pem(anchor).unwrap();
        let verified = verify_chain(&chain(texts), &anchors, NOW).map(|(_, anchor)| anchor);
        assert_eq!(verified, expected, "{name}");
        let nobody = verify_chain(&chain(texts), &TrustAnchors::new(), NOW);
        assert!(nobody.is_err(), "{name}");
    }
}

#[test]
fn of_issuers_with_one_name_two_are_looked_at() {
    let anchors = TrustAnchors::from_pem(pem!("root_ca")).unwrap();
    let good = chain(&[pem!("device_by_sub"), pem!("sub_ca")]);
    let (leaf, issuer) = (good.leaf().to_vec(), good.intermediates().next().unwrap());
    let after = |others: usize| {
        let impostors = (0..others).map(|nth| with_another_key(issuer, nth));
        let of_sub = std::iter::once(leaf.clone())
            .chain(impostors)
            .chain([issuer.to_vec()]);
        verify_chain(&PeerChain::new(of_sub.collect()).unwrap(), &anchors, NOW).map(|(_, anchor)| anchor)
    };
    assert_eq!(after(0), Ok(0));
    assert_eq!(after(1), Ok(0), "as where two CAs vouch for one issuer");
    assert_eq!(after(2), Err(ChainFault::Untrusted));
}

#[test]
fn the_anchor_that_vouches_is_told_by_its_place() {
    let mut anchors = TrustAnchors::new();
    for text in [&pem!("other_ca")[..], pem!("rsa_ca"), pem!("ca"), pem!("root_ca")] {
        anchors.add(chain(&[text]).leaf()).unwrap();
    }
    let place = |texts: &[&[u8]]| verify_chain(&chain(texts), &anchors, NOW).map(|(_, place)| place);
    assert_eq!(place(&[pem!("device")]), Ok(2));
    assert_eq!(place(&[pem!("device_v1")]), Ok(2));
    assert_eq!(place(&[pem!("device_by_rsa")]), Ok(1));
    assert_eq!(place(&[pem!("device_by_sub"), pem!("sub_ca")]), Ok(3));
}

#[test]
fn validity_counts_to_the_second() {
    for text in [&pem!("device")[..], pem!("device_v1")] {
        let leaf = chain(&[text]);
        let facts = leaf.facts().unwrap();
        let at = |unix_s| verify_chain(&leaf, &fixtures::anchors(), unix_s).map(|_| ());
        let (from, to) = (facts.not_before_unix_s, facts.not_after_unix_s);
        assert_eq!(at(from - 1), Err(ChainFault::NotYetValid));
        assert_eq!(at(from), Ok(()));
        assert_eq!(at(to), Ok(()));
        assert_eq!(at(to + 1), Err(ChainFault::Expired));
        assert_eq!(at(-1), Err(ChainFault::NotYetValid));
    }
}

#[test]
fn nothing_that_an_issuer_signed_can_be_changed() {
    for text in [&pem!("device")[..], pem!("device_v1")] {
        let good = chain(&[text]);
        let anchors = fixtures::anchors();
        let (signed, _) = verify_chain(&good, &anchors, NOW).unwrap();
        for bit in 0..8 * good.leaf().len() {
            let mut altered = good.leaf().to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            let altered = PeerChain::new(vec![altered]).unwrap();
            // Around what is signed there is room for other bytes of the same meaning; the facts are inside.
            if let Ok((facts, _)) = verify_chain(&altered, &anchors, NOW) {
                assert_eq!(facts.signed, signed.signed, "bit {bit}");
            }
        }
        for len in 0..good.leaf().len() {
            let cut = PeerChain::new(vec![good.leaf()[..len].to_vec()]).unwrap();
            assert_eq!(
                verify_chain(&cut, &anchors, NOW).map(|_| ()),
                Err(ChainFault::Malformed)
            );
        }
    }
}

#[test]
fn whoever_has_a_certificate_can_give_it_another_fingerprint_and_no_other_content() {
    for text in [&pem!("device")[..], pem!("device_v1")] {
        let good = chain(&[text]);
        let twin = PeerChain::new(vec![with_the_other_signature(good.leaf())]).unwrap();
        let (facts, _) = verify_chain(&good, &fixtures::anchors(), NOW).unwrap();
        let (of_twin, _) = verify_chain(&twin, &fixtures::anchors(), NOW).unwrap();
        assert_ne!(of_twin.fingerprint, facts.fingerprint);
        assert_eq!(of_twin.signed, facts.signed);
        let other = chain(&[pem!("device_p384")]).facts().unwrap();
        assert_ne!(other.signed, facts.signed);
    }
}

#[test]
fn a_name_that_stands_there_twice_is_no_name() {
    let facts = chain(&[pem!("two_names")]).facts().unwrap();
    assert_eq!(facts.organization, None);
    assert_eq!(facts.common_name.as_deref(), Some("lamp-3"));
}

#[test]
fn a_chain_has_one_to_eight_certificates() {
    assert_eq!(PeerChain::new(Vec::new()), Err(ChainFault::NoCertificate));
    assert!(PeerChain::new(vec![vec![1]; 8]).is_ok());
    assert_eq!(PeerChain::new(vec![vec![1]; 9]), Err(ChainFault::Malformed));
}

#[test]
fn an_anchor_is_a_ca() {
    let refused = |text: &[u8]| TrustAnchors::from_pem(text).unwrap_err();
    assert_eq!(refused(b""), AnchorError::NoCertificate);
    assert_eq!(refused(pem!("device.key")), AnchorError::NoCertificate);
    for text in [
        &pem!("device")[..],
        pem!("device_v1"),
        pem!("v1_ca"),
        pem!("no_sign_ca"),
    ] {
        assert_eq!(refused(text), AnchorError::NotCa { nth: 1 });
    }
    let second = [&pem!("ca")[..], pem!("device")].concat();
    assert_eq!(refused(&second), AnchorError::NotCa { nth: 2 });
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(refused(garbage), AnchorError::Malformed { nth: 1 });
    let not_base64 = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    assert!(matches!(refused(not_base64), AnchorError::NotPem(_)));
    assert_eq!(TrustAnchors::from_pem(pem!("root_ca")).unwrap().len(), 1);
}

#[test]
fn a_chain_and_a_key_are_read_or_told_what_is_wrong() {
    let from = |chain: &[u8], key: &[u8]| CertifiedKey::from_pem(chain, key).map(|own| own.chain().len());
    let both = [&pem!("device")[..], pem!("ca")].concat();
    assert_eq!(from(&both, pem!("device.key")), Ok(2));
    assert_eq!(
        from(&both, pem!("device.sec1")),
        Ok(1 + 1),
        "as openssl ecparam writes it"
    );
    assert_eq!(
        from(&both, &[&both[..], pem!("device.key")].concat()),
        Ok(2),
        "in one file"
    );
    assert_eq!(
        from(pem!("device.key"), pem!("device.key")),
        Err(CertifiedKeyError::NoCertificate)
    );
    assert_eq!(from(&both, &both), Err(CertifiedKeyError::NoKey));
    assert_eq!(from(&both, b""), Err(CertifiedKeyError::NoKey));
    assert_eq!(from(&both, pem!("server.key")), Err(CertifiedKeyError::Mismatch));
    assert_eq!(
        from(&both, pem!("device_p384.key")),
        Err(CertifiedKeyError::KeyNotP256)
    );
    assert_eq!(
        from(pem!("device_p384"), pem!("device_p384.key")),
        Err(CertifiedKeyError::CertificateNotP256)
    );
    assert_eq!(
        from(pem!("rsa_ca"), pem!("device.key")),
        Err(CertifiedKeyError::CertificateNotP256)
    );
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(from(&both, encrypted), Err(CertifiedKeyError::EncryptedKey));
    // As `openssl ec -aes256` writes it, and with the line ends of another system.
    let traditional = "-----BEGIN EC PRIVATE KEY-----\n\
        Proc-Type: 4,ENCRYPTED\n\
        DEK-Info: AES-256-CBC,C53801B95F0DE74B1B4FF9ECBA1F838C\n\
        \n\
        9cjowMA3K9Yze6Yve8HWyLimNZ/C3D6QwmK2E/hpE3Li9VNFP10sYobCHzVllL/Q\n\
        MhENaKDOj0+b9Hc7XyZWaTAfK4xFDH8CSYt7wT48OE1qbbKNDcSKZ0f9OVaTTMbT\n\
        K9hbx04/kp3m8E8GG9LJjDuvHp5F/pRMZUm/CZ/NsX0=\n\
        -----END EC PRIVATE KEY-----\n";
    for text in [traditional.to_owned(), traditional.replace('\n', "\r\n")] {
        assert_eq!(from(&both, text.as_bytes()), Err(CertifiedKeyError::EncryptedKey));
    }
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        from(&[&both[..], garbage].concat(), pem!("device.key")),
        Err(CertifiedKeyError::MalformedCertificate { nth: 3 })
    );
    let long = both.repeat(12);
    assert!(matches!(
        from(&long, pem!("device.key")),
        Err(CertifiedKeyError::TooLong { .. })
    ));
    let own = fixtures::device();
    assert!(
        !format!("{own:?}").contains(&format!("{:?}", &own.chain()[0][..4])),
        "a key never prints"
    );
    assert!(format!("{own:?}").contains("SigningKey(..)"));
}

/// A certificate that says the same but for another key, and that nobody has signed.
fn with_another_key(der: &[u8], nth: usize) -> Vec<u8> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let key = certificate.public_key().subject_public_key.data.as_ref();
    let at = der.windows(key.len()).position(|bytes| bytes == key).unwrap() + key.len() - 1;
    let mut other = der.to_vec();
    other[at] ^= 1 + nth as u8;
    other
}

/// The same certificate with (r, n - s) for the signature (r, s): both are good.
fn with_the_other_signature(der: &[u8]) -> Vec<u8> {
    /// The order of P-256.
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    /// ecdsa-with-SHA256.
    const ALGORITHM: [u8; 12] = [
        0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
    ];
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let signature = certificate.signature_value.data.to_vec();
    let r_len = usize::from(signature[3]);
    let (r, s) = (&signature[4..4 + r_len], &signature[6 + r_len..]);
    let s: Vec<u8> = s.iter().copied().skip_while(|byte| *byte == 0).collect();
    let s = [vec![0; 32 - s.len()], s].concat();
    let (mut other, mut borrow) = (vec![0; 32], 0);
    for at in (0..32).rev() {
        let difference = i16::from(N[at]) - i16::from(s[at]) - borrow;
        borrow = i16::from(difference < 0);
        other[at] = difference.rem_euclid(256) as u8;
    }
    let zeros = other.iter().take_while(|byte| **byte == 0).count();
    let mut other = other.split_off(zeros);
    if other[0] >= 0x80 {
        other.insert(0, 0);
    }
    let pair = tlv(0x30, &[tlv(0x02, r), tlv(0x02, &other)].concat());
    let bits = tlv(0x03, &[vec![0], pair].concat());
    tlv(
        0x30,
        &[certificate.tbs_certificate.as_ref(), &ALGORITHM, &bits].concat(),
    )
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let head = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        (_, _) => vec![tag, 0x82, high, low],
    };
    [&head[..], content].concat()
}
