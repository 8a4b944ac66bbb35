//! Shards without sockets, in virtual time.

mod hostile;
mod moves;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::directory::{Directory, Kind};
use super::super::handler::EndReason;
use super::super::inbox::{Inbox, Message, mailbox};
use super::super::journal::{Entry, Journal, SavedCredential, SavedPeer, resume};
use super::super::slots::PeerId;
use super::super::testing::{CREDENTIAL, Device, House, Seen, Thing, secret, told};
use super::super::udp::{Path, SendQueue};
use super::proof::Proof;
use super::requests::{ANSWER_WITHIN, ASKED_WITHIN, TAKEN_WITHIN};
use super::{Link, Peer, Shard, Surroundings};
use crate::coap::{Code, Kind as MessageKind, MessageId, ResponseHead, Token, wire};
use crate::dtls::{
    CertifiedKey, ChainFault, Claim, ClientCredential, ContentType, CookieJar, FailureReason,
    MAX_RECORD_NUMBER, Psk, RESERVATION, ServerConfig, Session, fixtures,
};

#[test]
fn a_device_shakes_hands_asks_and_is_notified() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::GET, "version", Some(0), None);
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!(
        (answer.kind, answer.code, answer.payload.as_str()),
        (MessageKind::Acknowledgement, Code::CONTENT, "1:1")
    );

    world.publish(2);
    let notification = world.device(1).told().unwrap();
    assert_eq!(
        (notification.kind, notification.payload.as_str()),
        (MessageKind::Confirmable, "1:2")
    );
    assert_eq!(notification.token, answer.token);
    assert!(notification.observe > answer.observe);
    world.device(1).acknowledge(notification.mid);
    world.settle();
    assert!(world.house.seen().contains(&Seen::Acknowledged {
        device: 1,
        version: 2
    }));
    world.publish(2);
    assert_eq!(world.device(1).told(), None, "nothing has changed");
}

#[test]
fn the_latest_wins_while_a_notification_is_in_flight() {
    let mut world = World::observing(1);
    world.publish(2);
    world.publish(3);
    let first = world.device(1).told().unwrap();
    assert_eq!(first.payload, "1:2");
    assert_eq!(world.device(1).told(), None, "one at a time");
    world.device(1).acknowledge(first.mid);
    world.settle();
    let second = world.device(1).told().unwrap();
    assert_eq!(second.payload, "1:3");
    assert_ne!(first.mid, second.mid);
}

