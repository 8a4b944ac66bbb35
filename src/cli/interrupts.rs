//! Ctrl-C, a closed terminal and a plain `kill`, for commands that have something to do before they end.

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// What asks a program to end. From here on none of it ends the process by itself.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    /// Listens. Before there is anything that a signal could leave behind.
    pub fn new(runtime: &Runtime) -> Result<Self, Failure> {
        let _context = runtime.enter();
        let caught = |kind| signal(kind).map_err(Failure::program);
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hangup: caught(SignalKind::hangup())?,
        })
    }

    /// Returns when the program is asked to end.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
