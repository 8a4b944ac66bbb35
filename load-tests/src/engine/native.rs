//! Devices on our client half: hundreds of thousands of them on a few threads, none with a task or a socket to itself.
//!
//! Each thread owns its devices, their endpoints ([`Sockets`]) and their networks ([`Link`]), and takes turns ([`Worker::turn`]).
//! In each it does a bounded amount of each of these, so that none can keep the others waiting for long:
//!
//! 1. orders
//! 2. datagrams that the simulated network has carried far enough
//! 3. timers, the planned starts among them
//! 4. datagrams in the sockets
//! 5. tell what happened, and what was counted
//!
//! # What is late
//!
//! The load is open: a device is switched on when the plan says, whatever the gateway does about those before it. When this
//! process comes to something later than it was due, then how much later is recorded ([`Fleet::lateness`]), and it is not
//! hidden: [`Happened::at`] is when a datagram arrived (the kernel's time stamp, or the simulated network's) or a timer was due.
//! The device itself is given the present, because its protocols go by the time at which it really does something; what it
//! measures is told in the event (`took`) and runs until it was handled. A handshake counts from when it was due, a planned
//! start or a pause's end (`Established { took }`): who was made to wait has waited, and the worst times are not left out just
//! when there is most to do.
//!
//! # The same twice
//!
//! What a device decides depends on its own seed, on what it receives and when; what its network does with its n-th datagram on
//! the network's seed, the direction and n. Devices share nothing, so it does not matter which thread has them or how many
//! there are. What scheduling can still change: the moments at which the gateway and this process do things, and with them the
//! order of what happens to different devices, the race of an answer with a retransmission, and so, from there on, which
//! datagram is a device's n-th. On the loopback endpoints are given out in the order of the seats, which the threads count in
//! turns, and their ports by the kernel.
//!
//! # What it takes
//!
//! 196 bytes (held by a test) for each device besides the [`VirtualDevice`] itself, in tables that do not grow but for those
//! of endpoints that were given up (4 bytes each), and some more for each datagram on its way through the simulated network. No
//! device has a file descriptor on the loopback.
//!
//! Measured, devices included, with one thread: 100 000 connected devices 3.9 kB of resident memory each, and 0.35 ms of CPU for
//! a handshake over PSK, three reports and an observation, without optimisation; 1 000 000 that find no gateway 1.7 kB each.

use std::cmp::{Ordering, Reverse};
use std::collections::VecDeque;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tessera::clock;
use tessera::coap::Wheel;
use tessera::virtual_device::VirtualDevice;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Desk, EngineCounts, Fleet, Hand, Happened, Order, Seat, Wiring};
use crate::endpoint::{Arrival, Batch, EndpointError, Endpoints, Sockets};
use crate::network::{Carried, Link};

/// Starts the devices, dealt out over the threads.
///
/// # Errors
/// When there are not enough endpoints, or the kernel gives no socket or no thread.
pub fn start(seats: Vec<Seat>, wiring: Wiring) -> io::Result<Fleet> {
    let threads = wiring.threads.clamp(1, seats.len().max(1));
    let devices: Vec<u32> = seats.iter().map(|seat| seat.device).collect();
    let mut hands: Vec<Vec<Place>> = (0..threads)
        .map(|_| Vec::with_capacity(seats.len().div_ceil(threads)))
        .collect();
    let endpoints = Endpoints::for_many(&wiring.ground, wiring.gateway, seats.len())?;
    for (index, seat) in seats.into_iter().enumerate() {
        hands[index % threads].push(Place::new(seat));
    }
    // All sockets are there before the first thread is, so that an error leaves nothing running.
    let sockets = (0..threads).map(|thread| {
        let devices = u32::try_from(hands[thread].len()).map_err(io::Error::other)?;
        Ok(endpoints.sockets(thread, threads, devices)?)
    });
    let sockets: Vec<Sockets> = sockets.collect::<io::Result<_>>()?;
    let remarks = sockets.first().and_then(Sockets::small_buffer).map(|(granted, asked)| {
        format!(
            "a socket may hold {granted} bytes and not {asked} (net.core.rmem_max): a burst may be lost in this machine, see kernel_dropped"
        )
    });
    let mut started = Vec::new();
    for (places, sockets) in hands.into_iter().zip(sockets) {
        let waker = sockets.waker();
        let desk = Arc::new(Desk::new(move || waker.wake()));
        let (happened, for_thread) = (wiring.happened.clone(), Arc::clone(&desk));
        let work = move || Worker::new(places, sockets, for_thread, happened, Box::new(clock::now)).run();
        let spawned = std::thread::Builder::new()
            .name("native devices".to_owned())
            .spawn(work);
        match spawned {
            Ok(thread) => started.push(Hand { desk, thread }),
            Err(error) => {
                drop(Fleet::new(started, &[], Vec::new()));
                return Err(error);
            }
        }
    }
    Ok(Fleet::new(started, &devices, remarks.into_iter().collect()))
}

