//! What a device proves itself with: keys and certificates, good, unknown, and taken back.

use super::*;

#[test]
fn a_wrong_key_and_an_unknown_identity_get_no_session_and_are_told_apart_for_the_operator_only() {
    let mut world = World::new(1);
    let wrong = Psk::new(b"not the secret").unwrap();
    world.add(1);
    world.boot_as(1, "device-1", &wrong);
    world.settle();
    world.add(2);
    world.boot_as(2, "nobody", &wrong);
    world.settle();
    world.pass(Duration::from_secs(120));
    assert!(world.device(1).session.is_none() && world.device(2).session.is_none());
    let failed = |identity: &str| {
        world.house.seen().into_iter().find_map(|seen| match seen {
            Seen::Failed {
                identity: Some(of),
                reason,
            } if of == identity => Some(reason),
            _ => None,
        })
    };
    assert!(
        matches!(
            failed("device-1"),
            Some(FailureReason::WrongKey | FailureReason::TimedOut)
        ),
        "{:?}",
        failed("device-1")
    );
    assert!(
        matches!(
            failed("nobody"),
            Some(FailureReason::UnknownIdentity | FailureReason::TimedOut)
        ),
        "{:?}",
        failed("nobody")
    );
}

#[test]
fn a_device_that_is_revoked_before_its_finished_arrives_gets_no_session() {
    let mut world = World::new(2);
    world.add(1);
    world.reboot(1);
    world.exchange_once();
    world.exchange_once();
    // The last flight, cut behind its first record: the key is looked up, the Finished is on its way.
    let flight = world.device(1).out.remove(0);
    let (exchange, finished) =
        flight.split_at(13 + usize::from(u16::from_be_bytes([flight[11], flight[12]])));
    world.deliver_to_gateway(1, vec![exchange.to_vec()]);
    world.settle();
    world.post(0, Message::Revoked { device: 1 });
    world.deliver_to_gateway(1, vec![finished.to_vec()]);
    world.settle();
    assert_eq!(world.sessions.load(Ordering::SeqCst), 0);
    assert!(matches!(world.house.seen()[..], [Seen::Failed { .. }]));
}

#[test]
fn a_retired_credential_ends_the_session_that_it_established_and_no_other() {
    let mut world = World::new(2);
    world.boot(1);
    world.boot(2);
    for shard in 0..2 {
        for (device, credential) in [(1, CREDENTIAL + 9), (1, CREDENTIAL + 2), (2, CREDENTIAL + 1)] {
            world.post(shard, Message::Retired { device, credential });
        }
    }
    assert_eq!(world.sessions.load(Ordering::SeqCst), 2);

    let retired = |shard, world: &mut World| {
        let credential = CREDENTIAL + 1;
        world.post(
            shard,
            Message::Retired {
                device: 1,
                credential,
            },
        );
    };
    retired(1, &mut world);
    assert_eq!(
        world.sessions.load(Ordering::SeqCst),
        2,
        "it is in the other shard"
    );
    retired(0, &mut world);
    assert_eq!(world.sessions.load(Ordering::SeqCst), 1);
    assert!(world.device(1).closed, "it is told");
    assert!(!world.device(2).closed);
    assert!(world.house.seen().contains(&Seen::Disconnected {
        device: 1,
        serial: 1,
        why: EndReason::Revoked
    }));
}

#[test]
fn a_handshake_in_flight_with_a_retired_credential_gets_no_session() {
    for (credential, sessions) in [(CREDENTIAL + 1, 0), (CREDENTIAL + 9, 1)] {
        let mut world = World::new(1);
        world.add(1);
        world.reboot(1);
        world.exchange_once();
        world.exchange_once();
        let flight = world.device(1).out.remove(0);
        let (exchange, finished) =
            flight.split_at(13 + usize::from(u16::from_be_bytes([flight[11], flight[12]])));
        world.deliver_to_gateway(1, vec![exchange.to_vec()]);
        world.settle();
        world.post(
            0,
            Message::Retired {
                device: 1,
                credential,
            },
        );
        world.deliver_to_gateway(1, vec![finished.to_vec()]);
        world.settle();
        assert_eq!(world.sessions.load(Ordering::SeqCst), sessions, "{credential}");
    }
}

#[test]
fn a_key_found_before_a_credential_was_retired_is_looked_up_again() {
    let mut world = World::new(1);
    world.add(3);
    world.boot_as(3, "slow-3", &secret(3));
    world.settle();
    let (number, ticket) = world.house.slow.lock().unwrap().pop().unwrap();
    let credential = number + CREDENTIAL;
    world.post(
        0,
        Message::Retired {
            device: 3,
            credential,
        },
    );
    ticket.found(Thing(number), credential, secret(number));
    world.settle();
    let (_, again) = world.house.slow.lock().unwrap().pop().unwrap();
    again.unknown();
    world.settle();
    assert_eq!(world.sessions.load(Ordering::SeqCst), 0);
}

