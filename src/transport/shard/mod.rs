//! One shard: the peers of one thread, and everything that happens to them. Sans-IO: datagrams and messages come in,
//! answers go to a [`SendQueue`], time is told.
//!
//! - `arrivals`: from a datagram to its peer. `handshakes`: from a ClientHello to a session.
//! - `requests`: CoAP messages, their answers now and later. `deferrals`: who waits for one.
//! - `observers`: notifications.
//! - `plain`: peers without DTLS.
//! - `restore`: sessions of an earlier run. `proof`: whether their devices are still there.
//! - `log_anew`: sessions told to a session log that had failed.

mod arrivals;
mod deferrals;
mod delays;
mod handshakes;
mod log_anew;
mod observers;
mod plain;
mod proof;
mod requests;
mod restore;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use self::requests::{ANSWER_WITHIN, ASKED_WITHIN, TAKEN_WITHIN};

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use tracing::trace;

use self::deferrals::Deferrals;
use self::delays::{Delay, Moment};
use self::handshakes::Handshaking;
use self::log_anew::Unlogged;
use self::observers::Sweep;
use self::plain::Lookup;
use self::proof::Proof;
use self::restore::Unresolved;
use super::admission::{Failures, Network, Seats};
use super::cids::Cids;
use super::directory::{Directory, Kind, PeerKey, Place};
use super::handler::{EndReason, Handler, KeySource, Principal};
use super::inbox::{Forwarded, Mailbox, Message};
use super::journal::{Entry, Journal, SavedRelation};
use super::ranges::Ranges;
use super::routability::{Routability, Sending};
use super::slots::{Lane, PeerId, Slots};
use super::udp::{Path, SendQueue};
use crate::coap::{Endpoint, MessageId, Wheel};
use crate::dtls::{ConnectionId, CookieJar, RecordStart, SealError, ServerConfig, Session};
use crate::telemetry::{DropReason, GatewayEvent, Security, SessionEnd, Tally};

/// What a shard is given.
pub struct Surroundings<H: Handler, K> {
    /// Its index.
    pub index: u16,
    pub handler: Arc<H>,
    pub keys: Arc<K>,
    pub cookies: CookieJar,
    pub dtls: Arc<ServerConfig>,
    pub directory: Arc<Directory>,
    /// All shards' mailboxes, its own among them.
    pub mailboxes: Vec<Mailbox<H::Device>>,
    pub journal: Option<Journal>,
    /// The next session's number, over all shards.
    pub serials: Arc<AtomicU64>,
    /// Sessions, over all shards.
    pub sessions: Arc<AtomicUsize>,
    /// What is spoken on each listener.
    pub kinds: Vec<Kind>,
    /// Each listener's address.
    pub locals: Vec<SocketAddr>,
    /// Sessions allowed over all shards.
    pub max_sessions: usize,
    pub idle: Duration,
    /// Of sessions with a connection ID.
    pub idle_with_cid: Duration,
    /// Handshakes in flight allowed in this shard.
    pub max_handshakes: usize,
    /// Plain peers allowed in this shard.
    pub max_plain_peers: usize,
    pub rng: StdRng,
}

/// One shard.
pub struct Shard<H: Handler, K> {
    around: Surroundings<H, K>,
    began: Instant,
    now: Instant,
    unix_ms: i64,
    sessions: Slots<Peer<H::Device>>,
    plain: Slots<Peer<H::Device>>,
    /// Who is at an address: handshakes, and sessions without a connection ID. One with a connection ID owns no address, so
    /// that wherever it goes it takes none away from anybody.
    addresses: HashMap<SocketAddr, Here>,
    /// Sessions whose device has said nothing yet, by where it shook hands: a hello that comes again there is of the past. One
    /// with a connection ID is here too, which takes nothing away from anybody.
    unheard: HashMap<SocketAddr, PeerId>,
    /// Whose records with a connection ID are.
    cids: Cids,
    plain_addresses: HashMap<SocketAddr, PlainHere>,
    handshakes: Slots<Handshaking<H::Device>>,
    seats: Seats,
    failures: Failures,
    /// Seats of handshakes that ended while their key was being looked up.
    seats_of_lookups: HashMap<PeerId, Network>,
    lookups: Slots<Lookup>,
    /// Restored sessions whose device is not known yet.
    unresolved: HashMap<PeerId, Unresolved>,
    /// Restored sessions whose device has not been asked for yet.
    to_resolve: Vec<PeerId>,
    alarms: Wheel<Alarm>,
    /// Alarms that have gone off and wait for their turn.
    ringing: Vec<Alarm>,
    deferrals: Deferrals,
    /// The next request's number.
    next_request: u64,
    /// Peers that may be due a notification.
    due: VecDeque<PeerKey>,
    sweep: Sweep,
    /// Sessions that received or observed something since the last tick, for the session log.
    moved: Vec<PeerId>,
    unlogged: Unlogged,
    next_tick: Instant,
    accepting: bool,
    life: Life,
    tally: Tally,
}

