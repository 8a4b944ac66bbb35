//! Has happen what the scenario says, when it says so, and ends the run.
//!
//! 1. Each event in the file's order waits for its trigger; one that is due at a time waits for nothing else, so that a gateway
//!    which falls behind is not spared.
//! 2. What an event begins and another moment ends (the gateway is away, its disk is full, an outage) ends by itself meanwhile.
//!    Only what needs the gateway's API waits for the gateway to be back; its time counts from when it was due.
//! 3. When all events are over, and whatever is expected of the end holds, the run lingers and ends at the first moment at which
//!    that holds again. A device that is lost does not come back for that. Where sessions were disturbed and are expected to have
//!    survived, that moment is not before devices have had time to notice.
//! 4. What comes after that moment is not counted: the verdicts are on what it was chosen for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use tessera::clock;

use super::engines::Engines;
use super::halt::Halt;
use super::progress::Progress;
use crate::bench::process_cpu;
use crate::engine::Order;
use crate::gateway::{Api, ApiError, Counted, Deployed, Gateway, GatewayError};
use crate::measure::Recorder;
use crate::plan::Plan;
use crate::result::EventFacts;
use crate::scenario::{Event, Expectation, ImageName, Scenario, What, When, show_images};

/// Everything that a run consists of.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Its plan.
    pub plan: &'a Plan,
    /// What is measured.
    pub recorder: &'a Mutex<Recorder>,
    /// The devices.
    pub engines: &'a Engines,
    /// The gateway.
    pub gateway: &'a Mutex<Gateway>,
    /// Its API, which needs no turn at the gateway.
    pub api: Api,
    /// What ends it all.
    pub halt: &'a Halt,
    /// When the arrival begins.
    pub began: Instant,
    /// What the set-up took of the processor.
    pub set_up_cpu: Duration,
    /// Who watches.
    pub progress: &'a Progress,
    /// Whether the gateway is away because the scenario says so.
    pub is_away: AtomicBool,
    /// Until when the last event that may cost sessions, and no device is told of, went or goes on.
    pub disturbed: Mutex<Option<Instant>>,
    /// What has happened.
    pub log: Mutex<Log>,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Log {
    /// Events as they began, and as what they began ended.
    pub events: Vec<EventFacts>,
    /// Those that could not be carried out, and why.
    pub failures: Vec<String>,
    /// What devices were told to do, and how many orders had been refused before.
    pub orders: Vec<(String, u64)>,
    /// Whether the gateway has answered at the end.
    pub has_answered: bool,
}

