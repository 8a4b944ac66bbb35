//! The command line as a pipeline and an operator at a terminal use it: waiting for a rollout, watching it, looking at what was
//! deployed, forms of output, completions. Against a real `tessera serve`; what devices report comes from libcoap's client.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{CoapClient, Device, KEY, PATIENCE, Server, eventually, noise, tessera};

#[test]
fn what_asks_for_a_confirmation_is_the_same_in_the_console_in_the_api_and_here() {
    let server = Server::start();
    for (package, version) in [("main", "1.0"), ("main", "1.1"), ("boot", "1.0")] {
        server.upload(package, version, &noise(1, 100));
    }
    let console = Console::signed_in(&server);
    let back = ("downgrade", "goes back to an older version");
    let removed = ("removal", "removes a package");
    // A stock device takes one package.
    let rejected = ("rejection", "would be rejected by a stock device");
    let (main_0, main_1, boot) = (("main", "1.0"), ("main", "1.1"), ("boot", "1.0"));
    // The active set, the next one, and what is to be confirmed.
    let table: [(&[_], &[_], &[_]); 10] = [
        (&[], &[main_1], &[]),
        (&[main_0], &[main_1], &[]),
        (&[main_1], &[main_1], &[]),
        (&[main_1], &[main_0], &[back]),
        (&[main_0], &[boot], &[removed]),
        (&[main_0, boot], &[main_1], &[removed]),
        (&[main_1, boot], &[main_0], &[back, removed]),
        (&[], &[main_0, boot], &[rejected]),
        (&[main_0], &[main_1, boot], &[rejected]),
        (&[main_1], &[main_0, boot], &[back, rejected]),
    ];
    for (number, (active, next, expected)) in table.into_iter().enumerate() {
        let case = format!("{active:?} to {next:?}");
        let cohort = format!("cohort-{number}");
        server.done("POST", "cohorts", json!({"name": cohort}));
        if !active.is_empty() {
            server.deploy(&cohort, "before", active);
        }
        let id = server.cohort_id(&cohort);
        let effects: Vec<&str> = expected.iter().map(|(_, effect)| *effect).collect();
        let sentence = effects.join(" and ");

        let artifacts = next
            .iter()
            .map(|(package, version)| json!({"package": package, "version": version}));
        let order = json!({"name": "next", "artifacts": artifacts.collect::<Vec<_>>()});
        let preview = server.done("POST", &format!("cohorts/{id}/deployments:preview"), order);
        let told = expected
            .iter()
            .map(|(kind, effect)| json!({"kind": kind, "message": effect}));
        assert_eq!(preview["cautions"], json!(told.collect::<Vec<_>>()), "{case}");

        let set: String = next
            .iter()
            .map(|(package, version)| format!("&version:{package}={version}"))
            .collect();
        let review = console.page(&format!(
            "/projects/default/cohorts/{id}/deploy?seen=none&step=review&name=next{set}"
        ));
        assert_eq!(
            review.contains("name=\"confirm\""),
            !expected.is_empty(),
            "{case}: {review}"
        );
        for (_, effect) in [back, removed, rejected] {
            let said = review.contains(&format!("<b>{effect}</b>"));
            assert_eq!(said, effects.contains(&effect), "{case}: {effect}: {review}");
        }

        let set: Vec<String> = next
            .iter()
            .map(|(package, version)| format!("{package}@{version}"))
            .collect();
        let mut line = vec!["deploy", &cohort, "--name", "next"];
        line.extend(set.iter().flat_map(|one| ["-p", one]));
        let dry = run(&server, &[&line[..], &["--dry-run"]].concat());
        let said = String::from_utf8_lossy(&dry.stderr);
        assert!(dry.status.success(), "{case}: {said}");
        match sentence.as_str() {
            "" => assert!(said.is_empty(), "{case}: {said}"),
            sentence => assert!(
                said.contains(&format!("the deployment {sentence}: asks")),
                "{case}: {said}"
            ),
        }
        let before = usize::from(!active.is_empty());
        let asked = run(&server, &line);
        let said = String::from_utf8_lossy(&asked.stderr);
        if expected.is_empty() {
            assert!(asked.status.success(), "{case}: {said}");
        } else {
            assert_eq!(asked.status.code(), Some(2), "{case}: {said}");
            let refused = format!("error: the deployment {sentence}: say --yes if that is meant");
            assert!(said.contains(&refused), "{case}: {said}");
            assert_eq!(deployments(&server, &cohort), before, "{case}");
            cli(&server, &[&line[..], &["--yes"]].concat());
        }
        assert_eq!(deployments(&server, &cohort), before + 1, "{case}");
    }
}

