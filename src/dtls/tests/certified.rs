//! Handshakes with certificates, and with clients whose certificates are not what they should be.

use super::hostile::{RANDOM, World, hello, relength};
use super::*;
use crate::dtls::crypto::{EphemeralKey, Transcript};
use crate::dtls::handshake::messages::{self, CERTIFICATE, CERTIFICATE_VERIFY, Fragment, certificates};
use crate::dtls::handshake::secrets::{MasterSecret, Randoms, Side};
use crate::dtls::record::{ContentType, RecordHeader, write_plaintext};
use crate::dtls::tests::fixtures::{NOW, anchors, device, pem, server};
use crate::dtls::{
    CertifiedKey, FailureReason, KeyDigest, MaxFragmentLength, ServerTrust, TrustAnchors, verify_chain,
};

const SUITE: CipherSuite = CipherSuite::EcdheEcdsaAes128GcmSha256;

#[test]
fn the_owner_is_asked_once_the_key_is_proven_and_nothing_is_served_before_the_answer() {
    let mut simulation = simulation(device());
    simulation.server.lookup = Duration::from_millis(2500);
    simulation.run(|_, _, _| well(), |simulation| simulation.server.wanted.is_some());
    let Some((_, Wanted::Chain(chain))) = &simulation.server.wanted else {
        panic!("{:?}", simulation.server.wanted)
    };
    let (facts, _) = verify_chain(chain, &anchors(), NOW).unwrap();
    assert_eq!(&facts, device().facts());
    simulation.run(
        |_, _, _| well(),
        |simulation| simulation.now - simulation.start > Duration::from_millis(2400),
    );
    assert!(simulation.client.outcome.is_none());
    simulation.run_well();
    simulation.assert_agreed();
    assert_eq!(simulation.server.claim, Some(Claim::Certificate(facts)));
    assert!(
        simulation.now - simulation.start < Duration::from_millis(2700),
        "its Finished was kept"
    );
}

#[test]
fn a_refusal_is_told_with_the_alert_that_fits() {
    let cases = [
        (ChainFault::Untrusted, 48),
        (ChainFault::Expired, 45),
        (ChainFault::NotYetValid, 42),
        (ChainFault::NotForClientUse, 43),
        (ChainFault::Revoked, 44),
        (ChainFault::UnknownDevice, 49),
        (ChainFault::Malformed, 42),
        (ChainFault::Unsupported, 43),
        (ChainFault::NoCertificate, 40),
        (ChainFault::Unavailable, 80),
    ];
    for (fault, alert) in cases {
        let mut simulation = simulation(device());
        simulation.server.verdict = Err(fault);
        simulation.run_well();
        let claim = Claim::Certificate(device().facts().clone());
        assert_refused(&simulation, FailureReason::Certificate(fault), Some(&claim));
        assert_eq!(
            client_told(&simulation),
            FailureReason::PeerAlert(alert),
            "{fault:?}"
        );
    }
}

#[test]
fn rfc5246_7_4_6_a_client_without_a_certificate_is_refused() {
    let mut simulation = simulation(device().with_chain(Vec::new()));
    simulation.run_well();
    let reason = FailureReason::Certificate(ChainFault::NoCertificate);
    assert_refused(&simulation, reason, None);
    assert_eq!(client_told(&simulation), FailureReason::PeerAlert(40));
}

#[test]
fn a_certificate_whose_key_the_client_lacks_is_refused() {
    let stolen = device().with_chain(server().chain().to_vec());
    let mut simulation = simulation(stolen);
    simulation.run_well();
    let claim = Claim::Certificate(server().facts().clone());
    assert_refused(&simulation, FailureReason::BadSignature, Some(&claim));
    assert_eq!(client_told(&simulation), FailureReason::PeerAlert(51));
    assert!(simulation.server.wanted.is_none(), "nobody was asked");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let der = device().chain()[0].clone();
    let cases = [
        (vec![b"no certificate".to_vec()], ChainFault::Malformed, 42),
        (vec![der[..der.len() - 1].to_vec()], ChainFault::Malformed, 42),
        (vec![[&der[..], &[0]].concat()], ChainFault::Malformed, 42),
        (vec![der; 9], ChainFault::Malformed, 42),
        (
            fixtures::chain(&[pem!("rsa_ca")])
                .leaf()
                .to_vec()
                .chunks(4096)
                .map(<[u8]>::to_vec)
                .collect(),
            ChainFault::Unsupported,
            43,
        ),
    ];
    for (chain, fault, alert) in cases {
        let mut simulation = simulation(device().with_chain(chain));
        simulation.run_well();
        assert_refused(&simulation, FailureReason::Certificate(fault), None);
        assert_eq!(client_told(&simulation), FailureReason::PeerAlert(alert));
    }
}

