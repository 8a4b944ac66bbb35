//! Connection IDs: who gets one, what stands on which record, and whoever else writes them.

use super::hostile::{World, hello, record, relength};
use super::*;
use crate::dtls::connection_id::{ChosenId, ConnectionIds};
use crate::dtls::handshake::messages::{self, ClientHello, Offer};
use crate::dtls::record::write_plaintext;
use crate::dtls::{ContentType, FailureReason, Ignored, RESERVATION, RecordHeader, SavedSession};

#[test]
fn rfc9146_3_each_side_writes_what_the_other_asked_for_from_the_finished_on() {
    for (suite, offered, extended_master_secret) in everything() {
        let client = ClientConfig {
            suites: vec![suite],
            extended_master_secret,
            ..ClientConfig::default()
        };
        let mut simulation = with_ids(client, offered, 1);
        simulation.run_well();
        simulation.assert_agreed();
        let name = format!("{suite}, {offered:?}, EMS {extended_master_secret}");

        let (to_server, to_client) = (
            ids_of(&simulation, Way::ToServer),
            ids_of(&simulation, Way::ToClient),
        );
        assert_eq!(to_server, [Some(SERVER_ID)], "{name}: the client's Finished");
        assert_eq!(to_client, [offered.own()], "{name}: the server's Finished");
        let server = simulation.server.session.as_mut().unwrap();
        let Some(Ok(client)) = &mut simulation.client.outcome else {
            panic!("{name}")
        };
        assert_eq!(server.connection_id(), Some(SERVER_ID), "{name}");
        assert_eq!(client.connection_id(), offered.own(), "{name}");
        for server_writes in [false, true] {
            let (from, to) = if server_writes {
                (&mut *server, &mut *client)
            } else {
                (&mut *client, &mut *server)
            };
            let mut datagram = Vec::new();
            from.seal(b"", &mut datagram).unwrap();
            assert_eq!(
                RecordHeader::connection_id(&datagram),
                to.connection_id(),
                "{name}"
            );
            assert_eq!(to.handle_record(&mut datagram), data(b""), "{name}");
        }
    }
}

#[test]
fn a_side_that_did_not_ask_for_an_id_gets_none() {
    let agreed = |offered, given| {
        let mut simulation = with_ids(ClientConfig::default(), offered, 1);
        simulation.server.connection_id = given;
        simulation.run_well();
        simulation.assert_agreed();
        let all = [Way::ToServer, Way::ToClient].map(|way| ids_of(&simulation, way));
        let server = simulation.server.session.unwrap();
        (server.connection_id(), all.concat().into_iter().flatten().count())
    };
    assert_eq!(agreed(OfferedConnectionId::None, Some(SERVER_ID)), (None, 0));
    assert_eq!(agreed(OfferedConnectionId::Empty, None), (None, 0));
    assert_eq!(agreed(OfferedConnectionId::Own(CLIENT_ID), None), (None, 0));
    assert_eq!(
        agreed(OfferedConnectionId::Empty, Some(SERVER_ID)),
        (Some(SERVER_ID), 1)
    );
}

#[test]
fn rfc9146_3_the_server_hello_answers_the_extension_where_it_was_offered() {
    let ours = [&[0, 54, 0, 9, 8][..], &SERVER_ID.to_bytes()].concat();
    let offer = |id: &[u8]| [&[0, 54, 0, id.len() as u8 + 1, id.len() as u8], id].concat();
    let too_long = [7; ChosenId::MAX_LEN + 1];
    let cases = [
        ("none", Vec::new(), Vec::new(), false),
        ("an empty one", offer(&[]), ours.clone(), true),
        ("one of three bytes", offer(&[7, 8, 9]), ours.clone(), true),
        ("the longest", offer(&too_long[1..]), ours.clone(), true),
        ("too long a one", offer(&too_long), Vec::new(), false),
        (
            "probing of paths too",
            [&offer(&[])[..], &[0, 61, 0, 0]].concat(),
            [&ours[..], &[0, 61, 0, 0]].concat(),
            true,
        ),
        ("probing of paths alone", vec![0, 61, 0, 0], Vec::new(), false),
    ];
    for (name, extensions, expected, offers) in cases {
        let mut world = World::new();
        let datagram = world.hello(&with_extensions(&extensions));
        assert_eq!(world.verified(&datagram).offers_connection_id(), offers, "{name}");
        assert_eq!(answer(&mut world, &datagram), expected, "{name}");
    }
}

