//! Devices with certificates against a real `tessera serve`: the certificates are made by plain `openssl`, the devices are
//! libcoap's client, `openssl s_client` and the simulated one.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::{CoapClient, KEY, PATIENCE, Server, eventually, noise, sha256_hex, tessera};
use tempfile::TempDir;
use tessera::virtual_device::{
    CertifiedKey, CipherSuite, ClientConfig, ClientCredential, Ending, Event, Model, Pace, Port, Reason,
    ServerTrust, TrustAnchors, VirtualDevice,
};

#[test]
fn a_device_is_let_in_by_a_certificate_of_a_believed_ca_until_it_is_revoked() {
    let pki = Pki::new();
    let server = pki.server();
    let (plain, full, other) = (
        // As the SDK's own scripts make them: of X.509 version 1.
        pki.leaf("plain", "/O=default/CN=lamp-1", "factory", &[]),
        pki.leaf("full", "/O=default/CN=lamp-2", "factory", &pki.for_clients()),
        pki.leaf("other", "/O=default/CN=lamp-2", "factory", &[]),
    );
    assert!(pki.get(&server, &plain).0.is_empty(), "nobody vouches for it yet");
    done(&server, &["ca", "add", pki.path("factory.pem").to_str().unwrap()]);
    for name in ["lamp-1", "lamp-2"] {
        done(&server, &["device", "create", name, "--without-credential"]);
    }
    for leaf in [&plain, &full, &other] {
        let (body, said) = pki.get(&server, leaf);
        assert_eq!(body, b"{}", "{leaf:?}: {said}\n{}", server.log());
    }

    // A device with a pre-shared key, on the same socket.
    let psk = server.device("lamp-3", "lamps");
    let (body, said) = CoapClient::OpenSsl.run(&server, &psk, &["-A", "60"], "/.u/desired");
    assert_eq!(body, [0xA0], "{said}");

    let observer = pki.observe(&server, &full);
    let session = eventually("it is connected", || session_of(&server, "lamp-2"));
    assert_eq!(session["credentialType"], "certificate", "{session:#}");
    let suite = session["cipherSuite"].as_str().unwrap();
    assert!(suite.starts_with("TLS_ECDHE_ECDSA_WITH_AES_128_"), "{suite}");

    // Its session is kept over a restart, as any other.
    let mut server = server;
    server.kill();
    server.start_again();
    let restored = eventually("the session is there again", || session_of(&server, "lamp-2"));
    assert_eq!(restored["credential"], session["credential"]);

    let sha256 = pki.sha256(&full);
    let remove = ["device", "credential", "remove", "lamp-2", &sha256];
    let refused = ran(&server, &remove);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("for good") && said.contains("--yes"), "{said}");
    assert!(session_of(&server, "lamp-2").is_some(), "nothing was revoked");
    done(&server, &[&remove[..], &["--yes"]].concat());
    eventually("the session ends", || {
        session_of(&server, "lamp-2").is_none().then_some(())
    });
    drop(observer);
    let (body, said) = pki.get(&server, &full);
    assert!(body.is_empty(), "it is revoked: {said}");
    let failure = failure(&server, "certificateRevoked");
    assert_eq!(failure["certificate"]["sha256"], pki.sha256(&full));
    assert_eq!(failure["device"]["name"], "lamp-2");
    let (body, said) = pki.get(&server, &other);
    assert_eq!(
        body, b"{}",
        "another certificate of the same device is as good as before: {said}"
    );
}

