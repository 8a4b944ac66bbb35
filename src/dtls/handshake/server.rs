//! The server's half of a handshake.
//!
//! ```text
//! client                                     server                        state afterwards
//! ClientHello with cookie        ──────▶     (verified by the cookie jar)
//!                                ◀──────     ServerHello, ServerHelloDone  AwaitKeyExchange
//!                                            (ECDHE: ServerKeyExchange
//!                                            between the two)
//! ClientKeyExchange              ──────▶     KeyWanted                     AwaitKey
//!                                            provide_key                   AwaitFinished
//! ChangeCipherSpec, Finished     ──────▶
//!                                ◀──────     ChangeCipherSpec, Finished    Done
//! ```
//!
//! With certificates:
//!
//! ```text
//! ClientHello with cookie        ──────▶
//!                                ◀──────     ServerHello, Certificate,
//!                                            ServerKeyExchange,
//!                                            CertificateRequest,
//!                                            ServerHelloDone               AwaitCertificate
//! Certificate, ClientKeyExchange ──────▶
//! CertificateVerify              ──────▶     ChainPresented                AwaitVerdict
//!                                            accept_peer                   AwaitFinished
//! ```
//!
//! With a connection ID on what the client sends, its Finished is the first record that has it.
//!
//! What comes early is held, what comes again is answered again, and what cannot be opened is dropped: anybody could
//! have written it.

mod certified;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::CryptoRng;

use self::certified::{CertifiedFlight, Presented, Progress};
use super::flight::{Expiry, Flight, Held, MAX_DATAGRAM_LEN, Retransmission, Writing};
use super::messages::{
    self, CLIENT_HELLO, CLIENT_KEY_EXCHANGE, CertificateTypes, ClientHello, EMPTY_RENEGOTIATION_INFO,
    FINISHED, Fragment, Listed, MAX_RECORD_SIZE_LIMIT, MESSAGE_HEADER_LEN, NULL_COMPRESSION, Offer,
    RANDOM_LEN, SERVER_HELLO_DONE, certificates,
};
use super::reassembly::{Message, Reassembly};
use super::secrets::{MasterSecret, OtherSecret, Randoms, Side, VERIFY_DATA_LEN};
use super::{Established, FailureReason, Fault, HandshakeEvent, HandshakeFailure, Timers};
use crate::dtls::alert::{self, Alert};
use crate::dtls::connection_id::ConnectionIds;
use crate::dtls::cookie::HelloMark;
use crate::dtls::crypto::{self, EphemeralKey, Transcript};
use crate::dtls::record::{ContentType, DTLS_1_2, RecordHeader, records};
use crate::dtls::session::Ignored;
use crate::dtls::suite::{KeyExchange, Protection};
use crate::dtls::{
    ChainFault, CipherSuite, Claim, ConnectionId, Identity, Psk, ServerCertificate, Session, VerifiedHello,
};

/// What a server allows.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The suites allowed. The client's order decides among them; but one with a pre-shared key goes before those with
    /// certificates, as many clients offer the latter without having one.
    pub suites: Vec<CipherSuite>,
    /// Retransmission timers.
    pub timers: Timers,
    /// What the server shows. Without it there are no suites with certificates.
    pub certificate: Option<Arc<ServerCertificate>>,
    /// Whether keys without certificates are taken (RFC 7250), from clients that have nothing else.
    pub raw_public_keys: bool,
}

/// One handshake with a peer whose address is proven.
pub struct ServerHandshake {
    state: State,
    suite: CipherSuite,
    randoms: Randoms,
    offer: Offer,
    answer: Offer,
    /// On what we receive, where it is in the answer.
    connection_id: Option<ConnectionId>,
    /// Used where the identity cannot be anybody's, so that this looks like a wrong key.
    decoy: Psk,
    transcript: Transcript,
    hello: HelloMark,
    /// Of the ClientHello; our messages are numbered from it too.
    hello_seq: u16,
    /// When the flight last went out because of it.
    hello_answered: Instant,
    /// Of our Finished.
    finished_seq: u16,
    next_plaintext_number: u64,
    flight: Flight,
    last_flight: Option<Vec<u8>>,
    retransmission: Retransmission,
    incoming: Reassembly,
    held: Held,
    change_cipher_spec: bool,
    peer_alert: Option<u8>,
    /// Whether what a handshake before this one agreed on may arrive here.
    mixed: bool,
    event: Option<HandshakeEvent>,
}

