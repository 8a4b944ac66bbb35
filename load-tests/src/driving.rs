//! Gives every device a socket and a clock: a task per device on a few threads. The devices themselves wait for nothing.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tessera::clock;
use tessera::virtual_device::{Event, VirtualDevice};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

/// What happened to which device, and when.
#[derive(Debug)]
pub struct Happened {
    /// The device's place in the list.
    pub device: usize,
    /// When.
    pub at: Instant,
    /// What it says.
    pub event: Event,
}

/// Devices at work; dropped, they fall silent.
#[derive(Debug)]
pub struct Fleet {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the devices, dealt out over `threads`.
pub fn start(
    devices: Vec<VirtualDevice>,
    gateway: SocketAddr,
    threads: usize,
    happened: &mpsc::Sender<Happened>,
) -> io::Result<Fleet> {
    let mut hands: Vec<Vec<(usize, VirtualDevice, std::net::UdpSocket)>> =
        (0..threads).map(|_| Vec::new()).collect();
    for (index, device) in devices.into_iter().enumerate() {
        hands[index % threads].push((index, device, connect(gateway)?));
    }
    let mut fleet = Fleet {
        stop: watch::Sender::new(false),
        threads: Vec::new(),
    };
    for hand in hands {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut stopped, happened) = (fleet.stop.subscribe(), happened.clone());
        let work = move || {
            runtime.block_on(async move {
                for (index, device, socket) in hand {
                    tokio::spawn(drive(index, device, socket, happened.clone()));
                }
                drop(happened);
                // An error means that the fleet was dropped: the same as being told to stop.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            });
        };
        fleet
            .threads
            .push(std::thread::Builder::new().name("devices".into()).spawn(work)?);
    }
    Ok(fleet)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A device that panicked has said so already.
            let _ = thread.join();
        }
    }
}

async fn drive(
    index: usize,
    mut device: VirtualDevice,
    socket: std::net::UdpSocket,
    happened: mpsc::Sender<Happened>,
) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, device = index, "no socket");
            return;
        }
    };
    let mut inbox = [0; MAX_DATAGRAM];
    let mut outbox = Vec::with_capacity(MAX_DATAGRAM);
    loop {
        outbox.clear();
        while device.poll_transmit(&mut outbox) {
            // A datagram that cannot be sent is a datagram lost.
            let _ = socket.send(&outbox).await;
            outbox.clear();
        }
        while let Some(event) = device.poll_event() {
            if happened
                .send(Happened {
                    device: index,
                    at: clock::now(),
                    event,
                })
                .await
                .is_err()
            {
                return;
            }
        }
        let wake = device.poll_timeout().unwrap_or_else(|| clock::now() + IDLE);
        tokio::select! {
            received = socket.recv(&mut inbox) => match received {
                Ok(len) => device.handle_datagram(clock::now(), &mut inbox[..len]),
                // ICMP "port unreachable" arrives as an error: the timers take care of it.
                Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
            },
            () = tokio::time::sleep_until(wake.into()) => device.handle_timeout(clock::now()),
        }
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

/// Larger than anything the gateway sends.
const MAX_DATAGRAM: usize = 2048;
/// A device that waits for nothing is looked at again after this long.
const IDLE: Duration = Duration::from_secs(60);
/// Keeps a socket that reports an error at once from turning into a busy loop. A guess.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
