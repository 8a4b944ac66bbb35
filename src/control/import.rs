//! Devices as a file describes them: made where they are missing, left alone where they are so already.
//!
//! 1. Everything that the rows need to know is asked in a few questions: who has these names, who has these identities.
//! 2. Each row is compared with the device of its name, and decided by itself.
//! 3. What is new is written at once; a row that changes nothing writes nothing, not even to the audit.

use std::collections::{HashMap, HashSet};

use super::batch::{Batch, Decision, Stop};
use super::devices::{
    CREDENTIALS_OF_A_DEVICE, CreatedCredential, CreatedDevice, DevicePatch, Holders, Intake, NewCredential,
    NewDevice, check_count, checked_tags, default_identities, update,
};
use crate::fleet::{
    Actor, CohortId, Device, DeviceId, DeviceName, Differing, Project, ProjectId, Proof, PskIdentity,
    PskSecret, Refusal, SequenceGoesBack, Tag,
};
use crate::store::StoreError;

/// A device as a row of a file describes it. What a row does not say is left as it is, and for a device to be made it is as
/// usual.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// Its name.
    pub name: DeviceName,
    /// The cohort to be in, or none.
    pub cohort: Option<Option<CohortId>>,
    /// All tags to have.
    pub tags: Option<Vec<Tag>>,
    /// Whether it may connect.
    pub enabled: Option<bool>,
    /// Credentials to have; others that it has stay. Where a row says nothing, a device to be made gets one.
    pub credentials: Option<Vec<NewCredential>>,
}

/// What a file may do to devices that exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportRules {
    /// A device that differs from its row is changed; otherwise its row is refused.
    pub update: bool,
    /// A move may make a device see the sequence number fall.
    pub allow_sequence_back: bool,
}

/// What became of a row that was not refused.
#[derive(Debug, Clone)]
pub enum RowOutcome {
    /// There was no such device.
    Created(CreatedDevice),
    /// The device was other than the row says.
    Updated {
        /// The device.
        device: Device,
        /// The credentials that it did not have.
        credentials: Vec<CreatedCredential>,
        /// The sequence number falls for it, which was allowed.
        back: Option<SequenceGoesBack>,
    },
    /// The device is as the row says.
    Unchanged,
}

/// Makes the fleet have these devices.
pub struct ImportDevices {
    pub actor: Actor,
    pub project: ProjectId,
    pub rules: ImportRules,
    pub rows: Vec<DeviceRow>,
}

impl Decision for ImportDevices {
    type Answer = Vec<Result<RowOutcome, Refusal>>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(mut self, batch: &mut Batch) -> Result<Self::Answer, Stop> {
        let project = batch.view().fleet().in_project(self.project)?.name.clone();
        let defaulted: Vec<Result<NewCredential, Refusal>> = self
            .rows
            .iter_mut()
            .map(|row| {
                let mut usual = [NewCredential::default()];
                match &mut row.credentials {
                    Some(credentials) => default_identities(&row.name, &project, credentials)?,
                    None => default_identities(&row.name, &project, &mut usual)?,
                }
                let [usual] = usual;
                Ok(usual)
            })
            .collect();
        let usual = defaulted.iter().filter_map(|usual| usual.as_ref().ok());
        let credentials: Vec<_> = self
            .rows
            .iter()
            .flat_map(|row| row.credentials.iter().flatten())
            .chain(usual)
            .collect();
        let mut intake = Intake::new(
            self.project,
            Holders::ask(batch, self.project, &credentials).await?,
        );
        let mut known = ask_known(batch, self.project, &self.rows).await?;

        let mut answers = Vec::with_capacity(self.rows.len());
        for (row, usual) in self.rows.into_iter().zip(defaulted) {
            let usual = match usual {
                Ok(usual) => usual,
                Err(refusal) => {
                    answers.push(Err(refusal));
                    continue;
                }
            };
            let order = Order {
                actor: &self.actor,
                rules: self.rules,
                row,
            };
            let outcome = match known.get_mut(&order.row.name) {
                Some(known) => order.compare(batch, &mut intake, known).await,
                None => match order.create(batch, &mut intake, usual) {
                    Ok((created, has)) => {
                        known.insert(created.device.name.clone(), has);
                        Ok(RowOutcome::Created(created))
                    }
                    Err(refusal) => Err(refusal.into()),
                },
            };
            answers.push(match outcome {
                Ok(outcome) => Ok(outcome),
                Err(Stop::Refused(refusal)) => Err(refusal),
                Err(stop @ (Stop::Failed(_) | Stop::FailedAlone(_))) => return Err(stop),
            });
        }
        intake.insert(batch).await?;
        Ok(answers)
    }
}

