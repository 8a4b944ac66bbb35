//! Conformance of the CoAP message layer, by its public surface alone: RFC 7252, 7641 and 7959, and what the devices in
//! the field expect beyond them.
//!
//! 1. messages: hand-written bytes, properties, and `coap-lite` as a second opinion
//! 2. requests: options, one at a time
//! 3. one session: a small server on an [`Endpoint`], driven with bytes
//! 4. a device behind a lossy link, in virtual time

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tessera::coap::wire::number;
use tessera::coap::{
    Code, ContentFormat, Endpoint, FormatError, Incoming, Kind, Message, MessageId, MessageWriter,
    ObserveRequest, Refusal, Request, ResponseHead, Timeout, Token, block,
};

// ---------------------------------------------------------------------------------------------- 1. messages

#[test]
fn rfc7252_3_malformed_messages_are_refused() {
    let table = [
        ("", FormatError::Truncated),
        ("40 01 12", FormatError::Truncated),
        ("00 01 1234", FormatError::Version),
        ("80 01 1234", FormatError::Version),
        ("c0 01 1234", FormatError::Version),
        ("49 01 1234 010203040506070809", FormatError::TokenLength),
        (
            "4f 01 1234 0102030405060708090a0b0c0d0e0f",
            FormatError::TokenLength,
        ),
        ("42 01 1234 01", FormatError::Truncated),
        ("40 01 1234 f0", FormatError::ReservedNibble),
        ("40 01 1234 f1 00", FormatError::ReservedNibble),
        ("40 01 1234 0f", FormatError::ReservedNibble),
        ("40 01 1234 d0", FormatError::Truncated),
        ("40 01 1234 e0 00", FormatError::Truncated),
        ("40 01 1234 0d", FormatError::Truncated),
        ("40 01 1234 0e 00", FormatError::Truncated),
        ("40 01 1234 b2 2e", FormatError::Truncated),
        ("40 01 1234 e0 fef3 10", FormatError::OptionNumber),
        ("40 01 1234 e0 ffff", FormatError::OptionNumber),
        ("40 01 1234 ff", FormatError::EmptyPayload),
        ("40 01 1234 b1 61 ff", FormatError::EmptyPayload),
        ("41 00 1234 aa", FormatError::NotEmpty),
        ("40 00 1234 b1 61", FormatError::NotEmpty),
        ("40 00 1234 ff 01", FormatError::NotEmpty),
        ("50 00 1234 00", FormatError::NotEmpty),
    ];
    for (bytes, expected) in table {
        assert_eq!(Message::parse(&hex(bytes)).map(|_| ()), Err(expected), "{bytes}");
    }
}

#[test]
fn rfc7252_3_well_formed_messages_are_read() {
    let bytes = hex("48 01 1234 0102030405060708 60 52 2e75 07 64657369726564 61 3c ff 00ff");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.kind, message.code), (Kind::Confirmable, Code::GET));
    assert_eq!(message.mid, MessageId(0x1234));
    assert_eq!(message.token.as_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(message.payload, [0x00, 0xff]);
    let options: Vec<_> = message
        .options()
        .map(|option| (option.number, option.value))
        .collect();
    let expected: [(u16, &[u8]); 4] = [(6, b""), (11, b".u"), (11, b"desired"), (17, &[60])];
    assert_eq!(options, expected);
}

#[test]
fn rfc7252_3_1_deltas_and_lengths_extend_at_13_and_269() {
    for (number, len, head) in [
        (12, 12, "cc"),
        (13, 13, "dd 00 00"),
        (268, 268, "dd ff ff"),
        (269, 269, "ee 0000 0000"),
        (65_535, 300, "ee fef2 001f"),
    ] {
        let value = vec![0x5a; len];
        let mut expected = hex("40 45 0007");
        expected.extend(hex(head));
        expected.extend(&value);
        let mut out = Vec::new();
        MessageWriter::new(
            &mut out,
            Kind::Confirmable,
            Code::CONTENT,
            MessageId(7),
            Token::EMPTY,
        )
        .option(number, &value);
        assert_eq!(out, expected, "option {number}");
        let message = Message::parse(&expected).unwrap();
        let option = message.options().next().unwrap();
        assert_eq!((option.number, option.value), (number, value.as_slice()));
    }
}

#[test]
fn rfc7252_4_1_an_empty_message_of_every_type_is_four_bytes() {
    for (first, kind) in [
        (0x40, Kind::Confirmable),
        (0x50, Kind::NonConfirmable),
        (0x60, Kind::Acknowledgement),
        (0x70, Kind::Reset),
    ] {
        let bytes = [first, 0, 0xab, 0xcd];
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(
            (message.kind, message.code, message.mid),
            (kind, Code::EMPTY, MessageId(0xabcd))
        );
    }
}

