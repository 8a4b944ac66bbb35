//! The overview: what the fleet is doing.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::page::{self, Frame, Refused, Section};
use super::visitor::Visitor;
use crate::admin::AdminState;

#[derive(Template)]
#[template(path = "overview.html", config = "src/admin/console/askama.toml")]
struct OverviewPage {
    frame: Frame,
    devices: u64,
    connected: u64,
    cohorts: Vec<CohortRow>,
}

struct CohortRow {
    name: String,
    href: String,
    devices: u64,
    deployment: Option<Active>,
}

struct Active {
    name: String,
    sequence: u32,
    created_ms: i64,
}

/// `GET /projects/{project}`.
pub async fn show(visitor: Visitor, State(state): State<AdminState>) -> Result<Response, Refused> {
    let frame = visitor.frame(&state, Section::Overview, "Overview");
    let view = state.control.view();
    let project = view.in_project(visitor.project)?;
    let cohorts: Vec<_> = project
        .cohorts
        .values()
        .map(|cohort| CohortRow {
            name: cohort.name.to_string(),
            href: visitor.path(&format!("/cohorts/{}", cohort.id)),
            devices: cohort.devices,
            deployment: cohort.active().map(|active| Active {
                name: active.name.to_string(),
                sequence: active.sequence.get(),
                created_ms: active.created_ms,
            }),
        })
        .collect();
    Ok(page::html(&OverviewPage {
        devices: cohorts.iter().map(|cohort| cohort.devices).sum(),
        connected: u64::try_from(state.control.online()).unwrap_or(u64::MAX),
        cohorts,
        frame,
    }))
}
