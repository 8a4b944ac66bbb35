//! Fleets of devices against the real process: files of 100 000 of them, keys that are rotated, devices that are moved and
//! switched off, as an operator does it on the command line and as a foreign device sees it.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::{CoapClient, Device, KEY, Server, eventually, noise, tessera};

/// The file has 6 MB, the answer and the database more. What grows is mostly the cache of the writer of the database, 16 MiB.
const GROWTH_MIB: u64 = 48;
const ROWS: usize = 100_000;

#[test]
fn a_file_of_100_000_devices_is_imported_as_it_streams_and_the_second_time_changes_nothing() {
    let server = Server::start();
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    // What any work makes it take, is taken.
    import(
        &server,
        "name\n".to_owned() + &(0..3000).map(|n| format!("warm-{n}\n")).collect::<String>(),
    );
    let before = memory_mib(&server, "VmRSS");

    let mut file = "name,cohort,tags,enabled,identity,secret\n".to_owned();
    for number in 0..ROWS {
        // Refused: a thousand of them, each for another reason than being there already.
        let tags = if number % 100 == 99 {
            "not good"
        } else {
            "north;lamp"
        };
        file.push_str(&format!(
            "lamp-{number},lamps,{tags},true,id-{number},secret-{number}\n"
        ));
    }
    let lines = import(&server, file.clone());
    assert_eq!(counts(&lines), [100_000, 99_000, 0, 0, 1000]);
    let refused: Vec<u64> = lines
        .iter()
        .filter(|line| line["outcome"] == "refused")
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(
        refused,
        (1..=1000).map(|hundred| hundred * 100 + 1).collect::<Vec<_>>()
    );
    let grown = memory_mib(&server, "VmHWM").saturating_sub(before);
    println!("{before} MiB before, {grown} MiB more at most");
    assert!(grown < GROWTH_MIB, "{grown} MiB");

    let again = import(&server, file);
    assert_eq!(counts(&again), [100_000, 0, 0, 99_000, 1000]);
    let grown = memory_mib(&server, "VmHWM").saturating_sub(before);
    assert!(grown < GROWTH_MIB, "{grown} MiB");

    let exported = cli(
        &server,
        &["device", "export", "--cohort", "lamps", "--format", "ndjson"],
    );
    assert!(exported.status.success());
    assert_eq!(
        exported.stdout.iter().filter(|&&byte| byte == b'\n').count(),
        99_000
    );
    let grown = memory_mib(&server, "VmHWM").saturating_sub(before);
    assert!(grown < GROWTH_MIB, "{grown} MiB with the export");
    let device = Device {
        id: String::new(),
        identity: "id-98765".into(),
        secret: "secret-98765".into(),
    };
    let (body, said) = CoapClient::OpenSsl.run(&server, &device, &["-A", "60"], "/.u/desired");
    assert_eq!(body, [0xA0], "{said}");
}

#[test]
fn rows_that_were_acknowledged_are_there_after_kill_9_and_the_same_file_goes_on() {
    let mut server = Server::start();
    let mut file = "name,identity,secret\n".to_owned();
    for number in 0..20_000 {
        file.push_str(&format!("lamp-{number},id-{number},secret\n"));
    }
    let mut stream = begin_import(&server, file.len());
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let sending = {
        let file = file.clone();
        // It fails when the process is gone.
        thread::spawn(move || stream.write_all(file.as_bytes()))
    };
    let mut acknowledged = 0;
    let mut line = String::new();
    while acknowledged < 2000 {
        line.clear();
        assert!(answer.read_line(&mut line).unwrap() > 0, "the answer ended");
        if let Ok(told) = serde_json::from_str::<Value>(&line) {
            acknowledged = told["progress"]["rows"].as_u64().unwrap_or(acknowledged);
        }
    }
    server.kill();
    let _ = sending.join();
    server.start_again();
    let export = cli(&server, &["device", "export", "--format", "csv"]);
    let there = String::from_utf8(export.stdout).unwrap().lines().count() as u64 - 1;
    assert!(
        there >= acknowledged && there < 20_000,
        "{there} of {acknowledged} acknowledged"
    );
    let rest = counts(&import(&server, file));
    assert_eq!(rest, [20_000, 20_000 - there, 0, there, 0]);
}

