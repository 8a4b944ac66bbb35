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
use crate::control::{AUDIT_ACTIONS, AuditFilter, AuditRecord, AuditScope, Control};

/// What is asked of the audit.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    /// The name of a key.
    pub actor: Option<String>,
    /// One of those that there are.
    pub action: Option<String>,
    /// An id, or the name of what is there.
    pub subject: Option<String>,
    /// RFC 3339, and what was done at that moment too.
    pub since: Option<String>,
    /// RFC 3339, and not what was done at that moment.
    pub until: Option<String>,
}

impl Filter {
    /// What is asked of the store; where to begin and how much of it are the caller's to set.
    pub async fn query(self, control: &Control, scope: AuditScope) -> Result<AuditFilter, Problem> {
        let mut errors = Vec::new();
        if let Some(action) = &self.action
            && !AUDIT_ACTIONS.contains(&action.as_str())
        {
            errors.push(FieldError {
                field: "action".into(),
                detail: "the audit tells of no such action".into(),
                value: Some(action.clone()),
                accepted: Some(AUDIT_ACTIONS.join(", ")),
            });
        }
        let mut time = |name: &str, text: &Option<String>| {
            let moment = text.as_deref().map(|text| moment(name, text)).transpose();
            moment.unwrap_or_else(|error| {
                errors.push(error);
                None
            })
        };
        let (since_ms, until_ms) = (time("since", &self.since), time("until", &self.until));
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        let subjects = match &self.subject {
            Some(subject) => control.audit_subjects(scope, subject).await?,
            None => Vec::new(),
        };
        Ok(AuditFilter {
            since_ms,
            until_ms,
            actor: self.actor,
            action: self.action,
            subjects,
            ..AuditFilter::default()
        })
    }
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
    let scope = onlooker.audit_scope();
    let filter = AuditFilter {
        before,
        limit: page.limit,
        ..filter.query(&state.control, scope).await?
    };
    let found = state.control.audit(scope, &filter).await?;
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
        before: record.before.as_ref().map(timely),
        after: record.after.as_ref().map(timely),
    }
}

/// The same with its times as they are everywhere else: of `expiresMs`, milliseconds of Unix time, `expiresAt`.
fn timely(side: &Value) -> Value {
    let Value::Object(fields) = side else {
        return side.clone();
    };
    let fields = fields.iter().map(|(name, value)| {
        let Some(of) = name.strip_suffix(MILLISECONDS) else {
            return (name.clone(), value.clone());
        };
        let at = match value.as_i64() {
            Some(ms) => shapes::time(ms).into(),
            None => value.clone(),
        };
        (format!("{of}At"), at)
    });
    Value::Object(fields.collect())
}

/// How the fields of the audit end that are times.
pub const MILLISECONDS: &str = "Ms";

fn moment(name: &str, text: &str) -> Result<i64, FieldError> {
    shapes::unix_ms(text).ok_or_else(|| FieldError {
        field: name.into(),
        detail: "it is not a time".into(),
        value: Some(text.into()),
        accepted: Some("a time in RFC 3339, such as 2026-01-31T12:00:00Z".into()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::timely;

    #[test]
    fn times_are_told_as_everywhere_else() {
        for (kept, told) in [
            (
                json!({"name": "ci", "expiresMs": 1_795_979_202_489_i64}),
                json!({"name": "ci", "expiresAt": "2026-11-29T19:06:42.489Z"}),
            ),
            (json!({"expiresMs": null}), json!({"expiresAt": null})),
            (json!("whole"), json!("whole")),
        ] {
            assert_eq!(timely(&kept), told);
        }
    }
}
