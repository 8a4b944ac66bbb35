//! A device is made: its name, where it belongs, and what it proves itself with.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::super::form::{Fields, Form};
use super::super::page::{self, Frame, Notice, Refused, Section};
use super::super::visitor::Visitor;
use super::super::wrong::Wrongs;
use super::{CHOICES, CohortChoice, cohort_choices, keys};
use crate::admin::AdminState;
use crate::admin::problem::{FieldError, Problem};
use crate::control::{ControlError, NewDevice};
use crate::fleet::{DeviceName, Invalid, Project, Role, Tag};

#[derive(Template)]
#[template(path = "device_new.html", config = "src/admin/console/askama.toml")]
struct NewPage {
    frame: Frame,
    wrong: Wrongs,
    cohorts: Vec<CohortChoice>,
    cohort_is_typed: bool,
    name: String,
    cohort: String,
    tags: String,
    /// It gets a pre-shared key.
    psk: bool,
    identity: String,
}

/// `GET /projects/{project}/devices/new`.
pub async fn form(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    visitor.may(Role::Deploy)?;
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let page = NewPage {
        psk: true,
        ..NewPage::of(&visitor, &state, &fields, Wrongs::default())?
    };
    Ok(page::html(&page))
}

/// `POST /projects/{project}/devices/new`.
pub async fn create(State(state): State<AdminState>, form: Form) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Deploy)?;
    let order = order(state.control.view().in_project(visitor.project)?, &fields);
    let wrong = match order {
        Err(wrong) => wrong,
        Ok(order) => match state.control.create_device(&actor, visitor.project, order).await {
            Ok(made) => {
                state
                    .console
                    .keep_made(&visitor, made.device.id, &made.credentials);
                visitor.notify(&state, Notice::done(format!("Created {}.", made.device.name)));
                let next = visitor.path(&format!("/devices/{}", made.device.id));
                return Ok(Redirect::to(&next).into_response());
            }
            Err(ControlError::Refused(refusal)) => Wrongs::refused(&refusal),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(page::html_unprocessable(&NewPage::of(
        &visitor, &state, &fields, wrong,
    )?))
}

impl NewPage {
    fn of(visitor: &Visitor, state: &AdminState, fields: &Fields, wrong: Wrongs) -> Result<NewPage, Refused> {
        let frame = visitor.frame(state, Section::Devices, "Create a device");
        let view = state.control.view();
        let project = view.in_project(visitor.project)?;
        let field = |name| fields.text(name).to_owned();
        Ok(NewPage {
            frame,
            wrong,
            cohorts: cohort_choices(project),
            cohort_is_typed: project.cohorts.len() > CHOICES,
            name: field("name"),
            cohort: field("cohort"),
            tags: field("tags"),
            psk: fields.given("psk").is_some(),
            identity: field("identity"),
        })
    }
}

/// The device that a form describes, or all that is wrong with it.
fn order(project: &Project, fields: &Fields) -> Result<NewDevice, Wrongs> {
    let mut wrong = Wrongs::default();
    let mut note = |field: &str, invalid: Invalid| {
        let problem = Problem::fields(vec![FieldError::invalid(field, &invalid)]);
        wrong.and(Wrongs::of(&problem, &[field]));
    };
    let name = DeviceName::parse(fields.text("name")).and_then(DeviceName::for_new);
    let name = name.map_err(|invalid| note("name", invalid)).ok();
    let tags = tags(fields.text("tags"));
    let tags = tags.map_err(|invalid| note("tags", invalid)).unwrap_or_default();
    let cohort = match fields.given("cohort") {
        None => None,
        Some(named) => match project.require_cohort_named(named) {
            Ok(cohort) => Some(cohort.id),
            Err(refusal) => {
                wrong.and(Wrongs::at_field("cohort", refusal.to_string()));
                None
            }
        },
    };
    let mut credentials = Vec::new();
    if fields.given("psk").is_some() {
        match keys::psk(fields) {
            Ok(credential) => credentials.push(credential),
            Err(problem) => wrong.and(Wrongs::of(&problem, &["identity", "secret"])),
        }
    }
    match name {
        Some(name) if wrong.is_empty() => Ok(NewDevice {
            name,
            cohort,
            tags,
            enabled: true,
            credentials,
        }),
        Some(_) | None => Err(wrong),
    }
}

/// Tags as they are typed: with commas or spaces between them.
fn tags(text: &str) -> Result<Vec<Tag>, Invalid> {
    text.split([',', ';', ' '])
        .filter(|word| !word.is_empty())
        .map(Tag::parse)
        .collect()
}
