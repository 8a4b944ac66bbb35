//! What the fleet is doing, in numbers that are ready to be shown.
//!
//! Nobody who looks at a page counts: the counter does (`counter.rs`), twice a second at most, and publishes what it found. It puts
//! together what the ledger knows of devices, what the directory knows of those that are connected, and the view.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::handle::Control;
use super::ledger::{Facts, Ledger};
use super::reads::Progress;
use super::view::View;
use crate::fleet::{
    ArtifactId, Cohort, CohortId, Deployment, DeploymentId, DeviceState, PackageName, Project, ProjectId,
    Version,
};
use crate::store::FailureRow;

/// What a project's fleet is doing, as last counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetFigures {
    /// When it was counted, in milliseconds of Unix time; 0 is never.
    pub counted_ms: i64,
    /// Devices on record.
    pub devices: u64,
    /// Devices that are connected.
    pub online: u64,
    /// Devices that are connected and observe their manifest.
    pub observing: u64,
    /// Devices that fetch an artifact at this moment.
    pub downloading: u64,
    /// Devices that failed at their cohort's active deployment.
    pub failing: u64,
    /// Bytes of artifacts served, in a second.
    pub bytes_per_second: f64,
    /// The cohorts.
    pub cohorts: BTreeMap<CohortId, CohortFigures>,
    /// What the devices run, by package, and within a package the most frequent version first.
    pub versions: Vec<VersionShare>,
    /// At what devices failed, the most frequent first.
    pub failures: Vec<FailureShare>,
}

impl FleetFigures {
    /// How far a cohort's active deployment has come. Of one that was made after the devices were last counted, nobody has heard as
    /// far as is known. `None` where there is none, and until devices have been counted once since the start.
    #[must_use]
    pub fn progress_of(&self, cohort: &Cohort) -> Option<Progress> {
        let nobody = Progress::of_cohort([0; 7], cohort.devices, 0);
        let uncounted = cohort.active().filter(|_| self.counted_ms > 0).map(|_| nobody);
        self.counted_progress_of(cohort).or(uncounted)
    }

    /// The same, if it was counted since the deployment was made.
    #[must_use]
    pub fn counted_progress_of(&self, cohort: &Cohort) -> Option<Progress> {
        let (of, progress) = self.cohorts.get(&cohort.id)?.progress?;
        cohort.is_active(of).then_some(progress)
    }

    /// Whether nothing is different but when it was counted.
    fn says_the_same_as(&self, other: &Self) -> bool {
        let Self {
            counted_ms: _,
            devices,
            online,
            observing,
            downloading,
            failing,
            bytes_per_second,
            cohorts,
            versions,
            failures,
        } = self;
        *devices == other.devices
            && *online == other.online
            && *observing == other.observing
            && *downloading == other.downloading
            && *failing == other.failing
            && *bytes_per_second == other.bytes_per_second
            && *cohorts == other.cohorts
            && *versions == other.versions
            && *failures == other.failures
    }
}

/// What a cohort is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CohortFigures {
    /// Devices in it.
    pub devices: u64,
    /// Devices in it that are connected.
    pub online: u64,
    /// Its active deployment, and how far that has come.
    pub progress: Option<(DeploymentId, Progress)>,
    /// What its devices run, as in [`FleetFigures::versions`].
    pub versions: Vec<VersionShare>,
    /// At what its devices failed, the most frequent first.
    pub failures: Vec<FailureShare>,
}

/// How many devices run a version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionShare {
    /// The package.
    pub package: PackageName,
    /// The version; `None` is everything past the ten that most devices run.
    pub version: Option<Version>,
    /// How many.
    pub devices: u64,
}

/// How many devices failed at a package for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureShare {
    /// The package.
    pub package: PackageName,
    /// The state in which they reported it.
    pub state: DeviceState,
    /// The reason, by its number; [`crate::fleet::reason_str`] has the words.
    pub reason: u64,
    /// How many.
    pub devices: u64,
}

impl Control {
    /// What the project's fleet is doing, as last counted. Never waits for the store.
    #[must_use]
    pub fn figures(&self, project: ProjectId) -> Arc<FleetFigures> {
        self.shared.figures.of(project)
    }

    /// Whether every device has been counted since the start.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.shared.counting.is_loaded()
    }

    /// Changes with every count, whether anything else did or not.
    #[must_use]
    pub fn counts(&self) -> watch::Receiver<u64> {
        self.shared.figures.rounds.subscribe()
    }
}

