//! One peer's message layer: what it owes us, what we owe it, and what it may repeat.
//!
//! 1. [`Endpoint::handle`] takes a message. What can be answered without a handler becomes [`Incoming::Respond`].
//! 2. For an [`Incoming::Request`], [`Endpoint::reply`] gives the pen; afterwards exactly one of [`Endpoint::answered`],
//!    [`Endpoint::observing`] and [`Endpoint::deferred`] says what became of it. [`Endpoint::complete`] or
//!    [`Endpoint::complete_with`] answers a deferred one, [`Endpoint::forget`] leaves it without an answer.
//! 3. [`Endpoint::wake`] marks relations; while [`Endpoint::next_due`] returns one, [`Endpoint::notification`] gives the
//!    pen and [`Endpoint::notified`] starts the wait for the acknowledgement. `next_due` has to be asked again after
//!    every message and every timeout: the way may be free by then.
//! 4. [`Endpoint::poll_timeout`] and [`Endpoint::handle_timeout`] repeat it. A repetition is written anew by
//!    [`Endpoint::retransmission`], with the same message ID and number; if the version is another one by then, throw it
//!    away and go through [`Endpoint::notification`] and [`Endpoint::notified`]: the latest wins, the attempts count on.
//!    If there is none any more, [`Endpoint::withdraw`] it.
//!
//! [`Endpoint::ping`] asks whether the peer is there, in the place of a notification.
//!
//! There is one of these per device, so it is small; what few devices need is on the heap.

use std::time::{Duration, Instant};

use rand::{CryptoRng, RngExt};

use super::block::Block;
use super::code::{Code, Kind, Method};
use super::dedup::{Pending, Recent, Transfers, Waiting};
use super::id::{MessageId, Token};
use super::observe::{Due, ObserveSeq, Relation};
use super::reply::{Address, Reply, Written};
use super::request::{ObserveRequest, Refusal, Request};
use super::upload::{MAX_BODY, Piece, Progress, Upload};
use super::wire::{FormatError, Message, MessageWriter, number, write_empty};

/// The message layer of one peer.
#[derive(Debug, Default)]
pub struct Endpoint {
    /// Most devices observe one resource.
    first: Option<Relation>,
    others: Vec<Relation>,
    /// Given up because the peer was silent, which a device that sleeps or has lost its network for a while is too.
    lapsed: Box<[Relation]>,
    last_seq: Option<ObserveSeq>,
    in_flight: Option<InFlight>,
    recent: Recent,
    transfers: Transfers,
    pending: Waiting,
    upload: Option<Box<Upload>>,
}

/// A confirmable message that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    mid: MessageId,
    what: What,
    repeats: u8,
    wait: Duration,
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A notification of this resource.
    Notification(u8),
    Ping,
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// To be handled.
    Request(Request<'a>),
    /// To be answered as [`Automatic::write`] does it.
    Respond(Automatic),
    /// The peer has this relation's last notification.
    Acknowledged(Relation),
    /// The peer does not want this relation: it is gone.
    Rejected(Relation),
    /// The peer has answered our ping, by whichever of acknowledgement and reset.
    PingAnswered,
    /// Nothing is to be done.
    Ignored(Ignored),
}

/// Why nothing is done about a well-formed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// A request whose answer is still being worked on.
    Pending,
    /// So many requests are being worked on that another has to be sent again.
    TooManyPending,
    /// A Block2 GET that was answered before the newest one of its transfer.
    StaleBlock,
    /// A NON request seen before.
    Duplicate,
    /// A NON request that would be refused.
    Refused(Refusal),
    /// An acknowledgement or reset of nothing in flight.
    Unmatched,
    /// A response, though nothing was asked; or an acknowledgement or reset with a method in it.
    OutOfPlace,
}

/// An answer that needs no handler.
#[derive(Clone, Copy, Debug)]
pub struct Automatic {
    kind: AutomaticKind,
    confirmable: bool,
    mid: MessageId,
    token: Token,
    block1: Option<Block>,
}

/// What an [`Automatic`] answer is, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AutomaticKind {
    /// The reset that answers a ping.
    Pong,
    /// The reset that answers a response which nobody waits for.
    Reset,
    /// A duplicate's answer, again.
    Again(Code),
    /// 2.31: the upload may go on.
    Continue,
    /// The request or its upload is refused.
    Refused(Code),
}

