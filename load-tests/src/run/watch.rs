//! Looks at everything once a second, on a thread of its own: a gateway that answers late delays no event.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tessera::clock;

use super::engines::Engines;
use super::halt::Halt;
use super::progress::{Glance, Progress};
use crate::bench::process_cpu;
use crate::gateway::{Figures, Meter};
use crate::measure::{Now, Recorder};

/// From where a run is measured.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the arrival begins.
    pub began: Instant,
    /// What the simulator had taken of the processor before.
    pub set_up_cpu: Duration,
}

/// A look at the gateway that matters more than one of many: one that is busy is asked again, for a few seconds.
pub fn look(meter: &Meter) -> Option<Figures> {
    let begun = clock::now();
    loop {
        let figures = meter.figures();
        if figures.is_some() || clock::now() >= begun + PATIENCE {
            return figures;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// Samples until the run is over.
pub fn watch(
    recorder: &Mutex<Recorder>,
    meter: &Meter,
    engines: &Engines,
    halt: &Halt,
    progress: &Progress,
    Times { began, set_up_cpu }: Times,
) {
    let mut before: Option<(Instant, Now)> = None;
    let mut server_before: Option<Figures> = None;
    let mut second = 0;
    while !halt.wait_until(began + Duration::from_secs(second)) {
        let figures = meter.figures();
        let now = clock::now();
        let counts = engines.counts();
        let own_cpu = process_cpu().saturating_sub(set_up_cpu);
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.sample(now, figures.as_ref(), counts, own_cpu);
        let fleet = recorder.now();
        drop(recorder);

        let rate = |of: fn(&Now) -> u64| {
            let (then, earlier) = before.as_ref()?;
            let seconds = now.saturating_duration_since(*then).as_secs_f64();
            (seconds > 0.0).then(|| (of(&fleet) - of(earlier)) as f64 / seconds)
        };
        let cores = |then: &Figures, now: &Figures| {
            let seconds = now.at.saturating_duration_since(then.at).as_secs_f64();
            (seconds > 0.0).then(|| now.cpu.saturating_sub(then.cpu).as_secs_f64() / seconds)
        };
        progress.glance(&Glance {
            at: now.saturating_duration_since(began),
            now: fleet.clone(),
            bytes_per_s: rate(|now| now.bytes).unwrap_or(0.0),
            handshakes_per_s: rate(|now| now.handshakes).unwrap_or(0.0),
            server_cpu: server_before
                .as_ref()
                .zip(figures.as_ref())
                .and_then(|(then, now)| cores(then, now)),
            figures: figures.clone(),
        });
        before = Some((now, fleet));
        server_before = figures.or(server_before);
        // Seconds that went by meanwhile are left out: there is nothing to be seen of them any more.
        second = now.saturating_duration_since(began).as_secs() + 1;
    }
}

/// How long it is asked again.
const PATIENCE: Duration = Duration::from_secs(4);
/// One that refuses at once is not asked all the time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
