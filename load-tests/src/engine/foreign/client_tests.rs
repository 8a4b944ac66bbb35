use coap_lite::ResponseType;
use tessera::virtual_device::{Reason, State};

use super::*;

#[test]
fn libcoap_asks_one_thing_at_a_time_and_is_connected_with_the_first_answer() {
    let (mut client, now) = session(Port::Libcoap);
    client.ask(now, Ask::Poll, [1; 8]);
    let keepalive = sent(&mut client);
    assert_eq!(keepalive.len(), 1, "the rest waits");
    assert_eq!(
        (
            keepalive[0].header.code,
            keepalive[0].get_token(),
            path(&keepalive[0])
        ),
        (
            MessageClass::Request(RequestType::Delete),
            &[0; 8][..],
            String::new()
        )
    );
    assert!(!client.is_connected());
    client.receive(now, &answer(&keepalive[0], ResponseType::Deleted, b"", &[]));
    assert!(client.is_connected());
    let poll = sent(&mut client);
    assert_eq!(
        (path(&poll[0]), poll[0].get_first_option(CoapOption::Accept)),
        (".u/desired".to_owned(), Some(&vec![60]))
    );
    assert!(matches!(
        told(&mut client)[..],
        [Told::Connected, Told::Answered(Ask::Keepalive, _)]
    ));
}

#[test]
fn libcoap_gives_the_session_up_ten_seconds_after_a_request_without_an_answer() {
    let (mut client, now) = session(Port::Libcoap);
    let times = timeouts(&mut client, now);
    assert_eq!(times.last(), Some(&Duration::from_secs(10)));
    let told = told(&mut client);
    assert!(
        matches!(
            told[..],
            [
                Told::Retransmitted,
                Told::Retransmitted,
                Told::Failed(Ask::Keepalive),
                Told::Ended(Ending::NoAnswer)
            ]
        ),
        "three transmissions: {told:?}"
    );
}

#[test]
fn zephyr_sends_a_request_four_times_and_keeps_the_session() {
    let (mut client, now) = session(Port::Zephyr);
    client.ask(now, Ask::Poll, [1; 8]);
    client.ask(now, Ask::Observe, [2; 8]);
    let first = sent(&mut client);
    assert_eq!(
        first
            .iter()
            .map(|packet| packet.header.get_type())
            .collect::<Vec<_>>(),
        [
            MessageType::NonConfirmable,
            MessageType::Confirmable,
            MessageType::Confirmable
        ],
        "a keepalive, and both side by side"
    );
    let mut at = now;
    while at < now + Duration::from_secs(60) {
        at = client.poll_timeout();
        client.handle_timeout(at);
        // Somebody is there, and answers nothing.
        client.receive(at, &empty(MessageType::Reset, 0));
    }
    let told = told(&mut client);
    let count = |is: fn(&&Told) -> bool| told.iter().filter(is).count();
    assert_eq!(count(|told| matches!(told, Told::Retransmitted)), 6);
    assert_eq!(
        count(|told| matches!(told, Told::Failed(Ask::Poll | Ask::Observe))),
        2
    );
    assert_eq!(count(|told| matches!(told, Told::Ended(_))), 0);
}

#[test]
fn zephyr_ends_a_session_in_which_nothing_is_heard_for_thirty_seconds() {
    let (mut client, now) = session(Port::Zephyr);
    let times = timeouts(&mut client, now);
    assert_eq!(times.last(), Some(&Duration::from_secs(30)));
    assert!(matches!(
        told(&mut client)[..],
        [Told::Connected, Told::Ended(Ending::Silence)]
    ));
    assert_eq!(sent(&mut client).len(), 4, "keepalives at 0, 9, 18 and 27 s");
}

#[test]
fn an_empty_acknowledgement_is_an_answer_to_zephyr_and_none_to_libcoap() {
    for port in Port::ALL {
        let (mut client, now) = connected(port);
        client.ask(now, Ask::Poll, [1; 8]);
        let poll = sent(&mut client);
        client.receive(
            now,
            &empty(MessageType::Acknowledgement, poll[0].header.message_id),
        );
        let mut apart = Packet::from_bytes(&answer(&poll[0], ResponseType::Content, b"late", &[])).unwrap();
        apart.header.set_type(MessageType::Confirmable);
        apart.header.message_id = 77;
        client.receive(now, &apart.to_bytes().unwrap());
        assert_eq!(sent(&mut client), [], "{port:?}: nothing but the acknowledgement");
        match (port, &told(&mut client)[..]) {
            (Port::Libcoap, [Told::Answered(Ask::Poll, answer)]) => assert_eq!(answer.payload, b"late"),
            (Port::Zephyr, [Told::Failed(Ask::Poll)]) => {}
            (port, other) => panic!("{port:?}: {other:?}"),
        }
    }
}

#[test]
fn notifications_are_acknowledged_and_only_zephyr_looks_at_their_numbers() {
    for port in Port::ALL {
        let (mut client, now) = connected(port);
        client.ask(now, Ask::Observe, [3; 8]);
        let registration = sent(&mut client);
        assert_eq!(
            registration[0].get_first_option(CoapOption::Observe),
            Some(&Vec::new())
        );
        client.receive(
            now,
            &answer(&registration[0], ResponseType::Content, b"first", &[5]),
        );
        for (mid, number) in [(1, 4), (2, 6), (3, 6)] {
            let mut push = Packet::from_bytes(&answer(
                &registration[0],
                ResponseType::Content,
                b"push",
                &[number],
            ))
            .unwrap();
            push.header.set_type(MessageType::Confirmable);
            push.header.message_id = mid;
            client.receive(now, &push.to_bytes().unwrap());
        }
        assert_eq!(acknowledged(&mut client), [1, 2, 3], "{port:?}");
        let pushed = told(&mut client)
            .iter()
            .filter(|told| matches!(told, Told::Notified(_)))
            .count();
        assert_eq!(pushed, if port == Port::Zephyr { 1 } else { 3 }, "{port:?}");
    }
}

