//! Commands on devices and their credentials.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::batch::{Batch, BeforeAfter, Decision, Stop};
use super::change::Change;
use super::failures::FailedDevice;
use crate::fleet::{
    Actor, CohortId, Credential, CredentialId, CredentialKind, Device, DeviceCertificate, DeviceId,
    DeviceName, Digest, Invalid, Kind, ProjectId, ProjectName, Proof, PskIdentity, PskSecret, Refusal,
    SequenceGoesBack, Tag, TimelineEvent,
};
use crate::store::{NewCredentialRow, RevokedCertificate, StoreError};

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

/// What an operator says about a credential to be.
#[derive(Debug, Clone)]
pub enum NewCredential {
    /// A pre-shared key.
    Psk(NewPsk),
    /// A certificate that is the device's, whatever its subject says. Some CA still has to vouch for it.
    Certificate(DeviceCertificate),
    /// A public key without a certificate, by the SHA-256 of its SubjectPublicKeyInfo.
    RawPublicKey(Digest),
}

/// What an operator says about a pre-shared key to be.
#[derive(Debug, Clone, Default)]
pub struct NewPsk {
    /// The identity; absent, it is `<device>-id@<project>`.
    pub identity: Option<PskIdentity>,
    /// The secret; absent, one is made and shown once.
    pub secret: Option<PskSecret>,
}

impl NewCredential {
    /// What it will be known by, once an identity that was left out is given.
    pub(super) fn proof(&self) -> Option<Proof> {
        match self {
            Self::Psk(psk) => psk.identity.clone().map(Proof::Psk),
            Self::Certificate(certificate) => Some(Proof::Certificate(certificate.sha256)),
            Self::RawPublicKey(sha256) => Some(Proof::RawPublicKey(*sha256)),
        }
    }
}

impl NewCredential {
    /// What a CA signed of it, if it is a certificate that was given whole.
    pub(super) fn signed(&self) -> Option<Digest> {
        match self {
            Self::Certificate(certificate) => certificate.signed,
            Self::Psk(_) | Self::RawPublicKey(_) => None,
        }
    }
}

impl Default for NewCredential {
    /// A pre-shared key with the usual identity and a secret that is made for it.
    fn default() -> Self {
        Self::Psk(NewPsk::default())
    }
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

impl DevicePatch {
    /// Whether a device would be other than it is.
    #[must_use]
    pub fn changes(&self, device: &Device) -> bool {
        let mut after = device.clone();
        self.apply(&mut after);
        after != *device
    }

    fn apply(&self, device: &mut Device) {
        device.cohort = self.cohort.unwrap_or(device.cohort);
        device.enabled = self.enabled.unwrap_or(device.enabled);
        if let Some(tags) = &self.tags {
            device.tags.clone_from(tags);
        }
        device.tags.retain(|tag| !self.remove_tags.contains(tag));
        device.tags.extend(self.add_tags.iter().cloned());
        device.tags.sort();
        device.tags.dedup();
    }
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

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(mut self, batch: &mut Batch) -> Result<Self::Answer, Stop> {
        let project = batch.view().fleet().in_project(self.project)?.name.clone();
        // An identity that was left out is known before anything is asked, so that one question answers for all.
        let defaulted: Vec<Result<(), Refusal>> = self
            .new
            .iter_mut()
            .map(|new| default_identities(&new.name, &project, &mut new.credentials))
            .collect();
        let credentials = self.new.iter().flat_map(|new| &new.credentials);
        let credentials: Vec<_> = credentials.collect();
        let mut names = batch
            .tx
            .taken_names(self.project, self.new.iter().map(|new| &new.name))
            .await?;
        let mut intake = Intake::new(
            self.project,
            Holders::ask(batch, self.project, &credentials).await?,
        );
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
    /// Who has what devices are known by.
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
        let name = new.name.for_new()?;
        check_count("credentials", new.credentials.len(), CREDENTIALS_OF_A_DEVICE)?;
        let tags = checked_tags(new.tags)?;
        self.holders.check(self.project, &new.credentials)?;
        batch.view_mut().fleet.device_created(self.project, new.cohort)?;
        let device = Device {
            id: DeviceId::new(batch.view_mut().fleet.take_id()),
            project: self.project,
            name,
            cohort: new.cohort,
            tags,
            enabled: new.enabled,
            revision: 0,
            created_ms: batch.at_ms,
        };
        self.holders.take(&device, &new.credentials);
        let credentials = make_credentials(batch, device.id, new.credentials, &mut self.credentials);
        let proofs: Vec<_> = credentials
            .iter()
            .map(|made| made.credential.proof().to_string())
            .collect();
        let mut after = describe(&device);
        after["credentials"] = json!(proofs);
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
            let identity = made.credential.proof().to_string();
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
        batch.created.extend(self.devices.iter().map(|device| device.id));
        batch
            .tx
            .insert_credentials(self.project, &self.credentials)
            .await?;
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

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        // And nothing else, which could go on for ever.
        let DevicePatch {
            cohort,
            tags,
            add_tags,
            remove_tags,
            enabled,
            allow_sequence_back: _,
        } = &self.patch;
        *enabled == Some(false)
            && cohort.is_none()
            && tags.is_none()
            && add_tags.is_empty()
            && remove_tags.is_empty()
    }

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
    patch.apply(&mut device);
    check_count("tags", device.tags.len(), TAGS_OF_A_DEVICE)?;
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

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        true
    }

