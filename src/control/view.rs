//! The published state: replaced whole after every commit, read without a lock.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use super::console::ConsoleSessions;
use crate::fleet::{Actor, ApiKey, Artifact, CohortId, Digest, Fleet, KeyId, Project, Refusal};
use crate::manifest::Manifest;
use crate::store::KeyHash;

/// Everything small, as of one commit. Dereferences to the [`Fleet`].
#[derive(Debug, Clone, Default)]
pub struct View {
    pub(super) fleet: Fleet,
    pub(super) manifests: HashMap<CohortId, Arc<Manifest>>,
    pub(super) keys: HashMap<KeyHash, Arc<ApiKey>>,
    pub(super) console_sessions: Arc<ConsoleSessions>,
}

impl View {
    /// The projects and what belongs to them.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The manifest of a cohort's active deployment, encoded once. Takes no lock and allocates nothing.
    #[must_use]
    pub fn manifest(&self, cohort: CohortId) -> Option<&Arc<Manifest>> {
        self.manifests.get(&cohort)
    }

    /// The project that is made at first start.
    #[must_use]
    pub fn default_project(&self) -> &Arc<Project> {
        self.fleet
            .projects()
            .next()
            .expect("the first start makes a project, and projects are not deleted")
    }

    /// Whether an artifact has the bytes with this digest.
    pub(super) fn names(&self, digest: &Digest) -> bool {
        self.artifacts().any(|artifact| artifact.digest == *digest)
    }

    /// Every artifact of every project.
    pub(super) fn artifacts(&self) -> impl Iterator<Item = &Arc<Artifact>> {
        let packages = self
            .fleet
            .projects()
            .flat_map(|project| project.packages.values());
        packages.flat_map(|package| package.artifacts.values())
    }

    /// All API keys that were not revoked, oldest first.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<ApiKey>> {
        let mut keys: Vec<_> = self.keys.values().cloned().collect();
        keys.sort_by_key(|key| key.id);
        keys
    }

    /// The API key with this id.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Arc<ApiKey>> {
        self.keys.values().find(|key| key.id == id)
    }

    /// The key that stays, as there has to be one that administers at `unix_ms`: the one that lasts longer than all others. Without it
    /// the day on which nobody can administer would come sooner.
    #[must_use]
    pub fn last_admin(&self, unix_ms: i64) -> Option<KeyId> {
        let ends_ms = |key: &ApiKey| key.expires_ms.unwrap_or(i64::MAX);
        let admins = || self.keys.values().filter(|key| key.administers(unix_ms));
        let longest = admins().max_by_key(|key| ends_ms(key))?;
        let as_long = admins().filter(|key| ends_ms(key) == ends_ms(longest));
        (as_long.count() == 1).then_some(longest.id)
    }

    /// Whether the key is good at `unix_ms` by whose leave somebody orders.
    ///
    /// # Errors
    /// It was revoked, or has expired.
    pub fn allows(&self, actor: &Actor, unix_ms: i64) -> Result<(), Refusal> {
        actor.check(unix_ms, |id| self.key(id).map(|key| &**key))
    }
}

impl Deref for View {
    type Target = Fleet;
    fn deref(&self) -> &Fleet {
        &self.fleet
    }
}
