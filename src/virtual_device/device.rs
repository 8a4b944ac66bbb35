//! The device: a DTLS client, one CoAP request at a time, and the update behaviour on top.
//!
//! 1. down: switched off, rebooting or waiting for the next attempt
//! 2. handshaking
//! 3. up: requests are sent one after the other, each repeated until it is answered or the session is given up;
//!    confirmable messages of the gateway are acknowledged whatever they hold; silence brings keepalives

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::manifest::{Manifest, ManifestError};
use super::message::{self, Ask};
use super::report::{Reason, Report};
use super::update::{Action, Pace, Update};
use crate::coap::client::{Exchange, Freshness, Heard, Overdue, Response};
use crate::coap::wire::write_empty;
use crate::coap::{BlockNum, Code, Kind, MessageId, Szx, Token};
use crate::dtls::{ClientConfig, ClientHandshake, HandshakeEvent, Identity, Incoming, Psk, Session, records};

/// One simulated device. Nothing in it waits: see the module's four verbs.
#[derive(Debug)]
pub struct VirtualDevice {
    model: Arc<Model>,
    identity: Identity,
    psk: Psk,
    rng: StdRng,
    update: Update,
    link: Link,
    /// Next token: a number that counts up from a random start per boot, little-endian, as the SDK does it.
    token: u64,
    /// The manifest's observation keeps its token from session to session, until the next boot.
    observation: Option<Token>,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// What all devices of a kind have in common.
#[derive(Debug)]
pub struct Model {
    /// How the device handshakes.
    pub dtls: Arc<ClientConfig>,
    /// The package it updates; the SDK's default is `main`.
    pub package: String,
    /// Block size of its downloads.
    pub block_size: Szx,
    /// How it keeps its session alive.
    pub keepalive: Keepalive,
    /// Its pauses.
    pub pace: Pace,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            dtls: Arc::new(ClientConfig::default()),
            package: "main".to_owned(),
            block_size: Szx::MAX,
            keepalive: Keepalive::Delete,
            pace: Pace::default(),
        }
    }
}

/// The two keepalives in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// The libcoap port: a confirmable DELETE without a path.
    Delete,
    /// The Zephyr port: an empty non-confirmable message; a session that has heard nothing for
    /// [`RECEIVE_TIMEOUT`] is given up.
    Ping,
}

/// What a device tells whoever looks after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session stands.
    Connected,
    /// A session or an attempt at one has ended; the device comes back by itself.
    Disconnected(Ending),
    /// A manifest arrived.
    Manifest {
        /// The deployment's sequence number; `None` for "nothing to do".
        sequence: Option<i64>,
    },
    /// A manifest arrived that this device cannot read.
    ManifestRejected(ManifestError),
    /// The gateway answered the observation with an error.
    ObservationRefused(Code),
    /// A block arrived.
    Progress {
        /// Bytes so far.
        received: u64,
        /// Bytes in all, as the manifest said.
        total: u64,
    },
    /// A whole artifact arrived, with the right hash.
    Downloaded {
        /// Its bytes.
        bytes: u64,
    },
    /// An update was given up for now.
    UpdateFailed(Reason),
    /// A report was answered.
    Reported {
        /// What was reported.
        report: Report,
        /// The answer.
        code: Code,
    },
    /// The device has restarted and runs this version.
    Rebooted {
        /// The version.
        version: String,
    },
    /// A request was sent again because its answer did not come.
    Retransmitted,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The handshake failed, for the reason named.
    HandshakeFailed(&'static str),
    /// A request stayed without an answer.
    NoAnswer,
    /// The gateway reset a request.
    Reset,
    /// Nothing was heard for too long.
    Silence,
    /// The gateway closed the session.
    Closed,
    /// No record could be sealed any more.
    Exhausted,
}

#[derive(Debug)]
enum Link {
    /// Tries at `until`.
    Down {
        until: Instant,
    },
    Handshaking(Box<ClientHandshake>),
    Up(Box<Online>),
}

