//! A device and just enough of a gateway for it, in virtual time.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use super::super::super::event::Event;
use super::super::super::model::Model;
use super::super::super::port::Port;
use super::super::VirtualDevice;
use crate::coap::wire::{number, write_empty};
use crate::coap::{
    Block, Code, Kind, Message, MessageId, MessageWriter, Method, ObserveRequest, Request, Szx, Token, block,
};
use crate::dtls::{
    Admission, ClientCredential, ConnectionId, CookieJar, HandshakeEvent, Identity, Incoming, Psk,
    ServerConfig, ServerHandshake, Session, records,
};

/// Device, gateway and the link between them.
pub struct World {
    pub now: Instant,
    pub device: VirtualDevice,
    pub gateway: FakeGateway,
    /// What is on its way: when it arrives, whether at the gateway, and the bytes.
    pub link: VecDeque<(Instant, bool, Vec<u8>)>,
    pub dice: StdRng,
    pub loss_percent: u32,
    pub seen: Vec<Event>,
    pub seed: u64,
    /// Content types of what was sent, to the device and to the gateway.
    pub content_types: [BTreeSet<u8>; 2],
}

impl World {
    pub fn new(seed: u64, loss_percent: u32) -> Self {
        Self::of(Port::Libcoap, seed, loss_percent)
    }

    pub fn of(port: Port, seed: u64, loss_percent: u32) -> Self {
        Self::with(Model::of(port), seed, loss_percent)
    }

    pub fn with(model: Model, seed: u64, loss_percent: u32) -> Self {
        let now = Instant::now();
        let psk = Psk::new(b"secret").unwrap();
        let credential = credential(psk.clone());
        let device = VirtualDevice::new(Arc::new(model), credential, "1.0.0", now, seed);
        let gateway = FakeGateway::new(psk, now, seed);
        let dice = StdRng::seed_from_u64(seed);
        Self {
            now,
            device,
            gateway,
            link: VecDeque::new(),
            dice,
            loss_percent,
            seen: Vec::new(),
            seed,
            content_types: Default::default(),
        }
    }

    /// What the port asks before anything else.
    pub fn keepalive_if_that_comes_first(&self) -> Vec<&'static str> {
        match self.device.model.port {
            Port::Libcoap => vec!["keepalive"],
            Port::Zephyr => vec!["ping"],
        }
    }

    pub fn deploy(&mut self, version: &str, bytes: &[u8]) {
        self.gateway
            .artifacts
            .insert(format!("main@{version}"), bytes.to_vec());
        self.gateway.manifest = manifest(version, bytes);
        self.gateway.notify(self.now);
    }

    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + Duration::from_secs(25 * 3600);
        self.run_while(|world| !done(world) && world.now < deadline);
        assert!(
            done(self),
            "never {what}; seed {}, asked {:?}, seen {:?}",
            self.seed,
            self.gateway.asked,
            self.seen
        );
    }

    pub fn run_while(&mut self, on: impl Fn(&Self) -> bool) {
        while on(self) {
            self.collect();
            let timers = [
                self.device.poll_timeout(),
                self.gateway.poll_timeout(),
                self.link.front().map(|sent| sent.0),
            ];
            let Some(next) = timers.into_iter().flatten().min() else {
                return;
            };
            self.now = self.now.max(next);
            if let Some((_, to_gateway, mut bytes)) = self.link.pop_front_if(|sent| sent.0 <= self.now) {
                if to_gateway {
                    self.gateway.handle_datagram(self.now, &mut bytes);
                } else {
                    self.device.handle_datagram(self.now, &mut bytes);
                }
            } else {
                self.device.handle_timeout(self.now);
                self.gateway.handle_timeout(self.now);
            }
            self.collect();
        }
    }

    pub fn collect(&mut self) {
        let mut datagram = Vec::new();
        while self.device.poll_transmit(&mut datagram) {
            self.send(true, std::mem::take(&mut datagram));
        }
        while let Some(datagram) = self.gateway.outbox.pop_front() {
            self.send(false, datagram);
        }
        self.seen.extend(std::iter::from_fn(|| self.device.poll_event()));
    }

    pub fn send(&mut self, to_gateway: bool, datagram: Vec<u8>) {
        self.content_types[usize::from(to_gateway)].insert(datagram[0]);
        if self.dice.random_range(0..100) >= self.loss_percent {
            self.link.push_back((self.now + LATENCY, to_gateway, datagram));
        }
    }
}

