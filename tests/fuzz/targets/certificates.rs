//! Chains of certificates from anybody, CAs and keys as operators upload them.
//!
//! ```text
//! input   anchor 1 | the chain that a peer shows, each certificate with two bytes of length before it
//!                  | or any text, as an operator's PEM
//! ```
//!
//! What is held: nobody is somebody else by a certificate that none of our CAs made; what is not valid at a time is refused;
//! and what is said of a certificate is bounded.

use std::sync::{Arc, LazyLock};

use tessera::dtls::{CertificateFacts, CertifiedKey, KeyDigest, PeerChain, TrustAnchors, verify_chain};

use super::script::Script;
use super::setup::{UNIX_S, anchors, der, pem};

/// The target.
pub fn certificates(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else {
        return;
    };
    let anchors = &ANCHORS[usize::from(*which) % ANCHORS.len()];
    let _ = CertifiedKey::from_pem(pem!("device"), rest);
    let _ = CertifiedKey::from_pem(rest, pem!("device.key"));
    if let Ok(read) = TrustAnchors::from_pem(rest) {
        assert_eq!(read.len(), read.certificates().count());
    }
    let mut script = Script::new(rest);
    let in_der = std::iter::from_fn(|| script.bytes())
        .map(<[u8]>::to_vec)
        .collect();
    let Ok(chain) = PeerChain::new(in_der) else {
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
        assert!(MADE.contains(&facts.signed), "{facts:?} was made by nobody");
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

/// What those CAs have signed. A signature has more than one form, what it is over has one.
static MADE: LazyLock<Vec<KeyDigest>> = LazyLock::new(|| {
    let all: [&[u8]; 18] = [
        pem!("ca"),
        pem!("device"),
        pem!("device_as_ca"),
        pem!("device_by_no_sign"),
        pem!("device_by_rsa"),
        pem!("device_by_rsa_v1"),
        pem!("device_by_sub"),
        pem!("device_by_v1"),
        pem!("device_no_signature"),
        pem!("device_p384"),
        pem!("device_v1"),
        pem!("no_sign_ca"),
        pem!("other_ca"),
        pem!("root_ca"),
        pem!("rsa_ca"),
        pem!("sub_ca"),
        pem!("two_names"),
        pem!("v1_ca"),
    ];
    let signed = |pem| {
        CertificateFacts::read(&der(pem))
            .expect("a certificate of our own")
            .signed
    };
    all.into_iter().map(signed).collect()
});

static ANCHORS: LazyLock<[Arc<TrustAnchors>; 4]> = LazyLock::new(|| {
    [
        anchors(pem!("ca")),
        anchors(pem!("other_ca")),
        anchors(pem!("rsa_ca")),
        anchors(pem!("root_ca")),
    ]
});
