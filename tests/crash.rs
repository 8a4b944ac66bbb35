//! What was acknowledged is there after `kill -9`; what a restart costs; how the process ends and refuses to begin.
//!
//! - `matrix`: killed at every write, sync and rename of a short life.
//! - `full_disk`: no space left, and space again.
//! - `damage`: folders that are refused, and left as they are.
//! - `device`: a device that survives the server.

#![allow(clippy::unwrap_used)]

#[path = "crash/damage.rs"]
mod damage;
#[path = "crash/device.rs"]
mod device;
#[path = "crash/full_disk.rs"]
mod full_disk;
#[path = "crash/matrix.rs"]
mod matrix;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{CoapClient, Server, eventually, noise, sha256_hex, tessera};

#[test]
fn kill_9_under_a_stream_of_writes_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    let mut acknowledged = Acknowledged::default();
    for round in 0..3 {
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (server, stop, written) = (&server, &stop, &written);
                    scope.spawn(move || write_until(server, stop, written, round * 10 + writer))
                })
                .collect();
            // However slow the disk is, and at another moment each time.
            eventually("something was acknowledged", || {
                (written.load(Ordering::Relaxed) >= 8 + round).then_some(())
            });
            thread::sleep(Duration::from_millis(150 * round));
            let killed = std::process::Command::new("kill")
                .args(["-9", &server.pid().to_string()])
                .status();
            assert!(killed.unwrap().success());
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                acknowledged.add(writer.join().unwrap());
            }
        });
        server.kill();
        server.start_again();
        acknowledged.all_there(&server);
    }
    assert!(
        acknowledged.devices.len() > 20,
        "the stream was too thin: {}",
        acknowledged.devices.len()
    );
    assert!(!acknowledged.artifacts.is_empty() && !acknowledged.sequences.is_empty());
}

/// The device's side is a client that knows nothing of us and sends nothing by itself: what reaches it after a restart
/// reaches it in the session it has.
#[test]
fn an_observation_outlives_kill_9_and_a_planned_restart() {
    for client in CoapClient::ALL {
        let mut server = Server::start();
        let device = server.device("lamp-1", "lamps");
        server.upload("main", "1.0.0", &noise(1, 3000));
        let observer = client.observe(&server, &device, "/.u/desired");
        observer.wait_for("the registration's answer", |seen| seen.len() == 1);
        eventually("the observation is counted", || {
            (server.metric("tessera_observers") == 1.0).then_some(())
        });
        for (round, ending) in ["kill -9", "SIGTERM", "kill -9 again"].into_iter().enumerate() {
            match ending {
                "SIGTERM" => assert!(server.terminate().success()),
                _ => server.kill(),
            }
            server.start_again();
            let deployment = server.deploy("lamps", &format!("deployment {round}"), &[("main", "1.0.0")]);
            observer.wait_for(&format!("the deployment after {ending}"), |seen| {
                seen.last().is_some_and(|m| deployment["sequence"] == m.sequence)
            });
            let handshakes = server.metric("tessera_dtls_handshakes_total");
            assert!(handshakes == 0.0, "{handshakes} handshakes after {ending}");
            let (_, sessions) = server.call("GET", "sessions", Value::Null);
            assert_eq!(
                sessions["items"][0]["cipherSuite"],
                client.suite(),
                "{sessions:#}"
            );
        }
    }
}

#[test]
fn sigterm_ends_it_with_0_within_10_seconds() {
    let mut server = Server::start();
    let started = Instant::now();
    let status = server.terminate();
    assert!(status.success(), "{status}\n{}", server.log());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_says_why() {
    let first = Server::start();
    let other = support::free_port();
    let output = first
        .command()
        .env("TESSERA__COAPS__LISTEN", format!("127.0.0.1:{other}"))
        .env(
            "TESSERA__ADMIN__LISTEN",
            format!("127.0.0.1:{}", support::free_port()),
        )
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(first.data_dir().to_str().unwrap()),
        "names the folder: {said}"
    );
    assert!(
        said.contains("another"),
        "says that another process has it: {said}"
    );
}

#[test]
fn a_port_in_use_is_named() {
    let first = Server::start();
    let folder = tempfile::tempdir().unwrap();
    for (key, port) in [
        ("TESSERA__COAPS__LISTEN", first.coaps_port),
        ("TESSERA__ADMIN__LISTEN", first.admin_port),
    ] {
        let output = first
            .command()
            .env("TESSERA__DATA__DIR", folder.path())
            .env(
                "TESSERA__COAPS__LISTEN",
                format!("127.0.0.1:{}", support::free_port()),
            )
            .env(
                "TESSERA__ADMIN__LISTEN",
                format!("127.0.0.1:{}", support::free_port()),
            )
            .env(key, format!("127.0.0.1:{port}"))
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&port.to_string()) && said.contains("in use"),
            "{said}"
        );
    }
}

