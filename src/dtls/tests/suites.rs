//! What it takes for a suite to be chosen, and key exchanges on a curve with somebody who does not keep to it.

use super::hostile::{RANDOM, World, hello, record, relength};
use super::*;
use crate::dtls::FailureReason;
use crate::dtls::crypto::{EphemeralKey, Transcript};
use crate::dtls::handshake::messages::{self, Listed, Offer};
use crate::dtls::handshake::secrets::{MasterSecret, OtherSecret, Randoms, Side};
use crate::dtls::record::{ContentType, write_plaintext};

#[test]
fn rfc7366_3_cbc_is_chosen_only_where_encrypt_then_mac_is_offered() {
    const ETM: &[u8] = &[0, 22, 0, 0];
    let cases = [
        (&[0x00ae, 0x00a8][..], ETM, Some((0x00ae, ETM))),
        (&[0x00ae], ETM, Some((0x00ae, ETM))),
        (&[0x00ae, 0xc0a8], &[], Some((0xc0a8, &[][..]))),
        (&[0xc0a4, 0x00ae], ETM, Some((0xc0a4, &[]))),
        (&[0xc037, 0xc0a4], ETM, Some((0xc0a4, &[]))),
        (&[0x00ae], &[], None),
    ];
    for (suites, extensions, expected) in cases {
        assert_eq!(
            chosen(suites, extensions),
            expected.map(|(suite, answered)| (suite, answered.to_vec())),
            "{suites:04x?} with {extensions:02x?}"
        );
    }
}

#[test]
fn rfc8422_5_1_a_curve_is_used_where_the_client_has_p256_and_whole_points() {
    const X25519_AND_P256: &[u8] = &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23];
    const X25519_ALONE: &[u8] = &[0, 10, 0, 4, 0, 2, 0, 29];
    const COMPRESSED_TOO: &[u8] = &[0, 11, 0, 3, 2, 0, 1];
    const COMPRESSED_ALONE: &[u8] = &[0, 11, 0, 2, 1, 1];
    const UNCOMPRESSED: &[u8] = &[0, 11, 0, 2, 1, 0];
    let both = [X25519_AND_P256, COMPRESSED_TOO].concat();
    let cases: [(&[u8], u16, &[u8]); 6] = [
        (&[], 0xd001, &[]),
        (X25519_AND_P256, 0xd001, &[]),
        (COMPRESSED_TOO, 0xd001, UNCOMPRESSED),
        (&both, 0xd001, UNCOMPRESSED),
        (X25519_ALONE, 0xc0a8, &[]),
        (COMPRESSED_ALONE, 0xc0a8, &[]),
    ];
    for (extensions, expected, answered) in cases {
        assert_eq!(
            chosen(&[0xd001, 0xc0a8], extensions),
            Some((expected, answered.to_vec())),
            "{extensions:02x?}"
        );
    }
    assert_eq!(
        chosen(&[0xc0a8, 0xd001], COMPRESSED_TOO),
        Some((0xc0a8, Vec::new())),
        "the client's order"
    );
    assert_eq!(chosen(&[0xd001, 0xd005], X25519_ALONE), None);
}

