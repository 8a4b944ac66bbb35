//! Both halves against each other over a network that loses, repeats and reorders, in virtual time.

mod certified;
mod chains;
mod connection_id;
pub mod fixtures;
mod handshake;
mod hostile;
mod known_answers;
mod lossy;
mod suites;
mod withstand;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{
    Admission, ChainFault, CipherSuite, Claim, ClientConfig, ClientCredential, ClientHandshake, ConnectionId,
    CookieJar, Established, FailureReason, HandshakeEvent, HandshakeFailure, Identity, Incoming,
    OfferedConnectionId, PeerChain, Psk, ServerConfig, ServerHandshake, Session, records,
};

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    ToServer,
    ToClient,
}

/// What the network does to a datagram: how long each copy of it takes. No copy at all is a loss.
pub type Fate = Vec<Duration>;

/// A client, a server, and the network between them.
pub struct Simulation {
    pub start: Instant,
    pub now: Instant,
    pub client: Client,
    pub server: Server,
    /// Every datagram sent, in order.
    pub sent: Vec<(Way, Vec<u8>)>,
    in_flight: BTreeMap<(Instant, u64), (Way, Vec<u8>)>,
    next_id: u64,
}

pub struct Client {
    pub handshake: ClientHandshake,
    pub outcome: Option<Result<Session, HandshakeFailure>>,
    pub received: Vec<Vec<u8>>,
    pub closed: bool,
}

pub struct Server {
    pub jar: CookieJar,
    pub config: Arc<ServerConfig>,
    pub key: Option<Psk>,
    /// What it wants on records, where the client can do that.
    pub connection_id: Option<ConnectionId>,
    /// What it thinks of certificates and bare keys.
    pub verdict: Result<(), ChainFault>,
    /// How long the store takes to find a key, or to think.
    pub lookup: Duration,
    pub wanted: Option<(Instant, Wanted)>,
    pub handshake: Option<ServerHandshake>,
    pub session: Option<Session>,
    pub claim: Option<Claim>,
    pub established: usize,
    pub failures: Vec<HandshakeFailure>,
    /// Of failures that no datagram caused.
    pub alerts: Vec<Vec<u8>>,
    pub received: Vec<Vec<u8>>,
    pub closed: bool,
    pub rng: StdRng,
}

/// What a server asks its owner.
#[derive(Debug)]
pub enum Wanted {
    Key,
    Chain(PeerChain),
    RawKey,
}

impl Simulation {
    /// The client proves itself by what the first of its suites wants.
    pub fn new(client: ClientConfig, server: ServerConfig, seed: u64) -> Self {
        if client.suites.first().is_none_or(|suite| suite.has_psk()) {
            return Self::with_keys(client, server, seed, identity(), psk(), Some(psk()));
        }
        let credential = ClientCredential::Certificate(Arc::new(fixtures::device()));
        Self::with_credential(client, server, seed, credential, None)
    }

    pub fn with_keys(
        client: ClientConfig,
        server: ServerConfig,
        seed: u64,
        identity: Identity,
        client_key: Psk,
        server_key: Option<Psk>,
    ) -> Self {
        let key = client_key;
        let credential = ClientCredential::Psk { identity, key };
        Self::with_credential(client, server, seed, credential, server_key)
    }

