//! Chains of certificates from anybody, CAs and keys as operators upload them.
//!
//! ```text
//! input   anchor 1 | certificates, in PEM, or in DER with two bytes of length before each
//! ```
//!
//! What is held: nobody is somebody else by a certificate that none of our CAs made; what is not valid at a time is refused;
//! and what is said of a certificate is bounded.

use std::sync::{Arc, LazyLock};

use tessera::dtls::{CertificateFacts, CertifiedKey, PeerChain, TrustAnchors, verify_chain};

use super::script::Script;
use super::setup::{UNIX_S, anchors, pem};

/// The target.
pub fn certificates(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else {
        return;
    };
    let anchors = &ANCHORS[usize::from(*which) % ANCHORS.len()];
    let _ = CertifiedKey::from_pem(pem!("device"), rest);
    let _ = CertifiedKey::from_pem(rest, pem!("device.key"));
    let in_pem = TrustAnchors::from_pem(rest);
    if let Ok(read) = &in_pem {
        assert_eq!(read.len(), read.certificates().count());
    }
    let in_der = || {
        let mut script = Script::new(rest);
        std::iter::from_fn(move || script.bytes())
            .map(<[u8]>::to_vec)
            .collect()
    };
    // What are no anchors may be a chain all the same; read as one it is what a peer sends.
    let certificates: Vec<Vec<u8>> = in_pem.map_or_else(
        |_| in_der(),
        |read| read.certificates().map(<[u8]>::to_vec).collect(),
    );
    let Ok(chain) = PeerChain::new(certificates) else {
        return;
    };
    if let Ok(facts) = chain.facts() {
        hold(&facts);
    }
    if let Ok((facts, anchor)) = verify_chain(&chain, anchors, UNIX_S) {
        hold(&facts);
        assert_eq!(chain.facts().as_ref(), Ok(&facts));
        assert!(anchor < anchors.len());
        // Nobody has these CAs' keys, so whoever is let in is somebody that they made.
        let made = facts
            .common_name
            .as_deref()
            .is_some_and(|name| MADE.contains(&name));
        assert!(made, "{facts:?} was made by nobody");
        for outside in [facts.not_before_unix_s - 1, facts.not_after_unix_s + 1] {
            assert!(
                verify_chain(&chain, anchors, outside).is_err(),
                "{facts:?} is good at {outside}"
            );
        }
    }
}

fn hold(facts: &CertificateFacts) {
    for name in [&facts.organization, &facts.common_name].into_iter().flatten() {
        assert!(name.len() <= CertificateFacts::MAX_NAME_LEN, "{name:?}");
    }
    assert!(facts.serial.len() <= CertificateFacts::MAX_SERIAL_LEN);
    assert!(
        !facts.to_string().chars().any(char::is_control),
        "not fit for a log: {facts}"
    );
}

/// The names that the fixtures' certificates have, but for the server's, which is for no client's use.
const MADE: [&str; 9] = [
    "lamp-1",
    "lamp-2",
    "lamp-3",
    "Device CA",
    "RSA CA",
    "P-384 root",
    "P-384 sub",
    "No signing",
    "Version 1 sub",
];

static ANCHORS: LazyLock<[Arc<TrustAnchors>; 4]> = LazyLock::new(|| {
    [
        anchors(pem!("ca")),
        anchors(pem!("other_ca")),
        anchors(pem!("rsa_ca")),
        anchors(pem!("root_ca")),
    ]
});
