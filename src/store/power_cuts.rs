//! The power is cut after every step of our own files' lives, and what may be left of them then is looked at.
//!
//! 1. A [`FrailDisk`] does in a real folder what it is asked, and keeps a record of it.
//! 2. From the record, [`FrailDisk::cut`] makes the folders that may be found after a cut: what was synced is there, what
//!    was not may be there, half there, zeros, or not there, every name and every file by itself.
//! 3. Each is opened as the next start would, and held against what had been acknowledged.
//!
//! That the model is strict enough is shown by leaving out one sync after the other: every one of them is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use super::blobs::Blobs;
use super::disk::{Disk, DiskFile, Existing, LocalDisk};
use super::folder::{self, Folder};
use super::seal::Sealer;
use super::sessions::SessionLog;
use crate::fleet::Digest;

// ------------------------------------------------------------------------------------------------- artifact bytes

#[test]
fn adopted_bytes_survive_every_power_cut_whole_and_no_name_has_others() {
    let disk = FrailDisk::new(Fault::None);
    let adopted = keep_blobs(&disk);
    assert_eq!(adopted.len(), 4, "nothing failed");
    let looked_at = every_cut_of_blobs(&disk, &adopted).unwrap();
    assert!(looked_at > 500, "{looked_at}");
}

#[test]
fn every_sync_of_artifact_bytes_is_missed_if_it_is_left_out() {
    // By what is synced: a folder is synced when it is made and again at each adoption, in case the former failed, and
    // where nothing fails either would do.
    let syncs = syncs_of(|disk| drop(keep_blobs(disk)));
    let kind = |sync: &str| match sync.split('/').collect::<Vec<_>>()[..] {
        ["uploads", _] => "an upload",
        ["blobs", _] => "a shelf",
        ["blobs"] => "the shelves",
        [""] => "the data folder",
        _ => panic!("{sync}"),
    };
    for left_out in ["an upload", "a shelf", "the shelves", "the data folder"] {
        let numbers = (0..syncs.len()).filter(|&number| kind(&syncs[number]) == left_out);
        let disk = FrailDisk::new(Fault::DeafTo(numbers.collect()));
        let adopted = keep_blobs(&disk);
        let looked = every_cut_of_blobs(&disk, &adopted);
        assert!(looked.is_err(), "the syncs of {left_out} left out");
    }
}

#[test]
fn an_error_at_any_step_of_an_adoption_is_told_and_costs_nothing_else() {
    let steps = {
        let disk = FrailDisk::new(Fault::None);
        keep_blobs(&disk);
        disk.steps()
    };
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for step in 0..steps {
            let disk = FrailDisk::new(Fault::At { step, kind });
            let adopted = keep_blobs(&disk);
            assert!(
                adopted.len() < 4 || disk.steps() >= steps,
                "step {step} was not told"
            );
            // Bytes that could not be kept can be brought again.
            let again = keep_blobs(&disk);
            assert_eq!(again.len(), 4, "after an error in step {step}");
            let all: Vec<_> = adopted.into_iter().chain(again).collect();
            let end = disk.happened();
            for at in [end - 1, end] {
                disk.cut(at, &mut |folder| {
                    blobs_are_whole(folder, &acknowledged_by(&all, at))
                })
                .unwrap_or_else(|error| panic!("{kind:?} at step {step}, cut at {at}: {error}"));
            }
        }
    }
}

/// Uploads, the first two to one shelf, one of them twice. Returns what was acknowledged, and after which step.
fn keep_blobs(disk: &FrailDisk) -> Vec<(usize, Digest)> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let Ok(blobs) = Blobs::open_in(shared, disk.folder()) else {
        return Vec::new();
    };
    let (first, second) = two_on_one_shelf();
    let mut adopted = Vec::new();
    for bytes in [&first, &second, &b"elsewhere".to_vec(), &first] {
        let keep = || -> Option<Digest> {
            let mut upload = blobs.begin(1000).ok()?;
            let (head, tail) = bytes.split_at(2);
            upload.write(head).ok()?;
            upload.write(tail).ok()?;
            let stored = upload.finish(None).ok()?;
            let digest = stored.digest;
            blobs.adopt(stored).ok().map(|()| digest)
        };
        if let Some(digest) = keep() {
            adopted.push((disk.happened(), digest));
        }
    }
    adopted
}

