//! The devices that a filter finds, a page at a time; the filter is the address.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::super::form::Fields;
use super::super::page::{self, Frame, Refused, Section};
use super::super::show::visible;
use super::super::visitor::Visitor;
use super::super::wrong::Wrongs;
use super::{CHOICES, CohortChoice, NO_COHORT, Sieve, cohort_choices};
use crate::admin::AdminState;
use crate::admin::body::devices_after;
use crate::control::{DevicePage, DeviceQuery, DeviceRecord, View};
use crate::fleet::{DeviceId, Project, Stage, Tag};

#[derive(Template)]
#[template(path = "devices.html", config = "src/admin/console/askama.toml")]
struct ListPage {
    frame: Frame,
    /// On record.
    devices: u64,
    sieve: Sieve,
    wrong: Wrongs,
    cohorts: Vec<CohortChoice>,
    cohort_is_typed: bool,
    versions: Vec<String>,
    rows: Vec<Row>,
    /// How many the filter finds, where that is known without looking.
    matching: Option<u64>,
    first: Option<String>,
    next: Option<String>,
    /// All of the page are chosen already: what the script does elsewhere.
    select_page: bool,
    filter: String,
    export: String,
}

impl ListPage {
    fn stages(&self) -> [Stage; 7] {
        Stage::ALL
    }

    fn no_cohort(&self) -> &'static str {
        NO_COHORT
    }
}

/// A device in a list.
struct Row {
    id: DeviceId,
    name: String,
    href: String,
    online: bool,
    enabled: bool,
    cohort: Option<(String, String)>,
    tags: Vec<String>,
    packages: Vec<(String, String)>,
    more_packages: usize,
    last_seen_ms: Option<i64>,
    stage: Option<&'static str>,
}

/// `GET /projects/{project}/devices`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let sieve = Sieve::of(&fields);
    let asked = {
        let view = state.control.view();
        sieve.query(view.in_project(visitor.project)?)
    };
    let token = fields.given("pageToken");
    let (wrong, found) = match asked {
        Ok(query) => {
            let query = DeviceQuery {
                limit: ROWS,
                ..devices_after(query, token)?
            };
            (
                Wrongs::default(),
                state.control.devices(visitor.project, &query).await?,
            )
        }
        Err(problem) => {
            let wrong = match problem.status() {
                StatusCode::NOT_FOUND => Wrongs::at_field("cohort", problem.detail()),
                _ => Wrongs::of(&problem, &FILTERS),
            };
            (wrong, DevicePage::default())
        }
    };
    // After they were read: a device may be in a cohort that was made meanwhile.
    let view = Arc::clone(&state.control.view());
    let project = view.in_project(visitor.project)?;
    let path = visitor.path("/devices");
    let figures = state.control.figures(visitor.project);
    let versions = figures.versions.iter().filter_map(|share| {
        let version = share.version.as_ref()?;
        Some(format!("{}@{version}", share.package))
    });
    let frame = visitor.frame(&state, Section::Devices, "Devices");
    let page = ListPage {
        devices: project.devices,
        cohorts: cohort_choices(project),
        cohort_is_typed: project.cohorts.len() > CHOICES,
        versions: versions.take(CHOICES).collect(),
        rows: found
            .devices
            .iter()
            .map(|record| Row::of(&visitor, &view, project, record))
            .collect(),
        matching: matching(&sieve, project),
        first: token.map(|_| format!("{path}?{}", fields.with(&[("pageToken", "")]))),
        next: found
            .next
            .map(|place| format!("{path}?{}", fields.with(&[("pageToken", &place.to_string())]))),
        select_page: fields.text("select") == "page",
        filter: sieve.address(),
        export: sieve.api_address(),
        frame,
        sieve,
        wrong,
    };
    match page.wrong.is_empty() {
        true => Ok(page::html(&page)),
        false => Ok(page::html_unprocessable(&page)),
    }
}

impl Row {
    fn of(visitor: &Visitor, view: &View, project: &Project, record: &DeviceRecord) -> Row {
        let device = &record.device;
        let cohort = device.cohort.and_then(|id| project.cohort(id));
        let packages = record.packages.iter().take(PACKAGES_SHOWN).map(|reported| {
            let version = reported.version.as_deref().map_or("?".to_owned(), visible);
            (visible(&reported.package), version)
        });
        Row {
            id: device.id,
            name: device.name.to_string(),
            href: visitor.path(&format!("/devices/{}", device.id)),
            online: record.session.is_some(),
            enabled: device.enabled,
            cohort: cohort.map(|cohort| {
                (
                    cohort.name.to_string(),
                    visitor.path(&format!("/cohorts/{}", cohort.id)),
                )
            }),
            tags: device.tags.iter().map(Tag::to_string).collect(),
            packages: packages.collect(),
            more_packages: record.packages.len().saturating_sub(PACKAGES_SHOWN),
            last_seen_ms: record.sighting.last_seen_ms,
            stage: record.stage(view).map(Stage::as_str),
        }
    }
}

/// How many devices a filter finds, if it is one whose devices are counted anyway.
fn matching(sieve: &Sieve, project: &Project) -> Option<u64> {
    if sieve.is_open() {
        return Some(project.devices);
    }
    let others = Sieve {
        cohort: String::new(),
        ..sieve.clone()
    };
    let cohort = project.find_cohort(&sieve.cohort)?;
    others.is_open().then_some(cohort.devices)
}

/// Rows of a page.
const ROWS: usize = 50;
/// Packages of a row; the device's page has them all.
const PACKAGES_SHOWN: usize = 3;
/// What a filter has, by the names of its fields.
const FILTERS: [&str; 6] = ["search", "cohort", "tag", "online", "state", "version"];
