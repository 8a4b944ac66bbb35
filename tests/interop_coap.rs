//! The main job with foreign devices: libcoap's clients, over OpenSSL's and GnuTLS's DTLS, against the real process.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{CoapClient, Device, KEY, Server, eventually, free_port, noise, sha256_hex, tessera};

#[test]
fn an_observer_sees_a_deployment_and_the_rollback_arrive_by_push() {
    for client in CoapClient::ALL {
        let server = Server::start();
        let device = server.device("lamp-1", "lamps");
        server.upload("main", "1.0.0", &noise(1, 3000));
        server.upload("main", "1.1.0", &noise(2, 4000));

        let observer = client.observe(&server, &device, "/.u/desired");
        let first = observer.wait_for("nothing to do, answered as an empty map", |seen| seen.len() == 1);
        assert_eq!(first[0], support::Manifest::default());

        let first = server.deploy("lamps", "first", &[("main", "1.0.0")]);
        let second = server.deploy("lamps", "second", &[("main", "1.1.0")]);
        observer.wait_for("the newest deployment is pushed", |seen| {
            seen.last().is_some_and(|m| m.sequence == second["sequence"])
        });
        let rollback = server.deploy("lamps", "back", &[("main", "1.0.0")]);
        let seen = observer.wait_for("the rollback is pushed", |seen| {
            seen.last().is_some_and(|m| m.sequence == rollback["sequence"])
        });

        assert_eq!(
            [&first["sequence"], &second["sequence"], &rollback["sequence"]],
            [&json!(1), &json!(2), &json!(3)]
        );
        let last = seen.last().unwrap();
        assert_eq!(last.components.len(), 1);
        let component = &last.components[0];
        assert_eq!(
            (component.package.as_str(), component.version.as_str()),
            ("main", "1.0.0")
        );
        assert_eq!(component.sha256, sha256_hex(&noise(1, 3000)));
        assert_eq!(component.size, 3000);
        assert_eq!(component.uri, "/.u/c/main@1.0.0");
        assert!(
            component.kind == "default" || component.kind == "mcuboot",
            "{component:?}"
        );
        let sequences: Vec<u64> = seen.iter().map(|m| m.sequence).collect();
        assert!(sequences.is_sorted(), "pushed in order: {sequences:?}");
    }
}

#[test]
fn joining_a_cohort_pushes_and_leaving_it_pushes_nothing() {
    let server = Server::start();
    let device = server.device("lamp-1", "waiting");
    server.upload("main", "1.0.0", &noise(1, 100));
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    let deployed = server.deploy("lamps", "first", &[("main", "1.0.0")]);
    let observer = CoapClient::OpenSsl.observe(&server, &device, "/.u/desired");
    observer.wait_for("the registration is answered", |seen| seen.len() == 1);

    server.done(
        "PATCH",
        &format!("devices/{}", device.id),
        json!({"cohort": "lamps"}),
    );
    observer.wait_for("joining pushes", |seen| {
        seen.last().is_some_and(|m| m.sequence == deployed["sequence"])
    });

    server.done(
        "PATCH",
        &format!("devices/{}", device.id),
        json!({"cohort": null}),
    );
    server.done(
        "PATCH",
        &format!("devices/{}", device.id),
        json!({"cohort": "lamps"}),
    );
    let next = server.deploy("lamps", "again", &[("main", "1.0.0")]);
    let seen = observer.wait_for("the next deployment is pushed", |seen| {
        seen.last().is_some_and(|m| m.sequence == next["sequence"])
    });
    assert!(
        seen.iter().skip(1).all(|m| m.sequence > 0),
        "leaving pushed nothing: {seen:?}"
    );
}

