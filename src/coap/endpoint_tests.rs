//! What `tests/conformance_coap.rs` leaves open: the exact bytes of a session, what it keeps and for how long, and a
//! device that matches answers by token alone behind a link that reorders. `rule_n` are those of the device contract.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::coap::client::{Download, Exchange, Freshness, Heard, Outgoing, Overdue, Step};
use crate::coap::{BlockNum, ContentFormat, ResponseHead, Szx, block};

// ---- Answers ----

#[test]
fn rule_3_an_answer_given_up_on_is_5_03() {
    let mut gateway = Gateway::new(1);
    gateway.defers = true;
    gateway.hear(b"\x41\x02\x12\x34\xaa\xb1p\xff1");
    assert_eq!(gateway.commit(Code::SERVICE_UNAVAILABLE), b"\x61\xa3\x12\x34\xaa");
}

#[test]
fn rfc7252_5_2_3_a_non_confirmable_request_gets_a_non_confirmable_answer() {
    let mut gateway = Gateway::new(1);
    gateway.record = 0x0700;
    assert_eq!(
        gateway.hear(b"\x51\x02\x12\x34\xaa\xb1p\xff1"),
        b"\x51\x44\x07\x00\xaa"
    );
    assert_eq!(
        gateway.hear(b"\x51\x02\x12\x34\xaa\xb1p\xff1"),
        b"",
        "and its copy nothing"
    );
    assert_eq!(gateway.effects, [b"1"]);
}

#[test]
fn rfc7252_5_4_1_a_critical_option_is_4_02_for_con_and_silence_for_non() {
    let mut gateway = Gateway::new(1);
    assert_eq!(
        gateway.hear(b"\x41\x01\x12\x34\xaa\x91x"),
        b"\x61\x82\x12\x34\xaa"
    );
    assert_eq!(gateway.hear(b"\x51\x01\x12\x35\xaa\x91x"), b"");
    assert_eq!(
        gateway.hear(b"\x41\x08\x12\x36\xaa"),
        b"\x61\x85\x12\x36\xaa",
        "unknown method"
    );
    assert_eq!(
        gateway.hear(b"\x41\x01\x12\x37\xaa\xd1\x0a\x07"),
        b"\x61\x80\x12\x37\xaa",
        "SZX 7"
    );
}

// ---- Pings and what is out of place ----

