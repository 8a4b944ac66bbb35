//! The DTLS core against foreign implementations: the clients of OpenSSL, GnuTLS and wolfSSL against our server half,
//! their servers against our client half. Each cell prints the suite agreed on, or why there is none: neither OpenSSL nor
//! GnuTLS has ECDHE_PSK with AES-128 in an AEAD, and Debian's wolfSSL has of our suites the one in GCM alone.
//!
//! So nobody here speaks `TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256` with us. Botan does, and did (2.19, by hand: its library is
//! C++ alone); what the suite is made of is held by the two suites that share its halves, and by the computed bytes in
//! `src/dtls/tests/known_answers.rs`.
//!
//! A missing tool fails the test: `tests/run` installs them.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tessera::dtls::{
    Admission, CipherSuite, Claim, ClientConfig, ClientHandshake, CookieJar, FailureReason, HandshakeEvent,
    Identity, Incoming, Psk, ServerConfig, ServerHandshake, Session, Timers, records,
};

#[test]
fn each_suite_is_agreed_on_with_openssl_with_and_without_extended_master_secret() {
    for suite in suites_of("openssl", openssl_name) {
        for extended_master_secret in [true, false] {
            let server = Server::start(Faults::default());
            let client = Openssl {
                suite: Some(suite),
                extended_master_secret,
                ..Openssl::default()
            };
            let mut client = client.spawn(server.address);
            client.assert_echo();
            client.assert_line(if extended_master_secret {
                "Extended master secret: yes"
            } else {
                "Extended master secret: no"
            });
            assert_eq!(server.established(), (suite, extended_master_secret));
            client.say("Q");
            server.assert_closed();
            println!("openssl s_client: {suite}, extended master secret {extended_master_secret}");
        }
    }
}

#[test]
fn each_suite_is_agreed_on_with_gnutls_with_and_without_extended_master_secret() {
    for suite in suites_of("gnutls", gnutls_cipher) {
        for extended_master_secret in [true, false] {
            let server = Server::start(Faults::default());
            let client = Gnutls {
                suite: Some(suite),
                extended_master_secret,
                ..Gnutls::default()
            };
            let mut client = client.spawn(server.address);
            client.assert_echo();
            assert_eq!(server.established(), (suite, extended_master_secret));
            client.hang_up();
            server.assert_closed();
            println!("gnutls-cli: {suite}, extended master secret {extended_master_secret}");
        }
    }
}

#[test]
fn a_client_that_offers_everything_it_has_gets_a_suite_of_ours() {
    let server = Server::start(Faults::default());
    let mut client = Openssl::default().spawn(server.address);
    client.assert_echo();
    println!("openssl s_client, its whole list: {}", server.established().0);

    let server = Server::start(Faults::default());
    let mut client = Gnutls::default().spawn(server.address);
    client.assert_echo();
    println!("gnutls-cli, its whole list: {}", server.established().0);
}

#[test]
fn wolfssl_agrees_on_a_suite_with_a_curve() {
    let (suite, name) = WOLFSSL;
    let server = Server::start(Faults::default());
    let mut client = wolfssl("client", server.address.port(), name);
    client.assert_line("established ECDHE-PSK-AES128-GCM-SHA256");
    client.assert_echo();
    assert_eq!(server.established().0, suite);
    client.hang_up();
    server.assert_closed();
    println!("wolfSSL: {suite}");

    for lost in 0..3 {
        let server = Server::start(Faults {
            lose: Some(lost),
            ..Faults::default()
        });
        let mut client = wolfssl("client", server.address.port(), name);
        client.assert_echo();
        println!("wolfSSL, server datagram {lost} lost: {}", server.established().0);
    }
}

