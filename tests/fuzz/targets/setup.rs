//! What the two sides of a run are made of, chosen by the first two bytes of an input.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::dtls::{
    CertifiedKey, CipherSuite, Claim, ClientConfig, ClientCredential, ClientHandshake, ConnectionId,
    Identity, MaxFragmentLength, OfferedConnectionId, Psk, ServerConfig, ServerTrust, TrustAnchors,
};

use super::script::Script;

/// The choices of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    suites: u8,
    flags: u8,
}

/// The connection IDs of a session.
pub struct Ids {
    pub client: Option<ConnectionId>,
    pub server: Option<ConnectionId>,
}

impl Setup {
    pub fn read(script: &mut Script<'_>) -> Option<Self> {
        let (suites, flags) = (script.byte()?, script.byte()?);
        // Setups that mean the same are the same, so that their recording is made once.
        let chosen = (suites & CHOSEN) % CipherSuite::ALL.len() as u8;
        let raw_key = match CipherSuite::ALL[usize::from(chosen)].has_psk() {
            true => 0,
            false => suites & RAW_KEY,
        };
        Some(Self {
            suites: suites & SEVERAL | raw_key | chosen,
            flags,
        })
    }

    /// The suites that the client is set up with, in its order: one, or all of them from one on. It offers those that fit
    /// what it proves itself by, which the first one decides.
    pub fn suites(self) -> Vec<CipherSuite> {
        let mut suites = CipherSuite::ALL.to_vec();
        suites.rotate_left(usize::from(self.suites & CHOSEN));
        if self.suites & SEVERAL == 0 {
            suites.truncate(1);
        }
        suites
    }

    pub fn extended_master_secret(self) -> bool {
        self.flags & NO_EXTENDED_MASTER_SECRET == 0
    }

    /// What two sides alone choose: the client's first that fits, as the server has them all.
    pub fn expected_suite(self) -> Option<CipherSuite> {
        let has_psk = self.has_psk();
        self.suites().into_iter().find(|suite| suite.has_psk() == has_psk)
    }

    fn has_psk(self) -> bool {
        CipherSuite::ALL[usize::from(self.suites & CHOSEN)].has_psk()
    }

    /// Who the client is, where it proves it.
    pub fn claim(self) -> Claim {
        match self.credential() {
            ClientCredential::Psk { identity, .. } => Claim::Psk(identity),
            ClientCredential::Certificate(certified) => Claim::Certificate(certified.facts().clone()),
            ClientCredential::RawKey(certified) => Claim::RawKey(certified.key_digest()),
        }
    }

    fn credential(self) -> ClientCredential {
        if self.has_psk() {
            let (identity, key) = (identity(), psk());
            ClientCredential::Psk { identity, key }
        } else if self.suites & RAW_KEY == 0 {
            ClientCredential::Certificate(DEVICE.clone())
        } else {
            ClientCredential::RawKey(DEVICE.clone())
        }
    }

    /// Whether the server knows who the client says it is.
    pub fn is_known(self) -> bool {
        self.flags & STRANGER == 0
    }

    /// Whom the server believes: with another key, the other CA.
    pub fn anchors(self) -> Arc<TrustAnchors> {
        match self.flags & WRONG_KEY {
            0 => CA.clone(),
            _ => OTHER_CA.clone(),
        }
    }

    /// The key as the server has it; `None` for an identity that it does not know.
    pub fn server_key(self) -> Option<Psk> {
        match self.flags & (STRANGER | WRONG_KEY) {
            0 => Some(psk()),
            WRONG_KEY => Some(Psk::new(b"another key").expect("a key of 11 bytes")),
            _ => None,
        }
    }

    /// Whether the two sides can come to an agreement.
    pub fn can_agree(self) -> bool {
        self.flags & (STRANGER | WRONG_KEY) == 0
    }

    /// Whether the key is found only when a step says so.
    pub fn slow_lookup(self) -> bool {
        self.flags & SLOW_LOOKUP != 0
    }

    /// What each side finds on what it receives, where two sides alone agree.
    pub fn connection_ids(self) -> Ids {
        match self.offered_connection_id() {
            OfferedConnectionId::None => Ids {
                client: None,
                server: None,
            },
            OfferedConnectionId::Empty => Ids {
                client: None,
                server: Some(SERVER_ID),
            },
            OfferedConnectionId::Own(id) => Ids {
                client: Some(id),
                server: Some(SERVER_ID),
            },
        }
    }

