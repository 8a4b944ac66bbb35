//! UDP sockets that read and write in batches, and remember which of our addresses a datagram was sent to.
//!
//! 1. [`Socket::bind`] opens one socket: large buffers, packet information, the drop counter. [`Socket::watch`] hands it to the
//!    runtime of the thread that will use it.
//! 2. [`WatchedSocket::receive`] fills a [`ReceiveBatch`] with one `recvmmsg`; every datagram comes with its [`Path`].
//! 3. Answers are appended to a [`SendQueue`], which [`SendQueue::flush`] empties with one `sendmmsg` per local address,
//!    because the control messages of a `sendmmsg` are shared by its batch.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
    setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;

use super::steering;

/// One UDP socket of one shard.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
    local: SocketAddr,
}

/// A socket whose readiness a tokio runtime watches.
#[derive(Debug)]
pub struct WatchedSocket {
    socket: tokio::net::UdpSocket,
    local: SocketAddr,
}

/// The two ends of a datagram: who sent it, to which of our addresses, through which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The other side, in canonical form (never an IPv4-mapped IPv6 address).
    pub peer: SocketAddr,
    /// Our address as the peer wrote it, canonical. Unspecified when the kernel did not say.
    pub local: IpAddr,
    /// Index of the listener in the configuration's order.
    pub listener: u8,
}

/// One received datagram's place in the batch.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// The other side, canonical.
    pub peer: SocketAddr,
    /// Our address, canonical; unspecified when the kernel did not say.
    pub local: IpAddr,
    /// Bytes of the datagram in the batch's buffer; `None` where it was longer than [`DATAGRAM_MAX`].
    pub length: Option<usize>,
}

/// Space for [`BATCH`] datagrams, used again and again. Belongs to one thread.
pub struct ReceiveBatch {
    headers: MultiHeaders<SockaddrStorage>,
    bytes: Box<[u8]>,
    received: Vec<Received>,
    /// The kernel's count of datagrams it dropped at the socket, as last told.
    kernel_drops: u32,
    truncated_control: bool,
}

/// Datagrams on their way out, in one buffer, so that a record is sealed where it is sent from.
pub struct SendQueue {
    /// The bytes of every datagram, one after the other.
    pub bytes: Vec<u8>,
    departures: Vec<Departure>,
    headers: SendHeaders,
}

/// Message headers by the control message they carry: a header's space for one has to be exactly as long as it.
struct SendHeaders {
    from_v4: MultiHeaders<SockaddrStorage>,
    from_v6: MultiHeaders<SockaddrStorage>,
    from_any: MultiHeaders<SockaddrStorage>,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Datagrams the kernel took.
    pub sent: u32,
    /// Datagrams the kernel refused for a reason that waiting does not mend (no route, too long).
    pub refused: u32,
    /// The listener whose socket has to become writable before the rest can go.
    pub blocked: Option<u8>,
}

#[derive(Debug)]
struct Departure {
    bytes: Range<usize>,
    path: Path,
}

impl Socket {
    /// Opens a socket on `address`. With `shared`, others of the same kind may listen there too (`SO_REUSEPORT`); an
    /// IPv6 wildcard takes IPv4 as well unless `v6_only`.
    ///
    /// # Errors
    /// What the kernel says: the port is taken, the address is not ours, IPv6 is switched off.
    pub fn bind(address: SocketAddr, shared: bool, v6_only: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(v6_only)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        // The kernel cuts these to net.core.{r,w}mem_max without an error.
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, local })
    }

    /// The address the socket is bound to, with the port the kernel chose where 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Has the kernel choose among `threads` sockets that share this one's address by the virtual shard in a connection ID.
    /// To be called once all of them are bound, on any one of them.
    ///
    /// # Errors
    /// When the kernel cannot do that.
    pub fn steer(&self, threads: u16) -> io::Result<()> {
        let mut program = steering::program(threads);
        let program = libc::sock_fprog {
            len: program.len() as libc::c_ushort,
            filter: program.as_mut_ptr(),
        };
        Ok(setsockopt(&self.socket, sockopt::AttachReusePortCbpf, &program)?)
    }

    /// Has the current runtime watch the socket.
    ///
    /// # Errors
    /// When the kernel watches no more.
    pub fn watch(self) -> io::Result<WatchedSocket> {
        let socket = tokio::net::UdpSocket::from_std(self.socket.into())?;
        Ok(WatchedSocket {
            socket,
            local: self.local,
        })
    }
}

