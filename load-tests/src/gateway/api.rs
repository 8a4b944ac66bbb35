//! The operator's HTTP API, as any client uses it: whatever is refused is an error with the gateway's own words.

use std::io::{BufRead, BufReader, Read};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tessera::clock;
use thiserror::Error;
use ureq::http::{Request, Response};
use ureq::{AsSendBody, Body, SendBody};

use super::PROJECT;
use crate::scenario::ImageName;

/// The API of one gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    agent: ureq::Agent,
    url: String,
    authorization: String,
}

/// Why a call did not do what it should.
#[derive(Debug, Error)]
pub enum ApiError {
    /// No answer.
    #[error("the gateway does not answer {method} {url}")]
    Unreachable {
        /// The call's method.
        method: &'static str,
        /// The call's address.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The gateway refused.
    #[error("the gateway refuses {method} {path} ({status}): {problem}")]
    Refused {
        /// The call's method.
        method: &'static str,
        /// What it was about.
        path: String,
        /// HTTP's word for it.
        status: u16,
        /// What kind of problem: the last part of its type.
        kind: String,
        /// What the gateway says.
        problem: String,
    },
    /// The gateway took a part only.
    #[error("the gateway refuses {refused} of {of} devices, the first of them {first}")]
    Devices {
        /// So many.
        refused: u64,
        /// Of so many.
        of: u64,
        /// The first of them, and why.
        first: String,
    },
    /// An answer that is none of the gateway's.
    #[error("{method} {path} is answered as no Tessera gateway does: {what}")]
    Strange {
        /// The call's method.
        method: &'static str,
        /// What it was about.
        path: String,
        /// What is strange.
        what: String,
    },
    /// There is nothing to roll back to.
    #[error(
        "cohort {cohort:?} has had {deployments} deployment(s): there is none before the active one to roll back to"
    )]
    NothingBefore {
        /// The cohort.
        cohort: String,
        /// How many it has had.
        deployments: usize,
    },
}

/// A deployment that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Its sequence number, by which devices know it.
    pub sequence: u64,
    /// What it consists of.
    pub images: Vec<ImageName>,
    /// When the request was sent, for the first time.
    pub asked: Instant,
    /// When its answer had come.
    pub answered: Instant,
}

/// A row of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The device's name.
    pub name: &'a str,
    /// Its cohort's.
    pub cohort: Option<&'a str>,
    /// Whether it may connect.
    pub enabled: bool,
    /// Identity and secret; none where it has a certificate that the gateway meets when it is used.
    pub psk: Option<(String, String)>,
}