/// What has to be done after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// This relation's notification has to be sent again: see [`Endpoint::retransmission`].
    Retransmit(Relation),
    /// The peer acknowledged none of the transmissions: the relation is gone until [`Endpoint::revive`].
    GaveUp(Relation),
    /// The ping has to be sent again: see [`Endpoint::ping_again`].
    PingAgain,
    /// The peer answered none of the pings.
    PingUnanswered,
}

impl Endpoint {
    /// A peer that has said nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer whose relations were carried over a restart. Those past [`MAX_RELATIONS`] are left out.
    #[must_use]
    pub fn restore(relations: impl IntoIterator<Item = Relation>) -> Self {
        let mut endpoint = Self::default();
        for relation in relations {
            if endpoint
                .last_seq
                .is_none_or(|last| relation.seq.is_newer_than(last))
            {
                endpoint.last_seq = Some(relation.seq);
            }
            endpoint.keep(relation);
        }
        endpoint
    }

    /// Takes a message from the peer.
    ///
    /// # Errors
    ///
    /// [`FormatError`] for bytes that are no message: to be counted and dropped.
    pub fn handle<'m>(&mut self, now: Instant, message: &'m [u8]) -> Result<Incoming<'m>, FormatError> {
        let message = Message::parse(message)?;
        let empty = message.code == Code::EMPTY;
        Ok(match message.kind {
            //= RFC 7252 section 4.3
            //# Rejecting a Non-confirmable message MAY involve sending a matching Reset message
            Kind::Confirmable | Kind::NonConfirmable if empty => {
                Incoming::Respond(Automatic::reset(AutomaticKind::Pong, &message))
            }
            Kind::Confirmable | Kind::NonConfirmable if message.code.is_request() => {
                self.request(now, &message)
            }
            Kind::Confirmable => Incoming::Respond(Automatic::reset(AutomaticKind::Reset, &message)),
            Kind::Acknowledgement if empty => self.acknowledged(message.mid),
            Kind::Reset if empty => self.rejected(message.mid),
            Kind::NonConfirmable | Kind::Acknowledgement | Kind::Reset => {
                Incoming::Ignored(Ignored::OutOfPlace)
            }
        })
    }

    /// The pen for the answer to `request`; appends to `out`. `own_mid` is the message ID if that answer cannot be an ACK.
    #[must_use]
    pub fn reply<'b>(
        &self,
        request: &Request<'_>,
        own_mid: MessageId,
        unix_ms: i64,
        out: &'b mut Vec<u8>,
    ) -> Reply<'b> {
        let room = self.relations().count() < MAX_RELATIONS
            || self.relations().any(|relation| relation.token == request.token);
        let observes =
            room && request.method == Method::Get && request.observe == Some(ObserveRequest::Register);
        let observe = observes.then(|| ObserveSeq::next(self.last_seq, unix_ms));
        let block1 = request.block1.filter(|_| request.method != Method::Get);
        Reply::new(
            out,
            answer(
                request.confirmable,
                request.mid,
                own_mid,
                request.token,
                observe,
                block1,
            ),
        )
    }

    /// `request` has been answered for good. `written` is `None` if it was left without an answer: then it is handled anew
    /// when it comes again.
    pub fn answered(&mut self, now: Instant, request: &Request<'_>, written: Option<&Written>) {
        if request.method != Method::Get {
            if let Some(written) = written {
                self.recent.remember(now, request.mid, written.code);
            }
        } else if request.observe == Some(ObserveRequest::Register) {
            self.release(|relation| relation.token == request.token);
        }
    }

    /// `request` has been answered with `version` of `resource`, and the peer observes that from here on. False, and no
    /// relation, if it did not ask to, or if it has [`MAX_RELATIONS`] already.
    //= RFC 7641 section 4.1
    //# the server MUST NOT add a new entry but MUST replace or update the existing one
    pub fn observing(
        &mut self,
        request: &Request<'_>,
        written: &Written,
        resource: u8,
        version: u32,
    ) -> bool {
        let Some(seq) = written.observe else { return false };
        self.release(|relation| relation.token == request.token || relation.resource == resource);
        self.last_seq = Some(seq);
        self.keep(Relation::new(
            resource,
            request.token,
            request.wanted_format(),
            version,
            seq,
        ))
    }

    /// `request` will be answered by [`Self::complete`]; until then its duplicates are swallowed. A GET is forgotten as soon
    /// as another GET with its token asks for something else.
    pub fn deferred(&mut self, request: &Request<'_>) {
        self.pending.add(request);
    }

    /// Writes the answer of the deferred request that came with this message ID and token, under the newest message ID
    /// that the peer has used for it. `None` if there is no such request.
    pub fn complete(
        &mut self,
        now: Instant,
        request: (MessageId, Token),
        code: Code,
        own_mid: MessageId,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        self.complete_with(now, request, own_mid, out, |reply| reply.code(code))
    }

    /// As [`Self::complete`], with an answer that `write` writes. If it writes none, the request is handled anew when it
    /// comes again.
    pub fn complete_with(
        &mut self,
        now: Instant,
        request: (MessageId, Token),
        own_mid: MessageId,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Reply<'_>),
    ) -> Option<Written> {
        let Pending {
            method,
            first,
            newest,
            token,
            confirmable,
            block1,
            ..
        } = self.pending.take(request)?;
        let mut reply = Reply::new(out, answer(confirmable, newest, own_mid, token, None, block1));
        write(&mut reply);
        let written = reply.finish()?;
        if method != Method::Get {
            self.recent.remember(now, first, written.code);
            self.recent.remember(now, newest, written.code);
        }
        Some(written)
    }

    /// The deferred request is not answered: it is as if it had been lost, and handled anew when it comes again. False if
    /// there is no such request.
    pub fn forget(&mut self, request: (MessageId, Token)) -> bool {
        self.pending.take(request).is_some()
    }

    /// When the deferred request was last sent again; `None` if it came once, or waits no more.
    #[must_use]
    pub fn came_again(&self, request: (MessageId, Token)) -> Option<Instant> {
        self.pending.came_again(request)
    }

    /// The requests that wait for [`Self::complete`], each as it names them.
    pub fn pending(&self) -> impl Iterator<Item = (MessageId, Token)> {
        self.pending.names()
    }

    /// What the peer observes.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.first.iter().chain(&self.others)
    }

    /// Asks for a notification of every relation: of those whose version changed, or `forced` of all.
    pub fn wake(&mut self, forced: bool) {
        for relation in self.first.iter_mut().chain(&mut self.others) {
            relation.due = match relation.due {
                Due::Forced => Due::Forced,
                Due::No | Due::Changed if forced => Due::Forced,
                Due::No | Due::Changed => Due::Changed,
            };
        }
    }

    /// The next relation to ask the handler about, and whether it must answer with a notification. `None` while one is in
    /// flight: at most one is.
    // RFC 7252 section 4.7: NSTART is 1.
    pub fn next_due(&mut self) -> Option<(Relation, bool)> {
        if self.in_flight.is_some() {
            return None;
        }
        let mut relations = self.first.iter_mut().chain(&mut self.others);
        let relation = relations.find(|relation| relation.due != Due::No)?;
        let forced = relation.due == Due::Forced;
        relation.due = Due::No;
        Some((*relation, forced))
    }

    /// The pen for a notification of `relation`. `own_mid` is the low half of the number of the record that will carry it.
    #[must_use]
    pub fn notification<'b>(
        &self,
        relation: &Relation,
        own_mid: MessageId,
        unix_ms: i64,
        out: &'b mut Vec<u8>,
    ) -> Reply<'b> {
        let seq = ObserveSeq::next(self.last_seq, unix_ms);
        Reply::new(out, notification(relation.token, own_mid, seq))
    }

    /// A notification of `resource` has been written and goes out: it is repeated until it is acknowledged. In place of
    /// one in flight it takes over that one's attempts and wait. Without such a relation nothing happens.
    // RFC 7641 section 4.5.2 has it so: a representation that changes between two attempts does not reset the count.
    pub fn notified(
        &mut self,
        now: Instant,
        resource: u8,
        written: &Written,
        version: u32,
        rng: &mut dyn CryptoRng,
    ) {
        let mut relations = self.first.iter_mut().chain(&mut self.others);
        let relation = relations.find(|relation| relation.resource == resource);
        let (Some(relation), Some(seq)) = (relation, written.observe) else {
            return;
        };
        relation.sent = version;
        relation.seq = seq;
        relation.due = Due::No;
        self.last_seq = Some(seq);
        match &mut self.in_flight {
            Some(in_flight) if in_flight.what == What::Notification(resource) => in_flight.mid = written.mid,
            in_flight => {
                *in_flight = Some(InFlight::new(now, written.mid, What::Notification(resource), rng))
            }
        }
    }

    /// Appends a ping, which is repeated until the peer answers. False, and nothing is appended, while something is in flight.
    //= RFC 7252 section 4.3
    //# provoking a Reset message (e.g., by sending an Empty Confirmable message) is also useful as an inexpensive check of the
    //# liveness of an endpoint ("CoAP ping").
    pub fn ping(&mut self, now: Instant, mid: MessageId, out: &mut Vec<u8>, rng: &mut dyn CryptoRng) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        self.in_flight = Some(InFlight::new(now, mid, What::Ping, rng));
        write_empty(out, Kind::Confirmable, mid);
        true
    }

    /// Appends the ping in flight again; false if there is none.
    pub fn ping_again(&self, out: &mut Vec<u8>) -> bool {
        let ping = self.in_flight.filter(|in_flight| in_flight.what == What::Ping);
        if let Some(ping) = ping {
            write_empty(out, Kind::Confirmable, ping.mid);
        }
        ping.is_some()
    }

    /// The pen for the notification in flight: same message ID, same number. `None` if none is in flight.
    #[must_use]
    pub fn retransmission<'b>(&self, out: &'b mut Vec<u8>) -> Option<Reply<'b>> {
        let in_flight = self.in_flight.as_ref()?;
        let relation = self.notified_by(in_flight)?;
        Some(Reply::new(
            out,
            notification(relation.token, in_flight.mid, relation.seq),
        ))
    }

    /// There is nothing to tell any more: the notification in flight is not repeated, and the relation stays. Whether it
    /// arrived is not known, so the next version goes out whatever it is.
    pub fn withdraw(&mut self) {
        let Some(resource) = self.in_flight() else { return };
        self.in_flight = None;
        let mut relations = self.first.iter_mut().chain(&mut self.others);
        if let Some(relation) = relations.find(|relation| relation.resource == resource) {
            relation.sent = 0;
        }
    }

    /// To be called with every message of the peer, before [`Self::handle`]: the relations that were given up for its silence
    /// are back and due. Neither port registers again while its session goes on, so nothing else would tell the device.
    /// Returns whether there were any.
    pub fn revive(&mut self) -> bool {
        let lapsed = std::mem::take(&mut self.lapsed);
        let any = !lapsed.is_empty();
        for relation in lapsed {
            let taken = self
                .relations()
                .any(|other| other.resource == relation.resource || other.token == relation.token);
            if !taken {
                self.keep(relation);
            }
        }
        any
    }

    /// The relations that [`Self::revive`] would bring back.
    pub fn lapsed(&self) -> impl Iterator<Item = &Relation> {
        self.lapsed.iter()
    }

    /// The resource whose notification is in flight: whether the peer has it is not known.
    #[must_use]
    pub fn in_flight(&self) -> Option<u8> {
        match self.in_flight?.what {
            What::Notification(resource) => Some(resource),
            What::Ping => None,
        }
    }

    /// The message ID whose acknowledgement is waited for.
    #[must_use]
    pub fn awaited(&self) -> Option<MessageId> {
        self.in_flight.map(|in_flight| in_flight.mid)
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let upload = self.upload.as_ref().map(|upload| upload.deadline);
        [self.in_flight.map(|in_flight| in_flight.due), upload]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due at `now`; `None` for nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Timeout> {
        self.upload.take_if(|upload| upload.deadline <= now);
        let in_flight = self.in_flight.as_mut().filter(|in_flight| in_flight.due <= now)?;
        let gives_up = in_flight.repeats == MAX_RETRANSMIT;
        if !gives_up {
            in_flight.repeats += 1;
            in_flight.wait *= 2;
            in_flight.due = now + in_flight.wait;
        }
        let resource = match in_flight.what {
            What::Notification(resource) => resource,
            What::Ping if gives_up => {
                self.in_flight = None;
                return Some(Timeout::PingUnanswered);
            }
            What::Ping => return Some(Timeout::PingAgain),
        };
        if gives_up {
            // RFC 7641 section 4.5: whoever acknowledges no attempt is considered to have lost interest.
            let lapsed = self.release(|relation| relation.resource == resource)?;
            let others = self
                .lapsed
                .iter()
                .filter(|relation| relation.resource != resource);
            let again = Relation {
                sent: 0,
                due: Due::Changed,
                ..lapsed
            };
            self.lapsed = others.copied().chain([again]).collect();
            return Some(Timeout::GaveUp(lapsed));
        }
        let relation = self.relations().find(|relation| relation.resource == resource);
        relation.copied().map(Timeout::Retransmit)
    }

    /// The number of the last answer or notification of an observation.
    #[must_use]
    pub fn last_seq(&self) -> Option<ObserveSeq> {
        self.last_seq
    }

    fn request<'m>(&mut self, now: Instant, message: &Message<'m>) -> Incoming<'m> {
        let confirmable = message.kind == Kind::Confirmable;
        let mut request = match Request::new(message) {
            Ok(request) => request,
            Err(refusal) if confirmable => {
                let kind = AutomaticKind::Refused(refusal.code());
                return Incoming::Respond(Automatic::new(kind, message, None));
            }
            // RFC 7252 section 5.4.1: what is wrong with a non-confirmable request is rejected, here by silence.
            Err(refusal) => return Incoming::Ignored(Ignored::Refused(refusal)),
        };
        if self.pending.swallows(now, &request) {
            return Incoming::Ignored(Ignored::Pending);
        }
        if request.method == Method::Get {
            return self.get(now, request);
        }
        if let Some(code) = self.recent.recall(now, request.mid) {
            return if confirmable {
                Incoming::Respond(Automatic::new(
                    AutomaticKind::Again(code),
                    message,
                    request.block1,
                ))
            } else {
                Incoming::Ignored(Ignored::Duplicate)
            };
        }
        if self.pending.joins(now, &request) {
            return Incoming::Ignored(Ignored::Pending);
        }
        if self.pending.is_full() {
            return Incoming::Ignored(Ignored::TooManyPending);
        }
        let Some(block) = request.block1 else {
            return Incoming::Request(request);
        };
        let (target, size1) = (request.target(), request.size1);
        let piece = Piece {
            target,
            block,
            size1,
            bytes: message.payload,
        };
        let (kind, echo) = match Upload::add(&mut self.upload, now, &piece) {
            Progress::Whole(body) => {
                request.payload = body;
                return Incoming::Request(request);
            }
            Progress::Continue => (AutomaticKind::Continue, Some(block)),
            Progress::Incomplete => (AutomaticKind::Refused(Code::REQUEST_ENTITY_INCOMPLETE), None),
            Progress::TooLarge => (AutomaticKind::Refused(Code::REQUEST_ENTITY_TOO_LARGE), None),
            Progress::WrongLength => (AutomaticKind::Refused(Code::BAD_REQUEST), None),
        };
        let automatic = Automatic::new(kind, message, echo);
        self.recent.remember(now, request.mid, automatic.code());
        Incoming::Respond(automatic)
    }

    fn get<'m>(&mut self, now: Instant, request: Request<'m>) -> Incoming<'m> {
        if request.observe == Some(ObserveRequest::Deregister) {
            self.release(|relation| relation.token == request.token);
        }
        if request.block2.is_some() && !self.transfers.admit(request.token, request.mid) {
            return Incoming::Ignored(Ignored::StaleBlock);
        }
        if self.pending.joins(now, &request) {
            return Incoming::Ignored(Ignored::Pending);
        }
        // Answers are told apart by their token alone: that to an older block, coming now, would be taken for this one's
        // (`CONTRACT`, rule 15).
        self.pending.supersede(request.token);
        Incoming::Request(request)
    }

    fn acknowledged(&mut self, mid: MessageId) -> Incoming<'static> {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.mid == mid) else {
            return Incoming::Ignored(Ignored::Unmatched);
        };
        if in_flight.what == What::Ping {
            return Incoming::PingAnswered;
        }
        let relation = self.notified_by(&in_flight);
        relation.map_or(Incoming::Ignored(Ignored::Unmatched), |relation| {
            Incoming::Acknowledged(*relation)
        })
    }

    fn rejected(&mut self, mid: MessageId) -> Incoming<'static> {
        let Some(in_flight) = self.in_flight.filter(|in_flight| in_flight.mid == mid) else {
            return Incoming::Ignored(Ignored::Unmatched);
        };
        let What::Notification(resource) = in_flight.what else {
            self.in_flight = None;
            return Incoming::PingAnswered;
        };
        let relation = self.release(|relation| relation.resource == resource);
        relation.map_or(Incoming::Ignored(Ignored::Unmatched), Incoming::Rejected)
    }

    /// Adds a relation; false if there are too many.
    fn keep(&mut self, relation: Relation) -> bool {
        if self.first.is_none() {
            self.first = Some(relation);
        } else if self.others.len() + 1 < MAX_RELATIONS {
            self.others.push(relation);
        } else {
            return false;
        }
        true
    }

    /// Takes out the relations that `which` names, with a notification of theirs in flight. Returns the last of them.
    fn release(&mut self, which: impl Fn(&Relation) -> bool) -> Option<Relation> {
        let mut released = None;
        if let Some(relation) = self.first.take_if(|relation| which(relation)) {
            self.forget_in_flight(relation.resource);
            released = Some(relation);
        }
        while let Some(at) = self.others.iter().position(&which) {
            let relation = self.others.swap_remove(at);
            self.forget_in_flight(relation.resource);
            released = Some(relation);
        }
        if self.first.is_none() {
            self.first = self.others.pop();
        }
        if self.others.is_empty() {
            self.others = Vec::new();
        }
        released
    }

    fn forget_in_flight(&mut self, resource: u8) {
        self.in_flight
            .take_if(|in_flight| in_flight.what == What::Notification(resource));
    }

    /// The relation whose notification is in flight.
    fn notified_by(&self, in_flight: &InFlight) -> Option<&Relation> {
        self.relations()
            .find(|relation| in_flight.what == What::Notification(relation.resource))
    }
}

