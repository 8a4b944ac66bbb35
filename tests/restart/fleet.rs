//! Many devices in one thread: our DTLS client half, CoAP by a library that the gateway does not use. They share a socket, and each has
//! a loopback address of its own.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::dtls::{
    CipherSuite, ClientConfig, ClientHandshake, HandshakeEvent, Identity, Incoming, Psk, Session, records,
};

use crate::support::{Manifest, Server};

/// All devices, and their way to the server.
pub struct Fleet {
    network: Network,
    devices: Vec<Device>,
    /// How many wait for an answer.
    waiting: usize,
    /// When all were last looked at for what is late.
    looked: Instant,
}

pub struct Device {
    pub index: usize,
    handshake: Option<ClientHandshake>,
    pub handshakes: u32,
    session: Option<Session>,
    mid: u16,
    asked: Option<Asked>,
    /// The sequence numbers of the manifests that it was told of, each once.
    pub manifests: Vec<u64>,
    /// What it has of the image.
    pub image: Vec<u8>,
    /// Pings that it answered.
    pub pings: u32,
    last_datagram: Vec<u8>,
    nonces: Nonces,
    out: Vec<Vec<u8>>,
}

/// What a device asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Observe,
    Keepalive,
    /// The next block of the image.
    Block,
    Report {
        state: u8,
        version: &'static str,
    },
}

/// A request without an answer so far.
struct Asked {
    want: Want,
    mid: u16,
    message: Vec<u8>,
    at: Instant,
}

/// What was in the clear of every protected record, by who sent it, and what the record was: the same record sent again is the same
/// nonce used once.
#[derive(Default)]
struct Nonces {
    seen: HashMap<(Side, Part, [u8; 8]), u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Side {
    Device,
    Server,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Part {
    /// Epoch and number.
    Header,
    /// The explicit part of the nonce.
    Nonce,
}

impl Fleet {
    /// So many devices that the server knows, in the cohort `lamps`; none is connected.
    pub fn of(server: &Server, count: usize) -> Self {
        server.call("POST", "cohorts", serde_json::json!({"name": "lamps"}));
        let rows: String = (0..count)
            .map(|index| format!("lamp-{index},lamps,lamp-{index},secret-{index}\n"))
            .collect();
        let file = format!("name,cohort,identity,secret\n{rows}");
        let (status, answer) = server.send("POST", "devices:import", "text/csv", &[], file.as_bytes());
        assert_eq!(status, 200, "{answer:#}");
        Self {
            network: Network::to(server.coaps_port),
            devices: (0..count).map(Device::new).collect(),
            waiting: 0,
            looked: Instant::now(),
        }
    }

    /// Has every device shake hands, some at a time.
    pub fn connect(&mut self) {
        let mut next = 0;
        let deadline = Instant::now() + PATIENCE;
        while self.any(|device| device.session.is_none()) {
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: everybody is connected"
            );
            let shaking = self
                .devices
                .iter()
                .filter(|device| device.handshake.is_some())
                .count();
            for device in self.devices.iter_mut().skip(next).take(SHAKING_AT_ONCE - shaking) {
                device.boot();
                device.transmit(&self.network);
                next += 1;
            }
            self.turn();
        }
    }

    /// Has devices ask, some at a time, and waits for all answers.
    pub fn ask_all(&mut self, want: impl Fn(usize) -> Option<Want>) {
        let deadline = Instant::now() + PATIENCE;
        let mut next = 0;
        while next < self.devices.len() || self.waiting > 0 {
            while self.waiting < ASKING_AT_ONCE && next < self.devices.len() {
                if let Some(want) = want(next) {
                    self.ask(next, want);
                }
                next += 1;
            }
            let waiting = self.waiting;
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {waiting} are not answered"
            );
            self.turn();
        }
    }

