//! Section 5: state reports in every form that devices have said them, and the sequences in which they come.

use serde_json::json;

use crate::device::{Device, POST, ack, con};

#[test]
fn contract_5_the_report_of_a_stock_device_is_stored_byte_for_byte() {
    let mut device = Device::new("report-stock");
    let said = b"\xb2.u\x01c\x04main\x11\x3c\xff\
        \xbf\x61\x73\x01\x61\x72\x00\x63\x70\x6b\x67\x64\x6d\x61\x69\x6e\
        \x61\x76\x65\x31\x2e\x30\x2e\x30\x61\x74\x65\x31\x2e\x30\x2e\x31\xff";
    assert_eq!(device.ask(&con(POST, 1, b"t", said)), ack(0x44, 1, b"t", b""));
    let main = device.package("main");
    assert_eq!(
        [&main["stateNumber"], &main["reasonNumber"]],
        [&json!(1), &json!(0)]
    );
    assert_eq!(
        [&main["version"], &main["target"]],
        [&json!("1.0.0"), &json!("1.0.1")]
    );
    assert_eq!(main["state"], "downloading");
}

#[test]
fn contract_5_canonical_builds_send_definite_maps_of_two_to_five() {
    let mut device = Device::new("report-canonical");
    let reports: [&[u8]; 4] = [
        b"\xa2\x61s\x00\x61r\x00",
        b"\xa3\x61s\x00\x61r\x00\x63pkg\x64main",
        b"\xa4\x61s\x00\x61r\x00\x63pkg\x64main\x61v\x651.0.0",
        b"\xa5\x61s\x03\x61r\x01\x63pkg\x64main\x61v\x651.0.1\x61t\x651.0.1",
    ];
    for (mid, cbor) in (1..).zip(reports) {
        report(&mut device, mid, b"\x04main\x11\x3c\xff", cbor);
    }
    let main = device.package("main");
    assert_eq!(
        [&main["stateNumber"], &main["reasonNumber"], &main["version"]],
        [&json!(3), &json!(1), &json!("1.0.1")]
    );
}

#[test]
fn contract_5_long_names_and_json_say_the_same() {
    let mut device = Device::new("report-long");
    let forms: [(&[u8], &[u8]); 4] = [
        (
            b"\x04main\x11\x3c\xff",
            b"\xa5\x65state\x02\x66reason\x05\x67package\x65long1\x67version\x611\x66target\x612",
        ),
        (
            b"\x04main\x11\x32\xff",
            br#"{"state":2,"reason":5,"package":"long2","version":"1","target":"2"}"#,
        ),
        (
            b"\x04main\x11\x32\xff",
            br#"{"s":2,"r":5,"pkg":"long3","v":"1","t":"2"}"#,
        ),
        (
            b"\x04main\xff",
            br#"{"state":2,"reason":5,"package":"long4","version":"1","target":"2"}"#,
        ),
    ];
    for (mid, (head, body)) in (1..).zip(forms) {
        report(&mut device, mid, head, body);
        let stored = device.package(&format!("long{mid}"));
        assert_eq!(
            [&stored["stateNumber"], &stored["reasonNumber"]],
            [&json!(2), &json!(5)],
            "form {mid}"
        );
        assert_eq!(
            [&stored["version"], &stored["target"]],
            [&json!("1"), &json!("2")],
            "form {mid}"
        );
    }
}

#[test]
fn contract_5_the_oldest_documentation_says_it_in_queries() {
    let mut device = Device::new("report-queries");
    // Uri-Query is 15: four after the path.
    report(
        &mut device,
        1,
        b"\x04main",
        b"\x47state=1\x08reason=4\x09version=1\x08target=2",
    );
    let main = device.package("main");
    assert_eq!(
        [&main["stateNumber"], &main["reasonNumber"]],
        [&json!(1), &json!(4)]
    );
    assert_eq!([&main["version"], &main["target"]], [&json!("1"), &json!("2")]);
    report(&mut device, 2, b"\x04main", b"\x43s=3\x03r=1\x08pkg=main\x03v=2");
    let main = device.package("main");
    assert_eq!(
        [&main["stateNumber"], &main["reasonNumber"], &main["target"]],
        [&json!(3), &json!(1), &json!(null)]
    );
    let refused = con(POST, 3, b"t", b"\xb2.u\x01c\x04main\x4astate=idle");
    assert_eq!(device.ask(&refused), ack(0x80, 3, b"t", b""));
}

