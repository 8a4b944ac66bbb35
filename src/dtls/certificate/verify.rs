//! Whether somebody trusted vouches for a chain.
//!
//! `webpki` builds and checks the path, and does not know certificates of X.509 version 1, which
//! `openssl x509 -req` makes unless it is told otherwise: such a one is accepted as a leaf, issued by an anchor itself.

use std::time::Duration;

use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, Error as PathError, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, Oid,
};
use x509_parser::x509::X509Version;

use super::facts::parse;
use super::{CertificateFacts, ChainFault, PeerChain};

/// CAs that are believed, each known by the order in which it was added.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    anchors: Vec<TrustAnchor<'static>>,
    /// The same in DER.
    certificates: Vec<Vec<u8>>,
}

/// Why a certificate cannot be a trust anchor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnchorError {
    /// There is no certificate in the text.
    #[error(
        "there is no certificate in it; a PEM file with one or more blocks `-----BEGIN CERTIFICATE-----` would do"
    )]
    NoCertificate,
    /// The text is not PEM.
    #[error("it is not PEM: {0}")]
    NotPem(String),
    /// Not a certificate.
    #[error("certificate {nth} of it cannot be read as X.509")]
    Malformed {
        /// Which one, from 1.
        nth: usize,
    },
    /// Not for issuing certificates.
    #[error(
        "certificate {nth} of it is not a CA's: it needs basicConstraints CA:TRUE and, where it has a keyUsage, \
         keyCertSign; `openssl req -x509` makes such a one"
    )]
    NotCa {
        /// Which one, from 1.
        nth: usize,
    },
}

/// Who a chain is to speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Client,
    Server,
}

impl TrustAnchors {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// All certificates of a PEM text, in its order.
    ///
    /// # Errors
    /// When it has none, or one that is not a CA's.
    pub fn from_pem(text: &[u8]) -> Result<Self, AnchorError> {
        let mut anchors = Self::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let (kind, der) = section.map_err(|error| AnchorError::NotPem(error.to_string()))?;
            if kind == SectionKind::Certificate {
                anchors.add(&der)?;
            }
        }
        if anchors.is_empty() {
            return Err(AnchorError::NoCertificate);
        }
        Ok(anchors)
    }

    /// Believes one more CA, whose certificate is this in DER. Its own validity does not matter: it is believed because
    /// somebody said so, until somebody says otherwise.
    ///
    /// # Errors
    /// When it is no certificate, or not a CA's.
    pub fn add(&mut self, der: &[u8]) -> Result<(), AnchorError> {
        let nth = self.len() + 1;
        let certificate = parse(der).map_err(|_| AnchorError::Malformed { nth })?;
        if !may_issue(&certificate) {
            return Err(AnchorError::NotCa { nth });
        }
        let anchor = anchor_from_trusted_cert(&CertificateDer::from(der))
            .map_err(|_| AnchorError::Malformed { nth })?
            .to_owned();
        self.anchors.push(anchor);
        self.certificates.push(der.to_vec());
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// The certificates in DER, in their order.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(Vec::as_slice)
    }
}

/// What a certificate says of the client that showed it, and the index of the anchor that vouches for it, at this many
/// seconds since 1970.
///
/// # Errors
/// Why no anchor does.
pub fn verify_chain(
    chain: &PeerChain,
    anchors: &TrustAnchors,
    unix_s: i64,
) -> Result<(CertificateFacts, usize), ChainFault> {
    verify(chain, anchors, unix_s, Purpose::Client)
}

/// The same of a server. Its name is not looked at: whoever our anchors vouch for as a server is one.
pub fn verify_server_chain(
    chain: &PeerChain,
    anchors: &TrustAnchors,
    unix_s: i64,
) -> Result<(CertificateFacts, usize), ChainFault> {
    verify(chain, anchors, unix_s, Purpose::Server)
}

fn verify(
    chain: &PeerChain,
    anchors: &TrustAnchors,
    unix_s: i64,
    purpose: Purpose,
) -> Result<(CertificateFacts, usize), ChainFault> {
    let leaf = parse(chain.leaf())?;
    let facts = CertificateFacts::of(chain.leaf(), &leaf)?;
    let anchor = match leaf.version() {
        X509Version::V1 => verify_version_1(&leaf, &facts, anchors, unix_s)?,
        _ => verify_path(chain, anchors, unix_s, purpose)?,
    };
    // webpki looks at the extended key usage and leaves the other to its caller.
    //= RFC 5280 section 4.2.1.3
    //# The digitalSignature bit is asserted when the subject public key is used for verifying digital signatures, other
    //# than signatures on certificates (bit 5) and CRLs (bit 6)
    match leaf.key_usage() {
        Ok(Some(usage)) if !usage.value.digital_signature() => return Err(ChainFault::NotForClientUse),
        Ok(Some(_) | None) => {}
        Err(_) => return Err(ChainFault::Malformed),
    }
    Ok((facts, anchor))
}

