//! The command line of scenarios, as somebody uses it who has just written one.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

#[test]
fn a_good_scenario_is_told_in_words_and_a_plan_is_the_same_twice() {
    let told = fleet(&["check", "smoke"]);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    let summary = stdout(&told);
    for part in [
        "smoke: Everything once",
        "200 devices, arriving evenly over 5 s; seed 1",
        "certificate, ecdsa-gcm",
        "1. after all are connected: deploy main@1.1.0 to all",
        "2. after all are converged: reboot 20 % of all good devices (40 devices)",
        "devices_lost: at most 0 good devices without a session at the end",
    ] {
        assert!(summary.contains(part), "{part} is not in\n{summary}");
    }

    // Whoever doubts the digest can make it: of what `--plan` prints.
    let whole = Sha256::digest(fleet(&["check", "smoke", "--plan"]).stdout);
    let digest: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(summary.ends_with(&format!("\nplan {digest}\n")), "{summary}");

    let plan = |seed: &str| {
        stdout(&fleet(&[
            "check",
            "smoke",
            "--plan",
            "--devices",
            "30",
            "--seed",
            seed,
        ]))
    };
    let (once, twice, other) = (plan("7"), plan("7"), plan("8"));
    assert_eq!(once, twice);
    assert_ne!(once, other);
    let lines = |plan: &str, start: &str| plan.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(lines(&once, "device "), 30);
    assert_eq!(lines(&once, "event 2 chooses "), 6);
}

#[test]
fn a_file_that_is_called_like_a_shipped_scenario_is_not_taken_for_it_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("smoke"), "name = 1\n").unwrap();
    let check = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tessera-fleet"));
        command
            .args(["check", name])
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let shipped = check("smoke");
    assert_eq!(shipped.status.code(), Some(0), "{}", stderr(&shipped));
    assert!(
        stderr(&shipped).contains("smoke is the shipped scenario") && stderr(&shipped).contains("./smoke"),
        "{}",
        stderr(&shipped)
    );
    assert_eq!(check("./smoke").status.code(), Some(2));
    assert_eq!(stderr(&check("foreign")), "");
}

#[test]
fn every_mistake_of_a_file_is_told_as_a_compiler_tells_it_and_the_exit_code_is_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(
        &path,
        "name = \"mine\"\nstop_after = \"5 minutes\"\n\n[[devices]]\nname = \"a\"\ncount = 0\nruns = \"main@1\"\nport = \"zephir\"\n",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let told = fleet(&["check", path]);
    assert_eq!(told.status.code(), Some(2));
    let said = stderr(&told);
    assert!(said.starts_with("error: 3 mistakes in the scenario:\n"), "{said}");
    for (place, problem) in [
        ("2:14", "stop_after = \"5 minutes\": expected a duration like"),
        (
            "6:9",
            "[[devices]] count = 0: expected a whole number from 1 to 1000000",
        ),
        (
            "8:8",
            "[[devices]] port = \"zephir\": expected \"libcoap\" or \"zephyr\" (did you mean \"zephyr\"?)",
        ),
    ] {
        let line = format!("\n  {path}:{place}: {problem}");
        assert!(said.contains(&line), "{line}\nis not in\n{said}");
    }
    assert_eq!(stdout(&told), "");
}

#[test]
fn a_name_that_nobody_knows_is_answered_with_those_that_there_are() {
    let told = fleet(&["check", "smok"]);
    assert_eq!(told.status.code(), Some(2));
    let said = stderr(&told);
    assert!(
        said.starts_with("error: smok: no such file, and no scenario of that name is shipped: expected a file, or \"smoke\", "),
        "{said}"
    );
    assert!(said.contains("did you mean \"smoke\"?"), "{said}");

    let told = fleet(&["check", "smoke", "--devices", "2"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(
        stderr(&told).contains("--devices = 2: expected 3 to 1000000, as there are 3 kinds of devices"),
        "{}",
        stderr(&told)
    );
}

#[test]
fn the_shipped_scenarios_are_listed_with_what_they_show() {
    let listed = stdout(&fleet(&["scenarios"]));
    for (name, devices) in [
        ("smoke", "200"),
        ("connect-storm", "10000"),
        ("deploy-10k", "10000"),
        ("foreign", "20"),
    ] {
        let line = listed.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{listed}"));
        assert!(line.contains(&format!(" {devices} devices  ")), "{line}");
        assert!(line.ends_with('.'), "{line}");
    }
}

fn fleet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tessera-fleet"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_scenario_that_does_not_say_what_it_is_about_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let text = "name = \"mine\"\nstop_after = \"5 min\"\n\n[[devices]]\nname = \"a\"\ncount = 1\nruns = \"main@1\"\n\n[expect]\ndevices_lost = 0\n";
    fs::write(&path, text).unwrap();
    let told = fleet(&["check", path.to_str().unwrap()]);
    assert!(
        stdout(&told).starts_with("mine\n\n1 devices"),
        "{}",
        stdout(&told)
    );
}

#[test]
fn what_cannot_be_written_is_an_error_unless_nobody_reads_on() {
    let told_to = |to: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_tessera-fleet"))
            .args(["check", "smoke", "--plan"])
            .stdout(to)
            .output()
            .unwrap()
    };
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let told = told_to(full.into());
    assert_eq!(told.status.code(), Some(1));
    assert!(
        stderr(&told).starts_with("error: the output cannot be written: No space left on device"),
        "{}",
        stderr(&told)
    );
    assert_eq!(stderr(&told).lines().count(), 1, "said once");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let told = told_to(writer.into());
    assert_eq!((told.status.code(), &*stderr(&told)), (Some(0), ""));
}