fn every_cut_of_blobs(disk: &FrailDisk, adopted: &[(usize, Digest)]) -> Result<usize, String> {
    let mut looked_at = 0;
    for at in 0..=disk.happened() {
        looked_at += disk.cut(at, &mut |folder| {
            blobs_are_whole(folder, &acknowledged_by(adopted, at))
        })?;
    }
    Ok(looked_at)
}

fn acknowledged_by(adopted: &[(usize, Digest)], at: usize) -> BTreeSet<[u8; 32]> {
    let adopted = adopted.iter().filter(|(after, _)| *after <= at);
    adopted.map(|(_, digest)| digest.0).collect()
}

fn blobs_are_whole(folder: &Path, acknowledged: &BTreeSet<[u8; 32]>) -> Result<(), String> {
    let blobs = Blobs::open_in(Arc::new(Unsynced), folder).map_err(|error| error.to_string())?;
    for digest in acknowledged {
        let digest = Digest(*digest);
        blobs
            .open(&digest)
            .map_err(|error| format!("{digest} was acknowledged: {error}"))?;
    }
    for path in files_below(&folder.join("blobs")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is = Digest::of(&fs::read(&path).unwrap()).to_string();
        if is != name {
            return Err(format!("{name} has bytes of {is}"));
        }
    }
    match files_below(&folder.join("uploads")).as_slice() {
        [] => Ok(()),
        left => Err(format!("left behind: {left:?}")),
    }
}

/// Bytes whose digests begin with the same byte.
fn two_on_one_shelf() -> (Vec<u8>, Vec<u8>) {
    let first = b"bytes".to_vec();
    let shelf = Digest::of(&first).0[0];
    let second = (0_u32..)
        .map(|n| n.to_be_bytes().to_vec())
        .find(|bytes| Digest::of(bytes).0[0] == shelf);
    (first, second.unwrap())
}

// ---------------------------------------------------------------------------------------------- the session log

#[test]
fn the_session_log_after_a_power_cut_is_no_older_than_its_last_sync() {
    let disk = FrailDisk::new(Fault::None);
    let life = keep_log(&disk);
    assert!(life.states.iter().all(|state| state.acknowledged.is_some()));
    let looked_at = every_cut_of_log(&disk, &life).unwrap();
    assert!(looked_at > 80, "{looked_at}");
}

#[test]
fn every_sync_of_the_session_log_is_missed_if_it_is_left_out() {
    let syncs = syncs_of(|disk| drop(keep_log(disk)));
    for (number, sync) in syncs.iter().enumerate() {
        let disk = FrailDisk::new(Fault::DeafTo(vec![number]));
        let life = keep_log(&disk);
        let looked = every_cut_of_log(&disk, &life);
        // Emptying a file gives it no other name: the folder is synced then for a rename before it that may not have been.
        let needless = sync.is_empty() && syncs[number - 1] == "sessions.log";
        assert_eq!(looked.is_ok(), needless, "sync {number}, of {sync:?}, left out");
    }
}

#[test]
fn an_error_at_any_step_of_the_session_log_closes_it_until_it_is_rewritten() {
    let steps = {
        let disk = FrailDisk::new(Fault::None);
        keep_log(&disk);
        disk.steps()
    };
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for step in 0..steps {
            let disk = FrailDisk::new(Fault::At { step, kind });
            let mut life = keep_log(&disk);
            assert!(
                life.states.iter().any(|state| state.acknowledged.is_none()),
                "step {step} was not told"
            );
            // The disk works again: cleared and rewritten, the log does too.
            let mut log = open_log(&disk);
            let begun = disk.happened();
            log.clear().unwrap();
            life.did(&disk, vec![], begun, true);
            let begun = disk.happened();
            log.rewrite(&mut entries(&["anew"])).unwrap();
            life.did(&disk, vec!["anew"], begun, true);
            every_cut_of_log(&disk, &life).unwrap_or_else(|error| panic!("{kind:?} at step {step}: {error}"));
        }
    }
}

