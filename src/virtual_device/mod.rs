//! One simulated device, sans-IO: the other end of the wire for demonstrations and load tests.
//!
//! It joins the DTLS client and the CoAP client halves with what the device SDK does on top of them: which
//! requests it sends, how it updates, when it gives up and comes back. It shares the protocol cores with the
//! gateway and nothing else; the manifest is decoded by another CBOR library.

mod device;
mod manifest;
mod message;
mod report;
mod update;

pub use device::{Ending, Event, Keepalive, Model, RECEIVE_TIMEOUT, VirtualDevice};
pub use manifest::{Component, MAX_COMPONENTS, Manifest, ManifestError};
pub use report::{Reason, Report, State};
pub use update::{Action, Pace, Update};

// Whoever builds a device needs these, and has no other business with the protocol cores.
pub use crate::coap::{Code, Szx};
pub use crate::dtls::{CipherSuite, ClientConfig, Identity, Psk};