#[test]
fn on_a_terminal_the_name_of_the_cohort_is_typed() {
    let server = server_with_versions(&["1.0.0", "1.1.0"]);
    server.done("POST", "cohorts", json!({"name": "lamps"}));
    server.deploy("lamps", "before", &[("main", "1.1.0")]);
    for (typed, code, so_many) in [("lamp\n", 1, 1), ("\n", 1, 1), ("lamps\n", 0, 2)] {
        let (ended, shown) = at_a_terminal(&server, "deploy lamps -p main@1.0.0", typed);
        assert_eq!(ended, code, "{shown}");
        let asked = "the deployment goes back to an older version; type the cohort's name to go on:";
        assert!(shown.contains(asked), "{shown}");
        assert_eq!(shown.contains("nothing was deployed"), code == 1, "{shown}");
        assert_eq!(deployments(&server, "lamps"), so_many, "{typed:?}: {shown}");
    }
}

#[test]
fn what_cannot_be_undone_is_not_done_where_nobody_can_be_asked_unless_it_is_said_to_be_meant() {
    let server = Server::start();
    server.upload("main", "1.0", &noise(1, 100));
    server.done("POST", "packages", json!({"name": "empty"}));
    server.done("POST", "cohorts", json!({"name": "lamps"}));
    server.done("POST", "devices", json!({"name": "lamp-1"}));
    server.done("POST", "keys", json!({"name": "ci", "role": "read"}));
    for line in [
        "cohort delete lamps",
        "package delete main@1.0",
        "package delete empty",
        "device credential remove lamp-1 lamp-1-id@default",
        "device delete lamp-1",
        "key revoke ci",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        // Twice: the first time has changed nothing.
        for _ in 0..2 {
            let refused = run(&server, &words);
            let said = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(2), "{line}: {said}");
            assert!(said.ends_with(": say --yes if that is meant\n"), "{line}: {said}");
        }
        cli(&server, &[&words[..], &["--yes"]].concat());
    }
}

