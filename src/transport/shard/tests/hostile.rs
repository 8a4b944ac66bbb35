//! What `DTLS.md` 2 lists, against a shard: real bytes from the addresses of devices and of strangers, and afterwards the
//! device is answered in the session that it has. `tests/README.md` has the list with the tests that hold each line.

use rand::{Rng, RngExt};

use super::super::super::admission::Seats;
use super::*;
use crate::dtls::{OfferedConnectionId, RecordHeader, Session, records};

// ------------------------------------------------------------------------------------------ an established session

#[test]
fn nothing_from_a_devices_own_address_ends_or_changes_its_session() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        for (name, attack) in scene.attacks() {
            scene.inject(attack);
            scene.assert_untouched(name);
        }
        scene.assert_one_session();
    }
}

#[test]
fn a_recording_of_everything_that_was_sent_has_no_effect_a_second_time() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        for (at, datagram) in scene.recorded().into_iter().enumerate() {
            for _ in 0..3 {
                scene.inject(datagram.clone());
            }
            scene.assert_untouched(&format!("datagram {at} again"));
        }
        scene.assert_one_session();
    }
}

#[test]
fn every_cut_and_every_bit_of_every_recorded_datagram_changes_nothing() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        for (at, datagram) in scene.recorded().into_iter().enumerate() {
            for len in 0..datagram.len() {
                scene.inject(datagram[..len].to_vec());
            }
            scene.assert_untouched(&format!("cuts of datagram {at}"));
            for bit in 0..8 * datagram.len() {
                let mut altered = datagram.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                scene.inject(altered);
            }
            scene.assert_untouched(&format!("flipped bits of datagram {at}"));
        }
        scene.assert_one_session();
    }
}

#[test]
fn garbage_from_a_devices_own_address_changes_nothing() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        let mut rng = StdRng::seed_from_u64(1);
        for round in 0..20 {
            for _ in 0..200 {
                scene.inject(garbage(&mut rng));
            }
            scene.assert_untouched(&format!("round {round}"));
        }
        scene.assert_one_session();
    }
}

#[test]
fn what_a_device_has_yet_to_send_counts_behind_garbage_in_one_datagram() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        scene.request();
        let genuine = scene.world.device(1).out.pop().unwrap();
        let broken = record(23, 1, 0x00ff_ffff, &[7; 60]);
        let cleartext = record(21, 0, 9, &[2, 40]);
        scene
            .world
            .deliver_to_gateway(1, vec![[broken, cleartext, genuine].concat()]);
        scene.world.settle();
        assert_eq!(scene.world.device(1).told().unwrap().payload, "1:1");
    }
}

#[test]
fn a_record_that_was_sent_moves_no_session_when_it_comes_from_another_address() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        for datagram in scene.recorded() {
            scene.inject_from(far_address(200), datagram);
            // At most a cookie, for a hello.
            for answer in scene.answers_to(far_address(200)) {
                assert_eq!((answer[0], answer[13]), (22, 3));
            }
            scene.assert_untouched("a record from another address");
        }
        scene.assert_one_session();
    }
}

#[test]
fn a_record_that_was_not_sent_yet_keeps_its_number_when_it_comes_from_another_address() {
    let mut scene = Scene::new(Mode::Psk);
    scene.request();
    let unsent = scene.world.device(1).out.pop().unwrap();
    scene.inject_from(far_address(200), unsent.clone());
    assert!(scene.answers_to(far_address(200)).is_empty());
    scene.assert_unmoved("a record from another address");
    scene.world.deliver_to_gateway(1, vec![unsent]);
    scene.world.settle();
    assert_eq!(
        scene.world.device(1).told().unwrap().payload,
        "1:1",
        "its owner sends it"
    );
    scene.assert_one_session();
}

#[test]
fn records_under_other_connection_ids_are_nobodys() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        let sealed = scene.recorded().pop().unwrap();
        let body = &sealed[if mode.has_id() { 21 } else { 13 }..];
        let id = scene.connection_id();
        let mut forged = vec![
            ("no connection ID", record(23, 1, 5000, body)),
            ("the ID of nobody", identified([0xff; 8], 1, 5000, body)),
            ("an ID of zeros", identified([0; 8], 1, 5000, body)),
            ("half an ID", identified([0; 8], 1, 5000, body)[..17].to_vec()),
        ];
        if let Some(id) = id {
            for bit in 0..64 {
                let mut other = id;
                other[bit / 8] ^= 1 << (bit % 8);
                forged.push(("a bit of the ID flipped", identified(other, 1, 5000, body)));
            }
            forged.push(("the ID itself on a forged record", identified(id, 1, 5000, body)));
            forged.push(("the ID in the clear", identified(id, 0, 5000, body)));
            forged.push(("the ID in the next epoch", identified(id, 2, 5000, body)));
            forged.push(("the ID on an empty record", identified(id, 1, 5000, &[])));
        }
        for (name, datagram) in forged {
            for from in [address(1), far_address(200)] {
                scene.inject_from(from, datagram.clone());
                assert!(scene.answers_to(from).is_empty(), "{name}");
                scene.assert_untouched(name);
            }
        }
        scene.assert_one_session();
    }
}

