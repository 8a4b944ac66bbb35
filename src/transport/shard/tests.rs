//! Shards without sockets, in virtual time.

mod credentials;
mod hostile;
mod moves;
mod restarts;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::directory::{Directory, Kind};
use super::super::handler::EndReason;
use super::super::inbox::{Inbox, Message, mailbox};
use super::super::journal::{Entry, Journal, SavedCredential, SavedPeer, resume};
use super::super::slots::PeerId;
use super::super::testing::{CREDENTIAL, Device, House, Seen, Thing, secret, told};
use super::super::udp::{Path, SendQueue};
use super::proof::Proof;
use super::requests::{ANSWER_WITHIN, ASKED_WITHIN, TAKEN_WITHIN};
use super::{Link, Peer, Shard, Surroundings, Tally};
use crate::coap::{Code, Kind as MessageKind, MessageId, ResponseHead, Token, wire};
use crate::dtls::{
    CertifiedKey, ChainFault, Claim, ClientCredential, ContentType, CookieJar, FailureReason,
    MAX_RECORD_NUMBER, Psk, RESERVATION, ServerConfig, Session, fixtures,
};

#[test]
fn a_device_shakes_hands_asks_and_is_notified() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::GET, "version", Some(0), None);
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!(
        (answer.kind, answer.code, answer.payload.as_str()),
        (MessageKind::Acknowledgement, Code::CONTENT, "1:1")
    );

    world.publish(2);
    let notification = world.device(1).told().unwrap();
    assert_eq!(
        (notification.kind, notification.payload.as_str()),
        (MessageKind::Confirmable, "1:2")
    );
    assert_eq!(notification.token, answer.token);
    assert!(notification.observe > answer.observe);
    world.device(1).acknowledge(notification.mid);
    world.settle();
    assert!(world.house.seen().contains(&Seen::Acknowledged {
        device: 1,
        version: 2
    }));
    world.publish(2);
    assert_eq!(world.device(1).told(), None, "nothing has changed");
}

#[test]
fn the_latest_wins_while_a_notification_is_in_flight() {
    let mut world = World::observing(1);
    world.publish(2);
    world.publish(3);
    let first = world.device(1).told().unwrap();
    assert_eq!(first.payload, "1:2");
    assert_eq!(world.device(1).told(), None, "one at a time");
    world.device(1).acknowledge(first.mid);
    world.settle();
    let second = world.device(1).told().unwrap();
    assert_eq!(second.payload, "1:3");
    assert_ne!(first.mid, second.mid);
}

