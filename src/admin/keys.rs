//! `/keys`: who may use the API. A key is shown once, when it is made; only its hash is kept.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Admin;
use super::body::{Body, Page};
use super::problem::{FieldError, Problem};
use super::shapes::{self, Answer, Listed};
use crate::clock;
use crate::fleet::{KeyId, KeyName, Role};

/// `POST /keys`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewApiKey)]
pub struct Create {
    name: KeyName,
    role: Role,
    /// A time to come; absent: never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

pub async fn create(
    State(state): State<AdminState>,
    admin: Admin,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Answer<shapes::ApiKey>), Problem> {
    let expires_ms = body.expires_at.as_deref().map(expiry).transpose()?;
    let made = state
        .control
        .create_key(&admin.actor, body.name, body.role, expires_ms)
        .await?;
    let mut shape = shapes::api_key(&made.key);
    shape.key = Some(made.text);
    Ok((StatusCode::CREATED, Answer(shape)))
}

pub async fn list(
    State(state): State<AdminState>,
    _: Admin,
    page: Page,
) -> Result<Listed<shapes::ApiKey>, Problem> {
    let keys = state.control.view().keys();
    let (rows, next) = page.rising(keys.iter(), |key| key.id)?;
    let rows = rows.into_iter().map(|key| shapes::api_key(key));
    Ok(Listed::new(rows.collect(), next))
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
            accepted: Some(
                "a time to come in RFC 3339, such as 2030-01-31T12:00:00Z, not after the year 9999 in UTC"
                    .into(),
            ),
        }])
    };
    let unix_ms =
        shapes::unix_ms(text).ok_or_else(|| wrong("the expiry is not a time, or none within reach"))?;
    if unix_ms <= clock::unix_ms() {
        return Err(wrong("the expiry has passed"));
    }
    Ok(unix_ms)
}
