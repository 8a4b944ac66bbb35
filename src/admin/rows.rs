//! A file of rows, as it arrives: CSV (RFC 4180) or JSON, one object a line. The one place that names the CSV library.
//!
//! Bytes go in as they come, rows come out as soon as they are whole; what is not whole stays here. A byte order mark, CRLF
//! and empty lines are passed over. A row that is too long is passed over too, but said.

use std::collections::VecDeque;

use csv_core::{ReadRecordResult, Reader, WriteResult, Writer};

/// The forms that a file can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

impl Format {
    /// The media type that is answered, and the first that is accepted.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// The format that a Content-Type means.
    pub fn of_media_type(text: &str) -> Option<Self> {
        let essence = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "text/csv" | "application/csv" => Some(Self::Csv),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/jsonlines" => {
                Some(Self::Ndjson)
            }
            _ => None,
        }
    }
}

/// A row of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line at which it starts; the first is 1.
    pub line: u64,
    /// What is in it.
    pub content: Content,
}

/// What is in a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// The fields of a CSV record, unquoted.
    Fields(Vec<Vec<u8>>),
    /// A line.
    Line(Vec<u8>),
    /// More than [`ROW_BYTES`] or [`ROW_FIELDS`].
    TooLong,
}

/// Cuts bytes into rows.
#[derive(Debug)]
pub struct Rows {
    cutter: Cutter,
    /// The first bytes, until there are enough to see a byte order mark.
    head: Option<Vec<u8>>,
    /// The line that is being read.
    line: u64,
    /// The line at which the row begun started.
    begun: Option<u64>,
    /// Whole rows, to be taken.
    whole: VecDeque<Row>,
}

#[derive(Debug)]
enum Cutter {
    Csv {
        reader: Box<Reader>,
        output: Vec<u8>,
        ends: Vec<usize>,
        written: usize,
        ended: usize,
        too_long: bool,
    },
    Ndjson {
        bytes: Vec<u8>,
        too_long: bool,
    },
}

