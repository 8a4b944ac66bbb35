//! Where the devices' addresses and ports come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Where a device can send from. No two have the same address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Addresses of 127.0.0.0/8, for a gateway on this machine's IPv4 loopback. The native engine needs a socket for each port
    /// and not for each address, and so stands for millions of endpoints with a handful of sockets.
    Loopback,
    /// A bound socket for each device, for a real network.
    Ports {
        /// This machine's addresses; an unspecified one leaves the choice to the routes.
        addresses: Vec<IpAddr>,
        /// The ports of each.
        ports: RangeInclusive<u16>,
    },
}

impl Ground {
    /// What a run takes that was not told: the loopback for a gateway there, else whatever address the routes choose.
    #[must_use]
    pub fn fitting(gateway: SocketAddr) -> Self {
        let addresses = match gateway.ip() {
            IpAddr::V4(address) if address.is_loopback() => return Self::Loopback,
            IpAddr::V4(_) => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            IpAddr::V6(_) => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        };
        Self::Ports {
            addresses,
            ports: PORTS,
        }
    }
}

/// Those that no privilege is needed for.
const PORTS: RangeInclusive<u16> = 1024..=65_535;
