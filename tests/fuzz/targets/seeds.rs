//! What a fuzzer starts from: handshakes and records as they really go, in every setup, and messages as devices send them.

use tessera::dtls::{CipherSuite, ContentType, RecordHeader};

use super::recording::Recording;
use super::script::Script;
use super::setup::{Setup, der, pem};

/// An input of a target, with a name.
pub struct Seed {
    pub target: &'static str,
    pub name: String,
    pub input: Vec<u8>,
}

/// All of them. Those with ephemeral keys in them are others each time.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for suites in 0..CipherSuite::ALL.len() as u8 {
        for several in [0, 0x80, 0x40] {
            for flags in [0, 1, 2, 4, 8, 16, 32, 0x40, 0x80, 0xc0] {
                // One suite in every setup, the others plain: what differs elsewhere does not depend on the suite.
                if suites == 0 || matches!(flags, 0 | 8 | 16 | 0xc0) {
                    of_setup([suites | several, flags], &mut seeds);
                }
            }
        }
    }
    for (number, (anchor, chain)) in CHAINS.iter().enumerate() {
        let ders = chain.iter().map(|pem| with_length(&[], &der(pem)));
        let input = [vec![*anchor], ders.collect::<Vec<_>>().concat()].concat();
        seeds.push(Seed::new("certificates", format!("chain-{number}"), input));
    }
    for (number, pem) in PEM.iter().enumerate() {
        let input = [&[0], *pem].concat();
        seeds.push(Seed::new("certificates", format!("pem-{number}"), input));
    }
    for (number, message) in COAP.iter().enumerate() {
        seeds.push(Seed::new(
            "coap_parser",
            format!("message-{number}"),
            message.to_vec(),
        ));
    }
    for (number, report) in REPORTS.iter().enumerate() {
        seeds.push(Seed::new("reports", format!("report-{number}"), report.to_vec()));
    }
    for (number, report) in long_reports().into_iter().enumerate() {
        seeds.push(Seed::new("reports", format!("long-{number}"), report));
    }
    seeds
}