#[test]
fn rfc7252_4_2_what_is_out_of_place_is_ignored_or_reset() {
    let now = Instant::now();
    let mut endpoint = Endpoint::new();
    let ignored = |incoming| match incoming {
        Ok(Incoming::Ignored(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        ignored(endpoint.handle(now, b"\x60\x00\x00\x01")),
        Ignored::Unmatched
    );
    assert_eq!(
        ignored(endpoint.handle(now, b"\x70\x00\x00\x01")),
        Ignored::Unmatched
    );
    assert_eq!(
        ignored(endpoint.handle(now, b"\x60\x45\x00\x01")),
        Ignored::OutOfPlace
    );
    assert_eq!(
        ignored(endpoint.handle(now, b"\x60\x01\x00\x01")),
        Ignored::OutOfPlace
    );
    assert_eq!(
        ignored(endpoint.handle(now, b"\x70\x01\x00\x01")),
        Ignored::OutOfPlace
    );
    assert_eq!(
        ignored(endpoint.handle(now, b"\x50\x45\x00\x01")),
        Ignored::OutOfPlace
    );
    let Ok(Incoming::Respond(reset)) = endpoint.handle(now, b"\x41\x45\x00\x01\xaa") else {
        panic!("no reset")
    };
    assert_eq!(
        (reset.kind(), written(&reset)),
        (AutomaticKind::Reset, b"\x70\x00\x00\x01".to_vec())
    );
}

// ---- Copies ----

#[test]
fn rule_15_a_post_that_comes_again_has_its_answer_repeated_without_a_second_effect() {
    let mut gateway = Gateway::new(1);
    let report = b"\x41\x02\x12\x34\xaa\xb1p\xff1";
    let answer = gateway.hear(report);
    assert_eq!(gateway.hear(report), answer);
    assert_eq!(gateway.effects.len(), 1);
    for mid in 0..7 {
        gateway.hear(&[0x41, 0x02, 0, mid, 0xbb, 0xff, b'x']);
    }
    assert_eq!(gateway.hear(report), answer, "seven others later");
    assert_eq!(gateway.effects.len(), 8);
    gateway.hear(b"\x41\x02\x00\x07\xbb\xffx");
    gateway.hear(report);
    assert_eq!(
        gateway.effects.len(),
        10,
        "with eight others in between it is forgotten"
    );
}

#[test]
fn rule_15_a_request_that_waits_for_its_commit_swallows_its_copies() {
    let mut gateway = Gateway::new(1);
    gateway.defers = true;
    let report = b"\x41\x02\x12\x34\xaa\xb1p\xff1";
    assert_eq!(gateway.hear(report), b"");
    assert_eq!(gateway.hear(report), b"");
    assert_eq!(gateway.effects.len(), 1);
    let answer = gateway.commit(Code::CHANGED);
    assert_eq!(answer, b"\x61\x44\x12\x34\xaa");
    assert_eq!(gateway.hear(report), answer, "from then on it is repeated");
    assert_eq!(gateway.effects.len(), 1);
}

#[test]
fn a_deferred_answer_goes_to_the_newest_message_id_of_its_exchange() {
    let mut gateway = Gateway::new(1);
    gateway.defers = true;
    gateway.hear(b"\x41\x02\x12\x34\xaa\xb1p\xff1");
    assert_eq!(
        gateway.hear(b"\x41\x02\x12\x35\xaa\xb1p\xff1"),
        b"",
        "the same, sent anew"
    );
    assert_eq!(gateway.effects.len(), 1);
    let answer = gateway.commit(Code::CHANGED);
    assert_eq!(answer, b"\x61\x44\x12\x35\xaa");
    assert_eq!(gateway.hear(b"\x41\x02\x12\x35\xaa\xb1p\xff1"), answer);
    assert_eq!(
        gateway.hear(b"\x41\x02\x12\x34\xaa\xb1p\xff1"),
        b"\x61\x44\x12\x34\xaa"
    );
    assert_eq!(gateway.effects.len(), 1);
}

#[test]
fn rule_14_a_token_alone_makes_no_copy() {
    let mut gateway = Gateway::new(1);
    gateway.defers = true;
    gateway.hear(b"\x41\x02\x12\x34\xaa\xb1p\xff1");
    gateway.hear(b"\x41\x02\x12\x35\xaa\xb1p\xff2");
    gateway.hear(b"\x40\x02\x12\x36\xb1p\xff3");
    gateway.hear(b"\x40\x02\x12\x37\xb1p\xff3");
    assert_eq!(gateway.effects, [b"1", b"2", b"3", b"3"]);
    assert_eq!(gateway.endpoint.pending().count(), 4);
}

#[test]
fn rule_15_a_late_copy_of_an_older_block_request_is_dropped() {
    let mut gateway = Gateway::new(1);
    let block = |mid: u8, num: u8| [0x41, 0x01, 0x12, mid, 0xaa, 0xb1, b'a', 0xc1, num << 4];
    let first = gateway.hear(&block(1, 0));
    assert_eq!(gateway.hear(&block(1, 0)), first, "the newest is answered again");
    let second = gateway.hear(&block(2, 1));
    assert!(!second.is_empty());
    assert_eq!(gateway.hear(&block(1, 0)), b"");
    assert_eq!(gateway.hear(&block(2, 1)), second);
    let other_transfer = [0x41, 0x01, 0x12, 3, 0xbb, 0xb1, b'a', 0xc1, 0];
    assert!(!gateway.hear(&other_transfer).is_empty());
    assert_eq!(gateway.hear(&block(1, 0)), b"");
    assert!(!gateway.hear(&block(4, 0)).is_empty(), "starting over is no copy");
}

#[test]
fn requests_worked_on_are_bounded_and_the_rest_has_to_come_again() {
    let mut gateway = Gateway::new(1);
    gateway.defers = true;
    for mid in 0..MAX_PENDING as u8 {
        gateway.hear(&[0x41, 0x02, 0, mid, mid, 0xff, mid]);
    }
    assert_eq!(gateway.hear(b"\x41\x02\x01\x00\xaa\xffx"), b"");
    assert_eq!(gateway.effects.len(), MAX_PENDING);
    assert!(
        !gateway.hear(b"\x41\x01\x01\x01\xaa\xb1m").is_empty(),
        "a GET is answered nevertheless"
    );
    gateway.commit(Code::CHANGED);
    gateway.hear(b"\x41\x02\x01\x00\xaa\xffx");
    assert_eq!(gateway.effects.len(), MAX_PENDING + 1);
}

// ---- Blocks that are waited for ----

/// GET `a`, CON, token aa, blocks of 16 bytes.
fn get_block(mid: u8, num: u8) -> [u8; 9] {
    [0x41, 0x01, 0x12, mid, 0xaa, 0xb1, b'a', 0xc1, num << 4]
}

/// Its answer in the ACK: 2.05, Content-Format 42, Block2 with more to come, and the bytes.
fn block_answer(mid: u8, num: u8) -> Vec<u8> {
    let head = [0x61, 0x45, 0x12, mid, 0xaa, 0xc1, 42, 0xb1, num << 4 | 8, 0xff];
    [&head[..], &Artifact::Finite.read(u32::from(num) * 16, 16)].concat()
}

#[test]
fn rule_1_a_block_that_has_to_be_waited_for_is_piggybacked_and_its_copies_are_swallowed() {
    let mut gateway = Gateway::cold();
    assert_eq!(gateway.hear(&get_block(1, 0)), b"");
    assert_eq!(gateway.hear(&get_block(1, 0)), b"");
    assert_eq!(gateway.reads.len(), 1);
    assert_eq!(gateway.read(), block_answer(1, 0));
    assert_eq!(gateway.endpoint.pending().count(), 0);

    assert_eq!(
        gateway.hear(&get_block(1, 0)),
        b"",
        "the answer was lost: read anew"
    );
    assert_eq!(gateway.read(), block_answer(1, 0));
}

#[test]
fn rule_15_a_block_is_answered_no_more_once_a_newer_one_was_asked_for() {
    let mut gateway = Gateway::cold();
    gateway.hear(&get_block(1, 0));
    assert_eq!(gateway.hear(&get_block(2, 1)), b"");
    assert_eq!(gateway.read(), b"", "block 0 would be written as block 1");
    assert_eq!(gateway.hear(&get_block(1, 0)), b"", "and so would its copy");
    assert_eq!(gateway.reads.len(), 1);
    assert_eq!(gateway.read(), block_answer(2, 1));

    gateway.hear(&get_block(3, 2));
    gateway.cold = false;
    assert_eq!(gateway.hear(&get_block(4, 3)), block_answer(4, 3));
    assert_eq!(gateway.read(), b"", "nor does it come after a newer one's answer");
}

#[test]
fn a_block_asked_for_again_under_a_newer_message_id_is_answered_there_and_once() {
    let mut gateway = Gateway::cold();
    for mid in 1..=3 {
        assert_eq!(gateway.hear(&get_block(mid, 5)), b"");
    }
    assert_eq!(
        gateway.hear(&get_block(2, 5)),
        b"",
        "a late copy is not the newest"
    );
    assert_eq!(gateway.reads.len(), 1);
    assert_eq!(gateway.read(), block_answer(3, 5));
    for mid in 1..=2 {
        assert_eq!(gateway.hear(&get_block(mid, 5)), b"");
    }
    assert_eq!(gateway.reads.len(), 0);
}

#[test]
fn without_a_token_the_newest_block_request_is_the_one_that_is_waited_for() {
    let mut gateway = Gateway::cold();
    gateway.hear(b"\x40\x01\x12\x01\xb1a\xc1\x50");
    gateway.hear(b"\x40\x01\x12\x02\xb1a\xc1\x50");
    assert_eq!(gateway.read(), b"");
    assert_eq!(gateway.read()[..9], *b"\x60\x45\x12\x02\xc1\x2a\xb1\x58\xff");
}

#[test]
fn a_block_without_block2_gives_way_to_one_with_it() {
    let mut gateway = Gateway::cold();
    gateway.hear(b"\x41\x01\x12\x01\xaa\xb1a");
    gateway.hear(&get_block(2, 1));
    assert_eq!(gateway.read(), b"");
    assert_eq!(gateway.read(), block_answer(2, 1));
}

#[test]
fn downloads_and_reports_wait_side_by_side() {
    let mut gateway = Gateway::cold();
    gateway.defers = true;
    gateway.hear(b"\x41\x02\x12\x01\xaa\xb1p\xff1");
    gateway.hear(b"\x41\x01\x12\x02\xbb\xb1a\xc1\x00");
    gateway.hear(&get_block(3, 7));
    assert_eq!(gateway.read()[..5], *b"\x61\x45\x12\x02\xbb");
    assert_eq!(
        gateway.commit(Code::CHANGED),
        b"\x61\x44\x12\x01\xaa",
        "a report with the token of a block does not give way to it"
    );
    assert_eq!(gateway.read(), block_answer(3, 7));
}

#[test]
fn rule_15_blocks_that_were_waited_for_do_not_push_out_the_answers_to_reports() {
    let mut gateway = Gateway::cold();
    let report = b"\x41\x02\x12\x00\xbb\xb1p\xff1";
    let answer = gateway.hear(report);
    for mid in 1..=9 {
        gateway.hear(&get_block(mid, mid));
        assert_eq!(gateway.read(), block_answer(mid, mid));
    }
    assert_eq!(gateway.hear(report), answer);
    assert_eq!(gateway.effects.len(), 1);
}

#[test]
fn a_block_given_up_on_is_as_if_lost_and_handled_when_it_comes_again() {
    let mut gateway = Gateway::cold();
    let request = (MessageId(0x1201), Token::new(&[0xaa]).unwrap());
    gateway.hear(&get_block(1, 0));
    assert_eq!(gateway.endpoint.came_again(request), None, "it came once");
    gateway.now += Duration::from_secs(2);
    gateway.hear(&get_block(1, 0));
    assert_eq!(gateway.endpoint.came_again(request), Some(gateway.now));
    gateway.hear(&get_block(2, 0));
    gateway.now += Duration::from_secs(2);
    gateway.hear(&get_block(2, 0));
    assert_eq!(gateway.endpoint.came_again(request), Some(gateway.now));

    assert!(gateway.endpoint.forget(request));
    assert!(!gateway.endpoint.forget(request));
    assert_eq!(gateway.read(), b"", "the read that comes too late");
    gateway.hear(&get_block(2, 0));
    assert_eq!(gateway.read(), block_answer(2, 0));
}

#[test]
fn rfc7252_5_2_3_a_non_confirmable_block_request_is_answered_later_by_a_non_confirmable_message() {
    let mut gateway = Gateway::cold();
    gateway.record = 0x0700;
    assert_eq!(gateway.hear(b"\x51\x01\x12\x01\xaa\xb1a\xc1\x00"), b"");
    assert_eq!(gateway.read()[..5], *b"\x51\x45\x07\x01\xaa");
}

// ---- Blocks ----

#[test]
fn block_numbers_of_12_16_and_20_bits_are_served_in_full() {
    let mut gateway = Gateway::new(1);
    gateway.artifact = Artifact::Endless;
    let cases = [
        (15, b"\xc1\xf6".as_slice()),
        (16, b"\xc2\x01\x06"),
        (4095, b"\xc2\xff\xf6"),
        (4096, b"\xc3\x01\x00\x06"),
        (65535, b"\xc3\x0f\xff\xf6"),
        (65536, b"\xc3\x10\x00\x06"),
        ((1 << 20) - 1, b"\xc3\xff\xff\xf6"),
    ];
    for (mid, (num, option)) in (1u16..).zip(cases) {
        let mid = mid.to_be_bytes();
        let request = [b"\x41\x01".as_slice(), &mid, b"\xaa\xb1a", option].concat();
        let answer = gateway.hear(&request);
        // The answer's option, with "more", after Content-Format.
        let mut echo = option.to_vec();
        echo[0] -= 0x10;
        *echo.last_mut().unwrap() |= 0x08;
        let head = [b"\x61\x45".as_slice(), &mid, b"\xaa\xc1\x2a", &echo, b"\xff"].concat();
        assert_eq!(&answer[..head.len()], head, "block {num}");
        assert_eq!(
            answer[head.len()..],
            Artifact::Endless.read(num << 10, 1024),
            "block {num}"
        );
    }
}

#[test]
fn contract_6_whoever_asks_for_no_block_gets_the_first_of_1024() {
    let mut gateway = Gateway::new(1);
    let answer = gateway.hear(b"\x41\x01\x12\x34\xaa\xb1a");
    assert_eq!(&answer[..10], b"\x61\x45\x12\x34\xaa\xc1\x2a\xb1\x0e\xff");
    assert_eq!(answer.len(), 10 + 1024);
}

#[test]
fn rfc7959_2_5_an_upload_in_blocks_is_2_31_until_its_last_block() {
    let mut gateway = Gateway::new(1);
    let block = |mid: u8, value: u8, payload: &[u8]| {
        [
            &[0x41, 0x02, 0x12, mid, 0xaa, 0xb1, b'p', 0xd1, 0x03, value, 0xff],
            payload,
        ]
        .concat()
    };
    assert_eq!(
        gateway.hear(&block(1, 0x08, &[b'a'; 16])),
        b"\x61\x5f\x12\x01\xaa\xd1\x0e\x08"
    );
    assert_eq!(
        gateway.hear(&block(2, 0x18, &[b'b'; 16])),
        b"\x61\x5f\x12\x02\xaa\xd1\x0e\x18"
    );
    assert_eq!(
        gateway.hear(&block(2, 0x18, &[b'b'; 16])),
        b"\x61\x5f\x12\x02\xaa\xd1\x0e\x18",
        "its copy"
    );
    assert_eq!(
        gateway.hear(&block(3, 0x18, &[b'b'; 16])),
        b"\x61\x5f\x12\x03\xaa\xd1\x0e\x18",
        "sent anew"
    );
    let last = gateway.hear(&block(4, 0x20, b"c"));
    assert_eq!(last, b"\x61\x44\x12\x04\xaa\xd1\x0e\x20");
    assert_eq!(gateway.hear(&block(4, 0x20, b"c")), last, "its copy");
    assert_eq!(gateway.effects, [b"aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbc"]);
}

#[test]
fn rfc7959_2_5_an_upload_whose_commit_takes_time_echoes_its_last_block() {
    let mut gateway = Gateway::new(1);
    gateway.defers = true;
    gateway.hear(b"\x41\x02\x12\x01\xaa\xb1p\xd1\x03\x08\xffaaaaaaaaaaaaaaaa");
    assert_eq!(gateway.hear(b"\x41\x02\x12\x02\xaa\xb1p\xd1\x03\x10\xffb"), b"");
    assert_eq!(gateway.commit(Code::CHANGED), b"\x61\x44\x12\x02\xaa\xd1\x0e\x10");
}

// ---- Observations ----

const REGISTER: &[u8] = b"\x41\x01\x12\x34\xaa\x60\x51m\x61\x3c";

#[test]
fn rule_17_the_numbers_of_an_observation_only_rise() {
    let mut gateway = Gateway::new(1);
    gateway.unix_ms = 0x0a_0b0c * 10;
    assert_eq!(
        gateway.hear(REGISTER),
        b"\x61\x45\x12\x34\xaa\x63\x0a\x0b\x0c\x61\x3c\xff\x01"
    );
    gateway.record = 0x0506;
    gateway.version = 2;
    gateway.unix_ms -= 5_000;
    assert_eq!(
        gateway.push(false),
        b"\x41\x45\x05\x06\xaa\x63\x0a\x0b\x0d\x61\x3c\xff\x02"
    );
    gateway.unix_ms += 10_000;
    assert_eq!(gateway.hear(b"\x60\x00\x05\x06"), b"");
    gateway.version = 3;
    let third = gateway.push(false);
    assert_eq!(&third[5..9], b"\x63\x0a\x0d\x00");
}

#[test]
fn rule_16_a_registration_again_replaces_the_relation_whatever_its_token() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    gateway.hear(REGISTER);
    gateway.hear(b"\x41\x01\x12\x35\xaa\x60\x51m\x61\x3c");
    assert_eq!(gateway.endpoint.relations().count(), 1);
    gateway.hear(b"\x42\x01\x12\x36\xbb\xbb\x60\x51m\x61\x32");
    let relations: Vec<_> = gateway.endpoint.relations().collect();
    assert_eq!(relations.len(), 1);
    assert_eq!(relations[0].token, Token::new(&[0xbb, 0xbb]).unwrap());
    assert_eq!(relations[0].accept, Some(ContentFormat::JSON));
}

#[test]
fn rule_16_registering_again_ends_the_notification_in_flight() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    gateway.version = 2;
    gateway.push(false);
    assert!(gateway.endpoint.poll_timeout().is_some());
    gateway.hear(b"\x41\x01\x12\x35\xaa\x60\x51m\x61\x3c");
    assert_eq!(gateway.endpoint.poll_timeout(), None);
    assert_eq!(gateway.push(false), b"", "the answer brought version 2");
}

