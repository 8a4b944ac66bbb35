//! Artifact bytes, by their SHA-256.
//!
//! 1. [`Upload`]: a file of its own under `uploads/`, hashed as it is written. Dropped, it is gone.
//! 2. [`Upload::finish`]: compared with what the sender declared, then synced.
//! 3. [`Blobs::adopt`]: renamed to its digest, the folder synced. Only now may a fact name it.
//! 4. [`Blobs::open`]: open files are kept, so that serving a block is one positioned read.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use sha2::Digest as _;

use super::disk::{Disk, DiskFile, Existing};
use super::error::{StoreError, is_disk_full};
use super::folder;
use crate::fleet::{Digest, IMAGE_HEAD_BYTES};

/// The folder of artifact bytes.
#[derive(Debug)]
pub struct Blobs {
    disk: Arc<dyn Disk>,
    stored: PathBuf,
    uploads: PathBuf,
    next_upload: AtomicU64,
    open: ArcSwap<HashMap<Digest, Arc<Blob>>>,
    opening: Mutex<()>,
    /// Counts misses: how long ago a file was read is measured in them.
    misses: AtomicU64,
}

impl Blobs {
    /// Opens the folder, and sweeps what unfinished uploads have left.
    ///
    /// # Errors
    /// The disk fails.
    pub fn open_in(disk: Arc<dyn Disk>, data: &Path) -> Result<Self, StoreError> {
        let (stored, uploads) = (data.join("blobs"), data.join("uploads"));
        folder::create(&*disk, &stored)?;
        folder::create(&*disk, &uploads)?;
        // Also when they were there: whoever made them may have failed right after.
        disk.sync_folder(data).map_err(StoreError::io("sync", data))?;
        let swept = folder::sweep(&*disk, &uploads)?;
        if swept > 0 {
            tracing::info!(swept, "unfinished uploads were removed");
        }
        Ok(Self {
            disk,
            stored,
            uploads,
            next_upload: AtomicU64::new(0),
            open: ArcSwap::default(),
            opening: Mutex::new(()),
            misses: AtomicU64::new(0),
        })
    }