#[test]
fn a_client_without_encrypt_then_mac_gets_another_suite_or_an_alert() {
    for (offered, expected) in [
        (
            "PSK-AES128-CBC-SHA256:PSK-AES128-CCM8",
            Some(CipherSuite::PskAes128Ccm8),
        ),
        ("PSK-AES128-CBC-SHA256", None),
    ] {
        let server = Server::start(Faults::default());
        let client = Openssl {
            arguments: &["-no_etm", "-cipher", offered],
            ..Openssl::default()
        };
        let mut client = client.spawn(server.address);
        match expected {
            Some(suite) => {
                client.assert_echo();
                assert_eq!(server.established().0, suite);
            }
            None => {
                client.assert_line("alert handshake failure");
                assert_eq!(server.failed().0, FailureReason::NoCommonSuite);
            }
        }
        println!("openssl s_client -no_etm, {offered}: {expected:?}");
    }

    let server = Server::start(Faults::default());
    let client = Gnutls {
        suite: Some(CipherSuite::PskAes128CbcSha256),
        options: ":%NO_ETM",
        ..Gnutls::default()
    };
    let _client = client.spawn(server.address);
    assert_eq!(server.failed().0, FailureReason::NoCommonSuite);
    println!("gnutls-cli without encrypt_then_mac, CBC alone: refused");
}

#[test]
fn openssl_negotiates_a_max_fragment_length() {
    let server = Server::start(Faults::default());
    let client = Openssl {
        arguments: &["-maxfraglen", "512"],
        ..Openssl::default()
    };
    client.spawn(server.address).assert_echo();
    println!(
        "openssl s_client, max_fragment_length 512: {}",
        server.established().0
    );
}

#[test]
fn the_handshake_survives_the_loss_of_any_datagram_of_the_server() {
    for lost in 0..3 {
        for (name, suite) in CLIENTS {
            let server = Server::start(Faults {
                lose: Some(lost),
                ..Faults::default()
            });
            let mut client = spawn(name, suite, &server);
            client.assert_echo();
            println!("{name}, server datagram {lost} lost: {}", server.established().0);
        }
    }
}

#[test]
fn the_handshake_survives_duplicates_and_reordering() {
    for (name, suite) in CLIENTS {
        let server = Server::start(Faults {
            duplicate: true,
            ..Faults::default()
        });
        let mut client = spawn(name, suite, &server);
        client.assert_echo();
        println!("{name}, every datagram twice: {}", server.established().0);

        let server = Server::start(Faults {
            swap_records: true,
            ..Faults::default()
        });
        let mut client = spawn(name, suite, &server);
        client.assert_echo();
        println!(
            "{name}, records of each datagram apart and backwards: {}",
            server.established().0
        );
    }
}

#[test]
fn a_wrong_key_and_an_unknown_identity_look_the_same_and_are_told_apart_inside() {
    for name in ["openssl", "gnutls"] {
        let mut sizes = Vec::new();
        for (identity, key, reason) in [
            (IDENTITY, "00ff00ff", FailureReason::WrongKey),
            ("nobody", KEY, FailureReason::UnknownIdentity),
        ] {
            let server = Server::start(Faults::default());
            let client = match name {
                "openssl" => Openssl {
                    identity,
                    key,
                    ..Openssl::default()
                }
                .spawn(server.address),
                _ => Gnutls {
                    identity,
                    key,
                    ..Gnutls::default()
                }
                .spawn(server.address),
            };
            let (refused, whose, datagrams) = server.failed();
            assert_eq!((refused, whose.as_deref()), (reason, Some(identity)));
            sizes.push(datagrams[..2].to_vec());
            drop(client);
            println!("{name}: {}", reason.as_str());
        }
        assert_eq!(sizes[0], sizes[1], "the sizes of what the client was sent");
    }
}

