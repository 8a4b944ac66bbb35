//! Sessions of an earlier run, out of the session log.
//!
//! A restored session takes records at once, but whose it is has to be asked again: the credential may have gone. One datagram that
//! comes meanwhile is kept.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::debug;

use super::super::cids::{Holder, NotOurs};
use super::super::directory::{Kind, PeerKey};
use super::super::handler::{EndReason, Handler, KeySource, Principal, SessionFacts};
use super::super::inbox::{KeyTicket, Message, RestoredTicket};
use super::super::journal::{RestoredPeer, SavedCredential, SavedRelation};
use super::super::slots::{Lane, PeerId};
use super::super::udp::{Path, SendQueue};
use super::proof::Proof;
use super::{Link, Origin, Peer, Shard};
use crate::coap::{ContentFormat, Endpoint, ObserveSeq, Relation, Token};
use crate::dtls::ConnectionId;
use crate::telemetry::{DropReason, GatewayEvent, Security};

/// A session whose device is being looked up.
#[derive(Debug)]
pub struct Unresolved {
    /// The device's key when the session was established.
    pub device: u64,
    /// What was proven then.
    pub credential: SavedCredential,
    /// A credential of the device was retired since it was asked: what is found may be what was before that.
    pub outdated: bool,
    kept: Option<(Path, Box<[u8]>)>,
}

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Takes sessions over from the session log, and starts asking whose they are.
    pub fn restore(&mut self, now: Instant, restored: Vec<RestoredPeer>) {
        self.now = now;
        for RestoredPeer { saved, session } in restored {
            let Some(listener) = self.listener_for(saved.local) else {
                continue;
            };
            let path = Path {
                peer: saved.peer,
                local: saved.local,
                listener,
            };
            let cid = session.connection_id();
            let proof = Proof::owed_from(session.next_record_number());
            let mut peer = Peer::new(Link::Secure(session), None, path, saved.serial, now);
            peer.proof = proof;
            peer.endpoint = Endpoint::restore(saved.relations.iter().filter_map(relation));
            peer.origin = Some(Origin {
                since_unix_ms: saved.since_unix_ms,
            });
            peer.is_logged = true;
            let observed = peer.endpoint.relations().count();
            let lane = if cid.is_some() { Lane::Patient } else { Lane::Usual };
            let id = self.sessions.insert_in(lane, peer);
            let mut older = None;
            match cid {
                Some(cid) => match self.cids.restore(cid, id, &mut self.around.rng) {
                    Ok(Some(Holder::Session(before))) => older = Some(before),
                    Ok(Some(Holder::Handshake(_)) | None) => {}
                    Err(NotOurs) => {
                        debug!(%cid, "a session of another gateway in the log");
                        self.sessions.remove(id);
                        continue;
                    }
                },
                None => self.update_here(path.peer, |here| older = here.established.replace(id)),
            }
            for _ in 0..observed {
                self.tally.record(GatewayEvent::ObserverAdded);
            }
            let key = PeerKey {
                kind: Kind::Secure,
                id,
            };
            let place = self.place(key);
            self.around.sessions.fetch_add(1, Ordering::Relaxed);
            self.tally.record(GatewayEvent::SessionStarted(Security::Dtls));
            let unresolved = Unresolved {
                device: saved.device,
                credential: saved.credential,
                outdated: false,
                kept: None,
            };
            self.unresolved.insert(id, unresolved);
            self.to_resolve.push(id);
            if cid.is_none() {
                self.around.directory.claim(path.peer, place);
            }
            let replaced = self.around.directory.arrive(saved.device, place, saved.serial);
            // Two sessions of one device, one address or one place for a connection ID in the log: the later one counts.
            if let Some(id) = older {
                self.end(
                    PeerKey {
                        kind: Kind::Secure,
                        id,
                    },
                    EndReason::Replaced,
                );
                if let Some(cid) = cid {
                    // If it was the very same, it has been released.
                    let _ = self.cids.restore(cid, id, &mut self.around.rng);
                }
            }
            if let Some(old) = replaced
                && let Some(mailbox) = self.around.mailboxes.get(usize::from(old.shard))
            {
                mailbox.post(Message::Replaced { peer: old.peer });
            }
        }
        self.cids.restored();
        for _ in 0..RESOLVING_MAX {
            self.resolve_next();
        }
    }

    /// Takes the answer to whose a restored session is.
    pub(super) fn handle_restored(
        &mut self,
        id: PeerId,
        found: Option<(H::Device, u64)>,
        out: &mut SendQueue,
    ) {
        let outdated = self
            .unresolved
            .get_mut(&id)
            .map(|unresolved| &mut unresolved.outdated);
        if outdated.is_some_and(std::mem::take) && found.is_some() {
            return self.resolve(id);
        }
        self.resolve_next();
        let key = PeerKey {
            kind: Kind::Secure,
            id,
        };
        let Some(peer) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(unresolved) = self.unresolved.get(&id) else {
            return;
        };
        let Some((device, credential)) = found.filter(|(device, _)| device.key() == unresolved.device) else {
            debug!(peer = %peer.path.peer, "a restored session's device is gone");
            self.say_goodbye(key, out);
            return self.end(key, EndReason::Revoked);
        };
        let Link::Secure(session) = &peer.link else { return };
        let facts = SessionFacts {
            serial: peer.serial,
            shard: self.around.index,
            peer: peer.path.peer,
            suite: session.suite().name(),
            connection_id: session.connection_id().map(ConnectionId::to_bytes),
            credential,
            since_unix_ms: peer
                .origin
                .as_ref()
                .map_or(self.unix_ms, |origin| origin.since_unix_ms),
            restored: true,
        };
        peer.device = Some(device.clone());
        peer.credential = credential;
        let observes = peer.endpoint.relations().count() > 0;
        let kept = self.unresolved.remove(&id).and_then(|unresolved| unresolved.kept);
        self.around.handler.connected(&device, &facts);
        if observes {
            self.around.handler.observing(&device, facts.serial, true);
        }
        if let Some((path, mut datagram)) = kept {
            self.handle_records(id, path, &mut datagram, out);
        }
        // What was published between the two runs has told nobody.
        self.mark_due(key, false, self.now);
    }

    pub(super) fn is_unresolved(&self, id: PeerId) -> bool {
        !self.unresolved.is_empty() && self.unresolved.contains_key(&id)
    }

    /// Keeps a datagram for a session whose device is not known yet.
    pub(super) fn keep_for_later(&mut self, id: PeerId, path: Path, datagram: &[u8]) {
        match self.unresolved.get_mut(&id) {
            Some(Unresolved {
                kept: kept @ None, ..
            }) => *kept = Some((path, datagram.into())),
            Some(_) | None => self.drop_datagram(DropReason::QueueFull),
        }
    }

    fn resolve_next(&mut self) {
        while let Some(id) = self.to_resolve.pop() {
            // One that has ended meanwhile asks nothing.
            if self.is_unresolved(id) {
                return self.resolve(id);
            }
        }
    }

    fn resolve(&mut self, id: PeerId) {
        let Some(unresolved) = self.unresolved.get(&id) else {
            return;
        };
        let mailbox = self.mailbox().clone();
        match &unresolved.credential {
            SavedCredential::Numbered(number) => {
                let ticket = RestoredTicket::new(mailbox, *number, id);
                self.around.keys.restored(unresolved.device, *number, ticket);
            }
            SavedCredential::Identity(identity) => {
                let ticket = KeyTicket::for_restored(mailbox, id);
                self.around.keys.psk(identity, ticket);
            }
        }
    }

    /// The DTLS listener that has `local` as its address, if only as part of a wildcard.
    fn listener_for(&self, local: std::net::IpAddr) -> Option<u8> {
        let secure = || {
            let listeners = self.around.locals.iter().zip(&self.around.kinds).enumerate();
            listeners
                .filter(|(_, (_, kind))| **kind == Kind::Secure)
                .map(|(index, (address, _))| (index as u8, address.ip()))
        };
        secure()
            .find(|(_, ip)| *ip == local)
            .or_else(|| secure().find(|(_, ip)| ip.is_unspecified() && (ip.is_ipv6() || local.is_ipv4())))
            .or_else(|| secure().next())
            .map(|(listener, _)| listener)
    }
}

/// A relation as the log keeps it.
pub fn save_relation(relation: &Relation) -> SavedRelation {
    let bytes = relation.token.as_bytes();
    let mut token = [0; 8];
    token[..bytes.len()].copy_from_slice(bytes);
    SavedRelation {
        resource: relation.resource,
        token,
        token_len: bytes.len() as u8,
        accept: relation.accept.map(|format| format.0),
        sent: relation.sent,
        sequence: relation.seq.get(),
    }
}

fn relation(saved: &SavedRelation) -> Option<Relation> {
    let token = Token::new(saved.token.get(..usize::from(saved.token_len))?)?;
    let sequence = ObserveSeq::new(saved.sequence)?;
    Some(Relation::new(
        saved.resource,
        token,
        saved.accept.map(ContentFormat),
        saved.sent,
        sequence,
    ))
}

/// Lookups under way for restored sessions of one shard: few enough to leave room for those of handshakes.
const RESOLVING_MAX: usize = 64;