#[test]
fn a_registration_that_ends_a_notification_in_flight_lets_the_next_one_out() {
    let mut world = World::observing(1);
    let first = world.device(1).token;
    world.device(1).token = Token::from([8; 8]);
    world.device(1).request(Code::GET, "copy", Some(0), None);
    world.settle();
    let second = world.device(1).told().unwrap().token;
    world.publish(2);
    let in_flight = world.device(1).told().unwrap();
    assert_eq!(
        (in_flight.token, world.device(1).told()),
        (first, None),
        "one at a time"
    );

    world.device(1).token = first;
    world.device(1).request(Code::GET, "version", Some(0), None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:2");
    let next = world.device(1).told().unwrap();
    assert_eq!(
        (next.kind, next.token, next.payload.as_str()),
        (MessageKind::Confirmable, second, "1:2")
    );
}

#[test]
fn an_unacknowledged_notification_is_repeated_and_then_given_up() {
    let mut world = World::observing(1);
    world.publish(2);
    let mut received = Vec::new();
    for _ in 0..120 {
        world.pass(Duration::from_secs(1));
        received.extend(std::iter::from_fn(|| world.device(1).told()));
    }
    assert_eq!(received.len(), 5);
    assert!(
        received
            .iter()
            .all(|message| message.mid == received[0].mid && message.payload == "1:2")
    );
    world.publish(3);
    assert_eq!(world.device(1).told(), None, "the relation is gone");
}

#[test]
fn a_device_that_was_silent_is_told_at_its_next_sign_of_life() {
    let mut world = World::observing(1);
    world.publish(2);
    world.pass(Duration::from_secs(120));
    while world.device(1).told().is_some() {}
    world.publish(3);
    assert_eq!(world.device(1).told(), None);

    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    let told: Vec<_> = std::iter::from_fn(|| world.device(1).told()).collect();
    let payloads: Vec<_> = told.iter().map(|message| message.payload.as_str()).collect();
    assert_eq!(
        payloads,
        ["1:3", "1:3"],
        "the answer, and the notification it missed"
    );
    world.device(1).acknowledge(told[1].mid);
    world.settle();
    world.publish(4);
    assert_eq!(
        world.device(1).told().unwrap().payload,
        "1:4",
        "it observes as before"
    );
}

#[test]
fn alarms_overtaken_by_earlier_ones_go_off_once() {
    let mut world = World::observing(1);
    for version in 2..50 {
        world.publish(version);
        // Long enough for a repetition, whose alarm is later than that of the next notification.
        world.pass(Duration::from_secs(4));
        let received = std::iter::from_fn(|| world.device(1).told()).last().unwrap();
        world.device(1).acknowledge(received.mid);
        world.settle();
    }
    let alarms = world.shards[0].alarms.len();
    assert!(alarms <= 4, "{alarms} alarms");
}

#[test]
fn a_notification_with_nothing_left_to_tell_is_withdrawn_and_the_relation_stays() {
    let mut world = World::observing(1);
    world.publish(2);
    assert_eq!(world.device(1).told().unwrap().payload, "1:2", "and is lost");
    world.publish(0);
    world.pass(Duration::from_secs(120));
    assert_eq!(world.device(1).told(), None);
    world.publish(2);
    assert_eq!(
        world.device(1).told().unwrap().payload,
        "1:2",
        "nobody knows that it arrived"
    );
}

#[test]
fn a_registration_whose_answer_is_too_long_for_the_device_is_none() {
    let mut world = World::new(1);
    world.add(1);
    world.device(1).record_size_limit = Some(100);
    world.reboot(1);
    world.settle();
    world.device(1).request(Code::GET, "long", Some(0), None);
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!((answer.code, answer.observe), (Code::INTERNAL_SERVER_ERROR, None));
    world.publish(2);
    assert_eq!(
        world.device(1).told(),
        None,
        "it was told that it observes nothing"
    );

    world.device(1).request(Code::GET, "version", Some(0), None);
    world.settle();
    assert!(world.device(1).told().unwrap().observe.is_some());
}

#[test]
fn a_push_notifies_although_nothing_changed() {
    let mut world = World::observing(1);
    let place = world.directory.find(1).next().unwrap();
    world.post(
        0,
        Message::WakePeers {
            peers: vec![place.peer],
            forced: true,
        },
    );
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
}

#[test]
fn a_rebooted_device_comes_back_on_its_address_and_its_old_session_ends_only_then() {
    let mut world = World::observing(1);
    world.reboot(1);
    let first_flight = world.device(1).out.clone();
    world.settle();
    assert!(world.device(1).session.is_some());
    let seen = world.house.seen();
    assert_eq!(
        seen[1..],
        [
            Seen::Disconnected {
                device: 1,
                serial: 1,
                why: EndReason::Replaced
            },
            Seen::Connected {
                device: 1,
                serial: 2,
                restored: false
            },
        ]
    );
    // A ClientHello alone, even one with a cookie, changes nothing.
    world.deliver_to_gateway(1, first_flight);
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
}

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

#[test]
fn a_key_that_takes_its_time_costs_no_retransmission() {
    let mut world = World::new(1);
    world.add(3);
    world.boot_as(3, "slow-3", &secret(3));
    world.settle();
    assert!(world.device(3).session.is_none());
    let (number, ticket) = world.house.slow.lock().unwrap().pop().unwrap();
    std::thread::spawn(move || ticket.found(Thing(number), number + CREDENTIAL, secret(number)))
        .join()
        .unwrap();
    world.settle();
    assert!(world.device(3).session.is_some());
}

#[test]
fn any_single_datagram_of_a_handshake_may_be_lost() {
    // Two ClientHellos, a HelloVerifyRequest and three flights, each in one datagram.
    for lost in 0..6 {
        let mut world = World::new(1);
        world.lose_nth(lost);
        world.boot(1);
        for _ in 0..20 {
            world.pass(Duration::from_millis(500));
        }
        assert!(world.device(1).session.is_some(), "with datagram {lost} lost");
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
        assert_eq!(
            world.device(1).told().unwrap().payload,
            "1:1",
            "with datagram {lost} lost"
        );
        let connected = world
            .house
            .seen()
            .iter()
            .filter(|seen| matches!(seen, Seen::Connected { .. }))
            .count();
        assert_eq!(connected, 1, "with datagram {lost} lost");
    }
}

#[test]
fn a_second_session_of_a_device_ends_the_first_even_in_another_shard() {
    let mut world = World::new(2);
    world.boot(1);
    world.device_in(1, 1);
    // The same device at another address, which the kernel gives to the other shard.
    let mut twin = Device::new(1);
    twin.boot(world.now);
    world.devices.insert(101, (twin, address(101), 1));
    world.settle();
    assert!(world.devices[&101].0.session.is_some());
    let seen = world.house.seen();
    assert_eq!(
        seen,
        [
            Seen::Connected {
                device: 1,
                serial: 1,
                restored: false
            },
            Seen::Connected {
                device: 1,
                serial: 2,
                restored: false
            },
            Seen::Disconnected {
                device: 1,
                serial: 1,
                why: EndReason::Replaced
            },
        ]
    );
    assert_eq!(world.directory.find(1).next().unwrap().shard, 1);
}

#[test]
fn a_record_that_reaches_the_wrong_shard_is_passed_on() {
    let mut world = World::new(2);
    world.boot(1);
    world.device_in(1, 1);
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
}

#[test]
fn an_answer_that_comes_later_is_piggybacked_and_its_duplicates_are_swallowed() {
    let mut world = World::new(1);
    world.boot(1);
    let mid = world.device(1).request(Code::POST, "later", None, None);
    let again = world.device(1).out.clone();
    world.settle();
    assert_eq!(world.device(1).told(), None);
    drop(again);
    let ticket = world.house.tickets.lock().unwrap().pop().unwrap();
    ticket.complete(Code::CHANGED);
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!(
        (answer.kind, answer.code, answer.mid),
        (MessageKind::Acknowledgement, Code::CHANGED, mid)
    );
}

#[test]
fn a_request_that_there_is_no_room_for_is_as_if_lost_and_handled_when_it_comes_again() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::POST, "full", None, None);
    world.settle();
    world.pass(ANSWER_WITHIN * 2);
    assert_eq!(world.device(1).told(), None);
    // The same message ID and token, and now there is room.
    world.device(1).mid -= 1;
    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    let ticket = world.house.tickets.lock().unwrap().pop().unwrap();
    ticket.complete(Code::CHANGED);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::CHANGED);
}

#[test]
fn a_dropped_ticket_answers_5_00_and_a_forgotten_one_5_03() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    world.house.tickets.lock().unwrap().clear();
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::INTERNAL_SERVER_ERROR);

    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    world.pass(ANSWER_WITHIN - Duration::from_millis(100));
    assert_eq!(world.device(1).told(), None);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.device(1).told().unwrap().code, Code::SERVICE_UNAVAILABLE);
    let late = world.house.tickets.lock().unwrap().pop().unwrap();
    late.complete(Code::CHANGED);
    world.settle();
    assert_eq!(world.device(1).told(), None, "one answer is enough");
}

#[test]
fn a_block_that_is_waited_for_holds_up_no_other_device_and_is_piggybacked_when_it_is_there() {
    let mut world = World::new(1);
    world.boot(1);
    world.boot(2);
    world.device(1).send(&COLD);
    world.settle();
    world.device(2).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(2).told().unwrap().payload, "2:1");
    assert_eq!(world.device(1).told(), None);

    world.pass(Duration::from_secs(7));
    world.read("bytes");
    let answer = world.device(1).told().unwrap();
    assert_eq!(
        (answer.kind, answer.code, answer.mid, answer.payload.as_str()),
        (
            MessageKind::Acknowledgement,
            Code::CONTENT,
            MessageId(0x1201),
            "bytes"
        )
    );
    assert_eq!(answer.token, Token::from([9; 8]));
}

