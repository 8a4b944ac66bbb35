//! The crash matrix: in a short life, from the first start to a planned stop, the process is killed at every write, sync and
//! rename in turn, just before the kernel does it, and after every effect just before it is acknowledged.
//!
//! 1. One life under `strace` says which calls change which file, or answer somebody.
//! 2. For every such call and every n: a life in a folder of its own is killed at the n-th time, until one survives.
//!    `strace` counts for each thread; nearly every pair of a call and a file is one thread's, so its n-th time is the n-th
//!    that there is. (Answers and syncs of the data folder are not: some of the slower thread's are not reached. What is printed
//!    tells how many.)
//! 3. A start on the killed folder is killed too, somewhere. Then it is served again: what was acknowledged is there, what is
//!    there is whole, nothing unfinished is left, and everything works.
//!
//! Most of the calls are writes of single pages of the database and its log: `CRASH_MATRIX=sample` takes every third of those.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::device::Connected;
use crate::support::{KEY, Server, noise, sha256_hex};
use crate::walk;

#[test]
fn killed_at_every_write_sync_and_rename_nothing_acknowledged_is_lost_and_nothing_is_half_done() {
    let points = points();
    let sample = std::env::var("CRASH_MATRIX").is_ok_and(|value| value == "sample");
    let lives: Vec<(&Point, usize)> = points
        .iter()
        .flat_map(|(point, &times)| {
            let stride = if sample { point.stride() } else { 1 };
            // One more than there were: a life that survives shows that there are no others.
            (1..=times + 1).step_by(stride).map(move |n| (point, n))
        })
        .collect();
    let calls: usize = points.values().sum();
    println!("{calls} calls in {} kinds, {} lives", points.len(), lives.len());
    let (next, killed) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<&Point, usize>::new()));
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(2, usize::from).max(2);
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(point, n)) = lives.get(number) else {
                        break;
                    };
                    if live_killed_and_again(point, n, number % RESTART_CALLS + 1) {
                        *killed.lock().unwrap().entry(point).or_default() += 1;
                    }
                }
            });
        }
    });
    let killed = killed.into_inner().unwrap();
    let missed: Vec<_> = points
        .keys()
        .filter(|point| !killed.contains_key(point))
        .collect();
    println!("{} of them were killed", killed.values().sum::<usize>());
    assert!(missed.is_empty(), "never killed at {missed:?}");
}

/// A call that changes a file of the folder, or answers somebody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    /// Below the data folder; `None` for an answer.
    file: Option<String>,
}

impl Point {
    fn stride(&self) -> usize {
        if self.call == "pwrite64" { STRIDE } else { 1 }
    }
}

/// What an undisturbed life does, and how often.
fn points() -> BTreeMap<Point, usize> {
    let mut server = Server::not_started(SETTINGS);
    let record = server.folder.path().join("calls");
    let calls = [CHANGES, ANSWERS].concat().join(",");
    let prefix = strace(&[
        "-y",
        "-o",
        record.to_str().unwrap(),
        "-e",
        &format!("trace={calls}"),
    ]);
    assert!(server.start_under(&prefix), "{}", server.log());
    let mut acknowledged = Acknowledged::default();
    live(&mut server, &mut acknowledged).expect("nobody kills it");
    assert!(server.wait().success());
    let mut found = BTreeMap::new();
    let data = server.data_dir();
    for line in fs::read_to_string(record).unwrap().lines() {
        if let Some(point) = point_in(line, data.to_str().unwrap()) {
            *found.entry(point).or_default() += 1;
        }
    }
    for expected in [
        "pwrite64",
        "fsync",
        "fdatasync",
        "rename",
        "unlink",
        "mkdir",
        "openat",
    ] {
        assert!(
            found.keys().any(|point| point.call == expected),
            "no {expected} in {found:?}"
        );
    }
    assert!(
        found.keys().any(|point| point.file.is_none()),
        "no answers in {found:?}"
    );
    found
}

