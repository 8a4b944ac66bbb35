//! What a handshake costs the server, by suite.
//!
//! 1. A batch of clients goes through it in step, so that the server's part of each step is one piece to be timed.
//! 2. The same clients go through sockets and a shard of the gateway.
//! 3. Both stand beside the sum of the primitives that such a handshake cannot do without, and the echo of as many datagrams.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::clock;
use tessera::dtls::{
    Admission, CertifiedKey, CipherSuite, ClientConfig, ClientCredential, ClientHandshake, CookieJar,
    HandshakeEvent, Identity, Psk, ServerConfig, ServerHandshake, Session, TrustAnchors, verify_chain,
};

use super::cpu::Meter;
use super::echo::echo;
use super::gateway;
use super::primitives::Primitives;

/// Measures, and returns what there is to read.
///
/// # Errors
/// When a socket fails, or a handshake.
pub fn handshakes() -> io::Result<String> {
    let primitives = Primitives::measure();
    let echo = echo(DATAGRAM)?;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "CPU of the server per full handshake, in microseconds; {BATCH} at a time. A bare echo of {DATAGRAM} bytes costs {echo:.2}.\n\n\
         {:<40} {:>8} {:>10} {:>6} {:>10} {:>6} {:>12} {:>8}  budget",
        "suite", "security", "primitives", "ratio", "public-key", "ratio", "with sockets", "echoes"
    );
    for suite in CipherSuite::ALL {
        let alone = in_step(suite)?;
        let public_key = public_key_operations(&primitives, suite);
        let made_of = public_key + symmetric_primitives(&primitives, suite);
        let whole = gateway::handshakes(suite)?;
        let _ = writeln!(
            out,
            "{:<40} {alone:>8.2} {made_of:>10.2} {:>6.2} {public_key:>10.2} {:>6} {whole:>12.2} {:>8.1}  {}",
            suite.to_string(),
            alone / made_of,
            if public_key > 0.0 {
                format!("{:.2}", alone / public_key)
            } else {
                "-".to_owned()
            },
            whole / echo,
            budget(suite),
        );
    }
    Ok(out)
}

/// `DESIGN.md` 5.
fn budget(suite: CipherSuite) -> String {
    match suite {
        CipherSuite::PskAes128GcmSha256
        | CipherSuite::PskAes128Ccm
        | CipherSuite::PskAes128Ccm8
        | CipherSuite::PskAes128CbcSha256 => format!("{ECHOES_MAX:.1} echoes, with sockets"),
        CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => "none".to_owned(),
        CipherSuite::EcdheEcdsaAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes128Ccm
        | CipherSuite::EcdheEcdsaAes128Ccm8 => "1.20 of public-key".to_owned(),
    }
}

/// One client, as a batch has them.
pub struct Client {
    pub handshake: ClientHandshake,
    pub session: Option<Session>,
}

impl Client {
    /// A client that is about to begin.
    pub fn new(suite: CipherSuite, index: usize, now: Instant, rng: &mut StdRng) -> Self {
        let config = ClientConfig {
            suites: vec![suite],
            ..ClientConfig::default()
        };
        let credential = if suite.has_psk() {
            ClientCredential::Psk {
                identity: identity(index),
                key: psk(),
            }
        } else {
            ClientCredential::Certificate(DEVICE.clone())
        };
        let handshake = ClientHandshake::with_credential(&Arc::new(config), credential, now, rng);
        Self {
            handshake,
            session: None,
        }
    }

    /// Takes a datagram.
    pub fn handle(&mut self, now: Instant, datagram: &mut [u8]) -> io::Result<()> {
        self.handshake
            .handle_datagram(now, datagram)
            .map_err(io::Error::other)?;
        if let Some(HandshakeEvent::Established(established)) = self.handshake.poll_event() {
            self.session = Some(established.session);
        }
        Ok(())
    }
}

pub fn identity(index: usize) -> Identity {
    Identity::new(format!("device-{index}@bench").as_bytes()).expect("a short identity")
}

/// A server that takes pre-shared keys and certificates.
pub fn server() -> ServerConfig {
    ServerConfig {
        certificate: Some(SERVER.clone()),
        ..ServerConfig::default()
    }
}

pub fn psk() -> Psk {
    Psk::new(&[11; 16]).expect("a key of 16 bytes")
}

/// What the security layer alone costs: the least of some batches.
fn in_step(suite: CipherSuite) -> io::Result<f64> {
    let now = clock::now();
    let mut rng = StdRng::seed_from_u64(1);
    let jar = CookieJar::new([12; 32], now);
    let config = Arc::new(server());
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let mut clients: Vec<Client> = (0..BATCH)
            .map(|index| Client::new(suite, index, now, &mut rng))
            .collect();
        let mut peers: Vec<Peer> = (0..BATCH).map(Peer::new).collect();
        let mut meter = Meter::default();
        loop {
            let mut sent = false;
            for (client, peer) in clients.iter_mut().zip(&mut peers) {
                peer.datagram.clear();
                // A flight of several datagrams may as well come in one: it is made of records.
                while client.handshake.poll_transmit(&mut peer.datagram) {
                    sent = true;
                }
            }
            if !sent {
                break;
            }
            meter.time(|| {
                peers
                    .iter_mut()
                    .try_for_each(|peer| peer.serve(&jar, &config, now, &mut rng))
            })?;
            for (client, peer) in clients.iter_mut().zip(&mut peers) {
                client.handle(now, &mut peer.answer)?;
            }
        }
        if !peers.iter().all(|peer| peer.session.is_some()) || !clients.iter().all(|c| c.session.is_some()) {
            return Err(io::Error::other(format!("a handshake of {suite} came to no end")));
        }
        least = least.min(meter.each(BATCH));
    }
    Ok(least)
}