#[test]
fn a_registration_that_ends_a_notification_in_flight_lets_the_next_one_out() {
    let mut world = World::observing(1);
    let first = world.device(1).token;
    world.device(1).token = Token::from([8; 8]);
    world.device(1).request(Code::GET, "copy", Some(0), None);
    world.settle();
    let second = world.device(1).told().unwrap().token;
    world.publish(2);
    let in_flight = world.device(1).told().unwrap();
    assert_eq!(
        (in_flight.token, world.device(1).told()),
        (first, None),
        "one at a time"
    );

    world.device(1).token = first;
    world.device(1).request(Code::GET, "version", Some(0), None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:2");
    let next = world.device(1).told().unwrap();
    assert_eq!(
        (next.kind, next.token, next.payload.as_str()),
        (MessageKind::Confirmable, second, "1:2")
    );
}

#[test]
fn an_unacknowledged_notification_is_repeated_and_then_given_up() {
    let mut world = World::observing(1);
    world.publish(2);
    let mut received = Vec::new();
    for _ in 0..120 {
        world.pass(Duration::from_secs(1));
        received.extend(std::iter::from_fn(|| world.device(1).told()));
    }
    assert_eq!(received.len(), 5);
    assert!(
        received
            .iter()
            .all(|message| message.mid == received[0].mid && message.payload == "1:2")
    );
    world.publish(3);
    assert_eq!(world.device(1).told(), None, "the relation is gone");
}

#[test]
fn a_device_that_was_silent_is_told_at_its_next_sign_of_life() {
    let mut world = World::observing(1);
    world.publish(2);
    world.pass(Duration::from_secs(120));
    while world.device(1).told().is_some() {}
    world.publish(3);
    assert_eq!(world.device(1).told(), None);

    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    let told: Vec<_> = std::iter::from_fn(|| world.device(1).told()).collect();
    let payloads: Vec<_> = told.iter().map(|message| message.payload.as_str()).collect();
    assert_eq!(
        payloads,
        ["1:3", "1:3"],
        "the answer, and the notification it missed"
    );
    world.device(1).acknowledge(told[1].mid);
    world.settle();
    world.publish(4);
    assert_eq!(
        world.device(1).told().unwrap().payload,
        "1:4",
        "it observes as before"
    );
}

#[test]
fn alarms_overtaken_by_earlier_ones_go_off_once() {
    let mut world = World::observing(1);
    for version in 2..50 {
        world.publish(version);
        // Long enough for a repetition, whose alarm is later than that of the next notification.
        world.pass(Duration::from_secs(4));
        let received = std::iter::from_fn(|| world.device(1).told()).last().unwrap();
        world.device(1).acknowledge(received.mid);
        world.settle();
    }
    let alarms = world.shards[0].alarms.len();
    assert!(alarms <= 4, "{alarms} alarms");
}

#[test]
fn a_notification_with_nothing_left_to_tell_is_withdrawn_and_the_relation_stays() {
    let mut world = World::observing(1);
    world.publish(2);
    assert_eq!(world.device(1).told().unwrap().payload, "1:2", "and is lost");
    world.publish(0);
    world.pass(Duration::from_secs(120));
    assert_eq!(world.device(1).told(), None);
    world.publish(2);
    assert_eq!(
        world.device(1).told().unwrap().payload,
        "1:2",
        "nobody knows that it arrived"
    );
}

#[test]
fn a_registration_whose_answer_is_too_long_for_the_device_is_none() {
    let mut world = World::new(1);
    world.add(1);
    world.device(1).record_size_limit = Some(100);
    world.reboot(1);
    world.settle();
    world.device(1).request(Code::GET, "long", Some(0), None);
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!((answer.code, answer.observe), (Code::INTERNAL_SERVER_ERROR, None));
    world.publish(2);
    assert_eq!(
        world.device(1).told(),
        None,
        "it was told that it observes nothing"
    );

    world.device(1).request(Code::GET, "version", Some(0), None);
    world.settle();
    assert!(world.device(1).told().unwrap().observe.is_some());
}

#[test]
fn a_push_notifies_although_nothing_changed() {
    let mut world = World::observing(1);
    let place = world.directory.find(1).next().unwrap();
    world.post(
        0,
        Message::WakePeers {
            peers: vec![place.peer],
            forced: true,
            since: world.now,
        },
    );
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
}

#[test]
fn a_notification_is_timed_from_the_change_it_tells_of_until_it_is_sent_and_until_it_is_acknowledged() {
    let mut world = World::observing(1);
    let (tally, counted) = Tally::apart();
    world.shards[0].tally = tally;
    let change_and_answer = |world: &mut World, version, after| {
        world.publish(version);
        world.pass(after);
        let told = std::iter::from_fn(|| world.device(1).told()).last().unwrap();
        world.device(1).acknowledge(told.mid);
        world.settle();
    };
    change_and_answer(&mut world, 2, Duration::from_millis(700));

    // While that of version 3 is in flight, version 4 comes: it goes out with the next transmission, and is timed from its own
    // change.
    world.publish(3);
    world.pass(Duration::from_millis(500));
    change_and_answer(&mut world, 4, Duration::from_secs(4));

    // Nothing to tell, and then a device that is silent for an hour: nobody's delay, though it is told when it is heard again.
    world.publish(4);
    world.publish(5);
    world.pass(Duration::from_secs(3600));
    while world.device(1).told().is_some() {}
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    let told = std::iter::from_fn(|| world.device(1).told()).last().unwrap();
    assert_eq!(told.kind, MessageKind::Confirmable);
    world.device(1).acknowledge(told.mid);
    world.settle();
    world.shards[0].tally.flush();

    let text = counted.render();
    let series = |what: &str, until: &str, rest: &str| {
        let name = format!("tessera_notification_delay_seconds_{what}{{until=\"{until}\"{rest}}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse::<f64>()
            .unwrap()
    };
    // Versions 2, 3, 4 and 5 were sent; 4 when 3 was repeated, 2 to 3 s after it.
    assert_eq!(series("count", "sent", ""), 4.0);
    assert_eq!(series("bucket", "sent", ",le=\"0.001\""), 3.0);
    assert_eq!(series("bucket", "sent", ",le=\"2.5\""), 4.0);
    assert_eq!(series("count", "acknowledged", ""), 2.0);
    assert_eq!(series("bucket", "acknowledged", ",le=\"0.5\""), 0.0);
    assert_eq!(series("bucket", "acknowledged", ",le=\"1\""), 1.0);
    assert_eq!(series("sum", "acknowledged", ""), 4.7);
}

#[test]
fn a_rebooted_device_comes_back_on_its_address_and_its_old_session_ends_only_then() {
    let mut world = World::observing(1);
    world.reboot(1);
    let first_flight = world.device(1).out.clone();
    world.settle();
    assert!(world.device(1).session.is_some());
    let seen = world.house.seen();
    assert_eq!(
        seen[1..],
        [
            Seen::Disconnected {
                device: 1,
                serial: 1,
                why: EndReason::Replaced
            },
            Seen::Connected {
                device: 1,
                serial: 2,
                restored: false
            },
        ]
    );
    // A ClientHello alone, even one with a cookie, changes nothing.
    world.deliver_to_gateway(1, first_flight);
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
}

#[test]
fn a_key_that_takes_its_time_costs_no_retransmission() {
    let mut world = World::new(1);
    world.add(3);
    world.boot_as(3, "slow-3", &secret(3));
    world.settle();
    assert!(world.device(3).session.is_none());
    let (number, ticket) = world.house.slow.lock().unwrap().pop().unwrap();
    std::thread::spawn(move || ticket.found(Thing(number), number + CREDENTIAL, secret(number)))
        .join()
        .unwrap();
    world.settle();
    assert!(world.device(3).session.is_some());
}

#[test]
fn any_single_datagram_of_a_handshake_may_be_lost() {
    // Two ClientHellos, a HelloVerifyRequest and three flights, each in one datagram.
    for lost in 0..6 {
        let mut world = World::new(1);
        world.lose_nth(lost);
        world.boot(1);
        for _ in 0..20 {
            world.pass(Duration::from_millis(500));
        }
        assert!(world.device(1).session.is_some(), "with datagram {lost} lost");
        world.device(1).request(Code::GET, "version", None, None);
        world.settle();
        assert_eq!(
            world.device(1).told().unwrap().payload,
            "1:1",
            "with datagram {lost} lost"
        );
        let connected = world
            .house
            .seen()
            .iter()
            .filter(|seen| matches!(seen, Seen::Connected { .. }))
            .count();
        assert_eq!(connected, 1, "with datagram {lost} lost");
    }
}

#[test]
fn a_second_session_of_a_device_ends_the_first_even_in_another_shard() {
    let mut world = World::new(2);
    world.boot(1);
    world.device_in(1, 1);
    // The same device at another address, which the kernel gives to the other shard.
    let mut twin = Device::new(1);
    twin.boot(world.now);
    world.devices.insert(101, (twin, address(101), 1));
    world.settle();
    assert!(world.devices[&101].0.session.is_some());
    let seen = world.house.seen();
    assert_eq!(
        seen,
        [
            Seen::Connected {
                device: 1,
                serial: 1,
                restored: false
            },
            Seen::Connected {
                device: 1,
                serial: 2,
                restored: false
            },
            Seen::Disconnected {
                device: 1,
                serial: 1,
                why: EndReason::Replaced
            },
        ]
    );
    assert_eq!(world.directory.find(1).next().unwrap().shard, 1);
}

#[test]
fn a_record_that_reaches_the_wrong_shard_is_passed_on() {
    let mut world = World::new(2);
    world.boot(1);
    world.device_in(1, 1);
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
}

#[test]
fn silence_ends_a_session_after_the_idle_time_and_not_before() {
    let mut world = World::new(1);
    world.boot(1);
    world.pass(IDLE - Duration::from_secs(5));
    assert_eq!(world.house.seen().len(), 1);
    world.pass(Duration::from_secs(10));
    assert_eq!(
        world.house.seen()[1],
        Seen::Disconnected {
            device: 1,
            serial: 1,
            why: EndReason::Idle
        }
    );
    assert!(world.directory.find(1).next().is_none());
    assert!(world.shards[0].addresses.is_empty());
}

#[test]
fn at_the_cap_the_longest_silent_session_goes() {
    let mut world = World::new(1);
    for number in 1..=MAX_SESSIONS as u64 {
        world.boot(number);
    }
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    world.boot(99);
    let ended: Vec<_> = world
        .house
        .seen()
        .into_iter()
        .filter(|seen| matches!(seen, Seen::Disconnected { .. }))
        .collect();
    assert_eq!(
        ended,
        [Seen::Disconnected {
            device: 2,
            serial: 2,
            why: EndReason::Evicted
        }]
    );
    assert_eq!(world.sessions.load(Ordering::SeqCst), MAX_SESSIONS);
}

#[test]
fn beyond_the_cap_client_hellos_are_dropped_and_a_seat_is_free_again_later() {
    let mut world = World::new(1);
    // Clients that stop after their second ClientHello, each from another network.
    for number in 0..MAX_HANDSHAKES as u64 {
        world
            .devices
            .insert(number, (Device::new(number), far_address(number), 0));
        let now = world.now;
        world.device(number).boot(now);
        world.exchange_once();
        world.exchange_once();
        world.device(number).out.clear();
    }
    world.devices.clear();
    assert_eq!(world.shards[0].seats.taken(), MAX_HANDSHAKES);
    world.boot(77);
    assert!(world.device(77).session.is_none());
    // Who has been silent for as long as a device tries gives way, one for each that comes.
    world.pass(Duration::from_secs(4));
    world.boot(79);
    assert!(world.device(79).session.is_some());
    assert_eq!(world.shards[0].seats.taken(), MAX_HANDSHAKES - 1);
    world.pass(Duration::from_secs(61));
    assert_eq!(world.shards[0].seats.taken(), 0);
    world.boot(78);
    assert!(world.device(78).session.is_some());
}

#[test]
fn a_handshake_given_up_while_its_key_is_looked_up_keeps_its_seat_until_then() {
    let mut world = World::new(1);
    world.add(3);
    for _ in 0..2 * MAX_HANDSHAKES {
        world.boot_as(3, "slow-3", &secret(3));
        world.settle();
        // As long as a device takes at least before it begins anew.
        world.pass(Duration::from_secs(1));
    }
    let tickets = std::mem::take(&mut *world.house.slow.lock().unwrap());
    // Past half of the seats, one network gets no more.
    assert_eq!(tickets.len(), MAX_HANDSHAKES / 2);
    world.devices.remove(&3);
    drop(tickets);
    world.settle();
    world.pass(Duration::from_secs(61));
    assert_eq!(world.shards[0].seats.taken(), 0);
}

#[test]
fn a_closing_device_is_answered_and_forgotten() {
    let mut world = World::new(1);
    world.boot(1);
    let mut goodbye = Vec::new();
    world.device(1).session.as_mut().unwrap().close(&mut goodbye);
    world.device(1).out.push(goodbye);
    world.settle();
    assert!(world.device(1).closed);
    assert_eq!(
        world.house.seen()[1],
        Seen::Disconnected {
            device: 1,
            serial: 1,
            why: EndReason::Closed
        }
    );
}

#[test]
fn forged_and_broken_datagrams_change_nothing_for_the_device() {
    let mut world = World::observing(1);
    let garbage: [&[u8]; 7] = [
        &[],
        &[22],
        // A plaintext close_notify, a plaintext fatal alert, an undecryptable record, one of a future epoch.
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0],
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
        &[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4],
        &[23, 0xfe, 0xfd, 0, 2, 0, 0, 0, 0, 0, 9, 0, 1, 0],
        &[0xff; 64],
    ];
    world.deliver_to_gateway(1, garbage.iter().map(|bytes| bytes.to_vec()).collect());
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().payload, "1:1");
    assert_eq!(world.house.seen().len(), 1);
}

