//! How long a rollout may take: as long as the last one of its cohort took.
//!
//! 1. Of the cohort's last deployments, newest first, the first one is taken for which devices had to download something, which
//!    nearly all of those that were told of it have done, and whose history is fine enough to tell.
//! 2. Its history says how many devices had been told of it at any time, and how many were done. The n-th that was done counts as
//!    the n-th that was told. That is exact for all that were told at once, as those are that are connected when a deployment is
//!    made; a device that comes back days later counts by what it took from then on.
//! 3. What half of them took, and 95 in 100, is the estimate: as it was where as much or less is to be downloaded, and longer in
//!    proportion where it is more. As some of the time is no download, both are too much rather than too little.
//!
//! What else is known says less: the bytes that the gateway serves in a second at this moment are what some devices ask for,
//! and not what those of this cohort could take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::ControlError;
use super::handle::Control;
use super::history::ProgressPoint;
use super::series::DEPLOYMENT_STEP_MS;
use crate::fleet::{Change, Cohort, Deployment, ProjectId};

/// How long devices may take that are connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Estimate {
    /// So long, by an earlier rollout.
    Known(Expected),
    /// Devices have nothing to download.
    NothingToDownload,
    /// No rollout of the cohort says anything about it.
    NothingToGoBy,
}

/// What an earlier rollout says about the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// From when a device is told of it: what half of the devices take at most.
    pub half: Duration,
    /// What 95 in 100 devices take at most.
    pub most: Duration,
    /// The rollout that was measured.
    pub by: Arc<Deployment>,
    /// How many of its devices were.
    pub devices: u64,
}

impl Estimate {
    /// The times, where there are any.
    #[must_use]
    pub fn known(&self) -> Option<&Expected> {
        match self {
            Self::Known(expected) => Some(expected),
            Self::NothingToDownload | Self::NothingToGoBy => None,
        }
    }
}

/// In words: what it is measured by, or why there is none.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(Expected { by, devices, .. }) => {
                let devices = match devices {
                    1 => "1 device".to_owned(),
                    n => format!("{n} devices"),
                };
                write!(f, "as {devices} took {:?} (#{})", by.name.as_str(), by.sequence)
            }
            Self::NothingToDownload => f.write_str("nothing to download"),
            Self::NothingToGoBy => f.write_str("no rollout to measure by yet"),
        }
    }
}

impl Control {
    /// How long the devices of a cohort may take to download so many bytes each and to boot them. Reads a few histories.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn estimate(
        &self,
        project: ProjectId,
        cohort: &Cohort,
        bytes: u64,
    ) -> Result<Estimate, ControlError> {
        if bytes == 0 {
            return Ok(Estimate::NothingToDownload);
        }
        for deployment in cohort.newest_first().take(LOOKED_AT) {
            let downloaded = downloaded(deployment);
            if downloaded == 0 {
                continue;
            }
            let history = self.deployment_history(project, deployment.id).await?;
            // Seen too late to know when devices were told.
            let is_whole = history
                .points
                .first()
                .is_some_and(|first| first.at_ms <= deployment.created_ms);
            if let Some(measured) = Measured::of(&history.points, history.step_ms).filter(|_| is_whole) {
                return Ok(Estimate::Known(Expected {
                    half: measured.half_of(bytes, downloaded),
                    most: measured.most_of(bytes, downloaded),
                    by: Arc::clone(deployment),
                    devices: measured.devices,
                }));
            }
        }
        Ok(Estimate::NothingToGoBy)
    }
}

/// What a device downloaded for a deployment that ran the one before.
fn downloaded(deployment: &Deployment) -> u64 {
    let artifacts = deployment.artifacts.iter();
    let new = artifacts.filter(|artifact| match artifact.change {
        Change::Added | Change::Changed(_) => true,
        Change::Unchanged => false,
    });
    new.map(|artifact| artifact.size.get()).sum()
}

/// What the devices of a rollout took from being told to being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    half_ms: i64,
    most_ms: i64,
    devices: u64,
}

impl Measured {
    /// From how a rollout came along, if that is over and can be told.
    fn of(points: &[ProgressPoint], step_ms: i64) -> Option<Self> {
        // These ran it before.
        let before = points.first()?.progress.done;
        let told = |point: &ProgressPoint| {
            let all: u64 = point.progress.stages().iter().sum();
            (all - point.progress.pending).saturating_sub(before)
        };
        // What devices took, and how many took so long.
        let mut took: Vec<(i64, u64)> = Vec::new();
        let (mut done, mut reached) = (0, 0);
        let mut tellings = points.iter().peekable();
        for point in points {
            reached = told(point).max(reached);
            let done_by_now = point.progress.done.saturating_sub(before);
            while done < done_by_now {
                // The first moment at which more had been told than were done.
                while tellings.next_if(|telling| told(telling) <= done).is_some() {}
                let telling = tellings.peek()?;
                let devices = told(telling).min(done_by_now) - done;
                took.push((point.at_ms - telling.at_ms, devices));
                done += devices;
            }
        }
        if done == 0 || done * 100 < reached * NEARLY_ALL_PERCENT {
            return None;
        }
        took.sort_unstable();
        let within = |percent: u64| {
            let mut devices = 0;
            let last = took.iter().find(|(_, so_many)| {
                devices += so_many;
                devices * 100 >= done * percent
            });
            last.map_or(0, |&(took_ms, _)| took_ms.max(step_ms))
        };
        let (half_ms, most_ms) = (within(50), within(MOST_PERCENT));
        // Each of the two moments may be off by a step.
        let is_fine = step_ms <= DEPLOYMENT_STEP_MS || half_ms >= FINE_STEPS * step_ms;
        is_fine.then_some(Self {
            half_ms,
            most_ms,
            devices: done,
        })
    }

    fn half_of(&self, bytes: u64, downloaded: u64) -> Duration {
        in_proportion(self.half_ms, bytes, downloaded)
    }

    fn most_of(&self, bytes: u64, downloaded: u64) -> Duration {
        in_proportion(self.most_ms, bytes, downloaded)
    }
}

/// So long, or longer in proportion where more is to be downloaded than was. In whole seconds, rounded up.
fn in_proportion(ms: i64, bytes: u64, downloaded: u64) -> Duration {
    let ms = u128::try_from(ms).unwrap_or(0);
    let (bytes, downloaded) = (u128::from(bytes.max(downloaded)), u128::from(downloaded));
    let seconds = (ms * bytes).div_ceil(downloaded * 1000);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
}

/// How many deployments are looked at for one to measure by: as many as the console shows of a cohort.
const LOOKED_AT: usize = 10;
/// So many in 100 of the devices that were told of a rollout are done when it can be measured: of one that is under way, only
/// the fastest are. Some fail.
const NEARLY_ALL_PERCENT: u64 = 90;
/// So many in 100 devices are "most" of them: the last few are those that fail twice, or lose their network.
const MOST_PERCENT: u64 = 95;
/// So many times as long as the step of its history something took that can be told: then it is known to about a quarter.
const FINE_STEPS: i64 = 4;

#[cfg(test)]
#[path = "estimate_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
