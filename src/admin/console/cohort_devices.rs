//! The devices of a cohort: which they are, and putting more in or taking some out.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::cohort::{Head, Tab, find};
use super::cohorts::Active;
use super::devices::Sieve;
use super::form::{Fields, Form};
use super::page::{self, Frame, Notice, Refused, Section};
use super::show::counted;
use super::visitor::Visitor;
use super::wrong::message;
use crate::admin::AdminState;
use crate::admin::body::devices_after;
use crate::admin::bulk::{DEVICES_NAMED, Devices, Done, Order};
use crate::control::{DevicePage, DevicePatch, DeviceQuery, DeviceRecord, MovePreview};
use crate::fleet::{Cohort, CohortId, DeviceId, Role, Stage};

#[derive(Template)]
#[template(path = "cohort_devices.html", config = "src/admin/console/askama.toml")]
struct DevicesPage {
    frame: Frame,
    head: Head,
    found: Found,
    wrong: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "cohort_add.html", config = "src/admin/console/askama.toml")]
struct AddPage {
    frame: Frame,
    head: Head,
    active: Option<Active>,
    found: Found,
    wrong: Option<&'static str>,
}

/// What a filter finds.
struct Found {
    filter: Filter,
    /// The address of the page, filter and all: where its form goes, and where whoever sent it comes back to.
    here: String,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
}

/// Asked before devices see the sequence number fall.
#[derive(Template)]
#[template(path = "cohort_add_back.html", config = "src/admin/console/askama.toml")]
struct BackPage {
    frame: Frame,
    head: Head,
    joining: u64,
    back: Vec<String>,
    more_back: u64,
    devices: Vec<String>,
    /// The wizard with the set that is active.
    anew: Option<String>,
}

struct Row {
    id: String,
    name: String,
    href: String,
    /// Another cohort that it is in.
    elsewhere: Option<String>,
    /// It is in this cohort.
    here: bool,
    stage: Option<&'static str>,
    online: bool,
    enabled: bool,
    seen_ms: Option<i64>,
    tags: Vec<String>,
}

/// Which devices are asked for, as it was typed.
#[derive(Debug, Default)]
struct Filter {
    sieve: Sieve,
    /// Devices of any cohort, not only of none.
    any: bool,
    wrong: Option<String>,
}

