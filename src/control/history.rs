//! How the fleet's figures moved, and how deployments came along.
//!
//! The counter takes the samples (`counter.rs`), `series.rs` decides which of them are worth a row, and the rows that came together
//! are written every ten seconds, along with whatever the writer commits at that moment. While nothing changes, nothing is
//! written. Who reads is given what is in the store with what is on its way there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::RwLock;

use super::batch::{Batch, Decision, Stop};
use super::error::ControlError;
use super::figures::FailureShare;
use super::handle::Control;
use super::reads::Progress;
use super::series::{DeploymentSeries, FleetSeries, spread};
use crate::clock;
use crate::fleet::{Actor, Deployment, DeploymentId, Kind, ProjectId, Refusal};
use crate::store::{FailureRow, FleetRow, ProgressCounts, ProgressRow, SeriesChange, SeriesEnd};

/// How far back to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The last hour.
    Hour,
    /// The last day.
    Day,
    /// The last week.
    Week,
}

/// What a fleet did over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetHistory {
    /// From one point to the next, in milliseconds, where nothing is missing.
    pub step_ms: i64,
    /// Oldest first. Where the gateway did not run, there are none.
    pub points: Vec<FleetPoint>,
}

/// What a fleet did at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FleetPoint {
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Devices that were connected.
    pub connected: u64,
    /// Devices that observed.
    pub observing: u64,
    /// Devices that fetched an artifact.
    pub downloading: u64,
    /// Devices that had failed at their deployment.
    pub failing: u64,
    /// Bytes of artifacts served, in a second.
    pub bytes_per_second: f64,
}

/// How a deployment came along.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeploymentHistory {
    /// Points are at least this far apart, in milliseconds; where nothing moved, further.
    pub step_ms: i64,
    /// Oldest first.
    pub points: Vec<ProgressPoint>,
}

/// How far a deployment had come at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressPoint {
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// How far.
    pub progress: Progress,
}

impl Control {
    /// Series of the whole fleet, oldest first, a few hundred points whatever the span.
    ///
    /// # Errors
    /// There is no such project, or the store fails.
    pub async fn fleet_history(&self, project: ProjectId, span: Span) -> Result<FleetHistory, ControlError> {
        self.view().in_project(project)?;
        self.fleet_history_at(project, span, clock::unix_ms()).await
    }

    pub(super) async fn fleet_history_at(
        &self,
        project: ProjectId,
        span: Span,
        now_ms: i64,
    ) -> Result<FleetHistory, ControlError> {
        let from_ms = now_ms - span.length_ms();
        let history = &self.shared.history;
        let _written = history.writing.read().await;
        let store = &self.shared.store;
        let mut rows = store.fleet_rows(project, span.step_ms(), from_ms).await?;
        let newest = history.lock().newest(project, span);
        // What is written and what is to be: never twice, unless the clock was set back.
        rows.extend(newest);
        rows.sort_by_key(|row| row.at_ms);
        let points = spread(&rows, span.step_ms(), from_ms + span.step_ms(), now_ms);
        let points = points.into_iter().map(|row| FleetPoint {
            at_ms: row.at_ms,
            connected: row.connected,
            observing: row.observing,
            downloading: row.downloading,
            failing: row.failing,
            bytes_per_second: row.bytes_per_second,
        });
        Ok(FleetHistory {
            step_ms: span.step_ms(),
            points: points.collect(),
        })
    }

    /// How a deployment's devices moved through the stages, oldest first, a few hundred points at most, from its creation on.
    ///
    /// # Errors
    /// There is no such deployment, or the store fails.
    pub async fn deployment_history(
        &self,
        project: ProjectId,
        id: DeploymentId,
    ) -> Result<DeploymentHistory, ControlError> {
        let view = self.shared.view.load_full();
        if view.in_project(project)?.deployment(id).is_none() {
            return Err(no_deployment(id).into());
        }
        let history = &self.shared.history;
        let _written = history.writing.read().await;
        let (mut step_ms, mut rows) = self.shared.store.series(id).await?.unwrap_or_default();
        if let Some(series) = history.lock().deployments.get(&id) {
            step_ms = series.step_ms();
            rows = series.whole(rows);
        }
        let points = rows.into_iter().map(|row| ProgressPoint {
            at_ms: row.at_ms,
            progress: Progress::of(row.counts.buckets, row.bytes_served),
        });
        Ok(DeploymentHistory {
            step_ms,
            points: points.collect(),
        })
    }

