//! The query of a call: which parameters it takes, each once, each readable. What nobody would look at is an error and
//! not passed over: who misspells a filter must not be shown everything.

use std::collections::BTreeSet;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{FieldError, Problem};

/// What a call takes, by its method and its route as it is written in [`super::router`], below the project; every other
/// call takes nothing.
pub const ACCEPTED: &[(Method, &str, &[&str])] = &[
    (Method::GET, "/packages", &["name", "limit", "pageToken"]),
    (
        Method::GET,
        "/packages/{package}/artifacts",
        &["limit", "pageToken"],
    ),
    (Method::GET, "/cohorts", &["name", "limit", "pageToken"]),
    (
        Method::GET,
        "/cohorts/{cohort}/deployments",
        &["limit", "pageToken"],
    ),
    (
        Method::GET,
        "/devices",
        &[
            "name",
            "cohort",
            "tag",
            "search",
            "online",
            "state",
            "version",
            "limit",
            "pageToken",
        ],
    ),
    (Method::POST, "/devices:import", &["update", "allowSequenceBack"]),
    (
        Method::GET,
        "/devices:export",
        &[
            "format", "name", "cohort", "tag", "search", "online", "state", "version",
        ],
    ),
    (
        Method::GET,
        "/devices/{device}/events",
        &["type", "limit", "pageToken"],
    ),
    (
        Method::GET,
        "/devices/{device}/credentials",
        &["limit", "pageToken"],
    ),
    (Method::GET, "/events", &["lastEventId"]),
    (Method::GET, "/figures/history", &["span"]),
    (
        Method::GET,
        "/audit",
        &[
            "actor",
            "action",
            "subject",
            "since",
            "until",
            "limit",
            "pageToken",
        ],
    ),
    (Method::GET, "/sessions", &["limit", "pageToken"]),
    (
        Method::GET,
        "/sessions/failures",
        &["reason", "identity", "limit", "pageToken"],
    ),
    (Method::GET, "/device-cas", &["name", "limit", "pageToken"]),
    (Method::GET, "/keys", &["limit", "pageToken"]),
];

/// Refuses a call of the API whose query holds what the call does not take. Not a probe: what asks for one may add to its
/// address what it likes, and must not find the gateway dead for it. What is nowhere is told that it is nowhere.
pub async fn refuse_unknown(request: Request, next: Next) -> Response {
    if let Some(query) = request.uri().query() {
        let route = request.extensions().get::<MatchedPath>();
        if let Some(below) = route.and_then(|route| route.as_str().strip_prefix(super::PROJECT))
            && let Err(problem) = check(query, accepted(request.method(), below))
        {
            return problem.into_response();
        }
    }
    next.run(request).await
}

fn accepted(method: &Method, below: &str) -> &'static [&'static str] {
    // What is answered to HEAD is what GET would be answered.
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    ACCEPTED
        .iter()
        .find(|(of, route, _)| of == method && *route == below)
        .map_or(&[], |(_, _, names)| names)
}

fn check(query: &str, accepted: &[&str]) -> Result<(), Problem> {
    let takes = || match accepted {
        [] => "no parameters here".to_owned(),
        names => format!("{}, each once", names.join(", ")),
    };
    let wrong = |field: &str, detail: &str, value: &str| FieldError {
        field: field.to_owned(),
        detail: detail.to_owned(),
        value: Some(value.to_owned()),
        accepted: Some(takes()),
    };
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(_)) = (decoded(name), decoded(value)) else {
            errors.push(wrong(
                name,
                "the percent-encoding is not that of UTF-8 text",
                value,
            ));
            continue;
        };
        if !accepted.contains(&name.as_str()) {
            errors.push(wrong(&name, "the parameter is not known here", value));
        } else if !seen.insert(name.clone()) {
            errors.push(wrong(&name, "the parameter is given more than once", value));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    errors.truncate(ERRORS_SHOWN);
    Err(Problem::unknown_parameters(errors))
}

/// `application/x-www-form-urlencoded`, if it is one of text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A parameter that says yes or no; `None` where it is not given.
pub fn flag(name: &str, text: Option<&str>) -> Result<Option<bool>, Problem> {
    match text {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Problem::fields(vec![FieldError {
            field: name.into(),
            detail: "it is neither true nor false".into(),
            value: Some(other.into()),
            accepted: Some("true or false".into()),
        }])),
    }
}

/// Lines of an error: who sends hundreds of parameters finds the mistake in the first ones.
const ERRORS_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_and_other_bytes_are_not_text() {
        for (text, expected) in [
            ("a+b%20c", Some("a b c")),
            ("%F0%9f%92%A1", Some("💡")),
            ("", Some("")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
            ("%c0%af", None),
            ("%ed%a0%80", None),
        ] {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }
}
