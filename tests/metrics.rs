//! What is exported, and what Prometheus, its alerts and the dashboard make of it: a real `tessera serve`, the fleet of a real
//! `tessera demo`, promtool, and a real Prometheus that scrapes both.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::certificates::{Ca, Kind};
use support::{CoapClient, KEY, PATIENCE, Server, eventually, free_port, noise, tessera};
use tempfile::TempDir;

const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/alerts.yml");
const ALERTS_TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics/alerts_test.yml");
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/grafana.json");

/// Grafana's ids of the units that panels are in; of one that it does not know it says nothing.
const UNITS: [&str; 9] = [
    "short",
    "none",
    "percentunit",
    "s",
    "bytes",
    "Bps",
    "ops",
    "reqps",
    "pps",
];

#[test]
fn promtool_accepts_what_is_exported_and_every_alert_fires_when_it_should_and_not_before() {
    let server = Server::start();
    fetch_something(&server);
    promtool(&["check", "metrics"], &server.metrics());
    promtool(&["check", "rules", ALERTS], "");
    promtool(&["test", "rules", ALERTS_TEST], "");

    let alerts = fs::read_to_string(ALERTS).unwrap();
    let tests = fs::read_to_string(ALERTS_TEST).unwrap();
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let query = format!("- expr: 'ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}'");
        let expected = |wanted: &str| {
            let mut lines = tests.lines().map(str::trim);
            let mut found = 0;
            while lines.any(|line| line == query) {
                found += usize::from(lines.nth(1) == Some(wanted));
            }
            found
        };
        assert!(expected("exp_samples:") > 0, "no test has {name} fire");
        assert!(expected("exp_samples: []") > 0, "no test has {name} not fire");
    }
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_exported_and_every_exported_one_is_shown() {
    let server = Server::start();
    fetch_something(&server);
    let exported = Exported::parse(&server.metrics());
    let dashboard = dashboard();
    let shown: Vec<Selector> = expressions(&dashboard)
        .iter()
        .flat_map(|text| selectors(text))
        .collect();
    let alerts = fs::read_to_string(ALERTS).unwrap();
    let alerted = selectors(&alerts);
    assert!(
        shown.len() > 60 && alerted.len() > 30,
        "{} and {}",
        shown.len(),
        alerted.len()
    );
    let mut wrong: Vec<String> = shown
        .iter()
        .chain(&alerted)
        .filter_map(|selector| exported.lacks(selector))
        .collect();
    for text in expressions(&dashboard)
        .iter()
        .map(String::as_str)
        .chain([&*alerts])
    {
        let unknown = grouped_by(text)
            .into_iter()
            .filter(|label| !exported.knows_label(label));
        wrong.extend(unknown.map(|label| format!("nothing has the label {label}: {text}")));
    }
    let families: BTreeSet<&str> = shown
        .iter()
        .map(|selector| family_of(&selector.name, &exported))
        .collect();
    let hidden = exported
        .families
        .keys()
        .filter(|name| !families.contains(name.as_str()));
    wrong.extend(hidden.map(|name| format!("{name} is on no panel")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_dashboard_is_one_that_grafana_takes_and_says_what_to_do() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(
        (&dashboard["id"], &dashboard["uid"]),
        (&Value::Null, &json!("tessera-gateway"))
    );
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);

    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<&str> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        rows,
        [
            "Fleet",
            "Rollout",
            "CoAP",
            "DTLS",
            "Blocks and bandwidth",
            "Store and process"
        ]
    );
    let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id twice");
        assert!(titles.insert(title), "{title}: twice");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(
            side("w") > 0 && side("h") > 0 && side("x") + side("w") <= 24,
            "{title}"
        );
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(cells.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            panel["description"].as_str().unwrap().len() > 30,
            "{title} says too little"
        );
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or("");
        assert!(UNITS.contains(&unit), "{title} is in {unit:?}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<&str> = targets.iter().map(|of| of["refId"].as_str().unwrap()).collect();
        assert_eq!(refs.len(), targets.len(), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(
                panel["type"] == "stat" || target["legendFormat"] != "",
                "{title}: a line without a name"
            );
            // A rate over a fixed time is wrong as soon as somebody scrapes less often, or zooms out.
            assert!(
                !expression.contains("rate(") || expression.contains("[$__rate_interval]"),
                "{title}"
            );
            let chosen = selectors(expression).iter().all(|selector| {
                let has = |name: &str, variable: &str| {
                    let wanted = (name.to_owned(), "=~".to_owned(), variable.to_owned());
                    selector.matchers.contains(&wanted)
                };
                has("job", "$job") && has("instance", "$instance")
            });
            assert!(
                chosen,
                "{title} shows gateways that were not chosen: {expression}"
            );
        }
    }
}

