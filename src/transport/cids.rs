//! Connection IDs of ours (RFC 9146): what their eight bytes say, and who has them.
//!
//! ```text
//! byte  0               1       2 ‥ 4   5 ‥ 7
//!       virtual shard   node    slot    generation
//! ```
//!
//! There are 256 virtual shards, each with a table of its own; a thread has those that [`owner_of`] gives it. So the first byte
//! leads to a thread, the slot to a place there, and the generation refuses whoever held the place before: no map is asked. A
//! connection ID stays with its session for life, and in another run of the gateway, with more threads or fewer, its virtual
//! shard is another thread's and the rest is as it was.
//!
//! It is an index and no secret: who guesses one makes us try to open one record.
//!
//! 1. [`Cids::take`] reserves one for a handshake, [`Cids::assign`] says whose it is, and says so again when the handshake has
//!    become a session.
//! 2. [`Cids::find`] leads a record to its peer or to its thread.
//! 3. [`Cids::release`] ends it. The place is used again with the next generation.

use rand::Rng;

use super::slots::PeerId;
use crate::dtls::ConnectionId;

/// The connection IDs of one thread's virtual shards.
#[derive(Debug)]
pub struct Cids {
    thread: u16,
    threads: u16,
    /// Those of virtual shard `thread + n · threads` at `n`.
    tables: Vec<Table>,
    /// The table to take the next one from.
    next: usize,
    slots_max: u32,
}

/// A connection ID taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Which of the 256.
    pub virtual_shard: u8,
    /// Which gateway, where several share an address.
    pub node: u8,
    /// The place in the virtual shard's table, below 2^24.
    pub slot: u32,
    /// Counts the place's occupants, modulo 2^24 and from a random start.
    pub generation: u32,
}

/// Whose a connection ID is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A handshake's: the client's Finished comes with it already.
    Handshake(PeerId),
    /// A session's.
    Session(PeerId),
}

/// Where a connection ID leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// To a peer of this thread.
    Here(Holder),
    /// To this other thread, which will know.
    Elsewhere(u16),
    /// To nobody: it is no longer in use, or never was.
    Nobody,
}

/// One virtual shard's.
#[derive(Debug, Default)]
struct Table {
    places: Vec<Place>,
    /// Places that nobody has.
    free: Vec<u32>,
}

/// 16 bytes, which is all that a session costs here.
#[derive(Clone, Copy, Debug)]
struct Place {
    generation: u32,
    /// `None` for a free place, and for one just taken.
    holder: Option<Holder>,
}

impl Cids {
    /// None in use yet, for thread number `thread` of `threads`.
    pub fn new(thread: u16, threads: usize) -> Self {
        Self::with_slots(thread, threads, SLOTS)
    }

    fn with_slots(thread: u16, threads: usize, slots_max: u32) -> Self {
        let threads = threads.clamp(1, VIRTUAL_SHARDS) as u16;
        let tables = (0..=u8::MAX)
            .filter(|virtual_shard| owner_of(*virtual_shard, usize::from(threads)) == thread)
            .map(|_| Table::default())
            .collect();
        Self {
            thread,
            threads,
            tables,
            next: 0,
            slots_max,
        }
    }

    /// Reserves one for whoever it is assigned to next. Its virtual shards get their turn one after the other, so that threads
    /// stay balanced when there are more or fewer of them. `None` when every slot of every virtual shard is taken: a
    /// handshake then goes on without one.
    pub fn take(&mut self, rng: &mut impl Rng) -> Option<ConnectionId> {
        let count = self.tables.len();
        let first = self.next;
        for at in (first..first + count).map(|at| at % count) {
            let Some((slot, generation)) = self.tables[at].take(self.slots_max, rng) else {
                continue;
            };
            self.next = (at + 1) % count;
            let layout = Layout {
                virtual_shard: (usize::from(self.thread) + at * usize::from(self.threads)) as u8,
                node: NODE,
                slot,
                generation,
            };
            return Some(layout.connection_id());
        }
        None
    }

    /// From here on it leads to `holder`. Nothing happens to one that is not in use.
    pub fn assign(&mut self, cid: ConnectionId, holder: Holder) {
        if let Some((table, layout)) = self.own(cid)
            && let Some(place) = table.place_mut(layout)
        {
            place.holder = Some(holder);
        }
    }

