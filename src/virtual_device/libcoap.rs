//! A session of the SDK's libcoap port (`coap_client_libcoap.c` on libcoap).
//!
//! 1. a keepalive goes out at once; any answer to it means "connected"
//! 2. requests wait for each other: one is asked at a time, and has ten seconds, after which the session is given up
//! 3. below that, libcoap repeats the confirmable message on the wire until its message ID is acknowledged
//! 4. answers are matched by token alone: what carries the token of the request that waits is its answer
//!
//! What hurts it: silence for ten seconds, a reset, a block larger than asked for, and above all a late duplicate of an
//! earlier block's answer, which has the token of the block that waits.

use std::sync::Arc;
use std::time::Instant;

use rand::rngs::SmallRng;

use super::event::Ending;
use super::message::{self, Ask};
use super::model::Model;
use super::port::{Answer, Opening, QUEUED_MAX, Told};
use super::queue::Queue;
use crate::coap::client::{Exchange, Heard, Overdue, Response};
use crate::coap::wire::write_empty;
use crate::coap::{Kind, MessageId, Token};

#[derive(Debug)]
pub struct Libcoap {
    model: Arc<Model>,
    mid: MessageId,
    connected: bool,
    /// What the SDK has not asked yet.
    queue: Queue<(Ask, Token)>,
    /// The one request that the SDK waits for.
    asked: Option<Box<Asked>>,
    /// libcoap's confirmable messages. Only the first is on the wire (NSTART = 1).
    sending: Queue<Sending>,
    last_acknowledgement: Option<MessageId>,
    last_confirmable: Option<MessageId>,
    observed: Option<Token>,
    keepalive_at: Instant,
    pub outbox: Queue<Vec<u8>>,
    pub told: Queue<Told>,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    token: Token,
    /// When its message first went out; until then, when it was asked.
    sent_at: Instant,
    give_up_at: Instant,
}

#[derive(Debug)]
struct Sending {
    mid: MessageId,
    token: Token,
    bytes: Vec<u8>,
    /// `None` while it waits for the one before it.
    exchange: Option<Exchange>,
}

impl Libcoap {
    pub fn new(opening: &Opening<'_>, rng: &mut SmallRng) -> Self {
        let mut stack = Self {
            model: Arc::clone(opening.model),
            mid: opening.mid,
            connected: false,
            queue: Queue::new(),
            asked: None,
            sending: Queue::new(),
            last_acknowledgement: None,
            last_confirmable: None,
            observed: None,
            keepalive_at: opening.now + opening.model.pace.keepalive,
            outbox: Queue::new(),
            told: Queue::new(),
        };
        stack.ask(opening.now, Ask::Keepalive, KEEPALIVE_TOKEN, rng);
        if let Some(first) = &mut stack.asked {
            // The first request's time runs from the moment it had the handshake begun.
            first.give_up_at = opening.began + opening.model.pace.response;
        }
        stack
    }

    pub fn ask(&mut self, now: Instant, ask: Ask, token: Token, rng: &mut SmallRng) {
        if ask == Ask::Observe {
            self.observed = Some(token);
        }
        if self.queue.len() == QUEUED_MAX {
            self.told.push_back(Told::Failed(ask));
            return;
        }
        self.queue.push_back((ask, token));
        self.proceed(now, rng);
    }

    pub fn handle_message(&mut self, now: Instant, bytes: &[u8], rng: &mut SmallRng) {
        if bytes.len() > MESSAGE_MAX {
            return;
        }
        match Heard::parse(bytes) {
            Ok(Heard::Response(response)) => {
                if !self.is_repeated(now, &response) {
                    self.response(now, &response);
                }
            }
            Ok(Heard::Ping { mid }) => self.send_empty(now, Kind::Reset, mid),
            // The answer comes separately.
            Ok(Heard::Acknowledgement { mid }) => self.sending.retain_mut(|sending| sending.mid != mid),
            Ok(Heard::Reset { mid }) => {
                if self.sending.iter().any(|sending| sending.mid == mid) {
                    // The application is never called back for the request that was reset.
                    self.asked = None;
                    self.end(Ending::Reset);
                    return;
                }
            }
            Ok(Heard::Request { .. }) | Err(_) => {}
        }
        self.proceed(now, rng);
    }

