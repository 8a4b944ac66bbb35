use std::collections::BTreeSet;

use tessera::clock;

use super::*;

#[test]
fn a_number_is_an_address_and_an_address_its_number() {
    for gateway in [
        [127, 0, 0, 1],
        [127, 0, 1, 1],
        [127, 5, 6, 7],
        [127, 255, 255, 254],
    ] {
        let gateway = SocketAddr::from((gateway, 5684));
        let loopback = Loopback::beside(gateway);
        let size = u32::try_from(Ground::Loopback.size()).unwrap();
        let some = (0..size).step_by(997).chain([1, 253, 254, 255, size - 1]);
        for number in some {
            let address = loopback.address(number).unwrap();
            let [first, high, low, host] = address.octets();
            assert_eq!(loopback.number(address), Some(number), "{address}");
            assert!(first == 127 && (high, low) != (0, 0), "{address}");
            assert!(host != 0 && host != 255, "{address}");
            assert_ne!(IpAddr::V4(address), gateway.ip());
        }
        assert_eq!(loopback.address(LOOPBACK_ADDRESSES), None);
        for nobodys in [
            [127, 0, 0, 2],
            [127, 0, 1, 0],
            [127, 0, 1, 255],
            [126, 0, 1, 1],
            [128, 0, 1, 1],
        ] {
            assert_eq!(loopback.number(nobodys.into()), None);
        }
        match gateway.ip() {
            IpAddr::V4(gateway) => assert_eq!(loopback.number(gateway), None),
            IpAddr::V6(_) => unreachable!(),
        }
    }
}

#[test]
fn a_million_devices_have_a_million_endpoints_and_each_is_found_by_its_own() {
    let gateway = SocketAddr::from(([127, 0, 0, 1], 5684));
    let threads = 4;
    let mut addresses = BTreeSet::new();
    for thread in 0..threads {
        let share = Share {
            thread,
            threads,
            size: Ground::Loopback.size(),
        };
        let shared = Shared::open(gateway, share, 250_000).unwrap();
        assert_eq!(shared.sockets.len(), SOCKETS);
        for place in 0..250_000 {
            let (socket, address) = shared.route(place);
            let socket = shared
                .sockets
                .iter()
                .position(|one| std::ptr::eq(one, socket))
                .unwrap();
            for other in 0..SOCKETS {
                let found = shared.device(other as u32, address);
                assert_eq!(found, (other == socket).then_some(place));
            }
            assert!(addresses.insert(address), "{address} twice");
        }
        for address in addresses.iter().take(1_000) {
            let number = shared.loopback.number(*address).unwrap();
            if u64::from(number) % threads != thread {
                assert!((0..SOCKETS as u32).all(|socket| shared.device(socket, *address).is_none()));
            }
        }
    }
    assert_eq!(addresses.len(), 1_000_000);
}

#[test]
fn a_thousand_devices_send_from_a_thousand_endpoints_and_hear_what_is_theirs() {
    let peer = Peer::new();
    let mut seen = BTreeSet::new();
    for ground in [Ground::Loopback, peer.ports()] {
        let endpoints = Endpoints::for_many(&ground, peer.address, 1_000).unwrap();
        for thread in 0..2_usize {
            let mut sockets = endpoints.sockets(thread, 2, 500).unwrap();
            let mut batch = Batch::new(&sockets);
            for place in 0..500_u32 {
                sockets.send(place, &place.to_be_bytes()).unwrap();
                let (datagram, from) = peer.receive();
                assert_eq!(datagram, place.to_be_bytes());
                assert_eq!(from, sockets.endpoint(place));
                assert!(seen.insert(from), "{from} is two devices'");
                peer.socket.send_to(&datagram, from).unwrap();
            }
            let (heard, stray) = receive(&mut sockets, &mut batch);
            let all: Vec<(u32, Vec<u8>)> = (0..500_u32)
                .map(|place| (place, place.to_be_bytes().to_vec()))
                .collect();
            assert_eq!(heard, all);
            assert_eq!(stray, Stray::default());
        }
    }
    assert_eq!(seen.len(), 2_000);
}

