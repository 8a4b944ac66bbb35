//! Certificates with foreign implementations: those that `openssl` makes, the clients of OpenSSL, GnuTLS and libcoap with them
//! against our server half, and OpenSSL's server against our client half. Each cell prints the suite agreed on.
//!
//! A missing tool fails the test: `tests/run` installs them.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use support::certificates::{Ca, Issued, Kind};
use tessera::dtls::{
    Admission, CertifiedKey, ChainFault, CipherSuite, Claim, ClientConfig, ClientCredential, ClientHandshake,
    CookieJar, FailureReason, HandshakeEvent, Incoming, KeyDigest, ServerConfig, ServerHandshake,
    ServerTrust, Session, Timers, TrustAnchors, records, verify_chain,
};

#[test]
fn each_suite_is_agreed_on_with_openssl_and_a_certificate_of_either_version() {
    let world = World::new();
    for (name, kind) in [("version 1", Kind::Version1), ("version 3", CLIENT)] {
        let device = world.devices.issue("device", "/O=acme/CN=lamp-1", kind, 30);
        for suite in SUITES {
            let server = Server::start(world.config(), Some(world.anchors()));
            let mut client = openssl(&server, &["-cipher", openssl_name(suite)], Some(&device));
            client.assert_echo();
            assert_eq!(server.established(), (suite, true, Some("lamp-1".into())));
            client.say("Q");
            println!("openssl s_client, a certificate of {name}: {suite}");
        }
    }
}

#[test]
fn openssl_agrees_without_extended_master_secret() {
    let world = World::new();
    let device = world.device();
    let server = Server::start(world.config(), Some(world.anchors()));
    let config = world.devices.folder().join("openssl.cnf");
    let text = "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n\
                Options = -ExtendedMasterSecret\n";
    std::fs::write(&config, text).unwrap();
    let mut command = openssl_command(&server, &[], Some(&device));
    command.env("OPENSSL_CONF", &config);
    let mut client = Tool::spawn("openssl", command);
    client.assert_echo();
    let (suite, extended_master_secret, _) = server.established();
    assert!(!extended_master_secret);
    println!("openssl s_client without extended master secret: {suite}");
}

#[test]
fn openssl_believes_our_server_and_hears_why_it_is_refused() {
    let world = World::new();
    let stranger = Ca::new("/O=acme/CN=Device CA");
    let of_stranger = stranger.issue("device", "/O=acme/CN=lamp-1", CLIENT, 30);
    let cases = [
        (None, ChainFault::NoCertificate, "alert handshake failure"),
        (Some(of_stranger), ChainFault::Untrusted, "alert unknown ca"),
        (
            Some(
                world
                    .devices
                    .issue("expired", "/O=acme/CN=lamp-1", Kind::Version1, -1),
            ),
            ChainFault::Expired,
            "alert certificate expired",
        ),
        (
            Some(world.devices.issue(
                "server",
                "/O=acme/CN=lamp-1",
                Kind::Version3("extendedKeyUsage=serverAuth"),
                30,
            )),
            ChainFault::NotForClientUse,
            "alert unsupported certificate",
        ),
    ];
    for (device, fault, told) in cases {
        let server = Server::start(world.config(), Some(world.anchors()));
        let ca = world.gateway.certificate();
        let arguments = [
            "-cipher",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "-CAfile",
            ca.to_str().unwrap(),
        ];
        let mut client = openssl(&server, &arguments, device.as_ref());
        client.assert_line("Verification: OK");
        client.assert_line(told);
        assert_eq!(server.failed(), FailureReason::Certificate(fault));
        println!("openssl s_client, {}: {told}", fault.as_str());
    }
}

#[test]
fn openssl_that_offers_everything_gets_its_pre_shared_key_or_its_certificate() {
    let world = World::new();
    let server = Server::start(world.config(), Some(world.anchors()));
    let mut client = openssl(&server, &[], Some(&world.device()));
    client.assert_echo();
    println!(
        "openssl s_client, its whole list and a certificate: {}",
        server.established().0
    );

    // With -psk it offers those suites among all others; s_client without a certificate.
    let server = Server::start(world.config(), Some(world.anchors()));
    let _client = openssl(&server, &["-psk_identity", "somebody", "-psk", "0011"], None);
    assert_eq!(server.wanted(), "somebody");
}

