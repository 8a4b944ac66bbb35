//! Who holds a connection to the API, and who goes first when there is no room.
//!
//! 1. A connection takes a seat before its first byte is read.
//! 2. Its [`Claim`] to the seat grows with a request under way, and with an API key that was good.
//! 3. When all seats are taken, the weakest claim goes, of equal ones the oldest; a newcomer that finds only strong
//!    claims is turned away.
//! 4. Above half of the seats, a peer with more than its share makes room for its own newcomers itself: so the other
//!    half is there for everybody else, while operators behind one proxy, who have keys, are not limited by it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All seats.
#[derive(Debug)]
pub struct Seats {
    bound: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Rises with every taking and every wait: who has the lower one has waited longer.
    tick: u64,
    taken: HashMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    network: IpAddr,
    claim: Claim,
    since: u64,
    leave: Arc<Notify>,
}

/// How much there is to lose with a connection, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It has not shown a good key, and no request of it is under way: silent, between requests, or with a head that
    /// does not end.
    IdleStranger,
    /// It has not shown a good key, and is being answered.
    BusyStranger,
    /// It has shown a good key before, and is between requests.
    IdleKnown,
    /// It has shown a good key, and follows what happens: it resumes elsewhere where it was, and nothing is lost.
    Following,
    /// It has shown a good key, and is being answered. It stays.
    BusyKnown,
}

impl Seats {
    /// So many seats.
    pub fn new(bound: usize) -> Arc<Seats> {
        Arc::new(Seats {
            bound,
            table: Mutex::default(),
        })
    }

    /// A seat for a connection from `address`, at the cost of a weaker one where there is no room; `None` where there
    /// is no weaker one.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let network = network(address);
        let mut table = self.lock();
        if table.taken.len() >= self.bound {
            if !table.dismiss(|taken| taken.claim < Claim::BusyKnown) {
                return None;
            }
        } else if table.taken.len() >= self.bound.div_ceil(2) {
            let own = table.taken.values().filter(|taken| taken.network == network);
            if own.count() >= self.bound.div_ceil(SHARE_OF_A_PEER) {
                table.dismiss(|taken| taken.network == network && taken.claim == Claim::IdleStranger);
            }
        }
        let number = table.next_tick();
        let leave = Arc::new(Notify::new());
        let taken = Taken {
            network,
            claim: Claim::IdleStranger,
            since: number,
            leave: Arc::clone(&leave),
        };
        table.taken.insert(number, taken);
        Some(Seat {
            holder: Holder {
                address,
                seats: Arc::clone(self),
                number,
            },
            leave,
        })
    }

    /// Has the connection go that has the weakest claim of those that wait, for a request or for what happens. For when the process has run
    /// out of something that a connection holds.
    pub fn make_room(&self) {
        self.lock().dismiss(|taken| {
            matches!(
                taken.claim,
                Claim::IdleStranger | Claim::IdleKnown | Claim::Following
            )
        });
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Takes its seat from the weakest of those that may be asked to leave; says whether there was one.
    fn dismiss(&mut self, may_leave: impl Fn(&Taken) -> bool) -> bool {
        let weakest = self
            .taken
            .iter()
            .filter(|(_, taken)| may_leave(taken))
            .min_by_key(|(_, taken)| (taken.claim, taken.since))
            .map(|(number, _)| *number);
        let gone = weakest.and_then(|number| self.taken.remove(&number));
        if let Some(gone) = &gone {
            gone.leave.notify_one();
        }
        gone.is_some()
    }
}

/// A seat, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    holder: Holder,
    leave: Arc<Notify>,
}

impl Seat {
    /// Returns when the seat has been given to somebody else.
    pub async fn lost(&self) {
        self.leave.notified().await;
    }

    /// What says how strong the claim to this seat is.
    pub fn holder(&self) -> Holder {
        self.holder.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.holder.seats.lock().taken.remove(&self.holder.number);
    }
}

/// What a connection's claim is changed through; outlives its seat without keeping it.
#[derive(Debug, Clone)]
pub struct Holder {
    address: IpAddr,
    seats: Arc<Seats>,
    number: u64,
}

impl Holder {
    /// A request has arrived.
    pub fn busy(&self) {
        self.change(|claim| match claim {
            Claim::IdleStranger | Claim::BusyStranger => Claim::BusyStranger,
            Claim::IdleKnown | Claim::Following | Claim::BusyKnown => Claim::BusyKnown,
        });
    }

    /// Its answer has been sent.
    pub fn idle(&self) {
        self.change(|claim| match claim {
            Claim::IdleStranger | Claim::BusyStranger => Claim::IdleStranger,
            Claim::IdleKnown | Claim::Following | Claim::BusyKnown => Claim::IdleKnown,
        });
    }

    /// Where it comes from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// It had a good key.
    pub fn known(&self) {
        self.change(|claim| match claim {
            Claim::IdleStranger | Claim::IdleKnown => Claim::IdleKnown,
            Claim::BusyStranger | Claim::BusyKnown => Claim::BusyKnown,
            Claim::Following => Claim::Following,
        });
    }

