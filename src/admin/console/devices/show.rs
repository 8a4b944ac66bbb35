//! A device from near: who it is, how it is connected, what it has and should have, what it proves itself with, and what
//! happened to it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use data_encoding::HEXLOWER;

use super::super::form::Fields;
use super::super::page::{self, Frame, Refused, Section};
use super::super::show::{Piece, percent, pieces, visible};
use super::super::visitor::Visitor;
use super::super::wrong::Wrongs;
use super::once::MadeKey;
use super::timeline::Timeline;
use crate::admin::{AdminState, devices};
use crate::control::{DeviceRecord, FailureRecord, default_identity};
use crate::fleet::{
    Artifact, ArtifactId, Cohort, Credential, CredentialKind, DeviceId, DeviceState, PackageState, Project,
    Stage, Tag, reason_words,
};

#[derive(Template)]
#[template(path = "device.html", config = "src/admin/console/askama.toml")]
struct DevicePage {
    frame: Frame,
    wrong: Wrongs,
    typed: Typed,
    id: DeviceId,
    name: String,
    /// The identity of a key that is added without one, if that can be one.
    own_identity: Option<String>,
    enabled: bool,
    created_ms: i64,
    tags: Vec<String>,
    cohort: Option<Link>,
    deployment: Option<Link>,
    stage: Option<&'static str>,
    last_seen_ms: Option<i64>,
    manifest_sent: u32,
    manifest_acknowledged: u32,
    session: Option<Session>,
    failure: Option<Failure>,
    packages: Vec<PackageRow>,
    transfer: Option<Transfer>,
    keys: Vec<KeyRow>,
    made: Vec<Made>,
    /// What is pasted leads to the gateway as it is.
    has_address: bool,
    timeline: Timeline,
    first: Option<String>,
    next: Option<String>,
}

/// What was typed into a form that was wrong.
#[derive(Debug, Default)]
pub struct Typed {
    /// The kind of a credential.
    pub kind: String,
    /// Its identity.
    pub identity: String,
    /// Its certificate.
    pub pem: String,
    /// Its digest.
    pub sha256: String,
    /// A tag.
    pub tag: String,
    /// The device's name, to confirm.
    pub confirm: String,
}

struct Link {
    text: String,
    href: String,
}

struct Session {
    address: String,
    connection_id: Option<String>,
    suite: &'static str,
    since_ms: i64,
    credential: Option<&'static str>,
}

/// The last handshake that failed.
struct Failure {
    text: Vec<Piece>,
    address: String,
    at_ms: i64,
    count: u64,
}

struct PackageRow {
    name: String,
    have: Option<String>,
    want: Option<Link>,
    /// It runs what it should, or nothing is wanted of it.
    settled: bool,
    state: Option<String>,
    reason: Option<String>,
    failed: bool,
    target: Option<String>,
    at_ms: Option<i64>,
}

struct Transfer {
    what: String,
    done: u64,
    size: u64,
    percent: u64,
}

struct KeyRow {
    href: String,
    kind: &'static str,
    what: String,
    facts: String,
    created_ms: i64,
    in_use: bool,
    /// What retiring it does.
    consequence: String,
    verb: &'static str,
}

/// A key just made, with what to paste.
struct Made {
    identity: String,
    secret: Option<String>,
    kconfig: String,
    client: String,
}

#[derive(Template)]
#[template(path = "device_missing.html", config = "src/admin/console/askama.toml")]
struct MissingPage {
    frame: Frame,
    named: String,
    search: String,
}

/// `GET /projects/{project}/devices/{device}`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let record = find(&visitor, &state, &named).await?;
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let gateway = address_for_devices(&headers, state.devices_port);
    let page = DevicePage::pasted_for(&visitor, &state, record, &fields, gateway).await?;
    Ok(page::html(&page))
}

/// The page once more, with what was wrong with one of its forms.
pub async fn again(
    visitor: &Visitor,
    state: &AdminState,
    record: DeviceRecord,
    typed: Typed,
    wrong: Wrongs,
    status: StatusCode,
) -> Result<Response, Refused> {
    let page = DevicePage::of(visitor, state, record, &Fields::default()).await?;
    Ok(page::html_with(status, &DevicePage { typed, wrong, ..page }))
}

