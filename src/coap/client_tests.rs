#![allow(clippy::unwrap_used)]

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn heard(bytes: &[u8]) -> Response<'_> {
    match Heard::parse(bytes).unwrap() {
        Heard::Response(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_registration_by_hand() {
    let mut out = Vec::new();
    let token = Token::from([0x11; 8]);
    let request = Outgoing {
        path: &[".u", "desired"],
        observe: Some(ObserveRequest::Register),
        accept: Some(ContentFormat::CBOR),
        ..Outgoing::new(Method::Get, token)
    };
    request.write(Kind::Confirmable, MessageId(1), &mut out);
    assert_eq!(
        out,
        b"\x48\x01\x00\x01\x11\x11\x11\x11\x11\x11\x11\x11\x60\x52.u\x07desired\x61\x3c"
    );
}

#[test]
fn what_comes_is_told_apart() {
    assert!(matches!(
        Heard::parse(b"\x70\x00\x00\x05"),
        Ok(Heard::Reset { mid: MessageId(5) })
    ));
    assert!(matches!(
        Heard::parse(b"\x60\x00\x00\x05"),
        Ok(Heard::Acknowledgement { mid: MessageId(5) })
    ));
    assert!(matches!(
        Heard::parse(b"\x40\x00\x00\x05"),
        Ok(Heard::Ping { mid: MessageId(5) })
    ));
    assert!(matches!(
        Heard::parse(b"\x40\x01\x00\x05"),
        Ok(Heard::Request { mid: MessageId(5) })
    ));
    assert_eq!(
        Heard::parse(b"\x40\x01\x00\x05\xff").unwrap_err(),
        FormatError::EmptyPayload
    );
    let response = heard(b"\x41\x45\x00\x05\xaa\x63\x01\x02\x03\x61\x3c\xb1\x0e\x51\x10\xff\xa0");
    assert_eq!((response.kind, response.code), (Kind::Confirmable, Code::CONTENT));
    assert_eq!(response.observe, ObserveSeq::new(0x01_0203));
    assert_eq!(response.content_format, Some(ContentFormat::CBOR));
    assert!(response.block2.unwrap().more);
    assert_eq!((response.size2, response.payload), (Some(16), b"\xa0".as_slice()));
}

#[test]
fn rfc7252_4_2_silence_doubles_the_wait_and_then_gives_up() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let start = Instant::now();
        let patience = Duration::from_secs(40);
        let mut exchange = Exchange::new(start, MessageId(1), Token::EMPTY, patience, &mut rng);
        let first = exchange.poll_timeout() - start;
        assert!((2000..=3000).contains(&first.as_millis()));
        assert_eq!(exchange.handle_timeout(start), None);
        for factor in [1, 3, 7] {
            assert_eq!(exchange.poll_timeout(), start + first * factor);
            assert_eq!(
                exchange.handle_timeout(start + first * factor),
                Some(Overdue::Resend)
            );
        }
        let end = exchange.poll_timeout();
        assert!(end <= start + patience);
        assert_eq!(exchange.handle_timeout(start + patience), Some(Overdue::GiveUp));
    }
}

#[test]
fn rfc7252_4_2_a_request_repeated_three_times_is_given_up_after_fifteen_waits() {
    let (start, mut rng) = (Instant::now(), StdRng::seed_from_u64(3));
    let mut exchange = Exchange::repeated(start, MessageId(1), Token::EMPTY, 3, &mut rng);
    let first = exchange.poll_timeout() - start;
    for factor in [1, 3, 7] {
        assert_eq!(exchange.poll_timeout(), start + first * factor);
        assert_eq!(
            exchange.handle_timeout(start + first * factor),
            Some(Overdue::Resend)
        );
    }
    assert_eq!(exchange.poll_timeout(), start + first * 15);
    assert_eq!(exchange.handle_timeout(start + first * 15), Some(Overdue::GiveUp));
}

