//! The gateway's own certificate: two files, read at the start and again whenever they change.
//!
//! Whoever replaces them writes one after the other, so a change is taken up once both have been left alone from one look to
//! the next. Files that are wrong then leave the certificate before in use: new handshakes go on, and the log and the metrics
//! say what is wrong. Sessions are never touched.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::small_file::read_small_file;
use crate::clock;
use crate::config::CoapsConfig;
use crate::control::DeviceEntry;
use crate::telemetry::{self, Audience, CertificateRead, GatewayEvent};
use crate::transport::{CertifiedKeyError, ServerCertificate, ServerConfig, Shards};

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// `coaps.certificate_file`
    pub certificate: PathBuf,
    /// `coaps.private_key_file`
    pub key: PathBuf,
}

/// Why there is no certificate to show.
#[derive(Debug, Error)]
pub enum CertificateFileError {
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
    #[error("{certificate:?} (coaps.certificate_file) and {key:?} (coaps.private_key_file) cannot be used")]
    Unusable {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong with which of the two.
        source: CertifiedKeyError,
    },
}

impl CertificateFiles {
    /// Where the configuration says that they are; it has both or neither.
    pub fn of(coaps: &CoapsConfig) -> Option<Self> {
        Some(Self {
            certificate: coaps.certificate_file.clone()?,
            key: coaps.private_key_file.clone()?,
        })
    }

    /// Reads both.
    ///
    /// # Errors
    /// Says which file, and what is wrong with it.
    pub fn read(&self) -> Result<Arc<ServerCertificate>, CertificateFileError> {
        let read = |path: &Path, key| {
            read_small_file(path).map_err(|source| CertificateFileError::Unreadable {
                path: path.to_owned(),
                key,
                source,
            })
        };
        let chain = read(&self.certificate, "coaps.certificate_file")?;
        let key = Zeroizing::new(read(&self.key, "coaps.private_key_file")?);
        let certificate =
            ServerCertificate::from_pem(&chain, &key).map_err(|source| CertificateFileError::Unusable {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
                source,
            })?;
        // Devices without a clock do not look, so it is no reason not to serve.
        let (now_s, facts) = (clock::unix_ms() / 1000, certificate.facts());
        if now_s > facts.not_after_unix_s || now_s < facts.not_before_unix_s {
            warn!(
                file = %self.certificate.display(),
                "the gateway's own certificate is not within its validity: devices that look refuse it"
            );
        }
        Ok(Arc::new(certificate))
    }

    /// Has the shards show what the files hold, until the task is ended. `shown` are the files as they were read last.
    pub async fn follow(self, shown: Stamps, config: ServerConfig, shards: Arc<Shards<Arc<DeviceEntry>>>) {
        let file = self.certificate.display().to_string();
        let paths = [self.certificate.clone(), self.key.clone()];
        follow(paths, shown, move || self.read(), |read| match read {
            Ok(certificate) => {
                info!(
                    file,
                    certificate = %certificate.facts(),
                    "the gateway's certificate was read again; handshakes from here on get it"
                );
                telemetry::emit(GatewayEvent::CertificateRead(CertificateRead::TakenUp));
                show(&certificate);
                shards.reconfigure(ServerConfig {
                    certificate: Some(certificate),
                    ..config.clone()
                });
            }
            Err(wrong) => {
                error!(
                    error = &wrong as &dyn std::error::Error,
                    "the gateway's certificate has changed and cannot be used; the one before stays in use"
                );
                telemetry::emit(GatewayEvent::CertificateRead(CertificateRead::Refused));
            }
        })
        .await;
    }

    /// What tells changed files from the same ones.
    pub fn stamps(&self) -> Stamps {
        Stamps::of([&self.certificate, &self.key])
    }
}

/// Tells the metrics for how long the certificate is good that devices are shown.
pub fn show(certificate: &ServerCertificate) {
    telemetry::emit(GatewayEvent::CertificateShown {
        to: Audience::Devices,
        until_unix_s: certificate.facts().not_after_unix_s,
    });
}

/// Reads two files once for each change of them, when both have been left alone from one look to the next, until the task is
/// ended. `shown` are the files as they were read last.
pub async fn follow<T: Send + 'static>(
    paths: [PathBuf; 2],
    shown: Stamps,
    read: impl Fn() -> T + Send + Sync + 'static,
    mut take_up: impl FnMut(T),
) {
    let files = Arc::new((paths, read));
    let (mut taken_up, mut last) = (shown, shown);
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        let files = Arc::clone(&files);
        let (at_rest, before) = (last, taken_up);
        let looked = tokio::task::spawn_blocking(move || {
            let ([certificate, key], read) = &*files;
            let now = Stamps::of([certificate, key]);
            let changed = now != before && now == at_rest;
            (now, changed.then(read))
        });
        // It has panicked, or the program ends.
        let Ok((now, read)) = looked.await else { return };
        last = now;
        if let Some(read) = read {
            // Wrong ones too: that is said once for each change.
            taken_up = now;
            take_up(read);
        }
    }
}

/// Both files, as far as they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps([Option<Stamp>; 2]);

impl Stamps {
    /// As they are.
    pub fn of(paths: [&Path; 2]) -> Self {
        Self(paths.map(|path| {
            let data = fs::metadata(path).ok()?;
            Some(Stamp {
                device: data.dev(),
                inode: data.ino(),
                bytes: data.size(),
                changed_s: data.mtime(),
                changed_ns: data.mtime_nsec(),
            })
        }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

/// Two looks at two files cost nothing, and a certificate is replaced days before it ends. A guess.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