    /// Why devices failed at a deployment, the most frequent first: as last counted, or as it was when another took its place.
    ///
    /// # Errors
    /// There is no such deployment, or the store fails.
    pub async fn deployment_failures(
        &self,
        project: ProjectId,
        id: DeploymentId,
    ) -> Result<Vec<FailureShare>, ControlError> {
        let view = self.shared.view.load_full();
        let Some((cohort, _)) = view.in_project(project)?.deployment(id) else {
            return Err(no_deployment(id).into());
        };
        if cohort.is_active(id) {
            let figures = self.figures(project);
            let counted = figures.counted_progress_of(cohort);
            let counted = counted.and_then(|_| figures.cohorts.get(&cohort.id));
            return Ok(counted.map_or_else(Vec::new, |of| of.failures.clone()));
        }
        // It may have been superseded a moment ago.
        self.catch_up().await?;
        let history = &self.shared.history;
        let _written = history.writing.read().await;
        let newest = history
            .lock()
            .deployments
            .get(&id)
            .map(|series| series.failures().to_vec());
        let rows = match newest {
            Some(rows) if !rows.is_empty() => rows,
            Some(_) | None => self.shared.store.failures_of(id).await?,
        };
        Ok(rows.into_iter().map(FailureShare::from).collect())
    }

    /// Writes what is new in the series, in a commit of the writer's. Costs nothing if nothing is.
    pub(super) async fn write_history(&self, now_ms: i64) -> Result<(), ControlError> {
        let history = &self.shared.history;
        let _writing = history.writing.write().await;
        let change = history.lock().take();
        if change.is_empty() {
            return Ok(());
        }
        let order = WriteHistory {
            change: change.clone(),
            now_ms,
        };
        match self.order(order).await {
            Ok(written) => {
                history.lock().written(written);
                Ok(())
            }
            Err(error) => {
                history.lock().put_back(change);
                Err(error)
            }
        }
    }
}

/// The series of everything that is counted, with what is not yet in the store.
#[derive(Debug, Default)]
pub struct History {
    series: Mutex<AllSeries>,
    /// Held while what was taken from the series is on its way to the store, so that nobody reads past it.
    writing: RwLock<()>,
}

impl History {
    /// Not across anything that waits.
    pub fn lock(&self) -> MutexGuard<'_, AllSeries> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Series of projects and deployments.
#[derive(Debug, Default)]
pub struct AllSeries {
    fleets: BTreeMap<ProjectId, FleetSeries>,
    /// Those that are active, or were until a moment ago.
    deployments: BTreeMap<DeploymentId, DeploymentSeries>,
    ended: BTreeSet<DeploymentId>,
}

/// What is to be written.
#[derive(Debug, Clone, Default)]
pub struct HistoryChange {
    fleets: Vec<(ProjectId, Span, Vec<FleetRow>)>,
    deployments: Vec<SeriesChange>,
}

impl HistoryChange {
    fn is_empty(&self) -> bool {
        self.fleets.is_empty() && self.deployments.is_empty()
    }
}

impl AllSeries {
    /// Goes on with the series of a deployment.
    pub fn resume(&mut self, deployment: &Deployment, end: SeriesEnd, at_ms: i64) {
        let series = DeploymentSeries::resume(deployment.id, deployment.created_ms, end, at_ms);
        self.deployments.insert(deployment.id, series);
    }

    /// Takes a sample of a project's fleet.
    pub fn sample_fleet(&mut self, project: ProjectId, row: FleetRow) {
        self.fleets.entry(project).or_default().sample(row);
    }

    /// Takes down how an active deployment stands.
    pub fn sample_deployment(
        &mut self,
        deployment: &Deployment,
        at_ms: i64,
        counts: ProgressCounts,
        bytes_served: u64,
    ) {
        let (id, created_ms) = (deployment.id, deployment.created_ms);
        // By a view that is older than the one that ended it.
        if self.ended.contains(&id) {
            return;
        }
        self.deployments
            .entry(id)
            .or_insert_with(|| DeploymentSeries::begin(id, created_ms, at_ms, counts))
            .sample(at_ms, counts, bytes_served);
    }

    /// A deployment is active no more: its last point stays, and why devices had failed.
    pub fn end(&mut self, deployment: DeploymentId, failures: Vec<FailureRow>) {
        if let Some(series) = self.deployments.get_mut(&deployment) {
            series.end(failures);
            self.ended.insert(deployment);
        }
    }

    /// Whether one has ended that is not written: nothing else will know then how it stood.
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The gateway ends.
    pub fn finish(&mut self) {
        for fleet in self.fleets.values_mut() {
            fleet.finish();
        }
        for series in self.deployments.values_mut() {
            series.finish();
        }
    }