/// `7 rename("/d/data/a", "/d/data/b") = 0`, `7 write(3</d/data/a>, …` or `7 sendto(9<socket:[1]>, …`.
fn point_in(line: &str, data: &str) -> Option<Point> {
    let (_, rest) = line.split_once(' ')?;
    let (call, arguments) = rest.trim_start().split_once('(')?;
    if ANSWERS.contains(&call) {
        return arguments.contains("<socket:").then(|| Point {
            call: call.to_owned(),
            file: None,
        });
    }
    if call == "openat" && !arguments.contains("O_CREAT") {
        return None;
    }
    let arguments = arguments.split(" = ").next()?;
    // A descriptor's path for a write, the old name for a rename.
    let at = arguments.find(data)?;
    let file = arguments[at + data.len()..].trim_start_matches('/');
    let file = file.split(['"', '>']).next()?;
    Some(Point {
        call: call.to_owned(),
        file: Some(file.to_owned()),
    })
}

/// A life that is killed at the n-th time of a call, and what is left of it after a start that was killed as well, the
/// `restart`-th time that a thread of it changed something. False if the life survived.
fn live_killed_and_again(point: &Point, n: usize, restart: usize) -> bool {
    let mut server = Server::not_started(SETTINGS);
    let what = format!("{point:?}, time {n}");
    let inject = format!("inject={}:signal=KILL:when={n}", point.call);
    let trace = format!("trace={}", point.call);
    let path;
    let mut options = vec!["-o", "/dev/null", "-e", &trace, "-e", &inject];
    if let Some(file) = &point.file {
        path = match file.as_str() {
            "" => server.data_dir(),
            file => server.data_dir().join(file),
        };
        options.extend(["-P", path.to_str().unwrap()]);
    }
    let mut acknowledged = Acknowledged::default();
    let ready = server.start_under(&strace(&options));
    let lived = ready && live(&mut server, &mut acknowledged).is_some();
    let status = server.wait();
    let killed = status.signal() == Some(9);
    assert!(
        killed || (lived && status.success()),
        "{what}: {status}\n{}",
        server.log()
    );

    let inject = format!("inject={}:signal=KILL:when={restart}", CHANGES.join(","));
    let trace = format!("trace={}", CHANGES.join(","));
    server.start_under(&strace(&["-o", "/dev/null", "-e", &trace, "-e", &inject]));
    server.kill();
    let what = format!("{what}, and at change {restart} of the restart");

    server.start_again();
    acknowledged.all_there(&server, &what);
    whole(&server, &what);
    let highest = acknowledged.sequences.last().copied().unwrap_or(0);
    works(&server, highest, &what);
    server.kill();
    killed
}

#[derive(Default)]
struct Acknowledged {
    /// Package versions, with the SHA-256 of their bytes.
    artifacts: BTreeMap<String, String>,
    /// An artifact that was deleted.
    deleted: bool,
    cohort: bool,
    device: bool,
    sequences: BTreeSet<u64>,
    /// The last report, as an index of [`REPORTS`].
    report: Option<usize>,
}

/// The life: `None` from the first call on that is not answered.
fn live(server: &mut Server, acknowledged: &mut Acknowledged) -> Option<()> {
    let done = |method: &str, path: &str, body: &Value| -> Option<Value> {
        let bytes = serde_json::to_vec(body).unwrap();
        let bytes = if body.is_null() { &[][..] } else { &bytes };
        let (status, answer) = server
            .try_send(method, path, "application/json", &[], bytes)
            .ok()?;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer:#}\n{}",
            server.log()
        );
        Some(answer)
    };
    let put = |version: &str, bytes: &[u8]| -> Option<()> {
        let path = format!("packages/main/artifacts/{version}");
        let (status, answer) = server
            .try_send("PUT", &path, "application/octet-stream", &[], bytes)
            .ok()?;
        assert!(
            status == 201 || status == 200,
            "{status} {answer:#}\n{}",
            server.log()
        );
        Some(())
    };
    let deploy = |version: &str| -> Option<u64> {
        let artifacts = json!([{"package": "main", "version": version}]);
        let body = json!({"name": format!("to {version}"), "artifacts": artifacts});
        done("POST", "cohorts/lamps/deployments", &body)?["sequence"].as_u64()
    };
    done("POST", "packages", &json!({"name": "main"}))?;
    put("1.0.0", &image("1.0.0"))?;
    acknowledged
        .artifacts
        .insert("1.0.0".into(), sha256_hex(&image("1.0.0")));
    done("POST", "cohorts", &json!({"name": "lamps"}))?;
    acknowledged.cohort = true;
    let credentials = json!([{"type": "psk", "secret": SECRET}]);
    done(
        "POST",
        "devices",
        &json!({"name": "lamp-1", "cohort": "lamps", "credentials": credentials}),
    )?;
    acknowledged.device = true;
    acknowledged.sequences.insert(deploy("1.0.0")?);
    let mut device = Connected::connect(server, IDENTITY, SECRET)?;
    device.manifest()?;
    for (number, (state, version)) in REPORTS.into_iter().enumerate() {
        assert_eq!(device.report(state, version)?, "2.04");
        acknowledged.report = Some(number);
    }
    put("1.1.0", &image("1.1.0"))?;
    acknowledged
        .artifacts
        .insert("1.1.0".into(), sha256_hex(&image("1.1.0")));
    acknowledged.sequences.insert(deploy("1.1.0")?);
    put("0.9.0", &image("0.9.0"))?;
    done("DELETE", "packages/main/artifacts/0.9.0", &Value::Null)?;
    acknowledged.deleted = true;
    server.ask_to_end();
    Some(())
}

