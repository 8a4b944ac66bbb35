//! Sessions with a connection ID: found by it, and moved by their newest record only.

use super::*;
use crate::dtls::{ConnectionId, OfferedConnectionId, RecordHeader, records};

#[test]
fn a_session_goes_on_from_another_address() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    assert_eq!(world.ask(1), "1:1");
    world.move_to(1, far_address(1));
    assert_eq!(world.ask(1), "1:1");
    assert_eq!(world.sent.last().unwrap().0, far_address(1));
    let moved = Seen::Moved {
        device: 1,
        serial: 1,
        peer: far_address(1),
    };
    assert_eq!(world.house.seen()[1..], [moved], "one session, which moved once");
    world.publish(2);
    assert_eq!(world.ask(1), "1:2");
    assert_eq!(world.shards[0].addresses.len(), 0, "it owns no address");
}

#[test]
fn a_client_that_wants_an_id_itself_is_served_too() {
    let mut world = World::new(1);
    world.add(1);
    world.device(1).connection_id = OfferedConnectionId::Own(ConnectionId::new([9; 8]));
    world.reboot(1);
    world.settle();
    assert_eq!(world.ask(1), "1:1");
    world.move_to(1, far_address(1));
    assert_eq!(world.ask(1), "1:1");
}

#[test]
fn every_datagram_may_come_from_another_port() {
    let mut world = World::new(2);
    world.boot_with_cid(1);
    for port in 1..200_u16 {
        let address = SocketAddr::from(([198, 51, 100, 8], port));
        world.move_to(1, address);
        world.device_in(1, usize::from(port % 2));
        assert_eq!(world.ask(1), "1:1", "from port {port}");
        assert_eq!(world.sent.last().unwrap().0, address);
    }
}

#[test]
fn any_single_datagram_of_a_handshake_with_a_connection_id_may_be_lost() {
    for lost in 0..12 {
        let mut world = World::new(1);
        world.lose_nth(lost);
        world.add(1);
        world.device(1).connection_id = OfferedConnectionId::Empty;
        world.reboot(1);
        world.settle();
        world.pass(Duration::from_secs(10));
        assert!(world.device(1).session.is_some(), "datagram {lost} lost");
        world.until_lost = None;
        assert_eq!(world.ask(1), "1:1", "datagram {lost} lost");
        assert_eq!(world.shards[0].sessions.len(), 1);
    }
}

#[test]
fn a_finished_from_elsewhere_is_not_taken() {
    let mut world = World::new(1);
    world.add(1);
    world.device(1).connection_id = OfferedConnectionId::Empty;
    world.reboot(1);
    let finished = loop {
        let mut out = std::mem::take(&mut world.device(1).out);
        let all = out
            .iter_mut()
            .flat_map(|datagram| records(datagram).map(|record| record.to_vec()));
        let (finished, others): (Vec<_>, Vec<_>) =
            all.partition(|record| RecordHeader::connection_id(record).is_some());
        world.deliver(address(1), 0, others);
        if !finished.is_empty() {
            break finished;
        }
        world.exchange_once();
    };
    world.settle();
    world.deliver(far_address(9), 0, finished.clone());
    world.settle();
    assert_eq!(world.house.seen(), [], "it came from elsewhere");
    world.deliver(address(1), 0, finished);
    world.settle();
    assert_eq!(world.ask(1), "1:1");
}

#[test]
fn a_replayed_record_moves_nothing() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.device(1).request(Code::GET, "version", None, None);
    let datagrams = world.device(1).out.clone();
    world.settle();
    assert!(world.device(1).told().is_some());
    world.sent.clear();
    world.deliver(far_address(9), 0, datagrams);
    world.settle();
    assert_eq!(world.sent, [], "the replayed is not answered");
    assert!(world.never_moved());
    assert_eq!(world.ask(1), "1:1");
}

#[test]
fn an_older_record_moves_nothing_and_is_answered_where_the_device_is() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.device(1).request(Code::GET, "version", None, None);
    let held_back = std::mem::take(&mut world.device(1).out);
    assert_eq!(world.ask(1), "1:1");
    world.sent.clear();
    world.deliver(far_address(9), 0, held_back);
    world.settle();
    assert!(
        world.sent.iter().all(|(to, _)| *to == address(1)),
        "{:?}",
        world.sent
    );
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    assert!(world.never_moved());
}

