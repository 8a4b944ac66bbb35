//! `/devices`: who may connect, with which credentials, in which cohort, and what they last said.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::auth::{Deployer, Reader};
use super::body::{Body, Object, Page, devices_after, present};
use super::problem::{FieldError, Problem};
use super::query::flag;
use super::shapes::{self, Answer, Listed, Time};
use super::{AdminState, sessions};
use crate::control::{
    ControlError, CreatedCredential, DevicePatch, DeviceQuery, DeviceRecord, FailureRecord, NewCredential,
    NewDevice, NewPsk,
};
use crate::fleet::{
    CohortId, CredentialId, Deployment, DeviceCertificate, DeviceId, DeviceName, DeviceState, Digest,
    Invalid, PackageName, PackageState, Project, ProjectId, PskIdentity, PskSecret, Refusal, Stage, Tag,
    Version, reason_str,
};

/// `POST /devices`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDevice)]
pub struct Create {
    #[serde(deserialize_with = "for_new")]
    name: DeviceName,
    /// Id or name.
    #[serde(default)]
    cohort: Option<String>,
    #[serde(default)]
    #[schema(max_items = 32)]
    tags: Vec<Tag>,
    /// Whether it may connect; absent: it may.
    enabled: Option<bool>,
    /// Absent: a PSK is made, as for a new device of an import. Empty: none, for a device that comes with a certificate.
    #[schema(value_type = Option<Vec<Credential>>, max_items = 8)]
    credentials: Option<Vec<Object<Credential>>>,
}

fn for_new<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceName, D::Error> {
    let name = DeviceName::deserialize(deserializer)?;
    name.for_new().map_err(serde::de::Error::custom)
}

/// `POST /devices/{device}/credentials`, and part of `POST /devices`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewCredential)]
pub struct Credential {
    #[serde(rename = "type")]
    pub kind: CredentialKind,
    /// Of a PSK, up to 64 bytes of UTF-8; absent: one is made of the device's name.
    #[schema(min_length = 1, max_length = 64)]
    pub identity: Option<String>,
    /// Of a PSK, up to 32 bytes of UTF-8; absent, and no `secretHex`: one is made, and shown in the answer.
    #[schema(min_length = 1, max_length = 32)]
    pub secret: Option<String>,
    /// The same in hexadecimal.
    #[schema(min_length = 2, max_length = 64, pattern = "^([0-9A-Fa-f]{2})+$")]
    pub secret_hex: Option<String>,
    /// One certificate.
    pub pem: Option<String>,
    /// Of a certificate's DER, or of a public key's SubjectPublicKeyInfo.
    #[schema(value_type = Option<Digest>)]
    pub sha256: Option<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What a credential can be.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(try_from = "String", rename_all = "camelCase")]
#[schema(as = CredentialType)]
pub enum CredentialKind {
    Psk,
    Certificate,
    RawPublicKey,
}

impl TryFrom<String> for CredentialKind {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "psk" => Ok(Self::Psk),
            "certificate" => Ok(Self::Certificate),
            "rawPublicKey" => Ok(Self::RawPublicKey),
            _ => Err(format!(
                "unknown type of credential {:?}; accepted: `psk`, `certificate`, `rawPublicKey`",
                word.chars().take(80).collect::<String>()
            )),
        }
    }
}

/// `PATCH /devices/{device}`: what is absent stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = DeviceUpdate)]
pub struct Update {
    /// Id or name; null takes the device out of its cohort.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    cohort: Option<Option<String>>,
    /// All the tags to have; not with `addTags` or `removeTags`.
    #[schema(max_items = 32)]
    tags: Option<Vec<Tag>>,
    /// In addition to the tags that it has when this is done.
    #[serde(default)]
    #[schema(max_items = 32)]
    add_tags: Vec<Tag>,
    #[serde(default)]
    remove_tags: Vec<Tag>,
    enabled: Option<bool>,
    /// A move to a cohort whose deployment is older than what the device was sent is meant.
    #[serde(default)]
    allow_sequence_back: bool,
}

