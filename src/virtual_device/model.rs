//! What all devices of a kind have in common: how they are built, and what the images do that they are offered.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::Dialect;
use super::pace::Pace;
use super::port::Port;
use super::report::Cbor;
use crate::coap::Szx;
use crate::dtls::ClientConfig;

/// What all devices of a kind have in common.
#[derive(Debug)]
pub struct Model {
    /// The SDK's port.
    pub port: Port,
    /// How the device handshakes.
    pub dtls: Arc<ClientConfig>,
    /// How its build deals in CBOR.
    pub cbor: Cbor,
    /// The package it updates; the SDK's default is `main`.
    pub package: String,
    /// Block size of its downloads.
    pub block_size: Szx,
    /// Its pauses.
    pub pace: Pace,
    /// What comes of an image, by the version that it is offered as; one that is not named here boots well.
    pub images: BTreeMap<String, Booting>,
    /// Whether it looks into its second slot before it downloads, as the SDK does since 0.18 on Zephyr and ESP-IDF
    /// (`fw_update_check_candidate`).
    pub checks_candidate: bool,
}

/// What comes of an image on the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Booting {
    /// It runs, as the version that it was offered as.
    #[default]
    Well,
    /// It runs, and says that it is this version. If that is not the one it was offered as, the device updates for ever.
    As(String),
    /// It runs and never connects. What is wrong with it is not told from outside: not one datagram comes, as when the
    /// modem is not found. After [`Pace::prove`] the device goes back to the image before.
    Badly,
    /// It is never booted: the flash does not hold it as it came, so that its hash disagrees once all of it is there.
    Spoilt,
}

impl Model {
    /// A stock build of the SDK for this port.
    #[must_use]
    pub fn of(port: Port) -> Self {
        Self {
            port,
            dtls: port.dtls(),
            cbor: Cbor::Stock,
            package: "main".to_owned(),
            block_size: Szx::MAX,
            pace: Pace::of(port),
            images: BTreeMap::new(),
            checks_candidate: false,
        }
    }

    /// How it writes its requests.
    pub(super) fn dialect(&self) -> Dialect {
        Dialect {
            port: self.port,
            cbor: self.cbor,
            block_size: self.block_size,
        }
    }
}
