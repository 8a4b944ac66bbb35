//! Certificates in the operator's words: the CAs that vouch for devices, and what a device's certificate says of it.
//!
//! What a certificate proves is decided where handshakes are; here one is read once, at the edge, so that a file which can
//! never vouch for a device is refused with a reason, and not device by device later.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AttributeTypeAndValue, X509Version};

use super::id::{CaId, CohortId, ProjectId};
use super::name::CaName;
use super::number::Digest;
use super::refusal::{Invalid, NOT_SHOWN};

/// A CA that is believed about the devices of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCa {
    /// Its id.
    pub id: CaId,
    /// The project for whose devices it vouches.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: CaName,
    /// Its certificate.
    pub certificate: CaCertificate,
    /// A device that nobody has named before is created when it shows a certificate of this CA.
    pub zero_touch: bool,
    /// The cohort that such a device is put in.
    pub cohort: Option<CohortId>,
    /// When it was added, in milliseconds of Unix time.
    pub created_ms: i64,
}

/// A CA to be believed.
#[derive(Debug, Clone)]
pub struct NewCa {
    /// What to call it; absent, as its certificate calls it.
    pub name: Option<CaName>,
    /// Its certificate.
    pub certificate: CaCertificate,
    /// Whether unknown devices are created.
    pub zero_touch: bool,
    /// The cohort that such a device is put in.
    pub cohort: Option<CohortId>,
}

/// The certificate of a CA. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    der: Arc<[u8]>,
    sha256: Digest,
    subject: CertificateSubject,
    not_before_s: i64,
    not_after_s: i64,
}

/// The last second of the validity of a certificate in DER, since 1970; `None` if it is no certificate. Of no other matter.
#[must_use]
pub fn certificate_end_s(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// A certificate that is a device's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCertificate {
    /// The SHA-256 of its DER: what people call it.
    pub sha256: Digest,
    /// The SHA-256 of what its CA signed. An ECDSA signature has a second form that is as good, so the owner of a certificate
    /// can make another of it with another SHA-256; this one stays. Not known of one that was given by its digest and not used
    /// yet.
    pub signed: Option<Digest>,
    /// What it says; not known of one that was given by its digest and not used yet.
    pub facts: Option<CertificateFacts>,
    /// The CA that vouched for it when it was last used; none before that, or if that CA is gone.
    pub ca: Option<CaId>,
    /// Somebody said that it is this device's, whatever its subject says.
    pub pinned: bool,
    /// When it was first used, in milliseconds of Unix time.
    pub first_seen_ms: Option<i64>,
}

/// What a device's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whom it is for.
    pub subject: CertificateSubject,
    /// The number that its CA gave it, in hexadecimal.
    pub serial: String,
    /// The first second of its validity, since 1970.
    pub not_before_s: i64,
    /// The last second of its validity, since 1970.
    pub not_after_s: i64,
}

/// Whom a certificate is for, as far as it matters: each part where it is there exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CertificateSubject {
    /// O: the project.
    pub organization: Option<String>,
    /// CN: the device.
    pub common_name: Option<String>,
}

impl CaCertificate {
    /// Reads a PEM text with one certificate, of a CA.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn from_pem(text: &str) -> Result<Self, Invalid> {
        Self::from_der(&one_certificate(CA, text, CA_ACCEPTED)?)
    }

    /// Reads a certificate of a CA in DER.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn from_der(der: &[u8]) -> Result<Self, Invalid> {
        let certificate = read(CA, der, CA_ACCEPTED)?;
        let subject = CertificateSubject::of(&certificate);
        let wrong = |wrong: String| Invalid::new(CA, &subject.to_string(), wrong, CA_ACCEPTED);
        match certificate.version() {
            // It has no extensions to say so with. Only a root can be believed without them.
            X509Version::V1 if certificate.issuer().as_raw() == certificate.subject().as_raw() => {}
            X509Version::V1 => {
                return Err(wrong(
                    "is of X.509 version 1 and was issued by another, so nothing says that it is a CA's"
                        .to_owned(),
                ));
            }
            _ if !certificate.is_ca() => {
                return Err(wrong(
                    "is not a CA's: it has no basicConstraints with CA:TRUE".to_owned(),
                ));
            }
            _ => {}
        }
        if let Ok(Some(usage)) = certificate.key_usage()
            && !usage.value.key_cert_sign()
        {
            return Err(wrong(
                "may not sign certificates: its keyUsage lacks keyCertSign".to_owned(),
            ));
        }
        match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) if (2048..=8192).contains(&key.key_size()) => {}
            Ok(PublicKey::EC(key)) if matches!(key.key_size(), 256 | 384) => {}
            Ok(_) | Err(_) => {
                return Err(wrong(
                    "has a key that no signature of a device's certificate is checked with".to_owned(),
                ));
            }
        }
        Ok(Self {
            der: der.into(),
            sha256: Digest::of(der),
            not_before_s: certificate.validity().not_before.timestamp(),
            not_after_s: certificate.validity().not_after.timestamp(),
            subject,
        })
    }

    /// Checks whether it is within its validity.
    ///
    /// # Errors
    /// It is not.
    pub fn check_time(&self, unix_s: i64) -> Result<(), Invalid> {
        let wrong = |wrong: &'static str| {
            Err(Invalid::new(
                CA,
                &self.subject.to_string(),
                wrong,
                "one that is within its validity",
            ))
        };
        match unix_s {
            now if now < self.not_before_s => wrong("is not valid yet"),
            now if now > self.not_after_s => wrong("has expired"),
            _ => Ok(()),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SHA-256 of its bytes.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> &CertificateSubject {
        &self.subject
    }

    /// The first second of its validity, since 1970.
    #[must_use]
    pub fn not_before_s(&self) -> i64 {
        self.not_before_s
    }

    /// The last second of its validity, since 1970.
    #[must_use]
    pub fn not_after_s(&self) -> i64 {
        self.not_after_s
    }

    /// What it is called where nobody says otherwise.
    #[must_use]
    pub fn usual_name(&self) -> CaName {
        let named = self.subject.common_name.as_deref();
        let named = named.and_then(|name| CaName::parse(name).ok());
        named.unwrap_or_else(|| {
            let digits: String = self.sha256.to_string().chars().take(16).collect();
            CaName::parse(&digits).expect("hexadecimal digits are a name")
        })
    }
}

