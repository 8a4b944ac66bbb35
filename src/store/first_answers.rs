//! What requests that name themselves were answered first.

use sqlx::Row;

use super::error::StoreError;
use super::sqlite::{Store, WriteTransaction, corrupt, digest};
use crate::fleet::{Digest, KeyId};

/// A request that names itself, so that it has one effect however often it is sent. The digests are SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnceKey {
    /// The API key that asked.
    pub by: KeyId,
    /// Who asked, and under which name.
    pub scope: Digest,
    /// What was asked.
    pub request: Digest,
}

/// An answer as it is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is known of a request that had its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAnswer {
    /// What was asked.
    pub request: Digest,
    /// What was answered; `None` where the process ended in between.
    pub answer: Option<KeptAnswer>,
}

impl WriteTransaction {
    /// Notes that a request has its effect in this transaction, and forgets what is older than `expired_ms` or one too
    /// many: of its API key the oldest past [`FIRST_ANSWERS_OF_A_KEY`], of all keys the oldest of the one with the most.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn insert_first_answer(
        &mut self,
        key: OnceKey,
        at_ms: i64,
        expired_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM first_answers WHERE at_ms <= ?")
            .bind(expired_ms)
            .execute(self.connection())
            .await?;
        // The scope can only be there if it has expired: whoever asks looks first, and one asks at a time.
        sqlx::query(
            "INSERT OR REPLACE INTO first_answers (scope, request, key_id, at_ms) VALUES (?, ?, ?, ?)",
        )
        .bind(key.scope.0.to_vec())
        .bind(key.request.0.to_vec())
        .bind(key.by.get())
        .bind(at_ms)
        .execute(self.connection())
        .await?;
        self.forget_first_answers(key.by, FIRST_ANSWERS_OF_A_KEY, FIRST_ANSWERS)
            .await
    }

    /// Forgets what is one too many, after one more of a key.
    async fn forget_first_answers(
        &mut self,
        by: KeyId,
        of_a_key: i64,
        of_all: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM first_answers WHERE key_id = ?1 AND id <= \
             (SELECT id FROM first_answers WHERE key_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(by.get())
        .bind(of_a_key)
        .execute(self.connection())
        .await?;
        // SQLite counts all rows page by page; only past the bound is each looked at.
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM first_answers")
            .fetch_one(self.connection())
            .await?;
        if count > of_all {
            // Rows of a program that did not note the key count as one key's.
            sqlx::query(
                "DELETE FROM first_answers WHERE id = (SELECT min(id) FROM first_answers GROUP BY key_id \
                 ORDER BY count(*) DESC, min(id) LIMIT 1)",
            )
            .execute(self.connection())
            .await?;
        }
        Ok(())
    }

    /// Keeps what a request was answered that had its effect.
    pub async fn set_first_answer(&mut self, key: OnceKey, answer: &KeptAnswer) -> Result<(), StoreError> {
        sqlx::query("UPDATE first_answers SET status = ?, answer = ? WHERE scope = ? AND request = ?")
            .bind(i64::from(answer.status))
            .bind(answer.body.clone())
            .bind(key.scope.0.to_vec())
            .bind(key.request.0.to_vec())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Forgets a request.
    pub async fn delete_first_answer(&mut self, key: OnceKey) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM first_answers WHERE scope = ?")
            .bind(key.scope.0.to_vec())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

impl Store {
    /// What a request of this scope was answered, unless that was before `expired_ms`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn first_answer(
        &self,
        scope: &Digest,
        expired_ms: i64,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        let row =
            sqlx::query("SELECT request, status, answer FROM first_answers WHERE scope = ? AND at_ms > ?")
                .bind(scope.0.to_vec())
                .bind(expired_ms)
                .fetch_optional(&self.inner.readers)
                .await?;
        let Some(row) = row else { return Ok(None) };
        let status: Option<i64> = row.try_get(1)?;
        let body: Option<Vec<u8>> = row.try_get(2)?;
        let answer = match (status, body) {
            (Some(status), Some(body)) => Some(KeptAnswer {
                status: u16::try_from(status).map_err(corrupt)?,
                body,
            }),
            (_, None) | (None, _) => None,
        };
        Ok(Some(FirstAnswer {
            request: digest(row.try_get(0)?)?,
            answer,
        }))
    }
}

/// First answers kept of one API key; past that its oldest is forgotten. A guess: a script that deploys every half minute, for a
/// day. The README and the API's description say it.
const FIRST_ANSWERS_OF_A_KEY: i64 = 4096;
/// First answers kept of all keys; past that the key with the most gives its oldest. A guess: four keys at their bound, or many that
/// are not. Were each answer as long as one may be, that would be 1 GiB.
const FIRST_ANSWERS: i64 = 4 * FIRST_ANSWERS_OF_A_KEY;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_and_the_expired_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let last = FIRST_ANSWERS_OF_A_KEY;
        let other = by(2, last + 9);
        tx.insert_first_answer(other, 1000, 0).await.unwrap();
        for n in 0..=last {
            tx.insert_first_answer(key(n), 1000 + n, 0).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(found(&store, 0, 0).await, None, "one too many");
        assert!(
            found(&store, last + 9, 0).await.is_some(),
            "another key's, though it is older"
        );
        assert!(found(&store, 1, 0).await.is_some());
        assert!(found(&store, 1, 1000).await.is_some());
        assert_eq!(
            found(&store, 1, 1001).await,
            None,
            "expired, though the row is there"
        );

        let answer = KeptAnswer {
            status: 201,
            body: b"{}".to_vec(),
        };
        let mut tx = store.begin().await.unwrap();
        tx.insert_first_answer(key(last + 1), 1000 + last, 1000 + last - 1)
            .await
            .unwrap();
        tx.set_first_answer(key(last), &answer).await.unwrap();
        let other = OnceKey {
            request: Digest([9; 32]),
            ..key(last + 1)
        };
        tx.set_first_answer(other, &answer).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(found(&store, last - 1, 0).await, None, "expired");
        assert_eq!(found(&store, last, 0).await.unwrap().answer, Some(answer));
        assert_eq!(found(&store, last + 1, 0).await.unwrap().answer, None);

        let mut tx = store.begin().await.unwrap();
        tx.delete_first_answer(key(last)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(found(&store, last, 0).await, None);
    }

    #[tokio::test]
    async fn of_all_keys_the_one_with_the_most_gives_its_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        for (n, key) in (0..).zip([1, 1, 2, 2, 2, 3, 3, 3, 3]) {
            tx.insert_first_answer(by(key, n), 1000, 0).await.unwrap();
        }
        // As a program left them that did not note the key.
        sqlx::query("UPDATE first_answers SET key_id = NULL WHERE key_id = 3")
            .execute(tx.connection())
            .await
            .unwrap();
        for n in 9..13 {
            tx.insert_first_answer(by(4, n), 1000, 0).await.unwrap();
            tx.forget_first_answers(KeyId::new(4), 3, 9).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut kept = Vec::new();
        for n in 0..13 {
            kept.extend(found(&store, n, 0).await.map(|_| n));
        }
        // 5 went as one of four, 2 and 6 as the oldest of three, 9 because the key has its bound.
        assert_eq!(kept, [0, 1, 3, 4, 7, 8, 10, 11, 12]);
    }

    async fn found(store: &Store, n: i64, expired_ms: i64) -> Option<FirstAnswer> {
        store.first_answer(&key(n).scope, expired_ms).await.unwrap()
    }

    fn key(n: i64) -> OnceKey {
        by(1, n)
    }

    fn by(key: i64, n: i64) -> OnceKey {
        let mut scope = [0; 32];
        scope[..8].copy_from_slice(&n.to_be_bytes());
        OnceKey {
            by: KeyId::new(key),
            scope: Digest(scope),
            request: Digest([1; 32]),
        }
    }
}