impl Log {
    /// An event with orders that were refused has not happened: up to the next one's, or `in_all` at the end, they are its own.
    pub fn refused(&mut self, in_all: u64) {
        let befores = self.orders.iter().map(|(_, before)| *before);
        let afters: Vec<u64> = befores.skip(1).chain([in_all]).collect();
        for ((told, before), after) in std::mem::take(&mut self.orders).into_iter().zip(afters) {
            let refused = after.saturating_sub(before);
            if refused > 0 {
                let failure = format!("{told}: {refused} orders to devices were not carried out");
                self.failures.push(failure);
            }
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything has happened.
    Done,
    /// Its time was over.
    Time,
    /// The gateway ended by itself.
    Gateway,
    /// Somebody has ended it.
    Interrupted,
}

impl Ended {
    /// As a result says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Time => "time",
            Self::Gateway => "gateway",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The ends of what events have begun.
type Ends<'s> = Vec<ScopedJoinHandle<'s, ()>>;

impl<'a> Stage<'a> {
    /// Has everything happen; tells how the run ended, and when.
    pub fn conduct<'s>(&'s self, scope: &'s Scope<'s, '_>) -> (Ended, Instant) {
        let mut ends = Ends::new();
        let (ended, at) = match self.events(scope, &mut ends) {
            None => self.end(&mut ends),
            Some(ended) => {
                let at = clock::now();
                self.close(at, |_| true);
                (ended, at)
            }
        };
        // Whoever waits for a gateway to come back, or a disk to be emptied, need not any more.
        self.halt.raise();
        (ended, at)
    }

    /// The events; tells how the run ended if it did before they were over.
    fn events<'s>(&'s self, scope: &'s Scope<'s, '_>, ends: &mut Ends<'s>) -> Option<Ended> {
        let mut before = self.began;
        for (place, event) in self.scenario.events.iter().enumerate() {
            let mut held_at = None;
            self.progress
                .next(&format!("{} {}", self.scenario.told(&event.what), event.when));
            let due = loop {
                match self.due(event, before, &mut held_at) {
                    Some(due) if due <= clock::now() => break due,
                    due => {
                        if let Some(ended) = self.wait(due) {
                            self.missed(&self.scenario.events[place..]);
                            return Some(ended);
                        }
                    }
                }
            };
            before = clock::now();
            let is_with_gateway = match event.what {
                What::Deploy { .. }
                | What::RollBack { .. }
                | What::Move { .. }
                | What::KillGateway { .. }
                | What::RestartGateway { .. }
                | What::FillDisk { .. } => true,
                What::Rebind { .. } | What::Reboot { .. } | What::Outage { .. } => false,
            };
            if is_with_gateway && let Some(ended) = self.back(ends) {
                self.missed(&self.scenario.events[place..]);
                return Some(ended);
            }
            self.happen(place, event, due, scope, ends);
        }
        self.progress.next("what is expected of the end");
        None
    }

    /// When an event is due, as soon as that can be said.
    fn due(&self, event: &Event, before: Instant, held_at: &mut Option<Instant>) -> Option<Instant> {
        let (delay, holds) = match event.when {
            When::At(at) => return Some(self.began + at),
            When::Then(delay) => return Some(before + delay),
            When::Connected(delay) => (delay, self.recorder().all_connected()),
            When::Converged(delay) => (delay, self.recorder().all_converged()),
        };
        if holds && held_at.is_none() {
            *held_at = Some(clock::now());
        }
        Some((*held_at)? + delay)
    }

    /// After the last event: until everything is over.
    fn end(&self, ends: &mut Ends<'_>) -> (Ended, Instant) {
        let mut held_at = None;
        loop {
            ends.retain(|end| !end.is_finished());
            let now = clock::now();
            let is_over =
                ends.is_empty() && self.arrival_is_over() && self.quiet_at().is_none_or(|at| at <= now);
            let holds = |recorder: &Recorder| self.nothing_is_waited_for(recorder);
            if is_over && (held_at.is_some() || holds(&self.recorder())) {
                let since = *held_at.get_or_insert(now);
                if now >= since + self.scenario.linger && self.close(now, holds) {
                    return (Ended::Done, now);
                }
            }
            if let Some(ended) = self.wait(None) {
                let at = clock::now();
                self.close(at, |_| true);
                return (ended, at);
            }
        }
    }

    /// Ends the counting at a moment at which that holds; false where it does not.
    fn close(&self, at: Instant, holds: impl FnOnce(&Recorder) -> bool) -> bool {
        // Not under the lock: an engine may wait for it with its own figures in hand.
        let counts = self.engines.counts();
        let own_cpu = process_cpu().saturating_sub(self.set_up_cpu);
        let mut recorder = self.recorder();
        let is_closed = holds(&recorder);
        if is_closed {
            recorder.close(at, counts, own_cpu);
        }
        is_closed
    }

    /// When what disturbs sessions is over; where they are expected to survive it, when the last device will have noticed that its
    /// own has not.
    fn quiet_at(&self) -> Option<Instant> {
        let disturbed = *self.disturbed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut expected = self.scenario.expect.iter();
        let is_judged = expected.any(|expectation| {
            matches!(
                expectation,
                Expectation::DevicesLost(_)
                    | Expectation::HandshakesAgain(_)
                    | Expectation::HandshakesFailed(_)
            )
        });
        disturbed.map(|until| if is_judged { until + NOTICED } else { until })
    }

    /// Something disturbs sessions until then.
    fn disturbs(&self, until: Instant) {
        let mut disturbed = self.disturbed.lock().unwrap_or_else(PoisonError::into_inner);
        *disturbed = (*disturbed).max(Some(until));
    }

    fn arrival_is_over(&self) -> bool {
        let last = self.plan.devices.iter().map(|device| device.start).max();
        clock::now() >= self.began + last.unwrap_or_default()
    }

    fn nothing_is_waited_for(&self, recorder: &Recorder) -> bool {
        !self
            .scenario
            .expect
            .iter()
            .any(|expectation| recorder.is_waited_for(expectation))
    }

    /// Waits for a moment, or until then; tells if the run ended.
    fn wait(&self, then: Option<Instant>) -> Option<Ended> {
        let now = clock::now();
        let stop = self.began + self.scenario.stop_after;
        let look = now + LOOK;
        let until = then.map_or(look, |then| then.min(look)).min(stop);
        if self.halt.wait_until(until) {
            Some(Ended::Interrupted)
        } else if self.gateway_has_died() {
            Some(Ended::Gateway)
        } else if clock::now() >= stop {
            Some(Ended::Time)
        } else {
            None
        }
    }

    /// Whether the gateway has ended, and nobody has told it to. Nothing that comes after would mean anything.
    fn gateway_has_died(&self) -> bool {
        // Whoever has it now is about to start or to stop it.
        let Ok(gateway) = self.gateway.try_lock() else {
            return false;
        };
        let has_died = !gateway.runs() && !self.is_away.load(Ordering::Relaxed);
        drop(gateway);
        if has_died {
            let died = "the gateway ended by itself".to_owned();
            self.tell("gateway-died", died.clone(), 0);
            self.log().failures.push(died);
        }
        has_died
    }

    /// Has an event happen.
    fn happen<'s>(
        &'s self,
        place: usize,
        event: &Event,
        due: Instant,
        scope: &'s Scope<'s, '_>,
        ends: &mut Ends<'s>,
    ) {
        let what = &event.what;
        let chosen = |who| self.plan.chosen(self.scenario, who, place);
        let told = self.scenario.told(what);
        match what {
            What::Deploy { cohort, images } => {
                self.deploys(what, *cohort, Some(images.clone()), due, |api, name| {
                    api.deploy(name, images)
                });
            }
            What::RollBack { cohort } => {
                let images = self.recorder().before_active(*cohort);
                self.deploys(what, *cohort, images, due, Api::roll_back);
            }
            What::Move { who, to } => {
                let devices = chosen(who);
                self.tell(what.word(), told.clone(), devices.len() as u64);
                self.recorder().moved(&devices, *to, due);
                let names: Vec<&str> = devices
                    .iter()
                    .map(|place| self.plan.devices[*place as usize].name.as_str())
                    .collect();
                let moved = self.api.move_devices(&names, &self.scenario.cohorts[*to].name);
                if let Err(error) = moved {
                    self.failed(&told, &error);
                }
            }
            What::Rebind { who } => {
                self.orders(what, told, &chosen(who), Order::Rebind);
                self.disturbs(clock::now());
            }
            What::Reboot { who } => {
                let devices = chosen(who);
                self.recorder().restarts(&devices);
                self.orders(what, told, &devices, Order::Reboot);
            }
            What::Outage { who, lasts } => {
                self.orders(what, told, &chosen(who), Order::Outage(*lasts));
                self.disturbs(clock::now() + *lasts);
            }
            What::KillGateway { away, shards } => {
                self.tell(what.word(), told.clone(), 0);
                self.is_away.store(true, Ordering::Relaxed);
                let killed = self.gateway().kill();
                self.comes_back(&told, killed, *away, *shards, scope, ends);
            }
            What::RestartGateway { away, shards } => {
                self.tell(what.word(), told.clone(), 0);
                self.is_away.store(true, Ordering::Relaxed);
                let stopped = self.gateway().stop();
                self.comes_back(&told, stopped, *away, *shards, scope, ends);
            }
            What::FillDisk { lasts } => {
                self.tell(what.word(), told.clone(), 0);
                let filled = self.gateway().fill_disk().map(drop);
                if let Err(error) = filled {
                    self.failed(&told, &error);
                    return;
                }
                let then = clock::now() + *lasts;
                ends.push(scope.spawn(move || self.keeps_full(&told, then)));
            }
        }
    }

