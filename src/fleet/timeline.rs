//! A device's timeline: what happened to it, what it said, and what was done to it.
//!
//! It is kept in three strands, each with a bound of its own, so that a device which talks much or comes and goes all the
//! time does not push its reports out. What equals the newest entry of its strand is counted there.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::device::{DeviceState, PackageState, reason_words};
use super::id::DeviceId;
use super::name::{CohortName, PackageName, Version};
use super::refusal::Invalid;

/// Something that happened to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// The device.
    pub device: DeviceId,
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// What.
    pub event: TimelineEvent,
}

/// A moment as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineEntry {
    /// Where it is.
    pub place: TimelinePlace,
    /// How often it happened in a row.
    pub count: u64,
    /// When it happened last; the first time is in its place.
    pub last_ms: i64,
    /// What.
    pub event: TimelineEvent,
}

/// Where an entry is in its device's timeline. Ordered by time; no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimelinePlace {
    /// When it happened first, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Its strand.
    pub strand: Strand,
    /// Which of the strand: rises by one.
    pub seq: i64,
}

/// What is kept apart in a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strand {
    /// Sessions and manifests: a device that keeps reconnecting makes many.
    Contact,
    /// Reports, downloads, and what operators do.
    Progress,
    /// Log lines.
    Log,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum TimelineEvent {
    /// A session began.
    Connected {
        /// Where the device is.
        address: SocketAddr,
        /// The cipher suite, or `none` for CoAP without security.
        suite: Cow<'static, str>,
    },
    /// A session ended.
    Disconnected {
        /// The word for why.
        why: Cow<'static, str>,
    },
    /// A manifest went out that is another one than the last in this session.
    ManifestSent {
        /// Its sequence number.
        sequence: u32,
    },
    /// It arrived.
    ManifestAcknowledged {
        /// Its sequence number.
        sequence: u32,
    },
    /// The device said something about a package.
    Report(PackageState),
    /// The device wrote a line of its log.
    Log(LogLine),
    /// A block of an artifact was served that none was served of before.
    DownloadBegun {
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// Where the first block begins, in bytes: not 0 where a download is resumed.
        offset: u64,
    },
    /// The last block of an artifact was served.
    DownloadFinished {
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// How long it is, in bytes.
        size: u64,
    },
    /// An operator moved the device.
    Moved {
        /// The cohort it was in.
        from: Option<CohortName>,
        /// The cohort it is in.
        to: Option<CohortName>,
        /// Who.
        by: String,
    },
    /// It may connect again.
    Enabled {
        /// Who.
        by: String,
    },
    /// It may no longer connect.
    Disabled {
        /// Who.
        by: String,
    },
    /// It has one more credential.
    CredentialAdded {
        /// The identity.
        identity: String,
        /// Who.
        by: String,
    },
    /// It has one credential less.
    CredentialRetired {
        /// The identity.
        identity: String,
        /// Who.
        by: String,
    },
}

/// A line of a device's log. All of it may be missing, but not all at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogLine {
    /// Usually `error`, `warn`, `info` or `debug`; as it came.
    pub level: Option<String>,
    /// The part of the firmware that wrote it.
    pub module: Option<String>,
    /// The text; control characters are kept.
    pub message: String,
    /// Everything else that came with it.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// The kinds of events, as they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimelineKind {
    /// [`TimelineEvent::Connected`]
    Connected,
    /// [`TimelineEvent::Disconnected`]
    Disconnected,
    /// [`TimelineEvent::ManifestSent`]
    ManifestSent,
    /// [`TimelineEvent::ManifestAcknowledged`]
    ManifestAcknowledged,
    /// [`TimelineEvent::Report`]
    Report,
    /// [`TimelineEvent::Log`]
    Log,
    /// [`TimelineEvent::DownloadBegun`]
    DownloadBegun,
    /// [`TimelineEvent::DownloadFinished`]
    DownloadFinished,
    /// [`TimelineEvent::Moved`]
    Moved,
    /// [`TimelineEvent::Enabled`]
    Enabled,
    /// [`TimelineEvent::Disabled`]
    Disabled,
    /// [`TimelineEvent::CredentialAdded`]
    CredentialAdded,
    /// [`TimelineEvent::CredentialRetired`]
    CredentialRetired,
}