#[test]
fn a_stranger_with_a_cookie_for_the_address_does_not_disturb_the_session_there() {
    for mode in Mode::ALL {
        // Somebody who can read what is sent to the device: his handshake runs beside the session until its deadline.
        let mut scene = Scene::new(mode);
        scene.stranger_with_a_cookie_at(address(1));
        assert_eq!(scene.world.shards[0].seats.taken(), 1);
        for _ in 0..70 {
            scene.world.pass(Duration::from_secs(1));
            scene.assert_untouched("a stranger's handshake");
        }
        assert_eq!(scene.world.shards[0].seats.taken(), 0);
        assert_eq!(scene.world.sessions.load(Ordering::SeqCst), 1);
    }
}

// --------------------------------------------------------------------------------- a device with keys that means harm

#[test]
fn what_a_device_says_out_of_place_in_its_session_is_ignored_and_takes_no_memory() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        let warm = |scene: &mut Scene, count: usize| {
            for nth in 0..count {
                for (kind, body) in [
                    (ContentType::Handshake, &[1; 60][..]),
                    (ContentType::Handshake, &[0; 12]),
                    (ContentType::Handshake, &[]),
                    (
                        ContentType::Handshake,
                        &[
                            20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3,
                        ],
                    ),
                    (ContentType::ChangeCipherSpec, &[1]),
                    (ContentType::Alert, &[1, 90]),
                    (ContentType::Alert, &[9, 9, 9]),
                    (ContentType::Alert, &[]),
                    (ContentType::ApplicationData, &[]),
                    (ContentType::ApplicationData, &[0xff; 40]),
                    (ContentType::ApplicationData, b"\x40\x01\x12\x34\xff"),
                ] {
                    let datagram = scene.seal(kind, body);
                    scene.inject(datagram);
                    assert!(
                        scene.answers_to(address(1)).is_empty(),
                        "{kind:?} {body:02x?}, time {nth}"
                    );
                }
            }
        };
        warm(&mut scene, 10);
        let grown = allocation_counter::measure(|| warm(&mut scene, 200));
        assert!(grown.bytes_current < 4096, "{grown:?}");
        scene.request();
        scene.world.settle();
        assert_eq!(scene.world.device(1).told().unwrap().payload, "1:1");
        scene.assert_one_session();
    }
}

#[test]
fn a_last_flight_is_sent_for_each_finished_that_is_authentic_and_new_and_for_no_copy() {
    let mut world = World::new(1);
    world.boot(1);
    let mut scene = Scene::of(world);
    let finished = [
        20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3,
    ];
    for _ in 0..100 {
        let repeated = scene.seal(ContentType::Handshake, &finished);
        scene.inject(repeated.clone());
        let answers = scene.answers_to(address(1));
        assert_eq!(answers.len(), 1);
        assert!(
            answers[0].len() <= repeated.len() + 14,
            "its ChangeCipherSpec and no more"
        );
        for _ in 0..5 {
            scene.inject(repeated.clone());
        }
        assert!(scene.answers_to(address(1)).is_empty());
    }
    scene.request();
    scene.world.settle();
    assert_eq!(scene.world.device(1).told().unwrap().payload, "1:1");
    let repeated = scene.seal(ContentType::Handshake, &finished);
    scene.inject(repeated);
    assert!(
        scene.answers_to(address(1)).is_empty(),
        "its data has shown that it has the flight"
    );
}

#[test]
fn a_device_that_uses_its_last_number_up_silences_itself_alone() {
    let mut world = World::observing(1);
    world.boot(2);
    let session = world.device(1).session.as_mut().unwrap();
    session.reserve(MAX_RECORD_NUMBER - 1);
    *session = Session::restore(session.save());
    session.reserve(MAX_RECORD_NUMBER);
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    world.publish(2);
    assert_eq!(world.device(1).told().unwrap().payload, "1:2", "it is still told");
    world.device(2).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(2).told().unwrap().payload, "2:2");
    // It comes back as any device does.
    world.reboot(1);
    world.settle();
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:2");
}

#[test]
fn rfc8449_4_the_smallest_record_size_limit_is_kept_to_and_a_smaller_one_refused() {
    let mut world = World::new(1);
    world.add(1);
    world.device(1).record_size_limit = Some(64);
    world.reboot(1);
    world.settle();
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    world.device(1).request(Code::GET, "long", None, None);
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!(
        (answer.code, answer.payload.as_str()),
        (Code::INTERNAL_SERVER_ERROR, "")
    );
}

// --------------------------------------------------------------------------------------------- during a handshake

