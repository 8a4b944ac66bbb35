use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::network::{Delay, Direction, Profile};

#[tokio::test]
async fn datagrams_arrive_in_order_after_their_delay_both_ways() {
    let delay = Delay::Uniform {
        from: Duration::from_millis(1),
        to: Duration::from_millis(20),
    };
    let (gateway, air, desk) = between(delay, 0.0).await;
    let began = clock::now();
    for number in 0..50 {
        air.send(&[number]).await.unwrap();
    }
    let (mut buffer, mut device) = ([0; 16], None);
    for number in 0..50 {
        let (len, from) = within(gateway.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..len], [number]);
        device = Some(from);
    }
    assert!(clock::now() >= began + Duration::from_millis(1));
    for number in 0..50 {
        gateway.send_to(&[number], device.unwrap()).await.unwrap();
    }
    for number in 0..50 {
        let len = within(air.recv(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..len], [number]);
    }
    let counts = desk.figures().counts;
    assert_eq!((counts.datagrams_sent, counts.bytes_sent), (50, 50));
    assert_eq!((counts.datagrams_received, counts.bytes_received), (50, 50));
}

#[tokio::test]
async fn a_rebind_changes_the_port_and_keeps_to_the_range() {
    let (gateway, air, _) = between(Delay::Constant(Duration::ZERO), 0.0).await;
    let mut ports = Vec::new();
    for _ in 0..3 {
        air.send(b"x").await.unwrap();
        let (_, from) = within(gateway.recv_from(&mut [0; 16])).await.unwrap();
        assert!(PORTS.contains(&from.port()) && from.ip() == HOME, "{from}");
        assert!(ports.last() != Some(&from.port()), "{from} again");
        ports.push(from.port());
        air.rebind().await;
    }
}

#[tokio::test]
async fn what_is_on_its_way_leaves_though_the_device_has_gone() {
    let (gateway, air, _) = between(Delay::Constant(Duration::from_millis(20)), 0.0).await;
    air.send(b"last words").await.unwrap();
    drop(air);
    let mut buffer = [0; 16];
    let len = within(gateway.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..len], b"last words");
}

#[tokio::test]
async fn what_is_lost_and_what_comes_twice_is_counted() {
    let (gateway, air, desk) = between(Delay::Constant(Duration::ZERO), 0.3).await;
    for number in 0..100 {
        air.send(&[number]).await.unwrap();
    }
    let mut came = 0;
    let mut expected = u64::MAX;
    while came < expected {
        within(gateway.recv(&mut [0; 16])).await.unwrap();
        came += 1;
        let counts = desk.figures().counts;
        if counts.datagrams_sent + counts.lost_up == 100 + counts.duplicated {
            expected = counts.datagrams_sent;
        }
    }
    let counts = desk.figures().counts;
    assert!((10..60).contains(&counts.lost_up), "{counts:?}");
    assert!((5..60).contains(&counts.duplicated), "{counts:?}");
}

#[tokio::test]
async fn a_gateway_that_is_away_is_no_error() {
    let (gateway, air, desk) = between(Delay::Constant(Duration::ZERO), 0.0).await;
    let address = gateway.local_addr().unwrap();
    drop(gateway);
    for _ in 0..3 {
        assert_eq!(air.send(b"anybody?").await.unwrap(), 8);
    }
    let tried = async {
        loop {
            let counts = desk.figures().counts;
            if counts.datagrams_sent + counts.send_errors >= 3 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within(tried).await;
    let back = UdpSocket::bind(address).await.unwrap();
    let mut buffer = [0; 16];
    // What the kernel says of the closed port comes back in place of a later datagram.
    let asked = async {
        loop {
            air.send(b"again").await.unwrap();
            if let Ok(received) = timeout(Duration::from_millis(50), back.recv_from(&mut buffer)).await {
                return received.unwrap().1;
            }
        }
    };
    let device = within(asked).await;
    back.send_to(b"yes", device).await.unwrap();
    assert_eq!(within(air.recv(&mut buffer)).await.unwrap(), 3);
}

/// A socket that stands for the gateway, and the network between it and a device.
async fn between(delay: Delay, share: f64) -> (UdpSocket, Arc<Air>, Arc<Desk>) {
    let way = Direction {
        loss: share,
        duplicate: share,
        delay,
        ..Profile::perfect().up
    };
    let profile = Arc::new(Profile {
        up: way.clone(),
        down: way,
    });
    let link = Arc::new(Mutex::new(Link::new(&profile, 1)));
    let desk = Arc::new(Desk::new(|| {}));
    let gateway = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let spot = Spot {
        address: HOME,
        ports: Some((PORTS, 0)),
    };
    let air = Air::open(&spot, gateway.local_addr().unwrap(), &link, &desk)
        .await
        .unwrap();
    (gateway, air, desk)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("it comes")
}

/// An address that no other test uses.
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 77, 77, 77));
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=20_100;
