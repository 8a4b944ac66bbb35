//! State reports on their way to the store.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::directory::DeviceEntry;
use crate::fleet::PackageState;

/// Called once with the outcome: stored, or lost because the store failed or the program ends.
pub type ReportDone = Box<dyn FnOnce(Result<(), ()>) + Send>;

/// What a device said about a package.
pub struct Report {
    /// Who said it.
    pub device: Arc<DeviceEntry>,
    /// About which package.
    pub package: String,
    /// The state, as it came.
    pub state: u64,
    /// The reason, as it came.
    pub reason: u64,
    /// The version it runs.
    pub version: Option<String>,
    /// The version it is on its way to.
    pub target: Option<String>,
    /// When it came, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Told after the commit.
    pub done: ReportDone,
}

impl Report {
    /// What it says, as it is kept.
    pub(super) fn said(&self) -> PackageState {
        let mut said = PackageState {
            package: self.package.clone(),
            state: self.state,
            reason: self.reason,
            version: self.version.clone(),
            target: self.target.clone(),
            at_ms: self.at_ms,
            setback: None,
        };
        said.setback = said.says_why();
        said
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("device", &self.device.id())
            .field("package", &self.package)
            .field("state", &self.state)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// A place in the queue of reports.
#[derive(Debug)]
pub struct ReportSlot<'a>(pub(super) mpsc::Permit<'a, Report>);

impl ReportSlot<'_> {
    /// Takes a state report. `report.done` is called after its commit, from the writer's thread: it must not wait.
    pub fn take(self, report: Report) {
        self.0.send(report);
    }
}

/// The queue of reports is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of state reports is full")]
pub struct QueueFull;
