//! From the pre-shared key to the keys of a session.

use zeroize::Zeroizing;

use super::messages::RANDOM_LEN;
use crate::dtls::crypto::{self, HASH_LEN, SHARED_SECRET_LEN, SharedSecret};
use crate::dtls::protection::{Keys, MAX_KEY_BLOCK_LEN};
use crate::dtls::{CipherSuite, Psk, Session};

/// The master secret of a handshake.
pub struct MasterSecret {
    secret: Zeroizing<[u8; 48]>,
    extended: bool,
}

/// What goes into the premaster secret beside the pre-shared key.
#[derive(Clone)]
pub enum OtherSecret {
    /// Nothing: a pre-shared key alone.
    Absent,
    /// The outcome of an ephemeral exchange.
    Shared(SharedSecret),
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
    pub fn derive(
        psk: &Psk,
        other: &OtherSecret,
        randoms: &Randoms,
        session_hash: Option<[u8; HASH_LEN]>,
    ) -> Self {
        let psk = psk.as_bytes();
        let zeros = [0; Psk::MAX_LEN];
        let other = match other {
            //= RFC 4279 section 2
            //# if the PSK is N octets long, concatenate a uint16 with the value N, N zero octets, a second uint16 with
            //# the value N, and the PSK itself.
            OtherSecret::Absent => &zeros[..psk.len()],
            //= RFC 5489 section 2
            //# concatenate a uint16 containing the length of Z (in octets), Z itself, a uint16 containing the length of
            //# the PSK (in octets), and the PSK itself.
            OtherSecret::Shared(z) => &z[..],
        };
        let mut premaster = Zeroizing::new([0; 2 + MAX_OTHER_LEN + 2 + Psk::MAX_LEN]);
        let (first, second) = premaster.split_at_mut(2 + other.len());
        first[1] = other.len() as u8;
        first[2..].copy_from_slice(other);
        second[1] = psk.len() as u8;
        second[2..2 + psk.len()].copy_from_slice(psk);
        let premaster = &premaster[..2 + other.len() + 2 + psk.len()];
        Self::of_premaster(premaster, randoms, session_hash)
    }

    /// The same where certificates prove who is there, and the exchange alone is secret.
    //= RFC 8422 section 5.10
    //# the premaster secret is the x-coordinate of the ECDH shared secret elliptic curve point represented as an octet
    //# string.
    pub fn derive_ecdhe(
        shared: &SharedSecret,
        randoms: &Randoms,
        session_hash: Option<[u8; HASH_LEN]>,
    ) -> Self {
        Self::of_premaster(&shared[..], randoms, session_hash)
    }

    fn of_premaster(premaster: &[u8], randoms: &Randoms, session_hash: Option<[u8; HASH_LEN]>) -> Self {
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
        let protection = suite.protection();
        let mut block = Zeroizing::new([0; MAX_KEY_BLOCK_LEN]);
        let block = &mut block[..protection.key_block_len()];
        crypto::prf(
            &*self.secret,
            b"key expansion",
            [&randoms.server, &randoms.client],
            block,
        );
        let (client, server) = Keys::of_both_sides(protection, block);
        let keys = match side {
            Side::Client => client,
            Side::Server => server,
        };
        Session::new(suite, keys, self.extended)
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

impl std::fmt::Debug for OtherSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OtherSecret(..)")
    }
}

impl std::fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterSecret(..)")
    }
}

/// RFC 5246 section 7.4.9: 12 for every suite that does not say otherwise.
pub const VERIFY_DATA_LEN: usize = 12;
/// The longest other secret, in bytes: both kinds have the same limit.
const MAX_OTHER_LEN: usize = if SHARED_SECRET_LEN > Psk::MAX_LEN {
    SHARED_SECRET_LEN
} else {
    Psk::MAX_LEN
};
