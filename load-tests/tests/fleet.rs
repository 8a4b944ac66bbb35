//! Whole runs by the program as a user starts it: a gateway of its own, devices on both engines, results and exit codes.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[test]
fn the_smoke_scenario_passes_and_its_figures_agree_with_each_other() {
    let _turn = turn();
    let (output, result) = run("smoke", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(result["passed"], true);
    assert_eq!(result["ended"], "done");
    assert_eq!(
        result["versions"]["tessera"],
        env!("CARGO_PKG_VERSION"),
        "as the gateway says"
    );
    let count = |name: &str| result["counts"][name].as_u64().unwrap();
    let server = |name: &str| result["server"][name].as_f64().unwrap() as u64;
    let devices = result["scenario"]["devices"].as_u64().unwrap();

    // What the devices saw is what the gateway counted.
    assert_eq!(count("handshakes"), server("handshakes_established"));
    assert!(count("reports") <= server("reports") && count("blocks") <= server("blocks"));
    assert!(count("bytes") <= server("artifact_bytes"));
    assert!(server("datagrams_in") <= count("datagrams_sent"));
    assert!(count("datagrams_received") <= server("datagrams_out"));
    assert_eq!(server("sessions"), devices);
    assert_eq!(count("recorded"), devices);

    // Each booted for each of two updates, and a fifth of them for the reboot; and shook hands at first and after each boot.
    assert_eq!(count("updates"), 2 * devices);
    assert_eq!(count("boots"), 2 * devices + devices / 5);
    assert_eq!(count("handshakes"), devices + count("boots"));
    assert!(count("downloads") >= 2 * devices);
    assert!(count("bytes") >= devices * (16 + 8) * 1024);

    // A network that loses costs both sides something.
    assert!(count("lost_up") > 0 && count("lost_down") > 0 && count("retransmissions") > 0);
    assert!(server("memory_bytes_max") >= server("memory_bytes_connected"));

    // What the set-up took of the processor is in no second of the run.
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    for sample in result["series"].as_array().unwrap() {
        let own_cpu = sample["own_cpu"].as_f64().unwrap();
        assert!(
            own_cpu <= cores + 0.5,
            "{own_cpu} of {cores} cores at {}",
            sample["at_s"]
        );
    }

    for (histogram, values) in [
        ("handshake", count("handshakes")),
        ("block", count("blocks")),
        ("update", count("updates")),
        ("report", count("reports") + count("reports_refused")),
    ] {
        let facts = &result["histograms"][histogram];
        assert_eq!(facts["count"].as_u64(), Some(values), "{histogram}");
        let order = ["min", "p50", "p90", "p99", "p999", "max"].map(|name| facts[name].as_u64().unwrap());
        assert!(order.is_sorted(), "{histogram}: {order:?}");
    }
    for name in ["handshakes", "blocks", "bytes", "boots", "reports"] {
        let kinds = result["kinds"].as_array().unwrap().iter();
        let sum: u64 = kinds.map(|kind| kind["counts"][name].as_u64().unwrap()).sum();
        assert_eq!(sum, count(name), "{name}");
    }
    let series = result["series"].as_array().unwrap();
    let last = series.last().unwrap();
    assert_eq!(last["converged"].as_u64(), Some(devices));
    assert_eq!(last["versions"]["1.0.0"].as_u64(), Some(devices));
    let all_new = series
        .iter()
        .any(|sample| sample["versions"]["1.1.0"].as_u64() == Some(devices));
    assert!(all_new, "there was a second at which all ran 1.1.0");
    let events: Vec<&str> = result["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["deploy", "reboot", "roll-back"]);
}

#[test]
fn a_fleet_that_shares_no_code_with_the_gateway_updates() {
    let _turn = turn();
    let (output, result) = run("foreign", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let devices = result["scenario"]["devices"].as_u64().unwrap();
    assert_eq!(result["counts"]["updates"].as_u64(), Some(devices));
    assert_eq!(
        result["counts"]["handshakes"].as_f64(),
        result["server"]["handshakes_established"].as_f64()
    );
    for kind in result["kinds"].as_array().unwrap() {
        assert_eq!(kind["converged"], kind["devices"], "{}", kind["name"]);
    }
}

#[test]
fn an_expectation_that_is_not_met_is_named_and_fails_the_run() {
    let _turn = turn();
    let scenario = small("[expect]\nconnected_within = \"30 s\"\nhandshake_p99 = \"10 us\"\n");
    let (output, result) = run_text(&scenario, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let verdicts = result["verdicts"].as_array().unwrap();
    let met: Vec<(&str, bool)> = verdicts
        .iter()
        .map(|verdict| {
            (
                verdict["key"].as_str().unwrap(),
                verdict["met"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(met, [("connected_within", true), ("handshake_p99", false)]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("✗ handshake_p99"), "{table}");
    assert!(table.contains("✓ connected_within"), "{table}");
}

#[test]
fn a_gateway_that_has_lost_its_data_fails_the_run() {
    let _turn = turn();
    let text = small(
        "[[events]]\ndo = \"kill-gateway\"\nafter = \"connected\"\naway = \"4 s\"\n\n\
         [[events]]\ndo = \"reboot\"\nafter = \"previous\"\ndelay = \"6 s\"\n\n\
         [expect]\nconnected_within = \"20 s\"\ndevices_lost = 0\n",
    );
    // None of them comes back, however long one waits.
    let text = text.replace("stop_after = \"60 s\"", "stop_after = \"25 s\"");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wiped.toml");
    fs::write(&file, text).unwrap();
    let out = folder.path().join("out");
    let mut child = command(file.to_str().unwrap(), &out, &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap()).lines();
    let killed = talk.find(|line| line.as_ref().unwrap().contains("  kill-gateway"));
    assert!(killed.is_some(), "the event never happened");
    fs::remove_dir_all(out.join("gateway/data")).unwrap();
    let rest: Vec<String> = talk.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", rest.join("\n"));
    let result = result(&out);
    let lost = result["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|verdict| verdict["key"] == "devices_lost")
        .unwrap();
    assert_eq!(lost["met"], false, "{lost}");
    assert_eq!(lost["seen"], "8 of 8");
}

#[test]
fn the_same_seed_makes_the_same_devices_and_chooses_the_same_of_them() {
    let _turn = turn();
    let text = small(
        "[[events]]\ndo = \"reboot\"\nafter = \"connected\"\nshare = \"50 %\"\n\n\
         [[events]]\ndo = \"rebind\"\nafter = \"previous\"\nshare = \"50 %\"\n\n\
         [expect]\nconnected_within = \"30 s\"\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chosen.toml");
    fs::write(&file, &text).unwrap();
    let plan = Command::new(PROGRAM)
        .args(["check", file.to_str().unwrap(), "--plan"])
        .output()
        .unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    let mut planned: BTreeMap<&str, u64> = BTreeMap::from([("one", 0), ("two", 0)]);
    for name in plan
        .lines()
        .filter_map(|line| line.strip_prefix("event 1 chooses "))
    {
        *planned.get_mut(name.split_once('-').unwrap().0).unwrap() += 1;
    }
    assert_eq!(planned.values().sum::<u64>(), 4, "{plan}");
    let facts = |result: &Value| {
        let events: Vec<(String, u64)> = result["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| (event["what"].to_string(), event["devices"].as_u64().unwrap()))
            .collect();
        let rebooted: BTreeMap<String, u64> = result["kinds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| {
                (
                    kind["name"].as_str().unwrap().to_owned(),
                    kind["counts"]["boots"].as_u64().unwrap(),
                )
            })
            .collect();
        (result["scenario"]["plan"].to_string(), events, rebooted)
    };
    let (first, second) = (run_text(&text, &[]), run_text(&text, &[]));
    assert_eq!(first.0.status.code(), Some(0), "{}", told(&first.0));
    assert_eq!(facts(&first.1), facts(&second.1));
    let rebooted = facts(&first.1).2;
    let rebooted: BTreeMap<&str, u64> = rebooted
        .iter()
        .map(|(name, boots)| (name.as_str(), *boots))
        .collect();
    assert_eq!(
        rebooted, planned,
        "those that the plan names were the ones rebooted"
    );
    let (_, other) = run_text(&text, &["--seed", "2"]);
    assert_ne!(other["scenario"]["plan"], first.1["scenario"]["plan"]);
    assert_eq!(other["scenario"]["changed"], serde_json::json!(["--seed 2"]));
}

#[test]
fn a_run_that_is_interrupted_ends_in_order_and_has_not_passed() {
    let _turn = turn();
    let text = small("[[events]]\ndo = \"reboot\"\nat = \"50 s\"\n\n[expect]\nconnected_within = \"30 s\"\n");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (mut child, talk) = running(&text, folder.path(), &out, "connected 8 of 8, observing 8");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let rest: Vec<String> = talk.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", rest.join("\n"));
    let result = result(&out);
    assert_eq!(result["ended"], "interrupted");
    assert_eq!(result["passed"], false);
    assert_eq!(result["verdicts"][0]["met"], true);
    assert!(
        result["verdicts"][1]["seen"]
            .as_str()
            .unwrap()
            .contains("never came to happen"),
        "{}",
        result["verdicts"][1]
    );
}

#[test]
fn devices_send_from_the_addresses_and_ports_that_the_run_is_told() {
    let _turn = turn();
    // Eight endpoints for eight devices: each has to be had.
    let from = ["--from", "127.0.0.3,127.0.0.4", "--ports", "9001-9004"];
    let (output, result) = run_text(
        &small("[expect]\nconnected_within = \"30 s\"\ndevices_lost = 0\n"),
        &from,
    );
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(result["counts"]["handshakes"], 8);
}

#[test]
fn a_run_goes_on_until_an_outage_is_over_and_devices_have_had_time_to_notice() {
    let _turn = turn();
    let text = small(
        "[[events]]\ndo = \"outage\"\nafter = \"connected\"\nlasts = \"4 s\"\n\n\
         [expect]\nconnected_within = \"20 s\"\ndevices_lost = 0\n",
    );
    let (output, result) = run_text(&text, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let began = result["events"][0]["at_s"].as_f64().unwrap();
    let took = result["took_s"].as_f64().unwrap();
    assert!(took >= began + 4.0 + 35.0, "{took} s, of an outage at {began} s");
    let series = result["series"].as_array().unwrap();
    let last = series.last().unwrap()["at_s"].as_f64().unwrap();
    assert!(
        (took - last).abs() < 0.01,
        "the last sample is of the end: {last} s, {took} s"
    );
    let look = result["server"]["last_look_s"].as_f64().unwrap();
    assert!(look < 1.0, "{look} s");
}

#[test]
fn a_gateway_that_does_not_answer_at_the_end_fails_the_run() {
    let _turn = turn();
    let text = small("[[events]]\ndo = \"reboot\"\nat = \"3 s\"\n\n[expect]\nconnected_within = \"3 s\"\n");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (mut child, talk) = running(&text, folder.path(), &out, "  reboot");
    kill(gateway_of(child.id()).unwrap(), Signal::SIGSTOP).unwrap();
    let rest: Vec<String> = talk.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", rest.join("\n"));
    let result = result(&out);
    let failed: Vec<(&str, &str)> = result["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|verdict| verdict["met"] == false)
        .map(|verdict| {
            (
                verdict["key"].as_str().unwrap(),
                verdict["seen"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(failed, [("gateway", "the gateway did not answer at the end")]);
    let look = result["server"]["last_look_s"].as_f64().unwrap();
    assert!(look > 0.5, "its counters are as old as the last answer: {look} s");
}

#[test]
fn a_run_whose_time_is_over_does_not_wait_for_a_gateway_that_is_away() {
    let _turn = turn();
    let text = small(
        "[images.\"main@1.1.0\"]\nsize = \"1 KiB\"\n\n\
         [[events]]\ndo = \"kill-gateway\"\nafter = \"connected\"\naway = \"50 s\"\n\n\
         [[events]]\ndo = \"deploy\"\nafter = \"connected\"\ncohort = \"all\"\nimages = \"main@1.1.0\"\n\n\
         [expect]\nconnected_within = \"10 s\"\n",
    );
    let text = text.replace("stop_after = \"60 s\"", "stop_after = \"12 s\"");
    let (output, result) = run_text(&text, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(result["ended"], "time");
    let took = result["took_s"].as_f64().unwrap();
    assert!(took < 14.0, "{took} s");
    let verdicts = result["verdicts"].as_array().unwrap();
    let events = verdicts
        .iter()
        .find(|verdict| verdict["key"] == "events")
        .unwrap();
    let seen = events["seen"].as_str().unwrap();
    assert!(
        seen.contains("deploy") && seen.contains("never came to happen"),
        "{seen}"
    );
    assert!(seen.contains("before the gateway was back"), "{seen}");
}

#[test]
fn a_run_is_interrupted_while_its_gateway_starts() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut child = command("smoke", &folder.path().join("out"), &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let gateway = loop {
        if let Some(gateway) = gateway_of(child.id()) {
            break gateway;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    kill(gateway, Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let asked = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if asked.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it still waits for its gateway");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let said = told(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("while the gateway was starting"), "{said}");
}

#[test]
fn what_cannot_be_run_is_said_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    fs::write(&bad, small("").replace("count = 4", "count = \"four\"")).unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir_all(&taken).unwrap();
    fs::write(taken.join("result.json"), "{}").unwrap();
    let (bad, taken) = (bad.to_str().unwrap(), taken.to_str().unwrap());
    let key = folder.path().join("no-such-key");
    let key = key.to_str().unwrap();
    let others: &[&str] = &["--url", "http://127.0.0.1:1", "--api-key-file", key];
    for (arguments, says) in [
        (vec!["run", bad], "bad.toml:19:9: [[devices]] count"),
        (vec!["run", bad], "bad.toml:27:9: [[devices]] count"),
        (vec!["run", "no-such-scenario"], "no such file"),
        (vec!["run", "smoke", "--devices", "1"], "--devices"),
        (vec!["run", "smoke", "--threads", "0"], "--threads"),
        // As much as a file can say.
        (
            vec!["run", "smoke", "--seed", "9223372036854775808"],
            "9223372036854775807",
        ),
        (
            vec!["run", "smoke", "--from", "here"],
            "IP addresses of this machine",
        ),
        (vec!["run", "smoke", "--ports", "9-8"], "the lower one first"),
        (
            vec![
                "run",
                "smoke",
                "--quiet",
                "--out",
                "few",
                "--from",
                "127.0.0.1",
                "--ports",
                "20000-20009",
            ],
            "there are 10 endpoints and 200 are needed",
        ),
        (
            vec!["run", "smoke", "--out", taken],
            "result.json is there already",
        ),
        ([&["run", "smoke"], others].concat(), "--gateway"),
        (
            [&["run", "smoke", "--gateway", "localhost"], others].concat(),
            "an IP address and a port",
        ),
        (
            [&["run", "gateway-restart", "--gateway", "127.0.0.1:5684"], others].concat(),
            "only to a gateway that the run has started",
        ),
        (
            [&["run", "smoke", "--gateway", "127.0.0.1:5684"], others].concat(),
            "no-such-key",
        ),
        (
            [
                &["run", "smoke", "--gateway", "127.0.0.1:5684", "--pid", "4194305"],
                others,
            ]
            .concat(),
            "there is no process 4194305",
        ),
    ] {
        let output = Command::new(PROGRAM)
            .args(&arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = told(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[test]
fn a_run_that_never_came_to_begin_leaves_nothing_and_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scenario.toml");
    fs::write(&file, small("")).unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "a-key-of-nobody\n").unwrap();
    let out = folder.path().join("out");
    let nobody = "http://127.0.0.1:1";
    let key = key.to_str().unwrap();
    let arguments = [
        "--url",
        nobody,
        "--api-key-file",
        key,
        "--gateway",
        "127.0.0.1:5684",
    ];
    for _ in 0..2 {
        let output = command(file.to_str().unwrap(), &out, &arguments)
            .output()
            .unwrap();
        let said = told(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("does not answer") && said.contains(nobody),
            "{said}"
        );
        assert!(!out.exists(), "{said}");
    }
}

/// Two kinds of four devices, which are there within a second.
fn small(rest: &str) -> String {
    let kind = |name: &str, port: &str| {
        format!(
            "[[devices]]\nname = \"{name}\"\ncount = 4\nport = \"{port}\"\nruns = \"main@1.0.0\"\ncohort = \"all\"\nfaster = 10\n\n"
        )
    };
    format!(
        "name = \"small\"\nabout = \"Eight devices.\"\nseed = 1\nstop_after = \"60 s\"\nlinger = \"1 s\"\n\n\
         [images.\"main@1.0.0\"]\nsize = \"1 KiB\"\n\n\
         [[cohorts]]\nname = \"all\"\ndeployed = \"main@1.0.0\"\n\n\
         [arrival]\nhow = \"storm\"\n\n{}{}{rest}",
        kind("one", "libcoap"),
        kind("two", "zephyr")
    )
}

/// A run of this scenario that goes on, and has said this.
fn running(text: &str, folder: &Path, out: &Path, said: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    let file = folder.join("scenario.toml");
    fs::write(&file, text).unwrap();
    let mut child = command(file.to_str().unwrap(), out, &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(talk.any(|line| line.unwrap().contains(said)));
    (child, talk)
}

fn run_text(text: &str, arguments: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scenario.toml");
    fs::write(&file, text).unwrap();
    run(file.to_str().unwrap(), arguments)
}

/// Runs a scenario; its result must be there whether it has passed or not.
fn run(scenario: &str, arguments: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = command(scenario, &out, arguments).output().unwrap();
    assert!(out.join("result.json").exists(), "{}", told(&output));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<svg"), "the report has plots");
    (output, result(&out))
}

fn command(scenario: &str, out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", scenario, "--out", out.to_str().unwrap()])
        .args(arguments);
    command
}

/// The gateway that a run has started, once there is one.
fn gateway_of(run: u32) -> Option<Pid> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut numbers = processes.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
    let number = numbers.find(|number| {
        let read = |file| fs::read_to_string(format!("/proc/{number}/{file}")).unwrap_or_default();
        let parent = read("stat")
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parent == Some(run) && read("cmdline").contains("serve-gateway")
    })?;
    Some(Pid::from_raw(number))
}

fn result(out: &Path) -> Value {
    let path: PathBuf = out.join("result.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    )
}

/// Runs that share the machine measure each other: one after another.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_tessera-fleet");
