//! The devices that somebody is talking to right now, shared by the shards and the writer.
//!
//! An entry lives as long as somebody holds it (a handshake, a session); the directory only knows where it is. An entry
//! and the writer meet like this, so that no change is missed:
//!
//! - The loader remembers the directory's generation, reads the row, puts the entry in, and reads the row again if the
//!   generation moved.
//! - The writer, after a commit that touches devices, moves the generation and then updates the entries that are in.
//!
//! A change committed after the first read either finds the entry, or has moved the generation before the loader looks.
//! Revisions decide when two updates cross.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::{DashMap, Entry};

use super::connected::{Connected, ConnectedNow};
use super::timeline::Allowance;
use crate::fleet::{ArtifactId, CohortId, CredentialId, Device, DeviceId, DeviceName, ProjectId};

/// A device that somebody is talking to.
pub struct DeviceEntry {
    id: DeviceId,
    /// Of its project.
    traffic: Arc<Traffic>,
    name: DeviceName,
    /// Cohort, enabled and revision change together.
    record: Mutex<i64>,
    /// 0 is none.
    cohort: AtomicI64,
    enabled: AtomicBool,
    session: Mutex<Option<SessionFacts>>,
    /// Which of its sessions observes, see [`Self::is_observing`]; 0 is none.
    observing: AtomicU32,
    seen: Seen,
    allowance: Allowance,
    directory: Weak<Directory>,
}

/// What a live session is, for whoever looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFacts {
    /// The shard that has it.
    pub shard: u16,
    /// Where the device is.
    pub peer: SocketAddr,
    /// The cipher suite, or `none` for CoAP without security.
    pub suite: &'static str,
    /// The connection ID that its records come with, if one was agreed on.
    pub connection_id: Option<[u8; 8]>,
    /// The credential that the device proved; none for CoAP without security.
    pub credential: Option<CredentialId>,
    /// Since when, in milliseconds of Unix time.
    pub since_ms: i64,
    /// Which of the device's sessions: a later one has a higher number.
    pub serial: u64,
}

/// What the gateway itself saw of a device. Written by shards in passing, collected by the writer.
#[derive(Debug, Default)]
struct Seen {
    last_ms: AtomicI64,
    /// The highest of the manifests sent.
    sent: AtomicU32,
    /// The highest of those that it acknowledged.
    acknowledged: AtomicU32,
    /// The last one sent: lower than `sent` after a move to a cohort that deploys an older one.
    last_sent: AtomicU32,
    /// The last one that it acknowledged.
    last_acknowledged: AtomicU32,
    transfer: AtomicI64,
    transfer_end: AtomicU64,
    /// Of the artifact in `transfer`.
    bytes_served: AtomicU64,
    /// When its last block was, in seconds of Unix time.
    block_s: AtomicU32,
    /// Whether its last block was served.
    finished: AtomicBool,
    /// Whether the writer has it on its list.
    noted: AtomicBool,
}

/// What a manifest was to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// Its sequence number is the highest so far.
    pub highest: bool,
    /// It is another one than the last.
    pub other: bool,
}

impl News {
    fn of(highest: &AtomicU32, last: &AtomicU32, sequence: u32) -> Self {
        // Nothing to do is no manifest.
        Self {
            highest: highest.fetch_max(sequence, Ordering::Relaxed) < sequence,
            other: sequence > 0 && last.swap(sequence, Ordering::Relaxed) != sequence,
        }
    }
}

/// What a block was to a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download {
    /// The first one, of this artifact or once more.
    pub begun: bool,
    /// The last one, for the first time.
    pub finished: bool,
    /// Not past the furthest one that the device was served of this artifact.
    pub repeated: bool,
}

impl DeviceEntry {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// The project it belongs to.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        self.traffic.project
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DeviceName {
        &self.name
    }

    /// The cohort it is in.
    #[must_use]
    pub fn cohort(&self) -> Option<CohortId> {
        match self.cohort.load(Ordering::Acquire) {
            0 => None,
            id => Some(CohortId::new(id)),
        }
    }

    /// Whether it may connect.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Its live session.
    #[must_use]
    pub fn session(&self) -> Option<SessionFacts> {
        *lock(&self.session)
    }

    /// Whether its live session observes what it should have.
    #[must_use]
    pub fn is_observing(&self) -> bool {
        let session = self.session();
        session.is_some_and(|session| self.observing.load(Ordering::Relaxed) == mark(session.serial))
    }

