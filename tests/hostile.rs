//! What a hostile network and hostile devices send, sent to a real `tessera serve`. After each attack an honest device's
//! next request is answered, in the session that it has. Hostile HTTP clients are in `hostile_http.rs`.
//!
//! 1. a device's own address, forged by somebody on the network
//! 2. other addresses: floods, and handshakes that change their place
//! 3. devices that hold a key and mean harm
//!
//! Everything stays on the loopback network, whose 2^24 addresses are as many strangers.

#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use coap_lite::{CoapOption, MessageType, Packet};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use support::{Device, Server, eventually, noise};
use tessera::dtls::{
    CertifiedKey, CipherSuite, ClientConfig, ClientCredential, ClientHandshake, ContentType, HandshakeEvent,
    Identity, Incoming, OfferedConnectionId, Psk, RecordHeader, Session, records,
};

// ------------------------------------------------------------------------------- 1. from a device's own address

#[test]
fn an_operator_is_told_of_a_session_with_many_records_that_do_not_open_and_not_of_each() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        peer.get();
        let mut forged = peer.seal(b"\x40\x01\x00\x01");
        forged[5..11].fill(0x7f);
        for _ in 0..20 {
            for _ in 0..150 {
                peer.inject(&forged);
            }
            peer.get();
        }
        let log = server.log();
        let told: Vec<_> = log
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("do not open"))
            .collect();
        assert_eq!(told.len(), 2, "{log}");
        assert!(
            told[0].contains("failures=1024") && told[1].contains("failures=2048"),
            "{told:?}"
        );
    }
}

#[test]
fn nothing_written_in_the_clear_or_sealed_by_nobody_ends_a_session() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        peer.get();
        let sealed = peer.seal(b"\x40\x01\x00\x01");
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut record = sealed.clone();
            change(&mut record);
            record
        };
        let id = RecordHeader::connection_id(&sealed).map(|id| id.to_bytes());
        let other_id = |change: u8| {
            let mut id = id.unwrap_or_default();
            id[7] ^= change;
            id
        };
        let attacks: [(&str, Vec<u8>); 22] = [
            (
                "a record that does not open",
                with(&|r| *r.last_mut().unwrap() ^= 1),
            ),
            ("one with the highest number", with(&|r| r[5..11].fill(0xff))),
            ("a body of ten bytes", record(23, 1, 900, &[7; 10])),
            ("a record of ten bytes", sealed[..10].to_vec()),
            ("a record without a body", record(23, 1, 901, &[])),
            ("the next epoch", with(&|r| r[4] = 2)),
            ("the last epoch", with(&|r| r[3..5].fill(0xff))),
            ("a close_notify in the clear", record(21, 0, 9, &[1, 0])),
            ("a fatal alert in the clear", record(21, 0, 10, &[2, 40])),
            ("an alert that nobody sealed", record(21, 1, 902, &[9; 26])),
            ("data in the clear", record(23, 0, 11, b"\x40\x01\x00\x02")),
            ("a ChangeCipherSpec", record(20, 0, 12, &[1])),
            ("a HelloRequest", record(22, 0, 13, &[0; 12])),
            ("a Finished in the clear", record(22, 0, 14, &[20; 24])),
            ("a ClientHello without a cookie", peer.recorded[0].clone()),
            ("another connection ID", identified(other_id(1), 1, 903, &[7; 40])),
            (
                "its connection ID, or none, forged",
                identified(other_id(0), 1, 904, &[7; 40]),
            ),
            (
                "its connection ID in the clear",
                identified(other_id(0), 0, 905, &[7; 40]),
            ),
            (
                "its connection ID in another epoch",
                identified(other_id(0), 2, 906, &[7; 40]),
            ),
            ("a record that has no connection ID", record(23, 1, 907, &[7; 40])),
            (
                "a connection ID that nobody has",
                identified([0xff; 8], 1, 908, &[7; 40]),
            ),
            (
                "half a connection ID",
                identified([0; 8], 1, 909, &[7; 40])[..15].to_vec(),
            ),
        ];
        for (name, attack) in attacks {
            peer.inject(&attack);
            peer.get_despite(name);
        }
        assert_one_session(&server);
    }
}

#[test]
fn nothing_recorded_from_a_session_has_an_effect_when_it_is_sent_again() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        peer.get();
        peer.report(b"\xa2\x61s\x01\x61v\x651.0.0");
        let reports = server.metric("tessera_reports_total");
        for (at, datagram) in peer.recorded.clone().into_iter().enumerate() {
            for _ in 0..3 {
                peer.inject(&datagram);
            }
            // The whole handshake is among them: its cookie is still good, its Finished is not.
            peer.get_despite(&format!("datagram {at} again"));
        }
        assert_eq!(server.metric("tessera_reports_total"), reports);
        assert_one_session(&server);
    }
}

#[test]
fn truncations_and_bit_flips_of_every_datagram_change_nothing() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        peer.get();
        peer.report(b"\xa1\x61s\x00");
        let recorded = peer.recorded.clone();
        for (at, datagram) in recorded.iter().enumerate() {
            let cut = (0..datagram.len()).map(|len| datagram[..len].to_vec());
            let flipped = (0..datagram.len() * 8).map(|bit| {
                let mut altered = datagram.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                altered
            });
            for (count, altered) in cut.chain(flipped).enumerate() {
                peer.inject(&altered);
                if count % 100 == 99 {
                    peer.get_despite(&format!("alterations of datagram {at} up to {count}"));
                }
            }
            peer.get_despite(&format!("alterations of datagram {at}"));
        }
        assert_one_session(&server);
    }
}

