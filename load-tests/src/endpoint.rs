//! Addresses and ports of the devices' own, and the sockets behind them.
//!
//! 1. A [`Ground`] says where endpoints can be had. [`Endpoints`] is one that can be built on: it reaches the gateway and is
//!    large enough. They are numbered.
//! 2. [`Endpoints::sockets`] opens what one thread of the native engine needs. On the loopback that is a few sockets for any
//!    number of devices: the kernel takes every address of 127.0.0.0/8 for its own, so a datagram names the address it leaves
//!    from (`IP_PKTINFO`), and one that arrives tells which it was sent to. From that address and the socket's port the
//!    number, and from the number the device, is found by arithmetic and one look into a table.
//! 3. On a real network a device has a bound socket. The foreign engine's have that anywhere, by code of its own.
//!
//! A device that moves ([`Sockets::rebind`]) takes the next free number. What is sent to the one that it had is dropped and
//! counted, as a NAT does.
//!
//! The thread's numbers are those that leave its own as the remainder when divided by the threads, so that two threads never
//! need to agree; and every endpoint on the loopback has an address of its own, not just a port, until there are more of them
//! than addresses.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, getsockopt, recvmmsg,
    sendmsg, setsockopt, sockopt,
};
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;

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

/// A ground that reaches the gateway and has as many endpoints as are needed.
#[derive(Clone, Debug)]
pub struct Endpoints {
    gateway: SocketAddr,
    ground: Ground,
    needed: usize,
}

/// Why there are no endpoints.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The loopback leads nowhere else.
    #[error(
        "addresses of 127.0.0.0/8 do not reach a gateway at {0}; accepted: a gateway at 127.0.0.0/8, or addresses and ports"
    )]
    NotLoopback(SocketAddr),
    /// IPv4 does not reach IPv6, nor the other way.
    #[error("{address} does not reach a gateway at {gateway}; accepted: addresses of its family")]
    OtherFamily {
        /// The address that devices were to have.
        address: IpAddr,
        /// The gateway.
        gateway: SocketAddr,
    },
    /// Not enough addresses or ports.
    #[error(
        "there are {there} endpoints and {needed} are needed; {ground}; accepted: more addresses, or more ports"
    )]
    TooFew {
        /// How many there are.
        there: u64,
        /// How many are needed.
        needed: usize,
        /// What was looked at.
        ground: String,
    },
    /// As [`Self::TooFew`], but it is others that have them.
    #[error(
        "no endpoint is left, and {needed} are needed: other programs have too many of {ground}; accepted: more addresses, or more ports"
    )]
    Taken {
        /// How many are needed.
        needed: usize,
        /// What was looked at.
        ground: String,
    },
    /// A bound socket is an open file.
    #[error(
        "{needed} open files are needed, one for each endpoint and {OPEN_FILES_SPARE} besides, and the limit is {limit}; raise it (`ulimit -n`), or have fewer devices"
    )]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// The kernel gives no socket.
    #[error("no socket on {address}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel gives nothing to wait with.
    #[error("no way to wait for sockets")]
    Wait(#[source] io::Error),
}

/// One thread's sockets, and which of its devices has which endpoint. Devices are named by their place in the thread.
#[derive(Debug)]
pub struct Sockets {
    gateway: SocketAddr,
    footing: Footing,
    epoll: Epoll,
    waker: Waker,
    events: Vec<EpollEvent>,
    /// Sockets that have something to read, last first.
    ready: Vec<u32>,
}

/// Ends a [`Sockets::wait`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

#[derive(Debug)]
enum Footing {
    Shared(Shared),
    Own(Own),
}

/// Sockets that each have a port and every address of the loopback.
#[derive(Debug)]
struct Shared {
    sockets: Vec<UdpSocket>,
    loopback: Loopback,
    share: Share,
    /// The device of each of the thread's endpoints so far, [`NOBODY`] for one that is free.
    devices: Vec<u32>,
    /// Each device's endpoint.
    endpoints: Vec<u32>,
    /// Where to look for a free one.
    next: u32,
    /// Bytes of the receive buffers as the kernel granted them.
    granted: usize,
}