    /// Has devices ask, and waits for nothing.
    pub fn begin(&mut self, want: impl Fn(usize) -> Option<Want>) {
        for index in 0..self.devices.len() {
            if let Some(want) = want(index) {
                self.ask(index, want);
            }
        }
        self.turn();
    }

    /// Waits until something is true of every device.
    pub fn wait(&mut self, what: &str, done: impl Fn(&Device) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(late) = self.devices.iter().find(|device| !done(device)) {
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}: lamp-{} has {:?}",
                late.index,
                late.manifests
            );
            self.turn();
        }
    }

    pub fn all(&self, is_so: impl Fn(&Device) -> bool) -> bool {
        self.devices.iter().all(is_so)
    }

    pub fn any(&self, is_so: impl Fn(&Device) -> bool) -> bool {
        self.devices.iter().any(is_so)
    }

    /// Protected records so far.
    pub fn records(&self) -> usize {
        self.devices
            .iter()
            .map(|device| device.nonces.seen.len() / 2)
            .sum()
    }

    /// What the device sent last.
    pub fn last_datagram(&self, index: usize) -> Vec<u8> {
        self.devices[index].last_datagram.clone()
    }

    /// Sends a datagram of a device's once more, as somebody else could.
    pub fn send_again(&self, index: usize, datagram: &[u8]) {
        self.network.send(index, datagram);
    }

    /// Takes what has come, and sends what there is to send.
    fn turn(&mut self) {
        let now = Instant::now();
        if now - self.looked > LOOK_EVERY {
            self.looked = now;
            for device in &mut self.devices {
                device.repeat(now);
                device.transmit(&self.network);
            }
        }
        let mut buffer = [0; 2048];
        while let Some((index, length)) = self.network.receive(&mut buffer) {
            if let Some(device) = self.devices.get_mut(index) {
                let waited = device.is_waiting();
                device.handle(&mut buffer[..length]);
                device.transmit(&self.network);
                self.waiting -= usize::from(waited && !device.is_waiting());
            }
        }
    }

    fn ask(&mut self, index: usize, want: Want) {
        let device = &mut self.devices[index];
        device.ask(want);
        device.transmit(&self.network);
        self.waiting += 1;
    }
}

impl Device {
    fn new(index: usize) -> Self {
        Self {
            index,
            handshake: None,
            handshakes: 0,
            session: None,
            mid: 0,
            asked: None,
            manifests: Vec::new(),
            image: Vec::new(),
            pings: 0,
            last_datagram: Vec::new(),
            nonces: Nonces::default(),
            out: Vec::new(),
        }
    }

    pub fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    fn boot(&mut self) {
        let index = self.index;
        let suite = [CipherSuite::PskAes128GcmSha256, CipherSuite::PskAes128Ccm8][index % 2];
        let config = ClientConfig {
            suites: vec![suite],
            ..ClientConfig::default()
        };
        self.handshake = Some(ClientHandshake::new(
            &Arc::new(config),
            Identity::new(format!("lamp-{index}").as_bytes()).unwrap(),
            Psk::new(format!("secret-{index}").as_bytes()).unwrap(),
            Instant::now(),
            &mut StdRng::seed_from_u64(index as u64),
        ));
        self.proceed();
    }

    fn ask(&mut self, want: Want) {
        assert!(self.asked.is_none(), "one request at a time");
        let mut packet = match want {
            Want::Observe => {
                let mut packet = request(RequestType::Get, &[".u", "desired"]);
                packet.add_option(CoapOption::Observe, Vec::new());
                packet.add_option(CoapOption::Accept, vec![60]);
                packet
            }
            Want::Keepalive => request(RequestType::Delete, &[]),
            Want::Block => {
                let mut packet = request(RequestType::Get, &[".u", "c", "main@1.0.0"]);
                let block = (self.image.len() / 1024) as u32;
                packet.add_option(CoapOption::Block2, (block << 4 | 6).to_be_bytes()[1..].to_vec());
                packet
            }
            Want::Report { state, version } => {
                let mut packet = request(RequestType::Post, &[".u", "c", "main"]);
                packet.add_option(CoapOption::ContentFormat, vec![60]);
                let mut encoder = minicbor::Encoder::new(Vec::new());
                encoder.map(2).unwrap().str("s").unwrap().u8(state).unwrap();
                encoder.str("v").unwrap().str(version).unwrap();
                packet.payload = encoder.into_writer();
                packet
            }
        };
        self.mid += 1;
        packet.header.message_id = self.mid;
        let message = packet.to_bytes().unwrap();
        self.send(&message);
        self.asked = Some(Asked {
            want,
            mid: self.mid,
            message,
            at: Instant::now(),
        });
    }

