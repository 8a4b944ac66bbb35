//! Commands on devices and their credentials.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::batch::{Batch, BeforeAfter, Decision, Stop};
use super::change::Change;
use super::failures::FailedDevice;
use crate::fleet::{
    Actor, CohortId, Credential, CredentialId, Device, DeviceId, DeviceName, Kind, ProjectId, ProjectName,
    PskIdentity, PskSecret, Refusal, SequenceGoesBack, Tag, TimelineEvent,
};
use crate::store::{NewCredentialRow, StoreError};

/// What an operator says about a device to be.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// Its name.
    pub name: DeviceName,
    /// The cohort to put it in.
    pub cohort: Option<CohortId>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Whether it may connect.
    pub enabled: bool,
    /// Its credentials.
    pub credentials: Vec<NewCredential>,
}

/// What an operator says about a PSK to be.
#[derive(Debug, Clone, Default)]
pub struct NewCredential {
    /// The identity; absent, it is `<device>-id@<project>`.
    pub identity: Option<PskIdentity>,
    /// The secret; absent, one is made and shown once.
    pub secret: Option<PskSecret>,
}

/// A device just made.
#[derive(Debug, Clone)]
pub struct CreatedDevice {
    /// The device.
    pub device: Device,
    /// Its credentials.
    pub credentials: Vec<CreatedCredential>,
}

/// A credential just made.
#[derive(Debug, Clone)]
pub struct CreatedCredential {
    /// The credential.
    pub credential: Credential,
    /// The secret, if it was made here, to be shown this once.
    pub made: Option<PskSecret>,
}

/// What to change about a device; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct DevicePatch {
    /// The cohort to be in, or none.
    pub cohort: Option<Option<CohortId>>,
    /// All tags to have.
    pub tags: Option<Vec<Tag>>,
    /// Tags to have besides: added to what is there when it is done, so that two operators do not undo each other's work.
    pub add_tags: Vec<Tag>,
    /// Tags not to have.
    pub remove_tags: Vec<Tag>,
    /// Whether it may connect.
    pub enabled: Option<bool>,
    /// A move may make the device see the sequence number fall.
    pub allow_sequence_back: bool,
}

/// What became of a device that was to be changed.
#[derive(Debug, Clone)]
pub struct DeviceUpdate {
    /// The device.
    pub device: Device,
    /// Whether anything is other than before.
    pub changed: bool,
    /// Whether it joined a cohort: it is told at once if it is connected.
    pub joined: bool,
    /// The sequence number falls for it, which was allowed.
    pub back: Option<SequenceGoesBack>,
}

/// Makes devices; each is refused or made by itself.
pub struct CreateDevices {
    pub actor: Actor,
    pub project: ProjectId,
    pub new: Vec<NewDevice>,
}

impl Decision for CreateDevices {
    type Answer = Vec<Result<CreatedDevice, Refusal>>;

    async fn decide(mut self, batch: &mut Batch) -> Result<Self::Answer, Stop> {
        let project = batch.view().fleet().in_project(self.project)?.name.clone();
        // An identity that was left out is known before anything is asked, so that one question answers for all.
        let defaulted: Vec<Result<(), Refusal>> = self
            .new
            .iter_mut()
            .map(|new| default_identities(&new.name, &project, &mut new.credentials))
            .collect();
        let identities: Vec<PskIdentity> = self
            .new
            .iter()
            .flat_map(|new| &new.credentials)
            .filter_map(|new| new.identity.clone())
            .collect();
        let mut names = batch
            .tx
            .taken_names(self.project, self.new.iter().map(|new| &new.name))
            .await?;
        let mut intake = Intake::new(self.project, Holders::ask(batch, &identities).await?);
        let mut answers = Vec::with_capacity(self.new.len());
        for (new, defaulted) in self.new.into_iter().zip(defaulted) {
            let made = defaulted.and_then(|()| {
                if names.contains(new.name.as_str()) {
                    return Err(Refusal::Taken {
                        kind: Kind::Device,
                        value: new.name.to_string(),
                        by: None,
                    });
                }
                intake.create(batch, &self.actor, new)
            });
            if let Ok(made) = &made {
                names.insert(made.device.name.to_string());
            }
            answers.push(made);
        }
        intake.insert(batch).await?;
        Ok(answers)
    }
}

