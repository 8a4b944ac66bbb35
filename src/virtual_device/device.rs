//! The device: a DTLS client, one of the SDK's ports, and the update behaviour on top.
//!
//! 1. off, or booting
//! 2. mute, where what it has booted never connects, or down until the next attempt
//! 3. handshaking
//! 4. up: the port's CoAP client ([`super::port`]) sends what the update behaviour wants and tells what came of it

use std::sync::Arc;
use std::time::Instant;

use rand::rngs::{SmallRng, StdRng};
use rand::{Rng, RngExt, SeedableRng};

use super::event::{Ending, Event};
use super::manifest::Manifest;
use super::message::Ask;
use super::model::Model;
use super::port::{Answer, Opening, Stack, Told};
use super::queue::Queue;
use super::update::{Action, Update};
use crate::coap::{BlockNum, MessageId, Token};
use crate::dtls::{ClientCredential, ClientHandshake, HandshakeEvent, Incoming, Session, records};

/// One simulated device. Nothing in it waits: see the module's four verbs.
#[derive(Debug)]
pub struct VirtualDevice {
    model: Arc<Model>,
    credential: ClientCredential,
    /// Small, and no worse than what it is seeded with. With one version of its crate and on one kind of machine a seed gives
    /// the same choices again.
    rng: SmallRng,
    update: Update,
    link: Link,
    /// Next token: a number that counts up from a random start per boot, little-endian, as the SDK does it.
    token: u64,
    /// The manifest's observation keeps its token from session to session, until the next boot.
    observation: Option<Token>,
    outbox: Queue<Vec<u8>>,
    events: Queue<Event>,
}

#[derive(Debug)]
enum Link {
    /// Switched off, or booting until then.
    Off {
        until: Instant,
    },
    /// Tries at `until`.
    Down {
        until: Instant,
    },
    /// Runs an image that never connects.
    Mute,
    Handshaking {
        handshake: Box<ClientHandshake>,
        began: Instant,
        /// When it was to begin.
        due: Instant,
        /// Whether anything arrived in it.
        is_answered: bool,
    },
    Up(Box<Online>),
}

#[derive(Debug)]
struct Online {
    session: Session,
    stack: Stack,
    /// All blocks of one transfer carry the same token; a resumed one takes another.
    transfers: Queue<(u32, Token)>,
    /// When the last block was asked for.
    block_asked: Instant,
}