impl Acknowledged {
    fn all_there(&self, server: &Server, what: &str) {
        for (version, sha256) in &self.artifacts {
            let artifact = server.done("GET", &format!("packages/main/artifacts/{version}"), Value::Null);
            assert_eq!(artifact["sha256"], sha256.as_str(), "{what}");
        }
        if self.deleted {
            let (status, _) = server.call("GET", "packages/main/artifacts/0.9.0", Value::Null);
            assert_eq!(status, 404, "{what}: it came back");
        }
        if self.cohort {
            server.cohort_id("lamps");
        }
        let found = items(server, "devices?name=lamp-1");
        assert!(!self.device || found.len() == 1, "{what}: {found:#?}");
        let reported = found.first().and_then(|device| {
            let device = server.done(
                "GET",
                &format!("devices/{}", device["id"].as_str().unwrap()),
                Value::Null,
            );
            let package = device["packages"].as_array()?.first()?.clone();
            let version = package["version"].as_str()?.to_owned();
            let whole = REPORTS.iter().position(|(_, reported)| *reported == version);
            Some(whole.unwrap_or_else(|| panic!("{what}: half a report: {package:#}")))
        });
        assert!(
            reported >= self.report,
            "{what}: report {:?} was acknowledged, {reported:?} is there",
            self.report
        );
        if self.cohort {
            let there: BTreeSet<u64> = items(server, "cohorts/lamps/deployments")
                .iter()
                .map(|deployment| deployment["sequence"].as_u64().unwrap())
                .collect();
            assert!(
                there.is_superset(&self.sequences),
                "{what}: {there:?} and {:?} were acknowledged",
                self.sequences
            );
        }
    }
}

/// Whatever is there is all of it there, and nothing unfinished is.
fn whole(server: &Server, what: &str) {
    let mut named = BTreeSet::new();
    for package in items(server, "packages") {
        let name = package["name"].as_str().unwrap();
        for artifact in items(server, &format!("packages/{name}/artifacts")) {
            let version = artifact["version"].as_str().unwrap();
            let bytes = content(server, &format!("packages/{name}/artifacts/{version}/content"));
            assert_eq!(artifact["sha256"], sha256_hex(&bytes), "{what}: {name}@{version}");
            assert_eq!(bytes, image(version), "{what}: {name}@{version}");
            named.insert(sha256_hex(&bytes));
        }
    }
    for device in items(server, "devices") {
        let device = server.done(
            "GET",
            &format!("devices/{}", device["id"].as_str().unwrap()),
            Value::Null,
        );
        assert_eq!(device["cohort"]["name"], "lamps", "{what}: {device:#}");
        assert_eq!(
            device["credentials"].as_array().map(Vec::len),
            Some(1),
            "{what}: {device:#}"
        );
    }
    for cohort in items(server, "cohorts") {
        let mut sequences = BTreeSet::new();
        for deployment in items(
            server,
            &format!("cohorts/{}/deployments", cohort["id"].as_str().unwrap()),
        ) {
            let artifacts = deployment["artifacts"].as_array().unwrap();
            assert_eq!(artifacts.len(), 1, "{what}: {deployment:#}");
            let target = format!("to {}", artifacts[0]["version"].as_str().unwrap());
            assert_eq!(deployment["name"], target.as_str(), "{what}: {deployment:#}");
            assert!(
                sequences.insert(deployment["sequence"].as_u64().unwrap()),
                "{what}: a number twice"
            );
        }
    }
    let data = server.data_dir();
    for path in walk(&data).iter().filter(|path| path.is_file()) {
        let name = path.strip_prefix(&data).unwrap();
        let shelved = name.starts_with("blobs");
        let known = KNOWN.iter().any(|known| name == Path::new(known));
        assert!(known || shelved, "{what}: {} is left", name.display());
        if shelved {
            let digest = path.file_name().unwrap().to_str().unwrap();
            assert!(named.contains(digest), "{what}: {} has no name", name.display());
            assert_eq!(sha256_hex(&fs::read(path).unwrap()), digest, "{what}");
        }
    }
}

