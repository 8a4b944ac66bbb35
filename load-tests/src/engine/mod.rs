//! Devices at work: [`native`] ones on our client half, [`foreign`] ones on code that the gateway has no part in. Both take the
//! same [`Order`]s and tell the same [`Happened`].
//!
//! 1. The run makes a [`Seat`] (or a [`ForeignSeat`]) for each device, and one [`Wiring`] for all.
//! 2. An engine deals the seats out over its threads and hands back a [`Fleet`]: orders go in, figures come out.
//! 3. Each thread has a [`Desk`], where it finds its orders and leaves its figures; what happens to its devices goes through the
//!    wiring's channel.

pub mod foreign;
pub mod native;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tessera::virtual_device::{CipherSuite, Event, Port, Szx, VirtualDevice};
use tokio::sync::mpsc;

use crate::endpoint::Ground;
use crate::network::Profile;
use crate::scenario::Boots;

/// What happened to which device, and when.
#[derive(Clone, Debug)]
pub struct Happened {
    /// The device's place in the plan.
    pub device: u32,
    /// When: the moment the datagram arrived or the timer was due to be handled, not when this was counted.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// What the run has devices do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Another address and port from now on.
    Rebind,
    /// Off and on, without a word.
    Reboot,
    /// Nothing is carried, either way, for this long.
    Outage(Duration),
}

/// A device of the native engine.
#[derive(Debug)]
pub struct Seat {
    /// Its place in the plan.
    pub device: u32,
    /// The device, with the moment at which it is switched on.
    pub virtual_device: VirtualDevice,
    /// Its network.
    pub network: Arc<Profile>,
    /// Decides what the network does to its datagrams.
    pub network_seed: u64,
}

/// A device of the foreign engine.
#[derive(Clone, Debug)]
pub struct ForeignSeat {
    /// Its place in the plan.
    pub device: u32,
    /// What it proves itself by.
    pub credential: ForeignCredential,
    /// The suites it offers; never empty.
    pub suites: Vec<CipherSuite>,
    /// The port of the SDK that it behaves like.
    pub port: Port,
    /// Block size of its downloads.
    pub block_size: Szx,
    /// The package it updates.
    pub package: String,
    /// What it runs when it is switched on.
    pub version: String,
    /// By how much its own pauses are shortened.
    pub faster: u32,
    /// What becomes of it with each version that is not simply well.
    pub images: Arc<BTreeMap<String, Boots>>,
    /// When it is switched on.
    pub start: Instant,
    /// Decides all its random choices.
    pub seed: u64,
    /// Its network.
    pub network: Arc<Profile>,
    /// Decides what the network does to its datagrams.
    pub network_seed: u64,
}

/// What a foreign device proves itself by.
#[derive(Clone)]
pub enum ForeignCredential {
    /// A pre-shared key.
    Psk {
        /// The identity.
        identity: String,
        /// The secret, whose bytes are the key.
        secret: String,
    },
    /// A certificate.
    Certificate {
        /// The chain in DER, the device's own first.
        chain: Vec<Vec<u8>>,
        /// Its key in PKCS #8 DER.
        key: Vec<u8>,
    },
}

/// What an engine's devices have in common.
#[derive(Debug)]
pub struct Wiring {
    /// Where the gateway listens for devices.
    pub gateway: SocketAddr,
    /// Threads; at least one is started, and never more than there are devices.
    pub threads: usize,
    /// Where the devices' own addresses and ports come from.
    pub ground: Ground,
    /// Takes what happens, in batches. When it is full the engine waits and so falls behind; [`Fleet::lateness`] tells.
    pub happened: mpsc::Sender<Vec<Happened>>,
}

/// Devices at work; dropped, they fall silent.
#[derive(Debug)]
pub struct Fleet {
    hands: Vec<Hand>,
    /// The seat of each device, by its place in the plan; [`NOBODY`] for one that is not of this fleet.
    seats: Vec<u32>,
    remarks: Vec<String>,
}

