//! TLS for operators against a real `tessera serve`: certificates by plain `openssl`, spoken to by `curl`, `openssl s_client` and
//! the command line.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::certificates::{Ca, Issued, Kind};
use support::{KEY, PATIENCE, Server, eventually, tessera};

#[test]
fn curl_openssl_and_the_command_line_are_served_with_tls_and_plain_http_is_told_so() {
    let (ca, other) = (Ca::new("/CN=operators"), Ca::new("/CN=somebody else"));
    let gateway = Gateway::start(&issue(&ca), &ca);
    let address = format!("127.0.0.1:{}", gateway.server.admin_port);
    // In the meantime, one that says nothing: a handshake has its time.
    let silent = thread::spawn({
        let address = address.clone();
        move || {
            let mut silent = TcpStream::connect(address).unwrap();
            let begun = Instant::now();
            silent.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(silent.read(&mut [0]).unwrap(), 0);
            begun.elapsed()
        }
    });

    for version in [
        ["--tlsv1.2", "--tls-max", "1.2"],
        ["--tlsv1.3", "--tls-max", "1.3"],
    ] {
        let answer = gateway.curl(&version, "/v1/projects/default/keys");
        let listed: Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(listed["items"][0]["name"], "bootstrap", "{version:?}");
    }
    let answer = gateway.curl(&["-i"], "/sign-in");
    let head = String::from_utf8_lossy(&answer.stdout).to_ascii_lowercase();
    assert!(
        head.contains("\r\nstrict-transport-security: max-age=2592000\r\n"),
        "{head}"
    );
    let url = format!("https://{address}/readyz");
    let stranger = run("curl", &["-sS", "--cacert", text(&other.certificate()), &url]);
    assert_eq!(stranger.status.code(), Some(60), "another CA: {stranger:?}");
    let plain = run("curl", &["-sS", "-i", &format!("http://{address}/readyz")]);
    let said = String::from_utf8(plain.stdout).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 400") && said.contains("an address with https://"),
        "{said}"
    );

    for (version, agreed) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let ca = ca.certificate();
        let arguments = [
            "s_client",
            "-connect",
            &address,
            "-CAfile",
            text(&ca),
            "-brief",
            version,
        ];
        let output = run("openssl", &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(&format!("Protocol version: {agreed}")) && said.contains("Verification: OK"),
            "{said}"
        );
    }
    let arguments = [
        "s_client",
        "-connect",
        &address,
        "-tls1_1",
        "-cipher",
        "DEFAULT:@SECLEVEL=0",
    ];
    assert!(!run("openssl", &arguments).status.success(), "TLS 1.1 is over");

    let list = |ca: &Path| {
        let mut command = tessera();
        command
            .args([
                "key",
                "list",
                "-o",
                "json",
                "--url",
                &format!("https://{address}"),
                "--ca-file",
            ])
            .arg(ca)
            .env("TESSERA_API_KEY", KEY);
        command.output().unwrap()
    };
    let listed = list(&ca.certificate());
    assert!(listed.status.success(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["name"], "bootstrap");
    let refused = list(&other.certificate());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let wrong = format!(
        "error: the certificate of https://{address} is not trusted: it leads to none of those that count"
    );
    assert!(said.starts_with(&wrong) && said.contains("--ca-file"), "{said}");

    let waited = silent.join().unwrap();
    assert!((9..20).contains(&waited.as_secs()), "{waited:?}");
}

