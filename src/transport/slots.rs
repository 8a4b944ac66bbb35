//! A table of peers: stable numbered places, each with a generation that refuses whoever still names its last occupant,
//! and the order in which they were last heard from, by [`Lane`].
//!
//! The table grows by pages and never moves what it holds: doubling a vector of a million peers would need all the
//! memory twice. The free list and the order run through the places themselves.

use std::num::NonZeroU32;

/// Names one occupant of one place. Stale once that occupant is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerId {
    slot: u32,
    generation: NonZeroU32,
}

/// The table.
#[derive(Debug)]
pub struct Slots<T> {
    pages: Vec<Vec<Slot<T>>>,
    occupied: usize,
    free: Option<u32>,
    orders: [Order; 2],
    first_generation: NonZeroU32,
}

/// Occupants of one lane are ordered among themselves: whoever ends those that have been silent for too long looks at each
/// lane's oldest, and may have more patience with one lane than with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Whoever says nothing else.
    Usual,
    /// Those that may be silent for longer.
    Patient,
}

/// The ends of a lane.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    newest: Option<u32>,
    oldest: Option<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: NonZeroU32,
    /// Towards the newest; for a free place the next free one.
    newer: Option<u32>,
    older: Option<u32>,
    lane: Lane,
    value: Option<T>,
}

impl PeerId {
    /// The number of the place.
    #[must_use]
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// An identifier of nobody, for tests of what happens to the stale.
    #[cfg(test)]
    pub fn new(slot: u32, generation: u32) -> Option<Self> {
        Some(Self {
            slot,
            generation: NonZeroU32::new(generation)?,
        })
    }
}

impl<T> Slots<T> {
    /// An empty table whose places start with the given generation. A random one keeps identifiers of an earlier run
    /// from meaning anything.
    #[must_use]
    pub fn new(first_generation: u32) -> Self {
        Self {
            pages: Vec::new(),
            occupied: 0,
            free: None,
            orders: [Order::default(); 2],
            first_generation: NonZeroU32::new(first_generation).unwrap_or(NonZeroU32::MIN),
        }
    }

    /// Puts `value` in a place, as the one heard from most recently.
    ///
    /// # Panics
    /// When 2^32 places are occupied, which no memory holds.
    pub fn insert(&mut self, value: T) -> PeerId {
        self.insert_in(Lane::Usual, value)
    }

    /// As [`Self::insert`], in that lane.
    ///
    /// # Panics
    /// As [`Self::insert`].
    pub fn insert_in(&mut self, lane: Lane, value: T) -> PeerId {
        let slot = match self.free {
            Some(slot) => {
                self.free = self.slot(slot).newer;
                slot
            }
            None => self.grow(),
        };
        let place = self.slot_mut(slot);
        place.value = Some(value);
        place.lane = lane;
        let id = PeerId {
            slot,
            generation: place.generation,
        };
        self.occupied += 1;
        self.link_newest(slot);
        id
    }

    /// Takes the occupant out; `None` when it is gone already.
    pub fn remove(&mut self, id: PeerId) -> Option<T> {
        self.get(id)?;
        self.unlink(id.slot);
        let free = self.free.replace(id.slot);
        let place = self.slot_mut(id.slot);
        place.generation = place.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        place.newer = free;
        self.occupied -= 1;
        self.slot_mut(id.slot).value.take()
    }