/// A bound socket for each device.
#[derive(Debug)]
struct Own {
    sockets: Vec<UdpSocket>,
    ground: Ground,
    share: Share,
    /// The next number that nobody has tried.
    next: u64,
}

/// Which numbers are a thread's: `thread`, `thread + threads` and so on.
#[derive(Clone, Copy, Debug)]
struct Share {
    thread: u64,
    threads: u64,
    /// How many numbers all threads have.
    size: u64,
}

/// The numbers of the loopback's addresses.
#[derive(Clone, Copy, Debug)]
struct Loopback {
    /// The gateway's own address has none.
    gateway: Option<u32>,
}

/// Datagrams of one `recvmmsg`. Belongs to the thread that made it.
pub struct Batch {
    /// For each shared socket, or for all that are a device's own: the kernel writes into a header how much of its room for
    /// control messages was used, and takes that for its size the next time. That is stable as long as they are as many.
    headers: Vec<MultiHeaders<SockaddrStorage>>,
    /// The kernel's count of what it dropped, as last told by each socket.
    dropped: Vec<u32>,
    bytes: Box<[u8]>,
    arrivals: Vec<Arrival>,
}

/// A datagram from the gateway for a device.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Whose.
    pub place: u32,
    /// When the kernel had it.
    pub at: Instant,
    slot: usize,
    len: usize,
}

/// What came besides the datagrams of a [`Batch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stray {
    /// Datagrams from somebody else than the gateway.
    pub unknown_peer: u64,
    /// Datagrams to an endpoint that no device has.
    pub to_nobody: u64,
    /// Datagrams that the kernel dropped since it last said so.
    pub kernel_dropped: u64,
}

impl Ground {
    /// What a run takes that was not told: the loopback for a gateway there, else whatever address the routes choose.
    #[must_use]
    pub fn fitting(gateway: SocketAddr) -> Self {
        let address = match gateway.ip() {
            IpAddr::V4(address) if address.is_loopback() => return Self::Loopback,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self::Ports {
            addresses: vec![address],
            ports: PORTS,
        }
    }

    /// What a run takes that was told addresses, or ports, or both; whatever it was not told is as in [`Self::fitting`].
    #[must_use]
    pub fn told(gateway: SocketAddr, addresses: &[IpAddr], ports: Option<RangeInclusive<u16>>) -> Self {
        if addresses.is_empty() && ports.is_none() {
            return Self::fitting(gateway);
        }
        let any = match gateway.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self::Ports {
            addresses: if addresses.is_empty() {
                vec![any]
            } else {
                addresses.to_vec()
            },
            ports: ports.unwrap_or(PORTS),
        }
    }

    /// How many endpoints there are.
    fn size(&self) -> u64 {
        match self {
            // One address less: it may be the gateway's.
            Self::Loopback => u64::from(LOOPBACK_ADDRESSES - 1),
            Self::Ports { addresses, ports } => addresses.len() as u64 * ports.len() as u64,
        }
    }

    /// The endpoint of this number; port 0 where the kernel is to choose.
    fn endpoint(&self, gateway: SocketAddr, number: u64) -> Option<SocketAddr> {
        match self {
            Self::Loopback => {
                let address = Loopback::beside(gateway).address(u32::try_from(number).ok()?)?;
                Some(SocketAddr::from((address, 0)))
            }
            Self::Ports { addresses, ports } => {
                let count = addresses.len() as u64;
                let address = addresses.get(usize::try_from(number.checked_rem(count)?).ok()?)?;
                let port = u16::try_from(u64::from(*ports.start()) + number / count).ok()?;
                ports.contains(&port).then_some(SocketAddr::new(*address, port))
            }
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Loopback => "127.0.0.0/8".to_owned(),
            Self::Ports { addresses, ports } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!(
                    "ports {} to {} of {}",
                    ports.start(),
                    ports.end(),
                    if addresses.is_empty() {
                        "no address".to_owned()
                    } else {
                        addresses.join(", ")
                    }
                )
            }
        }
    }
}