#[test]
fn a_handshake_goes_on_only_where_it_began() {
    for mode in Mode::ALL {
        let mut world = World::certified(1);
        mode.boot(&mut world);
        let mut scene = Scene::of(world);
        for step in ["the hello with its cookie", "the keys and the Finished"] {
            scene.world.exchange_once();
            let flight = scene.world.device(1).out.clone();
            for datagram in flight {
                scene.inject_from(far_address(200), datagram);
            }
            let answers = scene.answers_to(far_address(200));
            if step == "the hello with its cookie" {
                // Another cookie, as a first hello would get it.
                assert!(
                    matches!(&answers[..], [answer] if answer[13] == 3),
                    "{answers:02x?}"
                );
            } else {
                assert!(answers.is_empty(), "{step}: {answers:02x?}");
            }
            assert_eq!(scene.world.sessions.load(Ordering::SeqCst), 0, "{step}");
        }
        scene.world.settle();
        scene.request();
        scene.world.settle();
        assert_eq!(scene.world.device(1).told().unwrap().payload, "1:1");
    }
}

#[test]
fn rfc6347_4_2_8_a_hello_that_comes_again_after_its_handshake_begins_none_until_the_device_has_spoken() {
    for mode in Mode::ALL {
        for is_apart in [false, true] {
            let mut scene = Scene::without_the_last_flight(mode);
            let mut hello = scene.recorded()[1].clone();
            scene.inject(hello.clone());
            // Its number is not in its cookie.
            hello[18] += 1;
            scene.inject(hello.clone());
            assert!(scene.answers_to(address(1)).is_empty());
            assert_eq!(scene.world.shards[0].seats.taken(), 0);
            scene.repeat_its_flight(is_apart);
            assert!(
                scene.world.device(1).session.is_some(),
                "{mode:?}, records in datagrams of their own: {is_apart}"
            );
            scene.assert_answered("its hello again");
            assert!(
                scene.world.shards[0].unheard.is_empty(),
                "nothing is kept of it any more"
            );
            scene.assert_one_session();
        }
    }
}

#[test]
fn a_device_that_waits_for_the_last_flight_gets_it_although_somebody_has_begun_another_handshake_there() {
    for mode in Mode::ALL {
        let mut scene = Scene::without_the_last_flight(mode);
        scene.stranger_with_a_cookie_at(address(1));
        assert_eq!(scene.world.shards[0].seats.taken(), 1);
        scene.repeat_its_flight(false);
        assert!(
            scene.world.device(1).session.is_some(),
            "{mode:?}: it has repeated its own"
        );
        scene.assert_answered("another's handshake");
    }
}

#[test]
fn a_device_that_reboots_before_it_has_the_last_flight_comes_back_at_once() {
    for mode in Mode::ALL {
        let mut scene = Scene::without_the_last_flight(mode);
        mode.boot_again(&mut scene.world);
        scene.world.settle();
        assert!(scene.world.device(1).session.is_some(), "{mode:?}");
        scene.assert_answered("a reboot");
        assert_eq!(scene.world.sessions.load(Ordering::SeqCst), 1);
        assert!(scene.world.shards[0].unheard.is_empty());
    }
}

#[test]
fn a_device_that_has_no_randomness_and_reboots_before_it_has_the_last_flight_comes_back_with_another_cookie()
{
    for mode in Mode::ALL {
        let mut scene = Scene::without_the_last_flight(mode);
        let first = scene.recorded()[0].clone();
        let hello = scene.recorded()[1].clone();
        // What a cookie lives at most.
        scene.world.now += Duration::from_secs(240);
        scene.inject(hello);
        let answers = scene.answers_to(address(1));
        assert!(
            matches!(&answers[..], [answer] if answer[13] == 3),
            "{answers:02x?}"
        );
        scene.inject(with_cookie_of(&first, &answers[0]));
        assert_eq!(scene.world.shards[0].seats.taken(), 1, "{mode:?}");
    }
}

#[test]
fn what_is_kept_of_hellos_ends_with_the_session() {
    for mode in Mode::ALL {
        let mut scene = Scene::without_the_last_flight(mode);
        assert_eq!(scene.world.shards[0].unheard.len(), 1);
        let hello = scene.recorded()[1].clone();
        scene.world.post(0, Message::Revoked { device: 1 });
        assert!(scene.world.shards[0].unheard.is_empty());
        scene.inject(hello);
        assert_eq!(
            scene.world.shards[0].seats.taken(),
            1,
            "{mode:?}: nobody is there"
        );
    }
}

