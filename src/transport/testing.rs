//! What the tests of this module share: a device with a DTLS client and no socket, and somebody to answer it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::handler::{
    Disposition, EndReason, Handler, KeySource, Notification, Overdue, Principal, RequestContext,
    SessionFacts,
};
use super::inbox::{
    self, Answer, CertificateTicket, Inbox, KeyTicket, Mailbox, NameTicket, RestoredTicket, Ticket,
    TicketOrigin, mailbox,
};
use crate::clock;
use crate::coap::{
    Code, Kind, MAX_PENDING, Message, MessageId, MessageWriter, Relation, Reply, Request, ResponseHead,
    Token, block, wire,
};
use crate::dtls::{
    Admission, ChainFault, Claim, ClientConfig, ClientCredential, ClientHandshake, CookieJar, FailureReason,
    HandshakeEvent, Identity, Incoming, OfferedConnectionId, PeerChain, Psk, ServerConfig, ServerHandshake,
    Session, fixtures, records, verify_chain,
};
use crate::telemetry::Route;

/// Device number N: identity `device-N`, key `secret-N`, name `device-N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thing(pub u64);

impl Principal for Thing {
    fn key(&self) -> u64 {
        self.0
    }
}

/// Knows every [`Thing`], keeps one number that they may observe at `/version`, `/copy` and, with many zeros before it, `/long` (0 is told to nobody), and answers
/// `/later` and `/cold` when told to (`/cold` or never), and has no room at `/full`.
#[derive(Debug)]
pub struct House {
    pub version: AtomicU32,
    pub log: Mutex<Vec<Seen>>,
    pub tickets: Mutex<Vec<Ticket<Thing>>>,
    /// After so many blocks of `/big` the shard's thread stops for ever, as if the process had.
    pub stall_after: AtomicU32,
    /// Key tickets of identities `slow-N`, until somebody completes them.
    pub slow: Mutex<Vec<(u64, KeyTicket<Thing>)>>,
    /// The same of certificates, while [`Self::thinks_about_certificates`].
    pub certificates: Mutex<Vec<(u64, CertificateTicket<Thing>)>>,
    pub thinks_about_certificates: AtomicBool,
    /// The same of restored sessions with such a credential.
    pub slow_restored: Mutex<Vec<RestoredTicket<Thing>>>,
    /// Credentials that are no more.
    pub retired: Mutex<Vec<u64>>,
}

/// What the house was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Connected {
        device: u64,
        serial: u64,
        restored: bool,
    },
    Disconnected {
        device: u64,
        serial: u64,
        why: EndReason,
    },
    Moved {
        device: u64,
        serial: u64,
        peer: SocketAddr,
    },
    Acknowledged {
        device: u64,
        version: u32,
    },
    Proven {
        device: u64,
        serial: u64,
    },
    Failed {
        identity: Option<String>,
        reason: FailureReason,
    },
}

impl House {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            version: AtomicU32::new(1),
            log: Mutex::default(),
            tickets: Mutex::default(),
            stall_after: AtomicU32::new(u32::MAX),
            slow: Mutex::default(),
            certificates: Mutex::default(),
            thinks_about_certificates: AtomicBool::new(false),
            slow_restored: Mutex::default(),
            retired: Mutex::default(),
        })
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    fn see(&self, seen: Seen) {
        println!("{seen:?}");
        self.log.lock().unwrap().push(seen);
    }

    fn number(text: &str, prefix: &str) -> Option<u64> {
        text.strip_prefix(prefix)?.parse().ok()
    }
}

/// What `/big` holds.
pub fn big() -> Vec<u8> {
    (0..40_000_u32).map(|n| ((n * n) >> 7) as u8).collect()
}

/// The credential of device 1 is one more than this.
pub const CREDENTIAL: u64 = 100;
/// The credential of `slow-1` is one more than this.
pub const SLOW_CREDENTIAL: u64 = 1000;

