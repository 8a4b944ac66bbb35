//! A network between a device and the gateway, without one: what becomes of the n-th datagram of a direction is decided by a
//! seed, the direction and n, and by nothing else.
//!
//! 1. A datagram waits in a queue of so many bytes for the narrowest link of its way; where the queue is full it is dropped.
//! 2. The link sends one after the other, at so many bits per second.
//! 3. Beyond it a datagram may be lost: it has taken its time on the link all the same, as on a radio.
//! 4. What is left arrives after a delay. Order is kept: one that is held up holds up those behind it, as the repetition of
//!    lost frames does below IP. A datagram that is reordered leaves that order: it is held up alone and others overtake it.
//! 5. A datagram that is duplicated takes its turn on the link twice.
//!
//! Only the queue and the order look at the clock. So two runs with one seed lose, double and delay the same datagrams, as far
//! as they send the same ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// What a network does to a device's datagrams.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// From the device to the gateway.
    pub up: Direction,
    /// From the gateway to the device.
    pub down: Direction,
}

/// What a network does to datagrams of one direction. Shares are between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// The share that is lost.
    pub loss: f64,
    /// The share of the rest that comes twice.
    pub duplicate: f64,
    /// The share of the rest that is held up alone, so that later ones overtake it.
    pub reorder: f64,
    /// How long a datagram is on its way, besides its time in the queue and on the link.
    pub delay: Delay,
    /// What the narrowest link carries, headers included; `None` for no limit.
    pub bits_per_s: Option<u64>,
    /// What may wait for that link, in bytes, headers included and with the one that is being sent. An idle link takes any
    /// datagram.
    pub queue_bytes: u32,
}

/// How long datagrams are on their way. None takes longer than [`DELAY_MAX`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always as long.
    Constant(Duration),
    /// Between these two.
    Uniform {
        /// The shortest.
        from: Duration,
        /// The longest.
        to: Duration,
    },
    /// Around a mean; never below none.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
    /// With a long tail.
    LogNormal {
        /// Half of them take longer.
        median: Duration,
        /// The standard deviation of the logarithm: one in a hundred takes more than e^(2.33 sigma) medians.
        sigma: f64,
    },
}

/// One device's network.
#[derive(Clone, Debug)]
pub struct Link {
    profile: Arc<Profile>,
    seed: u64,
    up: Lane,
    down: Lane,
    /// Nothing is carried before this.
    outage: Option<Instant>,
}

/// What a direction remembers.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Datagrams so far.
    count: u64,
    /// When the narrowest link will have sent everything.
    idle: Option<Instant>,
    /// When the last of those that keep the order arrives.
    last: Option<Instant>,
}

/// What becomes of a datagram: an iterator over its arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It arrives.
    Once(Instant),
    /// It arrives, and again.
    Twice(Instant, Instant),
    /// It does not arrive.
    Not(Dropped),
}

/// Why a datagram does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Lost, as its number decided.
    Lost,
    /// Too much was waiting for the link.
    QueueFull,
    /// Nothing is carried at all.
    Outage,
}

/// What a datagram's number decides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fate {
    lost: bool,
    duplicated: bool,
    reordered: bool,
    delay: Duration,
    /// Of the second arrival, and what a reordered one is held up by.
    further: Duration,
}

impl Profile {
    /// The names that [`Self::named`] knows.
    pub const NAMES: [&str; 5] = ["perfect", "wifi", "lte-m", "nb-iot", "satellite"];