fn verify_path(
    chain: &PeerChain,
    anchors: &TrustAnchors,
    unix_s: i64,
    purpose: Purpose,
) -> Result<usize, ChainFault> {
    let leaf = CertificateDer::from(chain.leaf());
    let leaf = EndEntityCert::try_from(&leaf).map_err(fault_of)?;
    let intermediates = issuers(chain);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(unix_s.try_into().unwrap_or(0)));
    let usage = match purpose {
        Purpose::Client => KeyUsage::client_auth(),
        Purpose::Server => KeyUsage::server_auth(),
    };
    let path = leaf
        .verify_for_usage(
            SIGNATURES,
            &anchors.anchors,
            &intermediates,
            now,
            usage,
            None,
            Some(&issuers_may_issue),
        )
        .map_err(fault_of)?;
    anchors
        .anchors
        .iter()
        .position(|anchor| std::ptr::eq(anchor, path.anchor()))
        .ok_or(ChainFault::Untrusted)
}

/// What may lead from the leaf to an anchor. `webpki` tries every order of certificates that could have issued each other, and
/// of seven with one name there are thousands, for a stranger to ask for.
fn issuers(chain: &PeerChain) -> Vec<CertificateDer<'_>> {
    let mut names = Vec::with_capacity(PeerChain::MAX_LEN);
    let looked_at = chain.intermediates().filter(|der| {
        // One that cannot be read leads nowhere.
        let Ok(certificate) = parse(der) else { return false };
        let name = certificate.subject().as_raw().to_vec();
        let same = names.iter().filter(|other| **other == name).count();
        names.push(name);
        same < ISSUERS_OF_ONE_NAME
    });
    looked_at.map(CertificateDer::from).collect()
}

/// Every issuer between leaf and anchor has to be allowed to sign certificates, where it says what it is allowed to.
fn issuers_may_issue(path: &VerifiedPath<'_>) -> Result<(), PathError> {
    let all = path.intermediate_certificates().all(|issuer| {
        let der = issuer.der();
        parse(&der).is_ok_and(|issuer| may_issue(&issuer))
    });
    if all {
        Ok(())
    } else {
        Err(PathError::EndEntityUsedAsCa)
    }
}

fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let may_sign = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    match certificate.version() {
        // It cannot say what it is for; as an anchor it is believed to be a CA's if it signed itself.
        X509Version::V1 => certificate.issuer().as_raw() == certificate.subject().as_raw(),
        _ => certificate.is_ca() && may_sign,
    }
}

/// A certificate that has no extensions can be an issuer's as well as a leaf, so a path never leads through one.
fn verify_version_1(
    leaf: &X509Certificate<'_>,
    facts: &CertificateFacts,
    anchors: &TrustAnchors,
    unix_s: i64,
) -> Result<usize, ChainFault> {
    //= RFC 5280 section 4.1.2.9
    //# This field MUST only appear if the version is 3
    if !leaf.extensions().is_empty() {
        return Err(ChainFault::Malformed);
    }
    //= RFC 5280 section 4.1.1.2
    //# This field MUST contain the same algorithm identifier as the signature field in the sequence tbsCertificate
    if leaf.signature_algorithm != leaf.tbs_certificate.signature {
        return Err(ChainFault::Malformed);
    }
    if !VERSION_1_SIGNATURES.contains(leaf.signature_algorithm.oid()) {
        return Err(ChainFault::Unsupported);
    }
    if unix_s < facts.not_before_unix_s {
        return Err(ChainFault::NotYetValid);
    }
    if unix_s > facts.not_after_unix_s {
        return Err(ChainFault::Expired);
    }
    let vouches = |(anchor, der): (&TrustAnchor<'_>, &Vec<u8>)| {
        // Names that an anchor is constrained to are webpki's to check, and it does not read this leaf.
        anchor.name_constraints.is_none()
            && parse(der).is_ok_and(|anchor| {
                anchor.subject().as_raw() == leaf.issuer().as_raw()
                    && leaf.verify_signature(Some(anchor.public_key())).is_ok()
            })
    };
    anchors
        .anchors
        .iter()
        .zip(&anchors.certificates)
        .position(vouches)
        .ok_or(ChainFault::Untrusted)
}

fn fault_of(error: PathError) -> ChainFault {
    match error {
        PathError::CertExpired { .. } => ChainFault::Expired,
        PathError::CertNotValidYet { .. } => ChainFault::NotYetValid,
        PathError::RequiredEkuNotFoundContext(_)
        | PathError::EmptyEkuExtension
        | PathError::CaUsedAsEndEntity => ChainFault::NotForClientUse,
        PathError::UnsupportedCertVersion | PathError::UnsupportedCriticalExtension => {
            ChainFault::Unsupported
        }
        PathError::BadDer
        | PathError::BadDerTime
        | PathError::ExtensionValueInvalid
        | PathError::InvalidCertValidity
        | PathError::InvalidSerialNumber
        | PathError::MalformedExtensions
        | PathError::TrailingData(_) => ChainFault::Malformed,
        // All other ways in which a path does not lead to an anchor.
        _ => ChainFault::Untrusted,
    }
}

/// RFC 5246 section 7.4.2 wants each certificate to certify the one before it, which takes one of a name; two, as some send both of
/// an issuer that two CAs vouch for.
const ISSUERS_OF_ONE_NAME: usize = 2;

/// Signatures on certificates. Devices sign with ECDSA; a CA may be older than they are.
const SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
];
/// The same by their numbers: `x509_parser` would take SHA-1 and short keys too.
const VERSION_1_SIGNATURES: [Oid<'static>; 5] = [
    OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384,
    OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA,
];
