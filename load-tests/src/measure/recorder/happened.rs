//! What devices tell: each event changes where a device stands, is counted, and is a figure where something was waited for.

use tessera::virtual_device::{Ending, Event, Reason, Report};

use super::super::counts::Count;
use super::super::device::{Link, Moment};
use super::super::latency::{self, Latency, micros};
use super::Recorder;
use crate::scenario::ImageName;

impl Recorder {
    pub(super) fn happened(&mut self, place: usize, at: Moment, event: &Event) {
        match event {
            Event::Established { took } => self.established(place, at, micros(*took)),
            // One port says this with the handshake, the other with its first answer; nothing is measured by it.
            Event::Connected => {}
            Event::Disconnected(ending) => self.disconnected(place, at, *ending),
            Event::Observing => {
                self.count(place, Count::Registrations);
                let is_first = !self.devices[place].was_registered && self.kind_of(place).is_good;
                // Devices tell each in its own order, and not all in one.
                if is_first && (self.last_registered.is_none() || !self.was_all_registered()) {
                    self.last_registered = self.last_registered.max(Some(at));
                }
                self.change(place, |device| {
                    device.link = Link::Observing;
                    device.is_registered = true;
                    device.was_registered = true;
                });
            }
            Event::Manifest { sequence } => {
                self.count(place, Count::Manifests);
                self.noticed(place, at, *sequence);
            }
            Event::ManifestRejected(_) => self.count(place, Count::ManifestsRejected),
            Event::ObservationRefused(_) => self.count(place, Count::RegistrationsRefused),
            Event::Progress { bytes, took, .. } => {
                self.count(place, Count::Blocks);
                let kind = self.kind_of(place);
                kind.counts.more(Count::Bytes, *bytes);
                if kind.is_good {
                    kind.latencies.record(Latency::Block, micros(*took));
                    latency::record(&mut self.recent_blocks, micros(*took));
                }
                if !self.devices[place].is_downloading {
                    self.change(place, |device| device.is_downloading = true);
                }
            }
            Event::Downloaded { version, .. } => {
                self.count(place, Count::Downloads);
                // Not what it should have by now: that may have changed since it began.
                let package = self.kinds[self.devices[place].kind as usize].package;
                let fetched = Some(self.versions.of(package, version));
                self.change(place, |device| {
                    device.is_downloading = false;
                    device.fetched = fetched;
                });
            }
            Event::UpdateFailed(reason) => {
                self.kind_of(place)
                    .counts
                    .because(Count::UpdatesFailed, word(*reason));
                self.change(place, |device| device.is_downloading = false);
            }
            Event::Reported { report, code, took } => {
                let kind = self.kind_of(place);
                kind.latencies.record(Latency::Report, micros(*took));
                kind.counts.one(if code.is_success() {
                    Count::Reports
                } else {
                    Count::ReportsRefused
                });
                // It runs what it says, whether or not the gateway could take that down.
                self.reported(place, at, report);
            }
            Event::Crashed => {
                self.count(place, Count::Crashes);
                let back = at.plus(self.kind_of(place).boot);
                self.change(place, |device| device.restart(Some(back)));
            }
            Event::RolledBack { .. } => self.count(place, Count::RolledBack),
            Event::Rebooted { version } => self.rebooted(place, at, version),
            Event::Retransmitted => self.count(place, Count::Retransmissions),
            Event::BlockFailed { waited } => {
                let kind = self.kind_of(place);
                kind.counts.one(Count::RequestsFailed);
                kind.counts.one(Count::BlocksFailed);
                if kind.is_good {
                    // It would have taken longer than that.
                    kind.latencies.record(Latency::Block, micros(*waited));
                }
            }
            Event::RequestFailed => {
                self.count(place, Count::RequestsFailed);
                if self.devices[place].link == Link::Connected {
                    self.change(place, |device| device.may_have_given_up = true);
                }
            }
        }
    }

    fn established(&mut self, place: usize, at: Moment, took: u64) {
        let device = &self.devices[place];
        let took = match (device.had_session, device.waiting_since) {
            (false, _) => at.since(device.due),
            (true, Some(since)) => took.max(at.since(since)),
            (true, None) => took,
        };
        let is_again = !device.is_fresh;
        let kind = self.kind_of(place);
        if kind.is_good {
            kind.counts.one(Count::Handshakes);
            if is_again {
                kind.counts.one(Count::HandshakesAgain);
            }
            kind.latencies.record(Latency::Handshake, took);
        } else {
            kind.counts.one(Count::Intruders);
        }
        self.change(place, |device| {
            device.link = Link::Connected;
            device.has_tried = true;
            device.had_session = true;
            device.is_fresh = false;
            device.waiting_since = None;
        });
    }

