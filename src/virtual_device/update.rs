//! What the SDK's `fw_update` does, without the network: which report follows which event, and when. Both ports share
//! it, but for the timer behind a failed block ([`RetryTimer`]).
//!
//! 1. boot: two `0/0` (or `3/1` and `0/0` for an image that runs for the first time), then observe the manifest
//! 2. a manifest whose version for our package differs: `1/0`, then block after block
//! 3. the hash agrees: `2/0`, `3/0`, a pause, reboot into the version fetched
//! 4. the image runs if it connects in time, and otherwise the one before it runs again, which remembers nothing of all this
//! 5. the hash does not agree, or sixteen blocks in a row failed: `1/5` or `1/8`, `0/0`, `0/11`, and again after a growing pause
//! 6. once a day the manifest is fetched, whether or not it is observed

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::manifest::{Component, Manifest};
use super::model::{Booting, Model};
use super::pace::Pace;
use super::queue::Queue;
use super::report::{Reason, Report, State};

/// The update side of one device. Feed it what arrives, carry out what [`Update::poll_action`] says.
#[derive(Debug)]
pub struct Update {
    model: Arc<Model>,
    version: Box<str>,
    slots: Slots,
    boot: Boot,
    phase: Phase,
    backoff: Option<Box<Backoff>>,
    /// The next transfer's number.
    transfer: u32,
    /// When the manifest is fetched unasked; `None` until the first session.
    poll_at: Option<Instant>,
    actions: Queue<Action>,
    /// A report does not fit the SDK's buffer, and is tried again and again.
    stall: Option<Box<Stall>>,
}

/// The timer behind the pause after a failed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryTimer {
    /// Zephyr: goes off once, and the download goes on at the failed block.
    OneShot,
    /// Linux and FreeRTOS (`golioth_sys_linux.c:281-285`, `golioth_sys_freertos.c:132`): goes off again and again until
    /// the download ends. Each time another transfer begins at the failed block, beside those that run, and all of
    /// them write to the same image.
    Periodic,
}

/// What the device has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a state report, once.
    Report(Report),
    /// Register for the manifest.
    Observe,
    /// Fetch the manifest.
    Poll,
    /// Ask for one block of an artifact.
    Fetch {
        /// The component's uri.
        uri: String,
        /// Which block, in units of the configured block size.
        block: u32,
        /// The transfer that it is part of: its requests carry one token.
        transfer: u32,
    },
    /// Every block arrived and the hash agrees.
    Downloaded {
        /// Bytes of the artifact.
        bytes: u64,
        /// Its version.
        version: String,
    },
    /// The download is given up for now.
    Failed(Reason),
    /// The image that ran is given up; a reboot follows.
    RolledBack {
        /// Its version.
        version: String,
    },
    /// Forget the session without a word and start again with this version.
    Reboot {
        /// The version that runs from here on.
        version: String,
    },
}

/// Where the device stands since its last boot.
#[derive(Debug)]
enum Boot {
    /// Not connected yet, with the image it had before.
    Known,
    /// Not connected yet, with an image that must prove itself.
    Unproven(Box<Unproven>),
    /// Was connected at least once.
    Over,
}

#[derive(Debug)]
struct Unproven {
    /// The version to go back to.
    before: Box<str>,
    never_connects: bool,
    /// When it goes back.
    until: Instant,
}

/// Which artifacts the flash holds, as far as this device has fetched them: what it ran when it was switched on for the
/// first time is not known.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    running: Option<Contents>,
    /// Where a download is written, and what ran before the last update.
    other: Option<Contents>,
}

/// The first bytes of an artifact's SHA-256: enough to tell two apart, and a million devices have two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contents([u8; 8]);

#[derive(Debug)]
enum Phase {
    Idle,
    /// Blocks are on their way, or one has failed and is asked for again.
    Downloading(Box<Download>),
    /// `3/0` is out, and the reboot follows.
    Installing(Box<Installing>),
}

#[derive(Debug)]
struct Installing {
    /// As which it was offered.
    version: Box<str>,
    at: Instant,
}

#[derive(Debug)]
struct Download {
    target: Component,
    /// What has been written to the image, in the order in which it was.
    hash: Sha256,
    received: u64,
    /// Its first transfer; answers to those before it belong to an earlier download.
    since: u32,
    /// Blocks that failed with none arriving between them.
    failures: u32,
    /// The timer runs, and asks for this block when it goes off.
    retry: Option<Retry>,
    /// A manifest that has arrived meanwhile: looked at when the download has ended.
    waiting: Option<Manifest>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    block: u32,
}

