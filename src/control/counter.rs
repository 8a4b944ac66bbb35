//! Counts the fleet in the background, so that nobody who looks at it has to.
//!
//! 1. At the start the counter reads every device once, a chunk at a time, and takes down in the ledger where it stands.
//! 2. After a commit the writer says whose devices something was committed of ([`Counting::touched`]). The counter reads those
//!    again, and only those. Two things it need not read: an acknowledgement moves a device that is pending, and a deployment puts
//!    its whole cohort back to the beginning, which the ledger does for a class of devices at once.
//! 3. Then it looks at who is connected, puts the figures together, publishes them, takes samples for the histories, and rests:
//!    half a second, and ten times as long as it worked. It works for [`WORK_AT_ONCE`] at most before it publishes, so that
//!    figures of a storm are some seconds old and not some minutes. A deployment is published without waiting for the rest to end,
//!    which takes a while where a million devices are connected.
//! 4. A chunk that nobody touched is read every [`JUDGED_EVERY`], in turn: the store is the judge. What differs is put right, and
//!    said in the log.
//!
//! So a count costs what has changed, not how many devices there are. That where a device stands is decided in one place
//! ([`Stage::of`](crate::fleet::Stage::of)) from what is on disk, and not from what the writer believes it has changed, was worth
//! reading it again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::batch::Committed;
use super::change::Change;
use super::directory::Directory;
use super::error::ControlError;
use super::figures::{Presence, PresenceOf, compose, failures_at};
use super::handle::{Control, Shared};
use super::ledger::{Facts, Ledger};
use super::reads::Progress;
use super::view::View;
use crate::clock;
use crate::fleet::{Cohort, CohortId, Deployment, DeploymentId, DeviceId, ProjectId};
use crate::store::{CensusRow, FailureRow, FleetRow, ProgressCounts, ReportRow};
use crate::telemetry::{self, FleetState, GatewayEvent, StageLabel, StoreOperation, StorePart};

/// What the counter shares with those who change the fleet and those who ask.
pub struct Counting {
    ledger: Mutex<Ledger>,
    dirty: Mutex<Dirty>,
    /// Held while devices are read again, so that nobody writes down an older state over a newer one.
    turn: tokio::sync::Mutex<()>,
    is_loaded: AtomicBool,
    presence: ArcSwap<Presence>,
    /// Something was committed that is to be published soon.
    hurry: Notify,
    stop: watch::Sender<bool>,
}

/// What may not be in the ledger as it is on disk. No longer than there are devices.
#[derive(Debug, Default)]
struct Dirty {
    devices: BTreeSet<DeviceId>,
    /// Those that were made or changed, rather than said something: until they have been read.
    moved: BTreeSet<DeviceId>,
    /// How many are being read.
    reading: usize,
    /// Whether what need not be read is being put down.
    settling: bool,
    /// The highest sequence numbers that devices acknowledged.
    acknowledged: BTreeMap<DeviceId, u32>,
    /// Cohorts and the deployments that became theirs, of each cohort in the order in which they did.
    deployed: BTreeSet<(CohortId, DeploymentId)>,
}

/// What a commit means to the ledger.
#[derive(Debug, Default)]
pub struct Touched {
    /// Made or changed.
    moved: Vec<DeviceId>,
    reported: Vec<DeviceId>,
    acknowledged: Vec<(DeviceId, u32)>,
    deployed: Vec<(CohortId, DeploymentId)>,
}

