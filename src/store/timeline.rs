//! The timelines of devices: bounded, in strands.
//!
//! Appending is two questions and few statements for a whole batch, however many devices it touches:
//!
//! 1. The newest entry of every strand that gets one (a seek each): it has the number to go on from, and a moment that
//!    says the same is counted there.
//! 2. One upsert per entry.
//! 3. Every [`TRIM_STEP`] entries of a strand, those beyond [`kept`] are deleted: a range at the strand's beginning.

use std::collections::{BTreeMap, VecDeque};

use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::devices::{Chunks, clamped};
use super::error::StoreError;
use super::sqlite::{Store, WriteTransaction, corrupt};
use crate::fleet::{
    CohortName, DeviceId, LogLine, Moment, PackageState, Strand, TimelineEntry, TimelineEvent, TimelineKind,
    TimelinePlace,
};

/// Which entries of a device's timeline to read.
#[derive(Debug, Clone, Default)]
pub struct TimelineFilter {
    /// Only these kinds; none are all.
    pub kinds: Vec<TimelineKind>,
    /// Only those before this one.
    pub before: Option<TimelinePlace>,
    /// How many at most.
    pub limit: usize,
}

/// The end of a strand, with what is added to it.
#[derive(Debug, Default)]
struct Tail {
    /// The number of the newest entry on disk; 0 is none.
    stored: i64,
    /// The newest entry on disk, if it may still be counted up, and those to be written.
    rows: VecDeque<EntryRow>,
}

#[derive(Debug)]
struct EntryRow {
    seq: i64,
    kind: i64,
    at_ms: i64,
    count: i64,
    last_ms: i64,
    facts: String,
    /// Whether the disk has it otherwise, or not at all.
    changed: bool,
}

/// The device, the strand, and the columns of its newest entry if it has one.
type FoundTail = (
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

impl WriteTransaction {
    /// Adds to the timelines of devices, in the order of `moments`. What belongs to devices that are gone is passed over.
    ///
    /// # Errors
    /// The database fails.
    pub async fn append_timeline(&mut self, moments: &[Moment]) -> Result<(), StoreError> {
        let mut tails = self.tails(moments).await?;
        for moment in moments {
            // No tail, no device.
            if let Some(tail) = tails.get_mut(&(moment.device, moment.event.kind().strand())) {
                tail.push(moment)?;
            }
        }
        let mut rows = Vec::with_capacity(moments.len());
        let mut trims = Vec::new();
        for (&(device, strand), tail) in &tails {
            let changed = tail.rows.iter().filter(|row| row.changed);
            rows.extend(changed.map(|row| (device, strand, row)));
            let newest = tail.rows.back().map_or(tail.stored, |row| row.seq);
            if newest / TRIM_STEP > tail.stored / TRIM_STEP {
                trims.push((device, strand, newest - kept(strand)));
            }
        }
        for chunk in Chunks(&rows) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO timeline (device_id, strand, seq, kind, at_ms, count, last_ms, facts) ",
            );
            insert.push_values(chunk, |mut values, (device, strand, row)| {
                values
                    .push_bind(device.get())
                    .push_bind(strand_number(*strand))
                    .push_bind(row.seq)
                    .push_bind(row.kind)
                    .push_bind(row.at_ms)
                    .push_bind(row.count)
                    .push_bind(row.last_ms)
                    .push_bind(row.facts.clone());
            });
            insert.push(" ON CONFLICT DO UPDATE SET count = excluded.count, last_ms = excluded.last_ms");
            insert.build().execute(self.connection()).await?;
        }
        for (device, strand, last) in trims {
            sqlx::query("DELETE FROM timeline WHERE device_id = ? AND strand = ? AND seq <= ?")
                .bind(device.get())
                .bind(strand_number(strand))
                .bind(last)
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }

    /// The ends of the strands that `moments` belong to, of devices that exist.
    async fn tails(&mut self, moments: &[Moment]) -> Result<BTreeMap<(DeviceId, Strand), Tail>, StoreError> {
        let mut wanted: Vec<_> = moments
            .iter()
            .map(|moment| (moment.device, moment.event.kind().strand()))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut tails = BTreeMap::new();
        for chunk in Chunks(&wanted) {
            // One row of JSON for all of them: a row by itself costs a hand-over between two threads.
            let mut select = QueryBuilder::<Sqlite>::new(
                "SELECT json_group_array(json_array(\
                 d.id, v.column2, t.seq, t.kind, t.at_ms, t.count, t.last_ms, t.facts)) FROM (",
            );
            select.push_values(chunk, |mut values, (device, strand)| {
                values.push_bind(device.get()).push_bind(strand_number(*strand));
            });
            select.push(
                ") AS v CROSS JOIN devices d ON d.id = v.column1 \
                 LEFT JOIN timeline t ON t.device_id = d.id AND t.strand = v.column2 AND t.seq = \
                 (SELECT max(m.seq) FROM timeline m WHERE m.device_id = d.id AND m.strand = v.column2)",
            );
            let row = select.build().fetch_one(self.connection()).await?;
            let found: Vec<FoundTail> = serde_json::from_str(row.try_get(0)?).map_err(corrupt)?;
            for (device, strand, seq, kind, at_ms, count, last_ms, facts) in found {
                let mut tail = Tail::default();
                if let Some(seq) = seq {
                    tail.stored = seq;
                    tail.rows.push_back(EntryRow {
                        seq,
                        kind: kind.unwrap_or_default(),
                        at_ms: at_ms.unwrap_or_default(),
                        count: count.unwrap_or_default(),
                        last_ms: last_ms.unwrap_or_default(),
                        facts: facts.unwrap_or_default(),
                        changed: false,
                    });
                }
                tails.insert((DeviceId::new(device), strand_of(strand)?), tail);
            }
        }
        Ok(tails)
    }
}

