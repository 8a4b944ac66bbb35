//! A package: its versions, who uses which, and uploading another one.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::form::{Fields, Form};
use super::packages::Link;
use super::page::{self, Frame, Notice, Refused, Section};
use super::upload::{Typed, UploadForm, kind_word};
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::body::Page;
use crate::control::ControlError;
use crate::fleet::{Artifact, Kind, PackageName, Refusal, Role, Uses, Version, image_version_differs};

#[derive(Template)]
#[template(path = "package.html", config = "src/admin/console/askama.toml")]
struct PackagePage {
    frame: Frame,
    name: String,
    description: String,
    metadata: Vec<(String, String)>,
    created_ms: i64,
    versions: u64,
    bytes: u64,
    rows: Vec<VersionRow>,
    first: Option<String>,
    next: Option<String>,
    upload: UploadForm,
    delete: String,
}

struct VersionRow {
    version: String,
    /// An address part.
    anchor: String,
    kind: &'static str,
    image_version: Option<String>,
    differs: Option<String>,
    bytes: u64,
    created_ms: i64,
    sha256: String,
    short: String,
    active: Vec<Link>,
    active_more: u64,
    earlier: Vec<Link>,
    earlier_more: u64,
    content: String,
    delete: String,
    /// Why it cannot be deleted.
    kept: Option<String>,
}

/// `GET /projects/{project}/packages/{package}`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = Fields::parse(query.unwrap_or_default().as_bytes());
    let package = named(&visitor, &state, &name)?;
    let typed = Typed::default();
    page_with(StatusCode::OK, &visitor, &state, &package, &query, &typed)
}

/// `POST …/delete`: of a package that has no versions.
pub async fn delete(
    State(state): State<AdminState>,
    Path((_, name)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let package = PackageName::parse(&name)?;
    let deleted = state
        .control
        .delete_package(&actor, visitor.project, package)
        .await;
    let to = match deleted {
        Ok(package) => {
            visitor.notify(&state, Notice::done(format!("Deleted package {}.", package.name)));
            visitor.path("/packages")
        }
        Err(error) => {
            visitor.notify(&state, Notice::wrong(still_there(error)?));
            visitor.path(&format!("/packages/{name}"))
        }
    };
    Ok(Redirect::to(&to).into_response())
}

/// `POST …/versions/{version}/delete`: of a version that no deployment names.
pub async fn delete_version(
    State(state): State<AdminState>,
    Path((_, name, version)): Path<(String, String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let (package, version) = (PackageName::parse(&name)?, Version::parse(&version)?);
    let deleted = state
        .control
        .delete_artifact(&actor, visitor.project, package, version)
        .await;
    let notice = match deleted {
        Ok(artifact) => Notice::done(format!("Deleted {}@{}.", artifact.package, artifact.version)),
        Err(error) => Notice::wrong(still_there(error)?),
    };
    visitor.notify(&state, notice);
    Ok(Redirect::to(&visitor.path(&format!("/packages/{name}"))).into_response())
}

/// Why something was not deleted, where it is the page before that should say so: it is in use, or gone already.
fn still_there(error: ControlError) -> Result<String, Refused> {
    match error {
        ControlError::Refused(
            refusal @ (Refusal::InUse { .. }
            | Refusal::Unknown {
                kind: Kind::Artifact, ..
            }),
        ) => Ok(refusal.to_string()),
        other => Err(other.into()),
    }
}

fn named(visitor: &Visitor, state: &AdminState, name: &str) -> Result<PackageName, Refused> {
    let view = state.control.view();
    let package = view.in_project(visitor.project)?.require_package(name)?;
    Ok(package.name.clone())
}

/// The page, with what was typed into its form.
pub fn page_with(
    status: StatusCode,
    visitor: &Visitor,
    state: &AdminState,
    package: &PackageName,
    query: &Fields,
    typed: &Typed,
) -> Result<Response, Refused> {
    let frame = visitor.frame(state, Section::Packages, package.as_str());
    let view = state.control.view();
    let project = view.in_project(visitor.project)?;
    let package = project.require_package(package)?;
    let mut artifacts: Vec<_> = package.artifacts.values().collect();
    artifacts.sort_by_key(|artifact| std::cmp::Reverse(artifact.id));
    let bytes = artifacts.iter().map(|artifact| artifact.size.get()).sum();
    let page = Page {
        limit: VERSIONS_SHOWN,
        token: query.given("pageToken").map(ToOwned::to_owned),
    };
    let (shown, next) = page.falling(artifacts.into_iter(), |artifact| artifact.id)?;
    let uses = project.uses_of(&package.name);
    let unused = Uses::default();
    let rows = shown
        .into_iter()
        .map(|artifact| row(visitor, artifact, uses.get(&artifact.id).unwrap_or(&unused)));
    let here = visitor.path(&format!("/packages/{}", package.name));
    let metadata = package.metadata.iter().map(|(key, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned);
        (key.clone(), text)
    });
    Ok(page::html_with(
        status,
        &PackagePage {
            name: package.name.to_string(),
            description: package.description.clone(),
            metadata: metadata.collect(),
            created_ms: package.created_ms,
            versions: package.artifacts.len() as u64,
            bytes,
            rows: rows.collect(),
            first: page.token.is_some().then(|| here.clone()),
            next: next.map(|token| format!("{here}?{}", query.with(&[("pageToken", &token)]))),
            upload: UploadForm::to(&package.name, visitor, state, typed),
            delete: format!("{here}/delete"),
            frame,
        },
    ))
}

fn row(visitor: &Visitor, artifact: &Artifact, uses: &Uses<'_>) -> VersionRow {
    let Artifact { package, version, .. } = artifact;
    let image_version = artifact.image_version.as_deref();
    let sha256 = artifact.digest.to_string();
    let (active, active_more) = Link::cohorts(visitor, uses.active.iter().map(|cohort| &***cohort));
    let (earlier, earlier_more) = Link::cohorts(visitor, uses.earlier.iter().map(|cohort| &***cohort));
    VersionRow {
        anchor: format!("v-{version}"),
        kind: kind_word(artifact.kind),
        differs: image_version_differs(package, version, image_version).map(|finding| finding.message),
        image_version: image_version.map(ToOwned::to_owned),
        bytes: artifact.size.get(),
        created_ms: artifact.created_ms,
        short: sha256[..12].to_owned(),
        sha256,
        active,
        active_more,
        earlier,
        earlier_more,
        content: format!(
            "/v1/projects/{}/packages/{package}/artifacts/{version}/content",
            visitor.project_name
        ),
        delete: visitor.path(&format!("/packages/{package}/versions/{version}/delete")),
        kept: artifact
            .may_be_deleted(uses.deployments.iter().copied())
            .err()
            .map(|refusal| kept_because(&refusal)),
        version: version.to_string(),
    }
}

fn kept_because(refusal: &Refusal) -> String {
    match refusal {
        Refusal::InUse { by, more: 0, .. } => format!("Kept for {}", by.join(", ")),
        Refusal::InUse { by, more, .. } => format!("Kept for {} and {more} more", by.join(", ")),
        other => other.to_string(),
    }
}

/// A screen of them.
const VERSIONS_SHOWN: usize = 50;