#[test]
fn a_malformed_offer_is_refused() {
    for (extension, reason) in [
        (&[0, 54, 0, 0][..], FailureReason::Malformed),
        (&[0, 54, 0, 2, 2, 7], FailureReason::Malformed),
        (&[0, 54, 0, 3, 1, 7, 8], FailureReason::Malformed),
        (&[0, 54, 0, 1, 0, 0, 54, 0, 1, 0], FailureReason::IllegalParameter),
        (&[0, 54, 0, 1, 0, 0, 61, 0, 1, 0], FailureReason::Malformed),
    ] {
        let mut world = World::new();
        let datagram = world.hello(&with_extensions(extension));
        assert!(!world.verified(&datagram).offers_connection_id());
        let failure = world.start(&datagram).unwrap_err();
        assert_eq!(failure.reason(), reason, "{extension:?}");
    }
}

#[test]
fn the_hello_with_the_cookie_is_the_one_that_counts() {
    // The client says the same twice.
    let mut simulation = with_ids(ClientConfig::default(), OfferedConnectionId::Own(CLIENT_ID), 1);
    simulation.run_well();
    for nth in [0, 1] {
        let offer = ClientHello::parse(&simulation.sent[nth].1[25..])
            .unwrap()
            .offer()
            .unwrap();
        assert_eq!(offer.connection_id, Some(CLIENT_ID.into()), "datagram {nth}");
    }
    // One that says it only then is believed: the cookie does not cover extensions (RFC 6347 section 4.2.1).
    let mut world = World::new();
    let plain = world.hello(&hello(&[0xc0a8]));
    let mut message = plain[13..].to_vec();
    message.extend_from_slice(&[0, 5, 0, 54, 0, 1, 0]);
    let changed = record(&relength(message));
    assert!(world.verified(&changed).offers_connection_id());
    assert_eq!(answer(&mut world, &changed)[..5], [0, 54, 0, 9, 8]);
    assert!(answer(&mut world, &plain).is_empty());
}

#[test]
fn our_client_takes_only_an_answer_to_what_it_offered() {
    let id = |id: &[u8]| Offer {
        connection_id: ChosenId::new(id),
        ..Offer::default()
    };
    let and_probing = |offer: Offer| Offer {
        return_routability: true,
        ..offer
    };
    let empty = OfferedConnectionId::Empty;
    let cases = [
        (
            "unasked",
            OfferedConnectionId::None,
            false,
            id(&[7]),
            Some(FailureReason::IllegalParameter),
        ),
        (
            "probing unasked",
            empty,
            false,
            and_probing(id(&[7])),
            Some(FailureReason::IllegalParameter),
        ),
        (
            "probing without an ID",
            empty,
            true,
            and_probing(Offer::default()),
            Some(FailureReason::IllegalParameter),
        ),
        ("another length", empty, true, and_probing(id(&[7])), None),
        ("an empty one", empty, false, id(&[]), None),
    ];
    for (name, connection_id, return_routability, answer, expected) in cases {
        let client = ClientConfig {
            connection_id,
            return_routability,
            ..ClientConfig::default()
        };
        let mut simulation = Simulation::new(client, ServerConfig::default(), 1);
        let hello = messages::server_hello(0, &[5; 32], 0xc0a8, &answer);
        simulation.deliver(Way::ToClient, record(&hello));
        let reason = simulation
            .client
            .outcome
            .map(|outcome| outcome.unwrap_err().reason());
        assert_eq!(reason, expected, "{name}");
    }
    // Longer than what we write, which no answer of ours can be made to be.
    let mut simulation = with_ids(ClientConfig::default(), empty, 1);
    let mut hello = messages::server_hello(0, &[5; 32], 0xc0a8, &Offer::default());
    hello.extend_from_slice(&[0, 38, 0, 54, 0, 34, 33]);
    hello.extend_from_slice(&[7; 33]);
    simulation.deliver(Way::ToClient, record(&relength(hello)));
    let failure = simulation.client.outcome.unwrap().unwrap_err();
    assert_eq!(failure.reason(), FailureReason::IllegalParameter);
}

