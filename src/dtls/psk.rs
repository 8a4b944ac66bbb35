//! Pre-shared keys and the identities that name them (RFC 4279).

use std::fmt;

use rand::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A PSK identity: 1 to 64 bytes, compared as bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Box<[u8]>);

/// Why bytes are not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// No bytes at all.
    #[error("a PSK identity has at least one byte")]
    Empty,
    /// More than [`Identity::MAX_LEN`] bytes.
    #[error("a PSK identity has at most 64 bytes, this one has {0}")]
    TooLong(usize),
}

impl Identity {
    /// The longest identity, in bytes: what the devices' own buffers hold (RFC 4279 section 5.3 asks for 128
    /// from general-purpose implementations; the devices that this server is for configure 64).
    pub const MAX_LEN: usize = 64;

    /// Takes the identity as it stands on the wire.
    ///
    /// # Errors
    /// When there are no bytes or more than [`Identity::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Result<Self, IdentityError> {
        match bytes.len() {
            0 => Err(IdentityError::Empty),
            len if len > Self::MAX_LEN => Err(IdentityError::TooLong(len)),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes as they stand on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// An identity of any length, for clients that misbehave.
    #[cfg(test)]
    pub fn unchecked(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// Lossy where the identity is not UTF-8; control characters are escaped, so that it is safe in a log line.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&String::from_utf8_lossy(&self.0), f)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// Writes what a stranger chose with its control characters escaped.
pub(super) fn write_escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}

/// A pre-shared key: 1 to 32 bytes, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Psk {
    len: u8,
    bytes: [u8; Psk::MAX_LEN],
}

/// Why bytes are not a key. The message never holds any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PskError {
    /// No bytes at all.
    #[error("a pre-shared key has at least one byte")]
    Empty,
    /// More than [`Psk::MAX_LEN`] bytes.
    #[error("a pre-shared key has at most 32 bytes, this one has {0}")]
    TooLong(usize),
}

impl Psk {
    /// The longest key, in bytes: the most that Mbed TLS takes by default, so the most that a device can hold.
    pub const MAX_LEN: usize = 32;

    /// Takes the raw bytes of the key.
    ///
    /// # Errors
    /// When there are no bytes or more than [`Psk::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Result<Self, PskError> {
        if bytes.is_empty() {
            return Err(PskError::Empty);
        }
        if bytes.len() > Self::MAX_LEN {
            return Err(PskError::TooLong(bytes.len()));
        }
        let mut key = Self {
            len: bytes.len() as u8,
            bytes: [0; Self::MAX_LEN],
        };
        key.bytes[..bytes.len()].copy_from_slice(bytes);
        Ok(key)
    }

    /// A key that nobody has.
    pub(super) fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut key = Self {
            len: Self::MAX_LEN as u8,
            bytes: [0; Self::MAX_LEN],
        };
        rng.fill_bytes(&mut key.bytes);
        key
    }

    /// The raw bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_1_to_64_bytes() {
        assert_eq!(Identity::new(b""), Err(IdentityError::Empty));
        assert!(Identity::new(&[b'a'; 64]).is_ok());
        assert_eq!(Identity::new(&[b'a'; 65]), Err(IdentityError::TooLong(65)));
    }

    #[test]
    fn an_identity_prints_without_control_characters() {
        let identity = Identity::new(b"dev\n\xff1").unwrap();
        assert_eq!(identity.to_string(), "dev\\n\u{fffd}1");
    }

    #[test]
    fn keys_have_1_to_32_bytes_and_never_print() {
        assert_eq!(Psk::new(b"").unwrap_err(), PskError::Empty);
        assert_eq!(Psk::new(&[7; 33]).unwrap_err(), PskError::TooLong(33));
        let key = Psk::new(&[7; 32]).unwrap();
        assert_eq!(key.as_bytes(), [7; 32]);
        assert_eq!(format!("{key:?}"), "Psk(..)");
    }
}
