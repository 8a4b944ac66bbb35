//! What a device may ask: the only bridge between CoAP and the fleet.
//!
//! 1. [`Keys`] says whose identity a handshake presents, and with which key.
//! 2. [`routes`] turns method and path into a [`routes::Target`].
//! 3. One file per target answers it from the published view: [`desired`] the manifest, [`artifact`] a block,
//!    [`keepalive`] the sign of life, [`neighbours`] the other services of the SDK. None of them waits.
//! 4. A block that is not in memory is handed to a thread that may wait for the disk, and answered when it is there.
//! 5. A [`report`] goes to the writer and is answered only after its commit; what may be a repetition from before a restart is
//!    [`unproven`] first.
//!
//! Every CoAP code that a device gets to see is chosen in here.

mod artifact;
mod desired;
mod handler;
mod keepalive;
mod keys;
mod log;
mod neighbours;
mod report;
mod routes;
mod unproven;

pub use handler::{DeviceApi, credential_key, device_key};
pub use keys::Keys;