#[test]
fn a_peers_id_may_have_any_length_up_to_the_bound() {
    for suite in CipherSuite::ALL {
        let plain = sessions(suite).1;
        for len in [0, 1, 2, 7, 8, 9, 20, ChosenId::MAX_LEN] {
            let (_, mut server) = sessions(suite);
            let id: Vec<u8> = (0x80..0x80 + len as u8).collect();
            server.use_connection_ids(agreed(Some(SERVER_ID), &id));
            let mut record = Vec::new();
            server.seal(b"four", &mut record).unwrap();
            if len == 0 {
                assert_eq!(record[0], 23);
                assert_eq!(server.overhead(), plain.overhead());
                continue;
            }
            let (front, rest) = record.split_at(11);
            assert_eq!(front, [25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1]);
            let (written, rest) = rest.split_at(len);
            assert_eq!(written, id);
            assert_eq!(
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                rest.len() - 2
            );
            assert_eq!(server.overhead(), plain.overhead() + len + 1);
            assert!(record.len() <= 4 + server.overhead());
            if suite != CipherSuite::PskAes128CbcSha256 {
                assert_eq!(record.len(), 4 + server.overhead());
            }
        }
    }
}

#[test]
fn rfc9146_5_the_type_counts_among_what_the_peer_takes() {
    for (offered, expected) in [
        (OfferedConnectionId::Empty, 64),
        (OfferedConnectionId::Own(CLIENT_ID), 63),
    ] {
        let client = ClientConfig {
            record_size_limit: Some(64),
            ..ClientConfig::default()
        };
        let (mut client, mut server) = with_ids(client, offered, 1).into_sessions();
        assert_eq!(server.max_plaintext(), expected);
        assert_eq!(client.max_plaintext(), (1 << 14) - 1);
        let mut out = Vec::new();
        assert!(server.seal(&[7; 64][..expected], &mut out).is_ok());
        assert_eq!(client.handle_record(&mut out), data(&[7; 64][..expected]));
        out.clear();
        assert!(server.seal(&[7; 65][..=expected], &mut out).is_err());
        assert!(out.is_empty());
    }
}