    /// Repeats what is late.
    fn repeat(&mut self, now: Instant) {
        if let Some(handshake) = &mut self.handshake {
            if handshake.poll_timeout().is_some_and(|due| due <= now) {
                handshake
                    .handle_timeout(now)
                    .expect("a handshake within its time");
                self.proceed();
            }
        } else if let Some(asked) = self.asked.as_mut().filter(|asked| now - asked.at > RESEND_AFTER) {
            asked.at = now;
            let message = asked.message.clone();
            self.send(&message);
        }
    }

    fn handle(&mut self, datagram: &mut [u8]) {
        self.nonces.note(Side::Server, datagram);
        if let Some(handshake) = &mut self.handshake {
            handshake.handle_datagram(Instant::now(), datagram).unwrap();
            return self.proceed();
        }
        for record in records(datagram) {
            let session = self.session.as_mut().expect("nothing comes before the handshake");
            match session.handle_record(record) {
                Incoming::Data { message, .. } => {
                    let packet = Packet::from_bytes(message).unwrap();
                    self.hear(&packet);
                }
                Incoming::Closed => panic!("the session of lamp-{} is closed", self.index),
                Incoming::ResendFlight | Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
            }
        }
    }

    fn hear(&mut self, packet: &Packet) {
        let header = &packet.header;
        match (header.get_type(), header.get_code().as_str()) {
            (MessageType::Confirmable, "0.00") => {
                self.pings += 1;
                // One of the SDK's ports resets a ping, the other acknowledges it.
                let kind = if self.index % 2 == 0 { 0x70 } else { 0x60 };
                self.answer(kind, header.message_id);
            }
            (MessageType::Confirmable, "2.05") => {
                self.answer(0x60, header.message_id);
                self.told(packet);
            }
            (MessageType::Acknowledgement, code) => {
                let Some(asked) = self.asked.take_if(|asked| asked.mid == header.message_id) else {
                    return;
                };
                let expected = match asked.want {
                    Want::Observe | Want::Block => "2.05",
                    Want::Keepalive => "2.02",
                    Want::Report { .. } => "2.04",
                };
                assert_eq!(
                    code, expected,
                    "the answer to {:?} of lamp-{}",
                    asked.want, self.index
                );
                match asked.want {
                    Want::Observe => self.told(packet),
                    Want::Block => self.image.extend_from_slice(&packet.payload),
                    Want::Keepalive | Want::Report { .. } => {}
                }
            }
            (kind, code) => panic!("lamp-{} got a {kind:?} with {code}", self.index),
        }
    }

    fn told(&mut self, packet: &Packet) {
        // Without a deployment there is nothing to do.
        if packet.payload != [0xA0] {
            let manifest = Manifest::decode(&mut minicbor::Decoder::new(&packet.payload)).unwrap();
            if self.manifests.last() != Some(&manifest.sequence) {
                self.manifests.push(manifest.sequence);
            }
        }
    }

    /// An empty message.
    fn answer(&mut self, kind: u8, mid: u16) {
        let [high, low] = mid.to_be_bytes();
        self.send(&[kind, 0, high, low]);
    }

    fn send(&mut self, message: &[u8]) {
        let mut datagram = Vec::new();
        self.session
            .as_mut()
            .unwrap()
            .seal(message, &mut datagram)
            .unwrap();
        self.out.push(datagram);
    }