#[test]
fn each_suite_is_agreed_on_with_gnutls_and_x509_although_it_lists_raw_keys_first() {
    let world = World::new();
    let device = world.device();
    for (suite, cipher) in SUITES
        .into_iter()
        .zip(["+AES-128-GCM", "+AES-128-CCM", "+AES-128-CCM-8"])
    {
        for types in ["", ":-CTYPE-ALL:+CTYPE-RAWPK:+CTYPE-X509"] {
            let server = Server::start(world.config(), Some(world.anchors()));
            let priority = format!("{GNUTLS}:-CIPHER-ALL:{cipher}{types}");
            let mut command = gnutls(&server, &priority);
            command.arg("--x509certfile").arg(&device.certificate);
            command.arg("--x509keyfile").arg(&device.key);
            let mut client = Tool::spawn("gnutls-cli", command);
            client.assert_echo();
            assert_eq!(server.established(), (suite, true, Some("lamp-1".into())));
            println!("gnutls-cli, X.509, types {types:?}: {suite}");
        }
    }
}

#[test]
fn gnutls_without_extended_master_secret_and_without_a_certificate() {
    let world = World::new();
    let device = world.device();
    let server = Server::start(world.config(), Some(world.anchors()));
    let mut command = gnutls(&server, &format!("{GNUTLS}:%NO_SESSION_HASH"));
    command.arg("--x509certfile").arg(&device.certificate);
    command.arg("--x509keyfile").arg(&device.key);
    let mut client = Tool::spawn("gnutls-cli", command);
    client.assert_echo();
    let (suite, extended_master_secret, _) = server.established();
    assert!(!extended_master_secret);
    println!("gnutls-cli without extended master secret: {suite}");

    let server = Server::start(world.config(), Some(world.anchors()));
    let _client = Tool::spawn("gnutls-cli", gnutls(&server, GNUTLS));
    assert_eq!(
        server.failed(),
        FailureReason::Certificate(ChainFault::NoCertificate)
    );
}

#[test]
fn gnutls_proves_a_raw_key_where_the_listener_takes_them() {
    let world = World::new();
    let device = world.device();
    let (key, public) = (
        device.key.to_str().unwrap(),
        world.devices.folder().join("device.pub"),
    );
    world
        .devices
        .openssl(&["pkey", "-in", key, "-pubout", "-out", public.to_str().unwrap()]);
    let der = world
        .devices
        .openssl(&["pkey", "-in", key, "-pubout", "-outform", "DER"]);
    for on in [true, false] {
        let config = ServerConfig {
            raw_public_keys: on,
            ..world.config()
        };
        let server = Server::start(config, None);
        let mut command = gnutls(&server, &format!("{GNUTLS}:-CTYPE-ALL:+CTYPE-RAWPK"));
        command
            .arg("--rawpkfile")
            .arg(&public)
            .arg("--rawpkkeyfile")
            .arg(&device.key);
        let mut client = Tool::spawn("gnutls-cli", command);
        if on {
            client.assert_echo();
            let (suite, _, name) = server.established();
            assert_eq!(name, Some(KeyDigest::of(&der).to_string()));
            println!("gnutls-cli, a raw public key: {suite}");
        } else {
            assert_eq!(
                server.failed(),
                FailureReason::Certificate(ChainFault::Unsupported)
            );
        }
    }
}

#[test]
fn libcoaps_clients_shake_hands_with_certificates() {
    let world = World::new();
    for program in ["coap-client-openssl", "coap-client-gnutls"] {
        for kind in [Kind::Version1, CLIENT] {
            let device = world.devices.issue("device", "/O=acme/CN=lamp-1", kind, 30);
            let server = Server::start(world.config(), Some(world.anchors()));
            let mut command = Command::new(program);
            command.args(["-B", "5", "-n", "-c"]).arg(&device.certificate);
            command.arg("-j").arg(&device.key);
            command.arg("-C").arg(world.gateway.certificate());
            command.arg(format!("coaps://{}/x", server.address));
            let _client = Tool::spawn(program, command);
            let (suite, _, name) = server.established();
            assert_eq!(name.as_deref(), Some("lamp-1"));
            println!("{program}, {kind:?}: {suite}");
        }
    }
}

