//! A file of devices, by the same reader as the API's. The whole file is small here, so that what comes of it can be looked at
//! at leisure; a large one goes by the command line, which reads the answer while it sends.

use std::sync::Arc;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::Value;

use super::super::form;
use super::super::page::{self, Frame, Refused, Section};
use super::super::show::{Count, visible};
use super::super::visitor::Visitor;
use super::super::wrong::message;
use super::once::Imported;
use crate::admin::AdminState;
use crate::admin::import::begin;
use crate::admin::problem::Problem;
use crate::admin::rows::Format;
use crate::control::ImportRules;
use crate::fleet::{Actor, Role};

#[derive(Template)]
#[template(path = "device_import.html", config = "src/admin/console/askama.toml")]
struct ImportPage {
    frame: Frame,
    wrong: Vec<String>,
    update: bool,
    allow_back: bool,
    rows: usize,
}

#[derive(Template)]
#[template(path = "device_imported.html", config = "src/admin/console/askama.toml")]
struct ImportedPage {
    frame: Frame,
    file: Arc<Imported>,
    lines: String,
}

/// What a form with a file holds.
#[derive(Default)]
struct Sent {
    update: bool,
    allow_back: bool,
    name: String,
    kind: String,
    bytes: Bytes,
}

/// `GET /projects/{project}/devices/import`.
pub async fn form(visitor: Visitor, State(state): State<AdminState>) -> Result<Response, Refused> {
    visitor.may(Role::Deploy)?;
    Ok(page::html(&ImportPage::of(
        &visitor,
        &state,
        Vec::new(),
        &Sent::default(),
    )))
}

/// `POST /projects/{project}/devices/import`.
pub async fn import(State(state): State<AdminState>, request: Request) -> Result<Response, Refused> {
    let (mut parts, body) = request.into_parts();
    let visitor = Visitor::from_request_parts(&mut parts, &state).await?;
    form::own_page(&parts.headers)?;
    let multipart = Multipart::from_request(Request::from_parts(parts, body), &state).await;
    let multipart = multipart.map_err(|error| Problem::malformed(error.body_text()))?;
    let sent = match Sent::read(multipart, &visitor).await? {
        Ok(sent) => sent,
        Err(wrong) => return Ok(refused(&visitor, &state, vec![wrong], &Sent::default())),
    };
    let actor = visitor.may(Role::Deploy)?;
    let format = match sent.format() {
        Ok(format) => format,
        Err(wrong) => return Ok(refused(&visitor, &state, vec![wrong], &sent)),
    };
    let rules = ImportRules {
        update: sent.update,
        allow_sequence_back: sent.allow_back,
    };
    // A browser that goes away must not lose the secrets of those that are created: they are shown once, here.
    let work = tokio::spawn({
        let state = state.clone();
        async move {
            let done = take_in(&state, &visitor, actor, rules, format, &sent).await;
            (visitor, sent, done)
        }
    });
    let ending =
        |_| Problem::unavailable("the gateway is ending; the file may not have been read to its end");
    let (visitor, sent, done) = work.await.map_err(ending)?;
    match done? {
        Ok(number) => {
            let next = visitor.path(&format!("/devices/import/{number}"));
            Ok(Redirect::to(&next).into_response())
        }
        Err(wrong) => Ok(refused(&visitor, &state, wrong, &sent)),
    }
}

/// Takes in the file, and keeps what came of it under the number that is returned; or says what is wrong with it.
async fn take_in(
    state: &AdminState,
    visitor: &Visitor,
    actor: Actor,
    rules: ImportRules,
    format: Format,
    sent: &Sent,
) -> Result<Result<u64, Vec<String>>, Problem> {
    let file = Body::from(sent.bytes.clone());
    let answer = match begin(&state.control, actor, visitor.project, rules, format, file).await {
        Ok(answer) => answer,
        Err(problem) => {
            let mut wrong: Vec<String> = problem.errors().iter().map(message).collect();
            if wrong.is_empty() {
                wrong.push(problem.detail().to_owned());
            }
            return Ok(Err(wrong));
        }
    };
    let lines = axum::body::to_bytes(answer, ANSWER_BYTES)
        .await
        .map_err(|error| Problem::unavailable(format!("the answer of the import broke off: {error}")))?;
    let came_of_it = Imported::read(visible(&sent.name), lines);
    Ok(Ok(state.console.keep_file(visitor, came_of_it)))
}

/// `GET /projects/{project}/devices/import/{result}`.
pub async fn result(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, number)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let file = kept(&visitor, &state, &number)?;
    Ok(page::html(&ImportedPage {
        frame: visitor.frame(&state, Section::Devices, "Imported devices"),
        lines: visitor.path(&format!("/devices/import/{}/lines", file.number)),
        file,
    }))
}

/// `GET /projects/{project}/devices/import/{result}/lines`: all that was answered, as the API answers it.
pub async fn lines(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, number)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let file = kept(&visitor, &state, &number)?;
    let headers = [
        (header::CONTENT_TYPE, Format::Ndjson.media_type()),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"imported.ndjson\"",
        ),
    ];
    Ok((headers, file.lines.clone()).into_response())
}

fn kept(visitor: &Visitor, state: &AdminState, number: &str) -> Result<Arc<Imported>, Refused> {
    let found = number
        .parse()
        .ok()
        .and_then(|number| state.console.file(visitor, number));
    found.ok_or_else(|| {
        Problem::not_found(
            "what came of this file is no longer kept: it is for a quarter of an hour, and for who sent the file. \
             What the file did is done, and stands in the audit; sent again it changes nothing",
        )
        .into()
    })
}

