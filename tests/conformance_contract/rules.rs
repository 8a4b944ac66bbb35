//! Section 0: the rules that matter most, one by one. Those that need virtual time or a broken network are held one layer
//! below (`tests/README.md` says where).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tessera::dtls::{CipherSuite, ClientConfig, MaxFragmentLength};

use crate::device::{
    ACK, DELETE, DEREGISTER, DESIRED, Device, GET, Heard, NON, NOTHING, OBSERVE, POST, PUT, ack, con,
    connect, golden, image, message, server, stock,
};
use crate::support::{Server, eventually, noise, tessera};

const REPORT: &[u8] =
    b"\xb2.u\x01c\x04main\x11\x3c\xff\xbf\x61s\x00\x61r\x00\x63pkg\x64main\x61v\x651.0.0\xff";

#[test]
fn contract_0_rule_01_every_answer_rides_in_the_ack_even_one_that_waits_for_the_disk() {
    let (mut device, _) = Device::deployed("rule-01");
    device.send(&con(POST, 1, b"t", REPORT));
    assert_eq!(
        device.hear(),
        ack(0x44, 1, b"t", b""),
        "the first thing that comes"
    );
    device.send(&con(GET, 2, b"t", DESIRED));
    assert_eq!(device.hear()[..5], ack(0x45, 2, b"t", b""));
    device.send(&con(GET, 3, b"t", b"\xb2.u\x01c\x0amain@1.0.0\xc1\x06"));
    assert_eq!(device.hear()[..5], ack(0x45, 3, b"t", b""));
    device.hear_nothing();
}

#[test]
fn contract_0_rule_02_no_request_is_reset_whatever_is_wrong_with_it() {
    let mut device = Device::new("rule-02");
    let refused: [(&[u8], u8); 6] = [
        (b"\x10", 0x82),
        (b"\xb2.u\x07desired\x61\x3c\x01\x3c", 0x82),
        (b"\xb2.u\x07desired\xc1\x07", 0x80),
        (b"\xb2.u\x01c\x04main\x11\x3c\xff\xbf\x61s", 0x80),
        (b"\xb2.u\x01c\x04main\x11\x2a\xffx", 0x8f),
        (b"\xb1x\xd5\x0bcoap:", 0xa5),
    ];
    for (mid, (options, code)) in (1..).zip(refused) {
        let method = if options.contains(&0xff) { POST } else { GET };
        let what = options.escape_ascii();
        assert_eq!(
            device.ask(&con(method, mid, b"t", options)),
            ack(code, mid, b"t", b""),
            "{what}"
        );
        // The same as NON: an answer, or nothing.
        device.send(&message(NON, method, mid + 100, b"non", options));
    }
    // No messages at all: a token of nine bytes, a version that is none, options that are cut off, a marker and nothing behind it.
    for malformed in [
        "\x49\x01\0\x08123456789",
        "\x01\x01\0\x09",
        "\x40\x01\0\x0a\x35ab",
        "\x40\x01\0\x0b\x7f",
    ] {
        device.send(malformed.as_bytes());
    }
    device.send(b"\x40\x01\x00\x0c\xff");
    device.send(&con(GET, 200, b"end", DESIRED));
    loop {
        let heard = Heard::read(&device.hear());
        if heard.token == b"end" {
            break;
        }
        assert_eq!(
            (heard.kind, heard.token.as_slice()),
            (NON, &b"non"[..]),
            "{heard:?}"
        );
    }
}