/// The same life can be lived again on what is left, and goes on with higher numbers.
fn works(server: &Server, highest: u64, what: &str) {
    server.call("POST", "packages", json!({"name": "main"}));
    server.upload("main", "1.0.0", &image("1.0.0"));
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    let credentials = json!([{"type": "psk", "secret": SECRET}]);
    server.call(
        "POST",
        "devices",
        json!({"name": "lamp-1", "cohort": "lamps", "credentials": credentials}),
    );
    let before = items(server, "cohorts/lamps/deployments");
    let before = before
        .iter()
        .map(|deployment| deployment["sequence"].as_u64().unwrap());
    let highest = before.max().unwrap_or(0).max(highest);
    let made = server.deploy("lamps", "after the crash", &[("main", "1.0.0")]);
    assert!(
        made["sequence"].as_u64().unwrap() > highest,
        "{what}: {} after {highest}",
        made["sequence"]
    );
    let mut device = Connected::connect(server, IDENTITY, SECRET).expect("a handshake");
    let manifest = device.manifest().expect("a manifest");
    assert_eq!(made["sequence"], manifest.sequence, "{what}");
    let bytes = device.download(&manifest.components[0].uri).expect("every block");
    assert_eq!(sha256_hex(&bytes), manifest.components[0].sha256, "{what}");
    assert_eq!(device.report(0, "2.0.0").as_deref(), Some("2.04"), "{what}");
}

fn items(server: &Server, path: &str) -> Vec<Value> {
    let found = server.done("GET", path, Value::Null);
    found["items"].as_array().unwrap().clone()
}

fn content(server: &Server, path: &str) -> Vec<u8> {
    ureq::get(format!("{}/v1/projects/default/{path}", server.url()))
        .header("Authorization", format!("Bearer {KEY}"))
        .call()
        .unwrap()
        .body_mut()
        .read_to_vec()
        .unwrap()
}

fn image(version: &str) -> Vec<u8> {
    noise(version.bytes().map(u64::from).sum(), 2500)
}

/// The tracer is a grandchild, so that the process started, ended and waited for is the server.
fn strace(options: &[&str]) -> Vec<String> {
    ["strace", "-D", "-f", "-qq"]
        .iter()
        .chain(options)
        .map(|option| (*option).to_owned())
        .chain(["--".to_owned()])
        .collect()
}

/// Of how many writes of pages a sample takes one: all lives take two minutes on two cores, a sample of them half of that.
const STRIDE: usize = 3;
/// One thread of each kind: `strace` counts for each.
const SETTINGS: &[(&str, &str)] = &[("TESSERA__RUNTIME__SHARDS", "1"), ("TOKIO_WORKER_THREADS", "1")];
/// Everything that changes a file or a folder.
const CHANGES: &[&str] = &[
    "openat",
    "mkdir",
    "write",
    "pwrite64",
    "pwritev",
    "fsync",
    "fdatasync",
    "rename",
    "ftruncate",
    "unlink",
];
/// How many of a start's changes the second kill is spread over.
const RESTART_CALLS: usize = 40;
/// What answers somebody.
const ANSWERS: &[&str] = &["sendto", "sendmsg", "sendmmsg", "writev"];
const IDENTITY: &str = "lamp-1-id@default";
const SECRET: &str = "secret-of-lamp-1";
/// States and running versions, in the order in which they are reported.
const REPORTS: [(u8, &str); 2] = [(1, "0.8.0"), (0, "0.8.1")];
/// The files of a folder that is served.
const KNOWN: &[&str] = &[
    "lock",
    "installation.key",
    "tessera.db",
    "tessera.db-wal",
    "tessera.db-shm",
    "sessions.log",
    "reserve",
];
