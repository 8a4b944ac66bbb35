//! Series of points that say only what changed. Pure: time is an argument.
//!
//! - A value that stays costs nothing: it is written when it changes, once more for when it was last seen, and at the end. So what
//!   lies between two points is known, however far apart they are, except before a point that *begins*: there the gateway did not
//!   run. A kill takes with it how long the last value had stayed.
//! - [`FleetSeries`] keeps a span of time at each of three steps. Where a step is longer than that of the samples, the bytes of it
//!   are averaged, and everything else is as it was at its end.
//! - [`DeploymentSeries`] keeps a number of points: one for each slot of time in which something moved, and when there are too many,
//!   slots become twice as long. The last point of a slot stays, so the last of all does too. Nothing can move while the gateway
//!   does not run, so it has no beginnings.

use super::history::Span;
use crate::fleet::DeploymentId;
use crate::store::{FailureRow, FleetRow, ProgressCounts, ProgressRow, SeriesChange, SeriesEnd};

/// How a fleet moved, at every step.
#[derive(Debug, Default)]
pub struct FleetSeries {
    steps: [Step; Span::ALL.len()],
}

/// A series at one step.
#[derive(Debug, Default)]
struct Step {
    /// The last row that was written, or will be.
    written_ms: Option<i64>,
    /// What was last seen, and when.
    seen: Option<FleetRow>,
    /// Of the samples since then: the last one, the sum of their bytes in a second, how many.
    since: Option<(FleetRow, f64, f64)>,
    /// To be written.
    rows: Vec<FleetRow>,
}

impl FleetSeries {
    /// Takes a sample. Called once in [`Span::Hour`]'s step.
    pub fn sample(&mut self, row: FleetRow) {
        for (span, step) in Span::ALL.into_iter().zip(&mut self.steps) {
            step.sample(row, span.step_ms());
        }
    }

    /// There are no more samples.
    pub fn finish(&mut self) {
        for step in &mut self.steps {
            step.finish();
        }
    }

    /// What is to be written.
    pub fn take(&mut self) -> Vec<(Span, Vec<FleetRow>)> {
        let rows = Span::ALL.into_iter().zip(&mut self.steps);
        let rows = rows.map(|(span, step)| (span, std::mem::take(&mut step.rows)));
        rows.filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// Puts back what was not written. What there is no room for is lost: the oldest.
    pub fn put_back(&mut self, span: Span, mut rows: Vec<FleetRow>) {
        let step = &mut self.steps[span.index()];
        rows.append(&mut step.rows);
        let beyond = rows.len().saturating_sub(POINTS);
        step.rows = rows.split_off(beyond);
    }

    /// What belongs behind the rows in the store: what is to be written, and what was last seen, also of the step that goes on.
    #[must_use]
    pub fn newest(&self, span: Span) -> Vec<FleetRow> {
        let step = &self.steps[span.index()];
        let written = step.written_ms.unwrap_or(i64::MIN);
        let seen = step.seen.filter(|seen| seen.at_ms > written);
        step.rows
            .iter()
            .copied()
            .chain(seen)
            .chain(step.since.map(averaged))
            .collect()
    }
}

impl Step {
    fn sample(&mut self, row: FleetRow, step_ms: i64) {
        let (_, bytes, samples) = self.since.unwrap_or((row, 0.0, 0.0));
        let (bytes, samples) = (bytes + row.bytes_per_second, samples + 1.0);
        let begun = self.seen.map(|seen| seen.at_ms / step_ms);
        // A clock that was set back begins a slot too.
        if begun == Some(row.at_ms / step_ms) {
            self.since = Some((row, bytes, samples));
            return;
        }
        self.since = None;
        self.point(averaged((row, bytes, samples)));
    }

    fn point(&mut self, row: FleetRow) {
        let same = |seen: FleetRow| {
            let at = FleetRow {
                at_ms: row.at_ms,
                begins: row.begins,
                ..seen
            };
            at == row
        };
        match self.seen.replace(row) {
            None => self.write(FleetRow { begins: true, ..row }),
            Some(seen) if same(seen) => {}
            Some(seen) => {
                if self.written_ms.is_some_and(|written| written < seen.at_ms) {
                    self.write(seen);
                }
                self.write(row);
            }
        }
    }

    fn finish(&mut self) {
        if let Some(since) = self.since.take() {
            self.point(averaged(since));
        }
        if let Some(seen) = self.seen.take()
            && self.written_ms != Some(seen.at_ms)
        {
            self.write(seen);
        }
    }