#[test]
fn rule_16_an_acknowledgement_names_the_relation_and_what_it_was_sent() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    gateway.version = 2;
    let notification = gateway.push(false);
    let acknowledgement = [0x60, 0, notification[2], notification[3]];
    let Ok(Incoming::Acknowledged(relation)) = gateway.endpoint.handle(gateway.now, &acknowledgement) else {
        panic!("not acknowledged")
    };
    assert_eq!((relation.resource, relation.sent), (MANIFEST, 2));
    assert!(matches!(
        gateway.endpoint.handle(gateway.now, &acknowledgement),
        Ok(Incoming::Ignored(Ignored::Unmatched))
    ));
}

#[test]
fn rfc7252_4_2_a_notification_is_repeated_after_2_to_3_seconds_doubling_and_then_given_up() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut gateway = Gateway::new(seed);
        gateway.hear(REGISTER);
        gateway.version = 2;
        let start = gateway.now;
        let first = gateway.push(false);
        let wait = gateway.endpoint.poll_timeout().unwrap() - start;
        assert!((2000..=3000).contains(&wait.as_millis()));
        for factor in [1, 3, 7, 15] {
            assert_eq!(gateway.endpoint.poll_timeout(), Some(start + wait * factor));
            assert_eq!(
                gateway
                    .endpoint
                    .handle_timeout(start + wait * factor - Duration::from_millis(1)),
                None
            );
            gateway.now = start + wait * factor;
            gateway.unix_ms += 60_000;
            assert_eq!(gateway.timeout(), first, "same message ID, same number");
        }
        gateway.now = start + wait * 31;
        assert_eq!(gateway.endpoint.poll_timeout(), Some(gateway.now));
        let gone = gateway.endpoint.handle_timeout(gateway.now);
        assert!(matches!(gone, Some(Timeout::GaveUp(relation)) if relation.resource == MANIFEST));
        assert_eq!(gateway.endpoint.relations().count(), 0);
        assert_eq!(gateway.endpoint.poll_timeout(), None);

        assert!(gateway.endpoint.revive(), "it was heard of again");
        assert!(!gateway.endpoint.revive());
        let (relation, forced) = gateway.endpoint.next_due().unwrap();
        assert_eq!((relation.resource, relation.sent, forced), (MANIFEST, 0, false));
    }
}

