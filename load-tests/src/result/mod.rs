//! The one document of a run: everything that the report shows and that `compare` compares.

mod read;
#[cfg(test)]
#[path = "../../tests/support/sample.rs"]
pub mod sample;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What came of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// Of this document: 1.
    pub format: u32,
    /// The scenario as it was run.
    pub scenario: ScenarioFacts,
    /// What it was run with and on.
    pub versions: BTreeMap<String, String>,
    /// `cpu`, `cores`, `memory_bytes`, `kernel`.
    pub machine: BTreeMap<String, String>,
    /// When it began (RFC 3339, UTC).
    pub began: String,
    /// Seconds from the start of the arrival to the end.
    pub took_s: f64,
    /// Why it ended: `done`, `time`, `interrupted`, or `gateway` where that ended by itself.
    pub ended: String,
    /// Whether every expectation was met.
    pub passed: bool,
    /// Each expectation.
    pub verdicts: Vec<Verdict>,
    /// What happened and when: what the scenario has, and what ends it again (`start-gateway`, `empty-disk`).
    pub events: Vec<EventFacts>,
    /// `handshake`, `notification`, `block`, `update`, `report`, `lateness`: microseconds.
    pub histograms: BTreeMap<String, HistogramFacts>,
    /// Counts over the whole run, by name.
    pub counts: BTreeMap<String, u64>,
    /// The same by kind of device.
    pub kinds: Vec<KindFacts>,
    /// The gateway over the whole run: `cpu_s`, `memory_bytes_max`, `datagrams_in`, `retransmissions` and so on.
    pub server: BTreeMap<String, f64>,
    /// Once a second.
    pub series: Vec<Sample>,
}

/// The scenario as it was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioFacts {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// The file's text.
    pub text: String,
    /// Whatever the command line changed, `--devices 1000`.
    pub changed: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// SHA-256 of the plan: the same for the same scenario and seed.
    pub plan: String,
    /// Devices in all.
    pub devices: u64,
    /// Devices whose credentials are bad on purpose.
    pub bad_devices: u64,
}

/// An expectation and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Its key in the scenario.
    pub key: String,
    /// What it asks for, in words.
    pub expected: String,
    /// What was seen, in words.
    pub seen: String,
    /// Whether it was met.
    pub met: bool,
}

/// An event and when it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventFacts {
    /// Seconds from the start of the arrival.
    pub at_s: f64,
    /// What, as the scenario says it: `deploy`, `kill-gateway`.
    pub kind: String,
    /// In a few words, for a marker in a plot: `deploy #2 main@1.1.0 to a`.
    pub what: String,
    /// Devices it was about.
    pub devices: u64,
}

/// A histogram: its figures, and the whole of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistogramFacts {
    /// Values.
    pub count: u64,
    /// Smallest, in microseconds like all of these.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Largest.
    pub max: u64,
    /// The histogram itself: HdrHistogram V2, deflated, base64.
    pub hdr: String,
}

/// One kind of device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindFacts {
    /// Its name.
    pub name: String,
    /// In a few words: `Zephyr, PSK-GCM, lte-m`.
    pub what: String,
    /// How many.
    pub devices: u64,
    /// With a session at the end.
    pub connected: u64,
    /// That run what their cohort has deployed, at the end.
    pub converged: u64,
    /// Counts over the whole run, by the names of [`RunResult::counts`].
    pub counts: BTreeMap<String, u64>,
    /// By the names of [`RunResult::histograms`].
    pub histograms: BTreeMap<String, HistogramFacts>,
}

/// The state of things at one moment. Rates are over the time since the sample before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds from the start of the arrival.
    pub at_s: f64,
    /// Good devices with a session.
    pub connected: u64,
    /// Of them those whose registration has been answered.
    pub observing: u64,
    /// Good devices in a download.
    pub downloading: u64,
    /// Good devices that run what their cohort has deployed.
    pub converged: u64,
    /// Good devices in a cohort with a deployment that boots well.
    pub wanted: u64,
    /// Good devices by the version that they run.
    pub versions: BTreeMap<String, u64>,
    /// Handshakes done since the sample before, a second.
    pub handshakes_per_s: f64,
    /// Artifact bytes received, a second.
    pub bytes_per_s: f64,
    /// Datagrams the devices sent, a second.
    pub datagrams_out_per_s: f64,
    /// Datagrams the devices received, a second.
    pub datagrams_in_per_s: f64,
    /// Sessions as the gateway counts them; `None` while it does not answer.
    pub server_sessions: Option<u64>,
    /// CPU of the gateway, cores.
    pub server_cpu: Option<f64>,
    /// Resident bytes of the gateway.
    pub server_memory: Option<u64>,
    /// CPU of the simulator, cores.
    pub own_cpu: f64,
    /// Median and 99th percentile of the block requests answered since the sample before, in microseconds. In a run that was so
    /// long that samples were left out, each is the greatest of those of the seconds in between.
    pub block_p50_p99: Option<(u64, u64)>,
}
