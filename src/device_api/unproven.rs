//! What devices say before they have shown that they are there, after a restart of the gateway: somebody may be saying again
//! what a device said just before (`transport::shard::proof`). It is kept here, and takes effect once the device has.
//!
//! - In the order in which it came, which is the order in which it was said: older records are not taken meanwhile.
//! - At most [`KEPT_PER_SESSION`] reports of a session and [`KEPT_MAX`] of all. Beyond, a report is left unanswered, as with a full
//!   queue: the device sends it again, and has most likely shown itself by then.
//! - With a gap in what came, with the session or the process it is gone: nothing was on disk.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control::{Control, DeviceEntry, QueueFull, Report};

/// What is kept, by session.
#[derive(Debug, Default)]
pub struct Unproven {
    kept: Mutex<All>,
    /// How many sessions have something here, so that hardly any request has to take the lock.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct All {
    sessions: HashMap<u64, Kept>,
    reports: usize,
}

#[derive(Default)]
struct Kept {
    reports: VecDeque<Report>,
    /// The highest manifest that a request of the device's would have acknowledged.
    acknowledged: u32,
    /// Whether the device has shown itself meanwhile, and only the queue was full.
    is_proven: bool,
}

impl Unproven {
    /// Keeps a report that `make` makes.
    ///
    /// # Errors
    /// There is no room, and nothing was made.
    pub fn keep(&self, serial: u64, make: impl FnOnce() -> Report) -> Result<(), QueueFull> {
        let mut all = self.lock();
        let of = all.sessions.get(&serial).map_or(0, |kept| kept.reports.len());
        if all.reports >= KEPT_MAX || of >= KEPT_PER_SESSION {
            return Err(QueueFull);
        }
        all.sessions.entry(serial).or_default().reports.push_back(make());
        all.reports += 1;
        self.count(&all);
        Ok(())
    }

    /// A request that would have acknowledged this manifest.
    pub fn acknowledged(&self, serial: u64, version: u32) {
        let mut all = self.lock();
        let kept = all.sessions.entry(serial).or_default();
        kept.acknowledged = kept.acknowledged.max(version);
        self.count(&all);
    }

    /// The session's device has shown that it is there.
    pub fn proven(&self, control: &Control, device: &Arc<DeviceEntry>, serial: u64) {
        if let Some(kept) = self.lock().sessions.get_mut(&serial) {
            kept.is_proven = true;
        }
        self.settle(control, device, serial);
    }

    /// Hands on what a session said before its device showed that it is there, as far as the queue takes it. To be called again
    /// before whatever the device says next.
    pub fn settle(&self, control: &Control, device: &Arc<DeviceEntry>, serial: u64) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut all = self.lock();
        let All { sessions, reports } = &mut *all;
        let Some(kept) = sessions.get_mut(&serial).filter(|kept| kept.is_proven) else {
            return;
        };
        match std::mem::take(&mut kept.acknowledged) {
            0 => {}
            version => control.manifest_acknowledged(device, version),
        }
        while let Some(report) = kept.reports.pop_front() {
            match control.report_slot() {
                Ok(slot) => slot.take(report),
                Err(QueueFull) => return kept.reports.push_front(report),
            }
            *reports -= 1;
        }
        sessions.remove(&serial);
        self.count(&all);
    }

    /// Nothing of it is to have an effect: the session is over, or it may be what an earlier run was told, and not the last of that.
    pub fn forget(&self, serial: u64) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut all = self.lock();
        let forgotten = all.sessions.remove(&serial);
        all.reports -= forgotten.as_ref().map_or(0, |kept| kept.reports.len());
        self.count(&all);
        drop(all);
        if let Some(kept) = forgotten.filter(|kept| !kept.reports.is_empty()) {
            tracing::debug!(
                reports = kept.reports.len(),
                "reports are dropped of which it is not known whether this run was told first"
            );
        }
    }

    fn count(&self, all: &All) {
        self.waiting.store(all.sessions.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("reports", &self.reports.len())
            .field("acknowledged", &self.acknowledged)
            .field("is_proven", &self.is_proven)
            .finish()
    }
}

/// Reports kept of one session: an update of a device takes four, and the ping's answer takes one round trip.
const KEPT_PER_SESSION: usize = 8;
/// Reports kept of all sessions, about 20 MB: what a large fleet says in the first second.
const KEPT_MAX: usize = 65_536;
