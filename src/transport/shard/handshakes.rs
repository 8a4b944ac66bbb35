//! From a ClientHello to a session.
//!
//! 1. The cookie check answers strangers and keeps nothing.
//! 2. A verified ClientHello takes a seat and starts a handshake, beside the session at that address if there is one.
//! 3. The identity, or the certificate whose key is proven, goes to the [`KeySource`]; a flight that arrives meanwhile is
//!    kept.
//! 4. The client's Finished verified, the session replaces whatever the device or the address had.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{debug, trace};

use super::super::admission::{Network, NoSeat};
use super::super::cids::Holder;
use super::super::directory::{Kind, PeerKey};
use super::super::handler::{EndReason, Handler, KeySource, Principal, SessionFacts};
use super::super::inbox::{CertificateTicket, Found, KeyTicket, Message};
use super::super::journal::{Entry, SavedCredential, SavedPeer};
use super::super::slots::{Lane, PeerId};
use super::super::udp::{Path, SendQueue};
use super::{Alarm, Link, Origin, Peer, Shard, security};
use crate::dtls::{
    Admission, ChainFault, ConnectionId, Established, FailureReason, HandshakeEvent, HandshakeFailure,
    Identity, KeyDigest, PeerChain, RESERVATION, ServerHandshake, VerifiedHello,
};
use crate::telemetry::{DropReason, GatewayEvent, HandshakeResult, Retransmitter};

/// A handshake in flight.
pub struct Handshaking<D> {
    machine: Box<ServerHandshake>,
    path: Path,
    /// What stands on the client's Finished, and on the records of the session that it becomes.
    cid: Option<ConnectionId>,
    network: Network,
    began: Instant,
    /// From when on another from the same address takes its place.
    gives_way: Instant,
    device: Option<D>,
    /// Which of its credentials the device proves.
    credential: u64,
    /// The flight that came while the device was looked up.
    kept: Vec<Box<[u8]>>,
    wanted: Option<Lookup>,
    alarm: Option<Instant>,
}

/// A device being looked up.
struct Lookup {
    by: LookedUpBy,
    /// A device was revoked since: what is found may be what was before that.
    outdated: bool,
}

/// What a device is looked up by.
enum LookedUpBy {
    Identity(Identity),
    Certificate(PeerChain),
    RawKey(KeyDigest),
}

