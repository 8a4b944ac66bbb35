//! Foreign clients that can speak CoAP, before a real `tessera serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::clients::{Cannot, Client, NO_CONNECTION_ID, mbedtls_command};
use crate::support::certificates::{Ca, Issued, Kind};
use crate::support::{self, eventually, tessera};
use crate::tool::Tool;

/// With a pre-shared key and an empty connection ID of its own, a device asks from one port, and from two others.
pub fn moves(client: Client) -> Result<String, Cannot> {
    if client != Client::MbedTls {
        return Err(NO_CONNECTION_ID);
    }
    let gateway = support::Server::start();
    let lamp = gateway.device("lamp-1", "lamps");
    let mut command = mbedtls_command(address(&gateway));
    let secret = data_encoding::HEXLOWER.encode(lamp.secret.as_bytes());
    command.args(["--psk", &lamp.identity, &secret, "--connection-id", "", "--hex"]);
    let mut tool = Tool::spawn("mbedtls-client", command);
    assert_desired(&mut tool, 1);
    let (session, address) = listed(&gateway);
    let id = session["connectionId"].as_str().expect("it has a connection ID");
    tool.assert_line(&format!("connection ID {id}."));
    let mut addresses = vec![address];
    for message_id in [2, 3] {
        tool.forget();
        tool.say("MOVE");
        let moved = tool.line_with("moved to port");
        let port = moved.rsplit(' ').next().unwrap();
        assert_desired(&mut tool, message_id);
        let expected = format!("127.0.0.1:{port}");
        let (again, address) = eventually("the session is listed where it went", || {
            let (session, address) = listed(&gateway);
            (address == expected).then_some((session, address))
        });
        assert_eq!(again["connectionId"], id, "it stays for the session's life");
        assert!(!addresses.contains(&address), "{addresses:?}, {address}");
        addresses.push(address);
    }
    eventually("the counters have come in", || {
        (gateway.metric("tessera_address_changes_total") == 2.0).then_some(())
    });
    assert_eq!(gateway.metric("tessera_sessions_started_total"), 1.0);
    Ok(suite(&session))
}

/// A device that nobody has told of yet shows a certificate of a CA with zero-touch, and checks the gateway's.
pub fn lets_in_by_certificate(client: Client) -> Result<String, Cannot> {
    let program = match client {
        Client::CoapOpenSsl => Some("coap-client-openssl"),
        Client::CoapGnuTls => Some("coap-client-gnutls"),
        Client::MbedTls => None,
        Client::OpenSsl | Client::GnuTls | Client::TinyDtls | Client::WolfSsl => {
            return Err(Cannot("it has no CoAP, and its input is text"));
        }
    };
    let (operator, factory) = (Ca::new("/CN=operator"), Ca::new("/O=default/CN=factory"));
    // libcoap asks for the name that it was given to connect to, Mbed TLS's client for the matrix's.
    let names = Kind::Version3("subjectAltName=DNS:gateway.example,IP:127.0.0.1\n");
    let own = operator.issue("gateway", "/CN=gateway.example", names, 30);
    let gateway = support::Server::start_with(&[
        ("TESSERA__COAPS__CERTIFICATE_FILE", text(&own.certificate)),
        ("TESSERA__COAPS__PRIVATE_KEY_FILE", text(&own.key)),
    ]);
    let added = tessera()
        .args(["ca", "add", text(&factory.certificate()), "--zero-touch"])
        .env("TESSERA_URL", gateway.url())
        .env("TESSERA_API_KEY", support::KEY)
        .output()
        .unwrap();
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    let lamp = factory.issue("lamp-1", "/O=default/CN=lamp-1", Kind::Version1, 30);
    let trust = operator.certificate();
    let _tool = match program {
        Some(program) => {
            let mut tool = Tool::spawn(program, libcoap(program, &gateway, &lamp, &trust));
            tool.assert_line("{}");
            tool
        }
        None => {
            let mut command = mbedtls_command(address(&gateway));
            command.args(["--certificate", text(&lamp.certificate)]);
            command.args(["--key", text(&lamp.key), "--ca", text(&trust), "--hex"]);
            let mut tool = Tool::spawn("mbedtls-client", command);
            assert_desired(&mut tool, 1);
            tool
        }
    };
    let (session, _) = listed(&gateway);
    assert_eq!(session["device"]["name"], "lamp-1", "{session:#}");
    assert_eq!(session["credentialType"], "certificate", "{session:#}");
    Ok(suite(&session))
}

/// Observes the manifest, in JSON, so that its session is there for as long as it runs.
fn libcoap(program: &str, gateway: &support::Server, own: &Issued, trust: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "-c",
            text(&own.certificate),
            "-j",
            text(&own.key),
            "-C",
            text(trust),
        ])
        .args(["-A", "50", "-s", "60", "-w"])
        .arg(format!("coaps://{}/.u/desired", address(gateway)));
    command
}

/// Asks for the manifest, and gets the empty one (`{}`), on the acknowledgement.
fn assert_desired(tool: &mut Tool, message_id: u8) {
    tool.say(&format!(
        "4001c1{message_id:02x}b22e7507{}",
        data_encoding::HEXLOWER.encode(b"desired")
    ));
    let answer = tool.line_with(&format!("6045c1{message_id:02x}"));
    assert!(answer.ends_with("ff7b7d"), "{answer}");
}

/// The one session there is, and its address.
fn listed(gateway: &support::Server) -> (Value, String) {
    let session = eventually("there is a session", || {
        let sessions = gateway.done("GET", "sessions", Value::Null);
        let sessions = sessions["items"].as_array().unwrap();
        assert!(sessions.len() <= 1, "{sessions:#?}");
        sessions.first().cloned()
    });
    let address = session["address"].as_str().unwrap().to_owned();
    (session, address)
}

fn suite(session: &Value) -> String {
    crate::short(session["cipherSuite"].as_str().unwrap())
}

fn address(gateway: &support::Server) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, gateway.coaps_port).into()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
