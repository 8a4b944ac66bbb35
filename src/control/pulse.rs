//! How much has moved: for who only wants to know that it is time to look again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::handle::Control;

/// Counts since the start. Two that differ say that something has moved between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulse {
    /// State reports stored.
    pub reports: u64,
    /// Devices seen: connected, gone, told of a manifest; each at most once a second.
    pub sightings: u64,
    /// Counts of the fleet that came to something else than the one before. A count comes after what it counts, so that who looks
    /// at the last report's news has yet to look once more.
    pub figures: u64,
}

/// What the writer counts.
#[derive(Debug, Default)]
pub struct Beats {
    reports: AtomicU64,
    sightings: AtomicU64,
}

impl Beats {
    /// So many were committed: whoever looks from now on finds them.
    pub fn stored(&self, reports: usize, sightings: usize) {
        self.reports.fetch_add(reports as u64, Ordering::Release);
        self.sightings.fetch_add(sightings as u64, Ordering::Release);
    }
}

impl Control {
    /// How much has moved so far. Takes no lock.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        let beats = &self.shared.beats;
        Pulse {
            reports: beats.reports.load(Ordering::Acquire),
            sightings: beats.sightings.load(Ordering::Acquire),
            figures: self.shared.figures.moved(),
        }
    }
}