impl Strand {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Contact, Self::Progress, Self::Log];

    /// The position in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl TimelineEvent {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> TimelineKind {
        match self {
            Self::Connected { .. } => TimelineKind::Connected,
            Self::Disconnected { .. } => TimelineKind::Disconnected,
            Self::ManifestSent { .. } => TimelineKind::ManifestSent,
            Self::ManifestAcknowledged { .. } => TimelineKind::ManifestAcknowledged,
            Self::Report(_) => TimelineKind::Report,
            Self::Log(_) => TimelineKind::Log,
            Self::DownloadBegun { .. } => TimelineKind::DownloadBegun,
            Self::DownloadFinished { .. } => TimelineKind::DownloadFinished,
            Self::Moved { .. } => TimelineKind::Moved,
            Self::Enabled { .. } => TimelineKind::Enabled,
            Self::Disabled { .. } => TimelineKind::Disabled,
            Self::CredentialAdded { .. } => TimelineKind::CredentialAdded,
            Self::CredentialRetired { .. } => TimelineKind::CredentialRetired,
        }
    }
}

impl fmt::Display for TimelineEvent {
    /// One line of English, unless a device put more than one into its log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { address, suite } if suite == "none" => {
                write!(f, "connected from {address} without security")
            }
            Self::Connected { address, suite } => write!(f, "connected from {address} with {suite}"),
            Self::Disconnected { why } => match why.as_ref() {
                "closed" => f.write_str("disconnected: it closed the session"),
                "replaced" => f.write_str("an earlier session gave way to a newer one"),
                "idle" => f.write_str("disconnected: nothing was heard of it for too long"),
                "evicted" => f.write_str("disconnected: room was needed for other sessions"),
                "revoked" => f.write_str("disconnected: it or its credential is no longer allowed"),
                "exhausted" => f.write_str("disconnected: the session had come to the end of its numbers"),
                other => write!(f, "disconnected: {other}"),
            },
            Self::ManifestSent { sequence } => write!(f, "manifest {sequence} sent"),
            Self::ManifestAcknowledged { sequence } => write!(f, "manifest {sequence} arrived"),
            Self::Report(reported) => report(reported, f),
            Self::Log(line) => line.fmt(f),
            Self::DownloadBegun {
                package,
                version,
                offset: 0,
            } => write!(f, "began to fetch {package}@{version}"),
            Self::DownloadBegun {
                package,
                version,
                offset,
            } => write!(f, "went on fetching {package}@{version} at byte {offset}"),
            Self::DownloadFinished {
                package,
                version,
                size,
            } => write!(f, "fetched the last of the {size} bytes of {package}@{version}"),
            Self::Moved { from, to, by } => match (from, to) {
                (Some(from), Some(to)) => write!(f, "moved from cohort {from:?} to {to:?} by {by}"),
                (None, Some(to)) => write!(f, "put in cohort {to:?} by {by}"),
                (Some(from), None) => write!(f, "taken out of cohort {from:?} by {by}"),
                (None, None) => write!(f, "left without a cohort by {by}"),
            },
            Self::Enabled { by } => write!(f, "enabled by {by}"),
            Self::Disabled { by } => write!(f, "disabled by {by}"),
            Self::CredentialAdded { identity, by } => write!(f, "credential {identity:?} added by {by}"),
            Self::CredentialRetired { identity, by } => write!(f, "credential {identity:?} retired by {by}"),
        }
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for prefix in [&self.level, &self.module].into_iter().flatten() {
            write!(f, "{prefix}: ")?;
        }
        if self.message.is_empty() && !self.metadata.is_empty() {
            return write!(f, "{}", serde_json::Value::Object(self.metadata.clone()));
        }
        f.write_str(&self.message)
    }
}

