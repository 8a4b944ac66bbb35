//! Who holds a connection to the API, and who goes first when there is no room.
//!
//! 1. A connection takes a seat before its first byte is read.
//! 2. Its [`Claim`] to the seat grows with a request under way, and with an API key that was good.
//! 3. When all seats are taken, a stranger goes first, busy or not: of a network with more than its share, then one who has
//!    outstayed (see 4), then of the network that has the most of them; then the weakest claim, of equal ones the oldest. So
//!    whoever takes many seats takes them from himself. A newcomer that finds only strong claims is turned away.
//! 4. Who has many networks has the most of none of them. So a stranger's request is a claim for [`ASKS_FOR`] only: past that it is
//!    weaker than a newcomer, who has [`IS_NEW_FOR`] to shake hands and to ask. Whoever would keep others out has to come back to
//!    every seat all the time. And a site, which is a /48, counts as one network once it has more than a peer's share.
//! 5. Above half of the seats, a peer with more than its share of strangers makes room for its own newcomers itself: so the
//!    other half is there for everybody else, while operators behind one proxy, who have keys, are not limited by it.
//! 6. A strong claim cannot be had without bound: one key has at most half of the seats with requests under way, and the
//!    last of them are kept from all keys that do not administer.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock;
use crate::fleet::{KeyId, Role};

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
    /// The last good key that it showed.
    key: Option<(KeyId, Role)>,
    since: u64,
    /// When it took the seat.
    came: Instant,
    leave: Arc<Notify>,
}

impl Taken {
    fn standing(&self, now: Instant) -> Standing {
        let age = now.saturating_duration_since(self.came);
        match self.claim {
            Claim::IdleStranger if age < IS_NEW_FOR => Standing::New,
            Claim::IdleStranger => Standing::Silent,
            Claim::BusyStranger if age < ASKS_FOR => Standing::Asking,
            Claim::BusyStranger => Standing::Slow,
            known @ (Claim::IdleKnown | Claim::Following | Claim::BusyKnown) => Standing::Known(known),
        }
    }
}

/// Who goes before whom, weakest first: the claim, and with strangers how long they have been here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// A stranger who does not ask, and had the time to.
    Silent,
    /// A stranger who is being answered, and has been here for longer than that takes. Its age is that of the connection: with that
    /// of the request, a short one now and then would keep a seat for ever.
    Slow,
    /// A stranger who is not expected to have asked yet.
    New,
    /// A stranger who is being answered.
    Asking,
    /// Somebody with a key.
    Known(Claim),
}

