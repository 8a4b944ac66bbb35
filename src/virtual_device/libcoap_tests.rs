//! One session of the libcoap port against messages written by hand.

use std::time::Duration;

use rand::SeedableRng;

use super::super::port::Port;
use super::*;
use crate::coap::BlockNum;

#[test]
fn the_first_request_is_a_keepalive_and_its_answer_makes_the_session_connected() {
    let mut device = Device::new();
    assert_eq!(device.sent(), [b"\x48\x04\x10\x01\0\0\0\0\0\0\0\0".to_vec()]);
    assert_eq!(device.told(), [""; 0]);
    // 4.04: any code will do.
    device.hear(b"\x68\x84\x10\x01\0\0\0\0\0\0\0\0");
    assert_eq!(device.told(), ["connected", "keepalive 4.04"]);
}

#[test]
fn one_request_waits_for_the_other() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    device.ask(block(1), 1);
    assert_eq!(device.sent().len(), 1);
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xD1\x0A\x0E\xFFx");
    assert_eq!(device.told(), ["block 0 more"]);
    assert_eq!(device.sent().len(), 1);
}

#[test]
fn a_request_is_sent_three_times_in_ten_seconds_and_then_the_session_is_given_up() {
    let mut device = Device::connected();
    let start = device.now;
    device.ask(block(0), 1);
    let first = device.sent().pop().unwrap();
    for _ in 0..2 {
        device.wake();
        assert_eq!(device.sent(), std::slice::from_ref(&first));
        assert_eq!(device.told(), ["retransmitted"]);
    }
    device.wake();
    assert_eq!(device.told(), ["failed block 0", "ended NoAnswer"]);
    assert_eq!(device.now - start, Duration::from_secs(10));
}

#[test]
fn an_empty_acknowledgement_ends_the_retransmissions_and_the_answer_may_come_separately() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    device.sent();
    device.hear(b"\x60\x00\x10\x02");
    assert_eq!(device.told(), [""; 0]);
    let separate = b"\x48\x45\x77\x77\x01\0\0\0\0\0\0\0\xD1\x0A\x06\xFFx";
    device.hear(separate);
    assert_eq!(device.told(), ["block 0"]);
    assert_eq!(device.sent(), [b"\x60\x00\x77\x77".to_vec()]);
    device.hear(separate);
    assert_eq!(device.told(), [""; 0], "the last confirmable message is known");
    assert_eq!(
        device.sent(),
        [b"\x60\x00\x77\x77".to_vec()],
        "and acknowledged again"
    );
}

#[test]
fn an_answer_that_comes_twice_in_a_row_is_seen_once() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xD1\x0A\x0E\xFFx");
    device.told();
    device.ask(block(1), 1);
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xD1\x0A\x0E\xFFx");
    assert_eq!(device.told(), [""; 0]);
}

#[test]
fn an_older_answer_with_the_token_of_the_transfer_is_taken_for_the_block_that_waits() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xD1\x0A\x0E\xFFx");
    device.ask(block(1), 1);
    device.hear(b"\x68\x45\x10\x03\x01\0\0\0\0\0\0\0\xD1\x0A\x1E\xFFy");
    device.ask(block(2), 1);
    device.told();
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xD1\x0A\x0E\xFFx");
    assert_eq!(device.told(), ["block 2 more"]);
    // libcoap still repeats the request for block 2, and lets nothing past it.
    device.sent();
    device.ask(block(3), 1);
    assert_eq!(device.sent(), [b""; 0]);
}

#[test]
fn a_reset_ends_the_session_and_the_application_never_hears_of_its_request() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    device.hear(b"\x70\x00\x10\x02");
    assert_eq!(device.told(), ["ended Reset"]);
}

#[test]
fn a_payload_larger_than_the_block_asked_for_runs_into_an_assertion() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    let mut answer = b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xFF".to_vec();
    answer.extend_from_slice(&[7; 1025]);
    device.hear(&answer);
    assert_eq!(device.told(), ["crashed"]);
}

#[test]
fn a_message_of_more_than_1115_bytes_never_arrives() {
    for (payload, arrives) in [(1116 - 13, false), (1115 - 13, true)] {
        let mut device = Device::connected();
        device.ask(Ask::Poll, 1);
        let mut answer = b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xFF".to_vec();
        answer.resize(answer.len() + payload, 7);
        device.hear(&answer);
        assert_eq!(!device.told().is_empty(), arrives, "{} bytes", answer.len());
    }
}

