//! The session log: what has to be on disk for a session to outlive the process (`DTLS.md` 3).
//!
//! 1. A shard hands [`Entry`]s to the [`Journal`], which never makes it wait.
//! 2. One thread appends them and syncs in groups. A range of record numbers is used only once its entry is synced
//!    ([`Message::Reserved`]); the first one is part of the establishment, which if lost leaves nothing to reuse.
//! 3. At start [`start`] replays the log, moves every session past the range it may have used, writes the log anew and
//!    hands the sessions out.
//!
//! Bytes, encryption and syncing are a [`SessionJournal`]'s. When it fails, the log is cleared, so that nothing is ever
//! restored from before the failure, and sessions go on without it. It is tried again from time to time; once it can be
//! written, the shards are told to log every live session anew ([`Message::LogAnew`]).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use super::inbox::{Mailbox, Message};
use super::slots::PeerId;
use crate::clock;
use crate::dtls::{Identity, MAX_RECORD_NUMBER, RESERVATION, RestoreError, SavedSession, Session};
use crate::telemetry::{self, GatewayEvent, StoreOperation};

/// The bytes of the session log: encrypted, appended, synced. Owned by the journal's thread.
pub trait SessionJournal: Send + 'static {
    /// Gives every entry to `each`, in order, ending before the first torn one. Returns how many bytes are left there.
    ///
    /// # Errors
    /// When the log cannot be read, or what `each` returns.
    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64>;

    /// Replaces the log by these entries, durably and at once or not at all.
    ///
    /// # Errors
    /// When that fails; the log is as it was, or takes no entries until it has been cleared.
    fn rewrite(&mut self, entries: &mut dyn Iterator<Item = Zeroizing<Vec<u8>>>) -> io::Result<()>;

    /// Appends an entry.
    ///
    /// # Errors
    /// When that fails; a torn entry may be left behind.
    fn append(&mut self, entry: &[u8]) -> io::Result<()>;

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// When it may not be.
    fn sync(&mut self) -> io::Result<()>;

    /// Durably forgets every entry.
    ///
    /// # Errors
    /// When that fails.
    fn clear(&mut self) -> io::Result<()>;

    /// Bytes in the log.
    fn size(&self) -> u64;
}

/// One thing that happened to a session.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It began, with its first range of record numbers.
    Established(Box<SavedPeer>),
    /// It may use record numbers below `end`.
    Reserved {
        /// Which session.
        serial: u64,
        /// The end of its range.
        end: u64,
    },
    /// It has received record numbers below `mark`.
    Received {
        /// Which session.
        serial: u64,
        /// One above the highest.
        mark: u64,
    },
    /// This is what it observes.
    Observes {
        /// Which session.
        serial: u64,
        /// All its relations.
        relations: Vec<SavedRelation>,
    },
    /// It is over.
    Ended {
        /// Which session.
        serial: u64,
    },
    /// Its device is somewhere else.
    Moved {
        /// Which session.
        serial: u64,
        /// Where the device is.
        peer: SocketAddr,
        /// Which of our addresses it talks to.
        local: IpAddr,
    },
}

/// A session as the log knows it.
#[derive(Clone, Debug)]
pub struct SavedPeer {
    /// The session's number.
    pub serial: u64,
    /// The device's key ([`super::Principal::key`]).
    pub device: u64,
    /// What was proven when it began.
    pub credential: SavedCredential,
    /// Where it is.
    pub peer: SocketAddr,
    /// Which of our addresses it talks to.
    pub local: IpAddr,
    /// When it was established, in milliseconds since 1970.
    pub since_unix_ms: i64,
    /// Keys and counters.
    pub session: SavedSession,
    /// What it observes.
    pub relations: Vec<SavedRelation>,
}

/// What a session's device proved who it is with, as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavedCredential {
    /// A credential, as the [`super::KeySource`] numbers them.
    Numbered(u64),
    /// A PSK identity: what a log of version 1 has, and what is left of it until those sessions have ended.
    Identity(Identity),
}

