//! Certificates beyond the rows of the matrix: those that `openssl` makes, what the clients of OpenSSL and GnuTLS are told when they
//! are refused and what they get for what they offer, and OpenSSL's server against our client half.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tessera::dtls::{
    CertifiedKey, ChainFault, CipherSuite, ClientConfig, ClientCredential, FailureReason, ServerConfig,
    ServerTrust, Timers, TrustAnchors, verify_chain,
};

use crate::server::{Server, unix_s};
use crate::servers::{OurClient, free_port};
use crate::support::certificates::{Ca, Issued, Kind};
use crate::tool::{PATIENCE, Tool};

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
        let server = world.server(world.config());
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
        assert_eq!(server.failed().reason, FailureReason::Certificate(fault));
        println!("openssl s_client, {}: {told}", fault.as_str());
    }
}

#[test]
fn openssl_that_offers_everything_gets_its_pre_shared_key_or_its_certificate() {
    let world = World::new();
    let server = world.server(world.config());
    let mut client = openssl(&server, &[], Some(&world.device));
    client.assert_echo();
    println!(
        "openssl s_client, its whole list and a certificate: {}",
        server.established().suite
    );

    // With -psk it offers those suites among all others; s_client without a certificate.
    let server = world.server(ServerConfig {
        timers: Timers {
            deadline: Duration::from_secs(1),
            ..Timers::default()
        },
        ..world.config()
    });
    let _client = openssl(&server, &["-psk_identity", "somebody", "-psk", "0011"], None);
    assert_eq!(server.failed().claim.as_deref(), Some("somebody"));
}

#[test]
fn each_suite_is_agreed_on_with_gnutls_and_x509_although_it_lists_raw_keys_first() {
    let world = World::new();
    let device = &world.device;
    for (suite, cipher) in SUITES
        .into_iter()
        .zip(["+AES-128-GCM", "+AES-128-CCM", "+AES-128-CCM-8"])
    {
        for types in ["", ":-CTYPE-ALL:+CTYPE-RAWPK:+CTYPE-X509"] {
            let server = world.server(world.config());
            let priority = format!("{GNUTLS}:-CIPHER-ALL:{cipher}{types}");
            let mut command = gnutls(&server, &priority);
            command.arg("--x509certfile").arg(&device.certificate);
            command.arg("--x509keyfile").arg(&device.key);
            let mut client = Tool::spawn("gnutls-cli", command);
            client.assert_echo();
            let agreed = server.established();
            assert_eq!((agreed.suite, agreed.extended_master_secret), (suite, true));
            println!("gnutls-cli, X.509, types {types:?}: {suite}");
        }
    }
}

#[test]
fn gnutls_proves_a_raw_key_where_the_listener_takes_them() {
    let world = World::new();
    let device = &world.device;
    let (key, public) = (
        device.key.to_str().unwrap(),
        world.devices.folder().join("device.pub"),
    );
    world
        .devices
        .openssl(&["pkey", "-in", key, "-pubout", "-out", public.to_str().unwrap()]);
    for on in [true, false] {
        let config = ServerConfig {
            raw_public_keys: on,
            ..world.config()
        };
        let server = world.server(config);
        let mut command = gnutls(&server, &format!("{GNUTLS}:-CTYPE-ALL:+CTYPE-RAWPK"));
        command
            .arg("--rawpkfile")
            .arg(&public)
            .arg("--rawpkkeyfile")
            .arg(&device.key);
        let mut client = Tool::spawn("gnutls-cli", command);
        if on {
            client.assert_echo();
            println!("gnutls-cli, a raw public key: {}", server.established().suite);
        } else {
            assert_eq!(
                server.failed().reason,
                FailureReason::Certificate(ChainFault::Unsupported)
            );
        }
    }
}

#[test]
fn openssls_server_believes_our_client() {
    let world = World::new();
    for suite in SUITES {
        for extended_master_secret in [true, false] {
            let port = free_port();
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
                    unix_s: unix_s(SystemTime::now()),
                },
                ..ClientConfig::default()
            };
            let credential = ClientCredential::Certificate(Arc::new(read(&world.device)));
            let mut client = OurClient::connect_with(port, config, credential);
            client.send(b"hello from our side\n");
            tool.assert_line("hello from our side");
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
        verify_chain(&chain, &anchors, unix_s(SystemTime::now()))
            .map(|(facts, anchor)| (facts.common_name, anchor))
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
    device: Issued,
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
        let devices = Ca::new("/O=acme/CN=Device CA");
        Self {
            device: devices.issue("device", "/O=acme/CN=lamp-1", CLIENT, 30),
            devices,
            shown: Arc::new(read(&shown)),
            gateway,
        }
    }

    fn server(&self, config: ServerConfig) -> Server {
        let anchors = anchors_in(&self.devices.certificate());
        Server::with(config, anchors, read(&self.device).key_digest())
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
}

fn anchors_in(path: &Path) -> TrustAnchors {
    TrustAnchors::from_pem(&std::fs::read(path).unwrap()).unwrap()
}

fn read(issued: &Issued) -> CertifiedKey {
    let text = |path: &Path| std::fs::read(path).unwrap();
    CertifiedKey::from_pem(&text(&issued.certificate), &text(&issued.key)).unwrap()
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

/// The suites with certificates.
const SUITES: [CipherSuite; 3] = [
    CipherSuite::EcdheEcdsaAes128GcmSha256,
    CipherSuite::EcdheEcdsaAes128Ccm,
    CipherSuite::EcdheEcdsaAes128Ccm8,
];
const CLIENT: Kind<'static> = Kind::Version3("basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n");
const GNUTLS: &str = "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+ECDHE-ECDSA:-GROUP-ALL:+GROUP-SECP256R1";
