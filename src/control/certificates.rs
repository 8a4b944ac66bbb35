//! The CAs that are believed about devices, and the devices that come with a certificate.
//!
//! 1. An operator adds a CA ([`AddDeviceCa`]); from then on a certificate that it vouches for speaks for the device that its
//!    subject names: O the project, CN the device.
//! 2. Where handshakes are, the chain is verified; [`Control::device_by_certificate`] says whose it is.
//! 3. The first use of a certificate goes through the writer ([`Admit`]): it becomes a credential of the device, so that it can
//!    be seen and taken back by itself, and with zero-touch the device is made. Every later use is a read.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::batch::{Batch, BeforeAfter, Decision, Stop};
use super::change::Change;
use super::devices::{Intake, NewDevice};
use super::directory::DeviceEntry;
use super::error::ControlError;
use super::handle::Control;
use crate::clock;
use crate::fleet::{
    Actor, CaId, CaOutcome, CertificateFacts, Credential, CredentialId, CredentialKind, Device, DeviceCa,
    DeviceCertificate, DeviceId, DeviceName, Digest, Fleet, NewCa, ProjectId, TimelineEvent,
};
use crate::store::NewCredentialRow;

/// A certificate that a CA vouches for and whose key the peer has.
#[derive(Debug, Clone)]
pub struct PresentedCertificate {
    /// The SHA-256 of its DER.
    pub sha256: Digest,
    /// The SHA-256 of what its CA signed.
    pub signed: Digest,
    /// What it says.
    pub facts: CertificateFacts,
}

/// A device that may connect, and the certificate that proves it.
#[derive(Debug, Clone)]
pub struct CertificateAccess {
    /// The device.
    pub entry: Arc<DeviceEntry>,
    /// The certificate.
    pub credential: CredentialId,
}

/// Why a certificate opens no session though somebody trusted vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// The CA is believed no more.
    Untrusted,
    /// It was taken back.
    Revoked,
    /// It names no device that may connect.
    UnknownDevice,
}

/// A CA that is believed no more.
#[derive(Debug, Clone)]
pub struct RemovedCa {
    /// The CA.
    pub ca: Arc<DeviceCa>,
    /// How many devices it had vouched for.
    pub devices: usize,
}

impl Control {
    /// Believes a CA about the devices of a project.
    ///
    /// # Errors
    /// It is past its validity, there on other terms, or one too many; or the cohort is not there.
    pub async fn add_device_ca(
        &self,
        actor: &Actor,
        project: ProjectId,
        new: NewCa,
    ) -> Result<CaOutcome, ControlError> {
        self.order(AddDeviceCa {
            actor: actor.clone(),
            project,
            new,
        })
        .await
    }

    /// Believes a CA no more: what it alone vouched for opens no session, and the sessions that it opened end.
    ///
    /// # Errors
    /// It is not there.
    pub async fn remove_device_ca(
        &self,
        actor: &Actor,
        project: ProjectId,
        id: CaId,
    ) -> Result<RemovedCa, ControlError> {
        self.order(RemoveDeviceCa {
            actor: actor.clone(),
            project,
            id,
        })
        .await
    }

    /// For how many certificates a CA vouches, as far as `enough`.
    ///
    /// # Errors
    /// The store fails.
    pub async fn vouched_by(&self, id: CaId, enough: u64) -> Result<u64, ControlError> {
        Ok(self.shared.store.vouched_by(id, enough).await?)
    }

    /// The time at which certificates have to be valid, in seconds since 1970.
    pub fn unix_s(&self) -> i64 {
        clock::unix_ms() / 1000
    }

