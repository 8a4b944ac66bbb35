//! What a certificate says of its owner, and the key it is for.

use std::fmt;

use data_encoding::HEXLOWER;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, SubjectPublicKeyInfo};

use super::ChainFault;
use crate::dtls::crypto::{self, Curve, HASH_LEN, SignatureHash};
use crate::dtls::psk::write_escaped;

/// What a certificate says of its owner.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CertificateFacts {
    /// SHA-256 of the certificate's DER, as `openssl x509 -fingerprint -sha256` prints it: a name for people, and for
    /// finding a certificate. It is no name to take a certificate back by: an ECDSA signature has a second form that is as
    /// good, so whoever has the certificate has another with another fingerprint.
    pub fingerprint: KeyDigest,
    /// SHA-256 of what the issuer signed (the tbsCertificate): a name that nobody but the issuer can change.
    pub signed: KeyDigest,
    /// The subject's O, where there is exactly one.
    pub organization: Option<Box<str>>,
    /// The subject's CN, where there is exactly one.
    pub common_name: Option<Box<str>>,
    /// The serial number that the issuer gave it, big-endian.
    pub serial: Box<[u8]>,
    /// The first second of its validity, since 1970.
    pub not_before_unix_s: i64,
    /// The last second of its validity, since 1970.
    pub not_after_unix_s: i64,
}

/// A SHA-256 digest that names a public key (of its SubjectPublicKeyInfo) or a certificate (of its DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; HASH_LEN]);

/// A peer's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerKey {
    curve: Curve,
    point: Vec<u8>,
}

impl CertificateFacts {
    /// The longest O or CN taken, in bytes. X.520 ends both at 64 characters.
    pub const MAX_NAME_LEN: usize = 256;
    /// The longest serial number taken, in bytes (RFC 5280 section 4.1.2.2 has 20, and a sign).
    pub const MAX_SERIAL_LEN: usize = 21;

    /// Reads a certificate in DER. Checks nothing of what it says.
    ///
    /// # Errors
    /// When it is no certificate, or its names or number are too long.
    pub fn read(der: &[u8]) -> Result<Self, ChainFault> {
        Self::of(der, &parse(der)?)
    }

    pub(super) fn of(der: &[u8], certificate: &X509Certificate<'_>) -> Result<Self, ChainFault> {
        let subject = certificate.subject();
        let serial = certificate.raw_serial();
        if serial.len() > Self::MAX_SERIAL_LEN {
            return Err(ChainFault::Malformed);
        }
        Ok(Self {
            fingerprint: KeyDigest::of(der),
            signed: KeyDigest::of(certificate.tbs_certificate.as_ref()),
            organization: only_name(subject.iter_organization())?,
            common_name: only_name(subject.iter_common_name())?,
            serial: serial.into(),
            not_before_unix_s: certificate.validity().not_before.timestamp(),
            not_after_unix_s: certificate.validity().not_after.timestamp(),
        })
    }
}

/// A name that stands there once. Of two, nobody could say which is meant; and a name cut short would be another's.
fn only_name<'a>(
    mut names: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> Result<Option<Box<str>>, ChainFault> {
    let (Some(name), None) = (names.next(), names.next()) else {
        return Ok(None);
    };
    match name.as_str() {
        Ok(name) if name.len() <= CertificateFacts::MAX_NAME_LEN => Ok(Some(name.into())),
        Ok(_) => Err(ChainFault::Malformed),
        // In a string type that nobody has used for decades.
        Err(_) => Ok(None),
    }
}

/// Reads a certificate and nothing after it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, ChainFault> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(ChainFault::Malformed),
    }
}

impl KeyDigest {
    /// Of the bytes of a SubjectPublicKeyInfo, or of a certificate, in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(crypto::sha256(der))
    }

    /// A digest that was kept.
    pub const fn from_bytes(bytes: [u8; HASH_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; HASH_LEN] {
        &self.0
    }
}

impl PeerKey {
    /// The key that a certificate in DER is for.
    ///
    /// # Errors
    /// When it cannot be read, or is on no curve that we know.
    pub fn of_certificate(der: &[u8]) -> Result<Self, ChainFault> {
        Self::of(parse(der)?.public_key())
    }

    /// The key in a SubjectPublicKeyInfo in DER (RFC 7250 section 3).
    ///
    /// # Errors
    /// When it cannot be read, or is on no curve that we know.
    pub fn of_public_key_info(der: &[u8]) -> Result<Self, ChainFault> {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], info)) => Self::of(&info),
            Ok(_) | Err(_) => Err(ChainFault::Malformed),
        }
    }

    fn of(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, ChainFault> {
        if info.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Err(ChainFault::Unsupported);
        }
        let parameters = info.algorithm.parameters.as_ref();
        let curve = parameters
            .and_then(|parameters| parameters.as_oid().ok())
            .and_then(|oid| {
                if oid == OID_EC_P256 {
                    Some(Curve::P256)
                } else if oid == OID_NIST_EC_P384 {
                    Some(Curve::P384)
                } else {
                    None
                }
            });
        Ok(Self {
            curve: curve.ok_or(ChainFault::Unsupported)?,
            point: info.subject_public_key.data.to_vec(),
        })
    }

    /// Whether its owner signed `message`.
    pub fn verify(&self, hash: SignatureHash, message: &[u8], signature: &[u8]) -> bool {
        crypto::verify_ecdsa(self.curve, hash, &self.point, message, signature)
    }

    /// The point as it travels.
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// Whether it is on P-256.
    pub fn is_p256(&self) -> bool {
        self.curve == Curve::P256
    }
}

/// Control characters are escaped, so that it is safe in a log line.
impl fmt::Display for CertificateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, name) in [("O=", &self.organization), ("CN=", &self.common_name)] {
            if let Some(name) = name {
                f.write_str(label)?;
                write_escaped(name, f)?;
                f.write_str(", ")?;
            }
        }
        write!(f, "SHA-256 {}", self.fingerprint)
    }
}

impl fmt::Debug for CertificateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateFacts({self})")
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({self})")
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({:?})", self.curve)
    }
}
