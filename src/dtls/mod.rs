//! DTLS 1.2 (RFC 6347, RFC 5246) for very many small peers: sans-IO, both halves, pre-shared keys and
//! certificates.
//!
//! The way of a datagram, server side:
//!
//! 1. [`RecordHeader::peek`] says what it is. Whatever may be a ClientHello goes to [`CookieJar::admit`], which
//!    keeps nothing and answers strangers with a HelloVerifyRequest.
//! 2. A [`VerifiedHello`] starts a [`ServerHandshake`], which asks for a key by identity
//!    ([`HandshakeEvent::KeyWanted`]) or for a verdict on certificates ([`HandshakeEvent::ChainPresented`]),
//!    and ends in [`HandshakeEvent::Established`] or a [`HandshakeFailure`].
//! 3. The [`Session`] inside [`Established`] opens and seals records, one [`records`] item at a time, for as
//!    long as the peer lives, and can be saved and restored across a restart. Where a [`ConnectionId`] was agreed on,
//!    [`RecordHeader::connection_id`] finds it whatever address a datagram comes from.
//!
//! [`ClientHandshake`] is the other side of the same wire. Time and randomness are arguments throughout.

mod alert;
mod certificate;
mod claim;
mod connection_id;
mod cookie;
mod crypto;
mod handshake;
mod protection;
mod psk;
mod record;
mod replay;
mod return_routability;
mod session;
mod suite;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub use tests::fixtures;

pub use certificate::{
    AnchorError, CertificateFacts, CertifiedKey, CertifiedKeyError, ChainFault, KeyDigest, PeerChain,
    TrustAnchors, verify_chain,
};
pub use claim::Claim;
pub use connection_id::{ConnectionId, OfferedConnectionId};
pub use cookie::{Admission, CookieJar, HelloDropped, VerifiedHello};
pub use handshake::{
    ClientConfig, ClientCredential, ClientHandshake, Established, FailureReason, HandshakeEvent,
    HandshakeFailure, MaxFragmentLength, ServerConfig, ServerHandshake, ServerTrust, Timers,
};
pub use psk::{Identity, IdentityError, Psk, PskError};
pub use record::{ContentType, RecordHeader, records};
pub use return_routability::PathChallenge;
pub use session::{
    Ignored, Incoming, MAX_RECORD_NUMBER, RESERVATION, RecordStart, RestoreError, SavedSession, SealError,
    Session,
};
pub use suite::CipherSuite;

/// What a server shows and signs with.
pub type ServerCertificate = CertifiedKey;
