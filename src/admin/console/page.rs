//! The frame around every page, what is answered instead of a page, and the page of an error.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use tracing::error;

use super::assets;
use super::show::{Bytes, Count, Span, Time, counted};
use super::sign_in;
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::problem::{FieldError, Problem};
use crate::control::ControlError;
use crate::fleet::{Invalid, Refusal, Role};

/// What every page of somebody who is signed in has around it.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What the page is.
    pub title: String,
    /// Where it is in the navigation.
    pub section: Option<Section>,
    /// The project's name.
    pub project: String,
    /// The name of the key.
    pub who: String,
    /// What the key allows.
    pub role: Role,
    /// What forms hold.
    pub csrf: String,
    /// What is said once.
    pub notices: Vec<Notice>,
    /// When the page was made, in milliseconds of Unix time.
    pub now_ms: i64,
}

impl Frame {
    /// Whether to show what changes something.
    pub fn deploys(&self) -> bool {
        self.role >= Role::Deploy
    }

    /// Whether to show what manages keys and settings.
    pub fn administers(&self) -> bool {
        self.role >= Role::Admin
    }

    /// The address of a page of the project.
    pub fn path(&self, below: &str) -> String {
        format!("/projects/{}{below}", self.project)
    }

    /// A time as it is shown.
    pub fn time(&self, unix_ms: &i64) -> Time {
        Time {
            unix_ms: *unix_ms,
            now_ms: self.now_ms,
        }
    }

    /// A count as it is shown.
    pub fn count(&self, count: &u64) -> Count {
        Count(*count)
    }

    /// So many devices.
    pub fn devices(&self, count: &u64) -> String {
        counted(*count, "device", "devices")
    }

    /// A size as it is shown.
    pub fn bytes(&self, bytes: &u64) -> Bytes {
        Bytes(*bytes)
    }

    /// A span of time as it is shown.
    pub fn span(&self, span: &Duration) -> Span {
        Span(*span)
    }

    /// Whether the page belongs there.
    pub fn is_in(&self, section: &Section) -> bool {
        self.section == Some(*section)
    }

    /// The address of a file that comes with the program.
    pub fn asset(&self, name: &str) -> &'static str {
        assets::address(name)
    }

    /// The navigation.
    pub fn sections(&self) -> &'static [Section] {
        &Section::ALL
    }
}

/// A place of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What the fleet is doing.
    Overview,
    /// Cohorts and their deployments.
    Cohorts,
    /// Packages and their artifacts.
    Packages,
    /// Devices.
    Devices,
    /// Sessions, requests, failures.
    Traffic,
    /// Who did what.
    Audit,
    /// Keys, CAs, limits.
    Settings,
}

impl Section {
    const ALL: [Section; 7] = [
        Section::Overview,
        Section::Cohorts,
        Section::Packages,
        Section::Devices,
        Section::Traffic,
        Section::Audit,
        Section::Settings,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Cohorts => "Cohorts",
            Self::Packages => "Packages",
            Self::Devices => "Devices",
            Self::Traffic => "Live traffic",
            Self::Audit => "Audit",
            Self::Settings => "Settings",
        }
    }

    /// The one that an address is in, whether or not it is a page's; none where it is in none.
    pub fn of(path: &str) -> Option<Section> {
        let below = path.strip_prefix("/projects/")?.split_once('/')?.1;
        match below.split('/').next()? {
            "deployments" => Some(Section::Cohorts),
            "uploads" => Some(Section::Packages),
            first => Section::ALL
                .into_iter()
                .find(|section| section.path().strip_prefix('/') == Some(first)),
        }
    }

    /// Its address, below the project's.
    pub fn path(self) -> &'static str {
        match self {
            Self::Overview => "",
            Self::Cohorts => "/cohorts",
            Self::Packages => "/packages",
            Self::Devices => "/devices",
            Self::Traffic => "/traffic",
            Self::Audit => "/audit",
            Self::Settings => "/settings",
        }
    }

    /// Its icon, by the name in `icons.svg`.
    pub fn icon(self) -> &'static str {
        match self {
            Self::Overview => "gauge",
            Self::Cohorts => "layers",
            Self::Packages => "box",
            Self::Devices => "chip",
            Self::Traffic => "pulse",
            Self::Audit => "list",
            Self::Settings => "sliders",
        }
    }
}

/// Something that is said once, at the top of a page.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Whether something went wrong.
    pub wrong: bool,
    /// What is said.
    pub text: String,
}

impl Notice {
    /// What was asked for is done.
    pub fn done(text: impl Into<String>) -> Notice {
        Notice {
            wrong: false,
            text: text.into(),
        }
    }

    /// What was asked for is not done.
    pub fn wrong(text: impl Into<String>) -> Notice {
        Notice {
            wrong: true,
            text: text.into(),
        }
    }
}