    /// A network of this name. Each direction of it is described at the function of its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "perfect" => Some(Self::perfect()),
            "wifi" => Some(Self::wifi()),
            "lte-m" => Some(Self::lte_m()),
            "nb-iot" => Some(Self::nb_iot()),
            "satellite" => Some(Self::satellite()),
            _ => None,
        }
    }

    /// Everything arrives, once, in order, at once.
    #[must_use]
    pub fn perfect() -> Self {
        Self::alike(Direction {
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            delay: Delay::Constant(Duration::ZERO),
            bits_per_s: None,
            queue_bytes: 64 << 10,
        })
    }

    /// A home's or office's Wi-Fi and the line behind it. 802.11 repeats frames, so what is lost there shows as delay: a long
    /// tail (Malone et al., "Spurious TCP Timeouts in 802.11 Networks", see the service time of a frame vary by two orders of
    /// magnitude). The figures themselves are reasoned guesses: a line of 20 Mbit/s, 10 ms there and back in the middle of
    /// the distribution, 60 ms at its 99th percentile, and the half per cent that repetition does not save.
    fn wifi() -> Self {
        Self::alike(Direction {
            loss: 0.005,
            duplicate: 0.001,
            reorder: 0.001,
            delay: Delay::LogNormal {
                median: Duration::from_millis(5),
                sigma: 0.8,
            },
            bits_per_s: Some(20_000_000),
            queue_bytes: 256 << 10,
        })
    }

    /// LTE-M (category M1) in half duplex: 3GPP TS 36.306 has peaks of 300 kbit/s down and 375 kbit/s up for it, and operators'
    /// field averages are given as about 100 kbit/s. A message takes about 0.1 s where coverage is normal, 6.2 s at its
    /// worst (the industry's "LTE-M Performance towards 5G IoT Requirements"). So 50 ms each way in the middle, with a tail. The
    /// radio repeats what it loses; what is lost for good at a change of cells is a guess of one per cent.
    fn lte_m() -> Self {
        Self::alike(Direction {
            loss: 0.01,
            duplicate: 0.001,
            reorder: 0.001,
            delay: Delay::LogNormal {
                median: Duration::from_millis(50),
                sigma: 0.6,
            },
            bits_per_s: Some(100_000),
            queue_bytes: 32 << 10,
        })
    }

    /// NB-IoT (category NB1): peaks of 26 kbit/s down and, with several tones, 62 kbit/s up (3GPP Release 13), 20 kbit/s with one
    /// tone. Ugwuanyi et al. ("Survey of IoT for Developing Countries", Electronics 10/2224, 2021) measured 837 ms there and
    /// back; 3GPP TR 45.820 asks for 10 s at the edge of coverage. So 400 ms each way in the middle and 2.5 s at the 99th
    /// percentile. Two per cent of loss and a queue of four datagrams are guesses.
    fn nb_iot() -> Self {
        let down = Direction {
            loss: 0.02,
            duplicate: 0.002,
            reorder: 0.002,
            delay: Delay::LogNormal {
                median: Duration::from_millis(400),
                sigma: 0.8,
            },
            bits_per_s: Some(26_000),
            queue_bytes: 6 << 10,
        };
        Self {
            up: Direction {
                bits_per_s: Some(20_000),
                ..down.clone()
            },
            down,
        }
    }

    /// By a geostationary satellite: 239 to 284 ms from the ground to it and back down, about 600 ms there and back with
    /// everything else (APNIC, "Testing LEO and GEO satellite services in Australia", 2022). So 300 ms each way with
    /// little around it. The rates of a small terminal and the loss (rain) are guesses.
    fn satellite() -> Self {
        let down = Direction {
            loss: 0.01,
            duplicate: 0.0,
            reorder: 0.0,
            delay: Delay::Normal {
                mean: Duration::from_millis(300),
                deviation: Duration::from_millis(15),
            },
            bits_per_s: Some(256_000),
            queue_bytes: 64 << 10,
        };
        Self {
            up: Direction {
                bits_per_s: Some(64_000),
                ..down.clone()
            },
            down,
        }
    }

    /// The same there and back.
    fn alike(way: Direction) -> Self {
        Self {
            up: way.clone(),
            down: way,
        }
    }
}

impl Link {
    /// A device's network, where nothing is on its way.
    #[must_use]
    pub fn new(profile: &Arc<Profile>, seed: u64) -> Self {
        Self {
            profile: Arc::clone(profile),
            seed,
            up: Lane::default(),
            down: Lane::default(),
            outage: None,
        }
    }

    /// The device sends a datagram with so many bytes in it.
    pub fn up(&mut self, now: Instant, len: usize) -> Carried {
        let outage = self.outage.is_some_and(|until| now < until);
        self.up.carry(&self.profile.up, (self.seed, UP), now, len, outage)
    }

    /// The gateway sent a datagram with so many bytes in it.
    pub fn down(&mut self, now: Instant, len: usize) -> Carried {
        let outage = self.outage.is_some_and(|until| now < until);
        self.down
            .carry(&self.profile.down, (self.seed, DOWN), now, len, outage)
    }

    /// Carries nothing, either way, until this; what is on its way arrives. An outage that lasts longer is not shortened.
    pub fn outage(&mut self, until: Instant) {
        self.outage = self.outage.max(Some(until));
    }
}