/// What the log held at which time, in order.
struct Life {
    states: Vec<State>,
}

/// What the log holds once something was done to it.
struct State {
    entries: Vec<&'static str>,
    /// How much had happened when it was begun.
    begun: usize,
    /// How much had happened when it was acknowledged as durable; `None` if it never was.
    acknowledged: Option<usize>,
}

impl Life {
    fn did(&mut self, disk: &FrailDisk, entries: Vec<&'static str>, begun: usize, done: bool) {
        self.states.push(State {
            entries,
            begun,
            acknowledged: done.then(|| disk.happened()),
        });
    }
}

/// The life of a log, up to its first failure.
fn keep_log(disk: &FrailDisk) -> Life {
    let mut log = open_log(disk);
    let mut life = Life { states: Vec::new() };
    life.did(disk, vec![], 0, true);
    let steps = [
        Step::Rewrite(&["one", "two"]),
        Step::Append(&["three"]),
        Step::Append(&["four", "five"]),
        Step::Rewrite(&["two", "five"]),
        Step::Append(&["six"]),
        Step::Clear,
        Step::Rewrite(&["seven"]),
        Step::Append(&["eight"]),
    ];
    for step in steps {
        let begun = disk.happened();
        let done = match step {
            Step::Rewrite(all) => log.rewrite(&mut entries(all)),
            Step::Append(new) => {
                let appended = new.iter().try_for_each(|entry| log.append(entry.as_bytes()));
                appended.and_then(|()| log.sync())
            }
            Step::Clear => log.clear(),
        }
        .is_ok();
        match step {
            Step::Rewrite(all) => life.did(disk, all.to_vec(), begun, done),
            Step::Append(new) => {
                let last = life.states.last().unwrap().entries.clone();
                for count in 1..=new.len() {
                    life.did(disk, [&last[..], &new[..count]].concat(), begun, done);
                }
            }
            Step::Clear => life.did(disk, vec![], begun, done),
        }
        if !done {
            break;
        }
    }
    life
}

#[derive(Clone, Copy)]
enum Step {
    Rewrite(&'static [&'static str]),
    Append(&'static [&'static str]),
    Clear,
}

/// What is found is one of the states between the last that was acknowledged and the last that was begun.
fn every_cut_of_log(disk: &FrailDisk, life: &Life) -> Result<usize, String> {
    let mut looked_at = 0;
    for at in 0..=disk.happened() {
        let acknowledged = |state: &State| state.acknowledged.is_some_and(|after| after <= at);
        let from = life.states.iter().rposition(acknowledged).unwrap_or(0);
        let states = &life.states[from..];
        let allowed: Vec<&Vec<&str>> = states
            .iter()
            .filter(|state| state.begun <= at)
            .map(|state| &state.entries)
            .collect();
        looked_at += disk.cut(at, &mut |folder| {
            let mut log = log_in(folder, Arc::new(Unsynced), Arc::clone(&disk.sealer));
            let mut found = Vec::new();
            log.read(&mut |entry| {
                found.push(String::from_utf8(entry.to_vec()).unwrap());
                Ok(())
            })
            .map_err(|error| format!("cut at {at}: {error}"))?;
            if allowed.iter().any(|entries| **entries == found) {
                Ok(())
            } else {
                Err(format!("cut at {at}: {found:?} and none of {allowed:?}"))
            }
        })?;
    }
    Ok(looked_at)
}

fn open_log(disk: &FrailDisk) -> SessionLog {
    log_in(disk.folder(), Arc::new(disk.clone()), Arc::clone(&disk.sealer))
}

fn log_in(folder: &Path, disk: Arc<dyn Disk>, sealer: Arc<Sealer>) -> SessionLog {
    let folder = Folder::open(&LocalDisk, folder).unwrap();
    SessionLog::new(Arc::new(folder), disk, sealer)
}

