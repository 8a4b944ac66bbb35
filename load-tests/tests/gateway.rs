//! The gateway as a run starts, kills and asks it: real processes, of the very executable that a run is.

#![allow(clippy::unwrap_used)]

// A program has no library to be tested by: its parts are compiled into this test, and the program itself is the child.
#[path = "../src/gateway/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the run uses the rest")]
mod gateway;
#[path = "../src/network.rs"]
#[allow(dead_code, reason = "devices have one; here is none")]
mod network;
#[path = "../src/plan.rs"]
#[allow(dead_code, reason = "the run uses the rest")]
mod plan;
#[path = "../src/scenario/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the run uses the rest")]
mod scenario;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tessera::dtls::{
    ClientConfig, ClientCredential, ClientHandshake, HandshakeEvent, Identity, Psk, ServerTrust, TrustAnchors,
};
use tessera::virtual_device::{CipherSuite, Port, Szx};

use gateway::{ApiError, DeviceCredential, Gateway, GatewayError, Progress, Row};
use network::Profile;
use plan::Plan;
use scenario::{Arrival, Boots, Cohort, Credential, Engine, GatewayPlan, Image, ImageName, Kind, Scenario};

#[test]
fn good_devices_are_let_in_and_bad_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = start(&GatewayPlan::default(), folder.path());
    let scenario = scenario(10);
    let plan = Plan::of(&scenario);
    let credentials = gateway.set_up(&scenario, &plan.devices, &mut |_| ()).unwrap();
    let ca = credentials.server_ca.unwrap();
    for (device, credential) in plan.devices.iter().zip(&credentials.devices) {
        let kind = scenario.kinds[device.kind].credential;
        let is_good = matches!(kind, Credential::Psk | Credential::Certificate);
        // Whoever has a bad key is told nothing, and waits in vain.
        let patience = Duration::from_secs(if is_good { 30 } else { 1 });
        assert_eq!(
            connects(gateway.coaps(), credential, &ca, patience),
            is_good,
            "{}",
            device.name
        );
    }
    // Four with a key and one with a certificate; those whose certificates are over, or of another CA. A bad key is counted a
    // minute later. The gateway's threads count for themselves, and tell once a second.
    let counted = |figures: gateway::Figures| {
        let handshakes = figures.counted.handshakes;
        ["established", "certificate_refused"].map(|result| handshakes[result])
    };
    eventually("all have been counted", || {
        (counted(gateway.figures()?) == [5, 2]).then_some(())
    });
    let before = gateway.figures().unwrap();
    assert_eq!(before.sessions, 5);
    // Each has sent a hello, the same with a cookie, and a flight; and was sent a cookie and a flight, if not more.
    assert!(before.counted.datagrams_received >= 30, "{before:?}");
    assert!(before.counted.datagrams_sent >= 25, "{before:?}");
    assert_eq!(before.facts()["handshakes_certificate_refused"], 2.0);

    gateway.kill().unwrap();
    gateway.start_again(None).unwrap();
    let after = eventually("the sessions are restored", || {
        gateway.figures().filter(|figures| figures.sessions == 5)
    });
    assert!(after.counted.datagrams_received >= before.counted.datagrams_received);
    assert_eq!(counted(after), [5, 2], "of both processes");
}