#[test]
fn records_under_the_connection_id_of_a_handshake_in_flight_do_not_disturb_it() {
    for mode in [Mode::PskWithId, Mode::CertificateWithId] {
        let mut world = World::certified(1);
        mode.boot(&mut world);
        let flight = loop {
            let out = &mut world.device(1).out;
            let id = |datagram: &mut Vec<u8>| {
                records(datagram).find_map(|record| RecordHeader::connection_id(record))
            };
            if let Some(id) = out.iter_mut().find_map(id) {
                break (std::mem::take(out), id.to_bytes());
            }
            world.exchange_once();
        };
        let (flight, id) = flight;
        let mut scene = Scene::of(world);
        for number in 0..200 {
            for from in [address(1), far_address(200)] {
                scene.inject_from(from, identified(id, 1, number, &[7; 48]));
                scene.inject_from(from, identified(id, 0, number, &[7; 48]));
                assert!(scene.answers_to(from).is_empty());
            }
        }
        // From elsewhere even the genuine one counts for nothing.
        for datagram in &flight {
            for record in records(&mut datagram.clone()) {
                scene.inject_from(far_address(200), record.to_vec());
            }
        }
        assert!(scene.answers_to(far_address(200)).is_empty());
        scene.world.deliver_to_gateway(1, flight);
        scene.world.settle();
        scene.world.pass(Duration::from_secs(2));
        scene.assert_answered("forged records of its handshake");
        scene.assert_one_session();
    }
}

#[test]
fn a_lookup_that_takes_for_ever_holds_its_seat_and_nobody_else() {
    let mut world = World::observing(1);
    for number in 0..5 * MAX_HANDSHAKES as u64 {
        world
            .devices
            .insert(100 + number, (Device::new(100 + number), far_address(number), 0));
        world.boot_as(100 + number, &format!("slow-{number}"), &secret(number));
        world.settle();
    }
    assert_eq!(world.house.slow.lock().unwrap().len(), MAX_HANDSHAKES);
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    // Nobody has these identities after all.
    world.devices.retain(|number, _| *number < 100);
    for (_, ticket) in std::mem::take(&mut *world.house.slow.lock().unwrap()) {
        ticket.unknown();
    }
    world.settle();
    world.pass(Duration::from_secs(61));
    assert_eq!(world.shards[0].seats.taken(), 0);
    world.boot(2);
    assert!(world.device(2).session.is_some());
}

#[test]
fn one_network_that_takes_all_it_can_get_keeps_nobody_else_out() {
    for mode in Mode::ALL {
        let mut scene = Scene::new(mode);
        for port in 0..100 {
            scene.stranger_with_a_cookie_at(SocketAddr::from(([203, 0, 113, 7], 1000 + port)));
        }
        assert_eq!(scene.world.shards[0].seats.taken(), MAX_HANDSHAKES / 2);
        scene.world.boot(2);
        assert!(scene.world.device(2).session.is_some(), "at once");
        scene.assert_untouched("a network of strangers");
    }
}

#[test]
fn a_device_that_begins_anew_in_the_middle_of_a_handshake_is_in_at_once() {
    for mode in Mode::ALL {
        for after in [0, 100, 499, 500, 900].map(Duration::from_millis) {
            let mut world = World::certified(1);
            mode.boot(&mut world);
            // Its hello with the cookie has arrived.
            world.exchange_once();
            world.exchange_once();
            assert_eq!(world.shards[0].seats.taken(), 1);
            world.device(1).out.clear();
            world.now += after;
            mode.boot_again(&mut world);
            world.settle();
            assert!(world.device(1).session.is_some(), "{mode:?}, {after:?}");
        }
    }
}

#[test]
fn a_hello_with_a_good_cookie_gets_a_flight_every_half_second_whatever_it_is_numbered() {
    let mut scene = Scene::new(Mode::Psk);
    let stranger = SocketAddr::from(([203, 0, 113, 7], 1000));
    scene.inject_from(stranger, client_hello(&[3; 32], &[]));
    let challenge = scene.answers_to(stranger).remove(0);
    let mut hello = client_hello(&[3; 32], &challenge[28..]);
    let mut flights = 0;
    for tick in 0..300_u32 {
        // The number of the message is not what the cookie is for.
        hello[18] = 1 + (tick % 16) as u8;
        scene.inject_from(stranger, hello.clone());
        flights += scene.answers_to(stranger).len();
        scene.world.now += Duration::from_millis(10);
    }
    assert_eq!(flights, 1 + 6);
    assert_eq!(scene.world.shards[0].seats.taken(), 1);
}