#[test]
fn rfc9146_3_a_record_without_the_id_that_was_asked_for_is_none_of_the_session() {
    for (suite, offered, _) in everything() {
        let (mut client, mut server) = sessions_with(suite, offered);
        // What the client's keys make where no ID was agreed on: the same keys, another framing.
        let mut without = restored(&mut client);
        without.use_connection_ids(agreed(offered.own(), &[]));
        let mut other = restored(&mut client);
        other.use_connection_ids(agreed(offered.own(), &[0x51, 1, 2, 3, 4, 5, 6, 8]));
        for forger in [&mut without, &mut other] {
            let mut forged = Vec::new();
            forger.seal(b"let me in", &mut forged).unwrap();
            assert_unmoved(&mut server, &mut forged, Ignored::WrongConnectionId);
        }
        let mut genuine = Vec::new();
        client.seal(b"from anywhere", &mut genuine).unwrap();
        // The ID of somebody else, on a record that is good; and one that does not say that it has an ID.
        let mut forged = genuine.clone();
        forged[18] ^= 1;
        assert_unmoved(&mut server, &mut forged, Ignored::WrongConnectionId);
        let mut bare = genuine.clone();
        bare[0] = 23;
        bare.drain(11..19);
        assert_unmoved(&mut server, &mut bare, Ignored::WrongConnectionId);
        // Epoch 0 never has one.
        let mut early = genuine.clone();
        early[4] = 0;
        assert_unmoved(&mut server, &mut early, Ignored::Plaintext);
        assert_eq!(server.failures(), 0, "none of it cost a decryption");
        assert_eq!(server.handle_record(&mut genuine), data(b"from anywhere"));
        assert_speaking(&mut server, &mut client);
    }
    // And the other way about: nobody asked for one.
    let (_, mut server) = sessions(CipherSuite::PskAes128Ccm8);
    let (mut client, _) = sessions_with(CipherSuite::PskAes128Ccm8, OfferedConnectionId::Empty);
    let mut record = Vec::new();
    client.seal(b"with an ID", &mut record).unwrap();
    assert_unmoved(&mut server, &mut record, Ignored::WrongConnectionId);
}

#[test]
fn any_cut_and_any_altered_bit_of_a_recorded_datagram_is_ignored() {
    for (suite, offered, _) in everything() {
        let (mut client, mut server) = sessions_with(suite, offered);
        for server_writes in [false, true] {
            let (from, to) = if server_writes {
                (&mut server, &mut client)
            } else {
                (&mut client, &mut server)
            };
            let mut recorded = Vec::new();
            from.seal(b"recorded on the way", &mut recorded).unwrap();
            let before = to.save().to_bytes();
            for bit in 0..8 * recorded.len() {
                let mut altered = recorded.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                for record in records(&mut altered) {
                    let incoming = to.handle_record(record);
                    assert!(
                        matches!(incoming, Incoming::Ignored(_)),
                        "{suite}, bit {bit}: {incoming:?}"
                    );
                }
            }
            for len in 0..recorded.len() {
                let mut cut = recorded[..len].to_vec();
                assert_eq!(records(&mut cut.clone()).count(), 0, "{suite}, {len} bytes");
                assert_eq!(to.handle_record(&mut cut), Incoming::Ignored(Ignored::Malformed));
                // The same, with a length that does not lie.
                let length_at = if recorded[0] == 25 { 19 } else { 11 };
                if let Some(body) = len.checked_sub(length_at + 2) {
                    let mut cut = recorded[..len].to_vec();
                    cut[length_at..length_at + 2].copy_from_slice(&(body as u16).to_be_bytes());
                    assert!(matches!(to.handle_record(&mut cut), Incoming::Ignored(_)));
                }
            }
            assert_eq!(*to.save().to_bytes(), *before, "{suite}");
            assert_eq!(
                to.handle_record(&mut recorded.clone()),
                data(b"recorded on the way")
            );
            assert_eq!(
                to.handle_record(&mut recorded),
                Incoming::Ignored(Ignored::Replayed)
            );
        }
    }
}

