//! Answers that have to wait, for the disk or for a commit: they come in the ACK, below eight seconds, under the newest
//! message ID, and nobody else waits for them. strace makes the disk slow; the bytes on the wire are written by hand.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use support::{CoapClient, Server, eventually, free_port, noise, sha256_hex};

#[test]
fn a_slow_disk_delays_the_block_that_is_on_it_and_no_other_device() {
    let mut slow = SlowDisk::new();
    let bytes = noise(1, 1000);
    slow.server.upload("main", "1.0.0", &bytes);
    let blob = slow.blob(&bytes);
    assert!(slow.server.terminate().success());
    forget(&blob);
    slow.server.start_again_traced(&[
        "-P",
        blob.to_str().unwrap(),
        "--trace=pread64",
        "--inject=pread64:delay_enter=5s",
    ]);

    let lamp = slow.connect("lamp-1");
    let asked = Instant::now();
    let answer = slow.while_another_device_is_answered_at_once(|| {
        // {Uri-Path .u, c, main@1.0.0; Uri-Query device=lamp-1; Accept 42; Block2 0/0/1024}
        let block = |mid: u8| {
            let head = [0x44, 0x01, 0x77, mid];
            let rest = b"down\xb2.u\x01c\x0amain@1.0.0\x4d\x00device=lamp-1\x21\x2a\x61\x06";
            [&head[..], rest].concat()
        };
        lamp.send(&block(1)).unwrap();
        thread::sleep(Duration::from_millis(2300));
        lamp.send(&block(1)).unwrap();
        thread::sleep(Duration::from_millis(1700));
        lamp.send(&block(2)).unwrap();
        receive(&lamp)
    });
    let took = asked.elapsed();
    assert!(
        (Duration::from_secs(5)..Duration::from_secs(8)).contains(&took),
        "{took:?}"
    );
    assert_eq!(answer[..8], *b"\x64\x45\x77\x02down", "piggybacked, 2.05, newest");
    assert!(answer.ends_with(&bytes));
    assert_eq!(more(&lamp), None, "once");
    assert!(slow.server.metric("tessera_artifact_cold_reads_total") >= 1.0);
}

#[test]
fn a_slow_commit_delays_the_report_that_waits_for_it_and_no_other_device() {
    let mut slow = SlowDisk::new();
    let id = slow.server.done("GET", "devices?name=lamp-1", Value::Null)["items"][0]["id"].clone();
    assert!(slow.server.terminate().success());
    let log = slow.server.data_dir().join("tessera.db-wal");
    slow.server.start_again_traced(&[
        "-P",
        log.to_str().unwrap(),
        "--trace=fsync,fdatasync",
        "--inject=fsync,fdatasync:delay_enter=2500ms",
    ]);

    let lamp = slow.connect("lamp-1");
    let asked = Instant::now();
    let answer = slow.while_another_device_is_answered_at_once(|| {
        // {Uri-Path .u, c, main; Content-Format 60; Uri-Query device=lamp-1} {"s": 1, "v": "1.0.0"}
        let report = |mid: u8| {
            let head = [0x44, 0x02, 0x77, mid];
            let rest = b"told\xb2.u\x01c\x04main\x11\x3c\x3d\x00device=lamp-1\xff\xa2\x61s\x01\x61v\x651.0.0";
            [&head[..], rest].concat()
        };
        lamp.send(&report(1)).unwrap();
        lamp.send(&report(1)).unwrap();
        thread::sleep(Duration::from_millis(1000));
        lamp.send(&report(2)).unwrap();
        receive(&lamp)
    });
    let took = asked.elapsed();
    assert!(
        (Duration::from_millis(2500)..Duration::from_secs(8)).contains(&took),
        "{took:?}"
    );
    assert_eq!(answer, b"\x64\x44\x77\x02told", "piggybacked, 2.04, newest");
    assert_eq!(more(&lamp), None, "once");
    let shown = slow
        .server
        .done("GET", &format!("devices/{}", id.as_str().unwrap()), Value::Null);
    assert_eq!(shown["packages"][0]["version"], "1.0.0", "{shown:#}");
}

