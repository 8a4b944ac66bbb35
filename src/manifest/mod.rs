//! The manifest, the state report and the log line as bytes: CBOR and JSON. The only place that names the CBOR library.
//!
//! - [`Manifest`]: encoded once per deployment, the same bytes for every device of the cohort.
//! - [`StateReport`]: what a device says about a package, in any of the forms devices have said it in.
//! - [`log_from_cbor`], [`log_from_json`]: a line of a device's log.

mod cbor;
mod desired;
mod log_line;
mod report;

pub use desired::{Manifest, NOTHING_CBOR, NOTHING_JSON};
pub use log_line::{LOG_BYTES, LogError, log_from_cbor, log_from_json};
pub use report::{REPORT_BYTES, ReportError, StateReport};
