//! The end: whoever still waits is counted, what was expected is judged, and the rest is put as a result has it.

use std::collections::BTreeMap;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::super::counts::Count;
use super::super::device::{Device, Link, Moment};
use super::super::evidence::{Evidence, Outcome, Tail};
use super::super::latency::{self, Latency};
use super::super::verdict;
use super::Recorder;
use crate::engine::EngineCounts;
use crate::gateway::Figures;
use crate::result::{HistogramFacts, KindFacts, Sample, Verdict};
use crate::scenario::show_images;

/// What is only known at the end.
#[derive(Debug)]
pub struct End {
    /// When.
    pub at: Instant,
    /// The gateway, if it still answers.
    pub figures: Option<Figures>,
    /// The engines' counts.
    pub engines: EngineCounts,
    /// How late the simulator was.
    pub lateness: Histogram<u64>,
    /// Good devices whose version the gateway has on record as they run it, where that is expected; or why that is not known.
    pub recorded: Option<Result<u64, String>>,
    /// Whether the run was ended before it was over, by who had it run.
    pub is_interrupted: bool,
}

/// What a result has of what was measured.
#[derive(Debug)]
pub struct Measured {
    /// Each expectation.
    pub verdicts: Vec<Verdict>,
    /// By name.
    pub histograms: BTreeMap<String, HistogramFacts>,
    /// By name.
    pub counts: BTreeMap<String, u64>,
    /// Each kind of device.
    pub kinds: Vec<KindFacts>,
    /// The gateway.
    pub server: BTreeMap<String, f64>,
    /// Samples.
    pub series: Vec<Sample>,
}

impl Recorder {
    /// Judges, and makes of everything what a result has. Whoever still waits is counted with the time waited so far.
    pub fn finish(mut self, end: End) -> Measured {
        let at = self.moment(end.at);
        self.engines = end.engines;
        if let Some(figures) = &end.figures {
            self.look(figures);
        }
        self.count_the_waiting(at);
        let evidence = Evidence {
            recorded: end.recorded,
            ..self.evidence(at, &end.lateness, end.is_interrupted)
        };
        let verdicts = self.scenario.expect.iter();
        let verdicts = verdicts.map(|expectation| verdict::judge(expectation, &evidence));
        let mut histograms = self.latencies().facts();
        if !end.lateness.is_empty() {
            histograms.insert("lateness".to_owned(), latency::facts(&end.lateness));
        }
        let mut counts = self.counts().facts();
        counts.extend(engine_facts(self.engines));
        if let Some(Ok(recorded)) = &evidence.recorded {
            counts.insert("recorded".to_owned(), *recorded);
        }
        Measured {
            verdicts: verdicts.collect(),
            histograms,
            counts,
            kinds: self.kind_facts(),
            server: self.server.facts(end.at),
            series: self.series.samples(),
        }
    }

    fn count_the_waiting(&mut self, at: Moment) {
        for device in &self.devices {
            let kind = &mut self.kinds[device.kind as usize];
            if !kind.is_good {
                continue;
            }
            let handshake = match device.had_session {
                false => Some(device.due),
                true => device.waiting_since,
            };
            // Whoever was not to have begun by then has not waited.
            let handshake = handshake.filter(|since| *since <= at);
            let notice = device.notice.map(|notice| notice.due);
            let update = device.task.filter(|task| task.is_update && task.since <= at);
            for (latency, count, since) in [
                (Latency::Handshake, Count::HandshakesWaiting, handshake),
                (Latency::Notification, Count::NotificationsWaiting, notice),
                (
                    Latency::Update,
                    Count::UpdatesWaiting,
                    update.map(|task| task.since),
                ),
            ] {
                if let Some(since) = since {
                    kind.counts.one(count);
                    kind.latencies.record(latency, at.since(since));
                }
            }
        }
    }

    pub(super) fn evidence(&self, at: Moment, lateness: &Histogram<u64>, is_interrupted: bool) -> Evidence {
        let latencies = self.latencies();
        let tail = |latency| Tail::of(latencies.of(latency));
        let looks = &self.server;
        Evidence {
            good: self.tally.good,
            stragglers: self.scenario.stragglers,
            was_registered: self.tally.was_registered,
            last_registered: self
                .last_registered
                .filter(|_| self.was_all_registered())
                .map(|moment| moment.0),
            ended: at.0,
            is_interrupted,
            to_be_told: self
                .cohorts
                .iter()
                .flat_map(|cohort| &cohort.deployments)
                .map(|deployment| deployment.to_be_told)
                .sum(),
            outcomes: self.outcomes(at),
            connected: self.tally.connected,
            wanted: self.tally.wanted,
            converged: self.tally.converged,
            handshake: tail(Latency::Handshake),
            notification: tail(Latency::Notification),
            block: tail(Latency::Block),
            update: tail(Latency::Update),
            lateness: Tail::of(lateness),
            counts: self.counts(),
            bad: self.tally.bad,
            bad_tried: self.tally.bad_tried,
            cpu: looks
                .before
                .as_ref()
                .zip(looks.last.as_ref())
                .map(|(before, last)| last.cpu.saturating_sub(before.cpu)),
            store_errors: looks.store_errors(),
            recorded: None,
            memory_before: looks.before.as_ref().map(|before| before.resident_bytes),
            memory_connected: looks.memory_connected,
        }
    }

    /// What became of each deployment that boots well.
    fn outcomes(&self, at: Moment) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (place, cohort) in self.cohorts.iter().enumerate() {
            let waits = self
                .devices
                .iter()
                .filter(|device| device.cohort == Some(place as u32));
            let longest = waits
                .filter_map(|device| device.task.map(|task| at.since(task.since)))
                .max();
            let last = cohort.deployments.len().saturating_sub(1);
            for (number, deployment) in cohort.deployments.iter().enumerate() {
                if deployment.boots_well {
                    outcomes.push(Outcome {
                        what: format!(
                            "{} for {}",
                            show_images(&deployment.images),
                            self.scenario.cohorts[place].name
                        ),
                        waiting: deployment.waiting,
                        waited: longest.filter(|_| number == last).unwrap_or(0),
                        slowest: deployment.slowest.max(deployment.cut_off),
                    });
                }
            }
        }
        outcomes
    }

    fn kind_facts(&self) -> Vec<KindFacts> {
        let kinds = self.kinds.iter().zip(&self.scenario.kinds).enumerate();
        kinds
            .map(|(place, (known, kind))| {
                let devices = || {
                    let all = self.devices.iter();
                    all.filter(move |device| device.kind as usize == place)
                };
                let converged = |device: &&Device| {
                    let target = self.target(device).map(|(_, version)| version);
                    target.is_some() && device.reported == target
                };
                KindFacts {
                    name: kind.name.clone(),
                    what: kind.told(),
                    devices: devices().count() as u64,
                    connected: devices().filter(|device| device.link != Link::Down).count() as u64,
                    converged: devices().filter(converged).count() as u64,
                    counts: known.counts.facts(),
                    histograms: known.latencies.facts(),
                }
            })
            .collect()
    }
}

fn engine_facts(mut engines: EngineCounts) -> BTreeMap<String, u64> {
    let named = engines.named().into_iter();
    named.map(|(name, count)| (name.to_owned(), *count)).collect()
}