impl Filter {
    fn read(fields: &Fields) -> Filter {
        Filter {
            // Which cohort is said by the page.
            sieve: Sieve {
                cohort: String::new(),
                ..Sieve::of(fields)
            },
            any: fields.text("from") == "any",
            wrong: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.sieve.is_open()
    }

    fn states(&self) -> [(&'static str, bool); 7] {
        Stage::ALL.map(|stage| (stage.as_str(), stage.as_str() == self.sieve.state))
    }
}

/// `GET /projects/{project}/cohorts/{cohort}/devices`.
pub async fn list(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let cohort = find(&visitor, &state, &named)?;
    Ok(page::html(&listed(&visitor, &state, &cohort, &fields).await?))
}

/// `POST /projects/{project}/cohorts/{cohort}/devices`: some leave it.
pub async fn remove(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    form: Form,
) -> Result<Response, Refused> {
    let asked = Fields::parse(query.unwrap_or_default().as_bytes());
    let visitor = &form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let cohort = find(visitor, &state, &named)?;
    let chosen = chosen(&form.fields);
    if chosen.is_empty() {
        let mut page = listed(visitor, &state, &cohort, &asked).await?;
        page.wrong = Some(NOTHING_CHOSEN);
        return Ok(page::html_unprocessable(&page));
    }
    let order = Order {
        project: visitor.project,
        // Those that went elsewhere since the page was opened stay there.
        devices: Devices::Found(Box::new(DeviceQuery {
            cohort: Some(Some(cohort.id)),
            among: Some(chosen),
            ..DeviceQuery::default()
        })),
        patch: DevicePatch {
            cohort: Some(None),
            ..DevicePatch::default()
        },
    };
    let (_, ids) = order.look(&state).await?;
    let done = order.carry_out(&state, actor, ids).await?;
    visitor.notify(&state, removed(&done, &cohort));
    let path = format!("{}/devices", Head::new(&cohort, visitor, Tab::Devices).path);
    Ok(Redirect::to(&asked.link(&path, &[])).into_response())
}

/// `GET /projects/{project}/cohorts/{cohort}/devices/add`.
pub async fn add_form(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    visitor.may(Role::Deploy)?;
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let cohort = find(&visitor, &state, &named)?;
    Ok(page::html(&candidates(&visitor, &state, &cohort, &fields).await?))
}

/// `POST /projects/{project}/cohorts/{cohort}/devices/add`.
pub async fn add(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    form: Form,
) -> Result<Response, Refused> {
    let asked = Fields::parse(query.unwrap_or_default().as_bytes());
    let visitor = &form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let cohort = find(visitor, &state, &named)?;
    let chosen = chosen(&form.fields);
    if chosen.is_empty() {
        let mut page = candidates(visitor, &state, &cohort, &asked).await?;
        page.wrong = Some(NOTHING_CHOSEN);
        return Ok(page::html_unprocessable(&page));
    }
    let order = Order {
        project: visitor.project,
        // Those that are gone since the page was opened are not missed.
        devices: Devices::Found(Box::new(DeviceQuery {
            among: Some(chosen.clone()),
            ..DeviceQuery::default()
        })),
        patch: DevicePatch {
            cohort: Some(Some(cohort.id)),
            allow_sequence_back: form.fields.given("allowSequenceBack").is_some(),
            ..DevicePatch::default()
        },
    };
    let (preview, ids) = order.look(&state).await?;
    if !preview.back.is_empty() && !order.patch.allow_sequence_back {
        return Ok(page::html_unprocessable(&back_page(
            visitor, &state, &cohort, &preview, &chosen,
        )));
    }
    let done = order.carry_out(&state, actor, ids).await?;
    visitor.notify(&state, added(&done, &cohort));
    Ok(Redirect::to(&format!(
        "{}/devices",
        Head::new(&cohort, visitor, Tab::Devices).path
    ))
    .into_response())
}

/// The devices that were ticked.
fn chosen(fields: &Fields) -> Vec<DeviceId> {
    let ids = fields.all("device").filter_map(|id| id.parse().ok());
    ids.take(DEVICES_NAMED).collect()
}

async fn listed(
    visitor: &Visitor,
    state: &AdminState,
    cohort: &Cohort,
    fields: &Fields,
) -> Result<DevicesPage, Refused> {
    let head = Head::new(cohort, visitor, Tab::Devices);
    let path = format!("{}/devices", head.path);
    Ok(DevicesPage {
        frame: visitor.frame(state, Section::Cohorts, format!("{}: devices", head.name)),
        found: find_devices(visitor, state, cohort, |_| Some(Some(cohort.id)), &path, fields).await?,
        head,
        wrong: None,
    })
}

async fn candidates(
    visitor: &Visitor,
    state: &AdminState,
    cohort: &Cohort,
    fields: &Fields,
) -> Result<AddPage, Refused> {
    let head = Head::new(cohort, visitor, Tab::Devices);
    let path = format!("{}/devices/add", head.path);
    let within = |filter: &Filter| (!filter.any).then_some(None);
    Ok(AddPage {
        frame: visitor.frame(state, Section::Cohorts, format!("Add devices to {}", head.name)),
        active: Active::of(cohort, None, visitor),
        found: find_devices(visitor, state, cohort, within, &path, fields).await?,
        head,
        wrong: None,
    })
}

/// The devices that the filter of an address lets through, of those that are `within` a cohort, or in none. What cannot be asked for
/// finds nothing, and the filter says why.
async fn find_devices(
    visitor: &Visitor,
    state: &AdminState,
    cohort: &Cohort,
    within: impl Fn(&Filter) -> Option<Option<CohortId>>,
    path: &str,
    fields: &Fields,
) -> Result<Found, Refused> {
    let mut filter = Filter::read(fields);
    let asked = {
        let view = state.control.view();
        filter.sieve.query(view.in_project(visitor.project)?)
    };
    let page = match asked {
        Ok(query) => {
            let query = DeviceQuery {
                cohort: within(&filter),
                limit: ROWS,
                ..devices_after(query, fields.given("pageToken"))?
            };
            state.control.devices(visitor.project, &query).await?
        }
        Err(problem) => {
            let wrong: Vec<_> = problem.errors().iter().map(message).collect();
            filter.wrong = Some(format!(
                "Nothing can be looked for like that: {}.",
                wrong.join("; ")
            ));
            DevicePage::default()
        }
    };
    let at = |token: &str| fields.link(path, &[("pageToken", token)]);
    Ok(Found {
        filter,
        here: fields.link(path, &[]),
        rows: rows(&page, visitor, state, cohort)?,
        first: fields.given("pageToken").map(|_| at("")),
        next: page.next.map(|next| at(&next.to_string())),
    })
}

fn rows(
    found: &DevicePage,
    visitor: &Visitor,
    state: &AdminState,
    cohort: &Cohort,
) -> Result<Vec<Row>, Refused> {
    let view = state.control.view();
    let project = view.in_project(visitor.project)?;
    let row = |record: &DeviceRecord| {
        let device = &record.device;
        let its = device.cohort.and_then(|id| project.cohort(id));
        Row {
            id: device.id.to_string(),
            name: device.name.to_string(),
            href: visitor.path(&format!("/devices/{}", device.id)),
            elsewhere: its
                .filter(|its| its.id != cohort.id)
                .map(|its| its.name.to_string()),
            here: device.cohort == Some(cohort.id),
            stage: record.stage(&view).map(Stage::as_str),
            online: record.session.is_some(),
            enabled: device.enabled,
            seen_ms: record.sighting.last_seen_ms,
            tags: device.tags.iter().map(ToString::to_string).collect(),
        }
    };
    Ok(found.devices.iter().map(row).collect())
}

fn back_page(
    visitor: &Visitor,
    state: &AdminState,
    cohort: &Arc<Cohort>,
    preview: &MovePreview,
    devices: &[DeviceId],
) -> BackPage {
    let head = Head::new(cohort, visitor, Tab::Devices);
    let anew = preview
        .deployment()
        .map(|active| format!("{}/deploy?from={}", head.path, active.id));
    BackPage {
        frame: visitor.frame(state, Section::Cohorts, format!("Add devices to {}?", head.name)),
        joining: preview.joining,
        back: preview.back.iter().map(ToString::to_string).collect(),
        more_back: preview.more_back,
        devices: devices.iter().map(ToString::to_string).collect(),
        anew,
        head,
    }
}

fn added(done: &Done, cohort: &Cohort) -> Notice {
    let name = &cohort.name;
    let mut text = match done.joined {
        0 => format!("No device was added to {name}."),
        1 => format!("1 device was added to {name}."),
        joined => format!("{} were added to {name}.", counted(joined, "device", "devices")),
    };
    if done.joined > 0 && cohort.active().is_some() {
        text.push_str(&match done.online {
            0 => " None is connected: each is told when it connects.".to_owned(),
            online if online == done.joined => " Connected, and told at once.".to_owned(),
            online => format!(
                " {} connected and told at once; the others when they connect.",
                is_are(online)
            ),
        });
    }
    said(done, text, done.joined)
}

fn removed(done: &Done, cohort: &Cohort) -> Notice {
    let name = &cohort.name;
    let text = match done.changed {
        0 => format!("No device was removed from {name}: those chosen are not in it any more."),
        1 => {
            format!("1 device was removed from {name}. Nothing is pushed: it learns of it when it next asks.")
        }
        changed => format!(
            "{} were removed from {name}. Nothing is pushed: they learn of it when they next ask.",
            counted(changed, "device", "devices")
        ),
    };
    said(done, text, done.changed)
}

/// What was done, and what was refused of it.
fn said(done: &Done, mut text: String, changed: u64) -> Notice {
    let refused = done.refused.len() as u64 + done.more_refused;
    if let Some((_, why)) = done.refused.first() {
        text.push_str(&format!(
            " {} refused: {why}.",
            counted(refused, "device was", "devices were")
        ));
    }
    if changed > 0 && refused == 0 {
        Notice::done(text)
    } else {
        Notice::wrong(text)
    }
}

fn is_are(count: u64) -> String {
    if count == 1 {
        "1 is".to_owned()
    } else {
        format!("{} are", super::show::Count(count))
    }
}

const NOTHING_CHOSEN: &str = "No device was chosen. Tick at least one in the list.";
/// Devices of a page: a screen or two.
const ROWS: usize = 50;