#[test]
fn rfc7252_4_3_a_ping_is_answered_by_acknowledgement_or_reset_and_holds_notifications_back_until_then() {
    for kind in [0x60, 0x70] {
        let mut gateway = Gateway::new(1);
        gateway.hear(REGISTER);
        let ping = gateway.ping().unwrap();
        assert_eq!((ping.len(), ping[0], ping[1]), (4, 0x40, 0));
        assert_eq!(gateway.ping(), None, "one is in flight");
        gateway.version = 2;
        assert_eq!(gateway.push(false), b"", "NSTART is 1");
        assert_eq!(gateway.endpoint.in_flight(), None, "it is no notification");
        assert_eq!(gateway.hear(&[kind, 0, ping[2], !ping[3]]), b"");
        let notification = gateway.hear(&[kind, 0, ping[2], ping[3]]);
        assert_eq!(notification.last(), Some(&2));
        assert_eq!(
            gateway.endpoint.relations().count(),
            1,
            "a reset ping ends no relation"
        );
        assert_eq!(gateway.ping(), None, "a notification is in flight");
    }
}

#[test]
fn rfc7252_4_2_a_ping_is_repeated_and_given_up_and_costs_no_relation() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    let ping = gateway.ping().unwrap();
    for _ in 0..4 {
        gateway.now = gateway.endpoint.poll_timeout().unwrap();
        assert_eq!(gateway.timeout(), ping);
    }
    gateway.now = gateway.endpoint.poll_timeout().unwrap();
    gateway.version = 2;
    gateway.endpoint.wake(false);
    assert_eq!(gateway.timeout().last(), Some(&2), "what was held back goes out");
}

#[test]
fn rfc7641_4_5_2_the_latest_representation_takes_over_with_the_attempts_of_the_old_one() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    gateway.version = 2;
    let start = gateway.now;
    let second = gateway.push(false);
    let wait = gateway.endpoint.poll_timeout().unwrap() - start;
    gateway.version = 3;
    assert_eq!(gateway.push(false), b"", "one in flight is enough");
    gateway.now = start + wait;
    let third = gateway.timeout();
    assert_eq!(third.last(), Some(&3));
    assert_ne!(third[2..4], second[2..4], "another body, another message ID");
    assert_ne!(third[5..9], second[5..9], "and another number");
    assert_eq!(gateway.endpoint.poll_timeout(), Some(start + wait * 3));
    assert_eq!(
        gateway.hear(&[0x60, 0, second[2], second[3]]),
        b"",
        "too late to count"
    );
    assert_eq!(gateway.endpoint.poll_timeout(), Some(start + wait * 3));
    assert_eq!(
        gateway.hear(&[0x60, 0, third[2], third[3]]),
        b"",
        "and nothing more is due"
    );
    assert_eq!(gateway.endpoint.poll_timeout(), None);
}