impl<D> Handshaking<D> {
    /// Whether this is where it goes on.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.path.peer == address
    }

    /// Whether its key or its certificate is being looked up.
    pub fn wants_key(&self) -> bool {
        self.wanted.is_some()
    }
}

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Takes what may be a ClientHello; false when it is something else.
    pub(super) fn handle_client_hello(
        &mut self,
        path: Path,
        datagram: &mut [u8],
        out: &mut SendQueue,
    ) -> bool {
        let start = out.bytes.len();
        let local = self.local_addr(path);
        match self
            .around
            .cookies
            .admit(self.now, path.peer, local, datagram, &mut out.bytes)
        {
            Admission::NotAClientHello => false,
            Admission::Dropped(why) => {
                trace!(peer = %path.peer, ?why, "ClientHello dropped");
                self.drop_datagram(DropReason::MalformedHello);
                true
            }
            Admission::Challenged => {
                out.push(start, path);
                self.tally.record(GatewayEvent::HelloChallenged);
                true
            }
            Admission::Verified(hello) => {
                self.begin_handshake(path, hello, datagram, out);
                true
            }
        }
    }

    fn begin_handshake(
        &mut self,
        path: Path,
        hello: VerifiedHello,
        datagram: &mut [u8],
        out: &mut SendQueue,
    ) {
        let here = self.addresses.get(&path.peer).copied().unwrap_or_default();
        let mut gives_way = self.now;
        let in_flight = here
            .handshaking
            .and_then(|id| Some((id, self.handshakes.get(id)?)));
        if let Some((id, handshaking)) = in_flight {
            if handshaking.machine.began_with(&hello) {
                return self.handle_flight(id, path, datagram, out);
            }
            if self.now < handshaking.gives_way {
                return self.drop_datagram(DropReason::HandshakeNoise);
            }
            gives_way += GIVEN_UP_AFTER;
        }
        if self.is_of_the_past(path.peer, &hello) {
            return self.drop_datagram(DropReason::Replayed);
        }
        if self.failures.are_too_many(path.peer.ip(), self.now) {
            debug!(peer = %path.peer, "its network's handshakes fail too often");
            return self.drop_datagram(DropReason::HandshakeCap);
        }
        // The device gave the other one up.
        let before = here.handshaking.and_then(|id| {
            let old = self.leave_handshake(id)?;
            let failure = old.machine.abandon();
            self.report_failure(old.path, old.began, &failure);
            Some(failure)
        });
        if !self.accepting {
            return self.drop_datagram(DropReason::HandshakeCap);
        }
        let address = path.peer.ip();
        let seat = self.seats.take(address).or_else(|full| {
            self.give_up_the_oldest().ok_or(full)?;
            self.seats.take(address)
        });
        let network = match seat {
            Ok(network) => network,
            Err(why @ (NoSeat::Full | NoSeat::NetworkFull)) => {
                debug!(peer = %path.peer, ?why, "no seat for a handshake");
                return self.drop_datagram(DropReason::HandshakeCap);
            }
        };
        // None left is as if none had been offered.
        let cid = hello
            .offers_connection_id()
            .then(|| self.cids.take(&mut self.around.rng))
            .flatten();
        match ServerHandshake::new(&self.around.dtls, hello, cid, self.now, &mut self.around.rng) {
            Ok(mut machine) => {
                if let Some(before) = &before {
                    machine.follow(before);
                }
                let id = self.handshakes.insert(Handshaking {
                    machine: Box::new(machine),
                    path,
                    cid,
                    network,
                    began: self.now,
                    gives_way,
                    device: None,
                    credential: 0,
                    kept: Vec::new(),
                    wanted: None,
                    alarm: None,
                });
                self.update_here(path.peer, |here| here.handshaking = Some(id));
                if let Some(cid) = cid {
                    self.cids.assign(cid, Holder::Handshake(id));
                }
                self.drive(id, out);
            }
            Err(failure) => {
                self.seats.leave(network);
                if let Some(cid) = cid {
                    self.cids.release(cid);
                }
                self.tell_failure(path, self.now, &failure, out);
            }
        }
    }

    /// Whether a hello has led to a session already whose device may still wait for our last flight. It gets nothing for it: a
    /// device that waits repeats its Finished, and that gets the flight (RFC 6347 section 4.2.4).
    fn is_of_the_past(&self, address: SocketAddr, hello: &VerifiedHello) -> bool {
        let unheard = self.unheard.get(&address).and_then(|id| self.sessions.get(*id));
        unheard.is_some_and(|peer| match &peer.link {
            Link::Secure(session) => session.began_with(hello),
            Link::Plain { .. } => false,
        })
    }

    /// Takes a datagram of a handshake in flight.
    pub(super) fn handle_flight(&mut self, id: PeerId, path: Path, datagram: &mut [u8], out: &mut SendQueue) {
        let Some(handshaking) = self.handshakes.get_mut(id) else {
            return;
        };
        handshaking.path = path;
        if handshaking.wanted.is_some() {
            if handshaking.kept.len() < KEPT_DATAGRAMS && datagram.len() <= KEPT_DATAGRAM_MAX {
                handshaking.kept.push((&*datagram).into());
            } else {
                self.drop_datagram(DropReason::HandshakeNoise);
            }
            return;
        }
        match handshaking.machine.handle_datagram(self.now, datagram) {
            Ok(()) => self.drive(id, out),
            Err(failure) => self.fail_for_what_was_sent(id, &failure, out),
        }
    }

    /// Takes the outcome of a key lookup.
    pub(super) fn handle_key(&mut self, id: PeerId, found: Option<Found<H::Device>>, out: &mut SendQueue) {
        let Some(handshaking) = self.handshakes.get_mut(id) else {
            if let Some(network) = self.seats_of_lookups.remove(&id) {
                self.seats.leave(network);
            }
            return;
        };
        let Some(wanted) = handshaking.wanted.take() else {
            return;
        };
        if wanted.outdated && found.is_some() {
            return self.ask_whose(id, wanted.by);
        }
        let provided = match found {
            Some(found) => {
                handshaking.device = Some(found.device);
                handshaking.credential = found.credential;
                handshaking
                    .machine
                    .provide_key(self.now, Some(&found.key), &mut self.around.rng)
            }
            None => handshaking
                .machine
                .provide_key(self.now, None, &mut self.around.rng),
        };
        self.go_on(id, provided, out);
    }

    /// Takes what a certificate or a bare key is worth.
    pub(super) fn handle_verdict(
        &mut self,
        id: PeerId,
        verdict: Result<(H::Device, u64), ChainFault>,
        out: &mut SendQueue,
    ) {
        let Some(handshaking) = self.handshakes.get_mut(id) else {
            if let Some(network) = self.seats_of_lookups.remove(&id) {
                self.seats.leave(network);
            }
            return;
        };
        let Some(wanted) = handshaking.wanted.take() else {
            return;
        };
        if wanted.outdated && verdict.is_ok() {
            return self.ask_whose(id, wanted.by);
        }
        let answered = match verdict {
            Ok((device, credential)) => {
                handshaking.device = Some(device);
                handshaking.credential = credential;
                handshaking.machine.accept_peer(self.now)
            }
            Err(fault) => Err(handshaking.machine.refuse_peer(fault)),
        };
        self.go_on(id, answered, out);
    }

    /// A lookup is done: what was kept meanwhile gets its turn.
    fn go_on(&mut self, id: PeerId, answered: Result<(), HandshakeFailure>, out: &mut SendQueue) {
        let kept = self
            .handshakes
            .get_mut(id)
            .map(|handshaking| std::mem::take(&mut handshaking.kept));
        match answered {
            Ok(()) => self.drive(id, out),
            Err(failure) => return self.fail_for_what_was_sent(id, &failure, out),
        }
        let path = self.handshakes.get(id).map(|handshaking| handshaking.path);
        for mut datagram in kept.into_iter().flatten() {
            // The handshake may be done half-way through what was kept; the rest is the session's.
            match (self.handshakes.get(id).is_some(), path) {
                (true, Some(path)) => self.handle_flight(id, path, &mut datagram, out),
                (false, Some(path)) => self.handle_secure(path, &mut datagram, false, out),
                (_, None) => return,
            }
        }
    }

    /// A retransmission or the deadline may be due.
    pub(super) fn handle_handshake_alarm(&mut self, id: PeerId, out: &mut SendQueue) {
        let Some(handshaking) = self.handshakes.get_mut(id) else {
            return;
        };
        // One that an earlier alarm has overtaken.
        if handshaking.alarm.is_none_or(|alarm| alarm > self.now) {
            return;
        }
        handshaking.alarm = None;
        if handshaking
            .machine
            .poll_timeout()
            .is_some_and(|due| due <= self.now)
        {
            if let Err(failure) = handshaking.machine.handle_timeout(self.now) {
                return self.fail(id, &failure, out);
            }
            self.tally
                .record(GatewayEvent::Retransmitted(Retransmitter::Handshake));
        }
        self.drive(id, out);
    }

    /// Sends what the handshake has to say, hears what happened to it, and sets its alarm.
    fn drive(&mut self, id: PeerId, out: &mut SendQueue) {
        let Some(handshaking) = self.handshakes.get_mut(id) else {
            return;
        };
        let (mut established, mut wanted) = (None, None);
        loop {
            let start = out.bytes.len();
            if handshaking.machine.poll_transmit(&mut out.bytes) {
                out.push(start, handshaking.path);
                continue;
            }
            match handshaking.machine.poll_event() {
                Some(HandshakeEvent::KeyWanted(identity)) => wanted = Some(LookedUpBy::Identity(identity)),
                Some(HandshakeEvent::ChainPresented(chain)) => wanted = Some(LookedUpBy::Certificate(chain)),
                Some(HandshakeEvent::RawKeyPresented(digest)) => wanted = Some(LookedUpBy::RawKey(digest)),
                Some(HandshakeEvent::Established(session)) => established = Some(session),
                None => break,
            }
        }
        if let Some(established) = established {
            return self.establish(id, *established);
        }
        if let Some(due) = handshaking.machine.poll_timeout()
            && handshaking.alarm.is_none_or(|alarm| due < alarm)
        {
            handshaking.alarm = Some(due);
            self.alarms.insert(due, Alarm::Handshake(id));
        }
        if let Some(by) = wanted {
            self.ask_whose(id, by);
        }
    }

    /// Asks whose it is.
    fn ask_whose(&mut self, id: PeerId, by: LookedUpBy) {
        let Some(handshaking) = self.handshakes.get_mut(id) else {
            return;
        };
        let wanted = handshaking.wanted.insert(Lookup { by, outdated: false });
        let mailbox = self.around.mailboxes[usize::from(self.around.index)].clone();
        let keys = &self.around.keys;
        match &wanted.by {
            LookedUpBy::Identity(identity) => keys.psk(identity, KeyTicket::for_handshake(mailbox, id)),
            LookedUpBy::Certificate(chain) => keys.certificate(chain, CertificateTicket::new(mailbox, id)),
            LookedUpBy::RawKey(digest) => keys.raw_key(digest, CertificateTicket::new(mailbox, id)),
        }
    }

    /// The client has proven its key: from here on the session is the device's only one.
    fn establish(&mut self, id: PeerId, established: Established) {
        let Established { mut session, claim } = established;
        let cid = session.connection_id();
        if let Some(handshaking) = self.handshakes.get_mut(id) {
            // It goes on in the session.
            handshaking.cid.take_if(|own| Some(*own) == cid);
        }
        let Some(handshaking) = self.leave_handshake(id) else {
            return;
        };
        let Handshaking {
            path,
            began,
            device,
            credential,
            ..
        } = handshaking;
        let Some(device) = device else {
            // A key that nobody has opens no Finished.
            if let Some(cid) = cid {
                self.cids.release(cid);
            }
            return;
        };
        trace!(peer = %path.peer, %claim, "session established");
        let here = self.addresses.get(&path.peer).copied().unwrap_or_default();
        if let Some(old) = here.established {
            self.end(
                PeerKey {
                    kind: Kind::Secure,
                    id: old,
                },
                EndReason::Replaced,
            );
        }
        self.make_room();
        let serial = self.around.serials.fetch_add(1, Ordering::Relaxed);
        let mut is_logged = false;
        if let Some(journal) = &self.around.journal {
            session.reserve(RESERVATION);
            is_logged = journal.record(Entry::Established(Box::new(SavedPeer {
                serial,
                device: device.key(),
                credential: SavedCredential::Numbered(credential),
                peer: path.peer,
                local: path.local,
                since_unix_ms: self.unix_ms,
                session: session.save(),
                relations: Vec::new(),
            })));
        }
        let facts = SessionFacts {
            serial,
            shard: self.around.index,
            peer: path.peer,
            suite: session.suite().name(),
            connection_id: cid.map(ConnectionId::to_bytes),
            credential,
            since_unix_ms: self.unix_ms,
            restored: false,
        };
        let mut peer = Peer::new(
            Link::Secure(session),
            Some(device.clone()),
            path,
            serial,
            self.now,
        );
        peer.credential = credential;
        peer.origin = Some(Origin {
            since_unix_ms: self.unix_ms,
        });
        peer.is_logged = is_logged;
        let id = match cid {
            Some(cid) => {
                let id = self.sessions.insert_in(Lane::Patient, peer);
                self.cids.assign(cid, Holder::Session(id));
                id
            }
            None => self.sessions.insert(peer),
        };
        self.unheard.insert(path.peer, id);
        let key = PeerKey {
            kind: Kind::Secure,
            id,
        };
        self.settle(key, path, &device, &facts);
        let took = self.now - began;
        self.tally.record(GatewayEvent::HandshakeEnded {
            result: HandshakeResult::Established,
            took,
        });
    }

    /// Makes a session known to everybody, in place of the one that its device had. Ends it at once if the device has a later
    /// one already, in another shard.
    pub(super) fn settle(&mut self, key: PeerKey, path: Path, device: &H::Device, facts: &SessionFacts) {
        let place = self.place(key);
        if key.kind == Kind::Secure {
            self.around.sessions.fetch_add(1, Ordering::Relaxed);
            if facts.connection_id.is_none() {
                self.update_here(path.peer, |here| here.established = Some(key.id));
                self.around.directory.claim(path.peer, place);
            }
        }
        self.tally
            .record(GatewayEvent::SessionStarted(security(key.kind)));
        let ended = self.around.directory.arrive(device.key(), place, facts.serial);
        self.around.handler.connected(device, facts);
        match ended {
            Some(old) if old.shard == self.around.index => self.end(old.peer, EndReason::Replaced),
            Some(old) => {
                if let Some(mailbox) = self.around.mailboxes.get(usize::from(old.shard)) {
                    mailbox.post(Message::Replaced { peer: old.peer });
                }
            }
            None => {}
        }
    }

    /// Gives up the handshakes that were handed the key of such a device and credential. Where a key is being looked up, it
    /// will be once more.
    pub(super) fn abandon_handshakes(&mut self, such: impl Fn(&H::Device, u64) -> bool) {
        let mut from = 0;
        while let Some(id) = self.handshakes.at_or_after(from) {
            from = id.slot() + 1;
            let Some(handshaking) = self.handshakes.get_mut(id) else {
                continue;
            };
            if let Some(wanted) = &mut handshaking.wanted {
                wanted.outdated = true;
            }
            let credential = handshaking.credential;
            let is_such = handshaking
                .device
                .as_ref()
                .is_some_and(|device| such(device, credential));
            if is_such && let Some(old) = self.leave_handshake(id) {
                let failure = old.machine.abandon();
                self.report_failure(old.path, old.began, &failure);
            }
        }
    }

    /// At the cap the session of this shard that was silent for the longest goes.
    fn make_room(&mut self) {
        if self.around.sessions.load(Ordering::Relaxed) >= self.around.max_sessions
            && let Some(id) = self.longest_silent()
        {
            self.end(
                PeerKey {
                    kind: Kind::Secure,
                    id,
                },
                EndReason::Evicted,
            );
        }
    }

    fn longest_silent(&self) -> Option<PeerId> {
        [Lane::Usual, Lane::Patient]
            .into_iter()
            .filter_map(|lane| self.sessions.oldest_in(lane))
            .min_by_key(|id| self.sessions.get(*id).map(|peer| peer.heard))
    }

    /// As [`Self::fail`], and counts it for the peer's network: it could have one handshake after the other fail.
    fn fail_for_what_was_sent(&mut self, id: PeerId, failure: &HandshakeFailure, out: &mut SendQueue) {
        if let Some(handshaking) = self.handshakes.get(id) {
            self.failures.count(handshaking.network, self.now);
        }
        self.fail(id, failure, out);
    }

    fn fail(&mut self, id: PeerId, failure: &HandshakeFailure, out: &mut SendQueue) {
        if let Some(handshaking) = self.leave_handshake(id) {
            self.tell_failure(handshaking.path, handshaking.began, failure, out);
        }
    }

    fn tell_failure(&mut self, path: Path, began: Instant, failure: &HandshakeFailure, out: &mut SendQueue) {
        if let Some(alert) = failure.alert() {
            let start = out.bytes.len();
            out.bytes.extend_from_slice(alert);
            out.push(start, path);
        }
        self.report_failure(path, began, failure);
    }

    fn report_failure(&mut self, path: Path, began: Instant, failure: &HandshakeFailure) {
        let event = GatewayEvent::HandshakeEnded {
            result: result_of(failure.reason()),
            took: self.now - began,
        };
        self.tally.record(event);
        self.around
            .keys
            .handshake_failed(failure.claim(), path.peer, failure.reason());
    }

    /// Gives up the handshake that has been going on for the longest, if its device will have given up too. Otherwise some
    /// twenty hellos a second, each followed by silence, would keep all seats taken until their deadlines and everybody out.
    fn give_up_the_oldest(&mut self) -> Option<()> {
        let id = self.handshakes.oldest()?;
        let oldest = self.handshakes.get(id)?;
        let patience = self.around.dtls.timers.initial * PATIENCE;
        // While its key is looked up its seat stays taken anyway.
        if oldest.wanted.is_some() || self.now - oldest.began < patience {
            return None;
        }
        let old = self.leave_handshake(id)?;
        let failure = old.machine.abandon();
        self.report_failure(old.path, old.began, &failure);
        Some(())
    }

    /// Takes a handshake out of every table. While its key is being looked up, its seat stays taken: the seats are what
    /// bounds the lookups.
    fn leave_handshake(&mut self, id: PeerId) -> Option<Handshaking<H::Device>> {
        let handshaking = self.handshakes.remove(id)?;
        if handshaking.wanted.is_some() {
            self.seats_of_lookups.insert(id, handshaking.network);
        } else {
            self.seats.leave(handshaking.network);
        }
        if let Some(cid) = handshaking.cid {
            self.cids.release(cid);
        }
        self.update_here(handshaking.path.peer, |here| {
            if here.handshaking == Some(id) {
                here.handshaking = None;
            }
        });
        Some(handshaking)
    }
}

