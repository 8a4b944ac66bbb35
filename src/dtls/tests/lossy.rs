//! Handshakes over networks that lose, repeat and reorder. Either both sides end with the same keys, or none does.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::dtls::RecordHeader;

#[test]
fn any_single_datagram_may_be_lost() {
    for lost in 0..5 {
        for (suite, offered) in every_kind() {
            let mut simulation = simulation_with(suite, offered);
            simulation.run(|nth, _, _| if nth == lost { Vec::new() } else { well() }, agreed);
            simulation.assert_agreed();
            let took = simulation.now - simulation.start;
            assert!(
                took < Duration::from_millis(1500),
                "datagram {lost} lost: {took:?}"
            );
        }
    }
}

#[test]
fn any_two_datagrams_may_be_lost() {
    for suite in CipherSuite::ALL {
        for first in 0..8 {
            for second in first..8 {
                let mut simulation = simulation(suite);
                simulation.run(
                    |nth, _, _| {
                        if nth == first || nth == second {
                            Vec::new()
                        } else {
                            well()
                        }
                    },
                    agreed,
                );
                simulation.assert_agreed();
            }
        }
    }
}

#[test]
fn any_single_datagram_may_come_twice_at_once_or_later() {
    for twice in 0..5 {
        for later in [10, 25, 500, 30_000] {
            for (suite, offered) in every_kind() {
                let mut simulation = simulation_with(suite, offered);
                let fate = vec![Duration::from_millis(10), Duration::from_millis(later)];
                simulation.run(
                    |nth, _, _| if nth == twice { fate.clone() } else { well() },
                    |_| false,
                );
                simulation.assert_agreed();
            }
        }
    }
}

#[test]
fn any_single_datagram_may_be_late() {
    for late in 0..5 {
        for delay in [15, 900, 1100, 5000] {
            for (suite, offered) in every_kind() {
                let mut simulation = simulation_with(suite, offered);
                let fate = vec![Duration::from_millis(delay)];
                simulation.run(
                    |nth, _, _| if nth == late { fate.clone() } else { well() },
                    |_| false,
                );
                simulation.assert_agreed();
            }
        }
    }
}

#[test]
fn records_may_travel_apart_and_in_any_order() {
    // ClientKeyExchange, ChangeCipherSpec, Finished; with certificates, Certificate before them and CertificateVerify among
    // them. Every order.
    for ((suite, offered), order) in every_kind().flat_map(|kind| {
        let count = if kind.0.has_psk() { 3 } else { 5 };
        orders_of(count).into_iter().map(move |order| (kind, order))
    }) {
        let mut simulation = simulation_with(suite, offered);
        simulation.run(
            |_, way, datagram| {
                if way == Way::ToServer && is_key_exchange(datagram) {
                    Vec::new()
                } else {
                    well()
                }
            },
            |simulation| {
                simulation
                    .sent
                    .last()
                    .is_some_and(|(_, datagram)| is_key_exchange(datagram))
            },
        );
        let (_, mut datagram) = simulation.sent.last().unwrap().clone();
        let split: Vec<Vec<u8>> = records(&mut datagram).map(|record| record.to_vec()).collect();
        assert_eq!(split.len(), order.len());
        for index in &order {
            simulation.deliver(Way::ToServer, split[*index].clone());
            simulation.server.take_events(simulation.now);
        }
        assert!(
            simulation.server.session.is_some(),
            "{suite}, {offered:?}, {order:?}"
        );
        simulation.run(|_, _, _| well(), agreed);
        simulation.assert_agreed();
    }
}

