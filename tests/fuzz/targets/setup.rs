//! What the two sides of a run are made of, chosen by the first two bytes of an input.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::dtls::{
    CipherSuite, ClientConfig, ClientHandshake, ConnectionId, Identity, MaxFragmentLength,
    OfferedConnectionId, Psk, ServerConfig,
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
        let chosen = (suites & !SEVERAL) % CipherSuite::ALL.len() as u8;
        Some(Self {
            suites: suites & SEVERAL | chosen,
            flags,
        })
    }

    /// The suites that the client offers, in its order: one, or all of them from one on.
    pub fn suites(self) -> Vec<CipherSuite> {
        let mut suites = CipherSuite::ALL.to_vec();
        suites.rotate_left(usize::from(self.suites & !SEVERAL));
        if self.suites & SEVERAL == 0 {
            suites.truncate(1);
        }
        suites
    }

    pub fn extended_master_secret(self) -> bool {
        self.flags & NO_EXTENDED_MASTER_SECRET == 0
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
            return_routability: self.flags & CONNECTION_ID == CONNECTION_ID,
            ..ClientConfig::default()
        };
        let mut rng = StdRng::seed_from_u64(CLIENT_SEED);
        ClientHandshake::new(&Arc::new(config), identity(), psk(), start(), &mut rng)
    }

    pub fn server(self) -> Arc<ServerConfig> {
        Arc::new(ServerConfig::default())
    }
}

pub fn identity() -> Identity {
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
