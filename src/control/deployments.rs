//! Commands on deployments.

use std::sync::Arc;

use serde_json::json;

use super::batch::{Batch, BeforeAfter, Decision, Done, Stop};
use super::change::Change;
use super::estimate::Estimate;
use crate::fleet::{
    Actor, Caution, DeployedArtifact, Deployment, DeploymentOrder, Difference, Finding, MANIFEST_LIMIT,
    ProjectId, Refusal,
};
use crate::manifest::Manifest;

/// What a deployment would do, without doing it.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The deployment it would be. Its id and sequence number are those of the moment.
    pub deployment: Deployment,
    /// What is active at that moment: what a review is of, and what its order expects.
    pub active: Option<Arc<Deployment>>,
    /// What it changes against what is active.
    pub difference: Difference,
    /// What devices would be sent.
    pub manifest: Manifest,
    /// How many devices the cohort has.
    pub devices: u64,
    /// How many of them are connected.
    pub online: u64,
    /// Bytes a device downloads that runs what is active.
    pub bytes_per_device: u64,
    /// The same for all devices.
    pub bytes_total: u64,
    /// What a stock device would choke on.
    pub lint: Vec<Finding>,
    /// What is to be confirmed before it starts.
    pub cautions: Vec<Caution>,
    /// How long it may take.
    pub estimate: Estimate,
}

/// Makes a deployment.
pub struct CreateDeployment {
    pub actor: Actor,
    pub project: ProjectId,
    pub order: DeploymentOrder,
}

impl Decision for CreateDeployment {
    type Answer = Arc<Deployment>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(self, batch: &mut Batch) -> Result<Arc<Deployment>, Stop> {
        let fleet = batch.view().fleet();
        let (deployment, difference) =
            fleet.plan_deployment(self.project, &self.order, self.actor.as_str(), batch.at_ms)?;
        let manifest = encode(&deployment)?;

        let cohort = deployment.cohort;
        let view = batch.view_mut();
        let deployment = view.fleet.deploy(self.project, deployment)?;
        view.manifests.insert(cohort, Arc::new(manifest));
        batch.tx.insert_deployment(self.project, &deployment).await?;
        batch.changes.push(Change::CohortDeployed {
            project: self.project,
            cohort,
            deployment: deployment.id,
        });
        let names = |artifacts: &[DeployedArtifact]| -> Vec<String> {
            artifacts
                .iter()
                .map(|artifact| format!("{}@{}", artifact.package, artifact.version))
                .collect()
        };
        let before: Vec<_> = difference
            .changed
            .iter()
            .map(|changed| &changed.from)
            .chain(&difference.removed)
            .chain(&difference.unchanged)
            .map(|artifact| format!("{}@{}", artifact.package, artifact.version))
            .collect();
        let after = json!({
            "cohort": cohort, "name": deployment.name, "sequence": deployment.sequence.get(),
            "artifacts": names(&deployment.artifacts),
        });
        let change = BeforeAfter::changed(json!({ "artifacts": before }), after);
        batch.audit(
            &self.actor,
            Some(self.project),
            "deployment.create",
            deployment.id,
            change,
        );
        batch.done.push(Done::Deployed(Arc::clone(&deployment)));
        Ok(deployment)
    }
}

/// Encodes a deployment for devices that take it in one datagram or not at all.
///
/// # Errors
/// It is too large for them.
pub fn encode(deployment: &Deployment) -> Result<Manifest, Refusal> {
    let manifest = Manifest::encode(deployment);
    let bytes = manifest.cbor.len();
    if bytes > MANIFEST_LIMIT {
        return Err(Refusal::ManifestTooLarge {
            bytes,
            limit: MANIFEST_LIMIT,
        });
    }
    Ok(manifest)
}
