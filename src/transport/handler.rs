//! What stands above the transport: who a peer is ([`KeySource`]) and what it gets ([`Handler`]).
//!
//! Both are called on a shard's thread and must not wait: a key may be looked up elsewhere and handed to its ticket later,
//! and so may the answer to a request ([`RequestContext::defer`]). An answer that waits for the disk or for a commit goes out
//! as any other does, piggybacked: there is no empty acknowledgement to gain time with. So it has to come while the device
//! still waits, and [`Overdue`] says what becomes of one that does not.

use std::net::SocketAddr;
use std::time::Instant;

use super::inbox::{CertificateTicket, KeyTicket, NameTicket, RestoredTicket, Ticket, TicketOrigin};
use crate::coap;
use crate::dtls::{ChainFault, Claim, FailureReason, Identity, KeyDigest, PeerChain};
use crate::telemetry::Route;

/// A device as the layers above know it. Cheap to clone.
pub trait Principal: Clone + Send + Sync + 'static {
    /// Names the device among all others: at most one DTLS session has this key.
    fn key(&self) -> u64;
}

/// Knows devices by the names they present.
pub trait KeySource: Send + Sync + 'static {
    /// A device.
    type Device: Principal;

    /// Wants the key of a PSK identity. Must not wait; `ticket` may be completed from any thread, and dropping it means
    /// that nobody has this identity.
    fn psk(&self, identity: &Identity, ticket: KeyTicket<Self::Device>);

    /// Wants the device whose certificate is the first of these, and that somebody trusted vouches for it: the peer has
    /// proven that it has the key, and nothing else has been looked at. Must not wait; `ticket` may be completed from any
    /// thread. Without an answer of its own, nobody is trusted.
    fn certificate(&self, chain: &PeerChain, ticket: CertificateTicket<Self::Device>) {
        let _ = chain;
        ticket.refused(ChainFault::Untrusted);
    }

    /// Wants the device that has the key with this digest, as it has proven. As [`Self::certificate`].
    fn raw_key(&self, key: &KeyDigest, ticket: CertificateTicket<Self::Device>) {
        let _ = key;
        ticket.refused(ChainFault::UnknownDevice);
    }

    /// Wants the device that a plain CoAP request names in its Uri-Query `device=`. As [`Self::psk`].
    fn named(&self, name: &str, ticket: NameTicket<Self::Device>);

    /// Wants to know whether a session of an earlier run may go on: whether the device with this [`Principal::key`] may still
    /// connect, and with this credential. As [`Self::psk`]; a dropped ticket ends the session.
    fn restored(&self, device: u64, credential: u64, ticket: RestoredTicket<Self::Device>);

    /// A handshake failed, for the operator to see. Nothing proves that it was the one it claimed to be who tried.
    fn handshake_failed(&self, claim: Option<&Claim>, peer: SocketAddr, reason: FailureReason) {
        let _ = (claim, peer, reason);
    }
}

/// Answers devices.
pub trait Handler: Send + Sync + 'static {
    /// A device.
    type Device: Principal;

    /// A session begins. Comes before [`Self::disconnected`] of the session it replaces.
    fn connected(&self, device: &Self::Device, session: &SessionFacts);

    /// The session `serial` observes something from now on, or nothing any more. A session that is over observes nothing.
    fn observing(&self, device: &Self::Device, serial: u64, observes: bool) {
        let _ = (device, serial, observes);
    }

    /// The device of the session `serial` sends from another address by now; it has a connection ID. May come with every
    /// datagram.
    fn moved(&self, device: &Self::Device, serial: u64, peer: SocketAddr) {
        let _ = (device, serial, peer);
    }

    /// The session `serial` is over.
    fn disconnected(&self, device: &Self::Device, serial: u64, why: EndReason);

    /// Answers a request: writes one answer through `reply`, or takes a ticket and writes nothing.
    fn request(
        &self,
        context: &RequestContext<'_, Self::Device>,
        request: &coap::Request<'_>,
        reply: &mut coap::Reply<'_>,
    ) -> Disposition;

    /// Writes what an observer should have, if that is another version than [`coap::Relation::sent`] says it got, or if
    /// `forced` (a retransmission, which has to repeat what it announced unless that changed). Depends on nothing but
    /// what is published. Nothing may be left written that is too long for the peer ([`coap::Reply::fits`]).
    fn notification(
        &self,
        device: &Self::Device,
        relation: &coap::Relation,
        forced: bool,
        reply: &mut coap::Reply<'_>,
    ) -> Notification;

    /// Something came from the device, at this many milliseconds since 1970, that is not a request for the handler: an
    /// acknowledgement, a keepalive, what nobody can read.
    fn heard(&self, device: &Self::Device, unix_ms: i64) {
        let _ = (device, unix_ms);
    }

    /// What the device is not known to have sent since the gateway was started ([`RequestContext::is_proven`]) may have been overtaken
    /// by what it sent afterwards: it is to have no effect. Where it was not answered yet, the device sends it again.
    fn doubted(&self, device: &Self::Device, serial: u64) {
        let _ = (device, serial);
    }

    /// The device has shown that it is there, in a session of an earlier run ([`RequestContext::is_proven`]).
    fn proven(&self, device: &Self::Device, serial: u64) {
        let _ = (device, serial);
    }

    /// The device acknowledged the relation's last notification.
    fn acknowledged(&self, device: &Self::Device, relation: &coap::Relation);
}

