//! From the pre-shared key to the keys of a session.

use zeroize::Zeroizing;

use super::messages::RANDOM_LEN;
use crate::dtls::crypto::{self, HASH_LEN, KEY_LEN};
use crate::dtls::session::{SALT_LEN, TrafficKey};
use crate::dtls::{CipherSuite, Psk, Session};

/// The master secret of a handshake.
pub struct MasterSecret {
    secret: Zeroizing<[u8; 48]>,
    extended: bool,
}

/// The randoms of both sides.
#[derive(Clone, Copy, Debug)]
pub struct Randoms {
    pub client: [u8; RANDOM_LEN],
    pub server: [u8; RANDOM_LEN],
}

/// Which side of the handshake somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl MasterSecret {
    /// Derives it: from the hash of the handshake up to the ClientKeyExchange where `session_hash` is given (RFC
    /// 7627), else from the randoms.
    pub fn derive(psk: &Psk, randoms: &Randoms, session_hash: Option<[u8; HASH_LEN]>) -> Self {
        //= RFC 4279 section 2
        //# if the PSK is N octets long, concatenate a uint16 with the value N, N zero octets, a second uint16 with the
        //# value N, and the PSK itself.
        let psk = psk.as_bytes();
        let mut premaster = Zeroizing::new([0; 2 * (2 + Psk::MAX_LEN)]);
        let half = 2 + psk.len();
        premaster[1] = psk.len() as u8;
        premaster[half + 1] = psk.len() as u8;
        premaster[half + 2..2 * half].copy_from_slice(psk);
        let premaster = &premaster[..2 * half];

        let mut secret = Zeroizing::new([0; 48]);
        match &session_hash {
            //= RFC 7627 section 4
            //# master_secret = PRF(pre_master_secret, "extended master secret", session_hash) [0..47];
            Some(hash) => crypto::prf(premaster, b"extended master secret", [hash, &[]], &mut *secret),
            //= RFC 5246 section 8.1
            //# master_secret = PRF(pre_master_secret, "master secret", ClientHello.random + ServerHello.random)
            //# [0..47];
            None => crypto::prf(
                premaster,
                b"master secret",
                [&randoms.client, &randoms.server],
                &mut *secret,
            ),
        }
        Self {
            secret,
            extended: session_hash.is_some(),
        }
    }

    /// The session that follows, as `side` sees it.
    //= RFC 5246 section 6.3
    //# key_block = PRF(SecurityParameters.master_secret, "key expansion", SecurityParameters.server_random +
    //# SecurityParameters.client_random);
    pub fn session(&self, side: Side, suite: CipherSuite, randoms: &Randoms) -> Session {
        let mut block = Zeroizing::new([0; 2 * (KEY_LEN + SALT_LEN)]);
        crypto::prf(
            &*self.secret,
            b"key expansion",
            [&randoms.server, &randoms.client],
            &mut *block,
        );
        let traffic_key = |nth: usize| {
            let mut traffic_key = TrafficKey {
                key: [0; KEY_LEN],
                salt: [0; SALT_LEN],
            };
            traffic_key
                .key
                .copy_from_slice(&block[nth * KEY_LEN..][..KEY_LEN]);
            traffic_key
                .salt
                .copy_from_slice(&block[2 * KEY_LEN + nth * SALT_LEN..][..SALT_LEN]);
            traffic_key
        };
        let (client, server) = (traffic_key(0), traffic_key(1));
        match side {
            Side::Client => Session::new(suite, client, server, self.extended),
            Side::Server => Session::new(suite, server, client, self.extended),
        }
    }

    /// The verify_data in the Finished of `side`.
    //= RFC 5246 section 7.4.9
    //# PRF(master_secret, finished_label, Hash(handshake_messages)) [0..verify_data_length-1];
    pub fn verify_data(&self, side: Side, transcript: [u8; HASH_LEN]) -> [u8; VERIFY_DATA_LEN] {
        let label: &[u8] = match side {
            Side::Client => b"client finished",
            Side::Server => b"server finished",
        };
        let mut data = [0; VERIFY_DATA_LEN];
        crypto::prf(&*self.secret, label, [&transcript, &[]], &mut data);
        data
    }
}

impl std::fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterSecret(..)")
    }
}

/// RFC 5246 section 7.4.9: 12 for every suite that does not say otherwise.
pub const VERIFY_DATA_LEN: usize = 12;
