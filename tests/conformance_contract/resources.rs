//! Section 3: one test per row of the table of resources. What the manifest, reports and artifacts say is held in their
//! own sections.

use std::fs;

use crate::device::{
    ACK, DELETE, Device, GET, Heard, NON, NOTHING, OBSERVE, POST, PUT, ack, con, golden, image, message,
    server,
};
use crate::support::{CoapClient, noise};

/// A log line as the SDK encodes it: `{"level": "info", "module": "app", "msg": "hello"}`.
const LOG: &[u8] = b"\xff\xbf\x65level\x64info\x66module\x63app\x63msg\x65hello\xff";

#[test]
fn contract_3_desired_is_served_observed_polled_and_in_blocks() {
    let (mut device, sequence) = Device::deployed("row-desired");
    let manifest = golden(sequence);
    for (mid, options) in (1..).zip([
        &b"\xb2.u\x07desired\x61\x3c"[..],
        OBSERVE,
        b"\x61\x01\x52.u\x07desired\x61\x3c",
    ]) {
        let heard = device.asked(&con(GET, mid, b"t", options));
        assert_eq!((heard.code.as_str(), heard.option(12)), ("2.05", Some(&[60][..])));
        assert_eq!((&heard.payload, heard.option(23)), (&manifest, None));
    }
    let mut blocks = Vec::new();
    for (num, block) in (0_u8..).zip(manifest.chunks(64)) {
        let asked = [b"\xb2.u\x07desired\x61\x3c\x61", &[num << 4 | 2][..]].concat();
        let heard = device.asked(&con(GET, 10 + u16::from(num), b"blocks", &asked));
        let more = if blocks.len() + block.len() < manifest.len() {
            8
        } else {
            0
        };
        assert_eq!(heard.option(23), Some(&[num << 4 | more | 2][..]));
        blocks.extend(heard.payload);
    }
    assert_eq!(blocks, manifest);
}

#[test]
fn contract_3_artifact_is_served_whatever_accept_says() {
    let mut device = Device::new("row-artifact");
    let etag = &sha256(&image())[..8];
    let expected = [
        b"\x48",
        etag,
        b"\x81\x2a\xb1\x1e\x52\x0b\xb8\xff",
        &image()[1024..2048],
    ]
    .concat();
    let accepts: [&[u8]; 4] = [
        b"\x61\x2a\x61\x16",
        b"\x61\x32\x61\x16",
        b"\x61\x3c\x61\x16",
        b"\xc1\x16",
    ];
    for (mid, options) in (1..).zip(accepts) {
        let path = [b"\xb2.u\x01c\x0amain@1.0.0", options].concat();
        assert_eq!(
            device.ask(&con(GET, mid, b"t", &path)),
            ack(0x45, mid, b"t", &expected)
        );
    }
}

#[test]
fn contract_3_report_is_taken_by_post_and_put() {
    let mut device = Device::new("row-report");
    for (mid, method, state) in [(1, POST, 1_u8), (2, PUT, 2)] {
        let report = [b"\xb2.u\x01c\x04main\x11\x3c\xff\xa1\x61s", &[state][..]].concat();
        assert_eq!(
            device.ask(&con(method, mid, b"t", &report)),
            ack(0x44, mid, b"t", b"")
        );
        assert_eq!(device.package("main")["stateNumber"], state);
    }
    let json = b"\xb2.u\x01c\x04main\x11\x32\xff{\"state\":3}";
    assert_eq!(device.ask(&con(PUT, 3, b"t", json)), ack(0x44, 3, b"t", b""));
    assert_eq!(device.package("main")["stateNumber"], 3);
}

#[test]
fn contract_3_suit_is_not_found() {
    let mut device = Device::new("row-suit");
    let suit = con(GET, 1, b"t", b"\xb2.u\x07desired\x04suit");
    assert_eq!(device.ask(&suit), ack(0x84, 1, b"t", b""));
}

#[test]
fn contract_3_keepalive_delete_of_nothing_is_deleted() {
    let mut device = Device::new("row-keepalive");
    for mid in [1, 2, 3] {
        assert_eq!(
            device.ask(&con(DELETE, mid, &[0; 8], b"")),
            ack(0x42, mid, &[0; 8], b"")
        );
    }
}

