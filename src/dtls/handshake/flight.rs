//! A flight of messages, when to send it again, and records that came before they could be opened.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Timers;
use super::messages::MESSAGE_HEADER_LEN;
use crate::dtls::Session;
use crate::dtls::record::{ContentType, RecordHeader, write_plaintext};

/// What one side sends in one go. It is put into records anew each time it is sent.
//= RFC 6347 section 4.2.2
//# from the perspective of the DTLS record layer, the retransmission is a new record. This record will have a new
//# DTLSPlaintext.sequence_number value.
#[derive(Debug, Default)]
pub struct Flight {
    parts: Vec<Part>,
    /// Where the next datagram begins, while there is one to send.
    next: Option<Position>,
}

#[derive(Debug)]
enum Part {
    Message(Vec<u8>),
    ChangeCipherSpec,
    Protected(Vec<u8>),
}

/// A place in a flight.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    part: usize,
    /// Bytes of the part's message that are before it, header not counted.
    offset: usize,
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

    /// All of it is to be sent, from its beginning.
    pub fn send(&mut self) {
        self.next = Some(Position::default());
    }

    /// Nothing of it is to be sent any more.
    pub fn cancel(&mut self) {
        self.next = None;
    }

    /// Appends the next datagram of the flight to `out`; false when all has been sent.
    //= RFC 6347 section 4.2.3
    //# When transmitting the handshake message, the sender divides the message into a series of N contiguous data
    //# ranges. These ranges MUST NOT be larger than the maximum handshake fragment size and MUST jointly contain the
    //# entire handshake message.
    pub fn write_datagram(&mut self, how: Writing<'_>, out: &mut Vec<u8>) -> bool {
        let Some(mut at) = self.next.take() else {
            return false;
        };
        let Writing {
            version,
            max_record,
            plaintext_number,
            mut session,
        } = how;
        let start = out.len();
        let mut write = |content_type, body: &[u8], out: &mut Vec<u8>| {
            write_plaintext(content_type, version, *plaintext_number, body, out);
            *plaintext_number += 1;
        };
        while let Some(part) = self.parts.get(at.part) {
            let room = MAX_DATAGRAM_LEN.saturating_sub(out.len() - start);
            let is_begun = out.len() > start;
            match part {
                Part::Message(message) => {
                    let rest = message.len() - MESSAGE_HEADER_LEN - at.offset;
                    let fits = room.saturating_sub(RecordHeader::LEN + MESSAGE_HEADER_LEN);
                    if is_begun && fits < rest.min(MIN_FRAGMENT_LEN) {
                        self.next = Some(at);
                        break;
                    }
                    let len = rest.min(fits).min(max_record - MESSAGE_HEADER_LEN);
                    write(ContentType::Handshake, &fragment(message, at.offset, len), out);
                    at.offset += len;
                    if len < rest {
                        continue;
                    }
                }
                Part::ChangeCipherSpec | Part::Protected(_) if is_begun && room < MAX_HELD_LEN => {
                    self.next = Some(at);
                    break;
                }
                Part::ChangeCipherSpec => write(ContentType::ChangeCipherSpec, &[1], out),
                Part::Protected(message) => {
                    if let Some(session) = session.as_deref_mut() {
                        // Out of record numbers only after 2^48 of them.
                        let _ = session.seal_as(ContentType::Handshake, message, out);
                    }
                }
            }
            at = Position {
                part: at.part + 1,
                offset: 0,
            };
        }
        out.len() > start
    }
}

/// How a flight is put into records.
#[derive(Debug)]
pub struct Writing<'a> {
    pub version: u16,
    /// The longest content of a record, in bytes: what the peer asked for, or [`MAX_DATAGRAM_LEN`].
    pub max_record: usize,
    /// The next record number of epoch 0.
    pub plaintext_number: &'a mut u64,
    /// The keys of epoch 1.
    pub session: Option<&'a mut Session>,
}

/// A piece of a message, with a header of its own.
fn fragment(message: &[u8], offset: usize, len: usize) -> Vec<u8> {
    let mut fragment = message[..MESSAGE_HEADER_LEN].to_vec();
    fragment[6..9].copy_from_slice(&(offset as u32).to_be_bytes()[1..]);
    fragment[9..12].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
    let body = &message[MESSAGE_HEADER_LEN..];
    fragment.extend_from_slice(&body[offset..offset + len]);
    fragment
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

/// The longest datagram of a flight, in bytes: what arrives in one piece nearly everywhere (RFC 9000 section 14 counts on as
/// much). With pre-shared keys the longest has some 250.
pub const MAX_DATAGRAM_LEN: usize = 1200;
/// A message is not begun or gone on with in the rest of a datagram if less than this many bytes of it would fit. A guess: each
/// fragment costs 25 bytes of headers.
const MIN_FRAGMENT_LEN: usize = 64;
/// One flight has one such record; the rest is for what an attacker mixes in.
const MAX_HELD: usize = 4;
/// A Finished has 61 bytes as a record, 93 in CBC; with a connection ID and Mbed TLS's padding 77 and 117.
const MAX_HELD_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::handshake::messages::{self, Fragment};
    use crate::dtls::handshake::reassembly::Reassembly;
    use crate::dtls::record::{DTLS_1_2, records};

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
    fn rfc6347_4_2_3_a_long_message_is_cut_into_datagrams_and_records_that_the_peer_takes() {
        for (max_record, longest) in [
            (MAX_DATAGRAM_LEN, MAX_DATAGRAM_LEN),
            (512, 512 + RecordHeader::LEN),
        ] {
            let long = messages::message(11, 1, |body| body.extend((0..3000).map(|byte| byte as u8)));
            let short = messages::message(14, 2, |_| ());
            let mut flight = Flight::new().message(long.clone()).message(short.clone());
            flight.send();
            let mut number = 7;
            let mut reassembly = Reassembly::new(1, 4000);
            let mut numbers = Vec::new();
            let mut datagrams = 0;
            loop {
                let mut datagram = Vec::new();
                let how = Writing {
                    version: DTLS_1_2,
                    max_record,
                    plaintext_number: &mut number,
                    session: None,
                };
                if !flight.write_datagram(how, &mut datagram) {
                    break;
                }
                datagrams += 1;
                assert!(datagram.len() <= MAX_DATAGRAM_LEN, "{}", datagram.len());
                for record in records(&mut datagram) {
                    assert!(record.len() <= longest, "{}", record.len());
                    numbers.push(RecordHeader::peek(record).unwrap().number);
                    let mut body = &record[RecordHeader::LEN..];
                    while let Some(fragment) = Fragment::read(&mut body) {
                        reassembly.insert(&fragment);
                    }
                }
            }
            assert_eq!(datagrams, 3);
            assert_eq!(reassembly.pop().unwrap().bytes, long);
            assert_eq!(reassembly.pop().unwrap().bytes, short);
            assert!(numbers.iter().copied().eq(7..number), "{numbers:?}");
        }
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
