//! The JSON that the API answers with: opaque string ids, camelCase, times in RFC 3339 UTC. What is answered is a type, so that
//! [`super::openapi`] describes what is sent.

use std::num::NonZeroU8;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, Iso8601, TimePrecision};
use utoipa::ToSchema;

use crate::control::{self, FleetFigures};
use crate::fleet::{
    self, ArtifactId, CaId, CohortId, CohortName, CredentialId, DeploymentId, DeploymentName, DeviceName,
    Digest, KeyId, KeyName, PackageId, PackageName, Role, Version,
};

/// What is answered: the members of an object in the order of their names, wherever it comes from.
#[derive(Debug)]
pub struct Answer<T>(pub T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let value = serde_json::to_value(self.0).expect("a shape has text for keys");
        Json(value).into_response()
    }
}

/// A time: RFC 3339 in UTC with three digits of a second.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time(self.0))
    }
}

/// Milliseconds of Unix time as RFC 3339, in UTC, always with three digits of a second: sorted as text, times are in order.
pub fn time(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&MILLISECONDS).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

/// A time in RFC 3339 as milliseconds of Unix time, if it can be answered so again: in UTC, where it is given in another zone, it may
/// be before the year 0 or after 9999.
pub fn unix_ms(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let unix_ms = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
    (FIRST_MS..=LAST_MS).contains(&unix_ms).then_some(unix_ms)
}

/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z: what RFC 3339 has four digits for.
const FIRST_MS: i64 = -62_167_219_200_000;
const LAST_MS: i64 = 253_402_300_799_999;

/// A page of a list: `{"items": […], "nextPageToken"?: …}`. The `Link: rel="next"` header (RFC 8288) is added by
/// [`super::body::link_next`], which knows the address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed<T = Value> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

impl<T> Listed<T> {
    pub fn new(items: Vec<T>, next_page_token: Option<String>) -> Self {
        Self {
            items,
            next_page_token,
        }
    }
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let next = self.next_page_token.clone().map(NextPage);
        let mut response = Answer(self).into_response();
        if let Some(next) = next {
            response.extensions_mut().insert(next);
        }
        response
    }
}

/// The token of the page after an answered one.
#[derive(Debug, Clone)]
pub struct NextPage(pub String);

/// A named thing that devices run or store.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    id: PackageId,
    name: PackageName,
    description: String,
    /// The operator's own.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// How many versions there are.
    artifacts: usize,
    created_at: Time,
}

pub fn package(package: &fleet::Package) -> Package {
    Package {
        id: package.id,
        name: package.name.clone(),
        description: package.description.clone(),
        metadata: package.metadata.clone(),
        artifacts: package.artifacts.len(),
        created_at: Time(package.created_ms),
    }
}

/// A version of a package: bytes that never change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    id: ArtifactId,
    package: PackageName,
    version: Version,
    /// In bytes.
    #[schema(minimum = 1)]
    size: u64,
    sha256: Digest,
    /// What its first bytes say it is.
    #[serde(rename = "type")]
    #[schema(value_type = fleet::ImageKind)]
    kind: &'static str,
    created_at: Time,
    /// The version in the header of the image, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    image_version: Option<String>,
}

pub fn artifact(artifact: &fleet::Artifact) -> Artifact {
    Artifact {
        id: artifact.id,
        package: artifact.package.clone(),
        version: artifact.version.clone(),
        size: artifact.size.get(),
        sha256: artifact.digest,
        kind: artifact.kind.as_str(),
        created_at: Time(artifact.created_ms),
        image_version: artifact.image_version.as_ref().map(ToString::to_string),
    }
}

/// An artifact as part of a deployment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeployedArtifact {
    package: PackageName,
    version: Version,
    /// In bytes.
    #[schema(minimum = 1)]
    size: u64,
    sha256: Digest,
    /// Against the deployment before.
    #[schema(value_type = fleet::Change)]
    change: &'static str,
}

/// The immutable set of package versions of a cohort.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    id: DeploymentId,
    cohort: CohortId,
    name: DeploymentName,
    /// Its place in the project's history.
    #[schema(minimum = 1, maximum = 2147483647)]
    sequence: u32,
    /// Whether it is the newest of its cohort.
    active: bool,
    artifacts: Vec<DeployedArtifact>,
    /// The name of the key that made it.
    author: String,
    created_at: Time,
}

