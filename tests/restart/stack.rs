//! A device that behaves as one of the SDK's ports does, over a socket and in real time.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tessera::virtual_device::{ClientCredential, Event, Identity, Model, Port, Psk, VirtualDevice};

use crate::support::{PATIENCE, Server};

pub struct Simulated {
    device: VirtualDevice,
    socket: UdpSocket,
    /// The sequence number of every manifest that it took, in the order in which it took them; `None` for "nothing to do".
    pub sequences: Vec<Option<i64>>,
    /// How often it shook hands.
    pub sessions: u32,
}

impl Simulated {
    /// Switched on, in the cohort `lamps`.
    pub fn start(server: &Server, port: Port) -> Self {
        let of = server.device(&format!("lamp-{}", port.as_str()), "lamps");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", server.coaps_port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let device = VirtualDevice::new(
            Arc::new(Model::of(port)),
            ClientCredential::Psk {
                identity: Identity::new(of.identity.as_bytes()).unwrap(),
                key: Psk::new(of.secret.as_bytes()).unwrap(),
            },
            "1.0.0",
            Instant::now(),
            1,
        );
        Self {
            device,
            socket,
            sequences: Vec::new(),
            sessions: 0,
        }
    }

    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}: {:?}",
                self.sequences
            );
            self.device.handle_timeout(Instant::now());
            self.transmit();
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.device.handle_datagram(Instant::now(), &mut buffer[..length]);
                self.transmit();
            }
            while let Some(event) = self.device.poll_event() {
                match event {
                    Event::Manifest { sequence } => self.sequences.push(sequence),
                    Event::Established { .. } => self.sessions += 1,
                    _ => {}
                }
            }
        }
    }

    fn transmit(&mut self) {
        let mut out = Vec::new();
        while self.device.poll_transmit(&mut out) {
            // Nobody listens while the server is down.
            let _ = self.socket.send(&out);
            out.clear();
        }
    }
}
