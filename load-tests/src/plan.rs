//! What a run will be, before it is: every device with its seed, its start and its credential's kind. The same scenario
//! with the same seed makes the same plan, and [`Plan::digest`] says so.

use std::time::Duration;

/// One device to be.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// Its kind, by its place in the scenario.
    pub kind: usize,
    /// Its name and, for a PSK, the part of its identity before `-id@default`; the CN of its certificate.
    pub name: String,
    /// Its pre-shared key, 32 hexadecimal digits, where it has one.
    pub secret: String,
    /// Decides all its random choices.
    pub seed: u64,
    /// Decides what its network does.
    pub network_seed: u64,
    /// When it is switched on, counted from the start of the run.
    pub start: Duration,
}
