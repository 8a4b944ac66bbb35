//! The two ports of the SDK that are in the field, and what a session of either is to the device.
//!
//! They share what `fw_update` does ([`super::update`]) and little else: each has a CoAP client of its own, in a file of
//! its own, and each is hurt by other mistakes of a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;

use super::event::Ending;
use super::libcoap::Libcoap;
use super::message::Ask;
use super::model::Model;
use super::update::RetryTimer;
use super::zephyr::Zephyr;
use crate::coap::{Code, MessageId, Token};
use crate::dtls::{CipherSuite, ClientConfig, MaxFragmentLength, OfferedConnectionId, Timers};

/// Which of the SDK's ports a device is built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Port {
    /// The libcoap port: ESP-IDF, ModusToolbox, Linux.
    #[default]
    Libcoap,
    /// The Zephyr port and NCS.
    Zephyr,
}

/// The CoAP client of one session: messages in the clear go in and come out.
#[derive(Debug)]
pub enum Stack {
    Libcoap(Libcoap),
    Zephyr(Zephyr),
}

/// What a session tells its device.
#[derive(Debug)]
pub enum Told {
    /// The port calls itself connected.
    Connected,
    /// A request was answered, with whatever code.
    Answered { ask: Ask, answer: Answer },
    /// A request has come to nothing.
    Failed(Ask),
    /// The observed resource has changed.
    Notified(Vec<u8>),
    /// A request was sent again.
    Retransmitted,
    /// The session is given up; whatever was asked has failed.
    Ended(Ending),
    /// The program has run into an assertion.
    Crashed,
}

/// An answer as the port hands it up.
#[derive(Debug)]
pub struct Answer {
    pub code: Code,
    pub payload: Vec<u8>,
    /// As its Block2 option said; without one there is no more.
    pub more: bool,
    /// Since the request was sent for the first time.
    pub took: Duration,
}

/// How a session begins.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'m> {
    pub now: Instant,
    /// When the handshake began.
    pub began: Instant,
    pub mid: MessageId,
    pub model: &'m Arc<Model>,
}

impl Port {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Libcoap, Self::Zephyr];

    /// A word for tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Libcoap => "libcoap",
            Self::Zephyr => "Zephyr",
        }
    }

    /// How a stock build shakes hands, which has a pre-shared key: [`Port::dtls_offering`] others.
    #[must_use]
    pub fn dtls(self) -> Arc<ClientConfig> {
        Arc::new(match self {
            // The TLS library's whole list; the first request, and with it the handshake, has ten seconds, and libcoap sends a
            // flight again after each of them.
            Self::Libcoap => ClientConfig {
                timers: Timers {
                    initial: Duration::from_secs(1),
                    max: Duration::from_secs(1),
                    deadline: Duration::from_secs(10),
                },
                ..ClientConfig::default()
            },
            // One suite, as a build with Mbed TLS offers it; flights at 0, 1 and 3 s, and with the third it gives up.
            Self::Zephyr => ClientConfig {
                suites: vec![CipherSuite::PskAes128GcmSha256],
                timers: Timers {
                    initial: Duration::from_secs(1),
                    max: Duration::from_secs(2),
                    deadline: Duration::from_millis(3001),
                },
                max_fragment_length: Some(MaxFragmentLength::Bytes2048),
                ..ClientConfig::default()
            },
        })
    }

    /// How a build for these suites shakes hands. Whether it also has the option for connection IDs
    /// (`CONFIG_GOLIOTH_USE_CONNECTION_ID`) matters to the Zephyr port only, which then puts the gateway's on what it sends and
    /// wants none on what it receives; no code of the other port offers one.
    #[must_use]
    pub fn dtls_offering(self, suites: Vec<CipherSuite>, connection_id: bool) -> ClientConfig {
        let stock = self.dtls();
        let chain = suites.iter().any(|suite| !suite.has_psk());
        ClientConfig {
            suites,
            connection_id: match self {
                Self::Zephyr if connection_id => OfferedConnectionId::Empty,
                Self::Zephyr | Self::Libcoap => OfferedConnectionId::None,
            },
            // The size of its handshake buffer, which is larger where a chain has to fit.
            max_fragment_length: stock.max_fragment_length.map(|stock| {
                if chain {
                    MaxFragmentLength::Bytes4096
                } else {
                    stock
                }
            }),
            ..(*stock).clone()
        }
    }

    /// The kind of timer behind the pause after a failed block.
    pub fn retry_timer(self) -> RetryTimer {
        match self {
            Self::Libcoap => RetryTimer::Periodic,
            Self::Zephyr => RetryTimer::OneShot,
        }
    }
}