#[test]
fn rfc7252_4_7_one_notification_is_in_flight_and_the_latest_follows_its_acknowledgement() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    gateway.version = 2;
    let second = gateway.push(false);
    for version in 3..6 {
        gateway.version = version;
        assert_eq!(gateway.push(false), b"");
    }
    let latest = gateway.hear(&[0x60, 0, second[2], second[3]]);
    assert_eq!(latest.last(), Some(&5));
    assert_eq!(gateway.hear(&[0x60, 0, latest[2], latest[3]]), b"");
}

#[test]
fn a_push_without_a_change_is_sent_only_if_forced() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    assert_eq!(gateway.push(false), b"");
    let forced = gateway.push(true);
    assert_eq!(forced.last(), Some(&1));
    assert_eq!(gateway.push(true), b"");
    assert_eq!(gateway.push(false), b"");
    let again = gateway.hear(&[0x60, 0, forced[2], forced[3]]);
    assert_eq!(again.last(), Some(&1), "a push that had to wait is not forgotten");
}

#[test]
fn rfc7641_4_1_an_observation_too_many_is_answered_without_the_option() {
    let mut gateway = Gateway::new(1);
    let register = |resource: u8| [0x41, 0x01, 0x12, resource, resource, 0x60, 0x52, b'o', resource];
    for resource in 0..MAX_RELATIONS as u8 {
        let answer = gateway.hear(&register(resource));
        assert!(Message::parse(&answer).unwrap().option(number::OBSERVE).is_some());
    }
    let answer = gateway.hear(&register(MAX_RELATIONS as u8));
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(
        (answer.code, answer.option(number::OBSERVE)),
        (Code::CONTENT, None)
    );
    assert_eq!(gateway.endpoint.relations().count(), MAX_RELATIONS);
    let answer = gateway.hear(&register(3));
    assert!(
        Message::parse(&answer).unwrap().option(number::OBSERVE).is_some(),
        "its own place is free"
    );
}

#[test]
fn several_relations_are_notified_one_after_the_other() {
    let mut gateway = Gateway::new(1);
    for resource in 0..3 {
        gateway.hear(&[0x41, 0x01, 0x12, resource, resource, 0x60, 0x52, b'o', resource]);
    }
    gateway.version = 2;
    let mut notification = gateway.push(false);
    let mut tokens = Vec::new();
    while !notification.is_empty() {
        tokens.push(notification[4]);
        notification = gateway.hear(&[0x60, 0, notification[2], notification[3]]);
    }
    assert_eq!(tokens, [0, 1, 2]);
}

#[test]
fn rfc7641_4_1_a_registration_that_is_refused_ends_the_relation() {
    let mut gateway = Gateway::new(1);
    gateway.hear(REGISTER);
    let Ok(Incoming::Request(request)) = gateway.endpoint.handle(gateway.now, REGISTER) else {
        panic!("no request")
    };
    let mut out = Vec::new();
    let mut reply = gateway.endpoint.reply(&request, MessageId(0), 0, &mut out);
    reply.code(Code::NOT_FOUND);
    let written = reply.finish();
    gateway.endpoint.answered(gateway.now, &request, written.as_ref());
    assert_eq!(gateway.endpoint.relations().count(), 0);
}

/// One per device, a million devices: what is added here is added a million times.
#[test]
fn an_endpoint_is_smaller_than_256_bytes() {
    let size = size_of::<Endpoint>();
    assert!(size < 256, "{size} bytes");
}

#[test]
fn a_device_with_one_observation_and_nothing_going_on_keeps_nothing_on_the_heap() {
    let now = Instant::now();
    let mut endpoint = Endpoint::new();
    observe(&mut endpoint, 1);
    observe(&mut endpoint, 2);
    let report = b"\x41\x02\x00\x10\xcc\xff1";
    let Ok(Incoming::Request(request)) = endpoint.handle(now, report) else {
        panic!("no request")
    };
    endpoint.deferred(&request);
    let block = b"\x41\x02\x00\x11\xcd\xd1\x0e\x08\xff0123456789abcdef";
    assert!(matches!(endpoint.handle(now, block), Ok(Incoming::Respond(_))));
    assert!(endpoint.others.capacity() > 0 && endpoint.pending.capacity() > 0 && endpoint.upload.is_some());

    let token = Token::new(&[0xcc]).unwrap();
    assert!(
        endpoint
            .complete(
                now,
                (MessageId(0x10), token),
                Code::CHANGED,
                MessageId(0),
                &mut Vec::new()
            )
            .is_some()
    );
    endpoint.release(|relation| relation.resource == 1);
    let deadline = endpoint.poll_timeout().unwrap();
    assert_eq!(endpoint.handle_timeout(deadline), None);

    assert_eq!((endpoint.others.capacity(), endpoint.pending.capacity()), (0, 0));
    assert!(endpoint.upload.is_none());
    assert_eq!(endpoint.first.unwrap().resource, 2);
    assert_eq!(endpoint.poll_timeout(), None);
}

#[test]
fn a_relation_that_goes_takes_its_notification_along_and_no_other() {
    let now = Instant::now();
    let mut rng = StdRng::seed_from_u64(1);
    let mut endpoint = Endpoint::new();
    observe(&mut endpoint, 1);
    observe(&mut endpoint, 2);
    let second = *endpoint
        .relations()
        .find(|relation| relation.resource == 2)
        .unwrap();
    let mut out = Vec::new();
    let mut reply = endpoint.notification(&second, MessageId(7), 0, &mut out);
    reply.code(Code::CONTENT);
    let written = reply.finish().unwrap();
    endpoint.notified(now, 2, &written, 9, &mut rng);
    endpoint.release(|relation| relation.resource == 1);
    assert!(endpoint.in_flight.is_some());
    endpoint.release(|relation| relation.resource == 2);
    assert!(endpoint.in_flight.is_none());
    endpoint.notified(now, 2, &written, 9, &mut rng);
    assert!(endpoint.in_flight.is_none(), "there is nobody left to notify");
}