    /// Has the gateway's disk be full until then, whatever the gateway gives back meanwhile, and empties it.
    fn keeps_full(&self, told: &str, then: Instant) {
        let meter = self.gateway().meter().clone();
        let before = meter.figures();
        while clock::now() < then && !self.halt.wait_until(then.min(clock::now() + REFILL)) {
            if let Err(error) = self.gateway().fill_disk() {
                self.failed(told, &error);
                break;
            }
        }
        let felt = before.zip(meter.figures()).map(|(before, after)| {
            let since =
                |count: fn(&Counted) -> u64| count(&after.counted).saturating_sub(count(&before.counted));
            format!(
                ": {} failures of the store and {} reports meanwhile",
                since(|counted| counted.store_errors),
                since(|counted| counted.reports)
            )
        });
        // Emptied in any case: whoever looks at what is left wants to read it.
        let emptied = format!("the disk is emptied{}", felt.unwrap_or_default());
        self.tell("empty-disk", emptied, 0);
        if let Err(error) = self.gateway().empty_disk() {
            self.failed(told, &error);
        }
    }

    /// Asks the gateway for a deployment. What will be in it is told to the recorder before, as devices may know of it before the
    /// answer has come.
    fn deploys(
        &self,
        what: &What,
        cohort: usize,
        images: Option<Vec<ImageName>>,
        due: Instant,
        ask: impl FnOnce(&Api, &str) -> Result<Deployed, ApiError>,
    ) {
        let name = &self.scenario.cohorts[cohort].name;
        if let Some(images) = &images {
            self.recorder().asks(cohort, images, due);
        }
        let at = clock::now();
        match ask(&self.api, name) {
            Ok(deployed) => {
                let mut recorder = self.recorder();
                if images.is_none() {
                    recorder.asks(cohort, &deployed.images, due);
                }
                recorder.deployed(cohort, Some(deployed.sequence));
                let devices = recorder.in_cohort(cohort);
                drop(recorder);
                let images = show_images(&deployed.images);
                let told = format!("{} #{} {images} to {name}", what.word(), deployed.sequence);
                self.tell_at(at, what.word(), told, devices);
            }
            Err(error) => {
                if images.is_some() {
                    self.recorder().deployed(cohort, None);
                }
                let told = self.scenario.told(what);
                self.tell_at(at, what.word(), told.clone(), 0);
                self.failed(&told, &error);
            }
        }
    }