#[test]
fn garbage_changes_nothing() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        let mut rng = StdRng::seed_from_u64(4);
        for round in 0..60 {
            for _ in 0..100 {
                let mut garbage = vec![0; rng.random_range(0..2200)];
                rng.fill_bytes(&mut garbage);
                // Half of it looks like a record, so that it gets further.
                if garbage.len() > 13 && rng.random() {
                    let length = (garbage.len() - 13) as u16;
                    garbage[0] = rng.random_range(20..=25);
                    garbage[1..3].copy_from_slice(&[0xfe, 0xfd]);
                    garbage[3..5].copy_from_slice(&rng.random_range(0..2_u16).to_be_bytes());
                    garbage[11..13].copy_from_slice(&length.to_be_bytes());
                }
                peer.inject(&garbage);
            }
            peer.get_despite(&format!("round {round}"));
        }
        assert_one_session(&server);
    }
}

#[test]
fn a_record_sent_from_another_address_moves_no_session() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        peer.get();
        let thief = UdpSocket::bind("127.0.0.2:0").unwrap();
        thief.connect(server.coaps()).unwrap();
        // Behind the two hellos, which get a cookie from anywhere.
        for stolen in &peer.recorded[2..] {
            thief.send(stolen).unwrap();
        }
        peer.get_despite("what it had sent, from elsewhere");
        if matches!(mode, Mode::Psk | Mode::Certificate) {
            // This one its owner has not sent yet: from elsewhere it does not use its number up.
            let request = peer.request(coap("0.01", MessageType::Confirmable, 77, &[".u", "desired"]));
            thief.send(&request).unwrap();
            peer.inject(&request);
            assert_eq!(peer.answer_to(77).header.get_code(), "2.05");
        }
        peer.get();
        assert_silent(&thief);
        assert_one_session(&server);
    }
}

#[test]
fn what_stands_behind_garbage_in_one_datagram_still_counts() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        peer.get();
        let mid = peer.next_mid();
        let request = peer.request(coap("0.01", MessageType::Confirmable, mid, &[".u", "desired"]));
        let forged = record(23, 1, 900, &[7; 60]);
        let alert = record(21, 0, 9, &[2, 40]);
        // A connection ID leads the whole datagram to its session, so that one comes first.
        let id = RecordHeader::connection_id(&request).map(|id| id.to_bytes());
        let first = id.map_or_else(Vec::new, |id| identified(id, 1, 901, &[7; 60]));
        peer.inject(&[&first[..], &forged, &alert, &request].concat());
        assert_eq!(peer.answer_to(mid).header.get_code(), "2.05", "{mode:?}");
        assert_one_session(&server);
    }
}

#[test]
fn a_handshake_that_somebody_begins_at_a_devices_address_does_not_disturb_its_session() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        let mut hello = peer.recorded[0].clone();
        hello[RANDOM..RANDOM + 32].fill(9);
        peer.inject(&hello);
        let challenge = peer.next_in_the_clear();
        assert_eq!(challenge[13], 3, "a HelloVerifyRequest");
        peer.inject(&with(&hello, &challenge[28..]));
        assert_eq!(peer.next_in_the_clear()[13], 2, "a ServerHello");
        peer.get_despite("a handshake beside it");
        peer.report(b"\xa1\x61s\x00");
        assert_one_session(&server);
    }
}

#[test]
fn a_device_that_waits_for_the_last_flight_gets_it_although_somebody_sent_its_hello_again() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut client = mode.client(&server);
        for _ in 0..2 {
            client.send();
            client.receive();
        }
        client.send();
        client.lose();
        let hello = client.recorded[1].clone();
        client.socket.send(&hello).unwrap();
        // Its first wait has passed, and it repeats its flight.
        let due = client.handshake.poll_timeout().unwrap();
        client.handshake.handle_timeout(due).unwrap();
        client.send();
        // The first thing that it hears: its hello has begun nothing.
        client.receive();
        client.established().get();
        assert_eq!(live_sessions(&server), 1, "{mode:?}");
    }
}

// ---------------------------------------------------------------------------------------- 2. other addresses

#[test]
fn a_hundred_thousand_hellos_take_no_memory_and_get_no_more_than_they_bring() {
    let server = Server::start();
    let mut peer = Mode::Psk.connect(&server);
    let hello = peer.recorded[0].clone();
    let mut rng = StdRng::seed_from_u64(5);
    let (mut sent, mut received, mut answered) = (0, 0, 0);
    let mut half_way = 0;
    for batch in 0..HUNDRED_THOUSAND / BATCH {
        if batch == HUNDRED_THOUSAND / BATCH / 2 {
            // The first half has warmed the allocator and the counters up.
            half_way = resident_kib(&server);
        }
        let sockets: Vec<UdpSocket> = (0..BATCH).map(|n| stranger(&server, batch * BATCH + n)).collect();
        for socket in &sockets {
            let mut hello = hello.clone();
            rng.fill_bytes(&mut hello[RANDOM..RANDOM + 32]);
            sent += socket.send(&hello).unwrap();
        }
        for socket in &sockets {
            if let Some(answer) = next_datagram(socket) {
                assert!(
                    answer.len() < hello.len(),
                    "{} bytes for {}",
                    answer.len(),
                    hello.len()
                );
                received += answer.len();
                answered += 1;
                assert_eq!(socket.recv(&mut [0; 2048]).ok(), None, "one answer");
            }
        }
        peer.get_despite("a flood of hellos");
    }
    assert!(answered > 9 * HUNDRED_THOUSAND / 10, "{answered} were answered");
    assert!(received <= sent, "{received} bytes for {sent}");
    let grown = resident_kib(&server).saturating_sub(half_way);
    assert!(grown < 2048, "{grown} KiB for 50 000 hellos");
    assert_one_session(&server);
}

