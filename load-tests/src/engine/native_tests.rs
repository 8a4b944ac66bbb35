//! Most of it with real sockets and a clock of our own: a worker takes its turns where the test stands, so that nothing waits.
//! The last part with threads and a whole gateway.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;

use serde_json::{Value, json};
use tessera::app::Gateway;
use tessera::config::Config;
use tessera::virtual_device::{
    ClientConfig, ClientCredential, Event, Identity, Model, OfferedConnectionId, Pace, Port, Psk,
};

use super::*;
use crate::endpoint::Ground;
use crate::network::{Delay, Direction, Profile};

#[test]
fn what_is_lost_doubled_and_carried_is_what_the_links_decided() {
    let mut bench = Bench::of(300, &lossy(), 1);
    // The same devices and links once more, without an engine.
    let mut expected = EngineCounts::default();
    let mut shadows: Vec<(Place, Vec<Vec<u8>>)> = (0..300)
        .map(|device| (Place::new(seat(device, bench.began, &lossy(), 1)), Vec::new()))
        .collect();
    for _ in 0..8 {
        bench.settle();
        let now = bench.now();
        for (
            Place {
                virtual_device, link, ..
            },
            carried,
        ) in &mut shadows
        {
            if virtual_device.poll_timeout().is_some_and(|due| due <= now) {
                virtual_device.handle_timeout(now);
            }
            let mut datagram = Vec::new();
            while virtual_device.poll_transmit(&mut datagram) {
                let arrivals = link.up(now, datagram.len()).into_iter().count();
                match arrivals {
                    0 => expected.lost_up += 1,
                    1 => {}
                    _ => expected.duplicated += 1,
                }
                expected.datagrams_sent += arrivals as u64;
                expected.bytes_sent += (arrivals * datagram.len()) as u64;
                carried.extend((0..arrivals).map(|_| datagram.clone()));
                datagram.clear();
            }
            // What the gateway sends, and nobody understands.
            match link.down(now, 1).into_iter().count() {
                0 => expected.lost_down += 1,
                1 => {}
                _ => expected.duplicated += 1,
            }
            expected.datagrams_received += 1;
            expected.bytes_received += 1;
        }
        bench.say_to_all(&[0]);
        bench.settle();
        bench.pass(Duration::from_secs(1));
    }
    assert!(expected.lost_up > 100 && expected.lost_down > 100 && expected.duplicated > 50);
    assert_eq!(bench.worker.counts, expected);
    assert_eq!(
        bench.worker.desk.figures().counts,
        expected,
        "and that is published"
    );
    for (device, (_, carried)) in shadows.iter().enumerate() {
        assert_eq!(bench.heard(device as u32), carried, "device {device}");
    }
}

#[test]
fn the_same_seeds_send_the_same_whatever_the_order_of_the_seats() {
    let heard = |order: fn(Vec<u32>) -> Vec<u32>, seed| {
        let devices = order((0..100).collect());
        let mut bench = Bench::with(&devices, &lossy(), seed);
        for _ in 0..5 {
            bench.settle();
            bench.pass(Duration::from_secs(1));
        }
        (0..100_u32)
            .map(|device| bench.heard(device).clone())
            .collect::<Vec<_>>()
    };
    let backwards = |mut devices: Vec<u32>| {
        devices.reverse();
        devices
    };
    let once = heard(|devices| devices, 1);
    assert_eq!(heard(backwards, 1), once);
    assert_ne!(heard(|devices| devices, 2), once);
}