impl Endpoints {
    /// Endpoints for the native engine's devices: on the loopback they share sockets.
    ///
    /// # Errors
    /// When the ground does not lead to the gateway or is too small, or this process may not open as many sockets.
    pub fn for_many(ground: &Ground, gateway: SocketAddr, needed: usize) -> Result<Self, EndpointError> {
        match ground {
            Ground::Loopback => {
                if !matches!(gateway.ip(), IpAddr::V4(address) if address.is_loopback()) {
                    return Err(EndpointError::NotLoopback(gateway));
                }
            }
            Ground::Ports { addresses, .. } => {
                let other = addresses
                    .iter()
                    .find(|address| address.is_ipv4() != gateway.is_ipv4());
                if let Some(address) = other {
                    return Err(EndpointError::OtherFamily {
                        address: *address,
                        gateway,
                    });
                }
            }
        }
        let there = ground.size();
        if there < needed as u64 {
            return Err(EndpointError::TooFew {
                there,
                needed,
                ground: ground.words(),
            });
        }
        match ground {
            // They share sockets.
            Ground::Loopback => {}
            Ground::Ports { .. } => reserve_open_files(needed)?,
        }
        Ok(Self {
            gateway,
            ground: ground.clone(),
            needed,
        })
    }

    /// The sockets of a thread with so many devices. With `threads` of them each has an endpoint.
    ///
    /// # Errors
    /// When the kernel gives no socket, or other programs have too many of the endpoints.
    pub fn sockets(&self, thread: usize, threads: usize, devices: u32) -> Result<Sockets, EndpointError> {
        let share = Share {
            thread: thread as u64,
            threads: threads as u64,
            size: self.ground.size(),
        };
        let footing = match &self.ground {
            Ground::Loopback => Footing::Shared(Shared::open(self.gateway, share, devices)?),
            Ground::Ports { .. } => Footing::Own(Own::open(self, share, devices)?),
        };
        Sockets::watch(self.gateway, footing).map_err(EndpointError::Wait)
    }
}

