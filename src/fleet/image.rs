//! What the first bytes of an artifact say about it.

use std::fmt;

/// How many bytes from the start of an artifact [`ImageKind::inspect`] wants to see.
pub const IMAGE_HEAD_BYTES: usize = 80;

/// The kind of image an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageKind {
    /// Bytes that mean nothing to this program.
    Plain,
    /// An image with an MCUboot header.
    McuBoot,
    /// An application image of ESP-IDF.
    EspIdf,
}

/// The version an image carries in its own header.
pub type ImageVersion = String;

impl ImageKind {
    /// Looks at the first bytes of an artifact ([`IMAGE_HEAD_BYTES`] of them, or all there are).
    #[must_use]
    pub fn inspect(head: &[u8]) -> (Self, Option<ImageVersion>) {
        mcuboot(head)
            .or_else(|| esp_idf(head))
            .unwrap_or((Self::Plain, None))
    }

    /// The word used in the API and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::McuBoot => "mcuboot",
            Self::EspIdf => "esp-idf",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Plain, Self::McuBoot, Self::EspIdf]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// The word devices read in a manifest.
    #[must_use]
    pub fn manifest_type(self) -> &'static str {
        match self {
            Self::McuBoot => "mcuboot",
            Self::Plain | Self::EspIdf => "default",
        }
    }
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `struct image_header`: magic, load address, header size, protected TLV size, image size, flags, version (major u8,
/// minor u8, revision u16, build u32), all little-endian.
fn mcuboot(head: &[u8]) -> Option<(ImageKind, Option<ImageVersion>)> {
    if head.get(..4)? != 0x96f3_b83d_u32.to_le_bytes() {
        return None;
    }
    let version = head.get(20..28).map(|v| {
        let revision = u16::from_le_bytes([v[2], v[3]]);
        let build = u32::from_le_bytes([v[4], v[5], v[6], v[7]]);
        match build {
            0 => format!("{}.{}.{revision}", v[0], v[1]),
            build => format!("{}.{}.{revision}+{build}", v[0], v[1]),
        }
    });
    Some((ImageKind::McuBoot, version))
}

/// `esp_image_header_t` (24 bytes, magic 0xE9), one segment header (8 bytes), then `esp_app_desc_t`: magic, secure
/// version, two reserved words, the version as 32 characters.
fn esp_idf(head: &[u8]) -> Option<(ImageKind, Option<ImageVersion>)> {
    if *head.first()? != 0xe9 || head.get(32..36)? != 0xabcd_5432_u32.to_le_bytes() {
        return None;
    }
    let version = head.get(48..80).and_then(|field| {
        let text = field.split(|&byte| byte == 0).next()?;
        let text = std::str::from_utf8(text).ok()?;
        (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
    });
    Some((ImageKind::EspIdf, version))
}

#[cfg(test)]
mod tests {
    use super::ImageKind;

    #[test]
    fn the_version_is_read_from_an_mcuboot_header() {
        let mut head = [0; 32];
        head[..4].copy_from_slice(&[0x3d, 0xb8, 0xf3, 0x96]);
        head[20..28].copy_from_slice(&[1, 4, 0x2c, 0x01, 0, 0, 0, 0]);
        assert_eq!(
            ImageKind::inspect(&head),
            (ImageKind::McuBoot, Some("1.4.300".to_owned()))
        );
        head[24] = 7;
        assert_eq!(
            ImageKind::inspect(&head),
            (ImageKind::McuBoot, Some("1.4.300+7".to_owned()))
        );
        assert_eq!(ImageKind::inspect(&head[..10]), (ImageKind::McuBoot, None));
    }

    #[test]
    fn the_version_is_read_from_an_esp_idf_image() {
        let mut head = [0; 80];
        head[0] = 0xe9;
        head[32..36].copy_from_slice(&[0x32, 0x54, 0xcd, 0xab]);
        head[48..53].copy_from_slice(b"2.0.1");
        assert_eq!(
            ImageKind::inspect(&head),
            (ImageKind::EspIdf, Some("2.0.1".to_owned()))
        );
    }

    #[test]
    fn anything_else_is_plain_bytes() {
        for head in [&b""[..], b"\xe9", b"\x3d\xb8", &[0xe9; 80], &[0; 80]] {
            assert_eq!(ImageKind::inspect(head), (ImageKind::Plain, None));
        }
    }
}