impl From<FailureRow> for FailureShare {
    fn from(row: FailureRow) -> Self {
        Self {
            package: row.package,
            state: DeviceState::from_number(row.state),
            reason: row.reason,
            devices: row.devices,
        }
    }
}

impl From<FailureShare> for FailureRow {
    fn from(share: FailureShare) -> Self {
        Self {
            package: share.package,
            state: share.state.number(),
            reason: share.reason,
            devices: share.devices,
        }
    }
}

/// Where the figures are published.
pub struct Figures {
    published: ArcSwap<BTreeMap<ProjectId, Arc<FleetFigures>>>,
    rounds: watch::Sender<u64>,
    /// How often others were published than before.
    moved: AtomicU64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            published: ArcSwap::default(),
            rounds: watch::channel(0).0,
            moved: AtomicU64::new(0),
        }
    }
}

impl Figures {
    /// Those of a project.
    pub fn of(&self, project: ProjectId) -> Arc<FleetFigures> {
        self.published.load().get(&project).cloned().unwrap_or_default()
    }

    /// Those of a cohort, if it has been counted.
    pub fn of_cohort(&self, cohort: CohortId) -> Option<CohortFigures> {
        let published = self.published.load();
        published
            .values()
            .find_map(|figures| figures.cohorts.get(&cohort).cloned())
    }

    /// How often others were published than before, whenever they were counted.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Acquire)
    }

    /// Publishes others.
    pub fn publish(&self, counted: BTreeMap<ProjectId, Arc<FleetFigures>>) {
        let counted = Arc::new(counted);
        let before = self.published.swap(Arc::clone(&counted));
        let is_same = counted.len() == before.len()
            && counted.iter().all(|(project, figures)| {
                before
                    .get(project)
                    .is_some_and(|before| figures.says_the_same_as(before))
            });
        if !is_same {
            self.moved.fetch_add(1, Ordering::Release);
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
    }
}

/// Who is connected, and does what: what is in memory and not in the ledger.
#[derive(Debug, Default)]
pub struct Presence {
    /// By project.
    pub projects: BTreeMap<ProjectId, PresenceOf>,
    /// Connected devices by cohort.
    pub cohorts: HashMap<CohortId, u64>,
    /// Bytes of artifacts served to devices of cohorts since the program started.
    pub served: HashMap<(Option<CohortId>, ArtifactId), u64>,
}

/// What the devices of a project do.
#[derive(Debug, Clone, Copy, Default)]
pub struct PresenceOf {
    /// Connected devices.
    pub online: u64,
    /// Those that observe.
    pub observing: u64,
    /// Those that fetch an artifact.
    pub downloading: u64,
    /// Bytes of artifacts served in a second.
    pub bytes_per_second: f64,
}

impl Presence {
    /// Bytes of a deployment's artifacts served to its cohort.
    #[must_use]
    pub fn served_of(&self, deployment: &Deployment) -> u64 {
        let artifacts = deployment.artifacts.iter();
        let served = artifacts.filter_map(|a| self.served.get(&(Some(deployment.cohort), a.id)));
        served.sum()
    }
}

/// Puts together what is known. A walk over the ledger's classes and the view's cohorts.
#[must_use]
pub fn compose(
    view: &View,
    ledger: &Ledger,
    presence: &Presence,
    counted_ms: i64,
) -> BTreeMap<ProjectId, Arc<FleetFigures>> {
    let mut tallies: HashMap<(ProjectId, Option<CohortId>), Tallies<'_>> = HashMap::new();
    let mut stages: HashMap<(CohortId, DeploymentId), [u64; 7]> = HashMap::new();
    for (facts, devices) in ledger.classes() {
        tallies
            .entry((facts.project, facts.cohort))
            .or_default()
            .add(facts, devices);
        if let (Some(cohort), Some((deployment, stage))) = (facts.cohort, facts.standing) {
            stages.entry((cohort, deployment)).or_default()[stage.index()] += devices;
        }
    }
    let mut composed = BTreeMap::new();
    for project in view.projects() {
        let presence_of = presence.projects.get(&project.id).copied().unwrap_or_default();
        let mut figures = FleetFigures {
            counted_ms,
            devices: project.devices,
            online: presence_of.online,
            observing: presence_of.observing,
            downloading: presence_of.downloading,
            bytes_per_second: presence_of.bytes_per_second,
            ..FleetFigures::default()
        };
        let mut all = tallies.remove(&(project.id, None)).unwrap_or_default();
        for cohort in project.cohorts.values() {
            let tallied = tallies.remove(&(project.id, Some(cohort.id))).unwrap_or_default();
            let progress = cohort.active().map(|active| {
                let stages = stages.get(&(cohort.id, active.id)).copied().unwrap_or_default();
                let served = presence.served_of(active);
                (active.id, Progress::of_cohort(stages, cohort.devices, served))
            });
            figures.failing += progress.map_or(0, |(_, progress)| progress.failed);
            let of_cohort = CohortFigures {
                devices: cohort.devices,
                online: presence.cohorts.get(&cohort.id).copied().unwrap_or(0),
                progress,
                versions: tallied.versions(project),
                failures: tallied.failures(),
            };
            figures.cohorts.insert(cohort.id, of_cohort);
            all.merge(tallied);
        }
        figures.versions = all.versions(project);
        figures.failures = all.failures();
        composed.insert(project.id, Arc::new(figures));
    }
    composed
}

