//! API keys: made, shown once, kept as a hash.

use std::fmt;
use std::sync::Arc;

use rand::Rng as _;
use serde_json::json;

use super::batch::{Batch, BeforeAfter, Decision, Stop};
use crate::fleet::{Actor, ApiKey, Digest, KeyId, KeyName, Kind, Refusal, Role};
use crate::store::{KeyHash, KeyRow};

/// A key just made. The text is not kept anywhere.
#[derive(Clone)]
pub struct CreatedKey {
    /// What is kept.
    pub key: Arc<ApiKey>,
    /// The key itself, to be shown this once.
    pub text: String,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What is kept of a key's text. The text is 256 random bits, or chosen by the operator for the bootstrap key, so it
/// needs no salt and no slowness.
#[must_use]
pub fn hash(text: &str) -> KeyHash {
    Digest::of(text.as_bytes()).0
}

/// Whether a key's text is as [`CreateKey`] makes it: 256 random bits, unless somebody has chosen a text of this form.
#[must_use]
pub fn is_made(text: &str) -> bool {
    let decoded = text
        .strip_prefix(PREFIX)
        .map(|bits| data_encoding::BASE64URL_NOPAD.decode(bits.as_bytes()));
    matches!(decoded, Some(Ok(bytes)) if bytes.len() == KEY_BYTES)
}

/// Makes an API key.
pub struct CreateKey {
    pub actor: Actor,
    pub name: KeyName,
    pub role: Role,
    pub expires_ms: Option<i64>,
}

impl Decision for CreateKey {
    type Answer = CreatedKey;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(self, batch: &mut Batch) -> Result<CreatedKey, Stop> {
        if batch.view().keys.values().any(|key| key.name == self.name) {
            return Err(Refusal::Taken {
                kind: Kind::ApiKey,
                value: self.name.to_string(),
                by: None,
            }
            .into());
        }
        let mut bytes = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        let text = format!("{PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&bytes));
        let key = insert(
            batch,
            &self.actor,
            self.name,
            self.role,
            self.expires_ms,
            hash(&text),
        )
        .await?;
        Ok(CreatedKey { key, text })
    }
}

/// Sees to it that the bootstrap key of the configuration is one, and the only one by its name.
pub struct BootstrapKey {
    pub text: String,
}

/// What became of the bootstrap key of the configuration.
#[derive(Debug)]
pub enum Bootstrapped {
    /// It is a key.
    Holds,
    /// It was one, and was revoked, which is for good. Nothing was changed.
    Revoked(Box<KeyRow>),
}

impl Decision for BootstrapKey {
    type Answer = Bootstrapped;

    fn actor(&self) -> Option<&Actor> {
        None
    }

    async fn decide(self, batch: &mut Batch) -> Result<Bootstrapped, Stop> {
        let name = KeyName::bootstrap();
        let hash = hash(&self.text);
        if batch.view().keys.contains_key(&hash) {
            return Ok(Bootstrapped::Holds);
        }
        if let Some(row) = batch.tx.key_by_hash(&hash).await? {
            return Ok(Bootstrapped::Revoked(Box::new(row)));
        }
        let former: Vec<_> = batch
            .view()
            .keys
            .iter()
            .filter(|(_, key)| key.name == name)
            .map(|(&h, _)| h)
            .collect();
        for former in former {
            revoke(batch, &Actor::system(), former).await?;
        }
        insert(batch, &Actor::system(), name, Role::Admin, None, hash).await?;
        Ok(Bootstrapped::Holds)
    }
}

/// Ends an API key.
pub struct RevokeKey {
    pub actor: Actor,
    pub id: KeyId,
}

impl Decision for RevokeKey {
    type Answer = Arc<ApiKey>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        true
    }

    async fn decide(self, batch: &mut Batch) -> Result<Arc<ApiKey>, Stop> {
        let keys = &batch.view().keys;
        let Some((&hash, key)) = keys.iter().find(|(_, key)| key.id == self.id) else {
            let accepted = "the id of a key as listed".to_owned();
            return Err(Refusal::Unknown {
                kind: Kind::ApiKey,
                value: self.id.to_string(),
                accepted,
            }
            .into());
        };
        let key = Arc::clone(key);
        if batch.view().last_admin(batch.at_ms) == Some(key.id) {
            let mut others = keys.values().filter(|other| other.id != key.id);
            return Err(Refusal::LastAdminKey {
                value: key.name.to_string(),
                others: others.any(|other| other.administers(batch.at_ms)),
            }
            .into());
        }
        revoke(batch, &self.actor, hash).await?;
        Ok(key)
    }
}

async fn insert(
    batch: &mut Batch,
    actor: &Actor,
    name: KeyName,
    role: Role,
    expires_ms: Option<i64>,
    hash: KeyHash,
) -> Result<Arc<ApiKey>, Stop> {
    let id = KeyId::new(batch.view_mut().fleet.take_id());
    let key = Arc::new(ApiKey {
        id,
        name,
        role,
        created_ms: batch.at_ms,
        expires_ms,
    });
    batch
        .tx
        .insert_key(&KeyRow {
            key: ApiKey::clone(&key),
            hash,
            revoked_ms: None,
        })
        .await?;
    batch.view_mut().keys.insert(hash, Arc::clone(&key));
    let created = BeforeAfter::created(json!({ "name": key.name, "role": role, "expiresMs": expires_ms }));
    batch.audit(actor, None, "key.create", id, created);
    Ok(key)
}

async fn revoke(batch: &mut Batch, actor: &Actor, hash: KeyHash) -> Result<(), Stop> {
    let at_ms = batch.at_ms;
    if let Some(key) = batch.view_mut().keys.remove(&hash) {
        batch.tx.revoke_key(key.id, at_ms).await?;
        let deleted = BeforeAfter::deleted(json!({ "name": key.name, "role": key.role }));
        batch.audit(actor, None, "key.revoke", key.id, deleted);
    }
    Ok(())
}

/// As many as nobody guesses.
const KEY_BYTES: usize = 32;

/// So that scanners of source code can tell what leaked.
const PREFIX: &str = "tsk_";
