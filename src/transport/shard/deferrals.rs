//! Requests whose answers are somebody else's to give, until these come or their time is up.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::super::directory::PeerKey;
use super::super::handler::Overdue;
use crate::coap::{MessageId, Token};
use crate::telemetry::{CoapMethod, Route};

/// All that wait, by the numbers in their tickets and by their deadlines.
///
/// A GET that gave way to a newer one is here until its ticket comes back: work goes on for it that nobody waits for. So what a
/// peer may have here is the handler's to bound ([`super::super::RequestContext::waiting`]).
#[derive(Debug, Default)]
pub struct Deferrals {
    waiting: BTreeMap<u64, Deferral>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// How many a peer has, if any.
    of_peers: HashMap<PeerKey, usize>,
}

/// A request whose answer is somebody else's to give.
#[derive(Clone, Copy, Debug)]
pub struct Deferral {
    /// When its time is up.
    pub deadline: Instant,
    /// What happens then.
    pub overdue: Overdue,
    /// Who asked.
    pub peer: PeerKey,
    /// The message that asked.
    pub exchange: (MessageId, Token),
    pub method: CoapMethod,
    pub route: Route,
}

impl Deferrals {
    /// Has a request wait under a number of its own.
    pub fn add(&mut self, number: u64, deferral: Deferral) {
        self.deadlines.insert((deferral.deadline, number));
        *self.of_peers.entry(deferral.peer).or_default() += 1;
        self.waiting.insert(number, deferral);
    }

    /// Takes out the request with this number; `None` if it waits no more.
    pub fn take(&mut self, number: u64) -> Option<Deferral> {
        let deferral = self.waiting.remove(&number)?;
        self.deadlines.remove(&(deferral.deadline, number));
        if let Entry::Occupied(mut of_peer) = self.of_peers.entry(deferral.peer) {
            *of_peer.get_mut() -= 1;
            if *of_peer.get() == 0 {
                of_peer.remove();
            }
        }
        Some(deferral)
    }

    /// A peer has shown that it is there: what it was to be told had been taken in hand is on its way now.
    pub fn proven(&mut self, peer: PeerKey, deadline: Instant) {
        if !self.of_peers.contains_key(&peer) {
            return;
        }
        for (number, deferral) in &mut self.waiting {
            if deferral.peer == peer && deferral.overdue == Overdue::Taken {
                self.deadlines.remove(&(deferral.deadline, *number));
                self.deadlines.insert((deadline, *number));
                deferral.deadline = deadline;
                deferral.overdue = Overdue::Unavailable;
            }
        }
    }

    /// Takes out what a peer was to be told had been taken in hand.
    pub fn take_taken(&mut self, peer: PeerKey) -> Vec<Deferral> {
        if !self.of_peers.contains_key(&peer) {
            return Vec::new();
        }
        let taken = self
            .waiting
            .iter()
            .filter(|(_, deferral)| deferral.peer == peer && deferral.overdue == Overdue::Taken)
            .map(|(number, _)| *number);
        let taken: Vec<u64> = taken.collect();
        taken.into_iter().filter_map(|number| self.take(number)).collect()
    }

    /// Whether an answer is on its way.
    pub fn are_owed(&self) -> bool {
        self.waiting
            .values()
            .any(|deferral| deferral.overdue != Overdue::Taken)
    }

    /// Takes out a request whose time is up at `now`, with its number.
    pub fn take_due(&mut self, now: Instant) -> Option<(u64, Deferral)> {
        let (_, number) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.take(number).map(|deferral| (number, deferral))
    }

    /// How many requests of a peer wait.
    pub fn of(&self, peer: PeerKey) -> usize {
        self.of_peers.get(&peer).copied().unwrap_or_default()
    }

    /// When the next one's time is up.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
