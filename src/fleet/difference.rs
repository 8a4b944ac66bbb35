//! What a deployment would change for the devices of its cohort.

use std::cmp::Ordering;

use super::compare::compare_versions;
use super::model::{DeployedArtifact, Deployment};
use super::name::{PackageName, Version};

/// Whether a change goes up or down in versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To a newer version.
    Upgrade,
    /// To an older version.
    Downgrade,
}

impl Direction {
    /// The direction from one version to another.
    #[must_use]
    pub fn between(from: &Version, to: &Version) -> Self {
        match compare_versions(from, to) {
            Ordering::Less | Ordering::Equal => Self::Upgrade,
            Ordering::Greater => Self::Downgrade,
        }
    }
}

/// What happens to one package of a deployment, against the deployment before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The package was not there.
    Added,
    /// Another version was there.
    Changed(Direction),
    /// The same version was there: devices download nothing.
    Unchanged,
}

impl Change {
    /// The word used in the API: `added`, `upgraded`, `downgraded`, `unchanged`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed(Direction::Upgrade) => "upgraded",
            Self::Changed(Direction::Downgrade) => "downgraded",
            Self::Unchanged => "unchanged",
        }
    }

    /// What happens when `to` is deployed over `active`.
    #[must_use]
    pub fn against(active: Option<&Deployment>, package: &PackageName, to: &Version) -> Self {
        match active.and_then(|active| active.artifact(package)) {
            None => Self::Added,
            Some(from) if from.version == *to => Self::Unchanged,
            Some(from) => Self::Changed(Direction::between(&from.version, to)),
        }
    }
}

/// A package that changes its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What is active.
    pub from: DeployedArtifact,
    /// What would be.
    pub to: DeployedArtifact,
    /// Up or down.
    pub direction: Direction,
}

/// The packages of a deployment against those of the active one, each list ordered by package name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Packages that the active deployment does not have.
    pub added: Vec<DeployedArtifact>,
    /// Packages that get another version.
    pub changed: Vec<Changed>,
    /// Packages that disappear from the manifest.
    pub removed: Vec<DeployedArtifact>,
    /// Packages that stay.
    pub unchanged: Vec<DeployedArtifact>,
}

impl Difference {
    /// What deploying `wanted` (ordered by package name) over `active` changes.
    #[must_use]
    pub fn between(active: Option<&Deployment>, wanted: &[DeployedArtifact]) -> Self {
        let mut difference = Self::default();
        for to in wanted {
            let from = active.and_then(|active| active.artifact(&to.package));
            match (Change::against(active, &to.package, &to.version), from) {
                (Change::Changed(direction), Some(from)) => {
                    difference.changed.push(Changed {
                        from: from.clone(),
                        to: to.clone(),
                        direction,
                    });
                }
                (Change::Unchanged, _) => difference.unchanged.push(to.clone()),
                (Change::Added | Change::Changed(_), _) => difference.added.push(to.clone()),
            }
        }
        for from in active.map_or(&[][..], |active| &active.artifacts) {
            if !wanted.iter().any(|to| to.package == from.package) {
                difference.removed.push(from.clone());
            }
        }
        difference
    }

    /// Whether deploying changes nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// How many bytes a device that runs the active deployment downloads.
    #[must_use]
    pub fn bytes_per_device(&self) -> u64 {
        let added = self.added.iter().map(|artifact| artifact.size.get());
        let changed = self.changed.iter().map(|changed| changed.to.size.get());
        added.chain(changed).sum()
    }
}
