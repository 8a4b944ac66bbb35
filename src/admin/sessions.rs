//! `/sessions`: the devices that are connected.

use axum::extract::State;
use serde_json::{Value, json};

use super::auth::Reader;
use super::body::Page;
use super::problem::Problem;
use super::{AdminState, shapes};
use crate::control::SessionFacts;

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
) -> Result<shapes::Listed, Problem> {
    let mut sessions = state.control.sessions();
    sessions.retain(|(device, _)| device.project() == reader.project);
    sessions.sort_by_key(|(device, _)| device.id());
    let (rows, next) = page.cut(sessions.iter().map(|(device, session)| {
        let mut row = shape(session);
        row["device"] = json!({"id": device.id(), "name": device.name().as_str()});
        row
    }))?;
    Ok(shapes::Listed::new(rows, next))
}

/// A session as it is shown with its device.
pub fn shape(session: &SessionFacts) -> Value {
    json!({
        "address": session.peer.to_string(),
        "cipherSuite": session.suite,
        "credential": session.credential,
        "since": shapes::time(session.since_ms),
    })
}
