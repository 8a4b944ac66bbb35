//! The device against a small gateway of its own, over a lossy link in virtual time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::super::port::Port;
use super::*;
use crate::coap::wire::{number, write_empty};
use crate::coap::{Block, Kind, Message, MessageWriter, Method, ObserveRequest, Request, block};
use crate::coap::{Code, Szx};
use crate::dtls::{Admission, CookieJar, Identity, Psk, ServerConfig, ServerHandshake};

#[test]
fn a_pushed_deployment_is_fetched_installed_and_proven() {
    for port in Port::ALL {
        let mut world = World::of(port, 1, 0);
        a_pushed_deployment(&mut world);
    }
}

fn a_pushed_deployment(world: &mut World) {
    let before = world.keepalive_if_that_comes_first();
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let boot = ["POST 0/0 1.0.0", "POST 0/0 1.0.0", "observe", "POST 0/0 1.0.0"];
    assert_eq!(world.gateway.asked, [&before[..], &boot].concat());

    world.deploy("1.1.0", &artifact(70_000));
    world.run_until("proven", |world| world.gateway.said("3/1 1.1.0") == 1);
    world.run_until("idle again", |world| world.gateway.said("0/0 1.1.0") == 2);
    let from = before.len() + boot.len();
    let expected = [
        "POST 1/0 1.0.0 1.1.0",
        "69 blocks",
        "POST 2/0 1.0.0 1.1.0",
        "POST 3/0 1.0.0 1.1.0",
        "handshake",
        "POST 3/1 1.1.0",
        "POST 0/0 1.1.0",
        "observe",
        "POST 0/0 1.1.0",
    ];
    let after: Vec<&String> = world.gateway.asked[from..]
        .iter()
        .filter(|word| *word != "keepalive" && *word != "ping")
        .collect();
    assert_eq!(after, expected);
    assert_eq!(world.device.version(), "1.1.0");
    assert!(!world.gateway.closed, "a rebooting device says nothing");
}

#[test]
fn a_fleet_of_lossy_links_still_updates() {
    for seed in 0..20 {
        let mut world = World::of(Port::ALL[seed as usize % 2], seed, 15);
        world.run_until("connected", |world| world.gateway.observer.is_some());
        world.deploy("1.1.0", &artifact(20_000));
        world.run_until("updated", |world| world.device.version() == "1.1.0");
        world.run_until("back", |world| {
            world.gateway.said("0/0 1.1.0") > 0 || world.gateway.said("3/1 1.1.0") > 0
        });
    }
}

#[test]
fn a_wrong_hash_is_told_and_tried_again_after_a_minute() {
    let mut world = World::new(2, 0);
    world.run_until("registered", |world| world.gateway.observer.is_some());
    world.deploy("1.1.0", &artifact(3000));
    let good = world
        .gateway
        .artifacts
        .insert("main@1.1.0".into(), vec![0; 3000])
        .unwrap();
    world.run_until("told", |world| world.gateway.said("0/11 1.0.0 1.1.0") == 1);
    let failed_at = world.now;
    assert_eq!(
        (
            world.gateway.said("1/5 1.0.0 1.1.0"),
            world.gateway.said("0/0 1.0.0 1.1.0")
        ),
        (1, 1)
    );
    world.gateway.artifacts.insert("main@1.1.0".into(), good);
    world.run_until("updated", |world| world.gateway.said("3/1 1.1.0") == 1);
    assert!(world.now > failed_at + Duration::from_secs(60));
}

