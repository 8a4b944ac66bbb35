//! Settings: who may use the gateway, which CAs are believed about devices, what is bounded, and what runs here.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::form::{Fields, Form};
use super::page::{self, Frame, Notice, Refused, Section};
use super::show::{Bytes, Count, counted};
use super::visitor::Visitor;
use super::wrong::Wrongs;
use crate::admin::AdminState;
use crate::admin::body::Page;
use crate::admin::devices::cohort_in_body;
use crate::admin::problem::Problem;
use crate::clock;
use crate::control::CreatedKey;
use crate::fleet::{ApiKey, CaCertificate, CaName, CaOutcome, DeviceCa, KeyId, KeyName, NewCa, Role};

#[derive(Template)]
#[template(path = "settings.html", config = "src/admin/console/askama.toml")]
struct SettingsPage {
    frame: Frame,
    keys: Vec<KeyRow>,
    first: Option<String>,
    next: Option<String>,
    key: KeyForm,
    cas: Vec<CaRow>,
    ca: CaForm,
    cohorts: Vec<(String, String)>,
    max_artifact: Bytes,
    version: &'static str,
}

struct KeyRow {
    id: KeyId,
    name: String,
    role: Role,
    created_ms: i64,
    expires_ms: Option<i64>,
    expired: bool,
    /// It is the one that looks at the page.
    own: bool,
    /// It stays, as there has to be one that administers.
    is_last: bool,
}

/// The form for a key, as it was sent.
#[derive(Default)]
struct KeyForm {
    name: String,
    role: String,
    days: String,
    wrong: Wrongs,
}

struct CaRow {
    href: String,
    name: String,
    subject: String,
    sha256: String,
    not_after_ms: i64,
    zero_touch: bool,
    cohort: Option<String>,
}

/// The form for a CA, as it was sent.
#[derive(Default)]
struct CaForm {
    name: String,
    pem: String,
    zero_touch: bool,
    cohort: String,
    wrong: Wrongs,
}

/// A key just made: its page is the answer to the form, as it is never shown again.
#[derive(Template)]
#[template(path = "key_made.html", config = "src/admin/console/askama.toml")]
struct KeyMadePage {
    frame: Frame,
    made: CreatedKey,
}

#[derive(Template)]
#[template(path = "key_revoke.html", config = "src/admin/console/askama.toml")]
struct RevokePage {
    frame: Frame,
    key: Arc<ApiKey>,
    own: bool,
}

#[derive(Template)]
#[template(path = "ca_delete.html", config = "src/admin/console/askama.toml")]
struct DeleteCaPage {
    frame: Frame,
    ca: Arc<DeviceCa>,
    vouches: String,
}

/// `GET /projects/{project}/settings`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    Ok(page::html(&settings(
        &visitor,
        &state,
        fields.given("pageToken"),
        KeyForm::default(),
        CaForm::default(),
    )?))
}

/// `POST /projects/{project}/settings/keys`.
pub async fn create_key(State(state): State<AdminState>, form: Form) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Admin)?;
    let wanted = KeyName::parse(fields.text("name"))
        .map_err(|invalid| Problem::invalid("name", &invalid))
        .and_then(|name| {
            let role: Role = fields
                .text("role")
                .parse()
                .map_err(|invalid| Problem::invalid("role", &invalid))?;
            Ok((name, role, expiry(fields.text("days"))?))
        });
    let made = match wanted {
        Ok((name, role, expires_ms)) => state.control.create_key(&actor, name, role, expires_ms).await,
        Err(problem) => return key_refused(&visitor, &state, &fields, &problem),
    };
    match made {
        Ok(made) => Ok(page::html(&KeyMadePage {
            frame: visitor.frame(&state, Section::Settings, "API key created"),
            made,
        })),
        Err(error) => key_refused(&visitor, &state, &fields, &error.into()),
    }
}

/// `GET /projects/{project}/settings/keys/{key}/revoke`: what will follow.
pub async fn ask_revoke(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, key)): Path<(String, String)>,
) -> Result<Response, Refused> {
    visitor.may(Role::Admin)?;
    let key = named(&state, &key)?;
    Ok(page::html(&RevokePage {
        own: key.id == visitor.key.id,
        frame: visitor.frame(&state, Section::Settings, "Revoke an API key"),
        key,
    }))
}