#[test]
fn hellos_and_then_garbage_cost_a_bounded_number_of_flights_and_keep_no_fleet_out() {
    let mut world = World::certified(1);
    world.shards[0].seats = Seats::new(256);
    world.shards[0].around.max_sessions = FLEET as usize;
    let mut scene = Scene::of(world);
    let (mut flights, mut tries) = (0, 0);
    let mut attack = |scene: &mut Scene| {
        for _ in 0..50 {
            tries += 1;
            flights += scene.hello_and_garbage(SocketAddr::from(([203, 0, 113, 7], 1000 + tries)));
        }
    };
    // 5000 a second, so that there is no room left when the fleet comes.
    for _ in 0..200 {
        attack(&mut scene);
        scene.world.now += Duration::from_millis(10);
    }
    // All behind one carrier address, in one second. One in ten has a certificate that is not for devices.
    let began = scene.world.now;
    for number in 1..=FLEET {
        if number % (FLEET / 100) == 0 {
            attack(&mut scene);
            scene.world.now += Duration::from_millis(10);
        }
        scene.world.add(number);
        if number % 10 == 0 {
            let now = scene.world.now;
            let credential = ClientCredential::Certificate(Arc::new(fixtures::server()));
            scene.world.device(number).boot_with(now, credential);
        } else {
            scene.world.reboot(number);
        }
        scene.world.settle();
    }
    let took = scene.world.now - began;
    assert!(took <= Duration::from_secs(3), "{took:?}");
    for number in 1..=FLEET {
        let is_in = scene.world.device(number).session.is_some();
        assert_eq!(is_in, number % 10 != 0, "device {number}");
    }
    println!("{flights} flights for {tries} tries in 3 seconds");
    assert!((1000..1800).contains(&flights), "{flights}");
}

// ------------------------------------------------------------------------------------------------------- floods
// What strangers send is the same whatever the device there has, so one kind of session is enough.

#[test]
fn a_hundred_thousand_hellos_from_as_many_addresses_allocate_nothing_and_get_less_than_they_bring() {
    let mut scene = Scene::new(Mode::CertificateWithId);
    let mut hello = scene.recorded()[0].clone();
    let (mut sent, mut answered) = (0, 0);
    let mut flood = |scene: &mut Scene, strangers: std::ops::Range<u32>| {
        for stranger in strangers {
            hello[RANDOM..RANDOM + 4].copy_from_slice(&stranger.to_be_bytes());
            let mut datagram = [0; 512];
            let datagram = &mut datagram[..hello.len()];
            datagram.copy_from_slice(&hello);
            let path = scene.path(strange_address(stranger));
            let World { shards, out, .. } = &mut scene.world;
            shards[0].handle_datagram(path, datagram, out);
            for (_, answer) in out.iter() {
                assert!(answer.len() < hello.len());
                answered += answer.len();
            }
            out.clear();
            sent += hello.len();
        }
    };
    // The queue's buffers grow to their size.
    flood(&mut scene, 0..10);
    for thousand in 0..100 {
        let allocated =
            allocation_counter::measure(|| flood(&mut scene, thousand * 1000..(thousand + 1) * 1000));
        assert_eq!(allocated.count_total, 0, "{allocated:?}");
        scene.assert_untouched("a flood of hellos");
    }
    assert!(answered > 0 && answered < sent);
    assert_eq!(scene.world.shards[0].seats.taken(), 0);
    scene.assert_one_session();
}

#[test]
fn a_hundred_thousand_first_flights_and_then_silence_are_held_to_the_cap() {
    let mut scene = Scene::new(Mode::CertificateWithId);
    let flood = |scene: &mut Scene, strangers: std::ops::Range<u32>| {
        for stranger in strangers {
            scene.stranger_with_a_cookie_at(strange_address(stranger));
        }
    };
    flood(&mut scene, 0..1000);
    for thousand in 1..100 {
        let allocated =
            allocation_counter::measure(|| flood(&mut scene, thousand * 1000..(thousand + 1) * 1000));
        assert!(scene.world.shards[0].seats.taken() <= MAX_HANDSHAKES);
        // What is held is held for those with a seat, who change with time.
        assert!(allocated.bytes_current < 64 << 10, "{allocated:?}");
        scene.assert_untouched("a flood of first flights");
        scene.world.pass(Duration::from_secs(1));
    }
    scene.world.pass(Duration::from_secs(61));
    assert_eq!(scene.world.shards[0].seats.taken(), 0);
    assert_eq!(scene.world.sessions.load(Ordering::SeqCst), 1);
    scene.world.boot(2);
    assert!(scene.world.device(2).session.is_some());
}

#[test]
fn garbage_from_a_hundred_thousand_addresses_is_not_answered_and_allocates_nothing() {
    let mut scene = Scene::new(Mode::CertificateWithId);
    let mut rng = StdRng::seed_from_u64(2);
    let before = scene.world.house.seen().len();
    for thousand in 0..100_u32 {
        let mut datagrams: Vec<_> = (0..1000).map(|_| garbage(&mut rng)).collect();
        let allocated = allocation_counter::measure(|| {
            for (nth, datagram) in datagrams.iter_mut().enumerate() {
                let path = scene.path(strange_address(1000 * thousand + nth as u32));
                let World { shards, out, .. } = &mut scene.world;
                shards[0].handle_datagram(path, datagram, out);
                assert!(out.is_empty());
            }
        });
        assert_eq!(allocated.count_total, 0, "{allocated:?}");
        scene.assert_untouched("a flood of garbage");
    }
    assert_eq!(scene.world.house.seen().len(), before);
}