#[test]
fn a_forged_connection_id_reaches_nobody_and_changes_nothing() {
    let mut world = World::new(2);
    world.boot_with_cid(1);
    world.boot_with_cid(2);
    world.device(1).request(Code::GET, "version", None, None);
    let record = world.device(1).out[0].clone();
    world.device(2).request(Code::GET, "version", None, None);
    let other = world.device(2).out[0].clone();
    world.settle();
    world.device(1).messages.clear();
    world.device(2).messages.clear();
    let cid = 11..19;
    let mut forged = Vec::new();
    for byte in cid.clone() {
        for bit in 0..8 {
            let mut datagram = record.clone();
            datagram[byte] ^= 1 << bit;
            forged.push(datagram);
        }
    }
    // Another session's.
    let mut datagram = record.clone();
    datagram[cid.clone()].copy_from_slice(&other[cid]);
    forged.push(datagram);
    world.sent.clear();
    for shard in 0..2 {
        world.deliver(far_address(9), shard, forged.clone());
        world.deliver(address(1), shard, forged.clone());
    }
    world.settle();
    assert_eq!(world.sent, []);
    assert!(world.never_moved());
    assert_eq!((world.ask(1), world.ask(2)), ("1:1".to_owned(), "2:1".to_owned()));
}

#[test]
fn a_session_without_a_connection_id_never_moves() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::GET, "version", None, None);
    let datagrams = std::mem::take(&mut world.device(1).out);
    world.sent.clear();
    world.deliver(far_address(9), 0, datagrams.clone());
    world.settle();
    assert_eq!(world.sent, []);
    world.deliver(address(1), 0, datagrams);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    assert!(world.never_moved());
}

#[test]
fn two_devices_swap_their_addresses() {
    for together in [true, false] {
        let mut world = World::new(1);
        world.boot_with_cid(1);
        world.boot_with_cid(2);
        world.move_to(1, address(2));
        world.move_to(2, address(1));
        if together {
            world.device(1).request(Code::GET, "version", None, None);
            world.device(2).request(Code::GET, "version", None, None);
            world.settle();
            assert_eq!(world.device(1).told().unwrap().payload, "1:1");
            assert_eq!(world.device(2).told().unwrap().payload, "2:1");
        } else {
            assert_eq!((world.ask(1), world.ask(2)), ("1:1".to_owned(), "2:1".to_owned()));
        }
        world.publish(2);
        assert_eq!((world.ask(2), world.ask(1)), ("2:2".to_owned(), "1:2".to_owned()));
    }
}

#[test]
fn whoever_is_at_the_old_address_or_at_the_new_one_is_not_disturbed() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.boot(3);
    world.move_to(1, far_address(1));
    assert_eq!(world.ask(1), "1:1");
    // Somebody without a connection ID where it was.
    world.add(2);
    world.devices.get_mut(&2).unwrap().1 = address(1);
    world.reboot(2);
    world.settle();
    assert_eq!((world.ask(2), world.ask(1)), ("2:1".to_owned(), "1:1".to_owned()));
    // It goes, or pretends to go, to where somebody else is.
    world.device(1).request(Code::GET, "version", None, None);
    let datagrams = std::mem::take(&mut world.device(1).out);
    world.deliver(address(3), 0, datagrams);
    world.settle();
    assert_eq!(world.ask(3), "3:1");
    assert_eq!(world.ask(1), "1:1");
    world.post(0, Message::Revoked { device: 1 });
    assert_eq!((world.ask(2), world.ask(3)), ("2:1".to_owned(), "3:1".to_owned()));
    assert_eq!(world.shards[0].sessions.len(), 2);
}