/// Devices on their way into the database, which takes many at once.
pub struct Intake {
    project: ProjectId,
    /// Who has which PSK identity.
    pub holders: Holders,
    devices: Vec<Device>,
    credentials: Vec<NewCredentialRow>,
}

impl Intake {
    pub fn new(project: ProjectId, holders: Holders) -> Self {
        Self {
            project,
            holders,
            devices: Vec::new(),
            credentials: Vec::new(),
        }
    }

    /// Makes a device whose name nobody has and whose identities are all given.
    pub fn create(
        &mut self,
        batch: &mut Batch,
        actor: &Actor,
        new: NewDevice,
    ) -> Result<CreatedDevice, Refusal> {
        check_count("credentials", new.credentials.len(), CREDENTIALS_OF_A_DEVICE)?;
        let tags = checked_tags(new.tags)?;
        self.holders.check(self.project, &new.credentials)?;
        batch.view_mut().fleet.device_created(self.project, new.cohort)?;
        let device = Device {
            id: DeviceId::new(batch.view_mut().fleet.take_id()),
            project: self.project,
            name: new.name,
            cohort: new.cohort,
            tags,
            enabled: new.enabled,
            revision: 0,
            created_ms: batch.at_ms,
        };
        self.holders.take(&device, &new.credentials);
        let credentials = make_credentials(batch, device.id, new.credentials, &mut self.credentials);
        let identities: Vec<_> = credentials
            .iter()
            .map(|made| made.credential.identity.to_string())
            .collect();
        let mut after = describe(&device);
        after["credentials"] = json!(identities);
        let created = BeforeAfter::created(after);
        batch.audit(actor, Some(self.project), "device.create", device.id, created);
        self.devices.push(device.clone());
        Ok(CreatedDevice { device, credentials })
    }

    /// Gives a device that is there, or is on its way, credentials whose identities are all given and checked.
    pub fn add_credentials(
        &mut self,
        batch: &mut Batch,
        actor: &Actor,
        device: &Device,
        new: Vec<NewCredential>,
    ) -> Vec<CreatedCredential> {
        self.holders.take(device, &new);
        let made = make_credentials(batch, device.id, new, &mut self.credentials);
        for made in &made {
            let identity = made.credential.identity.to_string();
            let created = BeforeAfter::created(json!({ "device": device.id, "identity": identity }));
            let project = Some(self.project);
            batch.audit(actor, project, "credential.create", made.credential.id, created);
            let by = actor.to_string();
            batch.happened(device.id, TimelineEvent::CredentialAdded { identity, by });
        }
        made
    }

    /// Writes what has come in.
    pub async fn insert(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        batch.tx.insert_devices(&self.devices).await?;
        batch.tx.insert_credentials(&self.credentials).await?;
        self.devices.clear();
        self.credentials.clear();
        Ok(())
    }
}

/// Changes devices, all in the same way; each is refused or changed by itself.
pub struct UpdateDevices {
    pub actor: Actor,
    pub project: ProjectId,
    pub ids: Vec<DeviceId>,
    pub patch: DevicePatch,
}

impl Decision for UpdateDevices {
    type Answer = Vec<Result<DeviceUpdate, Refusal>>;