#[test]
fn contract_0_rule_03_every_method_on_every_path_is_answered_in_a_form_both_ports_survive() {
    let (mut device, _) = Device::deployed("rule-03");
    let paths: [&[u8]; 22] = [
        b"",
        b"\xb2.u",
        b"\xb2.u\x07desired",
        b"\xb2.u\x07desired\x04suit",
        b"\xb2.u\x01c",
        b"\xb2.u\x01c\x04main",
        b"\xb2.u\x01c\x0amain@1.0.0",
        b"\xb2.u\x01c\x0amain@9.9.9",
        b"\xb5hello",
        b"\xb4echo",
        b"\xb4logs",
        b"\xb2.s",
        b"\xb2.s\x04logs",
        b"\xb2.s\x01a\x01b\x01c\x01d\x01e\x01f\x01g\x01h\x01i",
        b"\xb2.d\x01x\x01y",
        b"\xb2.c",
        b"\xb2.c\x06status",
        b"\xb4.rpc",
        b"\xb4.rpc\x06status",
        b"\xb2v1\x03csr",
        b"\xb2.g\x05pouch",
        b"\xb7nowhere",
    ];
    let mut mid = 0;
    for path in paths {
        // FETCH, PATCH and iPATCH besides the four that devices use.
        for method in [GET, POST, PUT, DELETE, 5, 6, 7] {
            mid += 1;
            device.send(&con(method, mid, b"rule-03", path));
            let heard = Heard::read(&device.hear());
            let what = format!("{method} {}: {heard:?}", path.escape_ascii());
            assert_eq!(
                (heard.kind, heard.mid, &heard.token[..]),
                (ACK, mid, &b"rule-03"[..]),
                "{what}"
            );
            // Codes that Zephyr does not list read as an error of their own.
            let known = ["2.02", "2.04", "2.05", "4.00", "4.04", "4.05"];
            assert!(known.contains(&heard.code.as_str()), "{what}");
        }
    }
    device.hear_nothing();
}