#[test]
fn a_fleet_of_every_kind_of_credential_is_set_up_and_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = start(&GatewayPlan::default(), folder.path());
    let scenario = scenario(500);
    let plan = Plan::of(&scenario);
    let mut told = Vec::new();
    let credentials = gateway
        .set_up(&scenario, &plan.devices, &mut |progress| {
            if let Progress::Devices { done, of } = progress {
                told.push((done, of));
            }
        })
        .unwrap();
    assert_eq!(credentials.devices.len(), plan.devices.len());
    // Nobody knows those with an unknown identity.
    assert_eq!(told, [(450, 450)]);
    assert!(credentials.server_ca.unwrap().contains("BEGIN CERTIFICATE"));

    let api = Reader::of(&gateway, folder.path());
    for (device, credential) in plan.devices.iter().zip(&credentials.devices) {
        let kind = scenario.kinds[device.kind].credential;
        match (kind, credential) {
            (
                Credential::Psk | Credential::UnknownIdentity | Credential::WrongKey | Credential::Disabled,
                DeviceCredential::Psk { identity, secret },
            ) => {
                assert_eq!(*identity, format!("{}-id@default", device.name));
                assert_eq!(*secret, device.secret);
            }
            (
                Credential::Certificate | Credential::UntrustedCertificate | Credential::ExpiredCertificate,
                DeviceCredential::Certificate(issued),
            ) => {
                let facts = issued.certified_key().facts();
                assert_eq!(facts.organization.as_deref(), Some("default"));
                assert_eq!(facts.common_name.as_deref(), Some(device.name.as_str()));
            }
            other => panic!("{}: {other:?}", device.name),
        }
    }
    for (name, known, enabled, identities) in [
        ("psk-1", true, true, 1),
        ("certificate-1", true, true, 0),
        ("unknown-identity-1", false, true, 0),
        ("wrong-key-1", true, true, 1),
        ("untrusted-certificate-1", true, true, 0),
        ("expired-certificate-1", true, true, 0),
        ("disabled-1", true, false, 1),
    ] {
        let found = api.get(&format!("devices?name={name}"));
        assert_eq!(
            found["items"].as_array().unwrap().len(),
            usize::from(known),
            "{name}"
        );
        if known {
            assert_eq!(found["items"][0]["enabled"], enabled, "{name}");
            assert_eq!(found["items"][0]["cohort"]["name"], "a", "{name}");
            let credentials = api.get(&format!("devices/{name}/credentials"));
            assert_eq!(
                credentials["items"].as_array().unwrap().len(),
                identities,
                "{name}"
            );
        }
    }

    let coaps = gateway.coaps();
    let before = gateway.figures().unwrap();
    gateway.kill().unwrap();
    assert_eq!(gateway.figures(), None);
    gateway.start_again(Some(2)).unwrap();
    assert_eq!(gateway.coaps(), coaps);
    let after = gateway.figures().unwrap();
    assert!(
        after.cpu > before.cpu,
        "what the killed process used is not lost: {before:?} {after:?}"
    );
    assert!(after.resident_bytes > 1 << 20);
    let found = api.get("devices?name=psk-1");
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(shards(gateway.pid().unwrap()), 2);
    gateway.stop().unwrap();
}

#[test]
fn what_is_deployed_can_be_rolled_back_and_devices_moved() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(&GatewayPlan::default(), folder.path());
    let scenario = scenario(20);
    let plan = Plan::of(&scenario);
    gateway.set_up(&scenario, &plan.devices, &mut |_| ()).unwrap();
    // Only of what was deployed at the start.
    assert!(matches!(
        gateway.api().roll_back("a"),
        Err(ApiError::NothingBefore { deployments: 1, .. })
    ));
    let newer = gateway.api().deploy("a", &[image("1.1.0")]).unwrap();
    assert!(newer.asked < newer.answered);
    let back = gateway.api().roll_back("a").unwrap();
    assert!(back.sequence > newer.sequence);
    assert_eq!(back.images, [image("1.0.0")]);
    let forth = gateway.api().roll_back("a").unwrap();
    assert_eq!(forth.images, [image("1.1.0")]);

    let names: Vec<&str> = plan.devices.iter().map(|device| device.name.as_str()).collect();
    let known: Vec<&str> = names
        .iter()
        .filter(|name| !name.starts_with("unknown"))
        .copied()
        .collect();
    assert_eq!(
        gateway.api().move_devices(&known, "b").unwrap(),
        known.len() as u64
    );
    assert_eq!(gateway.api().move_devices(&known, "b").unwrap(), 0);

    let refused = gateway
        .api()
        .move_devices(&["nobody"], "b")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("there is no device \"nobody\""), "{refused}");
    let refused = gateway
        .api()
        .deploy("a", &[image("9.9.9")])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("9.9.9") && refused.contains("422"), "{refused}");
    let refused = gateway
        .api()
        .deploy("c d", &[image("1.0.0")])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("c d"), "{refused}");
}

#[test]
fn the_same_set_up_again_is_no_mistake_and_another_of_the_same_names_is() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(&GatewayPlan::default(), folder.path());
    let scenario = scenario(20);
    let plan = Plan::of(&scenario);
    for _ in 0..2 {
        gateway.set_up(&scenario, &plan.devices, &mut |_| ()).unwrap();
    }
    let mut other = scenario.clone();
    other.seed += 1;
    let refused = gateway
        .set_up(&other, &plan.devices, &mut |_| ())
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("another main@1.0.0") && refused.contains("seed 2"),
        "an artifact of other bytes: {refused}"
    );
}