    async fn decide(self, batch: &mut Batch) -> Result<Self::Answer, Stop> {
        batch.view().fleet().in_project(self.project)?;
        let there = batch.tx.devices(self.project, &self.ids).await?;
        let mut there: HashMap<_, _> = there.into_iter().map(|device| (device.id, device)).collect();
        let sent = match self.patch.cohort {
            Some(Some(_)) => batch.highest_sent(&self.ids).await?,
            Some(None) | None => HashMap::new(),
        };
        let mut answers = Vec::with_capacity(self.ids.len());
        for id in self.ids {
            let Some(before) = there.get_mut(&id) else {
                answers.push(Err(no_device(id)));
                continue;
            };
            let sent = sent.get(&id).copied().unwrap_or(0);
            let update = match update(batch, &self.actor, before, sent, &self.patch).await {
                Ok(update) => Ok(update),
                Err(Stop::Refused(refusal)) => Err(refusal),
                Err(stop @ (Stop::Failed(_) | Stop::FailedAlone(_))) => return Err(stop),
            };
            // The same device may be named twice.
            if let Ok(update) = &update {
                *before = update.device.clone();
            }
            answers.push(update);
        }
        Ok(answers)
    }
}

/// Changes a device, of which `sent` is the highest sequence number that it was sent. Refuses before it writes.
pub async fn update(
    batch: &mut Batch,
    actor: &Actor,
    before: &Device,
    sent: u32,
    patch: &DevicePatch,
) -> Result<DeviceUpdate, Stop> {
    let mut device = before.clone();
    device.cohort = patch.cohort.unwrap_or(device.cohort);
    device.enabled = patch.enabled.unwrap_or(device.enabled);
    if let Some(tags) = &patch.tags {
        device.tags.clone_from(tags);
    }
    device.tags.retain(|tag| !patch.remove_tags.contains(tag));
    device.tags.extend(patch.add_tags.iter().cloned());
    device.tags = checked_tags(device.tags)?;
    if device == *before {
        return Ok(DeviceUpdate {
            device,
            changed: false,
            joined: false,
            back: None,
        });
    }
    let moved = device.cohort != before.cohort;
    let mut back = None;
    if let Some(to) = device.cohort.filter(|_| moved) {
        let project = batch.view().fleet().in_project(device.project)?;
        back = SequenceGoesBack::check(&device.name, sent, project.require_cohort(to)?).err();
    }
    if let Some(back) = back.take_if(|_| !patch.allow_sequence_back) {
        return Err(Refusal::SequenceGoesBack(back).into());
    }
    device.revision += 1;
    batch
        .view_mut()
        .fleet
        .device_moved(device.project, before.cohort, device.cohort)?;
    batch.tx.update_device(&device).await?;
    let by = actor.to_string();
    if moved {
        let project = batch.view().fleet().in_project(device.project)?;
        let named = |id: Option<CohortId>| id.and_then(|id| Some(project.cohort(id)?.name.clone()));
        let moved = TimelineEvent::Moved {
            from: named(before.cohort),
            to: named(device.cohort),
            by: by.clone(),
        };
        batch.happened(device.id, moved);
        batch.changes.push(match device.cohort {
            Some(_) => Change::DeviceMoved(device.id),
            None => Change::DeviceUnassigned(device.id),
        });
    }
    if device.enabled != before.enabled {
        batch.happened(
            device.id,
            match device.enabled {
                true => TimelineEvent::Enabled { by },
                false => TimelineEvent::Disabled { by },
            },
        );
        batch.changes.push(match device.enabled {
            true => Change::DeviceEnabled(device.id),
            false => Change::DeviceDisabled(device.id),
        });
    }
    let change = BeforeAfter::changed(describe(before), describe(&device));
    let project = Some(device.project);
    batch.audit(actor, project, "device.update", device.id, change);
    batch.devices.push(device.clone());
    Ok(DeviceUpdate {
        joined: moved && device.cohort.is_some(),
        changed: true,
        device,
        back,
    })
}

/// Removes a device.
pub struct DeleteDevice {
    pub actor: Actor,
    pub project: ProjectId,
    pub id: DeviceId,
}

impl Decision for DeleteDevice {
    type Answer = Device;

