//! A session as bytes, for the journal that carries it across a restart.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use super::{MAX_PLAINTEXT, MAX_RECORD_NUMBER};
use crate::dtls::connection_id::{ChosenId, ConnectionIds};
use crate::dtls::crypto::{HASH_LEN, KEY_LEN};
use crate::dtls::protection::{AeadKey, CbcKey, CbcKeys, Keys};
use crate::dtls::suite::Protection;
use crate::dtls::{CipherSuite, ConnectionId};

/// What of a session outlives the process. Keys are wiped when it is dropped.
///
/// ```text
/// format 1 | suite 2 | flags 1 | max plaintext 2 | keys | reservation 8 | mark 8 | connection IDs
///
/// keys, AEAD            write key 16, salt 4 | read key 16, salt 4
/// keys, CBC, then MAC   write MAC key 32, key 16 | read MAC key 32, key 16 | key of the IVs 16
/// ```
///
/// The suite says which keys there are, so a new one changes nothing about sessions that were saved before it. The flags
/// say whether there are connection IDs: then our own follows if there is one, 8 bytes, and behind its length the peer's.
/// Format 1 had none, and is still read.
#[derive(Clone)]
pub struct SavedSession {
    pub(super) suite: CipherSuite,
    pub(super) extended_master_secret: bool,
    pub(super) max_plaintext: u16,
    pub(super) keys: Keys,
    pub(super) reservation: u64,
    pub(super) receive_mark: u64,
    pub(super) connection_ids: Option<ConnectionIds>,
}

/// Why bytes are not a saved session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// Written by another version of this program.
    #[error("a saved session of format {0}, this program reads formats {FIRST_FORMAT} to {FORMAT}")]
    Version(u8),
    /// Written by a program that knows more suites.
    #[error("a saved session with cipher suite {0:04X}, which this program does not know")]
    Suite(u16),
    /// Cut, damaged, or something else altogether.
    #[error("not a saved session")]
    Malformed,
}

impl SavedSession {
    /// Reads what [`SavedSession::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are of another format or not a saved session.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        let (format, bytes) = bytes.split_first().ok_or(RestoreError::Malformed)?;
        let known_flags = match *format {
            FIRST_FORMAT => EXTENDED_MASTER_SECRET,
            FORMAT => EXTENDED_MASTER_SECRET | CONNECTION_IDS | OWN_CONNECTION_ID | RETURN_ROUTABILITY,
            other => return Err(RestoreError::Version(other)),
        };
        let mut fields = Fields(bytes);
        let id = fields.u16()?;
        let suite = CipherSuite::from_id(id).ok_or(RestoreError::Suite(id))?;
        let [flags] = fields.take()?;
        if flags & !known_flags != 0 {
            return Err(RestoreError::Malformed);
        }
        let saved = Self {
            suite,
            extended_master_secret: flags & EXTENDED_MASTER_SECRET != 0,
            max_plaintext: fields.u16()?,
            keys: fields.keys(suite.protection())?,
            reservation: fields.u64()?,
            receive_mark: fields.u64()?,
            connection_ids: fields.connection_ids(flags)?,
        };
        let in_range = saved.max_plaintext <= MAX_PLAINTEXT
            && saved.reservation <= MAX_RECORD_NUMBER
            && saved.receive_mark <= MAX_RECORD_NUMBER + 1;
        if in_range && fields.0.is_empty() {
            Ok(saved)
        } else {
            Err(RestoreError::Malformed)
        }
    }

    /// Moves the end of the reserved send range up, never down: for a later journal entry.
    pub fn raise_reservation(&mut self, end: u64) {
        self.reservation = self.reservation.max(end.min(MAX_RECORD_NUMBER));
    }

    /// Moves the receive mark up, never down: for a later journal entry.
    pub fn raise_receive_mark(&mut self, mark: u64) {
        self.receive_mark = self.receive_mark.max(mark.min(MAX_RECORD_NUMBER + 1));
    }

    /// The bytes, keys included: to be encrypted before they are stored. Wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Sized in advance: growing would leave copies of the keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_SAVED_LEN));
        out.push(FORMAT);
        out.extend_from_slice(&self.suite.id().to_be_bytes());
        out.push(self.flags());
        out.extend_from_slice(&self.max_plaintext.to_be_bytes());
        match &self.keys {
            Keys::Aead { write, read, .. } => {
                for direction in [write, read] {
                    out.extend_from_slice(&direction.key);
                    out.extend_from_slice(&direction.salt);
                }
            }
            Keys::CbcThenMac(keys) => {
                for direction in [&keys.write, &keys.read] {
                    out.extend_from_slice(&direction.mac);
                    out.extend_from_slice(&direction.key);
                }
                out.extend_from_slice(&keys.iv);
            }
        }
        out.extend_from_slice(&self.reservation.to_be_bytes());
        out.extend_from_slice(&self.receive_mark.to_be_bytes());
        if let Some(ids) = &self.connection_ids {
            if let Some(ours) = ids.ours {
                out.extend_from_slice(&ours.to_bytes());
            }
            out.push(ids.theirs.len() as u8);
            out.extend_from_slice(&ids.theirs);
        }
        out
    }

    /// End of the reserved send range: a restored session sends from here.
    pub fn reservation(&self) -> u64 {
        self.reservation
    }

    /// A restored session takes only record numbers from here up.
    pub fn receive_mark(&self) -> u64 {
        self.receive_mark
    }

    /// The suite agreed on.
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// What stands on the records that the session receives, where that was agreed on.
    pub fn connection_id(&self) -> Option<ConnectionId> {
        self.connection_ids.as_ref()?.ours
    }

    fn flags(&self) -> u8 {
        let ids = self.connection_ids.as_ref();
        [
            (EXTENDED_MASTER_SECRET, self.extended_master_secret),
            (CONNECTION_IDS, ids.is_some()),
            (OWN_CONNECTION_ID, ids.is_some_and(|ids| ids.ours.is_some())),
            (RETURN_ROUTABILITY, ids.is_some_and(|ids| ids.return_routability)),
        ]
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .fold(0, |flags, (flag, _)| flags | flag)
    }
}