#[test]
fn artifacts_arrive_whole_at_every_block_size() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    let small = noise(3, 70_000);
    let large = noise(4, 5 * 1024 * 1024 + 321);
    server.upload("main", "1.0.0", &small);
    server.upload("assets", "7", &large);
    for client in CoapClient::ALL {
        for size in ["16", "512", "1024"] {
            let (body, said) = client.run(&server, &device, &["-A", "42", "-b", size], "/.u/c/main@1.0.0");
            assert_eq!(
                sha256_hex(&body),
                sha256_hex(&small),
                "{client:?} at {size}: {} bytes; {said}",
                body.len()
            );
        }
        let (body, said) = client.run(&server, &device, &["-A", "42", "-b", "1024"], "/.u/c/assets@7");
        assert_eq!(
            sha256_hex(&body),
            sha256_hex(&large),
            "{client:?}: {} bytes; {said}",
            body.len()
        );
    }
    assert!(server.metric("tessera_blocks_served_total") >= 2.0 * (4375.0 + 137.0 + 69.0 + 5121.0));
}

#[test]
fn a_download_starts_at_any_block() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    let bytes = noise(5, 70_000);
    server.upload("main", "1.0.0", &bytes);
    let (body, said) = CoapClient::OpenSsl.run(
        &server,
        &device,
        &["-A", "42", "-b", "60,1024"],
        "/.u/c/main@1.0.0",
    );
    assert!(
        !body.is_empty() && bytes[60 * 1024..].starts_with(&body[..1024]),
        "{} bytes; {said}",
        body.len()
    );
}

#[test]
fn a_state_report_is_seen_in_the_api() {
    let server = Server::start();
    for client in CoapClient::ALL {
        let device = server.device(&format!("lamp-{client:?}"), "lamps");
        // CONTRACT.md 5: {s:1,r:0,pkg:"main",v:"1.0.0",t:"1.0.1"}, indefinite and definite.
        let entries = b"\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x651.0.0\x61t\x651.0.1";
        let indefinite = [b"\xbf".as_slice(), entries, b"\xff"].concat();
        report(client, &server, &device, &indefinite);
        let shown = eventually("the report is seen", || package_state(&server, &device, "main"));
        assert_eq!(shown["version"], "1.0.0", "{shown:#}");
        assert_eq!(shown["target"], "1.0.1", "{shown:#}");
        assert_eq!(shown["state"], "downloading", "{shown:#}");

        // {s:0, r:1, v:"1.0.1"}: the package is the path's.
        report(client, &server, &device, b"\xa3\x61s\x00\x61r\x01\x61v\x651.0.1");
        let shown = eventually("the second report is seen", || {
            package_state(&server, &device, "main").filter(|shown| shown["version"] == "1.0.1")
        });
        assert_eq!(shown["state"], "idle", "{shown:#}");
    }
}

#[test]
fn what_does_not_exist_is_4_04_and_the_session_goes_on() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    for path in ["/.u/c/main@9.9.9", "/nothing/here"] {
        let (_, said) = CoapClient::OpenSsl.run(&server, &device, &[], path);
        assert!(said.contains("4.04"), "{path}: {said}");
    }
}

#[test]
fn a_wrong_key_and_an_unknown_device_get_no_session() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    let wrong = Device {
        secret: "not-the-key".into(),
        ..device
    };
    let unknown = Device {
        identity: "nobody@default".into(),
        secret: "any".into(),
        id: String::new(),
    };
    for client in CoapClient::ALL {
        for stranger in [&wrong, &unknown] {
            let (body, said) = client.run(&server, stranger, &["-B", "2"], "/.u/desired");
            assert!(body.is_empty() && !said.contains("2.05"), "{client:?}: {said}");
        }
    }
    assert!(server.metric_where("tessera_dtls_handshakes_total", "established") < 1.0);
}

