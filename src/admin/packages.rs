//! `/packages`: the named things that devices run or store.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Deployer, Reader};
use super::body::{Body, Page};
use super::problem::Problem;
use super::shapes::{self, Answer, Listed};
use crate::fleet::{NewPackage, PackageName};

/// `POST /packages`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPackage)]
pub struct Create {
    name: PackageName,
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
    /// The operator's own: up to 4096 bytes of JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub struct Filter {
    name: Option<String>,
}

pub async fn create(
    State(state): State<AdminState>,
    deployer: Deployer,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Answer<shapes::Package>), Problem> {
    let order = NewPackage {
        name: body.name,
        description: body.description,
        metadata: body.metadata,
    };
    let made = state
        .control
        .create_package(&deployer.actor, deployer.project, order)
        .await?;
    Ok((StatusCode::CREATED, Answer(shapes::package(&made))))
}

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Query(filter): Query<Filter>,
) -> Result<Listed<shapes::Package>, Problem> {
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    let wanted = |name: &PackageName| {
        filter
            .name
            .as_deref()
            .is_none_or(|wanted| wanted == name.as_str())
    };
    let rows = project.packages.values().filter(|package| wanted(&package.name));
    let (rows, next) = page.rising(rows, |package| package.name.clone())?;
    let rows = rows.into_iter().map(|package| shapes::package(package));
    Ok(Listed::new(rows.collect(), next))
}

pub async fn show(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer<shapes::Package>, Problem> {
    let view = state.control.view();
    let package = view.in_project(reader.project)?.require_package(&name)?;
    Ok(Answer(shapes::package(package)))
}

pub async fn delete(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let name = PackageName::parse(&name).map_err(|invalid| Problem::invalid("package", &invalid))?;
    state
        .control
        .delete_package(&deployer.actor, deployer.project, name)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