/// What is answered instead of a page.
#[derive(Debug)]
pub enum Refused {
    /// Nobody is signed in; afterwards on to `next`.
    SignIn {
        /// The address that was asked for, where it can be asked for again.
        next: Option<String>,
    },
    /// Something is wrong.
    Problem(Problem),
    /// Something is wrong, and the page that says so is made.
    Page(Box<Response>),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused::Problem(problem)
    }
}

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Self {
        Refused::Problem(error.into())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused::Problem(refusal.into())
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Refused::Problem(Refusal::from(invalid).into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Refused::SignIn { next: Some(next) } => Redirect::to(&sign_in::address(&next)).into_response(),
            Refused::SignIn { next: None } => refused(Problem::unauthenticated(
                "you are not signed in, or no longer, and nothing was changed. Sign in to come back to the page; what was \
                 typed there has to be typed again",
            )),
            Refused::Problem(problem) => refused(problem),
            Refused::Page(page) => *page,
        }
    }
}

/// A page of somebody who need not be signed in.
#[derive(Template)]
#[template(path = "refused.html", config = "src/admin/console/askama.toml")]
struct RefusedPage<'a> {
    status: u16,
    title: &'a str,
    detail: &'a str,
    errors: &'a [FieldError],
    /// Where one signs in, to whom is not.
    sign_in: Option<String>,
}

impl RefusedPage<'_> {
    fn asset(&self, name: &str) -> &'static str {
        assets::address(name)
    }
}

/// Who signs in after it goes on to `next`, or to the overview where it is empty.
fn plain(problem: &Problem, next: &str) -> Response {
    let status = problem.status();
    let signed_out = status == StatusCode::UNAUTHORIZED;
    let page = RefusedPage {
        status: status.as_u16(),
        title: title(status),
        detail: problem.detail(),
        errors: problem.errors(),
        sign_in: signed_out.then(|| sign_in::address(next)),
    };
    html_with(status, &page)
}

/// The same, until [`framed`] has looked at who asked for what.
fn refused(problem: Problem) -> Response {
    let mut response = plain(&problem, "");
    response.extensions_mut().insert(Told(Arc::new(problem)));
    response
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Not done")
}

/// What the page of an answer says is wrong.
#[derive(Debug, Clone)]
struct Told(Arc<Problem>);

/// The same to somebody who is signed in: with the way to everywhere else.
#[derive(Template)]
#[template(path = "problem.html", config = "src/admin/console/askama.toml")]
struct ProblemPage<'a> {
    frame: Frame,
    status: u16,
    detail: &'a str,
    errors: &'a [FieldError],
}

/// An answer to a request of this address, with the console around it if it says what is wrong and somebody is signed in.
pub fn framed(mut response: Response, headers: &HeaderMap, uri: &Uri, state: &AdminState) -> Response {
    let Some(Told(problem)) = response.extensions_mut().remove::<Told>() else {
        return response;
    };
    let Some(visitor) = Visitor::anywhere(headers, uri, state) else {
        // Whatever a form is sent to can be asked for as well: it is the form's page, or leads there.
        let next = uri.path_and_query().map_or("", |asked| asked.as_str());
        return match problem.status() {
            StatusCode::UNAUTHORIZED => plain(&problem, next),
            _ => response,
        };
    };
    let status = problem.status();
    let section = Section::of(uri.path());
    let page = ProblemPage {
        frame: visitor.frame(state, section, title(status)),
        status: status.as_u16(),
        detail: problem.detail(),
        errors: problem.errors(),
    };
    html_with(status, &page)
}

/// What a browser is shown where there is nothing. `None` for what is no browser.
pub fn missing(headers: &HeaderMap, uri: &Uri, state: &AdminState) -> Option<Response> {
    let problem = || Problem::not_found(format!("there is no page {}", shown(uri)));
    is_browser(headers, uri).then(|| framed(refused(problem()), headers, uri, state))
}

/// What a browser is shown that asks for an address as it cannot be asked for. `None` for what is no browser.
pub fn wrong_method(method: &Method, headers: &HeaderMap, uri: &Uri, state: &AdminState) -> Option<Response> {
    let problem = || {
        let detail = format!("{method} cannot be done to {}; nothing was done", shown(uri));
        Problem::method_not_allowed(detail)
    };
    is_browser(headers, uri).then(|| framed(refused(problem()), headers, uri, state))
}

fn is_browser(headers: &HeaderMap, uri: &Uri) -> bool {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html")) && !uri.path().starts_with("/v1/")
}

/// A path as it is repeated: not all of one that was made up.
fn shown(uri: &Uri) -> String {
    uri.path().chars().take(PATH_CHARS).collect()
}

/// Longer than the path of any page.
const PATH_CHARS: usize = 200;

/// A page, answered.
pub fn html(page: &impl Template) -> Response {
    html_with(StatusCode::OK, page)
}

/// A page that says what is wrong with what was sent.
pub fn html_unprocessable(page: &impl Template) -> Response {
    html_with(StatusCode::UNPROCESSABLE_ENTITY, page)
}

/// A page, answered with this status.
pub fn html_with(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(failure) => {
            error!(error = %failure, "a page could not be written");
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, plain)],
                "The page could not be written; the log says why.",
            )
                .into_response()
        }
    }
}
