//! Commands on devices and their credentials.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::batch::{Batch, BeforeAfter, Decision, Stop};
use super::change::Change;
use crate::fleet::{
    Actor, CohortId, Credential, CredentialId, Device, DeviceId, DeviceName, Kind, ProjectId, ProjectName,
    PskIdentity, PskSecret, Refusal, Tag, TimelineEvent,
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
    /// Whether it may connect.
    pub enabled: Option<bool>,
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
        let mut holders = Holders::ask(batch, &identities).await?;

        let (mut devices, mut credentials) = (Vec::new(), Vec::new());
        let mut answers = Vec::with_capacity(self.new.len());
        for (new, defaulted) in self.new.into_iter().zip(defaulted) {
            let checked = defaulted.and_then(|()| {
                if names.contains(new.name.as_str()) {
                    return Err(Refusal::Taken {
                        kind: Kind::Device,
                        value: new.name.to_string(),
                        by: None,
                    });
                }
                check_count("credentials", new.credentials.len(), CREDENTIALS_OF_A_DEVICE)?;
                let tags = checked_tags(new.tags)?;
                holders.check(self.project, &new.credentials)?;
                batch.view_mut().fleet.device_created(self.project, new.cohort)?;
                Ok(tags)
            });
            let tags = match checked {
                Ok(tags) => tags,
                Err(refusal) => {
                    answers.push(Err(refusal));
                    continue;
                }
            };
            let device = Device {
                id: DeviceId::new(batch.view_mut().fleet.take_id()),
                project: self.project,
                name: new.name,
                cohort: new.cohort,
                tags,
                enabled: true,
                revision: 0,
                created_ms: batch.at_ms,
            };
            names.insert(device.name.to_string());
            holders.take(&device, &new.credentials);
            let made = make_credentials(batch, device.id, new.credentials, &mut credentials);
            let identities: Vec<_> = made
                .iter()
                .map(|made| made.credential.identity.to_string())
                .collect();
            let mut after = describe(&device);
            after["credentials"] = json!(identities);
            let created = BeforeAfter::created(after);
            batch.audit(
                &self.actor,
                Some(self.project),
                "device.create",
                device.id,
                created,
            );
            devices.push(device.clone());
            answers.push(Ok(CreatedDevice {
                device,
                credentials: made,
            }));
        }
        batch.tx.insert_devices(&devices).await?;
        batch.tx.insert_credentials(&credentials).await?;
        Ok(answers)
    }
}

/// Changes a device.
pub struct UpdateDevice {
    pub actor: Actor,
    pub project: ProjectId,
    pub id: DeviceId,
    pub patch: DevicePatch,
}

impl Decision for UpdateDevice {
    type Answer = Device;

    async fn decide(self, batch: &mut Batch) -> Result<Device, Stop> {
        let before = require_device(batch, self.project, self.id).await?;
        let mut device = before.clone();
        device.cohort = self.patch.cohort.unwrap_or(device.cohort);
        device.enabled = self.patch.enabled.unwrap_or(device.enabled);
        if let Some(tags) = self.patch.tags {
            device.tags = checked_tags(tags)?;
        }
        if device == before {
            return Ok(device);
        }
        device.revision += 1;
        batch
            .view_mut()
            .fleet
            .device_moved(self.project, before.cohort, device.cohort)?;
        batch.tx.update_device(&device).await?;
        let by = self.actor.to_string();
        if device.cohort != before.cohort {
            let project = batch.view().fleet().in_project(self.project)?;
            let named = |id: Option<CohortId>| id.and_then(|id| Some(project.cohort(id)?.name.clone()));
            let (from, to) = (named(before.cohort), named(device.cohort));
            batch.happened(
                device.id,
                TimelineEvent::Moved {
                    from,
                    to,
                    by: by.clone(),
                },
            );
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
        let change = BeforeAfter::changed(describe(&before), describe(&device));
        batch.audit(
            &self.actor,
            Some(self.project),
            "device.update",
            device.id,
            change,
        );
        batch.devices.push(device.clone());
        Ok(device)
    }
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
        Holders::ask(batch, &identities)
            .await?
            .check(self.project, &new)?;

        let mut rows = Vec::new();
        let made = make_credentials(batch, device.id, new, &mut rows).pop();
        batch.tx.insert_credentials(&rows).await?;
        let made = made.expect("one was asked for");
        let added = TimelineEvent::CredentialAdded {
            identity: made.credential.identity.to_string(),
            by: self.actor.to_string(),
        };
        batch.happened(device.id, added);
        let created = BeforeAfter::created(
            json!({ "device": device.id, "identity": made.credential.identity.to_string() }),
        );
        batch.audit(
            &self.actor,
            Some(self.project),
            "credential.create",
            made.credential.id,
            created,
        );
        Ok(made)
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
struct Holders(HashMap<PskIdentity, (ProjectId, DeviceName)>);

impl Holders {
    async fn ask(batch: &mut Batch, identities: &[PskIdentity]) -> Result<Self, StoreError> {
        Ok(Self(batch.tx.taken_identities(identities).await?))
    }

    fn check(&self, project: ProjectId, new: &[NewCredential]) -> Result<(), Refusal> {
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
        None => Err(Stop::Refused(Refusal::Unknown {
            kind: Kind::Device,
            value: id.to_string(),
            accepted: "the id of a device of this project".to_owned(),
        })),
    }
}

fn default_identities(
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

fn checked_tags(mut tags: Vec<Tag>) -> Result<Vec<Tag>, Refusal> {
    tags.sort();
    tags.dedup();
    check_count("tags", tags.len(), TAGS_OF_A_DEVICE)?;
    Ok(tags)
}

fn check_count(what: &'static str, given: usize, limit: usize) -> Result<(), Refusal> {
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
/// Rotating keys needs two; a reasoned guess beyond.
const CREDENTIALS_OF_A_DEVICE: usize = 8;
