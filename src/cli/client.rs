//! Talks HTTP to a server, as any client would.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{self, CertificateError};
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body, Proxy, SendBody};

use super::Output;
use super::failure::{Failure, Problem};
use crate::config::Secret;

/// Where the server is, who asks, and how the answer is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// The server's address
    #[arg(
        long,
        env = "TESSERA_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    url: String,
    /// A file that holds the API key; otherwise TESSERA_API_KEY does
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that the server's has to lead to; otherwise the system's count
    #[arg(long, env = "TESSERA_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The project
    #[arg(long, env = "TESSERA_PROJECT", default_value = "default", value_name = "NAME")]
    project: String,
    /// The form of what goes to standard output
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// A server, seen through one project.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    url: String,
    key: Secret,
}

impl Client {
    /// The client that the arguments and the environment describe.
    pub fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let key = match &args.api_key_file {
            Some(path) => {
                let bytes = fs::read(path).map_err(|source| Failure::File {
                    path: path.clone(),
                    source,
                })?;
                api_key(&path.display().to_string(), bytes.trim_ascii())?
            }
            None => {
                let value = std::env::var_os("TESSERA_API_KEY").ok_or_else(|| {
                    Failure::Usage(
                        "no API key: set TESSERA_API_KEY, or name a file with --api-key-file".to_owned(),
                    )
                })?;
                api_key("TESSERA_API_KEY", value.as_encoded_bytes())?
            }
        };
        reachable(&args.url)?;
        let roots = match args.url.starts_with("https://") {
            true => Some(roots(args.ca_file.as_deref())?),
            false => None,
        };
        Ok(Self::trusting(roots, &args.url, &args.project, key))
    }

    /// The client of the project `project` of the server at `url`.
    pub fn at(url: &str, project: &str, key: Secret) -> Self {
        Self::trusting(None, url, project, key)
    }

    fn trusting(roots: Option<Vec<Certificate<'static>>>, url: &str, project: &str, key: Secret) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots.unwrap_or_default())))
            .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // The key would go to it in the clear, whoever it is, that of a gateway of this machine too.
            .proxy(url.starts_with("https://").then(Proxy::try_from_env).flatten())
            // One that is followed turns a POST into a GET elsewhere, and the key does not go along.
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("tessera/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let url = url.trim_end_matches('/').to_owned();
        Self {
            agent,
            base: format!("{url}/v1/projects/{}", segment(project)),
            url,
            key,
        }
    }

    /// Reads something.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send("GET", path, &[], ())
    }

    /// Reads a whole list.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let pages: Result<Vec<_>, _> = self.pages(path).collect();
        pages.map(|pages| pages.concat())
    }

    /// Reads a list page by page, each when it is asked for. The first failure is the last.
    pub fn pages(&self, path: &str) -> impl Iterator<Item = Result<Vec<Value>, Failure>> {
        self.pages_of(path, PAGE)
    }

    /// The same, so many at a time.
    pub fn pages_of(&self, path: &str, limit: usize) -> impl Iterator<Item = Result<Vec<Value>, Failure>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{separator}limit={limit}");
        let mut next = Some(first.clone());
        std::iter::from_fn(move || {
            let asked = next.take()?;
            let mut page = match self.get(&asked) {
                Ok(page) => page,
                Err(failure) => return Some(Err(failure)),
            };
            let token = page["nextPageToken"].as_str();
            next = token.map(|token| format!("{first}&pageToken={}", segment(token)));
            Some(match page["items"].take() {
                Value::Array(items) => Ok(items),
                other => {
                    next = None;
                    Err(self.strange(&asked, OK, &format!("a list without items ({other})")))
                }
            })
        })
    }

    /// The one thing of this name in a list that can be filtered by name.
    pub fn named(&self, kind: &str, list: &str, name: &str) -> Result<Value, Failure> {
        let mut page = self.get(&format!("{list}?name={}", segment(name)))?;
        match page["items"].get_mut(0) {
            Some(found) => Ok(found.take()),
            None => Err(Failure::NotFound(format!(
                "there is no {kind} {name:?}; tessera {kind} list shows them"
            ))),
        }
    }

    /// The device of this id or name. The gateway takes it for an id first, as everywhere.
    pub fn device(&self, named: &str) -> Result<Value, Failure> {
        match self.get(&format!("devices/{}", segment(named))) {
            // It says so, unless it is the project that there is not.
            Err(Failure::Refused(problem)) if problem.status == 404 => self.named("device", "devices", named),
            answer => answer,
        }
    }

    /// The cohort of this name or id. No cohort is called as another's id.
    pub fn cohort(&self, named: &str) -> Result<Value, Failure> {
        let not_found = match self.named("cohort", "cohorts", named) {
            Err(Failure::NotFound(_)) => Failure::NotFound(format!(
                "there is no cohort {named:?}; tessera cohort list shows them"
            )),
            answer => return answer,
        };
        if !named.starts_with("coh_") {
            return Err(not_found);
        }
        match self.get(&format!("cohorts/{}", segment(named))) {
            Err(Failure::Refused(problem)) if problem.status == 404 => Err(not_found),
            answer => answer,
        }
    }

    /// Creates something, or has something done.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            body.to_string(),
        )
    }

    /// Has something done once, whatever becomes of the connection: where no answer arrives, the same request under the
    /// same `Idempotency-Key` asks what became of it.
    pub fn post_once(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.create_once(path, body).map(|(made, _)| made)
    }

    /// The same, and whether it was made: it may have been there, just as it was asked for.
    pub fn create_once(&self, path: &str, body: &Value) -> Result<(Value, bool), Failure> {
        let key = format!("{:032x}", rand::random::<u128>());
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", &key)];
        let mut attempt = 1;
        loop {
            let answered = self.answer("POST", path, &headers, body.to_string());
            let is_open = match &answered {
                Err(Failure::Unreachable { .. }) => true,
                Err(Failure::Refused(problem)) => problem.kind.ends_with(":idempotency-key-in-use"),
                Ok(_) | Err(_) => false,
            };
            if !is_open || attempt == ATTEMPTS {
                return answered.map(|(status, made)| (made, status == CREATED));
            }
            attempt += 1;
            thread::sleep(BETWEEN_ATTEMPTS);
        }
    }

    /// Deletes something.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.send("DELETE", path, &[], ())
    }

    /// Streams `length` bytes from a reader. The server sees the headers first and may refuse before any byte
    /// is sent.
    pub fn put(&self, path: &str, digest: &str, length: u64, mut bytes: impl Read) -> Result<Value, Failure> {
        let length = length.to_string();
        let headers = [
            ("Content-Type", "application/octet-stream"),
            ("Content-Digest", digest),
            ("Content-Length", &length),
            ("Expect", "100-continue"),
        ];
        self.send("PUT", path, &headers, SendBody::from_reader(&mut bytes))
    }

    /// Sends a file, or a part of one, and reads the lines that are answered, each a JSON document.
    pub fn post_lines(&self, path: &str, content_type: &str, bytes: &[u8]) -> Result<Vec<Value>, Failure> {
        let mut answer = self.call("POST", path, &[("Content-Type", content_type)], bytes)?;
        let text = self.text(&mut answer)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refused(path, status.as_u16(), &text));
        }
        let lines = text.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .map_err(|error| self.strange(path, status.as_u16(), &error.to_string()))
    }

    /// Reads a file, to be copied from the reader.
    pub fn get_file(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let mut answer = self.call("GET", path, &[], ())?;
        if !answer.status().is_success() {
            let text = self.text(&mut answer)?;
            return Err(self.refused(path, answer.status().as_u16(), &text));
        }
        Ok(answer.into_body().into_reader())
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<Value, Failure> {
        self.answer(method, path, headers, body).map(|(_, answer)| answer)
    }

    /// The status and the body of an answer that is no refusal.
    fn answer(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<(u16, Value), Failure> {
        let mut answer = self.call(method, path, headers, body)?;
        let text = self.text(&mut answer)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refused(path, status.as_u16(), &text));
        }
        if text.is_empty() {
            return Ok((status.as_u16(), Value::Null));
        }
        let body = serde_json::from_str(&text)
            .map_err(|error| self.strange(path, status.as_u16(), &error.to_string()))?;
        Ok((status.as_u16(), body))
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        let url = format!("{}/{path}", self.base);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header("Accept", "application/json")
            .header("Authorization", format!("Bearer {}", self.key.expose()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(body)
            .map_err(|error| Failure::Usage(format!("{url} is not a URL that can be called: {error}")))?;
        let answer = self.agent.run(request).map_err(|error| self.unreachable(error))?;
        match answer.status().is_redirection() {
            true => Err(self.moved(path, &answer)),
            false => Ok(answer),
        }
    }

    fn moved(&self, path: &str, answer: &Response<Body>) -> Failure {
        let status = answer.status().as_u16();
        let to = answer.headers().get("location").and_then(|to| to.to_str().ok());
        let what = match to {
            Some(to) => format!(
                "status {status}, which sends to {to:?} and is not followed; if the gateway is there, say so (--url, TESSERA_URL)"
            ),
            None => format!("status {status}, which sends elsewhere and does not say where"),
        };
        self.strange(path, status, &what)
    }

    fn text(&self, answer: &mut Response<Body>) -> Result<String, Failure> {
        answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .map_err(|error| self.unreachable(error))
    }

    /// Why there is no answer. Somebody who is there, and is not who he should be, is told from nobody.
    fn unreachable(&self, error: ureq::Error) -> Failure {
        let url = self.url.clone();
        match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(wrong)) => Failure::Untrusted {
                url,
                wrong: untrusted(wrong),
            },
            Some(rustls::Error::InvalidMessage(_)) => Failure::Plain { url },
            Some(_) | None => Failure::Unreachable {
                url,
                source: Box::new(error),
            },
        }
    }

    fn refused(&self, path: &str, status: u16, text: &str) -> Failure {
        match serde_json::from_str::<Problem>(text) {
            Ok(problem) => Failure::Refused(Box::new(Problem { status, ..problem })),
            Err(_) => self.strange(path, status, &format!("status {status}")),
        }
    }

    /// What to say of an answer that is none of Tessera's.
    pub fn strange(&self, path: &str, status: u16, what: &str) -> Failure {
        Failure::Strange {
            url: format!("{}/{path}", self.base),
            what: what.to_owned(),
            status,
        }
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        ureq::Error::Rustls(error) => Some(error),
        _ => None,
    }
}