/// Which devices are listed, or exported.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Filter {
    pub name: Option<String>,
    pub cohort: Option<String>,
    pub tag: Option<String>,
    pub search: Option<String>,
    pub online: Option<String>,
    pub state: Option<String>,
    pub version: Option<String>,
}

/// Everything that is known of a device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    id: DeviceId,
    name: DeviceName,
    #[schema(required)]
    cohort: Option<shapes::CohortRef>,
    tags: Vec<Tag>,
    /// Whether it may connect.
    enabled: bool,
    online: bool,
    /// Where it stands with the active deployment of its cohort; null if there is none.
    #[schema(required, value_type = Option<Stage>)]
    state: Option<&'static str>,
    #[schema(required)]
    session: Option<sessions::Session>,
    credentials: Vec<shapes::Credential>,
    packages: Vec<DevicePackage>,
    #[schema(required)]
    last_seen_at: Option<Time>,
    /// The highest sequence number that it was sent.
    #[schema(required)]
    manifest_sent: Option<u32>,
    /// The highest sequence number that it acknowledged.
    #[schema(required)]
    manifest_acknowledged: Option<u32>,
    created_at: Time,
    /// The last one that is known, where one device is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    handshake_failure: Option<sessions::HandshakeFailure>,
    /// What was allowed although it is warned of, where the device was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lint: Option<Vec<shapes::SequenceBack>>,
}

/// What a device should run of a package, and what it last said about it. Of a package that it never said anything about, only
/// `package`, `want` and a `state` of null are there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePackage {
    /// As the device named it; it need not exist here.
    package: String,
    /// What its cohort deploys.
    #[schema(required)]
    want: Option<Version>,
    #[schema(required, value_type = Option<DeviceState>)]
    state: Option<&'static str>,
    /// The state as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    state_number: Option<u64>,
    /// The word for the reason; `other` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// The reason as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason_number: Option<u64>,
    /// Why it failed with what its cohort deploys; null if it has not. Where the reason is that it waits for the next attempt, this
    /// is the one that it gave before.
    #[schema(required)]
    failure: Option<&'static str>,
    /// What it runs, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    version: Option<Option<String>>,
    /// What it is on its way to, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    target: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at: Option<Time>,
}

/// A device that will be sent its manifest again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pushed {
    device: DeviceId,
    /// Whether it is connected, and so sent it now.
    online: bool,
}

pub async fn create(
    State(state): State<AdminState>,
    deployer: Deployer,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Answer<Device>), Problem> {
    let view = state.control.view();
    let project = view.in_project(deployer.project)?;
    let cohort = body
        .cohort
        .as_deref()
        .map(|named| cohort_in_body(project, "/cohort", named))
        .transpose()?;
    let credentials = match body.credentials {
        None => vec![NewCredential::Psk(NewPsk::default())],
        Some(given) => given
            .into_iter()
            .enumerate()
            .map(|(at, Object(one))| one.checked(&format!("/credentials/{at}")))
            .collect::<Result<_, _>>()?,
    };
    // Which credential has no identity of its own, if it is that which is wrong.
    let unnamed = credentials
        .iter()
        .position(|one| matches!(one, NewCredential::Psk(psk) if psk.identity.is_none()));
    let order = NewDevice {
        name: body.name,
        cohort,
        tags: body.tags,
        enabled: body.enabled.unwrap_or(true),
        credentials,
    };
    let made = state
        .control
        .create_device(&deployer.actor, deployer.project, order)
        .await
        .map_err(|error| match (error, unnamed) {
            (ControlError::Refused(Refusal::Invalid(invalid)), Some(at)) => {
                Problem::invalid(format!("/credentials/{at}/identity"), &invalid)
            }
            (error, _) => error.into(),
        })?;
    let record = DeviceRecord {
        device: made.device,
        credentials: Vec::new(),
        packages: Vec::new(),
        sighting: Default::default(),
        session: None,
    };
    let view = state.control.view();
    let mut shape = device(view.in_project(deployer.project)?, &record);
    shape.credentials = made.credentials.iter().map(created).collect();
    Ok((StatusCode::CREATED, Answer(shape)))
}

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Query(filter): Query<Filter>,
) -> Result<Listed<Device>, Problem> {
    let query = {
        let view = state.control.view();
        filter.query(view.in_project(reader.project)?)?
    };
    let query = DeviceQuery {
        limit: page.limit,
        ..devices_after(query, page.token.as_deref())?
    };
    let found = state.control.devices(reader.project, &query).await?;
    // After they were read: a device may be in a cohort that was made meanwhile.
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    let rows = found
        .devices
        .iter()
        .map(|record| device(project, record))
        .collect();
    Ok(Listed::new(rows, found.next.map(|id| id.to_string())))
}

