//! What hostile HTTP clients send, sent to a real `tessera serve`. After each attack the next call is answered.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::{KEY, Server, noise};

#[test]
fn parallel_deployments_get_rising_numbers_one_each() {
    let server = Server::start();
    server.upload("main", "1.0.0", &noise(1, 100));
    server.call("POST", "cohorts", json!({"name": "lamps"}));
    let numbers: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..40)
            .map(|thread| {
                let server = &server;
                scope.spawn(move || {
                    let deploy = |n| server.deploy("lamps", &format!("{thread}-{n}"), &[("main", "1.0.0")]);
                    (0..5)
                        .map(|n| deploy(n)["sequence"].as_u64().unwrap())
                        .collect::<Vec<_>>()
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
    let path = format!("cohorts/{}/deployments?limit=1000", server.cohort_id("lamps"));
    let history = server.done("GET", &path, Value::Null);
    let listed: Vec<u64> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(listed.len(), 200);
    assert!(listed.is_sorted_by(|a, b| a > b), "{listed:?}");
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
fn a_body_that_never_comes_is_not_waited_for() {
    let server = Server::start();
    let mut stream = TcpStream::connect(("127.0.0.1", server.admin_port)).unwrap();
    write!(
        stream,
        "POST /v1/projects/default/cohorts HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{{\"name\""
    )
    .unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
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
