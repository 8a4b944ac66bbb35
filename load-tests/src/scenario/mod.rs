//! What a run is to be: a scenario, checked. [`read()`] makes one of a file's text, or names every mistake with its line.
//!
//! 1. [`raw`]: what the file says, and where
//! 2. [`checked`]: each section by itself, by the keys of [`mod@format`], with the help of [`reading`] and [`value`]
//! 3. [`sense`]: whether it makes sense as a whole
//! 4. [`mod@read`]: all of that, and what the command line changes; [`asked`]: the arguments
//!
//! [`words`] say again what is in a scenario; [`shipped()`] has those that come with the program.

mod asked;
mod checked;
mod devices;
mod events;
mod format;
mod mistake;
mod networks;
mod raw;
mod read;
mod reading;
mod sense;
mod shipped;
mod value;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use tessera::virtual_device::{CipherSuite, Port, Szx};

pub use asked::{Asked, Found};
pub use read::{Overrides, read};
pub use shipped::{Source, shipped};
pub use value::{show_images, show_size, show_span};

use crate::network::Profile;

/// A whole scenario: everything in it is allowed, and everything it names exists.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// A word for tables and file names.
    pub name: String,
    /// What the run shows, in a sentence or two.
    pub about: String,
    /// Decides who the devices are, what their network does and what is injected in which order.
    pub seed: u64,
    /// The run ends after this, whatever has been reached; then every expectation that still waits has failed.
    pub stop_after: Duration,
    /// How long the run goes on once every event is over and every expectation that can be met early has been.
    pub linger: Duration,
    /// Good devices that may be late or missing where all are waited for: on a bad network a device in some thousands loses
    /// its registration, and does not repeat it before its next session (`CONTRACT.md`, rule 19).
    pub stragglers: u64,
    /// The gateway, where the run starts one of its own.
    pub gateway: GatewayPlan,
    /// Artifacts by `package@version`.
    pub images: BTreeMap<ImageName, Image>,
    /// Cohorts in the file's order.
    pub cohorts: Vec<Cohort>,
    /// Kinds of devices in the file's order.
    pub kinds: Vec<Kind>,
    /// When devices are switched on.
    pub arrival: Arrival,
    /// What happens, in the file's order.
    pub events: Vec<Event>,
    /// What has to hold.
    pub expect: Vec<Expectation>,
}

impl Scenario {
    /// Whether devices that are given these images come to run them.
    #[must_use]
    pub fn boot_well(&self, images: &[ImageName]) -> bool {
        images.iter().all(|name| {
            self.images
                .get(name)
                .is_none_or(|image| image.boots == Boots::Well)
        })
    }
}

/// How the gateway is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayPlan {
    /// Threads that serve devices; `None` leaves it to the gateway.
    pub shards: Option<u16>,
    /// A data folder of its own file system of so many bytes, so that it can be filled.
    pub disk: Option<u64>,
    /// Further keys of its configuration (`coaps.idle_timeout_cid`), as the environment would give them.
    pub config: BTreeMap<String, String>,
}

/// `package@version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// The package.
    pub package: String,
    /// The version.
    pub version: String,
}

/// An artifact, and what becomes of a device that boots it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Bytes; what they are, the seed decides.
    pub size: u64,
    /// What it does when booted.
    pub boots: Boots,
}

/// What an image does when booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boots {
    /// Runs, as the version it is offered as.
    Well,
    /// Runs, and says that it is this version: the device updates for ever (`CONTRACT.md` 5).
    As(String),
    /// Never connects: the device rolls back after 300 s (`CONTRACT.md` 5).
    Badly,
}

/// A cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cohort {
    /// Its name.
    pub name: String,
    /// What is deployed before the first device is switched on; empty for nothing.
    pub deployed: Vec<ImageName>,
}

/// Devices that are alike.
#[derive(Clone, Debug)]
pub struct Kind {
    /// A word for tables; devices are called `<kind>-<number>`.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Whose code they run on.
    pub engine: Engine,
    /// The SDK's port.
    pub port: Port,
    /// The suites offered; never empty.
    pub suites: Vec<CipherSuite>,
    /// What they prove themselves by, and what is wrong with it.
    pub credential: Credential,
    /// Whether they offer a connection ID.
    pub connection_id: bool,
    /// Block size of their downloads.
    pub block_size: Szx,
    /// What they run when they are switched on.
    pub runs: ImageName,
    /// Their cohort, by its place in [`Scenario::cohorts`]; `None` for none.
    pub cohort: Option<usize>,
    /// Their network.
    pub network: Profile,
    /// By how much the pauses of the devices themselves are shortened.
    pub faster: u32,
}

/// Whose code a device runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Our client half: hundreds of thousands.
    Native,
    /// `webrtc-dtls` and `coap-lite`, which share no protocol code with the gateway: thousands.
    Foreign,
}

/// What a device proves itself by. All but the first two are bad on purpose: the gateway has to refuse them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A pre-shared key that the gateway knows.
    Psk,
    /// A certificate of a CA that the gateway knows.
    Certificate,
    /// A PSK identity that nobody has.
    UnknownIdentity,
    /// The right PSK identity with another key.
    WrongKey,
    /// A certificate of a CA that the gateway does not know.
    UntrustedCertificate,
    /// A certificate that has expired.
    ExpiredCertificate,
    /// The right pre-shared key of a device that was disabled.
    Disabled,
}

