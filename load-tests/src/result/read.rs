//! A result out of a file, or what is wrong with the file and where.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::RunResult;

/// Why a file is no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No result is so large.
    #[error("{} has more than {RESULT_BYTES_MAX} bytes, which no result has", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{} is not the result of a run: it has no `format`", path.display())]
    NoResult {
        /// Which.
        path: PathBuf,
    },
    /// It is of another version of this program.
    #[error("{} is a result of format {found}, and this program reads format {FORMAT}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Its number.
        found: u64,
    },
    /// A field is missing or holds something else.
    #[error("{}: {field} is not as in a result", path.display())]
    Field {
        /// Which file.
        path: PathBuf,
        /// `series[3].connected`.
        field: String,
        /// What is wrong with it, with line and column.
        source: serde_json::Error,
    },
    /// It is not even JSON.
    #[error("{} is not JSON", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
}

/// What every format has.
#[derive(Deserialize)]
struct Head {
    format: Option<u64>,
}

impl RunResult {
    /// The result in the file at `path`.
    pub fn read(path: &Path) -> Result<RunResult, ReadError> {
        let unreadable = |source| ReadError::File {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(RESULT_BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > RESULT_BYTES_MAX {
            return Err(ReadError::TooLarge {
                path: path.to_owned(),
            });
        }
        RunResult::parse(&text, path)
    }

    fn parse(text: &[u8], path: &Path) -> Result<RunResult, ReadError> {
        let path = || path.to_owned();
        let head: Head = serde_json::from_slice(text).map_err(|source| match source.classify() {
            serde_json::error::Category::Data => ReadError::NoResult { path: path() },
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => ReadError::Json { path: path(), source },
        })?;
        match head.format {
            None => return Err(ReadError::NoResult { path: path() }),
            Some(found) if found != u64::from(FORMAT) => {
                return Err(ReadError::Format { path: path(), found });
            }
            Some(_) => {}
        }
        let mut reader = serde_json::Deserializer::from_slice(text);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| ReadError::Field {
            path: path(),
            field: match error.path().to_string() {
                top if top == "." => "the document".to_owned(),
                field => format!("`{field}`"),
            },
            source: error.into_inner(),
        })
    }
}

/// Of the documents that this program writes and reads.
pub const FORMAT: u32 = 1;

/// A sample a second has about 500 bytes: a week of them fits.
const RESULT_BYTES_MAX: u64 = 512 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::sample::{self, Run};

    fn refused(text: &str) -> String {
        let error = RunResult::parse(text.as_bytes(), Path::new("r.json")).unwrap_err();
        match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn what_is_no_result_is_told_which_field_and_line() {
        assert_eq!(
            refused("{}"),
            "r.json is not the result of a run: it has no `format`"
        );
        assert_eq!(
            refused(r#"{"format": 2}"#),
            "r.json is a result of format 2, and this program reads format 1"
        );
        assert_eq!(
            refused("{\"format\": 1,\n"),
            "r.json is not JSON: EOF while parsing a value at line 2 column 0"
        );
        assert_eq!(
            refused("{\"format\": 1}"),
            "r.json: the document is not as in a result: missing field `scenario` at line 1 column 13"
        );
        let mut value = sample::value(&Run::small());
        value["series"][3]["connected"] = "many".into();
        let text = serde_json::to_string_pretty(&value).unwrap();
        let line = text.lines().position(|line| line.contains("\"many\"")).unwrap() + 1;
        let said = refused(&text);
        assert!(
            said.starts_with("r.json: `series[3].connected` is not as in a result: invalid type"),
            "{said}"
        );
        assert!(said.contains(&format!("at line {line} ")), "{said}");
    }

    #[test]
    fn a_result_is_read_whole() {
        let text = sample::value(&Run::small()).to_string();
        let read = RunResult::parse(text.as_bytes(), Path::new("r.json")).unwrap();
        assert_eq!(
            (read.series.len(), read.kinds.len(), read.histograms.len()),
            (20, 2, 6)
        );
    }
}
