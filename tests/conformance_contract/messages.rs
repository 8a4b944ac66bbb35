//! Section 2: how devices put their requests. What needs virtual time (retransmission, giving up) is held in
//! `conformance_coap.rs`.

use crate::device::{
    ACK, DELETE, DESIRED, Device, GET, Heard, NON, NOTHING, OBSERVE, POST, ack, con, golden, image, message,
};

#[test]
fn contract_2_a_token_of_any_length_comes_back() {
    let mut device = Device::new("tokens");
    for length in 0..=8_u16 {
        let token = &b"\0\x01\x02\x03\xff\0\0\0"[..usize::from(length)];
        assert_eq!(
            device.ask(&con(GET, length, token, DESIRED)),
            ack(0x45, length, token, NOTHING)
        );
    }
}

#[test]
fn contract_2_numbers_in_options_may_have_leading_zeros() {
    let mut device = Device::new("leading-zeros");
    let desired = b"\x61\x00\x52.u\x07desired\x62\x00\x3c";
    let heard = device.asked(&con(GET, 1, b"t", desired));
    assert_eq!((heard.code.as_str(), &heard.payload[..]), ("2.05", &[0xa0][..]));
    assert!(heard.observe().is_some(), "a zero of one byte registers, too");
    let block = b"\xb2.u\x01c\x0amain@1.0.0\x62\x00\x2a\x64\x00\x00\x00\x16";
    assert_eq!(
        device.asked(&con(GET, 2, b"t", block)).payload,
        image()[1024..2048]
    );
    let report = b"\xb2.u\x01c\x04main\x12\x00\x3c\xff\xa1\x61s\x01";
    assert_eq!(device.asked(&con(POST, 3, b"t", report)).code, "2.04");
    // 255 in two bytes and 65535 in three, as one helper of the SDK writes them.
    let block = b"\xb2.u\x01c\x0amain@1.0.0\xc2\x00\xf0";
    assert_eq!(device.asked(&con(GET, 4, b"t", block)).payload, image()[240..256]);
    let past = b"\xb2.u\x01c\x0amain@1.0.0\xc3\x00\xff\xf6";
    assert_eq!(device.asked(&con(GET, 5, b"t", past)).code, "4.00");
}

#[test]
fn contract_2_a_post_with_content_format_and_accept_and_a_delete_with_accept_are_served() {
    let mut device = Device::new("accepts");
    let report = b"\xb2.u\x01c\x04main\x11\x3c\x51\x3c\xff\xa2\x61s\x01\x61v\x611";
    assert_eq!(device.ask(&con(POST, 1, b"t", report)), ack(0x44, 1, b"t", b""));
    assert_eq!(
        device.ask(&con(DELETE, 2, b"t", b"\xb2.d\x01x\x61\x2a")),
        ack(0x42, 2, b"t", b"")
    );
}

#[test]
fn contract_2_an_observation_is_cancelled_with_its_own_token() {
    let (mut device, sequence) = Device::deployed("cancel");
    let registered = device.asked(&con(GET, 1, b"observer", OBSERVE));
    assert_eq!(
        (&registered.payload, registered.token.as_slice()),
        (&golden(sequence), &b"observer"[..])
    );
    let cancelled = device.asked(&con(GET, 2, b"observer", b"\x61\x01\x52.u\x07desired\x61\x3c"));
    assert_eq!(
        (&cancelled.payload, cancelled.observe()),
        (&golden(sequence), None)
    );
    device.deploy("second", &[("main", "1.0.1")]);
    device.hear_nothing();
}

#[test]
fn contract_2_requests_in_flight_together_are_all_answered() {
    let (mut device, _) = Device::deployed("parallel");
    // A report and the first block, within a millisecond; and four requests more.
    device.send(&con(
        POST,
        1,
        b"report",
        b"\xb2.u\x01c\x04main\x11\x3c\xff\xa1\x61s\x01",
    ));
    device.send(&con(
        GET,
        2,
        b"block",
        b"\xb2.u\x01c\x0amain@1.0.0\x61\x2a\x61\x06",
    ));
    device.send(&con(GET, 3, b"desired", DESIRED));
    device.send(&con(POST, 4, b"log", b"\xb4logs\x11\x3c\xff\xa1\x63msg\x62up"));
    device.send(&con(
        POST,
        5,
        b"report",
        b"\xb2.u\x01c\x04main\x11\x3c\xff\xa1\x61s\x02",
    ));
    device.send(b"\x50\x00\x00\x06");
    let mut heard: Vec<(u16, String)> = (0..6)
        .map(|_| Heard::read(&device.hear()))
        .map(|heard| (heard.mid, heard.code))
        .collect();
    heard.sort();
    let codes = ["2.04", "2.05", "2.05", "2.04", "2.04", "0.00"].map(str::to_owned);
    assert_eq!(heard, (1..).zip(codes).collect::<Vec<_>>());
    assert_eq!(device.package("main")["stateNumber"], 2);
}

#[test]
fn contract_2_a_non_confirmable_request_gets_no_ack() {
    let mut device = Device::new("non");
    device.send(&message(
        NON,
        POST,
        1,
        b"log",
        b"\xb4logs\x11\x3c\xff\xa1\x63msg\x62up",
    ));
    device.send(&message(NON, GET, 2, b"get", DESIRED));
    device.send(&con(GET, 3, b"con", DESIRED));
    loop {
        let heard = Heard::read(&device.hear());
        if heard.token == b"con" {
            assert_eq!((heard.kind, heard.mid), (ACK, 3));
            break;
        }
        assert_eq!(heard.kind, NON, "{heard:?}");
        assert!(heard.code.starts_with("2.0"), "{heard:?}");
    }
}
