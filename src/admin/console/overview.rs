//! The overview: what the fleet is doing, and what was last done to it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;

use super::chart::{self, Chart, Marker};
use super::cohorts::Active;
use super::form::Fields;
use super::page::{self, Frame, Refused, Section};
use super::show::percent;
use super::subject::Subject;
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::control::{AuditFilter, AuditRecord, AuditScope, FailureShare, FleetFigures, Span, VersionShare};
use crate::fleet::{Project, reason_words};

#[derive(Template)]
#[template(path = "overview.html", config = "src/admin/console/askama.toml")]
struct OverviewPage {
    frame: Frame,
    figures: Arc<FleetFigures>,
    rate: String,
    rollouts: Vec<Rollout>,
    more_rollouts: u64,
    has_packages: bool,
    has_devices: bool,
    versions: Vec<Share>,
    failures: Vec<Share>,
    spans: [SpanLink; 3],
    connected: Chart,
    bandwidth: Chart,
    deployed: Vec<Deployed>,
    events: Vec<Event>,
}

/// A cohort's active deployment.
struct Rollout {
    cohort: String,
    cohort_href: String,
    active: Active,
}

/// So many devices of all.
pub struct Share {
    /// What they have in common, first.
    pub of: String,
    /// And what else.
    pub what: String,
    /// How many.
    pub devices: u64,
    /// In percent of those that say anything about it.
    pub percent: u64,
}

struct SpanLink {
    name: &'static str,
    href: String,
    current: bool,
}

/// A deployment that has a line in the pictures.
struct Deployed {
    at_ms: i64,
    sequence: u32,
    name: String,
    href: String,
    cohort: String,
}

struct Event {
    at_ms: i64,
    actor: String,
    action: String,
    subject: Subject,
}

/// `GET /projects/{project}`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = Fields::parse(query.unwrap_or_default().as_bytes());
    let frame = visitor.frame(&state, Section::Overview, "Overview");
    let view = state.control.view().clone();
    let project = view.in_project(visitor.project)?;
    let figures = state.control.figures(visitor.project);
    let (rollouts, more_rollouts) = rollouts(&visitor, project, &figures);

    let span = Span::named(query.text("span")).unwrap_or(Span::Hour);
    let spans = Span::ALL.map(|of| SpanLink {
        name: of.as_str(),
        href: format!("{}?{}", visitor.path(""), query.with(&[("span", of.as_str())])),
        current: of == span,
    });
    let history = state.control.fleet_history(visitor.project, span).await?;
    let now_ms = frame.now_ms;
    // A gateway that has run for minutes has nothing to show of the hours before.
    let begun_ms = history.points.first().map_or(now_ms, |point| point.at_ms);
    let from_ms = (now_ms - span.length_ms()).max(begun_ms.min(now_ms - SPAN_LEAST_MS));
    let deployed = deployed(&visitor, project, from_ms);
    let markers: Vec<Marker> = deployed
        .iter()
        .rev()
        .map(|one| Marker {
            at_ms: one.at_ms,
            sequence: one.sequence,
        })
        .collect();

    let filter = AuditFilter {
        limit: EVENTS_SHOWN,
        ..AuditFilter::default()
    };
    let events = state
        .control
        .audit(AuditScope::Project(visitor.project), &filter)
        .await?;
    let subjects = Subject::of(&visitor, &state, &events.records).await?;
    let recent = events.records.into_iter().zip(subjects);
    Ok(page::html(&OverviewPage {
        rate: chart::rate(figures.bytes_per_second),
        rollouts,
        more_rollouts,
        has_packages: !project.packages.is_empty(),
        has_devices: figures.devices > 0 || project.devices > 0,
        versions: versions(&figures.versions),
        failures: failures(&figures.failures),
        spans,
        connected: chart::connected(&history, from_ms, now_ms, &markers),
        bandwidth: chart::bandwidth(&history, from_ms, now_ms, &markers),
        deployed,
        events: recent.map(|(record, subject)| event(record, subject)).collect(),
        figures,
        frame,
    }))
}