#[test]
fn a_hundred_thousand_first_flights_and_then_silence_are_bounded_and_keep_nobody_waiting() {
    let server = Server::start_with(&[("TESSERA__COAPS__MAX_HANDSHAKES", "64")]);
    let mut peer = Mode::Psk.connect(&server);
    let hello = peer.recorded[0].clone();
    let mut rng = StdRng::seed_from_u64(6);
    let (mut half_way, mut with_cookie) = (0, 0);
    for batch in 0..HUNDRED_THOUSAND / BATCH {
        if batch == HUNDRED_THOUSAND / BATCH / 2 {
            half_way = resident_kib(&server);
        }
        let sockets: Vec<UdpSocket> = (0..BATCH).map(|n| stranger(&server, batch * BATCH + n)).collect();
        let hellos = sockets.iter().map(|socket| {
            let mut hello = hello.clone();
            rng.fill_bytes(&mut hello[RANDOM..RANDOM + 32]);
            socket.send(&hello).unwrap();
            hello
        });
        let hellos: Vec<_> = hellos.collect();
        for (socket, hello) in sockets.iter().zip(&hellos) {
            if let Some(challenge) = next_datagram(socket) {
                socket.send(&with(hello, &challenge[28..])).unwrap();
                with_cookie += 1;
            }
        }
        if batch == 0 {
            let flight = next_datagram(&sockets[0]).expect("the first one has a seat");
            assert_eq!(flight[13], 2, "a ServerHello");
        }
        peer.get_despite("first flights");
    }
    let grown = resident_kib(&server).saturating_sub(half_way);
    assert!(grown < 4096, "{grown} KiB for 50 000 first flights");
    assert!(
        with_cookie > 9 * HUNDRED_THOUSAND / 10,
        "{with_cookie} got a cookie"
    );
    eventually("those without a seat are counted", || {
        let dropped = server.metric_where("tessera_datagrams_dropped_total", "handshake_cap");
        (dropped > 0.8 * f64::from(HUNDRED_THOUSAND)).then_some(())
    });
    assert_eq!(live_sessions(&server), 1);
    peer.get();
    // After the three seconds that a device tries, the silent make room for it.
    let device = server.device("lamp-2", "lamps");
    let began = Instant::now();
    eventually("a new device gets a seat", || {
        let mut client = Client::new(&server, &device, "127.0.0.1:0");
        client.send();
        client.receive();
        client.send();
        client.try_receive().then_some(())?;
        client.send();
        client.receive();
        client.established().get();
        Some(())
    });
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn garbage_and_foreign_connection_ids_at_line_rate_end_no_session_and_take_no_memory() {
    for mode in Mode::ALL {
        let server = mode.server();
        let mut peer = mode.connect(&server);
        peer.get();
        let mut half_way = 0;
        for half in 0..2 {
            let from_its_address = peer.socket.try_clone().unwrap();
            let from_elsewhere = stranger(&server, 7);
            thread::scope(|scope| {
                let floods = [from_its_address, from_elsewhere].map(|socket| {
                    scope.spawn(move || {
                        let mut rng = StdRng::seed_from_u64(8 + half);
                        for _ in 0..HUNDRED_THOUSAND / 4 {
                            // A socket whose buffer is full has lost it, as a network would have.
                            let _ = socket.send(&line_noise(&mut rng));
                        }
                    })
                });
                // However little of what it says gets through, what does is answered.
                while !floods.iter().all(|flood| flood.is_finished()) {
                    peer.get_sooner_or_later();
                }
            });
            peer.get_sooner_or_later();
            if half == 0 {
                half_way = resident_kib(&server);
            }
        }
        let grown = resident_kib(&server).saturating_sub(half_way);
        assert!(
            grown < 2048,
            "{mode:?}: {grown} KiB for the second half of the garbage"
        );
        assert_one_session(&server);
    }
}

#[test]
fn a_handshake_goes_on_only_where_it_began_and_a_cookie_is_good_only_there() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    let mut client = Client::new(&server, &device, "127.0.0.1:0");
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other.connect(server.coaps()).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.send();
    client.receive();
    // The hello with its cookie, from elsewhere: another cookie is the answer, as it was to the first hello.
    let hello = client.take();
    other.send(&hello).unwrap();
    let mut answer = [0; 2048];
    let length = other.recv(&mut answer).unwrap();
    assert_eq!((answer[0], answer[13]), (22, 3), "HelloVerifyRequest");
    assert!(length < hello.len());
    client.socket.send(&hello).unwrap();
    client.receive();
    // The keys and the Finished, from elsewhere: nothing.
    let last = client.take();
    other.send(&last).unwrap();
    assert_silent(&other);
    assert_eq!(live_sessions(&server), 0);
    client.socket.send(&last).unwrap();
    client.receive();
    client.established().get();
    assert_eq!(live_sessions(&server), 1);
}

#[test]
fn an_unknown_identity_and_a_wrong_key_look_alike() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    let try_with = |identity: &str, secret: &str| {
        let mut client = Client::new(
            &server,
            &Device {
                id: String::new(),
                identity: identity.to_owned(),
                secret: secret.to_owned(),
            },
            "127.0.0.1:0",
        );
        client.send();
        client.receive();
        client.send();
        client.receive();
        client.send();
        let sent = Instant::now();
        let mut answers = Vec::new();
        // Its second wait is twice as long as the first, of a second.
        let until = Duration::from_millis(2400);
        while let Some(left) = until.checked_sub(sent.elapsed()).filter(|left| !left.is_zero()) {
            client.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 2048];
            if let Ok(length) = client.socket.recv(&mut buffer) {
                let tenths = (sent.elapsed().as_millis() + 50) / 100;
                answers.push((buffer[0], length, tenths));
            }
        }
        answers
    };
    thread::scope(|scope| {
        let wrong = scope.spawn(|| try_with(&device.identity, "not the secret"));
        let unknown = scope.spawn(|| try_with("lamp-2-id@default", "not the secret"));
        let (wrong, unknown) = (wrong.join().unwrap(), unknown.join().unwrap());
        // The server's flight once more after its first wait, and no alert.
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].0, 22, "{wrong:?}");
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert_eq!((wrong[0].0, wrong[0].1), (unknown[0].0, unknown[0].1));
        assert!(wrong[0].2.abs_diff(unknown[0].2) <= 5, "{wrong:?} {unknown:?}");
    });
}

// ------------------------------------------------------------------- 3. devices that hold a key and mean harm

