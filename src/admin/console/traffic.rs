//! Live traffic: who is connected, what devices ask for, and who could not connect.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use data_encoding::HEXLOWER;

use super::form::Fields;
use super::page::{self, Frame, Refused, Section};
use super::show::{Piece, percent, pieces, words};
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::body::Page;
use crate::admin::problem::Problem;
use crate::control::{DeviceEntry, FailureCause, FailureRecord, FleetFigures, Offered, SessionFacts};
use crate::fleet::{DeviceId, Project, PskIdentity};
use crate::telemetry::Totals;

#[derive(Template)]
#[template(path = "traffic.html", config = "src/admin/console/askama.toml")]
struct TrafficPage {
    frame: Frame,
    figures: Arc<FleetFigures>,
    retransmissions: u64,
    requests: Vec<Counted>,
    dropped: Vec<Counted>,
    sessions: Vec<SessionRow>,
    first: Option<String>,
    next: Option<String>,
    failures: Vec<FailureRow>,
    more_failures: bool,
    reasons: Vec<(&'static str, String)>,
    reason: String,
}

/// A series of a counter.
struct Counted {
    of: Vec<&'static str>,
    count: u64,
    percent: u64,
}

struct SessionRow {
    href: String,
    device: String,
    address: String,
    suite: &'static str,
    connection_id: Option<String>,
    since_ms: i64,
    seen_ms: Option<i64>,
    transfer: Option<String>,
}

struct FailureRow {
    key: u64,
    reason: String,
    text: Vec<Piece>,
    identity: Option<String>,
    device: Option<(String, String)>,
    address: String,
    count: u64,
    last_ms: i64,
}

/// `GET /projects/{project}/traffic`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = Fields::parse(query.unwrap_or_default().as_bytes());
    let frame = visitor.frame(&state, Section::Traffic, "Live traffic");
    let view = state.control.view().clone();
    let project = view.in_project(visitor.project)?;

    let after = query.given("pageToken").map(|token| {
        let id = token.parse::<DeviceId>();
        id.map_err(|_| Page::unknown_token(token))
    });
    let after = after.transpose()?;
    let (sessions, next) = state.control.sessions_after(visitor.project, after, ROWS);
    let devices: Vec<_> = sessions.iter().map(|(device, _)| device.id()).collect();
    let seen = state.control.last_seen(&devices).await?;
    let sessions = sessions
        .iter()
        .map(|(device, session)| SessionRow {
            seen_ms: seen.get(&device.id()).copied(),
            ..session_row(&visitor, project, device, session)
        })
        .collect();
    let page_at = |token: &str| {
        format!(
            "{}?{}",
            visitor.path("/traffic"),
            query.with(&[("pageToken", token)])
        )
    };

    let reason = query.text("reason").to_owned();
    if !reason.is_empty() {
        FailureCause::check_name(&reason).map_err(|invalid| Problem::invalid("reason", &invalid))?;
    }
    let mut failures = state.control.handshake_failures(visitor.project);
    failures.retain(|record| reason.is_empty() || record.cause.as_str() == reason);
    let more_failures = failures.len() > ROWS;
    failures.truncate(ROWS);

    let of = |name: &str| state.metrics.totals(name);
    Ok(page::html(&TrafficPage {
        figures: state.control.figures(visitor.project),
        retransmissions: of("tessera_retransmissions_total")
            .iter()
            .map(|(_, count)| count)
            .sum(),
        requests: counted(of("tessera_coap_requests_total")),
        dropped: counted(of("tessera_datagrams_dropped_total")),
        sessions,
        first: after.map(|_| page_at("")),
        next: next.map(|id| page_at(&id.to_string())),
        failures: failures
            .iter()
            .map(|record| failure_row(&visitor, project, record))
            .collect(),
        more_failures,
        reasons: FailureCause::ALL
            .iter()
            .map(|cause| (cause.as_str(), words(cause.as_str())))
            .collect(),
        reason,
        frame,
    }))
}

fn counted(totals: Totals) -> Vec<Counted> {
    let all: u64 = totals.iter().map(|(_, count)| count).sum();
    let shown = totals.into_iter().take(COUNTERS_SHOWN);
    let row = |(of, count)| Counted {
        of,
        count,
        percent: percent(count, all),
    };
    shown.map(row).collect()
}

fn session_row(
    visitor: &Visitor,
    project: &Project,
    device: &DeviceEntry,
    session: &SessionFacts,
) -> SessionRow {
    let transfer = device.transfer().and_then(|(id, end)| {
        let mut artifacts = project
            .packages
            .values()
            .flat_map(|package| package.artifacts.values());
        let artifact = artifacts.find(|artifact| artifact.id == id)?;
        let whole = artifact.size.get();
        // The last block served is the end of it.
        (end < whole).then(|| {
            format!(
                "{}@{} {} %",
                artifact.package,
                artifact.version,
                percent(end, whole)
            )
        })
    });
    SessionRow {
        href: visitor.path(&format!("/devices/{}", device.id())),
        device: device.name().to_string(),
        address: session.peer.to_string(),
        suite: session.suite,
        connection_id: session.connection_id.map(|id| HEXLOWER.encode(&id)),
        since_ms: session.since_ms,
        seen_ms: None,
        transfer,
    }
}

fn failure_row(visitor: &Visitor, project: &Project, record: &FailureRecord) -> FailureRow {
    let identity = record.offered.as_ref().and_then(Offered::identity);
    FailureRow {
        key: record.seq,
        reason: words(record.cause.as_str()),
        text: pieces(&record.text(project)),
        identity: identity.map(PskIdentity::to_string),
        device: record.device.as_ref().map(|device| {
            (
                visitor.path(&format!("/devices/{}", device.id)),
                device.name.to_string(),
            )
        }),
        address: record.peer.to_string(),
        count: record.count,
        last_ms: record.last_ms,
    }
}

/// Rows of a page.
const ROWS: usize = 50;
/// Series of a counter; the metrics have all of them.
const COUNTERS_SHOWN: usize = 12;