impl Sockets {
    fn watch(gateway: SocketAddr, footing: Footing) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let waker = Waker(Arc::new(EventFd::from_flags(
            EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC,
        )?));
        epoll.add(&*waker.0, readable(WAKER))?;
        let sockets = match &footing {
            Footing::Shared(shared) => &shared.sockets,
            Footing::Own(own) => &own.sockets,
        };
        for (token, socket) in (0..).zip(sockets) {
            epoll.add(socket, readable(token))?;
        }
        Ok(Self {
            gateway,
            footing,
            epoll,
            waker,
            events: vec![EpollEvent::empty(); READY_MAX],
            ready: Vec::with_capacity(READY_MAX),
        })
    }

    /// What ends a wait of this thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Bytes that each receive buffer holds and bytes asked for, where the kernel granted less.
    #[must_use]
    pub fn small_buffer(&self) -> Option<(usize, usize)> {
        match &self.footing {
            Footing::Shared(shared) if shared.granted < RECEIVE_BUFFER => {
                Some((shared.granted, RECEIVE_BUFFER))
            }
            Footing::Shared(_) | Footing::Own(_) => None,
        }
    }

    /// Another endpoint for a device. False where none is free; then it keeps the one it has.
    pub fn rebind(&mut self, place: u32) -> bool {
        match &mut self.footing {
            Footing::Shared(shared) => shared.rebind(place),
            Footing::Own(own) => own.rebind(self.gateway, place, &self.epoll),
        }
    }

    /// Sends a datagram to the gateway from a device's endpoint. Does not wait: a full queue is an error, and the datagram
    /// lost.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self, place: u32, datagram: &[u8]) -> io::Result<()> {
        match &self.footing {
            Footing::Shared(shared) => shared.send(self.gateway, place, datagram),
            Footing::Own(own) => own.sockets[place as usize]
                .send_to(datagram, self.gateway)
                .map(drop),
        }
    }

    /// Waits for something to read, for the waker, or for this long; `None` is for ever.
    pub fn wait(&mut self, at_most: Option<Duration>) {
        if at_most != Some(Duration::ZERO) {
            // Milliseconds, which epoll counts in, are too coarse for a network of some milliseconds. An error is a signal's.
            let epoll = PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN);
            let _ = ppoll(&mut [epoll], at_most.map(Into::into), None);
        }
        self.ready.clear();
        let Ok(ready) = self.epoll.wait(&mut self.events, EpollTimeout::ZERO) else {
            return;
        };
        for event in self.events[..ready].iter().rev() {
            match event.data() {
                WAKER => self.waker.clear(),
                token => self.ready.extend(u32::try_from(token)),
            }
        }
    }

    /// Waits for the waker alone, and no longer than this.
    pub fn pause(&self, at_most: Duration) {
        let waker = PollFd::new(self.waker.0.as_fd(), PollFlags::POLLIN);
        let _ = ppoll(&mut [waker], Some(at_most.into()), None);
        self.waker.clear();
    }

    /// Reads what one of the sockets that the last [`Self::wait`] found has, up to [`BATCH`] datagrams; `None` when all of them
    /// were read once. Those that had more are found again. `now` is the present.
    pub fn receive(&mut self, now: Instant, batch: &mut Batch) -> Option<Stray> {
        let token = self.ready.pop()?;
        let (socket, headers) = match &self.footing {
            Footing::Shared(shared) => (&shared.sockets[token as usize], token as usize),
            Footing::Own(own) => (&own.sockets[token as usize], 0),
        };
        let device = |address: Option<Ipv4Addr>| match &self.footing {
            Footing::Shared(shared) => shared.device(token, address?),
            Footing::Own(_) => Some(token),
        };
        // An error is about something that was sent, and is gone with being told.
        let stray = batch.read(socket, headers, token, self.gateway, now, device);
        Some(stray.unwrap_or_default())
    }

    /// The address and port of a device.
    #[cfg(test)]
    pub fn endpoint(&self, place: u32) -> SocketAddr {
        match &self.footing {
            Footing::Shared(shared) => {
                let (socket, address) = shared.route(place);
                SocketAddr::from((address, socket.local_addr().map_or(0, |local| local.port())))
            }
            Footing::Own(own) => own.sockets[place as usize].local_addr().expect("it is bound"),
        }
    }
}

impl Waker {
    /// Ends the wait, or the next one.
    pub fn wake(&self) {
        // It fails only when it was woken 2^64 times.
        let _ = self.0.write(1);
    }

    fn clear(&self) {
        let _ = self.0.read();
    }
}

