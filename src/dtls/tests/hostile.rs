//! Handshakes with somebody who does not keep to the protocol. The bytes are made by hand from here on.

use std::time::Instant;

use super::*;
use crate::dtls::FailureReason;
use crate::dtls::handshake::messages::{self, EMPTY_RENEGOTIATION_INFO, Offer};
use crate::dtls::record::{ContentType, DTLS_1_0, write_plaintext};

#[test]
fn a_corrupted_finished_is_refused_and_nothing_is_served() {
    for suite in CipherSuite::ALL {
        let mut simulation = up_to_key_exchange(suite);
        let (_, genuine) = simulation.sent.last().unwrap().clone();
        // Only what lies in the Finished: the record is the last one.
        let last = records(&mut genuine.clone())
            .last()
            .map_or(0, |record| record.len());
        let finished = genuine.len() - last + 13;
        for bit in 8 * finished..8 * genuine.len() {
            let mut corrupted = genuine.clone();
            corrupted[bit / 8] ^= 1 << (bit % 8);
            simulation.deliver(Way::ToServer, corrupted);
            simulation.server.take_events(simulation.now);
            assert!(simulation.server.session.is_none(), "{suite}, bit {bit}");
            assert!(
                simulation.server.handshake.is_some(),
                "{suite}: it may be spoofed, so it ends nothing"
            );
        }
        simulation.deliver(Way::ToServer, genuine);
        simulation.server.take_events(simulation.now);
        assert!(
            simulation.server.session.is_some(),
            "{suite}: the genuine one still counts"
        );
    }
}

#[test]
fn rfc5246_7_4_9_a_finished_over_another_handshake_is_fatal() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0x00a8]));
    let mut server = world.start(&hello).unwrap();
    let randoms = random_of(&hello, &mut server);
    let key_exchange = messages::client_key_exchange(2, identity().as_bytes());
    let mut datagram = record(&key_exchange);
    write_plaintext(ContentType::ChangeCipherSpec, 0xfefd, 9, &[1], &mut datagram);
    server.handle_datagram(world.now, &mut datagram).unwrap();
    assert!(matches!(server.poll_event(), Some(HandshakeEvent::KeyWanted(_))));
    server
        .provide_key(world.now, Some(&psk()), &mut world.rng)
        .unwrap();

    // The right keys, the wrong content.
    let mut client = forged_session(&randoms);
    let finished = messages::message(20, 3, |body| body.extend_from_slice(&[0; 12]));
    let mut datagram = Vec::new();
    client
        .seal_as(ContentType::Handshake, &finished, &mut datagram)
        .unwrap();
    let failure = server.handle_datagram(world.now, &mut datagram).unwrap_err();
    assert_eq!(
        (failure.reason(), failure.claim()),
        (FailureReason::BadFinished, Some(&Claim::Psk(identity())))
    );
    assert_eq!(failure.alert().unwrap()[13..], [2, 51]);
    assert!(server.poll_event().is_none());
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn a_plaintext_finished_counts_for_nothing() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0x00a8]));
    let mut server = world.start(&hello).unwrap();
    let finished = messages::message(20, 2, |body| body.extend_from_slice(&[0; 12]));
    server.handle_datagram(world.now, &mut record(&finished)).unwrap();
    let key_exchange = messages::client_key_exchange(2, identity().as_bytes());
    server
        .handle_datagram(world.now, &mut record(&key_exchange))
        .unwrap();
    server
        .provide_key(world.now, Some(&psk()), &mut world.rng)
        .unwrap();
    let finished = messages::message(20, 3, |body| body.extend_from_slice(&[0; 12]));
    server.handle_datagram(world.now, &mut record(&finished)).unwrap();
    assert!(matches!(server.poll_event(), Some(HandshakeEvent::KeyWanted(_))));
    assert!(server.poll_event().is_none());
}

