use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::super::inbox::mailbox;
use super::super::slots::PeerId;
use super::super::testing;
use super::*;

#[test]
fn entries_are_these_bytes() {
    let token = [1, 2, 3, 0, 0, 0, 0, 0];
    let relation = SavedRelation {
        resource: 9,
        token,
        token_len: 3,
        accept: Some(60),
        sent: 7,
        sequence: 0x0001_0203,
    };
    let table: [(Entry, &[u8]); 6] = [
        (
            Entry::Reserved { serial: 5, end: 2048 },
            &[2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 8, 0],
        ),
        (
            Entry::Received { serial: 5, mark: 258 },
            &[3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 2],
        ),
        (
            Entry::Observes {
                serial: 5,
                relations: vec![relation],
            },
            &[
                4, 0, 0, 0, 0, 0, 0, 0, 5, 1, 9, 3, 1, 2, 3, 0, 0, 0, 0, 0, 1, 0, 60, 0, 0, 0, 7, 0, 1, 2, 3,
            ],
        ),
        (Entry::Ended { serial: 5 }, &[5, 0, 0, 0, 0, 0, 0, 0, 5]),
        (
            Entry::Moved {
                serial: 5,
                peer: "192.0.2.1:258".parse().unwrap(),
                local: "192.0.2.2".parse().unwrap(),
            },
            &[
                7, 0, 0, 0, 0, 0, 0, 0, 5, 4, 192, 0, 2, 1, 1, 2, 0, 0, 0, 0, 4, 192, 0, 2, 2,
            ],
        ),
        (
            Entry::Moved {
                serial: 5,
                peer: "[fe80::1%3]:258".parse().unwrap(),
                local: "::1".parse().unwrap(),
            },
            &[
                7, 0, 0, 0, 0, 0, 0, 0, 5, 6, 0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0,
                0, 0, 3, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            ],
        ),
    ];
    for (entry, bytes) in table {
        assert_eq!(*entry.to_bytes(), bytes);
        assert_eq!(*Entry::from_bytes(bytes).unwrap().to_bytes(), bytes);
    }
}

#[test]
fn an_establishment_is_read_as_it_was_written() {
    for peer in ["192.0.2.1:5000", "[2001:db8::1]:5000", "[fe80::1%3]:5000"] {
        let saved = SavedPeer {
            peer: peer.parse().unwrap(),
            relations: vec![relation(1)],
            ..established(3)
        };
        let bytes = Entry::Established(Box::new(saved.clone())).to_bytes();
        let Entry::Established(read) = Entry::from_bytes(&bytes).unwrap() else {
            panic!("another kind")
        };
        assert_eq!(
            (read.serial, read.device, read.peer, read.local),
            (3, 42, saved.peer, saved.local)
        );
        assert_eq!(
            (&read.credential, read.since_unix_ms),
            (&saved.credential, saved.since_unix_ms)
        );
        assert_eq!(read.session.to_bytes(), saved.session.to_bytes());
        assert_eq!(read.relations, saved.relations);
    }
}

#[test]
fn an_establishment_of_version_1_is_read_and_stays_as_it_is() {
    let of = established(3);
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 42, 0, 9];
    bytes.extend_from_slice(b"device-42");
    bytes.extend_from_slice(&[4, 192, 0, 2, 1, 0x13, 0x88, 0, 0, 0, 0, 4, 192, 0, 2, 2]);
    bytes.extend_from_slice(&of.since_unix_ms.to_be_bytes());
    let session = of.session.to_bytes();
    bytes.extend_from_slice(&(session.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&session);
    bytes.push(0);
    let entry = Entry::from_bytes(&bytes).unwrap();
    assert_eq!(
        *entry.to_bytes(),
        bytes,
        "its identity is all that is known of its credential"
    );
    let Entry::Established(peer) = entry else {
        panic!("another kind")
    };
    let identity = Identity::new(b"device-42").unwrap();
    assert_eq!(
        (peer.device, peer.credential),
        (42, SavedCredential::Identity(identity))
    );
    assert_eq!(peer.peer, of.peer);
}