impl Shared {
    fn open(gateway: SocketAddr, share: Share, devices: u32) -> Result<Self, EndpointError> {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let failed = |source: io::Error| EndpointError::Socket { address, source };
        let mut granted = RECEIVE_BUFFER;
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let socket = UdpSocket::bind(address).map_err(failed)?;
            let enlarged = prepare(&socket).and_then(|()| enlarge(&socket));
            granted = granted.min(enlarged.map_err(|error| failed(error.into()))?);
            sockets.push(socket);
        }
        let mut shared = Self {
            sockets,
            loopback: Loopback::beside(gateway),
            share,
            devices: Vec::with_capacity(devices as usize),
            endpoints: Vec::with_capacity(devices as usize),
            next: 0,
            granted,
        };
        for place in 0..devices {
            let endpoint = shared.vacant().ok_or_else(|| EndpointError::Taken {
                needed: devices as usize,
                ground: Ground::Loopback.words(),
            })?;
            shared.devices[endpoint as usize] = place;
            shared.endpoints.push(endpoint);
        }
        Ok(shared)
    }

    fn rebind(&mut self, place: u32) -> bool {
        let Some(endpoint) = self.vacant() else {
            return false;
        };
        let old = std::mem::replace(&mut self.endpoints[place as usize], endpoint);
        self.devices[old as usize] = NOBODY;
        self.devices[endpoint as usize] = place;
        true
    }

    /// The next free endpoint: one that was given up comes again only when all others have been used.
    fn vacant(&mut self) -> Option<u32> {
        let all = self.share.count();
        for _ in 0..=self.endpoints.len() {
            let endpoint = self.next;
            self.next = (self.next + 1) % all;
            match self.devices.get(endpoint as usize) {
                None => {
                    self.devices.push(NOBODY);
                    return Some(endpoint);
                }
                Some(&NOBODY) => return Some(endpoint),
                Some(_) => {}
            }
        }
        None
    }

    fn send(&self, gateway: SocketAddr, place: u32, datagram: &[u8]) -> io::Result<()> {
        let (socket, address) = self.route(place);
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from_ne_bytes(address.octets()),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(datagram)],
            &[ControlMessage::Ipv4PacketInfo(&source)],
            MsgFlags::MSG_DONTWAIT,
            Some(&SockaddrStorage::from(gateway)),
        )?;
        Ok(())
    }

    fn route(&self, place: u32) -> (&UdpSocket, Ipv4Addr) {
        let endpoint = self.endpoints[place as usize];
        let number = self.share.number(u64::from(endpoint));
        let address = u32::try_from(number)
            .ok()
            .and_then(|number| self.loopback.address(number));
        let socket = &self.sockets[endpoint as usize % self.sockets.len()];
        (
            socket,
            address.expect("only numbers that have an address are given out"),
        )
    }

    /// Whose endpoint this address at the port of this socket is.
    fn device(&self, socket: u32, address: Ipv4Addr) -> Option<u32> {
        let number = self.loopback.number(address)?;
        let endpoint = self.share.index(u64::from(number))?;
        if endpoint as usize % self.sockets.len() != socket as usize {
            return None;
        }
        let device = *self.devices.get(endpoint as usize)?;
        (device != NOBODY).then_some(device)
    }
}

impl Own {
    fn open(endpoints: &Endpoints, share: Share, devices: u32) -> Result<Self, EndpointError> {
        let mut next = 0;
        let mut sockets = Vec::with_capacity(devices as usize);
        for _ in 0..devices {
            let socket = open(endpoints, &mut next, share)?;
            let prepared = prepare(&socket).map_err(io::Error::from);
            let address = socket.local_addr();
            prepared.map_err(|source| EndpointError::Socket {
                address: address.unwrap_or(endpoints.gateway),
                source,
            })?;
            sockets.push(socket);
        }
        Ok(Self {
            sockets,
            ground: endpoints.ground.clone(),
            share,
            next,
        })
    }

    fn rebind(&mut self, gateway: SocketAddr, place: u32, epoll: &Epoll) -> bool {
        let endpoints = Endpoints {
            gateway,
            ground: self.ground.clone(),
            needed: self.sockets.len(),
        };
        let watched = open(&endpoints, &mut self.next, self.share)
            .ok()
            .filter(|socket| {
                prepare(socket).is_ok() && epoll.add(socket, readable(u64::from(place))).is_ok()
            });
        match watched {
            // The one that is dropped is closed, and so no longer watched.
            Some(socket) => self.sockets[place as usize] = socket,
            None => return false,
        }
        true
    }
}

impl Share {
    /// How many numbers the thread has.
    fn count(self) -> u32 {
        let count = self.size.saturating_sub(self.thread).div_ceil(self.threads);
        u32::try_from(count).unwrap_or(NOBODY)
    }

    fn number(self, index: u64) -> u64 {
        index.saturating_mul(self.threads).saturating_add(self.thread)
    }

    /// The reverse of [`Self::number`]; `None` for another thread's.
    fn index(self, number: u64) -> Option<u32> {
        (number % self.threads == self.thread)
            .then(|| u32::try_from(number / self.threads).ok())
            .flatten()
    }
}

impl Loopback {
    fn beside(gateway: SocketAddr) -> Self {
        let all = Self { gateway: None };
        Self {
            gateway: match gateway.ip() {
                IpAddr::V4(address) => all.number(address),
                IpAddr::V6(_) => None,
            },
        }
    }