/// Nothing else is done until then.
#[derive(Debug)]
struct Stall {
    until: Instant,
    /// What waits for that.
    actions: Queue<Action>,
}

/// An update that failed and is to be tried again.
#[derive(Debug)]
struct Backoff {
    target: Component,
    pause: Duration,
    until: Option<Instant>,
}

impl Update {
    /// A device that has just been switched on, running `version`.
    #[must_use]
    pub fn new(model: Arc<Model>, version: &str) -> Self {
        Self {
            model,
            version: version.into(),
            slots: Slots::default(),
            boot: Boot::Known,
            phase: Phase::Idle,
            backoff: None,
            transfer: 0,
            poll_at: None,
            actions: Queue::new(),
            stall: None,
        }
    }

    /// A session stands. The first one after a boot brings the boot reports; every one brings the observation.
    pub fn connected(&mut self, now: Instant) {
        match std::mem::replace(&mut self.boot, Boot::Over) {
            Boot::Known => {
                self.report(now, State::Idle, Reason::Ready, None);
                self.report(now, State::Idle, Reason::Ready, None);
            }
            Boot::Unproven(_) => {
                self.report(now, State::Updating, Reason::Success, None);
                self.report(now, State::Idle, Reason::Ready, None);
            }
            Boot::Over => {}
        }
        if self.poll_at.is_none() {
            self.poll_at = Some(now + self.model.pace.poll);
        }
        self.actions.push_back(Action::Observe);
    }

    /// The session is lost, and with it whatever was to be sent. Requests under way are told of one by one.
    pub fn disconnected(&mut self) {
        self.actions
            .retain_mut(|action| !matches!(action, Action::Report(_) | Action::Observe | Action::Poll));
    }

    /// The program has ended without meaning to, and starts again with the version that it had.
    pub fn crashed(&mut self) {
        self.restart(Boot::Known);
    }

    /// Off and on. An image that has not proved itself yet is not what the boot loader starts.
    pub fn reboot(&mut self) {
        match std::mem::replace(&mut self.boot, Boot::Known) {
            Boot::Known | Boot::Over => {
                self.restart(Boot::Known);
                self.push_reboot();
            }
            Boot::Unproven(unproven) => self.roll_back(*unproven),
        }
    }

    /// A manifest arrived, by registration, push or poll.
    pub fn manifest(&mut self, now: Instant, manifest: Manifest) {
        match &mut self.phase {
            Phase::Idle => self.consider(now, &manifest),
            Phase::Downloading(download) => download.waiting = Some(manifest),
            Phase::Installing(_) => {}
        }
    }

    /// A block arrived in answer to the request for `block`; `more` as its Block2 option said. It is written behind what
    /// there is, whichever block it really was.
    pub fn block(&mut self, now: Instant, block: u32, transfer: u32, payload: &[u8], more: bool) {
        let Phase::Downloading(download) = &mut self.phase else {
            return;
        };
        if transfer < download.since {
            return;
        }
        download.hash.update(payload);
        download.received += payload.len() as u64;
        download.failures = 0;
        if more {
            let next = download.fetch(block + 1, transfer);
            self.actions.push_back(next);
            return;
        }
        let Phase::Downloading(download) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        self.downloaded(now, *download);
    }