/// A device that talks to us.
struct Peer<D> {
    link: Link,
    endpoint: Endpoint,
    /// `None` for a restored session whose device is being looked up.
    device: Option<D>,
    /// The credential that was proven; 0 where there is none or it is being looked up.
    credential: u64,
    /// For the session log; `None` without DTLS.
    origin: Option<Origin>,
    path: Path,
    routability: Routability,
    proof: Proof,
    serial: u64,
    heard: Instant,
    delay: Delay,
    /// The earliest alarm set for it.
    alarm: Option<Instant>,
    /// In `due` already.
    is_due: bool,
    /// In `moved` already.
    has_moved: bool,
    /// Its address changed since it was logged.
    address_changed: bool,
    /// Its relations changed since they were logged.
    relations_changed: bool,
    /// The session log has been told of it.
    is_logged: bool,
    /// What it has asked the session log for.
    ranges: Ranges,
}

/// How a session came to be.
#[derive(Debug)]
struct Origin {
    since_unix_ms: i64,
}

/// What carries a peer's messages.
enum Link {
    Secure(Session),
    Plain { next_mid: u16, name: Box<str> },
}

/// A message begun in the send queue.
struct Started {
    /// Where its datagram starts.
    at: usize,
    record: Option<RecordStart>,
}

/// Who is at an address.
#[derive(Clone, Copy, Debug, Default)]
struct Here {
    established: Option<PeerId>,
    handshaking: Option<PeerId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlainHere {
    Known(PeerId),
    Asking(PeerId),
}

/// Whom a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    Handshake(PeerId),
    Peer(PeerKey),
}