#[derive(Debug)]
struct Online {
    session: Session,
    mid: MessageId,
    queue: VecDeque<Ask>,
    /// The one request that waits for its answer.
    asked: Option<Asked>,
    /// All blocks of one transfer carry the same token; a resumed one takes another.
    transfer: Option<Token>,
    keepalive_at: Instant,
    heard_at: Instant,
    freshness: Freshness,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Asked {
    ask: Ask,
    exchange: Exchange,
    bytes: Vec<u8>,
}

impl VirtualDevice {
    /// A device that is switched on at `start`, running `version`. `seed` decides all its random choices.
    #[must_use]
    pub fn new(
        model: Arc<Model>,
        identity: Identity,
        psk: Psk,
        version: &str,
        start: Instant,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let token = u64::from(rng.random::<u32>());
        Self {
            update: Update::new(&model.package, version, model.pace),
            model,
            identity,
            psk,
            token,
            rng,
            link: Link::Down { until: start },
            observation: None,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes a datagram from the gateway.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) {
        match &mut self.link {
            Link::Down { .. } => {}
            Link::Handshaking(handshake) => match handshake.handle_datagram(now, datagram) {
                Ok(()) => self.established(now),
                Err(failure) => self.handshake_failed(now, failure.reason().as_str()),
            },
            Link::Up(_) => {
                for record in records(datagram) {
                    self.record(now, record);
                }
            }
        }
        self.proceed(now);
    }

    /// To be called at [`VirtualDevice::poll_timeout`]; earlier does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.update.handle_timeout(now);
        match &mut self.link {
            Link::Down { until } if *until <= now => self.handshake(now),
            Link::Down { .. } => {}
            Link::Handshaking(handshake) => {
                if let Err(failure) = handshake.handle_timeout(now) {
                    self.handshake_failed(now, failure.reason().as_str());
                }
            }
            Link::Up(_) => self.online_timeout(now),
        }
        self.proceed(now);
    }

