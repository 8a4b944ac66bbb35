//! The first step: which version of which package, and under which name. As it was typed, so that it comes back so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::admin::console::form::Fields;
use crate::admin::console::show::Bytes;
use crate::admin::shapes;
use crate::fleet::{
    Artifact, ArtifactRef, Cohort, CohortId, DeployedArtifact, Deployment, DeploymentName, DeploymentOrder,
    Direction, Kind, Package, Project, Refusal, compare_versions,
};

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// What to call the deployment.
    pub name: String,
    /// The version of each package; empty is 'not in this deployment'.
    pub versions: BTreeMap<String, String>,
}

impl Choice {
    /// The set of a deployment, under a name that is free: the time, to the second, as the command line has it.
    pub fn of_set(cohort: &Cohort, artifacts: &[DeployedArtifact], now_ms: i64) -> Choice {
        let second: String = shapes::time(now_ms).chars().take(19).collect();
        let name = format!("{}Z", second.replace('T', " "));
        Self::named(free_name(cohort, &name), artifacts)
    }

    /// The set of an earlier deployment of the cohort, under a name that says so.
    pub fn back_to(cohort: &Cohort, deployment: &Deployment) -> Choice {
        let name = deployment.name.as_str();
        // Back to one that went back itself is back to the same.
        let name = name.strip_prefix(BACK_TO).unwrap_or(name);
        let name: String = name.chars().take(BACK_TO_CHARS).collect();
        let name = format!("{BACK_TO}{}", name.trim_end());
        Self::named(free_name(cohort, &name), &deployment.artifacts)
    }

    fn named(name: String, artifacts: &[DeployedArtifact]) -> Choice {
        let versions = artifacts
            .iter()
            .map(|artifact| (artifact.package.to_string(), artifact.version.to_string()));
        Choice {
            name,
            versions: versions.collect(),
        }
    }

    /// What a form holds.
    pub fn read(fields: &Fields) -> Choice {
        let chosen = fields.below(VERSION);
        let typed = fields.below(OTHER).filter(|(_, version)| !version.is_empty());
        Choice {
            name: fields.text("name").to_owned(),
            versions: chosen
                .chain(typed)
                .map(|(package, version)| (package.to_owned(), version.to_owned()))
                .collect(),
        }
    }

    /// The fields of a form that hold it again.
    pub fn fields(&self) -> Vec<(String, String)> {
        let name = [("name".to_owned(), self.name.clone())];
        let versions = self
            .versions
            .iter()
            .filter(|(_, version)| !version.is_empty())
            .map(|(package, version)| (format!("{VERSION}{package}"), version.clone()));
        name.into_iter().chain(versions).collect()
    }

    /// Adds a package, in its newest version.
    ///
    /// # Errors
    /// There is no such package.
    pub fn add(&mut self, project: &Project, package: &str) -> Result<(), Refusal> {
        let package = project.require_package(package)?;
        let newest = newest_first(package)
            .first()
            .map(|newest| newest.version.to_string());
        self.versions
            .entry(package.name.to_string())
            .or_insert(newest.unwrap_or_default());
        Ok(())
    }

    /// The order that this is.
    ///
    /// # Errors
    /// Says everything that is wrong with it.
    pub fn order(&self, project: &Project, cohort: CohortId) -> Result<DeploymentOrder, Wrong> {
        let mut wrong = Wrong::default();
        let name =
            DeploymentName::parse(&self.name).map_err(|invalid| wrong.name = Some(invalid.to_string()));
        let mut artifacts = Vec::new();
        for (package, version) in self.versions.iter().filter(|(_, version)| !version.is_empty()) {
            match project.require_artifact(package, version) {
                Ok(artifact) => artifacts.push(ArtifactRef {
                    package: artifact.package.clone(),
                    version: artifact.version.clone(),
                }),
                Err(refusal) => {
                    wrong.versions.insert(package.clone(), refusal.to_string());
                }
            }
        }
        if artifacts.is_empty() && wrong.versions.is_empty() {
            wrong.packages = Some(Refusal::EmptyDeployment.to_string());
        }
        match name {
            Ok(name) if wrong == Wrong::default() => Ok(DeploymentOrder {
                cohort,
                name,
                artifacts,
                expected_active: None,
            }),
            Ok(_) | Err(()) => Err(wrong),
        }
    }