impl Api {
    /// The API of the gateway at this URL.
    pub fn new(url: &str, key: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .user_agent(concat!("tessera-fleet/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self {
            agent,
            url: url.to_owned(),
            authorization: format!("Bearer {key}"),
        }
    }

    /// Has a package of this name, made where there is none.
    pub fn package(&self, name: &str) -> Result<(), ApiError> {
        there(self.post("packages", &json!({"name": name})))
    }

    /// Has a cohort of this name, made where there is none.
    pub fn cohort(&self, name: &str) -> Result<(), ApiError> {
        there(self.post("cohorts", &json!({"name": name})))
    }

    /// Has these bytes as this artifact. The same bytes again are no mistake, others are.
    pub fn artifact(&self, image: &ImageName, size: u64, mut bytes: impl Read) -> Result<(), ApiError> {
        let path = format!(
            "packages/{}/artifacts/{}",
            segment(&image.package),
            segment(&image.version)
        );
        let length = size.to_string();
        let headers = [
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", &length),
            // Whatever is wrong is said before a gigabyte is sent.
            ("Expect", "100-continue"),
        ];
        self.send("PUT", &path, &headers, SendBody::from_reader(&mut bytes))
            .map(drop)
    }

    /// Believes a CA about the devices of the project.
    pub fn device_ca(&self, name: &str, pem: &str) -> Result<(), ApiError> {
        self.post("device-cas", &json!({"name": name, "pem": pem}))
            .map(drop)
    }

    /// Has all of these devices as they are described, whatever they were before; or says of how many it could not be done.
    pub fn import(&self, rows: &[Row<'_>]) -> Result<(), ApiError> {
        let path = "devices:import?update=true&allowSequenceBack=true";
        let mut file = Vec::new();
        for row in rows {
            let psk = row.psk.iter();
            let credentials =
                psk.map(|(identity, secret)| json!({"type": "psk", "identity": identity, "secret": secret}));
            let line = json!({
                "name": row.name,
                "cohort": row.cohort,
                "enabled": row.enabled,
                "credentials": credentials.collect::<Vec<_>>(),
            });
            file.extend_from_slice(line.to_string().as_bytes());
            file.push(b'\n');
        }
        let headers = [("Content-Type", "application/x-ndjson")];
        let text = self.call("POST", path, &headers, &file[..])?;
        let lines = text.lines().map(serde_json::from_str);
        let lines: Vec<Value> = lines
            .collect::<Result<_, _>>()
            .map_err(|error| strange("POST", path, error))?;
        let last = lines.last().unwrap_or(&Value::Null);
        if last["complete"] != true {
            return Err(match last.get("problem") {
                Some(problem) => refused("POST", path, 200, problem),
                None => strange("POST", path, "the answer breaks off"),
            });
        }
        let refused = last["summary"]["refused"].as_u64().unwrap_or(0);
        if refused == 0 {
            return Ok(());
        }
        let first = lines.iter().find(|line| line["outcome"] == "refused");
        let first = first.map_or_else(String::new, |line| {
            format!("{}: {}", line["name"], words(&line["problem"]))
        });
        Err(ApiError::Devices {
            refused,
            of: rows.len() as u64,
            first,
        })
    }

    /// Tells of every device that the gateway knows its name and its cohort's.
    pub fn each_device(&self, mut each: impl FnMut(&str, Option<&str>)) -> Result<(), ApiError> {
        let path = "devices:export?format=ndjson";
        let mut answer = self.answer("GET", path, &[], ())?;
        // There may be a million of them: line by line.
        for line in BufReader::new(answer.body_mut().as_reader()).lines() {
            let line = line.map_err(|error| strange("GET", path, error))?;
            let device: Value = serde_json::from_str(&line).map_err(|error| strange("GET", path, error))?;
            let name = device["name"].as_str();
            let name = name.ok_or_else(|| strange("GET", path, "a device without a name"))?;
            each(name, device["cohort"].as_str());
        }
        Ok(())
    }

    /// Tells of every device in a cohort, or of every one there is, what version of which package it has reported to run: once for
    /// each package.
    pub fn each_report(
        &self,
        cohort: Option<&str>,
        mut each: impl FnMut(&str, &str, &str),
    ) -> Result<(), ApiError> {
        let mut list = format!("devices?limit={PAGE}");
        if let Some(cohort) = cohort {
            list.push_str(&format!("&cohort={}", segment(cohort)));
        }
        let mut path = list.clone();
        loop {
            let page = self.get(&path)?;
            for device in page["items"].as_array().map_or(&[][..], Vec::as_slice) {
                for package in device["packages"].as_array().map_or(&[][..], Vec::as_slice) {
                    let [Some(name), Some(package), Some(version)] =
                        [&device["name"], &package["package"], &package["version"]].map(Value::as_str)
                    else {
                        // Silent about it so far.
                        continue;
                    };
                    each(name, package, version);
                }
            }
            match page["nextPageToken"].as_str() {
                Some(token) => path = format!("{list}&pageToken={}", segment(token)),
                None => return Ok(()),
            }
        }
    }

    /// Deploys these images to a cohort, once, even where the answer is lost and the request sent again.
    pub fn deploy(&self, cohort: &str, images: &[ImageName]) -> Result<Deployed, ApiError> {
        let artifacts: Vec<Value> = images
            .iter()
            .map(|image| json!({"package": image.package, "version": image.version}))
            .collect();
        let names: Vec<String> = images.iter().map(ToString::to_string).collect();
        // A name is given once; this one says what is in it, as far as there is room.
        let name: String = names.join(" ").chars().take(NAME_CHARS).collect();
        let name = format!("{name} {:08x}", rand::random::<u32>());
        let path = format!("cohorts/{}/deployments", segment(cohort));
        let body = json!({"name": name, "artifacts": artifacts});
        let asked = clock::now();
        let made = self.post_once(&path, &body)?;
        let sequence = made["sequence"].as_u64();
        Ok(Deployed {
            sequence: sequence
                .ok_or_else(|| strange("POST", &path, "a deployment without a sequence number"))?,
            images: images.to_vec(),
            asked,
            answered: clock::now(),
        })
    }

    /// Deploys to a cohort what it had before what it has.
    pub fn roll_back(&self, cohort: &str) -> Result<Deployed, ApiError> {
        let path = format!("cohorts/{}/deployments?limit=2", segment(cohort));
        let list = self.get(&path)?;
        let deployments = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(before) = deployments.get(1) else {
            return Err(ApiError::NothingBefore {
                cohort: cohort.to_owned(),
                deployments: deployments.len(),
            });
        };
        let artifacts = before["artifacts"].as_array().map_or(&[][..], Vec::as_slice);
        let images: Option<Vec<ImageName>> = artifacts
            .iter()
            .map(|artifact| {
                Some(ImageName {
                    package: artifact["package"].as_str()?.to_owned(),
                    version: artifact["version"].as_str()?.to_owned(),
                })
            })
            .collect();
        let images = images.ok_or_else(|| strange("GET", &path, "an artifact without a name"))?;
        self.deploy(cohort, &images)
    }

    /// Moves devices to a cohort; returns how many were not in it. That one's deployment may be an older one.
    pub fn move_devices(&self, names: &[&str], cohort: &str) -> Result<u64, ApiError> {
        let mut joined = 0;
        for some in names.chunks(DEVICES_NAMED) {
            let body = json!({"devices": some, "cohort": cohort, "allowSequenceBack": true});
            let moved = self.post("devices:update", &body)?;
            let refused = moved["refused"].as_array().map_or(&[][..], Vec::as_slice);
            if let Some(first) = refused.first() {
                return Err(ApiError::Devices {
                    refused: refused.len() as u64 + moved["moreRefused"].as_u64().unwrap_or(0),
                    of: some.len() as u64,
                    first: format!("{}: {}", first["device"], words(first)),
                });
            }
            joined += moved["joined"].as_u64().unwrap_or(0);
        }
        Ok(joined)
    }

    /// Whether the gateway takes work; if not, what it says about that.
    pub fn ready(&self) -> Result<(), String> {
        let url = format!("{}/readyz", self.url);
        let probe = self.agent.get(&url).config().timeout_global(Some(PROBE)).build();
        let mut answer = probe.call().map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            return Ok(());
        }
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        Err(serde_json::from_str::<Value>(&text).map_or(text, |problem| words(&problem)))
    }

    fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send("GET", path, &[], ())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.send("POST", path, &[JSON], body.to_string())
    }

