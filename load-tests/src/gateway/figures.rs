//! What the gateway counts of itself (`/metrics`), and what the kernel counts of it (`/proc`), over all the processes that it
//! has been in a run.
//!
//! A gateway that is killed begins again at zero. What its process had counted is kept and added: its CPU time to the last
//! tick, as the kernel has it until the process is reaped; its counters as of the last look before the kill.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tessera::clock;

/// The gateway at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// When.
    pub at: Instant,
    /// Its version, as it says.
    pub version: String,
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Resident bytes.
    pub resident_bytes: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Live observe relations.
    pub observers: u64,
    /// What it has counted since its data folder was empty.
    pub counted: Counted,
}

/// What only rises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Datagrams read from the sockets.
    pub datagrams_received: u64,
    /// Datagrams handed to the sockets.
    pub datagrams_sent: u64,
    /// Datagrams or records dropped without an answer, by reason.
    pub datagrams_dropped: BTreeMap<String, u64>,
    /// Datagrams that reached another shard's socket than their session's.
    pub datagrams_forwarded: u64,
    /// Flights and notifications sent again, by layer.
    pub retransmissions: BTreeMap<String, u64>,
    /// Handshakes that ended, by result.
    pub handshakes: BTreeMap<String, u64>,
    /// Sessions established or restored.
    pub sessions_started: u64,
    /// Sessions that ended, by reason.
    pub sessions_ended: BTreeMap<String, u64>,
    /// Sessions with a connection ID that moved to another address.
    pub address_changes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Notifications sent, retransmissions not counted.
    pub notifications: u64,
    /// Blocks of artifacts served.
    pub blocks: u64,
    /// Those of them that were not in memory, or on a file system that cannot say so.
    pub cold_reads: u64,
    /// Bytes of artifacts served.
    pub artifact_bytes: u64,
    /// State reports.
    pub reports: u64,
    /// Failures of the store.
    pub store_errors: u64,
}

impl Figures {
    /// The whole run in names, as a result has them.
    pub fn facts(&self) -> BTreeMap<String, f64> {
        let counted = &self.counted;
        let mut facts: BTreeMap<String, f64> = BTreeMap::new();
        for (name, value) in [
            ("datagrams_in", counted.datagrams_received),
            ("datagrams_out", counted.datagrams_sent),
            ("datagrams_forwarded", counted.datagrams_forwarded),
            ("sessions_started", counted.sessions_started),
            ("address_changes", counted.address_changes),
            ("requests", counted.requests),
            ("notifications", counted.notifications),
            ("blocks", counted.blocks),
            ("cold_reads", counted.cold_reads),
            ("artifact_bytes", counted.artifact_bytes),
            ("reports", counted.reports),
            ("store_errors", counted.store_errors),
            ("sessions", self.sessions),
            ("observers", self.observers),
        ] {
            facts.insert(name.to_owned(), value as f64);
        }
        for (name, parts) in [
            ("datagrams_dropped", &counted.datagrams_dropped),
            ("retransmissions", &counted.retransmissions),
            ("handshakes", &counted.handshakes),
            ("sessions_ended", &counted.sessions_ended),
        ] {
            facts.insert(name.to_owned(), parts.values().sum::<u64>() as f64);
            for (part, value) in parts.iter().filter(|(_, value)| **value > 0) {
                facts.insert(format!("{name}_{part}"), *value as f64);
            }
        }
        facts.insert("cpu_s".to_owned(), self.cpu.as_secs_f64());
        facts
    }
}

/// Looks at the gateway. Cheap to clone, to be used from a thread of its own.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agent: ureq::Agent,
    url: String,
    authorization: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The process, while there is one that we may look at.
    pid: Option<u32>,
    /// Processes that have ended.
    generation: u64,
    ended_cpu: Duration,
    ended: Counted,
    /// Of the process that runs, as of the last look.
    last: Counted,
}

