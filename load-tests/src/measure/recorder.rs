//! Takes everything that happens, and knows at any moment where the fleet stands.
//!
//! 1. What devices tell ([`Recorder::take`]), what is deployed to them ([`Recorder::asks`], [`Recorder::deployed`]), where they are
//!    moved ([`Recorder::moved`]), that they are made to restart ([`Recorder::restarts`]).
//! 2. Once a second a look at the gateway and the engines ([`Recorder::sample`]).
//! 3. The run asks what it waits for ([`Recorder::all_connected`], [`Recorder::all_converged`], [`Recorder::is_waited_for`]).
//! 4. [`Recorder::finish`] makes of it what a result has.
//!
//! - [`happened`]: what each event changes
//! - [`finish`]: the end

mod finish;
mod happened;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tessera::virtual_device::Pace;

use super::cohort::{Cohort, Deployment};
use super::counts::{Count, Counts};
use super::device::{Device, Link, Moment, Notice, Task, Version};
use super::latency::{self, Latencies, Latency, micros};
use super::looks::Looks;
use super::series::{Series, Server, Taken};
use super::tally::{Standing, Tally};
use super::versions::Versions;
use crate::engine::{EngineCounts, Happened};
use crate::gateway::Figures;
use crate::plan::Plan;
use crate::scenario::{Expectation, ImageName, Scenario};

pub use self::finish::{End, Measured};

/// Everything that was seen of a run so far.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    scenario: Scenario,
    devices: Vec<Device>,
    cohorts: Vec<Cohort>,
    kinds: Vec<Kind>,
    versions: Versions,
    tally: Tally,
    /// Blocks since the last sample.
    recent_blocks: Histogram<u64>,
    series: Series,
    server: Looks,
    engines: EngineCounts,
    /// The latest moment at which a good device had its registration answered for the first time; once all were, stragglers aside,
    /// it stays.
    last_registered: Option<Moment>,
    /// Whether it is over: nothing is counted any more.
    is_closed: bool,
}

/// What is counted of one kind of devices.
#[derive(Debug)]
struct Kind {
    /// Whether its credentials are good.
    is_good: bool,
    package: usize,
    counts: Counts,
    latencies: Latencies,
    /// From a boot to its first ClientHello, in microseconds.
    boot: u64,
    /// From the loss of a session to the next ClientHello, in microseconds.
    reconnect: u64,
}

/// Where the fleet stands, for whoever watches.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// Good devices.
    pub good: u64,
    /// With a session.
    pub connected: u64,
    /// Whose registration has been answered.
    pub observing: u64,
    /// In a download.
    pub downloading: u64,
    /// That run what they are to run.
    pub converged: u64,
    /// That are to run something.
    pub wanted: u64,
    /// Artifact bytes so far.
    pub bytes: u64,
    /// Handshakes so far.
    pub handshakes: u64,
}

impl Recorder {
    /// Nothing has happened yet; the arrival begins at `began`.
    pub fn new(scenario: &Scenario, plan: &Plan, began: Instant) -> Self {
        let mut versions = Versions::default();
        let mut kinds = Vec::new();
        let mut runs = Vec::new();
        for kind in &scenario.kinds {
            let package = versions.package(&kind.runs.package);
            let pace = Pace::of(kind.port).faster(kind.faster);
            kinds.push(Kind {
                is_good: kind.credential.is_good(),
                package,
                counts: Counts::default(),
                latencies: Latencies::new(),
                boot: micros(pace.start),
                reconnect: micros(pace.reconnect),
            });
        }
        for kind in &scenario.kinds {
            let package = versions.package(&kind.runs.package);
            runs.push(versions.of(package, &kind.runs.version));
        }
        let devices = plan.devices.iter().map(|planned| {
            let kind = &scenario.kinds[planned.kind];
            let cohort = kind.cohort.map(|place| place as u32);
            let due = Moment(micros(planned.start));
            Device::new(planned.kind as u32, cohort, due, runs[planned.kind])
        });
        let mut recorder = Self {
            began,
            scenario: scenario.clone(),
            devices: devices.collect(),
            cohorts: vec![Cohort::default(); scenario.cohorts.len()],
            kinds,
            versions,
            tally: Tally::default(),
            recent_blocks: latency::empty(),
            series: Series::new(),
            server: Looks::default(),
            engines: EngineCounts::default(),
            last_registered: None,
            is_closed: false,
        };
        for place in 0..recorder.devices.len() {
            recorder.tally.enter(&recorder.standing(place));
        }
        recorder
    }

    /// The gateway before the first device is switched on.
    pub fn before(&mut self, figures: Option<Figures>) {
        self.server.before = figures;
    }

