//! One simulated device, sans-IO: the other end of the wire for demonstrations, simulations and load tests.
//!
//! It joins the DTLS client and the CoAP client halves with what the device SDK does on top of them: which
//! requests it sends, how it updates, when it gives up and comes back. It shares the protocol cores with the
//! gateway and nothing else; the manifest is decoded by another CBOR library.
//!
//! - [`device`]: the four verbs, and the session as it comes and goes. [`model`], [`pace`]: what it is. [`event`]: what it tells.
//! - [`port`]: the two ports of the SDK. [`libcoap`] and [`zephyr`]: what each does with its messages, and what hurts it.
//! - [`update`]: what both do about firmware. [`manifest`], [`report`], [`message`]: the bytes. [`queue`]: what waits.
//!
//! Whoever simulates a fleet has hundreds of thousands of these in one process. Connected and idle, a device costs less than
//! 640 bytes, which a test holds: 304 of its own, 240 of its session and the SDK's port, its identity, its version, and 48 for a
//! connection ID. What it needs only now and then (a handshake, a download, a request under way) comes on top and goes again.

mod device;
mod event;
mod libcoap;
mod manifest;
mod message;
mod model;
mod pace;
mod port;
mod queue;
mod report;
mod update;
mod zephyr;

pub use device::VirtualDevice;
pub use event::{Ending, Event};
pub use manifest::{Component, MAX_COMPONENTS, Manifest, ManifestError};
pub use model::{Booting, Model};
pub use pace::Pace;
pub use port::Port;
pub use report::{Cbor, Reason, Report, State};
pub use update::{Action, RetryTimer, Update};
pub use zephyr::RECEIVE_TIMEOUT;

// Whoever builds a device needs these, and has no other business with the protocol cores.
pub use crate::coap::{Code, Szx};
pub use crate::dtls::{
    CertifiedKey, CipherSuite, ClientConfig, ClientCredential, Identity, OfferedConnectionId, Psk,
    ServerTrust, TrustAnchors,
};
