//! Signing in and out: with an API key, or with a link that is good once.

use askama::Template;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use cookie::{Cookie, SameSite};

use super::assets;
use super::form::{self, Fields, Form};
use super::page::{self, Refused};
use super::visitor::{COOKIE, TLS_COOKIE, session_key};
use crate::admin::AdminState;
use crate::admin::auth::key_of;
use crate::admin::guesses::Wait;
use crate::admin::problem::Problem;
use crate::admin::seats::Holder;
use crate::clock;
use crate::fleet::KeyId;

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/admin/console/askama.toml")]
struct SignInPage {
    next: String,
    wrong: Option<&'static str>,
}

impl SignInPage {
    fn asset(&self, name: &str) -> &'static str {
        assets::address(name)
    }
}

/// `GET /sign-in`.
pub async fn form(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = Fields::parse(query.unwrap_or_default().as_bytes());
    let next = own_path(query.text("next"));
    if session_key(&headers, &state).is_some() {
        return Redirect::to(&next).into_response();
    }
    page::html(&SignInPage { next, wrong: None })
}

/// `POST /sign-in`.
pub async fn with_key(
    State(state): State<AdminState>,
    holder: Option<Extension<Holder>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let fields = form::read(&headers, body).await?;
    let next = own_path(fields.text("next"));
    let address = holder.as_ref().map(|Extension(holder)| holder.address());
    let key = match key_of(&state, address, fields.text("key")) {
        Ok(key) => key,
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            let wrong = Some("This key is unknown, revoked or expired.");
            return Ok(page::html_unprocessable(&SignInPage { next, wrong }));
        }
        // Too many wrong ones from the same network.
        Err(problem) => return Err(problem.into()),
    };
    let paced = state.guard.sign_in(key.id);
    paced.map_err(|Wait(wait)| Problem::too_many_sign_ins(wait))?;
    signed_in(&state, &headers, key.id, &next).await
}

/// `GET /sign-in/{link}`.
pub async fn with_link(
    State(state): State<AdminState>,
    Path(link): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Some(key) = state.console.follow_link(&link) else {
        if session_key(&headers, &state).is_some() {
            return Ok(Redirect::to("/").into_response());
        }
        let wrong = Some("This link was used already, or is too old. Sign in with an API key instead.");
        return Ok(page::html_unprocessable(&SignInPage {
            next: "/".to_owned(),
            wrong,
        }));
    };
    signed_in(&state, &headers, key, "/").await
}

/// `POST /sign-out`.
pub async fn out(State(state): State<AdminState>, form: Form) -> Result<Response, Refused> {
    state
        .control
        .close_console_session(form.visitor.session())
        .await?;
    // Whichever it has.
    let gone = [false, true].map(|secure| {
        let mut gone = Cookie::new(COOKIE, "");
        gone.set_path("/");
        gone.set_secure(secure);
        gone.make_removal();
        set_cookie(gone)
    });
    let gone = AppendHeaders(gone.into_iter().flatten());
    Ok((gone, Redirect::to("/sign-in")).into_response())
}

async fn signed_in(
    state: &AdminState,
    headers: &HeaderMap,
    key: KeyId,
    next: &str,
) -> Result<Response, Refused> {
    let session = state.control.open_console_session(key).await?;
    let mut cookie = Cookie::new(COOKIE, session.text);
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Strict);
    cookie.set_secure(!is_loopback(headers));
    let left_s = (session.expires_ms - clock::unix_ms()) / 1000;
    cookie.set_max_age(time::Duration::seconds(left_s));
    Ok((set_cookie(cookie), Redirect::to(next)).into_response())
}

fn set_cookie(mut cookie: Cookie<'_>) -> [(header::HeaderName, HeaderValue); 1] {
    if cookie.secure() == Some(true) {
        cookie.set_name(TLS_COOKIE);
    }
    let value =
        HeaderValue::from_str(&cookie.to_string()).expect("a cookie of Base64 and attributes is a header");
    [(header::SET_COOKIE, value)]
}

/// Whether the browser speaks to its own machine, where there is no TLS to ask for: not every browser keeps a `Secure`
/// cookie there.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    name == "localhost"
        || name == "[::1]"
        || name.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
}

/// Where to go after signing in: a path of this server and nothing else.
fn own_path(next: &str) -> String {
    let own = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && next.bytes().all(|byte| byte.is_ascii_graphic())
        && !next.starts_with("/sign-in");
    if own { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::{HeaderMap, header};

    use super::{is_loopback, own_path};

    #[test]
    fn after_signing_in_nobody_is_sent_to_another_site() {
        for (next, to) in [
            ("/projects/default/cohorts?a=b", "/projects/default/cohorts?a=b"),
            ("", "/"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("/\\evil.example/", "/"),
            ("/\tevil", "/"),
            ("/sign-in?next=/sign-in", "/"),
        ] {
            assert_eq!(own_path(next), to, "{next:?}");
        }
    }

    #[test]
    fn a_cookie_may_go_without_tls_on_loopback_only() {
        for (host, loopback) in [
            ("127.0.0.1:8080", true),
            ("localhost", true),
            ("localhost:8080", true),
            ("[::1]:8080", true),
            ("10.0.0.7:8080", false),
            ("127.0.0.1.example:80", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(is_loopback(&headers), loopback, "{host}");
        }
    }
}