/// Just enough of a gateway for one device.
pub struct FakeGateway {
    pub key: Psk,
    pub jar: CookieJar,
    pub config: Arc<ServerConfig>,
    pub rng: StdRng,
    pub handshake: Option<ServerHandshake>,
    pub session: Option<Session>,
    pub manifest: Vec<u8>,
    pub artifacts: HashMap<String, Vec<u8>>,
    pub observer: Option<Token>,
    pub polled_with: Option<Token>,
    pub sequence: u32,
    pub unacknowledged: Option<(MessageId, Instant)>,
    /// Of the last requests: the Zephyr port has several on their way.
    pub last_mids: VecDeque<MessageId>,
    pub closed: bool,
    pub outbox: VecDeque<Vec<u8>>,
    /// One word per request, blocks in a row as one; duplicates left out.
    pub asked: Vec<String>,
}

impl FakeGateway {
    pub fn new(key: Psk, now: Instant, seed: u64) -> Self {
        Self {
            key,
            jar: CookieJar::new([7; 32], now),
            config: Arc::default(),
            rng: StdRng::seed_from_u64(!seed),
            handshake: None,
            session: None,
            manifest: vec![0xA0],
            artifacts: HashMap::new(),
            observer: None,
            polled_with: None,
            sequence: 1,
            unacknowledged: None,
            last_mids: VecDeque::new(),
            closed: false,
            outbox: VecDeque::new(),
            asked: Vec::new(),
        }
    }

    pub fn said(&self, report: &str) -> usize {
        self.said_all(&format!("POST {report}"))
    }

