//! How a device shakes hands: `webrtc-dtls`, told what to offer.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::CertificateDer;
use tessera::virtual_device::CipherSuite;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::Config;
use webrtc_dtls::crypto::{Certificate, CryptoPrivateKey, CryptoPrivateKeyKind};

use super::super::ForeignCredential;

/// Why a device cannot be one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtlsError {
    /// The library lacks a suite.
    #[error("webrtc-dtls does not have {0}: it has PSK with GCM, CCM and CCM_8, and ECDHE_ECDSA with those")]
    Suite(CipherSuite),
    /// No suite fits the credential.
    #[error("none of the suites is one for {0}")]
    NoSuite(&'static str),
    /// Not a key that the library can sign with.
    #[error("not an ECDSA key for P-256 in PKCS #8: {0}")]
    Key(String),
}

/// What a device with this credential offers. Suites for the other kind of credential are not offered: the library does not
/// do both in one handshake.
///
/// # Errors
/// When the library cannot do it.
pub fn config(credential: &ForeignCredential, suites: &[CipherSuite]) -> Result<Config, DtlsError> {
    let has_psk = matches!(credential, ForeignCredential::Psk { .. });
    let mut offered = Vec::new();
    for suite in suites {
        let id = id(*suite).ok_or(DtlsError::Suite(*suite))?;
        if suite.has_psk() == has_psk {
            offered.push(id);
        }
    }
    let mut config = Config {
        cipher_suites: offered,
        // It looks for the server's name in ways of its own.
        insecure_skip_verify: true,
        ..Config::default()
    };
    match credential {
        _ if config.cipher_suites.is_empty() => {
            return Err(DtlsError::NoSuite(if has_psk {
                "a PSK"
            } else {
                "a certificate"
            }));
        }
        ForeignCredential::Psk { identity, secret } => {
            let secret = secret.clone().into_bytes();
            config.psk = Some(Arc::new(move |_| Ok(secret.clone())));
            // What a client of this library sends as its identity.
            config.psk_identity_hint = Some(identity.clone().into_bytes());
        }
        ForeignCredential::Certificate { chain, key } => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &SystemRandom::new())
                .map_err(|error| DtlsError::Key(error.to_string()))?;
            config.certificates = vec![Certificate {
                certificate: chain.iter().cloned().map(CertificateDer::from).collect(),
                private_key: CryptoPrivateKey {
                    kind: CryptoPrivateKeyKind::Ecdsa256(pair),
                    serialized_der: key.clone(),
                },
            }];
        }
    }
    Ok(config)
}

fn id(suite: CipherSuite) -> Option<CipherSuiteId> {
    match suite {
        CipherSuite::PskAes128GcmSha256 => Some(CipherSuiteId::Tls_Psk_With_Aes_128_Gcm_Sha256),
        CipherSuite::PskAes128Ccm => Some(CipherSuiteId::Tls_Psk_With_Aes_128_Ccm),
        CipherSuite::PskAes128Ccm8 => Some(CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8),
        CipherSuite::PskAes128CbcSha256
        | CipherSuite::EcdhePskAes128GcmSha256
        | CipherSuite::EcdhePskAes128CcmSha256 => None,
        CipherSuite::EcdheEcdsaAes128GcmSha256 => {
            Some(CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256)
        }
        CipherSuite::EcdheEcdsaAes128Ccm => Some(CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm),
        CipherSuite::EcdheEcdsaAes128Ccm8 => Some(CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8),
    }
}