#[test]
fn a_datagram_in_the_simulated_network_arrives_in_its_time_and_in_order() {
    let mut network = Profile::perfect();
    network.up.delay = Delay::Constant(Duration::from_millis(300));
    network.down.delay = Delay::Constant(Duration::from_millis(200));
    let mut bench = Bench::of(50, &network, 1);
    bench.settle();
    assert_eq!(bench.peer_heard(), 0);
    assert_eq!(bench.worker.pause(), Some(Duration::from_millis(300)));
    bench.pass(Duration::from_millis(299));
    bench.settle();
    assert_eq!(bench.peer_heard(), 0, "a millisecond early");
    bench.pass(Duration::from_millis(1));
    bench.settle();
    assert_eq!(bench.peer_heard(), 50);
    assert_eq!(bench.order, (0..50).collect::<Vec<u32>>());
    // Alerts: the device's handshake is over once it hears one.
    bench.say_to_all(&HANDSHAKE_FAILURE);
    let arrived = bench.settle();
    bench.pass(Duration::from_millis(150));
    assert!(bench.settle().is_empty() && arrived.is_empty(), "on its way");
    bench.pass(Duration::from_millis(100));
    let arrived = bench.settle();
    assert_eq!(arrived.len(), 50);
    for happened in arrived {
        assert!(matches!(happened.event, Event::Disconnected(_)));
        let late = bench.now() - happened.at;
        assert!(
            late > Duration::from_millis(20) && late < Duration::from_millis(100),
            "it counts from its arrival and not from its handling {late:?} later"
        );
    }
}

#[test]
fn a_turn_is_bounded_and_what_it_leaves_is_late() {
    let mut bench = Bench::of(600, &Profile::perfect(), 1);
    bench.pass(Duration::from_millis(2));
    assert!(bench.worker.turn());
    assert_eq!(bench.worker.counts.datagrams_sent, PER_TURN as u64);
    assert_eq!(bench.worker.pause(), Some(Duration::ZERO), "there is more to do");
    bench.collect();
    bench.pass(Duration::from_secs(3));
    bench.settle();
    let figures = bench.worker.desk.figures();
    let figures = &figures.lateness;
    assert_eq!(figures.count_between(0, 10_000), PER_TURN as u64);
    // The others' starts, and the retransmissions of those that had started.
    assert!(figures.count_between(2_900_000, 3_100_000) >= 600 - PER_TURN as u64);
}

#[test]
fn a_turn_reads_and_obeys_no_more_than_its_share_and_the_next_ones_do_the_rest() {
    let mut bench = Bench::of(600, &Profile::perfect(), 1);
    bench.settle();
    let started = bench.worker.counts.datagrams_sent;
    bench.say_to_all(&[0]);
    bench.worker.sockets.wait(None);
    for device in 0..600 {
        bench.order(device, Order::Rebind);
    }
    let endpoint = |bench: &Bench, device| bench.worker.sockets.endpoint(device);
    let before = [255, 256, 599].map(|device| endpoint(&bench, device));
    assert!(bench.worker.turn());
    let after = [255, 256, 599].map(|device| endpoint(&bench, device));
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..]);
    let counts = bench.worker.counts;
    assert_eq!(counts.datagrams_received + counts.to_nobody, PER_TURN as u64);
    assert_eq!(bench.worker.pause(), Some(Duration::ZERO), "there is more to do");
    bench.settle();
    let counts = bench.worker.counts;
    assert_eq!(counts.datagrams_received + counts.to_nobody, 600);
    assert_eq!((counts.datagrams_sent, counts.orders_refused), (started, 0));
    assert_ne!(endpoint(&bench, 599), before[2]);
}

#[test]
fn a_thousand_devices_start_when_planned_and_none_before() {
    let spread = |device: u32| Duration::from_millis(u64::from(device) * 3);
    let (began, network) = (clock::now(), Arc::new(Profile::perfect()));
    let seats: Vec<Seat> = (0..1_000)
        .map(|device| seat(device, began + spread(device), &network, 1))
        .collect();
    let mut bench = Bench::seated(seats, began);
    for elapsed in [0, 299, 300, 900] {
        bench.pass(began + Duration::from_millis(elapsed) - bench.now());
        bench.settle();
        assert_eq!(bench.peer_heard() as u64, elapsed / 3 + 1, "after {elapsed} ms");
    }
}

