//! What the expectations are judged by: figures alone, so that judging them can be tested without a run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::counts::Counts;

/// A whole run, as far as somebody expects something of it. Times are in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Good devices.
    pub good: u64,
    /// So many of them may be missing where all are waited for.
    pub stragglers: u64,
    /// Those whose registration was ever answered.
    pub was_registered: u64,
    /// When the last of them was, stragglers aside, if all were: since the start.
    pub last_registered: Option<u64>,
    /// When the run ended: since the start.
    pub ended: u64,
    /// Whether it was interrupted.
    pub is_interrupted: bool,
    /// Good devices that were switched on and in a cohort when something was deployed to it, and were not waiting for the
    /// deployment before; each once for each deployment.
    pub to_be_told: u64,
    /// Each deployment that boots well.
    pub outcomes: Vec<Outcome>,
    /// Good devices with a session at the end.
    pub connected: u64,
    /// Good devices whose cohort has something deployed at the end that boots well.
    pub wanted: u64,
    /// Those of them that run it.
    pub converged: u64,
    /// Handshakes.
    pub handshake: Option<Tail>,
    /// Notifications.
    pub notification: Option<Tail>,
    /// Blocks.
    pub block: Option<Tail>,
    /// Updates.
    pub update: Option<Tail>,
    /// The simulator's own lateness.
    pub lateness: Option<Tail>,
    /// All counts.
    pub counts: Counts,
    /// Devices with bad credentials.
    pub bad: u64,
    /// Those of them that have tried a handshake to its end.
    pub bad_tried: u64,
    /// CPU time of the gateway over the run, if it could be looked at.
    pub cpu: Option<Duration>,
    /// Failures of its store, if it could be looked at.
    pub store_errors: Option<u64>,
    /// Good devices whose version it has on record as they run it, if it was asked; or why it could not say.
    pub recorded: Option<Result<u64, String>>,
    /// Its resident bytes before the first device was switched on.
    pub memory_before: Option<u64>,
    /// Its resident bytes when all good devices were connected for the first time.
    pub memory_connected: Option<u64>,
}

/// What became of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Which: `main@1.1.0 for all`.
    pub what: String,
    /// Devices that still do not run it.
    pub waiting: u64,
    /// How long the longest of them has waited.
    pub waited: u64,
    /// The longest that any other took, stragglers aside, or waited until it was told to run something else.
    pub slowest: u64,
}

/// The slow end of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Values.
    pub count: u64,
    /// 99th percentile.
    pub p99: u64,
}

impl Tail {
    /// That of a histogram with any value.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p99: histogram.value_at_quantile(0.99),
        })
    }
}