#[test]
fn a_device_with_a_connection_id_that_rebooted_comes_back_on_its_address_and_elsewhere() {
    let mut world = World::new(2);
    world.boot_with_cid(1);
    for serial in 1..5 {
        if serial % 2 == 0 {
            world.move_to(1, far_address(serial));
            world.device_in(1, 1);
        }
        // The session before goes on until the new Finished is verified.
        let before = world.device(1).session.take();
        world.reboot(1);
        world.device(1).session = before;
        let hello = std::mem::take(&mut world.device(1).out);
        world.device(1).request(Code::GET, "version", None, None);
        world.device(1).session = None;
        world.sent.clear();
        world.settle();
        assert_eq!(world.sent.len(), 1, "answered");
        world.device(1).out = hello;
        world.settle();
        assert_eq!(world.ask(1), "1:1");
        assert!(world.house.seen().contains(&Seen::Disconnected {
            device: 1,
            serial,
            why: EndReason::Replaced
        }));
    }
    assert_eq!(world.sessions.load(Ordering::SeqCst), 1);
}

#[test]
fn a_record_with_a_connection_id_that_reaches_another_shard_is_passed_on_once() {
    let mut world = World::new(3);
    world.boot_with_cid(1);
    for shard in [1, 2, 0] {
        world.device_in(1, shard);
        assert_eq!(world.ask(1), "1:1");
    }
    // It leads to a shard that knows nothing of it.
    world.device(1).request(Code::GET, "version", None, None);
    let mut datagrams = std::mem::take(&mut world.device(1).out);
    datagrams[0][11] = datagrams[0][11].wrapping_add(1);
    world.deliver(address(1), 0, datagrams);
    world.settle();
    assert_eq!(world.device(1).told(), None);
}

#[test]
fn an_unproven_address_gets_the_answer_and_at_most_four_datagrams() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.observe(1);
    // A record of it is sent on from somebody else's address, and nothing comes from there after that.
    world.device(1).request(Code::GET, "version", None, None);
    let datagrams = std::mem::take(&mut world.device(1).out);
    world.sent.clear();
    world.deliver(far_address(9), 0, datagrams);
    world.settle();
    assert_eq!(world.sent.len(), 1, "the answer");
    for version in 2..20 {
        world.publish(version);
        world.pass(Duration::from_secs(60));
    }
    assert!(world.sent.len() <= 4, "{:?}", world.sent);
    assert!(world.sent.iter().all(|(to, _)| *to == far_address(9)));
    assert!(world.sent.iter().map(|(_, bytes)| bytes).sum::<usize>() <= 4096);
    // The device is where it always was, and is told what it missed.
    assert_eq!(world.ask(1), "1:19");
    assert_eq!(world.device(1).told().unwrap().payload, "1:19");
}

#[test]
fn the_answer_comes_though_notifications_were_sent_to_the_unproven_address() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.observe(1);
    world.device(1).request(Code::POST, "later", None, None);
    let datagrams = std::mem::take(&mut world.device(1).out);
    world.sent.clear();
    world.move_to(1, far_address(1));
    world.deliver(far_address(1), 0, datagrams);
    for version in 2..4 {
        world.publish(version);
        world.pass(Duration::from_secs(2));
    }
    let ticket = world.house.tickets.lock().unwrap().remove(0);
    ticket.complete(Code::CHANGED);
    world.settle();
    let told: Vec<_> = std::iter::from_fn(|| world.device(1).told()).collect();
    assert!(
        told.iter().any(|message| message.code == Code::CHANGED),
        "{told:?}"
    );
    assert!(world.sent.len() <= 4);
}

#[test]
fn an_acknowledgement_or_the_next_request_proves_an_address() {
    for by_request in [true, false] {
        let mut world = World::new(1);
        world.boot_with_cid(1);
        world.observe(1);
        world.move_to(1, far_address(1));
        assert_eq!(world.ask(1), "1:1");
        if by_request {
            assert_eq!(world.ask(1), "1:1");
        }
        world.sent.clear();
        for version in 2..12 {
            world.publish(version);
            let notification = world.device(1).told().expect("a notification");
            assert_eq!(notification.payload, format!("1:{version}"));
            world.device(1).acknowledge(notification.mid);
            world.settle();
        }
        assert_eq!(world.sent.len(), 10);
    }
}

#[test]
fn the_same_request_again_is_no_proof() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.move_to(1, far_address(1));
    world.sent.clear();
    for _ in 0..10 {
        world.device(1).mid = 100;
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
    }
    assert_eq!(world.sent.len(), 4);
    assert_eq!(world.ask_last(1), "1:1", "another one is");
}