#[derive(Debug)]
enum State {
    AwaitKeyExchange(Share),
    AwaitKey { identity: Identity, other: OtherSecret },
    AwaitCertificate(Box<CertifiedFlight>),
    AwaitVerdict(Box<AwaitVerdict>),
    AwaitFinished(Box<AwaitFinished>),
    Done { claim: Option<Claim> },
}

/// What we put into the key exchange.
#[derive(Debug)]
enum Share {
    Psk,
    EcdhePsk(Box<EphemeralKey>),
}

/// The peer has the key of what it showed; whether that is good is being found out.
#[derive(Debug)]
struct AwaitVerdict {
    claim: Claim,
    master_secret: MasterSecret,
}

#[derive(Debug)]
struct AwaitFinished {
    /// `None` for an identity that had no length that an identity can have.
    claim: Option<Claim>,
    known: bool,
    master_secret: MasterSecret,
    session: Session,
    unopened: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            suites: CipherSuite::ALL.to_vec(),
            timers: Timers::default(),
            certificate: None,
            raw_public_keys: false,
        }
    }
}

impl ServerHandshake {
    /// Starts with a verified ClientHello; the answer waits in [`ServerHandshake::poll_transmit`]. Where the client offers
    /// it ([`VerifiedHello::offers_connection_id`]), `connection_id` is what stands on its records from the Finished on;
    /// whoever gives none gets a session without.
    ///
    /// # Errors
    /// When the two sides have nothing in common; the failure carries the alert to send.
    pub fn new(
        config: &Arc<ServerConfig>,
        hello: VerifiedHello,
        connection_id: Option<ConnectionId>,
        now: Instant,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, HandshakeFailure> {
        let VerifiedHello {
            message,
            message_seq,
            record_number,
        } = hello;
        let refuse = |fault: Fault| fault.into_failure(None, record_number);
        let client =
            ClientHello::parse(&message[MESSAGE_HEADER_LEN..]).ok_or_else(|| refuse(Fault::MALFORMED))?;
        let hello = HelloMark::of(&client).ok_or_else(|| refuse(Fault::MALFORMED))?;
        let (suite, offer, answer) = negotiate(config, &client, connection_id).map_err(refuse)?;

        //= RFC 5246 section 7.4.1.3
        //# This structure is generated by the server and MUST be independently generated from the ClientHello.random.
        // All 32 bytes are random: a clock in the first four would tell the uptime.
        let mut randoms = Randoms {
            client: *client.random,
            server: [0; RANDOM_LEN],
        };
        rng.fill_bytes(&mut randoms.server);

        let mut ours = vec![messages::server_hello(
            message_seq,
            &randoms.server,
            suite.id(),
            &answer,
        )];
        let next_seq = |before: &Vec<Vec<u8>>| message_seq + before.len() as u16;
        let mut incoming = Reassembly::new(message_seq + 1, MAX_MESSAGE_LEN);
        let mut state = match suite.key_exchange() {
            // RFC 4279 section 2: without a hint there is no ServerKeyExchange.
            KeyExchange::Psk => State::AwaitKeyExchange(Share::Psk),
            KeyExchange::EcdhePsk => {
                let key = EphemeralKey::generate();
                ours.push(messages::ecdhe_server_key_exchange(next_seq(&ours), key.public()));
                State::AwaitKeyExchange(Share::EcdhePsk(Box::new(key)))
            }
            KeyExchange::EcdheEcdsa => {
                let own = config.certificate.as_ref();
                let own = own.ok_or_else(|| refuse(Fault::NO_COMMON_SUITE))?;
                let key = EphemeralKey::generate();
                ours.push(match answer.server_certificate {
                    CertificateTypes::RawKey => certificates::raw_key(next_seq(&ours), own.public_key_info()),
                    CertificateTypes::X509 | CertificateTypes::Other => {
                        certificates::certificate(next_seq(&ours), own.chain())
                    }
                });
                let sign = |signed: &[u8]| own.sign(signed);
                let point = key.public();
                ours.push(certificates::signed_exchange(
                    next_seq(&ours),
                    &randoms,
                    point,
                    sign,
                ));
                ours.push(certificates::certificate_request(next_seq(&ours)));
                incoming = incoming.with_certificate();
                State::AwaitCertificate(Box::new(CertifiedFlight::new(key, answer.client_certificate)))
            }
        };
        ours.push(messages::message(SERVER_HELLO_DONE, next_seq(&ours), |_| ()));
        let finished_seq = next_seq(&ours);
        // RFC 6347 section 4.2.1: the first ClientHello and the HelloVerifyRequest are not part of what the Finished
        // covers.
        let mut transcript = Transcript::new();
        let mut flight = Flight::new();
        for message in std::iter::once(&message).chain(&ours) {
            transcript.update(message);
            if let State::AwaitCertificate(certified) = &mut state {
                certified.hear(message);
            }
        }
        for message in ours {
            flight = flight.message(message);
        }
        flight.send();

        let mut retransmission = Retransmission::new(&config.timers, now);
        retransmission.start(now);
        Ok(Self {
            state,
            suite,
            randoms,
            offer,
            answer,
            connection_id: connection_id.filter(|_| answer.connection_id.is_some()),
            decoy: Psk::random(rng),
            transcript,
            hello,
            hello_seq: message_seq,
            hello_answered: now,
            finished_seq,
            // RFC 6347 section 4.2.1: the initial ServerHello takes the record number of the ClientHello, so that it
            // repeats none of the HelloVerifyRequests before it.
            next_plaintext_number: record_number,
            flight,
            last_flight: None,
            retransmission,
            incoming,
            held: Held::default(),
            change_cipher_spec: false,
            peer_alert: None,
            mixed: false,
            event: None,
        })
    }

    /// Takes a datagram from the peer.
    ///
    /// # Errors
    /// When the handshake is over.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) -> Result<(), HandshakeFailure> {
        for record in records(datagram) {
            self.handle_record(now, record)?;
        }
        Ok(())
    }