/// At what the devices of a cohort failed in a deployment, the most frequent first.
#[must_use]
pub fn failures_at(ledger: &Ledger, deployment: &Deployment) -> Vec<FailureShare> {
    let mut tallies = Tallies::default();
    for (facts, devices) in ledger.classes() {
        let is_at = facts
            .standing
            .is_some_and(|(standing, _)| standing == deployment.id);
        if is_at && facts.cohort == Some(deployment.cohort) {
            tallies.add(facts, devices);
        }
    }
    tallies.failures()
}

/// How many devices run what, and failed where.
#[derive(Default)]
struct Tallies<'a> {
    versions: HashMap<(&'a str, &'a str), u64>,
    failures: HashMap<(&'a str, u64, u64), u64>,
}

impl<'a> Tallies<'a> {
    fn add(&mut self, facts: &'a Facts, devices: u64) {
        for (package, version) in &facts.runs {
            if let Some(version) = version {
                *self.versions.entry((package, version)).or_default() += devices;
            }
        }
        for (package, state, reason) in &facts.failures {
            *self.failures.entry((package, *state, *reason)).or_default() += devices;
        }
    }

    fn merge(&mut self, other: Self) {
        for (version, devices) in other.versions {
            *self.versions.entry(version).or_default() += devices;
        }
        for (failure, devices) in other.failures {
            *self.failures.entry(failure).or_default() += devices;
        }
    }

    /// Of the project's own packages: what else devices name has no place in a picture.
    fn versions(&self, project: &Project) -> Vec<VersionShare> {
        let mut by_package: BTreeMap<&PackageName, Vec<(&str, u64)>> = BTreeMap::new();
        for (&(package, version), &devices) in &self.versions {
            if let Some(package) = project.package(package) {
                by_package
                    .entry(&package.name)
                    .or_default()
                    .push((version, devices));
            }
        }
        let mut shares = Vec::new();
        for (package, mut versions) in by_package {
            versions.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
            let mut others = 0;
            let mut shown = 0;
            for (version, devices) in versions {
                match Version::parse(version) {
                    Ok(version) if shown < VERSIONS_SHOWN => {
                        shown += 1;
                        shares.push(VersionShare {
                            package: package.clone(),
                            version: Some(version),
                            devices,
                        });
                    }
                    // Too many, or nothing that a version is called here.
                    Ok(_) | Err(_) => others += devices,
                }
            }
            if others > 0 {
                shares.push(VersionShare {
                    package: package.clone(),
                    version: None,
                    devices: others,
                });
            }
        }
        shares
    }

    fn failures(&self) -> Vec<FailureShare> {
        let mut shares: Vec<_> = self
            .failures
            .iter()
            .filter_map(|(&(package, state, reason), &devices)| {
                Some(FailureShare {
                    // It failed at a package of a deployment, so it is one.
                    package: PackageName::parse(package).ok()?,
                    state: DeviceState::from_number(state),
                    reason,
                    devices,
                })
            })
            .collect();
        shares.sort_by(|a, b| {
            let names = || (&a.package, a.reason).cmp(&(&b.package, b.reason));
            b.devices.cmp(&a.devices).then_with(names)
        });
        shares.truncate(FAILURES_SHOWN);
        shares
    }
}

/// Versions of a package that are told apart.
const VERSIONS_SHOWN: usize = 10;
/// Failures that are told apart: packages times states times reasons are more than a picture shows.
const FAILURES_SHOWN: usize = 50;

#[cfg(test)]
#[path = "figures_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