    /// Notes whether its session `serial` observes what it should have. What another session says is over already.
    pub(super) fn note_observing(&self, serial: u64, observes: bool) {
        if self.session().is_some_and(|session| session.serial == serial) {
            let observing = if observes { mark(serial) } else { 0 };
            self.observing.store(observing, Ordering::Relaxed);
        }
    }

    /// Whether it fetches an artifact, as far as can be told: it has not had the last block, and one of late.
    #[must_use]
    pub fn is_downloading(&self, unix_ms: i64) -> bool {
        let seen = &self.seen;
        let ago_s = unix_ms / 1000 - i64::from(seen.block_s.load(Ordering::Relaxed));
        self.transfer().is_some() && !seen.finished.load(Ordering::Relaxed) && ago_s <= DOWNLOADING_S
    }

    /// The highest sequence number of a manifest that it was sent since it connected; 0 is none.
    #[must_use]
    pub fn manifest_sent(&self) -> u32 {
        self.seen.sent.load(Ordering::Relaxed)
    }

    /// The highest sequence number of a manifest that it acknowledged since it connected; 0 is none.
    #[must_use]
    pub fn manifest_acknowledged(&self) -> u32 {
        self.seen.acknowledged.load(Ordering::Relaxed)
    }

    /// The artifact it fetched last, how far (the end of the furthest block, in bytes), since it connected.
    #[must_use]
    pub fn transfer(&self) -> Option<(ArtifactId, u64)> {
        match self.seen.transfer.load(Ordering::Relaxed) {
            0 => None,
            id => Some((
                ArtifactId::new(id),
                self.seen.transfer_end.load(Ordering::Relaxed),
            )),
        }
    }

    /// When it was last heard, in milliseconds of Unix time; 0 if not since it connected.
    #[must_use]
    pub fn last_seen_ms(&self) -> i64 {
        self.seen.last_ms.load(Ordering::Relaxed)
    }

    /// Notes that something was heard from it.
    pub fn note_seen(&self, unix_ms: i64) {
        self.seen.last_ms.fetch_max(unix_ms, Ordering::Relaxed);
    }

    /// Notes that a block of an artifact of `size` bytes was served, from `start` to `end`. Takes no lock and allocates
    /// nothing, except for the first block of another artifact. Only one shard talks to a device at a time.
    pub(super) fn note_block(&self, artifact: ArtifactId, start: u64, end: u64, size: u64) -> Download {
        let seen = &self.seen;
        let other = seen.transfer.load(Ordering::Relaxed) != artifact.get();
        if other {
            self.settle_bytes();
            seen.transfer.store(artifact.get(), Ordering::Relaxed);
            seen.transfer_end.store(0, Ordering::Relaxed);
        }
        let furthest = seen.transfer_end.fetch_max(end, Ordering::Relaxed);
        seen.bytes_served.fetch_add(end - start, Ordering::Relaxed);
        self.traffic.served(self.id, end - start);
        let now_s = u32::try_from(self.last_seen_ms() / 1000).unwrap_or(0);
        seen.block_s.store(now_s, Ordering::Relaxed);
        // The first block once more is a copy of the request, unless others have followed it.
        let begun = other || (start == 0 && furthest > end);
        if begun {
            seen.finished.store(false, Ordering::Relaxed);
        }
        let finished = end == size && !seen.finished.swap(true, Ordering::Relaxed);
        let repeated = !other && end <= furthest;
        Download {
            begun,
            finished,
            repeated,
        }
    }

    /// Notes what was sent: whether that is the highest so far, and whether it is another one than the last.
    pub(super) fn note_sent(&self, sequence: u32) -> News {
        News::of(&self.seen.sent, &self.seen.last_sent, sequence)
    }

    /// Notes what was sent before the gateway was last started. Returns whether it is the highest so far.
    pub(super) fn note_sent_before(&self, sequence: u32) -> bool {
        // Since the start it may have been sent another one already.
        let last = &self.seen.last_sent;
        let _ = last.compare_exchange(0, sequence, Ordering::Relaxed, Ordering::Relaxed);
        self.seen.sent.fetch_max(sequence, Ordering::Relaxed) < sequence
    }

    /// Notes what was acknowledged, as [`Self::note_sent`].
    pub(super) fn note_acknowledged(&self, sequence: u32) -> News {
        News::of(&self.seen.acknowledged, &self.seen.last_acknowledged, sequence)
    }

