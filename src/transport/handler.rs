//! What stands above the transport: who a peer is ([`KeySource`]) and what it gets ([`Handler`]).
//!
//! Both are called on a shard's thread and must not wait: a key may be looked up elsewhere and handed to its ticket later,
//! and so may the answer to a request ([`RequestContext::defer`]).

use std::net::SocketAddr;
use std::time::Instant;

use super::inbox::{KeyTicket, NameTicket, Ticket, TicketOrigin};
use crate::coap;
use crate::dtls::{FailureReason, Identity};
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

    /// Wants the device that a plain CoAP request names in its Uri-Query `device=`. As [`Self::psk`].
    fn named(&self, name: &str, ticket: NameTicket<Self::Device>);

    /// A handshake failed, for the operator to see. Nothing proves that it was the identity's owner who tried.
    fn handshake_failed(&self, identity: Option<&Identity>, peer: SocketAddr, reason: FailureReason) {
        let _ = (identity, peer, reason);
    }
}

/// Answers devices.
pub trait Handler: Send + Sync + 'static {
    /// A device.
    type Device: Principal;

    /// A session begins. Comes before [`Self::disconnected`] of the session it replaces.
    fn connected(&self, device: &Self::Device, session: &SessionFacts);

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
    /// what is published.
    fn notification(
        &self,
        device: &Self::Device,
        relation: &coap::Relation,
        forced: bool,
        reply: &mut coap::Reply<'_>,
    ) -> Notification;

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
    /// When it came.
    pub now: Instant,
    /// The same in milliseconds since 1970.
    pub unix_ms: i64,
    /// The longest message that the device takes, header and options included, in bytes. A longer answer is replaced by 5.00.
    pub max_message: usize,
    pub(super) origin: TicketOrigin<'a, D>,
}

impl<D> RequestContext<'_, D> {
    /// A ticket to answer this request later, from any thread; [`Handler::request`] then returns
    /// [`Disposition::Deferred`] and writes nothing. Without an answer within [`super::ANSWER_WITHIN`] the device is told
    /// 5.03.
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
    },
    /// Nothing has been written and nothing will be: the request is as if it had been lost, and its next transmission is
    /// handled anew. For confirmable requests.
    NotNow,
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