impl Tail {
    fn push(&mut self, moment: &Moment) -> Result<(), StoreError> {
        let (kind, facts) = encode(&moment.event)?;
        let kind = kind_number(kind);
        if let Some(last) = self.rows.back_mut()
            && last.kind == kind
            && last.facts == facts
        {
            last.count = last.count.saturating_add(1);
            last.last_ms = last.last_ms.max(moment.at_ms);
            last.changed = true;
            return Ok(());
        }
        let strand = moment.event.kind().strand();
        if self.rows.len() as i64 >= kept(strand) {
            // It would be deleted in the same breath.
            self.rows.pop_front();
        }
        self.rows.push_back(EntryRow {
            seq: self.rows.back().map_or(self.stored, |row| row.seq) + 1,
            kind,
            at_ms: moment.at_ms,
            count: 1,
            last_ms: moment.at_ms,
            facts,
            changed: true,
        });
        Ok(())
    }
}

impl Store {
    /// Some of a device's timeline, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn timeline(
        &self,
        device: DeviceId,
        filter: &TimelineFilter,
    ) -> Result<Vec<TimelineEntry>, StoreError> {
        let mut select = QueryBuilder::<Sqlite>::new(
            "SELECT strand, seq, kind, at_ms, count, last_ms, facts FROM timeline WHERE device_id = ",
        );
        select.push_bind(device.get());
        if !filter.kinds.is_empty() {
            select.push(" AND kind IN (");
            let mut list = select.separated(", ");
            for kind in &filter.kinds {
                list.push_bind(kind_number(*kind));
            }
            select.push(")");
        }
        if let Some(place) = filter.before {
            select.push(" AND (at_ms, strand, seq) < (");
            let mut list = select.separated(", ");
            list.push_bind(place.at_ms)
                .push_bind(strand_number(place.strand))
                .push_bind(place.seq);
            select.push(")");
        }
        select.push(" ORDER BY at_ms DESC, strand DESC, seq DESC LIMIT ");
        select.push_bind(i64::try_from(filter.limit).unwrap_or(i64::MAX));
        let rows = select.build().fetch_all(&self.inner.readers).await?;
        rows.iter().map(entry).collect()
    }
}

fn entry(row: &SqliteRow) -> Result<TimelineEntry, StoreError> {
    let place = TimelinePlace {
        strand: strand_of(row.try_get(0)?)?,
        seq: row.try_get(1)?,
        at_ms: row.try_get(3)?,
    };
    Ok(TimelineEntry {
        event: decode(kind_of(row.try_get(2)?)?, row.try_get(6)?, place.at_ms)?,
        place,
        count: u64::try_from(row.try_get::<i64, _>(4)?).map_err(corrupt)?,
        last_ms: row.try_get(5)?,
    })
}

