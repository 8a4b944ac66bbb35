//! The pauses that the SDK makes.

use std::time::Duration;

use super::port::Port;

/// The pauses of the SDK, all of which can be shortened for a demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between `3/0` and the reboot.
    pub reboot: Duration,
    /// Before a failed block is asked for again.
    pub block_retry: Duration,
    /// Before the first repetition of a failed update; doubles from there.
    pub backoff: Duration,
    /// Where the doubling ends.
    pub backoff_max: Duration,
    /// Silence after which a keepalive is sent.
    pub keepalive: Duration,
    /// How long a request may stay without an answer before the session is given up.
    pub response: Duration,
    /// From the loss of a session to the next attempt.
    pub reconnect: Duration,
    /// From a handshake that failed to the next attempt.
    pub refused: Duration,
    /// Between two fetches of the manifest that nothing has occasioned.
    pub poll: Duration,
    /// How long the SDK tries to send a report that does not fit its buffer.
    pub stall: Duration,
    /// How long a reboot takes before the first ClientHello.
    pub start: Duration,
    /// How long an image that never connects runs before the device goes back to the one before it. One that may still
    /// connect has [`Pace::PROOF`] for it, however fast the device lives: that depends on the network and the gateway.
    pub prove: Duration,
}

impl Pace {
    /// `CONFIG_GOLIOTH_FW_UPDATE_ROLLBACK_TIMER_S`.
    pub const PROOF: Duration = Duration::from_secs(300);

    /// The SDK's own (`fw_update.c`, `coap_client_libcoap.c`, `coap_client_zephyr.c`).
    #[must_use]
    pub fn of(port: Port) -> Self {
        Self {
            reboot: Duration::from_secs(5),
            block_retry: Duration::from_secs(15),
            backoff: Duration::from_secs(60),
            backoff_max: Duration::from_secs(24 * 60 * 60),
            keepalive: Duration::from_secs(9),
            response: Duration::from_secs(10),
            reconnect: Duration::from_secs(1),
            refused: match port {
                Port::Libcoap => Duration::from_secs(1),
                Port::Zephyr => Duration::from_secs(5),
            },
            // `CONFIG_GOLIOTH_OTA_MANIFEST_SUBSCRIPTION_POLL_INTERVAL_S`.
            poll: Duration::from_secs(24 * 60 * 60),
            // `fw_update.c:59-64`: five times, after 5, 10, 20, 40 and 80 s.
            stall: Duration::from_secs(155),
            start: Duration::from_secs(1),
            prove: Self::PROOF,
        }
    }

    /// The same device, living `times` as fast in everything that is a pause of the device itself. What the
    /// network is owed (response, keepalive) stays as it is.
    #[must_use]
    pub fn faster(self, times: u32) -> Self {
        let times = times.max(1);
        Self {
            reboot: self.reboot / times,
            block_retry: self.block_retry / times,
            backoff: self.backoff / times,
            reconnect: self.reconnect / times,
            refused: self.refused / times,
            stall: self.stall / times,
            start: self.start / times,
            prove: self.prove / times,
            ..self
        }
    }
}