/// The device with this id or name; a page that helps if there is none.
pub async fn find(visitor: &Visitor, state: &AdminState, named: &str) -> Result<DeviceRecord, Refused> {
    match devices::find(state, visitor.project, named).await {
        Ok(record) => Ok(record),
        Err(problem) if problem.status() == StatusCode::NOT_FOUND => {
            let frame = visitor.frame(state, Section::Devices, "No such device");
            let search: String = named.chars().take(SEARCHED_CHARS).collect();
            let page = MissingPage {
                frame,
                named: visible(&named.chars().take(SHOWN_CHARS).collect::<String>()),
                search: super::serialized(std::iter::once(("search", search.as_str()))),
            };
            Err(Refused::Page(Box::new(page::html_with(
                StatusCode::NOT_FOUND,
                &page,
            ))))
        }
        Err(problem) => Err(problem.into()),
    }
}

impl DevicePage {
    async fn of(
        visitor: &Visitor,
        state: &AdminState,
        record: DeviceRecord,
        fields: &Fields,
    ) -> Result<DevicePage, Refused> {
        Self::pasted_for(visitor, state, record, fields, None).await
    }

    /// With what is pasted leading to the gateway at this address.
    async fn pasted_for(
        visitor: &Visitor,
        state: &AdminState,
        record: DeviceRecord,
        fields: &Fields,
        gateway: Option<String>,
    ) -> Result<DevicePage, Refused> {
        let timeline = Timeline::read(state, record.device.id, fields).await?;
        let view = Arc::clone(&state.control.view());
        let project = view.in_project(visitor.project)?;
        let device = &record.device;
        let path = visitor.path(&format!("/devices/{}", device.id));
        let cohort = device.cohort.and_then(|id| project.cohort(id));
        let at = |token: &str| format!("{path}?{}#timeline", fields.with(&[("pageToken", token)]));
        let made = state.console.take_made(visitor, device.id);
        Ok(DevicePage {
            frame: visitor.frame(state, Section::Devices, device.name.as_str()),
            wrong: Wrongs::default(),
            typed: Typed::default(),
            id: device.id,
            name: device.name.to_string(),
            own_identity: default_identity(&device.name, &project.name)
                .ok()
                .map(|identity| identity.to_string()),
            enabled: device.enabled,
            created_ms: device.created_ms,
            tags: device.tags.iter().map(Tag::to_string).collect(),
            cohort: cohort.map(|cohort| Link {
                text: cohort.name.to_string(),
                href: visitor.path(&format!("/cohorts/{}", cohort.id)),
            }),
            deployment: cohort.and_then(|cohort| {
                let active = cohort.active()?;
                Some(Link {
                    text: format!("{} (#{})", active.name, active.sequence),
                    href: visitor.path(&format!("/deployments/{}", active.id)),
                })
            }),
            stage: record.stage(&view).map(Stage::as_str),
            last_seen_ms: record.sighting.last_seen_ms,
            manifest_sent: record.sighting.manifest_sent,
            manifest_acknowledged: record.sighting.manifest_acknowledged,
            session: session(&record),
            failure: failure(state, visitor, project, device.id),
            packages: packages(visitor, &record, cohort.map(Arc::as_ref)),
            transfer: transfer(state, project, device.id),
            keys: keys(visitor, &record),
            made: made
                .into_iter()
                .map(|key| Made::of(key, gateway.as_deref().unwrap_or(HOST)))
                .collect(),
            has_address: gateway.is_some(),
            first: (!timeline.is_first).then(|| at("")),
            next: timeline.next.as_deref().map(at),
            timeline,
        })
    }

    fn change(&self, action: &str) -> String {
        let address = super::serialized([("action", action), ("device", &self.id.to_string())].into_iter());
        self.frame.path(&format!("/devices/change?{address}"))
    }

    fn path(&self, below: &str) -> String {
        self.frame.path(&format!("/devices/{}{below}", self.id))
    }
}

fn session(record: &DeviceRecord) -> Option<Session> {
    let session = record.session.as_ref()?;
    let proved = record
        .credentials
        .iter()
        .find(|credential| session.credential == Some(credential.id));
    Some(Session {
        address: session.peer.to_string(),
        connection_id: session.connection_id.map(|id| HEXLOWER.encode(&id)),
        suite: match session.suite {
            "none" => "none: plain CoAP",
            suite => suite,
        },
        since_ms: session.since_ms,
        credential: proved.map(kind),
    })
}

