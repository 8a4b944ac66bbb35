//! What those need who talk to devices: who it is, what it says, what was seen of it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::directory::{DeviceEntry, SessionFacts};
use super::error::ControlError;
use super::handle::{Control, Shared};
use super::report::{QueueFull, ReportSlot};
use crate::fleet::{
    CohortId, CredentialId, Device, DeviceId, DeviceName, ProjectId, PskSecret, TimelineEvent,
};
use crate::store::StoreError;

/// A device that may connect, and the secret that proves it.
#[derive(Debug, Clone)]
pub struct DeviceAccess {
    /// The device.
    pub entry: Arc<DeviceEntry>,
    /// The credential that was asked for.
    pub credential: CredentialId,
    /// Its secret.
    pub secret: PskSecret,
}

impl Control {
    /// The device that has this PSK identity and may connect, and the secret.
    ///
    /// # Errors
    /// The store fails.
    pub async fn device_by_identity(&self, identity: &[u8]) -> Result<Option<DeviceAccess>, ControlError> {
        let generation = self.shared.directory.generation();
        let Some(found) = self.shared.store.device_by_identity(identity).await? else {
            return Ok(None);
        };
        let entry = self.enter(generation, &found.device).await?;
        Ok(entry.map(|entry| DeviceAccess {
            entry,
            credential: found.credential,
            secret: found.secret,
        }))
    }

    /// The device that has this credential, if it may connect.
    ///
    /// # Errors
    /// The store fails.
    pub async fn device_by_credential(
        &self,
        credential: CredentialId,
    ) -> Result<Option<Arc<DeviceEntry>>, ControlError> {
        let generation = self.shared.directory.generation();
        match self
            .shared
            .store
            .device_by_credential(credential, crate::clock::unix_ms() / 1000)
            .await?
        {
            Some(device) => Ok(self.enter(generation, &device).await?),
            None => Ok(None),
        }
    }

    /// The device of this name, if it may connect.
    ///
    /// # Errors
    /// The store fails.
    pub async fn device_by_name(
        &self,
        project: ProjectId,
        name: &DeviceName,
    ) -> Result<Option<Arc<DeviceEntry>>, ControlError> {
        let generation = self.shared.directory.generation();
        match self.shared.store.device_by_name(project, name).await? {
            Some(device) => Ok(self.enter(generation, &device).await?),
            None => Ok(None),
        }
    }

