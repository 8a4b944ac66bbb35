//! What the SDK's `fw_update` does, without the network: which report follows which event, and when.
//!
//! 1. boot: two `0/0` (or `3/1` and `0/0` for an image that runs for the first time), then observe the manifest
//! 2. a manifest whose version for our package differs: `1/0`, then block after block
//! 3. the hash agrees: `2/0`, `3/0`, a pause, reboot into the version fetched
//! 4. it does not, or sixteen blocks in a row failed: `1/5` or `1/8`, `0/0`, `0/11`, and again after a growing pause

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::manifest::{Component, Manifest};
use super::report::{Reason, Report, State};

/// The update side of one device. Feed it what arrives, carry out what [`Update::poll_action`] says.
#[derive(Debug)]
pub struct Update {
    package: String,
    version: String,
    pace: Pace,
    boot: Boot,
    phase: Phase,
    backoff: Option<Backoff>,
    /// A manifest that arrived during a download: looked at when the download has ended.
    waiting: Option<Manifest>,
    actions: VecDeque<Action>,
}

/// What the device has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a state report, once.
    Report(Report),
    /// Register for the manifest.
    Observe,
    /// Ask for one block of an artifact.
    Fetch {
        /// The component's uri.
        uri: String,
        /// Which block, in units of the configured block size.
        block: u32,
    },
    /// Every block arrived and the hash agrees.
    Downloaded {
        /// Bytes of the artifact.
        bytes: u64,
    },
    /// The download is given up for now.
    Failed(Reason),
    /// Forget the session without a word and start again with this version.
    Reboot {
        /// The version that runs from here on.
        version: String,
    },
}

/// The pauses of the SDK, all of which can be shortened for a demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between `3/0` and the reboot.
    pub reboot: Duration,
    /// Before a failed block is asked for again.
    pub block_retry: Duration,
    /// Before the first repetition of a failed update; doubles from there.
    pub backoff: Duration,
    /// Where the doubling ends.
    pub backoff_max: Duration,
    /// Silence after which a keepalive is sent.
    pub keepalive: Duration,
    /// How long a request may stay without an answer before the session is given up.
    pub response: Duration,
    /// From the loss of a session to the next attempt.
    pub reconnect: Duration,
    /// How long a reboot takes before the first ClientHello.
    pub start: Duration,
}

impl Default for Pace {
    /// The SDK's own (`fw_update.c`, `coap_client_libcoap.c`).
    fn default() -> Self {
        Self {
            reboot: Duration::from_secs(5),
            block_retry: Duration::from_secs(15),
            backoff: Duration::from_secs(60),
            backoff_max: Duration::from_secs(24 * 60 * 60),
            keepalive: Duration::from_secs(9),
            response: Duration::from_secs(10),
            reconnect: Duration::from_secs(1),
            start: Duration::from_secs(1),
        }
    }
}

/// Where the device stands since its last boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boot {
    /// Not connected yet, with the image it had before.
    Known,
    /// Not connected yet, with an image that must prove itself.
    Unproven,
    /// Was connected at least once.
    Over,
}

#[derive(Debug)]
enum Phase {
    Idle,
    /// A block is on its way.
    Downloading(Download),
    /// A block failed and is asked for again at `until`.
    Pausing {
        download: Download,
        until: Instant,
    },
    /// `3/0` is out, the reboot follows at `at`.
    Installing {
        version: String,
        at: Instant,
    },
}

#[derive(Debug)]
struct Download {
    target: Component,
    hash: Sha256,
    received: u64,
    next: u32,
    failures: u32,
}

/// An update that failed and is to be tried again.
#[derive(Debug)]
struct Backoff {
    target: Component,
    pause: Duration,
    until: Option<Instant>,
}

impl Update {
    /// A device that has just been switched on, running `version` of `package`.
    #[must_use]
    pub fn new(package: &str, version: &str, pace: Pace) -> Self {
        Self {
            package: package.to_owned(),
            version: version.to_owned(),
            pace,
            boot: Boot::Known,
            phase: Phase::Idle,
            backoff: None,
            waiting: None,
            actions: VecDeque::new(),
        }
    }

    /// A session stands. The first one after a boot brings the boot reports; every one brings the observation.
    pub fn connected(&mut self, now: Instant) {
        match self.boot {
            Boot::Known => {
                self.report(State::Idle, Reason::Ready, None);
                self.report(State::Idle, Reason::Ready, None);
            }
            Boot::Unproven => {
                self.report(State::Updating, Reason::Success, None);
                self.report(State::Idle, Reason::Ready, None);
            }
            Boot::Over => {}
        }
        self.boot = Boot::Over;
        self.actions.push_back(Action::Observe);
        if let Phase::Pausing { until, .. } = &self.phase
            && *until <= now
        {
            self.handle_timeout(now);
        }
    }

    /// The session is lost: a block on its way has failed, whatever else was to be sent is forgotten.
    pub fn disconnected(&mut self, now: Instant) {
        let kept =
            |action: &Action| !matches!(action, Action::Report(_) | Action::Observe | Action::Fetch { .. });
        self.actions.retain(kept);
        self.block_failed(now);
    }

    /// A manifest arrived, by registration, push or poll.
    pub fn manifest(&mut self, now: Instant, manifest: Manifest) {
        match &self.phase {
            Phase::Idle => self.consider(now, &manifest),
            Phase::Downloading(_) | Phase::Pausing { .. } => self.waiting = Some(manifest),
            Phase::Installing { .. } => {}
        }
    }