#[test]
fn a_hundred_thousand_connection_ids_of_nobody_are_not_answered_and_allocate_nothing() {
    let mut scene = Scene::new(Mode::CertificateWithId);
    let mut id = [0; 8];
    for thousand in 0..100_u32 {
        let mut datagram = identified(id, 1, thousand, &[7; 40]);
        let allocated = allocation_counter::measure(|| {
            for nth in 0..1000 {
                scene.rng.fill_bytes(&mut id);
                if nth % 2 == 0 {
                    id[NODE_AT] = 0;
                }
                datagram[11..19].copy_from_slice(&id);
                let path = scene.path(strange_address(1000 * thousand + nth));
                let World { shards, out, .. } = &mut scene.world;
                shards[0].handle_datagram(path, &mut datagram, out);
                assert!(out.is_empty());
            }
        });
        assert_eq!(allocated.count_total, 0, "{allocated:?}");
        scene.assert_untouched("a flood of connection IDs");
    }
    scene.assert_one_session();
}

#[test]
fn connection_ids_that_lead_to_another_shard_fill_its_queue_and_no_more() {
    let mut world = World::new(2);
    for number in [1, 2] {
        world.add(number);
        world.device(number).connection_id = OfferedConnectionId::Empty;
        world.reboot(number);
        world.settle();
    }
    world.device_in(2, 1);
    let mut scene = Scene::of(world);
    let mut id = [0; 8];
    let mut flood = |scene: &mut Scene| {
        for nth in 0..20_000 {
            scene.rng.fill_bytes(&mut id);
            id[NODE_AT] = 0;
            scene.inject_from(strange_address(nth), identified(id, 1, nth, &[7; 400]));
        }
    };
    flood(&mut scene);
    scene.world.settle();
    let allocated = allocation_counter::measure(|| flood(&mut scene));
    assert!(allocated.bytes_current < 1 << 20, "{allocated:?}");
    scene.world.settle();
    for number in [1, 2] {
        scene
            .world
            .device(number)
            .request(Code::GET, "version", None, None);
        scene.world.settle();
        let told = scene.world.device(number).told().unwrap();
        assert_eq!(told.payload, format!("{number}:1"));
    }
}

// ------------------------------------------------------------------------------------------------------- helpers

/// How a device proves itself, and whether its records have a connection ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Psk,
    PskWithId,
    Certificate,
    CertificateWithId,
}

impl Mode {
    const ALL: [Self; 4] = [
        Self::Psk,
        Self::PskWithId,
        Self::Certificate,
        Self::CertificateWithId,
    ];

    /// Device 1 says hello to a gateway that has a certificate, whatever it is asked for.
    fn boot(self, world: &mut World) {
        world.add(1);
        if self.has_id() {
            world.device(1).connection_id = OfferedConnectionId::Empty;
        }
        self.boot_again(world);
    }

    /// It forgets everything and says hello.
    fn boot_again(self, world: &mut World) {
        match self {
            Self::Psk | Self::PskWithId => world.reboot(1),
            Self::Certificate | Self::CertificateWithId => {
                let now = world.now;
                let credential = ClientCredential::Certificate(Arc::new(fixtures::device()));
                world.device(1).boot_with(now, credential);
            }
        }
    }

    fn has_id(self) -> bool {
        match self {
            Self::PskWithId | Self::CertificateWithId => true,
            Self::Psk | Self::Certificate => false,
        }
    }
}

/// A world with device 1 in a session, observed by somebody who may write any address on his datagrams.
struct Scene {
    world: World,
    rng: StdRng,
    /// The session as it was when the device was last answered.
    left: Option<(SocketAddr, u64, Vec<u8>)>,
}

impl Scene {
    /// The device observes, and has asked a few things.
    fn new(mode: Mode) -> Self {
        let mut world = World::certified(1);
        mode.boot(&mut world);
        world.settle();
        world.device(1).request(Code::GET, "version", Some(0), None);
        world.settle();
        assert!(world.device(1).told().unwrap().observe.is_some());
        let mut scene = Self::of(world);
        for _ in 0..3 {
            scene.assert_answered("nothing");
        }
        scene
    }

    /// For the gateway there is a session; the device waits for the last flight.
    fn without_the_last_flight(mode: Mode) -> Self {
        let mut world = World::certified(1);
        // Two hellos, a cookie, three flights.
        world.lose_nth(5);
        mode.boot(&mut world);
        world.settle();
        assert!(world.device(1).session.is_none());
        assert_eq!(world.sessions.load(Ordering::SeqCst), 1);
        Self::of(world)
    }

    /// The device repeats what it sent last, each record in a datagram of its own or not.
    fn repeat_its_flight(&mut self, is_apart: bool) {
        let later = self.world.now + Duration::from_secs(2);
        self.world.now = later;
        let device = self.world.device(1);
        device.handle_timeout(later);
        let mut flight = std::mem::take(&mut device.out);
        assert!(!flight.is_empty());
        if is_apart {
            flight = flight
                .iter_mut()
                .flat_map(|datagram| records(datagram).map(|record| record.to_vec()))
                .collect();
        }
        self.world.deliver_to_gateway(1, flight);
        self.world.settle();
    }