pub fn secret(number: u64) -> Psk {
    Psk::new(format!("secret-{number}").as_bytes()).unwrap()
}

impl KeySource for House {
    type Device = Thing;

    fn psk(&self, identity: &Identity, ticket: KeyTicket<Thing>) {
        let identity = identity.to_string();
        if let Some(number) = Self::number(&identity, "device-") {
            ticket.found(Thing(number), number + CREDENTIAL, secret(number));
        } else if let Some(number) = Self::number(&identity, "slow-") {
            self.slow.lock().unwrap().push((number, ticket));
        } else {
            ticket.unknown();
        }
    }

    fn certificate(&self, chain: &PeerChain, ticket: CertificateTicket<Thing>) {
        let facts = match verify_chain(chain, &fixtures::anchors(), fixtures::NOW) {
            Ok((facts, _)) => facts,
            Err(fault) => return ticket.refused(fault),
        };
        let name = facts.common_name.unwrap_or_default();
        let Some(number) = Self::number(&name, "lamp-") else {
            return ticket.refused(ChainFault::UnknownDevice);
        };
        if self.thinks_about_certificates.load(Ordering::SeqCst) {
            self.certificates.lock().unwrap().push((number, ticket));
        } else {
            ticket.accepted(Thing(number), number + CREDENTIAL);
        }
    }

    fn restored(&self, device: u64, credential: u64, ticket: RestoredTicket<Thing>) {
        if credential == device + SLOW_CREDENTIAL {
            self.slow_restored.lock().unwrap().push(ticket);
        } else if credential == device + CREDENTIAL && !self.retired.lock().unwrap().contains(&credential) {
            ticket.found(Thing(device));
        } else {
            ticket.gone();
        }
    }

    fn named(&self, name: &str, ticket: NameTicket<Thing>) {
        match Self::number(name, "device-") {
            Some(number) => ticket.found(Thing(number)),
            None => ticket.unknown(),
        }
    }

    fn handshake_failed(&self, claim: Option<&Claim>, _peer: SocketAddr, reason: FailureReason) {
        self.see(Seen::Failed {
            identity: claim.map(ToString::to_string),
            reason,
        });
    }
}

impl Handler for House {
    type Device = Thing;

    fn connected(&self, device: &Thing, session: &SessionFacts) {
        self.see(Seen::Connected {
            device: device.0,
            serial: session.serial,
            restored: session.restored,
        });
    }

    fn moved(&self, device: &Thing, serial: u64, peer: SocketAddr) {
        self.see(Seen::Moved {
            device: device.0,
            serial,
            peer,
        });
    }

    fn disconnected(&self, device: &Thing, serial: u64, why: EndReason) {
        self.see(Seen::Disconnected {
            device: device.0,
            serial,
            why,
        });
    }

    fn request(
        &self,
        context: &RequestContext<'_, Thing>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Disposition {
        let observed = [("version", 1), ("copy", 2), ("long", 3)];
        let observed = observed.into_iter().find(|(path, _)| request.path_is(&[path]));
        if let Some((_, resource)) = observed {
            let version = self.version.load(Ordering::SeqCst);
            let head = ResponseHead {
                observe: true,
                ..ResponseHead::new(Code::CONTENT)
            };
            let width = if resource == 3 { 200 } else { 0 };
            reply.respond(
                &head,
                format!("{}:{version:0width$}", context.device.0).as_bytes(),
            );
            Disposition::Observing {
                route: Route::Desired,
                resource,
                version,
            }
        } else if request.path_is(&["later"]) {
            self.tickets.lock().unwrap().push(context.defer());
            Disposition::Deferred {
                route: Route::Report,
                overdue: if context.is_proven {
                    Overdue::Unavailable
                } else {
                    Overdue::Taken
                },
            }
        } else if request.path_is(&["cold"]) && context.waiting >= MAX_PENDING {
            Disposition::NotNow
        } else if request.path_is(&["cold"]) {
            self.tickets.lock().unwrap().push(context.defer());
            Disposition::Deferred {
                route: Route::Artifact,
                overdue: Overdue::Lost,
            }
        } else if request.path_is(&["full"]) {
            Disposition::NotNow
        } else if request.path_is(&["big"]) {
            if self.stall_after.fetch_sub(1, Ordering::SeqCst) == 0 {
                println!("\nstalled");
                loop {
                    std::thread::park();
                }
            }
            let body = big();
            match block::slice(body.len() as u64, request.block2) {
                Ok(slice) => {
                    let head = ResponseHead {
                        block2: slice.block2,
                        ..ResponseHead::new(Code::CONTENT)
                    };
                    reply.respond(&head, &body[slice.range.start as usize..slice.range.end as usize]);
                }
                Err(_) => reply.code(Code::BAD_REQUEST),
            }
            Disposition::Answered {
                route: Route::Artifact,
            }
        } else {
            reply.code(Code::NOT_FOUND);
            Disposition::Answered { route: Route::Other }
        }
    }

