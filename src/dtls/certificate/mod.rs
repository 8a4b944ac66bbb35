//! Certificates: what a peer shows, what it says of the peer, whom it is trusted by, and what we show ourselves.
//!
//! 1. A peer's certificates arrive as a [`PeerChain`], in DER and unchecked. What its handshake proves is that the peer
//!    has the leaf's key, and no more.
//! 2. [`verify_chain`] says whether [`TrustAnchors`] vouch for it, and with what [`CertificateFacts`]; or why not, as a
//!    [`ChainFault`].
//! 3. [`CertifiedKey`] is our own chain and its key.
//!
//! The only module that names `webpki` and `x509_parser`.

mod facts;
mod own;
mod verify;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::alert;

pub use facts::{CertificateFacts, KeyDigest, PeerKey};
pub use own::{CertifiedKey, CertifiedKeyError};
pub(super) use verify::verify_server_chain;
pub use verify::{AnchorError, TrustAnchors, verify_chain};

/// The certificates of a peer as it sent them, its own first. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerChain(Arc<[Vec<u8>]>);

/// Why a peer's certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ChainFault {
    /// The peer has none.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// Something that is no certificate, or one whose names are longer than any that we know of.
    #[error("the certificate cannot be read")]
    Malformed,
    /// A kind of key, a version, or an extension marked critical that this program does not know.
    #[error("the certificate is of a kind that is not supported")]
    Unsupported,
    /// No trust anchor vouches for it.
    #[error("the certificate leads to no trusted CA")]
    Untrusted,
    /// It is past its validity.
    #[error("the certificate has expired")]
    Expired,
    /// Its validity has not begun.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// It says itself that it is for something else.
    #[error("the certificate is not for authenticating a client")]
    NotForClientUse,
    /// The operator took it back.
    #[error("the certificate is revoked")]
    Revoked,
    /// It is good, but no device is known by it.
    #[error("no device is known by the certificate")]
    UnknownDevice,
    /// Nobody could say: what would know of it does not answer.
    #[error("the certificate could not be looked up")]
    Unavailable,
}

impl PeerChain {
    /// The most certificates that a chain may have. Three is usual; each costs a signature check.
    pub const MAX_LEN: usize = 8;

    /// Takes certificates in DER, the peer's own first.
    ///
    /// # Errors
    /// [`ChainFault::NoCertificate`] for none, [`ChainFault::Malformed`] for more than [`PeerChain::MAX_LEN`].
    pub fn new(certificates: Vec<Vec<u8>>) -> Result<Self, ChainFault> {
        match certificates.len() {
            0 => Err(ChainFault::NoCertificate),
            1..=Self::MAX_LEN => Ok(Self(certificates.into())),
            _ => Err(ChainFault::Malformed),
        }
    }

    /// The peer's own certificate.
    pub fn leaf(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// The others, in the order in which they came.
    pub fn intermediates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().skip(1).map(Vec::as_slice)
    }

    /// What the peer's own certificate says. Nothing has been checked.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self) -> Result<CertificateFacts, ChainFault> {
        CertificateFacts::read(self.leaf())
    }
}

impl fmt::Debug for PeerChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths: Vec<usize> = self.0.iter().map(Vec::len).collect();
        write!(f, "PeerChain(lengths {lengths:?})")
    }
}

impl ChainFault {
    /// A short name, for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed => "certificate_malformed",
            Self::Unsupported => "certificate_unsupported",
            Self::Untrusted => "certificate_untrusted",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::NotForClientUse => "certificate_not_for_client_use",
            Self::Revoked => "certificate_revoked",
            Self::UnknownDevice => "certificate_unknown_device",
            Self::Unavailable => "certificate_unavailable",
        }
    }

    /// What the peer is told (RFC 5246 section 7.2.2).
    pub(super) fn alert(self) -> u8 {
        match self {
            //= RFC 5246 section 7.4.6
            //# If the client does not send any certificates, the server MAY at its discretion either continue the
            //# handshake without client authentication, or respond with a fatal handshake_failure alert.
            Self::NoCertificate => alert::HANDSHAKE_FAILURE,
            Self::Malformed | Self::NotYetValid => alert::BAD_CERTIFICATE,
            Self::Unsupported | Self::NotForClientUse => alert::UNSUPPORTED_CERTIFICATE,
            Self::Untrusted => alert::UNKNOWN_CA,
            Self::Expired => alert::CERTIFICATE_EXPIRED,
            Self::Revoked => alert::CERTIFICATE_REVOKED,
            Self::UnknownDevice => alert::ACCESS_DENIED,
            Self::Unavailable => alert::INTERNAL_ERROR,
        }
    }
}

#[cfg(test)]
mod tests;