/// The recipe of the README, as it is pasted; and each thing that can be wrong, as it is said.
#[test]
fn the_command_line_takes_the_certificate_of_the_readme_and_says_what_is_wrong_with_others() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let at = readme.find("openssl req -x509 -newkey").unwrap();
    let recipe = readme[at..].split("```").next().unwrap();
    let recipe: String = recipe
        .lines()
        .filter(|line| line.starts_with("openssl") || line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let made = |recipe: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        let output = shell.args(["-ec", recipe]).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{recipe}: {output:?}");
        let file = |name: &str| folder.path().join(name);
        let (certificate, key) = (file("operators.pem"), file("operators.key"));
        let served = Server::not_started(&[
            ("TESSERA__ADMIN__TLS_CERT_FILE", text(&certificate)),
            ("TESSERA__ADMIN__TLS_KEY_FILE", text(&key)),
        ]);
        let process = Killed(served.command().spawn().unwrap());
        let url = format!("https://localhost:{}/readyz", served.admin_port);
        eventually("the server is ready", || {
            let curl = run("curl", &["-sS", "--fail", "--cacert", text(&certificate), &url]);
            curl.status.success().then_some(())
        });
        (folder, served, process, certificate)
    };
    let ask = |url: &str, ca: &Path| {
        let mut command = tessera();
        command
            .args(["cohort", "list", "--url", url, "--ca-file"])
            .arg(ca)
            .env("TESSERA_API_KEY", KEY);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let refused = |url: &str, ca: &Path, words: &[&str]| {
        let (code, said) = ask(url, ca);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(url) && !said.contains("does not answer"), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    };

    let (_folder, served, _process, certificate) = made(&recipe);
    for host in ["localhost", "127.0.0.1"] {
        let (code, said) = ask(&format!("https://{host}:{}", served.admin_port), &certificate);
        assert_eq!(code, Some(0), "{said}");
    }
    let somebody = Ca::new("/CN=somebody else");
    let other = somebody.certificate();
    let url = format!("https://localhost:{}", served.admin_port);
    refused(&url, &other, &["not trusted", "--ca-file"]);
    let plain = Server::start();
    let url = format!("https://127.0.0.1:{}", plain.admin_port);
    refused(&url, &other, &["does not speak TLS", "http://"]);

    // What everybody makes first, and what is for another name.
    let of_a_ca = recipe.replace("CA:FALSE", "CA:TRUE");
    assert_ne!(of_a_ca, recipe);
    let (_folder, served, _process, certificate) = made(&of_a_ca);
    let url = format!("https://localhost:{}", served.admin_port);
    refused(&url, &certificate, &["not trusted", "a CA's own", "CA:FALSE"]);
    let (_folder, served, _process, certificate) = made(&recipe.replace(",IP:127.0.0.1", ""));
    let url = format!("https://127.0.0.1:{}", served.admin_port);
    refused(&url, &certificate, &["not trusted", "another name"]);
}