    fn notification(
        &self,
        device: &Thing,
        relation: &Relation,
        forced: bool,
        reply: &mut Reply<'_>,
    ) -> Notification {
        let version = self.version.load(Ordering::SeqCst);
        if version == 0 || (!forced && version == relation.sent) {
            return Notification::Unchanged;
        }
        let head = ResponseHead {
            observe: true,
            ..ResponseHead::new(Code::CONTENT)
        };
        reply.respond(&head, format!("{}:{version}", device.0).as_bytes());
        Notification::Written { version }
    }

    fn doubted(&self, _device: &Thing, _serial: u64) {
        self.tickets.lock().unwrap().clear();
    }

    fn proven(&self, device: &Thing, serial: u64) {
        self.see(Seen::Proven {
            device: device.0,
            serial,
        });
    }

    fn acknowledged(&self, device: &Thing, relation: &Relation) {
        self.see(Seen::Acknowledged {
            device: device.0,
            version: relation.sent,
        });
    }
}

/// Takes the tickets of a handler that has no shard.
pub struct Desk<D> {
    /// What it says of how many requests wait.
    pub waiting: usize,
    /// What it says of the device.
    pub is_proven: bool,
    mailbox: Mailbox<D>,
    inbox: Inbox<D>,
}

impl<D> std::fmt::Debug for Desk<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl<D> Default for Desk<D> {
    fn default() -> Self {
        let (mailbox, inbox) = mailbox();
        Self {
            waiting: 0,
            is_proven: true,
            mailbox,
            inbox,
        }
    }
}

impl<D: Send + Sync> Desk<D> {
    /// The circumstances of a request of `device`.
    pub fn context<'a>(&'a self, device: &'a D) -> RequestContext<'a, D> {
        RequestContext {
            device,
            serial: 1,
            peer: "192.0.2.1:5000".parse().unwrap(),
            now: clock::now(),
            unix_ms: 1_800_000_000_000,
            is_proven: self.is_proven,
            max_message: 1152,
            waiting: self.waiting,
            origin: TicketOrigin {
                mailbox: &self.mailbox,
                request: 1,
            },
        }
    }

    /// Whether no ticket has brought an answer.
    pub fn is_empty(&self) -> bool {
        self.inbox.messages.is_empty()
    }

    /// Waits for the next answer that a ticket brings, and writes it.
    pub fn answer(&mut self, reply: &mut Reply<'_>) {
        let messages = &mut self.inbox.messages;
        // On a thread of its own, for the test's may be one of a runtime.
        let message = std::thread::scope(|scope| scope.spawn(|| messages.blocking_recv()).join().unwrap());
        let Some(inbox::Message::Answer { answer, .. }) = message else {
            panic!("no answer")
        };
        match answer {
            Answer::Code(code) => reply.code(code),
            Answer::Written(write) => write(reply),
            Answer::Nothing => {}
        }
    }
}

