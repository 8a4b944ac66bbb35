//! Answers that have to wait, for the disk or for a commit.

use super::*;

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

/// GET `cold`, CON, message ID 0x1201, Block2 0/0/6.
const COLD: [u8; 19] = *b"\x48\x01\x12\x01\x09\x09\x09\x09\x09\x09\x09\x09\xb4cold\xc1\x06";