#[test]
fn a_long_chain_arrives_whichever_datagram_of_the_server_is_lost() {
    let world = World::new();
    let device = world.device();
    let config = ServerConfig {
        certificate: Some(Arc::new(world.long_chain())),
        ..world.config()
    };
    for lost in 0..5 {
        let server = Server::start_losing(config.clone(), Some(world.anchors()), Some(lost));
        let mut client = openssl(&server, &["-cipher", "ECDHE-ECDSA-AES128-CCM8"], Some(&device));
        client.assert_echo();
        println!(
            "openssl s_client, a long chain, server datagram {lost} lost: {}",
            server.established().0
        );

        let server = Server::start_losing(config.clone(), Some(world.anchors()), Some(lost));
        let mut command = gnutls(&server, GNUTLS);
        command.arg("--x509certfile").arg(&device.certificate);
        command.arg("--x509keyfile").arg(&device.key);
        let mut client = Tool::spawn("gnutls-cli", command);
        client.assert_echo();
        println!(
            "gnutls-cli, a long chain, server datagram {lost} lost: {}",
            server.established().0
        );
    }
}

#[test]
fn openssls_server_believes_our_client() {
    let world = World::new();
    for suite in SUITES {
        for extended_master_secret in [true, false] {
            let port = UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let gateway = world
                .gateway
                .issue("gateway", "/CN=gateway.example", Kind::Version3(""), 30);
            let mut command = Command::new("openssl");
            command.args([
                "s_server",
                "-dtls1_2",
                "-listen",
                "-Verify",
                "1",
                "-verify_return_error",
            ]);
            command
                .arg("-cert")
                .arg(&gateway.certificate)
                .arg("-key")
                .arg(&gateway.key);
            command.arg("-CAfile").arg(world.devices.certificate());
            command.args(["-cipher", openssl_name(suite), "-port", &port.to_string()]);
            let mut tool = Tool::spawn("openssl", command);
            tool.assert_line("ACCEPT");
            let config = ClientConfig {
                suites: vec![suite],
                extended_master_secret,
                trust: ServerTrust::Anchors {
                    anchors: Arc::new(anchors_in(&world.gateway.certificate())),
                    unix_s: unix_s(),
                },
                ..ClientConfig::default()
            };
            let (socket, mut session) = connect(port, config, read(&world.device()));
            let mut out = Vec::new();
            session.seal(b"hello from our side\n", &mut out).unwrap();
            socket.send(&out).unwrap();
            tool.assert_line("hello from our side");
            assert_eq!(session.suite(), suite);
            assert_eq!(session.extended_master_secret(), extended_master_secret);
            println!("openssl s_server: {suite}, extended master secret {extended_master_secret}");
        }
    }
}