    /// How much it may add to its timeline.
    pub(super) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Whether the writer should hear of this entry: it has not got it on its list.
    pub(super) fn note(&self) -> bool {
        !self.seen.noted.swap(true, Ordering::AcqRel)
    }

    /// The writer takes it from its list.
    pub(super) fn collected(&self) {
        self.seen.noted.store(false, Ordering::Release);
    }

    /// Moves the bytes served into the directory's sum.
    fn settle_bytes(&self) {
        let bytes = self.seen.bytes_served.swap(0, Ordering::Relaxed);
        if let (Some((artifact, _)), Some(directory), 1..) =
            (self.transfer(), self.directory.upgrade(), bytes)
        {
            *directory.served.entry((self.cohort(), artifact)).or_default() += bytes;
        }
    }

    /// Takes over a record, unless a newer one was taken over before.
    fn apply(&self, device: &Device) {
        let mut revision = lock(&self.record);
        if *revision < device.revision {
            *revision = device.revision;
            self.cohort
                .store(device.cohort.map_or(0, CohortId::get), Ordering::Release);
            self.enabled.store(device.enabled, Ordering::Release);
        }
    }
}

impl std::fmt::Debug for DeviceEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceEntry")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Drop for DeviceEntry {
    fn drop(&mut self) {
        self.settle_bytes();
        if let Some(directory) = self.directory.upgrade() {
            directory
                .entries
                .remove_if(&self.id, |_, entry| entry.strong_count() == 0);
            if lock(&self.session).is_some() {
                directory.left(self);
            }
        }
    }
}

/// Where the entries are.
#[derive(Debug, Default)]
pub struct Directory {
    entries: DashMap<DeviceId, Weak<DeviceEntry>>,
    generation: AtomicU64,
    online: AtomicUsize,
    /// Those that have a session. More than one entry of a device may have one for a moment, when the last holder of an older one
    /// lets go. Locked when a session begins or ends, and for a page at a time.
    connected: Mutex<Connected>,
    traffic: DashMap<ProjectId, Arc<Traffic>>,
    /// Bytes served to devices that are gone, or fetch something else by now.
    served: DashMap<(Option<CohortId>, ArtifactId), u64>,
}

impl Directory {
    /// The generation, to be read before a row is.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The entry for a record just read. The caller reads the row again and enters it again if the generation has moved.
    pub fn enter(self: &Arc<Self>, device: &Device) -> Arc<DeviceEntry> {
        let entry = match self.entries.entry(device.id) {
            Entry::Occupied(mut place) => match place.get().upgrade() {
                Some(entry) => entry,
                None => {
                    let entry = self.make(device);
                    place.insert(Arc::downgrade(&entry));
                    entry
                }
            },
            Entry::Vacant(place) => {
                let entry = self.make(device);
                place.insert(Arc::downgrade(&entry));
                entry
            }
        };
        entry.apply(device);
        entry
    }