/// A session, as a server has it after a handshake that nobody disturbed.
pub fn session() -> Session {
    let now = clock::now();
    let mut rng = StdRng::seed_from_u64(1);
    let jar = CookieJar::new([1; 32], now);
    let (peer, local) = (
        "192.0.2.1:5000".parse().unwrap(),
        "192.0.2.2:5684".parse().unwrap(),
    );
    let config = Arc::new(ServerConfig::default());
    let mut device = Device::new(1);
    let mut server: Option<ServerHandshake> = None;
    device.boot(now);
    loop {
        let mut answers = Vec::new();
        for mut datagram in std::mem::take(&mut device.out) {
            let mut reply = Vec::new();
            match jar.admit(now, peer, local, &datagram, &mut reply) {
                Admission::Challenged => answers.push(reply),
                Admission::Verified(hello) => {
                    server = Some(ServerHandshake::new(&config, hello, None, now, &mut rng).unwrap());
                }
                Admission::NotAClientHello | Admission::Dropped(_) => {
                    server
                        .as_mut()
                        .unwrap()
                        .handle_datagram(now, &mut datagram)
                        .unwrap();
                }
            }
        }
        let Some(server) = &mut server else {
            answers.iter_mut().for_each(|answer| device.handle(now, answer));
            continue;
        };
        while let Some(event) = server.poll_event() {
            match event {
                HandshakeEvent::KeyWanted(_) => server.provide_key(now, Some(&secret(1)), &mut rng).unwrap(),
                HandshakeEvent::ChainPresented(_) | HandshakeEvent::RawKeyPresented(_) => {
                    unreachable!("the device has a pre-shared key")
                }
                HandshakeEvent::Established(established) => return established.session,
            }
        }
        let mut answer = Vec::new();
        while server.poll_transmit(&mut answer) {
            answers.push(std::mem::take(&mut answer));
        }
        answers.iter_mut().for_each(|answer| device.handle(now, answer));
    }
}

/// A device's side of the wire: datagrams in, datagrams out.
pub struct Device {
    pub number: u64,
    handshake: Option<ClientHandshake>,
    pub session: Option<Session>,
    pub out: Vec<Vec<u8>>,
    /// Messages received and not looked at yet.
    pub messages: Vec<Vec<u8>>,
    /// The gateway has said goodbye.
    pub closed: bool,
    /// The handshake is over without a session.
    pub failed: bool,
    /// What it announces in its next handshake.
    pub record_size_limit: Option<u16>,
    /// What it says of connection IDs there.
    pub connection_id: OfferedConnectionId,
    /// Of the next requests.
    pub token: Token,
    pub mid: u16,
    rng: StdRng,
}

/// A message as a test wants to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub kind: Kind,
    pub code: Code,
    pub mid: MessageId,
    pub token: Token,
    pub observe: Option<u32>,
    pub payload: String,
}

impl Device {
    pub fn new(number: u64) -> Self {
        println!("device {number}: seed {number}");
        Self {
            number,
            handshake: None,
            session: None,
            out: Vec::new(),
            messages: Vec::new(),
            closed: false,
            failed: false,
            record_size_limit: None,
            connection_id: OfferedConnectionId::None,
            token: Token::from([7; 8]),
            mid: 100,
            rng: StdRng::seed_from_u64(number),
        }
    }

    /// Forgets everything, as a reboot does, and begins a handshake.
    pub fn boot(&mut self, now: Instant) {
        let identity = format!("device-{}", self.number);
        self.boot_as(now, &identity, &secret(self.number));
    }

    pub fn boot_as(&mut self, now: Instant, identity: &str, key: &Psk) {
        let identity = Identity::new(identity.as_bytes()).unwrap();
        let key = key.clone();
        self.boot_with(now, ClientCredential::Psk { identity, key });
    }

