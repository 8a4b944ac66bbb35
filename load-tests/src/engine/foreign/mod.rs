//! Devices on code that the gateway has no part in: DTLS by `webrtc-dtls`, CoAP by `coap-lite`, CBOR by `minicbor`, and the
//! SDK's behaviour written once more from `CONTRACT.md`. A mistake that both of our halves make cannot cancel itself out here. Of
//! our own they take the words for what happens ([`Event`]) and nothing that reads or writes a byte.
//!
//! A task per device, and one for its network: for thousands. What `webrtc-dtls` lacks, they lack: connection IDs (so a rebind
//! is a session lost, which the device notices as a real one does) and PSK with CBC. Its handshake repeats a flight every
//! second, without backing off.
//!
//! - [`device`]: waits, and hands on between the parts. [`client`]: the port's CoAP. [`firmware`]: what it does about manifests.
//! - [`air`]: the simulated network, between `webrtc-dtls` and a socket. [`dtls`]: what is offered. [`cbor`]: the bytes of
//!   manifests and reports.
//!
//! [`Event`]: tessera::virtual_device::Event

mod air;
mod cbor;
mod client;
mod device;
mod dtls;
mod firmware;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Notify, mpsc};

use self::air::Spot;
use self::device::{Device, Parts};
use super::{Desk, Fleet, ForeignSeat, Hand, Happened, Order, Wiring};
use crate::endpoint::Ground;
use crate::network::Link;

/// Why a device cannot be one of these.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// How it is to shake hands.
    #[error("device {device}")]
    Dtls {
        /// Which, by its place in the plan.
        device: u32,
        /// Why not.
        #[source]
        source: dtls::DtlsError,
    },
    /// No addresses for it.
    #[error("device {device}: no address to send from to {gateway}")]
    Address {
        /// Which, by its place in the plan.
        device: u32,
        /// Where the gateway is.
        gateway: SocketAddr,
    },
    /// Each has a socket.
    #[error(
        "{devices} foreign devices have a socket each, and this process may open {limit} files: raise `ulimit -n`"
    )]
    Files {
        /// How many devices.
        devices: usize,
        /// The limit.
        limit: u64,
    },
}

/// Has devices work, a task each, dealt out over some threads.
///
/// # Errors
/// Where a device cannot be one of these ([`ForeignError`]), and when no thread or runtime can be had.
pub fn start(seats: Vec<ForeignSeat>, wiring: Wiring) -> io::Result<Fleet> {
    let unfit = |error: ForeignError| io::Error::new(io::ErrorKind::InvalidInput, error);
    make_room(seats.len()).map_err(unfit)?;
    let devices: Vec<u32> = seats.iter().map(|seat| seat.device).collect();
    let threads = wiring.threads.clamp(1, seats.len().max(1));
    let mut dealt: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for (place, seat) in seats.into_iter().enumerate() {
        let device = seat.device;
        let dtls = dtls::config(&seat.credential, &seat.suites)
            .map_err(|source| unfit(ForeignError::Dtls { device, source }))?;
        let spot = spot(&wiring, device).map_err(unfit)?;
        dealt[place % threads].push((seat, dtls, spot));
    }
    let mut hands = Vec::new();
    for seats in dealt {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let wake = Arc::new(Notify::new());
        let bell = Arc::clone(&wake);
        let desk = Arc::new(Desk::new(move || bell.notify_one()));
        let (own_desk, gateway, happened) = (Arc::clone(&desk), wiring.gateway, wiring.happened.clone());
        let work = move || {
            runtime.block_on(async move {
                let (story, told) = mpsc::channel(STORY_MAX);
                tokio::spawn(pass_on(told, happened));
                let mut orders = Vec::new();
                for (seat, dtls, spot) in seats {
                    let (order, received) = mpsc::channel(ORDERS_MAX);
                    orders.push(order);
                    let device = Device::new(Parts {
                        link: Arc::new(Mutex::new(Link::new(&seat.network, seat.network_seed))),
                        seat,
                        dtls,
                        gateway,
                        spot,
                        desk: Arc::clone(&own_desk),
                        orders: received,
                        story: story.clone(),
                    });
                    tokio::spawn(device.live());
                }
                hand_out(&own_desk, &wake, &orders).await;
            });
        };
        let thread = std::thread::Builder::new()
            .name("foreign".to_owned())
            .spawn(work)?;
        hands.push(Hand { desk, thread });
    }
    Ok(Fleet::new(hands, &devices, Vec::new()))
}

/// Hands orders to the devices until the fleet is dropped. It never waits for a device: one that waits itself, for whoever is
/// told what happens, would keep the fleet from ending.
async fn hand_out(desk: &Desk, wake: &Notify, devices: &[mpsc::Sender<Order>]) {
    let mut orders = Vec::new();
    while desk.take(&mut orders) {
        for (place, order) in orders.drain(..) {
            if devices[place as usize].try_send(order).is_err() {
                desk.figures().counts.orders_refused += 1;
            }
        }
        wake.notified().await;
    }
}

/// Passes on what happens, as much at a time as there is.
async fn pass_on(mut told: mpsc::Receiver<Happened>, happened: mpsc::Sender<Vec<Happened>>) {
    loop {
        let mut batch = Vec::new();
        // Without a listener the devices go on, and nobody is told.
        if told.recv_many(&mut batch, STORY_MAX).await == 0 || happened.send(batch).await.is_err() {
            return;
        }
    }
}

/// Where a device's sockets come from.
fn spot(wiring: &Wiring, device: u32) -> Result<Spot, ForeignError> {
    let gateway = wiring.gateway;
    let none = ForeignError::Address { device, gateway };
    match &wiring.ground {
        Ground::Loopback if gateway.is_ipv4() => Ok(Spot {
            address: loopback(device, gateway.ip()),
            ports: None,
        }),
        Ground::Loopback => Err(none),
        Ground::Ports { addresses, ports } => {
            let fitting: Vec<IpAddr> = addresses
                .iter()
                .copied()
                .filter(|address| address.is_ipv4() == gateway.is_ipv4())
                .collect();
            let count = u32::try_from(fitting.len()).unwrap_or(u32::MAX);
            if count == 0 || ports.is_empty() {
                return Err(none);
            }
            Ok(Spot {
                address: fitting[(device % count) as usize],
                ports: Some((ports.clone(), device / count)),
            })
        }
    }
}

/// An address of 127.0.0.0/8 for each device, in the upper half of it; the kernel chooses the port.
fn loopback(device: u32, gateway: IpAddr) -> IpAddr {
    let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(0x7F80_0000 | number & 0x007F_FFFF));
    let own = address(device + 1);
    if own == gateway { address(0) } else { own }
}

/// Asks the kernel for as many files as there are devices.
fn make_room(devices: usize) -> Result<(), ForeignError> {
    // Some are open for other reasons, and a socket whose last datagrams are still held up lives beside its successor.
    let wanted = devices as u64 * 2 + 256;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(());
    };
    let raised = wanted.min(hard);
    if soft < raised && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_err() || raised < devices as u64 {
        let limit = soft.min(raised);
        return Err(ForeignError::Files { devices, limit });
    }
    Ok(())
}

/// Orders that wait for one device; those beyond are refused and counted.
const ORDERS_MAX: usize = 16;
/// What waits for whoever is told, of one thread's devices; when it is full the devices wait.
const STORY_MAX: usize = 4096;

#[cfg(test)]
mod tests;