/// The server's side of one client.
struct Peer {
    address: SocketAddr,
    datagram: Vec<u8>,
    answer: Vec<u8>,
    handshake: Option<ServerHandshake>,
    session: Option<Session>,
}

impl Peer {
    fn new(index: usize) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + index as u16)),
            datagram: Vec::new(),
            answer: Vec::new(),
            handshake: None,
            session: None,
        }
    }

    /// What a shard does with a datagram of a handshake.
    fn serve(
        &mut self,
        jar: &CookieJar,
        config: &Arc<ServerConfig>,
        now: Instant,
        rng: &mut StdRng,
    ) -> io::Result<()> {
        self.answer.clear();
        match jar.admit(now, self.address, LOCAL, &self.datagram, &mut self.answer) {
            Admission::Challenged => return Ok(()),
            Admission::Verified(hello) => {
                let handshake = ServerHandshake::new(config, hello, None, now, rng);
                self.handshake = Some(handshake.map_err(io::Error::other)?);
            }
            Admission::Dropped(_) => return Err(io::Error::other("a ClientHello was dropped")),
            Admission::NotAClientHello => {
                if let Some(handshake) = &mut self.handshake {
                    handshake
                        .handle_datagram(now, &mut self.datagram)
                        .map_err(io::Error::other)?;
                }
            }
        }
        let Some(handshake) = &mut self.handshake else {
            return Ok(());
        };
        while let Some(event) = handshake.poll_event() {
            match event {
                HandshakeEvent::KeyWanted(_) => {
                    handshake
                        .provide_key(now, Some(&psk()), rng)
                        .map_err(io::Error::other)?;
                }
                HandshakeEvent::ChainPresented(chain) => {
                    verify_chain(&chain, &ANCHORS, UNIX_S).map_err(io::Error::other)?;
                    handshake.accept_peer(now).map_err(io::Error::other)?;
                }
                HandshakeEvent::RawKeyPresented(_) => {
                    return Err(io::Error::other("a bare key came of a certificate"));
                }
                HandshakeEvent::Established(established) => self.session = Some(established.session),
            }
        }
        while handshake.poll_transmit(&mut self.answer) {}
        Ok(())
    }
}

/// What is done with public keys, of which certificates have most: our signature, the client's, and that of its CA.
fn public_key_operations(cost: &Primitives, suite: CipherSuite) -> f64 {
    match suite {
        CipherSuite::PskAes128GcmSha256
        | CipherSuite::PskAes128Ccm
        | CipherSuite::PskAes128Ccm8
        | CipherSuite::PskAes128CbcSha256 => 0.0,
        CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => cost.ecdh,
        CipherSuite::EcdheEcdsaAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes128Ccm
        | CipherSuite::EcdheEcdsaAes128Ccm8 => cost.ecdh + cost.sign + 2.0 * cost.verify,
    }
}

/// What no handshake can do without: a challenge and its check; the master secret; the keys; the two Finished.
fn symmetric_primitives(cost: &Primitives, suite: CipherSuite) -> f64 {
    let records = match suite {
        CipherSuite::PskAes128CbcSha256 => cost.prf_128 + cost.cbc,
        CipherSuite::PskAes128GcmSha256
        | CipherSuite::EcdhePskAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes128GcmSha256 => cost.prf_40 + cost.gcm,
        CipherSuite::PskAes128Ccm
        | CipherSuite::PskAes128Ccm8
        | CipherSuite::EcdhePskAes128CcmSha256
        | CipherSuite::EcdheEcdsaAes128Ccm
        | CipherSuite::EcdheEcdsaAes128Ccm8 => cost.prf_40 + cost.ccm,
    };
    2.0 * cost.cookie + cost.prf_48 + 2.0 * cost.prf_12 + cost.transcript + records
}

/// A certificate of the package's own tests, as PEM.
macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../../src/dtls/tests/certificates/", $name, ".pem"))
    };
}

static SERVER: LazyLock<Arc<CertifiedKey>> = LazyLock::new(|| certified(pem!("server"), pem!("server.key")));
static DEVICE: LazyLock<Arc<CertifiedKey>> = LazyLock::new(|| certified(pem!("device"), pem!("device.key")));
pub static ANCHORS: LazyLock<TrustAnchors> =
    LazyLock::new(|| TrustAnchors::from_pem(pem!("ca")).expect("a CA of our own"));
/// In the middle of their validity.
pub const UNIX_S: i64 = 3_000_000_000;

fn certified(chain: &[u8], key: &[u8]) -> Arc<CertifiedKey> {
    Arc::new(CertifiedKey::from_pem(chain, key).expect("a certificate of our own"))
}

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5684);
/// As large as a ClientHello or the flight that ends a handshake.
const DATAGRAM: usize = 128;
/// `DESIGN.md` 5: 40 microseconds where an echo costs 3.
const ECHOES_MAX: f64 = 40.0 / 3.0;
pub const BATCH: usize = 64;
const ROUNDS: usize = 30;