    /// Removes bytes that no fact names: a crash between renaming and committing leaves such.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sweep_unnamed(&self, named: &HashSet<Digest>) -> Result<(), StoreError> {
        for shelf in fs::read_dir(&self.stored).map_err(StoreError::io("read", &self.stored))? {
            let shelf = shelf.map_err(StoreError::io("read", &self.stored))?.path();
            for file in fs::read_dir(&shelf).map_err(StoreError::io("read", &shelf))? {
                let path = file.map_err(StoreError::io("read", &shelf))?.path();
                let digest = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| name.parse().ok());
                if digest.is_some_and(|digest| !named.contains(&digest)) {
                    self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// Begins an upload of at most `limit` bytes.
    ///
    /// # Errors
    /// The disk fails.
    pub fn begin(&self, limit: u64) -> Result<Upload, UploadError> {
        let number = self.next_upload.fetch_add(1, Ordering::Relaxed);
        let path = self.uploads.join(number.to_string());
        let file = self.disk.create(&path, Existing::Refuse)?;
        Ok(Upload {
            unfinished: self.unfinished(path),
            file,
            hash: sha2::Sha256::new(),
            head: Vec::with_capacity(IMAGE_HEAD_BYTES),
            length: 0,
            limit,
        })
    }

    /// Whether the disk takes bytes.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self) -> Result<(), StoreError> {
        let number = self.next_upload.fetch_add(1, Ordering::Relaxed);
        let path = self.uploads.join(number.to_string());
        let write = || -> io::Result<()> {
            let mut file = self.disk.create(&path, Existing::Refuse)?;
            let _unfinished = self.unfinished(path.clone());
            file.write_all(&[0; CHECK_BYTES])
        };
        write().map_err(StoreError::io("write", &path))
    }

    /// Gives bytes their name. The same bytes again change nothing.
    ///
    /// # Errors
    /// The disk fails; nothing has the name then, or complete and synced bytes have it.
    pub fn adopt(&self, upload: StoredBlob) -> Result<(), StoreError> {
        let path = self.path(&upload.digest);
        let shelf = path.parent().expect("a blob's path has a folder");
        if !path.exists() {
            folder::create(&*self.disk, shelf)?;
            let unfinished = upload.unfinished.keep();
            self.disk.rename(&unfinished, &path).map_err(|error| {
                // The name is free still, the bytes are not wanted.
                let _ = self.disk.remove(&unfinished);
                StoreError::io("rename to", &path)(error)
            })?;
        }
        // Also when the name or the shelf was there: whoever made it may have failed right here.
        for folder in [shelf, &self.stored] {
            self.disk
                .sync_folder(folder)
                .map_err(StoreError::io("sync", folder))?;
        }
        Ok(())
    }

    /// Removes bytes that no fact names any more. Who reads them reads on.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let _turn = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = HashMap::clone(&self.open.load());
        if open.remove(digest).is_some() {
            self.open.store(Arc::new(open));
        }
        let path = self.path(digest);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The bytes with this digest. Takes no lock if they were read of late.
    ///
    /// # Errors
    /// There are none, or the disk fails.
    pub fn open(&self, digest: &Digest) -> io::Result<Arc<Blob>> {
        if let Some(blob) = self.open.load().get(digest) {
            blob.touch(&self.misses);
            return Ok(Arc::clone(blob));
        }
        self.open_file(digest)
    }

    /// Fills `block` from `offset` on. Takes no lock and allocates nothing if the file was read of late.
    ///
    /// # Errors
    /// There are no such bytes, or the disk fails.
    pub fn read_block(&self, digest: &Digest, offset: u64, block: &mut [u8]) -> io::Result<()> {
        if let Some(blob) = self.open.load().get(digest) {
            blob.touch(&self.misses);
            return blob.read_at(offset, block);
        }
        self.open_file(digest)?.read_at(offset, block)
    }

    fn open_file(&self, digest: &Digest) -> io::Result<Arc<Blob>> {
        let _turn = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.open.load();
        if let Some(blob) = open.get(digest) {
            return Ok(Arc::clone(blob));
        }
        let file = File::open(self.path(digest))?;
        let length = file.metadata()?.len();
        let now = self.misses.fetch_add(1, Ordering::Relaxed) + 1;
        let blob = Arc::new(Blob {
            file,
            length,
            touched: AtomicU64::new(now),
        });

        let mut open = HashMap::clone(&open);
        if open.len() >= OPEN_FILES {
            let oldest = open
                .iter()
                .min_by_key(|(_, blob)| blob.touched.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                open.remove(&oldest);
            }
        }
        open.insert(*digest, Arc::clone(&blob));
        self.open.store(Arc::new(open));
        Ok(blob)
    }

    fn unfinished(&self, path: PathBuf) -> Unfinished {
        Unfinished {
            disk: Arc::clone(&self.disk),
            path: Some(path),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.stored.join(&name[..2]).join(name)
    }
}

/// Stored bytes, open for positioned reads.
#[derive(Debug)]
pub struct Blob {
    file: File,
    length: u64,
    touched: AtomicU64,
}

impl Blob {
    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// The disk fails, or the bytes end before the buffer does.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Never: nothing empty is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes only when there is something to say: many shards read the same blob.
    fn touch(&self, misses: &AtomicU64) {
        let now = misses.load(Ordering::Relaxed);
        if self.touched.load(Ordering::Relaxed) != now {
            self.touched.store(now, Ordering::Relaxed);
        }
    }
}

/// Bytes on their way in.
#[derive(Debug)]
pub struct Upload {
    unfinished: Unfinished,
    file: Box<dyn DiskFile>,
    hash: sha2::Sha256,
    head: Vec<u8>,
    length: u64,
    limit: u64,
}

impl Upload {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// More bytes than were allowed, or the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if more > self.limit - self.length {
            return Err(UploadError::TooLarge { limit: self.limit });
        }
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        let wanted = IMAGE_HEAD_BYTES - self.head.len();
        self.head.extend(bytes.iter().take(wanted));
        self.length += more;
        Ok(())
    }

    /// Makes the bytes durable under no name yet.
    ///
    /// # Errors
    /// There are none, they are not what the sender declared, or the disk fails.
    pub fn finish(mut self, declared: Option<Digest>) -> Result<StoredBlob, UploadError> {
        if self.length == 0 {
            return Err(UploadError::Empty);
        }
        let actual = Digest(self.hash.finalize().into());
        if let Some(declared) = declared.filter(|&declared| declared != actual) {
            return Err(UploadError::WrongDigest { declared, actual });
        }
        self.file.sync()?;
        Ok(StoredBlob {
            unfinished: self.unfinished,
            digest: actual,
            length: self.length,
            head: self.head,
        })
    }
}

/// Bytes that are durable and have no name yet. Dropped, they are gone.
#[derive(Debug)]
pub struct StoredBlob {
    unfinished: Unfinished,
    /// Their SHA-256.
    pub digest: Digest,
    /// How many there are.
    pub length: u64,
    /// The first few.
    pub head: Vec<u8>,
}

/// A file that is removed unless it is kept.
#[derive(Debug)]
struct Unfinished {
    disk: Arc<dyn Disk>,
    path: Option<PathBuf>,
}

impl Unfinished {
    fn keep(mut self) -> PathBuf {
        self.path.take().expect("a file is kept once")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed now is swept at the next start.
            let _ = self.disk.remove(path);
        }
    }
}

/// Why bytes were not stored.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// More bytes than were allowed.
    #[error("more than the {limit} bytes that are accepted")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// No bytes at all.
    #[error("no bytes; an artifact has at least one")]
    Empty,
    /// Other bytes than the sender declared.
    #[error("the bytes have SHA-256 {actual} and not {declared} as declared; nothing was stored")]
    WrongDigest {
        /// What the sender said.
        declared: Digest,
        /// What came.
        actual: Digest,
    },
    /// The disk failed.
    #[error("the upload could not be written")]
    Io(
        /// Why.
        #[from]
        io::Error,
    ),
}