#[test]
fn zero_touch_makes_devices_and_everybody_else_is_refused_for_a_reason_that_is_told() {
    let pki = Pki::new();
    let server = pki.server();
    done(&server, &["cohort", "create", "lamps"]);
    let ca = pki.path("factory.pem");
    let added = ran(&server, &["ca", "add", ca.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert!(added.status.success() && !said.contains("already"), "{said}");
    let newcomer = pki.leaf("newcomer", "/O=default/CN=lamp-9", "factory", &pki.for_clients());
    let again = ran(&server, &["ca", "add", ca.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success(), "{said}");
    assert!(said.contains("was there already, as factory"), "{said}");
    assert!(pki.get(&server, &newcomer).0.is_empty());
    let told = failure(&server, "unknownDevice");
    assert_eq!(told["certificate"]["commonName"], "lamp-9");
    assert_eq!(told["device"], Value::Null);
    let advice = told["text"].as_str().unwrap();
    assert!(advice.contains("create lamp-9 --without-credential"), "{advice}");

    done(&server, &["ca", "remove", "factory", "--yes"]);
    let binary = pki.path("factory.der");
    let convert = ["x509", "-in", ca.to_str().unwrap(), "-outform", "DER", "-out"];
    let converted = Command::new("openssl").args(convert).arg(&binary).status();
    assert!(converted.unwrap().success());
    let refused = ran(&server, &["ca", "add", binary.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("is not PEM"), "{said}");
    // However long it is.
    fs::write(&binary, vec![0xff; 400_000]).unwrap();
    let refused = ran(&server, &["ca", "add", binary.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("is not PEM"), "{said}");
    let add = [
        "ca",
        "add",
        ca.to_str().unwrap(),
        "--zero-touch",
        "--cohort",
        "lamps",
    ];
    done(&server, &add);
    let (body, said) = pki.get(&server, &newcomer);
    assert_eq!(body, b"{}", "{said}\n{}", server.log());
    let made = server.done("GET", "devices/lamp-9", Value::Null);
    assert_eq!(made["cohort"]["name"], "lamps");
    assert_eq!(made["credentials"][0]["sha256"], pki.sha256(&newcomer));
    assert_eq!(made["credentials"][0]["pinned"], false);

    let foreign = pki.leaf("foreign", "/O=default/CN=lamp-9", "stranger", &[]);
    let tenant = pki.leaf("tenant", "/O=elsewhere/CN=lamp-9", "factory", &[]);
    let expired = pki.leaf("expired", "/O=default/CN=lamp-9", "factory", &["-days", "-1"]);
    let for_servers = pki.extensions("server.ext", "extendedKeyUsage=serverAuth\n");
    let for_servers = pki.leaf("server-use", "/O=default/CN=lamp-9", "factory", &for_servers);
    for (leaf, reason) in [
        (&foreign, "certificateUntrusted"),
        (&tenant, "unknownDevice"),
        (&expired, "certificateExpired"),
        (&for_servers, "certificateNotForClients"),
    ] {
        let (body, said) = pki.get(&server, leaf);
        assert!(body.is_empty(), "{leaf:?}: {said}");
        // It is noted beside the handshake, and may come after the client's end.
        eventually("who was refused is told", || {
            let told = failure(&server, reason);
            (told["certificate"]["sha256"] == pki.sha256(leaf)).then_some(())
        });
    }
    let without = pki.s_client(&server, &[]);
    assert!(without.contains("handshake failure"), "{without}");
    failure(&server, "noCertificate");
    let listed = done(&server, &["session", "failures", "--identity", "lamp-9"]);
    assert!(listed.contains("certificateNotForClients"), "{listed}");
    assert!(listed.contains("O=elsewhere, CN=lamp-9"), "{listed}");
}

#[test]
fn a_ca_that_is_removed_ends_the_sessions_that_it_opened() {
    let pki = Pki::new();
    let server = pki.server();
    done(
        &server,
        &[
            "ca",
            "add",
            pki.path("factory.pem").to_str().unwrap(),
            "--zero-touch",
        ],
    );
    let leaf = pki.leaf("lamp", "/O=default/CN=lamp-1", "factory", &[]);
    let observer = pki.observe(&server, &leaf);
    eventually("it is connected", || session_of(&server, "lamp-1"));
    let removed = server.done("DELETE", "device-cas/factory", Value::Null);
    assert_eq!(removed["devices"], 1);
    eventually("the session ends", || {
        session_of(&server, "lamp-1").is_none().then_some(())
    });
    drop(observer);
    assert!(pki.get(&server, &leaf).0.is_empty());
    failure(&server, "certificateUntrusted");
}

#[test]
fn the_gateways_certificate_is_replaced_while_it_runs_and_sessions_go_on() {
    let pki = Pki::new();
    let server = pki.server();
    done(
        &server,
        &[
            "ca",
            "add",
            pki.path("factory.pem").to_str().unwrap(),
            "--zero-touch",
        ],
    );
    let (connected, newcomer) = (
        pki.leaf("connected", "/O=default/CN=lamp-1", "factory", &[]),
        pki.leaf("newcomer", "/O=default/CN=lamp-2", "factory", &[]),
    );
    let _observer = pki.observe(&server, &connected);
    let session = eventually("it is connected", || session_of(&server, "lamp-1"));
    let shows = |subject: &str| pki.s_client(&server, &pki.proof(&newcomer)).contains(subject);
    assert!(shows("subject=CN = gateway-1"));

    pki.own("gateway-2");
    eventually("the new certificate is shown", || {
        shows("subject=CN = gateway-2").then_some(())
    });
    let reads = |result: &str| {
        let label = format!("result=\"{result}\"");
        server.metric_where("tessera_server_certificate_reads_total", &label)
    };
    assert_eq!(reads("taken_up"), 1.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let until_s = server.metric_where(
        "tessera_server_certificate_expiry_timestamp_seconds",
        "\"devices\"",
    );
    let days_left = (until_s - now.unwrap().as_secs_f64()) / 86_400.0;
    assert_eq!(days_left.round(), 30.0, "what openssl gives");

    // A key that is none of that certificate's.
    fs::copy(pki.path("gateway-1.key"), pki.path("own.key")).unwrap();
    eventually("the mistake is counted", || {
        (reads("refused") > 0.0).then_some(())
    });
    assert!(
        server.log().contains("is not that of the first certificate"),
        "{}",
        server.log()
    );
    assert!(shows("subject=CN = gateway-2"), "the one before stays in use");
    let still = session_of(&server, "lamp-1").unwrap();
    assert_eq!(
        (&still["since"], &still["address"]),
        (&session["since"], &session["address"])
    );
}

#[test]
fn a_simulated_device_with_a_certificate_and_a_connection_id_updates_while_its_address_changes() {
    let pki = Pki::new();
    let server = pki.server();
    done(&server, &["cohort", "create", "lamps"]);
    let ca = pki.path("factory.pem");
    let zero_touch = ["--zero-touch", "--cohort", "lamps"];
    done(
        &server,
        &[&["ca", "add", ca.to_str().unwrap()], &zero_touch[..]].concat(),
    );
    server.upload("main", "1.1.0", &noise(1, 50_000));
    let leaf = pki.leaf("lamp", "/O=default/CN=lamp-1", "factory", &pki.for_clients());
    let mut lamp = Simulated::start(&server, &pki, &leaf);
    lamp.run_until("it observes", |seen| seen.contains(&Event::Observing));
    let session = eventually("it is connected", || session_of(&server, "lamp-1"));
    assert_eq!(session["credentialType"], "certificate", "{session:#}");
    assert_eq!(
        session["cipherSuite"], "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
        "{session:#}"
    );

    server.deploy("lamps", "first", &[("main", "1.1.0")]);
    for blocks in [10, 20, 30] {
        lamp.run_until("blocks come", |seen| {
            let came = |event: &&Event| matches!(event, Event::Progress { .. });
            seen.iter().filter(came).count() >= blocks
        });
        // As a NAT does that has forgotten it.
        lamp.socket = connected_to(&server);
    }
    lamp.run_until("it is updated", |seen| {
        seen.iter().any(|event| {
            matches!(event, Event::Reported { report, code, .. }
                if report.version == "1.1.0" && report.reason == Reason::Success && code.is_success())
        })
    });
    let shaken = |event: &&Event| matches!(event, Event::Established { .. });
    assert_eq!(
        lamp.seen.iter().filter(shaken).count(),
        2,
        "one of each boot: {:?}",
        lamp.seen
    );
    assert!(
        !lamp
            .seen
            .iter()
            .any(|event| matches!(event, Event::Disconnected(_)))
    );

    // It believes the gateway by its CA, and nobody else.
    let mut doubter = Simulated::trusting(&server, &pki, &leaf, "stranger.pem");
    doubter.run_until("it leaves", |seen| {
        let left = |event: &Event| matches!(event, Event::Disconnected(Ending::HandshakeFailed(_)));
        seen.iter().any(left)
    });
    assert!(!doubter.seen.iter().any(|event| shaken(&event)));
}

#[test]
fn a_gateway_whose_certificate_cannot_be_used_says_why_and_does_not_start_and_a_check_says_the_same() {
    let pki = Pki::new();
    let server = Server::not_started(&[]);
    let pass = ["-aes256", "-passout", "pass:secret"];
    let write = ["ec", "-in", "gateway-1.key", "-out", "encrypted.key"];
    pki.openssl(&[&write[..], &pass].concat());
    for (certificate, key, said) in [
        (
            "gateway-1.pem",
            "gateway-2.key",
            "is not that of the first certificate",
        ),
        (
            "gateway-1.key",
            "gateway-1.key",
            "holds no block `-----BEGIN CERTIFICATE-----`",
        ),
        ("gateway-1.pem", "missing.key", "coaps.private_key_file"),
        ("gateway-1.pem", "encrypted.key", "is encrypted"),
    ] {
        let mut check = tessera();
        check.args(["config", "check"]);
        let [served, checked] = [server.command(), check].map(|mut command| {
            command
                .env("TESSERA__COAPS__CERTIFICATE_FILE", pki.path(certificate))
                .env("TESSERA__COAPS__PRIVATE_KEY_FILE", pki.path(key))
                .stderr(Stdio::piped());
            let ended = command.output().unwrap();
            let error = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(1), "{error}");
            error
        });
        assert!(served.contains(said), "{said}: {served}");
        assert_eq!(served, checked);
    }
    let mut check = tessera();
    check
        .args(["config", "check"])
        .env("TESSERA__COAPS__CERTIFICATE_FILE", pki.path("own.pem"))
        .env("TESSERA__COAPS__PRIVATE_KEY_FILE", pki.path("own.key"));
    let checked = check.output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("own.key"));
}

/// A device's certificate and key: `<name>.pem`, `<name>.key`.
#[derive(Debug)]
struct Leaf(String);

/// Keys and certificates in a folder, made by `openssl`.
struct Pki {
    folder: TempDir,
}

impl Pki {
    /// Two device CAs (`factory`, `stranger`) and two certificates of the gateway, of which the first is in use.
    fn new() -> Pki {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki { folder };
        for (name, subject) in [
            ("operator", "/CN=operator"),
            ("factory", "/O=default/CN=factory"),
            ("stranger", "/O=default/CN=factory"),
        ] {
            pki.key(name);
            let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
            let days = ["-days", "3650", "-subj", subject];
            pki.openssl(&[&["req", "-x509", "-new", "-key", &key, "-out", &pem], &days[..]].concat());
        }
        let names = pki.extensions("names.ext", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
        for name in ["gateway-1", "gateway-2"] {
            pki.leaf(name, &format!("/CN={name}"), "operator", &names);
        }
        pki.own("gateway-1");
        pki
    }

    /// Puts a certificate and its key where the gateway's are.
    fn own(&self, name: &str) {
        for kind in ["pem", "key"] {
            fs::copy(
                self.path(&format!("{name}.{kind}")),
                self.path(&format!("own.{kind}")),
            )
            .unwrap();
        }
    }

    fn server(&self) -> Server {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        Server::start_with(&[
            ("TESSERA__COAPS__CERTIFICATE_FILE", &path("own.pem")),
            ("TESSERA__COAPS__PRIVATE_KEY_FILE", &path("own.key")),
        ])
    }

    /// A certificate that `ca` signs: of version 1 unless extensions are asked for.
    fn leaf(&self, name: &str, subject: &str, ca: &str, options: &[&str]) -> Leaf {
        self.key(name);
        let [key, request, pem] = ["key", "csr", "pem"].map(|kind| format!("{name}.{kind}"));
        let [ca_key, ca_pem] = ["key", "pem"].map(|kind| format!("{ca}.{kind}"));
        self.openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &request]);
        let sign = ["x509", "-req", "-in", &request, "-CA", &ca_pem, "-CAkey", &ca_key];
        let rest = ["-CAcreateserial", "-out", &pem];
        self.openssl(&[&sign[..], &rest, options].concat());
        Leaf(name.to_owned())
    }

    /// Options that add extensions.
    fn extensions(&self, file: &'static str, text: &str) -> [&'static str; 2] {
        fs::write(self.path(file), text).unwrap();
        ["-extfile", file]
    }

    fn for_clients(&self) -> [&'static str; 2] {
        self.extensions(
            "client.ext",
            "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n",
        )
    }

    fn key(&self, name: &str) {
        let key = format!("{name}.key");
        self.openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            &key,
        ]);
    }

    fn openssl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("openssl");
        let output = command.args(arguments).current_dir(self.folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("openssl: {error}; tests/run installs it"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
        output
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Of a certificate's DER, as hexadecimal digits.
    fn sha256(&self, Leaf(name): &Leaf) -> String {
        let pem = format!("{name}.pem");
        sha256_hex(&self.openssl(&["x509", "-in", &pem, "-outform", "der"]).stdout)
    }

    /// libcoap's client with a certificate.
    fn client(&self, server: &Server, Leaf(name): &Leaf, options: &[&str]) -> Command {
        let mut command = Command::new("coap-client-openssl");
        command
            .current_dir(self.folder.path())
            .args(["-c", &format!("{name}.pem"), "-j", &format!("{name}.key")])
            .args(["-R", "operator.pem", "-A", "50"])
            .args(options)
            .arg(format!("coaps://127.0.0.1:{}/.u/desired", server.coaps_port))
            .stdin(Stdio::null());
        command
    }

    /// The manifest as a device with this certificate gets it, and what the client said.
    fn get(&self, server: &Server, leaf: &Leaf) -> (Vec<u8>, String) {
        let body = self.path("body");
        let _ = fs::remove_file(&body);
        let options = ["-B", "10", "-o", body.to_str().unwrap()];
        let output = self.client(server, leaf, &options).output();
        let output =
            output.unwrap_or_else(|error| panic!("coap-client-openssl: {error}; tests/run installs it"));
        (
            fs::read(&body).unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// A device that stays connected until it is dropped.
    fn observe(&self, server: &Server, leaf: &Leaf) -> Connected {
        let mut command = self.client(server, leaf, &["-s", "300"]);
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Connected(
            started.unwrap_or_else(|error| panic!("coap-client-openssl: {error}; tests/run installs it")),
        )
    }

    /// Options with which `s_client` shows this certificate.
    fn proof(&self, Leaf(name): &Leaf) -> Vec<String> {
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        vec!["-cert".to_owned(), pem, "-key".to_owned(), key]
    }

    /// What `openssl s_client` says of the handshake.
    fn s_client(&self, server: &Server, proof: &[String]) -> String {
        let output = Command::new("openssl")
            .current_dir(self.folder.path())
            .args(["s_client", "-dtls1_2", "-CAfile", "operator.pem"])
            .args(["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-connect"])
            .arg(format!("127.0.0.1:{}", server.coaps_port))
            .args(proof)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("openssl: {error}; tests/run installs it"));
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

struct Connected(Child);

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A device of the Zephyr port with a certificate, built to use a connection ID.
struct Simulated {
    device: VirtualDevice,
    socket: UdpSocket,
    seen: Vec<Event>,
}

impl Simulated {
    fn start(server: &Server, pki: &Pki, leaf: &Leaf) -> Self {
        Self::trusting(server, pki, leaf, "operator.pem")
    }

    fn trusting(server: &Server, pki: &Pki, Leaf(name): &Leaf, ca: &str) -> Self {
        let read = |file: &str| fs::read(pki.path(file)).unwrap();
        let own = CertifiedKey::from_pem(&read(&format!("{name}.pem")), &read(&format!("{name}.key")));
        let port = Port::Zephyr;
        let dtls = ClientConfig {
            trust: ServerTrust::Anchors {
                anchors: Arc::new(TrustAnchors::from_pem(&read(ca)).unwrap()),
                unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64,
            },
            ..port.dtls_offering(vec![CipherSuite::EcdheEcdsaAes128Ccm], true)
        };
        let model = Model {
            dtls: Arc::new(dtls),
            pace: Pace::of(port).faster(20),
            ..Model::of(port)
        };
        let credential = ClientCredential::Certificate(Arc::new(own.unwrap()));
        Self {
            device: VirtualDevice::new(Arc::new(model), credential, "1.0.0", Instant::now(), 1),
            socket: connected_to(server),
            seen: Vec::new(),
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&[Event]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let (mut buffer, mut out) = ([0; 2048], Vec::new());
        while !done(&self.seen) {
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}: {:?}",
                self.seen
            );
            self.device.handle_timeout(Instant::now());
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.device.handle_datagram(Instant::now(), &mut buffer[..length]);
            }
            while self.device.poll_transmit(&mut out) {
                self.socket.send(&out).unwrap();
                out.clear();
            }
            self.seen.extend(std::iter::from_fn(|| self.device.poll_event()));
        }
    }
}

/// A socket of its own port.
fn connected_to(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", server.coaps_port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    socket
}

/// The session of a device, if it has one.
fn session_of(server: &Server, device: &str) -> Option<Value> {
    let sessions = server.done("GET", "sessions", Value::Null);
    let mut sessions = sessions["items"].as_array().unwrap().iter();
    sessions
        .find(|session| session["device"]["name"] == device)
        .cloned()
}

/// The newest failure for this reason.
fn failure(server: &Server, reason: &str) -> Value {
    eventually(reason, || {
        let path = format!("sessions/failures?reason={reason}");
        let failures = server.done("GET", &path, Value::Null);
        failures["items"].get(0).cloned()
    })
}

/// Runs the command line against the server; what it prints.
fn ran(server: &Server, arguments: &[&str]) -> Output {
    tessera()
        .args(arguments)
        .env("TESSERA_URL", server.url())
        .env("TESSERA_API_KEY", KEY)
        .output()
        .unwrap()
}

fn done(server: &Server, arguments: &[&str]) -> String {
    let output = ran(server, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
