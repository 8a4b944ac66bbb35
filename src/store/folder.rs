//! The data folder: one process at a time, readable by its owner only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::{DATABASE, StoreError};

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
    /// Another process has it, it is open to others and somebody else's, or it cannot be made, closed to others or written.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        create(disk, path)?;
        make_private(path)?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
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

/// Keeps others out of a folder that was there already: what is in it follows the umask. A slip in `data.dir` must not close
/// somebody's home, so one that holds what is not ours stays as it is.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let close = StoreError::io("close to other users (set mode 0700 on)", path);
    let mode = match fs::metadata(path) {
        Ok(data) => data.permissions().mode(),
        Err(source) => return Err(close(source)),
    };
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if let Some(found) = strange(path)? {
        return Err(StoreError::Foreign {
            folder: path.to_owned(),
            found,
        });
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(close)
}

/// What is in a folder without a database and never was the store's.
fn strange(folder: &Path) -> Result<Option<PathBuf>, StoreError> {
    if folder.join(DATABASE).exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(folder).map_err(StoreError::io("read", folder))? {
        let path = entry.map_err(StoreError::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !OURS.iter().any(|ours| name.starts_with(ours)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Refuses a folder that never had a database and has something among its uploads: there is no upload before there is a database, so
/// it is somebody else's, and would be swept.
///
/// # Errors
/// There is something, or the folder cannot be read.
pub fn has_no_uploads(folder: &Path) -> Result<(), StoreError> {
    let uploads = folder.join("uploads");
    if !uploads.exists() {
        return Ok(());
    }
    let mut found = fs::read_dir(&uploads).map_err(StoreError::io("read", &uploads))?;
    match found.next().transpose() {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(StoreError::Strange {
            folder: folder.to_owned(),
            found: found.path(),
        }),
        Err(error) => Err(StoreError::io("read", &uploads)(error)),
    }
}

/// Removes the files of a folder whose names are numbers, as those of unfinished uploads are. What somebody else has put there
/// stays.
///
/// # Errors
/// The folder cannot be read, or a file not be removed.
pub fn sweep(disk: &dyn Disk, folder: &Path) -> Result<usize, StoreError> {
    let mut swept = 0;
    for entry in fs::read_dir(folder).map_err(StoreError::io("read", folder))? {
        let entry = entry.map_err(StoreError::io("read", folder))?;
        let path = entry.path();
        let numbered = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<u64>().is_ok());
        // Of the entry itself: what a link points to is not ours.
        let is_file = entry
            .file_type()
            .map_err(StoreError::io("look at", &path))?
            .is_file();
        if numbered && is_file {
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// How the names begin that the store gives, and of what a fresh file system has.
const OURS: [&str; 8] = [
    "lock",
    "reserve",
    "installation.key",
    "sessions.log",
    "blobs",
    "uploads",
    DATABASE,
    "lost+found",
];

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

    #[test]
    fn somebody_elses_folder_is_refused_and_stays_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("home");
        fs::create_dir_all(path.join("uploads")).unwrap();
        fs::write(path.join("letter.txt"), "dear").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Folder::open(&LocalDisk, &path).unwrap_err().to_string();
        assert!(
            refused.contains("letter.txt") && refused.contains("home"),
            "{refused}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(!path.join("lock").exists());

        // Who has closed it has prepared it: with the gateway's certificate in it, say.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Folder::open(&LocalDisk, &path).unwrap();
    }

    #[test]
    fn a_file_system_of_its_own_is_taken() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("lost+found")).unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Folder::open(&LocalDisk, parent.path()).unwrap();
    }

    #[test]
    fn only_what_unfinished_uploads_have_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let (uploads, elsewhere) = (parent.path().join("uploads"), parent.path().join("letter"));
        fs::create_dir_all(uploads.join("8")).unwrap();
        for name in ["7", "holiday.jpg"] {
            fs::write(uploads.join(name), "bytes").unwrap();
        }
        fs::write(&elsewhere, "dear").unwrap();
        std::os::unix::fs::symlink(&elsewhere, uploads.join("9")).unwrap();
        assert_eq!(sweep(&LocalDisk, &uploads).unwrap(), 1);
        let mut left: Vec<_> = fs::read_dir(&uploads)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["8", "9", "holiday.jpg"]);
        assert!(elsewhere.exists());
    }
}