impl WatchedSocket {
    /// Whether there may be something to read; else `context` is woken when there is.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(context)
    }

    /// Whether there may be room to send; else `context` is woken when there is.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(context)
    }

    /// Reads what is there, at most [`BATCH`] datagrams, without waiting. Returns how many the kernel dropped since it
    /// last said so.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, or what the kernel says.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<u32> {
        self.socket.try_io(Interest::READABLE, || self.receive_now(batch))
    }

    fn receive_now(&self, batch: &mut ReceiveBatch) -> io::Result<u32> {
        batch.received.clear();
        if batch.truncated_control {
            // The kernel writes into each header how much of the control buffer it used, and nix hands that to the next
            // call as the buffer's size. That is stable until the first drop adds a control message.
            batch.headers = receive_headers();
            batch.truncated_control = false;
        }
        let mut drops = batch.kernel_drops;
        {
            let mut slots = batch.bytes.chunks_exact_mut(DATAGRAM_MAX);
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
            let messages = recvmmsg(
                self.socket.as_raw_fd(),
                &mut batch.headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            )?;
            for message in messages {
                let mut local = self.local.ip();
                match message.cmsgs() {
                    Ok(controls) => {
                        for control in controls {
                            match control {
                                ControlMessageOwned::Ipv4PacketInfo(info) => {
                                    local = IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                                }
                                ControlMessageOwned::Ipv6PacketInfo(info) => {
                                    local = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                                }
                                ControlMessageOwned::RxqOvfl(count) => drops = count,
                                _ => {}
                            }
                        }
                    }
                    Err(_) => batch.truncated_control = true,
                }
                let Some(peer) = message.address.as_ref().and_then(socket_addr) else {
                    continue;
                };
                let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
                batch.received.push(Received {
                    peer: canonical(peer),
                    local: local.to_canonical(),
                    length: whole.then_some(message.bytes),
                });
            }
        }
        let dropped = drops.wrapping_sub(batch.kernel_drops);
        batch.kernel_drops = drops;
        Ok(dropped)
    }
}

impl ReceiveBatch {
    /// An empty batch. One per socket: it remembers that socket's drop counter.
    #[must_use]
    pub fn new() -> Self {
        Self {
            headers: receive_headers(),
            bytes: vec![0; BATCH * DATAGRAM_MAX].into_boxed_slice(),
            received: Vec::with_capacity(BATCH),
            kernel_drops: 0,
            truncated_control: false,
        }
    }

    /// How many datagrams the last [`WatchedSocket::receive`] brought.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// The datagram at `index`, and its bytes to be decrypted in place.
    #[must_use]
    pub fn datagram(&mut self, index: usize) -> (Received, &mut [u8]) {
        let received = self.received[index];
        let start = index * DATAGRAM_MAX;
        (
            received,
            &mut self.bytes[start..start + received.length.unwrap_or(0)],
        )
    }
}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("received", &self.received.len())
            .finish_non_exhaustive()
    }
}