    /// The block asked for arrived; `more` as its Block2 option said.
    pub fn block(&mut self, now: Instant, payload: &[u8], more: bool) {
        let Phase::Downloading(download) = &mut self.phase else {
            return;
        };
        download.hash.update(payload);
        download.received += payload.len() as u64;
        download.next += 1;
        download.failures = 0;
        if more {
            self.actions.push_back(download.fetch());
            return;
        }
        let Phase::Downloading(download) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        self.downloaded(now, download);
    }

    /// The block asked for was refused or never answered.
    pub fn block_failed(&mut self, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Downloading(mut download) => {
                download.failures += 1;
                if download.failures > MAX_BLOCK_FAILURES {
                    self.failed(now, download.target, Reason::UpdateFailed);
                } else {
                    self.phase = Phase::Pausing {
                        download,
                        until: now + self.pace.block_retry,
                    };
                }
            }
            other => self.phase = other,
        }
    }

    /// Carries on with whatever was put off until `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Pausing { download, until } if until <= now => {
                self.actions.push_back(download.fetch());
                self.phase = Phase::Downloading(download);
            }
            Phase::Installing { version, at } if at <= now => {
                self.version.clone_from(&version);
                self.boot = Boot::Unproven;
                self.backoff = None;
                self.waiting = None;
                self.actions.clear();
                self.actions.push_back(Action::Reboot { version });
            }
            other => self.phase = other,
        }
        if matches!(self.phase, Phase::Idle)
            && let Some(backoff) = &mut self.backoff
            && backoff.until.is_some_and(|until| until <= now)
        {
            backoff.until = None;
            let target = backoff.target.clone();
            self.start(target);
        }
    }

    /// What to do next, in this order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Update::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle => self.backoff.as_ref().and_then(|backoff| backoff.until),
            Phase::Downloading(_) => None,
            Phase::Pausing { until, .. } => Some(*until),
            Phase::Installing { at, .. } => Some(*at),
        }
    }

    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Bytes received of how many, while a download runs.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        match &self.phase {
            Phase::Downloading(download) | Phase::Pausing { download, .. } => {
                Some((download.received, download.target.size))
            }
            Phase::Idle | Phase::Installing { .. } => None,
        }
    }

    fn consider(&mut self, now: Instant, manifest: &Manifest) {
        let wanted = manifest
            .component(&self.package)
            .filter(|component| component.version != self.version);
        let Some(target) = wanted.cloned() else {
            self.backoff = None;
            self.report(State::Idle, Reason::Ready, None);
            return;
        };
        match &self.backoff {
            Some(backoff) if backoff.target == target && backoff.until.is_some_and(|until| until > now) => {}
            Some(backoff) if backoff.target == target => self.start(target),
            _ => {
                self.backoff = None;
                self.start(target);
            }
        }
    }

    fn start(&mut self, target: Component) {
        self.report(State::Downloading, Reason::Ready, Some(&target.version));
        let download = Download {
            target,
            hash: Sha256::new(),
            received: 0,
            next: 0,
            failures: 0,
        };
        self.actions.push_back(download.fetch());
        self.phase = Phase::Downloading(download);
    }

    fn downloaded(&mut self, now: Instant, download: Download) {
        let Download {
            target,
            hash,
            received,
            ..
        } = download;
        if hash.finalize().as_slice() != target.sha256 {
            self.failed(now, target, Reason::IntegrityCheckFailure);
            return;
        }
        self.actions.push_back(Action::Downloaded { bytes: received });
        self.report(State::Downloaded, Reason::Ready, Some(&target.version));
        self.report(State::Updating, Reason::Ready, Some(&target.version));
        self.phase = Phase::Installing {
            version: target.version,
            at: now + self.pace.reboot,
        };
    }

    fn failed(&mut self, now: Instant, target: Component, reason: Reason) {
        self.actions.push_back(Action::Failed(reason));
        self.report(State::Downloading, reason, Some(&target.version));
        self.report(State::Idle, Reason::Ready, Some(&target.version));
        self.report(State::Idle, Reason::AwaitingRetry, Some(&target.version));
        let pause = match &self.backoff {
            Some(backoff) if backoff.target == target => (backoff.pause * 2).min(self.pace.backoff_max),
            _ => self.pace.backoff,
        };
        self.backoff = Some(Backoff {
            target,
            pause,
            until: Some(now + pause),
        });
        if let Some(manifest) = self.waiting.take() {
            self.consider(now, &manifest);
        }
    }

    fn report(&mut self, state: State, reason: Reason, target: Option<&str>) {
        self.actions.push_back(Action::Report(Report {
            state,
            reason,
            package: self.package.clone(),
            version: self.version.clone(),
            target: target.map(str::to_owned),
        }));
    }
}

impl Download {
    fn fetch(&self) -> Action {
        Action::Fetch {
            uri: self.target.uri.clone(),
            block: self.next,
        }
    }
}

impl Pace {
    /// The same device, living `times` as fast in everything that is a pause of the device itself. What the
    /// network is owed (response, keepalive) stays as it is.
    #[must_use]
    pub fn faster(self, times: u32) -> Self {
        let times = times.max(1);
        Self {
            reboot: self.reboot / times,
            block_retry: self.block_retry / times,
            backoff: self.backoff / times,
            reconnect: self.reconnect / times,
            start: self.start / times,
            ..self
        }
    }
}

/// A block that failed is asked for again at most this many times in a row (`fw_update.c:59-60`).
const MAX_BLOCK_FAILURES: u32 = 15;

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