pub fn deployment(deployment: &fleet::Deployment, active: bool) -> Deployment {
    let deployed = |artifact: &fleet::DeployedArtifact| DeployedArtifact {
        package: artifact.package.clone(),
        version: artifact.version.clone(),
        size: artifact.size.get(),
        sha256: artifact.digest,
        change: artifact.change.as_str(),
    };
    Deployment {
        id: deployment.id,
        cohort: deployment.cohort,
        name: deployment.name.clone(),
        sequence: deployment.sequence.get(),
        active,
        artifacts: deployment.artifacts.iter().map(deployed).collect(),
        author: deployment.author.clone(),
        created_at: Time(deployment.created_ms),
    }
}

/// Devices that should run the same set of packages.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cohort {
    id: CohortId,
    name: CohortName,
    device_count: u64,
    /// Null where nothing was deployed yet.
    #[schema(required)]
    active_deployment: Option<Deployment>,
    /// How many of its devices are connected, as last counted; null until they have been.
    #[schema(required)]
    online_count: Option<u64>,
    /// How far the active deployment had come when its devices were last counted.
    #[schema(required)]
    progress: Option<Progress>,
    created_at: Time,
}

/// A cohort, with what was last counted of it.
pub fn cohort(cohort: &fleet::Cohort, figures: &FleetFigures) -> Cohort {
    let counted = figures.cohorts.get(&cohort.id);
    Cohort {
        id: cohort.id,
        name: cohort.name.clone(),
        device_count: cohort.devices,
        active_deployment: cohort.active().map(|active| deployment(active, true)),
        online_count: counted.map(|counted| counted.online),
        progress: figures.progress_of(cohort).as_ref().map(progress),
        created_at: Time(cohort.created_ms),
    }
}

/// The devices of a deployment's cohort, by how far each has come; each is counted once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Not heard of it yet.
    pending: u64,
    /// Acknowledged the manifest, or a later one.
    notified: u64,
    /// Reported that they download.
    downloading: u64,
    /// Reported that they have it.
    downloaded: u64,
    /// Reported that they write or boot it.
    updating: u64,
    /// Run the wanted version of every package of it that they report on.
    done: u64,
    /// Reported a failure.
    failed: u64,
    /// Bytes of its artifacts served to devices of the cohort since the gateway started.
    bytes_served: u64,
}

pub fn progress(counted: &control::Progress) -> Progress {
    Progress {
        pending: counted.pending,
        notified: counted.notified,
        downloading: counted.downloading,
        downloaded: counted.downloaded,
        updating: counted.updating,
        done: counted.done,
        failed: counted.failed,
        bytes_served: counted.bytes_served,
    }
}

/// A cohort by its id and name.
#[derive(Debug, Serialize, ToSchema)]
pub struct CohortRef {
    id: CohortId,
    name: CohortName,
}

pub fn cohort_ref(cohort: &fleet::Cohort) -> CohortRef {
    CohortRef {
        id: cohort.id,
        name: cohort.name.clone(),
    }
}

/// What a deployment would change for the devices of its cohort.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    added: Vec<PackageVersion>,
    changed: Vec<ChangedPackage>,
    removed: Vec<PackageVersion>,
    unchanged: Vec<PackageVersion>,
}

/// A version of a package, and how large it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct PackageVersion {
    package: PackageName,
    version: Version,
    /// In bytes.
    #[schema(minimum = 1)]
    size: u64,
}

/// A package that changes its version.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedPackage {
    package: PackageName,
    from: Version,
    to: Version,
    #[schema(value_type = fleet::Change)]
    change: &'static str,
    /// Of the version that it changes to, in bytes.
    #[schema(minimum = 1)]
    size: u64,
}