    /// It is nobody's any more. Nothing happens to one that is not in use.
    pub fn release(&mut self, cid: ConnectionId) {
        if let Some((table, layout)) = self.own(cid)
            && let Some(place) = table.place_mut(layout)
        {
            place.generation = (place.generation + 1) % GENERATIONS;
            place.holder = None;
            table.free.push(layout.slot);
        }
    }

    /// Gives a session of an earlier run the one that it had, and returns who had its slot: two sessions in the log can
    /// share one where the end of the earlier was lost. To be followed by [`Self::restored`].
    ///
    /// # Errors
    /// When it leads to another thread or gateway.
    pub fn restore(
        &mut self,
        cid: ConnectionId,
        session: PeerId,
        rng: &mut impl Rng,
    ) -> Result<Option<Holder>, NotOurs> {
        let (table, layout) = self.own(cid).ok_or(NotOurs)?;
        while table.places.len() <= layout.slot as usize {
            let place = Place::new(rng);
            table.places.push(place);
        }
        let place = &mut table.places[layout.slot as usize];
        place.generation = layout.generation;
        Ok(place.holder.replace(Holder::Session(session)))
    }

    /// Every session of the earlier run has its own: what lies between them is free.
    pub fn restored(&mut self) {
        for table in &mut self.tables {
            let places = table.places.iter().enumerate().rev();
            table.free = places
                .filter(|(_, place)| place.holder.is_none())
                .map(|(slot, _)| slot as u32)
                .collect();
        }
    }

    /// Where it leads.
    pub fn find(&self, cid: ConnectionId) -> Found {
        let layout = Layout::of(cid);
        let thread = owner_of(layout.virtual_shard, usize::from(self.threads));
        if layout.node != NODE {
            return Found::Nobody;
        }
        if thread != self.thread {
            return Found::Elsewhere(thread);
        }
        self.tables
            .get(usize::from(layout.virtual_shard) / usize::from(self.threads))
            .and_then(|table| table.places.get(layout.slot as usize))
            .filter(|place| place.generation == layout.generation)
            .and_then(|place| place.holder)
            .map_or(Found::Nobody, Found::Here)
    }

    /// The table of one that is this thread's.
    fn own(&mut self, cid: ConnectionId) -> Option<(&mut Table, Layout)> {
        let layout = Layout::of(cid);
        let threads = usize::from(self.threads);
        if layout.node != NODE || owner_of(layout.virtual_shard, threads) != self.thread {
            return None;
        }
        let table = self.tables.get_mut(usize::from(layout.virtual_shard) / threads)?;
        Some((table, layout))
    }
}

/// A connection ID that leads to another thread or gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;

impl Layout {
    /// What a connection ID says. Every eight bytes say something.
    pub fn of(cid: ConnectionId) -> Self {
        let [virtual_shard, node, s0, s1, s2, g0, g1, g2] = cid.to_bytes();
        Self {
            virtual_shard,
            node,
            slot: u32::from_be_bytes([0, s0, s1, s2]),
            generation: u32::from_be_bytes([0, g0, g1, g2]),
        }
    }

    fn connection_id(self) -> ConnectionId {
        let [_, s0, s1, s2] = self.slot.to_be_bytes();
        let [_, g0, g1, g2] = self.generation.to_be_bytes();
        ConnectionId::new([self.virtual_shard, self.node, s0, s1, s2, g0, g1, g2])
    }
}

impl Table {
    /// A free place, or a further one; `None` when there are `slots_max`.
    fn take(&mut self, slots_max: u32, rng: &mut impl Rng) -> Option<(u32, u32)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.places.len() < slots_max as usize => {
                self.places.push(Place::new(rng));
                self.places.len() as u32 - 1
            }
            None => return None,
        };
        Some((slot, self.places[slot as usize].generation))
    }

    /// The place that a connection ID names, unless it names an earlier occupant.
    fn place_mut(&mut self, layout: Layout) -> Option<&mut Place> {
        self.places
            .get_mut(layout.slot as usize)
            .filter(|place| place.generation == layout.generation)
    }
}

impl Place {
    /// One that nobody has had in this run. A random generation keeps the connection IDs of an earlier run from meaning
    /// anything.
    fn new(rng: &mut impl Rng) -> Self {
        Self {
            generation: rng.next_u32() % GENERATIONS,
            holder: None,
        }
    }
}

/// Which of `threads` threads a connection ID leads to.
pub fn thread_of(cid: ConnectionId, threads: usize) -> u16 {
    owner_of(Layout::of(cid).virtual_shard, threads)
}

