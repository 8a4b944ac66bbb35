//! The console: what an operator sees and does in a browser. Pages are made here and work without scripts; the script
//! (`assets/console.js`) keeps an open page up to date.
//!
//! 1. [`sign_in`]: with an API key, or with a link that is good once; [`visitor`]: who looks, by the cookie.
//! 2. [`form`]: what a form sends, with the token that only the console's own pages hold.
//! 3. One file per page, in the order of the navigation. Each asks `control` and shows; it decides nothing.
//! 4. [`page`]: the frame around every page, and the page of an error; [`show`]: how times, sizes and states are written.
//! 5. [`assets`]: style, script and icons, named by their content.
//!
//! A part of a page that changes by itself is an element with an `id` and `data-live`: the script reads the same address
//! again and puts the new part in place of the old one.

mod assets;
mod audit;
mod chart;
mod cohort;
mod cohort_devices;
mod cohorts;
mod deploy;
mod deployment;
mod devices;
mod form;
mod overview;
mod package;
mod packages;
mod page;
mod parts;
mod settings;
mod show;
mod sign_in;
mod subject;
mod traffic;
mod upload;
mod visitor;
mod wrong;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{Redirect, Response};
use axum::routing::get;
use rand::Rng as _;

use super::AdminState;
use crate::clock;
use crate::control::Control;
use crate::fleet::{Digest, KeyId, Role};

pub use visitor::signed_in;

/// What the console remembers of its visitors beside their sessions. Nothing of it outlives the process.
#[derive(Debug, Clone, Default)]
pub struct Console(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    /// What is said once, at the top of the next page, by session.
    notices: HashMap<Digest, Vec<page::Notice>>,
    links: Vec<Link>,
    devices: devices::Kept,
}

/// A link that signs a browser in.
#[derive(Debug)]
struct Link {
    hash: Digest,
    key: KeyId,
    expires_ms: i64,
}

impl Console {
    /// The path of a page that signs one browser in with the oldest key that administers: once, and for [`LINK_MS`]. `None` if
    /// there is no such key.
    pub fn sign_in_path(&self, control: &Control) -> Option<String> {
        let now = clock::unix_ms();
        let keys = control.view().keys();
        let key = keys
            .iter()
            .find(|key| key.role == Role::Admin && key.is_live(now))?;
        Some(self.sign_in_path_with(key.id))
    }

    /// The same with this key.
    fn sign_in_path_with(&self, key: KeyId) -> String {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let text = data_encoding::BASE64URL_NOPAD.encode(&bytes);
        let now = clock::unix_ms();
        let mut remembered = self.lock();
        remembered.links.retain(|link| now < link.expires_ms);
        if remembered.links.len() >= LINKS_MAX {
            remembered.links.remove(0);
        }
        remembered.links.push(Link {
            hash: Digest::of(text.as_bytes()),
            key,
            expires_ms: now.saturating_add(LINK_MS),
        });
        format!("/sign-in/{text}")
    }

    /// The key of a link, which is good no longer then.
    fn follow_link(&self, text: &str) -> Option<KeyId> {
        let (hash, now) = (Digest::of(text.as_bytes()), clock::unix_ms());
        let mut remembered = self.lock();
        let place = remembered
            .links
            .iter()
            .position(|link| link.hash == hash && now < link.expires_ms)?;
        Some(remembered.links.remove(place).key)
    }

    fn notify(&self, session: Digest, notice: page::Notice) {
        let mut remembered = self.lock();
        // Some session's, and not everybody's.
        if remembered.notices.len() >= NOTICES_MAX
            && let Some(&one) = remembered.notices.keys().next()
        {
            remembered.notices.remove(&one);
        }
        let waiting = remembered.notices.entry(session).or_default();
        if waiting.len() >= NOTICES_OF_A_SESSION {
            waiting.remove(0);
        }
        waiting.push(notice);
    }