#[test]
fn contract_3_empty_messages_are_reset() {
    let mut device = Device::new("row-empty");
    assert_eq!(device.ask(b"\x50\x00\xca\xfe"), b"\x70\x00\xca\xfe");
    assert_eq!(device.ask(b"\x40\x00\xca\xff"), b"\x70\x00\xca\xff");
}

#[test]
fn contract_3_hello_greets_the_device() {
    let mut device = Device::new("row-hello");
    let greeting = ack(0x45, 1, b"t", b"\xc0\xffHello row-hello");
    assert_eq!(device.ask(&con(GET, 1, b"t", b"\xb5hello")), greeting);
}

#[test]
fn contract_3_echo_says_it_again() {
    let mut device = Device::new("row-echo");
    let echo = con(POST, 1, b"t", b"\xb4echo\x11\x3c\xff\x83\x01\x02\x03");
    assert_eq!(
        device.ask(&echo),
        ack(0x44, 1, b"t", b"\xc1\x3c\xff\x83\x01\x02\x03")
    );
    assert_eq!(
        device.ask(&con(POST, 2, b"t", b"\xb4echo\xffx")),
        ack(0x44, 2, b"t", b"\xffx")
    );
}

#[test]
fn contract_3_logs_are_taken_on_both_paths_and_non_confirmable_ones_get_no_ack() {
    let mut device = Device::new("row-logs");
    let paths: [&[u8]; 2] = [b"\xb4logs\x11\x3c", b"\xb2.s\x04logs\x11\x3c"];
    let mut mid = 0;
    for path in paths {
        let line = [path, LOG].concat();
        for method in [POST, PUT] {
            mid += 1;
            assert_eq!(
                device.ask(&con(method, mid, b"t", &line)),
                ack(0x44, mid, b"t", b"")
            );
        }
        mid += 1;
        device.send(&message(NON, POST, mid, b"non", &line));
        device.send(&con(GET, mid + 1, b"end", b"\xb5hello"));
        let mut heard = Heard::read(&device.hear());
        if heard.token == b"non" {
            assert_eq!((heard.kind, heard.code.as_str()), (NON, "2.04"));
            heard = Heard::read(&device.hear());
        }
        mid += 1;
        assert_eq!((heard.kind, heard.mid), (ACK, mid));
    }
    // Keys in any order, and others besides; JSON.
    for body in [
        &b"\x11\x3c\xff\xa3\x63msg\x61x\x65extra\x01\x65level\x65error"[..],
        b"\x11\x32\xff{\"msg\":\"x\",\"level\":\"warn\"}",
    ] {
        mid += 1;
        let line = [b"\xb4logs", body].concat();
        assert_eq!(
            device.ask(&con(POST, mid, b"t", &line)),
            ack(0x44, mid, b"t", b"")
        );
    }
}

#[test]
fn contract_3_stream_data_is_taken_on_any_path_and_in_blocks() {
    let mut device = Device::new("row-stream");
    let posts: [&[u8]; 4] = [
        b"\xb2.s\x11\x32\xff1",
        b"\xb2.s\x04temp\x11\x32\xff{\"t\":21}",
        b"\xb2.s\x01a\x01b\x01c\x11\x3c\xff\xa0",
        b"\xb2.s\x03raw\x11\x2a\xff\0\x01",
    ];
    for (mid, post) in (1..).zip(posts) {
        assert_eq!(device.ask(&con(POST, mid, b"t", post)), ack(0x44, mid, b"t", b""));
    }
    // Block1: 2.31 with the option of each block for all but the last, which gets 2.04 with its own.
    let body = noise(9, 2500);
    let blocks: [(u8, &[u8], &[u8]); 3] = [
        (0x0e, &body[..1024], b"\xd1\x0e\x0e"),
        (0x1e, &body[1024..2048], b"\xd1\x0e\x1e"),
        (0x26, &body[2048..], b"\xd1\x0e\x26"),
    ];
    for (mid, (block1, bytes, echoed)) in (10..).zip(blocks) {
        let block = [b"\xb2.s\x04blob\x11\x2a\xd1\x02", &[block1, 0xff][..], bytes].concat();
        let code = if block1 & 8 == 0 { 0x44 } else { 0x5f };
        assert_eq!(
            device.ask(&con(POST, mid, b"upload", &block)),
            ack(code, mid, b"upload", echoed)
        );
    }
    // Above the bound: 4.13, which says in Size1 what is not too much.
    let announced = [
        &b"\xb2.s\x04blob\x11\x2a\xd1\x02\x0e\xd3\x14\x01\x00\x00\xff"[..],
        &body[..1024],
    ]
    .concat();
    assert_eq!(
        device.ask(&con(POST, 20, b"large", &announced)),
        ack(0x8d, 20, b"large", b"\xd2\x2f\x40\x00")
    );
}

