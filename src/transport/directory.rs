//! What the shards know of each other: which shard holds a device's session, and which one an address.
//!
//! Written when a session begins or ends, read on a push or on a record from an address unknown to the shard that got it.
//! Never touched for a datagram of a session that its own shard knows.

use std::net::SocketAddr;

use dashmap::{DashMap, Entry};

use super::slots::PeerId;

/// Shared by all shards.
#[derive(Debug, Default)]
pub struct Directory {
    devices: DashMap<(u64, Kind), Session>,
    addresses: DashMap<SocketAddr, Place>,
}

/// A device's session.
#[derive(Clone, Copy, Debug)]
struct Session {
    serial: u64,
    place: Place,
}

/// Where a peer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the shard.
    pub shard: u16,
    /// The peer there.
    pub peer: PeerKey,
}

/// Names one peer of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// Which table it is in.
    pub kind: Kind,
    /// Its place there.
    pub id: PeerId,
}

/// How a peer talks to us. A device may do both; a plain peer, whom nothing authenticates, never replaces a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Over DTLS.
    Secure,
    /// Plain CoAP.
    Plain,
}

impl Directory {
    /// Makes `place` the session of the device `key` unless a session with a higher number has come first. Returns the one
    /// of the two that has to end.
    ///
    /// Two shards may be here at once, in either order. Numbers, by which whoever shows sessions tells which is the later,
    /// decide here too: otherwise the one that is shown could be the one that ends.
    pub fn arrive(&self, key: u64, place: Place, serial: u64) -> Option<Place> {
        let arriving = Session { serial, place };
        match self.devices.entry((key, place.peer.kind)) {
            Entry::Vacant(vacant) => {
                vacant.insert(arriving);
                None
            }
            Entry::Occupied(later) if later.get().serial > serial => Some(place),
            Entry::Occupied(mut earlier) => Some(earlier.insert(arriving).place),
        }
    }

    /// The session at `place` is over. Whoever replaced it stays.
    pub fn leave(&self, key: u64, place: Place) {
        self.devices
            .remove_if(&(key, place.peer.kind), |_, current| current.place == place);
    }

    /// Makes `place` the owner of records from `address`.
    pub fn claim(&self, address: SocketAddr, place: Place) {
        self.addresses.insert(address, place);
    }

    /// `place` no longer listens to `address`. Whoever claimed it since stays.
    pub fn release(&self, address: SocketAddr, place: Place) {
        self.addresses.remove_if(&address, |_, current| *current == place);
    }

    /// Where the device is reached: its session, its plain peer, both or none.
    pub fn find(&self, key: u64) -> impl Iterator<Item = Place> {
        [Kind::Secure, Kind::Plain]
            .into_iter()
            .filter_map(move |kind| self.devices.get(&(key, kind)).map(|session| session.place))
    }

    /// Who owns records from `address`.
    #[must_use]
    pub fn owner(&self, address: SocketAddr) -> Option<Place> {
        self.addresses.get(&address).map(|place| *place)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(shard: u16, slot: u32, kind: Kind) -> Place {
        Place {
            shard,
            peer: PeerKey {
                kind,
                id: PeerId::new(slot, 1).unwrap(),
            },
        }
    }

    #[test]
    fn leaving_after_being_replaced_takes_nobody_along() {
        let directory = Directory::default();
        let old = place(0, 1, Kind::Secure);
        let new = place(1, 1, Kind::Secure);
        assert_eq!(directory.arrive(42, old, 1), None);
        assert_eq!(directory.arrive(42, new, 2), Some(old));
        directory.leave(42, old);
        assert_eq!(directory.find(42).collect::<Vec<_>>(), [new]);
        directory.leave(42, new);
        assert_eq!(directory.find(42).count(), 0);
    }

    #[test]
    fn the_session_with_the_higher_number_stays_whichever_comes_first() {
        let directory = Directory::default();
        let earlier = place(0, 1, Kind::Secure);
        let later = place(1, 1, Kind::Secure);
        assert_eq!(directory.arrive(42, later, 2), None);
        assert_eq!(directory.arrive(42, earlier, 1), Some(earlier));
        directory.leave(42, earlier);
        assert_eq!(directory.find(42).collect::<Vec<_>>(), [later]);
    }

    #[test]
    fn a_plain_peer_does_not_replace_a_session() {
        let directory = Directory::default();
        let session = place(0, 1, Kind::Secure);
        let plain = place(1, 1, Kind::Plain);
        directory.arrive(42, session, 1);
        assert_eq!(directory.arrive(42, plain, 2), None);
        assert_eq!(directory.find(42).collect::<Vec<_>>(), [session, plain]);
    }

    #[test]
    fn an_address_belongs_to_its_last_claimant() {
        let directory = Directory::default();
        let address = "192.0.2.1:5000".parse().unwrap();
        let old = place(0, 1, Kind::Secure);
        let new = place(0, 2, Kind::Secure);
        directory.claim(address, old);
        directory.claim(address, new);
        directory.release(address, old);
        assert_eq!(directory.owner(address), Some(new));
    }
}