#[test]
fn an_artifact_that_is_not_in_memory_arrives_whole() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    let bytes = noise(2, 3 * 1024 * 1024 + 77);
    server.upload("main", "1.0.0", &bytes);
    let blob = blob(&server, &bytes);
    for client in CoapClient::ALL {
        let before = server.metric("tessera_artifact_cold_reads_total");
        forget(&blob);
        let (body, said) = client.run(&server, &device, &["-A", "42", "-b", "1024"], "/.u/c/main@1.0.0");
        assert_eq!(
            sha256_hex(&body),
            sha256_hex(&bytes),
            "{client:?}: {} bytes; {said}",
            body.len()
        );
        eventually("reads were handed over", || {
            (server.metric("tessera_artifact_cold_reads_total") > before).then_some(())
        });
    }
}

/// A gateway with plain CoAP, one shard, and two devices: `lamp-1` and `lamp-2`.
struct SlowDisk {
    server: Server,
    port: u16,
}

impl SlowDisk {
    fn new() -> Self {
        let port = free_port();
        let server = Server::start_with(&[
            ("TESSERA__COAP__LISTEN", &format!("127.0.0.1:{port}")),
            ("TESSERA__RUNTIME__SHARDS", "1"),
        ]);
        for name in ["lamp-1", "lamp-2"] {
            server.done("POST", "devices", json!({"name": name}));
        }
        Self { server, port }
    }

    fn blob(&self, bytes: &[u8]) -> PathBuf {
        blob(&self.server, bytes)
    }

    /// A socket of a device that the gateway knows by now.
    fn connect(&self, name: &str) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", self.port)).unwrap();
        desired(&socket, name, 1);
        socket
    }

    /// Does something on a slow disk, while `lamp-2` asks for its manifest again and again.
    fn while_another_device_is_answered_at_once<T>(&self, work: impl FnOnce() -> T) -> T {
        let other = self.connect("lamp-2");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                let mut mid = 1;
                while !over.load(Ordering::Relaxed) {
                    mid += 1;
                    longest = longest.max(desired(&other, "lamp-2", mid));
                    thread::sleep(Duration::from_millis(20));
                }
                (mid, longest)
            });
            let done = work();
            over.store(true, Ordering::Relaxed);
            let (asked, longest) = asking.join().unwrap();
            // A second on a machine that does much else besides; milliseconds on one that does not.
            assert!(
                asked > 20 && longest < Duration::from_secs(1),
                "of {asked} answers one took {longest:?}"
            );
            done
        })
    }
}

/// Asks for the manifest, and says how long that took.
fn desired(socket: &UdpSocket, name: &str, mid: u16) -> Duration {
    let asked = Instant::now();
    let [high, low] = mid.to_be_bytes();
    // {Uri-Path .u, desired; Uri-Query device=…; Accept 60}
    let head = [0x44, 0x01, high, low];
    let rest = [
        &b"want\xb2.u\x07desired\x4d\x00device="[..],
        name.as_bytes(),
        b"\x21\x3c",
    ];
    socket.send(&[&head[..], &rest.concat()].concat()).unwrap();
    let answer = receive(socket);
    assert_eq!(answer[..8], [&[0x64, 0x45, high, low][..], b"want"].concat());
    asked.elapsed()
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer).expect("an answer");
    answer[..len].to_vec()
}

/// What comes within half a second.
fn more(socket: &UdpSocket) -> Option<usize> {
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.recv(&mut [0; 1500]).ok()
}

fn blob(server: &Server, bytes: &[u8]) -> PathBuf {
    let name = sha256_hex(bytes);
    server.data_dir().join("blobs").join(&name[..2]).join(name)
}

/// Has the kernel drop a file from memory.
fn forget(path: &PathBuf) {
    fadvise(File::open(path).unwrap(), 0, None, Advice::DontNeed).unwrap();
}