    /// The block asked for was refused or never answered.
    pub fn block_failed(&mut self, now: Instant, block: u32, transfer: u32) {
        let Phase::Downloading(download) = &mut self.phase else {
            return;
        };
        if transfer < download.since {
            return;
        }
        download.failures += 1;
        if download.failures <= MAX_BLOCK_FAILURES {
            match (&mut download.retry, self.model.port.retry_timer()) {
                // It runs already, and asks for the block that failed last.
                (Some(retry), RetryTimer::Periodic) => retry.block = block,
                (retry, _) => {
                    *retry = Some(Retry {
                        at: now + self.model.pace.block_retry,
                        block,
                    });
                }
            }
            return;
        }
        if let Phase::Downloading(download) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.failed(now, *download, Reason::UpdateFailed);
        }
    }

    /// Carries on with whatever was put off until `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(mut stall) = self.stall.take_if(|stall| stall.until <= now) {
            self.actions.extend(stall.actions.take());
        }
        if let Some(poll_at) = &mut self.poll_at
            && *poll_at <= now
        {
            *poll_at = now + self.model.pace.poll;
            self.actions.push_back(Action::Poll);
        }
        if let Boot::Unproven(unproven) = &self.boot
            && unproven.until <= now
        {
            self.reboot();
            return;
        }
        match &mut self.phase {
            Phase::Downloading(download) => {
                if let Some(retry) = download.retry.filter(|retry| retry.at <= now) {
                    self.transfer += 1;
                    self.actions.push_back(download.fetch(retry.block, self.transfer));
                    download.retry = match self.model.port.retry_timer() {
                        RetryTimer::OneShot => None,
                        RetryTimer::Periodic => Some(Retry {
                            at: now + self.model.pace.block_retry,
                            block: retry.block,
                        }),
                    };
                }
            }
            Phase::Installing(installing) if installing.at <= now => {
                let version = std::mem::take(&mut installing.version);
                self.install(now, version);
            }
            Phase::Idle | Phase::Installing(_) => {}
        }
        if matches!(self.phase, Phase::Idle)
            && let Some(backoff) = &mut self.backoff
            && backoff.until.is_some_and(|until| until <= now)
        {
            backoff.until = None;
            let target = backoff.target.clone();
            self.start(now, target);
        }
    }

    /// What to do next, in this order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Update::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_phase = match &self.phase {
            Phase::Idle => self.backoff.as_ref().and_then(|backoff| backoff.until),
            Phase::Downloading(download) => download.retry.map(|retry| retry.at),
            Phase::Installing(installing) => Some(installing.at),
        };
        let of_boot = match &self.boot {
            Boot::Unproven(unproven) => Some(unproven.until),
            Boot::Known | Boot::Over => None,
        };
        [of_phase, of_boot, self.poll_at, self.stalled_until()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether what runs never gets as far as a session.
    #[must_use]
    pub fn never_connects(&self) -> bool {
        matches!(&self.boot, Boot::Unproven(unproven) if unproven.never_connects)
    }

    /// Bytes received of how many, while a download runs.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        match &self.phase {
            Phase::Downloading(download) => Some((download.received, download.target.size)),
            Phase::Idle | Phase::Installing(_) => None,
        }
    }

    fn consider(&mut self, now: Instant, manifest: &Manifest) {
        let wanted = manifest
            .component(&self.model.package)
            .filter(|component| *component.version != *self.version);
        let Some(target) = wanted.cloned() else {
            self.backoff = None;
            self.report(now, State::Idle, Reason::Ready, None);
            return;
        };
        match &self.backoff {
            Some(backoff) if backoff.target == target && backoff.until.is_some_and(|until| until > now) => {}
            Some(backoff) if backoff.target == target => self.start(now, target),
            _ => {
                self.backoff = None;
                self.start_or_install(now, target);
            }
        }
    }

    /// What is in the other slot already is not fetched again, and no report but `3/0` tells of it.
    fn start_or_install(&mut self, now: Instant, target: Component) {
        if self.model.checks_candidate && self.slots.other == Some(Contents::of(&target)) {
            self.announce(now, target);
        } else {
            self.start(now, target);
        }
    }

    fn start(&mut self, now: Instant, target: Component) {
        self.slots.other = None;
        self.report(now, State::Downloading, Reason::Ready, Some(&target.version));
        self.transfer += 1;
        let download = Download {
            target,
            hash: Sha256::new(),
            received: 0,
            since: self.transfer,
            failures: 0,
            retry: None,
            waiting: None,
        };
        self.push(download.fetch(0, self.transfer));
        self.phase = Phase::Downloading(Box::new(download));
    }

    /// Everything is forgotten but the version and what the flash holds.
    fn restart(&mut self, boot: Boot) {
        self.boot = boot;
        self.phase = Phase::Idle;
        self.backoff = None;
        self.poll_at = None;
        self.actions.clear();
        self.stall = None;
    }

    fn downloaded(&mut self, now: Instant, download: Download) {
        let is_spoilt = self.model.images.get(&download.target.version) == Some(&Booting::Spoilt);
        if is_spoilt || download.hash.clone().finalize().as_slice() != download.target.sha256 {
            self.failed(now, download, Reason::IntegrityCheckFailure);
            return;
        }
        let Download { target, received, .. } = download;
        self.slots.other = Some(Contents::of(&target));
        self.push(Action::Downloaded {
            bytes: received,
            version: target.version.clone(),
        });
        self.report(now, State::Downloaded, Reason::Ready, Some(&target.version));
        self.announce(now, target);
    }

    /// The image is chosen to be booted next.
    fn announce(&mut self, now: Instant, target: Component) {
        self.report(now, State::Updating, Reason::Ready, Some(&target.version));
        self.phase = Phase::Installing(Box::new(Installing {
            version: target.version.into(),
            at: self.stalled_until().unwrap_or(now) + self.model.pace.reboot,
        }));
    }

    /// Boots what was fetched as `offered`.
    fn install(&mut self, now: Instant, offered: Box<str>) {
        let (runs_as, never_connects) = match self.model.images.get(&*offered) {
            // What is spoilt does not come this far.
            None | Some(Booting::Well | Booting::Spoilt) => (offered, false),
            Some(Booting::As(version)) => (version.as_str().into(), false),
            Some(Booting::Badly) => (offered, true),
        };
        let patience = if never_connects {
            self.model.pace.prove
        } else {
            Pace::PROOF
        };
        let unproven = Unproven {
            before: std::mem::replace(&mut self.version, runs_as),
            never_connects,
            until: now + self.model.pace.start + patience,
        };
        self.slots.swap();
        self.restart(Boot::Unproven(Box::new(unproven)));
        self.push_reboot();
    }

    fn roll_back(&mut self, unproven: Unproven) {
        let given_up = std::mem::replace(&mut self.version, unproven.before);
        self.slots.swap();
        self.restart(Boot::Known);
        self.actions.push_back(Action::RolledBack {
            version: given_up.into(),
        });
        self.push_reboot();
    }

    fn push_reboot(&mut self) {
        self.actions.push_back(Action::Reboot {
            version: self.version.to_string(),
        });
    }

    fn failed(&mut self, now: Instant, download: Download, reason: Reason) {
        let Download { target, waiting, .. } = download;
        self.push(Action::Failed(reason));
        self.report(now, State::Downloading, reason, Some(&target.version));
        self.report(now, State::Idle, Reason::Ready, Some(&target.version));
        self.report(now, State::Idle, Reason::AwaitingRetry, Some(&target.version));
        let pause = match &self.backoff {
            Some(backoff) if backoff.target == target => (backoff.pause * 2).min(self.model.pace.backoff_max),
            _ => self.model.pace.backoff,
        };
        self.backoff = Some(Box::new(Backoff {
            target,
            pause,
            until: Some(now + pause),
        }));
        if let Some(manifest) = waiting {
            self.consider(now, &manifest);
        }
    }

    fn report(&mut self, now: Instant, state: State, reason: Reason, target: Option<&str>) {
        let report = Report {
            state,
            reason,
            package: self.model.package.clone(),
            version: self.version.to_string(),
            target: target.map(str::to_owned),
        };
        if report.fits() {
            self.push(Action::Report(report));
        } else {
            let until = self.stalled_until().unwrap_or(now) + self.model.pace.stall;
            let stall = self.stall.get_or_insert_with(|| {
                Box::new(Stall {
                    until,
                    actions: Queue::new(),
                })
            });
            stall.until = until;
        }
    }

    fn stalled_until(&self) -> Option<Instant> {
        self.stall.as_ref().map(|stall| stall.until)
    }

    /// What comes after a report that cannot be sent waits until the SDK has stopped trying.
    fn push(&mut self, action: Action) {
        match &mut self.stall {
            Some(stall) => stall.actions.push_back(action),
            None => self.actions.push_back(action),
        }
    }
}

impl Slots {
    /// The other one is booted.
    fn swap(&mut self) {
        std::mem::swap(&mut self.running, &mut self.other);
    }
}

impl Contents {
    fn of(artifact: &Component) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&artifact.sha256[..8]);
        Self(first)
    }
}

impl Download {
    fn fetch(&self, block: u32, transfer: u32) -> Action {
        Action::Fetch {
            uri: self.target.uri.clone(),
            block,
            transfer,
        }
    }
}

/// A block that failed is asked for again at most this many times in a row (`fw_update.c:59-60`).
const MAX_BLOCK_FAILURES: u32 = 15;

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