fn refused(visitor: &Visitor, state: &AdminState, wrong: Vec<String>, sent: &Sent) -> Response {
    page::html_with(
        StatusCode::UNPROCESSABLE_ENTITY,
        &ImportPage::of(visitor, state, wrong, sent),
    )
}

impl ImportPage {
    fn of(visitor: &Visitor, state: &AdminState, wrong: Vec<String>, sent: &Sent) -> ImportPage {
        ImportPage {
            frame: visitor.frame(state, Section::Devices, "Import devices"),
            wrong,
            update: sent.update,
            allow_back: sent.allow_back,
            rows: ROWS,
        }
    }

    fn rows(&self) -> Count {
        Count(self.rows as u64)
    }
}

impl Sent {
    /// Reads a form: first the token, so that nothing is taken of somebody else's, the file last. What is wrong with the
    /// file is for the page to say.
    async fn read(mut form: Multipart, visitor: &Visitor) -> Result<Result<Sent, String>, Refused> {
        let mut sent = Sent::default();
        let mut is_own = false;
        loop {
            let field = match form.next_field().await {
                Ok(Some(field)) => field,
                Ok(None) => break,
                Err(error) => return broken(&error),
            };
            let name = field.name().unwrap_or_default().to_owned();
            if name == "file" && is_own {
                sent.name = field
                    .file_name()
                    .unwrap_or_default()
                    .chars()
                    .take(FILE_NAME_CHARS)
                    .collect();
                sent.kind = field.content_type().unwrap_or_default().to_owned();
                sent.bytes = match field.bytes().await {
                    Ok(bytes) => bytes,
                    Err(error) => return broken(&error),
                };
                continue;
            }
            let text = match field.text().await {
                Ok(text) => text,
                Err(error) => return broken(&error),
            };
            match name.as_str() {
                "csrf" => {
                    visitor.check_csrf(&text)?;
                    is_own = true;
                }
                "update" => sent.update = true,
                "allow-back" => sent.allow_back = true,
                _ => {}
            }
        }
        if !is_own {
            visitor.check_csrf("")?;
        }
        Ok(Ok(sent))
    }

    /// The file's format, if it is a file that is taken here.
    fn format(&self) -> Result<Format, String> {
        if self.name.is_empty() && self.bytes.is_empty() {
            return Err("no file was chosen; accepted: a CSV file, or one with a JSON object a line".into());
        }
        let lines = self.bytes.iter().filter(|&&byte| byte == b'\n').count();
        if lines > ROWS {
            return Err(format!(
                "the file has {} lines; accepted here: {}. A larger one goes by `tessera device import FILE`, or in parts",
                Count(lines as u64),
                Count(ROWS as u64)
            ));
        }
        let extension = self.name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let by_name = match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            _ => Format::of_media_type(&self.kind),
        };
        by_name.ok_or_else(|| {
            format!(
                "{:?} is no file of devices by its name; accepted: .csv, .ndjson or .jsonl",
                self.name
            )
        })
    }
}

/// A form that did not arrive whole, or is too large.
fn broken(error: &MultipartError) -> Result<Result<Sent, String>, Refused> {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Ok(Err(format!(
            "the file is too large; accepted here: {} MiB. A larger one goes by `tessera device import FILE`, or in parts",
            FORM_BYTES >> 20
        )));
    }
    Err(Problem::malformed(format!(
        "the file did not arrive whole: {}; nothing was changed",
        error.body_text()
    ))
    .into())
}

impl Imported {
    /// What the answer's lines say.
    fn read(name: String, lines: Bytes) -> Imported {
        let mut file = Imported::new(name);
        for line in lines.split(|&byte| byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<Value>(line) else {
                continue;
            };
            let text = |value: &Value| visible(value.as_str().unwrap_or_default());
            if line["outcome"] == "refused" && file.refusals.len() < REFUSALS {
                file.refusals.push((
                    line["line"].as_u64().unwrap_or_default(),
                    text(&line["name"]),
                    refusal(&line["problem"]),
                ));
            }
            file.secrets += u64::from(line["credentials"].is_array());
            let Some(counts) = line.get("summary") else {
                continue;
            };
            let count = |word: &str| counts[word].as_u64().unwrap_or_default();
            file.rows = count("rows");
            file.created = count("created");
            file.updated = count("updated");
            file.unchanged = count("unchanged");
            file.refused = count("refused");
            file.stopped = line.get("problem").map(refusal);
        }
        file.lines = lines;
        file
    }

    /// How many refused rows are not named.
    pub fn more_refused(&self) -> u64 {
        self.refused.saturating_sub(self.refusals.len() as u64)
    }
}

/// What a problem in an answer says, with what is wrong in which field.
fn refusal(problem: &Value) -> String {
    let errors = problem["errors"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let each = errors.iter().map(|error| {
        let word = |name: &str| error[name].as_str().unwrap_or_default();
        let accepted = match word("accepted") {
            "" => String::new(),
            accepted => format!("; accepted: {accepted}"),
        };
        format!(
            "{}: {}{accepted}",
            word("field").trim_start_matches('/'),
            word("detail")
        )
    });
    let each: Vec<String> = each.collect();
    visible(&match each.is_empty() {
        true => problem["detail"].as_str().unwrap_or_default().to_owned(),
        false => each.join(". "),
    })
}

/// The largest form: a file of 20 000 devices with all there is to say of them is below that.
pub const FORM_BYTES: usize = 8 << 20;
/// Lines of a file that is taken here: what comes of them is kept in memory for a while.
const ROWS: usize = 20_000;
/// Far more than the lines of an answer for [`ROWS`] have.
const ANSWER_BYTES: usize = 64 << 20;
/// Refused rows that a page shows; the file of the answer has all.
const REFUSALS: usize = 100;
const FILE_NAME_CHARS: usize = 100;
