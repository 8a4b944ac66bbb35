//! An established session: opens and seals records, and nothing a stranger sends can end it.
//!
//! A peer that sits idle costs this struct and no more (with CBC, its keys beside it).

mod saved;

#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

use super::CipherSuite;
use super::alert::{self, Alert};
use super::protection::{EPOCH, Keys, NotOpened};
use super::record::{ContentType, DTLS_1_2, RecordHeader};
use super::replay::ReplayWindow;

pub use saved::{RestoreError, SavedSession};

/// An established session.
pub struct Session {
    keys: Keys,
    next_number: u64,
    /// Numbers from here on must not be used (yet).
    reservation: u64,
    received: ReplayWindow,
    failures: u32,
    max_plaintext: u16,
    suite: CipherSuite,
    extended_master_secret: bool,
    last_flight: Option<Box<LastFlight>>,
}

/// The datagram that ended the handshake. Hardly any session has one, so it takes a thin pointer and no more.
struct LastFlight(Box<[u8]>);

/// What a record was.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'d> {
    /// Application data, possibly no bytes of it.
    Data(&'d [u8]),
    /// The peer sent its Finished again: send [`Session::last_flight`] again.
    ResendFlight,
    /// The peer ended the session (an authentic close_notify or fatal alert), or 2^32 records did not open. Answer
    /// with [`Session::close`] and drop the session.
    Closed,
    /// Nothing to do. The session is as it was.
    Ignored(Ignored),
}

/// Why a record was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Not one whole record of DTLS 1.2.
    Malformed,
    /// A record of epoch 0: anybody can write those.
    Plaintext,
    /// A record of an epoch that this session does not have.
    WrongEpoch,
    /// A number that has been seen or is older than the replay window.
    Replayed,
    /// Did not open: forged, damaged, or of another session at this address.
    Unauthentic,
    /// Authentic, but of a kind that has no place here (renegotiation, a warning).
    Unexpected,
}

/// Why a record was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The peer takes no records of that size.
    #[error("{len} bytes of plaintext, the peer takes at most {max}")]
    TooLong {
        /// Bytes of plaintext.
        len: usize,
        /// The most that the peer takes.
        max: usize,
    },
    /// The reserved range of record numbers is used up.
    #[error("the reserved record numbers are used up")]
    OutOfNumbers,
}

/// Where a record begun with [`Session::begin_record`] starts.
#[derive(Debug)]
#[must_use]
pub struct RecordStart(usize);

/// What an opened record carries.
#[derive(Debug)]
pub struct Opened<'d> {
    pub content_type: ContentType,
    pub plaintext: &'d mut [u8],
}

impl Session {
    /// A session whose keys have just been agreed on.
    pub fn new(suite: CipherSuite, keys: Keys, extended_master_secret: bool) -> Self {
        Self {
            keys,
            next_number: 0,
            reservation: MAX_RECORD_NUMBER,
            received: ReplayWindow::new(),
            failures: 0,
            max_plaintext: MAX_PLAINTEXT,
            suite,
            extended_master_secret,
            last_flight: None,
        }
    }