#[test]
fn devices_of_somebody_else_are_neither_deployed_to_nor_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = start(&GatewayPlan::default(), folder.path());
    let gateway = Gateway::attach(theirs.url(), theirs.key().unwrap(), theirs.coaps(), None).unwrap();
    let scenario = scenario(20);
    let plan = Plan::of(&scenario);
    let device = |name, cohort| Row {
        name,
        cohort,
        enabled: true,
        psk: None,
    };
    let api = Reader::of(&theirs, folder.path());
    let set_up = || gateway.set_up(&scenario, &plan.devices, &mut |_| ());

    theirs.api().cohort("a").unwrap();
    theirs.api().cohort("pumps").unwrap();
    theirs
        .api()
        .import(&[device("pump-1", Some("a")), device("pump-2", Some("a"))])
        .unwrap();
    let refused = set_up().unwrap_err().to_string();
    assert!(
        refused.contains("cohort \"a\"") && refused.contains("2 device(s)") && refused.contains("pump-"),
        "{refused}"
    );

    theirs
        .api()
        .import(&[
            device("pump-1", Some("pumps")),
            device("pump-2", None),
            device("psk-1", Some("pumps")),
            device("psk-2", None),
        ])
        .unwrap();
    let refused = set_up().unwrap_err().to_string();
    assert!(
        refused.contains("2 device(s)") && refused.contains("\"psk-"),
        "{refused}"
    );
    for untouched in ["packages", "device-cas", "cohorts/a/deployments"] {
        assert_eq!(api.get(untouched)["items"], serde_json::json!([]), "{untouched}");
    }

    // What an earlier run has left is the run's own, wherever among its cohorts.
    theirs
        .api()
        .import(&[device("psk-1", Some("a")), device("psk-2", Some("a"))])
        .unwrap();
    set_up().unwrap();
    theirs.api().move_devices(&["psk-1"], "b").unwrap();
    set_up().unwrap();
}

#[test]
fn a_full_disk_is_no_longer_ready_and_heals_when_it_is_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let plan = GatewayPlan {
        disk: Some(24 << 20),
        ..GatewayPlan::default()
    };
    let mut gateway = start(&plan, folder.path());
    let scenario = scenario(20);
    gateway
        .set_up(&scenario, &Plan::of(&scenario).devices, &mut |_| ())
        .unwrap();
    let filled = gateway.fill_disk().unwrap();
    assert!(filled > 8 << 20, "{filled}");
    let why = eventually("it is not ready", || gateway.api().ready().err());
    assert!(why.contains("does not take writes"), "{why}");
    let refused = gateway
        .api()
        .deploy("a", &[image("1.1.0")])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("507"), "{refused}");
    gateway.empty_disk().unwrap();
    eventually("it is ready", || gateway.api().ready().ok());
    gateway.api().deploy("a", &[image("1.1.0")]).unwrap();

    // The disk outlives the process, and nothing of it is in the folder that others see.
    gateway.kill().unwrap();
    gateway.fill_disk().unwrap();
    gateway.empty_disk().unwrap();
    gateway.start_again(None).unwrap();
    assert_eq!(gateway.api().roll_back("a").unwrap().images, [image("1.0.0")]);
    assert_eq!(fs::read_dir(folder.path().join("disk")).unwrap().count(), 0);

    // Whoever looks for what went wrong has the data, which go with the disk.
    gateway.keep_data().unwrap();
    drop(gateway);
    let data = folder.path().join("data");
    let names: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .any(|name| name.contains("db") || name.contains("sqlite")),
        "{names:?}"
    );
}

#[test]
fn a_gateway_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let plan = GatewayPlan {
        config: BTreeMap::from([("coaps.idle_timeout".to_owned(), "1s".to_owned())]),
        ..GatewayPlan::default()
    };
    let error = Gateway::start_program(program(), &plan, folder.path(), &Arc::default()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GatewayError::Ended { .. }), "{text}");
    assert!(
        text.contains("coaps.idle_timeout") && text.contains("1s") && text.contains("3h"),
        "{text}"
    );

    let plan = GatewayPlan {
        disk: Some(64 << 10),
        ..GatewayPlan::default()
    };
    let text = Gateway::start_program(program(), &plan, folder.path(), &Arc::default())
        .unwrap_err()
        .to_string();
    assert!(text.contains("full") || text.contains("No space"), "{text}");

    let nothing = folder.path().join("no-such-program");
    let error = Gateway::start_program(&nothing, &GatewayPlan::default(), folder.path(), &Arc::default())
        .unwrap_err();
    assert!(matches!(error, GatewayError::Program { .. }), "{error}");
}

