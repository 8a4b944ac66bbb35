//! The description of the API against the API: it is the one that was agreed on (`golden/openapi.json`), and a real
//! `tessera serve` keeps to it whatever it is asked, as far as schemathesis can think of something to ask.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::certificates::Ca;
use support::{CoapClient, KEY, Server, eventually, free_port, noise};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openapi.json");
const RENEW: &str = "TESSERA_RENEW_GOLDEN";

const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/schemathesis");
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/schemathesis_hooks.py");

/// What is held of every answer.
const CHECKS: [&str; 6] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
];

/// Requests that are made up for each call, beside those at the edges of what its description admits.
const EXAMPLES: &str = "15";

/// Devices and packages that may be deleted.
const SPARE: usize = 12;

#[test]
fn the_description_is_the_one_that_was_agreed_on() {
    let server = Server::start();
    let mut answer = ureq::get(format!("{}/v1/openapi.json", server.url()))
        .call()
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let text = answer.body_mut().read_to_string().unwrap();
    if std::env::var_os(RENEW).is_some() {
        fs::write(GOLDEN, &text).unwrap();
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    if text != golden {
        let (at, (is, was)) = text
            .lines()
            .zip(golden.lines().chain(std::iter::repeat("(its end)")))
            .enumerate()
            .find(|(_, (is, was))| is != was)
            .unwrap_or((text.lines().count(), ("(its end)", "more")));
        panic!(
            "/v1/openapi.json is not tests/golden/openapi.json; line {} is\n{is}\nand was\n{was}\nIf that is meant, renew it with \
             {RENEW}=1 cargo test --locked --test openapi agreed_on, and look at the difference.",
            at + 1
        );
    }
}

#[test]
fn whatever_is_asked_is_answered_as_it_is_described() {
    let server = Server::start();
    let fleet = Fleet::put_in_place(&server);
    // Kept, to be looked at when something was found.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi");
    fs::create_dir_all(&folder).unwrap();
    let (config, report) = (folder.join("config.toml"), folder.join("report.har"));
    fs::write(&config, fleet.config()).unwrap();
    let output = Command::new(SCHEMATHESIS)
        .current_dir(&folder)
        .arg("--config-file")
        .arg(&config)
        .args(["run", &format!("{}/v1/openapi.json", server.url())])
        .args(["--header", &format!("Authorization: Bearer {KEY}")])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args([
            "--max-examples",
            EXAMPLES,
            "--seed",
            "6",
            "--generation-database",
            "none",
        ])
        // They are about how fast requests are made up, not about the answers.
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        .args(["--continue-on-failure", "--no-color"])
        .args(["--report", "har", "--report-har-path"])
        .arg(&report)
        .output()
        .unwrap_or_else(|error| panic!("{SCHEMATHESIS} does not start: {error}; tests/run installs it"));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", server.log());

    let never = never_done(&server, &report);
    assert!(never.is_empty(), "asked, and never done: {never:?}\n{said}");
}

/// Something of every kind for the calls to find, so that they are not all about what does not exist.
struct Fleet {
    deployment: String,
    credentials: Vec<String>,
    keys: Vec<String>,
    ca: String,
    _observer: support::Observer,
}

impl Fleet {
    fn put_in_place(server: &Server) -> Self {
        for (package, version) in [("main", "1.4.0"), ("main", "1.5.0"), ("assets", "7")] {
            server.upload(package, version, &noise(6, 3000));
        }
        let device = server.device("lamp-1", "lamps");
        let deployment = server.deploy("lamps", "first", &[("main", "1.4.0")]);
        server.deploy("lamps", "second", &[("main", "1.5.0"), ("assets", "7")]);
        let mut credentials = Vec::new();
        let mut keys = Vec::new();
        for number in 1..=SPARE {
            server.done("POST", "packages", json!({"name": format!("spare-{number}")}));
            server.upload("main", &format!("0.{number}"), &noise(number as u64, 100));
            server.done("POST", "cohorts", json!({"name": format!("spare-{number}")}));
            server.done(
                "POST",
                "devices",
                json!({"name": format!("spare-{number}"), "tags": ["spare"]}),
            );
            let key = json!({"name": format!("spare-{number}"), "role": "read"});
            keys.push(id(&server.done("POST", "keys", key)));
        }
        for number in 1..=4 {
            let psk = json!({"type": "psk", "identity": format!("lamp-1-{number}")});
            credentials.push(id(&server.done("POST", "devices/lamp-1/credentials", psk)));
        }
        for number in 1..=SPARE {
            let pem = fs::read_to_string(Ca::new(&format!("/CN=Spare {number}")).certificate()).unwrap();
            let ca = json!({"pem": pem, "name": format!("spare-{number}")});
            server.done("POST", "device-cas", ca);
        }
        let ca = fs::read_to_string(Ca::new("/O=acme/CN=Device CA").certificate()).unwrap();

        let mut impostor = server.device("lamp-2", "lamps");
        impostor.secret = "another".into();
        // From one port, so that the second handshake ends the first, which is noted then.
        let port = free_port().to_string();
        for _ in 0..2 {
            CoapClient::OpenSsl.run(server, &impostor, &["-B", "1", "-p", &port], "/.u/desired");
        }
        let observer = CoapClient::OpenSsl.observe(server, &device, "/.u/desired");
        for list in ["sessions/failures", "sessions"] {
            eventually(list, || {
                let list = server.done("GET", list, Value::Null);
                list["items"]
                    .as_array()
                    .is_some_and(|items| !items.is_empty())
                    .then_some(())
            });
        }
        Self {
            deployment: id(&deployment),
            credentials,
            keys,
            ca,
            _observer: observer,
        }
    }

    /// Where schemathesis takes values from, as a rule. What is deleted is spare.
    fn config(&self) -> String {
        let spare: Vec<String> = (1..=SPARE).map(|number| format!("spare-{number}")).collect();
        let spare_versions: Vec<String> = (1..=SPARE).map(|number| format!("0.{number}")).collect();
        // A stream of events has no end: one is enough.
        let mut config =
            format!("hooks = {HOOKS:?}\nmax-stream-events = 1\nrequest-timeout = 10\n[dictionaries]\n");
        for (name, values) in [
            ("packages", json!(["main", "assets"])),
            ("versions", json!(["1.4.0", "1.5.0", "7"])),
            ("cohorts", json!(["lamps"])),
            ("devices", json!(["lamp-1", "lamp-2"])),
            ("tags", json!(["spare"])),
            ("deployments", json!([self.deployment])),
            ("credentials", json!(self.credentials)),
            ("keys", json!(self.keys)),
            ("pems", json!([self.ca])),
            ("deployed", json!(["main"])),
            ("deployed_versions", json!(["1.4.0", "1.5.0"])),
            (
                "fresh_versions",
                json!((0..SPARE).map(|number| format!("2.{number}")).collect::<Vec<_>>()),
            ),
            ("spare", json!(spare)),
            ("spare_versions", json!(spare_versions)),
        ] {
            writeln!(config, "{name} = {{ values = {values} }}").unwrap();
        }
        config.push_str("[checks]\nenabled = false\n");
        for check in CHECKS {
            writeln!(config, "{check}.enabled = true").unwrap();
        }
        // What is not in the project is told so before anything else is looked at.
        config.push_str("[parameters]\n\"path.project\" = \"default\"\n");
        for (name, values) in [
            ("path.package", "packages"),
            ("path.version", "versions"),
            ("path.cohort", "cohorts"),
            ("path.device", "devices"),
            ("path.ca", "spare"),
            ("path.deployment", "deployments"),
            ("path.credential", "credentials"),
            ("path.key", "keys"),
            ("query.cohort", "cohorts"),
            ("query.tag", "tags"),
            ("body.cohort", "cohorts"),
            ("body.fromCohort", "cohorts"),
            ("body.tag", "tags"),
            ("body.pem", "pems"),
            ("body.artifacts[*].package", "deployed"),
            ("body.artifacts[*].version", "deployed_versions"),
        ] {
            writeln!(
                config,
                "{name:?} = {{ dictionary = {values:?}, probability = 0.8 }}"
            )
            .unwrap();
        }
        for (call, name, values) in [
            ("uploadArtifact", "path.version", "fresh_versions"),
            ("deletePackage", "path.package", "spare"),
            ("deleteArtifact", "path.version", "spare_versions"),
            ("deleteCohort", "path.cohort", "spare"),
            ("deleteDevice", "path.device", "spare"),
            // Names of deployments that have been made are taken.
            ("previewDeployment", "body.name", "fresh_versions"),
        ] {
            writeln!(
                config,
                "[[operations]]\ninclude-operation-id = {call:?}\nparameters = {{ {name:?} = {{ dictionary = {values:?} }} }}"
            )
            .unwrap();
        }
        // Any text is a file of lines: its rows are refused, and the answer says so of each.
        config.push_str("[[operations]]\ninclude-operation-id = \"importDevices\"\n");
        config.push_str("checks.negative_data_rejection.enabled = false\n");
        config
    }
}

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

/// The calls of the description that no request has had done: then nothing is known of what they answer.
fn never_done(server: &Server, report: &Path) -> Vec<String> {
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let mut done = BTreeSet::new();
    for entry in report["log"]["entries"].as_array().unwrap() {
        let status = entry["response"]["status"].as_u64().unwrap();
        let url = entry["request"]["url"].as_str().unwrap();
        let path = url.strip_prefix(&server.url()).unwrap_or(url);
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let method = entry["request"]["method"].as_str().unwrap().to_lowercase();
        if (200..300).contains(&status) {
            done.insert((method, path));
        }
    }
    let golden: Value = serde_json::from_slice(&fs::read(GOLDEN).unwrap()).unwrap();
    let mut never = Vec::new();
    let paths = golden["paths"].as_object().unwrap().iter();
    // Where the description itself is, schemathesis reads and does not ask.
    for (template, item) in paths.filter(|(path, _)| *path != "/v1/openapi.json") {
        for method in item.as_object().unwrap().keys() {
            let is_done = |(by, path): &(String, String)| by == method && fits(template, path);
            if !done.iter().any(is_done) {
                never.push(format!("{method} {template}"));
            }
        }
    }
    never
}

/// Whether a path is one of this template: parameters stand for themselves between slashes and verbs.
fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) => {
                let fits = match wanted.split_once('}') {
                    Some((_, verb)) => given.ends_with(verb),
                    None => wanted == given,
                };
                if !fits {
                    return false;
                }
            }
            (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}
