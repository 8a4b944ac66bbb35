//! The floor under everything that a server answers: `recvmmsg`, `sendmmsg`, and nothing between them.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

use super::cpu::Meter;

/// What it costs to receive a datagram of `len` bytes and to send it back, in microseconds.
///
/// # Errors
/// When a socket of this machine's loopback fails.
pub fn echo(len: usize) -> io::Result<f64> {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.connect(server.local_addr()?)?;
    let datagram = vec![7; len];
    let mut back = vec![0; len];
    let mut buffers = vec![vec![0; len]; BATCH];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut replies = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        for _ in 0..BATCH {
            client.send(&datagram)?;
        }
        let mut meter = Meter::default();
        meter.time(|| -> io::Result<()> {
            let fd = server.as_raw_fd();
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let received = recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::empty(), None)?;
            let to: Vec<Option<SockaddrStorage>> = received.map(|message| message.address).collect();
            if to.len() < BATCH {
                return Err(io::Error::other("the loopback lost datagrams of a batch"));
            }
            let slices: Vec<[IoSlice<'_>; 1]> = buffers.iter().map(|buffer| [IoSlice::new(buffer)]).collect();
            sendmmsg(fd, &mut replies, &slices, &to, [], MsgFlags::empty())?;
            Ok(())
        })?;
        least = least.min(meter.each(BATCH));
        for _ in 0..BATCH {
            client.recv(&mut back)?;
        }
    }
    Ok(least)
}

/// What a shard reads and sends at once.
const BATCH: usize = 32;
const ROUNDS: usize = 200;