    /// The device whose certificate this is and that may connect, if the CA with the certificate `ca` vouches for it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn device_by_certificate(
        &self,
        presented: PresentedCertificate,
        ca: Digest,
    ) -> Result<Result<CertificateAccess, CertificateRefusal>, ControlError> {
        let Some(ca) = vouching(self.view().fleet(), ca, &presented.facts) else {
            return Ok(Err(CertificateRefusal::Untrusted));
        };
        let store = &self.shared.store;
        let (sha256, signed) = (presented.sha256, presented.signed);
        let generation = self.shared.directory.generation();
        if store
            .revoked_certificate(ca.project, sha256, signed)
            .await?
            .is_some()
        {
            return Ok(Err(CertificateRefusal::Revoked));
        }
        let (device, credential) = match store.certificate_holder(ca.project, sha256, signed).await? {
            Some(holder) if holder.ca == Some(ca.id) => (holder.device, holder.credential),
            // Strangers whom a CA vouches for do not come as far as the writer.
            None if !self.may_be_admitted(&ca, &presented.facts).await? => {
                return Ok(Err(CertificateRefusal::UnknownDevice));
            }
            Some(_) | None => match self.order(Admit { ca: ca.id, presented }).await? {
                Ok(admitted) => admitted,
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        let entry = self.enter(generation, &device).await?;
        Ok(entry
            .map(|entry| CertificateAccess { entry, credential })
            .ok_or(CertificateRefusal::UnknownDevice))
    }

    /// The device that has this public key and may connect, by the SHA-256 of its SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// The store fails.
    pub async fn device_by_raw_public_key(
        &self,
        sha256: Digest,
    ) -> Result<Option<CertificateAccess>, ControlError> {
        let generation = self.shared.directory.generation();
        let Some((device, credential)) = self.shared.store.device_by_raw_public_key(sha256).await? else {
            return Ok(None);
        };
        let entry = self.enter(generation, &device).await?;
        Ok(entry.map(|entry| CertificateAccess { entry, credential }))
    }

    /// Certificates whose validity ended after `after_s` and up to `until_s`, seconds since 1970, and whose devices somebody is
    /// talking to.
    ///
    /// # Errors
    /// The store fails.
    pub async fn expired_in_use(
        &self,
        after_s: i64,
        until_s: i64,
    ) -> Result<Vec<(DeviceId, CredentialId)>, ControlError> {
        let mut expired = self.shared.store.certificates_expired(after_s, until_s).await?;
        expired.retain(|&(device, _)| self.entry(device).is_some());
        Ok(expired)
    }

    async fn may_be_admitted(&self, ca: &DeviceCa, facts: &CertificateFacts) -> Result<bool, ControlError> {
        let Some(name) = named(self.view().fleet(), ca, facts) else {
            return Ok(false);
        };
        let device = self.shared.store.device_by_name(ca.project, &name).await?;
        let may_be_made = ca.zero_touch && name.for_new().is_ok();
        Ok(device.map_or(may_be_made, |device| device.enabled))
    }
}

/// Believes a CA.
pub struct AddDeviceCa {
    pub actor: Actor,
    pub project: ProjectId,
    pub new: NewCa,
}

impl Decision for AddDeviceCa {
    type Answer = CaOutcome;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(self, batch: &mut Batch) -> Result<CaOutcome, Stop> {
        let at_ms = batch.at_ms;
        let outcome = batch
            .view_mut()
            .fleet
            .add_device_ca(self.project, self.new, at_ms)?;
        if let CaOutcome::Created(ca) = &outcome {
            batch.tx.insert_device_ca(ca).await?;
            let created = BeforeAfter::created(describe(ca));
            batch.audit(
                &self.actor,
                Some(self.project),
                "device-ca.create",
                ca.id,
                created,
            );
        }
        Ok(outcome)
    }
}

/// Believes a CA no more.
pub struct RemoveDeviceCa {
    pub actor: Actor,
    pub project: ProjectId,
    pub id: CaId,
}

impl Decision for RemoveDeviceCa {
    type Answer = RemovedCa;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        true
    }

    async fn decide(self, batch: &mut Batch) -> Result<RemovedCa, Stop> {
        let ca = batch.view_mut().fleet.remove_device_ca(self.project, self.id)?;
        let vouched = batch.tx.delete_device_ca(ca.id).await?;
        let devices: HashSet<_> = vouched.iter().map(|(device, _)| *device).collect();
        let devices = devices.len();
        if !vouched.is_empty() {
            batch.changes.push(Change::CredentialsRetired(vouched.into()));
        }
        let mut before = describe(&ca);
        before["devices"] = json!(devices);
        let deleted = BeforeAfter::deleted(before);
        batch.audit(
            &self.actor,
            Some(self.project),
            "device-ca.delete",
            ca.id,
            deleted,
        );
        Ok(RemovedCa { ca, devices })
    }
}

/// Notes the first use of a certificate, or that another CA vouches for it than before.
struct Admit {
    ca: CaId,
    presented: PresentedCertificate,
}

impl Decision for Admit {
    type Answer = Result<(Device, CredentialId), CertificateRefusal>;

    fn actor(&self) -> Option<&Actor> {
        None
    }

