//! The CoAP client of one session, on `coap-lite`'s messages: what the two ports of the SDK do with theirs (`CONTRACT.md` 2).
//!
//! - libcoap: a keepalive (DELETE) at once and after 9 s without a word, whose answer means "connected"; one request at a time,
//!   each with 10 s for its answer, after which the session is given up; answers are known by their token.
//! - Zephyr: connected at once; an empty message at once and after 9 s; requests side by side, each sent four times before it
//!   has failed; answers are known by their message ID; 30 s in which nothing arrived end the session.
//!
//! Time comes in as an argument, messages go in and out as bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tessera::virtual_device::{Code, Ending, Port, Report, Szx};

use super::cbor;

/// A session of a device.
#[derive(Debug)]
pub struct Client {
    port: Port,
    block_size: Szx,
    rng: StdRng,
    mid: u16,
    connected: bool,
    /// What waits until the request before it is answered; empty for Zephyr.
    waiting: VecDeque<(Ask, Token)>,
    exchanges: Vec<Exchange>,
    observed: Option<Observed>,
    /// The last confirmable message that was not an answer of one exchange: libcoap takes it once.
    last_confirmable: Option<u16>,
    keepalive_at: Instant,
    heard_at: Instant,
    outbox: VecDeque<Vec<u8>>,
    told: VecDeque<Told>,
}

/// What a device asks the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether it is there.
    Keepalive,
    /// The manifest, and every later one.
    Observe,
    /// The manifest.
    Poll,
    /// To take note of a state.
    Report(Report),
    /// For a block of an artifact.
    Block {
        /// The artifact's path.
        uri: String,
        /// Which block.
        number: u32,
        /// Which of the device's transfers it is for.
        transfer: u32,
    },
}

/// What a session tells its device.
#[derive(Debug)]
pub enum Told {
    /// The port calls itself connected.
    Connected,
    /// A request was answered.
    Answered(Ask, Answer),
    /// A request came to nothing.
    Failed(Ask),
    /// The observed manifest is another.
    Notified(Vec<u8>),
    /// A request was sent again.
    Retransmitted,
    /// The program ran into an assertion.
    Crashed,
    /// The session is given up.
    Ended(Ending),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its code.
    pub code: Code,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether its Block2 option says that there is more.
    pub more: bool,
    /// Since the first transmission of the request.
    pub took: Duration,
}

/// Eight bytes, whatever they are for.
pub type Token = [u8; 8];

#[derive(Debug)]
struct Exchange {
    ask: Ask,
    token: Token,
    mid: u16,
    bytes: Vec<u8>,
    began: Instant,
    /// When it is sent again, or has failed; `None` once an empty acknowledgement promised a separate answer.
    due: Option<Instant>,
    /// The pause before the next repetition, which doubles.
    pause: Duration,
    sent: u32,
}

#[derive(Debug)]
struct Observed {
    token: Token,
    /// The newest Observe number, and when it came.
    newest: Option<(u32, Instant)>,
}