#[test]
fn a_gateway_that_ended_by_itself_is_told_apart_from_one_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = start(&GatewayPlan::default(), folder.path());
    assert!(gateway.runs());
    gateway.kill().unwrap();
    assert!(!gateway.runs());
    let error = gateway.kill().unwrap_err().to_string();
    assert!(error.contains("not running"), "{error}");
    gateway.start_again(None).unwrap();
    let error = gateway.start_again(None).unwrap_err().to_string();
    assert!(error.contains("running"), "{error}");
    let pid = gateway.pid().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid as i32),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    eventually("it is gone", || (!gateway.runs()).then_some(()));
    let error = gateway.kill().unwrap_err();
    assert!(matches!(error, GatewayError::Ended { .. }), "{error}");
    gateway.start_again(None).unwrap();
}

#[test]
fn nothing_outlives_the_simulator() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    fs::create_dir(&at).unwrap();
    let mut keeper = std::process::Command::new(program())
        .args(["hold-disk", "--bytes", "20000000", "--at"])
        .arg(&at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(keeper.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "ready\n");
    let mut server = std::process::Command::new(program())
        .args(["serve-gateway", "--disk-of", &keeper.id().to_string()])
        .env("TESSERA__DATA__DIR", at.join("data"))
        .env("TESSERA__COAPS__LISTEN", "127.0.0.1:0")
        .env("TESSERA__ADMIN__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("listening for operators")));
    // What the kernel does to the pipes of a simulator that is killed.
    drop(server.stdin.take());
    let ended = eventually("the gateway has ended", || server.try_wait().unwrap());
    assert_eq!(ended.code(), Some(3));
    drop(keeper.stdin.take());
    let ended = eventually("its disk's keeper has ended", || keeper.try_wait().unwrap());
    assert!(ended.success());
    assert!(
        !fs::read_to_string("/proc/mounts")
            .unwrap()
            .contains(at.to_str().unwrap())
    );
}

#[test]
fn the_gateway_of_somebody_else_is_used_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = start(&GatewayPlan::default(), folder.path());
    let key = theirs.key().unwrap().to_owned();
    let url = theirs.url().to_owned();
    let mut gateway = Gateway::attach(&format!("{url}/"), &key, theirs.coaps(), None).unwrap();
    let scenario = scenario(20);
    let credentials = gateway
        .set_up(&scenario, &Plan::of(&scenario).devices, &mut |_| ())
        .unwrap();
    assert_eq!(credentials.server_ca, None);
    let figures = gateway.figures().unwrap();
    assert!(
        figures.cpu > Duration::ZERO && figures.resident_bytes > 1 << 20,
        "{figures:?}"
    );
    let same = Gateway::attach(&url, &key, theirs.coaps(), theirs.pid()).unwrap();
    assert!(same.figures().unwrap().resident_bytes > 1 << 20);

    for error in [
        gateway.kill().unwrap_err(),
        gateway.stop().unwrap_err(),
        gateway.start_again(None).unwrap_err(),
        gateway.fill_disk().unwrap_err(),
        gateway.empty_disk().unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains("somebody else"), "{text}");
    }
    drop((gateway, same));
    assert!(theirs.figures().is_some());

    let coaps: SocketAddr = theirs.coaps();
    for url in [
        "https://127.0.0.1:1",
        "127.0.0.1:1",
        "http://",
        "http://127.0.0.1:1/v1",
    ] {
        let error = Gateway::attach(url, &key, coaps, None).unwrap_err().to_string();
        assert!(error.contains("http://HOST:PORT"), "{url}: {error}");
    }
    assert!(matches!(
        Gateway::attach(&url, "", coaps, None),
        Err(GatewayError::Key)
    ));
    let stranger = Gateway::attach(&url, "another-key-of-16-characters", coaps, None).unwrap();
    assert_eq!(stranger.figures(), None);
    let error = stranger
        .set_up(&scenario, &Plan::of(&scenario).devices, &mut |_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("401"), "{error}");
}

/// Asks the API what is not the run's to know.
struct Reader {
    url: String,
    key: String,
}