    /// A deployment is asked for, or was already there when the run began; to be told before its request is sent. Where it is
    /// late, it counts from when it was due.
    pub fn asks(&mut self, cohort: usize, images: &[ImageName], due: Instant) {
        let due = self.moment(due);
        let versions = self.scenario.kinds.iter().zip(&self.kinds).map(|(kind, known)| {
            let image = images.iter().find(|image| image.package == kind.runs.package);
            image.map(|image| self.versions.of(known.package, &image.version))
        });
        let deployment = Deployment {
            sequence: None,
            images: images.to_vec(),
            versions: versions.collect(),
            boots_well: self.scenario.boot_well(images),
            to_be_told: 0,
            waiting: 0,
            slowest: 0,
            cut_off: 0,
            due,
        };
        let members = self.members(cohort);
        for &place in &members {
            self.tally.leave(&self.standing(place));
            self.end_task(place, due);
        }
        self.cohorts[cohort].deployments.push(deployment);
        let place_of_it = self.cohorts[cohort].deployments.len() as u32 - 1;
        for place in members {
            // What a device has not been told of yet it is still to be told of: its wait goes on.
            let notice = Notice {
                deployment: place_of_it,
                due,
            };
            let device = &mut self.devices[place];
            let is_good = self.kinds[device.kind as usize].is_good;
            // What was there when the run began nobody is told of.
            let is_on = due > Moment::default() && device.due <= due;
            if is_good && is_on && device.notice.is_none() {
                self.cohorts[cohort].deployments[place_of_it as usize].to_be_told += 1;
            }
            if device.link == Link::Observing && device.notice.is_none() {
                device.notice = Some(notice);
            }
            self.begin_task(place, due);
            self.tally.enter(&self.standing(place));
        }
    }

    /// The deployment asked for last was made, and has this number; without one it was not made, and is taken back.
    pub fn deployed(&mut self, cohort: usize, sequence: Option<u64>) {
        let Some(sequence) = sequence else {
            self.take_back(cohort);
            return;
        };
        if let Some(last) = self.cohorts[cohort].deployments.last_mut() {
            last.sequence = i64::try_from(sequence).ok();
        }
    }

    /// Devices are moved to another cohort.
    pub fn moved(&mut self, devices: &[u32], cohort: usize, due: Instant) {
        let due = self.moment(due);
        for place in devices.iter().map(|place| *place as usize) {
            if self.devices[place].cohort == Some(cohort as u32) {
                continue;
            }
            self.tally.leave(&self.standing(place));
            self.end_task(place, due);
            let device = &mut self.devices[place];
            device.cohort = Some(cohort as u32);
            // It was to be told until now, and would have waited longer.
            let kind = &mut self.kinds[device.kind as usize];
            if let Some(notice) = device.notice.take() {
                kind.latencies
                    .record(Latency::Notification, due.since(notice.due));
            }
            self.begin_task(place, due);
            self.tally.enter(&self.standing(place));
        }
    }

    /// Devices are told to restart: they count as not registered from here on, not only when they say so.
    pub fn restarts(&mut self, devices: &[u32]) {
        for &place in devices {
            self.change(place as usize, |device| device.is_registered = false);
        }
    }

    /// Counts what happened, until it is over.
    pub fn take(&mut self, batch: &[Happened]) {
        if self.is_closed {
            return;
        }
        for Happened { device, at, event } in batch {
            let at = self.moment(*at);
            self.happened(*device as usize, at, event);
        }
    }

    /// It is over: this is the moment that is judged, and the last sample. Devices and their engines go on for a while, and
    /// whatever they do is none of the run's.
    pub fn close(&mut self, at: Instant, engines: EngineCounts, own_cpu: Duration) {
        self.is_closed = true;
        let last = self.taken(at, None, engines, own_cpu);
        self.series.end(last);
    }

    /// To be called once a second.
    pub fn sample(
        &mut self,
        now: Instant,
        figures: Option<&Figures>,
        engines: EngineCounts,
        own_cpu: Duration,
    ) {
        self.engines = engines;
        if let Some(figures) = figures {
            self.look(figures);
        }
        if self.is_closed || !self.series.wants_one() {
            return;
        }
        let taken = self.taken(now, figures, engines, own_cpu);
        self.series.take(taken);
    }

