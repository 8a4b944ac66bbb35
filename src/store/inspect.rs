//! What is in a data folder, looked at before anything in it is changed.
//!
//! 1. The installation key is a key.
//! 2. The database is one, of a version that this program knows, sealed with that key, and not damaged as far as a look of
//!    bounded cost can tell.
//! 3. The session log, which comes last in a first start, is one that this program reads.
//!
//! A folder that is refused is left as it was, so that the newer program or a backup finds it so. (Only the index of a
//! write-ahead log, which SQLite makes anew whenever it is missing, may appear beside that log.)

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::error::{DATABASE, StoreError};
use super::seal::Sealer;
use super::sessions;
use super::sqlite::{KEY_CHECK, key_file, newest_migration};

/// Looks at a folder. Returns its installation key, if it has one; `None` is a folder at the very beginning.
///
/// # Errors
/// Something is damaged, missing or from elsewhere, and says what to do.
pub async fn inspect(folder: &Path) -> Result<Option<Sealer>, StoreError> {
    let key = key_file(folder);
    let sealer = Sealer::read(&key)?;
    let file = folder.join(DATABASE);
    // With a rollback journal beside it, the very first start was cut off before it could store anything: the database
    // goes over to a write-ahead log before it holds a table.
    let holds_facts = if size(&file)? > 0 && size(&beside(&file, "-journal"))? == 0 {
        let looked = look(&file, &key, sealer.as_ref()).await;
        looked.map_err(|error| error.in_file(&file))?
    } else {
        false
    };
    // SQLite takes a file that is shorter than a page for a database that is yet to be made.
    if !holds_facts && let Some(evidence) = evidence(folder)? {
        return Err(StoreError::DatabaseMissing { file, evidence });
    }
    if let Some(sealer) = &sealer {
        sessions::inspect(folder, sealer)?;
    }
    Ok(sealer)
}

/// Looks into a database; whether it holds what every one does that was served from.
async fn look(file: &Path, key: &Path, sealer: Option<&Sealer>) -> Result<bool, StoreError> {
    // What a write-ahead log holds belongs to the database. Without one, SQLite is told to leave nothing beside it.
    let has_log = size(&beside(file, "-wal"))? > 0;
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .immutable(!has_log)
        .log_statements("trace".parse().expect("trace is a level"));
    let mut database = options.connect().await?;
    let looked = ask(&mut database, file, key, sealer).await;
    database.close().await?;
    looked
}

async fn ask(
    database: &mut SqliteConnection,
    file: &Path,
    key: &Path,
    sealer: Option<&Sealer>,
) -> Result<bool, StoreError> {
    let mut holds_facts = false;
    let tables = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *database)
        .await?;
    let tables: Vec<String> = tables
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    if has("_sqlx_migrations") {
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut *database)
            .await?;
        let (found, known) = (row.try_get(0)?, newest_migration());
        if found > known {
            return Err(StoreError::Newer {
                file: file.to_owned(),
                found,
                known,
            });
        }
    }
    if has("meta") {
        let row = sqlx::query("SELECT value FROM meta WHERE name = 'key-check'")
            .fetch_optional(&mut *database)
            .await?;
        match (row, sealer) {
            (Some(_), None) => {
                return Err(StoreError::KeyMissing { path: key.to_owned() });
            }
            (Some(row), Some(sealer)) => {
                let opened = sealer.open_sealed(KEY_CHECK, row.try_get(0)?);
                opened.map_err(|_| StoreError::KeyForeign { path: key.to_owned() })?;
                holds_facts = true;
            }
            (None, _) => {}
        }
    }
    if size(file)? <= QUICK_CHECK_BYTES {
        let row = sqlx::query("PRAGMA quick_check(1)")
            .fetch_one(&mut *database)
            .await?;
        let found: String = row.try_get(0)?;
        if found != "ok" {
            return Err(StoreError::Damaged {
                file: file.to_owned(),
                source: found.into(),
            });
        }
    }
    Ok(holds_facts)
}

/// What is in the folder only if there was a database with facts: a session log, or an artifact's bytes.
fn evidence(folder: &Path) -> Result<Option<PathBuf>, StoreError> {
    let log = sessions::file_in(folder);
    if log.exists() {
        return Ok(Some(log));
    }
    let blobs = folder.join("blobs");
    if !blobs.is_dir() {
        return Ok(None);
    }
    for shelf in fs::read_dir(&blobs).map_err(StoreError::io("read", &blobs))? {
        let shelf = shelf.map_err(StoreError::io("read", &blobs))?.path();
        let mut files = fs::read_dir(&shelf).map_err(StoreError::io("read", &shelf))?;
        if let Some(file) = files.next() {
            return Ok(Some(file.map_err(StoreError::io("read", &shelf))?.path()));
        }
    }
    Ok(None)
}

/// The bytes of a file; none if it is not there.
fn size(file: &Path) -> Result<u64, StoreError> {
    match fs::metadata(file) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::io("read", file)(error)),
    }
}

/// The file that SQLite keeps beside a database.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The largest database of which every page is read at start: that takes well under a second from any disk in use. In a
/// larger one (some hundred thousand devices) a damaged page is noticed when it is read: nothing is made of it then, the call that
/// needs it fails and says so.
const QUICK_CHECK_BYTES: u64 = 128 << 20;