#[test]
fn a_start_that_fails_for_a_port_leaves_the_first_admin_key_to_the_next() {
    let first = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let start = |coaps_port: u16| {
        let mut command = first.command();
        command
            .env_remove("TESSERA__ADMIN__BOOTSTRAP_KEY")
            .env("TESSERA__DATA__DIR", folder.path().join("data"))
            .env("TESSERA__COAPS__LISTEN", format!("127.0.0.1:{coaps_port}"))
            .env(
                "TESSERA__ADMIN__LISTEN",
                format!("127.0.0.1:{}", support::free_port()),
            )
            .stderr(fs::File::create(folder.path().join("said")).unwrap());
        command
    };
    assert_eq!(start(first.coaps_port).status().unwrap().code(), Some(1));
    let mut second = start(support::free_port()).spawn().unwrap();
    eventually("the first admin key is shown", || {
        let said = fs::read_to_string(folder.path().join("said")).unwrap();
        said.contains("first admin key").then_some(())
    });
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn four_mistakes_in_a_configuration_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tessera.toml");
    fs::write(
        &file,
        "[coaps]\nlisten = [\"nonsense\"]\nmax_sessions = -5\n\n[admin]\nlisten = \"127.0.0.1:99999\"\n\n[cops]\nx = 1\n",
    )
    .unwrap();
    for verb in [&["config", "check"][..], &["serve"]] {
        let output = tessera().args(verb).arg("--config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb:?}: {said}");
        for named in [
            "coaps.listen",
            "nonsense",
            "coaps.max_sessions",
            "-5",
            "admin.listen",
            "99999",
            "cops",
        ] {
            assert!(said.contains(named), "{verb:?} does not name {named}: {said}");
        }
    }
}

#[derive(Default)]
struct Acknowledged {
    devices: Vec<String>,
    /// Package and version → SHA-256.
    artifacts: BTreeMap<(String, String), String>,
    /// Sequence number → cohort.
    sequences: BTreeMap<u64, String>,
}

impl Acknowledged {
    fn add(&mut self, other: Acknowledged) {
        self.devices.extend(other.devices);
        self.artifacts.extend(other.artifacts);
        for (sequence, cohort) in other.sequences {
            let before = self.sequences.insert(sequence, cohort);
            assert_eq!(before, None, "sequence {sequence} was given twice");
        }
    }

    fn all_there(&self, server: &Server) {
        for name in &self.devices {
            let found = server.done("GET", &format!("devices?name={name}"), Value::Null);
            assert_eq!(
                found["items"].as_array().map(Vec::len),
                Some(1),
                "{name}: {found:#}"
            );
        }
        for ((package, version), sha256) in &self.artifacts {
            let path = format!("packages/{package}/artifacts/{version}");
            assert_eq!(server.done("GET", &path, Value::Null)["sha256"], sha256.as_str());
            let url = format!("{}/v1/projects/default/{path}/content", server.url());
            let bytes = ureq::get(&url)
                .header("Authorization", format!("Bearer {}", support::KEY))
                .call()
                .unwrap()
                .body_mut()
                .read_to_vec()
                .unwrap();
            assert_eq!(&sha256_hex(&bytes), sha256);
        }
        for (sequence, cohort) in &self.sequences {
            let path = format!("cohorts/{}/deployments?limit=1000", server.cohort_id(cohort));
            let history = server.done("GET", &path, Value::Null);
            let items = history["items"].as_array().unwrap();
            assert!(
                items.iter().any(|d| d["sequence"] == *sequence),
                "{sequence} of {cohort}: {history:#}"
            );
            let sequences: Vec<u64> = items.iter().map(|d| d["sequence"].as_u64().unwrap()).collect();
            assert!(sequences.iter().rev().is_sorted(), "newest first: {sequences:?}");
        }
        let folder = server.data_dir();
        let unfinished: Vec<_> = walk(&folder)
            .into_iter()
            .filter(|path| path.starts_with(folder.join("uploads")))
            .filter(|path| path.is_file())
            .collect();
        assert!(
            unfinished.is_empty(),
            "temporary files are swept at start: {unfinished:?}"
        );
    }
}

/// Creates devices, artifacts and deployments until the server is gone; returns what it acknowledged.
fn write_until(server: &Server, stop: &AtomicBool, written: &AtomicU64, writer: u64) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let package = format!("p{writer}");
    let cohort = format!("cohort-{writer}");
    let post = |path: &str, body: Value| {
        server.try_send(
            "POST",
            path,
            "application/json",
            &[],
            &serde_json::to_vec(&body).unwrap(),
        )
    };
    let Ok((201, made)) = post("cohorts", json!({"name": cohort})) else {
        return acknowledged;
    };
    let cohort_id = made["id"].as_str().unwrap().to_owned();
    if !matches!(post("packages", json!({"name": package})), Ok((201, _))) {
        return acknowledged;
    }
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("device-{writer}-{n}");
        if let Ok((201, _)) = post(
            "devices",
            json!({"name": name, "cohort": cohort, "credentials": [{"type": "psk"}]}),
        ) {
            acknowledged.devices.push(name);
            written.fetch_add(1, Ordering::Relaxed);
        }
        let version = format!("1.0.{n}");
        let bytes = noise(writer * 1000 + n, 5000);
        let path = format!("packages/{package}/artifacts/{version}");
        if let Ok((201, _)) = server.try_send("PUT", &path, "application/octet-stream", &[], &bytes) {
            acknowledged
                .artifacts
                .insert((package.clone(), version.clone()), sha256_hex(&bytes));
            let body = json!({"name": format!("to {version}"), "artifacts": [{"package": package, "version": version}]});
            if let Ok((201, made)) = post(&format!("cohorts/{cohort_id}/deployments"), body) {
                acknowledged
                    .sequences
                    .insert(made["sequence"].as_u64().unwrap(), cohort.clone());
            }
        }
    }
    acknowledged
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}
