//! An established session: opens and seals records, and nothing a stranger sends can end it.
//!
//! A peer that sits idle costs this struct and no more: with CBC its keys beside it, with connection IDs 40 bytes and the
//! peer's ID, which is most often empty.

mod saved;

#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

use super::alert::{self, Alert};
use super::connection_id::{self, ConnectionIds};
use super::cookie::HelloMark;
use super::protection::{EPOCH, Framing, Keys, NotOpened};
use super::record::{ContentType, DTLS_1_2, RecordHeader, write_plaintext};
use super::replay::ReplayWindow;
use super::{CipherSuite, ConnectionId, PathChallenge, VerifiedHello};

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
    rarely: Option<Box<Rarely>>,
}

/// What most sessions do not have, so that there it costs a pointer and no more.
#[derive(Default)]
struct Rarely {
    connection_ids: Option<ConnectionIds>,
    /// Until the peer has shown that it arrived.
    last_flight: Option<Box<LastFlight>>,
}

/// How the handshake ended, and how it began.
struct LastFlight {
    /// Our Finished.
    finished: Box<[u8]>,
    /// The next record number of epoch 0, for the ChangeCipherSpec before it.
    plaintext_number: u64,
    hello: HelloMark,
}

/// What a record was.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'d> {
    /// Application data.
    Data {
        /// The bytes, possibly none.
        message: &'d [u8],
        /// Whether the record is the newest of all that have been opened: only such a one tells where the peer is (RFC
        /// 9146 section 6).
        newest: bool,
    },
    /// The peer asks whether we receive where we seem to: send [`Session::answer_challenge`] to where the record came
    /// from.
    PathChallenge(PathChallenge),
    /// The peer sent its Finished again: send [`Session::repeat_last_flight`].
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
    /// Without the connection ID that this session receives with, or with one that it does not.
    WrongConnectionId,
    /// Did not open: forged, damaged, or of another session at this address.
    Unauthentic,
    /// Authentic, but of a kind that has no place here (renegotiation, a warning) or of none.
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
    pub newest: bool,
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
            rarely: None,
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
                self.forget_last_flight();
                Incoming::Data {
                    message: opened.plaintext,
                    newest: opened.newest,
                }
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
                if opened.plaintext.first() == Some(&FINISHED) && self.keeps_last_flight() =>
            {
                Incoming::ResendFlight
            }
            // A HelloRequest or ClientHello here asks for renegotiation.
            //= RFC 5246 section 7.4.1.1
            //# This message MAY be ignored by the client if it does not wish to renegotiate a session
            ContentType::Handshake | ContentType::ChangeCipherSpec | ContentType::Tls12Cid => {
                Incoming::Ignored(Ignored::Unexpected)
            }
            //= RFC 9853 section 3
            //# The client and server MUST NOT use RRC unless both sides have successfully exchanged rrc extensions.
            ContentType::ReturnRoutabilityCheck => self
                .connection_ids()
                .filter(|ids| ids.return_routability)
                .and_then(|_| PathChallenge::parse(opened.plaintext))
                .map_or(Incoming::Ignored(Ignored::Unexpected), Incoming::PathChallenge),
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

    /// Appends the answer to a [`PathChallenge`] to `out`; returns the record's number.
    ///
    /// # Errors
    /// When there is no record number left.
    //= RFC 9853 section 5.4
    //# The responder MUST send exactly one path_response or path_drop message for each valid path_challenge it received.
    pub fn answer_challenge(
        &mut self,
        challenge: PathChallenge,
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        self.seal_as(ContentType::ReturnRoutabilityCheck, &challenge.response(), out)
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
            connection_ids: self.connection_ids().cloned(),
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
        if let Some(ids) = saved.connection_ids {
            session.use_connection_ids(ids);
        }
        session
    }

    /// Whether the peer may still wait for our last flight: until its first application data.
    pub fn keeps_last_flight(&self) -> bool {
        self.kept_flight().is_some()
    }

    /// Appends our last flight to `out`, on [`Incoming::ResendFlight`]; nothing where it is kept no more.
    ///
    /// # Errors
    /// When there is no record number left (yet).
    //= RFC 6347 section 4.2.2
    //# from the perspective of the DTLS record layer, the retransmission is a new record. This record will have a new
    //# DTLSPlaintext.sequence_number value.
    pub fn repeat_last_flight(&mut self, out: &mut Vec<u8>) -> Result<(), SealError> {
        let Some(flight) = self
            .rarely
            .as_mut()
            .and_then(|rarely| rarely.last_flight.as_mut())
        else {
            return Ok(());
        };
        let (start, finished) = (out.len(), flight.finished.clone());
        write_plaintext(
            ContentType::ChangeCipherSpec,
            DTLS_1_2,
            flight.plaintext_number,
            &[1],
            out,
        );
        flight.plaintext_number += 1;
        let sealed = self.seal_as(ContentType::Handshake, &finished, out);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed.map(|_| ())
    }

    /// Whether the handshake that made this session began with this ClientHello: then somebody repeats it, and it must not
    /// begin another, which would take in what the peer repeats until it has our last flight. Never after the peer's
    /// first application data; a handshake in vain does not disturb it then.
    //= RFC 6347 section 4.2.8
    //# If a server receives a ClientHello with epoch=0 on what it believes to be an existing association, the server SHOULD
    //# proceed with a new handshake
    // So it does with any other, as of a peer that has started over.
    pub fn began_with(&self, hello: &VerifiedHello) -> bool {
        self.kept_flight()
            .is_some_and(|flight| hello.mark() == Some(flight.hello))
    }

    /// What stands on the records that we receive, where that was agreed on.
    pub fn connection_id(&self) -> Option<ConnectionId> {
        self.connection_ids()?.ours
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

    /// From here on takes only record numbers above the highest received.
    pub fn refuse_older(&mut self) {
        self.received = ReplayWindow::starting_at(self.received.next());
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
    //= RFC 9146 section 5
    //# length_of_DTLSInnerPlaintext: The length (in bytes) of the serialized DTLSInnerPlaintext (two-byte integer). The
    //# length MUST NOT exceed 2^14.
    // The smaller sizes that are agreed on are taken for the inner plaintext's too, as in TLS 1.3 (RFC 8449 section 4), so
    // that no peer finds a record too long, whichever way it counts.
    pub fn max_plaintext(&self) -> usize {
        usize::from(self.max_plaintext).saturating_sub(self.inner_type_len())
    }

    /// How many bytes a record is longer than its plaintext, at most: exactly so with an AEAD, with up to 15 fewer of
    /// padding in CBC.
    pub fn overhead(&self) -> usize {
        RecordHeader::LEN + self.their_id().len() + self.inner_type_len() + self.keys.overhead()
    }

    /// How many records did not open so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The handshake agreed on a smaller record size.
    pub fn limit_plaintext(&mut self, max: u16) {
        self.max_plaintext = max.min(MAX_PLAINTEXT);
    }

    /// The handshake agreed on connection IDs: from here on records have them.
    pub fn use_connection_ids(&mut self, ids: ConnectionIds) {
        self.rarely.get_or_insert_default().connection_ids = Some(ids);
    }

    /// Keeps the Finished that ended the handshake and the number of the next record in the clear, and the mark of the ClientHello
    /// that began it.
    pub fn keep_last_flight(&mut self, finished: Vec<u8>, plaintext_number: u64, hello: HelloMark) {
        let flight = LastFlight {
            finished: finished.into(),
            plaintext_number,
            hello,
        };
        self.rarely.get_or_insert_default().last_flight = Some(Box::new(flight));
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
        if record.len() != header.header_len() + header.length || header.version != DTLS_1_2 {
            return Err(Ignored::Malformed);
        }
        //= RFC 9146 section 3
        //# If a non-zero-length CID is expected for the retrieved association, then the datagram MUST be treated as invalid
        let id = header.id_in(record);
        if id != self.connection_id() {
            return Err(Ignored::WrongConnectionId);
        }
        if !self.received.accepts(header.number) {
            return Err(Ignored::Replayed);
        }
        let id = id.map(ConnectionId::to_bytes);
        let framing = id
            .as_ref()
            .map_or(Framing::Plain(header.content_type), |id| Framing::WithId(id));
        let body = &mut record[header.header_len()..];
        let plaintext =
            self.keys
                .open(framing, header.number, body)
                .map_err(|not_opened| match not_opened {
                    NotOpened::Length => Ignored::Malformed,
                    NotOpened::Unauthentic => Ignored::Unauthentic,
                })?;
        let newest = self.received.is_newest(header.number);
        self.received.mark(header.number);
        let (content_type, plaintext) = match framing {
            Framing::Plain(kind) => (kind, plaintext),
            Framing::WithId(_) => {
                let (kind, content) = connection_id::unwrap_inner(plaintext).ok_or(Ignored::Unexpected)?;
                (ContentType::from_wire(kind).ok_or(Ignored::Unexpected)?, content)
            }
        };
        Ok(Opened {
            content_type,
            plaintext,
            newest,
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
        let id = self.their_id();
        let body = start + RecordHeader::LEN + id.len();
        let (content_type, framing) = if id.is_empty() {
            (kind, Framing::Plain(kind))
        } else {
            out.push(kind.wire());
            (ContentType::Tls12Cid, Framing::WithId(id))
        };
        self.keys.seal(framing, number, body, out);
        let header = RecordHeader {
            content_type,
            version: DTLS_1_2,
            epoch: EPOCH,
            number,
            length: out.len() - body,
        };
        header.write_with_id(id, &mut out[start..body]);
        Ok(number)
    }

    fn kept_flight(&self) -> Option<&LastFlight> {
        self.rarely.as_ref()?.last_flight.as_deref()
    }

    fn forget_last_flight(&mut self) {
        if let Some(rarely) = &mut self.rarely {
            rarely.last_flight = None;
            if rarely.connection_ids.is_none() {
                self.rarely = None;
            }
        }
    }

    fn connection_ids(&self) -> Option<&ConnectionIds> {
        self.rarely.as_ref()?.connection_ids.as_ref()
    }

    /// What stands on the records that we send; empty where nothing does.
    fn their_id(&self) -> &[u8] {
        self.connection_ids().map_or(&[], |ids| &ids.theirs)
    }

    /// Bytes that a record's type takes behind its plaintext.
    fn inner_type_len(&self) -> usize {
        usize::from(!self.their_id().is_empty())
    }

    /// Bytes before the ciphertext.
    fn prefix_len(&self) -> usize {
        RecordHeader::LEN + self.their_id().len() + self.keys.prefix_len()
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