impl SendQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(BATCH * 1280),
            departures: Vec::with_capacity(BATCH),
            headers: SendHeaders {
                from_v4: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::in_pktinfo))),
                from_v6: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::in6_pktinfo))),
                from_any: MultiHeaders::preallocate(BATCH, None),
            },
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.departures.is_empty()
    }

    /// Declares everything in [`Self::bytes`] from `start` on to be one datagram along `path`. An empty one is forgotten.
    pub fn push(&mut self, start: usize, path: Path) {
        let bytes = start..self.bytes.len();
        if !bytes.is_empty() {
            self.departures.push(Departure { bytes, path });
        }
    }

    /// The datagrams waiting, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Path, &[u8])> {
        self.departures
            .iter()
            .map(|departure| (departure.path, &self.bytes[departure.bytes.clone()]))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.departures.clear();
    }

    /// Sends what waits; `sockets` are the listeners' in the order of [`Path::listener`]. What a full socket buffer
    /// does not take stays for the next flush.
    pub fn flush(&mut self, sockets: &[WatchedSocket]) -> Flushed {
        self.flush_by(|headers, listener, bytes, departures| {
            let socket = &sockets[usize::from(listener)];
            let send = || headers.send(socket, bytes, departures);
            socket.socket.try_io(Interest::WRITABLE, send)
        })
    }

    /// The same without the runtime's idea of readiness.
    #[cfg(test)]
    fn flush_now(&mut self, sockets: &[WatchedSocket]) -> Flushed {
        self.flush_by(|headers, listener, bytes, departures| {
            headers.send(&sockets[usize::from(listener)], bytes, departures)
        })
    }

    fn flush_by(
        &mut self,
        mut send: impl FnMut(&mut SendHeaders, u8, &[u8], &[Departure]) -> io::Result<usize>,
    ) -> Flushed {
        let mut flushed = Flushed::default();
        if !self
            .departures
            .windows(2)
            .all(|pair| same_source(&pair[0].path, &pair[1].path))
        {
            // Stable: the order towards one peer stays.
            self.departures
                .sort_by_key(|departure| (departure.path.listener, departure.path.local));
        }
        let mut first = 0;
        while let Some(departure) = self.departures.get(first) {
            let source = departure.path;
            let run = self.departures[first..]
                .iter()
                .take(BATCH)
                .take_while(|departure| same_source(&departure.path, &source))
                .count();
            let departures = &self.departures[first..first + run];
            let sent = send(&mut self.headers, source.listener, &self.bytes, departures);
            match sent {
                Ok(sent) => {
                    flushed.sent += sent as u32;
                    first += sent.max(1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    flushed.blocked = Some(source.listener);
                    self.departures.drain(..first);
                    return flushed;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The error is the first datagram's: sendmmsg reports one only when it sent nothing.
                    flushed.refused += 1;
                    first += 1;
                }
            }
        }
        self.clear();
        flushed
    }
}

impl SendHeaders {
    /// One `sendmmsg` of at most [`BATCH`] departures that leave from the same address.
    fn send(&mut self, socket: &WatchedSocket, bytes: &[u8], departures: &[Departure]) -> io::Result<usize> {
        let v6 = socket.local.is_ipv6();
        let Some(source) = departures.first().map(|departure| departure.path.local) else {
            return Ok(0);
        };
        let mut addresses: [Option<SockaddrStorage>; BATCH] = [None; BATCH];
        for (address, departure) in addresses.iter_mut().zip(departures) {
            *address = Some(for_family(departure.path.peer, v6).into());
        }
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|index| {
            let range = departures
                .get(index)
                .map_or(0..0, |departure| departure.bytes.clone());
            [IoSlice::new(&bytes[range])]
        });
        let slices = &slices[..departures.len()];
        let addresses = &addresses[..departures.len()];
        let (fd, flags) = (socket.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let results = match source {
            source if source.is_unspecified() => {
                sendmmsg(fd, &mut self.from_any, slices, addresses, [], flags)
            }
            IpAddr::V4(source) if !v6 => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(source.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let controls = [ControlMessage::Ipv4PacketInfo(&info)];
                return Ok(sendmmsg(fd, &mut self.from_v4, slices, addresses, controls, flags)?.count());
            }
            source => {
                let octets = match source {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: octets },
                    ipi6_ifindex: 0,
                };
                let controls = [ControlMessage::Ipv6PacketInfo(&info)];
                return Ok(sendmmsg(fd, &mut self.from_v6, slices, addresses, controls, flags)?.count());
            }
        };
        Ok(results?.count())
    }
}

impl std::fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendQueue")
            .field("departures", &self.departures.len())
            .finish_non_exhaustive()
    }
}

fn same_source(a: &Path, b: &Path) -> bool {
    a.listener == b.listener && a.local == b.local
}

