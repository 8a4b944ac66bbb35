//! `/devices:import`: devices out of a file, row by row, as it arrives.
//!
//! 1. The header of a CSV file is read first; one that is wrong refuses the file (422) before anything is done.
//! 2. From there on the answer is a stream of lines (NDJSON) beside the upload. Some hundred rows are a commit, and only after it
//!    its lines are written: a line for each row that was refused or has something to show, then one with the counts so far.
//!    What a line tells is on disk.
//! 3. The last line has the counts of all, and says whether the file was read to its end. An upload that breaks off keeps what was
//!    committed; a row that has not arrived whole is no row.
//!
//! No `Idempotency-Key`: a file is larger than what is kept of a request, and each row is compared with the device of its name.
//!
//! The upload does not wait for whoever reads the answer, so that a client may send all of it first: lines are kept up to a
//! bound.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as Stream, BodyDataStream, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa::ToSchema;

use super::auth::Deployer;
use super::body::{announced, not_packed};
use super::device_rows::{Columns, JsonRow, shortened};
use super::devices::created;
use super::pace::TooSlow;
use super::problem::{FieldError, Problem, ProblemMember};
use super::query::flag;
use super::rows::{Content, Format, ROW_BYTES, Row, Rows};
use super::{AdminState, idempotency, shapes};
use crate::clock;
use crate::control::{Control, DeviceRow, Full, ImportRules, Place, RowOutcome};
use crate::fleet::{Actor, Project, ProjectId};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Form {
    update: Option<String>,
    allow_sequence_back: Option<String>,
}

pub async fn import(
    State(state): State<AdminState>,
    deployer: Deployer,
    Query(form): Query<Form>,
    headers: HeaderMap,
    file: Stream,
) -> Result<Response, Problem> {
    let rules = ImportRules {
        update: flag("update", form.update.as_deref())?.unwrap_or(false),
        allow_sequence_back: flag("allowSequenceBack", form.allow_sequence_back.as_deref())?.unwrap_or(false),
    };
    idempotency::refuse(
        &headers,
        "none: the same file sent again changes nothing that it has changed already",
    )?;
    not_packed(&headers)?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or_else(String::new, |value| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    });
    let format = Format::of_media_type(&kind)
        .ok_or_else(|| Problem::unsupported_media_type(&kind, "text/csv or application/x-ndjson"))?;
    if announced(&headers).is_some_and(|bytes| bytes > FILE_BYTES) {
        return Err(Problem::too_large("the file", FILE_BYTES));
    }
    let turn = place(&state.control, &deployer.actor).await?;
    let answer = begin(
        &state.control,
        turn,
        deployer.actor,
        deployer.project,
        rules,
        format,
        file,
    )
    .await?;
    Ok(([(header::CONTENT_TYPE, Format::Ndjson.media_type())], answer).into_response())
}

/// Waits for a place for an import.
///
/// # Errors
/// There was none for some time.
pub async fn place(control: &Control, actor: &Actor) -> Result<Place, Problem> {
    control.import_place(actor, TURN).await.map_err(|full| {
        Problem::unavailable(match full {
            Full::All(bound) => format!("{bound} imports are under way already; nothing was done"),
            Full::Share { actor, share } => format!(
                "{share} imports of {actor} are under way already, as many as one key may have at a time; nothing was done"
            ),
        })
    })
}

/// Begins to import a file in its place. The answer is what becomes of its rows, line by line.
pub async fn begin(
    control: &Control,
    turn: Place,
    actor: Actor,
    project: ProjectId,
    rules: ImportRules,
    format: Format,
    file: Stream,
) -> Result<Stream, Problem> {
    let mut upload = Upload {
        body: file.into_data_stream(),
        rows: Rows::new(format),
        bytes: 0,
        at_end: false,
        broken: false,
    };
    let columns = match format {
        Format::Ndjson => None,
        Format::Csv => loop {
            if let Some(header) = upload.rows.pop() {
                break Some(Columns::read(header)?);
            }
            if upload.at_end {
                return Err(Problem::malformed(
                    "the file is empty; accepted: a CSV file whose first line names its columns",
                ));
            }
            upload.read().await?;
        },
    };
    let (lines, answer) = lines();
    let import = Import {
        control: control.clone(),
        actor,
        project,
        rules,
        columns,
        upload,
        lines,
        counts: Counts::default(),
    };
    tokio::spawn(import.run(turn));
    Ok(answer)
}

