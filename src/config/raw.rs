//! What was said, and where: values by key, not yet looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::mistake::Mistake;

/// A value as it was said.
#[derive(Debug, Clone, PartialEq)]
pub enum RawValue {
    /// From the environment or a flag: its type is the key's.
    Word(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML array.
    List(Vec<RawValue>),
    /// Of a type that no key has; how it looks.
    Other(String),
}

impl RawValue {
    /// The value as a text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Text(text) => Some(text),
            Self::Integer(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// The value as an integer.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Word(text) => text.parse().ok(),
            Self::Integer(number) => Some(*number),
            Self::Text(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// The value as a truth value.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Word(text) | Self::Other(text) => text.parse().ok(),
            Self::Text(_) | Self::Integer(_) | Self::List(_) => None,
        }
    }

    /// The value as a list of texts; a word is a list with commas, one text a list of one.
    pub fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::Word(text) if text.trim().is_empty() => Some(Vec::new()),
            Self::Word(text) => Some(text.split(',').map(str::trim).collect()),
            Self::Text(text) => Some(vec![text]),
            Self::List(values) => values.iter().map(Self::text).collect(),
            Self::Integer(_) | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::List(values) => {
                let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", shown.join(", "))
            }
            Self::Other(shown) => f.write_str(shown),
        }
    }
}

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1; `None` means the whole file.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
    /// Several keys that contradict each other.
    Together,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Together => f.write_str("the configuration"),
        }
    }
}

/// Values by key, each with where it was said.
pub type Said = BTreeMap<String, (RawValue, Origin)>;

/// Reads a TOML file's text. What is wrong with its syntax goes to `mistakes`, and reading goes on.
pub fn from_toml(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Said {
    let at = |span: Range<usize>| Origin::File {
        path: path.to_owned(),
        line: Some(1 + text[..span.start.min(text.len())].matches('\n').count()),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = error.span().map_or(
            Origin::File {
                path: path.to_owned(),
                line: None,
            },
            at,
        );
        mistakes.push(Mistake::source(origin, error.message().to_owned()));
    }
    let mut said = Said::new();
    for (section, content) in document.get_ref() {
        let DeValue::Table(keys) = content.get_ref() else {
            let value = raw_value(content.get_ref());
            said.insert(section.get_ref().to_string(), (value, at(section.span())));
            continue;
        };
        if keys.is_empty() {
            said.insert(
                format!("{}.", section.get_ref()),
                (RawValue::Other(String::new()), at(section.span())),
            );
        }
        for (key, value) in keys {
            let name = format!("{}.{}", section.get_ref(), key.get_ref());
            said.insert(name, (raw_value(value.get_ref()), at(key.span())));
        }
    }
    said
}

/// Reads the `TESSERA__SECTION__KEY` variables among `variables`.
pub fn from_environment(variables: &[(String, String)]) -> Said {
    variables
        .iter()
        .filter_map(|(name, value)| {
            let key = name
                .strip_prefix("TESSERA__")?
                .to_ascii_lowercase()
                .replacen("__", ".", 1);
            Some((
                key,
                (RawValue::Word(value.clone()), Origin::Environment(name.clone())),
            ))
        })
        .collect()
}

fn raw_value(value: &DeValue<'_>) -> RawValue {
    match value {
        DeValue::String(text) => RawValue::Text(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix())
                .map_or_else(|_| RawValue::Other(number.as_str().to_owned()), RawValue::Integer)
        }
        DeValue::Float(number) => RawValue::Other(number.as_str().to_owned()),
        DeValue::Boolean(truth) => RawValue::Other(truth.to_string()),
        DeValue::Datetime(date) => RawValue::Other(date.to_string()),
        DeValue::Array(values) => {
            RawValue::List(values.iter().map(|value| raw_value(value.get_ref())).collect())
        }
        DeValue::Table(_) => RawValue::Other("a table".to_owned()),
    }
}