    /// Takes what the handshake has to say.
    fn proceed(&mut self) {
        let Some(handshake) = &mut self.handshake else {
            return;
        };
        let mut datagram = Vec::new();
        while handshake.poll_transmit(&mut datagram) {
            self.out.push(std::mem::take(&mut datagram));
        }
        if let Some(HandshakeEvent::Established(established)) = handshake.poll_event() {
            self.session = Some(established.session);
            self.handshakes += 1;
            self.handshake = None;
        }
    }

    fn transmit(&mut self, network: &Network) {
        for datagram in self.out.drain(..) {
            self.nonces.note(Side::Device, &datagram);
            network.send(self.index, &datagram);
            self.last_datagram = datagram;
        }
    }
}

impl Nonces {
    fn note(&mut self, side: Side, datagram: &[u8]) {
        let mut rest = datagram;
        while let Some((header, behind)) = rest.split_first_chunk::<13>() {
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let (body, next) = behind.split_at(length);
            if header[3..5] != [0, 0] {
                let number = header[3..11].try_into().unwrap();
                let nonce = body[..8].try_into().unwrap();
                let mut hasher = DefaultHasher::new();
                body.hash(&mut hasher);
                let record = hasher.finish();
                for (part, bytes) in [(Part::Header, number), (Part::Nonce, nonce)] {
                    let before = *self.seen.entry((side, part, bytes)).or_insert(record);
                    assert_eq!(
                        before, record,
                        "the {side:?} used the {part:?} {bytes:02x?} twice"
                    );
                }
            }
            rest = next;
        }
    }
}

fn request(method: RequestType, path: &[&str]) -> Packet {
    let mut packet = Packet::new();
    packet.header.code = MessageClass::Request(method);
    packet.header.set_type(MessageType::Confirmable);
    packet.set_token(vec![7]);
    for segment in path {
        packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
    }
    packet
}

/// The socket that all devices share.
struct Network {
    socket: UdpSocket,
    server: SockaddrIn,
}

impl Network {
    fn to(port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
        setsockopt(&socket, sockopt::RcvBuf, &(4 << 20)).unwrap();
        Self {
            socket,
            server: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// Sends from a device's address.
    fn send(&self, index: usize, datagram: &[u8]) {
        let [_, high, middle, low] = (index as u32 + 1).to_be_bytes();
        let source = Ipv4Addr::new(127, high + 1, middle, low);
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from_ne_bytes(source.octets()),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        // Nobody listens while the server is down, and a full queue is a datagram lost.
        let _ = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(datagram)],
            &[ControlMessage::Ipv4PacketInfo(&info)],
            MsgFlags::empty(),
            Some(&self.server),
        );
    }

    /// The next datagram, and whose it is. Waits a moment for it.
    fn receive(&self, buffer: &mut [u8]) -> Option<(usize, usize)> {
        let mut space = nix::cmsg_space!(libc::in_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let received = recvmsg::<SockaddrIn>(fd, &mut slices, Some(&mut space), MsgFlags::empty());
        let Ok(message) = received else {
            std::thread::sleep(Duration::from_millis(1));
            return None;
        };
        let to = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr.s_addr.to_ne_bytes()),
            _ => None,
        });
        let [_, high, middle, low] = to.expect("the kernel says where it went");
        let index = u32::from_be_bytes([0, high.wrapping_sub(1), middle, low]).wrapping_sub(1);
        Some((index as usize, message.bytes))
    }
}

/// How long something is waited for that takes a fleet seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Devices that shake hands, or wait for an answer, at a time: what fits the kernel's buffers.
const SHAKING_AT_ONCE: usize = 50;
const ASKING_AT_ONCE: usize = 100;
/// How often everybody is looked at for what is late.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const RESEND_AFTER: Duration = Duration::from_secs(2);
