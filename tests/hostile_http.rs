//! What hostile HTTP clients send, sent to a real `tessera serve`. After each attack the next call is answered.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{CoapClient, KEY, Server, eventually, noise};

#[test]
fn who_guesses_keys_is_slowed_and_nobody_elsewhere_is() {
    let server = Server::start();
    let ask = |from: &str, key: &str| {
        let output = Command::new("curl")
            .args([
                "-sS",
                "--interface",
                from,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
            ])
            .args(["-H", &format!("Authorization: Bearer {key}")])
            .arg(format!("{}/v1/projects/default/cohorts", server.url()))
            .output();
        let output = output.unwrap_or_else(|error| panic!("curl: {error}; tests/run installs it"));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask("127.0.0.1", KEY), "200");
    // The first wait is a second: so many more that one of them falls into it, however slow the machine is.
    let guesses: Vec<String> = (0..40).map(|n| ask("127.0.0.1", &format!("tsk_{n}"))).collect();
    assert!(guesses[..11].iter().all(|status| status == "401"), "{guesses:?}");
    assert!(guesses[11..].iter().any(|status| status == "429"), "{guesses:?}");
    assert_eq!(ask("127.0.0.2", KEY), "200");
    assert_eq!(ask("127.0.0.1", KEY), "200", "it was good from here before");
    let refused = server.metric_where("tessera_api_keys_refused_total", "not_looked_at");
    assert!(refused >= 1.0, "{refused}");
}

#[test]
fn parallel_deployments_get_rising_numbers_one_each_and_every_device_ends_on_the_last() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    let first = server.deploy("lamps", "first", &[("main", "1.0.0")]);
    let watching: Vec<_> = (0..4)
        .map(|n| {
            let device = server.device(&format!("lamp-{n}"), "lamps");
            let client = CoapClient::ALL[n % CoapClient::ALL.len()];
            client.observe(&server, &device, "/.u/desired")
        })
        .collect();
    for device in &watching {
        device.wait_for("the first manifest", |seen| !seen.is_empty());
    }
    let path = format!("cohorts/{}/deployments", server.cohort_id("lamps"));
    let order = |name: String| json!({"name": name, "artifacts": [{"package": "main", "version": "1.0.0"}]});
    let numbers: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..40)
            .map(|thread| {
                let (server, path, first) = (&server, &path, &first);
                scope.spawn(move || {
                    let mut numbers = Vec::new();
                    for n in 0..5 {
                        let made = server.done("POST", path, order(format!("{thread}-{n}")));
                        numbers.push(made["sequence"].as_u64().unwrap());
                        // A review of what was active before this one: refused, whoever was faster.
                        let mut stale = order(format!("{thread}-{n}-stale"));
                        stale["expectedActiveDeploymentId"] = first["id"].clone();
                        let (status, refused) = server.call("POST", path, stale);
                        assert_eq!(status, 409, "{refused:#}");
                        assert_eq!(refused["type"], "urn:tessera:problem:stale-review", "{refused:#}");
                    }
                    numbers
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                let numbers = thread.join().unwrap();
                assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
                numbers
            })
            .collect()
    });
    assert_eq!(numbers.len(), 200);
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 200);
    let history = server.done("GET", &format!("{path}?limit=1000"), Value::Null);
    let listed: Vec<u64> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(listed.len(), 201, "the first, and one for each that was accepted");
    assert!(listed.is_sorted_by(|a, b| a > b), "{listed:?}");
    let last = listed[0];
    assert_eq!(Some(&last), numbers.iter().max());
    for device in &watching {
        let seen = device.wait_for("the last manifest", |seen| {
            seen.last().is_some_and(|manifest| manifest.sequence == last)
        });
        assert!(
            seen.is_sorted_by(|a, b| a.sequence < b.sequence),
            "a device never sees a number fall: {:?}",
            seen.iter().map(|manifest| manifest.sequence).collect::<Vec<_>>()
        );
    }
}