/// A device that exists, and its credentials.
struct Known {
    device: Device,
    /// The highest sequence number it was sent.
    sent: u32,
    /// The secrets where a row of the batch gives one, to be compared.
    credentials: HashMap<Proof, Option<PskSecret>>,
    /// How many of them it was given.
    given: usize,
}

/// What the rows' devices are, as far as they exist.
async fn ask_known(
    batch: &mut Batch,
    project: ProjectId,
    rows: &[DeviceRow],
) -> Result<HashMap<DeviceName, Known>, StoreError> {
    let devices = batch
        .tx
        .devices_named(project, rows.iter().map(|row| &row.name))
        .await?;
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    let given: HashSet<&PskIdentity> = rows
        .iter()
        .flat_map(|row| row.credentials.iter().flatten())
        .filter_map(|credential| match credential {
            NewCredential::Psk(psk) => psk.identity.as_ref().filter(|_| psk.secret.is_some()),
            NewCredential::Certificate(_) | NewCredential::RawPublicKey(_) => None,
        })
        .collect();
    let credentials = batch.tx.credentials_of(&ids).await?;
    let compared = credentials.iter().filter(|credential| {
        credential
            .identity()
            .is_some_and(|identity| given.contains(identity))
    });
    let compared: Vec<_> = compared.map(|credential| credential.id).collect();
    let mut secrets = batch.tx.secrets_of(&compared).await?;
    let sent = batch.highest_sent(&ids).await?;

    let mut credentials_of: HashMap<DeviceId, (usize, HashMap<_, _>)> = HashMap::new();
    for credential in credentials {
        let (given, all) = credentials_of.entry(credential.device).or_default();
        *given += usize::from(credential.is_given());
        all.insert(credential.proof(), secrets.remove(&credential.id));
    }
    let known = devices.into_iter().map(|device| {
        let (given, credentials) = credentials_of.remove(&device.id).unwrap_or_default();
        let known = Known {
            sent: sent.get(&device.id).copied().unwrap_or(0),
            credentials,
            given,
            device,
        };
        (known.device.name.clone(), known)
    });
    Ok(known.collect())
}

/// A row to be decided, by whose order and by which rules.
struct Order<'a> {
    actor: &'a Actor,
    rules: ImportRules,
    row: DeviceRow,
}

