//! The state of things once a second, in bounded memory: when there are too many samples, every other one goes, and from then on
//! half as many are taken. They hold sums since the start, so that rates stay exact whatever goes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::device::Moment;
use crate::result::Sample;

/// Samples of a run.
#[derive(Debug)]
pub struct Series {
    taken: Vec<Taken>,
    /// Of so many offered, one is taken.
    stride: u32,
    /// Offered since the last one taken.
    offered: u32,
}

/// A sample as it is taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// When.
    pub at: Moment,
    /// Good devices with a session.
    pub connected: u64,
    /// Of them those whose registration has been answered.
    pub observing: u64,
    /// Good devices in a download.
    pub downloading: u64,
    /// Good devices that run what their cohort has deployed.
    pub converged: u64,
    /// Good devices whose cohort has something deployed that boots well.
    pub wanted: u64,
    /// Good devices by version.
    pub versions: BTreeMap<String, u64>,
    /// Handshakes so far.
    pub handshakes: u64,
    /// Artifact bytes so far.
    pub bytes: u64,
    /// Datagrams sent so far.
    pub datagrams_sent: u64,
    /// Datagrams received so far.
    pub datagrams_received: u64,
    /// The gateway, if it answers.
    pub server: Option<Server>,
    /// CPU time of the simulator so far.
    pub own_cpu: Duration,
    /// Median and 99th percentile of the blocks since the sample before; where samples were left out, the greatest of each.
    pub block_p50_p99: Option<(u64, u64)>,
}

/// The gateway at that moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Server {
    /// When it was looked at.
    pub at: Moment,
    /// Sessions.
    pub sessions: u64,
    /// CPU time so far.
    pub cpu: Duration,
    /// Resident bytes.
    pub memory: u64,
}

impl Series {
    /// None yet.
    pub fn new() -> Self {
        Self {
            taken: Vec::new(),
            stride: 1,
            offered: 0,
        }
    }

    /// Whether the next sample is to be taken; to be asked each time there could be one.
    pub fn wants_one(&mut self) -> bool {
        self.offered += 1;
        if self.offered < self.stride {
            return false;
        }
        self.offered = 0;
        true
    }

    /// Takes one.
    pub fn take(&mut self, sample: Taken) {
        self.taken.push(sample);
        if self.taken.len() < SAMPLES_MAX {
            return;
        }
        // Of two the later one stays; what blocks took can not be told from sums, so the worse of both stays.
        let mut place = 0;
        let mut slower = None;
        self.taken.retain_mut(|sample| {
            place += 1;
            if place % 2 == 1 {
                slower = sample.block_p50_p99;
                return false;
            }
            sample.block_p50_p99 = slower_of(slower, sample.block_p50_p99);
            true
        });
        self.stride *= 2;
    }

    /// Takes the last one, whenever that is. In place of the one before it where that is not long ago: the rates of a few
    /// milliseconds are none.
    pub fn end(&mut self, mut sample: Taken) {
        if let Some(before) = self.taken.pop_if(|before| sample.at.since(before.at) < SHORT) {
            sample.block_p50_p99 = slower_of(before.block_p50_p99, sample.block_p50_p99);
            sample.server = sample.server.or(before.server);
        }
        self.taken.push(sample);
    }

    /// As a result has them: rates are over the time since the sample before.
    pub fn samples(&self) -> Vec<Sample> {
        // What was before the first sample was in no time that is known: that one is where rates begin.
        let mut before = self.taken.first().cloned().unwrap_or_default();
        let mut server_before: Option<Server> = None;
        let mut samples = Vec::with_capacity(self.taken.len());
        for taken in &self.taken {
            let seconds = taken.at.since(before.at) as f64 / 1e6;
            let rate = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
            let rise = |now: u64, then: u64| rate(now.saturating_sub(then) as f64);
            let own_cpu = taken.own_cpu.saturating_sub(before.own_cpu);
            samples.push(Sample {
                at_s: taken.at.0 as f64 / 1e6,
                connected: taken.connected,
                observing: taken.observing,
                downloading: taken.downloading,
                converged: taken.converged,
                wanted: taken.wanted,
                versions: taken.versions.clone(),
                handshakes_per_s: rise(taken.handshakes, before.handshakes),
                bytes_per_s: rise(taken.bytes, before.bytes),
                datagrams_out_per_s: rise(taken.datagrams_sent, before.datagrams_sent),
                datagrams_in_per_s: rise(taken.datagrams_received, before.datagrams_received),
                server_sessions: taken.server.map(|server| server.sessions),
                server_cpu: server_before
                    .zip(taken.server)
                    .and_then(|(then, now)| cores(then, now)),
                server_memory: taken.server.map(|server| server.memory),
                own_cpu: rate(own_cpu.as_secs_f64()),
                block_p50_p99: taken.block_p50_p99,
            });
            server_before = taken.server.or(server_before);
            before = taken.clone();
        }
        samples
    }
}