impl Stack {
    pub fn new(opening: &Opening<'_>, rng: &mut SmallRng) -> Self {
        match opening.model.port {
            Port::Libcoap => Self::Libcoap(Libcoap::new(opening, rng)),
            Port::Zephyr => Self::Zephyr(Zephyr::new(opening)),
        }
    }

    /// Sends a request as soon as the port has room for it.
    pub fn ask(&mut self, now: Instant, ask: Ask, token: Token, rng: &mut SmallRng) {
        match self {
            Self::Libcoap(stack) => stack.ask(now, ask, token, rng),
            Self::Zephyr(stack) => stack.ask(now, ask, token, rng),
        }
    }

    pub fn handle_message(&mut self, now: Instant, message: &[u8], rng: &mut SmallRng) {
        match self {
            Self::Libcoap(stack) => stack.handle_message(now, message, rng),
            Self::Zephyr(stack) => stack.handle_message(now, message),
        }
    }

    /// The gateway has said goodbye.
    pub fn handle_close(&mut self) {
        match self {
            // It goes on as if nothing had happened, and finds out by its next request.
            Self::Libcoap(_) => {}
            Self::Zephyr(stack) => stack.end(Ending::Closed),
        }
    }

    /// Gives the session up.
    pub fn end(&mut self, why: Ending) {
        match self {
            Self::Libcoap(stack) => stack.end(why),
            Self::Zephyr(stack) => stack.end(why),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant, rng: &mut SmallRng) {
        match self {
            Self::Libcoap(stack) => stack.handle_timeout(now, rng),
            Self::Zephyr(stack) => stack.handle_timeout(now),
        }
    }

    /// The next message to seal and send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Libcoap(stack) => stack.outbox.pop_front(),
            Self::Zephyr(stack) => stack.outbox.pop_front(),
        }
    }

    pub fn poll_told(&mut self) -> Option<Told> {
        match self {
            Self::Libcoap(stack) => stack.told.pop_front(),
            Self::Zephyr(stack) => stack.told.pop_front(),
        }
    }

    pub fn poll_timeout(&self) -> Instant {
        match self {
            Self::Libcoap(stack) => stack.poll_timeout(),
            Self::Zephyr(stack) => stack.poll_timeout(),
        }
    }
}

/// Requests that may wait in the SDK (`CONFIG_GOLIOTH_COAP_REQUEST_QUEUE_MAX_ITEMS`); another one fails at once.
pub const QUEUED_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_zephyr_build_that_opts_in_offers_a_connection_id_and_it_has_no_bytes() {
        let (psk, certificate) = (CipherSuite::PskAes128Ccm, CipherSuite::EcdheEcdsaAes128Ccm);
        for (port, suite, opts_in, connection_id, max_fragment_length) in [
            (Port::Libcoap, psk, true, OfferedConnectionId::None, None),
            (Port::Libcoap, certificate, false, OfferedConnectionId::None, None),
            (
                Port::Zephyr,
                psk,
                false,
                OfferedConnectionId::None,
                Some(MaxFragmentLength::Bytes2048),
            ),
            (
                Port::Zephyr,
                certificate,
                true,
                OfferedConnectionId::Empty,
                Some(MaxFragmentLength::Bytes4096),
            ),
        ] {
            let config = port.dtls_offering(vec![suite], opts_in);
            assert_eq!(config.suites, [suite]);
            assert_eq!(config.connection_id, connection_id, "{port:?}");
            assert_eq!(config.max_fragment_length, max_fragment_length, "{port:?}");
            assert_eq!(config.timers.deadline, port.dtls().timers.deadline);
        }
    }
}
