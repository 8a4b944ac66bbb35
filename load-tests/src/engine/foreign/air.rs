//! What lies between `webrtc-dtls` and a socket: a task that carries datagrams as the device's [`Link`] decides.
//!
//! Nothing here fails. A datagram that the kernel refuses is counted and gone, as it would be on a real network:
//! `webrtc-dtls` would end a handshake for it, and read again and again from a socket that only has errors to give.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tessera::clock;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use webrtc_util::conn::Conn;

use super::super::Desk;
use crate::network::{Carried, Link};

/// A device's own side of the network, while it uses one socket.
#[derive(Debug)]
pub struct Air {
    gateway: SocketAddr,
    out: mpsc::Sender<Order>,
    /// What has arrived.
    arrived: tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>,
    heard: AtomicBool,
}

/// The simulated network of a device, which outlives its sockets.
pub type SharedLink = Arc<Mutex<Link>>;

/// Where a device's sockets come from.
#[derive(Clone, Debug)]
pub struct Spot {
    /// The device's own address.
    pub address: IpAddr,
    /// The first port to try, and how many; `None` leaves the port to the kernel.
    pub ports: Option<(std::ops::RangeInclusive<u16>, u32)>,
}

#[derive(Debug)]
enum Order {
    Send(Vec<u8>),
    Rebind,
}

/// The task's own.
struct Carrier {
    socket: UdpSocket,
    spot: Spot,
    gateway: SocketAddr,
    link: SharedLink,
    desk: Arc<Desk>,
    on_the_way: BinaryHeap<Reverse<Underway>>,
    /// Numbers datagrams, so that those which arrive at one moment keep their order.
    count: u64,
    arrived: mpsc::Sender<Vec<u8>>,
}

/// A datagram on its way, ordered by its arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Underway {
    arrives: Instant,
    number: u64,
    to: End,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Gateway,
    Device,
}

impl Air {
    /// Takes a socket, and starts to carry. It ends when this is dropped and what the device sent has left.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub async fn open(
        spot: &Spot,
        gateway: SocketAddr,
        link: &SharedLink,
        desk: &Arc<Desk>,
    ) -> io::Result<Arc<Self>> {
        let socket = spot.socket(gateway).await?;
        let (out, orders) = mpsc::channel(WAITING_MAX);
        let (arrived_tx, arrived) = mpsc::channel(WAITING_MAX);
        let carrier = Carrier {
            socket,
            spot: spot.clone(),
            gateway,
            link: Arc::clone(link),
            desk: Arc::clone(desk),
            on_the_way: BinaryHeap::new(),
            count: 0,
            arrived: arrived_tx,
        };
        tokio::spawn(carrier.carry(orders));
        Ok(Arc::new(Self {
            gateway,
            out,
            arrived: tokio::sync::Mutex::new(arrived),
            heard: AtomicBool::new(false),
        }))
    }

    /// Whether anything has arrived.
    pub fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Another address and port from now on, as a NAT gives one without a word.
    pub async fn rebind(&self) {
        // The task lives as long as this does.
        let _ = self.out.send(Order::Rebind).await;
    }
}

#[async_trait]
impl Conn for Air {
    async fn connect(&self, _: SocketAddr) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        match self.arrived.lock().await.recv().await {
            Some(bytes) => {
                self.heard.store(true, Ordering::Relaxed);
                let len = bytes.len().min(buffer.len());
                buffer[..len].copy_from_slice(&bytes[..len]);
                Ok(len)
            }
            // Without the task nothing arrives any more.
            None => std::future::pending().await,
        }
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        Ok((self.recv(buffer).await?, self.gateway))
    }

    async fn send(&self, bytes: &[u8]) -> Result<usize, webrtc_util::Error> {
        let _ = self.out.send(Order::Send(bytes.to_vec())).await;
        Ok(bytes.len())
    }

    async fn send_to(&self, bytes: &[u8], _: SocketAddr) -> Result<usize, webrtc_util::Error> {
        self.send(bytes).await
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        Err(webrtc_util::Error::Other("it changes".to_owned()))
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.gateway)
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