/// An observation as the log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedRelation {
    /// The handler's number of the resource.
    pub resource: u8,
    /// The token's bytes; the first `token_len` of them.
    pub token: [u8; 8],
    /// How many bytes of the token count.
    pub token_len: u8,
    /// The content format asked for.
    pub accept: Option<u16>,
    /// The version the device has.
    pub sent: u32,
    /// The last Observe number.
    pub sequence: u32,
}

/// A session on its way into a shard: its range of record numbers is reserved on disk.
#[derive(Debug)]
pub struct RestoredPeer {
    /// What the log says.
    pub saved: SavedPeer,
    /// The session, ready to send.
    pub session: Session,
}

/// Bytes that are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// Of a kind that this program does not know.
    #[error("the session log has an entry of kind {0}, which a newer program wrote; start that program")]
    Kind(u8),
    /// Of a session in a form that this program does not know.
    #[error("the session log has a session that a newer program wrote; start that program")]
    Newer(#[source] RestoreError),
    /// Ends too early or holds what no entry holds.
    #[error("an entry that does not parse")]
    Malformed,
}

/// Takes entries from the shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    notes: SyncSender<Note>,
    /// Cleared while the log is given up.
    is_kept: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Note {
    entry: Entry,
    /// Who waits for the entry to be durable.
    waiting: Option<(u16, PeerId)>,
}

impl Journal {
    /// A journal that takes `capacity` entries, and where they arrive.
    #[cfg(test)]
    pub fn for_tests(capacity: usize) -> (Self, impl Iterator<Item = Entry>) {
        let (notes, inbox) = sync_channel(capacity);
        let entries = std::iter::from_fn(move || inbox.try_recv().ok().map(|note: Note| note.entry));
        let is_kept = Arc::new(AtomicBool::new(true));
        (Self { notes, is_kept }, entries)
    }

    /// Whether sessions may be restored from it; false from the clearing after a failure until it can be written again.
    pub fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Acquire)
    }

    /// What the thread does when the disk fails.
    #[cfg(test)]
    pub fn give_up_for_tests(&self) {
        self.is_kept.store(false, Ordering::Release);
    }

    /// Hands an entry over; false when too many are waiting, and it is lost. Whatever is lost costs that session its
    /// restoration or a range asked for again, never a record number used twice.
    pub fn record(&self, entry: Entry) -> bool {
        self.note(Note { entry, waiting: None })
    }

    /// Asks for record numbers below `end`; [`Message::Reserved`] says when they may be used. False as for
    /// [`Self::record`].
    pub fn reserve(&self, serial: u64, end: u64, shard: u16, peer: PeerId) -> bool {
        self.note(Note {
            entry: Entry::Reserved { serial, end },
            waiting: Some((shard, peer)),
        })
    }

    fn note(&self, note: Note) -> bool {
        match self.notes.try_send(note) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Reads the log, writes it anew with every session's next range of record numbers in it, and starts the thread that
/// keeps it.
///
/// # Errors
/// When the log cannot be read, was written by a newer version or cannot be written, for another reason than that there is no room. It
/// is then as it was, unless there was no room and it could not be cleared.
pub fn start<D: Send + 'static>(
    mut bytes: Box<dyn SessionJournal>,
    mailboxes: Vec<Mailbox<D>>,
) -> io::Result<(Journal, JoinHandle<()>, Vec<RestoredPeer>)> {
    let mut restored: Vec<RestoredPeer> = replay(bytes.as_mut())?.into_values().map(resume).collect();
    restored.sort_by_key(|peer| peer.saved.serial);
    let rewritten = bytes.rewrite(
        &mut restored
            .iter()
            .map(|peer| Entry::Established(Box::new(peer.saved.clone())).to_bytes()),
    );
    let (notes, inbox) = sync_channel(NOTES_MAX);
    let mut keeper = Keeper::new(bytes, mailboxes);
    match rewritten {
        Ok(()) => info!(sessions = restored.len(), "session log read"),
        // Whom it holds goes on, and nobody is restored from it again: their next numbers are not in it.
        Err(failure) if is_full(&failure) => {
            keeper.begin_off(clock::now())?;
            warn!(%failure, sessions = restored.len(), "session log read, and no room to keep it: it is tried again");
        }
        Err(failure) => return Err(failure),
    }
    let journal = Journal {
        notes,
        is_kept: keeper.is_kept.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("session-log".into())
        .spawn(move || keep(keeper, &inbox))?;
    Ok((journal, thread, restored))
}

/// What is to be had of a log, if there is one: its way in, its thread, and whom it held.
pub type Kept = (Option<Journal>, Option<JoinHandle<()>>, Vec<RestoredPeer>);

/// As [`start`], where there is a log; otherwise nothing is kept and nobody restored.
///
/// # Errors
/// As [`start`].
pub fn start_if_any<D: Send + 'static>(
    bytes: Option<Box<dyn SessionJournal>>,
    mailboxes: &[Mailbox<D>],
) -> io::Result<Kept> {
    let Some(bytes) = bytes else {
        return Ok((None, None, Vec::new()));
    };
    let (journal, thread, restored) = start(bytes, mailboxes.to_vec())?;
    Ok((Some(journal), Some(thread), restored))
}