#[test]
fn contract_3_stream_blocks_of_a_foreign_client_arrive() {
    let server = server();
    let device = server.device("row-stream-foreign", "row-stream-foreign");
    let file = server.folder.path().join("stream");
    fs::write(&file, noise(9, 5000)).unwrap();
    let file = file.to_str().unwrap();
    for client in CoapClient::ALL {
        for size in ["1024", "64"] {
            let options = ["-v", "7", "-m", "post", "-t", "42", "-b", size, "-f", file];
            let (_, said) = client.run(&server, &device, &options, "/.s/blob");
            let continued = said.matches(" c:2.31 ").count();
            assert!(
                said.contains(" c:2.04 ") && continued >= 3,
                "{client:?} {size}: {said}"
            );
            assert!(!said.contains(" c:4."), "{client:?} {size}: {said}");
        }
    }
}

#[test]
fn contract_3_state_is_empty_and_takes_everything() {
    let mut device = Device::new("row-state");
    #[rustfmt::skip]
    let table: [(u8, &[u8], u8, &[u8]); 8] = [
        (GET, b"\xb2.d\x01x\x61\x32", 0x45, b"\xc1\x32\xffnull"),
        (GET, b"\xb2.d\x01x\x61\x3c", 0x45, b"\xc1\x3c\xff\xf6"),
        (GET, b"\xb2.d\x01x", 0x45, b"\xc1\x32\xffnull"),
        (GET, b"\x60\x52.d\x01x\x01y\x61\x32", 0x45, b"\xc1\x32\xffnull"),
        (GET, b"\x60\x52.d\x61\x3c", 0x45, b"\xc1\x3c\xff\xf6"),
        (POST, b"\xb2.d\x01x\x11\x32\xff\"on\"", 0x44, b""),
        (PUT, b"\xb2.d\x01x\x01y\x11\x3c\xff\xf5", 0x44, b""),
        (DELETE, b"\xb2.d\x01x", 0x42, b""),
    ];
    for (mid, (method, request, code, answer)) in (1..).zip(table) {
        let what = request.escape_ascii();
        assert_eq!(
            device.ask(&con(method, mid, b"t", request)),
            ack(code, mid, b"t", answer),
            "{what}"
        );
    }
}

#[test]
fn contract_3_settings_are_none_observed_or_fetched_once_per_setting() {
    let mut device = Device::new("row-settings");
    // No Observe comes back: both ports take the answer as it is, and there will be nothing to tell.
    assert_eq!(
        device.ask(&con(GET, 1, b"observer", b"\x60\x52.c\x61\x3c")),
        ack(0x45, 1, b"observer", NOTHING)
    );
    for mid in 2..6 {
        assert_eq!(
            device.ask(&con(GET, mid, b"t", b"\xb2.c\x61\x3c")),
            ack(0x45, mid, b"t", NOTHING)
        );
    }
    assert_eq!(
        device.ask(&con(GET, 6, b"t", b"\xb2.c\x61\x32")),
        ack(0x45, 6, b"t", b"\xc1\x32\xff{}")
    );
}