#[test]
fn clients_without_a_suite_of_ours_get_an_alert() {
    let server = Server::start(Faults::default());
    let client = Openssl {
        arguments: &["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        ..Openssl::default()
    };
    let mut client = client.spawn(server.address);
    client.assert_line("alert handshake failure");
    assert_eq!(server.failed().0, FailureReason::NoCommonSuite);

    let server = Server::start(Faults::default());
    let client = Openssl {
        version: "-dtls1",
        arguments: &["-cipher", "ALL:@SECLEVEL=0"],
        ..Openssl::default()
    };
    let mut client = client.spawn(server.address);
    client.assert_line("alert protocol version");
    assert_eq!(server.failed().0, FailureReason::UnsupportedVersion);
}

#[test]
fn a_client_that_was_killed_comes_back_on_the_same_port() {
    let server = Server::start(Faults::default());
    let bind = format!("127.0.0.1:{}", free_port());
    for boot in 0..3 {
        let client = Openssl {
            arguments: &["-bind", &bind],
            ..Openssl::default()
        };
        let mut client = client.spawn(server.address);
        client.assert_echo();
        println!(
            "openssl s_client from one port, boot {boot}: {}",
            server.established().0
        );
        if boot == 1 {
            client.say("Q");
            server.assert_closed();
        }
        client.kill();
    }
}

#[test]
fn our_client_speaks_with_openssls_server() {
    for suite in suites_of("openssl", openssl_name) {
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
                openssl_name(suite).unwrap(),
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
    for suite in suites_of("gnutls", gnutls_cipher) {
        let port = free_port();
        let mut command = Command::new("gnutls-serv");
        command
            .args(["--udp", "--echo", "--pskpasswd"])
            .arg(passwords.path());
        command.args([
            "--priority",
            &gnutls_priority(Some(suite), true),
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
    let (suite, name) = WOLFSSL;
    let port = free_port();
    let mut server = wolfssl("server", port, name);
    server.assert_line("listening");
    let mut client = OurClient::connect(port, suite, true);
    client.send(b"hello from our side");
    assert_eq!(client.receive(), b"hello from our side");
    client.close();
    println!("wolfSSL as a server: {suite}");
}

fn spawn(name: &str, suite: Option<CipherSuite>, server: &Server) -> Tool {
    match name {
        "openssl" => Openssl {
            suite,
            ..Openssl::default()
        }
        .spawn(server.address),
        _ => Gnutls {
            suite,
            ..Gnutls::default()
        }
        .spawn(server.address),
    }
}

fn speak_with(tool: &mut Tool, port: u16, suite: CipherSuite, extended_master_secret: bool) {
    let mut client = OurClient::connect(port, suite, extended_master_secret);
    client.send(b"hello from our side\n");
    tool.assert_line("hello from our side");
    tool.say("hello from theirs");
    assert_eq!(client.receive(), b"hello from theirs\n");
    client.close();
}

/// `openssl s_client`.
struct Openssl<'a> {
    suite: Option<CipherSuite>,
    extended_master_secret: bool,
    version: &'a str,
    identity: &'a str,
    key: &'a str,
    arguments: &'a [&'a str],
}

impl Default for Openssl<'_> {
    fn default() -> Self {
        Self {
            suite: None,
            extended_master_secret: true,
            version: "-dtls1_2",
            identity: IDENTITY,
            key: KEY,
            arguments: &[],
        }
    }
}

impl Openssl<'_> {
    fn spawn(self, server: SocketAddr) -> Tool {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            self.version,
            "-timeout",
            "-connect",
            &server.to_string(),
        ]);
        command.args(["-psk_identity", self.identity, "-psk", self.key]);
        if let Some(suite) = self.suite {
            command.args(["-cipher", openssl_name(suite).unwrap()]);
        }
        command.args(self.arguments);
        let mut config = None;
        if !self.extended_master_secret {
            let file = tempfile::NamedTempFile::new().unwrap();
            let text = "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n\
                        Options = -ExtendedMasterSecret\n";
            std::fs::write(file.path(), text).unwrap();
            command.env("OPENSSL_CONF", file.path());
            config = Some(file);
        }
        let mut tool = Tool::spawn("openssl", command);
        tool.config = config;
        tool
    }
}

/// `gnutls-cli`.
struct Gnutls<'a> {
    suite: Option<CipherSuite>,
    extended_master_secret: bool,
    identity: &'a str,
    key: &'a str,
    /// Added to the priorities.
    options: &'a str,
}

impl Default for Gnutls<'_> {
    fn default() -> Self {
        Self {
            suite: None,
            extended_master_secret: true,
            identity: IDENTITY,
            key: KEY,
            options: "",
        }
    }
}

impl Gnutls<'_> {
    fn spawn(self, server: SocketAddr) -> Tool {
        let mut command = Command::new("gnutls-cli");
        command.args(["--udp", "--pskusername", self.identity, "--pskkey", self.key]);
        let priority = gnutls_priority(self.suite, self.extended_master_secret) + self.options;
        command.args(["--priority", &priority]);
        command.args(["--port", &server.port().to_string(), &server.ip().to_string()]);
        Tool::spawn("gnutls-cli", command)
    }
}