#[test]
fn wildcards_and_quotes_in_a_search_are_letters() {
    let server = Server::start();
    server.device("lamp-1", "lamps");
    for search in [
        "%25",
        "_",
        "lamp_1",
        "l%25",
        "*",
        "lamp-[0-9]",
        "'",
        "%27%20OR%201=1--",
        "%00",
        "%ff",
        "lamp-1%00",
        "%F0%9F%92%A1",
    ] {
        let (status, answer) = server.call("GET", &format!("devices?search={search}"), Value::Null);
        let found = answer["items"].as_array().map_or(0, Vec::len);
        assert!(
            found == 0 && (status == 200 || status == 400),
            "{search}: {status} {answer}"
        );
    }
    let found = server.done("GET", "devices?search=lamp-", Value::Null);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    for query in [
        "limit=0",
        "limit=-1",
        "limit=99999999999999999999",
        "limit=1001",
        "pageToken=x",
        "pageToken=-1",
    ] {
        let (status, _) = server.call("GET", &format!("devices?{query}"), Value::Null);
        assert_eq!(status, 422, "{query}");
    }
    for token in ["18446744073709551615", "9223372036854775807"] {
        for list in ["packages", "cohorts", "devices"] {
            let (status, answer) = server.call(
                "GET",
                &format!("{list}?pageToken={token}&limit=1000"),
                Value::Null,
            );
            assert!(
                status == 200 || status == 422,
                "{list} {token}: {status} {answer}"
            );
        }
    }
}