#[test]
fn a_session_with_a_newer_suite_or_form_is_refused_as_newer() {
    let bytes = Entry::Established(Box::new(established(3))).to_bytes();
    let session = established(3).session.to_bytes();
    let at = bytes.windows(session.len()).position(|window| window == *session);
    for (byte, error) in [(0, RestoreError::Version(0xEE)), (1, RestoreError::Suite(0xEEA8))] {
        let mut newer = bytes.clone();
        newer[at.unwrap() + byte] = 0xEE;
        let refused = Entry::from_bytes(&newer).unwrap_err();
        assert_eq!(refused, EntryError::Newer(error));
        assert!(refused.to_string().contains("newer program"), "{refused}");
    }
}

#[test]
fn a_session_is_restored_where_its_device_was_last() {
    let (peer, local) = ("198.51.100.7:6000".parse().unwrap(), "192.0.2.3".parse().unwrap());
    let mut log = Log::of(&[
        Entry::Established(Box::new(established(1))),
        Entry::Moved {
            serial: 1,
            peer,
            local,
        },
        Entry::Moved {
            serial: 9,
            peer,
            local,
        },
    ]);
    let live = replay(&mut log).unwrap();
    assert_eq!((live[&1].peer, live[&1].local), (peer, local));
    assert_eq!(live.len(), 1);
}

#[test]
fn a_newer_kind_is_refused_and_named() {
    assert_eq!(Entry::from_bytes(&[77, 0]).unwrap_err(), EntryError::Kind(77));
    assert_eq!(Entry::from_bytes(&[]).unwrap_err(), EntryError::Malformed);
    let mut long = Entry::Ended { serial: 1 }.to_bytes();
    long.push(0);
    assert_eq!(Entry::from_bytes(&long).unwrap_err(), EntryError::Malformed);
}

proptest! {
    #[test]
    fn whatever_bytes_are_read_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::from_bytes(&bytes);
    }
}

