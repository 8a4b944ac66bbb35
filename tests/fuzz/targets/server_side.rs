//! A server with one peer: what a shard does with its datagrams, and what must be true whatever they are.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::dtls::{
    Admission, ChainFault, Claim, CookieJar, HandshakeEvent, HandshakeFailure, Incoming, PeerChain,
    RecordHeader, ServerHandshake, Session, records, verify_chain,
};

use super::setup::{LOCAL, PEER, SERVER_ID, SERVER_SEED, Setup, UNIX_S, start};

/// The server's side of a run.
pub struct ServerSide {
    setup: Setup,
    jar: CookieJar,
    rng: StdRng,
    handshake: Option<ServerHandshake>,
    wanted: Option<Wanted>,
    pub session: Option<(Session, Claim)>,
    /// How often a handshake came to its end.
    pub established: usize,
    pub closed: bool,
    pub received: Vec<Vec<u8>>,
    /// What is to be sent.
    pub out: Vec<Vec<u8>>,
}

/// What the handshake waits for.
enum Wanted {
    Key,
    Chain(PeerChain),
    RawKey,
}

impl ServerSide {
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            jar: CookieJar::new([42; 32], start()),
            rng: StdRng::seed_from_u64(SERVER_SEED),
            handshake: None,
            wanted: None,
            session: None,
            established: 0,
            closed: false,
            received: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Takes a datagram; says whether it was answered with a HelloVerifyRequest, which then is the last of `out`.
    pub fn handle(&mut self, now: Instant, datagram: &mut [u8]) -> bool {
        let mut reply = Vec::new();
        match self.jar.admit(now, PEER, LOCAL, datagram, &mut reply) {
            Admission::Challenged => {
                assert!(reply.len() < datagram.len(), "a stranger gets less than it sent");
                self.out.push(reply);
                return true;
            }
            Admission::Dropped(_) => return false,
            Admission::Verified(hello) => {
                let repeated = self
                    .handshake
                    .as_ref()
                    .is_some_and(|open| open.began_with(&hello));
                let session = self.session.as_ref().filter(|_| !self.closed);
                if !repeated && session.is_some_and(|(session, _)| session.began_with(&hello)) {
                    return false;
                }
                if !repeated {
                    match ServerHandshake::new(
                        &self.setup.server(),
                        hello,
                        Some(SERVER_ID),
                        now,
                        &mut self.rng,
                    ) {
                        Ok(handshake) => {
                            self.handshake = Some(handshake);
                            self.wanted = None;
                        }
                        Err(failure) => self.tell(&failure),
                    }
                    self.settle(now);
                    return false;
                }
            }
            Admission::NotAClientHello => self.session_record(datagram),
        }
        let outcome = self
            .handshake
            .as_mut()
            .map(|open| open.handle_datagram(now, datagram));
        self.ended(outcome);
        self.settle(now);
        false
    }

    /// Who was asked for is known, as far as the setup has it so, or is not.
    pub fn look_up(&mut self, now: Instant, known: bool) {
        let (Some(wanted), Some(open)) = (self.wanted.take(), &mut self.handshake) else {
            return;
        };
        let verdict = match wanted {
            Wanted::Key => {
                let key = self.setup.server_key().filter(|_| known);
                let outcome = open.provide_key(now, key.as_ref(), &mut self.rng);
                self.ended(Some(outcome));
                self.settle(now);
                return;
            }
            Wanted::Chain(chain) => verify_chain(&chain, &self.setup.anchors(), UNIX_S).map(|_| ()),
            Wanted::RawKey if self.setup.can_agree() => Ok(()),
            Wanted::RawKey => Err(ChainFault::UnknownDevice),
        };
        let outcome = match verdict {
            Ok(()) if known && self.setup.is_known() => open.accept_peer(now),
            Ok(()) => Err(open.refuse_peer(ChainFault::UnknownDevice)),
            Err(fault) => Err(open.refuse_peer(fault)),
        };
        self.ended(Some(outcome));
        self.settle(now);
    }

    /// As [`Self::look_up`], with what the setup says.
    pub fn look_up_as_set_up(&mut self, now: Instant) {
        self.look_up(now, true);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.handshake.as_ref().and_then(ServerHandshake::poll_timeout)
    }