#[test]
fn contract_5_what_is_not_said_is_zero_and_the_package_is_the_paths_or_main() {
    let mut device = Device::new("report-defaults");
    report(&mut device, 1, b"\x06assets\x11\x3c\xff", b"\xa1\x61v\x611");
    let assets = device.package("assets");
    assert_eq!(
        [&assets["stateNumber"], &assets["reasonNumber"]],
        [&json!(0), &json!(0)]
    );
    report(&mut device, 2, b"\x06assets\x11\x3c\xff", b"\xbf\xff");
    assert_eq!(device.package("assets")["version"], json!(null));
    report(&mut device, 3, b"", b"\x11\x3c\xff\xa1\x61v\x617");
    assert_eq!(device.package("main")["version"], "7", "no package anywhere");
    report(&mut device, 4, b"", b"\x43v=8");
    assert_eq!(device.package("main")["version"], "8");
    report(
        &mut device,
        5,
        b"\x06assets\x11\x3c\xff",
        b"\xa2\x63pkg\x65modem\x61v\x611",
    );
    assert_eq!(
        device.package("modem")["version"],
        "1",
        "the report's own word wins"
    );
}

#[test]
fn contract_5_every_state_and_reason_has_its_word_and_unknown_numbers_are_kept() {
    let mut device = Device::new("report-words");
    let states = ["idle", "downloading", "downloaded", "updating"];
    let mut mid = 0;
    for (state, word) in (0..).zip(states) {
        for reason in 0..=11_u8 {
            mid += 1;
            report(
                &mut device,
                mid,
                b"\x04main\x11\x3c\xff",
                &[0xa2, 0x61, b's', state, 0x61, b'r', reason],
            );
            let main = device.package("main");
            assert_eq!(
                [&main["stateNumber"], &main["reasonNumber"]],
                [&json!(state), &json!(reason)]
            );
            assert_eq!(main["state"], word);
            assert!(main["reason"].is_string(), "{main:#}");
        }
    }
    report(
        &mut device,
        100,
        b"\x04main\x11\x3c\xff",
        b"\xa2\x61s\x18\x63\x61r\x19\x03\xe8",
    );
    let main = device.package("main");
    assert_eq!(
        [&main["stateNumber"], &main["reasonNumber"]],
        [&json!(99), &json!(1000)]
    );
}

#[test]
fn contract_5_the_longest_report_a_device_can_encode_is_taken() {
    let mut device = Device::new("report-longest");
    // 45 bytes of names in a buffer of 64: 13 + 16 + 16.
    let body = b"\xbf\x61s\x01\x61r\x0b\x63pkg\x6dp12345678abcd\x61v\x701234567890123456\x61t\x706543210987654321\xff";
    assert_eq!(body.len(), 64);
    report(&mut device, 1, b"\x0d\x00p12345678abcd\x11\x3c\xff", body);
    assert_eq!(device.package("p12345678abcd")["version"], "1234567890123456");
}

#[test]
fn contract_5_the_sequences_of_a_boot_an_update_and_a_failure_end_where_they_should() {
    let mut device = Device::new("report-sequences");
    let mut mid = 0;
    let mut say = |s: u8, r: u8, v: &str, t: Option<&str>| {
        mid += 1;
        let mut body = vec![0xbf, 0x61, b's', s, 0x61, b'r', r, 0x63, b'p', b'k', b'g', 0x64];
        body.extend(b"main\x61v");
        body.push(0x60 | v.len() as u8);
        body.extend(v.as_bytes());
        if let Some(t) = t {
            body.extend([0x61, b't', 0x60 | t.len() as u8]);
            body.extend(t.as_bytes());
        }
        body.push(0xff);
        report(&mut device, mid, b"\x04main\x11\x3c\xff", &body);
        let main = device.package("main");
        let expected = json!([s, r, v, t]);
        assert_eq!(
            json!([
                main["stateNumber"],
                main["reasonNumber"],
                main["version"],
                main["target"]
            ]),
            expected
        );
    };
    // A boot without an update: three identical reports are normal.
    for _ in 0..3 {
        say(0, 0, "1.0.0", None);
    }
    // An update, the reboot in its middle.
    for (s, r) in [(1, 0), (2, 0), (3, 0)] {
        say(s, r, "1.0.0", Some("1.0.1"));
    }
    say(3, 1, "1.0.1", None);
    say(0, 0, "1.0.1", None);
    // A wrong hash; a flash that cannot be written; sixteen failed blocks.
    for reason in [5, 10, 8] {
        say(1, reason, "1.0.1", Some("1.0.2"));
        say(0, 0, "1.0.1", Some("1.0.2"));
        say(0, 11, "1.0.1", Some("1.0.2"));
    }
    // Rolled back: the old version again.
    say(0, 0, "1.0.0", None);
}

/// Reports to `.u/c`; `head` is what stands between that and the body. It has to be taken.
#[track_caller]
fn report(device: &mut Device, mid: u16, head: &[u8], body: &[u8]) {
    let rest = [b"\xb2.u\x01c", head, body].concat();
    assert_eq!(
        device.ask(&con(POST, mid, b"report", &rest)),
        ack(0x44, mid, b"report", b""),
        "{}",
        rest.escape_ascii()
    );
}