#[test]
fn standard_input_is_no_file_to_upload_and_a_command_that_is_suggested_can_be_pasted() {
    let server = Server::start();
    let refused = run(&server, &["package", "upload", "main@1.0", "-"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("accepted: the path of a file"), "{said}");
    server.done("POST", "cohorts", json!({"name": "field trial"}));
    let none = run(&server, &["cohort", "history", "field trial"]);
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(said.contains("tessera deploy 'field trial' --package"), "{said}");
}

#[test]
fn a_wait_goes_on_through_a_restart_of_the_gateway_and_ends_when_every_device_runs_it() {
    let mut server = server_with_versions(&["1.0.0", "1.1.0"]);
    let lamps = [server.device("lamp-1", "lamps"), server.device("lamp-2", "lamps")];
    let waiting = Running::start(
        &server,
        &[
            "deploy",
            "lamps",
            "--name",
            "spring",
            "-p",
            "main@1.1.0",
            "--wait",
            "-o",
            "json",
        ],
    );
    waiting.until_said("deployed as \"spring\" (dep_");
    waiting.until_said("0 of 2 devices done; 2 pending");
    report(&server, &lamps[0], &runs("1.1.0"));
    waiting.until_said("1 of 2 devices done; 1 pending");
    server.kill();
    waiting.until_said("reconnecting: http://127.0.0.1");
    server.start_again();
    waiting.until_said("connected again");
    report(&server, &lamps[1], &runs("1.1.0"));
    let ended = waiting.end();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(
        ended.said.contains("all 2 devices run it, after"),
        "{}",
        ended.said
    );
    let result: Value = serde_json::from_str(&ended.printed).unwrap();
    assert_eq!(result["outcome"], "done");
    assert_eq!(result["progress"]["done"], 2);
    let id = server.done("GET", "cohorts/lamps", Value::Null)["activeDeployment"]["id"].take();
    assert_eq!((&result["id"], &result["sequence"]), (&id, &json!(1)));
}

#[test]
fn a_condition_that_holds_ends_the_wait_with_6_and_fewer_failures_than_allowed_do_not() {
    let server = server_with_versions(&["1.0.0", "1.1.0"]);
    let lamps = [server.device("lamp-1", "lamps"), server.device("lamp-2", "lamps")];
    let waiting = Running::start(
        &server,
        &[
            "deploy",
            "lamps",
            "-p",
            "main@1.0.0",
            "--wait",
            "--fail-if",
            "failed>=50%",
        ],
    );
    waiting.until_said("2 pending");
    report(&server, &lamps[0], &failed_at("1.0.0"));
    let ended = waiting.end();
    assert_eq!(ended.code, 6, "{}", ended.said);
    assert!(
        ended.said.contains("error: failed>=50% holds after")
            && ended.said.contains("0 done, 1 failed, 1 pending"),
        "{}",
        ended.said
    );
    assert!(ended.printed.contains("OUTCOME   failIf"), "{}", ended.printed);

    // One failed device is what the next one allows, and what the last one does not.
    report(&server, &lamps[1], &runs("1.0.0"));
    for (condition, code, word) in [
        (Some("failed>50%"), 0, "1 of 2 devices run it"),
        (None, 6, "error: 1 of 2 devices failed, 1 run it"),
    ] {
        let mut arguments = vec!["deployment", "watch", "lamps"];
        arguments.extend(condition.iter().flat_map(|condition| ["--fail-if", condition]));
        let ended = Running::start(&server, &arguments).end();
        assert_eq!(ended.code, code, "{}", ended.said);
        assert!(ended.said.contains(word), "{}", ended.said);
    }
}

#[test]
fn a_timeout_ends_the_wait_with_6_and_says_how_many_devices_are_not_done() {
    let server = server_with_versions(&["1.0.0"]);
    let lamps = [server.device("lamp-1", "lamps"), server.device("lamp-2", "lamps")];
    report(&server, &lamps[0], &runs("1.0.0"));
    let waiting = ["deploy", "lamps", "-p", "main@1.0.0", "--wait", "--timeout", "4s"];
    let ended = Running::start(&server, &waiting).end();
    assert_eq!(ended.code, 6, "{}", ended.said);
    assert!(
        ended
            .said
            .contains("error: after 4 s, 1 of 2 devices not done: 1 pending"),
        "{}",
        ended.said
    );
    assert!(ended.printed.contains("OUTCOME   timeout"), "{}", ended.printed);

    let without_wait = ["deploy", "lamps", "-p", "main@1.0.0", "--timeout", "1s"];
    let ended = Running::start(&server, &without_wait).end();
    assert_eq!(ended.code, 2, "{}", ended.said);
    assert!(ended.said.contains("--wait"), "{}", ended.said);
    assert_eq!(
        deployments(&server, "lamps"),
        1,
        "nothing was deployed by a line that makes no sense"
    );
}

#[test]
fn a_newer_deployment_ends_the_wait_for_one_that_is_not_finished_with_5() {
    let server = server_with_versions(&["1.0.0", "1.1.0"]);
    server.device("lamp-1", "lamps");
    let waiting = Running::start(&server, &["deploy", "lamps", "-p", "main@1.0.0", "--wait"]);
    waiting.until_said("1 pending");
    server.deploy("lamps", "hotfix", &[("main", "1.1.0")]);
    let ended = waiting.end();
    assert_eq!(ended.code, 5, "{}", ended.said);
    assert!(
        ended.said.contains(
            "deployed \"hotfix\" (sequence 2) to its cohort meanwhile, with 1 of 1 device not done"
        ),
        "{}",
        ended.said
    );
    assert!(ended.printed.contains("superseded"), "{}", ended.printed);
}

#[test]
fn an_empty_cohort_is_done_at_once_and_a_cohort_that_is_not_there_is_not_found() {
    let server = server_with_versions(&["1.0.0"]);
    server.done("POST", "cohorts", json!({"name": "nobody"}));
    let ended = Running::start(&server, &["deploy", "nobody", "-p", "main@1.0.0", "--wait"]).end();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(ended.said.contains("the cohort has no devices"), "{}", ended.said);
    server.done("POST", "cohorts", json!({"name": "empty"}));
    for (line, word) in [
        (
            ["deployment", "watch", "nowhere"],
            "neither a deployment nor a cohort \"nowhere\"",
        ),
        (
            ["deployment", "watch", "dep_99"],
            "neither a deployment nor a cohort \"dep_99\"",
        ),
        (["device", "show", "nobody"], "tessera device list"),
        (
            ["deployment", "show", "empty"],
            "nothing was deployed to empty yet",
        ),
        (["deployment", "list", "nowhere"], "tessera cohort list"),
        (["cohort", "history", "nowhere"], "tessera cohort list"),
    ] {
        let ended = Running::start(&server, &line).end();
        assert_eq!(ended.code, 3, "{line:?}: {}", ended.said);
        assert!(ended.said.contains(word), "{line:?}: {}", ended.said);
    }
    // Of what there is, it does not say that it is not there: the project is not.
    server.device("lamp-1", "empty");
    let ended = Running::start(&server, &["device", "show", "lamp-1", "--project", "typo"]).end();
    assert!(ended.said.contains("project \"typo\""), "{}", ended.said);
}

/// Whatever a machine's environment says of proxies: who answers there could be anybody, and reads what is not encrypted.
#[test]
fn an_api_key_goes_in_the_clear_to_nobody_but_the_gateway() {
    let server = Server::start();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut list = command(&server, &["cohort", "list"]);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        list.env(name, &address);
    }
    let output = list.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let asked = proxy.accept().map(|(_, from)| from);
    assert!(asked.is_err(), "the proxy was asked from {asked:?}");
}