#[test]
fn rfc7252_3_2_a_number_is_written_without_leading_zeros() {
    for (value, expected) in [
        (0, "c0"),
        (1, "c1 01"),
        (255, "c1 ff"),
        (256, "c2 0100"),
        (65_536, "c3 010000"),
        (u32::MAX, "c4 ffffffff"),
    ] {
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Kind::Reset, Code::EMPTY, MessageId(0), Token::EMPTY)
            .uint(number::CONTENT_FORMAT, value);
        assert_eq!(out[4..], hex(expected), "{value}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(message.options().map(|option| option.number).is_sorted());
            let _ = Request::new(&message);
        }
    }

    #[test]
    fn parsing_is_the_inverse_of_encoding(parts in parts()) {
        let bytes = parts.encode();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(Parts::of(&message), parts);
    }

    #[test]
    fn encoding_is_the_inverse_of_parsing_for_short_forms(parts in parts()) {
        let bytes = parts.encode();
        prop_assert_eq!(Parts::of(&Message::parse(&bytes).unwrap()).encode(), bytes);
    }

    #[test]
    fn an_endpoint_survives_any_datagrams(
        datagrams in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                parts().prop_map(|parts| parts.encode()),
            ],
            1..30,
        ),
    ) {
        let mut server = Server::new();
        for datagram in datagrams {
            for answer in server.receive(&datagram) {
                prop_assert!(Message::parse(&answer).is_ok(), "{answer:02x?} to {datagram:02x?}");
            }
        }
    }

    /// coap-lite is the second opinion. It takes what the RFC refuses in these known cases: any version, a payload marker
    /// without a payload, code 0.00 with content, codes of a reserved class. Nothing else may differ.
    #[test]
    fn coap_lite_reads_the_same(parts in parts(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)) {
        let mut bytes = parts.encode();
        for (index, value) in flips {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let theirs = coap_lite::Packet::from_bytes(&bytes);
        match (Message::parse(&bytes), theirs) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.mid.0, theirs.header.message_id);
                prop_assert_eq!(ours.code.byte(), u8::from(theirs.header.code));
                prop_assert_eq!(ours.token.as_bytes(), theirs.get_token());
                prop_assert_eq!(ours.payload, theirs.payload.as_slice());
                let ours: Vec<_> = ours.options().map(|option| (option.number, option.value.to_vec())).collect();
                let theirs: Vec<_> = theirs
                    .options()
                    .flat_map(|(number, values)| values.iter().map(|value| (*number, value.clone())))
                    .collect();
                prop_assert_eq!(ours, theirs);
            }
            (Err(error), Ok(_)) => prop_assert!(
                matches!(
                    error,
                    FormatError::Version
                        | FormatError::EmptyPayload
                        | FormatError::NotEmpty
                        | FormatError::ReservedClass
                ),
                "{error:?} for {bytes:02x?}"
            ),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => prop_assert!(false, "only we read {bytes:02x?}: {error:?}"),
        }
    }
}

// ---------------------------------------------------------------------------------------------- 2. requests

#[test]
fn rfc7252_5_4_1_an_unknown_critical_option_is_refused_and_an_elective_one_ignored() {
    for number in [1, 5, 9, 13, 19, 21, 31, 65_001] {
        assert_eq!(read(&[(number, b"")]), Err(Code::BAD_OPTION), "{number}");
    }
    for number in [2, 8, 14, 16, 20, 28, 252, 258, 292, 65_000] {
        assert_eq!(read(&[(number, b"")]), Ok(()), "{number}");
    }
}

#[test]
fn rfc7252_5_4_5_a_repeated_option_counts_as_unknown() {
    for number in [
        number::URI_HOST,
        number::URI_PORT,
        number::ACCEPT,
        number::BLOCK2,
        number::BLOCK1,
    ] {
        assert_eq!(
            read(&[(number, b"1"), (number, b"1")]),
            Err(Code::BAD_OPTION),
            "{number}"
        );
    }
    for number in [number::ETAG, number::URI_PATH, number::URI_QUERY] {
        assert_eq!(read(&[(number, b"1"), (number, b"1")]), Ok(()), "{number}");
    }
    let bytes = get(&[
        (number::OBSERVE, b""),
        (number::OBSERVE, &[1]),
        (12, &[50]),
        (12, &[60]),
    ]);
    let message = Message::parse(&bytes).unwrap();
    let request = Request::new(&message).unwrap();
    assert_eq!(
        request.observe,
        Some(ObserveRequest::Register),
        "the first one counts"
    );
    assert_eq!(request.content_format, Some(ContentFormat::JSON));
}

#[test]
fn rfc7252_5_4_3_a_value_out_of_range_counts_as_unknown() {
    let long = [b'a'; 256];
    let table: [(u16, &[u8]); 7] = [
        (number::URI_HOST, b""),
        (number::URI_HOST, &long),
        (number::URI_PATH, &long),
        (number::URI_PATH, &[0xff, 0xfe]),
        (number::URI_QUERY, &long),
        (number::ACCEPT, &[1, 0, 0]),
        (number::BLOCK2, &[1, 0, 0, 0]),
    ];
    for (number, value) in table {
        assert_eq!(
            read(&[(number, value)]),
            Err(Code::BAD_OPTION),
            "{number} {value:02x?}"
        );
    }
    assert_eq!(read(&[(number::ETAG, b"123456789")]), Ok(()));
    assert_eq!(read(&[(number::URI_PATH, &long[..255])]), Ok(()));
}

#[test]
fn rfc7252_5_8_an_unknown_method_is_not_allowed() {
    for code in [5, 6, 7, 31] {
        let bytes = [0x40, code, 0, 1];
        let refused = Request::new(&Message::parse(&bytes).unwrap())
            .map(|_| ())
            .unwrap_err();
        assert_eq!(
            (refused, refused.code()),
            (Refusal::UnknownMethod, Code::METHOD_NOT_ALLOWED)
        );
    }
}

#[test]
fn rfc7252_5_10_2_a_request_for_a_proxy_is_refused() {
    assert_eq!(
        read(&[(number::PROXY_URI, b"coap://a/")]),
        Err(Code::PROXYING_NOT_SUPPORTED)
    );
    assert_eq!(
        read(&[(number::PROXY_SCHEME, b"coap")]),
        Err(Code::PROXYING_NOT_SUPPORTED)
    );
}

#[test]
fn rfc7252_5_10_1_segments_stay_apart() {
    let bytes = get(&[
        (11, b"a/b"),
        (11, b""),
        (11, "ü".as_bytes()),
        (15, b"device=x=y"),
        (15, b"n"),
    ]);
    let message = Message::parse(&bytes).unwrap();
    let request = Request::new(&message).unwrap();
    assert_eq!(request.path().collect::<Vec<_>>(), ["a/b", "", "ü"]);
    assert!(request.path_is(&["a/b", "", "ü"]));
    assert!(!request.path_is(&["a", "b", "", "ü"]));
    assert!(!request.path_is(&["a/b", ""]));
    assert_eq!(request.query("device"), Some("x=y"));
    assert_eq!(request.query("n"), None);
}

