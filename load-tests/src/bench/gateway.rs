//! Handshakes through sockets and a shard of the gateway, without what stands above it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::clock;
use tessera::coap::{Relation, Reply, Request};
use tessera::dtls::CipherSuite;
use tessera::transport::{
    Bound, CertificateTicket, Disposition, EndReason, Handler, Identity, KeySource, KeyTicket, NameTicket,
    Notification, PeerChain, Principal, RequestContext, RestoredTicket, SessionFacts, TransportConfig,
    Upstairs, verify_chain,
};

use super::cpu::{self, micros};
use super::handshakes::{ANCHORS, BATCH, Client, UNIX_S, psk, server};

/// What a handshake costs all threads but the clients', in microseconds: the least of some batches.
///
/// # Errors
/// When a socket fails, or a handshake.
pub fn handshakes(suite: CipherSuite) -> io::Result<f64> {
    let config = TransportConfig {
        coaps: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        shards: 1,
        dtls: server(),
        ..TransportConfig::default()
    };
    let bound = Bound::open(config).map_err(io::Error::other)?;
    let gateway = bound.local_addrs()[0];
    let house = Arc::new(House::default());
    let upstairs = Upstairs {
        handler: house.clone(),
        keys: house,
        journal: None,
    };
    let shards = bound.start(upstairs).map_err(io::Error::other)?;
    let mut rng = StdRng::seed_from_u64(2);
    let mut least = f64::INFINITY;
    for round in 0..ROUNDS {
        let mut clients = Vec::new();
        for index in 0..BATCH {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(gateway)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let device = round * BATCH + index;
            clients.push((socket, Client::new(suite, device, clock::now(), &mut rng)));
        }
        let (all, ours) = (cpu::process(), cpu::thread());
        while clients.iter().any(|(_, client)| client.session.is_none()) {
            let mut datagram = Vec::new();
            for (socket, client) in &mut clients {
                datagram.clear();
                while client.handshake.poll_transmit(&mut datagram) {
                    socket.send(&datagram)?;
                    datagram.clear();
                }
            }
            let mut buffer = [0; 2048];
            for (socket, client) in clients.iter_mut().filter(|(_, client)| client.session.is_none()) {
                let len = socket.recv(&mut buffer)?;
                client.handle(clock::now(), &mut buffer[..len])?;
            }
        }
        let spent = (cpu::process() - all).saturating_sub(cpu::thread() - ours);
        least = least.min(micros(spent) / BATCH as f64);
    }
    shards.stop_accepting();
    shards.drain(clock::now());
    shards.join().map_err(io::Error::other)?;
    Ok(least)
}

/// Knows every device, at once.
#[derive(Default)]
struct House {
    /// Devices with certificates: all show the same one, and are others each time.
    certified: AtomicU64,
}

#[derive(Clone)]
struct Device(u64);

impl Principal for Device {
    fn key(&self) -> u64 {
        self.0
    }
}

impl KeySource for House {
    type Device = Device;

    fn psk(&self, identity: &Identity, ticket: KeyTicket<Device>) {
        let digits = identity.as_bytes().iter().filter(|byte| byte.is_ascii_digit());
        let number = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        ticket.found(Device(number), number, psk());
    }

    fn certificate(&self, chain: &PeerChain, ticket: CertificateTicket<Device>) {
        match verify_chain(chain, &ANCHORS, UNIX_S) {
            Ok(_) => {
                let number = self.certified.fetch_add(1, Ordering::Relaxed);
                ticket.accepted(Device(number), number);
            }
            Err(fault) => ticket.refused(fault),
        }
    }

    fn restored(&self, _: u64, _: u64, ticket: RestoredTicket<Device>) {
        // Nothing is kept, so nothing is restored.
        ticket.gone();
    }

    fn named(&self, _: &str, ticket: NameTicket<Device>) {
        drop(ticket);
    }
}

impl Handler for House {
    type Device = Device;

    fn connected(&self, _: &Device, _: &SessionFacts) {}

    fn disconnected(&self, _: &Device, _: u64, _: EndReason) {}

    fn request(&self, _: &RequestContext<'_, Device>, _: &Request<'_>, _: &mut Reply<'_>) -> Disposition {
        Disposition::NotNow
    }

    fn notification(&self, _: &Device, _: &Relation, _: bool, _: &mut Reply<'_>) -> Notification {
        Notification::Unchanged
    }

    fn acknowledged(&self, _: &Device, _: &Relation) {}
}

const ROUNDS: usize = 20;
/// On the loopback nothing is lost but by a fault.
const PATIENCE: Duration = Duration::from_secs(5);
