//! The one writer, the view that everybody reads, and who is connected.
//!
//! 1. A command goes into the bounded queue of the writer ([`Control`]).
//! 2. The writer drains the queue, decides each command by the rules of `fleet`, and commits all of it once.
//! 3. Then, and only then, the new [`View`] is published, [`Change`]s go out and the commands are answered.
//!
//! Nothing is acknowledged before its commit. A commit that fails, fails its whole batch and leaves the view as it was.

mod access;
mod batch;
mod certificates;
mod change;
mod cohorts;
mod connected;
mod console;
mod counter;
mod deployments;
mod devices;
mod directory;
mod error;
mod estimate;
mod failures;
mod figures;
mod handle;
mod history;
mod import;
mod keys;
mod ledger;
mod lists;
mod moves;
mod once;
mod packages;
mod places;
mod pulse;
mod reads;
mod report;
mod series;
mod start;
mod timeline;
mod upload;
mod view;
mod writer;

pub use access::DeviceAccess;
pub use batch::AUDIT_ACTIONS;
pub use certificates::{CertificateAccess, CertificateRefusal, PresentedCertificate, RemovedCa};
pub use change::Change;
pub use console::{OpenedSession, SessionMark};
pub use deployments::Preview;
pub use devices::{
    CREDENTIALS_OF_A_DEVICE, CreatedCredential, CreatedDevice, DevicePatch, DeviceUpdate, NewCredential,
    NewDevice, NewPsk, default_identity,
};
pub use directory::{DeviceEntry, Download, SessionFacts};
pub use error::ControlError;
pub use estimate::{Estimate, Expected};
pub use failures::{FailedDevice, FailedHandshake, FailureCause, FailureRecord, Offered};
pub use figures::{CohortFigures, FailureShare, FleetFigures, VersionShare};
pub use handle::{Control, Options, Started};
pub use history::{DeploymentHistory, FleetHistory, FleetPoint, ProgressPoint, Span};
pub use import::{DeviceRow, ImportRules, RowOutcome};
pub use keys::{CreatedKey, is_made};
pub use lists::{DevicePage, DeviceQuery};
pub use moves::{BACK_SHOWN, MovePreview};
pub use once::{Before, Claim, go_on};
pub use places::{Full, Place, Places};
pub use pulse::Pulse;
pub use reads::{DeviceRecord, Progress};
pub use report::{QueueFull, Report, ReportDone, ReportSlot};
pub use upload::ArtifactUpload;
pub use view::View;

pub use crate::fleet::Actor;
pub use crate::store::{
    AuditAhead, AuditFilter, AuditPage, AuditRecord, AuditScope, Blob, BlockRead, DevicePlace, KeptAnswer,
    OnceKey, ReadSlot, ReadersBusy, Sighting, TimelineFilter, UploadError,
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