#[test]
fn every_transmission_keeps_a_block_alive_for_less_than_eight_seconds_and_then_it_is_as_if_lost() {
    let mut world = World::new(1);
    world.boot(1);
    // A device of the libcoap kind transmits three times, and its first may have been lost.
    for pause in [2_300, 4_600, 7_000] {
        world.device(1).send(&COLD);
        world.settle();
        world.pass(Duration::from_millis(pause));
    }
    assert_eq!(world.house.tickets.lock().unwrap().len(), 1, "read once");
    world.read("bytes");
    assert_eq!(world.device(1).told().unwrap().payload, "bytes");

    world.device(1).send(&COLD);
    world.settle();
    world.pass(Duration::from_secs(8));
    world.read("too late");
    assert_eq!(world.device(1).told(), None, "neither the bytes nor an error");
    world.device(1).send(&COLD);
    world.settle();
    world.read("bytes");
    assert_eq!(world.device(1).told().unwrap().payload, "bytes");
}

#[test]
fn a_read_that_comes_to_nothing_is_as_if_the_request_had_been_lost() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).send(&COLD);
    world.settle();
    world.house.tickets.lock().unwrap().clear();
    world.settle();
    world.pass(ASKED_WITHIN * 2);
    assert_eq!(world.device(1).told(), None);
    world.device(1).send(&COLD);
    world.settle();
    world.read("bytes");
    assert_eq!(world.device(1).told().unwrap().payload, "bytes");
}

#[test]
fn rule_15_a_block_is_never_sent_once_a_newer_one_was_asked_for() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).send(&COLD);
    let mut next = COLD;
    next[3] = 0x02;
    *next.last_mut().unwrap() = 0x16;
    world.device(1).send(&next);
    world.settle();
    let (older, newer) = {
        let mut tickets = world.house.tickets.lock().unwrap();
        (tickets.remove(0), tickets.remove(0))
    };
    older.complete_with(|_| panic!("nobody waits for it"));
    world.settle();
    assert_eq!(world.device(1).told(), None);
    newer.complete_with(|reply| reply.respond(&ResponseHead::new(Code::CONTENT), b"block 1"));
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!(
        (answer.mid, answer.payload.as_str()),
        (MessageId(0x1202), "block 1")
    );
}

#[test]
fn a_device_that_asks_for_ever_newer_blocks_does_not_have_all_of_them_read() {
    let mut world = World::new(1);
    world.boot(1);
    let ask_for = |world: &mut World, num: u8| {
        let mut block = COLD;
        block[3] = num;
        *block.last_mut().unwrap() = num << 4 | 6;
        world.device(1).send(&block);
        world.settle();
    };
    for num in 0..12 {
        ask_for(&mut world, num);
    }
    assert_eq!(world.house.tickets.lock().unwrap().len(), 8);
    // Nobody waits for these, and the last ones are to be sent again.
    world.house.tickets.lock().unwrap().clear();
    world.settle();
    ask_for(&mut world, 11);
    world.read("block 11");
    assert_eq!(world.device(1).told().unwrap().payload, "block 11");
}

#[test]
fn a_block_read_for_a_session_that_is_over_is_not_sent_to_the_next() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).send(&COLD);
    world.settle();
    world.reboot(1);
    world.settle();
    assert!(world.device(1).session.is_some());
    let ticket = world.house.tickets.lock().unwrap().pop().unwrap();
    ticket.complete_with(|_| panic!("its session is over"));
    world.settle();
    assert_eq!(world.device(1).told(), None);
    world.device(1).send(&COLD);
    world.settle();
    world.read("bytes");
    assert_eq!(world.device(1).told().unwrap().payload, "bytes");
}

#[test]
fn a_block_that_is_too_long_for_the_device_is_5_00() {
    let mut world = World::new(1);
    world.add(1);
    world.device(1).record_size_limit = Some(100);
    world.reboot(1);
    world.settle();
    world.device(1).send(&COLD);
    world.settle();
    world.read(&"x".repeat(100));
    assert_eq!(world.device(1).told().unwrap().code, Code::INTERNAL_SERVER_ERROR);
}

#[test]
fn a_block_that_comes_while_the_gateway_drains_is_answered() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).send(&COLD);
    world.settle();
    let deadline = world.now + Duration::from_secs(4);
    world.post(0, Message::Drain { deadline });
    assert!(!world.shards[0].is_over());
    world.read("bytes");
    assert_eq!(world.device(1).told().unwrap().payload, "bytes");
    world.pass(Duration::from_secs(1));
    assert!(world.shards[0].is_over());
}

#[test]
fn rule_3_a_slow_commit_is_answered_under_the_newest_message_id_and_past_the_limit_with_5_03_once() {
    for (commit_ms, code) in [(5_900, Code::CHANGED), (6_100, Code::SERVICE_UNAVAILABLE)] {
        let mut world = World::new(1);
        world.boot(1);
        let first = world.device(1).request(Code::POST, "later", None, None);
        world.settle();
        world.pass(Duration::from_millis(2_300));
        world.device(1).mid -= 1;
        assert_eq!(world.device(1).request(Code::POST, "later", None, None), first);
        world.settle();
        world.pass(Duration::from_millis(2_700));
        let newest = world.device(1).request(Code::POST, "later", None, None);
        world.settle();
        assert_eq!(world.device(1).told(), None);
        world.pass(Duration::from_millis(commit_ms - 5_000));
        let mut tickets = std::mem::take(&mut *world.house.tickets.lock().unwrap());
        assert_eq!(tickets.len(), 1, "one report, one commit");
        tickets.remove(0).complete(Code::CHANGED);
        world.settle();
        let answer = world.device(1).told().unwrap();
        assert_eq!(
            (answer.kind, answer.code, answer.mid),
            (MessageKind::Acknowledgement, code, newest)
        );
        assert_eq!(world.device(1).told(), None, "once");

        // The answer was lost: it is told again, and nothing is committed again.
        world.device(1).mid -= 1;
        world.device(1).request(Code::POST, "later", None, None);
        world.settle();
        assert_eq!(world.device(1).told().unwrap().code, code);
        assert!(world.house.tickets.lock().unwrap().is_empty());
    }
}

#[test]
fn a_device_gone_before_its_ticket_is_answered_disturbs_nobody() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    world.reboot(1);
    world.settle();
    let ticket = world.house.tickets.lock().unwrap().pop().unwrap();
    ticket.complete(Code::CHANGED);
    world.settle();
    assert_eq!(world.device(1).told(), None);
}