    /// Appends one datagram to send to `out`; false when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(datagram) = self.outbox.pop_front() {
            out.extend_from_slice(&datagram);
            return true;
        }
        match &mut self.link {
            Link::Handshaking(handshake) => handshake.poll_transmit(out),
            Link::Down { .. } | Link::Up(_) => false,
        }
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`VirtualDevice::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Down { until } => Some(*until),
            Link::Handshaking(handshake) => handshake.poll_timeout(),
            Link::Up(online) => Some(online.timeout(self.model.keepalive)),
        };
        [link, self.update.poll_timeout()].into_iter().flatten().min()
    }

    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> &str {
        self.update.version()
    }

    /// Whether a session stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    fn handshake(&mut self, now: Instant) {
        let (identity, psk) = (self.identity.clone(), self.psk.clone());
        let handshake = ClientHandshake::new(&self.model.dtls, identity, psk, now, &mut self.rng);
        self.link = Link::Handshaking(Box::new(handshake));
    }

    fn handshake_failed(&mut self, now: Instant, reason: &'static str) {
        self.events
            .push_back(Event::Disconnected(Ending::HandshakeFailed(reason)));
        self.link = Link::Down {
            until: now + self.model.pace.reconnect,
        };
    }

    /// Moves from the handshake to the session it brought, if it did.
    fn established(&mut self, now: Instant) {
        let Link::Handshaking(handshake) = &mut self.link else {
            return;
        };
        let Some(HandshakeEvent::Established(established)) = handshake.poll_event() else {
            return;
        };
        let mut datagram = Vec::new();
        while handshake.poll_transmit(&mut datagram) {
            self.outbox.push_back(std::mem::take(&mut datagram));
        }
        let online = Online {
            session: established.session,
            mid: MessageId(self.rng.random()),
            queue: VecDeque::new(),
            asked: None,
            transfer: None,
            keepalive_at: now + self.model.pace.keepalive,
            heard_at: now,
            freshness: Freshness::default(),
        };
        self.link = Link::Up(Box::new(online));
        self.events.push_back(Event::Connected);
        self.update.connected(now);
    }

    fn record(&mut self, now: Instant, record: &mut [u8]) {
        let Link::Up(online) = &mut self.link else { return };
        match online.session.handle_record(record) {
            Incoming::Data(bytes) => {
                online.heard_at = now;
                self.message(now, bytes);
            }
            Incoming::Closed => self.disconnect(now, Ending::Closed),
            Incoming::ResendFlight | Incoming::Ignored(_) => {}
        }
    }

    fn message(&mut self, now: Instant, bytes: &[u8]) {
        let Link::Up(online) = &mut self.link else { return };
        let keepalive = self.model.pace.keepalive;
        match Heard::parse(bytes) {
            Ok(Heard::Response(response)) => {
                if response.kind == Kind::Confirmable {
                    online.send_empty(
                        now,
                        Kind::Acknowledgement,
                        response.mid,
                        keepalive,
                        &mut self.outbox,
                    );
                }
                self.response(now, &response);
            }
            Ok(Heard::Ping { mid }) => {
                online.send_empty(now, Kind::Reset, mid, keepalive, &mut self.outbox);
            }
            Ok(Heard::Acknowledgement { mid }) => {
                if let Some(asked) = &mut online.asked {
                    asked.exchange.acknowledge(mid);
                }
            }
            Ok(Heard::Reset { mid }) => {
                if online
                    .asked
                    .as_ref()
                    .is_some_and(|asked| asked.exchange.mid() == mid)
                {
                    self.disconnect(now, Ending::Reset);
                }
            }
            Ok(Heard::Request { .. }) | Err(_) => {}
        }
    }

    fn response(&mut self, now: Instant, response: &Response<'_>) {
        let Link::Up(online) = &mut self.link else { return };
        if let Some(asked) = online
            .asked
            .take_if(|asked| asked.exchange.is_answered_by(response))
        {
            self.answered(now, &asked.ask, response);
        } else if self.observation == Some(response.token) {
            self.notified(now, response);
        }
    }

    /// The answer to a request of ours.
    fn answered(&mut self, now: Instant, ask: &Ask, response: &Response<'_>) {
        match ask {
            Ask::Report(report) => {
                self.events.push_back(Event::Reported {
                    report: report.clone(),
                    code: response.code,
                });
            }
            Ask::Observe => {
                if response.code == Code::CONTENT {
                    self.notified(now, response);
                } else {
                    self.events.push_back(Event::ObservationRefused(response.code));
                }
            }
            Ask::Fetch { block, .. } => self.fetched(now, *block, response),
            Ask::Keepalive => {}
        }
    }

    fn fetched(&mut self, now: Instant, asked: BlockNum, response: &Response<'_>) {
        let block = response.block2;
        let as_asked = block.is_none_or(|block| block.num == asked && block.szx == self.model.block_size);
        if response.code != Code::CONTENT || !as_asked {
            self.end_transfer();
            self.update.block_failed(now);
            return;
        }
        if let Some((received, total)) = self.update.progress() {
            let received = received + response.payload.len() as u64;
            self.events.push_back(Event::Progress { received, total });
        }
        let more = block.is_some_and(|block| block.more);
        if !more {
            self.end_transfer();
        }
        self.update.block(now, response.payload, more);
    }

    fn end_transfer(&mut self) {
        if let Link::Up(online) = &mut self.link {
            online.transfer = None;
        }
    }

    /// The manifest, as the answer to the registration or as a notification.
    fn notified(&mut self, now: Instant, response: &Response<'_>) {
        let Link::Up(online) = &mut self.link else { return };
        if response
            .observe
            .is_some_and(|seq| !online.freshness.admit(now, seq))
        {
            return;
        }
        match Manifest::decode(response.payload) {
            Ok(manifest) => {
                self.events.push_back(Event::Manifest {
                    sequence: manifest.sequence,
                });
                self.update.manifest(now, manifest);
            }
            Err(error) => self.events.push_back(Event::ManifestRejected(error)),
        }
    }

    fn online_timeout(&mut self, now: Instant) {
        let Link::Up(online) = &mut self.link else { return };
        if self.model.keepalive == Keepalive::Ping && online.heard_at + RECEIVE_TIMEOUT <= now {
            self.disconnect(now, Ending::Silence);
            return;
        }
        match online
            .asked
            .as_mut()
            .and_then(|asked| asked.exchange.handle_timeout(now))
        {
            None => {}
            Some(Overdue::GiveUp) => {
                self.disconnect(now, Ending::NoAnswer);
                return;
            }
            Some(Overdue::Resend) => {
                self.events.push_back(Event::Retransmitted);
                let bytes = online
                    .asked
                    .as_ref()
                    .map(|asked| asked.bytes.clone())
                    .unwrap_or_default();
                if !online.send(now, &bytes, self.model.pace.keepalive, &mut self.outbox) {
                    self.disconnect(now, Ending::Exhausted);
                    return;
                }
            }
        }
        let Link::Up(online) = &mut self.link else { return };
        if online.keepalive_at <= now {
            online.keepalive_at = now + self.model.pace.keepalive;
            match self.model.keepalive {
                Keepalive::Delete if online.asked.is_none() => online.queue.push_back(Ask::Keepalive),
                Keepalive::Delete => {}
                Keepalive::Ping => {
                    let mid = online.next_mid();
                    online.send_empty(
                        now,
                        Kind::NonConfirmable,
                        mid,
                        self.model.pace.keepalive,
                        &mut self.outbox,
                    );
                }
            }
        }
    }

    /// Carries out what the update behaviour wants, then sends the next request if none is on its way.
    fn proceed(&mut self, now: Instant) {
        while let Some(action) = self.update.poll_action() {
            match (action, &mut self.link) {
                (Action::Report(report), Link::Up(online)) => online.queue.push_back(Ask::Report(report)),
                (Action::Observe, Link::Up(online)) => online.queue.push_back(Ask::Observe),
                (Action::Fetch { uri, block }, Link::Up(online)) => match BlockNum::new(block) {
                    Some(block) => online.queue.push_back(Ask::Fetch { uri, block }),
                    None => self.update.block_failed(now),
                },
                // Reports are sent once or not at all, the observation comes with the next session.
                (Action::Report(_) | Action::Observe, Link::Down { .. } | Link::Handshaking(_)) => {}
                (Action::Fetch { .. }, Link::Down { .. } | Link::Handshaking(_)) => {
                    self.update.block_failed(now);
                }
                (Action::Downloaded { bytes }, _) => self.events.push_back(Event::Downloaded { bytes }),
                (Action::Failed(reason), _) => self.events.push_back(Event::UpdateFailed(reason)),
                (Action::Reboot { version }, _) => {
                    self.link = Link::Down {
                        until: now + self.model.pace.start,
                    };
                    self.observation = None;
                    self.token = u64::from(self.rng.random::<u32>());
                    self.outbox.clear();
                    self.events.push_back(Event::Rebooted { version });
                }
            }
        }
        self.ask(now);
    }

    fn ask(&mut self, now: Instant) {
        let Link::Up(online) = &mut self.link else { return };
        if online.asked.is_some() {
            return;
        }
        let Some(ask) = online.queue.pop_front() else {
            return;
        };
        let token = match &ask {
            Ask::Keepalive => token(0),
            Ask::Observe => *self
                .observation
                .get_or_insert_with(|| next_token(&mut self.token)),
            Ask::Fetch { .. } => *online.transfer.get_or_insert_with(|| next_token(&mut self.token)),
            Ask::Report(_) => next_token(&mut self.token),
        };
        let mid = online.next_mid();
        let bytes = message::request(&ask, mid, token, self.model.block_size);
        let pace = &self.model.pace;
        let sent = online.send(now, &bytes, pace.keepalive, &mut self.outbox);
        let exchange = Exchange::new(now, mid, token, pace.response, &mut self.rng);
        online.asked = Some(Asked { ask, exchange, bytes });
        if !sent {
            self.disconnect(now, Ending::Exhausted);
        }
    }

    fn disconnect(&mut self, now: Instant, why: Ending) {
        if let Link::Up(online) = &mut self.link {
            let mut datagram = Vec::new();
            online.session.close(&mut datagram);
            if !datagram.is_empty() {
                self.outbox.push_back(datagram);
            }
        }
        self.link = Link::Down {
            until: now + self.model.pace.reconnect,
        };
        self.events.push_back(Event::Disconnected(why));
        self.update.disconnected(now);
    }
}

impl Online {
    /// Seals `message` into a datagram of its own; false when the session's record numbers are used up.
    fn send(
        &mut self,
        now: Instant,
        message: &[u8],
        keepalive: Duration,
        outbox: &mut VecDeque<Vec<u8>>,
    ) -> bool {
        let mut datagram = Vec::with_capacity(message.len() + self.session.overhead());
        let sealed = self.session.seal(message, &mut datagram).is_ok();
        if sealed {
            outbox.push_back(datagram);
            self.keepalive_at = now + keepalive;
        }
        sealed
    }

    fn send_empty(
        &mut self,
        now: Instant,
        kind: Kind,
        mid: MessageId,
        keepalive: Duration,
        outbox: &mut VecDeque<Vec<u8>>,
    ) {
        let mut message = Vec::with_capacity(4);
        write_empty(&mut message, kind, mid);
        self.send(now, &message, keepalive, outbox);
    }

    fn next_mid(&mut self) -> MessageId {
        self.mid = self.mid.next();
        self.mid
    }

    fn timeout(&self, keepalive: Keepalive) -> Instant {
        let mut at = self.keepalive_at;
        if let Some(asked) = &self.asked {
            at = at.min(asked.exchange.poll_timeout());
        }
        match keepalive {
            Keepalive::Delete => at,
            Keepalive::Ping => at.min(self.heard_at + RECEIVE_TIMEOUT),
        }
    }
}

fn next_token(counter: &mut u64) -> Token {
    *counter = counter.wrapping_add(1);
    token(*counter)
}

fn token(number: u64) -> Token {
    Token::from(number.to_le_bytes())
}

/// `RX_TIMEOUT_SEC` of the SDK's Zephyr port.
pub const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
