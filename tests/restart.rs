//! Restarts of the real process, seen by devices that stay where they are (`DTLS.md` 3): no handshake, every request answered,
//! what is deployed meanwhile pushed, downloads at their next block, and no nonce used twice under a key.
//!
//! - `fleet`: many devices in one thread, each at a loopback address of its own: ten thousand, or as many as `RESTART_DEVICES` says.
//! - `stack`: devices that take a notification as the SDK's two ports do.

#![allow(clippy::unwrap_used)]

#[path = "restart/fleet.rs"]
mod fleet;
#[path = "restart/stack.rs"]
mod stack;
mod support;

use std::fs;
use std::time::{Duration, Instant};

use fleet::{Fleet, Want};
use serde_json::Value;
use stack::Simulated;
use support::{Server, noise};
use tessera::virtual_device::Port;

#[test]
fn a_fleet_lives_through_restarts_without_a_handshake_and_without_a_nonce_used_twice() {
    let began = Instant::now();
    let count = devices();
    let mut server = Server::start_with(&[("TESSERA__RUNTIME__SHARDS", "1")]);
    let image = noise(7, BLOCKS * 1024);
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3"] {
        server.upload("main", version, &image);
    }
    let mut fleet = Fleet::of(&server, count);
    server.deploy("lamps", "first", &[("main", "1.0.0")]);
    fleet.connect();
    fleet.ask_all(|_| Some(Want::Observe));
    assert!(fleet.all(|device| device.manifests == [1]));
    // Some use up more than one range of record numbers, which has the next ones written to the log.
    for _ in 0..600 {
        fleet.ask_all(|index| (index < 5).then_some(Want::Keepalive));
    }
    for _ in 0..3 {
        fleet.ask_all(|index| is_downloading(index).then_some(Want::Block));
    }
    println!("{count} devices connected after {:?}", began.elapsed());

    // Killed in the middle of a block, of which some are answered and some are not.
    fleet.begin(|index| is_downloading(index).then_some(Want::Block));
    server.kill();
    server.set("TESSERA__RUNTIME__SHARDS", "3");
    server.start_again();
    assert!(server.deploy("lamps", "second", &[("main", "1.0.1")])["sequence"] == 2);
    fleet.wait("the deployment right after the restart", |device| {
        device.manifests == [1, 2]
    });
    fleet.wait("what was on its way when it was killed", |device| {
        !device.is_waiting()
    });
    fleet.ask_all(|_| Some(Want::Keepalive));
    nobody_shook_hands(&server, count);
    for _ in 0..3 {
        fleet.ask_all(|index| is_downloading(index).then_some(Want::Block));
    }
    println!("killed and back after {:?}", began.elapsed());

    let status = server.terminate();
    assert!(status.success(), "{status}");
    server.set("TESSERA__RUNTIME__SHARDS", "2");
    server.start_again();
    let third = server.deploy("lamps", "third", &[("main", "1.0.2")]);
    fleet.ask_all(|index| {
        Some(if is_downloading(index) {
            Want::Block
        } else {
            Want::Keepalive
        })
    });
    fleet.wait("the deployment after the planned restart", |device| {
        device.manifests == [1, 2, 3]
    });
    nobody_shook_hands(&server, count);

    server.kill();
    server.start_again();
    fleet.ask_all(|_| {
        Some(Want::Report {
            state: 0,
            version: "1.0.2",
        })
    });
    while fleet.any(|device| is_downloading(device.index) && device.image.len() < image.len()) {
        fleet.ask_all(|index| is_downloading(index).then_some(Want::Block));
    }
    assert!(fleet.all(|device| !is_downloading(device.index) || device.image == image));
    nobody_shook_hands(&server, count);
    let third = third["id"].as_str().unwrap();
    let progress = server.done("GET", &format!("deployments/{third}/progress"), Value::Null);
    assert_eq!(progress["done"], count, "every report is on disk: {progress:#}");
    assert!(fleet.all(|device| device.handshakes == 1));
    println!("{} records, each with a nonce of its own", fleet.records());
    println!("all over after {:?}", began.elapsed());
}

