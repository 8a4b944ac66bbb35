//! One mistake of a server per test, and what it does to each port.

use std::time::Duration;

use tessera::coap::wire::{number, write_empty};
use tessera::coap::{Block, BlockNum, Code, Kind, MessageId, MessageWriter};
use tessera::virtual_device::{Cbor, Ending, Event, ManifestError, Model, Port, Reason};

use crate::wrong_gateway::{Asked, What, World, at_block, block_answer, component, manifest, right, szx};

#[test]
fn without_a_mistake_both_ports_update() {
    for port in Port::ALL {
        let world = updated(port, right());
        assert_eq!(world.count(is_failure), 0);
        assert_eq!(world.count(|event| *event == Event::Retransmitted), 0);
    }
}

#[test]
fn rule_1_an_empty_acknowledgement_costs_zephyr_the_request_and_libcoap_nothing() {
    let separately = || {
        at_block(3, |asked, mut answer| {
            let mut empty = Vec::new();
            write_empty(&mut empty, Kind::Acknowledgement, asked.mid);
            // The same as a confirmable message of the gateway's own.
            answer[0] &= 0xCF;
            answer[2..4].copy_from_slice(&[0x66, 0x66]);
            vec![(Duration::ZERO, empty), (Duration::from_millis(100), answer)]
        })
    };
    let libcoap = updated(Port::Libcoap, separately());
    assert_eq!(libcoap.gateway.count(What::Block(3)), 1);
    assert!(libcoap.gateway.acknowledged.contains(&MessageId(0x6666)));

    let zephyr = updated(Port::Zephyr, separately());
    let asked: Vec<_> = zephyr
        .gateway
        .asked
        .iter()
        .filter(|(_, asked)| asked.what == What::Block(3))
        .collect();
    assert_eq!(asked.len(), 2, "asked for again");
    assert_eq!((asked[1].0 - asked[0].0).as_secs(), 15, "after the SDK's pause");
    assert!(zephyr.gateway.acknowledged.contains(&MessageId(0x6666)));
}

#[test]
fn rule_2_a_reset_ends_libcoaps_session_for_good_and_fails_zephyrs_request() {
    let reset = || {
        at_block(3, |asked, _| {
            let mut reset = Vec::new();
            write_empty(&mut reset, Kind::Reset, asked.mid);
            vec![(Duration::ZERO, reset)]
        })
    };
    let mut libcoap = World::of(Port::Libcoap);
    libcoap.gateway.tamper = reset();
    libcoap.push();
    libcoap.pass(Duration::from_secs(3600));
    let ended = libcoap.when(&Event::Disconnected(Ending::Reset)).unwrap();
    let back = libcoap
        .seen
        .iter()
        .find(|(at, event)| *at > ended && matches!(event, Event::Established { .. }))
        .unwrap();
    assert_eq!((back.0 - ended).as_secs(), 1);
    assert_eq!(
        libcoap.gateway.count(What::Block(3)),
        1,
        "the application waits for an answer that never comes"
    );

    let zephyr = updated(Port::Zephyr, reset());
    assert_eq!(zephyr.gateway.count(What::Block(3)), 2);
    assert_eq!(
        zephyr.count(|event| matches!(event, Event::Disconnected(_))),
        0,
        "the session stays"
    );
}

#[test]
fn rule_3_ten_seconds_of_silence_end_libcoaps_session_and_zephyr_waits_on() {
    let silent = || {
        Box::new(|asked: &Asked, answer| match asked.what {
            What::Block(3) => vec![],
            _ => vec![(Duration::ZERO, answer)],
        })
    };
    let mut libcoap = World::of(Port::Libcoap);
    libcoap.gateway.tamper = silent();
    libcoap.push();
    libcoap.run_until("given up", |world| {
        world.when(&Event::Disconnected(Ending::NoAnswer)).is_some()
    });
    let asked = first_asked(&libcoap, What::Block(3));
    let ended = libcoap.when(&Event::Disconnected(Ending::NoAnswer)).unwrap();
    let took = (ended - asked).as_millis();
    assert!(
        (9900..=10_000).contains(&took),
        "{took} ms after the first transmission"
    );
    assert_eq!(libcoap.gateway.count(What::Block(3)), 3, "transmissions");

    let mut zephyr = World::of(Port::Zephyr);
    zephyr.gateway.tamper = silent();
    zephyr.push();
    zephyr.pass(Duration::from_secs(49));
    assert_eq!(zephyr.count(|event| matches!(event, Event::Disconnected(_))), 0);
    let transmissions = zephyr.gateway.count(What::Block(3));
    assert_eq!(transmissions, 4, "and the next attempt is yet to come");
    zephyr.gateway.tamper = right();
    zephyr.run_until("updated", |world| world.device.version() == "1.1.0");
}

