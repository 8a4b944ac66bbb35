//! The transport's handler: a request goes to whoever answers for its path, a session to the directory.

use std::net::SocketAddr;
use std::sync::Arc;

use super::routes::{Target, target};
use super::unproven::Unproven;
use super::{artifact, desired, keepalive, log, neighbours, report};
use crate::coap::{Code, Relation, Reply, Request};
use crate::control::{self, Control, DeviceEntry};
use crate::fleet::{CredentialId, DeviceId, TimelineEvent};
use crate::telemetry::Route;
use crate::transport::{
    Disposition, EndReason, Handler, Notification, Principal, RequestContext, SessionFacts,
};

/// Answers devices.
#[derive(Debug)]
pub struct DeviceApi {
    control: Control,
    unproven: Unproven,
}

impl DeviceApi {
    /// Answers from `control`'s view and reports to it.
    #[must_use]
    pub fn new(control: Control) -> Self {
        Self {
            control,
            unproven: Unproven::default(),
        }
    }

    fn answer(
        &self,
        context: &RequestContext<'_, Arc<DeviceEntry>>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Disposition {
        let device = context.device;
        let answered = |route| Disposition::Answered { route };
        match target(request) {
            Target::Desired => {
                let (disposition, version) = desired::answer(device, &self.control.view(), request, reply);
                self.control.manifest_sent(device, version);
                // The answer to a request that arrived arrives too, or is asked for again.
                if context.is_proven {
                    self.control.manifest_acknowledged(device, version);
                } else {
                    self.unproven.acknowledged(context.serial, version);
                }
                disposition
            }
            Target::Artifact { package, version } => {
                let view = self.control.view();
                artifact::answer(&self.control, &view, context, (package, version), request, reply)
            }
            Target::Report { package } => {
                report::answer(&self.control, &self.unproven, context, package, request, reply)
            }
            Target::Keepalive => {
                keepalive::answer(reply);
                answered(Route::Keepalive)
            }
            Target::Log => {
                log::answer(&self.control, device, request, reply);
                answered(Route::Log)
            }
            Target::Neighbour(service) => {
                neighbours::answer(service, device, request, reply);
                answered(Route::Other)
            }
            Target::Nothing => {
                reply.code(Code::NOT_FOUND);
                answered(Route::Other)
            }
            Target::WrongMethod => {
                reply.code(Code::METHOD_NOT_ALLOWED);
                answered(Route::Other)
            }
        }
    }
}

impl Principal for Arc<DeviceEntry> {
    fn key(&self) -> u64 {
        device_key(self.id())
    }
}

/// The key under which the shards know a device.
#[must_use]
pub fn device_key(device: DeviceId) -> u64 {
    device.get().cast_unsigned()
}

/// The number by which the shards know a credential.
#[must_use]
pub fn credential_key(credential: CredentialId) -> u64 {
    credential.get().cast_unsigned()
}

/// The credential that the shards know by this number.
pub(super) fn credential_of(key: u64) -> CredentialId {
    CredentialId::new(key.cast_signed())
}

impl Handler for DeviceApi {
    type Device = Arc<DeviceEntry>;

    fn connected(&self, device: &Self::Device, session: &SessionFacts) {
        tracing::debug!(device = %device.name(), peer = %session.peer, suite = session.suite, "connected");
        let SessionFacts {
            serial,
            shard,
            peer,
            suite,
            connection_id,
            credential,
            since_unix_ms,
            restored,
        } = *session;
        let session = control::SessionFacts {
            shard,
            peer,
            suite,
            connection_id,
            credential: Some(credential.cast_signed())
                .filter(|&credential| credential > 0)
                .map(CredentialId::new),
            since_ms: since_unix_ms,
            serial,
        };
        self.control.connected(device, session);
        // A session that outlived the gateway did not begin here. To say so for each would cost a large fleet a row per
        // device and restart, and every device's timeline the room for what happened to it.
        if !restored {
            let begun = TimelineEvent::Connected {
                address: peer,
                suite: suite.into(),
            };
            self.control.happened_at(device, since_unix_ms, begun);
        }
    }

    fn observing(&self, device: &Self::Device, serial: u64, observes: bool) {
        self.control.observing(device, serial, observes);
    }

    // No entry in the timeline: behind some networks every datagram comes from another port.
    fn moved(&self, device: &Self::Device, serial: u64, peer: SocketAddr) {
        tracing::trace!(device = %device.name(), %peer, "moved");
        self.control.moved(device, serial, peer);
    }

    fn disconnected(&self, device: &Self::Device, serial: u64, why: EndReason) {
        tracing::debug!(device = %device.name(), why = why.as_str(), "disconnected");
        self.control.disconnected(device, serial);
        self.unproven.forget(serial);
        // Nothing ends for the device when the gateway does.
        if why != EndReason::Shutdown {
            let why = why.as_str().into();
            self.control.happened(device, TimelineEvent::Disconnected { why });
        }
    }

    fn request(
        &self,
        context: &RequestContext<'_, Self::Device>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Disposition {
        context.device.note_seen(context.unix_ms);
        self.unproven
            .settle(&self.control, context.device, context.serial);
        self.answer(context, request, reply)
    }

    fn notification(
        &self,
        device: &Self::Device,
        relation: &Relation,
        forced: bool,
        reply: &mut Reply<'_>,
    ) -> Notification {
        if relation.resource != desired::RESOURCE {
            return Notification::Unchanged;
        }
        // After a restart the relation may know of a manifest that was sent a moment before and is not on disk.
        self.control.manifest_was_sent(device, relation.sent);
        let notification = desired::notify(device, &self.control.view(), relation, forced, reply);
        if let Notification::Written { version } = notification {
            self.control.manifest_sent(device, version);
        }
        notification
    }

    fn heard(&self, device: &Self::Device, unix_ms: i64) {
        device.note_seen(unix_ms);
        if self.unproven.is_waiting()
            && let Some(session) = device.session()
        {
            self.unproven.settle(&self.control, device, session.serial);
        }
    }

    fn doubted(&self, _device: &Self::Device, serial: u64) {
        self.unproven.forget(serial);
    }

    fn proven(&self, device: &Self::Device, serial: u64) {
        self.unproven.proven(&self.control, device, serial);
    }

    fn acknowledged(&self, device: &Self::Device, relation: &Relation) {
        if relation.resource == desired::RESOURCE {
            self.control.manifest_acknowledged(device, relation.sent);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