#[test]
fn a_second_request_in_the_datagram_that_moved_the_session_is_no_proof() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.observe(1);
    world.device(1).request(Code::GET, "version", None, None);
    world.device(1).request(Code::GET, "version", None, None);
    let datagram = std::mem::take(&mut world.device(1).out).concat();
    world.sent.clear();
    world.deliver(far_address(9), 0, vec![datagram]);
    world.settle();
    assert_eq!(world.sent.len(), 2, "both are answered");
    for version in 2..10 {
        world.publish(version);
        world.pass(Duration::from_secs(60));
    }
    assert!(world.sent.len() <= 4, "{:?}", world.sent);
}

#[test]
fn a_session_with_a_connection_id_may_be_silent_for_longer() {
    let mut world = World::new(1);
    world.boot_with_cid(1);
    world.boot(2);
    world.pass(IDLE + Duration::from_secs(700));
    let ended = |device, serial| Seen::Disconnected {
        device,
        serial,
        why: EndReason::Idle,
    };
    assert!(world.house.seen().contains(&ended(2, 2)));
    assert!(!world.house.seen().contains(&ended(1, 1)));
    world.move_to(1, far_address(1));
    assert_eq!(world.ask(1), "1:1");
    world.pass(IDLE_WITH_CID - Duration::from_secs(700));
    assert!(!world.house.seen().contains(&ended(1, 1)));
    world.pass(Duration::from_secs(1400));
    assert!(world.house.seen().contains(&ended(1, 1)));
    assert_eq!(world.shards[0].sessions.len(), 0);
}

#[test]
fn at_the_cap_the_longest_silent_session_goes_whatever_its_kind() {
    for first_has_one in [true, false] {
        let mut world = World::new(1);
        for number in 1..=MAX_SESSIONS as u64 {
            if (number == 1) == first_has_one {
                world.boot_with_cid(number);
            } else {
                world.boot(number);
            }
            world.pass(Duration::from_secs(1));
        }
        world.boot(90);
        let evicted = |serial| Seen::Disconnected {
            device: serial,
            serial,
            why: EndReason::Evicted,
        };
        assert!(world.house.seen().contains(&evicted(1)));
        world.boot_with_cid(91);
        assert!(world.house.seen().contains(&evicted(2)));
        assert_eq!(world.shards[0].sessions.len(), MAX_SESSIONS);
    }
}

#[test]
fn a_move_is_told_to_the_log_once_a_second() {
    let mut world = World::new(1);
    let (journal, mut entries) = Journal::for_tests(100);
    world.shards[0].around.journal = Some(journal);
    world.boot_with_cid(1);
    for port in 1..20 {
        world.move_to(1, SocketAddr::from(([198, 51, 100, 8], port)));
        assert_eq!(world.ask(1), "1:1");
    }
    world.pass(Duration::from_secs(5));
    let moves: Vec<_> = entries
        .by_ref()
        .filter_map(|entry| match entry {
            Entry::Moved { serial, peer, .. } => Some((serial, peer)),
            Entry::Established(_)
            | Entry::Reserved { .. }
            | Entry::Received { .. }
            | Entry::Observes { .. }
            | Entry::Ended { .. } => None,
        })
        .collect();
    assert_eq!(moves, [(1, SocketAddr::from(([198, 51, 100, 8], 19)))]);
}

#[test]
fn after_a_restart_a_session_moves_once_its_device_has_shown_from_there_that_it_is_there() {
    let first = |world: &mut World| {
        world.boot_with_cid(1);
        world.observe(1);
    };
    let mut world = restarted_while(first, |_| {});
    world.sent.clear();
    for port in 1..4 {
        // Each ping before this one was lost with the address that it was sent to.
        world.device(1).messages.clear();
        world.move_to(1, SocketAddr::from(([203, 0, 113, 1], port)));
        assert_eq!(world.ask(1), "1:1", "answered where it asks");
    }
    assert!(world.never_moved());
    world.publish(2);
    let ping = world.device(1).told().unwrap();
    assert_eq!((ping.kind, ping.code), (MessageKind::Confirmable, Code::EMPTY));
    world.device(1).acknowledge(ping.mid);
    world.settle();
    let there = SocketAddr::from(([203, 0, 113, 1], 3));
    let moved = Seen::Moved {
        device: 1,
        serial: 1,
        peer: there,
    };
    assert!(world.house.seen().contains(&moved));
    assert_eq!(world.device(1).told().unwrap().payload, "1:2");
    assert!(
        !world.sent.iter().any(|(to, _)| *to == address(1)),
        "{:?}",
        world.sent
    );
}

