//! `/cohorts/{cohort}/deployments` and `/deployments`: the immutable sets, newest first.

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Deployer, Reader};
use super::body::{Body, Object, Page, present};
use super::figures::FailureShare;
use super::problem::Problem;
use super::shapes::{self, Answer, Listed, Time};
use crate::control::ControlError;
use crate::fleet::{
    ArtifactRef, DeploymentId, DeploymentName, DeploymentOrder, PackageName, ProjectId, Version,
};

/// `POST …/deployments` and `POST …/deployments:preview`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewDeployment)]
pub struct Create {
    name: DeploymentName,
    #[schema(value_type = Vec<Named>, min_items = 1)]
    artifacts: Vec<Object<Named>>,
    /// Absent: the operator looked at nothing; null: at a cohort without a deployment.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<DeploymentId>)]
    expected_active_deployment_id: Option<Option<DeploymentId>>,
}

/// A version of a package.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ArtifactName)]
struct Named {
    package: PackageName,
    version: Version,
}

/// What a deployment would do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeploymentPreview)]
pub struct Preview {
    changes: shapes::Difference,
    /// How many devices the cohort has.
    devices: u64,
    /// How many of them are connected.
    online: u64,
    /// What a device downloads that runs what is active.
    bytes_per_device: u64,
    /// The same for all devices.
    bytes_total: u64,
    /// The length of what devices would be sent.
    manifest_bytes: usize,
    lint: Vec<shapes::Finding>,
    /// What whoever deploys is to confirm first; the console and the command line ask. Creating the deployment does not.
    cautions: Vec<shapes::Caution>,
    /// Null where there is nothing to measure by, or nothing to download.
    #[schema(required)]
    estimate: Option<shapes::Estimate>,
    /// By what the time was estimated, or why it was not, in words.
    estimate_basis: String,
}

/// How far a deployment has come, and when that was counted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountedProgress {
    #[serde(flatten)]
    progress: shapes::Progress,
    /// Of one that is active no more: when that was last counted, or when it was made if it never was.
    counted_at: Time,
    /// Why devices failed, the most frequent first; of one that is active no more, as last counted.
    failures: Vec<FailureShare>,
}

pub async fn create(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, cohort)): Path<(String, String)>,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Answer<shapes::Deployment>), Problem> {
    let order = order(&state, deployer.project, &cohort, body)?;
    let made = state
        .control
        .create_deployment(&deployer.actor, deployer.project, order)
        .await
        .map_err(about_artifacts)?;
    Ok((StatusCode::CREATED, Answer(shapes::deployment(&made, true))))
}

/// What creating it would do, without doing it.
pub async fn preview(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, cohort)): Path<(String, String)>,
    Body(body): Body<Create>,
) -> Result<Answer<Preview>, Problem> {
    let order = order(&state, reader.project, &cohort, body)?;
    let preview = state
        .control
        .preview_deployment(reader.project, &order)
        .await
        .map_err(about_artifacts)?;
    Ok(Answer(Preview {
        changes: shapes::difference(&preview.difference),
        devices: preview.devices,
        online: preview.online,
        bytes_per_device: preview.bytes_per_device,
        bytes_total: preview.bytes_total,
        manifest_bytes: preview.manifest.cbor.len(),
        lint: preview.lint.iter().map(shapes::finding).collect(),
        cautions: preview.cautions.iter().copied().map(shapes::caution).collect(),
        estimate: preview.estimate.known().map(shapes::estimate),
        estimate_basis: preview.estimate.to_string(),
    }))
}

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Path((_, cohort)): Path<(String, String)>,
) -> Result<Listed<shapes::Deployment>, Problem> {
    let view = state.control.view();
    let cohort = view.in_project(reader.project)?.require_cohort_named(&cohort)?;
    let active = cohort.active().map(|active| active.id);
    let (rows, next) = page.falling(cohort.newest_first(), |one| one.id)?;
    let rows = rows
        .into_iter()
        .map(|one| shapes::deployment(one, Some(one.id) == active));
    Ok(Listed::new(rows.collect(), next))
}

pub async fn show(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer<shapes::Deployment>, Problem> {
    let id = parse(&id)?;
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    let (cohort, deployment) = project.deployment(id).ok_or_else(|| unknown(&id.to_string()))?;
    Ok(Answer(shapes::deployment(deployment, cohort.is_active(id))))
}

/// How far it has come: the devices of its cohort by what is known of each.
pub async fn progress(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer<CountedProgress>, Problem> {
    let id = parse(&id)?;
    let (progress, counted_ms) = state.control.counted_progress(reader.project, id).await?;
    let failures = state.control.deployment_failures(reader.project, id).await?;
    Ok(Answer(CountedProgress {
        failures: failures.iter().map(FailureShare::of).collect(),
        progress: shapes::progress(&progress),
        counted_at: Time(counted_ms),
    }))
}

/// `PUT`, `PATCH`, `DELETE` and the rest: never, whether it exists or not.
pub async fn immutable(method: Method, Path((_, id)): Path<(String, String)>) -> Problem {
    Problem::method_not_allowed(format!(
        "{method}: a deployment is never changed, reverted or deleted, {id} included; to roll back, create a new \
         deployment with the older versions"
    ))
}

fn order(
    state: &AdminState,
    project: ProjectId,
    cohort: &str,
    body: Create,
) -> Result<DeploymentOrder, Problem> {
    let view = state.control.view();
    let cohort = view.in_project(project)?.require_cohort_named(cohort)?.id;
    let artifacts = body.artifacts.into_iter().map(|Object(named)| ArtifactRef {
        package: named.package,
        version: named.version,
    });
    Ok(DeploymentOrder {
        cohort,
        name: body.name,
        artifacts: artifacts.collect(),
        expected_active: body.expected_active_deployment_id,
    })
}

/// The cohort was found before; what is unknown now is an artifact that the body names.
fn about_artifacts(error: ControlError) -> Problem {
    match error {
        ControlError::Refused(refusal) => Problem::in_body(&refusal, "/artifacts"),
        other => other.into(),
    }
}

/// The id of a deployment, as it stands in an address.
pub fn parse(id: &str) -> Result<DeploymentId, Problem> {
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!(
        "there is no deployment {id:?}; GET cohorts/{{cohort}}/deployments lists them"
    ))
}
