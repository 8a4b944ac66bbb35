//! Folders that cannot be served: refused with exit code 1 and a message that names the file, what is wrong with it and what
//! to do, and left as they were, byte for byte.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};

use crate::support::{PATIENCE, Server, noise};
use crate::walk;

#[test]
fn a_folder_that_cannot_be_served_is_refused_and_left_as_it_is() {
    let (stopped, killed) = (lived(true), lived(false));
    type Harm = (&'static str, fn(&Path), &'static [&'static str]);
    let harms: [Harm; 12] = [
        (
            "a database of a newer program",
            newer_schema,
            &["tessera.db", "999", "newer program"],
        ),
        (
            "a page of noise",
            |data| overwrite(&data.join("tessera.db"), 12),
            &["tessera.db", "damaged", "backup"],
        ),
        (
            "half a database",
            |data| cut(&data.join("tessera.db"), 2),
            &["tessera.db", "damaged", "backup"],
        ),
        (
            "a database of noise",
            |data| {
                lose_log(data);
                replace(&data.join("tessera.db"), &noise(7, 9000));
            },
            &["tessera.db", "damaged", "backup"],
        ),
        (
            "an empty database",
            |data| replace(&data.join("tessera.db"), b""),
            &["tessera.db", "empty", "backup"],
        ),
        (
            "no database",
            |data| fs::remove_file(data.join("tessera.db")).unwrap(),
            &["tessera.db", "missing", "backup"],
        ),
        (
            "no key",
            |data| fs::remove_file(data.join("installation.key")).unwrap(),
            &["installation.key", "missing", "backup"],
        ),
        (
            "another's key",
            |data| replace(&data.join("installation.key"), &[7; 32]),
            &["installation.key", "backup"],
        ),
        (
            "half a key",
            |data| cut(&data.join("installation.key"), 2),
            &["installation.key", "16 bytes", "backup"],
        ),
        (
            "a session log of a newer program",
            |data| patch(&data.join("sessions.log"), 7, &[3]),
            &["sessions.log", "version 3", "newer program"],
        ),
        (
            "another's session log",
            |data| patch(&data.join("sessions.log"), 20, &[1, 2, 3]),
            &["sessions.log", "installation key", "move"],
        ),
        (
            "a session log of noise",
            |data| replace(&data.join("sessions.log"), &noise(8, 500)),
            &["sessions.log", "not a session log", "move"],
        ),
    ];
    for (ending, server) in [("SIGTERM", &stopped), ("kill -9", &killed)] {
        let whole = copied(&server.data_dir());
        for (name, harm, says) in &harms {
            restore(&whole, &server.data_dir());
            harm(&server.data_dir());
            let before = copied(&server.data_dir());
            let (code, said) = refused(server);
            assert_eq!(code, Some(1), "{name} after {ending}: {said}");
            for word in *says {
                assert!(
                    said.contains(word),
                    "{name} after {ending} does not say {word:?}: {said}"
                );
            }
            let after = copied(&server.data_dir());
            let differs: Vec<_> = before
                .iter()
                .filter(|(file, bytes)| after.get(*file) != Some(bytes))
                .map(|(file, _)| file)
                .chain(after.keys().filter(|file| !before.contains_key(*file)))
                .collect();
            assert!(differs.is_empty(), "{name} after {ending} changed {differs:?}");
        }
        restore(&whole, &server.data_dir());
    }
    for mut server in [stopped, killed] {
        server.start_again();
        let found = server.done("GET", "devices?name=lamp-1", Value::Null);
        assert_eq!(
            found["items"].as_array().unwrap().len(),
            1,
            "the whole folder is served"
        );
    }
}

#[test]
fn a_page_that_is_damaged_while_it_is_served_fails_the_calls_that_need_it_and_says_so() {
    let mut server = Server::start();
    for n in 0..40 {
        let tags: Vec<String> = (0..8)
            .map(|tag| format!("a-tag-that-fills-a-page-{tag}"))
            .collect();
        server.done(
            "POST",
            "devices",
            json!({"name": format!("lamp-{n}"), "tags": tags}),
        );
    }
    server.terminate();
    server.start_again();
    let file = File::options()
        .write(true)
        .open(server.data_dir().join("tessera.db"))
        .unwrap();
    let pages = file.metadata().unwrap().len() / PAGE;
    // The first holds what tells SQLite that nothing has changed.
    for page in 1..pages {
        file.write_all_at(&noise(page, PAGE as usize), page * PAGE)
            .unwrap();
    }
    let (status, problem) = server.call("GET", "devices?limit=1000", Value::Null);
    assert_eq!(status, 500, "{problem:#}");
    assert_eq!(
        problem["type"], "urn:tessera:problem:database-damaged",
        "{problem:#}"
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("tessera.db") && detail.contains("backup"),
        "{detail}"
    );
    assert!(server.log().contains("ERROR"), "{}", server.log());
    // What is in memory is still served.
    server.done("GET", "packages", Value::Null);
    server.kill();
    assert_eq!(refused(&server).0, Some(1), "and the next start refuses it");
}

/// Starts it: its exit code and what it said. One that serves is killed.
fn refused(server: &Server) -> (Option<i32>, String) {
    let mut process = server.command().stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while process.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            process.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// A server that has served and is not running.
fn lived(ends_itself: bool) -> Server {
    let mut server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 3000));
    server.device("lamp-1", "lamps");
    server.deploy("lamps", "first", &[("main", "1.0.0")]);
    // So that an unfinished upload would be missed if it were swept.
    if ends_itself {
        assert!(server.terminate().success());
    } else {
        server.kill();
    }
    fs::write(server.data_dir().join("uploads/9"), b"unfinished").unwrap();
    server
}

fn newer_schema(data: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("tessera.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut database = options.connect().await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (999, 'the future', TRUE, x'00', 0)",
        )
        .execute(&mut database)
        .await
        .unwrap();
        database.close().await.unwrap();
    });
}

/// What a write-ahead log holds is read in place of what the database does.
fn lose_log(data: &Path) {
    let log = data.join("tessera.db-wal");
    if log.exists() {
        replace(&log, b"");
    }
}

/// Noise in place of a page, or of the last one.
fn overwrite(file: &Path, page: u64) {
    lose_log(file.parent().unwrap());
    let pages = fs::metadata(file).unwrap().len() / PAGE;
    patch(
        file,
        page.min(pages.saturating_sub(1)) * PAGE,
        &noise(3, PAGE as usize),
    );
}

fn cut(file: &Path, parts: u64) {
    lose_log(file.parent().unwrap());
    let length = fs::metadata(file).unwrap().len();
    File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(length / parts)
        .unwrap();
}

fn patch(file: &Path, at: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn replace(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).unwrap();
}

/// Every file and folder, except the index of the write-ahead log: SQLite makes that anew whenever it is missing.
fn copied(data: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    walk(data)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(data).unwrap().to_str().unwrap().to_owned();
            (name, path.is_file().then(|| fs::read(&path).unwrap()))
        })
        .filter(|(name, _)| !name.ends_with("-shm"))
        .collect()
}

fn restore(whole: &BTreeMap<String, Option<Vec<u8>>>, data: &Path) {
    fs::remove_dir_all(data).unwrap();
    fs::create_dir(data).unwrap();
    for (name, bytes) in whole {
        match bytes {
            None => fs::create_dir_all(data.join(name)).unwrap(),
            Some(bytes) => {
                fs::create_dir_all(data.join(name).parent().unwrap()).unwrap();
                fs::write(data.join(name), bytes).unwrap();
            }
        }
    }
}

const PAGE: u64 = 4096;
