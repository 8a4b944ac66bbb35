//! Notifications: who is due, in which order, and again.
//!
//! Peers named by a wake-up or a timer are served first. When everybody may be due, a cursor goes over the tables, a few peers
//! in every turn of the event loop, so that requests are read in between. Whether a peer is really due is the
//! handler's to say, and that at most one notification of a session is in flight is the endpoint's.

use std::time::{Duration, Instant};

use super::super::directory::{Kind, PeerKey};
use super::super::handler::{Handler, KeySource, Notification};
use super::super::routability::Sending;
use super::super::udp::SendQueue;
use super::delays::Moment;
use super::requests::table;
use super::{Alarm, Shard};
use crate::coap::{Relation, Timeout};
use crate::telemetry::{GatewayEvent, NotificationMoment, NotificationResult, Retransmitter};

/// The cursor over all peers.
#[derive(Debug, Default)]
pub struct Sweep {
    at: Option<At>,
    /// Somebody asked while it was under way, then at the earliest: those behind it are due again.
    again: Option<Instant>,
}

/// Where the cursor is.
#[derive(Clone, Copy, Debug)]
struct At {
    kind: Kind,
    slot: u32,
    /// When somebody asked.
    since: Instant,
}

impl Sweep {
    /// Goes over everybody, once from wherever it is not yet.
    pub fn restart(&mut self, since: Instant) {
        if self.at.is_some() {
            self.again.get_or_insert(since);
        } else {
            self.at = Some(At::start(since));
        }
    }

    fn finish(&mut self) {
        self.at = self.again.take().map(At::start);
    }
}

