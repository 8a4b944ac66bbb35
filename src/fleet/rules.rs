//! What may happen to a fleet. Each rule refuses and changes nothing, or says yes and has changed it.

use std::cmp::Reverse;
use std::sync::Arc;

use super::certificate::{DeviceCa, NewCa};
use super::difference::Difference;
use super::id::{ArtifactId, CaId, CohortId, DeploymentId, PackageId, ProjectId};
use super::image::{ImageKind, ImageVersion};
use super::model::{Artifact, Cohort, DeployedArtifact, Deployment, Fleet, Package, Project};
use super::name::{CohortName, DeploymentName, PackageName, ProjectName, Version};
use super::number::{ArtifactSize, Digest, Sequence};
use super::refusal::{Invalid, Kind, Refusal};

/// The most bytes a manifest may have: a device takes it in one datagram or not at all.
pub const MANIFEST_LIMIT: usize = 1024;

/// What an operator says about a package to be.
#[derive(Debug, Clone)]
pub struct NewPackage {
    /// Its name.
    pub name: PackageName,
    /// What it is; may be empty.
    pub description: String,
    /// What to keep with it.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl NewPackage {
    /// A package of which nothing is known but its name.
    #[must_use]
    pub fn named(name: PackageName) -> Self {
        Self {
            name,
            description: String::new(),
            metadata: serde_json::Map::new(),
        }
    }
}

/// Bytes that are to become an artifact.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    /// The package they are a version of.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// How many there are.
    pub size: ArtifactSize,
    /// Their SHA-256.
    pub digest: Digest,
    /// What the first of them say.
    pub kind: ImageKind,
    /// The version in their header.
    pub image_version: Option<ImageVersion>,
}

/// What became of bytes that were to become an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactOutcome {
    /// They are an artifact.
    Added(Arc<Artifact>),
    /// They were this artifact already; nothing changed.
    Same(Arc<Artifact>),
}

impl ArtifactOutcome {
    /// The artifact, either way.
    #[must_use]
    pub fn artifact(&self) -> &Arc<Artifact> {
        match self {
            Self::Added(artifact) | Self::Same(artifact) => artifact,
        }
    }
}

/// What became of a CA that was to be believed.
#[derive(Debug, Clone)]
pub enum CaOutcome {
    /// It was not there.
    Created(Arc<DeviceCa>),
    /// It was there, on the same terms.
    Existing(Arc<DeviceCa>),
}

/// A version of a package, as a deployment is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRef {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
}

/// An order for a deployment.
#[derive(Debug, Clone)]
pub struct DeploymentOrder {
    /// The cohort it is for.
    pub cohort: CohortId,
    /// What to call it.
    pub name: DeploymentName,
    /// What to deploy.
    pub artifacts: Vec<ArtifactRef>,
    /// What the operator looked at: not at all, no deployment, or this deployment.
    pub expected_active: Option<Option<DeploymentId>>,
}

impl Fleet {
    /// Makes a project.
    ///
    /// # Errors
    /// The name is taken.
    pub fn create_project(&mut self, name: ProjectName, at_ms: i64) -> Result<Arc<Project>, Refusal> {
        if self.projects.values().any(|project| project.name == name) {
            return Err(taken(Kind::Project, &name));
        }
        let project = Arc::new(Project {
            id: ProjectId::new(self.take_id()),
            name,
            created_ms: at_ms,
            packages: Default::default(),
            cohorts: Default::default(),
            last_sequence: None,
            devices: 0,
        });
        self.projects.insert(project.id, Arc::clone(&project));
        Ok(project)
    }