#[derive(Clone, Copy, Debug)]
enum Life {
    Running,
    /// Answering what is pending, at the latest until then.
    Draining(Instant),
    /// Saying goodbye, from this place on.
    Leaving(u32),
    Over,
}

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// A shard without peers.
    pub fn new(mut around: Surroundings<H, K>, now: Instant) -> Self {
        use rand::Rng;
        let first_generation = around.rng.next_u32();
        Self {
            began: now,
            now,
            unix_ms: 0,
            sessions: Slots::new(first_generation),
            plain: Slots::new(first_generation),
            addresses: HashMap::new(),
            unheard: HashMap::new(),
            cids: Cids::new(around.index, around.mailboxes.len()),
            plain_addresses: HashMap::new(),
            handshakes: Slots::new(first_generation),
            seats: Seats::new(around.max_handshakes),
            failures: Failures::new(now),
            seats_of_lookups: HashMap::new(),
            lookups: Slots::new(first_generation),
            unresolved: HashMap::new(),
            to_resolve: Vec::new(),
            alarms: Wheel::new(now),
            ringing: Vec::new(),
            deferrals: Deferrals::default(),
            next_request: 0,
            due: VecDeque::new(),
            sweep: Sweep::default(),
            moved: Vec::new(),
            unlogged: Unlogged::default(),
            next_tick: now + TICK,
            accepting: true,
            life: Life::Running,
            tally: Tally::default(),
            around,
        }
    }

    /// Tells the time, for everything that follows.
    pub fn set_time(&mut self, now: Instant, unix_ms: i64) {
        self.now = now;
        self.unix_ms = unix_ms;
    }

    /// Takes a datagram from a socket.
    pub fn handle_datagram(&mut self, path: Path, datagram: &mut [u8], out: &mut SendQueue) {
        trace!(peer = %path.peer, bytes = datagram.len(), "datagram");
        match self.around.kinds[usize::from(path.listener)] {
            Kind::Secure => self.handle_secure(path, datagram, false, out),
            Kind::Plain => self.handle_plain(path, datagram, out),
        }
    }

    /// Takes a datagram that another shard received for a session of this one.
    pub fn handle_forwarded(&mut self, forwarded: &mut Forwarded, out: &mut SendQueue) {
        self.handle_secure(forwarded.path, &mut forwarded.bytes, true, out);
    }

    /// Takes a message from another thread.
    pub fn handle_message(&mut self, message: Message<H::Device>, out: &mut SendQueue) {
        match message {
            Message::Key { handshake, found } => self.handle_key(handshake, found, out),
            Message::Verdict { handshake, verdict } => self.handle_verdict(handshake, verdict, out),
            Message::Restored { peer, found } => self.handle_restored(peer, found, out),
            Message::Name { lookup, found } => self.handle_name(lookup, found, out),
            Message::Answer { request, answer } => self.handle_answer(request, answer, out),
            Message::WakeEveryone { since } => self.sweep.restart(since),
            Message::WakePeers { peers, forced, since } => {
                for peer in peers {
                    self.mark_due(peer, forced, since);
                }
            }
            Message::Replaced { peer } => self.end(peer, EndReason::Replaced),
            Message::Revoked { device } => self.revoke(device, out),
            Message::Retired { device, credential } => self.retire(device, credential, out),
            Message::Reserved { peer, end } => {
                let (shard, journal) = (self.around.index, self.around.journal.as_ref());
                if let Some(of) = self.sessions.get_mut(peer)
                    && let Link::Secure(session) = &mut of.link
                {
                    of.ranges
                        .granted(session.next_record_number(), session.reservation());
                    session.reserve(end);
                    of.ask_for_ranges(peer, shard, journal);
                    self.log_late(peer);
                }
            }
            Message::LogAnew => self.log_everybody_anew(),
            Message::Reconfigured(dtls) => self.around.dtls = dtls,
            Message::StopAccepting => self.accepting = false,
            Message::Drain { deadline } => {
                self.accepting = false;
                if matches!(self.life, Life::Running) {
                    self.life = Life::Draining(deadline);
                }
            }
        }
    }

    /// Does what is due by the clock, about `budget` things; true when more is left.
    pub fn handle_timers(&mut self, budget: usize, out: &mut SendQueue) -> bool {
        let mut budget = budget;
        self.alarms.expire(self.now, &mut self.ringing);
        while budget > 0
            && let Some(alarm) = self.ringing.pop()
        {
            match alarm {
                Alarm::Handshake(id) => self.handle_handshake_alarm(id, out),
                Alarm::Peer(key) => self.handle_peer_alarm(key, out),
            }
            budget -= 1;
        }
        while budget > 0 && self.give_up_deferral(out) {
            budget -= 1;
        }
        self.log_anew(&mut budget);
        if self.now >= self.next_tick {
            self.next_tick = self.now + TICK;
            self.tick();
        }
        self.wind_down(&mut budget, out);
        budget == 0
    }

    /// When [`Self::handle_timers`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let drain = match self.life {
            Life::Running | Life::Over => None,
            Life::Draining(deadline) => Some(deadline),
            Life::Leaving(_) => Some(self.now),
        };
        [
            self.alarms.next_deadline(),
            self.deferrals.next_deadline(),
            self.unlogged.next_deadline(),
            drain,
        ]
        .into_iter()
        .flatten()
        .fold(self.next_tick, Instant::min)
    }

    /// Whether something is on its way from another thread that the shard has asked for: a key, a commit, a range of record
    /// numbers. Looks at everybody: for those who have to know before time may go on.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.deferrals.are_owed()
            || !self.unresolved.is_empty()
            || !self.seats_of_lookups.is_empty()
            || self.handshakes.iter().any(Handshaking::wants_key)
            || self.sessions.iter().any(|peer| peer.ranges.is_waiting())
    }

    /// Whether the shard has been drained.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.life, Life::Over)
    }

    /// Counts what happened outside.
    pub fn count(&mut self, event: GatewayEvent) {
        self.tally.record(event);
    }

    /// Ends a peer, whatever it is; nothing happens to one that is gone.
    fn end(&mut self, key: PeerKey, why: EndReason) {
        let removed = match key.kind {
            Kind::Secure => self.sessions.remove(key.id),
            Kind::Plain => self.plain.remove(key.id),
        };
        let Some(mut peer) = removed else { return };
        let place = self.place(key);
        match key.kind {
            Kind::Secure => {
                self.around.sessions.fetch_sub(1, Ordering::Relaxed);
                forget_hello(&mut self.unheard, peer.path.peer, key.id);
                match peer.connection_id() {
                    Some(cid) => self.cids.release(cid),
                    None => {
                        self.around.directory.release(peer.path.peer, place);
                        self.update_here(peer.path.peer, |here| {
                            if here.established == Some(key.id) {
                                here.established = None;
                            }
                        });
                    }
                }
                if let Some(unresolved) = self.unresolved.remove(&key.id) {
                    self.around.directory.leave(unresolved.device, place);
                }
                if let Some(journal) = &self.around.journal
                    && why != EndReason::Shutdown
                {
                    journal.record(Entry::Ended { serial: peer.serial });
                }
            }
            Kind::Plain => {
                self.plain_addresses.remove(&peer.path.peer);
            }
        }
        for _ in peer.endpoint.relations() {
            self.tally.record(GatewayEvent::ObserverRemoved);
        }
        self.tally
            .record(GatewayEvent::SessionEnded(security(key.kind), session_end(why)));
        if let Some(device) = peer.device.take() {
            self.around.directory.leave(device.key(), place);
            self.around.handler.disconnected(&device, peer.serial, why);
        }
    }

    /// Ends what a device has here: its peers, and the handshakes whose key it is.
    fn revoke(&mut self, device: u64, out: &mut SendQueue) {
        self.abandon_handshakes(|of, _| of.key() == device);
        let directory = self.around.directory.clone();
        for place in directory.find(device) {
            if place.shard == self.around.index {
                self.say_goodbye(place.peer, out);
                self.end(place.peer, EndReason::Revoked);
            }
        }
    }

    /// Ends what a device has here by one credential. A restored session whose credential is being looked up is looked up
    /// again: what was read may be what was before.
    fn retire(&mut self, device: u64, credential: u64, out: &mut SendQueue) {
        self.abandon_handshakes(|of, by| of.key() == device && by == credential);
        let directory = self.around.directory.clone();
        for place in directory.find(device) {
            if place.shard != self.around.index {
                continue;
            }
            if let Some(unresolved) = self.unresolved.get_mut(&place.peer.id) {
                unresolved.outdated = true;
            } else if self
                .peer_mut(place.peer)
                .is_some_and(|peer| peer.credential == credential)
            {
                self.say_goodbye(place.peer, out);
                self.end(place.peer, EndReason::Revoked);
            }
        }
    }

    /// Seals a close_notify for a session that is about to end.
    fn say_goodbye(&mut self, key: PeerKey, out: &mut SendQueue) {
        if let Some(peer) = requests::table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id)
            && let Link::Secure(session) = &mut peer.link
        {
            let start = out.bytes.len();
            session.close(&mut out.bytes);
            if !peer.routability.admits(Sending::Goodbye, out.bytes.len() - start) {
                out.bytes.truncate(start);
                self.tally.record(GatewayEvent::DatagramWithheld);
                return;
            }
            let path = peer.path;
            out.push(start, path);
        }
    }

    /// Once a second: expiry, the session log, the counters.
    fn tick(&mut self) {
        self.expire();
        self.log_moved();
        self.tally.flush();
    }

    fn expire(&mut self) {
        for _ in 0..EXPIRIES_PER_TICK {
            let (idle, idle_with_cid) = (self.around.idle, self.around.idle_with_cid);
            let now = self.now;
            let stale =
                |peer: Option<&Peer<H::Device>>, idle| peer.is_some_and(|peer| peer.heard + idle <= now);
            let usual = self.sessions.oldest();
            let patient = self.sessions.oldest_in(Lane::Patient);
            if let Some(id) = usual
                .filter(|id| stale(self.sessions.get(*id), idle))
                .or_else(|| patient.filter(|id| stale(self.sessions.get(*id), idle_with_cid)))
            {
                self.end(
                    PeerKey {
                        kind: Kind::Secure,
                        id,
                    },
                    EndReason::Idle,
                );
            } else if let Some(id) = self.plain.oldest()
                && stale(self.plain.get(id), idle)
            {
                self.end(
                    PeerKey {
                        kind: Kind::Plain,
                        id,
                    },
                    EndReason::Idle,
                );
            } else {
                return;
            }
        }
    }

    /// Writes receive marks, and what was sent to observers, of the sessions that moved.
    fn log_moved(&mut self) {
        let Some(journal) = &self.around.journal else {
            return;
        };
        let mut logged = 0;
        for id in &self.moved {
            if let Some(peer) = self.sessions.get_mut(*id)
                && let Link::Secure(session) = &peer.link
            {
                let (serial, mark) = (peer.serial, session.receive_mark());
                if !journal.record(Entry::Received { serial, mark }) {
                    // The disk is behind: the others' turn comes with the next tick.
                    break;
                }
                if !peer.log_address(journal) {
                    break;
                }
                peer.has_moved = false;
                peer.log_relations(journal);
            }
            logged += 1;
        }
        self.moved.drain(..logged);
    }

    /// The end of a shard: what is pending is answered, then everybody is told, then it is over.
    fn wind_down(&mut self, budget: &mut usize, out: &mut SendQueue) {
        if let Life::Draining(deadline) = self.life
            && (self.deferrals.is_empty() || self.now >= deadline)
        {
            self.log_moved();
            self.life = Life::Leaving(0);
        }
        let Life::Leaving(mut from) = self.life else {
            return;
        };
        while *budget > 0 {
            let Some(id) = self.sessions.at_or_after(from) else {
                self.tally.flush();
                self.life = Life::Over;
                return;
            };
            from = id.slot() + 1;
            let key = PeerKey {
                kind: Kind::Secure,
                id,
            };
            // A session that will be restored must not end for its device.
            let is_logged = self.sessions.get(id).is_some_and(|peer| peer.is_logged);
            if !(is_logged && self.around.journal.as_ref().is_some_and(Journal::is_kept)) {
                self.say_goodbye(key, out);
            }
            self.end(key, EndReason::Shutdown);
            *budget -= 1;
        }
        self.life = Life::Leaving(from);
    }

    fn peer_mut(&mut self, key: PeerKey) -> Option<&mut Peer<H::Device>> {
        match key.kind {
            Kind::Secure => self.sessions.get_mut(key.id),
            Kind::Plain => self.plain.get_mut(key.id),
        }
    }

    fn update_here(&mut self, address: SocketAddr, change: impl FnOnce(&mut Here)) {
        let here = self.addresses.entry(address).or_default();
        change(here);
        if here.established.is_none() && here.handshaking.is_none() {
            self.addresses.remove(&address);
        }
    }

    fn moment(&self) -> Moment {
        Moment::at(self.now, self.began)
    }

    fn drop_datagram(&mut self, why: DropReason) {
        self.tally.record(GatewayEvent::DatagramDropped(why));
    }

    fn place(&self, key: PeerKey) -> Place {
        Place {
            shard: self.around.index,
            peer: key,
        }
    }

    fn local_addr(&self, path: Path) -> SocketAddr {
        SocketAddr::new(path.local, self.around.locals[usize::from(path.listener)].port())
    }

    fn mailbox(&self) -> &Mailbox<H::Device> {
        &self.around.mailboxes[usize::from(self.around.index)]
    }
}