    pub fn said_all(&self, word: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == word).count()
    }

    pub fn close(&mut self) {
        let mut datagram = Vec::new();
        self.session.as_mut().unwrap().close(&mut datagram);
        self.outbox.push_back(datagram);
        self.forget();
        self.observer = None;
    }

    pub fn forget(&mut self) {
        (self.session, self.handshake) = (None, None);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let notification = self.unacknowledged.map(|(_, at)| at);
        [
            self.handshake.as_ref().and_then(ServerHandshake::poll_timeout),
            notification,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self
            .handshake
            .as_mut()
            .is_some_and(|handshake| handshake.handle_timeout(now).is_err())
        {
            self.handshake = None;
        }
        self.drain_handshake(now);
        if self.unacknowledged.is_some_and(|(_, at)| at <= now) {
            self.notify_again(now);
        }
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) {
        let mut reply = Vec::new();
        match self.jar.admit(
            now,
            PEER.parse().unwrap(),
            LOCAL.parse().unwrap(),
            datagram,
            &mut reply,
        ) {
            Admission::Challenged => self.outbox.push_back(reply),
            Admission::Dropped(why) => panic!("the device's hello was dropped: {why:?}"),
            Admission::Verified(hello) => {
                if self
                    .handshake
                    .as_ref()
                    .is_none_or(|handshake| !handshake.began_with(&hello))
                {
                    self.handshake =
                        ServerHandshake::new(&self.config, hello, Some(ID), now, &mut self.rng).ok();
                } else if let Some(handshake) = &mut self.handshake {
                    let _ = handshake.handle_datagram(now, datagram);
                }
                self.drain_handshake(now);
            }
            Admission::NotAClientHello => {
                if self
                    .handshake
                    .as_mut()
                    .is_some_and(|handshake| handshake.handle_datagram(now, datagram).is_err())
                {
                    self.handshake = None;
                }
                self.drain_handshake(now);
                self.records(datagram);
            }
        }
    }

    pub fn drain_handshake(&mut self, now: Instant) {
        let mut datagram = Vec::new();
        while let Some(handshake) = &mut self.handshake {
            while handshake.poll_transmit(&mut datagram) {
                self.outbox.push_back(std::mem::take(&mut datagram));
            }
            match handshake.poll_event() {
                Some(HandshakeEvent::KeyWanted(_)) => {
                    handshake
                        .provide_key(now, Some(&self.key), &mut self.rng)
                        .unwrap();
                }
                Some(HandshakeEvent::ChainPresented(_) | HandshakeEvent::RawKeyPresented(_)) => {
                    unreachable!("the device has a pre-shared key")
                }
                Some(HandshakeEvent::Established(established)) => {
                    self.session = Some(established.session);
                    self.handshake = None;
                    (self.observer, self.unacknowledged) = (None, None);
                    self.last_mids.clear();
                    if !self.asked.is_empty() {
                        self.asked.push("handshake".into());
                    }
                }
                None => return,
            }
        }
    }

    pub fn records(&mut self, datagram: &mut [u8]) {
        for record in records(datagram) {
            let Some(session) = &mut self.session else { return };
            match session.handle_record(record) {
                Incoming::Data { message, .. } => self.message(message),
                Incoming::ResendFlight => {
                    let mut flight = Vec::new();
                    session.repeat_last_flight(&mut flight).unwrap();
                    self.outbox.push_back(flight);
                }
                Incoming::Closed => (self.session, self.closed) = (None, true),
                Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
            }
        }
    }

    pub fn message(&mut self, bytes: &[u8]) {
        let message = Message::parse(bytes).unwrap();
        if message.code == Code::EMPTY {
            if self.unacknowledged.is_some_and(|(mid, _)| mid == message.mid) {
                self.unacknowledged = None;
            }
            if message.kind == Kind::NonConfirmable {
                self.asked.push("ping".into());
                let mut reset = Vec::new();
                write_empty(&mut reset, Kind::Reset, message.mid);
                self.seal(&reset);
            }
            return;
        }
        let request = Request::new(&message).unwrap();
        let again = self.last_mids.contains(&request.mid);
        self.last_mids.push_back(request.mid);
        if self.last_mids.len() > 8 {
            self.last_mids.pop_front();
        }
        let path: Vec<&str> = request.path().collect();
        let mut answer = Vec::new();
        let mut word = None;
        match (request.method, &path[..]) {
            (Method::Delete, []) => {
                word = Some("keepalive".into());
                let _ = acknowledge(&mut answer, &request, Code::DELETED);
            }
            (Method::Post, [".u", "c", "main"]) => {
                word = Some(format!("POST {}", report_word(&request.payload)));
                let _ = acknowledge(&mut answer, &request, Code::CHANGED);
            }
            (Method::Get, [".u", "desired"]) => {
                let mut pen = acknowledge(&mut answer, &request, Code::CONTENT);
                if request.observe == Some(ObserveRequest::Register) {
                    word = Some("observe".into());
                    self.observer = Some(request.token);
                    self.sequence += 1;
                    pen.uint(number::OBSERVE, self.sequence);
                } else {
                    word = Some("poll".into());
                    self.polled_with = Some(request.token);
                }
                pen.payload(&self.manifest);
            }
            (Method::Get, [".u", "c", name]) => {
                let bytes = &self.artifacts[*name];
                let slice = block::slice(bytes.len() as u64, request.block2).unwrap();
                let Some(Block { szx: Szx::MAX, .. }) = request.block2 else {
                    panic!("asked without a block")
                };
                let mut pen = acknowledge(&mut answer, &request, Code::CONTENT);
                pen.uint(number::BLOCK2, slice.block2.unwrap().bits());
                pen.payload(&bytes[slice.range.start as usize..slice.range.end as usize]);
                if !again {
                    self.count_block();
                }
            }
            (method, path) => panic!("a device does not ask for {method:?} {path:?}"),
        }
        self.asked.extend(word.filter(|_| !again));
        self.seal(&answer);
    }

    pub fn count_block(&mut self) {
        let so_far = self
            .asked
            .last()
            .and_then(|last| last.strip_suffix(" blocks")?.parse::<u32>().ok());
        if so_far.is_some() {
            self.asked.pop();
        }
        self.asked.push(format!("{} blocks", so_far.unwrap_or(0) + 1));
    }

    pub fn notify(&mut self, now: Instant) {
        let mid = MessageId(self.rng.random());
        self.sequence += 1;
        self.write_notification(mid);
        self.unacknowledged = None;
        if self.observer.is_some() {
            self.unacknowledged = Some((mid, now + Duration::from_secs(2)));
        }
    }

    pub fn notify_again(&mut self, now: Instant) {
        let Some((mid, _)) = self.unacknowledged else {
            return;
        };
        self.write_notification(mid);
        self.unacknowledged = Some((mid, now + Duration::from_secs(3)));
    }

    pub fn write_notification(&mut self, mid: MessageId) {
        let Some(token) = self.observer else { return };
        let mut bytes = Vec::new();
        let mut pen = MessageWriter::new(&mut bytes, Kind::Confirmable, Code::CONTENT, mid, token);
        pen.uint(number::OBSERVE, self.sequence);
        pen.payload(&self.manifest);
        self.seal(&bytes);
    }

    pub fn seal(&mut self, message: &[u8]) {
        if let Some(session) = &mut self.session {
            let mut datagram = Vec::new();
            session.seal(message, &mut datagram).unwrap();
            self.outbox.push_back(datagram);
        }
    }
}