/// `POST /projects/{project}/settings/keys/{key}/revoke`.
pub async fn revoke(
    State(state): State<AdminState>,
    Path((_, key)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = form.visitor;
    let actor = visitor.may(Role::Admin)?;
    let key = named(&state, &key)?;
    match state.control.revoke_key(&actor, key.id).await {
        Ok(key) => visitor.notify(&state, Notice::done(format!("The key {} is revoked.", key.name))),
        Err(error) => visitor.notify(&state, Notice::wrong(Problem::from(error).detail().to_owned())),
    }
    Ok(Redirect::to(&visitor.path("/settings")).into_response())
}

/// `POST /projects/{project}/settings/device-cas`.
pub async fn create_ca(State(state): State<AdminState>, form: Form) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Admin)?;
    let new = match new_ca(&visitor, &state, &fields) {
        Ok(new) => new,
        Err(problem) => return ca_refused(&visitor, &state, &fields, &problem),
    };
    match state.control.add_device_ca(&actor, visitor.project, new).await {
        Ok(CaOutcome::Created(ca)) => {
            visitor.notify(
                &state,
                Notice::done(format!(
                    "The CA {} is believed about devices from now on.",
                    ca.name
                )),
            );
        }
        Ok(CaOutcome::Existing(ca)) => {
            visitor.notify(
                &state,
                Notice::done(format!("The CA {} was there already.", ca.name)),
            );
        }
        Err(error) => return ca_refused(&visitor, &state, &fields, &error.into()),
    }
    Ok(Redirect::to(&visitor.path("/settings")).into_response())
}

/// `GET /projects/{project}/settings/device-cas/{ca}/delete`: what will follow.
pub async fn ask_delete_ca(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, ca)): Path<(String, String)>,
) -> Result<Response, Refused> {
    visitor.may(Role::Admin)?;
    let ca = state
        .control
        .view()
        .require_device_ca(visitor.project, &ca)?
        .clone();
    let vouches = state.control.vouched_by(ca.id, VOUCHED_SHOWN + 1).await?;
    let vouches = match vouches > VOUCHED_SHOWN {
        true => format!("more than {} certificates", Count(VOUCHED_SHOWN)),
        false => counted(vouches, "certificate", "certificates"),
    };
    Ok(page::html(&DeleteCaPage {
        frame: visitor.frame(&state, Section::Settings, "Delete a CA"),
        ca,
        vouches,
    }))
}

