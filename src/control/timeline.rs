//! What happened to devices, on its way to their timelines.
//!
//! 1. Whoever sees something happen leaves it in a bounded queue and goes on: log lines in one, everything else in another. A
//!    queue that is full loses it, and that is counted.
//! 2. The writer takes both along with whatever it commits, and once a second if there is nothing else: a log line has no
//!    sync of its own.
//! 3. A state report is not queued here: its entry is committed with the report, and so is what an operator did with the command.
//!
//! One device adds no more than [`A_SECOND`] entries a second to a strand, after a burst of [`BURST`]; more is lost and counted.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::directory::{DeviceEntry, Download};
use super::error::ControlError;
use super::handle::Control;
use super::report::Report;
use crate::clock;
use crate::fleet::{Artifact, DeviceId, LogLine, Moment, Strand, TimelineEntry, TimelineEvent};
use crate::store::TimelineFilter;
use crate::telemetry::{self, GatewayEvent, TimelineLoss};

impl Control {
    /// Adds to a device's timeline, at this moment. Must not be waited for, and is not: see the module.
    pub fn happened(&self, entry: &DeviceEntry, event: TimelineEvent) {
        self.happened_at(entry, clock::unix_ms(), event);
    }

    /// Adds to a device's timeline what happened at `at_ms`.
    pub fn happened_at(&self, entry: &DeviceEntry, at_ms: i64, event: TimelineEvent) {
        let strand = event.kind().strand();
        if !entry.allowance().admits(strand, at_ms) {
            lost(TimelineLoss::TooMany, 1);
            return;
        }
        let moment = Moment {
            device: entry.id(),
            at_ms,
            event,
        };
        match self.shared.moments.try_send(strand, moment) {
            Ok(()) => {}
            Err(TrySendError::Full(())) => lost(TimelineLoss::QueueFull, 1),
            // The program ends.
            Err(TrySendError::Closed(())) => {}
        }
    }

    /// Adds a line of its log to a device's timeline.
    pub fn logged(&self, entry: &DeviceEntry, at_ms: i64, line: LogLine) {
        self.happened_at(entry, at_ms, TimelineEvent::Log(line));
    }

    /// Notes that the bytes from `start` to `end` of an artifact were served in answer to what a device last said, and says what
    /// they were to its download.
    pub fn block_served(&self, entry: &DeviceEntry, artifact: &Artifact, start: u64, end: u64) -> Download {
        let download = entry.note_block(artifact.id, start, end, artifact.size.get());
        let (package, version) = (&artifact.package, &artifact.version);
        if download.begun {
            let begun = TimelineEvent::DownloadBegun {
                package: package.clone(),
                version: version.clone(),
                offset: start,
            };
            self.happened_at(entry, entry.last_seen_ms(), begun);
        }
        if download.finished {
            let finished = TimelineEvent::DownloadFinished {
                package: package.clone(),
                version: version.clone(),
                size: end,
            };
            self.happened_at(entry, entry.last_seen_ms(), finished);
        }
        download
    }

    /// Some of a device's timeline, newest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn timeline(
        &self,
        device: DeviceId,
        filter: &TimelineFilter,
    ) -> Result<Vec<TimelineEntry>, ControlError> {
        Ok(self.shared.store.timeline(device, filter).await?)
    }
}

/// The queues' ends of those who see something happen.
pub struct MomentSenders {
    logs: mpsc::Sender<Moment>,
    others: mpsc::Sender<Moment>,
}

/// The queues' ends of the writer.
pub struct MomentQueues {
    logs: mpsc::Receiver<Moment>,
    others: mpsc::Receiver<Moment>,
}

/// Queues that are empty.
pub fn moment_queues() -> (MomentSenders, MomentQueues) {
    let (log_sender, logs) = mpsc::channel(LOGS_QUEUED);
    let (other_sender, others) = mpsc::channel(OTHERS_QUEUED);
    let senders = MomentSenders {
        logs: log_sender,
        others: other_sender,
    };
    (senders, MomentQueues { logs, others })
}

