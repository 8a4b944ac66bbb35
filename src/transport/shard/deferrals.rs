//! Requests whose answers are somebody else's to give, until these come or their time is up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::directory::PeerKey;
use super::super::handler::Overdue;
use crate::coap::{MessageId, Token};
use crate::telemetry::{CoapMethod, Route};

/// All that wait, by the numbers in their tickets and by their deadlines.
///
/// What one peer may have here is bounded by [`crate::coap::MAX_PENDING`] and by what the handler defers.
#[derive(Debug, Default)]
pub struct Deferrals {
    waiting: BTreeMap<u64, Deferral>,
    deadlines: BTreeSet<(Instant, u64)>,
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
        self.waiting.insert(number, deferral);
    }

    /// Takes out the request with this number; `None` if it waits no more.
    pub fn take(&mut self, number: u64) -> Option<Deferral> {
        let deferral = self.waiting.remove(&number)?;
        self.deadlines.remove(&(deferral.deadline, number));
        Some(deferral)
    }

    /// Takes out a request whose time is up at `now`, with its number.
    pub fn take_due(&mut self, now: Instant) -> Option<(u64, Deferral)> {
        let (_, number) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.take(number).map(|deferral| (number, deferral))
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