/// `POST /projects/{project}/settings/device-cas/{ca}/delete`.
pub async fn delete_ca(
    State(state): State<AdminState>,
    Path((_, ca)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = form.visitor;
    let actor = visitor.may(Role::Admin)?;
    let id = state.control.view().require_device_ca(visitor.project, &ca)?.id;
    let removed = state
        .control
        .remove_device_ca(&actor, visitor.project, id)
        .await?;
    let devices = u64::try_from(removed.devices).unwrap_or(u64::MAX);
    visitor.notify(
        &state,
        Notice::done(format!(
            "The CA {} is believed no more; it had vouched for {}.",
            removed.ca.name,
            counted(devices, "device", "devices")
        )),
    );
    Ok(Redirect::to(&visitor.path("/settings")).into_response())
}

fn settings(
    visitor: &Visitor,
    state: &AdminState,
    token: Option<&str>,
    key: KeyForm,
    ca: CaForm,
) -> Result<SettingsPage, Refused> {
    let frame = visitor.frame(state, Section::Settings, "Settings");
    let view = state.control.view();
    let project = view.in_project(visitor.project)?;
    // Who holds keys is nothing that a reader is told, here or by the API.
    let keys = if frame.administers() {
        view.keys()
    } else {
        Vec::new()
    };
    let last = view.last_admin(frame.now_ms);
    let page = Page {
        limit: KEYS_SHOWN,
        token: token.map(str::to_owned),
    };
    let (keys, next) = page.rising(keys.iter(), |key| key.id)?;
    let keys = keys.into_iter().map(|key| KeyRow {
        id: key.id,
        name: key.name.to_string(),
        role: key.role,
        created_ms: key.created_ms,
        expires_ms: key.expires_ms,
        expired: !key.is_live(frame.now_ms),
        own: key.id == visitor.key.id,
        is_last: last == Some(key.id),
    });
    let cas = view.device_cas_of(visitor.project).map(|ca| CaRow {
        href: visitor.path(&format!("/settings/device-cas/{}/delete", ca.id)),
        name: ca.name.to_string(),
        subject: ca.certificate.subject().to_string(),
        sha256: ca.certificate.sha256().to_string(),
        not_after_ms: ca.certificate.not_after_s().saturating_mul(1000),
        zero_touch: ca.zero_touch,
        cohort: ca
            .cohort
            .and_then(|id| project.cohorts.get(&id))
            .map(|cohort| cohort.name.to_string()),
    });
    Ok(SettingsPage {
        keys: keys.collect(),
        first: token.map(|_| visitor.path("/settings")),
        next: next.map(|token| visitor.path(&format!("/settings?pageToken={token}"))),
        key,
        cas: cas.collect(),
        ca,
        cohorts: project
            .cohorts
            .values()
            .take(COHORTS_OFFERED)
            .map(|cohort| (cohort.id.to_string(), cohort.name.to_string()))
            .collect(),
        max_artifact: Bytes(state.max_artifact_bytes),
        version: env!("CARGO_PKG_VERSION"),
        frame,
    })
}

fn key_refused(
    visitor: &Visitor,
    state: &AdminState,
    fields: &Fields,
    problem: &Problem,
) -> Result<Response, Refused> {
    let form = KeyForm {
        name: fields.text("name").to_owned(),
        role: fields.text("role").to_owned(),
        days: fields.text("days").to_owned(),
        wrong: Wrongs::of_or_at(problem, &["name", "role", "days"], Some("name")),
    };
    again(visitor, state, form, CaForm::default())
}

fn ca_refused(
    visitor: &Visitor,
    state: &AdminState,
    fields: &Fields,
    problem: &Problem,
) -> Result<Response, Refused> {
    let form = CaForm {
        name: fields.text("caName").to_owned(),
        pem: fields.text("pem").to_owned(),
        zero_touch: fields.given("zeroTouch").is_some(),
        cohort: fields.text("cohort").to_owned(),
        wrong: Wrongs::of_or_at(problem, &["caName", "pem", "cohort"], Some("pem")),
    };
    again(visitor, state, KeyForm::default(), form)
}

/// The page once more, with what was wrong with one of its forms.
fn again(visitor: &Visitor, state: &AdminState, key: KeyForm, ca: CaForm) -> Result<Response, Refused> {
    Ok(page::html_unprocessable(&settings(
        visitor, state, None, key, ca,
    )?))
}

fn new_ca(visitor: &Visitor, state: &AdminState, fields: &Fields) -> Result<NewCa, Problem> {
    let name = fields
        .given("caName")
        .map(CaName::parse)
        .transpose()
        .map_err(|invalid| Problem::invalid("caName", &invalid))?;
    let certificate =
        CaCertificate::from_pem(fields.text("pem")).map_err(|invalid| Problem::invalid("pem", &invalid))?;
    let view = state.control.view();
    let project = view.in_project(visitor.project)?;
    let cohort = fields
        .given("cohort")
        .map(|cohort| cohort_in_body(project, "cohort", cohort))
        .transpose()?;
    Ok(NewCa {
        name,
        certificate,
        zero_touch: fields.given("zeroTouch").is_some(),
        cohort,
    })
}

fn named(state: &AdminState, id: &str) -> Result<Arc<ApiKey>, Problem> {
    let found = id.parse::<KeyId>().ok();
    let found = found.and_then(|id| state.control.view().key(id).cloned());
    found.ok_or_else(|| Problem::not_found(format!("there is no API key {id:?}; the settings list them")))
}

/// When a key ends that is to last so many days; empty: never.
fn expiry(days: &str) -> Result<Option<i64>, Problem> {
    if days.is_empty() {
        return Ok(None);
    }
    let number = days
        .parse::<u16>()
        .ok()
        .filter(|days| (1..=DAYS_MAX).contains(days));
    let Some(number) = number else {
        return Err(Problem::fields(vec![crate::admin::problem::FieldError {
            field: "days".into(),
            detail: "it is no number of days".into(),
            value: Some(days.into()),
            accepted: Some(format!("1 to {DAYS_MAX}, or nothing for a key that does not end")),
        }]));
    };
    Ok(Some(clock::unix_ms() + i64::from(number) * 24 * 60 * 60 * 1000))
}

/// Ten years.
const DAYS_MAX: u16 = 3650;
/// Keys of a page: a screen or two. Of CAs a project has at most 64.
const KEYS_SHOWN: usize = 50;
/// Certificates of a CA that are counted, while somebody waits.
const VOUCHED_SHOWN: u64 = 1000;
/// Cohorts to choose from; further ones can be given by the command line.
const COHORTS_OFFERED: usize = 200;
