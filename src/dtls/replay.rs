//! The replay window of a session (RFC 6347 section 4.1.2.6).

/// Which of the peer's record numbers have been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    /// One above the highest number seen, so 0 before the first.
    next: u64,
    /// Bit `n` stands for number `next - 1 - n`.
    seen: u64,
}

impl ReplayWindow {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { next: 0, seen: 0 }
    }

    /// Refuses every number below `next`.
    pub fn starting_at(next: u64) -> Self {
        Self { next, seen: u64::MAX }
    }

    /// Whether a record of this number may be opened.
    //= RFC 6347 section 4.1.2.6
    //# The receiver packet counter for this session MUST be initialized to zero when the session is
    //# established. For each received record, the receiver MUST verify that the record contains a sequence
    //# number that does not duplicate the sequence number of any other record received during the life of
    //# this session.
    pub fn accepts(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        let age = self.next - 1 - number;
        age < u64::from(u64::BITS) && self.seen & (1 << age) == 0
    }

    /// Marks a number as seen.
    //= RFC 6347 section 4.1.2.6
    //# The receive window is updated only if the MAC verification succeeds.
    pub fn mark(&mut self, number: u64) {
        if number >= self.next {
            let shift = number - self.next + 1;
            self.seen = if shift < u64::from(u64::BITS) {
                self.seen << shift
            } else {
                0
            } | 1;
            self.next = number + 1;
        } else {
            let age = self.next - 1 - number;
            if age < u64::from(u64::BITS) {
                self.seen |= 1 << age;
            }
        }
    }

    /// Whether this number lies above all that have been seen.
    pub fn is_newest(&self, number: u64) -> bool {
        number >= self.next
    }

    /// One above the highest number seen.
    pub fn next(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_accepted_once_in_any_order_within_64() {
        let mut window = ReplayWindow::new();
        for number in [0, 5, 3, 64, 4, 66] {
            assert!(window.accepts(number), "{number}");
            window.mark(number);
            assert!(!window.accepts(number), "{number}");
        }
        assert!(!window.accepts(2), "older than the window");
        assert!(window.accepts(6));
        assert_eq!(window.next(), 67);
    }

    #[test]
    fn a_far_jump_forgets_the_window_but_not_the_newest() {
        let mut window = ReplayWindow::new();
        window.mark(1);
        window.mark((1 << 48) - 1);
        assert!(!window.accepts((1 << 48) - 1));
        assert!(window.accepts((1 << 48) - 2));
        assert!(!window.accepts(1));
    }

    #[test]
    fn a_restored_window_takes_only_what_lies_above_the_mark() {
        let window = ReplayWindow::starting_at(100);
        assert!(!window.accepts(99));
        assert!(!window.accepts(36));
        assert!(window.accepts(100));
    }
}
