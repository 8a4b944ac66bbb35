//! Who a peer says it is.

use std::fmt;

use super::{CertificateFacts, Identity, KeyDigest};

/// Who a peer says it is: in an [`super::Established`] proven, in a [`super::HandshakeFailure`] not.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The owner of the key with this identity.
    Psk(Identity),
    /// The owner of a certificate's key.
    Certificate(CertificateFacts),
    /// The owner of a key that no certificate names (RFC 7250).
    RawKey(KeyDigest),
}

/// Safe in a log line.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psk(identity) => identity.fmt(f),
            Self::Certificate(facts) => facts.fmt(f),
            Self::RawKey(digest) => write!(f, "key SHA-256 {digest}"),
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psk(identity) => identity.fmt(f),
            Self::Certificate(facts) => write!(f, "Certificate({facts})"),
            Self::RawKey(digest) => write!(f, "RawKey({digest})"),
        }
    }
}
