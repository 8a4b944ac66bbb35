//! From a datagram to its peer.
//!
//! 1. A ClientHello goes to the cookie check, whoever is at the address.
//! 2. A record with a connection ID is found by that, any other by its address, here or in another shard.
//! 3. What belongs to a handshake goes there. Records of a session are opened, and move it where its newest came from.

use tracing::{trace, warn};

use super::super::cids::{Found, Holder};
use super::super::directory::{Kind, PeerKey};
use super::super::handler::{EndReason, Handler, KeySource};
use super::super::inbox::Forwarded;
use super::super::routability::Routability;
use super::super::slots::PeerId;
use super::super::udp::{Path, SendQueue};
use super::{Here, Link, Peer, Shard, forget_hello};
use crate::dtls::{ConnectionId, ContentType, Ignored, Incoming, RecordHeader, records};
use crate::telemetry::{DropReason, GatewayEvent};

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Takes a datagram of a listener with DTLS.
    pub(super) fn handle_secure(
        &mut self,
        path: Path,
        datagram: &mut [u8],
        forwarded: bool,
        out: &mut SendQueue,
    ) {
        let Some(header) = RecordHeader::peek(datagram) else {
            return self.drop_datagram(DropReason::MalformedRecord);
        };
        // A ClientHello goes to the cookie check first, whoever else is at the address.
        if header.epoch == 0
            && header.content_type == ContentType::Handshake
            && self.handle_client_hello(path, datagram, out)
        {
            return;
        }
        if header.content_type == ContentType::Tls12Cid
            && let Some(cid) = RecordHeader::connection_id(datagram)
        {
            return self.handle_identified(cid, path, datagram, forwarded, out);
        }
        let here = self.addresses.get(&path.peer).copied().unwrap_or_default();
        // While a handshake runs beside a session, what is in the clear and the Finished belong to the handshake; data
        // and alerts, encrypted, to the session.
        let of_handshake = header.epoch == 0 || header.content_type == ContentType::Handshake;
        match here {
            Here {
                handshaking: Some(id),
                established,
            } if of_handshake => {
                let of_before = established.or_else(|| self.session_in(datagram));
                let is_old = of_before.is_some_and(|id| self.repeat_last_flight(id, path, datagram, out));
                if !is_old {
                    self.handle_flight(id, path, datagram, out);
                }
            }
            Here {
                established: Some(id),
                ..
            } => self.handle_records(id, path, datagram, out),
            Here {
                handshaking,
                established: None,
            } => {
                if header.epoch > 0 && !forwarded && self.forward(path, datagram) {
                    return;
                }
                match handshaking {
                    Some(id) => self.handle_flight(id, path, datagram, out),
                    None => self.handle_stray(path, datagram, forwarded, out),
                }
            }
        }
    }

    /// Sends the last flight of a session again to a device that did not get it and repeats its own; false where there is no
    /// such device behind the datagram. Whoever has seen its hello can begin a handshake beside the session with it, which
    /// must not take in what the device repeats.
    fn repeat_last_flight(&mut self, id: PeerId, path: Path, datagram: &[u8], out: &mut SendQueue) -> bool {
        let Some(Peer {
            link: Link::Secure(session),
            ..
        }) = self.sessions.get_mut(id)
        else {
            return false;
        };
        if !session.keeps_last_flight() {
            return false;
        }
        let mut copy = datagram.to_vec();
        let is_repeated = records(&mut copy)
            .filter(|record| RecordHeader::peek(record).is_some_and(|header| header.epoch > 0))
            .any(|record| session.handle_record(record) == Incoming::ResendFlight);
        if is_repeated {
            self.send_last_flight(id, path, out);
        }
        is_repeated
    }

    fn send_last_flight(&mut self, id: PeerId, path: Path, out: &mut SendQueue) {
        if let Some(Peer {
            link: Link::Secure(session),
            ..
        }) = self.sessions.get_mut(id)
        {
            let start = out.bytes.len();
            let sent = session.repeat_last_flight(&mut out.bytes);
            if sent.is_ok() {
                out.push(start, path);
            }
            let key = PeerKey {
                kind: Kind::Secure,
                id,
            };
            self.after_sending(key, sent);
        }
    }

    /// The session whose connection ID stands on a record of the datagram.
    fn session_in(&self, datagram: &mut [u8]) -> Option<PeerId> {
        let cid = records(datagram).find_map(|record| RecordHeader::connection_id(record))?;
        match self.cids.find(cid) {
            Found::Here(Holder::Session(id)) => Some(id),
            Found::Here(Holder::Handshake(_)) | Found::Elsewhere(_) | Found::Nobody => None,
        }
    }

    /// Takes a datagram whose first record has a connection ID.
    fn handle_identified(
        &mut self,
        cid: ConnectionId,
        path: Path,
        datagram: &mut [u8],
        forwarded: bool,
        out: &mut SendQueue,
    ) {
        match self.cids.find(cid) {
            Found::Here(Holder::Session(id)) => self.handle_records(id, path, datagram, out),
            Found::Here(Holder::Handshake(id)) => {
                // Until its Finished is verified, nothing tells that a record from elsewhere is the client's.
                if self.handshakes.get(id).is_some_and(|of| of.is_at(path.peer)) {
                    self.handle_flight(id, path, datagram, out);
                } else {
                    self.drop_datagram(DropReason::HandshakeNoise);
                }
            }
            Found::Elsewhere(shard) if !forwarded && self.forward_to(shard, path, datagram) => {}
            Found::Elsewhere(_) | Found::Nobody => self.drop_datagram(DropReason::UnknownConnectionId),
        }
    }

    /// Takes a datagram that begins with a record of nobody. What a client with a connection ID repeats when our last flight
    /// was lost begins in the clear and ends with its Finished, which tells whose it is.
    fn handle_stray(&mut self, path: Path, datagram: &mut [u8], forwarded: bool, out: &mut SendQueue) {
        let cid = records(datagram).find_map(|record| RecordHeader::connection_id(record));
        match cid {
            Some(cid) => self.handle_identified(cid, path, datagram, forwarded, out),
            None => self.drop_datagram(DropReason::UnknownSession),
        }
    }

    /// Takes the records of an established session.
    pub(super) fn handle_records(
        &mut self,
        id: PeerId,
        path: Path,
        datagram: &mut [u8],
        out: &mut SendQueue,
    ) {
        let key = PeerKey {
            kind: Kind::Secure,
            id,
        };
        if self.is_unresolved(id) {
            return self.keep_for_later(id, path, datagram);
        }
        let was_there = self
            .sessions
            .get(id)
            .is_some_and(|peer| peer.path.peer == path.peer);
        for record in records(datagram) {
            let Some(peer) = self.sessions.get_mut(id) else {
                return;
            };
            let Link::Secure(session) = &mut peer.link else {
                return;
            };
            let expected = session.receive_mark();
            let is_unheard = session.keeps_last_flight();
            match session.handle_record(record) {
                Incoming::Data { newest: false, .. } if peer.proof.is_owed() => {
                    self.drop_datagram(DropReason::Replayed);
                }
                Incoming::Data { message, newest } => {
                    if is_unheard {
                        forget_hello(&mut self.unheard, peer.path.peer, id);
                    }
                    let leaves_gap = session.receive_mark() > expected + 1;
                    // What is in the datagram that moved it was sent before anything could arrive there.
                    let proves = newest && was_there;
                    let is_elsewhere = path.peer != peer.path.peer;
                    let moves = newest && is_elsewhere && session.connection_id().is_some();
                    if newest && !is_elsewhere {
                        peer.path = path;
                        if proves {
                            peer.routability.heard(message);
                        }
                    }
                    // After a restart it may be one that is sent again, once. It is answered where it came from, and the address
                    // stays until the device has shown from there that it is there.
                    if moves && !peer.proof.is_owed() {
                        self.move_to(id, path);
                    }
                    let Some(peer) = self.sessions.get_mut(id) else {
                        return;
                    };
                    peer.heard = self.now;
                    if self.around.journal.is_some() && !peer.has_moved {
                        peer.has_moved = true;
                        self.moved.push(id);
                    }
                    // An older record is answered where the peer is by now.
                    let reply_to = if moves { path } else { peer.path };
                    self.sessions.touch(id);
                    if leaves_gap {
                        self.doubt(key);
                    }
                    self.handle_coap(key, reply_to, proves, message, out);
                }
                // Answered where it came from, which is what is asked.
                Incoming::PathChallenge(challenge) => {
                    let start = out.bytes.len();
                    let answered = session.answer_challenge(challenge, &mut out.bytes).map(|_| ());
                    out.push(start, path);
                    self.after_sending(key, answered);
                }
                Incoming::ResendFlight => self.send_last_flight(id, path, out),
                Incoming::Closed => {
                    let start = out.bytes.len();
                    session.close(&mut out.bytes);
                    out.push(start, path);
                    self.end(key, EndReason::Closed);
                }
                Incoming::Ignored(why) => {
                    trace!(peer = %path.peer, ?why, "record ignored");
                    let failures = session.failures();
                    if why == Ignored::Unauthentic && is_worth_a_warning(failures) {
                        warn!(peer = %path.peer, serial = peer.serial, failures, "records that the keys of their session do not open");
                    }
                    self.drop_datagram(match why {
                        Ignored::Malformed => DropReason::MalformedRecord,
                        Ignored::Plaintext => DropReason::Plaintext,
                        Ignored::WrongEpoch => DropReason::WrongEpoch,
                        Ignored::Replayed => DropReason::Replayed,
                        Ignored::WrongConnectionId => DropReason::UnknownConnectionId,
                        Ignored::Unauthentic => DropReason::Undecryptable,
                        Ignored::Unexpected => DropReason::Other,
                    });
                }
            }
        }
    }

    /// The newest record of a session with a connection ID has come from another address: its device is there by now.
    //= RFC 9146 section 6
    //# the receiver MUST NOT replace the address it uses for sending records to its peer with the source address specified
    //# in the received datagram, unless the following three conditions are met
    // It has been opened, it is the newest, and until the device has shown that it receives there, little is sent.
    pub(super) fn move_to(&mut self, id: PeerId, path: Path) {
        let Some(peer) = self.sessions.get_mut(id) else {
            return;
        };
        peer.path = path;
        peer.routability = Routability::unproven();
        peer.address_changed = true;
        self.tally.record(GatewayEvent::AddressChanged);
        if let Some(device) = &peer.device {
            self.around.handler.moved(device, peer.serial, path.peer);
        }
    }

    /// Passes a record on to the shard that has its sender's session; false when there is none.
    fn forward(&mut self, path: Path, datagram: &[u8]) -> bool {
        let Some(place) = self.around.directory.owner(path.peer) else {
            return false;
        };
        if place.shard == self.around.index {
            return false;
        }
        self.forward_to(place.shard, path, datagram)
    }

    /// Passes a datagram on to another shard; false when there is no such.
    fn forward_to(&mut self, shard: u16, path: Path, datagram: &[u8]) -> bool {
        let Some(mailbox) = self.around.mailboxes.get(usize::from(shard)) else {
            return false;
        };
        let bytes = datagram.into();
        if mailbox.forward(Forwarded { path, bytes }) {
            self.tally.record(GatewayEvent::DatagramForwarded);
        } else {
            self.drop_datagram(DropReason::QueueFull);
        }
        true
    }
}

/// Failures to open a session's records are told at the first bound and whenever they have doubled, so that whoever forges them
/// writes hardly anything into the log.
fn is_worth_a_warning(failures: u32) -> bool {
    failures >= FAILURES_TOLD && failures.is_power_of_two()
}

/// The first number of records that do not open of which an operator is told. A guess: loss and bad luck make none, and a device whose
/// keys are not ours gives up long before.
const FAILURES_TOLD: u32 = 1024;