impl Order<'_> {
    /// Makes the device, with the usual credential where the row says nothing.
    fn create(
        self,
        batch: &mut Batch,
        intake: &mut Intake,
        usual: NewCredential,
    ) -> Result<(CreatedDevice, Known), Refusal> {
        let row = self.row;
        let given = row.credentials.unwrap_or_else(|| vec![usual]);
        let secrets: HashMap<_, _> = given
            .iter()
            .filter_map(|credential| Some((credential.proof()?, secret_of(credential).cloned())))
            .collect();
        let new = NewDevice {
            name: row.name,
            cohort: row.cohort.flatten(),
            tags: row.tags.unwrap_or_default(),
            enabled: row.enabled.unwrap_or(true),
            credentials: given,
        };
        let created = intake.create(batch, self.actor, new)?;
        let credentials = created.credentials.iter().map(|made| {
            let proof = made.credential.proof();
            let secret = secrets.get(&proof).cloned().flatten();
            (proof, made.made.clone().or(secret))
        });
        let known = Known {
            device: created.device.clone(),
            sent: 0,
            credentials: credentials.collect(),
            given: created.credentials.len(),
        };
        Ok((created, known))
    }

    /// Compares the row with the device, and changes the device where it differs and may be changed.
    async fn compare(
        self,
        batch: &mut Batch,
        intake: &mut Intake,
        known: &mut Known,
    ) -> Result<RowOutcome, Stop> {
        let Self { actor, rules, row } = self;
        let project = known.device.project;
        let mut missing = Vec::new();
        for given in row.credentials.into_iter().flatten() {
            let Some(proof) = given.proof() else { continue };
            match (known.credentials.get(&proof), secret_of(&given)) {
                (None, _) => missing.push(given),
                (Some(Some(stored)), Some(secret)) if stored != secret => {
                    return Err(Stop::Refused(Refusal::SecretDiffers {
                        device: known.device.name.clone(),
                        identity: proof.to_string(),
                    }));
                }
                (Some(_), _) => {}
            }
        }
        intake.holders.check(project, &missing)?;
        check_count(
            "credentials",
            known.given + missing.len(),
            CREDENTIALS_OF_A_DEVICE,
        )?;
        let patch = DevicePatch {
            cohort: row.cohort,
            tags: row.tags.map(checked_tags).transpose()?,
            enabled: row.enabled,
            allow_sequence_back: rules.allow_sequence_back,
            ..DevicePatch::default()
        };
        let differences = differences(batch.view().fleet().in_project(project)?, known, &patch, &missing);
        if differences.is_empty() {
            return Ok(RowOutcome::Unchanged);
        }
        if !rules.update {
            return Err(Stop::Refused(Refusal::DeviceDiffers {
                device: known.device.name.clone(),
                differences,
            }));
        }
        // A device of the same batch has to be there before it can be changed.
        intake.insert(batch).await?;
        let updated = update(batch, actor, &known.device, known.sent, &patch).await?;
        known.given += missing.len();
        for given in &missing {
            if let Some(proof) = given.proof() {
                known.credentials.insert(proof, secret_of(given).cloned());
            }
        }
        let credentials = intake.add_credentials(batch, actor, &updated.device, missing);
        for made in &credentials {
            if let Some(secret) = &made.made {
                known
                    .credentials
                    .insert(made.credential.proof(), Some(secret.clone()));
            }
        }
        known.device = updated.device;
        Ok(RowOutcome::Updated {
            device: known.device.clone(),
            credentials,
            back: updated.back,
        })
    }
}

/// Where a device is not as its row says.
fn differences(
    project: &Project,
    known: &Known,
    patch: &DevicePatch,
    missing: &[NewCredential],
) -> Vec<Differing> {
    let device = &known.device;
    let mut found = Vec::new();
    let cohort = |id: Option<CohortId>| {
        let cohort = id.and_then(|id| project.cohort(id));
        cohort.map_or_else(|| "none".to_owned(), |cohort| format!("{:?}", cohort.name))
    };
    if let Some(given) = patch.cohort.filter(|&given| given != device.cohort) {
        found.push(Differing {
            field: "cohort",
            stored: cohort(device.cohort),
            given: cohort(given),
        });
    }
    let tags = |tags: &[Tag]| match tags {
        [] => "none".to_owned(),
        tags => tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(";"),
    };
    if let Some(given) = patch.tags.as_ref().filter(|&given| *given != device.tags) {
        found.push(Differing {
            field: "tags",
            stored: tags(&device.tags),
            given: tags(given),
        });
    }
    if let Some(given) = patch.enabled.filter(|&given| given != device.enabled) {
        found.push(Differing {
            field: "enabled",
            stored: device.enabled.to_string(),
            given: given.to_string(),
        });
    }
    for proof in missing.iter().filter_map(NewCredential::proof) {
        found.push(Differing {
            field: match proof {
                Proof::Psk(_) => "identity",
                Proof::Certificate(_) | Proof::RawPublicKey(_) => "credentials",
            },
            stored: "missing".to_owned(),
            given: format!("{:?}", proof.to_string()),
        });
    }
    found
}

fn secret_of(credential: &NewCredential) -> Option<&PskSecret> {
    match credential {
        NewCredential::Psk(psk) => psk.secret.as_ref(),
        NewCredential::Certificate(_) | NewCredential::RawPublicKey(_) => None,
    }
}
