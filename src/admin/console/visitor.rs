//! Who looks at a page: a session, by its cookie, and the API key it was opened with.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri, header};
use cookie::Cookie;

use super::page::{Frame, Notice, Refused, Section};
use crate::admin::auth::known;
use crate::admin::problem::Problem;
use crate::admin::seats::Holder;
use crate::admin::{AdminState, Reached};
use crate::clock;
use crate::fleet::{Actor, ApiKey, Digest, ProjectId, Role};

/// Somebody who is signed in, at an address of a project that exists.
#[derive(Debug)]
pub struct Visitor {
    /// The key of the session.
    pub key: Arc<ApiKey>,
    /// The project of the address.
    pub project: ProjectId,
    /// Its name, as it stands in addresses.
    pub project_name: String,
    session: String,
    /// The page is read again by the script, or only asked whether it is there: what is said once is not for it.
    live: bool,
}

impl Visitor {
    /// Who is named in the audit, if the key allows that much.
    ///
    /// # Errors
    /// It does not: a page that says so.
    pub fn may(&self, role: Role) -> Result<Actor, Refused> {
        if self.key.role < role {
            return Err(Problem::forbidden(format!(
                "the key {:?} has the role {}; this needs {role}",
                self.key.name.as_str(),
                self.key.role
            ))
            .into());
        }
        Ok(Actor::with(&self.key, role))
    }

    /// The frame of a page.
    pub fn frame(
        &self,
        state: &AdminState,
        section: impl Into<Option<Section>>,
        title: impl Into<String>,
    ) -> Frame {
        let notices = if self.live {
            Vec::new()
        } else {
            state.console.notices(&self.session_hash())
        };
        Frame {
            title: title.into(),
            section: section.into(),
            project: self.project_name.clone(),
            who: self.key.name.to_string(),
            role: self.key.role,
            csrf: self.csrf(),
            notices,
            now_ms: clock::unix_ms(),
        }
    }

    /// Says something at the top of the next page.
    pub fn notify(&self, state: &AdminState, notice: Notice) {
        state.console.notify(self.session_hash(), notice);
    }

    /// What the forms of this session hold.
    pub fn csrf(&self) -> String {
        csrf(&self.session)
    }

    /// Whether a form is one of this session's.
    ///
    /// # Errors
    /// It is not: it was sent by another site, or is older than the session.
    pub fn check_csrf(&self, given: &str) -> Result<(), Refused> {
        // Both are hashes of 256 random bits: how long the comparison takes tells nothing that helps to guess them.
        if Digest::of(given.as_bytes()) == Digest::of(self.csrf().as_bytes()) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "the form was not one of this session's: it was opened before you signed in, or sent by another site; \
             nothing was changed. Go back, reload the page, and send it again",
        )
        .into())
    }

    /// The address of a page of the project.
    pub fn path(&self, below: &str) -> String {
        format!("/projects/{}{below}", self.project_name)
    }

    /// What the browser holds.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Whether the page is read again by the script, and nobody looks at what is not live.
    pub fn is_live(&self) -> bool {
        self.live
    }

    fn session_hash(&self) -> Digest {
        Digest::of(self.session.as_bytes())
    }
}

impl Visitor {
    /// Whoever is signed in, at an address that may be none: in the project that it names, or else in the default one.
    pub fn anywhere(headers: &HeaderMap, uri: &Uri, state: &AdminState) -> Option<Visitor> {
        let (session, key) = signed_in(headers, state)?;
        let view = state.control.view();
        let mut segments = uri.path().split('/').skip(1);
        let named = segments.next().filter(|first| *first == "projects");
        let named = named.and_then(|_| view.find_project(segments.next()?));
        let project = named.unwrap_or_else(|| view.default_project());
        Some(Visitor {
            key,
            project: project.id,
            project_name: project.name.to_string(),
            session,
            live: headers.contains_key(LIVE) || is_part(headers),
        })
    }
}