    pub fn boot_with(&mut self, now: Instant, credential: ClientCredential) {
        let config = Arc::new(ClientConfig {
            record_size_limit: self.record_size_limit,
            connection_id: self.connection_id,
            ..ClientConfig::default()
        });
        self.session = None;
        self.failed = false;
        self.closed = false;
        self.messages.clear();
        let handshake = ClientHandshake::with_credential(&config, credential, now, &mut self.rng);
        self.handshake = Some(handshake);
        self.drive();
    }

    pub fn handle(&mut self, now: Instant, datagram: &mut [u8]) {
        if let Some(handshake) = &mut self.handshake {
            if handshake.handle_datagram(now, datagram).is_err() {
                self.failed = true;
                self.handshake = None;
            }
            return self.drive();
        }
        let Some(session) = &mut self.session else { return };
        for record in records(datagram) {
            match session.handle_record(record) {
                Incoming::Data { message, .. } => self.messages.push(message.to_vec()),
                Incoming::Closed => self.closed = true,
                Incoming::ResendFlight | Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
            }
        }
    }

    /// Repeats its flight if it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(handshake) = &mut self.handshake
            && handshake.poll_timeout().is_some_and(|due| due <= now)
        {
            if handshake.handle_timeout(now).is_err() {
                self.failed = true;
                self.handshake = None;
            }
            self.drive();
        }
    }

    /// Sends a message, sealed if there is a session.
    pub fn send(&mut self, message: &[u8]) {
        let mut datagram = Vec::new();
        match &mut self.session {
            Some(session) => {
                session.seal(message, &mut datagram).unwrap();
            }
            None => datagram.extend_from_slice(message),
        }
        self.out.push(datagram);
    }

    /// Sends a request of one path segment and returns its message ID.
    pub fn request(
        &mut self,
        method: Code,
        path: &str,
        observe: Option<u32>,
        query: Option<&str>,
    ) -> MessageId {
        self.mid += 1;
        let mid = MessageId(self.mid);
        let mut message = Vec::new();
        let mut writer = MessageWriter::new(&mut message, Kind::Confirmable, method, mid, self.token);
        if let Some(observe) = observe {
            writer.uint(wire::number::OBSERVE, observe);
        }
        writer.option(wire::number::URI_PATH, path.as_bytes());
        if let Some(query) = query {
            writer.option(wire::number::URI_QUERY, query.as_bytes());
        }
        self.send(&message);
        mid
    }

    pub fn acknowledge(&mut self, mid: MessageId) {
        let mut message = Vec::new();
        wire::write_empty(&mut message, Kind::Acknowledgement, mid);
        self.send(&message);
    }

    /// The oldest message not looked at.
    pub fn told(&mut self) -> Option<Told> {
        if self.messages.is_empty() {
            return None;
        }
        Some(told(&self.messages.remove(0)))
    }

    fn drive(&mut self) {
        let Some(handshake) = &mut self.handshake else {
            return;
        };
        loop {
            let mut datagram = Vec::new();
            if !handshake.poll_transmit(&mut datagram) {
                break;
            }
            self.out.push(datagram);
        }
        while let Some(event) = handshake.poll_event() {
            match event {
                HandshakeEvent::KeyWanted(_)
                | HandshakeEvent::ChainPresented(_)
                | HandshakeEvent::RawKeyPresented(_) => unreachable!("a client asks nobody"),
                HandshakeEvent::Established(established) => self.session = Some(established.session),
            }
        }
        if self.session.is_some() {
            self.handshake = None;
        }
    }
}

pub fn told(message: &[u8]) -> Told {
    let message = Message::parse(message).unwrap();
    Told {
        kind: message.kind,
        code: message.code,
        mid: message.mid,
        token: message.token,
        observe: message.option(wire::number::OBSERVE).and_then(wire::uint),
        payload: String::from_utf8(message.payload.to_vec()).unwrap(),
    }
}