#[test]
fn a_watch_prints_a_line_per_change_and_ctrl_c_ends_it_with_what_was_seen() {
    let server = server_with_versions(&["1.0.0"]);
    let lamp = server.device("lamp-1", "lamps");
    server.device("lamp-2", "lamps");
    let id = id_of(&server.deploy("lamps", "spring", &[("main", "1.0.0")]));
    let watching = Running::start(&server, &["deployment", "watch", &id, "-o", "ndjson"]);
    watching.until_printed("\"pending\":2");
    report(&server, &lamp, &runs("1.0.0"));
    watching.until_printed("\"done\":1");
    watching.interrupt();
    let ended = watching.end();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(
        ended
            .said
            .contains("1 of 2 devices not done: 1 pending; the deployment goes on"),
        "{}",
        ended.said
    );
    let lines: Vec<Value> = ended
        .printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (&line["done"], &line["outcome"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!(0), &Value::Null),
            (&json!(1), &Value::Null),
            (&json!(1), &json!("interrupted"))
        ]
    );
    assert!(
        lines
            .iter()
            .all(|line| line["deployment"] == *id && line["sequence"] == 1)
    );

    // A wait that is interrupted has not done what was asked, and says that the rest goes on.
    let waiting = Running::start(&server, &["deploy", "lamps", "-p", "main@1.0.0", "--wait"]);
    waiting.until_said("1 of 2 devices done");
    waiting.interrupt();
    let ended = waiting.end();
    assert_eq!(ended.code, 1, "{}", ended.said);
    let newer = id_of(&server.done("GET", "cohorts/lamps", Value::Null)["activeDeployment"]);
    assert!(
        ended
            .said
            .ends_with(&format!("goes on: tessera deployment watch {newer}\n")),
        "{}",
        ended.said
    );
}

