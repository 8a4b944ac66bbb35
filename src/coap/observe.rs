//! Observations (RFC 7641): their numbers, and what is kept about each.

use super::id::Token;
use super::request::ContentFormat;

/// The number of a notification, 24 bits. Wraps, so it has no order but [`Self::is_newer_than`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObserveSeq(u32);

/// A device observes a resource. There is one of these per session and resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Names the resource; the handler's own numbering.
    pub resource: u8,
    /// The token of the registration, and so of all notifications.
    pub token: Token,
    /// The format wanted ([`super::Request::wanted_format`] of the registration).
    pub accept: Option<ContentFormat>,
    /// The version of the representation that was last sent; 0 for none.
    pub sent: u32,
    /// The number of the last answer or notification.
    pub seq: ObserveSeq,
    pub(super) due: Due,
}

/// Whether the handler is to be asked for a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    No,
    /// If there is another version.
    Changed,
    /// In any case.
    Forced,
}

impl ObserveSeq {
    /// From the value of an Observe option; `None` for more than 24 bits.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value <= MASK { Some(Self(value)) } else { None }
    }

    /// 0 to 2^24 − 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number after `previous`: the time in ticks of 10 ms, or one more than `previous` where that is newer. So
    /// numbers go on across a restart even if the last few were never written down.
    #[must_use]
    pub const fn next(previous: Option<Self>, unix_ms: i64) -> Self {
        let clock = Self((unix_ms.div_euclid(TICK_MS) & MASK as i64) as u32);
        match previous {
            Some(previous) if !clock.is_newer_than(previous) => Self((previous.0 + 1) & MASK),
            Some(_) | None => clock,
        }
    }

    /// Whether `self` follows `other`, for numbers less than 128 seconds apart.
    //= RFC 7641 section 3.4
    //# (V1 < V2 and V2 - V1 < 2^23) or
    //# (V1 > V2 and V1 - V2 > 2^23) or
    #[must_use]
    pub const fn is_newer_than(self, other: Self) -> bool {
        let (v1, v2) = (other.0, self.0);
        (v1 < v2 && v2 - v1 < HALF) || (v1 > v2 && v1 - v2 > HALF)
    }
}

impl Relation {
    /// A relation whose registration was answered with version `sent` under the number `seq`.
    #[must_use]
    pub const fn new(
        resource: u8,
        token: Token,
        accept: Option<ContentFormat>,
        sent: u32,
        seq: ObserveSeq,
    ) -> Self {
        Self {
            resource,
            token,
            accept,
            sent,
            seq,
            due: Due::No,
        }
    }
}

const MASK: u32 = (1 << 24) - 1;
const HALF: u32 = 1 << 23;
/// At most one notification in 10 ms goes to a device, so the clock never falls behind the numbers for long.
const TICK_MS: i64 = 10;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seq(value: u32) -> ObserveSeq {
        ObserveSeq::new(value).unwrap()
    }

    #[test]
    fn rfc7641_3_4_newer_by_the_formula() {
        let table = [
            (1, 2, true),
            (2, 1, false),
            (7, 7, false),
            (0xff_ffff, 0, true),
            (0, 0xff_ffff, false),
            (0, (1 << 23) - 1, true),
            (0, 1 << 23, false),
            ((1 << 23) + 1, 0, true),
            (1 << 23, 0, false),
        ];
        for (v1, v2, newer) in table {
            assert_eq!(seq(v2).is_newer_than(seq(v1)), newer, "{v1} then {v2}");
        }
        assert_eq!(ObserveSeq::new(1 << 24), None);
    }

    #[test]
    fn numbers_follow_the_clock_and_never_go_back() {
        let day = 86_400_000;
        let first = ObserveSeq::next(None, 20_000 * day);
        assert_eq!(
            ObserveSeq::next(Some(first), 20_000 * day),
            seq(first.get() + 1),
            "two in one tick"
        );
        assert_eq!(
            ObserveSeq::next(Some(first), 20_000 * day - 5_000),
            seq(first.get() + 1),
            "clock set back"
        );
        assert_eq!(
            ObserveSeq::next(Some(first), 20_000 * day + 50),
            seq(first.get() + 5)
        );
    }

    #[test]
    fn numbers_wrap_at_24_bits_without_becoming_older() {
        let last = seq(0xff_ffff);
        let next = ObserveSeq::next(Some(last), 0xff_ffff * 10);
        assert_eq!(next, seq(0));
        assert!(next.is_newer_than(last));
        assert_eq!(ObserveSeq::next(Some(last), (1 << 24) * 10 + 30), seq(3));
    }

    #[test]
    fn rule_17_a_restart_that_forgot_the_last_number_still_sends_a_newer_one() {
        let before = ObserveSeq::next(None, 1_800_000_000_000);
        let after = ObserveSeq::next(None, 1_800_000_000_010);
        assert!(after.is_newer_than(before));
    }
}
