//! Section 7: what a device of each SDK generation says from its connection to its update, as a short dialogue.

use serde_json::Value;

use crate::device::{
    DELETE, DESIRED, Device, GET, Heard, NON, NOTHING, OBSERVE, POST, ack, con, golden, image, message,
};
use crate::support::sha256_hex;

const JSON_REPORT: &[u8] =
    b"\xb2.u\x01c\x04main\x11\x32\xff{\"state\":1,\"reason\":0,\"package\":\"main\",\"version\":\"0.9.0\",\"target\":\"1.0.0\"}";

#[test]
fn contract_7_esp_idf_below_0_5_says_content_format_where_others_say_accept() {
    let (mut device, sequence) = Device::deployed("sdk-0-4");
    // Content-Format 50 in a GET, and Observe; no Accept.
    let registered = device.asked(&con(GET, 1, b"\x01\x02", b"\x60\x52.u\x07desired\x11\x32"));
    assert_eq!(
        (registered.code.as_str(), registered.option(12)),
        ("2.05", Some(&[50][..]))
    );
    let path = json_path(&registered, sequence);
    assert_eq!(
        device.ask(&con(POST, 2, b"\x03", JSON_REPORT)),
        ack(0x44, 2, b"\x03", b"")
    );
    let bytes = download(&mut device, &path, b"\x11\x2a\xb1");
    assert_eq!(sha256_hex(&bytes), sha256_hex(&image()));
    // Content-Format 60 means CBOR, and neither of them means JSON.
    let cbor = device.asked(&con(GET, 50, b"\x04", b"\xb2.u\x07desired\x11\x3c"));
    assert_eq!(
        (cbor.option(12), &cbor.payload),
        (Some(&[60][..]), &golden(sequence))
    );
    let unsaid = device.asked(&con(GET, 51, b"\x05", b"\xb2.u\x07desired"));
    assert_eq!(
        (unsaid.option(12), &unsaid.payload),
        (Some(&[50][..]), &registered.payload)
    );
    device.deploy("second", &[("first", "1")]);
    let pushed = device.notified();
    assert_eq!(
        (pushed.option(12), pushed.payload[0]),
        (Some(&[50][..]), b'{'),
        "pushed in the form it registered with"
    );
}

#[test]
fn contract_7_esp_idf_below_0_8_speaks_json_and_builds_the_path_itself() {
    let (mut device, sequence) = Device::deployed("sdk-0-7");
    let registered = device.asked(&con(
        GET,
        1,
        b"\x01\x02\x03\x04",
        b"\x60\x52.u\x07desired\x61\x32",
    ));
    assert_eq!(
        (registered.code.as_str(), registered.option(12)),
        ("2.05", Some(&[50][..]))
    );
    let path = json_path(&registered, sequence);
    assert_eq!(
        device.ask(&con(POST, 2, b"r", JSON_REPORT)),
        ack(0x44, 2, b"r", b"")
    );
    assert_eq!(device.package("main")["target"], "1.0.0");
    assert_eq!(download(&mut device, &path, b"\x61\x2a\x61"), image());
    let idle = device.asked(&con(GET, 40, b"i", b"\xb2.d\x03led\x61\x32"));
    assert_eq!(idle.payload, b"null");
    let mut nobody = Device::new("sdk-0-7-nothing");
    let nothing = nobody.ask(&con(GET, 1, b"n", b"\x60\x52.u\x07desired\x61\x32"));
    assert_eq!(Heard::read(&nothing).payload, b"{}");
}

#[test]
fn contract_7_sdk_0_8_to_0_10_reads_cbor_with_keys_1_2_and_4() {
    let (mut device, _) = Device::deployed("sdk-0-9");
    let registered = device.asked(&con(GET, 1, b"\x01\x02\x03\x04", OBSERVE));
    let component = component(&registered.payload);
    for key in [1, 2, 4] {
        assert!(component.iter().any(|(have, _)| *have == key), "key {key}");
    }
    // The path is still the client's own work.
    assert_eq!(download(&mut device, b"\x0amain@1.0.0", b"\x61\x32\x61"), image());
    let report = b"\xb2.u\x01c\x04main\x11\x3c\xff\xa4\x65state\x02\x66reason\x00\x67package\x64main\x67version\x651.0.0";
    assert_eq!(device.ask(&con(POST, 40, b"r", report)), ack(0x44, 40, b"r", b""));
}

