//! What befalls a device beside its updates: reboots, bad images, other addresses. And what one costs.

use std::collections::BTreeMap;

use super::super::super::model::Booting;
use super::super::super::pace::Pace;
use super::world::LATENCY;
use super::*;
use crate::dtls::{ClientConfig, ConnectionId, OfferedConnectionId};

#[test]
fn a_reboot_on_order_says_nothing_and_begins_as_any_boot_does() {
    for port in Port::ALL {
        let mut world = registered(Model::of(port));
        let (from, asked) = (world.now, world.gateway.asked.len());
        let token = world.gateway.observer.take();
        world.device.reboot(world.now);
        let mut nothing = Vec::new();
        assert!(!world.device.poll_transmit(&mut nothing), "not a word");
        assert!(!world.device.is_connected());
        world.run_until("back", |world| world.gateway.said("0/0 1.0.0") == 6);
        let expected = [
            &["handshake"],
            &world.keepalive_if_that_comes_first()[..],
            &["POST 0/0 1.0.0", "POST 0/0 1.0.0", "observe", "POST 0/0 1.0.0"],
        ];
        assert_eq!(world.gateway.asked[asked..], expected.concat());
        assert!(!world.gateway.closed);
        assert_ne!(world.gateway.observer, token, "a boot takes another token");
        let took = world.now - from;
        assert!(
            took > Duration::from_secs(1) && took < Duration::from_secs(3),
            "{took:?}"
        );
        assert_eq!(boots(&world), ["1.0.0"]);
    }
}

#[test]
fn a_reboot_amid_a_download_begins_it_anew() {
    for port in Port::ALL {
        let mut world = registered(Model::of(port));
        world.deploy("1.1.0", &artifact(70_000));
        world.run_until("downloading", |world| {
            world.gateway.asked.last().is_some_and(|last| last == "20 blocks")
        });
        world.device.reboot(world.now);
        world.run_until("updated", |world| world.gateway.said("3/1 1.1.0") == 1);
        assert_eq!(world.gateway.said("1/0 1.0.0 1.1.0"), 2);
        assert_eq!(world.gateway.said_all("69 blocks"), 1, "from the first one on");
        assert_eq!(boots(&world), ["1.0.0", "1.1.0"]);
    }
}

#[test]
fn a_device_that_is_not_on_yet_is_not_rebooted() {
    let start = Instant::now();
    let credential = credential(Psk::new(b"secret").unwrap());
    let model = Arc::new(Model::of(Port::Zephyr));
    let on_at = start + Duration::from_secs(60);
    let mut device = VirtualDevice::new(model, credential, "1.0.0", on_at, 1);
    device.reboot(start);
    assert_eq!((device.poll_timeout(), device.poll_event()), (Some(on_at), None));
}

#[test]
fn a_bad_image_is_silent_for_five_minutes_and_then_rolled_back_and_fetched_again() {
    for port in Port::ALL {
        let mut world = registered(of_image(port, "1.1.0", Booting::Badly));
        world.deploy("1.1.0", &artifact(3000));
        world.run_until("booted", |world| boots(world) == ["1.1.0"]);
        let (booted_at, asked) = (world.now, world.gateway.asked.len());
        world.content_types[1].clear();
        let back_at = booted_at + Duration::from_secs(301);
        world.run_until("rolled back", |world| world.seen.contains(&rolled_back("1.1.0")));
        assert_eq!(world.now, back_at, "{port:?}");
        assert!(world.content_types[1].is_empty(), "it has sent something");
        assert_eq!(boots(&world), ["1.1.0", "1.0.0"]);

        world.run_until("fetching again", |world| {
            world.gateway.said("1/0 1.0.0 1.1.0") == 2
        });
        let told: Vec<&String> = world.gateway.asked[asked..]
            .iter()
            .filter(|word| word.starts_with("POST"))
            .collect();
        assert_eq!(told, ["POST 0/0 1.0.0", "POST 0/0 1.0.0", "POST 1/0 1.0.0 1.1.0"]);
    }
}

#[test]
fn a_good_image_that_finds_no_gateway_is_rolled_back_however_fast_the_device_lives() {
    for port in Port::ALL {
        let mut world = registered(Model {
            pace: Pace::of(port).faster(100),
            ..Model::of(port)
        });
        world.deploy("1.1.0", &artifact(3000));
        world.run_until("booted", |world| boots(world) == ["1.1.0"]);
        let booted_at = world.now;
        world.loss_percent = 100;
        world.run_until("rolled back", |world| world.seen.contains(&rolled_back("1.1.0")));
        assert_eq!((world.now - booted_at).as_secs(), 300);
        assert_eq!(world.device.version(), "1.0.0");
    }
}

#[test]
fn an_image_that_says_another_version_than_it_was_offered_as_is_fetched_for_ever() {
    for port in Port::ALL {
        let mut world = registered(of_image(port, "1.1.0", Booting::As("1.1.1".into())));
        world.deploy("1.1.0", &artifact(3000));
        world.run_until("looping", |world| world.gateway.said_all("3 blocks") == 4);
        assert_eq!(world.gateway.said("1/0 1.1.1 1.1.0"), 3);
        assert_eq!(world.gateway.said("3/1 1.1.1"), 3);
        assert_eq!(boots(&world), ["1.1.1", "1.1.1", "1.1.1"]);
    }
}

