//! The audit: who did what to what, when, and what was before and after.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::{Map, Value};

use super::form::Fields;
use super::page::{self, Frame, Refused, Section};
use super::subject::Subject;
use super::visitor::Visitor;
use super::wrong::Wrongs;
use crate::admin::AdminState;
use crate::admin::audit::{Filter, MILLISECONDS};
use crate::admin::{body, shapes};
use crate::control::{AUDIT_ACTIONS, AuditFilter, AuditPage, AuditRecord, AuditScope};

#[derive(Template)]
#[template(path = "audit.html", config = "src/admin/console/askama.toml")]
struct Page {
    frame: Frame,
    lines: Vec<Line>,
    actor: String,
    subject: String,
    action: String,
    since: String,
    until: String,
    wrong: Wrongs,
    filtered: bool,
    first: Option<String>,
    next: Option<String>,
}

impl Page {
    fn actions(&self) -> &'static [&'static str] {
        &AUDIT_ACTIONS
    }
}

struct Line {
    id: i64,
    at_ms: i64,
    actor: String,
    action: String,
    subject: Subject,
    changes: Vec<Changed>,
}

/// A field that is other than it was.
struct Changed {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

/// `GET /projects/{project}/audit`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = Fields::parse(query.unwrap_or_default().as_bytes());
    let frame = visitor.frame(&state, Section::Audit, "Audit");
    let before = query.given("pageToken").map(|token| {
        let number = token.parse::<i64>();
        number.map_err(|_| body::Page::unknown_token(token))
    });
    let before = before.transpose()?;
    let given = |name: &str| query.given(name).map(str::to_owned);
    let time = |name: &str| query.given(name).map(in_utc);
    let filter = Filter {
        actor: given("actor"),
        action: given("action"),
        subject: given("subject"),
        since: time("since"),
        until: time("until"),
    };
    let scope = AuditScope::of(visitor.key.role, visitor.project);
    let (found, wrong) = match filter.query(&state.control, scope).await {
        Ok(filter) => {
            let filter = AuditFilter {
                before,
                limit: ROWS,
                ..filter
            };
            (state.control.audit(scope, &filter).await?, Wrongs::default())
        }
        Err(problem) => (AuditPage::default(), Wrongs::of(&problem, &FILTERS)),
    };
    let view = Arc::clone(&state.control.view());
    let name = |field: &str, text: &str| {
        let known = Subject::known(&visitor, &view, field, text);
        known.map(Subject::into_name)
    };
    let subjects = Subject::of(&visitor, &state, &found.records).await?;
    let lines = found.records.into_iter().zip(subjects);
    let lines = lines
        .map(|(record, subject)| line(record, subject, name))
        .collect();
    let at = |token: &str| {
        format!(
            "{}?{}",
            visitor.path("/audit"),
            query.with(&[("pageToken", token)])
        )
    };
    let page = Page {
        lines,
        actor: query.text("actor").to_owned(),
        subject: query.text("subject").to_owned(),
        action: query.text("action").to_owned(),
        since: local(query.text("since")),
        until: local(query.text("until")),
        filtered: FILTERS.iter().any(|name| query.given(name).is_some()),
        first: before.map(|_| at("")),
        next: found.next.map(|next| at(&next.to_string())),
        frame,
        wrong,
    };
    match page.wrong.is_empty() {
        true => Ok(page::html(&page)),
        false => Ok(page::html_unprocessable(&page)),
    }
}

/// A time as a browser's field has it, without a zone, or a date alone: in UTC, as the API wants it. Any other text as it is.
fn in_utc(text: &str) -> String {
    let with_zone = ["Z", ":00Z", "T00:00:00Z"].map(|rest| format!("{text}{rest}"));
    let time = with_zone.into_iter().find(|time| shapes::unix_ms(time).is_some());
    time.unwrap_or_else(|| text.to_owned())
}

/// The same as a browser's field takes it. What is no time stays as it was typed.
fn local(text: &str) -> String {
    let Some(unix_ms) = shapes::unix_ms(&in_utc(text)) else {
        return text.to_owned();
    };
    let exact = shapes::time(unix_ms);
    let exact = exact.trim_end_matches('Z');
    let exact = exact.strip_suffix(".000").unwrap_or(exact);
    exact.strip_suffix(":00").unwrap_or(exact).to_owned()
}

fn line(record: AuditRecord, subject: Subject, name: impl Fn(&str, &str) -> Option<String>) -> Line {
    Line {
        changes: changes(record.before.as_ref(), record.after.as_ref(), name),
        id: record.id,
        at_ms: record.at_ms,
        actor: record.actor,
        action: record.action,
        subject,
    }
}

