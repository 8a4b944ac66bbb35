//! The manifest as a stock device reads it.
//!
//! Decoded with `minicbor`, a library the gateway does not use, and held to the small buffers of the SDK: a
//! manifest that a real device would throw away whole is thrown away whole here too.

use minicbor::Decoder;
use minicbor::data::Type;

use super::report::Cbor;

/// What a device keeps of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The deployment's sequence number; `None` for "nothing to do".
    pub sequence: Option<i64>,
    /// At most [`MAX_COMPONENTS`] packages.
    pub components: Vec<Component>,
}

/// One package version that the device is asked to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The package name.
    pub package: String,
    /// The version wanted.
    pub version: String,
    /// SHA-256 of the artifact.
    pub sha256: [u8; 32],
    /// The artifact's size in bytes.
    pub size: u64,
    /// Where to fetch it, relative to the server.
    pub uri: String,
}

/// Why a device throws a manifest away. Nothing of it reaches the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the CBOR that a device understands.
    #[error("not a manifest: {0}")]
    Malformed(String),
    /// A map lacks a key that the SDK requires.
    #[error("key {0} is missing")]
    Missing(u8),
    /// More components than the device has room for.
    #[error("more than {MAX_COMPONENTS} components")]
    TooManyComponents,
    /// A text is longer than the device's buffer for it.
    #[error("the text of key {key} is {len} bytes, the device has room for {max}")]
    TooLong {
        /// The component's key.
        key: u8,
        /// Bytes received.
        len: usize,
        /// Bytes of room.
        max: usize,
    },
}

impl Manifest {
    /// Decodes `bytes` under the rules of the SDK's decoder, built like this.
    ///
    /// # Errors
    /// Whatever makes the SDK drop the whole manifest: see [`ManifestError`].
    pub fn decode(bytes: &[u8], cbor: Cbor) -> Result<Self, ManifestError> {
        let mut decoder = Decoder::new(bytes);
        let (mut sequence, mut components) = (None, None);
        let mut left = Left::new(decoder.map()?, cbor)?;
        while left.another(&mut decoder)? {
            match key(&mut decoder)? {
                Some(1) => sequence = Some(decoder.i64()?),
                Some(3) => components = Some(component_list(&mut decoder, cbor)?),
                _ => decoder.skip()?,
            }
        }
        match (sequence, components) {
            (None, None) => Ok(Self {
                sequence: None,
                components: Vec::new(),
            }),
            (Some(_), Some(components)) => Ok(Self { sequence, components }),
            (None, Some(_)) => Err(ManifestError::Missing(1)),
            (Some(_), None) => Err(ManifestError::Missing(3)),
        }
    }

    /// The component of the given package, compared byte for byte.
    #[must_use]
    pub fn component(&self, package: &str) -> Option<&Component> {
        self.components
            .iter()
            .find(|component| component.package == package)
    }
}

impl From<minicbor::decode::Error> for ManifestError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn component_list(decoder: &mut Decoder<'_>, cbor: Cbor) -> Result<Vec<Component>, ManifestError> {
    let mut left = Left::new(decoder.array()?, cbor)?;
    let mut components = Vec::with_capacity(1);
    while left.another(decoder)? {
        if components.len() == MAX_COMPONENTS {
            return Err(ManifestError::TooManyComponents);
        }
        components.push(component(decoder, cbor)?);
    }
    Ok(components)
}

fn component(decoder: &mut Decoder<'_>, cbor: Cbor) -> Result<Component, ManifestError> {
    let (mut package, mut version, mut sha256, mut size, mut uri) = (None, None, None, None, None);
    let mut left = Left::new(decoder.map()?, cbor)?;
    while left.another(decoder)? {
        match key(decoder)? {
            Some(1) => package = Some(text(decoder, 1, MAX_NAME)?),
            Some(2) => version = Some(text(decoder, 2, MAX_NAME)?),
            Some(3) => sha256 = Some(digest(&text(decoder, 3, HASH_DIGITS)?)),
            Some(4) => size = Some(decoder.u64()?),
            Some(5) => uri = Some(text(decoder, 5, MAX_URI)?),
            _ => decoder.skip()?,
        }
    }
    Ok(Component {
        package: package.ok_or(ManifestError::Missing(1))?,
        version: version.ok_or(ManifestError::Missing(2))?,
        sha256: sha256.ok_or(ManifestError::Missing(3))?,
        size: size.ok_or(ManifestError::Missing(4))?,
        uri: uri.ok_or(ManifestError::Missing(5))?,
    })
}

/// An unsigned key, or `None` (already skipped) for a text key. Anything else costs the whole manifest.
fn key(decoder: &mut Decoder<'_>) -> Result<Option<u64>, ManifestError> {
    match decoder.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Ok(Some(decoder.u64()?)),
        Type::String => {
            decoder.skip()?;
            Ok(None)
        }
        other => Err(ManifestError::Malformed(format!("a key of type {other}"))),
    }
}

fn text(decoder: &mut Decoder<'_>, key: u8, max: usize) -> Result<String, ManifestError> {
    let text = decoder.str()?;
    if text.len() > max {
        return Err(ManifestError::TooLong {
            key,
            len: text.len(),
            max,
        });
    }
    Ok(text.to_owned())
}

/// A hash that is short or not hexadecimal is accepted by the SDK and becomes zeros: the download then fails.
fn digest(text: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    if let Ok(bytes) = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes())
        && bytes.len() == digest.len()
    {
        digest.copy_from_slice(&bytes);
    }
    digest
}

