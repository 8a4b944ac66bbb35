//! Certificates made by `certificates/make.sh`.

use crate::dtls::{CertifiedKey, PeerChain, TrustAnchors};

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/dtls/tests/certificates/",
            $name,
            ".pem"
        ))
    };
}
pub(crate) use pem;

/// The middle of every fixture's validity.
pub const NOW: i64 = 3_000_000_000;

/// `CN=gateway.example`, by the CA that vouches for [`device`] too.
pub fn server() -> CertifiedKey {
    CertifiedKey::from_pem(pem!("server"), pem!("server.key")).unwrap()
}

/// `O=acme, CN=lamp-1`.
pub fn device() -> CertifiedKey {
    CertifiedKey::from_pem(pem!("device"), pem!("device.key")).unwrap()
}

/// The CA that vouches for both.
pub fn anchors() -> TrustAnchors {
    TrustAnchors::from_pem(pem!("ca")).unwrap()
}

/// The certificates of these PEM texts as a peer would send them.
pub fn chain(texts: &[&[u8]]) -> PeerChain {
    use rustls_pki_types::pem::PemObject;
    let ders = texts.iter().map(|text| {
        let der = rustls_pki_types::CertificateDer::from_pem_slice(text).unwrap();
        der.to_vec()
    });
    PeerChain::new(ders.collect()).unwrap()
}