    /// Answers [`HandshakeEvent::KeyWanted`]; `None` for an identity that nobody has, which looks the same from
    /// outside as a wrong key.
    ///
    /// # Errors
    /// When the handshake is over.
    pub fn provide_key(
        &mut self,
        now: Instant,
        key: Option<&Psk>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), HandshakeFailure> {
        let State::AwaitKey { identity, other } = &self.state else {
            return Ok(());
        };
        let (identity, other) = (identity.clone(), other.clone());
        let decoy = Psk::random(rng);
        let known = key.is_some();
        self.await_psk_finished(now, Some(identity), key.unwrap_or(&decoy), &other, known)
    }

    /// Answers [`HandshakeEvent::ChainPresented`] and [`HandshakeEvent::RawKeyPresented`]: the peer is somebody we know.
    ///
    /// # Errors
    /// When the handshake is over.
    pub fn accept_peer(&mut self, now: Instant) -> Result<(), HandshakeFailure> {
        match std::mem::replace(&mut self.state, State::Done { claim: None }) {
            State::AwaitVerdict(awaiting) => {
                let AwaitVerdict { claim, master_secret } = *awaiting;
                self.await_finished(now, Some(claim), true, master_secret)
            }
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// Answers the same the other way: the handshake is over, and the failure carries the alert to send.
    pub fn refuse_peer(&mut self, fault: ChainFault) -> HandshakeFailure {
        self.fail(Fault::of_certificate(fault))
    }

    /// To be called at [`ServerHandshake::poll_timeout`]; earlier does no harm.
    ///
    /// # Errors
    /// When the deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeFailure> {
        if matches!(self.state, State::Done { .. }) {
            return Ok(());
        }
        match self.retransmission.expire(now) {
            Expiry::Nothing => {}
            Expiry::Resend => self.flight.send(),
            Expiry::Deadline => return Err(self.give_up(FailureReason::TimedOut)),
        }
        Ok(())
    }

    /// Appends one datagram to send to `out`; false when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(datagram) = self.last_flight.take() {
            out.extend_from_slice(&datagram);
            return true;
        }
        let how = Writing {
            version: DTLS_1_2,
            max_record: max_record(&self.answer),
            plaintext_number: &mut self.next_plaintext_number,
            session: None,
        };
        self.flight.write_datagram(how, out)
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<HandshakeEvent> {
        self.event.take()
    }

