//! The cipher suites this server and its devices have in common.

use std::fmt;

/// A cipher suite, all of them AES-128 AEADs with SHA-256 as the PRF hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// `TLS_PSK_WITH_AES_128_GCM_SHA256`, RFC 5487.
    PskAes128GcmSha256,
    /// `TLS_PSK_WITH_AES_128_CCM`, RFC 6655.
    PskAes128Ccm,
    /// `TLS_PSK_WITH_AES_128_CCM_8`, RFC 6655: the suite that RFC 7252 section 9.1.3.1 makes mandatory.
    PskAes128Ccm8,
}

impl CipherSuite {
    /// Every suite there is, in the order in which our own client offers them.
    pub const ALL: [Self; 3] = [Self::PskAes128GcmSha256, Self::PskAes128Ccm, Self::PskAes128Ccm8];

    /// The suite with this number, if it is one of ours.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// The number in the IANA registry, as it stands on the wire.
    pub fn id(self) -> u16 {
        match self {
            Self::PskAes128GcmSha256 => 0x00a8,
            Self::PskAes128Ccm => 0xc0a4,
            Self::PskAes128Ccm8 => 0xc0a8,
        }
    }

    /// The name in the IANA registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::PskAes128GcmSha256 => "TLS_PSK_WITH_AES_128_GCM_SHA256",
            Self::PskAes128Ccm => "TLS_PSK_WITH_AES_128_CCM",
            Self::PskAes128Ccm8 => "TLS_PSK_WITH_AES_128_CCM_8",
        }
    }

    /// Length of the authentication tag, in bytes.
    pub fn tag_len(self) -> usize {
        match self {
            Self::PskAes128GcmSha256 | Self::PskAes128Ccm => 16,
            Self::PskAes128Ccm8 => 8,
        }
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_registry() {
        let ids: Vec<u16> = CipherSuite::ALL.into_iter().map(CipherSuite::id).collect();
        assert_eq!(ids, [0x00a8, 0xc0a4, 0xc0a8]);
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_id(suite.id()), Some(suite));
        }
        assert_eq!(CipherSuite::from_id(0x00ae), None);
    }
}