impl fmt::Debug for SavedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedSession")
            .field("suite", &self.suite)
            .field("reservation", &self.reservation)
            .field("receive_mark", &self.receive_mark)
            .finish_non_exhaustive()
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(RestoreError::Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, RestoreError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RestoreError> {
        self.take().map(u64::from_be_bytes)
    }

    fn connection_ids(&mut self, flags: u8) -> Result<Option<ConnectionIds>, RestoreError> {
        let is_set = |flag| flags & flag != 0;
        if !is_set(CONNECTION_IDS) {
            let nothing_else = !is_set(OWN_CONNECTION_ID) && !is_set(RETURN_ROUTABILITY);
            return if nothing_else {
                Ok(None)
            } else {
                Err(RestoreError::Malformed)
            };
        }
        let ours = if is_set(OWN_CONNECTION_ID) {
            Some(ConnectionId::new(self.take()?))
        } else {
            None
        };
        let [len] = self.take()?;
        let (theirs, rest) = self
            .0
            .split_at_checked(usize::from(len))
            .filter(|(theirs, _)| theirs.len() <= ChosenId::MAX_LEN)
            .ok_or(RestoreError::Malformed)?;
        self.0 = rest;
        Ok(Some(ConnectionIds {
            ours,
            theirs: theirs.into(),
            return_routability: is_set(RETURN_ROUTABILITY),
        }))
    }

    fn keys(&mut self, protection: Protection) -> Result<Keys, RestoreError> {
        match protection {
            Protection::Aead(aead) => Ok(Keys::Aead {
                aead,
                write: self.aead_key()?,
                read: self.aead_key()?,
            }),
            Protection::CbcThenMac => Ok(Keys::CbcThenMac(Box::new(CbcKeys {
                write: self.cbc_key()?,
                read: self.cbc_key()?,
                iv: self.take()?,
            }))),
        }
    }

    fn aead_key(&mut self) -> Result<AeadKey, RestoreError> {
        Ok(AeadKey {
            key: self.take()?,
            salt: self.take()?,
        })
    }

    fn cbc_key(&mut self) -> Result<CbcKey, RestoreError> {
        Ok(CbcKey {
            mac: self.take()?,
            key: self.take()?,
        })
    }
}

/// Raised with every change of the layout.
const FORMAT: u8 = 2;
/// The first layout: no connection IDs.
const FIRST_FORMAT: u8 = 1;
const EXTENDED_MASTER_SECRET: u8 = 1;
const CONNECTION_IDS: u8 = 2;
const OWN_CONNECTION_ID: u8 = 4;
const RETURN_ROUTABILITY: u8 = 8;
/// The most bytes of a saved session: with CBC and the longest connection IDs.
const MAX_SAVED_LEN: usize =
    1 + 2 + 1 + 2 + 2 * (HASH_LEN + KEY_LEN) + KEY_LEN + 8 + 8 + ConnectionId::LEN + 1 + ChosenId::MAX_LEN;