impl VirtualDevice {
    /// A device that is switched on at `start`, running `version`. `seed` decides all its random choices.
    #[must_use]
    pub fn new(
        model: Arc<Model>,
        credential: ClientCredential,
        version: &str,
        start: Instant,
        seed: u64,
    ) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let token = u64::from(rng.random::<u32>());
        Self {
            update: Update::new(Arc::clone(&model), version),
            model,
            credential,
            token,
            rng,
            link: Link::Off { until: start },
            observation: None,
            outbox: Queue::new(),
            events: Queue::new(),
        }
    }

    /// Takes a datagram from the gateway.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) {
        match &mut self.link {
            Link::Off { .. } | Link::Down { .. } | Link::Mute => {}
            Link::Handshaking {
                handshake,
                is_answered,
                ..
            } => {
                *is_answered = true;
                match handshake.handle_datagram(now, datagram) {
                    Ok(()) => self.established(now),
                    Err(failure) => {
                        self.handshake_failed(now, Ending::HandshakeFailed(failure.reason().as_str()));
                    }
                }
            }
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
            Link::Off { until } | Link::Down { until } if *until <= now => {
                let due = *until;
                self.wake(now, due);
            }
            Link::Off { .. } | Link::Down { .. } | Link::Mute => {}
            Link::Handshaking {
                handshake,
                is_answered,
                ..
            } => {
                if let Err(failure) = handshake.handle_timeout(now) {
                    let ending = match is_answered {
                        true => Ending::HandshakeFailed(failure.reason().as_str()),
                        false => Ending::HandshakeUnanswered,
                    };
                    self.handshake_failed(now, ending);
                }
            }
            Link::Up(online) => online.stack.handle_timeout(now, &mut self.rng),
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
            Link::Handshaking { handshake, .. } => handshake.poll_transmit(out),
            Link::Off { .. } | Link::Down { .. } | Link::Mute | Link::Up(_) => false,
        }
    }

    /// Off and on without a word. What it has in memory is gone, a download under way with it; it comes back after
    /// [`super::Pace::start`] and runs what it ran. An image that has not been connected yet is rolled back by that, as boot
    /// loaders do. A device that is off or booting stays so.
    pub fn reboot(&mut self, now: Instant) {
        match self.link {
            Link::Off { .. } => {}
            Link::Down { .. } | Link::Mute | Link::Handshaking { .. } | Link::Up(_) => {
                self.update.reboot();
                self.proceed(now);
            }
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
            Link::Off { until } | Link::Down { until } => Some(*until),
            Link::Mute => None,
            Link::Handshaking { handshake, .. } => handshake.poll_timeout(),
            Link::Up(online) => Some(online.stack.poll_timeout()),
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

    fn wake(&mut self, now: Instant, due: Instant) {
        if self.update.never_connects() {
            self.link = Link::Mute;
            return;
        }
        // For each handshake, as it is ten times the size of the other one. Nobody has to trust in the secrets made with it.
        let mut rng = StdRng::seed_from_u64(self.rng.next_u64());
        let credential = self.credential.clone();
        let handshake = ClientHandshake::with_credential(&self.model.dtls, credential, now, &mut rng);
        self.link = Link::Handshaking {
            handshake: Box::new(handshake),
            began: now,
            due,
            is_answered: false,
        };
    }

    fn handshake_failed(&mut self, now: Instant, ending: Ending) {
        self.events.push_back(Event::Disconnected(ending));
        self.link = Link::Down {
            until: now + self.model.pace.refused,
        };
    }

    /// Moves from the handshake to the session it brought, if it did.
    fn established(&mut self, now: Instant) {
        let Link::Handshaking {
            handshake,
            began,
            due,
            ..
        } = &mut self.link
        else {
            return;
        };
        let Some(HandshakeEvent::Established(established)) = handshake.poll_event() else {
            return;
        };
        let mut datagram = Vec::new();
        while handshake.poll_transmit(&mut datagram) {
            self.outbox.push_back(std::mem::take(&mut datagram));
        }
        let began = *began;
        let took = now.saturating_duration_since(*due);
        let opening = Opening {
            now,
            began,
            mid: MessageId(self.rng.random()),
            model: &self.model,
        };
        self.link = Link::Up(Box::new(Online {
            session: established.session,
            stack: Stack::new(&opening, &mut self.rng),
            transfers: Queue::new(),
            block_asked: now,
        }));
        self.events.push_back(Event::Established { took });
    }

    fn record(&mut self, now: Instant, record: &mut [u8]) {
        let Link::Up(online) = &mut self.link else { return };
        match online.session.handle_record(record) {
            Incoming::Data { message, .. } => online.stack.handle_message(now, message, &mut self.rng),
            Incoming::PathChallenge(challenge) => {
                let mut datagram = Vec::new();
                if online.session.answer_challenge(challenge, &mut datagram).is_ok() {
                    self.outbox.push_back(datagram);
                }
            }
            Incoming::Closed => online.stack.handle_close(),
            Incoming::ResendFlight | Incoming::Ignored(_) => {}
        }
        // The session may be over, and the next record then nobody's.
        self.hear(now);
    }

    /// Takes what the port has to tell, carries out what follows from it, and seals what it wants to send, until there is
    /// nothing left.
    fn proceed(&mut self, now: Instant) {
        loop {
            self.hear(now);
            self.transmit(now);
            let Some(action) = self.update.poll_action() else {
                return;
            };
            self.act(now, action);
        }
    }

    fn hear(&mut self, now: Instant) {
        while let Link::Up(online) = &mut self.link
            && let Some(told) = online.stack.poll_told()
        {
            match told {
                Told::Connected => {
                    self.events.push_back(Event::Connected);
                    self.update.connected(now);
                }
                Told::Answered { ask, answer } => self.answered(now, ask, answer),
                Told::Failed(ask) => self.failed(now, &ask),
                Told::Notified(payload) => self.manifest(now, &payload),
                Told::Retransmitted => self.events.push_back(Event::Retransmitted),
                Told::Ended(why) => self.disconnect(now, why),
                Told::Crashed => {
                    self.events.push_back(Event::Crashed);
                    self.update.crashed();
                    self.restart(now);
                }
            }
        }
    }

    /// The answer to a request of ours.
    fn answered(&mut self, now: Instant, ask: Ask, answer: Answer) {
        match ask {
            Ask::Report(report) => {
                let Answer { code, took, .. } = answer;
                self.events.push_back(Event::Reported { report, code, took });
            }
            Ask::Observe if !answer.code.is_success() => {
                self.events.push_back(Event::ObservationRefused(answer.code));
            }
            Ask::Observe => {
                self.events.push_back(Event::Observing);
                self.manifest(now, &answer.payload);
            }
            Ask::Poll if answer.code.is_success() => self.manifest(now, &answer.payload),
            Ask::Poll | Ask::Keepalive => {}
            Ask::Fetch { block, transfer, .. } if answer.code.is_success() => {
                if let Some((received, total)) = self.update.progress() {
                    let bytes = answer.payload.len() as u64;
                    self.events.push_back(Event::Progress {
                        received: received + bytes,
                        total,
                        bytes,
                        took: answer.took,
                    });
                }
                self.update
                    .block(now, block.get(), transfer, &answer.payload, answer.more);
            }
            Ask::Fetch { block, transfer, .. } => self.update.block_failed(now, block.get(), transfer),
        }
    }

    /// A request of ours came to nothing. Only a block is asked for again: reports are sent once, and the observation comes
    /// with the next session.
    fn failed(&mut self, now: Instant, ask: &Ask) {
        match ask {
            Ask::Fetch { block, transfer, .. } => {
                let asked = match &self.link {
                    Link::Up(online) => online.block_asked,
                    Link::Off { .. } | Link::Down { .. } | Link::Mute | Link::Handshaking { .. } => now,
                };
                let waited = now.saturating_duration_since(asked);
                self.events.push_back(Event::BlockFailed { waited });
                self.update.block_failed(now, block.get(), *transfer);
            }
            Ask::Report(_) | Ask::Observe | Ask::Poll | Ask::Keepalive => {
                self.events.push_back(Event::RequestFailed);
            }
        }
    }

    /// The manifest, as an answer or as a notification.
    fn manifest(&mut self, now: Instant, payload: &[u8]) {
        match Manifest::decode(payload, self.model.cbor) {
            Ok(manifest) => {
                self.events.push_back(Event::Manifest {
                    sequence: manifest.sequence,
                });
                self.update.manifest(now, manifest);
            }
            Err(error) => self.events.push_back(Event::ManifestRejected(error)),
        }
    }

    /// Does what the update behaviour wants.
    fn act(&mut self, now: Instant, action: Action) {
        match (action, &mut self.link) {
            (Action::Report(report), Link::Up(online)) => {
                let token = next_token(&mut self.token);
                online.stack.ask(now, Ask::Report(report), token, &mut self.rng);
            }
            (Action::Observe, Link::Up(online)) => {
                let token = *self
                    .observation
                    .get_or_insert_with(|| next_token(&mut self.token));
                online.stack.ask(now, Ask::Observe, token, &mut self.rng);
            }
            (Action::Poll, Link::Up(online)) => {
                let token = next_token(&mut self.token);
                online.stack.ask(now, Ask::Poll, token, &mut self.rng);
            }
            (Action::Fetch { uri, block, transfer }, Link::Up(online)) => match BlockNum::new(block) {
                Some(block) => {
                    let token = online.token_of(transfer, &mut self.token);
                    online.block_asked = now;
                    let ask = Ask::Fetch { uri, block, transfer };
                    online.stack.ask(now, ask, token, &mut self.rng);
                }
                None => self.update.block_failed(now, block, transfer),
            },
            (
                Action::Report(_) | Action::Observe | Action::Poll,
                Link::Off { .. } | Link::Down { .. } | Link::Mute | Link::Handshaking { .. },
            ) => {}
            (
                Action::Fetch { block, transfer, .. },
                Link::Off { .. } | Link::Down { .. } | Link::Mute | Link::Handshaking { .. },
            ) => self.update.block_failed(now, block, transfer),
            (Action::Downloaded { bytes, version }, _) => {
                self.events.push_back(Event::Downloaded { bytes, version });
            }
            (Action::Failed(reason), _) => self.events.push_back(Event::UpdateFailed(reason)),
            (Action::RolledBack { version }, _) => self.events.push_back(Event::RolledBack { version }),
            (Action::Reboot { version }, _) => {
                self.events.push_back(Event::Rebooted { version });
                self.restart(now);
            }
        }
    }

    /// Seals what the port has written.
    fn transmit(&mut self, now: Instant) {
        while let Link::Up(online) = &mut self.link
            && let Some(message) = online.stack.poll_transmit()
        {
            let mut datagram = Vec::with_capacity(message.len() + online.session.overhead());
            if online.session.seal(&message, &mut datagram).is_ok() {
                self.outbox.push_back(datagram);
            } else {
                online.stack.end(Ending::Exhausted);
                self.hear(now);
            }
        }
    }

    fn disconnect(&mut self, now: Instant, why: Ending) {
        // What was written before the end, such as an acknowledgement, still goes out.
        if why != Ending::Exhausted {
            self.transmit(now);
        }
        let Link::Up(online) = &mut self.link else { return };
        let mut datagram = Vec::new();
        online.session.close(&mut datagram);
        if !datagram.is_empty() {
            self.outbox.push_back(datagram);
        }
        self.link = Link::Down {
            until: now + self.model.pace.reconnect,
        };
        self.events.push_back(Event::Disconnected(why));
        self.update.disconnected();
    }

    /// Everything in memory is gone, and nobody is told.
    fn restart(&mut self, now: Instant) {
        self.link = Link::Off {
            until: now + self.model.pace.start,
        };
        self.observation = None;
        self.token = u64::from(self.rng.random::<u32>());
        self.outbox.clear();
    }
}

impl Online {
    fn token_of(&mut self, transfer: u32, counter: &mut u64) -> Token {
        if let Some((_, token)) = self.transfers.iter().find(|(known, _)| *known == transfer) {
            return *token;
        }
        if self.transfers.len() == TRANSFERS_MAX {
            self.transfers.pop_front();
        }
        let token = next_token(counter);
        self.transfers.push_back((transfer, token));
        token
    }
}

fn next_token(counter: &mut u64) -> Token {
    *counter = counter.wrapping_add(1);
    Token::from(counter.to_le_bytes())
}

/// Transfers of which a session remembers the token: as many as a download can have side by side.
const TRANSFERS_MAX: usize = 16;

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
