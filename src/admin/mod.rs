//! The operator's HTTP API: one file per resource, everything decided in `control` and `fleet`.
//!
//! 1. [`serve`](serve()): connections, within the bounds of [`seats`] and [`pace`].
//! 2. [`auth`]: who asks, and whether the key's role allows it; [`guesses`]: who only guesses.
//! 3. [`body`] and [`query`]: what a call carries, read strictly; [`idempotency`]: whether it came before.
//! 4. One file per resource, in the order in which an operator meets them.
//! 5. [`shapes`]: what is answered; [`problem`]: what is answered when it is not done.
//! 6. [`openapi`]: all of that, described; [`console`]: the same in a browser.

mod artifacts;
mod audit;
mod auth;
mod body;
mod bulk;
mod cohorts;
mod console;
mod deployments;
mod device_cas;
mod device_rows;
mod devices;
mod events;
mod export;
mod figures;
mod guesses;
mod health;
mod idempotency;
mod import;
mod keys;
mod openapi;
mod pace;
mod packages;
mod problem;
mod query;
mod rows;
mod seats;
mod serve;
mod sessions;
mod shapes;
mod timeline;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};

pub use console::Console;
pub use guesses::Guard;
pub use serve::serve;
pub use tls::{Tls, TlsIdentity, TlsIdentityError};

use crate::control::Control;
use crate::telemetry::MetricsHandle;
use problem::Problem;

/// What the API needs to know.
#[derive(Debug, Clone)]
pub struct AdminState {
    /// Where devices find the gateway; `None` if they do not.
    pub devices_port: Option<u16>,
    /// The one writer and the view it publishes.
    pub control: Control,
    /// What `/metrics` renders.
    pub metrics: MetricsHandle,
    /// Whether `/metrics` wants an API key.
    pub metrics_auth: bool,
    /// The largest artifact taken, in bytes.
    pub max_artifact_bytes: u64,
    /// What `/readyz` answers.
    pub readiness: Readiness,
    /// What the console remembers of its visitors.
    pub console: Console,
    /// Who has guessed keys.
    pub guard: Guard,
    /// How operators reach it.
    pub reached: Reached,
}

/// How operators reach the listener, as the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// By TLS that it speaks itself.
    Tls,
    /// By plain HTTP from this machine: from a browser here, or from something that speaks TLS to others.
    PlainHere,
    /// By plain HTTP from other machines too (`admin.insecure_plaintext`).
    PlainAnywhere,
}

/// Whether the gateway takes work: set once everything is bound and recovered, cleared when it drains.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether the gateway takes work from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// All routes.
pub fn router(state: AdminState) -> Router {
    let project = Router::new()
        .route("/packages", get(packages::list).post(packages::create))
        .route(
            "/packages/{package}",
            get(packages::show).delete(packages::delete),
        )
        .route("/packages/{package}/artifacts", get(artifacts::list))
        .route(
            "/packages/{package}/artifacts/{version}",
            put(artifacts::upload)
                .get(artifacts::show)
                .delete(artifacts::delete)
                .layer(DefaultBodyLimit::disable()),
        )
        .route(
            "/packages/{package}/artifacts/{version}/content",
            get(artifacts::content),
        )
        .route("/cohorts", get(cohorts::list).post(cohorts::create))
        .route("/cohorts/{cohort}", get(cohorts::show).delete(cohorts::delete))
        .route(
            "/cohorts/{cohort}/deployments",
            get(deployments::list).post(deployments::create),
        )
        .route(
            "/cohorts/{cohort}/deployments:preview",
            post(deployments::preview),
        )
        .route(
            "/deployments/{deployment}",
            get(deployments::show).fallback(deployments::immutable),
        )
        .route("/deployments/{deployment}/progress", get(deployments::progress))
        .route(
            "/deployments/{deployment}/progress/history",
            get(figures::deployment_history),
        )
        .route("/figures", get(figures::show))
        .route("/figures/history", get(figures::history))
        .route("/devices", get(devices::list).post(devices::create))
        .route("/devices:export", get(export::export))
        .route("/devices:update", post(bulk::update))
        .route("/devices:updatePreview", post(bulk::preview))
        .route(
            "/devices/{device}",
            get(devices::show)
                .patch(devices::update)
                .delete(devices::delete)
                .post(devices::act)
                .fallback(devices::wrong_method),
        )
        .route("/devices/{device}/events", get(timeline::list))
        .route(
            "/devices/{device}/credentials",
            get(devices::credentials).post(devices::add_credential),
        )
        .route(
            "/devices/{device}/credentials/{credential}",
            delete(devices::remove_credential),
        )
        .route(
            "/events",
            get(events::stream).layer(Extension(events::StreamPlaces::default())),
        )
        .route("/audit", get(audit::list))
        .route("/sessions", get(sessions::list))
        .route("/sessions/failures", get(sessions::failures))
        .route("/device-cas", get(device_cas::list).post(device_cas::create))
        .route(
            "/device-cas/{ca}",
            get(device_cas::show).delete(device_cas::delete),
        )
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{key}", delete(keys::revoke))
        .layer(middleware::from_fn_with_state(state.clone(), idempotency::once))
        // Not below that: a file has many effects, and its own ways to be sent again.
        .route(
            "/devices:import",
            post(import::import).layer(DefaultBodyLimit::disable()),
        )
        .layer(DefaultBodyLimit::max(JSON_LIMIT_BYTES));
    Router::new()
        .nest(PROJECT, project)
        .route("/v1/openapi.json", get(openapi::show))
        .merge(console::router(&state))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(body::link_next))
        .layer(middleware::from_fn(query::refuse_unknown))
        .with_state(state)
}

async fn nothing_here(State(state): State<AdminState>, request: Request) -> Response {
    if let Some(page) = console::missing(request.headers(), request.uri(), &state) {
        return page;
    }
    Problem::not_found(format!(
        "nothing is at {}; the API is below /v1/projects/{{project}}/: packages, cohorts, \
         cohorts/{{cohort}}/deployments, deployments/{{deployment}}, devices, events, audit, sessions, device-cas, keys",
        request.uri().path()
    ))
    .into_response()
}

async fn wrong_method(State(state): State<AdminState>, request: Request) -> Response {
    let (method, headers, uri) = (request.method(), request.headers(), request.uri());
    if let Some(page) = console::wrong_method(method, headers, uri, &state) {
        return page;
    }
    Problem::method_not_allowed(format!(
        "{} cannot be done to {}; the Allow header says what can",
        request.method(),
        request.uri().path()
    ))
    .into_response()
}

/// Where a project's resources are.
const PROJECT: &str = "/v1/projects/{project}";

/// The largest JSON body: a deployment of hundreds of packages is a few KiB.
const JSON_LIMIT_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