#[test]
fn a_malformed_message_is_dropped_and_never_reset() {
    let mut world = World::new(1);
    world.boot(1);
    // A payload marker without payload.
    world.device(1).send(&[0x40, 1, 0, 1, 0xff]);
    world.settle();
    assert_eq!(world.device(1).told(), None);
}

#[test]
fn draining_answers_what_is_pending_says_goodbye_and_takes_nobody_new() {
    let mut world = World::new(1);
    world.boot(1);
    world.device(1).request(Code::POST, "later", None, None);
    world.settle();
    let deadline = world.now + Duration::from_secs(8);
    world.post(0, Message::Drain { deadline });
    assert!(!world.shards[0].is_over());
    world.boot(2);
    assert!(world.device(2).session.is_none());
    let ticket = world.house.tickets.lock().unwrap().pop().unwrap();
    ticket.complete(Code::CHANGED);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::CHANGED);
    world.pass(Duration::from_secs(1));
    assert!(world.device(1).closed);
    assert!(world.shards[0].is_over());
}

#[test]
fn sessions_are_told_goodbye_unless_the_log_will_restore_them() {
    for is_kept in [true, false] {
        let (journal, _entries) = Journal::for_tests(100);
        let mut world = World::new(1);
        world.shards[0].around.journal = Some(journal.clone());
        world.boot(1);
        if !is_kept {
            journal.give_up_for_tests();
        }
        let deadline = world.now;
        world.post(0, Message::Drain { deadline });
        assert!(world.shards[0].is_over());
        assert_eq!(world.device(1).closed, !is_kept);
    }
}

