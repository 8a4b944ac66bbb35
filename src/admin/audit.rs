//! The audit: who did what to what, when, and what was before and after.

use serde_json::{Value, json};

use super::shapes;
use crate::control::AuditRecord;

/// A line of the audit. `before` is null of what was made, `after` of what is gone.
pub fn shape(record: &AuditRecord) -> Value {
    json!({
        "id": record.id.to_string(),
        "at": shapes::time(record.at_ms),
        "actor": record.actor,
        "action": record.action,
        "subject": record.subject,
        "before": record.before,
        "after": record.after,
    })
}