pub fn difference(difference: &fleet::Difference) -> Difference {
    let plain = |artifacts: &[fleet::DeployedArtifact]| -> Vec<PackageVersion> {
        artifacts
            .iter()
            .map(|artifact| PackageVersion {
                package: artifact.package.clone(),
                version: artifact.version.clone(),
                size: artifact.size.get(),
            })
            .collect()
    };
    let changed = |changed: &fleet::Changed| ChangedPackage {
        package: changed.to.package.clone(),
        from: changed.from.version.clone(),
        to: changed.to.version.clone(),
        change: changed.to.change.as_str(),
        size: changed.to.size.get(),
    };
    Difference {
        added: plain(&difference.added),
        changed: difference.changed.iter().map(changed).collect(),
        removed: plain(&difference.removed),
        unchanged: plain(&difference.unchanged),
    }
}

/// One thing that a device would choke on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Finding {
    /// A stable word for the rule.
    rule: &'static str,
    #[schema(value_type = fleet::Severity)]
    severity: &'static str,
    /// The number and the limit, in a sentence.
    message: String,
}

pub fn finding(finding: &fleet::Finding) -> Finding {
    Finding {
        rule: finding.rule,
        severity: finding.severity.as_str(),
        message: finding.message.clone(),
    }
}

/// Something for which a deployment is to be confirmed before it starts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeploymentCaution)]
pub struct Caution {
    #[schema(value_type = fleet::Caution)]
    kind: &'static str,
    /// What the deployment does, to go on from "it": `removes a package`.
    message: &'static str,
}

pub fn caution(caution: fleet::Caution) -> Caution {
    Caution {
        kind: caution.as_str(),
        message: caution.effect(),
    }
}

/// How long devices may take, by an earlier rollout of the cohort: as long as they took then, and longer in proportion where more
/// is to be downloaded. From when a device is told, which is at once where it is connected, until it runs the deployment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// What half of the devices take at most, in seconds.
    #[schema(minimum = 1)]
    half_seconds: u64,
    /// What 95 in 100 devices take at most, in seconds.
    #[schema(minimum = 1)]
    most_seconds: u64,
    /// The deployment whose rollout was measured.
    deployment: DeploymentId,
    /// Its place in the project's history.
    #[schema(minimum = 1, maximum = 2147483647)]
    sequence: u32,
    /// How many of its devices were.
    #[schema(minimum = 1)]
    devices: u64,
}

pub fn estimate(expected: &control::Expected) -> Estimate {
    Estimate {
        half_seconds: expected.half.as_secs(),
        most_seconds: expected.most.as_secs(),
        deployment: expected.by.id,
        sequence: expected.by.sequence.get(),
        devices: expected.devices,
    }
}

/// A device that would see the sequence number fall.
#[derive(Debug, Serialize, ToSchema)]
pub struct SequenceBack {
    #[serde(flatten)]
    finding: Finding,
    device: DeviceName,
    /// The highest number that it was sent.
    sent: u32,
    /// The number of what its cohort deploys.
    sequence: u32,
}

pub fn sequence_back(back: &fleet::SequenceGoesBack) -> SequenceBack {
    SequenceBack {
        finding: finding(&back.finding()),
        device: back.device.clone(),
        sent: back.sent,
        sequence: back.sequence.get(),
    }
}

/// What a device last reported for a package.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageState {
    #[schema(value_type = fleet::DeviceState)]
    state: &'static str,
    /// As it came.
    state_number: u64,
    /// The word for the reason; `other` where there is none.
    reason: &'static str,
    /// As it came.
    reason_number: u64,
    /// What it runs, if it said so.
    #[schema(required)]
    version: Option<String>,
    /// What it is on its way to, if it said so.
    #[schema(required)]
    target: Option<String>,
    at: Time,
}

pub fn package_state(state: &fleet::PackageState) -> PackageState {
    PackageState {
        state: fleet::DeviceState::from_number(state.state).as_str(),
        state_number: state.state,
        reason: state.reason_str(),
        reason_number: state.reason,
        version: state.version.clone(),
        target: state.target.clone(),
        at: Time(state.at_ms),
    }
}

/// A credential of a device. A secret that was made with it is shown once, in the answer to the call that made it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    id: CredentialId,
    created_at: Time,
    #[serde(flatten)]
    kind: CredentialKind,
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub secret: Option<String>,
}