#[test]
fn every_query_of_the_dashboard_has_an_answer_while_a_fleet_updates_and_no_alert_is_raised() {
    let demo = Demo::start();
    let ca = Ca::new("/CN=Operators");
    let own = ca.issue(
        "gateway",
        "/CN=gateway",
        Kind::Version3("extendedKeyUsage=serverAuth"),
        90,
    );
    let server = Server::start_with(&[
        (
            "TESSERA__COAPS__CERTIFICATE_FILE",
            own.certificate.to_str().unwrap(),
        ),
        ("TESSERA__COAPS__PRIVATE_KEY_FILE", own.key.to_str().unwrap()),
    ]);
    let prometheus = Prometheus::start(&[
        ("tessera", server.admin_port, KEY),
        ("tessera-demo", demo.admin_port, &demo.key),
    ]);
    eventually("both gateways have been scraped", || {
        prometheus
            .finite("count(rate(tessera_ready[1m])) == 2")
            .then_some(())
    });
    // What follows is seen to move: an upload, notifications, downloads, reboots and with them handshakes, reports.
    demo.upload("9.9.9", &noise(9, 100_000));
    demo.deploy("9.9.9");

    let mut open: BTreeSet<String> = expressions(&dashboard())
        .iter()
        .map(|text| {
            text.replace("$__rate_interval", "1m")
                .replace("$job", ".*")
                .replace("$instance", ".*")
        })
        .collect();
    assert!(
        open.len() > 60 && open.iter().all(|query| !query.contains('$')),
        "{open:#?}"
    );
    let deadline = Instant::now() + PATIENCE * 4;
    while !open.is_empty() {
        open.retain(|query| !prometheus.finite(query));
        assert!(
            Instant::now() < deadline,
            "no answer to {open:#?}\n{}",
            demo.said()
        );
        thread::sleep(Duration::from_millis(100));
    }
    for variable in dashboard()["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .skip(1)
    {
        let name = variable["name"].as_str().unwrap();
        let query = variable["definition"].as_str().unwrap();
        assert!(query.ends_with(&format!(", {name})")), "{query}");
        assert!(
            prometheus.finite(&format!("count by ({name}) (tessera_build_info)")),
            "{query}"
        );
    }
    for annotation in dashboard()["annotations"]["list"].as_array().unwrap() {
        if let Some(query) = annotation["expr"].as_str() {
            let filled = query.replace("$job", ".*").replace("$instance", ".*");
            // Nobody was started again.
            assert!(!prometheus.finite(&filled), "{query}");
        }
    }

    let rules = prometheus.ask("rules", &[]);
    let rules: Vec<&Value> = rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() > 20, "{rules:#?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert_ne!(rule["state"], "firing", "{rule:#}");
        for said in ["summary", "description", "action"] {
            assert!(rule["annotations"][said].as_str().unwrap().len() > 20, "{rule:#}");
        }
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(matches!(severity, "critical" | "warning"), "{rule:#}");
    }
}

#[test]
fn blocks_served_again_the_data_folder_and_the_start_are_seen_to_move() {
    let before = std::time::SystemTime::now();
    let server = Server::start();
    let part = |name: &str| server.metric_where("tessera_store_bytes", &format!("part=\"{name}\""));
    let artifacts = |bytes: f64| {
        eventually("the artifacts are measured", || {
            (part("artifacts") == bytes).then_some(())
        });
    };
    artifacts(0.0);
    assert!(part("database") > 0.0);
    let free = server.metric("tessera_store_disk_free_bytes");
    assert!(free > 0.0 && free <= server.metric("tessera_store_disk_size_bytes"));
    assert_eq!(server.metric("tessera_ready"), 1.0);
    let age = before
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        - server.metric("tessera_process_start_time_seconds");
    // The kernel tells when it was booted in whole seconds.
    assert!((-60.0..2.0).contains(&age), "started {age} s before it was");

    // The same bytes under two names are there once.
    let device = server.device("lamp", "lamps");
    server.upload("main", "1.0.0", &noise(1, 5000));
    server.upload("main", "1.0.1", &noise(1, 5000));
    server.upload("main", "1.1.0", &noise(2, 3000));
    artifacts(8000.0);

    let blocks = |kind: &str| server.metric_where("tessera_blocks_served_total", &format!("kind=\"{kind}\""));
    let fetch = || {
        let (body, said) = CoapClient::OpenSsl.run(&server, &device, &["-b", "1024"], "/.u/c/main@1.0.0");
        assert_eq!(body, noise(1, 5000), "{said}");
    };
    // A client that was not answered in time asks for a block once more.
    let served = |first: f64, following: f64, repeated: f64| {
        eventually("the blocks are counted", || {
            let counted = ["first", "following", "repeated"].map(blocks);
            (counted[..2] == [first, following] && counted[2] >= repeated).then_some(())
        });
    };
    fetch();
    served(1.0, 4.0, 0.0);
    fetch();
    served(2.0, 4.0, 4.0);
}

/// What a Prometheus sees of a gateway.
struct Exported {
    /// The type of each family.
    families: BTreeMap<String, String>,
    /// Of each name of series the values of each label.
    series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Exported {
    fn parse(text: &str) -> Self {
        let (mut families, mut series) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').unwrap();
                families.insert(name.to_owned(), kind.to_owned());
            } else if line.starts_with("tessera_") {
                let Selector { name, matchers } = selectors(line).remove(0);
                let labels: &mut BTreeMap<_, BTreeSet<_>> = series.entry(name).or_default();
                for (label, _, value) in matchers {
                    labels.entry(label).or_default().insert(value);
                }
            }
        }
        Self { families, series }
    }

    /// What a selector names that is not there.
    fn lacks(&self, selector: &Selector) -> Option<String> {
        let Selector { name, matchers } = selector;
        let Some(labels) = self.series.get(name) else {
            return Some(format!("{name} is not exported"));
        };
        for (label, operator, value) in matchers {
            if matches!(label.as_str(), "job" | "instance") {
                continue;
            }
            let Some(values) = labels.get(label) else {
                return Some(format!("{name} has no label {label}"));
            };
            let is_plain = |text: &str| text.chars().all(|of| of.is_ascii_alphanumeric() || of == '_');
            let alternatives: Vec<&str> = match operator.as_str() {
                "=" | "!=" => vec![value],
                _ => value
                    .split('|')
                    .filter(|alternative| is_plain(alternative))
                    .collect(),
            };
            if let Some(missing) = alternatives.iter().find(|value| !values.contains(**value)) {
                return Some(format!("{name} has no {label}=\"{missing}\", but {values:?}"));
            }
        }
        None
    }

    fn knows_label(&self, label: &str) -> bool {
        matches!(label, "job" | "instance") || self.series.values().any(|labels| labels.contains_key(label))
    }
}