/// A running foreign program; killed when dropped.
struct Tool {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// What it reads for as long as it lives.
    config: Option<tempfile::NamedTempFile>,
}

impl Tool {
    fn spawn(name: &'static str, mut command: Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => panic!("{name} is needed for this test (tests/run installs it): {error}"),
        };
        let (sender, lines) = mpsc::channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        let stdin = child.stdin.take();
        Self {
            name,
            child,
            stdin,
            lines,
            seen: Vec::new(),
            config: None,
        }
    }

    fn say(&mut self, line: &str) {
        // In one write: what these programs read at once they put into one record.
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Ends its input, upon which `gnutls-cli` closes the session.
    fn hang_up(&mut self) {
        self.stdin = None;
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn assert_echo(&mut self) {
        self.say("is there anybody?");
        self.assert_line("is there anybody?");
    }

    fn assert_line(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        if self.seen.iter().any(|line| line.contains(wanted)) {
            return;
        }
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let found = line.contains(wanted);
                    self.seen.push(line);
                    if found {
                        return;
                    }
                }
                Err(_) => panic!(
                    "{} never said {wanted:?}, but:\n{}",
                    self.name,
                    self.seen.join("\n")
                ),
            }
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stream: impl std::io::Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
}

/// What the network does to what the server sends.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// The n-th datagram is lost.
    lose: Option<usize>,
    /// Every datagram is sent twice.
    duplicate: bool,
    /// Every record travels in a datagram of its own, the last one first.
    swap_records: bool,
}

