#![allow(clippy::unwrap_used)]

use super::*;
use crate::coap::{BlockNum, Szx};

fn address() -> Address {
    let token = Token::new(&[0xaa]).unwrap();
    Address {
        kind: Kind::Acknowledgement,
        mid: MessageId(0x0102),
        token,
        observe: None,
        block1: None,
    }
}

#[test]
fn all_options_stand_in_the_order_of_their_numbers() {
    let mut out = vec![0x77];
    let block = |num| Block {
        num: BlockNum::new(num).unwrap(),
        more: true,
        szx: Szx::MAX,
    };
    let address = Address {
        observe: ObserveSeq::new(0x01_0203),
        block1: Some(block(1)),
        ..address()
    };
    let mut reply = Reply::new(&mut out, address);
    let head = ResponseHead {
        etag: ETag::new(&[1, 2]),
        observe: true,
        max_age: Some(60),
        block2: Some(block(4096)),
        size2: Some(0x0100_0000),
        ..ResponseHead::content(ContentFormat::CBOR)
    };
    reply.respond(&head, b"body");
    let written = reply.finish().unwrap();
    assert_eq!(
        (written.code, written.mid, written.observe),
        (Code::CONTENT, MessageId(0x0102), address.observe)
    );
    let by_hand = [
        b"\x77\x61\x45\x01\x02\xaa".as_slice(),
        b"\x42\x01\x02",
        b"\x23\x01\x02\x03",
        b"\x61\x3c",
        b"\x21\x3c",
        b"\x93\x01\x00\x0e",
        b"\x41\x1e",
        b"\x14\x01\x00\x00\x00",
        b"\xffbody",
    ];
    assert_eq!(out, by_hand.concat());
}

#[test]
fn no_answer_leaves_nothing() {
    let mut out = vec![1, 2, 3];
    assert_eq!(Reply::new(&mut out, address()).finish(), None);
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn the_last_answer_counts() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, address());
    reply.respond(&ResponseHead::content(ContentFormat::TEXT), b"long and wrong");
    reply.code(Code::NOT_FOUND);
    assert_eq!(reply.finish().unwrap().code, Code::NOT_FOUND);
    assert_eq!(out, b"\x61\x84\x01\x02\xaa");
}

#[test]
fn rule_4_more_than_1024_bytes_never_go_out() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, address());
    reply.respond(&ResponseHead::new(Code::CONTENT), &[0; 1025]);
    assert!(
        reply
            .respond_with(&ResponseHead::new(Code::CONTENT), 1025, |_| Ok(()))
            .is_err()
    );
    assert_eq!(reply.finish(), None);

    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, address());
    reply.respond(&ResponseHead::new(Code::CONTENT), &[0; 1025]);
    assert_eq!(reply.finish().unwrap().code, Code::INTERNAL_SERVER_ERROR);
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, address());
    reply.respond(&ResponseHead::new(Code::CONTENT), &[0; 1024]);
    assert_eq!(reply.finish().unwrap().code, Code::CONTENT);
}

#[test]
fn what_does_not_fit_the_peer_can_be_said_otherwise_or_taken_back() {
    let mut out = b"before".to_vec();
    let mut reply = Reply::new(&mut out, address()).within(100);
    reply.respond(&ResponseHead::new(Code::CONTENT), &[0; 100]);
    assert!(!reply.fits());
    reply.respond(&ResponseHead::new(Code::CONTENT), &[0; 10]);
    assert!(reply.fits(), "what was there before does not count");
    reply.clear();
    assert_eq!(reply.finish(), None);
    assert_eq!(out, b"before");
}

#[test]
fn a_block_that_cannot_be_read_can_still_be_answered() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, address());
    let failed = reply.respond_with(&ResponseHead::new(Code::CONTENT), 3, |_| {
        Err(io::ErrorKind::UnexpectedEof.into())
    });
    assert!(failed.is_err());
    reply.code(Code::INTERNAL_SERVER_ERROR);
    assert!(reply.finish().is_some());
    assert_eq!(out, b"\x61\xa0\x01\x02\xaa");

    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, address());
    reply
        .respond_with(&ResponseHead::new(Code::CONTENT), 3, |space| {
            space.copy_from_slice(b"abc");
            Ok(())
        })
        .unwrap();
    assert_eq!(out, b"\x61\x45\x01\x02\xaa\xffabc");
}

#[test]
fn rfc7641_4_2_no_number_without_an_observation() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, address());
    reply.respond(
        &ResponseHead {
            observe: true,
            ..ResponseHead::new(Code::CONTENT)
        },
        &[0xa0],
    );
    assert_eq!(out, b"\x61\x45\x01\x02\xaa\xff\xa0");
}