    /// Makes a package.
    ///
    /// # Errors
    /// The name is taken, or what comes with it is too long.
    pub fn create_package(
        &mut self,
        project: ProjectId,
        new: NewPackage,
        at_ms: i64,
    ) -> Result<Arc<Package>, Refusal> {
        if self.in_project(project)?.packages.contains_key(&new.name) {
            return Err(taken(Kind::Package, &new.name));
        }
        if new.description.chars().count() > DESCRIPTION_CHARS {
            let wrong = format!("is {} characters long", new.description.chars().count());
            return Err(Invalid::new("description", &new.description, wrong, "up to 1000 characters").into());
        }
        let metadata_bytes = serde_json::Value::Object(new.metadata.clone()).to_string().len();
        let deepest = new.metadata.values().map(json_depth).max().unwrap_or(0);
        if deepest > METADATA_DEPTH {
            let wrong = format!("nests {deepest} arrays and objects in one another");
            let accepted = "up to 16 arrays and objects in one another";
            return Err(Invalid::new("metadata", "(not repeated)", wrong, accepted).into());
        }
        if metadata_bytes > METADATA_BYTES {
            let wrong = format!("is {metadata_bytes} bytes of JSON");
            return Err(Invalid::new("metadata", "(not repeated)", wrong, "up to 4096 bytes of JSON").into());
        }
        let package = Arc::new(Package {
            id: PackageId::new(self.take_id()),
            project,
            name: new.name,
            description: new.description,
            metadata: new.metadata,
            created_ms: at_ms,
            artifacts: Default::default(),
        });
        self.change(project)?
            .packages
            .insert(package.name.clone(), Arc::clone(&package));
        Ok(package)
    }

    /// Makes an artifact of bytes that are stored. The same bytes again change nothing.
    ///
    /// # Errors
    /// There is no such package, or the version exists with other bytes.
    pub fn add_artifact(
        &mut self,
        project: ProjectId,
        new: NewArtifact,
        at_ms: i64,
    ) -> Result<ArtifactOutcome, Refusal> {
        let package = self.in_project(project)?.require_package(&new.package)?;
        if let Some(stored) = package.artifacts.get(&new.version) {
            if stored.digest == new.digest {
                return Ok(ArtifactOutcome::Same(Arc::clone(stored)));
            }
            return Err(Refusal::OtherBytes {
                package: new.package,
                version: new.version,
                stored: stored.digest,
                given: new.digest,
            });
        }
        let package_id = package.id;
        let artifact = Arc::new(Artifact {
            id: ArtifactId::new(self.take_id()),
            package_id,
            package: new.package,
            version: new.version,
            size: new.size,
            digest: new.digest,
            kind: new.kind,
            image_version: new.image_version,
            created_ms: at_ms,
        });
        if let Some(package) = self.change(project)?.packages.get_mut(&artifact.package) {
            Arc::make_mut(package)
                .artifacts
                .insert(artifact.version.clone(), Arc::clone(&artifact));
        }
        Ok(ArtifactOutcome::Added(artifact))
    }

    /// Removes an artifact that no deployment names.
    ///
    /// # Errors
    /// It is not there, or deployments name it; the refusal says which.
    pub fn delete_artifact(
        &mut self,
        project: ProjectId,
        package: &PackageName,
        version: &Version,
    ) -> Result<Arc<Artifact>, Refusal> {
        let tenant = self.in_project(project)?;
        let artifact = Arc::clone(tenant.require_artifact(package, version)?);
        artifact.may_be_deleted(tenant.deployments_of(artifact.id))?;
        if let Some(package) = self.change(project)?.packages.get_mut(package) {
            Arc::make_mut(package).artifacts.remove(version);
        }
        Ok(artifact)
    }

    /// Removes a package that has no artifacts.
    ///
    /// # Errors
    /// It is not there, or it has artifacts; the refusal says which.
    pub fn delete_package(
        &mut self,
        project: ProjectId,
        name: &PackageName,
    ) -> Result<Arc<Package>, Refusal> {
        let package = Arc::clone(self.in_project(project)?.require_package(name)?);
        let by = package
            .artifacts
            .keys()
            .map(|version| format!("artifact {name}@{version}"));
        refuse_if_needed(Kind::Package, name, by)?;
        self.change(project)?.packages.remove(name);
        Ok(package)
    }