    /// The server has a certificate, whatever else it is told.
    pub fn with_credential(
        client: ClientConfig,
        mut server: ServerConfig,
        seed: u64,
        credential: ClientCredential,
        server_key: Option<Psk>,
    ) -> Self {
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        server
            .certificate
            .get_or_insert_with(|| Arc::new(fixtures::server()));
        let handshake = ClientHandshake::with_credential(&Arc::new(client), credential, start, &mut rng);
        Self {
            start,
            now: start,
            client: Client {
                handshake,
                outcome: None,
                received: Vec::new(),
                closed: false,
            },
            server: Server {
                jar: CookieJar::new([42; 32], start),
                config: Arc::new(server),
                key: server_key,
                connection_id: None,
                verdict: Ok(()),
                lookup: Duration::ZERO,
                wanted: None,
                handshake: None,
                session: None,
                claim: None,
                established: 0,
                failures: Vec::new(),
                alerts: Vec::new(),
                received: Vec::new(),
                closed: false,
                rng,
            },
            sent: Vec::new(),
            in_flight: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Runs until nothing is on the way and no timer of an open handshake is left, or `until` says so.
    pub fn run(&mut self, mut fate: impl FnMut(usize, Way, &[u8]) -> Fate, until: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            self.flush(&mut fate);
            if until(self) {
                return;
            }
            let arrival = self.in_flight.keys().next().map(|(at, _)| *at);
            let client = self
                .client
                .outcome
                .is_none()
                .then(|| self.client.handshake.poll_timeout())
                .flatten();
            let server = self
                .server
                .handshake
                .as_ref()
                .and_then(ServerHandshake::poll_timeout);
            let lookup = self.server.wanted.as_ref().map(|(at, _)| *at);
            let Some(next) = [arrival, client, server, lookup].into_iter().flatten().min() else {
                return;
            };
            self.now = self.now.max(next);
            if let Some(entry) = self.in_flight.first_entry()
                && entry.key().0 <= self.now
            {
                let (way, datagram) = entry.remove();
                self.deliver(way, datagram);
                continue;
            }
            let alert = self.server.lookup_done(self.now);
            self.server.alerts.extend(alert);
            if client.is_some_and(|at| at <= self.now)
                && let Err(failure) = self.client.handshake.handle_timeout(self.now)
            {
                self.client.outcome = Some(Err(failure));
            }
            if server.is_some_and(|at| at <= self.now)
                && let Some(handshake) = &mut self.server.handshake
                && let Err(failure) = handshake.handle_timeout(self.now)
            {
                self.server.failures.push(failure);
                self.server.handshake = None;
            }
        }
        panic!("never came to rest");
    }

    /// Runs over a network that loses nothing.
    pub fn run_well(&mut self) {
        self.run(|_, _, _| well(), |_| false);
    }

    /// Both sides' sessions, after a handshake that went well.
    pub fn into_sessions(mut self) -> (Session, Session) {
        self.run_well();
        let server = self.server.session.expect("the server has a session");
        let client = self
            .client
            .outcome
            .expect("the client is done")
            .expect("the client has a session");
        (client, server)
    }

    /// Both have the session, and what one seals the other opens.
    pub fn assert_agreed(&mut self) {
        let Some(Ok(client)) = &mut self.client.outcome else {
            panic!("the client has no session: {:?}", self.client.outcome)
        };
        let server = self.server.session.as_mut().expect("the server has a session");
        assert_eq!(client.suite(), server.suite());
        assert_eq!(client.extended_master_secret(), server.extended_master_secret());
        assert_speaking(client, server);
        assert_speaking(server, client);
    }

    pub fn deliver(&mut self, way: Way, mut datagram: Vec<u8>) {
        match way {
            Way::ToServer => {
                let answers = self.server.handle(self.now, &mut datagram);
                for answer in answers {
                    self.post(Way::ToClient, answer, well());
                }
            }
            Way::ToClient => self.client.handle(self.now, &mut datagram),
        }
    }

    pub fn post(&mut self, way: Way, datagram: Vec<u8>, fate: Fate) {
        for delay in fate {
            self.next_id += 1;
            self.in_flight
                .insert((self.now + delay, self.next_id), (way, datagram.clone()));
        }
    }

    fn flush(&mut self, fate: &mut impl FnMut(usize, Way, &[u8]) -> Fate) {
        // A key that is found may be all that the next flight waits for, so events come first.
        self.server.take_events(self.now);
        for alert in std::mem::take(&mut self.server.alerts) {
            self.sent.push((Way::ToClient, alert.clone()));
            self.post(Way::ToClient, alert, well());
        }
        if let Some(HandshakeEvent::Established(established)) = self.client.handshake.poll_event() {
            self.client.outcome = Some(Ok(established.session));
        }
        loop {
            let mut out = Vec::new();
            let way = if self.client.handshake.poll_transmit(&mut out) {
                Way::ToServer
            } else if self
                .server
                .handshake
                .as_mut()
                .is_some_and(|server| server.poll_transmit(&mut out))
            {
                Way::ToClient
            } else {
                break;
            };
            let fate = fate(self.sent.len(), way, &out);
            self.sent.push((way, out.clone()));
            self.post(way, out, fate);
        }
    }
}

impl Client {
    pub fn handle(&mut self, now: Instant, datagram: &mut [u8]) {
        match &mut self.outcome {
            Some(Ok(session)) => {
                for record in records(datagram) {
                    match session.handle_record(record) {
                        Incoming::Data { message, .. } => self.received.push(message.to_vec()),
                        Incoming::Closed => self.closed = true,
                        Incoming::ResendFlight | Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
                    }
                }
            }
            Some(Err(_)) => {}
            None => {
                if let Err(failure) = self.handshake.handle_datagram(now, datagram) {
                    self.outcome = Some(Err(failure));
                }
            }
        }
    }
}

impl Server {
    /// Why its handshakes failed, in order.
    pub fn reasons(&self) -> Vec<FailureReason> {
        self.failures.iter().map(HandshakeFailure::reason).collect()
    }

