//! What the operators' listener shows: two files, read at the start and again whenever they change.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::{error, info};
use zeroize::Zeroizing;

use super::certificate::{Stamps, follow};
use super::small_file::read_small_file;
use crate::admin::{Tls, TlsIdentity, TlsIdentityError};
use crate::config::AdminConfig;
use crate::telemetry::{self, CertificateRead, GatewayEvent};

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// `admin.tls_cert_file`
    certificate: PathBuf,
    /// `admin.tls_key_file`
    key: PathBuf,
}

/// Why TLS cannot be spoken.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("cannot read {path:?} ({key})")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The key of the configuration that names it.
        key: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What the files hold is not a certificate and its key.
    #[error("{certificate:?} (admin.tls_cert_file) and {key:?} (admin.tls_key_file) cannot be used")]
    Unusable {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong with which of the two.
        source: TlsIdentityError,
    },
}

impl TlsFiles {
    /// Where the configuration says that they are; it has both or neither.
    pub fn of(admin: &AdminConfig) -> Option<Self> {
        Some(Self {
            certificate: admin.tls_cert_file.clone()?,
            key: admin.tls_key_file.clone()?,
        })
    }

    /// Reads both.
    ///
    /// # Errors
    /// Says which file, and what is wrong with it.
    pub fn read(&self) -> Result<TlsIdentity, TlsFileError> {
        let read = |path: &Path, key| {
            read_small_file(path).map_err(|source| TlsFileError::Unreadable {
                path: path.to_owned(),
                key,
                source,
            })
        };
        let chain = read(&self.certificate, "admin.tls_cert_file")?;
        let key = Zeroizing::new(read(&self.key, "admin.tls_key_file")?);
        TlsIdentity::from_pem(&chain, &key).map_err(|source| TlsFileError::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }

    /// What tells changed files from the same ones.
    pub fn stamps(&self) -> Stamps {
        Stamps::of([&self.certificate, &self.key])
    }

    /// Has the listener show what the files hold, until the task is ended. `shown` are the files as they were read last.
    pub async fn follow(self, shown: Stamps, tls: Tls) {
        let file = self.certificate.display().to_string();
        let paths = [self.certificate.clone(), self.key.clone()];
        follow(paths, shown, move || self.read(), |read| match read {
            Ok(identity) => {
                info!(file, "the certificate for operators was read again; handshakes from here on get it");
                telemetry::emit(GatewayEvent::CertificateRead(CertificateRead::TakenUp));
                tls.replace(identity);
            }
            Err(wrong) => {
                error!(
                    error = &wrong as &dyn std::error::Error,
                    "the certificate for operators has changed and cannot be used; the one before stays in use"
                );
                telemetry::emit(GatewayEvent::CertificateRead(CertificateRead::Refused));
            }
        })
        .await;
    }
}
