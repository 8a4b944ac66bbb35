//! Whose identity is it, and what is the key? Asked by the transport during a handshake, answered from the store.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::handler::{credential_key, credential_of};
use crate::clock;
use crate::control::{
    CertificateAccess, CertificateRefusal, Control, ControlError, DeviceEntry, FailedHandshake, FailureCause,
    Offered, PresentedCertificate,
};
use crate::fleet::{self, CertificateSubject, DeviceCa, DeviceName, Digest, PskIdentity};
use crate::telemetry::{self, GatewayEvent, StoreOperation};
use crate::transport::{
    CertificateFacts, CertificateTicket, ChainFault, Claim, FailureReason, Identity, KeyDigest, KeySource,
    KeyTicket, NameTicket, PeerChain, Principal, Psk, RestoredTicket, TrustAnchors, verify_chain,
};

/// Looks devices up for the transport, and says which certificates are good.
///
/// A lookup is a task on `runtime`; how many there are at a time is bounded by the handshakes that the transport
/// admits.
#[derive(Clone, Debug)]
pub struct Keys {
    control: Control,
    runtime: Handle,
    /// A place for each failure that is being noted.
    noting: Arc<Semaphore>,
    believed: Arc<Mutex<Believed>>,
    told: Arc<Mutex<Told>>,
}

/// How much was told of handshakes that failed. Strangers cause them, and must not fill the log: the list of failures and the
/// counters have them all.
#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl Told {
    /// Whether this one is told of, and then how many were not since the last.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now - since >= TOLD_EVERY) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines == TOLD_AT_ONCE {
            self.untold += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

/// The CAs of the view, ready to verify with. Made anew when the view has another list.
#[derive(Debug, Default)]
struct Believed {
    listed: Arc<Vec<Arc<DeviceCa>>>,
    /// Those of the list that can be used, each in the place of its anchor.
    cas: Arc<Vec<Arc<DeviceCa>>>,
    anchors: Arc<TrustAnchors>,
}

impl Keys {
    /// Lookups by `control`, run on `runtime`.
    #[must_use]
    pub fn new(control: Control, runtime: Handle) -> Self {
        Self {
            control,
            runtime,
            noting: Arc::new(Semaphore::new(NOTED_AT_ONCE)),
            believed: Arc::default(),
            told: Arc::default(),
        }
    }

    /// Whose certificate the first of a chain is.
    async fn judge(&self, chain: &PeerChain) -> Result<CertificateAccess, ChainFault> {
        let (cas, anchors) = self.believed();
        let (facts, anchor) = verify_chain(chain, &anchors, self.control.unix_s())?;
        let ca = cas.get(anchor).ok_or(ChainFault::Untrusted)?;
        let presented = PresentedCertificate {
            sha256: Digest(*facts.fingerprint.as_bytes()),
            signed: Digest(*facts.signed.as_bytes()),
            facts: fleet::CertificateFacts {
                subject: subject_of(&facts),
                serial: HEXLOWER.encode(&facts.serial),
                not_before_s: facts.not_before_unix_s,
                not_after_s: facts.not_after_unix_s,
            },
        };
        match self
            .control
            .device_by_certificate(presented, ca.certificate.sha256())
            .await
        {
            Ok(Ok(access)) => Ok(access),
            Ok(Err(refusal)) => Err(match refusal {
                CertificateRefusal::Untrusted => ChainFault::Untrusted,
                CertificateRefusal::Revoked => ChainFault::Revoked,
                CertificateRefusal::UnknownDevice => ChainFault::UnknownDevice,
            }),
            Err(error) => {
                count(&error);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, certificate = ?facts.to_string(), "a certificate could not be looked up");
                Err(ChainFault::Unavailable)
            }
        }
    }

    fn believed(&self) -> (Arc<Vec<Arc<DeviceCa>>>, Arc<TrustAnchors>) {
        let listed = Arc::clone(self.control.view().device_cas());
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&believed.listed, &listed) {
            let (mut anchors, mut cas) = (TrustAnchors::new(), Vec::with_capacity(listed.len()));
            for ca in listed.iter() {
                match anchors.add(ca.certificate.der()) {
                    Ok(()) => cas.push(Arc::clone(ca)),
                    // It was looked at when it was added, and less strictly than this.
                    Err(error) => tracing::error!(%error, ca = %ca.id, "a device CA vouches for nobody"),
                }
            }
            *believed = Believed {
                listed,
                cas: Arc::new(cas),
                anchors: Arc::new(anchors),
            };
        }
        (Arc::clone(&believed.cas), Arc::clone(&believed.anchors))
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
                    count(&error);
                    tracing::warn!(%error, %identity, "the key of an identity could not be looked up");
                    ticket.unknown();
                }
            }
        });
    }

    fn certificate(&self, chain: &PeerChain, ticket: CertificateTicket<Arc<DeviceEntry>>) {
        let (keys, chain) = (self.clone(), chain.clone());
        self.runtime.spawn(async move {
            match keys.judge(&chain).await {
                Ok(access) => ticket.accepted(access.entry, credential_key(access.credential)),
                Err(fault) => ticket.refused(fault),
            }
        });
    }

    fn raw_key(&self, key: &KeyDigest, ticket: CertificateTicket<Arc<DeviceEntry>>) {
        let (control, sha256) = (self.control.clone(), Digest(*key.as_bytes()));
        self.runtime.spawn(async move {
            match control.device_by_raw_public_key(sha256).await {
                Ok(Some(access)) => ticket.accepted(access.entry, credential_key(access.credential)),
                Ok(None) => ticket.refused(ChainFault::UnknownDevice),
                Err(error) => {
                    count(&error);
                    tracing::warn!(%error, %sha256, "a public key could not be looked up");
                    ticket.refused(ChainFault::Unavailable);
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
                    count(&error);
                    tracing::warn!(%error, credential, "a session is not restored: its credential could not be looked up");
                    ticket.gone();
                }
            }
        });
    }

    fn handshake_failed(&self, claim: Option<&Claim>, peer: SocketAddr, reason: FailureReason) {
        match claim {
            // Quoted: a stranger chose it, and it must not read as another field.
            Some(claim) => {
                let claim = claim.to_string();
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                let reason = reason.as_str();
                match told.one_more(clock::now()) {
                    Some(0) => tracing::info!(identity = ?claim, %peer, reason, "a handshake failed"),
                    Some(untold) => {
                        tracing::info!(identity = ?claim, %peer, reason, untold, "a handshake failed, and more before it");
                    }
                    None => tracing::debug!(identity = ?claim, %peer, reason, "a handshake failed"),
                }
            }
            None => tracing::debug!(%peer, reason = reason.as_str(), "a handshake failed"),
        }
        // Where too many fail at a time, the list lacks some; the metrics count them all.
        let Ok(place) = Arc::clone(&self.noting).try_acquire_owned() else {
            return;
        };
        let failed = FailedHandshake {
            offered: claim.and_then(offered_by),
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
                    count(&error);
                    tracing::warn!(%error, %name, "a device could not be looked up");
                    ticket.unknown();
                }
            }
        });
    }
}