#[test]
fn odd_http_is_refused_and_the_next_call_is_answered() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    let key = format!("Authorization: Bearer {KEY}\r\n");
    let base = "/v1/projects/default";
    let json_head = |extra: &str| {
        format!(
            "POST {base}/cohorts HTTP/1.1\r\nHost: t\r\n{key}Content-Type: application/json\r\nConnection: close\r\n{extra}\r\n"
        )
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: t\r\n{key}Connection: close\r\n\r\n");
    let put = |path: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\n{key}Content-Type: application/octet-stream\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
        )
    };
    let nested =
        |open: &str, count| format!("{{\"name\":\"deep\",\"metadata\":{{\"a\":{}", open.repeat(count));
    let with_length = |body: String| json_head(&format!("Content-Length: {}\r\n", body.len())) + &body;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let attacks: Vec<(&str, String)> = vec![
        (
            "dots in a path",
            get(&format!("{base}/packages/../../../../etc/passwd")),
        ),
        (
            "escaped dots",
            get(&format!(
                "{base}/packages/%2e%2e%2f%2e%2e%2fetc/artifacts/x/content"
            )),
        ),
        (
            "a NUL in a path",
            get(&format!("{base}/packages/main%00/artifacts")),
        ),
        (
            "a path that is not UTF-8",
            get(&format!("{base}/packages/%ff%fe")),
        ),
        ("another project", get("/v1/projects/..%2fdefault/devices")),
        (
            "an upload that leaves its folder",
            put(&format!("{base}/packages/main/artifacts/..%2f..%2fevil")),
        ),
        (
            "an upload named by dots",
            put(&format!("{base}/packages/main/artifacts/..")),
        ),
        (
            "a path of 60 000 bytes",
            get(&format!("{base}/packages/{}", "x".repeat(60_000))),
        ),
        (
            "200 headers",
            format!("GET {base}/packages HTTP/1.1\r\nHost: t\r\n{key}{many}Connection: close\r\n\r\n"),
        ),
        (
            "a header of a megabyte",
            format!(
                "GET {base}/packages HTTP/1.1\r\nHost: t\r\n{key}X: {}\r\n\r\n",
                "y".repeat(1 << 20)
            ),
        ),
        (
            "a chunk that lies",
            json_head("Transfer-Encoding: chunked\r\n") + "FFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
        ),
        (
            "a chunk size that is none",
            json_head("Transfer-Encoding: chunked\r\n") + "zz\r\n{}\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            json_head("Content-Length: 2\r\nContent-Length: 3\r\n") + "{}x",
        ),
        (
            "a length and chunks",
            json_head("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
        ),
        ("a negative length", json_head("Content-Length: -1\r\n") + "{}"),
        (
            "a length past all numbers",
            json_head("Content-Length: 99999999999999999999999\r\n") + "{}",
        ),
        (
            "a body past the limit",
            json_head("Content-Length: 1000000000\r\n") + "{",
        ),
        ("arrays in arrays", with_length(nested("[", 100_000))),
        ("objects in objects", with_length(nested("{\"a\":", 40_000))),
        (
            "a number past all numbers",
            with_length("{\"name\":1e999999999}".to_owned()),
        ),
        (
            "half a surrogate pair",
            with_length("{\"name\":\"\\ud800\"}".to_owned()),
        ),
        (
            "a name with a line break",
            with_length("{\"name\":\"a\\nb\"}".to_owned()),
        ),
        (
            "a name of 100 000 bytes",
            with_length(format!("{{\"name\":\"{}\"}}", "x".repeat(100_000))),
        ),
        ("not HTTP", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned()),
        (
            "no key",
            format!("POST {base}/cohorts HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n{{"),
        ),
        (
            "a key that is no text",
            format!(
                "GET {base}/devices HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer \u{fc}\r\nConnection: close\r\n\r\n"
            ),
        ),
    ];
    for (name, attack) in attacks {
        let answer = http(&server, attack.as_bytes());
        // A connection that ends without a word refuses as well.
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{name}: {answer}"
        );
        server.done("GET", "packages", Value::Null);
    }
    let artifacts = server.done("GET", "packages/main/artifacts", Value::Null);
    assert_eq!(artifacts["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.done("GET", "cohorts", Value::Null)["items"], json!([]));
}

#[test]
fn tricks_in_an_address_reach_neither_a_file_nor_another_project() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    let content = "/v1/projects/default/packages/main/artifacts/1.0.0/content";
    for (target, status) in [
        ("/v1/projects/default/packages/../../../../etc/passwd", 404),
        ("/v1/projects/default/packages/../packages", 404),
        ("/v1/projects/default/packages/./main", 404),
        ("/v1/projects/default/packages/%2e%2e/%2e%2e/etc/passwd", 404),
        (
            "/v1/projects/default/packages/%2e%2e%2f%2e%2e%2fetc/artifacts/x/content",
            404,
        ),
        ("/v1/projects/default/packages/main%2fartifacts%2f1.0.0", 404),
        (
            "/v1/projects/default/packages/main/artifacts/1.0.0%2fcontent",
            404,
        ),
        ("/v1/projects/default/packages/main%00/artifacts", 404),
        ("/v1/projects/default/packages/%ff%fe", 400),
        ("/v1/projects/default/packages/%c0%ae%c0%ae", 400),
        ("/v1/projects/default/packages/%zz", 404),
        ("/v1/projects/..%2fdefault/devices", 404),
        ("/v1/projects/default%00/devices", 404),
        ("/v1/projects/DEFAULT/devices", 404),
        ("/v1/projects//devices", 404),
        ("/v1/projects/other/devices", 404),
        ("//v1/projects/default/packages", 404),
        ("/v1//projects/default/packages", 404),
        ("/v1/projects/default/packages/", 404),
        ("/v1/projects/default/packages;x=y", 404),
        ("/V1/projects/default/packages", 404),
        ("/v1/projects/default/packages?limit=1#x=y", 200),
        ("*", 404),
        // RFC 9112 3.2.2: a server takes the absolute form as well, from whichever name it was reached by.
        ("http://anywhere.example/v1/projects/default/packages", 200),
        ("http://anywhere.example//etc/passwd", 404),
        (content, 200),
    ] {
        let answer = say(&server, get(target).as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{target}: {answer}"
        );
        assert!(
            status == 200 || answer.contains("application/problem+json"),
            "{target}: {answer}"
        );
        let lower = answer.to_lowercase();
        assert!(
            lower.contains("x-content-type-options: nosniff"),
            "{target}: {answer}"
        );
        assert_eq!(
            lower.contains("cache-control: no-store"),
            target != content,
            "{target}: {answer}"
        );
    }
    // The authority form is for proxies.
    let tunnel = say(
        &server,
        get("example.org:443").replace("GET", "CONNECT").as_bytes(),
    );
    assert!(tunnel.starts_with("HTTP/1.1 404"), "{tunnel}");
}

