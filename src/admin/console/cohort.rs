//! A cohort: what was deployed to it, how far the active deployment has come, and its settings. Its devices are in
//! [`super::cohort_devices`].

use std::borrow::Cow;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::cohorts::Active;
use super::form::{Fields, Form};
use super::page::{self, Frame, Notice, Refused, Section};
use super::show::{self, percent};
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::body::Page;
use crate::control::{CohortFigures, ControlError, Progress};
use crate::fleet::{Cohort, History, HistoryCell, HistoryRow, Refusal, Role, Sequence, reason_words};

/// What every page of a cohort has above its own.
#[derive(Debug, Clone)]
pub struct Head {
    /// The cohort's name.
    pub name: String,
    /// The address of its first page.
    pub path: String,
    /// Devices in it.
    pub devices: u64,
    /// Where in the tabs the page is.
    pub tab: Tab,
}

impl Head {
    /// Of a page of this cohort.
    pub fn new(cohort: &Cohort, visitor: &Visitor, tab: Tab) -> Head {
        Head {
            name: cohort.name.to_string(),
            path: visitor.path(&format!("/cohorts/{}", cohort.id)),
            devices: cohort.devices,
            tab,
        }
    }

    /// The tabs.
    pub fn tabs(&self) -> &'static [Tab] {
        &Tab::ALL
    }

    /// Whether the page is there.
    pub fn is_on(&self, tab: &Tab) -> bool {
        self.tab == *tab
    }
}

/// A part of a cohort's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// What was deployed to it.
    Deployments,
    /// How far its active deployment has come.
    Progress,
    /// Its devices.
    Devices,
    /// Its name, its end.
    Settings,
}

impl Tab {
    const ALL: [Tab; 4] = [Tab::Deployments, Tab::Progress, Tab::Devices, Tab::Settings];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployments => "Deployments",
            Self::Progress => "Progress",
            Self::Devices => "Devices",
            Self::Settings => "Settings",
        }
    }

    /// Its address, below the cohort's.
    pub fn path(self) -> &'static str {
        match self {
            Self::Deployments => "",
            Self::Progress => "/progress",
            Self::Devices => "/devices",
            Self::Settings => "/settings",
        }
    }
}

/// The cohort of an address, by its id or name.
///
/// # Errors
/// There is none.
pub fn find(visitor: &Visitor, state: &AdminState, named: &str) -> Result<Arc<Cohort>, Refused> {
    let view = state.control.view();
    Ok(Arc::clone(
        view.in_project(visitor.project)?.require_cohort_named(named)?,
    ))
}

#[derive(Template)]
#[template(path = "cohort_deployments.html", config = "src/admin/console/askama.toml")]
struct DeploymentsPage {
    frame: Frame,
    head: Head,
    packages: Vec<String>,
    has_others: bool,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
}

struct Row {
    name: String,
    href: String,
    active: bool,
    sequence: String,
    created_ms: i64,
    author: String,
    cells: Vec<Option<Cell>>,
    also: Vec<Cell>,
    roll_back: String,
}

struct Cell {
    package: String,
    version: String,
    glyph: &'static str,
    word: &'static str,
}

/// `GET /projects/{project}/cohorts/{cohort}`.
pub async fn deployments(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let cohort = find(&visitor, &state, &named)?;
    let before = match fields.given("pageToken") {
        None => None,
        Some(token) => {
            let number = token.parse().ok().and_then(Sequence::new);
            Some(number.ok_or_else(|| Page::unknown_token(token))?)
        }
    };
    let history = History::of(&cohort, before, ROWS);
    let head = Head::new(&cohort, &visitor, Tab::Deployments);
    Ok(page::html(&DeploymentsPage {
        frame: visitor.frame(&state, Section::Cohorts, head.name.clone()),
        packages: history.packages.iter().map(ToString::to_string).collect(),
        has_others: history.has_others(),
        rows: history
            .rows
            .iter()
            .map(|row| Row::of(row, &head, &visitor))
            .collect(),
        first: before.map(|_| head.path.clone()),
        next: history
            .next
            .map(|next| fields.link(&head.path, &[("pageToken", &next.to_string())])),
        head,
    }))
}

impl Row {
    fn of(row: &HistoryRow, head: &Head, visitor: &Visitor) -> Row {
        let deployment = &row.deployment;
        Row {
            name: deployment.name.to_string(),
            href: visitor.path(&format!("/deployments/{}", deployment.id)),
            active: row.active,
            sequence: deployment.sequence.to_string(),
            created_ms: deployment.created_ms,
            author: deployment.author.clone(),
            cells: row.cells.iter().map(|cell| cell.as_ref().map(Cell::of)).collect(),
            also: row.also.iter().map(Cell::of).collect(),
            roll_back: format!("{}/deploy?from={}", head.path, deployment.id),
        }
    }
}

impl Cell {
    fn of(cell: &HistoryCell) -> Cell {
        let (glyph, word) = show::glyph(cell.change);
        Cell {
            package: cell.package.to_string(),
            version: cell.version.to_string(),
            glyph,
            word,
        }
    }
}

