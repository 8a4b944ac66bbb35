//! What a device does about its firmware (`CONTRACT.md` 4 to 6): which report follows what, and when.
//!
//! 1. connected for the first time since the boot: two `0/0`, or `3/1` and `0/0` for an image that runs for the first time;
//!    then, and at every later connection, the manifest is observed
//! 2. a manifest with another version of its package: `1/0`, and block after block; one that fails is asked for again
//! 3. the hash agrees: `2/0`, `3/0`, a pause, and off into the image
//! 4. it does not, or sixteen blocks in a row failed: `1/5` or `1/8`, `0/0`, `0/11`, and again after a growing pause
//!
//! Two things of the SDK are left to the native engine: the timers of Linux and FreeRTOS that start a download twice, and the
//! long attempts at a report that does not fit its buffer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tessera::virtual_device::{Event, Port, Reason, Report, State};

use super::cbor::{Component, Manifest};
use super::client::Ask;
use crate::scenario::Boots;

/// The firmware of one device.
#[derive(Debug)]
pub struct Firmware {
    package: String,
    version: String,
    images: Arc<BTreeMap<String, Boots>>,
    pauses: Pauses,
    boot: Boot,
    phase: Phase,
    backoff: Option<Backoff>,
    /// Came during a download; looked at when that has ended.
    waiting: Option<Manifest>,
    transfer: u32,
    poll_at: Option<Instant>,
    asks: VecDeque<Ask>,
    events: VecDeque<Event>,
}

/// How long a device pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// Between `3/0` and the reboot.
    pub reboot: Duration,
    /// Of a boot, before the first ClientHello.
    pub start: Duration,
    /// From the loss of a session to the next attempt.
    pub reconnect: Duration,
    /// From a handshake that failed to the next attempt.
    pub refused: Duration,
    /// Before a block that failed is asked for again.
    pub block: Duration,
    /// Before the first repetition of an update that failed.
    pub backoff: Duration,
    /// Until an image that never connects is given up.
    pub prove: Duration,
}

/// Where a device stands since its last boot.
#[derive(Debug)]
enum Boot {
    /// Not connected, with an image that is known to connect.
    Known,
    /// Not connected, with an image that has yet to.
    Unproven(Unproven),
    /// Was connected.
    Over,
}

#[derive(Debug)]
struct Unproven {
    /// What ran before.
    before: String,
    /// When the device goes back to it.
    until: Instant,
    connects: bool,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Downloading(Box<Download>),
    Installing { version: String, at: Instant },
}

#[derive(Debug)]
struct Download {
    target: Component,
    hash: Sha256,
    received: u64,
    /// The block to ask for next.
    next: u32,
    /// The transfer that it is asked for in: those before it are over.
    transfer: u32,
    /// Blocks that failed since the last that came.
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Backoff {
    target: Component,
    pause: Duration,
    until: Option<Instant>,
}

impl Firmware {
    /// A device that is being switched on.
    pub fn new(package: &str, version: &str, images: Arc<BTreeMap<String, Boots>>, pauses: Pauses) -> Self {
        Self {
            package: package.to_owned(),
            version: version.to_owned(),
            images,
            pauses,
            boot: Boot::Known,
            phase: Phase::Idle,
            backoff: None,
            waiting: None,
            transfer: 0,
            poll_at: None,
            asks: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The port is connected.
    pub fn connected(&mut self, now: Instant) {
        match std::mem::replace(&mut self.boot, Boot::Over) {
            Boot::Known => {
                self.report(State::Idle, Reason::Ready, None);
                self.report(State::Idle, Reason::Ready, None);
            }
            Boot::Unproven(_) => {
                self.report(State::Updating, Reason::Success, None);
                self.report(State::Idle, Reason::Ready, None);
            }
            Boot::Over => {}
        }
        self.poll_at.get_or_insert(now + POLL);
        self.asks.push_back(Ask::Observe);
    }

    /// A manifest came, however.
    pub fn manifest(&mut self, now: Instant, manifest: Manifest) {
        self.events.push_back(Event::Manifest {
            sequence: manifest.sequence,
        });
        match &self.phase {
            Phase::Idle => self.consider(now, manifest),
            Phase::Downloading(_) => self.waiting = Some(manifest),
            Phase::Installing { .. } => {}
        }
    }

    /// A block came. It is written behind what there is, whichever it really was: the SDK does not look either.
    pub fn block(&mut self, now: Instant, transfer: u32, payload: &[u8], more: bool, took: Duration) {
        let Phase::Downloading(download) = &mut self.phase else {
            return;
        };
        if download.transfer != transfer {
            return;
        }
        download.hash.update(payload);
        download.received += payload.len() as u64;
        download.failures = 0;
        self.events.push_back(Event::Progress {
            received: download.received,
            total: download.target.size,
            bytes: payload.len() as u64,
            took,
        });
        if more {
            download.next += 1;
            self.asks.push_back(download.ask());
        } else if let Phase::Downloading(download) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.complete(now, *download);
        }
    }

    /// A block was refused, or not answered.
    pub fn block_failed(&mut self, now: Instant, transfer: u32) {
        let Phase::Downloading(download) = &mut self.phase else {
            return;
        };
        if download.transfer != transfer {
            return;
        }
        download.failures += 1;
        if download.failures <= FAILURES_MAX {
            download.retry_at = Some(now + self.pauses.block);
        } else if let Phase::Downloading(download) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.failed(now, download.target, Reason::UpdateFailed);
        }
    }