    fn write(&mut self, row: FleetRow) {
        self.written_ms = Some(row.at_ms);
        self.rows.push(row);
        if self.rows.len() > POINTS {
            self.rows.remove(0);
        }
    }
}

/// A sample with the mean of the bytes: of the last of some samples, the sum of their bytes in a second, and how many they are.
fn averaged((row, bytes, samples): (FleetRow, f64, f64)) -> FleetRow {
    FleetRow {
        bytes_per_second: bytes / samples,
        ..row
    }
}

/// One value for each step between two times, as far as `rows` (oldest first) know it.
#[must_use]
pub fn spread(rows: &[FleetRow], step_ms: i64, from_ms: i64, to_ms: i64) -> Vec<FleetRow> {
    let mut points = Vec::new();
    let mut at_ms = from_ms.div_euclid(step_ms) * step_ms;
    while at_ms <= to_ms {
        // As of the end of the step, or of this moment.
        let end_ms = (at_ms + step_ms - 1).min(to_ms);
        let next = rows.partition_point(|row| row.at_ms <= end_ms);
        if let Some(row) = next.checked_sub(1).map(|last| rows[last]) {
            let inside = row.at_ms >= at_ms;
            let stays = rows.get(next).is_some_and(|next| !next.begins);
            // Not before the gateway ran.
            let first = rows.partition_point(|row| row.at_ms < at_ms);
            let begins = rows[first..next].first().filter(|row| row.begins);
            let from_ms = begins.map_or(at_ms, |row| row.at_ms);
            if inside || stays {
                points.push(FleetRow {
                    at_ms: from_ms,
                    ..row
                });
            }
        }
        at_ms += step_ms;
    }
    points
}

/// How a deployment came along.
#[derive(Debug)]
pub struct DeploymentSeries {
    deployment: DeploymentId,
    created_ms: i64,
    step_ms: i64,
    /// Rows in the store and to be written, as far as is known.
    rows: usize,
    doubled: u32,
    /// The last slot that has a row.
    slot: i64,
    written_ms: i64,
    /// What was last seen, and when.
    seen: ProgressRow,
    /// To be written, by rising slot.
    changed: Vec<ProgressRow>,
    /// Why devices had failed when it ended, to be written.
    failures: Vec<FailureRow>,
}

impl DeploymentSeries {
    /// The series of a deployment, with how its devices stand at this moment. If that is the moment at which it was made, they
    /// stood so from the beginning.
    #[must_use]
    pub fn begin(deployment: DeploymentId, created_ms: i64, at_ms: i64, counts: ProgressCounts) -> Self {
        let is_new = at_ms - created_ms <= NEW_MS;
        let first = ProgressRow {
            slot: CREATION,
            at_ms: if is_new { created_ms } else { at_ms },
            counts,
            bytes_served: 0,
        };
        Self {
            deployment,
            created_ms,
            step_ms: DEPLOYMENT_STEP_MS,
            rows: 1,
            doubled: 0,
            slot: CREATION,
            written_ms: first.at_ms,
            seen: first,
            changed: vec![first],
            failures: Vec::new(),
        }
    }

