//! What asks for a confirmation before a deployment starts. Decided here alone: the preview of the API carries it, and by that the
//! console and the command line have the cohort's name typed.

use super::difference::{Difference, Direction};
use super::lint::{Finding, Severity};

/// Why a deployment is started only by somebody who says so twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caution {
    /// A package goes back to an older version.
    Downgrade,
    /// A package disappears from the manifest.
    Removal,
    /// A stock device would throw the manifest away, or update for ever.
    Rejection,
}

impl Caution {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Downgrade, Self::Removal, Self::Rejection];

    /// What asks for a confirmation, each once; nothing where a deployment only adds, upgrades or changes nothing.
    #[must_use]
    pub fn of(difference: &Difference, lint: &[Finding]) -> Vec<Self> {
        let back = |direction| match direction {
            Direction::Upgrade => false,
            Direction::Downgrade => true,
        };
        let downgrade = difference.changed.iter().any(|changed| back(changed.direction));
        let rejection = lint.iter().any(|finding| match finding.severity {
            Severity::Warning => false,
            Severity::Confirm => true,
        });
        [
            (downgrade, Self::Downgrade),
            (!difference.removed.is_empty(), Self::Removal),
            (rejection, Self::Rejection),
        ]
        .into_iter()
        .filter_map(|(is_there, caution)| is_there.then_some(caution))
        .collect()
    }

    /// The word used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downgrade => "downgrade",
            Self::Removal => "removal",
            Self::Rejection => "rejection",
        }
    }

    /// What the deployment does, to go on from "it".
    #[must_use]
    pub fn effect(self) -> &'static str {
        match self {
            Self::Downgrade => "goes back to an older version",
            Self::Removal => "removes a package",
            Self::Rejection => "would be rejected by a stock device",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Caution;
    use crate::fleet::{
        ArtifactId, ArtifactSize, Change, CohortId, DeployedArtifact, Deployment, DeploymentId,
        DeploymentName, Difference, Digest, Finding, ImageKind, PackageName, Sequence, Severity, Version,
        compare_versions,
    };

    fn artifact(package: &str, version: &str) -> DeployedArtifact {
        DeployedArtifact {
            id: ArtifactId::new(1),
            package: PackageName::parse(package).unwrap(),
            version: Version::parse(version).unwrap(),
            size: ArtifactSize::new(1).unwrap(),
            digest: Digest([0; 32]),
            kind: ImageKind::Plain,
            image_version: None,
            change: Change::Added,
        }
    }

    fn difference(active: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Difference {
        let all = |set: &BTreeMap<String, String>| -> Vec<_> {
            set.iter()
                .map(|(package, version)| artifact(package, version))
                .collect()
        };
        let active = Deployment {
            id: DeploymentId::new(1),
            cohort: CohortId::new(1),
            name: DeploymentName::parse("active").unwrap(),
            sequence: Sequence::FIRST,
            artifacts: all(active),
            author: String::new(),
            created_ms: 0,
        };
        Difference::between(Some(&active), &all(wanted))
    }

    fn finding(severity: Severity) -> Finding {
        Finding {
            rule: "rule",
            severity,
            message: String::new(),
        }
    }

    proptest! {
        #[test]
        fn a_downgrade_and_a_removal_ask_for_confirmation_and_nothing_else_that_changes_does(
            active in prop::collection::btree_map("[a-d]", "[0-9]\\.[0-9]", 0..4),
            wanted in prop::collection::btree_map("[a-d]", "[0-9]\\.[0-9]", 1..4),
        ) {
            let cautions = Caution::of(&difference(&active, &wanted), &[]);
            let goes_back = active.iter().any(|(package, from)| {
                wanted.get(package).is_some_and(|to| compare_versions(to, from).is_lt())
            });
            let removes = active.keys().any(|package| !wanted.contains_key(package));
            prop_assert_eq!(cautions.contains(&Caution::Downgrade), goes_back);
            prop_assert_eq!(cautions.contains(&Caution::Removal), removes);
            prop_assert_eq!(cautions.len(), usize::from(goes_back) + usize::from(removes));
        }
    }

    #[test]
    fn a_finding_asks_for_confirmation_where_a_device_would_reject_the_manifest() {
        let nothing = Difference::default();
        assert_eq!(Caution::of(&nothing, &[finding(Severity::Warning)]), []);
        let both = [finding(Severity::Warning), finding(Severity::Confirm)];
        assert_eq!(Caution::of(&nothing, &both), [Caution::Rejection]);
    }
}