/// One thread's work.
struct Worker {
    places: Vec<Place>,
    sockets: Sockets,
    batch: Batch,
    desk: Arc<Desk>,
    happened: mpsc::Sender<Vec<Happened>>,
    clock: Clock,
    /// Orders that have been taken from the desk.
    orders: VecDeque<(u32, Order)>,
    wheel: Wheel<Alarm>,
    /// Alarms whose time has come, first due first.
    due: VecDeque<Alarm>,
    /// Datagrams in the simulated network, first due first.
    flights: BinaryHeap<Reverse<Flight>>,
    /// Numbers flights, so that those due at the same moment keep their order.
    sequence: u64,
    told: Vec<Happened>,
    counts: EngineCounts,
    late: Vec<Duration>,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
}

/// Reads the time; an argument, so that tests need not wait.
type Clock = Box<dyn Fn() -> Instant + Send>;

/// A device's place in its thread.
struct Place {
    virtual_device: VirtualDevice,
    link: Link,
    /// When it wants to be woken.
    wake: Option<Instant>,
    /// When the alarm that counts goes off: no later than `wake`.
    armed: Option<Instant>,
    /// Of the alarm that counts; the wheel gives back the others too.
    alarm: u32,
    device: u32,
}

/// An entry of the wheel.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    place: u32,
    alarm: u32,
}

/// A datagram in the simulated network.
struct Flight {
    due: Instant,
    sequence: u64,
    place: u32,
    way: Way,
    bytes: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Place {
    fn new(seat: Seat) -> Self {
        Self {
            link: Link::new(&seat.network, seat.network_seed),
            virtual_device: seat.virtual_device,
            wake: None,
            armed: None,
            alarm: 0,
            device: seat.device,
        }
    }
}

impl Worker {
    fn new(
        places: Vec<Place>,
        sockets: Sockets,
        desk: Arc<Desk>,
        happened: mpsc::Sender<Vec<Happened>>,
        clock: Clock,
    ) -> Self {
        let mut worker = Self {
            batch: Batch::new(&sockets),
            wheel: Wheel::new(clock()),
            places,
            sockets,
            desk,
            happened,
            clock,
            orders: VecDeque::new(),
            due: VecDeque::new(),
            flights: BinaryHeap::new(),
            sequence: 0,
            told: Vec::new(),
            counts: EngineCounts::default(),
            late: Vec::new(),
            outbox: Vec::new(),
            inbox: Vec::new(),
        };
        for place in 0..worker.places.len() as u32 {
            worker.arm(place);
        }
        worker
    }

    fn run(mut self) {
        while self.turn() {
            let pause = self.pause();
            self.sockets.wait(pause);
        }
    }

    /// Does some of everything that there is to do. False when the fleet was dropped.
    fn turn(&mut self) -> bool {
        let mut orders = Vec::new();
        let goes_on = self.desk.take(&mut orders);
        self.orders.extend(orders);
        self.obey();
        self.land();
        self.ring();
        self.read();
        self.publish();
        goes_on && self.tell()
    }

    /// How long there is nothing to do, if nothing comes; `None` for ever.
    fn pause(&self) -> Option<Duration> {
        if !self.orders.is_empty() || !self.due.is_empty() {
            return Some(Duration::ZERO);
        }
        let flight = self.flights.peek().map(|Reverse(flight)| flight.due);
        let next = [flight, self.wheel.next_deadline()].into_iter().flatten().min()?;
        Some(next.saturating_duration_since((self.clock)()))
    }