impl<D> Peer<D> {
    fn new(link: Link, device: Option<D>, path: Path, serial: u64, now: Instant) -> Self {
        Self {
            link,
            endpoint: Endpoint::new(),
            device,
            credential: 0,
            origin: None,
            path,
            routability: Routability::default(),
            proof: Proof::Given,
            serial,
            heard: now,
            delay: Delay::default(),
            alarm: None,
            is_due: false,
            has_moved: false,
            address_changed: false,
            relations_changed: false,
            is_logged: false,
            ranges: Ranges::new(),
        }
    }

    /// What its records come with.
    fn connection_id(&self) -> Option<ConnectionId> {
        match &self.link {
            Link::Secure(session) => session.connection_id(),
            Link::Plain { .. } => None,
        }
    }

    /// Seals the message begun and queues its datagram along `path`. Withheld, as if it were lost, where too much has been sent to
    /// an address that the device has not proven.
    fn send(
        &mut self,
        started: Started,
        path: Path,
        sending: Sending,
        out: &mut SendQueue,
        tally: &mut Tally,
    ) -> Result<(), SealError> {
        let at = started.at;
        self.link.finish(started, out)?;
        if path.peer == self.path.peer && !self.routability.admits(sending, out.bytes.len() - at) {
            out.bytes.truncate(at);
            tally.record(GatewayEvent::DatagramWithheld);
            return Ok(());
        }
        out.push(at, path);
        Ok(())
    }