#[test]
fn a_device_that_moved_hears_what_is_sent_to_it_and_not_what_is_sent_to_where_it_was() {
    let peer = Peer::new();
    for (ground, remain) in [(Ground::Loopback, true), (peer.ports(), false)] {
        let endpoints = Endpoints::for_many(&ground, peer.address, 3).unwrap();
        let mut sockets = endpoints.sockets(0, 1, 3).unwrap();
        let mut batch = Batch::new(&sockets);
        let old = sockets.endpoint(1);
        let others = (sockets.endpoint(0), sockets.endpoint(2));
        assert!(sockets.rebind(1));
        let new = sockets.endpoint(1);
        assert!(old != new && new != others.0 && new != others.1);
        assert_eq!((sockets.endpoint(0), sockets.endpoint(2)), others);
        sockets.send(1, b"here").unwrap();
        assert_eq!(peer.receive(), (b"here".to_vec(), new));
        peer.socket.send_to(b"late", old).unwrap();
        peer.socket.send_to(b"good", new).unwrap();
        let (heard, stray) = receive(&mut sockets, &mut batch);
        assert_eq!(heard, [(1, b"good".to_vec())]);
        // A socket that is closed takes with it what comes to it.
        assert_eq!(stray.to_nobody, u64::from(remain));
    }
}

#[test]
fn an_endpoint_comes_again_when_all_others_were_used_and_not_while_somebody_has_it() {
    let gateway = SocketAddr::from(([127, 0, 0, 1], 5684));
    let share = Share {
        thread: 0,
        threads: 1,
        size: 5,
    };
    let mut shared = Shared::open(gateway, share, 4).unwrap();
    assert_eq!(shared.endpoints, [0, 1, 2, 3]);
    assert!(shared.rebind(1) && shared.rebind(3) && shared.rebind(0));
    assert_eq!(shared.endpoints, [3, 4, 2, 1]);
    assert_eq!(shared.devices, [NOBODY, 3, 2, 0, 1]);
    let mut full = Shared::open(gateway, share, 5).unwrap();
    assert!(!full.rebind(2), "there is none");
    assert_eq!(full.endpoints, [0, 1, 2, 3, 4]);
    assert!(matches!(
        Shared::open(gateway, share, 6),
        Err(EndpointError::Taken { needed: 6, .. })
    ));
}

#[test]
fn who_is_not_the_gateway_is_counted_and_not_heard() {
    let peer = Peer::new();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for ground in [Ground::Loopback, peer.ports()] {
        let endpoints = Endpoints::for_many(&ground, peer.address, 1).unwrap();
        let mut sockets = endpoints.sockets(0, 1, 1).unwrap();
        let mut batch = Batch::new(&sockets);
        stranger.send_to(b"hello", sockets.endpoint(0)).unwrap();
        let (heard, stray) = receive(&mut sockets, &mut batch);
        assert_eq!(heard, []);
        assert_eq!((stray.unknown_peer, stray.to_nobody), (1, 0));
    }
}

#[test]
fn a_datagram_counts_from_when_the_kernel_had_it() {
    let peer = Peer::new();
    for ground in [Ground::Loopback, peer.ports()] {
        let endpoints = Endpoints::for_many(&ground, peer.address, 1).unwrap();
        let mut sockets = endpoints.sockets(0, 1, 1).unwrap();
        let mut batch = Batch::new(&sockets);
        // The kernel begins to stamp when it comes to it, after it was first asked to; until then it stamps what is read.
        let began = clock::now();
        let mut stamped = false;
        while !stamped && clock::now() - began < PATIENCE {
            let before = clock::now();
            peer.socket.send_to(b"", sockets.endpoint(0)).unwrap();
            let after = clock::now();
            sockets.wait(None);
            let stray = sockets.receive(clock::now(), &mut batch);
            assert_eq!(stray, Some(Stray::default()));
            let at = batch.arrivals()[0].at;
            assert!(before - TOLERANCE <= at, "{:?} before it was sent", before - at);
            stamped = at <= after;
        }
        assert!(stamped, "the time of reading is what is told");
    }
}

