//! A timer wheel: very many deadlines, each set and met in constant time.
//!
//! Six levels of 64 slots. A slot of level n spans 64^n milliseconds; a key waits in the level whose slots are just fine
//! enough to tell its deadline from the present, and moves down as time passes: at most five times in its life. Keys lie
//! in one array and are chained, so that moving costs no allocation.

use std::time::{Duration, Instant};

/// Deadlines with keys. There is no way to take one out: keys carry a generation, and whoever gets a key checks whether it
/// still means something.
#[derive(Debug)]
pub struct Wheel<K> {
    start: Instant,
    /// Milliseconds since `start` that are over and done with.
    elapsed: u64,
    levels: [Level; LEVELS],
    entries: Vec<Entry<K>>,
    free: Option<u32>,
    len: usize,
}

/// One turn of 64 slots.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Bit n: slot n holds something.
    occupied: u64,
    /// Where each slot's chain begins; meaningless for an empty slot.
    heads: [u32; SLOTS],
}

#[derive(Debug)]
struct Entry<K> {
    deadline: u64,
    next: Option<u32>,
    /// `None` in the chain of free entries.
    key: Option<K>,
}

impl<K> Wheel<K> {
    /// An empty wheel. Deadlines before `start` count as `start`.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            elapsed: 0,
            levels: [Level {
                occupied: 0,
                heads: [0; SLOTS],
            }; LEVELS],
            entries: Vec::new(),
            free: None,
            len: 0,
        }
    }

    /// Returns `key` from the first [`Self::expire`] at or after `deadline`, up to a millisecond late, never early.
    ///
    /// # Panics
    ///
    /// With 2^32 keys in it.
    pub fn insert(&mut self, deadline: Instant, key: K) {
        let since_start = deadline.saturating_duration_since(self.start);
        let deadline = since_start.as_nanos().div_ceil(NANOS_PER_TICK);
        let deadline = u64::try_from(deadline).unwrap_or(u64::MAX);
        let entry = Entry {
            deadline,
            next: None,
            key: Some(key),
        };
        let index = if let Some(index) = self.free {
            let slot = &mut self.entries[index as usize];
            self.free = slot.next;
            *slot = entry;
            index
        } else {
            let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 timers");
            self.entries.push(entry);
            index
        };
        self.len += 1;
        self.place(index);
    }

    /// Moves all keys whose deadline has come to the end of `expired`, by deadline, those of the same millisecond in any
    /// order. Time does not go back: an earlier `now` than before counts as that one.
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<K>) {
        let now = now.saturating_duration_since(self.start).as_nanos() / NANOS_PER_TICK;
        let now = u64::try_from(now).unwrap_or(u64::MAX).max(self.elapsed);
        while let Some((tick, level, slot)) = self.first().filter(|(tick, ..)| *tick <= now) {
            self.elapsed = self.elapsed.max(tick);
            let mut next = self.levels[level].take(slot);
            while let Some(index) = next {
                let entry = &mut self.entries[index as usize];
                next = entry.next.take();
                if entry.deadline > self.elapsed {
                    self.place(index);
                } else if let Some(key) = entry.key.take() {
                    entry.next = self.free.replace(index);
                    self.len -= 1;
                    expired.push(key);
                }
            }
        }
        self.elapsed = now;
        if self.len == 0 {
            // A burst leaves no memory behind.
            self.entries = Vec::new();
            self.free = None;
        }
    }

    /// When to call [`Self::expire`]; `None` if there are no keys. Never later than the next deadline's millisecond, and
    /// possibly earlier: then nothing expires, and the next answer is closer.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let (tick, ..) = self.first()?;
        // A deadline too far for the clock to name is never met anyway.
        self.start
            .checked_add(Duration::from_millis(tick))
            .or(Some(self.start + FAR))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an entry where its deadline belongs, seen from `elapsed`.
    fn place(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let deadline = entry
            .deadline
            .max(self.elapsed)
            .min(self.elapsed.saturating_add(REACH));
        let differs = deadline ^ self.elapsed;
        // The highest bit in which they differ decides the level; past the last one it wraps around within that level.
        let level = (differs.checked_ilog2().unwrap_or(0) / SLOT_BITS).min(LEVELS as u32 - 1);
        let slot = (deadline >> (level * SLOT_BITS)) as usize % SLOTS;
        entry.next = self.levels[level as usize].put(slot, index);
    }

    /// The slot that has to be looked at first, and when.
    fn first(&self) -> Option<(u64, usize, usize)> {
        let firsts = self
            .levels
            .iter()
            .enumerate()
            .filter_map(|(level, Level { occupied, .. })| {
                let shift = level as u32 * SLOT_BITS;
                let here = self.elapsed >> shift;
                let position = here as u32 % SLOTS as u32;
                let ahead = occupied.rotate_right(position);
                if ahead == 0 {
                    return None;
                }
                let steps = ahead.trailing_zeros();
                let tick = ((here + u64::from(steps)) << shift).max(self.elapsed);
                Some((tick, level, ((position + steps) as usize) % SLOTS))
            });
        firsts.min()
    }
}

impl Level {
    /// Begins the slot's chain with `index` and returns what follows it.
    fn put(&mut self, slot: usize, index: u32) -> Option<u32> {
        let occupied = self.occupied & 1 << slot != 0;
        self.occupied |= 1 << slot;
        let head = std::mem::replace(&mut self.heads[slot], index);
        occupied.then_some(head)
    }