    /// When to call [`ServerHandshake::handle_timeout`]. `None` once the handshake is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Done { .. })).then(|| self.retransmission.next())
    }

    /// Whether this handshake began with this very ClientHello: then it is a retransmission, and its datagram belongs
    /// into [`ServerHandshake::handle_datagram`]. Any other starts a handshake of its own, in place of this one.
    pub fn began_with(&self, hello: &VerifiedHello) -> bool {
        hello.mark() == Some(self.hello) && hello.message_seq == self.hello_seq
    }

    /// Says that the client began anew while another handshake was under way, which ended as `before`. Messages of that one may
    /// still arrive at either side, and the two then go by different keys though both have the same one: what cannot be opened
    /// is no sign of a wrong key here, unless it was one there.
    pub fn follow(&mut self, before: &HandshakeFailure) {
        self.mixed = before.reason != FailureReason::WrongKey;
    }

    /// Gives the handshake up (for a newer ClientHello, at a shutdown) and says what is known about it.
    pub fn abandon(mut self) -> HandshakeFailure {
        self.give_up(FailureReason::Abandoned)
    }

    fn handle_record(&mut self, now: Instant, record: &mut [u8]) -> Result<(), HandshakeFailure> {
        let Some(header) = RecordHeader::peek(record) else {
            return Ok(());
        };
        match (header.epoch, header.content_type) {
            (0, ContentType::Handshake) => self.handle_messages(now, &record[RecordHeader::LEN..]),
            (0, ContentType::ChangeCipherSpec) => {
                // Announces the next epoch, and no more: the keys are made when all that goes into them has arrived.
                self.change_cipher_spec = true;
                self.open_held(now)
            }
            (0, ContentType::Alert) => {
                // Anybody can have written it. If it is true the peer stays silent, and the deadline names it.
                let alert = Alert::parse(&record[RecordHeader::LEN..]);
                self.peer_alert = alert
                    .filter(|alert| alert.fatal)
                    .map(|alert| alert.description)
                    .or(self.peer_alert);
                Ok(())
            }
            (
                0,
                ContentType::ApplicationData | ContentType::Tls12Cid | ContentType::ReturnRoutabilityCheck,
            ) => Ok(()),
            (_, _) => self.handle_protected(now, record),
        }
    }

    fn handle_messages(&mut self, now: Instant, mut record: &[u8]) -> Result<(), HandshakeFailure> {
        while let Some(fragment) = Fragment::read(&mut record) {
            // Past the last of these messages everything comes under the new keys.
            if !self.awaits_messages() {
                return Ok(());
            }
            if fragment.kind == CLIENT_HELLO {
                if self.is_hello(&fragment) && now >= self.hello_answered + HELLO_ANSWERED_EVERY {
                    self.hello_answered = now;
                    self.flight.send();
                    self.retransmission.restart(now);
                }
                continue;
            }
            if fragment.kind != FINISHED {
                self.incoming.insert(&fragment);
            }
            while self.awaits_messages()
                && let Some(message) = self.incoming.pop()
            {
                self.handle_message(now, &message)?;
            }
        }
        Ok(())
    }

    /// Whether it is the ClientHello that the handshake began with.
    fn is_hello(&self, fragment: &Fragment<'_>) -> bool {
        fragment.message_seq == self.hello_seq
            && fragment.is_whole()
            && ClientHello::parse(fragment.body).and_then(|hello| HelloMark::of(&hello)) == Some(self.hello)
    }

    fn awaits_messages(&self) -> bool {
        match self.state {
            State::AwaitKeyExchange(_) | State::AwaitCertificate(_) => true,
            State::AwaitKey { .. }
            | State::AwaitVerdict(_)
            | State::AwaitFinished(_)
            | State::Done { .. } => false,
        }
    }

    fn handle_message(&mut self, now: Instant, message: &Message) -> Result<(), HandshakeFailure> {
        // Ends the handshake where it is left early.
        match std::mem::replace(&mut self.state, State::Done { claim: None }) {
            State::AwaitKeyExchange(share) => self.handle_key_exchange(now, share, message),
            State::AwaitCertificate(flight) => self.handle_certified(*flight, message),
            other @ (State::AwaitKey { .. }
            | State::AwaitVerdict(_)
            | State::AwaitFinished(_)
            | State::Done { .. }) => {
                self.state = other;
                Ok(())
            }
        }
    }

    fn handle_key_exchange(
        &mut self,
        now: Instant,
        share: Share,
        message: &Message,
    ) -> Result<(), HandshakeFailure> {
        if message.kind != CLIENT_KEY_EXCHANGE {
            return Err(self.fail(Fault::UNEXPECTED_MESSAGE));
        }
        let (identity, other) = read_key_exchange(share, message.body()).map_err(|fault| self.fail(fault))?;
        self.transcript.update(&message.bytes);
        self.retransmission.stop();
        match Identity::new(identity) {
            Ok(identity) => {
                self.state = State::AwaitKey {
                    identity: identity.clone(),
                    other,
                };
                self.event = Some(HandshakeEvent::KeyWanted(identity));
                Ok(())
            }
            Err(_) => {
                let decoy = self.decoy.clone();
                self.await_psk_finished(now, None, &decoy, &other, false)
            }
        }
    }

    fn handle_certified(
        &mut self,
        flight: CertifiedFlight,
        message: &Message,
    ) -> Result<(), HandshakeFailure> {
        let progress = flight.take(message).map_err(|refused| {
            self.state = State::Done { claim: refused.claim };
            self.fail(refused.fault)
        })?;
        // Up to the ClientKeyExchange, where this message is the one after it.
        let session_hash = self.answer.extended_master_secret.then(|| self.transcript.hash());
        self.transcript.update(&message.bytes);
        match progress {
            Progress::More(flight) => self.state = State::AwaitCertificate(Box::new(flight)),
            Progress::Proven { shown, shared } => {
                self.retransmission.stop();
                self.event = Some(match shown.presented {
                    Presented::Chain(chain) => HandshakeEvent::ChainPresented(chain),
                    Presented::RawKey(digest) => HandshakeEvent::RawKeyPresented(digest),
                });
                self.state = State::AwaitVerdict(Box::new(AwaitVerdict {
                    claim: shown.claim,
                    master_secret: MasterSecret::derive_ecdhe(&shared, &self.randoms, session_hash),
                }));
            }
        }
        Ok(())
    }

    fn await_psk_finished(
        &mut self,
        now: Instant,
        identity: Option<Identity>,
        psk: &Psk,
        other: &OtherSecret,
        known: bool,
    ) -> Result<(), HandshakeFailure> {
        let session_hash = self.answer.extended_master_secret.then(|| self.transcript.hash());
        let master_secret = MasterSecret::derive(psk, other, &self.randoms, session_hash);
        self.await_finished(now, identity.map(Claim::Psk), known, master_secret)
    }

    fn await_finished(
        &mut self,
        now: Instant,
        claim: Option<Claim>,
        known: bool,
        master_secret: MasterSecret,
    ) -> Result<(), HandshakeFailure> {
        let mut session = master_secret.session(Side::Server, self.suite, &self.randoms);
        if let Some(max) = self.offer.max_plaintext() {
            session.limit_plaintext(max);
        }
        if let (Some(ours), Some(theirs)) = (self.connection_id, self.offer.connection_id) {
            session.use_connection_ids(ConnectionIds {
                ours: Some(ours),
                theirs: theirs.as_bytes().into(),
                return_routability: self.answer.return_routability,
            });
        }
        self.incoming = Reassembly::new(self.incoming.next_seq(), VERIFY_DATA_LEN);
        let awaiting = AwaitFinished {
            claim,
            known,
            master_secret,
            session,
            unopened: 0,
        };
        self.state = State::AwaitFinished(Box::new(awaiting));
        // If the Finished got lost, our flight reminds the peer.
        self.retransmission.start(now);
        self.open_held(now)
    }

    fn open_held(&mut self, now: Instant) -> Result<(), HandshakeFailure> {
        for mut record in self.held.take() {
            self.handle_protected(now, &mut record)?;
        }
        Ok(())
    }

    fn handle_protected(&mut self, _now: Instant, record: &mut [u8]) -> Result<(), HandshakeFailure> {
        let awaiting = match &mut self.state {
            //= RFC 5246 section 7.4.9
            //# It is a fatal error if a Finished message is not preceded by a ChangeCipherSpec message at the
            //# appropriate point in the handshake.
            // On a network that reorders the two, it waits for it.
            State::AwaitFinished(awaiting) if self.change_cipher_spec => awaiting,
            State::AwaitKeyExchange(_)
            | State::AwaitKey { .. }
            | State::AwaitCertificate(_)
            | State::AwaitVerdict(_)
            | State::AwaitFinished(_) => {
                self.held.keep(record);
                return Ok(());
            }
            State::Done { .. } => return Ok(()),
        };
        let opened = match awaiting.session.open(record) {
            Ok(opened) => opened,
            Err(Ignored::Unauthentic) => {
                awaiting.unopened = awaiting.unopened.saturating_add(1);
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        match opened.content_type {
            ContentType::Handshake => {
                let mut rest = &*opened.plaintext;
                while let Some(fragment) = Fragment::read(&mut rest) {
                    if fragment.kind != FINISHED {
                        return Err(self.fail(Fault::UNEXPECTED_MESSAGE));
                    }
                    self.incoming.insert(&fragment);
                }
                match self.incoming.pop() {
                    Some(finished) => self.handle_finished(&finished),
                    None => Ok(()),
                }
            }
            ContentType::Alert => match Alert::parse(opened.plaintext) {
                Some(alert) if alert.fatal || alert.description == alert::CLOSE_NOTIFY => {
                    Err(self.fail(Fault::from_peer(alert.description)))
                }
                Some(_) | None => Ok(()),
            },
            ContentType::ChangeCipherSpec
            | ContentType::ApplicationData
            | ContentType::Tls12Cid
            | ContentType::ReturnRoutabilityCheck => Ok(()),
        }
    }

    fn handle_finished(&mut self, finished: &Message) -> Result<(), HandshakeFailure> {
        let done = State::Done { claim: None };
        let awaiting = match std::mem::replace(&mut self.state, done) {
            State::AwaitFinished(awaiting) => *awaiting,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let AwaitFinished {
            claim,
            master_secret,
            mut session,
            ..
        } = awaiting;
        let expected = master_secret.verify_data(Side::Client, self.transcript.hash());
        self.state = State::Done { claim: claim.clone() };
        //= RFC 5246 section 7.4.9
        //# Recipients of Finished messages MUST verify that the contents are correct.
        if !crypto::equal(finished.body(), &expected) {
            return Err(self.fail(Fault::BAD_FINISHED));
        }
        // Nobody guesses the decoy's keys; where somebody did, there would be no name to serve him under.
        let Some(claim) = claim else {
            return Err(self.fail(Fault::BAD_FINISHED));
        };
        self.transcript.update(&finished.bytes);
        let verify_data = master_secret.verify_data(Side::Server, self.transcript.hash());
        let ours = messages::message(FINISHED, self.finished_seq, |body| {
            body.extend_from_slice(&verify_data)
        });

        let mut datagram = Vec::with_capacity(128);
        let mut flight = Flight::new().finish(ours.clone());
        flight.send();
        let how = Writing {
            version: DTLS_1_2,
            max_record: max_record(&self.answer),
            plaintext_number: &mut self.next_plaintext_number,
            session: Some(&mut session),
        };
        flight.write_datagram(how, &mut datagram);
        session.keep_last_flight(ours, self.next_plaintext_number, self.hello);
        self.flight.cancel();
        self.last_flight = Some(datagram);
        self.event = Some(HandshakeEvent::Established(Box::new(Established {
            session,
            claim,
        })));
        Ok(())
    }

    fn fail(&mut self, fault: Fault) -> HandshakeFailure {
        let claim = self.end();
        fault.into_failure(claim, self.next_plaintext_number)
    }

    /// Ends without having been told why: the most likely reason is named, and nobody is told.
    fn give_up(&mut self, otherwise: FailureReason) -> HandshakeFailure {
        let reason = match (&self.state, self.peer_alert) {
            (State::AwaitFinished(awaiting), _) if !awaiting.known => FailureReason::UnknownIdentity,
            (State::AwaitFinished(awaiting), _)
                if awaiting.unopened > 0 && self.suite.has_psk() && !self.mixed =>
            {
                FailureReason::WrongKey
            }
            (_, Some(description)) => FailureReason::PeerAlert(description),
            (_, None) => otherwise,
        };
        HandshakeFailure {
            reason,
            claim: self.end().map(Box::new),
            alert: None,
        }
    }

    fn end(&mut self) -> Option<Claim> {
        self.flight.cancel();
        match std::mem::replace(&mut self.state, State::Done { claim: None }) {
            State::AwaitKeyExchange(_) => None,
            State::AwaitKey { identity, .. } => Some(Claim::Psk(identity)),
            State::AwaitCertificate(flight) => flight.into_claim(),
            State::AwaitVerdict(awaiting) => Some(awaiting.claim),
            State::AwaitFinished(awaiting) => awaiting.claim,
            State::Done { claim } => claim,
        }
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandshake")
            .field("state", &self.state)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

/// Chooses what both sides can do: the suite, what the client's extensions offer, and the answer to them.
fn negotiate(
    config: &ServerConfig,
    client: &ClientHello<'_>,
    connection_id: Option<ConnectionId>,
) -> Result<(CipherSuite, Offer, Offer), Fault> {
    // Versions count downwards: 0xfefc is DTLS 1.3, which offers itself in an extension and falls back.
    if client.version >> 8 != DTLS_1_2 >> 8 || client.version > DTLS_1_2 {
        return Err(Fault::UNSUPPORTED_VERSION);
    }
    let offer = client.offer()?;
    if !client.compressions.contains(&NULL_COMPRESSION) {
        return Err(Fault::COMPRESSION_REQUIRED);
    }
    let possible = |has_psk: bool| {
        client.suites().filter_map(CipherSuite::from_id).find(|suite| {
            suite.has_psk() == has_psk
                && config.suites.contains(suite)
                && (has_psk || config.certificate.is_some())
                && is_possible(*suite, &offer)
        })
    };
    let suite = possible(true)
        .or_else(|| possible(false))
        .ok_or(Fault::NO_COMMON_SUITE)?;
    let (mut client_certificate, mut server_certificate) = Default::default();
    if !suite.has_psk() {
        client_certificate = choose_certificate_type(config, offer.client_certificate)?;
        server_certificate = choose_certificate_type(config, offer.server_certificate)?;
    }

    let answer = Offer {
        extended_master_secret: offer.extended_master_secret,
        //= RFC 7366 section 3
        //# If a server receives an encrypt-then-MAC request extension from a client and then selects a stream or
        //# Authenticated Encryption with Associated Data (AEAD) ciphersuite, it MUST NOT send an encrypt-then-MAC
        //# response extension back to the client.
        encrypt_then_mac: suite.protection() == Protection::CbcThenMac,
        p256: Listed::NoList,
        //= RFC 8422 section 5.2
        //# A server that selects an ECC cipher suite in response to a ClientHello message including a Supported Point
        //# Formats Extension appends this extension (along with others) to its ServerHello message, enumerating the
        //# point formats it can parse.
        uncompressed_points: match suite.key_exchange() {
            KeyExchange::Psk => Listed::NoList,
            KeyExchange::EcdhePsk | KeyExchange::EcdheEcdsa => offer.uncompressed_points,
        },
        ecdsa_sha256: Listed::NoList,
        client_certificate,
        server_certificate,
        //= RFC 5746 section 3.6
        //# When a ClientHello is received, the server MUST check if it includes the
        //# TLS_EMPTY_RENEGOTIATION_INFO_SCSV SCSV. If it does, set the secure_renegotiation flag to TRUE.
        renegotiation_info: offer.renegotiation_info
            || client.suites().any(|suite| suite == EMPTY_RENEGOTIATION_INFO),
        //= RFC 8449 section 5
        //# A server that supports the "record_size_limit" extension MUST ignore a "max_fragment_length" that appears
        //# in a ClientHello if both extensions appear.
        max_fragment_length: offer
            .max_fragment_length
            .filter(|_| offer.record_size_limit.is_none()),
        record_size_limit: offer.record_size_limit.map(|_| MAX_RECORD_SIZE_LIMIT),
        connection_id: connection_id
            .filter(|_| offer.connection_id.is_some())
            .map(Into::into),
        //= RFC 9853 section 3
        //# If the client includes the rrc extension in its ClientHello but omits the connection_id extension, the server MUST
        //# NOT include the rrc extension in its ServerHello.
        return_routability: offer.return_routability
            && offer.connection_id.is_some()
            && connection_id.is_some(),
    };
    Ok((suite, offer, answer))
}

/// Chooses what one side is to show. X.509 needs no answer: it is what a peer expects that gets none.
//= RFC 7250 section 4.2
//# The server supports the extension defined in this document, but it does not have any certificate type in common with the
//# client. Then, the server terminates the session with a fatal alert of type "unsupported_certificate".
fn choose_certificate_type(
    config: &ServerConfig,
    offered: CertificateTypes,
) -> Result<CertificateTypes, Fault> {
    match offered {
        CertificateTypes::X509 => Ok(CertificateTypes::X509),
        CertificateTypes::RawKey if config.raw_public_keys => Ok(CertificateTypes::RawKey),
        CertificateTypes::RawKey | CertificateTypes::Other => {
            Err(Fault::of_certificate(ChainFault::Unsupported))
        }
    }
}

/// The longest content of a plaintext record: record_size_limit speaks of protected ones alone (RFC 8449 section 4).
fn max_record(answer: &Offer) -> usize {
    answer
        .max_fragment_length
        .map_or(MAX_DATAGRAM_LEN, |code| 1 << (8 + code))
}

/// Whether what a suite needs beside itself is offered too.
fn is_possible(suite: CipherSuite, offer: &Offer) -> bool {
    let curve = offer.p256 != Listed::No && offer.uncompressed_points != Listed::No;
    let keys = match suite.key_exchange() {
        KeyExchange::Psk => true,
        //= RFC 4492 section 4
        //# A client that proposes ECC cipher suites may choose not to include these extensions. In this case, the server
        //# is free to choose any one of the elliptic curves or point formats listed in Section 5.
        KeyExchange::EcdhePsk => curve,
        // A client that lists no algorithms means SHA-1 by the letter of RFC 5246 section 7.4.1.4.1, and none does by heart.
        KeyExchange::EcdheEcdsa => curve && offer.ecdsa_sha256 != Listed::No,
    };
    let records = match suite.protection() {
        Protection::Aead(_) => true,
        // The MAC under the encryption is a padding oracle, so without the extension there is no such suite.
        Protection::CbcThenMac => offer.encrypt_then_mac,
    };
    keys && records
}

/// The identity in a ClientKeyExchange, and what we share with its sender.
fn read_key_exchange(share: Share, body: &[u8]) -> Result<(&[u8], OtherSecret), Fault> {
    match share {
        Share::Psk => {
            let identity = messages::parse_client_key_exchange(body).ok_or(Fault::MALFORMED)?;
            Ok((identity, OtherSecret::Absent))
        }
        Share::EcdhePsk(key) => {
            let (identity, point) =
                messages::parse_ecdhe_client_key_exchange(body).ok_or(Fault::MALFORMED)?;
            let shared = key.agree(point).ok_or(Fault::ILLEGAL_PARAMETER)?;
            Ok((identity, OtherSecret::Shared(shared)))
        }
    }
}

/// How often a repeated ClientHello gets the flight again. Whoever has seen one can repeat it, from its address and as fast as
/// he likes, and the flight is up to ten times as long. Devices repeat theirs after 1 s and after 3 s (`CONTRACT.md` rule 3).
const HELLO_ANSWERED_EVERY: Duration = Duration::from_millis(500);
/// A ClientKeyExchange has at most 132 bytes, a CertificateVerify 120; a longer identity is an unknown one, up to here. A
/// Certificate has its own limit.
const MAX_MESSAGE_LEN: usize = 1024;