impl Reader {
    fn of(gateway: &Gateway, _folder: &Path) -> Self {
        Self {
            url: gateway.url().to_owned(),
            key: gateway.key().unwrap().to_owned(),
        }
    }

    fn get(&self, path: &str) -> Value {
        let url = format!("{}/v1/projects/default/{path}", self.url);
        let request = ureq::get(&url).header("Authorization", format!("Bearer {}", self.key));
        request.call().unwrap().body_mut().read_json().unwrap()
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tessera-fleet"))
}

fn start(plan: &GatewayPlan, folder: &Path) -> Gateway {
    Gateway::start_program(program(), plan, folder, &Arc::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the gateway shakes hands with a device, which believes only this CA about it.
fn connects(gateway: SocketAddr, credential: &DeviceCredential, ca: &str, patience: Duration) -> bool {
    let credential = match credential {
        DeviceCredential::Psk { identity, secret } => ClientCredential::Psk {
            identity: Identity::new(identity.as_bytes()).unwrap(),
            key: Psk::new(secret.as_bytes()).unwrap(),
        },
        DeviceCredential::Certificate(issued) => {
            ClientCredential::Certificate(Arc::clone(issued.certified_key()))
        }
    };
    let config = ClientConfig {
        trust: ServerTrust::Anchors {
            anchors: Arc::new(TrustAnchors::from_pem(ca.as_bytes()).unwrap()),
            unix_s: 1_780_000_000,
        },
        ..ClientConfig::default()
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(gateway).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let begun = Instant::now();
    let mut handshake = ClientHandshake::with_credential(&Arc::new(config), credential, begun, &mut rng);
    let mut datagram = Vec::new();
    while begun.elapsed() < patience {
        while handshake.poll_transmit(&mut datagram) {
            socket.send(&datagram).unwrap();
            datagram.clear();
        }
        let mut received = [0; 2048];
        let taken = match socket.recv(&mut received) {
            Ok(length) => handshake.handle_datagram(Instant::now(), &mut received[..length]),
            Err(_) => handshake.handle_timeout(Instant::now()),
        };
        match (taken, handshake.poll_event()) {
            (Err(_), _) => return false,
            (Ok(()), Some(HandshakeEvent::Established(_))) => return true,
            (Ok(()), _) => {}
        }
    }
    false
}

/// Threads that serve devices.
fn shards(pid: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).unwrap());
    names.filter(|name| name.starts_with("shard-")).count()
}

/// So many devices, a tenth of them of each kind of bad ones and of those with certificates.
fn scenario(count: u32) -> Scenario {
    let kind = |name: &str, credential, count| Kind {
        name: name.to_owned(),
        count,
        engine: Engine::Native,
        port: Port::Libcoap,
        suites: vec![CipherSuite::PskAes128GcmSha256],
        credential,
        connection_id: false,
        block_size: Szx::MAX,
        runs: image("1.0.0"),
        cohort: Some(0),
        network: Profile::perfect(),
        faster: 1,
    };
    let tenth = count / 10;
    let well = |size| Image {
        size,
        boots: Boots::Well,
    };
    Scenario {
        name: "test".to_owned(),
        about: String::new(),
        seed: 1,
        stop_after: Duration::from_secs(60),
        linger: Duration::ZERO,
        stragglers: 0,
        gateway: GatewayPlan::default(),
        images: BTreeMap::from([(image("1.0.0"), well(1)), (image("1.1.0"), well(200_000))]),
        cohorts: vec![
            Cohort {
                name: "a".to_owned(),
                deployed: vec![image("1.0.0")],
            },
            Cohort {
                name: "b".to_owned(),
                deployed: Vec::new(),
            },
        ],
        kinds: vec![
            kind("psk", Credential::Psk, count - 6 * tenth),
            kind("certificate", Credential::Certificate, tenth),
            kind("unknown-identity", Credential::UnknownIdentity, tenth),
            kind("wrong-key", Credential::WrongKey, tenth),
            kind("untrusted-certificate", Credential::UntrustedCertificate, tenth),
            kind("expired-certificate", Credential::ExpiredCertificate, tenth),
            kind("disabled", Credential::Disabled, tenth),
        ],
        arrival: Arrival::Storm,
        events: Vec::new(),
        expect: Vec::new(),
    }
}

fn image(version: &str) -> ImageName {
    ImageName {
        package: "main".to_owned(),
        version: version.to_owned(),
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