impl Credential {
    /// Whether the gateway has to let the device in.
    #[must_use]
    pub fn is_good(self) -> bool {
        match self {
            Self::Psk | Self::Certificate => true,
            Self::UnknownIdentity
            | Self::WrongKey
            | Self::UntrustedCertificate
            | Self::ExpiredCertificate
            | Self::Disabled => false,
        }
    }

    /// Whether it is a pre-shared key; otherwise it is a certificate.
    #[must_use]
    pub fn is_psk(self) -> bool {
        match self {
            Self::Psk | Self::UnknownIdentity | Self::WrongKey | Self::Disabled => true,
            Self::Certificate | Self::UntrustedCertificate | Self::ExpiredCertificate => false,
        }
    }
}

/// When devices are switched on, counted from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All within a moment: as fast as the machine sends.
    Storm,
    /// Evenly over this time.
    Ramp(Duration),
    /// At random over this time, as independent callers come (a Poisson process).
    Random(Duration),
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

/// When an event happens. Events happen in the file's order: one waits for the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after the start of the run.
    At(Duration),
    /// So long after every good device observes its manifest.
    Connected(Duration),
    /// So long after every good device runs what its cohort has deployed. Cohorts whose active deployment has an image that
    /// does not boot well ([`Scenario::boot_well`]) are left out: nobody can ever run that.
    Converged(Duration),
    /// So long after the event before it began.
    Then(Duration),
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A new deployment.
    Deploy {
        /// The cohort, by its place.
        cohort: usize,
        /// The images.
        images: Vec<ImageName>,
    },
    /// A new deployment with what the one before the active one had.
    RollBack {
        /// The cohort, by its place.
        cohort: usize,
    },
    /// Devices go to another cohort.
    Move {
        /// Which.
        who: Who,
        /// Where to, by its place.
        to: usize,
    },
    /// Devices get another address and port, without knowing.
    Rebind {
        /// Which.
        who: Who,
    },
    /// Devices are switched off and on without a word.
    Reboot {
        /// Which.
        who: Who,
    },
    /// The network of these devices carries nothing for a while.
    Outage {
        /// Which.
        who: Who,
        /// How long.
        lasts: Duration,
    },
    /// The gateway is killed (`SIGKILL`) and started again.
    KillGateway {
        /// How long it is away.
        away: Duration,
        /// Threads that serve devices from then on; `None` for as many as before.
        shards: Option<u16>,
    },
    /// The gateway is told to stop (`SIGTERM`) and started again.
    RestartGateway {
        /// How long it is away.
        away: Duration,
        /// Threads that serve devices from then on; `None` for as many as before.
        shards: Option<u16>,
    },
    /// The gateway's disk is filled, and emptied again after a while.
    FillDisk {
        /// How long it stays full.
        lasts: Duration,
    },
}

/// A choice of devices: the seed decides which.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    /// The kind, by its place in [`Scenario::kinds`]; `None` for all with good credentials.
    pub kind: Option<usize>,
    /// The share of them, above 0 and up to 1.
    pub share: f64,
}

/// Something that has to hold. The numbers are upper bounds, inclusive, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expectation {
    /// Every good device observes within this, counted from the start of the run.
    ConnectedWithin(Duration),
    /// After each deployment every good device of its cohort runs it within this. A deployment with an image that does not
    /// boot well ([`Scenario::boot_well`]) is left out; its roll backs and loops have expectations of their own.
    ConvergedWithin(Duration),
    /// The share of good devices that run what their cohort has deployed, at the end, of those whose cohort has something
    /// deployed that boots well. A lower bound.
    Converged(f64),
    /// The share of good devices whose version the gateway has on record as they run it, at the end. A lower bound.
    Recorded(f64),
    /// The 99th percentile of the handshakes, counted from when each was due.
    HandshakeP99(Duration),
    /// The 99th percentile of the time from a deployment's request to its manifest at the device, of those then connected.
    NotificationP99(Duration),
    /// The 99th percentile of the block requests.
    BlockP99(Duration),
    /// The 99th percentile of whole updates: from the deployment's request to the report of the new version.
    UpdateP99(Duration),
    /// Good devices without a session at the end.
    DevicesLost(u64),
    /// Handshakes of good devices beyond the first of each and those after a boot.
    HandshakesAgain(u64),
    /// Handshakes that came to nothing, of good devices.
    HandshakesFailed(u64),
    /// Sessions of devices with bad credentials.
    Intruders(u64),
    /// Updates that failed at the device.
    UpdatesFailed(u64),
    /// Roll backs after a bad image. A lower bound.
    RolledBack(u64),
    /// Updates to one version beyond the first, of one device after another: update loops. A lower bound.
    UpdateLoops(u64),
    /// Reports refused.
    ReportsRefused(u64),
    /// Failures of the gateway's store, as it counts them. A lower bound.
    StoreErrors(u64),
    /// CPU time of the gateway over the whole run, divided by the good devices.
    ServerCpuPerDevice(Duration),
    /// Resident bytes of the gateway when all good devices were connected, less those when none was, divided by them.
    ServerMemoryPerDevice(u64),
    /// How late the simulator handled its own timers, at the 99th percentile: above it, what it measured is its own slowness.
    SimulatorLateP99(Duration),
}

#[cfg(test)]
mod tests;
