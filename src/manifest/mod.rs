//! The manifest and the state report as bytes: CBOR and JSON. The only place that names the CBOR library.
//!
//! - [`Manifest`]: encoded once per deployment, the same bytes for every device of the cohort.
//! - [`StateReport`]: what a device says about a package, in any of the forms devices have said it in.

mod cbor;
mod desired;
mod report;

pub use desired::{Manifest, NOTHING_CBOR, NOTHING_JSON};
pub use report::{REPORT_BYTES, ReportError, StateReport};
