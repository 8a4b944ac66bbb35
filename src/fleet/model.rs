//! The small part of the state: what fits in memory whatever the number of devices.
//!
//! A [`Fleet`] is cheap to clone: what did not change is shared. Devices are not in here, only how many there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::certificate::DeviceCa;
use super::difference::{Change, Difference};
use super::id::{ArtifactId, CohortId, DeploymentId, PackageId, ProjectId};
use super::image::{ImageKind, ImageVersion};
use super::name::{CohortName, DeploymentName, PackageName, ProjectName, Version};
use super::number::{ArtifactSize, Digest, Sequence};

/// All projects.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    pub(super) next_id: i64,
    pub(super) projects: BTreeMap<ProjectId, Arc<Project>>,
    /// Of all projects, oldest first.
    pub(super) device_cas: Arc<Vec<Arc<DeviceCa>>>,
}

/// A tenant and everything small that belongs to it.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name, unique.
    pub name: ProjectName,
    /// When it was created, in milliseconds of Unix time.
    pub created_ms: i64,
    /// Its packages by name.
    pub packages: BTreeMap<PackageName, Arc<Package>>,
    /// Its cohorts, oldest first.
    pub cohorts: BTreeMap<CohortId, Arc<Cohort>>,
    /// The newest sequence number given; `None` before the first deployment.
    pub last_sequence: Option<Sequence>,
    /// How many devices it has.
    pub devices: u64,
}

/// A named thing that a device runs or stores.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its id.
    pub id: PackageId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: PackageName,
    /// What it is, in the operator's words; may be empty.
    pub description: String,
    /// What the operator keeps with it.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// When it was created, in milliseconds of Unix time.
    pub created_ms: i64,
    /// Its artifacts by version.
    pub artifacts: BTreeMap<Version, Arc<Artifact>>,
}

/// One version of a package: immutable bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// The package it is a version of.
    pub package_id: PackageId,
    /// The package's name.
    pub package: PackageName,
    /// The version, unique in the package.
    pub version: Version,
    /// How many bytes it has.
    pub size: ArtifactSize,
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// What its first bytes say it is.
    pub kind: ImageKind,
    /// The version in its own header.
    pub image_version: Option<ImageVersion>,
    /// When it was stored, in milliseconds of Unix time.
    pub created_ms: i64,
}

/// Devices that should run the same set of packages.
#[derive(Debug, Clone)]
pub struct Cohort {
    /// Its id.
    pub id: CohortId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: CohortName,
    /// When it was created, in milliseconds of Unix time.
    pub created_ms: i64,
    /// Its deployments, oldest first; the last one is active.
    pub deployments: Vec<Arc<Deployment>>,
    /// How many devices are in it.
    pub devices: u64,
}

/// The immutable set of package versions of a cohort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The cohort it is for.
    pub cohort: CohortId,
    /// Its name, unique in the cohort.
    pub name: DeploymentName,
    /// Its place in the project's history.
    pub sequence: Sequence,
    /// What it deploys, ordered by package name; at most one version of a package.
    pub artifacts: Vec<DeployedArtifact>,
    /// Who made it.
    pub author: String,
    /// When it was made, in milliseconds of Unix time.
    pub created_ms: i64,
}

/// An artifact as part of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedArtifact {
    /// The artifact.
    pub id: ArtifactId,
    /// Its package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// How many bytes it has.
    pub size: ArtifactSize,
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// What its first bytes say it is.
    pub kind: ImageKind,
    /// The version in its own header.
    pub image_version: Option<ImageVersion>,
    /// What it changes against the deployment before.
    pub change: Change,
}

