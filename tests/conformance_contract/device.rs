//! A device as the contract describes it, spoken for in bytes. The DTLS under it is our client half; answers are read by
//! `coap-lite`, which shares no code with the gateway.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use coap_lite::Packet;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tessera::dtls::{
    CipherSuite, ClientConfig, ClientHandshake, HandshakeEvent, Identity, Incoming, Psk, RecordHeader,
    Session, records,
};

use crate::support::{self, Server, noise, sha256_hex};

/// How long a device waits for an answer before it ends its session (rule 3).
pub const PATIENCE: Duration = Duration::from_secs(10);

/// CON, NON, ACK as the first byte has them, without the token's length.
pub const CON: u8 = 0x40;
pub const NON: u8 = 0x50;
pub const ACK: u8 = 0x60;

pub const GET: u8 = 0x01;
pub const POST: u8 = 0x02;
pub const PUT: u8 = 0x03;
pub const DELETE: u8 = 0x04;

/// GET of the manifest in CBOR, after the token: Uri-Path twice, Accept 60.
pub const DESIRED: &[u8] = b"\xb2.u\x07desired\x61\x3c";
/// The same with Observe 0, as an empty value.
pub const OBSERVE: &[u8] = b"\x60\x52.u\x07desired\x61\x3c";
/// The same with Observe 1.
pub const DEREGISTER: &[u8] = b"\x61\x01\x52.u\x07desired\x61\x3c";
/// "Nothing to do" after the token: Content-Format 60, the empty map.
pub const NOTHING: &[u8] = b"\xc1\x3c\xff\xa0";

/// One server for all tests that need nothing special, for as long as one of them runs. It has these artifacts:
/// `main@1.0.0` (3000 bytes), `main@1.0.1` (2500), `small@1` (1024), and `first@1` to `fourth@1` (100 each).
pub fn server() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start());
    stock(&server);
    *shared = Arc::downgrade(&server);
    server
}

/// Uploads what [`server`] has.
pub fn stock(server: &Server) {
    server.upload("main", "1.0.0", &image());
    server.upload("main", "1.0.1", &noise(2, 2500));
    server.upload("small", "1", &noise(3, 1024));
    for (seed, package) in (4..).zip(["first", "second", "third", "fourth"]) {
        server.upload(package, "1", &noise(seed, 100));
    }
}

/// The bytes of `main@1.0.0`.
pub fn image() -> Vec<u8> {
    noise(1, 3000)
}

/// The manifest that has `main@1.0.0` under this sequence number, written by hand.
pub fn golden(sequence: u64) -> Vec<u8> {
    let number = match u8::try_from(sequence).unwrap() {
        short @ 0..24 => vec![short],
        long => vec![0x18, long],
    };
    let component = [
        b"\x81\xa6\x01\x64main\x02\x651.0.0\x03\x78\x40",
        sha256_hex(&image()).as_bytes(),
        b"\x04\x19\x0b\xb8\x05\x70/.u/c/main@1.0.0\x06\x67default",
    ]
    .concat();
    let without_hash = [b"\xa2\x01", &number[..], b"\x03", &component].concat();
    let hash = sha256_hex(&without_hash);
    [
        b"\xa3\x01",
        &number[..],
        b"\x02\x78\x40",
        hash.as_bytes(),
        b"\x03",
        &component,
    ]
    .concat()
}

/// A message of this kind; `rest` is what stands behind the token.
pub fn message(kind: u8, code: u8, mid: u16, token: &[u8], rest: &[u8]) -> Vec<u8> {
    let [high, low] = mid.to_be_bytes();
    [&[kind | token.len() as u8, code, high, low], token, rest].concat()
}

pub fn con(code: u8, mid: u16, token: &[u8], rest: &[u8]) -> Vec<u8> {
    message(CON, code, mid, token, rest)
}

pub fn ack(code: u8, mid: u16, token: &[u8], rest: &[u8]) -> Vec<u8> {
    message(ACK, code, mid, token, rest)
}

