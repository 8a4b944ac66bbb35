//! Our server against our client, and between them somebody who loses, repeats, reorders and alters what they send.
//!
//! ```text
//! input    setup 2 | steps
//! step 0   way                      the oldest datagram on its way arrives
//! step 1   way                      it is lost
//! step 2   which                    a datagram that was sent before arrives (again)
//! step 3   which, record            one record of such a datagram arrives
//! step 4   which, which             two such datagrams arrive as one
//! step 5   which, where 2, xor      such a datagram arrives altered
//! step 6   which, len 2             its front arrives
//! step 7   which                    it arrives at the side that sent it
//! step 8   way, bytes               something of the adversary's own arrives
//! step 9   time                     so many units of 50 ms pass
//! step 10                           the key is found
//! step 11  way, len                 a side that has a session says something
//! ```
//!
//! When the script is over, the adversary leaves: what is sent from then on arrives.
//!
//! What is held:
//!
//! - Whoever finishes does so with the peer: with the same keys, suite, secret and connection IDs, and those are what two
//!   sides alone would have chosen. The server may be done before the client is; a client that is done has a server that is.
//! - Nobody finishes where the key is another.
//! - What a side receives was said by the other, and is received once.
//! - Where nothing was altered, both finish, whatever was lost, repeated and reordered.

use std::time::{Duration, Instant};

use tessera::dtls::{ClientHandshake, HandshakeEvent, HandshakeFailure, Incoming, Session, records};

use super::script::Script;
use super::server_side::{ServerSide, assert_made_of_records};
use super::setup::{Setup, start};