#[test]
fn what_was_deployed_is_shown_by_id_and_by_cohort_and_listed_newest_first() {
    let server = server_with_versions(&["1.0.0", "1.1.0"]);
    let lamp = server.device("lamp-1", "lamps");
    let first = id_of(&server.deploy("lamps", "spring", &[("main", "1.1.0")]));
    let second = id_of(&server.deploy("lamps", "number 2", &[("main", "1.0.0")]));
    report(&server, &lamp, &runs("1.0.0"));
    // How far it had come when another took its place is what is told of it later.
    eventually("it is counted", || {
        let shown = cli(&server, &["deployment", "show", &second]);
        shown.contains("1 of 1 device done").then_some(())
    });
    for number in 3..=11 {
        server.deploy("lamps", &format!("number {number}"), &[("main", "1.0.0")]);
    }
    server.upload("assets", "7", &noise(7, 700));
    server.deploy("lamps", "last", &[("main", "1.0.0"), ("assets", "7")]);

    let shown = cli(&server, &["deployment", "show", "lamps"]);
    for part in [
        "last",
        "● active",
        "bootstrap",
        "assets   7 +",
        "main     1.0.0 –",
        "1 of 1 device done",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = cli(&server, &["deployment", "show", &first]);
    assert!(
        shown.contains("superseded") && shown.contains("spring"),
        "{shown}"
    );
    let shown: Value =
        serde_json::from_str(&cli(&server, &["deployment", "show", &second, "-o", "json"])).unwrap();
    assert_eq!(shown["artifacts"][0]["change"], "downgraded");
    assert_eq!(
        (&shown["cohortName"], &shown["progress"]["done"]),
        (&json!("lamps"), &json!(1))
    );

    let listed = cli(&server, &["deployment", "list", "lamps"]);
    assert_eq!(listed.lines().count(), 1 + 12, "{listed}");
    assert!(
        listed.lines().nth(1).unwrap().starts_with("● active  last"),
        "{listed}"
    );
    assert_eq!(listed.matches("● active").count(), 1, "{listed}");

    let history = run(&server, &["cohort", "history", "lamps"]);
    let rows = String::from_utf8(history.stdout).unwrap();
    assert_eq!(rows.lines().count(), 1 + 10, "{rows}");
    let heading: Vec<&str> = rows.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "assets", "main", "WHEN", "BY", "SEQUENCE"]);
    assert!(
        rows.lines().nth(1).unwrap().starts_with("● active  last"),
        "{rows}"
    );
    assert!(rows.lines().nth(1).unwrap().contains("7 +     1.0.0 –"), "{rows}");
    assert!(String::from_utf8_lossy(&history.stderr).contains("tessera deployment list lamps"));
}