impl Rows {
    pub fn new(format: Format) -> Self {
        let cutter = match format {
            Format::Csv => Cutter::Csv {
                reader: Box::new(Reader::new()),
                output: vec![0; ROW_BYTES],
                ends: vec![0; ROW_FIELDS],
                written: 0,
                ended: 0,
                too_long: false,
            },
            Format::Ndjson => Cutter::Ndjson {
                bytes: Vec::new(),
                too_long: false,
            },
        };
        Self {
            cutter,
            head: Some(Vec::new()),
            line: 1,
            begun: None,
            whole: VecDeque::new(),
        }
    }

    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        match self.head.take() {
            None => self.cut(bytes),
            Some(mut head) => {
                head.extend_from_slice(bytes);
                match head.len() < BYTE_ORDER_MARK.len() {
                    true => self.head = Some(head),
                    false => self.cut(head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head)),
                }
            }
        }
    }

    /// There are no more bytes: the last row needs no line break.
    pub fn finish(&mut self) {
        if let Some(head) = self.head.take() {
            self.cut(&head);
        }
        if self.begun.is_none() {
            return;
        }
        match &mut self.cutter {
            // What the CSV reader takes for the end.
            Cutter::Csv { .. } => {
                self.cut_csv(&[]);
            }
            Cutter::Ndjson { .. } => self.end_line(),
        }
    }

    /// The next whole row.
    pub fn pop(&mut self) -> Option<Row> {
        self.whole.pop_front()
    }

    /// How many rows are whole.
    pub fn len(&self) -> usize {
        self.whole.len()
    }

    /// The line at which a row started that is not whole.
    pub fn begun(&self) -> Option<u64> {
        self.begun
    }

    fn cut(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.begun.is_none() {
                let blank = bytes.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n'));
                let (blank, rest) = bytes.split_at(blank.count());
                self.count(blank);
                bytes = rest;
                if bytes.is_empty() {
                    return;
                }
                self.begun = Some(self.line);
            }
            match &mut self.cutter {
                Cutter::Csv { .. } => bytes = self.cut_csv(bytes),
                Cutter::Ndjson {
                    bytes: line,
                    too_long,
                } => {
                    let end = bytes.iter().position(|&byte| byte == b'\n');
                    let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    match *too_long || line.len() + part.len() > ROW_BYTES {
                        true => (*too_long, *line) = (true, Vec::new()),
                        false => line.extend_from_slice(part),
                    }
                    bytes = rest;
                    if end.is_some() {
                        self.end_line();
                    }
                }
            }
        }
    }

    fn end_line(&mut self) {
        let (Cutter::Ndjson { bytes, too_long }, Some(line)) = (&mut self.cutter, self.begun.take()) else {
            return;
        };
        let bytes = std::mem::take(bytes);
        let content = match std::mem::take(too_long) {
            true => Content::TooLong,
            // A line of nothing but spaces is as good as empty.
            false if bytes.trim_ascii().is_empty() => return,
            false => Content::Line(bytes),
        };
        self.whole.push_back(Row { line, content });
    }

    /// Reads a record, or all bytes, and returns what is left of them. None at all are the end of the file.
    fn cut_csv<'b>(&mut self, mut bytes: &'b [u8]) -> &'b [u8] {
        loop {
            let Cutter::Csv {
                reader,
                output,
                ends,
                written,
                ended,
                too_long,
            } = &mut self.cutter
            else {
                return &[];
            };
            let (result, read, wrote, fields) =
                reader.read_record(bytes, &mut output[*written..], &mut ends[*ended..]);
            let (taken, rest) = bytes.split_at(read);
            *written += wrote;
            *ended += fields;
            match result {
                // Whatever else is in it is written over.
                ReadRecordResult::OutputFull => (*too_long, *written) = (true, 0),
                ReadRecordResult::OutputEndsFull => (*too_long, *ended) = (true, 0),
                ReadRecordResult::InputEmpty | ReadRecordResult::Record | ReadRecordResult::End => {}
            }
            let record = matches!(result, ReadRecordResult::Record).then(|| {
                let content = match std::mem::take(too_long) {
                    true => Content::TooLong,
                    false => Content::Fields(fields_of(output, &ends[..*ended])),
                };
                (*written, *ended) = (0, 0);
                content
            });
            self.count(taken);
            if let (Some(content), Some(line)) = (record, self.begun) {
                self.whole.push_back(Row { line, content });
                self.begun = None;
                return rest;
            }
            if matches!(result, ReadRecordResult::InputEmpty | ReadRecordResult::End) {
                return rest;
            }
            bytes = rest;
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.line += lines as u64;
    }
}

fn fields_of(output: &[u8], ends: &[usize]) -> Vec<Vec<u8>> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts
        .zip(ends)
        .map(|(start, &end)| output.get(start..end).unwrap_or_default().to_vec())
        .collect()
}

/// Appends a CSV record.
pub fn write_record<'a>(fields: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let mut writer = Writer::new();
    for (at, field) in fields.enumerate() {
        if at > 0 {
            // It may have to close a quotation first.
            write(out, 2, |space| writer.delimiter(space));
        }
        let mut rest = field.as_bytes();
        loop {
            // Every byte a quotation mark, and one at either end.
            let room = 2 * rest.len() + 2;
            let mut read = 0;
            write(out, room, |space| {
                let (result, taken, wrote) = writer.field(rest, space);
                read = taken;
                (result, wrote)
            });
            rest = &rest[read..];
            if rest.is_empty() {
                break;
            }
        }
    }
    write(out, 4, |space| writer.terminator(space));
}

fn write(out: &mut Vec<u8>, room: usize, into: impl FnOnce(&mut [u8]) -> (WriteResult, usize)) {
    let start = out.len();
    out.resize(start + room, 0);
    let (_, wrote) = into(&mut out[start..]);
    out.truncate(start + wrote);
}

/// The longest row, in bytes: a device with all its credentials and tags is below 4 KiB.
pub const ROW_BYTES: usize = 16 * 1024;
/// The most fields of a row: some more than there are columns, so that a row with too many is told from one that is too long.
pub const ROW_FIELDS: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[cfg(test)]
#[path = "rows_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