#[derive(Template)]
#[template(path = "cohort_progress.html", config = "src/admin/console/askama.toml")]
struct ProgressPage {
    frame: Frame,
    head: Head,
    active: Option<Active>,
    counted_ms: i64,
    online: u64,
    bytes_served: u64,
    states: Vec<StateRow>,
    failures: Vec<FailureRow>,
    versions: Vec<VersionRow>,
}

struct StateRow {
    state: &'static str,
    devices: u64,
    percent: u64,
    href: String,
}

struct FailureRow {
    package: String,
    state: &'static str,
    reason: Cow<'static, str>,
    devices: u64,
}

struct VersionRow {
    package: String,
    version: Option<String>,
    devices: u64,
    percent: u64,
    /// Those devices, where the version is one.
    href: Option<String>,
}

/// `GET /projects/{project}/cohorts/{cohort}/progress`.
pub async fn progress(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let cohort = find(&visitor, &state, &named)?;
    let figures = state.control.figures(visitor.project);
    let progress = figures.progress_of(&cohort);
    let none = CohortFigures::default();
    let its = figures.cohorts.get(&cohort.id).unwrap_or(&none);
    let head = Head::new(&cohort, &visitor, Tab::Progress);
    Ok(page::html(&ProgressPage {
        frame: visitor.frame(&state, Section::Cohorts, format!("{}: progress", head.name)),
        active: Active::of(&cohort, progress, &visitor),
        counted_ms: figures.counted_ms,
        online: its.online,
        bytes_served: progress.as_ref().map_or(0, |progress| progress.bytes_served),
        states: progress
            .as_ref()
            .map_or_else(Vec::new, |progress| state_rows(progress, &head)),
        failures: failure_rows(its),
        versions: version_rows(its, &head),
        head,
    }))
}

fn state_rows(progress: &Progress, head: &Head) -> Vec<StateRow> {
    let shares = show::shares(progress);
    let devices = shares.iter().map(|share| share.devices).sum();
    let row = |share: show::Share| StateRow {
        state: share.state,
        devices: share.devices,
        percent: percent(share.devices, devices),
        href: format!("{}/devices?state={}", head.path, share.state),
    };
    shares.into_iter().map(row).collect()
}

fn failure_rows(figures: &CohortFigures) -> Vec<FailureRow> {
    let failures = figures.failures.iter();
    failures
        .map(|share| FailureRow {
            package: share.package.to_string(),
            state: share.state.as_str(),
            reason: reason_words(share.reason),
            devices: share.devices,
        })
        .collect()
}

fn version_rows(figures: &CohortFigures, head: &Head) -> Vec<VersionRow> {
    let row = |share: &crate::control::VersionShare| {
        let same = figures
            .versions
            .iter()
            .filter(|other| other.package == share.package);
        let runs = |version: &crate::fleet::Version| {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("version", &format!("{}@{version}", share.package))
                .finish();
            format!("{}/devices?{query}", head.path)
        };
        VersionRow {
            package: share.package.to_string(),
            version: share.version.as_ref().map(ToString::to_string),
            devices: share.devices,
            percent: percent(share.devices, same.map(|other| other.devices).sum()),
            href: share.version.as_ref().map(runs),
        }
    };
    figures.versions.iter().map(row).collect()
}

#[derive(Template)]
#[template(path = "cohort_settings.html", config = "src/admin/console/askama.toml")]
struct SettingsPage {
    frame: Frame,
    head: Head,
    id: String,
    created_ms: i64,
    deployments: u64,
    /// Why it cannot be deleted.
    needed: Option<String>,
}

/// `GET /projects/{project}/cohorts/{cohort}/settings`.
pub async fn settings(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let cohort = find(&visitor, &state, &named)?;
    Ok(page::html(&settings_page(&visitor, &state, &cohort)))
}

/// `POST /projects/{project}/cohorts/{cohort}/settings`: its end.
pub async fn delete(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = &form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let cohort = find(visitor, &state, &named)?;
    match state
        .control
        .delete_cohort(&actor, visitor.project, cohort.id)
        .await
    {
        Ok(gone) => {
            visitor.notify(&state, Notice::done(format!("Cohort {} is deleted.", gone.name)));
            Ok(Redirect::to(&visitor.path("/cohorts")).into_response())
        }
        // Something needs it since the page was opened: the page says what.
        Err(ControlError::Refused(Refusal::InUse { .. })) => {
            let cohort = find(visitor, &state, &named)?;
            Ok(page::html_unprocessable(&settings_page(visitor, &state, &cohort)))
        }
        Err(other) => Err(other.into()),
    }
}

fn settings_page(visitor: &Visitor, state: &AdminState, cohort: &Cohort) -> SettingsPage {
    let head = Head::new(cohort, visitor, Tab::Settings);
    let allowed = state.control.view().may_delete_cohort(visitor.project, cohort.id);
    SettingsPage {
        frame: visitor.frame(state, Section::Cohorts, format!("{}: settings", head.name)),
        id: cohort.id.to_string(),
        created_ms: cohort.created_ms,
        deployments: cohort.deployments.len() as u64,
        needed: allowed.err().map(|refusal| refusal.to_string()),
        head,
    }
}

/// Deployments of a page: a screen or two.
const ROWS: usize = 50;
