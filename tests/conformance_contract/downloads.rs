//! Section 6: artifacts, block by block.

use crate::device::{Device, GET, con, image};
use crate::support::noise;

/// `.u/c/main@1.0.0`, Accept 42, and a Block2 of one byte to come.
const MAIN: &[u8] = b"\xb2.u\x01c\x0amain@1.0.0\x61\x2a\x61";

#[test]
fn contract_6_a_download_with_one_token_brings_every_byte() {
    let mut device = Device::new("download-whole");
    let mut bytes = Vec::new();
    for num in 0..3_u8 {
        let heard = device.asked(&con(
            GET,
            u16::from(num),
            b"transfer",
            &[MAIN, &[num << 4 | 6]].concat(),
        ));
        assert_eq!((heard.code.as_str(), heard.option(12)), ("2.05", Some(&[42][..])));
        assert_eq!(heard.option(28), Some(&[0x0b, 0xb8][..]), "Size2 is the whole");
        let more = if num < 2 { 8 } else { 0 };
        assert_eq!(heard.option(23), Some(&[num << 4 | more | 6][..]));
        bytes.extend(heard.payload);
    }
    assert_eq!(bytes, image());
}

#[test]
fn contract_6_one_block_is_answered_with_block2_where_it_is_asked_for_and_without_where_not() {
    let mut device = Device::new("download-one");
    let heard = device.asked(&con(GET, 1, b"t", b"\xb2.u\x01c\x07small@1\x61\x2a\x61\x06"));
    assert_eq!(
        (heard.option(23), &heard.payload),
        (Some(&[6][..]), &noise(3, 1024))
    );
    let heard = device.asked(&con(GET, 2, b"t", b"\xb2.u\x01c\x07small@1\x61\x2a"));
    assert_eq!((heard.option(23), &heard.payload), (None, &noise(3, 1024)));
}

#[test]
fn contract_6_a_block_past_the_end_is_bad_and_an_unknown_artifact_not_found() {
    let mut device = Device::new("download-errors");
    for (mid, bits) in [(1, &[0x36][..]), (2, &[0x46]), (3, &[0xff, 0xff, 0xf6])] {
        let request = [&MAIN[..MAIN.len() - 1], &[0x60 | bits.len() as u8], bits].concat();
        assert_eq!(
            device.asked(&con(GET, mid, b"t", &request)).code,
            "4.00",
            "{bits:02x?}"
        );
    }
    for (mid, path) in (10..).zip([
        &b"\x0amain@1.0.9"[..],
        b"\x0aMAIN@1.0.0",
        b"\x0aother@1.00",
        b"\x05main@",
    ]) {
        let request = [b"\xb2.u\x01c", path, b"\x61\x2a\x61\x06"].concat();
        assert_eq!(
            device.asked(&con(GET, mid, b"t", &request)).code,
            "4.04",
            "{}",
            path.escape_ascii()
        );
    }
}

#[test]
fn contract_6_a_download_goes_on_at_any_block_with_another_token_and_in_another_session() {
    let mut device = Device::new("download-resumed");
    let first = device.asked(&con(GET, 1, b"before", &[MAIN, &[0x06]].concat()));
    device.reboot();
    let second = device.asked(&con(GET, 1, b"after", &[MAIN, &[0x16]].concat()));
    let third = device.asked(&con(GET, 9, b"another", &[MAIN, &[0x26]].concat()));
    assert_eq!([first.payload, second.payload, third.payload].concat(), image());
    let again = device.asked(&con(GET, 3, b"back", &[MAIN, &[0x06]].concat()));
    assert_eq!(again.payload, image()[..1024]);
}

#[test]
fn contract_6_without_a_block_in_the_first_request_the_server_begins_and_then_does_as_it_is_asked() {
    let mut device = Device::new("download-blockless");
    let path = b"\xb2.u\x01c\x0amain@1.0.0\x61\x2a";
    let first = device.asked(&con(GET, 1, b"transfer", path));
    assert_eq!(
        (first.option(23), &first.payload[..]),
        (Some(&[0x0e][..]), &image()[..1024])
    );
    // It goes on smaller: block 8 of 128 begins where the first one ended.
    let (mut bytes, mut num) = (first.payload, 8_u16);
    loop {
        let request = [&path[..], &[0x62], &(num << 4 | 3).to_be_bytes()].concat();
        let heard = device.asked(&con(GET, num, b"transfer", &request));
        let given = heard
            .option(23)
            .unwrap()
            .iter()
            .fold(0, |bits, byte| bits << 8 | u16::from(*byte));
        assert_eq!((given >> 4, given & 7), (num, 3));
        bytes.extend(heard.payload);
        if given & 8 == 0 {
            break;
        }
        num += 1;
    }
    assert_eq!(bytes, image());
}

#[test]
fn contract_6_an_artifact_is_immutable_by_its_path_and_never_empty() {
    let mut device = Device::new("download-immutable");
    let put = |path: &str, bytes: &[u8]| {
        device
            .server
            .send("PUT", path, "application/octet-stream", &[], bytes)
            .0
    };
    assert_eq!(
        put("packages/main/artifacts/1.0.0", &image()),
        200,
        "the same bytes again"
    );
    assert_eq!(put("packages/main/artifacts/1.0.0", b"others"), 409);
    assert_eq!(put("packages/main/artifacts/empty", b""), 422);
    let heard = device.asked(&con(GET, 1, b"t", &[MAIN, &[0x06]].concat()));
    assert_eq!(heard.payload, image()[..1024]);
}

#[test]
fn contract_6_names_keep_to_what_both_ports_cut_alike() {
    let device = Device::new("download-names");
    let put = |version: &str| {
        let path = format!("packages/main/artifacts/{version}");
        device
            .server
            .send("PUT", &path, "application/octet-stream", &[], b"x")
            .0
    };
    for version in ["1.2.3-rc.1+build_5", "V1", "v1"] {
        assert_eq!(put(version), 201, "{version}");
    }
    for version in ["a%2Fb", "a%3Fb", "a%23b", "a%25b", "a@b", "a%20b", "%C3%A9"] {
        let status = put(version);
        assert!(matches!(status, 400 | 404 | 422), "{version}: {status}");
    }
}
