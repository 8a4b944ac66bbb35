//! What changing devices would do, without doing it.

use std::sync::Arc;

use super::devices::DevicePatch;
use super::reads::DeviceRecord;
use crate::fleet::{Cohort, Deployment, SequenceGoesBack};

/// What follows if some devices are put in a cohort, or taken out of theirs.
#[derive(Debug, Clone, Default)]
pub struct MovePreview {
    /// Where they go.
    pub to: Option<Arc<Cohort>>,
    /// How many devices were looked at.
    pub devices: u64,
    /// Would join the cohort.
    pub joining: u64,
    /// Would be in no cohort any more.
    pub leaving: u64,
    /// Are there already.
    pub unchanged: u64,
    /// Would join, and are connected: their update starts at once.
    pub online: u64,
    /// Are connected, wherever they go.
    pub connected: u64,
    /// Would be other than they are.
    pub changing: u64,
    /// What those that would join have to download in all, by what they last reported.
    pub bytes_total: u64,
    /// The most that one of them has to download.
    pub bytes_per_device: u64,
    /// Would see the sequence number fall: the first few.
    pub back: Vec<SequenceGoesBack>,
    /// How many more would.
    pub more_back: u64,
}

impl MovePreview {
    /// Of no device yet.
    #[must_use]
    pub fn new(to: Option<Arc<Cohort>>) -> Self {
        Self {
            to,
            ..Self::default()
        }
    }

    /// What they would be told to run.
    #[must_use]
    pub fn deployment(&self) -> Option<&Arc<Deployment>> {
        self.to.as_ref().and_then(|cohort| cohort.active())
    }

    /// Looks at a device that is to be changed like that.
    pub fn look(&mut self, record: &DeviceRecord, patch: &DevicePatch) {
        self.devices += 1;
        self.connected += u64::from(record.session.is_some());
        self.changing += u64::from(patch.changes(&record.device));
        match patch.cohort {
            Some(_) => self.add(record),
            // Where nobody is moved, everybody stays.
            None => self.unchanged += 1,
        }
    }

    fn add(&mut self, record: &DeviceRecord) {
        let Some(to) = self.to.as_ref().filter(|to| record.device.cohort != Some(to.id)) else {
            match (&self.to, record.device.cohort) {
                (None, Some(_)) => self.leaving += 1,
                (Some(_), _) | (None, None) => self.unchanged += 1,
            }
            return;
        };
        self.joining += 1;
        self.online += u64::from(record.session.is_some());
        let wanted = to.active().map_or(&[][..], |active| &active.artifacts);
        let bytes = wanted
            .iter()
            .filter(|artifact| {
                let runs = |state: &crate::fleet::PackageState| {
                    state.package == artifact.package.as_str()
                        && state.version.as_deref() == Some(artifact.version.as_str())
                };
                !record.packages.iter().any(runs)
            })
            .map(|artifact| artifact.size.get())
            .sum();
        self.bytes_total = self.bytes_total.saturating_add(bytes);
        self.bytes_per_device = self.bytes_per_device.max(bytes);
        if let Err(back) = SequenceGoesBack::check(&record.device.name, record.sighting.manifest_sent, to) {
            match self.back.len() < BACK_SHOWN {
                true => self.back.push(back),
                false => self.more_back += 1,
            }
        }
    }
}

/// Devices named one by one: a reasoned guess at what somebody reads.
pub const BACK_SHOWN: usize = 20;
