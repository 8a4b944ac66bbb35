//! `/audit`: who did what to what, when, and what was before and after; newest first. What concerns the installation and no
//! project, which is API keys, is shown to who administers it.

use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Onlooker;
use super::body::Page;
use super::problem::{FieldError, Problem};
use super::shapes::{self, Listed, Time};
use crate::control::{AUDIT_ACTIONS, AuditFilter, AuditRecord};

#[derive(Debug, Deserialize)]
pub struct Filter {
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    /// RFC 3339, and what was done at that moment too.
    since: Option<String>,
    /// RFC 3339, and not what was done at that moment.
    until: Option<String>,
}

pub async fn list(
    State(state): State<AdminState>,
    onlooker: Onlooker,
    page: Page,
    Query(filter): Query<Filter>,
) -> Result<Listed<AuditLine>, Problem> {
    let before = match &page.token {
        None => None,
        Some(token) => Some(token.parse().map_err(|_| Page::unknown_token(token))?),
    };
    if let Some(action) = &filter.action
        && !AUDIT_ACTIONS.contains(&action.as_str())
    {
        return Err(Problem::fields(vec![FieldError {
            field: "action".into(),
            detail: "the audit tells of no such action".into(),
            value: Some(action.clone()),
            accepted: Some(AUDIT_ACTIONS.join(", ")),
        }]));
    }
    let time = |name: &str, text: &Option<String>| text.as_deref().map(|text| moment(name, text)).transpose();
    let filter = AuditFilter {
        before,
        since_ms: time("since", &filter.since)?,
        until_ms: time("until", &filter.until)?,
        actor: filter.actor,
        action: filter.action,
        subject: filter.subject,
        limit: page.limit,
    };
    let found = state.control.audit(onlooker.audit_scope(), &filter).await?;
    let rows = found.records.iter().map(shape).collect();
    Ok(Listed::new(rows, found.next.map(|next| next.to_string())))
}

/// What somebody did.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditLine {
    /// Rises with time.
    id: String,
    at: Time,
    /// The name of an API key, or `system`.
    actor: String,
    action: String,
    /// An id such as `coh_12`, or a name such as `main@1.4.0`.
    subject: String,
    /// Null of what was made.
    #[schema(required)]
    before: Option<Value>,
    /// Null of what is gone.
    #[schema(required)]
    after: Option<Value>,
}

/// A line of the audit as it is shown.
pub fn shape(record: &AuditRecord) -> AuditLine {
    AuditLine {
        id: record.id.to_string(),
        at: Time(record.at_ms),
        actor: record.actor.clone(),
        action: record.action.clone(),
        subject: record.subject.clone(),
        before: record.before.clone(),
        after: record.after.clone(),
    }
}

fn moment(name: &str, text: &str) -> Result<i64, Problem> {
    shapes::unix_ms(text).ok_or_else(|| {
        Problem::fields(vec![FieldError {
            field: name.into(),
            detail: "it is not a time".into(),
            value: Some(text.into()),
            accepted: Some("a time in RFC 3339, such as 2026-01-31T12:00:00Z".into()),
        }])
    })
}