/// Which of `threads` threads has a virtual shard. [`super::steering`] computes the same in the kernel.
pub fn owner_of(virtual_shard: u8, threads: usize) -> u16 {
    (usize::from(virtual_shard) % threads.clamp(1, VIRTUAL_SHARDS)) as u16
}

/// As many as a byte can name, and at least one for each thread.
pub const VIRTUAL_SHARDS: usize = 256;
/// Three bytes of slot: more places in each virtual shard than there may be sessions in all.
const SLOTS: u32 = 1 << 24;
/// Three bytes of generation.
const GENERATIONS: u32 = 1 << 24;
/// This gateway's number. There is one.
const NODE: u8 = 0;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_bytes_are_virtual_shard_node_slot_and_generation() {
        let bytes = ConnectionId::new([0x07, 0x00, 0x01, 0x02, 0x03, 0xa1, 0xb2, 0xc3]);
        let layout = Layout {
            virtual_shard: 7,
            node: 0,
            slot: 0x01_0203,
            generation: 0xa1_b2c3,
        };
        assert_eq!(Layout::of(bytes), layout);
        assert_eq!(layout.connection_id(), bytes);
    }

    #[test]
    fn every_virtual_shard_is_one_threads_and_every_thread_has_some() {
        for threads in [1, 2, 3, 7, 64, 256] {
            let mut owners = vec![0; threads];
            for virtual_shard in 0..=255 {
                owners[usize::from(owner_of(virtual_shard, threads))] += 1;
            }
            assert_eq!(owners.iter().sum::<u32>(), 256);
            assert!(owners.iter().max().unwrap() - owners.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn one_leads_to_its_holder_in_its_own_thread_and_from_others_there() {
        let mut rng = StdRng::seed_from_u64(1);
        for threads in [1, 3, 256] {
            let mut cids: Vec<_> = (0..threads)
                .map(|thread| Cids::new(thread, usize::from(threads)))
                .collect();
            for thread in 0..threads {
                let cid = cids[usize::from(thread)].take(&mut rng).unwrap();
                assert_eq!(cids[usize::from(thread)].find(cid), Found::Nobody, "not yet");
                let handshake = Holder::Handshake(peer(1));
                cids[usize::from(thread)].assign(cid, handshake);
                assert_eq!(cids[usize::from(thread)].find(cid), Found::Here(handshake));
                let session = Holder::Session(peer(2));
                cids[usize::from(thread)].assign(cid, session);
                for (asked, others) in cids.iter().enumerate() {
                    let expected = if asked == usize::from(thread) {
                        Found::Here(session)
                    } else {
                        Found::Elsewhere(thread)
                    };
                    assert_eq!(others.find(cid), expected);
                }
            }
        }
    }

    #[test]
    fn the_stale_the_forged_and_another_gateways_lead_to_nobody() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut cids = Cids::new(0, 1);
        let cid = cids.take(&mut rng).unwrap();
        cids.assign(cid, Holder::Session(peer(1)));
        for byte in 0..8 {
            for bit in 0..8 {
                let mut forged = cid.to_bytes();
                forged[byte] ^= 1 << bit;
                let forged = ConnectionId::new(forged);
                assert_eq!(cids.find(forged), Found::Nobody, "{forged}");
            }
        }
        cids.release(cid);
        assert_eq!(cids.find(cid), Found::Nobody);
        cids.release(cid);
        cids.assign(cid, Holder::Session(peer(2)));
        assert_eq!(cids.find(cid), Found::Nobody, "the stale change nothing");
    }

    #[test]
    fn a_place_is_used_again_with_the_next_generation_and_never_twice_at_a_time() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut cids = Cids::with_slots(0, 256, 2);
        let first = cids.take(&mut rng).unwrap();
        cids.assign(first, Holder::Session(peer(1)));
        let mut seen = HashSet::from([first]);
        let mut last = None;
        for _ in 0..1000 {
            let cid = cids.take(&mut rng).unwrap();
            assert!(seen.insert(cid), "{cid} for the second time");
            if let Some(last) = last {
                let (last, now) = (Layout::of(last), Layout::of(cid));
                assert_eq!(now.slot, last.slot);
                assert_eq!(now.generation, (last.generation + 1) % (1 << 24));
            }
            last = Some(cid);
            cids.release(cid);
        }
        assert_eq!(cids.find(first), Found::Here(Holder::Session(peer(1))));
    }

    #[test]
    fn generations_wrap() {
        let mut rng = StdRng::seed_from_u64(4);
        let mut cids = Cids::new(0, 1);
        let last = ConnectionId::new([0, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
        assert_eq!(cids.restore(last, peer(1), &mut rng), Ok(None));
        cids.restored();
        cids.release(last);
        let taken: Vec<_> = (0..256).map(|_| cids.take(&mut rng).unwrap()).collect();
        assert!(taken.contains(&ConnectionId::new([0; 8])), "generation 0 follows");
    }

    #[test]
    fn a_full_thread_gives_none_until_one_is_released() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut cids = Cids::with_slots(1, 64, 3);
        let taken: Vec<_> = std::iter::from_fn(|| cids.take(&mut rng)).collect();
        assert_eq!(taken.len(), 4 * 3, "four virtual shards of three");
        let virtual_shards: HashSet<_> = taken.iter().map(|cid| Layout::of(*cid).virtual_shard).collect();
        assert_eq!(virtual_shards, HashSet::from([1, 65, 129, 193]));
        cids.release(taken[7]);
        let again = cids.take(&mut rng).unwrap();
        assert_eq!(again.to_bytes()[..5], taken[7].to_bytes()[..5]);
        assert_eq!(cids.take(&mut rng), None);
    }

    #[test]
    fn sessions_keep_theirs_when_there_are_more_threads_or_fewer() {
        let mut rng = StdRng::seed_from_u64(6);
        let mut before: Vec<_> = (0..2).map(|thread| Cids::new(thread, 2)).collect();
        let held: Vec<_> = (0..1500)
            .map(|n: usize| before[n % 2].take(&mut rng).unwrap())
            .collect();
        for threads in [1, 2, 3] {
            let mut after: Vec<_> = (0..threads)
                .map(|thread| Cids::new(thread, usize::from(threads)))
                .collect();
            // Every third session lives.
            for (number, cid) in held.iter().enumerate().step_by(3) {
                let thread = thread_of(*cid, usize::from(threads));
                for (at, cids) in after.iter_mut().enumerate() {
                    let restored = cids.restore(*cid, peer(number as u32), &mut rng);
                    let expected = if at == usize::from(thread) {
                        Ok(None)
                    } else {
                        Err(NotOurs)
                    };
                    assert_eq!(restored, expected);
                }
            }
            after.iter_mut().for_each(Cids::restored);
            let mut alive: HashSet<_> = held.iter().step_by(3).copied().collect();
            for cids in &mut after {
                for _ in 0..1000 {
                    assert!(alive.insert(cids.take(&mut rng).unwrap()), "given twice");
                }
                let places: usize = cids.tables.iter().map(|table| table.places.len()).sum();
                let restored = held
                    .iter()
                    .step_by(3)
                    .filter(|cid| cids.find(**cid) != Found::Nobody);
                let restored = restored.filter(|cid| thread_of(**cid, usize::from(threads)) == cids.thread);
                // Its virtual shards get their turn alike, so a few may have one place more than they need.
                assert!(places <= restored.count() + 1000 + 256, "{places} places");
            }
            for (number, cid) in held.iter().enumerate().step_by(3) {
                let thread = thread_of(*cid, usize::from(threads));
                assert_eq!(
                    after[usize::from(thread)].find(*cid),
                    Found::Here(Holder::Session(peer(number as u32)))
                );
            }
        }
    }

    #[test]
    fn of_two_restored_sessions_in_one_slot_the_earlier_is_told_of() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut cids = Cids::new(0, 1);
        let earlier = ConnectionId::new([9, 0, 0, 0, 5, 0, 0, 1]);
        let later = ConnectionId::new([9, 0, 0, 0, 5, 0, 0, 2]);
        assert_eq!(cids.restore(earlier, peer(1), &mut rng), Ok(None));
        assert_eq!(
            cids.restore(later, peer(2), &mut rng),
            Ok(Some(Holder::Session(peer(1))))
        );
        assert_eq!(cids.find(earlier), Found::Nobody);
        assert_eq!(cids.find(later), Found::Here(Holder::Session(peer(2))));
        cids.release(earlier);
        assert_eq!(cids.find(later), Found::Here(Holder::Session(peer(2))));
    }

    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Place>(), 16);
    }

    fn peer(slot: u32) -> PeerId {
        PeerId::new(slot, 1).unwrap()
    }
}