#[test]
fn contract_0_rule_03_a_handshake_is_over_within_three_seconds() {
    let device = Device::new("rule-03-handshake");
    for _ in 0..5 {
        let began = Instant::now();
        connect(&device.server, &device.registered, &ClientConfig::default());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[test]
fn contract_0_rule_04_a_block_is_exactly_as_large_as_it_was_asked_for() {
    let (mut device, bytes) = (Device::new("rule-04"), image());
    for szx in 0..=6_u8 {
        let size = 16 << szx;
        for (num, block) in bytes.chunks(size).enumerate() {
            let last = (num + 1) * size >= bytes.len();
            let bits = (num as u16) << 4 | u16::from(szx);
            let request = [b"\xb2.u\x01c\x0amain@1.0.0\x61\x2a\x62", &bits.to_be_bytes()[..]].concat();
            let heard = device.asked(&con(GET, bits, b"rule-004", &request));
            let given = heard
                .option(23)
                .unwrap()
                .iter()
                .fold(0, |bits, byte| bits << 8 | u16::from(*byte));
            let more = if last { 0 } else { 8 };
            assert_eq!(
                (given, heard.payload.len()),
                (bits | more, block.len()),
                "block {num} of {size}"
            );
            assert_eq!(heard.payload, block);
        }
    }
}

#[test]
fn contract_0_rule_05_a_manifest_is_definite_and_canonical_and_every_component_has_six_keys() {
    let (mut device, sequence) = Device::deployed("rule-05");
    let heard = device.asked(&con(GET, 1, b"", DESIRED));
    assert_eq!(heard.payload, golden(sequence));
    assert_eq!(heard.option(12), Some(&[60][..]));

    device.deploy("more", &[("first", "1"), ("second", "1"), ("main", "1.0.1")]);
    let heard = device.asked(&con(GET, 2, b"", DESIRED));
    let mut judge = minicbor::Decoder::new(&heard.payload);
    assert_eq!((judge.map().unwrap(), judge.u8().unwrap()), (Some(3), 1));
    judge.skip().unwrap();
    assert_eq!(judge.u8().unwrap(), 2);
    judge.skip().unwrap();
    assert_eq!((judge.u8().unwrap(), judge.array().unwrap()), (3, Some(3)));
    for _ in 0..3 {
        assert_eq!(judge.map().unwrap(), Some(6));
        for key in 1..=6 {
            assert_eq!(judge.u8().unwrap(), key);
            judge.skip().unwrap();
        }
    }
    assert_eq!(judge.position(), heard.payload.len());
}

#[test]
fn contract_0_rule_06_nothing_to_do_is_the_empty_map() {
    let mut device = Device::new("rule-06");
    assert_eq!(
        device.ask(&con(GET, 1, b"t", DESIRED)),
        ack(0x45, 1, b"t", NOTHING)
    );
    device.assign(None);
    assert_eq!(
        device.ask(&con(GET, 2, b"t", DESIRED)),
        ack(0x45, 2, b"t", NOTHING)
    );
    let json = device.ask(&con(GET, 3, b"t", b"\xb2.u\x07desired\x61\x32"));
    assert_eq!(json, ack(0x45, 3, b"t", b"\xc1\x32\xff{}"));
}

#[test]
fn contract_0_rule_07_hashes_are_text_of_64_digits() {
    let (mut device, _) = Device::deployed("rule-07");
    let payload = device.asked(&con(GET, 1, b"", DESIRED)).payload;
    let texts: Vec<usize> = (0..payload.len())
        .filter(|at| payload[*at..].starts_with(&[0x78, 64]))
        .collect();
    assert_eq!(texts.len(), 2, "the manifest's hash and the artifact's");
    for at in texts {
        let digits = &payload[at + 2..at + 66];
        assert!(
            digits
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')),
            "{digits:02x?}"
        );
    }
}

#[test]
fn contract_0_rule_08_a_manifest_above_1024_bytes_is_refused_and_none_is_pushed_in_blocks() {
    let mut device = Device::new("rule-08");
    device.asked(&con(GET, 1, b"rule-008", OBSERVE));
    let packages: Vec<String> = (1..=8).map(|n| format!("rule-08-package{n}")).collect();
    for package in &packages {
        device.server.upload(package, "1", &noise(8, 100));
    }
    let artifacts: Vec<(&str, &str)> = packages.iter().map(|package| (package.as_str(), "1")).collect();
    device.deploy("as many as fit", &artifacts[..7]);
    let pushed = device.notified();
    assert_eq!(pushed.option(23), None, "no Block2");
    assert!(
        (900..=1024).contains(&pushed.payload.len()),
        "{} bytes",
        pushed.payload.len()
    );

    let path = format!("cohorts/{}/deployments", device.server.cohort_id(&device.cohort));
    let all: Vec<Value> = artifacts
        .iter()
        .map(|(p, v)| json!({"package": p, "version": v}))
        .collect();
    let (status, problem) =
        device
            .server
            .call("POST", &path, json!({"name": "one too many", "artifacts": all}));
    assert_eq!(status, 422, "{problem:#}");
    assert!(problem.to_string().contains("1024"), "{problem:#}");
    device.hear_nothing();
}

#[test]
fn contract_0_rule_09_a_second_component_is_warned_of() {
    let device = Device::new("rule-09");
    assert_eq!(lint(&device, &[("main", "1.0.0")]), [""; 0]);
    assert_eq!(
        lint(&device, &[("main", "1.0.0"), ("first", "1")]),
        ["too-many-components"]
    );
}

#[test]
fn contract_0_rule_10_names_that_a_device_has_no_room_for_are_warned_of() {
    let device = Device::new("rule-10");
    #[rustfmt::skip]
    let table: [(&str, &str, &[&str]); 6] = [
        ("p123456789abcdef", "1", &[]),
        ("p123456789abcdefg", "1", &["package-name-long"]),
        ("p1", "v123456789abcdef", &[]),
        ("p1", "v123456789abcdefg", &["version-long"]),
        // 13 + 2 × 16 = 45 bytes in a report, and one more.
        ("p12345678abcd", "v123456789abcdef", &[]),
        ("p12345678abcde", "v123456789abcdef", &["report-long"]),
    ];
    for (package, version, expected) in table {
        device.server.upload(package, version, b"x");
        assert_eq!(
            lint(&device, &[(package, version)]),
            *expected,
            "{package}@{version}"
        );
    }
    // "/.u/c/" and "@" leave 32 bytes for both: 16 and 16 just fit, so a path is too long only with a name that is.
    device.server.upload("p123456789abcdef", "v123456789abcdef", b"x");
    assert_eq!(
        lint(&device, &[("p123456789abcdef", "v123456789abcdef")]),
        ["report-long"]
    );
    device
        .server
        .upload("p123456789abcdef", "v123456789abcdefg", b"x");
    let findings = lint(&device, &[("p123456789abcdef", "v123456789abcdefg")]);
    assert_eq!(findings, ["version-long", "uri-long", "report-long"]);
}

#[test]
fn contract_0_rule_11_a_report_is_an_indefinite_or_a_definite_map_and_may_name_no_package() {
    let mut device = Device::new("rule-11");
    let reports: [(&[u8], &str); 3] = [
        (
            b"\xbf\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x61a\x61t\x61b\xff",
            "a",
        ),
        (b"\xa5\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x61b\x61t\x61c", "b"),
        (b"\xbf\x61s\x01\x61r\x00\x61v\x61c\xff", "c"),
    ];
    for (mid, (cbor, version)) in (1..).zip(reports) {
        let report = [b"\xb2.u\x01c\x04main\x11\x3c\xff", cbor].concat();
        assert_eq!(
            device.ask(&con(POST, mid, b"t", &report)),
            ack(0x44, mid, b"t", b"")
        );
        let main = device.package("main");
        assert_eq!(
            (&main["version"], &main["stateNumber"]),
            (&json!(version), &json!(1))
        );
    }
}

#[test]
fn contract_0_rule_12_the_keepalive_of_each_port_is_answered_as_it_expects() {
    let mut device = Device::new("rule-12");
    assert_eq!(
        device.ask(b"\x48\x04\x00\x01\0\0\0\0\0\0\0\0"),
        b"\x68\x42\x00\x01\0\0\0\0\0\0\0\0"
    );
    assert_eq!(
        device.ask(b"\x50\x00\x12\x34"),
        b"\x70\x00\x12\x34",
        "an empty NON: RST with its message ID"
    );
}

#[test]
fn contract_0_rule_12_an_operator_sees_that_a_device_is_heard_that_only_keeps_alive_or_acknowledges() {
    let mut device = Device::new("rule-12-heard");
    let path = format!("devices/{}", device.registered.id);
    let server = Arc::clone(&device.server);
    let last_seen = || server.done("GET", &path, Value::Null)["lastSeenAt"].to_string();
    device.asked(&con(GET, 1, b"observer", OBSERVE));
    let connected = last_seen();
    eventually("a keepalive of the Zephyr port counts", || {
        assert_eq!(device.ask(b"\x50\x00\x12\x34"), b"\x70\x00\x12\x34");
        (last_seen() > connected).then_some(())
    });
    device.deploy("first", &[("main", "1.0.0")]);
    let heard = Heard::read(&device.hear());
    let before = last_seen();
    device.send(&ack(0, heard.mid, b"", b""));
    eventually("an acknowledgement counts", || {
        (last_seen() > before).then_some(())
    });
}

#[test]
fn contract_0_rule_13_a_ping_is_reset() {
    let mut device = Device::new("rule-13");
    assert_eq!(device.ask(b"\x40\x00\xbe\xef"), b"\x70\x00\xbe\xef");
}

#[test]
fn contract_0_rule_14_devices_that_use_the_same_tokens_and_message_ids_do_not_meet() {
    let (mut one, mut other) = (Device::new("rule-14-one"), Device::new("rule-14-other"));
    for device in [&mut one, &mut other] {
        let heard = device.asked(&con(GET, 7, b"\x01\0\0\0\0\0\0\0", OBSERVE));
        assert_eq!(heard.payload, [0xa0]);
    }
    let sequence = one.deploy("first", &[("main", "1.0.0")]);
    assert_eq!(one.notified().payload, golden(sequence));
    let second = other.deploy("first", &[("first", "1")]);
    let heard = other.notified();
    assert_eq!(heard.token, b"\x01\0\0\0\0\0\0\0");
    assert_eq!(heard.payload[..2], [0xa3, 0x01]);
    assert_ne!(heard.payload, golden(second));
    let block = b"\xb2.u\x01c\x0amain@1.0.0\x61\x2a\x61\x06";
    let small = b"\xb2.u\x01c\x07small@1\x61\x2a\x61\x06";
    let (ones, others) = (
        one.asked(&con(GET, 8, b"t", block)),
        other.asked(&con(GET, 8, b"t", small)),
    );
    assert_eq!(ones.payload, image()[..1024]);
    assert_eq!(others.payload, noise(3, 1024));
    one.hear_nothing();
}

#[test]
fn contract_0_rule_15_a_late_copy_of_an_older_block_is_dropped_and_other_copies_are_answered_again() {
    let mut device = Device::new("rule-15");
    let block = |mid, bits: u8| {
        con(
            GET,
            mid,
            b"transfer",
            &[b"\xb2.u\x01c\x0amain@1.0.0\x61\x2a\x61", &[bits][..]].concat(),
        )
    };
    let zero = device.ask(&block(1, 0x06));
    let one = device.ask(&block(2, 0x16));
    assert_ne!(zero, one);
    device.send(&block(1, 0x06));
    device.hear_nothing();
    assert_eq!(
        device.ask(&block(2, 0x16)),
        one,
        "the newest: its answer may have been lost"
    );

    let report = |mid, state: u8| {
        con(
            POST,
            mid,
            b"report",
            &[b"\xb2.u\x01c\x04main\x11\x3c\xff\xa1\x61s", &[state][..]].concat(),
        )
    };
    let first = device.ask(&report(3, 1));
    device.ask(&report(4, 2));
    assert_eq!(device.ask(&report(3, 1)), first);
    assert_eq!(
        device.package("main")["stateNumber"],
        2,
        "without a second effect"
    );
}

#[test]
fn contract_0_rule_16_a_cancelled_and_a_replaced_observation_are_told_nothing() {
    let mut cancelled = Device::new("rule-16");
    let mut replaced = joining("rule-16-replaced", &cancelled);
    let mut witness = joining("rule-16-witness", &cancelled);
    cancelled.asked(&con(GET, 1, b"observer", OBSERVE));
    let heard = cancelled.asked(&con(GET, 2, b"observer", DEREGISTER));
    assert_eq!((heard.code.as_str(), heard.observe()), ("2.05", None));
    replaced.asked(&con(GET, 1, b"older", OBSERVE));
    replaced.asked(&con(GET, 2, b"newer", OBSERVE));
    witness.asked(&con(GET, 1, b"witness", OBSERVE));

    cancelled.deploy("first", &[("main", "1.0.0")]);
    assert_eq!(witness.notified().token, b"witness");
    assert_eq!(replaced.notified().token, b"newer");
    replaced.hear_nothing();
    cancelled.hear_nothing();
}

#[test]
fn contract_0_rule_17_observe_numbers_rise_from_the_registration_on_and_over_kill_9() {
    let own = Arc::new(Server::start());
    stock(&own);
    let mut device = Device::on(&own, "rule-17");
    drop(own);
    let registration = device.asked(&con(GET, 1, b"observer", OBSERVE));
    device.deploy("first", &[("main", "1.0.0")]);
    let first = device.notified();
    device.deploy("second", &[("main", "1.0.1")]);
    let second = device.notified();

    let own = Arc::get_mut(&mut device.server).unwrap();
    own.kill();
    own.start_again();
    let sequence = device.deploy("third", &[("main", "1.0.0")]);
    let mut third = device.notified();
    while third.payload != golden(sequence) {
        third = device.notified();
    }
    let numbers = [registration, first, second, third.clone()].map(|heard| heard.observe().unwrap());
    for pair in numbers.windows(2) {
        let ahead = pair[1].wrapping_sub(pair[0]) & 0xff_ffff;
        assert!((1..1 << 23).contains(&ahead), "{numbers:?}");
    }
    assert_eq!(third.token, b"observer", "and no handshake was needed");
}

#[test]
fn contract_0_rule_18_the_same_token_in_a_new_session_gets_the_current_manifest() {
    let (mut device, sequence) = Device::deployed("rule-18");
    let before = device.asked(&con(GET, 1, b"observer", OBSERVE));
    device.reboot();
    let after = device.asked(&con(GET, 1, b"observer", OBSERVE));
    assert_eq!((after.code.as_str(), &after.payload), ("2.05", &golden(sequence)));
    assert_eq!(before.payload, after.payload);
    assert!(after.observe().is_some());
    device.deploy("second", &[("main", "1.0.1")]);
    assert_eq!(device.notified().token, b"observer");
    device.hear_nothing();
}

#[test]
fn contract_0_rule_19_an_observation_is_never_refused() {
    let mut device = Device::new("rule-19");
    device.assign(None);
    for (mid, what) in [(1, "without a cohort"), (2, "in a cohort without a deployment")] {
        let heard = device.asked(&con(GET, mid, b"observer", OBSERVE));
        assert_eq!(
            (heard.code.as_str(), &heard.payload[..]),
            ("2.05", &[0xa0][..]),
            "{what}"
        );
        assert!(heard.observe().is_some(), "{what}");
        device.assign(Some("rule-19"));
    }
    for (mid, path) in (3..).zip([
        &b"\x60\x52.c\x61\x3c"[..],
        b"\x60\x54.rpc\x61\x3c",
        b"\x60\x52.d\x01x\x61\x3c",
    ]) {
        assert_eq!(device.asked(&con(GET, mid, b"other", path)).code, "2.05");
    }

    // A device that takes records of 512 bytes, and a manifest that does not fit one.
    let short = ClientConfig {
        max_fragment_length: Some(MaxFragmentLength::Bytes512),
        ..ClientConfig::default()
    };
    let mut device = Device::with(&server(), "rule-19-short", short);
    let five = [
        ("first", "1"),
        ("second", "1"),
        ("third", "1"),
        ("fourth", "1"),
        ("small", "1"),
    ];
    device.deploy("five", &five);
    let heard = device.asked(&con(GET, 1, b"observer", OBSERVE));
    assert_eq!((heard.code.as_str(), &heard.payload[..]), ("2.05", &[0xa0][..]));
    let mut polled = device.asked(&con(GET, 2, b"poll", DESIRED));
    let mut manifest = Vec::new();
    for num in 1.. {
        manifest.extend(polled.payload);
        let given = polled.options.iter().find(|(number, _)| *number == 23).unwrap().1[0];
        assert_eq!(given & 7, 4, "256 bytes are what fits");
        if given & 8 == 0 {
            break;
        }
        let next = [DESIRED, &[0x61, num << 4 | 4]].concat();
        polled = device.asked(&con(GET, 2 + u16::from(num), b"poll", &next));
    }
    assert_eq!(manifest[..2], [0xa3, 0x01], "polling brings it, in blocks");
    assert_eq!(minicbor::Decoder::new(&manifest).map().unwrap(), Some(3));
    device.deploy("five again", &five);
    device.hear_nothing();
    let sequence = device.deploy("one", &[("main", "1.0.0")]);
    assert_eq!(
        device.notified().payload,
        golden(sequence),
        "and one that fits is pushed"
    );
}

#[test]
fn contract_0_rule_20_the_port_is_5684_and_each_suite_alone_is_enough() {
    let defaults = tessera().args(["config", "check"]).output().unwrap();
    let said = String::from_utf8_lossy(&defaults.stdout).into_owned();
    assert!(defaults.status.success() && said.contains("[::]:5684"), "{said}");

    let mut device = Device::new("rule-20");
    for (suite, name) in [
        (0xc0a8, "TLS_PSK_WITH_AES_128_CCM_8"),
        (0xc0a4, "TLS_PSK_WITH_AES_128_CCM"),
        (0x00a8, "TLS_PSK_WITH_AES_128_GCM_SHA256"),
        (0x00ae, "TLS_PSK_WITH_AES_128_CBC_SHA256"),
    ] {
        device.offer(vec![CipherSuite::from_id(suite).unwrap()]);
        assert_eq!(
            device.ask(&con(GET, 1, b"t", DESIRED)),
            ack(0x45, 1, b"t", NOTHING),
            "{name}"
        );
        let path = format!("devices/{}", device.registered.id);
        let shown = device.server.done("GET", &path, Value::Null);
        assert_eq!(shown["session"]["cipherSuite"], name, "{shown:#}");
    }
}

/// Another device, in the cohort of `of`.
fn joining(name: &str, of: &Device) -> Device {
    let device = Device::on(&of.server, name);
    device.assign(Some(&of.cohort));
    device
}

/// The rules that a deployment of these would be warned of.
fn lint(device: &Device, artifacts: &[(&str, &str)]) -> Vec<String> {
    let artifacts: Vec<Value> = artifacts
        .iter()
        .map(|(p, v)| json!({"package": p, "version": v}))
        .collect();
    let path = format!(
        "cohorts/{}/deployments:preview",
        device.server.cohort_id(&device.cohort)
    );
    let preview = device
        .server
        .done("POST", &path, json!({"name": "preview", "artifacts": artifacts}));
    let findings = preview["lint"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["rule"].as_str().unwrap().to_owned())
        .collect()
}
