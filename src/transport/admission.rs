//! Who may start a handshake: a cap on those in flight, and above half of it a share for each source network. The same of those
//! that fail, by the second.
//!
//! A device gives a handshake up after three seconds (`CONTRACT.md` rule 3), so a reconnect storm converges only when few
//! are served at a time, and those quickly. A fleet behind one carrier address is not held to the share while there is room.
//!
//! Seats bound those who stay silent. Who sends a hello with a good cookie and then something that ends the handshake has his
//! seat back at once, and has cost us a signature: [`Failures`] bounds those. A handshake that succeeds counts for nothing there,
//! nor does one that times out, so that a fleet may come through one address as fast as it can. Who shares his network with somebody
//! who means harm gets through as often as his hellos come when there is room, and repeats them until then.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Counts one shard's handshakes in flight.
#[derive(Debug)]
pub struct Seats {
    cap: usize,
    taken: usize,
    by_network: HashMap<Network, usize>,
}

/// Counts one shard's handshakes that ended because of what their peers sent, as time that has to pass until they no longer count.
#[derive(Debug)]
pub struct Failures {
    all: Instant,
    by_network: HashMap<Network, Instant>,
}

/// A source network: an IPv4 /24 or an IPv6 /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// The first three bytes.
    V4([u8; 3]),
    /// The first six bytes.
    V6([u8; 6]),
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeat {
    /// All are taken.
    Full,
    /// More than half are taken, and this network has its share.
    NetworkFull,
}

impl Seats {
    /// Seats for `cap` handshakes, at least one.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self {
            cap: cap.max(1),
            taken: 0,
            by_network: HashMap::new(),
        }
    }

    /// Takes a seat for somebody from `address`; give it back with [`Self::leave`].
    ///
    /// # Errors
    /// When there is none for that address.
    pub fn take(&mut self, address: IpAddr) -> Result<Network, NoSeat> {
        if self.taken >= self.cap {
            return Err(NoSeat::Full);
        }
        let network = Network::of(address);
        let share = (self.cap / NETWORK_SHARE).max(1);
        let held = self.by_network.get(&network).copied().unwrap_or(0);
        if self.taken * 2 >= self.cap && held >= share {
            return Err(NoSeat::NetworkFull);
        }
        self.taken += 1;
        self.by_network.insert(network, held + 1);
        Ok(network)
    }

    /// Gives a seat back.
    pub fn leave(&mut self, network: Network) {
        self.taken = self.taken.saturating_sub(1);
        match self.by_network.get_mut(&network) {
            Some(held) if *held > 1 => *held -= 1,
            Some(_) | None => {
                self.by_network.remove(&network);
            }
        }
    }

    /// Handshakes in flight.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken
    }
}

impl Failures {
    /// None yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            all: now,
            by_network: HashMap::new(),
        }
    }

    /// A handshake of that network has failed.
    pub fn count(&mut self, network: Network, now: Instant) {
        // No more than a second has room for: very many networks, each within its share, would be made up for by those who
        // fail long after them.
        self.all = (self.all.max(now) + FAILURE).min(now + SECOND);
        if self.by_network.len() >= FAILING_NETWORKS_MAX {
            self.by_network.retain(|_, until| *until > now);
        }
        // Where there are that many, each has failed a few times at most, and is refused nothing anyway.
        if self.by_network.len() < FAILING_NETWORKS_MAX || self.by_network.contains_key(&network) {
            let until = self.by_network.entry(network).or_insert(now);
            *until = (*until).max(now) + FAILURE * NETWORK_SHARE as u32;
        }
    }

    /// Whether nobody from `address` may start a handshake for now: half of all failures that a second has room for are there, and
    /// its network has had its share.
    #[must_use]
    pub fn are_too_many(&self, address: IpAddr, now: Instant) -> bool {
        self.all.saturating_duration_since(now) * 2 >= SECOND
            && self
                .by_network
                .get(&Network::of(address))
                .is_some_and(|until| until.saturating_duration_since(now) >= SECOND)
    }
}

impl Network {
    /// The network an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// One network's share of the seats once half are taken: an eighth. A guess: eight hostile networks at least are needed
/// to keep everybody else out.
const NETWORK_SHARE: usize = 8;
/// What a failure takes of a second: 500 fit, for which the shard needs some 0.2 s at 0.4 ms of public-key operations each. A
/// fleet of 10 000 devices with certificates that nobody believes, each of which tries every 30 s, has 333.
const FAILURE: Duration = Duration::from_millis(2);
const SECOND: Duration = Duration::from_secs(1);
/// Networks that failures are counted of, some 40 bytes each. A network's first failure is forgotten after 16 ms.
const FAILING_NETWORKS_MAX: usize = 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_network_may_fill_half_and_no_more() {
        let mut seats = Seats::new(16);
        let carrier: IpAddr = "192.0.2.7".parse().unwrap();
        for _ in 0..8 {
            seats.take(carrier).unwrap();
        }
        assert_eq!(
            seats.take("192.0.2.200".parse().unwrap()),
            Err(NoSeat::NetworkFull)
        );
        seats.take("198.51.100.1".parse().unwrap()).unwrap();
        seats.take("198.51.100.2".parse().unwrap()).unwrap();
        assert_eq!(
            seats.take("198.51.100.3".parse().unwrap()),
            Err(NoSeat::NetworkFull)
        );
    }

