//! `/devices/{device}/events`: what happened to a device, newest first.

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Reader;
use super::body::Page;
use super::devices;
use super::problem::Problem;
use super::{AdminState, shapes};
use crate::control::TimelineFilter;
use crate::fleet::{DeviceId, Strand, TimelineEntry, TimelineEvent, TimelineKind, TimelinePlace};

#[derive(Debug, Deserialize)]
pub struct Filter {
    /// Kinds, with commas between them.
    #[serde(rename = "type")]
    kinds: Option<String>,
}

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Path((_, named)): Path<(String, String)>,
    Query(filter): Query<Filter>,
) -> Result<shapes::Listed, Problem> {
    let kinds = match &filter.kinds {
        None => Vec::new(),
        Some(words) => words
            .split(',')
            .map(|word| word.trim().parse::<TimelineKind>())
            .collect::<Result<_, _>>()
            .map_err(|invalid| Problem::invalid("type", &invalid))?,
    };
    let before = match &page.token {
        None => None,
        Some(token) => Some(place(token).ok_or_else(|| Page::unknown_token(token))?),
    };
    let device = devices::find(&state, reader.project, &named).await?.device.id;
    let filter = TimelineFilter {
        kinds,
        before,
        limit: page.limit + 1,
    };
    let mut entries = state.control.timeline(device, &filter).await?;
    let more = entries.len() > page.limit;
    entries.truncate(page.limit);
    let next = entries.last().filter(|_| more).map(|entry| token(entry.place));
    let rows = entries.iter().map(|entry| shape(device, entry)).collect();
    Ok(shapes::Listed::new(rows, next))
}

/// An entry: `id`, `at`, `type` and `text` of all of them; `count` and `lastAt` of what happened several times in a row; and
/// what its type says.
fn shape(device: DeviceId, entry: &TimelineEntry) -> Value {
    let mut shape = facts(&entry.event);
    shape["id"] = json!(event_id(device, entry.place));
    shape["at"] = json!(shapes::time(entry.place.at_ms));
    shape["type"] = json!(entry.event.kind().as_str());
    shape["text"] = json!(entry.event.to_string());
    if entry.count > 1 {
        shape["count"] = json!(entry.count);
        shape["lastAt"] = json!(shapes::time(entry.last_ms));
    }
    shape
}

/// What an entry is called.
pub fn event_id(device: DeviceId, place: TimelinePlace) -> String {
    format!("evt_{}{}{}", device.get(), letter(place.strand), place.seq)
}

fn facts(event: &TimelineEvent) -> Value {
    match event {
        TimelineEvent::Connected { address, suite } => {
            json!({"address": address.to_string(), "cipherSuite": suite})
        }
        TimelineEvent::Disconnected { why } => json!({"reason": why}),
        TimelineEvent::ManifestSent { sequence } | TimelineEvent::ManifestAcknowledged { sequence } => {
            json!({"sequence": sequence})
        }
        TimelineEvent::Report(reported) => {
            let mut shape = shapes::package_state(reported);
            shape["package"] = json!(reported.package);
            shape
        }
        TimelineEvent::Log(line) => json!({
            "level": line.level,
            "module": line.module,
            "message": line.message,
            "metadata": line.metadata,
        }),
        TimelineEvent::DownloadBegun {
            package,
            version,
            offset,
        } => json!({"package": package.as_str(), "version": version.as_str(), "offset": offset}),
        TimelineEvent::DownloadFinished {
            package,
            version,
            size,
        } => json!({"package": package.as_str(), "version": version.as_str(), "size": size}),
        TimelineEvent::Moved { from, to, by } => json!({"from": from, "to": to, "by": by}),
        TimelineEvent::Enabled { by } | TimelineEvent::Disabled { by } => json!({"by": by}),
        TimelineEvent::CredentialAdded { identity, by }
        | TimelineEvent::CredentialRetired { identity, by } => {
            json!({"identity": identity, "by": by})
        }
    }
}

/// A page's token: the place of its last entry. Whatever is added or trimmed meanwhile, the next page goes on after it.
pub fn token(TimelinePlace { at_ms, strand, seq }: TimelinePlace) -> String {
    format!("{at_ms}{}{seq}", letter(strand))
}

/// The place that a token says.
pub fn place(token: &str) -> Option<TimelinePlace> {
    let strand = Strand::ALL
        .into_iter()
        .find(|strand| token.contains(letter(*strand)))?;
    let (at_ms, seq) = token.split_once(letter(strand))?;
    Some(TimelinePlace {
        at_ms: at_ms.parse().ok()?,
        strand,
        seq: seq.parse().ok()?,
    })
}

fn letter(strand: Strand) -> char {
    match strand {
        Strand::Contact => 'c',
        Strand::Progress => 'p',
        Strand::Log => 'l',
    }
}