    async fn decide(self, batch: &mut Batch) -> Result<Device, Stop> {
        let device = require_device(batch, self.project, self.id).await?;
        batch
            .view_mut()
            .fleet
            .device_deleted(self.project, device.cohort)?;
        batch.tx.delete_device(device.id).await?;
        batch.changes.push(Change::DeviceDeleted(device.id));
        let deleted = BeforeAfter::deleted(describe(&device));
        batch.audit(
            &self.actor,
            Some(self.project),
            "device.delete",
            device.id,
            deleted,
        );
        // For who is talking to it right now: it belongs nowhere and may not come back.
        let revision = device.revision + 1;
        batch.devices.push(Device {
            cohort: None,
            enabled: false,
            revision,
            ..device.clone()
        });
        Ok(device)
    }
}

/// Gives a device one more credential.
pub struct AddCredential {
    pub actor: Actor,
    pub project: ProjectId,
    pub device: DeviceId,
    pub new: NewCredential,
}

impl Decision for AddCredential {
    type Answer = CreatedCredential;

    async fn decide(self, batch: &mut Batch) -> Result<CreatedCredential, Stop> {
        let device = require_device(batch, self.project, self.device).await?;
        let project = batch.view().fleet().in_project(self.project)?.name.clone();
        let has = batch.tx.credentials(device.id).await?.len();
        check_count("credentials", has + 1, CREDENTIALS_OF_A_DEVICE)?;
        let mut new = vec![self.new];
        default_identities(&device.name, &project, &mut new)?;
        let identities: Vec<_> = new.iter().filter_map(|new| new.identity.clone()).collect();
        let mut intake = Intake::new(self.project, Holders::ask(batch, &identities).await?);
        intake.holders.check(self.project, &new)?;
        let mut made = intake.add_credentials(batch, &self.actor, &device, new);
        intake.insert(batch).await?;
        Ok(made.pop().expect("one was asked for"))
    }
}

/// Takes a credential from a device.
pub struct RemoveCredential {
    pub actor: Actor,
    pub project: ProjectId,
    pub device: DeviceId,
    pub id: CredentialId,
}

impl Decision for RemoveCredential {
    type Answer = ();

    async fn decide(self, batch: &mut Batch) -> Result<(), Stop> {
        let device = require_device(batch, self.project, self.device).await?;
        let credentials = batch.tx.credentials(device.id).await?;
        let Some(credential) = credentials.iter().find(|credential| credential.id == self.id) else {
            let has: Vec<_> = credentials
                .iter()
                .map(|credential| credential.id.to_string())
                .collect();
            let accepted = match has.is_empty() {
                true => format!("device {:?} has none", device.name),
                false => format!("device {:?} has: {}", device.name, has.join(", ")),
            };
            return Err(Refusal::Unknown {
                kind: Kind::Credential,
                value: self.id.to_string(),
                accepted,
            }
            .into());
        };
        batch.tx.delete_credential(credential.id).await?;
        let retired = TimelineEvent::CredentialRetired {
            identity: credential.identity.to_string(),
            by: self.actor.to_string(),
        };
        batch.happened(device.id, retired);
        let owner = FailedDevice {
            id: device.id,
            project: device.project,
            name: device.name.clone(),
        };
        batch.retired.push((credential.identity.clone(), owner));
        batch.changes.push(Change::CredentialRetired {
            device: device.id,
            credential: credential.id,
        });
        let deleted =
            BeforeAfter::deleted(json!({ "device": device.id, "identity": credential.identity.to_string() }));
        batch.audit(
            &self.actor,
            Some(self.project),
            "credential.delete",
            credential.id,
            deleted,
        );
        Ok(())
    }
}

/// Has a device sent its manifest again.
pub struct PushDevice {
    pub actor: Actor,
    pub project: ProjectId,
    pub id: DeviceId,
}

impl Decision for PushDevice {
    type Answer = ();

    async fn decide(self, batch: &mut Batch) -> Result<(), Stop> {
        let device = require_device(batch, self.project, self.id).await?;
        batch.changes.push(Change::DevicePush(device.id));
        batch.audit(
            &self.actor,
            Some(self.project),
            "device.push",
            device.id,
            BeforeAfter::default(),
        );
        Ok(())
    }
}