#[test]
fn malformed_messages_are_dropped_without_a_reset() {
    let server = Server::start();
    let mut peer = Peer::connect(&server, &server.device("lamp-1", "lamps"));
    for malformed in [
        &b""[..],
        b"\x40",
        b"\x40\x01\x12",
        b"\x00\x01\x12\x34",
        b"\xc0\x01\x12\x34",
        b"\x49\x01\x12\x34\x01\x02\x03\x04\x05\x06\x07\x08\x09",
        b"\x4f\x01\x12\x34",
        b"\x42\x01\x12\x34\x01",
        b"\x40\x01\x12\x34\xff",
        b"\x40\x01\x12\x34\xf0",
        b"\x40\x01\x12\x34\x0f",
        b"\x40\x01\x12\x34\xe0\xff\xff",
        b"\x40\x01\x12\x34\xb9\x2e\x75",
        b"\x41\x00\x12\x34\xaa",
        b"\x40\x21\x12\x34",
        b"\x40\xe1\x12\x34",
        b"\x60\x00\x12\x34",
        b"\x70\x00\x12\x34",
        b"\x60\x45\x12\x34",
        b"\x50\x45\x12\x34",
    ] {
        peer.send(malformed);
        // The answer is the next thing that comes.
        peer.get_despite(&format!("{malformed:02x?}"));
    }
    assert_one_session(&server);
}

#[test]
fn no_alteration_of_a_good_message_hurts_anybody() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 3000));
    let mut honest = Peer::connect(&server, &server.device("lamp-1", "lamps"));
    let mut mutant = Peer::connect(&server, &server.device("mutant", "mutants"));
    server.deploy("mutants", "first", &[("main", "1.0.0")]);
    let with = |code: &str, path: &[&str], options: &[(CoapOption, &[u8])], payload: &[u8]| {
        let mut packet = coap(code, MessageType::Confirmable, 0, path);
        for (option, value) in options {
            packet.add_option(*option, value.to_vec());
        }
        packet.payload = payload.to_vec();
        packet.to_bytes().unwrap()
    };
    let good = [
        with(
            "0.01",
            &[".u", "desired"],
            &[(CoapOption::Observe, b""), (CoapOption::Accept, &[60])],
            b"",
        ),
        with(
            "0.01",
            &[".u", "desired"],
            &[(CoapOption::Observe, &[1]), (CoapOption::Block2, &[0x06])],
            b"",
        ),
        with(
            "0.01",
            &[".u", "c", "main@1.0.0"],
            &[(CoapOption::Block2, &[0x16])],
            b"",
        ),
        with(
            "0.02",
            &[".u", "c", "main"],
            &[(CoapOption::ContentFormat, &[60])],
            b"\xa2\x61s\x01\x61v\x651.0.0",
        ),
        with(
            "0.03",
            &[".u", "c", "main"],
            &[(CoapOption::ContentFormat, &[50])],
            b"{\"s\":1,\"v\":\"1.0.0\"}",
        ),
        with(
            "0.02",
            &["echo"],
            &[(CoapOption::Block1, &[0x08])],
            b"sixteen bytes....",
        ),
        with(
            "0.02",
            &[".s", "a", "b"],
            &[(CoapOption::Block1, &[0x10])],
            b"more",
        ),
        with("0.04", &[], &[], b""),
        b"\x60\x00\x00\x00".to_vec(),
        b"\x70\x00\x00\x00".to_vec(),
    ];
    let mut rng = StdRng::seed_from_u64(7);
    for round in 0..100 {
        for _ in 0..100 {
            let mut message = good[rng.random_range(0..good.len())].clone();
            message[2..4].copy_from_slice(&rng.random_range(0..40_u16).to_be_bytes());
            for _ in 0..rng.random_range(0..4) {
                let at = rng.random_range(0..message.len());
                match rng.random_range(0..4) {
                    0 => message[at] ^= 1 << rng.random_range(0..8),
                    1 => message[at] = rng.random(),
                    2 => message.insert(at, rng.random()),
                    _ => message.truncate(at.max(4)),
                }
            }
            let record = mutant.seal(&message);
            mutant.inject(&record);
        }
        honest.get_despite(&format!("round {round}"));
    }
    assert_eq!(live_sessions(&server), 2);
    assert_eq!(honest.report(b"\xa1\x61s\x00"), "2.04");
}

#[test]
fn requests_that_cannot_be_met_are_told_why() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 3000));
    let mut peer = Peer::connect(&server, &server.device("lamp-1", "lamps"));
    let artifact = ".u/c/main@1.0.0";
    #[rustfmt::skip]
    let table: [(&str, &str, &str, Options<'_>, usize, &str); 18] = [
        ("an unknown critical option", "0.01", ".u/desired", &[(9, b"x")], 0, "4.02"),
        ("another", "0.01", ".u/desired", &[(65001, b"")], 0, "4.02"),
        ("If-Match", "0.02", ".u/c/main", &[(1, b"tag")], 1, "4.02"),
        ("a path that is not UTF-8", "0.01", ".u", &[(11, b"\xff\xfe")], 0, "4.02"),
        ("two Accepts", "0.01", ".u/desired", &[(17, &[60]), (17, &[50])], 0, "4.02"),
        ("an Accept of five bytes", "0.01", ".u/desired", &[(17, &[1; 5])], 0, "4.02"),
        ("the block after the last", "0.01", artifact, &[(23, &[0x36])], 0, "4.00"),
        ("the last block there can be", "0.01", artifact, &[(23, &[0xff, 0xff, 0xf6])], 0, "4.00"),
        ("a block of no size", "0.01", artifact, &[(23, &[0x07])], 0, "4.00"),
        ("a block past the manifest's end", "0.01", ".u/desired", &[(23, &[0x16])], 0, "4.00"),
        ("a block past the bound", "0.02", "logs", &[(27, &[0xff, 0xff, 0xf6])], 16, "4.13"),
        ("a size past the bound", "0.02", "logs", &[(27, &[0x0e]), (60, &[1, 0, 0, 0])], 1024, "4.13"),
        ("a block without those before it", "0.02", "logs", &[(27, &[0x1e])], 1024, "4.08"),
        ("a block that is not full", "0.02", "logs", &[(27, &[0x0e])], 100, "4.00"),
        ("a method that is none", "0.31", ".u/desired", &[], 0, "4.05"),
        ("somebody else's resource", "0.01", "x", &[(35, b"coap://other/")], 0, "5.05"),
        ("a report in a form that is none", "0.02", ".u/c/main", &[(12, &[99])], 5, "4.15"),
        ("a delete of the manifest", "0.04", ".u/desired", &[], 0, "4.05"),
    ];
    for (what, method, path, options, length, expected) in table {
        let path: Vec<&str> = path.split('/').collect();
        let mut packet = coap(method, MessageType::Confirmable, peer.next_mid(), &path);
        for (number, value) in options {
            packet.add_option(CoapOption::from(*number), value.to_vec());
        }
        packet.payload = vec![b'x'; length];
        let answer = peer.ask(packet);
        assert_eq!(answer.header.get_code(), expected, "{what}");
        assert_eq!(answer.header.get_type(), MessageType::Acknowledgement, "{what}");
    }
    assert_one_session(&server);
}

