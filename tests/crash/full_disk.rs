//! A disk without space: what cannot be stored is refused and says why, everything else goes on, and with space again
//! everything works without a restart.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::device::Connected;
use crate::support::{Server, eventually, noise, sha256_hex};

#[test]
fn a_full_disk_stops_what_needs_space_and_nothing_else_until_there_is_space() {
    let mut server = Server::not_started(&[]);
    let disk = SmallDisk::mount(&server.data_dir(), 8 << 20);
    server.start_again();
    let image = noise(1, 200_000);
    server.upload("main", "1.0.0", &image);
    let lamp = server.device("lamp-1", "lamps");
    let other = server.device("lamp-2", "lamps");
    let first = server.deploy("lamps", "first", &[("main", "1.0.0")]);
    let mut connected = Connected::connect(&server, &lamp.identity, &lamp.secret).unwrap();
    assert_eq!(connected.report(1, "0.9.0").unwrap(), "2.04");

    disk.fill();
    let put = |version: &str| {
        let path = format!("packages/main/artifacts/{version}");
        server.send("PUT", &path, "application/octet-stream", &[], &noise(2, 600_000))
    };
    let (status, problem) = put("1.1.0");
    assert_eq!(status, 507, "{problem:#}");
    assert_eq!(problem["type"], "urn:tessera:problem:disk-full");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("space") && detail.contains("try again"),
        "{detail}"
    );
    assert_eq!(
        fs::read_dir(server.data_dir().join("uploads")).unwrap().count(),
        0,
        "nothing is left behind"
    );
    disk.fill();

    // Commands go on while the database has room in what it has of the disk, and each is kept or refused.
    let mut kept = Vec::new();
    let refused = (0..200).find_map(|n| {
        let name = format!("cohort-{n}");
        let (status, answer) = server.call("POST", "cohorts", json!({"name": name}));
        match status {
            201 => {
                kept.push(name);
                None
            }
            _ => Some((status, answer)),
        }
    });
    let (status, problem) = refused.expect("the disk is full some time");
    assert_eq!(
        (status, &problem["type"]),
        (507, &json!("urn:tessera:problem:disk-full")),
        "{problem:#}"
    );
    // The outcome of a check is good for a second.
    let said = eventually("it is not ready", || {
        let (status, said) = ready(&server);
        (status == 503).then_some(said)
    });
    assert!(said.contains("space"), "{said}");
    assert_eq!(server.metric("tessera_ready"), 0.0);
    assert!(server.metric_where("tessera_store_errors_total", "\"commit\"") >= 1.0);
    eventually("the disk is measured, though nothing can be written", || {
        let free = server.metric("tessera_store_disk_free_bytes");
        (free < server.metric("tessera_store_disk_size_bytes") / 50.0).then_some(())
    });

    // Who reads is served, by HTTP and by CoAP, far beyond the record numbers that the session log had synced.
    let found = server.done("GET", "devices?name=lamp-1", Value::Null);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    for _ in 0..8 {
        let manifest = connected.manifest().unwrap();
        assert_eq!(first["sequence"], manifest.sequence);
        let bytes = connected.download(&manifest.components[0].uri).unwrap();
        assert_eq!(sha256_hex(&bytes), sha256_hex(&image));
    }
    let mut newcomer = Connected::connect(&server, &other.identity, &other.secret).unwrap();
    assert_eq!(first["sequence"], newcomer.manifest().unwrap().sequence);
    // Not stored and not said to be: the device may try again.
    assert_eq!(connected.report(2, "0.9.1").unwrap(), "5.03");
    eventually("the session log is given up", || {
        // A handshake is what takes most room in it.
        newcomer = Connected::connect(&server, &other.identity, &other.secret).unwrap();
        server
            .log()
            .contains("the session log cannot be written")
            .then_some(())
    });
    assert_eq!(first["sequence"], newcomer.manifest().unwrap().sequence);
    assert!(server.metric_where("tessera_store_errors_total", "\"sessions\"") >= 1.0);

    disk.free();
    assert_eq!(put("1.1.0").0, 201);
    assert_eq!(connected.report(3, "0.9.2").unwrap(), "2.04");
    let second = server.deploy("lamps", "second", &[("main", "1.1.0")]);
    assert!(second["sequence"].as_u64() > first["sequence"].as_u64());
    eventually("the server is ready again", || {
        (ready_again(&server)).then_some(())
    });
    assert_eq!(server.metric("tessera_ready"), 1.0);
    eventually("every session is in the log again", || {
        let size = fs::metadata(server.data_dir().join("sessions.log"))
            .unwrap()
            .len();
        (server.log().contains("every session is logged anew") && size > TWO_SESSIONS).then_some(())
    });

    server.kill();
    server.start_again();
    for device in [&mut connected, &mut newcomer] {
        // Answered in the session that each has had all along, by numbers that it has not seen: others it would drop.
        let manifest = device.manifest().expect("an answer in the restored session");
        assert_eq!(second["sequence"], manifest.sequence);
    }
    assert_eq!(server.metric("tessera_dtls_handshakes_total"), 0.0);
    for name in kept {
        server.cohort_id(&name);
    }
    let lamp = server.done("GET", &format!("devices/{}", lamp.id), Value::Null);
    assert_eq!(lamp["packages"][0]["version"], "0.9.2", "{lamp:#}");
}

