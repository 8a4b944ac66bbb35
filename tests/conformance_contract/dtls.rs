//! Section 1: the ClientHellos of both ports, byte by byte, and what the rows about keys and sessions ask of a server. The
//! handshake's further course is held against foreign clients in `interop/` and `hostile.rs`.

use std::net::UdpSocket;

use serde_json::{Value, json};
use tessera::dtls::ClientConfig;

use crate::device::{DESIRED, Device, GET, NOTHING, OBSERVE, PATIENCE, ack, con, connect, server};
use crate::support::{self, Server};

#[test]
fn contract_1_the_92_bytes_of_the_zephyr_port_get_a_server_hello() {
    let server = server();
    // Of these, the simulator's build has the last one alone.
    for (suite, encrypt_then_mac) in [(0x00a8_u16, None), (0xc0a4, None), (0x00ae, Some(&[][..]))] {
        // sig_algs = {0401}, max_fragment_length 2048, encrypt_then_mac, extended_master_secret; no groups, no name.
        let extensions =
            b"\x00\x0d\x00\x04\x00\x02\x04\x01\x00\x01\x00\x01\x03\x00\x16\x00\x00\x00\x17\x00\x00";
        let hello = Hello {
            record_version: 0xfefd,
            suites: &[suite, 0x00ff],
            extensions,
        };
        assert_eq!(hello.datagram(&[], 0).len(), 92);
        let answer = hello.answered_by(&server);
        assert_eq!(answer.suite, suite);
        assert_eq!(
            answer.extension(0x0001),
            Some(&[3][..]),
            "max_fragment_length comes back"
        );
        assert_eq!(
            answer.extension(0x0017),
            Some(&[][..]),
            "and the extended master secret"
        );
        assert_eq!(
            answer.extension(0x0016),
            encrypt_then_mac,
            "encrypt_then_mac: CBC goes with it alone, and it means nothing to an AEAD"
        );
    }
}

#[test]
fn contract_1_the_whole_list_of_a_tls_library_gets_a_suite_of_ours_and_no_session_to_resume() {
    // ECDHE and RSA suites before the PSK ones, as OpenSSL's list has them, and its signalling value.
    let suites = [
        0xc02c, 0xc030, 0xc0ad, 0xc02b, 0xc02f, 0xc0ac, 0xc023, 0xc027, 0xc00a, 0x009d, 0x009c, 0x00ab,
        0xccab, 0xc0a9, 0xc0a5, 0x00a8, 0xc0a8, 0xc0a4, 0x00af, 0x00ae, 0x008d, 0x008c, 0x00ff,
    ];
    let extensions = [
        // An IP literal for a server's name, as Debian's coap-client has it.
        &b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09127.0.0.1"[..],
        b"\x00\x0b\x00\x04\x03\x00\x01\x02",
        b"\x00\x0a\x00\x0c\x00\x0a\x00\x1d\x00\x17\x00\x1e\x00\x19\x00\x18",
        // An empty session ticket, encrypt_then_mac, extended_master_secret.
        b"\x00\x23\x00\x00",
        b"\x00\x16\x00\x00",
        b"\x00\x17\x00\x00",
        b"\x00\x0d\x00\x0a\x00\x08\x04\x03\x05\x03\x04\x01\x02\x01",
        // GnuTLS: raw public keys before X.509, and a record_size_limit.
        b"\x00\x14\x00\x03\x02\x02\x00",
        b"\x00\x1c\x00\x02\x40\x00",
    ]
    .concat();
    let hello = Hello {
        record_version: 0xfeff,
        suites: &suites,
        extensions: &extensions,
    };
    let answer = hello.answered_by(&server());
    assert!(
        [0x00a8, 0xc0a8, 0xc0a4].contains(&answer.suite),
        "{:04x}",
        answer.suite
    );
    assert_eq!(answer.session_id, b"");
    for offered in [0x0023, 0x0014, 0x0000] {
        assert_eq!(answer.extension(offered), None, "extension {offered}");
    }
}

#[test]
fn contract_1_a_hello_without_any_extension_is_enough() {
    for record_version in [0xfeff, 0xfefd] {
        let hello = Hello {
            record_version,
            suites: &[0xc0a8],
            extensions: b"",
        };
        assert_eq!(hello.answered_by(&server()).suite, 0xc0a8);
    }
}