    /// A place in the queue for a state report.
    ///
    /// # Errors
    /// The queue is full, or the program is ending.
    pub fn report_slot(&self) -> Result<ReportSlot<'_>, QueueFull> {
        let permit = self.shared.reports.try_reserve().map_err(|_| QueueFull)?;
        Ok(ReportSlot(permit))
    }

    /// Notes that a device was sent the manifest with this sequence number.
    pub fn manifest_sent(&self, entry: &Arc<DeviceEntry>, sequence: u32) {
        let news = entry.note_sent(sequence);
        if news.other {
            self.happened(entry, TimelineEvent::ManifestSent { sequence });
        }
        if news.highest {
            self.shared.note(entry);
        }
    }

    /// Notes that a device was sent the manifest with this sequence number before the gateway was last started: that belongs to
    /// what it was sent, and is nothing that happens to it now.
    pub fn manifest_was_sent(&self, entry: &Arc<DeviceEntry>, sequence: u32) {
        if entry.note_sent_before(sequence) {
            self.shared.note(entry);
        }
    }

    /// Notes that a device acknowledged the manifest with this sequence number.
    pub fn manifest_acknowledged(&self, entry: &Arc<DeviceEntry>, sequence: u32) {
        let news = entry.note_acknowledged(sequence);
        if news.other {
            self.happened(entry, TimelineEvent::ManifestAcknowledged { sequence });
        }
        if news.highest {
            self.shared.note(entry);
        }
    }

    /// Notes a session.
    pub fn connected(&self, entry: &Arc<DeviceEntry>, session: SessionFacts) {
        entry.note_seen(session.since_ms);
        self.shared.directory.connected(entry, session);
        self.shared.note(entry);
    }

    /// Notes whether a session observes what its device should have.
    pub fn observing(&self, entry: &DeviceEntry, serial: u64, observes: bool) {
        entry.note_observing(serial, observes);
    }

    /// Notes where the device of a session is by now.
    pub fn moved(&self, entry: &DeviceEntry, serial: u64, peer: SocketAddr) {
        self.shared.directory.moved(entry, serial, peer);
    }

    /// Notes the end of a session.
    pub fn disconnected(&self, entry: &Arc<DeviceEntry>, serial: u64) {
        self.shared.directory.disconnected(entry, serial);
        self.shared.note(entry);
    }

    /// How many devices have a session.
    pub fn online(&self) -> usize {
        self.shared.directory.online()
    }

    /// How many devices of a cohort have a session; as last counted, where more than [`LOOKED_AT`] have one.
    pub fn online_in(&self, cohort: CohortId) -> u64 {
        if self.online() > LOOKED_AT
            && let Some(counted) = self.shared.figures.of_cohort(cohort)
        {
            return counted.online;
        }
        let entries = self.shared.directory.all();
        let online = entries
            .iter()
            .filter(|entry| entry.cohort() == Some(cohort) && entry.session().is_some());
        u64::try_from(online.count()).unwrap_or(u64::MAX)
    }

    /// The entry of a device that somebody is talking to.
    pub fn entry(&self, id: DeviceId) -> Option<Arc<DeviceEntry>> {
        self.shared.directory.get(id)
    }

    /// The next live sessions of a project, by rising id of their devices, so many at most; and the last device looked at, if
    /// there may be more after it. Costs no more than the page.
    pub fn sessions_after(
        &self,
        project: ProjectId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> (Vec<(Arc<DeviceEntry>, SessionFacts)>, Option<DeviceId>) {
        let directory = &self.shared.directory;
        let mut ids = directory.connected_after(project, after, limit.saturating_add(1));
        let more = ids.len() > limit;
        ids.truncate(limit);
        let sessions = ids.iter().filter_map(|&id| {
            let entry = directory.get(id)?;
            entry.session().map(|session| (entry, session))
        });
        (sessions.collect(), ids.last().copied().filter(|_| more))
    }

    /// All live sessions.
    pub fn sessions(&self) -> Vec<(Arc<DeviceEntry>, SessionFacts)> {
        let entries = self.shared.directory.all().into_iter();
        entries
            .filter_map(|entry| entry.session().map(|session| (entry, session)))
            .collect()
    }

    /// Devices that somebody is talking to though they may not connect: disabled or deleted since they did.
    pub fn unwelcome(&self) -> Vec<DeviceId> {
        let entries = self.shared.directory.all();
        let unwelcome = entries.iter().filter(|entry| !entry.enabled());
        unwelcome.map(|entry| entry.id()).collect()
    }

    /// Credentials that live sessions were established with and that are no longer there, with their devices.
    ///
    /// # Errors
    /// The store fails.
    pub async fn retired_in_use(&self) -> Result<Vec<(DeviceId, CredentialId)>, ControlError> {
        let sessions = self.sessions().into_iter();
        let in_use: Vec<_> = sessions
            .filter_map(|(entry, session)| Some((entry.id(), session.credential?)))
            .collect();
        let credentials: Vec<_> = in_use.iter().map(|&(_, credential)| credential).collect();
        let there = self.shared.store.credentials_there(&credentials).await?;
        let gone = in_use
            .into_iter()
            .filter(|(_, credential)| !there.contains(credential));
        Ok(gone.collect())
    }

    /// See the directory for why this cannot miss a change.
    pub(super) async fn enter(
        &self,
        generation: u64,
        device: &Device,
    ) -> Result<Option<Arc<DeviceEntry>>, StoreError> {
        let directory = &self.shared.directory;
        let entry = directory.enter(device);
        if directory.generation() != generation {
            match self.shared.store.device_by_id(device.id).await? {
                Some(device) => drop(directory.enter(&device)),
                None => return Ok(None),
            }
        }
        Ok(Some(entry).filter(|entry| entry.enabled()))
    }
}

/// Sessions that may be looked at one by one in answer to a question: some milliseconds.
const LOOKED_AT: usize = 10_000;

impl Shared {
    /// Puts a device on the list of those that something was seen of.
    pub fn note(&self, entry: &Arc<DeviceEntry>) {
        if entry.note() {
            // After the writer's end nothing is noted any more.
            let _ = self.sightings.send(Arc::clone(entry));
        }
    }
}
