//! What can go wrong with durable facts.

use std::io;
use std::path::PathBuf;

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
    /// A newer program wrote this database.
    #[error(
        "the database in {folder:?} has schema {found} and this program knows {known}; start the newer program that wrote it, or restore a backup"
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// The newest migration in the database.
        found: i64,
        /// The newest migration this program knows.
        known: i64,
    },
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
    /// A sealed secret does not open with this installation key.
    #[error(
        "a sealed secret does not open with this folder's installation key; restore the key that belongs to this database"
    )]
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
        Self::Database(Box::new(error))
    }
}

impl StoreError {
    /// Wraps an error of the file system.
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