    /// Writes where the peer is to the session log, if that has changed; false when the log takes no more. Here and not with every
    /// change: behind some networks that would be with every datagram, and what is lost in between costs a
    /// notification until the device is next heard of.
    fn log_address(&mut self, journal: &Journal) -> bool {
        if self.address_changed {
            self.address_changed = !journal.record(Entry::Moved {
                serial: self.serial,
                peer: self.path.peer,
                local: self.path.local,
            });
        }
        !self.address_changed
    }

    /// Writes what the peer observes to the session log, if that has changed.
    fn log_relations(&mut self, journal: &Journal) {
        if self.relations_changed {
            let (serial, relations) = (self.serial, self.saved_relations());
            self.relations_changed = !journal.record(Entry::Observes { serial, relations });
        }
    }

    /// What the peer observes, as the session log keeps it.
    fn saved_relations(&self) -> Vec<SavedRelation> {
        let in_flight = self.endpoint.in_flight();
        let relations = self.endpoint.relations().map(|relation| {
            let mut saved = restore::save_relation(relation);
            if in_flight == Some(relation.resource) {
                // After a restart nobody repeats it, so it has to go out anew.
                saved.sent = 0;
            }
            saved
        });
        // A device that is silent now can be heard of again after a restart.
        let lapsed = self.endpoint.lapsed().map(restore::save_relation);
        relations.chain(lapsed).collect()
    }