#[test]
fn requests_are_byte_for_byte_what_the_sdk_sends() {
    let (mut client, now) = connected(Port::Zephyr);
    let report = Report {
        state: State::Idle,
        reason: Reason::Ready,
        package: "main".into(),
        version: "1".into(),
        target: None,
    };
    client.mid = 0x0100;
    client.ask(now, Ask::Report(report), [1; 8]);
    client.ask(
        now,
        Ask::Block {
            uri: "/.u/c/main@2".into(),
            number: 4096,
            transfer: 1,
        },
        [2; 8],
    );
    let bytes: Vec<Vec<u8>> = std::iter::from_fn(|| client.poll_transmit()).collect();
    assert_eq!(
        bytes[0],
        b"\x48\x02\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\xB2.u\x01c\x04main\x11\x3C\x51\x3C\xFF\xBF\x61s\0\x61r\0\x63pkg\x64main\x61v\x611\xFF"
    );
    assert_eq!(
        bytes[1],
        b"\x48\x01\x01\x02\x02\x02\x02\x02\x02\x02\x02\x02\xB2.u\x01c\x06main@2\x61\x2A\x63\x01\x00\x06"
    );
}

#[test]
fn a_block_larger_than_asked_for_crashes_libcoap() {
    for port in Port::ALL {
        let (mut client, now) = connected(port);
        let ask = Ask::Block {
            uri: "/x".into(),
            number: 0,
            transfer: 1,
        };
        client.ask(now, ask, [1; 8]);
        let request = sent(&mut client);
        client.receive(now, &answer(&request[0], ResponseType::Content, &[0; 1025], &[]));
        match (port, &told(&mut client)[..]) {
            (Port::Libcoap, [Told::Crashed]) | (Port::Zephyr, [Told::Failed(Ask::Block { .. })]) => {}
            (port, other) => panic!("{port:?}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_message_ends_a_session_of_zephyr() {
    for port in Port::ALL {
        let (mut client, now) = connected(port);
        client.receive(now, b"\x4F\x45");
        match (port, &told(&mut client)[..]) {
            (Port::Libcoap, []) | (Port::Zephyr, [Told::Ended(Ending::Malformed)]) => {}
            (port, other) => panic!("{port:?}: {other:?}"),
        }
    }
}

fn session(port: Port) -> (Client, Instant) {
    let now = Instant::now();
    (Client::new(port, Szx::MAX, 1, now, now), now)
}

/// One that has said all that it says of its own accord.
fn connected(port: Port) -> (Client, Instant) {
    let (mut client, now) = session(port);
    let keepalive = sent(&mut client);
    if port == Port::Libcoap {
        client.receive(now, &answer(&keepalive[0], ResponseType::Deleted, b"", &[]));
    }
    told(&mut client);
    (client, now)
}

/// Lets time pass until the session has ended; when something was due.
fn timeouts(client: &mut Client, start: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while !client.told.iter().any(|told| matches!(told, Told::Ended(_))) {
        let now = client.poll_timeout();
        client.handle_timeout(now);
        times.push(now - start);
        assert!(times.len() < 100, "it ends");
    }
    times
}

/// What went out, but for acknowledgements.
fn sent(client: &mut Client) -> Vec<Packet> {
    std::iter::from_fn(|| client.poll_transmit())
        .map(|bytes| Packet::from_bytes(&bytes).unwrap())
        .filter(|packet| packet.header.get_type() != MessageType::Acknowledgement)
        .collect()
}

fn acknowledged(client: &mut Client) -> Vec<u16> {
    std::iter::from_fn(|| client.poll_transmit())
        .map(|bytes| Packet::from_bytes(&bytes).unwrap().header)
        .filter(|header| header.get_type() == MessageType::Acknowledgement)
        .map(|header| header.message_id)
        .collect()
}

fn told(client: &mut Client) -> Vec<Told> {
    std::iter::from_fn(|| client.poll_told()).collect()
}

/// A piggybacked answer.
fn answer(request: &Packet, code: ResponseType, payload: &[u8], observe: &[u8]) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.header.set_type(MessageType::Acknowledgement);
    packet.header.code = MessageClass::Response(code);
    packet.header.message_id = request.header.message_id;
    packet.set_token(request.get_token().to_vec());
    if !observe.is_empty() {
        packet.add_option(CoapOption::Observe, observe.to_vec());
    }
    packet.payload = payload.to_vec();
    packet.to_bytes().unwrap()
}

fn empty(kind: MessageType, mid: u16) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.header.set_type(kind);
    packet.header.code = MessageClass::Empty;
    packet.header.message_id = mid;
    packet.to_bytes().unwrap()
}

fn path(packet: &Packet) -> String {
    let segments = packet.get_option(CoapOption::UriPath).into_iter().flatten();
    let segments: Vec<_> = segments.map(|segment| String::from_utf8_lossy(segment)).collect();
    segments.join("/")
}