pub async fn show(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, named)): Path<(String, String)>,
) -> Result<Answer<Device>, Problem> {
    let record = find(&state, reader.project, &named).await?;
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    let mut shown = device(project, &record);
    let failures = state.control.handshake_failures(reader.project);
    let its = |failure: &&FailureRecord| {
        failure
            .device
            .as_ref()
            .is_some_and(|device| device.id == record.device.id)
    };
    if let Some(failure) = failures.iter().find(its) {
        shown.handshake_failure = Some(sessions::failure(failure, project));
    }
    Ok(Answer(shown))
}

pub async fn update(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, named)): Path<(String, String)>,
    Body(body): Body<Update>,
) -> Result<Answer<Device>, Problem> {
    let id = find(&state, deployer.project, &named).await?.device.id;
    let view = state.control.view();
    let cohort = match body.cohort {
        None => None,
        Some(None) => Some(None),
        Some(Some(named)) => Some(Some(cohort_in_body(
            view.in_project(deployer.project)?,
            "/cohort",
            &named,
        )?)),
    };
    if body.tags.is_some() && !(body.add_tags.is_empty() && body.remove_tags.is_empty()) {
        let detail = "tags are all the tags to have; accepted: either that, or addTags and removeTags";
        return Err(Problem::fields(vec![FieldError::other("/tags", detail)]));
    }
    not_in_both(&body.add_tags, &body.remove_tags)?;
    let patch = DevicePatch {
        cohort,
        tags: body.tags,
        add_tags: body.add_tags,
        remove_tags: body.remove_tags,
        enabled: body.enabled,
        allow_sequence_back: body.allow_sequence_back,
    };
    let updated = state
        .control
        .update_device(&deployer.actor, deployer.project, id, patch)
        .await?;
    let record = state
        .control
        .device(deployer.project, id)
        .await?
        .ok_or_else(|| unknown(&named))?;
    let view = state.control.view();
    let mut shape = device(view.in_project(deployer.project)?, &record);
    if let Some(back) = &updated.back {
        shape.lint = Some(vec![shapes::sequence_back(back)]);
    }
    Ok(Answer(shape))
}

/// Refuses a tag that is to be added and removed.
pub fn not_in_both(added: &[Tag], removed: &[Tag]) -> Result<(), Problem> {
    let Some(both) = added.iter().find(|tag| removed.contains(tag)) else {
        return Ok(());
    };
    Err(Problem::fields(vec![FieldError {
        field: "/removeTags".into(),
        detail: "the tag is to be added as well".into(),
        value: Some(both.to_string()),
        accepted: Some("a tag in one of the two lists".into()),
    }]))
}