/// Everything a [`Fleet`] is made of, as the store reads it back. Deployments need not be complete in any order.
#[derive(Debug, Default)]
pub struct FleetRecords {
    /// The next number for an id.
    pub next_id: i64,
    /// Projects, with no packages and no cohorts in them yet.
    pub projects: Vec<Project>,
    /// Packages, with no artifacts in them yet.
    pub packages: Vec<Package>,
    /// Artifacts and the project they belong to.
    pub artifacts: Vec<(ProjectId, Artifact)>,
    /// Cohorts, with no deployments in them yet.
    pub cohorts: Vec<Cohort>,
    /// Device CAs, oldest first.
    pub device_cas: Vec<DeviceCa>,
    /// Deployments, their project, and the ids of what they deploy; by rising sequence number within a project.
    pub deployments: Vec<(ProjectId, Deployment, Vec<ArtifactId>)>,
}

impl Fleet {
    /// Puts together what the store read. Returns a sentence about the first record that does not fit.
    ///
    /// # Errors
    /// A record names another one that is not there.
    pub fn restore(records: FleetRecords) -> Result<Self, String> {
        let mut projects: BTreeMap<ProjectId, Project> = records
            .projects
            .into_iter()
            .map(|project| (project.id, project))
            .collect();
        let lost = |what: String| format!("{what} belongs to nothing in the store");

        for package in records.packages {
            let project = projects
                .get_mut(&package.project)
                .ok_or_else(|| lost(format!("package {}", package.id)))?;
            project.packages.insert(package.name.clone(), Arc::new(package));
        }
        let mut by_id = BTreeMap::new();
        for (project, artifact) in records.artifacts {
            let artifact = Arc::new(artifact);
            by_id.insert(artifact.id, Arc::clone(&artifact));
            let package = projects
                .get_mut(&project)
                .and_then(|project| project.packages.get_mut(&artifact.package))
                .ok_or_else(|| lost(format!("artifact {}", artifact.id)))?;
            Arc::make_mut(package)
                .artifacts
                .insert(artifact.version.clone(), artifact);
        }
        for cohort in records.cohorts {
            let project = projects
                .get_mut(&cohort.project)
                .ok_or_else(|| lost(format!("cohort {}", cohort.id)))?;
            project.cohorts.insert(cohort.id, Arc::new(cohort));
        }
        for (project, mut deployment, artifacts) in records.deployments {
            let cohort = projects
                .get_mut(&project)
                .and_then(|project| project.cohorts.get_mut(&deployment.cohort))
                .ok_or_else(|| lost(format!("deployment {}", deployment.id)))?;
            let cohort = Arc::make_mut(cohort);
            deployment.artifacts = artifacts
                .iter()
                .map(|id| {
                    let artifact = by_id.get(id).ok_or_else(|| lost(format!("artifact {id}")))?;
                    Ok(DeployedArtifact::of(artifact, cohort.active().map(Arc::as_ref)))
                })
                .collect::<Result<_, String>>()?;
            deployment.artifacts.sort_by(|a, b| a.package.cmp(&b.package));
            cohort.deployments.push(Arc::new(deployment));
        }
        for ca in &records.device_cas {
            if !projects.contains_key(&ca.project) {
                return Err(lost(format!("device CA {}", ca.id)));
            }
        }
        let projects = projects
            .into_iter()
            .map(|(id, project)| (id, Arc::new(project)))
            .collect();
        Ok(Self {
            next_id: records.next_id.max(1),
            projects,
            device_cas: Arc::new(records.device_cas.into_iter().map(Arc::new).collect()),
        })
    }

    /// The CAs that vouch for devices, of all projects, oldest first. Another list whenever one of them is.
    #[must_use]
    pub fn device_cas(&self) -> &Arc<Vec<Arc<DeviceCa>>> {
        &self.device_cas
    }

    /// The CAs that vouch for the devices of a project, oldest first.
    pub fn device_cas_of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<DeviceCa>> {
        self.device_cas.iter().filter(move |ca| ca.project == project)
    }

    /// The next number for an id: what the store keeps.
    #[must_use]
    pub fn next_id(&self) -> i64 {
        self.next_id
    }

