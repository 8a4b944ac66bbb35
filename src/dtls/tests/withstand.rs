//! What `DTLS.md` 2 lists, as far as it takes both halves and a network between them: what is altered, cut into pieces,
//! repeated and contradicted on its way. Whatever becomes of that handshake, the next one succeeds.

use rand::seq::SliceRandom;

use super::*;
use crate::dtls::handshake::messages::Fragment;
use crate::dtls::record::{ContentType, RecordHeader, write_plaintext};

#[test]
fn any_datagram_may_arrive_with_a_bit_flipped() {
    for mode in modes() {
        for (nth, whole) in datagrams(mode).iter().enumerate() {
            // One bit of each byte; with certificates, whose handshakes take the longest, of as many as there is time for.
            let step = if mode.suite.has_psk() { 60 } else { 15 };
            for byte in (0..whole.len()).step_by(1 + whole.len() / step) {
                let mut simulation = altered(mode, nth, |datagram| {
                    // Signatures differ in length from run to run.
                    let byte = byte.min(datagram.len() - 1);
                    datagram[byte] ^= 1 << (byte % 8);
                });
                simulation.run_well();
                let context = format!("{mode:?}, datagram {nth}, byte {byte}");
                assert_no_client_alone(&mut simulation, &context);
                assert_next_succeeds(simulation, mode, &context);
            }
        }
    }
}

#[test]
fn any_datagram_may_arrive_cut_short() {
    for mode in modes() {
        for nth in 0..datagrams(mode).len() {
            for part in 0..16 {
                let mut simulation = altered(mode, nth, |datagram| {
                    datagram.truncate(datagram.len() * part / 16);
                });
                simulation.run_well();
                // What is whole of it counts, and the rest comes again.
                simulation.assert_agreed();
            }
        }
    }
}

#[test]
fn every_message_may_come_in_pieces_of_one_byte_in_any_order_and_twice() {
    for mode in modes() {
        for order in 0..3 {
            let (mut simulation, flight) = before_the_keys(mode);
            let (mut pieces, rest) = in_pieces(&flight, 1);
            pieces.extend(pieces.clone());
            match order {
                0 => {}
                1 => pieces.reverse(),
                _ => pieces.shuffle(&mut StdRng::seed_from_u64(5)),
            }
            for piece in pieces {
                simulation.deliver(Way::ToServer, piece);
            }
            for record in rest {
                simulation.deliver(Way::ToServer, record);
            }
            simulation.run_well();
            simulation.assert_agreed();
            let took = simulation.now - simulation.start;
            assert!(
                took < Duration::from_secs(1),
                "{mode:?}: nothing had to come again, {took:?}"
            );
        }
    }
}