    /// The rows of the first step: what is chosen, what is active, and all packages where there are few.
    pub fn rows(&self, project: &Project, active: Option<&Deployment>, wrong: &Wrong) -> Vec<Row> {
        let mut shown: BTreeSet<&str> = self.versions.keys().map(String::as_str).collect();
        let active_set = active.map_or(&[][..], |active| &active.artifacts);
        shown.extend(active_set.iter().map(|artifact| artifact.package.as_str()));
        if project.packages.len() <= ALL_SHOWN {
            shown.extend(project.packages.keys().map(|name| name.as_str()));
        }
        let row = |(number, package): (usize, &str)| {
            let chosen = self.versions.get(package).map_or("", String::as_str);
            let active = active.and_then(|active| active.artifact(package));
            let mut row = Row {
                number,
                package: package.to_owned(),
                active: active.map(|active| active.version.to_string()),
                options: Vec::new(),
                more: 0,
                lost: None,
                wrong: wrong.versions.get(package).cloned(),
            };
            if let Some(found) = project.package(package) {
                row.offer(found, active, chosen);
            }
            let offered = row.options.iter().any(|option| option.selected);
            if !chosen.is_empty() && !offered {
                row.lost = Some(chosen.to_owned());
            }
            row
        };
        shown.into_iter().enumerate().map(row).collect()
    }
}

/// What is wrong with a choice, at the field where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrong {
    /// The name.
    pub name: Option<String>,
    /// The set as a whole.
    pub packages: Option<String>,
    /// A package's version.
    pub versions: BTreeMap<String, String>,
    /// The package to be added.
    pub add: Option<String>,
}

impl Wrong {
    /// Where a refusal belongs; back it goes if it is about nothing in the form.
    ///
    /// # Errors
    /// The cohort or the project is gone.
    pub fn of(refusal: Refusal) -> Result<Wrong, Refusal> {
        let text = refusal.to_string();
        let wrong = match refusal {
            Refusal::Taken { .. } | Refusal::Invalid(_) => Wrong {
                name: Some(text),
                ..Wrong::default()
            },
            Refusal::EmptyDeployment
            | Refusal::PackageTwice { .. }
            | Refusal::ManifestTooLarge { .. }
            | Refusal::TooMany { .. }
            | Refusal::SequenceExhausted
            // Deleted between two looks.
            | Refusal::Unknown {
                kind: Kind::Package | Kind::Artifact,
                ..
            } => Wrong {
                packages: Some(text),
                ..Wrong::default()
            },
            Refusal::Unknown { .. }
            | Refusal::IdentityTaken { .. }
            | Refusal::CertificateRevoked { .. }
            | Refusal::OtherBytes { .. }
            | Refusal::InUse { .. }
            | Refusal::Stale { .. }
            | Refusal::SequenceGoesBack(_)
            | Refusal::DeviceDiffers { .. }
            | Refusal::SecretDiffers { .. }
            | Refusal::KeyEnded { .. }
            | Refusal::LastAdminKey { .. } => return Err(refusal),
        };
        Ok(wrong)
    }

    /// Whether there is anything.
    pub fn is_empty(&self) -> bool {
        *self == Wrong::default()
    }
}

/// A package in the first step.
#[derive(Debug)]
pub struct Row {
    /// Which one: names may hold what ids of elements must not.
    pub number: usize,
    /// Its name.
    pub package: String,
    /// The version that is active.
    pub active: Option<String>,
    /// Its versions, newest first.
    pub options: Vec<VersionOption>,
    /// How many older ones there are beside these.
    pub more: usize,
    /// A version that was chosen and is not there.
    pub lost: Option<String>,
    /// What is wrong with the version.
    pub wrong: Option<String>,
}

/// A version to choose.
#[derive(Debug)]
pub struct VersionOption {
    /// The version.
    pub version: String,
    /// What choosing it does to what is active: `↑`, `↓`, nothing.
    pub glyph: &'static str,
    /// How large it is.
    pub size: Bytes,
    /// The day on which it was uploaded.
    pub day: String,
    /// Whether it is active.
    pub active: bool,
    /// Whether it is the chosen one.
    pub selected: bool,
}

impl Row {
    fn offer(&mut self, package: &Package, active: Option<&DeployedArtifact>, chosen: &str) {
        let all = newest_first(package);
        let must = |artifact: &Artifact| {
            artifact.version.as_str() == chosen
                || active.is_some_and(|active| active.version == artifact.version)
        };
        let option = |artifact: &Artifact| VersionOption {
            version: artifact.version.to_string(),
            glyph: match active {
                Some(active) if active.version != artifact.version => {
                    match Direction::between(&active.version, &artifact.version) {
                        Direction::Upgrade => "↑",
                        Direction::Downgrade => "↓",
                    }
                }
                Some(_) | None => "",
            },
            size: Bytes(artifact.size.get()),
            day: shapes::time(artifact.created_ms).chars().take(10).collect(),
            active: active.is_some_and(|active| active.version == artifact.version),
            selected: artifact.version.as_str() == chosen,
        };
        let (new, old) = all.split_at(all.len().min(VERSIONS_SHOWN));
        self.options = new.iter().map(|artifact| option(artifact)).collect();
        let needed = old.iter().filter(|artifact| must(artifact));
        self.options.extend(needed.map(|artifact| option(artifact)));
        self.more = all.len() - self.options.len();
    }
}

