//! Who is signed in to the console: rows of hashes, so that a copy of the database signs nobody in.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::error::StoreError;
use super::facts::KeyHash;
use super::sqlite::{Store, WriteTransaction, corrupt};
use crate::fleet::KeyId;

/// A session of the console as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleSessionRow {
    /// The SHA-256 of the text in the cookie.
    pub hash: KeyHash,
    /// The API key that signed in.
    pub key: KeyId,
    /// When, in milliseconds of Unix time.
    pub opened_ms: i64,
    /// When it ends, in milliseconds of Unix time.
    pub expires_ms: i64,
}

impl WriteTransaction {
    /// Keeps a session.
    pub async fn insert_console_session(&mut self, row: &ConsoleSessionRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO console_sessions (sha256, key_id, opened_ms, expires_ms) VALUES (?, ?, ?, ?)",
        )
        .bind(row.hash.to_vec())
        .bind(row.key.get())
        .bind(row.opened_ms)
        .bind(row.expires_ms)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Forgets a session.
    pub async fn delete_console_session(&mut self, hash: &KeyHash) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM console_sessions WHERE sha256 = ?")
            .bind(hash.to_vec())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

impl Store {
    /// Every session that is kept, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn console_sessions(&self) -> Result<Vec<ConsoleSessionRow>, StoreError> {
        let mut reader = self.inner.readers.begin().await?;
        sqlx::query("SELECT sha256, key_id, opened_ms, expires_ms FROM console_sessions ORDER BY opened_ms")
            .fetch_all(&mut *reader)
            .await?
            .iter()
            .map(session)
            .collect()
    }
}

fn session(row: &SqliteRow) -> Result<ConsoleSessionRow, StoreError> {
    let hash: Vec<u8> = row.try_get(0)?;
    Ok(ConsoleSessionRow {
        hash: hash
            .try_into()
            .map_err(|_| corrupt("a session's hash has not 32 bytes"))?,
        key: KeyId::new(row.try_get(1)?),
        opened_ms: row.try_get(2)?,
        expires_ms: row.try_get(3)?,
    })
}