#[test]
fn the_log_says_of_a_notification_in_flight_that_it_has_yet_to_be_sent() {
    let (journal, entries) = Journal::for_tests(100);
    let mut world = World::new(1);
    world.shards[0].around.journal = Some(journal);
    world.boot(1);
    world.device(1).request(Code::GET, "version", Some(0), None);
    world.settle();
    world.device(1).told();
    world.publish(2);
    let second = world.device(1).told().unwrap();
    world.device(1).acknowledge(second.mid);
    world.settle();
    world.publish(3);
    let third = world.device(1).told().unwrap();
    world.pass(Duration::from_secs(1));
    world.device(1).acknowledge(third.mid);
    world.settle();
    world.pass(Duration::from_secs(1));
    let logged = entries.filter_map(|entry| match entry {
        Entry::Observes { relations, .. } => Some(relations[0].sent),
        _ => None,
    });
    assert_eq!(logged.collect::<Vec<_>>(), [1, 0, 3]);
}

#[test]
fn what_the_log_has_no_room_for_is_logged_later() {
    let mut world = World::new(1);
    for number in 1..=5 {
        world.boot(number);
    }
    let (journal, mut entries) = Journal::for_tests(2);
    world.shards[0].around.journal = Some(journal);
    for number in 1..=5 {
        world.device(number).request(Code::GET, "version", None, None);
    }
    world.settle();
    let mut marked = Vec::new();
    for _ in 0..3 {
        world.pass(Duration::from_secs(1));
        marked.extend(entries.by_ref().map(|entry| match entry {
            Entry::Received { serial, .. } => serial,
            other => panic!("{other:?}"),
        }));
    }
    marked.sort_unstable();
    assert_eq!(marked, [1, 2, 3, 4, 5]);
}

#[test]
fn a_log_that_failed_is_told_of_every_session_with_numbers_that_none_has_used() {
    let (journal, mut entries) = Journal::for_tests(1000);
    let mut world = World::new(1);
    world.shards[0].around.journal = Some(journal);
    for number in 1..=3 {
        world.boot(number);
    }
    world.device(2).request(Code::GET, "version", Some(0), None);
    world.settle();
    // While the log is off every number may be used, and the first device uses many.
    for id in session_ids(&world) {
        let end = MAX_RECORD_NUMBER;
        world.post(0, Message::Reserved { peer: id, end });
    }
    for _ in 0..2 * RESERVATION {
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
    }
    entries.by_ref().for_each(drop);

    world.post(0, Message::LogAnew);
    let mut logged = established(entries.by_ref());
    logged.sort_by_key(|saved| saved.serial);
    assert_eq!(
        logged.iter().map(|saved| saved.device).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(logged[1].relations.len(), 1, "with what it observes");
    for (saved, id) in logged.iter().zip(session_ids(&world)) {
        let Link::Secure(session) = &world.shards[0].sessions.get(id).unwrap().link else {
            unreachable!("it came by DTLS")
        };
        assert_eq!(
            saved.session.reservation(),
            session.next_record_number() + RESERVATION
        );
        assert_eq!(session.reservation(), saved.session.reservation());
        assert_eq!(saved.session.receive_mark(), session.receive_mark());
    }
    world.pass(Duration::from_secs(3));
    assert_eq!(established(entries).len(), 0, "once each");
}

/// What was asked for before the log knows a session may be granted after it: had the session been logged meanwhile, it
/// would use numbers beyond those it is restored behind.
#[test]
fn a_session_that_waits_for_numbers_is_logged_anew_once_it_has_them() {
    let (journal, mut entries) = Journal::for_tests(1000);
    let mut world = World::new(1);
    world.shards[0].around.journal = Some(journal);
    world.boot(1);
    for _ in 0..RESERVATION / 2 {
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
    }
    let asked = entries
        .by_ref()
        .filter(|entry| matches!(entry, Entry::Reserved { .. }))
        .count();
    assert_eq!(asked, 1);

    world.post(0, Message::LogAnew);
    world.pass(Duration::from_secs(3));
    assert_eq!(established(entries.by_ref()).len(), 0, "not yet");
    let peer = session_ids(&world)[0];
    world.post(
        0,
        Message::Reserved {
            peer,
            end: 9 * RESERVATION,
        },
    );
    let logged = established(entries);
    let [saved] = logged.as_slice() else {
        panic!("logged {} times", logged.len())
    };
    let Link::Secure(session) = &world.shards[0].sessions.get(peer).unwrap().link else {
        unreachable!("it came by DTLS")
    };
    assert_eq!(session.reservation(), saved.session.reservation());
}

#[test]
fn a_log_without_room_for_all_sessions_is_told_of_the_rest_later() {
    let mut world = World::new(1);
    for number in 1..=5 {
        world.boot(number);
    }
    let (journal, mut entries) = Journal::for_tests(2);
    world.shards[0].around.journal = Some(journal);
    world.post(0, Message::LogAnew);
    let mut told = Vec::new();
    for _ in 0..4 {
        told.extend(established(entries.by_ref()).iter().map(|saved| saved.serial));
        world.pass(Duration::from_secs(1));
    }
    told.sort_unstable();
    assert_eq!(told, [1, 2, 3, 4, 5]);
}

#[test]
fn a_restored_session_is_pinged_after_its_first_answer_and_either_answer_proves_its_device() {
    for kind in [MessageKind::Acknowledgement, MessageKind::Reset] {
        let mut world = restarted_while(|world| world.boot(1), |_| {});
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
        assert_eq!(
            world.device(1).told().unwrap().payload,
            "1:1",
            "the answer comes first"
        );
        let ping = world.device(1).told().unwrap();
        assert_eq!((ping.kind, ping.code), (MessageKind::Confirmable, Code::EMPTY));
        assert_eq!(world.proven(), 0);
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
        assert_eq!(world.device(1).told().unwrap().payload, "1:1");
        assert_eq!(world.device(1).told(), None, "one ping is on its way");
        let mut answer = Vec::new();
        wire::write_empty(&mut answer, kind, ping.mid);
        world.device(1).send(&answer);
        world.settle();
        assert_eq!(world.proven(), 1);
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
        assert_eq!(world.device(1).messages.len(), 1, "no further ping");
    }
}

#[test]
fn a_session_of_this_run_owes_no_proof() {
    let mut world = World::observing(1);
    world.publish(2);
    let notification = world.device(1).told().unwrap();
    world.device(1).acknowledge(notification.mid);
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).messages.len(), 1);
    assert_eq!(world.proven(), 0);
}

