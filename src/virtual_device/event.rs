//! What a device tells whoever looks after it, with how long it took where somebody will ask.

use std::time::Duration;

use super::manifest::ManifestError;
use super::report::{Reason, Report};
use crate::coap::Code;

/// What a device tells whoever looks after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A handshake is done.
    Established {
        /// Since the first ClientHello of this attempt was due; one that failed before it is a [`Event::Disconnected`] of its
        /// own. Whoever drives devices may be late, and then what they wait for is not only the gateway; left out, the worst
        /// times would be missing just when there is most to do.
        took: Duration,
    },
    /// The device calls itself connected: for one port the same, for the other an answer later.
    Connected,
    /// A session or an attempt at one has ended; the device comes back by itself.
    Disconnected(Ending),
    /// The registration for the manifest was answered with success.
    Observing,
    /// A manifest arrived.
    Manifest {
        /// The deployment's sequence number; `None` for "nothing to do".
        sequence: Option<i64>,
    },
    /// A manifest arrived that this device cannot read.
    ManifestRejected(ManifestError),
    /// The gateway answered the observation with an error.
    ObservationRefused(Code),
    /// A block arrived.
    Progress {
        /// Bytes so far.
        received: u64,
        /// Bytes in all, as the manifest said.
        total: u64,
        /// Bytes of this block.
        bytes: u64,
        /// From the first transmission of the block's request to its answer.
        took: Duration,
    },
    /// A whole artifact arrived, with the right hash.
    Downloaded {
        /// Its bytes.
        bytes: u64,
        /// The version that the manifest said it is.
        version: String,
    },
    /// An update was given up for now.
    UpdateFailed(Reason),
    /// A report was answered.
    Reported {
        /// What was reported.
        report: Report,
        /// The answer.
        code: Code,
        /// From the first transmission of the report to its answer.
        took: Duration,
    },
    /// The program ran into an assertion, and starts again with the version that it had.
    Crashed,
    /// An image did not prove itself: the device goes back to the one before it, and a [`Event::Rebooted`] with that follows.
    RolledBack {
        /// The version of the image that was given up.
        version: String,
    },
    /// The device restarts, for whatever reason, and runs this version. Its session is gone without a word.
    Rebooted {
        /// The version.
        version: String,
    },
    /// A request was sent again because its answer did not come.
    Retransmitted,
    /// A request came to nothing, and it was none for a block: no answer, one that the port takes for none, or the end of its
    /// session.
    RequestFailed,
    /// The same of a request for a block.
    BlockFailed {
        /// Since the device asked for it.
        waited: Duration,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The handshake failed, for the reason named.
    HandshakeFailed(&'static str),
    /// The handshake's time was up, and nothing at all had been heard in it: whether the gateway has heard of it nobody knows.
    HandshakeUnanswered,
    /// A request stayed without an answer.
    NoAnswer,
    /// The gateway reset a request.
    Reset,
    /// Nothing was heard for too long.
    Silence,
    /// A message arrived that is none.
    Malformed,
    /// The gateway closed the session.
    Closed,
    /// No record could be sealed any more.
    Exhausted,
}
