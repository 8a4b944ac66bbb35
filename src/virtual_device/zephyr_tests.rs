//! One session of the Zephyr port against messages written by hand.

use rand::SeedableRng;

use super::super::libcoap::tests::word;
use super::super::port::Port;
use super::*;
use crate::coap::BlockNum;

#[test]
fn a_session_is_connected_at_once_and_begins_with_an_empty_message() {
    let mut device = Device::new();
    assert_eq!(device.sent(), [b"\x50\x00\x10\x01".to_vec()]);
    assert_eq!(device.told(), ["connected"]);
    device.hear(b"\x70\x00\x10\x01");
    assert_eq!(device.told(), [""; 0], "the answer to it");
}

#[test]
fn requests_run_side_by_side_and_their_answers_come_in_any_order() {
    let mut device = Device::connected();
    device.ask(Ask::Poll, 1);
    device.ask(block(0), 2);
    assert_eq!(device.sent().len(), 2);
    device.hear(b"\x68\x45\x10\x03\x02\0\0\0\0\0\0\0\xD1\x0A\x0E\xFFx");
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xFF\xA0");
    assert_eq!(device.told(), ["block 0 more", "poll"]);
}

#[test]
fn a_request_is_sent_at_0_t_3t_and_7t_fails_at_15t_and_the_session_stays() {
    let mut device = Device::connected();
    let start = device.now;
    device.ask(block(0), 1);
    device.sent();
    let mut times = Vec::new();
    loop {
        device.wake();
        // Something arrives, or the watchdog would end it.
        device.hear(b"\x70\x00\x00\x00");
        let told = device.told();
        if told == ["failed block 0"] {
            break;
        }
        if told == ["retransmitted"] {
            times.push(device.now - start);
        }
    }
    let t = times[0];
    assert!((2..=3).contains(&t.as_secs()), "{t:?}");
    assert_eq!(times, [t, 3 * t, 7 * t]);
    assert_eq!(device.now - start, 15 * t);
}

#[test]
fn thirty_seconds_without_anything_end_the_session() {
    let mut device = Device::connected();
    let start = device.now;
    let mut keepalives = 0;
    while device.told().is_empty() {
        device.wake();
        keepalives += device.sent().len();
    }
    assert_eq!((device.now - start, keepalives), (Duration::from_secs(30), 3));
}

#[test]
fn an_empty_acknowledgement_or_a_reset_fails_the_request_and_the_separate_answer_finds_nobody() {
    for refusal in [b"\x60\x00\x10\x02", b"\x70\x00\x10\x02"] {
        let mut device = Device::connected();
        device.ask(block(0), 1);
        device.sent();
        device.hear(refusal);
        assert_eq!(device.told(), ["failed block 0"]);
        device.hear(b"\x48\x45\x77\x77\x01\0\0\0\0\0\0\0\xD1\x0A\x06\xFFx");
        assert_eq!(device.told(), [""; 0]);
        assert_eq!(
            device.sent(),
            [b"\x60\x00\x77\x77".to_vec()],
            "acknowledged, ignored"
        );
    }
}

#[test]
fn an_acknowledgement_is_matched_by_its_message_id_and_frees_its_request() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    let answer = b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xD1\x0A\x0E\xFFx";
    device.hear(answer);
    device.ask(block(1), 1);
    device.told();
    device.hear(answer);
    assert_eq!(device.told(), [""; 0], "the same token is not enough");
}

#[test]
fn a_code_that_zephyr_does_not_list_reads_as_an_error() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    // 4.10
    device.hear(b"\x68\x8A\x10\x02\x01\0\0\0\0\0\0\0");
    assert_eq!(device.told(), ["failed block 0"]);
    device.ask(block(0), 1);
    // 5.03
    device.hear(b"\x68\xA3\x10\x03\x01\0\0\0\0\0\0\0");
    assert_eq!(device.told(), ["block 0 5.03"]);
}

#[test]
fn rfc7641_3_4_a_number_that_is_not_newer_is_acknowledged_and_ignored_for_128_seconds() {
    let mut device = Device::observing();
    device.notify(8);
    assert_eq!(device.told(), [""; 0], "older than the registration's 9");
    assert_eq!(device.sent().len(), 1, "acknowledged all the same");
    device.notify(10);
    assert_eq!(device.told(), ["notified"]);
    device.now += Duration::from_secs(129);
    device.notify(3);
    assert_eq!(device.told(), ["notified"]);
    // Without a number.
    device.hear(b"\x48\x45\x77\x77\x05\0\0\0\0\0\0\0\xFF\xA0");
    assert_eq!(device.told(), ["notified"]);
}