#[test]
fn rfc7959_2_2_the_reserved_block_size_is_a_bad_request() {
    for number in [number::BLOCK2, number::BLOCK1] {
        assert_eq!(read(&[(number, &[0x07])]), Err(Code::BAD_REQUEST));
        assert_eq!(read(&[(number, &[0xff, 0xff, 0xff])]), Err(Code::BAD_REQUEST));
    }
}

/// The edges where implementations lost bits: 4, 12, 16 and 20 of them.
#[test]
fn rfc7959_2_2_a_block_number_has_twenty_bits() {
    let table: [(u32, &str); 7] = [
        (15, "f6"),
        (16, "0106"),
        (4095, "fff6"),
        (4096, "010006"),
        (65_535, "0ffff6"),
        (65_536, "100006"),
        ((1 << 20) - 1, "fffff6"),
    ];
    for (num, value) in table {
        let bytes = get(&[(number::BLOCK2, &hex(value))]);
        let block = Request::new(&Message::parse(&bytes).unwrap())
            .unwrap()
            .block2
            .unwrap();
        assert_eq!(
            (block.num.get(), block.szx.size(), block.more),
            (num, 1024, false),
            "{value}"
        );
        assert_eq!(block.offset(), u64::from(num) * 1024);
        let slice = block::slice(1 << 30, Some(block)).unwrap();
        assert_eq!(slice.range.start, block.offset());
        let answered = slice.block2.unwrap();
        assert_eq!((answered.num, answered.szx), (block.num, block.szx));
        assert_eq!(answered.more, num != (1 << 20) - 1);
    }
}

#[test]
fn contract_section_2_numbers_with_leading_zeros_are_accepted() {
    let bytes = get(&[
        (number::OBSERVE, &[0]),
        (number::ACCEPT, &[0, 60]),
        (number::BLOCK2, &[0, 0, 0x16]),
    ]);
    let message = Message::parse(&bytes).unwrap();
    let request = Request::new(&message).unwrap();
    assert_eq!(request.observe, Some(ObserveRequest::Register));
    assert_eq!(request.accept, Some(ContentFormat::CBOR));
    assert_eq!(request.block2.unwrap().num.get(), 1);
}

// ---------------------------------------------------------------------------------------------- 3. one session

#[test]
fn contract_1_answers_are_piggybacked() {
    let mut server = Server::new();
    assert_eq!(server.receive(&post("0001", 7)), [hex("61 44 0001 cc")]);
    assert_eq!(
        server.receive(&block_get("0002", 0)),
        [hex("61 45 0002 bb c1 2a b1 0a ff").with(&[0; 64])]
    );
    assert_eq!(server.receive(&hex("40 01 0003 b1 78")), [hex("60 84 0003")]);
    assert_eq!(server.effects, [[7]]);
}

#[test]
fn contract_1_a_deferred_answer_is_piggybacked_too() {
    let mut server = Server::new();
    let request = deferred_post("0005");
    assert!(server.receive(&request).is_empty(), "no empty acknowledgement");
    server.advance(Duration::from_secs(2));
    assert!(server.receive(&request).is_empty(), "a duplicate waits, too");
    assert_eq!(server.complete_all(), [hex("61 44 0005 dd")]);
    assert_eq!(
        server.receive(&request),
        [hex("61 44 0005 dd")],
        "and afterwards has its answer"
    );
    assert_eq!(server.deferred, 1);
    assert!(server.complete_all().is_empty());
}

#[test]
fn contract_2_no_request_is_reset() {
    let mut server = Server::new();
    let refused = server.receive(&hex("41 01 0001 aa 10"));
    assert_eq!(refused, [hex("61 82 0001 aa")], "a critical option");
    assert_eq!(
        server.receive(&hex("41 05 0002 aa")),
        [hex("61 85 0002 aa")],
        "an unknown method"
    );
    assert!(server.receive(&hex("41 01 0003 aa ff")).is_empty(), "malformed");
    assert!(
        server.receive(&hex("51 01 0004 aa 10")).is_empty(),
        "a NON with a critical option"
    );
}

#[test]
fn rfc7252_5_2_3_a_non_confirmable_request_gets_no_acknowledgement() {
    let mut server = Server::new();
    let answers = server.receive(&hex("51 02 0001 cc b2 2e75 01 63 01 70 11 3c ff 07"));
    for answer in answers {
        let message = Message::parse(&answer).unwrap();
        assert_eq!(
            (message.kind, message.code),
            (Kind::NonConfirmable, Code::CHANGED)
        );
        assert_eq!(message.token.as_bytes(), [0xcc]);
    }
    assert_eq!(server.effects, [[7]]);
}

#[test]
fn contract_12_the_keepalives_of_both_ports_are_answered() {
    let mut server = Server::new();
    assert_eq!(
        server.receive(&hex("48 04 0001 0000000000000000")),
        [hex("68 42 0001 0000000000000000")],
        "a DELETE of nothing with a token of zeros"
    );
    assert_eq!(
        server.receive(&hex("50 00 0002")),
        [hex("70 00 0002")],
        "an empty NON"
    );
}

#[test]
fn contract_13_a_ping_is_reset() {
    assert_eq!(Server::new().receive(&hex("40 00 beef")), [hex("70 00 beef")]);
}

#[test]
fn rfc7252_4_2_acknowledgements_and_resets_of_nothing_are_ignored() {
    let mut server = Server::new();
    for bytes in [
        "60 00 0001",
        "70 00 0001",
        "61 45 0001 aa ff 01",
        "61 01 0001 aa",
        "51 45 0001 aa",
    ] {
        assert!(server.receive(&hex(bytes)).is_empty(), "{bytes}");
    }
    assert_eq!(
        server.receive(&hex("41 45 0001 aa")),
        [hex("70 00 0001")],
        "a response to nothing"
    );
}