#[test]
fn contract_1_an_identity_is_bytes_up_to_64_and_a_secret_up_to_32() {
    let mut device = Device::new("psk-limits");
    let credentials = format!("devices/{}/credentials", device.registered.id);
    let (identity, secret) = ("Psk-Limits-".repeat(6)[..64].to_owned(), "s".repeat(32));
    let add = |identity: &str, secret: &str| {
        let body = json!({"type": "psk", "identity": identity, "secret": secret});
        device.server.call("POST", &credentials, body)
    };
    assert_eq!(add(&identity, &secret).0, 201);
    for (identity, secret) in [
        (format!("{identity}x"), secret.clone()),
        ("other".to_owned(), "s".repeat(33)),
    ] {
        let (status, problem) = add(&identity, &secret);
        assert!(matches!(status, 400 | 422), "{problem:#}");
    }
    device.registered = support::Device {
        id: device.registered.id,
        identity,
        secret,
    };
    device.reboot();
    assert_eq!(
        device.ask(&con(GET, 1, b"t", DESIRED)),
        ack(0x45, 1, b"t", NOTHING)
    );

    // Case matters: the same letters in another case are somebody else.
    let swapped = device.registered.identity.to_lowercase();
    assert_eq!(add_to(&device.server, "psk-limits-other", &swapped), 201);
}

#[test]
fn contract_1_a_session_is_kept_for_three_hours_at_least() {
    let refused = support::tessera()
        .args(["config", "check"])
        .env("TESSERA__COAPS__IDLE_TIMEOUT", "2h")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("3h"), "{said}");
}

#[test]
fn contract_1_a_new_handshake_of_a_device_ends_its_old_session() {
    let mut device = Device::new("replaced");
    device.asked(&con(GET, 1, b"observer", OBSERVE));
    let (socket, mut session) = connect(&device.server, &device.registered, &ClientConfig::default());
    let mut record = Vec::new();
    session.seal(&con(GET, 1, b"t", DESIRED), &mut record).unwrap();
    socket.send(&record).unwrap();
    socket.recv(&mut [0; 2048]).expect("the new session is answered");
    device.send(&con(GET, 2, b"t", DESIRED));
    device.hear_nothing();
    device.deploy("first", &[("main", "1.0.0")]);
    device.hear_nothing();
}

/// Registers a device with this identity; the status.
fn add_to(server: &Server, name: &str, identity: &str) -> u16 {
    let credential = json!({"type": "psk", "identity": identity, "secret": "x"});
    let body: Value = json!({"name": name, "credentials": [credential]});
    server.call("POST", "devices", body).0
}

/// A ClientHello by hand.
struct Hello<'a> {
    record_version: u16,
    suites: &'a [u16],
    extensions: &'a [u8],
}

/// What matters of a ServerHello.
struct ServerHello {
    suite: u16,
    session_id: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello<'_> {
    fn datagram(&self, cookie: &[u8], number: u8) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([0x5a; 32]);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend(cookie);
        body.extend((self.suites.len() as u16 * 2).to_be_bytes());
        body.extend(self.suites.iter().flat_map(|suite| suite.to_be_bytes()));
        body.extend([1, 0]);
        if !self.extensions.is_empty() {
            body.extend((self.extensions.len() as u16).to_be_bytes());
            body.extend(self.extensions);
        }
        let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
        let message = [
            &[1, high, middle, low, 0, number, 0, 0, 0, high, middle, low][..],
            &body,
        ]
        .concat();
        let [version_high, version_low] = self.record_version.to_be_bytes();
        let [length_high, length_low] = (message.len() as u16).to_be_bytes();
        let header = [
            22,
            version_high,
            version_low,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            number,
            length_high,
            length_low,
        ];
        [&header[..], &message].concat()
    }

    /// Says it, says it again with the cookie that comes, and reads the ServerHello.
    fn answered_by(&self, server: &Server) -> ServerHello {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", server.coaps_port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 2048];
        socket.send(&self.datagram(&[], 0)).unwrap();
        let length = socket.recv(&mut buffer).expect("a HelloVerifyRequest");
        // Record, handshake header, version, length, cookie.
        assert_eq!((buffer[0], buffer[13]), (22, 3));
        let cookie = buffer[28..length].to_vec();
        assert_eq!(usize::from(buffer[27]), cookie.len());
        socket.send(&self.datagram(&cookie, 1)).unwrap();
        socket.recv(&mut buffer).expect("a ServerHello");
        assert_eq!((buffer[0], &buffer[1..3], buffer[13]), (22, &[0xfe, 0xfd][..], 2));
        let end = 25 + usize::from(u16::from_be_bytes([buffer[23], buffer[24]]));
        let body = &buffer[25..end];
        assert_eq!(body[..2], [0xfe, 0xfd]);
        let (session_id, rest) = body[35..].split_at(usize::from(body[34]));
        let suite = u16::from_be_bytes([rest[0], rest[1]]);
        assert_eq!(rest[2], 0, "no compression");
        let mut extensions = Vec::new();
        let mut left = rest.get(5..).unwrap_or_default();
        while let [a, b, c, d, more @ ..] = left {
            let (value, after) = more.split_at(usize::from(u16::from_be_bytes([*c, *d])));
            extensions.push((u16::from_be_bytes([*a, *b]), value.to_vec()));
            left = after;
        }
        ServerHello {
            suite,
            session_id: session_id.to_vec(),
            extensions,
        }
    }
}

impl ServerHello {
    fn extension(&self, number: u16) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|(extension, _)| *extension == number);
        found.map(|(_, value)| value.as_slice())
    }
}