    /// How a deployment stood when it was last looked at.
    pub fn seen(&self, deployment: DeploymentId) -> Option<ProgressRow> {
        self.deployments.get(&deployment).map(DeploymentSeries::seen)
    }

    fn newest(&self, project: ProjectId, span: Span) -> Vec<FleetRow> {
        let fleet = self.fleets.get(&project);
        fleet.map(|fleet| fleet.newest(span)).unwrap_or_default()
    }

    fn take(&mut self) -> HistoryChange {
        let mut change = HistoryChange::default();
        for (&project, fleet) in &mut self.fleets {
            let rows = fleet.take().into_iter();
            change
                .fleets
                .extend(rows.map(|(span, rows)| (project, span, rows)));
        }
        let deployments = self.deployments.values_mut();
        change.deployments = deployments.filter_map(DeploymentSeries::take).collect();
        change
    }

    fn written(&mut self, rows: Vec<(DeploymentId, usize)>) {
        for (deployment, rows) in rows {
            if let Some(series) = self.deployments.get_mut(&deployment) {
                series.written(rows);
            }
        }
        // What ended while the others were written waits for the next time.
        let deployments = &mut self.deployments;
        self.ended.retain(|id| {
            let waits = deployments.get(id).is_some_and(DeploymentSeries::has_news);
            if !waits {
                deployments.remove(id);
            }
            waits
        });
    }

    fn put_back(&mut self, change: HistoryChange) {
        for (project, span, rows) in change.fleets {
            self.fleets.entry(project).or_default().put_back(span, rows);
        }
        for change in change.deployments {
            if let Some(series) = self.deployments.get_mut(&change.deployment) {
                series.put_back(change);
            }
        }
    }
}

/// Writes what is new in the series. Returns how many rows deployments have by now.
struct WriteHistory {
    change: HistoryChange,
    now_ms: i64,
}

impl Decision for WriteHistory {
    type Answer = Vec<(DeploymentId, usize)>;

    fn actor(&self) -> Option<&Actor> {
        None
    }

    async fn decide(self, batch: &mut Batch) -> Result<Self::Answer, Stop> {
        for (project, span, rows) in &self.change.fleets {
            let kept = self.now_ms - span.length_ms() - span.step_ms()..=self.now_ms;
            batch
                .tx
                .keep_fleet_rows(*project, span.step_ms(), rows, kept)
                .await?;
        }
        let mut counts = Vec::with_capacity(self.change.deployments.len());
        for change in &self.change.deployments {
            counts.push((change.deployment, batch.tx.change_series(change).await?));
        }
        Ok(counts)
    }
}

impl Span {
    /// All of them, shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// From one point to the next, in milliseconds.
    #[must_use]
    pub fn step_ms(self) -> i64 {
        match self {
            Self::Hour => 10_000,
            Self::Day => 4 * 60_000,
            Self::Week => 28 * 60_000,
        }
    }

    /// How far back it goes, in milliseconds: 360 steps.
    #[must_use]
    pub fn length_ms(self) -> i64 {
        self.step_ms() * 360
    }

    /// Its place in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// The span of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.as_str() == name)
    }
}

/// The refusal of a deployment that is not there.
pub fn no_deployment(id: DeploymentId) -> Refusal {
    Refusal::Unknown {
        kind: Kind::Deployment,
        value: id.to_string(),
        accepted: "the id of a deployment of this project".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{AllSeries, DeploymentSeries};
    use crate::fleet::DeploymentId;
    use crate::store::ProgressCounts;

    #[test]
    fn what_ended_while_the_rest_was_written_is_written_the_next_time() {
        let counts = |done| ProgressCounts {
            buckets: [3 - done, 0, 0, 0, 0, done, 0],
        };
        let id = DeploymentId::new(7);
        let mut all = AllSeries::default();
        let series = DeploymentSeries::begin(id, 0, 0, counts(0));
        all.deployments.insert(id, series);
        assert_eq!(all.take().deployments.len(), 1);

        all.deployments.get_mut(&id).unwrap().sample(500, counts(2), 0);
        all.end(id, Vec::new());
        all.written(vec![(id, 1)]);
        let last = all.take().deployments.remove(0);
        assert_eq!(last.rows.last().unwrap().counts, counts(2));
        all.written(vec![(id, 2)]);
        assert!(all.seen(id).is_none(), "it is in the store, and ended");
    }
}
