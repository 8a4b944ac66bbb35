//! CoAP's message layer without sockets and clocks (RFC 7252, RFC 7641, RFC 7959).
//!
//! 1. a datagram becomes a [`Message`], or is none ([`FormatError`])
//! 2. the session's [`Endpoint`] answers what it can by itself: pings, duplicates, blocks of an upload, bad options
//! 3. what is left is a [`Request`], answered through a [`Reply`]: at once, or later by [`Endpoint::complete_with`]
//! 4. observers are notified by the same pen; the endpoint keeps one notification in flight and repeats it
//!
//! [`client`] is the other side, for the simulated device.

pub mod block;
pub mod client;
mod code;
mod dedup;
mod endpoint;
mod id;
mod observe;
mod reply;
mod request;
mod timer;
mod upload;
pub mod wire;

pub use block::{Block, BlockError, BlockNum, PastEnd, Slice, Szx};
pub use code::{Code, Kind, Method};
pub use endpoint::{
    Automatic, AutomaticKind, Endpoint, Ignored, Incoming, MAX_PENDING, MAX_RELATIONS, Timeout,
};
pub use id::{ETag, MessageId, Token};
pub use observe::{ObserveSeq, Relation};
pub use reply::{MAX_PAYLOAD, Reply, ResponseHead, Written};
pub use request::{ContentFormat, ObserveRequest, Refusal, Request};
pub use timer::Wheel;
pub use upload::MAX_BODY;
pub use wire::{FormatError, Message, MessageWriter, Options, RawOption};