/// The number of the first session to come: above those of all that were restored.
pub fn next_serial(restored: &[RestoredPeer]) -> u64 {
    let after = restored.iter().map(|peer| peer.saved.serial + 1);
    after.max().unwrap_or(1)
}

impl Entry {
    /// The entry as bytes. They hold keys.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // As large as it gets at once: a vector that grows leaves copies of the keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(1024));
        match self {
            Self::Established(peer) => {
                let kind = match peer.credential {
                    SavedCredential::Numbered(_) => ESTABLISHED,
                    SavedCredential::Identity(_) => ESTABLISHED_BY_IDENTITY,
                };
                write_numbers(kind, [peer.serial, peer.device], &mut out);
                match &peer.credential {
                    SavedCredential::Numbered(number) => out.extend_from_slice(&number.to_be_bytes()),
                    SavedCredential::Identity(identity) => write_bytes(identity.as_bytes(), &mut out),
                }
                write_address(peer.peer, &mut out);
                write_ip(peer.local, &mut out);
                out.extend_from_slice(&peer.since_unix_ms.to_be_bytes());
                write_bytes(&peer.session.to_bytes(), &mut out);
                write_relations(&peer.relations, &mut out);
            }
            Self::Reserved { serial, end } => write_numbers(RESERVED, [*serial, *end], &mut out),
            Self::Received { serial, mark } => write_numbers(RECEIVED, [*serial, *mark], &mut out),
            Self::Observes { serial, relations } => {
                write_numbers(OBSERVES, [*serial], &mut out);
                write_relations(relations, &mut out);
            }
            Self::Ended { serial } => write_numbers(ENDED, [*serial], &mut out),
            Self::Moved { serial, peer, local } => {
                write_numbers(MOVED, [*serial], &mut out);
                write_address(*peer, &mut out);
                write_ip(*local, &mut out);
            }
        }
        out
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are no entry, or one of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut bytes = Reader(bytes);
        let kind = bytes.u8()?;
        let entry = match kind {
            ESTABLISHED | ESTABLISHED_BY_IDENTITY => Self::Established(Box::new(SavedPeer {
                serial: bytes.u64()?,
                device: bytes.u64()?,
                credential: if kind == ESTABLISHED {
                    SavedCredential::Numbered(bytes.u64()?)
                } else {
                    let identity = Identity::new(bytes.bytes()?);
                    SavedCredential::Identity(identity.map_err(|_| EntryError::Malformed)?)
                },
                peer: bytes.address()?,
                local: bytes.ip()?,
                since_unix_ms: i64::from_be_bytes(bytes.array()?),
                session: SavedSession::from_bytes(bytes.bytes()?).map_err(session_error)?,
                relations: bytes.relations()?,
            })),
            RESERVED => Self::Reserved {
                serial: bytes.u64()?,
                end: bytes.u64()?,
            },
            RECEIVED => Self::Received {
                serial: bytes.u64()?,
                mark: bytes.u64()?,
            },
            OBSERVES => Self::Observes {
                serial: bytes.u64()?,
                relations: bytes.relations()?,
            },
            ENDED => Self::Ended { serial: bytes.u64()? },
            MOVED => Self::Moved {
                serial: bytes.u64()?,
                peer: bytes.address()?,
                local: bytes.ip()?,
            },
            other => return Err(EntryError::Kind(other)),
        };
        if bytes.0.is_empty() {
            Ok(entry)
        } else {
            Err(EntryError::Malformed)
        }
    }
}