#[test]
fn rule_4_a_shrunk_block_costs_both_ports_the_download() {
    for port in Port::ALL {
        let artifact = World::of(port).gateway.artifact;
        let mut world = World::of(port);
        world.gateway.tamper = Box::new(move |asked, answer| {
            // The first half of what was asked for: the device goes on with the next number of its own.
            let What::Block(num) = asked.what else {
                return vec![(Duration::ZERO, answer)];
            };
            let mut smaller = Vec::new();
            let block = Block {
                num: BlockNum::new(2 * num).unwrap(),
                more: false,
                szx: szx(512),
            };
            block_answer(&mut smaller, (asked.mid, asked.token), &artifact, block);
            vec![(Duration::ZERO, smaller)]
        });
        world.push();
        world.run_until("failed", |world| world.count(is_failure) > 0);
        assert!(
            world
                .when(&Event::UpdateFailed(Reason::IntegrityCheckFailure))
                .is_some()
        );
    }
}

#[test]
fn rule_4_a_block_larger_than_asked_for_crashes_libcoap() {
    for port in Port::ALL {
        let mut world = World::with(Model {
            block_size: szx(512),
            ..Model::of(port)
        });
        let artifact = world.gateway.artifact.clone();
        world.gateway.tamper = at_block(0, move |asked, _| {
            let mut larger = Vec::new();
            let block = Block::first(szx(1024));
            block_answer(&mut larger, (asked.mid, asked.token), &artifact, block);
            vec![(Duration::ZERO, larger)]
        });
        world.push();
        world.pass(Duration::from_secs(10));
        let crashes = world.count(|event| *event == Event::Crashed);
        assert_eq!(crashes, usize::from(port == Port::Libcoap), "{port:?}");
    }
}

#[test]
fn rule_15_a_stale_duplicate_of_an_older_answer_is_written_by_libcoap_and_dropped_by_zephyr() {
    let duplicate = || {
        let mut older = None;
        Box::new(move |asked: &Asked, answer: Vec<u8>| {
            let mut all = Vec::new();
            match asked.what {
                What::Block(1) if older.is_none() => older = Some(answer.clone()),
                What::Block(4) => all.extend(older.clone().map(|older| (Duration::ZERO, older))),
                _ => {}
            }
            all.push((Duration::ZERO, answer));
            all
        })
    };
    let mut libcoap = World::of(Port::Libcoap);
    libcoap.gateway.tamper = duplicate();
    libcoap.push();
    libcoap.run_until("failed", |world| world.count(is_failure) > 0);
    assert!(
        libcoap
            .when(&Event::UpdateFailed(Reason::IntegrityCheckFailure))
            .is_some()
    );

    let zephyr = updated(Port::Zephyr, duplicate());
    assert_eq!(zephyr.count(is_failure), 0);
}

#[test]
fn rule_17_an_observe_number_that_is_not_newer_is_ignored_by_zephyr_which_acknowledges_it() {
    for port in Port::ALL {
        let mut world = World::of(port);
        let before = world.count(is_manifest);
        let number = world.gateway.sequence;
        let mid = world.push_numbered(Some(number), None);
        world.pass(Duration::from_secs(1));
        assert!(world.gateway.acknowledged.contains(&mid), "by both");
        let looked_at = world.count(is_manifest) - before;
        assert_eq!(looked_at, usize::from(port == Port::Libcoap), "{port:?}");
    }
    let mut zephyr = World::of(Port::Zephyr);
    let before = zephyr.count(is_manifest);
    zephyr.pass(Duration::from_secs(129));
    let number = zephyr.gateway.sequence;
    zephyr.push_numbered(Some(number - 1), None);
    zephyr.pass(Duration::from_secs(1));
    assert_eq!(
        zephyr.count(is_manifest) - before,
        1,
        "taken again after 128 seconds"
    );
}