#[test]
fn pieces_may_overlap_and_what_was_a_lie_is_overwritten() {
    for mode in modes() {
        let (mut simulation, flight) = before_the_keys(mode);
        let (genuine, rest) = in_pieces(&flight, 7);
        let mut lies = genuine.clone();
        for lie in &mut lies {
            let body = RecordHeader::LEN + 12;
            lie[body..].iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        // A message is whole as soon as all of it has arrived, so one piece of each is kept from the liar.
        for lie in lies.into_iter().filter(|lie| fragment(lie).offset != 0) {
            simulation.deliver(Way::ToServer, lie);
        }
        let (first, later): (Vec<_>, Vec<_>) =
            genuine.into_iter().partition(|piece| fragment(piece).offset == 0);
        for piece in later.into_iter().chain(first) {
            simulation.deliver(Way::ToServer, piece);
        }
        for record in rest {
            simulation.deliver(Way::ToServer, record);
        }
        simulation.run_well();
        simulation.assert_agreed();
    }
}

#[test]
fn messages_that_are_announced_and_never_come_are_forgotten_for_the_true_ones() {
    for mode in modes() {
        let (mut simulation, flight) = before_the_keys(mode);
        for (seq, kind) in (first_seq(&flight)..).zip([11, 16, 15, 1, 20, 99]) {
            for length in [2, 7, 200, 1023, 1024, 16_000, (1 << 24) - 1] {
                simulation.deliver(Way::ToServer, piece(kind, length, seq, 0, b""));
                simulation.deliver(Way::ToServer, piece(kind, length, seq, length - 1, b"x"));
            }
        }
        deliver(&mut simulation, &flight);
        simulation.run_well();
        simulation.assert_agreed();
    }
}

#[test]
fn a_flood_of_empty_pieces_takes_no_memory_and_no_session() {
    for mode in modes() {
        let (mut simulation, flight) = before_the_keys(mode);
        let seq = first_seq(&flight);
        // As many pieces as fit into the largest datagram, each of a message of another length; 11 is a Certificate.
        let mut datagram = Vec::new();
        for nth in 0..150 {
            let (kind, length) = [(16, 1024), (11, 8192), (16, 1000), (11, 8000)][nth % 4];
            datagram.extend(&piece(kind, length, seq + nth as u16 % 5, 0, b"")[RecordHeader::LEN..]);
        }
        let mut flood = Vec::new();
        write_plaintext(ContentType::Handshake, 0xfefd, 7, &datagram, &mut flood);
        assert!(flood.len() <= 2048);
        let answered = simulation.sent.len();
        let held = allocation_counter::measure(|| {
            for _ in 0..200 {
                let answers = simulation.server.handle(simulation.now, &mut flood.clone());
                assert!(answers.is_empty());
            }
        });
        assert!(held.bytes_current < 64 << 10, "{mode:?}: {held:?}");
        assert_eq!(simulation.sent.len(), answered, "{mode:?}: nothing is said to it");
        deliver(&mut simulation, &flight);
        simulation.run_well();
        simulation.assert_agreed();
    }
}

#[test]
fn a_hello_that_comes_a_thousand_times_in_a_moment_gets_one_flight() {
    for mode in modes() {
        let (mut simulation, flight) = before_the_keys(mode);
        let hello = simulation.sent[1].1.clone();
        let of_server = simulation.sent.iter().filter(|(way, _)| *way == Way::ToClient);
        let once: usize = of_server.map(|(_, datagram)| datagram.len()).sum();
        let mut said = 0;
        let moment = simulation.now + Duration::from_secs(1);
        for _ in 0..1000 {
            simulation.server.handle(moment, &mut hello.clone());
            let server = simulation.server.handshake.as_mut().unwrap();
            let mut out = Vec::new();
            while server.poll_transmit(&mut out) {
                said += std::mem::take(&mut out).len();
            }
        }
        assert_eq!(said, once, "{mode:?}");
        deliver(&mut simulation, &flight);
        simulation.run_well();
        simulation.assert_agreed();
    }
}

#[test]
fn messages_of_other_kinds_in_between_end_in_a_refusal_and_the_next_handshake_succeeds() {
    for mode in modes() {
        for kind in [0, 1, 2, 3, 4, 12, 13, 14, 15, 20, 21, 22, 23, 255] {
            let (mut simulation, flight) = before_the_keys(mode);
            let seq = first_seq(&flight);
            simulation.deliver(Way::ToServer, piece(kind, 3, seq, 0, b"abc"));
            assert!(simulation.server.session.is_none());
            simulation.run_well();
            let context = format!("{mode:?}, a message of kind {kind}");
            assert_no_client_alone(&mut simulation, &context);
            assert_next_succeeds(simulation, mode, &context);
        }
    }
}

#[test]
fn every_alert_there_is_may_be_forged_during_a_handshake() {
    for mode in modes() {
        let (mut simulation, flight) = before_the_keys(mode);
        for level in [0, 1, 2, 255] {
            for description in 0..=255 {
                let mut forged = Vec::new();
                write_plaintext(ContentType::Alert, 0xfefd, 5, &[level, description], &mut forged);
                simulation.deliver(Way::ToServer, forged);
            }
        }
        deliver(&mut simulation, &flight);
        simulation.run_well();
        simulation.assert_agreed();
    }
}

#[test]
fn rfc8449_4_limits_below_64_are_refused_and_64_is_kept_to() {
    use super::hostile::{World, hello, relength};
    for (limit, expected) in [
        (0, None),
        (63, None),
        (64, Some(64)),
        (0x4001, Some(1 << 14)),
        (0xffff, Some(1 << 14)),
    ] {
        let mut message = hello(&[0xc0a8]);
        let [high, low] = u16::to_be_bytes(limit);
        message.extend_from_slice(&[0, 6, 0, 28, 0, 2, high, low]);
        let mut world = World::new();
        let datagram = world.hello(&relength(message));
        match (world.start(&datagram), expected) {
            (Err(failure), None) => assert_eq!(failure.alert().unwrap()[13..], [2, 47], "{limit}"),
            (Ok(_), Some(_)) => {}
            (other, _) => panic!("{limit}: {other:?}"),
        }
    }
    let client = ClientConfig {
        record_size_limit: Some(64),
        ..ClientConfig::default()
    };
    let (_, server) = Simulation::new(client, ServerConfig::default(), 1).into_sessions();
    assert_eq!(server.max_plaintext(), 64);
}

/// A client with a session has the server's Finished, and the server understands it.
fn assert_no_client_alone(simulation: &mut Simulation, context: &str) {
    match (&mut simulation.client.outcome, &mut simulation.server.session) {
        (Some(Ok(client)), Some(server)) => {
            assert_speaking(client, server);
            assert_speaking(server, client);
        }
        (Some(Ok(_)), None) => panic!("{context}: the client alone has a session"),
        (Some(Err(_)) | None, _) => {}
    }
}

/// The same server, and a client that has just booted.
fn assert_next_succeeds(mut simulation: Simulation, mode: Mode, context: &str) {
    let established = simulation.server.established;
    let mut rng = StdRng::seed_from_u64(77);
    let config = Arc::new(mode.config());
    simulation.client = Client {
        handshake: ClientHandshake::with_credential(&config, mode.credential(), simulation.now, &mut rng),
        outcome: None,
        received: Vec::new(),
        closed: false,
    };
    simulation.run_well();
    assert!(matches!(simulation.client.outcome, Some(Ok(_))), "{context}");
    assert_eq!(simulation.server.established, established + 1, "{context}");
    simulation.assert_agreed();
}

/// A handshake in which what the client sends after the server's first flight is lost; and what that was.
fn before_the_keys(mode: Mode) -> (Simulation, Vec<Vec<u8>>) {
    let mut simulation = mode.simulation();
    let mut of_client = 0;
    let mut flight = Vec::new();
    simulation.run(
        |_, way, datagram| {
            of_client += usize::from(way == Way::ToServer);
            if way == Way::ToServer && of_client > 2 {
                flight.push(datagram.to_vec());
                return Vec::new();
            }
            well()
        },
        |simulation| {
            let of_client = simulation.sent.iter().filter(|(way, _)| *way == Way::ToServer);
            of_client.count() > 2
        },
    );
    (simulation, flight)
}

fn deliver(simulation: &mut Simulation, flight: &[Vec<u8>]) {
    for datagram in flight {
        simulation.deliver(Way::ToServer, datagram.clone());
    }
}

/// The datagrams of a handshake that nothing happens to.
fn datagrams(mode: Mode) -> Vec<Vec<u8>> {
    let mut simulation = mode.simulation();
    simulation.run_well();
    simulation
        .sent
        .into_iter()
        .map(|(_, datagram)| datagram)
        .collect()
}

/// Up to the datagram with this number, which is on its way and arrives as `change` leaves it.
fn altered(mode: Mode, nth: usize, change: impl FnOnce(&mut Vec<u8>)) -> Simulation {
    let mut simulation = mode.simulation();
    simulation.run(
        |sent, _, _| if sent == nth { Vec::new() } else { well() },
        |simulation| simulation.sent.len() > nth,
    );
    let (way, mut datagram) = simulation.sent[nth].clone();
    change(&mut datagram);
    simulation.post(way, datagram, well());
    simulation
}

/// The messages of a flight in pieces of `len` bytes, each in a datagram of its own; and the records that hold none.
fn in_pieces(flight: &[Vec<u8>], len: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut pieces, mut rest) = (Vec::new(), Vec::new());
    for datagram in flight {
        for record in records(&mut datagram.clone()) {
            let header = RecordHeader::peek(record).unwrap();
            if header.epoch > 0 || header.content_type != ContentType::Handshake {
                rest.push(record.to_vec());
                continue;
            }
            let mut body = &record[RecordHeader::LEN..];
            while let Some(of) = Fragment::read(&mut body) {
                for (nth, bytes) in of.body.chunks(len).enumerate() {
                    pieces.push(piece(
                        of.kind,
                        of.length,
                        of.message_seq,
                        of.offset + nth * len,
                        bytes,
                    ));
                }
            }
        }
    }
    assert!(pieces.len() > 1, "there is something to cut");
    (pieces, rest)
}

