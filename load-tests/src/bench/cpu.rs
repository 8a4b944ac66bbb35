//! CPU time, as the kernel counts it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Adds up what pieces of work cost this thread.
#[derive(Debug, Default)]
pub struct Meter {
    spent: Duration,
}

impl Meter {
    /// Does the work and counts it. Reading the clock costs a fraction of a microsecond, so a piece has to be large.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = thread();
        let result = work();
        self.spent += thread() - before;
        result
    }

    /// What has been counted, for each of `pieces`.
    pub fn each(&self, pieces: usize) -> f64 {
        micros(self.spent) / pieces as f64
    }
}

/// What one call costs in microseconds: the least of some rounds, as whatever disturbs only adds.
pub fn cost(mut work: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..COST_ROUNDS {
        let mut meter = Meter::default();
        meter.time(|| (0..COST_CALLS).for_each(|_| work()));
        least = least.min(meter.each(COST_CALLS));
    }
    least
}

/// CPU time of this thread.
pub fn thread() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of this process.
pub fn process() -> Duration {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// Enough for a signature of 100 microseconds to be measured in 20 milliseconds, ten times over.
const COST_CALLS: usize = 200;
const COST_ROUNDS: usize = 10;
