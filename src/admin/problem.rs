//! Every error of the API, as `application/problem+json` (RFC 9457). The one place with HTTP statuses for errors.
//!
//! `type` is a URN with a stable last word; `errors[]` holds a line for each field that is wrong: where it is, what is
//! wrong with which value, and what would be accepted.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::error;

use super::shapes;
use crate::control::{ControlError, UploadError};
use crate::fleet::{Invalid, Refusal, RefusalClass};

/// What a call is answered when it is refused or fails.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// Stable, for programs.
    name: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Serialize)]
pub struct FieldError {
    /// A JSON pointer into the body (RFC 6901), or the name of a path or query parameter or header.
    pub field: String,
    /// What is wrong.
    pub detail: String,
    /// The value given, where it is not a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
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

impl Problem {
    fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            name,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            headers: Vec::new(),
        }
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

    /// 408: the body did not arrive in time.
    pub fn too_slow(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail)
    }

    /// 413: more bytes than are taken.
    pub fn too_large(what: &str, limit_bytes: u64) -> Problem {
        let mut problem = Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("{what} is larger than the {limit_bytes} bytes that are accepted"),
        );
        problem.members.insert("limitBytes".into(), json!(limit_bytes));
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
            problem
                .errors
                .push(FieldError::other(field, problem.detail.clone()));
        }
        problem
    }

    fn from_refusal(refusal: &Refusal) -> Problem {
        if let Refusal::Invalid(invalid) = refusal {
            return Problem::invalid(invalid.what, invalid);
        }
        let status = match refusal.class() {
            RefusalClass::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalClass::Unknown => StatusCode::NOT_FOUND,
            RefusalClass::Conflict => StatusCode::CONFLICT,
        };
        let mut problem = Problem::new(status, refusal.name(), refusal.to_string());
        match refusal {
            Refusal::Stale {
                active, difference, ..
            } => {
                problem.members.insert("activeDeploymentId".into(), json!(active));
                problem
                    .members
                    .insert("changes".into(), shapes::difference(difference));
            }
            Refusal::InUse { by, more, .. } => {
                problem.members.insert("neededBy".into(), json!(by));
                problem.members.insert("more".into(), json!(more));
            }
            Refusal::OtherBytes { stored, given, .. } => {
                problem
                    .members
                    .insert("storedSha256".into(), json!(stored.to_string()));
                problem
                    .members
                    .insert("givenSha256".into(), json!(given.to_string()));
            }
            Refusal::ManifestTooLarge { bytes, limit } => {
                problem.members.insert("bytes".into(), json!(bytes));
                problem.members.insert("limitBytes".into(), json!(limit));
            }
            Refusal::Invalid(_)
            | Refusal::Unknown { .. }
            | Refusal::Taken { .. }
            | Refusal::IdentityTaken { .. }
            | Refusal::EmptyDeployment
            | Refusal::PackageTwice { .. }
            | Refusal::TooMany { .. }
            | Refusal::SequenceExhausted
            | Refusal::LastAdminKey { .. } => {}
        }
        problem
    }

    fn from_upload(error: &UploadError) -> Problem {
        match error {
            UploadError::TooLarge { limit } => Problem::too_large("the artifact", *limit),
            UploadError::Empty => {
                let detail = error.to_string();
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "empty-artifact", detail)
            }
            UploadError::WrongDigest { .. } => {
                let detail = error.to_string();
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch", detail)
            }
            UploadError::Io(_) => {
                error!(
                    error = error as &dyn std::error::Error,
                    "an upload could not be stored"
                );
                if error.is_disk_full() {
                    return Problem::disk_full();
                }
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
            "too-slow" => "The body did not arrive in time",
            "too-large" => "The body is too large",
            "unsupported-media-type" => "The body is of another kind than is accepted",
            "unavailable" => "The gateway cannot do this at the moment",
            "disk-full" => "The disk is full",
            "database-damaged" => "The database is damaged",
            "store-failed" => "The change could not be written to disk",
            "name-taken" => "The name is taken",
            "identity-taken" => "The PSK identity is taken",
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
                error!(error = &error as &dyn std::error::Error, "the store failed");
                if cause.is_disk_full() {
                    Problem::disk_full()
                } else if cause.is_damage() {
                    Problem::database_damaged(cause.to_string())
                } else {
                    Problem::store_failed(error.to_string())
                }
            }
            ControlError::ShuttingDown => Problem::unavailable(error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.title();
        let mut body = self.members;
        body.insert("type".into(), json!(format!("urn:tessera:problem:{}", self.name)));
        body.insert("title".into(), json!(title));
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        if !self.errors.is_empty() {
            body.insert("errors".into(), json!(self.errors));
        }
        let mut response = (self.status, Json(Value::Object(body))).into_response();
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