    /// Empties the slot and returns where its chain began.
    fn take(&mut self, slot: usize) -> Option<u32> {
        let occupied = self.occupied & 1 << slot != 0;
        self.occupied &= !(1 << slot);
        occupied.then_some(self.heads[slot])
    }
}

const NANOS_PER_TICK: u128 = 1_000_000;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 64^6 ms are two years.
const LEVELS: usize = 6;
/// What is further away waits in the last slot of the last turn, and is placed anew from there. One slot short of a whole
/// turn, so that a slot never holds both the nearest and the farthest.
const REACH: u64 = (SLOTS as u64 - 1) << (SLOT_BITS * (LEVELS as u32 - 1));
/// A year.
const FAR: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_key_comes_in_its_millisecond_and_not_before() {
        let start = Instant::now();
        for delay in [
            1,
            2,
            63,
            64,
            65,
            4095,
            4096,
            4097,
            262_143,
            262_144,
            1_000_000,
            DAY,
            30 * DAY,
        ] {
            let (mut wheel, mut expired) = (Wheel::new(start), Vec::new());
            wheel.insert(start + ms(delay), delay);
            wheel.expire(start + ms(delay) - Duration::from_nanos(1), &mut expired);
            assert!(expired.is_empty(), "{delay} came early");
            assert_eq!(wheel.len(), 1);
            wheel.expire(start + ms(delay), &mut expired);
            assert_eq!(expired, [delay]);
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn a_fraction_of_a_millisecond_is_never_early() {
        let start = Instant::now();
        let (mut wheel, mut expired) = (Wheel::new(start), Vec::new());
        wheel.insert(start + Duration::from_micros(1500), ());
        wheel.expire(start + Duration::from_micros(1999), &mut expired);
        assert!(expired.is_empty());
        wheel.expire(start + ms(2), &mut expired);
        assert_eq!(expired.len(), 1);
    }

    #[test]
    fn what_is_overdue_comes_at_once() {
        let start = Instant::now();
        let (mut wheel, mut expired) = (Wheel::new(start + ms(100)), Vec::new());
        wheel.expire(start + ms(5_000), &mut expired);
        wheel.insert(start, 'a');
        wheel.insert(start + ms(4_000), 'b');
        assert!(wheel.next_deadline().unwrap() <= start + ms(5_000));
        wheel.expire(start + ms(5_000), &mut expired);
        expired.sort_unstable();
        assert_eq!(expired, ['a', 'b']);
    }

    #[test]
    fn following_next_deadline_reaches_a_far_one_in_few_steps() {
        let start = Instant::now();
        for delay in [30 * DAY, 3_000 * DAY] {
            let (mut wheel, mut expired) = (Wheel::new(start), Vec::new());
            wheel.insert(start + ms(delay), ());
            let mut steps = 0;
            while expired.is_empty() {
                let next = wheel.next_deadline().unwrap();
                assert!(next <= start + ms(delay));
                wheel.expire(next, &mut expired);
                steps += 1;
            }
            assert!(steps <= 12, "{steps} steps to {delay}");
        }
    }

    #[test]
    fn a_million_keys_come_in_order() {
        let start = Instant::now();
        let (mut wheel, mut expired) = (Wheel::new(start), Vec::new());
        let delay = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (30 * DAY) + 1;
        for key in 0..1_000_000 {
            wheel.insert(start + ms(delay(key)), key);
        }
        assert_eq!(wheel.len(), 1_000_000);
        wheel.expire(start + ms(15 * DAY), &mut expired);
        assert!(expired.iter().all(|key| delay(*key) <= 15 * DAY));
        let half = expired.len();
        wheel.expire(start + ms(30 * DAY), &mut expired);
        assert!(expired[half..].iter().all(|key| delay(*key) > 15 * DAY));
        assert!(expired.is_sorted_by_key(|key| delay(*key)));
        assert_eq!(expired.len(), 1_000_000);
    }

    proptest! {
        #[test]
        fn the_wheel_agrees_with_a_sorted_map(
            steps in prop::collection::vec(
                (prop_oneof![0..200u64, 0..100_000u64, 0..31 * DAY], prop_oneof![0..50u64, 0..10_000u64, 0..10 * DAY]),
                1..80,
            ),
        ) {
            let start = Instant::now();
            let mut wheel = Wheel::new(start);
            let mut map: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            let mut now = 0;
            for (key, (delay, pause)) in steps.into_iter().enumerate() {
                wheel.insert(start + ms(now + delay), key);
                map.entry(now + delay).or_default().push(key);
                let next = wheel.next_deadline().unwrap().duration_since(start).as_millis() as u64;
                prop_assert!(next <= (*map.keys().next().unwrap()).max(now));
                now += pause;
                let mut expired = Vec::new();
                wheel.expire(start + ms(now), &mut expired);
                let later = map.split_off(&(now + 1));
                let due: Vec<usize> = std::mem::replace(&mut map, later).into_values().flatten().collect();
                let sorted = |mut keys: Vec<usize>| { keys.sort_unstable(); keys };
                prop_assert_eq!(sorted(expired), sorted(due));
                prop_assert_eq!(wheel.len(), map.values().map(Vec::len).sum::<usize>());
            }
        }
    }
}