    /// Off and on. An image that has not proved itself is not what the boot loader starts.
    pub fn reboot(&mut self) {
        if let Boot::Unproven(Unproven { before, .. }) = &self.boot {
            let given_up = std::mem::replace(&mut self.version, before.clone());
            self.events.push_back(Event::RolledBack { version: given_up });
        }
        self.restart(Boot::Known);
    }

    /// Does what is due; true when that was a reboot.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.poll_at.is_some_and(|at| at <= now) {
            self.poll_at = Some(now + POLL);
            self.asks.push_back(Ask::Poll);
        }
        match &self.boot {
            Boot::Unproven(unproven) if unproven.until <= now => {
                self.reboot();
                return true;
            }
            Boot::Known | Boot::Unproven(_) | Boot::Over => {}
        }
        if let Some(backoff) = &mut self.backoff
            && backoff.until.is_some_and(|until| until <= now)
        {
            backoff.until = None;
            let target = backoff.target.clone();
            if matches!(self.phase, Phase::Idle) {
                self.start(target);
            }
        }
        match &mut self.phase {
            Phase::Downloading(download) if download.retry_at.is_some_and(|at| at <= now) => {
                download.retry_at = None;
                self.transfer += 1;
                download.transfer = self.transfer;
                self.asks.push_back(download.ask());
                false
            }
            Phase::Installing { version, at } if *at <= now => {
                let offered = std::mem::take(version);
                self.boot_into(now, offered);
                true
            }
            Phase::Idle | Phase::Downloading(_) | Phase::Installing { .. } => false,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let unproven = match &self.boot {
            Boot::Unproven(unproven) => Some(unproven.until),
            Boot::Known | Boot::Over => None,
        };
        let phase = match &self.phase {
            Phase::Idle => None,
            Phase::Downloading(download) => download.retry_at,
            Phase::Installing { at, .. } => Some(*at),
        };
        let backoff = self.backoff.as_ref().and_then(|backoff| backoff.until);
        [self.poll_at, unproven, phase, backoff]
            .into_iter()
            .flatten()
            .min()
    }

    /// What to ask next.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// False for an image that never connects.
    pub fn connects(&self) -> bool {
        match &self.boot {
            Boot::Unproven(unproven) => unproven.connects,
            Boot::Known | Boot::Over => true,
        }
    }

    fn consider(&mut self, now: Instant, manifest: Manifest) {
        let wanted = manifest
            .component
            .filter(|component| component.package == self.package && component.version != self.version);
        let Some(target) = wanted else {
            self.backoff = None;
            self.report(State::Idle, Reason::Ready, None);
            return;
        };
        if let Some(backoff) = &self.backoff {
            if backoff.target != target {
                self.backoff = None;
            } else if backoff.until.is_some_and(|until| until > now) {
                return;
            }
        }
        self.start(target);
    }

    fn start(&mut self, target: Component) {
        self.report(State::Downloading, Reason::Ready, Some(&target.version));
        self.transfer += 1;
        let download = Download {
            target,
            hash: Sha256::new(),
            received: 0,
            next: 0,
            transfer: self.transfer,
            failures: 0,
            retry_at: None,
        };
        self.asks.push_back(download.ask());
        self.phase = Phase::Downloading(Box::new(download));
    }