impl Meter {
    /// Looks at the gateway at this URL.
    pub fn new(url: &str, key: &str, pid: Option<u32>) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        let state = State {
            pid,
            ..State::default()
        };
        Self(Arc::new(Inner {
            agent,
            url: format!("{url}/metrics"),
            authorization: format!("Bearer {key}"),
            state: Mutex::new(state),
        }))
    }

    /// The gateway as it is; `None` while it does not answer within a second.
    pub fn figures(&self) -> Option<Figures> {
        let generation = self.state().generation;
        let text = self.scrape()?;
        let (mut counted, gauges) = read(&text);
        let mut state = self.state();
        if state.generation != generation {
            // What was read is of a process that has been counted with the ended ones since.
            return None;
        }
        state.last = counted.clone();
        counted.add(&state.ended);
        // Where the process may not be looked at, the gateway says itself what it reads there.
        // So it does where that process is there no more, which costs nothing else.
        let from_proc = state.pid.and_then(|pid| cpu_of(pid).zip(resident_bytes_of(pid)));
        let (cpu, resident_bytes) = match from_proc {
            Some(used) => used,
            None => (
                Duration::try_from_secs_f64(gauges.cpu_s).ok()?,
                gauges.resident_bytes,
            ),
        };
        Some(Figures {
            at: clock::now(),
            version: gauges.version,
            cpu: cpu + state.ended_cpu,
            resident_bytes,
            sessions: gauges.sessions,
            observers: gauges.observers,
            counted,
        })
    }

    /// A process has started.
    pub fn started(&self, pid: u32) {
        self.state().pid = Some(pid);
    }

    /// The process has ended, and has not been reaped yet.
    pub fn ended(&self) {
        let mut state = self.state();
        if let Some(pid) = state.pid.take() {
            state.ended_cpu += cpu_of(pid).unwrap_or_default();
        }
        let last = std::mem::take(&mut state.last);
        state.ended.add(&last);
        state.generation += 1;
    }

    fn scrape(&self) -> Option<String> {
        let request = self.0.agent.get(&self.0.url);
        let answer = request.header("Authorization", &self.0.authorization).call();
        answer.ok()?.body_mut().read_to_string().ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are whole whatever happened to who held them.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What does not only rise.
#[derive(Debug, Default)]
struct Gauges {
    version: String,
    sessions: u64,
    observers: u64,
    cpu_s: f64,
    resident_bytes: u64,
}

impl Counted {
    fn add(&mut self, other: &Self) {
        let Self {
            datagrams_received,
            datagrams_sent,
            datagrams_dropped,
            datagrams_forwarded,
            retransmissions,
            handshakes,
            sessions_started,
            sessions_ended,
            address_changes,
            requests,
            notifications,
            blocks,
            cold_reads,
            artifact_bytes,
            reports,
            store_errors,
        } = other;
        for (sum, more) in [
            (&mut self.datagrams_received, datagrams_received),
            (&mut self.datagrams_sent, datagrams_sent),
            (&mut self.datagrams_forwarded, datagrams_forwarded),
            (&mut self.sessions_started, sessions_started),
            (&mut self.address_changes, address_changes),
            (&mut self.requests, requests),
            (&mut self.notifications, notifications),
            (&mut self.blocks, blocks),
            (&mut self.cold_reads, cold_reads),
            (&mut self.artifact_bytes, artifact_bytes),
            (&mut self.reports, reports),
            (&mut self.store_errors, store_errors),
        ] {
            *sum += more;
        }
        for (sums, parts) in [
            (&mut self.datagrams_dropped, datagrams_dropped),
            (&mut self.retransmissions, retransmissions),
            (&mut self.handshakes, handshakes),
            (&mut self.sessions_ended, sessions_ended),
        ] {
            for (part, more) in parts {
                *sums.entry(part.clone()).or_default() += more;
            }
        }
    }
}

/// Takes out of the exposition what is looked at here.
fn read(text: &str) -> (Counted, Gauges) {
    let (mut counted, mut gauges) = (Counted::default(), Gauges::default());
    for Series { name, label, value } in text.lines().filter_map(Series::read) {
        // Counts are whole numbers; a counter that is not is one that is not looked at.
        let count = value as u64;
        let part = |sums: &mut BTreeMap<String, u64>| *sums.entry(label.to_owned()).or_default() += count;
        match name {
            "tessera_datagrams_received_total" => counted.datagrams_received += count,
            "tessera_datagrams_sent_total" => counted.datagrams_sent += count,
            "tessera_datagrams_dropped_total" => part(&mut counted.datagrams_dropped),
            "tessera_datagrams_forwarded_total" => counted.datagrams_forwarded += count,
            "tessera_retransmissions_total" => part(&mut counted.retransmissions),
            "tessera_dtls_handshakes_total" => part(&mut counted.handshakes),
            "tessera_sessions_started_total" => counted.sessions_started += count,
            "tessera_sessions_ended_total" => part(&mut counted.sessions_ended),
            "tessera_address_changes_total" => counted.address_changes += count,
            "tessera_coap_requests_total" => counted.requests += count,
            "tessera_notifications_sent_total" => counted.notifications += count,
            "tessera_blocks_served_total" => counted.blocks += count,
            "tessera_artifact_cold_reads_total" => counted.cold_reads += count,
            "tessera_artifact_served_bytes_total" => counted.artifact_bytes += count,
            "tessera_reports_total" => counted.reports += count,
            "tessera_store_errors_total" => counted.store_errors += count,
            "tessera_build_info" => label.clone_into(&mut gauges.version),
            "tessera_sessions" => gauges.sessions += count,
            "tessera_observers" => gauges.observers += count,
            "tessera_process_cpu_seconds_total" => gauges.cpu_s = value,
            "tessera_process_resident_memory_bytes" => gauges.resident_bytes = count,
            // The gateway counts much more.
            _ => {}
        }
    }
    (counted, gauges)
}

/// A line of Prometheus' text exposition. The crates that read it all bring a regular expression engine and a calendar, or a
/// licence that is not ours: the gateway's own lines have at most a few labels, and no time.
#[derive(Debug, PartialEq)]
struct Series<'a> {
    name: &'a str,
    /// The value of its first label; empty without one.
    label: &'a str,
    value: f64,
}