fn of_setup(bytes: [u8; 2], seeds: &mut Vec<Seed>) {
    let Some(setup) = Setup::read(&mut Script::new(&bytes)) else {
        return;
    };
    let recording = Recording::of(setup);
    let mut add = |target, what: &str, steps: &[Vec<u8>]| {
        let name = format!("{:02x}{:02x}-{what}", bytes[0], bytes[1]);
        seeds.push(Seed::new(target, name, [&bytes[..], &steps.concat()].concat()));
    };
    for (target, records) in [
        ("server_machine", &recording.to_server),
        ("client_machine", &recording.to_client),
    ] {
        let count = records.len() as u8;
        let one_by_one: Vec<Vec<u8>> = (0..count).map(|which| vec![1, which]).collect();
        let raw: Vec<Vec<u8>> = records.iter().map(|record| with_length(&[0], record)).collect();
        let damaged: Vec<Vec<u8>> = (0..count)
            .flat_map(|which| [vec![2, which, 0, 30, 1], vec![1, which]])
            .collect();
        let with_pauses: Vec<Vec<u8>> = (0..count)
            .flat_map(|which| [vec![1, which], vec![4, 0x04, 0], vec![5, 1]])
            .collect();
        let mut backwards = one_by_one.clone();
        backwards.reverse();
        add(target, "as-it-went", &one_by_one);
        add(target, "as-bytes", &raw);
        add(target, "at-once", &[vec![3, 0, count]]);
        add(target, "backwards", &[backwards, one_by_one].concat());
        add(target, "damaged", &damaged);
        add(target, "with-pauses", &with_pauses);
        add(
            target,
            "gives-up",
            &[vec![1, 0], vec![4, 0x40, 0], vec![4, 0x40, 0]],
        );
    }
    let machines = [
        ("server_machine", &recording.to_server, [7, 2]),
        ("client_machine", &recording.to_client, [5, 2]),
    ];
    for (target, records, [step, handshake]) in machines {
        // All but the Finished, and another one in its place, by somebody who has the keys.
        let seq = records.iter().filter(|record| is_plain_message(record)).count() as u8;
        let finished = [&[20, 0, 0, 12, 0, seq, 0, 0, 0, 0, 0, 12][..], &[7; 12]].concat();
        let mut steps: Vec<Vec<u8>> = (1..records.len() as u8).map(|count| vec![1, count - 1]).collect();
        steps.push(with_length(&[step, handshake], &finished));
        add(target, "insider", &steps);
        steps.pop();
        steps.push(with_length(&[step, 1], &[2, 40]));
        add(target, "insider-alert", &steps);
    }
    for (way, records) in [(0, &recording.to_server), (0x80, &recording.to_client)] {
        for (state, record) in records.iter().enumerate() {
            if is_plain_message(record) {
                for cut in [0, 7, 0x80 | 20] {
                    let message =
                        with_length(&[record[RecordHeader::LEN]], &record[RecordHeader::LEN + 12..]);
                    add(
                        "handshake_messages",
                        &format!("{state}-{way}-{cut}"),
                        &[vec![state as u8 | way, cut], message],
                    );
                }
            }
        }
    }
    add(
        "record_layer",
        "there-and-back",
        &[
            with_length(&[1, 0], b"a request"),
            with_length(&[0x81, 0], b"an answer"),
            vec![3, 0],
            vec![0x83, 0],
            vec![4, 0, 20],
            vec![5],
            vec![0x85],
            with_length(&[1, 0], b""),
            with_length(&[2, 0, 20, 1], b"another"),
            with_length(&[0x82, 0, 9, 0x80], b"another"),
            with_length(&[1, 2], &[20, 0, 0, 12]),
            with_length(&[0x81, 3], &[1]),
            with_length(&[1, 4], &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
            with_length(&[0x81, 4], &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
            with_length(&[1, 1], &[1, 90]),
            with_length(&[1, 1], &[1, 0]),
        ],
    );
    for record in recording.to_server.iter().chain(&recording.to_client) {
        add("record_layer", "a-handshake", &[with_length(&[0], record)]);
    }
    let there_and_back = |steps: &[u8]| steps.iter().map(|way| vec![0, *way]).collect::<Vec<_>>();
    add("adversary", "nobody", &[]);
    add(
        "adversary",
        "all-is-well",
        &[
            there_and_back(&[0, 1, 0, 1, 0, 1]),
            vec![vec![11, 0, 9], vec![11, 1, 7]],
            there_and_back(&[0, 1]),
        ]
        .concat(),
    );
    for lost in 0..5 {
        let steps = (0..5).map(|nth| vec![u8::from(nth == lost), nth & 1]);
        add(
            "adversary",
            &format!("lost-{lost}"),
            &steps.chain([vec![9, 25]]).collect::<Vec<_>>(),
        );
    }
    let again = (0..5).flat_map(|nth| {
        [
            vec![0, nth & 1],
            vec![2, 0],
            vec![2, 1],
            vec![3, 0, 1],
            vec![3, 0, 0],
        ]
    });
    add("adversary", "again-and-again", &again.collect::<Vec<_>>());
    let altered = (0..5).flat_map(|nth| {
        [
            vec![5, 0, 0, 60, 1],
            vec![0, nth & 1],
            vec![6, 0, 0, 40],
            vec![7, 0],
        ]
    });
    add("adversary", "altered", &altered.collect::<Vec<_>>());
    add(
        "adversary",
        "an-alert",
        &[
            there_and_back(&[0, 1]),
            vec![with_length(
                &[8, 0],
                &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
            )],
            there_and_back(&[0, 1]),
            vec![
                with_length(&[8, 1], &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40]),
                vec![10],
                vec![4, 0, 1],
            ],
        ]
        .concat(),
    );
    if let Some((client, server)) = recording.sessions() {
        // A saved session is an input by itself, without a setup.
        for (side, session) in [("client", client), ("server", server)] {
            let name = format!("{:02x}{:02x}-saved-{side}", bytes[0], bytes[1]);
            seeds.push(Seed::new(
                "record_layer",
                name,
                session.save().to_bytes().to_vec(),
            ));
        }
    }
}

impl Seed {
    fn new(target: &'static str, name: String, input: Vec<u8>) -> Self {
        Self { target, name, input }
    }
}

/// Texts at the length of the longest name, and one above.
fn long_reports() -> [Vec<u8>; 2] {
    [64, 65].map(|len| [&b"\xa1\x61v\x78"[..], &[len], &vec![b'1'; usize::from(len)]].concat())
}

fn is_plain_message(record: &[u8]) -> bool {
    RecordHeader::peek(record)
        .is_some_and(|header| header.epoch == 0 && header.content_type == ContentType::Handshake)
}

fn with_length(step: &[u8], bytes: &[u8]) -> Vec<u8> {
    [step, &(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// An anchor, and a chain.
const CHAINS: [(u8, &[&[u8]]); 9] = [
    (0, &[pem!("device")]),
    (0, &[pem!("device_v1")]),
    (0, &[pem!("two_names")]),
    (0, &[pem!("device_server_use")]),
    (0, &[pem!("device_by_no_sign"), pem!("no_sign_ca")]),
    (1, &[pem!("device")]),
    (2, &[pem!("device_by_rsa")]),
    (3, &[pem!("device_by_sub"), pem!("sub_ca")]),
    (0, &[pem!("device_p384")]),
];

/// What operators upload.
const PEM: [&[u8]; 4] = [
    pem!("ca"),
    pem!("device"),
    pem!("device.key"),
    pem!("device.sec1"),
];

const COAP: [&[u8]; 12] = [
    // Observe 0, .u, desired, Accept 60.
    b"\x48\x01\x00\x01\x11\x22\x33\x44\x55\x66\x77\x88\x60\x52.u\x07desired\x61\x3c",
    // The same taken back.
    b"\x48\x01\x00\x02\x11\x22\x33\x44\x55\x66\x77\x88\x61\x01\x52.u\x07desired\x61\x3c",
    // A block of an artifact: Block2 5/0/1024.
    b"\x48\x01\x00\x03\x11\x22\x33\x44\x55\x66\x77\x88\xb2.u\x01a\x04main\x051.0.1\xc1\x56",
    // A report, in CBOR.
    b"\x44\x02\x00\x04\x01\x02\x03\x04\xb2.u\x05state\x11\x3c\xff\xbf\x61s\x01\x61r\x00\xff",
    // The same in queries.
    b"\x44\x02\x00\x05\x01\x02\x03\x04\xb2.u\x05state\x43s=1\x07v=1.0.0",
    // The first block of two: Block1 0/1/16.
    b"\x44\x02\x00\x06\x01\x02\x03\x04\xb2.u\x05state\xd1\x03\x08\xff0123456789abcdef",
    // A keepalive.
    b"\x48\x04\xff\xff\0\0\0\0\0\0\0\0",
    // A ping, its answer, an acknowledgement.
    b"\x40\x00\x12\x34",
    b"\x70\x00\x12\x34",
    b"\x60\x00\x12\x34",
    // An answer with an ETag, a Content-Format and Max-Age.
    b"\x64\x45\x12\x34\x01\x02\x03\x04\x44\xde\xad\xbe\xef\x81\x3c\x21\x3c\xffpayload",
    // Long options: 13 and 269 bytes more.
    b"\x50\x02\x00\x03\xe0\x00\x00\xe1\x00\x1f\xaa\xff\x00",
];

const REPORTS: [&[u8]; 9] = [
    b"\xbf\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x651.0.0\x61t\x651.0.1\xff",
    b"\xa4\x61s\x03\x61r\x01\x63pkg\x64main\x61v\x651.0.1",
    b"\xa5\x65state\x02\x66reason\x05\x67package\x65modem\x67version\x611\x66target\x612",
    b"{\"s\":1,\"r\":0,\"pkg\":\"main\",\"v\":\"1.0.0\",\"t\":\"1.0.1\"}",
    b"main?state=1&reason=0&v=1.0.0&t=",
    b"\xbf\x65level\x64warn\x66module\x63net\x63msg\x68no route\xff",
    b"\xa3\x65level\x64info\x63msg\x62up\x64rssi\x38\x4a",
    b"\xa2\x63msg\x62up\x61m\xa2\x61a\x82\x01\xfb\x40\x09\x21\xfb\x54\x44\x2d\x18\x61b\x43\x01\x02\x03",
    b"{\"level\":\"info\",\"msg\":\"up\",\"cells\":[1,{\"id\":2.5}]}",
];