#[test]
fn contract_15_a_duplicate_post_is_answered_again_without_a_second_effect() {
    let mut server = Server::new();
    for mid in 1..=8_u8 {
        server.receive(&post(&format!("00{mid:02x}"), mid));
    }
    for mid in 1..=8_u8 {
        let again = server.receive(&post(&format!("00{mid:02x}"), mid));
        assert_eq!(again, [hex(&format!("61 44 00{mid:02x} cc"))]);
    }
    assert_eq!(server.effects.len(), 8);
}

#[test]
fn contract_15_a_message_id_used_again_later_is_another_request() {
    let mut server = Server::new();
    server.receive(&post("0001", 1));
    server.advance(Duration::from_secs(300));
    server.receive(&post("0001", 2));
    assert_eq!(server.effects, [[1], [2]]);
}

#[test]
fn contract_15_a_stale_duplicate_of_a_block_is_dropped_and_the_newest_answered_again() {
    let mut server = Server::new();
    for num in 0..10_u8 {
        assert_eq!(
            server
                .receive(&block_get(
                    &format!("{:04x}", 0xfffa_u16.wrapping_add(num.into())),
                    num
                ))
                .len(),
            1
        );
    }
    for num in 0..9_u8 {
        let stale = block_get(&format!("{:04x}", 0xfffa_u16.wrapping_add(num.into())), num);
        assert!(server.receive(&stale).is_empty(), "block {num}");
    }
    assert_eq!(server.receive(&block_get("0003", 9)).len(), 1);
}

#[test]
fn contract_15_a_transfer_that_starts_over_is_no_duplicate() {
    let mut server = Server::new();
    assert_eq!(server.receive(&block_get("0010", 5)).len(), 1);
    assert_eq!(server.receive(&block_get("0011", 0)).len(), 1);
    assert!(server.receive(&block_get("0010", 5)).is_empty());
}

#[test]
fn contract_15_other_reads_are_evaluated_again() {
    let mut server = Server::new();
    let plain = hex("41 01 0001 aa b2 2e75 07 64657369726564 61 3c");
    assert_eq!(server.receive(&plain), [hex("61 45 0001 aa c1 3c ff 01")]);
    server.version = 2;
    assert_eq!(server.receive(&plain), [hex("61 45 0001 aa c1 3c ff 02")]);
}

#[test]
fn contract_4_a_block_has_the_size_asked_for_and_one_past_the_end_is_bad() {
    let mut server = Server::new();
    server.body = vec![9; 100];
    assert_eq!(
        server.receive(&block_get("0001", 0)),
        [hex("61 45 0001 bb c1 2a b1 0a ff").with(&[9; 64])]
    );
    assert_eq!(
        server.receive(&block_get("0002", 1)),
        [hex("61 45 0002 bb c1 2a b1 12 ff").with(&[9; 36])]
    );
    assert_eq!(server.receive(&block_get("0003", 2)), [hex("61 80 0003 bb")]);
}

#[test]
fn contract_17_a_notification_has_a_higher_number_than_the_registration() {
    let mut server = Server::new();
    assert_eq!(
        server.receive(&observe("0001", "aa")),
        [hex("61 45 0001 aa 63 123456 61 3c ff 01")]
    );
    server.version = 2;
    assert_eq!(server.push(), [hex("41 45 8000 aa 63 123457 61 3c ff 02")]);
    server.receive(&hex("60 00 8000"));
    server.advance(Duration::from_secs(1));
    server.version = 3;
    assert_eq!(
        server.push(),
        [hex("41 45 8001 aa 63 1234ba 61 3c ff 03")],
        "100 steps of 10 ms later"
    );
}

#[test]
fn contract_17_numbers_go_on_after_a_restart() {
    let mut server = Server::new();
    server.receive(&observe("0001", "aa"));
    server.version = 2;
    server.push();
    server.endpoint = Endpoint::restore(server.endpoint.relations().copied().collect::<Vec<_>>());
    server.version = 3;
    assert_eq!(server.push(), [hex("41 45 8001 aa 63 123458 61 3c ff 03")]);
}

#[test]
fn rfc7252_4_2_a_notification_is_repeated_four_times_and_contract_16_then_its_relation_dropped() {
    let mut server = Server::new();
    server.receive(&observe("0001", "aa"));
    server.version = 2;
    let first = server.push();
    let start = server.now;
    let mut waits = Vec::new();
    for _ in 0..4 {
        let due = server.endpoint.poll_timeout().unwrap();
        waits.push(due - server.now);
        assert_eq!(server.run_until(due), first, "the same message, byte for byte");
    }
    assert!((2000..=3000).contains(&waits[0].as_millis()), "{waits:?}");
    for pair in waits.windows(2) {
        assert_eq!(pair[1], pair[0] * 2);
    }
    let due = server.endpoint.poll_timeout().unwrap();
    assert_eq!(due - start, waits[0] * 31);
    assert!(server.run_until(due).is_empty());
    assert_eq!(server.endpoint.relations().count(), 0);
    assert_eq!(server.endpoint.poll_timeout(), None);
}

#[test]
fn rfc7641_4_5_2_the_latest_representation_goes_out_when_the_wait_is_over() {
    let mut server = Server::new();
    server.receive(&observe("0001", "aa"));
    server.version = 2;
    server.push();
    server.version = 3;
    assert!(server.push().is_empty(), "one at a time");
    let due = server.endpoint.poll_timeout().unwrap();
    let wait = due - server.now;
    let next = server.run_until(due);
    let message = Message::parse(&next[0]).unwrap();
    assert_eq!((message.mid, message.payload), (MessageId(0x8001), &[3][..]));
    assert_eq!(
        server.endpoint.poll_timeout().unwrap() - due,
        wait * 2,
        "the attempts count on"
    );
    assert!(
        server.receive(&hex("60 00 8000")).is_empty(),
        "the old one is over"
    );
    assert!(server.endpoint.poll_timeout().is_some());
    server.receive(&hex("60 00 8001"));
    assert_eq!(server.endpoint.poll_timeout(), None);
}

