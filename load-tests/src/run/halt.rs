//! What ends a run from outside, and whatever waits in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use tessera::clock;
use tokio::signal::unix::{SignalKind, signal};

/// Whether the run is over; whoever waits for a time waits here, and learns of it at once.
#[derive(Debug, Default)]
pub struct Halt {
    is_over: Mutex<bool>,
    changed: Condvar,
    by_signal: AtomicBool,
    flag: Arc<AtomicBool>,
}

impl Halt {
    /// One that SIGINT and SIGTERM raise. A second signal ends the process where it stands; the gateway goes with it.
    pub fn by_signals() -> std::io::Result<Arc<Self>> {
        let halt = Arc::new(Self::default());
        let raised = Arc::clone(&halt);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let listen = move || {
            runtime.block_on(async {
                for is_second in [false, true] {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if is_second {
                        std::process::exit(AFTER_SIGNAL);
                    }
                    raised.by_signal.store(true, Ordering::Relaxed);
                    raised.raise();
                }
            });
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(listen)?;
        Ok(halt)
    }

    /// It is over.
    pub fn raise(&self) {
        *self.lock() = true;
        self.flag.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Whether it is over, for whoever looks at that now and then.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.flag
    }

    /// Whether a signal did it.
    pub fn was_interrupted(&self) -> bool {
        self.by_signal.load(Ordering::Relaxed)
    }

    /// Waits until then; true when it was over before.
    pub fn wait_until(&self, then: Instant) -> bool {
        let mut is_over = self.lock();
        loop {
            let left = then.saturating_duration_since(clock::now());
            if *is_over || left.is_zero() {
                return *is_over;
            }
            is_over = self
                .changed
                .wait_timeout(is_over, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What shells report for a process that SIGINT has ended.
const AFTER_SIGNAL: i32 = 130;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_waits_learns_at_once_that_it_is_over() {
        let halt = Halt::default();
        assert!(
            !halt.wait_until(clock::now()),
            "a moment that is there is not waited for"
        );
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| halt.wait_until(clock::now() + Duration::from_secs(3600)));
            halt.raise();
            assert!(waiting.join().unwrap());
        });
        assert!(halt.wait_until(clock::now()), "whoever comes later is told too");
        assert!(halt.flag().load(Ordering::Relaxed));
        assert!(!halt.was_interrupted());
    }
}
