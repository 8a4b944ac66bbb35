//! What is read from the store, a page at a time.

use std::collections::HashMap;

use super::directory::SessionFacts;
use super::error::ControlError;
use super::handle::Control;
use super::history::no_deployment;
use super::view::View;
use crate::clock;
use crate::fleet::{
    Credential, CredentialId, Deployment, DeploymentId, Device, DeviceId, DeviceName, PackageState,
    ProjectId, Stage,
};
use crate::store::{AuditAhead, AuditFilter, AuditPage, AuditScope, Sighting};

impl DeviceRecord {
    /// Where it stands with the active deployment of its cohort, if there is one.
    #[must_use]
    pub fn stage(&self, view: &View) -> Option<Stage> {
        let project = view.project(self.device.project)?;
        let active = project.cohort(self.device.cohort?)?.active()?;
        Some(self.stage_with(active))
    }

    /// Where it stands with a deployment of its cohort.
    #[must_use]
    pub fn stage_with(&self, deployment: &Deployment) -> Stage {
        Stage::of(deployment, self.sighting.manifest_acknowledged, &self.packages)
    }
}

/// A device and what is known about it.
#[derive(Debug, Clone)]
pub struct DeviceRecord {
    /// The device.
    pub device: Device,
    /// Its credentials, without their secrets.
    pub credentials: Vec<Credential>,
    /// What it last reported, by package name.
    pub packages: Vec<PackageState>,
    /// What the gateway last saw of it.
    pub sighting: Sighting,
    /// Its live session.
    pub session: Option<SessionFacts>,
}

/// How far a deployment has come. The devices of the cohort are each in one of the first seven: see [`Stage`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Not heard of it yet.
    pub pending: u64,
    /// Acknowledged the manifest, or a later one.
    pub notified: u64,
    /// Reported that they download.
    pub downloading: u64,
    /// Reported that they have it.
    pub downloaded: u64,
    /// Reported that they write or boot it.
    pub updating: u64,
    /// Run the wanted version of every package of it that they report on.
    pub done: u64,
    /// Reported a failure.
    pub failed: u64,
    /// Bytes of its artifacts served to devices of the cohort since the gateway started.
    pub bytes_served: u64,
}

impl Progress {
    /// So many devices at each stage, in the order of [`Stage::ALL`].
    #[must_use]
    pub fn of(stages: [u64; 7], bytes_served: u64) -> Self {
        let [pending, notified, downloading, downloaded, updating, done, failed] = stages;
        Self {
            pending,
            notified,
            downloading,
            downloaded,
            updating,
            done,
            failed,
            bytes_served,
        }
    }

    /// The same of a cohort with so many devices. Those that are at no stage have not been looked at since they came or since the
    /// deployment did, and so have not heard of it, as far as is known.
    #[must_use]
    pub fn of_cohort(mut stages: [u64; 7], devices: u64, bytes_served: u64) -> Self {
        let looked_at = stages.iter().sum();
        stages[Stage::Pending.index()] += devices.saturating_sub(looked_at);
        Self::of(stages, bytes_served)
    }

    /// How many devices are at each stage, in the order of [`Stage::ALL`].
    #[must_use]
    pub fn stages(&self) -> [u64; 7] {
        [
            self.pending,
            self.notified,
            self.downloading,
            self.downloaded,
            self.updating,
            self.done,
            self.failed,
        ]
    }
}

