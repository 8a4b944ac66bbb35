//! What happened to a device, as its page shows it: newest first, by kind, a page at a time.

use super::super::form::Fields;
use super::super::show::visible;
use crate::admin::AdminState;
use crate::admin::body::Page;
use crate::admin::problem::Problem;
use crate::admin::timeline::{event_id, place, token};
use crate::control::TimelineFilter;
use crate::fleet::{DeviceId, TimelineEvent, TimelineKind};

/// A page of a timeline.
pub struct Timeline {
    /// The kind that is asked for; empty is all.
    pub kind: String,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether it is the first page: the only one on which something appears by itself.
    pub is_first: bool,
    /// The token of the next page.
    pub next: Option<String>,
    /// The last kind that was asked for is none.
    pub wrong: Option<String>,
}

/// Something that happened.
pub struct Entry {
    /// Which of all.
    pub id: String,
    /// When it happened last.
    pub at_ms: i64,
    /// How often in a row.
    pub count: u64,
    /// The kind, in words.
    pub kind: &'static str,
    /// What, with everything that a device wrote made visible.
    pub text: String,
    /// The class of a log line's level, or of a failure.
    pub class: &'static str,
}

impl Timeline {
    /// The page of an address.
    ///
    /// # Errors
    /// The page token is none, or the store fails.
    pub async fn read(state: &AdminState, device: DeviceId, fields: &Fields) -> Result<Timeline, Problem> {
        let kind = fields.text("type").to_owned();
        let before = match fields.given("pageToken") {
            None => None,
            Some(token) => Some(place(token).ok_or_else(|| Page::unknown_token(token))?),
        };
        let (kinds, wrong) = match kind.as_str() {
            "" => (Vec::new(), None),
            word => match word.parse::<TimelineKind>() {
                Ok(kind) => (vec![kind], None),
                Err(invalid) => (Vec::new(), Some(invalid.to_string())),
            },
        };
        let filter = TimelineFilter {
            kinds,
            before,
            limit: ENTRIES + 1,
        };
        let mut found = state.control.timeline(device, &filter).await?;
        let more = found.len() > ENTRIES;
        found.truncate(ENTRIES);
        Ok(Timeline {
            kind,
            is_first: before.is_none(),
            next: found.last().filter(|_| more).map(|entry| token(entry.place)),
            entries: found
                .iter()
                .map(|entry| Entry {
                    id: event_id(device, entry.place),
                    at_ms: entry.last_ms,
                    count: entry.count,
                    kind: kind_name(entry.event.kind()),
                    text: visible(&entry.event.to_string()),
                    class: class(&entry.event),
                })
                .collect(),
            wrong,
        })
    }

    /// The kinds to choose from: the word of each, and what it is called.
    pub fn kinds(&self) -> Vec<(&'static str, &'static str)> {
        let all = TimelineKind::ALL.into_iter();
        all.map(|kind| (kind.as_str(), kind_name(kind))).collect()
    }
}

fn kind_name(kind: TimelineKind) -> &'static str {
    match kind {
        TimelineKind::Connected => "Connected",
        TimelineKind::Disconnected => "Disconnected",
        TimelineKind::ManifestSent => "Manifest sent",
        TimelineKind::ManifestAcknowledged => "Manifest arrived",
        TimelineKind::Report => "Report",
        TimelineKind::Log => "Log",
        TimelineKind::DownloadBegun => "Download begun",
        TimelineKind::DownloadFinished => "Download finished",
        TimelineKind::Moved => "Moved",
        TimelineKind::Enabled => "Enabled",
        TimelineKind::Disabled => "Disabled",
        TimelineKind::CredentialAdded => "Credential added",
        TimelineKind::CredentialRetired => "Credential retired",
    }
}

fn class(event: &TimelineEvent) -> &'static str {
    match event {
        TimelineEvent::Report(reported) if reported.failure().is_some() => "s-failed",
        TimelineEvent::Log(line) => match line.level.as_deref() {
            Some("error") => "s-failed",
            Some("warn") => "s-warn",
            Some(_) | None => "",
        },
        TimelineEvent::Connected { .. }
        | TimelineEvent::Disconnected { .. }
        | TimelineEvent::ManifestSent { .. }
        | TimelineEvent::ManifestAcknowledged { .. }
        | TimelineEvent::Report(_)
        | TimelineEvent::DownloadBegun { .. }
        | TimelineEvent::DownloadFinished { .. }
        | TimelineEvent::Moved { .. }
        | TimelineEvent::Enabled { .. }
        | TimelineEvent::Disabled { .. }
        | TimelineEvent::CredentialAdded { .. }
        | TimelineEvent::CredentialRetired { .. } => "",
    }
}

/// Entries of a page.
const ENTRIES: usize = 50;
