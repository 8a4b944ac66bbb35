//! `/figures`: what the fleet is doing, as it was last counted, and how that moved.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Reader;
use super::problem::{FieldError, Problem};
use super::shapes::{self, Answer, CohortRef, Progress, Time};
use super::{AdminState, deployments};
use crate::control::{self, FleetFigures, Span};
use crate::fleet::{DeploymentId, DeploymentName, DeviceState, PackageName, Project, Version, reason_str};

#[derive(Debug, Deserialize)]
pub struct Which {
    span: Option<String>,
}

/// What the fleet is doing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Null until every device has been counted once.
    #[schema(required)]
    counted_at: Option<Time>,
    /// Devices on record.
    devices: u64,
    /// Devices that are connected.
    online: u64,
    /// Devices that are connected and observe what they should have.
    observing: u64,
    /// Devices that fetch an artifact at this moment.
    downloading: u64,
    /// Devices that failed at their cohort's active deployment.
    failing: u64,
    /// Bytes of artifacts served in a second.
    bytes_per_second: f64,
    /// The newest of the cohorts' active deployments.
    active_deployments: Vec<ActiveDeployment>,
    versions: Vec<VersionShare>,
    /// The most frequent first.
    failures: Vec<FailureShare>,
}

/// An active deployment, and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActiveDeployment {
    id: DeploymentId,
    name: DeploymentName,
    #[schema(minimum = 1)]
    sequence: u32,
    cohort: CohortRef,
    /// Null until it has been counted.
    #[schema(required)]
    progress: Option<Progress>,
}

/// How many devices run a version.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionShare {
    package: PackageName,
    /// Null is everything beside the ten that most devices run.
    #[schema(required)]
    version: Option<Version>,
    devices: u64,
}

/// How many devices failed for a reason.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureShare {
    package: PackageName,
    /// What the devices did.
    #[schema(value_type = DeviceState)]
    state: &'static str,
    /// The words for the reason; `other` for a number that is not known.
    reason: &'static str,
    reason_number: u64,
    devices: u64,
}

/// What the fleet did over time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetHistory {
    span: &'static str,
    /// From one point to the next. Where some are missing the gateway did not run.
    step_ms: i64,
    points: Vec<FleetPoint>,
}

/// What the fleet did at a time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetPoint {
    at: Time,
    connected: u64,
    observing: u64,
    downloading: u64,
    failing: u64,
    bytes_per_second: f64,
}

/// How a deployment came along.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentHistory {
    deployment: DeploymentId,
    /// Points are no closer; where nothing moved, they are further apart.
    step_ms: i64,
    points: Vec<ProgressPoint>,
}

/// How far a deployment had come at a time.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgressPoint {
    at: Time,
    #[serde(flatten)]
    progress: Progress,
}

pub async fn show(State(state): State<AdminState>, reader: Reader) -> Result<Answer<Figures>, Problem> {
    let counted = state.control.figures(reader.project);
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    Ok(Answer(Figures {
        counted_at: (counted.counted_ms > 0).then_some(Time(counted.counted_ms)),
        devices: counted.devices,
        online: counted.online,
        observing: counted.observing,
        downloading: counted.downloading,
        failing: counted.failing,
        bytes_per_second: counted.bytes_per_second,
        active_deployments: active(project, &counted),
        versions: counted.versions.iter().map(version).collect(),
        failures: counted.failures.iter().map(FailureShare::of).collect(),
    }))
}

pub async fn history(
    State(state): State<AdminState>,
    reader: Reader,
    Query(which): Query<Which>,
) -> Result<Answer<FleetHistory>, Problem> {
    let span = match which.span.as_deref() {
        None => Span::Hour,
        Some(text) => Span::named(text).ok_or_else(|| {
            Problem::fields(vec![FieldError {
                field: "span".into(),
                detail: "there is no such span".into(),
                value: Some(text.chars().take(80).collect()),
                accepted: Some("hour, day or week".into()),
            }])
        })?,
    };
    let history = state.control.fleet_history(reader.project, span).await?;
    let points = history.points.iter().map(|point| FleetPoint {
        at: Time(point.at_ms),
        connected: point.connected,
        observing: point.observing,
        downloading: point.downloading,
        failing: point.failing,
        bytes_per_second: point.bytes_per_second,
    });
    Ok(Answer(FleetHistory {
        span: span.as_str(),
        step_ms: history.step_ms,
        points: points.collect(),
    }))
}

/// `GET /deployments/{deployment}/progress/history`.
pub async fn deployment_history(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer<DeploymentHistory>, Problem> {
    let id = deployments::parse(&id)?;
    let history = state.control.deployment_history(reader.project, id).await?;
    let points = history.points.iter().map(|point| ProgressPoint {
        at: Time(point.at_ms),
        progress: shapes::progress(&point.progress),
    });
    Ok(Answer(DeploymentHistory {
        deployment: id,
        step_ms: history.step_ms,
        points: points.collect(),
    }))
}

/// The active deployments of a project, the newest first, with how far they have come.
fn active(project: &Project, counted: &FleetFigures) -> Vec<ActiveDeployment> {
    let by_sequence: BTreeMap<_, _> = project
        .cohorts
        .values()
        .filter_map(|cohort| {
            cohort
                .active()
                .map(|active| (active.sequence.get(), (cohort, active)))
        })
        .collect();
    let newest = by_sequence.into_iter().rev().take(ACTIVE_SHOWN);
    newest
        .map(|(sequence, (cohort, active))| ActiveDeployment {
            id: active.id,
            name: active.name.clone(),
            sequence,
            cohort: shapes::cohort_ref(cohort),
            progress: counted.progress_of(cohort).as_ref().map(shapes::progress),
        })
        .collect()
}

fn version(share: &control::VersionShare) -> VersionShare {
    VersionShare {
        package: share.package.clone(),
        version: share.version.clone(),
        devices: share.devices,
    }
}

impl FailureShare {
    /// As it is shown.
    pub fn of(share: &control::FailureShare) -> Self {
        Self {
            package: share.package.clone(),
            state: share.state.as_str(),
            reason: reason_str(share.reason),
            reason_number: share.reason,
            devices: share.devices,
        }
    }
}

/// Active deployments that are told of; all of them are in the list of cohorts.
const ACTIVE_SHOWN: usize = 100;
