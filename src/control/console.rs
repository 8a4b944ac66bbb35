//! Who is signed in to the console: opened with an API key, known by a hash, and over when the key is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rand::Rng as _;
use serde_json::json;

use super::batch::{Batch, BeforeAfter, Decision, Stop};
use super::error::ControlError;
use super::handle::Control;
use super::keys;
use crate::fleet::{Actor, ApiKey, KeyId, Kind, Refusal};
use crate::store::{ConsoleSessionRow, KeyHash};

/// Sessions by the hash of what their cookies hold.
pub type ConsoleSessions = HashMap<KeyHash, ConsoleSessionRow>;

/// A session just opened. The text is not kept anywhere.
pub struct OpenedSession {
    /// What the cookie holds.
    pub text: String,
    /// When it ends, in milliseconds of Unix time.
    pub expires_ms: i64,
}

impl fmt::Debug for OpenedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedSession")
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Signs in to the console with a key.
    ///
    /// # Errors
    /// The key is gone; otherwise see [`ControlError`].
    pub async fn open_console_session(&self, key: KeyId) -> Result<OpenedSession, ControlError> {
        self.order(OpenSession { key }).await
    }

    /// Signs out. What is no session is none already.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn close_console_session(&self, text: &str) -> Result<(), ControlError> {
        let hash = keys::hash(text);
        self.order(CloseSession { hash }).await
    }

    /// The key that a session was opened with, if it is one, and neither it nor the key has ended at `unix_ms`.
    pub fn console_session(&self, text: &str, unix_ms: i64) -> Option<Arc<ApiKey>> {
        let view = self.view();
        let session = view.console_sessions.get(&keys::hash(text))?;
        let key = view.key(session.key)?;
        (unix_ms < session.expires_ms && key.is_live(unix_ms)).then(|| Arc::clone(key))
    }
}

struct OpenSession {
    key: KeyId,
}

impl Decision for OpenSession {
    type Answer = OpenedSession;

    fn actor(&self) -> Option<&Actor> {
        None
    }

    async fn decide(self, batch: &mut Batch) -> Result<OpenedSession, Stop> {
        let at_ms = batch.at_ms;
        let Some(key) = batch.view().key(self.key).cloned() else {
            return Err(Refusal::Unknown {
                kind: Kind::ApiKey,
                value: self.key.to_string(),
                accepted: "the id of a key as listed".to_owned(),
            }
            .into());
        };
        for hash in superfluous(&batch.view().console_sessions, at_ms) {
            close(batch, &hash).await?;
        }
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let text = data_encoding::BASE64URL_NOPAD.encode(&bytes);
        let longest = at_ms.saturating_add(SESSION_MS);
        let row = ConsoleSessionRow {
            hash: keys::hash(&text),
            key: key.id,
            opened_ms: at_ms,
            expires_ms: key.expires_ms.map_or(longest, |ends| ends.min(longest)),
        };
        batch.tx.insert_console_session(&row).await?;
        Arc::make_mut(&mut batch.view_mut().console_sessions).insert(row.hash, row);
        let opened = BeforeAfter::created(json!({ "expiresMs": row.expires_ms }));
        batch.audit(&Actor::named(&key.name), None, "session.open", key.id, opened);
        Ok(OpenedSession {
            text,
            expires_ms: row.expires_ms,
        })
    }
}

struct CloseSession {
    hash: KeyHash,
}

impl Decision for CloseSession {
    type Answer = ();

    fn actor(&self) -> Option<&Actor> {
        None
    }

    async fn decide(self, batch: &mut Batch) -> Result<(), Stop> {
        let Some(row) = batch.view().console_sessions.get(&self.hash).copied() else {
            return Ok(());
        };
        close(batch, &self.hash).await?;
        if let Some(key) = batch.view().key(row.key).cloned() {
            let closed = BeforeAfter::deleted(json!({ "expiresMs": row.expires_ms }));
            batch.audit(&Actor::named(&key.name), None, "session.close", key.id, closed);
        }
        Ok(())
    }
}

async fn close(batch: &mut Batch, hash: &KeyHash) -> Result<(), Stop> {
    batch.tx.delete_console_session(hash).await?;
    Arc::make_mut(&mut batch.view_mut().console_sessions).remove(hash);
    Ok(())
}

/// Those that have ended, and the oldest of the rest where there is no room for one more.
fn superfluous(sessions: &ConsoleSessions, at_ms: i64) -> Vec<KeyHash> {
    let (live, ended): (Vec<&ConsoleSessionRow>, Vec<&ConsoleSessionRow>) =
        sessions.values().partition(|row| at_ms < row.expires_ms);
    let mut gone: Vec<_> = ended.iter().map(|row| row.hash).collect();
    let oldest = live.iter().min_by_key(|row| row.opened_ms);
    if live.len() >= SESSIONS_MAX {
        gone.extend(oldest.map(|row| row.hash));
    }
    gone
}

/// A working day: long enough not to ask twice in one, short enough for a laptop that was left behind.
const SESSION_MS: i64 = 12 * 60 * 60 * 1000;
/// Sessions at a time, over all keys: a reasoned guess, an operations department with some browsers each. Past it the oldest ends.
const SESSIONS_MAX: usize = 1000;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{ConsoleSessions, SESSIONS_MAX, superfluous};
    use crate::fleet::KeyId;
    use crate::store::ConsoleSessionRow;

    fn row(number: u32, expires_ms: i64) -> ConsoleSessionRow {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        ConsoleSessionRow {
            hash,
            key: KeyId::new(1),
            opened_ms: i64::from(number),
            expires_ms,
        }
    }

    #[test]
    fn what_has_ended_goes_and_the_oldest_when_there_is_no_room() {
        let all = |rows: &[ConsoleSessionRow]| -> ConsoleSessions {
            rows.iter().map(|row| (row.hash, *row)).collect()
        };
        let few = all(&[row(1, 100), row(2, 99), row(3, 101)]);
        let mut gone = superfluous(&few, 100);
        gone.sort_unstable();
        assert_eq!(gone, [row(1, 0).hash, row(2, 0).hash]);
        let full: Vec<_> = (0..u32::try_from(SESSIONS_MAX).unwrap())
            .map(|n| row(n + 7, 200))
            .collect();
        assert_eq!(superfluous(&all(&full), 100), [row(7, 0).hash]);
        assert!(superfluous(&all(&full[1..]), 100).is_empty());
    }
}
