//! The JSON that the API answers with: opaque string ids, camelCase, times in RFC 3339 UTC.

use std::num::NonZeroU8;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, Iso8601, TimePrecision};

use crate::fleet::{
    ApiKey, Artifact, CertificateSubject, Changed, Cohort, Credential, CredentialKind, DeployedArtifact,
    Deployment, DeviceState, Difference, Finding, Package, PackageState, SequenceGoesBack,
};

/// Milliseconds of Unix time as RFC 3339, in UTC, always with three digits of a second: sorted as text, times are in order.
pub fn time(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&MILLISECONDS).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

/// A time in RFC 3339 as milliseconds of Unix time.
pub fn unix_ms(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// A page of a list: `{"items": […], "nextPageToken"?: …}`. The `Link: rel="next"` header (RFC 8288) is added by
/// [`super::body::link_next`], which knows the address.
#[derive(Debug)]
pub struct Listed {
    items: Vec<Value>,
    next_page_token: Option<String>,
}

impl Listed {
    pub fn new(items: Vec<Value>, next_page_token: Option<String>) -> Listed {
        Listed {
            items,
            next_page_token,
        }
    }
}

impl IntoResponse for Listed {
    fn into_response(self) -> Response {
        let mut page = json!({"items": self.items});
        let Some(token) = self.next_page_token else {
            return Json(page).into_response();
        };
        page["nextPageToken"] = json!(token);
        let mut response = Json(page).into_response();
        response.extensions_mut().insert(NextPage(token));
        response
    }
}

/// The token of the page after an answered one.
#[derive(Debug, Clone)]
pub struct NextPage(pub String);

pub fn package(package: &Package) -> Value {
    json!({
        "id": package.id,
        "name": package.name.as_str(),
        "description": package.description,
        "metadata": package.metadata,
        "artifacts": package.artifacts.len(),
        "createdAt": time(package.created_ms),
    })
}

pub fn artifact(artifact: &Artifact) -> Value {
    let mut shape = json!({
        "id": artifact.id,
        "package": artifact.package.as_str(),
        "version": artifact.version.as_str(),
        "size": artifact.size.get(),
        "sha256": artifact.digest.to_string(),
        "type": artifact.kind.as_str(),
        "createdAt": time(artifact.created_ms),
    });
    if let Some(version) = &artifact.image_version {
        shape["imageVersion"] = json!(version.to_string());
    }
    shape
}

pub fn deployed(artifact: &DeployedArtifact) -> Value {
    json!({
        "package": artifact.package.as_str(),
        "version": artifact.version.as_str(),
        "size": artifact.size.get(),
        "sha256": artifact.digest.to_string(),
        "change": artifact.change.as_str(),
    })
}

pub fn deployment(deployment: &Deployment, active: bool) -> Value {
    json!({
        "id": deployment.id,
        "cohort": deployment.cohort,
        "name": deployment.name.as_str(),
        "sequence": deployment.sequence.get(),
        "active": active,
        "artifacts": deployment.artifacts.iter().map(deployed).collect::<Vec<_>>(),
        "author": deployment.author,
        "createdAt": time(deployment.created_ms),
    })
}

pub fn cohort(cohort: &Cohort) -> Value {
    json!({
        "id": cohort.id,
        "name": cohort.name.as_str(),
        "deviceCount": cohort.devices,
        "activeDeployment": cohort.active().map(|active| deployment(active, true)),
        "createdAt": time(cohort.created_ms),
    })
}

pub fn difference(difference: &Difference) -> Value {
    let plain = |artifacts: &[DeployedArtifact]| -> Vec<Value> {
        artifacts
            .iter()
            .map(|a| json!({"package": a.package.as_str(), "version": a.version.as_str(), "size": a.size.get()}))
            .collect()
    };
    let changed = |changed: &Changed| {
        json!({
            "package": changed.to.package.as_str(),
            "from": changed.from.version.as_str(),
            "to": changed.to.version.as_str(),
            "change": changed.to.change.as_str(),
            "size": changed.to.size.get(),
        })
    };
    json!({
        "added": plain(&difference.added),
        "changed": difference.changed.iter().map(changed).collect::<Vec<_>>(),
        "removed": plain(&difference.removed),
        "unchanged": plain(&difference.unchanged),
    })
}

pub fn finding(finding: &Finding) -> Value {
    json!({"rule": finding.rule, "severity": finding.severity.as_str(), "message": finding.message})
}

pub fn sequence_back(back: &SequenceGoesBack) -> Value {
    let mut shape = finding(&back.finding());
    shape["device"] = json!(back.device.as_str());
    shape["sent"] = json!(back.sent);
    shape["sequence"] = json!(back.sequence.get());
    shape
}

pub fn package_state(state: &PackageState) -> Value {
    json!({
        "state": DeviceState::from_number(state.state).as_str(),
        "stateNumber": state.state,
        "reason": state.reason_str(),
        "reasonNumber": state.reason,
        "version": state.version,
        "target": state.target,
        "at": time(state.at_ms),
    })
}

pub fn credential(credential: &Credential) -> Value {
    let mut shape = json!({
        "id": credential.id,
        "type": credential.proof().kind(),
        "createdAt": time(credential.created_ms),
    });
    match &credential.kind {
        CredentialKind::Psk(identity) => shape["identity"] = json!(identity.to_string()),
        CredentialKind::RawPublicKey(sha256) => shape["sha256"] = json!(sha256),
        CredentialKind::Certificate(certificate) => {
            let facts = certificate.facts.as_ref();
            shape["sha256"] = json!(certificate.sha256);
            shape["subject"] = json!(facts.map(|facts| subject(&facts.subject)));
            shape["serial"] = json!(facts.map(|facts| &facts.serial));
            shape["notBefore"] = json!(facts.map(|facts| time(facts.not_before_s * 1000)));
            shape["notAfter"] = json!(facts.map(|facts| time(facts.not_after_s * 1000)));
            shape["ca"] = json!(certificate.ca);
            shape["pinned"] = json!(certificate.pinned);
            shape["firstSeenAt"] = json!(certificate.first_seen_ms.map(time));
        }
    }
    shape
}

pub fn subject(subject: &CertificateSubject) -> Value {
    json!({"organization": subject.organization, "commonName": subject.common_name})
}

pub fn api_key(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name.as_str(),
        "role": key.role,
        "createdAt": time(key.created_ms),
        "expiresAt": key.expires_ms.map(time),
    })
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
}