    /// 127.0.1.1, 127.0.1.2 and so on: 127.0.0.0/24 is left to whoever listens on this machine, and no address ends in 0 or
    /// 255, which here and there are taken for a network's own and its broadcast.
    fn address(self, number: u32) -> Option<Ipv4Addr> {
        let number = match self.gateway {
            Some(gateway) if number >= gateway => number + 1,
            Some(_) | None => number,
        };
        let (net, host) = (number / HOSTS + 1, number % HOSTS + 1);
        let [_, _, high, low] = net.to_be_bytes();
        (number < LOOPBACK_ADDRESSES).then(|| Ipv4Addr::new(127, high, low, host as u8))
    }

    /// The reverse of [`Self::address`].
    fn number(self, address: Ipv4Addr) -> Option<u32> {
        let [first, high, low, host] = address.octets();
        let net = u32::from_be_bytes([0, 0, high, low]).checked_sub(1)?;
        let host = u32::from(host).checked_sub(1).filter(|host| *host < HOSTS)?;
        let number = (first == 127).then_some(net * HOSTS + host)?;
        match self.gateway {
            Some(gateway) if number == gateway => None,
            Some(gateway) if number > gateway => Some(number - 1),
            Some(_) | None => Some(number),
        }
    }
}

impl Batch {
    /// Room for what these sockets bring.
    #[must_use]
    pub fn new(sockets: &Sockets) -> Self {
        let (headers, dropped) = match &sockets.footing {
            Footing::Shared(shared) => (shared.sockets.len(), shared.sockets.len()),
            Footing::Own(own) => (1, own.sockets.len()),
        };
        Self {
            headers: (0..headers).map(|_| receive_headers()).collect(),
            dropped: vec![0; dropped],
            bytes: vec![0; BATCH * DATAGRAM_MAX].into_boxed_slice(),
            arrivals: Vec::with_capacity(BATCH),
        }
    }

    /// The datagrams, oldest first.
    #[must_use]
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// The bytes of the `index`-th datagram.
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u8] {
        let Arrival { slot, len, .. } = self.arrivals[index];
        let start = slot * DATAGRAM_MAX;
        &self.bytes[start..start + len]
    }

    fn read(
        &mut self,
        socket: &UdpSocket,
        headers: usize,
        token: u32,
        gateway: SocketAddr,
        now: Instant,
        device: impl Fn(Option<Ipv4Addr>) -> Option<u32>,
    ) -> io::Result<Stray> {
        let mut stray = Stray::default();
        let mut cut = false;
        self.arrivals.clear();
        let headers = &mut self.headers[headers];
        {
            let mut slots = self.bytes.chunks_exact_mut(DATAGRAM_MAX);
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
            // Both clocks before the call, so that it does not count as waiting.
            let wall = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
            let messages = recvmmsg(
                socket.as_raw_fd(),
                headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            )?;
            for (slot, message) in messages.enumerate() {
                let (mut at, mut address) = (now, None);
                match message.cmsgs() {
                    Ok(controls) => {
                        for control in controls {
                            match control {
                                ControlMessageOwned::Ipv4PacketInfo(info) => {
                                    address = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                                }
                                ControlMessageOwned::ScmTimestampns(stamp) => {
                                    at = when(now, wall.saturating_sub(stamp.into()));
                                }
                                ControlMessageOwned::RxqOvfl(count) => {
                                    let before = std::mem::replace(&mut self.dropped[token as usize], count);
                                    // Another socket has the place of one that was given up, and counts from 0.
                                    stray.kernel_dropped +=
                                        u64::from(count.checked_sub(before).unwrap_or(count));
                                }
                                _ => {}
                            }
                        }
                    }
                    // The first drop adds a control message for which these headers have forgotten to have room.
                    Err(_) => cut = true,
                }
                if message.address.as_ref().and_then(socket_addr) != Some(gateway) {
                    stray.unknown_peer += 1;
                } else if let Some(place) = device(address) {
                    self.arrivals.push(Arrival {
                        place,
                        at,
                        slot,
                        // A longer one than the gateway sends is cut, and the device finds it malformed.
                        len: message.bytes.min(DATAGRAM_MAX),
                    });
                } else if address.is_some() {
                    stray.to_nobody += 1;
                } else {
                    // Nothing tells where it was sent to. It shares the fate of those that made the kernel say more.
                    stray.kernel_dropped += 1;
                }
            }
        }
        if cut {
            *headers = receive_headers();
        }
        Ok(stray)
    }
}