/// An echo server on the core: one thread, one socket.
struct Server {
    address: SocketAddr,
    events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Event {
    Established(CipherSuite, bool),
    Failed(FailureReason, Option<String>, Vec<usize>),
    Closed,
}

impl Server {
    fn start(faults: Faults) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, events) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let timers = Timers {
            deadline: Duration::from_secs(6),
            ..Timers::default()
        };
        let mut state = ServerLoop {
            jar: CookieJar::new([1; 32], Instant::now()),
            config: Arc::new(ServerConfig {
                timers,
                ..ServerConfig::default()
            }),
            address,
            peers: HashMap::new(),
            events: sender,
            faults,
            sent: Vec::new(),
            socket,
        };
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                state.turn();
            }
        });
        Self {
            address,
            events,
            stop,
            thread: Some(thread),
        }
    }

    fn established(&self) -> (CipherSuite, bool) {
        match self.event() {
            Event::Established(suite, extended_master_secret) => (suite, extended_master_secret),
            other => panic!("not established: {other:?}"),
        }
    }

    fn failed(&self) -> (FailureReason, Option<String>, Vec<usize>) {
        match self.event() {
            Event::Failed(reason, identity, datagrams) => (reason, identity, datagrams),
            other => panic!("did not fail: {other:?}"),
        }
    }

    fn assert_closed(&self) {
        let event = self.event();
        assert!(matches!(event, Event::Closed), "{event:?}");
    }

    fn event(&self) -> Event {
        self.events
            .recv_timeout(PATIENCE)
            .expect("the server has something to tell")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

struct ServerLoop {
    jar: CookieJar,
    config: Arc<ServerConfig>,
    address: SocketAddr,
    peers: HashMap<SocketAddr, Peer>,
    events: Sender<Event>,
    faults: Faults,
    /// Sizes of the datagrams sent.
    sent: Vec<usize>,
    socket: UdpSocket,
}

#[derive(Default)]
struct Peer {
    handshake: Option<ServerHandshake>,
    session: Option<Session>,
}

impl ServerLoop {
    fn turn(&mut self) {
        let mut datagram = [0; 2048];
        let received = self.socket.recv_from(&mut datagram);
        let now = Instant::now();
        let mut out = Vec::new();
        if let Ok((len, from)) = received {
            self.handle(now, from, &mut datagram[..len], &mut out);
        }
        for (address, peer) in &mut self.peers {
            let Some(handshake) = &mut peer.handshake else {
                continue;
            };
            if let Some(HandshakeEvent::KeyWanted(identity)) = handshake.poll_event() {
                let key = (identity.as_bytes() == IDENTITY.as_bytes()).then(our_key);
                let mut rng: StdRng = rand::make_rng();
                handshake.provide_key(now, key.as_ref(), &mut rng).unwrap();
            }
            let mut ended = handshake.handle_timeout(now).err();
            loop {
                let mut datagram = Vec::new();
                if !handshake.poll_transmit(&mut datagram) {
                    break;
                }
                out.push((*address, datagram));
            }
            if let Some(HandshakeEvent::Established(established)) = handshake.poll_event() {
                assert_eq!(established.claim.to_string(), IDENTITY);
                let session = established.session;
                let event = Event::Established(session.suite(), session.extended_master_secret());
                self.events.send(event).unwrap();
                peer.session = Some(session);
                peer.handshake = None;
            } else if let Some(failure) = ended.take() {
                let identity = failure.claim().map(Claim::to_string);
                let _ = self
                    .events
                    .send(Event::Failed(failure.reason(), identity, self.sent.clone()));
                peer.handshake = None;
            }
        }
        for (address, datagram) in out {
            self.send(address, datagram);
        }
    }

    fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Vec<(SocketAddr, Vec<u8>)>,
    ) {
        let mut reply = Vec::new();
        match self.jar.admit(now, from, self.address, datagram, &mut reply) {
            Admission::Challenged => return out.push((from, reply)),
            Admission::Dropped(reason) => panic!("a hello was dropped: {reason:?}"),
            Admission::Verified(hello) => {
                let peer = self.peers.entry(from).or_default();
                if let Some(handshake) = peer
                    .handshake
                    .as_mut()
                    .filter(|handshake| handshake.began_with(&hello))
                {
                    return handshake.handle_datagram(now, datagram).unwrap();
                }
                let mut rng: StdRng = rand::make_rng();
                match ServerHandshake::new(&self.config, hello, None, now, &mut rng) {
                    Ok(handshake) => peer.handshake = Some(handshake),
                    Err(failure) => {
                        out.push((from, failure.alert().unwrap().to_vec()));
                        self.events
                            .send(Event::Failed(failure.reason(), None, Vec::new()))
                            .unwrap();
                    }
                }
                return;
            }
            Admission::NotAClientHello => {}
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if let Some(handshake) = &mut peer.handshake {
            handshake.handle_datagram(now, datagram).unwrap();
            return;
        }
        let Some(session) = &mut peer.session else { return };
        let mut over = false;
        for record in records(datagram) {
            let mut answer = Vec::new();
            match session.handle_record(record) {
                Incoming::Data { message, .. } => {
                    let data = message.to_vec();
                    session.seal(&data, &mut answer).unwrap();
                }
                Incoming::ResendFlight => answer.extend(session.last_flight().flatten()),
                Incoming::Closed => {
                    session.close(&mut answer);
                    over = true;
                }
                Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
            }
            if !answer.is_empty() {
                out.push((from, answer));
            }
        }
        if over {
            peer.session = None;
            let _ = self.events.send(Event::Closed);
        }
    }

    fn send(&mut self, to: SocketAddr, mut datagram: Vec<u8>) {
        let nth = self.sent.len();
        self.sent.push(datagram.len());
        if self.faults.lose == Some(nth) {
            return;
        }
        let mut datagrams = vec![datagram.clone()];
        if self.faults.swap_records {
            datagrams = records(&mut datagram).map(|record| record.to_vec()).collect();
            datagrams.reverse();
        }
        for datagram in datagrams {
            for _ in 0..if self.faults.duplicate { 2 } else { 1 } {
                self.socket.send_to(&datagram, to).unwrap();
            }
        }
    }
}

/// Our client half on a socket of its own.
struct OurClient {
    socket: UdpSocket,
    session: Session,
}

impl OurClient {
    fn connect(port: u16, suite: CipherSuite, extended_master_secret: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let config = Arc::new(ClientConfig {
            suites: vec![suite],
            extended_master_secret,
            ..ClientConfig::default()
        });
        let identity = Identity::new(IDENTITY.as_bytes()).unwrap();
        let mut rng: StdRng = StdRng::seed_from_u64(u64::from(port));
        let start = Instant::now();
        let mut handshake = ClientHandshake::new(&config, identity, our_key(), start, &mut rng);
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
                assert_eq!(
                    (session.suite(), session.extended_master_secret()),
                    (suite, extended_master_secret)
                );
                return Self { socket, session };
            }
        }
        panic!("no handshake with port {port}");
    }

    fn send(&mut self, data: &[u8]) {
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

fn our_key() -> Psk {
    Psk::new(&data_encoding::HEXLOWER.decode(KEY.as_bytes()).unwrap()).unwrap()
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The suites with pre-shared keys that a program has, and a line about each that it lacks.
#[expect(clippy::print_stdout, reason = "it is part of what the tests print")]
fn suites_of(program: &str, name: fn(CipherSuite) -> Option<&'static str>) -> Vec<CipherSuite> {
    let (has, lacks): (Vec<_>, Vec<_>) = CipherSuite::ALL
        .into_iter()
        .filter(|suite| suite.has_psk())
        .partition(|suite| name(*suite).is_some());
    for suite in lacks {
        println!("{program}: not with {suite}, which it does not have");
    }
    has
}

fn openssl_name(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::PskAes128GcmSha256 => Some("PSK-AES128-GCM-SHA256"),
        CipherSuite::PskAes128Ccm => Some("PSK-AES128-CCM"),
        CipherSuite::PskAes128Ccm8 => Some("PSK-AES128-CCM8"),
        CipherSuite::PskAes128CbcSha256 => Some("PSK-AES128-CBC-SHA256"),
        CipherSuite::EcdhePskAes128GcmSha256
        | CipherSuite::EcdhePskAes128CcmSha256
        | CipherSuite::EcdheEcdsaAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes128Ccm
        | CipherSuite::EcdheEcdsaAes128Ccm8 => None,
    }
}

fn gnutls_cipher(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::PskAes128GcmSha256 => Some("+AES-128-GCM"),
        CipherSuite::PskAes128Ccm => Some("+AES-128-CCM"),
        CipherSuite::PskAes128Ccm8 => Some("+AES-128-CCM-8"),
        CipherSuite::PskAes128CbcSha256 => Some("+AES-128-CBC:-MAC-ALL:+SHA256"),
        CipherSuite::EcdhePskAes128GcmSha256
        | CipherSuite::EcdhePskAes128CcmSha256
        | CipherSuite::EcdheEcdsaAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes128Ccm
        | CipherSuite::EcdheEcdsaAes128Ccm8 => None,
    }
}

