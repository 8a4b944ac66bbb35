//! The one writer.
//!
//! 1. Wait for a command, a report, or the time to collect sightings and what happened to devices.
//! 2. Take what else is queued, up to a bound.
//! 3. Decide all of it in one transaction, and commit.
//! 4. Publish the view, tell the directory, send the changes, answer.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::batch::{Batch, Committed, Job};
use super::change::Change;
use super::counter::Touched;
use super::directory::DeviceEntry;
use super::error::ControlError;
use super::handle::Shared;
use super::report::Report;
use super::timeline::{self, MomentQueues};
use crate::clock;
use crate::fleet::{DeviceId, Digest, Moment};
use crate::store::{ReportRow, Sighting, StoreError};
use crate::telemetry::{self, GatewayEvent, StoreOperation, TimelineLoss};

/// What the writer reads from.
pub struct Queues {
    /// Commands.
    pub jobs: mpsc::Receiver<Box<dyn Job>>,
    /// Reports.
    pub reports: mpsc::Receiver<Report>,
    /// Devices that something was seen of; each at most once, so no longer than there are devices.
    pub sightings: mpsc::UnboundedReceiver<Arc<DeviceEntry>>,
    /// What happened to devices, for their timelines.
    pub moments: MomentQueues,
    /// Turns true when it is time to end.
    pub stop: watch::Receiver<bool>,
}

/// Writes until it is told to stop, and then what is queued.
pub async fn run(shared: Arc<Shared>, mut queues: Queues) {
    let mut collect = tokio::time::interval(COLLECT_SIGHTINGS);
    collect.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut work = Work::default();
        let mut time_to_collect = false;
        tokio::select! {
            Some(job) = queues.jobs.recv() => work.jobs.push(job),
            Some(report) = queues.reports.recv() => work.reports.push(report),
            _ = collect.tick() => time_to_collect = true,
            () = std::future::ready(()), if queues.moments.are_long() => {}
            _ = queues.stop.wait_for(|&stop| stop) => break,
        }
        if time_to_collect {
            work.collect(&mut queues);
        }
        work.take_queued(&mut queues);
        work.write(&shared).await;
    }

    queues.jobs.close();
    queues.reports.close();
    queues.sightings.close();
    queues.moments.close();
    loop {
        let mut work = Work::default();
        work.take_queued(&mut queues);
        work.collect(&mut queues);
        if work.is_empty() {
            return;
        }
        work.write(&shared).await;
    }
}

/// What is decided at once.
#[derive(Default)]
struct Work {
    jobs: Vec<Box<dyn Job>>,
    reports: Vec<Report>,
    sightings: Vec<(DeviceId, Sighting)>,
    /// Whose sightings they are, to be put back on the list if they are not kept.
    seen: Vec<Arc<DeviceEntry>>,
    moments: Vec<Moment>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.reports.is_empty()
            && self.sightings.is_empty()
            && self.moments.is_empty()
    }

    fn take_queued(&mut self, queues: &mut Queues) {
        while self.jobs.len() < JOBS_AT_ONCE
            && let Ok(job) = queues.jobs.try_recv()
        {
            self.jobs.push(job);
        }
        while self.reports.len() < REPORTS_AT_ONCE
            && let Ok(report) = queues.reports.try_recv()
        {
            self.reports.push(report);
        }
        queues.moments.take(&mut self.moments);
    }

    fn collect(&mut self, queues: &mut Queues) {
        while self.sightings.len() < SIGHTINGS_AT_ONCE
            && let Ok(entry) = queues.sightings.try_recv()
        {
            // Taken from the list first: what is seen from here on puts it back.
            entry.collected();
            let sighting = Sighting {
                last_seen_ms: Some(entry.last_seen_ms()).filter(|&ms| ms > 0),
                manifest_sent: entry.manifest_sent(),
                manifest_acknowledged: entry.manifest_acknowledged(),
            };
            self.sightings.push((entry.id(), sighting));
            self.seen.push(entry);
        }
    }

    async fn write(self, shared: &Shared) {
        if self.is_empty() {
            return;
        }
        let Self {
            mut jobs,
            mut reports,
            sightings,
            seen,
            mut moments,
        } = self;
        if !jobs.is_empty() {
            let is_vital = jobs.iter().any(|job| job.is_vital());
            keep_room(shared, is_vital).await;
        }
        moments.extend(reports.iter().filter_map(timeline::moment_of));
        let mut refused = Vec::new();
        // What room is left is for something else then.
        if shared.store.reserve().is_given() {
            refused = std::mem::take(&mut reports);
            timeline::lost(TimelineLoss::StoreFailed, std::mem::take(&mut moments).len());
        }
        let rows = newest(&reports);
        let queued = moments.len();
        let end = match decide_and_commit(shared, &mut jobs, &rows, &sightings, moments).await {
            Ok(committed) => {
                let seen = sightings
                    .iter()
                    .map(|(id, seen)| (*id, seen.manifest_acknowledged));
                let touched = Touched::by(&committed, &rows, seen);
                publish(shared, committed, reports.len());
                shared.beats.stored(reports.len(), sightings.len());
                shared.counting.touched(touched);
                shared.last_write_failed.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                telemetry::emit(GatewayEvent::StoreFailed(StoreOperation::Commit));
                let failed_before = shared.last_write_failed.swap(true, Ordering::Relaxed);
                // Tried again when it is next time to collect.
                for entry in &seen {
                    shared.note(entry);
                }
                timeline::lost(TimelineLoss::StoreFailed, queued);
                let cause = &error as &dyn std::error::Error;
                // Whoever has one command after the other refused does not fill the log as well.
                if failed_before && error.is_disk_full() {
                    tracing::debug!(error = cause, "a batch was not committed");
                } else {
                    tracing::error!(error = cause, "a batch was not committed");
                }
                Err(ControlError::from(error))
            }
        };
        for job in jobs {
            job.answer(end.clone());
        }
        for report in reports {
            (report.done)(end.as_ref().map(|_| ()).map_err(|_| ()));
        }
        for report in refused {
            (report.done)(Err(()));
        }
    }
}