    /// Asks the session log for further ranges of record numbers when it is time.
    fn ask_for_ranges(&mut self, id: PeerId, shard: u16, journal: Option<&Journal>) {
        let (Link::Secure(session), Some(journal)) = (&self.link, journal) else {
            return;
        };
        while let Some(end) = self
            .ranges
            .wanted(session.next_record_number(), session.reservation())
        {
            if !journal.reserve(self.serial, end, shard, id) {
                return;
            }
            self.ranges.asked();
        }
    }
}

impl Link {
    /// Begins a message at the end of the queue: append it, then [`Peer::send`].
    fn begin(&self, out: &mut SendQueue) -> Started {
        let at = out.bytes.len();
        let record = match self {
            Self::Secure(session) => Some(session.begin_record(&mut out.bytes)),
            Self::Plain { .. } => None,
        };
        Started { at, record }
    }

    /// Seals the message.
    fn finish(&mut self, started: Started, out: &mut SendQueue) -> Result<(), SealError> {
        if let (Self::Secure(session), Some(record)) = (self, started.record) {
            session.finish_record(record, &mut out.bytes)?;
        }
        Ok(())
    }

    /// The longest message that the peer takes, in bytes.
    fn max_message(&self) -> usize {
        match self {
            Self::Secure(session) => session.max_plaintext(),
            Self::Plain { .. } => PLAIN_MESSAGE_MAX,
        }
    }

    /// The message ID for a confirmable message of ours.
    ///
    /// Over DTLS the low 16 bits of the record number of its first transmission: unique across restarts, as record
    /// numbers are.
    fn next_mid(&mut self) -> MessageId {
        match self {
            Self::Secure(session) => MessageId(session.next_record_number() as u16),
            Self::Plain { next_mid, .. } => {
                *next_mid = next_mid.wrapping_add(1);
                MessageId(*next_mid)
            }
        }
    }
}

/// The device of a session has spoken, or the session is over.
fn forget_hello(unheard: &mut HashMap<SocketAddr, PeerId>, address: SocketAddr, id: PeerId) {
    if unheard.get(&address) == Some(&id) {
        unheard.remove(&address);
    }
}

fn security(kind: Kind) -> Security {
    match kind {
        Kind::Secure => Security::Dtls,
        Kind::Plain => Security::None,
    }
}

fn session_end(why: EndReason) -> SessionEnd {
    match why {
        EndReason::Closed => SessionEnd::CloseNotify,
        EndReason::Replaced => SessionEnd::Replaced,
        EndReason::Idle => SessionEnd::Idle,
        EndReason::Evicted => SessionEnd::Evicted,
        EndReason::Revoked => SessionEnd::Disabled,
        EndReason::Exhausted => SessionEnd::Exhausted,
        EndReason::Shutdown => SessionEnd::Shutdown,
    }
}

/// How often expiry, the session log and the counters are looked after (`DTLS.md` 3: a receive mark at most every second).
const TICK: Duration = Duration::from_secs(1);
/// The longest message to a plain peer, in bytes: RFC 7252 section 4.6 suggests it where nothing is known.
const PLAIN_MESSAGE_MAX: usize = 1152;
/// Sessions that may expire in one tick of a shard.
const EXPIRIES_PER_TICK: usize = 1024;