#[test]
fn rfc7641_4_5_2_a_change_during_the_wait_follows_the_acknowledgement() {
    let mut server = Server::new();
    server.receive(&observe("0001", "aa"));
    server.version = 2;
    server.push();
    for version in 3..6 {
        server.version = version;
        assert!(server.push().is_empty());
    }
    let next = server.receive(&hex("60 00 8000"));
    assert_eq!(next.len(), 1, "those between are left out");
    assert_eq!(Message::parse(&next[0]).unwrap().payload, [5]);
}

#[test]
fn contract_16_a_relation_ends_by_deregistration_and_by_a_reset() {
    let mut server = Server::new();
    server.receive(&observe("0001", "aa"));
    server.receive(&hex("41 01 0002 aa 61 01 52 2e75 07 64657369726564 61 3c"));
    assert_eq!(server.endpoint.relations().count(), 0);

    server.receive(&observe("0003", "aa"));
    server.version = 2;
    server.push();
    server.receive(&hex("70 00 8000"));
    assert_eq!(server.endpoint.relations().count(), 0);
    assert_eq!(server.endpoint.poll_timeout(), None);
}

#[test]
fn contract_16_a_registration_replaces_the_one_before() {
    let mut server = Server::new();
    server.receive(&observe("0001", "aa"));
    server.receive(&observe("0002", "aa"));
    assert_eq!(server.endpoint.relations().count(), 1, "of its token");
    server.receive(&observe("0003", "ab"));
    let relation = server.endpoint.relations().next().copied().unwrap();
    assert_eq!(server.endpoint.relations().count(), 1, "of its resource");
    assert_eq!(relation.token.as_bytes(), [0xab]);
    server.receive(&hex("41 01 0004 ab 60 51 6f 61 3c"));
    let relation = server.endpoint.relations().next().copied().unwrap();
    assert_eq!(
        (server.endpoint.relations().count(), relation.resource),
        (1, 1),
        "of its token, for another resource"
    );
}

#[test]
fn contract_18_a_registration_in_another_session_has_its_own_state() {
    let (mut before, mut after) = (Server::new(), Server::new());
    before.receive(&observe("0001", "aa"));
    assert_eq!(after.receive(&observe("0001", "aa")).len(), 1);
    before.receive(&post("0002", 1));
    after.receive(&post("0002", 2));
    assert_eq!(
        after.effects,
        [[2]],
        "contract 14: nothing is shared by token or message ID"
    );
}

#[test]
fn rfc7959_2_5_blocks_of_a_request_become_one_body() {
    let mut server = Server::new();
    let (a, b) = ([1; 16], [2; 16]);
    assert_eq!(
        server.receive(&upload("0001", "08", &a)),
        [hex("61 5f 0001 cc d1 0e 08")]
    );
    assert_eq!(
        server.receive(&upload("0002", "18", &b)),
        [hex("61 5f 0002 cc d1 0e 18")]
    );
    assert_eq!(
        server.receive(&upload("0002", "18", &b)),
        [hex("61 5f 0002 cc d1 0e 18")],
        "a duplicate"
    );
    assert_eq!(
        server.receive(&upload("0003", "20", &[3; 4])),
        [hex("61 44 0003 cc d1 0e 20")]
    );
    assert_eq!(
        server.receive(&upload("0003", "20", &[3; 4])),
        [hex("61 44 0003 cc d1 0e 20")],
        "a duplicate"
    );
    assert_eq!(server.effects, [[&a[..], &b[..], &[3; 4]].concat()]);
}

#[test]
fn rfc7959_2_9_2_a_missing_block_is_incomplete() {
    let mut server = Server::new();
    assert_eq!(
        code_of(&server.receive(&upload("0001", "18", &[0; 16]))),
        Code::REQUEST_ENTITY_INCOMPLETE
    );
    server.receive(&upload("0002", "08", &[0; 16]));
    assert_eq!(
        code_of(&server.receive(&upload("0003", "20", &[0; 16]))),
        Code::REQUEST_ENTITY_INCOMPLETE
    );
    assert!(server.effects.is_empty());
}

#[test]
fn rfc7959_2_9_3_a_body_above_the_bound_is_too_large_and_the_answer_says_what_is_not() {
    let mut server = Server::new();
    let mut answer = Vec::new();
    for num in 0..=16_u32 {
        let value = [
            (num << 4 | 0b1110).to_be_bytes()[2],
            (num << 4 | 0b1110).to_be_bytes()[3],
        ];
        let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        answer = server.receive(&upload(&format!("{:04x}", num + 1), &value, &[0; 1024]));
        let expected = if num < 16 {
            Code::CONTINUE
        } else {
            Code::REQUEST_ENTITY_TOO_LARGE
        };
        assert_eq!(code_of(&answer), expected, "block {num}");
    }
    let size1 = Message::parse(&answer[0])
        .unwrap()
        .option(number::SIZE1)
        .map(<[u8]>::to_vec);
    assert_eq!(size1, Some(vec![0x40, 0x00]), "16 KiB");
    assert!(server.effects.is_empty());
}

#[test]
fn contract_14_requests_of_several_tokens_are_pending_side_by_side() {
    let mut server = Server::new();
    assert!(server.receive(&deferred_post("0001")).is_empty());
    assert!(server.receive(&hex("41 02 0002 de b1 64 ff 01")).is_empty());
    assert_eq!(
        server.receive(&block_get("0003", 0)).len(),
        1,
        "answer order is free"
    );
    let mut answers = server.complete_all();
    answers.sort();
    assert_eq!(answers, [hex("61 44 0001 dd"), hex("61 44 0002 de")]);
}

