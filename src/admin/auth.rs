//! Who asks. A call names its key as `Authorization: Bearer KEY`; the key has a role, and each role includes the ones
//! below it. A handler takes [`Reader`], [`Deployer`] or [`Admin`] as an argument and cannot run without it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::header;
use axum::http::request::Parts;
use serde::Deserialize;

use super::AdminState;
use super::console::signed_in;
use super::guesses::{Found, Wait};
use super::problem::Problem;
use super::seats::Holder;
use crate::clock;
use crate::control::{AuditScope, SessionMark, is_made};
use crate::fleet::{Actor, ApiKey, ProjectId, Role};

/// May look at everything of the project.
#[derive(Debug)]
pub struct Reader {
    /// The project named in the address.
    pub project: ProjectId,
}

/// May look at everything of the project, and with which key: for what goes on for longer than a call, or shows more to some.
#[derive(Debug)]
pub struct Onlooker {
    /// The project named in the address.
    pub project: ProjectId,
    /// What it asks with.
    pass: Pass,
}

/// What a request was let in with.
#[derive(Debug)]
pub struct Pass {
    /// The key that it named, or that its session was opened with.
    pub key: Arc<ApiKey>,
    /// The session of the console whose cookie it came with; it named no key then.
    session: Option<SessionMark>,
}

impl Onlooker {
    /// Whose lines of the audit it may read.
    pub fn audit_scope(&self) -> AuditScope {
        AuditScope::of(self.pass.key.role, self.project)
    }

    /// Whose key it is.
    pub fn actor(&self) -> Actor {
        Actor::named(&self.pass.key.name)
    }

    /// Whether what it was let in with is still good: its key, and its session if it came with one.
    pub fn may_stay(&self, state: &AdminState) -> bool {
        let now_ms = clock::unix_ms();
        match &self.pass.session {
            Some(session) => state.control.marked_session(session, now_ms).is_some(),
            None => {
                let view = state.control.view();
                view.key(self.pass.key.id).is_some_and(|key| key.is_live(now_ms))
            }
        }
    }
}

/// May upload, deploy, and manage cohorts and devices.
#[derive(Debug)]
pub struct Deployer {
    /// The project named in the address.
    pub project: ProjectId,
    /// Who is named in the audit.
    pub actor: Actor,
}

/// May manage keys, and who is believed about devices.
#[derive(Debug)]
pub struct Admin {
    /// The project named in the address.
    pub project: ProjectId,
    /// Who is named in the audit.
    pub actor: Actor,
}

impl FromRequestParts<AdminState> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let (project, _) = admit(parts, state, Role::Read).await?;
        Ok(Reader { project })
    }
}

impl FromRequestParts<AdminState> for Onlooker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let (project, pass) = admit(parts, state, Role::Read).await?;
        Ok(Onlooker { project, pass })
    }
}

impl FromRequestParts<AdminState> for Deployer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let (project, pass) = admit(parts, state, Role::Deploy).await?;
        Ok(Deployer {
            project,
            actor: Actor::with(&pass.key, Role::Deploy),
        })
    }
}

impl FromRequestParts<AdminState> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let (project, pass) = admit(parts, state, Role::Admin).await?;
        Ok(Admin {
            project,
            actor: Actor::with(&pass.key, Role::Admin),
        })
    }
}

/// What a request outside of any project is let in with, a key with at least `role`.
pub fn authenticate(parts: &Parts, state: &AdminState, role: Role) -> Result<Pass, Problem> {
    let mut named = parts.headers.get_all(header::AUTHORIZATION).iter();
    let header = named.next();
    // A page of the console reads along with its cookie. It changes nothing with it: its forms go to the console, which
    // wants more than a cookie for that.
    let session = (header.is_none() && parts.method.is_safe())
        .then(|| signed_in(&parts.headers, state))
        .flatten();
    if let Some((text, key)) = session {
        let session = Some(SessionMark::of(&text));
        return with_role(Pass { key, session }, parts, role);
    }
    let header =
        header.ok_or_else(|| Problem::unauthenticated("no API key; accepted: Authorization: Bearer KEY"))?;
    if named.next().is_some() {
        // A proxy may have looked at another one than would be looked at here.
        return Err(Problem::malformed(
            "more than one Authorization header; accepted: one, Authorization: Bearer KEY",
        ));
    }
    let text = header.to_str().unwrap_or_default();
    let secret = text
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, secret)| secret.trim())
        .ok_or_else(|| {
            Problem::unauthenticated("the Authorization header is not understood; accepted: Bearer KEY")
        })?;
    let holder = parts.extensions.get::<Holder>();
    let key = key_of(state, holder.map(Holder::address), secret)?;
    let session = None;
    with_role(Pass { key, session }, parts, role)
}

fn with_role(pass: Pass, parts: &Parts, role: Role) -> Result<Pass, Problem> {
    let key = &pass.key;
    if let Some(holder) = parts.extensions.get::<Holder>() {
        known(holder, key)?;
    }
    if key.role < role {
        return Err(Problem::forbidden(format!(
            "the key {:?} has the role {}; this needs {role}",
            key.name.as_str(),
            key.role
        )));
    }
    Ok(pass)
}

/// How an answer breaks off whose reader [may not stay](Onlooker::may_stay).
pub const MAY_NOT_STAY: &str = "the API key was revoked or has expired, or its session has ended";

/// The connection has shown a key that is good.
pub fn known(holder: &Holder, key: &ApiKey) -> Result<(), Problem> {
    holder
        .known(key.id, key.role)
        .map_err(|crowded| Problem::unavailable(format!("the key {:?}: {crowded}", key.name.as_str())))
}

/// The key that `secret` is, for whoever has it from a peer: wrong ones from its `address` are counted, and slowed.
pub fn key_of(state: &AdminState, address: Option<IpAddr>, secret: &str) -> Result<Arc<ApiKey>, Problem> {
    let found = state.control.authenticate(secret, clock::unix_ms());
    if let Some(address) = address {
        let judged = found.as_ref().map(|key| Found {
            key: key.id,
            chosen: !is_made(secret),
        });
        let judged = state.guard.judge(address, secret, judged);
        judged.map_err(|Wait(wait)| Problem::too_many_guesses(wait))?;
    }
    found.ok_or_else(|| Problem::unauthenticated("the API key is unknown, revoked or expired"))
}

/// The one parameter of the address that every call below a project has.
#[derive(Deserialize)]
struct ProjectPath {
    project: String,
}

/// The project named in the address and what a request is let in with, a key with at least `role`.
pub async fn admit(parts: &mut Parts, state: &AdminState, role: Role) -> Result<(ProjectId, Pass), Problem> {
    let pass = authenticate(parts, state, role)?;
    let Path(ProjectPath { project: name }) = Path::<ProjectPath>::from_request_parts(parts, state)
        .await
        .map_err(|error| Problem::malformed(format!("the address cannot be read: {error}")))?;
    let view = state.control.view();
    let project = view.find_project(&name).ok_or_else(|| {
        let names: Vec<&str> = view.projects().map(|project| project.name.as_str()).collect();
        Problem::not_found(format!(
            "there is no project {name:?}; there are: {}",
            names.join(", ")
        ))
    })?;
    Ok((project.id, pass))
}