/// What a device hears, read by `coap-lite`.
#[derive(Clone, Debug)]
pub struct Heard {
    pub kind: u8,
    pub code: String,
    pub mid: u16,
    pub token: Vec<u8>,
    pub options: Vec<(u16, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Heard {
    pub fn read(bytes: &[u8]) -> Heard {
        let packet = Packet::from_bytes(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        Heard {
            kind: bytes[0] & 0xf0,
            code: packet.header.get_code(),
            mid: packet.header.message_id,
            token: packet.get_token().to_vec(),
            options: packet
                .options()
                .flat_map(|(number, values)| values.iter().map(|value| (*number, value.clone())))
                .collect(),
            payload: packet.payload,
        }
    }

    pub fn option(&self, number: u16) -> Option<&[u8]> {
        let found = self.options.iter().find(|(option, _)| *option == number);
        found.map(|(_, value)| value.as_slice())
    }

    /// The Observe number.
    pub fn observe(&self) -> Option<u32> {
        let value = self.option(6)?;
        Some(
            value
                .iter()
                .fold(0, |number, byte| number << 8 | u32::from(*byte)),
        )
    }
}

/// A device that is registered, and connected.
pub struct Device {
    pub server: Arc<Server>,
    pub registered: support::Device,
    /// Its own, with its name.
    pub cohort: String,
    config: ClientConfig,
    socket: UdpSocket,
    session: Session,
    waiting: VecDeque<Vec<u8>>,
}

impl Device {
    /// On the shared server.
    pub fn new(name: &str) -> Device {
        Device::on(&server(), name)
    }

    pub fn on(server: &Arc<Server>, name: &str) -> Device {
        Device::with(server, name, ClientConfig::default())
    }

    pub fn with(server: &Arc<Server>, name: &str, config: ClientConfig) -> Device {
        let registered = server.device(name, name);
        let (socket, session) = connect(server, &registered, &config);
        Device {
            server: Arc::clone(server),
            registered,
            cohort: name.to_owned(),
            config,
            socket,
            session,
            waiting: VecDeque::new(),
        }
    }

    /// With a deployment of `main@1.0.0`; and its sequence number.
    pub fn deployed(name: &str) -> (Device, u64) {
        let device = Device::new(name);
        let sequence = device.deploy("first", &[("main", "1.0.0")]);
        (device, sequence)
    }

    /// Deploys to the device's cohort; the sequence number.
    pub fn deploy(&self, name: &str, artifacts: &[(&str, &str)]) -> u64 {
        let deployment = self.server.deploy(&self.cohort, name, artifacts);
        deployment["sequence"].as_u64().unwrap()
    }

    pub fn assign(&self, cohort: Option<&str>) {
        let path = format!("devices/{}", self.registered.id);
        self.server.done("PATCH", &path, json!({"cohort": cohort}));
    }

    /// A new session from another port, as after a reboot.
    pub fn reboot(&mut self) {
        (self.socket, self.session) = connect(&self.server, &self.registered, &self.config);
        self.waiting.clear();
    }

    /// A new session, for which only these suites are offered.
    pub fn offer(&mut self, suites: Vec<CipherSuite>) {
        self.config.suites = suites;
        self.reboot();
    }

    pub fn send(&mut self, message: &[u8]) {
        let mut record = Vec::new();
        self.session.seal(message, &mut record).unwrap();
        self.socket.send(&record).unwrap();
    }

    /// The next message, whatever it is.
    #[track_caller]
    pub fn hear(&mut self) -> Vec<u8> {
        self.hear_within(PATIENCE).expect("a message")
    }

    /// Long enough for anything that was on its way.
    #[track_caller]
    pub fn hear_nothing(&mut self) {
        let heard = self.hear_within(Duration::from_millis(400));
        assert_eq!(heard, None);
    }

    /// The answer to a request; notifications that come first are left for [`Self::hear`].
    #[track_caller]
    pub fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        let mut others = VecDeque::new();
        loop {
            let heard = self.hear();
            if heard[0] & 0x20 != 0 && heard[2..4] == request[2..4] {
                others.append(&mut self.waiting);
                self.waiting = others;
                return heard;
            }
            others.push_back(heard);
        }
    }

    /// As [`Self::ask`], read.
    #[track_caller]
    pub fn asked(&mut self, request: &[u8]) -> Heard {
        Heard::read(&self.ask(request))
    }

    /// Hears a confirmable notification and acknowledges it.
    #[track_caller]
    pub fn notified(&mut self) -> Heard {
        let heard = Heard::read(&self.hear());
        assert_eq!((heard.kind, heard.code.as_str()), (CON, "2.05"), "{heard:?}");
        self.send(&ack(0, heard.mid, b"", b""));
        heard
    }

    /// What the operator sees of a package.
    pub fn package(&self, name: &str) -> Value {
        let shown = self
            .server
            .done("GET", &format!("devices/{}", self.registered.id), Value::Null);
        let packages = shown["packages"].as_array().unwrap();
        let found = packages.iter().find(|package| package["package"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {shown:#}")).clone()
    }

    fn hear_within(&mut self, wait: Duration) -> Option<Vec<u8>> {
        if let Some(message) = self.waiting.pop_front() {
            return Some(message);
        }
        let deadline = Instant::now() + wait;
        let mut buffer = [0; 2048];
        while self.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .unwrap();
            let length = self.socket.recv(&mut buffer).ok()?;
            for record in records(&mut buffer[..length]) {
                // The server's last flight once more.
                if RecordHeader::peek(record).is_some_and(|header| header.epoch == 0) {
                    continue;
                }
                if let Incoming::Data { message, .. } = self.session.handle_record(record) {
                    assert_survivable(message);
                    self.waiting.push_back(message.to_vec());
                }
            }
        }
        self.waiting.pop_front()
    }
}

/// What every message to a device has to keep to: one port throws away what is longer than 1115 bytes and aborts on more
/// than 1024 of payload, the other ends its session on what it cannot read and sees no option behind one of more than
/// twelve bytes.
fn assert_survivable(message: &[u8]) {
    let heard = Heard::read(message);
    assert!(
        message.len() <= 1115 && heard.payload.len() <= 1024,
        "{} bytes",
        message.len()
    );
    assert!(
        heard.options.iter().all(|(_, value)| value.len() <= 12),
        "{heard:?}"
    );
    let options = &message[4 + heard.token.len()..];
    assert!(
        !heard.payload.is_empty() || !options.ends_with(&[0xff]),
        "a marker without a payload"
    );
}

/// Shakes hands.
pub fn connect(server: &Server, device: &support::Device, config: &ClientConfig) -> (UdpSocket, Session) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", server.coaps_port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut handshake = ClientHandshake::new(
        &Arc::new(config.clone()),
        Identity::new(device.identity.as_bytes()).unwrap(),
        Psk::new(device.secret.as_bytes()).unwrap(),
        Instant::now(),
        &mut StdRng::seed_from_u64(u64::from(socket.local_addr().unwrap().port())),
    );
    let mut buffer = [0; 2048];
    loop {
        let mut out = Vec::new();
        while handshake.poll_transmit(&mut out) {
            socket.send(&out).unwrap();
            out.clear();
        }
        if let Some(HandshakeEvent::Established(established)) = handshake.poll_event() {
            return (socket, established.session);
        }
        let length = socket
            .recv(&mut buffer)
            .expect("the server goes on with the handshake");
        handshake
            .handle_datagram(Instant::now(), &mut buffer[..length])
            .unwrap();
    }
}
