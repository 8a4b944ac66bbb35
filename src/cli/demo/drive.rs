//! Gives simulated devices a socket, a clock and a network that is not perfect: one task per device, all on one thread of
//! their own.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::virtual_device::{Event, VirtualDevice};

/// Devices at work. Dropping it leaves them without a word, as a power cut would.
#[derive(Debug)]
pub struct Driver {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What happened to which device.
#[derive(Debug)]
pub struct Happened {
    /// The device's place in the list given to [`Driver::start`].
    pub device: usize,
    /// When.
    pub at: Instant,
    /// What it says.
    pub event: Event,
}

/// What happens to datagrams on their way.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// So many are thrown away, each way: 0 to 100.
    pub loss_percent: u8,
    /// How long one is on its way from the device that is farthest away; the nearest has a quarter of that.
    pub farthest: Duration,
    /// Seed of the dice, so that a run can be repeated.
    pub seed: u64,
}

impl Driver {
    /// Starts all `devices` against the gateway at `gateway`, each from a socket of its own.
    ///
    /// # Errors
    /// When there is no socket for one of them, or the thread or its runtime cannot be started.
    pub fn start(
        devices: Vec<VirtualDevice>,
        gateway: SocketAddr,
        network: Network,
        happened: mpsc::Sender<Happened>,
    ) -> io::Result<Self> {
        let sockets = devices
            .iter()
            .map(|_| connect(gateway))
            .collect::<io::Result<Vec<_>>>()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("devices".into())
            .spawn(move || {
                runtime.block_on(async move {
                    for (index, (device, socket)) in devices.into_iter().zip(sockets).enumerate() {
                        let seat = Seat {
                            index,
                            network,
                            happened: happened.clone(),
                        };
                        tokio::spawn(seat.drive(device, socket));
                    }
                    // An error means that the driver was dropped: the same as being told to stop.
                    let _ = stopped.await;
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One device's place on the network.
struct Seat {
    index: usize,
    network: Network,
    happened: mpsc::Sender<Happened>,
}

impl Seat {
    async fn drive(self, mut device: VirtualDevice, socket: std::net::UdpSocket) {
        let socket = match UdpSocket::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, device = self.index, "no socket for a simulated device");
                return;
            }
        };
        let mut dice = StdRng::seed_from_u64(self.network.seed ^ self.index as u64);
        let way = self.network.farthest * dice.random_range(25..=100) / 100;
        let mut inbox = [0; MAX_DATAGRAM];
        let mut outbox = Vec::with_capacity(MAX_DATAGRAM);
        // As many as a device sends within one `way`: it waits for answers.
        let mut on_their_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        loop {
            outbox.clear();
            let now = clock::now();
            while device.poll_transmit(&mut outbox) {
                if !self.lost(&mut dice) {
                    on_their_way.push_back((now + way, outbox.clone()));
                }
                outbox.clear();
            }
            while let Some((_, datagram)) = on_their_way.pop_front_if(|(due, _)| *due <= now) {
                // A datagram that cannot be sent is a datagram lost.
                let _ = socket.send(&datagram).await;
            }
            while let Some(event) = device.poll_event() {
                let happened = Happened {
                    device: self.index,
                    at: clock::now(),
                    event,
                };
                if self.happened.send(happened).await.is_err() {
                    return;
                }
            }
            let wake = device.poll_timeout().unwrap_or_else(|| now + IDLE);
            let wake = on_their_way.front().map_or(wake, |(due, _)| wake.min(*due));
            tokio::select! {
                received = socket.recv(&mut inbox) => match received {
                    Ok(len) if !self.lost(&mut dice) => device.handle_datagram(clock::now(), &mut inbox[..len]),
                    Ok(_) => {}
                    // ICMP "port unreachable" arrives as an error: nobody there yet, the timers take care of it.
                    Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
                },
                () = tokio::time::sleep_until(wake.into()) => device.handle_timeout(clock::now()),
            }
        }
    }

    fn lost(&self, dice: &mut StdRng) -> bool {
        self.network.loss_percent > 0 && dice.random_range(0..100) < self.network.loss_percent
    }
}

fn connect(gateway: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let any: SocketAddr = match gateway {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(gateway)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Larger than anything the gateway sends: a 1024-byte block with its headers, a handshake flight of 1200 bytes.
const MAX_DATAGRAM: usize = 2048;
/// A device that waits for nothing is looked at again after this long.
const IDLE: Duration = Duration::from_secs(60);
/// Keeps a socket that reports an error at once from turning into a busy loop. A guess.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
