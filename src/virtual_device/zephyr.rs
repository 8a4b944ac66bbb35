//! A session of the SDK's Zephyr port (`coap_client_zephyr.c`, `zephyr_coap_req.c` on Zephyr's CoAP library).
//!
//! 1. connected as soon as the handshake is done; an empty non-confirmable message goes out at once and when idle
//! 2. requests run side by side, each repeated three times and then failed; the session stays
//! 3. an acknowledgement belongs to the request with its message ID, which is freed by the first one, even an empty one
//! 4. notifications are acknowledged always and looked at only if their Observe number is newer
//! 5. thirty seconds in which nothing arrived end the session
//!
//! What hurts it: an empty acknowledgement or a reset (an answer of code 0.00), a message that does not parse, an option
//! of more than twelve bytes, Block2 in a notification, an Observe number that is not newer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;

use super::event::Ending;
use super::message::{self, Ask};
use super::model::Model;
use super::port::{Answer, Opening, QUEUED_MAX, Told};
use super::queue::Queue;
use crate::coap::client::{Exchange, Freshness, Heard, Overdue, Response};
use crate::coap::wire::write_empty;
use crate::coap::{Block, Code, Kind, MessageId, Token};

#[derive(Debug)]
pub struct Zephyr {
    model: Arc<Model>,
    mid: MessageId,
    pending: Queue<Pending>,
    observation: Option<Observation>,
    /// The transfer under way, and what its first Size2 said.
    size2: Option<(u32, u32)>,
    keepalive_at: Instant,
    heard_at: Instant,
    pub outbox: Queue<Vec<u8>>,
    pub told: Queue<Told>,
}

#[derive(Debug)]
struct Pending {
    ask: Ask,
    exchange: Exchange,
    bytes: Vec<u8>,
    sent_at: Instant,
}

#[derive(Debug)]
struct Observation {
    token: Token,
    freshness: Freshness,
}

impl Zephyr {
    pub fn new(opening: &Opening<'_>) -> Self {
        let mut stack = Self {
            model: Arc::clone(opening.model),
            mid: opening.mid,
            pending: Queue::new(),
            observation: None,
            size2: None,
            keepalive_at: opening.now,
            heard_at: opening.now,
            outbox: Queue::new(),
            told: Queue::new(),
        };
        stack.told.push_back(Told::Connected);
        stack.keep_alive(opening.now);
        stack
    }

    pub fn ask(&mut self, now: Instant, ask: Ask, token: Token, rng: &mut SmallRng) {
        if self.pending.len() == QUEUED_MAX {
            self.told.push_back(Told::Failed(ask));
            return;
        }
        if ask == Ask::Observe {
            self.observation = Some(Observation {
                token,
                freshness: Freshness::default(),
            });
        }
        self.mid = self.mid.next();
        let bytes = message::request(&ask, self.mid, token, self.model.dialect());
        let exchange = Exchange::repeated(now, self.mid, token, MAX_RETRANSMIT, rng);
        self.send(now, bytes.clone());
        self.pending.push_back(Pending {
            ask,
            exchange,
            bytes,
            sent_at: now,
        });
    }

    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        self.heard_at = now;
        if bytes.len() > RECEIVE_BUFFER {
            return;
        }
        match Heard::parse_short_sighted(bytes, OPTION_MAX) {
            Ok(Heard::Response(response)) => self.response(now, &response),
            Ok(Heard::Ping { mid }) => self.send_empty(now, Kind::Acknowledgement, mid),
            // An answer of code 0.00. The one that comes separately finds nobody waiting.
            Ok(Heard::Acknowledgement { mid } | Heard::Reset { mid }) => {
                if let Some(pending) = self.take(|exchange| exchange.mid() == mid) {
                    self.fail(pending.ask);
                }
            }
            Ok(Heard::Request { mid }) => self.send_empty(now, Kind::Acknowledgement, mid),
            Err(_) => self.end(Ending::Malformed),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.heard_at + RECEIVE_TIMEOUT <= now {
            self.end(Ending::Silence);
            return;
        }
        let mut again = Vec::new();
        let mut over = Vec::new();
        self.pending
            .retain_mut(|pending| match pending.exchange.handle_timeout(now) {
                None => true,
                Some(Overdue::Resend) => {
                    again.push(pending.bytes.clone());
                    true
                }
                Some(Overdue::GiveUp) => {
                    over.push(pending.ask.clone());
                    false
                }
            });
        for bytes in again {
            self.told.push_back(Told::Retransmitted);
            self.send(now, bytes);
        }
        for ask in over {
            self.fail(ask);
        }
        if self.keepalive_at <= now {
            self.keep_alive(now);
        }
    }

    pub fn poll_timeout(&self) -> Instant {
        self.pending
            .iter()
            .map(|pending| pending.exchange.poll_timeout())
            .fold(
                self.keepalive_at.min(self.heard_at + RECEIVE_TIMEOUT),
                Instant::min,
            )
    }

