//! Certificates for the fleet and for the gateway, as an operator's PKI would issue them: EC P-256, a device's with O = project
//! and CN = device. The one place that names `rcgen`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tessera::dtls::{CertifiedKey, CertifiedKeyError};
use thiserror::Error;

/// A CA.
pub struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

/// A certificate and its key, for both kinds of engine.
#[derive(Clone)]
pub struct Issued {
    key: Arc<CertifiedKey>,
    key_pem: Arc<str>,
    key_der: Arc<[u8]>,
    certificate_pem: Arc<str>,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// For many years.
    Good,
    /// Not any more.
    Over,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum PkiError {
    /// It cannot be made.
    #[error("a certificate for {subject:?} cannot be made")]
    NotMade {
        /// Whom it is for.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// Our own client half does not take it.
    #[error("the certificate made for {subject:?} is none that a device can use")]
    Unusable {
        /// Whom it is for.
        subject: String,
        /// Why.
        source: CertifiedKeyError,
    },
}

impl Authority {
    /// A CA of this name.
    pub fn new(name: &str) -> Result<Self, PkiError> {
        let made = || {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::default();
            params.distinguished_name = subject(None, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let certificate = params.self_signed(&key)?;
            Ok(Self { certificate, key })
        };
        made().map_err(|source| PkiError::NotMade {
            subject: name.to_owned(),
            source,
        })
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Its certificate.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// A certificate for each of these devices of the project, in their order, made by as many threads as there are cores.
    pub fn devices(
        &self,
        project: &str,
        names: &[&str],
        validity: Validity,
    ) -> Result<Vec<Issued>, PkiError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let each = names.len().div_ceil(cores).max(1);
        thread::scope(|scope| {
            let parts: Vec<_> = names
                .chunks(each)
                .map(|part| {
                    scope.spawn(|| {
                        let issued = part.iter().map(|name| self.device(project, name, validity));
                        issued.collect::<Result<Vec<_>, _>>()
                    })
                })
                .collect();
            let mut all = Vec::with_capacity(names.len());
            for part in parts {
                all.extend(part.join().expect("issuing does not panic")?);
            }
            Ok(all)
        })
    }

    fn device(&self, project: &str, name: &str, validity: Validity) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(Some(project), name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = match validity {
            Validity::Good => (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1)),
            Validity::Over => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
        };
        self.issue(name, params)
    }

    /// A certificate for the gateway, as devices reach it on this machine.
    pub fn server(&self, name: &str, addresses: &[IpAddr]) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(None, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if let Ok(name) = name.try_into() {
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = addresses.iter().copied();
        params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
        self.issue(name, params)
    }

    fn issue(&self, name: &str, mut params: CertificateParams) -> Result<Issued, PkiError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let made = || {
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.certificate, &self.key)?;
            Ok((certificate, key))
        };
        let (certificate, key) = made().map_err(|source| PkiError::NotMade {
            subject: name.to_owned(),
            source,
        })?;
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        let own = CertifiedKey::from_pem(certificate_pem.as_bytes(), key_pem.as_bytes());
        Ok(Issued {
            key: Arc::new(own.map_err(|source| PkiError::Unusable {
                subject: name.to_owned(),
                source,
            })?),
            key_pem: key_pem.into(),
            key_der: key.serialized_der().into(),
            certificate_pem: certificate_pem.into(),
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate.der())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Issued {
    /// What our own client half takes.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The certificate in DER. The CA's is not in the chain: who is to believe it has it.
    pub fn certificate_der(&self) -> &[u8] {
        self.key.chain().first().map_or(&[], Vec::as_slice)
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, PKCS #8 in DER.
    pub fn key_der(&self) -> &[u8] {
        &self.key_der
    }

    /// The private key, PKCS #8 as PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

fn subject(organization: Option<&str>, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, name);
    subject
}

#[cfg(test)]
mod tests {
    use tessera::dtls::{ChainFault, PeerChain, TrustAnchors, verify_chain};

    use super::*;

    #[test]
    fn a_device_is_vouched_for_by_its_own_ca_while_its_certificate_is_good() {
        let ca = Authority::new("Fleet").unwrap();
        let [good, over] = [Validity::Good, Validity::Over]
            .map(|validity| ca.devices("default", &["lamp-1"], validity).unwrap().remove(0));
        let believed = |issued: &Issued, ca: &Authority| {
            let anchors = TrustAnchors::from_pem(ca.pem().as_bytes()).unwrap();
            let chain = PeerChain::new(vec![issued.certificate_der().to_vec()]).unwrap();
            verify_chain(&chain, &anchors, NOW_S).map(drop)
        };
        assert_eq!(believed(&good, &ca), Ok(()));
        assert_eq!(believed(&over, &ca), Err(ChainFault::Expired));
        let other = Authority::new("Fleet").unwrap();
        assert!(
            believed(&good, &other).is_err(),
            "of the same name, with another key"
        );
    }

    #[test]
    fn each_device_has_a_key_of_its_own_and_its_own_place() {
        let ca = Authority::new("Fleet").unwrap();
        let names: Vec<String> = (0..7).map(|number| format!("lamp-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let issued = ca.devices("acme", &names, Validity::Good).unwrap();
        assert_eq!(issued.len(), names.len());
        for (name, one) in names.iter().zip(&issued) {
            let facts = one.certified_key().facts();
            assert_eq!(facts.organization.as_deref(), Some("acme"));
            assert_eq!(facts.common_name.as_deref(), Some(*name));
            let again = CertifiedKey::from_pem(one.certificate_pem().as_bytes(), one.key_pem().as_bytes());
            assert_eq!(again.unwrap().key_digest(), one.certified_key().key_digest());
        }
        let keys: std::collections::HashSet<&[u8]> = issued.iter().map(Issued::key_der).collect();
        assert_eq!(keys.len(), names.len());
        assert_eq!(ca.devices("acme", &[], Validity::Good).unwrap().len(), 0);
    }

    /// In 2026.
    const NOW_S: i64 = 1_780_000_000;
}
