//! What one side shows and signs with: a chain of certificates and the key of its first.

use rustls_pki_types::pem::{Error as PemError, PemObject, SectionKind};
use thiserror::Error;
use zeroize::Zeroizing;

use super::facts::parse;
use super::{CertificateFacts, KeyDigest, PeerKey};
use crate::dtls::crypto::SigningKey;

/// A chain of certificates and the P-256 key of its first.
#[derive(Debug)]
pub struct CertifiedKey {
    chain: Vec<Vec<u8>>,
    /// Of the key, in DER.
    public_key_info: Vec<u8>,
    facts: CertificateFacts,
    key: SigningKey,
}

/// Why a chain and a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertifiedKeyError {
    /// The chain's text is not PEM.
    #[error("the certificate file is not PEM: {0}")]
    ChainNotPem(String),
    /// No certificate in it.
    #[error("the certificate file holds no block `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// A certificate that does not parse.
    #[error("certificate {nth} of the certificate file cannot be read as X.509")]
    MalformedCertificate {
        /// Which one, from 1.
        nth: usize,
    },
    /// A chain that a device would not take in.
    #[error(
        "the certificate file holds {len} bytes of certificates, more than the {max} that devices are sent"
    )]
    TooLong {
        /// Bytes in DER.
        len: usize,
        /// The most.
        max: usize,
    },
    /// Another kind of key in the certificate.
    #[error("the first certificate is not for an ECDSA key on P-256 (`prime256v1`), the only kind used here")]
    CertificateNotP256,
    /// The key's text is not PEM.
    #[error("the key file is not PEM: {0}")]
    KeyNotPem(String),
    /// No key in it.
    #[error(
        "the key file holds no private key; a block `-----BEGIN PRIVATE KEY-----` (PKCS #8) or \
         `-----BEGIN EC PRIVATE KEY-----` (SEC 1) would do"
    )]
    NoKey,
    /// A key under a passphrase.
    #[error("the key in the key file is encrypted; `openssl pkey -in FILE` writes it without a passphrase")]
    EncryptedKey,
    /// Another kind of key.
    #[error("the key in the key file is not an ECDSA key on P-256 (`prime256v1`) with its public half")]
    KeyNotP256,
    /// The two do not belong together.
    #[error("the key in the key file is not that of the first certificate in the certificate file")]
    Mismatch,
}

impl CertifiedKey {
    /// The longest chain, in bytes of DER: what fits a Certificate message that both our halves take.
    pub const MAX_CHAIN_LEN: usize = 6 * 1024;

    /// Reads a chain, its own certificate first, and the private key, both as PEM texts. What else stands in them is
    /// passed over.
    ///
    /// # Errors
    /// What is wrong with which of the two.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertifiedKeyError> {
        let mut certificates = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(chain) {
            let (kind, der) = section.map_err(|error| CertifiedKeyError::ChainNotPem(error.to_string()))?;
            if kind == SectionKind::Certificate {
                certificates.push(der);
            }
        }
        for (index, der) in certificates.iter().enumerate() {
            parse(der).map_err(|_| CertifiedKeyError::MalformedCertificate { nth: index + 1 })?;
        }
        let len = certificates.iter().map(|der| 3 + der.len()).sum();
        if len > Self::MAX_CHAIN_LEN {
            let max = Self::MAX_CHAIN_LEN;
            return Err(CertifiedKeyError::TooLong { len, max });
        }
        let leaf = certificates.first().ok_or(CertifiedKeyError::NoCertificate)?;
        let malformed = CertifiedKeyError::MalformedCertificate { nth: 1 };
        let facts = CertificateFacts::read(leaf).map_err(|_| malformed.clone())?;
        let public_key_info = parse(leaf).map_err(|_| malformed)?.public_key().raw.to_vec();
        let public = PeerKey::of_certificate(leaf)
            .ok()
            .filter(PeerKey::is_p256)
            .ok_or(CertifiedKeyError::CertificateNotP256)?;
        let key = read_key(key)?;
        if key.public() != public.point() {
            return Err(CertifiedKeyError::Mismatch);
        }
        Ok(Self {
            chain: certificates,
            public_key_info,
            facts,
            key,
        })
    }

    /// The certificates in DER, its own first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The public key alone (RFC 7250), in DER.
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// What names the public key alone.
    pub fn key_digest(&self) -> KeyDigest {
        KeyDigest::of(&self.public_key_info)
    }

    /// What its own certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// Signs with SHA-256.
    pub(in crate::dtls) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message)
    }

    /// The same key with another's certificates, or none, for peers that misbehave.
    #[cfg(test)]
    pub fn with_chain(self, chain: Vec<Vec<u8>>) -> Self {
        Self { chain, ..self }
    }
}

fn read_key(text: &[u8]) -> Result<SigningKey, CertifiedKeyError> {
    let mut kinds = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|error| match error {
            // The headers of a traditional key under a passphrase are no base64.
            _ if is_encrypted(text) => CertifiedKeyError::EncryptedKey,
            PemError::NoItemsFound => CertifiedKeyError::NoKey,
            other => CertifiedKeyError::KeyNotPem(other.to_string()),
        })?;
        let der = Zeroizing::new(der);
        match kind {
            SectionKind::PrivateKey => {
                return SigningKey::from_pkcs8(&der).ok_or(CertifiedKeyError::KeyNotP256);
            }
            SectionKind::EcPrivateKey => {
                let wrapped = pkcs8_of(&der).ok_or(CertifiedKeyError::KeyNotP256)?;
                return SigningKey::from_pkcs8(&wrapped).ok_or(CertifiedKeyError::KeyNotP256);
            }
            SectionKind::RsaPrivateKey => return Err(CertifiedKeyError::KeyNotP256),
            other => kinds.push(other),
        }
    }
    if is_encrypted(text) {
        return Err(CertifiedKeyError::EncryptedKey);
    }
    Err(CertifiedKeyError::NoKey)
}

/// Whether there is a key under a passphrase: by its label (RFC 7468 section 11), or by a header (RFC 1421 section 4.6.1.1).
fn is_encrypted(text: &[u8]) -> bool {
    let signs: [&[u8]; 2] = [
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"Proc-Type: 4,ENCRYPTED",
    ];
    signs
        .iter()
        .any(|sign| text.windows(sign.len()).any(|window| window == *sign))
}

/// Puts a SEC 1 key (RFC 5915) into the PKCS #8 document that the signing library reads.
fn pkcs8_of(sec1: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    /// Version 0; the algorithm: id-ecPublicKey on prime256v1.
    const HEAD: [u8; 24] = [
        0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
        0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    // A P-256 key has 121 bytes, so every length fits one byte.
    let inner = u8::try_from(sec1.len()).ok().filter(|len| *len < 0x80)?;
    let mut out = Zeroizing::new(Vec::with_capacity(3 + HEAD.len() + 2 + sec1.len()));
    let outer = u8::try_from(HEAD.len() + 2).ok()?.checked_add(inner)?;
    out.extend_from_slice(&[0x30, 0x81, outer]);
    out.extend_from_slice(&HEAD);
    out.extend_from_slice(&[0x04, inner]);
    out.extend_from_slice(sec1);
    Some(out)
}