    /// Tells the entries about records that were just committed.
    pub fn committed(&self, devices: &[Device]) {
        if devices.is_empty() {
            return;
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
        for device in devices {
            if let Some(entry) = self.get(device.id) {
                entry.apply(device);
            }
        }
    }

    /// The entry of a device, if somebody holds it.
    pub fn get(&self, id: DeviceId) -> Option<Arc<DeviceEntry>> {
        // The guard must be gone before the entry can be: dropping the last one takes the same lock.
        let entry = self.entries.get(&id).map(|entry| Weak::clone(&entry));
        entry?.upgrade()
    }

    /// All entries that somebody holds.
    pub fn all(&self) -> Vec<Arc<DeviceEntry>> {
        let entries: Vec<_> = self.entries.iter().map(|entry| Weak::clone(&entry)).collect();
        entries.iter().filter_map(Weak::upgrade).collect()
    }

    /// Notes a session, unless a later one was noted before.
    pub fn connected(&self, entry: &DeviceEntry, session: SessionFacts) {
        let mut place = lock(&entry.session);
        match &*place {
            Some(later) if later.serial > session.serial => {}
            Some(_) => *place = Some(session),
            None => {
                *place = Some(session);
                self.online.fetch_add(1, Ordering::Relaxed);
                lock(&self.connected).begin(entry.project(), entry.id);
            }
        }
    }

    /// Notes where the device of a session is by now, unless a later session has taken its place.
    pub fn moved(&self, entry: &DeviceEntry, serial: u64, peer: SocketAddr) {
        let mut place = lock(&entry.session);
        if let Some(session) = place.as_mut().filter(|session| session.serial == serial) {
            session.peer = peer;
        }
    }

    /// Notes the end of a session, unless a later one has taken its place.
    pub fn disconnected(&self, entry: &DeviceEntry, serial: u64) {
        let mut place = lock(&entry.session);
        if place.is_some_and(|session| session.serial == serial) {
            *place = None;
            self.left(entry);
        }
    }

    /// How many devices have a session.
    pub fn online(&self) -> usize {
        self.online.load(Ordering::Relaxed)
    }

    /// The next devices of a project that have a session, by rising id, so many at most.
    pub fn connected_after(
        &self,
        project: ProjectId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Vec<DeviceId> {
        lock(&self.connected).after(project, after, limit)
    }

    /// The devices of a project that have a session at this moment.
    pub fn connected_now(&self, project: ProjectId) -> ConnectedNow {
        lock(&self.connected).of(project)
    }

    /// Bytes of artifacts served to devices of a project since the program started.
    pub fn traffic(&self, project: ProjectId) -> u64 {
        self.traffic.get(&project).map_or(0, |traffic| traffic.bytes())
    }

    /// Bytes served to devices that are gone, or fetch something else by now.
    pub fn settled(&self) -> HashMap<(Option<CohortId>, ArtifactId), u64> {
        let settled = self.served.iter();
        settled.map(|served| (*served.key(), *served.value())).collect()
    }

    /// Bytes of an artifact served to a device since it connected, or last fetched another.
    pub fn running(entry: &DeviceEntry) -> u64 {
        entry.seen.bytes_served.load(Ordering::Relaxed)
    }

    /// Bytes of these artifacts that were served to devices of a cohort since the program started. Looks at all that are
    /// connected.
    pub fn bytes_served(&self, cohort: CohortId, artifacts: &[ArtifactId]) -> u64 {
        let settled = artifacts
            .iter()
            .filter_map(|&artifact| self.served.get(&(Some(cohort), artifact)));
        let settled: u64 = settled.map(|bytes| *bytes).sum();
        let running = self.all().into_iter().filter(|entry| {
            entry.cohort() == Some(cohort)
                && entry
                    .transfer()
                    .is_some_and(|(artifact, _)| artifacts.contains(&artifact))
        });
        settled
            + running
                .map(|entry| entry.seen.bytes_served.load(Ordering::Relaxed))
                .sum::<u64>()
    }

    /// An entry has no session any more.
    fn left(&self, entry: &DeviceEntry) {
        self.online.fetch_sub(1, Ordering::Relaxed);
        lock(&self.connected).end(entry.project(), entry.id);
    }

    fn make(self: &Arc<Self>, device: &Device) -> Arc<DeviceEntry> {
        let traffic = self.traffic.entry(device.project);
        Arc::new(DeviceEntry {
            id: device.id,
            traffic: Arc::clone(&*traffic.or_insert_with(|| Arc::new(Traffic::of(device.project)))),
            name: device.name.clone(),
            record: Mutex::new(-1),
            cohort: AtomicI64::new(0),
            enabled: AtomicBool::new(false),
            session: Mutex::new(None),
            observing: AtomicU32::new(0),
            seen: Seen::default(),
            allowance: Allowance::default(),
            directory: Arc::downgrade(self),
        })
    }
}

/// What is served to the devices of a project. In lanes, so that shards do not wait for each other's cache lines.
#[derive(Debug)]
struct Traffic {
    project: ProjectId,
    lanes: [Lane; LANES],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane(AtomicU64);

impl Traffic {
    fn of(project: ProjectId) -> Self {
        Self {
            project,
            lanes: Default::default(),
        }
    }

    fn served(&self, device: DeviceId, bytes: u64) {
        let lane = device.get().cast_unsigned() as usize % LANES;
        self.lanes[lane].0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        let lanes = self.lanes.iter();
        lanes.map(|lane| lane.0.load(Ordering::Relaxed)).sum()
    }
}

/// A reasoned guess: shards are as many as processors.
const LANES: usize = 16;
/// How long ago the last block may be of a device that is said to download: the SDK's longest wait for one, and some.
const DOWNLOADING_S: i64 = 30;

/// A session's number, as far as it takes to tell it from the device's others.
fn mark(serial: u64) -> u32 {
    (serial as u32) | 1 << 31
}

/// No holder of these locks can panic; a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "directory_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
