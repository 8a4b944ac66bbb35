//! What is shown only once, or only for a while, and only to the session that caused it: secrets that were made, and what came
//! of a file. In memory, bounded, and nothing of it outlives the process. Where there is no room, who keeps the most gives the
//! oldest of it: so nobody loses what is shown once to somebody who only keeps a lot.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::super::Console;
use super::super::visitor::Visitor;
use crate::clock;
use crate::control::CreatedCredential;
use crate::fleet::{CredentialKind, DeviceId, Digest, KeyId};

/// What is kept of all sessions, each kind oldest first.
#[derive(Debug, Default)]
pub struct Kept {
    /// One of a session.
    made: VecDeque<(Owner, Made)>,
    files: VecDeque<(Owner, Arc<Imported>)>,
    last_file: u64,
}

/// Who is shown something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    /// What the session was opened with.
    key: KeyId,
    session: Digest,
}

impl Owner {
    fn of(visitor: &Visitor) -> Owner {
        Owner {
            key: visitor.key.id,
            session: Digest::of(visitor.session().as_bytes()),
        }
    }
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
    /// What was answered, line by line: all of it, but for the last reasons of very many.
    pub lines: Bytes,
    /// How many of these are not kept.
    pub left_out: u64,
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
            left_out: 0,
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
        if keys.is_empty() {
            return;
        }
        let made = Made {
            device,
            until_ms: now_ms.saturating_add(KEPT_MS),
            keys,
        };
        self.lock().devices.keep_made(Owner::of(visitor), made, now_ms);
    }

    /// The keys that a device was just given; none the second time.
    pub fn take_made(&self, visitor: &Visitor, device: DeviceId) -> Vec<MadeKey> {
        if visitor.is_live() {
            return Vec::new();
        }
        let kept = &mut self.lock().devices;
        kept.take_made(Owner::of(visitor), device, clock::unix_ms())
    }

    /// Keeps what came of a file, and says under which number.
    pub fn keep_file(&self, visitor: &Visitor, mut file: Imported) -> u64 {
        let (owner, now_ms) = (Owner::of(visitor), clock::unix_ms());
        let kept = &mut self.lock().devices;
        kept.last_file += 1;
        file.number = kept.last_file;
        kept.files.retain(|(_, file)| now_ms < file.until_ms);
        make_room(&mut kept.files, FILES_MAX, owner);
        kept.files.push_back((owner, Arc::new(file)));
        kept.last_file
    }

    /// What came of a file of this session, while it is kept.
    pub fn file(&self, visitor: &Visitor, number: u64) -> Option<Arc<Imported>> {
        let now_ms = clock::unix_ms();
        let kept = &mut self.lock().devices;
        kept.files.retain(|(_, file)| now_ms < file.until_ms);
        let owner = Owner::of(visitor);
        let found = kept
            .files
            .iter()
            .find(|(of, file)| *of == owner && file.number == number);
        found.map(|(_, file)| Arc::clone(file))
    }
}

impl Kept {
    fn keep_made(&mut self, owner: Owner, made: Made, now_ms: i64) {
        self.made
            .retain(|(of, made)| now_ms < made.until_ms && *of != owner);
        make_room(&mut self.made, MADE_MAX, owner);
        self.made.push_back((owner, made));
    }

    fn take_made(&mut self, owner: Owner, device: DeviceId, now_ms: i64) -> Vec<MadeKey> {
        let place = self
            .made
            .iter()
            .position(|(of, made)| *of == owner && made.device == device && now_ms < made.until_ms);
        let taken = place.and_then(|place| self.made.remove(place));
        taken.map(|(_, made)| made.keys).unwrap_or_default()
    }
}

/// Makes room for one more of `newcomer`'s, where there are `bound` at most. The key gives that would have the most with it, and
/// of its sessions the one that would: the oldest of it goes. Of equal ones the newcomer's own gives first.
fn make_room<T>(kept: &mut VecDeque<(Owner, T)>, bound: usize, newcomer: Owner) {
    while kept.len() >= bound {
        let mut of_keys = HashMap::from([(newcomer.key, 1_usize)]);
        let mut of_sessions = HashMap::from([(newcomer.session, 1_usize)]);
        for (owner, _) in kept.iter() {
            *of_keys.entry(owner.key).or_default() += 1;
            *of_sessions.entry(owner.session).or_default() += 1;
        }
        let weight = |owner: &Owner| {
            (
                (of_keys[&owner.key], owner.key == newcomer.key),
                (of_sessions[&owner.session], owner.session == newcomer.session),
            )
        };
        // The first of equal ones is the oldest.
        let gives = (0..kept.len()).min_by_key(|&place| Reverse(weight(&kept[place].0)));
        let _ = gives.and_then(|place| kept.remove(place));
    }
}