/// One of a fleet's threads.
#[derive(Debug)]
pub struct Hand {
    /// What it shares with the fleet.
    pub desk: Arc<Desk>,
    /// The thread. It ends soon after [`Desk::take`] has told it to.
    pub thread: JoinHandle<()>,
}

/// Where a thread finds its orders and leaves its figures.
pub struct Desk {
    inbox: Mutex<Inbox>,
    figures: Mutex<Figures>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Inbox {
    orders: Vec<(u32, Order)>,
    refused: u64,
    stop: bool,
}

/// What a thread has counted since its start.
#[derive(Debug)]
pub struct Figures {
    /// Datagrams and the like.
    pub counts: EngineCounts,
    /// How late the thread was, in microseconds: see [`Fleet::lateness`].
    pub lateness: Histogram<u64>,
}

/// What an engine counts. Datagrams are counted where this process meets the kernel: a datagram that a device wrote and the
/// simulated network lost is in `lost_up` and not in `datagrams_sent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Datagrams given to the kernel.
    pub datagrams_sent: u64,
    /// Datagrams taken from the kernel that came from the gateway to an endpoint that is some device's.
    pub datagrams_received: u64,
    /// Bytes of those sent, without headers of UDP and IP.
    pub bytes_sent: u64,
    /// Bytes of those received.
    pub bytes_received: u64,
    /// Datagrams from a device that the simulated network did not carry: lost, its queue full, or an outage.
    pub lost_up: u64,
    /// The same of those to a device.
    pub lost_down: u64,
    /// Datagrams that the simulated network carried twice.
    pub duplicated: u64,
    /// Datagrams that the kernel refused to send. They count as lost by the real network.
    pub send_errors: u64,
    /// Datagrams from somebody who is not the gateway; dropped.
    pub unknown_peer: u64,
    /// Datagrams to an endpoint that no device has, or has any more: what a NAT drops.
    pub to_nobody: u64,
    /// Datagrams that the kernel dropped because this process did not read them in time. Those are no property of the gateway.
    pub kernel_dropped: u64,
    /// Orders that were not carried out: more than [`ORDERS_MAX`] of them waited, or no endpoint was left to move to.
    pub orders_refused: u64,
}

impl Fleet {
    /// A fleet of these threads. Seat n, whose device is the n-th of `devices`, has been dealt to the thread n modulo their
    /// number, and is the (n divided by their number)-th there. `remarks` is for whoever reads the results.
    #[must_use]
    pub fn new(hands: Vec<Hand>, devices: &[u32], remarks: Vec<String>) -> Self {
        let places = devices.iter().max().map_or(0, |last| *last as usize + 1);
        let mut seats = vec![NOBODY; places];
        for (seat, device) in (0..NOBODY).zip(devices) {
            seats[*device as usize] = seat;
        }
        Self {
            hands,
            seats,
            remarks,
        }
    }

    /// Has a device do something, as soon as its thread comes to it. False where the device is not of this fleet.
    pub fn order(&self, device: u32, order: Order) -> bool {
        let seat = self.seats.get(device as usize).copied().unwrap_or(NOBODY);
        let threads = self.hands.len() as u32;
        if seat == NOBODY || threads == 0 {
            return false;
        }
        self.hands[(seat % threads) as usize]
            .desk
            .put(seat / threads, order);
        true
    }

    /// What has been counted so far. Each thread tells what it counted up to the end of its last turn.
    #[must_use]
    pub fn counts(&self) -> EngineCounts {
        let mut sum = EngineCounts::default();
        for Hand { desk, .. } in &self.hands {
            sum.add(&desk.figures().counts);
            sum.orders_refused += desk.inbox().refused;
        }
        sum
    }

