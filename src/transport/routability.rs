//! Whether a device receives at the address that its records come from.
//!
//! Whoever stands on a record's way can send it on from an address of somebody else, and the session follows (RFC 9146 section 6).
//! So towards an address that a session has moved to, little is sent until the device has shown that it received something there.

use crate::coap::{Kind, Message, MessageId};

/// Of one session. Eight bytes, as every connected device has one.
#[derive(Clone, Copy, Debug, Default)]
pub enum Routability {
    /// The address returned a cookie, or has shown since that the device is there.
    #[default]
    Proven,
    /// The session has moved there.
    Unproven(Budget),
}

/// What may still be sent to an unproven address, and what of that proves it.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    bytes: u16,
    datagrams: u8,
    notifications: u8,
    /// The last request that was answered there.
    answered: Option<MessageId>,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// The answer to the request, or to the message, with this ID.
    Answer(MessageId),
    /// A confirmable message of ours.
    Notification,
    /// A close_notify.
    Goodbye,
}

impl Routability {
    /// Of an address that the session has just moved to.
    pub fn unproven() -> Self {
        Self::Unproven(Budget {
            bytes: BYTES,
            datagrams: DATAGRAMS,
            notifications: NOTIFICATIONS,
            answered: None,
        })
    }

    /// A message came from there in a record newer than all before. A request after an answer is a proof; the same request again
    /// says rather that the answer did not arrive.
    pub fn heard(&mut self, message: &[u8]) {
        if let Self::Unproven(Budget {
            answered: Some(answered),
            ..
        }) = self
            && let Ok(message) = Message::parse(message)
            && matches!(message.kind, Kind::Confirmable | Kind::NonConfirmable)
            && message.mid != *answered
        {
            *self = Self::Proven;
        }
    }

    /// The device acknowledged or rejected, from there, the confirmable message in flight.
    pub fn acknowledged(&mut self) {
        if let Self::Unproven(budget) = self
            && budget.notifications < NOTIFICATIONS
        {
            *self = Self::Proven;
        }
    }

    /// Whether a datagram of `len` bytes may go there; if so, it is counted as sent.
    pub fn admits(&mut self, sending: Sending, len: usize) -> bool {
        let Self::Unproven(budget) = self else { return true };
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        // What answers a request is what the device waits for, so some is left for that.
        let kept = match sending {
            Sending::Answer(_) => 0,
            Sending::Notification | Sending::Goodbye if budget.notifications == 0 => return false,
            Sending::Notification | Sending::Goodbye => ANSWER_BYTES,
        };
        if budget.datagrams == 0 || budget.bytes.saturating_sub(kept) < len {
            return false;
        }
        budget.datagrams -= 1;
        budget.bytes -= len;
        match sending {
            Sending::Answer(request) => budget.answered = Some(request),
            Sending::Notification => budget.notifications -= 1,
            Sending::Goodbye => {}
        }
        true
    }
}

/// `DTLS.md` 1: towards an unproven address at most so many datagrams,
const DATAGRAMS: u8 = 4;
/// and so many bytes of them.
const BYTES: u16 = 4096;
/// Of these datagrams, as many as a notification and one repetition take: an answer and its repetition are left.
const NOTIFICATIONS: u8 = 2;
/// What an answer takes at most: no device has room for a longer datagram (`CONTRACT.md` 1).
const ANSWER_BYTES: u16 = 1280;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ASK: MessageId = MessageId(7);

    #[test]
    fn a_proven_address_gets_everything() {
        let mut address = Routability::default();
        for _ in 0..100 {
            assert!(address.admits(Sending::Notification, 60_000));
            assert!(address.admits(Sending::Answer(ASK), 60_000));
        }
    }

    #[test]
    fn an_unproven_one_gets_four_datagrams_and_four_kibibytes() {
        let mut address = Routability::unproven();
        for _ in 0..4 {
            assert!(address.admits(Sending::Answer(ASK), 1024));
        }
        assert!(!address.admits(Sending::Answer(ASK), 1));
        let mut address = Routability::unproven();
        for _ in 0..3 {
            assert!(address.admits(Sending::Answer(ASK), 1280));
        }
        assert!(!address.admits(Sending::Answer(ASK), 257));
        assert!(address.admits(Sending::Answer(ASK), 256));
    }

    #[test]
    fn notifications_leave_room_for_the_longest_answer() {
        for len in [40, 1280, 1408] {
            let mut address = Routability::unproven();
            let sent = (0..10)
                .filter(|_| address.admits(Sending::Notification, len))
                .count();
            assert_eq!(sent, 2, "{len}");
            assert!(address.admits(Sending::Answer(ASK), 1280));
        }
        let mut address = Routability::unproven();
        assert!(address.admits(Sending::Notification, 2816));
        assert!(!address.admits(Sending::Notification, 1));
        assert!(address.admits(Sending::Answer(ASK), 1280));
        assert!(!Routability::unproven().admits(Sending::Notification, 2817));
        assert!(!Routability::unproven().admits(Sending::Answer(ASK), 70_000));
    }

    #[test]
    fn a_newer_request_after_an_answer_is_a_proof_and_the_same_one_again_is_none() {
        let mut address = Routability::unproven();
        address.heard(&confirmable(9));
        assert!(is_unproven(address), "nothing was sent there");
        assert!(address.admits(Sending::Answer(ASK), 100));
        address.heard(&confirmable(ASK.0));
        assert!(is_unproven(address));
        address.heard(&[0x60, 0, 0, 9]);
        assert!(is_unproven(address), "an acknowledgement of who knows what");
        address.heard(b"no message");
        assert!(is_unproven(address));
        address.heard(&confirmable(8));
        assert!(!is_unproven(address));
    }

    #[test]
    fn a_keepalive_after_an_answer_is_a_proof() {
        let mut address = Routability::unproven();
        assert!(address.admits(Sending::Answer(ASK), 40));
        address.heard(&[0x50, 0, 0, 8]);
        assert!(!is_unproven(address));
    }

    #[test]
    fn an_acknowledgement_is_a_proof_of_what_was_sent_there_only() {
        let mut address = Routability::unproven();
        address.acknowledged();
        assert!(is_unproven(address), "it was sent elsewhere");
        assert!(address.admits(Sending::Notification, 100));
        address.acknowledged();
        assert!(!is_unproven(address));
    }

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Routability>(), 8);
    }

    fn is_unproven(address: Routability) -> bool {
        matches!(address, Routability::Unproven(_))
    }

    /// CON GET with this message ID.
    fn confirmable(mid: u16) -> [u8; 4] {
        let [high, low] = mid.to_be_bytes();
        [0x40, 1, high, low]
    }
}