impl Touched {
    /// What these mean that are being committed.
    pub fn by(
        committed: &Committed,
        reports: &[ReportRow],
        acknowledged: impl Iterator<Item = (DeviceId, u32)>,
    ) -> Self {
        let mut touched = Self {
            moved: committed.created.clone(),
            reported: reports.iter().map(|report| report.device).collect(),
            acknowledged: acknowledged.filter(|&(_, sequence)| sequence > 0).collect(),
            deployed: Vec::new(),
        };
        touched
            .moved
            .extend(committed.devices.iter().map(|device| device.id));
        for change in &committed.changes {
            match change {
                Change::CohortDeployed {
                    cohort, deployment, ..
                } => touched.deployed.push((*cohort, *deployment)),
                // Those that change a device name it among the devices.
                Change::DeviceMoved(_)
                | Change::DeviceUnassigned(_)
                | Change::DeviceDisabled(_)
                | Change::DeviceEnabled(_)
                | Change::DeviceDeleted(_)
                | Change::CredentialRetired { .. }
                | Change::CredentialsRetired(_)
                | Change::DevicePush(_)
                | Change::ReportsStored(_) => {}
            }
        }
        touched
    }
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            ledger: Mutex::default(),
            dirty: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            is_loaded: AtomicBool::new(false),
            presence: ArcSwap::default(),
            hurry: Notify::new(),
            stop: watch::channel(false).0,
        }
    }
}

impl Counting {
    /// Takes down what was committed and published. Called by the writer, for which it must not wait long.
    pub fn touched(&self, touched: Touched) {
        let mut dirty = lock(&self.dirty);
        dirty.devices.extend(touched.reported);
        dirty.devices.extend(&touched.moved);
        dirty.moved.extend(touched.moved);
        if !touched.deployed.is_empty() {
            dirty.deployed.extend(touched.deployed);
            self.hurry.notify_one();
        }
        for (device, sequence) in touched.acknowledged {
            let highest = dirty.acknowledged.entry(device).or_default();
            *highest = sequence.max(*highest);
        }
    }

    /// Ends the counter.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether every device has been counted once.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }

    /// As it is while devices are read that take their time.
    #[cfg(test)]
    pub async fn busy(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// As it is until every device has been counted once.
    #[cfg(test)]
    pub fn unload(&self) {
        self.is_loaded.store(false, Ordering::Release);
    }

    /// Devices that were made or changed and may be known here as they were before, if they are no more than `enough`.
    pub fn moved(&self, enough: usize) -> Option<BTreeSet<DeviceId>> {
        let dirty = lock(&self.dirty);
        (dirty.moved.len() <= enough).then(|| dirty.moved.clone())
    }

    /// The next devices after one of which both are true as far as is known, so many at most.
    pub fn matching(
        &self,
        after: Option<DeviceId>,
        limit: usize,
        wanted: impl Fn(&Facts) -> bool,
        is_wanted: impl FnMut(DeviceId) -> bool,
    ) -> Vec<DeviceId> {
        lock(&self.ledger).matching(after, limit, wanted, is_wanted)
    }

    /// Of each of some devices, whether that is true as far as is known.
    pub fn are(&self, devices: impl Iterator<Item = DeviceId>, wanted: impl Fn(&Facts) -> bool) -> Vec<bool> {
        lock(&self.ledger).are(devices, wanted)
    }

    /// Of how many devices that is true as far as is known.
    pub fn count(&self, wanted: impl Fn(&Facts) -> bool) -> u64 {
        lock(&self.ledger).count(wanted)
    }

    /// How many devices of a cohort stand where with its active deployment, as far as is known.
    pub fn stages(&self, cohort: CohortId, deployment: DeploymentId) -> [u64; 7] {
        lock(&self.ledger).stages(cohort, deployment)
    }

    /// Who was connected when that was last looked at.
    pub fn presence(&self) -> arc_swap::Guard<Arc<Presence>> {
        self.presence.load()
    }

    /// Puts down what need not be read: of acknowledgements so many at once that nobody waits long who asks what is known. Returns
    /// whether there are more.
    fn settle(&self, shared: &Shared) -> bool {
        let (acknowledged, deployed, more) = {
            let mut dirty = lock(&self.dirty);
            dirty.settling = true;
            let acknowledged = &mut dirty.acknowledged;
            let some: Vec<_> = std::iter::from_fn(|| acknowledged.pop_first())
                .take(ACKNOWLEDGED_AT_ONCE)
                .collect();
            let more = !acknowledged.is_empty();
            (some, std::mem::take(&mut dirty.deployed), more)
        };
        if !(acknowledged.is_empty() && deployed.is_empty()) {
            self.put_down(shared, &acknowledged, &deployed);
        }
        lock(&self.dirty).settling = false;
        more
    }

    fn put_down(
        &self,
        shared: &Shared,
        acknowledged: &[(DeviceId, u32)],
        deployed: &BTreeSet<(CohortId, DeploymentId)>,
    ) {
        // Published before it was said that something has changed.
        let view = shared.view.load_full();
        let mut ledger = lock(&self.ledger);
        for (cohort, made) in deployed {
            let Some(cohort) = view.projects().find_map(|project| project.cohort(*cohort)) else {
                continue;
            };
            let Some(place) = cohort.deployments.iter().position(|one| one.id == *made) else {
                continue;
            };
            if let Some(before) = place.checked_sub(1).map(|before| &cohort.deployments[before]) {
                self.end_series(shared, &ledger, cohort, before);
            }
            let unknown = ledger.deployed(&cohort.deployments[place]);
            lock(&self.dirty).devices.extend(unknown);
        }
        ledger.acknowledged(acknowledged.iter().copied(), |facts| {
            let active = view.project(facts.project)?.cohort(facts.cohort?)?.active()?;
            Some((active.id, active.sequence.get()))
        });
    }

    /// Takes down how far a deployment had come when another took its place, and why devices had failed.
    fn end_series(&self, shared: &Shared, ledger: &Ledger, cohort: &Cohort, deployment: &Deployment) {
        let mut series = shared.history.lock();
        let seen = series.seen(deployment.id);
        // Until the counter has been round once, the store may have a series that is not known here.
        if seen.is_none() && !self.is_loaded() {
            return;
        }
        let stages = ledger.stages(cohort.id, deployment.id);
        let counts = ProgressCounts {
            buckets: Progress::of_cohort(stages, cohort.devices, 0).stages(),
        };
        let failures = failures_at(ledger, deployment);
        let bytes_served = seen.map_or(0, |seen| seen.bytes_served);
        series.sample_deployment(deployment, clock::unix_ms(), counts, bytes_served);
        series.end(
            deployment.id,
            failures.into_iter().map(FailureRow::from).collect(),
        );
    }

    /// Takes down what was read of some devices. Returns those that were not as the ledger had them.
    fn note(&self, view: &View, asked: &[DeviceId], rows: Vec<CensusRow>) -> Vec<DeviceId> {
        let mut ledger = lock(&self.ledger);
        let mut other = Vec::new();
        let there: BTreeSet<_> = rows.iter().map(|row| row.device).collect();
        for &id in asked.iter().filter(|id| !there.contains(id)) {
            if ledger.forget(id) {
                other.push(id);
            }
        }
        for row in rows {
            let active = row.cohort.and_then(|cohort| {
                let cohort = view.project(row.project)?.cohort(cohort)?;
                cohort.active().map(Arc::as_ref)
            });
            let facts = Facts::of(
                row.project,
                row.cohort,
                row.enabled,
                active,
                row.acknowledged,
                row.states,
            );
            if ledger.note(row.device, facts) {
                other.push(row.device);
            }
        }
        other
    }

    fn is_clean(&self) -> bool {
        let dirty = lock(&self.dirty);
        dirty.devices.is_empty()
            && dirty.reading == 0
            && !dirty.settling
            && dirty.acknowledged.is_empty()
            && dirty.deployed.is_empty()
    }
}

impl Control {
    /// Counts what has changed up to now, if that is little. Returns whether the ledger is as the disk is.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn catch_up(&self) -> Result<bool, ControlError> {
        let counting = &self.shared.counting;
        if !counting.is_loaded() || counting.is_clean() {
            return Ok(counting.is_loaded());
        }
        let Ok(_turn) = tokio::time::timeout(PATIENCE, counting.turn.lock()).await else {
            return Ok(false);
        };
        counting.settle(&self.shared);
        self.read_dirty().await?;
        Ok(counting.is_clean())
    }