#[test]
fn a_device_that_is_rebound_goes_on_from_another_endpoint() {
    let mut bench = Bench::of(3, &Profile::perfect(), 1);
    bench.settle();
    let old = bench.worker.sockets.endpoint(1);
    bench.order(1, Order::Rebind);
    bench.settle();
    let new = bench.worker.sockets.endpoint(1);
    assert_ne!(old, new);
    bench.pass(Duration::from_secs(2));
    bench.settle();
    assert_eq!(bench.from[&1], [old, new]);
    assert_eq!(bench.from[&0].len(), 1, "nobody else moved");
    bench.peer.send_to(&HANDSHAKE_FAILURE, old).unwrap();
    assert_eq!(bench.settle().len(), 0);
    assert_eq!(bench.worker.counts.to_nobody, 1);
    bench.peer.send_to(&HANDSHAKE_FAILURE, new).unwrap();
    assert_eq!(bench.settle()[0].device, 1);
}

#[test]
fn nothing_is_carried_in_an_outage_and_everything_after_it() {
    let mut bench = Bench::of(20, &Profile::perfect(), 1);
    for device in 0..10 {
        bench.order(device, Order::Outage(Duration::from_secs(10)));
    }
    bench.settle();
    assert_eq!(bench.order, (10..20).collect::<Vec<u32>>());
    assert_eq!(bench.worker.counts.lost_up, 10);
    for _ in 0..4 {
        bench.pass(Duration::from_secs(1));
        bench.settle();
    }
    assert!((0..10).all(|device| bench.heard(device).is_empty()));
    for _ in 0..26 {
        bench.pass(Duration::from_secs(1));
        bench.settle();
    }
    assert!(
        (0..10).all(|device| !bench.heard(device).is_empty()),
        "they try again"
    );
}

#[test]
fn a_fleet_stops_though_nobody_takes_what_happened() {
    let mut bench = Bench::of(1, &Profile::perfect(), 1);
    let desk = Arc::clone(&bench.worker.desk);
    let (sender, mut receiver) = mpsc::channel(1);
    sender.try_send(Vec::new()).unwrap();
    bench.worker.happened = sender;
    let happened = Happened {
        device: 0,
        at: bench.began,
        event: Event::Connected,
    };
    bench.worker.told.push(happened.clone());
    // Somebody makes room in the end, and gets it.
    let taker = std::thread::spawn(move || {
        let batches = [
            receiver.blocking_recv().unwrap(),
            receiver.blocking_recv().unwrap(),
        ];
        (batches.map(|batch| batch.len()), receiver)
    });
    assert!(bench.worker.tell());
    let (batches, receiver) = taker.join().unwrap();
    assert_eq!(batches, [0, 1]);
    // Nobody does, but the fleet is dropped.
    bench.worker.happened.try_send(Vec::new()).unwrap();
    bench.worker.told.push(happened);
    desk.inbox().stop = true;
    assert!(!bench.worker.tell());
    drop(receiver);
}

#[test]
fn orders_beyond_the_bound_and_to_others_are_refused() {
    let network = Arc::new(Profile::perfect());
    let later = clock::now() + Duration::from_secs(3_600);
    let seats = [7, 3, 12].map(|device| seat(device, later, &network, 1));
    let (sender, _receiver) = mpsc::channel(1);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let wiring = Wiring {
        gateway: peer.local_addr().unwrap(),
        threads: 2,
        ground: Ground::Loopback,
        happened: sender,
    };
    let fleet = start(seats.into(), wiring).unwrap();
    for (device, ours) in [(7, true), (3, true), (12, true), (0, false), (13, false)] {
        assert_eq!(fleet.order(device, Order::Rebind), ours, "device {device}");
    }
    assert_eq!(fleet.counts(), EngineCounts::default());
    let desk = Desk::new(|| {});
    for _ in 0..=super::super::ORDERS_MAX {
        desk.put(0, Order::Rebind);
    }
    assert_eq!(desk.inbox().refused, 1);
}