#[test]
fn rule_19_a_registration_that_is_refused_is_not_tried_again_for_a_day() {
    for port in Port::ALL {
        let mut world = World::unregistered(
            Model::of(port),
            Box::new(|asked, mut answer| {
                if asked.what == What::Registration {
                    // 5.03 in place of 2.05, and nothing behind the token.
                    answer.truncate(4 + asked.token.as_bytes().len());
                    answer[1] = Code::SERVICE_UNAVAILABLE.byte();
                }
                vec![(Duration::ZERO, answer)]
            }),
        );
        world.run_until("refused", |world| {
            world
                .when(&Event::ObservationRefused(Code::SERVICE_UNAVAILABLE))
                .is_some()
        });
        let since = world.now;
        world.run_until("polled", |world| world.gateway.count(What::Poll) > 0);
        assert_eq!(world.gateway.count(What::Registration), 1, "{port:?}");
        let waited = (world.now - since).as_secs();
        assert!(waited.abs_diff(24 * 3600) < 5, "{waited} s");
    }
}

#[test]
fn rule_8_block2_in_a_notification_silences_zephyr_and_hands_libcoap_a_fragment() {
    for port in Port::ALL {
        let mut world = World::of(port);
        let whole = world.gateway.manifest.clone();
        world.gateway.manifest.truncate(64);
        let block = Block {
            more: true,
            ..Block::first(szx(64))
        };
        world.gateway.sequence += 1;
        let number = world.gateway.sequence;
        world.push_numbered(Some(number), Some(block));
        world.pass(Duration::from_secs(1));
        let rejected = world.count(|event| matches!(event, Event::ManifestRejected(_)));
        assert_eq!(rejected, usize::from(port == Port::Libcoap), "{port:?}");

        world.gateway.manifest = whole;
        let mid = world.push();
        world.pass(Duration::from_secs(3600));
        assert!(world.gateway.acknowledged.contains(&mid), "{port:?}");
        let updated = world.device.version() == "1.1.0";
        assert_eq!(updated, port == Port::Libcoap, "{port:?}");
    }
}

#[test]
fn a_payload_marker_without_payload_ends_zephyrs_session() {
    for port in Port::ALL {
        let mut world = World::of(port);
        world.say(b"\x40\x45\x55\x55\xFF");
        world.pass(Duration::from_secs(5));
        let ended = world.when(&Event::Disconnected(Ending::Malformed));
        assert_eq!(ended.is_some(), port == Port::Zephyr, "{port:?}");
        let Some(ended) = ended else { continue };
        let back = world
            .seen
            .iter()
            .rfind(|(_, event)| matches!(event, Event::Established { .. }))
            .unwrap();
        assert_eq!((back.0 - ended).as_secs(), 1, "and back a second later");
    }
}

#[test]
fn a_long_option_before_block2_ends_zephyrs_download_after_one_block() {
    for port in Port::ALL {
        let mut world = World::of(port);
        let artifact = world.gateway.artifact.clone();
        world.gateway.tamper = at_block(0, move |asked, _| {
            let mut bytes = Vec::new();
            let (kind, code) = (Kind::Acknowledgement, Code::CONTENT);
            let mut pen = MessageWriter::new(&mut bytes, kind, code, asked.mid, asked.token);
            pen.option(LOCATION_PATH, &[b'a'; 60]);
            let more = Block {
                more: true,
                ..Block::first(szx(1024))
            };
            pen.uint(number::BLOCK2, more.bits());
            pen.payload(&artifact[..1024]);
            vec![(Duration::ZERO, bytes)]
        });
        world.push();
        world.pass(Duration::from_secs(30));
        let spoilt = world.when(&Event::UpdateFailed(Reason::IntegrityCheckFailure));
        assert_eq!(spoilt.is_some(), port == Port::Zephyr, "{port:?}");
        let fetched = world.gateway.count(What::Block(1));
        assert_eq!(fetched, usize::from(port == Port::Libcoap), "{port:?}");
    }
}

#[test]
fn rule_9_a_second_component_costs_both_ports_the_manifest() {
    for port in Port::ALL {
        let mut world = World::of(port);
        let mut two = vec![0xA2, 0x01, 0x02, 0x03, 0x82];
        two.extend(component("1.1.0", b"x"));
        two.extend(component("1.2.0", b"x"));
        world.gateway.manifest = two;
        rejects(&mut world, &ManifestError::TooManyComponents);
    }
}