fn entries<'t>(texts: &'t [&str]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + use<'t> {
    texts.iter().map(|text| Zeroizing::new(text.as_bytes().to_vec()))
}

// ------------------------------------------------------------------------- the installation key and the folder

#[test]
fn an_installation_key_that_was_made_survives_every_power_cut_and_none_is_half_there() {
    let make = |disk: &FrailDisk| {
        let path = disk.folder().join("installation.key");
        Sealer::make(disk, &path).map(|sealer| sealer.seal(b"x", b"secret"))
    };
    let every_cut = |disk: &FrailDisk, sealed: &[u8]| -> Result<(), String> {
        for at in 0..=disk.happened() {
            disk.cut(at, &mut |folder| {
                let found = Sealer::read(&folder.join("installation.key")).map_err(|e| e.to_string())?;
                match found {
                    None if at < disk.happened() => Ok(()),
                    None => Err("the key is gone".to_owned()),
                    Some(sealer) => sealer
                        .open_sealed(b"x", sealed)
                        .map(drop)
                        .map_err(|error| error.to_string()),
                }
            })?;
        }
        Ok(())
    };
    let disk = FrailDisk::new(Fault::None);
    let sealed = make(&disk).unwrap();
    every_cut(&disk, &sealed).unwrap();
    for (number, sync) in syncs_of(|disk| drop(make(disk))).iter().enumerate() {
        let disk = FrailDisk::new(Fault::DeafTo(vec![number]));
        let sealed = make(&disk).unwrap();
        assert!(every_cut(&disk, &sealed).is_err(), "{sync} left out");
    }
}

#[test]
fn a_folder_that_was_made_survives_with_its_parents() {
    let disk = FrailDisk::new(Fault::None);
    folder::create(&disk, &disk.folder().join("a/b/data")).unwrap();
    disk.cut(disk.happened(), &mut |folder| {
        folder
            .join("a/b/data")
            .is_dir()
            .then_some(())
            .ok_or_else(|| "it is gone".to_owned())
    })
    .unwrap();
}

// ------------------------------------------------------------------------------------------------------ the disk

/// A disk that remembers what it was asked, and fails where it is told to.
#[derive(Debug, Clone)]
struct FrailDisk {
    record: Arc<Mutex<Record>>,
    root: Arc<tempfile::TempDir>,
    sealer: Arc<Sealer>,
}

#[derive(Debug, Clone)]
enum Fault {
    None,
    /// These syncs, counted from 0, do nothing and say that they did.
    DeafTo(Vec<usize>),
    /// This step, counted from 0, fails.
    At {
        step: usize,
        kind: io::ErrorKind,
    },
}

#[derive(Debug)]
struct Record {
    fault: Fault,
    steps: usize,
    /// What each sync was of: a file or a folder, below the root.
    syncs: Vec<String>,
    happened: Vec<Happened>,
    /// Which file has a name now.
    named: BTreeMap<PathBuf, usize>,
    files: usize,
}

/// Something that changed the disk.
#[derive(Debug, Clone)]
enum Happened {
    Made {
        at: PathBuf,
        file: usize,
    },
    MadeFolder {
        at: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        at: PathBuf,
    },
    SyncedFolder {
        at: PathBuf,
    },
    Wrote {
        file: usize,
        bytes: Vec<u8>,
    },
    Emptied {
        file: usize,
    },
    Synced {
        file: usize,
    },
    /// What was not synced before may be lost even if a later sync succeeds.
    FailedToSync {
        file: usize,
    },
}

impl FrailDisk {
    fn new(fault: Fault) -> Self {
        let keys = in_memory();
        Self {
            record: Arc::new(Mutex::new(Record {
                fault,
                steps: 0,
                syncs: Vec::new(),
                happened: Vec::new(),
                named: BTreeMap::new(),
                files: 0,
            })),
            root: Arc::new(in_memory()),
            sealer: Arc::new(Sealer::make(&Unsynced, &keys.path().join("key")).unwrap()),
        }
    }