/// Who has which PSK identity, in the store and in the batch.
pub struct Holders(HashMap<PskIdentity, (ProjectId, DeviceName)>);

impl Holders {
    pub async fn ask(batch: &mut Batch, identities: &[PskIdentity]) -> Result<Self, StoreError> {
        Ok(Self(batch.tx.taken_identities(identities).await?))
    }

    pub fn check(&self, project: ProjectId, new: &[NewCredential]) -> Result<(), Refusal> {
        let mut own = HashSet::new();
        for identity in new.iter().filter_map(|new| new.identity.as_ref()) {
            let holder = self.0.get(identity);
            if holder.is_none() && own.insert(identity) {
                continue;
            }
            // Who it is in another tenant is nobody's business here.
            let by = holder
                .filter(|(at, _)| *at == project)
                .map(|(_, name)| format!("device {name:?}"));
            return Err(Refusal::IdentityTaken {
                identity: identity.to_string(),
                by,
            });
        }
        Ok(())
    }

    fn take(&mut self, device: &Device, new: &[NewCredential]) {
        for identity in new.iter().filter_map(|new| new.identity.clone()) {
            self.0.insert(identity, (device.project, device.name.clone()));
        }
    }
}

async fn require_device(batch: &mut Batch, project: ProjectId, id: DeviceId) -> Result<Device, Stop> {
    batch.view().fleet().in_project(project)?;
    match batch.tx.device(project, id).await? {
        Some(device) => Ok(device),
        None => Err(no_device(id).into()),
    }
}

fn no_device(id: DeviceId) -> Refusal {
    Refusal::Unknown {
        kind: Kind::Device,
        value: id.to_string(),
        accepted: "the id of a device of this project".to_owned(),
    }
}

/// Gives the credentials without an identity the one that follows from the device's name.
pub fn default_identities(
    device: &DeviceName,
    project: &ProjectName,
    new: &mut [NewCredential],
) -> Result<(), Refusal> {
    for new in new {
        if new.identity.is_none() {
            new.identity = Some(PskIdentity::new(format!("{device}-id@{project}").as_bytes())?);
        }
    }
    Ok(())
}

fn make_credentials(
    batch: &mut Batch,
    device: DeviceId,
    new: Vec<NewCredential>,
    rows: &mut Vec<NewCredentialRow>,
) -> Vec<CreatedCredential> {
    let mut created = Vec::with_capacity(new.len());
    for new in new {
        let Some(identity) = new.identity else { continue };
        let credential = Credential {
            id: CredentialId::new(batch.view_mut().fleet.take_id()),
            device,
            identity,
            created_ms: batch.at_ms,
        };
        let (secret, made) = match new.secret {
            Some(secret) => (secret, None),
            None => {
                let secret = PskSecret::generate(&mut rand::rng());
                (secret.clone(), Some(secret))
            }
        };
        rows.push(NewCredentialRow {
            credential: credential.clone(),
            secret,
        });
        created.push(CreatedCredential { credential, made });
    }
    created
}

pub fn checked_tags(mut tags: Vec<Tag>) -> Result<Vec<Tag>, Refusal> {
    tags.sort();
    tags.dedup();
    check_count("tags", tags.len(), TAGS_OF_A_DEVICE)?;
    Ok(tags)
}

pub fn check_count(what: &'static str, given: usize, limit: usize) -> Result<(), Refusal> {
    match given > limit {
        true => Err(Refusal::TooMany { what, given, limit }),
        false => Ok(()),
    }
}

fn describe(device: &Device) -> Value {
    json!({ "name": device.name, "cohort": device.cohort, "tags": device.tags, "enabled": device.enabled })
}

/// A reasoned guess.
const TAGS_OF_A_DEVICE: usize = 32;
/// The most credentials of a device. Rotating keys needs two; a reasoned guess beyond.
pub const CREDENTIALS_OF_A_DEVICE: usize = 8;