/// What a credential is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
enum CredentialKind {
    /// A pre-shared key.
    Psk {
        /// What the device calls itself.
        identity: String,
    },
    /// A public key without a certificate.
    RawPublicKey {
        /// Of its SubjectPublicKeyInfo in DER.
        sha256: Digest,
    },
    /// A certificate. What it says is null until it is used, where only its digest was given.
    Certificate(CertificateFacts),
}

/// What is known of a device's certificate.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// Of its DER.
    sha256: Digest,
    #[schema(required)]
    subject: Option<Subject>,
    /// In hexadecimal.
    #[schema(required)]
    serial: Option<String>,
    #[schema(required)]
    not_before: Option<Time>,
    #[schema(required)]
    not_after: Option<Time>,
    /// The CA that vouched for it when it was last used.
    #[schema(required)]
    ca: Option<CaId>,
    /// Whether somebody said that it is this device's, whatever its subject says.
    pinned: bool,
    #[schema(required)]
    first_seen_at: Option<Time>,
}

pub fn credential(credential: &fleet::Credential) -> Credential {
    let kind = match &credential.kind {
        fleet::CredentialKind::Psk(identity) => CredentialKind::Psk {
            identity: identity.to_string(),
        },
        fleet::CredentialKind::RawPublicKey(sha256) => CredentialKind::RawPublicKey { sha256: *sha256 },
        fleet::CredentialKind::Certificate(certificate) => {
            let facts = certificate.facts.as_ref();
            CredentialKind::Certificate(CertificateFacts {
                sha256: certificate.sha256,
                subject: facts.map(|facts| subject(&facts.subject)),
                serial: facts.map(|facts| facts.serial.clone()),
                not_before: facts.map(|facts| Time(facts.not_before_s * 1000)),
                not_after: facts.map(|facts| Time(facts.not_after_s * 1000)),
                ca: certificate.ca,
                pinned: certificate.pinned,
                first_seen_at: certificate.first_seen_ms.map(Time),
            })
        }
    };
    Credential {
        id: credential.id,
        created_at: Time(credential.created_ms),
        kind,
        secret: None,
    }
}

/// Whom a certificate is for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    #[schema(required)]
    organization: Option<String>,
    #[schema(required)]
    common_name: Option<String>,
}

pub fn subject(subject: &fleet::CertificateSubject) -> Subject {
    Subject {
        organization: subject.organization.clone(),
        common_name: subject.common_name.clone(),
    }
}

/// A key of this API. The key itself is shown once, in the answer to the call that made it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    id: KeyId,
    name: KeyName,
    role: Role,
    created_at: Time,
    /// Null: never.
    #[schema(required)]
    expires_at: Option<Time>,
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub key: Option<String>,
}

pub fn api_key(key: &fleet::ApiKey) -> ApiKey {
    ApiKey {
        id: key.id,
        name: key.name.clone(),
        role: key.role,
        created_at: Time(key.created_ms),
        expires_at: key.expires_ms.map(Time),
        key: None,
    }
}

/// The profile of ISO 8601 that RFC 3339 is, with a fixed number of digits.
const MILLISECONDS: Iso8601<MILLISECONDS_CONFIG> = Iso8601;
const MILLISECONDS_CONFIG: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second {
        decimal_digits: NonZeroU8::new(3),
    })
    .encode();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_of_a_second_and_sort_as_text() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_767_225_600_280, "2026-01-01T00:00:00.280Z"),
            (1_767_225_600_281, "2026-01-01T00:00:00.281Z"),
            (1_767_225_600_300, "2026-01-01T00:00:00.300Z"),
        ] {
            assert_eq!(time(unix_ms), text);
        }
    }

    #[test]
    fn what_is_taken_for_a_time_can_be_answered_as_one() {
        for text in [
            "0000-01-01T00:00:00.000Z",
            "9999-12-31T23:59:59.999Z",
            "1969-12-31T23:59:59.999Z",
        ] {
            assert_eq!(time(unix_ms(text).unwrap()), text);
        }
        for text in [
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "9999-12-31",
            "253402387139999",
        ] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
        assert_eq!(time(FIRST_MS), "0000-01-01T00:00:00.000Z");
    }
}
