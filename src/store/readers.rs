//! Threads that wait for the disk, for whoever must not.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::mpsc;

/// A few threads and their queue. Dropped, they end with the work that they have.
pub struct Readers {
    queue: mpsc::Sender<Work>,
}

/// Something that waits.
pub type Work = Box<dyn FnOnce() + Send>;

/// A place in the queue.
pub struct Place<'a>(mpsc::Permit<'a, Work>);

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{READS_QUEUED} reads wait for the disk")]
pub struct ReadersBusy;

impl Readers {
    /// Starts the threads.
    ///
    /// # Errors
    /// There are none to be had.
    pub fn start() -> io::Result<Self> {
        let (queue, queued) = mpsc::channel::<Work>(READS_QUEUED);
        let queued = Arc::new(Mutex::new(queued));
        for number in 0..READERS {
            let queued = Arc::clone(&queued);
            let read = move || {
                while let Some(work) = next(&queued) {
                    work();
                }
            };
            thread::Builder::new()
                .name(format!("reader-{number}"))
                .spawn(read)?;
        }
        Ok(Self { queue })
    }

    /// A place in the queue.
    ///
    /// # Errors
    /// It is full.
    pub fn place(&self) -> Result<Place<'_>, ReadersBusy> {
        self.queue.try_reserve().map(Place).map_err(|_| ReadersBusy)
    }

    /// Has every thread wait until what is returned is dropped.
    #[cfg(test)]
    pub fn stall(&self) -> Stall {
        let (stall, stalled) = mpsc::channel::<()>(1);
        let stalled = Arc::new(Mutex::new(stalled));
        for _ in 0..READERS {
            let stalled = Arc::clone(&stalled);
            let wait = move || assert!(next(&stalled).is_none());
            assert!(self.queue.try_send(Box::new(wait)).is_ok());
        }
        Stall(stall)
    }
}

/// Readers that wait; they go on when it is dropped.
#[cfg(test)]
#[derive(Debug)]
pub struct Stall(#[allow(dead_code, reason = "dropping it is its use")] mpsc::Sender<()>);

impl Place<'_> {
    /// Has a thread do this.
    pub fn take(self, work: Work) {
        self.0.send(work);
    }
}

/// Waits for what is next; `None` when there will be nothing more.
fn next<T>(queue: &Mutex<mpsc::Receiver<T>>) -> Option<T> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.blocking_recv()
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// A guess: enough for a disk to put its work in order, and for some reads to go on beside one that hangs.
const READERS: usize = 8;
/// A guess, about a megabyte: a fleet that is told of a deployment asks for one cold block within the milliseconds that it
/// takes to read it. What finds no place is asked for again two to three seconds later.
const READS_QUEUED: usize = 4096;
