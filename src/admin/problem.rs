//! Every error of the API, as `application/problem+json` (RFC 9457). The one place with HTTP statuses for errors.
//!
//! `type` is a URN with a stable last word; `errors[]` holds a line for each field that is wrong: where it is, what is
//! wrong with which value, and what would be accepted.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use super::shapes::{self, Answer, Difference, SequenceBack};
use crate::control::{ControlError, UploadError};
use crate::fleet::{DeploymentId, Differing, Digest, Invalid, Refusal, RefusalClass, SequenceGoesBack};

/// What a call is answered when it is refused or fails.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// Stable, for programs.
    name: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    /// What it says beyond that, each in problems of some kinds.
    pub members: Box<Members>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What problems of some kinds say beyond what all of them say.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProblemMembers)]
pub struct Members {
    /// `too-large`, `address-too-long`, `manifest-too-large`: how many bytes are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit_bytes: Option<u64>,
    /// `manifest-too-large`: how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes: Option<u64>,
    /// `sequence-goes-back`: the first few devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lint: Option<Vec<SequenceBack>>,
    /// `stale-review`: what is active; null: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DeploymentId>)]
    active_deployment_id: Option<Option<DeploymentId>>,
    /// `stale-review`: what the deployment would change against that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    changes: Option<Difference>,
    /// `in-use`: who needs it, the first few.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    needed_by: Option<Vec<String>>,
    /// `in-use`: how many more do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    more: Option<u64>,
    /// `other-bytes`: of the artifact that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stored_sha256: Option<Digest>,
    /// `other-bytes`: of what was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    given_sha256: Option<Digest>,
    /// In an import: the first row that was not committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub line: Option<u64>,
}

/// Why a call was refused or failed (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails {
    /// The same for all problems of a kind.
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    #[serde(flatten)]
    member: ProblemMember,
}

/// A problem as a part of a larger answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemMember {
    /// A URN whose last word is stable, for programs.
    #[serde(rename = "type")]
    #[schema(pattern = "^urn:tessera:problem:[a-z-]+$")]
    kind: String,
    /// What was wrong, with which value, and what would be accepted.
    detail: String,
    /// A line for each field that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(flatten)]
    members: Box<Members>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the body (RFC 6901), or the name of a path or query parameter or header.
    pub field: String,
    /// What is wrong.
    pub detail: String,
    /// The value given, where it is not a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub value: Option<String>,
    /// What would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub accepted: Option<String>,
}

impl FieldError {
    /// `field` holds an invalid value.
    pub fn invalid(field: impl Into<String>, invalid: &Invalid) -> FieldError {
        FieldError {
            field: field.into(),
            detail: format!("the {} {}", invalid.what, invalid.wrong),
            value: Some(invalid.value.clone()),
            accepted: Some(invalid.accepted.to_owned()),
        }
    }

    /// `field` names what is not there, or is not possible.
    pub fn refused(field: impl Into<String>, refusal: &Refusal) -> FieldError {
        match refusal {
            Refusal::Invalid(invalid) => FieldError::invalid(field, invalid),
            Refusal::Unknown {
                kind,
                value,
                accepted,
            } => FieldError {
                field: field.into(),
                detail: format!("there is no {kind} {value:?}"),
                value: Some(value.clone()),
                // What there is, as it may be written here.
                accepted: Some(
                    accepted
                        .strip_prefix("there are: ")
                        .unwrap_or(accepted)
                        .to_owned(),
                ),
            },
            other => FieldError::other(field, other.to_string()),
        }
    }

    /// A part of a device that exists is not as a file says.
    fn differs(differing: &Differing) -> FieldError {
        FieldError {
            field: differing.field.into(),
            detail: format!("it is {} there", differing.stored),
            value: Some(differing.given.clone()),
            accepted: Some("what is there, or any value with update=true".into()),
        }
    }

