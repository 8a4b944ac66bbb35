//! `/cohorts`: devices that should run the same set of packages.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Deployer, Reader};
use super::body::{Body, Page};
use super::problem::Problem;
use super::shapes::{self, Answer, Listed};
use crate::fleet::CohortName;

/// `POST /cohorts`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCohort)]
pub struct Create {
    name: CohortName,
}

#[derive(Debug, Deserialize)]
pub struct Filter {
    name: Option<String>,
}

pub async fn create(
    State(state): State<AdminState>,
    deployer: Deployer,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Answer<shapes::Cohort>), Problem> {
    let made = state
        .control
        .create_cohort(&deployer.actor, deployer.project, body.name)
        .await?;
    let counted = state.control.figures(deployer.project);
    Ok((StatusCode::CREATED, Answer(shapes::cohort(&made, &counted))))
}

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Query(filter): Query<Filter>,
) -> Result<Listed<shapes::Cohort>, Problem> {
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    let wanted = |name: &CohortName| {
        filter
            .name
            .as_deref()
            .is_none_or(|wanted| wanted == name.as_str())
    };
    let rows = project.cohorts.values().filter(|cohort| wanted(&cohort.name));
    let counted = state.control.figures(reader.project);
    let (rows, next) = page.rising(rows, |cohort| cohort.id)?;
    let rows = rows.into_iter().map(|cohort| shapes::cohort(cohort, &counted));
    Ok(Listed::new(rows.collect(), next))
}

pub async fn show(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, cohort)): Path<(String, String)>,
) -> Result<Answer<shapes::Cohort>, Problem> {
    let view = state.control.view();
    let cohort = view.in_project(reader.project)?.require_cohort_named(&cohort)?;
    let counted = state.control.figures(reader.project);
    Ok(Answer(shapes::cohort(cohort, &counted)))
}

pub async fn delete(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, cohort)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = state
        .control
        .view()
        .in_project(deployer.project)?
        .require_cohort_named(&cohort)?
        .id;
    state
        .control
        .delete_cohort(&deployer.actor, deployer.project, id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