    /// The series goes on at this moment from what the store has of it.
    #[must_use]
    pub fn resume(deployment: DeploymentId, created_ms: i64, end: SeriesEnd, at_ms: i64) -> Self {
        Self {
            deployment,
            created_ms,
            step_ms: end.step_ms.max(DEPLOYMENT_STEP_MS),
            rows: end.rows,
            doubled: 0,
            slot: end.last.slot,
            written_ms: end.last.at_ms,
            seen: ProgressRow {
                at_ms: at_ms.max(end.last.at_ms),
                ..end.last
            },
            changed: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// The deployment stands so at this moment.
    pub fn sample(&mut self, at_ms: i64, counts: ProgressCounts, bytes_served: u64) {
        let at_ms = at_ms.max(self.seen.at_ms);
        // Bytes alone are no news: they would make a point of every second.
        if counts == self.seen.counts {
            self.seen.at_ms = at_ms;
            self.seen.bytes_served = bytes_served.max(self.seen.bytes_served);
            return;
        }
        if self.slot_of(self.seen.at_ms) > self.slot && self.written_ms < self.seen.at_ms {
            self.write(self.seen);
        }
        let row = ProgressRow {
            slot: 0,
            at_ms,
            counts,
            bytes_served,
        };
        self.seen = row;
        self.write(row);
    }

    /// The deployment is active no more, or the gateway ends.
    pub fn finish(&mut self) {
        if self.written_ms < self.seen.at_ms {
            self.write(self.seen);
        }
    }

    /// Another deployment takes its place, and for this devices had failed.
    pub fn end(&mut self, failures: Vec<FailureRow>) {
        self.finish();
        self.failures = failures;
    }

    /// Why devices had failed when it ended, as far as that is still to be written.
    #[must_use]
    pub fn failures(&self) -> &[FailureRow] {
        &self.failures
    }

    /// Whether there is something to be written.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !(self.changed.is_empty() && self.failures.is_empty())
    }

    /// What is to be written; its rows, counted, are to be told to [`Self::written`].
    pub fn take(&mut self) -> Option<SeriesChange> {
        if !self.has_news() {
            return None;
        }
        Some(SeriesChange {
            deployment: self.deployment,
            step_ms: self.step_ms,
            doubled: std::mem::take(&mut self.doubled),
            rows: std::mem::take(&mut self.changed),
            failures: std::mem::take(&mut self.failures),
        })
    }

    /// What was taken is in the store, which has so many rows by now.
    pub fn written(&mut self, rows: usize) {
        let of_it = self.changed.iter().filter(|row| row.slot > CREATION).count();
        self.rows = rows + of_it;
    }

    /// What was taken is not in the store.
    pub fn put_back(&mut self, change: SeriesChange) {
        if self.failures.is_empty() {
            self.failures = change.failures;
        }
        let newer = std::mem::take(&mut self.changed);
        self.changed = change.rows;
        for _ in 0..self.doubled {
            halve(&mut self.changed);
        }
        self.doubled += change.doubled;
        for row in newer {
            put(&mut self.changed, row);
        }
    }

    /// All of it: what the store has, with what it has not yet, and what was last seen.
    #[must_use]
    pub fn whole(&self, mut stored: Vec<ProgressRow>) -> Vec<ProgressRow> {
        for _ in 0..self.doubled {
            halve(&mut stored);
        }
        for &row in &self.changed {
            put(&mut stored, row);
        }
        if stored.last().is_none_or(|last| last.at_ms < self.seen.at_ms) {
            stored.push(self.seen);
        }
        stored
    }

    /// From one slot to the next, in milliseconds.
    #[must_use]
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// How it stood when it was last looked at, and when that was.
    #[must_use]
    pub fn seen(&self) -> ProgressRow {
        self.seen
    }

    fn slot_of(&self, at_ms: i64) -> i64 {
        (at_ms - self.created_ms).max(0) / self.step_ms
    }

    fn write(&mut self, row: ProgressRow) {
        let slot = self.slot_of(row.at_ms).max(self.slot).max(0);
        self.rows += usize::from(slot > self.slot);
        self.slot = slot;
        self.written_ms = row.at_ms;
        put(&mut self.changed, ProgressRow { slot, ..row });
        if self.rows > POINTS {
            self.step_ms *= 2;
            self.doubled += 1;
            self.slot /= 2;
            halve(&mut self.changed);
            // Half of them, if every slot has one; the store counts them when it is written.
            self.rows -= self.rows / 2;
        }
    }
}

/// Puts a row into its slot. Rows come in the order of their slots.
fn put(rows: &mut Vec<ProgressRow>, row: ProgressRow) {
    match rows.binary_search_by_key(&row.slot, |row| row.slot) {
        Ok(place) => rows[place] = row,
        Err(place) => rows.insert(place, row),
    }
}

/// Makes slots twice as long: of two that become one the later row stays.
fn halve(rows: &mut Vec<ProgressRow>) {
    for mut row in std::mem::take(rows) {
        if row.slot > CREATION {
            row.slot /= 2;
        }
        put(rows, row);
    }
}

/// How long after a deployment was made it may first be seen and have stood so all the time: until the counter comes to it.
const NEW_MS: i64 = 5000;
/// The slot of when a deployment was made, or first seen.
const CREATION: i64 = -1;
/// The shortest slot of a deployment, in milliseconds: a device that is alone is through in seconds.
pub const DEPLOYMENT_STEP_MS: i64 = 1000;
/// The most points of a series: about one for each pixel of a picture's half.
pub const POINTS: usize = 480;

#[cfg(test)]
#[path = "series_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