    /// `field` holds something else than it should.
    pub fn other(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError {
            field: field.into(),
            detail: detail.into(),
            value: None,
            accepted: None,
        }
    }
}

impl FieldError {
    fn shown(&self) -> FieldError {
        FieldError {
            field: shown(&self.field, VALUE_CHARS),
            detail: shown(&self.detail, DETAIL_CHARS),
            value: self.value.as_deref().map(|value| shown(value, VALUE_CHARS)),
            accepted: self.accepted.as_deref().map(|text| shown(text, DETAIL_CHARS)),
        }
    }
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            name,
            detail: detail.into(),
            errors: Vec::new(),
            members: Box::default(),
            headers: Vec::new(),
        }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, in a sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// And that.
    pub fn and(mut self, more: &str) -> Problem {
        self.detail = format!("{}; {more}", self.detail);
        self
    }

    /// What is wrong in which field.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// 400: the request cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed-request", detail)
    }

    /// 422: the request can be read, and its fields hold what they must not.
    pub fn fields(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.field, only.detail),
            many => format!("{} fields are wrong", many.len()),
        };
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", detail);
        problem.errors = errors;
        problem
    }

    /// 422 for one value.
    pub fn invalid(field: impl Into<String>, invalid: &Invalid) -> Problem {
        let mut problem = Problem::fields(vec![FieldError::invalid(field, invalid)]);
        problem.detail = invalid.to_string();
        problem
    }

    /// 401: who asks is not known.
    pub fn unauthenticated(detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
        problem
            .headers
            .push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        problem
    }

    /// 403: who asks may not.
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 405; the `Allow` header is the router's.
    pub fn method_not_allowed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    /// With an `Allow` header of its own, where the router knows more methods than are allowed.
    #[must_use]
    pub fn allowing(mut self, methods: &'static str) -> Problem {
        self.headers
            .push((header::ALLOW, HeaderValue::from_static(methods)));
        self
    }

    /// 400: the query holds what nobody here would look at.
    pub fn unknown_parameters(errors: Vec<FieldError>) -> Problem {
        let detail = errors.first().map_or_else(String::new, |first| {
            let accepted = first.accepted.as_deref().unwrap_or_default();
            format!("{}: {}; accepted: {accepted}", first.field, first.detail)
        });
        let mut problem = Problem::new(StatusCode::BAD_REQUEST, "unknown-parameter", detail);
        problem.errors = errors;
        problem
    }

    /// 408: the body did not arrive in time.
    pub fn too_slow(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail).closing()
    }

    /// 409: a request with the same `Idempotency-Key` is under way, or its answer is gone.
    pub fn same_key(name: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, name, detail)
    }

    /// 414: an address that is longer than any name could make it.
    pub fn address_too_long(bytes: usize, limit_bytes: usize) -> Problem {
        let detail = format!("the address has {bytes} bytes; accepted: {limit_bytes}");
        let mut problem = Problem::new(StatusCode::URI_TOO_LONG, "address-too-long", detail).closing();
        problem.members.limit_bytes = Some(limit_bytes as u64);
        problem
    }

    /// 429: too many wrong keys came from where this one comes from.
    pub fn too_many_guesses(wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!(
            "this key was not looked at, as too many wrong ones have come from this address; accepted: another attempt in \
             {seconds} s, or a right key that the gateway has made, or one that was good from here within a day"
        );
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-wrong-keys", detail);
        problem.headers.push((header::RETRY_AFTER, seconds.into()));
        problem
    }

    /// 429: too many have signed in with the same key.
    pub fn too_many_sign_ins(wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!(
            "too many have signed in with this key of late; nobody was signed in. Accepted: another attempt in {seconds} s, or \
             a key of your own"
        );
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-sign-ins", detail);
        problem.headers.push((header::RETRY_AFTER, seconds.into()));
        problem
    }

    /// 422: an `Idempotency-Key` that was used for something else.
    pub fn other_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
    }

    /// With a `Connection: close`: the rest of the body will not be read.
    fn closing(mut self) -> Problem {
        self.headers
            .push((header::CONNECTION, HeaderValue::from_static("close")));
        self
    }

    /// 413: more bytes than are taken.
    pub fn too_large(what: &str, limit_bytes: u64) -> Problem {
        let mut problem = Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("{what} is larger than the {limit_bytes} bytes that are accepted"),
        )
        .closing();
        problem.members.limit_bytes = Some(limit_bytes);
        problem
    }

    /// 413: an artifact of more bytes than `admin.max_artifact_bytes`.
    pub fn artifact_too_large(limit_bytes: u64) -> Problem {
        let mut problem = Problem::too_large("the artifact", limit_bytes);
        problem.detail = format!(
            "the artifact is larger than the {} that are accepted ({limit_bytes} bytes; admin.max_artifact_bytes in the \
             gateway's configuration)",
            mebibytes(limit_bytes)
        );
        problem
    }

    /// 415: a body of a kind that is not taken here.
    pub fn unsupported_media_type(given: &str, accepted: &str) -> Problem {
        let detail = format!("the body is {given:?}; accepted: {accepted}");
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            detail,
        )
    }

    /// 409: devices would see the sequence number fall, and nothing was said about that.
    pub fn sequence_back(back: &[SequenceGoesBack], more: u64) -> Problem {
        let first = back.first().map(ToString::to_string).unwrap_or_default();
        let others = back.len().saturating_sub(1) as u64 + more;
        let others = match others {
            0 => String::new(),
            n => format!(", and {n} more likewise"),
        };
        let mut problem = Problem::new(
            StatusCode::CONFLICT,
            SequenceGoesBack::RULE,
            format!(
                "{first}{others}; deploy the same set to that cohort anew, which gives it a higher number, or say \
                 allowSequenceBack; nothing was changed"
            ),
        );
        problem.members.lint = Some(back.iter().map(shapes::sequence_back).collect());
        problem
    }

    /// 400 for one value that says how the call is to be carried out.
    pub fn unreadable(error: FieldError) -> Problem {
        let mut problem = Problem::malformed(format!("{}: {}", error.field, error.detail));
        problem.errors = vec![error];
        problem
    }

    /// 422: the body names things that do not exist.
    pub fn unknown_references(errors: Vec<FieldError>) -> Problem {
        let mut problem = Problem::fields(errors);
        problem.name = "unknown-reference";
        problem
    }

    /// As a part of a larger answer.
    pub fn member(self) -> ProblemMember {
        ProblemMember {
            kind: format!("urn:tessera:problem:{}", self.name),
            detail: self.detail,
            errors: self.errors,
            members: self.members,
        }
    }

    /// 503: try again later.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        problem
            .headers
            .push((header::RETRY_AFTER, HeaderValue::from_static("1")));
        problem
    }

    /// A refusal of something that the body names: what does not exist is then wrong with the body (422), and not
    /// with the address (404). `locate` says in which field a kind of thing was named.
    pub fn in_body(refusal: &Refusal, field: &str) -> Problem {
        let mut problem = Problem::from_refusal(refusal);
        if problem.status == StatusCode::NOT_FOUND {
            problem.status = StatusCode::UNPROCESSABLE_ENTITY;
            problem.name = "unknown-reference";
        }
        if problem.errors.is_empty() && problem.status == StatusCode::UNPROCESSABLE_ENTITY {
            problem.errors.push(FieldError::refused(field, refusal));
        }
        problem
    }

    fn from_refusal(refusal: &Refusal) -> Problem {
        if let Refusal::Invalid(invalid) = refusal {
            let field = match invalid.what {
                // Of the one credential that a body is; where there are several, the caller knows of which.
                "PSK identity" => "/identity",
                what => what,
            };
            return Problem::invalid(field, invalid);
        }
        let status = match refusal.class() {
            RefusalClass::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalClass::Unknown => StatusCode::NOT_FOUND,
            RefusalClass::Conflict => StatusCode::CONFLICT,
            RefusalClass::Unauthenticated => return Problem::unauthenticated(refusal.to_string()),
        };
        let mut problem = Problem::new(status, refusal.name(), refusal.to_string());
        match refusal {
            Refusal::Stale {
                active, difference, ..
            } => {
                problem.members.active_deployment_id = Some(*active);
                problem.members.changes = Some(shapes::difference(difference));
            }
            Refusal::InUse { by, more, .. } => {
                problem.members.needed_by = Some(by.clone());
                problem.members.more = Some(*more);
            }
            Refusal::OtherBytes { stored, given, .. } => {
                problem.members.stored_sha256 = Some(*stored);
                problem.members.given_sha256 = Some(*given);
            }
            Refusal::ManifestTooLarge { bytes, limit } => {
                problem.members.bytes = Some(*bytes as u64);
                problem.members.limit_bytes = Some(*limit as u64);
            }
            Refusal::SequenceGoesBack(back) => {
                problem.members.lint = Some(vec![shapes::sequence_back(back)]);
            }
            Refusal::DeviceDiffers { differences, .. } => {
                problem.errors = differences.iter().map(FieldError::differs).collect();
            }
            Refusal::SecretDiffers { .. }
            | Refusal::Invalid(_)
            | Refusal::Unknown { .. }
            | Refusal::Taken { .. }
            | Refusal::IdentityTaken { .. }
            | Refusal::CertificateRevoked { .. }
            | Refusal::EmptyDeployment
            | Refusal::PackageTwice { .. }
            | Refusal::TooMany { .. }
            | Refusal::SequenceExhausted
            | Refusal::KeyEnded { .. }
            | Refusal::LastAdminKey { .. } => {}
        }
        problem
    }

    fn from_upload(error: &UploadError) -> Problem {
        match error {
            UploadError::TooLarge { limit } => Problem::artifact_too_large(*limit),
            UploadError::Empty => {
                let detail = error.to_string();
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "empty-artifact", detail)
            }
            UploadError::WrongDigest { .. } => {
                let detail = error.to_string();
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch", detail)
            }
            UploadError::Io(_) => {
                if error.is_disk_full() {
                    return Problem::disk_full();
                }
                error!(
                    error = error as &dyn std::error::Error,
                    "an upload could not be stored"
                );
                Problem::store_failed(error.to_string())
            }
        }
    }

    fn title(&self) -> &'static str {
        match self.name {
            "malformed-request" => "The request cannot be read",
            "invalid-value" => "A value is not accepted",
            "unauthenticated" => "Who asks is not known",
            "forbidden" => "The key does not allow this",
            "not-found" => "There is no such thing",
            "unknown-reference" => "The body names something that does not exist",
            "method-not-allowed" => "This cannot be done to it",
            "unknown-parameter" => "The query holds what is not known here",
            "address-too-long" => "The address is too long",
            "idempotency-key-in-use" => "The same request is under way",
            "idempotency-answer-lost" => "The request took effect before; its answer is gone",
            "idempotency-key-reused" => "The Idempotency-Key was used for something else",
            "too-many-wrong-keys" => "Wait before the next API key",
            "too-many-sign-ins" => "Too many have signed in with this key",
            "too-slow" => "The body did not arrive in time",
            "too-large" => "The body is too large",
            "unsupported-media-type" => "The body is of another kind than is accepted",
            "unavailable" => "The gateway cannot do this at the moment",
            "disk-full" => "The disk is full",
            "database-damaged" => "The database is damaged",
            "store-failed" => "The change could not be written to disk",
            "name-taken" => "The name is taken",
            "identity-taken" => "The PSK identity is taken",
            "certificate-revoked" => "The certificate was revoked",
            "other-bytes" => "An artifact is immutable",
            "empty-artifact" => "An artifact has at least one byte",
            "digest-mismatch" => "The bytes are not those declared",
            "in-use" => "Something else needs it",
            "stale-review" => "Somebody deployed in the meantime",
            "empty-deployment" => "A deployment needs a package",
            "package-twice" => "A package is named twice",
            "manifest-too-large" => "Devices could not take the manifest",
            "too-many" => "Too many",
            "sequence-exhausted" => "No sequence number is left",
            "last-admin-key" => "The last admin key stays",
            "sequence-goes-back" => "A device would see the sequence number fall",
            "device-differs" => "The device exists with other content",
            "secret-differs" => "The device has the identity with another secret",
            _ => "The request was refused",
        }
    }

    /// 507: no space is left on the disk.
    pub fn disk_full() -> Problem {
        Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk-full",
            "no space is left on the disk of the data folder; nothing was stored. Free some or enlarge the disk, and try again: \
             the gateway need not be restarted",
        )
    }

    /// 500: the database is not one any more.
    fn database_damaged(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "database-damaged", detail)
    }

    /// 500: the disk says no.
    pub fn store_failed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "store-failed", detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::from_refusal(&refusal)
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Problem {
        Problem::from_upload(&error)
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Problem {
        match error {
            ControlError::Refused(refusal) => refusal.into(),
            ControlError::Upload(error) => Problem::from_upload(&error),
            ControlError::StoreFailed(ref cause) => {
                // Readiness and the writer's log say that: whoever asks again and again would fill the disk with it.
                if cause.is_disk_full() {
                    return Problem::disk_full();
                }
                error!(error = &error as &dyn std::error::Error, "the store failed");
                if cause.is_damage() {
                    Problem::database_damaged(cause.to_string())
                } else {
                    Problem::store_failed(error.to_string())
                }
            }
            ControlError::TooManyUploads(_)
            | ControlError::TooManyOwnUploads(..)
            | ControlError::ShuttingDown => Problem::unavailable(error.to_string()),
        }
    }
}

