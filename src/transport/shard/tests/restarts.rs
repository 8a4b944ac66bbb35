//! What the session log is told, and sessions of an earlier run: who speaks there, and what is believed of it.

use super::*;

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
