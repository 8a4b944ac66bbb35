//! The session log's bytes: an append-only file of encrypted entries, replaced whole when it is rewritten.
//!
//! ```text
//! file   = magic (8) ‖ length (2) ‖ the file's own key, sealed with the installation key ‖ entry*
//! entry  = length (4) ‖ ciphertext ‖ tag (16), AES-256-GCM; the nonce is the entry's number in the file
//! ```
//!
//! Every file has a key of its own, made when the file is, so that no number is used twice with one key. An entry opens in
//! its place only: nothing can be left out, repeated or moved, except at the end, which is what a power cut does.
//!
//! What the entries say is none of this module's business, nor when they have to be durable.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use super::disk::{Disk, DiskFile, Existing};
use super::folder::Folder;
use super::reserve::Reserve;
use super::seal::{NumberedSealer, Sealer};
use super::sqlite::Store;

/// The session log of a data folder.
pub struct SessionLog {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Seals the file's key.
    sealer: Arc<Sealer>,
    /// Kept locked: two processes on one log would use nonces twice.
    _folder: Arc<Folder>,
    /// Absent until the first rewrite, and from a failure on: who cannot say what of a file survives must not append to it.
    open: Option<OpenLog>,
    size: u64,
}

/// A log that entries can be appended to.
struct OpenLog {
    file: Box<dyn DiskFile>,
    sealer: NumberedSealer,
    next: u64,
    /// Collects entries for one write.
    pending: Vec<u8>,
}

/// Why a session log cannot be used.
#[derive(Debug, Error)]
pub enum SessionLogError {
    /// Not one of ours.
    #[error(
        "{path:?} is not a session log; move it away, which costs every device a handshake, or restore what was there"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Of a newer version.
    #[error(
        "{path:?} is a session log of version {found} and this program reads versions 1 to {known}; start the newer program that wrote it, or move the file away, which costs every device a handshake"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u8,
        /// Ours, and the newest that is read.
        known: u8,
    },
    /// The disk fails.
    #[error("could not read {path:?}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its key does not open.
    #[error(
        "{path:?} does not open with this folder's installation key; restore the key, or move the file away, which costs every device a handshake"
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// An entry is larger than any entry may be.
    #[error("a session log entry of {0} bytes")]
    TooLarge(
        /// Its size.
        usize,
    ),
    /// Nothing has been written since the log was opened or cleared.
    #[error("the session log is closed")]
    Closed,
}

impl Store {
    /// The folder's session log, which need not exist. Nothing is read or written yet. There must be one of them only.
    #[must_use]
    pub fn session_log(&self) -> SessionLog {
        let inner = &self.inner;
        SessionLog::new(
            Arc::clone(&inner.folder),
            Arc::clone(&inner.disk),
            Arc::clone(&inner.sealer),
        )
    }
}

impl SessionLog {
    /// The session log of a folder. Nothing is read or written yet.
    pub(super) fn new(folder: Arc<Folder>, disk: Arc<dyn Disk>, sealer: Arc<Sealer>) -> Self {
        Self {
            path: file_in(folder.path()),
            disk,
            sealer,
            _folder: folder,
            open: None,
            size: 0,
        }
    }

    /// Gives every entry to `each`, in order, and returns how many bytes at the end make no entry.
    ///
    /// # Errors
    /// The file cannot be read, is no session log, or was written with another key; or what `each` returns.
    pub fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        if self.open.is_some() {
            self.while_it_lasts(OpenLog::write)?;
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut left = file.metadata()?.len();
        if left == 0 {
            return Ok(0);
        }
        let mut file = BufReader::new(file);
        let sealer = read_header(&self.path, &self.sealer, &mut file, &mut left).map_err(said)?;
        let mut entry = Zeroizing::new(vec![0; ENTRY_MAX]);
        for number in 0.. {
            let mut length = [0; LENGTH];
            if left < LENGTH as u64 {
                break;
            }
            file.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > ENTRY_MAX || (LENGTH + length) as u64 > left {
                break;
            }
            let sealed = &mut entry[..length];
            file.read_exact(sealed)?;
            let Some(plaintext) = sealer.open(number, sealed) else {
                break;
            };
            each(plaintext)?;
            left -= (LENGTH + length) as u64;
        }
        Ok(left)
    }