impl UploadError {
    /// Whether it would not have failed with more space on the disk.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io(error) if is_disk_full(error))
    }
}

/// A reasoned guess: a fleet downloads few artifacts at a time, and file descriptors are few by default.
const OPEN_FILES: usize = 64;
/// A disk with less space is full: a reasoned guess, a good many commits.
const CHECK_BYTES: usize = 64 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::super::disk::LocalDisk;
    use super::{Blobs, OPEN_FILES, UploadError};
    use crate::fleet::Digest;

    #[test]
    fn bytes_are_found_under_their_digest_at_any_offset() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        let digest = store(&blobs, b"0123456789");
        assert_eq!(digest, Digest::of(b"0123456789"));
        let mut block = [0; 4];
        blobs.read_block(&digest, 3, &mut block).unwrap();
        assert_eq!(&block, b"3456");
        blobs.read_block(&digest, 6, &mut block).unwrap();
        assert_eq!(&block, b"6789");
        assert!(blobs.read_block(&digest, 7, &mut block).is_err());
        assert_eq!(blobs.open(&digest).unwrap().len(), 10);
        assert!(blobs.open(&Digest([0; 32])).is_err());
    }

    #[test]
    fn the_same_bytes_are_stored_once() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        assert_eq!(store(&blobs, b"same"), store(&blobs, b"same"));
        assert_eq!(files(data.path()).len(), 1);
    }

    #[test]
    fn an_upload_that_breaks_off_leaves_nothing_behind() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        let mut upload = blobs.begin(100).unwrap();
        upload.write(b"half").unwrap();
        assert_eq!(files(data.path()).len(), 1);
        drop(upload);
        assert!(files(data.path()).is_empty());
    }

    #[test]
    fn a_wrong_digest_an_empty_upload_and_one_past_the_limit_leave_nothing_behind() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();

        let mut upload = blobs.begin(100).unwrap();
        upload.write(b"abc").unwrap();
        let error = upload.finish(Some(Digest([7; 32]))).unwrap_err();
        assert!(matches!(error, UploadError::WrongDigest { actual, .. } if actual == Digest::of(b"abc")));

        assert!(matches!(
            blobs.begin(100).unwrap().finish(None),
            Err(UploadError::Empty)
        ));

        let mut upload = blobs.begin(4).unwrap();
        upload.write(b"abc").unwrap();
        assert!(matches!(
            upload.write(b"de"),
            Err(UploadError::TooLarge { limit: 4 })
        ));
        upload.write(b"d").unwrap();
        drop(upload);

        let mut upload = blobs.begin(4).unwrap();
        upload.write(b"abc").unwrap();
        drop(upload.finish(None).unwrap());
        assert!(files(data.path()).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_at_the_next_start() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        let (named, unnamed) = (store(&blobs, b"named"), store(&blobs, b"unnamed"));
        drop(blobs);
        fs::write(data.path().join("uploads/17"), b"half").unwrap();

        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        blobs.sweep_unnamed(&HashSet::from([named])).unwrap();
        assert_eq!(files(data.path()), [named.to_string()]);
        assert!(blobs.open(&named).is_ok());
        assert!(blobs.open(&unnamed).is_err());
    }

    #[test]
    fn files_beyond_the_limit_are_closed_and_can_be_opened_again() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        let digests: Vec<_> = (0..OPEN_FILES + 9)
            .map(|i| store(&blobs, &i.to_be_bytes()))
            .collect();
        for _ in 0..2 {
            for (i, digest) in digests.iter().enumerate() {
                let mut bytes = [0; size_of::<usize>()];
                blobs.read_block(digest, 0, &mut bytes).unwrap();
                assert_eq!(bytes, i.to_be_bytes());
                assert!(blobs.open.load().len() <= OPEN_FILES);
            }
        }
    }

    #[test]
    fn who_reads_a_blob_that_is_removed_reads_on() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        let digest = store(&blobs, b"bytes");
        let blob = blobs.open(&digest).unwrap();
        blobs.remove(&digest).unwrap();
        blobs.remove(&digest).unwrap();
        let mut bytes = [0; 5];
        blob.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"bytes");
        assert!(blobs.open(&digest).is_err());
    }

    fn store(blobs: &Blobs, bytes: &[u8]) -> Digest {
        let mut upload = blobs.begin(1000).unwrap();
        for part in bytes.chunks(3) {
            upload.write(part).unwrap();
        }
        let stored = upload.finish(Some(Digest::of(bytes))).unwrap();
        let digest = stored.digest;
        assert_eq!(stored.head, bytes);
        blobs.adopt(stored).unwrap();
        digest
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
        found
    }
}
