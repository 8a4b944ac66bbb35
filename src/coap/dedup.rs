//! What a peer may send twice: the last answered POSTs ([`Recent`]), the blocks of its downloads ([`Transfers`]) and the
//! requests that are still being worked on ([`Waiting`]).

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::block::Block;
use super::code::{Code, Method};
use super::endpoint::MAX_PENDING;
use super::id::{MessageId, Token};
use super::request::Request;

/// The answers to the last POSTs, PUTs and DELETEs, to be repeated without a second effect.
#[derive(Debug)]
pub struct Recent {
    mids: [MessageId; RECENT],
    /// [`Code::EMPTY`] where there is no answer yet.
    codes: [Code; RECENT],
    next: u8,
    latest: Option<Instant>,
}

/// Tells late copies of a download's earlier requests from the current one.
///
/// Devices match a block's answer by its token alone, and all blocks of a download have the same one: an answer to a late
/// copy would be written as the current block (`CONTRACT`, rule 15). A copy of the newest request is answered: the first
/// answer may have been lost.
#[derive(Debug, Default)]
pub struct Transfers {
    /// The one used last comes first.
    slots: [Option<Transfer>; 2],
}

/// One download.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    token: Token,
    newest: MessageId,
    /// Bit n: the message ID n before the newest has been seen. A copy later than this is one that DTLS does not let
    /// through: its replay window is as wide, and a message takes at least a record.
    seen: NonZeroU64,
}

/// The requests whose answers are being worked on. Each is answered once, under the message ID that it came with last.
#[derive(Debug, Default)]
pub struct Waiting(Vec<Pending>);

/// A request whose answer is being worked on.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// What is to be done.
    pub method: Method,
    /// As it first came.
    pub first: MessageId,
    /// As it last came: the answer goes there.
    pub newest: MessageId,
    /// Its token.
    pub token: Token,
    /// Whether it is answered in an ACK.
    pub confirmable: bool,
    /// To be echoed.
    pub block1: Option<Block>,
    /// What it wants, payload included.
    fingerprint: u64,
    /// When it last came again.
    again: Option<Instant>,
}

impl Recent {
    /// Keeps the answer to the request with this message ID, in place of the oldest one.
    pub fn remember(&mut self, now: Instant, mid: MessageId, code: Code) {
        self.forget_old(now);
        let known = (0..RECENT).find(|slot| self.codes[*slot] != Code::EMPTY && self.mids[*slot] == mid);
        let slot = known.unwrap_or_else(|| {
            let slot = usize::from(self.next);
            self.next = (self.next + 1) % RECENT as u8;
            slot
        });
        self.mids[slot] = mid;
        self.codes[slot] = code;
        self.latest = Some(now);
    }

    /// The answer to the request with this message ID.
    pub fn recall(&mut self, now: Instant, mid: MessageId) -> Option<Code> {
        self.forget_old(now);
        let mut kept = self.mids.iter().zip(self.codes);
        kept.find(|(kept, code)| **kept == mid && *code != Code::EMPTY)
            .map(|(_, code)| code)
    }

    /// A message ID may mean another request once this long has passed; all go at once, with the youngest.
    fn forget_old(&mut self, now: Instant) {
        if self
            .latest
            .is_some_and(|latest| now.saturating_duration_since(latest) > EXCHANGE_LIFETIME)
        {
            *self = Self::default();
        }
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            mids: [MessageId(0); RECENT],
            codes: [Code::EMPTY; RECENT],
            next: 0,
            latest: None,
        }
    }
}

impl Waiting {
    /// Adds a request.
    pub fn add(&mut self, request: &Request<'_>) {
        // Only GETs can exceed the bound, because others are not let through to it; they can be handled again.
        if !self.is_full() {
            self.0.push(Pending {
                method: request.method,
                first: request.mid,
                newest: request.mid,
                token: request.token,
                confirmable: request.confirmable,
                block1: request.block1,
                fingerprint: request.fingerprint(),
                again: None,
            });
        }
    }