impl TimelineKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Connected,
        Self::Disconnected,
        Self::ManifestSent,
        Self::ManifestAcknowledged,
        Self::Report,
        Self::Log,
        Self::DownloadBegun,
        Self::DownloadFinished,
        Self::Moved,
        Self::Enabled,
        Self::Disabled,
        Self::CredentialAdded,
        Self::CredentialRetired,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::ManifestSent => "manifestSent",
            Self::ManifestAcknowledged => "manifestAcknowledged",
            Self::Report => "report",
            Self::Log => "log",
            Self::DownloadBegun => "downloadBegun",
            Self::DownloadFinished => "downloadFinished",
            Self::Moved => "moved",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::CredentialAdded => "credentialAdded",
            Self::CredentialRetired => "credentialRetired",
        }
    }

    /// Where it is kept.
    #[must_use]
    pub fn strand(self) -> Strand {
        match self {
            Self::Connected | Self::Disconnected | Self::ManifestSent | Self::ManifestAcknowledged => {
                Strand::Contact
            }
            Self::Report
            | Self::DownloadBegun
            | Self::DownloadFinished
            | Self::Moved
            | Self::Enabled
            | Self::Disabled
            | Self::CredentialAdded
            | Self::CredentialRetired => Strand::Progress,
            Self::Log => Strand::Log,
        }
    }
}

impl FromStr for TimelineKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Invalid::new("type of event", text, "is not one", KINDS))
    }
}

/// `main: downloading (integrity-check-failure), runs 1.0.0, on its way to 1.0.1`
fn report(reported: &PackageState, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}: ", reported.package)?;
    match DeviceState::from_number(reported.state) {
        DeviceState::Other(number) => write!(f, "state {number}")?,
        known => f.write_str(known.as_str())?,
    }
    if reported.reason != 0 {
        write!(f, " ({})", reason_words(reported.reason))?;
    }
    if let Some(version) = &reported.version {
        write!(f, ", runs {version}")?;
    }
    if let Some(target) = &reported.target {
        write!(f, ", on its way to {target}")?;
    }
    Ok(())
}

/// The words of [`TimelineKind::ALL`].
const KINDS: &str = "connected, disconnected, manifestSent, manifestAcknowledged, report, log, downloadBegun, \
    downloadFinished, moved, enabled, disabled, credentialAdded, credentialRetired";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_word_and_named_where_a_word_is_none() {
        let words: Vec<_> = TimelineKind::ALL.into_iter().map(TimelineKind::as_str).collect();
        assert_eq!(words.join(", "), KINDS);
        for kind in TimelineKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        let error = "Log".parse::<TimelineKind>().unwrap_err().to_string();
        assert!(error.contains("\"Log\"") && error.contains(KINDS), "{error}");
    }

    #[test]
    fn an_event_is_a_line_of_english() {
        let name = |text: &str| CohortName::parse(text).unwrap();
        let cases = [
            (
                TimelineEvent::Connected {
                    address: "192.0.2.1:40000".parse().unwrap(),
                    suite: "TLS_PSK_WITH_AES_128_CCM_8".into(),
                },
                "connected from 192.0.2.1:40000 with TLS_PSK_WITH_AES_128_CCM_8",
            ),
            (
                TimelineEvent::Disconnected { why: "idle".into() },
                "disconnected: nothing was heard of it for too long",
            ),
            (TimelineEvent::ManifestSent { sequence: 7 }, "manifest 7 sent"),
            (
                TimelineEvent::Report(reported(1, 5)),
                "main: downloading (integrity-check-failure), runs 1.0.0, on its way to 1.0.1",
            ),
            (
                TimelineEvent::Report(PackageState {
                    version: None,
                    target: None,
                    ..reported(99, 77)
                }),
                "main: state 99 (reason 77)",
            ),
            (
                TimelineEvent::Log(LogLine {
                    level: Some("error".to_owned()),
                    module: Some("net".to_owned()),
                    message: "no route".to_owned(),
                    metadata: serde_json::Map::new(),
                }),
                "error: net: no route",
            ),
            (
                TimelineEvent::Log(LogLine {
                    metadata: [("hexdump".to_owned(), "00ff".into())].into_iter().collect(),
                    ..LogLine::default()
                }),
                "{\"hexdump\":\"00ff\"}",
            ),
            (
                TimelineEvent::Moved {
                    from: Some(name("north")),
                    to: Some(name("south")),
                    by: "ci".to_owned(),
                },
                "moved from cohort \"north\" to \"south\" by ci",
            ),
        ];
        for (event, line) in cases {
            assert_eq!(event.to_string(), line);
        }
    }

    fn reported(state: u64, reason: u64) -> PackageState {
        PackageState {
            package: "main".to_owned(),
            state,
            reason,
            version: Some("1.0.0".to_owned()),
            target: Some("1.0.1".to_owned()),
            at_ms: 0,
            setback: None,
        }
    }
}