/// The facts of an event as a JSON array: their names are the kind's, and need not be on disk a thousand times.
fn encode(event: &TimelineEvent) -> Result<(TimelineKind, String), StoreError> {
    let facts = match event {
        TimelineEvent::Connected { address, suite } => serde_json::to_string(&(address, suite)),
        TimelineEvent::Disconnected { why } => serde_json::to_string(&(why,)),
        TimelineEvent::ManifestSent { sequence } | TimelineEvent::ManifestAcknowledged { sequence } => {
            serde_json::to_string(&(sequence,))
        }
        TimelineEvent::Report(state) => {
            let (number, reason) = (clamped(state.state), clamped(state.reason));
            serde_json::to_string(&(&state.package, number, reason, &state.version, &state.target))
        }
        TimelineEvent::Log(line) => {
            serde_json::to_string(&(&line.level, &line.module, &line.message, &line.metadata))
        }
        TimelineEvent::DownloadBegun {
            package,
            version,
            offset,
        } => serde_json::to_string(&(package, version, offset)),
        TimelineEvent::DownloadFinished {
            package,
            version,
            size,
        } => serde_json::to_string(&(package, version, size)),
        TimelineEvent::Moved { from, to, by } => serde_json::to_string(&(from, to, by)),
        TimelineEvent::Enabled { by } | TimelineEvent::Disabled { by } => serde_json::to_string(&(by,)),
        TimelineEvent::CredentialAdded { identity, by }
        | TimelineEvent::CredentialRetired { identity, by } => serde_json::to_string(&(identity, by)),
    };
    Ok((event.kind(), facts.map_err(corrupt)?))
}

fn decode(kind: TimelineKind, facts: &str, at_ms: i64) -> Result<TimelineEvent, StoreError> {
    fn facts_of<T: DeserializeOwned>(facts: &str) -> Result<T, StoreError> {
        serde_json::from_str(facts).map_err(corrupt)
    }
    Ok(match kind {
        TimelineKind::Connected => {
            let (address, suite): (_, String) = facts_of(facts)?;
            TimelineEvent::Connected {
                address,
                suite: suite.into(),
            }
        }
        TimelineKind::Disconnected => {
            let (why,): (String,) = facts_of(facts)?;
            TimelineEvent::Disconnected { why: why.into() }
        }
        TimelineKind::ManifestSent => {
            let (sequence,) = facts_of(facts)?;
            TimelineEvent::ManifestSent { sequence }
        }
        TimelineKind::ManifestAcknowledged => {
            let (sequence,) = facts_of(facts)?;
            TimelineEvent::ManifestAcknowledged { sequence }
        }
        TimelineKind::Report => {
            let (package, state, reason, version, target) = facts_of(facts)?;
            TimelineEvent::Report(PackageState {
                package,
                state,
                reason,
                version,
                target,
                at_ms,
                setback: None,
            })
        }
        TimelineKind::Log => {
            let (level, module, message, metadata) = facts_of(facts)?;
            TimelineEvent::Log(LogLine {
                level,
                module,
                message,
                metadata,
            })
        }
        TimelineKind::DownloadBegun => {
            let (package, version, offset) = facts_of(facts)?;
            TimelineEvent::DownloadBegun {
                package,
                version,
                offset,
            }
        }
        TimelineKind::DownloadFinished => {
            let (package, version, size) = facts_of(facts)?;
            TimelineEvent::DownloadFinished {
                package,
                version,
                size,
            }
        }
        TimelineKind::Moved => {
            let (from, to, by): (Option<String>, Option<String>, _) = facts_of(facts)?;
            let kept = |name: Option<String>| name.map(|name| CohortName::kept(&name)).transpose();
            let (from, to) = (kept(from).map_err(corrupt)?, kept(to).map_err(corrupt)?);
            TimelineEvent::Moved { from, to, by }
        }
        TimelineKind::Enabled => {
            let (by,) = facts_of(facts)?;
            TimelineEvent::Enabled { by }
        }
        TimelineKind::Disabled => {
            let (by,) = facts_of(facts)?;
            TimelineEvent::Disabled { by }
        }
        TimelineKind::CredentialAdded => {
            let (identity, by) = facts_of(facts)?;
            TimelineEvent::CredentialAdded { identity, by }
        }
        TimelineKind::CredentialRetired => {
            let (identity, by) = facts_of(facts)?;
            TimelineEvent::CredentialRetired { identity, by }
        }
    })
}