#[test]
fn who_cannot_connect_is_seen_with_reason_source_and_count_in_the_api_and_the_command_line() {
    for client in [CoapClient::OpenSsl, CoapClient::GnuTls] {
        let server = Server::start();
        let good = server.device("lamp-1", "lamps");
        let disabled = server.device("lamp-2", "lamps");
        let retired = server.device("lamp-3", "lamps");
        server.done(
            "PATCH",
            &format!("devices/{}", disabled.id),
            json!({"enabled": false}),
        );
        let credentials = format!("devices/{}/credentials", retired.id);
        let listed = server.done("GET", &credentials, Value::Null);
        let credential = listed["items"][0]["id"].as_str().unwrap();
        server.done("DELETE", &format!("{credentials}/{credential}"), Value::Null);
        let wrong = Device {
            id: good.id.clone(),
            identity: good.identity.clone(),
            secret: "not-the-key".into(),
        };
        let unknown = Device {
            identity: "no\u{1b}[2Jbody".into(),
            secret: "any".into(),
            id: String::new(),
        };
        // From one port, so that each makes the gateway give up the handshake before at once.
        let port = free_port().to_string();
        let ask = |device: &Device| {
            let options = ["-B", "1", "-p", &port];
            client.run(&server, device, &options, "/.u/desired").1
        };
        for stranger in [&wrong, &wrong, &unknown, &disabled, &retired] {
            ask(stranger);
        }
        ask(&good);

        let source = format!("127.0.0.1:{port}");
        let failures = eventually("every failure is noted", || {
            let listed = server.done("GET", "sessions/failures", Value::Null);
            let failures = listed["items"].as_array().unwrap().clone();
            let count = failures.iter().map(|failure| failure["count"].as_u64().unwrap());
            (count.sum::<u64>() >= 5).then_some(failures)
        });
        let seen: Vec<_> = failures
            .iter()
            .map(|failure| {
                assert_eq!(failure["address"], source, "{client:?}: {failure:#}");
                let text = |field: &str| failure[field].as_str().unwrap();
                (
                    text("reason"),
                    text("identity"),
                    failure["device"]["name"].clone(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("credentialRetired", "lamp-3-id@default", json!("lamp-3")),
                ("deviceDisabled", "lamp-2-id@default", json!("lamp-2")),
                ("unknownIdentity", unknown.identity.as_str(), Value::Null),
                ("wrongKey", "lamp-1-id@default", json!("lamp-1")),
            ],
            "{client:?}"
        );
        assert!(failures[3]["count"].as_u64() >= Some(2), "{failures:#?}");
        let shown = server.done("GET", &format!("devices/{}", good.id), Value::Null);
        assert_eq!(shown["handshakeFailure"], failures[3]);
        // From outside and in the counter, a disabled device and a retired key are unknown identities.
        let counted = |result| server.metric_where("tessera_dtls_handshakes_total", result);
        eventually("the shards have handed in their counts", || {
            (counted("unknown_identity") >= 3.0 && counted("bad_finished") >= 2.0).then_some(())
        });

        let said = cli(&server, &["session", "failures"]);
        for shown in [&source, "wrongKey", "no\\u{1b}[2Jbody", "device enable lamp-2"] {
            assert!(said.contains(shown), "{shown}: {said}");
        }
        assert!(
            !said.contains('\u{1b}') && !said.contains("not-the-key"),
            "{said}"
        );
        let filtered = cli(
            &server,
            &["session", "failures", "--reason", "wrongKey", "-o", "ndjson"],
        );
        assert_eq!(filtered.lines().count(), 1, "{filtered}");

        let observer = client.observe(&server, &good, "/.u/desired");
        observer.wait_for("the device is connected", |seen| !seen.is_empty());
        let sessions = cli(&server, &["session", "list"]);
        for shown in ["lamp-1", client.suite(), "127.0.0.1:"] {
            assert!(sessions.contains(shown), "{shown}: {sessions}");
        }
    }
}

fn cli(server: &Server, arguments: &[&str]) -> String {
    let mut command = tessera();
    command
        .env("TESSERA_URL", server.url())
        .env("TESSERA_API_KEY", KEY)
        .args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn report(client: CoapClient, server: &Server, device: &Device, cbor: &[u8]) {
    let file = server.folder.path().join("report");
    fs::write(&file, cbor).unwrap();
    let file = file.to_str().unwrap();
    client.run(
        server,
        device,
        &["-m", "post", "-t", "60", "-f", file],
        "/.u/c/main",
    );
}

fn package_state(server: &Server, device: &Device, package: &str) -> Option<Value> {
    let shown = server.done("GET", &format!("devices/{}", device.id), Value::Null);
    shown["packages"]
        .as_array()?
        .iter()
        .find(|p| p["package"] == package)
        .cloned()
        .filter(|p| !p["state"].is_null())
}