/// The target.
pub fn adversary(data: &[u8]) {
    let mut script = Script::new(data);
    if let Some(setup) = Setup::read(&mut script) {
        let mut run = Run::new(setup);
        run.settle();
        for _ in 0..STEPS_MAX {
            if run.step(&mut script).is_none() {
                break;
            }
            run.settle();
        }
        run.leave_alone();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

struct Run {
    setup: Setup,
    now: Instant,
    client: Client,
    server: ServerSide,
    /// Everything sent.
    sent: Vec<(Way, Vec<u8>)>,
    /// Of those, what neither arrived nor was lost.
    under_way: Vec<usize>,
    /// Whether anything arrived that nobody sent there.
    altered: bool,
    /// What the sides with a session said, in the order said.
    said: u32,
}

struct Client {
    handshake: ClientHandshake,
    session: Option<Session>,
    failed: Option<HandshakeFailure>,
    closed: bool,
    received: Vec<Vec<u8>>,
}

impl Run {
    fn new(setup: Setup) -> Self {
        Self {
            setup,
            now: start(),
            client: Client {
                handshake: setup.client(),
                session: None,
                failed: None,
                closed: false,
                received: Vec::new(),
            },
            server: ServerSide::new(setup),
            sent: Vec::new(),
            under_way: Vec::new(),
            altered: false,
            said: 0,
        }
    }

    /// `None` at the end of the script.
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? {
            0 => {
                let way = way(script.byte()?);
                if let Some(index) = self.take_oldest(way) {
                    self.arrive(way, self.sent[index].1.clone());
                }
            }
            1 => {
                let way = way(script.byte()?);
                self.take_oldest(way);
            }
            2 => {
                let (way, datagram) = self.pick(script.byte()?)?;
                self.arrive(way, datagram);
            }
            3 => {
                let (way, mut datagram) = self.pick(script.byte()?)?;
                let which = usize::from(script.byte()?);
                let all: Vec<Vec<u8>> = records(&mut datagram).map(|record| record.to_vec()).collect();
                self.arrive(way, all[which % all.len()].clone());
            }
            4 => {
                let ((way, first), (other, second)) =
                    (self.pick(script.byte()?)?, self.pick(script.byte()?)?);
                self.altered |= way != other;
                self.arrive(way, [first, second].concat());
            }
            5 => {
                let (way, mut datagram) = self.pick(script.byte()?)?;
                let (place, xor) = (usize::from(script.number()?), script.byte()?);
                let place = place % datagram.len();
                datagram[place] ^= xor;
                self.altered |= xor != 0;
                self.arrive(way, datagram);
            }
            6 => {
                let (way, mut datagram) = self.pick(script.byte()?)?;
                datagram.truncate(usize::from(script.number()?) % datagram.len());
                self.altered = true;
                self.arrive(way, datagram);
            }
            7 => {
                let (way, datagram) = self.pick(script.byte()?)?;
                self.altered = true;
                self.arrive(way.back(), datagram);
            }
            8 => {
                let way = way(script.byte()?);
                self.altered = true;
                self.arrive(way, script.bytes()?.to_vec());
            }
            9 => self.pass(Duration::from_millis(50) * u32::from(script.byte()?)),
            10 => self.server.look_up_as_set_up(self.now),
            11 => {
                let (way, len) = (way(script.byte()?), usize::from(script.byte()?));
                self.say(way, len);
            }
            _ => {}
        }
        Some(())
    }

    fn take_oldest(&mut self, way: Way) -> Option<usize> {
        let place = self
            .under_way
            .iter()
            .position(|index| self.sent[*index].0 == way)?;
        Some(self.under_way.remove(place))
    }

    /// A datagram that was sent, counted from the newest.
    fn pick(&mut self, back: u8) -> Option<(Way, Vec<u8>)> {
        let index = self
            .sent
            .len()
            .checked_sub(1 + usize::from(back) % self.sent.len().max(1))?;
        Some(self.sent[index].clone())
    }

    fn arrive(&mut self, way: Way, mut datagram: Vec<u8>) {
        match way {
            Way::ToServer => {
                self.server.handle(self.now, &mut datagram);
            }
            Way::ToClient => self.client.handle(self.now, &mut datagram),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
    }

    /// A side with a session says something that it never said before.
    fn say(&mut self, way: Way, len: usize) {
        let session = match way {
            Way::ToServer => self.client.session.as_mut().filter(|_| !self.client.closed),
            Way::ToClient => self
                .server
                .session
                .as_mut()
                .map(|(session, _)| session)
                .filter(|_| !self.server.closed),
        };
        let Some(session) = session else { return };
        let mut text = self.said.to_be_bytes().to_vec();
        text.resize(4 + len % 32, way as u8);
        let mut datagram = Vec::new();
        if session.seal(&text, &mut datagram).is_ok() {
            self.said += 1;
            self.post(way, datagram);
        }
    }

    fn post(&mut self, way: Way, datagram: Vec<u8>) {
        assert_made_of_records(&datagram);
        self.under_way.push(self.sent.len());
        self.sent.push((way, datagram));
    }

    /// Posts what both sides want to send, and looks at where they are.
    fn settle(&mut self) {
        let mut datagram = Vec::new();
        while self.client.handshake.poll_transmit(&mut datagram) {
            self.post(Way::ToServer, std::mem::take(&mut datagram));
        }
        for datagram in std::mem::take(&mut self.server.out) {
            self.post(Way::ToClient, datagram);
        }
        if let Some(HandshakeEvent::Established(established)) = self.client.handshake.poll_event() {
            assert!(self.client.failed.is_none(), "it failed and succeeded");
            assert_eq!(established.claim, self.setup.claim());
            self.client.session = Some(established.session);
        }
        self.check();
    }

    fn check(&mut self) {
        assert!(
            self.server.established <= 1,
            "one client's handshake made several sessions"
        );
        if self.client.session.is_some() || self.server.session.is_some() {
            assert!(self.setup.can_agree(), "somebody finished without the key");
        }
        if self.client.session.is_some() {
            assert!(self.server.session.is_some(), "the client is done with nobody");
        }
        if let Some((server, served)) = &self.server.session {
            assert_eq!(*served, self.setup.claim());
            assert_eq!(
                Some(server.suite()),
                self.setup.expected_suite(),
                "talked into another suite"
            );
            assert_eq!(
                server.extended_master_secret(),
                self.setup.extended_master_secret()
            );
        }
        let ids = self.setup.connection_ids();
        let agreed = [
            (self.client.session.as_ref(), ids.client),
            (
                self.server.session.as_ref().map(|(session, _)| session),
                ids.server,
            ),
        ];
        for (session, id) in agreed {
            assert!(
                session.is_none_or(|session| session.connection_id() == id),
                "talked into other connection IDs"
            );
        }
        for received in [&self.client.received, &self.server.received] {
            let mut said = Vec::new();
            for text in received {
                let number = text.first_chunk().map(|number| u32::from_be_bytes(*number));
                assert!(
                    number.is_some_and(|number| number < self.said),
                    "nobody said {text:02x?}"
                );
                assert!(!said.contains(&number), "{text:02x?} was said once");
                said.push(number);
            }
        }
    }

    /// The adversary is gone. What it held back is lost, what is sent from now on arrives.
    fn leave_alone(&mut self) {
        self.under_way.clear();
        let honest = !self.altered && self.setup.can_agree() && self.now - start() <= PATIENCE;
        for _ in 0..TURNS_MAX {
            if self.under_way.is_empty() {
                if self.client.session.is_some() || self.client.failed.is_some() {
                    break;
                }
                let client = self.client.handshake.poll_timeout();
                let due = [client, self.server.poll_timeout()].into_iter().flatten().min();
                let Some(due) = due else { break };
                self.pass(due.saturating_duration_since(self.now));
            }
            self.server.look_up_as_set_up(self.now);
            self.settle();
            for index in std::mem::take(&mut self.under_way) {
                let (way, datagram) = self.sent[index].clone();
                self.pass(Duration::from_millis(10));
                self.arrive(way, datagram);
                self.server.look_up_as_set_up(self.now);
                self.settle();
            }
        }
        if honest {
            assert!(
                self.client.session.is_some(),
                "nothing was altered, and yet: {:?}",
                self.client.failed
            );
        }
        if let Some(client) = self.client.session.as_mut().filter(|_| !self.client.closed)
            && let Some((server, _)) = self.server.session.as_mut().filter(|_| !self.server.closed)
        {
            assert_eq!(client.suite(), server.suite());
            assert_eq!(client.extended_master_secret(), server.extended_master_secret());
            assert_speaking(client, server);
            assert_speaking(server, client);
        }
    }
}

impl Client {
    fn handle(&mut self, now: Instant, datagram: &mut [u8]) {
        if let Some(session) = &mut self.session {
            for record in records(datagram) {
                match session.handle_record(record) {
                    Incoming::Data { message, .. } if !self.closed => self.received.push(message.to_vec()),
                    Incoming::Closed => self.closed = true,
                    Incoming::Data { .. }
                    | Incoming::PathChallenge(_)
                    | Incoming::ResendFlight
                    | Incoming::Ignored(_) => {}
                }
            }
        } else if self.failed.is_none() {
            self.failed = self.handshake.handle_datagram(now, datagram).err();
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.failed.is_none() {
            self.failed = self.handshake.handle_timeout(now).err();
        }
    }
}

impl Way {
    fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

fn way(byte: u8) -> Way {
    if byte & 1 == 0 {
        Way::ToServer
    } else {
        Way::ToClient
    }
}

/// What one seals the other opens.
fn assert_speaking(from: &mut Session, to: &mut Session) {
    let mut datagram = Vec::new();
    from.seal(b"are you there?", &mut datagram)
        .expect("there are numbers left");
    let arrived = to.handle_record(&mut datagram);
    let same = matches!(
        arrived,
        Incoming::Data {
            message: b"are you there?",
            newest: true
        }
    );
    assert!(same, "different keys: {arrived:?}");
}

/// Scripts are shorter than this, but for those that a fuzzer makes.
const STEPS_MAX: usize = 200;
/// How long the adversary may hold a handshake up that must succeed afterwards: the client gives up after 60 seconds, and
/// sends again at most 32 seconds after what was lost.
const PATIENCE: Duration = Duration::from_secs(14);
const TURNS_MAX: usize = 200;
