//! The device against a small gateway of its own, over a lossy link in virtual time.

use std::time::Duration;

use super::super::port::Port;
use super::*;
use crate::dtls::Psk;

use world::{World, artifact, credential};

#[path = "device_life_tests.rs"]
mod life;
#[path = "device_world_tests.rs"]
mod world;

#[test]
fn a_pushed_deployment_is_fetched_installed_and_proven() {
    for port in Port::ALL {
        let mut world = World::of(port, 1, 0);
        a_pushed_deployment(&mut world);
    }
}

fn a_pushed_deployment(world: &mut World) {
    let before = world.keepalive_if_that_comes_first();
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let boot = ["POST 0/0 1.0.0", "POST 0/0 1.0.0", "observe", "POST 0/0 1.0.0"];
    assert_eq!(world.gateway.asked, [&before[..], &boot].concat());

    world.deploy("1.1.0", &artifact(70_000));
    world.run_until("proven", |world| world.gateway.said("3/1 1.1.0") == 1);
    world.run_until("idle again", |world| world.gateway.said("0/0 1.1.0") == 2);
    let from = before.len() + boot.len();
    let expected = [
        "POST 1/0 1.0.0 1.1.0",
        "69 blocks",
        "POST 2/0 1.0.0 1.1.0",
        "POST 3/0 1.0.0 1.1.0",
        "handshake",
        "POST 3/1 1.1.0",
        "POST 0/0 1.1.0",
        "observe",
        "POST 0/0 1.1.0",
    ];
    let after: Vec<&String> = world.gateway.asked[from..]
        .iter()
        .filter(|word| *word != "keepalive" && *word != "ping")
        .collect();
    assert_eq!(after, expected);
    assert_eq!(world.device.version(), "1.1.0");
    assert!(!world.gateway.closed, "a rebooting device says nothing");
}

#[test]
fn a_handshake_that_begins_late_counts_from_when_it_was_due() {
    let late = Duration::from_secs(7);
    let [punctual, tardy] = [Duration::ZERO, late].map(|late| {
        let mut world = World::new(1, 0);
        world.now += late;
        world.run_until("connected", |world| world.gateway.observer.is_some());
        let took = world.seen.iter().find_map(|event| match event {
            Event::Established { took } => Some(*took),
            _ => None,
        });
        took.unwrap()
    });
    assert!(!punctual.is_zero(), "the link takes its time");
    assert_eq!(tardy, punctual + late);
}

#[test]
fn a_fleet_of_lossy_links_still_updates() {
    for seed in 0..20 {
        let mut world = World::of(Port::ALL[seed as usize % 2], seed, 15);
        world.run_until("connected", |world| world.gateway.observer.is_some());
        world.deploy("1.1.0", &artifact(20_000));
        world.run_until("updated", |world| world.device.version() == "1.1.0");
        world.run_until("back", |world| {
            world.gateway.said("0/0 1.1.0") > 0 || world.gateway.said("3/1 1.1.0") > 0
        });
    }
}

#[test]
fn a_wrong_hash_is_told_and_tried_again_after_a_minute() {
    let mut world = World::new(2, 0);
    world.run_until("registered", |world| world.gateway.observer.is_some());
    world.deploy("1.1.0", &artifact(3000));
    let good = world
        .gateway
        .artifacts
        .insert("main@1.1.0".into(), vec![0; 3000])
        .unwrap();
    world.run_until("told", |world| world.gateway.said("0/11 1.0.0 1.1.0") == 1);
    let failed_at = world.now;
    assert_eq!(
        (
            world.gateway.said("1/5 1.0.0 1.1.0"),
            world.gateway.said("0/0 1.0.0 1.1.0")
        ),
        (1, 1)
    );
    world.gateway.artifacts.insert("main@1.1.0".into(), good);
    world.run_until("updated", |world| world.gateway.said("3/1 1.1.0") == 1);
    assert!(world.now > failed_at + Duration::from_secs(60));
}