#[test]
fn a_body_in_blocks_ends_at_the_bound() {
    let server = Server::start();
    let mut peer = Peer::connect(&server, &server.device("lamp-1", "lamps"));
    let mut codes = Vec::new();
    for num in 0..18_u16 {
        let mid = peer.next_mid();
        let mut packet = coap("0.02", MessageType::Confirmable, mid, &["logs"]);
        packet.add_option(CoapOption::Block1, (num << 4 | 0x0e).to_be_bytes().to_vec());
        packet.payload = vec![b'x'; 1024];
        codes.push(peer.ask(packet).header.get_code());
    }
    assert!(codes[..16].iter().all(|code| code == "2.31"), "{codes:?}");
    assert_eq!(codes[16..], ["4.13", "4.13"]);
    peer.get();
}

#[test]
fn no_path_leads_out_of_the_artifacts() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 3000));
    let mut peer = Peer::connect(&server, &server.device("lamp-1", "lamps"));
    let long = "x".repeat(255);
    let paths: [&[&str]; 20] = [
        &[".u", "c", "..", "..", "data"],
        &[".u", "c", "../../tessera.db@1"],
        &[".u", "c", "..@.."],
        &[".u", "c", "main@../../../../etc/passwd"],
        &[".u", "c", "main@1.0.0/"],
        &[".u", "c", "/main@1.0.0"],
        &[".u", "c", "main@1.0.0\0"],
        &[".u", "c", "main", "@1.0.0"],
        &[".u", "c", "main%401.0.0"],
        &[".u", "c", "MAIN@1.0.0"],
        &[".u", "c", "@"],
        &[".u", "c", "main@"],
        &[".u", "c", "main@1.0.0@1.0.0"],
        &[".u", "c", ""],
        &[".u", "c"],
        &[".u", ".", "c", "main@1.0.0"],
        &["", ".u", "c", "main@1.0.0"],
        &[".u/c/main@1.0.0"],
        &[".u", "c", &long],
        &[".u", "desired", "..", "c", "main@1.0.0"],
    ];
    for path in paths {
        let mid = peer.next_mid();
        let answer = peer.ask(coap("0.01", MessageType::Confirmable, mid, path));
        let code = answer.header.get_code();
        assert!(code == "4.04" || code == "4.05", "{path:?}: {code}");
        assert!(answer.payload.is_empty(), "{path:?}");
    }
    peer.get();
}

#[test]
fn odd_reports_are_refused_or_kept_as_they_are_and_fill_neither_log_nor_disk() {
    let server = Server::start_with(&[("TESSERA__LOG__FILTER", "tessera=trace")]);
    let device = server.device("lamp-1", "lamps");
    let mut peer = Peer::connect(&server, &device);
    let text = |length: usize| [&[0xa1, 0x61, b'v', 0x78, length as u8][..], &vec![b'v'; length]].concat();
    let refused: [&[u8]; 13] = [
        &[0x81; 1000],
        &[0xbf; 1000],
        &[0xc1; 1000],
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x61v\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\xa1\x61s\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x61s\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x61s\x20",
        b"\xa1\x61v\x01",
        &text(65),
        b"\xff",
        b"\xf6",
    ];
    for bytes in refused {
        assert_eq!(peer.report(bytes), "4.00", "{bytes:02x?}");
    }
    let kept: [&[u8]; 5] = [
        b"\xa1\x61s\x1b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xa2\x63pkg\x67a\0b\ncd\x1b\x61v\x67\x1b[31m\r\n",
        b"\xa1\x63pkg\x6b'; DROP -- \"",
        b"\xa2\xf9\x7e\x00\x01\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00\x02",
        b"\xbf\x61s\x01\x61s\x02\xff",
    ];
    for bytes in kept {
        assert_eq!(peer.report(bytes), "2.04", "{bytes:02x?}");
    }
    for n in 0..100 {
        let name = format!("\u{1b}[2K\nforged {n:03}");
        let report = [
            &[0xa1, 0x63, b'p', b'k', b'g', 0x60 | name.len() as u8][..],
            name.as_bytes(),
        ]
        .concat();
        assert_eq!(peer.report(&report), "2.04");
    }
    let shown = server.done("GET", &format!("devices/{}", device.id), Value::Null);
    let packages = shown["packages"].as_array().unwrap();
    assert!(
        packages.iter().any(|p| p["package"] == "a\0b\ncd\u{1b}"),
        "{shown:#}"
    );
    assert!((10..=40).contains(&packages.len()), "{} packages", packages.len());
    // Somebody who is not a device says its name to the log.
    let stranger = Device {
        id: String::new(),
        identity: "\u{1b}[2K\nforged by a stranger".to_owned(),
        secret: "x".to_owned(),
    };
    let mut client = Client::new(&server, &stranger, "127.0.0.1:0");
    client.send();
    client.receive();
    client.send();
    client.receive();
    client.send();
    server.call("GET", "devices/%0aforged%20by%20an%20operator", Value::Null);
    peer.get();
    let log = server.log();
    assert!(!log.contains('\u{1b}'), "an escape sequence in the log");
    let forged: Vec<_> = log.lines().filter(|line| line.starts_with("forged")).collect();
    assert!(forged.is_empty(), "{forged:?}");
    assert_one_session(&server);
}