/// The last entry may be half written when the power goes. It was never relied on.
#[test]
fn a_torn_last_entry_of_the_session_log_costs_no_session_and_no_nonce() {
    let mut server = Server::start();
    let mut fleet = Fleet::of(&server, 3);
    fleet.connect();
    for torn in [1, 7, 40] {
        // Past half of a range, so that the last entries are such as come and go.
        for _ in 0..600 {
            fleet.ask_all(|_| Some(Want::Keepalive));
        }
        server.kill();
        let log = server.data_dir().join("sessions.log");
        let bytes = fs::read(&log).unwrap();
        fs::write(&log, &bytes[..bytes.len() - torn]).unwrap();
        server.start_again();
        fleet.ask_all(|_| Some(Want::Keepalive));
        nobody_shook_hands(&server, 3);
    }
}

/// The second has to be taken, though the first was sent by a process that left no note of it.
#[test]
fn two_pushes_with_a_kill_9_between_them_are_both_taken_by_either_port() {
    let mut server = Server::start();
    server.upload("other", "1.0.0", b"one");
    server.upload("other", "1.0.1", b"two");
    server.upload("other", "1.0.2", b"three");
    let mut devices: Vec<_> = Port::ALL
        .into_iter()
        .map(|port| Simulated::start(&server, port))
        .collect();
    for device in &mut devices {
        device.run_until("it is connected", |device| device.sequences == [None]);
    }
    let mut began = Instant::now();
    for (sequence, version) in (1..).zip(["1.0.0", "1.0.1", "1.0.2"]) {
        began = Instant::now();
        server.deploy("lamps", version, &[("other", version)]);
        for device in &mut devices {
            device.run_until("it is told", |device| {
                device.sequences.last() == Some(&Some(sequence))
            });
        }
        server.kill();
        server.start_again();
    }
    assert!(
        began.elapsed() < Duration::from_secs(128),
        "later an older number is taken too"
    );
    for device in &mut devices {
        // One whose acknowledgement the log had no time to note is pushed again.
        device.sequences.dedup();
        assert_eq!(device.sequences, [None, Some(1), Some(2), Some(3)]);
        assert_eq!(device.sessions, 1);
    }
}

/// Whoever recorded a device's datagrams sends the first of two reports again after a restart, and the device goes on as if nothing
/// were.
#[test]
fn a_report_that_is_sent_again_after_a_restart_takes_nothing_back() {
    let mut server = Server::start();
    let mut fleet = Fleet::of(&server, 1);
    fleet.connect();
    fleet.ask_all(|_| {
        Some(Want::Report {
            state: 1,
            version: "1.0.0",
        })
    });
    let recorded = fleet.last_datagram(0);
    fleet.ask_all(|_| {
        Some(Want::Report {
            state: 3,
            version: "1.0.0",
        })
    });
    server.kill();
    server.start_again();
    let elsewhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    elsewhere
        .send_to(&recorded, ("127.0.0.1", server.coaps_port))
        .unwrap();
    fleet.send_again(0, &recorded);
    fleet.ask_all(|_| Some(Want::Keepalive));
    fleet.wait("the device has answered the ping", |device| device.pings > 0);
    let state = || {
        let devices = server.done("GET", "devices?name=lamp-0", Value::Null);
        devices["items"][0]["packages"][0]["state"].clone()
    };
    assert_eq!(state(), "updating");
    fleet.ask_all(|_| {
        Some(Want::Report {
            state: 0,
            version: "1.0.1",
        })
    });
    assert_eq!(state(), "idle");
    nobody_shook_hands(&server, 1);
}

fn nobody_shook_hands(server: &Server, count: usize) {
    assert_eq!(server.metric("tessera_dtls_handshakes_total"), 0.0);
    assert_eq!(server.metric("tessera_cookie_challenges_total"), 0.0);
    // Each shard flushes its counters once a second.
    support::eventually("every session is counted", || {
        (server.metric("tessera_sessions") == count as f64).then_some(())
    });
}

fn is_downloading(index: usize) -> bool {
    index % 4 == 3
}

/// How many devices there are: [`DEVICES`], or what `RESTART_DEVICES` says.
fn devices() -> usize {
    let told = std::env::var("RESTART_DEVICES").ok();
    told.map_or(DEVICES, |told| told.parse().expect("RESTART_DEVICES is a number"))
}

/// An unoptimised build has them connected and through three restarts in less than a minute of two cores.
const DEVICES: usize = 10_000;
/// Blocks of an image.
const BLOCKS: usize = 12;