#[test]
fn pending_requests_have_a_bound_and_the_rest_comes_again() {
    let mut server = Server::new();
    for mid in 0..40_u8 {
        assert!(
            server
                .receive(&hex(&format!("41 02 00{mid:02x} {mid:02x} b1 64 ff 01")))
                .is_empty()
        );
    }
    assert!(server.deferred < 40, "{} handled", server.deferred);
    let answered = server.complete_all().len();
    assert_eq!(answered, server.deferred, "whatever was handled is answered");
    server.receive(&hex("41 02 0027 27 b1 64 ff 01"));
    assert_eq!(server.complete_all(), [hex("61 44 0027 27")]);
}

#[test]
fn a_session_is_small() {
    let size = size_of::<Endpoint>();
    assert!(size < 256, "{size} bytes");
}

// ---------------------------------------------------------------------------------------------- 4. a lossy link

/// A device that matches answers by token alone, as one of the fielded ports does, downloads, reports and observes while a third of
/// all datagrams is lost, and those to the server are delayed by seconds and duplicated.
#[test]
fn a_device_behind_a_lossy_link_gets_every_byte_and_the_latest_version() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut link = Link::new(seed);
        link.run();
        assert_eq!(link.device.downloaded, link.server.body, "seed {seed}");
        assert_eq!(link.device.version, link.server.version, "seed {seed}");
        let expected: Vec<_> = (0..REPORTS).map(|report| vec![report]).collect();
        assert_eq!(
            link.server.effects, expected,
            "seed {seed}: each report once, in order"
        );
    }
}

// ---------------------------------------------------------------------------------------------- helpers

/// A server with a manifest of one byte (its version), an artifact, reports, and a path whose answers come later.
struct Server {
    endpoint: Endpoint,
    start: Instant,
    now: Instant,
    rng: StdRng,
    next_mid: u16,
    version: u32,
    body: Vec<u8>,
    effects: Vec<Vec<u8>>,
    deferred: usize,
}

impl Server {
    fn new() -> Server {
        let now = Instant::now();
        Server {
            endpoint: Endpoint::new(),
            start: now,
            now,
            rng: StdRng::seed_from_u64(7),
            next_mid: 0x8000,
            version: 1,
            body: vec![0; 1000],
            effects: Vec::new(),
            deferred: 0,
        }
    }

    /// Takes a datagram and returns those that it causes.
    fn receive(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let (mid, unix_ms) = (MessageId(self.next_mid), self.unix_ms());
        let Ok(incoming) = self.endpoint.handle(self.now, datagram) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        match incoming {
            Incoming::Request(request) => {
                let mut reply = self.endpoint.reply(&request, mid, unix_ms, &mut out);
                let path: Vec<_> = request.path().collect();
                match (request.method.code(), path.as_slice()) {
                    (Code::GET, [".u", "desired"] | ["o"]) => {
                        let head = ResponseHead {
                            observe: true,
                            ..ResponseHead::content(ContentFormat::CBOR)
                        };
                        reply.respond(&head, &[self.version as u8]);
                        let written = reply.finish().unwrap();
                        let resource = u8::from(path == ["o"]);
                        if request.observe == Some(ObserveRequest::Register) {
                            self.endpoint
                                .observing(&request, &written, resource, self.version);
                        } else {
                            self.endpoint.answered(self.now, &request, Some(&written));
                        }
                    }
                    (Code::POST, ["d"]) => {
                        self.deferred += 1;
                        self.endpoint.deferred(&request);
                    }
                    (code, path) => {
                        match (code, path) {
                            (Code::GET, [".u", "c", _]) => {
                                match block::slice(self.body.len() as u64, request.block2) {
                                    Ok(slice) => {
                                        let head = ResponseHead {
                                            block2: slice.block2,
                                            ..ResponseHead::content(ContentFormat::OCTET_STREAM)
                                        };
                                        let range = slice.range.start as usize..slice.range.end as usize;
                                        reply.respond(&head, &self.body[range]);
                                    }
                                    Err(_) => reply.code(Code::BAD_REQUEST),
                                }
                            }
                            (Code::POST, [".u", "c", _]) => {
                                self.effects.push(request.payload.to_vec());
                                reply.code(Code::CHANGED);
                            }
                            (Code::DELETE, []) => reply.code(Code::DELETED),
                            _ => reply.code(Code::NOT_FOUND),
                        }
                        let written = reply.finish();
                        self.endpoint.answered(self.now, &request, written.as_ref());
                    }
                }
            }
            Incoming::Respond(automatic) => {
                automatic.write(mid, &mut out);
            }
            Incoming::Acknowledged(_) | Incoming::Rejected(_) | Incoming::PingAnswered => return self.due(),
            Incoming::Ignored(_) => {}
        }
        if !out.is_empty() && matches!(out[0] >> 4 & 0b11, 0 | 1) {
            self.next_mid = self.next_mid.wrapping_add(1);
        }
        Vec::from_iter((!out.is_empty()).then_some(out))
    }

    /// Something may have changed.
    fn push(&mut self) -> Vec<Vec<u8>> {
        self.endpoint.wake(false);
        self.due()
    }

    fn due(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some((relation, forced)) = self.endpoint.next_due() {
            if relation.sent != self.version || forced {
                sent.push(self.notify(relation));
            }
        }
        sent
    }