/// The file on its way.
struct Upload {
    body: BodyDataStream,
    rows: Rows,
    bytes: u64,
    at_end: bool,
    /// Nothing more will come, or nobody knows when.
    broken: bool,
}

impl Upload {
    /// Waits for more of it.
    async fn read(&mut self) -> Result<(), Problem> {
        let chunk = match self.body.next().await {
            Some(Ok(chunk)) => chunk,
            None => {
                self.at_end = true;
                self.rows.finish();
                return Ok(());
            }
            Some(Err(error)) => {
                self.broken = true;
                return Err(match TooSlow::is_behind(&error) {
                    true => Problem::too_slow(TooSlow.to_string()),
                    false => Problem::malformed(format!("the upload broke off: {error}")),
                });
            }
        };
        self.bytes += chunk.len() as u64;
        if self.bytes > FILE_BYTES {
            return Err(Problem::too_large("the file", FILE_BYTES));
        }
        self.rows.push(&chunk);
        Ok(())
    }

    /// Passes over what is left, so that a client that sends all of it before it reads gets to read why it was for nothing.
    async fn pass_over(&mut self) {
        let mut left = FILE_BYTES;
        while left > 0
            && !self.broken
            && let Some(Ok(chunk)) = self.body.next().await
        {
            left = left.saturating_sub(chunk.len() as u64);
        }
    }
}

/// An import under way.
struct Import {
    control: Control,
    actor: Actor,
    project: ProjectId,
    rules: ImportRules,
    /// What the fields of a record are; none where a row is JSON.
    columns: Option<Columns>,
    upload: Upload,
    lines: Lines,
    counts: Counts,
}

/// A line of the answer.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[allow(
    dead_code,
    reason = "each is written by itself; this is what they are together, for the description"
)]
pub enum ImportLine {
    Told(Told),
    SoFar(SoFar),
    Last(Last),
}

/// What became of a row that was refused, or has something to show.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportedRow)]
pub struct Told {
    /// The line at which the row starts; the first is 1.
    line: u64,
    /// As far as it can be read.
    #[schema(required)]
    name: Option<String>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<ProblemMember>,
    /// Those whose secret was made, and is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    credentials: Option<Vec<shapes::Credential>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lint: Option<Vec<shapes::SequenceBack>>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImportOutcome)]
enum Outcome {
    Created,
    Updated,
    Refused,
}

impl Told {
    fn of(outcome: Outcome) -> Self {
        Self {
            line: 0,
            name: None,
            outcome,
            problem: None,
            credentials: None,
            lint: None,
        }
    }
}

/// How far the import is: all of it is on disk.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportProgress)]
pub struct SoFar {
    progress: Counts,
    /// Where the last row of these starts.
    line: u64,
}

/// The last line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImportSummary)]
pub struct Last {
    summary: Counts,
    /// Whether the file was read to its end.
    complete: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<ProblemMember>,
    /// Where the row starts that did not arrive whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    broken_line: Option<u64>,
}

/// Rows, by what became of them.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[schema(as = ImportCounts)]
struct Counts {
    rows: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
}

/// Why an import ended before its file did.
enum Stopped {
    /// There is a reason to be told.
    For(Problem),
    /// Nobody is left to be told.
    Gone,
}

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        Self::For(problem)
    }
}

impl Import {
    async fn run(mut self, _turn: Place) {
        let stopped = match self.read_all().await {
            Ok(()) => None,
            Err(Stopped::For(problem)) => Some(problem),
            Err(Stopped::Gone) => return,
        };
        let mut last = Last {
            summary: self.counts,
            complete: stopped.is_none(),
            problem: None,
            broken_line: None,
        };
        if let Some(problem) = stopped {
            let passed_over = self.upload.pass_over();
            if problem.status() == StatusCode::UNAUTHORIZED {
                // Whose key has ended does not keep the place of others for long.
                let _ = tokio::time::timeout(TURN, passed_over).await;
            } else {
                passed_over.await;
            }
            last.problem = Some(problem.member());
            last.broken_line = self.upload.rows.begun();
        }
        self.lines.last(&json!(last));
    }