    /// How late the engine has been with whatever had its time, in microseconds: a device's planned start, its timers, a
    /// datagram that the simulated network delayed, one that waited in a socket. Each from when it was due to when it was
    /// handled. What is measured of the gateway is no better than this.
    #[must_use]
    pub fn lateness(&self) -> Histogram<u64> {
        let mut sum = lateness();
        for Hand { desk, .. } in &self.hands {
            sum.add(&desk.figures().lateness)
                .expect("all of them have the same bounds");
        }
        sum
    }

    /// What whoever reads the results should know of this machine.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for Hand { desk, .. } in &self.hands {
            desk.inbox().stop = true;
            (desk.wake)();
        }
        for Hand { thread, .. } in self.hands.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Desk {
    /// A desk whose thread is woken by `wake`; that must not block, and may come at any time.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            inbox: Mutex::default(),
            figures: Mutex::new(Figures {
                counts: EngineCounts::default(),
                lateness: lateness(),
            }),
            wake: Box::new(wake),
        }
    }

    /// For the thread: moves its orders, oldest first, to the end of `orders`, each with the device's place in the thread.
    /// False when the fleet was dropped and the thread is to end.
    #[must_use]
    pub fn take(&self, orders: &mut Vec<(u32, Order)>) -> bool {
        let mut inbox = self.inbox();
        orders.append(&mut inbox.orders);
        !inbox.stop
    }

    /// For the thread: what it has counted. Not to be held for long, as whoever asks for the counts waits.
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        // Numbers are never half-written.
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, place: u32, order: Order) {
        let mut inbox = self.inbox();
        if inbox.orders.len() == ORDERS_MAX {
            inbox.refused += 1;
            return;
        }
        inbox.orders.push((place, order));
        let first = inbox.orders.len() == 1;
        drop(inbox);
        if first {
            (self.wake)();
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    /// Counts something that was handled so long after it was due.
    pub fn late(&mut self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.lateness.saturating_record(micros);
    }
}

impl EngineCounts {
    /// Adds another thread's, or another engine's.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.named().into_iter().zip(other.named()) {
            *sum += *more;
        }
    }

    /// Each by its name in a result.
    pub fn named(&mut self) -> [(&'static str, &mut u64); 12] {
        // Taken apart, so that nothing that is counted can be left out.
        let Self {
            datagrams_sent,
            datagrams_received,
            bytes_sent,
            bytes_received,
            lost_up,
            lost_down,
            duplicated,
            send_errors,
            unknown_peer,
            to_nobody,
            kernel_dropped,
            orders_refused,
        } = self;
        [
            ("datagrams_sent", datagrams_sent),
            ("datagrams_received", datagrams_received),
            ("bytes_sent", bytes_sent),
            ("bytes_received", bytes_received),
            ("lost_up", lost_up),
            ("lost_down", lost_down),
            ("duplicated", duplicated),
            ("send_errors", send_errors),
            ("unknown_peer", unknown_peer),
            ("to_nobody", to_nobody),
            ("kernel_dropped", kernel_dropped),
            ("orders_refused", orders_refused),
        ]
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl fmt::Debug for ForeignCredential {
    /// Keys are not written down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psk { identity, .. } => f
                .debug_struct("Psk")
                .field("identity", identity)
                .finish_non_exhaustive(),
            Self::Certificate { chain, .. } => f
                .debug_struct("Certificate")
                .field("chain", &chain.len())
                .finish_non_exhaustive(),
        }
    }
}

/// An empty histogram of lateness: whoever merges some needs the same bounds.
fn lateness() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENESS_MAX_US, 3).expect("the bounds are in order")
}

/// Seats are numbered below this.
const NOBODY: u32 = u32::MAX;
/// Orders that may wait for one thread, those beyond are refused and counted: some for each of a million devices.
pub const ORDERS_MAX: usize = 4 << 20;
/// Two months: twice the longest run, so that no bound of an expectation is above it. What is later still counts as that.
const LATENESS_MAX_US: u64 = 60 * 24 * 3_600_000_000;