fn receive_headers() -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::in6_pktinfo, u32)))
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::new(v4.ip(), v4.port())));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::V6(SocketAddrV6::new(
        v6.ip(),
        v6.port(),
        0,
        v6.scope_id(),
    )))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, v6.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// The address as the socket's family writes it.
fn for_family(address: SocketAddr, v6: bool) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v6 => {
            SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// How large a datagram may be: no device message comes near (`CONTRACT.md` 1), and handshake flights are cut to
/// less by every client. A longer one is counted and dropped.
pub const DATAGRAM_MAX: usize = 2048;

/// Datagrams in one system call. Past 32 nothing is gained (`EVIDENCE.md` 3).
pub const BATCH: usize = 64;

/// What the kernel grants at most by default; holds 10 082 small datagrams (`EVIDENCE.md` 3).
const SOCKET_BUFFER: usize = 4 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::UdpSocket;

    use super::super::cids::owner_of;
    use super::*;

    /// Reads once; whoever calls it has waited for something to be there.
    fn receive(socket: &WatchedSocket, batch: &mut ReceiveBatch) -> u32 {
        // The runtime may not have looked yet, so the call goes around its idea of readiness.
        socket.receive_now(batch).unwrap()
    }

    fn in_runtime<T>(work: impl FnOnce() -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        work()
    }

    #[test]
    fn datagrams_come_with_both_addresses_and_their_length() {
        in_runtime(|| {
            let socket = Socket::bind("[::]:0".parse().unwrap(), false, false)
                .unwrap()
                .watch()
                .unwrap();
            let mut batch = ReceiveBatch::new();
            let port = socket.local.port();
            for local in ["127.0.0.1", "127.3.2.1", "::1"] {
                let local: IpAddr = local.parse().unwrap();
                let any = if local.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
                let client = UdpSocket::bind(any).unwrap();
                client.send_to(b"", (local, port)).unwrap();
                client.send_to(&[7; DATAGRAM_MAX], (local, port)).unwrap();
                client.send_to(&[7; DATAGRAM_MAX + 1], (local, port)).unwrap();
                assert_eq!(receive(&socket, &mut batch), 0);
                assert_eq!(batch.len(), 3);
                let mut lengths = Vec::new();
                for index in 0..batch.len() {
                    let (received, bytes) = batch.datagram(index);
                    assert_eq!(
                        (received.peer, received.local),
                        (client.local_addr().unwrap(), local)
                    );
                    assert!(bytes.iter().all(|byte| *byte == 7));
                    lengths.push(received.length);
                }
                assert_eq!(lengths, [Some(0), Some(DATAGRAM_MAX), None]);
            }
        });
    }

    #[test]
    fn drops_of_the_kernel_are_told_and_addresses_stay_right() {
        in_runtime(|| {
            let socket = Socket::bind("0.0.0.0:0".parse().unwrap(), false, false)
                .unwrap()
                .watch()
                .unwrap();
            let mut batch = ReceiveBatch::new();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = socket.local.port();
            let mut dropped = 0;
            let mut last_local = None;
            for _ in 0..2 {
                for _ in 0..20_000 {
                    client.send_to(b"one more", ("127.0.0.9", port)).unwrap();
                }
                loop {
                    match socket.receive_now(&mut batch) {
                        Ok(drops) => dropped += drops,
                        Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    }
                    last_local = Some(batch.datagram(batch.len() - 1).0.local);
                }
            }
            // The second round's drops are told by datagrams of a third.
            client.send_to(b"the last", ("127.0.0.9", port)).unwrap();
            dropped += receive(&socket, &mut batch);
            assert!(dropped > 0, "the kernel's buffer held 20 000 datagrams");
            assert_eq!(last_local, Some(IpAddr::from([127, 0, 0, 9])));
        });
    }

    #[test]
    fn a_batch_leaves_from_the_addresses_that_its_datagrams_name() {
        in_runtime(|| {
            let sockets = [Socket::bind("0.0.0.0:0".parse().unwrap(), false, false)
                .unwrap()
                .watch()
                .unwrap()];
            let clients: Vec<_> = (0..5).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
            let mut queue = SendQueue::new();
            for round in 0..40_u8 {
                for client in &clients {
                    let start = queue.bytes.len();
                    queue.bytes.push(round);
                    let local = IpAddr::from([127, 0, 0, 1 + round % 3]);
                    queue.push(
                        start,
                        Path {
                            peer: client.local_addr().unwrap(),
                            local,
                            listener: 0,
                        },
                    );
                }
            }
            let mut flushed = Flushed {
                blocked: Some(0),
                ..Flushed::default()
            };
            while flushed.blocked.is_some() {
                let Flushed { sent, refused, .. } = flushed;
                flushed = queue.flush_now(&sockets);
                flushed.sent += sent;
                flushed.refused += refused;
            }
            assert_eq!((flushed.sent, flushed.refused), (200, 0));
            assert!(queue.is_empty());
            for client in clients {
                let mut rounds = Vec::new();
                for _ in 0..40 {
                    let mut byte = [0];
                    let (length, from) = client.recv_from(&mut byte).unwrap();
                    assert_eq!(
                        (length, from.ip()),
                        (1, IpAddr::from([127, 0, 0, 1 + byte[0] % 3]))
                    );
                    rounds.push(byte[0]);
                }
                rounds.sort_unstable();
                assert_eq!(rounds, (0..40).collect::<Vec<_>>());
            }
        });
    }

    #[test]
    fn the_kernel_hands_a_record_with_a_connection_id_to_its_thread_and_others_as_ever() {
        in_runtime(|| {
            for (wildcard, to) in [
                ("0.0.0.0:0", "127.0.0.1"),
                ("[::]:0", "127.0.0.1"),
                ("[::]:0", "::1"),
            ] {
                let first = Socket::bind(wildcard.parse().unwrap(), true, false).unwrap();
                let address = first.local_addr();
                let mut sockets = vec![first];
                sockets.extend((1..3).map(|_| Socket::bind(address, true, false).unwrap()));
                sockets[0].steer(3).unwrap();
                let sockets: Vec<_> = sockets.into_iter().map(|s| s.watch().unwrap()).collect();
                let client = UdpSocket::bind(if to == "::1" { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
                client.connect((to, address.port())).unwrap();
                let mut batch = ReceiveBatch::new();
                let mut reached = |datagram: &[u8]| {
                    client.send(datagram).unwrap();
                    sockets
                        .iter()
                        .position(|socket| socket.receive_now(&mut batch).is_ok())
                        .unwrap()
                };
                let by_hash = reached(b"some datagram that has no connection ID");
                for virtual_shard in 0..=255 {
                    let mut record = [0; 40];
                    record[..3].copy_from_slice(&[25, 0xfe, 0xfd]);
                    record[11] = virtual_shard;
                    assert_eq!(
                        reached(&record),
                        usize::from(owner_of(virtual_shard, 3)),
                        "virtual shard {virtual_shard}"
                    );
                    record[0] = 23;
                    assert_eq!(reached(&record), by_hash, "no connection ID");
                }
                for length in 0..=11 {
                    assert_eq!(reached(&[25; 11][..length]), by_hash, "{length} bytes");
                }
            }
        });
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_does_not_keep_the_others() {
        in_runtime(|| {
            let sockets = [Socket::bind("127.0.0.1:0".parse().unwrap(), false, false)
                .unwrap()
                .watch()
                .unwrap()];
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut queue = SendQueue::new();
            let local = IpAddr::from([127, 0, 0, 1]);
            for (length, peer) in [
                (70_000, client.local_addr().unwrap()),
                (3, client.local_addr().unwrap()),
            ] {
                let start = queue.bytes.len();
                queue.bytes.resize(start + length, 1);
                queue.push(
                    start,
                    Path {
                        peer,
                        local,
                        listener: 0,
                    },
                );
            }
            let flushed = queue.flush_now(&sockets);
            assert_eq!((flushed.sent, flushed.refused), (1, 1));
            assert_eq!(client.recv(&mut [0; 8]).unwrap(), 3);
        });
    }
}