// ---- Everything at once ----

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rule_2_no_request_is_ever_reset_and_nothing_panics(
        datagrams in prop::collection::vec((any::<bool>(), 0..40u8, 0..6u16, prop::collection::vec(any::<u8>(), 0..60)), 0..60),
        defers in any::<bool>(),
    ) {
        let mut gateway = Gateway::new(1);
        gateway.defers = defers;
        for (confirmable, code, mid, rest) in datagrams {
            let first = if confirmable { 0x41 } else { 0x51 };
            let [high, low] = mid.to_be_bytes();
            let datagram = [[first, code, high, low, 0xaa].as_slice(), &rest].concat();
            let answer = gateway.hear(&datagram);
            if let Ok(answer) = Message::parse(&answer) {
                prop_assert_ne!(answer.kind, Kind::Reset);
                prop_assert!(answer.code.is_response());
                prop_assert!(answer.payload.len() <= 1024);
                if answer.kind == Kind::Acknowledgement {
                    prop_assert_eq!((answer.mid, answer.token.as_bytes()), (MessageId(mid), [0xaa].as_slice()));
                }
            } else {
                prop_assert!(answer.is_empty());
            }
        }
    }
}

/// A device and a gateway over a link that loses a third of all datagrams, doubles some and delays the device's by up to
/// three and a half seconds; a commit takes its time, so do some blocks, and the manifest changes under way. Then: the download is whole,
/// every report took effect once, and the device has the last manifest.
#[test]
fn over_a_lossy_link_downloads_are_whole_reports_count_once_and_the_last_manifest_arrives() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        world.run();
        let World {
            gateway,
            device,
            published,
            ..
        } = &world;
        assert!(
            device.body == Artifact::Finite.read(0, ARTIFACT_LEN as u32),
            "the download"
        );
        assert_eq!(device.version, *published, "the manifest");
        let mut effects = gateway.effects.clone();
        effects.sort();
        effects.dedup();
        assert_eq!(
            effects.len(),
            gateway.effects.len(),
            "no report took effect twice"
        );
        assert_eq!(device.answered, REPORTS);
        assert!(effects.len() >= REPORTS);
    }
}

// ---- The gateway of these tests ----

/// An endpoint with a small handler: GET `m` is the manifest (its version for a body), GET `o`/n the same under other
/// names, GET `a` an artifact, everything else takes effect and is answered 2.04, or 2.02 for DELETE.
struct Gateway {
    endpoint: Endpoint,
    now: Instant,
    unix_ms: i64,
    /// The number of the next record.
    record: u16,
    version: u32,
    artifact: Artifact,
    defers: bool,
    waiting: Vec<(MessageId, Token)>,
    /// The artifact has to be waited for.
    cold: bool,
    reads: Vec<((MessageId, Token), Option<Block>)>,
    effects: Vec<Vec<u8>>,
    rng: StdRng,
}

#[derive(Clone, Copy)]
enum Artifact {
    Finite,
    Endless,
}

const MANIFEST: u8 = 200;
const ARTIFACT_LEN: u64 = 5_000;

