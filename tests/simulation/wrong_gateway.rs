//! A gateway for one device that answers as it should, unless a test has it do otherwise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use tessera::clock;
use tessera::coap::wire::{number, write_empty};
use tessera::coap::{
    Block, Code, Kind, Message, MessageId, MessageWriter, Method, ObserveRequest, Request, Szx, Token, block,
};
use tessera::dtls::{
    Admission, CookieJar, HandshakeEvent, Identity, Incoming, Psk, ServerConfig, ServerHandshake, Session,
    records,
};
use tessera::virtual_device::{ClientCredential, Event, Model, Port, Report, VirtualDevice};

use crate::link::{Datagram, Link, Weather};

/// What a test does to an answer: gets what was asked and the right answer, and says what goes out, each after a wait.
pub type Tamper = Box<dyn FnMut(&Asked, Vec<u8>) -> Vec<(Duration, Vec<u8>)>>;

/// One device, the gateway, and a link that loses nothing.
pub struct World {
    pub now: Instant,
    pub device: VirtualDevice,
    pub gateway: WrongGateway,
    pub seen: Vec<(Instant, Event)>,
    link: Link,
}

pub struct WrongGateway {
    pub tamper: Tamper,
    pub manifest: Vec<u8>,
    pub artifact: Vec<u8>,
    pub observer: Option<Token>,
    pub sequence: u32,
    pub asked: Vec<(Instant, Asked)>,
    /// Message IDs that the device acknowledged.
    pub acknowledged: Vec<MessageId>,
    mid: u16,
    jar: CookieJar,
    config: Arc<ServerConfig>,
    rng: StdRng,
    handshake: Option<ServerHandshake>,
    session: Option<Session>,
    /// Messages to be sealed later.
    later: VecDeque<(Instant, Vec<u8>)>,
    outbox: VecDeque<Vec<u8>>,
}

/// A request, in the words of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub what: What,
    pub mid: MessageId,
    pub token: Token,
    /// The same message was asked before.
    pub again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Keepalive,
    Report,
    Registration,
    Poll,
    Block(u32),
}

impl World {
    /// A device that has registered and said what it runs, and a deployment of 1.1.0 to come.
    pub fn of(port: Port) -> Self {
        Self::with(Model::of(port))
    }

    pub fn with(model: Model) -> Self {
        let mut world = Self::unregistered(model, right());
        world.run_until("registered", |world| {
            let reports = world.reports();
            world.gateway.observer.is_some() && reports.len() == 3
        });
        world.gateway.manifest = manifest(1, "1.1.0", &world.gateway.artifact);
        world
    }

    /// A device that is about to be switched on.
    pub fn unregistered(model: Model, tamper: Tamper) -> Self {
        let now = clock::now();
        let credential = ClientCredential::Psk {
            identity: Identity::new(b"d1-id@default").unwrap(),
            key: Psk::new(b"secret").unwrap(),
        };
        let mut artifact = vec![0; 20 * 1024 + 17];
        StdRng::seed_from_u64(7).fill_bytes(&mut artifact);
        Self {
            now,
            device: VirtualDevice::new(Arc::new(model), credential, "1.0.0", now, 1),
            gateway: WrongGateway {
                tamper,
                manifest: vec![0xA0],
                artifact,
                observer: None,
                sequence: 1,
                asked: Vec::new(),
                acknowledged: Vec::new(),
                mid: 0x7000,
                jar: CookieJar::new([7; 32], now),
                config: Arc::default(),
                rng: StdRng::seed_from_u64(2),
                handshake: None,
                session: None,
                later: VecDeque::new(),
                outbox: VecDeque::new(),
            },
            seen: Vec::new(),
            link: Link::new(Weather::default(), 0),
        }
    }

    /// Pushes the manifest.
    pub fn push(&mut self) -> MessageId {
        self.gateway.sequence += 1;
        let sequence = self.gateway.sequence;
        self.push_numbered(Some(sequence), None)
    }