#[test]
fn what_the_kernel_drops_is_counted_and_what_follows_is_still_told_apart() {
    let peer = Peer::new();
    let endpoints = Endpoints::for_many(&Ground::Loopback, peer.address, 8).unwrap();
    let mut sockets = endpoints.sockets(0, 1, 8).unwrap();
    let mut batch = Batch::new(&sockets);
    let (mut sent, mut heard, mut dropped) = (0, 0, 0);
    // The first round is short: the headers forget that a drop may have to be told. The next datagram after the drops is lost
    // by that, the one after it tells how many there were.
    for round in [BATCH, 30_000, 1, 1] {
        for _ in 0..round {
            peer.socket.send_to(&[0; 1_400], sockets.endpoint(3)).unwrap();
            sent += 1;
        }
        let (arrivals, stray) = receive(&mut sockets, &mut batch);
        assert!(arrivals.iter().all(|(place, _)| *place == 3));
        assert_eq!((stray.unknown_peer, stray.to_nobody), (0, 0));
        heard += arrivals.len() as u64;
        dropped += stray.kernel_dropped;
    }
    assert!(dropped > 0, "30 000 datagrams fitted into the buffer");
    assert_eq!(heard + dropped, sent);
}

#[test]
fn a_port_that_others_have_is_passed_over() {
    let peer = Peer::new();
    let ground = peer.ports();
    let Ground::Ports { ports, .. } = &ground else {
        unreachable!()
    };
    let mut others = Vec::new();
    for port in (*ports.start()..).step_by(2).take(20) {
        // Where it is somebody else's already, all the better.
        others.extend(UdpSocket::bind(("127.0.0.1", port)));
    }
    let endpoints = Endpoints::for_many(&ground, peer.address, 20).unwrap();
    let sockets = endpoints.sockets(0, 1, 20).unwrap();
    let native: Vec<SocketAddr> = (0..20).map(|place| sockets.endpoint(place)).collect();
    assert_eq!(native.iter().collect::<BTreeSet<_>>().len(), 20);
}

#[test]
fn the_gateways_own_port_is_left_to_it() {
    let gateway = SocketAddr::from(([127, 0, 0, 1], 19_001));
    let ground = Ground::Ports {
        addresses: vec![[127, 0, 0, 1].into()],
        ports: 19_001..=19_001,
    };
    let endpoints = Endpoints::for_many(&ground, gateway, 1).unwrap();
    let said = endpoints.sockets(0, 1, 1).unwrap_err().to_string();
    assert!(said.contains("no endpoint is left, and 1 are needed"), "{said}");
}

#[test]
fn a_device_on_ipv6_has_a_socket_of_its_own() {
    let peer = UdpSocket::bind("[::1]:0").unwrap();
    let gateway = peer.local_addr().unwrap();
    let endpoints = Endpoints::for_many(&Ground::fitting(gateway), gateway, 2).unwrap();
    let mut sockets = endpoints.sockets(0, 1, 2).unwrap();
    let mut batch = Batch::new(&sockets);
    for place in 0..2 {
        sockets.send(place, b"hello").unwrap();
        let (_, from) = peer.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from.port(), sockets.endpoint(place).port());
        peer.send_to(&[place as u8], from).unwrap();
    }
    let (heard, stray) = receive(&mut sockets, &mut batch);
    assert_eq!(heard, [(0, vec![0]), (1, vec![1])]);
    assert_eq!(stray, Stray::default());
}