impl Gateway {
    fn new(seed: u64) -> Self {
        Self {
            endpoint: Endpoint::new(),
            now: Instant::now(),
            unix_ms: 1_800_000_000_000,
            record: 1,
            version: 1,
            artifact: Artifact::Finite,
            defers: false,
            waiting: Vec::new(),
            cold: false,
            reads: Vec::new(),
            effects: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn cold() -> Self {
        Self {
            cold: true,
            ..Self::new(1)
        }
    }

    /// Takes a datagram and returns what goes out at once.
    fn hear(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self.endpoint.handle(self.now, datagram) {
            Ok(Incoming::Request(request)) => self.handle(&request, &mut out),
            Ok(Incoming::Respond(automatic)) => {
                automatic.write(self.next_mid(), &mut out);
            }
            Ok(Incoming::Acknowledged(_) | Incoming::Rejected(_) | Incoming::PingAnswered) => {
                out = self.notify();
            }
            Ok(Incoming::Ignored(_)) | Err(_) => {}
        }
        out
    }

    fn handle(&mut self, request: &Request<'_>, out: &mut Vec<u8>) {
        let own_mid = self.next_mid();
        let mut reply = self.endpoint.reply(request, own_mid, self.unix_ms, out);
        let path: Vec<&str> = request.path().collect();
        let resource = match (request.method, path.as_slice()) {
            (Method::Get, ["m"]) => Some(MANIFEST),
            (Method::Get, [other]) if other.starts_with('o') => {
                Some(other.as_bytes()[1..].first().copied().unwrap_or(0))
            }
            (Method::Get, _) => None,
            (Method::Post | Method::Put, _) => {
                self.effects.push(request.payload.to_vec());
                if self.defers {
                    self.waiting.push((request.mid, request.token));
                    self.endpoint.deferred(request);
                    return;
                }
                reply.code(Code::CHANGED);
                None
            }
            (Method::Delete, _) => {
                reply.code(Code::DELETED);
                None
            }
        };
        if resource.is_some() {
            reply.respond(&manifest_head(), &[self.version as u8]);
        } else if path == ["a"] && self.cold {
            self.reads.push(((request.mid, request.token), request.block2));
            self.endpoint.deferred(request);
            return;
        } else if path == ["a"] {
            self.artifact.answer(request.block2, &mut reply);
        } else if request.method == Method::Get {
            reply.code(Code::NOT_FOUND);
        }
        let written = reply.finish().unwrap();
        let registers = request.observe == Some(ObserveRequest::Register);
        match resource.filter(|_| registers) {
            Some(resource) => {
                self.endpoint.observing(request, &written, resource, self.version);
            }
            None => self.endpoint.answered(self.now, request, Some(&written)),
        }
    }

    /// Completes the oldest deferred request.
    fn commit(&mut self, code: Code) -> Vec<u8> {
        let mut out = Vec::new();
        let own_mid = self.next_mid();
        if !self.waiting.is_empty() {
            let request = self.waiting.remove(0);
            assert!(
                self.endpoint
                    .complete(self.now, request, code, own_mid, &mut out)
                    .is_some()
            );
        }
        out
    }

    /// Completes the oldest read.
    fn read(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let own_mid = self.next_mid();
        let (request, block2) = self.reads.remove(0);
        let artifact = self.artifact;
        let write = |reply: &mut Reply<'_>| artifact.answer(block2, reply);
        let written = self
            .endpoint
            .complete_with(self.now, request, own_mid, &mut out, write);
        assert_eq!(written.is_some(), !out.is_empty());
        out
    }

    fn push(&mut self, forced: bool) -> Vec<u8> {
        self.endpoint.wake(forced);
        self.notify()
    }

    fn notify(&mut self) -> Vec<u8> {
        while let Some((relation, forced)) = self.endpoint.next_due() {
            if forced || relation.sent != self.version {
                return self.write_notification(&relation);
            }
        }
        Vec::new()
    }

    fn write_notification(&mut self, relation: &Relation) -> Vec<u8> {
        let mut out = Vec::new();
        let own_mid = self.next_mid();
        let mut reply = self
            .endpoint
            .notification(relation, own_mid, self.unix_ms, &mut out);
        reply.respond(&manifest_head(), &[self.version as u8]);
        let written = reply.finish().unwrap();
        self.endpoint
            .notified(self.now, relation.resource, &written, self.version, &mut self.rng);
        out
    }

    fn timeout(&mut self) -> Vec<u8> {
        match self.endpoint.handle_timeout(self.now) {
            Some(Timeout::Retransmit(relation)) if relation.sent != self.version => {
                self.write_notification(&relation)
            }
            Some(Timeout::Retransmit(_)) => {
                let mut out = Vec::new();
                let mut reply = self.endpoint.retransmission(&mut out).unwrap();
                reply.respond(&manifest_head(), &[self.version as u8]);
                out
            }
            Some(Timeout::PingAgain) => {
                let mut out = Vec::new();
                assert!(self.endpoint.ping_again(&mut out));
                out
            }
            Some(Timeout::GaveUp(_) | Timeout::PingUnanswered) => self.notify(),
            None => Vec::new(),
        }
    }

    fn ping(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mid = self.next_mid();
        let pinged = self.endpoint.ping(self.now, mid, &mut out, &mut self.rng);
        pinged.then_some(out)
    }

    fn next_mid(&mut self) -> MessageId {
        let mid = MessageId(self.record);
        self.record = self.record.wrapping_add(1);
        mid
    }
}

impl Artifact {
    fn len(self) -> u64 {
        match self {
            Self::Finite => ARTIFACT_LEN,
            Self::Endless => 1 << 32,
        }
    }

    fn answer(self, block2: Option<Block>, reply: &mut Reply<'_>) {
        let Ok(slice) = block::slice(self.len(), block2) else {
            return reply.code(Code::BAD_REQUEST);
        };
        let head = ResponseHead {
            block2: slice.block2,
            ..ResponseHead::content(ContentFormat::OCTET_STREAM)
        };
        let len = slice.range.end - slice.range.start;
        let bytes = self.read(slice.range.start as u32, len as u32);
        reply
            .respond_with(&head, bytes.len(), |space| {
                space.copy_from_slice(&bytes);
                Ok(())
            })
            .unwrap();
    }

    fn read(self, start: u32, len: u32) -> Vec<u8> {
        (start..start + len)
            .map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8)
            .collect()
    }
}

fn manifest_head() -> ResponseHead {
    ResponseHead {
        observe: true,
        ..ResponseHead::content(ContentFormat::CBOR)
    }
}

fn written(automatic: &Automatic) -> Vec<u8> {
    let mut out = Vec::new();
    automatic.write(MessageId(0), &mut out);
    out
}

/// Registers for a resource, with its number for a token and a message ID.
fn observe(endpoint: &mut Endpoint, resource: u8) {
    let bytes = [0x41, 0x01, 0x20, resource, resource, 0x60];
    let Ok(Incoming::Request(request)) = endpoint.handle(Instant::now(), &bytes) else {
        panic!("no request")
    };
    let mut out = Vec::new();
    let mut reply = endpoint.reply(&request, MessageId(0), 0, &mut out);
    reply.respond(
        &ResponseHead {
            observe: true,
            ..ResponseHead::new(Code::CONTENT)
        },
        &[],
    );
    let written = reply.finish().unwrap();
    assert!(endpoint.observing(&request, &written, resource, 1));
}

// ---- The device and the link of these tests ----

const REPORTS: usize = 12;

/// What a device of the libcoap kind does: one request at a time, answers matched by token alone, except that the last
/// acknowledgement is not taken twice.
struct Device {
    mid: MessageId,
    token: u64,
    transfer: Token,
    exchange: Option<(Ask, Exchange, Vec<u8>)>,
    last_ack: Option<MessageId>,
    observation: Option<Token>,
    registered_at: Option<Instant>,
    freshness: Freshness,
    version: u32,
    download: Download,
    body: Vec<u8>,
    whole: bool,
    answered: usize,
    reports: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Observe,
    Report,
    Fetch,
}

enum Event {
    ToGateway(Vec<u8>),
    ToDevice(Vec<u8>),
    Commit,
    Read,
    Publish,
}

struct World {
    gateway: Gateway,
    device: Device,
    events: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    now: Instant,
    start: Instant,
    published: u32,
    rng: StdRng,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut gateway = Gateway::new(seed);
        gateway.defers = true;
        let start = gateway.now;
        let mut rng = StdRng::seed_from_u64(seed ^ 0xdead);
        let device = Device {
            mid: MessageId(rng.random()),
            token: rng.random::<u32>().into(),
            transfer: Token::from([0xdd; 8]),
            exchange: None,
            last_ack: None,
            observation: None,
            registered_at: None,
            freshness: Freshness::default(),
            version: 0,
            download: Download::new(Szx::new(2).unwrap()),
            body: Vec::new(),
            whole: false,
            answered: 0,
            reports: 0,
        };
        let mut world = Self {
            gateway,
            device,
            events: BTreeMap::new(),
            serial: 0,
            now: start,
            start,
            published: 1,
            rng,
        };
        for _ in 0..10 {
            let at = Duration::from_millis(world.rng.random_range(0..300_000));
            world.schedule(at, Event::Publish);
        }
        world
    }