    /// Replaces the file by one with these entries and a key of its own.
    ///
    /// # Errors
    /// The disk fails, or an entry is too large; the file is as it was, or the log is closed.
    pub fn rewrite(&mut self, entries: &mut dyn Iterator<Item = Zeroizing<Vec<u8>>>) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            Reserve::admit_beside(folder)?;
        }
        let (sealer, key) = NumberedSealer::make();
        let sealed = self.sealer.seal(BELONGS_TO, &*key);
        let unfinished = self.path.with_extension("log.new");
        let file = self.disk.create(&unfinished, Existing::Empty)?;
        let mut log = OpenLog {
            file,
            sealer,
            next: 0,
            pending: Vec::new(),
        };
        log.pending.extend_from_slice(MAGIC);
        log.pending
            .extend_from_slice(&(sealed.len() as u16).to_be_bytes());
        log.pending.extend_from_slice(&sealed);
        let mut size = log.pending.len() as u64;
        let fill = || {
            for entry in entries {
                size += log.append(&entry)?;
            }
            log.write()?;
            log.file.sync()?;
            self.disk.rename(&unfinished, &self.path)
        };
        if let Err(error) = fill() {
            // It would take the space that the log itself may be short of.
            let _ = self.disk.remove(&unfinished);
            return Err(error);
        }
        // Until the folder is synced either file may be the one that a power cut leaves: neither takes entries.
        self.open = None;
        self.sync_folder()?;
        self.open = Some(log);
        self.size = size;
        Ok(())
    }

    /// Appends an entry. It is durable only after [`Self::sync`].
    ///
    /// # Errors
    /// The disk fails, which closes the log; the entry is too large; or the log is closed: before the first
    /// [`Self::rewrite`], after a failure or [`Self::clear`].
    pub fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        self.size += self.while_it_lasts(|log| log.append(entry))?;
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// The disk fails, which closes the log; or it is closed.
    pub fn sync(&mut self) -> io::Result<()> {
        self.while_it_lasts(|log| {
            log.write()?;
            log.file.sync()
        })
    }

    /// Durably forgets every entry, for which no space is needed, and closes the log. A file that was replaced is forgotten
    /// too.
    ///
    /// # Errors
    /// The disk fails.
    pub fn clear(&mut self) -> io::Result<()> {
        self.open = None;
        self.size = 0;
        match self.disk.open(&self.path) {
            Ok(mut file) => {
                file.empty()?;
                file.sync()?;
            }
            // Somebody took it away, which forgets as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.sync_folder()
    }

    /// Bytes in the file, or on their way there.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk
            .sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }

    /// Does something with the open log, which an error closes.
    fn while_it_lasts<T>(&mut self, act: impl FnOnce(&mut OpenLog) -> io::Result<T>) -> io::Result<T> {
        let log = self.open.as_mut().ok_or_else(|| said(SessionLogError::Closed))?;
        let done = act(log);
        if done.is_err() {
            self.open = None;
        }
        done
    }
}

/// Whether a folder's session log is one that can be read, if there is one. Changes nothing.
///
/// # Errors
/// It cannot be read, is no session log, or was written with another key.
pub fn inspect(folder: &Path, sealer: &Sealer) -> Result<(), SessionLogError> {
    let path = file_in(folder);
    let unreadable = |source| SessionLogError::Unreadable {
        path: path.clone(),
        source,
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut left = file.metadata().map_err(unreadable)?.len();
    if left == 0 {
        return Ok(());
    }
    read_header(&path, sealer, &mut BufReader::new(file), &mut left).map(drop)
}

/// Where a folder's session log is.
pub fn file_in(folder: &Path) -> PathBuf {
    folder.join("sessions.log")
}

fn read_header(
    path: &Path,
    sealer: &Sealer,
    file: &mut impl Read,
    left: &mut u64,
) -> Result<NumberedSealer, SessionLogError> {
    let path = || path.to_owned();
    let unread = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => SessionLogError::Foreign { path: path() },
        _ => SessionLogError::Unreadable { path: path(), source },
    };
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).map_err(unread)?;
    let (name, version) = (&magic[..MAGIC.len() - 1], magic[MAGIC.len() - 1]);
    let (known_name, known) = (&MAGIC[..MAGIC.len() - 1], MAGIC[MAGIC.len() - 1]);
    if name != known_name {
        return Err(SessionLogError::Foreign { path: path() });
    }
    if version == 0 {
        return Err(SessionLogError::Foreign { path: path() });
    }
    if version > known {
        return Err(SessionLogError::Newer {
            path: path(),
            found: version,
            known,
        });
    }
    let mut length = [0; 2];
    file.read_exact(&mut length).map_err(unread)?;
    let mut sealed = vec![0; usize::from(u16::from_be_bytes(length))];
    file.read_exact(&mut sealed).map_err(unread)?;
    *left = left.saturating_sub((magic.len() + length.len() + sealed.len()) as u64);
    let wrong_key = || SessionLogError::WrongKey { path: path() };
    let key = sealer.open_sealed(BELONGS_TO, &sealed);
    NumberedSealer::new(&key.map_err(|_| wrong_key())?).ok_or_else(wrong_key)
}

