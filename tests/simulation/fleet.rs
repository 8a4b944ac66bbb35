//! Devices of both ports against the gateway as it is, over links of every quality.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tessera::clock;
use tessera::transport::Time;
use tessera::virtual_device::{
    Cbor, ClientCredential, Ending, Event, Identity, Model, Port, Psk, Reason, VirtualDevice,
};

use crate::gateway::{Gateway, credentials};
use crate::link::{Datagram, Link, Weather};

#[test]
fn every_device_converges_over_a_good_link_without_losing_a_session_or_a_download() {
    for seed in 0..12 {
        let mut world = World::new(seed, 0);
        world.deploy_twice_and_roll_back();
        // Keepalives only, four times as long as one of the ports waits for them.
        let end = world.now + Duration::from_secs(120);
        world.run_until("idle", |world| world.now >= end);
        for seat in &world.seats {
            let is_loss = |event: &&Event| {
                matches!(
                    event,
                    Event::Disconnected(_)
                        | Event::RequestFailed
                        | Event::BlockFailed { .. }
                        | Event::UpdateFailed(_)
                )
            };
            assert_eq!(seat.seen.iter().find(is_loss), None, "seed {seed}, {seat:?}");
        }
    }
}

#[test]
fn every_device_converges_at_five_percent_loss_and_nothing_befalls_it_that_loss_does_not_explain() {
    for seed in 100..124 {
        World::new(seed, 5).deploy_twice_and_roll_back();
    }
}

#[test]
fn every_device_converges_at_twenty_percent_loss_and_nothing_befalls_it_that_loss_does_not_explain() {
    for seed in 200..212 {
        World::new(seed, 20).deploy_twice_and_roll_back();
    }
}

#[test]
fn a_restart_amid_downloads_costs_nobody_a_handshake() {
    for seed in 300..308 {
        let mut world = World::new(seed, 0);
        world.deploy("1.1.0");
        world.run_until("somebody downloads", |world| {
            world.seats.iter().any(|seat| seat.is_downloading())
        });
        world.restart();
        world.converge("1.1.0");
        for seat in &world.seats {
            let since = &seat.seen[seat.at_restart..];
            let endings = since
                .iter()
                .filter(|event| matches!(event, Event::Disconnected(_)));
            assert_eq!(endings.count(), 0, "seed {seed}, {seat:?}");
            let handshakes = since
                .iter()
                .filter(|event| matches!(event, Event::Established { .. }))
                .count();
            let reboots = since
                .iter()
                .filter(|event| matches!(event, Event::Rebooted { .. }));
            assert_eq!(handshakes, reboots.count(), "seed {seed}, {seat:?}");
        }
        // The observations are those of before, and so is what the devices know of Observe numbers.
        world.restart();
        world.deploy("1.2.0");
        world.converge("1.2.0");
    }
}

#[test]
fn a_restart_at_five_percent_loss_is_survived() {
    for seed in 400..408 {
        let mut world = World::new(seed, 5);
        world.deploy("1.1.0");
        world.run_until("somebody downloads", |world| {
            world.seats.iter().any(|seat| seat.is_downloading())
        });
        world.restart();
        world.converge("1.1.0");
    }
}

/// Devices, the gateway, and what is between them.
struct World {
    seed: u64,
    start: Instant,
    now: Instant,
    seats: Vec<Seat>,
    gateway: Gateway,
    link: Link,
    /// How long something may take.
    patience: Duration,
}

struct Seat {
    port: Port,
    device: VirtualDevice,
    address: SocketAddr,
    seen: Vec<Event>,
    /// How much had been seen when the gateway was restarted.
    at_restart: usize,
}

