//! What can go wrong with durable facts.

use std::io;
use std::path::{Path, PathBuf};

use super::sessions::SessionLogError;

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process serves this folder.
    #[error(
        "another tessera process is using the data folder {folder:?}; stop it, or choose another data.dir"
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder that others look into, with something in it that is not Tessera's.
    #[error(
        "{folder:?} holds {found:?}, which is not Tessera's, and is open to other users; choose an empty or a new folder as data.dir, or, if it is this one, close it yourself (chmod 700)"
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The first thing that was found there.
        found: PathBuf,
    },
    /// A folder with something in it that would be taken for Tessera's, and is not.
    #[error(
        "{folder:?} holds {found:?}, which is not Tessera's; choose an empty or a new folder as data.dir"
    )]
    Strange {
        /// The folder.
        folder: PathBuf,
        /// What was found there.
        found: PathBuf,
    },
    /// A newer program wrote this database.
    #[error(
        "{file:?} has schema {found} and this program knows {known}; start the newer program that wrote it, or restore a backup"
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// The newest migration in the database.
        found: i64,
        /// The newest migration this program knows.
        known: i64,
    },
    /// The database is gone, though the folder was served before.
    #[error(
        "{file:?} is missing or empty, and {evidence:?} is from when it was not: the database is damaged; restore a backup, or begin anew in another folder"
    )]
    DatabaseMissing {
        /// The database.
        file: PathBuf,
        /// What only a database can have led to.
        evidence: PathBuf,
    },
    /// The database is not one any more.
    #[error("the database {file:?} is damaged; stop the gateway and restore a backup")]
    Damaged {
        /// The database.
        file: PathBuf,
        /// How that was noticed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The session log cannot be used.
    #[error(transparent)]
    SessionLog(#[from] SessionLogError),
    /// No space is left for the database.
    #[error("no space is left on the disk of the data folder; free some, and try again")]
    DiskFull(
        /// What did not fit.
        #[source]
        Box<dyn std::error::Error + Send + Sync>,
    ),
    /// A file or folder could not be read or written.
    #[error("could not {doing} {path:?}")]
    Io {
        /// What was tried: "create".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The installation key is not one.
    #[error(
        "{path:?} holds {found} bytes and not the 32 of an installation key; restore it from a backup: sealed secrets cannot be read without it"
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        found: usize,
    },
    /// The installation key is gone and the database has secrets sealed with it.
    #[error("{path:?} is missing and the database has secrets sealed with it; restore it from a backup")]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// The installation key is another installation's.
    #[error(
        "{path:?} is not the key that the secrets in the database were sealed with; restore the one that belongs to it from a backup"
    )]
    KeyForeign {
        /// The file.
        path: PathBuf,
    },
    /// A sealed secret does not open.
    #[error("a sealed secret does not open with this folder's installation key")]
    Unsealable,
    /// A record in the database makes no sense.
    #[error("the database holds a record that makes no sense: {0}")]
    Corrupt(String),
    /// The database failed.
    #[error("the database failed")]
    Database(
        /// Why.
        #[source]
        Box<dyn std::error::Error + Send + Sync>,
    ),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let code = code.and_then(|code| code.parse().ok()).unwrap_or(0);
        let error = Box::new(error);
        match (code & PRIMARY, code) {
            (SQLITE_FULL, _) | (_, SQLITE_IOERR_SHMSIZE) => Self::DiskFull(error),
            (SQLITE_CORRUPT | SQLITE_NOTADB, _) => Self::Damaged {
                file: DATABASE.into(),
                source: error,
            },
            _ => Self::Database(error),
        }
    }
}

impl StoreError {
    /// Wraps an error of the file system.
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Says which file it is about, where that is known better than by its name.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Damaged { source, .. } => Self::Damaged {
                file: path.to_owned(),
                source,
            },
            other => other,
        }
    }

    /// Whether it would not have failed with more space on the disk.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull(_) => true,
            Self::Io { source, .. } => is_disk_full(source),
            Self::Locked { .. }
            | Self::Newer { .. }
            | Self::DatabaseMissing { .. }
            | Self::Damaged { .. }
            | Self::SessionLog(_)
            | Self::BadKey { .. }
            | Self::KeyMissing { .. }
            | Self::KeyForeign { .. }
            | Self::Unsealable
            | Self::Corrupt(_)
            | Self::Foreign { .. }
            | Self::Strange { .. }
            | Self::Database(_) => false,
        }
    }

    /// Whether the database cannot be trusted any more.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Corrupt(_))
    }
}

/// Whether a file did not fit.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The database's name in the data folder.
pub const DATABASE: &str = "tessera.db";

// SQLite's result codes (sqlite.org/rescode.html): the low byte of an extended code is the primary one.
const PRIMARY: i32 = 0xff;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;
/// The index of the write-ahead log could not grow.
const SQLITE_IOERR_SHMSIZE: i32 = 10 | 19 << 8;