impl<'a> Series<'a> {
    /// `None` for a comment, an empty line, and what is none.
    fn read(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = labels.split('"').nth(1).unwrap_or_default();
        Some(Self {
            name,
            label,
            value: value.parse().ok()?,
        })
    }
}

/// User and system time of a process, to the tick; of one that has ended, until it is reaped.
fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold spaces; user and system time are the 14th and 15th of all.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * TICK_MS))
}

fn resident_bytes_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// `USER_HZ`: what the kernel reports times in, 100 a second on every Linux architecture that the gateway is built for.
const TICK_MS: u64 = 10;
/// Longer than a scrape takes of a gateway that is busy, and short beside the second between two looks.
const TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_a_label_and_a_value() {
        let read = |line| Series::read(line).map(|series| (series.name, series.label, series.value));
        assert_eq!(
            read(r#"tessera_sessions{security="dtls"} 12"#),
            Some(("tessera_sessions", "dtls", 12.0))
        );
        assert_eq!(
            read(r#"tessera_coap_requests_total{method="get",code="2.05",route="desired"} 3"#),
            Some(("tessera_coap_requests_total", "get", 3.0))
        );
        assert_eq!(
            read("tessera_process_cpu_seconds_total 0.25"),
            Some(("tessera_process_cpu_seconds_total", "", 0.25))
        );
        for other in ["", "# HELP tessera_sessions Live sessions.", "tessera_sessions x"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn series_of_a_metric_are_added_up_and_those_looked_at_by_label_kept_apart() {
        let text = "# TYPE tessera_reports_total counter\n\
                    tessera_reports_total{state=\"idle\",reason=\"ready\"} 2\n\
                    tessera_reports_total{state=\"downloading\",reason=\"ready\"} 3\n\
                    tessera_dtls_handshakes_total{result=\"established\"} 5\n\
                    tessera_dtls_handshakes_total{result=\"wrong_key\"} 7\n\
                    tessera_sessions{security=\"dtls\"} 11\ntessera_sessions{security=\"none\"} 1\n\
                    tessera_observers 13\ntessera_build_info{version=\"7.8.9\"} 1\n";
        let (counted, gauges) = read(text);
        assert_eq!(counted.reports, 5);
        assert_eq!(counted.handshakes["established"], 5);
        assert_eq!(counted.handshakes["wrong_key"], 7);
        assert_eq!((gauges.sessions, gauges.observers), (12, 13));
        assert_eq!(gauges.version, "7.8.9");
    }

    #[test]
    fn what_an_ended_process_had_counted_is_added_once() {
        let meter = Meter::new("http://127.0.0.1:9", "key", Some(std::process::id()));
        let one = Counted {
            blocks: 3,
            handshakes: BTreeMap::from([("established".to_owned(), 2)]),
            ..Counted::default()
        };
        meter.state().last = one.clone();
        meter.ended();
        meter.ended();
        let state = meter.state();
        assert_eq!(state.ended, one);
        assert_eq!(state.last, Counted::default());
        assert_eq!(state.pid, None);
    }

    #[test]
    fn the_kernel_says_what_a_process_has_used() {
        let pid = std::process::id();
        let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
        let before = Duration::from(nix::time::clock_gettime(clock).unwrap());
        let seen = cpu_of(pid).unwrap();
        let after = Duration::from(nix::time::clock_gettime(clock).unwrap());
        let ticks = Duration::from_millis(3 * TICK_MS);
        assert!(
            before <= seen + ticks && seen <= after + ticks,
            "{before:?} {seen:?} {after:?}"
        );
        assert!(resident_bytes_of(pid).unwrap() > 1 << 20);
        assert_eq!(cpu_of(u32::MAX), None);
    }
}
