//! Artifact bytes, by their SHA-256.
//!
//! 1. [`Upload`]: a file of its own under `uploads/`, hashed as it is written. Dropped, it is gone.
//! 2. [`Upload::finish`]: compared with what the sender declared, then synced.
//! 3. [`Blobs::adopt`]: renamed to its digest, the folder synced. Only now may a fact name it.
//! 4. [`Blobs::read_now`]: open files are kept, so that serving a block from memory is one positioned read. Whoever must
//!    not wait for the disk has [`Blobs::read_slot`] read what is not in memory.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use sha2::Digest as _;

use super::disk::{Disk, DiskFile, Existing};
use super::error::{StoreError, is_disk_full};
use super::folder;
use super::readers::{Place, Readers, ReadersBusy};
use super::reserve::Reserve;
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
    readers: Readers,
    reserve: Arc<Reserve>,
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
            reserve: Arc::new(Reserve::of(Arc::clone(&disk), data)),
            disk,
            stored,
            uploads,
            next_upload: AtomicU64::new(0),
            open: ArcSwap::default(),
            opening: Mutex::new(()),
            misses: AtomicU64::new(0),
            readers: Readers::start().map_err(StoreError::io("start readers of", data))?,
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
        self.reserve.admit()?;
        let number = self.next_upload.fetch_add(1, Ordering::Relaxed);
        let path = self.uploads.join(number.to_string());
        let file = self.disk.create(&path, Existing::Refuse)?;
        Ok(Upload {
            reserve: Arc::clone(&self.reserve),
            unfinished: self.unfinished(path),
            file,
            hash: sha2::Sha256::new(),
            head: Vec::with_capacity(IMAGE_HEAD_BYTES),
            length: 0,
            limit,
        })
    }

    /// The room that is kept.
    pub fn reserve(&self) -> &Arc<Reserve> {
        &self.reserve
    }

    /// Whether the disk takes bytes.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self) -> Result<(), StoreError> {
        self.reserve
            .admit()
            .map_err(StoreError::io("write", &self.uploads))?;
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

    /// Fills `block` from `offset` on if that takes no waiting: never for the disk, never for a lock. Allocates nothing.
    /// False if the bytes have to be asked for with [`Self::read_slot`].
    pub fn read_now(&self, digest: &Digest, offset: u64, block: &mut [u8]) -> bool {
        self.open.load().get(digest).is_some_and(|blob| {
            blob.touch(&self.misses);
            blob.read_now(offset, block)
        })
    }

    /// A place in the queue of the threads that wait for the disk.
    ///
    /// # Errors
    /// The queue is full.
    pub fn read_slot(self: &Arc<Self>) -> Result<ReadSlot<'_>, ReadersBusy> {
        Ok(ReadSlot {
            place: self.readers.place()?,
            blobs: self,
        })
    }

    /// Has every reader wait, as behind a disk that does not answer, until what is returned is dropped.
    #[cfg(test)]
    pub fn stall_readers(&self) -> super::readers::Stall {
        self.readers.stall()
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

/// A place in the queue of the threads that wait for the disk.
#[derive(Debug)]
pub struct ReadSlot<'a> {
    place: Place<'a>,
    blobs: &'a Arc<Blobs>,
}

/// A block to be read by a thread that may wait.
pub struct BlockRead {
    /// Of which bytes.
    pub digest: Digest,
    /// Where it begins in them.
    pub offset: u64,
    /// How long it is, in bytes.
    pub len: usize,
    /// Called once with what was read, from the reader's thread. Dropped uncalled if the program ends.
    pub done: ReadDone,
}

/// What becomes of a [`BlockRead`]. An error means that there are no such bytes, or that the disk failed.
pub type ReadDone = Box<dyn FnOnce(io::Result<Bytes>) + Send>;

impl ReadSlot<'_> {
    /// Has the block read.
    pub fn take(self, read: BlockRead) {
        let blobs = Arc::clone(self.blobs);
        self.place.take(Box::new(move || {
            let mut block = vec![0; read.len];
            match blobs.open(&read.digest) {
                Ok(blob) => {
                    // Many devices ask for the same bytes at the same time: mostly another reader has fetched them by now.
                    let there = blob.read_now(read.offset, &mut block);
                    let outcome = if there {
                        Ok(())
                    } else {
                        blob.read_at(read.offset, &mut block)
                    };
                    (read.done)(outcome.map(|()| block.into()));
                    if !there {
                        blob.read_ahead(read.offset);
                    }
                }
                Err(error) => (read.done)(Err(error)),
            }
        }));
    }
}