#[test]
fn contract_7_sdk_0_11_to_0_21_reads_six_keys_and_a_type_of_seven_bytes() {
    let (mut device, sequence) = Device::deployed("sdk-0-17");
    let registered = device.asked(&con(GET, 1, b"\x01\0\0\0\0\0\0\0", OBSERVE));
    assert_eq!(registered.payload, golden(sequence));
    let component = component(&registered.payload);
    assert_eq!(
        component.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    let (_, kind) = &component[5];
    assert!(kind == "default" || kind == "mcuboot", "{kind}");
    assert!(kind.len() <= 7);
}

#[test]
fn contract_7_sdk_up_to_0_15_fetches_components_with_accept_json_and_zephyr_below_0_19_with_none() {
    let mut device = Device::new("sdk-0-15");
    assert_eq!(download(&mut device, b"\x0amain@1.0.0", b"\x61\x32\x61"), image());
    assert_eq!(download(&mut device, b"\x0amain@1.0.0", b"\xc1"), image());
}

#[test]
fn contract_7_sdk_below_0_17_has_tokens_of_any_length() {
    let (mut device, sequence) = Device::deployed("sdk-0-16");
    // libcoap counts its tokens up from one byte, and two requests of a session never have the same.
    let registered = device.asked(&con(GET, 1, b"\xfe", OBSERVE));
    assert_eq!(registered.payload, golden(sequence));
    let report = b"\xb2.u\x01c\x04main\x11\x3c\xff\xbf\x61s\x00\x61r\x00\x61v\x650.9.0\xff";
    assert_eq!(
        device.ask(&con(POST, 2, b"\xff", report)),
        ack(0x44, 2, b"\xff", b"")
    );
    assert_eq!(
        device.ask(&con(POST, 3, b"\x01\x00", report)),
        ack(0x44, 3, b"\x01\x00", b"")
    );
    let second = device.deploy("second", &[("main", "1.0.0")]);
    let pushed = device.notified();
    assert_eq!(
        (pushed.token.as_slice(), pushed.payload),
        (&b"\xfe"[..], golden(second))
    );
    assert_eq!(
        device.ask(&con(DELETE, 4, b"\x01\x01", b"")),
        ack(0x42, 4, b"\x01\x01", b"")
    );
}

#[test]
fn contract_7_zephyr_below_0_15_pings_with_an_empty_con() {
    let mut device = Device::new("sdk-0-14");
    device.asked(&con(GET, 1, b"observer", OBSERVE));
    for mid in [2, 3, 4] {
        assert_eq!(
            device.ask(&message(0x40, 0, mid, b"", b"")),
            message(0x70, 0, mid, b"", b"")
        );
    }
    let sequence = device.deploy("first", &[("main", "1.0.0")]);
    assert_eq!(
        device.notified().payload,
        golden(sequence),
        "and the observation stands"
    );
}

#[test]
fn contract_7_sdk_below_0_21_lives_by_its_observation_alone() {
    let mut device = Device::new("sdk-0-20");
    assert_eq!(
        device.asked(&con(GET, 1, b"\x01\0\0\0\0\0\0\0", OBSERVE)).payload,
        [0xa0]
    );
    for (name, version) in [("up", "1.0.0"), ("further", "1.0.1"), ("back", "1.0.0")] {
        let sequence = device.deploy(name, &[("main", version)]);
        let pushed = device.notified();
        assert_eq!(pushed.payload == golden(sequence), version == "1.0.0", "{name}");
        let said = [
            b"\xb2.u\x01c\x04main\x11\x3c\xff\xbf\x61s\x03\x61r\x01\x61v\x65",
            version.as_bytes(),
            b"\xff",
        ]
        .concat();
        assert_eq!(
            device.asked(&con(POST, 10 + sequence as u16, b"r", &said)).code,
            "2.04"
        );
        assert_eq!(device.package("main")["version"], version);
    }
}

#[test]
fn contract_7_sdk_from_0_22_logs_below_s_and_asks_for_a_certificate() {
    let (mut device, sequence) = Device::deployed("sdk-0-22");
    let token = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
    let log = b"\xb2.s\x04logs\x11\x3c\xff\xbf\x65level\x64info\x66module\x63app\x63msg\x62up\xff";
    assert_eq!(
        device.ask(&con(POST, 1, &token(1), log)),
        ack(0x44, 1, &token(1), b"")
    );
    let csr = con(POST, 2, &token(2), b"\xb2v1\x03csr\x11\x2a\xff\x30\x00");
    assert_eq!(device.ask(&csr), ack(0x84, 2, &token(2), b""));
    assert_eq!(
        device.asked(&con(GET, 3, &token(3), OBSERVE)).payload,
        golden(sequence)
    );
    // The daily poll, and the manifest in blocks.
    assert_eq!(
        device.asked(&con(GET, 4, &token(4), DESIRED)).payload,
        golden(sequence)
    );
    let block = device.asked(&con(GET, 5, &token(5), &[DESIRED, b"\x61\x06"].concat()));
    assert_eq!(
        (block.option(23), &block.payload),
        (Some(&[6][..]), &golden(sequence))
    );
    assert_eq!(download(&mut device, b"\x0amain@1.0.0", b"\x61\x2a\x61"), image());
}

#[test]
fn contract_7_golioth_zephyr_sdk_greets_logs_without_waiting_and_leaves_the_block_size_to_the_server() {
    let (mut device, sequence) = Device::deployed("sdk-zephyr-old");
    assert_eq!(
        device.ask(&con(GET, 1, b"\x9a\x7f", b"\xb5hello")),
        ack(0x45, 1, b"\x9a\x7f", b"\xc0\xffHello sdk-zephyr-old")
    );
    // Logs are NON, and nothing waits for their answers.
    for mid in 2..6 {
        let log = b"\xb4logs\x11\x3c\xff\xa4\x63msg\x62up\x65level\x64info\x66module\x63net\x65index\x00";
        device.send(&message(NON, POST, mid, b"\x9a\x80", log));
    }
    let registered = device.asked(&con(GET, 6, b"\x9a\x81", OBSERVE));
    assert_eq!(registered.payload, golden(sequence));
    // No package in the report: the path's is meant.
    let report = b"\xb2.u\x01c\x04main\x11\x3c\xff\xa3\x61s\x01\x61r\x00\x61t\x651.0.0";
    assert_eq!(
        device.ask(&con(POST, 7, b"\x9a\x82", report)),
        ack(0x44, 7, b"\x9a\x82", b"")
    );
    assert_eq!(device.package("main")["target"], "1.0.0");

    let path = b"\xb2.u\x01c\x0amain@1.0.0";
    let first = device.asked(&con(GET, 8, b"\x9a\x83", path));
    assert_eq!(first.option(23), Some(&[0x0e][..]), "the server says 1024");
    let second = device.asked(&con(GET, 9, b"\x9a\x83", &[&path[..], b"\xc1\x16"].concat()));
    let third = device.asked(&con(GET, 10, b"\x9a\x83", &[&path[..], b"\xc1\x26"].concat()));
    assert_eq!([first.payload, second.payload, third.payload].concat(), image());
    assert_eq!(
        device.ask(&message(0x40, 0, 11, b"", b"")),
        message(0x70, 0, 11, b"", b"")
    );
    let mut nobody = Device::new("sdk-zephyr-old-nothing");
    assert_eq!(
        nobody.ask(&con(GET, 1, b"t", DESIRED)),
        ack(0x45, 1, b"t", NOTHING)
    );
}

/// The last segment of the path that a JSON client builds from its manifest, as an option.
fn json_path(heard: &Heard, sequence: u64) -> Vec<u8> {
    let read: Value = serde_json::from_slice(&heard.payload).unwrap();
    assert_eq!(read["sequenceNumber"], sequence);
    let component = &read["components"][0];
    assert_eq!(component["size"], image().len());
    let segment = format!(
        "{}@{}",
        component["package"].as_str().unwrap(),
        component["version"].as_str().unwrap()
    );
    [&[segment.len() as u8], segment.as_bytes()].concat()
}

/// Fetches `main@1.0.0` in blocks of 1024; `options` is what stands between the path's last segment and Block2's value.
fn download(device: &mut Device, segment: &[u8], options: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for num in 0..3_u8 {
        let request = [b"\xb2.u\x01c", segment, options, &[num << 4 | 6]].concat();
        let heard = device.asked(&con(
            GET,
            1000 + u16::from(num),
            &[options.len() as u8, 7],
            &request,
        ));
        assert_eq!(heard.code, "2.05", "{}", request.escape_ascii());
        bytes.extend(heard.payload);
    }
    bytes
}

/// Keys of the only component, and what they say.
fn component(manifest: &[u8]) -> Vec<(u8, String)> {
    let mut judge = minicbor::Decoder::new(manifest);
    assert_eq!(judge.map().unwrap(), Some(3));
    for _ in 0..4 {
        judge.skip().unwrap();
    }
    assert_eq!((judge.u8().unwrap(), judge.array().unwrap()), (3, Some(1)));
    let entries = judge.map().unwrap().unwrap();
    (0..entries)
        .map(|_| match judge.u8().unwrap() {
            4 => (4, judge.u64().unwrap().to_string()),
            key => (key, judge.str().unwrap().to_owned()),
        })
        .collect()
}
