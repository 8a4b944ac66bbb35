//! What was said, and where: the file's tables and values, not yet looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Place};

/// A table: a section, a member of a list of sections, or an inline one.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// As it would be written: `[[devices]]`; nothing for what stands above the first section.
    pub header: String,
    /// Where it begins.
    pub place: Place,
    said: BTreeMap<String, Entry>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the key is.
    pub key_place: Place,
    /// The value.
    pub value: Said,
}

/// A value and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Where it begins.
    pub place: Place,
    /// The value.
    pub value: RawValue,
}

/// A value as it was said.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// A string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A truth value.
    Truth(bool),
    /// An array.
    List(Vec<Said>),
    /// A table.
    Table(Table),
    /// Of a type that no key has, or a number beyond all of them; how it looks.
    Other(String),
}

impl Table {
    /// Its entries by key.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.said.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// What was said for a key.
    pub fn get(&self, key: &str) -> Option<&Said> {
        self.said.get(key).map(|entry| &entry.value)
    }

    /// A key of it, as messages name it.
    pub fn key(&self, key: &str) -> String {
        if self.header.is_empty() {
            key.to_owned()
        } else {
            format!("{} {key}", self.header)
        }
    }
}

impl RawValue {
    /// The value as a text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::List(values) => {
                let shown: Vec<String> = values.iter().map(|said| said.value.to_string()).collect();
                write!(f, "[{}]", shown.join(", "))
            }
            Self::Table(_) => f.write_str("a table"),
            Self::Other(shown) => f.write_str(shown),
        }
    }
}

/// Reads a file's text. What is wrong with its syntax goes to `mistakes`, and reading goes on.
pub fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Table {
    let places = Places::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = places.of(error.span().unwrap_or_default());
        mistakes.push(Mistake::key(
            place,
            String::new(),
            format!("this is no TOML: {}", error.message()),
        ));
    }
    let start = Place { line: 1, column: 1 };
    table(document.get_ref(), "", String::new(), start, &places)
}

fn table(keys: &DeTable<'_>, path: &str, header: String, place: Place, places: &Places<'_>) -> Table {
    let said = keys.iter().map(|(key, value)| {
        let name = bare_or_quoted(key.get_ref());
        let below = if path.is_empty() {
            name
        } else {
            format!("{path}.{name}")
        };
        let entry = Entry {
            key_place: places.of(key.span()),
            value: Said {
                place: places.of(value.span()),
                value: raw_value(value.get_ref(), &below, places.of(key.span()), places),
            },
        };
        (key.get_ref().to_string(), entry)
    });
    Table {
        said: said.collect(),
        header,
        place,
    }
}

fn raw_value(value: &DeValue<'_>, path: &str, place: Place, places: &Places<'_>) -> RawValue {
    match value {
        DeValue::String(text) => RawValue::Text(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix())
                .map_or_else(|_| RawValue::Other(number.as_str().to_owned()), RawValue::Integer)
        }
        DeValue::Float(number) => number
            .as_str()
            .replace('_', "")
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map_or_else(|| RawValue::Other(number.as_str().to_owned()), RawValue::Float),
        DeValue::Boolean(truth) => RawValue::Truth(*truth),
        DeValue::Datetime(date) => RawValue::Other(date.to_string()),
        DeValue::Array(values) => RawValue::List(
            values
                .iter()
                .map(|value| {
                    let place = places.of(value.span());
                    let member = match value.get_ref() {
                        DeValue::Table(keys) => {
                            RawValue::Table(table(keys, path, format!("[[{path}]]"), place, places))
                        }
                        other => raw_value(other, path, place, places),
                    };
                    Said { place, value: member }
                })
                .collect(),
        ),
        DeValue::Table(keys) => RawValue::Table(table(keys, path, format!("[{path}]"), place, places)),
    }
}

/// A key as TOML wants it written.
fn bare_or_quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

/// Lines and columns of a text.
struct Places<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            text,
            lines: std::iter::once(0)
                .chain(breaks.map(|(index, _)| index + 1))
                .collect(),
        }
    }

    fn of(&self, span: Range<usize>) -> Place {
        let at = span.start.min(self.text.len());
        let line = self.lines.partition_point(|begin| *begin <= at);
        let begin = self.lines[line - 1];
        // A span begins at a character; if it ever did not, its line is still right.
        let before = self.text.get(begin..at).unwrap_or_default();
        Place {
            line,
            column: 1 + before.chars().count(),
        }
    }
}