#[test]
fn every_verb_that_lists_does_so_in_each_form_and_says_in_words_that_there_is_nothing() {
    let server = Server::start();
    let verbs: [&[&str]; 7] = [
        &["package", "list"],
        &["cohort", "list"],
        &["device", "list"],
        &["device", "list", "--tag", "north"],
        &["ca", "list"],
        &["session", "list"],
        &["session", "failures"],
    ];
    for verb in verbs {
        let output = run(&server, verb);
        assert!(output.status.success() && output.stdout.is_empty(), "{verb:?}");
        assert!(!output.stderr.is_empty(), "{verb:?} says nothing");
        assert_eq!(
            cli(&server, &[verb, &["-o", "json"]].concat()),
            "[]\n",
            "{verb:?}"
        );
        assert_eq!(cli(&server, &[verb, &["-o", "ndjson"]].concat()), "", "{verb:?}");
    }

    server.upload("main", "1.0.0", &noise(1, 100));
    server.device("lamp-1", "lamps");
    server.deploy("lamps", "spring", &[("main", "1.0.0")]);
    let verbs: [&[&str]; 8] = [
        &["package", "list"],
        &["package", "list", "main"],
        &["cohort", "list"],
        &["cohort", "history", "lamps"],
        &["deployment", "list", "lamps"],
        &["device", "list"],
        &["device", "credential", "list", "lamp-1"],
        &["key", "list"],
    ];
    for verb in verbs {
        let table = cli(&server, verb);
        assert_eq!(table.lines().count(), 2, "{verb:?}: {table}");
        let list: Value = serde_json::from_str(&cli(&server, &[verb, &["-o", "json"]].concat())).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 1, "{verb:?}: {list}");
        let lines = cli(&server, &[verb, &["-o", "ndjson"]].concat());
        assert_eq!(lines.lines().count(), 1, "{verb:?}: {lines}");
        assert_eq!(
            serde_json::from_str::<Value>(&lines).unwrap(),
            list[0],
            "{verb:?}"
        );
    }
}

#[test]
fn bash_completes_what_the_completions_say() {
    for (line, expected) in [
        ("tessera dep", vec!["deploy", "deployment"]),
        ("tessera deployment ", vec!["list", "show", "watch"]),
        ("tessera deploy lamps --fail", vec!["--fail-if"]),
        ("tessera key create --role ", vec!["admin", "deploy", "read"]),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        // What bash does when Tab is pressed, for a program that told it a function.
        let script = format!(
            "source <(\"$TESSERA\" completions bash) && COMP_WORDS=({}) && COMP_CWORD={} && COMP_LINE='{line}' \
             && function=$(complete -p tessera | sed 's/.*-F \\([^ ]*\\).*/\\1/') \
             && \"$function\" tessera \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\" \
             && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words
                .iter()
                .map(|word| format!("'{word}'"))
                .collect::<Vec<_>>()
                .join(" "),
            words.len() - 1,
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .env("TESSERA", env!("CARGO_BIN_EXE_tessera"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8(output.stdout).unwrap();
        let mut offered: Vec<&str> = printed
            .lines()
            .filter(|word| expected.len() == 1 || !word.starts_with('-'))
            .collect();
        offered.sort_unstable();
        assert_eq!(offered, expected, "{line}: {said}");
    }
    for shell in ["zsh", "fish"] {
        let output = tessera().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("deployment") && script.contains("fail-if"),
            "{shell}"
        );
    }
}

#[test]
fn the_fleet_of_the_demonstration_goes_on_updating_until_ctrl_c_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = tessera();
    command
        .args(["demo", "--devices", "5"])
        .env("TMPDIR", temporary.path());
    let demo = Running::spawn(command);
    // A whole gateway with its fleet, and then a roll-out that takes seconds by intent, for it is watched.
    demo.until_said_within(3, "  Console  http://127.0.0.1:");
    demo.until_said_within(3, "All 5 devices");
    demo.until_said_within(5, "Ctrl-C ends it");
    let said = demo.said();
    let after = |label: &str| {
        let line = said
            .lines()
            .rev()
            .find_map(|line| line.trim_start().strip_prefix(label));
        line.unwrap_or_else(|| panic!("{said}")).trim().to_owned()
    };
    let (link, key) = (after("Console"), after("API key"));
    let (url, _) = link.split_once("/sign-in/").unwrap();

    // The link signs a browser in, once.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into();
    for (status, signs_in) in [(303, true), (422, false)] {
        let answer = agent.get(&link).call().unwrap();
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers().contains_key("set-cookie"), signs_in);
    }

    // What a visitor brings along is booted like what was prepared.
    let api = format!("{url}/v1/projects/default");
    let bearer = format!("Bearer {key}");
    let put = agent
        .put(format!("{api}/packages/main/artifacts/7.7.7"))
        .header("Authorization", &bearer)
        .header("Content-Type", "application/octet-stream")
        .send(&noise(7, 5000)[..]);
    assert_eq!(put.unwrap().status().as_u16(), 201);
    for version in ["1.2.0", "7.7.7"] {
        let order = json!({"name": version, "artifacts": [{"package": "main", "version": version}]});
        let made = agent
            .post(format!("{api}/cohorts/demo/deployments"))
            .header("Authorization", &bearer)
            .header("Content-Type", "application/json")
            .send(order.to_string());
        assert_eq!(made.unwrap().status().as_u16(), 201);
        demo.until_said_within(5, &format!("main@{version}: 5 of 5"));
    }

    // What fails on every fifth device is seen to fail, and by a pipeline too.
    let ask = |arguments: &[&str]| {
        let asked = tessera()
            .args(arguments)
            .env("TESSERA_URL", url)
            .env("TESSERA_API_KEY", &key)
            .output()
            .unwrap();
        (asked.status.code(), String::from_utf8(asked.stdout).unwrap())
    };
    let bad = "main@2.0.0-rc1";
    let order = [
        "deploy",
        "demo",
        "-p",
        bad,
        "--yes",
        "--wait",
        "--fail-if",
        "failed>10%",
    ];
    let (code, printed) = ask(&order);
    assert_eq!(code, Some(6), "{printed}");
    let (_, printed) = ask(&["device", "list", "-o", "ndjson"]);
    let devices: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = devices
        .iter()
        .map(|device| device["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["device-01", "device-02", "device-03", "device-04", "device-05"]
    );
    let failed = devices[4]["packages"][0].clone();
    assert_eq!(
        (&failed["version"], &failed["failure"]),
        (&json!("7.7.7"), &json!("integrity-check-failure")),
        "{failed}"
    );

    demo.interrupt();
    let ended = demo.end();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert_eq!(
        fs::read_dir(temporary.path()).unwrap().count(),
        0,
        "{}",
        ended.said
    );
}

#[test]
fn a_demonstration_for_scripts_ends_by_itself_and_says_by_its_exit_code_how_it_went() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = tessera();
    command
        .args(["demo", "--devices", "2", "--once"])
        .env("TMPDIR", temporary.path());
    let ended = Running::spawn(command).end();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(
        ended.printed.contains("updated               2\n"),
        "{}",
        ended.printed
    );
    assert!(!ended.said.contains("Console"), "{}", ended.said);
}