/// What differs, field by field; what stayed as it was is left out, and what is nothing on both sides. `name` knows the names
/// of ids, by the fields that they are in.
fn changes(
    before: Option<&Value>,
    after: Option<&Value>,
    name: impl Fn(&str, &str) -> Option<String>,
) -> Vec<Changed> {
    let none = Map::new();
    let fields = |side: Option<&Value>| match side {
        Some(Value::Object(fields)) => fields.clone(),
        Some(Value::Null) | None => none.clone(),
        Some(other) => Map::from_iter([(String::new(), other.clone())]),
    };
    let (before, after) = (fields(before), fields(after));
    let fields = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)));
    let changed = fields.filter_map(|field| {
        let (was, is) = (before.get(field), after.get(field));
        let differs = was != is && !(is_nothing(was) && is_nothing(is));
        differs.then(|| Changed {
            field: field.strip_suffix(MILLISECONDS).unwrap_or(field).to_owned(),
            before: was.map(|value| written(field, value, &name)),
            after: is.map(|value| written(field, value, &name)),
        })
    });
    changed.take(FIELDS_SHOWN).collect()
}

fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(values)) => values.is_empty(),
        Some(_) => false,
    }
}

fn written(field: &str, value: &Value, name: impl Fn(&str, &str) -> Option<String>) -> String {
    let text = match value {
        Value::String(text) => match REFERENCES.contains(&field).then(|| name(field, text)).flatten() {
            Some(name) => format!("{name} ({text})"),
            None => text.clone(),
        },
        Value::Number(number) if field.ends_with(MILLISECONDS) => match number.as_i64() {
            Some(ms) => shapes::time(ms),
            None => number.to_string(),
        },
        other => other.to_string(),
    };
    match text.char_indices().nth(CHARS_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What a filter has, by the names of its fields.
const FILTERS: [&str; 5] = ["actor", "action", "subject", "since", "until"];
/// Fields whose value is the id of something else.
const REFERENCES: [&str; 3] = ["cohort", "deployment", "key"];
/// Rows of a page.
const ROWS: usize = 50;
/// Fields of a line, and letters of a value; the API has all of it.
const FIELDS_SHOWN: usize = 12;
const CHARS_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{changes, in_utc, local};

    #[test]
    fn a_time_is_in_utc_and_comes_back_as_a_browser_takes_it() {
        for (typed, asked, shown) in [
            ("2026-01-31T12:30", "2026-01-31T12:30:00Z", "2026-01-31T12:30"),
            (
                "2026-01-31T12:30:07",
                "2026-01-31T12:30:07Z",
                "2026-01-31T12:30:07",
            ),
            ("2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T00:00"),
            (
                "2026-01-31T12:30:07Z",
                "2026-01-31T12:30:07Z",
                "2026-01-31T12:30:07",
            ),
            (
                "2026-01-31T12:30:07.250+02:00",
                "2026-01-31T12:30:07.250+02:00",
                "2026-01-31T10:30:07.250",
            ),
            ("yesterday", "yesterday", "yesterday"),
            ("2026-02-30", "2026-02-30", "2026-02-30"),
            ("", "", ""),
        ] {
            assert_eq!(in_utc(typed), asked);
            assert_eq!(local(typed), shown);
        }
    }

    #[test]
    fn only_what_differs_is_shown_field_by_field() {
        let before = json!({"name": "a", "enabled": true, "tags": ["x"]});
        let after = json!({"name": "a", "enabled": false, "tags": ["x"], "cohort": "coh_1"});
        let shown = |changed: &super::Changed| {
            (
                changed.field.clone(),
                changed.before.clone(),
                changed.after.clone(),
            )
        };
        let nameless = |_: &str, _: &str| None;
        let differing: Vec<_> = changes(Some(&before), Some(&after), nameless)
            .iter()
            .map(shown)
            .collect();
        assert_eq!(
            differing,
            [
                (
                    "enabled".to_owned(),
                    Some("true".to_owned()),
                    Some("false".to_owned())
                ),
                ("cohort".to_owned(), None, Some("coh_1".to_owned())),
            ]
        );
        assert!(changes(None, None, nameless).is_empty());
        let long = json!({"text": "é".repeat(300)});
        let cut = changes(None, Some(&long), nameless)
            .remove(0)
            .after
            .unwrap_or_default();
        assert_eq!(cut.chars().count(), 201);
    }

    #[test]
    fn ids_have_names_times_are_times_and_what_is_empty_is_not_shown() {
        let name = |field: &str, id: &str| ((field, id) == ("cohort", "coh_1")).then(|| "lamps".to_owned());
        let made = json!({
            "cohort": "coh_1", "name": "coh_1", "expiresMs": 1_795_979_202_489_i64, "tags": [], "note": null,
        });
        let mut shown: Vec<_> = changes(None, Some(&made), name)
            .into_iter()
            .map(|changed| (changed.field, changed.after.unwrap_or_default()))
            .collect();
        shown.sort();
        let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        assert_eq!(
            shown,
            [
                pair("cohort", "lamps (coh_1)"),
                pair("expires", "2026-11-29T19:06:42.489Z"),
                pair("name", "coh_1"),
            ]
        );
    }
}