#[test]
fn a_bad_image_that_is_in_the_slot_already_is_booted_again_and_again_without_a_block() {
    for port in Port::ALL {
        let mut world = registered(Model {
            checks_candidate: true,
            ..of_image(port, "1.1.0", Booting::Badly)
        });
        world.deploy("1.1.0", &artifact(3000));
        world.run_until("looping", |world| world.gateway.said("3/0 1.0.0 1.1.0") == 4);
        assert_eq!(world.gateway.said("1/0 1.0.0 1.1.0"), 1);
        let blocks = world.gateway.asked.iter().filter(|word| word.ends_with("blocks"));
        assert_eq!(blocks.collect::<Vec<_>>(), ["3 blocks"]);
    }
}

#[test]
fn events_tell_how_long_what_they_tell_of_has_taken() {
    for port in Port::ALL {
        let mut world = registered(Model::of(port));
        world.deploy("1.1.0", &artifact(3000));
        world.run_until("updated", |world| world.gateway.said("3/1 1.1.0") == 1);
        let round_trip = 2 * LATENCY;
        // A cookie, the hellos, the Finished.
        let established = Event::Established { took: 3 * round_trip };
        let count = |event: &Event| world.seen.iter().filter(|seen| *seen == event).count();
        assert_eq!((count(&established), count(&Event::Observing)), (2, 1));
        let blocks: Vec<&Event> = world
            .seen
            .iter()
            .filter(|event| matches!(event, Event::Progress { .. }))
            .collect();
        let block = |received, bytes| Event::Progress {
            received,
            total: 3000,
            bytes,
            took: round_trip,
        };
        assert_eq!(
            blocks,
            [&block(1024, 1024), &block(2048, 1024), &block(3000, 952)]
        );
        let took = world.seen.iter().filter_map(|event| match event {
            Event::Reported { took, .. } => Some(*took),
            _ => None,
        });
        assert!(took.clone().count() > 5);
        // The other port sends one request at a time, and says how long each was on its way, not how long it waited.
        assert_eq!(took.filter(|took| *took != round_trip).count(), 0);
    }
}

#[test]
fn records_carry_connection_ids_where_the_device_offers_them() {
    const CID: u8 = 25;
    let own = OfferedConnectionId::Own(ConnectionId::new([9; 8]));
    for (offered, [to_device, to_gateway]) in [
        (OfferedConnectionId::None, [false, false]),
        (OfferedConnectionId::Empty, [false, true]),
        (own, [true, true]),
    ] {
        for port in Port::ALL {
            let mut world = World::with(
                Model {
                    dtls: Arc::new(ClientConfig {
                        connection_id: offered,
                        ..(*port.dtls()).clone()
                    }),
                    ..Model::of(port)
                },
                1,
                0,
            );
            a_pushed_deployment(&mut world);
            let with = world.content_types.clone().map(|types| types.contains(&CID));
            assert_eq!(with, [to_device, to_gateway], "{offered:?}");
            let without = world.content_types.map(|types| types.contains(&23));
            assert_eq!(without, [!to_device, !to_gateway], "{offered:?}");
        }
    }
}

#[test]
fn an_idle_device_costs_less_than_it_says_in_the_documentation() {
    println!(
        "{} of them the online part, {} its session",
        size_of::<Online>(),
        size_of::<Session>()
    );
    for port in Port::ALL {
        for offered in [OfferedConnectionId::None, OfferedConnectionId::Empty] {
            let dtls = Arc::new(ClientConfig {
                connection_id: offered,
                ..(*port.dtls()).clone()
            });
            let mut world = registered(Model {
                dtls,
                ..Model::of(port)
            });
            // It has been through everything once.
            world.deploy("1.1.0", &artifact(70_000));
            world.run_until("idle", |world| world.gateway.said("0/0 1.1.0") == 2);
            let end = world.now + Duration::from_secs(60);
            world.run_while(|world| world.now < end || !world.link.is_empty());
            let World { device, .. } = world;
            assert!(device.is_connected());
            let _model = Arc::clone(&device.model);
            let freed = allocation_counter::measure(|| drop(device));
            let (inline, heap) = (size_of::<VirtualDevice>(), -freed.bytes_current);
            println!("{port:?}, {offered:?}: {inline} bytes and {heap} on the heap");
            assert!(inline as i64 + heap <= IDLE_MAX, "{inline} and {heap} bytes");
        }
    }
}

/// A device that has registered and said what it runs.
fn registered(model: Model) -> World {
    let mut world = World::with(model, 1, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    world
}

fn of_image(port: Port, version: &str, booting: Booting) -> Model {
    Model {
        images: BTreeMap::from([(version.to_owned(), booting)]),
        ..Model::of(port)
    }
}

fn boots(world: &World) -> Vec<&str> {
    let versions = world.seen.iter().filter_map(|event| match event {
        Event::Rebooted { version } => Some(version.as_str()),
        _ => None,
    });
    versions.collect()
}

fn rolled_back(version: &str) -> Event {
    Event::RolledBack {
        version: version.to_owned(),
    }
}

/// What the documentation of [`super::super::super`] says.
const IDLE_MAX: i64 = 640;