    fn notices(&self, session: &Digest) -> Vec<page::Notice> {
        self.lock().notices.remove(session).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The console's routes.
pub fn router(state: &AdminState) -> Router<AdminState> {
    // Files go below bounds of their own.
    let uploads = Router::new()
        .route("/uploads", get(packages::show).post(upload::to_any))
        .route("/packages/{package}", get(package::show).post(upload::to_package))
        .layer(DefaultBodyLimit::disable());
    let project = Router::new()
        .route("/", get(overview::show))
        .route("/cohorts", get(cohorts::list).post(cohorts::create))
        .route("/cohorts/{cohort}", get(cohort::deployments))
        .route("/cohorts/{cohort}/progress", get(cohort::progress))
        .route(
            "/cohorts/{cohort}/devices",
            get(cohort_devices::list).post(cohort_devices::remove),
        )
        .route(
            "/cohorts/{cohort}/devices/add",
            get(cohort_devices::add_form).post(cohort_devices::add),
        )
        .route(
            "/cohorts/{cohort}/settings",
            get(cohort::settings).post(cohort::delete),
        )
        .route("/traffic", get(traffic::show))
        .route("/audit", get(audit::show))
        .route("/settings", get(settings::show))
        .route("/settings/keys", get(above::<1>).post(settings::create_key))
        .route(
            "/settings/keys/{key}/revoke",
            get(settings::ask_revoke).post(settings::revoke),
        )
        .route("/settings/device-cas", get(above::<1>).post(settings::create_ca))
        .route(
            "/settings/device-cas/{ca}/delete",
            get(settings::ask_delete_ca).post(settings::delete_ca),
        )
        .route("/cohorts/{cohort}/deploy", get(deploy::show).post(deploy::start))
        .route("/deployments/{deployment}", get(deployment::show))
        .route(
            "/deployments/{deployment}/manifest.cbor",
            get(deployment::manifest),
        )
        .route(
            "/deployments/{deployment}/devices.csv",
            get(deployment::devices_csv),
        )
        .route("/packages", get(packages::show).post(packages::create))
        .route(
            "/packages/{package}/delete",
            get(above::<1>).post(package::delete),
        )
        .route(
            "/packages/{package}/versions/{version}/delete",
            get(above::<3>).post(package::delete_version),
        )
        .merge(devices::routes())
        .route("/uploads/look", get(upload::look))
        .merge(uploads);
    Router::new()
        .route("/", get(home))
        .route("/sign-in", get(sign_in::form).post(sign_in::with_key))
        .route("/sign-in/{link}", get(sign_in::with_link))
        .route("/sign-out", get(home).post(sign_in::out))
        .route("/assets/{name}", get(assets::serve))
        .nest(PROJECTS, project)
        .layer(middleware::from_fn_with_state(state.clone(), guard))
}

/// What a browser is shown where there is nothing. `None` for what is no browser.
pub fn missing(headers: &HeaderMap, uri: &Uri, state: &AdminState) -> Option<Response> {
    page::missing(headers, uri, state).map(guarded)
}

/// What a browser is shown that asks for an address as it cannot be asked for. `None` for what is no browser.
pub fn wrong_method(method: &Method, headers: &HeaderMap, uri: &Uri, state: &AdminState) -> Option<Response> {
    page::wrong_method(method, headers, uri, state).map(guarded)
}

/// The address of a project's first page.
async fn home(State(state): State<AdminState>) -> Redirect {
    Redirect::to(&format!(
        "/projects/{}",
        state.control.view().default_project().name.as_str()
    ))
}

/// Where nothing but a form is sent: the page that the form is on, so many segments above.
async fn above<const SEGMENTS: usize>(Extension(visitor::Asked(uri)): Extension<visitor::Asked>) -> Redirect {
    let page = (0..SEGMENTS).fold(uri.path(), |path, _| {
        path.rsplit_once('/').map_or(path, |(above, _)| above)
    });
    Redirect::to(page)
}

/// What every answer of the console says to the browser: nothing from elsewhere, nothing inline, in nobody's frame.
async fn guard(State(state): State<AdminState>, mut request: Request, next: Next) -> Response {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    request.extensions_mut().insert(visitor::Asked(uri.clone()));
    let response = next.run(request).await;
    guarded(page::framed(response, &headers, &uri, &state))
}

fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Where a project's pages are.
const PROJECTS: &str = "/projects/{project}";
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// How long a sign-in link is good for: a coffee.
const LINK_MS: i64 = 30 * 60 * 1000;
/// Sign-in links at a time; past it the oldest is good no longer.
const LINKS_MAX: usize = 16;
/// Sessions with something to be told; past it all of it is forgotten, as whoever did not look will not look.
const NOTICES_MAX: usize = 1000;
/// What a session is told on its next page; past it the oldest is forgotten. A form has one or two.
const NOTICES_OF_A_SESSION: usize = 8;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
