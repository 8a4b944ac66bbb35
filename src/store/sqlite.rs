//! The database: one connection that writes, a few that read.

use std::collections::HashSet;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row, SqlSafeStr, Sqlite, SqliteConnection, Transaction};

use super::blobs::{Blob, Blobs, ReadSlot, StoredBlob, Upload, UploadError};
use super::disk::{Disk, LocalDisk};
use super::error::{DATABASE, StoreError};
use super::folder::{Folder, has_no_uploads};
use super::inspect::inspect;
use super::readers::ReadersBusy;
use super::reserve::Reserve;
use super::seal::Sealer;
use crate::fleet::Digest;

/// The store, open and locked.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) readers: SqlitePool,
    /// For those who ask whose key it is: a device waits in its handshake, whatever operators read meanwhile.
    pub(super) key_readers: SqlitePool,
    writer: SqlitePool,
    pub(super) sealer: Arc<Sealer>,
    blobs: Arc<Blobs>,
    pub(super) disk: Arc<dyn Disk>,
    /// Last, so that the lock goes last.
    pub(super) folder: Arc<Folder>,
}

impl Store {
    /// Opens the data folder, creating what is missing. The folder stays locked until the last clone is dropped.
    ///
    /// # Errors
    /// Another process has it, a newer program wrote it, something in it is damaged or gone, or the disk fails; see
    /// [`StoreError`]. What is found wrong is found before anything is changed.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
        let folder = Folder::open(&*disk, folder)?;
        let file = folder.path().join(DATABASE);
        let sealer = match inspect(folder.path()).await? {
            Some(sealer) => sealer,
            None => {
                has_no_uploads(folder.path())?;
                Sealer::make(&*disk, &key_file(folder.path()))?
            }
        };
        let blobs = Arc::new(Blobs::open_in(Arc::clone(&disk), folder.path())?);
        let store = Self::connect(disk, folder, sealer, blobs).await;
        store.map_err(|error| error.in_file(&file))
    }

    async fn connect(
        disk: Arc<dyn Disk>,
        folder: Folder,
        sealer: Sealer,
        blobs: Arc<Blobs>,
    ) -> Result<Self, StoreError> {
        let file = folder.path().join(DATABASE);
        only_for_us(&file)?;
        let options = connect_options(&file);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone().pragma("cache_size", WRITER_CACHE))
            .await?;
        migrate(&writer, &file, MIGRATIONS).await?;
        keep_key_check(&writer, &sealer).await?;
        let options = options.pragma("query_only", "ON");
        let readers = async |connections| {
            let pool = SqlitePoolOptions::new()
                .max_connections(connections)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None);
            pool.connect_with(options.clone()).await
        };
        let (readers, key_readers) = (readers(READERS).await?, readers(KEY_READERS).await?);

        let store = Self {
            inner: Arc::new(Inner {
                readers,
                key_readers,
                writer,
                sealer: Arc::new(sealer),
                blobs,
                disk,
                folder: Arc::new(folder),
            }),
        };
        let rows = sqlx::query("SELECT DISTINCT sha256 FROM artifacts")
            .fetch_all(&store.inner.readers)
            .await?;
        let named = rows
            .iter()
            .map(|row| digest(row.try_get(0)?))
            .collect::<Result<HashSet<_>, _>>()?;
        store.inner.blobs.sweep_unnamed(&named)?;
        Ok(store)
    }

    /// Begins a transaction. There is one at a time; the next waits for it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let writer = &self.inner.writer;
        let transaction = match writer.begin_with(BEGIN).await {
            Ok(transaction) => transaction,
            // A commit that failed, on a full disk for one, leaves a connection that believes itself in a transaction which
            // SQLite has ended, and begins no other. A fresh one does not.
            Err(_) => {
                writer.acquire().await?.close().await?;
                writer.begin_with(BEGIN).await?
            }
        };
        Ok(WriteTransaction {
            transaction,
            store: self.clone(),
        })
    }

    /// Finishes what is under way and closes the database, leaving no write-ahead log behind.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.key_readers.close().await;
        self.inner.writer.close().await;
    }

    /// The room that is kept for what has to be possible on a full disk.
    #[must_use]
    pub fn reserve(&self) -> &Arc<Reserve> {
        self.inner.blobs.reserve()
    }

    /// Begins an upload of at most `limit` bytes.
    ///
    /// # Errors
    /// The disk fails.
    pub fn begin_upload(&self, limit: u64) -> Result<Upload, UploadError> {
        self.inner.blobs.begin(limit)
    }

    /// Whether the disk takes bytes. Whether the database takes facts is for a transaction to find out.
    ///
    /// # Errors
    /// It does not.
    pub fn check_blobs(&self) -> Result<(), StoreError> {
        self.inner.blobs.check()
    }

    /// Gives uploaded bytes their name, before a fact names them.
    ///
    /// # Errors
    /// The disk fails.
    pub fn adopt(&self, upload: StoredBlob) -> Result<(), StoreError> {
        self.inner.blobs.adopt(upload)
    }

    /// Removes bytes that no fact names any more.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.inner.blobs.remove(digest)
    }

    /// The bytes with this digest. Takes no lock if they were read of late.
    ///
    /// # Errors
    /// There are none, or the disk fails.
    pub fn open_blob(&self, digest: &Digest) -> io::Result<Arc<Blob>> {
        self.inner.blobs.open(digest)
    }

    /// Fills `block` from `offset` on if that takes no waiting, neither for the disk nor for a lock. Allocates nothing.
    /// False if the bytes have to be asked for with [`Self::read_slot`].
    pub fn read_now(&self, digest: &Digest, offset: u64, block: &mut [u8]) -> bool {
        self.inner.blobs.read_now(digest, offset, block)
    }

    /// A place in the queue of the threads that wait for the disk.
    ///
    /// # Errors
    /// The queue is full.
    pub fn read_slot(&self) -> Result<ReadSlot<'_>, ReadersBusy> {
        self.inner.blobs.read_slot()
    }

    /// Has every reader wait, as behind a disk that does not answer, until what is returned is dropped.
    #[cfg(test)]
    pub fn stall_readers(&self) -> super::readers::Stall {
        self.inner.blobs.stall_readers()
    }
}