/// The name of a metric in an expression, and what its labels have to be.
struct Selector {
    name: String,
    /// Label, operator, value.
    matchers: Vec<(String, String, String)>,
}

/// Every selector of our metrics in a text.
fn selectors(text: &str) -> Vec<Selector> {
    let in_name = |of: char| of.is_ascii_alphanumeric() || of == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("tessera_") {
        let begins = !rest[..at].ends_with(in_name);
        rest = &rest[at..];
        let end = rest.find(|of| !in_name(of)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        let mut matchers = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            let (inside, after) = inside.split_once('}').expect("a selector ends");
            rest = after;
            let mut inside = inside;
            while let Some((label, quoted)) = inside.split_once('"') {
                let (value, next) = quoted.split_once('"').expect("a value ends");
                inside = next;
                let label = label.trim_matches([',', ' ']);
                let (name, operator) = label.split_at(label.find(|of| !in_name(of)).expect("an operator"));
                matchers.push((name.to_owned(), operator.to_owned(), value.to_owned()));
            }
        }
        if begins {
            let name = name.to_owned();
            found.push(Selector { name, matchers });
        }
    }
    found
}

/// The labels that an expression sums by.
fn grouped_by(text: &str) -> Vec<&str> {
    text.split("by (")
        .skip(1)
        .flat_map(|after| after.split(')').next().unwrap().split(','))
        .map(str::trim)
        .collect()
}

