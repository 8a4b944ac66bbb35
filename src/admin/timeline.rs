//! `/devices/{device}/events`: what happened to a device, newest first.

use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Reader;
use super::body::Page;
use super::devices;
use super::problem::Problem;
use super::shapes::{self, Listed, Time};
use crate::control::TimelineFilter;
use crate::fleet::{
    CohortName, DeviceId, PackageName, Strand, TimelineEntry, TimelineEvent, TimelineKind, TimelinePlace,
    Version,
};

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
) -> Result<Listed<Entry>, Problem> {
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
    Ok(Listed::new(rows, next))
}

/// An entry of a device's timeline.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TimelineEntry)]
pub struct Entry {
    id: String,
    /// When it happened first.
    at: Time,
    /// The same in a sentence.
    text: String,
    /// How often, where it happened several times in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 2)]
    count: Option<u64>,
    /// When it happened last, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_at: Option<Time>,
    #[serde(flatten)]
    event: Event,
}

/// What happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
#[schema(as = TimelineEvent)]
enum Event {
    /// A session began.
    #[serde(rename_all = "camelCase")]
    Connected {
        /// Where the device was: an IP address and a port.
        address: String,
        cipher_suite: String,
    },
    /// A session ended.
    Disconnected { reason: String },
    /// A manifest went out that is another one than the last in its session.
    ManifestSent { sequence: u32 },
    /// It arrived.
    ManifestAcknowledged { sequence: u32 },
    /// The device said something about a package.
    Report(Reported),
    /// The device wrote a line of its log.
    Log(LogLine),
    /// A block of an artifact was served that none was served of before.
    DownloadBegun {
        package: PackageName,
        version: Version,
        /// Where the first block begins, in bytes: not 0 where a download is resumed.
        offset: u64,
    },
    /// The last block of an artifact was served.
    DownloadFinished {
        package: PackageName,
        version: Version,
        /// In bytes.
        size: u64,
    },
    /// An operator moved the device; null: no cohort.
    Moved {
        #[schema(required)]
        from: Option<CohortName>,
        #[schema(required)]
        to: Option<CohortName>,
        by: String,
    },
    /// It may connect again.
    Enabled { by: String },
    /// It may no longer connect.
    Disabled { by: String },
    /// It has one more credential.
    CredentialAdded { identity: String, by: String },
    /// It has one credential less.
    CredentialRetired { identity: String, by: String },
}

/// What a device said about a package.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reported {
    /// As the device named it; it need not exist here.
    package: String,
    #[serde(flatten)]
    state: shapes::PackageState,
}

/// A line of a device's log, as it came.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogLine {
    #[schema(required)]
    level: Option<String>,
    #[schema(required)]
    module: Option<String>,
    message: String,
    /// Everything else that came with it.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

fn shape(device: DeviceId, entry: &TimelineEntry) -> Entry {
    let again = entry.count > 1;
    Entry {
        id: event_id(device, entry.place),
        at: Time(entry.place.at_ms),
        text: entry.event.to_string(),
        count: again.then_some(entry.count),
        last_at: again.then_some(Time(entry.last_ms)),
        event: facts(&entry.event),
    }
}

/// What an entry is called.
pub fn event_id(device: DeviceId, place: TimelinePlace) -> String {
    format!("evt_{}{}{}", device.get(), letter(place.strand), place.seq)
}

fn facts(event: &TimelineEvent) -> Event {
    match event {
        TimelineEvent::Connected { address, suite } => Event::Connected {
            address: address.to_string(),
            cipher_suite: suite.to_string(),
        },
        TimelineEvent::Disconnected { why } => Event::Disconnected {
            reason: why.to_string(),
        },
        TimelineEvent::ManifestSent { sequence } => Event::ManifestSent { sequence: *sequence },
        TimelineEvent::ManifestAcknowledged { sequence } => {
            Event::ManifestAcknowledged { sequence: *sequence }
        }
        TimelineEvent::Report(reported) => Event::Report(Reported {
            package: reported.package.clone(),
            state: shapes::package_state(reported),
        }),
        TimelineEvent::Log(line) => Event::Log(LogLine {
            level: line.level.clone(),
            module: line.module.clone(),
            message: line.message.clone(),
            metadata: line.metadata.clone(),
        }),
        TimelineEvent::DownloadBegun {
            package,
            version,
            offset,
        } => Event::DownloadBegun {
            package: package.clone(),
            version: version.clone(),
            offset: *offset,
        },
        TimelineEvent::DownloadFinished {
            package,
            version,
            size,
        } => Event::DownloadFinished {
            package: package.clone(),
            version: version.clone(),
            size: *size,
        },
        TimelineEvent::Moved { from, to, by } => Event::Moved {
            from: from.clone(),
            to: to.clone(),
            by: by.clone(),
        },
        TimelineEvent::Enabled { by } => Event::Enabled { by: by.clone() },
        TimelineEvent::Disabled { by } => Event::Disabled { by: by.clone() },
        TimelineEvent::CredentialAdded { identity, by } => Event::CredentialAdded {
            identity: identity.clone(),
            by: by.clone(),
        },
        TimelineEvent::CredentialRetired { identity, by } => Event::CredentialRetired {
            identity: identity.clone(),
            by: by.clone(),
        },
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fleet::{LogLine, PackageState};

    #[test]
    fn every_event_is_shown_under_the_word_by_which_it_is_asked_for() {
        let (package, version) = (PackageName::parse("main").unwrap(), Version::parse("1").unwrap());
        let (identity, by) = (String::from("id"), String::from("ci"));
        let events = [
            TimelineEvent::Connected {
                address: "192.0.2.1:5684".parse().unwrap(),
                suite: "none".into(),
            },
            TimelineEvent::Disconnected { why: "idle".into() },
            TimelineEvent::ManifestSent { sequence: 1 },
            TimelineEvent::ManifestAcknowledged { sequence: 1 },
            TimelineEvent::Report(PackageState {
                package: "main".into(),
                state: 0,
                reason: 0,
                version: None,
                target: None,
                at_ms: 0,
                setback: None,
            }),
            TimelineEvent::Log(LogLine::default()),
            TimelineEvent::DownloadBegun {
                package: package.clone(),
                version: version.clone(),
                offset: 0,
            },
            TimelineEvent::DownloadFinished {
                package,
                version,
                size: 1,
            },
            TimelineEvent::Moved {
                from: None,
                to: None,
                by: by.clone(),
            },
            TimelineEvent::Enabled { by: by.clone() },
            TimelineEvent::Disabled { by: by.clone() },
            TimelineEvent::CredentialAdded {
                identity: identity.clone(),
                by: by.clone(),
            },
            TimelineEvent::CredentialRetired { identity, by },
        ];
        assert_eq!(events.each_ref().map(TimelineEvent::kind), TimelineKind::ALL);
        for event in events {
            let shown = serde_json::to_value(facts(&event)).unwrap();
            assert_eq!(shown["type"], event.kind().as_str(), "{shown:#}");
        }
    }
}
