//! `/packages/{package}/artifacts`: versions of a package, streamed in and out.
//!
//! An upload is hashed on its way to a temporary file. Only when all of it has arrived, fits the limit and has the declared
//! digest does it become an artifact; in every other case nothing is left behind.

use axum::body::Body as Stream;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::AdminState;
use super::auth::{Deployer, MAY_NOT_STAY, Onlooker, Reader};
use super::body::{Page, announced, broken_off, of_kind};
use super::problem::{FieldError, Problem};
use super::shapes::{self, Answer, Listed};
use crate::clock;
use crate::fleet::{ArtifactOutcome, Digest, PackageName, Version};

/// `PUT`: 201 for a new artifact, 200 where the same bytes are there already, 409 where others are.
pub async fn upload(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, package, version)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Stream,
) -> Result<(StatusCode, Answer<shapes::Artifact>), Problem> {
    let (package, version) = names(&package, &version)?;
    of_kind(&headers, "application/octet-stream")?;
    let declared = declared_digest(&headers)?;
    let limit = state.max_artifact_bytes;
    if announced(&headers).is_some_and(|bytes| bytes > limit) {
        return Err(Problem::artifact_too_large(limit));
    }
    state
        .control
        .view()
        .in_project(deployer.project)?
        .require_package(&package)?;

    let mut upload = state.control.begin_upload(&deployer.actor, limit).await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| broken_off(&error))?;
        // For whoever may not upload any more nothing more is written.
        state.control.view().allows(&deployer.actor, clock::unix_ms())?;
        upload.write(&chunk).await?;
    }
    let outcome = state
        .control
        .add_artifact(
            &deployer.actor,
            deployer.project,
            package,
            version,
            upload,
            declared,
        )
        .await?;
    let status = match &outcome {
        ArtifactOutcome::Added(_) => StatusCode::CREATED,
        ArtifactOutcome::Same(_) => StatusCode::OK,
    };
    Ok((status, Answer(shapes::artifact(outcome.artifact()))))
}

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Path((_, package)): Path<(String, String)>,
) -> Result<Listed<shapes::Artifact>, Problem> {
    let view = state.control.view();
    let package = view.in_project(reader.project)?.require_package(&package)?;
    let mut artifacts: Vec<_> = package.artifacts.values().collect();
    artifacts.sort_by_key(|artifact| std::cmp::Reverse(artifact.id));
    let (rows, next) = page.falling(artifacts.into_iter(), |artifact| artifact.id)?;
    let rows = rows.into_iter().map(|artifact| shapes::artifact(artifact));
    Ok(Listed::new(rows.collect(), next))
}

pub async fn show(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, package, version)): Path<(String, String, String)>,
) -> Result<Answer<shapes::Artifact>, Problem> {
    let view = state.control.view();
    let artifact = view
        .in_project(reader.project)?
        .require_artifact(&package, &version)?;
    Ok(Answer(shapes::artifact(artifact)))
}

/// The bytes.
pub async fn content(
    State(state): State<AdminState>,
    onlooker: Onlooker,
    Path((_, package, version)): Path<(String, String, String)>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let view = state.control.view();
    let artifact = view
        .in_project(onlooker.project)?
        .require_artifact(&package, &version)?;
    let (size, digest) = (artifact.size.get(), artifact.digest);
    let etag = format!("\"{digest}\"");
    let known = [
        (header::ETAG, etag.clone()),
        // It never changes, but who may have it does.
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    if has_already(&asked, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, known).into_response());
    }
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!(
                "attachment; filename=\"{}@{}\"",
                artifact.package, artifact.version
            ),
        ),
    ];
    let blob = state.control.open_blob(&digest).map_err(|error| {
        Problem::store_failed(format!(
            "the bytes of {}@{} cannot be read: {error}",
            artifact.package, artifact.version
        ))
    })?;
    drop(view);
    let pieces = stream::try_unfold(0_u64, move |offset| {
        let blob = blob.clone();
        let may_stay = onlooker.may_stay(&state);
        async move {
            if offset >= size {
                return Ok(None);
            }
            if !may_stay {
                return Err(std::io::Error::other(MAY_NOT_STAY));
            }
            let wanted = usize::try_from((size - offset).min(PIECE_BYTES)).unwrap_or(usize::MAX);
            let piece = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; wanted];
                blob.read_at(offset, &mut piece).map(|()| Bytes::from(piece))
            })
            .await
            .map_err(std::io::Error::other)??;
            Ok::<_, std::io::Error>(Some((piece, offset + wanted as u64)))
        }
    });
    Ok((known, headers, Stream::from_stream(pieces)).into_response())
}