    /// What it is being answered has no end, and can be resumed.
    pub fn follows(&self) {
        self.change(|claim| match claim {
            Claim::IdleKnown | Claim::Following | Claim::BusyKnown => Claim::Following,
            stranger @ (Claim::IdleStranger | Claim::BusyStranger) => stranger,
        });
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        matches!(
            self.claim(),
            Some(Claim::BusyStranger | Claim::Following | Claim::BusyKnown)
        )
    }

    /// Whether the request under way is one that follows what happens.
    pub fn is_following(&self) -> bool {
        self.claim() == Some(Claim::Following)
    }

    fn claim(&self) -> Option<Claim> {
        let table = self.seats.lock();
        table.taken.get(&self.number).map(|taken| taken.claim)
    }

    fn change(&self, change: impl FnOnce(Claim) -> Claim) {
        let mut table = self.seats.lock();
        let tick = table.next_tick();
        if let Some(taken) = table.taken.get_mut(&self.number) {
            taken.claim = change(taken.claim);
            taken.since = tick;
        }
    }
}

/// What counts as one peer: an IPv4 address, or the /64 that one IPv6 subscriber is given.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Above half of the seats a peer may have one in so many without making room itself. A guess: four peers that all
/// leave their connections idle are no longer one operator's script gone wrong.
const SHARE_OF_A_PEER: usize = 4;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const A: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1));
    /// In the same /64.
    const A2: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9));

    #[test]
    fn the_oldest_silent_stranger_goes_first() {
        let seats = Seats::new(3);
        let [first, second, third] = [1, 2, 3].map(|n| seats.take(peer(n)).unwrap());
        first.holder().busy();
        first.holder().idle();
        assert!(!lost(&second), "there was room");
        let fourth = seats.take(peer(4)).unwrap();
        assert!(lost(&second), "the first has said something since");
        assert!(!lost(&first) && !lost(&third) && !lost(&fourth));
        assert_eq!(seats.lock().taken.len(), 3);
    }

    #[test]
    fn keys_and_requests_under_way_stay_longer_and_both_together_stay() {
        let seats = Seats::new(4);
        let [silent, asking, known, served] = [1, 2, 3, 4].map(|n| seats.take(peer(n)).unwrap());
        served.holder().busy();
        served.holder().known();
        known.holder().busy();
        known.holder().known();
        known.holder().idle();
        asking.holder().busy();
        let mut newcomers = Vec::new();
        for going in [&silent, &asking, &known] {
            assert!(!lost(going));
            let newcomer = seats.take(peer(9)).unwrap();
            newcomer.holder().busy();
            newcomer.holder().known();
            newcomers.push(newcomer);
            assert!(lost(going));
        }
        assert!(seats.take(peer(9)).is_none(), "everybody here is being served");
        assert!(!lost(&served));
        drop(newcomers);
        assert!(seats.take(peer(9)).is_some(), "a seat given back is free");
    }

    #[test]
    fn above_half_a_peer_with_its_share_makes_room_itself() {
        let seats = Seats::new(8);
        let other = seats.take(peer(1)).unwrap();
        let greedy: Vec<Seat> = (0..3).map(|_| seats.take(A).unwrap()).collect();
        let fifth = seats.take(A2).unwrap();
        assert!(lost(&greedy[0]), "half were taken, and the peer had its two");
        assert!(!lost(&other), "though it is the oldest");
        let another = seats.take(peer(2)).unwrap();
        assert!(!lost(&greedy[1]), "another peer has not had its share");

        // Behind a proxy everybody has the same address: who has shown a key is not touched while there is room.
        for seat in [&greedy[1], &greedy[2], &fifth] {
            seat.holder().known();
        }
        let sixth = seats.take(A).unwrap();
        assert!(
            [&greedy[1], &greedy[2], &fifth, &sixth, &another]
                .iter()
                .all(|seat| !lost(seat))
        );
    }

    #[test]
    fn room_is_made_among_those_that_wait() {
        let seats = Seats::new(8);
        let [asking, waiting] = [1, 2].map(|n| seats.take(peer(n)).unwrap());
        asking.holder().busy();
        seats.make_room();
        assert!(lost(&waiting) && !lost(&asking));
        seats.make_room();
        assert!(!lost(&asking));
    }

    #[test]
    fn who_follows_makes_room_after_who_is_idle_and_before_nobody_is_left() {
        let seats = Seats::new(3);
        let [follows, idle, served] = [1, 2, 3].map(|n| seats.take(peer(n)).unwrap());
        for seat in [&follows, &idle, &served] {
            seat.holder().busy();
            seat.holder().known();
        }
        follows.holder().follows();
        idle.holder().idle();
        assert!(follows.holder().is_busy() && follows.holder().is_following());
        let [first, second] = [(); 2].map(|()| {
            let seat = seats.take(peer(9)).unwrap();
            seat.holder().busy();
            seat.holder().known();
            seat
        });
        assert!(lost(&idle) && lost(&follows) && !lost(&served));
        assert!(!lost(&first) && !lost(&second));
        assert!(seats.take(peer(9)).is_none(), "everybody here is being served");
    }

    fn peer(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn lost(seat: &Seat) -> bool {
        seat.lost()
            .now_or_never()
            .inspect(|()| seat.leave.notify_one())
            .is_some()
    }
}
