//! `/sessions`: the devices that are connected, and `/sessions/failures`: who could not connect.

use axum::extract::{Query, State};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Reader;
use super::body::Page;
use super::problem::Problem;
use super::shapes::{self, Listed, Time};
use crate::control::{FailureCause, FailureRecord, Offered, SessionFacts};
use crate::fleet::{CredentialId, DeviceId, DeviceName, Digest, Project, PskIdentity};

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
) -> Result<Listed<SessionOfDevice>, Problem> {
    let after = page.token.as_deref().map(|token| {
        let id = token.parse::<DeviceId>();
        id.map_err(|_| Page::unknown_token(token))
    });
    let (sessions, next) = state
        .control
        .sessions_after(reader.project, after.transpose()?, page.limit);
    let devices: Vec<_> = sessions.iter().map(|(device, _)| device.id()).collect();
    let seen = state.control.last_seen(&devices).await?;
    let credentials: Vec<_> = sessions
        .iter()
        .filter_map(|(_, session)| session.credential)
        .collect();
    let kinds = state.control.credential_kinds(&credentials).await?;
    let rows = sessions.iter().map(|(device, session)| SessionOfDevice {
        session: shape(session),
        device: DeviceRef {
            id: device.id(),
            name: device.name().clone(),
        },
        credential_type: session.credential.and_then(|id| kinds.get(&id).copied()),
        last_seen_at: seen.get(&device.id()).copied().map(Time),
    });
    Ok(Listed::new(rows.collect(), next.map(|id| id.to_string())))
}

/// A session as it is shown with its device.
pub fn shape(session: &SessionFacts) -> Session {
    Session {
        address: session.peer.to_string(),
        cipher_suite: session.suite,
        connection_id: session.connection_id.map(|id| HEXLOWER.encode(&id)),
        credential: session.credential,
        since: Time(session.since_ms),
    }
}

/// How a device is connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Where the device is: an IP address and a port.
    address: String,
    /// `none` for CoAP without security.
    cipher_suite: &'static str,
    /// In hexadecimal; null where none was agreed on.
    #[schema(required)]
    connection_id: Option<String>,
    /// What the device proved; null for CoAP without security.
    #[schema(required)]
    credential: Option<CredentialId>,
    since: Time,
}

/// A device by its id and name.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceRef {
    id: DeviceId,
    name: DeviceName,
}

/// A session, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionOfDevice {
    #[serde(flatten)]
    session: Session,
    device: DeviceRef,
    /// `psk`, `certificate` or `rawPublicKey`; null for CoAP without security, and where the credential is gone.
    #[schema(required)]
    credential_type: Option<&'static str>,
    #[schema(required)]
    last_seen_at: Option<Time>,
}

/// Handshakes that failed, all of the same kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandshakeFailure {
    #[schema(value_type = FailureCause)]
    reason: &'static str,
    /// What happened and what to do, in a sentence.
    text: String,
    /// As text, with what is not UTF-8 replaced.
    #[schema(required)]
    identity: Option<String>,
    /// The identity in hexadecimal, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    identity_hex: Option<String>,
    /// Whom the identity or the certificate names.
    #[schema(required)]
    device: Option<DeviceRef>,
    /// Where it last came from: an IP address and a port.
    address: String,
    count: u64,
    first_at: Time,
    last_at: Time,
    /// What was shown, where it was a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    certificate: Option<ShownCertificate>,
    /// What was shown, where it was a public key: the SHA-256 of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    raw_public_key: Option<Digest>,
    /// What the device said, where it was the device that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    alert: Option<String>,
}

/// A certificate that somebody showed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownCertificate {
    #[serde(flatten)]
    subject: shapes::Subject,
    sha256: Digest,
}

#[derive(Debug, Deserialize)]
pub struct Filter {
    reason: Option<String>,
    identity: Option<String>,
}

pub async fn failures(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Query(filter): Query<Filter>,
) -> Result<Listed<HandshakeFailure>, Problem> {
    if let Some(reason) = &filter.reason {
        FailureCause::check_name(reason).map_err(|invalid| Problem::invalid("reason", &invalid))?;
    }
    // The number of the last record shown: a record that repeats moves to the front and is not shown twice.
    let before = match &page.token {
        None => u64::MAX,
        Some(token) => token.parse().map_err(|_| Page::unknown_token(token))?,
    };
    let wanted = |record: &FailureRecord| {
        let reason = filter.reason.as_deref();
        let identity = filter.identity.as_deref();
        record.seq < before
            && reason.is_none_or(|reason| reason == record.cause.as_str())
            && identity.is_none_or(|text| {
                let offered = record.offered.as_ref();
                offered.is_some_and(|offered| offered.goes_by(text))
            })
    };
    let mut records = state.control.handshake_failures(reader.project);
    records.retain(wanted);
    let more = records.len() > page.limit;
    records.truncate(page.limit);
    let next = records
        .last()
        .filter(|_| more)
        .map(|record| record.seq.to_string());
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    let shown = records.iter().map(|record| failure(record, project)).collect();
    Ok(Listed::new(shown, next))
}

/// A failed handshake as it is shown. The identity is what a stranger sent: as text with what is not UTF-8 replaced, and
/// then in hexadecimal too.
pub fn failure(record: &FailureRecord, project: &Project) -> HandshakeFailure {
    let identity = record.offered.as_ref().and_then(Offered::identity);
    let (certificate, raw_public_key) = match &record.offered {
        Some(Offered::Certificate { sha256, subject, .. }) => {
            let shown = ShownCertificate {
                subject: shapes::subject(subject),
                sha256: *sha256,
            };
            (Some(shown), None)
        }
        Some(Offered::RawPublicKey(sha256)) => (None, Some(*sha256)),
        Some(Offered::Psk(_)) | None => (None, None),
    };
    HandshakeFailure {
        reason: record.cause.as_str(),
        text: record.text(project),
        identity: identity.map(PskIdentity::to_string),
        identity_hex: identity
            .map(PskIdentity::as_bytes)
            .filter(|bytes| str::from_utf8(bytes).is_err())
            .map(|bytes| HEXLOWER.encode(bytes)),
        device: record.device.as_ref().map(|device| DeviceRef {
            id: device.id,
            name: device.name.clone(),
        }),
        address: record.peer.to_string(),
        count: record.count,
        first_at: Time(record.first_ms),
        last_at: Time(record.last_ms),
        certificate,
        raw_public_key,
        alert: record.cause.alert(),
    }
}