impl Carrier {
    async fn carry(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            self.deliver().await;
            let next = self.on_the_way.peek().map(|Reverse(first)| first.arrives);
            tokio::select! {
                () = at(next) => {}
                order = orders.recv() => match order {
                    Some(Order::Send(bytes)) => self.put(End::Gateway, bytes),
                    Some(Order::Rebind) => self.rebind().await,
                    None => return self.finish().await,
                },
                received = self.socket.recv(&mut buffer) => {
                    // An error is what became of an earlier datagram: nobody listened.
                    if let Ok(len) = received {
                        let mut figures = self.desk.figures();
                        figures.counts.datagrams_received += 1;
                        figures.counts.bytes_received += len as u64;
                        drop(figures);
                        self.put(End::Device, buffer[..len].to_vec());
                    }
                }
            }
        }
    }

    /// The device has let go; what it sent leaves all the same.
    async fn finish(mut self) {
        self.on_the_way
            .retain(|Reverse(datagram)| datagram.to == End::Gateway);
        while let Some(Reverse(first)) = self.on_the_way.peek() {
            at(Some(first.arrives)).await;
            self.deliver().await;
        }
    }

    /// Hands a datagram to the link.
    fn put(&mut self, to: End, bytes: Vec<u8>) {
        let now = clock::now();
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let carried = match to {
            End::Gateway => link.up(now, bytes.len()),
            End::Device => link.down(now, bytes.len()),
        };
        drop(link);
        let full = self.on_the_way.len() >= UNDERWAY_MAX;
        let mut figures = self.desk.figures();
        match carried {
            Carried::Once(_) | Carried::Twice(..) if !full => {
                figures.counts.duplicated += u64::from(matches!(carried, Carried::Twice(..)));
            }
            Carried::Once(_) | Carried::Twice(..) | Carried::Not(_) => {
                match to {
                    End::Gateway => figures.counts.lost_up += 1,
                    End::Device => figures.counts.lost_down += 1,
                }
                return;
            }
        }
        drop(figures);
        for arrives in carried {
            self.count += 1;
            self.on_the_way.push(Reverse(Underway {
                arrives,
                number: self.count,
                to,
                bytes: bytes.clone(),
            }));
        }
    }

    /// What is there by now arrives.
    async fn deliver(&mut self) {
        while let Some(Reverse(first)) = self.on_the_way.peek() {
            let now = clock::now();
            if first.arrives > now {
                return;
            }
            let Some(Reverse(datagram)) = self.on_the_way.pop() else {
                return;
            };
            self.desk.figures().late(now - datagram.arrives);
            match datagram.to {
                End::Gateway => {
                    let sent = self.socket.send(&datagram.bytes).await;
                    let mut figures = self.desk.figures();
                    match sent {
                        Ok(len) => {
                            figures.counts.datagrams_sent += 1;
                            figures.counts.bytes_sent += len as u64;
                        }
                        Err(_) => figures.counts.send_errors += 1,
                    }
                }
                End::Device => {
                    if self.arrived.try_send(datagram.bytes).is_err() {
                        // It reads too slowly: what a socket's buffer does then.
                        self.desk.figures().counts.kernel_dropped += 1;
                    }
                }
            }
        }
    }

    async fn rebind(&mut self) {
        match self.spot.socket(self.gateway).await {
            Ok(socket) => self.socket = socket,
            Err(_) => self.desk.figures().counts.send_errors += 1,
        }
    }
}

impl Spot {
    /// A socket here, connected to the gateway.
    async fn socket(&self, gateway: SocketAddr) -> io::Result<UdpSocket> {
        let socket = match &self.ports {
            None => UdpSocket::bind((self.address, 0)).await?,
            Some((ports, first)) => {
                let mut bound = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
                let count = u32::from(ports.end().saturating_sub(*ports.start())) + 1;
                for step in 0..count {
                    let port = u32::from(*ports.start()) + first.wrapping_add(step) % count;
                    bound = UdpSocket::bind((self.address, port as u16)).await;
                    match &bound {
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                        Ok(_) | Err(_) => break,
                    }
                }
                bound?
            }
        };
        socket.connect(gateway).await?;
        Ok(socket)
    }
}

/// Sleeps until then; for ever without a time.
pub async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// Datagrams of one device on their way at a time; those beyond are lost. A device has one request or a few under way.
const UNDERWAY_MAX: usize = 1024;
/// Datagrams that wait between the tasks of one device: whoever sends waits for room.
const WAITING_MAX: usize = 64;
/// The largest record and what is around it, and room for another.
const DATAGRAM_MAX: usize = 4096;

#[cfg(test)]
#[path = "air_tests.rs"]
mod tests;