#[test]
fn a_client_that_sends_all_of_a_file_before_it_reads_is_answered_whole() {
    let server = Server::start();
    let file = "name\n".to_owned() + &(0..20_000).map(|n| format!("lamp-{n}\n")).collect::<String>();
    // The answer, megabytes of secrets made, is far more than the sockets hold.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], server.admin_port));
    socket.connect(&address.into()).unwrap();
    let mut stream = import_over(socket.into(), file.len());
    stream.write_all(file.as_bytes()).unwrap();
    eventually("all of it is imported though nobody reads", || {
        let found = server.done("GET", "devices?name=lamp-19999", Value::Null);
        found["items"][0]["id"].is_string().then_some(())
    });
    let lines = read_lines(stream);
    assert_eq!(counts(&lines), [20_000, 20_000, 0, 0, 0]);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["credentials"][0]["secret"].is_string())
            .count(),
        20_000
    );
}

#[test]
fn the_command_line_imports_reports_refusals_and_goes_on_where_it_stopped() {
    let server = Server::start();
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    let file = server.folder.path().join("fleet.csv");
    let mut rows = "name,cohort,tags\r\n".to_owned();
    for number in 0..1200 {
        let cohort = if number == 777 { "nowhere" } else { "lamps" };
        rows.push_str(&format!("lamp-{number},{cohort},a;b\r\n"));
    }
    fs::write(&file, &rows).unwrap();
    let path = file.to_str().unwrap();

    let output = cli(&server, &["device", "import", path]);
    let (data, talk) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{talk}");
    assert!(
        talk.contains("line 779, lamp-777: cohort: there is no cohort \"nowhere\""),
        "{talk}"
    );
    assert!(talk.contains("accepted: lamps"), "what would be accepted: {talk}");
    assert!(
        talk.contains("1200 rows: 1199 created, 0 updated, 0 unchanged, 1 refused"),
        "{talk}"
    );
    assert_eq!(
        data.lines().count(),
        1200,
        "a heading and a secret for each device"
    );
    assert!(
        data.lines().nth(1).unwrap().contains("lamp-0-id@default"),
        "{data}"
    );

    let again = cli(&server, &["device", "import", path, "-o", "ndjson"]);
    let data = text(&again.stdout);
    let last: Value = serde_json::from_str(data.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["summary"]["unchanged"], &last["summary"]["refused"]),
        (&json!(1199), &json!(1))
    );

    fs::write(&file, rows.replace("nowhere", "lamps").replace("a;b", "c")).unwrap();
    let refused = cli(&server, &["device", "import", path, "-o", "json"]);
    assert_eq!(refused.status.code(), Some(1));
    let whole: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(
        (&whole["summary"]["created"], &whole["summary"]["refused"]),
        (&json!(1), &json!(1199))
    );
    assert_eq!(whole["lines"].as_array().unwrap().len(), 1200);
    let updated = cli(&server, &["device", "import", path, "--update"]);
    assert!(updated.status.success(), "{}", text(&updated.stderr));
    assert!(
        text(&updated.stderr).contains("1199 updated, 1 unchanged"),
        "{}",
        text(&updated.stderr)
    );

    // What was exported is what is there.
    let exported = cli(&server, &["device", "export"]);
    let mut import = tessera_with_key(&server);
    import
        .args(["device", "import", "-", "--format", "csv"])
        .stdin(std::process::Stdio::piped());
    let mut process = import.stderr(std::process::Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(&exported.stdout).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(
        output.status.success() && text(&output.stderr).contains("1200 unchanged"),
        "{}",
        text(&output.stderr)
    );

    let unsaid = cli(&server, &["device", "import", "-"]);
    assert_eq!(unsaid.status.code(), Some(2), "{}", text(&unsaid.stderr));
    let header = server.folder.path().join("wrong.csv");
    fs::write(&header, "name,colour\nlamp,red\n").unwrap();
    let wrong = cli(&server, &["device", "import", header.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("colour"), "{}", text(&wrong.stderr));
    assert!(
        !text(&wrong.stderr).contains("0 rows"),
        "nothing was begun, and so nothing is summed up: {}",
        text(&wrong.stderr)
    );
    let form = cli(&server, &["device", "export", "-o", "json"]);
    assert_eq!(form.status.code(), Some(2), "{}", text(&form.stderr));
    assert!(text(&form.stderr).contains("--format"), "{}", text(&form.stderr));
}

#[test]
fn keys_are_rotated_without_a_moment_in_which_none_is_good() {
    let mut server = Server::start();
    let first = server.device("lamp-1", "lamps");
    server.upload("main", "1.0.0", &noise(1, 300));
    let added = cli(
        &server,
        &[
            "device",
            "credential",
            "add",
            "lamp-1",
            "--identity",
            "next",
            "-o",
            "json",
        ],
    );
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    let second = Device {
        id: first.id.clone(),
        identity: "next".into(),
        secret: added["secret"].as_str().unwrap().into(),
    };
    for device in [&first, &second] {
        let (body, said) = CoapClient::GnuTls.run(&server, device, &["-A", "60"], "/.u/desired");
        assert_eq!(body, [0xA0], "both are good: {said}");
    }

    // The session that the second key opened outlives the first key.
    let observer = CoapClient::OpenSsl.observe(&server, &second, "/.u/desired");
    observer.wait_for("the registration's answer", |seen| seen.len() == 1);
    let shown = text(&cli(&server, &["device", "show", "lamp-1"]).stdout);
    let in_use = shown
        .lines()
        .find(|line| line.contains("in use"))
        .unwrap_or_default();
    assert!(in_use.starts_with("next "), "{shown}");
    let retired = cli(
        &server,
        &["device", "credential", "remove", "lamp-1", &first.identity],
    );
    assert!(retired.status.success(), "{}", text(&retired.stderr));
    let deployed = server.deploy("lamps", "first", &[("main", "1.0.0")]);
    observer.wait_for("a push in the session that goes on", |seen| {
        seen.last().is_some_and(|m| deployed["sequence"] == m.sequence)
    });
    let (body, said) = CoapClient::OpenSsl.run(&server, &first, &["-B", "2"], "/.u/desired");
    assert!(body.is_empty(), "the retired key opens nothing: {said}");

    // Over a restart too: the session is kept, and ends with its key.
    server.kill();
    server.start_again();
    eventually("the session is there again", || {
        is_online(&server, "lamp-1").then_some(())
    });
    let last = ["device", "credential", "remove", "lamp-1", "next"];
    let refused = cli(&server, &last);
    let said = text(&refused.stderr);
    assert!(said.contains("the only credential of lamp-1"), "{said}");
    assert_eq!(refused.status.code(), Some(2), "{said}");
    let retired = cli(&server, &[&last[..], &["--yes"]].concat());
    assert!(
        text(&retired.stderr).contains("cannot connect"),
        "{}",
        text(&retired.stderr)
    );
    eventually("the session ends", || {
        (!is_online(&server, "lamp-1")).then_some(())
    });
    let (body, said) = CoapClient::OpenSsl.run(&server, &second, &["-B", "2"], "/.u/desired");
    assert!(body.is_empty(), "{said}");
    let missing = cli(&server, &["device", "credential", "remove", "lamp-1", "next"]);
    assert_eq!(missing.status.code(), Some(3));
}

#[test]
fn a_disabled_device_is_a_stranger_until_it_is_enabled() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    let observer = CoapClient::OpenSsl.observe(&server, &device, "/.u/desired");
    observer.wait_for("the registration's answer", |seen| seen.len() == 1);
    let disabled = cli(&server, &["device", "disable", "lamp-1"]);
    assert!(disabled.status.success(), "{}", text(&disabled.stderr));
    eventually("the session ends", || {
        (!is_online(&server, "lamp-1")).then_some(())
    });
    drop(observer);

    let stranger = Device {
        identity: "nobody".into(),
        secret: "any".into(),
        id: String::new(),
    };
    // The client's log of the handshake, without what changes from run to run.
    let alerts = |device: &Device| {
        let (body, said) = CoapClient::OpenSsl.run(&server, device, &["-B", "2", "-v", "7"], "/.u/desired");
        assert!(body.is_empty(), "{said}");
        let lines = said.lines().filter(|line| line.contains("SSL3 alert read"));
        let alerts: Vec<String> = lines
            .map(|line| line.rsplit("SSL3").next().unwrap().to_owned())
            .collect();
        alerts
    };
    assert_eq!(
        alerts(&device),
        alerts(&stranger),
        "as an unknown identity would be"
    );

    let filter = cli(&server, &["device", "enable", "--from-cohort", "lamps"]);
    assert_eq!(
        filter.status.code(),
        Some(2),
        "a filter asks, and nobody can answer"
    );
    assert!(
        text(&filter.stderr).contains("this enables 1 device: say --yes"),
        "{}",
        text(&filter.stderr)
    );
    let enabled = cli(&server, &["device", "enable", "--from-cohort", "lamps", "--yes"]);
    assert!(enabled.status.success(), "{}", text(&enabled.stderr));
    let (body, said) = CoapClient::OpenSsl.run(&server, &device, &["-A", "60"], "/.u/desired");
    assert_eq!(body, [0xA0], "at once: {said}");
}