/// A gateway with versions of the package `main`.
fn server_with_versions(versions: &[&str]) -> Server {
    let server = Server::start();
    for (seed, version) in (1..).zip(versions) {
        server.upload("main", version, &noise(seed, 700));
    }
    server
}

/// State 0, reason 0: idle, and runs this version.
fn runs(version: &str) -> Vec<u8> {
    state_report(0, 0, version, None)
}

/// State 0, reason 11: waits to try again, as something failed.
fn failed_at(target: &str) -> Vec<u8> {
    state_report(0, 11, "0.9.0", Some(target))
}

/// A state report as the SDK writes it.
fn state_report(state: u8, reason: u8, version: &str, target: Option<&str>) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.map(if target.is_some() { 5 } else { 4 }).unwrap();
    encoder.str("s").unwrap().u8(state).unwrap();
    encoder.str("r").unwrap().u8(reason).unwrap();
    encoder.str("pkg").unwrap().str("main").unwrap();
    encoder.str("v").unwrap().str(version).unwrap();
    if let Some(target) = target {
        encoder.str("t").unwrap().str(target).unwrap();
    }
    encoder.into_writer()
}

/// The device says so, and the gateway takes it.
fn report(server: &Server, device: &Device, report: &[u8]) {
    let file = server.folder.path().join("report");
    fs::write(&file, report).unwrap();
    let options = ["-m", "post", "-t", "60", "-f", file.to_str().unwrap()];
    let (_, said) = CoapClient::OpenSsl.run(server, device, &options, "/.u/c/main");
    let path = format!("devices/{}", device.id);
    eventually(&format!("the report is taken: {said}"), || {
        let device = server.done("GET", &path, Value::Null);
        let reported = device["packages"]
            .as_array()?
            .iter()
            .any(|one| !one["version"].is_null());
        reported.then_some(())
    });
}