    fn run(&mut self) {
        while !self.is_done() {
            assert!(
                self.now < self.start + Duration::from_secs(6 * 3600),
                "still not done"
            );
            self.ask();
            let wakes = [
                self.events.keys().next().map(|(at, _)| *at),
                self.gateway.endpoint.poll_timeout(),
                self.device
                    .exchange
                    .as_ref()
                    .map(|(_, exchange, _)| exchange.poll_timeout()),
            ];
            self.now = wakes.into_iter().flatten().min().unwrap().max(self.now);
            self.gateway.now = self.now;
            self.gateway.unix_ms = 1_800_000_000_000 + (self.now - self.start).as_millis() as i64;
            while let Some(entry) = self
                .events
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now)
            {
                match entry.remove() {
                    Event::ToGateway(bytes) => {
                        let waiting = self.gateway.waiting.len();
                        let reads = self.gateway.reads.len();
                        self.gateway.cold = self.rng.random_bool(0.3);
                        let answer = self.gateway.hear(&bytes);
                        self.down(answer);
                        if self.gateway.waiting.len() > waiting {
                            let takes = Duration::from_millis(self.rng.random_range(1..4_000));
                            self.schedule(takes, Event::Commit);
                        }
                        if self.gateway.reads.len() > reads {
                            let takes = Duration::from_millis(self.rng.random_range(1..4_000));
                            self.schedule(takes, Event::Read);
                        }
                    }
                    Event::ToDevice(bytes) => self.device_hears(&bytes),
                    Event::Commit => {
                        let answer = self.gateway.commit(Code::CHANGED);
                        self.down(answer);
                    }
                    Event::Read => {
                        let answer = self.gateway.read();
                        self.down(answer);
                    }
                    Event::Publish => {
                        self.published += 1;
                        self.gateway.version = self.published;
                        let notification = self.gateway.push(false);
                        self.down(notification);
                    }
                }
            }
            let repeated = self.gateway.timeout();
            self.down(repeated);
            self.device_timeout();
        }
    }

    fn is_done(&self) -> bool {
        let Device {
            whole,
            answered,
            version,
            ..
        } = self.device;
        let all_published = !self.events.values().any(|event| matches!(event, Event::Publish));
        whole && answered == REPORTS && all_published && version == self.published
    }

    /// The device sends its next request, if none is on its way.
    fn ask(&mut self) {
        let device = &mut self.device;
        if device.exchange.is_some() {
            return;
        }
        // An observation that went astray is found out by polling, here every minute. Nothing comes between the blocks
        // of a download, as in the field: the last acknowledgement would then be another one.
        let stale = device
            .registered_at
            .is_none_or(|at| self.now > at + Duration::from_secs(60));
        let downloading = !device.whole && !device.body.is_empty();
        let ask = if stale && !downloading {
            Ask::Observe
        } else if device.answered < REPORTS && (device.whole || (!downloading && self.rng.random_bool(0.8))) {
            Ask::Report
        } else if !device.whole {
            Ask::Fetch
        } else {
            return self.schedule_poll();
        };
        device.token += 1;
        let fresh = Token::from(device.token.to_le_bytes());
        device.mid = device.mid.next();
        device.reports += u8::from(ask == Ask::Report);
        let report = [device.reports];
        let request = match ask {
            Ask::Observe => Outgoing {
                path: &["m"],
                observe: Some(ObserveRequest::Register),
                accept: Some(ContentFormat::CBOR),
                ..Outgoing::new(Method::Get, *device.observation.get_or_insert(fresh))
            },
            Ask::Report => Outgoing {
                path: &["r"],
                payload: &report,
                ..Outgoing::new(Method::Post, fresh)
            },
            Ask::Fetch => Outgoing {
                path: &["a"],
                block2: Some(device.download.wanted()),
                ..Outgoing::new(Method::Get, device.transfer)
            },
        };
        let mut bytes = Vec::new();
        request.write(Kind::Confirmable, device.mid, &mut bytes);
        let patience = Duration::from_secs(93);
        let exchange = Exchange::new(self.now, device.mid, request.token, patience, &mut self.rng);
        device.exchange = Some((ask, exchange, bytes.clone()));
        self.up(bytes);
    }

    /// Keeps time going while there is nothing to ask.
    fn schedule_poll(&mut self) {
        if self.events.is_empty() && self.gateway.endpoint.poll_timeout().is_none() {
            self.device.registered_at = None;
            self.ask();
        }
    }

    fn device_hears(&mut self, bytes: &[u8]) {
        let Heard::Response(response) = Heard::parse(bytes).unwrap() else {
            panic!("{bytes:02x?}")
        };
        let device = &mut self.device;
        if response.kind == Kind::Acknowledgement
            && device.last_ack.replace(response.mid) == Some(response.mid)
        {
            return;
        }
        if response.kind == Kind::Confirmable {
            let mut acknowledgement = Vec::new();
            write_empty(&mut acknowledgement, Kind::Acknowledgement, response.mid);
            self.up(acknowledgement);
        }
        let device = &mut self.device;
        let answers = response.kind == Kind::Acknowledgement;
        let asked = device
            .exchange
            .take_if(|(_, exchange, _)| answers && exchange.token() == response.token);
        match asked.map(|(ask, ..)| ask) {
            Some(Ask::Report) => {
                assert_eq!(response.code, Code::CHANGED);
                device.answered += 1;
            }
            Some(Ask::Fetch) => {
                // Written where it is expected, as the device would; what is wrong shows in the end.
                assert_eq!(response.code, Code::CONTENT);
                device.body.extend_from_slice(response.payload);
                let num = BlockNum::new((device.body.len() as u32).div_ceil(64)).unwrap();
                let block = response.block2.unwrap();
                device.whole = !block.more;
                if let Step::Mismatch = device.download.step(&response) {
                    device.download = Download::resume(Block { num, ..block });
                }
            }
            Some(Ask::Observe) | None => {
                if device.observation == Some(response.token) {
                    device.registered_at = Some(self.now);
                    if response
                        .observe
                        .is_none_or(|seq| device.freshness.admit(self.now, seq))
                    {
                        device.version = response.payload[0].into();
                    }
                }
            }
        }
    }

    fn device_timeout(&mut self) {
        let Some((_, exchange, bytes)) = &mut self.device.exchange else {
            return;
        };
        match exchange.handle_timeout(self.now) {
            Some(Overdue::Resend) => {
                let bytes = bytes.clone();
                self.up(bytes);
            }
            Some(Overdue::GiveUp) => self.device.exchange = None,
            None => {}
        }
    }

    /// Towards the gateway: lost, doubled, and late by so much that copies overtake each other.
    fn up(&mut self, bytes: Vec<u8>) {
        for _ in 0..self.rng.random_range(1..=2) {
            if self.rng.random_bool(0.7) {
                let slow = self.rng.random_bool(0.2);
                let delay = if slow {
                    self.rng.random_range(20..3_500)
                } else {
                    self.rng.random_range(20..60)
                };
                self.schedule(Duration::from_millis(delay), Event::ToGateway(bytes.clone()));
            }
        }
    }

    /// Towards the device: lost, but in order, because a device that matches by token alone survives nothing else.
    fn down(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() && self.rng.random_bool(0.7) {
            self.schedule(Duration::from_millis(40), Event::ToDevice(bytes));
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + after, self.serial), event);
    }
}
