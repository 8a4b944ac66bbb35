//! Signing in and out: with an API key, or with a link that is good once.
//!
//! Who is signed in is sent back here first, with the way on: a browser that did not keep the cookie is told so, and not asked
//! for the key again as if nothing had been.

use askama::Template;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use cookie::{Cookie, SameSite};

use super::assets;
use super::form::{self, Fields, Form};
use super::page::{self, Refused};
use super::visitor;
use crate::admin::auth::key_of;
use crate::admin::guesses::Wait;
use crate::admin::problem::Problem;
use crate::admin::seats::Holder;
use crate::admin::{AdminState, Reached};
use crate::clock;
use crate::fleet::KeyId;

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/admin/console/askama.toml")]
struct SignInPage {
    next: String,
    wrong: Option<String>,
    /// The browser has been given a cookie, and comes without.
    lost: Option<Lost>,
}

/// Why a cookie does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// It is for TLS only, and the browser speaks plain HTTP as far as can be seen.
    Plain,
    /// The browser has it, or will not have it.
    Withheld,
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
    if visitor::signed_in(&headers, &state).is_some() {
        return Redirect::to(&next).into_response();
    }
    let lost = query.given(SENT).map(|_| {
        let plain = is_secure(&headers, state.reached) && !came_by_tls(&headers, state.reached);
        if plain { Lost::Plain } else { Lost::Withheld }
    });
    page::html(&SignInPage {
        next,
        wrong: None,
        lost,
    })
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
            let wrong = "This key is unknown, revoked or expired.".to_owned();
            return Ok(again(StatusCode::UNPROCESSABLE_ENTITY, next, wrong));
        }
        // Too many wrong ones from the same network.
        Err(problem) => return Ok(later(problem, next)),
    };
    if let Err(Wait(wait)) = state.guard.sign_in(key.id) {
        return Ok(later(Problem::too_many_sign_ins(wait), next));
    }
    signed_in(&state, &headers, key.id, &next).await
}

