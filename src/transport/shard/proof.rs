//! Sessions of an earlier run whose device has not shown yet that it is there (`DTLS.md` 3).
//!
//! What a device sent after the last receive mark in the session log may have been received by the earlier run, which cannot be told
//! any more: whoever recorded it could send it again, once. So the session owes a proof, until the device has
//! acknowledged something that this run has sent:
//!
//! 1. With the first answer goes a ping ([`Shard::ask_for_proof`]), unless a notification is on its way, which proves as much. One
//!    kind of device acknowledges a ping, the other resets it (`CONTRACT.md` rule 13). Unanswered, it is sent again when the device
//!    is next heard of.
//! 2. Meanwhile only the newest record is taken, nobody stops observing, and the handler knows ([`RequestContext::is_proven`]).
//! 3. What was said before a record that never came may have been overtaken by that one: it is as if it had been lost
//!    ([`Shard::doubt`]). So what takes effect with the proof is the end of what the device has said, without a gap.
//! 4. The proof is newer than whatever could be sent again: from there on nothing older is taken ([`Shard::take_proof`]).
//!
//! [`RequestContext::is_proven`]: super::super::handler::RequestContext::is_proven

use super::super::directory::PeerKey;
use super::super::handler::{Handler, KeySource};
use super::super::routability::Sending;
use super::super::udp::{Path, SendQueue};
use super::requests::{ANSWER_WITHIN, table};
use super::{Link, Shard};
use crate::coap::{Message, MessageId, ObserveRequest, Request};

/// Whether a device is known to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It shook hands with this run, or has acknowledged something of it.
    Given,
    /// Not yet.
    Owed {
        /// The message ID that the first record of this run would have.
        first: MessageId,
    },
}

impl Proof {
    /// Of a session restored behind this record number.
    pub fn owed_from(number: u64) -> Self {
        Self::Owed {
            first: MessageId(number as u16),
        }
    }

    pub fn is_owed(self) -> bool {
        match self {
            Self::Given => false,
            Self::Owed { .. } => true,
        }
    }

    /// Whether an acknowledgement of this message ID would be the proof.
    ///
    /// Message IDs are record numbers' low halves, and the first of this run lies behind every one of the earlier run: none of those
    /// in the half of all message IDs that begins there can have been used in the last 2^15 records before.
    pub fn is_given_by(self, mid: MessageId) -> bool {
        match self {
            Self::Given => false,
            Self::Owed { first } => mid.0.wrapping_sub(first.0) < 1 << 15,
        }
    }
}

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Sends a ping along `path` to a peer that owes a proof, unless it has something to acknowledge already.
    pub(super) fn ask_for_proof(&mut self, key: PeerKey, path: Path, out: &mut SendQueue) {
        let now = self.now;
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        let mid = peer.link.next_mid();
        if !peer.proof.is_given_by(mid) {
            return;
        }
        let started = peer.link.begin(out);
        let is_elsewhere = path.peer != peer.path.peer;
        if is_elsewhere && peer.endpoint.in_flight().is_some() {
            // What is on its way to where the device was does not arrive. It comes again once the device has been found.
            peer.endpoint.withdraw();
            peer.delay.over();
            peer.endpoint.wake(false);
        }
        let asked = peer.endpoint.ping(now, mid, &mut out.bytes, &mut self.around.rng)
            || (is_elsewhere && peer.endpoint.ping_again(&mut out.bytes));
        if !asked {
            return out.bytes.truncate(started.at);
        }
        let sent = peer.send(started, path, Sending::Notification, out, &mut self.tally);
        self.after_sending(key, sent);
        self.set_alarm(key);
    }

    /// Sends the ping in flight again.
    pub(super) fn ping_again(&mut self, key: PeerKey, out: &mut SendQueue) {
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        let started = peer.link.begin(out);
        if !peer.endpoint.ping_again(&mut out.bytes) {
            return out.bytes.truncate(started.at);
        }
        let path = peer.path;
        let sent = peer.send(started, path, Sending::Notification, out, &mut self.tally);
        self.after_sending(key, sent);
    }

    /// Between the newest record of a peer and those before, there are some that have not come since the restart. If the earlier run
    /// had them, then what was said before them is over.
    pub(super) fn doubt(&mut self, key: PeerKey) {
        let Some(peer) = self.peer_mut(key) else { return };
        if !peer.proof.is_owed() {
            return;
        }
        let serial = peer.serial;
        if let Some(device) = peer.device.clone() {
            self.around.handler.doubted(&device, serial);
        }
        for deferral in self.deferrals.take_taken(key) {
            self.forget(&deferral);
        }
    }

    /// The peer has acknowledged this message ID from the other end of `path`: that is where it is.
    pub(super) fn take_proof(&mut self, key: PeerKey, path: Path, acknowledged: MessageId) {
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        if !peer.proof.is_given_by(acknowledged) {
            return;
        }
        peer.proof = Proof::Given;
        if let Link::Secure(session) = &mut peer.link {
            session.refuse_older();
        }
        if path.peer != peer.path.peer {
            self.move_to(key.id, path);
        }
        let peer = table(&mut self.sessions, &mut self.plain, key.kind).get(key.id);
        if let Some(peer) = peer
            && let Some(device) = &peer.device
        {
            self.around.handler.proven(device, peer.serial);
        }
        self.deferrals.proven(key, self.now + ANSWER_WITHIN);
    }
}

/// Whether a message would end an observation at the device's wish.
pub fn stops_observing(message: &[u8]) -> bool {
    let Ok(message) = Message::parse(message) else {
        return false;
    };
    Request::new(&message).is_ok_and(|request| request.observe == Some(ObserveRequest::Deregister))
}