/// The active deployments that were made last, and how many more there are.
fn rollouts(visitor: &Visitor, project: &Project, figures: &FleetFigures) -> (Vec<Rollout>, u64) {
    let mut active: Vec<_> = project
        .cohorts
        .values()
        .filter_map(|cohort| {
            let active = Active::of(cohort, figures.progress_of(cohort), visitor)?;
            Some((cohort, active))
        })
        .collect();
    active.sort_by_key(|(_, active)| Reverse(active.sequence));
    let more = active.len().saturating_sub(ROLLOUTS_SHOWN);
    let shown = active.into_iter().take(ROLLOUTS_SHOWN);
    let rows = shown.map(|(cohort, active)| Rollout {
        cohort: cohort.name.to_string(),
        cohort_href: visitor.path(&format!("/cohorts/{}", cohort.id)),
        active,
    });
    (rows.collect(), u64::try_from(more).unwrap_or(u64::MAX))
}

/// What devices run, each version with its share of the devices that report the package.
pub fn versions(shares: &[VersionShare]) -> Vec<Share> {
    let all = |share: &VersionShare| -> u64 {
        let same = shares.iter().filter(|other| other.package == share.package);
        same.map(|other| other.devices).sum()
    };
    let row = |share: &VersionShare| Share {
        of: share.package.to_string(),
        what: share
            .version
            .as_ref()
            .map_or_else(|| "all other versions".to_owned(), ToString::to_string),
        devices: share.devices,
        percent: percent(share.devices, all(share)),
    };
    shares.iter().take(SHARES_SHOWN).map(row).collect()
}

/// Why devices failed, each reason with its share of the failures.
pub fn failures(shares: &[FailureShare]) -> Vec<Share> {
    let all: u64 = shares.iter().map(|share| share.devices).sum();
    // In whatever state they said so.
    let mut by_reason: BTreeMap<_, u64> = BTreeMap::new();
    for share in shares {
        *by_reason.entry((&share.package, share.reason)).or_default() += share.devices;
    }
    let mut rows: Vec<_> = by_reason
        .into_iter()
        .map(|((package, reason), devices)| Share {
            of: package.to_string(),
            what: reason_words(reason).into_owned(),
            devices,
            percent: percent(devices, all),
        })
        .collect();
    rows.sort_by_key(|row| Reverse(row.devices));
    rows.truncate(SHARES_SHOWN);
    rows
}

/// The project's deployments since then, newest first.
fn deployed(visitor: &Visitor, project: &Project, from_ms: i64) -> Vec<Deployed> {
    let mut deployed = Vec::new();
    for cohort in project.cohorts.values() {
        let since = cohort.newest_first().take_while(|one| one.created_ms >= from_ms);
        deployed.extend(since.take(MARKERS_MAX).map(|one| Deployed {
            at_ms: one.created_ms,
            sequence: one.sequence.get(),
            name: one.name.to_string(),
            href: visitor.path(&format!("/deployments/{}", one.id)),
            cohort: cohort.name.to_string(),
        }));
    }
    deployed.sort_by_key(|one| Reverse((one.at_ms, one.sequence)));
    deployed.truncate(MARKERS_MAX);
    deployed
}

fn event(record: AuditRecord, subject: Subject) -> Event {
    Event {
        at_ms: record.at_ms,
        actor: record.actor,
        action: record.action,
        subject,
    }
}

/// Active deployments on the page; the cohorts' page has all.
const ROLLOUTS_SHOWN: usize = 8;
/// The shortest time that a picture shows.
const SPAN_LEAST_MS: i64 = 5 * 60 * 1000;
const EVENTS_SHOWN: usize = 8;
/// Rows of versions and of failures.
const SHARES_SHOWN: usize = 12;
/// Vertical lines in a picture; more would be a wall.
const MARKERS_MAX: usize = 20;