    pub fn end(&mut self, why: Ending) {
        let failed = self.pending.take().map(|pending| Told::Failed(pending.ask));
        self.told.extend(failed);
        self.told.push_back(Told::Ended(why));
    }

    fn response(&mut self, now: Instant, response: &Response<'_>) {
        if response.kind == Kind::Confirmable {
            // Whatever its token.
            self.send_empty(now, Kind::Acknowledgement, response.mid);
        }
        let is_acknowledgement = response.kind == Kind::Acknowledgement;
        let of_request = self.take(|exchange| {
            if is_acknowledgement {
                exchange.mid() == response.mid
            } else {
                exchange.token() == response.token
            }
        });
        match of_request {
            Some(pending) => self.answered(now, pending, response),
            None if is_acknowledgement => {}
            None => self.notified(now, response),
        }
    }

    fn answered(&mut self, now: Instant, pending: Pending, response: &Response<'_>) {
        let Pending { ask, sent_at, .. } = pending;
        if !is_listed(response.code) {
            self.fail(ask);
            return;
        }
        match &ask {
            Ask::Observe if !response.code.is_success() => self.observation = None,
            Ask::Observe => {
                if let (Some(observation), Some(seq)) = (&mut self.observation, response.observe) {
                    observation.freshness.admit(now, seq);
                }
            }
            Ask::Fetch { transfer, .. } if !self.adds_up(*transfer, response) => {
                self.fail(ask);
                return;
            }
            Ask::Fetch { .. } | Ask::Report(_) | Ask::Poll | Ask::Keepalive => {}
        }
        let answer = Answer {
            code: response.code,
            payload: response.payload.to_vec(),
            more: response.block2.is_some_and(|block| block.more),
            took: now.saturating_duration_since(sent_at),
        };
        self.told.push_back(Told::Answered { ask, answer });
    }

    /// Whether Size2 is what it was, and the block lies within it; a block has to fit the device's buffer for one.
    fn adds_up(&mut self, transfer: u32, response: &Response<'_>) -> bool {
        if response.payload.len() as u64 > self.model.block_size.size() {
            return false;
        }
        let Some(size) = response.size2 else {
            return true;
        };
        let known = match self.size2 {
            Some((of, known)) if of == transfer => known,
            Some(_) | None => {
                self.size2 = Some((transfer, size));
                size
            }
        };
        size == known && response.block2.map_or(0, Block::offset).le(&u64::from(size))
    }

    fn notified(&mut self, now: Instant, response: &Response<'_>) {
        let Some(observation) = self
            .observation
            .as_mut()
            .filter(|observation| observation.token == response.token)
        else {
            return;
        };
        if response.block2.is_some() {
            // It would fetch the rest by a request that ends the observation, and tells nobody.
            self.observation = None;
            return;
        }
        // One without a number is taken as it comes.
        if response
            .observe
            .is_none_or(|seq| observation.freshness.admit(now, seq))
        {
            self.told.push_back(Told::Notified(response.payload.to_vec()));
        }
    }

    /// A request has come to nothing; with that of an observation the observation goes.
    fn fail(&mut self, ask: Ask) {
        if ask == Ask::Observe {
            self.observation = None;
        }
        self.told.push_back(Told::Failed(ask));
    }

    fn take(&mut self, is_it: impl Fn(&Exchange) -> bool) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| is_it(&pending.exchange))?;
        self.pending.remove(at)
    }

    fn keep_alive(&mut self, now: Instant) {
        self.mid = self.mid.next();
        self.send_empty(now, Kind::NonConfirmable, self.mid);
    }

    fn send_empty(&mut self, now: Instant, kind: Kind, mid: MessageId) {
        let mut bytes = Vec::with_capacity(4);
        write_empty(&mut bytes, kind, mid);
        self.send(now, bytes);
    }

    fn send(&mut self, now: Instant, bytes: Vec<u8>) {
        self.keepalive_at = now + self.model.pace.keepalive;
        self.outbox.push_back(bytes);
    }
}

/// Whether Zephyr's `coap.h` lists the code; any other reads as 0.00.
fn is_listed(code: Code) -> bool {
    matches!(
        (code.class(), code.detail()),
        (2, 0..=5 | 31) | (4, 0..=6 | 8 | 9 | 12 | 13 | 15 | 22 | 29) | (5, 0..=5)
    )
}

/// `RX_TIMEOUT_SEC` of the port.
pub const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// The port's own, below the four of RFC 7252.
const MAX_RETRANSMIT: u32 = 3;
/// What `coap_find_options` has room for: an option longer than this ends the search.
const OPTION_MAX: usize = 12;
/// `GOLIOTH_COAP_CLIENT_RX_BUF_SIZE`.
const RECEIVE_BUFFER: usize = 1280;

#[cfg(test)]
#[path = "zephyr_tests.rs"]
mod tests;