impl World {
    fn new(seed: u64, loss: u32) -> Self {
        println!("seed {seed}, {loss} % loss");
        let now = clock::now();
        let versions: Vec<(&str, Vec<u8>)> = ["1.0.0", "1.1.0", "1.2.0"]
            .into_iter()
            .enumerate()
            .map(|(index, version)| (version, artifact(seed + index as u64)))
            .collect();
        let time = Time {
            now,
            unix_ms: UNIX_MS,
        };
        let seats: Vec<Seat> = (0..DEVICES).map(|index| Seat::new(index, now, seed)).collect();
        let weather = Weather {
            loss,
            twice: 5,
            jitter: 20,
            stragglers: 1,
        };
        let mut world = Self {
            seed,
            start: now,
            now,
            gateway: Gateway::new(seats.len(), &versions, time, seed),
            seats,
            link: Link::new(weather, seed),
            patience: if loss == 0 { PATIENCE } else { PATIENCE_AT_LOSS },
        };
        world.deploy("1.0.0");
        world.run_until("everybody has been told of 1.0.0", |world| {
            let told = |seat: &Seat| seat.seen.contains(&Event::Manifest { sequence: Some(1) });
            world.seats.iter().all(told)
        });
        world
    }

    /// The second while the first is being downloaded.
    fn deploy_twice_and_roll_back(&mut self) {
        self.deploy("1.1.0");
        self.run_until("somebody downloads", |world| {
            world.seats.iter().any(|seat| seat.is_downloading())
        });
        self.deploy("1.2.0");
        self.converge("1.2.0");
        self.deploy("1.0.0");
        self.converge("1.0.0");
    }

    fn converge(&mut self, version: &str) {
        self.run_until("converged", |world| {
            world.seats.iter().all(|seat| seat.device.version() == version)
        });
        // The last report may be lost, and the next one comes with the next manifest.
        let index = (0..self.seats.len()).collect::<Vec<_>>();
        self.run_until("known", |world| {
            index
                .iter()
                .all(|index| world.gateway.reported(*index).as_deref() == Some(version))
        });
        for seat in &self.seats {
            seat.assert_unharmed(self.seed);
        }
    }

    fn deploy(&mut self, version: &str) {
        let time = self.time();
        self.gateway.deploy(time, version);
    }

