//! `/keys`: who may use the API. A key is shown once, when it is made; only its hash is kept.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::auth::Admin;
use super::body::{Body, Page};
use super::problem::{FieldError, Problem};
use super::{AdminState, shapes};
use crate::clock;
use crate::fleet::{KeyId, KeyName, Role};

/// `POST /keys`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Create {
    name: KeyName,
    role: Role,
    /// RFC 3339; absent: never.
    expires_at: Option<String>,
}

pub async fn create(
    State(state): State<AdminState>,
    admin: Admin,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let expires_ms = body.expires_at.as_deref().map(expiry).transpose()?;
    let made = state
        .control
        .create_key(&admin.actor, body.name, body.role, expires_ms)
        .await?;
    let mut shape = shapes::api_key(&made.key);
    shape["key"] = json!(made.text);
    Ok((StatusCode::CREATED, Json(shape)))
}

pub async fn list(State(state): State<AdminState>, _: Admin, page: Page) -> Result<shapes::Listed, Problem> {
    let keys = state.control.view().keys();
    let (rows, next) = page.cut(keys.iter().map(|key| shapes::api_key(key)))?;
    Ok(shapes::Listed::new(rows, next))
}

pub async fn revoke(
    State(state): State<AdminState>,
    admin: Admin,
    Path((_, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id: KeyId = id
        .parse()
        .map_err(|_| Problem::not_found(format!("there is no API key {id:?}")))?;
    state.control.revoke_key(&admin.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn expiry(text: &str) -> Result<i64, Problem> {
    let wrong = |detail: &str| {
        Problem::fields(vec![FieldError {
            field: "/expiresAt".into(),
            detail: detail.into(),
            value: Some(text.chars().take(80).collect()),
            accepted: Some("a time to come in RFC 3339, such as 2030-01-31T12:00:00Z".into()),
        }])
    };
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong("the expiry is not a time"))?;
    let unix_ms =
        i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong("the expiry is too far"))?;
    if unix_ms <= clock::unix_ms() {
        return Err(wrong("the expiry has passed"));
    }
    Ok(unix_ms)
}
