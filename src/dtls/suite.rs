//! The cipher suites this server and its devices have in common.

use std::fmt;

use super::crypto::Aead;

/// A cipher suite: a way to agree on keys and a way to protect records with them. All have AES-128, and SHA-256 as the
/// PRF's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// `TLS_PSK_WITH_AES_128_GCM_SHA256`, RFC 5487.
    PskAes128GcmSha256,
    /// `TLS_PSK_WITH_AES_128_CCM`, RFC 6655.
    PskAes128Ccm,
    /// `TLS_PSK_WITH_AES_128_CCM_8`, RFC 6655: the suite that RFC 7252 section 9.1.3.1 makes mandatory.
    PskAes128Ccm8,
    /// `TLS_PSK_WITH_AES_128_CBC_SHA256`, RFC 5487, and only with encrypt_then_mac (RFC 7366): the other order is a
    /// padding oracle. Zephyr's simulator build offers nothing else.
    PskAes128CbcSha256,
    /// `TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256`, RFC 8442: whoever learns the pre-shared key later cannot read what was
    /// said before.
    EcdhePskAes128GcmSha256,
    /// `TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256`, RFC 8442.
    EcdhePskAes128CcmSha256,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`, RFC 5289.
    EcdheEcdsaAes128GcmSha256,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_CCM`, RFC 7251.
    EcdheEcdsaAes128Ccm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8`, RFC 7251: what RFC 7252 section 9.1.3.2 makes mandatory where keys are
    /// asymmetric.
    EcdheEcdsaAes128Ccm8,
}

/// How both sides come to a premaster secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// From the pre-shared key alone (RFC 4279 section 2).
    Psk,
    /// From the pre-shared key and an ephemeral Diffie-Hellman exchange on P-256 (RFC 5489).
    EcdhePsk,
    /// From an ephemeral exchange on P-256, signed by both sides (RFC 8422).
    EcdheEcdsa,
}

/// How records are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// An AEAD.
    Aead(Aead),
    /// AES-128 in CBC mode, then HMAC-SHA256 over what it gave (RFC 7366).
    CbcThenMac,
}

impl CipherSuite {
    /// Every suite there is, in the order in which our own client offers them: the cheapest first, so that a fleet of
    /// simulated devices costs what real devices cost.
    pub const ALL: [Self; 9] = [
        Self::PskAes128GcmSha256,
        Self::PskAes128Ccm,
        Self::PskAes128Ccm8,
        Self::PskAes128CbcSha256,
        Self::EcdhePskAes128GcmSha256,
        Self::EcdhePskAes128CcmSha256,
        Self::EcdheEcdsaAes128GcmSha256,
        Self::EcdheEcdsaAes128Ccm,
        Self::EcdheEcdsaAes128Ccm8,
    ];

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
            Self::PskAes128CbcSha256 => 0x00ae,
            Self::EcdhePskAes128GcmSha256 => 0xd001,
            Self::EcdhePskAes128CcmSha256 => 0xd005,
            Self::EcdheEcdsaAes128GcmSha256 => 0xc02b,
            Self::EcdheEcdsaAes128Ccm => 0xc0ac,
            Self::EcdheEcdsaAes128Ccm8 => 0xc0ae,
        }
    }

    /// The name in the IANA registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::PskAes128GcmSha256 => "TLS_PSK_WITH_AES_128_GCM_SHA256",
            Self::PskAes128Ccm => "TLS_PSK_WITH_AES_128_CCM",
            Self::PskAes128Ccm8 => "TLS_PSK_WITH_AES_128_CCM_8",
            Self::PskAes128CbcSha256 => "TLS_PSK_WITH_AES_128_CBC_SHA256",
            Self::EcdhePskAes128GcmSha256 => "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256",
            Self::EcdhePskAes128CcmSha256 => "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256",
            Self::EcdheEcdsaAes128GcmSha256 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdheEcdsaAes128Ccm => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
            Self::EcdheEcdsaAes128Ccm8 => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
        }
    }

    /// Whether both sides prove themselves by a key that they have in common; otherwise they do by certificates.
    pub fn has_psk(self) -> bool {
        match self.key_exchange() {
            KeyExchange::Psk | KeyExchange::EcdhePsk => true,
            KeyExchange::EcdheEcdsa => false,
        }
    }

    /// How keys are agreed on.
    pub fn key_exchange(self) -> KeyExchange {
        match self {
            Self::PskAes128GcmSha256
            | Self::PskAes128Ccm
            | Self::PskAes128Ccm8
            | Self::PskAes128CbcSha256 => KeyExchange::Psk,
            Self::EcdhePskAes128GcmSha256 | Self::EcdhePskAes128CcmSha256 => KeyExchange::EcdhePsk,
            Self::EcdheEcdsaAes128GcmSha256 | Self::EcdheEcdsaAes128Ccm | Self::EcdheEcdsaAes128Ccm8 => {
                KeyExchange::EcdheEcdsa
            }
        }
    }

    /// How records are protected.
    pub fn protection(self) -> Protection {
        match self {
            Self::PskAes128GcmSha256 | Self::EcdhePskAes128GcmSha256 | Self::EcdheEcdsaAes128GcmSha256 => {
                Protection::Aead(Aead::Gcm)
            }
            Self::PskAes128Ccm | Self::EcdhePskAes128CcmSha256 | Self::EcdheEcdsaAes128Ccm => {
                Protection::Aead(Aead::Ccm)
            }
            Self::PskAes128Ccm8 | Self::EcdheEcdsaAes128Ccm8 => Protection::Aead(Aead::Ccm8),
            Self::PskAes128CbcSha256 => Protection::CbcThenMac,
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
        assert_eq!(
            ids,
            [
                0x00a8, 0xc0a4, 0xc0a8, 0x00ae, 0xd001, 0xd005, 0xc02b, 0xc0ac, 0xc0ae
            ]
        );
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_id(suite.id()), Some(suite));
        }
        assert_eq!(CipherSuite::from_id(0x008c), None, "TLS_PSK_WITH_AES_128_CBC_SHA");
    }
}
