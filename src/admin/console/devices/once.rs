//! What is shown only once, or only for a while, and only to the session that caused it: secrets that were made, and what came
//! of a file. In memory, bounded, and nothing of it outlives the process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::super::Console;
use super::super::visitor::Visitor;
use crate::clock;
use crate::control::CreatedCredential;
use crate::fleet::{CredentialKind, DeviceId, Digest};

/// What is kept of all sessions.
#[derive(Debug, Default)]
pub struct Kept {
    made: HashMap<Digest, Made>,
    files: VecDeque<(Digest, Arc<Imported>)>,
    last_file: u64,
}

/// Secrets just made for a device.
struct Made {
    device: DeviceId,
    until_ms: i64,
    keys: Vec<MadeKey>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// A pre-shared key just given to a device.
#[derive(Clone, Debug)]
pub struct MadeKey {
    /// The identity.
    pub identity: String,
    /// The secret, if it was made here; who gave one knows it.
    pub secret: Option<String>,
}

/// What came of a file of devices.
pub struct Imported {
    /// Which file of the process, for its address.
    pub number: u64,
    until_ms: i64,
    /// What it was called.
    pub name: String,
    /// Rows read.
    pub rows: u64,
    /// Devices made.
    pub created: u64,
    /// Devices changed.
    pub updated: u64,
    /// Devices that were so already.
    pub unchanged: u64,
    /// Rows refused.
    pub refused: u64,
    /// Why it was not read to its end.
    pub stopped: Option<String>,
    /// The first rows that were refused: line, device and why.
    pub refusals: Vec<(u64, String, String)>,
    /// Devices with a secret that was made for them.
    pub secrets: u64,
    /// All that was answered, line by line.
    pub lines: Bytes,
}

impl std::fmt::Debug for Imported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imported")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Imported {
    /// Nothing of this file yet.
    pub fn new(name: String) -> Imported {
        Imported {
            number: 0,
            until_ms: clock::unix_ms().saturating_add(KEPT_MS),
            name,
            rows: 0,
            created: 0,
            updated: 0,
            unchanged: 0,
            refused: 0,
            stopped: None,
            refusals: Vec::new(),
            secrets: 0,
            lines: Bytes::new(),
        }
    }
}

impl Console {
    /// Keeps the keys that a device was just given, to be shown with its page, once.
    pub fn keep_made(&self, visitor: &Visitor, device: DeviceId, made: &[CreatedCredential]) {
        let keys: Vec<_> = made
            .iter()
            .filter_map(|made| match &made.credential.kind {
                CredentialKind::Psk(identity) => Some(MadeKey {
                    identity: identity.to_string(),
                    secret: made
                        .made
                        .as_ref()
                        .map(|secret| String::from_utf8_lossy(secret.as_bytes()).into_owned()),
                }),
                CredentialKind::Certificate(_) | CredentialKind::RawPublicKey(_) => None,
            })
            .collect();
        let now_ms = clock::unix_ms();
        let made = &mut self.lock().devices.made;
        made.retain(|_, made| now_ms < made.until_ms);
        if keys.is_empty() || made.len() >= MADE_MAX {
            return;
        }
        let until_ms = now_ms.saturating_add(KEPT_MS);
        let keys = Made {
            device,
            until_ms,
            keys,
        };
        made.insert(session(visitor), keys);
    }

    /// The keys that a device was just given; none the second time.
    pub fn take_made(&self, visitor: &Visitor, device: DeviceId) -> Vec<MadeKey> {
        let made = &mut self.lock().devices.made;
        let session = session(visitor);
        let its = |made: &Made| made.device == device && clock::unix_ms() < made.until_ms;
        if visitor.is_live() || !made.get(&session).is_some_and(its) {
            return Vec::new();
        }
        made.remove(&session).map(|made| made.keys).unwrap_or_default()
    }

    /// Keeps what came of a file, and says under which number.
    pub fn keep_file(&self, visitor: &Visitor, mut file: Imported) -> u64 {
        let kept = &mut self.lock().devices;
        kept.last_file += 1;
        file.number = kept.last_file;
        while kept.files.len() >= FILES_MAX {
            kept.files.pop_front();
        }
        kept.files.push_back((session(visitor), Arc::new(file)));
        kept.last_file
    }

    /// What came of a file of this session, while it is kept.
    pub fn file(&self, visitor: &Visitor, number: u64) -> Option<Arc<Imported>> {
        let now_ms = clock::unix_ms();
        let kept = &mut self.lock().devices;
        kept.files.retain(|(_, file)| now_ms < file.until_ms);
        let session = session(visitor);
        let found = kept
            .files
            .iter()
            .find(|(of, file)| *of == session && file.number == number);
        found.map(|(_, file)| Arc::clone(file))
    }
}

fn session(visitor: &Visitor) -> Digest {
    Digest::of(visitor.session().as_bytes())
}

/// Long enough to look, and to save what has to be saved.
const KEPT_MS: i64 = 15 * 60 * 1000;
/// Sessions with keys that nobody looked at; past it they are not shown, and have to be made anew.
const MADE_MAX: usize = 1000;
/// Files: some megabytes each at most. Past it the oldest is forgotten.
const FILES_MAX: usize = 8;