#[test]
fn the_engine_takes_no_more_for_a_device_than_it_says() {
    let place = size_of::<Place>() - size_of::<VirtualDevice>();
    // Its entry of the wheel, with what the wheel keeps beside it.
    let alarm = size_of::<(u64, Option<u32>, Option<Alarm>)>();
    // A number each in two tables of endpoints, and in the fleet's.
    let numbers = 3 * size_of::<u32>();
    assert_eq!(
        place + alarm + numbers,
        196,
        "the module's documentation has the figure too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_connects_is_rebound_updates_and_reboots() {
    let mut house = House::start().await;
    let model = Model {
        dtls: Arc::new(ClientConfig {
            connection_id: OfferedConnectionId::Empty,
            ..ClientConfig::clone(&Port::Libcoap.dtls())
        }),
        pace: Pace {
            keepalive: Duration::from_secs(1),
            ..Pace::of(Port::Libcoap).faster(10)
        },
        ..Model::of(Port::Libcoap)
    };
    let fleet = house.devices(Arc::new(model), Arc::new(Profile::perfect()));
    house.until(|seen| count(seen, "Observing") == 1).await;
    assert!(house.seen.iter().all(|seen| count(seen, "Established") == 1));
    let counts = fleet.counts();
    assert_eq!(
        (counts.to_nobody, counts.unknown_peer, counts.orders_refused),
        (0, 0, 0)
    );

    // Before the devices say something from where they are now, the gateway sends to where they were.
    for device in 0..DEVICES {
        assert!(fleet.order(device, Order::Rebind));
    }
    let order = json!({ "name": "first", "artifacts": [{ "package": "main", "version": "1.0.1" }] });
    let path = format!("cohorts/{}/deployments", house.cohort);
    house.post(&path, order);
    house.until(|seen| count(seen, "Observing") == 2).await;
    for seen in &house.seen {
        let update = seen.iter().take_while(|name| *name != "Rebooted");
        let update: Vec<String> = update.cloned().collect();
        assert_eq!(count(&update, "Downloaded"), 1);
        assert_eq!(
            count(&update, "Established"),
            1,
            "it had to begin again: {update:?}"
        );
        assert_eq!(count(seen, "Established"), 2);
    }

    for device in 0..DEVICES {
        assert!(fleet.order(device, Order::Reboot));
    }
    house.until(|seen| count(seen, "Observing") == 3).await;
    assert!(house.seen.iter().all(|seen| count(seen, "Established") == 3));
    let counts = fleet.counts();
    assert_eq!((counts.lost_up, counts.lost_down, counts.duplicated), (0, 0, 0));
    assert_eq!((counts.send_errors, counts.kernel_dropped), (0, 0));
    assert!(counts.bytes_received > 60_000 * u64::from(DEVICES));
    assert!(fleet.lateness().len() > counts.datagrams_received);
}

/// A worker with a clock of the test's, and the gateway's end of its sockets.
struct Bench {
    worker: Worker,
    clock: Arc<Mutex<Instant>>,
    began: Instant,
    peer: UdpSocket,
    happened: mpsc::Receiver<Vec<Happened>>,
    /// Which device sits where.
    devices: Vec<u32>,
    /// What the peer heard of each device, the endpoints it came from, and who sent, in order.
    datagrams: BTreeMap<u32, Vec<Vec<u8>>>,
    from: BTreeMap<u32, Vec<SocketAddr>>,
    order: Vec<u32>,
    silence: Vec<Vec<u8>>,
}

impl Bench {
    fn of(devices: u32, network: &Profile, seed: u64) -> Self {
        Self::with(&(0..devices).collect::<Vec<_>>(), network, seed)
    }

    fn with(devices: &[u32], network: &Profile, seed: u64) -> Self {
        let (began, network) = (clock::now(), Arc::new(network.clone()));
        let seats = devices.iter().map(|device| seat(*device, began, &network, seed));
        Self::seated(seats.collect(), began)
    }

    fn seated(seats: Vec<Seat>, began: Instant) -> Self {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_nonblocking(true).unwrap();
        let gateway = peer.local_addr().unwrap();
        let devices: Vec<u32> = seats.iter().map(|seat| seat.device).collect();
        let endpoints = Endpoints::for_many(&Ground::Loopback, gateway, seats.len()).unwrap();
        let sockets = endpoints.sockets(0, 1, seats.len() as u32).unwrap();
        let (sender, happened) = mpsc::channel(1_000);
        let clock = Arc::new(Mutex::new(began));
        let read = Arc::clone(&clock);
        let worker = Worker::new(
            seats.into_iter().map(Place::new).collect(),
            sockets,
            Arc::new(Desk::new(|| {})),
            sender,
            Box::new(move || *read.lock().unwrap()),
        );
        Self {
            worker,
            clock,
            began,
            peer,
            happened,
            devices,
            datagrams: BTreeMap::new(),
            from: BTreeMap::new(),
            order: Vec::new(),
            silence: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        *self.clock.lock().unwrap()
    }

    fn pass(&mut self, time: Duration) {
        *self.clock.lock().unwrap() += time;
    }

    fn order(&self, place: u32, order: Order) {
        self.worker.desk.put(place, order);
    }

    /// Takes turns until there is nothing to do at this moment. Returns what happened.
    fn settle(&mut self) -> Vec<Happened> {
        let mut all = Vec::new();
        loop {
            self.worker.sockets.wait(Some(Duration::ZERO));
            let before = self.worker.counts;
            assert!(self.worker.turn());
            self.collect();
            while let Ok(batch) = self.happened.try_recv() {
                all.extend(batch);
            }
            if self.worker.counts == before && self.worker.pause() != Some(Duration::ZERO) {
                return all;
            }
        }
    }

    /// Reads what has come to the peer. What is sent on the loopback is there.
    fn collect(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = self.peer.recv_from(&mut buffer) {
            let place = (0..)
                .zip(&self.devices)
                .find_map(|(place, device)| (self.worker.sockets.endpoint(place) == from).then_some(*device));
            let device = place.expect("a device's endpoint");
            self.datagrams
                .entry(device)
                .or_default()
                .push(buffer[..len].to_vec());
            let endpoints = self.from.entry(device).or_default();
            if endpoints.last() != Some(&from) {
                endpoints.push(from);
            }
            self.order.push(device);
        }
    }

    fn heard(&self, device: u32) -> &Vec<Vec<u8>> {
        self.datagrams.get(&device).unwrap_or(&self.silence)
    }

    fn peer_heard(&self) -> usize {
        self.datagrams.values().map(Vec::len).sum()
    }

    fn say_to_all(&self, datagram: &[u8]) {
        for place in 0..self.devices.len() as u32 {
            let endpoint = self.worker.sockets.endpoint(place);
            self.peer.send_to(datagram, endpoint).unwrap();
        }
    }
}

/// A whole gateway with [`DEVICES`] devices in a cohort and an artifact to give them, and what happens to those.
struct House {
    gateway: Gateway,
    _folder: tempfile::TempDir,
    cohort: String,
    sender: mpsc::Sender<Vec<Happened>>,
    receiver: mpsc::Receiver<Vec<Happened>>,
    /// Names of what happened to each device so far.
    seen: Vec<Vec<String>>,
}

impl House {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.dir = folder.path().join("data");
        config.coaps.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.admin.listen = "127.0.0.1:0".parse().unwrap();
        let gateway = Gateway::start(&config).await.unwrap();
        let (sender, receiver) = mpsc::channel(1_000);
        let mut house = Self {
            gateway,
            _folder: folder,
            cohort: String::new(),
            sender,
            receiver,
            seen: vec![Vec::new(); DEVICES as usize],
        };
        house.post("packages", json!({ "name": "main" }));
        house.put("packages/main/artifacts/1.0.1", &[7; 60_000]);
        let cohort = house.post("cohorts", json!({ "name": "native" }));
        house.cohort = cohort["id"].as_str().unwrap().to_owned();
        for device in 0..DEVICES {
            let credential =
                json!({ "type": "psk", "identity": format!("device-{device}"), "secret": SECRET });
            house.post(
                "devices",
                json!({ "name": format!("device-{device}"), "cohort": house.cohort, "credentials": [credential] }),
            );
        }
        house
    }

    fn devices(&self, model: Arc<Model>, network: Arc<Profile>) -> Fleet {
        let now = clock::now();
        let seats = (0..DEVICES).map(|device| Seat {
            device,
            virtual_device: VirtualDevice::new(
                Arc::clone(&model),
                credential(device),
                "1.0.0",
                now,
                u64::from(device),
            ),
            network: Arc::clone(&network),
            network_seed: u64::from(device),
        });
        let wiring = Wiring {
            gateway: self.gateway.device_addrs[0],
            threads: 2,
            ground: Ground::fitting(self.gateway.device_addrs[0]),
            happened: self.sender.clone(),
        };
        start(seats.collect(), wiring).unwrap()
    }

    /// Waits until this holds of what has happened to each device.
    async fn until(&mut self, done: impl Fn(&[String]) -> bool) {
        while !self.seen.iter().all(|seen| done(seen)) {
            let batch = tokio::time::timeout(PATIENCE, self.receiver.recv()).await;
            let Ok(batch) = batch else {
                let stuck = self.seen.iter().find(|seen| !done(seen));
                panic!("a device never came there: {stuck:?}");
            };
            for Happened { device, event, .. } in batch.unwrap() {
                let name = format!("{event:?}");
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                self.seen[device as usize].push(name.to_owned());
            }
        }
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let call = ureq::post(self.url(path)).header("Authorization", self.authorization());
        tokio::task::block_in_place(|| call.send_json(body).unwrap().body_mut().read_json().unwrap())
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let call = ureq::put(self.url(path))
            .header("Authorization", self.authorization())
            .header("Content-Type", "application/octet-stream");
        tokio::task::block_in_place(|| call.send(bytes).unwrap());
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/projects/default/{path}", self.gateway.admin_addr)
    }

    fn authorization(&self) -> String {
        let key = self.gateway.first_admin_key.as_ref().unwrap();
        format!("Bearer {}", key.text.as_str())
    }
}

fn count(seen: &[String], name: &str) -> usize {
    seen.iter().filter(|seen| *seen == name).count()
}

fn seat(device: u32, start: Instant, network: &Profile, seed: u64) -> Seat {
    let seed = seed << 32 | u64::from(device);
    Seat {
        device,
        virtual_device: VirtualDevice::new(
            Arc::new(Model::of(Port::Libcoap)),
            credential(device),
            "1.0.0",
            start,
            seed,
        ),
        network: Arc::new(network.clone()),
        network_seed: seed,
    }
}

fn credential(device: u32) -> ClientCredential {
    ClientCredential::Psk {
        identity: Identity::new(format!("device-{device}").as_bytes()).unwrap(),
        key: Psk::new(SECRET.as_bytes()).unwrap(),
    }
}

/// Without a delay, so that everything is decided at the moment it is sent.
fn lossy() -> Profile {
    let direction = Direction {
        loss: 0.2,
        duplicate: 0.1,
        ..Profile::perfect().up
    };
    Profile {
        up: direction.clone(),
        down: direction,
    }
}

/// A record in the clear: the alert "handshake_failure", fatal.
const HANDSHAKE_FAILURE: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
const SECRET: &str = "open sesame";
const DEVICES: u32 = 60;
/// Long enough for a busy machine; nothing waits it out when all is well.
const PATIENCE: Duration = Duration::from_secs(60);