    async fn read_all(&mut self) -> Result<(), Stopped> {
        loop {
            while self.upload.rows.len() >= ROWS_AT_ONCE {
                self.commit().await?;
            }
            if self.upload.at_end {
                break;
            }
            let read = self.upload.read().await;
            if let Err(problem) = read {
                // What has arrived whole was sent to be imported, whatever came of the rest.
                while self.upload.rows.len() > 0 {
                    self.commit().await?;
                }
                return Err(problem.into());
            }
            // Here too, for whoever sends few rows: each commit asks again.
            let allowed = self.control.view().allows(&self.actor, clock::unix_ms());
            allowed.map_err(Problem::from)?;
        }
        while self.upload.rows.len() > 0 {
            self.commit().await?;
        }
        Ok(())
    }

    /// Decides the next rows in one commit, and tells what became of them.
    async fn commit(&mut self) -> Result<(), Stopped> {
        let mut rows: Vec<Row> = Vec::new();
        while rows.len() < ROWS_AT_ONCE
            && let Some(row) = self.upload.rows.pop()
        {
            rows.push(row);
        }
        let Some((first, last)) = rows
            .first()
            .zip(rows.last())
            .map(|(first, last)| (first.line, last.line))
        else {
            return Ok(());
        };
        let mut told: Vec<(u64, Option<String>, Result<(), Problem>)> = Vec::new();
        let (mut places, mut devices) = (Vec::new(), Vec::new());
        {
            let view = self.control.view();
            let project = view.in_project(self.project).map_err(Problem::from)?;
            for row in rows {
                let line = row.line;
                let (name, read) = self.read_row(project, row);
                match read {
                    Ok(device) => {
                        places.push(told.len());
                        devices.push(device);
                        told.push((line, name, Ok(())));
                    }
                    Err(problem) => told.push((line, name, Err(problem))),
                }
            }
        }
        let outcomes = self
            .control
            .import_devices(&self.actor, self.project, self.rules, devices)
            .await;
        let outcomes = outcomes.map_err(|error| {
            let mut problem = Problem::from(error);
            problem.members.line = Some(first);
            problem
        })?;
        let mut shown: Vec<Option<Told>> = told.iter().map(|_| None).collect();
        for (place, outcome) in places.into_iter().zip(outcomes) {
            match outcome {
                Ok(outcome) => shown[place] = self.counts.count(&outcome),
                Err(refusal) => told[place].2 = Err(refusal.into()),
            }
        }
        let mut out = Vec::new();
        for ((line, name, result), shown) in told.into_iter().zip(shown) {
            self.counts.rows += 1;
            let told = match (result, shown) {
                (Err(problem), _) => {
                    self.counts.refused += 1;
                    Told {
                        line,
                        name,
                        problem: Some(problem.member()),
                        ..Told::of(Outcome::Refused)
                    }
                }
                (Ok(()), Some(shown)) => Told { line, name, ..shown },
                (Ok(()), None) => continue,
            };
            out.extend_from_slice(json!(told).to_string().as_bytes());
            out.push(b'\n');
        }
        let so_far = SoFar {
            progress: self.counts,
            line: last,
        };
        out.extend_from_slice(json!(so_far).to_string().as_bytes());
        out.push(b'\n');
        self.lines.send(Bytes::from(out)).await
    }

    /// What a row says, and of which device, as far as that can be read.
    fn read_row(&self, project: &Project, row: Row) -> (Option<String>, Result<DeviceRow, Problem>) {
        match (row.content, &self.columns) {
            (Content::Fields(fields), Some(columns)) => {
                (columns.name(&fields), columns.device(project, &fields))
            }
            (Content::Line(bytes), _) => {
                let named = serde_json::from_slice::<Value>(&bytes).ok();
                let name = named.as_ref().and_then(|line| line["name"].as_str());
                (name.map(shortened), JsonRow::device(project, &bytes))
            }
            (Content::Fields(_), None) | (Content::TooLong, _) => {
                let detail = format!(
                    "the row has more than {ROW_BYTES} bytes, or more fields than there are columns; is a quotation mark left open?"
                );
                (
                    None,
                    Err(Problem::fields(vec![FieldError::other("the row", detail)])),
                )
            }
        }
    }
}

