//! A link that loses, duplicates, delays and reorders.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Datagrams on their way.
pub struct Link {
    weather: Weather,
    dice: StdRng,
    sent: u64,
    under_way: BinaryHeap<Reverse<(Instant, u64, Datagram)>>,
    /// When the last datagram arrives that nothing may overtake, by device.
    orderly: Vec<Option<Instant>>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Lost, of a hundred, each way.
    pub loss: u32,
    /// Arriving twice, of a hundred.
    pub twice: u32,
    /// Overtaken by others, of a hundred; within [`JITTER`].
    pub jitter: u32,
    /// Of a hundred requests, those held up for so long that their repetition arrives first.
    pub stragglers: u32,
}

/// One datagram and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    pub device: usize,
    pub to_gateway: bool,
    pub bytes: Vec<u8>,
}

impl Link {
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            dice: StdRng::seed_from_u64(seed),
            sent: 0,
            under_way: BinaryHeap::new(),
            orderly: Vec::new(),
        }
    }

    /// Sends a datagram; nothing overtakes it among those of its device and direction if it is `in_order`.
    pub fn send(&mut self, now: Instant, datagram: Datagram, in_order: bool) {
        if self.chance(self.weather.loss) {
            return;
        }
        let copies = 1 + u32::from(self.chance(self.weather.twice));
        for _ in 0..copies {
            let mut at = now + LATENCY;
            if self.chance(self.weather.jitter) {
                at += JITTER.mul_f64(self.dice.random());
            }
            // A handshake that is held up so long is over for the device; what it then does is tested elsewhere.
            let is_data = datagram.bytes.first() == Some(&APPLICATION_DATA);
            if datagram.to_gateway && is_data && self.chance(self.weather.stragglers) {
                at += STRAGGLE.mul_f64(0.5 + self.dice.random::<f64>() / 2.0);
            }
            if in_order {
                self.orderly
                    .resize(self.orderly.len().max(datagram.device + 1), None);
                let last = &mut self.orderly[datagram.device];
                at = last.map_or(at, |last| last.max(at));
                *last = Some(at);
            }
            self.sent += 1;
            self.under_way.push(Reverse((at, self.sent, datagram.clone())));
        }
    }

    /// When the next one arrives.
    pub fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next one that has arrived by `now`.
    pub fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        if self.next()? > now {
            return None;
        }
        self.under_way.pop().map(|Reverse((_, _, datagram))| datagram)
    }

    fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.dice.random_range(0..100) < percent
    }
}

const LATENCY: Duration = Duration::from_millis(20);
const JITTER: Duration = Duration::from_millis(400);
/// Longer than the first wait of either port, shorter than a device's patience.
const STRAGGLE: Duration = Duration::from_secs(5);
/// A DTLS record's content type.
const APPLICATION_DATA: u8 = 23;