#[test]
fn rfc9146_6_only_the_newest_record_tells_where_the_peer_is() {
    let (mut client, mut server) = sessions_with(CipherSuite::PskAes128Ccm8, OfferedConnectionId::Empty);
    let mut datagrams: Vec<Vec<u8>> = (0..4_u8)
        .map(|text| {
            let mut datagram = Vec::new();
            client.seal(&[text], &mut datagram).unwrap();
            datagram
        })
        .collect();
    let mut opened = |index: usize| match server.handle_record(&mut datagrams[index].clone()) {
        Incoming::Data { message, newest } => {
            assert_eq!(message, [index as u8]);
            Some(newest)
        }
        Incoming::Ignored(Ignored::Replayed) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(opened(1), Some(true));
    assert_eq!(opened(0), Some(false), "late");
    assert_eq!(opened(1), None, "again, from wherever");
    assert_eq!(opened(3), Some(true));
    assert_eq!(opened(2), Some(false));
    // After a restart everything that is taken at all is newer.
    let mut server = restored(&mut server);
    let mut later = Vec::new();
    client.seal(b"later", &mut later).unwrap();
    assert_eq!(server.handle_record(&mut later), data(b"later"));
    assert_eq!(
        server.handle_record(&mut datagrams[2]),
        Incoming::Ignored(Ignored::Replayed)
    );
}

#[test]
fn records_with_and_without_an_id_share_a_datagram() {
    let (mut client, mut server) = sessions_with(CipherSuite::PskAes128GcmSha256, OfferedConnectionId::Empty);
    let mut datagram = Vec::new();
    write_plaintext(ContentType::Handshake, 0xfefd, 4, &[1; 20], &mut datagram);
    client.seal(b"one", &mut datagram).unwrap();
    write_plaintext(ContentType::Alert, 0xfefd, 5, &[2, 40], &mut datagram);
    client.seal(b"two", &mut datagram).unwrap();
    datagram.extend_from_slice(&[25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0x51, 1, 2]);
    let taken: Vec<_> = records(&mut datagram)
        .map(|record| match server.handle_record(record) {
            Incoming::Data { message, .. } => Ok(message.to_vec()),
            Incoming::Ignored(why) => Err(why),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        Err(Ignored::Plaintext),
        Ok(b"one".to_vec()),
        Err(Ignored::Plaintext),
        Ok(b"two".to_vec()),
    ];
    assert_eq!(taken, expected);
}

#[test]
fn a_finished_without_the_id_or_with_another_counts_for_nothing() {
    for offered in [OfferedConnectionId::Empty, OfferedConnectionId::Own(CLIENT_ID)] {
        let mut simulation = with_ids(ClientConfig::default(), offered, 1);
        simulation.run(
            |nth, _, _| if nth == 3 { Vec::new() } else { well() },
            |simulation| simulation.sent.len() == 4,
        );
        let (_, genuine) = simulation.sent[3].clone();
        let finished = records(&mut genuine.clone()).last().unwrap().to_vec();
        assert_eq!(RecordHeader::connection_id(&finished), Some(SERVER_ID));
        let before = genuine.len() - finished.len();
        let mut bare = finished.clone();
        bare[0] = 22;
        bare.drain(11..19);
        let mut other = finished.clone();
        other[11] ^= 0x80;
        for forged in [bare, other] {
            let datagram = [&genuine[..before], &forged].concat();
            simulation.deliver(Way::ToServer, datagram);
            simulation.server.take_events(simulation.now);
            assert!(simulation.server.session.is_none(), "{offered:?}");
            assert!(simulation.server.handshake.is_some(), "{offered:?}");
        }
        simulation.deliver(Way::ToServer, finished);
        simulation.run_well();
        simulation.assert_agreed();
    }
}

#[test]
fn a_wrong_key_is_told_from_a_forged_id() {
    let wrong = Psk::new(b"not the secret of the device").unwrap();
    let client = ClientConfig {
        connection_id: OfferedConnectionId::Empty,
        ..ClientConfig::default()
    };
    let mut simulation =
        Simulation::with_keys(client, ServerConfig::default(), 1, identity(), wrong, Some(psk()));
    simulation.server.connection_id = Some(SERVER_ID);
    simulation.run_well();
    assert_eq!(simulation.server.reasons(), [FailureReason::WrongKey]);
}

#[test]
fn forged_records_with_the_right_id_while_the_key_is_looked_up_end_nothing() {
    let mut simulation = with_ids(ClientConfig::default(), OfferedConnectionId::Empty, 1);
    simulation.server.lookup = Duration::from_millis(500);
    simulation.run(|_, _, _| well(), |simulation| simulation.server.wanted.is_some());
    for filling in 0..20 {
        let mut forged = vec![25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, filling];
        forged.extend_from_slice(&SERVER_ID.to_bytes());
        forged.extend_from_slice(&[0, 40]);
        forged.extend_from_slice(&[filling; 40]);
        simulation.deliver(Way::ToServer, forged);
    }
    simulation.run_well();
    simulation.assert_agreed();
}

#[test]
fn rfc9853_5_1_a_challenge_is_answered_with_its_cookie_once() {
    for (suite, offered, _) in everything() {
        let client = ClientConfig {
            suites: vec![suite],
            return_routability: true,
            ..ClientConfig::default()
        };
        let (mut client, mut server) = with_ids(client, offered, 1).into_sessions();
        for server_asks in [true, false] {
            let (asks, answers) = if server_asks {
                (&mut server, &mut client)
            } else {
                (&mut client, &mut server)
            };
            let mut question = Vec::new();
            asks.seal_as(PROBE, &[0, 1, 2, 3, 4, 5, 6, 7, 8], &mut question)
                .unwrap();
            let Incoming::PathChallenge(challenge) = answers.handle_record(&mut question.clone()) else {
                panic!("{suite}")
            };
            let mut answer = Vec::new();
            answers.answer_challenge(challenge, &mut answer).unwrap();
            assert_eq!(
                RecordHeader::connection_id(&answer),
                asks.connection_id(),
                "{suite}"
            );
            let opened = asks.open(&mut answer).unwrap();
            assert_eq!(opened.content_type, PROBE);
            assert_eq!(opened.plaintext, [1, 1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(
                answers.handle_record(&mut question),
                Incoming::Ignored(Ignored::Replayed)
            );
            // An answer to a question that was never asked, a refusal of one, and what the future may bring.
            for body in [
                &[1, 1, 2, 3, 4, 5, 6, 7, 8][..],
                &[2, 1, 2, 3, 4, 5, 6, 7, 8],
                &[3],
                &[],
            ] {
                let mut record = Vec::new();
                asks.seal_as(PROBE, body, &mut record).unwrap();
                let incoming = answers.handle_record(&mut record);
                assert_eq!(incoming, Incoming::Ignored(Ignored::Unexpected), "{body:?}");
            }
        }
    }
}

#[test]
fn rfc9853_3_without_both_extensions_nothing_is_probed() {
    let cases = [
        (OfferedConnectionId::Empty, false, Some(SERVER_ID)),
        (OfferedConnectionId::Empty, true, None),
        (OfferedConnectionId::None, true, Some(SERVER_ID)),
    ];
    for (offered, return_routability, given) in cases {
        let client = ClientConfig {
            return_routability,
            ..ClientConfig::default()
        };
        let mut simulation = with_ids(client, offered, 1);
        simulation.server.connection_id = given;
        let (mut client, mut server) = simulation.into_sessions();
        let mut question = Vec::new();
        client
            .seal_as(PROBE, &[0, 1, 2, 3, 4, 5, 6, 7, 8], &mut question)
            .unwrap();
        assert_eq!(
            server.handle_record(&mut question),
            Incoming::Ignored(Ignored::Unexpected),
            "{offered:?}"
        );
        assert_speaking(&mut client, &mut server);
    }
}

#[test]
fn a_saved_session_keeps_both_ids() {
    for (suite, offered, extended_master_secret) in everything() {
        for return_routability in [false, true] {
            let client = ClientConfig {
                suites: vec![suite],
                extended_master_secret,
                return_routability,
                ..ClientConfig::default()
            };
            let (mut client, mut server) = with_ids(client, offered, 1).into_sessions();
            let (mut client, mut server) = (restored(&mut client), restored(&mut server));
            let bytes = server.save().to_bytes();
            let saved = SavedSession::from_bytes(&bytes).unwrap();
            assert_eq!(saved.connection_id(), Some(SERVER_ID));
            assert_eq!(*saved.to_bytes(), *bytes);
            assert_eq!(
                (server.connection_id(), client.connection_id()),
                (Some(SERVER_ID), offered.own())
            );
            assert_speaking(&mut client, &mut server);
            assert_speaking(&mut server, &mut client);

            for len in 0..bytes.len() {
                assert!(
                    SavedSession::from_bytes(&bytes[..len]).is_err(),
                    "{suite}, {len} bytes"
                );
            }
            assert!(SavedSession::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        }
    }
    // Format 2: flags say that there are IDs, ours among them, and that paths may be probed.
    let mut bytes = vec![2, 0xc0, 0xa8, 15, 0x40, 0];
    bytes.extend(0..40);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 4, 0]);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9]);
    bytes.extend_from_slice(&SERVER_ID.to_bytes());
    bytes.extend_from_slice(&[3, 7, 8, 9]);
    let saved = SavedSession::from_bytes(&bytes).unwrap();
    assert_eq!(saved.connection_id(), Some(SERVER_ID));
    assert_eq!(*saved.to_bytes(), bytes);
    let at = bytes.len() - 4;
    let longest = [&bytes[..at], &[32], &[7; 32][..]].concat();
    assert_eq!(*SavedSession::from_bytes(&longest).unwrap().to_bytes(), longest);
    let too_long = [&bytes[..at], &[33], &[7; 33][..]].concat();
    assert!(SavedSession::from_bytes(&too_long).is_err());
}

/// Every suite, whatever an ID can be offered with, and with and without the extended master secret.
fn everything() -> impl Iterator<Item = (CipherSuite, OfferedConnectionId, bool)> {
    CipherSuite::ALL.into_iter().flat_map(|suite| {
        OFFERS
            .into_iter()
            .filter(|offered| *offered != OfferedConnectionId::None)
            .flat_map(move |offered| [true, false].map(|extended| (suite, offered, extended)))
    })
}

/// The IDs on all records of epoch 1 that went this way in a handshake.
fn ids_of(simulation: &Simulation, way: Way) -> Vec<Option<ConnectionId>> {
    let mut ids = Vec::new();
    for (_, datagram) in simulation.sent.iter().filter(|(went, _)| *went == way) {
        for record in records(&mut datagram.clone()) {
            let header = RecordHeader::peek(record).unwrap();
            let id = RecordHeader::connection_id(record);
            if header.epoch == 0 {
                assert_eq!(id, None, "plaintext never has one");
            } else {
                ids.push(id);
            }
        }
    }
    ids
}

fn agreed(ours: Option<ConnectionId>, theirs: &[u8]) -> ConnectionIds {
    ConnectionIds {
        ours,
        theirs: theirs.into(),
        return_routability: false,
    }
}

/// The same session once more, which may send at once.
fn restored(session: &mut Session) -> Session {
    session.reserve(RESERVATION);
    let bytes = session.save().to_bytes();
    let mut session = Session::restore(SavedSession::from_bytes(&bytes).unwrap());
    session.reserve(2 * RESERVATION);
    session
}

fn assert_unmoved(session: &mut Session, record: &mut [u8], expected: Ignored) {
    let before = session.save().to_bytes();
    assert_eq!(session.handle_record(record), Incoming::Ignored(expected));
    assert_eq!(*session.save().to_bytes(), *before);
}

/// A hello for CCM_8 with these extensions.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    let mut message = hello(&[0xc0a8]);
    if !extensions.is_empty() {
        message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        message.extend_from_slice(extensions);
    }
    relength(message)
}

/// The extensions of the ServerHello that a hello gets.
fn answer(world: &mut World, hello: &[u8]) -> Vec<u8> {
    let mut server = world.start(hello).unwrap();
    let mut flight = Vec::new();
    assert!(server.poll_transmit(&mut flight));
    let hello = records(&mut flight).next().unwrap();
    hello.get(65..).unwrap_or_default().to_vec()
}

const PROBE: ContentType = ContentType::ReturnRoutabilityCheck;