#[test]
fn no_byte_of_a_certificate_verify_can_be_changed() {
    let header = RecordHeader::LEN + messages::MESSAGE_HEADER_LEN;
    let len = record_of(&flight_of(&mut simulation(device())), CERTIFICATE_VERIFY).len();
    for byte in header..len - 2 {
        let mut simulation = simulation(device());
        let mut flight = flight_of(&mut simulation);
        let nth = position_of(&flight, CERTIFICATE_VERIFY);
        // A signature may be a byte shorter than the other one.
        let byte = byte.min(flight[nth].len() - 1);
        flight[nth][byte] ^= 1;
        simulation.deliver(Way::ToServer, flight.concat());
        simulation.run_well();
        let [failure] = &simulation.server.failures[..] else {
            panic!("byte {byte}: {:?}", simulation.server.failures)
        };
        let expected = match byte - header {
            // ECDSA with SHA-384, which is as good a name, but was not what was done.
            0 => FailureReason::BadSignature,
            1 => FailureReason::IllegalParameter,
            2 | 3 => FailureReason::Malformed,
            _ => FailureReason::BadSignature,
        };
        assert_eq!(failure.reason(), expected, "byte {byte}");
        assert!(simulation.server.session.is_none());
    }
}

/// Of a client that never meant to sign: its Finished is right for what it said.
#[test]
fn a_finished_without_a_certificate_verify_gets_nothing() {
    let mut world = World::new();
    world.config = Arc::new(ServerConfig {
        certificate: Some(Arc::new(server())),
        ..ServerConfig::default()
    });
    let hello = world.hello(&hello(&[0xc02b]));
    let mut server = world.start(&hello).unwrap();
    let mut flight = Vec::new();
    assert!(server.poll_transmit(&mut flight));
    let theirs: Vec<Vec<u8>> = records(&mut flight).map(|record| record[13..].to_vec()).collect();
    let [server_hello, _, exchange, _, _] = &theirs[..] else {
        panic!("{theirs:02x?}")
    };
    let key = EphemeralKey::generate();
    let certificate = certificates::certificate(2, device().chain());
    let point = certificates::client_point(3, key.public());
    let exchange = certificates::parse_signed_exchange(&exchange[12..]).unwrap();
    let randoms = Randoms {
        client: RANDOM,
        server: server_hello[14..46].try_into().unwrap(),
    };
    let shared = key.agree(exchange.point).unwrap();
    let master_secret = MasterSecret::derive_ecdhe(&shared, &randoms, None);
    let mut transcript = Transcript::new();
    transcript.update(&hello[13..]);
    theirs.iter().for_each(|message| transcript.update(message));
    transcript.update(&certificate);
    transcript.update(&point);
    let verify_data = master_secret.verify_data(Side::Client, transcript.hash());
    let finished = messages::message(20, 4, |body| body.extend_from_slice(&verify_data));

    let mut datagram = Vec::new();
    write_plaintext(ContentType::Handshake, 0xfefd, 2, &certificate, &mut datagram);
    write_plaintext(ContentType::Handshake, 0xfefd, 3, &point, &mut datagram);
    write_plaintext(ContentType::ChangeCipherSpec, 0xfefd, 4, &[1], &mut datagram);
    let mut client = master_secret.session(Side::Client, SUITE, &randoms);
    client
        .seal_as(ContentType::Handshake, &finished, &mut datagram)
        .unwrap();
    server.handle_datagram(world.now, &mut datagram).unwrap();
    assert!(server.poll_event().is_none(), "nobody is asked");
    assert!(!server.poll_transmit(&mut Vec::new()));
    let failure = server
        .handle_timeout(world.now + Duration::from_secs(61))
        .unwrap_err();
    let claim = Claim::Certificate(device().facts().clone());
    assert_eq!(
        (failure.reason(), failure.claim()),
        (FailureReason::TimedOut, Some(&claim))
    );
}

