//! A real `tessera serve` process on ports and a folder of its own, an HTTP client for its API, and the foreign CoAP
//! clients that the tests drive against it.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod certificates;

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The first admin key of every test server.
pub const KEY: &str = "test-bootstrap-key-0123456789abcdef";

/// How long a process test waits for something that takes milliseconds on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A `tessera serve` process; killed when dropped.
pub struct Server {
    process: Option<Child>,
    pub folder: TempDir,
    pub coaps_port: u16,
    pub coap_port: u16,
    pub admin_port: u16,
    settings: Vec<(String, String)>,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// Settings are `TESSERA__SECTION__KEY` variables with their values.
    pub fn start_with(settings: &[(&str, &str)]) -> Server {
        let mut server = Server::not_started(settings);
        server.start_again();
        server
    }

    /// A folder and ports, and no process yet.
    pub fn not_started(settings: &[(&str, &str)]) -> Server {
        Server {
            process: None,
            folder: tempfile::tempdir().unwrap(),
            coaps_port: free_port(),
            coap_port: free_port(),
            admin_port: free_port(),
            settings: settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        }
    }

    /// Changes a setting, from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it with another program before its command line, which may end it at any time; false if it did before the
    /// server was ready.
    pub fn start_under(&mut self, prefix: &[String]) -> bool {
        let command = self.command();
        let mut under = Command::new(&prefix[0]);
        under
            .args(&prefix[1..])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => under.env(name, value),
                None => under.env_remove(name),
            };
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        under.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let started = under.spawn();
        self.process =
            Some(started.unwrap_or_else(|error| {
                panic!("{} does not start: {error}; tests/run installs it", prefix[0])
            }));
        let ready = format!("{}/readyz", self.url());
        eventually("the server is ready or gone", || {
            if self.process.as_mut().unwrap().try_wait().unwrap().is_some() {
                return Some(false);
            }
            ureq::get(&ready).call().is_ok().then_some(true)
        })
    }

    /// Waits for its end, which something else brings about.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.take().unwrap().wait().unwrap()
    }

    /// The same folder and ports, a new process; returns once it is ready.
    pub fn start_again(&mut self) {
        self.start_again_as(self.command(), "readyz");
    }

    /// The same where something keeps it from being ready.
    pub fn start_again_unready(&mut self) {
        self.start_again_as(self.command(), "livez");
    }

    /// The same under strace, which delays system calls as these options say.
    pub fn start_again_traced(&mut self, options: &[&str]) {
        let command = self.command();
        let mut traced = Command::new("strace");
        // -D: the process that is spawned becomes the server, and not what traces it.
        traced.args(["-D", "-f", "-qq", "-o", "/dev/null"]).args(options);
        traced.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        traced
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log_file());
        self.start_again_as(traced, "readyz");
    }

    fn start_again_as(&mut self, mut command: Command, until: &str) {
        assert!(self.process.is_none(), "the server is running");
        let started = command.spawn();
        let process = started.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
        self.process = Some(process);
        let ready = format!("{}/{until}", self.url());
        eventually("the server is ready", || {
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            ureq::get(&ready).call().is_ok().then_some(())
        });
    }

    /// The command that starts this server; its log goes to a file in the folder.
    pub fn command(&self) -> Command {
        let mut command = tessera();
        command
            .arg("serve")
            .env("TESSERA__DATA__DIR", self.data_dir())
            .env("TESSERA__COAPS__LISTEN", format!("127.0.0.1:{}", self.coaps_port))
            .env("TESSERA__ADMIN__LISTEN", format!("127.0.0.1:{}", self.admin_port))
            .env("TESSERA__ADMIN__BOOTSTRAP_KEY", KEY)
            .envs(self.settings.iter().map(|(k, v)| (k, v)))
            .stdout(Stdio::null())
            .stderr(self.log_file());
        command
    }

    fn log_file(&self) -> File {
        File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        assert!(self.ask_to_end());
        self.wait()
    }

    /// SIGTERM; false if it is gone.
    pub fn ask_to_end(&self) -> bool {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).output();
        sent.unwrap().status.success()
    }

    /// A call to the API below `/v1/projects/default`; the status and the JSON answer (`null` where there is none).
    pub fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(&body).unwrap()
        };
        self.send(method, path, "application/json", &[], &bytes)
    }

    pub fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Value) {
        self.try_send(method, path, content_type, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    /// An `Err` is a call without an answer: whether it took effect is unknown.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, Value), ureq::Error> {
        self.try_send_as(
            &format!("Bearer {KEY}"),
            method,
            path,
            content_type,
            headers,
            body,
        )
    }

    /// The same by somebody else.
    pub fn send_as(
        &self,
        who: &str,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let answer = self.try_send_as(who, method, path, content_type, &[], body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    fn try_send_as(
        &self,
        who: &str,
        method: &str,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, Value), ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/projects/default/{path}", self.url()))
            .header("Authorization", who);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = if body.is_empty() {
            agent.run(request.body(()).unwrap())?
        } else {
            agent.run(request.header("Content-Type", content_type).body(body).unwrap())?
        };
        let text = answer.body_mut().read_to_string()?;
        Ok((
            answer.status().as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::Null),
        ))
    }

    /// A call that must succeed.
    pub fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer:#}\n{}",
            self.log()
        );
        answer
    }

    pub fn upload(&self, package: &str, version: &str, bytes: &[u8]) -> Value {
        self.call("POST", "packages", json!({"name": package}));
        let path = format!("packages/{package}/artifacts/{version}");
        let (status, answer) = self.send("PUT", &path, "application/octet-stream", &[], bytes);
        assert!(status == 201 || status == 200, "{status} {answer:#}");
        answer
    }

    /// A device with a PSK, in a cohort made where it is missing.
    pub fn device(&self, name: &str, cohort: &str) -> Device {
        self.call("POST", "cohorts", json!({"name": cohort}));
        let secret = format!("secret-of-{name}");
        let answer = self.done(
            "POST",
            "devices",
            json!({"name": name, "cohort": cohort, "credentials": [{"type": "psk", "secret": secret}]}),
        );
        Device {
            id: answer["id"].as_str().unwrap().to_owned(),
            identity: format!("{name}-id@default"),
            secret,
        }
    }

    pub fn cohort_id(&self, name: &str) -> String {
        let found = self.done("GET", &format!("cohorts?name={name}"), Value::Null);
        found["items"][0]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no cohort {name}: {found:#}"))
            .to_owned()
    }

    pub fn deploy(&self, cohort: &str, name: &str, artifacts: &[(&str, &str)]) -> Value {
        let artifacts: Vec<Value> = artifacts
            .iter()
            .map(|(package, version)| json!({"package": package, "version": version}))
            .collect();
        let path = format!("cohorts/{}/deployments", self.cohort_id(cohort));
        self.done("POST", &path, json!({"name": name, "artifacts": artifacts}))
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_where(name, "")
    }

    /// All metrics, as Prometheus reads them.
    pub fn metrics(&self) -> String {
        ureq::get(format!("{}/metrics", self.url()))
            .header("Authorization", format!("Bearer {KEY}"))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap()
    }

    pub fn metric_where(&self, name: &str, label: &str) -> f64 {
        self.metrics()
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
                    && line.contains(label)
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

pub struct Device {
    pub id: String,
    pub identity: String,
    pub secret: String,
}

/// libcoap's command-line client, by the library that does its DTLS.
#[derive(Clone, Copy, Debug)]
pub enum CoapClient {
    OpenSsl,
    GnuTls,
    /// With `TLS_PSK_WITH_AES_128_CBC_SHA256` as its only suite of ours.
    GnuTlsInCbc,
}

impl CoapClient {
    pub const ALL: [CoapClient; 3] = [CoapClient::OpenSsl, CoapClient::GnuTls, CoapClient::GnuTlsInCbc];

    pub fn program(self) -> &'static str {
        match self {
            CoapClient::OpenSsl => "coap-client-openssl",
            CoapClient::GnuTls | CoapClient::GnuTlsInCbc => "coap-client-gnutls",
        }
    }

    /// The suite that it and the gateway agree on.
    pub fn suite(self) -> &'static str {
        match self {
            CoapClient::OpenSsl | CoapClient::GnuTls => "TLS_PSK_WITH_AES_128_GCM_SHA256",
            CoapClient::GnuTlsInCbc => "TLS_PSK_WITH_AES_128_CBC_SHA256",
        }
    }

    /// The client with this device's credentials and what is asked of it; output and error are pipes.
    pub fn command(self, server: &Server, device: &Device, options: &[&str], path: &str) -> Command {
        let mut command = Command::new(self.program());
        if let CoapClient::GnuTlsInCbc = self {
            let only_cbc = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/gnutls-cbc.conf");
            command.env("GNUTLS_SYSTEM_PRIORITY_FILE", only_cbc);
        }
        command
            .args(["-u", &device.identity, "-k", &device.secret])
            .args(options)
            .arg(format!("coaps://127.0.0.1:{}{path}", server.coaps_port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs one request to its end; the body of the answer and what the client said.
    pub fn run(self, server: &Server, device: &Device, options: &[&str], path: &str) -> (Vec<u8>, String) {
        let folder = tempfile::tempdir().unwrap();
        let body = folder.path().join("body");
        let options = [options, &["-o", body.to_str().unwrap()]].concat();
        let output = self
            .command(server, device, &options, path)
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{} does not start: {error}; tests/run installs it",
                    self.program()
                )
            });
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (fs::read(&body).unwrap_or_default(), said)
    }

    /// Observes until the observer is dropped.
    pub fn observe(self, server: &Server, device: &Device, path: &str) -> Observer {
        let folder = tempfile::tempdir().unwrap();
        let body = folder.path().join("body");
        let options = ["-A", "60", "-s", "300", "-o", body.to_str().unwrap()];
        let process = self
            .command(server, device, &options, path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} does not start: {error}; tests/run installs it",
                    self.program()
                )
            });
        Observer {
            process,
            folder,
            body,
        }
    }
}