#[test]
fn refusals_carry_the_right_alert() {
    let version = |version: [u8; 2]| {
        let mut message = hello(&[0xc0a8]);
        message[12..14].copy_from_slice(&version);
        message
    };
    let extended = |extensions: &[u8]| {
        let mut message = hello(&[0xc0a8]);
        message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        message.extend_from_slice(extensions);
        relength(message)
    };
    let compressed = |methods: &[u8]| {
        let mut message = hello(&[0xc0a8]);
        message.truncate(message.len() - 2);
        message.push(methods.len() as u8);
        message.extend_from_slice(methods);
        relength(message)
    };
    let cases = [
        (
            "DTLS 1.0 only",
            version([0xfe, 0xff]),
            FailureReason::UnsupportedVersion,
            70,
        ),
        ("TLS 1.2", version([3, 3]), FailureReason::UnsupportedVersion, 70),
        (
            "DTLS 1.3 only",
            extended(&[0, 43, 0, 3, 2, 0xfe, 0xfc]),
            FailureReason::UnsupportedVersion,
            70,
        ),
        (
            "RSA only",
            hello(&[0x003c, 0x002f]),
            FailureReason::NoCommonSuite,
            40,
        ),
        (
            "CBC without encrypt_then_mac",
            hello(&[0x00ae]),
            FailureReason::NoCommonSuite,
            40,
        ),
        (
            "only a signal",
            hello(&[0x00ff]),
            FailureReason::NoCommonSuite,
            40,
        ),
        (
            "compression alone",
            compressed(&[1]),
            FailureReason::CompressionRequired,
            40,
        ),
        (
            "a renegotiation",
            extended(&[0xff, 1, 0, 2, 1, 7]),
            FailureReason::IllegalParameter,
            40,
        ),
        (
            "no such length",
            extended(&[0, 1, 0, 1, 9]),
            FailureReason::IllegalParameter,
            47,
        ),
        (
            "half an extension",
            extended(&[0, 23, 0]),
            FailureReason::Malformed,
            50,
        ),
    ];
    for (name, message, reason, alert) in cases {
        let mut world = World::new();
        let hello = world.hello(&message);
        let failure = world.start(&hello).unwrap_err();
        assert_eq!(failure.reason(), reason, "{name}");
        assert_eq!(
            failure.alert().unwrap(),
            [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, alert],
            "{name}"
        );
    }
}

#[test]
fn what_may_be_ignored_is() {
    let extended = |extensions: &[u8]| {
        let mut message = hello(&[0x1301, 0xc02b, 0xc0a8]);
        message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        message.extend_from_slice(extensions);
        relength(message)
    };
    let mut with_deflate = hello(&[0xc0a8]);
    with_deflate.truncate(with_deflate.len() - 2);
    with_deflate.extend_from_slice(&[2, 1, 0]);
    let mut newer = hello(&[0xc0a8]);
    newer[13] = 0xfc;
    let cases = [
        ("compression beside none", relength(with_deflate)),
        ("a later version", newer),
        (
            "DTLS 1.3 and 1.2",
            extended(&[0, 43, 0, 5, 4, 0xfe, 0xfc, 0xfe, 0xfd]),
        ),
        ("encrypt_then_mac", extended(&[0, 22, 0, 0])),
        ("a session ticket", extended(&[0, 35, 0, 0])),
        (
            "an IP literal for a name",
            extended(&[0, 0, 0, 14, 0, 12, 0, 0, 9, 49, 50, 55, 46, 48, 46, 48, 46, 49]),
        ),
        ("raw public keys first", extended(&[0, 20, 0, 3, 2, 2, 0])),
        ("the connection ID of a draft", extended(&[0, 53, 0, 1, 0])),
        ("probing of paths alone", extended(&[0, 61, 0, 0])),
    ];
    for (name, message) in cases {
        let mut world = World::new();
        let hello = world.hello(&message);
        let mut server = world.start(&hello).unwrap();
        let mut datagram = Vec::new();
        assert!(server.poll_transmit(&mut datagram));
        // ServerHello: version, 32 bytes, no session_id, C0A8, no compression, no extensions; ServerHelloDone.
        let (hello, done) = datagram.split_at(13 + 12 + 38);
        assert_eq!(hello[25..27], [0xfe, 0xfd], "{name}");
        assert_eq!(hello[59..], [0, 0xc0, 0xa8, 0], "{name}");
        assert_eq!(done[13], 14, "{name}");
    }
}

#[test]
fn rfc5746_3_6_both_signals_are_answered_with_an_empty_renegotiation_info() {
    let by_suite = hello(&[EMPTY_RENEGOTIATION_INFO, 0xc0a8]);
    let by_extension = messages::client_hello(
        1,
        &RANDOM,
        &[],
        &[0xc0a8],
        &Offer {
            renegotiation_info: true,
            ..Offer::default()
        },
    );
    for message in [by_suite, by_extension] {
        let mut world = World::new();
        let hello = world.hello(&message);
        let mut datagram = Vec::new();
        world.start(&hello).unwrap().poll_transmit(&mut datagram);
        assert_eq!(datagram[63..70], [0, 5, 0xff, 1, 0, 1, 0]);
    }
}