/// Long enough to look, and to save what has to be saved.
const KEPT_MS: i64 = 15 * 60 * 1000;
/// Sessions with keys that nobody looked at; past it some are not shown, and have to be made anew.
const MADE_MAX: usize = 1000;
/// Files: some megabytes each at most. Past it one is forgotten.
const FILES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_the_most_gives_the_oldest_of_it() {
        let [greedy, victim] = [owner(1, 1), owner(2, 2)];
        let mut kept = VecDeque::new();
        keep(&mut kept, victim, 0..1);
        keep(&mut kept, greedy, 1..30);
        assert_eq!(of(&kept, victim), [0], "it is the oldest of all");
        assert_eq!(of(&kept, greedy), Vec::from_iter(23..30));
        // Whoever comes later finds room, as much as the one that came first.
        keep(&mut kept, victim, 30..40);
        assert_eq!(of(&kept, greedy), Vec::from_iter(26..30));
        assert_eq!(of(&kept, victim), Vec::from_iter(36..40));
        keep(&mut kept, greedy, 40..60);
        assert_eq!(of(&kept, victim), Vec::from_iter(36..40));
    }

    #[test]
    fn more_sessions_are_no_larger_share_and_a_key_gives_of_its_largest_session() {
        let victim = owner(2, 99);
        let mut kept = VecDeque::new();
        keep(&mut kept, victim, 0..3);
        for session in 1..20 {
            keep(&mut kept, owner(1, session), 10..11);
        }
        assert_eq!(of(&kept, victim), [0, 1, 2]);

        let [busy, colleague] = [owner(1, 1), owner(1, 2)];
        let mut kept = VecDeque::new();
        keep(&mut kept, colleague, 0..1);
        keep(&mut kept, busy, 1..30);
        assert_eq!(of(&kept, colleague), [0]);
    }

    #[test]
    fn of_as_many_keys_as_there_are_places_the_oldest_gives() {
        let mut kept = VecDeque::new();
        for key in 0..9 {
            keep(&mut kept, owner(i64::from(key), key), 0..1);
        }
        assert_eq!(of(&kept, owner(0, 0)), Vec::<u64>::new());
        assert_eq!(kept.len(), FILES_MAX);
    }

    #[test]
    fn a_key_with_as_many_sessions_as_there_are_places_keeps_nobody_from_seeing_a_secret() {
        let device = DeviceId::new(1);
        let made = |until_ms| Made {
            device,
            until_ms,
            keys: vec![MadeKey {
                identity: "lamp".to_owned(),
                secret: None,
            }],
        };
        let of = |key, session: u64| Owner {
            key: KeyId::new(key),
            session: Digest::of(&session.to_be_bytes()),
        };
        let (mut kept, victim) = (Kept::default(), of(2, 0));
        for session in 1..=MADE_MAX as u64 {
            kept.keep_made(of(1, session), made(2), 1);
        }
        kept.keep_made(victim, made(2), 1);
        kept.keep_made(of(1, 0), made(2), 1);
        assert_eq!(kept.made.len(), MADE_MAX);
        assert_eq!(kept.take_made(victim, DeviceId::new(2), 1).len(), 0);
        assert_eq!(kept.take_made(victim, device, 1).len(), 1);
        assert_eq!(kept.take_made(victim, device, 1).len(), 0, "it is shown once");
        assert_eq!(
            kept.take_made(of(1, 3), device, 2).len(),
            0,
            "and not when its time is over"
        );
        kept.keep_made(victim, made(3), 2);
        assert_eq!(kept.made.len(), 1);
    }

    fn keep(kept: &mut VecDeque<(Owner, u64)>, owner: Owner, what: std::ops::Range<u64>) {
        for what in what {
            make_room(kept, FILES_MAX, owner);
            kept.push_back((owner, what));
        }
    }

    fn of(kept: &VecDeque<(Owner, u64)>, owner: Owner) -> Vec<u64> {
        let its = kept.iter().filter(|(of, _)| *of == owner);
        its.map(|(_, what)| *what).collect()
    }

    fn owner(key: i64, session: u8) -> Owner {
        Owner {
            key: KeyId::new(key),
            session: Digest([session; 32]),
        }
    }
}
