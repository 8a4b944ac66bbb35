//! How far ahead of their use a session reserves record numbers in the session log.
//!
//! Numbers are asked for in ranges of [`RESERVATION`], the next one when half of the last is used (`DTLS.md` 3). A session so
//! fast that it comes close to the end before the log has synced asks further ahead from then on.

use crate::dtls::{MAX_RECORD_NUMBER, RESERVATION};

/// What a session has asked the log for. Two bytes, as every connected device has one.
#[derive(Debug, Clone, Copy)]
pub struct Ranges {
    /// Ranges asked for and not granted.
    asked: u8,
    /// Ranges to have in hand, granted and asked for.
    ahead: u8,
}

impl Ranges {
    /// A session with its first range in hand.
    pub fn new() -> Self {
        Self { asked: 0, ahead: 1 }
    }

    /// The end to ask for, if it is time, for a session about to use the number `next` of those below `granted`. To be
    /// followed by [`Self::asked`] where the log took the question.
    pub fn wanted(self, next: u64, granted: u64) -> Option<u64> {
        let in_hand = granted
            .saturating_add(u64::from(self.asked) * RESERVATION)
            .min(MAX_RECORD_NUMBER);
        let enough = u64::from(self.ahead) * RESERVATION - RESERVATION / 2;
        let more =
            in_hand < MAX_RECORD_NUMBER && in_hand.saturating_sub(next) <= enough && self.asked < AHEAD_MAX;
        more.then(|| in_hand.saturating_add(RESERVATION).min(MAX_RECORD_NUMBER))
    }

    /// Whether the log has been asked for a range and has not granted it yet.
    pub fn is_waiting(self) -> bool {
        self.asked > 0
    }

    /// The log took the question.
    pub fn asked(&mut self) {
        self.asked += 1;
    }

    /// The log has synced a range, when the session was about to use `next` of those below `granted` before it.
    pub fn granted(&mut self, next: u64, granted: u64) {
        self.asked = self.asked.saturating_sub(1);
        if granted.saturating_sub(next) < RESERVATION / 4 {
            self.ahead = (self.ahead * 2).min(AHEAD_MAX);
        }
    }
}

/// The most ranges in hand: 16 384 records outlast a sync of 300 ms at 50 000 datagrams a second to one device.
const AHEAD_MAX: u8 = 16;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn a_calm_session_asks_at_half_way_and_for_one_range() {
        let mut ranges = Ranges::new();
        assert_eq!(ranges.wanted(RESERVATION / 2 - 1, RESERVATION), None);
        assert_eq!(ranges.wanted(RESERVATION / 2, RESERVATION), Some(2 * RESERVATION));
        ranges.asked();
        assert_eq!(ranges.wanted(RESERVATION - 1, RESERVATION), None);
        ranges.granted(RESERVATION / 2 + 3, RESERVATION);
        assert_eq!(ranges.wanted(RESERVATION / 2 + 3, 2 * RESERVATION), None);
    }

    #[test]
    fn a_session_faster_than_the_disk_stops_stalling() {
        for records_per_sync in [100, 600, 2000, 8000] {
            let (stalls, asked) = run(records_per_sync, 200_000);
            assert!(
                stalls <= 5,
                "{records_per_sync} records a sync: stalled {stalls} times"
            );
            assert!(asked <= 200_000 / RESERVATION + 17, "asked {asked} times");
        }
    }

    #[test]
    fn nothing_is_asked_for_past_the_last_number() {
        assert_eq!(
            Ranges::new().wanted(MAX_RECORD_NUMBER - 1, MAX_RECORD_NUMBER),
            None
        );
        let granted = MAX_RECORD_NUMBER - 10;
        assert_eq!(
            Ranges::new().wanted(granted - 1, granted),
            Some(MAX_RECORD_NUMBER)
        );
    }

    /// Uses `records` numbers, one a tick, over a log that grants each range so many ticks after it was asked for.
    /// Returns how often the session had to wait, and how often it asked.
    fn run(ticks_per_sync: u64, records: u64) -> (u32, u64) {
        let (mut ranges, mut next, mut end) = (Ranges::new(), 0, RESERVATION);
        let mut log: VecDeque<(u64, u64)> = VecDeque::new();
        let (mut stalls, mut stalled, mut asked) = (0, false, 0);
        for tick in 0.. {
            while let Some(&(_, granted)) = log.front().filter(|(due, _)| *due <= tick) {
                ranges.granted(next, end);
                end = granted;
                log.pop_front();
            }
            if next < end {
                next += 1;
                stalled = false;
            } else if !std::mem::replace(&mut stalled, true) {
                stalls += 1;
            }
            while let Some(wanted) = ranges.wanted(next, end) {
                ranges.asked();
                asked += 1;
                log.push_back((tick + ticks_per_sync, wanted));
            }
            if next == records {
                break;
            }
        }
        (stalls, asked)
    }
}
