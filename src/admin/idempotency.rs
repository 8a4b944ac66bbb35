//! `Idempotency-Key`: a `POST` that can be sent again when its answer did not arrive, and still has one effect.
//!
//! 1. The key is looked up for whoever asks, which is the API key, and in the project of the address. Of another request
//!    it is a 422; while the first one is under way, a 409.
//! 2. The first one runs in a task of its own: a client that hangs up does not end it, and finds its answer later.
//! 3. What took effect is answered again for 24 h, from the store. A refusal is not kept, because nothing was changed:
//!    the same request is decided afresh.
//! 4. A secret is shown once. The answer that is kept is without it, and says so in `notShownAgain`.
//!
//! An import takes no key ([`refuse`]): it is as many requests as it has rows, and the same file again changes nothing.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::AdminState;
use super::auth;
use super::body;
use super::problem::{FieldError, Problem};
use crate::control::{Before, Claim, KeptAnswer, OnceKey};
use crate::fleet::{ApiKey, Digest, ProjectId, Role};

/// Passes a request on, unless it came before.
pub async fn once(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    match named(&state, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn named(state: &AdminState, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let name = name(&parts.headers)?;
    let (project, pass) = auth::admit(&mut parts, state, Role::Read).await?;
    let asking = (project, pass.key);
    let bytes = body::read(Request::from_parts(parts.clone(), body), state).await?;
    let claim = match state.control.once(key(&asking, &name, &parts, &bytes)).await? {
        Before::New(claim) => claim,
        Before::UnderWay => {
            return Err(Problem::same_key(
                "idempotency-key-in-use",
                format!(
                    "a request with the {HEADER} {name:?} is under way; ask again when it has been answered"
                ),
            ));
        }
        Before::Other => {
            return Err(Problem::other_request(format!(
                "the {HEADER} {name:?} was used for another request within the last 24 h; accepted: the same request, \
                 or a key of its own for each"
            )));
        }
        Before::AnswerLost => {
            return Err(Problem::same_key(
                "idempotency-answer-lost",
                format!(
                    "the request with the {HEADER} {name:?} took effect, and its answer is not kept: it had more than \
                     {ANSWER_BYTES} bytes, or the gateway was stopped meanwhile; look at what it made"
                ),
            ));
        }
        Before::Answered(kept) => return Ok(again(kept)),
    };
    let request = Request::from_parts(parts, Body::from(bytes));
    let answer = tokio::spawn(async move {
        let answer = claim.carry_out(next.run(request)).await;
        keep(claim, answer).await
    });
    answer
        .await
        .map_err(|_| Problem::unavailable("the request ended by itself; whether it took effect can be seen"))
}

/// Refuses a key where there is no promise to keep.
pub fn refuse(headers: &HeaderMap, accepted: &'static str) -> Result<(), Problem> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(());
    };
    Err(Problem::fields(vec![FieldError {
        field: HEADER.as_str().into(),
        detail: "this call takes no such key; nothing was done".into(),
        value: Some(
            String::from_utf8_lossy(value.as_bytes())
                .chars()
                .take(NAME_BYTES)
                .collect(),
        ),
        accepted: Some(accepted.into()),
    }]))
}

/// What the caller calls the request.
fn name(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values
        .next()
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_name =
        (1..=NAME_BYTES).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    if is_name && values.next().is_none() {
        return Ok(value.to_owned());
    }
    Err(Problem::fields(vec![FieldError {
        field: HEADER.as_str().into(),
        detail: "the key is none, or there are several".into(),
        value: Some(value.into()),
        accepted: Some(format!(
            "one key of 1 to {NAME_BYTES} visible ASCII characters, such as a UUID"
        )),
    }]))
}

fn key((project, asking): &(ProjectId, Arc<ApiKey>), name: &str, parts: &Parts, body: &Bytes) -> OnceKey {
    let scope = Sha256::new()
        .chain_update(project.get().to_be_bytes())
        .chain_update(asking.id.get().to_be_bytes())
        .chain_update(name);
    // Lengths first, so that nothing can move from one part into the next. The target is the one below the project.
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let mut request = Sha256::new();
    for part in [target.as_bytes(), kind, body] {
        request.update((part.len() as u64).to_be_bytes());
        request.update(part);
    }
    OnceKey {
        by: asking.id,
        scope: Digest(scope.finalize().into()),
        request: Digest(request.finalize().into()),
    }
}

/// Keeps the answer, and passes it on as it is.
async fn keep(claim: Claim, answer: Response) -> Response {
    let status = answer.status();
    let length = answer.body().size_hint().exact();
    if status.is_success() && length.is_none_or(|length| length > ANSWER_BYTES as u64) {
        // That it took effect stays noted.
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return Problem::unavailable(format!("the answer broke off: {error}")).into_response(),
    };
    let kept = status.is_success().then(|| KeptAnswer {
        status: status.as_u16(),
        body: without_secrets(&bytes),
    });
    if let Err(error) = claim.answered(kept).await {
        warn!(
            error = &error as &dyn std::error::Error,
            "an answer could not be kept for its Idempotency-Key"
        );
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn again(kept: KeptAnswer) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = [(header::CONTENT_TYPE, "application/json"), (REPLAYED, "true")];
    (status, headers, kept.body).into_response()
}

/// An answer without what is shown once, and with where that stood.
fn without_secrets(answer: &[u8]) -> Vec<u8> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(answer) else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    take_secrets(&mut answer, "", &mut taken);
    if !taken.is_empty() {
        answer["notShownAgain"] = json!(taken);
    }
    answer.to_string().into_bytes()
}

fn take_secrets(value: &mut Value, at: &str, taken: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for name in SHOWN_ONCE {
                if members.remove(name).is_some() {
                    taken.push(format!("{at}/{name}"));
                }
            }
            // What is in there is the operator's own.
            for (name, member) in members.iter_mut().filter(|(name, _)| *name != "metadata") {
                take_secrets(member, &format!("{at}/{name}"), taken);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                take_secrets(item, &format!("{at}/{index}"), taken);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The header that names a request.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The names under which the API shows what it shows once: a device's secret, an API key.
const SHOWN_ONCE: [&str; 3] = ["secret", "secretHex", "key"];
/// A guess, several times a UUID.
const NAME_BYTES: usize = 255;
/// Longer answers are not kept: a deployment of 200 packages has some 40 KiB.
const ANSWER_BYTES: usize = 64 * 1024;