/// With one digit behind the point where there is something behind it.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} MiB"),
        (whole, tenth) => format!("{whole}.{tenth} MiB"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let details = ProblemDetails {
            title: self.title(),
            status: self.status.as_u16(),
            member: ProblemMember {
                kind: format!("urn:tessera:problem:{}", self.name),
                detail: shown(&self.detail, DETAIL_CHARS),
                errors: self.errors.iter().map(FieldError::shown).collect(),
                members: self.members,
            },
        };
        let mut response = (self.status, Answer(details)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

/// A text in which a caller's own words may stand, as it is answered: of bounded length, its middle left out, because
/// what would be accepted stands at the end; and without control characters, which would be orders to a terminal.
fn shown(text: &str, chars: usize) -> String {
    let escaped = |c: char| -> String {
        // Isolates and overrides turn around what is read after them.
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    let count = text.chars().count();
    if count <= chars {
        return text.chars().map(escaped).collect();
    }
    let head = text.chars().take(chars / 2).map(escaped);
    let tail = text.chars().skip(count - chars / 2).map(escaped);
    head.chain(std::iter::once(" … ".to_owned()))
        .chain(tail)
        .collect()
}

/// How much of a detail is answered: the longest that is ours has some 400 characters.
const DETAIL_CHARS: usize = 1000;

/// How much of a value is answered: the longest that could be right has 64 bytes; a digest's header some more.
const VALUE_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_gives_no_orders() {
        assert_eq!(shown("lamp-1, 💡 \"x\"", 40), "lamp-1, 💡 \"x\"");
        assert_eq!(
            shown("a\u{1b}[2J\u{9b}b\0\u{202e}c\n", 40),
            "a\\u{1b}[2J\\u{9b}b\\u{0}\\u{202e}c\\n"
        );
        let long = format!("unknown field `{}`, expected `name`", "x".repeat(1 << 20));
        let short = shown(&long, 60);
        assert!(
            short.starts_with("unknown field `xxx") && short.ends_with("expected `name`"),
            "{short}"
        );
        assert_eq!(short.chars().count(), 63);
    }
}