/// Opens the thread's next endpoint that nobody has; `next` counts those that have been tried.
fn open(endpoints: &Endpoints, next: &mut u64, share: Share) -> Result<UdpSocket, EndpointError> {
    while let Some(address) = endpoints.ground.endpoint(endpoints.gateway, share.number(*next)) {
        *next += 1;
        // The gateway may be on this machine and start again.
        if address.port() == endpoints.gateway.port() {
            continue;
        }
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(EndpointError::Socket { address, source }),
            Ok(socket) => return Ok(socket),
        }
    }
    Err(EndpointError::Taken {
        needed: endpoints.needed,
        ground: endpoints.ground.words(),
    })
}

/// Has the socket tell where a datagram was sent to, when it came, and how many came in vain.
fn prepare(socket: &UdpSocket) -> nix::Result<()> {
    if socket.local_addr().is_ok_and(|local| local.is_ipv4()) {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(socket, sockopt::RxqOvfl, &1)
}

/// Lets more bytes wait in a socket that very many devices share. Returns how many may.
fn enlarge(socket: &UdpSocket) -> nix::Result<usize> {
    // Who may, gets it whatever the limit (`net.core.rmem_max`); for others the kernel cuts it without an error.
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    // The kernel doubles what is asked for, for its own bookkeeping.
    Ok(getsockopt(socket, sockopt::RcvBuf)? / 2)
}

/// Makes sure that this process may open so many sockets.
fn reserve_open_files(sockets: usize) -> Result<(), EndpointError> {
    let needed = sockets as u64 + OPEN_FILES_SPARE;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let raised = |to| setrlimit(Resource::RLIMIT_NOFILE, to, hard).is_ok();
    // All that may be had: the other engine needs some too. Where the hard limit is none, the kernel still has one.
    if needed <= soft || needed <= hard && (raised(hard) || raised(needed)) {
        Ok(())
    } else {
        Err(EndpointError::OpenFiles { needed, limit: hard })
    }
}

fn readable(token: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, token)
}

fn receive_headers() -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(
        BATCH,
        Some(nix::cmsg_space!(libc::in_pktinfo, libc::timespec, u32)),
    )
}

fn when(now: Instant, ago: Duration) -> Instant {
    now.checked_sub(ago).unwrap_or(now)
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::from((v6.ip(), v6.port())))
}

/// Those that no privilege is needed for, and at which services are not looked for.
const PORTS: RangeInclusive<u16> = 10_000..=65_535;
/// Addresses of a /24 that may be a host's.
const HOSTS: u32 = 254;
/// All those of 127.0.0.0/8 but for the first /24.
const LOOPBACK_ADDRESSES: u32 = 65_535 * HOSTS;
/// A thread's sockets on the loopback. One would do for all addresses; some more give a burst more buffers to wait in.
const SOCKETS: usize = 4;
/// What a shared socket asks for. A datagram in it takes at least 768 bytes, so it holds 20 000, as many as a gateway answers
/// in a second or two.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Open files beside the sockets: the gateway's process, results, this process's own. A guess with room.
const OPEN_FILES_SPARE: u64 = 256;
/// Datagrams in one system call. Past 32 nothing is gained (`EVIDENCE.md` 3); with twice that a thread reads as many in a turn
/// from its shared sockets as it handles timers, so that in a storm answers do not pile up behind starts.
pub const BATCH: usize = 64;
/// Sockets that are read after one wait. With [`BATCH`] it bounds what a turn reads.
const READY_MAX: usize = 16;
/// Larger than anything the gateway sends.
const DATAGRAM_MAX: usize = 2048;
/// Not a socket's token.
const WAKER: u64 = u64::MAX;
/// Not a device's place.
const NOBODY: u32 = u32::MAX;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "endpoint_tests.rs"]
mod tests;