#[test]
fn the_servers_first_flight_may_travel_apart_and_in_any_order() {
    let psk = (CipherSuite::EcdhePskAes128CcmSha256, vec![2, 12, 14]);
    let certified = (CipherSuite::EcdheEcdsaAes128Ccm, vec![2, 11, 12, 13, 14]);
    for (suite, kinds, order) in [psk, certified].into_iter().flat_map(|(suite, kinds)| {
        let orders = orders_of(kinds.len());
        orders.into_iter().map(move |order| (suite, kinds.clone(), order))
    }) {
        let mut simulation = simulation(suite);
        simulation.run(
            |nth, _, _| if nth == 2 { Vec::new() } else { well() },
            |simulation| simulation.sent.len() == 3,
        );
        let (_, mut datagram) = simulation.sent[2].clone();
        let split: Vec<Vec<u8>> = records(&mut datagram).map(|record| record.to_vec()).collect();
        assert_eq!(split.iter().map(|record| record[13]).collect::<Vec<_>>(), kinds);
        for index in &order {
            simulation.deliver(Way::ToClient, split[*index].clone());
        }
        simulation.run(|_, _, _| well(), agreed);
        simulation.assert_agreed();
        assert!(
            simulation.now - simulation.start < Duration::from_secs(1),
            "{order:?}"
        );
    }
}

#[test]
fn the_servers_last_flight_may_be_reordered() {
    let mut simulation = simulation(CipherSuite::PskAes128CbcSha256);
    simulation.run(
        |nth, _, _| if nth == 4 { Vec::new() } else { well() },
        |simulation| simulation.sent.len() == 5,
    );
    let (_, mut datagram) = simulation.sent[4].clone();
    let mut split: Vec<Vec<u8>> = records(&mut datagram).map(|record| record.to_vec()).collect();
    assert_eq!(split.len(), 2);
    split.reverse();
    for record in split {
        simulation.deliver(Way::ToClient, record);
    }
    simulation.run(|_, _, _| well(), agreed);
    simulation.assert_agreed();
}

#[test]
fn the_last_flight_comes_again_until_the_client_has_it_and_no_longer() {
    let mut simulation = simulation(CipherSuite::PskAes128Ccm8);
    let mut losses = 3;
    simulation.run(
        |_, way, datagram| {
            let last_flight = way == Way::ToClient && datagram[0] == 20;
            if last_flight { Vec::new() } else { well() }
        },
        |simulation| simulation.server.session.is_some(),
    );
    while losses > 0 {
        simulation.run(
            |_, _, _| Vec::new(),
            |simulation| {
                simulation
                    .sent
                    .last()
                    .is_some_and(|(way, _)| *way == Way::ToServer)
            },
        );
        let (_, mut again) = simulation.sent.pop().unwrap();
        let answers = simulation.server.handle(simulation.now, &mut again);
        assert_eq!(answers.len(), 1, "the last flight, again");
        losses -= 1;
        simulation.now += Duration::from_secs(8);
        simulation
            .client
            .handshake
            .handle_timeout(simulation.now)
            .unwrap();
        if losses == 0 {
            simulation.deliver(Way::ToClient, answers[0].clone());
        }
    }
    simulation.run(|_, _, _| well(), agreed);
    simulation.assert_agreed();
    let session = simulation.server.session.as_ref().unwrap();
    assert!(
        !session.keeps_last_flight(),
        "application data has shown that it arrived"
    );
}

#[test]
fn rfc6347_4_2_2_the_last_flight_comes_again_in_records_of_their_own_behind_any_number_of_others() {
    let mut simulation = simulation(CipherSuite::PskAes128Ccm8);
    simulation.run(
        |_, way, datagram| {
            let last_flight = way == Way::ToClient && datagram[0] == 20;
            if last_flight { Vec::new() } else { well() }
        },
        |simulation| simulation.server.session.is_some(),
    );
    // More than the client's replay window has room for. The last one arrives.
    let mut data = Vec::new();
    for _ in 0..100 {
        data.clear();
        let session = simulation.server.session.as_mut().unwrap();
        session.seal(b"early", &mut data).unwrap();
    }
    simulation.deliver(Way::ToClient, data);
    let due = simulation.client.handshake.poll_timeout().unwrap();
    simulation.now = due;
    simulation.client.handshake.handle_timeout(due).unwrap();
    let mut again = Vec::new();
    assert!(simulation.client.handshake.poll_transmit(&mut again));
    let mut flight = simulation.server.handle(due, &mut again).remove(0);
    let numbers: Vec<_> = records(&mut flight)
        .map(|record| RecordHeader::peek(record).unwrap())
        .map(|header| (header.epoch, header.number))
        .collect();
    assert_eq!(numbers, [(0, 4), (1, 101)]);
    simulation.deliver(Way::ToClient, flight);
    simulation.run(|_, _, _| well(), agreed);
    simulation.assert_agreed();
}

