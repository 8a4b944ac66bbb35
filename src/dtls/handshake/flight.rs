//! A flight of messages, when to send it again, and records that came before they could be opened.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Timers;
use crate::dtls::Session;
use crate::dtls::record::{ContentType, write_plaintext};

/// What one side sends in one go. It is put into records anew each time it is sent.
//= RFC 6347 section 4.2.2
//# from the perspective of the DTLS record layer, the retransmission is a new record. This record will have a new
//# DTLSPlaintext.sequence_number value.
#[derive(Debug, Default)]
pub struct Flight {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Message(Vec<u8>),
    ChangeCipherSpec,
    Protected(Vec<u8>),
}

impl Flight {
    /// No parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handshake message.
    #[must_use]
    pub fn message(mut self, message: Vec<u8>) -> Self {
        self.parts.push(Part::Message(message));
        self
    }

    /// Adds a ChangeCipherSpec and the message that follows it under the new keys.
    #[must_use]
    pub fn finish(mut self, message: Vec<u8>) -> Self {
        self.parts.push(Part::ChangeCipherSpec);
        self.parts.push(Part::Protected(message));
        self
    }

    /// Appends the flight to `out`, as one datagram: with pre-shared keys the longest has some 250 bytes.
    /// `plaintext_number` is the next record number of epoch 0, `session` the keys of epoch 1.
    pub fn write(
        &self,
        version: u16,
        plaintext_number: &mut u64,
        session: Option<&mut Session>,
        out: &mut Vec<u8>,
    ) {
        let mut session = session;
        for part in &self.parts {
            let (content_type, body) = match part {
                Part::Message(message) => (ContentType::Handshake, &message[..]),
                Part::ChangeCipherSpec => (ContentType::ChangeCipherSpec, &[1][..]),
                Part::Protected(message) => {
                    if let Some(session) = session.as_deref_mut() {
                        // Out of record numbers only after 2^48 of them.
                        let _ = session.seal_as(ContentType::Handshake, message, out);
                    }
                    continue;
                }
            };
            write_plaintext(content_type, version, *plaintext_number, body, out);
            *plaintext_number += 1;
        }
    }
}

/// When to send the current flight again, and when to give up.
#[derive(Debug)]
pub struct Retransmission {
    wait: Duration,
    max: Duration,
    initial: Duration,
    /// `None` while it is not our turn.
    due: Option<Instant>,
    deadline: Instant,
    repeated: bool,
}

/// What a look at the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing to do yet.
    Nothing,
    /// Send the flight again.
    Resend,
    /// The deadline has passed.
    Deadline,
}

impl Retransmission {
    /// Starts the deadline; no flight is out.
    pub fn new(timers: &Timers, now: Instant) -> Self {
        Self {
            wait: timers.initial,
            max: timers.max,
            initial: timers.initial,
            due: None,
            deadline: now + timers.deadline,
            repeated: false,
        }
    }

    /// A new flight goes out.
    //= RFC 6347 section 4.2.4.1
    //# Implementations SHOULD retain the current timer value until a transmission without loss occurs, at which time
    //# the value may be reset to the initial value.
    pub fn start(&mut self, now: Instant) {
        if !self.repeated {
            self.wait = self.initial;
        }
        self.repeated = false;
        self.due = Some(now + self.wait);
    }

    /// The flight goes out again because the peer repeated its own.
    pub fn restart(&mut self, now: Instant) {
        self.due = Some(now + self.wait);
    }

    /// The flight has arrived.
    pub fn stop(&mut self) {
        self.due = None;
    }

    /// Looks at the clock.
    //= RFC 6347 section 4.2.4.1
    //# double the value at each retransmission, up to no less than the RFC 6298 maximum of 60 seconds.
    pub fn expire(&mut self, now: Instant) -> Expiry {
        if now >= self.deadline {
            return Expiry::Deadline;
        }
        match self.due {
            Some(due) if now >= due => {
                self.wait = (self.wait * 2).min(self.max);
                self.repeated = true;
                self.due = Some(now + self.wait);
                Expiry::Resend
            }
            Some(_) | None => Expiry::Nothing,
        }
    }

    /// When to look at the clock again.
    pub fn next(&self) -> Instant {
        self.due.map_or(self.deadline, |due| due.min(self.deadline))
    }
}

/// Records of the next epoch that arrived before they could be opened. Bounded: the newest stay.
#[derive(Debug, Default)]
pub struct Held(VecDeque<Vec<u8>>);

impl Held {
    /// Keeps a record if it can be a Finished.
    pub fn keep(&mut self, record: &[u8]) {
        if record.len() > MAX_HELD_LEN {
            return;
        }
        if self.0.len() == MAX_HELD {
            self.0.pop_front();
        }
        self.0.push_back(record.to_vec());
    }

    /// Takes all of them out.
    pub fn take(&mut self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.0)
    }
}

/// One flight has one such record; the rest is for what an attacker mixes in.
const MAX_HELD: usize = 4;
/// A Finished has 61 bytes as a record, 93 in CBC; with a connection ID and Mbed TLS's padding 77 and 117.
const MAX_HELD_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6347_4_2_4_1_waits_double_up_to_the_maximum_until_the_deadline() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let timers = Timers {
            initial: seconds(1),
            max: seconds(8),
            deadline: seconds(40),
        };
        let mut timer = Retransmission::new(&timers, start);
        timer.start(start);
        let mut sent = Vec::new();
        loop {
            let now = timer.next();
            match timer.expire(now) {
                Expiry::Resend => sent.push((now - start).as_secs()),
                Expiry::Deadline => break assert_eq!(now - start, seconds(40)),
                Expiry::Nothing => panic!("woken for nothing"),
            }
        }
        assert_eq!(sent, [1, 3, 7, 15, 23, 31, 39]);
    }

    #[test]
    fn a_flight_after_a_lost_one_keeps_the_longer_wait() {
        let start = Instant::now();
        let mut timer = Retransmission::new(&Timers::default(), start);
        timer.start(start);
        assert_eq!(timer.expire(start + Duration::from_secs(1)), Expiry::Resend);
        timer.start(start + Duration::from_secs(2));
        assert_eq!(timer.next(), start + Duration::from_secs(4));
        timer.start(start + Duration::from_secs(3));
        assert_eq!(
            timer.next(),
            start + Duration::from_secs(4),
            "this one arrived at once"
        );
    }

    #[test]
    fn held_records_are_bounded_and_the_newest_stay() {
        let mut held = Held::default();
        held.keep(&[0; 129]);
        for number in 0..6 {
            held.keep(&[number; 61]);
        }
        assert_eq!(
            held.take().iter().map(|record| record[0]).collect::<Vec<_>>(),
            [2, 3, 4, 5]
        );
    }
}