    /// Two seconds in which nobody answers.
    fn restart(&mut self) {
        let end = self.now + Duration::from_secs(2);
        while let Some(at) = self.link.next()
            && at < end
        {
            self.link.arrived(end);
        }
        self.now = end;
        let time = self.time();
        self.gateway.kill_and_start(time);
        for seat in &mut self.seats {
            seat.at_restart = seat.seen.len();
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + self.patience;
        // Looking is dear, as it asks the store: every so many steps is enough.
        let mut steps = 0_u32;
        while !(steps.is_multiple_of(LOOK_EVERY) && done(self)) {
            steps += 1;
            self.step();
            assert!(
                self.now < deadline,
                "never {what}; seed {}, {:#?}",
                self.seed,
                self.seats
            );
        }
    }

    fn step(&mut self) {
        self.collect();
        let timers = self.seats.iter().filter_map(|seat| seat.device.poll_timeout());
        let next = timers
            .chain(self.link.next())
            .fold(self.gateway.poll_timeout(), Instant::min);
        self.now = self.now.max(next);
        let (now, time) = (self.now, self.time());
        match self.link.arrived(now) {
            Some(datagram) => {
                let Datagram {
                    device, mut bytes, ..
                } = datagram;
                let seat = &mut self.seats[device];
                if datagram.to_gateway {
                    self.gateway.handle_datagram(time, seat.address, &mut bytes);
                } else {
                    seat.device.handle_datagram(now, &mut bytes);
                }
            }
            None => {
                for seat in &mut self.seats {
                    if seat.device.poll_timeout().is_some_and(|at| at <= now) {
                        seat.device.handle_timeout(now);
                    }
                }
                self.gateway.handle_timeout(time);
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        let mut bytes = Vec::new();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            while seat.device.poll_transmit(&mut bytes) {
                let datagram = Datagram {
                    device: index,
                    to_gateway: true,
                    bytes: std::mem::take(&mut bytes),
                };
                self.link.send(self.now, datagram, false);
            }
            seat.seen.extend(std::iter::from_fn(|| seat.device.poll_event()));
        }
        while let Some((peer, bytes)) = self.gateway.poll_transmit() {
            let device = self.seats.iter().position(|seat| seat.address == peer).unwrap();
            // Two answers to one block that change places are two blocks to this port, and no gateway can help it: it
            // knows only the last message ID again. So towards it nothing overtakes.
            let in_order = self.seats[device].port == Port::Libcoap;
            let datagram = Datagram {
                device,
                to_gateway: false,
                bytes,
            };
            self.link.send(self.now, datagram, in_order);
        }
    }

    fn time(&self) -> Time {
        Time {
            now: self.now,
            unix_ms: UNIX_MS + (self.now - self.start).as_millis() as i64,
        }
    }
}

impl Seat {
    fn new(index: usize, now: Instant, seed: u64) -> Self {
        let port = Port::ALL[index % 2];
        let model = Model {
            // Both kinds of build write reports.
            cbor: if index < 2 { Cbor::Stock } else { Cbor::Canonical },
            ..Model::of(port)
        };
        let (identity, secret) = credentials(index);
        let device = VirtualDevice::new(
            Arc::new(model),
            ClientCredential::Psk {
                identity: Identity::new(identity.as_bytes()).unwrap(),
                key: Psk::new(secret.as_bytes()).unwrap(),
            },
            "1.0.0",
            now,
            seed * 100 + index as u64,
        );
        Self {
            port,
            device,
            address: SocketAddr::from(([198, 51, 100, 7], 20_000 + index as u16)),
            seen: Vec::new(),
            at_restart: 0,
        }
    }

    fn is_downloading(&self) -> bool {
        let last = self
            .seen
            .iter()
            .rev()
            .find(|event| **event != Event::Retransmitted);
        matches!(last, Some(Event::Progress { .. }))
    }

    /// Nothing has happened that only a mistake of the gateway could have brought about.
    fn assert_unharmed(&self, seed: u64) {
        let mut session_lost = false;
        for event in &self.seen {
            let harmless = match event {
                Event::Crashed
                | Event::RolledBack { .. }
                | Event::ManifestRejected(_)
                | Event::ObservationRefused(_) => false,
                // Silence for so long is possible where datagrams are lost. A goodbye or a reset is never that.
                Event::Disconnected(Ending::HandshakeFailed(why)) => *why == "timed_out",
                Event::Disconnected(Ending::HandshakeUnanswered) => true,
                Event::Disconnected(Ending::NoAnswer | Ending::Silence) => {
                    session_lost = true;
                    true
                }
                Event::Disconnected(
                    Ending::Reset | Ending::Closed | Ending::Malformed | Ending::Exhausted,
                ) => false,
                // A block that failed with its session is asked for again, and again, by the timer of this port.
                Event::UpdateFailed(Reason::IntegrityCheckFailure) => {
                    self.port == Port::Libcoap && session_lost
                }
                Event::UpdateFailed(_) => false,
                Event::Reported { code, .. } => code.is_success(),
                Event::Rebooted { .. } => {
                    session_lost = false;
                    true
                }
                Event::Established { .. }
                | Event::Connected
                | Event::Observing
                | Event::Manifest { .. }
                | Event::Progress { .. }
                | Event::Downloaded { .. }
                | Event::Retransmitted
                | Event::RequestFailed
                | Event::BlockFailed { .. } => true,
            };
            assert!(harmless, "seed {seed}: {event:?} befell {self:?}");
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told: Vec<&Event> = self
            .seen
            .iter()
            .filter(|event| !matches!(event, Event::Progress { .. }))
            .collect();
        write!(f, "{:?} at {}: {told:?}", self.port, self.device.version())
    }
}

/// Twelve blocks and a bit.
fn artifact(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; 12 * 1024 + 100];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

const DEVICES: usize = 4;
/// Much less than a day: the daily poll is no excuse for a push that did not work.
const PATIENCE: Duration = Duration::from_secs(600);
/// A registration whose every transmission is lost comes again with the daily poll.
const PATIENCE_AT_LOSS: Duration = Duration::from_secs(4 * 24 * 3600);
const LOOK_EVERY: u32 = 16;
const UNIX_MS: i64 = 1_800_000_000_000;