#[test]
fn a_move_says_what_follows_pushes_at_once_and_does_not_let_the_number_fall_unasked() {
    let server = Server::start();
    let device = server.device("lamp-1", "later");
    server.device("lamp-2", "later");
    server.upload("main", "1.0.0", &noise(1, 2048));
    server.call("POST", "cohorts", json!({"name": "older"}));
    let older = server.deploy("older", "old set", &[("main", "1.0.0")]);
    let later = server.deploy("later", "new set", &[("main", "1.0.0")]);
    let observer = CoapClient::OpenSsl.observe(&server, &device, "/.u/desired");
    observer.wait_for("the later one", |seen| {
        seen.last().is_some_and(|m| later["sequence"] == m.sequence)
    });

    let dry = cli(
        &server,
        &[
            "device",
            "assign",
            "lamp-1",
            "lamp-2",
            "--cohort",
            "older",
            "--dry-run",
        ],
    );
    let said = text(&dry.stdout);
    assert!(
        said.starts_with(
            "adding 2 devices to older starts the update to deployment 'old set' (sequence 1) at once on the 1 that are \
             online; up to 2.0 KiB each, 4.0 KiB in all\n"
        ),
        "{said}"
    );
    assert!(
        said.contains("! sequence-goes-back: device \"lamp-1\" was sent sequence number 2"),
        "{said}"
    );
    let asked = cli(
        &server,
        &["device", "assign", "lamp-1", "lamp-2", "--cohort", "older"],
    );
    assert_eq!(asked.status.code(), Some(2), "{}", text(&asked.stderr));
    assert!(
        text(&asked.stderr)
            .contains("makes devices see the sequence number fall (with --redeploy it does not"),
        "{}",
        text(&asked.stderr)
    );
    let gone = cli(
        &server,
        &[
            "device", "assign", "lamp-1", "lamp-9", "--cohort", "older", "--yes",
        ],
    );
    assert_eq!(gone.status.code(), Some(3), "{}", text(&gone.stderr));

    let moved = cli(
        &server,
        &[
            "device",
            "assign",
            "lamp-1",
            "lamp-2",
            "--cohort",
            "older",
            "--redeploy",
        ],
    );
    assert!(moved.status.success(), "{}", text(&moved.stderr));
    let seen = observer.wait_for("the same set under a number of its own", |seen| {
        seen.last().is_some_and(|m| m.sequence == 3)
    });
    assert!(
        seen.iter().all(|m| older["sequence"] != m.sequence),
        "it never fell: {seen:?}"
    );

    // Leaving pushes nothing; it learns when it asks.
    let left = cli(&server, &["device", "assign", "lamp-1", "--no-cohort"]);
    assert!(
        text(&left.stderr).contains("nothing is pushed"),
        "{}",
        text(&left.stderr)
    );
    server.call("POST", "cohorts", json!({"name": "oldest"}));
    // 4, to nobody; 5, to the cohort that lamp-1 joins again.
    server.deploy("oldest", "other", &[("main", "1.0.0")]);
    cli(&server, &["device", "assign", "lamp-1", "--cohort", "oldest"]);
    let seen = observer.wait_for("joining pushes", |seen| {
        seen.last().is_some_and(|m| m.sequence == 4)
    });
    assert!(
        seen.iter().all(|m| m.sequence > 0 || *m == seen[0]),
        "leaving pushed nothing: {seen:?}"
    );

    // Where it is meant, it falls, and the device is told so.
    let back = cli(
        &server,
        &["device", "assign", "lamp-1", "--cohort", "later", "--yes"],
    );
    assert!(back.status.success(), "{}", text(&back.stderr));
    observer.wait_for("what was meant", |seen| {
        seen.last().is_some_and(|m| m.sequence == 2)
    });
}