    fn complete(&mut self, now: Instant, download: Download) {
        let Download {
            target,
            hash,
            received,
            ..
        } = download;
        let hash = hash
            .finalize()
            .iter()
            .fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
        if !hash.eq_ignore_ascii_case(&target.hash) {
            self.failed(now, target, Reason::IntegrityCheckFailure);
            return;
        }
        self.events.push_back(Event::Downloaded {
            bytes: received,
            version: target.version.clone(),
        });
        self.report(State::Downloaded, Reason::Ready, Some(&target.version));
        self.report(State::Updating, Reason::Ready, Some(&target.version));
        self.phase = Phase::Installing {
            version: target.version,
            at: now + self.pauses.reboot,
        };
    }

    fn failed(&mut self, now: Instant, target: Component, reason: Reason) {
        self.events.push_back(Event::UpdateFailed(reason));
        self.report(State::Downloading, reason, Some(&target.version));
        self.report(State::Idle, Reason::Ready, Some(&target.version));
        self.report(State::Idle, Reason::AwaitingRetry, Some(&target.version));
        let pause = match &self.backoff {
            Some(backoff) if backoff.target == target => (backoff.pause * 2).min(BACKOFF_MAX),
            Some(_) | None => self.pauses.backoff,
        };
        self.backoff = Some(Backoff {
            target,
            pause,
            until: Some(now + pause),
        });
        if let Some(manifest) = self.waiting.take() {
            self.consider(now, manifest);
        }
    }

    /// Off into an image that was offered as this version.
    fn boot_into(&mut self, now: Instant, offered: String) {
        let (runs, connects) = match self.images.get(&offered) {
            None | Some(Boots::Well) => (offered, true),
            Some(Boots::As(other)) => (other.clone(), true),
            Some(Boots::Badly) => (offered, false),
        };
        let before = std::mem::replace(&mut self.version, runs);
        let proof = if connects { PROOF } else { self.pauses.prove };
        self.restart(Boot::Unproven(Unproven {
            before,
            until: now + proof,
            connects,
        }));
    }

    /// All is forgotten but the version.
    fn restart(&mut self, boot: Boot) {
        self.boot = boot;
        self.phase = Phase::Idle;
        self.backoff = None;
        self.waiting = None;
        self.poll_at = None;
        self.asks.clear();
        self.events.push_back(Event::Rebooted {
            version: self.version.clone(),
        });
    }

    /// One that does not fit the SDK's buffer is never sent.
    fn report(&mut self, state: State, reason: Reason, target: Option<&str>) {
        let texts = self.package.len() + self.version.len() + target.map_or(0, str::len);
        if texts <= TEXTS_MAX {
            self.asks.push_back(Ask::Report(Report {
                state,
                reason,
                package: self.package.clone(),
                version: self.version.clone(),
                target: target.map(str::to_owned),
            }));
        }
    }
}

impl Download {
    fn ask(&self) -> Ask {
        Ask::Block {
            uri: self.target.uri.clone(),
            number: self.next,
            transfer: self.transfer,
        }
    }
}

impl Pauses {
    /// The SDK's, shortened by this factor; what the network and the gateway are owed is not among them.
    pub fn of(port: Port, faster: u32) -> Self {
        let pause = |seconds| Duration::from_secs(seconds) / faster.max(1);
        Self {
            reboot: pause(5),
            start: pause(1),
            reconnect: pause(1),
            refused: pause(match port {
                Port::Libcoap => 1,
                Port::Zephyr => 5,
            }),
            block: pause(15),
            backoff: pause(60),
            prove: pause(300),
        }
    }
}

/// `fw_update.c:59-60`: a block that fails more often in a row ends the download.
const FAILURES_MAX: u32 = 15;
const BACKOFF_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// `CONFIG_GOLIOTH_OTA_MANIFEST_SUBSCRIPTION_POLL_INTERVAL_S`.
const POLL: Duration = Duration::from_secs(24 * 60 * 60);
/// `CONFIG_GOLIOTH_FW_UPDATE_ROLLBACK_TIMER_S`: an image that may connect has so long for it, however fast the device lives.
const PROOF: Duration = Duration::from_secs(300);
/// Bytes of package and versions that the SDK's buffer of 64 has room for.
const TEXTS_MAX: usize = 45;

#[cfg(test)]
#[path = "firmware_tests.rs"]
mod tests;