impl Counts {
    /// Counts a row that was not refused, and returns what is to be shown of it: secrets that were made, this once, and what was
    /// warned of.
    fn count(&mut self, outcome: &RowOutcome) -> Option<Told> {
        let (word, credentials, back) = match outcome {
            RowOutcome::Created(made) => {
                self.created += 1;
                (Outcome::Created, &made.credentials, None)
            }
            RowOutcome::Updated {
                credentials, back, ..
            } => {
                self.updated += 1;
                (Outcome::Updated, credentials, back.as_ref())
            }
            RowOutcome::Unchanged => {
                self.unchanged += 1;
                return None;
            }
        };
        let made = credentials.iter().filter(|made| made.made.is_some());
        let made: Vec<_> = made.map(created).collect();
        if made.is_empty() && back.is_none() {
            return None;
        }
        Some(Told {
            credentials: Some(made).filter(|made| !made.is_empty()),
            lint: back.map(|back| vec![shapes::sequence_back(back)]),
            ..Told::of(word)
        })
    }
}

/// Where the lines of the answer are put.
struct Lines {
    lines: mpsc::UnboundedSender<(Bytes, Option<OwnedSemaphorePermit>)>,
    /// For as many bytes as may wait to be read.
    room: Arc<Semaphore>,
}

/// Where lines are put, and the body of the answer.
fn lines() -> (Lines, Stream) {
    let (lines, read) = mpsc::unbounded_channel::<(Bytes, Option<OwnedSemaphorePermit>)>();
    let body = stream::unfold(read, |mut read| async {
        // What is taken makes room.
        let (bytes, _room) = read.recv().await?;
        Some((Ok::<_, Infallible>(bytes), read))
    });
    let room = Arc::new(Semaphore::new(ANSWER_BYTES as usize));
    (Lines { lines, room }, Stream::from_stream(body))
}

impl Lines {
    /// Waits for room.
    async fn send(&self, bytes: Bytes) -> Result<(), Stopped> {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(ANSWER_BYTES);
        let room = Arc::clone(&self.room).acquire_many_owned(size);
        let room = tokio::select! {
            room = tokio::time::timeout(STALL, room) => match room {
                Ok(room) => room.ok(),
                Err(_) => {
                    // These lines tell of what is on disk: they are kept all the same.
                    self.put(bytes, None)?;
                    return Err(Stopped::For(Problem::too_slow(format!(
                        "nobody read the answer for {} s, of which {ANSWER_BYTES} bytes are kept at most; read it while \
                         the file is sent, or send it in parts",
                        STALL.as_secs()
                    ))));
                }
            },
            () = self.lines.closed() => return Err(Stopped::Gone),
        };
        self.put(bytes, room)
    }

    fn put(&self, bytes: Bytes, room: Option<OwnedSemaphorePermit>) -> Result<(), Stopped> {
        self.lines.send((bytes, room)).map_err(|_| Stopped::Gone)
    }

    /// The last line has room in any case. Where nobody reads any more, nobody misses it.
    fn last(&self, line: &Value) {
        let _ = self.lines.send((Bytes::from(format!("{line}\n")), None));
    }
}

/// The largest file, in bytes: a million devices with all there is to say about them.
const FILE_BYTES: u64 = 256 << 20;
/// Rows of a commit: what the writer decides in some ten milliseconds, so that nobody else waits for longer.
const ROWS_AT_ONCE: usize = 500;
/// Bytes of the answer that wait to be read, at most: the made secrets of 100 000 devices are below 20 MB, so that a client may
/// send such a file before it reads.
const ANSWER_BYTES: u32 = 32 << 20;
/// How long nothing may be read when there is no room. A guess.
const STALL: Duration = Duration::from_secs(30);
/// How long an import waits for its turn before its client is told to come again.
const TURN: Duration = Duration::from_secs(10);