    fn disconnected(&mut self, place: usize, at: Moment, ending: Ending) {
        let kind = self.kind_of(place);
        let reconnect = kind.reconnect;
        let (failed, is_judged) = match ending {
            Ending::HandshakeFailed(reason) => {
                let count = if kind.is_good {
                    Count::HandshakesFailed
                } else {
                    Count::IntrudersRefused
                };
                kind.counts.because(count, reason);
                (true, true)
            }
            Ending::HandshakeUnanswered => {
                if kind.is_good {
                    kind.counts.because(Count::HandshakesFailed, "unanswered");
                } else {
                    kind.counts.one(Count::IntrudersUnanswered);
                }
                (true, false)
            }
            Ending::NoAnswer => {
                kind.counts.one(Count::EndedNoAnswer);
                (false, false)
            }
            Ending::Reset => {
                kind.counts.one(Count::EndedReset);
                (false, false)
            }
            Ending::Silence => {
                kind.counts.one(Count::EndedSilence);
                (false, false)
            }
            Ending::Malformed => {
                kind.counts.one(Count::EndedMalformed);
                (false, false)
            }
            Ending::Closed => {
                kind.counts.one(Count::EndedClosed);
                (false, false)
            }
            Ending::Exhausted => {
                kind.counts.one(Count::EndedExhausted);
                (false, false)
            }
        };
        self.change(place, |device| {
            device.link = Link::Down;
            device.may_have_given_up = false;
            device.has_tried |= is_judged;
            // One that comes back counts from when it was to, one that fails at the latest from when it did.
            let since = if failed { at } else { at.plus(reconnect) };
            device.waiting_since = Some(device.waiting_since.map_or(since, |before| before.min(since)));
        });
    }

    fn noticed(&mut self, place: usize, at: Moment, sequence: Option<i64>) {
        let device = &self.devices[place];
        let Some((notice, cohort)) = device.notice.zip(device.cohort) else {
            return;
        };
        let seen = sequence.and_then(|sequence| self.cohorts[cohort as usize].of_sequence(sequence));
        if seen.is_none_or(|seen| seen < notice.deployment) {
            return;
        }
        self.kind_of(place)
            .latencies
            .record(Latency::Notification, at.since(notice.due));
        self.change(place, |device| device.notice = None);
    }

    fn reported(&mut self, place: usize, at: Moment, report: &Report) {
        let kind = self.devices[place].kind as usize;
        let package = self.kinds[kind].package;
        if report.package != self.versions.packages[package] {
            return;
        }
        let version = self.versions.of(package, &report.version);
        let device = &self.devices[place];
        let done = device.task.filter(|_| self.wanted(device) == Some(version));
        if let Some((task, cohort)) = done.zip(device.cohort) {
            let took = at.since(task.since);
            let deployment = &mut self.cohorts[cohort as usize].deployments[task.deployment as usize];
            if deployment.waiting > self.scenario.stragglers {
                deployment.slowest = deployment.slowest.max(took);
            }
            deployment.waiting = deployment.waiting.saturating_sub(1);
            if task.is_update {
                let kind = &mut self.kinds[kind];
                kind.counts.one(Count::Updates);
                kind.latencies.record(Latency::Update, took);
            }
        }
        self.change(place, |device| {
            device.runs = version;
            device.reported = Some(version);
            if done.is_some() {
                device.task = None;
            }
        });
    }

    fn rebooted(&mut self, place: usize, at: Moment, version: &str) {
        let kind = self.devices[place].kind as usize;
        let package = self.kinds[kind].package;
        let image = ImageName {
            package: self.versions.packages[package].clone(),
            version: version.to_owned(),
        };
        // An image that never connects waits for nobody.
        let back = self
            .scenario
            .boot_well(&[image])
            .then(|| at.plus(self.kinds[kind].boot));
        let version = self.versions.of(package, version);
        self.count(place, Count::Boots);
        let device = &self.devices[place];
        if device.fetched.is_some() && device.fetched == device.updated_to {
            self.count(place, Count::UpdateLoops);
        }
        self.change(place, |device| {
            device.restart(back);
            device.runs = version;
            device.updated_to = device.fetched.take().or(device.updated_to);
        });
    }
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Ready => "ready",
        Reason::Success => "success",
        Reason::IntegrityCheckFailure => "integrity_check",
        Reason::UpdateFailed => "blocks_failed",
        Reason::AwaitingRetry => "awaiting_retry",
    }
}
