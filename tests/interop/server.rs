//! A server on the DTLS core that sends everything back: one thread, one socket.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rand::RngExt;
use rand::rngs::StdRng;
use tessera::dtls::{
    Admission, CertifiedKey, CipherSuite, Claim, ConnectionId, CookieJar, FailureReason, HandshakeEvent,
    HandshakeFailure, Incoming, KeyDigest, RecordHeader, ServerConfig, ServerHandshake, Session, Timers,
    TrustAnchors, records, verify_chain,
};

use crate::tool::PATIENCE;
use crate::{CA, DEVICE, DEVICE_KEY, IDENTITY, SERVER, SERVER_KEY, our_key, pem};

pub struct Server {
    pub address: SocketAddr,
    events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Event {
    Established(Agreed),
    Failed(Refused),
    Moved,
    Closed,
}

/// What a handshake ended in.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreed {
    pub suite: CipherSuite,
    pub extended_master_secret: bool,
    pub connection_id: Option<ConnectionId>,
}

/// Why there is no session, and who it would have been.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: FailureReason,
    pub claim: Option<String>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(PATIENCE, 0)
    }

    /// A wrong key is only known for one when the deadline passes: until then a better Finished may come.
    pub fn with_deadline(deadline: Duration) -> Self {
        Self::start_with(deadline, 0)
    }

    /// With its certificates, its first flight fills two datagrams. libcoap takes no longer chain.
    pub fn with_long_chain() -> Self {
        Self::start_with(PATIENCE, 2)
    }

    fn start_with(deadline: Duration, superfluous: usize) -> Self {
        let config = ServerConfig {
            timers: Timers {
                deadline,
                ..Timers::default()
            },
            certificate: Some(Arc::new(certified(SERVER, superfluous, SERVER_KEY))),
            raw_public_keys: true,
            ..ServerConfig::default()
        };
        let anchors = TrustAnchors::from_pem(&std::fs::read(pem(CA)).unwrap()).unwrap();
        Self::with(config, anchors, certified(DEVICE, 0, DEVICE_KEY).key_digest())
    }

    /// Lets in whom the anchors vouch for, who has this raw key, and the device with our pre-shared key.
    pub fn with(config: ServerConfig, anchors: TrustAnchors, raw_key: KeyDigest) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, events) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut state = ServerLoop {
            jar: CookieJar::new([1; 32], Instant::now()),
            config: Arc::new(config),
            anchors,
            raw_key,
            address,
            peers: HashMap::new(),
            by_id: HashMap::new(),
            events: sender,
            socket,
        };
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                state.turn();
            }
        });
        Self {
            address,
            events,
            stop,
            thread: Some(thread),
        }
    }

    pub fn established(&self) -> Agreed {
        match self.event() {
            Event::Established(agreed) => agreed,
            other => panic!("not established: {other:?}"),
        }
    }

    pub fn failed(&self) -> Refused {
        match self.event() {
            Event::Failed(refused) => refused,
            other => panic!("did not fail: {other:?}"),
        }
    }

    pub fn assert_moved(&self) {
        let event = self.event();
        assert!(matches!(event, Event::Moved), "{event:?}");
    }

    pub fn assert_closed(&self) {
        let event = self.event();
        assert!(matches!(event, Event::Closed), "{event:?}");
    }

    fn event(&self) -> Event {
        self.events
            .recv_timeout(PATIENCE)
            .expect("the server has something to tell")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

struct ServerLoop {
    jar: CookieJar,
    config: Arc<ServerConfig>,
    anchors: TrustAnchors,
    /// The device's key, which it may show without a certificate.
    raw_key: KeyDigest,
    address: SocketAddr,
    peers: HashMap<SocketAddr, Peer>,
    /// Where whoever writes this on its records was seen last.
    by_id: HashMap<ConnectionId, SocketAddr>,
    events: Sender<Event>,
    socket: UdpSocket,
}

#[derive(Default)]
struct Peer {
    handshake: Option<ServerHandshake>,
    /// What a datagram ended it in.
    refused: Option<HandshakeFailure>,
    session: Option<Session>,
}

impl ServerLoop {
    fn turn(&mut self) {
        let mut datagram = [0; 2048];
        let received = self.socket.recv_from(&mut datagram);
        let now = Instant::now();
        if let Ok((length, from)) = received {
            self.handle(now, from, &mut datagram[..length]);
        }
        for (address, peer) in &mut self.peers {
            let Some(handshake) = &mut peer.handshake else {
                continue;
            };
            let (mut ended, mut established) = (None, None);
            while let Some(event) = handshake.poll_event() {
                match event {
                    HandshakeEvent::KeyWanted(identity) => {
                        let key = (identity.as_bytes() == IDENTITY.as_bytes()).then(our_key);
                        let mut rng: StdRng = rand::make_rng();
                        handshake.provide_key(now, key.as_ref(), &mut rng).unwrap();
                    }
                    HandshakeEvent::ChainPresented(chain) => {
                        match verify_chain(&chain, &self.anchors, unix_s(SystemTime::now())) {
                            Ok(_) => handshake.accept_peer(now).unwrap(),
                            Err(fault) => ended = Some(handshake.refuse_peer(fault)),
                        }
                    }
                    HandshakeEvent::RawKeyPresented(digest) => {
                        assert_eq!(digest, self.raw_key);
                        handshake.accept_peer(now).unwrap();
                    }
                    HandshakeEvent::Established(now_it_is) => established = Some(now_it_is),
                }
            }
            let ended = ended.or_else(|| handshake.handle_timeout(now).err());
            let mut datagram = Vec::new();
            while handshake.poll_transmit(&mut datagram) {
                self.socket.send_to(&datagram, address).unwrap();
                datagram.clear();
            }
            if let Some(failure) = ended.or(peer.refused.take()) {
                if let Some(alert) = failure.alert() {
                    self.socket.send_to(alert, address).unwrap();
                }
                let _ = self.events.send(Event::Failed(Refused {
                    reason: failure.reason(),
                    claim: failure.claim().map(Claim::to_string),
                }));
                peer.handshake = None;
            } else if let Some(established) = established {
                match &established.claim {
                    Claim::Psk(identity) => assert_eq!(identity.as_bytes(), IDENTITY.as_bytes()),
                    Claim::Certificate(facts) => assert!(facts.to_string().contains("lamp-1"), "{facts}"),
                    Claim::RawKey(digest) => assert_eq!(*digest, self.raw_key),
                }
                let session = established.session;
                let _ = self.events.send(Event::Established(Agreed {
                    suite: session.suite(),
                    extended_master_secret: session.extended_master_secret(),
                    connection_id: session.connection_id(),
                }));
                peer.session = Some(session);
                peer.handshake = None;
            }
        }
    }

    fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let mut reply = Vec::new();
        match self.jar.admit(now, from, self.address, datagram, &mut reply) {
            Admission::Challenged => {
                self.socket.send_to(&reply, from).unwrap();
                return;
            }
            Admission::Dropped(reason) => panic!("a hello was dropped: {reason:?}"),
            Admission::Verified(hello) => {
                let peer = self.peers.entry(from).or_default();
                if let Some(handshake) = peer
                    .handshake
                    .as_mut()
                    .filter(|handshake| handshake.began_with(&hello))
                {
                    peer.refused = handshake.handle_datagram(now, datagram).err();
                    return;
                }
                let mut rng: StdRng = rand::make_rng();
                let id = hello
                    .offers_connection_id()
                    .then(|| ConnectionId::new(rng.random()));
                match ServerHandshake::new(&self.config, hello, id, now, &mut rng) {
                    Ok(handshake) => {
                        peer.handshake = Some(handshake);
                        self.by_id.extend(id.map(|id| (id, from)));
                    }
                    Err(failure) => {
                        self.socket.send_to(failure.alert().unwrap(), from).unwrap();
                        let _ = self.events.send(Event::Failed(Refused {
                            reason: failure.reason(),
                            claim: None,
                        }));
                    }
                }
                return;
            }
            Admission::NotAClientHello => {}
        }
        let known = RecordHeader::connection_id(datagram)
            .and_then(|id| self.by_id.get(&id).copied())
            .unwrap_or(from);
        let Some(peer) = self.peers.get_mut(&known) else {
            return;
        };
        if let Some(handshake) = &mut peer.handshake {
            peer.refused = handshake.handle_datagram(now, datagram).err();
            return;
        }
        let Some(session) = &mut peer.session else { return };
        let (mut over, mut moved) = (false, false);
        for record in records(datagram) {
            let mut answer = Vec::new();
            match session.handle_record(record) {
                Incoming::Data { message, newest } => {
                    moved = newest && known != from;
                    if let Some(data) = answer_to(message) {
                        session.seal(&data, &mut answer).unwrap();
                    }
                }
                Incoming::ResendFlight => session.repeat_last_flight(&mut answer).unwrap(),
                Incoming::PathChallenge(challenge) => {
                    session.answer_challenge(challenge, &mut answer).unwrap();
                }
                Incoming::Closed => {
                    session.close(&mut answer);
                    over = true;
                }
                Incoming::Ignored(_) => {}
            }
            if !answer.is_empty() {
                self.socket.send_to(&answer, from).unwrap();
            }
        }
        if over {
            peer.session = None;
            let _ = self.events.send(Event::Closed);
        } else if moved {
            let peer = self.peers.remove(&known).unwrap();
            self.by_id.extend(
                peer.session
                    .iter()
                    .filter_map(Session::connection_id)
                    .map(|id| (id, from)),
            );
            self.peers.insert(from, peer);
            let _ = self.events.send(Event::Moved);
        }
    }
}