impl DeviceCertificate {
    /// One that somebody says is a device's, read from PEM.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn from_pem(text: &str) -> Result<Self, Invalid> {
        let der = one_certificate(LEAF, text, LEAF_ACCEPTED)?;
        let certificate = read(LEAF, &der, LEAF_ACCEPTED)?;
        let facts = CertificateFacts {
            subject: CertificateSubject::of(&certificate),
            serial: HEXLOWER.encode(certificate.raw_serial()),
            not_before_s: certificate.validity().not_before.timestamp(),
            not_after_s: certificate.validity().not_after.timestamp(),
        };
        if certificate.raw_serial().len() > SERIAL_BYTES {
            let wrong = "has a longer serial number than X.509 allows";
            return Err(Invalid::new(
                LEAF,
                &facts.subject.to_string(),
                wrong,
                LEAF_ACCEPTED,
            ));
        }
        Ok(Self {
            signed: Some(Digest::of(certificate.tbs_certificate.as_ref())),
            facts: Some(facts),
            ..Self::pinned(Digest::of(&der))
        })
    }

    /// One that somebody says is a device's, of which no more is known.
    #[must_use]
    pub fn pinned(sha256: Digest) -> Self {
        Self {
            sha256,
            signed: None,
            facts: None,
            ca: None,
            pinned: true,
            first_seen_ms: None,
        }
    }
}

impl CertificateSubject {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let subject = certificate.subject();
        Self {
            organization: only(subject.iter_organization()),
            common_name: only(subject.iter_common_name()),
        }
    }
}

/// `O=default, CN=lamp-1`
impl fmt::Display for CertificateSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.organization, &self.common_name) {
            (Some(organization), Some(name)) => write!(f, "O={organization}, CN={name}"),
            (Some(organization), None) => write!(f, "O={organization}"),
            (None, Some(name)) => write!(f, "CN={name}"),
            (None, None) => f.write_str("(neither O nor CN)"),
        }
    }
}

/// Of two, nobody could say which is meant. One that is cut short would be another's.
fn only<'a>(mut names: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Option<String> {
    match (names.next(), names.next()) {
        (Some(name), None) => {
            let text = name.as_str().ok()?;
            (text.len() <= SUBJECT_BYTES).then(|| text.to_owned())
        }
        _ => None,
    }
}

/// The one certificate of a PEM text, in DER.
fn one_certificate(what: &'static str, text: &str, accepted: &'static str) -> Result<Vec<u8>, Invalid> {
    // What is given may be a key by mistake, and is not repeated.
    let wrong = |wrong: String| Invalid::new(what, NOT_SHOWN, wrong, accepted);
    let mut found = Vec::new();
    let mut others = Vec::new();
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.map_err(|error| wrong(format!("is not PEM ({error})")))?;
        match block.label.as_str() {
            "CERTIFICATE" => found.push(block.contents),
            _ => others.push(block.label),
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if others.is_empty() => Err(wrong(
            "is not PEM: it has no block `-----BEGIN CERTIFICATE-----`".into(),
        )),
        0 => {
            let label: String = others[0].chars().take(40).collect();
            Err(wrong(format!(
                "is PEM without a certificate in it, but with {label:?}"
            )))
        }
        several => Err(wrong(format!("holds {several} certificates"))),
    }
}

fn read<'d>(
    what: &'static str,
    der: &'d [u8],
    accepted: &'static str,
) -> Result<X509Certificate<'d>, Invalid> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => {
            let wrong = "has bytes after its end";
            Err(Invalid::new(what, NOT_SHOWN, wrong, accepted))
        }
        Err(error) => {
            let wrong = format!("cannot be read as X.509 ({error})");
            Err(Invalid::new(what, NOT_SHOWN, wrong, accepted))
        }
    }
}

const CA: &str = "CA certificate";
const CA_ACCEPTED: &str = "one certificate in PEM, of a CA (basicConstraints CA:TRUE, or a self-signed root of X.509 version 1) \
     whose key is RSA of 2048 to 8192 bits or ECDSA on P-256 or P-384; `openssl req -x509` makes such a one";
const LEAF: &str = "certificate";
const LEAF_ACCEPTED: &str = "one certificate in PEM";
/// X.520 ends an O or a CN at 64 characters; four bytes each.
const SUBJECT_BYTES: usize = 256;
/// RFC 5280 section 4.1.2.2 has 20, and a sign.
const SERIAL_BYTES: usize = 21;

#[cfg(test)]
#[path = "certificate_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
