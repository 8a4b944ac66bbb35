//! Cohorts: what each should run, how far it has come, and where one is created.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::form::{Fields, Form};
use super::page::{self, Frame, Notice, Refused, Section};
use super::show::{Bar, percent};
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::body::Page;
use crate::control::{ControlError, FleetFigures, Progress};
use crate::fleet::{Cohort, CohortName, Refusal, Role};

#[derive(Template)]
#[template(path = "cohorts.html", config = "src/admin/console/askama.toml")]
struct CohortsPage {
    frame: Frame,
    /// Cohorts of the project, whatever is searched for.
    all: usize,
    has_artifacts: bool,
    search: String,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
    /// What was typed as the name of another one, and what is wrong with it.
    name: String,
    wrong: Option<String>,
}

#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    href: String,
    devices: u64,
    online: u64,
    active: Option<Active>,
}

/// A cohort's active deployment, in a line.
#[derive(Debug, PartialEq)]
pub struct Active {
    /// Its name.
    pub name: String,
    /// Its page.
    pub href: String,
    /// Its number.
    pub sequence: u32,
    /// When it was made.
    pub created_ms: i64,
    /// How far it has come; `None` until it was counted.
    pub reach: Option<Reach>,
}

/// How far a deployment has come.
#[derive(Debug, PartialEq)]
pub struct Reach {
    /// The picture.
    pub bar: Bar,
    /// Devices it was counted of.
    pub devices: u64,
    /// How many of a hundred are done.
    pub percent: u64,
    /// How many failed.
    pub failed: u64,
}

impl Active {
    /// The active deployment of a cohort, if it has one. `progress` is what is known of it.
    pub fn of(cohort: &Cohort, progress: Option<Progress>, visitor: &Visitor) -> Option<Active> {
        let active = cohort.active()?;
        Some(Active {
            name: active.name.to_string(),
            href: visitor.path(&format!("/deployments/{}", active.id)),
            sequence: active.sequence.get(),
            created_ms: active.created_ms,
            reach: progress.as_ref().map(Reach::of),
        })
    }
}

impl Reach {
    fn of(progress: &Progress) -> Reach {
        let devices = super::show::shares(progress)
            .iter()
            .map(|share| share.devices)
            .sum();
        Reach {
            bar: Bar::of(progress),
            devices,
            percent: percent(progress.done, devices),
            failed: progress.failed,
        }
    }
}

/// `GET /projects/{project}/cohorts`.
pub async fn list(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    Ok(page::html(&listed(&visitor, &state, &fields)?))
}

/// `POST /projects/{project}/cohorts`.
pub async fn create(State(state): State<AdminState>, form: Form) -> Result<Response, Refused> {
    let visitor = &form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let name = form.fields.text("name");
    let made = match CohortName::parse(name) {
        Ok(name) => state.control.create_cohort(&actor, visitor.project, name).await,
        Err(invalid) => Err(ControlError::Refused(invalid.into())),
    };
    match made {
        Ok(cohort) => {
            visitor.notify(
                &state,
                Notice::done(format!("Cohort {} is created.", cohort.name)),
            );
            let to = visitor.path(&format!("/cohorts/{}", cohort.id));
            Ok(Redirect::to(&to).into_response())
        }
        Err(ControlError::Refused(refusal @ (Refusal::Invalid(_) | Refusal::Taken { .. }))) => {
            let mut page = listed(visitor, &state, &Fields::default())?;
            name.clone_into(&mut page.name);
            page.wrong = Some(format!("The {refusal}."));
            Ok(page::html_unprocessable(&page))
        }
        Err(other) => Err(other.into()),
    }
}

fn listed(visitor: &Visitor, state: &AdminState, fields: &Fields) -> Result<CohortsPage, Refused> {
    let view = state.control.view();
    let project = view.in_project(visitor.project)?;
    let figures = state.control.figures(visitor.project);
    let search = fields.text("search").to_lowercase();
    let found = project
        .cohorts
        .values()
        .filter(|cohort| cohort.name.to_lowercase().contains(&search));
    let page = Page {
        limit: ROWS,
        token: fields.given("pageToken").map(str::to_owned),
    };
    let (cohorts, next) = page.rising(found, |cohort| cohort.id)?;
    let path = visitor.path("/cohorts");
    Ok(CohortsPage {
        frame: visitor.frame(state, Section::Cohorts, "Cohorts"),
        all: project.cohorts.len(),
        has_artifacts: project
            .packages
            .values()
            .any(|package| !package.artifacts.is_empty()),
        search: fields.text("search").to_owned(),
        rows: cohorts
            .into_iter()
            .map(|cohort| row(cohort, &figures, visitor))
            .collect(),
        first: page.token.map(|_| fields.link(&path, &[("pageToken", "")])),
        next: next.map(|token| fields.link(&path, &[("pageToken", &token)])),
        name: String::new(),
        wrong: None,
    })
}

fn row(cohort: &Cohort, figures: &FleetFigures, visitor: &Visitor) -> Row {
    Row {
        name: cohort.name.to_string(),
        href: visitor.path(&format!("/cohorts/{}", cohort.id)),
        devices: cohort.devices,
        online: figures
            .cohorts
            .get(&cohort.id)
            .map_or(0, |counted| counted.online),
        active: Active::of(cohort, figures.progress_of(cohort), visitor),
    }
}

/// Cohorts of a page: a screen or two.
const ROWS: usize = 50;