#[test]
fn replay_ends_with_the_latest_of_every_living_session() {
    let mut log = Log::of(&[
        Entry::Established(Box::new(established(1))),
        Entry::Established(Box::new(established(2))),
        Entry::Reserved {
            serial: 1,
            end: 3 * RESERVATION,
        },
        Entry::Received { serial: 1, mark: 50 },
        Entry::Received { serial: 1, mark: 40 },
        Entry::Observes {
            serial: 1,
            relations: vec![relation(1), relation(2)],
        },
        Entry::Observes {
            serial: 1,
            relations: vec![relation(2)],
        },
        Entry::Ended { serial: 2 },
        Entry::Reserved {
            serial: 2,
            end: 9 * RESERVATION,
        },
    ]);
    let live = replay(&mut log).unwrap();
    assert_eq!(live.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(live[&1].session.reservation(), 3 * RESERVATION);
    assert_eq!(live[&1].session.receive_mark(), 50);
    assert_eq!(live[&1].relations, [relation(2)]);
}

#[test]
fn a_resumed_session_uses_no_number_twice_and_its_new_range_is_in_the_log_first() {
    let mut log = Log::of(&[Entry::Established(Box::new(established(1)))]);
    let (_inboxes, mailboxes) = mailboxes();
    for restart in 1..4 {
        let (journal, thread, mut restored) = start(Box::new(log.clone()), mailboxes.clone()).unwrap();
        let session = &mut restored[0].session;
        assert_eq!(session.next_record_number(), restart * RESERVATION);
        let in_log = replay(&mut log).unwrap()[&1].session.reservation();
        assert_eq!(in_log, session.reservation());
        assert_eq!(in_log, (restart + 1) * RESERVATION);
        drop(journal);
        thread.join().unwrap();
    }
}

#[test]
fn a_torn_end_moves_sessions_past_any_range_that_it_may_have_held() {
    let mut log = Log::of(&[Entry::Established(Box::new(established(1)))]);
    log.torn = 1000;
    let live = replay(&mut log).unwrap();
    assert!(live[&1].session.reservation() >= RESERVATION + 1000 / 17 * RESERVATION);
}

#[test]
fn a_range_may_be_used_only_once_it_is_synced() {
    let log = Log::of(&[Entry::Established(Box::new(established(1)))]);
    let (mut inboxes, mailboxes) = mailboxes();
    let (journal, thread, _) = start(Box::new(log.clone()), mailboxes).unwrap();
    let peer = PeerId::new(4, 1).unwrap();
    assert!(journal.reserve(1, 5 * RESERVATION, 0, peer));
    drop(journal);
    thread.join().unwrap();
    let granted = inboxes.messages.try_recv().unwrap();
    assert!(matches!(granted, Message::Reserved { peer: of, end } if of == peer && end == 5 * RESERVATION));
    let synced = log.synced.lock().unwrap();
    assert!(matches!(
        Entry::from_bytes(synced.last().unwrap()).unwrap(),
        Entry::Reserved { serial: 1, .. }
    ));
}

#[test]
fn a_log_that_fails_is_cleared_and_sessions_go_on_without_it() {
    let log = Log::of(&[Entry::Established(Box::new(established(1)))]);
    let (mut inboxes, mailboxes) = mailboxes();
    let (journal, thread, _) = start(Box::new(log.clone()), mailboxes).unwrap();
    log.full.store(true, Ordering::SeqCst);
    journal.reserve(1, 5 * RESERVATION, 0, PeerId::new(4, 1).unwrap());
    let watching = journal.is_kept.clone();
    drop(journal);
    thread.join().unwrap();
    assert!(!watching.load(Ordering::SeqCst));
    assert!(
        log.synced.lock().unwrap().is_empty(),
        "nothing may be restored from before the failure"
    );
    let granted = inboxes.messages.try_recv().unwrap();
    assert!(matches!(
        granted,
        Message::Reserved {
            end: MAX_RECORD_NUMBER,
            ..
        }
    ));
}

#[test]
fn a_log_that_can_neither_be_written_nor_cleared_grants_nothing() {
    let log = Log {
        stuck: true,
        ..Log::of(&[])
    };
    let full = log.full.clone();
    let (mut inboxes, mailboxes) = mailboxes();
    let (journal, thread, _) = start(Box::new(log), mailboxes).unwrap();
    full.store(true, Ordering::SeqCst);
    journal.reserve(1, 5 * RESERVATION, 0, PeerId::new(4, 1).unwrap());
    let watching = journal.is_kept.clone();
    drop(journal);
    thread.join().unwrap();
    assert!(watching.load(Ordering::SeqCst), "it may yet be read");
    assert!(inboxes.messages.try_recv().is_err());
}

#[test]
fn a_log_that_can_be_cleared_at_last_grants_what_was_asked_for_before() {
    let log = Log {
        stuck: true,
        ..Log::of(&[])
    };
    log.full.store(true, Ordering::SeqCst);
    let (mut inboxes, mailboxes) = mailboxes();
    let mut keeper = Keeper::new(Box::new(log.clone()), mailboxes);
    let now = clock::now();
    keeper.write(std::iter::once(reservation(5 * RESERVATION)), now);
    let again = keeper.tries_again_at().unwrap();
    keeper.try_again(again);
    assert!(inboxes.messages.try_recv().is_err());
    log.clears.store(MENDED, Ordering::SeqCst);
    keeper.try_again(keeper.tries_again_at().unwrap());
    assert!(matches!(
        inboxes.messages.try_recv().unwrap(),
        Message::Reserved {
            end: MAX_RECORD_NUMBER,
            ..
        }
    ));
}

#[test]
fn a_log_that_failed_is_tried_again_and_asks_for_every_session() {
    let log = Log::of(&[Entry::Established(Box::new(established(1)))]);
    let (mut inboxes, mailboxes) = mailboxes();
    let mut keeper = Keeper::new(Box::new(log.clone()), mailboxes);
    let now = clock::now();
    log.full.store(true, Ordering::SeqCst);
    keeper.write(std::iter::once(reservation(5 * RESERVATION)), now);
    assert!(!keeper.is_kept.load(Ordering::SeqCst));
    let granted = inboxes.messages.try_recv().unwrap();
    assert!(matches!(
        granted,
        Message::Reserved {
            end: MAX_RECORD_NUMBER,
            ..
        }
    ));

    let again = keeper.tries_again_at().unwrap();
    assert!(again > now);
    keeper.try_again(again);
    assert!(inboxes.messages.try_recv().is_err(), "the disk is still full");
    assert!(!keeper.is_kept.load(Ordering::SeqCst));

    log.full.store(false, Ordering::SeqCst);
    let again = keeper.tries_again_at().unwrap();
    keeper.try_again(again);
    assert!(matches!(inboxes.messages.try_recv().unwrap(), Message::LogAnew));
    assert!(keeper.is_kept.load(Ordering::SeqCst));
    assert!(keeper.tries_again_at().is_none());
    keeper.write(std::iter::once(reservation(7 * RESERVATION)), again);
    assert!(matches!(
        inboxes.messages.try_recv().unwrap(),
        Message::Reserved { end, .. } if end == 7 * RESERVATION
    ));
    assert_eq!(log.synced.lock().unwrap().len(), 1, "written from the start");
}

#[test]
fn a_start_without_room_goes_on_with_whom_the_log_held_and_keeps_nobody_to_be_restored_twice() {
    let log = Log::of(&[Entry::Established(Box::new(established(1)))]);
    log.full.store(true, Ordering::SeqCst);
    let (_inboxes, mailboxes) = mailboxes();
    let (journal, thread, restored) = start(Box::new(log.clone()), mailboxes).unwrap();
    assert_eq!(restored.len(), 1);
    assert!(!journal.is_kept());
    assert!(log.synced.lock().unwrap().is_empty());
    drop(journal);
    thread.join().unwrap();
}

fn reservation(end: u64) -> Note {
    Note {
        entry: Entry::Reserved { serial: 1, end },
        waiting: Some((0, PeerId::new(4, 1).unwrap())),
    }
}

fn mailboxes() -> (
    super::super::inbox::Inbox<testing::Thing>,
    Vec<Mailbox<testing::Thing>>,
) {
    let (mailbox, inbox) = mailbox();
    (inbox, vec![mailbox])
}

fn relation(resource: u8) -> SavedRelation {
    SavedRelation {
        resource,
        token: [resource; 8],
        token_len: 8,
        accept: None,
        sent: 1,
        sequence: 2,
    }
}

fn established(serial: u64) -> SavedPeer {
    let mut session = testing::session();
    session.reserve(RESERVATION);
    SavedPeer {
        serial,
        device: 42,
        credential: SavedCredential::Numbered(142),
        peer: "192.0.2.1:5000".parse().unwrap(),
        local: "192.0.2.2".parse().unwrap(),
        since_unix_ms: 1_800_000_000_000,
        session: session.save(),
        relations: Vec::new(),
    }
}

/// A log in memory that can be full, and so full that it cannot even be cleared.
#[derive(Clone, Default)]
struct Log {
    synced: Arc<Mutex<Vec<Vec<u8>>>>,
    appended: Vec<Vec<u8>>,
    torn: u64,
    full: Arc<AtomicBool>,
    stuck: bool,
    /// How often somebody tried to clear it; [`MENDED`] or more and it can be, stuck or not.
    clears: Arc<AtomicU32>,
}

const MENDED: u32 = 1 << 16;

impl Log {
    fn of(entries: &[Entry]) -> Self {
        let synced = entries.iter().map(|entry| entry.to_bytes().to_vec()).collect();
        Self {
            synced: Arc::new(Mutex::new(synced)),
            ..Self::default()
        }
    }

    fn has_room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl SessionJournal for Log {
    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        self.synced
            .lock()
            .unwrap()
            .iter()
            .try_for_each(|entry| each(entry))?;
        Ok(self.torn)
    }

    fn rewrite(&mut self, entries: &mut dyn Iterator<Item = Zeroizing<Vec<u8>>>) -> io::Result<()> {
        self.has_room()?;
        self.appended.clear();
        *self.synced.lock().unwrap() = entries.map(|entry| entry.to_vec()).collect();
        Ok(())
    }

    fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        self.appended.push(entry.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.has_room()?;
        self.synced.lock().unwrap().append(&mut self.appended);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        if self.clears.fetch_add(1, Ordering::SeqCst) < MENDED && self.stuck {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.appended.clear();
        self.synced.lock().unwrap().clear();
        Ok(())
    }

    fn size(&self) -> u64 {
        0
    }
}