#[test]
fn the_server_hello_continues_the_numbers_of_the_client_hello() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0xc0a8]));
    let mut server = world.start(&hello).unwrap();
    let numbers = |server: &mut ServerHandshake| {
        let mut datagram = Vec::new();
        assert!(server.poll_transmit(&mut datagram));
        records(&mut datagram)
            .map(|record| (record[10], record[18]))
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&mut server), [(1, 1), (2, 2)]);
    // Sent again: other records, the same messages.
    server
        .handle_datagram(world.now + SECOND, &mut world.last_hello.clone())
        .unwrap();
    assert_eq!(numbers(&mut server), [(3, 1), (4, 2)]);
}

#[test]
fn a_repeated_hello_gets_the_flight_again_and_a_different_one_does_not() {
    let mut world = World::new();
    let verified = world.hello(&hello(&[0xc0a8]));
    let mut server = world.start(&verified).unwrap();
    assert!(server.poll_transmit(&mut Vec::new()));
    assert!(!server.poll_transmit(&mut Vec::new()));
    assert!(server.began_with(&world.verified(&verified)));
    server
        .handle_datagram(world.now + SECOND, &mut world.last_hello.clone())
        .unwrap();
    assert!(server.poll_transmit(&mut Vec::new()));

    let other = messages::client_hello(1, &[9; 32], &[], &[0xc0a8], &Offer::default());
    let other = world.hello(&other);
    assert!(!server.began_with(&world.verified(&other)));
}

#[test]
fn a_session_knows_the_hello_that_it_began_with_until_its_peer_has_spoken() {
    let mut simulation = up_to_key_exchange(CipherSuite::EcdheEcdsaAes128GcmSha256);
    let hello = simulation.sent[1].1.clone();
    assert_eq!(hello[13], 1);
    let verified = |simulation: &Simulation, hello: &[u8]| {
        let jar = &simulation.server.jar;
        match jar.admit(simulation.now, PEER, LOCAL, hello, &mut Vec::new()) {
            Admission::Verified(hello) => hello,
            other => panic!("{other:?}"),
        }
    };
    simulation.run(|_, _, _| well(), |simulation| simulation.server.session.is_some());
    let session = simulation.server.session.as_ref().unwrap();
    assert!(session.began_with(&verified(&simulation, &hello)));
    let mut numbered = hello.clone();
    numbered[18] += 1;
    assert!(session.began_with(&verified(&simulation, &numbered)));
    let mut world = World::new();
    world.jar = simulation.server.jar.clone();
    world.now = simulation.now;
    let other = world.hello(&self::hello(&[0xc0a8]));
    assert!(!session.began_with(&verified(&simulation, &other)));

    simulation.run_well();
    simulation.assert_agreed();
    let session = simulation.server.session.as_ref().unwrap();
    assert!(!session.began_with(&verified(&simulation, &hello)));
}

#[test]
fn a_hello_that_is_repeated_without_end_gets_a_flight_every_half_second_and_puts_off_none_of_ours() {
    // As devices do, at 1 and 3 seconds, and faster than any.
    for (every, flights) in [(SECOND, 4), (Duration::from_millis(10), 7)] {
        let mut world = World::new();
        let verified = world.hello(&hello(&[0xc0a8]));
        let mut server = world.start(&verified).unwrap();
        assert!(server.poll_transmit(&mut Vec::new()));
        let (mut sent, mut at) = (1, every);
        while at <= 3 * SECOND {
            let now = world.now + at;
            server
                .handle_datagram(now, &mut world.last_hello.clone())
                .unwrap();
            sent += usize::from(server.poll_transmit(&mut Vec::new()));
            assert!(!server.poll_transmit(&mut Vec::new()));
            at += every;
        }
        assert_eq!(sent, flights, "{every:?}");
        // One that comes too early puts off nothing.
        let due = server.poll_timeout().unwrap();
        let soon = world.now + at - every + Duration::from_millis(10);
        server
            .handle_datagram(soon, &mut world.last_hello.clone())
            .unwrap();
        assert_eq!(server.poll_timeout().unwrap(), due);
    }
}