    /// Opens one record, an item of [`super::records`], in place.
    pub fn handle_record<'d>(&mut self, record: &'d mut [u8]) -> Incoming<'d> {
        let opened = match self.open(record) {
            Ok(opened) => opened,
            Err(Ignored::Unauthentic) => {
                // Any lower limit would hand a switch to whoever can write this peer's address on a datagram.
                return match self.failures.checked_add(1) {
                    Some(failures) => {
                        self.failures = failures;
                        Incoming::Ignored(Ignored::Unauthentic)
                    }
                    None => Incoming::Closed,
                };
            }
            Err(ignored) => return Incoming::Ignored(ignored),
        };
        match opened.content_type {
            ContentType::ApplicationData => {
                // The peer would not send it without our Finished.
                self.last_flight = None;
                Incoming::Data(opened.plaintext)
            }
            ContentType::Alert => match Alert::parse(opened.plaintext) {
                Some(alert) if alert.fatal || alert.description == alert::CLOSE_NOTIFY => Incoming::Closed,
                Some(_) | None => Incoming::Ignored(Ignored::Unexpected),
            },
            //= RFC 6347 section 4.2.4
            //# In addition, for at least twice the default MSL defined for [TCP], when in the FINISHED state, the
            //# node that transmits the last flight (the server in an ordinary handshake or the client in a resumed
            //# handshake) MUST respond to a retransmit of the peer's last flight with a retransmit of the last
            //# flight.
            ContentType::Handshake
                if opened.plaintext.first() == Some(&FINISHED) && self.last_flight.is_some() =>
            {
                Incoming::ResendFlight
            }
            // A HelloRequest or ClientHello here asks for renegotiation.
            //= RFC 5246 section 7.4.1.1
            //# This message MAY be ignored by the client if it does not wish to renegotiate a session
            ContentType::Handshake | ContentType::ChangeCipherSpec => Incoming::Ignored(Ignored::Unexpected),
        }
    }

    /// Begins a record of application data at the end of `out`: reserves room for its header. Append the plaintext,
    /// then call [`Session::finish_record`].
    pub fn begin_record(&self, out: &mut Vec<u8>) -> RecordStart {
        let start = RecordStart(out.len());
        out.resize(out.len() + self.prefix_len(), 0);
        start
    }

    /// Seals what was appended since [`Session::begin_record`] in place; returns the record's number.
    ///
    /// # Errors
    /// When the plaintext is too long for the peer or there is no record number left; `out` then ends where the
    /// record started.
    pub fn finish_record(&mut self, start: RecordStart, out: &mut Vec<u8>) -> Result<u64, SealError> {
        self.finish(ContentType::ApplicationData, start, out)
    }

    /// Appends a record of application data to `out`; returns the record's number.
    ///
    /// # Errors
    /// As [`Session::finish_record`].
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<u64, SealError> {
        self.seal_as(ContentType::ApplicationData, plaintext, out)
    }

    /// Appends a close_notify to `out`, or nothing when there is no record number left. The session is to be dropped
    /// then.
    //= RFC 5246 section 7.2.1
    //# The other party MUST respond with a close_notify alert of its own and close down the connection
    //# immediately, discarding any pending writes.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let close = Alert {
            fatal: false,
            description: alert::CLOSE_NOTIFY,
        };
        // Without a number there is nothing to say it with; the peer finds out by itself.
        let _ = self.seal_as(ContentType::Alert, &close.to_bytes(), out);
    }

    /// Allows sending up to, not including, record number `end`, which must not lie below what has been sent.
    ///
    /// Until the first call every number below [`MAX_RECORD_NUMBER`] is allowed. A journalled session calls it with
    /// [`RESERVATION`] at once, and later with ends that are durably written.
    pub fn reserve(&mut self, end: u64) {
        self.reservation = end.clamp(self.next_number, MAX_RECORD_NUMBER);
    }

    /// The session for the journal. A last flight is not part of it: a peer that did not get it shakes hands again.
    pub fn save(&self) -> SavedSession {
        SavedSession {
            suite: self.suite,
            extended_master_secret: self.extended_master_secret,
            max_plaintext: self.max_plaintext,
            keys: self.keys.clone(),
            reservation: self.reservation,
            receive_mark: self.received.next(),
        }
    }

    /// The session after a restart. It sends from the saved reservation's end, so only after [`Session::reserve`],
    /// and takes only record numbers from the receive mark up.
    pub fn restore(saved: SavedSession) -> Self {
        let mut session = Self::new(saved.suite, saved.keys, saved.extended_master_secret);
        session.max_plaintext = saved.max_plaintext;
        session.next_number = saved.reservation;
        session.reservation = saved.reservation;
        session.received = ReplayWindow::starting_at(saved.receive_mark);
        session
    }

    /// The datagrams of our last flight, to be sent on [`Incoming::ResendFlight`]. None after the peer's first
    /// application data.
    pub fn last_flight(&self) -> impl Iterator<Item = &[u8]> {
        self.last_flight.iter().map(|flight| &*flight.0)
    }

    /// The number that the next sealed record gets.
    pub fn next_record_number(&self) -> u64 {
        self.next_number
    }

    /// End of the reserved send range, exclusive.
    pub fn reservation(&self) -> u64 {
        self.reservation
    }

    /// One above the highest record number received.
    pub fn receive_mark(&self) -> u64 {
        self.received.next()
    }

    /// The suite agreed on.
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// Whether the extended master secret (RFC 7627) is in use.
    pub fn extended_master_secret(&self) -> bool {
        self.extended_master_secret
    }

    /// The longest plaintext that the peer takes in one record, in bytes.
    pub fn max_plaintext(&self) -> usize {
        usize::from(self.max_plaintext)
    }

    /// How many bytes a record is longer than its plaintext, at most: exactly so with an AEAD, with up to 15 fewer of
    /// padding in CBC.
    pub fn overhead(&self) -> usize {
        RecordHeader::LEN + self.keys.overhead()
    }

    /// How many records did not open so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The handshake agreed on a smaller record size.
    pub fn limit_plaintext(&mut self, max: u16) {
        self.max_plaintext = max.min(MAX_PLAINTEXT);
    }

    /// Keeps the datagram that ended the handshake.
    pub fn keep_last_flight(&mut self, datagram: &[u8]) {
        self.last_flight = Some(Box::new(LastFlight(datagram.into())));
    }

    /// Appends a record of any type to `out`; returns the record's number.
    ///
    /// # Errors
    /// As [`Session::finish_record`].
    pub fn seal_as(
        &mut self,
        kind: ContentType,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        let start = self.begin_record(out);
        out.extend_from_slice(plaintext);
        self.finish(kind, start, out)
    }

    /// Opens a record in place and marks its number as seen. `Unauthentic` is not counted here.
    pub fn open<'d>(&mut self, record: &'d mut [u8]) -> Result<Opened<'d>, Ignored> {
        let header = RecordHeader::peek(record).ok_or(Ignored::Malformed)?;
        if header.epoch == 0 {
            return Err(Ignored::Plaintext);
        }
        if header.epoch != EPOCH {
            return Err(Ignored::WrongEpoch);
        }
        if record.len() != RecordHeader::LEN + header.length || header.version != DTLS_1_2 {
            return Err(Ignored::Malformed);
        }
        if !self.received.accepts(header.number) {
            return Err(Ignored::Replayed);
        }
        let body = &mut record[RecordHeader::LEN..];
        let plaintext = self
            .keys
            .open(header.content_type, header.number, body)
            .map_err(|not_opened| match not_opened {
                NotOpened::Length => Ignored::Malformed,
                NotOpened::Unauthentic => Ignored::Unauthentic,
            })?;
        self.received.mark(header.number);
        Ok(Opened {
            content_type: header.content_type,
            plaintext,
        })
    }

    fn finish(&mut self, kind: ContentType, start: RecordStart, out: &mut Vec<u8>) -> Result<u64, SealError> {
        let RecordStart(start) = start;
        let len = out.len() - start - self.prefix_len();
        let refused = if len > self.max_plaintext() {
            Some(SealError::TooLong {
                len,
                max: self.max_plaintext(),
            })
        } else if self.next_number >= self.reservation {
            Some(SealError::OutOfNumbers)
        } else {
            None
        };
        if let Some(refused) = refused {
            out.truncate(start);
            return Err(refused);
        }

        let number = self.next_number;
        self.next_number += 1;
        let body = start + RecordHeader::LEN;
        self.keys.seal(kind, number, body, out);
        let header = RecordHeader {
            content_type: kind,
            version: DTLS_1_2,
            epoch: EPOCH,
            number,
            length: out.len() - body,
        };
        out[start..body].copy_from_slice(&header.to_bytes());
        Ok(number)
    }

    /// Bytes before the ciphertext.
    fn prefix_len(&self) -> usize {
        RecordHeader::LEN + self.keys.prefix_len()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("suite", &self.suite)
            .field("extended_master_secret", &self.extended_master_secret)
            .field("next_number", &self.next_number)
            .field("received", &self.received)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// The last record number there is; it is never used, so that a session ends before its numbers wrap.
//= RFC 6347 section 4.1
//# implementations MUST either abandon an association or rehandshake prior to allowing the sequence number to wrap.
pub const MAX_RECORD_NUMBER: u64 = (1 << 48) - 1;

/// How many record numbers a journalled session reserves at a time: one synced write in some hundred datagrams, and
/// at most so many numbers lost in a restart.
pub const RESERVATION: u64 = 1024;

/// RFC 5246 section 6.2.1: 2^14.
const MAX_PLAINTEXT: u16 = 1 << 14;
/// The handshake message that a peer repeats when our last flight got lost.
const FINISHED: u8 = 20;
