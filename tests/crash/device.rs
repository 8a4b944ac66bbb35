//! A device that takes it as it comes when the server goes away: our DTLS client half, CoAP by a library that the gateway
//! does not use.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::dtls::{
    ClientConfig, ClientHandshake, HandshakeEvent, Identity, Incoming, Psk, Session, records,
};

use crate::support::{Manifest, Server};

/// A device with a session.
pub struct Connected {
    socket: UdpSocket,
    session: Session,
    mid: u16,
}

impl Connected {
    /// Shakes hands; `None` if the server is gone.
    pub fn connect(server: &Server, identity: &str, secret: &str) -> Option<Connected> {
        Connected::connect_with(server, identity, secret, ClientConfig::default())
    }

    /// The same, offering what the configuration says.
    pub fn connect_with(
        server: &Server,
        identity: &str,
        secret: &str,
        config: ClientConfig,
    ) -> Option<Connected> {
        let socket = another_socket(server);
        let mut handshake = ClientHandshake::new(
            &Arc::new(config),
            Identity::new(identity.as_bytes()).unwrap(),
            Psk::new(secret.as_bytes()).unwrap(),
            Instant::now(),
            &mut StdRng::seed_from_u64(u64::from(socket.local_addr().unwrap().port())),
        );
        let mut buffer = [0; 2048];
        for _ in 0..10 {
            let mut out = Vec::new();
            while handshake.poll_transmit(&mut out) {
                socket.send(&out).ok()?;
                out.clear();
            }
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let datagram = &mut buffer[..length];
                    handshake.handle_datagram(Instant::now(), datagram).unwrap();
                }
                Err(error) if is_silence(&error) => handshake.handle_timeout(Instant::now()).ok()?,
                Err(_) => return None,
            }
            if let Some(HandshakeEvent::Established(established)) = handshake.poll_event() {
                return Some(Connected {
                    socket,
                    session: established.session,
                    mid: 0,
                });
            }
        }
        None
    }

    /// Its network gives it another port, and what is sent to the old one is lost.
    pub fn change_port(&mut self, server: &Server) {
        let before = self.address();
        self.socket = another_socket(server);
        assert_ne!(self.address(), before);
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// A record, not sent.
    pub fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.session.seal(message, &mut record).unwrap();
        record
    }

    /// What it should run; `None` if the server is gone, or does not know the session.
    pub fn manifest(&mut self) -> Option<Manifest> {
        let mut packet = self.packet(RequestType::Get, &[".u", "desired"]);
        packet.add_option(CoapOption::Accept, vec![60]);
        let answer = self.ask(packet)?;
        assert_eq!(answer.header.get_code(), "2.05", "{answer:?}");
        Some(Manifest::decode(&mut minicbor::Decoder::new(&answer.payload)).unwrap())
    }

    /// An artifact, block by block.
    pub fn download(&mut self, uri: &str) -> Option<Vec<u8>> {
        let path: Vec<&str> = uri.split('/').filter(|segment| !segment.is_empty()).collect();
        let mut bytes = Vec::new();
        for number in 0_u32.. {
            let (block, more) = self.block(&path, number)?;
            bytes.extend(block);
            if !more {
                break;
            }
        }
        Some(bytes)
    }

    /// One block of an artifact, and whether there are more.
    pub fn block(&mut self, path: &[&str], number: u32) -> Option<(Vec<u8>, bool)> {
        let mut packet = self.packet(RequestType::Get, path);
        let block = number << 4 | 6;
        packet.add_option(CoapOption::Block2, block.to_be_bytes()[1..].to_vec());
        let answer = self.ask(packet)?;
        assert_eq!(
            answer.header.get_code(),
            "2.05",
            "block {number} of {path:?}: {answer:?}"
        );
        let block = answer.get_first_option(CoapOption::Block2).unwrap();
        let more = block.last().unwrap() & 8 != 0;
        Some((answer.payload, more))
    }

    /// Reports on the package `main`: the code of the answer.
    pub fn report(&mut self, state: u8, version: &str) -> Option<String> {
        let mut packet = self.packet(RequestType::Post, &[".u", "c", "main"]);
        packet.add_option(CoapOption::ContentFormat, vec![60]);
        let mut encoder = minicbor::Encoder::new(Vec::new());
        encoder.map(2).unwrap().str("s").unwrap().u8(state).unwrap();
        encoder.str("v").unwrap().str(version).unwrap();
        packet.payload = encoder.into_writer();
        Some(self.ask(packet)?.header.get_code())
    }

    fn packet(&mut self, method: RequestType, path: &[&str]) -> Packet {
        self.mid += 1;
        let mut packet = Packet::new();
        packet.header.code = MessageClass::Request(method);
        packet.header.set_type(MessageType::Confirmable);
        packet.header.message_id = self.mid;
        packet.set_token(vec![7]);
        for segment in path {
            packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
        }
        packet
    }

    /// Asks, and again when the answer is late; `None` if the server is gone.
    fn ask(&mut self, packet: Packet) -> Option<Packet> {
        let message = packet.to_bytes().unwrap();
        let mut buffer = [0; 2048];
        for _ in 0..TRANSMISSIONS {
            let mut record = Vec::new();
            self.session.seal(&message, &mut record).unwrap();
            self.socket.send(&record).ok()?;
            let sent = Instant::now();
            while sent.elapsed() < WAIT {
                match self.socket.recv(&mut buffer) {
                    Ok(length) => {
                        for record in records(&mut buffer[..length]) {
                            if let Incoming::Data { message, .. } = self.session.handle_record(record) {
                                let answer = Packet::from_bytes(message).unwrap();
                                if answer.header.message_id == packet.header.message_id {
                                    return Some(answer);
                                }
                            }
                        }
                    }
                    Err(error) if is_silence(&error) => break,
                    Err(_) => return None,
                }
            }
        }
        None
    }
}

fn another_socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, server.coaps_port)).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

/// How long an answer is waited for: commits have to fit, on a busy machine.
const WAIT: Duration = Duration::from_secs(3);
const TRANSMISSIONS: usize = 4;