#[test]
fn other_protocols_and_broken_framing_end_the_connection() {
    let server = Server::start();
    let json_head = |extra: &str| {
        format!(
            "POST /v1/projects/default/cohorts HTTP/1.1\r\nHost: t\r\n{AUTH}Content-Type: application/json\r\n{extra}\r\n"
        )
    };
    let body = r#"{"name":"smuggled"}"#;
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (name, attack, answers) in [
        (
            "a TLS ClientHello",
            "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned(),
            &["", "HTTP/1.1 400"][..],
        ),
        (
            "HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            &["", "HTTP/1.1 400"],
        ),
        ("HTTP/0.9", "GET /livez\r\n\r\n".to_owned(), &["", "HTTP/1.1 400"]),
        (
            "an address of another kind",
            "GET file:///etc/passwd HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
            &["HTTP/1.1 400"],
        ),
        (
            "HTTP/1.2",
            "GET /livez HTTP/1.2\r\nHost: t\r\n\r\n".to_owned(),
            &["", "HTTP/1.1 400"],
        ),
        (
            "two lengths",
            json_head("Content-Length: 19\r\nContent-Length: 20\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "a list of lengths",
            json_head("Content-Length: 19, 19\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "a length with a sign",
            json_head("Content-Length: +19\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "a coding that is not known",
            json_head("Transfer-Encoding: gzip\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "chunks that are not last",
            json_head("Transfer-Encoding: chunked, gzip\r\n") + &chunk,
            &["HTTP/1.1 400"],
        ),
        (
            "chunks in HTTP/1.0",
            json_head("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0") + &chunk,
            &["HTTP/1.1 400", "HTTP/1.0 400"],
        ),
        (
            "a folded header",
            json_head("X: a\r\n b\r\nContent-Length: 19\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "a space before the colon",
            json_head("Content-Length : 19\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "a NUL in a header",
            json_head("X: a\0b\r\nContent-Length: 19\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "a bare CR in a header",
            json_head("X: a\rb\r\nContent-Length: 19\r\n") + body,
            &["HTTP/1.1 400"],
        ),
        (
            "a chunk size past all numbers",
            json_head("Transfer-Encoding: chunked\r\n") + "FFFFFFFFFFFFFFFFF\r\n",
            &["HTTP/1.1 400"],
        ),
        (
            "chunk extensions without an end",
            json_head("Transfer-Encoding: chunked\r\n") + "1;" + &"x".repeat(1 << 20),
            &["HTTP/1.1 400"],
        ),
        (
            "trailers without an end",
            json_head("Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n0\r\n" + &"X: y\r\n".repeat(200_000),
            &["HTTP/1.1 4"],
        ),
    ] {
        let answer = say(&server, attack.as_bytes());
        let expected = |begin: &&str| {
            if begin.is_empty() {
                answer.is_empty()
            } else {
                answer.starts_with(begin)
            }
        };
        assert!(answers.iter().any(expected), "{name}: {answer}");
        assert_eq!(
            server.done("GET", "cohorts", Value::Null)["items"],
            json!([]),
            "{name}"
        );
    }

    // A length beside chunks: the chunks count, and what follows them is not taken for a request.
    let smuggled = json_head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + &chunk + &get("/livez");
    let answer = say(&server, smuggled.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 201") && answer.matches("HTTP/1.1 ").count() == 1,
        "{answer}"
    );
    // RFC 9112 2.2: a single LF may end a line.
    let answer = say(&server, get("/livez").replace("\r\n", "\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = say(&server, b"GET /livez HTTP/1.0\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"),
        "{answer}"
    );
}

#[test]
fn who_waits_for_a_word_is_refused_before_the_body() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    let artifact = "PUT /v1/projects/default/packages/main/artifacts/2";
    let cohorts = "POST /v1/projects/default/cohorts";
    let json = "Content-Type: application/json\r\n";
    let large = "Content-Length: 1000000000\r\n";
    for (line, headers, status, said) in [
        (
            artifact,
            format!("Authorization: Bearer wrong\r\n{large}"),
            401,
            "unknown, revoked or expired",
        ),
        (artifact, format!("{AUTH}{large}"), 413, "268435456"),
        (
            artifact,
            format!("{AUTH}Content-Length: 10\r\nContent-Type: text/plain\r\n"),
            415,
            "octet-stream",
        ),
        (
            "PUT /v1/projects/default/packages/none/artifacts/2",
            format!("{AUTH}Content-Length: 10\r\n"),
            404,
            "none",
        ),
        (cohorts, format!("{json}{large}"), 401, "no API key"),
        (cohorts, format!("{AUTH}{json}{large}"), 413, "262144"),
        (
            cohorts,
            format!("{AUTH}Content-Type: text/plain\r\n{large}"),
            415,
            "application/json",
        ),
        (
            cohorts,
            format!("{AUTH}{json}{large}Idempotency-Key: a\r\n"),
            413,
            "262144",
        ),
        (
            "POST /v1/projects/default/nothing",
            format!("{AUTH}{large}"),
            404,
            "nothing",
        ),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n{headers}\r\n");
        let mut stream = connect(&server);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(answer.contains(said), "{request}: {answer}");
    }
}

#[test]
fn a_thousand_silent_and_dripping_connections_keep_nobody_out() {
    let server = Server::start();
    let mut held: Vec<TcpStream> = Vec::new();
    let mut kept = connect(&server);
    assert!(ask(&mut kept, &get_and_stay("/v1/projects/default/packages")).starts_with("HTTP/1.1 200"));
    for n in 0..1000_usize {
        let mut stream = from(&server, n % 8);
        let head = "GET /v1/projects/default/devices HTTP/1.1\r\nHost: t\r\n";
        let again = "GET /livez HTTP/1.1\r\nHost: t\r\n\r\nG";
        let said = ["", "G", head, again][n / 8 % 4];
        // It may have been asked to go already.
        let _ = stream.write_all(said.as_bytes());
        held.push(stream);
        if n % 100 == 99 {
            // Those that the server has closed are not what is held; and they are file descriptors of this process.
            held.retain(is_open);
            for stream in &mut held {
                let _ = stream.write_all(b"x");
            }
            let asked = Instant::now();
            for path in ["/livez", "/readyz", "/v1/projects/default/packages"] {
                let answer = say(&server, get(path).as_bytes());
                assert!(
                    answer.starts_with("HTTP/1.1 200"),
                    "{path} with {n} connections: {answer}"
                );
            }
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        }
    }
    // Who gave way is closed a moment after the one that took the seat was let in.
    eventually("no more are held open than there may be", || {
        held.retain(is_open);
        (held.len() <= 512).then_some(())
    });
    assert!(held.len() >= 100, "{} are held open", held.len());
    let lost = server.metric_where("tessera_api_connections_lost_total", "gave_way");
    assert!(lost >= 488.0, "{lost} gave way");
    assert!(
        ask(&mut kept, &get_and_stay("/v1/projects/default/cohorts")).starts_with("HTTP/1.1 200"),
        "who has shown a key keeps the connection"
    );
    drop(held);
    eventually("the connections are closed", || {
        (descriptors(&server) < 100).then_some(())
    });
}

#[test]
fn the_bound_holds_when_everybody_is_served() {
    let server = Server::start_with(&[("TESSERA__ADMIN__MAX_CONNECTIONS", "16")]);
    server.upload("main", "1.0.0", &noise(1, 100));
    let other = server.done("POST", "keys", json!({"name": "other", "role": "admin"}));
    let other = format!("Authorization: Bearer {}\r\n", other["key"].as_str().unwrap());
    // Uploads under way, with good keys that have their half each: nobody of them is cut off for a newcomer.
    let mut uploads: Vec<TcpStream> = (0..16)
        .map(|n| {
            let mut stream = connect(&server);
            let auth = if n % 2 == 0 { AUTH } else { other.as_str() };
            write!(
                stream,
                "PUT /v1/projects/default/packages/main/artifacts/2.{n} HTTP/1.1\r\nHost: t\r\n{auth}\
                 Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            let mut word = [0; 25];
            stream.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
            stream
        })
        .collect();
    let turned_away = say(&server, b"");
    assert!(
        turned_away.starts_with("HTTP/1.1 503") && turned_away.contains("max_connections"),
        "{turned_away}"
    );
    for upload in &mut uploads {
        upload.write_all(b"done").unwrap();
        let mut answer = String::new();
        upload.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    server.done("GET", "packages", Value::Null);
}

#[test]
fn a_deployment_cut_off_at_any_byte_happens_whole_or_not_at_all() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    server.upload("assets", "7", &noise(2, 100));
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    let path = format!("cohorts/{}/deployments", server.cohort_id("lamps"));
    let request = |name: &str| {
        let body = json!({"name": name, "artifacts": [
            {"package": "main", "version": "1.0.0"}, {"package": "assets", "version": "7"}
        ]});
        let body = body.to_string();
        let head = format!(
            "POST /v1/projects/default/{path} HTTP/1.1\r\nHost: t\r\n{AUTH}Content-Type: application/json\r\n\
             Content-Length: {}\r\nIdempotency-Key: {name}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    };
    let before = descriptors(&server);
    let length = request("cut-000").len();
    for cut in 0..length {
        let mut stream = connect(&server);
        stream
            .write_all(&request(&format!("cut-{cut:03}"))[..cut])
            .unwrap();
        if cut % 2 == 0 {
            // A reset instead of an end.
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }
    assert_eq!(names(&server, &path), BTreeSet::new(), "none of them was whole");

    // Whole, and then gone: at once, or while the answer is awaited.
    let mut asked = BTreeSet::new();
    for n in 0..60_u64 {
        let name = format!("gone-{n:03}");
        let mut stream = connect(&server);
        stream.write_all(&request(&name)).unwrap();
        thread::sleep(Duration::from_micros(n * 100));
        if n % 2 == 0 {
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        drop(stream);
        asked.insert(name);
    }
    // Asked again, each is answered, and there is one of each.
    for name in &asked {
        let mut stream = connect(&server);
        eventually("the answer", || {
            let answer = ask(&mut stream, &request(name));
            (!answer.starts_with("HTTP/1.1 409"))
                .then(|| assert!(answer.starts_with("HTTP/1.1 201"), "{answer}"))
        });
    }
    assert_eq!(names(&server, &path), asked);
    let history = server.done("GET", &format!("{path}?limit=1000"), Value::Null);
    let history = history["items"].as_array().unwrap();
    assert_eq!(history.len(), asked.len(), "exactly one each");
    for deployment in history {
        assert_eq!(
            deployment["artifacts"].as_array().unwrap().len(),
            2,
            "{deployment:#}"
        );
    }
    eventually("nothing is left of them", || {
        (descriptors(&server) <= before).then_some(())
    });
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing_behind() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    let uploads = server.data_dir().join("uploads");
    let bytes = noise(2, 600_000);
    let before = descriptors(&server);
    for sent in [0, 1, 16 * 1024, 300_000, 599_999] {
        for chunked in [false, true] {
            let mut stream = connect(&server);
            let framing = if chunked {
                "Transfer-Encoding: chunked"
            } else {
                "Content-Length: 600000"
            };
            write!(
                stream,
                "PUT /v1/projects/default/packages/main/artifacts/2 HTTP/1.1\r\nHost: t\r\n{AUTH}{framing}\r\n\
                 Expect: 100-continue\r\n\r\n"
            )
            .unwrap();
            let mut word = [0; 25];
            stream.read_exact(&mut word).unwrap();
            if chunked {
                write!(stream, "927C0\r\n").unwrap();
            }
            stream.write_all(&bytes[..sent]).unwrap();
            if sent % 2 == 0 {
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        }
    }
    eventually("the temporary files are gone", || {
        (std::fs::read_dir(&uploads).unwrap().count() == 0 && descriptors(&server) <= before).then_some(())
    });
    let listed = server.done("GET", "packages/main/artifacts", Value::Null);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    // And the version is as free as it was.
    server.upload("main", "2", &bytes);
}

#[test]
fn a_request_that_names_itself_has_one_effect_across_a_kill() {
    let mut server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    let path = format!("cohorts/{}/deployments", server.cohort_id("lamps"));
    let order = |name: &str| {
        let order = json!({"name": name, "artifacts": [{"package": "main", "version": "1.0.0"}]});
        serde_json::to_vec(&order).unwrap()
    };
    let once = |server: &Server, key: &str, name: &str| {
        let headers = [("Idempotency-Key", key)];
        server.send("POST", &path, "application/json", &headers, &order(name))
    };
    let (status, first) = once(&server, "a", "first");
    assert_eq!(status, 201, "{first:#}");
    server.kill();
    server.start_again();
    assert_eq!(once(&server, "a", "first"), (201, first));
    let (status, other) = once(&server, "a", "second");
    assert_eq!(
        (status, &other["type"]),
        (422, &json!("urn:tessera:problem:idempotency-key-reused"))
    );
    assert_eq!(names(&server, &path).len(), 1);

    // Many under way when the process dies: asked again, each is there once.
    let all: Vec<String> = (0..40).map(|n| format!("n-{n}")).collect();
    thread::scope(|scope| {
        for name in &all {
            let (server, path, body) = (&server, &path, order(name));
            scope.spawn(move || {
                let headers = [("Idempotency-Key", name.as_str())];
                // Without an answer for those that are cut off.
                let _ = server.try_send("POST", path, "application/json", &headers, &body);
            });
        }
        let killed = Command::new("kill")
            .args(["-9", &server.pid().to_string()])
            .status();
        assert!(killed.unwrap().success());
    });
    server.kill();
    server.start_again();
    for name in &all {
        let (status, answer) = once(&server, name, name);
        let lost = answer["type"] == "urn:tessera:problem:idempotency-answer-lost";
        assert!(status == 201 || lost, "{name}: {status} {answer:#}");
    }
    let listed = server.done("GET", &format!("{path}?limit=1000"), Value::Null);
    assert_eq!(listed["items"].as_array().unwrap().len(), 41);
    assert_eq!(names(&server, &path).len(), 41);
}

// ------------------------------------------------------------------------------------------------------ helpers

/// Says `request` and nothing more; returns the beginning of what comes back, nothing if the connection just ends.
fn http(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.admin_port)).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    // The server may have answered and closed before it has heard all.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = [0; 512];
    let length = match stream.read(&mut answer) {
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
        Err(error) => panic!("{error}"),
    };
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// Says `request`, which ends the connection; all that comes back.
fn say(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server);
    // The server may have answered and closed before it has heard all.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a request on a connection that stays open; the head of its answer.
fn ask(stream: &mut TcpStream, request: &(impl AsRef<[u8]> + ?Sized)) -> String {
    stream.write_all(request.as_ref()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.to_lowercase();
    let length = length
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.admin_port)).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection from the `n`th of the addresses that the loopback network has.
fn from(server: &Server, n: usize) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source = SocketAddr::from(([127, 0, 9, u8::try_from(n).unwrap() + 1], 0));
    socket.bind(&source.into()).unwrap();
    let target = SocketAddr::from(([127, 0, 0, 1], server.admin_port));
    socket.connect(&target.into()).unwrap();
    socket.into()
}

/// Whether the server still holds its end, whatever it has said.
fn is_open(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\n{AUTH}Connection: close\r\n\r\n")
}

fn get_and_stay(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\n{AUTH}\r\n")
}

/// The names of all deployments in a list.
fn names(server: &Server, path: &str) -> BTreeSet<String> {
    let listed = server.done("GET", &format!("{path}?limit=1000"), Value::Null);
    let items = listed["items"].as_array().unwrap();
    items
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Connections and temporary files that the server has open. Not the database's own: its pool grows as it is asked.
fn descriptors(server: &Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    open.filter_map(|one| std::fs::read_link(one.unwrap().path()).ok())
        .filter(|target| {
            let target = target.to_string_lossy();
            target.starts_with("socket:") || target.contains("/uploads/")
        })
        .count()
}

/// The header that every call of an operator has.
const AUTH: &str = "Authorization: Bearer test-bootstrap-key-0123456789abcdef\r\n";
