//! Devices whose address changes, and gateways whose number of sockets does.

use super::*;
use crate::coap::{Block, MessageId, MessageWriter, wire};
use crate::dtls::OfferedConnectionId;

#[test]
fn sessions_are_found_again_whichever_socket_their_datagrams_reach() {
    let log = MemoryLog::default();
    let first = Gateway::start(1, Some(log.clone()));
    let mut clients: Vec<_> = (1..=16)
        .map(|number| match number % 2 {
            0 => Client::connect_with_cid(number, first.address),
            _ => Client::connect(number, first.address),
        })
        .collect();
    for client in &mut clients {
        client.ask(Code::GET, "version", Some(0));
    }
    log.wait_for(|entries| entries.iter().filter(|entry| entry[0] == 6).count() == 16);
    let mut before = first;
    for (run, shards) in [2, 3, 1, 3, 2].into_iter().enumerate() {
        let address = before.address;
        before.stop();
        let gateway = Gateway::with(address, shards, Some(Box::new(log.clone())));
        let version = run as u32 + 2;
        gateway.house.version.store(version, Ordering::SeqCst);
        for client in &mut clients {
            // With a connection ID, a device may have got another address meanwhile.
            if client.device.number % 4 == 0 {
                client.rebind(gateway.address);
            }
            let expected = format!("{}:{version}", client.device.number);
            assert_eq!(client.ask_amid_others("version").payload, expected);
            // It shows that it is there, by acknowledging a ping or what it was pushed.
            let device = client.device.number;
            let proven = Seen::Proven {
                device,
                serial: device,
            };
            let deadline = Instant::now() + PATIENCE;
            while !gateway.house.seen().contains(&proven) {
                assert!(Instant::now() < deadline, "device {device}");
                client.exchange(Duration::from_millis(20), |device| !device.messages.is_empty());
                while let Some(told) = client.device.told() {
                    client.acknowledge(&told);
                }
            }
        }
        let seen = gateway.house.seen();
        let restored = seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Connected { restored: true, .. }));
        assert_eq!(restored.count(), 16, "{shards} shards: {seen:?}");
        let begun = seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Connected { restored: false, .. }));
        assert_eq!(begun.count(), 0, "no handshake");
        let mut moved: Vec<_> = seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Moved { device, .. } => Some(*device),
                Seen::Connected { .. }
                | Seen::Disconnected { .. }
                | Seen::Acknowledged { .. }
                | Seen::Proven { .. }
                | Seen::Failed { .. } => None,
            })
            .collect();
        moved.sort_unstable();
        moved.dedup();
        assert_eq!(moved, [4, 8, 12, 16]);
        // The observations are in place, at the addresses by now.
        gateway.house.version.store(100 + version, Ordering::SeqCst);
        gateway.shards.wake(Wake::Everyone);
        for client in &mut clients {
            let expected = format!("{}:{}", client.device.number, 100 + version);
            loop {
                let notification = client.receive();
                client.acknowledge(&notification);
                if notification.payload == expected {
                    break;
                }
            }
        }
        before = gateway;
    }
    before.stop();
}

#[test]
fn a_download_goes_on_through_changes_of_port() {
    let gateway = Gateway::start(3, None);
    let mut client = Client::connect_with_cid(1, gateway.address);
    for every in [1, 3] {
        let mut bytes = Vec::new();
        for number in 0.. {
            if number % every == 0 {
                client.rebind(gateway.address);
            }
            let (block, more) = client.block(number);
            bytes.extend(block);
            if !more {
                break;
            }
        }
        assert_eq!(bytes, big(), "a change of port before every {every}. block");
    }
    assert_eq!(client.handshakes, 1);
    gateway.stop();
}

#[test]
fn a_record_replayed_from_another_address_moves_nothing() {
    let gateway = Gateway::start(2, None);
    let mut client = Client::connect_with_cid(1, gateway.address);
    client.device.request(Code::GET, "version", None, None);
    let recorded = client.device.out.clone();
    client.receive();
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    attacker.connect(gateway.address).unwrap();
    for _ in 0..10 {
        for datagram in &recorded {
            attacker.send(datagram).unwrap();
        }
        let mut forged = recorded[0].clone();
        for byte in 11..19 {
            forged[byte] = forged[byte].wrapping_add(1);
            attacker.send(&forged).unwrap();
            client.socket.send(&forged).unwrap();
        }
        assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    }
    attacker.set_nonblocking(true).unwrap();
    assert!(attacker.recv(&mut [0; 2048]).is_err(), "nothing is sent there");
    let seen = gateway.house.seen();
    assert!(
        !seen.iter().any(|seen| matches!(seen, Seen::Moved { .. })),
        "{seen:?}"
    );
    gateway.stop();
}

impl Client {
    fn connect_with_cid(number: u64, gateway: SocketAddr) -> Self {
        let mut client = Self::new(number, gateway);
        client.device.connection_id = OfferedConnectionId::Empty;
        client.shake_hands();
        client
    }

    /// Its network gives it another port, and nothing that was sent to the old one arrives.
    fn rebind(&mut self, gateway: SocketAddr) {
        let old = self.socket.local_addr().unwrap();
        let other = Self::new(self.device.number, gateway);
        self.socket = other.socket;
        assert_ne!(self.socket.local_addr().unwrap(), old);
    }

    /// Asks, and again when the answer was not sent here; notifications that come meanwhile are acknowledged.
    fn ask_amid_others(&mut self, path: &str) -> Told {
        let mid = self.device.request(Code::GET, path, None, None);
        loop {
            let told = self.receive();
            if told.mid == mid {
                return told;
            }
            self.acknowledge(&told);
        }
    }

    /// A block of `/big`, and whether there are more.
    fn block(&mut self, number: u32) -> (Vec<u8>, bool) {
        self.device.mid += 1;
        let mid = MessageId(self.device.mid);
        let mut message = Vec::new();
        let mut writer =
            MessageWriter::new(&mut message, Kind::Confirmable, Code::GET, mid, self.device.token);
        writer.option(wire::number::URI_PATH, b"big");
        writer.uint(wire::number::BLOCK2, number << 4 | 6);
        self.device.send(&message);
        self.exchange(PATIENCE, |device| !device.messages.is_empty());
        let answer = self.device.messages.remove(0);
        let answer = crate::coap::Message::parse(&answer).unwrap();
        assert_eq!((answer.mid, answer.code), (mid, Code::CONTENT));
        let block = answer.option(wire::number::BLOCK2).unwrap();
        let more = Block::parse(block).unwrap().more;
        (answer.payload.to_vec(), more)
    }
}