/// A foreign client that observes a resource and writes every representation to a file, one after the other.
pub struct Observer {
    process: Child,
    folder: TempDir,
    body: PathBuf,
}

impl Observer {
    /// What has arrived, decoded by a CBOR library that the gateway does not use.
    pub fn manifests(&self) -> Vec<Manifest> {
        let bytes = fs::read(&self.body).unwrap_or_default();
        let mut decoder = minicbor::Decoder::new(&bytes);
        let mut found = Vec::new();
        while decoder.position() < bytes.len() {
            match Manifest::decode(&mut decoder) {
                Ok(manifest) => found.push(manifest),
                Err(error) if error.is_end_of_input() => break,
                Err(error) => panic!("{error}: {}", data_encoding::HEXLOWER.encode(&bytes)),
            }
        }
        found
    }

    pub fn wait_for(&self, what: &str, wanted: impl Fn(&[Manifest]) -> bool) -> Vec<Manifest> {
        eventually(what, || {
            Some(self.manifests()).filter(|manifests| wanted(manifests))
        })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A manifest as a device reads it (`CONTRACT.md` 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub sequence: u64,
    pub components: Vec<Component>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    pub package: String,
    pub version: String,
    pub sha256: String,
    pub size: u64,
    pub uri: String,
    pub kind: String,
}

impl Manifest {
    pub fn decode(decoder: &mut minicbor::Decoder<'_>) -> Result<Manifest, minicbor::decode::Error> {
        let mut manifest = Manifest::default();
        for _ in 0..decoder.map()?.expect("a definite map") {
            match decoder.u8()? {
                1 => manifest.sequence = decoder.u64()?,
                3 => {
                    for _ in 0..decoder.array()?.expect("a definite array") {
                        manifest.components.push(Component::decode(decoder)?);
                    }
                }
                _ => decoder.skip()?,
            }
        }
        Ok(manifest)
    }
}

impl Component {
    fn decode(decoder: &mut minicbor::Decoder<'_>) -> Result<Component, minicbor::decode::Error> {
        let mut component = Component::default();
        for _ in 0..decoder.map()?.expect("a definite map") {
            match decoder.u8()? {
                1 => component.package = decoder.str()?.to_owned(),
                2 => component.version = decoder.str()?.to_owned(),
                3 => component.sha256 = decoder.str()?.to_owned(),
                4 => component.size = decoder.u64()?,
                5 => component.uri = decoder.str()?.to_owned(),
                6 => component.kind = decoder.str()?.to_owned(),
                _ => decoder.skip()?,
            }
        }
        Ok(component)
    }
}

/// The program under test, without the settings of whoever runs the tests.
pub fn tessera() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TESSERA") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Asks until there is an answer; panics with `what` when patience ends.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port that is free for UDP and TCP, below the range from which the kernel serves clients. Nobody else who asks here gets it
/// while this process lives: between a look at it and its use it would be free for two.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let user = fs::metadata("/proc/self").unwrap().uid();
    let folder = std::env::temp_dir().join(format!("tessera-test-ports-{user}"));
    fs::create_dir_all(&folder).unwrap();
    let start = u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let lock = File::create(folder.join(port.to_string())).unwrap();
        if lock.try_lock().is_err() {
            continue;
        }
        HELD.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return port;
        }
    }
}

/// Bytes that do not compress and do not repeat: xorshift64* from a seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
        })
        .collect()
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

pub fn read_all(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