#[test]
fn a_stream_goes_on_over_tls_and_ends_with_the_gateway_and_not_after_it() {
    let ca = Ca::new("/CN=operators");
    let mut gateway = Gateway::start(&issue(&ca), &ca);
    let url = format!("{}/v1/projects/default/events", gateway.url());
    let follow = || {
        let ca = gateway.ca.certificate();
        let mut command = Command::new("curl");
        command
            .args([
                "-sS",
                "-N",
                "--cacert",
                text(&ca),
                "-H",
                &format!("Authorization: Bearer {KEY}"),
                &url,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut following = follow();
    let mut lines = BufReader::new(following.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let opening = lines.find(|line| line.starts_with("id: ")).unwrap();
    gateway.curl(
        &[
            "-H",
            "Content-Type: application/json",
            "-d",
            r#"{"name": "lamps"}"#,
        ],
        "/v1/projects/default/cohorts",
    );
    let told = lines.find(|line| line.starts_with("event: ")).unwrap();
    assert_eq!(told, "event: cohort.create", "after {opening}");

    // One that takes nothing of what it is sent.
    let stuck = follow();
    assert!(gateway.server_signal("-STOP", &stuck));
    let begun = Instant::now();
    assert!(gateway.terminate());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(
        following.wait().unwrap().code(),
        Some(0),
        "the stream was ended as it should"
    );
    let mut stuck = stuck;
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}

#[test]
fn a_certificate_that_has_changed_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let (ca, next) = (Ca::new("/CN=operators"), Ca::new("/CN=next"));
    let issued = issue(&ca);
    let mut gateway = Gateway::start(&issued, &ca);
    fs::write(&issued.key, "broken").unwrap();
    eventually("it is noticed", || {
        gateway
            .metrics()
            .contains("tessera_server_certificate_reads_total{result=\"refused\"} 1")
            .then_some(())
    });
    let days_left = |gateway: &Gateway| {
        let metrics = gateway.metrics();
        let name = "tessera_server_certificate_expiry_timestamp_seconds{to=\"operators\"} ";
        let until_s: f64 = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .parse()
            .unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        ((until_s - now.unwrap().as_secs_f64()) / 86_400.0).round()
    };
    assert_eq!(days_left(&gateway), 30.0);
    let renewed = next.issue("gateway", "/CN=gateway", FOR_SERVERS, 60);
    fs::copy(&renewed.certificate, &issued.certificate).unwrap();
    fs::copy(&renewed.key, &issued.key).unwrap();
    gateway.ca = &next;
    eventually("it is shown", || {
        gateway.try_curl(&[], "/readyz").status.success().then_some(())
    });
    assert!(
        gateway
            .metrics()
            .contains("tessera_server_certificate_reads_total{result=\"taken_up\"} 1")
    );
    assert_eq!(days_left(&gateway), 60.0);
}

#[test]
fn what_would_be_served_wrongly_is_refused_by_the_check_and_by_the_start() {
    let ca = Ca::new("/CN=operators");
    let (issued, other) = (issue(&ca), ca.issue("other", "/CN=other", Kind::Version1, 5));
    let nowhere = issued.key.with_file_name("nowhere.pem");
    let listen = "TESSERA__ADMIN__LISTEN";
    let (certificate, key) = ("TESSERA__ADMIN__TLS_CERT_FILE", "TESSERA__ADMIN__TLS_KEY_FILE");
    for (settings, named) in [
        (vec![(listen, "0.0.0.0:0")], "admin.insecure_plaintext = true"),
        (vec![(listen, "[::]:0")], "admin.tls_cert_file"),
        (
            vec![(certificate, text(&issued.certificate))],
            "admin.tls_key_file beside it",
        ),
        (
            vec![(certificate, text(&issued.certificate)), (key, text(&nowhere))],
            "nowhere.pem\" (admin.tls_key_file)",
        ),
        (
            vec![(certificate, text(&issued.certificate)), (key, text(&other.key))],
            "cannot be used together",
        ),
        (
            vec![(certificate, text(&issued.key)), (key, text(&issued.key))],
            "there is no certificate in it",
        ),
        (
            vec![
                (certificate, text(&issued.certificate)),
                (key, text(&issued.certificate)),
            ],
            "without a passphrase",
        ),
    ] {
        for verb in [&["config", "check"][..], &["serve"]] {
            let server = Server::not_started(&settings);
            let mut command = tessera();
            command.args(verb).envs(
                server
                    .command()
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{verb:?} {settings:?}: {said}");
            assert!(said.contains(named), "{verb:?} {settings:?}: {said}");
        }
    }
}

#[test]
fn plain_http_beyond_this_machine_is_served_where_that_is_said_and_warned_of() {
    let mut server = Server::not_started(&[("TESSERA__ADMIN__INSECURE_PLAINTEXT", "true")]);
    let everywhere = format!("0.0.0.0:{}", server.admin_port);
    server.set("TESSERA__ADMIN__LISTEN", &everywhere);
    server.start_again();
    assert!(server.log().contains("readable on the way"), "{}", server.log());
}

/// A server that speaks TLS, and the CA that vouches for it.
struct Gateway<'a> {
    server: Server,
    process: Child,
    ca: &'a Ca,
}

impl<'a> Gateway<'a> {
    fn start(issued: &Issued, ca: &'a Ca) -> Self {
        let server = Server::not_started(&[
            ("TESSERA__ADMIN__TLS_CERT_FILE", text(&issued.certificate)),
            ("TESSERA__ADMIN__TLS_KEY_FILE", text(&issued.key)),
        ]);
        let process = server.command().spawn().unwrap();
        let gateway = Self { server, process, ca };
        eventually("the server is ready", || {
            gateway.try_curl(&[], "/readyz").status.success().then_some(())
        });
        gateway
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.server.admin_port)
    }

    fn try_curl(&self, options: &[&str], path: &str) -> Output {
        let (ca, bearer) = (self.ca.certificate(), format!("Authorization: Bearer {KEY}"));
        let url = format!("{}{path}", self.url());
        let always = ["-sS", "--fail", "--cacert", text(&ca), "-H", &bearer, &url];
        run("curl", &[&always[..], options].concat())
    }

    fn curl(&self, options: &[&str], path: &str) -> Output {
        let output = self.try_curl(options, path);
        assert!(output.status.success(), "{output:?}\n{}", self.server.log());
        output
    }

    fn metrics(&self) -> String {
        String::from_utf8(self.try_curl(&[], "/metrics").stdout).unwrap()
    }

    fn server_signal(&self, signal: &str, process: &Child) -> bool {
        run("kill", &[signal, &process.id().to_string()]).status.success()
    }

    /// SIGTERM, and whether it ended as it should.
    fn terminate(&mut self) -> bool {
        assert!(self.server_signal("-TERM", &self.process));
        self.process.wait().unwrap().success()
    }
}

/// A process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A certificate for this machine.
fn issue(ca: &Ca) -> Issued {
    ca.issue("gateway", "/CN=gateway", FOR_SERVERS, 30)
}

const FOR_SERVERS: Kind<'_> =
    Kind::Version3("subjectAltName = IP:127.0.0.1\nextendedKeyUsage = serverAuth\n");

fn run(tool: &str, arguments: &[&str]) -> Output {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{tool}: {error}; tests/run installs it"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
