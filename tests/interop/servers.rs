//! Foreign servers against our client half, which the simulated fleet is made of.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::dtls::{
    CipherSuite, ClientConfig, ClientCredential, ClientHandshake, HandshakeEvent, Identity, Incoming,
    Session, records,
};

use crate::clients::{Client, gnutls_priority, wolfssl};
use crate::tool::{PATIENCE, Tool};
use crate::{IDENTITY, KEY, our_key};

#[test]
fn our_client_speaks_with_openssls_server() {
    for suite in Client::OpenSsl.psk_suites() {
        for extended_master_secret in [true, false] {
            let port = free_port();
            let mut command = Command::new("openssl");
            command.args([
                "s_server",
                "-dtls1_2",
                "-nocert",
                "-listen",
                "-psk",
                KEY,
                "-psk_identity",
                IDENTITY,
            ]);
            command.args([
                "-psk_hint",
                "a hint",
                "-cipher",
                Client::OpenSsl.suite(suite).unwrap(),
                "-port",
                &port.to_string(),
            ]);
            let mut tool = Tool::spawn("openssl", command);
            tool.assert_line("ACCEPT");
            speak_with(&mut tool, port, suite, extended_master_secret);
            println!("openssl s_server: {suite}, extended master secret {extended_master_secret}");
        }
    }
}

#[test]
fn our_client_speaks_with_gnutls_server() {
    let passwords = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(passwords.path(), format!("{IDENTITY}:{KEY}\n")).unwrap();
    for suite in Client::GnuTls.psk_suites() {
        let port = free_port();
        let mut command = Command::new("gnutls-serv");
        command
            .args(["--udp", "--echo", "--pskpasswd"])
            .arg(passwords.path());
        command.args([
            "--priority",
            &gnutls_priority(Client::GnuTls.suite(suite).ok(), "+PSK"),
            "--port",
            &port.to_string(),
        ]);
        let mut tool = Tool::spawn("gnutls-serv", command);
        tool.assert_line("UDP");
        let mut client = OurClient::connect(port, suite, true);
        client.send(b"hello from our side\n");
        assert!(client.receive().starts_with(b"hello from our side"));
        println!("gnutls-serv: {suite}");
    }
}

#[test]
fn our_client_speaks_with_wolfssls_server() {
    let suite = CipherSuite::EcdhePskAes128GcmSha256;
    let port = free_port();
    let name = Client::WolfSsl.suite(suite).unwrap();
    let mut server = wolfssl("server", port, IDENTITY, KEY, name, &[]);
    server.assert_line("listening");
    let mut client = OurClient::connect(port, suite, true);
    client.send(b"hello from our side");
    assert_eq!(client.receive(), b"hello from our side");
    client.close();
    println!("wolfSSL as a server: {suite}");
}

fn speak_with(tool: &mut Tool, port: u16, suite: CipherSuite, extended_master_secret: bool) {
    let mut client = OurClient::connect(port, suite, extended_master_secret);
    client.send(b"hello from our side\n");
    tool.assert_line("hello from our side");
    tool.say("hello from theirs");
    assert_eq!(client.receive(), b"hello from theirs\n");
    client.close();
}

/// Our client half on a socket of its own.
pub struct OurClient {
    socket: UdpSocket,
    session: Session,
}

impl OurClient {
    fn connect(port: u16, suite: CipherSuite, extended_master_secret: bool) -> Self {
        let config = ClientConfig {
            suites: vec![suite],
            extended_master_secret,
            ..ClientConfig::default()
        };
        let identity = Identity::new(IDENTITY.as_bytes()).unwrap();
        let key = our_key();
        Self::connect_with(port, config, ClientCredential::Psk { identity, key })
    }

    /// Of one suite.
    pub fn connect_with(port: u16, config: ClientConfig, credential: ClientCredential) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let wanted = (config.suites[0], config.extended_master_secret);
        let mut rng: StdRng = StdRng::seed_from_u64(u64::from(port));
        let start = Instant::now();
        let mut handshake = ClientHandshake::with_credential(&Arc::new(config), credential, start, &mut rng);
        while start.elapsed() < PATIENCE {
            let mut out = Vec::new();
            while handshake.poll_transmit(&mut out) {
                // Refused while the server is still starting.
                let _ = socket.send(&out);
                out.clear();
            }
            let mut datagram = [0; 2048];
            if let Ok(len) = socket.recv(&mut datagram) {
                handshake
                    .handle_datagram(Instant::now(), &mut datagram[..len])
                    .unwrap();
            }
            handshake.handle_timeout(Instant::now()).unwrap();
            if let Some(HandshakeEvent::Established(established)) = handshake.poll_event() {
                let session = established.session;
                assert_eq!((session.suite(), session.extended_master_secret()), wanted);
                return Self { socket, session };
            }
        }
        panic!("no handshake with port {port}");
    }

    pub fn send(&mut self, data: &[u8]) {
        let mut out = Vec::new();
        self.session.seal(data, &mut out).unwrap();
        self.socket.send(&out).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let mut datagram = [0; 2048];
            let Ok(len) = self.socket.recv(&mut datagram) else {
                continue;
            };
            for record in records(&mut datagram[..len]) {
                if let Incoming::Data { message, .. } = self.session.handle_record(record) {
                    return message.to_vec();
                }
            }
        }
        panic!("nothing received");
    }

    fn close(mut self) {
        let mut out = Vec::new();
        self.session.close(&mut out);
        self.socket.send(&out).unwrap();
    }
}

pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