    /// What the caller has read may be past by now, so all of it is asked again.
    async fn decide(self, batch: &mut Batch) -> Result<Self::Answer, Stop> {
        let PresentedCertificate {
            sha256,
            signed,
            facts,
        } = self.presented;
        let cas = batch.view().fleet().device_cas();
        let Some(ca) = cas.iter().find(|ca| ca.id == self.ca).cloned() else {
            return Ok(Err(CertificateRefusal::Untrusted));
        };
        let names = [sha256, signed];
        let revoked = batch.tx.revoked_certificates(ca.project, &names).await?;
        if !revoked.is_empty() {
            return Ok(Err(CertificateRefusal::Revoked));
        }
        if let Some(holder) = batch.tx.certificate_holder(ca.project, sha256, signed).await? {
            if !holder.device.enabled {
                return Ok(Err(CertificateRefusal::UnknownDevice));
            }
            if holder.ca != Some(ca.id) {
                let at_ms = batch.at_ms;
                batch
                    .tx
                    .use_certificate(holder.credential, ca.id, signed, &facts, at_ms)
                    .await?;
            }
            return Ok(Ok((holder.device, holder.credential)));
        }
        let Some(name) = named(batch.view().fleet(), &ca, &facts) else {
            return Ok(Err(CertificateRefusal::UnknownDevice));
        };
        let actor = Actor::named(&format!("device CA {}", ca.name));
        let there = batch.tx.devices_named(ca.project, std::iter::once(&name)).await?;
        let device = match there.into_iter().next() {
            Some(device) if device.enabled => device,
            Some(_) => return Ok(Err(CertificateRefusal::UnknownDevice)),
            None if ca.zero_touch => {
                let Ok(name) = name.for_new() else {
                    return Ok(Err(CertificateRefusal::UnknownDevice));
                };
                let new = NewDevice {
                    name,
                    cohort: ca.cohort,
                    tags: Vec::new(),
                    enabled: true,
                    credentials: Vec::new(),
                };
                let mut intake = Intake::new(ca.project, Default::default());
                let created = intake.create(batch, &actor, new)?;
                intake.insert(batch).await?;
                created.device
            }
            None => return Ok(Err(CertificateRefusal::UnknownDevice)),
        };
        make_room(batch, &actor, &device).await?;
        let credential = Credential {
            id: CredentialId::new(batch.view_mut().fleet.take_id()),
            device: device.id,
            kind: CredentialKind::Certificate(DeviceCertificate {
                sha256,
                signed: Some(signed),
                facts: Some(facts),
                ca: Some(ca.id),
                pinned: false,
                first_seen_ms: Some(batch.at_ms),
            }),
            created_ms: batch.at_ms,
        };
        let identity = credential.proof().to_string();
        let created = BeforeAfter::created(json!({ "device": device.id, "identity": identity }));
        batch.audit(
            &actor,
            Some(ca.project),
            "credential.create",
            credential.id,
            created,
        );
        let by = actor.to_string();
        batch.happened(device.id, TimelineEvent::CredentialAdded { identity, by });
        let id = credential.id;
        let row = NewCredentialRow {
            credential,
            secret: None,
        };
        batch.tx.insert_credentials(ca.project, &[row]).await?;
        Ok(Ok((device, id)))
    }
}

/// Sees to it that a device may have one more certificate noted: those past their validity are forgotten, else the one noted
/// first, but never the one that it is connected with. A forgotten one is noted again when it is used.
async fn make_room(batch: &mut Batch, actor: &Actor, device: &Device) -> Result<(), Stop> {
    let now_s = batch.at_ms / 1000;
    let in_use = batch.credential_in_use(device.id);
    let expired = |credential: &Credential| match &credential.kind {
        CredentialKind::Certificate(certificate) => certificate
            .facts
            .as_ref()
            .is_some_and(|facts| facts.not_after_s < now_s),
        CredentialKind::Psk(_) | CredentialKind::RawPublicKey(_) => false,
    };
    let mut noted = batch.tx.credentials(device.id).await?;
    noted.retain(|credential| !credential.is_given());
    let surplus = (noted.len() + 1).saturating_sub(NOTED_CERTIFICATES);
    noted.retain(|credential| Some(credential.id) != in_use);
    // Stable: within both, the oldest first.
    noted.sort_by_key(|credential| !expired(credential));
    for forgotten in noted.iter().take(surplus) {
        batch.tx.delete_key_credential(forgotten.id).await?;
        batch.changes.push(Change::CredentialRetired {
            device: device.id,
            credential: forgotten.id,
        });
        let identity = forgotten.proof().to_string();
        let deleted = BeforeAfter::deleted(json!({ "device": device.id, "identity": identity }));
        batch.audit(
            actor,
            Some(device.project),
            "credential.forget",
            forgotten.id,
            deleted,
        );
    }
    Ok(())
}

/// The CA with this certificate in the project that a device's certificate names; in any, where it names none with it: the
/// same CA may be believed in several.
fn vouching(fleet: &Fleet, ca: Digest, facts: &CertificateFacts) -> Option<Arc<DeviceCa>> {
    let named = facts.subject.organization.as_deref();
    let named = named
        .and_then(|name| fleet.find_project(name))
        .map(|project| project.id);
    let mut same = fleet
        .device_cas()
        .iter()
        .filter(|other| other.certificate.sha256() == ca);
    let first = same.clone().next();
    same.find(|ca| Some(ca.project) == named).or(first).cloned()
}

/// The name of the device that a certificate speaks for, if it is one in the project of its CA.
fn named(fleet: &Fleet, ca: &DeviceCa, facts: &CertificateFacts) -> Option<DeviceName> {
    let project = fleet.find_project(facts.subject.organization.as_deref()?)?;
    let name = DeviceName::parse(facts.subject.common_name.as_deref()?).ok()?;
    (project.id == ca.project).then_some(name)
}

fn describe(ca: &DeviceCa) -> Value {
    json!({
        "name": ca.name,
        "sha256": ca.certificate.sha256(),
        "zeroTouch": ca.zero_touch,
        "cohort": ca.cohort,
    })
}

/// Certificates of a device that are noted because a CA vouches for them. A device has one, two while it is renewed; a
/// reasoned guess beyond.
pub const NOTED_CERTIFICATES: usize = 8;