impl Lane {
    fn carry(
        &mut self,
        way: &Direction,
        (seed, direction): (u64, u64),
        now: Instant,
        len: usize,
        outage: bool,
    ) -> Carried {
        let number = self.count;
        self.count += 1;
        if outage {
            return Carried::Not(Dropped::Outage);
        }
        let fate = way.fate(seed, direction, number);
        let Some(sent) = self.send(way, now, len) else {
            return Carried::Not(Dropped::QueueFull);
        };
        if fate.lost {
            return Carried::Not(Dropped::Lost);
        }
        let first = if fate.reordered {
            sent + fate.delay + fate.further + HELD_UP
        } else {
            self.in_order(sent + fate.delay)
        };
        // A duplicate that finds the queue full is the one that is dropped.
        match fate.duplicated.then(|| self.send(way, now, len)).flatten() {
            Some(sent) => Carried::Twice(first, self.in_order(sent + fate.further)),
            None => Carried::Once(first),
        }
    }

    /// When the narrowest link has sent it; `None` where the queue is full.
    fn send(&mut self, way: &Direction, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = way.bits_per_s else {
            return Some(now);
        };
        let rate = u128::from(rate.max(1));
        let bytes = (len + HEADERS) as u128;
        let start = match self.idle {
            Some(idle) if idle > now => {
                let waiting = ((idle - now).as_nanos() * rate).div_ceil(8 * NANOS);
                if waiting + bytes > u128::from(way.queue_bytes) {
                    return None;
                }
                idle
            }
            Some(_) | None => now,
        };
        // Rounded up, so that no window of time sees more than the rate.
        let takes = (bytes * 8 * NANOS).div_ceil(rate);
        let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX)).min(DELAY_MAX);
        self.idle = Some(start + takes);
        self.idle
    }

    fn in_order(&mut self, arrival: Instant) -> Instant {
        let arrival = self.last.map_or(arrival, |last| arrival.max(last));
        self.last = Some(arrival);
        arrival
    }
}

impl Direction {
    /// What the n-th datagram's number decides. Every choice is drawn, whatever it is for, so that a share that is changed
    /// changes no other decision.
    fn fate(&self, seed: u64, direction: u64, number: u64) -> Fate {
        if let (true, Delay::Constant(delay)) = (
            self.loss <= 0.0 && self.duplicate <= 0.0 && self.reorder <= 0.0,
            self.delay,
        ) {
            return Fate {
                delay: delay.min(DELAY_MAX),
                ..Fate::default()
            };
        }
        let mut key = [0; 32];
        for (place, word) in key.chunks_exact_mut(8).zip([seed, direction, number]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let mut rng = StdRng::from_seed(key);
        Fate {
            lost: rng.random::<f64>() < self.loss,
            duplicated: rng.random::<f64>() < self.duplicate,
            reordered: rng.random::<f64>() < self.reorder,
            delay: self.delay.draw(&mut rng),
            further: self.delay.draw(&mut rng),
        }
    }
}

impl Delay {
    fn draw(self, rng: &mut StdRng) -> Duration {
        let seconds = match self {
            Self::Constant(delay) => delay.as_secs_f64(),
            Self::Uniform { from, to } => {
                let width = to.saturating_sub(from).as_secs_f64();
                rng.random::<f64>().mul_add(width, from.as_secs_f64())
            }
            Self::Normal { mean, deviation } => {
                let normal: f64 = StandardNormal.sample(rng);
                normal.mul_add(deviation.as_secs_f64(), mean.as_secs_f64())
            }
            Self::LogNormal { median, sigma } => {
                let normal: f64 = StandardNormal.sample(rng);
                median.as_secs_f64() * (sigma * normal).exp()
            }
        };
        Duration::from_secs_f64(seconds.max(0.0).min(DELAY_MAX.as_secs_f64()))
    }
}

impl IntoIterator for Carried {
    type Item = Instant;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Instant>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        match self {
            Self::Once(first) => [Some(first), None],
            Self::Twice(first, second) => [Some(first), Some(second)],
            Self::Not(_) => [None, None],
        }
        .into_iter()
        .flatten()
    }
}

/// RFC 7252 section 4.8.2, `MAX_LATENCY`: no datagram is on its way for longer, and message IDs may be used again on the strength
/// of that. A tail is cut off here.
pub const DELAY_MAX: Duration = Duration::from_secs(100);
/// What a reordered datagram is held up by at the least, besides a second delay: enough for others to overtake it even where
/// there is no delay.
const HELD_UP: Duration = Duration::from_millis(20);
/// IPv4 and UDP: they take their time on a link too.
const HEADERS: usize = 28;
const NANOS: u128 = 1_000_000_000;
const UP: u64 = 0;
const DOWN: u64 = 1;

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