    fn notify(&mut self, relation: tessera::coap::Relation) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reply =
            self.endpoint
                .notification(&relation, MessageId(self.next_mid), self.unix_ms(), &mut out);
        self.next_mid = self.next_mid.wrapping_add(1);
        let head = ResponseHead {
            observe: true,
            ..ResponseHead::content(ContentFormat::CBOR)
        };
        reply.respond(&head, &[self.version as u8]);
        let written = reply.finish().unwrap();
        self.endpoint
            .notified(self.now, relation.resource, &written, self.version, &mut self.rng);
        out
    }

    /// Lets the time pass to `now`, which is when the endpoint wants to be woken.
    fn run_until(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.now = now;
        match self.endpoint.handle_timeout(now) {
            Some(Timeout::Retransmit(relation)) if relation.sent == self.version => {
                let mut out = Vec::new();
                let mut reply = self.endpoint.retransmission(&mut out).unwrap();
                let head = ResponseHead {
                    observe: true,
                    ..ResponseHead::content(ContentFormat::CBOR)
                };
                reply.respond(&head, &[self.version as u8]);
                vec![out]
            }
            Some(Timeout::Retransmit(relation)) => vec![self.notify(relation)],
            Some(Timeout::GaveUp(_) | Timeout::PingAgain | Timeout::PingUnanswered) | None => self.due(),
        }
    }

    fn complete_all(&mut self) -> Vec<Vec<u8>> {
        let waiting: Vec<_> = self.endpoint.pending().collect();
        let complete = |request| {
            let mut out = Vec::new();
            let mid = MessageId(self.next_mid);
            self.endpoint
                .complete(self.now, request, Code::CHANGED, mid, &mut out)
                .map(|_| out)
        };
        waiting.into_iter().filter_map(complete).collect()
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    fn unix_ms(&self) -> i64 {
        0x12_3456 * 10 + (self.now - self.start).as_millis() as i64
    }
}

/// A device that has one request at a time in flight, and acknowledges every notification.
struct Device {
    mid: u16,
    steps: VecDeque<Step>,
    in_flight: Option<(Vec<u8>, Instant, Duration)>,
    last_acknowledged: Option<MessageId>,
    downloaded: Vec<u8>,
    newest: u32,
    version: u32,
}

#[derive(Clone, Copy)]
enum Step {
    Observe,
    Block(u8),
    Report(u8),
}

struct Link {
    server: Server,
    device: Device,
    rng: StdRng,
    /// Datagrams on their way, by arrival: to the server or not.
    on_their_way: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    sent: u64,
}