#[test]
fn version_1_certificates_are_leaves_and_never_issuers() {
    let ca = Ca::new("/O=acme/CN=Device CA");
    let sub = ca.issue("sub", "/O=acme/CN=Sub", Kind::Version1, 30);
    ca.issue("lamp", "/O=acme/CN=lamp-1", Kind::Version1, 30);
    // The lamp's again, issued by the version 1 certificate.
    ca.openssl(&[
        "x509",
        "-req",
        "-in",
        "lamp.csr",
        "-CA",
        "sub.pem",
        "-CAkey",
        "sub.key",
        "-days",
        "30",
        "-out",
        "below.pem",
    ]);
    let text = |name: &str| std::fs::read(ca.folder().join(name)).unwrap();
    let anchors = anchors_in(&ca.certificate());
    let judge = |chain: &[u8], key: &str| {
        let own = CertifiedKey::from_pem(chain, &text(key)).unwrap();
        let chain = tessera::dtls::PeerChain::new(own.chain().to_vec()).unwrap();
        verify_chain(&chain, &anchors, unix_s()).map(|(facts, anchor)| (facts.common_name, anchor))
    };
    let printed = ca.openssl(&["x509", "-in", "lamp.pem", "-noout", "-text"]);
    assert!(
        String::from_utf8_lossy(&printed).contains("Version: 1 "),
        "as this openssl makes them"
    );
    assert_eq!(
        judge(&text("lamp.pem"), "lamp.key"),
        Ok((Some("lamp-1".into()), 0))
    );
    let below = [text("below.pem"), std::fs::read(sub.certificate).unwrap()].concat();
    assert_eq!(judge(&below, "lamp.key"), Err(ChainFault::Untrusted));
    assert_eq!(judge(&text("below.pem"), "lamp.key"), Err(ChainFault::Untrusted));
}

/// Two CAs: of devices, and of the gateway.
struct World {
    devices: Ca,
    gateway: Ca,
    shown: Arc<CertifiedKey>,
}

impl World {
    fn new() -> Self {
        let gateway = Ca::new("/CN=Gateway CA");
        let shown = gateway.issue(
            "gateway",
            "/CN=gateway.example",
            Kind::Version3("basicConstraints=CA:FALSE"),
            30,
        );
        Self {
            devices: Ca::new("/O=acme/CN=Device CA"),
            shown: Arc::new(read(&shown)),
            gateway,
        }
    }

    fn device(&self) -> Issued {
        self.devices.issue("device", "/O=acme/CN=lamp-1", CLIENT, 30)
    }

    fn anchors(&self) -> TrustAnchors {
        anchors_in(&self.devices.certificate())
    }

    fn config(&self) -> ServerConfig {
        ServerConfig {
            certificate: Some(self.shown.clone()),
            timers: Timers {
                deadline: PATIENCE,
                ..Timers::default()
            },
            ..ServerConfig::default()
        }
    }

    /// The gateway's certificate and so many others that the flight fills four datagrams.
    fn long_chain(&self) -> CertifiedKey {
        let text = |path: &Path| std::fs::read(path).unwrap();
        let leaf = self
            .gateway
            .issue("leaf", "/CN=gateway.example", Kind::Version3(""), 30);
        let others = text(&self.gateway.certificate()).repeat(7);
        let own =
            CertifiedKey::from_pem(&[text(&leaf.certificate), others].concat(), &text(&leaf.key)).unwrap();
        assert!(own.chain().iter().map(Vec::len).sum::<usize>() > 3000);
        own
    }
}

fn anchors_in(path: &Path) -> TrustAnchors {
    TrustAnchors::from_pem(&std::fs::read(path).unwrap()).unwrap()
}

fn read(issued: &Issued) -> CertifiedKey {
    let text = |path: &Path| std::fs::read(path).unwrap();
    CertifiedKey::from_pem(&text(&issued.certificate), &text(&issued.key)).unwrap()
}

fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn openssl_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::EcdheEcdsaAes128GcmSha256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::EcdheEcdsaAes128Ccm => "ECDHE-ECDSA-AES128-CCM",
        CipherSuite::EcdheEcdsaAes128Ccm8 => "ECDHE-ECDSA-AES128-CCM8",
        other => panic!("{other} has no certificates"),
    }
}

fn openssl_command(server: &Server, arguments: &[&str], device: Option<&Issued>) -> Command {
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-dtls1_2",
        "-timeout",
        "-connect",
        &server.address.to_string(),
    ]);
    command.args(arguments);
    if let Some(device) = device {
        command
            .arg("-cert")
            .arg(&device.certificate)
            .arg("-key")
            .arg(&device.key);
    }
    command
}

fn openssl(server: &Server, arguments: &[&str], device: Option<&Issued>) -> Tool {
    Tool::spawn("openssl", openssl_command(server, arguments, device))
}

