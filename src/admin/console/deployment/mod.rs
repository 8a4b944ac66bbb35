//! A deployment: what it is, what devices are sent for it, how far it has come, and which device stands where.
//!
//! Counts come from the figures, so that the page costs the same whatever the size of the cohort. Where devices stand is known
//! for the active deployment of a cohort only: of one that was superseded the page says what it was.

mod devices;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::chart::{self, Chart};
use super::form::Fields;
use super::page::{self, Frame, Refused, Section};
use super::show::{self, Bar, Share};
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::control::{FailureShare, Progress, ProgressPoint, View};
use crate::fleet::{
    Cohort, DeployedArtifact, Deployment, DeploymentId, MANIFEST_LIMIT, ProjectId, Stage, reason_words,
};
use crate::manifest::Manifest;
use devices::DeviceList;

pub use devices::csv as devices_csv;

#[derive(Template)]
#[template(path = "deployment.html", config = "src/admin/console/askama.toml")]
struct DeploymentPage {
    frame: Frame,
    id: String,
    name: String,
    sequence: u32,
    author: String,
    created_ms: i64,
    cohort: String,
    cohort_href: String,
    /// Opens the wizard with this set.
    roll_back: String,
    superseded: Option<Superseded>,
    cohort_devices: u64,
    progress: Option<ProgressShown>,
    over_time: Chart,
    failures: Vec<Failure>,
    artifacts: Vec<ArtifactRow>,
    bytes_per_device: u64,
    manifest: ManifestShown,
    list: Option<DeviceList>,
}

/// The deployment that came after, and the one that is active.
struct Superseded {
    by: Link,
    at_ms: i64,
    active: Link,
    last: Option<LastCounted>,
}

/// How far it had come when it was last counted.
struct LastCounted {
    at_ms: i64,
    bar: Bar,
    devices: u64,
    percent_done: u64,
}

/// Another deployment.
struct Link {
    name: String,
    sequence: u32,
    href: String,
}

/// How far it has come.
struct ProgressShown {
    bar: Bar,
    shares: Vec<ShareLink>,
    all_href: String,
    all_current: bool,
    devices: u64,
    percent_done: u64,
    bytes_served: u64,
}

/// The devices in a state, and where they are listed.
struct ShareLink {
    share: Share,
    href: String,
    current: bool,
}

/// At what devices failed.
struct Failure {
    package: String,
    state: &'static str,
    reason: Cow<'static, str>,
    devices: u64,
}

/// What it deploys.
struct ArtifactRow {
    glyph: &'static str,
    class: &'static str,
    package: String,
    version: String,
    size: u64,
    kind: &'static str,
    sha256: String,
}

/// What devices are sent.
struct ManifestShown {
    bytes: usize,
    limit: usize,
    hash: String,
    json: String,
    cbor: String,
}

/// `GET /projects/{project}/deployments/{deployment}`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let found = Found::open(&state, visitor.project, &id)?;
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let stage = stage(&fields)?;
    let Found {
        cohort, deployment, ..
    } = &found;
    let path = visitor.path(&format!("/deployments/{}", deployment.id));
    let is_active = found.is_active();
    let (progress, list) = if is_active {
        let figures = state.control.figures(visitor.project);
        let progress = match figures.counted_progress_of(cohort) {
            Some(progress) => progress,
            None => state.control.progress(visitor.project, deployment.id).await?,
        };
        let list = devices::list(&visitor, &state, &found, stage, &fields).await?;
        (Some(progress), Some(list))
    } else {
        (None, None)
    };
    let failed = state.control.deployment_failures(visitor.project, deployment.id);
    let failed = failed.await?;
    let link = |deployment: &Deployment| Link {
        name: deployment.name.to_string(),
        sequence: deployment.sequence.get(),
        href: visitor.path(&format!("/deployments/{}", deployment.id)),
    };
    let before = found.before();
    let history = state
        .control
        .deployment_history(visitor.project, deployment.id)
        .await?;
    let page = DeploymentPage {
        frame: visitor.frame(&state, Section::Cohorts, deployment.name.as_str()),
        id: deployment.id.to_string(),
        name: deployment.name.to_string(),
        sequence: deployment.sequence.get(),
        author: deployment.author.clone(),
        created_ms: deployment.created_ms,
        cohort: cohort.name.to_string(),
        cohort_href: visitor.path(&format!("/cohorts/{}", cohort.id)),
        roll_back: visitor.path(&format!("/cohorts/{}/deploy?from={}", cohort.id, deployment.id)),
        superseded: found.after().zip(cohort.active()).map(|(by, active)| Superseded {
            by: link(by),
            at_ms: by.created_ms,
            active: link(active),
            last: history.points.last().map(LastCounted::of),
        }),
        cohort_devices: cohort.devices,
        progress: progress.map(|progress| shown(&progress, &path, stage)),
        over_time: chart::progress(&history, deployment.created_ms),
        failures: failures(&failed),
        artifacts: artifacts(deployment),
        bytes_per_device: deployment
            .difference(before.map(AsRef::as_ref))
            .bytes_per_device(),
        manifest: ManifestShown::of(deployment),
        list,
    };
    Ok(page::html(&page))
}

/// `GET …/manifest.cbor`: what devices are sent, byte for byte.
pub async fn manifest(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let found = Found::open(&state, visitor.project, &id)?;
    let name = format!(
        "attachment; filename=\"manifest-{}.cbor\"",
        found.deployment.sequence
    );
    let headers = [
        (header::CONTENT_TYPE, "application/cbor".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Manifest::encode(&found.deployment).cbor).into_response())
}

/// A deployment, as of one view.
struct Found {
    view: Arc<View>,
    cohort: Arc<Cohort>,
    deployment: Arc<Deployment>,
}