impl Control {
    /// The device with this id and what is known about it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn device(
        &self,
        project: ProjectId,
        id: DeviceId,
    ) -> Result<Option<DeviceRecord>, ControlError> {
        let device = self.shared.store.device_by_id(id).await?;
        let found = device
            .filter(|device| device.project == project)
            .into_iter()
            .collect();
        Ok(self.records(found).await?.pop())
    }

    /// When some devices were last heard, in milliseconds of Unix time.
    ///
    /// # Errors
    /// The store fails.
    pub async fn last_seen(&self, devices: &[DeviceId]) -> Result<HashMap<DeviceId, i64>, ControlError> {
        let sightings = self.shared.store.sightings_of(devices).await?;
        let seen = devices.iter().filter_map(|&id| {
            let stored = sightings.get(&id).and_then(|sighting| sighting.last_seen_ms);
            let entry = self.entry(id).map(|entry| entry.last_seen_ms());
            let last = stored.max(entry.filter(|&ms| ms > 0))?;
            Some((id, last))
        });
        Ok(seen.collect())
    }

    /// The kinds of some credentials, by the names of the API. Those that are gone have none.
    ///
    /// # Errors
    /// The store fails.
    pub async fn credential_kinds(
        &self,
        credentials: &[CredentialId],
    ) -> Result<HashMap<CredentialId, &'static str>, ControlError> {
        Ok(self.shared.store.credential_kinds(credentials).await?)
    }

    /// Some of the audit, newest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn audit(&self, scope: AuditScope, filter: &AuditFilter) -> Result<AuditPage, ControlError> {
        Ok(self.shared.store.audit(scope, filter).await?)
    }

    /// What lines of the audit may be about that are asked for by this text: itself, as an id or a name that is gone; the cohorts,
    /// deployments, CAs, the device and the key that it is the name of; of a package its artifacts too. Whoever may not read what
    /// concerns the installation is not told which key has a name.
    ///
    /// # Errors
    /// The store fails.
    pub async fn audit_subjects(&self, scope: AuditScope, text: &str) -> Result<Vec<String>, ControlError> {
        let (AuditScope::Project(project) | AuditScope::Installation(project)) = scope;
        let view = self.shared.view.load_full();
        let mut subjects = vec![text.to_owned()];
        let in_project = view.in_project(project)?;
        for cohort in in_project.cohorts.values() {
            if *cohort.name == *text {
                subjects.push(cohort.id.to_string());
            }
            let deployments = cohort.deployments.iter().filter(|one| *one.name == *text);
            subjects.extend(deployments.map(|one| one.id.to_string()));
        }
        if let Some(package) = in_project.package(text) {
            let versions = package.artifacts.keys();
            subjects.extend(versions.map(|version| format!("{text}@{version}")));
        }
        let cas = view.fleet().device_cas_of(project).filter(|ca| *ca.name == *text);
        subjects.extend(cas.map(|ca| ca.id.to_string()));
        if let AuditScope::Installation(_) = scope {
            let keys = view.keys().into_iter().filter(|key| *key.name == *text);
            subjects.extend(keys.map(|key| key.id.to_string()));
        }
        if let Ok(name) = DeviceName::parse(text)
            && let Some(device) = self.shared.store.device_by_name(project, &name).await?
        {
            subjects.push(device.id.to_string());
        }
        subjects.truncate(SUBJECTS);
        Ok(subjects)
    }

    /// What follows in the audit after a record, up to another one, oldest first, `limit` at most; see [`AuditAhead`].
    ///
    /// # Errors
    /// The store fails.
    pub async fn audit_after(
        &self,
        scope: AuditScope,
        after: i64,
        end: i64,
        limit: usize,
    ) -> Result<AuditAhead, ControlError> {
        Ok(self.shared.store.audit_after(scope, after, end, limit).await?)
    }

    /// How far a deployment has come, see [`Self::counted_progress`].
    ///
    /// # Errors
    /// It is not there.
    pub async fn progress(&self, project: ProjectId, id: DeploymentId) -> Result<Progress, ControlError> {
        let counted = self.counted_progress(project, id).await;
        counted.map(|(progress, _)| progress)
    }

    /// How far a deployment has come, and when that was counted, in milliseconds of Unix time.
    ///
    /// Of an active deployment it is what the counter knows, with what was committed a moment ago if that is little; until the
    /// counter knows of every device, every device of the cohort is looked at, unless these are more than [`COUNTED_AT_ONCE`]. Of
    /// one of those, and of a deployment that is active no more, it is how far it had come when that was last written down. Where
    /// that never was, nobody has heard of it as far as is known, since it was made.
    ///
    /// # Errors
    /// It is not there.
    pub async fn counted_progress(
        &self,
        project: ProjectId,
        id: DeploymentId,
    ) -> Result<(Progress, i64), ControlError> {
        let view = self.shared.view.load_full();
        let Some((cohort, deployment)) = view.in_project(project)?.deployment(id) else {
            return Err(no_deployment(id).into());
        };
        let artifacts: Vec<_> = deployment.artifacts.iter().map(|artifact| artifact.id).collect();
        let bytes_served = match self.online() > COUNTED_AT_ONCE {
            true => self.shared.counting.presence().served_of(deployment),
            false => self.shared.directory.bytes_served(cohort.id, &artifacts),
        };
        let is_active = cohort.is_active(id);
        let counting = &self.shared.counting;
        if is_active && counting.is_loaded() {
            let counted_ms = match self.catch_up().await? {
                true => clock::unix_ms(),
                false => self.figures(project).counted_ms,
            };
            let stages = counting.stages(cohort.id, id);
            // After they were counted: who left the cohort meanwhile is not missed.
            let devices = self
                .shared
                .view
                .load()
                .in_project(project)?
                .cohort(cohort.id)
                .map(|is| is.devices);
            let devices = devices.unwrap_or(cohort.devices);
            return Ok((Progress::of_cohort(stages, devices, bytes_served), counted_ms));
        }
        let are_many = usize::try_from(cohort.devices).is_ok_and(|devices| devices > COUNTED_AT_ONCE);
        if !is_active || are_many {
            let history = self.deployment_history(project, id).await?;
            let last = history.points.last().map(|last| (last.progress, last.at_ms));
            return Ok(last.unwrap_or_else(|| {
                let devices = if is_active { cohort.devices } else { 0 };
                let progress = Progress::of_cohort([0; 7], devices, bytes_served);
                (progress, deployment.created_ms)
            }));
        }
        let counts = self.shared.store.progress(deployment).await?;
        Ok((Progress::of(counts.buckets, bytes_served), clock::unix_ms()))
    }

    pub(super) async fn records(&self, devices: Vec<Device>) -> Result<Vec<DeviceRecord>, ControlError> {
        let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
        let store = &self.shared.store;
        let (credentials, states, sightings) = tokio::try_join!(
            store.credentials_of(&ids),
            store.states_of(&ids),
            store.sightings_of(&ids)
        )?;
        let mut credentials_of: HashMap<_, Vec<_>> = HashMap::new();
        for credential in credentials {
            credentials_of
                .entry(credential.device)
                .or_default()
                .push(credential);
        }
        let mut states_of: HashMap<_, Vec<_>> = HashMap::new();
        for (device, state) in states {
            states_of.entry(device).or_default().push(state);
        }
        let records = devices.into_iter().map(|device| {
            let entry = self.entry(device.id);
            let mut sighting = sightings.get(&device.id).copied().unwrap_or_default();
            if let Some(entry) = &entry {
                let seen = Some(entry.last_seen_ms()).filter(|&ms| ms > 0);
                sighting.last_seen_ms = sighting.last_seen_ms.max(seen);
                sighting.manifest_sent = sighting.manifest_sent.max(entry.manifest_sent());
                sighting.manifest_acknowledged =
                    sighting.manifest_acknowledged.max(entry.manifest_acknowledged());
            }
            DeviceRecord {
                credentials: credentials_of.remove(&device.id).unwrap_or_default(),
                packages: states_of.remove(&device.id).unwrap_or_default(),
                sighting,
                session: entry.and_then(|entry| entry.session()),
                device,
            }
        });
        Ok(records.collect())
    }
}

/// What the audit is asked about at once; more things than that have one name only by mistake, and SQLite binds 32 766 values.
const SUBJECTS: usize = 30_000;
/// Devices that may be looked at one by one in answer to a question: some hundred milliseconds of the store.
const COUNTED_AT_ONCE: usize = if cfg!(test) { 10 } else { 10_000 };
