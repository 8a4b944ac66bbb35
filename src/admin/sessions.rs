//! `/sessions`: the devices that are connected, and `/sessions/failures`: who could not connect.

use axum::extract::{Query, State};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Reader;
use super::body::Page;
use super::problem::Problem;
use super::{AdminState, shapes};
use crate::control::{FailureCause, FailureRecord, Offered, SessionFacts};
use crate::fleet::{Project, PskIdentity};

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
) -> Result<shapes::Listed, Problem> {
    let mut sessions = state.control.sessions();
    sessions.retain(|(device, _)| device.project() == reader.project);
    sessions.sort_by_key(|(device, _)| device.id());
    let (sessions, next) = page.cut(sessions.into_iter())?;
    let devices: Vec<_> = sessions.iter().map(|(device, _)| device.id()).collect();
    let seen = state.control.last_seen(&devices).await?;
    let credentials: Vec<_> = sessions
        .iter()
        .filter_map(|(_, session)| session.credential)
        .collect();
    let kinds = state.control.credential_kinds(&credentials).await?;
    let rows = sessions.iter().map(|(device, session)| {
        let mut row = shape(session);
        row["device"] = json!({"id": device.id(), "name": device.name().as_str()});
        row["credentialType"] = json!(session.credential.and_then(|id| kinds.get(&id)));
        row["lastSeenAt"] = json!(seen.get(&device.id()).copied().map(shapes::time));
        row
    });
    Ok(shapes::Listed::new(rows.collect(), next))
}

/// A session as it is shown with its device.
pub fn shape(session: &SessionFacts) -> Value {
    json!({
        "address": session.peer.to_string(),
        "cipherSuite": session.suite,
        "connectionId": session.connection_id.map(|id| HEXLOWER.encode(&id)),
        "credential": session.credential,
        "since": shapes::time(session.since_ms),
    })
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
) -> Result<shapes::Listed, Problem> {
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
    Ok(shapes::Listed::new(shown, next))
}

/// A failed handshake as it is shown. The identity is what a stranger sent: as text with what is not UTF-8 replaced, and
/// then in hexadecimal too.
pub fn failure(record: &FailureRecord, project: &Project) -> Value {
    let identity = record.offered.as_ref().and_then(Offered::identity);
    let mut shape = json!({
        "reason": record.cause.as_str(),
        "text": record.text(project),
        "identity": identity.map(PskIdentity::to_string),
        "device": record.device.as_ref().map(|device| json!({"id": device.id, "name": device.name.as_str()})),
        "address": record.peer.to_string(),
        "count": record.count,
        "firstAt": shapes::time(record.first_ms),
        "lastAt": shapes::time(record.last_ms),
    });
    match &record.offered {
        Some(Offered::Certificate { sha256, subject, .. }) => {
            shape["certificate"] = shapes::subject(subject);
            shape["certificate"]["sha256"] = json!(sha256);
        }
        Some(Offered::RawPublicKey(sha256)) => shape["rawPublicKey"] = json!(sha256),
        Some(Offered::Psk(_)) | None => {}
    }
    if let Some(identity) = identity
        && str::from_utf8(identity.as_bytes()).is_err()
    {
        shape["identityHex"] = json!(HEXLOWER.encode(identity.as_bytes()));
    }
    if let Some(alert) = record.cause.alert() {
        shape["alert"] = json!(alert);
    }
    shape
}
