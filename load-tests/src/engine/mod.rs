//! Devices at work: [`native`] ones on our client half, [`foreign`] ones on code that the gateway has no part in. Both take the
//! same [`Order`]s and tell the same [`Happened`].

use std::time::{Duration, Instant};

use tessera::virtual_device::Event;

/// What happened to which device, and when.
#[derive(Clone, Debug)]
pub struct Happened {
    /// The device's place in the plan.
    pub device: u32,
    /// When: the moment the datagram arrived or the timer was due to be handled, not when this was counted.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// What the run has devices do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Another address and port from now on.
    Rebind,
    /// Off and on, without a word.
    Reboot,
    /// Nothing is carried, either way, for this long.
    Outage(Duration),
}
