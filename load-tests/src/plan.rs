//! What a run will be, before it is: every device with its seed, its start and its credential's kind. The same scenario
//! with the same seed makes the same plan, and [`Plan::digest`] says so.
//!
//! Everything random about a device comes from SHA-256 of the scenario's seed and the device's name: no generator whose next
//! version might draw otherwise, and no device that becomes another one because a kind was added, removed or made larger.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::network::{Delay, Direction};
use crate::scenario::{Arrival, GatewayPlan, Kind, Scenario, Who, show_images, show_span};

/// Every device of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Kind by kind, in the scenario's order.
    pub devices: Vec<DevicePlan>,
    digest: String,
}

/// One device to be.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// Its kind, by its place in the scenario.
    pub kind: usize,
    /// Its name and, for a PSK, the part of its identity before `-id@default`; the CN of its certificate.
    pub name: String,
    /// Its pre-shared key, 32 hexadecimal digits, where it has one.
    pub secret: String,
    /// Decides all its random choices.
    pub seed: u64,
    /// Decides what its network does.
    pub network_seed: u64,
    /// When it is switched on, counted from the start of the run.
    pub start: Duration,
}

impl Plan {
    /// The plan of a scenario.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        let mut devices = Vec::new();
        for (place, kind) in scenario.kinds.iter().enumerate() {
            // Where in the ramp the kind's first device is.
            let phase = head(&hash(scenario.seed, "arrival", &kind.name));
            devices.extend((1..=kind.count).map(|number| {
                let name = format!("{}-{number}", kind.name);
                let bytes = hash(scenario.seed, "device", &name);
                let start = match scenario.arrival {
                    Arrival::Storm => Duration::ZERO,
                    Arrival::Ramp(over) => {
                        part(over, phase.wrapping_add(GOLDEN.wrapping_mul(u64::from(number))))
                    }
                    // Of a Poisson process of which the number of callers is known, each comes at any moment.
                    Arrival::Random(over) => part(over, head(&hash(scenario.seed, "arrival", &name))),
                };
                DevicePlan {
                    kind: place,
                    secret: if kind.credential.is_psk() {
                        hexadecimal(&bytes[16..])
                    } else {
                        String::new()
                    },
                    seed: head(&bytes),
                    network_seed: head(&bytes[8..]),
                    name,
                    start,
                }
            }));
        }
        let mut plan = Self {
            devices,
            digest: String::new(),
        };
        let mut hasher = Sha256::new();
        plan.tell(scenario, &mut |line| hasher.update(line));
        plan.digest = hexadecimal(&hasher.finalize());
        plan
    }

    /// SHA-256 of the plan as [`Plan::tell`] tells it.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.clone()
    }

    /// Which devices an event is about, in the plan's order. As many as its share says, rounded, and at least one; which, the
    /// seed, the event's place among the events and the devices' names decide.
    #[must_use]
    pub fn chosen(&self, scenario: &Scenario, who: &Who, event: usize) -> Vec<u32> {
        let asked = |device: &DevicePlan| match who.kind {
            Some(kind) => device.kind == kind,
            None => scenario.kinds[device.kind].credential.is_good(),
        };
        let all = self.devices.iter().zip(0_u32..);
        let all = all.filter(|(device, _)| asked(device));
        if who.share >= 1.0 {
            return all.map(|(_, place)| place).collect();
        }
        let purpose = format!("event {event}");
        let mut drawn: Vec<(u64, u32)> = all
            .map(|(device, place)| (head(&hash(scenario.seed, &purpose, &device.name)), place))
            .collect();
        let count = ((drawn.len() as f64 * who.share).round() as usize).clamp(1, drawn.len().max(1));
        if count < drawn.len() {
            drawn.select_nth_unstable(count);
            drawn.truncate(count);
        }
        let mut chosen: Vec<u32> = drawn.into_iter().map(|(_, place)| place).collect();
        chosen.sort_unstable();
        chosen
    }

    /// The plan in lines, each ending in a line break: what is deployed, what happens to whom, and every device. Two runs whose
    /// plans are told the same are sent the same things to do.
    pub fn tell(&self, scenario: &Scenario, line: &mut dyn FnMut(&str)) {
        line(&format!("plan {FORMAT} seed {}\n", scenario.seed));
        line(&format!("arrival {}\n", scenario.arrival));
        let GatewayPlan { shards, disk, config } = &scenario.gateway;
        if let Some(shards) = shards {
            line(&format!("gateway shards {shards}\n"));
        }
        if let Some(disk) = disk {
            line(&format!("gateway disk {disk} B\n"));
        }
        for (key, value) in config {
            line(&format!("gateway config {key:?} {value:?}\n"));
        }
        for (name, image) in &scenario.images {
            line(&format!("image {name} {} B boots {}\n", image.size, image.boots));
        }
        for cohort in &scenario.cohorts {
            let deployed = show_images(&cohort.deployed);
            line(&format!("cohort {:?} deployed {deployed}\n", cohort.name));
        }
        for kind in &scenario.kinds {
            line(&told(scenario, kind));
        }
        for (number, event) in scenario.events.iter().enumerate() {
            line(&format!(
                "event {} {}: {}\n",
                number + 1,
                event.when,
                scenario.told(&event.what)
            ));
            let chosen = event.what.who().map(|who| self.chosen(scenario, who, number));
            for place in chosen.into_iter().flatten() {
                let name = &self.devices[place as usize].name;
                line(&format!("event {} chooses {name}\n", number + 1));
            }
        }
        let mut text = String::new();
        for device in &self.devices {
            text.clear();
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "device {} starts {} us seed {:016x} network {:016x}",
                device.name,
                device.start.as_micros(),
                device.seed,
                device.network_seed
            );
            line(&text);
        }
    }
}

fn told(scenario: &Scenario, kind: &Kind) -> String {
    let cohort = kind.cohort.and_then(|place| scenario.cohorts.get(place));
    let cohort = cohort.map_or_else(
        || "no cohort".to_owned(),
        |cohort| format!("cohort {:?}", cohort.name),
    );
    format!(
        "kind {} {} of {} run {} in {cohort} up {} down {}\n",
        kind.name,
        kind.count,
        kind.told(),
        kind.runs,
        way(&kind.network.up),
        way(&kind.network.down)
    )
}

fn way(way: &Direction) -> String {
    let delay = match way.delay {
        Delay::Constant(delay) => show_span(delay),
        Delay::Uniform { from, to } => format!("{} to {}", show_span(from), show_span(to)),
        Delay::Normal { mean, deviation } => format!("{} ± {}", show_span(mean), show_span(deviation)),
        Delay::LogNormal { median, sigma } => format!("median {} sigma {sigma}", show_span(median)),
    };
    format!(
        "(loss {} duplicate {} reorder {} delay {delay} bit/s {} queue {} B)",
        way.loss,
        way.duplicate,
        way.reorder,
        way.bits_per_s
            .map_or_else(|| "unlimited".to_owned(), |bits| bits.to_string()),
        way.queue_bytes
    )
}

fn hash(seed: u64, purpose: &str, name: &str) -> [u8; 32] {
    let hasher = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(name);
    hasher.finalize().into()
}

/// The first eight bytes as a number.
fn head(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// So many 2^64ths of a time.
fn part(of: Duration, share: u64) -> Duration {
    let nanos = (of.as_nanos() * u128::from(share)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Of the plan's text: another number when the same scenario makes another plan.
const FORMAT: u32 = 2;

/// The golden ratio in 2^64ths: its multiples are spread evenly however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
