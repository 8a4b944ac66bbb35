//! How long it takes until a device has been told of a change.
//!
//! 1. A peer that observes something is woken: [`Delay::woken`].
//! 2. Its notification goes out for the first time ([`Delay::sent`]), or there was nothing to tell ([`Delay::nothing_due`]).
//! 3. The device acknowledges it ([`Delay::acknowledged`]), or it ends otherwise ([`Delay::over`]).
//!
//! A device that was silent through all transmissions is told once it is heard of again; how long it was silent is nobody's delay.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A moment of a shard in milliseconds since it began. There are two for each peer, so they are small; they wrap after 49 days,
/// and what lies between two of them is right up to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(NonZeroU32);

/// What is measured of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay {
    /// The first change that it may not have been sent.
    woken: Option<Moment>,
    /// The change that the notification in flight tells of.
    in_flight: Option<Moment>,
}

impl Delay {
    /// There may be something to tell.
    pub fn woken(&mut self, since: Moment) {
        self.woken.get_or_insert(since);
    }

    /// There was not.
    pub fn nothing_due(&mut self) {
        self.woken = None;
    }

    /// A notification goes out for the first time; since when it was due, if that is known. One that takes the place of another
    /// without a wake of its own tells of the same change, for all we know.
    pub fn sent(&mut self, now: Moment) -> Option<Duration> {
        self.in_flight = self.woken.take().or(self.in_flight);
        self.in_flight.map(|since| since.until(now))
    }

    /// The device has it; since when it was due, if that is known.
    pub fn acknowledged(&mut self, now: Moment) -> Option<Duration> {
        self.in_flight.take().map(|since| since.until(now))
    }

    /// Nobody waits for its acknowledgement any more.
    pub fn over(&mut self) {
        self.in_flight = None;
    }
}

impl Moment {
    /// What the clock shows, in a shard that began at `beginning`.
    pub fn at(now: Instant, beginning: Instant) -> Self {
        let ms = now.saturating_duration_since(beginning).as_millis() as u32;
        // One more, as there is no 0; a difference of theirs does not notice.
        Self(NonZeroU32::new(ms.wrapping_add(1)).unwrap_or(NonZeroU32::MIN))
    }

    fn until(self, now: Self) -> Duration {
        Duration::from_millis(now.0.get().wrapping_sub(self.0.get()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_right_over_the_end_of_its_numbers() {
        let beginning = Instant::now();
        let at = |ms| Moment::at(beginning + Duration::from_millis(ms), beginning);
        let wraps = 1 << 32;
        for (from, to) in [
            (1, 1),
            (5, 1005),
            (wraps - 3, wraps + 4),
            (wraps + 1, wraps + 70_000),
        ] {
            assert_eq!(
                at(from).until(at(to)),
                Duration::from_millis(to - from),
                "{from} to {to}"
            );
        }
        assert_eq!(size_of::<Delay>(), 8);
    }
}