#[test]
fn messages_out_of_their_order_are_refused() {
    let point = [4; 65];
    let cases = [
        ("no certificate", vec![certificates::client_point(2, &point)]),
        (
            "two certificates",
            vec![
                certificates::certificate(2, device().chain()),
                certificates::certificate(3, device().chain()),
            ],
        ),
        (
            "a signature for a key exchange",
            vec![
                certificates::certificate(2, device().chain()),
                certificates::certificate_verify(3, &[7]),
            ],
        ),
    ];
    for (name, messages) in cases {
        let mut simulation = simulation(device());
        flight_of(&mut simulation);
        for message in messages {
            let mut datagram = Vec::new();
            write_plaintext(ContentType::Handshake, 0xfefd, 9, &message, &mut datagram);
            simulation.deliver(Way::ToServer, datagram);
        }
        assert_eq!(
            simulation.server.reasons(),
            [FailureReason::UnexpectedMessage],
            "{name}"
        );
    }
}

#[test]
fn a_point_that_is_none_is_refused() {
    let mut simulation = simulation(device());
    flight_of(&mut simulation);
    for message in [
        certificates::certificate(2, device().chain()),
        certificates::client_point(3, &[4; 65]),
    ] {
        let mut datagram = Vec::new();
        write_plaintext(ContentType::Handshake, 0xfefd, 9, &message, &mut datagram);
        simulation.deliver(Way::ToServer, datagram);
    }
    let claim = Claim::Certificate(device().facts().clone());
    assert_refused(&simulation, FailureReason::IllegalParameter, Some(&claim));
}

#[test]
fn long_chains_travel_in_fragments_that_each_side_takes() {
    let long = |own: CertifiedKey, times| {
        let chain = own.chain().to_vec();
        let rsa = fixtures::chain(&[pem!("rsa_ca")]).leaf().to_vec();
        own.with_chain([chain, vec![rsa; times]].concat())
    };
    for (times, max_fragment_length) in [(3, None), (3, Some(MaxFragmentLength::Bytes512)), (7, None)] {
        let client = ClientConfig {
            suites: vec![SUITE],
            max_fragment_length,
            ..ClientConfig::default()
        };
        let server = ServerConfig {
            certificate: Some(Arc::new(long(server(), times))),
            ..ServerConfig::default()
        };
        let credential = ClientCredential::Certificate(Arc::new(long(device(), times)));
        let mut simulation = Simulation::with_credential(client, server, 1, credential, None);
        simulation.run_well();
        simulation.assert_agreed();
        let to_client = simulation
            .sent
            .iter()
            .filter(|(way, _)| *way == Way::ToClient)
            .count();
        assert!((times..=times + 2).contains(&to_client), "{times}: {to_client}");
        for (way, datagram) in &simulation.sent {
            assert!(datagram.len() <= 1200);
            let longest = records(&mut datagram.clone()).map(|record| record.len()).max();
            if *way == Way::ToClient && max_fragment_length.is_some() {
                assert!(longest <= Some(512 + RecordHeader::LEN), "{longest:?}");
            }
        }
    }
}

#[test]
fn our_client_believes_whom_its_anchors_vouch_for() {
    let rsa = TrustAnchors::from_pem(pem!("rsa_ca")).unwrap();
    let cases = [
        (anchors(), NOW, server(), None),
        (rsa, NOW, server(), Some((ChainFault::Untrusted, 48))),
        (
            anchors(),
            9_000_000_000,
            server(),
            Some((ChainFault::Expired, 45)),
        ),
        // A device cannot play the gateway.
        (anchors(), NOW, device(), Some((ChainFault::NotForClientUse, 43))),
        (
            anchors(),
            NOW,
            server().with_chain(Vec::new()),
            Some((ChainFault::NoCertificate, 40)),
        ),
    ];
    for (anchors, unix_s, certificate, refused) in cases {
        let client = ClientConfig {
            suites: vec![SUITE],
            trust: ServerTrust::Anchors {
                anchors: Arc::new(anchors),
                unix_s,
            },
            ..ClientConfig::default()
        };
        let server = ServerConfig {
            certificate: Some(Arc::new(certificate)),
            ..ServerConfig::default()
        };
        let mut simulation = Simulation::new(client, server, 1);
        simulation.run_well();
        match refused {
            None => simulation.assert_agreed(),
            Some((fault, alert)) => {
                let Some(Err(failure)) = &simulation.client.outcome else {
                    panic!("the client has a session")
                };
                assert_eq!(failure.reason(), FailureReason::Certificate(fault));
                assert_eq!(failure.alert().unwrap()[13..], [2, alert]);
            }
        }
    }
}

#[test]
fn our_client_refuses_a_server_that_lacks_the_key_it_shows() {
    let client = ClientConfig {
        suites: vec![SUITE],
        ..ClientConfig::default()
    };
    let impostor = ServerConfig {
        certificate: Some(Arc::new(device().with_chain(server().chain().to_vec()))),
        ..ServerConfig::default()
    };
    let mut simulation = Simulation::new(client, impostor, 1);
    simulation.run_well();
    let Some(Err(failure)) = &simulation.client.outcome else {
        panic!("the client has a session")
    };
    assert_eq!(failure.reason(), FailureReason::BadSignature);
}