/// What is wrong with a server's certificate, and what would be accepted.
fn untrusted(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::UnknownIssuer => {
            "it leads to none of those that count; --ca-file (TESSERA_CA_FILE) names the ones that it has to lead to"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name than the one in the address; accepted: a name that it is for (--url, TESSERA_URL)".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; accepted: a later one, or the right time on this machine".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; accepted: an earlier one, or the right time on this machine".to_owned()
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "it is a CA's own; accepted: one that a CA has issued for a server (basicConstraints=CA:FALSE)".to_owned()
        }
        other => other.to_string(),
    }
}

/// The key that `place` holds. No message shows what is there instead: it may be a key with a slip in it.
fn api_key(place: &str, bytes: &[u8]) -> Result<Secret, Failure> {
    if bytes.is_empty() {
        return Err(Failure::Usage(format!("{place} holds no API key: it is empty")));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(u8::is_ascii_graphic) => Ok(Secret::new(text.to_owned())),
        _ => Err(Failure::Usage(format!(
            "{place} holds no API key: there are characters in it that no key has (a space, a line break, or \
             something that is not ASCII)"
        ))),
    }
}

fn reachable(url: &str) -> Result<(), Failure> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Failure::Usage(
            "the address of the server holds a user name or a password, which it does not take; accepted: http:// or https:// and its name \
             (--url, TESSERA_URL), and an API key in TESSERA_API_KEY or --api-key-file"
                .to_owned(),
        ));
    }
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{url:?} is not the address of a server; accepted: http:// or https:// and its name (--url, TESSERA_URL)"
    )))
}

