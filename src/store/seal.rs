//! Encryption at rest: AES-256-GCM under the installation key.
//!
//! A sealed secret is `nonce (12) ‖ ciphertext ‖ tag (16)`. What it belongs to is authenticated with it, so that sealed
//! secrets cannot be exchanged for one another in the database.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::disk::{Disk, Existing};
use super::error::StoreError;

/// Seals and opens with one installation's key.
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Sealer {
    /// Reads the installation key; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key.
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::read(path) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let found = bytes.len();
                let sealer = Self::new(&bytes).ok_or(StoreError::BadKey {
                    path: path.to_owned(),
                    found,
                })?;
                Ok(Some(sealer))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", path)(error)),
        }
    }

    /// Makes an installation key. It is written whole or not at all: nothing may be sealed with one that a power cut could
    /// take away.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn make(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        let random = SystemRandom::new();
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random.fill(&mut *bytes).expect("the system has randomness");
        let unfinished = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = disk.create(&unfinished, Existing::Empty)?;
            file.write_all(&*bytes)?;
            file.sync()?;
            disk.rename(&unfinished, path)?;
            disk.sync_folder(path.parent().unwrap_or(Path::new(".")))
        };
        write().map_err(StoreError::io("write", path))?;
        Ok(Self::new(&*bytes).expect("32 bytes are a key"))
    }

    /// Seals `plaintext`, bound to `belongs_to`.
    pub fn seal(&self, belongs_to: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).expect("the system has randomness");
        let mut sealed = Vec::with_capacity(NONCE_LEN + plaintext.len() + AES_256_GCM.tag_len());
        sealed.extend(nonce);
        sealed.extend(plaintext);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(belongs_to),
                &mut sealed[NONCE_LEN..],
            )
            .expect("a few bytes are within what GCM can seal");
        sealed.extend(tag.as_ref());
        sealed
    }

    /// Opens what was sealed for `belongs_to`.
    ///
    /// # Errors
    /// It was sealed with another key or for something else, or was changed.
    pub fn open_sealed(&self, belongs_to: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let (nonce, rest) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(StoreError::Unsealable)?;
        let mut bytes = Zeroizing::new(rest.to_vec());
        let length = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(belongs_to),
                &mut bytes,
            )
            .map_err(|_| StoreError::Unsealable)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    fn new(bytes: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
        Some(Self {
            key: LessSafeKey::new(key),
            random: SystemRandom::new(),
        })
    }
}

/// Seals a sequence of entries with a key of its own, each under its number, which must be used once only.
pub struct NumberedSealer {
    key: LessSafeKey,
}

impl NumberedSealer {
    /// With a key that has never been used, and the key, to be sealed and kept.
    pub fn make() -> (Self, Zeroizing<[u8; KEY_BYTES]>) {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new()
            .fill(&mut *bytes)
            .expect("the system has randomness");
        (Self::new(&*bytes).expect("32 bytes are a key"), bytes)
    }

    /// With a key that was kept; `None` if it is none.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
        Some(Self {
            key: LessSafeKey::new(key),
        })
    }

    /// Appends `plaintext`, sealed as entry `number`, to `out`.
    pub fn seal(&self, number: u64, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(plaintext);
        let tag = self
            .key
            .seal_in_place_separate_tag(numbered(number), Aad::empty(), &mut out[start..])
            .expect("an entry is within what GCM can seal");
        out.extend(tag.as_ref());
    }

    /// Opens entry `number` in place; `None` if it is another, or was changed.
    pub fn open<'s>(&self, number: u64, sealed: &'s mut [u8]) -> Option<&'s [u8]> {
        let opened = self.key.open_in_place(numbered(number), Aad::empty(), sealed);
        opened.ok().map(|plaintext| &*plaintext)
    }
}

fn numbered(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl fmt::Debug for NumberedSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NumberedSealer(…)")
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

const KEY_BYTES: usize = 32;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::disk::LocalDisk;
    use super::Sealer;
    use crate::store::StoreError;

    #[test]
    fn what_is_sealed_opens_only_for_what_it_belongs_to() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Sealer::make(&LocalDisk, &folder.path().join("key")).unwrap();
        let sealed = sealer.seal(b"one", b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(
            sealed,
            sealer.seal(b"one", b"secret"),
            "a nonce is never used twice"
        );
        assert_eq!(&*sealer.open_sealed(b"one", &sealed).unwrap(), b"secret");
        assert!(matches!(
            sealer.open_sealed(b"two", &sealed),
            Err(StoreError::Unsealable)
        ));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(sealer.open_sealed(b"one", &changed).is_err());
            assert!(sealer.open_sealed(b"one", &sealed[..i]).is_err());
        }
    }

    #[test]
    fn the_key_is_found_again_and_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(Sealer::read(&path).unwrap().is_none());
        let sealer = Sealer::make(&LocalDisk, &path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let sealed = sealer.seal(b"x", b"secret");
        let again = Sealer::read(&path).unwrap().unwrap();
        assert_eq!(&*again.open_sealed(b"x", &sealed).unwrap(), b"secret");
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(
            Sealer::read(&path),
            Err(StoreError::BadKey { found: 5, .. })
        ));
    }
}