    /// Pushes the manifest with such options.
    pub fn push_numbered(&mut self, observe: Option<u32>, block2: Option<Block>) -> MessageId {
        let payload = self.gateway.manifest.clone();
        let (mid, token) = (self.gateway.next_mid(), self.gateway.observer.unwrap());
        let mut bytes = Vec::new();
        let mut pen = MessageWriter::new(&mut bytes, Kind::Confirmable, Code::CONTENT, mid, token);
        if let Some(observe) = observe {
            pen.uint(number::OBSERVE, observe);
        }
        if let Some(block2) = block2 {
            pen.uint(number::BLOCK2, block2.bits());
        }
        pen.payload(&payload);
        self.say(&bytes);
        mid
    }

    /// Sends the device a message as it stands.
    pub fn say(&mut self, message: &[u8]) {
        self.gateway.seal(message);
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_while(|world| world.now < end, end);
    }

    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + Duration::from_secs(3 * 24 * 3600);
        self.run_while(|world| !done(world), deadline);
        assert!(
            done(self),
            "never {what}; asked {:?}, seen {:?}",
            self.gateway.asked,
            self.seen
        );
    }

    pub fn reports(&self) -> Vec<&Report> {
        self.seen
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Reported { report, .. } => Some(report),
                _ => None,
            })
            .collect()
    }

    /// When this first happened.
    pub fn when(&self, event: &Event) -> Option<Instant> {
        self.seen
            .iter()
            .find(|(_, seen)| seen == event)
            .map(|(at, _)| *at)
    }

    pub fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.seen.iter().filter(|(_, event)| is_it(event)).count()
    }

    fn run_while(&mut self, on: impl Fn(&Self) -> bool, end: Instant) {
        while on(self) {
            self.collect();
            let timers = [
                self.device.poll_timeout(),
                self.gateway.poll_timeout(),
                self.link.next(),
            ];
            let next = timers.into_iter().flatten().min().unwrap_or(end);
            self.now = self.now.max(next.min(end));
            if next > end {
                return;
            }
            match self.link.arrived(self.now) {
                Some(Datagram {
                    to_gateway: true,
                    mut bytes,
                    ..
                }) => self.gateway.handle_datagram(self.now, &mut bytes),
                Some(Datagram { mut bytes, .. }) => self.device.handle_datagram(self.now, &mut bytes),
                None => {
                    self.device.handle_timeout(self.now);
                    self.gateway.handle_timeout(self.now);
                }
            }
            self.collect();
        }
    }

    fn collect(&mut self) {
        let mut bytes = Vec::new();
        while self.device.poll_transmit(&mut bytes) {
            self.send(true, std::mem::take(&mut bytes));
        }
        while let Some(bytes) = self.gateway.outbox.pop_front() {
            self.send(false, bytes);
        }
        let now = self.now;
        let events = std::iter::from_fn(|| self.device.poll_event());
        self.seen.extend(events.map(|event| (now, event)));
    }

    fn send(&mut self, to_gateway: bool, bytes: Vec<u8>) {
        let datagram = Datagram {
            device: 0,
            to_gateway,
            bytes,
        };
        self.link.send(self.now, datagram, false);
    }
}

impl WrongGateway {
    pub fn count(&self, what: What) -> usize {
        self.asked.iter().filter(|(_, asked)| asked.what == what).count()
    }

    fn next_mid(&mut self) -> MessageId {
        self.mid += 1;
        MessageId(self.mid)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let handshake = self.handshake.as_ref().and_then(ServerHandshake::poll_timeout);
        let later = self.later.iter().map(|(at, _)| *at).min();
        [handshake, later].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(handshake) = &mut self.handshake
            && handshake.handle_timeout(now).is_err()
        {
            self.handshake = None;
        }
        self.drive(now);
        let mut due: Vec<_> = self.later.iter().filter(|(at, _)| *at <= now).cloned().collect();
        self.later.retain(|(at, _)| *at > now);
        due.sort_by_key(|(at, _)| *at);
        for (_, message) in due {
            self.seal(&message);
        }
    }

    fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) {
        let (peer, local) = (
            "192.0.2.1:40000".parse().unwrap(),
            "192.0.2.2:5684".parse().unwrap(),
        );
        let mut reply = Vec::new();
        match self.jar.admit(now, peer, local, datagram, &mut reply) {
            Admission::Challenged => self.outbox.push_back(reply),
            Admission::Dropped(why) => panic!("the device's hello was dropped: {why:?}"),
            Admission::Verified(hello) => {
                self.handshake = ServerHandshake::new(&self.config, hello, None, now, &mut self.rng).ok();
            }
            Admission::NotAClientHello => {
                if let Some(handshake) = &mut self.handshake {
                    let _ = handshake.handle_datagram(now, datagram);
                }
                self.drive(now);
                self.records(now, datagram);
            }
        }
        self.drive(now);
    }

    fn drive(&mut self, now: Instant) {
        let mut datagram = Vec::new();
        while let Some(handshake) = &mut self.handshake {
            while handshake.poll_transmit(&mut datagram) {
                self.outbox.push_back(std::mem::take(&mut datagram));
            }
            match handshake.poll_event() {
                Some(HandshakeEvent::KeyWanted(_)) => {
                    let key = Psk::new(b"secret").unwrap();
                    handshake.provide_key(now, Some(&key), &mut self.rng).unwrap();
                }
                Some(HandshakeEvent::ChainPresented(_) | HandshakeEvent::RawKeyPresented(_)) => {
                    unreachable!("the device has a pre-shared key")
                }
                Some(HandshakeEvent::Established(established)) => {
                    self.session = Some(established.session);
                    (self.handshake, self.observer) = (None, None);
                }
                None => return,
            }
        }
    }

    fn records(&mut self, now: Instant, datagram: &mut [u8]) {
        for record in records(datagram) {
            let Some(session) = &mut self.session else { return };
            match session.handle_record(record) {
                Incoming::Data { message, .. } => {
                    let bytes = message.to_vec();
                    self.message(now, &bytes);
                }
                Incoming::Closed => self.session = None,
                Incoming::ResendFlight | Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
            }
        }
    }

    fn message(&mut self, now: Instant, bytes: &[u8]) {
        let message = Message::parse(bytes).unwrap();
        if message.code == Code::EMPTY {
            if message.kind == Kind::Acknowledgement {
                self.acknowledged.push(message.mid);
            } else if message.kind == Kind::NonConfirmable {
                let mut reset = Vec::new();
                write_empty(&mut reset, Kind::Reset, message.mid);
                self.seal(&reset);
            }
            return;
        }
        let request = Request::new(&message).unwrap();
        let (what, answer) = self.answer(&request);
        let asked = Asked {
            what,
            mid: request.mid,
            token: request.token,
            again: self.asked.iter().any(|(_, asked)| asked.mid == request.mid),
        };
        self.asked.push((now, asked.clone()));
        for (wait, message) in (self.tamper)(&asked, answer) {
            if wait.is_zero() {
                self.seal(&message);
            } else {
                self.later.push_back((now + wait, message));
            }
        }
    }

    /// What was asked, and the right answer to it.
    fn answer(&mut self, request: &Request<'_>) -> (What, Vec<u8>) {
        let path: Vec<&str> = request.path().collect();
        let mut bytes = Vec::new();
        let what = match (request.method, &path[..]) {
            (Method::Delete, []) => {
                let _ = acknowledge(&mut bytes, request, Code::DELETED);
                What::Keepalive
            }
            (Method::Post, [".u", "c", "main"]) => {
                let _ = acknowledge(&mut bytes, request, Code::CHANGED);
                What::Report
            }
            (Method::Get, [".u", "desired"]) => {
                let mut pen = acknowledge(&mut bytes, request, Code::CONTENT);
                let registers = request.observe == Some(ObserveRequest::Register);
                if registers {
                    self.observer = Some(request.token);
                    self.sequence += 1;
                    pen.uint(number::OBSERVE, self.sequence);
                }
                pen.payload(&self.manifest);
                if registers { What::Registration } else { What::Poll }
            }
            (Method::Get, [".u", "c", _]) => {
                let asked = request.block2.unwrap();
                block_answer(&mut bytes, (request.mid, request.token), &self.artifact, asked);
                What::Block(asked.num.get())
            }
            (method, path) => panic!("a device does not ask for {method:?} {path:?}"),
        };
        (what, bytes)
    }

    fn seal(&mut self, message: &[u8]) {
        if let Some(session) = &mut self.session {
            let mut datagram = Vec::new();
            session.seal(message, &mut datagram).unwrap();
            self.outbox.push_back(datagram);
        }
    }
}