#[test]
fn silence_brings_keepalives_every_nine_seconds() {
    let mut world = World::new(3, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.run_until("kept alive", |world| world.gateway.said_all("keepalive") == 5);
    let took = world.now - from;
    assert!((36..38).contains(&took.as_secs()), "{took:?}");
    let mut world = World::of(Port::Zephyr, 3, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.run_until("kept alive", |world| world.gateway.said_all("ping") == 5);
    let took = world.now - from;
    assert!((36..38).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn a_gateway_that_falls_silent_is_left_and_found_again_with_the_same_token() {
    let mut world = World::new(4, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let token = world.gateway.observer.take();
    world.gateway.forget();
    world.run_until("back", |world| world.gateway.observer.is_some());
    assert_eq!(world.gateway.observer, token);
    assert!(world.seen.contains(&Event::Disconnected(Ending::NoAnswer)));
    world.run_until("settled", |world| world.gateway.said_all("keepalive") == 4);
    assert_eq!(world.gateway.said("0/0 1.0.0"), 4, "a reconnect is no boot");
}

#[test]
fn the_zephyr_port_leaves_a_silent_gateway_after_thirty_seconds_and_a_closing_one_at_once() {
    let mut world = World::of(Port::Zephyr, 4, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.gateway.forget();
    world.gateway.observer = None;
    world.run_until("back", |world| world.gateway.observer.is_some());
    assert!(world.seen.contains(&Event::Disconnected(Ending::Silence)));
    assert!((30..33).contains(&(world.now - from).as_secs()));

    let from = world.now;
    world.gateway.close();
    world.run_until("back", |world| world.gateway.observer.is_some());
    assert!(world.seen.contains(&Event::Disconnected(Ending::Closed)));
    assert!((1..3).contains(&(world.now - from).as_secs()));
}

#[test]
fn the_libcoap_port_does_not_hear_a_goodbye() {
    let mut world = World::new(4, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.gateway.close();
    world.run_until("back", |world| world.gateway.observer.is_some());
    let took = (world.now - from).as_secs();
    assert!(
        (11..22).contains(&took),
        "a keepalive, ten seconds and one: {took}"
    );
    assert!(world.seen.contains(&Event::Disconnected(Ending::NoAnswer)));
}

#[test]
fn a_day_brings_a_poll_with_a_token_of_its_own() {
    let mut world = World::new(6, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.run_until("polled", |world| world.gateway.said_all("poll") == 1);
    assert!((world.now - from).as_secs().abs_diff(24 * 3600) < 3);
    assert_ne!(world.gateway.polled_with, world.gateway.observer);
    world.run_until("told", |world| world.gateway.said("0/0 1.0.0") == 4);
}

#[test]
fn a_key_that_does_not_fit_never_connects() {
    let mut world = World::new(5, 0);
    world.gateway.key = Psk::new(b"another").unwrap();
    let until = world.now + Duration::from_secs(120);
    world.run_while(|world| world.now < until);
    assert!(!world.seen.contains(&Event::Connected));
    assert!(
        world
            .seen
            .iter()
            .any(|event| matches!(event, Event::Disconnected(Ending::HandshakeFailed(_))))
    );
}

#[test]
fn a_gateway_that_never_answers_hears_hellos_at_the_pace_of_the_port() {
    for (port, expected) in [
        // Given up with the third flight, and begun again five seconds later.
        (Port::Zephyr, [0, 1000, 3000, 8001, 9001, 11_001]),
        // Ten seconds for the first request, handshake included, and one until the next attempt.
        (Port::Libcoap, [0, 1000, 3000, 7000, 11_000, 12_000]),
    ] {
        let start = Instant::now();
        let credential = credential(Psk::new(b"secret").unwrap());
        let model = Arc::new(Model::of(port));
        let mut device = VirtualDevice::new(model, credential, "1.0.0", start, 1);
        let (mut now, mut sent, mut hello) = (start, Vec::new(), Vec::new());
        while sent.len() < expected.len() {
            now = now.max(device.poll_timeout().unwrap());
            device.handle_timeout(now);
            while device.poll_transmit(&mut hello) {
                sent.push((now - start).as_millis());
                hello.clear();
            }
        }
        assert_eq!(sent, expected, "{port:?}");
    }
}

#[test]
fn a_device_is_small_enough_for_a_hundred_thousand_of_them() {
    let bytes = size_of::<VirtualDevice>() + size_of::<Online>();
    println!(
        "{bytes} bytes, {} of them the random generator's",
        size_of::<StdRng>()
    );
    assert!(bytes <= 1536, "{bytes} bytes");
}

/// Device, gateway and the link between them.
struct World {
    now: Instant,
    device: VirtualDevice,
    gateway: FakeGateway,
    /// What is on its way: when it arrives, whether at the gateway, and the bytes.
    link: VecDeque<(Instant, bool, Vec<u8>)>,
    dice: StdRng,
    loss_percent: u32,
    seen: Vec<Event>,
    seed: u64,
}

impl World {
    fn new(seed: u64, loss_percent: u32) -> Self {
        Self::of(Port::Libcoap, seed, loss_percent)
    }

    fn of(port: Port, seed: u64, loss_percent: u32) -> Self {
        let now = Instant::now();
        let psk = Psk::new(b"secret").unwrap();
        let device = VirtualDevice::new(
            Arc::new(Model::of(port)),
            credential(psk.clone()),
            "1.0.0",
            now,
            seed,
        );
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
        }
    }

    /// What the port asks before anything else.
    fn keepalive_if_that_comes_first(&self) -> Vec<&'static str> {
        match self.device.model.port {
            Port::Libcoap => vec!["keepalive"],
            Port::Zephyr => vec!["ping"],
        }
    }

    fn deploy(&mut self, version: &str, bytes: &[u8]) {
        self.gateway
            .artifacts
            .insert(format!("main@{version}"), bytes.to_vec());
        self.gateway.manifest = manifest(version, bytes);
        self.gateway.notify(self.now);
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
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

    fn run_while(&mut self, on: impl Fn(&Self) -> bool) {
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

    fn collect(&mut self) {
        let mut datagram = Vec::new();
        while self.device.poll_transmit(&mut datagram) {
            self.send(true, std::mem::take(&mut datagram));
        }
        while let Some(datagram) = self.gateway.outbox.pop_front() {
            self.send(false, datagram);
        }
        self.seen.extend(std::iter::from_fn(|| self.device.poll_event()));
    }

    fn send(&mut self, to_gateway: bool, datagram: Vec<u8>) {
        if self.dice.random_range(0..100) >= self.loss_percent {
            self.link.push_back((self.now + LATENCY, to_gateway, datagram));
        }
    }
}

/// Just enough of a gateway for one device.
struct FakeGateway {
    key: Psk,
    jar: CookieJar,
    config: Arc<ServerConfig>,
    rng: StdRng,
    handshake: Option<ServerHandshake>,
    session: Option<Session>,
    manifest: Vec<u8>,
    artifacts: HashMap<String, Vec<u8>>,
    observer: Option<Token>,
    polled_with: Option<Token>,
    sequence: u32,
    unacknowledged: Option<(MessageId, Instant)>,
    /// Of the last requests: the Zephyr port has several on their way.
    last_mids: VecDeque<MessageId>,
    closed: bool,
    outbox: VecDeque<Vec<u8>>,
    /// One word per request, blocks in a row as one; duplicates left out.
    asked: Vec<String>,
}

impl FakeGateway {
    fn new(key: Psk, now: Instant, seed: u64) -> Self {
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

    fn said(&self, report: &str) -> usize {
        self.said_all(&format!("POST {report}"))
    }

    fn said_all(&self, word: &str) -> usize {
        self.asked.iter().filter(|asked| *asked == word).count()
    }

    fn close(&mut self) {
        let mut datagram = Vec::new();
        self.session.as_mut().unwrap().close(&mut datagram);
        self.outbox.push_back(datagram);
        self.forget();
        self.observer = None;
    }

    fn forget(&mut self) {
        (self.session, self.handshake) = (None, None);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let notification = self.unacknowledged.map(|(_, at)| at);
        [
            self.handshake.as_ref().and_then(ServerHandshake::poll_timeout),
            notification,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
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

    fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) {
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
                    self.handshake = ServerHandshake::new(&self.config, hello, None, now, &mut self.rng).ok();
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

    fn drain_handshake(&mut self, now: Instant) {
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

    fn records(&mut self, datagram: &mut [u8]) {
        for record in records(datagram) {
            let Some(session) = &mut self.session else { return };
            match session.handle_record(record) {
                Incoming::Data { message, .. } => self.message(message),
                Incoming::ResendFlight => {
                    self.outbox.extend(session.last_flight().map(<[u8]>::to_vec));
                }
                Incoming::Closed => (self.session, self.closed) = (None, true),
                Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
            }
        }
    }

    fn message(&mut self, bytes: &[u8]) {
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

    fn count_block(&mut self) {
        let so_far = self
            .asked
            .last()
            .and_then(|last| last.strip_suffix(" blocks")?.parse::<u32>().ok());
        if so_far.is_some() {
            self.asked.pop();
        }
        self.asked.push(format!("{} blocks", so_far.unwrap_or(0) + 1));
    }

    fn notify(&mut self, now: Instant) {
        let mid = MessageId(self.rng.random());
        self.sequence += 1;
        self.write_notification(mid);
        self.unacknowledged = None;
        if self.observer.is_some() {
            self.unacknowledged = Some((mid, now + Duration::from_secs(2)));
        }
    }

    fn notify_again(&mut self, now: Instant) {
        let Some((mid, _)) = self.unacknowledged else {
            return;
        };
        self.write_notification(mid);
        self.unacknowledged = Some((mid, now + Duration::from_secs(3)));
    }

    fn write_notification(&mut self, mid: MessageId) {
        let Some(token) = self.observer else { return };
        let mut bytes = Vec::new();
        let mut pen = MessageWriter::new(&mut bytes, Kind::Confirmable, Code::CONTENT, mid, token);
        pen.uint(number::OBSERVE, self.sequence);
        pen.payload(&self.manifest);
        self.seal(&bytes);
    }

    fn seal(&mut self, message: &[u8]) {
        if let Some(session) = &mut self.session {
            let mut datagram = Vec::new();
            session.seal(message, &mut datagram).unwrap();
            self.outbox.push_back(datagram);
        }
    }
}

fn credential(key: Psk) -> ClientCredential {
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

fn artifact(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(len as u64).fill_bytes(&mut bytes);
    bytes
}

const LATENCY: Duration = Duration::from_millis(20);
const PEER: &str = "192.0.2.1:40000";
const LOCAL: &str = "192.0.2.2:5684";