    /// Makes a cohort.
    ///
    /// # Errors
    /// The name is taken.
    pub fn create_cohort(
        &mut self,
        project: ProjectId,
        name: CohortName,
        at_ms: i64,
    ) -> Result<Arc<Cohort>, Refusal> {
        if self
            .in_project(project)?
            .cohorts
            .values()
            .any(|cohort| cohort.name == name)
        {
            return Err(taken(Kind::Cohort, &name));
        }
        let cohort = Arc::new(Cohort {
            id: CohortId::new(self.take_id()),
            project,
            name,
            created_ms: at_ms,
            deployments: Vec::new(),
            devices: 0,
        });
        self.change(project)?
            .cohorts
            .insert(cohort.id, Arc::clone(&cohort));
        Ok(cohort)
    }

    /// Removes a cohort that has no devices and never had a deployment.
    ///
    /// # Errors
    /// It is not there, or it has devices or deployments.
    pub fn delete_cohort(&mut self, project: ProjectId, id: CohortId) -> Result<Arc<Cohort>, Refusal> {
        let cohort = self.may_delete_cohort(project, id)?;
        self.change(project)?.cohorts.remove(&id);
        Ok(cohort)
    }

    /// Whether a cohort can be removed.
    ///
    /// # Errors
    /// It is not there, or it has devices or deployments.
    pub fn may_delete_cohort(&self, project: ProjectId, id: CohortId) -> Result<Arc<Cohort>, Refusal> {
        let cohort = Arc::clone(self.in_project(project)?.require_cohort(id)?);
        let devices = match cohort.devices {
            0 => None,
            1 => Some("1 device".to_owned()),
            n => Some(format!("{n} devices")),
        };
        let deployments = cohort
            .deployments
            .iter()
            .map(|deployment| format!("deployment {:?}", deployment.name));
        let cas = self
            .device_cas_of(project)
            .filter(|ca| ca.cohort == Some(id))
            .map(|ca| format!("device CA {:?}", ca.name));
        let by = devices.into_iter().chain(deployments).chain(cas);
        refuse_if_needed(Kind::Cohort, &cohort.name, by)?;
        Ok(cohort)
    }

    /// Believes a CA about devices. The same certificate under the same terms is there already.
    ///
    /// # Errors
    /// It is past its validity, it or its name is there on other terms, the cohort is not there, or there are as many as a
    /// project may have.
    pub fn add_device_ca(
        &mut self,
        project: ProjectId,
        new: NewCa,
        at_ms: i64,
    ) -> Result<CaOutcome, Refusal> {
        new.certificate.check_time(at_ms / 1000)?;
        let tenant = self.in_project(project)?;
        if let Some(cohort) = new.cohort {
            tenant.require_cohort(cohort)?;
        }
        let same = |ca: &&Arc<DeviceCa>| ca.certificate.sha256() == new.certificate.sha256();
        if let Some(there) = self.device_cas_of(project).find(same) {
            let as_it_is = new.name.as_ref().is_none_or(|name| *name == there.name)
                && new.zero_touch == there.zero_touch
                && new.cohort == there.cohort;
            return match as_it_is {
                true => Ok(CaOutcome::Existing(Arc::clone(there))),
                false => Err(Refusal::Taken {
                    kind: Kind::DeviceCa,
                    value: there.certificate.sha256().to_string(),
                    by: Some(format!(
                        "as {:?}, on other terms (its name, zero-touch or cohort); remove it first to change them",
                        there.name
                    )),
                }),
            };
        }
        let name = new.name.unwrap_or_else(|| new.certificate.usual_name());
        if self.device_cas_of(project).any(|ca| ca.name == name) {
            return Err(taken(Kind::DeviceCa, &name));
        }
        let given = self.device_cas_of(project).count() + 1;
        if given > DEVICE_CAS {
            return Err(Refusal::TooMany {
                what: "device CAs",
                given,
                limit: DEVICE_CAS,
            });
        }
        let ca = Arc::new(DeviceCa {
            id: CaId::new(self.take_id()),
            project,
            name,
            certificate: new.certificate,
            zero_touch: new.zero_touch,
            cohort: new.cohort,
            created_ms: at_ms,
        });
        Arc::make_mut(&mut self.device_cas).push(Arc::clone(&ca));
        Ok(CaOutcome::Created(ca))
    }