    /// Lets everything happen that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(due) = self.poll_timeout().filter(|due| *due <= now) else {
            return;
        };
        let outcome = self.handshake.as_mut().map(|open| open.handle_timeout(now));
        self.ended(outcome);
        self.settle(now);
        assert!(
            self.poll_timeout().is_none_or(|next| next > due.max(now)),
            "a timeout that is handled is over"
        );
    }

    fn session_record(&mut self, datagram: &[u8]) {
        let Some((session, _)) = self.session.as_mut().filter(|_| !self.closed) else {
            return;
        };
        for record in records(&mut datagram.to_vec()) {
            match session.handle_record(record) {
                Incoming::Data { message, .. } => self.received.push(message.to_vec()),
                Incoming::ResendFlight => {
                    let mut flight = Vec::new();
                    if session.repeat_last_flight(&mut flight).is_ok() {
                        self.out.push(flight);
                    }
                }
                Incoming::PathChallenge(challenge) => {
                    let mut answer = Vec::new();
                    if session.answer_challenge(challenge, &mut answer).is_ok() {
                        self.out.push(answer);
                    }
                }
                Incoming::Closed => self.closed = true,
                Incoming::Ignored(_) => {}
            }
        }
    }

    fn ended(&mut self, outcome: Option<Result<(), HandshakeFailure>>) {
        if let Some(Err(failure)) = outcome {
            self.tell(&failure);
            self.handshake = None;
            self.wanted = None;
        }
    }

    fn tell(&mut self, failure: &HandshakeFailure) {
        self.out.extend(failure.alert().map(<[u8]>::to_vec));
    }

    /// Takes out what the handshake has to say.
    fn settle(&mut self, now: Instant) {
        match self.handshake.as_mut().and_then(ServerHandshake::poll_event) {
            Some(HandshakeEvent::KeyWanted(_)) => self.wanted = Some(Wanted::Key),
            Some(HandshakeEvent::ChainPresented(chain)) => self.wanted = Some(Wanted::Chain(chain)),
            Some(HandshakeEvent::RawKeyPresented(_)) => self.wanted = Some(Wanted::RawKey),
            Some(HandshakeEvent::Established(established)) => {
                self.transmit();
                self.session = Some((established.session, established.claim));
                self.established += 1;
                self.closed = false;
                self.handshake = None;
            }
            None => {}
        }
        if self.wanted.is_some() && !self.setup.slow_lookup() {
            self.look_up_as_set_up(now);
        }
        self.transmit();
    }

    fn transmit(&mut self) {
        let Some(handshake) = &mut self.handshake else {
            return;
        };
        for sent in 0.. {
            let mut datagram = Vec::new();
            if !handshake.poll_transmit(&mut datagram) {
                break;
            }
            assert!(sent < FLIGHT_DATAGRAMS, "a flight without an end");
            self.out.push(datagram);
        }
    }
}

/// Holds for everything that either side sends: whole records of DTLS, and nothing else.
pub fn assert_made_of_records(datagram: &[u8]) {
    assert!(!datagram.is_empty(), "an empty datagram was sent");
    let len: usize = records(&mut datagram.to_vec()).map(|record| record.len()).sum();
    assert_eq!(len, datagram.len(), "something else than records was sent");
    assert!(RecordHeader::peek(datagram).is_some());
}

/// Whether a datagram has this record in it.
pub fn holds(datagram: &[u8], record: &[u8]) -> bool {
    datagram.windows(record.len()).any(|window| window == record)
}

/// The ClientHello that `datagram` begins with, with `cookie` in place of its own, as a datagram. The ClientHello has been
/// read by the server, so it is whole.
pub fn with_cookie(datagram: &[u8], cookie: &[u8]) -> Option<Vec<u8>> {
    let header = RecordHeader::peek(datagram)?;
    let record = &datagram[..RecordHeader::LEN + header.length];
    let (headers, body) = record.split_at_checked(RecordHeader::LEN + MESSAGE_HEADER_LEN)?;
    let session_id = usize::from(*body.get(34)?);
    let (front, rest) = body.split_at_checked(35 + session_id)?;
    let old = usize::from(*rest.first()?);
    let rest = rest.get(1 + old..)?;
    let body = [front, &[cookie.len() as u8], cookie, rest].concat();
    let mut datagram = headers.to_vec();
    let [_, l0, l1, l2] = (body.len() as u32).to_be_bytes();
    let record_len = (MESSAGE_HEADER_LEN + body.len()) as u16;
    datagram[11..13].copy_from_slice(&record_len.to_be_bytes());
    datagram[14..17].copy_from_slice(&[l0, l1, l2]);
    datagram[22..25].copy_from_slice(&[l0, l1, l2]);
    datagram.extend_from_slice(&body);
    Some(datagram)
}

const MESSAGE_HEADER_LEN: usize = 12;
/// No flight has more datagrams than this.
const FLIGHT_DATAGRAMS: usize = 16;
