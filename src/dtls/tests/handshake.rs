//! What the two halves agree on, over a network that does its work.

use super::*;
use crate::dtls::{FailureReason, MaxFragmentLength, SealError, Timers};

#[test]
fn every_suite_is_agreed_on_with_and_without_extended_master_secret() {
    for suite in CipherSuite::ALL {
        for extended_master_secret in [true, false] {
            let client = ClientConfig {
                suites: vec![suite],
                extended_master_secret,
                ..ClientConfig::default()
            };
            let mut simulation = Simulation::new(client, ServerConfig::default(), 1);
            simulation.run_well();
            simulation.assert_agreed();
            let session = simulation.server.session.as_ref().unwrap();
            assert_eq!(
                (session.suite(), session.extended_master_secret()),
                (suite, extended_master_secret)
            );
            let claim = if suite.has_psk() {
                Claim::Psk(identity())
            } else {
                Claim::Certificate(fixtures::device().facts().clone())
            };
            assert_eq!(simulation.server.claim, Some(claim));
        }
    }
}

#[test]
fn the_clients_order_decides_among_what_the_server_allows() {
    let client = || ClientConfig {
        suites: vec![
            CipherSuite::PskAes128Ccm8,
            CipherSuite::PskAes128Ccm,
            CipherSuite::PskAes128GcmSha256,
        ],
        ..ClientConfig::default()
    };
    let (session, _) = Simulation::new(client(), ServerConfig::default(), 1).into_sessions();
    assert_eq!(session.suite(), CipherSuite::PskAes128Ccm8);

    let server = ServerConfig {
        suites: vec![CipherSuite::PskAes128GcmSha256, CipherSuite::PskAes128Ccm],
        ..ServerConfig::default()
    };
    let (session, _) = Simulation::new(client(), server, 1).into_sessions();
    assert_eq!(session.suite(), CipherSuite::PskAes128Ccm);
}

#[test]
fn a_handshake_takes_six_datagrams() {
    let mut simulation = Simulation::new(ClientConfig::default(), ServerConfig::default(), 1);
    simulation.run_well();
    // The HelloVerifyRequest is the jar's, so it is not among those sent by the handshakes.
    let ways: Vec<Way> = simulation.sent.iter().map(|(way, _)| *way).collect();
    assert_eq!(
        ways,
        [
            Way::ToServer,
            Way::ToServer,
            Way::ToClient,
            Way::ToServer,
            Way::ToClient
        ]
    );
    assert_eq!(simulation.now - simulation.start, Duration::from_millis(60));
}

#[test]
fn the_store_may_take_its_time() {
    let mut simulation = Simulation::new(ClientConfig::default(), ServerConfig::default(), 1);
    simulation.server.lookup = Duration::from_millis(2500);
    simulation.run_well();
    simulation.assert_agreed();
    assert!(
        simulation.now - simulation.start < Duration::from_millis(2700),
        "the first Finished was kept"
    );
    assert_eq!(simulation.server.established, 1);
}

#[test]
fn a_store_that_never_answers_ends_at_the_deadline() {
    let mut simulation = Simulation::new(ClientConfig::default(), ServerConfig::default(), 1);
    simulation.server.lookup = Duration::from_secs(1_000_000);
    simulation.run(
        |_, _, _| well(),
        |simulation| !simulation.server.failures.is_empty(),
    );
    let failure = &simulation.server.failures[0];
    assert_eq!(
        (failure.reason(), failure.claim()),
        (FailureReason::TimedOut, Some(&Claim::Psk(identity())))
    );
}