/// The family of a series of it.
fn family_of<'a>(name: &'a str, exported: &Exported) -> &'a str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|family| {
            exported
                .families
                .get(*family)
                .is_some_and(|kind| kind == "histogram")
        })
        .unwrap_or(name)
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap()
}

/// Every query of the panels.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// So that a metric of requests has a series.
fn fetch_something(server: &Server) {
    let device = server.device("lamp", "lamps");
    CoapClient::OpenSsl.run(server, &device, &["-A", "60"], "/.u/desired");
    eventually("the request is counted", || {
        (server.metric("tessera_coap_requests_total") > 0.0).then_some(())
    });
}

fn promtool(arguments: &[&str], input: &str) {
    let started = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = started.unwrap_or_else(|error| panic!("promtool: {error}; tests/run installs it"));
    running.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    // What `check metrics` objects to is in its words alone.
    assert!(
        arguments != ["check", "metrics"] || said.trim().is_empty(),
        "{said}"
    );
}

/// A `tessera demo` with its fleet; killed when dropped.
struct Demo {
    process: Child,
    folder: TempDir,
    admin_port: u16,
    key: String,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = tessera()
            .args(["demo", "--devices", "6"])
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let mut demo = Self {
            process,
            folder,
            admin_port: 0,
            key: String::new(),
        };
        let (port, key) = eventually("the demonstration says where it is", || {
            let said = demo.said();
            let after = |label: &str| {
                said.lines()
                    .find_map(|line| line.trim_start().strip_prefix(label))
            };
            let (link, key) = (after("Console  http://127.0.0.1:")?, after("API key  ")?);
            Some((link.split('/').next()?.parse().ok()?, key.trim().to_owned()))
        });
        (demo.admin_port, demo.key) = (port, key);
        demo
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    fn upload(&self, version: &str, bytes: &[u8]) {
        let url = self.url(&format!("packages/main/artifacts/{version}"));
        let put = ureq::put(url).header("Authorization", format!("Bearer {}", self.key));
        put.header("Content-Type", "application/octet-stream")
            .send(bytes)
            .unwrap();
    }

    fn deploy(&self, version: &str) {
        let order = json!({"name": version, "artifacts": [{"package": "main", "version": version}]});
        let post = ureq::post(self.url("cohorts/demo/deployments"));
        let post = post.header("Authorization", format!("Bearer {}", self.key));
        post.header("Content-Type", "application/json")
            .send(order.to_string())
            .unwrap();
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/v1/projects/default/{path}", self.admin_port)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Prometheus on a port and a folder of its own, with our alerts; killed when dropped.
struct Prometheus {
    process: Child,
    folder: TempDir,
    url: String,
}

impl Prometheus {
    /// Scrapes gateways, each by its job, the port of its API, and a key.
    fn start(gateways: &[(&str, u16, &str)]) -> Self {
        let jobs: Vec<Value> = gateways
            .iter()
            .map(|(job, port, key)| {
                json!({
                    "job_name": job,
                    "authorization": {"credentials": key},
                    "static_configs": [{"targets": [format!("127.0.0.1:{port}")]}],
                })
            })
            .collect();
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [ALERTS],
            "scrape_configs": jobs,
        });
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("prometheus.yml"), config.to_string()).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let flag = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        let started = Command::new("prometheus")
            .arg(flag("config.file", file("prometheus.yml")))
            .arg(flag("storage.tsdb.path", file("data")))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(file("log")).unwrap())
            .spawn();
        let prometheus = Self {
            process: started.unwrap_or_else(|error| panic!("prometheus: {error}; tests/run installs it")),
            folder,
            url: format!("http://{address}"),
        };
        eventually("Prometheus is ready", || {
            ureq::get(format!("{}/-/ready", prometheus.url)).call().ok()
        });
        prometheus
    }

    /// Whether a query is answered with numbers.
    fn finite(&self, query: &str) -> bool {
        let answer = self.ask("query", &[("query", query)]);
        let samples = answer["result"].as_array().unwrap().iter();
        samples
            .map(|sample| sample["value"][1].as_str().unwrap().parse::<f64>().unwrap())
            .any(f64::is_finite)
    }

    fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut request = agent.get(format!("{}/api/v1/{what}", self.url));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let text = request.call().unwrap().body_mut().read_to_string().unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer:#}");
        answer["data"].take()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("Prometheus' log:\n{log}");
        }
    }
}