/// A record with a fragment of a message.
fn piece(kind: u8, length: usize, seq: u16, offset: usize, body: &[u8]) -> Vec<u8> {
    let u24 = |number: usize| {
        let [.., a, b, c] = number.to_be_bytes();
        [a, b, c]
    };
    let header = [
        &[kind][..],
        &u24(length),
        &seq.to_be_bytes(),
        &u24(offset),
        &u24(body.len()),
    ]
    .concat();
    let mut datagram = Vec::new();
    let message = [&header, body].concat();
    write_plaintext(ContentType::Handshake, 0xfefd, 9, &message, &mut datagram);
    datagram
}

fn fragment(datagram: &[u8]) -> Fragment<'_> {
    Fragment::read(&mut &datagram[RecordHeader::LEN..]).unwrap()
}

/// The number of the first message of a flight.
fn first_seq(flight: &[Vec<u8>]) -> u16 {
    fragment(&flight[0]).message_seq
}

/// How a device proves itself and protects its records, and whether its records have a connection ID.
#[derive(Clone, Copy, Debug)]
struct Mode {
    suite: CipherSuite,
    ids: OfferedConnectionId,
}

fn modes() -> impl Iterator<Item = Mode> {
    CipherSuite::ALL.into_iter().flat_map(|suite| {
        [OfferedConnectionId::None, OfferedConnectionId::Empty].map(|ids| Mode { suite, ids })
    })
}

impl Mode {
    fn simulation(self) -> Simulation {
        with_ids(self.config(), self.ids, 1)
    }

    fn credential(self) -> ClientCredential {
        if self.suite.has_psk() {
            ClientCredential::Psk {
                identity: identity(),
                key: psk(),
            }
        } else {
            ClientCredential::Certificate(Arc::new(fixtures::device()))
        }
    }

    fn config(self) -> ClientConfig {
        ClientConfig {
            suites: vec![self.suite],
            connection_id: self.ids,
            ..ClientConfig::default()
        }
    }
}