    /// Believes a CA no more.
    ///
    /// # Errors
    /// It is not there.
    pub fn remove_device_ca(&mut self, project: ProjectId, id: CaId) -> Result<Arc<DeviceCa>, Refusal> {
        let ca = Arc::clone(self.require_device_ca(project, &id.to_string())?);
        Arc::make_mut(&mut self.device_cas).retain(|other| other.id != id);
        Ok(ca)
    }

    /// The device CA with this id, written as a string, or this name.
    ///
    /// # Errors
    /// It is not there; the refusal names some that are.
    pub fn require_device_ca(&self, project: ProjectId, id_or_name: &str) -> Result<&Arc<DeviceCa>, Refusal> {
        self.in_project(project)?;
        let id = id_or_name.parse::<CaId>().ok();
        self.device_cas_of(project)
            .find(|ca| Some(ca.id) == id || ca.name.as_str() == id_or_name)
            .ok_or_else(|| {
                let names = self.device_cas_of(project).map(|ca| ca.name.as_str());
                unknown(Kind::DeviceCa, id_or_name, names)
            })
    }

    /// Decides on a deployment without making it: what it would be, and what it would change.
    ///
    /// # Errors
    /// An artifact is not there, a package is named twice or none at all, the review is stale, or numbers have run out.
    pub fn plan_deployment(
        &self,
        project: ProjectId,
        order: &DeploymentOrder,
        author: &str,
        at_ms: i64,
    ) -> Result<(Deployment, Difference), Refusal> {
        let tenant = self.in_project(project)?;
        let cohort = tenant.require_cohort(order.cohort)?;
        let active = cohort.active().map(Arc::as_ref);

        if order.artifacts.is_empty() {
            return Err(Refusal::EmptyDeployment);
        }
        let mut artifacts: Vec<DeployedArtifact> = Vec::with_capacity(order.artifacts.len());
        for wanted in &order.artifacts {
            if let Some(twice) = artifacts
                .iter()
                .find(|artifact| artifact.package == wanted.package)
            {
                return Err(Refusal::PackageTwice {
                    package: wanted.package.clone(),
                    first: twice.version.clone(),
                    second: wanted.version.clone(),
                });
            }
            let artifact = tenant.require_artifact(&wanted.package, &wanted.version)?;
            artifacts.push(DeployedArtifact::of(artifact, active));
        }
        artifacts.sort_by(|a, b| a.package.cmp(&b.package));
        let difference = Difference::between(active, &artifacts);

        let active_id = active.map(|active| active.id);
        if let Some(expected) = order.expected_active.filter(|&expected| expected != active_id) {
            return Err(Refusal::Stale {
                expected,
                active: active_id,
                difference: Box::new(difference),
            });
        }
        if cohort
            .deployments
            .iter()
            .any(|deployment| deployment.name == order.name)
        {
            let by = Some(format!("in cohort {:?}", cohort.name));
            return Err(Refusal::Taken {
                kind: Kind::Deployment,
                value: order.name.to_string(),
                by,
            });
        }
        let sequence = match tenant.last_sequence {
            None => Sequence::FIRST,
            Some(last) => last.next().ok_or(Refusal::SequenceExhausted)?,
        };
        let deployment = Deployment {
            id: DeploymentId::new(self.next_id),
            cohort: order.cohort,
            name: order.name.clone(),
            sequence,
            artifacts,
            author: author.to_owned(),
            created_ms: at_ms,
        };
        Ok((deployment, difference))
    }

