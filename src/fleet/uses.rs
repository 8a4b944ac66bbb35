//! Who uses which package: asked of all deployments of a project in one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::id::ArtifactId;
use super::model::{Cohort, Deployment, Project};
use super::name::PackageName;

/// The deployments that name an artifact, with their cohorts.
#[derive(Debug, Default)]
pub struct Uses<'a> {
    /// Cohorts whose active deployment names it.
    pub active: Vec<&'a Arc<Cohort>>,
    /// Cohorts of which only earlier deployments name it.
    pub earlier: Vec<&'a Arc<Cohort>>,
    /// Every deployment that names it, cohort by cohort, the oldest first.
    pub deployments: Vec<(&'a Arc<Cohort>, &'a Arc<Deployment>)>,
}

impl Project {
    /// Who names the artifacts of a package; those that nobody names are not in it.
    #[must_use]
    pub fn uses_of(&self, package: &str) -> BTreeMap<ArtifactId, Uses<'_>> {
        let mut all: BTreeMap<ArtifactId, Uses<'_>> = BTreeMap::new();
        for cohort in self.cohorts.values() {
            let active = cohort.active().and_then(|active| active.artifact(package));
            let mut named = BTreeSet::new();
            for deployment in &cohort.deployments {
                if let Some(artifact) = deployment.artifact(package) {
                    let uses = all.entry(artifact.id).or_default();
                    uses.deployments.push((cohort, deployment));
                    // Once for each cohort: what all others name is not looked at for it.
                    if named.insert(artifact.id) {
                        match active.is_some_and(|active| active.id == artifact.id) {
                            true => uses.active.push(cohort),
                            false => uses.earlier.push(cohort),
                        }
                    }
                }
            }
        }
        all
    }

    /// The cohorts whose active deployment names a package, by package.
    #[must_use]
    pub fn cohorts_by_package(&self) -> BTreeMap<&PackageName, Vec<&Arc<Cohort>>> {
        let mut all: BTreeMap<&PackageName, Vec<&Arc<Cohort>>> = BTreeMap::new();
        for cohort in self.cohorts.values() {
            for artifact in cohort.active().into_iter().flat_map(|active| &active.artifacts) {
                all.entry(&artifact.package).or_default().push(cohort);
            }
        }
        all
    }
}
