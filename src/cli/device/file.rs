//! `tessera device import` and `export`.
//!
//! A file is sent in parts of some hundred rows, each answered before the next one is sent: what was told stays told whatever
//! becomes of the rest, and the same command goes on where one broke off.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::super::client::{Client, ServerArgs};
use super::super::failure::{Failure, Problem};
use super::super::output::{Output, field, print, print_line, say, table};
use super::{FileFormat, Filters};

/// Arguments of `tessera device import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The form of the file, where its name does not say it
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Change devices that exist and differ; otherwise their rows are refused
    #[arg(long)]
    update: bool,
    /// Move devices also where they see the sequence number fall
    #[arg(long)]
    allow_sequence_back: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Imports.
pub fn import(args: ImportArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let from_stdin = args.file == Path::new("-");
    let format = args
        .format
        .or_else(|| FileFormat::of(&args.file))
        .ok_or_else(|| {
            Failure::Usage(format!(
                "{} does not say by its name what is in it; say --format csv or --format ndjson",
                args.file.display()
            ))
        })?;
    let unreadable = |source| Failure::File {
        path: args.file.clone(),
        source,
    };
    let (bytes, length): (Box<dyn Read>, _) = match from_stdin {
        true => (Box::new(io::stdin()), None),
        false => {
            let file = File::open(&args.file).map_err(unreadable)?;
            let length = file.metadata().map_err(unreadable)?.len();
            (Box::new(file), Some(length))
        }
    };
    let mut query = Vec::new();
    query.extend(args.update.then_some("update=true"));
    query.extend(args.allow_sequence_back.then_some("allowSequenceBack=true"));
    let path = match query.as_slice() {
        [] => "devices:import".to_owned(),
        query => format!("devices:import?{}", query.join("&")),
    };

    let bar = progress(length);
    let mut parts = Parts::new(format, bytes);
    let mut told = Told::new(args.server.output);
    let mut sent_any = false;
    let ended = loop {
        let part = match parts.next() {
            Ok(Some(part)) => part,
            Ok(None) if sent_any => break Ok(()),
            // A header without rows, or nothing at all: the server's to judge.
            Ok(None) => parts.header(),
            Err(PartError::Read(source)) => break Err(unreadable(source)),
            Err(PartError::TooLong { line }) => {
                break Err(Failure::Failed(format!(
                    "line {line}: no end of the row within {ROW_MAX} bytes; is a quotation mark left open, or do lines end otherwise than with LF?"
                )));
            }
        };
        sent_any = true;
        let lines = match client.post_lines(&path, format.media_type(), &part.bytes) {
            Ok(lines) => lines,
            Err(failure) => {
                if let Failure::Unreachable { .. } | Failure::Strange { .. } = failure {
                    say(&format!(
                        "what became of lines {} to {} did not arrive: devices may have been made of them, and secrets that \
                         were made with them will not be shown; those need another credential",
                        part.starts_at,
                        parts.line - 1
                    ));
                }
                break Err(failure);
            }
        };
        let ended = bar.suspend(|| told.part(&part, lines));
        if let Err(failure) = ended {
            break Err(failure);
        }
        bar.inc(part.row_bytes as u64);
        bar.set_message(format!("{} rows", told.counts[0]));
    };
    bar.finish_and_clear();
    let [rows, .., refused] = told.counts;
    match ended {
        // The file as such is refused, or nobody answered: there is nothing to sum up.
        Err(failure) if rows == 0 => return Err(failure),
        Ok(()) | Err(_) => told.end(),
    }
    match ended {
        Err(failure) => {
            say(&format!(
                "stopped after {rows} rows, which are done; the same command goes on from there"
            ));
            Err(failure)
        }
        Ok(()) if refused > 0 => Err(Failure::Failed(match rows {
            1 => "the one row was refused".to_owned(),
            rows => format!("{refused} of {rows} rows were refused"),
        })),
        Ok(()) => Ok(()),
    }
}