#[test]
fn what_only_looks_like_the_hello_gets_no_flight() {
    let mut world = World::new();
    let verified = world.hello(&hello(&[0xc0a8]));
    let mut server = world.start(&verified).unwrap();
    assert!(server.poll_transmit(&mut Vec::new()));
    // Behind the head of another message, so that the cookie check takes it for none.
    let other = [20, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0];
    let seq = [world.last_hello[17], world.last_hello[18]];
    let empty = [1, 0, 0, 0, seq[0], seq[1], 0, 0, 0, 0, 0, 0];
    let mut forged = Vec::new();
    write_plaintext(
        ContentType::Handshake,
        0xfefd,
        7,
        &[other, empty].concat(),
        &mut forged,
    );
    server.handle_datagram(world.now + SECOND, &mut forged).unwrap();
    assert!(!server.poll_transmit(&mut Vec::new()));
    server
        .handle_datagram(world.now + SECOND, &mut world.last_hello.clone())
        .unwrap();
    assert!(server.poll_transmit(&mut Vec::new()));
}

#[test]
fn the_server_random_is_random_in_full() {
    let randoms: Vec<Vec<u8>> = (0..4)
        .map(|seed| {
            let mut world = World {
                rng: StdRng::seed_from_u64(seed),
                ..World::new()
            };
            let hello = world.hello(&hello(&[0xc0a8]));
            let mut datagram = Vec::new();
            world.start(&hello).unwrap().poll_transmit(&mut datagram);
            datagram[27..59].to_vec()
        })
        .collect();
    for index in (0..32).step_by(4) {
        assert!(
            randoms
                .iter()
                .any(|random| random[index..index + 4] != randoms[0][index..index + 4]),
            "{index}"
        );
    }
}

#[test]
fn an_early_change_cipher_spec_changes_nothing() {
    let mut simulation = up_to_key_exchange(CipherSuite::PskAes128GcmSha256);
    let mut early = Vec::new();
    write_plaintext(ContentType::ChangeCipherSpec, 0xfefd, 0, &[1], &mut early);
    simulation.deliver(Way::ToServer, early);
    let (_, genuine) = simulation.sent.last().unwrap().clone();
    simulation.deliver(Way::ToServer, genuine);
    simulation.run_well();
    simulation.assert_agreed();
}

#[test]
fn a_forged_plaintext_alert_does_not_end_a_handshake() {
    let mut simulation = up_to_key_exchange(CipherSuite::PskAes128GcmSha256);
    for alert in [[2, 40], [1, 0]] {
        let mut forged = Vec::new();
        write_plaintext(ContentType::Alert, 0xfefd, 0, &alert, &mut forged);
        simulation.deliver(Way::ToServer, forged);
    }
    let (_, genuine) = simulation.sent.last().unwrap().clone();
    simulation.deliver(Way::ToServer, genuine);
    simulation.run_well();
    simulation.assert_agreed();
}

#[test]
fn an_alert_that_was_meant_is_what_the_deadline_reports() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0xc0a8]));
    let mut server = world.start(&hello).unwrap();
    let mut alert = Vec::new();
    write_plaintext(ContentType::Alert, 0xfefd, 2, &[2, 47], &mut alert);
    server.handle_datagram(world.now, &mut alert).unwrap();
    let failure = server
        .handle_timeout(world.now + Duration::from_secs(60))
        .unwrap_err();
    assert_eq!(
        (failure.reason(), failure.alert()),
        (FailureReason::PeerAlert(47), None)
    );
}

#[test]
fn forged_protected_records_while_the_key_is_looked_up_do_not_push_the_finished_out_for_good() {
    let mut simulation = up_to_key_exchange(CipherSuite::PskAes128GcmSha256);
    simulation.server.lookup = Duration::from_millis(100);
    let (_, genuine) = simulation.sent.last().unwrap().clone();
    simulation.deliver(Way::ToServer, genuine);
    simulation.server.take_events(simulation.now);
    for number in 0..100 {
        let mut forged = vec![22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, number, 0, 48];
        forged.extend_from_slice(&[7; 48]);
        simulation.deliver(Way::ToServer, forged);
    }
    simulation.run_well();
    simulation.assert_agreed();
    assert!(simulation.now - simulation.start < Duration::from_secs(3));
}