    /// What a shard does with a datagram of one peer.
    pub fn handle(&mut self, now: Instant, datagram: &mut [u8]) -> Vec<Vec<u8>> {
        let mut reply = Vec::new();
        match self.jar.admit(now, PEER, LOCAL, datagram, &mut reply) {
            Admission::Challenged => return vec![reply],
            Admission::Dropped(_) => return Vec::new(),
            Admission::Verified(hello) => {
                if let Some(handshake) = &mut self.handshake
                    && handshake.began_with(&hello)
                {
                    handshake
                        .handle_datagram(now, datagram)
                        .expect("a repeated hello ends nothing");
                    return Vec::new();
                }
                if self
                    .session
                    .as_ref()
                    .is_some_and(|session| session.began_with(&hello))
                {
                    return Vec::new();
                }
                match ServerHandshake::new(&self.config, hello, self.connection_id, now, &mut self.rng) {
                    Ok(mut handshake) => {
                        let before = self.handshake.take().map(ServerHandshake::abandon);
                        if let Some(before) = &before {
                            handshake.follow(before);
                        }
                        self.failures.extend(before);
                        self.handshake = Some(handshake);
                        self.wanted = None;
                    }
                    Err(failure) => {
                        let alert = failure.alert().map(<[u8]>::to_vec);
                        self.failures.push(failure);
                        return alert.into_iter().collect();
                    }
                }
                return Vec::new();
            }
            Admission::NotAClientHello => {}
        }
        let mut answers = Vec::new();
        if let Some(session) = &mut self.session {
            for record in records(&mut datagram.to_vec()) {
                match session.handle_record(record) {
                    Incoming::Data { message, .. } => self.received.push(message.to_vec()),
                    Incoming::ResendFlight => {
                        let mut flight = Vec::new();
                        session.repeat_last_flight(&mut flight).unwrap();
                        answers.push(flight);
                    }
                    Incoming::Closed => self.closed = true,
                    Incoming::PathChallenge(challenge) => {
                        let mut answer = Vec::new();
                        session.answer_challenge(challenge, &mut answer).unwrap();
                        answers.push(answer);
                    }
                    Incoming::Ignored(_) => {}
                }
            }
        }
        if let Some(handshake) = &mut self.handshake
            && let Err(failure) = handshake.handle_datagram(now, datagram)
        {
            answers.extend(failure.alert().map(<[u8]>::to_vec));
            self.failures.push(failure);
            self.handshake = None;
        }
        answers
    }

