//! The client's half of a handshake.
//!
//! ```text
//! client                                     server                        state afterwards
//! ClientHello                    ──────▶                                   AwaitServerHello
//!                                ◀──────     HelloVerifyRequest
//! ClientHello with cookie        ──────▶                                   AwaitServerHello
//!                                ◀──────     ServerHello                   AwaitServerHelloDone
//!                                ◀──────     Certificate
//!                                ◀──────     ServerKeyExchange (ECDHE, or a hint)
//!                                ◀──────     CertificateRequest
//!                                ◀──────     ServerHelloDone
//! Certificate, ClientKeyExchange,
//! CertificateVerify, Finished    ──────▶                                   AwaitFinished
//!                                ◀──────     ChangeCipherSpec, Finished    Done
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rand::CryptoRng;

use super::flight::{Expiry, Flight, Held, MAX_DATAGRAM_LEN, Retransmission, Writing};
use super::messages::{
    self, CERTIFICATE, CERTIFICATE_REQUEST, CertificateTypes, FINISHED, Fragment, HELLO_VERIFY_REQUEST,
    Listed, MAX_RECORD_SIZE_LIMIT, NULL_COMPRESSION, Offer, RANDOM_LEN, SERVER_HELLO, SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE, ServerHello, certificates,
};
use super::reassembly::{Message, Reassembly};
use super::secrets::{MasterSecret, OtherSecret, Randoms, Side, VERIFY_DATA_LEN};
use super::{Established, FailureReason, Fault, HandshakeEvent, HandshakeFailure, Timers};
use crate::dtls::alert::{self, Alert};
use crate::dtls::certificate::{PeerKey, verify_server_chain};
use crate::dtls::connection_id::ConnectionIds;
use crate::dtls::crypto::{self, EphemeralKey, SharedSecret, Transcript};
use crate::dtls::record::{ContentType, DTLS_1_0, DTLS_1_2, RecordHeader, records};
use crate::dtls::suite::{KeyExchange, Protection};
use crate::dtls::{
    CertifiedKey, ChainFault, CipherSuite, Claim, Identity, OfferedConnectionId, PeerChain, Psk, Session,
    TrustAnchors,
};

/// What a client offers.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The suites offered, most wanted first.
    pub suites: Vec<CipherSuite>,
    /// Retransmission timers.
    pub timers: Timers,
    /// Whether to offer the extended master secret (RFC 7627).
    pub extended_master_secret: bool,
    /// The max_fragment_length to ask for (RFC 6066 section 4).
    pub max_fragment_length: Option<MaxFragmentLength>,
    /// The record_size_limit to announce, 64 to 16384 bytes (RFC 8449); values outside are moved to the nearer end.
    pub record_size_limit: Option<u16>,
    /// What to say about connection IDs (RFC 9146): with one, the client may change its address at any time.
    pub connection_id: OfferedConnectionId,
    /// Whether to let the server ask whether we receive at an address (RFC 9853), where a connection ID is offered.
    pub return_routability: bool,
    /// Which servers it talks to, where they prove themselves by certificates.
    pub trust: ServerTrust,
}

/// What a client proves itself by. It offers the suites of its configuration that fit it.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// A pre-shared key.
    Psk {
        /// Its name.
        identity: Identity,
        /// The key.
        key: Psk,
    },
    /// A certificate.
    Certificate(Arc<CertifiedKey>),
    /// The certificate's key, without the certificate (RFC 7250).
    RawKey(Arc<CertifiedKey>),
}

/// Which certificates of a server are good.
#[derive(Clone, Debug, Default)]
pub enum ServerTrust {
    /// Whatever the server shows: it is not known who it is. For load and simulation, and tests.
    #[default]
    Anyone,
    /// Those that an anchor vouches for.
    Anchors {
        /// The CAs.
        anchors: Arc<TrustAnchors>,
        /// The time at which the certificates have to be valid, in seconds since 1970.
        unix_s: i64,
    },
}