#[test]
fn contract_3_settings_status_is_taken() {
    let mut device = Device::new("row-settings-status");
    let status =
        b"\xb2.c\x06status\x11\x3c\xff\xbf\x67version\x01\x66errors\x9f\xa1\x6bsetting_key\x61X\xff\xff";
    assert_eq!(device.ask(&con(POST, 1, b"t", status)), ack(0x44, 1, b"t", b""));
}

#[test]
fn contract_3_rpc_is_observed_with_ok() {
    let mut device = Device::new("row-rpc");
    let observe = con(GET, 1, b"observer", b"\x60\x54.rpc\x61\x3c");
    assert_eq!(
        device.ask(&observe),
        ack(0x45, 1, b"observer", b"\xc1\x3c\xff\x62OK")
    );
}

#[test]
fn contract_3_rpc_status_is_taken() {
    let mut device = Device::new("row-rpc-status");
    let status = b"\xb4.rpc\x06status\x11\x3c\xff\xbf\x62id\x611\x6astatusCode\x0c\xff";
    assert_eq!(device.ask(&con(POST, 1, b"t", status)), ack(0x44, 1, b"t", b""));
}

#[test]
fn contract_3_csr_is_not_found() {
    let mut device = Device::new("row-csr");
    assert_eq!(
        device.ask(&con(POST, 1, b"t", b"\xb2v1\x03csr\x11\x2a\xff\x30\x00")),
        ack(0x84, 1, b"t", b"")
    );
}

#[test]
fn contract_3_gateway_pouch_is_not_found() {
    let mut device = Device::new("row-pouch");
    let last = con(POST, 1, b"t", b"\xb2.g\x05pouch\x11\x2a\xd1\x02\x06\xffx");
    assert_eq!(device.ask(&last), ack(0x84, 1, b"t", b""));
}

#[test]
fn contract_3_gateway_server_cert_is_not_found() {
    let mut device = Device::new("row-server-cert");
    let get = con(GET, 1, b"t", b"\xb2.g\x0bserver-cert\x61\x2a\x61\x06");
    assert_eq!(device.ask(&get), ack(0x84, 1, b"t", b""));
}

#[test]
fn contract_3_gateway_device_cert_is_not_found() {
    let mut device = Device::new("row-device-cert");
    let post = con(POST, 1, b"t", b"\xb2.g\x0bdevice-cert\x11\x2a\xff\x30\x00");
    assert_eq!(device.ask(&post), ack(0x84, 1, b"t", b""));
}

#[test]
fn contract_3_others_are_not_found_or_not_allowed() {
    let mut device = Device::new("row-others");
    #[rustfmt::skip]
    let table: [(u8, &[u8], u8); 5] = [
        (GET, b"\xb7nowhere", 0x84),
        (POST, b"\xb7nowhere\xffx", 0x84),
        (GET, b"\xb2.u", 0x84),
        (DELETE, b"\xb2.u\x07desired", 0x85),
        (GET, b"\xb4echo", 0x85),
    ];
    for (mid, (method, request, code)) in (1..).zip(table) {
        assert_eq!(
            device.ask(&con(method, mid, b"t", request)),
            ack(code, mid, b"t", b"")
        );
    }
}

#[test]
fn contract_3_neighbours_answer_a_foreign_observer_and_a_foreign_non() {
    let server = server();
    let device = server.device("row-foreign", "row-foreign");
    let client = CoapClient::OpenSsl;
    for (path, format, expected) in [
        ("/.c", "60", &b"\xa0"[..]),
        ("/.rpc", "60", b"\x62OK"),
        ("/.d/x", "50", b"null"),
    ] {
        let (body, said) = client.run(&server, &device, &["-A", format, "-s", "1", "-B", "3"], path);
        assert_eq!(body, expected, "{path}: {said}");
    }
    let log = server.folder.path().join("log-line");
    fs::write(&log, &LOG[1..]).unwrap();
    let options = [
        "-v",
        "7",
        "-N",
        "-m",
        "post",
        "-t",
        "60",
        "-B",
        "3",
        "-f",
        log.to_str().unwrap(),
    ];
    let (_, said) = client.run(&server, &device, &options, "/logs");
    assert!(said.contains("t:NON c:2.04"), "{said}");
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}