/// The newest upload on top: versions need not be in any order that means something.
fn newest_first(package: &Package) -> Vec<&Artifact> {
    let mut all: Vec<_> = package.artifacts.values().map(AsRef::as_ref).collect();
    all.sort_by(|a, b| {
        let by_time = Reverse(a.created_ms).cmp(&Reverse(b.created_ms));
        by_time.then_with(|| compare_versions(&b.version, &a.version))
    });
    all
}

/// This name, with a number behind it where it is taken.
fn free_name(cohort: &Cohort, base: &str) -> String {
    let is_taken = |name: &str| cohort.deployments.iter().any(|made| made.name.as_str() == name);
    let mut name = base.to_owned();
    let mut number = 2;
    while is_taken(&name) {
        name = format!("{base} ({number})");
        number += 1;
    }
    name
}

/// What the name of a deployment begins with that goes back to another.
const BACK_TO: &str = "back to ";
/// What there is room for of the other's name, with a number behind it: a name has up to 100 characters.
const BACK_TO_CHARS: usize = 80;
/// What the fields of a package's version begin with.
const VERSION: &str = "version:";
/// What the fields begin with in which a version is typed that is not among those offered; they go first.
const OTHER: &str = "other:";
/// Up to so many packages are offered without being asked for: about what fits a manifest.
const ALL_SHOWN: usize = 8;
/// Versions offered of a package: some years of releases. What is older is typed.
const VERSIONS_SHOWN: usize = 100;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Choice;
    use crate::admin::console::form::Fields;
    use crate::fleet::{
        Cohort, CohortId, CohortName, Deployment, DeploymentId, DeploymentName, ProjectId, Sequence,
    };

    fn cohort(deployments: &[&str]) -> Cohort {
        let deployment = |name: &&str| Deployment {
            id: DeploymentId::new(1),
            cohort: CohortId::new(1),
            name: DeploymentName::parse(name).unwrap(),
            sequence: Sequence::FIRST,
            artifacts: Vec::new(),
            author: String::new(),
            created_ms: 0,
        };
        Cohort {
            id: CohortId::new(1),
            project: ProjectId::new(1),
            name: CohortName::parse("lamps").unwrap(),
            created_ms: 0,
            deployments: deployments.iter().map(|name| deployment(name).into()).collect(),
            devices: 0,
        }
    }

    #[test]
    fn a_name_is_the_second_and_free() {
        let at = 1_767_225_600_280;
        let name = |cohort: &Cohort| Choice::of_set(cohort, &[], at).name;
        assert_eq!(name(&cohort(&[])), "2026-01-01 00:00:00Z");
        let taken = cohort(&["2026-01-01 00:00:00Z", "2026-01-01 00:00:00Z (2)"]);
        assert_eq!(name(&taken), "2026-01-01 00:00:00Z (3)");
    }

    #[test]
    fn a_name_that_goes_back_says_where_to_and_is_free_and_not_too_long() {
        let long = "é".repeat(100);
        let cohort = cohort(&["first", "back to first", &long]);
        let name = |place: usize| {
            let name = Choice::back_to(&cohort, &cohort.deployments[place]).name;
            assert!(DeploymentName::parse(&name).is_ok(), "{name}");
            name
        };
        assert_eq!(name(0), "back to first (2)");
        assert_eq!(name(1), "back to first (2)", "not back to back");
        assert_eq!(name(2), format!("back to {}", "é".repeat(80)));
    }

    #[test]
    fn a_choice_is_read_as_it_was_written_and_a_typed_version_goes_first() {
        let fields = Fields::parse(
            b"name=+a+&version:main=1.0&version:modem=&version:boot=2&other:boot=1&other:main=",
        );
        let choice = Choice::read(&fields);
        assert_eq!(choice.name, "a");
        let of = |package: &str| choice.versions.get(package).map(String::as_str);
        assert_eq!(
            (of("main"), of("modem"), of("boot")),
            (Some("1.0"), Some(""), Some("1"))
        );
        let mut form = form_urlencoded::Serializer::new(String::new());
        let again = form.extend_pairs(choice.fields()).finish();
        let again = Choice::read(&Fields::parse(again.as_bytes()));
        assert_eq!(
            again.versions.len(),
            2,
            "what is not in the deployment need not be carried"
        );
        assert_eq!(again.order_free(), choice.order_free());
    }

    impl Choice {
        fn order_free(&self) -> Vec<(&str, &str)> {
            let versions = self.versions.iter().filter(|(_, version)| !version.is_empty());
            versions
                .map(|(package, version)| (package.as_str(), version.as_str()))
                .collect()
        }
    }
}