#[test]
fn the_command_line_says_why_what_is_in_use_is_not_deleted() {
    let server = Server::start();
    server.device("lamp-1", "lamps");
    server.upload("main", "1.0.0", &noise(1, 100));
    server.upload("main", "1.1.0", &noise(2, 100));
    server.deploy("lamps", "first", &[("main", "1.0.0")]);
    for (what, why) in [
        (["cohort", "delete", "lamps"], "1 device, deployment \"first\""),
        (["package", "delete", "main"], "artifact main@1.0.0"),
        (
            ["package", "delete", "main@1.0.0"],
            "deployment \"first\" of cohort \"lamps\"",
        ),
    ] {
        let refused = cli(&server, &[&what[..], &["--yes"]].concat());
        assert_eq!(refused.status.code(), Some(5), "{what:?}");
        assert!(
            text(&refused.stderr).contains(why),
            "{what:?}: {}",
            text(&refused.stderr)
        );
    }
    assert!(
        cli(&server, &["package", "delete", "main@1.1.0", "--yes"])
            .status
            .success()
    );
    assert_eq!(
        cli(&server, &["device", "delete", "lamp-1"]).status.code(),
        Some(2),
        "asks first"
    );
    assert!(
        cli(&server, &["device", "delete", "lamp-1", "--yes"])
            .status
            .success()
    );
    assert_eq!(cli(&server, &["device", "show", "lamp-1"]).status.code(), Some(3));
}