impl Client {
    /// A session that stands since `now`; its handshake began at `began`.
    pub fn new(port: Port, block_size: Szx, seed: u64, began: Instant, now: Instant) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut client = Self {
            port,
            block_size,
            mid: rng.random(),
            rng,
            connected: false,
            waiting: VecDeque::new(),
            exchanges: Vec::new(),
            observed: None,
            last_confirmable: None,
            keepalive_at: now + KEEPALIVE,
            heard_at: now,
            outbox: VecDeque::new(),
            told: VecDeque::new(),
        };
        match port {
            Port::Libcoap => {
                client.ask(now, Ask::Keepalive, KEEPALIVE_TOKEN);
                for first in &mut client.exchanges {
                    // Its time runs since it had the handshake begun.
                    first.began = began;
                }
            }
            Port::Zephyr => {
                client.connected = true;
                client.told.push_back(Told::Connected);
                client.keep_alive(now);
            }
        }
        client
    }

    /// Sends a request as soon as the port has room for it.
    pub fn ask(&mut self, now: Instant, ask: Ask, token: Token) {
        let busy = match self.port {
            Port::Libcoap => self.waiting.len(),
            Port::Zephyr => self.exchanges.len(),
        };
        if busy >= REQUESTS_MAX {
            self.told.push_back(Told::Failed(ask));
            return;
        }
        if ask == Ask::Observe {
            self.observed = Some(Observed { token, newest: None });
        }
        match self.port {
            Port::Libcoap => {
                self.waiting.push_back((ask, token));
                self.proceed(now);
            }
            Port::Zephyr => self.begin(now, ask, token),
        }
    }

    /// Takes a message that was opened.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.heard_at = now;
        let Ok(packet) = Packet::from_bytes(bytes) else {
            match self.port {
                Port::Libcoap => {}
                Port::Zephyr => self.end(Ending::Malformed),
            }
            return;
        };
        let mid = packet.header.message_id;
        match (packet.header.get_type(), packet.header.code) {
            (MessageType::Acknowledgement, MessageClass::Empty) => self.acknowledged(mid),
            (MessageType::Reset, _) => self.reset(mid),
            (MessageType::Confirmable, MessageClass::Empty) => {
                let kind = match self.port {
                    Port::Libcoap => MessageType::Reset,
                    Port::Zephyr => MessageType::Acknowledgement,
                };
                self.send_empty(now, kind, mid);
            }
            (kind, MessageClass::Response(_)) => {
                if kind == MessageType::Confirmable {
                    // Whatever it is for.
                    self.send_empty(now, MessageType::Acknowledgement, mid);
                    if self.port == Port::Libcoap && self.last_confirmable.replace(mid) == Some(mid) {
                        return;
                    }
                }
                self.response(now, kind, &packet);
            }
            (MessageType::Confirmable, _) => self.send_empty(now, MessageType::Acknowledgement, mid),
            (MessageType::NonConfirmable | MessageType::Acknowledgement, _) => {}
        }
        self.proceed(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.port {
            Port::Libcoap => {
                let out_of_patience = |exchange: &Exchange| exchange.began + PATIENCE <= now;
                if self.exchanges.iter().any(out_of_patience) {
                    self.end(Ending::NoAnswer);
                    return;
                }
            }
            Port::Zephyr => {
                if self.heard_at + SILENCE_MAX <= now {
                    self.end(Ending::Silence);
                    return;
                }
            }
        }
        self.repeat(now);
        if self.keepalive_at <= now {
            match self.port {
                Port::Libcoap if self.exchanges.is_empty() => {
                    self.waiting.push_back((Ask::Keepalive, KEEPALIVE_TOKEN));
                    self.proceed(now);
                }
                Port::Libcoap => self.keepalive_at = now + KEEPALIVE,
                Port::Zephyr => self.keep_alive(now),
            }
        }
    }

    /// Gives the session up; what was asked has failed.
    pub fn end(&mut self, why: Ending) {
        let begun = self.exchanges.drain(..).map(|exchange| exchange.ask);
        let asks = begun.chain(self.waiting.drain(..).map(|(ask, _)| ask));
        self.told.extend(asks.map(Told::Failed));
        self.told.push_back(Told::Ended(why));
    }

    /// The next message to seal and send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    /// What happened.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        let own = match self.port {
            Port::Libcoap => self.exchanges.first().map(|exchange| exchange.began + PATIENCE),
            Port::Zephyr => Some(self.heard_at + SILENCE_MAX),
        };
        self.exchanges
            .iter()
            .filter_map(|exchange| exchange.due)
            .chain(own)
            .fold(self.keepalive_at, Instant::min)
    }

    /// What the port calls itself.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    fn acknowledged(&mut self, mid: u16) {
        match self.port {
            // The answer comes apart.
            Port::Libcoap => {
                for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.mid == mid) {
                    exchange.due = None;
                }
            }
            // It takes that for the answer, of code 0.00.
            Port::Zephyr => self.fail(mid),
        }
    }

    fn reset(&mut self, mid: u16) {
        match self.port {
            Port::Libcoap if self.exchanges.iter().any(|exchange| exchange.mid == mid) => {
                self.end(Ending::Reset);
            }
            // What it says of a keepalive is that somebody is there.
            Port::Libcoap => {}
            Port::Zephyr => self.fail(mid),
        }
    }

    fn response(&mut self, now: Instant, kind: MessageType, packet: &Packet) {
        let (mid, token) = (packet.header.message_id, packet.get_token());
        let by_mid = self.port == Port::Zephyr && kind == MessageType::Acknowledgement;
        let asked = |exchange: &Exchange| {
            if by_mid {
                exchange.mid == mid
            } else {
                exchange.token == token
            }
        };
        let Some(place) = self.exchanges.iter().position(asked) else {
            self.notified(now, packet);
            return;
        };
        let Exchange { ask, began, .. } = self.exchanges.remove(place);
        if !self.connected {
            self.connected = true;
            self.told.push_back(Told::Connected);
        }
        if let (Ask::Block { .. }, true) = (&ask, packet.payload.len() as u64 > self.block_size.size()) {
            match self.port {
                Port::Libcoap => self.told.push_back(Told::Crashed),
                Port::Zephyr => self.told.push_back(Told::Failed(ask)),
            }
            return;
        }
        if ask == Ask::Observe {
            self.is_newer(now, packet);
        }
        let answer = Answer {
            code: Code::from_byte(packet.header.code.into()),
            payload: packet.payload.clone(),
            more: uint(packet, CoapOption::Block2).is_some_and(|block| block & 8 != 0),
            took: now - began,
        };
        if ask == Ask::Observe && !answer.code.is_success() {
            self.observed = None;
        }
        self.told.push_back(Told::Answered(ask, answer));
    }

    fn notified(&mut self, now: Instant, packet: &Packet) {
        let Some(observed) = &self.observed else {
            return;
        };
        if observed.token != packet.get_token() {
            return;
        }
        if self.port == Port::Libcoap || self.is_newer(now, packet) {
            self.told.push_back(Told::Notified(packet.payload.clone()));
        }
    }

    /// RFC 7641 section 3.4. A message without a number is taken as it comes.
    fn is_newer(&mut self, now: Instant, packet: &Packet) -> bool {
        let (Some(observed), Some(number)) = (&mut self.observed, uint(packet, CoapOption::Observe)) else {
            return true;
        };
        let newer = observed.newest.is_none_or(|(newest, came)| {
            let ahead = number.wrapping_sub(newest) & OBSERVE_MASK;
            (ahead > 0 && ahead < OBSERVE_HALF) || now > came + FRESH
        });
        if newer {
            observed.newest = Some((number, now));
        }
        newer
    }

    fn repeat(&mut self, now: Instant) {
        let max = match self.port {
            Port::Libcoap => LIBCOAP_SENDS,
            Port::Zephyr => ZEPHYR_SENDS,
        };
        let mut over = Vec::new();
        for exchange in &mut self.exchanges {
            if exchange.due.is_none_or(|due| due > now) {
                continue;
            }
            if exchange.sent >= max {
                exchange.due = None;
                over.push(exchange.mid);
                continue;
            }
            exchange.sent += 1;
            exchange.pause *= 2;
            exchange.due = Some(now + exchange.pause);
            self.outbox.push_back(exchange.bytes.clone());
            self.keepalive_at = now + KEEPALIVE;
            self.told.push_back(Told::Retransmitted);
        }
        if self.port == Port::Zephyr {
            for mid in over {
                self.fail(mid);
            }
        }
    }

    /// Zephyr's request with this message ID has come to nothing.
    fn fail(&mut self, mid: u16) {
        if let Some(place) = self.exchanges.iter().position(|exchange| exchange.mid == mid) {
            let Exchange { ask, .. } = self.exchanges.remove(place);
            if ask == Ask::Observe {
                self.observed = None;
            }
            self.told.push_back(Told::Failed(ask));
        }
    }

    /// libcoap's next request, where none is under way.
    fn proceed(&mut self, now: Instant) {
        if self.exchanges.is_empty()
            && let Some((ask, token)) = self.waiting.pop_front()
        {
            self.begin(now, ask, token);
        }
    }

    fn begin(&mut self, now: Instant, ask: Ask, token: Token) {
        self.mid = self.mid.wrapping_add(1);
        let bytes = self.request(&ask, token);
        self.send(now, bytes.clone());
        let pause = ACK_TIMEOUT.mul_f64(self.rng.random_range(1.0..ACK_RANDOM_FACTOR));
        self.exchanges.push(Exchange {
            ask,
            token,
            mid: self.mid,
            bytes,
            began: now,
            due: Some(now + pause),
            pause,
            sent: 1,
        });
    }

    fn request(&self, ask: &Ask, token: Token) -> Vec<u8> {
        let (method, path) = match ask {
            Ask::Keepalive => (RequestType::Delete, String::new()),
            Ask::Observe | Ask::Poll => (RequestType::Get, ".u/desired".to_owned()),
            Ask::Report(report) => (RequestType::Post, format!(".u/c/{}", report.package)),
            Ask::Block { uri, .. } => (RequestType::Get, uri.clone()),
        };
        let mut packet = Packet::new();
        packet.header.set_type(MessageType::Confirmable);
        packet.header.code = MessageClass::Request(method);
        packet.header.message_id = self.mid;
        packet.set_token(token.to_vec());
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
        }
        match ask {
            Ask::Keepalive => {}
            Ask::Observe => {
                packet.add_option(CoapOption::Observe, Vec::new());
                packet.add_option(CoapOption::Accept, vec![FORMAT_CBOR]);
            }
            Ask::Poll => packet.add_option(CoapOption::Accept, vec![FORMAT_CBOR]),
            Ask::Report(report) => {
                packet.add_option(CoapOption::ContentFormat, vec![FORMAT_CBOR]);
                if self.port == Port::Zephyr {
                    packet.add_option(CoapOption::Accept, vec![FORMAT_CBOR]);
                }
                packet.payload = cbor::report(report);
            }
            Ask::Block { number, .. } => {
                packet.add_option(CoapOption::Accept, vec![FORMAT_OCTETS]);
                // `coap-lite`'s own type has twelve bits for the number.
                let value = number << 4 | u32::from(self.block_size.get());
                packet.add_option(CoapOption::Block2, shortest(value));
            }
        }
        packet
            .to_bytes()
            .expect("a request is shorter than coap-lite's limit")
    }

    fn keep_alive(&mut self, now: Instant) {
        self.mid = self.mid.wrapping_add(1);
        self.send_empty(now, MessageType::NonConfirmable, self.mid);
    }

    fn send_empty(&mut self, now: Instant, kind: MessageType, mid: u16) {
        let mut packet = Packet::new();
        packet.header.set_type(kind);
        packet.header.code = MessageClass::Empty;
        packet.header.message_id = mid;
        self.send(now, packet.to_bytes().expect("a header is short"));
    }

    fn send(&mut self, now: Instant, bytes: Vec<u8>) {
        self.keepalive_at = now + KEEPALIVE;
        self.outbox.push_back(bytes);
    }
}