#[test]
fn a_short_sighted_client_sees_nothing_from_the_first_long_option_on() {
    // Observe, a Location-Path of 13 bytes, Block2.
    let bytes = b"\x60\x45\x00\x05\x61\x07\x2d\x00abcdefghijklm\xd1\x02\x0e\xff!";
    let seen = |longest| match Heard::parse_short_sighted(bytes, longest).unwrap() {
        Heard::Response(response) => (response.observe.is_some(), response.block2.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(13), (true, true));
    assert_eq!(seen(12), (true, false));
}

#[test]
fn an_answer_is_known_by_token_and_an_acknowledgement_by_its_message_id_too() {
    let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
    let token = Token::new(&[0xaa]).unwrap();
    let mut exchange = Exchange::new(now, MessageId(5), token, Duration::from_secs(10), &mut rng);
    assert!(exchange.is_answered_by(&heard(b"\x61\x45\x00\x05\xaa")));
    assert!(
        !exchange.is_answered_by(&heard(b"\x61\x45\x00\x06\xaa")),
        "late answer to an earlier block"
    );
    assert!(
        exchange.is_answered_by(&heard(b"\x51\x45\x00\x09\xaa")),
        "separate"
    );
    assert!(!exchange.is_answered_by(&heard(b"\x51\x45\x00\x09\xab")));
    exchange.acknowledge(MessageId(4));
    assert!(exchange.poll_timeout() < now + Duration::from_secs(10));
    exchange.acknowledge(MessageId(5));
    assert_eq!(exchange.poll_timeout(), now + Duration::from_secs(10));
    assert_eq!(exchange.handle_timeout(now + Duration::from_secs(9)), None);
}

#[test]
fn rfc7641_3_4_an_older_number_is_taken_again_after_128_seconds() {
    let now = Instant::now();
    let seq = |value| ObserveSeq::new(value).unwrap();
    let mut freshness = Freshness::default();
    assert!(freshness.admit(now, seq(10)));
    assert!(!freshness.admit(now, seq(10)));
    assert!(!freshness.admit(now + Duration::from_secs(128), seq(9)));
    assert!(freshness.admit(now + Duration::from_secs(129), seq(9)));
    assert!(freshness.admit(now + Duration::from_secs(129), seq(10)));
}

#[test]
fn a_download_goes_block_by_block() {
    let mut download = Download::new(Szx::MIN);
    let block = |num, more| Block {
        num: BlockNum::new(num).unwrap(),
        more,
        szx: Szx::MIN,
    };
    let answer = |block: Block, payload: &'static [u8]| Response {
        block2: Some(block),
        payload,
        ..heard(b"\x60\x45\0\x01")
    };
    assert_eq!(
        download.step(&answer(block(0, true), &[0; 16])),
        Step::More(block(1, false))
    );
    assert_eq!(
        download.step(&answer(block(0, true), &[0; 16])),
        Step::Mismatch,
        "the first again"
    );
    assert_eq!(
        download.step(&answer(block(1, true), &[0; 15])),
        Step::Mismatch,
        "too short"
    );
    let larger = Block {
        szx: Szx::MAX,
        ..block(1, true)
    };
    assert_eq!(
        download.step(&answer(larger, &[0; 16])),
        Step::Mismatch,
        "another size"
    );
    assert_eq!(
        download.step(&heard(b"\x60\x84\0\x01")),
        Step::Refused(Code::NOT_FOUND)
    );
    assert_eq!(download.step(&answer(block(1, false), &[0; 3])), Step::Done);
    let mut whole = Download::new(Szx::MIN);
    assert_eq!(
        whole.step(&heard(b"\x60\x45\0\x01\xffall of it, more than one block")),
        Step::Done
    );
    let mut last = Download::resume(block(0xf_ffff, false));
    assert_eq!(
        last.step(&answer(block(0xf_ffff, true), &[0; 16])),
        Step::Mismatch,
        "cannot go on"
    );
}