    fn of(world: World) -> Self {
        Self {
            world,
            rng: StdRng::seed_from_u64(9),
            left: None,
        }
    }

    /// What the device has sent, first to last.
    fn recorded(&self) -> Vec<Vec<u8>> {
        self.world.recorded.clone()
    }

    /// What somebody without the keys can make of it.
    fn attacks(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        let recorded = self.recorded();
        let sealed = recorded.last().unwrap().clone();
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut record = sealed.clone();
            change(&mut record);
            record
        };
        vec![
            (
                "a record that does not open",
                with(&|r| *r.last_mut().unwrap() ^= 1),
            ),
            ("one with the highest number", with(&|r| r[5..11].fill(0xff))),
            ("one of DTLS 1.0", with(&|r| r[2] = 0xff)),
            ("a body of ten bytes", record(23, 1, 900, &[7; 10])),
            ("a record of ten bytes", sealed[..10].to_vec()),
            ("a record without a body", record(23, 1, 901, &[])),
            ("the next epoch", with(&|r| r[4] = 2)),
            ("the last epoch", with(&|r| r[3..5].fill(0xff))),
            ("a close_notify in the clear", record(21, 0, 9, &[1, 0])),
            ("a fatal alert in the clear", record(21, 0, 10, &[2, 40])),
            ("an alert that nobody sealed", record(21, 1, 902, &[9; 26])),
            ("data in the clear", record(23, 0, 11, b"\x40\x01\x00\x02")),
            ("a ChangeCipherSpec", record(20, 0, 12, &[1])),
            ("a HelloRequest", record(22, 0, 13, &[0; 12])),
            (
                "a ClientKeyExchange",
                record(22, 0, 14, &[16, 0, 0, 4, 0, 2, 0, 0, 0, 0, 0, 4, 0, 2, 7, 7]),
            ),
            (
                "a Finished in the clear",
                record(
                    22,
                    0,
                    15,
                    &[
                        20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3,
                    ],
                ),
            ),
            ("a Finished that nobody sealed", record(22, 1, 16, &[9; 48])),
            ("a ClientHello without a cookie", recorded[0].clone()),
            ("half a ClientHello", {
                let mut half = recorded[0].clone();
                half[16] = half[16].wrapping_add(40);
                half
            }),
            ("a ClientHello of 16 MiB", {
                let mut huge = recorded[0].clone();
                huge[14] = 0xff;
                huge
            }),
            ("a type that is none", with(&|r| r[0] = 99)),
            ("a replayed record", sealed.clone()),
            ("no bytes", Vec::new()),
        ]
    }

    /// Sends from the device's address.
    fn inject(&mut self, datagram: Vec<u8>) {
        self.inject_from(address(1), datagram);
    }

    fn inject_from(&mut self, peer: SocketAddr, mut datagram: Vec<u8>) {
        let path = self.path(peer);
        let World {
            shards,
            out,
            now,
            unix_ms,
            ..
        } = &mut self.world;
        shards[0].set_time(*now, *unix_ms);
        shards[0].handle_datagram(path, &mut datagram, out);
    }

    fn path(&self, peer: SocketAddr) -> Path {
        Path {
            peer,
            local: "192.0.2.1".parse().unwrap(),
            listener: 0,
        }
    }

    /// Takes what the gateway has to send; all of it must be for `peer`.
    fn answers_to(&mut self, peer: SocketAddr) -> Vec<Vec<u8>> {
        let answers: Vec<_> = self
            .world
            .out
            .iter()
            .map(|(path, bytes)| {
                assert_eq!(path.peer, peer);
                bytes.to_vec()
            })
            .collect();
        self.world.out.clear();
        answers
    }

    /// What stands on the device's records.
    fn connection_id(&self) -> Option<[u8; 8]> {
        let id = session_ids(&self.world)[0];
        match &self.world.shards[0].sessions.get(id)?.link {
            Link::Secure(session) => Some(session.connection_id()?.to_bytes()),
            Link::Plain { .. } => None,
        }
    }

    /// Seals something with the keys of device 1.
    fn seal(&mut self, kind: ContentType, body: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        let session = self.world.device(1).session.as_mut().unwrap();
        session.seal_as(kind, body, &mut datagram).unwrap();
        datagram
    }

    /// A first flight with a good cookie from that address, and then silence.
    fn stranger_with_a_cookie_at(&mut self, peer: SocketAddr) {
        let mut random = [0; 32];
        self.rng.fill_bytes(&mut random);
        self.inject_from(peer, client_hello(&random, &[]));
        let challenge = self.answers_to(peer).remove(0);
        self.inject_from(peer, client_hello(&random, &challenge[28..]));
        self.world.out.clear();
    }

    /// A first flight with a good cookie from that address, and then something that ends the handshake; how many flights it got.
    fn hello_and_garbage(&mut self, peer: SocketAddr) -> usize {
        self.stranger_with_a_cookie_at(peer);
        let key_exchange = [16, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 1, 7];
        self.inject_from(peer, record(22, 0, 2, &key_exchange));
        self.answers_to(peer).len()
    }

    fn request(&mut self) {
        self.world.device(1).request(Code::GET, "version", None, None);
    }

    /// The session is as it was before the last attack, and its device is answered.
    fn assert_untouched(&mut self, attack: &str) {
        self.assert_unmoved(attack);
        self.assert_answered(attack);
    }

    fn assert_answered(&mut self, attack: &str) {
        self.request();
        self.world.settle();
        let told = self.world.device(1).told();
        let told = told.unwrap_or_else(|| panic!("no answer after {attack}"));
        assert_eq!(told.payload, "1:1", "after {attack}");
        assert_eq!(self.world.device(1).told(), None, "after {attack}");
        self.left = self.session();
    }

    /// Keys, numbers and address are what they were when the device was last answered.
    fn assert_unmoved(&self, attack: &str) {
        assert_eq!(self.session(), self.left, "after {attack}");
    }

    fn session(&self) -> Option<(SocketAddr, u64, Vec<u8>)> {
        let id = *session_ids(&self.world).first()?;
        let peer = self.world.shards[0].sessions.get(id).unwrap();
        let Link::Secure(session) = &peer.link else {
            panic!("not a session")
        };
        let saved = session.save().to_bytes().to_vec();
        Some((peer.path.peer, session.next_record_number(), saved))
    }

    /// Handshakes that came to nothing aside, all that ever happened is that the devices there are have connected.
    fn assert_one_session(&self) {
        let seen = self.world.house.seen();
        let of_sessions = seen.iter().filter(|seen| !matches!(seen, Seen::Failed { .. }));
        assert_eq!(of_sessions.count(), 1, "{seen:?}");
        assert_eq!(self.world.sessions.load(Ordering::SeqCst), 1);
    }
}