impl MomentSenders {
    fn try_send(&self, strand: Strand, moment: Moment) -> Result<(), TrySendError<()>> {
        let queue = match strand {
            Strand::Log => &self.logs,
            Strand::Contact | Strand::Progress => &self.others,
        };
        queue.try_send(moment).map_err(|error| match error {
            TrySendError::Full(_) => TrySendError::Full(()),
            TrySendError::Closed(_) => TrySendError::Closed(()),
        })
    }
}

impl MomentQueues {
    /// Whether there is a batch full to be written, so that it is not waited any longer.
    pub fn are_long(&self) -> bool {
        self.logs.len() + self.others.len() >= MOMENTS_AT_ONCE
    }

    /// Moves up to a batch full into `moments`; log lines come last.
    pub fn take(&mut self, moments: &mut Vec<Moment>) {
        for queue in [&mut self.others, &mut self.logs] {
            while moments.len() < MOMENTS_AT_ONCE
                && let Ok(moment) = queue.try_recv()
            {
                moments.push(moment);
            }
        }
    }

    /// Takes nothing in any more.
    pub fn close(&mut self) {
        self.logs.close();
        self.others.close();
    }
}

/// The entry that a report makes, unless its device makes too many.
pub fn moment_of(report: &Report) -> Option<Moment> {
    if !report.device.allowance().admits(Strand::Progress, report.at_ms) {
        lost(TimelineLoss::TooMany, 1);
        return None;
    }
    Some(Moment {
        device: report.device.id(),
        at_ms: report.at_ms,
        event: TimelineEvent::Report(report.said()),
    })
}

/// Counts entries that nobody will find in a timeline.
pub fn lost(why: TimelineLoss, entries: usize) {
    telemetry::emit(GatewayEvent::TimelineLost {
        why,
        entries: u32::try_from(entries).unwrap_or(u32::MAX),
    });
}

/// How much a device may add to its timeline: for each strand, when it would have added its last entry had it kept to its
/// rate (the generic cell rate algorithm, in milliseconds of Unix time).
#[derive(Debug, Default)]
pub struct Allowance([AtomicI64; Strand::ALL.len()]);

impl Allowance {
    /// Whether there is room for one more at `at_ms`, which is then taken. One thread at a time asks for a device and
    /// strand; two would only let a few more through.
    pub fn admits(&self, strand: Strand, at_ms: i64) -> bool {
        let due = &self.0[strand.index()];
        let ahead = due.load(Ordering::Relaxed).saturating_sub(at_ms);
        // Further ahead it can only be because the clock was set back.
        let ahead = if ahead > BURST * EVERY_MS { 0 } else { ahead.max(0) };
        let admitted = ahead <= (BURST - 1) * EVERY_MS;
        if admitted {
            due.store(at_ms.saturating_add(ahead + EVERY_MS), Ordering::Relaxed);
        }
        admitted
    }
}

/// Entries of a strand that a device may add in a second, for long: the contract recommends no more than 20 requests a second.
const A_SECOND: i64 = 20;
const EVERY_MS: i64 = 1000 / A_SECOND;
/// Entries that a device may add at once: as many as are kept of its log.
const BURST: i64 = 100;
/// Log lines that wait: at their longest some 30 MB.
const LOGS_QUEUED: usize = 16_384;
/// Everything else that waits: a manifest sent to and acknowledged by 50 000 devices within a second, some 20 MB.
const OTHERS_QUEUED: usize = 131_072;
/// Entries that are written along with a batch: some ten milliseconds, so that no report waits long for them.
const MOMENTS_AT_ONCE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_adds_a_burst_and_then_so_many_a_second() {
        let allowance = Allowance::default();
        let now = 1_700_000_000_000;
        let admitted = |at_ms: i64, tries: usize| {
            (0..tries)
                .filter(|_| allowance.admits(Strand::Log, at_ms))
                .count()
        };
        assert_eq!(admitted(now, 1000), 100);
        assert_eq!(admitted(now + 49, 1000), 0);
        assert_eq!(admitted(now + 1000, 1000), 20);
        assert!(allowance.admits(Strand::Progress, now), "each strand by itself");
        assert_eq!(admitted(now + 3_600_000, 1000), 100, "it rested");
        assert_eq!(admitted(now - 3_600_000, 1000), 100, "the clock was set back");
        assert_eq!(admitted(now - 3_600_000, 1000), 0);
    }
}