impl At {
    fn start(since: Instant) -> Self {
        Self {
            kind: Kind::Secure,
            slot: 0,
            since,
        }
    }
}

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Notifies up to `budget` peers that may be due; true when more are left.
    pub fn notify_observers(&mut self, budget: usize, out: &mut SendQueue) -> bool {
        for _ in 0..budget {
            if let Some(key) = self.due.pop_front() {
                if let Some(peer) = self.peer_mut(key) {
                    peer.is_due = false;
                }
                self.notify(key, out);
            } else if let Some(At { kind, slot, since }) = self.sweep.at {
                match table(&mut self.sessions, &mut self.plain, kind).at_or_after(slot) {
                    Some(id) => {
                        let slot = id.slot() + 1;
                        self.sweep.at = Some(At { kind, slot, since });
                        let (key, since) = (PeerKey { kind, id }, Moment::at(since, self.began));
                        if let Some(peer) = self.peer_mut(key) {
                            peer.delay.woken(since);
                        }
                        self.notify(key, out);
                    }
                    None if kind == Kind::Secure => {
                        let kind = Kind::Plain;
                        self.sweep.at = Some(At { kind, slot: 0, since });
                    }
                    None => self.sweep.finish(),
                }
            } else {
                return false;
            }
        }
        !self.due.is_empty() || self.sweep.at.is_some()
    }

    /// Puts a peer in the queue, for what has changed at `since`; with `forced` it gets a notification even if nothing has.
    pub(super) fn mark_due(&mut self, key: PeerKey, forced: bool, since: Instant) {
        let since = Moment::at(since, self.began);
        let Some(peer) = self.peer_mut(key) else { return };
        peer.endpoint.wake(forced);
        peer.delay.woken(since);
        if !peer.is_due {
            peer.is_due = true;
            self.due.push_back(key);
        }
    }

    /// Asks what the peer is due, and sends the first notification of it.
    fn notify(&mut self, key: PeerKey, out: &mut SendQueue) {
        let Some(peer) = self.peer_mut(key) else { return };
        if peer.endpoint.relations().next().is_some() {
            peer.endpoint.wake(false);
            self.send_due(key, out);
        } else {
            peer.delay.nothing_due();
        }
    }

    /// Sends the next notification that the peer is due, unless one is in flight.
    pub(super) fn send_due(&mut self, key: PeerKey, out: &mut SendQueue) {
        let (now, unix_ms, moment) = (self.now, self.unix_ms, self.moment());
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        let Some(device) = &peer.device else { return };
        while let Some((relation, forced)) = peer.endpoint.next_due() {
            let (mid, max_message) = (peer.link.next_mid(), peer.link.max_message());
            let started = peer.link.begin(out);
            let mut reply = peer
                .endpoint
                .notification(&relation, mid, unix_ms, &mut out.bytes)
                .within(max_message);
            let outcome = self
                .around
                .handler
                .notification(device, &relation, forced, &mut reply);
            let (Notification::Written { version }, Some(written)) = (outcome, reply.finish()) else {
                out.bytes.truncate(started.at);
                continue;
            };
            peer.endpoint
                .notified(now, relation.resource, &written, version, &mut self.around.rng);
            let path = peer.path;
            let sent = peer.send(started, path, Sending::Notification, out, &mut self.tally);
            self.tally.record(GatewayEvent::NotificationSent);
            let delay = peer.delay.sent(moment);
            self.count_delay(NotificationMoment::Sent, delay);
            self.after_sending(key, sent);
            return self.set_alarm(key);
        }
        // Otherwise what is due waits for the way to be free.
        if peer.endpoint.awaited().is_none() {
            peer.delay.nothing_due();
        }
        self.set_alarm(key);
    }

    pub(super) fn count_delay(&mut self, until: NotificationMoment, took: Option<Duration>) {
        if let Some(took) = took {
            self.tally
                .record(GatewayEvent::NotificationDelayed { until, took });
        }
    }

    /// A notification of the peer may have to be sent again, or given up.
    pub(super) fn handle_peer_alarm(&mut self, key: PeerKey, out: &mut SendQueue) {
        let now = self.now;
        let Some(peer) = self.peer_mut(key) else { return };
        // One that an earlier alarm has overtaken. Setting another in its place would keep both for ever.
        if peer.alarm.is_none_or(|alarm| alarm > now) {
            return;
        }
        peer.alarm = None;
        let observed = peer.endpoint.relations().count();
        match peer.endpoint.handle_timeout(now) {
            Some(Timeout::Retransmit(relation)) => self.send_again(key, &relation, out),
            Some(Timeout::GaveUp(_)) => {
                peer.delay.over();
                self.tally
                    .record(GatewayEvent::NotificationEnded(NotificationResult::Unanswered));
                self.count_observers(key, observed);
                self.send_due(key, out);
            }
            Some(Timeout::PingAgain) => self.ping_again(key, out),
            Some(Timeout::PingUnanswered) => self.send_due(key, out),
            None => {}
        }
        self.set_alarm(key);
    }

    /// Repeats what is in flight, or sends what has taken its place.
    fn send_again(&mut self, key: PeerKey, relation: &Relation, out: &mut SendQueue) {
        let (now, unix_ms, moment) = (self.now, self.unix_ms, self.moment());
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        let Some(device) = &peer.device else { return };
        let handler = &self.around.handler;
        let started = peer.link.begin(out);
        let max_message = peer.link.max_message();
        let Some(reply) = peer.endpoint.retransmission(&mut out.bytes) else {
            return out.bytes.truncate(started.at);
        };
        let mut reply = reply.within(max_message);
        let outcome = handler.notification(device, relation, true, &mut reply);
        let written = reply.finish();
        let started = match (outcome, written) {
            (Notification::Written { version }, Some(_)) if version == relation.sent => {
                self.tally
                    .record(GatewayEvent::Retransmitted(Retransmitter::Notification));
                started
            }
            (Notification::Written { .. } | Notification::Unchanged, _) => {
                // Another body needs a message ID and a number of its own.
                out.bytes.truncate(started.at);
                let mid = peer.link.next_mid();
                let started = peer.link.begin(out);
                let mut reply = peer
                    .endpoint
                    .notification(relation, mid, unix_ms, &mut out.bytes)
                    .within(max_message);
                let outcome = handler.notification(device, relation, true, &mut reply);
                let (Notification::Written { version }, Some(written)) = (outcome, reply.finish()) else {
                    // The device has left its cohort, say. Its silence about what is not sent any more means nothing.
                    out.bytes.truncate(started.at);
                    peer.endpoint.withdraw();
                    peer.delay.over();
                    self.tally
                        .record(GatewayEvent::NotificationEnded(NotificationResult::Superseded));
                    return self.send_due(key, out);
                };
                peer.endpoint
                    .notified(now, relation.resource, &written, version, &mut self.around.rng);
                self.tally
                    .record(GatewayEvent::NotificationEnded(NotificationResult::Superseded));
                self.tally.record(GatewayEvent::NotificationSent);
                if let Some(took) = peer.delay.sent(moment) {
                    let until = NotificationMoment::Sent;
                    self.tally
                        .record(GatewayEvent::NotificationDelayed { until, took });
                }
                started
            }
        };
        let path = peer.path;
        let sent = peer.send(started, path, Sending::Notification, out, &mut self.tally);
        self.after_sending(key, sent);
    }

    /// Sets an alarm for the endpoint's next timeout, unless an earlier one is set: that one will look again.
    pub(super) fn set_alarm(&mut self, key: PeerKey) {
        let Some(peer) = self.peer_mut(key) else { return };
        if let Some(due) = peer.endpoint.poll_timeout()
            && peer.alarm.is_none_or(|alarm| due < alarm)
        {
            peer.alarm = Some(due);
            self.alarms.insert(due, Alarm::Peer(key));
        }
    }
}