/// A request's circumstances.
pub struct RequestContext<'a, D> {
    /// Who asks.
    pub device: &'a D,
    /// The session's number, unique within this run of the gateway.
    pub serial: u64,
    /// Where the request came from.
    pub peer: SocketAddr,
    /// Whether the device is known to have sent it since the gateway was started. Otherwise somebody may be sending again what the
    /// device sent before: nothing it says may take effect until [`Handler::proven`].
    pub is_proven: bool,
    /// When it came.
    pub now: Instant,
    /// The same in milliseconds since 1970.
    pub unix_ms: i64,
    /// The longest message that the device takes, header and options included, in bytes. A longer answer is replaced by 5.00;
    /// [`coap::Reply::fits`] tells beforehand.
    pub max_message: usize,
    /// How many requests of this device have been deferred and are being worked on, although the device may have gone on to
    /// others. Work that a device can ask for without end is not begun beyond [`coap::MAX_PENDING`].
    pub waiting: usize,
    pub(super) origin: TicketOrigin<'a, D>,
}

impl<D> RequestContext<'_, D> {
    /// A ticket to answer this request later, from any thread; [`Handler::request`] then returns
    /// [`Disposition::Deferred`], which says what becomes of it without an answer in time, and writes nothing.
    ///
    /// The answer is piggybacked on the newest message ID under which the device asked. A GET is answered no more once the
    /// device has sent another one with the same token.
    #[must_use]
    pub fn defer(&self) -> Ticket<D> {
        self.origin.ticket()
    }
}

impl<D> std::fmt::Debug for RequestContext<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestContext")
            .field("serial", &self.serial)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// An answer has been written.
    Answered {
        /// What was asked for, as the metrics name it.
        route: Route,
    },
    /// An answer has been written, and the device is to be told of changes from here on.
    Observing {
        /// What was asked for.
        route: Route,
        /// Names the resource in the relation; the handler's own numbering.
        resource: u8,
        /// The version of the representation that the answer carries. 0 for none.
        version: u32,
    },
    /// Nothing has been written; a ticket will be completed.
    Deferred {
        /// What was asked for.
        route: Route,
        /// What becomes of the request if it is not completed in time.
        overdue: Overdue,
    },
    /// Nothing has been written and nothing will be: the request is as if it had been lost, and its next transmission is
    /// handled anew. For confirmable requests.
    NotNow,
}

/// What becomes of a deferred request without an answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The device is told 5.03, [`super::ANSWER_WITHIN`] after it first asked: for what is done once and must not end the
    /// session of a device that ends it over a request without an answer.
    Unavailable,
    /// The request is as if it had been lost, [`super::ASKED_WITHIN`] after it last came; until then every transmission
    /// keeps it alive, and the next one is handled anew. For what an error would cost more than one more wait.
    Lost,
    /// The device is told 2.04, [`super::TAKEN_WITHIN`] after it first asked: for what has been taken in hand and waits for longer
    /// than the device does. From [`Handler::proven`] on as [`Self::Unavailable`].
    Taken,
}

/// What the handler has for an observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// It has the current version; nothing was written.
    Unchanged,
    /// A notification was written.
    Written {
        /// The version it carries.
        version: u32,
    },
}

/// A session as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Unique within this run of the gateway.
    pub serial: u64,
    /// Index of the shard that holds it.
    pub shard: u16,
    /// Where the device is.
    pub peer: SocketAddr,
    /// The cipher suite's IANA name, `"none"` for plain CoAP.
    pub suite: &'static str,
    /// The connection ID that its records come with, if one was agreed on.
    pub connection_id: Option<[u8; 8]>,
    /// The credential that was proven, as the [`KeySource`] numbers them; 0 for plain CoAP.
    pub credential: u64,
    /// When it was established, in milliseconds since 1970.
    pub since_unix_ms: i64,
    /// Whether it was carried over a restart.
    pub restored: bool,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The device said so.
    Closed,
    /// The device has a newer session.
    Replaced,
    /// Nothing was heard for the idle time.
    Idle,
    /// It was the longest idle when room was needed.
    Evicted,
    /// The operator disabled the device or took its credential.
    Revoked,
    /// Its record numbers ran out.
    Exhausted,
    /// The gateway stops.
    Shutdown,
}

impl EndReason {
    /// A short name, for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Replaced => "replaced",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Revoked => "revoked",
            Self::Exhausted => "exhausted",
            Self::Shutdown => "shutdown",
        }
    }
}