#[test]
fn block2_in_a_notification_ends_the_observation_and_nobody_is_told() {
    let mut device = Device::observing();
    device.hear(b"\x48\x45\x77\x77\x05\0\0\0\0\0\0\0\x61\x0A\xD1\x04\x0E\xFFx");
    device.notify(11);
    assert_eq!(device.told(), [""; 0]);
    assert_eq!(device.sent().len(), 2, "both acknowledged");
}

#[test]
fn an_observation_that_was_refused_takes_no_notifications() {
    let mut device = Device::connected();
    device.ask(Ask::Observe, 5);
    device.hear(b"\x68\xA3\x10\x02\x05\0\0\0\0\0\0\0");
    assert_eq!(device.told(), ["observe 5.03"]);
    device.notify(11);
    assert_eq!(device.told(), [""; 0]);
}

#[test]
fn pings_are_acknowledged() {
    let mut device = Device::connected();
    device.hear(b"\x40\x00\x77\x78");
    assert_eq!(device.sent(), [b"\x60\x00\x77\x78".to_vec()]);
}

#[test]
fn a_message_that_does_not_parse_ends_the_session() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    device.hear(b"\x48\x45\x77\x77\x05\0\0\0\0\0\0\0\xFF");
    assert_eq!(device.told(), ["failed block 0", "ended Malformed"]);
}

#[test]
fn a_long_option_hides_block2_and_the_download_seems_to_end() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    // Location-Path, 13 bytes, then Block2 0/1/6.
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\x8D\0abcdefghijklm\xD1\x02\x0E\xFFx");
    assert_eq!(device.told(), ["block 0"]);
}

#[test]
fn size2_has_to_stay_what_it_was_and_hold_the_block() {
    let mut device = Device::connected();
    device.ask(block(0), 1);
    // Block2 0/1/6, Size2 2000.
    device.hear(b"\x68\x45\x10\x02\x01\0\0\0\0\0\0\0\xD1\x0A\x0E\x52\x07\xD0\xFFx");
    assert_eq!(device.told(), ["block 0 more"]);
    device.ask(block(1), 1);
    // Size2 2001.
    device.hear(b"\x68\x45\x10\x03\x01\0\0\0\0\0\0\0\xD1\x0A\x16\x52\x07\xD1\xFFx");
    assert_eq!(device.told(), ["failed block 1"]);
    device.ask(block(1), 1);
    // Block 3 of 2000 bytes.
    device.hear(b"\x68\x45\x10\x04\x01\0\0\0\0\0\0\0\xD1\x0A\x36\x52\x07\xD0\xFFx");
    assert_eq!(device.told(), ["failed block 1"]);
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
    stack: Zephyr,
    mid: u16,
}

impl Device {
    fn new() -> Self {
        let (now, rng) = (Instant::now(), SmallRng::seed_from_u64(1));
        let opening = Opening {
            now,
            began: now,
            mid: MessageId(0x1000),
            model: &Arc::new(Model::of(Port::Zephyr)),
        };
        let stack = Zephyr::new(&opening);
        Self {
            now,
            rng,
            stack,
            mid: 0x7000,
        }
    }

    fn connected() -> Self {
        let mut device = Self::new();
        device.told();
        device.sent();
        device
    }

    /// The registration was answered with Observe number 9.
    fn observing() -> Self {
        let mut device = Self::connected();
        device.ask(Ask::Observe, 5);
        device.hear(b"\x68\x45\x10\x02\x05\0\0\0\0\0\0\0\x61\x09\xFF\xA0");
        assert_eq!(device.told(), ["observe"]);
        device.sent();
        device
    }

    fn notify(&mut self, seq: u8) {
        self.mid += 1;
        let [high, low] = self.mid.to_be_bytes();
        self.hear(&[
            0x48, 0x45, high, low, 5, 0, 0, 0, 0, 0, 0, 0, 0x61, seq, 0xFF, 0xA0,
        ]);
    }

    fn ask(&mut self, ask: Ask, token: u64) {
        let token = Token::from(token.to_le_bytes());
        self.stack.ask(self.now, ask, token, &mut self.rng);
    }

    fn hear(&mut self, message: &[u8]) {
        self.stack.handle_message(self.now, message);
    }

    fn wake(&mut self) {
        self.now = self.stack.poll_timeout();
        self.stack.handle_timeout(self.now);
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