impl Link {
    fn new(seed: u64) -> Link {
        let mut server = Server::new();
        server.body = (0..1000_u32).map(|byte| (byte * 7) as u8).collect();
        // As devices do it: reports before and after a download, not between its blocks. A device that remembers one
        // message ID could not tell a second answer to its last block apart after another exchange, and the
        // server, which has seen no newer block, owes that answer.
        let blocks = (0..16).map(Step::Block);
        let reports = |from, to| (from..to).map(Step::Report);
        let steps = [Step::Observe].into_iter();
        let steps = steps
            .chain(reports(0, 3))
            .chain(blocks)
            .chain(reports(3, REPORTS))
            .collect();
        let device = Device {
            mid: 0xfff8,
            steps,
            in_flight: None,
            last_acknowledged: None,
            downloaded: Vec::new(),
            newest: 0,
            version: 0,
        };
        Link {
            server,
            device,
            rng: StdRng::seed_from_u64(seed),
            on_their_way: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Runs until the device has done everything and nothing is in flight.
    fn run(&mut self) {
        for change in 0..200_000_u32 {
            self.start_request();
            let arrival = self.on_their_way.first_key_value().map(|((at, _), _)| *at);
            let retry = self.device.in_flight.as_ref().map(|(_, at, _)| *at);
            let server = self.server.endpoint.poll_timeout();
            let Some(now) = [arrival, retry, server].into_iter().flatten().min() else {
                return;
            };
            self.server.now = now;
            if change % 20 == 0 && self.server.version < 30 {
                self.server.version += 1;
                let pushed = self.server.push();
                self.send_to_device(pushed);
            }
            if arrival == Some(now) {
                let (_, (to_server, datagram)) = self.on_their_way.pop_first().unwrap();
                if to_server {
                    let answers = self.server.receive(&datagram);
                    self.send_to_device(answers);
                } else {
                    self.arrive(&datagram);
                }
            } else if server == Some(now) {
                let repeated = self.server.run_until(now);
                // Observation is for ever here: a device that lost it registers again.
                if self.server.endpoint.relations().count() == 0 {
                    self.device.steps.push_back(Step::Observe);
                }
                self.send_to_device(repeated);
            } else if let Some((datagram, at, wait)) = &mut self.device.in_flight {
                *wait = (*wait * 2).min(Duration::from_secs(20));
                *at = now + *wait;
                let datagram = datagram.clone();
                self.send_to_server(datagram);
            }
        }
        panic!("it does not come to an end");
    }

    fn start_request(&mut self) {
        if self.device.in_flight.is_some() {
            return;
        }
        let Some(step) = self.device.steps.front().copied() else {
            return;
        };
        let mid = format!("{:04x}", self.device.mid);
        self.device.mid = self.device.mid.wrapping_add(1);
        let datagram = match step {
            Step::Observe => observe(&mid, "aa"),
            Step::Block(num) => block_get(&mid, num),
            Step::Report(value) => report(&mid, REPORT_TOKEN + value, value),
        };
        let wait = Duration::from_millis(self.rng.random_range(2000..=3000));
        self.device.in_flight = Some((datagram.clone(), self.server.now + wait, wait));
        self.send_to_server(datagram);
    }

    fn arrive(&mut self, datagram: &[u8]) {
        let message = Message::parse(datagram).unwrap();
        let observed = message
            .option(number::OBSERVE)
            .map(|value| value.iter().fold(0, |n, b| n << 8 | u32::from(*b)));
        if let Some(seq) = observed
            && seq > self.device.newest
        {
            self.device.newest = seq;
            self.device.version = message.payload[0].into();
        }
        if message.kind == Kind::Confirmable {
            let [high, low] = message.mid.0.to_be_bytes();
            self.send_to_server(vec![0x60, 0, high, low]);
            return;
        }
        let Some(step) = self.device.steps.front().copied() else {
            return;
        };
        let awaited = match step {
            Step::Observe => 0xaa,
            Step::Block(_) => 0xbb,
            // Every request but those for one download has a token of its own.
            Step::Report(value) => REPORT_TOKEN + value,
        };
        // By token alone, but for a second copy of the answer it had last.
        if message.token.as_bytes() != [awaited] || self.device.last_acknowledged == Some(message.mid) {
            return;
        }
        self.device.last_acknowledged = Some(message.mid);
        if let Step::Block(_) = step {
            self.device.downloaded.extend_from_slice(message.payload);
        }
        self.device.steps.pop_front();
        self.device.in_flight = None;
    }

    fn send_to_server(&mut self, datagram: Vec<u8>) {
        for _ in 0..self.rng.random_range(1..=2) {
            if self.rng.random_bool(0.7) {
                let delay = Duration::from_millis(self.rng.random_range(1..5000));
                self.send(true, delay, datagram.clone());
            }
        }
    }

    /// In order, so that a late answer is the server's doing and not the link's.
    fn send_to_device(&mut self, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            if self.rng.random_bool(0.7) {
                self.send(false, Duration::from_millis(20), datagram);
            }
        }
    }

    fn send(&mut self, to_server: bool, delay: Duration, datagram: Vec<u8>) {
        self.sent += 1;
        self.on_their_way
            .insert((self.server.now + delay, self.sent), (to_server, datagram));
    }
}

/// A message taken apart, to compare.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    kind: Kind,
    code: u8,
    mid: u16,
    token: Vec<u8>,
    options: Vec<(u16, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Parts {
    fn of(message: &Message<'_>) -> Parts {
        Parts {
            kind: message.kind,
            code: message.code.byte(),
            mid: message.mid.0,
            token: message.token.as_bytes().to_vec(),
            options: message
                .options()
                .map(|option| (option.number, option.value.to_vec()))
                .collect(),
            payload: message.payload.to_vec(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let token = Token::new(&self.token).unwrap();
        let mut writer = MessageWriter::new(
            &mut out,
            self.kind,
            Code::from_byte(self.code),
            MessageId(self.mid),
            token,
        );
        for (number, value) in &self.options {
            writer.option(*number, value);
        }
        writer.payload(&self.payload);
        out
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let kind = prop_oneof![
        Just(Kind::Confirmable),
        Just(Kind::NonConfirmable),
        Just(Kind::Acknowledgement)
    ];
    let code = prop_oneof![1..=5_u8, Just(0x45), Just(0x5f), Just(0x84), Just(0xa3)];
    let number = prop_oneof![
        prop::sample::select(vec![1_u16, 3, 4, 6, 7, 11, 12, 14, 15, 17, 23, 27, 28, 35, 60]),
        0..400_u16,
        any::<u16>(),
    ];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..5),
        prop::collection::vec(any::<u8>(), 10..16),
        prop::collection::vec(any::<u8>(), 260..280),
    ];
    let options = prop::collection::vec((number, value), 0..6).prop_map(|mut options| {
        options.sort_by_key(|(number, _)| *number);
        options
    });
    let bytes = |len| prop::collection::vec(any::<u8>(), 0..len);
    (kind, code, any::<u16>(), bytes(9), options, bytes(40)).prop_map(
        |(kind, code, mid, token, options, payload)| Parts {
            kind,
            code,
            mid,
            token,
            options,
            payload,
        },
    )
}

fn get(options: &[(u16, &[u8])]) -> Vec<u8> {
    with_options(Code::GET, options)
}

fn with_options(code: Code, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, Kind::Confirmable, code, MessageId(1), Token::EMPTY);
    for (number, value) in options {
        writer.option(*number, value);
    }
    out
}

fn read(options: &[(u16, &[u8])]) -> Result<(), Code> {
    let bytes = with_options(Code::POST, options);
    Request::new(&Message::parse(&bytes).unwrap())
        .map(|_| ())
        .map_err(Refusal::code)
}

/// A registration for `.u/desired`.
fn observe(mid: &str, token: &str) -> Vec<u8> {
    hex(&format!("41 01 {mid} {token} 60 52 2e75 07 64657369726564 61 3c"))
}

/// A GET of `.u/c/p@1` for a block of 64 bytes.
fn block_get(mid: &str, num: u8) -> Vec<u8> {
    hex(&format!(
        "41 01 {mid} bb b2 2e75 01 63 03 704031 61 2a 61 {:02x}",
        num << 4 | 2
    ))
}

/// A report of one byte to `.u/c/p`.
fn post(mid: &str, value: u8) -> Vec<u8> {
    report(mid, 0xcc, value)
}

/// The same with another token.
fn report(mid: &str, token: u8, value: u8) -> Vec<u8> {
    hex(&format!(
        "41 02 {mid} {token:02x} b2 2e75 01 63 01 70 11 3c ff {value:02x}"
    ))
}

/// A POST to `d`, which is answered later.
fn deferred_post(mid: &str) -> Vec<u8> {
    hex(&format!("41 02 {mid} dd b1 64 ff 01"))
}

/// A block of a report to `.u/c/p`: the value of its Block1 option, in hexadecimal, and its bytes.
fn upload(mid: &str, block1: &str, payload: &[u8]) -> Vec<u8> {
    let len = block1.len() / 2;
    hex(&format!(
        "41 02 {mid} cc b2 2e75 01 63 01 70 11 3c d{len} 02 {block1} ff"
    ))
    .with(payload)
}

fn code_of(answers: &[Vec<u8>]) -> Code {
    assert_eq!(answers.len(), 1);
    Message::parse(&answers[0]).unwrap().code
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    assert_eq!(digits.len() % 2, 0, "{text}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

trait With {
    fn with(self, more: &[u8]) -> Self;
}

impl With for Vec<u8> {
    fn with(mut self, more: &[u8]) -> Vec<u8> {
        self.extend_from_slice(more);
        self
    }
}

const REPORTS: u8 = 6;
const REPORT_TOKEN: u8 = 0xc0;
