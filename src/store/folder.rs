//! The data folder: one process at a time, readable by its owner only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::StoreError;

/// A data folder that no other process can use while this lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

impl Folder {
    /// Creates the folder if it is missing, closes it to others, and locks it.
    ///
    /// # Errors
    /// Another process has it, or it cannot be made, closed to others or written.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        create(disk, path)?;
        make_private(path).map_err(StoreError::io("close to other users (set mode 0700 on)", path))?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(StoreError::io("create", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
                folder: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(StoreError::io("lock", file)(source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates a folder that only its owner can look into, and its parents. Each that is made is durable.
///
/// # Errors
/// It cannot be made.
pub fn create(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    create(disk, parent)?;
    disk.create_folder(path).map_err(StoreError::io("create", path))?;
    disk.sync_folder(parent).map_err(StoreError::io("sync", parent))
}

/// Keeps others out of a folder that was there already: what is in it follows the umask.
fn make_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Removes every file in a folder.
///
/// # Errors
/// The folder cannot be read, or a file not be removed.
pub fn sweep(disk: &dyn Disk, folder: &Path) -> Result<usize, StoreError> {
    let mut swept = 0;
    for entry in fs::read_dir(folder).map_err(StoreError::io("read", folder))? {
        let path = entry.map_err(StoreError::io("read", folder))?.path();
        disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        swept += 1;
    }
    Ok(swept)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::disk::LocalDisk;
    use super::*;

    #[test]
    fn a_folder_that_was_there_is_closed_to_others() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let _folder = Folder::open(&LocalDisk, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