fn id_of(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

fn deployments(server: &Server, cohort: &str) -> usize {
    let path = format!("cohorts/{}/deployments", server.cohort_id(cohort));
    server.done("GET", &path, Value::Null)["items"]
        .as_array()
        .unwrap()
        .len()
}

/// A command line at this server.
fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = tessera();
    command
        .args(arguments)
        .env("TESSERA_URL", server.url())
        .env("TESSERA_API_KEY", KEY);
    command
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    command(server, arguments).output().unwrap()
}

/// What a command that must succeed prints.
fn cli(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command ends with, and all that it shows, at a terminal at which this is typed.
fn at_a_terminal(server: &Server, line: &str, typed: &str) -> (i32, String) {
    let line = format!("exec {} {line}", env!("CARGO_BIN_EXE_tessera"));
    // Its `-e` hands on the exit code.
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TESSERA_URL", server.url())
        .env("TESSERA_API_KEY", KEY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script, of util-linux, is installed");
    // What is typed before it is asked for waits in the terminal; its end is that of `script`, and so comes last.
    let mut stdin = terminal.stdin.take().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    drop(stdin);
    let shown = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    (output.status.code().unwrap_or(-1), shown)
}

/// Pages of the console, for who has signed in.
struct Console {
    agent: ureq::Agent,
    url: String,
    cookie: String,
}

impl Console {
    fn signed_in(server: &Server) -> Console {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .into();
        let answer = agent
            .post(format!("{}/sign-in", server.url()))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .send(format!("key={KEY}"))
            .unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let (cookie, _) = cookie.split_once(';').unwrap();
        Console {
            agent,
            url: server.url(),
            cookie: cookie.to_owned(),
        }
    }

    fn page(&self, path: &str) -> String {
        let asked = self.agent.get(format!("{}{path}", self.url));
        let mut answer = asked.header("Cookie", &self.cookie).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}: {text}");
        text
    }
}

/// A command under way, its output in files.
struct Running {
    process: Child,
    folder: tempfile::TempDir,
}

struct Ended {
    code: i32,
    printed: String,
    said: String,
}

impl Running {
    fn start(server: &Server, arguments: &[&str]) -> Running {
        Running::spawn(command(server, arguments))
    }

    fn spawn(mut command: Command) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let process = command
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Running { process, folder }
    }

    fn until_said(&self, what: &str) {
        self.until("stderr", what);
    }

    /// For what takes its time: so often as long as anything else.
    fn until_said_within(&self, times: u32, what: &str) {
        let is_said = || {
            thread::sleep(Duration::from_millis(20));
            self.said().contains(what)
        };
        let deadline = Instant::now() + PATIENCE * times;
        while !is_said() {
            assert!(Instant::now() < deadline, "not in time: {what}: {}", self.said());
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.file("stderr")).unwrap()
    }

    fn until_printed(&self, what: &str) {
        self.until("stdout", what);
    }

    fn until(&self, name: &str, what: &str) {
        eventually(what, || {
            fs::read_to_string(self.file(name))
                .unwrap()
                .contains(what)
                .then_some(())
        });
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).output().unwrap();
        assert!(sent.status.success());
    }

    /// Waits for its end by itself.
    fn end(mut self) -> Ended {
        let status = eventually("the command ends", || self.process.try_wait().unwrap());
        let read = |name: &str| fs::read_to_string(self.file(name)).unwrap();
        Ended {
            code: status.code().unwrap_or(-1),
            printed: read("stdout"),
            said: read("stderr"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
