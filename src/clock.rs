//! The only reader of clocks. Everyone else is given the time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock: for deadlines and durations.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock in milliseconds since 1970-01-01T00:00:00Z: for what is written down or shown.
/// A clock set before 1970 reads as 0.
#[must_use]
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