fn failure(state: &AdminState, visitor: &Visitor, project: &Project, id: DeviceId) -> Option<Failure> {
    let failures = state.control.handshake_failures(visitor.project);
    let its = |failure: &&FailureRecord| failure.device.as_ref().is_some_and(|device| device.id == id);
    failures.iter().find(its).map(|failure| Failure {
        text: pieces(&visible(&failure.text(project))),
        address: failure.peer.to_string(),
        at_ms: failure.last_ms,
        count: failure.count,
    })
}

/// What it has reported, and then what it should have and never spoke of.
fn packages(visitor: &Visitor, record: &DeviceRecord, cohort: Option<&Cohort>) -> Vec<PackageRow> {
    let active = cohort.and_then(Cohort::active);
    let failure = |state: &PackageState| Stage::failure(active?, state).map(|failure| failure.reason);
    let link = |package: &str, version: &str| Link {
        text: version.to_owned(),
        href: visitor.path(&format!("/packages/{package}")),
    };
    let reported = record.packages.iter().map(|state| {
        let want = active.and_then(|active| active.artifact(&state.package));
        let failure = failure(state);
        PackageRow {
            name: visible(&state.package),
            have: state.version.as_deref().map(visible),
            settled: want.is_none_or(|want| state.version.as_deref() == Some(want.version.as_str())),
            want: want.map(|want| link(&want.package, &want.version)),
            state: Some(match DeviceState::from_number(state.state) {
                DeviceState::Other(number) => format!("state {number}"),
                known => known.as_str().to_owned(),
            }),
            reason: reasons(state.reason, failure),
            failed: failure.is_some(),
            target: state.target.as_deref().map(visible),
            at_ms: Some(state.at_ms),
        }
    });
    let silent = active.map_or(&[][..], |active| &active.artifacts).iter();
    let silent = silent.filter(|artifact| {
        let is_it = |state: &PackageState| state.package == artifact.package.as_str();
        !record.packages.iter().any(is_it)
    });
    let silent = silent.map(|artifact| PackageRow {
        name: artifact.package.to_string(),
        have: None,
        want: Some(link(&artifact.package, &artifact.version)),
        settled: false,
        state: None,
        reason: None,
        failed: false,
        target: None,
        at_ms: None,
    });
    reported.chain(silent).collect()
}

/// Why it failed, and what it says now: `integrity-check-failure, awaiting-retry`.
fn reasons(said: u64, failure: Option<u64>) -> Option<String> {
    match failure {
        Some(failure) if failure != said => {
            Some(format!("{}, {}", reason_words(failure), reason_words(said)))
        }
        Some(_) | None => (said != 0).then(|| reason_words(said).into_owned()),
    }
}

/// What it fetches: an artifact of which some blocks are still to come.
fn transfer(state: &AdminState, project: &Project, id: DeviceId) -> Option<Transfer> {
    let entry = state.control.entry(id)?;
    entry.session()?;
    let (artifact, done) = entry.transfer()?;
    let artifact = artifact_by_id(project, artifact)?;
    let size = artifact.size.get();
    (done < size).then(|| Transfer {
        what: format!("{}@{}", artifact.package, artifact.version),
        done,
        size,
        percent: percent(done, size),
    })
}

fn artifact_by_id(project: &Project, id: ArtifactId) -> Option<&Arc<Artifact>> {
    let artifacts = project
        .packages
        .values()
        .flat_map(|package| package.artifacts.values());
    let mut its = artifacts.filter(|artifact| artifact.id == id);
    its.next()
}

fn keys(visitor: &Visitor, record: &DeviceRecord) -> Vec<KeyRow> {
    let in_use = record.session.as_ref().and_then(|session| session.credential);
    let others = record.credentials.len() > 1;
    let row = |credential: &Credential| {
        let is_certificate = matches!(credential.kind, CredentialKind::Certificate(_));
        let in_use = in_use == Some(credential.id);
        let mut consequence = match (in_use, others) {
            (true, true) => {
                "The live session was opened with it, and ends at once. The device can come back with another \
                 credential that it has."
            }
            (true, false) => {
                "The live session was opened with it, and ends at once. It is the only credential: the device \
                 cannot come back before it is given another one."
            }
            (false, true) => "No live session was opened with it: nothing ends. It opens no session any more.",
            (false, false) => {
                "It is the only credential: the device cannot connect before it is given another one."
            }
        }
        .to_owned();
        if is_certificate {
            consequence.push_str(" A certificate is revoked for good, whatever a CA says of it.");
        }
        KeyRow {
            href: visitor.path(&format!(
                "/devices/{}/credentials/{}/retire",
                record.device.id, credential.id
            )),
            kind: kind(credential),
            what: match &credential.kind {
                CredentialKind::Psk(identity) => visible(&identity.to_string()),
                CredentialKind::Certificate(certificate) => certificate.sha256.to_string(),
                CredentialKind::RawPublicKey(sha256) => sha256.to_string(),
            },
            facts: facts(credential),
            created_ms: credential.created_ms,
            in_use,
            consequence,
            verb: if is_certificate { "Revoke" } else { "Retire" },
        }
    };
    record.credentials.iter().map(row).collect()
}

