//! The words of a scenario's file for what is in it, and sentences for tables and reports.

use std::fmt;
use std::time::Duration;

use tessera::virtual_device::{CipherSuite, Port};

use super::value::{show_images, show_share, show_size, show_span};
use super::{Arrival, Boots, Credential, Engine, Expectation, ImageName, Kind, Scenario, What, When, Who};
use crate::network::Profile;

/// Engines by their word.
pub const ENGINES: &[(&str, Engine)] = &[("native", Engine::Native), ("foreign", Engine::Foreign)];

/// Ports by their word.
pub const PORTS: &[(&str, Port)] = &[("libcoap", Port::Libcoap), ("zephyr", Port::Zephyr)];

/// Credentials by their word.
pub const CREDENTIALS: &[(&str, Credential)] = &[
    ("psk", Credential::Psk),
    ("certificate", Credential::Certificate),
    ("unknown-identity", Credential::UnknownIdentity),
    ("wrong-key", Credential::WrongKey),
    ("untrusted-certificate", Credential::UntrustedCertificate),
    ("expired-certificate", Credential::ExpiredCertificate),
    ("disabled", Credential::Disabled),
];

/// Suites by their word, in the order in which our own client offers them.
pub const SUITES: &[(&str, CipherSuite)] = &[
    ("psk-gcm", CipherSuite::PskAes128GcmSha256),
    ("psk-ccm", CipherSuite::PskAes128Ccm),
    ("psk-ccm-8", CipherSuite::PskAes128Ccm8),
    ("psk-cbc", CipherSuite::PskAes128CbcSha256),
    ("ecdhe-psk-gcm", CipherSuite::EcdhePskAes128GcmSha256),
    ("ecdhe-psk-ccm", CipherSuite::EcdhePskAes128CcmSha256),
    ("ecdsa-gcm", CipherSuite::EcdheEcdsaAes128GcmSha256),
    ("ecdsa-ccm", CipherSuite::EcdheEcdsaAes128Ccm),
    ("ecdsa-ccm-8", CipherSuite::EcdheEcdsaAes128Ccm8),
];

/// The word of a value in such a table.
pub fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words
        .iter()
        .find(|(_, candidate)| candidate == value)
        .map_or("?", |(word, _)| word)
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.package, self.version)
    }
}

impl fmt::Display for Boots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("well"),
            Self::As(version) => write!(f, "as {version}"),
            Self::Badly => f.write_str("badly"),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(ENGINES, self))
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(CREDENTIALS, self))
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storm => f.write_str("all at once"),
            Self::Ramp(over) => write!(f, "evenly over {}", show_span(*over)),
            Self::Random(over) => write!(f, "at random over {}", show_span(*over)),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, delay) = match self {
            Self::At(at) => return write!(f, "at {}", show_span(*at)),
            Self::Connected(delay) => ("all are connected", delay),
            Self::Converged(delay) => ("all are converged", delay),
            Self::Then(delay) => ("the event before", delay),
        };
        if *delay == Duration::ZERO {
            write!(f, "after {what}")
        } else {
            write!(f, "{} after {what}", show_span(*delay))
        }
    }
}

impl Kind {
    /// In a few words, for tables: `native zephyr, psk, psk-gcm, blocks of 1 KiB, lte-m`.
    pub fn told(&self) -> String {
        let suites: Vec<&str> = self.suites.iter().map(|suite| word_of(SUITES, suite)).collect();
        let cid = if self.connection_id { ", connection ID" } else { "" };
        let network = Profile::NAMES
            .into_iter()
            .find(|name| Profile::named(name).as_ref() == Some(&self.network))
            .unwrap_or("a network of its own");
        let faster = match self.faster {
            1 => String::new(),
            times => format!(", {times} times as fast"),
        };
        format!(
            "{} {}, {}, {}{cid}, blocks of {}, {network}{faster}",
            self.engine,
            word_of(PORTS, &self.port),
            self.credential,
            suites.join(" "),
            show_size(self.block_size.size()),
        )
    }
}

impl What {
    /// Its word in the file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Deploy { .. } => "deploy",
            Self::RollBack { .. } => "roll-back",
            Self::Move { .. } => "move",
            Self::Rebind { .. } => "rebind",
            Self::Reboot { .. } => "reboot",
            Self::Outage { .. } => "outage",
            Self::KillGateway { .. } => "kill-gateway",
            Self::RestartGateway { .. } => "restart-gateway",
            Self::FillDisk { .. } => "fill-disk",
        }
    }

    /// The devices that it chooses, where it does.
    pub fn who(&self) -> Option<&Who> {
        match self {
            Self::Move { who, .. }
            | Self::Rebind { who }
            | Self::Reboot { who }
            | Self::Outage { who, .. } => Some(who),
            Self::Deploy { .. }
            | Self::RollBack { .. }
            | Self::KillGateway { .. }
            | Self::RestartGateway { .. }
            | Self::FillDisk { .. } => None,
        }
    }
}