fn session_error(error: RestoreError) -> EntryError {
    match error {
        RestoreError::Version(_) | RestoreError::Suite(_) => EntryError::Newer(error),
        RestoreError::Malformed => EntryError::Malformed,
    }
}

/// Moves a session past every record number it may have used, into a range of its own.
pub fn resume(mut saved: SavedPeer) -> RestoredPeer {
    let start = saved.session.reservation();
    let mut session = Session::restore(saved.session);
    session.reserve(start.saturating_add(RESERVATION).min(MAX_RECORD_NUMBER));
    saved.session = session.save();
    RestoredPeer { saved, session }
}

/// What the log's entries amount to: the sessions that live, by their numbers.
fn replay(bytes: &mut dyn SessionJournal) -> io::Result<HashMap<u64, SavedPeer>> {
    let mut live: HashMap<u64, SavedPeer> = HashMap::new();
    let torn = bytes.read(&mut |entry| {
        let entry = Entry::from_bytes(entry).map_err(io::Error::other)?;
        match entry {
            Entry::Established(peer) => {
                live.insert(peer.serial, *peer);
            }
            Entry::Reserved { serial, end } => {
                if let Some(peer) = live.get_mut(&serial) {
                    peer.session.raise_reservation(end);
                }
            }
            Entry::Received { serial, mark } => {
                if let Some(peer) = live.get_mut(&serial) {
                    peer.session.raise_receive_mark(mark);
                }
            }
            Entry::Observes { serial, relations } => {
                if let Some(peer) = live.get_mut(&serial) {
                    peer.relations = relations;
                }
            }
            Entry::Ended { serial } => {
                live.remove(&serial);
            }
            Entry::Moved { serial, peer, local } => {
                if let Some(moved) = live.get_mut(&serial) {
                    (moved.peer, moved.local) = (peer, local);
                }
            }
        }
        Ok(())
    })?;
    if torn > 0 {
        // A torn end was never synced, so the ranges in it were never used. Should it be damage instead, no session can
        // have lost more ranges than entries fit in there.
        warn!(bytes = torn, "the session log has a torn end");
        let lost = (torn / SMALLEST_RESERVATION + 1).saturating_mul(RESERVATION);
        for peer in live.values_mut() {
            peer.session.raise_reservation(
                peer.session
                    .reservation()
                    .saturating_add(lost)
                    .min(MAX_RECORD_NUMBER),
            );
        }
    }
    Ok(live)
}

