//! What the program believes: every key with its type, its default and what it accepts.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::mistake::Mistake;
use super::raw::Origin;
use super::value::{Choice, Count, Folder, LogFilter, ReadableFile, Secret, SecretText, Size, Span, Value};

/// The whole configuration, checked.
///
/// [`Config::default`] is what an empty file gives; `config/tessera.toml` says the same with comments.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[data]`
    pub data: DataConfig,
    /// `[coaps]`
    pub coaps: CoapsConfig,
    /// `[coap]`
    pub coap: CoapConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[runtime]`
    pub runtime: RuntimeConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// `[data]`: where everything durable lives.
#[derive(Debug, Clone, PartialEq)]
pub struct DataConfig {
    /// The data folder; created where it is missing.
    pub dir: PathBuf,
}

/// `[coaps]`: CoAP over DTLS, what devices speak.
#[derive(Debug, Clone, PartialEq)]
pub struct CoapsConfig {
    /// UDP addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Sessions kept at most; past that the longest idle one goes.
    pub max_sessions: usize,
    /// A session that has been silent for this long ends.
    pub idle_timeout: Duration,
    /// The same for a session with a connection ID, which its device can come back to from any address.
    pub idle_timeout_cid: Duration,
    /// Handshakes in flight at most; past that ClientHellos are dropped.
    pub max_handshakes: usize,
    /// The first wait before a handshake flight is sent again; doubles.
    pub handshake_initial_timeout: Duration,
    /// The longest wait between two transmissions of a flight.
    pub handshake_max_timeout: Duration,
    /// The gateway's own certificate and what leads to its CA; without one, devices need pre-shared keys.
    pub certificate_file: Option<PathBuf>,
    /// The private key of that certificate.
    pub private_key_file: Option<PathBuf>,
    /// Whether devices may show a public key without a certificate.
    pub raw_public_keys: bool,
}

/// `[coap]`: CoAP without security, for development.
#[derive(Debug, Clone, PartialEq)]
pub struct CoapConfig {
    /// UDP addresses to listen on; none by default.
    pub listen: Vec<SocketAddr>,
}

/// `[admin]`: the HTTP API.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminConfig {
    /// The TCP address to listen on.
    pub listen: SocketAddr,
    /// The first admin key; without one a key is made at first start and shown once.
    pub bootstrap_key: Option<Secret>,
    /// Who may read `/metrics`.
    pub metrics_auth: MetricsAuth,
    /// The largest artifact accepted, in bytes.
    pub max_artifact_bytes: u64,
    /// Connections served at a time; past that a waiting one gives way.
    pub max_connections: usize,
    /// The certificate for TLS, with what leads to its CA; without one plain HTTP is spoken.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    pub tls_key_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken beyond this machine.
    pub insecure_plaintext: bool,
}

/// `[runtime]`: how the process uses the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeConfig {
    /// Threads that serve devices; `None` is one per core.
    pub shards: Option<NonZeroUsize>,
}

/// `[log]`: what is written to standard error.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// A level, or levels by module.
    pub filter: String,
}

/// Who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAuth {
    /// Whoever holds an API key.
    Key,
    /// Everybody who reaches the listener.
    None,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: DataConfig {
                dir: PathBuf::from("tessera-data"),
            },
            coaps: CoapsConfig {
                listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5684))],
                max_sessions: 1_000_000,
                idle_timeout: Duration::from_secs(24 * 3600),
                idle_timeout_cid: Duration::from_secs(30 * 24 * 3600),
                max_handshakes: 1024,
                //= RFC 6347 section 4.2.4.1
                //# implementations SHOULD use an initial timer value of 1 second
                handshake_initial_timeout: Duration::from_secs(1),
                handshake_max_timeout: Duration::from_secs(60),
                certificate_file: None,
                private_key_file: None,
                raw_public_keys: false,
            },
            coap: CoapConfig { listen: Vec::new() },
            admin: AdminConfig {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
                bootstrap_key: None,
                metrics_auth: MetricsAuth::Key,
                max_artifact_bytes: 256 << 20,
                max_connections: 512,
                tls_cert_file: None,
                tls_key_file: None,
                insecure_plaintext: false,
            },
            runtime: RuntimeConfig { shards: None },
            log: LogConfig {
                format: LogFormat::Text,
                filter: "info".to_owned(),
            },
        }
    }
}

/// A key of the configuration, with the field behind it.
pub struct Setting<'c> {
    /// `section.key`
    pub key: &'static str,
    /// The field's parser and printer.
    pub value: Box<dyn Value + 'c>,
}

impl fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.key, self.value.show())
    }
}

impl Config {
    /// Every key, section by section, in the order of `config/tessera.toml`.
    pub fn settings(&mut self) -> Vec<Setting<'_>> {
        // Taken apart in full: a field that is not listed below does not compile without a warning.
        let Self {
            data,
            coaps,
            coap,
            admin,
            runtime,
            log,
        } = self;
        let DataConfig { dir } = data;
        let CoapsConfig {
            listen: coaps_listen,
            max_sessions,
            idle_timeout,
            idle_timeout_cid,
            max_handshakes,
            handshake_initial_timeout,
            handshake_max_timeout,
            certificate_file,
            private_key_file,
            raw_public_keys,
        } = coaps;
        let CoapConfig { listen: coap_listen } = coap;
        let AdminConfig {
            listen: admin_listen,
            bootstrap_key,
            metrics_auth,
            max_artifact_bytes,
            max_connections,
            tls_cert_file,
            tls_key_file,
            insecure_plaintext,
        } = admin;
        let RuntimeConfig { shards } = runtime;
        let LogConfig { format, filter } = log;
        vec![
            setting("data.dir", Folder(dir)),
            setting("coaps.listen", coaps_listen),
            // Connection IDs give a slot 24 bits.
            setting("coaps.max_sessions", Count(max_sessions, 1..=(1 << 24) - 1)),
            // A device behind this protocol's cloud expects its session to last 3 hours of silence.
            setting(
                "coaps.idle_timeout",
                Span(idle_timeout, hours(3)..=hours(24 * 365)),
            ),
            setting(
                "coaps.idle_timeout_cid",
                Span(idle_timeout_cid, hours(3)..=hours(24 * 365)),
            ),
            setting("coaps.max_handshakes", Count(max_handshakes, 1..=1 << 20)),
            setting(
                "coaps.handshake_initial_timeout",
                Span(
                    handshake_initial_timeout,
                    Duration::from_millis(100)..=Duration::from_secs(60),
                ),
            ),
            setting(
                "coaps.handshake_max_timeout",
                Span(
                    handshake_max_timeout,
                    Duration::from_secs(1)..=Duration::from_secs(600),
                ),
            ),
            setting("coaps.certificate_file", ReadableFile(certificate_file)),
            setting("coaps.private_key_file", ReadableFile(private_key_file)),
            setting("coaps.raw_public_keys", raw_public_keys),
            setting("coap.listen", coap_listen),
            setting("admin.listen", admin_listen),
            setting("admin.bootstrap_key", SecretText(bootstrap_key, 16..=256)),
            setting(
                "admin.metrics_auth",
                Choice(
                    metrics_auth,
                    &[("key", MetricsAuth::Key), ("none", MetricsAuth::None)],
                ),
            ),
            // What a device can address: 2^20 blocks of 1024 bytes.
            setting("admin.max_artifact_bytes", Size(max_artifact_bytes, 1..=1 << 30)),
            setting("admin.max_connections", Count(max_connections, 16..=65_536)),
            setting("admin.tls_cert_file", ReadableFile(tls_cert_file)),
            setting("admin.tls_key_file", ReadableFile(tls_key_file)),
            setting("admin.insecure_plaintext", insecure_plaintext),
            setting("runtime.shards", shards),
            setting(
                "log.format",
                Choice(format, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            ),
            setting("log.filter", LogFilter(filter)),
        ]
    }

    /// What is in force, as TOML, with secrets masked: `tessera config check` prints it.
    pub fn render_masked(&self) -> String {
        let mut copy = self.clone();
        let mut text = String::new();
        let mut section = "";
        for setting in copy.settings() {
            let (of, key) = split(setting.key);
            if of != section {
                if !section.is_empty() {
                    text.push('\n');
                }
                text.push_str(&format!("[{of}]\n"));
                section = of;
            }
            match setting.value.show() {
                Some(shown) => text.push_str(&format!("{key} = {shown}\n")),
                None => text.push_str(&format!("# {key} is not set\n")),
            }
        }
        text
    }

    /// What no key can see by itself.
    pub fn contradictions(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut contradiction = |key: &str, value: String, accepted: &str| {
            found.push(Mistake::value(key, value, Origin::Together, accepted.to_owned()));
        };
        if self.coaps.listen.is_empty() && self.coap.listen.is_empty() {
            contradiction(
                "coaps.listen",
                "[]".to_owned(),
                "at least one address here or in coap.listen",
            );
        }
        let mut taken = Vec::new();
        for (key, address) in (self.coaps.listen.iter().map(|address| ("coaps.listen", address)))
            .chain(self.coap.listen.iter().map(|address| ("coap.listen", address)))
        {
            // Port 0 asks the kernel for a free one: never the same twice.
            if address.port() != 0 && taken.contains(&address) {
                contradiction(key, address.to_string(), "an address that no other listener has");
            }
            taken.push(address);
        }
        if self.coaps.handshake_initial_timeout > self.coaps.handshake_max_timeout {
            contradiction(
                "coaps.handshake_initial_timeout",
                super::value::show_span(self.coaps.handshake_initial_timeout),
                "at most coaps.handshake_max_timeout",
            );
        }
        let (certificate, key) = (&self.coaps.certificate_file, &self.coaps.private_key_file);
        let shown = |path: &PathBuf| super::value::quoted(&path.to_string_lossy());
        match (certificate, key) {
            (Some(certificate), None) => contradiction(
                "coaps.certificate_file",
                shown(certificate),
                "coaps.private_key_file beside it, or neither",
            ),
            (None, Some(key)) => contradiction(
                "coaps.private_key_file",
                shown(key),
                "coaps.certificate_file beside it, or neither",
            ),
            (None, None) if self.coaps.raw_public_keys => contradiction(
                "coaps.raw_public_keys",
                "true".to_owned(),
                "false, or coaps.certificate_file and coaps.private_key_file: the gateway shows a key too",
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let admin = &self.admin;
        match (&admin.tls_cert_file, &admin.tls_key_file) {
            (Some(certificate), None) => contradiction(
                "admin.tls_cert_file",
                shown(certificate),
                "admin.tls_key_file beside it, or neither",
            ),
            (None, Some(key)) => contradiction(
                "admin.tls_key_file",
                shown(key),
                "admin.tls_cert_file beside it, or neither",
            ),
            // API keys would go over the network as they are.
            (None, None) if !admin.listen.ip().to_canonical().is_loopback() && !admin.insecure_plaintext => {
                contradiction(
                    "admin.listen",
                    admin.listen.to_string(),
                    "an address of this machine alone, such as 127.0.0.1:8080, or admin.tls_cert_file and admin.tls_key_file, \
                     or admin.insecure_plaintext = true where something before the gateway speaks TLS",
                );
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        found
    }
}

/// A key's section and its name there.
pub fn split(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or(("", key))
}

fn setting<'c>(key: &'static str, value: impl Value + 'c) -> Setting<'c> {
    Setting {
        key,
        value: Box::new(value),
    }
}

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}
