//! What our own files ask of a disk: the seam at which a test fills it, breaks it and cuts its power.
//!
//! Whatever changes a file or a folder goes through a [`Disk`]. Reading does not: a cut takes nothing from a reader.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Changes files and folders. Nothing of it is durable before it is synced: bytes with [`DiskFile::sync`], names with
/// [`Disk::sync_folder`].
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes an empty file that only its owner can read.
    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file of so many bytes, or none, which nobody reads: room that is taken.
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a folder that only its owner can look into.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, whatever had it before.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait DiskFile: fmt::Debug + Send {
    /// Writes where the last write ended.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Drops every byte.
    fn empty(&mut self) -> io::Result<()>;

    /// Makes the bytes durable, and how many there are.
    fn sync(&mut self) -> io::Result<()>;
}

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and making the file fails.
    Refuse,
    /// It is emptied.
    Empty,
}

/// The machine's own.
#[derive(Debug, Clone, Copy)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        match existing {
            Existing::Refuse => options.create_new(true),
            Existing::Empty => options.create(true).truncate(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let taken = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can: there it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                io::copy(&mut io::repeat(0).take(bytes), &mut file).map(drop)
            }
            taken => taken.map_err(Into::into),
        };
        if taken.is_err() {
            fs::remove_file(path)?;
        }
        taken
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn empty(&mut self) -> io::Result<()> {
        self.set_len(0)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