/// The lengths that RFC 6066 section 4 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxFragmentLength {
    /// 512 bytes.
    Bytes512,
    /// 1024 bytes.
    Bytes1024,
    /// 2048 bytes.
    Bytes2048,
    /// 4096 bytes.
    Bytes4096,
}

/// One handshake towards a server.
pub struct ClientHandshake {
    state: State,
    suites: Vec<u16>,
    offer: Offer,
    connection_id: OfferedConnectionId,
    credential: ClientCredential,
    trust: ServerTrust,
    random: [u8; RANDOM_LEN],
    transcript: Transcript,
    /// Every message that the transcript covers, where there is to be a signature over them.
    said: Vec<u8>,
    next_message_seq: u16,
    next_plaintext_number: u64,
    flight: Flight,
    retransmission: Retransmission,
    incoming: Reassembly,
    held: Held,
    change_cipher_spec: bool,
    event: Option<HandshakeEvent>,
}

#[derive(Debug)]
enum State {
    AwaitServerHello,
    AwaitServerHelloDone(AwaitServerHelloDone),
    AwaitFinished(Box<AwaitFinished>),
    Done,
}

#[derive(Debug)]
struct AwaitServerHelloDone {
    suite: CipherSuite,
    randoms: Randoms,
    accepted: Offer,
    /// The server's, from its Certificate.
    server_key: Option<PeerKey>,
    /// From the ServerKeyExchange, where there was one.
    point: Option<Vec<u8>>,
    certificate_requested: bool,
}

#[derive(Debug)]
struct AwaitFinished {
    master_secret: MasterSecret,
    session: Session,
    /// The number of the ServerHelloDone: if it comes again, the server did not get our flight.
    done_seq: u16,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            suites: CipherSuite::ALL.to_vec(),
            timers: Timers::default(),
            extended_master_secret: true,
            max_fragment_length: None,
            record_size_limit: None,
            trust: ServerTrust::default(),
            connection_id: OfferedConnectionId::None,
            return_routability: false,
        }
    }
}

impl MaxFragmentLength {
    fn code(self) -> u8 {
        match self {
            Self::Bytes512 => 1,
            Self::Bytes1024 => 2,
            Self::Bytes2048 => 3,
            Self::Bytes4096 => 4,
        }
    }
}

impl ClientCredential {
    fn claim(&self) -> Claim {
        match self {
            Self::Psk { identity, .. } => Claim::Psk(identity.clone()),
            Self::Certificate(own) => Claim::Certificate(own.facts().clone()),
            Self::RawKey(own) => Claim::RawKey(own.key_digest()),
        }
    }

    fn fits(&self, suite: CipherSuite) -> bool {
        suite.has_psk() == matches!(self, Self::Psk { .. })
    }
}

impl ClientHandshake {
    /// Starts with a pre-shared key: the first ClientHello waits in [`ClientHandshake::poll_transmit`].
    pub fn new(
        config: &Arc<ClientConfig>,
        identity: Identity,
        psk: Psk,
        now: Instant,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let credential = ClientCredential::Psk { identity, key: psk };
        Self::with_credential(config, credential, now, rng)
    }