#[test]
fn a_plain_request_names_its_device_or_gets_4_01() {
    let mut world = World::new(1);
    world.add(1);
    world.plain = true;
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::UNAUTHORIZED);
    world
        .device(1)
        .request(Code::GET, "version", None, Some("device=nobody"));
    world.settle();
    assert_eq!(world.device(1).told().unwrap().code, Code::UNAUTHORIZED);
    assert_eq!(world.shards[0].plain.len(), 0);

    world
        .device(1)
        .request(Code::GET, "version", Some(0), Some("device=device-1"));
    world.settle();
    let answer = world.device(1).told().unwrap();
    assert_eq!((answer.code, answer.payload.as_str()), (Code::CONTENT, "1:1"));
    assert!(answer.observe.is_some());
    world.publish(2);
    let notification = world.device(1).told().unwrap();
    assert_eq!(notification.payload, "1:2");
    world.device(1).acknowledge(notification.mid);
    world.settle();
    assert!(world.house.seen().contains(&Seen::Acknowledged {
        device: 1,
        version: 2
    }));
    world.device(1).request(Code::GET, "version", None, None);
    world.settle();
    assert_eq!(
        world.device(1).told().unwrap().code,
        Code::UNAUTHORIZED,
        "a known address is no name"
    );
}

#[test]
fn the_table_of_plain_peers_is_bounded() {
    let mut world = World::new(1);
    world.plain = true;
    for number in 0..MAX_PLAIN as u64 + 3 {
        world.add(number);
        world.device(number).request(
            Code::GET,
            "version",
            None,
            Some(&format!("device=device-{number}")),
        );
        world.settle();
    }
    assert_eq!(world.shards[0].plain.len(), MAX_PLAIN);
    assert_eq!(world.shards[0].plain_addresses.len(), MAX_PLAIN);
}