impl InFlight {
    fn new(now: Instant, mid: MessageId, what: What, rng: &mut dyn CryptoRng) -> Self {
        let wait = ack_timeout(rng);
        Self {
            mid,
            what,
            repeats: 0,
            wait,
            due: now + wait,
        }
    }
}

impl Automatic {
    fn new(kind: AutomaticKind, message: &Message<'_>, block1: Option<Block>) -> Self {
        let confirmable = message.kind == Kind::Confirmable;
        Self {
            kind,
            confirmable,
            mid: message.mid,
            token: message.token,
            block1,
        }
    }

    fn reset(kind: AutomaticKind, message: &Message<'_>) -> Self {
        Self::new(kind, message, None)
    }

    /// Appends the answer to `out` and returns its code (0.00 for a reset). `own_mid` as in [`Endpoint::reply`].
    pub fn write(&self, own_mid: MessageId, out: &mut Vec<u8>) -> Code {
        let code = self.code();
        if code == Code::EMPTY {
            write_empty(out, Kind::Reset, self.mid);
            return code;
        }
        let Address { kind, mid, token, .. } =
            answer(self.confirmable, self.mid, own_mid, self.token, None, self.block1);
        let mut writer = MessageWriter::new(out, kind, code, mid, token);
        if let Some(block) = self.block1.filter(|_| code.is_success()) {
            writer.uint(number::BLOCK1, block.bits());
        }
        //= RFC 7252 section 5.9.2.9
        //# The response SHOULD include a Size1 Option (Section 5.10.9) to indicate the maximum size of request entity
        //# the server is able and willing to handle
        if code == Code::REQUEST_ENTITY_TOO_LARGE {
            writer.uint(number::SIZE1, MAX_BODY as u32);
        }
        code
    }

