//! Commands on cohorts.

use std::sync::Arc;

use serde_json::json;

use super::batch::{Batch, BeforeAfter, Decision, Stop};
use crate::fleet::{Actor, Cohort, CohortId, CohortName, ProjectId};

/// Makes a cohort.
pub struct CreateCohort {
    pub actor: Actor,
    pub project: ProjectId,
    pub name: CohortName,
}

impl Decision for CreateCohort {
    type Answer = Arc<Cohort>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    async fn decide(self, batch: &mut Batch) -> Result<Arc<Cohort>, Stop> {
        let at_ms = batch.at_ms;
        let cohort = batch
            .view_mut()
            .fleet
            .create_cohort(self.project, self.name, at_ms)?;
        batch.tx.insert_cohort(&cohort).await?;
        let created = BeforeAfter::created(json!({ "name": cohort.name }));
        batch.audit(
            &self.actor,
            Some(self.project),
            "cohort.create",
            cohort.id,
            created,
        );
        Ok(cohort)
    }
}

/// Removes a cohort.
pub struct DeleteCohort {
    pub actor: Actor,
    pub project: ProjectId,
    pub id: CohortId,
}

impl Decision for DeleteCohort {
    type Answer = Arc<Cohort>;

    fn actor(&self) -> Option<&Actor> {
        Some(&self.actor)
    }

    fn is_vital(&self) -> bool {
        true
    }

    async fn decide(self, batch: &mut Batch) -> Result<Arc<Cohort>, Stop> {
        let cohort = batch.view_mut().fleet.delete_cohort(self.project, self.id)?;
        batch.tx.delete_cohort(cohort.id).await?;
        let deleted = BeforeAfter::deleted(json!({ "name": cohort.name }));
        batch.audit(
            &self.actor,
            Some(self.project),
            "cohort.delete",
            cohort.id,
            deleted,
        );
        Ok(cohort)
    }
}