#[test]
fn a_client_that_offers_both_gets_the_pre_shared_key() {
    const NO_EXTENSIONS: &[u8] = &[];
    // As OpenSSL does without holding a certificate.
    assert_eq!(
        chosen(&[0xc02b, 0xc0ac, 0xc0ae, 0x00a8], NO_EXTENSIONS),
        Ok(0x00a8)
    );
    assert_eq!(
        chosen(&[0xc0ae, 0xc02b], NO_EXTENSIONS),
        Ok(0xc0ae),
        "the client's order"
    );
    // RSA alone.
    assert_eq!(
        chosen(&[0xc02f, 0x009c], NO_EXTENSIONS),
        Err(FailureReason::NoCommonSuite)
    );
    let rsa_signatures = &[0, 13, 0, 4, 0, 2, 4, 1];
    assert_eq!(
        chosen(&[0xc02b], rsa_signatures),
        Err(FailureReason::NoCommonSuite)
    );
    assert_eq!(chosen(&[0xc02b, 0x00a8], rsa_signatures), Ok(0x00a8));
    let x25519 = &[0, 10, 0, 4, 0, 2, 0, 29];
    assert_eq!(chosen(&[0xc02b], x25519), Err(FailureReason::NoCommonSuite));
}

#[test]
fn without_a_certificate_there_are_no_suites_with_one() {
    let mut world = World::new();
    let datagram = world.hello(&hello(&[0xc02b]));
    let failure = world.start(&datagram).unwrap_err();
    assert_eq!(failure.reason(), FailureReason::NoCommonSuite);
    assert_eq!(failure.alert().unwrap()[13..], [2, 40]);
}

#[test]
fn rfc7250_4_2_raw_keys_are_agreed_on_only_where_x509_is_not_listed_and_the_listener_has_them_on() {
    let x509_too = &[0, 19, 0, 3, 2, 2, 0, 0, 20, 0, 3, 2, 2, 0];
    let raw_alone = &[0, 19, 0, 2, 1, 2, 0, 20, 0, 2, 1, 2];
    let openpgp = &[0, 19, 0, 2, 1, 1];
    let unsupported = Err(FailureReason::Certificate(ChainFault::Unsupported));
    for on in [false, true] {
        let chosen = |extensions: &[u8]| answer(&[0xc02b], extensions, on).map(|(_, extensions)| extensions);
        assert_eq!(chosen(x509_too), Ok(Vec::new()), "no answer is X.509");
        assert_eq!(chosen(openpgp), unsupported);
        let expected = if on {
            Ok(vec![0, 19, 0, 1, 2, 0, 20, 0, 1, 2])
        } else {
            unsupported.clone()
        };
        assert_eq!(chosen(raw_alone), expected);
        assert_eq!(
            answer(&[0xc02b, 0x00a8], raw_alone, on),
            Ok((0x00a8, Vec::new())),
            "it does not concern a pre-shared key"
        );
    }
}

#[test]
fn a_raw_key_is_proven_and_its_digest_asked_for() {
    for (trust, raw_server) in [
        (ServerTrust::Anyone, true),
        (
            ServerTrust::Anchors {
                anchors: Arc::new(anchors()),
                unix_s: NOW,
            },
            false,
        ),
    ] {
        let mut simulation = raw_simulation(device(), trust, true);
        simulation.run_well();
        simulation.assert_agreed();
        assert_eq!(
            simulation.server.claim,
            Some(Claim::RawKey(device().key_digest()))
        );
        let flight = simulation.sent[2].1.clone();
        let shown = if raw_server {
            certificates::raw_key(2, server().public_key_info())
        } else {
            certificates::certificate(2, server().chain())
        };
        assert!(flight.windows(shown.len()).any(|window| window == shown));
    }
    // `openssl pkey -pubin -outform DER | sha256sum` names it too.
    let digest = KeyDigest::of(device().public_key_info());
    assert_eq!(digest, device().key_digest());
}