/// A transaction that writes. Dropped, it has changed nothing.
#[derive(Debug)]
pub struct WriteTransaction {
    transaction: Transaction<'static, Sqlite>,
    pub(super) store: Store,
}

impl WriteTransaction {
    /// Makes everything in it durable, at once.
    ///
    /// # Errors
    /// The database fails; nothing of it was kept then.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.transaction.commit().await?)
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

/// A digest as the database keeps it.
pub(super) fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    bytes
        .try_into()
        .map(Digest)
        .map_err(|_| StoreError::Corrupt(format!("a SHA-256 of {} bytes", bytes.len())))
}

/// A value of the database that the domain does not know.
pub(super) fn corrupt(error: impl ToString) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

/// Makes the database's file, or closes the one that is there to others. Its log gets the same mode from it.
fn only_for_us(file: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OURS)
        .open(file);
    let closed = opened.and_then(|opened| opened.set_permissions(Permissions::from_mode(OURS)));
    closed.map_err(StoreError::io("open", file))
}

fn connect_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // At debug they would drown everything else. Parsed, because the type is of a crate that is not named here.
        .log_statements("trace".parse().expect("trace is a level"))
}

async fn migrate(pool: &SqlitePool, file: &Path, migrations: &[MigrationText]) -> Result<(), StoreError> {
    let migrations: Vec<_> = migrations
        .iter()
        .map(|&(version, description, sql)| {
            Migration::new(
                version,
                description.into(),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        })
        .collect();
    Migrator::with_migrations(migrations)
        .run(pool)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(found) if found > newest_migration() => StoreError::Newer {
                file: file.to_owned(),
                found,
                known: newest_migration(),
            },
            MigrateError::Execute(error) => error.into(),
            error => StoreError::Database(Box::new(error)),
        })
}

/// The newest migration that this program knows.
pub fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.0).max().unwrap_or(0)
}

/// Seals something known at the first start, by which a foreign installation key is told at the next.
async fn keep_key_check(pool: &SqlitePool, sealer: &Sealer) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ('key-check', ?) ON CONFLICT DO NOTHING")
        .bind(sealer.seal(KEY_CHECK, KEY_CHECK))
        .execute(pool)
        .await?;
    Ok(())
}

/// Where a folder's installation key is.
pub fn key_file(folder: &Path) -> PathBuf {
    folder.join("installation.key")
}

/// A migration's number, its name, and what it does.
type MigrationText = (i64, &'static str, &'static str);