/// Changes nothing.
pub fn right() -> Tamper {
    Box::new(|_, answer| vec![(Duration::ZERO, answer)])
}

/// Does something else the first time that block `num` is asked for.
pub fn at_block(
    num: u32,
    mut instead: impl FnMut(&Asked, Vec<u8>) -> Vec<(Duration, Vec<u8>)> + 'static,
) -> Tamper {
    let mut done = false;
    Box::new(move |asked, answer| {
        if asked.what == What::Block(num) && !std::mem::replace(&mut done, true) {
            instead(asked, answer)
        } else {
            vec![(Duration::ZERO, answer)]
        }
    })
}

/// The acknowledgement with the block of `artifact` that was asked for.
pub fn block_answer(out: &mut Vec<u8>, (mid, token): (MessageId, Token), artifact: &[u8], asked: Block) {
    let Ok(slice) = block::slice(artifact.len() as u64, Some(asked)) else {
        let _ = MessageWriter::new(out, Kind::Acknowledgement, Code::BAD_REQUEST, mid, token);
        return;
    };
    let mut pen = MessageWriter::new(out, Kind::Acknowledgement, Code::CONTENT, mid, token);
    pen.uint(number::BLOCK2, slice.block2.unwrap().bits());
    pen.payload(&artifact[slice.range.start as usize..slice.range.end as usize]);
}

pub fn acknowledge<'b>(out: &'b mut Vec<u8>, request: &Request<'_>, code: Code) -> MessageWriter<'b> {
    MessageWriter::new(out, Kind::Acknowledgement, code, request.mid, request.token)
}

/// `{1: sequence, 3: [{1: "main", 2: version, 3: hash, 4: size, 5: uri, 6: "default"}]}`, by hand.
pub fn manifest(sequence: u8, version: &str, artifact: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xA2, 0x01, sequence, 0x03, 0x81];
    bytes.extend(component(version, artifact));
    bytes
}

pub fn component(version: &str, artifact: &[u8]) -> Vec<u8> {
    let mut bytes = b"\xA6\x01\x64main\x02".to_vec();
    text(&mut bytes, version);
    bytes.push(3);
    let hash: String = Sha256::digest(artifact)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    text(&mut bytes, &hash);
    bytes.extend([4, 0x1A]);
    bytes.extend((artifact.len() as u32).to_be_bytes());
    bytes.push(5);
    text(&mut bytes, &format!("/.u/c/main@{version}"));
    bytes.push(6);
    text(&mut bytes, "default");
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    match text.len() as u8 {
        len @ 0..24 => bytes.push(0x60 | len),
        len => bytes.extend([0x78, len]),
    }
    bytes.extend(text.as_bytes());
}

pub fn szx(bytes: u64) -> Szx {
    Szx::from_size(bytes).unwrap()
}
