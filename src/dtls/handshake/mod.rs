//! The handshake: what both halves have in common, and what comes out of them.

mod client;
mod flight;
pub(super) mod messages;
mod reassembly;
pub(super) mod secrets;
mod server;

use std::time::Duration;

use thiserror::Error;

use super::alert::{self, Alert};
use super::record::{ContentType, DTLS_1_2, write_plaintext};
use super::{ChainFault, Claim, Identity, KeyDigest, PeerChain, Session};

pub use client::{ClientConfig, ClientCredential, ClientHandshake, MaxFragmentLength, ServerTrust};
pub use server::{ServerConfig, ServerHandshake};

/// Retransmission timers of a handshake (RFC 6347 section 4.2.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The first wait.
    pub initial: Duration,
    /// Waits double up to this.
    pub max: Duration,
    /// The whole handshake takes no longer than this.
    pub deadline: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            deadline: Duration::from_secs(60),
        }
    }
}

/// What a handshake tells its owner.
#[derive(Debug)]
pub enum HandshakeEvent {
    /// Server only: look the key up, then call [`ServerHandshake::provide_key`]. Comes at most once.
    KeyWanted(Identity),
    /// Server only: the peer has proven that it has the key of the first of these certificates, and nobody has looked at
    /// them. Say whether they are good and whose they are, by [`ServerHandshake::accept_peer`] or
    /// [`ServerHandshake::refuse_peer`]. Comes at most once.
    ChainPresented(PeerChain),
    /// The same of a key without certificates (RFC 7250).
    RawKeyPresented(KeyDigest),
    /// Done: the handshake can be dropped after the last [`ServerHandshake::poll_transmit`].
    Established(Box<Established>),
}

/// A finished handshake.
#[derive(Debug)]
pub struct Established {
    /// The session. A server's holds its last flight until the peer's first application data.
    pub session: Session,
    /// Who the peer is at a server, who we are at a client.
    pub claim: Claim,
}

/// A handshake that is over without a session.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("handshake failed: {}", reason.as_str())]
pub struct HandshakeFailure {
    reason: FailureReason,
    claim: Option<Box<Claim>>,
    alert: Option<Vec<u8>>,
}

impl HandshakeFailure {
    /// Why.
    pub fn reason(&self) -> FailureReason {
        self.reason
    }

    /// Whose handshake it was, where the peer got as far as telling. Nothing proves it.
    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_deref()
    }

    /// The datagram to send to the peer, if it is to be told.
    pub fn alert(&self) -> Option<&[u8]> {
        self.alert.as_deref()
    }
}

/// What is wrong with a message, and what the peer is told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    reason: FailureReason,
    alert: Option<u8>,
}

impl Fault {
    pub const UNSUPPORTED_VERSION: Self =
        Self::new(FailureReason::UnsupportedVersion, alert::PROTOCOL_VERSION);
    pub const NO_COMMON_SUITE: Self = Self::new(FailureReason::NoCommonSuite, alert::HANDSHAKE_FAILURE);
    pub const COMPRESSION_REQUIRED: Self =
        Self::new(FailureReason::CompressionRequired, alert::HANDSHAKE_FAILURE);
    pub const MALFORMED: Self = Self::new(FailureReason::Malformed, alert::DECODE_ERROR);
    pub const ILLEGAL_PARAMETER: Self = Self::new(FailureReason::IllegalParameter, alert::ILLEGAL_PARAMETER);
    pub const UNSUPPORTED_EXTENSION: Self =
        Self::new(FailureReason::IllegalParameter, alert::UNSUPPORTED_EXTENSION);
    /// RFC 5746 section 3.6 asks for handshake_failure.
    pub const RENEGOTIATION: Self = Self::new(FailureReason::IllegalParameter, alert::HANDSHAKE_FAILURE);
    pub const UNEXPECTED_MESSAGE: Self =
        Self::new(FailureReason::UnexpectedMessage, alert::UNEXPECTED_MESSAGE);
    pub const BAD_FINISHED: Self = Self::new(FailureReason::BadFinished, alert::DECRYPT_ERROR);
    pub const BAD_SIGNATURE: Self = Self::new(FailureReason::BadSignature, alert::DECRYPT_ERROR);

    const fn new(reason: FailureReason, alert: u8) -> Self {
        Self {
            reason,
            alert: Some(alert),
        }
    }

    /// The peer's certificate is not accepted.
    pub fn of_certificate(fault: ChainFault) -> Self {
        Self::new(FailureReason::Certificate(fault), fault.alert())
    }

    /// The peer gave up, so there is nobody to tell.
    pub fn from_peer(description: u8) -> Self {
        Self {
            reason: FailureReason::PeerAlert(description),
            alert: None,
        }
    }

    fn into_failure(self, claim: Option<Claim>, record_number: u64) -> HandshakeFailure {
        let alert = self.alert.map(|description| {
            let mut datagram = Vec::new();
            let body = Alert::fatal(description).to_bytes();
            write_plaintext(ContentType::Alert, DTLS_1_2, record_number, &body, &mut datagram);
            datagram
        });
        HandshakeFailure {
            reason: self.reason,
            claim: claim.map(Box::new),
            alert,
        }
    }

    fn into_sealed_failure(self, claim: Option<Claim>, session: &mut Session) -> HandshakeFailure {
        let alert = self.alert.and_then(|description| {
            let mut datagram = Vec::new();
            let body = Alert::fatal(description).to_bytes();
            session
                .seal_as(ContentType::Alert, &body, &mut datagram)
                .ok()
                .map(|_| datagram)
        });
        HandshakeFailure {
            reason: self.reason,
            claim: claim.map(Box::new),
            alert,
        }
    }
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// The peer does not speak DTLS 1.2.
    UnsupportedVersion,
    /// No cipher suite in common.
    NoCommonSuite,
    /// The peer insists on compression.
    CompressionRequired,
    /// A message that does not parse.
    Malformed,
    /// A value that the protocol forbids.
    IllegalParameter,
    /// A message out of place.
    UnexpectedMessage,
    /// Nobody has this identity. From outside the same as [`FailureReason::WrongKey`].
    UnknownIdentity,
    /// The peer's Finished could not be opened with the key of its identity.
    WrongKey,
    /// The peer's Finished was authentic but not over the same handshake.
    BadFinished,
    /// What the peer signed was not signed with the key of its certificate.
    BadSignature,
    /// The peer's certificate is not accepted.
    Certificate(ChainFault),
    /// The peer ended it with this alert.
    PeerAlert(u8),
    /// The deadline passed.
    TimedOut,
    /// The owner gave it up, e.g. for a newer one from the same address.
    Abandoned,
}

impl FailureReason {
    /// A short name, for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedVersion => "unsupported_version",
            Self::NoCommonSuite => "no_common_suite",
            Self::CompressionRequired => "compression_required",
            Self::Malformed => "malformed",
            Self::IllegalParameter => "illegal_parameter",
            Self::UnexpectedMessage => "unexpected_message",
            Self::UnknownIdentity => "unknown_identity",
            Self::WrongKey => "wrong_key",
            Self::BadFinished => "bad_finished",
            Self::BadSignature => "bad_signature",
            Self::Certificate(fault) => fault.as_str(),
            Self::PeerAlert(_) => "peer_alert",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
        }
    }
}