impl FromRequestParts<AdminState> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Refused> {
        let live = parts.headers.contains_key(LIVE);
        let target = parts
            .extensions
            .get::<Asked>()
            .map_or(&parts.uri, |Asked(uri)| uri)
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned();
        let Some((session, key)) = signed_in(&parts.headers, state) else {
            let safe = parts.method.is_safe() && !live;
            return Err(Refused::SignIn {
                next: safe.then_some(target),
            });
        };
        if let Some(holder) = parts.extensions.get::<Holder>() {
            known(holder, &key)?;
        }
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::malformed(format!("the address cannot be read: {error}")))?;
        let named = parameters
            .iter()
            .find_map(|(name, value)| (name == "project").then(|| value.to_owned()));
        let view = state.control.view();
        let project = match &named {
            None => view.default_project(),
            Some(name) => view
                .find_project(name)
                .ok_or_else(|| Problem::not_found(format!("there is no project {name:?}")))?,
        };
        Ok(Visitor {
            key,
            project: project.id,
            project_name: project.name.to_string(),
            session,
            live: live || is_part(&parts.headers) || parts.method == Method::HEAD,
        })
    }
}

/// Whether a browser fetches it for another page, and not to show it: nobody looks at that.
fn is_part(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|of| of != "document")
}

/// What was asked for: a nested route is shown only what comes after the project, and whoever signs in comes back to all of
/// it.
#[derive(Debug, Clone)]
pub struct Asked(pub Uri);

/// What the console's cookie of a request holds, if it is a session's, and the key of that. Another site of the same domain can have
/// a browser send one of its own as well, before ours or after it: that is no session's, and passed over.
pub fn signed_in(headers: &HeaderMap, state: &AdminState) -> Option<(String, Arc<ApiKey>)> {
    let named = |wanted: &'static str| {
        let is_it = move |name: &str| {
            let port = name
                .strip_prefix(wanted)
                .map(|rest| rest.strip_prefix('_').unwrap_or(rest));
            port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        };
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(Cookie::split_parse)
            .filter_map(Result::ok)
            .filter(move |cookie| is_it(cookie.name()))
            .map(|cookie| cookie.value().to_owned())
            .take(COOKIES_TRIED)
    };
    let now_ms = clock::unix_ms();
    // Over TLS of our own every cookie of ours is one for TLS alone: one that is not, another site has set.
    let plain = (state.reached != Reached::Tls).then(|| named(COOKIE));
    named(TLS_COOKIE)
        .chain(plain.into_iter().flatten())
        .find_map(|text| {
            let key = state.control.console_session(&text, now_ms)?;
            Some((text, key))
        })
}

/// Bound to the session, and of no use to find its text.
pub fn csrf(session: &str) -> String {
    Digest::of(format!("form {session}").as_bytes()).to_string()
}

/// How the cookie of a request's gateway is called. With the port, as a browser keeps one cookie of a name for all ports of a
/// machine: who signs in to a second gateway there stays signed in to the first.
pub fn cookie_name(headers: &HeaderMap, secure: bool) -> String {
    let name = if secure { TLS_COOKIE } else { COOKIE };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    match authority.and_then(|authority| authority.port_u16()) {
        Some(port) => format!("{name}_{port}"),
        None => name.to_owned(),
    }
}

/// The name of the cookie where the browser may send it without TLS, before the port.
pub const COOKIE: &str = "tessera_session";
/// Its name where it is for TLS only: a browser lets no other site of the domain set one that begins so (RFC 6265bis, section
/// 4.1.3.2).
pub const TLS_COOKIE: &str = "__Host-tessera_session";
/// Cookies of a name that are looked at: more than a browser keeps of any domain. Each costs a hash.
const COOKIES_TRIED: usize = 256;
/// The header by which the script says that it reads a page again.
const LIVE: &str = "x-live";