impl Standing {
    /// Whether it had the time that a stranger needs.
    fn has_outstayed(self) -> bool {
        matches!(self, Standing::Silent | Standing::Slow)
    }
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

impl Claim {
    fn is_strangers(self) -> bool {
        matches!(self, Claim::IdleStranger | Claim::BusyStranger)
    }
}

/// Why a request with a good key is not carried out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// As many of its requests are under way as one key may have.
    #[error("{0} requests with it are under way, as many as one key may have at a time")]
    Key(usize),
    /// The seats that are left are kept for others.
    #[error(
        "nearly every connection is in use by a request (admin.max_connections); the rest is kept for administrators"
    )]
    Kept,
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
        self.take_at(address, clock::now())
    }

    fn take_at(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Seat> {
        let network = network(address);
        let share = self.bound.div_ceil(SHARE_OF_A_PEER);
        let mut table = self.lock();
        if table.taken.len() >= self.bound {
            if !table.make_seat(share, now) {
                return None;
            }
        } else if table.taken.len() >= self.bound.div_ceil(2) {
            let of_network = |taken: &Taken| taken.claim.is_strangers() && taken.network == network;
            let of_site = |taken: &Taken| taken.claim.is_strangers() && site(taken.network) == site(network);
            if table.count(of_network) >= share {
                table.dismiss(now, of_network);
            } else if table.count(of_site) >= share {
                table.dismiss(now, of_site);
            }
        }
        let number = table.next_tick();
        let leave = Arc::new(Notify::new());
        let taken = Taken {
            network,
            claim: Claim::IdleStranger,
            key: None,
            since: number,
            came: now,
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

    /// Has the connection go that has the weakest claim of those that wait, for a request or for what happens. For when the
    /// process has run out of something that a connection holds.
    pub fn make_room(&self) {
        self.lock().dismiss(clock::now(), |taken| {
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

    fn set(&mut self, number: u64, change: impl FnOnce(Claim) -> Claim) {
        let tick = self.next_tick();
        if let Some(taken) = self.taken.get_mut(&number) {
            taken.claim = change(taken.claim);
            taken.since = tick;
        }
    }

    /// Takes a seat from whoever has the most to spare; says whether there was somebody. A network, a site or a key with more than
    /// `share` gives before anybody else does.
    fn make_seat(&mut self, share: usize, now: Instant) -> bool {
        let mut strangers: HashMap<IpAddr, usize> = HashMap::new();
        let mut sites: HashMap<IpAddr, usize> = HashMap::new();
        let mut known: HashMap<KeyId, usize> = HashMap::new();
        for taken in self.taken.values() {
            if taken.claim.is_strangers() {
                *strangers.entry(taken.network).or_default() += 1;
                *sites.entry(site(taken.network)).or_default() += 1;
            } else if let Some((key, _)) = taken.key {
                *known.entry(key).or_default() += 1;
            }
        }
        let group = |taken: &Taken| {
            let (many, few, count, of_network) = match (taken.claim, taken.key) {
                (Claim::IdleStranger | Claim::BusyStranger, _) => {
                    let of_network = strangers[&taken.network];
                    let of_site = sites[&site(taken.network)];
                    let count = if of_site > share { of_site } else { of_network };
                    (0, 2, count, of_network)
                }
                (Claim::IdleKnown, Some((key, _))) if known[&key] > share => (1, 1, known[&key], 0),
                _ => (3, 3, 0, 0),
            };
            // However many slow ones there are, each of a network of its own, they go before a browser that comes with several.
            let (group, is_owed) = match count > share {
                true => (many, true),
                false => (few, !taken.standing(now).has_outstayed()),
            };
            (group, is_owed, Reverse(count), Reverse(of_network))
        };
        let weakest = self
            .taken
            .iter()
            .filter(|(_, taken)| taken.claim < Claim::BusyKnown)
            .min_by_key(|(_, taken)| (group(taken), taken.standing(now), taken.since))
            .map(|(number, _)| *number);
        self.send_off(weakest)
    }

    /// Whether one more request may be under way with a key, on the connection with a number.
    fn room_for(&self, bound: usize, number: u64, key: KeyId, role: Role) -> Result<(), Crowded> {
        let of_a_key = bound.div_ceil(2);
        if self.taken.len() <= of_a_key {
            return Ok(());
        }
        let (mut all, mut own) = (0, 0);
        for (other, taken) in &self.taken {
            if *other != number && taken.claim == Claim::BusyKnown {
                all += 1;
                own += usize::from(taken.key.is_some_and(|(other, _)| other == key));
            }
        }
        if own >= of_a_key {
            return Err(Crowded::Key(of_a_key));
        }
        if role < Role::Admin && all >= bound - bound / KEPT_OF_ALL {
            return Err(Crowded::Kept);
        }
        Ok(())
    }

    /// Takes its seat from the weakest of those that may be asked to leave; says whether there was one.
    fn dismiss(&mut self, now: Instant, may_leave: impl Fn(&Taken) -> bool) -> bool {
        let weakest = self
            .taken
            .iter()
            .filter(|(_, taken)| may_leave(taken))
            .min_by_key(|(_, taken)| (taken.standing(now), taken.since))
            .map(|(number, _)| *number);
        self.send_off(weakest)
    }

    fn count(&self, those: impl Fn(&Taken) -> bool) -> usize {
        self.taken.values().filter(|taken| those(taken)).count()
    }

    fn send_off(&mut self, number: Option<u64>) -> bool {
        let gone = number.and_then(|number| self.taken.remove(&number));
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
    /// A request has arrived. Who has shown a key before is known by it, as long as that key has room.
    pub fn busy(&self) {
        let mut table = self.seats.lock();
        let known = table.taken.get(&self.number);
        let known = known.filter(|taken| !taken.claim.is_strangers());
        let known = known.and_then(|taken| taken.key).is_some_and(|(key, role)| {
            let room = table.room_for(self.seats.bound, self.number, key, role);
            room.is_ok()
        });
        table.set(self.number, |_| match known {
            true => Claim::BusyKnown,
            false => Claim::BusyStranger,
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
    ///
    /// # Errors
    /// There are too many requests under way: this one is not to be carried out, and its seat is a stranger's.
    pub fn known(&self, key: KeyId, role: Role) -> Result<(), Crowded> {
        let mut table = self.seats.lock();
        let room = table.room_for(self.seats.bound, self.number, key, role);
        if let Some(taken) = table.taken.get_mut(&self.number) {
            taken.key = Some((key, role));
        }
        table.set(self.number, |claim| match claim {
            Claim::IdleStranger | Claim::IdleKnown => Claim::IdleKnown,
            Claim::BusyStranger | Claim::BusyKnown if room.is_err() => Claim::BusyStranger,
            Claim::BusyStranger | Claim::BusyKnown => Claim::BusyKnown,
            Claim::Following => Claim::Following,
        });
        room
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
        self.seats.lock().set(self.number, change);
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

/// Who may have many networks: the /48 that an IPv6 network is in; an IPv4 address is its own.
pub fn site(network: IpAddr) -> IpAddr {
    match network {
        IpAddr::V4(_) => network,
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

/// How long a stranger may take to shake hands and to ask. A reasoned guess: three times to a satellite and back.
const IS_NEW_FOR: Duration = Duration::from_secs(2);

/// How long a stranger may take to have been answered, from taking the seat. A reasoned guess: a sign-in has a form of some hundred
/// bytes, and a commit; with that and [`IS_NEW_FOR`] it is done.
const ASKS_FOR: Duration = Duration::from_secs(5);

/// Above half of the seats a peer may have one in so many without making room itself. A guess: four peers that all
/// leave their connections idle are no longer one operator's script gone wrong.
const SHARE_OF_A_PEER: usize = 4;

/// One seat in so many is kept from requests with keys that do not administer. A guess: enough for operators and probes, too
/// few to be missed.
const KEPT_OF_ALL: usize = 8;

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
        shows(&served, 1).unwrap();
        known.holder().busy();
        shows(&known, 2).unwrap();
        known.holder().idle();
        asking.holder().busy();
        let mut newcomers = Vec::new();
        for (going, key) in [(&silent, 3), (&asking, 4), (&known, 5)] {
            assert!(!lost(going));
            let newcomer = seats.take(peer(9)).unwrap();
            newcomer.holder().busy();
            shows(&newcomer, key).unwrap();
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
            shows(seat, 1).unwrap();
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
        for (seat, key) in [(&follows, 1), (&idle, 2), (&served, 3)] {
            seat.holder().busy();
            shows(seat, key).unwrap();
        }
        follows.holder().follows();
        idle.holder().idle();
        assert!(follows.holder().is_busy() && follows.holder().is_following());
        let [first, second] = [4, 5].map(|key| {
            let seat = seats.take(peer(9)).unwrap();
            seat.holder().busy();
            shows(&seat, key).unwrap();
            seat
        });
        assert!(lost(&idle) && lost(&follows) && !lost(&served));
        assert!(!lost(&first) && !lost(&second));
        assert!(seats.take(peer(9)).is_none(), "everybody here is being served");
    }

    #[test]
    fn who_takes_all_seats_with_slow_requests_takes_them_from_himself() {
        let seats = Seats::new(16);
        // Above half of the seats it makes room itself, with what is slow as well.
        let mut slow: Vec<Seat> = Vec::new();
        for _ in 0..12 {
            let seat = seats.take(A).unwrap();
            seat.holder().busy();
            slow.push(seat);
        }
        assert_eq!(
            slow.iter().filter(|seat| lost(seat)).count(),
            4,
            "half of the seats are left"
        );
        slow.retain(|seat| !lost(seat));
        let others: Vec<Seat> = (1..=7).map(|n| seats.take(peer(n)).unwrap()).collect();
        let victim = seats.take(peer(9)).unwrap();
        assert_eq!(seats.lock().taken.len(), 16);
        // While it shakes hands, which is silence, the one that has them goes on opening connections.
        for _ in 0..40 {
            let newcomer = seats.take(A2).unwrap();
            newcomer.holder().busy();
            slow.push(newcomer);
        }
        assert!(!lost(&victim), "it is the only one from where it comes");
        assert!(others.iter().all(|seat| !lost(seat)));
        slow.retain(|seat| !lost(seat));
        assert_eq!(slow.len(), 8);
    }

    #[test]
    fn who_has_a_network_for_each_slow_request_does_not_keep_a_newcomer_out() {
        let seats = Seats::new(16);
        let begun = clock::now();
        let slow = |n: u8, at: Instant| {
            let seat = seats.take_at(peer(n), at).unwrap();
            seat.holder().busy();
            seat
        };
        let mut held: Vec<Seat> = (0..16).map(|n| slow(n, begun)).collect();
        let now = begun + ASKS_FOR;
        let [victim, second] = [(); 2].map(|()| seats.take_at(peer(200), now).unwrap());
        assert!(lost(&held[0]) && lost(&held[1]), "the oldest");
        // While it shakes hands, each that gave way comes back at once.
        let returning = now + IS_NEW_FOR - Duration::from_millis(1);
        for n in 100..114 {
            held.push(slow(n, returning));
            assert!(!lost(&victim) && !lost(&second), "{n}");
        }
        victim.holder().busy();
        held.push(slow(115, returning));
        assert!(lost(&second), "of those that have just come it has the most");
        held.push(slow(116, returning));
        assert!(
            !lost(&victim),
            "it asks, and has been here for less than the others"
        );
        shows(&victim, 1).unwrap();
        victim.holder().idle();
        held.push(slow(117, now + ASKS_FOR * 2));
        assert!(!lost(&victim), "it is known");
    }

    #[test]
    fn a_newcomer_is_one_for_a_moment_and_a_request_is_a_claim_for_some_seconds() {
        let seats = Seats::new(2);
        let begun = clock::now();
        let [asking, silent] = [1, 2].map(|n| seats.take_at(peer(n), begun).unwrap());
        asking.holder().busy();
        let third = seats
            .take_at(peer(3), begun + ASKS_FOR - Duration::from_millis(1))
            .unwrap();
        assert!(lost(&silent) && !lost(&asking), "the request is not slow yet");
        let fourth = seats.take_at(peer(4), begun + ASKS_FOR).unwrap();
        assert!(lost(&asking) && !lost(&third), "it is");
        third.holder().busy();
        let later = begun + ASKS_FOR + IS_NEW_FOR;
        let _fifth = seats.take_at(peer(5), later).unwrap();
        assert!(
            lost(&fourth) && !lost(&third),
            "who stays silent is new no longer"
        );
        // A short request now and then does not make a connection young.
        third.holder().idle();
        third.holder().busy();
        let _sixth = seats.take_at(peer(6), later + ASKS_FOR).unwrap();
        let _seventh = seats.take_at(peer(7), later + ASKS_FOR).unwrap();
        assert!(lost(&third));
    }

    #[test]
    fn a_site_with_a_network_for_each_seat_takes_them_from_itself() {
        let seats = Seats::new(16);
        let busy = |address: IpAddr| {
            let seat = seats.take(address).unwrap();
            seat.holder().busy();
            seat
        };
        let of_site = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, n, 0, 0, 0, 1));
        let mut held: Vec<Seat> = (0..12).map(|n| busy(of_site(n))).collect();
        held.retain(|seat| !lost(seat));
        assert_eq!(held.len(), 8, "above half of the seats it makes room itself");
        // Nobody else has as many from one network, and yet all of them stay.
        let others: Vec<Seat> = [1, 1, 2, 2, 3, 3, 4].map(|n| seats.take(peer(n)).unwrap()).into();
        let neighbour = seats.take(A).unwrap();
        assert_eq!(seats.lock().taken.len(), 16);
        held.extend((100..140).map(|n| busy(of_site(n))));
        assert!(others.iter().all(|seat| !lost(seat)));
        assert!(!lost(&neighbour), "another site of the same provider");
        held.retain(|seat| !lost(seat));
        assert_eq!(held.len(), 8);
        // It gives down to a peer's share, and then each network counts for itself.
        let newcomers: Vec<Seat> = (10..14).map(|n| seats.take(peer(n)).unwrap()).collect();
        held.retain(|seat| !lost(seat));
        assert_eq!(held.len(), 4);
        assert!(others.iter().chain(&newcomers).all(|seat| !lost(seat)));
        let _one_more = seats.take(peer(14)).unwrap();
        assert!(lost(&others[0]), "one of two");
    }

    #[test]
    fn one_key_has_at_most_half_of_the_seats_with_requests_and_the_last_are_kept_for_administrators() {
        let seats = Seats::new(16);
        let ask = |key| {
            let seat = seats.take(A).unwrap();
            seat.holder().busy();
            let room = shows(&seat, key);
            (seat, room)
        };
        let mut all: Vec<(Seat, Result<(), Crowded>)> = (0..8).map(|_| ask(1)).collect();
        assert!(all.iter().all(|(_, room)| room.is_ok()));
        let (refused, room) = ask(1);
        assert_eq!(room, Err(Crowded::Key(8)));
        // Its further requests are a stranger's, and so are those after a first that was short.
        assert!(refused.holder().is_busy());
        refused.holder().idle();
        refused.holder().busy();
        assert_eq!(shows(&refused, 1), Err(Crowded::Key(8)));
        let victim = seats.take(peer(9)).unwrap();
        for _ in 0..20 {
            all.push(ask(1));
        }
        assert!(!lost(&victim), "it shook hands meanwhile");
        assert!(
            all[..8].iter().all(|(seat, _)| !lost(seat)),
            "what is carried out stays"
        );
        all.truncate(8);
        drop((refused, victim));

        for key in [2, 2, 2, 3, 3, 3] {
            let (seat, room) = ask(key);
            all.push((seat, room));
        }
        assert!(all.iter().all(|(_, room)| room.is_ok()));
        let (_refused, room) = ask(4);
        assert_eq!(room, Err(Crowded::Kept));
        let admin = seats.take(peer(9)).unwrap();
        admin.holder().busy();
        assert_eq!(admin.holder().known(KeyId::new(9), Role::Admin), Ok(()));
        drop(admin);
        all.pop();
        let (_seat, room) = ask(4);
        assert_eq!(room, Ok(()), "a place given back is free");
    }

    #[test]
    fn connections_kept_open_with_one_key_are_no_way_around_its_bound() {
        let seats = Seats::new(16);
        let open: Vec<Seat> = (0..16)
            .map(|_| {
                let seat = seats.take(A).unwrap();
                seat.holder().busy();
                shows(&seat, 1).unwrap();
                seat.holder().idle();
                seat
            })
            .collect();
        let victim = seats.take(peer(9)).unwrap();
        let _another = seats.take(A).unwrap();
        assert!(
            !lost(&victim),
            "the key has more than its share of what it does not use"
        );
        let stay: Vec<&Seat> = open.iter().filter(|seat| !lost(seat)).collect();
        assert_eq!(stay.len(), 14);
        for seat in &stay {
            seat.holder().busy();
        }
        let newcomers: Vec<Option<Seat>> = (1..=6).map(|n| seats.take(peer(n))).collect();
        assert!(newcomers.iter().all(Option::is_some));
        let stay = stay.iter().filter(|seat| !lost(seat)).count();
        assert_eq!(stay, 8 + 1, "half of all seats, and one like anybody else");
    }

    fn shows(seat: &Seat, key: i64) -> Result<(), Crowded> {
        seat.holder().known(KeyId::new(key), Role::Read)
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
