//! How other threads reach a shard: messages, and the tickets that become one.
//!
//! The inbox has no bound of its own: its messages are completions, at most one for each ticket given out (and tickets
//! are bounded by handshakes in flight and requests pending), and commands of the program itself. Datagrams forwarded by
//! other shards, which strangers cause, come through a bounded channel.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::directory::PeerKey;
use super::slots::PeerId;
use super::udp::Path;
use crate::coap::{Code, Reply};
use crate::dtls::{ChainFault, Psk, ServerConfig};

/// What other threads tell a shard.
pub enum Message<D> {
    /// The key lookup of a handshake is done.
    Key {
        handshake: PeerId,
        found: Option<Found<D>>,
    },
    /// What a handshake's certificate or bare key is worth: the device and the credential, or why nothing.
    Verdict {
        handshake: PeerId,
        verdict: Result<(D, u64), ChainFault>,
    },
    /// The lookup for a restored session is done: its device and credential, if they still are.
    Restored { peer: PeerId, found: Option<(D, u64)> },
    /// A name lookup is done.
    Name { lookup: PeerId, found: Option<D> },
    /// A deferred request's answer.
    Answer { request: u64, answer: Answer },
    /// Everybody's view may have changed, at this moment.
    WakeEveryone { since: Instant },
    /// These peers' view may have changed, at this moment; with the flag, they get a notification even if it did not.
    WakePeers {
        peers: Vec<PeerKey>,
        forced: bool,
        since: Instant,
    },
    /// The peer's device has a newer session.
    Replaced { peer: PeerKey },
    /// The device with this key may not be connected, nor become so by a handshake in flight.
    Revoked { device: u64 },
    /// The device with this key may not be connected with this credential, nor become so by a handshake in flight.
    Retired { device: u64, credential: u64 },
    /// Record numbers up to here are durably reserved.
    Reserved { peer: PeerId, end: u64 },
    /// The session log begins from nothing: it has to be told of every session.
    LogAnew,
    /// Handshakes that begin from here on follow this.
    Reconfigured(Arc<ServerConfig>),
    /// No handshakes from here on.
    StopAccepting,
    /// Answer what is pending, at the latest until then; then say goodbye and stop.
    Drain { deadline: Instant },
}

/// What a ticket brings.
pub enum Answer {
    /// A code and nothing else.
    Code(Code),
    /// What this writes.
    Written(Box<dyn FnOnce(&mut Reply<'_>) + Send>),
    /// Nothing: the ticket was dropped.
    Nothing,
}

/// Whose identity it is.
pub struct Found<D> {
    /// The device.
    pub device: D,
    /// Which of its credentials has the identity.
    pub credential: u64,
    /// The key.
    pub key: Psk,
}

/// A datagram that reached the wrong shard.
#[derive(Debug)]
pub struct Forwarded {
    /// As it came.
    pub path: Path,
    /// Its bytes.
    pub bytes: Box<[u8]>,
}

/// The way into a shard.
pub struct Mailbox<D> {
    messages: mpsc::UnboundedSender<Message<D>>,
    forwards: mpsc::Sender<Forwarded>,
}

/// The shard's end of it.
pub struct Inbox<D> {
    /// Completions and commands.
    pub messages: mpsc::UnboundedReceiver<Message<D>>,
    /// Datagrams from other shards.
    pub forwards: mpsc::Receiver<Forwarded>,
}

/// Completes a key lookup, from any thread. Dropped, it says that nobody has the identity.
pub struct KeyTicket<D> {
    mailbox: Mailbox<D>,
    waiting: Option<Waiting>,
}

/// Who waits for a key.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Handshake(PeerId),
    Restored(PeerId),
}

/// Answers what a certificate or a bare key is worth, from any thread. Dropped, it says that nobody could tell.
pub struct CertificateTicket<D> {
    mailbox: Mailbox<D>,
    handshake: Option<PeerId>,
}

/// Says whether a restored session may go on, from any thread. Dropped, it says that it may not.
pub struct RestoredTicket<D> {
    mailbox: Mailbox<D>,
    credential: u64,
    peer: Option<PeerId>,
}

/// Completes a name lookup, from any thread. Dropped, it says that nobody has the name.
pub struct NameTicket<D> {
    mailbox: Mailbox<D>,
    lookup: Option<PeerId>,
}

/// Completes a deferred request, from any thread. Dropped, it answers 5.00, or not at all where that is what the request's
/// [`super::Overdue`] says.
pub struct Ticket<D> {
    mailbox: Mailbox<D>,
    request: Option<u64>,
}

/// What a ticket for a request is made of.
pub struct TicketOrigin<'a, D> {
    /// The shard's mailbox.
    pub mailbox: &'a Mailbox<D>,
    /// The request's number there.
    pub request: u64,
}

/// A mailbox and its inbox.
pub fn mailbox<D>() -> (Mailbox<D>, Inbox<D>) {
    let (messages, message_receiver) = mpsc::unbounded_channel();
    let (forwards, forward_receiver) = mpsc::channel(FORWARDS_MAX);
    (
        Mailbox { messages, forwards },
        Inbox {
            messages: message_receiver,
            forwards: forward_receiver,
        },
    )
}

impl<D> Mailbox<D> {
    /// Leaves a message. A shard that has ended reads none.
    pub fn post(&self, message: Message<D>) {
        let _ = self.messages.send(message);
    }

    /// Hands a datagram over; false when too many are waiting there.
    pub fn forward(&self, datagram: Forwarded) -> bool {
        self.forwards.try_send(datagram).is_ok()
    }
}