impl Scenario {
    /// An event in a few words: `deploy main@1.1.0 to all`.
    pub fn told(&self, what: &What) -> String {
        let cohort = |place: &usize| self.cohorts.get(*place).map_or("?", |cohort| &cohort.name);
        let who = |who: &Who| {
            let kind = who.kind.and_then(|place| self.kinds.get(place));
            let kind = kind.map_or("all good devices", |kind| &kind.name);
            if who.share < 1.0 {
                format!("{} of {kind}", show_share(who.share))
            } else {
                kind.to_owned()
            }
        };
        let shards = |shards: &Option<u16>| match shards {
            None => String::new(),
            Some(shards) => format!(", then with {shards} shards"),
        };
        let word = what.word();
        match what {
            What::Deploy {
                cohort: place,
                images,
            } => {
                format!("{word} {} to {}", show_images(images), cohort(place))
            }
            What::RollBack { cohort: place } => format!("{word} {}", cohort(place)),
            What::Move { who: chosen, to } => format!("{word} {} to {}", who(chosen), cohort(to)),
            What::Rebind { who: chosen } | What::Reboot { who: chosen } => {
                format!("{word} {}", who(chosen))
            }
            What::Outage { who: chosen, lasts } => {
                format!("{word} of {} for {}", who(chosen), show_span(*lasts))
            }
            What::KillGateway { away, shards: then } | What::RestartGateway { away, shards: then } => {
                format!("{word}, away for {}{}", show_span(*away), shards(then))
            }
            What::FillDisk { lasts } => format!("{word} for {}", show_span(*lasts)),
        }
    }
}

impl Expectation {
    /// Its key in the file.
    pub fn key(&self) -> &'static str {
        match self {
            Self::ConnectedWithin(_) => "connected_within",
            Self::ConvergedWithin(_) => "converged_within",
            Self::Converged(_) => "converged",
            Self::Recorded(_) => "recorded",
            Self::HandshakeP99(_) => "handshake_p99",
            Self::NotificationP99(_) => "notification_p99",
            Self::BlockP99(_) => "block_p99",
            Self::UpdateP99(_) => "update_p99",
            Self::DevicesLost(_) => "devices_lost",
            Self::HandshakesAgain(_) => "handshakes_again",
            Self::HandshakesFailed(_) => "handshakes_failed",
            Self::Intruders(_) => "intruders",
            Self::UpdatesFailed(_) => "updates_failed",
            Self::RolledBack(_) => "rolled_back",
            Self::UpdateLoops(_) => "update_loops",
            Self::ReportsRefused(_) => "reports_refused",
            Self::StoreErrors(_) => "store_errors",
            Self::ServerCpuPerDevice(_) => "server_cpu_per_device",
            Self::ServerMemoryPerDevice(_) => "server_memory_per_device",
            Self::SimulatorLateP99(_) => "simulator_late_p99",
        }
    }
}

/// What it asks for, in words.
impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = |f: &mut fmt::Formatter<'_>, what: &str, bound: Duration| {
            write!(f, "{what} within {}", show_span(bound))
        };
        match *self {
            Self::ConnectedWithin(bound) => within(f, "every good device observes", bound),
            Self::ConvergedWithin(bound) => within(f, "every good device runs what is deployed", bound),
            Self::Converged(share) => write!(
                f,
                "at least {} of the good devices run what is deployed",
                show_share(share)
            ),
            Self::Recorded(share) => write!(
                f,
                "at least {} of the good devices are on record with what they run",
                show_share(share)
            ),
            Self::HandshakeP99(bound) => within(f, "99 of 100 handshakes", bound),
            Self::NotificationP99(bound) => within(f, "99 of 100 notifications", bound),
            Self::BlockP99(bound) => within(f, "99 of 100 blocks", bound),
            Self::UpdateP99(bound) => within(f, "99 of 100 updates", bound),
            Self::DevicesLost(most) => write!(f, "at most {most} good devices without a session at the end"),
            Self::HandshakesAgain(most) => write!(f, "at most {most} handshakes again"),
            Self::HandshakesFailed(most) => write!(f, "at most {most} failed handshakes of good devices"),
            Self::Intruders(most) => write!(f, "at most {most} sessions of bad devices"),
            Self::UpdatesFailed(most) => write!(f, "at most {most} failed updates"),
            Self::RolledBack(least) => write!(f, "at least {least} roll backs after a bad image"),
            Self::UpdateLoops(least) => write!(f, "at least {least} updates to one version again"),
            Self::ReportsRefused(most) => write!(f, "at most {most} refused reports"),
            Self::StoreErrors(least) => write!(f, "at least {least} failures of the gateway's store"),
            Self::ServerCpuPerDevice(bound) => {
                write!(
                    f,
                    "at most {} of the gateway's CPU time a device",
                    show_span(bound)
                )
            }
            Self::ServerMemoryPerDevice(bytes) => {
                write!(f, "at most {} of the gateway's memory a device", show_size(bytes))
            }
            Self::SimulatorLateP99(bound) => within(f, "99 of 100 timers of the simulator handled", bound),
        }
    }
}