/// Counts a lookup that failed, unless that was because the program ends.
fn count(error: &ControlError) {
    if matches!(error, ControlError::StoreFailed(_)) {
        telemetry::emit(GatewayEvent::StoreFailed(StoreOperation::Read));
    }
}

fn offered_by(claim: &Claim) -> Option<Offered> {
    match claim {
        Claim::Psk(identity) => PskIdentity::new(identity.as_bytes()).ok().map(Offered::Psk),
        Claim::Certificate(facts) => Some(Offered::Certificate {
            sha256: Digest(*facts.fingerprint.as_bytes()),
            signed: Digest(*facts.signed.as_bytes()),
            subject: subject_of(facts),
        }),
        Claim::RawKey(key) => Some(Offered::RawPublicKey(Digest(*key.as_bytes()))),
    }
}

fn subject_of(facts: &CertificateFacts) -> CertificateSubject {
    CertificateSubject {
        organization: facts.organization.as_deref().map(str::to_owned),
        common_name: facts.common_name.as_deref().map(str::to_owned),
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
        FailureReason::WrongKey | FailureReason::BadSignature => FailureCause::WrongKey,
        FailureReason::Certificate(fault) => match fault {
            ChainFault::NoCertificate => FailureCause::NoCertificate,
            ChainFault::Malformed | ChainFault::Unsupported => FailureCause::CertificateMalformed,
            ChainFault::Untrusted => FailureCause::CertificateUntrusted,
            ChainFault::Expired => FailureCause::CertificateExpired,
            ChainFault::NotYetValid => FailureCause::CertificateNotYetValid,
            ChainFault::NotForClientUse => FailureCause::CertificateNotForClients,
            ChainFault::Revoked => FailureCause::CertificateRevoked,
            ChainFault::UnknownDevice => FailureCause::UnknownDevice,
            ChainFault::Unavailable => FailureCause::NotLookedUp,
        },
        FailureReason::BadFinished => FailureCause::BadFinished,
        FailureReason::PeerAlert(number) => FailureCause::ClientAlert(number),
        FailureReason::TimedOut => FailureCause::TimedOut,
        FailureReason::Abandoned => FailureCause::Superseded,
    }
}

/// Handshakes that failed of which a line tells, in [`TOLD_EVERY`]: what somebody reads.
const TOLD_AT_ONCE: u32 = 20;
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Failures whose device is being looked up. Each takes well below a millisecond, so only a flood needs more at a time. A guess.
const NOTED_AT_ONCE: usize = 64;

#[cfg(test)]
#[path = "keys_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