/// On disk for ever: a number is never given a second meaning.
fn kind_number(kind: TimelineKind) -> i64 {
    match kind {
        TimelineKind::Connected => 1,
        TimelineKind::Disconnected => 2,
        TimelineKind::ManifestSent => 3,
        TimelineKind::ManifestAcknowledged => 4,
        TimelineKind::Report => 5,
        TimelineKind::Log => 6,
        TimelineKind::DownloadBegun => 7,
        TimelineKind::DownloadFinished => 8,
        TimelineKind::Moved => 9,
        TimelineKind::Enabled => 10,
        TimelineKind::Disabled => 11,
        TimelineKind::CredentialAdded => 12,
        TimelineKind::CredentialRetired => 13,
    }
}

fn kind_of(number: i64) -> Result<TimelineKind, StoreError> {
    let known = TimelineKind::ALL
        .into_iter()
        .find(|kind| kind_number(*kind) == number);
    known.ok_or_else(|| StoreError::Corrupt(format!("a timeline entry of kind {number}")))
}

/// On disk for ever, as the kinds.
fn strand_number(strand: Strand) -> i64 {
    match strand {
        Strand::Contact => 1,
        Strand::Progress => 2,
        Strand::Log => 3,
    }
}

fn strand_of(number: i64) -> Result<Strand, StoreError> {
    let known = Strand::ALL
        .into_iter()
        .find(|strand| strand_number(*strand) == number);
    known.ok_or_else(|| StoreError::Corrupt(format!("a timeline strand {number}")))
}

/// How many entries of a strand are kept at least, and with [`TRIM_STEP`] also how many at most. Reasoned guesses: what an
/// operator scrolls through, and some 10 KB a strand for each device that fills it.
pub const fn kept(strand: Strand) -> i64 {
    match strand {
        Strand::Contact => 50,
        Strand::Progress | Strand::Log => 100,
    }
}

/// A strand may be this much longer than [`kept`], less one: so that not every entry pays for a deletion.
pub const TRIM_STEP: i64 = 25;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_from_its_facts() {
        let by = "me".to_owned();
        let (package, version) = ("main".parse().unwrap(), "1.0".parse().unwrap());
        let events = [
            TimelineEvent::Connected {
                address: "[2001:db8::1]:5684".parse().unwrap(),
                suite: "none".into(),
            },
            TimelineEvent::Disconnected { why: "idle".into() },
            TimelineEvent::ManifestSent { sequence: 1 },
            TimelineEvent::ManifestAcknowledged { sequence: u32::MAX },
            TimelineEvent::Report(PackageState {
                package: "m\u{1b}".to_owned(),
                state: i64::MAX as u64,
                reason: 0,
                version: Some("1".to_owned()),
                target: None,
                at_ms: 7,
                setback: None,
            }),
            TimelineEvent::Log(LogLine {
                level: None,
                module: Some("net".to_owned()),
                message: "a\nb\0".to_owned(),
                metadata: [("x".to_owned(), serde_json::json!([1, null, 0.5]))]
                    .into_iter()
                    .collect(),
            }),
            TimelineEvent::DownloadBegun {
                package,
                version,
                offset: 1 << 29,
            },
            TimelineEvent::DownloadFinished {
                package: "main".parse().unwrap(),
                version: "1.0".parse().unwrap(),
                size: 1 << 30,
            },
            TimelineEvent::Moved {
                from: None,
                to: Some("lamps".parse().unwrap()),
                by: by.clone(),
            },
            TimelineEvent::Enabled { by: by.clone() },
            TimelineEvent::Disabled { by: by.clone() },
            TimelineEvent::CredentialAdded {
                identity: "a".to_owned(),
                by: by.clone(),
            },
            TimelineEvent::CredentialRetired {
                identity: "a".to_owned(),
                by,
            },
        ];
        assert!(events.iter().map(TimelineEvent::kind).eq(TimelineKind::ALL));
        for event in events {
            let (kind, facts) = encode(&event).unwrap();
            assert_eq!(kind_of(kind_number(kind)).unwrap(), kind);
            assert_eq!(decode(kind, &facts, 7).unwrap(), event);
        }
    }

    #[test]
    fn facts_that_make_no_sense_are_an_error_and_no_panic() {
        for (kind, facts) in [
            (TimelineKind::Report, "[]"),
            (TimelineKind::Log, "{"),
            (TimelineKind::Connected, "[\"nowhere\",\"none\"]"),
            (TimelineKind::Moved, "[\"a/\\u0000\",null,\"me\"]"),
        ] {
            let decoded = decode(kind, facts, 0);
            assert!(matches!(decoded, Err(StoreError::Corrupt(_))), "{decoded:?}");
        }
        assert!(kind_of(0).is_err() && strand_of(0).is_err());
    }
}