    /// All projects, oldest first.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// The project with this id.
    #[must_use]
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    /// The project with this name or, written as a string, this id.
    #[must_use]
    pub fn find_project(&self, name_or_id: &str) -> Option<&Arc<Project>> {
        self.projects
            .values()
            .find(|project| &*project.name == name_or_id || project.id.to_string() == name_or_id)
    }

    /// Takes the next number for an id.
    pub fn take_id(&mut self) -> i64 {
        let id = self.next_id.max(1);
        self.next_id = id + 1;
        id
    }
}

impl Project {
    /// The package with this name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Arc<Package>> {
        self.packages.get(name)
    }

    /// The artifact of this package and version. Takes no lock and allocates nothing.
    #[must_use]
    pub fn artifact(&self, package: &str, version: &str) -> Option<&Arc<Artifact>> {
        self.packages.get(package)?.artifacts.get(version)
    }

    /// The cohort with this id.
    #[must_use]
    pub fn cohort(&self, id: CohortId) -> Option<&Arc<Cohort>> {
        self.cohorts.get(&id)
    }

    /// The cohort with this id, written as a string, or this name.
    #[must_use]
    pub fn find_cohort(&self, id_or_name: &str) -> Option<&Arc<Cohort>> {
        match id_or_name.parse::<CohortId>() {
            Ok(id) => self.cohorts.get(&id),
            Err(_) => self.cohorts.values().find(|cohort| &*cohort.name == id_or_name),
        }
    }

    /// The deployment with this id, and its cohort.
    #[must_use]
    pub fn deployment(&self, id: DeploymentId) -> Option<(&Arc<Cohort>, &Arc<Deployment>)> {
        self.cohorts.values().find_map(|cohort| {
            let deployment = cohort.deployments.iter().find(|deployment| deployment.id == id)?;
            Some((cohort, deployment))
        })
    }

    /// All deployments that name this artifact, with their cohorts.
    pub fn deployments_of(
        &self,
        artifact: ArtifactId,
    ) -> impl Iterator<Item = (&Arc<Cohort>, &Arc<Deployment>)> {
        self.cohorts.values().flat_map(move |cohort| {
            let naming = cohort.deployments.iter().filter(move |deployment| {
                deployment
                    .artifacts
                    .iter()
                    .any(|deployed| deployed.id == artifact)
            });
            naming.map(move |deployment| (cohort, deployment))
        })
    }
}

impl Cohort {
    /// The active deployment: the newest.
    #[must_use]
    pub fn active(&self) -> Option<&Arc<Deployment>> {
        self.deployments.last()
    }

    /// Whether this is the active deployment.
    #[must_use]
    pub fn is_active(&self, id: DeploymentId) -> bool {
        self.active().is_some_and(|active| active.id == id)
    }

    /// All deployments, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.deployments.iter().rev()
    }
}

impl Deployment {
    /// What it deploys for this package.
    #[must_use]
    pub fn artifact(&self, package: &str) -> Option<&DeployedArtifact> {
        self.artifacts
            .iter()
            .find(|artifact| &*artifact.package == package)
    }

    /// What deploying it changed, given the deployment before it.
    #[must_use]
    pub fn difference(&self, before: Option<&Deployment>) -> Difference {
        Difference::between(before, &self.artifacts)
    }
}

impl DeployedArtifact {
    /// `artifact` as part of a deployment over `active`.
    #[must_use]
    pub fn of(artifact: &Artifact, active: Option<&Deployment>) -> Self {
        Self {
            id: artifact.id,
            package: artifact.package.clone(),
            version: artifact.version.clone(),
            size: artifact.size,
            digest: artifact.digest,
            kind: artifact.kind,
            image_version: artifact.image_version.clone(),
            change: Change::against(active, &artifact.package, &artifact.version),
        }
    }

    /// The path devices fetch it from, relative to the gateway.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("/.u/c/{}@{}", self.package, self.version)
    }
}