    fn taken(
        &mut self,
        now: Instant,
        figures: Option<&Figures>,
        engines: EngineCounts,
        own_cpu: Duration,
    ) -> Taken {
        let blocks = std::mem::replace(&mut self.recent_blocks, latency::empty());
        let counts = self.counts();
        let named = self.versions.names.iter().zip(&self.tally.versions);
        Taken {
            at: self.moment(now),
            connected: self.tally.connected,
            observing: self.tally.observing,
            downloading: self.tally.downloading,
            converged: self.tally.converged,
            wanted: self.tally.wanted,
            versions: named
                .filter(|(_, devices)| **devices > 0)
                .map(|(name, devices)| (name.clone(), *devices))
                .collect(),
            handshakes: counts.get(Count::Handshakes),
            bytes: counts.get(Count::Bytes),
            datagrams_sent: engines.datagrams_sent,
            datagrams_received: engines.datagrams_received,
            server: figures.map(|figures| Server {
                at: self.moment(figures.at),
                sessions: figures.sessions,
                cpu: figures.cpu,
                memory: figures.resident_bytes,
            }),
            own_cpu,
            block_p50_p99: (!blocks.is_empty())
                .then(|| (blocks.value_at_quantile(0.5), blocks.value_at_quantile(0.99))),
        }
    }

    /// Where the fleet stands.
    pub fn now(&self) -> Now {
        let counts = self.counts();
        Now {
            good: self.tally.good,
            connected: self.tally.connected,
            observing: self.tally.observing,
            downloading: self.tally.downloading,
            converged: self.tally.converged,
            wanted: self.tally.wanted,
            bytes: counts.get(Count::Bytes),
            handshakes: counts.get(Count::Handshakes),
        }
    }

    /// Whether every good device had its registration answered since its last boot, or it came to nothing: a Zephyr device whose
    /// registration is lost has a session and no observation, and does not ask again before the next session (`CONTRACT.md`, rule 19).
    /// A session that was lost since does not count against it: in a large fleet on a bad network there is always one that is on
    /// its way back.
    pub fn all_connected(&self) -> bool {
        self.is_enough(self.tally.registered, self.tally.good)
    }

    /// Whether every good device has reported to run what its cohort has deployed. Cohorts whose deployment has an image that
    /// does not boot well are left out: nobody can ever run that.
    pub fn all_converged(&self) -> bool {
        self.is_enough(self.tally.converged, self.tally.wanted)
    }

    /// Whether every good device but for stragglers ever had its registration answered.
    fn was_all_registered(&self) -> bool {
        self.is_enough(self.tally.was_registered, self.tally.good)
    }

    /// Whether so many of all are there that only the scenario's stragglers are missing.
    fn is_enough(&self, there: u64, all: u64) -> bool {
        there + self.scenario.stragglers >= all
    }

    /// Whether it is what a device runs, by its place, that the gateway has on record of it: this version of this package.
    pub fn runs(&self, place: usize, package: &str, version: &str) -> bool {
        let device = &self.devices[place];
        let own = self.kinds[device.kind as usize].package;
        self.versions.packages[own] == package && self.versions.known(own, version) == Some(device.runs)
    }

    /// Devices in a cohort.
    pub fn in_cohort(&self, cohort: usize) -> u64 {
        self.members(cohort).len() as u64
    }

    /// What a cohort had before what it has.
    pub fn before_active(&self, cohort: usize) -> Option<Vec<ImageName>> {
        let deployments = &self.cohorts[cohort].deployments;
        let place = deployments.len().checked_sub(2)?;
        Some(deployments[place].images.clone())
    }

    /// Whether an expectation can still come to be met, and is not yet: that of a state to be reached, or of a figure for which
    /// there is something left to measure.
    pub fn is_waited_for(&self, expectation: &Expectation) -> bool {
        let tally = &self.tally;
        let is_on_the_way = || {
            let mut cohorts = self.cohorts.iter().filter_map(Cohort::active);
            cohorts.any(|(_, active)| active.waiting > self.scenario.stragglers)
        };
        match *expectation {
            Expectation::ConnectedWithin(_) => !self.is_enough(tally.was_registered, tally.good),
            Expectation::HandshakeP99(_) | Expectation::ServerMemoryPerDevice(_) => {
                tally.had_session < tally.good
            }
            Expectation::ConvergedWithin(_) | Expectation::UpdateP99(_) => is_on_the_way(),
            Expectation::BlockP99(_) => is_on_the_way() || tally.downloading > 0,
            Expectation::Converged(share) => (tally.converged as f64) < share * tally.wanted as f64,
            Expectation::NotificationP99(_) => tally.notices > 0,
            Expectation::DevicesLost(most) => tally.good - tally.connected > most,
            Expectation::RolledBack(least) => self.counts().get(Count::RolledBack) < least,
            Expectation::UpdateLoops(least) => self.counts().get(Count::UpdateLoops) < least,
            Expectation::Intruders(_) => tally.bad_tried < tally.bad,
            Expectation::StoreErrors(least) => self.server.store_errors().is_none_or(|errors| errors < least),
            // The gateway is asked once it is over.
            Expectation::Recorded(_)
            | Expectation::HandshakesAgain(_)
            | Expectation::HandshakesFailed(_)
            | Expectation::UpdatesFailed(_)
            | Expectation::ReportsRefused(_)
            | Expectation::ServerCpuPerDevice(_)
            | Expectation::SimulatorLateP99(_) => false,
        }
    }