    /// Whether there are as many as there may be.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_PENDING
    }

    /// Whether the message is a copy of one being worked on.
    pub fn swallows(&mut self, now: Instant, request: &Request<'_>) -> bool {
        let copied = self.0.iter_mut().find(|pending| {
            pending.first == request.mid || (pending.newest, pending.token) == (request.mid, request.token)
        });
        let Some(pending) = copied else { return false };
        pending.again = Some(now);
        true
    }

    /// Whether the request is one being worked on, sent again under another message ID: it will be answered there. Without
    /// a token nothing would tell the two answers apart.
    pub fn joins(&mut self, now: Instant, request: &Request<'_>) -> bool {
        let mut candidates = self.0.iter_mut().filter(|pending| {
            pending.token == request.token
                && pending.token != Token::EMPTY
                && pending.confirmable == request.confirmable
        });
        let same = candidates.find(|pending| pending.fingerprint == request.fingerprint());
        let Some(pending) = same else { return false };
        pending.newest = request.mid;
        pending.again = Some(now);
        true
    }

    /// A GET with this token came after those that wait: nobody waits for their answers any more.
    pub fn supersede(&mut self, token: Token) {
        self.0
            .retain(|pending| pending.method != Method::Get || pending.token != token);
        self.shrink();
    }

    /// Takes out the request that came first with this message ID and token.
    pub fn take(&mut self, request: (MessageId, Token)) -> Option<Pending> {
        let at = self.0.iter().position(|pending| pending.name() == request)?;
        let pending = self.0.swap_remove(at);
        self.shrink();
        Some(pending)
    }

    /// When the request last came again; `None` if it came once, or waits no more.
    pub fn came_again(&self, request: (MessageId, Token)) -> Option<Instant> {
        let pending = self.0.iter().find(|pending| pending.name() == request)?;
        pending.again
    }

    /// Each as [`Self::take`] names it.
    pub fn names(&self) -> impl Iterator<Item = (MessageId, Token)> {
        self.0.iter().map(Pending::name)
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// A peer that waits for nothing keeps nothing on the heap.
    fn shrink(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

impl Pending {
    fn name(&self) -> (MessageId, Token) {
        (self.first, self.token)
    }
}

impl Transfers {
    /// Takes note of a Block2 GET; false if it is a copy of one that came before the newest of its transfer.
    pub fn admit(&mut self, token: Token, mid: MessageId) -> bool {
        let known = self
            .slots
            .iter()
            .position(|slot| slot.is_some_and(|transfer| transfer.token == token));
        self.slots[..=known.unwrap_or(1)].rotate_right(1);
        match &mut self.slots[0] {
            Some(transfer) if known.is_some() => transfer.admit(mid),
            slot => {
                *slot = Some(Transfer {
                    token,
                    newest: mid,
                    seen: NonZeroU64::MIN,
                });
                true
            }
        }
    }
}

impl Transfer {
    fn admit(&mut self, mid: MessageId) -> bool {
        let ahead = mid.since(self.newest);
        let behind = self.newest.since(mid);
        let copy = behind < 64 && self.seen.get() >> behind & 1 == 1;
        if copy {
            return behind == 0;
        }
        // A client need not count upwards: what was not seen before is the newest, whatever its number.
        let seen = if ahead < 64 { self.seen.get() << ahead } else { 0 };
        self.seen = NonZeroU64::MIN | seen;
        self.newest = mid;
        true
    }
}

/// Answers kept: several times what a device has in flight (`DESIGN` 3.3).
const RECENT: usize = 8;
/// RFC 7252 section 4.8.2: from the first transmission of a message until its message ID may be used again.
pub const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_eight_answers_are_kept() {
        let now = Instant::now();
        let mut recent = Recent::default();
        for mid in 0..9 {
            recent.remember(now, MessageId(mid), Code::CHANGED);
        }
        assert_eq!(recent.recall(now, MessageId(0)), None);
        assert!((1..9).all(|mid| recent.recall(now, MessageId(mid)) == Some(Code::CHANGED)));
    }

    #[test]
    fn an_answer_is_forgotten_when_its_message_id_may_be_used_again() {
        let now = Instant::now();
        let mut recent = Recent::default();
        recent.remember(now, MessageId(7), Code::CHANGED);
        assert_eq!(
            recent.recall(now + EXCHANGE_LIFETIME, MessageId(7)),
            Some(Code::CHANGED)
        );
        assert_eq!(
            recent.recall(now + EXCHANGE_LIFETIME + Duration::from_millis(1), MessageId(7)),
            None
        );
    }

    #[test]
    fn rule_15_a_late_copy_of_an_older_block_request_is_recognised() {
        let token = Token::from([1; 8]);
        let mut transfers = Transfers::default();
        for mid in [0xfffe, 0xffff, 0, 1, 2] {
            assert!(transfers.admit(token, MessageId(mid)));
        }
        assert!(
            transfers.admit(token, MessageId(2)),
            "the newest is answered again"
        );
        for mid in [0xfffe, 0xffff, 0, 1] {
            assert!(!transfers.admit(token, MessageId(mid)));
        }
    }

    #[test]
    fn a_client_may_count_as_it_likes() {
        let token = Token::EMPTY;
        let mut transfers = Transfers::default();
        for mid in [500, 400, 60_000, 3, 499, 2] {
            assert!(transfers.admit(token, MessageId(mid)), "{mid}");
        }
    }

    #[test]
    fn two_transfers_do_not_disturb_each_other() {
        let (a, b, c) = (Token::from([1; 8]), Token::from([2; 8]), Token::from([3; 8]));
        let mut transfers = Transfers::default();
        assert!(
            [(a, 1), (b, 2), (a, 3), (b, 4)]
                .iter()
                .all(|(token, mid)| transfers.admit(*token, MessageId(*mid)))
        );
        assert!(!transfers.admit(a, MessageId(1)));
        assert!(!transfers.admit(b, MessageId(2)));
        assert!(transfers.admit(c, MessageId(5)), "takes the place of a");
        assert!(!transfers.admit(b, MessageId(2)));
    }
}