#[test]
fn confirmable_messages_are_acknowledged_whatever_their_token_and_pings_reset() {
    let mut device = Device::connected();
    device.hear(b"\x42\x45\x77\x77\xAB\xCD\xFF\xA0");
    assert_eq!(device.sent(), [b"\x60\x00\x77\x77".to_vec()]);
    device.hear(b"\x40\x00\x77\x78");
    assert_eq!(device.sent(), [b"\x70\x00\x77\x78".to_vec()]);
    assert_eq!(device.told(), [""; 0]);
}

#[test]
fn an_observe_number_is_not_looked_at() {
    let mut device = Device::connected();
    device.ask(Ask::Observe, 5);
    device.hear(b"\x68\x45\x10\x02\x05\0\0\0\0\0\0\0\x61\x09\xFF\xA0");
    device.told();
    device.hear(b"\x48\x45\x77\x77\x05\0\0\0\0\0\0\0\x61\x03\xFF\xA0");
    assert_eq!(device.told(), ["notified"]);
}

#[test]
fn a_message_that_does_not_parse_is_dropped() {
    let mut device = Device::connected();
    device.hear(b"\x48\x45\x77\x77\x05\0\0\0\0\0\0\0\xFF");
    assert!(device.told().is_empty() && device.sent().is_empty());
}

#[test]
fn an_answer_took_as_long_as_it_is_since_the_first_transmission() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    let asked_at = device.now;
    while device.told().is_empty() {
        device.wake();
    }
    device.now += Duration::from_millis(50);
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xFFab");
    let told: Vec<Told> = device.stack.told.take().collect();
    let [Told::Answered { answer, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(answer.took, device.now - asked_at);
    assert!(answer.took > Duration::from_secs(2), "it was sent twice");
}

struct Device {
    now: Instant,
    rng: SmallRng,
    stack: Libcoap,
}

impl Device {
    fn new() -> Self {
        let (now, mut rng) = (Instant::now(), SmallRng::seed_from_u64(1));
        let opening = Opening {
            now,
            began: now,
            mid: MessageId(0x1000),
            model: &Arc::new(Model::of(Port::Libcoap)),
        };
        let stack = Libcoap::new(&opening, &mut rng);
        Self { now, rng, stack }
    }

    fn connected() -> Self {
        let mut device = Self::new();
        device.hear(b"\x68\x42\x10\x01\0\0\0\0\0\0\0\0");
        device.told();
        device.sent();
        device
    }

    fn ask(&mut self, ask: Ask, token: u64) {
        let token = Token::from(token.to_le_bytes());
        self.stack.ask(self.now, ask, token, &mut self.rng);
    }

    fn hear(&mut self, message: &[u8]) {
        self.stack.handle_message(self.now, message, &mut self.rng);
    }

    fn wake(&mut self) {
        self.now = self.stack.poll_timeout();
        self.stack.handle_timeout(self.now, &mut self.rng);
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.stack.outbox.take().collect()
    }

    fn told(&mut self) -> Vec<String> {
        self.stack.told.take().map(|told| word(&told)).collect()
    }
}

fn block(num: u32) -> Ask {
    Ask::Fetch {
        uri: "/a".into(),
        block: BlockNum::new(num).unwrap(),
        transfer: 1,
    }
}

/// What was told, in a few words.
pub fn word(told: &Told) -> String {
    match told {
        Told::Connected => "connected".into(),
        Told::Answered { ask, answer } if answer.code.is_success() => {
            let more = if answer.more { " more" } else { "" };
            format!("{}{more}", name(ask))
        }
        Told::Answered { ask, answer } => {
            format!(
                "{} {}.{:02}",
                name(ask),
                answer.code.class(),
                answer.code.detail()
            )
        }
        Told::Failed(ask) => format!("failed {}", name(ask)),
        Told::Notified(_) => "notified".into(),
        Told::Retransmitted => "retransmitted".into(),
        Told::Ended(why) => format!("ended {why:?}"),
        Told::Crashed => "crashed".into(),
    }
}

fn name(ask: &Ask) -> String {
    match ask {
        Ask::Report(_) => "report".into(),
        Ask::Observe => "observe".into(),
        Ask::Poll => "poll".into(),
        Ask::Fetch { block, .. } => format!("block {}", block.get()),
        Ask::Keepalive => "keepalive".into(),
    }
}