    pub fn handle_timeout(&mut self, now: Instant, rng: &mut SmallRng) {
        if self.asked.as_ref().is_some_and(|asked| asked.give_up_at <= now) {
            self.end(Ending::NoAnswer);
            return;
        }
        if let Some(front) = self.sending.front_mut()
            && let Some(exchange) = &mut front.exchange
        {
            match exchange.handle_timeout(now) {
                None => {}
                Some(Overdue::Resend) => {
                    let bytes = front.bytes.clone();
                    self.told.push_back(Told::Retransmitted);
                    self.send(now, bytes);
                }
                Some(Overdue::GiveUp) => {
                    self.sending.pop_front();
                }
            }
        }
        if self.keepalive_at <= now {
            self.keepalive_at = now + self.model.pace.keepalive;
            if self.asked.is_none() {
                self.queue.push_back((Ask::Keepalive, KEEPALIVE_TOKEN));
            }
        }
        self.proceed(now, rng);
    }

    pub fn poll_timeout(&self) -> Instant {
        let asked = self.asked.as_ref().map(|asked| asked.give_up_at);
        let sending = self
            .sending
            .iter()
            .next()
            .and_then(|sending| Some(sending.exchange.as_ref()?.poll_timeout()));
        [asked, sending]
            .into_iter()
            .flatten()
            .fold(self.keepalive_at, Instant::min)
    }

    pub fn end(&mut self, why: Ending) {
        let asked = self.asked.take().map(|asked| asked.ask);
        let asks = asked.into_iter().chain(self.queue.take().map(|(ask, _)| ask));
        self.told.extend(asks.map(Told::Failed));
        self.told.push_back(Told::Ended(why));
    }

    /// What libcoap does with a response before the SDK sees it; true when it is one that libcoap has seen before,
    /// which it knows of the last acknowledgement and of the last confirmable message only.
    fn is_repeated(&mut self, now: Instant, response: &Response<'_>) -> bool {
        match response.kind {
            Kind::Acknowledgement => {
                self.sending.retain_mut(|sending| sending.mid != response.mid);
                self.last_acknowledgement.replace(response.mid) == Some(response.mid)
            }
            Kind::Confirmable => {
                // Whatever its token.
                self.send_empty(now, Kind::Acknowledgement, response.mid);
                self.sending.retain_mut(|sending| sending.token != response.token);
                self.last_confirmable.replace(response.mid) == Some(response.mid)
            }
            Kind::NonConfirmable => {
                self.sending.retain_mut(|sending| sending.token != response.token);
                false
            }
            Kind::Reset => true,
        }
    }

    fn response(&mut self, now: Instant, response: &Response<'_>) {
        if let Some(asked) = self.asked.take_if(|asked| asked.token == response.token) {
            let Asked { ask, sent_at, .. } = *asked;
            if !self.connected {
                self.connected = true;
                self.told.push_back(Told::Connected);
            }
            let is_block = matches!(ask, Ask::Fetch { .. });
            if is_block && response.payload.len() as u64 > self.model.block_size.size() {
                self.told.push_back(Told::Crashed);
                return;
            }
            let answer = Answer {
                code: response.code,
                payload: response.payload.to_vec(),
                more: response.block2.is_some_and(|block| block.more),
                took: now.saturating_duration_since(sent_at),
            };
            self.told.push_back(Told::Answered { ask, answer });
        } else if self.observed == Some(response.token) {
            self.told.push_back(Told::Notified(response.payload.to_vec()));
        }
    }

    /// Asks the next request if none waits, and puts the next message on the wire if there is room.
    fn proceed(&mut self, now: Instant, rng: &mut SmallRng) {
        if self.asked.is_none()
            && let Some((ask, token)) = self.queue.pop_front()
        {
            self.mid = self.mid.next();
            let bytes = message::request(&ask, self.mid, token, self.model.dialect());
            self.sending.push_back(Sending {
                mid: self.mid,
                token,
                bytes,
                exchange: None,
            });
            self.asked = Some(Box::new(Asked {
                ask,
                token,
                sent_at: now,
                give_up_at: now + self.model.pace.response,
            }));
        }
        if let Some(front) = self.sending.front_mut()
            && front.exchange.is_none()
        {
            let exchange = Exchange::repeated(now, front.mid, front.token, MAX_RETRANSMIT, rng);
            front.exchange = Some(exchange);
            if front.mid == self.mid
                && let Some(asked) = &mut self.asked
            {
                asked.sent_at = now;
            }
            let bytes = front.bytes.clone();
            self.send(now, bytes);
        }
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

/// Nobody gives the keepalive a token of its own.
const KEEPALIVE_TOKEN: Token = Token::new(&[0; 8]).expect("eight bytes fit");
/// RFC 7252 section 4.8; the SDK gives the session up before the last of them.
const MAX_RETRANSMIT: u32 = 4;
/// libcoap's MTU of 1152 less the overhead of DTLS: a payload of 1100 bytes passes, one of 1112 does not.
const MESSAGE_MAX: usize = 1115;

#[cfg(test)]
#[path = "libcoap_tests.rs"]
pub(super) mod tests;
