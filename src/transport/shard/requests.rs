//! CoAP messages of a peer: answered at once, or by a ticket later.

use std::time::Duration;

use tracing::{debug, trace};

use super::super::directory::{Kind, PeerKey};
use super::super::handler::{Disposition, EndReason, Handler, KeySource, Overdue, RequestContext};
use super::super::inbox::{Answer, TicketOrigin};
use super::super::routability::Sending;
use super::super::slots::Slots;
use super::super::udp::{Path, SendQueue};
use super::deferrals::Deferral;
use super::proof::stops_observing;
use super::{Link, Peer, Shard};
use crate::clock;
use crate::coap::{AutomaticKind, Code, Ignored, Incoming, Reply, Request};
use crate::dtls::{MAX_RECORD_NUMBER, SealError};
use crate::telemetry::{
    CoapCode, CoapMethod, DropReason, GatewayEvent, NotificationMoment, NotificationResult, Rejection,
};

/// How long a ticket may take before the device is told 5.03, where that is what becomes of it ([`Overdue::Unavailable`]).
///
/// A device gives a request up after ten seconds, counted from its first transmission, and that one may have been lost: the next
/// comes up to three seconds later (`CONTRACT.md` rule 3 and section 2).
pub const ANSWER_WITHIN: Duration = Duration::from_secs(6);

/// How long after its newest transmission a request is answered where nothing is said otherwise ([`Overdue::Lost`]).
///
/// One kind of device transmits for the last time about 6.4 s after the first and gives up at ten, the other goes on for half
/// a minute: a request that either still waits for has been heard of within this time, unless its transmissions were lost.
/// Below the eight seconds for which both were seen to wait for a block (`CONTRACT.md` section 6).
pub const ASKED_WITHIN: Duration = Duration::from_millis(7_500);