#[test]
fn a_wrong_key_and_an_unknown_identity_look_the_same_from_outside() {
    for suite in CipherSuite::ALL.into_iter().filter(|suite| suite.has_psk()) {
        let wrong = Psk::new(b"a secret of another device").unwrap();
        let too_long = Identity::unchecked(&[b'x'; 65]);
        let cases = [
            (identity(), Some(wrong), FailureReason::WrongKey, Some(identity())),
            (identity(), None, FailureReason::UnknownIdentity, Some(identity())),
            (
                Identity::unchecked(b""),
                Some(psk()),
                FailureReason::UnknownIdentity,
                None,
            ),
            (too_long, Some(psk()), FailureReason::UnknownIdentity, None),
        ];
        let mut seen = Vec::new();
        for (identity, server_key, reason, whose) in cases {
            let mut simulation = Simulation::with_keys(
                ClientConfig {
                    suites: vec![suite],
                    ..ClientConfig::default()
                },
                ServerConfig::default(),
                1,
                identity,
                psk(),
                server_key,
            );
            simulation.run_well();
            let [failure] = &simulation.server.failures[..] else {
                panic!("{:?}", simulation.server.failures)
            };
            assert_eq!(
                (failure.reason(), failure.claim()),
                (reason, whose.map(Claim::Psk).as_ref())
            );
            assert_eq!(failure.alert(), None);
            assert!(simulation.server.session.is_none());
            let Some(Err(failure)) = &simulation.client.outcome else {
                panic!("the client has a session")
            };
            assert_eq!(failure.reason(), FailureReason::TimedOut);
            let to_client = simulation.sent.iter().filter(|(way, _)| *way == Way::ToClient);
            seen.push(to_client.map(|(_, datagram)| datagram.len()).collect::<Vec<_>>());
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], seen[2]);
        assert_eq!(seen[0], seen[3]);
    }
}

#[test]
fn an_abandoned_handshake_says_what_was_suspicious_about_it() {
    let mut simulation = Simulation::with_keys(
        ClientConfig::default(),
        ServerConfig::default(),
        1,
        identity(),
        psk(),
        None,
    );
    simulation.run(|_, _, _| well(), |simulation| simulation.sent.len() == 4);
    simulation.run(
        |_, _, _| well(),
        |simulation| simulation.server.wanted.is_none() && simulation.sent.len() > 4,
    );
    let failure = simulation.server.handshake.take().unwrap().abandon();
    assert_eq!(
        (failure.reason(), failure.claim()),
        (FailureReason::UnknownIdentity, Some(&Claim::Psk(identity())))
    );
}

#[test]
fn nothing_in_common_is_a_handshake_failure() {
    let client = ClientConfig {
        suites: vec![CipherSuite::PskAes128Ccm],
        ..ClientConfig::default()
    };
    let server = ServerConfig {
        suites: vec![CipherSuite::PskAes128Ccm8],
        ..ServerConfig::default()
    };
    let mut simulation = Simulation::new(client, server, 1);
    simulation.run_well();
    assert_eq!(
        simulation.server.failures[0].reason(),
        FailureReason::NoCommonSuite
    );
    let Some(Err(failure)) = &simulation.client.outcome else {
        panic!("the client has a session")
    };
    assert_eq!(failure.reason(), FailureReason::PeerAlert(40));
}

#[test]
fn a_max_fragment_length_binds_the_server() {
    let client = ClientConfig {
        max_fragment_length: Some(MaxFragmentLength::Bytes512),
        ..ClientConfig::default()
    };
    let (client, mut server) = Simulation::new(client, ServerConfig::default(), 1).into_sessions();
    assert_eq!((client.max_plaintext(), server.max_plaintext()), (512, 512));
    let mut out = vec![1, 2, 3];
    let refused = server.seal(&[0; 513], &mut out);
    assert_eq!(refused, Err(SealError::TooLong { len: 513, max: 512 }));
    assert_eq!(out, [1, 2, 3]);
    assert_eq!(
        server.seal(&[0; 512], &mut out),
        Ok(1),
        "the refused record took no number"
    );
}

#[test]
fn rfc8449_5_a_record_size_limit_wins_over_a_max_fragment_length() {
    let client = ClientConfig {
        max_fragment_length: Some(MaxFragmentLength::Bytes512),
        record_size_limit: Some(100),
        ..ClientConfig::default()
    };
    let (client, server) = Simulation::new(client, ServerConfig::default(), 1).into_sessions();
    assert_eq!(server.max_plaintext(), 100);
    assert_eq!(client.max_plaintext(), 1 << 14, "each side announces its own");
}