#[test]
fn a_raw_key_that_is_not_the_clients_or_not_wanted_is_refused() {
    let mut simulation = raw_simulation(device(), ServerTrust::Anyone, false);
    simulation.run_well();
    assert_refused(
        &simulation,
        FailureReason::Certificate(ChainFault::Unsupported),
        None,
    );

    let mut simulation = raw_simulation(device(), ServerTrust::Anyone, true);
    simulation.server.verdict = Err(ChainFault::UnknownDevice);
    simulation.run_well();
    let claim = Claim::RawKey(device().key_digest());
    let reason = FailureReason::Certificate(ChainFault::UnknownDevice);
    assert_refused(&simulation, reason, Some(&claim));

    let mut simulation = raw_simulation(device(), ServerTrust::Anyone, true);
    let mut flight = flight_of(&mut simulation);
    let nth = position_of(&flight, CERTIFICATE);
    let stolen = certificates::raw_key(2, server().public_key_info());
    flight[nth].truncate(RecordHeader::LEN);
    flight[nth].extend_from_slice(&stolen);
    simulation.deliver(Way::ToServer, flight.concat());
    let claim = Claim::RawKey(server().key_digest());
    assert_refused(&simulation, FailureReason::BadSignature, Some(&claim));
}

/// The records of the client's flight, which is held back; everything before it has happened.
fn flight_of(simulation: &mut Simulation) -> Vec<Vec<u8>> {
    let is_flight = |way: Way, datagram: &[u8]| {
        way == Way::ToServer && datagram.get(RecordHeader::LEN) == Some(&CERTIFICATE)
    };
    simulation.run(
        |_, way, datagram| {
            if is_flight(way, datagram) {
                Vec::new()
            } else {
                well()
            }
        },
        |simulation| {
            simulation
                .sent
                .iter()
                .any(|(way, datagram)| is_flight(*way, datagram))
        },
    );
    let (_, mut datagram) = simulation.sent.last().unwrap().clone();
    records(&mut datagram).map(|record| record.to_vec()).collect()
}

fn position_of(flight: &[Vec<u8>], kind: u8) -> usize {
    let is_it = |record: &Vec<u8>| {
        let fragment = Fragment::read(&mut &record[RecordHeader::LEN..]);
        record[4] == 0 && fragment.is_some_and(|fragment| fragment.kind == kind)
    };
    flight.iter().position(is_it).unwrap()
}

fn record_of(flight: &[Vec<u8>], kind: u8) -> &[u8] {
    &flight[position_of(flight, kind)]
}

fn assert_refused(simulation: &Simulation, reason: FailureReason, claim: Option<&Claim>) {
    let [failure] = &simulation.server.failures[..] else {
        panic!("{:?}", simulation.server.failures)
    };
    assert_eq!((failure.reason(), failure.claim()), (reason, claim));
    assert!(simulation.server.session.is_none());
}

fn client_told(simulation: &Simulation) -> FailureReason {
    match &simulation.client.outcome {
        Some(Err(failure)) => failure.reason(),
        other => panic!("{other:?}"),
    }
}

fn chosen(suites: &[u16], extensions: &[u8]) -> Result<u16, FailureReason> {
    answer(suites, extensions, false).map(|(suite, _)| suite)
}

/// The suite that a hello gets from a server with a certificate, and the extensions answered.
fn answer(suites: &[u16], extensions: &[u8], raw_public_keys: bool) -> Result<(u16, Vec<u8>), FailureReason> {
    let mut message = hello(suites);
    if !extensions.is_empty() {
        message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        message.extend_from_slice(extensions);
    }
    let mut world = World::new();
    world.config = Arc::new(ServerConfig {
        certificate: Some(Arc::new(server())),
        raw_public_keys,
        ..ServerConfig::default()
    });
    let datagram = world.hello(&relength(message));
    let mut handshake = world.start(&datagram).map_err(|failure| failure.reason())?;
    let mut flight = Vec::new();
    assert!(handshake.poll_transmit(&mut flight));
    let hello = records(&mut flight).next().unwrap();
    let suite = u16::from_be_bytes([hello[60], hello[61]]);
    Ok((suite, hello.get(65..).unwrap_or_default().to_vec()))
}

fn simulation(own: CertifiedKey) -> Simulation {
    let credential = ClientCredential::Certificate(Arc::new(own));
    let client = ClientConfig {
        suites: vec![SUITE],
        ..ClientConfig::default()
    };
    Simulation::with_credential(client, ServerConfig::default(), 1, credential, None)
}

fn raw_simulation(own: CertifiedKey, trust: ServerTrust, raw_public_keys: bool) -> Simulation {
    let client = ClientConfig {
        suites: vec![SUITE],
        trust,
        ..ClientConfig::default()
    };
    let server = ServerConfig {
        raw_public_keys,
        ..ServerConfig::default()
    };
    let credential = ClientCredential::RawKey(Arc::new(own));
    Simulation::with_credential(client, server, 1, credential, None)
}
