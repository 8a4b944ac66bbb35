//! Whose identity is it, and what is the key? Asked by the transport during a handshake, answered from the store.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::handler::{credential_key, credential_of};
use crate::control::{Control, DeviceEntry, FailedHandshake, FailureCause};
use crate::fleet::{DeviceName, PskIdentity};
use crate::transport::{
    Claim, FailureReason, Identity, KeySource, KeyTicket, NameTicket, Principal, Psk, RestoredTicket,
};

/// Looks devices up for the transport.
///
/// A lookup is a task on `runtime`; how many there are at a time is bounded by the handshakes that the transport
/// admits.
#[derive(Clone, Debug)]
pub struct Keys {
    control: Control,
    runtime: Handle,
    /// A place for each failure that is being noted.
    noting: Arc<Semaphore>,
}

impl Keys {
    /// Lookups by `control`, run on `runtime`.
    #[must_use]
    pub fn new(control: Control, runtime: Handle) -> Self {
        Self {
            control,
            runtime,
            noting: Arc::new(Semaphore::new(NOTED_AT_ONCE)),
        }
    }
}

impl KeySource for Keys {
    type Device = Arc<DeviceEntry>;

    fn psk(&self, identity: &Identity, ticket: KeyTicket<Arc<DeviceEntry>>) {
        let (control, identity) = (self.control.clone(), identity.clone());
        self.runtime.spawn(async move {
            match control.device_by_identity(identity.as_bytes()).await {
                Ok(Some(access)) => match Psk::new(access.secret.as_bytes()) {
                    Ok(psk) => ticket.found(access.entry, credential_key(access.credential), psk),
                    Err(error) => {
                        tracing::warn!(%error, %identity, "a stored key is unusable");
                        ticket.unknown();
                    }
                },
                Ok(None) => ticket.unknown(),
                Err(error) => {
                    // The device gets the answer of an unknown identity and tries again by itself.
                    tracing::warn!(%error, %identity, "the key of an identity could not be looked up");
                    ticket.unknown();
                }
            }
        });
    }

    fn restored(&self, device: u64, credential: u64, ticket: RestoredTicket<Arc<DeviceEntry>>) {
        let control = self.control.clone();
        self.runtime.spawn(async move {
            match control.device_by_credential(credential_of(credential)).await {
                Ok(Some(entry)) if entry.key() == device => ticket.found(entry),
                Ok(Some(_) | None) => ticket.gone(),
                Err(error) => {
                    tracing::warn!(%error, credential, "a session is not restored: its credential could not be looked up");
                    ticket.gone();
                }
            }
        });
    }

    // Handshakes are admitted at a bounded rate, so this is no way to flood the log.
    fn handshake_failed(&self, claim: Option<&Claim>, peer: SocketAddr, reason: FailureReason) {
        match claim {
            // Quoted: a stranger chose it, and it must not read as another field.
            Some(claim) => {
                let claim = claim.to_string();
                tracing::info!(identity = ?claim, %peer, reason = reason.as_str(), "a handshake failed");
            }
            None => tracing::debug!(%peer, reason = reason.as_str(), "a handshake failed"),
        }
        // Where too many fail at a time, the list lacks some; the metrics count them all.
        let Ok(place) = Arc::clone(&self.noting).try_acquire_owned() else {
            return;
        };
        let identity = match claim {
            Some(Claim::Psk(identity)) => Some(identity),
            Some(Claim::Certificate(_) | Claim::RawKey(_)) | None => None,
        };
        let failed = FailedHandshake {
            identity: identity.and_then(|identity| PskIdentity::new(identity.as_bytes()).ok()),
            peer,
            cause: cause_of(reason),
        };
        let control = self.control.clone();
        self.runtime.spawn(async move {
            control.handshake_failed(failed).await;
            drop(place);
        });
    }

    fn named(&self, name: &str, ticket: NameTicket<Arc<DeviceEntry>>) {
        let Ok(name) = DeviceName::parse(name) else {
            ticket.unknown();
            return;
        };
        let control = self.control.clone();
        self.runtime.spawn(async move {
            // A query has no room for a project.
            let project = control.view().default_project().id;
            match control.device_by_name(project, &name).await {
                Ok(Some(entry)) => ticket.found(entry),
                Ok(None) => ticket.unknown(),
                Err(error) => {
                    tracing::warn!(%error, %name, "a device could not be looked up");
                    ticket.unknown();
                }
            }
        });
    }
}

fn cause_of(reason: FailureReason) -> FailureCause {
    match reason {
        FailureReason::UnsupportedVersion => FailureCause::UnsupportedVersion,
        FailureReason::NoCommonSuite => FailureCause::NoCommonSuite,
        FailureReason::CompressionRequired | FailureReason::Malformed | FailureReason::IllegalParameter => {
            FailureCause::Malformed
        }
        FailureReason::UnexpectedMessage => FailureCause::UnexpectedMessage,
        FailureReason::UnknownIdentity => FailureCause::UnknownIdentity,
        FailureReason::WrongKey => FailureCause::WrongKey,
        FailureReason::BadFinished => FailureCause::BadFinished,
        FailureReason::BadSignature | FailureReason::Certificate(_) => FailureCause::CertificateRefused,
        FailureReason::PeerAlert(number) => FailureCause::ClientAlert(number),
        FailureReason::TimedOut => FailureCause::TimedOut,
        FailureReason::Abandoned => FailureCause::Superseded,
    }
}

/// Failures whose device is being looked up. Each takes well below a millisecond, so only a flood needs more at a time. A guess.
const NOTED_AT_ONCE: usize = 64;

#[cfg(test)]
#[path = "keys_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
