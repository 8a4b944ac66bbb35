//! How long things took, in microseconds.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::result::HistogramFacts;

/// Something that takes time. From which moment to which: see [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// A handshake.
    Handshake,
    /// From a deployment to the device's sight of it.
    Notification,
    /// A block.
    Block,
    /// A whole update.
    Update,
    /// A report.
    Report,
}

impl Latency {
    const NAMES: [(Self, &'static str); LATENCIES] = [
        (Self::Handshake, "handshake"),
        (Self::Notification, "notification"),
        (Self::Block, "block"),
        (Self::Update, "update"),
        (Self::Report, "report"),
    ];
}

/// The histograms of some devices.
#[derive(Clone, Debug)]
pub struct Latencies([Histogram<u64>; LATENCIES]);

impl Latencies {
    /// Nothing has taken any time yet.
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| empty()))
    }

    /// Something took so many microseconds.
    pub fn record(&mut self, latency: Latency, micros: u64) {
        record(&mut self.0[latency as usize], micros);
    }

    /// Adds those of other devices.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            sum.add(more).expect("a histogram that grows takes any other");
        }
    }

    /// One of them.
    pub fn of(&self, latency: Latency) -> &Histogram<u64> {
        &self.0[latency as usize]
    }

    /// By name; those without a value are left out.
    pub fn facts(&self) -> BTreeMap<String, HistogramFacts> {
        let named = Latency::NAMES
            .iter()
            .map(|(latency, name)| (*name, self.of(*latency)));
        named
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(name, histogram)| (name.to_owned(), facts(histogram)))
            .collect()
    }
}

/// A histogram that takes any time, to a thousandth. It grows with its largest value: most kinds of devices need little.
pub fn empty() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

/// Counts a time; what is longer than [`MAX_US`] counts as that.
pub fn record(histogram: &mut Histogram<u64>, micros: u64) {
    histogram
        .record(micros.min(MAX_US))
        .expect("a histogram that grows takes any value");
}

/// A histogram as a result has it.
pub fn facts(histogram: &Histogram<u64>) -> HistogramFacts {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("writing to a Vec does not fail, and no count comes near 2^63");
    HistogramFacts {
        count: histogram.len(),
        min: histogram.min(),
        mean: histogram.mean(),
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
        hdr: BASE64.encode(&bytes),
    }
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

const LATENCIES: usize = 5;
/// Two months: twice the longest run (`stop_after` takes up to 30 days), so that no bound of an expectation is above it.
const MAX_US: u64 = 60 * 24 * 60 * 60 * 1_000_000;

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

    use super::*;

    #[test]
    fn what_is_written_down_is_the_whole_histogram() {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record(Latency::Block, micros);
        }
        latencies.record(Latency::Update, u64::MAX);
        let facts = latencies.facts();
        assert_eq!(facts.keys().collect::<Vec<_>>(), ["block", "update"]);
        let block = &facts["block"];
        assert_eq!(
            (block.count, block.min, block.p50, block.p99, block.max),
            (1000, 1, 500, 990, 1000)
        );
        let bytes = BASE64.decode(block.hdr.as_bytes()).unwrap();
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!(read, *latencies.of(Latency::Block));
        assert!(facts["update"].max >= MAX_US);
        // A run may take 720 hours, and whoever waited for all of it is above a bound of a little less.
        assert!(
            facts["update"].p99 > 719 * 3_600_000_000,
            "{}",
            facts["update"].p99
        );
    }

    #[test]
    fn two_kinds_of_devices_make_one_histogram() {
        let (mut few, mut many) = (Latencies::new(), Latencies::new());
        few.record(Latency::Handshake, 10);
        many.record(Latency::Handshake, 90_000_000);
        few.add(&many);
        assert_eq!(few.of(Latency::Handshake).len(), 2);
    }
}
