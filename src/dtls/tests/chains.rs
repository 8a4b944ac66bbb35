//! Certificates that somebody made to do harm, shown in whole handshakes: each is refused with its reason, takes no memory
//! with it, and the next handshake with a good one succeeds at the same server.

use super::fixtures::{NOW, anchors, device, pem};
use super::*;
use crate::dtls::{CertifiedKey, FailureReason, TrustAnchors, verify_chain};

#[test]
fn a_certificate_is_good_only_from_the_right_ca_in_its_time_and_for_clients() {
    let good = device().chain().to_vec();
    let of = |texts: &[&[u8]]| {
        let chain = fixtures::chain(texts);
        [
            vec![chain.leaf().to_vec()],
            chain.intermediates().map(<[u8]>::to_vec).collect(),
        ]
        .concat()
    };
    let other = TrustAnchors::from_pem(pem!("other_ca")).unwrap();
    let facts = device().facts().clone();
    let cases = [
        (
            "of another CA of the same name",
            good.clone(),
            other,
            NOW,
            ChainFault::Untrusted,
        ),
        (
            "of no CA",
            good.clone(),
            TrustAnchors::new(),
            NOW,
            ChainFault::Untrusted,
        ),
        (
            "past its time",
            good.clone(),
            anchors(),
            facts.not_after_unix_s + 1,
            ChainFault::Expired,
        ),
        (
            "before its time",
            good,
            anchors(),
            facts.not_before_unix_s - 1,
            ChainFault::NotYetValid,
        ),
        (
            "for servers",
            of(&[pem!("device_server_use")]),
            anchors(),
            NOW,
            ChainFault::NotForClientUse,
        ),
        (
            "not for signatures",
            of(&[pem!("device_no_signature")]),
            anchors(),
            NOW,
            ChainFault::NotForClientUse,
        ),
        (
            "a CA",
            of(&[pem!("device_as_ca")]),
            anchors(),
            NOW,
            ChainFault::NotForClientUse,
        ),
        (
            "without its issuer",
            of(&[pem!("device_by_sub")]),
            anchors(),
            NOW,
            ChainFault::Untrusted,
        ),
        (
            "issued by a leaf",
            of(&[pem!("device_by_sub"), pem!("device")]),
            anchors(),
            NOW,
            ChainFault::Untrusted,
        ),
        (
            "issued by version 1",
            of(&[pem!("device_by_v1"), pem!("v1_ca")]),
            anchors(),
            NOW,
            ChainFault::Unsupported,
        ),
    ];
    for (name, chain, anchors, now, expected) in cases {
        let simulation = judged(device().with_chain(chain), &anchors, now);
        assert_eq!(
            reasons(&simulation),
            [FailureReason::Certificate(expected)],
            "{name}"
        );
        assert!(simulation.server.session.is_none(), "{name}");
        assert!(matches!(simulation.client.outcome, Some(Err(_))), "{name}");
        assert_good_one_succeeds(simulation, name);
    }
}

#[test]
fn chains_of_too_many_or_too_long_certificates_are_refused_and_take_no_memory() {
    let good = device().chain()[0].clone();
    let cases = [
        (
            "a hundred that are none",
            vec![vec![0x30; 60]; 100],
            Some(ChainFault::Malformed),
        ),
        (
            "a hundred that are the same",
            vec![good[..75].to_vec(); 100],
            Some(ChainFault::Malformed),
        ),
        (
            "one more than the most",
            vec![good.clone(); 9],
            Some(ChainFault::Malformed),
        ),
        // Longer than any that is put together: there is nothing to be refused, and the handshake ends in time.
        ("a hundred good ones", vec![good.clone(); 100], None),
        ("one of 9000 bytes", vec![vec![0x30; 9000]], None),
        ("one of a megabyte", vec![vec![0x30; 1 << 20]], None),
    ];
    for (name, chain, expected) in cases {
        let own = device().with_chain(chain);
        let mut simulation = simulation(own);
        let mut held = 0;
        let allocated = allocation_counter::measure(|| {
            simulation.run_well();
            // What the test has recorded of what was said.
            held = simulation
                .sent
                .iter()
                .map(|(_, datagram)| datagram.capacity())
                .sum();
        });
        let reason = expected.map_or(FailureReason::TimedOut, FailureReason::Certificate);
        assert_eq!(reasons(&simulation), [reason], "{name}");
        let kept = allocated.bytes_current.unsigned_abs().saturating_sub(held as u64);
        assert!(
            kept < 4 * held as u64 + (64 << 10),
            "{name}: {kept} bytes for {held}"
        );
        assert_good_one_succeeds(simulation, name);
    }
}

#[test]
fn serial_numbers_and_names_that_are_too_long_are_refused() {
    let good = device().chain()[0].clone();
    let serial = [&[2_u8][..], &length(2000), &[0x11; 2000]].concat();
    let name = |len: usize| {
        let text = [&[0x0c][..], &length(len), &vec![b'x'; len]].concat();
        let pair = sequence(0x30, &[&[6, 3, 0x55, 4, 3][..], &text].concat());
        sequence(0x30, &sequence(0x31, &pair))
    };
    let cases = [
        (
            "a serial number of 2000 bytes",
            with_field(&good, SERIAL, &serial),
        ),
        ("a name of 257 bytes", with_field(&good, SUBJECT, &name(257))),
        ("a name of 5000 bytes", with_field(&good, SUBJECT, &name(5000))),
    ];
    for (what, certificate) in cases {
        let simulation = judged(device().with_chain(vec![certificate]), &anchors(), NOW);
        let reason = FailureReason::Certificate(ChainFault::Malformed);
        assert_eq!(reasons(&simulation), [reason], "{what}");
        assert_good_one_succeeds(simulation, what);
    }
    // And the way they are made is good: this one is refused for its signature alone.
    let certificate = with_field(&good, SUBJECT, &name(256));
    let simulation = judged(device().with_chain(vec![certificate]), &anchors(), NOW);
    assert_eq!(
        reasons(&simulation),
        [FailureReason::Certificate(ChainFault::Untrusted)]
    );
}

