//! The devices of a deployment's cohort, by where they stand: a page of them, or all as a file.

use std::borrow::Cow;
use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::{Found, stage};
use crate::admin::AdminState;
use crate::admin::auth::MAY_NOT_STAY;
use crate::admin::body::devices_after;
use crate::admin::console::form::Fields;
use crate::admin::console::page::Refused;
use crate::admin::console::visitor::Visitor;
use crate::admin::problem::Problem;
use crate::admin::rows::{Format, write_record};
use crate::admin::shapes;
use crate::clock;
use crate::control::{DevicePage, DeviceQuery, DeviceRecord, View};
use crate::fleet::{DeployedArtifact, Deployment, DeviceState, PackageState, Stage, reason_words};

/// A page of devices.
pub struct DeviceList {
    /// The state that is asked for.
    pub state: Option<&'static str>,
    /// The devices.
    pub rows: Vec<DeviceRow>,
    /// The address of the first page, where this is another.
    pub first: Option<String>,
    /// The address of the next page.
    pub next: Option<String>,
    /// The address of the file.
    pub csv: String,
}

/// A device, as its deployment sees it.
pub struct DeviceRow {
    /// Its name.
    pub name: String,
    /// Its page.
    pub href: String,
    /// Whether it is connected.
    pub online: bool,
    /// Where it stands.
    pub state: &'static str,
    /// What it has and is to have, by package.
    pub packages: Vec<PackageRow>,
    /// Why it stands there, in the words of its report.
    pub reason: Option<Cow<'static, str>>,
    /// When it reported that.
    pub since_ms: Option<i64>,
}

/// A package of a device.
pub struct PackageRow {
    /// Which one.
    pub package: String,
    /// The version it reported that it runs.
    pub have: Option<String>,
    /// The version that is deployed.
    pub want: String,
    /// Whether it runs that.
    pub reached: bool,
}

/// The page of devices that an address asks for.
pub async fn list(
    visitor: &Visitor,
    state: &AdminState,
    found: &Found,
    stage: Option<Stage>,
    fields: &Fields,
) -> Result<DeviceList, Refused> {
    let token = fields.given("pageToken");
    let query = DeviceQuery {
        limit: ROWS,
        ..devices_after(of_cohort(found, stage), token)?
    };
    let DevicePage { devices, next } = state.control.devices(visitor.project, &query).await?;
    let path = visitor.path(&format!("/deployments/{}", found.deployment.id));
    let page = |token: &str| format!("{path}?{}#devices", fields.with(&[("pageToken", token)]));
    let word = stage.map(Stage::as_str);
    Ok(DeviceList {
        rows: devices.iter().map(|record| row(visitor, found, record)).collect(),
        first: token.map(|_| page("")),
        next: next.map(|place| page(&place.to_string())),
        csv: word.map_or_else(
            || format!("{path}/devices.csv"),
            |word| format!("{path}/devices.csv?state={word}"),
        ),
        state: word,
    })
}

