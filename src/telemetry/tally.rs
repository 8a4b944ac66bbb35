//! A shard's own counts.

use std::sync::Arc;

use super::event::{COUNTER_SERIES, GAUGE_SERIES, GatewayEvent, REQUEST_SAMPLE, Sink};
use super::metrics::Registry;

/// Counts events in plain integers until they are flushed.
///
/// Belongs to one thread. Dropping it flushes it, so that a gauge never keeps what a finished shard added.
#[derive(Debug)]
pub struct Tally {
    registry: Arc<Registry>,
    counts: Box<[u64]>,
    shifts: [i64; GAUGE_SERIES],
    samples: Vec<(usize, f64)>,
    requests: u32,
}

/// Samples kept between two flushes; at the bound they go to the histograms at once.
const MAX_SAMPLES: usize = 512;

impl Tally {
    /// An empty tally over the program's metrics.
    pub fn new() -> Self {
        Self::over(Registry::global())
    }

    /// An empty tally over given metrics.
    pub fn over(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            counts: vec![0; COUNTER_SERIES].into_boxed_slice(),
            shifts: [0; GAUGE_SERIES],
            samples: Vec::with_capacity(MAX_SAMPLES),
            requests: 0,
        }
    }

    /// An empty tally over metrics of its own, and what shows them.
    #[cfg(test)]
    pub fn apart() -> (Self, super::MetricsHandle) {
        let registry = Arc::new(Registry::new());
        (
            Self::over(Arc::clone(&registry)),
            super::MetricsHandle::over(registry),
        )
    }

    /// Counts an event.
    #[inline]
    pub fn record(&mut self, event: GatewayEvent) {
        event.apply(self);
    }

    /// Whether the request that begins here is the one in [`REQUEST_SAMPLE`] to be timed.
    #[inline]
    pub fn samples_this_request(&mut self) -> bool {
        self.requests = self.requests.wrapping_add(1);
        self.requests.is_multiple_of(REQUEST_SAMPLE)
    }

    /// Adds everything counted to the program's metrics and starts again from zero.
    pub fn flush(&mut self) {
        for (series, count) in self
            .counts
            .iter_mut()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            self.registry.count(series, std::mem::take(count));
        }
        for (series, shift) in self
            .shifts
            .iter_mut()
            .enumerate()
            .filter(|(_, shift)| **shift != 0)
        {
            self.registry.shift(series, std::mem::take(shift));
        }
        self.flush_samples();
    }

    fn flush_samples(&mut self) {
        for (series, seconds) in self.samples.drain(..) {
            self.registry.sample(series, seconds);
        }
    }
}

impl Sink for Tally {
    fn count(&mut self, series: usize, by: u64) {
        self.counts[series] += by;
    }

    fn shift(&mut self, series: usize, by: i64) {
        self.shifts[series] += by;
    }

    /// At once: there is nothing to add up.
    fn set(&mut self, series: usize, value: f64) {
        self.registry.set(series, value);
    }

    fn sample(&mut self, series: usize, seconds: f64) {
        if self.samples.len() == MAX_SAMPLES {
            self.flush_samples();
        }
        self.samples.push((series, seconds));
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.flush();
    }
}