#[test]
fn a_device_that_floods_costs_the_others_neither_answers_nor_memory() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 3000));
    let device = server.device("lamp-1", "lamps");
    let mut honest = Peer::connect(&server, &device);
    let mut flooder = Peer::connect(&server, &server.device("flooder", "flooders"));
    let mut before = 0;
    for n in 0..6000_u32 {
        if n == 2000 {
            before = resident_kib(&server);
        }
        let mid = flooder.next_mid();
        let mut packet = match n % 3 {
            0 => {
                let mut packet = coap("0.01", MessageType::Confirmable, mid, &[".u", "desired"]);
                packet.add_option(CoapOption::Observe, Vec::new());
                packet
            }
            1 => {
                let mut packet = coap("0.02", MessageType::Confirmable, mid, &[".u", "c", "main"]);
                packet.payload = b"\xa1\x61s\x01".to_vec();
                packet
            }
            _ => {
                let mut packet = coap("0.02", MessageType::Confirmable, mid, &["logs"]);
                packet.add_option(CoapOption::Block1, vec![0x0e]);
                packet.payload = vec![b'x'; 1024];
                packet
            }
        };
        packet.set_token(n.to_be_bytes().to_vec());
        let request = flooder.request(packet);
        flooder.inject(&request);
        flooder.recorded.clear();
        if n % 500 == 0 {
            let asked = Instant::now();
            honest.get_despite("a flood of requests");
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        }
    }
    honest.get_despite("a flood of requests");
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for 4000 requests");
    eventually("one relation is left", || {
        (server.metric("tessera_observers") == 1.0).then_some(())
    });
    // The writer is not behind.
    let asked = Instant::now();
    assert_eq!(honest.report(b"\xa1\x61s\x00"), "2.04");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[test]
fn a_handshake_begun_before_a_revocation_ends_in_no_session() {
    let server = Server::start();
    for how in ["disabled", "deleted", "without its credential"] {
        let name = how.replace(' ', "-");
        let device = server.device(&name, "lamps");
        let mut client = Client::new(&server, &device, "127.0.0.1:0");
        client.send();
        client.receive();
        client.send();
        client.receive();
        // The ClientKeyExchange: the key has been looked up when it comes once more. The Finished is kept back.
        let last = client.take();
        let first_record = 13 + usize::from(u16::from_be_bytes([last[11], last[12]]));
        client.socket.send(&last[..first_record]).unwrap();
        client.pause();
        match how {
            "disabled" => {
                server.done("PATCH", &format!("devices/{name}"), json!({"enabled": false}));
            }
            "deleted" => {
                server.done("DELETE", &format!("devices/{name}"), Value::Null);
            }
            _ => {
                let shown = server.done("GET", &format!("devices/{name}"), Value::Null);
                let credential = shown["credentials"][0]["id"].as_str().unwrap().to_owned();
                server.done(
                    "DELETE",
                    &format!("devices/{name}/credentials/{credential}"),
                    Value::Null,
                );
            }
        }
        client.pause();
        client.socket.send(&last[first_record..]).unwrap();
        client.pause();
        assert_eq!(live_sessions(&server), 0, "a device {how}");
    }
}

// ------------------------------------------------------------------------------------------------------ helpers

/// How a device proves itself, and whether its records have a connection ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Psk,
    PskWithId,
    Certificate,
    CertificateWithId,
}

impl Mode {
    const ALL: [Mode; 4] = [
        Mode::Psk,
        Mode::PskWithId,
        Mode::Certificate,
        Mode::CertificateWithId,
    ];

    /// A gateway with a certificate of its own, whatever it is asked for.
    fn server(self) -> Server {
        let own = |name: &str| {
            format!(
                "{}/src/dtls/tests/certificates/{name}",
                env!("CARGO_MANIFEST_DIR")
            )
        };
        Server::start_with(&[
            ("TESSERA__COAPS__CERTIFICATE_FILE", &own("server.pem")),
            ("TESSERA__COAPS__PRIVATE_KEY_FILE", &own("server.key.pem")),
        ])
    }

    /// The device `lamp-1`, in a session.
    fn connect(self, server: &Server) -> Peer {
        let mut client = self.client(server);
        client.shake_hands();
        let mut peer = client.established();
        let has_id = RecordHeader::connection_id(&peer.seal(b"")).is_some();
        assert_eq!(has_id, matches!(self, Mode::PskWithId | Mode::CertificateWithId));
        peer
    }

    /// The device `lamp-1`, about to say hello.
    fn client(self, server: &Server) -> Client {
        let device = server.device("lamp-1", "lamps");
        let (suites, credential) = match self {
            Mode::Psk | Mode::PskWithId => (ClientConfig::default().suites, psk_of(&device)),
            Mode::Certificate | Mode::CertificateWithId => (
                vec![CipherSuite::EcdheEcdsaAes128Ccm8],
                ClientCredential::Certificate(Arc::new(certificate_of("lamp-1", server))),
            ),
        };
        let connection_id = match self {
            Mode::Psk | Mode::Certificate => OfferedConnectionId::None,
            Mode::PskWithId | Mode::CertificateWithId => OfferedConnectionId::Empty,
        };
        let config = ClientConfig {
            suites,
            connection_id,
            ..ClientConfig::default()
        };
        Client::with(config, credential, server, "127.0.0.1:0")
    }
}

fn psk_of(device: &Device) -> ClientCredential {
    ClientCredential::Psk {
        identity: Identity::new(device.identity.as_bytes()).unwrap(),
        key: Psk::new(device.secret.as_bytes()).unwrap(),
    }
}