#[test]
fn a_waker_ends_the_wait_it_interrupts_or_the_next_one_and_no_other() {
    let peer = Peer::new();
    let endpoints = Endpoints::for_many(&Ground::Loopback, peer.address, 1).unwrap();
    let mut sockets = endpoints.sockets(0, 1, 1).unwrap();
    let waker = sockets.waker();
    waker.wake();
    sockets.wait(None);
    let thread = std::thread::spawn(move || waker.wake());
    sockets.wait(None);
    thread.join().unwrap();
    let began = clock::now();
    sockets.wait(Some(TOLERANCE));
    assert!(clock::now() - began >= TOLERANCE);
    assert_eq!(sockets.receive(clock::now(), &mut Batch::new(&sockets)), None);
}

#[test]
fn what_is_wrong_with_a_ground_is_said_with_what_would_do() {
    let v4 = SocketAddr::from(([127, 0, 0, 1], 5684));
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5684));
    let outside = SocketAddr::from(([192, 0, 2, 1], 5684));
    let few = Ground::Ports {
        addresses: vec![[192, 0, 2, 7].into(), [192, 0, 2, 8].into()],
        ports: 5_000..=5_009,
    };
    let none = Ground::Ports {
        addresses: Vec::new(),
        ports: PORTS,
    };
    let said = |ground: &Ground, gateway, needed| {
        Endpoints::for_many(ground, gateway, needed)
            .unwrap_err()
            .to_string()
    };
    for (said, parts) in [
        (
            said(&Ground::Loopback, outside, 1),
            ["192.0.2.1:5684", "accepted: a gateway at 127.0.0.0/8"],
        ),
        (said(&Ground::Loopback, v6, 1), ["[::1]:5684", "accepted"]),
        (
            said(&few, v6, 1),
            ["192.0.2.7 does not reach", "accepted: addresses of its family"],
        ),
        (
            said(&few, v4, 21),
            [
                "there are 20 endpoints and 21 are needed; ports 5000 to 5009 of 192.0.2.7, 192.0.2.8",
                "accepted: more",
            ],
        ),
        (
            said(&none, v4, 1),
            ["0 endpoints and 1 are needed", "of no address"],
        ),
        (
            said(&Ground::Loopback, v4, 20_000_000),
            ["16645889 endpoints and 20000000 are needed", "127.0.0.0/8"],
        ),
        (
            reserve_open_files(1 << 40).unwrap_err().to_string(),
            ["1099511628032 open files are needed", "ulimit -n"],
        ),
    ] {
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    }
    assert_eq!(Ground::fitting(v4), Ground::Loopback);
    assert!(Endpoints::for_many(&Ground::fitting(v6), v6, 1).is_ok());
    assert!(Endpoints::for_many(&Ground::fitting(outside), outside, 1).is_ok());
}

/// The gateway's end.
struct Peer {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Peer {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // What was sent on the loopback is there; this is for when it is not.
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = self.socket.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from)
    }

    /// A ground of bound sockets on the loopback.
    fn ports(&self) -> Ground {
        Ground::Ports {
            addresses: vec![[127, 0, 0, 1].into()],
            ports: 20_000..=29_999,
        }
    }
}

/// Everything that waits in the sockets: by device, in order.
fn receive(sockets: &mut Sockets, batch: &mut Batch) -> (Vec<(u32, Vec<u8>)>, Stray) {
    let (mut heard, mut all) = (Vec::new(), Stray::default());
    loop {
        sockets.wait(Some(Duration::ZERO));
        let mut any = false;
        while let Some(stray) = sockets.receive(clock::now(), batch) {
            any = true;
            for (index, arrival) in batch.arrivals().iter().enumerate() {
                heard.push((arrival.place, batch.bytes(index).to_vec()));
            }
            all.unknown_peer += stray.unknown_peer;
            all.to_nobody += stray.to_nobody;
            all.kernel_dropped += stray.kernel_dropped;
        }
        if !any {
            heard.sort();
            return (heard, all);
        }
    }
}

/// Between the wall's clock and the monotonic one.
const TOLERANCE: Duration = Duration::from_millis(5);

/// Long enough for a busy kernel; nothing waits it out when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