    /// Starts with whatever the client has.
    pub fn with_credential(
        config: &Arc<ClientConfig>,
        credential: ClientCredential,
        now: Instant,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let mut random = [0; RANDOM_LEN];
        rng.fill_bytes(&mut random);
        let suites: Vec<CipherSuite> = config
            .suites
            .iter()
            .copied()
            .filter(|suite| credential.fits(*suite))
            .collect();
        let listed_if = |any: bool| if any { Listed::Yes } else { Listed::NoList };
        let elliptic = listed_if(
            suites
                .iter()
                .any(|suite| suite.key_exchange() != KeyExchange::Psk),
        );
        let raw_if = |raw: bool| {
            if raw {
                CertificateTypes::RawKey
            } else {
                CertificateTypes::X509
            }
        };
        let shows_raw = matches!(credential, ClientCredential::RawKey(_));
        let mut handshake = Self {
            state: State::AwaitServerHello,
            offer: Offer {
                extended_master_secret: config.extended_master_secret,
                renegotiation_info: true,
                encrypt_then_mac: suites
                    .iter()
                    .any(|suite| suite.protection() == Protection::CbcThenMac),
                p256: elliptic,
                uncompressed_points: elliptic,
                ecdsa_sha256: listed_if(suites.iter().any(|suite| !suite.has_psk())),
                client_certificate: raw_if(shows_raw),
                // A key alone cannot be vouched for.
                server_certificate: raw_if(shows_raw && matches!(config.trust, ServerTrust::Anyone)),
                max_fragment_length: config.max_fragment_length.map(MaxFragmentLength::code),
                record_size_limit: config
                    .record_size_limit
                    .map(|limit| limit.clamp(64, MAX_RECORD_SIZE_LIMIT)),
                connection_id: config.connection_id.chosen(),
                //= RFC 9853 section 3
                //# A client offering the rrc extension MUST also offer the connection_id extension
                return_routability: config.return_routability && config.connection_id.chosen().is_some(),
            },
            suites: suites.iter().map(|suite| suite.id()).collect(),
            connection_id: config.connection_id,
            credential,
            trust: config.trust.clone(),
            random,
            transcript: Transcript::new(),
            said: Vec::new(),
            next_message_seq: 0,
            next_plaintext_number: 0,
            flight: Flight::new(),
            retransmission: Retransmission::new(&config.timers, now),
            incoming: Reassembly::new(0, MAX_MESSAGE_LEN).with_certificate(),
            held: Held::default(),
            change_cipher_spec: false,
            event: None,
        };
        handshake.send_hello(now, &[]);
        handshake
    }