/// How long a device waits for the answer to what has been taken in hand ([`Overdue::Taken`]): time for it to answer a ping and the
/// first repetition of that, and half of what the less patient kind of device waits.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(5);

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Takes a message that a peer sent, authentic if the peer is. `path` is where it is answered, `proves` whether the peer is
    /// there if it has received something there.
    pub(super) fn handle_coap(
        &mut self,
        key: PeerKey,
        path: Path,
        proves: bool,
        message: &[u8],
        out: &mut SendQueue,
    ) {
        let (now, moment) = (self.now, self.moment());
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        // Sent again, if it was the device, once it has answered the ping.
        if peer.proof.is_owed() && stops_observing(message) {
            self.drop_datagram(DropReason::Other);
            return self.ask_for_proof(key, path, out);
        }
        let observed = peer.endpoint.relations().count();
        let revived = peer.endpoint.revive();
        let awaited = peer.endpoint.awaited();
        let incoming = peer.endpoint.handle(now, message);
        if !matches!(incoming, Ok(Incoming::Request(_)))
            && let Some(device) = &peer.device
        {
            self.around.handler.heard(device, self.unix_ms);
        }
        if let (
            Ok(Incoming::Acknowledged(_) | Incoming::Rejected(_) | Incoming::PingAnswered),
            Some(acknowledged),
        ) = (&incoming, awaited)
        {
            self.take_proof(key, path, acknowledged);
        }
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        match incoming {
            Ok(Incoming::Request(request)) => {
                self.answer(key, path, &request, out);
                if request.observe.is_some() {
                    // It may have ended a relation with its notification in flight: another may go out.
                    self.send_due(key, out);
                }
            }
            Ok(Incoming::Respond(automatic)) => {
                let mid = peer.link.next_mid();
                let started = peer.link.begin(out);
                automatic.write(mid, &mut out.bytes);
                let sending = Sending::Answer(automatic.mid());
                let sent = peer.send(started, path, sending, out, &mut self.tally);
                if let AutomaticKind::Refused(code) = automatic.kind() {
                    debug!(peer = %path.peer, %code, "request refused");
                    self.tally.record(GatewayEvent::RequestRejected(match code {
                        Code::REQUEST_ENTITY_INCOMPLETE => Rejection::BodyIncomplete,
                        Code::REQUEST_ENTITY_TOO_LARGE => Rejection::BodyTooLarge,
                        Code::METHOD_NOT_ALLOWED => Rejection::MethodNotAllowed,
                        _ => Rejection::BadOption,
                    }));
                }
                self.after_sending(key, sent);
            }
            Ok(Incoming::Acknowledged(relation)) => {
                let delay = peer.delay.acknowledged(moment);
                peer.relations_changed = true;
                if proves {
                    peer.routability.acknowledged();
                }
                let peer = table(&mut self.sessions, &mut self.plain, key.kind).get(key.id);
                if let Some(device) = peer.and_then(|peer| peer.device.as_ref()) {
                    self.around.handler.acknowledged(device, &relation);
                }
                self.tally
                    .record(GatewayEvent::NotificationEnded(NotificationResult::Acknowledged));
                self.count_delay(NotificationMoment::Acknowledged, delay);
                self.send_due(key, out);
            }
            Ok(Incoming::Rejected(_)) => {
                peer.delay.over();
                if proves {
                    peer.routability.acknowledged();
                }
                self.tally
                    .record(GatewayEvent::NotificationEnded(NotificationResult::Rejected));
                self.send_due(key, out);
            }
            Ok(Incoming::PingAnswered) => {
                if proves {
                    peer.routability.acknowledged();
                }
                self.send_due(key, out);
            }
            Ok(Incoming::Ignored(why)) => {
                trace!(peer = %path.peer, ?why, "message dropped");
                self.drop_datagram(match why {
                    Ignored::Pending | Ignored::StaleBlock | Ignored::Duplicate => DropReason::Duplicate,
                    Ignored::TooManyPending => DropReason::QueueFull,
                    Ignored::Unmatched | Ignored::OutOfPlace => DropReason::Unmatched,
                    Ignored::Refused(_) => DropReason::MalformedMessage,
                });
            }
            // A malformed confirmable message is not reset: a reset makes one kind of device throw its session away.
            Err(error) => {
                debug!(peer = %path.peer, %error, "malformed message");
                self.drop_datagram(DropReason::MalformedMessage);
            }
        }
        if revived {
            self.send_due(key, out);
        }
        self.count_observers(key, observed);
        self.ask_for_proof(key, path, out);
        self.set_alarm(key);
    }

    /// Hands a request to the handler and sends what it writes.
    fn answer(&mut self, key: PeerKey, path: Path, request: &Request<'_>, out: &mut SendQueue) {
        let began = self.tally.samples_this_request().then(clock::now);
        let number = self.next_request;
        self.next_request += 1;
        let (now, unix_ms) = (self.now, self.unix_ms);
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        let Some(device) = &peer.device else { return };
        let own_mid = peer.link.next_mid();
        let max_message = peer.link.max_message();
        let context = RequestContext {
            device,
            serial: peer.serial,
            peer: path.peer,
            is_proven: !peer.proof.is_owed(),
            now,
            unix_ms,
            max_message,
            waiting: self.deferrals.of(key),
            origin: TicketOrigin {
                mailbox: &self.around.mailboxes[usize::from(self.around.index)],
                request: number,
            },
        };
        let started = peer.link.begin(out);
        let started_at = started.at;
        let mut reply = peer
            .endpoint
            .reply(request, own_mid, unix_ms, &mut out.bytes)
            .within(max_message);
        let disposition = self.around.handler.request(&context, request, &mut reply);
        let method = CoapMethod::from_byte(request.method.code().byte());
        let route = match disposition {
            Disposition::Answered { route } | Disposition::Observing { route, .. } => route,
            Disposition::Deferred { route, overdue } => {
                peer.endpoint.deferred(request);
                out.bytes.truncate(started.at);
                let within = match overdue {
                    Overdue::Unavailable => ANSWER_WITHIN,
                    Overdue::Lost => ASKED_WITHIN,
                    Overdue::Taken => TAKEN_WITHIN,
                };
                let deferral = Deferral {
                    deadline: now + within,
                    overdue,
                    peer: key,
                    exchange: (request.mid, request.token),
                    method,
                    route,
                };
                self.deferrals.add(number, deferral);
                return;
            }
            Disposition::NotNow => return out.bytes.truncate(started.at),
        };
        // Otherwise 5.00 goes out, and with it nobody observes.
        let fits = reply.fits();
        let written = reply.finish();
        match (disposition, &written) {
            (
                Disposition::Observing {
                    resource, version, ..
                },
                Some(written),
            ) if fits => {
                if peer.endpoint.observing(request, written, resource, version) {
                    peer.relations_changed = true;
                    if let (Kind::Secure, Some(journal)) = (key.kind, &self.around.journal) {
                        peer.log_relations(journal);
                    }
                }
            }
            (
                Disposition::Answered { .. }
                | Disposition::Observing { .. }
                | Disposition::Deferred { .. }
                | Disposition::NotNow,
                _,
            ) => {
                peer.endpoint.answered(now, request, written.as_ref());
            }
        }
        let sending = Sending::Answer(request.mid);
        let (code, sent) = match written {
            Some(written) => (
                written.code,
                peer.send(started, path, sending, out, &mut self.tally),
            ),
            // Nothing owed to a non-confirmable request.
            None if !request.confirmable => return out.bytes.truncate(started.at),
            None => (Code::EMPTY, Err(SealError::TooLong { len: 0, max: 0 })),
        };
        let (code, sent) = match sent {
            // The handler knew the limit, and that an answer is owed.
            Err(SealError::TooLong { len, max }) => {
                debug!(peer = %path.peer, len, max, "no answer that the device could take");
                out.bytes.truncate(started_at);
                let started = peer.link.begin(out);
                let mut reply = peer.endpoint.reply(request, own_mid, unix_ms, &mut out.bytes);
                reply.code(Code::INTERNAL_SERVER_ERROR);
                let sent = peer.send(started, path, sending, out, &mut self.tally);
                (Code::INTERNAL_SERVER_ERROR, sent)
            }
            sent => (code, sent),
        };
        let code = CoapCode::from_byte(code.byte());
        self.tally
            .record(GatewayEvent::RequestAnswered { method, code, route });
        if let Some(began) = began {
            self.tally.record(GatewayEvent::RequestTimed {
                route,
                took: clock::now() - began,
            });
        }
        self.after_sending(key, sent);
    }

    /// A ticket was completed.
    pub(super) fn handle_answer(&mut self, number: u64, answer: Answer, out: &mut SendQueue) {
        let Some(deferral) = self.deferrals.take(number) else {
            return;
        };
        match answer {
            Answer::Code(code) => self.complete(&deferral, out, |reply| reply.code(code)),
            Answer::Written(write) => self.complete(&deferral, out, write),
            Answer::Nothing => match deferral.overdue {
                Overdue::Unavailable | Overdue::Taken => {
                    self.complete(&deferral, out, |reply| reply.code(Code::INTERNAL_SERVER_ERROR));
                }
                Overdue::Lost => self.forget(&deferral),
            },
        }
    }

    /// Looks after a request whose time is up; false when there is none.
    pub(super) fn give_up_deferral(&mut self, out: &mut SendQueue) -> bool {
        let Some((number, deferral)) = self.deferrals.take_due(self.now) else {
            return false;
        };
        match deferral.overdue {
            Overdue::Unavailable => {
                self.complete(&deferral, out, |reply| reply.code(Code::SERVICE_UNAVAILABLE));
            }
            Overdue::Taken => self.complete(&deferral, out, |reply| reply.code(Code::CHANGED)),
            Overdue::Lost => {
                let now = self.now;
                let asked_again = self
                    .peer_mut(deferral.peer)
                    .and_then(|peer| peer.endpoint.came_again(deferral.exchange));
                match asked_again.map(|at| at + ASKED_WITHIN) {
                    Some(deadline) if deadline > now => {
                        self.deferrals.add(number, Deferral { deadline, ..deferral });
                    }
                    Some(_) | None => self.forget(&deferral),
                }
            }
        }
        true
    }

    /// Answers a deferred request with what `write` writes, if its peer still waits for that.
    fn complete(&mut self, deferral: &Deferral, out: &mut SendQueue, write: impl FnOnce(&mut Reply<'_>)) {
        let Deferral {
            peer: key,
            exchange,
            method,
            route,
            ..
        } = *deferral;
        let now = self.now;
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        let mid = peer.link.next_mid();
        let max_message = peer.link.max_message();
        let path = peer.path;
        let started = peer.link.begin(out);
        let write = |reply: &mut Reply<'_>| {
            reply.limit(max_message);
            write(reply);
            if !reply.fits() {
                debug!(peer = %path.peer, len = reply.message_len(), max_message, "no answer that the device could take");
                reply.code(Code::INTERNAL_SERVER_ERROR);
            }
        };
        let written = peer
            .endpoint
            .complete_with(now, exchange, mid, &mut out.bytes, write);
        match written {
            Some(written) => {
                let sending = Sending::Answer(exchange.0);
                let sent = peer.send(started, path, sending, out, &mut self.tally);
                let code = CoapCode::from_byte(written.code.byte());
                self.tally
                    .record(GatewayEvent::RequestAnswered { method, code, route });
                self.after_sending(key, sent);
            }
            None => out.bytes.truncate(started.at),
        }
    }

    /// Leaves a deferred request without an answer.
    pub(super) fn forget(&mut self, deferral: &Deferral) {
        let Some(peer) = self.peer_mut(deferral.peer) else {
            return;
        };
        if peer.endpoint.forget(deferral.exchange) {
            debug!(peer = %peer.path.peer, route = deferral.route.as_str(), "no answer in time");
            self.tally
                .record(GatewayEvent::RequestRejected(Rejection::Overdue));
        }
    }

    /// Looks after the record numbers of a peer that something was sent to.
    pub(super) fn after_sending(&mut self, key: PeerKey, sent: Result<(), SealError>) {
        let (shard, journal) = (self.around.index, self.around.journal.as_ref());
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        match sent {
            Ok(()) => peer.ask_for_ranges(key.id, shard, journal),
            Err(SealError::TooLong { len, max }) => {
                debug!(peer = %peer.path.peer, len, max, "message too long for the device")
            }
            Err(SealError::OutOfNumbers) => {
                // Either the session log is behind, then the device repeats its request, or the session has come to its end.
                peer.ask_for_ranges(key.id, shard, journal);
                if matches!(&peer.link, Link::Secure(session) if session.reservation() >= MAX_RECORD_NUMBER) {
                    self.end(key, EndReason::Exhausted);
                }
            }
        }
    }

    /// Counts relations that came and went since there were `before`.
    pub(super) fn count_observers(&mut self, key: PeerKey, before: usize) {
        let Some(peer) = table(&mut self.sessions, &mut self.plain, key.kind).get_mut(key.id) else {
            return;
        };
        let after = peer.endpoint.relations().count();
        if after < before {
            peer.relations_changed = true;
            if let (Kind::Secure, Some(journal)) = (key.kind, &self.around.journal) {
                peer.log_relations(journal);
            }
        }
        if (before > 0) != (after > 0)
            && let Some(device) = &peer.device
        {
            self.around.handler.observing(device, peer.serial, after > 0);
        }
        for _ in before..after {
            self.tally.record(GatewayEvent::ObserverAdded);
        }
        for _ in after..before {
            self.tally.record(GatewayEvent::ObserverRemoved);
        }
    }
}

/// The table of a kind, where a borrow of the whole shard would be too much.
pub(super) fn table<'s, D>(
    sessions: &'s mut Slots<Peer<D>>,
    plain: &'s mut Slots<Peer<D>>,
    kind: Kind,
) -> &'s mut Slots<Peer<D>> {
    match kind {
        Kind::Secure => sessions,
        Kind::Plain => plain,
    }
}