#[test]
fn a_key_found_before_its_device_was_revoked_is_looked_up_again() {
    let mut world = World::new(1);
    world.add(3);
    world.boot_as(3, "slow-3", &secret(3));
    world.settle();
    let (number, ticket) = world.house.slow.lock().unwrap().pop().unwrap();
    world.post(0, Message::Revoked { device: 3 });
    ticket.found(Thing(number), number + CREDENTIAL, secret(number));
    world.settle();
    let (_, again) = world.house.slow.lock().unwrap().pop().unwrap();
    again.unknown();
    world.settle();
    assert_eq!(world.sessions.load(Ordering::SeqCst), 0);
}

#[test]
fn a_device_with_a_certificate_shakes_hands_and_asks() {
    let mut world = World::certified(1);
    world.boot_certified(1, fixtures::device());
    assert!(world.device(1).session.is_some());
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    world.boot(2);
    assert!(
        world.device(2).session.is_some(),
        "pre-shared keys work beside it"
    );
}

#[test]
fn a_certificate_that_is_not_good_is_told_to_device_and_operator() {
    let mut world = World::certified(1);
    world.boot_certified(1, fixtures::server());
    assert!(world.device(1).failed);
    let claim = Claim::Certificate(fixtures::server().facts().clone());
    assert!(world.house.seen().contains(&Seen::Failed {
        identity: Some(claim.to_string()),
        reason: FailureReason::Certificate(ChainFault::NotForClientUse),
    }));
    assert_eq!(world.shards[0].seats.taken(), 0);
}

#[test]
fn a_verdict_on_a_certificate_may_take_its_time_and_is_asked_for_again_where_something_was_retired() {
    for device in [1, 9] {
        let mut world = World::certified(1);
        world
            .house
            .thinks_about_certificates
            .store(true, Ordering::SeqCst);
        world.boot_certified(1, fixtures::device());
        assert!(world.device(1).session.is_none());
        let (number, ticket) = world.house.certificates.lock().unwrap().pop().unwrap();
        let credential = number + CREDENTIAL;
        world.post(0, Message::Retired { device, credential });
        ticket.accepted(Thing(number), credential);
        world.settle();
        assert!(world.device(1).session.is_none());
        let (_, again) = world.house.certificates.lock().unwrap().pop().unwrap();
        if device == 1 {
            again.refused(ChainFault::Revoked);
        } else {
            again.accepted(Thing(number), credential);
        }
        world.settle();
        assert_eq!(world.device(1).session.is_some(), device != 1);
        assert_eq!(world.device(1).failed, device == 1);
    }
}

#[test]
fn nobody_is_let_in_by_a_verdict_that_never_came() {
    let mut world = World::certified(1);
    world
        .house
        .thinks_about_certificates
        .store(true, Ordering::SeqCst);
    world.boot_certified(1, fixtures::device());
    world.house.certificates.lock().unwrap().clear();
    world.settle();
    assert!(world.device(1).failed);
    assert!(matches!(
        world.house.seen()[..],
        [Seen::Failed {
            reason: FailureReason::Certificate(ChainFault::Unavailable),
            ..
        }]
    ));
}

#[test]
fn a_session_by_certificate_ends_with_its_credential() {
    let mut world = World::certified(1);
    world.boot_certified(1, fixtures::device());
    let retired = |credential| Message::Retired {
        device: 1,
        credential,
    };
    world.post(0, retired(CREDENTIAL + 9));
    world.settle();
    assert!(!world.device(1).closed);
    world.post(0, retired(CREDENTIAL + 1));
    world.settle();
    assert!(world.device(1).closed);
}

#[test]
fn a_session_by_certificate_is_logged_with_its_credential() {
    let (journal, entries) = Journal::for_tests(100);
    let mut world = World::certified(1);
    world.shards[0].around.journal = Some(journal);
    world.boot_certified(1, fixtures::device());
    let mut saved = established(entries);
    let saved = saved.pop().unwrap();
    assert_eq!(
        (saved.device, saved.credential),
        (1, SavedCredential::Numbered(CREDENTIAL + 1))
    );
    assert!(!Session::restore(saved.session).suite().has_psk());
}

#[test]
fn a_configuration_counts_from_the_next_handshake_on() {
    let mut world = World::new(2);
    world.boot_certified(1, fixtures::device());
    assert!(world.device(1).failed, "there is no certificate to show");
    for shard in 0..2 {
        let dtls = ServerConfig {
            certificate: Some(Arc::new(fixtures::server())),
            ..ServerConfig::default()
        };
        world.post(shard, Message::Reconfigured(Arc::new(dtls)));
    }
    world.boot(2);
    world.boot_certified(1, fixtures::device());
    assert!(world.device(1).session.is_some());
    for shard in 0..2 {
        world.post(shard, Message::Reconfigured(Arc::new(ServerConfig::default())));
    }
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(
        world.device(1).told().unwrap().payload,
        "1:1",
        "a session goes on"
    );
}