#[test]
fn a_rebooted_client_comes_back_beside_its_old_session() {
    let mut simulation = Simulation::new(ClientConfig::default(), ServerConfig::default(), 1);
    simulation.run_well();
    let mut old = simulation.server.session.take().unwrap();
    let old_client = simulation.client.outcome.take();

    begin_anew(&mut simulation, 2, psk());
    simulation.run(
        |_, _, _| well(),
        |simulation| simulation.server.handshake.is_some() && simulation.sent.len() == 8,
    );
    let Some(Ok(mut client)) = old_client else {
        panic!("no session")
    };
    assert_speaking(&mut client, &mut old);
    simulation.run_well();
    simulation.assert_agreed();
}

/// On a slow network a client gives a handshake up before the answer is there, and then takes it for the answer to its next hello.
#[test]
fn a_client_that_takes_an_old_answer_for_a_new_one_has_no_wrong_key() {
    let mut simulation = Simulation::new(ClientConfig::default(), ServerConfig::default(), 1);
    let late = |nth: usize, way: Way, _: &[u8]| match (way, nth) {
        (Way::ToClient, 2 | 5) => Vec::new(),
        _ => well(),
    };
    simulation.run(late, |simulation| simulation.sent.len() == 3);
    let answer = simulation.sent[2].1.clone();
    begin_anew(&mut simulation, 2, psk());
    simulation.run(late, |simulation| simulation.sent.len() == 6);
    simulation.deliver(Way::ToClient, answer);
    simulation.run(late, |_| false);
    assert_eq!(
        simulation.server.reasons(),
        [FailureReason::Abandoned, FailureReason::TimedOut]
    );
    let claim = simulation.server.failures[1].claim();
    assert_eq!(
        claim,
        Some(&Claim::Psk(identity())),
        "it came as far as a Finished"
    );
}

#[test]
fn a_wrong_key_stays_one_however_often_its_client_begins_anew() {
    let wrong = || Psk::new(b"a secret of another device").unwrap();
    let (client, server) = (ClientConfig::default(), ServerConfig::default());
    let mut simulation = Simulation::with_keys(client, server, 1, identity(), wrong(), Some(psk()));
    for (flights, seed) in [(4, 2), (8, 3)] {
        simulation.run(
            |_, _, _| well(),
            |simulation| simulation.sent.len() == flights && simulation.in_flight.is_empty(),
        );
        begin_anew(&mut simulation, seed, wrong());
    }
    simulation.run_well();
    assert_eq!(simulation.server.reasons(), [FailureReason::WrongKey; 3]);
}

/// From the same port.
fn begin_anew(simulation: &mut Simulation, seed: u64, key: Psk) {
    simulation.client.handshake = ClientHandshake::new(
        &Arc::new(ClientConfig::default()),
        identity(),
        key,
        simulation.now,
        &mut StdRng::seed_from_u64(seed),
    );
}

#[test]
fn close_notify_ends_the_session_at_the_other_side() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128Ccm8);
    let mut datagram = Vec::new();
    client.close(&mut datagram);
    assert_eq!(server.handle_record(&mut datagram), Incoming::Closed);
    let mut answer = Vec::new();
    server.close(&mut answer);
    assert_eq!(client.handle_record(&mut answer), Incoming::Closed);
}

#[test]
fn the_timers_of_the_listener_are_kept() {
    let timers = Timers {
        initial: Duration::from_secs(9),
        max: Duration::from_secs(60),
        deadline: Duration::from_secs(36),
    };
    let server = ServerConfig {
        timers,
        ..ServerConfig::default()
    };
    let client = ClientConfig {
        timers,
        ..ClientConfig::default()
    };
    let mut simulation = Simulation::new(client, server, 1);
    // The client goes silent after its second hello.
    let start = simulation.start;
    let mut sent_at = Vec::new();
    let silent = |nth: usize, way: Way| {
        if way == Way::ToServer && nth > 1 {
            Vec::new()
        } else {
            well()
        }
    };
    simulation.run(|nth, way, _| silent(nth, way), |_| false);
    for (nth, (way, _)) in simulation.sent.iter().enumerate() {
        if *way == Way::ToClient {
            sent_at.push(nth);
        }
    }
    assert_eq!(sent_at.len(), 3, "at once, after 9 s and after 27 s");
    assert_eq!(simulation.server.failures[0].reason(), FailureReason::TimedOut);
    assert!(simulation.now >= start + Duration::from_secs(36));
}