#[test]
fn a_client_that_stops_after_any_flight_costs_one_failure_and_no_session() {
    for stops_after in 0..3 {
        let mut simulation = simulation(CipherSuite::PskAes128Ccm8);
        let mut hellos = 0;
        simulation.run(
            |_, way, _| {
                if way == Way::ToServer {
                    hellos += 1;
                    if hellos > stops_after {
                        return Vec::new();
                    }
                }
                well()
            },
            |_| false,
        );
        assert_eq!(simulation.server.failures.len(), usize::from(stops_after == 2));
        assert!(simulation.server.session.is_none());
        assert!(simulation.server.handshake.is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A quarter of all datagrams is lost, a tenth comes twice, all arrive in any order.
    #[test]
    fn a_bad_network_is_only_slow(seed: u64) {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (suite, offered) = every_kind().nth((seed % 27) as usize).unwrap();
        let mut simulation = simulation_with(suite, offered);
        simulation.run(|_, _, _| bad_network(&mut rng), agreed);
        if agreed(&simulation) {
            simulation.assert_agreed();
        } else {
            prop_assert!(simulation.client.outcome.as_ref().unwrap().is_err());
        }
    }

    /// Somebody on the way also alters what he likes, and sends again what he has seen.
    #[test]
    fn an_adversary_in_between_gets_no_two_sides_with_different_keys(seed: u64) {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (suite, offered) = every_kind().nth((seed % 27) as usize).unwrap();
        let mut simulation = simulation_with(suite, offered);
        for _ in 0..40 {
            let until = simulation.sent.len() + 1;
            simulation.run(|_, _, _| bad_network(&mut rng), |simulation| simulation.sent.len() >= until);
            let Some((way, datagram)) = simulation.sent.get(rng.random_range(0..simulation.sent.len())).cloned() else {
                continue;
            };
            let mut altered = datagram;
            for _ in 0..rng.random_range(0..3) {
                let index = rng.random_range(0..altered.len());
                altered[index] ^= 1 << rng.random_range(0..8);
            }
            let delay = Duration::from_millis(rng.random_range(0..40));
            simulation.post(way, altered, vec![delay]);
        }
        simulation.run(|_, _, _| well(), |_| false);
        if let (Some(Ok(client)), Some(server)) = (&mut simulation.client.outcome, &mut simulation.server.session) {
            assert_speaking(client, server);
            assert_speaking(server, client);
        }
        // A client with a session has had the server's Finished.
        if let Some(Ok(_)) = simulation.client.outcome {
            prop_assert!(simulation.server.session.is_some());
        }
    }
}

/// Every suite, with and without connection IDs in either direction.
fn every_kind() -> impl Iterator<Item = (CipherSuite, OfferedConnectionId)> {
    CipherSuite::ALL
        .into_iter()
        .flat_map(|suite| OFFERS.map(|offered| (suite, offered)))
}

fn simulation(suite: CipherSuite) -> Simulation {
    simulation_with(suite, OfferedConnectionId::None)
}

fn simulation_with(suite: CipherSuite, offered: OfferedConnectionId) -> Simulation {
    let client = ClientConfig {
        suites: vec![suite],
        ..ClientConfig::default()
    };
    with_ids(client, offered, 1)
}

fn agreed(simulation: &Simulation) -> bool {
    matches!(simulation.client.outcome, Some(Ok(_))) && simulation.server.session.is_some()
}

fn is_key_exchange(datagram: &[u8]) -> bool {
    matches!(datagram.get(13), Some(16 | 11))
}

/// Every order of so many things.
fn orders_of(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    orders_of(count - 1)
        .into_iter()
        .flat_map(|order| {
            (0..count).map(move |at| {
                let mut order = order.clone();
                order.insert(at, count - 1);
                order
            })
        })
        .collect()
}

fn bad_network(rng: &mut StdRng) -> Fate {
    let copies = match rng.random_range(0..20) {
        0..5 => 0,
        5..7 => 2,
        _ => 1,
    };
    (0..copies)
        .map(|_| Duration::from_millis(rng.random_range(5..400)))
        .collect()
}