#[test]
fn a_connected_peer_is_small() {
    let size = size_of::<Peer<Arc<()>>>();
    println!("{size} bytes a peer");
    assert!(size <= 488, "{size} bytes");
}

/// Shards, a house, devices at their addresses and a wire that loses nothing.
struct World {
    now: Instant,
    unix_ms: i64,
    house: Arc<House>,
    shards: Vec<Shard<House, House>>,
    inboxes: Vec<Inbox<Thing>>,
    directory: Arc<Directory>,
    sessions: Arc<AtomicUsize>,
    devices: BTreeMap<u64, (Device, SocketAddr, usize)>,
    out: SendQueue,
    plain: bool,
    /// Datagrams until one is lost.
    until_lost: Option<u32>,
    /// What devices have sent, first to last.
    recorded: Vec<Vec<u8>>,
    /// What the gateway sent: to whom, and how many bytes.
    sent: Vec<(SocketAddr, usize)>,
}

impl World {
    fn new(count: usize) -> Self {
        let now = Instant::now();
        let house = House::new();
        let directory = Arc::new(Directory::default());
        let sessions = Arc::new(AtomicUsize::new(0));
        let serials = Arc::new(AtomicU64::new(1));
        let cookies = CookieJar::new([7; 32], now);
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox()).unzip();
        let shards = (0..count)
            .map(|index| {
                let surroundings = Surroundings {
                    index: index as u16,
                    handler: house.clone(),
                    keys: house.clone(),
                    cookies: cookies.clone(),
                    dtls: Arc::new(ServerConfig::default()),
                    directory: directory.clone(),
                    mailboxes: mailboxes.clone(),
                    journal: None,
                    serials: serials.clone(),
                    sessions: sessions.clone(),
                    kinds: vec![Kind::Secure, Kind::Plain],
                    locals: vec![
                        "192.0.2.1:5684".parse().unwrap(),
                        "192.0.2.1:5683".parse().unwrap(),
                    ],
                    max_sessions: MAX_SESSIONS,
                    idle: IDLE,
                    idle_with_cid: IDLE_WITH_CID,
                    max_handshakes: MAX_HANDSHAKES,
                    max_plain_peers: MAX_PLAIN,
                    rng: StdRng::seed_from_u64(index as u64),
                };
                Shard::new(surroundings, now)
            })
            .collect();
        let unix_ms = 1_800_000_000_000;
        let out = SendQueue::new();
        Self {
            now,
            unix_ms,
            house,
            shards,
            inboxes,
            directory,
            sessions,
            devices: BTreeMap::new(),
            out,
            plain: false,
            until_lost: None,
            recorded: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Whose gateway has a certificate.
    fn certified(count: usize) -> Self {
        let mut world = Self::new(count);
        for shard in 0..count {
            let dtls = ServerConfig {
                certificate: Some(Arc::new(fixtures::server())),
                ..ServerConfig::default()
            };
            world.post(shard, Message::Reconfigured(Arc::new(dtls)));
        }
        world
    }

    fn boot_certified(&mut self, number: u64, own: CertifiedKey) {
        self.add(number);
        let now = self.now;
        let credential = ClientCredential::Certificate(Arc::new(own));
        self.device(number).boot_with(now, credential);
        self.settle();
    }

    fn lose_nth(&mut self, datagram: u32) {
        self.until_lost = Some(datagram);
    }

    fn is_lost(&mut self) -> bool {
        let lost = self.until_lost == Some(0);
        self.until_lost = self.until_lost.and_then(|left| left.checked_sub(1));
        lost
    }

    /// A world in which one device observes `/version`.
    fn observing(number: u64) -> Self {
        let mut world = Self::new(1);
        world.boot(number);
        world.device(number).request(Code::GET, "version", Some(0), None);
        world.settle();
        assert!(world.device(number).told().unwrap().observe.is_some());
        world
    }

    fn add(&mut self, number: u64) {
        self.devices
            .insert(number, (Device::new(number), address(number), 0));
    }

    fn device(&mut self, number: u64) -> &mut Device {
        &mut self.devices.get_mut(&number).unwrap().0
    }

    /// Has the kernel give a device's datagrams to another shard from here on.
    fn device_in(&mut self, number: u64, shard: usize) {
        self.devices.get_mut(&number).unwrap().2 = shard;
    }

    fn boot(&mut self, number: u64) {
        self.add(number);
        self.reboot(number);
        self.settle();
    }

    /// Only the first ClientHello.
    fn reboot(&mut self, number: u64) {
        let now = self.now;
        self.device(number).boot(now);
    }

    fn boot_as(&mut self, number: u64, identity: &str, key: &Psk) {
        let now = self.now;
        self.device(number).boot_as(now, identity, key);
    }

    /// Answers what has waited longest.
    fn read(&mut self, bytes: &str) {
        let bytes = bytes.to_owned();
        let ticket = self.house.tickets.lock().unwrap().remove(0);
        ticket.complete_with(move |reply| {
            reply.respond(&ResponseHead::new(Code::CONTENT), bytes.as_bytes());
        });
        self.settle();
    }

    /// How many devices have shown that they are there.
    fn proven(&self) -> usize {
        let seen = self.house.seen();
        seen.iter()
            .filter(|seen| matches!(seen, Seen::Proven { .. }))
            .count()
    }

    fn publish(&mut self, version: u32) {
        self.house.version.store(version, Ordering::SeqCst);
        for shard in 0..self.shards.len() {
            self.shards[shard].set_time(self.now, self.unix_ms);
            let since = self.now;
            self.shards[shard].handle_message(Message::WakeEveryone { since }, &mut self.out);
        }
        self.settle();
    }

    fn post(&mut self, shard: usize, message: Message<Thing>) {
        self.shards[shard].set_time(self.now, self.unix_ms);
        self.shards[shard].handle_message(message, &mut self.out);
        self.settle();
    }

    /// Lets time go by, stopping wherever a shard has something to do.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.shards.iter().map(Shard::next_deadline).min()
            && next < end
            && !self.shards.iter().any(Shard::is_over)
        {
            // Nothing of the shard's is more precise than this, and a day has to go by quickly.
            let step = if end - self.now > Duration::from_secs(3600) {
                Duration::from_secs(600)
            } else {
                Duration::ZERO
            };
            self.advance_to(next.max(self.now + step).min(end));
        }
        self.advance_to(end);
    }

