//! Durable facts: SQLite for what is known, files for bytes, one lock on the folder.
//!
//! ```text
//! data/
//!   lock               held by the one process that serves this folder
//!   installation.key   32 random bytes, readable by the owner only: seals every secret in the database
//!   tessera.db         facts (WAL, synchronous=FULL)
//!   blobs/ab/abcd…     artifact bytes by SHA-256
//!   uploads/           unfinished uploads, swept at start
//!   reserve            room that is given up for what has to be possible on a full disk
//!   sessions.log       the keys of live sessions, sealed; never part of a backup
//! ```
//!
//! 1. [`Store::open`] locks, looks at everything, and only then changes something: sweeps, migrates.
//! 2. The writer of `control` takes a [`WriteTransaction`], reads and writes in it, commits once for a whole batch.
//! 3. Everybody else reads through methods of [`Store`], on connections of their own.

mod blobs;
mod certificates;
mod console;
mod devices;
mod disk;
mod error;
mod facts;
mod first_answers;
mod folder;
mod history;
mod inspect;
mod measure;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod power_cuts;
mod readers;
mod reserve;
mod seal;
mod sessions;
mod sqlite;
mod timeline;

pub use blobs::{Blob, BlockRead, ReadDone, ReadSlot, StoredBlob, Upload, UploadError};
pub use certificates::{CertificateHolder, RevokedCertificate};
pub use console::ConsoleSessionRow;
pub use devices::{
    CensusRow, DeviceFilter, DeviceKey, DeviceOrder, DevicePlace, DeviceSecret, KeyFilter, NewCredentialRow,
    ProgressCounts, ReportRow, Sighting,
};
pub use error::StoreError;
pub use facts::{AuditAhead, AuditFilter, AuditPage, AuditRecord, AuditRow, AuditScope, KeyHash, KeyRow};
pub use first_answers::{FirstAnswer, KeptAnswer, OnceKey};
pub use history::{FailureRow, FleetRow, ProgressRow, SeriesChange, SeriesEnd};
pub use measure::Measured;
pub use readers::ReadersBusy;
pub use reserve::Reserve;
pub use sessions::{SessionLog, SessionLogError};
pub use sqlite::{Store, WriteTransaction};
pub use timeline::TimelineFilter;