#[test]
fn a_notification_that_is_acknowledged_proves_as_much_as_a_ping() {
    let mut world = restarted_while(|world| *world = World::observing(1), |_| {});
    world.publish(2);
    let notification = world.device(1).told().unwrap();
    assert_eq!(notification.payload, "1:2");
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).messages.len(), 1, "no ping beside a notification");
    world.device(1).acknowledge(notification.mid);
    world.settle();
    assert_eq!(world.proven(), 1);
}

#[test]
fn an_unanswered_ping_is_repeated_given_up_and_sent_again_when_the_device_is_heard_of() {
    let mut world = restarted_while(|world| world.boot(1), |_| {});
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    world.device(1).told();
    world.pass(Duration::from_secs(200));
    let pings: Vec<_> = std::iter::from_fn(|| world.device(1).told()).collect();
    assert_eq!(pings.len(), 5);
    assert!(pings.iter().all(|ping| *ping == pings[0]));
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    world.device(1).told();
    let again = world.device(1).told().unwrap();
    assert_eq!((again.kind, again.code), (MessageKind::Confirmable, Code::EMPTY));
    assert_ne!(again.mid, pings[0].mid);
    world.device(1).acknowledge(pings[0].mid);
    world.settle();
    assert_eq!(world.proven(), 0, "it waits for another");
    world.device(1).acknowledge(again.mid);
    world.settle();
    assert_eq!(world.proven(), 1);
}

/// Whoever recorded what the device sent after the last receive mark can send it again, in order or not at all, until the device
/// has proven that it is there. It proves nothing.
#[test]
fn what_was_sent_before_a_restart_is_taken_in_its_order_proves_nothing_and_ends_with_the_proof() {
    let mut recorded = Vec::new();
    let mut world = restarted_while(
        |world| *world = World::observing(1),
        |world| {
            world.publish(2);
            let notification = world.device(1).told().unwrap();
            let device = world.device(1);
            device.request(Code::GET, "version", None, None);
            device.acknowledge(notification.mid);
            device.request(Code::GET, "copy", None, None);
            device.request(Code::GET, "version", None, None);
            recorded.clone_from(&device.out);
            world.settle();
            world.device(1).messages.clear();
        },
    );
    // The notification may not have arrived, as far as the log knows.
    world.device(1).messages.clear();
    for (record, answers) in [(1, 0), (2, 1), (0, 0), (1, 0), (2, 0)] {
        world.deliver_to_gateway(1, vec![recorded[record].clone()]);
        world.settle();
        let told: Vec<_> = std::iter::from_fn(|| world.device(1).told()).collect();
        let answers_told = told
            .iter()
            .filter(|told| told.kind == MessageKind::Acknowledgement);
        assert_eq!(answers_told.count(), answers, "record {record}: {told:?}");
    }
    assert_eq!(world.proven(), 0);

    world.pass(Duration::from_secs(4));
    let asked = world.device(1).told().unwrap();
    assert_eq!(asked.kind, MessageKind::Confirmable);
    world.device(1).acknowledge(asked.mid);
    world.settle();
    assert_eq!(world.proven(), 1);
    world.deliver_to_gateway(1, vec![recorded[3].clone()]);
    world.settle();
    assert_eq!(
        world.device(1).told(),
        None,
        "newer than all that came again, older than the proof"
    );
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:2");
}

#[test]
fn nobody_stops_observing_before_the_proof() {
    let mut world = restarted_while(|world| *world = World::observing(1), |_| {});
    world.device(1).request(Code::GET, "version", Some(1), None);
    world.settle();
    let ping = world.device(1).told().unwrap();
    assert_eq!((ping.kind, ping.code), (MessageKind::Confirmable, Code::EMPTY));
    assert_eq!(world.device(1).told(), None, "as if it were lost");
    world.device(1).acknowledge(ping.mid);
    world.settle();
    world.publish(2);
    let notification = world.device(1).told().unwrap();
    assert_eq!(notification.payload, "1:2", "it observes still");
    world.device(1).acknowledge(notification.mid);
    world.device(1).request(Code::GET, "version", Some(1), None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().observe, None);
    world.publish(3);
    assert_eq!(world.device(1).told(), None);
}

#[test]
fn what_has_to_wait_for_the_proof_is_told_that_it_was_taken_unless_the_proof_comes_first() {
    let mut world = restarted_while(|world| world.boot(1), |_| {});
    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    let ping = world.device(1).told().unwrap();
    assert_eq!(ping.code, Code::EMPTY);
    world.pass(TAKEN_WITHIN - Duration::from_millis(1));
    while let Some(told) = world.device(1).told() {
        assert_eq!(told, ping);
    }
    world.pass(Duration::from_millis(2));
    assert_eq!(world.device(1).told().unwrap().code, Code::CHANGED);

    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    world.device(1).acknowledge(ping.mid);
    world.settle();
    assert_eq!(world.proven(), 1);
    world.pass(TAKEN_WITHIN + Duration::from_millis(1));
    assert_eq!(world.device(1).told(), None, "it is on its way");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.device(1).told().unwrap().code, Code::SERVICE_UNAVAILABLE);
}

/// Otherwise whoever sends only the first of two reports again would take back the second as soon as the device proves itself.
#[test]
fn what_comes_before_a_gap_in_the_records_is_as_if_it_were_lost() {
    let mut world = restarted_while(|world| world.boot(1), |_| {});
    let first = world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    let ping = world.device(1).told().unwrap();
    assert_eq!(world.house.tickets.lock().unwrap().len(), 1);
    world.device(1).request(Code::GET, "version", None, None);
    world.device(1).out.clear();
    world.device(1).acknowledge(ping.mid);
    world.settle();
    assert_eq!(world.proven(), 1);
    assert_eq!(
        world.house.tickets.lock().unwrap().len(),
        0,
        "its handler is told"
    );
    world.pass(Duration::from_secs(20));
    assert_eq!(world.device(1).told(), None);
    // Its next transmission.
    world.device(1).mid = first.0 - 1;
    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    let ticket = world.house.tickets.lock().unwrap().pop().unwrap();
    ticket.complete(Code::CHANGED);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::CHANGED);
}