/// `GET /sign-in/{link}`.
pub async fn with_link(
    State(state): State<AdminState>,
    Path(link): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    // Whoever only looks whether it is there does not use it up.
    if method == Method::HEAD {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let Some(key) = state.console.follow_link(&link) else {
        if visitor::signed_in(&headers, &state).is_some() {
            return Ok(Redirect::to("/").into_response());
        }
        let wrong = "This link was used already, or is too old. Sign in with an API key instead.".to_owned();
        return Ok(again(StatusCode::UNPROCESSABLE_ENTITY, "/".to_owned(), wrong));
    };
    signed_in(&state, &headers, key, "/").await
}

/// The form once more, with what was wrong.
fn again(status: StatusCode, next: String, wrong: String) -> Response {
    let wrong = Some(wrong);
    let lost = None;
    page::html_with(status, &SignInPage { next, wrong, lost })
}

/// The same where it was not looked at: what is said of the wait, a program is told as well.
fn later(problem: Problem, next: String) -> Response {
    let mut page = again(problem.status(), next, problem.detail().to_owned());
    let said = problem.into_response();
    let wait = said.headers().get(header::RETRY_AFTER).cloned();
    page.headers_mut()
        .extend(wait.map(|wait| (header::RETRY_AFTER, wait)));
    page
}

/// `POST /sign-out`.
pub async fn out(
    State(state): State<AdminState>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Refused> {
    state
        .control
        .close_console_session(form.visitor.session())
        .await?;
    // Whichever it has.
    let gone = [false, true].map(|secure| {
        let mut gone = Cookie::new(visitor::cookie_name(&headers, secure), "");
        gone.set_path("/");
        gone.set_secure(secure);
        gone.make_removal();
        set_cookie(&gone)
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
    let secure = is_secure(headers, state.reached);
    let mut cookie = Cookie::new(visitor::cookie_name(headers, secure), session.text);
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Strict);
    cookie.set_secure(secure);
    let left_s = (session.expires_ms - clock::unix_ms()) / 1000;
    cookie.set_max_age(time::Duration::seconds(left_s));
    let back = Redirect::to(&format!("{}&{SENT}=1", address(next)));
    Ok((set_cookie(&cookie), back).into_response())
}

/// The address at which one signs in to go on to `next`.
pub fn address(next: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", next)
        .finish();
    format!("/sign-in?{query}")
}

fn set_cookie(cookie: &Cookie<'_>) -> [(header::HeaderName, HeaderValue); 1] {
    let value =
        HeaderValue::from_str(&cookie.to_string()).expect("a cookie of Base64 and attributes is a header");
    [(header::SET_COOKIE, value)]
}

/// Whether the browser is to send the cookie over TLS only. It is, wherever that can work:
///
/// - On its own machine there is no TLS to ask for, and not every browser keeps a `Secure` cookie there.
/// - From other machines a listener of this machine alone is reached through something that speaks TLS.
/// - Where `admin.insecure_plaintext` lets plain HTTP in from anywhere, TLS is asked of those who came by it. Of others it
///   cannot be: they would not send the cookie, which is as readable on the way as the key that they have just sent.
///
/// What a request says of itself decides only about the cookie that is its own answer.
fn is_secure(headers: &HeaderMap, reached: Reached) -> bool {
    match reached {
        Reached::Tls => true,
        Reached::PlainHere => !is_loopback(headers),
        Reached::PlainAnywhere => came_by_tls(headers, reached),
    }
}

/// Whether the browser spoke TLS, to the gateway or to something before it. A proxy says so (`X-Forwarded-Proto`), or the
/// browser does: by its `Origin`, or by headers that it sends to addresses it trusts, which are those with TLS and its own
/// machine (W3C Fetch Metadata, section 2).
fn came_by_tls(headers: &HeaderMap, reached: Reached) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = said("x-forwarded-proto").and_then(|protocols| protocols.split(',').next());
    reached == Reached::Tls
        || forwarded.is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("https"))
        || said("origin").is_some_and(|origin| origin.starts_with("https://"))
        || (said("sec-fetch-site").is_some() && !is_loopback(headers))
}

/// Whether the browser speaks to its own machine.
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

/// The field of the address by which a browser comes back that has been given a cookie.
const SENT: &str = "sent";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, header};

    use super::{Reached, is_loopback, is_secure, own_path};

    #[test]
    fn tls_is_asked_for_wherever_that_can_work() {
        let here = ("host", "127.0.0.1:8080");
        let away = ("host", "gateway.example:8080");
        let proxied = ("x-forwarded-proto", "https");
        for (reached, headers, secure) in [
            (Reached::Tls, &[here][..], true),
            (Reached::Tls, &[away], true),
            (Reached::PlainHere, &[here], false),
            (Reached::PlainHere, &[away], true),
            (Reached::PlainHere, &[away, proxied], true),
            (Reached::PlainAnywhere, &[here], false),
            (Reached::PlainAnywhere, &[away], false),
            (Reached::PlainAnywhere, &[away, proxied], true),
            (
                Reached::PlainAnywhere,
                &[away, ("x-forwarded-proto", "HTTPS, http")],
                true,
            ),
            (
                Reached::PlainAnywhere,
                &[away, ("x-forwarded-proto", "http")],
                false,
            ),
            (
                Reached::PlainAnywhere,
                &[away, ("origin", "https://gateway.example")],
                true,
            ),
            (
                Reached::PlainAnywhere,
                &[away, ("origin", "http://gateway.example")],
                false,
            ),
            (Reached::PlainAnywhere, &[away, ("origin", "null")], false),
            (
                Reached::PlainAnywhere,
                &[away, ("sec-fetch-site", "same-origin")],
                true,
            ),
            (
                Reached::PlainAnywhere,
                &[here, ("sec-fetch-site", "same-origin")],
                false,
            ),
        ] {
            let named = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            let map = HeaderMap::from_iter(named);
            assert_eq!(is_secure(&map, reached), secure, "{reached:?} {headers:?}");
        }
    }

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
