//! What a form with a file sends (`multipart/form-data`, RFC 7578), read as it comes and never held whole.
//!
//! 1. The first part is the session's token: nothing is looked at of a form that is not one of this session's.
//! 2. Then the fields, each known and short; the file is the last part, and is handed on piece by piece.
//! 3. What follows the file, or does not belong to the form, undoes it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::form::{Fields, own_page};
use super::page::Refused;
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::body::broken_off;
use crate::admin::pace::TooSlow;
use crate::admin::problem::{FieldError, Problem};

/// What a browser says of a file.
#[derive(Debug, Default)]
pub struct FileHead {
    /// What it is called, as far as that is kept.
    pub name: String,
    /// Its media type.
    pub kind: String,
}

/// Who takes the file of a form.
pub trait TakeFile {
    /// There is a file, and these fields came before it.
    fn begin(&mut self, head: FileHead, fields: &Fields) -> impl Future<Output = Result<(), Problem>> + Send;

    /// The next bytes of it.
    fn piece(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// Reads a form whose fields are `known`, beside the token and the file. What was read is in `fields`, also when
/// something is wrong with the rest; what is wrong is the inner error.
///
/// # Errors
/// The form is not one of this session's, or no such form at all.
pub async fn read(
    visitor: &Visitor,
    state: &AdminState,
    request: Request,
    known: &[&str],
    fields: &mut Fields,
    taker: &mut impl TakeFile,
) -> Result<Result<(), Problem>, Refused> {
    own_page(request.headers())?;
    let untaken = Arc::new(AtomicUsize::new(0));
    let request = request.map(|body| Bounded::watch(body, Arc::clone(&untaken)));
    let kind = request.headers().get(axum::http::header::CONTENT_TYPE).cloned();
    let parts = Multipart::from_request(request, state).await.map_err(|_| {
        let kind = kind.as_ref().map_or("", |kind| kind.to_str().unwrap_or_default());
        Problem::unsupported_media_type(kind, "multipart/form-data with a boundary")
    })?;
    let mut reading = Reading { parts, untaken };
    reading.token(visitor).await?;
    Ok(reading.rest(known, fields, taker).await)
}

struct Reading {
    parts: Multipart,
    /// Bytes that were handed to the parser since it last came to something.
    untaken: Arc<AtomicUsize>,
}

impl Reading {
    async fn token(&mut self, visitor: &Visitor) -> Result<(), Refused> {
        let first = self.parts.next_field().await.map_err(|error| unread(&error))?;
        let token = match first {
            Some(field) if field.name() == Some("csrf") => text(field, &self.untaken).await?,
            Some(_) | None => String::new(),
        };
        visitor.check_csrf(&token)
    }

    async fn rest(
        &mut self,
        known: &[&str],
        fields: &mut Fields,
        taker: &mut impl TakeFile,
    ) -> Result<(), Problem> {
        let mut count = 0;
        while let Some(mut field) = self.parts.next_field().await.map_err(|error| unread(&error))? {
            self.untaken.store(0, Ordering::Relaxed);
            count += 1;
            if count > FIELDS_MAX {
                return Err(Problem::malformed(format!(
                    "the form has more than {FIELDS_MAX} fields; nothing was stored"
                )));
            }
            let name = field.name().unwrap_or_default().to_owned();
            if name == FILE {
                // A browser sends an empty part where no file was chosen.
                let head = FileHead {
                    name: field
                        .file_name()
                        .unwrap_or_default()
                        .chars()
                        .take(FILE_NAME_CHARS)
                        .collect(),
                    kind: field.content_type().unwrap_or_default().to_owned(),
                };
                let mut piece = next(&mut field, &self.untaken).await?;
                if !head.name.is_empty() || piece.is_some() {
                    taker.begin(head, fields).await?;
                }
                while let Some(bytes) = piece {
                    taker.piece(&bytes).await?;
                    piece = next(&mut field, &self.untaken).await?;
                }
                drop(field);
                return self.end().await;
            }
            if !known.contains(&name.as_str()) {
                return Err(Problem::fields(vec![FieldError {
                    field: name,
                    detail: "the form has no such field".into(),
                    value: None,
                    accepted: Some(format!("{}, and {FILE} as the last one", known.join(", "))),
                }]));
            }
            let value = text(field, &self.untaken).await?;
            fields.push(name, value);
        }
        Ok(())
    }

    /// Nothing follows the file.
    async fn end(&mut self) -> Result<(), Problem> {
        match self.parts.next_field().await.map_err(|error| unread(&error))? {
            None => Ok(()),
            Some(field) => Err(Problem::fields(vec![FieldError {
                field: field.name().unwrap_or_default().into(),
                detail: "it comes after the file; nothing was stored".into(),
                value: None,
                accepted: Some("one file, as the last field".into()),
            }])),
        }
    }
}

/// The next bytes of a part that has some; a parser may come to none and go on.
async fn next(field: &mut Field<'_>, untaken: &AtomicUsize) -> Result<Option<Bytes>, Problem> {
    loop {
        let piece = field.chunk().await.map_err(|error| unread(&error))?;
        untaken.store(0, Ordering::Relaxed);
        if piece.as_ref().is_none_or(|piece| !piece.is_empty()) {
            return Ok(piece);
        }
    }
}

/// A field that is text.
async fn text(mut field: Field<'_>, untaken: &AtomicUsize) -> Result<String, Problem> {
    let name = field.name().unwrap_or_default().to_owned();
    let wrong = |detail: &str, accepted: String| {
        Problem::fields(vec![FieldError {
            field: name.clone(),
            detail: detail.into(),
            value: None,
            accepted: Some(accepted),
        }])
    };
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut field, untaken).await? {
        if bytes.len() + piece.len() > TEXT_BYTES {
            return Err(wrong("it is too long", format!("up to {TEXT_BYTES} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is no text", "text in UTF-8".to_owned()))
}

/// The answer to a form that could not be read to its end.
fn unread(error: &MultipartError) -> Problem {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    if causes.any(|cause| cause.is::<TooMuchBetween>()) {
        return Problem::malformed(format!("{TooMuchBetween}; nothing was stored"));
    }
    if TooSlow::is_behind(error) {
        return broken_off(error);
    }
    Problem::malformed(format!(
        "the form broke off or cannot be read: {}; nothing was stored",
        error.body_text()
    ))
}

/// What is no content of a part goes on for too long: what stands before the first one, or what heads one.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a part of the form is headed by more than {BETWEEN_BYTES} bytes")]
struct TooMuchBetween;

/// The body of a form, handed on one frame for each time that the parser is asked for something: left to itself, it takes all
/// there is before it looks at it, and looks for the end of a part's head for as long as bytes come.
struct Bounded {
    body: Body,
    untaken: Arc<AtomicUsize>,
    /// How many bytes the last frame had.
    last: usize,
    handed: bool,
}

impl Bounded {
    fn watch(body: Body, untaken: Arc<AtomicUsize>) -> Body {
        Body::new(Bounded {
            body,
            untaken,
            last: 0,
            handed: false,
        })
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if std::mem::take(&mut self.handed) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // The last frame may be larger than the bound, and hold all that the parser needs: it has not been asked about it.
        if self.untaken.load(Ordering::Relaxed).saturating_sub(self.last) > BETWEEN_BYTES {
            return Poll::Ready(Some(Err(TooMuchBetween.into())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.untaken.fetch_add(bytes, Ordering::Relaxed);
            self.last = bytes;
            self.handed = true;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The name of the part that is the file.
const FILE: &str = "file";
/// A PEM certificate with what people leave around it; a name has 63.
const TEXT_BYTES: usize = 64 * 1024;
/// The longest name that file systems take.
const FILE_NAME_CHARS: usize = 255;
/// Fields of a form, twice what the largest has.
const FIELDS_MAX: usize = 16;
/// What browsers put before a part is some 200 bytes, the name of the file included.
const BETWEEN_BYTES: usize = 16 * 1024;
