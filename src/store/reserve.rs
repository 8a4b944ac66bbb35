//! Room on the disk that is kept for what has to be possible when there is none: ending a key, deleting, signing in to do so.
//!
//! 1. A file that holds nothing takes some megabytes while there is room ([`Reserve::keep`]).
//! 2. Uploads end where there is less room than that beside it ([`Reserve::admit`]).
//! 3. A command that must not fail for want of room has the file removed first ([`Reserve::prepare`]); from then on what would take
//!    the room again is refused, other commands, reports, what devices log and the session log, until there is enough for the file
//!    once more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use super::disk::Disk;
use super::error::StoreError;

/// The room that is kept in a data folder.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file: PathBuf,
    /// Whether it is not there for whoever needs it next.
    is_given: AtomicBool,
    /// Held while the file is looked at and what is known of it changes.
    turn: Mutex<()>,
}

/// What a file system has, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// In all.
    pub size: u64,
    /// May still be written by who is not root.
    pub free: u64,
}

impl Room {
    /// Looks at the file system of a folder.
    ///
    /// # Errors
    /// It does not say.
    pub fn of(folder: &Path) -> io::Result<Room> {
        let disk = rustix::fs::statvfs(folder)?;
        Ok(Room {
            size: disk.f_blocks.saturating_mul(disk.f_frsize),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }

    /// How much of it is kept.
    fn kept(self) -> u64 {
        (self.size / 16).min(KEPT_BYTES)
    }
}

/// Why something is refused though some bytes are left.
#[derive(Debug, Clone, Copy, Error)]
#[error("the room that is left is kept for ending keys and for deleting")]
pub struct Kept;

impl Reserve {
    /// That of a data folder. Nothing is kept yet.
    pub fn of(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            file: folder.join(FILE),
            is_given: AtomicBool::new(false),
            turn: Mutex::new(()),
        }
    }

    /// Keeps the room, if there is as much again beside it. Blocks.
    ///
    /// # Errors
    /// The disk fails.
    pub fn keep(&self) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Room::of(&self.folder)?;
        let bytes = room.kept();
        let is_kept = fs::metadata(&self.file).is_ok_and(|file| file.len() == bytes);
        if !is_kept {
            if room.free < 2 * bytes {
                self.is_given.store(true, Ordering::Release);
                return Ok(());
            }
            self.disk.allocate(&self.file, bytes)?;
        }
        self.is_given.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether there is room for bytes of which nobody knows the end. Where the file system does not say, there is.
    ///
    /// # Errors
    /// As of a full disk.
    pub fn admit(&self) -> io::Result<()> {
        match is_tight(&self.folder) {
            true => Err(full()),
            false => Ok(()),
        }
    }

    /// Whether room may be taken by what can do without: not what was given up for something else.
    ///
    /// # Errors
    /// As of a full disk.
    pub fn admit_beside(folder: &Path) -> io::Result<()> {
        match is_tight(folder) && !folder.join(FILE).exists() {
            true => Err(full()),
            false => Ok(()),
        }
    }

    /// Before commands are carried out. Gives the room up if one of them `must` not fail for want of it, and there is little; or else
    /// takes it back, if it was given. Blocks.
    ///
    /// # Errors
    /// The disk fails.
    pub fn prepare(&self, must: bool) -> io::Result<()> {
        if !must {
            return self.keep();
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Room::of(&self.folder)?;
        if room.free >= room.kept() {
            return Ok(());
        }
        match self.disk.remove(&self.file) {
            Ok(()) => tracing::warn!(
                bytes = room.kept(),
                "the disk is full: the room that was kept is given up for ending keys, deleting and signing in"
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.is_given.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether it was given up, so that nothing may grow.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.is_given.load(Ordering::Acquire)
    }

    /// The refusal of what would grow.
    #[must_use]
    pub fn refusal() -> StoreError {
        StoreError::DiskFull(Box::new(Kept))
    }
}

/// Whether there is less room than is kept.
fn is_tight(folder: &Path) -> bool {
    Room::of(folder).is_ok_and(|room| room.free < room.kept())
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, Kept)
}

/// Its name in the data folder.
const FILE: &str = "reserve";
/// A guess: some hundred commits, each with the pages that it changes.
const KEPT_BYTES: u64 = 4 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::disk::LocalDisk;
    use super::*;

    #[test]
    fn the_room_is_kept_where_there_is_plenty_and_only_given_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(Arc::new(LocalDisk), folder.path());
        reserve.keep().unwrap();
        let kept = fs::metadata(folder.path().join(FILE)).unwrap().len();
        assert_eq!(kept, Room::of(folder.path()).unwrap().kept());
        assert!(kept > 0 && reserve.admit().is_ok());
        reserve.prepare(true).unwrap();
        assert!(!reserve.is_given(), "nobody needs it");
        assert!(folder.path().join(FILE).exists());
    }
}