    fn advance_to(&mut self, now: Instant) {
        self.unix_ms += (now - self.now).as_millis() as i64;
        self.now = now;
        self.settle();
    }

    /// Exchanges datagrams until nobody has anything to say.
    fn settle(&mut self) {
        while self.exchange_once() {}
    }

    fn exchange_once(&mut self) -> bool {
        let mut moved = false;
        for (device, ..) in self.devices.values_mut() {
            device.handle_timeout(self.now);
        }
        let sent: Vec<_> = self
            .devices
            .iter_mut()
            .map(|(number, (device, ..))| (*number, std::mem::take(&mut device.out)))
            .collect();
        for (number, datagrams) in sent {
            moved |= !datagrams.is_empty();
            self.deliver_to_gateway(number, datagrams);
        }
        for (shard, inbox) in self.shards.iter_mut().zip(&mut self.inboxes) {
            shard.set_time(self.now, self.unix_ms);
            while let Ok(message) = inbox.messages.try_recv() {
                shard.handle_message(message, &mut self.out);
                moved = true;
            }
            while let Ok(mut forwarded) = inbox.forwards.try_recv() {
                shard.handle_forwarded(&mut forwarded, &mut self.out);
                moved = true;
            }
            if !shard.is_over() {
                shard.handle_timers(1000, &mut self.out);
            }
            moved |= shard.notify_observers(100, &mut self.out);
        }
        let answers: VecDeque<_> = self
            .out
            .iter()
            .map(|(path, bytes)| (path.peer, bytes.to_vec()))
            .collect();
        self.out.clear();
        self.sent
            .extend(answers.iter().map(|(peer, bytes)| (*peer, bytes.len())));
        for (peer, mut bytes) in answers {
            moved = true;
            let now = self.now;
            if self.is_lost() {
                continue;
            }
            if let Some((device, ..)) = self.devices.values_mut().find(|(_, address, _)| *address == peer) {
                if self.plain {
                    told(&bytes);
                    device.messages.push(bytes);
                } else {
                    device.handle(now, &mut bytes);
                }
            }
        }
        moved
    }