#[test]
fn what_was_on_its_way_to_where_the_device_was_before_the_restart_comes_again_where_it_is() {
    let first = |world: &mut World| {
        world.boot_with_cid(1);
        world.observe(1);
    };
    let last = |world: &mut World| {
        world.house.version.store(2, Ordering::SeqCst);
        world.move_to(1, far_address(1));
    };
    let mut world = restarted_while(first, last);
    assert_eq!(
        world.sent.len(),
        1,
        "the notification of what was published meanwhile"
    );
    assert_eq!(world.sent[0].0, address(1));
    assert_eq!(world.ask(1), "1:2");
    let ping = world.device(1).told().unwrap();
    assert_eq!((ping.kind, ping.code), (MessageKind::Confirmable, Code::EMPTY));
    world.device(1).acknowledge(ping.mid);
    world.settle();
    let notification = world.device(1).told().unwrap();
    assert_eq!(
        (notification.payload.as_str(), notification.observe.is_some()),
        ("1:2", true)
    );
    world.device(1).acknowledge(notification.mid);
    world.settle();
    world.publish(3);
    assert_eq!(world.device(1).told().unwrap().payload, "1:3");
}

#[test]
fn what_is_sent_again_from_elsewhere_after_a_restart_moves_nothing() {
    let mut recorded = Vec::new();
    let first = |world: &mut World| {
        world.boot_with_cid(1);
        world.observe(1);
    };
    // The earlier run has received it, and did not come to say so in the log.
    let last = |world: &mut World| {
        world.device(1).request(Code::GET, "version", None, None);
        recorded = world.device(1).out.clone();
        world.settle();
        assert!(world.device(1).told().is_some());
    };
    let mut world = restarted_while(first, last);
    world.sent.clear();
    for _ in 0..5 {
        world.deliver(far_address(9), 0, recorded.clone());
        world.settle();
    }
    assert_eq!(world.sent.len(), 2, "an answer and a ping, once");
    world.publish(2);
    for _ in 0..100 {
        world.pass(Duration::from_secs(1));
        while let Some(told) = world.device(1).told() {
            if told.kind == MessageKind::Confirmable {
                world.device(1).acknowledge(told.mid);
            }
        }
    }
    assert!(world.never_moved());
    let there = world.sent.iter().filter(|(to, _)| *to == far_address(9));
    assert_eq!(there.count(), 2);
    assert_eq!(world.ask(1), "1:2");
    world.publish(3);
    assert_eq!(world.device(1).told().unwrap().payload, "1:3");
}

impl World {
    fn boot_with_cid(&mut self, number: u64) {
        self.add(number);
        self.device(number).connection_id = OfferedConnectionId::Empty;
        self.reboot(number);
        self.settle();
        let session = self.device(number).session.as_mut().expect("a session");
        let mut record = Vec::new();
        session.seal(b"", &mut record).unwrap();
        assert!(RecordHeader::connection_id(&record).is_some(), "no connection ID");
    }

    fn observe(&mut self, number: u64) {
        self.device(number).request(Code::GET, "version", Some(0), None);
        self.settle();
        assert!(self.device(number).told().unwrap().observe.is_some());
    }

    /// Its network gives it another address from here on.
    fn move_to(&mut self, number: u64, address: SocketAddr) {
        self.devices.get_mut(&number).unwrap().1 = address;
    }

    /// What it is answered at once.
    fn ask(&mut self, number: u64) -> String {
        let mid = self.device(number).request(Code::GET, "version", None, None);
        self.settle();
        let answer = self.device(number).told().expect("an answer");
        assert_eq!(answer.mid, mid);
        answer.payload
    }

    /// As [`Self::ask`], with other messages before it.
    fn ask_last(&mut self, number: u64) -> String {
        self.device(number).messages.clear();
        self.device(number).mid = 500;
        self.ask(number)
    }

    fn never_moved(&self) -> bool {
        let seen = self.house.seen();
        !seen.iter().any(|seen| matches!(seen, Seen::Moved { .. }))
    }
}