    fn obey(&mut self) {
        for _ in 0..PER_TURN {
            let Some((place, order)) = self.orders.pop_front() else {
                return;
            };
            let now = (self.clock)();
            match order {
                // What the simulated network has already is past the NAT, or leaves it at the new endpoint.
                Order::Rebind => {
                    if !self.sockets.rebind(place) {
                        self.counts.orders_refused += 1;
                    }
                }
                Order::Reboot => {
                    self.places[place as usize].virtual_device.reboot(now);
                    self.serve(place, now);
                }
                Order::Outage(lasts) => self.places[place as usize].link.outage(now + lasts),
            }
        }
    }

    fn land(&mut self) {
        for _ in 0..PER_TURN {
            let now = (self.clock)();
            let Some(next) = self.flights.peek_mut().filter(|next| next.0.due <= now) else {
                return;
            };
            let Reverse(mut flight) = PeekMut::pop(next);
            self.late.push(now - flight.due);
            match flight.way {
                Way::Up => self.send(flight.place, &flight.bytes),
                Way::Down => self.hand(flight.place, flight.due, now, &mut flight.bytes),
            }
        }
    }

    fn ring(&mut self) {
        for _ in 0..PER_TURN {
            let now = (self.clock)();
            if self.due.is_empty() {
                let mut due = Vec::new();
                self.wheel.expire(now, &mut due);
                // Those of the same millisecond come in any order.
                due.sort_unstable_by_key(|Alarm { place, .. }| (self.places[*place as usize].wake, *place));
                self.due.extend(due);
            }
            let Some(alarm) = self.due.pop_front() else { return };
            let place = &mut self.places[alarm.place as usize];
            if place.alarm != alarm.alarm {
                continue;
            }
            place.armed = None;
            match place.wake {
                Some(wake) if wake <= now => {
                    self.late.push(now - wake);
                    place.virtual_device.handle_timeout(now);
                    self.serve(alarm.place, wake);
                }
                // It was put off.
                Some(_) | None => self.arm(alarm.place),
            }
        }
    }

    fn read(&mut self) {
        loop {
            let now = (self.clock)();
            let Some(stray) = self.sockets.receive(now, &mut self.batch) else {
                return;
            };
            self.counts.unknown_peer += stray.unknown_peer;
            self.counts.to_nobody += stray.to_nobody;
            self.counts.kernel_dropped += stray.kernel_dropped;
            // Devices decrypt in place.
            let mut datagram = std::mem::take(&mut self.inbox);
            for index in 0..self.batch.arrivals().len() {
                let Arrival { place, at, .. } = self.batch.arrivals()[index];
                datagram.clear();
                datagram.extend_from_slice(self.batch.bytes(index));
                self.receive(place, at, &mut datagram);
            }
            self.inbox = datagram;
        }
    }

    /// A datagram has come out of the real network and goes into the simulated one.
    fn receive(&mut self, place: u32, at: Instant, datagram: &mut [u8]) {
        self.counts.datagrams_received += 1;
        self.counts.bytes_received += datagram.len() as u64;
        let carried = self.places[place as usize].link.down(at, datagram.len());
        match carried {
            Carried::Once(due) => self.arrive(due, place, datagram),
            Carried::Twice(first, second) => {
                self.counts.duplicated += 1;
                self.arrive(first, place, &mut datagram.to_vec());
                self.arrive(second, place, datagram);
            }
            Carried::Not(_) => self.counts.lost_down += 1,
        }
    }

    /// A datagram to a device is in the simulated network until `due`, which may have passed.
    fn arrive(&mut self, due: Instant, place: u32, datagram: &mut [u8]) {
        let now = (self.clock)();
        if due <= now {
            self.late.push(now - due);
            self.hand(place, due, now, datagram);
        } else {
            self.depart(due, place, Way::Down, datagram);
        }
    }