fn kind(credential: &Credential) -> &'static str {
    match &credential.kind {
        CredentialKind::Psk(_) => "Pre-shared key",
        CredentialKind::Certificate(_) => "Certificate",
        CredentialKind::RawPublicKey(_) => "Raw public key",
    }
}

/// What more is known of a certificate.
fn facts(credential: &Credential) -> String {
    let CredentialKind::Certificate(certificate) = &credential.kind else {
        return String::new();
    };
    let mut facts = Vec::new();
    if let Some(known) = &certificate.facts {
        let subject = [
            ("O", &known.subject.organization),
            ("CN", &known.subject.common_name),
        ];
        for (name, value) in subject {
            facts.extend(value.as_ref().map(|value| format!("{name}={}", visible(value))));
        }
        let until = crate::admin::shapes::time(known.not_after_s.saturating_mul(1000));
        facts.push(format!(
            "valid until {}",
            until.split('T').next().unwrap_or_default()
        ));
    }
    facts.push(match (certificate.pinned, certificate.ca) {
        (true, _) => "given to this device".to_owned(),
        (false, Some(_)) => "a CA vouches for it".to_owned(),
        (false, None) => "its CA is gone: it opens no session".to_owned(),
    });
    facts.join(", ")
}

impl Made {
    /// `gateway` is its address for devices.
    fn of(key: MadeKey, gateway: &str) -> Made {
        let secret = key
            .secret
            .clone()
            .unwrap_or_else(|| "the secret that you gave".to_owned());
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let word = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        Made {
            kconfig: format!(
                "CONFIG_GOLIOTH_COAP_HOST_URI=\"coaps://{gateway}\"\nCONFIG_GOLIOTH_SAMPLE_PSK_ID=\"{}\"\nCONFIG_GOLIOTH_SAMPLE_PSK=\"{}\"",
                quoted(&key.identity),
                quoted(&secret)
            ),
            client: format!(
                "coap-client-openssl -u {} -k {} -A 50 -s 60 coaps://{gateway}/.u/desired",
                word(&key.identity),
                word(&secret)
            ),
            identity: visible(&key.identity),
            secret: key.secret,
        }
    }
}

/// Where devices find the gateway if they reach it by the name by which the console was asked for.
fn address_for_devices(headers: &HeaderMap, port: Option<u16>) -> Option<String> {
    let named = headers.get(header::HOST)?.to_str().ok()?;
    let named: Authority = named.parse().ok()?;
    Some(match port? {
        USUAL_PORT => named.host().to_owned(),
        port => format!("{}:{port}", named.host()),
    })
}

/// What `coaps` means without a port (RFC 7252, section 12.7); the SDK's URI has none.
const USUAL_PORT: u16 = 5684;
/// Where the gateway is, in what is pasted, where nobody has said by which name it was reached.
const HOST: &str = "gateway.example.org";
/// How much of an unknown name a page repeats.
const SHOWN_CHARS: usize = 100;
/// How much of it is searched for: what somebody mistyped is rarely in the beginning.
const SEARCHED_CHARS: usize = 4;

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::address_for_devices;

    #[test]
    fn what_is_pasted_leads_to_where_the_console_was_asked_for_and_to_the_port_for_devices() {
        for (host, port, address) in [
            (
                "tessera.example.org:8080",
                Some(5684),
                Some("tessera.example.org"),
            ),
            ("127.0.0.1:8080", Some(40_000), Some("127.0.0.1:40000")),
            ("[::1]:8080", Some(5684), Some("[::1]")),
            ("localhost", Some(1), Some("localhost:1")),
            ("localhost", None, None),
            ("a b", Some(5684), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(address_for_devices(&headers, port).as_deref(), address, "{host}");
        }
        assert_eq!(address_for_devices(&HeaderMap::new(), Some(5684)), None);
    }
}