    /// The ID of the message that it answers.
    #[must_use]
    pub fn mid(&self) -> MessageId {
        self.mid
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> AutomaticKind {
        self.kind
    }

    fn code(&self) -> Code {
        match self.kind {
            AutomaticKind::Pong | AutomaticKind::Reset => Code::EMPTY,
            AutomaticKind::Again(code) | AutomaticKind::Refused(code) => code,
            AutomaticKind::Continue => Code::CONTINUE,
        }
    }
}

/// How a request is answered: in the ACK of a confirmable one, with a NON to any other.
fn answer(
    confirmable: bool,
    mid: MessageId,
    own_mid: MessageId,
    token: Token,
    observe: Option<ObserveSeq>,
    block1: Option<Block>,
) -> Address {
    if confirmable {
        Address {
            kind: Kind::Acknowledgement,
            mid,
            token,
            observe,
            block1,
        }
    } else {
        Address {
            kind: Kind::NonConfirmable,
            mid: own_mid,
            token,
            observe,
            block1,
        }
    }
}

fn notification(token: Token, mid: MessageId, seq: ObserveSeq) -> Address {
    Address {
        kind: Kind::Confirmable,
        mid,
        token,
        observe: Some(seq),
        block1: None,
    }
}

/// The wait after the first transmission: ACK_TIMEOUT to ACK_TIMEOUT · ACK_RANDOM_FACTOR (RFC 7252 section 4.8).
fn ack_timeout(rng: &mut dyn CryptoRng) -> Duration {
    Duration::from_millis(rng.random_range(2000..=3000))
}

/// What a device observes at most (the SDK's own limit).
pub const MAX_RELATIONS: usize = 8;
/// Requests of one peer that may be worked on at a time; a device has a few. Others are not answered, so they come again.
pub const MAX_PENDING: usize = 8;
/// RFC 7252 section 4.8.
const MAX_RETRANSMIT: u8 = 4;

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