    /// The occupant, unless it is gone.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut T> {
        let place = self
            .pages
            .get_mut(page_of(id.slot))?
            .get_mut(offset_of(id.slot))?;
        if place.generation == id.generation {
            place.value.as_mut()
        } else {
            None
        }
    }

    /// Makes the occupant the one heard from most recently.
    pub fn touch(&mut self, id: PeerId) {
        if self.get(id).is_some() && self.slot(id.slot).newer.is_some() {
            self.unlink(id.slot);
            self.link_newest(id.slot);
        }
    }

    /// The occupant, unless it is gone.
    #[must_use]
    pub fn get(&self, id: PeerId) -> Option<&T> {
        let place = self.pages.get(page_of(id.slot))?.get(offset_of(id.slot))?;
        if place.generation == id.generation {
            place.value.as_ref()
        } else {
            None
        }
    }

    /// The one of the usual lane not heard from for the longest.
    #[must_use]
    pub fn oldest(&self) -> Option<PeerId> {
        self.oldest_in(Lane::Usual)
    }

    /// The one of that lane not heard from for the longest.
    #[must_use]
    pub fn oldest_in(&self, lane: Lane) -> Option<PeerId> {
        self.orders[lane as usize].oldest.map(|slot| PeerId {
            slot,
            generation: self.slot(slot).generation,
        })
    }

    /// The first occupant at or after place `from`: repeated with the place after it, a walk that may be interrupted
    /// and goes on wherever it was, whoever came and went meanwhile.
    #[must_use]
    pub fn at_or_after(&self, from: u32) -> Option<PeerId> {
        (from..self.places())
            .map(|slot| (slot, self.slot(slot)))
            .find(|(_, place)| place.value.is_some())
            .map(|(slot, place)| PeerId {
                slot,
                generation: place.generation,
            })
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(self.at_or_after(0), |id| self.at_or_after(id.slot + 1))
            .filter_map(|id| self.get(id))
    }

    /// How many places are occupied.
    #[must_use]
    pub fn len(&self) -> usize {
        self.occupied
    }

    fn places(&self) -> u32 {
        match self.pages.split_last() {
            Some((last, full)) => (full.len() * PAGE + last.len()) as u32,
            None => 0,
        }
    }

    fn grow(&mut self) -> u32 {
        let slot = self.places();
        assert!(slot < u32::MAX, "2^32 peers");
        if offset_of(slot) == 0 {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let generation = self.first_generation;
        self.pages[page_of(slot)].push(Slot {
            generation,
            newer: None,
            older: None,
            lane: Lane::Usual,
            value: None,
        });
        slot
    }

    fn link_newest(&mut self, slot: u32) {
        let lane = self.slot(slot).lane as usize;
        let before = self.orders[lane].newest.replace(slot);
        let place = self.slot_mut(slot);
        place.newer = None;
        place.older = before;
        match before {
            Some(before) => self.slot_mut(before).newer = Some(slot),
            None => self.orders[lane].oldest = Some(slot),
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Slot {
            newer, older, lane, ..
        } = *self.slot(slot);
        let order = &mut self.orders[lane as usize];
        if newer.is_none() {
            order.newest = older;
        }
        if older.is_none() {
            order.oldest = newer;
        }
        if let Some(newer) = newer {
            self.slot_mut(newer).older = older;
        }
        if let Some(older) = older {
            self.slot_mut(older).newer = newer;
        }
    }

    fn slot(&self, slot: u32) -> &Slot<T> {
        &self.pages[page_of(slot)][offset_of(slot)]
    }

    fn slot_mut(&mut self, slot: u32) -> &mut Slot<T> {
        &mut self.pages[page_of(slot)][offset_of(slot)]
    }
}

fn page_of(slot: u32) -> usize {
    slot as usize / PAGE
}

fn offset_of(slot: u32) -> usize {
    slot as usize % PAGE
}

/// Places in a page: large enough that pages are few, small enough that an idle gateway holds little.
const PAGE: usize = 256;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_identifier_reaches_nobody() {
        let mut slots = Slots::new(7);
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(first.slot(), second.slot(), "the place is used again");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.get(PeerId::new(9999, 7).unwrap()), None);
    }

    #[test]
    fn a_generation_wraps_past_zero() {
        let mut slots = Slots::new(u32::MAX);
        let last = slots.insert(());
        slots.remove(last);
        let next = slots.insert(());
        assert_ne!(last, next);
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn the_order_is_that_of_last_hearing() {
        let mut slots = Slots::new(1);
        let ids: Vec<_> = (0..5).map(|n| slots.insert(n)).collect();
        slots.touch(ids[0]);
        slots.touch(ids[2]);
        slots.remove(ids[3]);
        let mut order = Vec::new();
        while let Some(id) = slots.oldest() {
            order.push(slots.remove(id).unwrap());
        }
        assert_eq!(order, [1, 4, 0, 2]);
        assert_eq!(slots.len(), 0);
    }

    #[test]
    fn each_lane_has_an_order_of_its_own() {
        let mut slots = Slots::new(1);
        let lane = |number: usize| [Lane::Usual, Lane::Patient][number % 2];
        let ids: Vec<_> = (0..6)
            .map(|number| slots.insert_in(lane(number), number))
            .collect();
        slots.touch(ids[1]);
        slots.touch(ids[0]);
        slots.touch(ids[0]);
        slots.remove(ids[2]);
        let again = slots.insert_in(Lane::Patient, 7);
        assert_eq!(
            again.slot(),
            ids[2].slot(),
            "a place changes lanes with its occupant"
        );
        let orders = [Lane::Usual, Lane::Patient].map(|lane| {
            let oldest = std::iter::from_fn(|| {
                let id = slots.oldest_in(lane)?;
                slots.remove(id)
            });
            oldest.collect::<Vec<_>>()
        });
        assert_eq!(orders, [vec![4, 0], vec![3, 5, 1, 7]]);
        assert_eq!(slots.len(), 0);
    }

    #[test]
    fn a_walk_sees_everyone_across_pages_and_gaps() {
        let mut slots = Slots::new(1);
        let ids: Vec<_> = (0..PAGE * 2 + 10).map(|n| slots.insert(n)).collect();
        for id in ids.iter().skip(3).step_by(2) {
            slots.remove(*id);
        }
        let mut seen = 0;
        let mut from = 0;
        while let Some(id) = slots.at_or_after(from) {
            assert!(slots.get(id).is_some());
            seen += 1;
            from = id.slot() + 1;
        }
        assert_eq!(seen, slots.len());
    }
}
