//! Who may start a handshake: a cap on those in flight, and above half of it a share for each source network.
//!
//! A device gives a handshake up after three seconds (`CONTRACT.md` rule 3), so a reconnect storm converges only when few
//! are served at a time, and those quickly. A fleet behind one carrier address is not held to the share while there is room.

use std::collections::HashMap;
use std::net::IpAddr;

/// Counts one shard's handshakes in flight.
#[derive(Debug)]
pub struct Seats {
    cap: usize,
    taken: usize,
    by_network: HashMap<Network, usize>,
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

    #[test]
    fn an_empty_table_remembers_no_network() {
        let mut seats = Seats::new(4);
        let network = seats.take("192.0.2.7".parse().unwrap()).unwrap();
        seats.leave(network);
        assert!(seats.by_network.is_empty());
    }
}