    /// A datagram has come all the way.
    fn hand(&mut self, place: u32, at: Instant, now: Instant, datagram: &mut [u8]) {
        self.places[place as usize]
            .virtual_device
            .handle_datagram(now, datagram);
        self.serve(place, at);
    }

    /// Takes out of a device what it has to send and to tell. `at` is when that which made it do so was due.
    fn serve(&mut self, place: u32, at: Instant) {
        let mut outbox = std::mem::take(&mut self.outbox);
        loop {
            outbox.clear();
            let Place {
                virtual_device, link, ..
            } = &mut self.places[place as usize];
            if !virtual_device.poll_transmit(&mut outbox) {
                break;
            }
            let now = (self.clock)();
            let carried = link.up(now, outbox.len());
            match carried {
                Carried::Once(_) => {}
                Carried::Twice(..) => self.counts.duplicated += 1,
                Carried::Not(_) => self.counts.lost_up += 1,
            }
            for due in carried {
                if due <= now {
                    self.send(place, &outbox);
                } else {
                    self.depart(due, place, Way::Up, &outbox);
                }
            }
        }
        self.outbox = outbox;
        let Place {
            virtual_device,
            device,
            ..
        } = &mut self.places[place as usize];
        while let Some(event) = virtual_device.poll_event() {
            self.told.push(Happened {
                device: *device,
                at,
                event,
            });
        }
        self.arm(place);
    }

    /// A datagram sets out through the simulated network.
    fn depart(&mut self, due: Instant, place: u32, way: Way, datagram: &[u8]) {
        if self.flights.len() == FLIGHTS_MAX {
            match way {
                Way::Up => self.counts.lost_up += 1,
                Way::Down => self.counts.lost_down += 1,
            }
            return;
        }
        self.sequence += 1;
        self.flights.push(Reverse(Flight {
            due,
            sequence: self.sequence,
            place,
            way,
            bytes: datagram.into(),
        }));
    }

    /// A datagram goes out into the real network.
    fn send(&mut self, place: u32, datagram: &[u8]) {
        match self.sockets.send(place, datagram) {
            Ok(()) => {
                self.counts.datagrams_sent += 1;
                self.counts.bytes_sent += datagram.len() as u64;
            }
            Err(_) => self.counts.send_errors += 1,
        }
    }

    /// Sees to it that an alarm goes off when the device wants to be woken, or before.
    fn arm(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        place.wake = place.virtual_device.poll_timeout();
        let Some(wake) = place.wake else { return };
        if place.armed.is_some_and(|armed| armed <= wake) {
            return;
        }
        place.armed = Some(wake);
        place.alarm = place.alarm.wrapping_add(1);
        let alarm = Alarm {
            place: index,
            alarm: place.alarm,
        };
        self.wheel.insert(wake, alarm);
    }

    fn publish(&mut self) {
        let mut figures = self.desk.figures();
        figures.counts = self.counts;
        for late in self.late.drain(..) {
            figures.late(late);
        }
    }

    /// Tells what happened. While nobody takes it everything else waits, and is late. False when the fleet was dropped.
    fn tell(&mut self) -> bool {
        if self.told.is_empty() {
            return true;
        }
        let mut batch = std::mem::take(&mut self.told);
        loop {
            match self.happened.try_send(batch) {
                // Without a listener the devices still go on.
                Ok(()) | Err(TrySendError::Closed(_)) => return true,
                Err(TrySendError::Full(back)) => batch = back,
            }
            let mut orders = Vec::new();
            if !self.desk.take(&mut orders) {
                return false;
            }
            self.orders.extend(orders);
            self.sockets.pause(FULL_PAUSE);
        }
    }
}

impl From<EndpointError> for io::Error {
    fn from(error: EndpointError) -> Self {
        Self::other(error)
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Flight {}

/// Orders, datagrams that landed, and timers that are handled in a turn, each: some milliseconds of work, most of a
/// handshake being arithmetic.
const PER_TURN: usize = 256;
/// Datagrams in a thread's simulated networks. One more is lost, and counted as such: a gigabyte is enough.
const FLIGHTS_MAX: usize = 1 << 20;
/// How long to wait for whoever takes what happened, when nobody does. Nothing tells that there is room.
const FULL_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "native_tests.rs"]
mod tests;