fn result_of(reason: FailureReason) -> HandshakeResult {
    match reason {
        FailureReason::UnsupportedVersion => HandshakeResult::UnsupportedVersion,
        FailureReason::NoCommonSuite | FailureReason::CompressionRequired => HandshakeResult::NoCommonSuite,
        FailureReason::Malformed | FailureReason::IllegalParameter => HandshakeResult::Malformed,
        FailureReason::UnexpectedMessage => HandshakeResult::UnexpectedMessage,
        FailureReason::UnknownIdentity => HandshakeResult::UnknownIdentity,
        FailureReason::WrongKey | FailureReason::BadFinished => HandshakeResult::BadFinished,
        FailureReason::BadSignature | FailureReason::Certificate(_) => HandshakeResult::CertificateRefused,
        FailureReason::PeerAlert(_) => HandshakeResult::PeerAlert,
        FailureReason::TimedOut => HandshakeResult::Timeout,
        FailureReason::Abandoned => HandshakeResult::Superseded,
    }
}

/// How long a handshake may take when others want its seat, in first waits: a device that repeats its flight after one and
/// after three of them gives up with the second (`CONTRACT.md` rule 3).
const PATIENCE: u32 = 3;
/// How soon a handshake that has taken another's place gives way to the next from the same address. Each costs a flight, and with
/// certificates a signature, and whoever has seen two hellos of a device, or numbers one anew, which its cookie does not cover, can
/// send them as fast as he likes. The first gives way at once: a device that begins anew would take what we repeat
/// of it for the answer to its own hello. To do so twice, devices take longer.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(500);
/// Datagrams kept while a device is looked up: ClientKeyExchange, ChangeCipherSpec and Finished, each in its own as GnuTLS
/// may send them. Of a flight with certificates, the handshake has taken all but the last two before it asks.
const KEPT_DATAGRAMS: usize = 3;
/// Longest datagram kept, in bytes: a flight with certificates that comes again may have its Finished in a full one.
const KEPT_DATAGRAM_MAX: usize = 1500;