fn gnutls_priority(suite: Option<CipherSuite>, extended_master_secret: bool) -> String {
    let ciphers = suite
        .and_then(gnutls_cipher)
        .map_or_else(String::new, |cipher| format!(":-CIPHER-ALL:{cipher}"));
    let session_hash = if extended_master_secret {
        ""
    } else {
        ":%NO_SESSION_HASH"
    };
    format!("NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+PSK{ciphers}{session_hash}")
}

/// wolfSSL by way of a script, as nothing of it comes as a program.
fn wolfssl(role: &str, port: u16, suites: &str) -> Tool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/wolfssl.py");
    let mut command = Command::new("python3");
    command.args([script, role, &port.to_string(), IDENTITY, KEY, suites]);
    Tool::spawn("wolfssl.py", command)
}

/// The one suite of ours that Debian's wolfSSL has.
const WOLFSSL: (CipherSuite, &str) = (
    CipherSuite::EcdhePskAes128GcmSha256,
    "ECDHE-PSK-AES128-GCM-SHA256",
);
const IDENTITY: &str = "device-id@project-id";
const KEY: &str = "73656372657420736563726574";
/// Clients for what the network does: with whatever they want first, and in CBC.
const CLIENTS: [(&str, Option<CipherSuite>); 4] = [
    ("openssl", None),
    ("openssl", Some(CipherSuite::PskAes128CbcSha256)),
    ("gnutls", None),
    ("gnutls", Some(CipherSuite::PskAes128CbcSha256)),
];
/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);