/// Of two of the pairs the worse.
fn slower_of(one: Option<(u64, u64)>, other: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.max(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}

/// CPU between two looks; none where they are the same one.
fn cores(then: Server, now: Server) -> Option<f64> {
    let seconds = now.at.since(then.at) as f64 / 1e6;
    (seconds > 0.0).then(|| now.cpu.saturating_sub(then.cpu).as_secs_f64() / seconds)
}

/// Two hours of seconds: more than a plot has room for.
pub const SAMPLES_MAX: usize = 7200;
/// Microseconds: less than this is no second of its own.
const SHORT: u64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Taken {
        Taken {
            at: Moment(second * 1_000_000),
            handshakes: second * 10,
            own_cpu: Duration::from_millis(500 * second),
            block_p50_p99: Some((second, 2 * second)),
            server: Some(Server {
                at: Moment(second * 1_000_000),
                sessions: second,
                cpu: Duration::from_millis(250 * second),
                memory: 1000,
            }),
            ..Taken::default()
        }
    }

    #[test]
    fn a_rate_is_over_the_time_since_the_sample_before() {
        let mut series = Series::new();
        series.take(second(0));
        series.take(second(1));
        series.take(Taken {
            server: None,
            ..second(2)
        });
        series.take(second(4));
        let samples = series.samples();
        let rates: Vec<f64> = samples.iter().map(|sample| sample.handshakes_per_s).collect();
        assert_eq!(rates, [0.0, 10.0, 10.0, 10.0]);
        let cpu: Vec<Option<f64>> = samples.iter().map(|sample| sample.server_cpu).collect();
        assert_eq!(cpu, [None, Some(0.25), None, Some(0.25)]);
        assert_eq!(samples[3].own_cpu, 0.5);
    }

    #[test]
    fn rates_begin_at_the_first_sample() {
        let mut series = Series::new();
        series.take(Taken {
            at: Moment(4000),
            datagrams_sent: 5000,
            own_cpu: Duration::from_secs(3),
            ..Taken::default()
        });
        let samples = series.samples();
        assert_eq!((samples[0].datagrams_out_per_s, samples[0].own_cpu), (0.0, 0.0));
    }

    #[test]
    fn the_last_sample_is_of_the_end_and_its_rates_of_no_few_milliseconds() {
        let mut series = Series::new();
        series.take(second(0));
        series.take(second(1));
        series.take(second(2));
        series.end(Taken {
            at: Moment(2_010_000),
            converged: 7,
            handshakes: 31,
            ..Taken::default()
        });
        let samples = series.samples();
        assert_eq!(samples.len(), 3);
        let last = &samples[2];
        assert_eq!(
            (last.at_s, last.converged, last.server_sessions),
            (2.01, 7, Some(2))
        );
        assert_eq!(last.block_p50_p99, Some((2, 4)));
        assert!(
            (20.0..21.0).contains(&last.handshakes_per_s),
            "{}",
            last.handshakes_per_s
        );
        let mut series = Series::new();
        series.take(second(0));
        series.end(second(1));
        assert_eq!(series.samples().len(), 2);
    }

    #[test]
    fn a_run_of_days_has_no_more_samples_than_one_of_hours_and_its_rates_are_exact() {
        let mut series = Series::new();
        for at in 1..=50_000 {
            if series.wants_one() {
                series.take(second(at));
            }
        }
        let samples = series.samples();
        assert!(
            samples.len() < SAMPLES_MAX && samples.len() > SAMPLES_MAX / 4,
            "{}",
            samples.len()
        );
        for pair in samples.windows(2) {
            assert_eq!(pair[1].at_s - pair[0].at_s, 8.0);
            assert!((pair[1].handshakes_per_s - 10.0).abs() < 1e-9);
        }
    }
}
