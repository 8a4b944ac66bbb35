//! The gateway as a run sees it from outside: a process that is started, killed and asked, never a library that is called.
//!
//! 1. [`process`]: a [`Gateway`], started by this run or found elsewhere, and what is done to it.
//! 2. [`child`]: what this executable does when it was started to be the gateway, or to keep its disk.
//! 3. [`disk`]: the file system of a known size that the gateway's data can be on.
//! 4. [`set_up`]: a scenario's packages, cohorts and devices, as the operator's HTTP API is told of them through [`api`]; with
//!    certificates by [`pki`].
//! 5. [`figures`]: what it counts of itself, and what the kernel counts of it.

mod api;
mod child;
mod disk;
mod figures;
mod pki;
mod process;
mod set_up;

#[allow(unused_imports, reason = "tests/gateway.rs has devices of somebody else")]
pub use api::Row;
pub use api::{Api, ApiError, Deployed};
pub use child::{HoldDiskArgs, ServeGatewayArgs, hold_disk, serve_gateway};
pub use figures::{Counted, Figures, Meter};
pub use process::{Gateway, GatewayError};
pub use set_up::{Credentials, DeviceCredential, Progress};

/// The project that the fleet is in: the one that every gateway has.
const PROJECT: &str = "default";