#[test]
fn rule_10_a_version_of_seventeen_bytes_costs_both_ports_the_manifest() {
    for port in Port::ALL {
        let mut world = World::of(port);
        world.gateway.manifest = manifest(2, "1.1.0-rc.12345678", b"x");
        let too_long = ManifestError::TooLong {
            key: 2,
            len: 17,
            max: 16,
        };
        rejects(&mut world, &too_long);
    }
}

#[test]
fn rule_5_indefinite_lengths_cost_canonical_builds_the_manifest() {
    for (port, cbor) in [
        (Port::Libcoap, Cbor::Canonical),
        (Port::Zephyr, Cbor::Canonical),
        (Port::Zephyr, Cbor::Stock),
    ] {
        let mut world = World::with(Model {
            cbor,
            ..Model::of(port)
        });
        let mut indefinite = world.gateway.manifest.clone();
        indefinite[0] = 0xBF;
        indefinite.push(0xFF);
        world.gateway.manifest = indefinite;
        world.push();
        world.pass(Duration::from_secs(60));
        let rejected = world.count(|event| matches!(event, Event::ManifestRejected(_)));
        assert_eq!(
            rejected,
            usize::from(cbor == Cbor::Canonical),
            "{port:?}, {cbor:?}"
        );
    }
}

#[test]
fn one_5_03_costs_a_slow_libcoap_device_the_download_and_a_fast_one_or_zephyr_only_time() {
    let refuse_once = |per_block| {
        let mut refused = false;
        Box::new(move |asked: &Asked, mut answer: Vec<u8>| match asked.what {
            What::Block(3) if !std::mem::replace(&mut refused, true) => {
                answer.truncate(4 + asked.token.as_bytes().len());
                answer[1] = Code::SERVICE_UNAVAILABLE.byte();
                vec![(Duration::ZERO, answer)]
            }
            What::Block(_) => vec![(per_block, answer)],
            _ => vec![(Duration::ZERO, answer)],
        })
    };
    // 17 blocks are left, and the timer goes off every fifteen seconds.
    let slow = Duration::from_millis(1500);
    let mut libcoap = World::of(Port::Libcoap);
    libcoap.gateway.tamper = refuse_once(slow);
    libcoap.push();
    libcoap.run_until("over", |world| {
        world.count(is_failure) > 0 || world.device.version() == "1.1.0"
    });
    assert!(
        libcoap
            .when(&Event::UpdateFailed(Reason::IntegrityCheckFailure))
            .is_some()
    );

    for (port, per_block) in [(Port::Libcoap, Duration::from_millis(10)), (Port::Zephyr, slow)] {
        let world = updated(port, refuse_once(per_block));
        assert_eq!(world.count(is_failure), 0, "{port:?}");
        assert_eq!(
            world.gateway.count(What::Block(2)),
            1,
            "{port:?} goes on where it failed"
        );
    }
}

/// A device that gets the deployment from a gateway with such ways, and takes it at the first attempt or not.
fn updated(port: Port, tamper: crate::wrong_gateway::Tamper) -> World {
    let mut world = World::of(port);
    world.gateway.tamper = tamper;
    world.push();
    world.run_until("updated", |world| world.device.version() == "1.1.0");
    world
}

/// The manifest is thrown away whole: acknowledged, and no report follows.
fn rejects(world: &mut World, why: &ManifestError) {
    let reports = world.reports().len();
    let mid = world.push();
    world.pass(Duration::from_secs(3600));
    assert!(
        world.when(&Event::ManifestRejected(why.clone())).is_some(),
        "{:?}",
        world.seen
    );
    assert!(world.gateway.acknowledged.contains(&mid));
    assert_eq!(world.reports().len(), reports);
}

fn first_asked(world: &World, what: What) -> std::time::Instant {
    world
        .gateway
        .asked
        .iter()
        .find(|(_, asked)| asked.what == what)
        .unwrap()
        .0
}

fn is_failure(event: &Event) -> bool {
    matches!(event, Event::UpdateFailed(_) | Event::Crashed)
}

fn is_manifest(event: &Event) -> bool {
    matches!(event, Event::Manifest { .. })
}

/// RFC 7252 section 5.10.
const LOCATION_PATH: u16 = 8;
