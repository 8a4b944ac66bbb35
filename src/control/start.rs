//! From what is on disk to the first view.

use std::sync::Arc;

use tracing::warn;

use super::batch::{Batch, Decision, Stop};
use super::error::ControlError;
use super::handle::Options;
use super::keys::{BootstrapKey, Bootstrapped, CreateKey, CreatedKey};
use super::view::View;
use crate::fleet::{Actor, Fleet, KeyName, ProjectName, Refusal, Role};
use crate::manifest::Manifest;
use crate::store::{Store, StoreError};

/// Reads everything that a view is made of, and encodes the manifests.
///
/// # Errors
/// The store fails, or what it holds makes no sense.
pub async fn load(store: &Store) -> Result<View, StoreError> {
    let (records, keys) = store.load().await?;
    let fleet = Fleet::restore(records).map_err(StoreError::Corrupt)?;
    let cohorts = fleet.projects().flat_map(|project| project.cohorts.values());
    let manifests = cohorts
        .filter_map(|cohort| Some((cohort.id, Arc::new(Manifest::encode(cohort.active()?)))))
        .collect();
    let keys = keys
        .into_iter()
        .filter(|row| row.revoked_ms.is_none())
        .map(|row| (row.hash, Arc::new(row.key)));
    let sessions = store.console_sessions().await?;
    Ok(View {
        manifests,
        console_sessions: Arc::new(sessions.into_iter().map(|row| (row.hash, row)).collect()),
        keys: keys.collect(),
        fleet,
    })
}

/// What a first start makes: the project and a key to begin with.
///
/// # Errors
/// The store fails.
pub async fn first_steps(
    store: &Store,
    view: View,
    options: Options,
) -> Result<(Arc<View>, Option<CreatedKey>), ControlError> {
    let published = Arc::new(view);
    let mut batch = Batch::begin(store, &Arc::default(), Arc::clone(&published)).await?;
    if batch.view().projects().next().is_none() {
        let (name, at_ms) = (ProjectName::parse("default").map_err(Refusal::from)?, batch.at_ms);
        let project = batch.view_mut().fleet.create_project(name, at_ms)?;
        batch.tx.insert_project(&project).await?;
    }
    let stopped = |stop| match stop {
        Stop::Refused(refusal) => ControlError::Refused(refusal),
        Stop::FailedAlone(error) | Stop::Failed(error) => ControlError::from(error),
    };
    let bootstrapped = match options.bootstrap_key {
        Some(text) => Some(BootstrapKey { text }.decide(&mut batch).await.map_err(stopped)?),
        None => None,
    };
    if let Some(Bootstrapped::Revoked(row)) = &bootstrapped {
        warn!(
            id = %row.key.id,
            name = %row.key.name,
            "admin.bootstrap_key is a key that was revoked, which is for good: nobody is let in with it. Configure another \
             one, or none if there are other admin keys"
        );
    }
    let mut first = None;
    if batch.view().keys.is_empty() {
        let name = KeyName::parse("first admin key").map_err(Refusal::from)?;
        let order = CreateKey {
            actor: Actor::system(),
            name,
            role: Role::Admin,
            expires_ms: None,
        };
        first = Some(order.decide(&mut batch).await.map_err(stopped)?);
    }
    let at_ms = batch.at_ms;
    if !batch.view().keys.values().any(|key| key.administers(at_ms)) {
        warn!(
            "no admin key is left: they were revoked or have expired, and nobody can make or revoke keys. To get one, configure \
             admin.bootstrap_key (TESSERA__ADMIN__BOOTSTRAP_KEY) with a text that was no key before, and start again"
        );
    }
    let committed = batch.commit(&published).await?;
    Ok((committed.view, first))
}