    fn offered_connection_id(self) -> OfferedConnectionId {
        match self.flags & CONNECTION_ID {
            0 => OfferedConnectionId::None,
            EMPTY_CONNECTION_ID => OfferedConnectionId::Empty,
            _ => OfferedConnectionId::Own(ConnectionId::new([0xc1; 8])),
        }
    }

    pub fn client(self) -> ClientHandshake {
        let config = ClientConfig {
            suites: self.suites(),
            extended_master_secret: self.extended_master_secret(),
            max_fragment_length: (self.flags & FRAGMENT_LENGTH != 0).then_some(MaxFragmentLength::Bytes512),
            record_size_limit: (self.flags & SIZE_LIMIT != 0).then_some(64),
            connection_id: self.offered_connection_id(),
            trust: match self.credential() {
                ClientCredential::RawKey(_) => ServerTrust::Anyone,
                ClientCredential::Psk { .. } | ClientCredential::Certificate(_) => ServerTrust::Anchors {
                    anchors: CA.clone(),
                    unix_s: UNIX_S,
                },
            },
            return_routability: self.flags & CONNECTION_ID == CONNECTION_ID,
            ..ClientConfig::default()
        };
        let mut rng = StdRng::seed_from_u64(CLIENT_SEED);
        ClientHandshake::with_credential(&Arc::new(config), self.credential(), start(), &mut rng)
    }

    /// A server that takes whatever there is, on one socket.
    pub fn server(self) -> Arc<ServerConfig> {
        Arc::new(ServerConfig {
            certificate: Some(SERVER.clone()),
            raw_public_keys: true,
            ..ServerConfig::default()
        })
    }
}

/// A certificate of the package's own tests, as PEM.
macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../../src/dtls/tests/certificates/", $name, ".pem"))
    };
}
pub(super) use pem;

static SERVER: LazyLock<Arc<CertifiedKey>> = LazyLock::new(|| certified(pem!("server"), pem!("server.key")));
static DEVICE: LazyLock<Arc<CertifiedKey>> = LazyLock::new(|| certified(pem!("device"), pem!("device.key")));
static CA: LazyLock<Arc<TrustAnchors>> = LazyLock::new(|| anchors(pem!("ca")));
static OTHER_CA: LazyLock<Arc<TrustAnchors>> = LazyLock::new(|| anchors(pem!("other_ca")));

fn certified(chain: &[u8], key: &[u8]) -> Arc<CertifiedKey> {
    Arc::new(CertifiedKey::from_pem(chain, key).expect("a certificate of our own"))
}

pub fn anchors(pem: &[u8]) -> Arc<TrustAnchors> {
    Arc::new(TrustAnchors::from_pem(pem).expect("a CA of our own"))
}

/// The certificate in a PEM text that has one and nothing else.
pub fn der(pem: &[u8]) -> Vec<u8> {
    let lines = pem
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"-----"));
    let text: Vec<u8> = lines.flatten().copied().collect();
    data_encoding::BASE64.decode(&text).expect("PEM is Base64")
}

/// In the middle of the validity of those certificates.
pub const UNIX_S: i64 = 3_000_000_000;

fn identity() -> Identity {
    Identity::new(b"device-id@project-id").expect("an identity of 20 bytes")
}

fn psk() -> Psk {
    Psk::new(b"a secret of the device").expect("a key of 22 bytes")
}

/// When every run begins: nothing that happens in one depends on the clock.
pub fn start() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

pub const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);
pub const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 5684);

pub const SERVER_ID: ConnectionId = ConnectionId::new([0x51, 1, 2, 3, 4, 5, 6, 7]);

const CLIENT_SEED: u64 = 1;
pub const SERVER_SEED: u64 = 2;

/// Of the first byte: the suite chosen and those after it, not the one alone.
const SEVERAL: u8 = 0x80;
/// Of the first byte: with certificates, the key alone.
const RAW_KEY: u8 = 0x40;
const CHOSEN: u8 = 0x3f;
/// Of the second byte.
const NO_EXTENDED_MASTER_SECRET: u8 = 1;
const SIZE_LIMIT: u8 = 1 << 1;
const FRAGMENT_LENGTH: u8 = 1 << 2;
const STRANGER: u8 = 1 << 3;
const WRONG_KEY: u8 = 1 << 4;
const SLOW_LOOKUP: u8 = 1 << 5;
const EMPTY_CONNECTION_ID: u8 = 1 << 6;
/// The upper of the two bits says that the client has one of its own, both that its path may be probed too.
const CONNECTION_ID: u8 = 3 << 6;