/// The certificates that the server's has to lead to: those of the file, or the system's.
fn roots(file: Option<&Path>) -> Result<Vec<Certificate<'static>>, Failure> {
    let read = |path: &Path| {
        let pem = fs::read(path).map_err(|source| Failure::File {
            path: path.to_owned(),
            source,
        })?;
        let found: Vec<_> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                // Keys are none of our business here, and what is broken leads to nothing.
                Ok(_) | Err(_) => None,
            })
            .collect();
        match found.is_empty() {
            true => Err(Failure::Usage(format!(
                "there is no certificate in {path:?}; accepted: PEM (--ca-file, TESSERA_CA_FILE)"
            ))),
            false => Ok(found),
        }
    };
    if let Some(file) = file {
        return read(file);
    }
    match SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists()) {
        Some(path) => read(path),
        None => Err(Failure::Usage(format!(
            "this system has no certificates to trust in {}; name a file with --ca-file or TESSERA_CA_FILE",
            SYSTEM_ROOTS.join(", ")
        ))),
    }
}

/// Percent-encodes a path segment or a query value.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            //= RFC 3986 section 2.3
            //# unreserved  = ALPHA / DIGIT / "-" / "." / "_" / "~"
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `package@version`, taken apart. Whether both are well formed is the server's to say.
pub fn package_version(text: &str) -> Result<(String, String), String> {
    match text.split_once('@') {
        Some((package, version)) if !package.is_empty() && !version.is_empty() => {
            Ok((package.to_owned(), version.to_owned()))
        }
        _ => Err("expected PACKAGE@VERSION, like main@1.4.0".to_owned()),
    }
}

/// Where Debian and Alpine, and where Fedora keep them.
const SYSTEM_ROOTS: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// RFC 9110 sections 15.3.1 and 15.3.2.
pub const OK: u16 = 200;
const CREATED: u16 = 201;
/// How often a request is sent that must not be lost: a server that is started again is back in between.
const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);

/// Items asked for at a time.
const PAGE: usize = 500;

/// An answer is a page of items at most.
const MAX_ANSWER: u64 = 64 << 20;

#[cfg(test)]
#[path = "client_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
