//! What the devices saw, counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tessera::virtual_device::{Ending, Event};

/// Counts of a whole run.
#[derive(Debug)]
pub struct Tally {
    devices: Vec<Device>,
    until: Option<String>,
    connections: u64,
    endings: BTreeMap<&'static str, u64>,
    manifests: u64,
    manifests_rejected: u64,
    blocks: u64,
    bytes: u64,
    reports: u64,
    reports_refused: u64,
    retransmissions: u64,
    requests_failed: u64,
    failures: u64,
    crashes: u64,
    /// From the first device's start to the end.
    pub took: Duration,
}

#[derive(Debug)]
struct Device {
    version: String,
    online: bool,
    /// When its download began, while it runs.
    began: Option<Instant>,
    updates: Vec<Duration>,
}

impl Tally {
    /// Nothing counted yet: so many devices, all at `version`, to reach `until`.
    pub fn new(devices: usize, version: &str, until: Option<String>) -> Self {
        let device = || Device {
            version: version.to_owned(),
            online: false,
            began: None,
            updates: Vec::new(),
        };
        Self {
            devices: (0..devices).map(|_| device()).collect(),
            until,
            connections: 0,
            endings: BTreeMap::new(),
            manifests: 0,
            manifests_rejected: 0,
            blocks: 0,
            bytes: 0,
            reports: 0,
            reports_refused: 0,
            retransmissions: 0,
            requests_failed: 0,
            failures: 0,
            crashes: 0,
            took: Duration::ZERO,
        }
    }

    /// Counts one event.
    pub fn note(&mut self, device: usize, at: Instant, event: &Event) {
        let seat = &mut self.devices[device];
        match event {
            Event::Established { .. } => self.connections += 1,
            Event::Connected => seat.online = true,
            Event::Disconnected(ending) => {
                *self.endings.entry(word(*ending)).or_default() += 1;
                seat.online = false;
            }
            Event::Observing => {}
            Event::Manifest { .. } => self.manifests += 1,
            Event::ManifestRejected(_) | Event::ObservationRefused(_) => self.manifests_rejected += 1,
            Event::Progress { .. } => {
                self.blocks += 1;
                seat.began.get_or_insert(at);
            }
            Event::Downloaded { bytes } => self.bytes += bytes,
            Event::UpdateFailed(_) => {
                self.failures += 1;
                seat.began = None;
            }
            Event::Crashed => {
                self.crashes += 1;
                seat.online = false;
                seat.began = None;
            }
            Event::RolledBack { .. } => seat.began = None,
            Event::Rebooted { .. } => seat.online = false,
            Event::Reported { report, code, .. } => {
                if code.is_success() {
                    self.reports += 1;
                } else {
                    self.reports_refused += 1;
                }
                if report.version != seat.version {
                    seat.version.clone_from(&report.version);
                    seat.updates
                        .extend(seat.began.take().map(|began| at.saturating_duration_since(began)));
                }
            }
            Event::Retransmitted => self.retransmissions += 1,
            Event::RequestFailed => self.requests_failed += 1,
        }
    }

    /// Whether every device runs the version that ends the run.
    pub fn arrived(&self) -> bool {
        self.until
            .as_ref()
            .is_some_and(|until| self.devices.iter().all(|device| device.version == *until))
    }

    /// The table, ending in a line break.
    pub fn table(&self) -> String {
        let mut updates: Vec<Duration> = self
            .devices
            .iter()
            .flat_map(|device| device.updates.clone())
            .collect();
        updates.sort_unstable();
        let online = self.devices.iter().filter(|device| device.online).count();
        let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
        for device in &self.devices {
            *versions.entry(&device.version).or_default() += 1;
        }
        let mut rows = vec![
            ("devices", self.devices.len().to_string()),
            ("online at the end", online.to_string()),
            ("time", seconds(self.took)),
            ("handshakes", self.connections.to_string()),
            ("manifests", self.manifests.to_string()),
            ("manifests rejected", self.manifests_rejected.to_string()),
            ("blocks", self.blocks.to_string()),
            ("artifact bytes", self.bytes.to_string()),
            ("reports answered", self.reports.to_string()),
            ("reports refused", self.reports_refused.to_string()),
            ("retransmissions", self.retransmissions.to_string()),
            ("requests failed", self.requests_failed.to_string()),
            ("updates", updates.len().to_string()),
            ("updates failed", self.failures.to_string()),
            ("crashes", self.crashes.to_string()),
            ("update, p50", percentile(&updates, 50)),
            ("update, p99", percentile(&updates, 99)),
        ];
        rows.extend(
            self.endings
                .iter()
                .map(|(ending, count)| (*ending, count.to_string())),
        );
        let mut table: String = rows
            .iter()
            .map(|(name, value)| format!("{name:<22}{value}\n"))
            .collect();
        for (version, count) in versions {
            table.push_str(&format!("{:<22}{count}\n", format!("run {version}")));
        }
        table
    }
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::HandshakeFailed(_) => "handshakes failed",
        Ending::NoAnswer => "ended: no answer",
        Ending::Reset => "ended: reset",
        Ending::Silence => "ended: silence",
        Ending::Malformed => "ended: malformed",
        Ending::Closed => "ended: closed",
        Ending::Exhausted => "ended: exhausted",
    }
}

/// The smallest time that at least `percent` of the sorted times do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> String {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .map_or_else(|| "-".to_owned(), |time| seconds(*time))
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_when_every_device_has_arrived() {
        let mut tally = Tally::new(1, "1.0.0", Some("1.1.0".into()));
        assert!(!tally.arrived());
        let at = tessera::clock::now();
        tally.note(
            0,
            at,
            &Event::Progress {
                received: 1024,
                total: 2048,
                bytes: 1024,
                took: Duration::ZERO,
            },
        );
        tally.note(0, at + Duration::from_secs(3), &reported("1.1.0"));
        assert!(tally.arrived());
        assert!(
            tally.table().contains("update, p50           3.00 s\n"),
            "{}",
            tally.table()
        );
    }

    fn reported(version: &str) -> Event {
        use tessera::virtual_device::{Code, Reason, Report, State};
        let report = Report {
            state: State::Updating,
            reason: Reason::Success,
            package: "main".into(),
            version: version.into(),
            target: None,
        };
        Event::Reported {
            report,
            code: Code::CHANGED,
            took: Duration::ZERO,
        }
    }
}