impl Found {
    fn open(state: &AdminState, project: ProjectId, id: &str) -> Result<Self, Refused> {
        let view = Arc::clone(&state.control.view());
        let known = id.parse::<DeploymentId>().ok();
        let found = known.and_then(|known| view.in_project(project).ok()?.deployment(known));
        let Some((cohort, deployment)) = found else {
            return Err(Problem::not_found(format!(
                "there is no deployment {id:?}; a cohort's page lists its deployments"
            ))
            .into());
        };
        Ok(Found {
            cohort: Arc::clone(cohort),
            deployment: Arc::clone(deployment),
            view,
        })
    }

    fn is_active(&self) -> bool {
        self.cohort.is_active(self.deployment.id)
    }

    fn place(&self) -> Option<usize> {
        let all = &self.cohort.deployments;
        all.iter().position(|one| one.id == self.deployment.id)
    }

    /// The deployment that was active before it.
    fn before(&self) -> Option<&Arc<Deployment>> {
        self.cohort.deployments.get(self.place()?.checked_sub(1)?)
    }

    /// The deployment that took its place.
    fn after(&self) -> Option<&Arc<Deployment>> {
        self.cohort.deployments.get(self.place()? + 1)
    }
}

impl LastCounted {
    fn of(point: &ProgressPoint) -> LastCounted {
        let devices = show::shares(&point.progress)
            .iter()
            .map(|share| share.devices)
            .sum();
        LastCounted {
            at_ms: point.at_ms,
            bar: Bar::of(&point.progress),
            devices,
            percent_done: show::percent(point.progress.done, devices),
        }
    }
}

/// The filter of the device list.
fn stage(fields: &Fields) -> Result<Option<Stage>, Refused> {
    let named = fields.given("state").map(str::parse::<Stage>).transpose();
    named.map_err(|invalid| Problem::invalid("state", &invalid).into())
}

fn shown(progress: &Progress, path: &str, stage: Option<Stage>) -> ProgressShown {
    let shares = show::shares(progress);
    let devices = shares.iter().map(|share| share.devices).sum();
    let link = |share: Share| ShareLink {
        href: format!("{path}?state={}#devices", share.state),
        current: stage.is_some_and(|stage| stage.as_str() == share.state),
        share,
    };
    ProgressShown {
        bar: Bar::of(progress),
        shares: shares.into_iter().map(link).collect(),
        all_href: format!("{path}#devices"),
        all_current: stage.is_none(),
        devices,
        percent_done: show::percent(progress.done, devices),
        bytes_served: progress.bytes_served,
    }
}

fn failures(shares: &[FailureShare]) -> Vec<Failure> {
    let failure = |share: &FailureShare| Failure {
        package: share.package.to_string(),
        state: share.state.as_str(),
        reason: reason_words(share.reason),
        devices: share.devices,
    };
    shares.iter().take(FAILURES_SHOWN).map(failure).collect()
}

fn artifacts(deployment: &Deployment) -> Vec<ArtifactRow> {
    let row = |artifact: &DeployedArtifact| {
        let (glyph, class) = show::glyph(artifact.change);
        ArtifactRow {
            glyph,
            class,
            package: artifact.package.to_string(),
            version: artifact.version.to_string(),
            size: artifact.size.get(),
            kind: artifact.kind.as_str(),
            sha256: artifact.digest.to_string(),
        }
    };
    deployment.artifacts.iter().map(row).collect()
}

impl ManifestShown {
    fn of(deployment: &Deployment) -> ManifestShown {
        let manifest = Manifest::encode(deployment);
        let json = serde_json::from_slice::<serde_json::Value>(&manifest.json)
            .and_then(|value| serde_json::to_string_pretty(&value))
            .unwrap_or_else(|_| String::from_utf8_lossy(&manifest.json).into_owned());
        ManifestShown {
            bytes: manifest.cbor.len(),
            limit: MANIFEST_LIMIT,
            hash: manifest.hash.to_string(),
            json,
            cbor: hex_dump(&manifest.cbor),
        }
    }
}

/// Sixteen bytes a line: where they are, in hexadecimal, as text.
fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (line, row) in bytes.chunks(16).enumerate() {
        let mut hex = String::new();
        for (place, byte) in row.iter().enumerate() {
            let gap = if place == 8 { "  " } else { " " };
            let _ = write!(hex, "{gap}{byte:02x}");
        }
        let text: String = row
            .iter()
            .map(|&byte| match byte {
                b' '..=b'~' => char::from(byte),
                _ => '.',
            })
            .collect();
        let _ = writeln!(dump, "{:04x} {hex:<50}  {text}", line * 16);
    }
    dump
}

/// Failure reasons shown, the most frequent first.
const FAILURES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::{LastCounted, hex_dump};
    use crate::control::{Progress, ProgressPoint};

    #[test]
    fn what_is_left_of_a_superseded_deployment_is_its_last_count() {
        let progress = Progress {
            pending: 1,
            done: 2,
            failed: 1,
            ..Progress::default()
        };
        let last = LastCounted::of(&ProgressPoint { at_ms: 7, progress });
        assert_eq!((last.at_ms, last.devices, last.percent_done), (7, 4, 50));
        assert_eq!(last.bar.label, "2 done, 1 pending, 1 failed");
    }

    #[test]
    fn a_dump_has_sixteen_bytes_a_line_and_text_beside_them() {
        let bytes: Vec<u8> = (0x30..0x43).chain([0xa3]).collect();
        assert_eq!(
            hex_dump(&bytes),
            "0000  30 31 32 33 34 35 36 37  38 39 3a 3b 3c 3d 3e 3f   0123456789:;<=>?\n\
             0010  40 41 42 a3                                        @AB.\n"
        );
        assert_eq!(hex_dump(&[]), "");
    }
}