#[test]
fn a_proof_has_a_message_id_that_no_recent_record_of_the_earlier_run_had() {
    for first in [0, 1000, 40_000, u16::MAX] {
        let proof = Proof::owed_from(u64::from(first) + (7 << 16));
        for ahead in [0, 1, (1 << 15) - 1] {
            assert!(proof.is_given_by(MessageId(first.wrapping_add(ahead))));
        }
        for before in [1, 2, 1 << 15] {
            assert!(!proof.is_given_by(MessageId(first.wrapping_sub(before))));
        }
        assert!(!Proof::Given.is_given_by(MessageId(first)));
    }
}

#[test]
fn silence_ends_a_session_after_the_idle_time_and_not_before() {
    let mut world = World::new(1);
    world.boot(1);
    world.pass(IDLE - Duration::from_secs(5));
    assert_eq!(world.house.seen().len(), 1);
    world.pass(Duration::from_secs(10));
    assert_eq!(
        world.house.seen()[1],
        Seen::Disconnected {
            device: 1,
            serial: 1,
            why: EndReason::Idle
        }
    );
    assert!(world.directory.find(1).next().is_none());
    assert!(world.shards[0].addresses.is_empty());
}

#[test]
fn at_the_cap_the_longest_silent_session_goes() {
    let mut world = World::new(1);
    for number in 1..=MAX_SESSIONS as u64 {
        world.boot(number);
    }
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    world.boot(99);
    let ended: Vec<_> = world
        .house
        .seen()
        .into_iter()
        .filter(|seen| matches!(seen, Seen::Disconnected { .. }))
        .collect();
    assert_eq!(
        ended,
        [Seen::Disconnected {
            device: 2,
            serial: 2,
            why: EndReason::Evicted
        }]
    );
    assert_eq!(world.sessions.load(Ordering::SeqCst), MAX_SESSIONS);
}

#[test]
fn beyond_the_cap_client_hellos_are_dropped_and_a_seat_is_free_again_later() {
    let mut world = World::new(1);
    // Clients that stop after their second ClientHello, each from another network.
    for number in 0..MAX_HANDSHAKES as u64 {
        world
            .devices
            .insert(number, (Device::new(number), far_address(number), 0));
        let now = world.now;
        world.device(number).boot(now);
        world.exchange_once();
        world.exchange_once();
        world.device(number).out.clear();
    }
    world.devices.clear();
    assert_eq!(world.shards[0].seats.taken(), MAX_HANDSHAKES);
    world.boot(77);
    assert!(world.device(77).session.is_none());
    // Who has been silent for as long as a device tries gives way, one for each that comes.
    world.pass(Duration::from_secs(4));
    world.boot(79);
    assert!(world.device(79).session.is_some());
    assert_eq!(world.shards[0].seats.taken(), MAX_HANDSHAKES - 1);
    world.pass(Duration::from_secs(61));
    assert_eq!(world.shards[0].seats.taken(), 0);
    world.boot(78);
    assert!(world.device(78).session.is_some());
}

#[test]
fn a_handshake_given_up_while_its_key_is_looked_up_keeps_its_seat_until_then() {
    let mut world = World::new(1);
    world.add(3);
    for _ in 0..2 * MAX_HANDSHAKES {
        world.boot_as(3, "slow-3", &secret(3));
        world.settle();
        // As long as a device takes at least before it begins anew.
        world.pass(Duration::from_secs(1));
    }
    let tickets = std::mem::take(&mut *world.house.slow.lock().unwrap());
    // Past half of the seats, one network gets no more.
    assert_eq!(tickets.len(), MAX_HANDSHAKES / 2);
    world.devices.remove(&3);
    drop(tickets);
    world.settle();
    world.pass(Duration::from_secs(61));
    assert_eq!(world.shards[0].seats.taken(), 0);
}

#[test]
fn a_closing_device_is_answered_and_forgotten() {
    let mut world = World::new(1);
    world.boot(1);
    let mut goodbye = Vec::new();
    world.device(1).session.as_mut().unwrap().close(&mut goodbye);
    world.device(1).out.push(goodbye);
    world.settle();
    assert!(world.device(1).closed);
    assert_eq!(
        world.house.seen()[1],
        Seen::Disconnected {
            device: 1,
            serial: 1,
            why: EndReason::Closed
        }
    );
}

#[test]
fn forged_and_broken_datagrams_change_nothing_for_the_device() {
    let mut world = World::observing(1);
    let garbage: [&[u8]; 7] = [
        &[],
        &[22],
        // A plaintext close_notify, a plaintext fatal alert, an undecryptable record, one of a future epoch.
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0],
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
        &[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4],
        &[23, 0xfe, 0xfd, 0, 2, 0, 0, 0, 0, 0, 9, 0, 1, 0],
        &[0xff; 64],
    ];
    world.deliver_to_gateway(1, garbage.iter().map(|bytes| bytes.to_vec()).collect());
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    assert_eq!(world.house.seen().len(), 1);
}

#[test]
fn a_malformed_message_is_dropped_and_never_reset() {
    let mut world = World::new(1);
    world.boot(1);
    // A payload marker without payload.
    world.device(1).send(&[0x40, 1, 0, 1, 0xff]);
    world.settle();
    assert_eq!(world.device(1).told(), None);
}

#[test]
fn draining_answers_what_is_pending_says_goodbye_and_takes_nobody_new() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    let deadline = world.now + Duration::from_secs(8);
    world.post(0, Message::Drain { deadline });
    assert!(!world.shards[0].is_over());
    world.boot(2);
    assert!(world.device(2).session.is_none());
    let ticket = world.house.tickets.lock().unwrap().pop().unwrap();
    ticket.complete(Code::CHANGED);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::CHANGED);
    world.pass(Duration::from_secs(1));
    assert!(world.device(1).closed);
    assert!(world.shards[0].is_over());
}

#[test]
fn sessions_are_told_goodbye_unless_the_log_will_restore_them() {
    for is_kept in [true, false] {
        let (journal, _entries) = Journal::for_tests(100);
        let mut world = World::new(1);
        world.shards[0].around.journal = Some(journal.clone());
        world.boot(1);
        if !is_kept {
            journal.give_up_for_tests();
        }
        let deadline = world.now;
        world.post(0, Message::Drain { deadline });
        assert!(world.shards[0].is_over());
        assert_eq!(world.device(1).closed, !is_kept);
    }
}