    fn deliver_to_gateway(&mut self, number: u64, datagrams: Vec<Vec<u8>>) {
        let (_, peer, shard) = self.devices[&number];
        self.deliver(peer, shard, datagrams);
    }

    fn deliver(&mut self, peer: SocketAddr, shard: usize, datagrams: Vec<Vec<u8>>) {
        let path = Path {
            peer,
            local: "192.0.2.1".parse().unwrap(),
            listener: u8::from(self.plain),
        };
        for mut datagram in datagrams {
            self.recorded.push(datagram.clone());
            if self.is_lost() {
                continue;
            }
            self.shards[shard].set_time(self.now, self.unix_ms);
            self.shards[shard].handle_datagram(path, &mut datagram, &mut self.out);
        }
    }
}

fn session_ids(world: &World) -> Vec<PeerId> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(id) = world.shards[0].sessions.at_or_after(from) {
        from = id.slot() + 1;
        found.push(id);
    }
    found
}

/// A world after a restart. What happened in the `last` second before it is not in the log.
fn restarted_while(first: impl FnOnce(&mut World), last: impl FnOnce(&mut World)) -> World {
    let mut before = World::new(1);
    first(&mut before);
    let (journal, entries) = Journal::for_tests(100);
    before.shards[0].around.journal = Some(journal);
    before.post(0, Message::LogAnew);
    let saved = established(entries);
    assert_eq!(saved.len(), before.devices.len());
    before.shards[0].around.journal = None;
    last(&mut before);
    let mut world = World::new(1);
    world.devices = before.devices;
    world
        .house
        .version
        .store(before.house.version.load(Ordering::SeqCst), Ordering::SeqCst);
    let now = world.now;
    world.shards[0].restore(now, saved.into_iter().map(resume).collect());
    world.settle();
    world
}

fn established(entries: impl Iterator<Item = Entry>) -> Vec<SavedPeer> {
    entries
        .filter_map(|entry| match entry {
            Entry::Established(saved) => Some(*saved),
            Entry::Reserved { .. }
            | Entry::Received { .. }
            | Entry::Observes { .. }
            | Entry::Ended { .. }
            | Entry::Moved { .. } => None,
        })
        .collect()
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 20_000 + number as u16))
}

/// An address in a network of its own.
fn far_address(number: u64) -> SocketAddr {
    SocketAddr::from(([203, 0, number as u8, 7], 20_000))
}

const MAX_SESSIONS: usize = 5;
const MAX_HANDSHAKES: usize = 6;
const MAX_PLAIN: usize = 4;
const IDLE: Duration = Duration::from_secs(24 * 3600);
const IDLE_WITH_CID: Duration = Duration::from_secs(30 * 24 * 3600);
