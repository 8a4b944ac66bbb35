//! Devices with connection IDs (RFC 9146) whose address changes, before a real `tessera serve`: by themselves, in the middle of a
//! download, while the gateway is down, and because somebody would like it to.

#![allow(clippy::unwrap_used)]

#[path = "crash/device.rs"]
mod device;
mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use device::Connected;
use serde_json::Value;
use support::{Server, eventually, noise};
use tessera::dtls::{ClientConfig, OfferedConnectionId};

#[test]
fn a_download_goes_on_through_changes_of_port_and_kill_9_with_any_number_of_shards() {
    let mut server = Server::start_with(&[(SHARDS, "1")]);
    let image = noise(1, 24 * 1024 + 100);
    server.upload("main", "1.0.0", &image);
    let mut lamp = connect(&server, "lamp-1");
    let id = connection_id(&server);
    assert_eq!(id.len(), 16, "{id}");

    let mut downloaded = Vec::new();
    for number in 0..25 {
        // Behind some networks every datagram comes from another port.
        lamp.change_port(&server);
        let path = [".u", "c", "main@1.0.0"];
        let (block, more) = lamp.block(&path, number).expect("a block");
        downloaded.extend(block);
        assert_eq!(more, number < 24);
        if let Some(shards) = [(6, "2"), (12, "3"), (18, "1")]
            .iter()
            .find_map(|(at, shards)| (*at == number).then_some(*shards))
        {
            server.kill();
            server.set(SHARDS, shards);
            server.start_again();
        }
    }
    assert_eq!(downloaded, image);
    assert_eq!(connection_id(&server), id, "it stays for the session's life");
    assert_eq!(listed(&server)["address"], lamp.address().to_string());
    eventually("the counters have come in", || {
        (server.metric("tessera_address_changes_total") >= 6.0).then_some(())
    });
    assert_eq!(server.metric("tessera_dtls_handshakes_total"), 0.0);
}

#[test]
fn the_kernel_hands_records_with_a_connection_id_to_the_right_socket() {
    let server = Server::start_with(&[(SHARDS, "3")]);
    let mut lamps: Vec<_> = (0..6)
        .map(|number| connect(&server, &format!("lamp-{number}")))
        .collect();
    for lamp in &mut lamps {
        for _ in 0..10 {
            lamp.change_port(&server);
            assert!(lamp.manifest().is_some());
        }
    }
    eventually("the counters have come in", || {
        (server.metric("tessera_address_changes_total") == 60.0).then_some(())
    });
    assert_eq!(server.metric("tessera_datagrams_forwarded_total"), 0.0);
}

#[test]
fn what_is_replayed_or_forged_from_elsewhere_moves_nothing_and_is_counted() {
    let server = Server::start_with(&[(SHARDS, "2")]);
    let mut lamp = connect(&server, "lamp-1");
    let recorded = lamp.seal(GET);
    let attacker = socket(&server);
    assert!(lamp.manifest().is_some(), "newer than what was recorded");
    // The recorded one is valid, once, and older than the device's newest.
    for _ in 0..5 {
        attacker.send(&recorded).unwrap();
    }
    let mut forged = 0;
    for byte in 11..19 {
        for bit in 0..8 {
            let mut record = recorded.clone();
            record[byte] ^= 1 << bit;
            attacker.send(&record).unwrap();
            forged += 1;
        }
    }
    assert!(lamp.manifest().is_some());
    let unknown = || server.metric_where("tessera_datagrams_dropped_total", "unknown_connection_id");
    eventually("what was forged is counted", || {
        (unknown() == f64::from(forged)).then_some(())
    });
    assert_eq!(server.metric("tessera_address_changes_total"), 0.0);
    assert_eq!(listed(&server)["address"], lamp.address().to_string());
    assert_eq!(datagrams(&attacker), 0);
}

#[test]
fn an_address_that_a_device_has_not_proven_gets_four_datagrams() {
    let server = Server::start();
    let mut lamp = connect(&server, "lamp-1");
    // Somebody on the way sends the device's datagrams on from an address of somebody else.
    let victim = socket(&server);
    for _ in 0..10 {
        let record = lamp.seal(GET);
        victim.send(&record).unwrap();
    }
    assert_eq!(datagrams(&victim), 4);
    eventually("what was withheld is counted", || {
        (server.metric("tessera_datagrams_withheld_total") == 6.0).then_some(())
    });
    assert_eq!(
        listed(&server)["address"],
        victim.local_addr().unwrap().to_string()
    );
    // The device goes on where it is, and is found there.
    assert!(lamp.manifest().is_some());
    assert_eq!(listed(&server)["address"], lamp.address().to_string());
    assert_eq!(server.metric("tessera_sessions_started_total"), 1.0);
}

fn connect(server: &Server, name: &str) -> Connected {
    let device = server.device(name, "lamps");
    let config = ClientConfig {
        connection_id: OfferedConnectionId::Empty,
        ..ClientConfig::default()
    };
    let mut lamp =
        Connected::connect_with(server, &device.identity, &device.secret, config).expect("a session");
    assert!(lamp.manifest().is_some());
    lamp
}

/// The one session there is.
fn listed(server: &Server) -> Value {
    let sessions = server.done("GET", "sessions", Value::Null);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions:#}");
    sessions["items"][0].clone()
}

fn connection_id(server: &Server) -> String {
    listed(server)["connectionId"].as_str().unwrap().to_owned()
}

fn socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, server.coaps_port)).unwrap();
    socket
}

/// How many datagrams have arrived, or do within a while.
fn datagrams(socket: &UdpSocket) -> usize {
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    std::iter::from_fn(|| socket.recv(&mut [0; 2048]).ok()).count()
}

const SHARDS: &str = "TESSERA__RUNTIME__SHARDS";

/// CON GET `.u/desired`, with a message ID that no request of [`Connected`] has.
const GET: &[u8] = b"\x40\x01\xee\x01\xb2.u\x07desired";
