//! What the fleet is doing, in numbers that are ready to be shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::error::ControlError;
use super::handle::{Control, Shared};
use super::reads::Progress;
use crate::clock;
use crate::fleet::{CohortId, DeploymentId, DeviceState, PackageName, ProjectId, Version};

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
}

/// Where the figures are published.
#[derive(Default)]
pub struct Figures {
    published: ArcSwap<BTreeMap<ProjectId, Arc<FleetFigures>>>,
}

impl Figures {
    fn of(&self, project: ProjectId) -> Arc<FleetFigures> {
        self.published.load().get(&project).cloned().unwrap_or_default()
    }
}

/// Counts, again and again, until it is told to stop.
pub async fn count(shared: Arc<Shared>) {
    let control = Control { shared };
    let mut stopped = control.shared.stop.subscribe();
    loop {
        let begun = clock::now();
        match count_once(&control).await {
            Ok(counted) => control.shared.figures.published.store(Arc::new(counted)),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the fleet was not counted"
                );
            }
        }
        let rest = (clock::now().duration_since(begun) * REST).max(COUNT_EVERY);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stopped.wait_for(|&stop| stop) => return,
        }
    }
}

async fn count_once(control: &Control) -> Result<BTreeMap<ProjectId, Arc<FleetFigures>>, ControlError> {
    let view = control.shared.view.load_full();
    let mut counted = BTreeMap::new();
    for project in view.projects() {
        let mut figures = FleetFigures {
            counted_ms: clock::unix_ms(),
            devices: project.devices,
            ..FleetFigures::default()
        };
        for cohort in project.cohorts.values() {
            let progress = match cohort.active() {
                Some(active) => Some((active.id, control.progress(project.id, active.id).await?)),
                None => None,
            };
            figures.failing += progress.map_or(0, |(_, progress)| progress.failed);
            let cohort_figures = CohortFigures {
                devices: cohort.devices,
                progress,
                ..CohortFigures::default()
            };
            figures.cohorts.insert(cohort.id, cohort_figures);
        }
        for (entry, _) in control.sessions() {
            if entry.project() == project.id {
                figures.online += 1;
                if let Some(cohort) = entry.cohort().and_then(|id| figures.cohorts.get_mut(&id)) {
                    cohort.online += 1;
                }
            }
        }
        counted.insert(project.id, Arc::new(figures));
    }
    Ok(counted)
}

/// The shortest time from one count to the next: nobody reads faster.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// So many times as long as a count took is rested after it.
const REST: u32 = 10;
