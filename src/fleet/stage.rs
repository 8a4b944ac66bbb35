//! How far a device has come with its cohort's deployment.

use std::fmt;
use std::str::FromStr;

use super::device::{DeviceState, PackageState, Setback};
use super::model::Deployment;
use super::refusal::Invalid;

/// How far a device has come with a deployment. Every device of the cohort is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Not heard of it yet.
    Pending,
    /// Acknowledged the manifest, or a later one.
    Notified,
    /// Reported that it downloads.
    Downloading,
    /// Reported that it has it.
    Downloaded,
    /// Reported that it writes or boots it.
    Updating,
    /// Runs the wanted version of every package of it that it reports on.
    Done,
    /// Reported a failure.
    Failed,
}

impl Stage {
    /// All of them, in the order in which a device goes through them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Notified,
        Self::Downloading,
        Self::Downloaded,
        Self::Updating,
        Self::Done,
        Self::Failed,
    ];

    /// Where a device stands that acknowledged the manifest numbered `acknowledged` and reported these states.
    ///
    /// It is done when it runs the wanted version of every wanted package it reports on, and reports on one at least: devices
    /// report on what they have. What was reported before the deployment says nothing about it, except the version.
    #[must_use]
    pub fn of(deployment: &Deployment, acknowledged: u32, reported: &[PackageState]) -> Self {
        let (mut known, mut running, mut failed, mut furthest) = (0, 0, false, 0);
        for artifact in &deployment.artifacts {
            let Some(state) = reported
                .iter()
                .find(|state| state.package == artifact.package.as_str())
            else {
                continue;
            };
            known += 1;
            let wanted = Some(artifact.version.as_str());
            if state.version.as_deref() == wanted {
                running += 1;
                continue;
            }
            if state.at_ms < deployment.created_ms {
                continue;
            }
            failed |= Self::failure(deployment, state).is_some();
            if state.target.as_deref() == wanted {
                furthest = furthest.max(state.state);
            }
        }
        if known > 0 && running == known {
            return Self::Done;
        }
        if failed {
            return Self::Failed;
        }
        match DeviceState::from_number(furthest) {
            DeviceState::Updating => Self::Updating,
            DeviceState::Downloaded => Self::Downloaded,
            DeviceState::Downloading => Self::Downloading,
            DeviceState::Idle | DeviceState::Other(_) if acknowledged >= deployment.sequence.get() => {
                Self::Notified
            }
            DeviceState::Idle | DeviceState::Other(_) => Self::Pending,
        }
    }

    /// Why the deployment's version of the package of this report failed; `None` if the report does not say that it did.
    #[must_use]
    pub fn failure(deployment: &Deployment, reported: &PackageState) -> Option<Setback> {
        let wanted = deployment.artifact(&reported.package)?.version.as_str();
        let is_of_it = reported.version.as_deref() != Some(wanted)
            && reported.at_ms >= deployment.created_ms
            && reported.target.as_deref().is_none_or(|target| target == wanted);
        reported.failure().filter(|_| is_of_it)
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Notified => "notified",
            Self::Downloading => "downloading",
            Self::Downloaded => "downloaded",
            Self::Updating => "updating",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|stage| stage.as_str() == text);
        found.ok_or_else(|| {
            let wrong = "is none that a device can be in with a deployment";
            Invalid::new("state", text, wrong, STAGES_ACCEPTED)
        })
    }
}

const STAGES_ACCEPTED: &str = "pending, notified, downloading, downloaded, updating, done or failed";