/// `GET …/devices.csv`: a line for each device and package, a page at a time, as fast as it is read.
pub async fn csv(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let found = Found::open(&state, visitor.project, &id)?;
    if !found.is_active() {
        return Err(Problem::not_found(format!(
            "deployment {id:?} is not active any more: where devices stand is known for the active deployment of their \
             cohort only"
        ))
        .into());
    }
    let stage = stage(&Fields::parse(query.unwrap_or_default().as_bytes()))?;
    let query = DeviceQuery {
        limit: DEVICES_AT_ONCE,
        ..of_cohort(&found, stage)
    };
    let mut first = Vec::new();
    write_record(COLUMNS.into_iter(), &mut first);
    let name = format!("deployment-{}-devices.csv", found.deployment.sequence);
    let project = visitor.project;
    let pages = stream::try_unfold((first, Some(query)), move |(mut out, query)| {
        let (state, deployment) = (state.clone(), found.deployment.clone());
        let session = state.control.console_session(visitor.session(), clock::unix_ms());
        async move {
            let Some(query) = query else {
                return Ok(None);
            };
            if session.is_none() {
                return Err(io::Error::other(MAY_NOT_STAY));
            }
            let found = state.control.devices(project, &query).await;
            let DevicePage { devices, next } = found.map_err(io::Error::other)?;
            let view = state.control.view();
            let cohort = view
                .project(project)
                .and_then(|project| project.cohort(deployment.cohort));
            if !cohort.is_some_and(|cohort| cohort.is_active(deployment.id)) {
                return Err(io::Error::other(SUPERSEDED));
            }
            for record in &devices {
                write_csv(&view, &deployment, record, &mut out);
            }
            let next = next.map(|next| DeviceQuery {
                after: Some(next),
                ..query
            });
            Ok(Some((Bytes::from(out), (Vec::new(), next))))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, Format::Csv.media_type().to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

fn of_cohort(found: &Found, stage: Option<Stage>) -> DeviceQuery {
    DeviceQuery {
        cohort: Some(Some(found.cohort.id)),
        stage,
        ..DeviceQuery::default()
    }
}

fn row(visitor: &Visitor, found: &Found, record: &DeviceRecord) -> DeviceRow {
    let deployment = &found.deployment;
    let telling = telling(deployment, &record.packages);
    let package = |artifact: &DeployedArtifact| {
        let have = reported(record, &artifact.package).and_then(|state| state.version.clone());
        PackageRow {
            package: artifact.package.to_string(),
            want: artifact.version.to_string(),
            reached: have.as_deref() == Some(artifact.version.as_str()),
            have,
        }
    };
    DeviceRow {
        name: record.device.name.to_string(),
        href: visitor.path(&format!("/devices/{}", record.device.id)),
        online: record.session.is_some(),
        state: standing(&found.view, deployment, record),
        packages: deployment.artifacts.iter().map(package).collect(),
        reason: telling
            .map(|state| why(deployment, state))
            .filter(|reason| reason != "none"),
        since_ms: telling.map(|state| state.at_ms),
    }
}

fn write_csv(view: &View, deployment: &Deployment, record: &DeviceRecord, out: &mut Vec<u8>) {
    let online = record.session.is_some().to_string();
    for artifact in &deployment.artifacts {
        let state = reported(record, &artifact.package);
        let text = |field: Option<&str>| harmless(field.unwrap_or_default());
        let fields = [
            harmless(&record.device.name),
            standing(view, deployment, record).to_owned(),
            online.clone(),
            artifact.package.to_string(),
            text(state.and_then(|state| state.version.as_deref())),
            artifact.version.to_string(),
            text(state.map(|state| DeviceState::from_number(state.state).as_str())),
            text(state.map(|state| why(deployment, state)).as_deref()),
            state.map(|state| shapes::time(state.at_ms)).unwrap_or_default(),
            record.sighting.last_seen_ms.map(shapes::time).unwrap_or_default(),
        ];
        write_record(fields.iter().map(String::as_str), out);
    }
}

/// Where a device stands, by the rule that counts it.
fn standing(view: &View, deployment: &Deployment, record: &DeviceRecord) -> &'static str {
    let stage = record
        .stage(view)
        .unwrap_or_else(|| record.stage_with(deployment));
    stage.as_str()
}

/// The words for why it failed, and where it has not for the reason of its last report.
fn why(deployment: &Deployment, state: &PackageState) -> Cow<'static, str> {
    let failure = Stage::failure(deployment, state);
    reason_words(failure.map_or(state.reason, |failure| failure.reason))
}

fn reported<'a>(record: &'a DeviceRecord, package: &str) -> Option<&'a PackageState> {
    record.packages.iter().find(|state| state.package == package)
}

/// The report that tells most about where a device stands: a failure, else the last one about what it has yet to reach, else
/// the last one.
fn telling<'a>(deployment: &Deployment, reported: &'a [PackageState]) -> Option<&'a PackageState> {
    let wanted = |state: &&PackageState| deployment.artifact(&state.package).is_some();
    let reached = |state: &PackageState| {
        let wanted = deployment.artifact(&state.package);
        wanted.is_some_and(|wanted| state.version.as_deref() == Some(wanted.version.as_str()))
    };
    reported.iter().filter(wanted).max_by_key(|state| {
        (
            Stage::failure(deployment, state).is_some(),
            !reached(state),
            state.at_ms,
        )
    })
}

/// Text that no spreadsheet takes for a formula: devices choose what they report.
fn harmless(text: &str) -> String {
    match text.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r') => format!("'{text}"),
        Some(_) | None => text.to_owned(),
    }
}

/// Half of a file about one deployment and half about another would be worse than none.
const SUPERSEDED: &str = "another deployment took its place while the devices were read";
const COLUMNS: [&str; 10] = [
    "device",
    "state",
    "online",
    "package",
    "have",
    "want",
    "reported",
    "reason",
    "reportedAt",
    "lastSeenAt",
];
/// Devices of a page.
const ROWS: usize = 50;
/// Devices read at a time for the file.
const DEVICES_AT_ONCE: usize = 500;

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn no_text_of_a_device_begins_a_formula() {
        for (text, written) in [
            ("1.0", "1.0"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a=1", "a=1"),
        ] {
            assert_eq!(harmless(text), written);
        }
    }
}
