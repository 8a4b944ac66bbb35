//! Packages: what devices run or store, and what of it is in use.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::form::{Fields, Form};
use super::page::{self, Frame, Notice, Refused, Section};
use super::upload::{Typed, UploadForm};
use super::visitor::Visitor;
use super::wrong::Wrongs;
use crate::admin::AdminState;
use crate::admin::body::Page;
use crate::admin::problem::{FieldError, Problem};
use crate::fleet::{Cohort, NewPackage, Package, PackageName, Role};

#[derive(Template)]
#[template(path = "packages.html", config = "src/admin/console/askama.toml")]
struct PackagesPage {
    frame: Frame,
    search: String,
    rows: Vec<PackageRow>,
    /// There are packages, whatever the filter shows.
    any: bool,
    first: Option<String>,
    next: Option<String>,
    upload: UploadForm,
    name: String,
    description: String,
    wrong: Wrongs,
}

struct PackageRow {
    name: String,
    href: String,
    description: String,
    versions: u64,
    newest: Option<Newest>,
    bytes: u64,
    cohorts: Vec<Link>,
    more: u64,
}

struct Newest {
    version: String,
    created_ms: i64,
}

/// Something with a page of its own.
#[derive(Debug, Clone)]
pub struct Link {
    /// What it is called.
    pub name: String,
    /// Where its page is.
    pub href: String,
}

impl Link {
    /// The first few cohorts, and how many there are beside them.
    pub fn cohorts<'a>(
        visitor: &Visitor,
        cohorts: impl ExactSizeIterator<Item = &'a Cohort>,
    ) -> (Vec<Link>, u64) {
        let more = cohorts.len().saturating_sub(LINKS_SHOWN);
        let links = cohorts.take(LINKS_SHOWN).map(|cohort| Link {
            name: cohort.name.to_string(),
            href: visitor.path(&format!("/cohorts/{}", cohort.id)),
        });
        (links.collect(), more as u64)
    }
}

/// What somebody typed into the forms of the page.
#[derive(Debug, Default)]
pub struct Forms {
    /// Into the one that uploads.
    upload: Typed,
    name: String,
    description: String,
    wrong: Wrongs,
}

impl Forms {
    /// Something is wrong with an upload.
    pub fn uploading(upload: Typed) -> Forms {
        Forms {
            upload,
            ..Forms::default()
        }
    }
}

/// `GET /projects/{project}/packages?search=TEXT`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = Fields::parse(query.unwrap_or_default().as_bytes());
    page_with(StatusCode::OK, &visitor, &state, &query, &Forms::default())
}

/// `POST /projects/{project}/packages`: a package with nothing in it yet.
pub async fn create(State(state): State<AdminState>, form: Form) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Deploy)?;
    let made = match PackageName::parse(fields.text("name")) {
        Err(invalid) => Err(Problem::fields(vec![FieldError::invalid("name", &invalid)])),
        Ok(name) => {
            let new = NewPackage {
                description: fields.text("description").to_owned(),
                ..NewPackage::named(name)
            };
            let made = state.control.create_package(&actor, visitor.project, new).await;
            made.map_err(Problem::from)
        }
    };
    match made {
        Ok(package) => {
            let said = format!("Created package {}. Upload its first version here.", package.name);
            visitor.notify(&state, Notice::done(said));
            Ok(Redirect::to(&visitor.path(&format!("/packages/{}", package.name))).into_response())
        }
        Err(problem) => {
            let at = (problem.status() == StatusCode::CONFLICT).then_some("name");
            let forms = Forms {
                name: fields.text("name").to_owned(),
                description: fields.text("description").to_owned(),
                wrong: Wrongs::of_or_at(&problem, &["name", "description"], at),
                ..Forms::default()
            };
            page_with(problem.status(), &visitor, &state, &Fields::default(), &forms)
        }
    }
}

/// The page, with what was typed into its forms.
pub fn page_with(
    status: StatusCode,
    visitor: &Visitor,
    state: &AdminState,
    query: &Fields,
    forms: &Forms,
) -> Result<Response, Refused> {
    let frame = visitor.frame(state, Section::Packages, "Packages");
    let view = state.control.view();
    let project = view.in_project(visitor.project)?;
    let search = query.text("search");
    let wanted = |package: &Package| {
        let search = search.to_lowercase();
        package.name.to_lowercase().contains(&search) || package.description.to_lowercase().contains(&search)
    };
    let page = Page {
        limit: PACKAGES_SHOWN,
        token: query.given("pageToken").map(ToOwned::to_owned),
    };
    let (packages, next) = page.rising(
        project.packages.values().filter(|package| wanted(package)),
        |package| package.name.clone(),
    )?;
    let in_use = project.cohorts_by_package();
    let rows = packages.into_iter().map(|package| {
        let cohorts = in_use.get(&package.name).map_or(&[][..], Vec::as_slice);
        let (cohorts, more) = Link::cohorts(visitor, cohorts.iter().map(|cohort| &***cohort));
        row(visitor, package, cohorts, more)
    });
    let here = |query: String| visitor.path(&format!("/packages?{query}"));
    Ok(page::html_with(
        status,
        &PackagesPage {
            search: search.to_owned(),
            rows: rows.collect(),
            any: !project.packages.is_empty(),
            first: page
                .token
                .is_some()
                .then(|| here(query.with(&[("pageToken", "")]))),
            next: next.map(|token| here(query.with(&[("pageToken", &token)]))),
            upload: UploadForm::to_any(visitor, state, &forms.upload),
            name: forms.name.clone(),
            description: forms.description.clone(),
            wrong: forms.wrong.clone(),
            frame,
        },
    ))
}

fn row(visitor: &Visitor, package: &Package, cohorts: Vec<Link>, more: u64) -> PackageRow {
    let artifacts = package.artifacts.values();
    let newest = artifacts.clone().max_by_key(|artifact| artifact.id);
    PackageRow {
        name: package.name.to_string(),
        href: visitor.path(&format!("/packages/{}", package.name)),
        description: package.description.clone(),
        versions: package.artifacts.len() as u64,
        newest: newest.map(|artifact| Newest {
            version: artifact.version.to_string(),
            created_ms: artifact.created_ms,
        }),
        bytes: artifacts.map(|artifact| artifact.size.get()).sum(),
        cohorts,
        more,
    }
}

/// A screen of them.
const PACKAGES_SHOWN: usize = 50;
/// Cohorts that are named in a cell; the rest is counted.
const LINKS_SHOWN: usize = 5;