    fn folder(&self) -> &Path {
        self.root.path()
    }

    fn happened(&self) -> usize {
        self.record.lock().unwrap().happened.len()
    }

    fn steps(&self) -> usize {
        self.record.lock().unwrap().steps
    }

    /// Gives `look` the folders that may be found when the power goes after `at` things have happened. Returns how many
    /// there were; ends with the first complaint.
    fn cut(&self, at: usize, look: &mut dyn FnMut(&Path) -> Result<(), String>) -> Result<usize, String> {
        let record = self.record.lock().unwrap();
        let left = Left::after(&record.happened[..at], self.folder());
        // A run with an error in it is one of a hundred.
        let choices = left.choices(match record.fault {
            Fault::At { .. } => CHOICES_MAX / 8,
            Fault::DeafTo(_) | Fault::None => CHOICES_MAX,
        });
        drop(record);
        for choice in &choices {
            let folder = in_memory();
            left.make(choice, folder.path());
            look(folder.path())?;
        }
        Ok(choices.len())
    }

    /// Counts a step; an error if it is the one to fail.
    fn step(&self) -> io::Result<()> {
        let mut record = self.record.lock().unwrap();
        record.steps += 1;
        match &record.fault {
            Fault::At { step, kind } if step + 1 == record.steps => Err((*kind).into()),
            Fault::At { .. } | Fault::DeafTo(_) | Fault::None => Ok(()),
        }
    }

    /// Counts a sync; false if it is the one to be left out.
    fn hears(&self, of: &Path) -> bool {
        let mut record = self.record.lock().unwrap();
        let number = record.syncs.len();
        let of = of.strip_prefix(self.folder()).unwrap();
        record.syncs.push(of.to_str().unwrap().to_owned());
        !matches!(&record.fault, Fault::DeafTo(numbers) if numbers.contains(&number))
    }

    fn note(&self, happened: Happened) {
        self.record.lock().unwrap().happened.push(happened);
    }

    fn file(&self, number: usize, path: &Path, real: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FrailFile {
            disk: self.clone(),
            number,
            opened_as: path.to_owned(),
            real,
        })
    }
}