/// An option's number, of up to four bytes.
fn uint(packet: &Packet, option: CoapOption) -> Option<u32> {
    let value = packet.get_first_option(option)?;
    (value.len() <= 4).then(|| {
        value
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    })
}

/// RFC 7252 section 3.2: a number without leading zeros.
fn shortest(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// Nobody gives the keepalive a token of its own.
const KEEPALIVE_TOKEN: Token = [0; 8];
/// Silence of its own after which a device says that it is there.
const KEEPALIVE: Duration = Duration::from_secs(9);
/// How long libcoap's SDK waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// `RX_TIMEOUT_SEC` of the Zephyr port.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// RFC 7252 section 4.8; both ports have those.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
const ACK_RANDOM_FACTOR: f64 = 1.5;
/// Transmissions of a request. The SDK's patience ends before libcoap's.
const LIBCOAP_SENDS: u32 = 5;
const ZEPHYR_SENDS: u32 = 4;
/// `CONFIG_GOLIOTH_COAP_REQUEST_QUEUE_MAX_ITEMS`; a request beyond them fails at once.
const REQUESTS_MAX: usize = 10;
/// RFC 7641 section 3.4: numbers of 24 bits, and after 128 s any is newer.
const OBSERVE_MASK: u32 = (1 << 24) - 1;
const OBSERVE_HALF: u32 = 1 << 23;
const FRESH: Duration = Duration::from_secs(128);
/// Registered content formats.
const FORMAT_CBOR: u8 = 60;
const FORMAT_OCTETS: u8 = 42;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
