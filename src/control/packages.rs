//! Commands on packages and artifacts.

use std::sync::Arc;

use serde_json::{Value, json};

use super::batch::{Batch, BeforeAfter, Decision, Done, Stop};
use crate::fleet::{
    Actor, Artifact, ArtifactOutcome, ArtifactSize, ImageKind, NewArtifact, NewPackage, Package, PackageName,
    ProjectId, Version,
};
use crate::store::{StoreError, StoredBlob};
use crate::telemetry::{self, GatewayEvent, StoreOperation};

/// Makes a package.
pub struct CreatePackage {
    pub actor: Actor,
    pub project: ProjectId,
    pub new: NewPackage,
}

impl Decision for CreatePackage {
    type Answer = Arc<Package>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(self, batch: &mut Batch) -> Result<Arc<Package>, Stop> {
        let at_ms = batch.at_ms;
        let package = batch
            .view_mut()
            .fleet
            .create_package(self.project, self.new, at_ms)?;
        keep_package(batch, &self.actor, &package).await?;
        Ok(package)
    }
}

/// Removes a package.
pub struct DeletePackage {
    pub actor: Actor,
    pub project: ProjectId,
    pub name: PackageName,
}

impl Decision for DeletePackage {
    type Answer = Arc<Package>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        true
    }

    async fn decide(self, batch: &mut Batch) -> Result<Arc<Package>, Stop> {
        let package = batch.view_mut().fleet.delete_package(self.project, &self.name)?;
        batch.tx.delete_package(package.id).await?;
        let deleted =
            BeforeAfter::deleted(json!({ "name": package.name, "description": package.description }));
        batch.audit(
            &self.actor,
            Some(self.project),
            "package.delete",
            &package.name,
            deleted,
        );
        Ok(package)
    }
}

/// Makes an artifact of bytes that are durable and have no name yet.
pub struct AddArtifact {
    pub actor: Actor,
    pub project: ProjectId,
    pub package: PackageName,
    pub version: Version,
    pub bytes: StoredBlob,
    pub no_package: NoPackage,
}

/// What becomes of an artifact whose package is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPackage {
    /// It is refused.
    Refuse,
    /// The package is made, in the same step.
    Make,
}

impl Decision for AddArtifact {
    type Answer = ArtifactOutcome;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(self, batch: &mut Batch) -> Result<ArtifactOutcome, Stop> {
        let (kind, image_version) = ImageKind::inspect(&self.bytes.head);
        let new = NewArtifact {
            package: self.package,
            version: self.version,
            size: ArtifactSize::new(self.bytes.length)?,
            digest: self.bytes.digest,
            kind,
            image_version,
        };
        let at_ms = batch.at_ms;
        let fleet = &mut batch.view_mut().fleet;
        let is_there = fleet.in_project(self.project)?.package(&new.package).is_some();
        let made = match self.no_package {
            NoPackage::Make if !is_there => {
                let package = NewPackage::named(new.package.clone());
                Some(fleet.create_package(self.project, package, at_ms)?)
            }
            NoPackage::Make | NoPackage::Refuse => None,
        };
        // With its package just made it is not refused: nothing is in its way there.
        let outcome = fleet.add_artifact(self.project, new, at_ms)?;
        let ArtifactOutcome::Added(artifact) = &outcome else {
            return Ok(outcome);
        };
        // The bytes get their name before a fact names them. The writer does it, so that nobody removes them meanwhile.
        let store = batch.store.clone();
        let adopted = tokio::task::spawn_blocking(move || store.adopt(self.bytes)).await;
        let adopted = adopted.unwrap_or_else(|error| Err(StoreError::Database(Box::new(error))));
        if let Err(error) = adopted {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                artifact = subject(artifact),
                "uploaded bytes were not kept"
            );
            telemetry::emit(GatewayEvent::StoreFailed(StoreOperation::Blob));
            // Nothing was written yet: with its name gone from the view, the upload has failed and nothing else.
            let fleet = &mut batch.view_mut().fleet;
            fleet.delete_artifact(self.project, &artifact.package, &artifact.version)?;
            if let Some(made) = &made {
                fleet.delete_package(self.project, &made.name)?;
            }
            return Err(Stop::FailedAlone(error));
        }
        if let Some(made) = &made {
            keep_package(batch, &self.actor, made).await?;
        }
        batch.tx.insert_artifact(artifact).await?;
        batch
            .events
            .push(GatewayEvent::ArtifactStored(artifact.size.get()));
        let created = BeforeAfter::created(describe(artifact));
        batch.audit(
            &self.actor,
            Some(self.project),
            "artifact.create",
            subject(artifact),
            created,
        );
        batch.done.push(Done::Stored {
            artifact: Arc::clone(artifact),
            author: self.actor,
        });
        Ok(outcome)
    }
}

/// Removes an artifact.
pub struct DeleteArtifact {
    pub actor: Actor,
    pub project: ProjectId,
    pub package: PackageName,
    pub version: Version,
}

impl Decision for DeleteArtifact {
    type Answer = Arc<Artifact>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        true
    }

    async fn decide(self, batch: &mut Batch) -> Result<Arc<Artifact>, Stop> {
        let artifact = batch
            .view_mut()
            .fleet
            .delete_artifact(self.project, &self.package, &self.version)?;
        batch.tx.delete_artifact(artifact.id).await?;
        batch.unnamed.push(artifact.digest);
        let deleted = BeforeAfter::deleted(describe(&artifact));
        batch.audit(
            &self.actor,
            Some(self.project),
            "artifact.delete",
            subject(&artifact),
            deleted,
        );
        Ok(artifact)
    }
}

/// Writes a package that the fleet has already.
async fn keep_package(batch: &mut Batch, actor: &Actor, package: &Package) -> Result<(), StoreError> {
    batch.tx.insert_package(package).await?;
    let after =
        json!({ "name": package.name, "description": package.description, "metadata": package.metadata });
    let created = BeforeAfter::created(after);
    batch.audit(
        actor,
        Some(package.project),
        "package.create",
        &package.name,
        created,
    );
    Ok(())
}

fn subject(artifact: &Artifact) -> String {
    format!("{}@{}", artifact.package, artifact.version)
}

fn describe(artifact: &Artifact) -> Value {
    json!({ "size": artifact.size.get(), "sha256": artifact.digest, "type": artifact.kind.as_str() })
}
