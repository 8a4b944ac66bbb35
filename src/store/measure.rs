//! How large the data folder is, and how much room there is for more.

use std::fs;
use std::io;
use std::path::Path;

use super::error::{DATABASE, StoreError};
use super::reserve::Room;
use super::sessions;
use super::sqlite::Store;

/// What the data folder takes of its file system, but for the artifacts, and what that has. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// The database's own file.
    pub database: u64,
    /// What is committed and not in there yet.
    pub write_ahead_log: u64,
    /// The session log.
    pub session_log: u64,
    /// What the file system has in all.
    pub disk_size: u64,
    /// What of it may still be written by who is not root.
    pub disk_free: u64,
}

impl Store {
    /// Looks at the files. Blocks for as long as the file system takes to say it.
    ///
    /// # Errors
    /// The file system fails.
    pub fn measure(&self) -> Result<Measured, StoreError> {
        let folder = self.inner.folder.path();
        let database = folder.join(DATABASE);
        let mut beside = database.clone().into_os_string();
        beside.push("-wal");
        let disk = Room::of(folder).map_err(StoreError::io("look at the file system of", folder))?;
        Ok(Measured {
            database: length(&database)?,
            write_ahead_log: length(Path::new(&beside))?,
            session_log: length(&sessions::file_in(folder))?,
            disk_size: disk.size,
            disk_free: disk.free,
        })
    }
}

/// A file's length; 0 if there is none.
fn length(path: &Path) -> Result<u64, StoreError> {
    match fs::metadata(path) {
        Ok(data) => Ok(data.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_committed_is_in_one_of_the_files_and_there_is_less_room_than_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let before = store.measure().unwrap();
        assert!(before.database > 0 && before.session_log == 0, "{before:?}");
        assert!(
            0 < before.disk_free && before.disk_free <= before.disk_size,
            "{before:?}"
        );

        let mut tx = store.begin().await.unwrap();
        tx.set_checked(1).await.unwrap();
        tx.commit().await.unwrap();
        store.session_log().rewrite(&mut std::iter::empty()).unwrap();
        let after = store.measure().unwrap();
        assert!(after.write_ahead_log > before.write_ahead_log, "{after:?}");
        assert!(after.session_log > 0, "{after:?}");
    }
}