/// A certificate of a device, by a CA that its project believes from here on.
fn certificate_of(name: &str, server: &Server) -> CertifiedKey {
    let folder = server.folder.path();
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .unwrap_or_else(|error| panic!("openssl: {error}; tests/run installs it"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
    };
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {new_key} -keyout ca.key -out ca.pem -days 3650 -subj /O=default/CN=ca"
    ));
    openssl(&format!(
        "req {new_key} -keyout leaf.key -out leaf.csr -subj /O=default/CN={name}"
    ));
    openssl("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out leaf.pem");
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
    let pem = String::from_utf8(read("ca.pem")).unwrap();
    server.done("POST", "device-cas", json!({"name": "factory", "pem": pem}));
    CertifiedKey::from_pem(&read("leaf.pem"), &read("leaf.key")).unwrap()
}

/// A device on a session of its own: our client half, and a socket through which anything else can be said too.
struct Peer {
    socket: UdpSocket,
    session: Session,
    mid: u16,
    /// What the device has sent, first to last.
    recorded: Vec<Vec<u8>>,
}

impl Peer {
    fn connect(server: &Server, device: &Device) -> Peer {
        let mut client = Client::new(server, device, "127.0.0.1:0");
        client.shake_hands();
        client.established()
    }

    fn inject(&self, bytes: &[u8]) {
        self.socket.send(bytes).unwrap();
    }

    fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.session.seal(message, &mut record).unwrap();
        record
    }

    fn send(&mut self, message: &[u8]) {
        let record = self.seal(message);
        self.inject(&record);
        self.recorded.push(record);
    }

    fn request(&mut self, packet: Packet) -> Vec<u8> {
        self.seal(&packet.to_bytes().unwrap())
    }

    fn next_mid(&mut self) -> u16 {
        self.mid += 1;
        self.mid
    }

    /// Asks, and again when the answer is late, as a device does; returns the answer.
    fn ask(&mut self, packet: Packet) -> Packet {
        let message = packet.to_bytes().unwrap();
        for _ in 0..4 {
            self.send(&message);
            if let Some(answer) = self.next_answer(packet.header.message_id) {
                return answer;
            }
        }
        panic!("no answer to {:?}", packet.header);
    }

    fn answer_to(&mut self, mid: u16) -> Packet {
        self.next_answer(mid).expect("an answer")
    }

    /// The next sealed message, which has to be the answer to `mid`; those to earlier ones are passed over.
    fn next_answer(&mut self, mid: u16) -> Option<Packet> {
        self.next_answer_within(Duration::from_secs(2), mid)
    }

    fn next_answer_within(&mut self, wait: Duration, mid: u16) -> Option<Packet> {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            for record in records(&mut buffer[..length]) {
                // Our own handshake, sent again, is answered in the clear: with a cookie, a flight, or the alert that
                // its CertificateVerify is of another one.
                if let Some(header) = RecordHeader::peek(record)
                    && header.epoch == 0
                {
                    assert!(matches!(
                        header.content_type,
                        ContentType::Handshake | ContentType::Alert
                    ));
                    continue;
                }
                match self.session.handle_record(record) {
                    Incoming::Data { message, .. } => {
                        let answer = Packet::from_bytes(message).unwrap();
                        let late = answer.header.message_id < mid && answer.header.get_code() != "0.00";
                        if !late {
                            assert_eq!(answer.header.message_id, mid, "{answer:?}");
                            return Some(answer);
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        None
    }

    /// The next thing that anybody could have written.
    fn next_in_the_clear(&self) -> Vec<u8> {
        let heard = heard_within(&self.socket, Duration::from_secs(10)).expect("an answer");
        assert_eq!(heard[3..5], [0, 0], "{heard:02x?}");
        heard
    }

    /// The manifest, which is that of a device without one.
    fn get(&mut self) {
        self.get_despite("nothing");
    }

    fn get_despite(&mut self, attack: &str) {
        let mid = self.next_mid();
        let mut packet = coap("0.01", MessageType::Confirmable, mid, &[".u", "desired"]);
        packet.add_option(CoapOption::Accept, vec![60]);
        let answer = self.ask(packet);
        assert_eq!(answer.header.get_code(), "2.05", "after {attack}");
        assert_eq!(answer.payload, [0xa0], "after {attack}");
    }

    /// The same, where most of what is said gets lost.
    fn get_sooner_or_later(&mut self) {
        for _ in 0..300 {
            let mid = self.next_mid();
            let packet = coap("0.01", MessageType::Confirmable, mid, &[".u", "desired"]);
            self.send(&packet.to_bytes().unwrap());
            if let Some(answer) = self.next_answer_within(Duration::from_millis(200), mid) {
                assert_eq!(answer.header.get_code(), "2.05");
                return;
            }
        }
        panic!("no answer");
    }

    /// Reports on the package `main`; the answer's code.
    fn report(&mut self, cbor: &[u8]) -> String {
        let mid = self.next_mid();
        let mut packet = coap("0.02", MessageType::Confirmable, mid, &[".u", "c", "main"]);
        packet.add_option(CoapOption::ContentFormat, vec![60]);
        packet.payload = cbor.to_vec();
        self.ask(packet).header.get_code()
    }
}

/// A handshake, one flight at a time.
struct Client {
    socket: UdpSocket,
    handshake: ClientHandshake,
    recorded: Vec<Vec<u8>>,
}

impl Client {
    fn new(server: &Server, device: &Device, from: &str) -> Client {
        Client::with(ClientConfig::default(), psk_of(device), server, from)
    }

    fn with(config: ClientConfig, credential: ClientCredential, server: &Server, from: &str) -> Client {
        let socket = UdpSocket::bind(from).unwrap();
        socket.connect(server.coaps()).unwrap();
        let mut rng = StdRng::seed_from_u64(u64::from(socket.local_addr().unwrap().port()));
        let handshake =
            ClientHandshake::with_credential(&Arc::new(config), credential, Instant::now(), &mut rng);
        Client {
            socket,
            handshake,
            recorded: Vec::new(),
        }
    }

    fn shake_hands(&mut self) {
        for _ in 0..3 {
            self.send();
            self.receive();
        }
    }

    /// The next datagram, not sent.
    fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(self.handshake.poll_transmit(&mut out), "a flight is due");
        self.recorded.push(out.clone());
        out
    }

    fn send(&mut self) {
        let datagram = self.take();
        self.socket.send(&datagram).unwrap();
    }

    fn receive(&mut self) {
        self.receive_within(Duration::from_secs(10)).unwrap();
    }

    /// What comes next gets lost.
    fn lose(&self) {
        heard_within(&self.socket, Duration::from_secs(10)).expect("something to lose");
    }

    /// Whether there is an answer: who is turned away hears nothing.
    fn try_receive(&mut self) -> bool {
        self.receive_within(Duration::from_millis(300)).is_ok()
    }

    fn receive_within(&mut self, wait: Duration) -> io::Result<()> {
        let mut buffer = [0; 2048];
        self.socket.set_read_timeout(Some(wait))?;
        let length = self.socket.recv(&mut buffer)?;
        self.handshake
            .handle_datagram(Instant::now(), &mut buffer[..length])
            .unwrap();
        Ok(())
    }

    /// Long enough for the server to have done what it was going to do. It may say its flight again meanwhile.
    fn pause(&self) {
        self.socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        while self.socket.recv(&mut [0; 2048]).is_ok() {}
    }

    fn established(mut self) -> Peer {
        let Some(HandshakeEvent::Established(established)) = self.handshake.poll_event() else {
            panic!("not established");
        };
        Peer {
            socket: self.socket,
            session: established.session,
            mid: 0,
            recorded: self.recorded,
        }
    }
}

impl Server {
    fn coaps(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.coaps_port))
    }
}