/// What is left of a map or a list.
enum Left {
    Items(u64),
    UntilBreak,
}

impl Left {
    /// Canonical builds of the SDK refuse indefinite lengths; others read them, if only by luck.
    fn new(len: Option<u64>, cbor: Cbor) -> Result<Self, ManifestError> {
        match (len, cbor) {
            (Some(items), _) => Ok(Self::Items(items)),
            (None, Cbor::Stock) => Ok(Self::UntilBreak),
            (None, Cbor::Canonical) => Err(ManifestError::Malformed("an indefinite length".to_owned())),
        }
    }

    /// Whether another item follows; takes the break that ends an indefinite length.
    fn another(&mut self, decoder: &mut Decoder<'_>) -> Result<bool, ManifestError> {
        match self {
            Self::Items(0) => Ok(false),
            Self::Items(left) => {
                *left -= 1;
                Ok(true)
            }
            Self::UntilBreak if decoder.datatype()? == Type::Break => {
                decoder.set_position(decoder.position() + 1);
                Ok(false)
            }
            Self::UntilBreak => Ok(true),
        }
    }
}

/// `CONFIG_GOLIOTH_OTA_MAX_NUM_COMPONENTS`, the SDK's default.
pub const MAX_COMPONENTS: usize = 1;
/// Package and version buffers of the SDK.
const MAX_NAME: usize = 16;
/// The SDK's uri buffer.
const MAX_URI: usize = 39;
/// SHA-256 in hexadecimal.
const HASH_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// {1: 7, 2: "x", 3: [{1:"main",2:"1.0.1",3:"00…01",4:70000,5:"/.u/c/main@1.0.1",6:"default"}]}
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0xA3, 0x01, 0x07, 0x02, 0x61, b'x', 0x03, 0x81, 0xA6];
        bytes.extend_from_slice(b"\x01\x64main\x02\x651.0.1\x03\x78\x40");
        bytes.extend_from_slice(&[b'0'; 63]);
        bytes.extend_from_slice(b"1\x04\x1A\x00\x01\x11\x70\x05\x70/.u/c/main@1.0.1\x06\x67default");
        bytes
    }

    #[test]
    fn a_manifest_with_one_component_is_read() {
        let manifest = Manifest::decode(&sample(), Cbor::Stock).unwrap();
        assert_eq!(manifest.sequence, Some(7));
        let component = manifest.component("main").unwrap();
        assert_eq!(component.version, "1.0.1");
        assert_eq!(component.size, 70_000);
        assert_eq!(component.uri, "/.u/c/main@1.0.1");
        assert_eq!(component.sha256[31], 1);
        assert!(manifest.component("Main").is_none());
    }

    #[test]
    fn an_empty_map_means_nothing_to_do() {
        let manifest = Manifest::decode(&[0xA0], Cbor::Stock).unwrap();
        assert_eq!((manifest.sequence, manifest.components.len()), (None, 0));
        let only_unknown_text_key = [0xA1, 0x61, b'k', 0x01];
        assert!(
            Manifest::decode(&only_unknown_text_key, Cbor::Stock)
                .unwrap()
                .components
                .is_empty()
        );
    }

    #[test]
    fn what_a_device_throws_away_is_thrown_away_whole() {
        let cases: &[(&str, &[u8])] = &[
            ("nothing", &[]),
            ("null", &[0xF6]),
            ("the text OK", &[0x62, 0x4F, 0x4B]),
            ("a sequence without components", &[0xA1, 0x01, 0x01]),
            ("components without a sequence", &[0xA1, 0x03, 0x80]),
            ("a null list", &[0xA2, 0x01, 0x01, 0x03, 0xF6]),
            ("a negative key", &[0xA1, 0x20, 0x01]),
            ("a component without keys", &[0xA2, 0x01, 0x01, 0x03, 0x81, 0xA0]),
        ];
        for (what, bytes) in cases {
            assert!(Manifest::decode(bytes, Cbor::Stock).is_err(), "{what}");
        }
        let whole = sample();
        for len in 0..whole.len() {
            assert!(
                Manifest::decode(&whole[..len], Cbor::Stock).is_err(),
                "cut at {len}"
            );
        }
    }

    #[test]
    fn an_indefinite_length_is_read_by_stock_builds_and_refused_by_canonical_ones() {
        let indefinite = [0xBF, 0x01, 0x01, 0x03, 0x9F, 0xFF, 0xFF];
        let manifest = Manifest::decode(&indefinite, Cbor::Stock).unwrap();
        assert_eq!((manifest.sequence, manifest.components.len()), (Some(1), 0));
        assert!(Manifest::decode(&indefinite, Cbor::Canonical).is_err());
        assert!(
            Manifest::decode(&indefinite[..6], Cbor::Stock).is_err(),
            "never ends"
        );
    }

    #[test]
    fn a_second_component_makes_the_manifest_invalid() {
        let mut two = sample();
        two[7] = 0x82;
        two.extend_from_within(8..);
        assert_eq!(
            Manifest::decode(&two, Cbor::Stock),
            Err(ManifestError::TooManyComponents)
        );
    }

    #[test]
    fn a_name_of_seventeen_bytes_does_not_fit() {
        let mut bytes = vec![0xA2, 0x01, 0x01, 0x03, 0x81, 0xA1, 0x01, 0x71];
        bytes.extend_from_slice(&[b'n'; 17]);
        assert_eq!(
            Manifest::decode(&bytes, Cbor::Stock),
            Err(ManifestError::TooLong {
                key: 1,
                len: 17,
                max: 16
            })
        );
    }
}