#[test]
fn a_key_exchange_may_come_in_overlapping_and_contradicting_fragments() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0xc0a8]));
    let mut server = world.start(&hello).unwrap();
    let whole = messages::client_key_exchange(2, b"device");
    let piece = |total: u8, offset: usize, body: &[u8]| {
        let len = body.len() as u8;
        record(&[&[16, 0, 0, total, 0, 2, 0, 0, offset as u8, 0, 0, len], body].concat())
    };
    for mut datagram in [
        piece(99, 0, b"a lie about the length"),
        piece(8, 6, b"xx"),
        piece(8, 2, &whole[14..19]),
        piece(8, 4, &whole[16..20]),
    ] {
        server.handle_datagram(world.now, &mut datagram).unwrap();
        assert!(server.poll_event().is_none());
    }
    server
        .handle_datagram(world.now, &mut piece(8, 0, &whole[12..14]))
        .unwrap();
    match server.poll_event() {
        Some(HandshakeEvent::KeyWanted(identity)) => assert_eq!(identity.as_bytes(), b"device"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lengths_that_lie_and_16_mib_announced_are_dropped() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0xc0a8]));
    let mut server = world.start(&hello).unwrap();
    for header in [
        [16, 0xff, 0xff, 0xff, 0, 2, 0, 0, 0, 0, 0, 4],
        [16, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 4],
        [16, 0, 0, 4, 0, 2, 0, 0, 0, 0, 0, 9],
        [16, 0, 0, 4, 0, 2, 0, 0, 1, 0, 0, 4],
        [16, 0, 0, 4, 0xff, 0xff, 0, 0, 0, 0, 0, 4],
    ] {
        let message = [&header[..], &[0, 2, 7, 7]].concat();
        server.handle_datagram(world.now, &mut record(&message)).unwrap();
        assert!(server.poll_event().is_none());
    }
    let lying_identity = [16, 0, 0, 4, 0, 2, 0, 0, 0, 0, 0, 4, 0, 3, 7, 7];
    let failure = server
        .handle_datagram(world.now, &mut record(&lying_identity))
        .unwrap_err();
    assert_eq!(failure.reason(), FailureReason::Malformed);
}

#[test]
fn a_message_out_of_place_is_refused() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0xc0a8]));
    let mut server = world.start(&hello).unwrap();
    let certificate = messages::message(11, 2, |body| body.extend_from_slice(&[0, 0, 0]));
    let failure = server
        .handle_datagram(world.now, &mut record(&certificate))
        .unwrap_err();
    assert_eq!(failure.reason(), FailureReason::UnexpectedMessage);
    assert_eq!(failure.alert().unwrap()[13..], [2, 10]);
}

#[test]
fn garbage_during_a_handshake_ends_nothing() {
    let mut simulation = up_to_key_exchange(CipherSuite::PskAes128GcmSha256);
    let (_, genuine) = simulation.sent.last().unwrap().clone();
    for len in 0..genuine.len() {
        // Cut short; what is whole of it counts.
        if len < 13 + 12 + 2 {
            simulation.deliver(Way::ToServer, genuine[..len].to_vec());
        }
        simulation.deliver(Way::ToServer, vec![len as u8; len]);
    }
    simulation.deliver(Way::ToServer, genuine);
    simulation.run_well();
    simulation.assert_agreed();
}

#[test]
fn a_server_that_answers_what_was_not_offered_is_refused() {
    let cases = [
        (
            "a suite",
            messages::server_hello(0, &RANDOM, 0xc0a4, &Offer::default()),
            FailureReason::IllegalParameter,
        ),
        (
            "a foreign suite",
            messages::server_hello(0, &RANDOM, 0x003c, &Offer::default()),
            FailureReason::IllegalParameter,
        ),
        (
            "an extension",
            messages::server_hello(
                0,
                &RANDOM,
                0xc0a8,
                &Offer {
                    record_size_limit: Some(99),
                    ..Offer::default()
                },
            ),
            FailureReason::IllegalParameter,
        ),
        (
            "its own order",
            messages::message(14, 0, |_| ()),
            FailureReason::UnexpectedMessage,
        ),
    ];
    for (name, message, reason) in cases {
        let client = ClientConfig {
            suites: vec![CipherSuite::PskAes128Ccm8],
            ..ClientConfig::default()
        };
        let mut simulation = Simulation::new(client, ServerConfig::default(), 1);
        simulation.deliver(Way::ToClient, record(&message));
        let Some(Err(failure)) = simulation.client.outcome else {
            panic!("{name} was taken")
        };
        assert_eq!(failure.reason(), reason, "{name}");
        assert!(failure.alert().is_some(), "{name}");
    }
}

