//! Handshake messages put together from fragments that arrive in any order, more than once, or contradicting each
//! other (RFC 6347 section 4.2.3). What it holds is bounded, whatever is announced.

use std::collections::VecDeque;

use super::messages::{CERTIFICATE, Fragment, MESSAGE_HEADER_LEN, message};

/// The messages of one flight, in order.
#[derive(Debug)]
pub struct Reassembly {
    /// The message that is handed out next; `slots[0]` belongs to it.
    next_seq: u16,
    slots: VecDeque<Option<Partial>>,
    max_len: usize,
    /// The same for a Certificate, of which a flight has one.
    max_certificate_len: usize,
}

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    /// With an unfragmented header in front, as the transcript wants it.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Partial {
    kind: u8,
    body: Vec<u8>,
    /// One bit for each byte of `body` that has arrived.
    arrived: Vec<u64>,
    missing: usize,
}

impl Reassembly {
    /// Expects message `next_seq`, then those after it, none with a body longer than `max_len` bytes.
    pub fn new(next_seq: u16, max_len: usize) -> Self {
        Self {
            next_seq,
            slots: VecDeque::new(),
            max_len,
            max_certificate_len: max_len,
        }
    }

    /// Expects that one of the messages may be a Certificate.
    #[must_use]
    pub fn with_certificate(mut self) -> Self {
        self.max_certificate_len = MAX_CERTIFICATE_LEN;
        self
    }

    /// Takes a fragment. Those of past messages, of messages too far ahead or too long are dropped.
    //= RFC 6347 section 3.2.2
    //# When a peer receives a handshake message, it can quickly determine whether that message is the next message it
    //# expects. If it is, then it processes it. If not, it queues it for future handling once all previous messages
    //# have been received.
    pub fn insert(&mut self, fragment: &Fragment<'_>) {
        let Some(ahead) = fragment.message_seq.checked_sub(self.next_seq).map(usize::from) else {
            return;
        };
        let is_certificate = fragment.kind == CERTIFICATE;
        let max_len = if is_certificate {
            self.max_certificate_len
        } else {
            self.max_len
        };
        if ahead >= WINDOW || fragment.length > max_len {
            return;
        }
        if is_certificate {
            // The newest stays: a forged one in another place must not be able to keep the true one out.
            for (place, slot) in self.slots.iter_mut().enumerate() {
                if place != ahead {
                    slot.take_if(|partial| partial.kind == CERTIFICATE);
                }
            }
        }
        if self.slots.len() <= ahead {
            self.slots.resize_with(ahead + 1, || None);
        }
        let slot = &mut self.slots[ahead];
        // A fragment that contradicts the ones before it starts over: a forged first one must not be able to keep
        // the true message out for ever.
        let fits = |partial: &Partial| partial.kind == fragment.kind && partial.body.len() == fragment.length;
        if !slot.as_ref().is_some_and(fits) || fragment.is_whole() {
            *slot = Some(Partial::new(fragment.kind, fragment.length));
        }
        if let Some(partial) = slot {
            partial.fill(fragment.offset, fragment.body);
        }
    }

    /// Takes the next message out, once it is whole.
    pub fn pop(&mut self) -> Option<Message> {
        let whole = matches!(self.slots.front(), Some(Some(partial)) if partial.missing == 0);
        if !whole {
            return None;
        }
        let partial = self.slots.pop_front()??;
        let bytes = message(partial.kind, self.next_seq, |out| {
            out.extend_from_slice(&partial.body)
        });
        self.next_seq = self.next_seq.saturating_add(1);
        Some(Message {
            kind: partial.kind,
            bytes,
        })
    }

    /// The number of the message that is expected next.
    pub fn next_seq(&self) -> u16 {
        self.next_seq
    }
}

impl Message {
    /// The message without its header.
    pub fn body(&self) -> &[u8] {
        &self.bytes[MESSAGE_HEADER_LEN..]
    }
}

impl Partial {
    fn new(kind: u8, length: usize) -> Self {
        Self {
            kind,
            body: vec![0; length],
            arrived: vec![0; length.div_ceil(64)],
            missing: length,
        }
    }

    //= RFC 6347 section 4.2.3
    //# DTLS implementations MUST be able to handle overlapping fragment ranges.
    fn fill(&mut self, offset: usize, bytes: &[u8]) {
        self.body[offset..offset + bytes.len()].copy_from_slice(bytes);
        for index in offset..offset + bytes.len() {
            let (word, bit) = (&mut self.arrived[index / 64], 1 << (index % 64));
            if *word & bit == 0 {
                *word |= bit;
                self.missing -= 1;
            }
        }
    }
}