impl<D> Clone for Mailbox<D> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            forwards: self.forwards.clone(),
        }
    }
}

impl<D> KeyTicket<D> {
    /// For a handshake.
    pub(super) fn for_handshake(mailbox: Mailbox<D>, handshake: PeerId) -> Self {
        Self {
            mailbox,
            waiting: Some(Waiting::Handshake(handshake)),
        }
    }

    /// For a session of an earlier run of which the log has the identity.
    pub(super) fn for_restored(mailbox: Mailbox<D>, peer: PeerId) -> Self {
        Self {
            mailbox,
            waiting: Some(Waiting::Restored(peer)),
        }
    }

    /// This device has the identity, and this is its key. `credential` names the credential among all others: it is what
    /// can be retired by itself ([`super::Shards::retire`]).
    pub fn found(mut self, device: D, credential: u64, key: Psk) {
        self.complete(Some(Found {
            device,
            credential,
            key,
        }));
    }

    /// Nobody has the identity.
    pub fn unknown(mut self) {
        self.complete(None);
    }

    fn complete(&mut self, found: Option<Found<D>>) {
        match self.waiting.take() {
            Some(Waiting::Handshake(handshake)) => self.mailbox.post(Message::Key { handshake, found }),
            Some(Waiting::Restored(peer)) => {
                self.mailbox.post(Message::Restored {
                    peer,
                    found: found.map(|found| (found.device, found.credential)),
                });
            }
            None => {}
        }
    }
}

impl<D> Drop for KeyTicket<D> {
    fn drop(&mut self) {
        self.complete(None);
    }
}

impl<D> CertificateTicket<D> {
    pub(super) fn new(mailbox: Mailbox<D>, handshake: PeerId) -> Self {
        Self {
            mailbox,
            handshake: Some(handshake),
        }
    }

    /// It is this device's. `credential` as in [`KeyTicket::found`].
    pub fn accepted(mut self, device: D, credential: u64) {
        self.complete(Ok((device, credential)));
    }

    /// It is not accepted.
    pub fn refused(mut self, fault: ChainFault) {
        self.complete(Err(fault));
    }

    fn complete(&mut self, verdict: Result<(D, u64), ChainFault>) {
        if let Some(handshake) = self.handshake.take() {
            self.mailbox.post(Message::Verdict { handshake, verdict });
        }
    }
}

impl<D> Drop for CertificateTicket<D> {
    fn drop(&mut self) {
        self.complete(Err(ChainFault::Unavailable));
    }
}

impl<D> RestoredTicket<D> {
    pub(super) fn new(mailbox: Mailbox<D>, credential: u64, peer: PeerId) -> Self {
        Self {
            mailbox,
            credential,
            peer: Some(peer),
        }
    }

    /// It may: this is the device.
    pub fn found(mut self, device: D) {
        self.complete(Some(device));
    }

    /// It may not.
    pub fn gone(mut self) {
        self.complete(None);
    }

    fn complete(&mut self, found: Option<D>) {
        if let Some(peer) = self.peer.take() {
            let found = found.map(|device| (device, self.credential));
            self.mailbox.post(Message::Restored { peer, found });
        }
    }
}

impl<D> Drop for RestoredTicket<D> {
    fn drop(&mut self) {
        self.complete(None);
    }
}

impl<D> NameTicket<D> {
    pub(super) fn new(mailbox: Mailbox<D>, lookup: PeerId) -> Self {
        Self {
            mailbox,
            lookup: Some(lookup),
        }
    }

    /// This device has the name.
    pub fn found(mut self, device: D) {
        self.complete(Some(device));
    }

    /// Nobody has the name.
    pub fn unknown(mut self) {
        self.complete(None);
    }

    fn complete(&mut self, found: Option<D>) {
        if let Some(lookup) = self.lookup.take() {
            self.mailbox.post(Message::Name { lookup, found });
        }
    }
}

impl<D> Drop for NameTicket<D> {
    fn drop(&mut self) {
        self.complete(None);
    }
}

impl<D> Ticket<D> {
    /// Answers the request with `code` and no payload.
    pub fn complete(mut self, code: Code) {
        self.post(Answer::Code(code));
    }

    /// Answers the request with what `write` writes. It is called on the shard's thread, so it must not wait, and only if
    /// the device still waits for this answer: what is to be counted of an answer is counted there.
    pub fn complete_with(mut self, write: impl FnOnce(&mut Reply<'_>) + Send + 'static) {
        self.post(Answer::Written(Box::new(write)));
    }

    fn post(&mut self, answer: Answer) {
        if let Some(request) = self.request.take() {
            self.mailbox.post(Message::Answer { request, answer });
        }
    }
}

impl<D> Drop for Ticket<D> {
    fn drop(&mut self) {
        self.post(Answer::Nothing);
    }
}

impl<D> TicketOrigin<'_, D> {
    /// A ticket for the request.
    pub fn ticket(&self) -> Ticket<D> {
        Ticket {
            mailbox: self.mailbox.clone(),
            request: Some(self.request),
        }
    }
}

impl<D> fmt::Debug for Mailbox<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for KeyTicket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTicket")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for CertificateTicket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateTicket")
            .field("handshake", &self.handshake)
            .finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for RestoredTicket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoredTicket")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for NameTicket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameTicket")
            .field("lookup", &self.lookup)
            .finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for Ticket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// Datagrams that may wait to be taken over from other shards. About a megabyte; a device retransmits what is dropped.
const FORWARDS_MAX: usize = 1024;