fn said(error: SessionLogError) -> io::Error {
    io::Error::other(error)
}

impl OpenLog {
    fn append(&mut self, entry: &[u8]) -> io::Result<u64> {
        if entry.len() + TAG > ENTRY_MAX {
            return Err(said(SessionLogError::TooLarge(entry.len())));
        }
        let length = (entry.len() + TAG) as u32;
        self.pending.extend_from_slice(&length.to_be_bytes());
        self.sealer.seal(self.next, entry, &mut self.pending);
        self.next += 1;
        if self.pending.len() >= WRITE_SIZE {
            self.write()?;
        }
        Ok(u64::from(length) + LENGTH as u64)
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl fmt::Debug for SessionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLog")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// What the file starts with. The last byte is its version, raised whenever there are entries that an older program would not
/// know (`transport::journal`): 2 has credentials and moves. Older ones are read; what is written anew is of this version.
const MAGIC: &[u8; 8] = b"TSSRLOG\x02";
/// What the file's key is sealed for.
const BELONGS_TO: &[u8] = b"session log";
/// Bytes before an entry.
const LENGTH: usize = 4;
/// Bytes of AES-GCM's tag.
const TAG: usize = 16;
/// The largest entry, sealed, in bytes. A session with all it observes takes less than 1 KiB.
const ENTRY_MAX: usize = 8192;
/// How much is collected for one write, in bytes.
const WRITE_SIZE: usize = 1 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn entries_come_back_in_order_and_encrypted() {
        let (folder, store) = open().await;
        let mut log = store.session_log();
        assert_eq!(read(&mut log), (vec![], 0), "there is no file yet");
        log.rewrite(&mut entries(&["one", "two"])).unwrap();
        log.append(b"the third").unwrap();
        log.sync().unwrap();
        let bytes = fs::read(folder.path().join("sessions.log")).unwrap();
        assert_eq!(bytes.len() as u64, log.size());
        assert!(bytes.starts_with(MAGIC));
        assert!(!bytes.windows(5).any(|window| window == b"third"));
        assert_eq!(
            read(&mut store.session_log()),
            (texts(&["one", "two", "the third"]), 0)
        );

        log.rewrite(&mut entries(&["alone"])).unwrap();
        log.append(b"no more").unwrap();
        assert_eq!(
            read(&mut log),
            (texts(&["alone", "no more"]), 0),
            "what was appended is read too"
        );
    }

    #[tokio::test]
    async fn wherever_the_file_is_cut_whole_entries_are_read_and_the_rest_is_told() {
        let (folder, store) = open().await;
        let path = folder.path().join("sessions.log");
        let mut log = store.session_log();
        log.rewrite(&mut entries(&["one", "two", "three"])).unwrap();
        let whole = fs::read(&path).unwrap();
        let sizes = [3, 3, 5].map(|text| LENGTH + text + TAG);
        let header = whole.len() - sizes.iter().sum::<usize>();
        for cut in header..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (read, torn) = read(&mut store.session_log());
            let mut end = header;
            let fits = sizes.iter().take_while(|size| {
                let fits = end + **size <= cut;
                end += if fits { **size } else { 0 };
                fits
            });
            assert_eq!(read.len(), fits.count(), "cut at {cut}");
            assert_eq!(torn as usize, cut - end, "cut at {cut}");
        }
        // Zeros, which a file system may leave where nothing was synced.
        let mut zeros = whole.clone();
        zeros.extend([0; 100]);
        fs::write(&path, &zeros).unwrap();
        assert_eq!(
            read(&mut store.session_log()),
            (texts(&["one", "two", "three"]), 100)
        );
        for cut in 1..header {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(
                fails(&mut store.session_log()).contains("not a session log"),
                "cut at {cut}"
            );
        }
    }