#[test]
fn a_plain_request_names_its_device_or_gets_4_01() {
    let mut world = World::new(1);
    world.add(1);
    world.plain = true;
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::UNAUTHORIZED);
    world
        .device(1)
        .request(Code::GET, "version", None, Some("device=nobody"));
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::UNAUTHORIZED);
    assert_eq!(world.shards[0].plain.len(), 0);

    world
        .device(1)
        .request(Code::GET, "version", Some(0), Some("device=device-1"));
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!((answer.code, answer.payload.as_str()), (Code::CONTENT, "1:1"));
    assert!(answer.observe.is_some());
    world.publish(2);
    let notification = world.device(1).told().unwrap();
    assert_eq!(notification.payload, "1:2");
    world.device(1).acknowledge(notification.mid);
    world.settle();
    assert!(world.house.seen().contains(&Seen::Acknowledged {
        device: 1,
        version: 2
    }));
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(
        world.device(1).told().unwrap().code,
        Code::UNAUTHORIZED,
        "a known address is no name"
    );
}

#[test]
fn the_table_of_plain_peers_is_bounded() {
    let mut world = World::new(1);
    world.plain = true;
    for number in 0..MAX_PLAIN as u64 + 3 {
        world.add(number);
        world.device(number).request(
            Code::GET,
            "version",
            None,
            Some(&format!("device=device-{number}")),
        );
        world.settle();
    }
    assert_eq!(world.shards[0].plain.len(), MAX_PLAIN);
    assert_eq!(world.shards[0].plain_addresses.len(), MAX_PLAIN);
}

#[test]
fn a_connected_peer_is_small() {
    let size = size_of::<Peer<Arc<()>>>();
    println!("{size} bytes a peer");
    assert!(size <= 480, "{size} bytes");
}

/// Shards, a house, devices at their addresses and a wire that loses nothing.
struct World {
    now: Instant,
    unix_ms: i64,
    house: Arc<House>,
    shards: Vec<Shard<House, House>>,
    inboxes: Vec<Inbox<Thing>>,
    directory: Arc<Directory>,
    sessions: Arc<AtomicUsize>,
    devices: BTreeMap<u64, (Device, SocketAddr, usize)>,
    out: SendQueue,
    plain: bool,
    /// Datagrams until one is lost.
    until_lost: Option<u32>,
    /// What devices have sent, first to last.
    recorded: Vec<Vec<u8>>,
    /// What the gateway sent: to whom, and how many bytes.
    sent: Vec<(SocketAddr, usize)>,
}

impl World {
    fn new(count: usize) -> Self {
        let now = Instant::now();
        let house = House::new();
        let directory = Arc::new(Directory::default());
        let sessions = Arc::new(AtomicUsize::new(0));
        let serials = Arc::new(AtomicU64::new(1));
        let cookies = CookieJar::new([7; 32], now);
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox()).unzip();
        let shards = (0..count)
            .map(|index| {
                let surroundings = Surroundings {
                    index: index as u16,
                    handler: house.clone(),
                    keys: house.clone(),
                    cookies: cookies.clone(),
                    dtls: Arc::new(ServerConfig::default()),
                    directory: directory.clone(),
                    mailboxes: mailboxes.clone(),
                    journal: None,
                    serials: serials.clone(),
                    sessions: sessions.clone(),
                    kinds: vec![Kind::Secure, Kind::Plain],
                    locals: vec![
                        "192.0.2.1:5684".parse().unwrap(),
                        "192.0.2.1:5683".parse().unwrap(),
                    ],
                    max_sessions: MAX_SESSIONS,
                    idle: IDLE,
                    idle_with_cid: IDLE_WITH_CID,
                    max_handshakes: MAX_HANDSHAKES,
                    max_plain_peers: MAX_PLAIN,
                    rng: StdRng::seed_from_u64(index as u64),
                };
                Shard::new(surroundings, now)
            })
            .collect();
        let unix_ms = 1_800_000_000_000;
        let out = SendQueue::new();
        Self {
            now,
            unix_ms,
            house,
            shards,
            inboxes,
            directory,
            sessions,
            devices: BTreeMap::new(),
            out,
            plain: false,
            until_lost: None,
            recorded: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Whose gateway has a certificate.
    fn certified(count: usize) -> Self {
        let mut world = Self::new(count);
        for shard in 0..count {
            let dtls = ServerConfig {
                certificate: Some(Arc::new(fixtures::server())),
                ..ServerConfig::default()
            };
            world.post(shard, Message::Reconfigured(Arc::new(dtls)));
        }
        world
    }

    fn boot_certified(&mut self, number: u64, own: CertifiedKey) {
        self.add(number);
        let now = self.now;
        let credential = ClientCredential::Certificate(Arc::new(own));
        self.device(number).boot_with(now, credential);
        self.settle();
    }

    fn lose_nth(&mut self, datagram: u32) {
        self.until_lost = Some(datagram);
    }

    fn is_lost(&mut self) -> bool {
        let lost = self.until_lost == Some(0);
        self.until_lost = self.until_lost.and_then(|left| left.checked_sub(1));
        lost
    }

    /// A world in which one device observes `/version`.
    fn observing(number: u64) -> Self {
        let mut world = Self::new(1);
        world.boot(number);
        world.device(number).request(Code::GET, "version", Some(0), None);
        world.settle();
        assert!(world.device(number).told().unwrap().observe.is_some());
        world
    }

    fn add(&mut self, number: u64) {
        self.devices
            .insert(number, (Device::new(number), address(number), 0));
    }

    fn device(&mut self, number: u64) -> &mut Device {
        &mut self.devices.get_mut(&number).unwrap().0
    }

    /// Has the kernel give a device's datagrams to another shard from here on.
    fn device_in(&mut self, number: u64, shard: usize) {
        self.devices.get_mut(&number).unwrap().2 = shard;
    }

    fn boot(&mut self, number: u64) {
        self.add(number);
        self.reboot(number);
        self.settle();
    }

    /// Only the first ClientHello.
    fn reboot(&mut self, number: u64) {
        let now = self.now;
        self.device(number).boot(now);
    }

    fn boot_as(&mut self, number: u64, identity: &str, key: &Psk) {
        let now = self.now;
        self.device(number).boot_as(now, identity, key);
    }

    /// Answers what has waited longest.
    fn read(&mut self, bytes: &str) {
        let bytes = bytes.to_owned();
        let ticket = self.house.tickets.lock().unwrap().remove(0);
        ticket.complete_with(move |reply| {
            reply.respond(&ResponseHead::new(Code::CONTENT), bytes.as_bytes());
        });
        self.settle();
    }

    /// How many devices have shown that they are there.
    fn proven(&self) -> usize {
        let seen = self.house.seen();
        seen.iter()
            .filter(|seen| matches!(seen, Seen::Proven { .. }))
            .count()
    }

    fn publish(&mut self, version: u32) {
        self.house.version.store(version, Ordering::SeqCst);
        for shard in 0..self.shards.len() {
            self.shards[shard].set_time(self.now, self.unix_ms);
            self.shards[shard].handle_message(Message::WakeEveryone, &mut self.out);
        }
        self.settle();
    }

    fn post(&mut self, shard: usize, message: Message<Thing>) {
        self.shards[shard].set_time(self.now, self.unix_ms);
        self.shards[shard].handle_message(message, &mut self.out);
        self.settle();
    }

    /// Lets time go by, stopping wherever a shard has something to do.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.shards.iter().map(Shard::next_deadline).min()
            && next < end
            && !self.shards.iter().any(Shard::is_over)
        {
            // Nothing of the shard's is more precise than this, and a day has to go by quickly.
            let step = if end - self.now > Duration::from_secs(3600) {
                Duration::from_secs(600)
            } else {
                Duration::ZERO
            };
            self.advance_to(next.max(self.now + step).min(end));
        }
        self.advance_to(end);
    }

