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

/// A session that somebody came with, to be asked for again while they stay. Nobody can sign in with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionMark(KeyHash);

impl SessionMark {
    /// That of the session whose cookie holds this; whether there is one is not said.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(keys::hash(text))
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
        self.marked_session(&SessionMark::of(text), unix_ms)
    }

    /// The same for a session that was asked for before.
    pub fn marked_session(&self, SessionMark(hash): &SessionMark, unix_ms: i64) -> Option<Arc<ApiKey>> {
        let view = self.view();
        let session = view.console_sessions.get(hash)?;
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

    fn is_vital(&self) -> bool {
        true
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
        let gone = Superfluous::of(&batch.view().console_sessions, key.id, at_ms);
        for hash in gone.ended {
            close(batch, &hash).await?;
        }
        for row in gone.crowded_out {
            close(batch, &row.hash).await?;
            let closed = BeforeAfter::deleted(json!({ "expiresMs": row.expires_ms, "crowdedOut": true }));
            batch.audit(&Actor::named(&key.name), None, "session.close", key.id, closed);
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

    fn is_vital(&self) -> bool {
        true
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

/// Sessions that give way to one more of a key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Superfluous {
    /// Those that have ended, of all keys.
    ended: Vec<KeyHash>,
    /// The oldest of this key, where there is no room for one more. Those of other keys stay: who may sign in with one key signs
    /// nobody else out.
    crowded_out: Vec<ConsoleSessionRow>,
}

impl Superfluous {
    fn of(sessions: &ConsoleSessions, key: KeyId, at_ms: i64) -> Self {
        let (live, ended): (Vec<&ConsoleSessionRow>, Vec<&ConsoleSessionRow>) =
            sessions.values().partition(|row| at_ms < row.expires_ms);
        let mut of_key: Vec<_> = live.into_iter().filter(|row| row.key == key).copied().collect();
        of_key.sort_unstable_by_key(|row| (row.opened_ms, row.hash));
        of_key.truncate((of_key.len() + 1).saturating_sub(SESSIONS_OF_A_KEY));
        Self {
            ended: ended.iter().map(|row| row.hash).collect(),
            crowded_out: of_key,
        }
    }
}

/// A working day: long enough not to ask twice in one, short enough for a laptop that was left behind.
const SESSION_MS: i64 = 12 * 60 * 60 * 1000;
/// Sessions of a key at a time: a reasoned guess, a shift that shares a key, with some browsers each. Past it the oldest ends.
const SESSIONS_OF_A_KEY: usize = 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{ConsoleSessions, SESSIONS_OF_A_KEY, Superfluous};
    use crate::fleet::KeyId;
    use crate::store::ConsoleSessionRow;

    const MINE: KeyId = KeyId::new(1);
    const OTHER: KeyId = KeyId::new(2);

    fn row(number: u32, key: KeyId, expires_ms: i64) -> ConsoleSessionRow {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        ConsoleSessionRow {
            hash,
            key,
            opened_ms: i64::from(number),
            expires_ms,
        }
    }

    fn all(rows: &[ConsoleSessionRow]) -> ConsoleSessions {
        rows.iter().map(|row| (row.hash, *row)).collect()
    }

    #[test]
    fn what_has_ended_goes_whosever_it_is() {
        let few = all(&[row(1, MINE, 100), row(2, OTHER, 99), row(3, MINE, 101)]);
        let mut gone = Superfluous::of(&few, MINE, 100);
        gone.ended.sort_unstable();
        assert_eq!(gone.ended, [row(1, MINE, 0).hash, row(2, OTHER, 0).hash]);
        assert_eq!(gone.crowded_out, []);
    }

    #[test]
    fn the_oldest_of_the_key_gives_way_and_nobody_elses() {
        let full = u32::try_from(SESSIONS_OF_A_KEY).unwrap();
        let older = row(0, OTHER, 200);
        let mut rows = vec![older];
        rows.extend((1..=full).map(|number| row(number, MINE, 200)));
        let gone = Superfluous::of(&all(&rows), MINE, 100);
        assert_eq!(gone.crowded_out, [row(1, MINE, 200)]);
        assert_eq!(Superfluous::of(&all(&rows), OTHER, 100), Superfluous::default());
        // As many as a former version kept.
        rows.extend((full + 1..=full + 3).map(|number| row(number, MINE, 200)));
        let gone = Superfluous::of(&all(&rows), MINE, 100).crowded_out;
        assert_eq!(gone, [1, 2, 3, 4].map(|number| row(number, MINE, 200)));
        rows.truncate(SESSIONS_OF_A_KEY);
        assert_eq!(Superfluous::of(&all(&rows), MINE, 100), Superfluous::default());
    }
}