    #[tokio::test]
    async fn an_entry_opens_in_its_place_only() {
        let (folder, store) = open().await;
        let path = folder.path().join("sessions.log");
        let mut log = store.session_log();
        log.rewrite(&mut entries(&["one", "two"])).unwrap();
        let whole = fs::read(&path).unwrap();
        let size = LENGTH + 3 + TAG;
        let (header, both) = whole.split_at(whole.len() - 2 * size);
        fs::write(&path, [header, &both[size..], &both[..size]].concat()).unwrap();
        assert_eq!(read(&mut store.session_log()), (vec![], 2 * size as u64));
        fs::write(&path, [header, &both[..size], &both[..size]].concat()).unwrap();
        assert_eq!(read(&mut store.session_log()), (texts(&["one"]), size as u64));
    }

    #[tokio::test]
    async fn another_key_or_version_is_refused_and_nothing_overwritten() {
        let (folder, store) = open().await;
        let path = folder.path().join("sessions.log");
        store.session_log().rewrite(&mut entries(&["one"])).unwrap();
        let whole = fs::read(&path).unwrap();
        let (other_folder, other) = open().await;
        let other_path = other_folder.path().join("sessions.log");
        fs::write(&other_path, &whole).unwrap();
        assert!(fails(&mut other.session_log()).contains("installation key"));
        assert_eq!(fs::read(&other_path).unwrap(), whole);
        for (version, why) in [
            (MAGIC[7] + 1, "newer program"),
            (u8::MAX, "newer program"),
            (0, "not a session log"),
        ] {
            let mut other = whole.clone();
            other[7] = version;
            fs::write(&path, &other).unwrap();
            let said = fails(&mut store.session_log());
            assert!(said.contains(why), "{said}");
            assert_eq!(fs::read(&path).unwrap(), other);
        }
    }

    #[tokio::test]
    async fn a_log_of_version_1_is_read_and_written_anew_as_one_of_this_version() {
        let (folder, store) = open().await;
        let path = folder.path().join("sessions.log");
        store
            .session_log()
            .rewrite(&mut entries(&["one", "two"]))
            .unwrap();
        let mut older = fs::read(&path).unwrap();
        older[7] = 1;
        fs::write(&path, &older).unwrap();
        let mut log = store.session_log();
        assert_eq!(read(&mut log), (texts(&["one", "two"]), 0));
        log.rewrite(&mut entries(&["one", "two"])).unwrap();
        assert!(fs::read(&path).unwrap().starts_with(MAGIC));
    }

    #[tokio::test]
    async fn a_cleared_log_is_empty_and_takes_nothing_until_it_is_rewritten() {
        let (_folder, store) = open().await;
        let mut log = store.session_log();
        assert!(log.append(b"too early").is_err());
        log.rewrite(&mut entries(&["one"])).unwrap();
        log.append(b"two").unwrap();
        log.clear().unwrap();
        assert!(log.append(b"three").is_err() && log.sync().is_err());
        assert_eq!(read(&mut store.session_log()), (vec![], 0));
        log.rewrite(&mut entries(&["four"])).unwrap();
        assert_eq!(read(&mut log), (texts(&["four"]), 0));
        assert!(log.append(&[0; ENTRY_MAX]).is_err());
    }

    #[tokio::test]
    async fn a_rewrite_that_fails_leaves_the_log_as_it_was_and_no_file_behind() {
        let (folder, store) = open().await;
        let mut log = store.session_log();
        log.rewrite(&mut entries(&["one"])).unwrap();
        let large = Zeroizing::new(vec![0; ENTRY_MAX]);
        assert!(log.rewrite(&mut std::iter::once(large)).is_err());
        assert!(!folder.path().join("sessions.log.new").exists());
        log.append(b"two").unwrap();
        log.sync().unwrap();
        assert_eq!(read(&mut store.session_log()), (texts(&["one", "two"]), 0));
    }

    async fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        (folder, store)
    }

    fn entries<'t>(texts: &'t [&str]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + use<'t> {
        texts.iter().map(|text| Zeroizing::new(text.as_bytes().to_vec()))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn read(log: &mut SessionLog) -> (Vec<String>, u64) {
        let mut entries = Vec::new();
        let torn = log.read(&mut |entry| {
            entries.push(String::from_utf8(entry.to_vec()).unwrap());
            Ok(())
        });
        (entries, torn.unwrap())
    }

    fn fails(log: &mut SessionLog) -> String {
        log.read(&mut |_| Ok(())).unwrap_err().to_string()
    }
}