pub async fn delete(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, named)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = find(&state, deployer.project, &named).await?.device.id;
    state
        .control
        .delete_device(&deployer.actor, deployer.project, id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /devices/{device}:push`: the manifest again, now.
pub async fn act(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, named)): Path<(String, String)>,
) -> Result<(StatusCode, Answer<Pushed>), Problem> {
    let Some((named, "push")) = named
        .rsplit_once(':')
        .map(|(named, verb)| (named.to_owned(), verb))
    else {
        return Err(
            Problem::method_not_allowed("POST is done to a device as POST /devices/{device}:push")
                .allowing(DONE_TO_DEVICES),
        );
    };
    let id = find(&state, deployer.project, &named).await?.device.id;
    let online = state.control.push(&deployer.actor, deployer.project, id).await?;
    Ok((StatusCode::ACCEPTED, Answer(Pushed { device: id, online })))
}

/// What the router takes for a device may be one with a verb, and takes other methods then.
pub async fn wrong_method(method: Method, Path((_, named)): Path<(String, String)>) -> Problem {
    let allowed = match named.ends_with(":push") {
        true => "POST",
        false => DONE_TO_DEVICES,
    };
    let detail = format!("{method} cannot be done to {named:?}; the Allow header says what can");
    Problem::method_not_allowed(detail).allowing(allowed)
}

/// `POST` is for the verbs.
const DONE_TO_DEVICES: &str = "GET, HEAD, PATCH, DELETE";

pub async fn credentials(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Path((_, named)): Path<(String, String)>,
) -> Result<Listed<shapes::Credential>, Problem> {
    let record = find(&state, reader.project, &named).await?;
    let (rows, next) = page.rising(record.credentials.iter(), |credential| credential.id)?;
    Ok(Listed::new(
        rows.into_iter().map(shapes::credential).collect(),
        next,
    ))
}

pub async fn add_credential(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, named)): Path<(String, String)>,
    Body(body): Body<Credential>,
) -> Result<(StatusCode, Answer<shapes::Credential>), Problem> {
    let id = find(&state, deployer.project, &named).await?.device.id;
    let made = state
        .control
        .add_credential(&deployer.actor, deployer.project, id, body.checked("")?)
        .await?;
    Ok((StatusCode::CREATED, Answer(created(&made))))
}

pub async fn remove_credential(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, named, credential)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    let id = find(&state, deployer.project, &named).await?.device.id;
    let credential: CredentialId = credential
        .parse()
        .map_err(|_| Problem::not_found(format!("device {named:?} has no credential {credential:?}")))?;
    state
        .control
        .remove_credential(&deployer.actor, deployer.project, id, credential)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Filter {
    /// What is asked of the store; the limit is the caller's to set.
    pub fn query(self, project: &Project) -> Result<DeviceQuery, Problem> {
        let cohort = match self.cohort.as_deref() {
            None => None,
            // No cohort has an empty name.
            Some("") => Some(None),
            Some(named) => Some(Some(project.require_cohort_named(named)?.id)),
        };
        Ok(DeviceQuery {
            name: parsed("name", self.name, DeviceName::parse)?,
            prefix: self.search,
            cohort,
            tag: parsed("tag", self.tag, Tag::parse)?,
            online: flag("online", self.online.as_deref())?,
            stage: parsed("state", self.state, str::parse)?,
            running: self.version.as_deref().map(running).transpose()?,
            ..DeviceQuery::default()
        })
    }
}

impl Credential {
    /// Of this kind, with nothing said about it yet.
    pub fn of_kind(kind: CredentialKind) -> Credential {
        Credential {
            kind,
            identity: None,
            secret: None,
            secret_hex: None,
            pem: None,
            sha256: None,
        }
    }

    /// The credential to be made, if its values can be. `at` is where it stands in the body.
    pub fn checked(self, at: &str) -> Result<NewCredential, Problem> {
        let (own, members): (&[&str], &str) = match self.kind {
            CredentialKind::Psk => (
                &["identity", "secret", "secretHex"],
                "identity, and secret or secretHex",
            ),
            CredentialKind::Certificate => (&["pem", "sha256"], "pem or sha256"),
            CredentialKind::RawPublicKey => (&["sha256"], "sha256"),
        };
        let given = [
            ("identity", self.identity.is_some()),
            ("secret", self.secret.is_some()),
            ("secretHex", self.secret_hex.is_some()),
            ("pem", self.pem.is_some()),
            ("sha256", self.sha256.is_some()),
        ];
        if let Some((field, _)) = given.iter().find(|(field, given)| *given && !own.contains(field)) {
            let detail = format!("a credential of this type has no {field}; accepted: {members}");
            return Err(Problem::fields(vec![FieldError::other(
                format!("{at}/{field}"),
                detail,
            )]));
        }
        match self.kind {
            CredentialKind::Psk => self.checked_psk(at).map(NewCredential::Psk),
            CredentialKind::Certificate => match (&self.pem, &self.sha256) {
                (Some(pem), None) => DeviceCertificate::from_pem(pem)
                    .map(NewCredential::Certificate)
                    .map_err(|invalid| Problem::invalid(format!("{at}/pem"), &invalid)),
                (Some(_), Some(_)) => {
                    let detail = "pem and sha256 are the same thing twice; accepted: one of them";
                    Err(Problem::fields(vec![FieldError::other(
                        format!("{at}/sha256"),
                        detail,
                    )]))
                }
                (None, _) => {
                    let sha256 = self.checked_sha256(at, "the certificate's DER, or pem")?;
                    Ok(NewCredential::Certificate(DeviceCertificate::pinned(sha256)))
                }
            },
            CredentialKind::RawPublicKey => {
                let sha256 = self.checked_sha256(at, "the key's SubjectPublicKeyInfo in DER")?;
                Ok(NewCredential::RawPublicKey(sha256))
            }
        }
    }

    fn checked_sha256(&self, at: &str, of: &str) -> Result<Digest, Problem> {
        let field = format!("{at}/sha256");
        match &self.sha256 {
            Some(text) => text.parse().map_err(|invalid| Problem::invalid(field, &invalid)),
            None => {
                let detail = format!("it is missing; accepted: the SHA-256 of {of}");
                Err(Problem::fields(vec![FieldError::other(field, detail)]))
            }
        }
    }

    fn checked_psk(self, at: &str) -> Result<NewPsk, Problem> {
        let identity = self
            .identity
            .map(|text| PskIdentity::new(text.as_bytes()))
            .transpose();
        let identity = identity.map_err(|invalid| Problem::invalid(format!("{at}/identity"), &invalid))?;
        let secret = match (self.secret, self.secret_hex) {
            (Some(_), Some(_)) => {
                let detail = "secret and secretHex are the same thing twice; accepted: one of them";
                return Err(Problem::fields(vec![FieldError::other(
                    format!("{at}/secretHex"),
                    detail,
                )]));
            }
            (Some(text), None) => PskSecret::new(text.as_bytes())
                .map(Some)
                .map_err(|invalid| Problem::invalid(format!("{at}/secret"), &invalid))?,
            (None, Some(hex)) => PskSecret::from_hex(&hex)
                .map(Some)
                .map_err(|invalid| Problem::invalid(format!("{at}/secretHex"), &invalid))?,
            (None, None) => None,
        };
        Ok(NewPsk { identity, secret })
    }
}

/// The device with this id, or this name.
pub async fn find(state: &AdminState, project: ProjectId, named: &str) -> Result<DeviceRecord, Problem> {
    if let Ok(id) = named.parse::<DeviceId>()
        && let Some(record) = state.control.device(project, id).await?
    {
        return Ok(record);
    }
    let name = DeviceName::parse(named).map_err(|_| unknown(named))?;
    let query = DeviceQuery {
        name: Some(name),
        limit: 1,
        ..DeviceQuery::default()
    };
    state
        .control
        .devices(project, &query)
        .await?
        .devices
        .pop()
        .ok_or_else(|| unknown(named))
}

/// A filter's value, if it can be one.
fn parsed<T>(
    field: &str,
    text: Option<String>,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Problem> {
    text.map(|text| parse(&text).map_err(|invalid| Problem::invalid(field, &invalid)))
        .transpose()
}

/// `package@version`, as devices are asked for that run it. Neither name has an `@`.
fn running(text: &str) -> Result<(PackageName, Version), Problem> {
    let Some((package, version)) = text.split_once('@') else {
        return Err(Problem::fields(vec![FieldError {
            field: "version".into(),
            detail: "it names no package and version".into(),
            value: Some(text.into()),
            accepted: Some("package@version, for example main@1.4.0".into()),
        }]));
    };
    let invalid = |invalid: Invalid| Problem::invalid("version", &invalid);
    Ok((
        PackageName::parse(package).map_err(invalid)?,
        Version::parse(version).map_err(invalid)?,
    ))
}

/// A credential just made; a secret that was made with it is shown this once.
pub fn created(made: &CreatedCredential) -> shapes::Credential {
    let mut shape = shapes::credential(&made.credential);
    let secret = made.made.as_ref();
    shape.secret = secret.map(|secret| String::from_utf8_lossy(secret.as_bytes()).into_owned());
    shape
}

fn unknown(named: &str) -> Problem {
    Problem::not_found(format!(
        "there is no device {named:?}; accepted: the id or the name of a device"
    ))
}

/// The cohort that a body names in `field`, by id or name.
pub fn cohort_in_body(project: &Project, field: &str, named: &str) -> Result<CohortId, Problem> {
    match project.require_cohort_named(named) {
        Ok(cohort) => Ok(cohort.id),
        Err(refusal) => Err(Problem::in_body(&refusal, field)),
    }
}

/// Everything that is known of a device.
fn device(project: &Project, record: &DeviceRecord) -> Device {
    let device = &record.device;
    let cohort = device.cohort.and_then(|id| project.cohort(id));
    let wanted = cohort.and_then(|cohort| cohort.active());
    let reported = record.packages.iter();
    let mut packages: Vec<DevicePackage> = reported
        .map(|reported| reported_package(reported, wanted.map(Arc::as_ref)))
        .collect();
    let silent = wanted.map_or(&[][..], |wanted| &wanted.artifacts).iter();
    for artifact in silent.filter(|a| record.packages.iter().all(|p| p.package != a.package.as_str())) {
        packages.push(DevicePackage {
            package: artifact.package.to_string(),
            want: Some(artifact.version.clone()),
            state: None,
            state_number: None,
            reason: None,
            reason_number: None,
            failure: None,
            version: None,
            target: None,
            at: None,
        });
    }
    let stage = wanted.map(|active| record.stage_with(active));
    Device {
        id: device.id,
        name: device.name.clone(),
        cohort: cohort.map(|cohort| shapes::cohort_ref(cohort)),
        tags: device.tags.clone(),
        enabled: device.enabled,
        online: record.session.is_some(),
        state: stage.map(Stage::as_str),
        session: record.session.as_ref().map(sessions::shape),
        credentials: record.credentials.iter().map(shapes::credential).collect(),
        packages,
        last_seen_at: record.sighting.last_seen_ms.map(Time),
        manifest_sent: some_number(record.sighting.manifest_sent),
        manifest_acknowledged: some_number(record.sighting.manifest_acknowledged),
        created_at: Time(device.created_ms),
        handshake_failure: None,
        lint: None,
    }
}

fn reported_package(reported: &PackageState, wanted: Option<&Deployment>) -> DevicePackage {
    let want = wanted.and_then(|wanted| wanted.artifact(&reported.package));
    let failure = wanted.and_then(|wanted| Stage::failure(wanted, reported));
    DevicePackage {
        package: reported.package.clone(),
        want: want.map(|want| want.version.clone()),
        state: Some(DeviceState::from_number(reported.state).as_str()),
        state_number: Some(reported.state),
        reason: Some(reported.reason_str()),
        reason_number: Some(reported.reason),
        failure: failure.map(|failure| reason_str(failure.reason)),
        version: Some(reported.version.clone()),
        target: Some(reported.target.clone()),
        at: Some(Time(reported.at_ms)),
    }
}

/// A sequence number, if there is one.
fn some_number(sequence: u32) -> Option<u32> {
    Some(sequence).filter(|&sequence| sequence > 0)
}