    /// Reads a chunk of the devices that were touched. Returns whether there were any. For who has the turn.
    async fn read_dirty(&self) -> Result<bool, ControlError> {
        let counting = &self.shared.counting;
        let ids: Vec<_> = {
            let mut dirty = lock(&counting.dirty);
            let devices = &mut dirty.devices;
            let ids: Vec<_> = std::iter::from_fn(|| devices.pop_first()).take(CHUNK).collect();
            dirty.reading = ids.len();
            ids
        };
        if ids.is_empty() {
            return Ok(false);
        }
        let read = self.shared.store.census_of(&ids).await;
        let noted = read.map(|rows| {
            // After it was read: what is published later is said to have changed later, too.
            let view = self.shared.view.load_full();
            counting.note(&view, &ids, rows);
        });
        let mut dirty = lock(&counting.dirty);
        dirty.reading = 0;
        if let Err(error) = noted {
            dirty.devices.extend(ids);
            return Err(error.into());
        }
        for id in &ids {
            // Unless it was touched once more.
            if !dirty.devices.contains(id) {
                dirty.moved.remove(id);
            }
        }
        Ok(true)
    }
}

/// Counts until it is told to stop.
pub async fn run(shared: Arc<Shared>) {
    let mut stopped = shared.counting.stop.subscribe();
    let mut counter = Counter::new(Control { shared });
    loop {
        let begun = clock::now();
        let was_loaded = counter.control.shared.counting.is_loaded();
        let rest = match counter.work().await {
            // The first time there is nothing to be shown until all of it is done.
            Ok(()) if !was_loaded => COUNT_EVERY,
            Ok(()) => (clock::now().duration_since(begun) * REST).max(COUNT_EVERY),
            Err(error) => {
                telemetry::emit(GatewayEvent::StoreFailed(StoreOperation::Read));
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the fleet was not counted; tried again in a moment");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = counter.rest(clock::now() + rest) => {}
            _ = stopped.wait_for(|&stop| stop) => break,
        }
    }
    counter.finish().await;
}

/// What the counter keeps for itself.
pub struct Counter {
    control: Control,
    /// The last device that was read for the first time, and then that was judged.
    after: DeviceId,
    judged: Option<Instant>,
    published: Instant,
    /// What had been served when, over the last moments.
    traffic: HashMap<ProjectId, VecDeque<(Instant, u64)>>,
    /// What had been served at the last sample.
    sampled: HashMap<ProjectId, (Instant, u64)>,
    written: Option<Instant>,
    measured: Option<Instant>,
    exported: Exported,
}

impl Counter {
    /// One that has nothing to go on yet.
    pub fn new(control: Control) -> Self {
        Self {
            control,
            after: DeviceId::new(i64::MIN),
            judged: None,
            published: clock::now(),
            traffic: HashMap::new(),
            sampled: HashMap::new(),
            written: None,
            measured: None,
            exported: Exported::default(),
        }
    }

    /// A round: counts, publishes, takes samples.
    async fn work(&mut self) -> Result<(), ControlError> {
        let control = self.control.clone();
        let counting = &control.shared.counting;
        if !counting.is_loaded() {
            self.load().await?;
        } else {
            let begun = clock::now();
            loop {
                let _turn = counting.turn.lock().await;
                let more = counting.settle(&control.shared);
                if !control.read_dirty().await? && !more {
                    self.judge().await?;
                    break;
                }
                if clock::now().duration_since(begun) > WORK_AT_ONCE {
                    break;
                }
            }
        }
        let presence = self.look_around().await;
        counting.presence.store(Arc::new(presence));
        self.publish();
        let sampled = self.sample().await;
        // Also when nothing can be written: that may be why.
        self.measure().await?;
        sampled
    }

    /// Does nothing until then, but for what is to be published soon: where many are connected, that is done without looking at
    /// each of them.
    pub async fn rest(&mut self, until: Instant) {
        let control = self.control.clone();
        let counting = &control.shared.counting;
        let ended = tokio::time::sleep_until(until.into());
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => return,
                () = counting.hurry.notified() => {}
            }
            tokio::select! {
                () = &mut ended => return,
                () = tokio::time::sleep_until((self.published + COUNT_EVERY).into()) => {}
            }
            if control.online() <= LOOKED_AT_ONCE {
                return;
            }
            {
                let _turn = counting.turn.lock().await;
                counting.settle(&control.shared);
            }
            self.publish();
        }
    }

    /// Reads every device once.
    async fn load(&mut self) -> Result<(), ControlError> {
        let control = self.control.clone();
        let counting = &control.shared.counting;
        loop {
            if *counting.stop.borrow() {
                return Ok(());
            }
            let _turn = counting.turn.lock().await;
            counting.settle(&control.shared);
            let rows = control.shared.store.census_after(self.after, CHUNK).await?;
            let more = rows.len() == CHUNK;
            self.after = rows.last().map_or(self.after, |row| row.device);
            let view = control.shared.view.load_full();
            counting.note(&view, &[], rows);
            if !more {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.after = DeviceId::new(i64::MIN);
        self.resume_series().await?;
        counting.is_loaded.store(true, Ordering::Release);
        Ok(())
    }

    async fn resume_series(&self) -> Result<(), ControlError> {
        let shared = &self.control.shared;
        let view = shared.view.load_full();
        let cohorts = view.projects().flat_map(|project| project.cohorts.values());
        let active: HashMap<_, _> = cohorts
            .filter_map(|cohort| cohort.active().map(|active| (active.id, active)))
            .collect();
        let ids: Vec<_> = active.keys().copied().collect();
        let ends = shared.store.series_ends(&ids).await?;
        let mut series = shared.history.lock();
        for (id, end) in ends {
            if let Some(deployment) = active.get(&id) {
                series.resume(deployment, end, clock::unix_ms());
            }
        }
        Ok(())
    }

    /// Compares a chunk of the ledger with the disk, if it is time to. For who has the turn.
    async fn judge(&mut self) -> Result<(), ControlError> {
        let now = clock::now();
        let last = *self.judged.get_or_insert(now);
        if now.duration_since(last) < JUDGED_EVERY {
            return Ok(());
        }
        self.judged = Some(now);
        let control = self.control.clone();
        let counting = &control.shared.counting;
        let rows = control.shared.store.census_after(self.after, CHUNK).await?;
        let last = match rows.last() {
            Some(row) if rows.len() == CHUNK => row.device,
            _ => DeviceId::new(i64::MAX),
        };
        let asked = lock(&counting.ledger).between(self.after, last);
        self.after = if rows.len() == CHUNK {
            last
        } else {
            DeviceId::new(i64::MIN)
        };
        let view = control.shared.view.load_full();
        let mut other = counting.note(&view, &asked, rows);
        let dirty = lock(&counting.dirty);
        // What changed a moment ago would have been read in a moment.
        other.retain(|id| !dirty.devices.contains(id) && !dirty.acknowledged.contains_key(id));
        if !other.is_empty() && dirty.deployed.is_empty() {
            tracing::warn!(devices = other.len(), "the figures were off, and are right again");
        }
        Ok(())
    }

    /// Looks at all that are connected, a chunk at a time.
    async fn look_around(&mut self) -> Presence {
        let shared = Arc::clone(&self.control.shared);
        let view = shared.view.load_full();
        let now_ms = clock::unix_ms();
        let mut presence = Presence {
            served: shared.directory.settled(),
            ..Presence::default()
        };
        for project in view.projects() {
            let mut of = PresenceOf::default();
            let mut after = None;
            loop {
                let ids = shared.directory.connected_after(project.id, after, CHUNK);
                for entry in ids.iter().filter_map(|&id| shared.directory.get(id)) {
                    if entry.session().is_none() {
                        continue;
                    }
                    of.online += 1;
                    of.observing += u64::from(entry.is_observing());
                    of.downloading += u64::from(entry.is_downloading(now_ms));
                    if let Some(cohort) = entry.cohort() {
                        *presence.cohorts.entry(cohort).or_default() += 1;
                    }
                    if let Some((artifact, _)) = entry.transfer() {
                        let served = presence.served.entry((entry.cohort(), artifact));
                        *served.or_default() += Directory::running(&entry);
                    }
                }
                after = ids.last().copied();
                if ids.len() < CHUNK {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let (now, bytes) = (clock::now(), shared.directory.traffic(project.id));
            let window = self.traffic.entry(project.id).or_default();
            window.push_back((now, bytes));
            while window.len() > 2 && now.duration_since(window[1].0) >= WINDOW {
                window.pop_front();
            }
            of.bytes_per_second = window.front().map_or(0.0, |&begin| rate(begin, (now, bytes)));
            presence.projects.insert(project.id, of);
        }
        presence
    }

    fn publish(&mut self) {
        let shared = &self.control.shared;
        let counting = &shared.counting;
        if !counting.is_loaded() {
            return;
        }
        self.published = clock::now();
        let now_ms = clock::unix_ms();
        let (view, composed) = {
            let ledger = lock(&counting.ledger);
            // While nobody puts down a deployment that it lacks.
            let view = shared.view.load_full();
            self.exported.count(&ledger, &view, &counting.presence.load());
            let composed = compose(&view, &ledger, &counting.presence.load(), now_ms);
            (view, composed)
        };
        let mut series = shared.history.lock();
        for project in view.projects() {
            let Some(figures) = composed.get(&project.id) else {
                continue;
            };
            for cohort in project.cohorts.values() {
                let counted = figures.cohorts.get(&cohort.id).and_then(|cohort| cohort.progress);
                if let (Some(active), Some((id, progress))) = (cohort.active(), counted)
                    && active.id == id
                {
                    let counts = ProgressCounts {
                        buckets: progress.stages(),
                    };
                    series.sample_deployment(active, now_ms, counts, progress.bytes_served);
                }
            }
        }
        drop(series);
        shared.figures.publish(composed);
    }

    /// Looks at how large the data folder is, if it is time to.
    async fn measure(&mut self) -> Result<(), ControlError> {
        let now = clock::now();
        if self
            .measured
            .is_some_and(|measured| now.duration_since(measured) < MEASURED_EVERY)
        {
            return Ok(());
        }
        self.measured = Some(now);
        let shared = Arc::clone(&self.control.shared);
        // A file system that hangs holds up the figures, and nothing else.
        let measured = tokio::task::spawn_blocking(move || {
            let named: HashMap<_, _> = shared
                .view
                .load()
                .artifacts()
                .map(|of| (of.digest, of.size.get()))
                .collect();
            if let Err(error) = shared.store.reserve().keep() {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "no room is kept on the disk");
            }
            (shared.store.measure(), named.values().sum())
        });
        // The program ends.
        let Ok((measured, artifacts)) = measured.await else {
            return Ok(());
        };
        let measured = measured?;
        for (part, bytes) in [
            (StorePart::Database, measured.database),
            (StorePart::WriteAheadLog, measured.write_ahead_log),
            (StorePart::SessionLog, measured.session_log),
            (StorePart::Artifacts, artifacts),
        ] {
            telemetry::emit(GatewayEvent::StoreMeasured { part, bytes });
        }
        telemetry::emit(GatewayEvent::DiskMeasured {
            size: measured.disk_size,
            free: measured.disk_free,
        });
        Ok(())
    }

    /// Takes a sample of the whole and has the histories written, if it is time to.
    async fn sample(&mut self) -> Result<(), ControlError> {
        let shared = Arc::clone(&self.control.shared);
        let now = clock::now();
        if shared.history.lock().has_ended() {
            self.control.write_history(clock::unix_ms()).await?;
        }
        let due = self
            .written
            .is_none_or(|written| now.duration_since(written) >= SAMPLED_EVERY);
        if !due || !shared.counting.is_loaded() {
            return Ok(());
        }
        self.written = Some(now);
        let now_ms = clock::unix_ms();
        for project in shared.view.load_full().projects() {
            let figures = shared.figures.of(project.id);
            let served = (now, shared.directory.traffic(project.id));
            let before = self.sampled.insert(project.id, served);
            let row = FleetRow {
                at_ms: now_ms,
                begins: false,
                connected: figures.online,
                observing: figures.observing,
                downloading: figures.downloading,
                failing: figures.failing,
                bytes_per_second: before.map_or(0.0, |before| rate(before, served)),
            };
            shared.history.lock().sample_fleet(project.id, row);
        }
        self.control.write_history(now_ms).await
    }

    /// The last values of all series are kept: the next start goes on from there.
    async fn finish(mut self) {
        self.exported.withdraw();
        self.control.shared.history.lock().finish();
        if let Err(error) = self.control.write_history(clock::unix_ms()).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the last points of the histories were not kept");
        }
    }
}

/// What was last added to the metrics: gauges are moved, as more than one gateway may run in a process.
#[derive(Debug, Default)]
struct Exported {
    devices: [i64; FleetState::NAMES.len()],
    stages: [i64; StageLabel::NAMES.len()],
}

impl Exported {
    fn count(&mut self, ledger: &Ledger, view: &View, presence: &Presence) {
        let mut counted = Self::default();
        let active: BTreeSet<DeploymentId> = view
            .projects()
            .flat_map(|project| project.cohorts.values())
            .filter_map(|cohort| cohort.active().map(|active| active.id))
            .collect();
        for (facts, devices) in ledger.classes() {
            let devices = i64::try_from(devices).unwrap_or(i64::MAX);
            let state = if facts.enabled {
                FleetState::Offline
            } else {
                FleetState::Disabled
            };
            counted.devices[state.index()] += devices;
            if let Some((deployment, stage)) = facts.standing
                && active.contains(&deployment)
            {
                counted.stages[StageLabel::named(stage.as_str()).index()] += devices;
            }
        }
        let online = presence.projects.values().map(|of| of.online).sum::<u64>();
        let online = i64::try_from(online).unwrap_or(i64::MAX);
        // Who is connected may connect.
        counted.devices[FleetState::Online.index()] = online;
        let offline = &mut counted.devices[FleetState::Offline.index()];
        *offline = (*offline - online).max(0);
        self.move_to(counted);
    }

    /// Takes back everything.
    fn withdraw(&mut self) {
        self.move_to(Self::default());
    }

    fn move_to(&mut self, counted: Self) {
        for (name, (before, after)) in FleetState::NAMES
            .iter()
            .zip(self.devices.iter().zip(counted.devices))
        {
            let state = FleetState::named(name);
            let by = after - before;
            telemetry::emit(GatewayEvent::DevicesCounted { state, by });
        }
        for (name, (before, after)) in StageLabel::NAMES
            .iter()
            .zip(self.stages.iter().zip(counted.stages))
        {
            let stage = StageLabel::named(name);
            let by = after - before;
            telemetry::emit(GatewayEvent::ProgressCounted { stage, by });
        }
        *self = counted;
    }
}

/// Bytes in a second between two moments.
fn rate((from, before): (Instant, u64), (to, after): (Instant, u64)) -> f64 {
    let seconds = to.duration_since(from).as_secs_f64();
    if seconds > 0.0 {
        after.saturating_sub(before) as f64 / seconds
    } else {
        0.0
    }
}

/// No holder of these locks can panic; a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Acknowledgements that are put down at once: some milliseconds.
const ACKNOWLEDGED_AT_ONCE: usize = 10_000;
/// Devices that are read in one statement: some ten milliseconds of one reader.
const CHUNK: usize = 1000;
/// The shortest time from one count to the next: nobody reads faster.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// So many times as long as a count took is rested after it.
const REST: u32 = 10;
/// Connected devices that are looked at in some milliseconds.
const LOOKED_AT_ONCE: usize = if cfg!(test) { 4 } else { 10_000 };
/// How long devices are read before what is known is published.
const WORK_AT_ONCE: Duration = Duration::from_millis(50);
/// How long it is waited after the store has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How often a chunk that nobody touched is compared with the disk: a million devices in some three hours.
const JUDGED_EVERY: Duration = Duration::from_secs(10);
/// How long who asks for a number waits for the counter's turn before an older number will do.
const PATIENCE: Duration = Duration::from_millis(100);
/// Over how long bytes in a second are measured, for what is shown.
const WINDOW: Duration = Duration::from_secs(2);
/// How often the data folder is measured: about as often as somebody asks for metrics.
const MEASURED_EVERY: Duration = Duration::from_secs(10);
/// How often a sample is taken of the whole, and histories are written.
const SAMPLED_EVERY: Duration = Duration::from_secs(10);