const MIGRATIONS: &[MigrationText] = &[
    (1, "fleet", include_str!("migrations/0001_fleet.sql")),
    (2, "timeline", include_str!("migrations/0002_timeline.sql")),
    (
        3,
        "first answers",
        include_str!("migrations/0003_first_answers.sql"),
    ),
    (
        4,
        "certificates",
        include_str!("migrations/0004_certificates.sql"),
    ),
    (
        5,
        "console sessions",
        include_str!("migrations/0005_console_sessions.sql"),
    ),
    (6, "history", include_str!("migrations/0006_history.sql")),
    (
        7,
        "audit filters",
        include_str!("migrations/0007_audit_filters.sql"),
    ),
    (8, "setbacks", include_str!("migrations/0008_setbacks.sql")),
    (
        9,
        "first answers by key",
        include_str!("migrations/0009_first_answers_by_key.sql"),
    ),
    (
        10,
        "failures of the past",
        include_str!("migrations/0010_failures_of_the_past.sql"),
    ),
];
/// What is sealed to tell one installation key from another.
pub const KEY_CHECK: &[u8] = b"key-check";
/// What is in the folder is for its owner alone, should the folder itself be opened to others.
const OURS: u32 = 0o600;
/// The lock for writing first: who has it cannot be told to try again.
const BEGIN: &str = "BEGIN IMMEDIATE";
/// Reads that wait for a checkpoint; nobody else writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// A reasoned guess: handshakes and pages of lists. Each is a thread.
const READERS: u32 = 4;
/// Each asks for a row or two by an index: some thousand handshakes a second.
const KEY_READERS: u32 = 2;
/// In KiB, negative as SQLite wants it: holds the upper levels of the indexes of a large fleet.
const WRITER_CACHE: &str = "-16384";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::timeline::TimelineFilter;
    use super::*;
    use crate::fleet::{Moment, TimelineEvent};

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        // What fills a gap later would come after others that are applied already, and an older program would not notice it.
        let versions: Vec<_> = MIGRATIONS.iter().map(|migration| migration.0).collect();
        assert_eq!(versions, Vec::from_iter(1..=newest_migration()));
    }

    #[tokio::test]
    async fn what_somebody_keeps_in_a_folder_called_uploads_is_no_upload() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("uploads/2024");
        std::fs::create_dir(folder.path().join("uploads")).unwrap();
        std::fs::write(&theirs, "photographs").unwrap();
        let refused = Store::open(folder.path()).await.unwrap_err().to_string();
        assert!(refused.contains("uploads/2024"), "{refused}");
        assert!(theirs.exists());
        std::fs::remove_file(&theirs).unwrap();
        drop(Store::open(folder.path()).await.unwrap());
        // What is there now is an upload that was not finished.
        std::fs::write(&theirs, "half").unwrap();
        Store::open(folder.path()).await.unwrap();
        assert!(!theirs.exists());
    }

    #[tokio::test]
    async fn what_is_in_the_folder_is_closed_to_others_whatever_the_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DATABASE);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let _store = Store::open(folder.path()).await.unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}: {mode:o}", entry.file_name());
            names.push(entry.file_name());
        }
        assert!(names.contains(&format!("{DATABASE}-wal").into()), "{names:?}");
    }

    #[tokio::test]
    async fn a_folder_of_every_older_program_opens_with_what_is_in_it() {
        for older in 1..MIGRATIONS.len() {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(DATABASE);
            let sealer = Sealer::make(&LocalDisk, &key_file(folder.path())).unwrap();
            let pool = SqlitePool::connect_with(connect_options(&file)).await.unwrap();
            migrate(&pool, &file, &MIGRATIONS[..older]).await.unwrap();
            keep_key_check(&pool, &sealer).await.unwrap();
            sqlx::raw_sql(
                "INSERT INTO projects (id, name, created_ms) VALUES (1, 'default', 0); \
                 INSERT INTO devices (id, project_id, name, enabled, revision, created_ms) VALUES (2, 1, 'd', 1, 0, 0);",
            )
            .execute(&pool)
            .await
            .unwrap();
            sqlx::query("INSERT INTO credentials (id, device_id, identity, sealed, created_ms) VALUES (3, 2, ?, ?, 0)")
                .bind(&b"one"[..])
                .bind(sealer.seal(b"one", b"secret"))
                .execute(&pool)
                .await
                .unwrap();
            let has_answers = older >= 3;
            if has_answers {
                let answer = "INSERT INTO first_answers (scope, request, at_ms) VALUES (zeroblob(32), zeroblob(32), 1)";
                sqlx::raw_sql(answer).execute(&pool).await.unwrap();
            }
            pool.close().await;

            let store = Store::open(folder.path()).await.unwrap();
            let answer = store.first_answer(&Digest([0; 32]), 0).await.unwrap();
            assert_eq!(answer.is_some(), has_answers);
            let found = store.device_by_identity(b"one").await.unwrap().unwrap();
            assert_eq!(found.secret.as_bytes(), b"secret");
            let moment = Moment {
                device: found.device.id,
                at_ms: 1,
                event: TimelineEvent::ManifestSent { sequence: 1 },
            };
            let mut tx = store.begin().await.unwrap();
            tx.append_timeline(std::slice::from_ref(&moment)).await.unwrap();
            tx.commit().await.unwrap();
            let filter = TimelineFilter {
                limit: 9,
                ..TimelineFilter::default()
            };
            let timeline = store.timeline(moment.device, &filter).await.unwrap();
            assert_eq!(timeline[0].event, moment.event);
        }
    }

    /// Statements run on threads of their own, where no test can listen to what is logged.
    #[test]
    fn statements_are_logged_at_trace_only() {
        let options = format!("{:?}", connect_options(Path::new("tessera.db")));
        assert!(options.contains("statements_level: Trace"), "{options}");
    }
}
