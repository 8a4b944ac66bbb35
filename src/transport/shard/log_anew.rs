//! A session log that failed and can be written again has to be told of every session, as if each were established anew: with
//! the record numbers that it may use from here on.
//!
//! 1. [`Shard::log_everybody_anew`]: nobody is in the log.
//! 2. A cursor goes over the sessions, a few in every turn of the event loop, as fast as the log takes them.
//! 3. A session that waits for record numbers is passed over: they were asked for before the log knew it, and the answer
//!    could reach beyond what the log is told now. Its turn comes with that answer ([`Shard::log_late`]).

use std::time::Instant;

use super::super::handler::{Handler, KeySource, Principal};
use super::super::journal::{Entry, SavedCredential, SavedPeer};
use super::super::slots::PeerId;
use super::{Link, Shard, TICK};
use crate::dtls::{MAX_RECORD_NUMBER, RESERVATION};

/// The cursor over sessions that the log may not know.
#[derive(Debug, Default)]
pub struct Unlogged {
    /// From which place on, and from when on.
    from: Option<(u32, Instant)>,
}

impl Unlogged {
    /// When it goes on.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.from.map(|(_, at)| at)
    }
}

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Begins to tell the log of every session.
    pub(super) fn log_everybody_anew(&mut self) {
        let mut from = 0;
        while let Some(id) = self.sessions.at_or_after(from) {
            if let Some(peer) = self.sessions.get_mut(id) {
                peer.is_logged = false;
            }
            from = id.slot() + 1;
        }
        self.unlogged.from = Some((0, self.now));
    }

    /// Tells the log of further sessions, if some are left to tell of.
    pub(super) fn log_anew(&mut self, budget: &mut usize) {
        let Some((mut from, at)) = self.unlogged.from.filter(|(_, at)| *at <= self.now) else {
            return;
        };
        while *budget > 0 {
            let Some(id) = self.sessions.at_or_after(from) else {
                self.unlogged.from = None;
                return;
            };
            if !self.log_session(id) {
                // The disk is behind.
                self.unlogged.from = Some((from, self.now + TICK));
                return;
            }
            from = id.slot() + 1;
            *budget -= 1;
        }
        self.unlogged.from = Some((from, at));
    }

    /// Tells the log of a session that it does not know and that waits for nothing any more.
    pub(super) fn log_late(&mut self, id: PeerId) {
        if !self.log_session(id) {
            let (from, at) = self.unlogged.from.unwrap_or((id.slot(), self.now + TICK));
            self.unlogged.from = Some((from.min(id.slot()), at));
        }
    }

    /// Tells the log of a session; false when it takes no more. Nothing happens to one that it knows.
    fn log_session(&mut self, id: PeerId) -> bool {
        let (Some(journal), Some(peer)) = (&self.around.journal, self.sessions.get_mut(id)) else {
            return true;
        };
        let of = peer.device.as_ref();
        let known = of.map(|device| (device.key(), SavedCredential::Numbered(peer.credential)));
        let unresolved = self.unresolved.get(&id);
        let of = known.or_else(|| unresolved.map(|of| (of.device, of.credential.clone())));
        if peer.is_logged || peer.ranges.is_waiting() {
            return true;
        }
        let relations = peer.saved_relations();
        let (Link::Secure(session), Some(origin), Some((device, credential))) =
            (&mut peer.link, &peer.origin, of)
        else {
            return true;
        };
        // As at its establishment: from this entry on, and only if it is kept, the session is restored behind these numbers.
        let before = session.reservation();
        let end = session.next_record_number().saturating_add(RESERVATION);
        session.reserve(end.min(MAX_RECORD_NUMBER));
        peer.is_logged = journal.record(Entry::Established(Box::new(SavedPeer {
            serial: peer.serial,
            device,
            credential,
            peer: peer.path.peer,
            local: peer.path.local,
            since_unix_ms: origin.since_unix_ms,
            session: session.save(),
            relations,
        })));
        if peer.is_logged {
            peer.relations_changed = false;
        } else {
            session.reserve(before);
        }
        peer.is_logged
    }
}