    fn advance_to(&mut self, now: Instant) {
        self.unix_ms += (now - self.now).as_millis() as i64;
        self.now = now;
        self.settle();
    }

    /// Exchanges datagrams until nobody has anything to say.
    fn settle(&mut self) {
        while self.exchange_once() {}
    }

    fn exchange_once(&mut self) -> bool {
        let mut moved = false;
        for (device, ..) in self.devices.values_mut() {
            device.handle_timeout(self.now);
        }
        let sent: Vec<_> = self
            .devices
            .iter_mut()
            .map(|(number, (device, ..))| (*number, std::mem::take(&mut device.out)))
            .collect();
        for (number, datagrams) in sent {
            moved |= !datagrams.is_empty();
            self.deliver_to_gateway(number, datagrams);
        }
        for (shard, inbox) in self.shards.iter_mut().zip(&mut self.inboxes) {
            shard.set_time(self.now, self.unix_ms);
            while let Ok(message) = inbox.messages.try_recv() {
                shard.handle_message(message, &mut self.out);
                moved = true;
            }
            while let Ok(mut forwarded) = inbox.forwards.try_recv() {
                shard.handle_forwarded(&mut forwarded, &mut self.out);
                moved = true;
            }
            if !shard.is_over() {
                shard.handle_timers(1000, &mut self.out);
            }
            moved |= shard.notify_observers(100, &mut self.out);
        }
        let answers: VecDeque<_> = self
            .out
            .iter()
            .map(|(path, bytes)| (path.peer, bytes.to_vec()))
            .collect();
        self.out.clear();
        self.sent
            .extend(answers.iter().map(|(peer, bytes)| (*peer, bytes.len())));
        for (peer, mut bytes) in answers {
            moved = true;
            let now = self.now;
            if self.is_lost() {
                continue;
            }
            if let Some((device, ..)) = self.devices.values_mut().find(|(_, address, _)| *address == peer) {
                if self.plain {
                    told(&bytes);
                    device.messages.push(bytes);
                } else {
                    device.handle(now, &mut bytes);
                }
            }
        }
        moved
    }

    fn deliver_to_gateway(&mut self, number: u64, datagrams: Vec<Vec<u8>>) {
        let (_, peer, shard) = self.devices[&number];
        self.deliver(peer, shard, datagrams);
    }

    fn deliver(&mut self, peer: SocketAddr, shard: usize, datagrams: Vec<Vec<u8>>) {
        let path = Path {
            peer,
            local: "192.0.2.1".parse().unwrap(),
            listener: u8::from(self.plain),
        };
        for mut datagram in datagrams {
            self.recorded.push(datagram.clone());
            if self.is_lost() {
                continue;
            }
            self.shards[shard].set_time(self.now, self.unix_ms);
            self.shards[shard].handle_datagram(path, &mut datagram, &mut self.out);
        }
    }
}

/// GET `cold`, CON, message ID 0x1201, Block2 0/0/6.
const COLD: [u8; 19] = *b"\x48\x01\x12\x01\x09\x09\x09\x09\x09\x09\x09\x09\xb4cold\xc1\x06";
fn session_ids(world: &World) -> Vec<PeerId> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(id) = world.shards[0].sessions.at_or_after(from) {
        from = id.slot() + 1;
        found.push(id);
    }
    found
}

/// A world after a restart. What happened in the `last` second before it is not in the log.
fn restarted_while(first: impl FnOnce(&mut World), last: impl FnOnce(&mut World)) -> World {
    let mut before = World::new(1);
    first(&mut before);
    let (journal, entries) = Journal::for_tests(100);
    before.shards[0].around.journal = Some(journal);
    before.post(0, Message::LogAnew);
    let saved = established(entries);
    assert_eq!(saved.len(), before.devices.len());
    before.shards[0].around.journal = None;
    last(&mut before);
    let mut world = World::new(1);
    world.devices = before.devices;
    world
        .house
        .version
        .store(before.house.version.load(Ordering::SeqCst), Ordering::SeqCst);
    let now = world.now;
    world.shards[0].restore(now, saved.into_iter().map(resume).collect());
    world.settle();
    world
}

fn established(entries: impl Iterator<Item = Entry>) -> Vec<SavedPeer> {
    entries
        .filter_map(|entry| match entry {
            Entry::Established(saved) => Some(*saved),
            Entry::Reserved { .. }
            | Entry::Received { .. }
            | Entry::Observes { .. }
            | Entry::Ended { .. }
            | Entry::Moved { .. } => None,
        })
        .collect()
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 20_000 + number as u16))
}

/// An address in a network of its own.
fn far_address(number: u64) -> SocketAddr {
    SocketAddr::from(([203, 0, number as u8, 7], 20_000))
}

const MAX_SESSIONS: usize = 5;
const MAX_HANDSHAKES: usize = 6;
const MAX_PLAIN: usize = 4;
const IDLE: Duration = Duration::from_secs(24 * 3600);
const IDLE_WITH_CID: Duration = Duration::from_secs(30 * 24 * 3600);