/// A cookie jar and what it has let in.
pub struct World {
    pub now: Instant,
    pub jar: CookieJar,
    pub rng: StdRng,
    pub config: Arc<ServerConfig>,
    last_hello: Vec<u8>,
}

impl World {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            jar: CookieJar::new([3; 32], now),
            config: Arc::new(ServerConfig::default()),
            rng: StdRng::seed_from_u64(3),
            last_hello: Vec::new(),
        }
    }

    /// Puts a good cookie into a hello; the datagram.
    pub fn hello(&mut self, message: &[u8]) -> Vec<u8> {
        let mut challenge = Vec::new();
        let admission = self
            .jar
            .admit(self.now, PEER, LOCAL, &record(message), &mut challenge);
        assert!(matches!(admission, Admission::Challenged), "{admission:?}");
        let cookie = &challenge[28..];
        let at = 12 + 2 + 32 + 1;
        let message = [&message[..at], &[cookie.len() as u8], cookie, &message[at + 1..]].concat();
        self.last_hello = record(&relength(message));
        self.last_hello.clone()
    }

    pub fn verified(&self, datagram: &[u8]) -> crate::dtls::VerifiedHello {
        match self.jar.admit(self.now, PEER, LOCAL, datagram, &mut Vec::new()) {
            Admission::Verified(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    pub fn start(&mut self, datagram: &[u8]) -> Result<ServerHandshake, HandshakeFailure> {
        let hello = self.verified(datagram);
        ServerHandshake::new(&self.config, hello, Some(SERVER_ID), self.now, &mut self.rng)
    }
}

/// A simulation whose client has just sent its key exchange, which is lost.
fn up_to_key_exchange(suite: CipherSuite) -> Simulation {
    let client = ClientConfig {
        suites: vec![suite],
        ..ClientConfig::default()
    };
    let mut simulation = Simulation::new(client, ServerConfig::default(), 1);
    simulation.run(
        |nth, _, _| if nth == 3 { Vec::new() } else { well() },
        |simulation| simulation.sent.len() == 4,
    );
    let first = if suite.has_psk() { 16 } else { 11 };
    assert_eq!(simulation.sent[3].1[13], first);
    simulation
}

/// The randoms of a handshake that has just begun.
fn random_of(hello: &[u8], server: &mut ServerHandshake) -> ([u8; 32], [u8; 32]) {
    let mut datagram = Vec::new();
    assert!(server.poll_transmit(&mut datagram));
    (
        hello[27..59].try_into().unwrap(),
        datagram[27..59].try_into().unwrap(),
    )
}

/// The client's session of a handshake without extended master secret, from the randoms of both sides.
fn forged_session((client, server): &([u8; 32], [u8; 32])) -> Session {
    use crate::dtls::handshake::secrets::{MasterSecret, OtherSecret, Randoms, Side};
    let randoms = Randoms {
        client: *client,
        server: *server,
    };
    let suite = CipherSuite::PskAes128GcmSha256;
    MasterSecret::derive(&psk(), &OtherSecret::Absent, &randoms, None).session(Side::Client, suite, &randoms)
}

/// A hello without cookie and extensions; message 1, as if it were the second one.
pub fn hello(suites: &[u16]) -> Vec<u8> {
    messages::client_hello(1, &RANDOM, &[], suites, &Offer::default())
}

/// Repairs the lengths in the header of an unfragmented message.
pub fn relength(mut message: Vec<u8>) -> Vec<u8> {
    let [_, length @ ..] = ((message.len() - 12) as u32).to_be_bytes();
    message[1..4].copy_from_slice(&length);
    message[9..12].copy_from_slice(&length);
    message
}

/// Record number 1 of epoch 0.
pub fn record(message: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    write_plaintext(ContentType::Handshake, DTLS_1_0, 1, message, &mut datagram);
    datagram
}

pub const RANDOM: [u8; 32] = [5; 32];

const SECOND: Duration = Duration::from_secs(1);
