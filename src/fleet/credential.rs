//! Who a device says it is, and how it proves it.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::number::Digest;
use super::refusal::{Invalid, NOT_SHOWN};

/// What a device shows to be known by: one device has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The identity of a pre-shared key; unique over all projects.
    Psk(PskIdentity),
    /// The SHA-256 of a certificate's DER; unique in a project.
    Certificate(Digest),
    /// The SHA-256 of a public key's SubjectPublicKeyInfo; unique over all projects.
    RawPublicKey(Digest),
}

impl Proof {
    /// The name of its kind in the API.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Psk(_) => "psk",
            Self::Certificate(_) => "certificate",
            Self::RawPublicKey(_) => "rawPublicKey",
        }
    }
}

/// An identity is shown as it is.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psk(identity) => identity.fmt(f),
            Self::Certificate(sha256) => write!(f, "certificate {sha256}"),
            Self::RawPublicKey(sha256) => write!(f, "raw public key {sha256}"),
        }
    }
}

/// A PSK identity: 1 to 64 bytes, compared byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PskIdentity(Box<[u8]>);

impl PskIdentity {
    /// The identity made of these bytes.
    ///
    /// # Errors
    /// No bytes, or more than 64: devices have buffers of that size.
    pub fn new(bytes: &[u8]) -> Result<Self, Invalid> {
        let wrong = match bytes.len() {
            1..=IDENTITY_BYTES => return Ok(Self(bytes.into())),
            0 => "is empty".to_owned(),
            long => format!("is {long} bytes long"),
        };
        Err(Invalid::new(
            "PSK identity",
            &String::from_utf8_lossy(bytes),
            wrong,
            "1 to 64 bytes",
        ))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for PskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for PskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// A pre-shared secret: 1 to 32 bytes, wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PskSecret(Vec<u8>);

impl PskSecret {
    /// The secret made of these bytes.
    ///
    /// # Errors
    /// No bytes, or more than 32: the limit of the smallest device library.
    pub fn new(bytes: &[u8]) -> Result<Self, Invalid> {
        let wrong = match bytes.len() {
            1..=SECRET_BYTES => return Ok(Self(bytes.to_vec())),
            0 => "is empty".to_owned(),
            long => format!("is {long} bytes long"),
        };
        Err(Invalid::new(
            "PSK secret",
            NOT_SHOWN,
            wrong,
            "1 to 32 bytes of UTF-8, or their hexadecimal form in secretHex",
        ))
    }

    /// The secret given as hexadecimal digits.
    ///
    /// # Errors
    /// Not hexadecimal, or not 1 to 32 bytes.
    pub fn from_hex(text: &str) -> Result<Self, Invalid> {
        let mut bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| {
            Invalid::new(
                "PSK secret",
                NOT_SHOWN,
                "is not hexadecimal",
                "2 to 64 hexadecimal digits, in pairs",
            )
        })?;
        let secret = Self::new(&bytes);
        bytes.zeroize();
        secret
    }

    /// A fresh secret of 32 letters and digits (190 bits).
    pub fn generate(rng: &mut dyn rand::CryptoRng) -> Self {
        let mut secret = Vec::with_capacity(SECRET_BYTES);
        while secret.len() < SECRET_BYTES {
            let mut byte = [0];
            rng.fill_bytes(&mut byte);
            // The 8 values past 4 × 62 would make some characters likelier than others.
            if let Some(&character) = ALPHABET.get(usize::from(byte[0] & 0x3f)) {
                secret.push(character);
            }
        }
        Self(secret)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PskSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PskSecret(…)")
    }
}

/// The buffers of the device samples.
const IDENTITY_BYTES: usize = 64;
/// MBEDTLS_PSK_MAX_LEN as devices ship it.
const SECRET_BYTES: usize = 32;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;

    use super::{PskIdentity, PskSecret};

    #[test]
    fn an_identity_is_1_to_64_bytes() {
        assert!(PskIdentity::new(b"").is_err());
        assert!(PskIdentity::new(&[0xff; 64]).is_ok());
        assert!(PskIdentity::new(&[b'x'; 65]).is_err());
    }

    #[test]
    fn a_secret_is_its_literal_bytes_or_their_hexadecimal_form() {
        assert_eq!(
            PskSecret::new("pässword".as_bytes()).unwrap().as_bytes(),
            "pässword".as_bytes()
        );
        assert_eq!(
            PskSecret::from_hex("00FFab").unwrap().as_bytes(),
            [0x00, 0xff, 0xab]
        );
        assert!(PskSecret::new(b"").is_err());
        assert!(PskSecret::new(&[b'x'; 33]).is_err());
        assert!(PskSecret::from_hex("0").is_err());
        assert!(PskSecret::from_hex("").is_err());
        assert!(PskSecret::from_hex(&"00".repeat(33)).is_err());
    }

    #[test]
    fn a_refused_secret_is_not_repeated_in_the_error() {
        let error = PskSecret::new(&[b'q'; 40]).unwrap_err();
        assert!(!error.to_string().contains("qq"));
        assert!(!format!("{:?}", PskSecret::new(b"hunter2").unwrap()).contains("hunter2"));
    }

    #[test]
    fn made_secrets_differ_and_can_be_typed() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let (one, two) = (PskSecret::generate(&mut rng), PskSecret::generate(&mut rng));
        assert_ne!(one, two);
        assert_eq!(one.as_bytes().len(), 32);
        assert!(one.as_bytes().iter().all(u8::is_ascii_alphanumeric));
    }
}