    /// Makes the deployment that [`Fleet::plan_deployment`] has just decided on.
    ///
    /// # Errors
    /// The fleet was changed in between.
    pub fn deploy(&mut self, project: ProjectId, deployment: Deployment) -> Result<Arc<Deployment>, Refusal> {
        self.in_project(project)?.require_cohort(deployment.cohort)?;
        let planned = deployment.id.get();
        self.next_id = self.next_id.max(planned + 1);
        let deployment = Arc::new(deployment);
        let tenant = self.change(project)?;
        tenant.last_sequence = tenant.last_sequence.max(Some(deployment.sequence));
        if let Some(cohort) = tenant.cohorts.get_mut(&deployment.cohort) {
            Arc::make_mut(cohort).deployments.push(Arc::clone(&deployment));
        }
        Ok(deployment)
    }

    /// Counts a device into a project (`from` and `to` are its cohorts before and after).
    ///
    /// # Errors
    /// There is no such project or cohort.
    pub fn device_created(&mut self, project: ProjectId, to: Option<CohortId>) -> Result<(), Refusal> {
        self.device_moved(project, None, to)?;
        self.change(project)?.devices += 1;
        Ok(())
    }

    /// Counts a device from one cohort into another.
    ///
    /// # Errors
    /// There is no such project, or no cohort to move to.
    pub fn device_moved(
        &mut self,
        project: ProjectId,
        from: Option<CohortId>,
        to: Option<CohortId>,
    ) -> Result<(), Refusal> {
        if let Some(to) = to {
            self.in_project(project)?.require_cohort(to)?;
        }
        if from == to {
            return Ok(());
        }
        let tenant = self.change(project)?;
        if let Some(cohort) = from.and_then(|from| tenant.cohorts.get_mut(&from)) {
            let cohort = Arc::make_mut(cohort);
            cohort.devices = cohort.devices.saturating_sub(1);
        }
        if let Some(cohort) = to.and_then(|to| tenant.cohorts.get_mut(&to)) {
            Arc::make_mut(cohort).devices += 1;
        }
        Ok(())
    }

    /// Counts a device out of its project and cohort.
    ///
    /// # Errors
    /// There is no such project.
    pub fn device_deleted(&mut self, project: ProjectId, from: Option<CohortId>) -> Result<(), Refusal> {
        self.device_moved(project, from, None)?;
        let tenant = self.change(project)?;
        tenant.devices = tenant.devices.saturating_sub(1);
        Ok(())
    }

    /// The project, to read.
    ///
    /// # Errors
    /// It is not there.
    pub fn in_project(&self, id: ProjectId) -> Result<&Arc<Project>, Refusal> {
        self.projects.get(&id).ok_or_else(|| {
            let names = self.projects.values().map(|project| project.name.as_str());
            unknown(Kind::Project, &id.to_string(), names)
        })
    }

    fn change(&mut self, id: ProjectId) -> Result<&mut Project, Refusal> {
        self.in_project(id)?;
        let project = self.projects.get_mut(&id).expect("was found a line above");
        Ok(Arc::make_mut(project))
    }
}

impl Artifact {
    /// Whether it can be deleted, given the deployments that name it.
    ///
    /// # Errors
    /// There are some; the refusal says which.
    pub fn may_be_deleted<'a>(
        &self,
        named_by: impl Iterator<Item = (&'a Arc<Cohort>, &'a Arc<Deployment>)>,
    ) -> Result<(), Refusal> {
        let by = named_by.map(|(cohort, deployment)| {
            format!("deployment {:?} of cohort {:?}", deployment.name, cohort.name)
        });
        refuse_if_needed(Kind::Artifact, &format!("{}@{}", self.package, self.version), by)
    }
}

