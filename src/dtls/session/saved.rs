//! A session as bytes, for the journal that carries it across a restart.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use super::{MAX_PLAINTEXT, MAX_RECORD_NUMBER, TrafficKey};
use crate::dtls::CipherSuite;
use crate::dtls::crypto::KEY_LEN;

/// What of a session outlives the process. Keys are wiped when it is dropped.
///
/// ```text
/// format 1 | suite 2 | flags 1 | max plaintext 2 | write key 16, salt 4 | read key 16, salt 4 | reservation 8 | mark 8
/// ```
#[derive(Clone)]
pub struct SavedSession {
    pub(super) suite: CipherSuite,
    pub(super) extended_master_secret: bool,
    pub(super) max_plaintext: u16,
    pub(super) write: TrafficKey,
    pub(super) read: TrafficKey,
    pub(super) reservation: u64,
    pub(super) receive_mark: u64,
}

/// Why bytes are not a saved session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// Written by another version of this program.
    #[error("a saved session of format {0}, this program reads format {FORMAT}")]
    Version(u8),
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
        if *format != FORMAT {
            return Err(RestoreError::Version(*format));
        }
        let mut fields = Fields(bytes);
        let saved = Self {
            suite: CipherSuite::from_id(fields.u16()?).ok_or(RestoreError::Malformed)?,
            extended_master_secret: match fields.take()? {
                [0] => false,
                [EXTENDED_MASTER_SECRET] => true,
                [_] => return Err(RestoreError::Malformed),
            },
            max_plaintext: fields.u16()?,
            write: fields.traffic_key()?,
            read: fields.traffic_key()?,
            reservation: fields.u64()?,
            receive_mark: fields.u64()?,
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
        let mut out = Zeroizing::new(Vec::with_capacity(SAVED_LEN));
        out.push(FORMAT);
        out.extend_from_slice(&self.suite.id().to_be_bytes());
        out.push(if self.extended_master_secret {
            EXTENDED_MASTER_SECRET
        } else {
            0
        });
        out.extend_from_slice(&self.max_plaintext.to_be_bytes());
        for direction in [&self.write, &self.read] {
            out.extend_from_slice(&direction.key);
            out.extend_from_slice(&direction.salt);
        }
        out.extend_from_slice(&self.reservation.to_be_bytes());
        out.extend_from_slice(&self.receive_mark.to_be_bytes());
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

    fn traffic_key(&mut self) -> Result<TrafficKey, RestoreError> {
        Ok(TrafficKey {
            key: self.take::<KEY_LEN>()?,
            salt: self.take()?,
        })
    }
}

/// Raised with every change of the layout.
const FORMAT: u8 = 1;
const EXTENDED_MASTER_SECRET: u8 = 1;
/// Bytes of a saved session.
const SAVED_LEN: usize = 1 + 2 + 1 + 2 + 2 * (KEY_LEN + super::SALT_LEN) + 8 + 8;