    fn take_events(&mut self, now: Instant) {
        let wanted = match self.handshake.as_mut().and_then(ServerHandshake::poll_event) {
            Some(HandshakeEvent::KeyWanted(_)) => Wanted::Key,
            Some(HandshakeEvent::ChainPresented(chain)) => Wanted::Chain(chain),
            Some(HandshakeEvent::RawKeyPresented(_)) => Wanted::RawKey,
            Some(HandshakeEvent::Established(established)) => {
                let Established { session, claim } = *established;
                self.session = Some(session);
                self.claim = Some(claim);
                self.established += 1;
                return;
            }
            None => return,
        };
        self.wanted = Some((now + self.lookup, wanted));
        if self.lookup.is_zero() {
            let answers = self.lookup_done(now);
            self.alerts.extend(answers);
        }
        self.take_events(now);
    }

    /// The alert to send, if that was the end.
    fn lookup_done(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (_, wanted) = self.wanted.take_if(|(at, _)| *at <= now)?;
        let handshake = self.handshake.as_mut()?;
        let answered = match (wanted, self.verdict) {
            (Wanted::Key, _) => handshake.provide_key(now, self.key.as_ref(), &mut self.rng),
            (Wanted::Chain(_) | Wanted::RawKey, Ok(())) => handshake.accept_peer(now),
            (Wanted::Chain(_) | Wanted::RawKey, Err(fault)) => Err(handshake.refuse_peer(fault)),
        };
        let failure = answered.err()?;
        let alert = failure.alert().map(<[u8]>::to_vec);
        self.failures.push(failure);
        self.handshake = None;
        alert
    }
}

/// What one seals the other opens.
pub fn assert_speaking(from: &mut Session, to: &mut Session) {
    let mut datagram = Vec::new();
    from.seal(b"are you there?", &mut datagram).unwrap();
    assert_eq!(to.handle_record(&mut datagram), data(b"are you there?"));
}

/// What a record with this message is, when no later one has been opened before it.
pub fn data(message: &[u8]) -> Incoming<'_> {
    Incoming::Data {
        message,
        newest: true,
    }
}

/// Ten milliseconds.
pub fn well() -> Fate {
    vec![Duration::from_millis(10)]
}

/// What a client may say about connection IDs.
pub const OFFERS: [OfferedConnectionId; 3] = [
    OfferedConnectionId::None,
    OfferedConnectionId::Empty,
    OfferedConnectionId::Own(CLIENT_ID),
];

/// A client that offers this, and a server that has an ID to give.
pub fn with_ids(client: ClientConfig, offered: OfferedConnectionId, seed: u64) -> Simulation {
    let client = ClientConfig {
        connection_id: offered,
        ..client
    };
    let mut simulation = Simulation::new(client, ServerConfig::default(), seed);
    simulation.server.connection_id = Some(SERVER_ID);
    simulation
}

/// A client and a server that have just shaken hands.
pub fn sessions(suite: CipherSuite) -> (Session, Session) {
    sessions_with(suite, OfferedConnectionId::None)
}

/// The same, where the client offered this.
pub fn sessions_with(suite: CipherSuite, offered: OfferedConnectionId) -> (Session, Session) {
    let client = ClientConfig {
        suites: vec![suite],
        ..ClientConfig::default()
    };
    with_ids(client, offered, 1).into_sessions()
}

pub fn identity() -> Identity {
    Identity::new(b"device-id@project-id").unwrap()
}

pub fn psk() -> Psk {
    Psk::new(b"a secret of the device").unwrap()
}

/// What the server wants on records, where a test has it give one.
pub const SERVER_ID: ConnectionId = ConnectionId::new([0x51, 1, 2, 3, 4, 5, 6, 7]);
/// What the client wants on records, where it wants any.
pub const CLIENT_ID: ConnectionId = ConnectionId::new([0xc1, 9, 8, 7, 6, 5, 4, 0]);
pub const PEER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    40_000,
);
pub const LOCAL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 5684);