/// Exports.
pub fn export(server: &ServerArgs, format: FileFormat, filters: &Filters) -> Result<(), Failure> {
    if server.output != Output::Table {
        return Err(Failure::Usage(
            "what is exported is a file and not a table: --format csv or --format ndjson says its form, not --output".to_owned(),
        ));
    }
    let client = Client::new(server)?;
    let mut query = vec![format!("format={}", format.name())];
    query.extend(filters.query());
    let mut file = client.get_file(&format!("devices:export?{}", query.join("&")))?;
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(|error| {
            Failure::Failed(format!(
                "the export broke off, what was written is not all: {error}"
            ))
        })?;
        let written = match read {
            0 => out.flush(),
            read => out.write_all(&buffer[..read]),
        };
        if written.is_err() {
            // A reader that went away ends the program, as it does for other tools.
            std::process::exit(1);
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// What the server has told, as it is shown.
struct Told {
    output: Output,
    /// Rows, created, updated, unchanged, refused.
    counts: [u64; 5],
    /// For one JSON document at the end.
    lines: Vec<Value>,
    secrets_shown: bool,
}

impl Told {
    fn new(output: Output) -> Self {
        Self {
            output,
            counts: [0; 5],
            lines: Vec::new(),
            secrets_shown: false,
        }
    }

    /// Takes the answer to a part.
    fn part(&mut self, part: &Part, lines: Vec<Value>) -> Result<(), Failure> {
        let mut secrets = Vec::new();
        let mut ended = Err(Failure::Failed("the server's answer has no end".to_owned()));
        for mut line in lines {
            if let Some(at) = line["line"].as_u64() {
                line["line"] = json!(part.line_of(at));
            }
            if line.get("summary").is_some() {
                for (count, word) in self.counts.iter_mut().zip(COUNTS) {
                    *count += line["summary"][word].as_u64().unwrap_or(0);
                }
                ended = match line["complete"] == true {
                    true => Ok(()),
                    false => Err(Failure::Failed(problem(&line))),
                };
            } else if line.get("outcome").is_some() {
                self.line(line, &mut secrets);
            }
        }
        if !secrets.is_empty() {
            if !self.secrets_shown {
                secrets.insert(0, ["NAME", "IDENTITY", "SECRET"].map(str::to_owned).to_vec());
            }
            self.secrets_shown = true;
            print(&table(secrets));
        }
        ended
    }

    fn line(&mut self, line: Value, secrets: &mut Vec<Vec<String>>) {
        match self.output {
            Output::Json => self.lines.push(line),
            Output::Ndjson => print_line(&line),
            Output::Table => {
                for credential in line["credentials"].as_array().into_iter().flatten() {
                    secrets.push(vec![
                        field(&line, "/name"),
                        field(credential, "/identity"),
                        field(credential, "/secret"),
                    ]);
                }
                let at = match field(&line, "/name").as_str() {
                    "" => format!("line {}", field(&line, "/line")),
                    name => format!("line {}, {name}", field(&line, "/line")),
                };
                if line["outcome"] == "refused" {
                    say(&format!("{at}: {}", problem(&line)));
                }
                for finding in line["lint"].as_array().into_iter().flatten() {
                    say(&format!("{at}: {}", field(finding, "/message")));
                }
            }
        }
    }

    fn end(&self) {
        let counts: serde_json::Map<_, _> = COUNTS
            .iter()
            .zip(self.counts)
            .map(|(word, count)| ((*word).to_owned(), json!(count)))
            .collect();
        match self.output {
            Output::Json => {
                let all = json!({ "summary": counts, "lines": self.lines });
                Output::Json.one(&all, &[]);
            }
            Output::Ndjson => print_line(&json!({ "summary": counts })),
            Output::Table => {
                let [rows, created, updated, unchanged, refused] = self.counts;
                let word = if rows == 1 { "row" } else { "rows" };
                say(&format!(
                    "{rows} {word}: {created} created, {updated} updated, {unchanged} unchanged, {refused} refused"
                ));
                if self.secrets_shown {
                    say("the secrets are not shown again");
                }
            }
        }
    }
}

/// What is wrong with a row, in a line.
fn problem(line: &Value) -> String {
    let problem: Problem = serde_json::from_value(line["problem"].clone()).unwrap_or_default();
    if problem.errors.is_empty() {
        return problem.detail;
    }
    let each = problem.errors.iter().map(|error| {
        let mut text = format!("{}: {}", error.field, error.detail);
        if let Some(Value::String(value)) = error
            .value
            .as_ref()
            .filter(|value| !text.contains(&value.to_string()))
        {
            text.push_str(&format!(" ({value:?})"));
        }
        let accepted = error.accepted.as_ref();
        if let Some(accepted) = accepted.filter(|&accepted| !text.ends_with(accepted)) {
            text.push_str(&format!("; accepted: {accepted}"));
        }
        text
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Rows of a file that are sent at once.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// The header, and the rows.
    bytes: Vec<u8>,
    /// How many of them are rows.
    row_bytes: usize,
    /// How many lines the header has.
    header_lines: u64,
    /// The line of the file at which the rows start.
    starts_at: u64,
}

impl Part {
    /// The line of the file that is this line of the part.
    fn line_of(&self, line: u64) -> u64 {
        match line.checked_sub(self.header_lines) {
            Some(below @ 1..) => self.starts_at + below - 1,
            Some(0) | None => line,
        }
    }
}

#[derive(Debug)]
enum PartError {
    Read(io::Error),
    TooLong { line: u64 },
}

/// Cuts a file between two rows. Where a row ends is all that is looked at: what is in it is the server's to read.
struct Parts<R> {
    format: FileFormat,
    bytes: io::Bytes<BufReader<R>>,
    header: Option<Vec<u8>>,
    /// Whether a part was cut before.
    cut_any: bool,
    /// The line of the file that is read next.
    line: u64,
}

/// Where in a CSV record a byte is (RFC 4180).
enum At {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quotation mark in a quoted field, which ends it unless another follows.
    QuotedMark,
}

impl<R: Read> Parts<R> {
    fn new(format: FileFormat, bytes: R) -> Self {
        Self {
            format,
            bytes: BufReader::new(bytes).bytes(),
            header: None,
            cut_any: false,
            line: 1,
        }
    }

    /// The next rows; none at the end of the file.
    fn next(&mut self) -> Result<Option<Part>, PartError> {
        if self.header.is_none() {
            let mut header = Vec::new();
            if self.format == FileFormat::Csv {
                // Empty lines before it are a part of it.
                while header.trim_ascii().is_empty() && self.row(&mut header)? {}
                if !header.ends_with(b"\n") {
                    header.push(b'\n');
                }
            }
            self.header = Some(header);
        }
        let mut part = self.header();
        let header = part.bytes.len();
        // Once in the file, however often it is sent.
        let first = if std::mem::replace(&mut self.cut_any, true) {
            0
        } else {
            header
        };
        for _ in 0..ROWS_AT_ONCE {
            if part.bytes.len() > PART_BYTES || !self.row(&mut part.bytes)? {
                break;
            }
        }
        part.row_bytes = part.bytes.len() - header + first;
        Ok(Some(part).filter(|part| part.bytes.len() > header))
    }

    /// The header alone.
    fn header(&self) -> Part {
        let bytes = self.header.clone().unwrap_or_default();
        Part {
            header_lines: bytes.iter().filter(|&&byte| byte == b'\n').count() as u64,
            bytes,
            row_bytes: 0,
            starts_at: self.line,
        }
    }

    /// Appends a row with its line break; false at the end of the file.
    fn row(&mut self, out: &mut Vec<u8>) -> Result<bool, PartError> {
        let (start, line) = (out.len(), self.line);
        let mut at = At::FieldStart;
        for byte in self.bytes.by_ref() {
            let byte = byte.map_err(PartError::Read)?;
            out.push(byte);
            // In the middle of the first field's name, as far as quotation marks go.
            let is_mark =
                line == 1 && out.len() <= start + BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.contains(&byte);
            at = match (at, byte) {
                (at, _) if is_mark => at,
                (At::FieldStart, b'"') => At::Quoted,
                (At::Quoted, b'"') => At::QuotedMark,
                (At::QuotedMark, b'"') => At::Quoted,
                (At::Quoted, _) => At::Quoted,
                (At::FieldStart | At::Plain | At::QuotedMark, b',') => At::FieldStart,
                (At::FieldStart | At::Plain | At::QuotedMark, _) => At::Plain,
            };
            if byte == b'\n' {
                self.line += 1;
                let open = matches!(at, At::Quoted) && self.format == FileFormat::Csv;
                if !open {
                    return Ok(true);
                }
            }
            if out.len() - start > ROW_MAX {
                return Err(PartError::TooLong { line });
            }
        }
        Ok(out.len() > start)
    }
}

/// A bar on standard error; it draws nothing where that is no terminal.
fn progress(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:40} {bytes}/{total_bytes} {msg} {eta}",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is well formed"))
}

/// The words of a summary, in the order of [`Told::counts`].
const COUNTS: [&str; 5] = ["rows", "created", "updated", "unchanged", "refused"];
/// Rows of a part: as many as the server commits at once.
const ROWS_AT_ONCE: usize = 500;
/// Bytes of a part after which no further row is added.
const PART_BYTES: usize = 1 << 20;
/// Bytes without the end of a row. Far past what the server takes: it says what is wrong with a row that is merely too long.
const ROW_MAX: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_between_rows_and_each_part_has_the_header() {
        let mut file = "\u{feff}\"na\"\"me\",identity\n".to_owned();
        for row in 0..1001 {
            file.push_str(&format!("lamp-{row},\"two\nlines, \"\" and a mark\"\r\n"));
        }
        file.push_str("last,5\" pipe");
        let parts = cut(FileFormat::Csv, &file);
        let rows: Vec<usize> = parts
            .iter()
            .map(|part| String::from_utf8_lossy(&part.bytes).matches("lamp-").count())
            .collect();
        assert_eq!(rows, [500, 500, 1]);
        let sent: usize = parts.iter().map(|part| part.row_bytes).sum();
        assert_eq!(sent, file.len(), "as far as a progress bar goes");
        let header = "\u{feff}\"na\"\"me\",identity\n";
        assert!(parts.iter().all(|part| part.bytes.starts_with(header.as_bytes())));
        assert!(parts[2].bytes.ends_with(b"\nlast,5\" pipe"));
        let starts: Vec<u64> = parts.iter().map(|part| part.starts_at).collect();
        assert_eq!(starts, [2, 1002, 2002]);
        // What the server calls line 4 of the second part is the second of its rows.
        assert_eq!(
            (parts[1].line_of(2), parts[1].line_of(4), parts[1].line_of(1)),
            (1002, 1004, 1)
        );
    }

    #[test]
    fn a_refused_row_is_one_line_with_the_value_and_what_would_be_accepted() {
        let line = json!({"problem": {"detail": "2 fields are wrong", "errors": [
            {"field": "cohort", "detail": "there is no cohort \"nope\"", "value": "nope", "accepted": "lamps"},
            {"field": "tags", "detail": "the tag contains ' '", "value": "q q"},
        ]}});
        assert_eq!(
            problem(&line),
            "cohort: there is no cohort \"nope\"; accepted: lamps; tags: the tag contains ' ' (\"q q\")"
        );
        let line = json!({"problem": {"detail": "PSK identity \"one\" is in use already"}});
        assert_eq!(problem(&line), "PSK identity \"one\" is in use already");
    }

    #[test]
    fn lines_of_json_are_cut_at_every_line_whatever_is_quoted() {
        let file = "{\"name\":\"a\"}\n".repeat(501);
        let parts = cut(FileFormat::Ndjson, &file);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1].bytes, b"{\"name\":\"a\"}\n");
        assert_eq!((parts[1].starts_at, parts[1].line_of(1)), (501, 501));
    }

    #[test]
    fn a_header_alone_and_an_empty_file_are_sent_too_and_an_open_quotation_mark_is_found() {
        for (file, header) in [("name", "name\n"), ("\r\n\nname\n", "\r\n\nname\n"), ("", "\n")] {
            let mut parts = Parts::new(FileFormat::Csv, file.as_bytes());
            assert!(parts.next().unwrap().is_none());
            assert_eq!(parts.header().bytes, header.as_bytes());
        }
        let open = format!("name\n\nlamp,\"{}", "x\n".repeat(ROW_MAX));
        let mut parts = Parts::new(FileFormat::Csv, open.as_bytes());
        assert!(matches!(parts.next(), Err(PartError::TooLong { line: 3 })));
    }

    fn cut(format: FileFormat, file: &str) -> Vec<Part> {
        let mut parts = Parts::new(format, file.as_bytes());
        std::iter::from_fn(|| parts.next().unwrap()).collect()
    }
}