    /// Where no answer arrives, the same request under the same key asks what became of it.
    fn post_once(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let key = format!("{:032x}", rand::random::<u128>());
        let headers = [JSON, ("Idempotency-Key", key.as_str())];
        let mut attempt = 1;
        loop {
            let answered = self.send("POST", path, &headers, body.to_string());
            let is_open = match &answered {
                Err(ApiError::Unreachable { .. }) => true,
                Err(ApiError::Refused { kind, .. }) => kind == "idempotency-key-in-use",
                Ok(_)
                | Err(ApiError::Devices { .. } | ApiError::Strange { .. } | ApiError::NothingBefore { .. }) => {
                    false
                }
            };
            if !is_open || attempt == ATTEMPTS {
                return answered;
            }
            attempt += 1;
            thread::sleep(BETWEEN_ATTEMPTS);
        }
    }

    fn send(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<Value, ApiError> {
        let text = self.call(method, path, headers, body)?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| strange(method, path, error))
    }

    /// The text of an answer that is no refusal.
    fn call(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<String, ApiError> {
        let mut answer = self.answer(method, path, headers, body)?;
        self.text(method, path, &mut answer)
    }

    /// An answer that is no refusal.
    fn answer(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<Response<Body>, ApiError> {
        let url = self.url_of(path);
        let unreachable = |source| unreachable(method, &url, source);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header("Authorization", &self.authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|error| unreachable(error.into()))?;
        let mut answer = self.agent.run(request).map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let text = self.text(method, path, &mut answer)?;
        let problem = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Err(refused(method, path, answer.status().as_u16(), &problem))
    }

    fn text(
        &self,
        method: &'static str,
        path: &str,
        answer: &mut Response<Body>,
    ) -> Result<String, ApiError> {
        let body = answer.body_mut().with_config().limit(MAX_ANSWER);
        body.read_to_string()
            .map_err(|source| unreachable(method, &self.url_of(path), source))
    }

    fn url_of(&self, path: &str) -> String {
        format!("{}/v1/projects/{PROJECT}/{path}", self.url)
    }
}

fn unreachable(method: &'static str, url: &str, source: ureq::Error) -> ApiError {
    ApiError::Unreachable {
        method,
        url: url.to_owned(),
        source: Box::new(source),
    }
}

/// Done, or done before.
fn there(answered: Result<Value, ApiError>) -> Result<(), ApiError> {
    match answered {
        Err(ApiError::Refused { kind, .. }) if kind == "name-taken" => Ok(()),
        other => other.map(drop),
    }
}

fn refused(method: &'static str, path: &str, status: u16, problem: &Value) -> ApiError {
    let kind = problem["type"].as_str().unwrap_or_default();
    ApiError::Refused {
        method,
        path: path.to_owned(),
        status,
        kind: kind.rsplit(':').next().unwrap_or_default().to_owned(),
        problem: words(problem),
    }
}

fn strange(method: &'static str, path: &str, what: impl ToString) -> ApiError {
    ApiError::Strange {
        method,
        path: path.to_owned(),
        what: what.to_string(),
    }
}

/// What a problem (RFC 9457) says, in one line.
fn words(problem: &Value) -> String {
    let Some(detail) = problem["detail"].as_str() else {
        return problem.to_string().chars().take(STRANGE_CHARS).collect();
    };
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = detail.to_owned();
    for error in errors {
        let part = |name: &str| error[name].as_str().unwrap_or_default();
        // One that is alone may have given the whole its words.
        if part("detail") != detail {
            text.push_str(&format!("; {}: {}", part("field"), part("detail")));
        }
        if !part("accepted").is_empty() {
            text.push_str(&format!("; accepted: {}", part("accepted")));
        }
    }
    text
}

/// Percent-encodes a path segment.
fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            //= RFC 3986 section 2.3
            //# unreserved  = ALPHA / DIGIT / "-" / "." / "_" / "~"
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const CONNECT: Duration = Duration::from_secs(10);
/// An import of many devices, or a deployment to a million, takes a gateway that is busy some seconds.
const ANSWER: Duration = Duration::from_secs(120);
/// Readiness is asked for again and again: an answer that is late is none.
const PROBE: Duration = Duration::from_secs(2);
/// How often a request is sent that must not be lost: a gateway that is started again is back in between.
const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// Devices of a page: as many as the gateway gives.
const PAGE: usize = 1000;
/// Devices that the gateway lets be named at once.
const DEVICES_NAMED: usize = 1000;
/// Characters of a deployment's name that say what is in it: it may have 100 in all.
const NAME_CHARS: usize = 80;
/// What is shown of an answer that makes no sense.
const STRANGE_CHARS: usize = 300;
/// An import's answer has a line for each 500 rows, and each that is refused.
const MAX_ANSWER: u64 = 64 << 20;