/// Sees to the room that is kept on the disk before commands, one of which may be vital.
async fn keep_room(shared: &Shared, is_vital: bool) {
    let reserve = shared.store.reserve();
    if !is_vital && !reserve.is_given() {
        return;
    }
    let reserve = Arc::clone(reserve);
    let prepared = tokio::task::spawn_blocking(move || reserve.prepare(is_vital)).await;
    if let Ok(Err(error)) = prepared {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the room on the disk was not looked at"
        );
    }
}

async fn decide_and_commit(
    shared: &Shared,
    jobs: &mut [Box<dyn Job>],
    reports: &[ReportRow],
    sightings: &[(DeviceId, Sighting)],
    moments: Vec<Moment>,
) -> Result<Committed, StoreError> {
    let published = shared.view.load_full();
    let mut batch = Batch::begin(&shared.store, &shared.directory, Arc::clone(&published)).await?;
    // Before the commands, which may ask what a device was sent: who has just gone is in no directory any more.
    batch.tx.upsert_sightings(sightings).await?;
    for job in jobs.iter_mut() {
        job.decide(&mut batch).await?;
    }
    batch.tx.upsert_reports(reports).await?;
    batch.moments.extend(moments);

    let begun = clock::now();
    let committed = batch.commit(&published).await?;
    let commands = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    telemetry::emit(GatewayEvent::Committed {
        commands,
        took: clock::now().duration_since(begun),
    });
    Ok(committed)
}

/// The order matters: who is told of a change sees it in the view and in the entries.
fn publish(shared: &Shared, committed: Committed, reports: usize) {
    let Committed {
        view,
        audited,
        devices,
        created: _,
        changes,
        retired,
        events,
        done,
        unnamed,
    } = committed;
    if !Arc::ptr_eq(&view, &shared.view.load()) {
        shared.view.store(Arc::clone(&view));
    }
    // Only now does nobody find a way to them any more.
    for digest in unnamed {
        if !view.names(&digest) {
            remove(shared, &digest);
        }
    }
    shared.directory.committed(&devices);
    for event in events {
        telemetry::emit(event);
    }
    for done in done {
        done.log();
    }
    if !retired.is_empty() {
        let mut failures = shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (identity, device) in retired {
            failures.retired(identity, device);
        }
    }
    for change in changes {
        // Nobody may be listening.
        let _ = shared.changes.send(change);
    }
    if let Some(audited) = audited {
        shared.audited.send_replace(audited);
    }
    if let Ok(stored @ 1..) = u32::try_from(reports) {
        let _ = shared.changes.send(Change::ReportsStored(stored));
    }
}

/// Bytes that cannot be removed now are swept at the next start.
fn remove(shared: &Shared, digest: &Digest) {
    if let Err(error) = shared.store.remove_blob(digest) {
        tracing::warn!(%digest, error = &error as &dyn std::error::Error, "bytes without a name were not removed");
    }
}

/// The last report of each device and package: the ones before it would be written over in the same commit.
fn newest(reports: &[Report]) -> Vec<ReportRow> {
    let mut rows: Vec<ReportRow> = Vec::with_capacity(reports.len());
    let mut places: HashMap<_, usize> = HashMap::with_capacity(reports.len());
    for report in reports {
        let mut row = ReportRow {
            device: report.device.id(),
            state: report.said(),
        };
        match places.entry((row.device, report.package.as_str())) {
            std::collections::hash_map::Entry::Occupied(place) => {
                let before = &mut rows[*place.get()];
                row.state.follow(&before.state);
                *before = row;
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(rows.len());
                rows.push(row);
            }
        }
    }
    rows
}

/// Commands of a batch: a reasoned guess, so that a failing one takes few with it.
const JOBS_AT_ONCE: usize = 256;
/// Reports of a batch: some hundred milliseconds of a storm.
const REPORTS_AT_ONCE: usize = 16_384;
/// Sightings of a batch.
const SIGHTINGS_AT_ONCE: usize = 16_384;
/// How old the sightings in the store may be.
const COLLECT_SIGHTINGS: Duration = Duration::from_secs(1);