    fn orders(&self, what: &What, told: String, devices: &[u32], order: Order) {
        self.tell(what.word(), told.clone(), devices.len() as u64);
        let before = self.engines.counts().orders_refused;
        self.log().orders.push((told, before));
        self.engines.order(devices, order);
    }

    /// Starts the gateway again after a while.
    fn comes_back<'s>(
        &'s self,
        told: &str,
        gone: Result<(), GatewayError>,
        away: Duration,
        shards: Option<u16>,
        scope: &'s Scope<'s, '_>,
        ends: &mut Ends<'s>,
    ) {
        if let Err(error) = gone {
            self.failed(told, &error);
            return;
        }
        let (then, told) = (clock::now() + away, told.to_owned());
        ends.push(scope.spawn(move || {
            if self.halt.wait_until(then) {
                let failure = format!("{told}: the run ended before the gateway was back");
                self.log().failures.push(failure);
                return;
            }
            let mut gateway = self.gateway();
            let started = gateway.start_again(shards);
            self.is_away.store(started.is_err(), Ordering::Relaxed);
            drop(gateway);
            self.disturbs(clock::now());
            match started {
                Ok(()) => self.tell("start-gateway", "the gateway is back".to_owned(), 0),
                Err(error) => self.failed(&told, &error),
            }
        }));
    }

    /// Waits until the gateway is there and its disk is not full: what needs its API needs both, and two such events at once would
    /// undo each other. Tells if the run ended before.
    fn back(&self, ends: &mut Ends<'_>) -> Option<Ended> {
        loop {
            // One that panicked is seen by the scope.
            ends.retain(|end| !end.is_finished());
            if ends.is_empty() {
                return None;
            }
            if let Some(ended) = self.wait(None) {
                return Some(ended);
            }
        }
    }

    fn missed(&self, events: &[Event]) {
        let mut log = self.log();
        for event in events {
            let told = self.scenario.told(&event.what);
            log.failures
                .push(format!("{told} ({}) never came to happen", event.when));
        }
    }

    fn tell(&self, kind: &str, what: String, devices: u64) {
        self.tell_at(clock::now(), kind, what, devices);
    }

    fn tell_at(&self, at: Instant, kind: &str, what: String, devices: u64) {
        let at_s = at.saturating_duration_since(self.began).as_secs_f64();
        self.progress.event(at_s, &what);
        self.log().events.push(EventFacts {
            at_s,
            kind: kind.to_owned(),
            what,
            devices,
        });
    }

    fn failed(&self, told: &str, error: &dyn std::error::Error) {
        let failure = format!("{told}: {}", chain(error));
        self.progress.say(&format!("failed: {failure}"));
        self.log().failures.push(failure);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gateway(&self) -> MutexGuard<'_, Gateway> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    format!("{error}{causes}")
}

/// How often a disk is filled again that is to be full: a gateway that tidies up has room for some writes in between.
const REFILL: Duration = Duration::from_millis(100);
/// How often is looked whether something has come to hold.
const LOOK: Duration = Duration::from_millis(20);
/// A Zephyr device speaks when it has heard nothing for 30 s (`CONTRACT.md`, 1): only that, and some retransmissions, tell it that its
/// session is gone. Until then it believes to be connected.
const NOTICED: Duration = Duration::from_secs(35);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_whose_orders_were_refused_has_failed_with_their_number() {
        let mut log = Log {
            orders: vec![
                ("rebind of all".to_owned(), 0),
                ("reboot of a".to_owned(), 7),
                ("outage of b".to_owned(), 7),
            ],
            ..Log::default()
        };
        log.refused(9);
        assert_eq!(
            log.failures,
            [
                "rebind of all: 7 orders to devices were not carried out",
                "outage of b: 2 orders to devices were not carried out"
            ]
        );
    }
}