/// The journal's thread: until the last [`Journal`] is gone.
fn keep<D>(mut keeper: Keeper<D>, notes: &Receiver<Note>) {
    loop {
        let first = match keeper.tries_again_at() {
            None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => notes.recv_timeout(at.saturating_duration_since(clock::now())),
        };
        let now = clock::now();
        // Before the next entries, which are in the log then.
        keeper.try_again(now);
        match first {
            Ok(first) => {
                let group = std::iter::once(first).chain(notes.try_iter());
                keeper.write(group.take(GROUP_MAX), now);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Writes entries, and knows what to do when that fails.
struct Keeper<D> {
    bytes: Box<dyn SessionJournal>,
    mailboxes: Vec<Mailbox<D>>,
    is_kept: Arc<AtomicBool>,
    keeping: Keeping,
    compacted_size: u64,
    /// Who waits for record numbers, and up to where.
    waiting: Vec<(u16, PeerId, u64)>,
    /// Whether the operator knows that it fails.
    is_told: bool,
}

/// Whether the log is one.
#[derive(Clone, Copy, Debug)]
enum Keeping {
    /// Entries are written.
    Kept,
    /// A write failed, and what is there could not be cleared. Something may yet be restored from it, so nobody may send
    /// beyond it: those who wait for record numbers go on waiting.
    Stuck {
        /// When clearing is tried again.
        again: Instant,
    },
    /// A write failed and nothing can be restored: every record number may be used.
    Off {
        /// When writing is tried again.
        again: Instant,
    },
}

impl<D> Keeper<D> {
    fn new(bytes: Box<dyn SessionJournal>, mailboxes: Vec<Mailbox<D>>) -> Self {
        Self {
            compacted_size: bytes.size(),
            bytes,
            mailboxes,
            is_kept: Arc::new(AtomicBool::new(true)),
            keeping: Keeping::Kept,
            waiting: Vec::new(),
            is_told: false,
        }
    }

    /// Begins without a log, as after a failure.
    fn begin_off(&mut self, now: Instant) -> io::Result<()> {
        self.bytes.clear()?;
        self.is_kept.store(false, Ordering::Release);
        self.keeping = Keeping::Off {
            again: now + TRY_AGAIN,
        };
        Ok(())
    }

    /// Makes entries durable, and tells who waits for them.
    fn write(&mut self, group: impl Iterator<Item = Note>, now: Instant) {
        let mut written = Ok(());
        for Note { entry, waiting } in group {
            if let (Entry::Reserved { end, .. }, Some((shard, peer))) = (&entry, waiting) {
                self.waiting.push((shard, peer, *end));
            }
            if matches!(self.keeping, Keeping::Kept) && written.is_ok() {
                written = self.bytes.append(&entry.to_bytes());
            }
        }
        if matches!(self.keeping, Keeping::Kept) {
            match written.and_then(|()| self.bytes.sync()) {
                Ok(()) => self.is_told = false,
                Err(failure) => {
                    failed();
                    if !std::mem::replace(&mut self.is_told, true) {
                        error!(%failure, "the session log cannot be written: until it can be, sessions will not outlive this process");
                    }
                    self.clear(now);
                }
            }
        }
        self.grant();
        let size = self.bytes.size();
        if matches!(self.keeping, Keeping::Kept)
            && size > COMPACT_AT.max(self.compacted_size.saturating_mul(COMPACT_GROWTH))
        {
            if let Err(failure) = compact(self.bytes.as_mut()) {
                failed();
                warn!(%failure, "the session log could not be compacted");
            }
            self.compacted_size = self.bytes.size();
        }
    }

    /// When a log that failed is tried again.
    fn tries_again_at(&self) -> Option<Instant> {
        match self.keeping {
            Keeping::Kept => None,
            Keeping::Stuck { again } | Keeping::Off { again } => Some(again),
        }
    }

    /// Tries a log that failed again, if it is time.
    fn try_again(&mut self, now: Instant) {
        match self.keeping {
            Keeping::Stuck { again } if again <= now => {
                self.clear(now);
                self.grant();
            }
            Keeping::Off { again } if again <= now => match self.bytes.rewrite(&mut std::iter::empty()) {
                Ok(()) => {
                    info!("the session log can be written again: every session is logged anew");
                    self.keeping = Keeping::Kept;
                    self.compacted_size = self.bytes.size();
                    self.is_kept.store(true, Ordering::Release);
                    // After everything granted while the log was off, which a session forgets with this.
                    for mailbox in &self.mailboxes {
                        mailbox.post(Message::LogAnew);
                    }
                }
                Err(failure) => {
                    failed();
                    debug!(%failure, "the session log cannot be written yet");
                    self.keeping = Keeping::Off {
                        again: now + TRY_AGAIN,
                    };
                }
            },
            Keeping::Kept | Keeping::Stuck { .. } | Keeping::Off { .. } => {}
        }
    }

    /// Forgets what was written, so that nothing is restored from before a failure.
    fn clear(&mut self, now: Instant) {
        let again = now + TRY_AGAIN;
        self.keeping = match self.bytes.clear() {
            Ok(()) => {
                self.is_kept.store(false, Ordering::Release);
                Keeping::Off { again }
            }
            Err(failure) => {
                failed();
                error!(%failure, "the session log cannot be cleared: until it can be, sessions end when their record numbers run out");
                Keeping::Stuck { again }
            }
        };
    }

    /// Gives record numbers to those who wait for them, if it is safe to.
    fn grant(&mut self) {
        let is_kept = match self.keeping {
            Keeping::Kept => true,
            Keeping::Off { .. } => false,
            Keeping::Stuck { .. } => return,
        };
        for (shard, peer, end) in self.waiting.drain(..) {
            if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
                let end = if is_kept { end } else { MAX_RECORD_NUMBER };
                mailbox.post(Message::Reserved { peer, end });
            }
        }
    }
}

fn is_full(failure: &io::Error) -> bool {
    matches!(
        failure.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn failed() {
    telemetry::emit(GatewayEvent::StoreFailed(StoreOperation::Sessions));
}

/// Writes the log anew without what has been overtaken.
fn compact(bytes: &mut dyn SessionJournal) -> io::Result<()> {
    let live = replay(bytes)?;
    bytes.rewrite(
        &mut live
            .into_values()
            .map(|peer| Entry::Established(Box::new(peer)).to_bytes()),
    )
}

fn write_numbers<const N: usize>(kind: u8, numbers: [u64; N], out: &mut Vec<u8>) {
    out.push(kind);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    write_ip(address.ip(), out);
    out.extend_from_slice(&address.port().to_be_bytes());
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    out.extend_from_slice(&scope.to_be_bytes());
}

fn write_relations(relations: &[SavedRelation], out: &mut Vec<u8>) {
    out.push(relations.len() as u8);
    for relation in relations {
        out.push(relation.resource);
        out.push(relation.token_len);
        out.extend_from_slice(&relation.token);
        out.push(u8::from(relation.accept.is_some()));
        out.extend_from_slice(&relation.accept.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&relation.sent.to_be_bytes());
        out.extend_from_slice(&relation.sequence.to_be_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], EntryError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(EntryError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(EntryError::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, EntryError> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    fn u16(&mut self) -> Result<u16, EntryError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, EntryError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, EntryError> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], EntryError> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    fn ip(&mut self) -> Result<IpAddr, EntryError> {
        match self.u8()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => Ok(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            _ => Err(EntryError::Malformed),
        }
    }

    fn address(&mut self) -> Result<SocketAddr, EntryError> {
        let (ip, port, scope) = (self.ip()?, self.u16()?, self.u32()?);
        Ok(match ip {
            IpAddr::V4(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
            IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)),
        })
    }

    fn relations(&mut self) -> Result<Vec<SavedRelation>, EntryError> {
        let count = self.u8()?;
        (0..count)
            .map(|_| {
                let (resource, token_len, token) = (self.u8()?, self.u8()?, self.array()?);
                let accept = match (self.u8()?, self.u16()?) {
                    (0, _) => None,
                    (1, format) => Some(format),
                    _ => return Err(EntryError::Malformed),
                };
                if token_len > 8 {
                    return Err(EntryError::Malformed);
                }
                Ok(SavedRelation {
                    resource,
                    token,
                    token_len,
                    accept,
                    sent: self.u32()?,
                    sequence: self.u32()?,
                })
            })
            .collect()
    }
}

// The kinds of entries on disk. A number is never used for anything else, and with a further one the log's version is raised,
// so that an older program says at once what is wrong (`store::sessions`).
const ESTABLISHED_BY_IDENTITY: u8 = 1;
const RESERVED: u8 = 2;
const RECEIVED: u8 = 3;
const OBSERVES: u8 = 4;
const ENDED: u8 = 5;
const ESTABLISHED: u8 = 6;
const MOVED: u8 = 7;

/// Bytes that an [`Entry::Reserved`] takes at least in a log, in clear.
const SMALLEST_RESERVATION: u64 = 17;
/// Entries that may wait for the disk: a second's worth of a large fleet's receive marks.
const NOTES_MAX: usize = 65_536;
/// How long after a failure the log is tried again: a guess, a moment for whoever frees space, and next to nothing to pay
/// where nobody does.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Entries in one sync at most.
const GROUP_MAX: usize = 8192;
/// A log smaller than this, in bytes, is left alone.
const COMPACT_AT: u64 = 64 << 20;
/// How many times its size after the last compaction a log may reach.
const COMPACT_GROWTH: u64 = 4;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
