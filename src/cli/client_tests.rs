//! The client against a server that answers from a script.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::json;

use super::super::failure::Failure;
use super::rustls::{CertificateError, OtherError};
use super::{Client, api_key, package_version, reachable, segment, untrusted};
use crate::config::Secret;

#[test]
fn a_list_is_followed_to_its_last_page() {
    let server = Script::answering(&[
        (
            200,
            r#"{"items": [{"id": "coh_1"}, {"id": "coh_2"}], "nextPageToken": "a b"}"#,
        ),
        (200, r#"{"items": [{"id": "coh_3"}]}"#),
    ]);
    let items = server.client().list("cohorts?tag=x%26y").unwrap();
    assert_eq!(
        items,
        [
            json!({"id": "coh_1"}),
            json!({"id": "coh_2"}),
            json!({"id": "coh_3"})
        ]
    );
    let asked = server.asked();
    assert_eq!(
        asked[0].line,
        "GET /v1/projects/default/cohorts?tag=x%26y&limit=500 HTTP/1.1"
    );
    assert_eq!(
        asked[1].line,
        "GET /v1/projects/default/cohorts?tag=x%26y&limit=500&pageToken=a%20b HTTP/1.1"
    );
    assert_eq!(asked[0].header("authorization"), Some("Bearer secret"));
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again_under_the_same_key() {
    let server = Script::answering(&[
        HANGS_UP,
        (
            409,
            r#"{"type": "urn:tessera:problem:idempotency-key-in-use", "title": "The same request is under way"}"#,
        ),
        (201, r#"{"id": "dep_1"}"#),
    ]);
    let made = server
        .client()
        .post_once("cohorts/1/deployments", &json!({"name": "x"}));
    assert_eq!(made.unwrap(), json!({"id": "dep_1"}));
    let asked = server.asked();
    let keys: Vec<_> = asked
        .iter()
        .map(|one| one.header("idempotency-key").unwrap())
        .collect();
    assert!(
        keys[0].len() == 32 && keys.iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );

    // What was refused is refused.
    let server = Script::answering(&[(409, r#"{"title": "Somebody deployed in the meantime"}"#)]);
    let refused = server
        .client()
        .post_once("cohorts/1/deployments", &json!({"name": "x"}));
    assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
    let other = server.asked();
    assert_ne!(other[0].header("idempotency-key"), Some(keys[0]));
}

#[test]
fn a_page_that_fails_fails_the_list() {
    let server = Script::answering(&[
        (200, r#"{"items": [1], "nextPageToken": "2"}"#),
        (503, r#"{"title": "The gateway cannot do this at the moment"}"#),
    ]);
    let failure = server.client().list("devices").unwrap_err();
    assert!(
        matches!(&failure, Failure::Refused(problem) if problem.status == 503),
        "{failure}"
    );
    server.asked();
}

#[test]
fn a_name_that_nothing_has_is_not_found() {
    let server = Script::answering(&[(200, r#"{"items": []}"#)]);
    let failure = server
        .client()
        .named("cohort", "cohorts", "Field trial, north")
        .unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    assert!(
        failure.to_text().contains("Field trial, north"),
        "{}",
        failure.to_text()
    );
    assert_eq!(
        server.asked()[0].line,
        "GET /v1/projects/default/cohorts?name=Field%20trial%2C%20north HTTP/1.1"
    );
}

#[test]
fn an_upload_announces_length_and_digest_and_waits_to_be_asked() {
    let server = Script::answering(&[(201, r#"{"size": 5}"#)]);
    let made = server
        .client()
        .put(
            "packages/a/artifacts/1",
            "sha-256=:AA==:",
            5,
            Cursor::new(b"bytes"),
        )
        .unwrap();
    assert_eq!(made, json!({"size": 5}));
    let asked = server.asked();
    assert_eq!(
        asked[0].line,
        "PUT /v1/projects/default/packages/a/artifacts/1 HTTP/1.1"
    );
    assert_eq!(asked[0].header("content-length"), Some("5"));
    assert_eq!(asked[0].header("transfer-encoding"), None);
    assert_eq!(asked[0].header("expect"), Some("100-continue"));
    assert_eq!(asked[0].header("content-digest"), Some("sha-256=:AA==:"));
    assert_eq!(asked[0].body, b"bytes");
}

#[test]
fn a_refused_upload_is_a_refusal_and_not_a_broken_connection() {
    let server = Script::answering(&[(413, r#"{"title": "The body is too large", "status": 413}"#)]);
    let large = std::io::repeat(0).take(100 << 20);
    let refused = server
        .client()
        .put("packages/a/artifacts/1", "sha-256=:AA==:", 100 << 20, large)
        .unwrap_err();
    assert!(
        matches!(&refused, Failure::Refused(problem) if problem.status == 413),
        "{refused}"
    );
    server.asked();
}

#[test]
fn a_part_of_a_file_is_sent_as_it_is_and_answered_in_lines() {
    let server = Script::answering(&[
        (200, "{\"line\": 2}\n{\"summary\": {}}\n"),
        (200, "{\"line\": 2}\n{\"summ"),
        (
            422,
            r#"{"title": "A value is not accepted", "detail": "the header", "status": 422}"#,
        ),
    ]);
    let client = server.client();
    let lines = client
        .post_lines("devices:import", "text/csv", b"name\nlamp-1\n")
        .unwrap();
    assert_eq!(lines, [json!({"line": 2}), json!({"summary": {}})]);
    let cut = client
        .post_lines("devices:import", "text/csv", b"name\n")
        .unwrap_err();
    assert!(matches!(cut, Failure::Strange { .. }), "{cut}");
    let refused = client
        .post_lines("devices:import", "text/csv", b"nom\n")
        .unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v1/projects/default/devices:import HTTP/1.1");
    assert_eq!(asked[0].header("content-type"), Some("text/csv"));
    assert_eq!(asked[0].body, b"name\nlamp-1\n");
}

#[test]
fn a_file_is_read_to_its_end_or_refused() {
    let server = Script::answering(&[
        (200, "name\nlamp-1\n"),
        (404, r#"{"title": "There is no such thing", "status": 404}"#),
    ]);
    let client = server.client();
    let mut file = String::new();
    client
        .get_file("devices:export?format=csv")
        .unwrap()
        .read_to_string(&mut file)
        .unwrap();
    assert_eq!(file, "name\nlamp-1\n");
    let refused = client.get_file("devices:export?cohort=nowhere").err().unwrap();
    assert_eq!(refused.exit_code(), 3);
    assert_eq!(server.asked()[0].header("authorization"), Some("Bearer secret"));
}

#[test]
fn somebody_elses_server_is_named_as_such() {
    let server = Script::answering(&[(404, "<html>nothing here</html>"), (200, "hello"), (200, "{}")]);
    let client = server.client();
    for _ in 0..2 {
        assert!(matches!(
            client.get("cohorts").unwrap_err(),
            Failure::Strange { .. }
        ));
    }
    assert!(matches!(
        client.list("cohorts").unwrap_err(),
        Failure::Strange { .. }
    ));
    server.asked();
}

#[test]
fn whoever_is_sent_elsewhere_is_told_where_and_does_not_go() {
    for status in [301, 302, 303, 307, 308] {
        let server = Script::answering(&[(status, "")]);
        let failure = server.client().delete("devices/dev_1").unwrap_err();
        let text = failure.to_text();
        assert!(text.contains(ELSEWHERE) && text.contains("--url"), "{text}");
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client(&format!("http://{free}"), "secret");
    let failure = client.get("cohorts").unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(
        failure.to_text().contains(&free.to_string()),
        "{}",
        failure.to_text()
    );
}

#[test]
fn a_server_that_speaks_no_tls_is_told_from_one_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
        connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let failure = client(&url, "secret").get("cohorts").unwrap_err();
    server.join().unwrap();
    assert_eq!((failure.exit_code(), failure.may_pass()), (1, false));
    assert!(
        failure
            .to_text()
            .starts_with(&format!("error: {url} does not speak TLS")),
        "{}",
        failure.to_text()
    );
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_what_would_be_accepted() {
    let own = CertificateError::Other(OtherError(Arc::new(std::io::Error::other("CaUsedAsEndEntity"))));
    for (wrong, accepted) in [
        (CertificateError::UnknownIssuer, "--ca-file"),
        (CertificateError::NotValidForName, "--url"),
        (CertificateError::Expired, "a later one"),
        (CertificateError::NotValidYet, "the right time"),
        (own, "basicConstraints=CA:FALSE"),
    ] {
        let told = untrusted(&wrong);
        assert!(told.contains(accepted), "{wrong:?}: {told}");
    }
}

#[test]
fn a_list_in_pages_is_there_as_far_as_it_was_read() {
    let server = Script::answering(&[
        (200, r#"{"items": [1, 2], "nextPageToken": "2"}"#),
        (503, r#"{"title": "The gateway cannot do this at the moment"}"#),
    ]);
    let client = server.client();
    let mut pages = client.pages("devices");
    assert_eq!(pages.next().unwrap().unwrap(), [json!(1), json!(2)]);
    assert!(pages.next().unwrap().is_err());
    assert!(pages.next().is_none(), "nobody is asked again");
    drop(pages);
    server.asked();
}

#[test]
fn an_address_or_a_key_that_cannot_be_used_is_a_usage_error() {
    assert!(reachable("http://127.0.0.1:8080").is_ok());
    assert!(reachable("https://gateway.example.org").is_ok());
    for url in ["ftp://gateway.example.org", "gateway:80", ""] {
        let failure = reachable(url).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_text().contains("http://"), "{}", failure.to_text());
    }
}

#[test]
fn what_is_no_key_is_refused_where_it_is_read_and_not_shown() {
    assert_eq!(
        api_key("TESSERA_API_KEY", b"tsk_a-B.9").unwrap().expose(),
        "tsk_a-B.9"
    );
    for wrong in ["", "two\nlines", "schlüssel", "a b", "key\n"] {
        let failure = api_key("TESSERA_API_KEY", wrong.as_bytes()).unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{wrong:?}");
        let text = failure.to_text();
        assert!(text.contains("TESSERA_API_KEY holds no API key"), "{text}");
        assert!(wrong.is_empty() || !text.contains(wrong), "{text}");
    }
    assert_eq!(api_key("key.txt", b"\xff").unwrap_err().exit_code(), 2);
}

#[test]
fn the_key_is_not_in_the_debug_output() {
    let client = client("http://127.0.0.1:1", "do-not-show");
    assert!(!format!("{client:?}").contains("do-not-show"));
}

#[test]
fn a_segment_holds_no_delimiter() {
    assert_eq!(segment("lamp-1"), "lamp-1");
    assert_eq!(segment("a/b?c d+ä:@%"), "a%2Fb%3Fc%20d%2B%C3%A4%3A%40%25");
}

#[test]
fn package_and_version_are_taken_apart_at_the_at_sign() {
    assert_eq!(
        package_version("main@1.4.0"),
        Ok(("main".to_owned(), "1.4.0".to_owned()))
    );
    for wrong in ["main", "@1", "main@", ""] {
        assert!(package_version(wrong).is_err(), "{wrong}");
    }
}

fn client(url: &str, key: &str) -> Client {
    Client::at(url, "default", Secret::new(key.to_owned()))
}

/// Where every redirection of a script sends.
const ELSEWHERE: &str = "https://gateway.example.org/";

/// An answer that is none.
const HANGS_UP: (u16, &str) = (0, "");

/// Answers each request in turn, one connection each.
struct Script {
    url: String,
    thread: JoinHandle<Vec<Asked>>,
}

struct Asked {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, wanted: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    }
}

impl Script {
    fn answering(answers: &[(u16, &str)]) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answers: Vec<(u16, String)> = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        let thread = thread::spawn(move || {
            answers
                .into_iter()
                .map(|(status, body)| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut lines = Vec::new();
                    loop {
                        let mut line = String::new();
                        reader.read_line(&mut line).unwrap();
                        if line.trim_end().is_empty() {
                            break;
                        }
                        lines.push(line.trim_end().to_owned());
                    }
                    let headers: Vec<(String, String)> = lines[1..]
                        .iter()
                        .map(|line| line.split_once(": ").unwrap())
                        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                        .collect();
                    let mut asked = Asked {
                        line: lines[0].clone(),
                        headers,
                        body: Vec::new(),
                    };
                    let length = asked
                        .header("content-length")
                        .map_or(0, |text| text.parse().unwrap());
                    if status < 300 || asked.header("expect").is_none() {
                        if asked.header("expect").is_some() {
                            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
                        }
                        asked.body = vec![0; length];
                        reader.read_exact(&mut asked.body).unwrap();
                    }
                    if status == HANGS_UP.0 {
                        return asked;
                    }
                    let length = body.len();
                    let location = match status {
                        300..400 => format!("Location: {ELSEWHERE}\r\n"),
                        _ => String::new(),
                    };
                    let head = format!(
                        "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n{location}Connection: close\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    stream.write_all(body.as_bytes()).unwrap();
                    asked
                })
                .collect()
        });
        Script { url, thread }
    }

    fn client(&self) -> Client {
        client(&self.url, "secret")
    }

    fn asked(self) -> Vec<Asked> {
        self.thread.join().unwrap()
    }
}
