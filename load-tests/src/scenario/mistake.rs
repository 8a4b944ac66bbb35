//! What is wrong with a scenario, said so that it can be put right without a manual.

use std::fmt;

/// A place in the file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// Every mistake of a scenario, in the file's order.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes {
    file: Option<String>,
    found: Vec<Mistake>,
}

impl Mistakes {
    /// Sorts them by place.
    pub fn new(mut found: Vec<Mistake>) -> Self {
        found.sort_by_key(|mistake| mistake.place);
        Self { file: None, found }
    }

    /// The same, each line beginning with the file's name, as compilers do it.
    #[must_use]
    pub fn in_file(self, name: &str) -> Self {
        Self {
            file: Some(name.to_owned()),
            ..self
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found.len() {
            1 => write!(f, "one mistake in the scenario:")?,
            many => write!(f, "{many} mistakes in the scenario:")?,
        }
        self.found
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {}", mistake.told(self.file.as_deref())))
    }
}

/// One mistake; or something to be warned of.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// `None` for what is not in the file: an override.
    place: Option<Place>,
    /// What it is about, as it is written in the file: `[[devices]] port`.
    key: String,
    value: Option<String>,
    problem: String,
    is_missing: bool,
}

impl Mistake {
    /// A key has a value that it does not accept.
    pub fn value(place: Place, key: String, value: String, accepted: &str) -> Self {
        Self {
            place: Some(place),
            key,
            value: Some(value),
            problem: format!("expected {accepted}"),
            is_missing: false,
        }
    }

    /// A value that is fine by itself contradicts something else.
    pub fn contradiction(place: Place, key: String, value: String, problem: String) -> Self {
        Self {
            place: Some(place),
            key,
            value: Some(value),
            problem,
            is_missing: false,
        }
    }

    /// Something is wrong with a key or a section, whatever its value.
    pub fn key(place: Place, key: String, problem: String) -> Self {
        Self {
            place: Some(place),
            key,
            value: None,
            problem,
            is_missing: false,
        }
    }

    /// A key is not there.
    pub fn missing(place: Place, key: String, accepted: &str) -> Self {
        Self {
            is_missing: true,
            ..Self::key(place, key, format!("is missing: expected {accepted}"))
        }
    }

    /// Something that the command line says does not go with the file.
    pub fn elsewhere(key: &str, value: String, problem: String) -> Self {
        Self {
            place: None,
            key: key.to_owned(),
            value: Some(value),
            problem,
            is_missing: false,
        }
    }

    /// Where it is.
    pub fn line(&self) -> Option<usize> {
        self.place.map(|place| place.line)
    }

    /// Whether something is not there: in a file that is no TOML, that may be the same mistake again.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// In one line, which begins with the place.
    pub fn told(&self, file: Option<&str>) -> String {
        let mut told = match (file, self.place) {
            (Some(file), Some(Place { line, column })) => format!("{file}:{line}:{column}: "),
            (None, Some(Place { line, .. })) => format!("line {line}: "),
            (_, None) => String::new(),
        };
        told.push_str(&self.key);
        if let Some(value) = &self.value {
            told.push_str(" = ");
            told.push_str(value);
        }
        if !self.key.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&self.problem);
        told
    }
}
