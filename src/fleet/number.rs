//! Numbers with a meaning: digests, sequence numbers, sizes.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::refusal::Invalid;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(<sha2::Sha256 as sha2::Digest>::digest(bytes).into())
    }

    /// The first eight bytes: an entity tag that the smallest client can take.
    #[must_use]
    pub fn etag(&self) -> [u8; 8] {
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.0[..8]);
        tag
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("SHA-256", text, "is not one", "64 hexadecimal digits");
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| wrong())?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A deployment's place in its project's history: 1 to 2^31 - 1.
///
/// The device keeps it in a signed 32-bit integer, so it never reaches 2^31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u32);

impl Sequence {
    /// The first number of a project.
    pub const FIRST: Self = Self(1);

    /// The number, if it is one a device can keep.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        match u32::try_from(number) {
            Ok(number @ 1..=MAX_SEQUENCE) => Some(Self(number)),
            _ => None,
        }
    }

    /// The number after this one, unless this is the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::new(i64::from(self.0) + 1)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The size of an artifact in bytes: 1 byte to 1 GiB.
///
/// A device cannot ask for nothing, and 2^20 blocks of 1024 bytes is as far as block numbers reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactSize(u32);

impl ArtifactSize {
    //= RFC 7959 section 2.2
    //# The block number is a variable-size (4, 12, or 20 bit) unsigned integer
    /// The largest artifact a device can ask for, in bytes: 2^20 blocks of 1024.
    pub const MAX: u64 = 1 << 30;

    /// The size, if a device can ask for that many bytes.
    ///
    /// # Errors
    /// Zero bytes, or more than [`ArtifactSize::MAX`].
    pub fn new(bytes: u64) -> Result<Self, Invalid> {
        let wrong = match bytes {
            0 => "is empty: a device cannot ask for nothing",
            1..=Self::MAX => match u32::try_from(bytes) {
                Ok(bytes) => return Ok(Self(bytes)),
                Err(_) => "is too large",
            },
            _ => "is more than block numbers reach",
        };
        Err(Invalid::new(
            "artifact size",
            &bytes.to_string(),
            wrong,
            "1 to 1073741824 bytes (1 GiB)",
        ))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for ArtifactSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The largest signed 32-bit integer.
const MAX_SEQUENCE: u32 = i32::MAX as u32;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{ArtifactSize, Digest, Sequence};

    #[test]
    fn sequence_numbers_start_at_1_and_end_before_2_to_the_31() {
        assert_eq!(Sequence::new(0), None);
        assert_eq!(Sequence::new(-1), None);
        assert_eq!(Sequence::new(1), Some(Sequence::FIRST));
        let last = Sequence::new(2_147_483_647).unwrap();
        assert_eq!(last.next(), None);
        assert_eq!(Sequence::new(2_147_483_648), None);
        assert_eq!(Sequence::FIRST.next().unwrap().get(), 2);
    }

    #[test]
    fn an_artifact_is_one_byte_to_one_gibibyte() {
        assert!(ArtifactSize::new(0).is_err());
        assert_eq!(ArtifactSize::new(1).unwrap().get(), 1);
        assert_eq!(ArtifactSize::new(1 << 30).unwrap().get(), 1 << 30);
        assert!(ArtifactSize::new((1 << 30) + 1).is_err());
        assert!(ArtifactSize::new(u64::MAX).is_err());
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits_of_either_case() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
        assert_eq!(abc.to_uppercase().parse::<Digest>().unwrap(), Digest::of(b"abc"));
        assert!("ba78".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }
}
