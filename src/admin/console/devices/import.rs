//! A file of devices, by the same reader as the API's. The whole file is small here, so that what comes of it can be looked at
//! at leisure; a large one goes by the command line, which reads the answer while it sends.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::StreamExt;
use serde_json::Value;

use super::super::form::Fields;
use super::super::page::{self, Frame, Refused, Section};
use super::super::parts::{self, FileHead, TakeFile};
use super::super::show::{Count, visible};
use super::super::visitor::Visitor;
use super::super::wrong::message;
use super::once::Imported;
use crate::admin::AdminState;
use crate::admin::import::{begin, place};
use crate::admin::problem::{FieldError, Problem};
use crate::admin::rows::Format;
use crate::clock;
use crate::control::{ImportRules, Place};
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
    head: FileHead,
    bytes: Vec<u8>,
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
    let actor = visitor.may(Role::Deploy)?;
    let request = Request::from_parts(parts, body);
    let (mut fields, mut taker) = (Fields::default(), Taker::of(&state, &actor));
    let read = parts::read(&visitor, &state, request, &KNOWN, &mut fields, &mut taker).await?;
    let Taker { place, mut sent, .. } = taker;
    sent.update = fields.given("update").is_some();
    sent.allow_back = fields.given("allow-back").is_some();
    if let Err(problem) = read {
        if problem.errors().is_empty() && problem.status() != StatusCode::SERVICE_UNAVAILABLE {
            return Err(problem.into());
        }
        return Ok(refused(&visitor, &state, wrongs(&problem), &sent));
    }
    let Some(place) = place else {
        let wrong = "no file was chosen; accepted: a CSV file, or one with a JSON object a line";
        return Ok(refused(&visitor, &state, vec![wrong.to_owned()], &sent));
    };
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
            let done = take_in(&state, &visitor, place, actor, rules, format, &mut sent).await;
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
    place: Place,
    actor: Actor,
    rules: ImportRules,
    format: Format,
    sent: &mut Sent,
) -> Result<Result<u64, Vec<String>>, Problem> {
    let file = Body::from(std::mem::take(&mut sent.bytes));
    let begun = begin(&state.control, place, actor, visitor.project, rules, format, file).await;
    let mut answer = match begun {
        Ok(answer) => answer.into_data_stream(),
        Err(problem) => return Ok(Err(wrongs(&problem))),
    };
    let mut told = Told::of(visible(&sent.head.name));
    while let Some(lines) = answer.next().await {
        let broken = |error| Problem::unavailable(format!("the answer of the import broke off: {error}"));
        told.take(&lines.map_err(broken)?);
    }
    Ok(Ok(state.console.keep_file(visitor, told.end())))
}

/// What is wrong, a line each.
fn wrongs(problem: &Problem) -> Vec<String> {
    match problem.errors() {
        [] => vec![problem.detail().to_owned()],
        errors => errors.iter().map(message).collect(),
    }
}

/// Takes the file of a form, for which there has to be a place first.
struct Taker<'a> {
    state: &'a AdminState,
    actor: &'a Actor,
    /// As soon as there is a file.
    place: Option<Place>,
    sent: Sent,
}

impl<'a> Taker<'a> {
    fn of(state: &'a AdminState, actor: &'a Actor) -> Self {
        Self {
            state,
            actor,
            place: None,
            sent: Sent::default(),
        }
    }
}

impl TakeFile for Taker<'_> {
    async fn begin(&mut self, head: FileHead, _: &Fields) -> Result<(), Problem> {
        self.sent.head = head;
        self.place = Some(place(&self.state.control, self.actor).await?);
        Ok(())
    }

    async fn piece(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        // For whoever may not import any more nothing more is kept.
        self.state.control.view().allows(self.actor, clock::unix_ms())?;
        if self.sent.bytes.len() + bytes.len() > FILE_BYTES {
            return Err(Problem::fields(vec![FieldError {
                field: "file".into(),
                detail: "the file is too large".into(),
                value: None,
                accepted: Some(format!(
                    "{} MiB here. A larger one goes by tessera device import FILE, or in parts",
                    FILE_BYTES >> 20
                )),
            }]));
        }
        self.sent.bytes.extend_from_slice(bytes);
        Ok(())
    }
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
    /// The file's format, if it is a file that is taken here.
    fn format(&self) -> Result<Format, String> {
        let extension = self
            .head
            .name
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        let by_name = match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            _ => Format::of_media_type(&self.head.kind),
        };
        let format = by_name.ok_or_else(|| {
            format!(
                "{:?} is no file of devices by its name; accepted: .csv, .ndjson or .jsonl",
                self.head.name
            )
        })?;
        let rows = self.rows(format);
        if rows > ROWS {
            return Err(format!(
                "the file has {} rows; accepted here: {}. A larger one goes by tessera device import FILE, or in parts",
                Count(rows as u64),
                Count(ROWS as u64)
            ));
        }
        Ok(format)
    }

    /// The lines that say something, but for the header.
    fn rows(&self, format: Format) -> usize {
        let lines = self.bytes.split(|&byte| byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        match format {
            Format::Csv => lines.saturating_sub(1),
            Format::Ndjson => lines,
        }
    }
}

/// What the answer's lines say, as they come.
struct Told {
    file: Imported,
    lines: Vec<u8>,
}

impl Told {
    fn of(name: String) -> Told {
        Told {
            file: Imported::new(name),
            lines: Vec::new(),
        }
    }

    /// The next lines, whole.
    fn take(&mut self, lines: &[u8]) {
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let Ok(said) = serde_json::from_slice::<Value>(line) else {
                continue;
            };
            // A reason may be had again, by sending the file again; a secret may not.
            let is_refusal = said["outcome"] == "refused";
            if is_refusal && self.lines.len() + line.len() > LINES_BYTES {
                self.file.left_out += 1;
            } else {
                self.lines.extend_from_slice(line);
            }
            self.file.heard(&said);
        }
    }

    fn end(mut self) -> Imported {
        self.file.lines = self.lines.into();
        self.file
    }
}

impl Imported {
    /// A line of the answer.
    fn heard(&mut self, line: &Value) {
        let text = |value: &Value| visible(value.as_str().unwrap_or_default());
        if line["outcome"] == "refused" && self.refusals.len() < REFUSALS {
            self.refusals.push((
                line["line"].as_u64().unwrap_or_default(),
                text(&line["name"]),
                refusal(&line["problem"]),
            ));
        }
        self.secrets += u64::from(line["credentials"].is_array());
        let Some(counts) = line.get("summary") else {
            return;
        };
        let count = |word: &str| counts[word].as_u64().unwrap_or_default();
        self.rows = count("rows");
        self.created = count("created");
        self.updated = count("updated");
        self.unchanged = count("unchanged");
        self.refused = count("refused");
        self.stopped = line.get("problem").map(refusal);
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

/// The largest file: 20 000 devices with all there is to say of them are below that.
const FILE_BYTES: usize = 8 << 20;
/// What a form has beside its token and its file.
const KNOWN: [&str; 2] = ["update", "allow-back"];
/// Rows of a file that is taken here: what comes of them is kept in memory for a while.
const ROWS: usize = 20_000;
/// What is kept of an answer, the secrets of [`ROWS`] devices aside.
const LINES_BYTES: usize = 8 << 20;
/// Refused rows that a page shows; the file of the answer has all.
const REFUSALS: usize = 100;
