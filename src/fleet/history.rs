//! What was deployed to a cohort, as a table: a row for each deployment, newest first, and a column for each package that
//! one of the last [`HISTORY_COLUMNS_FROM`] deployments has.
//!
//! The columns are the same on every page of a long history: what an older deployment had besides is told in its row.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::difference::Change;
use super::model::{Cohort, DeployedArtifact, Deployment};
use super::name::{PackageName, Version};
use super::number::Sequence;

/// A page of a cohort's history.
#[derive(Debug, Clone)]
pub struct History {
    /// A column each, by name.
    pub packages: Vec<PackageName>,
    /// A row each, newest first.
    pub rows: Vec<HistoryRow>,
    /// Ask for those before this one to read on; `None` at the end.
    pub next: Option<Sequence>,
}

/// A deployment in the history of its cohort.
#[derive(Debug, Clone)]
pub struct HistoryRow {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// Whether it is what the cohort's devices are told to run.
    pub active: bool,
    /// One for each column; `None` where it does not have the package.
    pub cells: Vec<Option<HistoryCell>>,
    /// What it has of packages that have no column. Nothing in the last [`HISTORY_COLUMNS_FROM`] deployments.
    pub also: Vec<HistoryCell>,
}

/// A package of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryCell {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// What happened to it, against the deployment before.
    pub change: Change,
}

impl History {
    /// The newest `limit` deployments of a cohort, of those before number `before`.
    #[must_use]
    pub fn of(cohort: &Cohort, before: Option<Sequence>, limit: usize) -> Self {
        let newest = cohort.newest_first().take(HISTORY_COLUMNS_FROM);
        let packages: BTreeSet<&PackageName> = newest
            .flat_map(|deployment| &deployment.artifacts)
            .map(|artifact| &artifact.package)
            .collect();
        let packages: Vec<PackageName> = packages.into_iter().cloned().collect();
        let active = cohort.active().map(|active| active.id);
        let mut asked = cohort
            .newest_first()
            .skip_while(|deployment| before.is_some_and(|before| deployment.sequence >= before))
            .peekable();
        let mut rows = Vec::new();
        while let Some(deployment) = asked.next_if(|_| rows.len() < limit) {
            rows.push(HistoryRow::of(
                deployment,
                active == Some(deployment.id),
                &packages,
            ));
        }
        let last = rows.last().map(|row| row.deployment.sequence);
        Self {
            next: last.filter(|_| asked.peek().is_some()),
            packages,
            rows,
        }
    }

    /// Whether a row has packages that have no column.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.rows.iter().any(|row| !row.also.is_empty())
    }
}

impl HistoryRow {
    fn of(deployment: &Arc<Deployment>, active: bool, columns: &[PackageName]) -> Self {
        let cells = columns
            .iter()
            .map(|package| deployment.artifact(package).map(HistoryCell::of));
        let others = deployment
            .artifacts
            .iter()
            .filter(|artifact| columns.binary_search(&artifact.package).is_err());
        Self {
            active,
            cells: cells.collect(),
            also: others.map(HistoryCell::of).collect(),
            deployment: Arc::clone(deployment),
        }
    }
}

impl HistoryCell {
    fn of(artifact: &DeployedArtifact) -> Self {
        Self {
            package: artifact.package.clone(),
            version: artifact.version.clone(),
            change: artifact.change,
        }
    }
}