#[test]
fn tags_are_added_and_removed_on_the_command_line() {
    let server = Server::start();
    server.device("lamp-1", "lamps");
    server.device("lamp-2", "lamps");
    let tagged = cli(
        &server,
        &[
            "device", "tag", "lamp-1", "lamp-2", "--add", "north", "--add", "x=1",
        ],
    );
    assert!(tagged.status.success(), "{}", text(&tagged.stderr));
    cli(&server, &["device", "tag", "lamp-2", "--remove", "north"]);
    let list = |tag: &str| {
        text(&cli(&server, &["device", "list", "--tag", tag, "-o", "ndjson"]).stdout)
            .lines()
            .count()
    };
    assert_eq!((list("north"), list("x=1")), (1, 2));
    let wrong = cli(&server, &["device", "tag", "lamp-1", "--add", "a b"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("a b"), "{}", text(&wrong.stderr));
}

#[test]
fn the_audit_is_listed_on_the_command_line_however_deep_it_lies() {
    let server = Server::start();
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    // More than one page looks at for an action.
    let file: String = (0..51_000).map(|n| format!("lamp-{n}\n")).collect();
    import(&server, format!("name\n{file}"));
    let listed = cli(
        &server,
        &["audit", "list", "--action", "cohort.create", "-o", "json"],
    );
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(listed[0]["after"]["name"], "lamps");
    let shown = text(&cli(&server, &["audit", "list", "--actor", "bootstrap", "-n", "2"]).stdout);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(
        lines[0].starts_with("AT") && lines[0].contains("SUBJECT"),
        "{shown}"
    );
    assert!(
        lines[1].contains("device.create") && lines[1].contains("name: lamp-50999"),
        "{shown}"
    );
    let since = listed[0]["at"].as_str().unwrap();
    let none = cli(
        &server,
        &["audit", "list", "--until", since, "--action", "device.create"],
    );
    assert!(
        none.stdout.is_empty() && text(&none.stderr).contains("nothing like that"),
        "{none:?}"
    );
    let wrong = cli(&server, &["audit", "list", "--action", "cohort.explode"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong.stderr).contains("deployment.create"),
        "{}",
        text(&wrong.stderr)
    );
}

fn is_online(server: &Server, device: &str) -> bool {
    server.done("GET", &format!("devices/{device}"), Value::Null)["online"] == true
}

fn tessera_with_key(server: &Server) -> Command {
    let mut command = tessera();
    command
        .env("TESSERA_URL", server.url())
        .env("TESSERA_API_KEY", KEY);
    command
}

fn cli(server: &Server, arguments: &[&str]) -> Output {
    tessera_with_key(server).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn begin_import(server: &Server, length: usize) -> TcpStream {
    import_over(
        TcpStream::connect(("127.0.0.1", server.admin_port)).unwrap(),
        length,
    )
}

fn import_over(mut stream: TcpStream, length: usize) -> TcpStream {
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let head = format!(
        "POST /v1/projects/default/devices:import HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: text/csv\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// One upload, read while it is sent.
fn import(server: &Server, file: String) -> Vec<Value> {
    let mut stream = begin_import(server, file.len());
    let answer = stream.try_clone().unwrap();
    let sending = thread::spawn(move || stream.write_all(file.as_bytes()));
    let lines = read_lines(answer);
    sending.join().unwrap().unwrap();
    lines
}

/// The lines of an answer in chunks, without the sizes between them.
fn read_lines(stream: TcpStream) -> Vec<Value> {
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line.trim_end() != "" {
        line.clear();
        answer.read_line(&mut line).unwrap();
    }
    let mut body = Vec::new();
    loop {
        line.clear();
        answer.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        answer.read_exact(&mut chunk).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&chunk[..size]);
    }
    let lines = String::from_utf8(body).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn counts(lines: &[Value]) -> [u64; 5] {
    let last = lines.last().unwrap();
    assert_eq!(last["complete"], true, "{last:#}");
    ["rows", "created", "updated", "unchanged", "refused"].map(|word| last["summary"][word].as_u64().unwrap())
}

/// A line of `/proc/PID/status`, in MiB.
fn memory_mib(server: &Server, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