#[test]
fn what_a_name_holds_cannot_leave_its_line_in_a_log() {
    let good = device().chain()[0].clone();
    for text in [
        "\0lamp-1",
        "lamp-1\0.acme",
        "\n2026 INFO forged",
        "\r",
        "\u{1b}[2K",
        "\u{85}",
        "\u{2028}",
        "\u{202e}1-pmal",
        "\u{7f}",
        "straße 机",
    ] {
        let value = sequence(0x0c, text.as_bytes());
        let pair = |kind| {
            sequence(
                0x31,
                &sequence(0x30, &[&[6, 3, 0x55, 4, kind][..], &value].concat()),
            )
        };
        let subject = sequence(0x30, &[pair(10), pair(3)].concat());
        let certificate = with_field(&good, SUBJECT, &subject);
        let simulation = judged(device().with_chain(vec![certificate]), &anchors(), NOW);
        let [failure] = &simulation.server.failures[..] else {
            panic!("{:?}", simulation.server.failures)
        };
        let claim = failure.claim().expect("what it said of itself");
        for shown in [
            claim.to_string(),
            format!("{claim:?}"),
            failure.to_string(),
            format!("{failure:?}"),
        ] {
            assert!(
                shown
                    .chars()
                    .all(|c| c.is_ascii_graphic() || matches!(c, ' ' | 'ß' | '机')),
                "{text:?} is shown as {shown:?}"
            );
        }
        assert_good_one_succeeds(simulation, "a name");
    }
}

/// A handshake whose server asks these anchors at that time.
fn judged(own: CertifiedKey, anchors: &TrustAnchors, now: i64) -> Simulation {
    let mut simulation = simulation(own);
    simulation.server.lookup = Duration::from_millis(50);
    simulation.run(|_, _, _| well(), |simulation| simulation.server.wanted.is_some());
    if let Some((_, Wanted::Chain(chain))) = &simulation.server.wanted {
        simulation.server.verdict = verify_chain(chain, anchors, now).map(|_| ());
    }
    simulation.run_well();
    simulation
}

fn assert_good_one_succeeds(mut simulation: Simulation, after: &str) {
    let credential = ClientCredential::Certificate(Arc::new(device()));
    let mut rng = StdRng::seed_from_u64(78);
    simulation.client = Client {
        handshake: ClientHandshake::with_credential(
            &Arc::new(config()),
            credential,
            simulation.now,
            &mut rng,
        ),
        outcome: None,
        received: Vec::new(),
        closed: false,
    };
    simulation.server.verdict = Err(ChainFault::Untrusted);
    simulation.server.lookup = Duration::from_millis(50);
    simulation.run(|_, _, _| well(), |simulation| simulation.server.wanted.is_some());
    let Some((_, Wanted::Chain(chain))) = &simulation.server.wanted else {
        panic!("nobody is asked after {after}")
    };
    simulation.server.verdict = verify_chain(chain, &anchors(), NOW).map(|_| ());
    simulation.run_well();
    assert_eq!(simulation.server.established, 1, "after {after}");
    simulation.assert_agreed();
}

fn reasons(simulation: &Simulation) -> Vec<FailureReason> {
    simulation
        .server
        .failures
        .iter()
        .map(HandshakeFailure::reason)
        .collect()
}

fn simulation(own: CertifiedKey) -> Simulation {
    let credential = ClientCredential::Certificate(Arc::new(own));
    Simulation::with_credential(config(), ServerConfig::default(), 1, credential, None)
}

fn config() -> ClientConfig {
    ClientConfig {
        suites: vec![CipherSuite::EcdheEcdsaAes128Ccm8],
        ..ClientConfig::default()
    }
}

/// A certificate in which one field of what is signed is another. Its signature is none any more.
fn with_field(certificate: &[u8], at: usize, field: &[u8]) -> Vec<u8> {
    let whole = fields(content(certificate));
    let mut signed: Vec<Vec<u8>> = fields(content(&whole[0]));
    signed[at] = field.to_vec();
    let signed = sequence(0x30, &signed.concat());
    sequence(0x30, &[signed, whole[1..].concat()].concat())
}

/// The elements of a DER sequence's content.
fn fields(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (header, length) = header_of(bytes);
        let (field, rest) = bytes.split_at(header + length);
        fields.push(field.to_vec());
        bytes = rest;
    }
    fields
}

fn content(element: &[u8]) -> &[u8] {
    let (header, length) = header_of(element);
    &element[header..header + length]
}

/// How long an element's header is, and its content.
fn header_of(element: &[u8]) -> (usize, usize) {
    match element[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(element[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([element[2], element[3]]))),
        other => panic!("a length of {other:#x}"),
    }
}

fn sequence(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag][..], &length(content.len()), content].concat()
}

fn length(length: usize) -> Vec<u8> {
    match length {
        0..=0x7f => vec![length as u8],
        _ => [&[0x82][..], &(length as u16).to_be_bytes()].concat(),
    }
}

/// Where the fields stand in what is signed (RFC 5280 section 4.1).
const SERIAL: usize = 1;
const SUBJECT: usize = 5;
