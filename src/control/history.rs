//! How the fleet's figures moved, and how deployments came along.

use super::error::ControlError;
use super::handle::Control;
use super::reads::Progress;
use crate::clock;
use crate::fleet::{DeploymentId, Kind, ProjectId, Refusal};

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
        let figures = self.figures(project);
        let point = FleetPoint {
            at_ms: figures.counted_ms,
            connected: figures.online,
            observing: figures.observing,
            downloading: figures.downloading,
            failing: figures.failing,
            bytes_per_second: figures.bytes_per_second,
        };
        Ok(FleetHistory {
            step_ms: span.step_ms(),
            points: Vec::from_iter((figures.counted_ms > 0).then_some(point)),
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
        let progress = self.progress(project, id).await?;
        Ok(DeploymentHistory {
            step_ms: DEPLOYMENT_STEP_MS,
            points: vec![ProgressPoint {
                at_ms: clock::unix_ms(),
                progress,
            }],
        })
    }
}

impl Span {
    /// From one point to the next, in milliseconds.
    #[must_use]
    pub fn step_ms(self) -> i64 {
        match self {
            Self::Hour => 10_000,
            Self::Day => 4 * 60_000,
            Self::Week => 28 * 60_000,
        }
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

/// The shortest time between two points of a deployment, in milliseconds.
const DEPLOYMENT_STEP_MS: i64 = 1000;