pub fn credential(key: Psk) -> ClientCredential {
    ClientCredential::Psk {
        identity: Identity::new(b"d1-id@default").unwrap(),
        key,
    }
}

fn acknowledge<'b>(out: &'b mut Vec<u8>, request: &Request<'_>, code: Code) -> MessageWriter<'b> {
    MessageWriter::new(out, Kind::Acknowledgement, code, request.mid, request.token)
}

/// `state/reason version target`, read by a decoder that knows nothing of ours.
fn report_word(payload: &[u8]) -> String {
    let mut decoder = minicbor::Decoder::new(payload);
    assert_eq!(decoder.map().unwrap(), None, "an indefinite map");
    let (mut numbers, mut texts) = (HashMap::new(), HashMap::new());
    while decoder.datatype().unwrap() != minicbor::data::Type::Break {
        let key = decoder.str().unwrap();
        match key {
            "s" | "r" => {
                numbers.insert(key, decoder.u8().unwrap());
            }
            _ => {
                texts.insert(key, decoder.str().unwrap());
            }
        }
    }
    assert_eq!(texts["pkg"], "main");
    let target = texts
        .get("t")
        .map(|target| format!(" {target}"))
        .unwrap_or_default();
    format!("{}/{} {}{target}", numbers["s"], numbers["r"], texts["v"])
}

fn manifest(version: &str, bytes: &[u8]) -> Vec<u8> {
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
    let mut encoded = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut encoded);
    encoder
        .map(2)
        .unwrap()
        .u8(1)
        .unwrap()
        .u8(1)
        .unwrap()
        .u8(3)
        .unwrap()
        .array(1)
        .unwrap();
    encoder
        .map(6)
        .unwrap()
        .u8(1)
        .unwrap()
        .str("main")
        .unwrap()
        .u8(2)
        .unwrap()
        .str(version)
        .unwrap();
    encoder
        .u8(3)
        .unwrap()
        .str(&hash)
        .unwrap()
        .u8(4)
        .unwrap()
        .u64(bytes.len() as u64)
        .unwrap();
    encoder
        .u8(5)
        .unwrap()
        .str(&format!("/.u/c/main@{version}"))
        .unwrap();
    encoder.u8(6).unwrap().str("default").unwrap();
    encoded
}

pub fn artifact(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(len as u64).fill_bytes(&mut bytes);
    bytes
}

/// On what the gateway receives, where the device offers connection IDs.
const ID: ConnectionId = ConnectionId::new([7; 8]);
/// One way.
pub const LATENCY: Duration = Duration::from_millis(20);
const PEER: &str = "192.0.2.1:40000";
const LOCAL: &str = "192.0.2.2:5684";