/// The datagrams of a Zephyr device built for native_sim, byte for byte (CONTRACT.md section 1): 00AE and nothing else, in
/// 92 bytes.
#[test]
fn the_hello_of_a_stock_zephyr_device_gets_a_session_in_cbc() {
    let mut world = World::new();
    let first = zephyr_hello(0, &[]);
    assert_eq!(first.len(), 92);
    let mut challenge = Vec::new();
    let admission = world.jar.admit(world.now, PEER, LOCAL, &first, &mut challenge);
    assert!(matches!(admission, Admission::Challenged), "{admission:?}");
    let hello = zephyr_hello(1, &challenge[28..]);
    let mut server = world.start(&hello).unwrap();

    let mut flight = Vec::new();
    assert!(server.poll_transmit(&mut flight));
    #[rustfmt::skip]
    let expected = [
        0,                              // no name for the session
        0x00, 0xae, 0,
        0, 18,
        0xff, 0x01, 0, 1, 0,            // renegotiation_info
        0, 23, 0, 0,                    // extended_master_secret
        0, 22, 0, 0,                    // encrypt_then_mac
        0, 1, 0, 1, 3,                  // max_fragment_length 2048
    ];
    let messages: Vec<Vec<u8>> = records(&mut flight).map(|record| record[13..].to_vec()).collect();
    let [server_hello, done] = &messages[..] else {
        panic!("{messages:02x?}")
    };
    assert_eq!(server_hello[46..], expected);
    assert_eq!(done[..], [14, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);

    let key_exchange = [&[16, 0, 0, 8, 0, 2, 0, 0, 0, 0, 0, 8, 0, 6][..], b"device"].concat();
    let mut transcript = Transcript::new();
    for message in [&hello[13..], server_hello, done, &key_exchange] {
        transcript.update(message);
    }
    let randoms = Randoms {
        client: RANDOM,
        server: server_hello[14..46].try_into().unwrap(),
    };
    let session_hash = Some(transcript.hash());
    let master_secret = MasterSecret::derive(&psk(), &OtherSecret::Absent, &randoms, session_hash);
    let mut device = master_secret.session(Side::Client, CipherSuite::PskAes128CbcSha256, &randoms);
    let mut datagram = record(&key_exchange);
    write_plaintext(ContentType::ChangeCipherSpec, 0xfefd, 3, &[1], &mut datagram);
    let verify_data = master_secret.verify_data(Side::Client, transcript.hash());
    let finished = [&[20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12], &verify_data[..]].concat();
    device
        .seal_as(ContentType::Handshake, &finished, &mut datagram)
        .unwrap();

    server.handle_datagram(world.now, &mut datagram).unwrap();
    match server.poll_event() {
        Some(HandshakeEvent::KeyWanted(identity)) => assert_eq!(identity.as_bytes(), b"device"),
        other => panic!("{other:?}"),
    }
    server
        .provide_key(world.now, Some(&psk()), &mut world.rng)
        .unwrap();
    let Some(HandshakeEvent::Established(established)) = server.poll_event() else {
        panic!("no session")
    };
    let mut session = established.session;
    assert_eq!(session.suite().id(), 0x00ae);
    assert!(session.extended_master_secret());
    assert_eq!(session.max_plaintext(), 2048);
    assert_speaking(&mut device, &mut session);
    assert_speaking(&mut session, &mut device);
}

#[test]
fn a_point_that_is_none_is_refused_before_anything_is_looked_up() {
    let good = *EphemeralKey::generate().public();
    let mut off_the_curve = good;
    off_the_curve[40] ^= 1;
    let with_point = |point: &[u8]| {
        let body = [&[0, 2, b'i', b'd', point.len() as u8], point].concat();
        messages::message(16, 2, |out| out.extend_from_slice(&body))
    };
    let cases = [
        (
            "off the curve",
            with_point(&off_the_curve),
            FailureReason::IllegalParameter,
            47,
        ),
        (
            "compressed",
            with_point(&[&[2], &good[1..33]].concat()),
            FailureReason::IllegalParameter,
            47,
        ),
        (
            "at infinity",
            with_point(&[0]),
            FailureReason::IllegalParameter,
            47,
        ),
        ("no bytes", with_point(&[]), FailureReason::IllegalParameter, 47),
        (
            "cut short",
            with_point(&good[..64]),
            FailureReason::IllegalParameter,
            47,
        ),
        (
            "absent",
            messages::client_key_exchange(2, b"id"),
            FailureReason::Malformed,
            50,
        ),
    ];
    for (name, key_exchange, reason, alert) in cases {
        let mut world = World::new();
        let hello = world.hello(&hello(&[0xd001]));
        let mut server = world.start(&hello).unwrap();
        let failure = server
            .handle_datagram(world.now, &mut record(&key_exchange))
            .unwrap_err();
        assert_eq!(failure.reason(), reason, "{name}");
        assert_eq!(failure.alert().unwrap()[13..], [2, alert], "{name}");
        assert!(server.poll_event().is_none(), "{name}");
    }
}

#[test]
fn a_plain_key_exchange_with_a_point_behind_it_is_refused() {
    let mut world = World::new();
    let hello = world.hello(&hello(&[0x00a8]));
    let mut server = world.start(&hello).unwrap();
    let key = EphemeralKey::generate();
    let key_exchange = messages::ecdhe_client_key_exchange(2, b"id", key.public());
    let failure = server
        .handle_datagram(world.now, &mut record(&key_exchange))
        .unwrap_err();
    assert_eq!(failure.reason(), FailureReason::Malformed);
}

#[test]
fn a_key_exchange_with_a_point_may_come_in_pieces() {
    let mut simulation = simulation(CipherSuite::EcdhePskAes128GcmSha256);
    simulation.run(
        |nth, _, _| if nth == 3 { Vec::new() } else { well() },
        |simulation| simulation.sent.len() == 4,
    );
    let (_, mut datagram) = simulation.sent[3].clone();
    let mut split: Vec<Vec<u8>> = records(&mut datagram).map(|record| record.to_vec()).collect();
    let whole = split.remove(0)[13..].to_vec();
    let body = &whole[12..];
    for (offset, end) in [(60, body.len()), (0, 30), (20, 70)] {
        let len = (end - offset) as u8;
        let header = [&whole[..6], &[0, 0, offset as u8, 0, 0, len]].concat();
        simulation.deliver(Way::ToServer, record(&[&header[..], &body[offset..end]].concat()));
    }
    for rest in split {
        simulation.deliver(Way::ToServer, rest);
    }
    simulation.run_well();
    simulation.assert_agreed();
}

#[test]
fn our_client_takes_no_other_order_of_encryption_and_mac() {
    let etm = Offer {
        encrypt_then_mac: true,
        ..Offer::default()
    };
    for (suite, answer, reason) in [
        (
            CipherSuite::PskAes128CbcSha256,
            Offer::default(),
            FailureReason::NoCommonSuite,
        ),
        (CipherSuite::PskAes128Ccm8, etm, FailureReason::IllegalParameter),
    ] {
        let client = ClientConfig {
            suites: vec![CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128CbcSha256],
            ..ClientConfig::default()
        };
        let mut simulation = Simulation::new(client, ServerConfig::default(), 1);
        let hello = messages::server_hello(0, &RANDOM, suite.id(), &answer);
        simulation.deliver(Way::ToClient, record(&hello));
        assert_eq!(refusal(&simulation), Some(reason), "{suite}");
    }
}

#[test]
fn our_client_takes_no_point_that_is_none() {
    let good = *EphemeralKey::generate().public();
    let mut off_the_curve = good;
    off_the_curve[40] ^= 1;
    let exchange = |seq| messages::ecdhe_server_key_exchange(seq, &good);
    let mut other_curve = exchange(1);
    other_curve[16] = 24;
    let done = |seq| messages::message(14, seq, |_| ());
    let cases = [
        (
            "off the curve",
            vec![messages::ecdhe_server_key_exchange(1, &off_the_curve), done(2)],
            Some(FailureReason::IllegalParameter),
        ),
        (
            "on another curve",
            vec![other_curve],
            Some(FailureReason::IllegalParameter),
        ),
        (
            "a hint alone",
            vec![messages::message(12, 1, |body| body.extend_from_slice(&[0, 0]))],
            Some(FailureReason::Malformed),
        ),
        ("none", vec![done(1)], Some(FailureReason::UnexpectedMessage)),
        (
            "two",
            vec![exchange(1), exchange(2)],
            Some(FailureReason::UnexpectedMessage),
        ),
        ("good", vec![exchange(1), done(2)], None),
    ];
    for (name, messages, expected) in cases {
        let mut simulation = simulation(CipherSuite::EcdhePskAes128GcmSha256);
        let hello = messages::server_hello(0, &RANDOM, 0xd001, &Offer::default());
        simulation.deliver(Way::ToClient, record(&hello));
        for message in messages {
            simulation.deliver(Way::ToClient, record(&message));
        }
        assert_eq!(refusal(&simulation), expected, "{name}");
    }
}

#[test]
fn our_client_offers_what_its_suites_need_and_no_more() {
    let offer = |suites: &[CipherSuite]| {
        let client = ClientConfig {
            suites: suites.to_vec(),
            ..ClientConfig::default()
        };
        let mut hello = Vec::new();
        Simulation::new(client, ServerConfig::default(), 1)
            .client
            .handshake
            .poll_transmit(&mut hello);
        messages::ClientHello::parse(&hello[25..])
            .unwrap()
            .offer()
            .unwrap()
    };
    let plain = offer(&[CipherSuite::PskAes128Ccm8]);
    assert_eq!(
        (plain.encrypt_then_mac, plain.p256, plain.uncompressed_points),
        (false, Listed::NoList, Listed::NoList)
    );
    let cbc = offer(&[CipherSuite::PskAes128CbcSha256]);
    assert_eq!((cbc.encrypt_then_mac, cbc.p256), (true, Listed::NoList));
    let curve = offer(&[CipherSuite::EcdhePskAes128CcmSha256]);
    assert_eq!(
        (curve.encrypt_then_mac, curve.p256, curve.uncompressed_points),
        (false, Listed::Yes, Listed::Yes)
    );
}

#[test]
fn two_handshakes_with_a_curve_never_share_keys() {
    let record = || {
        let (mut client, _) = sessions(CipherSuite::EcdhePskAes128GcmSha256);
        let mut record = Vec::new();
        client.seal(b"the same", &mut record).unwrap();
        record
    };
    // The same seed, so the same randoms: all that differs are the ephemeral keys.
    assert_ne!(record(), record());
}

/// The suite that a hello gets and the extensions answered; `None` for a handshake_failure.
fn chosen(suites: &[u16], extensions: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut message = hello(suites);
    if !extensions.is_empty() {
        message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        message.extend_from_slice(extensions);
    }
    let mut world = World::new();
    let datagram = world.hello(&relength(message));
    let mut server = match world.start(&datagram) {
        Ok(server) => server,
        Err(failure) => {
            assert_eq!(failure.reason(), FailureReason::NoCommonSuite);
            assert_eq!(failure.alert().unwrap()[13..], [2, 40]);
            return None;
        }
    };
    let mut flight = Vec::new();
    assert!(server.poll_transmit(&mut flight));
    let hello = records(&mut flight).next().unwrap();
    let suite = u16::from_be_bytes([hello[60], hello[61]]);
    let answered = hello.get(65..).unwrap_or_default().to_vec();
    Some((suite, answered))
}

fn refusal(simulation: &Simulation) -> Option<FailureReason> {
    match &simulation.client.outcome {
        Some(Err(failure)) => {
            assert!(failure.alert().is_some());
            Some(failure.reason())
        }
        Some(Ok(_)) => panic!("a session with nobody"),
        None => None,
    }
}

fn simulation(suite: CipherSuite) -> Simulation {
    let client = ClientConfig {
        suites: vec![suite],
        ..ClientConfig::default()
    };
    Simulation::new(client, ServerConfig::default(), 1)
}

#[rustfmt::skip]
fn zephyr_hello(number: u8, cookie: &[u8]) -> Vec<u8> {
    let len = 67 + cookie.len() as u8;
    [
        &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number, 0, 12 + len][..],
        &[1, 0, 0, len, 0, number, 0, 0, 0, 0, 0, len],
        &[0xfe, 0xfd],
        &RANDOM,
        &[0],
        &[cookie.len() as u8],
        cookie,
        &[
            0, 4, 0x00, 0xae, 0x00, 0xff,
            1, 0,
            0, 21,
            0, 13, 0, 4, 0, 2, 4, 1,        // signature_algorithms: RSA with SHA-256
            0, 1, 0, 1, 3,                  // max_fragment_length 2048
            0, 22, 0, 0,                    // encrypt_then_mac
            0, 23, 0, 0,                    // extended_master_secret
        ],
    ]
    .concat()
}