    #[test]
    fn the_cap_holds_for_everybody_and_a_seat_given_back_is_free() {
        let mut seats = Seats::new(8);
        let addresses: Vec<IpAddr> = (0..8)
            .map(|n| format!("2001:db8:{n}::1").parse().unwrap())
            .collect();
        let networks: Vec<_> = addresses
            .iter()
            .map(|address| seats.take(*address).unwrap())
            .collect();
        assert_eq!(seats.take("2001:db8:ff::1".parse().unwrap()), Err(NoSeat::Full));
        seats.leave(networks[3]);
        assert_eq!(seats.taken(), 7);
        seats.take("2001:db8:ff::1".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_mapped_address_is_of_its_ipv4_network() {
        assert_eq!(
            Network::of("::ffff:192.0.2.7".parse().unwrap()),
            Network::of("192.0.2.200".parse().unwrap())
        );
        assert_ne!(
            Network::of("2001:db8:1::".parse().unwrap()),
            Network::of("2001:db8:2::".parse().unwrap())
        );
    }

    /// How many handshakes of `networks` networks are let in, and fail at once, in ten seconds in which each tries a thousand
    /// times a second.
    fn admitted(networks: u8) -> u32 {
        let start = Instant::now();
        let mut failures = Failures::new(start);
        let mut admitted = 0;
        for tick in 0..10_000 {
            let now = start + tick * Duration::from_millis(1);
            for network in 0..networks {
                let address = IpAddr::from([192, 0, network, 7]);
                if !failures.are_too_many(address, now) {
                    failures.count(Network::of(address), now);
                    admitted += 1;
                }
            }
            assert!(!failures.are_too_many("198.51.100.1".parse().unwrap(), now));
        }
        admitted
    }

    #[test]
    fn a_network_that_fails_without_end_has_all_that_there_is_and_beside_others_an_eighth() {
        // What is left of the burst that half a second is.
        let (alone, eight, many) = (admitted(1), admitted(8), admitted(100));
        assert!((5000..5260).contains(&alone), "{alone}");
        assert!((5000..6000).contains(&eight), "{eight}");
        let share = 500 / 8;
        assert!((10 * share..12 * share).contains(&(many / 100)), "{many}");
    }

    #[test]
    fn a_few_failures_and_failures_now_and_then_keep_nobody_out() {
        let start = Instant::now();
        let mut failures = Failures::new(start);
        let carrier: IpAddr = "192.0.2.7".parse().unwrap();
        for _ in 0..249 {
            failures.count(Network::of(carrier), start);
            assert!(!failures.are_too_many(carrier, start));
        }
        failures.count(Network::of(carrier), start);
        assert!(failures.are_too_many(carrier, start));
        assert!(!failures.are_too_many("198.51.100.1".parse().unwrap(), start));
        // 333 a second.
        let mut now = start + SECOND;
        for _ in 0..3330 {
            failures.count(Network::of(carrier), now);
            assert!(!failures.are_too_many(carrier, now));
            now += Duration::from_millis(3);
        }
    }

    #[test]
    fn a_second_after_a_flood_from_everywhere_a_network_that_fails_alone_has_all_that_there_is_again() {
        let start = Instant::now();
        let mut failures = Failures::new(start);
        for flood in 0..100_000_u32 {
            let now = start + flood * Duration::from_micros(100);
            failures.count(Network::of(IpAddr::from([192, 0, (flood % 250) as u8, 7])), now);
        }
        let later = start + Duration::from_secs(11);
        let carrier: IpAddr = "198.51.100.1".parse().unwrap();
        for _ in 0..249 {
            assert!(!failures.are_too_many(carrier, later));
            failures.count(Network::of(carrier), later);
        }
    }

    #[test]
    fn networks_that_failed_are_forgotten_and_bounded() {
        let start = Instant::now();
        let mut failures = Failures::new(start);
        let network = |number: u32| {
            let [_, a, b, c] = number.to_be_bytes();
            Network::of(IpAddr::from([a, b, c, 1]))
        };
        for number in 0..5000 {
            failures.count(network(number), start);
        }
        assert_eq!(failures.by_network.len(), FAILING_NETWORKS_MAX);
        failures.count(network(9999), start + SECOND);
        assert_eq!(failures.by_network.len(), 1);
    }

    #[test]
    fn an_empty_table_remembers_no_network() {
        let mut seats = Seats::new(4);
        let network = seats.take("192.0.2.7".parse().unwrap()).unwrap();
        seats.leave(network);
        assert!(seats.by_network.is_empty());
    }
}