/// Whether who asks has the representation with this entity tag: `If-None-Match` (RFC 9110, section 13.1.2), compared weakly.
fn has_already(asked: &HeaderMap, etag: &str) -> bool {
    let values = asked.get_all(header::IF_NONE_MATCH).iter();
    let tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tags.map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

pub async fn delete(
    State(state): State<AdminState>,
    deployer: Deployer,
    Path((_, package, version)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    let (package, version) = names(&package, &version)?;
    state
        .control
        .delete_artifact(&deployer.actor, deployer.project, package, version)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn names(package: &str, version: &str) -> Result<(PackageName, Version), Problem> {
    let package = PackageName::parse(package).map_err(|invalid| Problem::invalid("package", &invalid))?;
    let version = Version::parse(version).map_err(|invalid| Problem::invalid("version", &invalid))?;
    Ok((package, version))
}

/// The SHA-256 that the caller declares: `Content-Digest` or `Repr-Digest: sha-256=:BASE64:` (RFC 9530 sections 2 and 3)
/// or the older `Digest: sha-256=BASE64` (RFC 3230). Other algorithms beside it are passed over; a header without a
/// SHA-256 is an error, because who sends one believes that the bytes are checked.
fn declared_digest(headers: &HeaderMap) -> Result<Option<Digest>, Problem> {
    let mut declared = None;
    for name in ["content-digest", "repr-digest", "digest"] {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        if values.is_empty() {
            continue;
        }
        let text = values.join(", ");
        let wrong = |detail: &str| {
            Problem::fields(vec![FieldError {
                field: name.into(),
                detail: detail.into(),
                value: Some(text.chars().take(VALUE_SHOWN_CHARS).collect()),
                accepted: Some(if name == "digest" {
                    "sha-256=BASE64, the Base64 of the 32 bytes".into()
                } else {
                    "sha-256=:BASE64:, the Base64 of the 32 bytes between colons".into()
                }),
            }])
        };
        let mut entries = text
            .split(',')
            .map(|entry| {
                let (algorithm, encoded) = entry.split_once('=').unwrap_or((entry, ""));
                (algorithm.trim(), encoded.trim())
            })
            .filter(|(algorithm, _)| algorithm.eq_ignore_ascii_case("sha-256"))
            .peekable();
        if entries.peek().is_none() {
            return Err(wrong("the header holds no SHA-256"));
        }
        for (_, encoded) in entries {
            let decoded = data_encoding::BASE64
                .decode(encoded.trim_matches(':').as_bytes())
                .ok();
            let digest = decoded
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .map(Digest)
                .ok_or_else(|| wrong("the digest is not the Base64 of 32 bytes"))?;
            if declared.is_some_and(|earlier| earlier != digest) {
                return Err(wrong("another SHA-256 is declared before this one"));
            }
            declared = Some(digest);
        }
    }
    Ok(declared)
}

/// How much of a wrong header is shown: a SHA-256 in Base64 has 44 characters.
const VALUE_SHOWN_CHARS: usize = 80;

/// How much is read from disk at a time.
const PIECE_BYTES: u64 = 256 * 1024;