/// How many messages ahead of the next one are kept. The longest flight, a server's with certificates, has five.
const WINDOW: usize = 5;
/// The longest Certificate message taken, in bytes: a chain of three with ECDSA keys has two thousand, with RSA twice that.
const MAX_CERTIFICATE_LEN: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fragments_in_any_order_make_the_message() {
        let mut reassembly = Reassembly::new(1, 100);
        for (offset, body) in [(4, &b"efg"[..]), (0, b"ab"), (1, b"bcde")] {
            assert_eq!(reassembly.pop(), None);
            reassembly.insert(&fragment(1, 7, offset, body));
        }
        let message = reassembly.pop().unwrap();
        assert_eq!(message.body(), b"abcdefg");
        assert_eq!(message.bytes[..12], [16, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0, 7]);
        assert_eq!(reassembly.next_seq(), 2);
    }

    #[test]
    fn messages_come_out_in_their_order() {
        let mut reassembly = Reassembly::new(1, 100);
        reassembly.insert(&fragment(2, 2, 0, b"cd"));
        assert_eq!(reassembly.pop(), None);
        reassembly.insert(&fragment(1, 2, 0, b"ab"));
        assert_eq!(reassembly.pop().unwrap().body(), b"ab");
        assert_eq!(reassembly.pop().unwrap().body(), b"cd");
        reassembly.insert(&fragment(1, 2, 0, b"ab"));
        assert_eq!(reassembly.pop(), None, "it has been handed out");
    }

    #[test]
    fn a_message_of_no_bytes_is_whole_at_once() {
        let mut reassembly = Reassembly::new(0, 100);
        reassembly.insert(&fragment(0, 0, 0, b""));
        assert_eq!(reassembly.pop().unwrap().body(), b"");
    }

    #[test]
    fn a_forged_fragment_cannot_keep_the_true_message_out() {
        let mut reassembly = Reassembly::new(1, 100);
        reassembly.insert(&fragment(1, 99, 0, b"zz"));
        reassembly.insert(&fragment(1, 4, 0, b"ab"));
        reassembly.insert(&fragment(1, 4, 2, b"cd"));
        assert_eq!(reassembly.pop().unwrap().body(), b"abcd");

        reassembly.insert(&fragment(2, 4, 0, b"zz"));
        reassembly.insert(&fragment(2, 4, 0, b"abcd"));
        assert_eq!(reassembly.pop().unwrap().body(), b"abcd");
    }

    #[test]
    fn what_is_announced_too_long_or_too_far_ahead_takes_no_memory() {
        let mut reassembly = Reassembly::new(1, 100);
        reassembly.insert(&fragment(1, (1 << 24) - 1, 0, b"zz"));
        reassembly.insert(&fragment(6, 2, 0, b"zz"));
        reassembly.insert(&fragment(0, 2, 0, b"zz"));
        assert!(reassembly.slots.is_empty());
    }

    #[test]
    fn one_certificate_may_be_long_and_only_where_one_is_expected() {
        let certificate = |message_seq, length| Fragment {
            kind: CERTIFICATE,
            ..fragment(message_seq, length, 0, b"zz")
        };
        let held = |reassembly: &Reassembly| -> usize {
            let partials = reassembly.slots.iter().flatten();
            partials.map(|partial| partial.body.len()).sum()
        };
        let mut reassembly = Reassembly::new(1, 100);
        reassembly.insert(&certificate(1, 101));
        assert_eq!(held(&reassembly), 0);

        let mut reassembly = Reassembly::new(1, 100).with_certificate();
        reassembly.insert(&fragment(1, 101, 0, b"zz"));
        reassembly.insert(&certificate(1, 8193));
        assert_eq!(held(&reassembly), 0);
        for seq in 1..6 {
            reassembly.insert(&certificate(seq, 8192));
        }
        assert_eq!(held(&reassembly), 8192, "one at a time");
        reassembly.insert(&certificate(2, 2));
        reassembly.insert(&fragment(1, 2, 0, b"ab"));
        assert_eq!(reassembly.pop().unwrap().body(), b"ab");
        assert_eq!(reassembly.pop().unwrap().body(), b"zz");
    }

    proptest! {
        #[test]
        fn any_covering_set_of_fragments_makes_the_message(
            body in proptest::collection::vec(any::<u8>(), 1..300), cuts in proptest::collection::vec((any::<u16>(), 1..80_usize), 0..200),
        ) {
            let mut reassembly = Reassembly::new(0, 300);
            let mut covered = vec![false; body.len()];
            for (offset, len) in cuts {
                let offset = usize::from(offset) % body.len();
                let end = (offset + len).min(body.len());
                reassembly.insert(&fragment(0, body.len(), offset, &body[offset..end]));
                covered[offset..end].fill(true);
                if end - offset == body.len() {
                    break;
                }
            }
            match reassembly.pop() {
                Some(message) => prop_assert_eq!(message.body(), &body[..]),
                None => prop_assert!(covered.contains(&false)),
            }
        }
    }

    fn fragment(message_seq: u16, length: usize, offset: usize, body: &[u8]) -> Fragment<'_> {
        Fragment {
            kind: 16,
            length,
            message_seq,
            offset,
            body,
        }
    }
}