    async fn decide(self, batch: &mut Batch) -> Result<Device, Stop> {
        let device = require_device(batch, self.project, self.id).await?;
        batch
            .view_mut()
            .fleet
            .device_deleted(self.project, device.cohort)?;
        // They go with it.
        let credentials = batch.tx.credentials(device.id).await?;
        let identities = credentials
            .iter()
            .map(|credential| credential.proof().to_string());
        let mut before = describe(&device);
        before["credentials"] = json!(identities.collect::<Vec<_>>());
        batch.tx.delete_device(device.id).await?;
        batch.changes.push(Change::DeviceDeleted(device.id));
        let deleted = BeforeAfter::deleted(before);
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

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(self, batch: &mut Batch) -> Result<CreatedCredential, Stop> {
        let device = require_device(batch, self.project, self.device).await?;
        let project = batch.view().fleet().in_project(self.project)?.name.clone();
        let has = batch.tx.credentials(device.id).await?;
        let given = has.iter().filter(|credential| credential.is_given()).count();
        check_count("credentials", given + 1, CREDENTIALS_OF_A_DEVICE)?;
        let mut new = vec![self.new];
        default_identities(&device.name, &project, &mut new)?;
        let credentials: Vec<_> = new.iter().collect();
        let mut intake = Intake::new(
            self.project,
            Holders::ask(batch, self.project, &credentials).await?,
        );
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

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        true
    }

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
        let identity = credential.proof().to_string();
        match &credential.kind {
            CredentialKind::Psk(identity) => {
                batch.tx.delete_credential(credential.id).await?;
                let owner = FailedDevice {
                    id: device.id,
                    project: device.project,
                    name: device.name.clone(),
                };
                batch.retired.push((identity.clone(), owner));
            }
            // Its CA goes on vouching for it, so that it was taken back has to be remembered.
            CredentialKind::Certificate(certificate) => {
                let revoked = RevokedCertificate {
                    project: device.project,
                    sha256: certificate.sha256,
                    signed: certificate.signed,
                    device: device.id,
                    name: device.name.clone(),
                    at_ms: batch.at_ms,
                };
                batch.tx.insert_revoked_certificate(&revoked).await?;
                batch.tx.delete_key_credential(credential.id).await?;
            }
            CredentialKind::RawPublicKey(_) => batch.tx.delete_key_credential(credential.id).await?,
        }
        let retired = TimelineEvent::CredentialRetired {
            identity: identity.clone(),
            by: self.actor.to_string(),
        };
        batch.happened(device.id, retired);
        batch.changes.push(Change::CredentialRetired {
            device: device.id,
            credential: credential.id,
        });
        let deleted = BeforeAfter::deleted(json!({ "device": device.id, "identity": identity }));
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

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

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

/// Who has what devices are known by, in the store and in the batch.
#[derive(Default)]
pub struct Holders {
    taken: HashMap<Proof, (ProjectId, DeviceName)>,
    /// Certificates that are never good again, by their own digest or that of what was signed.
    revoked: HashSet<Digest>,
}

impl Holders {
    pub async fn ask(
        batch: &mut Batch,
        project: ProjectId,
        new: &[&NewCredential],
    ) -> Result<Self, StoreError> {
        let (mut identities, mut certificates, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for proof in new.iter().filter_map(|new| new.proof()) {
            match proof {
                Proof::Psk(identity) => identities.push(identity),
                Proof::Certificate(sha256) => certificates.push(sha256),
                Proof::RawPublicKey(sha256) => keys.push(sha256),
            }
        }
        let psks = batch.tx.taken_identities(&identities).await?.into_iter();
        let mut taken: HashMap<_, _> = psks
            .map(|(identity, holder)| (Proof::Psk(identity), holder))
            .collect();
        let named = batch
            .tx
            .taken_certificates(project, &certificates)
            .await?
            .into_iter();
        taken.extend(named.map(|(sha256, name)| (Proof::Certificate(sha256), (project, name))));
        let keys = batch.tx.taken_raw_public_keys(&keys).await?.into_iter();
        taken.extend(keys.map(|(sha256, holder)| (Proof::RawPublicKey(sha256), holder)));
        certificates.extend(new.iter().filter_map(|new| new.signed()));
        Ok(Self {
            taken,
            revoked: batch.tx.revoked_certificates(project, &certificates).await?,
        })
    }

    pub fn check(&self, project: ProjectId, new: &[NewCredential]) -> Result<(), Refusal> {
        let mut own = HashSet::new();
        for (proof, signed) in new.iter().filter_map(|new| Some((new.proof()?, new.signed()))) {
            if let Proof::Certificate(sha256) = proof
                && (self.revoked.contains(&sha256)
                    || signed.is_some_and(|signed| self.revoked.contains(&signed)))
            {
                return Err(Refusal::CertificateRevoked { sha256 });
            }
            let holder = self.taken.get(&proof);
            if holder.is_none() && own.insert(proof.clone()) {
                continue;
            }
            // Who it is in another tenant is nobody's business here.
            let by = holder
                .filter(|(at, _)| *at == project)
                .map(|(_, name)| format!("device {name:?}"));
            return Err(match proof {
                Proof::Psk(identity) => Refusal::IdentityTaken {
                    identity: identity.to_string(),
                    by,
                },
                Proof::Certificate(_) | Proof::RawPublicKey(_) => Refusal::Taken {
                    kind: Kind::Credential,
                    value: proof.to_string(),
                    by,
                },
            });
        }
        Ok(())
    }

    fn take(&mut self, device: &Device, new: &[NewCredential]) {
        for proof in new.iter().filter_map(NewCredential::proof) {
            self.taken.insert(proof, (device.project, device.name.clone()));
        }
    }
}

pub async fn require_device(batch: &mut Batch, project: ProjectId, id: DeviceId) -> Result<Device, Stop> {
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
        if let NewCredential::Psk(new) = new
            && new.identity.is_none()
        {
            new.identity = Some(default_identity(device, project)?);
        }
    }
    Ok(())
}

/// The identity that follows from a device's name.
///
/// # Errors
/// The name is too long for one.
pub fn default_identity(device: &DeviceName, project: &ProjectName) -> Result<PskIdentity, Invalid> {
    let identity = PskIdentity::new(format!("{device}-id@{project}").as_bytes());
    identity.map_err(|invalid| Invalid {
        wrong: format!("follows from the device's name and {}", invalid.wrong).into(),
        accepted: OWN_IDENTITY,
        ..invalid
    })
}

/// What a device is given whose name is too long for the identity that follows from it.
const OWN_IDENTITY: &str = "an identity of its own with 1 to 64 bytes: `identity` of the credential in the API, --identity on the command line, \
     the column identity in a file, Identity in the console";

fn make_credentials(
    batch: &mut Batch,
    device: DeviceId,
    new: Vec<NewCredential>,
    rows: &mut Vec<NewCredentialRow>,
) -> Vec<CreatedCredential> {
    let mut created = Vec::with_capacity(new.len());
    for new in new {
        let (kind, secret, made) = match new {
            NewCredential::Psk(psk) => {
                let Some(identity) = psk.identity else { continue };
                let made = psk
                    .secret
                    .is_none()
                    .then(|| PskSecret::generate(&mut rand::rng()));
                (
                    CredentialKind::Psk(identity),
                    psk.secret.or_else(|| made.clone()),
                    made,
                )
            }
            NewCredential::Certificate(certificate) => (CredentialKind::Certificate(certificate), None, None),
            NewCredential::RawPublicKey(sha256) => (CredentialKind::RawPublicKey(sha256), None, None),
        };
        let credential = Credential {
            id: CredentialId::new(batch.view_mut().fleet.take_id()),
            device,
            kind,
            created_ms: batch.at_ms,
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
/// The most credentials that a device is given; certificates that a CA vouches for are not among them. Rotating keys needs two; a reasoned guess beyond.
pub const CREDENTIALS_OF_A_DEVICE: usize = 8;