pub fn unix_s(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_secs().try_into().unwrap()
}

/// A certificate with its issuer's so many times behind it.
fn certified(certificate: &str, issuers: usize, key: &str) -> CertifiedKey {
    let [own, issuer, key] = [certificate, CA, key].map(|name| std::fs::read(pem(name)).unwrap());
    CertifiedKey::from_pem(&[own, issuer.repeat(issuers)].concat(), &key).unwrap()
}

/// The same again. A confirmable request of CoAP gets a piggybacked answer (RFC 7252 section 4.2) that greets; one for
/// [`SILENT`] gets none.
fn answer_to(message: &[u8]) -> Option<Vec<u8>> {
    let confirmable_get = |head: &[u8]| head[0] & 0xf0 == 0x40 && head[1] == 0x01;
    let Some(head) = message.get(..4).filter(|head| confirmable_get(head)) else {
        return Some(message.to_vec());
    };
    if message.ends_with(SILENT.as_bytes()) {
        return None;
    }
    let token = message.get(4..4 + usize::from(head[0] & 0x0f))?;
    let (acknowledgement, content) = (0x60 | head[0] & 0x0f, 0x45);
    let start = [acknowledgement, content, head[2], head[3]];
    Some([&start, token, &[0xff], GREETING.as_bytes()].concat())
}

/// What everybody hears who asks for anything in CoAP.
pub const GREETING: &str = "is there anybody?";
/// The path of a resource that never answers.
pub const SILENT: &str = "silent";