fn gnutls(server: &Server, priority: &str) -> Command {
    let mut command = Command::new("gnutls-cli");
    command.args(["--udp", "--insecure", "--priority", priority, "--port"]);
    command.args([&server.address.port().to_string(), "127.0.0.1"]);
    command
}

/// A foreign program and what it says.
struct Tool {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    seen: Vec<String>,
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
        let stdin = child.stdin.take().unwrap();
        Self {
            name,
            child,
            stdin,
            lines,
            seen: Vec::new(),
        }
    }

    fn say(&mut self, line: &str) {
        // In one write: what these programs read at once they put into one record.
        self.stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn assert_echo(&mut self) {
        self.say("is there anybody?");
        self.assert_line("is there anybody?");
    }

    fn assert_line(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.iter().any(|line| line.contains(wanted)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
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

fn read_lines(source: impl std::io::Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(source);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
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
    KeyWanted(String),
    Established(CipherSuite, bool, Option<String>),
    Failed(FailureReason),
}

struct ServerLoop {
    jar: CookieJar,
    config: Arc<ServerConfig>,
    /// Without them every bare key is taken.
    anchors: Option<TrustAnchors>,
    address: SocketAddr,
    peers: HashMap<SocketAddr, Peer>,
    events: Sender<Event>,
    lose: Option<usize>,
    sent: usize,
    socket: UdpSocket,
}

enum Peer {
    Handshaking(Box<ServerHandshake>),
    Established(Box<Session>),
}

impl Server {
    fn start(config: ServerConfig, anchors: Option<TrustAnchors>) -> Self {
        Self::start_losing(config, anchors, None)
    }

    /// The n-th datagram that it sends is lost.
    fn start_losing(config: ServerConfig, anchors: Option<TrustAnchors>, lose: Option<usize>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, events) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut state = ServerLoop {
            jar: CookieJar::new([1; 32], Instant::now()),
            config: Arc::new(config),
            anchors,
            address,
            peers: HashMap::new(),
            events: sender,
            lose,
            sent: 0,
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

    /// The suite, whether with extended master secret, and the CN or the key's digest.
    fn established(&self) -> (CipherSuite, bool, Option<String>) {
        match self.event() {
            Event::Established(suite, extended_master_secret, name) => (suite, extended_master_secret, name),
            other => panic!("not established: {other:?}"),
        }
    }

    fn failed(&self) -> FailureReason {
        match self.event() {
            Event::Failed(reason) => reason,
            other => panic!("did not fail: {other:?}"),
        }
    }

    fn wanted(&self) -> String {
        match self.event() {
            Event::KeyWanted(identity) => identity,
            other => panic!("no key wanted: {other:?}"),
        }
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

impl ServerLoop {
    fn turn(&mut self) {
        let mut datagram = [0; 2048];
        let received = self.socket.recv_from(&mut datagram);
        let now = Instant::now();
        if let Ok((len, from)) = received {
            self.handle(now, from, &mut datagram[..len]);
        }
        let addresses: Vec<SocketAddr> = self.peers.keys().copied().collect();
        for address in addresses {
            self.drive(now, address);
        }
    }

    fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let mut reply = Vec::new();
        match self.jar.admit(now, from, self.address, datagram, &mut reply) {
            Admission::Challenged => return self.send(from, &reply),
            Admission::Dropped(reason) => panic!("a hello was dropped: {reason:?}"),
            Admission::Verified(hello) => {
                let began = match self.peers.get(&from) {
                    Some(Peer::Handshaking(handshake)) => handshake.began_with(&hello),
                    Some(Peer::Established(_)) | None => false,
                };
                if !began {
                    let mut rng: StdRng = rand::make_rng();
                    match ServerHandshake::new(&self.config, hello, None, now, &mut rng) {
                        Ok(handshake) => {
                            self.peers.insert(from, Peer::Handshaking(Box::new(handshake)));
                        }
                        Err(failure) => self.fail(from, failure.alert(), failure.reason()),
                    }
                    return;
                }
            }
            Admission::NotAClientHello => {}
        }
        match self.peers.get_mut(&from) {
            Some(Peer::Handshaking(handshake)) => {
                if let Err(failure) = handshake.handle_datagram(now, datagram) {
                    self.fail(from, failure.alert(), failure.reason());
                }
            }
            Some(Peer::Established(session)) => {
                let mut answers = Vec::new();
                for record in records(datagram) {
                    let mut answer = Vec::new();
                    match session.handle_record(record) {
                        Incoming::Data { message, .. } => {
                            let data = message.to_vec();
                            session.seal(&data, &mut answer).unwrap();
                        }
                        Incoming::ResendFlight => answer.extend(session.last_flight().flatten()),
                        Incoming::Closed => session.close(&mut answer),
                        Incoming::PathChallenge(_) | Incoming::Ignored(_) => {}
                    }
                    answers.push(answer);
                }
                for answer in answers.into_iter().filter(|answer| !answer.is_empty()) {
                    self.send(from, &answer);
                }
            }
            None => {}
        }
    }

    fn drive(&mut self, now: Instant, address: SocketAddr) {
        let Some(Peer::Handshaking(handshake)) = self.peers.get_mut(&address) else {
            return;
        };
        let mut outcome = handshake.handle_timeout(now);
        let mut established = None;
        while let Some(event) = handshake.poll_event() {
            match event {
                HandshakeEvent::KeyWanted(identity) => {
                    let _ = self.events.send(Event::KeyWanted(identity.to_string()));
                }
                HandshakeEvent::ChainPresented(chain) => {
                    let anchors = self.anchors.as_ref().expect("anchors for a chain");
                    outcome = match verify_chain(&chain, anchors, unix_s()) {
                        Ok(_) => handshake.accept_peer(now),
                        Err(fault) => Err(handshake.refuse_peer(fault)),
                    };
                }
                HandshakeEvent::RawKeyPresented(_) => outcome = handshake.accept_peer(now),
                HandshakeEvent::Established(session) => established = Some(session),
            }
        }
        let mut datagrams = Vec::new();
        loop {
            let mut datagram = Vec::new();
            if !handshake.poll_transmit(&mut datagram) {
                break;
            }
            datagrams.push(datagram);
        }
        if let Some(established) = established {
            let session = established.session;
            let name = match established.claim {
                Claim::Certificate(facts) => facts.common_name.map(String::from),
                Claim::RawKey(digest) => Some(digest.to_string()),
                Claim::Psk(identity) => Some(identity.to_string()),
            };
            let event = Event::Established(session.suite(), session.extended_master_secret(), name);
            let _ = self.events.send(event);
            self.peers.insert(address, Peer::Established(Box::new(session)));
        }
        for datagram in datagrams {
            self.send(address, &datagram);
        }
        if let Err(failure) = outcome {
            self.fail(address, failure.alert(), failure.reason());
        }
    }

    fn fail(&mut self, to: SocketAddr, alert: Option<&[u8]>, reason: FailureReason) {
        if let Some(alert) = alert {
            self.send(to, alert);
        }
        self.peers.remove(&to);
        let _ = self.events.send(Event::Failed(reason));
    }

    fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        let nth = self.sent;
        self.sent += 1;
        if self.lose != Some(nth) {
            self.socket.send_to(datagram, to).unwrap();
        }
    }
}

/// Our client half, on a socket of its own.
fn connect(port: u16, config: ClientConfig, own: CertifiedKey) -> (UdpSocket, Session) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut rng: StdRng = rand::make_rng();
    let start = Instant::now();
    let credential = ClientCredential::Certificate(Arc::new(own));
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
            return (socket, established.session);
        }
    }
    panic!("no handshake with port {port}");
}

/// The suites with certificates.
const SUITES: [CipherSuite; 3] = [
    CipherSuite::EcdheEcdsaAes128GcmSha256,
    CipherSuite::EcdheEcdsaAes128Ccm,
    CipherSuite::EcdheEcdsaAes128Ccm8,
];
const CLIENT: Kind<'static> = Kind::Version3("basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n");
const GNUTLS: &str = "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+ECDHE-ECDSA:-GROUP-ALL:+GROUP-SECP256R1";
/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);