/// Whoever has a key that may upload has the disk full whenever they like.
#[test]
fn a_full_disk_keeps_nobody_from_ending_keys_and_deleting_nor_the_gateway_from_starting() {
    let mut server = Server::not_started(&[]);
    let disk = SmallDisk::mount(&server.data_dir(), 8 << 20);
    server.start_again();
    server.upload("main", "1.0.0", &noise(1, 100_000));
    server.upload("main", "0.9.0", &noise(2, 100_000));
    let lamp = server.device("lamp-1", "lamps");
    let first = server.deploy("lamps", "first", &[("main", "1.0.0")]);
    let key = server.done("POST", "keys", json!({"name": "leaked", "role": "deploy"}));
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let leaked = |method: &str, path: &str, kind: &str, body: &[u8]| {
        server.send_as(&bearer, method, path, kind, body).0
    };
    let reserve = server.data_dir().join("reserve");
    eventually("room is kept", || reserve.exists().then_some(()));

    let upload = |n: u64| {
        let path = format!("packages/main/artifacts/2.0.{n}");
        leaked("PUT", &path, "application/octet-stream", &noise(n, 900_000))
    };
    let full = (10..40).map(upload).find(|status| *status != 201);
    assert_eq!(full, Some(507));
    // With this key alone the rest could be taken by commands, and by others at once.
    disk.fill();
    let create = |n: u64| {
        let body = json!({"name": format!("cohort-{n}")}).to_string();
        leaked("POST", "cohorts", "application/json", body.as_bytes())
    };
    let full = (0..200).map(create).find(|status| *status != 201);
    assert_eq!(full, Some(507));

    let path = format!("keys/{}", key["id"].as_str().unwrap());
    assert_eq!(
        server.call("DELETE", &path, Value::Null).0,
        204,
        "{}",
        server.log()
    );
    assert_eq!(create(1000), 401);
    let unused = server.call("DELETE", "packages/main/artifacts/0.9.0", Value::Null);
    assert_eq!(unused.0, 204, "{unused:?}");
    let (status, problem) = server.call("POST", "cohorts", json!({"name": "more"}));
    assert_eq!(status, 507, "what room is left is kept: {problem}");

    disk.fill();
    assert!(server.terminate().success());
    disk.fill();
    server.start_again_unready();
    let mut connected = Connected::connect(&server, &lamp.identity, &lamp.secret).unwrap();
    assert_eq!(first["sequence"], connected.manifest().unwrap().sequence);

    disk.free();
    let (status, problem) = server.call("POST", "cohorts", json!({"name": "more"}));
    assert_eq!(status, 201, "{problem}");
    eventually("room is kept again", || reserve.exists().then_some(()));
}

fn ready(server: &Server) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.get(format!("{}/readyz", server.url())).call().unwrap();
    (
        answer.status().as_u16(),
        answer.body_mut().read_to_string().unwrap(),
    )
}

fn ready_again(server: &Server) -> bool {
    ready(server).0 == 200
}

/// A file system of a few megabytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: u64) -> SmallDisk {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes},mode=0777");
        as_root(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs", at.to_str().unwrap()],
        );
        SmallDisk(at.to_owned())
    }

    /// To the last byte.
    fn fill(&self) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.0.join("filler"))
            .unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may be ending still.
        as_root("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn as_root(program: &str, arguments: &[&str]) {
    let direct = Command::new(program).args(arguments).output().unwrap();
    if direct.status.success() {
        return;
    }
    let sudo = Command::new("sudo")
        .arg("-n")
        .arg(program)
        .args(arguments)
        .output();
    let done = sudo.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        done || std::thread::panicking(),
        "this test mounts a small file system, for which it has to be root or may sudo: {} {sudo:?}",
        String::from_utf8_lossy(&direct.stderr)
    );
}

/// More than the header and one session.
const TWO_SESSIONS: u64 = 330;