impl Disk for FrailDisk {
    fn allocate(&self, _: &Path, _: u64) -> io::Result<()> {
        unreachable!("room is kept by who counts, and nobody does here")
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>> {
        self.step()?;
        let real = LocalDisk.create(path, existing)?;
        let mut record = self.record.lock().unwrap();
        let number = match record.named.get(path) {
            Some(&file) => {
                record.happened.push(Happened::Emptied { file });
                file
            }
            None => {
                record.files += 1;
                let file = record.files;
                record.named.insert(path.to_owned(), file);
                let at = path.to_owned();
                record.happened.push(Happened::Made { at, file });
                file
            }
        };
        drop(record);
        Ok(self.file(number, path, real))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.step()?;
        let real = LocalDisk.open(path)?;
        let number = self.record.lock().unwrap().named[path];
        Ok(self.file(number, path, real))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.create_folder(path)?;
        self.note(Happened::MadeFolder { at: path.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.rename(from, to)?;
        let mut record = self.record.lock().unwrap();
        let file = record.named.remove(from).unwrap();
        record.named.insert(to.to_owned(), file);
        let (from, to) = (from.to_owned(), to.to_owned());
        record.happened.push(Happened::Renamed { from, to });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.remove(path)?;
        self.record.lock().unwrap().named.remove(path);
        self.note(Happened::Removed { at: path.to_owned() });
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        if self.hears(folder) {
            self.note(Happened::SyncedFolder {
                at: folder.to_owned(),
            });
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FrailFile {
    disk: FrailDisk,
    number: usize,
    opened_as: PathBuf,
    real: Box<dyn DiskFile>,
}

impl DiskFile for FrailFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fails = self.disk.step();
        // A disk takes what it has room for before it says that it is full.
        let taken = if fails.is_err() {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        self.real.write_all(taken)?;
        self.disk.note(Happened::Wrote {
            file: self.number,
            bytes: taken.to_vec(),
        });
        fails
    }

    fn empty(&mut self) -> io::Result<()> {
        self.disk.step()?;
        self.real.empty()?;
        self.disk.note(Happened::Emptied { file: self.number });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.number;
        if let Err(error) = self.disk.step() {
            self.disk.note(Happened::FailedToSync { file });
            return Err(error);
        }
        if self.disk.hears(&self.opened_as) {
            self.disk.note(Happened::Synced { file });
        }
        Ok(())
    }
}

/// What a folder that was found after a cut is opened with: syncing each of thousands would only take time.
#[derive(Debug)]
struct Unsynced;

impl Disk for Unsynced {
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        LocalDisk.allocate(path, bytes)
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn DiskFile>> {
        LocalDisk.create(path, existing)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        LocalDisk.open(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        LocalDisk.create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

fn syncs_of(live: impl Fn(&FrailDisk)) -> Vec<String> {
    let disk = FrailDisk::new(Fault::None);
    live(&disk);
    let record = disk.record.lock().unwrap();
    record.syncs.clone()
}

// ----------------------------------------------------------------------------------------------- after a power cut

/// What is certain and what is open after a power cut.
#[derive(Debug, Default)]
struct Left {
    /// What each name may stand for, the certain one first.
    names: BTreeMap<PathBuf, Vec<Option<Node>>>,
    /// What each file may hold.
    contents: BTreeMap<usize, Vec<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder,
}

/// A change of a file's bytes.
#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Empty,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Half of the bytes, the rest zeros.
    Torn,
    /// There is room for it, in zeros.
    Zeros,
    Lost,
}

impl Left {
    fn after(happened: &[Happened], root: &Path) -> Self {
        let relative = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
        let mut names: BTreeMap<PathBuf, Vec<Option<Node>>> = BTreeMap::new();
        let mut changes: BTreeMap<usize, Vec<(Change, bool)>> = BTreeMap::new();
        let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
        // Since when a file's changes have been waiting for a sync that did not fail.
        let mut doubted: BTreeMap<usize, usize> = BTreeMap::new();
        fn name(names: &mut BTreeMap<PathBuf, Vec<Option<Node>>>, at: PathBuf, node: Option<Node>) {
            names.entry(at).or_insert_with(|| vec![None]).push(node);
        }
        for step in happened {
            match step {
                Happened::Made { at, file } => name(&mut names, relative(at), Some(Node::File(*file))),
                Happened::MadeFolder { at } => name(&mut names, relative(at), Some(Node::Folder)),
                Happened::Renamed { from, to } => {
                    let node = names[&relative(from)].last().copied().flatten();
                    name(&mut names, relative(to), node);
                    name(&mut names, relative(from), None);
                }
                Happened::Removed { at } => name(&mut names, relative(at), None),
                Happened::SyncedFolder { at } => {
                    let folder = relative(at);
                    for (path, states) in &mut names {
                        if path.parent() == Some(&folder) {
                            states.drain(..states.len() - 1);
                        }
                    }
                }
                Happened::Wrote { file, bytes } => {
                    let end = ends.entry(*file).or_default();
                    let change = Change::Write {
                        at: *end,
                        bytes: bytes.clone(),
                    };
                    *end += bytes.len();
                    changes.entry(*file).or_default().push((change, false));
                }
                Happened::Emptied { file } => {
                    ends.insert(*file, 0);
                    changes.entry(*file).or_default().push((Change::Empty, false));
                }
                Happened::Synced { file } => {
                    let all = changes.entry(*file).or_default();
                    let from = doubted.get(file).copied().unwrap_or(0);
                    all[from..].iter_mut().for_each(|(_, certain)| *certain = true);
                }
                Happened::FailedToSync { file } => {
                    doubted.insert(*file, changes.entry(*file).or_default().len());
                }
            }
        }
        let contents = changes
            .into_iter()
            .map(|(file, changes)| (file, contents(&changes)))
            .collect();
        Self { names, contents }
    }

    /// Which of the open questions is answered how: all combinations, or where they are too many a fixed selection.
    fn choices(&self, max: usize) -> Vec<Vec<usize>> {
        let sizes: Vec<usize> = self
            .names
            .values()
            .map(Vec::len)
            .chain(self.contents.values().map(Vec::len))
            .collect();
        let all = sizes
            .iter()
            .try_fold(1_usize, |all, size| all.checked_mul(*size))
            .unwrap_or(usize::MAX);
        let number = |mut number: usize| -> Vec<usize> {
            sizes
                .iter()
                .map(|size| {
                    let digit = number % size;
                    number /= size;
                    digit
                })
                .collect()
        };
        if all <= max {
            return (0..all).map(number).collect();
        }
        // Nothing of what is open, all of it, and between them spread by a multiplier that is odd and large.
        let spread = (1..max - 1).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % all);
        std::iter::once(0)
            .chain(spread)
            .chain([all - 1])
            .map(number)
            .collect()
    }

    fn make(&self, choice: &[usize], folder: &Path) {
        let (of_names, of_contents) = choice.split_at(self.names.len());
        let contents: BTreeMap<usize, &[u8]> = self
            .contents
            .iter()
            .zip(of_contents)
            .map(|((file, contents), chosen)| (*file, contents[*chosen].as_slice()))
            .collect();
        // In the order of the paths, so that folders come before what is in them.
        for ((path, states), chosen) in self.names.iter().zip(of_names) {
            let at = folder.join(path);
            if !at.parent().unwrap().is_dir() {
                continue;
            }
            match states[*chosen] {
                None => {}
                Some(Node::Folder) => fs::create_dir(&at).unwrap(),
                Some(Node::File(file)) => fs::write(&at, contents.get(&file).unwrap_or(&&[][..])).unwrap(),
            }
        }
    }
}

/// What a file may hold: everything that is certain, and of the rest some beginning, the next change torn or in zeros, or all
/// but one.
fn contents(changes: &[(Change, bool)]) -> Vec<Vec<u8>> {
    let open: Vec<usize> = (0..changes.len()).filter(|&n| !changes[n].1).collect();
    let mut found = Vec::new();
    let mut add = |fate: &dyn Fn(usize) -> Fate| {
        let bytes = replay(changes, &|n| if changes[n].1 { Fate::Kept } else { fate(n) });
        if !found.contains(&bytes) {
            found.push(bytes);
        }
    };
    for end in 0..=open.len() {
        let next = open.get(end).copied();
        let before = next.unwrap_or(usize::MAX);
        for of_next in [Fate::Lost, Fate::Torn, Fate::Zeros] {
            add(&|n| match n.cmp(&before) {
                std::cmp::Ordering::Less => Fate::Kept,
                std::cmp::Ordering::Equal => of_next,
                std::cmp::Ordering::Greater => Fate::Lost,
            });
        }
        if let Some(next) = next {
            add(&|n| if n == next { Fate::Lost } else { Fate::Kept });
        }
    }
    found
}

fn replay(changes: &[(Change, bool)], fate: &dyn Fn(usize) -> Fate) -> Vec<u8> {
    let mut held = Vec::new();
    for (number, (change, _)) in changes.iter().enumerate() {
        let fate = fate(number);
        match change {
            Change::Empty if fate == Fate::Kept => held.clear(),
            Change::Empty => {}
            Change::Write { .. } if fate == Fate::Lost => {}
            Change::Write { at, bytes } => {
                let survives = match fate {
                    Fate::Kept => bytes.len(),
                    Fate::Torn => bytes.len() / 2,
                    Fate::Zeros | Fate::Lost => 0,
                };
                let end = at + bytes.len();
                if held.len() < end {
                    held.resize(end, 0);
                }
                held[*at..at + survives].copy_from_slice(&bytes[..survives]);
            }
        }
    }
    held
}

/// A folder, in memory where the machine has such: there are thousands.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Folders looked at for one cut.
const CHOICES_MAX: usize = 300;