/// The newest deployments whose packages have a column. What was dropped longer ago than that is of the past, and would
/// take the room of what is deployed.
pub const HISTORY_COLUMNS_FROM: usize = 10;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use proptest::collection::{btree_map, vec};
    use proptest::proptest;

    use super::{HISTORY_COLUMNS_FROM, History};
    use crate::fleet::{
        Artifact, ArtifactId, ArtifactSize, Change, Cohort, CohortId, CohortName, DeployedArtifact,
        Deployment, DeploymentId, DeploymentName, Digest, Direction, ImageKind, PackageId, PackageName,
        ProjectId, Sequence, Version, compare_versions,
    };

    #[test]
    fn a_history_tells_what_each_deployment_did_to_each_package() {
        let history = History::of(
            &cohort(&[
                &[("main", "1.0.0"), ("assets", "7")],
                &[("main", "1.1.0"), ("assets", "7")],
                &[("main", "1.0.0"), ("modem", "3")],
            ]),
            None,
            50,
        );
        assert_eq!(names(&history), ["assets", "main", "modem"]);
        assert_eq!(
            shown(&history),
            [
                "3 active | | 1.0.0 downgraded | 3 added",
                "2 | 7 unchanged | 1.1.0 upgraded |",
                "1 | 7 added | 1.0.0 added |",
            ]
        );
        assert!(!history.has_others());
        assert_eq!(history.next, None);
        let none = History::of(&cohort(&[]), None, 50);
        assert!(none.packages.is_empty() && none.rows.is_empty() && none.next.is_none());
    }

    #[test]
    fn a_package_has_a_column_as_long_as_one_of_the_last_ten_has_it() {
        let mut sets: Vec<&[(&str, &str)]> = vec![&[("main", "1"), ("old", "1")]];
        sets.extend(vec![&[("main", "1")][..]; HISTORY_COLUMNS_FROM - 1]);
        assert_eq!(names(&History::of(&cohort(&sets), None, 50)), ["main", "old"]);
        sets.push(&[("main", "2")]);
        let history = History::of(&cohort(&sets), None, 50);
        assert_eq!(names(&history), ["main"]);
        let first = history.rows.last().unwrap();
        assert_eq!(first.also.len(), 1, "and is told in its row when it has none");
        assert_eq!(&*first.also[0].package, "old");
        assert!(history.has_others());
    }

    proptest! {
        #[test]
        fn every_version_of_a_history_is_told_once_and_what_happened_to_it_is_true(
            sets in vec(btree_map("[a-e]", "[1-3]", 1..4), 0..30),
            limit in 1..12_usize,
        ) {
            let sets: Vec<BTreeMap<String, String>> = sets;
            let listed: Vec<Vec<(&str, &str)>> = sets
                .iter()
                .map(|set| set.iter().map(|(package, version)| (package.as_str(), version.as_str())).collect())
                .collect();
            let borrowed: Vec<&[(&str, &str)]> = listed.iter().map(Vec::as_slice).collect();
            let cohort = cohort(&borrowed);
            let columns: BTreeSet<&String> =
                sets.iter().rev().take(HISTORY_COLUMNS_FROM).flat_map(BTreeMap::keys).collect();

            let mut rows = Vec::new();
            let mut before = None;
            loop {
                let page = History::of(&cohort, before, limit);
                assert!(page.rows.len() <= limit);
                assert_eq!(names(&page), columns.iter().map(|name| name.as_str()).collect::<Vec<_>>());
                rows.extend(page.rows);
                before = page.next;
                if before.is_none() { break }
            }
            assert_eq!(rows.len(), sets.len(), "each once, on whichever page");
            for (age, row) in rows.iter().enumerate() {
                let place = sets.len() - 1 - age;
                assert_eq!(row.deployment.sequence.get() as usize, place + 1);
                assert_eq!(row.active, age == 0);
                assert_eq!(row.cells.len(), columns.len());
                assert!(age >= HISTORY_COLUMNS_FROM || row.also.is_empty());
                for (cell, column) in row.cells.iter().zip(&columns) {
                    assert_eq!(cell.as_ref().map(|cell| cell.package.as_str()), sets[place].get_key_value(*column).map(|(name, _)| name.as_str()));
                }
                let told: BTreeMap<String, String> = row.cells.iter().flatten().chain(&row.also)
                    .map(|cell| (cell.package.to_string(), cell.version.to_string()))
                    .collect();
                assert_eq!(told, sets[place]);
                for cell in row.cells.iter().flatten().chain(&row.also) {
                    let former = place.checked_sub(1).and_then(|former| sets[former].get(cell.package.as_str()));
                    let happened = match former.map(|former| compare_versions(&cell.version, former)) {
                        None => Change::Added,
                        Some(Ordering::Equal) => Change::Unchanged,
                        Some(Ordering::Greater) => Change::Changed(Direction::Upgrade),
                        Some(Ordering::Less) => Change::Changed(Direction::Downgrade),
                    };
                    assert_eq!(cell.change, happened);
                }
            }
        }
    }

    fn names(history: &History) -> Vec<&str> {
        history.packages.iter().map(PackageName::as_str).collect()
    }

    fn shown(history: &History) -> Vec<String> {
        let row = |row: &super::HistoryRow| {
            let mut text = row.deployment.sequence.to_string();
            if row.active {
                text.push_str(" active");
            }
            for cell in &row.cells {
                text.push_str(" |");
                if let Some(cell) = cell {
                    text.push_str(&format!(" {} {}", cell.version, cell.change.as_str()));
                }
            }
            text
        };
        history.rows.iter().map(row).collect()
    }

    /// A cohort that was deployed these sets, one after the other.
    fn cohort(sets: &[&[(&str, &str)]]) -> Cohort {
        let mut cohort = Cohort {
            id: CohortId::new(1),
            project: ProjectId::new(1),
            name: CohortName::parse("lamps").unwrap(),
            created_ms: 0,
            deployments: Vec::new(),
            devices: 0,
        };
        for (set, number) in sets.iter().zip(1_u32..) {
            let mut artifacts: Vec<_> = set
                .iter()
                .map(|(package, version)| {
                    let artifact = Artifact {
                        id: ArtifactId::new(1),
                        package_id: PackageId::new(1),
                        package: PackageName::parse(package).unwrap(),
                        version: Version::parse(version).unwrap(),
                        size: ArtifactSize::new(1).unwrap(),
                        digest: Digest::of(b"x"),
                        kind: ImageKind::Plain,
                        image_version: None,
                        created_ms: 0,
                    };
                    DeployedArtifact::of(&artifact, cohort.active().map(Arc::as_ref))
                })
                .collect();
            artifacts.sort_by(|a, b| a.package.cmp(&b.package));
            cohort.deployments.push(Arc::new(Deployment {
                id: DeploymentId::new(i64::from(number)),
                cohort: cohort.id,
                name: DeploymentName::parse("release").unwrap(),
                sequence: Sequence::new(i64::from(number)).unwrap(),
                artifacts,
                author: "test".to_owned(),
                created_ms: 0,
            }));
        }
        cohort
    }
}