/// The smallest hello there is.
fn client_hello(random: &[u8; 32], cookie: &[u8]) -> Vec<u8> {
    let seq = u8::from(!cookie.is_empty());
    let body = [
        &[0xfe, 0xfd][..],
        random,
        &[0, cookie.len() as u8],
        cookie,
        &[0, 2, 0xc0, 0xa8, 1, 0],
    ]
    .concat();
    let len = body.len() as u8;
    let message = [&[1, 0, 0, len, 0, seq, 0, 0, 0, 0, 0, len][..], &body].concat();
    record(22, 0, u32::from(seq), &message)
}

/// A client's first hello as its second, with the cookie of a HelloVerifyRequest.
fn with_cookie_of(hello: &[u8], challenge: &[u8]) -> Vec<u8> {
    let at = 13 + 12 + 2 + 32 + 1;
    let cookie = &challenge[27..];
    let mut with = [&hello[..at], cookie, &hello[at + 1..]].concat();
    for (place, before) in [(11, 13), (15, 25), (23, 25)] {
        let [.., high, low] = (with.len() - before).to_be_bytes();
        with[place..place + 2].copy_from_slice(&[high, low]);
    }
    with[18] = 1;
    with
}

/// A record by hand.
fn record(kind: u8, epoch: u16, number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0xfe, 0xfd];
    bytes.extend(epoch.to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(number.to_be_bytes());
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A record with a connection ID by hand.
fn identified(id: [u8; 8], epoch: u16, number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = record(25, epoch, number, body);
    bytes.splice(11..11, id);
    bytes
}

/// Random bytes; half of them look like a record, so that they get further.
fn garbage(rng: &mut StdRng) -> Vec<u8> {
    let mut garbage = vec![0; rng.random_range(0..1500)];
    rng.fill_bytes(&mut garbage);
    if garbage.len() > 13 && rng.random() {
        let length = (garbage.len() - 13) as u16;
        garbage[0] = rng.random_range(20..=25);
        garbage[1..3].copy_from_slice(&[0xfe, 0xfd]);
        garbage[3..5].copy_from_slice(&rng.random_range(0..2_u16).to_be_bytes());
        garbage[11..13].copy_from_slice(&length.to_be_bytes());
    }
    garbage
}

/// One of 2^24 addresses, each in a network of its own as far as there are so many.
fn strange_address(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([100, c, b, a], 5000))
}

/// Devices that come back together.
const FLEET: u64 = 500;
/// Where in a connection ID the gateway's own number stands, which is 0: others are dropped at first sight.
const NODE_AT: usize = 1;
/// Where the random is in a datagram that begins with a ClientHello: after the headers and the version.
const RANDOM: usize = 13 + 12 + 2;