impl fmt::Debug for BlockRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockRead")
            .field("digest", &self.digest)
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish_non_exhaustive()
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

    /// Fills `buffer` with the bytes from `offset` on if they are in memory; otherwise false, and its content is unspecified.
    ///
    /// A file system that cannot tell (tmpfs, overlayfs, NFS, FUSE) says so, and then nothing is ever in memory: the one
    /// that answers from memory most of the time is also the one that may wait for its network.
    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let len = buffer.len();
        let read = preadv2(
            &self.file,
            &mut [IoSliceMut::new(buffer)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        // Whatever is wrong shows again when the bytes are waited for.
        read == Ok(len)
    }

    /// Has the kernel fetch what a download asks for next.
    fn read_ahead(&self, offset: u64) {
        // It is advice: without it the next block waits for the disk as this one did.
        let _ = fadvise(
            &self.file,
            offset,
            NonZeroU64::new(READ_AHEAD_BYTES),
            Advice::WillNeed,
        );
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
    reserve: Arc<Reserve>,
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
        self.reserve.admit()?;
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

/// A thousand of the largest blocks: a device takes seconds for them, a disk some ten milliseconds.
const READ_AHEAD_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;
    use std::sync::{Arc, mpsc};

    use bytes::Bytes;
    use rustix::fs::{Advice, fadvise};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use super::super::disk::LocalDisk;
    use super::{Blobs, BlockRead, OPEN_FILES, UploadError};
    use crate::fleet::Digest;

    #[test]
    fn bytes_are_found_under_their_digest_at_any_offset() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap();
        let digest = store(&blobs, b"0123456789");
        assert_eq!(digest, Digest::of(b"0123456789"));
        let mut block = [0; 4];
        let blob = blobs.open(&digest).unwrap();
        blob.read_at(3, &mut block).unwrap();
        assert_eq!(&block, b"3456");
        blob.read_at(6, &mut block).unwrap();
        assert_eq!(&block, b"6789");
        assert!(blob.read_at(7, &mut block).is_err());
        assert_eq!(blob.len(), 10);
        assert!(blobs.open(&Digest([0; 32])).is_err());
    }

    #[test]
    fn bytes_that_are_not_in_memory_are_never_waited_for_and_found_there_once_a_reader_has_read_them() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap());
        let digest = store(&blobs, b"0123456789");
        let mut block = [0; 4];
        assert!(!blobs.read_now(&digest, 3, &mut block), "the file is not open");
        assert_eq!(read(&blobs, digest, 3).unwrap(), &b"3456"[..]);
        assert_eq!(blobs.read_now(&digest, 3, &mut block), can_tell(data.path()));

        // The kernel begins to fetch what is missing, and a fast disk may have it before the kernel looks again.
        let not_there = (0..100).any(|_| {
            forget(&blobs.path(&digest));
            !blobs.read_now(&digest, 6, &mut block)
        });
        assert!(
            not_there,
            "it is open, its bytes were dropped, and they were waited for"
        );
        assert_eq!(read(&blobs, digest, 6).unwrap(), &b"6789"[..]);
        let there = blobs.read_now(&digest, 6, &mut block);
        assert_eq!(there, can_tell(data.path()));
        assert!(!there || block == *b"6789");
        assert!(!blobs.read_now(&digest, 7, &mut block), "past the end");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_says_so() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap());
        let digest = store(&blobs, b"0123456789");
        let past = read(&blobs, digest, 7).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
        let nothing = read(&blobs, Digest([0; 32]), 0).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            read(&blobs, digest, 0).unwrap(),
            &b"0123"[..],
            "and readers go on"
        );
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_up_nobody_who_asks_for_what_is_in_memory() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap());
        let (warm, cold) = (store(&blobs, b"warm bytes"), store(&blobs, b"cold bytes"));
        assert_eq!(read(&blobs, warm, 0).unwrap(), &b"warm"[..]);
        let stall = blobs.stall_readers();
        let (sender, outcome) = mpsc::channel();
        ask(&blobs, cold, 0, sender);
        let mut block = [0; 4];
        assert_eq!(blobs.read_now(&warm, 0, &mut block), can_tell(data.path()));
        assert!(!blobs.read_now(&cold, 0, &mut block));
        assert!(outcome.try_recv().is_err());
        drop(stall);
        assert_eq!(outcome.recv().unwrap().unwrap(), &b"cold"[..]);
    }

    #[test]
    fn reads_that_wait_are_bounded_and_all_of_them_are_done() {
        let data = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open_in(Arc::new(LocalDisk), data.path()).unwrap());
        let digest = store(&blobs, b"0123456789");
        let stall = blobs.stall_readers();
        let (sender, outcomes) = mpsc::channel();
        let mut asked = 0;
        while blobs.read_slot().is_ok() {
            ask(&blobs, digest, 0, sender.clone());
            asked += 1;
        }
        assert!((1000..=4096).contains(&asked), "{asked}");
        drop((stall, sender));
        assert_eq!(outcomes.iter().map(Result::unwrap).count(), asked);
        assert!(blobs.read_slot().is_ok());
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
                blobs.open(digest).unwrap().read_at(0, &mut bytes).unwrap();
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

    /// What a reader brings: four bytes.
    fn read(blobs: &Arc<Blobs>, digest: Digest, offset: u64) -> io::Result<Bytes> {
        let (sender, outcome) = mpsc::channel();
        ask(blobs, digest, offset, sender);
        outcome.recv().unwrap()
    }

    fn ask(blobs: &Arc<Blobs>, digest: Digest, offset: u64, to: mpsc::Sender<io::Result<Bytes>>) {
        blobs.read_slot().unwrap().take(BlockRead {
            digest,
            offset,
            len: 4,
            done: Box::new(move |read| to.send(read).unwrap()),
        });
    }

    /// Whether the file system can tell what is in memory: tmpfs, for one, cannot.
    fn can_tell(folder: &Path) -> bool {
        let path = folder.join("probe");
        fs::write(&path, b"probe").unwrap();
        let mut byte = [0];
        let buffers = &mut [io::IoSliceMut::new(&mut byte)];
        let probed = preadv2(File::open(path).unwrap(), buffers, 0, ReadWriteFlags::NOWAIT);
        probed != Err(Errno::OPNOTSUPP)
    }

    /// Has the kernel drop a file from memory.
    fn forget(path: &Path) {
        fadvise(File::open(path).unwrap(), 0, None, Advice::DontNeed).unwrap();
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