#[test]
fn silence_brings_keepalives_every_nine_seconds() {
    let mut world = World::new(3, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.run_until("kept alive", |world| world.gateway.said_all("keepalive") == 5);
    let took = world.now - from;
    assert!((36..38).contains(&took.as_secs()), "{took:?}");
    let mut world = World::of(Port::Zephyr, 3, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.run_until("kept alive", |world| world.gateway.said_all("ping") == 5);
    let took = world.now - from;
    assert!((36..38).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn a_gateway_that_falls_silent_is_left_and_found_again_with_the_same_token() {
    let mut world = World::new(4, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let token = world.gateway.observer.take();
    world.gateway.forget();
    world.run_until("back", |world| world.gateway.observer.is_some());
    assert_eq!(world.gateway.observer, token);
    assert!(world.seen.contains(&Event::Disconnected(Ending::NoAnswer)));
    world.run_until("settled", |world| world.gateway.said_all("keepalive") == 4);
    assert_eq!(world.gateway.said("0/0 1.0.0"), 4, "a reconnect is no boot");
}

#[test]
fn the_zephyr_port_leaves_a_silent_gateway_after_thirty_seconds_and_a_closing_one_at_once() {
    let mut world = World::of(Port::Zephyr, 4, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.gateway.forget();
    let token = world.gateway.observer.take();
    world.run_until("back", |world| world.gateway.observer.is_some());
    assert_eq!(world.gateway.observer, token, "a reconnect keeps it");
    assert!(world.seen.contains(&Event::Disconnected(Ending::Silence)));
    assert!((30..33).contains(&(world.now - from).as_secs()));

    let from = world.now;
    world.gateway.close();
    world.run_until("back", |world| world.gateway.observer.is_some());
    assert!(world.seen.contains(&Event::Disconnected(Ending::Closed)));
    assert!((1..3).contains(&(world.now - from).as_secs()));
}

#[test]
fn the_libcoap_port_does_not_hear_a_goodbye() {
    let mut world = World::new(4, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.gateway.close();
    world.run_until("back", |world| world.gateway.observer.is_some());
    let took = (world.now - from).as_secs();
    assert!(
        (11..22).contains(&took),
        "a keepalive, ten seconds and one: {took}"
    );
    assert!(world.seen.contains(&Event::Disconnected(Ending::NoAnswer)));
}

#[test]
fn a_day_brings_a_poll_with_a_token_of_its_own() {
    let mut world = World::new(6, 0);
    world.run_until("registered", |world| world.gateway.said("0/0 1.0.0") == 3);
    let from = world.now;
    world.run_until("polled", |world| world.gateway.said_all("poll") == 1);
    assert!((world.now - from).as_secs().abs_diff(24 * 3600) < 3);
    assert_ne!(world.gateway.polled_with, world.gateway.observer);
    world.run_until("told", |world| world.gateway.said("0/0 1.0.0") == 4);
}

#[test]
fn a_key_that_does_not_fit_never_connects() {
    let mut world = World::new(5, 0);
    world.gateway.key = Psk::new(b"another").unwrap();
    let until = world.now + Duration::from_secs(120);
    world.run_while(|world| world.now < until);
    assert!(!world.seen.contains(&Event::Connected));
    assert!(
        world
            .seen
            .iter()
            .any(|event| matches!(event, Event::Disconnected(Ending::HandshakeFailed(_))))
    );
}

#[test]
fn a_gateway_that_never_answers_hears_hellos_at_the_pace_of_the_port() {
    for (port, expected) in [
        // Given up with the third flight, and begun again five seconds later.
        (Port::Zephyr, [0, 1000, 3000, 8001, 9001, 11_001]),
        // Each a second after the one before, however often.
        (Port::Libcoap, [0, 1000, 2000, 3000, 4000, 5000]),
    ] {
        let start = Instant::now();
        let credential = credential(Psk::new(b"secret").unwrap());
        let model = Arc::new(Model::of(port));
        let mut device = VirtualDevice::new(model, credential, "1.0.0", start, 1);
        let (mut now, mut sent, mut hello) = (start, Vec::new(), Vec::new());
        while sent.len() < expected.len() {
            now = now.max(device.poll_timeout().unwrap());
            device.handle_timeout(now);
            while device.poll_transmit(&mut hello) {
                sent.push((now - start).as_millis());
                hello.clear();
            }
        }
        assert_eq!(sent, expected, "{port:?}");
        // One attempt of the one port is over by then; the other's has ten seconds.
        device.handle_timeout(start + Duration::from_millis(10_001));
        let told = std::iter::from_fn(|| device.poll_event()).next();
        let unheard = Event::Disconnected(Ending::HandshakeUnanswered);
        assert_eq!(told, Some(unheard), "{port:?}");
    }
}