    /// Takes a datagram from the server.
    ///
    /// # Errors
    /// When the handshake is over.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) -> Result<(), HandshakeFailure> {
        for record in records(datagram) {
            self.handle_record(now, record)?;
        }
        Ok(())
    }

    /// To be called at [`ClientHandshake::poll_timeout`]; earlier does no harm.
    ///
    /// # Errors
    /// When the deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeFailure> {
        if matches!(self.state, State::Done) {
            return Ok(());
        }
        match self.retransmission.expire(now) {
            Expiry::Nothing => {}
            Expiry::Resend => self.flight.send(),
            Expiry::Deadline => {
                self.state = State::Done;
                self.flight.cancel();
                return Err(HandshakeFailure {
                    reason: FailureReason::TimedOut,
                    claim: Some(Box::new(self.credential.claim())),
                    alert: None,
                });
            }
        }
        Ok(())
    }

    /// Appends one datagram to send to `out`; false when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let (version, session) = match &mut self.state {
            // The least that every server reads; the hello itself says 1.2 (RFC 5246 appendix E.1).
            State::AwaitServerHello => (DTLS_1_0, None),
            State::AwaitServerHelloDone(_) | State::Done => (DTLS_1_2, None),
            State::AwaitFinished(awaiting) => (DTLS_1_2, Some(&mut awaiting.session)),
        };
        let how = Writing {
            version,
            max_record: MAX_DATAGRAM_LEN,
            plaintext_number: &mut self.next_plaintext_number,
            session,
        };
        self.flight.write_datagram(how, out)
    }

    /// What happened: [`HandshakeEvent::Established`], once.
    pub fn poll_event(&mut self) -> Option<HandshakeEvent> {
        self.event.take()
    }

    /// When to call [`ClientHandshake::handle_timeout`]. `None` once the handshake is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Done)).then(|| self.retransmission.next())
    }

    fn send_hello(&mut self, now: Instant, cookie: &[u8]) {
        let hello = messages::client_hello(self.take_seq(), &self.random, cookie, &self.suites, &self.offer);
        // Only the last hello is part of what the Finished covers.
        self.transcript = Transcript::new();
        self.said.clear();
        self.note(&hello);
        self.send(now, Flight::new().message(hello));
    }

    fn handle_record(&mut self, now: Instant, record: &mut [u8]) -> Result<(), HandshakeFailure> {
        let Some(header) = RecordHeader::peek(record) else {
            return Ok(());
        };
        match (header.epoch, header.content_type) {
            (0, ContentType::Handshake) => self.handle_messages(now, &record[RecordHeader::LEN..]),
            (0, ContentType::ChangeCipherSpec) => {
                self.change_cipher_spec = true;
                for mut record in self.held.take() {
                    self.handle_protected(&mut record)?;
                }
                Ok(())
            }
            // Anybody can have written it; but a client that is refused should not wait for its deadline, and one
            // that is fooled tries again.
            (0, ContentType::Alert) => match Alert::parse(&record[RecordHeader::LEN..]) {
                Some(alert) if alert.fatal && !matches!(self.state, State::Done) => {
                    Err(self.fail(Fault::from_peer(alert.description)))
                }
                Some(_) | None => Ok(()),
            },
            (
                0,
                ContentType::ApplicationData | ContentType::Tls12Cid | ContentType::ReturnRoutabilityCheck,
            ) => Ok(()),
            (_, _) => self.handle_protected(record),
        }
    }

    fn handle_messages(&mut self, now: Instant, mut record: &[u8]) -> Result<(), HandshakeFailure> {
        while let Some(fragment) = Fragment::read(&mut record) {
            match &self.state {
                State::AwaitServerHello | State::AwaitServerHelloDone(_) => {}
                State::AwaitFinished(awaiting) => {
                    //= RFC 6347 section 4.2.4
                    //# The implementation reads a retransmitted flight from the peer: the implementation transitions
                    //# to the SENDING state, where it retransmits the flight
                    if fragment.kind == SERVER_HELLO_DONE && fragment.message_seq == awaiting.done_seq {
                        self.flight.send();
                        self.retransmission.restart(now);
                    }
                    continue;
                }
                State::Done => return Ok(()),
            }
            self.incoming.insert(&fragment);
            while let Some(message) = self.incoming.pop() {
                self.handle_message(now, &message)
                    .map_err(|fault| self.fail(fault))?;
            }
        }
        Ok(())
    }

    fn handle_message(&mut self, now: Instant, message: &Message) -> Result<(), Fault> {
        match (&mut self.state, message.kind) {
            (State::AwaitServerHello, HELLO_VERIFY_REQUEST) => {
                let cookie = messages::parse_hello_verify_request(message.body()).ok_or(Fault::MALFORMED)?;
                let cookie = cookie.to_vec();
                self.send_hello(now, &cookie);
                Ok(())
            }
            (State::AwaitServerHello, SERVER_HELLO) => {
                let hello = ServerHello::parse(message.body()).ok_or(Fault::MALFORMED)?;
                if hello.version != DTLS_1_2 {
                    return Err(Fault::UNSUPPORTED_VERSION);
                }
                let suite =
                    CipherSuite::from_id(hello.suite).filter(|suite| self.suites.contains(&suite.id()));
                let suite = suite.ok_or(Fault::ILLEGAL_PARAMETER)?;
                if hello.compression != NULL_COMPRESSION {
                    return Err(Fault::ILLEGAL_PARAMETER);
                }
                let accepted = hello.accepted(&self.offer)?;
                match suite.protection() {
                    Protection::Aead(_) if accepted.encrypt_then_mac => return Err(Fault::ILLEGAL_PARAMETER),
                    // The other order of the two is not spoken here.
                    Protection::CbcThenMac if !accepted.encrypt_then_mac => {
                        return Err(Fault::NO_COMMON_SUITE);
                    }
                    Protection::Aead(_) | Protection::CbcThenMac => {}
                }
                let randoms = Randoms {
                    client: self.random,
                    server: *hello.random,
                };
                if !suite.has_psk()
                    && (accepted.client_certificate, accepted.server_certificate)
                        != (self.offer.client_certificate, self.offer.server_certificate)
                {
                    // Nothing else was offered.
                    return Err(Fault::of_certificate(ChainFault::Unsupported));
                }
                self.note(&message.bytes);
                self.state = State::AwaitServerHelloDone(AwaitServerHelloDone {
                    suite,
                    randoms,
                    accepted,
                    server_key: None,
                    point: None,
                    certificate_requested: false,
                });
                Ok(())
            }
            (State::AwaitServerHelloDone(awaiting), CERTIFICATE)
                if !awaiting.suite.has_psk() && awaiting.server_key.is_none() =>
            {
                let kind = awaiting.accepted.server_certificate;
                awaiting.server_key = Some(server_key(kind, &self.trust, message.body())?);
                self.note(&message.bytes);
                Ok(())
            }
            (State::AwaitServerHelloDone(awaiting), SERVER_KEY_EXCHANGE) => {
                match (
                    awaiting.suite.key_exchange(),
                    &awaiting.point,
                    &awaiting.server_key,
                ) {
                    (KeyExchange::Psk, _, _) => {
                        // A hint for choosing among identities; there is but one.
                        messages::parse_server_key_exchange(message.body()).ok_or(Fault::MALFORMED)?;
                    }
                    (KeyExchange::EcdhePsk, None, _) => {
                        let point = messages::parse_ecdhe_server_key_exchange(message.body())?;
                        awaiting.point = Some(point.to_vec());
                    }
                    (KeyExchange::EcdheEcdsa, None, Some(key)) => {
                        let exchange = certificates::parse_signed_exchange(message.body())?;
                        let signed = exchange.signed(&awaiting.randoms);
                        let signature = exchange.signature;
                        if !key.verify(signature.hash, &signed, signature.bytes) {
                            return Err(Fault::BAD_SIGNATURE);
                        }
                        awaiting.point = Some(exchange.point.to_vec());
                    }
                    (KeyExchange::EcdhePsk | KeyExchange::EcdheEcdsa, _, _) => {
                        return Err(Fault::UNEXPECTED_MESSAGE);
                    }
                }
                self.note(&message.bytes);
                Ok(())
            }
            (State::AwaitServerHelloDone(awaiting), CERTIFICATE_REQUEST)
                if !awaiting.suite.has_psk()
                    && awaiting.point.is_some()
                    && !awaiting.certificate_requested =>
            {
                certificates::parse_certificate_request(message.body())?;
                awaiting.certificate_requested = true;
                self.note(&message.bytes);
                Ok(())
            }
            (State::AwaitServerHelloDone(_), SERVER_HELLO_DONE) => {
                if !message.body().is_empty() {
                    return Err(Fault::MALFORMED);
                }
                self.note(&message.bytes);
                self.send_keys(now)
            }
            (_, _) => Err(Fault::UNEXPECTED_MESSAGE),
        }
    }

    fn send_keys(&mut self, now: Instant) -> Result<(), Fault> {
        let AwaitServerHelloDone {
            suite,
            randoms,
            accepted,
            point,
            certificate_requested,
            server_key: _,
        } = match std::mem::replace(&mut self.state, State::Done) {
            State::AwaitServerHelloDone(awaiting) => awaiting,
            other @ (State::AwaitServerHello | State::AwaitFinished(_) | State::Done) => {
                self.state = other;
                return Ok(());
            }
        };
        let mut ours = Vec::new();
        if certificate_requested {
            let seq = self.take_seq();
            //= RFC 5246 section 7.4.6
            //# If no suitable certificate is available, the client MUST send a certificate message containing no
            //# certificates.
            ours.push(match &self.credential {
                ClientCredential::Psk { .. } => certificates::certificate(seq, &[]),
                ClientCredential::Certificate(own) => certificates::certificate(seq, own.chain()),
                ClientCredential::RawKey(own) => certificates::raw_key(seq, own.public_key_info()),
            });
        }
        let agree = || {
            let theirs = point.ok_or(Fault::UNEXPECTED_MESSAGE)?;
            let key = EphemeralKey::generate();
            let public = *key.public();
            let shared = key.agree(&theirs).ok_or(Fault::ILLEGAL_PARAMETER)?;
            Ok((public, shared))
        };
        let seq = self.take_seq();
        let (key_exchange, secret) = match (suite.key_exchange(), &self.credential) {
            (KeyExchange::Psk, ClientCredential::Psk { identity, key }) => (
                messages::client_key_exchange(seq, identity.as_bytes()),
                Secret::Psk(key.clone(), OtherSecret::Absent),
            ),
            (KeyExchange::EcdhePsk, ClientCredential::Psk { identity, key }) => {
                let (public, shared) = agree()?;
                let message = messages::ecdhe_client_key_exchange(seq, identity.as_bytes(), &public);
                (message, Secret::Psk(key.clone(), OtherSecret::Shared(shared)))
            }
            (KeyExchange::EcdheEcdsa, ClientCredential::Certificate(_) | ClientCredential::RawKey(_)) => {
                let (public, shared) = agree()?;
                (certificates::client_point(seq, &public), Secret::Ecdhe(shared))
            }
            // A suite that was not offered.
            (
                KeyExchange::Psk | KeyExchange::EcdhePsk,
                ClientCredential::Certificate(_) | ClientCredential::RawKey(_),
            )
            | (KeyExchange::EcdheEcdsa, ClientCredential::Psk { .. }) => {
                return Err(Fault::ILLEGAL_PARAMETER);
            }
        };
        ours.push(key_exchange);
        for message in &ours {
            self.note(message);
        }
        let session_hash = accepted.extended_master_secret.then(|| self.transcript.hash());
        let master_secret = match &secret {
            Secret::Psk(psk, other) => MasterSecret::derive(psk, other, &randoms, session_hash),
            Secret::Ecdhe(shared) => MasterSecret::derive_ecdhe(shared, &randoms, session_hash),
        };
        if certificate_requested && let Some(signature) = self.sign_what_was_said() {
            let verify = certificates::certificate_verify(self.take_seq(), &signature);
            self.note(&verify);
            ours.push(verify);
        }
        let mut session = master_secret.session(Side::Client, suite, &randoms);
        if let Some(max) = accepted.max_plaintext() {
            session.limit_plaintext(max);
        }
        if let Some(theirs) = accepted.connection_id {
            session.use_connection_ids(ConnectionIds {
                ours: self.connection_id.own(),
                theirs: theirs.as_bytes().into(),
                return_routability: accepted.return_routability,
            });
        }
        let verify_data = master_secret.verify_data(Side::Client, self.transcript.hash());
        let finished = messages::message(FINISHED, self.take_seq(), |body| {
            body.extend_from_slice(&verify_data)
        });
        self.note(&finished);

        let next_seq = self.incoming.next_seq();
        self.incoming = Reassembly::new(next_seq, VERIFY_DATA_LEN);
        let awaiting = AwaitFinished {
            master_secret,
            session,
            done_seq: next_seq.saturating_sub(1),
        };
        self.state = State::AwaitFinished(Box::new(awaiting));
        let flight = ours.into_iter().fold(Flight::new(), Flight::message);
        self.send(now, flight.finish(finished));
        Ok(())
    }

    /// The signature of a CertificateVerify; `None` where there is no key to sign with, or it was not shown.
    fn sign_what_was_said(&self) -> Option<Vec<u8>> {
        match &self.credential {
            ClientCredential::Psk { .. } => None,
            ClientCredential::Certificate(own) => (!own.chain().is_empty()).then(|| own.sign(&self.said)),
            ClientCredential::RawKey(own) => Some(own.sign(&self.said)),
        }
    }

    fn handle_protected(&mut self, record: &mut [u8]) -> Result<(), HandshakeFailure> {
        let awaiting = match &mut self.state {
            State::AwaitFinished(awaiting) if self.change_cipher_spec => awaiting,
            State::AwaitServerHello | State::AwaitServerHelloDone(_) | State::AwaitFinished(_) => {
                self.held.keep(record);
                return Ok(());
            }
            State::Done => return Ok(()),
        };
        let Ok(opened) = awaiting.session.open(record) else {
            return Ok(());
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
        let awaiting = match std::mem::replace(&mut self.state, State::Done) {
            State::AwaitFinished(awaiting) => awaiting,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let expected = awaiting
            .master_secret
            .verify_data(Side::Server, self.transcript.hash());
        if !crypto::equal(finished.body(), &expected) {
            self.state = State::AwaitFinished(awaiting);
            return Err(self.fail(Fault::BAD_FINISHED));
        }
        self.flight.cancel();
        let established = Established {
            session: awaiting.session,
            claim: self.credential.claim(),
        };
        self.event = Some(HandshakeEvent::Established(Box::new(established)));
        Ok(())
    }

    fn fail(&mut self, fault: Fault) -> HandshakeFailure {
        self.flight.cancel();
        let claim = Some(self.credential.claim());
        match std::mem::replace(&mut self.state, State::Done) {
            // Past our ChangeCipherSpec we speak under the new keys.
            State::AwaitFinished(mut awaiting) => fault.into_sealed_failure(claim, &mut awaiting.session),
            State::AwaitServerHello | State::AwaitServerHelloDone(_) | State::Done => {
                fault.into_failure(claim, self.next_plaintext_number)
            }
        }
    }

    fn send(&mut self, now: Instant, flight: Flight) {
        self.flight = flight;
        self.flight.send();
        self.retransmission.start(now);
    }

    fn note(&mut self, message: &[u8]) {
        self.transcript.update(message);
        match self.credential {
            ClientCredential::Psk { .. } => {}
            ClientCredential::Certificate(_) | ClientCredential::RawKey(_) => {
                self.said.extend_from_slice(message)
            }
        }
    }

    fn take_seq(&mut self) -> u16 {
        let seq = self.next_message_seq;
        self.next_message_seq = seq.saturating_add(1);
        seq
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What goes into the master secret.
enum Secret {
    Psk(Psk, OtherSecret),
    Ecdhe(SharedSecret),
}

/// The key that a server shows, where the server is to be believed.
fn server_key(kind: CertificateTypes, trust: &ServerTrust, body: &[u8]) -> Result<PeerKey, Fault> {
    match kind {
        CertificateTypes::X509 => {
            let certificates = certificates::parse_certificate(body).ok_or(Fault::MALFORMED)?;
            let chain = PeerChain::new(certificates).map_err(Fault::of_certificate)?;
            match trust {
                ServerTrust::Anyone => {}
                ServerTrust::Anchors { anchors, unix_s } => {
                    verify_server_chain(&chain, anchors, *unix_s).map_err(Fault::of_certificate)?;
                }
            }
            PeerKey::of_certificate(chain.leaf()).map_err(Fault::of_certificate)
        }
        CertificateTypes::RawKey => {
            let info = certificates::parse_raw_key(body).ok_or(Fault::MALFORMED)?;
            PeerKey::of_public_key_info(info).map_err(Fault::of_certificate)
        }
        CertificateTypes::Other => Err(Fault::of_certificate(ChainFault::Unsupported)),
    }
}

/// A ServerHello with every extension it may have, or an identity hint and a point. A Certificate has its own limit.
const MAX_MESSAGE_LEN: usize = 1024;