/// The session is the first one and still there. Counters come in once a second.
fn assert_one_session(server: &Server) {
    eventually("the counters have come in", || {
        (server.metric("tessera_sessions_started_total") > 0.0).then_some(())
    });
    assert_eq!(server.metric("tessera_sessions_started_total"), 1.0);
    assert_eq!(server.metric("tessera_sessions_ended_total"), 0.0);
    assert_eq!(live_sessions(server), 1);
}

/// How many sessions there are at this moment.
fn live_sessions(server: &Server) -> usize {
    let listed = server.done("GET", "sessions", Value::Null);
    listed["items"].as_array().unwrap().len()
}

fn assert_silent(socket: &UdpSocket) {
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 2048];
    let heard = socket.recv(&mut buffer);
    assert!(heard.is_err(), "{:02x?}", &buffer[..heard.unwrap()]);
}

/// A request without options but its path.
fn coap(code: &str, kind: MessageType, mid: u16, path: &[&str]) -> Packet {
    let mut packet = Packet::new();
    packet.header.set_version(1);
    packet.header.set_type(kind);
    packet.header.set_code(code);
    packet.header.message_id = mid;
    packet.set_token(mid.to_be_bytes().to_vec());
    for segment in path {
        packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
    }
    packet
}

/// A record by hand.
fn record(kind: u8, epoch: u16, number: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0xfe, 0xfd];
    bytes.extend(epoch.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(number.to_be_bytes());
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A record with a connection ID by hand.
fn identified(id: [u8; 8], epoch: u16, number: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = record(25, epoch, number, body);
    bytes.splice(11..11, id);
    bytes
}

/// A first hello with this cookie, as the second one.
fn with(hello: &[u8], cookie: &[u8]) -> Vec<u8> {
    let mut hello = hello.to_vec();
    // Number of the record, number of the message; the lengths of record, message and fragment.
    (hello[10], hello[18]) = (1, 1);
    for at in [11, 15, 23] {
        let length = u16::from_be_bytes([hello[at], hello[at + 1]]) + cookie.len() as u16;
        hello[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    // Behind the random and a session without a name.
    let at = RANDOM + 33;
    hello[at] = cookie.len() as u8;
    hello.splice(at + 1..at + 1, cookie.iter().copied());
    hello
}

/// Random bytes; most of them look like a record, half of these like one with a connection ID.
fn line_noise(rng: &mut StdRng) -> Vec<u8> {
    let mut noise = vec![0; rng.random_range(0..300)];
    rng.fill_bytes(&mut noise);
    if noise.len() > 21 && rng.random_range(0..4) > 0 {
        let (kind, at) = if rng.random() {
            (25, 19)
        } else {
            (rng.random_range(20..24), 11)
        };
        let length = (noise.len() - at - 2) as u16;
        noise[0] = kind;
        noise[1..3].copy_from_slice(&[0xfe, 0xfd]);
        noise[3..5].copy_from_slice(&rng.random_range(0..2_u16).to_be_bytes());
        noise[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    noise
}

/// The `n`th stranger, at an address that no other has.
fn stranger(server: &Server, n: u32) -> UdpSocket {
    let [_, a, b, c] = n.to_be_bytes();
    // Neighbours in number are none in the network.
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 1 + c / 2, b, 2 + 2 * a + c % 2), 0)).unwrap();
    socket.connect(server.coaps()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// What comes next; `None` where nothing does for long enough for it to be lost.
fn next_datagram(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    if let Ok(length) = socket.recv(&mut buffer) {
        return Some(buffer[..length].to_vec());
    }
    socket.set_nonblocking(false).unwrap();
    let heard = heard_within(socket, Duration::from_secs(1));
    socket.set_nonblocking(true).unwrap();
    heard
}

fn heard_within(socket: &UdpSocket, wait: Duration) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    socket.set_read_timeout(Some(wait)).unwrap();
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Numbers and values.
type Options<'a> = &'a [(u16, &'a [u8])];

/// How many strangers there are, and how many of them at a time.
const HUNDRED_THOUSAND: u32 = 100_000;
const BATCH: u32 = 250;
/// Where the random is in the first datagram: after the headers of record and message, and the version.
const RANDOM: usize = 13 + 12 + 2;