    /// What its cohort wants a device to run, if it boots well.
    fn target(&self, device: &Device) -> Option<(u32, Version)> {
        let (place, active) = self.cohorts[device.cohort? as usize].active()?;
        if !active.boots_well {
            return None;
        }
        Some((place, active.versions[device.kind as usize]?))
    }

    /// What its cohort wants a device to run, whatever becomes of it.
    fn wanted(&self, device: &Device) -> Option<Version> {
        let (_, active) = self.cohorts[device.cohort? as usize].active()?;
        active.versions[device.kind as usize]
    }

    /// Gives a device that has nothing to do what its cohort wants of it.
    fn begin_task(&mut self, place: usize, due: Moment) {
        let device = &self.devices[place];
        let (Some((deployment, version)), Some(cohort)) = (self.target(device), device.cohort) else {
            return;
        };
        if !self.kinds[device.kind as usize].is_good || device.reported == Some(version) {
            return;
        }
        let task = Task {
            deployment,
            since: due.max(device.due),
            is_update: device.runs != version,
        };
        self.cohorts[cohort as usize].deployments[deployment as usize].waiting += 1;
        self.devices[place].task = Some(task);
    }

    /// A device no longer has to do what it had.
    fn end_task(&mut self, place: usize, at: Moment) {
        let device = &mut self.devices[place];
        let (Some(task), Some(cohort)) = (device.task.take(), device.cohort) else {
            return;
        };
        let deployment = &mut self.cohorts[cohort as usize].deployments[task.deployment as usize];
        if deployment.waiting > self.scenario.stragglers {
            deployment.cut_off = deployment.cut_off.max(at.since(task.since));
        }
        deployment.waiting -= 1;
    }

    /// The last deployment of a cohort was never made.
    fn take_back(&mut self, cohort: usize) {
        let members = self.members(cohort);
        let Some(place_of_it) = self.cohorts[cohort].deployments.len().checked_sub(1) else {
            return;
        };
        for &place in &members {
            self.tally.leave(&self.standing(place));
            let device = &mut self.devices[place];
            device.task = None;
            if device
                .notice
                .is_some_and(|notice| notice.deployment as usize == place_of_it)
            {
                device.notice = None;
            }
        }
        self.cohorts[cohort].deployments.pop();
        let due = self.cohorts[cohort].active().map(|(_, active)| active.due);
        for place in members {
            self.begin_task(place, due.unwrap_or_default());
            self.tally.enter(&self.standing(place));
        }
    }

    fn change(&mut self, place: usize, change: impl FnOnce(&mut Device)) {
        self.tally.leave(&self.standing(place));
        change(&mut self.devices[place]);
        self.tally.enter(&self.standing(place));
    }

    fn standing(&self, place: usize) -> Standing {
        let device = &self.devices[place];
        let target = self.target(device).map(|(_, version)| version);
        Standing {
            is_good: self.kinds[device.kind as usize].is_good,
            link: device.link,
            is_registered: device.is_registered || device.may_have_given_up,
            had_session: device.had_session,
            was_registered: device.was_registered,
            has_tried: device.has_tried,
            is_downloading: device.is_downloading,
            is_wanted: target.is_some(),
            is_converged: target.is_some() && device.reported == target,
            has_notice: device.notice.is_some(),
            runs: device.runs,
        }
    }

    fn look(&mut self, figures: &Figures) {
        self.server.memory_max = self.server.memory_max.max(figures.resident_bytes);
        if self.server.memory_connected.is_none()
            && self.tally.good > 0
            && self.tally.had_session == self.tally.good
        {
            self.server.memory_connected = Some(figures.resident_bytes);
        }
        self.server.last = Some(figures.clone());
    }

    fn members(&self, cohort: usize) -> Vec<usize> {
        let all = self.devices.iter().enumerate();
        all.filter(|(_, device)| device.cohort == Some(cohort as u32))
            .map(|(place, _)| place)
            .collect()
    }

    fn count(&mut self, place: usize, count: Count) {
        self.kind_of(place).counts.one(count);
    }

    fn kind_of(&mut self, place: usize) -> &mut Kind {
        &mut self.kinds[self.devices[place].kind as usize]
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.kinds.iter().for_each(|kind| sum.add(&kind.counts));
        sum
    }

    fn latencies(&self) -> Latencies {
        let mut sum = Latencies::new();
        self.kinds.iter().for_each(|kind| sum.add(&kind.latencies));
        sum
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment(micros(at.saturating_duration_since(self.began)))
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