impl Project {
    /// The package with this name.
    ///
    /// # Errors
    /// It is not there; the refusal names some that are.
    pub fn require_package(&self, name: &str) -> Result<&Arc<Package>, Refusal> {
        let names = || self.packages.keys().map(PackageName::as_str);
        self.packages
            .get(name)
            .ok_or_else(|| unknown(Kind::Package, name, names()))
    }

    /// The artifact of this package and version.
    ///
    /// # Errors
    /// It, or its package, is not there; the refusal names some that are.
    pub fn require_artifact(&self, package: &str, version: &str) -> Result<&Arc<Artifact>, Refusal> {
        let package = self.require_package(package)?;
        let newest_first = || {
            let mut there: Vec<_> = package.artifacts.values().collect();
            there.sort_unstable_by_key(|artifact| Reverse(artifact.id));
            there.into_iter().map(|artifact| artifact.version.as_str())
        };
        let named = format!("{}@{version}", package.name);
        package
            .artifacts
            .get(version)
            .ok_or_else(|| unknown(Kind::Artifact, &named, newest_first()))
    }

    /// The cohort with this id.
    ///
    /// # Errors
    /// It is not there; the refusal names some that are.
    pub fn require_cohort(&self, id: CohortId) -> Result<&Arc<Cohort>, Refusal> {
        self.cohorts
            .get(&id)
            .ok_or_else(|| self.no_cohort(&id.to_string()))
    }

    /// The cohort with this id, written as a string, or this name.
    ///
    /// # Errors
    /// It is not there; the refusal names some that are.
    pub fn require_cohort_named(&self, id_or_name: &str) -> Result<&Arc<Cohort>, Refusal> {
        self.find_cohort(id_or_name)
            .ok_or_else(|| self.no_cohort(id_or_name))
    }

    fn no_cohort(&self, value: &str) -> Refusal {
        unknown(
            Kind::Cohort,
            value,
            self.cohorts.values().map(|cohort| cohort.name.as_str()),
        )
    }
}

fn taken(kind: Kind, name: &str) -> Refusal {
    Refusal::Taken {
        kind,
        value: name.to_owned(),
        by: None,
    }
}

/// Something is not there; the first few that are may be what was meant.
fn unknown<'a>(kind: Kind, value: &str, there: impl Iterator<Item = &'a str>) -> Refusal {
    let mut there = there.peekable();
    let mut accepted = match there.peek() {
        None => "there are none yet".to_owned(),
        Some(_) => {
            "there are: ".to_owned() + &there.by_ref().take(NAMED_AT_MOST).collect::<Vec<_>>().join(", ")
        }
    };
    if there.peek().is_some() {
        accepted.push_str(", …");
    }
    Refusal::Unknown {
        kind,
        value: value.to_owned(),
        accepted,
    }
}

fn refuse_if_needed(kind: Kind, value: &str, by: impl Iterator<Item = String>) -> Result<(), Refusal> {
    let mut by = by.peekable();
    if by.peek().is_none() {
        return Ok(());
    }
    let named = by.by_ref().take(NAMED_AT_MOST).collect();
    let more = u64::try_from(by.count()).unwrap_or(u64::MAX);
    Err(Refusal::InUse {
        kind,
        value: value.to_owned(),
        by: named,
        more,
    })
}

/// How many names a message lists: a reasoned guess at what one can take in.
const NAMED_AT_MOST: usize = 5;
/// CAs of a project: a factory has a few, and each costs every certificate's handshake a look. A reasoned guess.
const DEVICE_CAS: usize = 64;
/// A reasoned guess.
const DESCRIPTION_CHARS: usize = 1000;
/// A reasoned guess: the published view keeps it in memory.
const METADATA_BYTES: usize = 4096;
/// A guess, and far below the 128 levels at which readers of JSON give up: whoever is shown it must be able to read it.
pub const METADATA_DEPTH: usize = 16;

/// How many arrays and maps there are around the innermost value.
#[must_use]
pub fn json_depth(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(values) => 1 + values.iter().map(json_depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(json_depth).max().unwrap_or(0),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
