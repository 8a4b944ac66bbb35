//! How figures moved: series of a project at several steps, and one of each deployment.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::devices::{Chunks, ProgressCounts, clamped, numbers_json};
use super::error::StoreError;
use super::sqlite::{Store, WriteTransaction, corrupt};
use crate::fleet::{DeploymentId, PackageName, ProjectId};

/// What a fleet did at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FleetRow {
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Whether nothing is known of the time before. Otherwise nothing changed since the row before, but for the last step.
    pub begins: bool,
    /// Devices that were connected.
    pub connected: u64,
    /// Devices that observed.
    pub observing: u64,
    /// Devices that downloaded.
    pub downloading: u64,
    /// Devices that had failed.
    pub failing: u64,
    /// Bytes served in a second.
    pub bytes_per_second: f64,
}

/// How far a deployment had come at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressRow {
    /// The time since it was made, in steps; -1 is when it was made. There is one row for each.
    pub slot: i64,
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// How many devices were where.
    pub counts: ProgressCounts,
    /// Bytes of its artifacts served since the gateway started.
    pub bytes_served: u64,
}

/// What is to be kept of a deployment's series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesChange {
    /// The deployment.
    pub deployment: DeploymentId,
    /// From one slot to the next, in milliseconds, from here on.
    pub step_ms: i64,
    /// How many times that was doubled since the series was last written.
    pub doubled: u32,
    /// To be written, one for each slot.
    pub rows: Vec<ProgressRow>,
    /// Why devices had failed when it ended; empty is nothing to be written.
    pub failures: Vec<FailureRow>,
}

/// How many devices failed at a package for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    /// The package.
    pub package: PackageName,
    /// What the devices did, by its number.
    pub state: u64,
    /// The reason, by its number.
    pub reason: u64,
    /// How many.
    pub devices: u64,
}

/// The end of a deployment's series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesEnd {
    /// From one slot to the next, in milliseconds.
    pub step_ms: i64,
    /// How many rows there are.
    pub rows: usize,
    /// The last one.
    pub last: ProgressRow,
}

impl WriteTransaction {
    /// Keeps rows of a project's series at a step, and forgets those outside `kept`: older ones but for the last, which may say
    /// what has been so ever since, and those of a time that is yet to come, because the clock was set back.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn keep_fleet_rows(
        &mut self,
        project: ProjectId,
        step_ms: i64,
        rows: &[FleetRow],
        kept: std::ops::RangeInclusive<i64>,
    ) -> Result<(), StoreError> {
        for chunk in Chunks(rows) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT OR REPLACE INTO fleet_history (project_id, step_ms, at_ms, begins, connected, observing, \
                 downloading, failing, bytes_per_second) ",
            );
            insert.push_values(chunk, |mut values, row| {
                values
                    .push_bind(project.get())
                    .push_bind(step_ms)
                    .push_bind(row.at_ms)
                    .push_bind(row.begins)
                    .push_bind(clamped(row.connected))
                    .push_bind(clamped(row.observing))
                    .push_bind(clamped(row.downloading))
                    .push_bind(clamped(row.failing))
                    .push_bind(row.bytes_per_second);
            });
            insert.build().execute(self.connection()).await?;
        }
        sqlx::query(
            "DELETE FROM fleet_history WHERE project_id = ?1 AND step_ms = ?2 AND (at_ms > ?4 OR at_ms < \
             (SELECT max(at_ms) FROM fleet_history WHERE project_id = ?1 AND step_ms = ?2 AND at_ms <= ?3))",
        )
        .bind(project.get())
        .bind(step_ms)
        .bind(*kept.start())
        .bind(*kept.end())
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Keeps what is new in a deployment's series. Returns how many rows it has.
    pub async fn change_series(&mut self, change: &SeriesChange) -> Result<usize, StoreError> {
        let deployment = change.deployment.get();
        for _ in 0..change.doubled {
            // Of two slots that become one the later stays. By way of numbers that are not in use, as each is unique.
            for statement in [
                "DELETE FROM deployment_history WHERE deployment_id = ?1 AND slot >= 0 AND slot % 2 = 0 AND EXISTS \
                 (SELECT 1 FROM deployment_history later WHERE later.deployment_id = ?1 \
                 AND later.slot = deployment_history.slot + 1)",
                "UPDATE deployment_history SET slot = -2 - slot / 2 WHERE deployment_id = ?1 AND slot >= 0",
                "UPDATE deployment_history SET slot = -2 - slot WHERE deployment_id = ?1 AND slot <= -2",
            ] {
                sqlx::query(statement)
                    .bind(deployment)
                    .execute(self.connection())
                    .await?;
            }
        }
        let failures = match change.failures.as_slice() {
            [] => None,
            failures => Some(serde_json::to_string(failures).map_err(corrupt)?),
        };
        for chunk in Chunks(&change.rows) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT OR REPLACE INTO deployment_history (deployment_id, slot, at_ms, pending, notified, downloading, \
                 downloaded, updating, done, failed, bytes_served) ",
            );
            insert.push_values(chunk, |mut values, row| {
                values
                    .push_bind(deployment)
                    .push_bind(row.slot)
                    .push_bind(row.at_ms);
                for count in row.counts.buckets {
                    values.push_bind(clamped(count));
                }
                values.push_bind(clamped(row.bytes_served));
            });
            insert.build().execute(self.connection()).await?;
        }
        sqlx::query(
            "INSERT INTO deployment_series (deployment_id, step_ms, failures) VALUES (?, ?, ?) \
             ON CONFLICT DO UPDATE SET step_ms = excluded.step_ms, failures = coalesce(excluded.failures, failures)",
        )
        .bind(deployment)
        .bind(change.step_ms)
        .bind(failures)
        .execute(self.connection())
        .await?;
        let row = sqlx::query("SELECT count(*) FROM deployment_history WHERE deployment_id = ?")
            .bind(deployment)
            .fetch_one(self.connection())
            .await?;
        usize::try_from(row.try_get::<i64, _>(0)?).map_err(corrupt)
    }
}

impl Store {
    /// A project's series at a step, oldest first: what was so at some time, and what came after.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn fleet_rows(
        &self,
        project: ProjectId,
        step_ms: i64,
        from_ms: i64,
    ) -> Result<Vec<FleetRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT at_ms, begins, connected, observing, downloading, failing, bytes_per_second FROM fleet_history \
             WHERE project_id = ?1 AND step_ms = ?2 AND at_ms >= coalesce((SELECT max(at_ms) FROM fleet_history \
             WHERE project_id = ?1 AND step_ms = ?2 AND at_ms <= ?3), ?3) ORDER BY at_ms",
        )
        .bind(project.get())
        .bind(step_ms)
        .bind(from_ms)
        .fetch_all(&self.inner.readers)
        .await?;
        let fleet_row = |row: &SqliteRow| {
            Ok(FleetRow {
                at_ms: row.try_get(0)?,
                begins: row.try_get(1)?,
                connected: count(row, 2)?,
                observing: count(row, 3)?,
                downloading: count(row, 4)?,
                failing: count(row, 5)?,
                bytes_per_second: row.try_get(6)?,
            })
        };
        rows.iter().map(fleet_row).collect()
    }

    /// A deployment's series, oldest first, and its step; nothing if it has none.
    pub async fn series(
        &self,
        deployment: DeploymentId,
    ) -> Result<Option<(i64, Vec<ProgressRow>)>, StoreError> {
        // In one statement, so that no doubling comes between the step and the slots.
        let rows = sqlx::query(
            "SELECT h.slot, h.at_ms, h.pending, h.notified, h.downloading, h.downloaded, h.updating, h.done, h.failed, \
             h.bytes_served, s.step_ms FROM deployment_series s \
             JOIN deployment_history h ON h.deployment_id = s.deployment_id WHERE s.deployment_id = ? ORDER BY h.slot",
        )
        .bind(deployment.get())
        .fetch_all(&self.inner.readers)
        .await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let step_ms = last.try_get(10)?;
        let rows = rows.iter().map(progress_row).collect::<Result<_, _>>()?;
        Ok(Some((step_ms, rows)))
    }

    /// Why devices had failed at a deployment when another took its place.
    pub async fn failures_of(&self, deployment: DeploymentId) -> Result<Vec<FailureRow>, StoreError> {
        let row = sqlx::query("SELECT failures FROM deployment_series WHERE deployment_id = ?")
            .bind(deployment.get())
            .fetch_optional(&self.inner.readers)
            .await?;
        let text: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
        text.map_or(Ok(Vec::new()), |text| {
            serde_json::from_str(&text).map_err(corrupt)
        })
    }

    /// The ends of the series of some deployments, as far as they have one.
    pub async fn series_ends(
        &self,
        deployments: &[DeploymentId],
    ) -> Result<HashMap<DeploymentId, SeriesEnd>, StoreError> {
        let rows = sqlx::query(
            "SELECT h.slot, h.at_ms, h.pending, h.notified, h.downloading, h.downloaded, h.updating, h.done, h.failed, \
             h.bytes_served, s.step_ms, s.deployment_id, \
             (SELECT count(*) FROM deployment_history c WHERE c.deployment_id = s.deployment_id) \
             FROM deployment_series s JOIN deployment_history h ON h.deployment_id = s.deployment_id \
             AND h.slot = (SELECT max(m.slot) FROM deployment_history m WHERE m.deployment_id = s.deployment_id) \
             WHERE s.deployment_id IN (SELECT value FROM json_each(?))",
        )
        .bind(numbers_json(deployments.iter().map(|id| id.get())))
        .fetch_all(&self.inner.readers)
        .await?;
        let end = |row: &SqliteRow| {
            let end = SeriesEnd {
                step_ms: row.try_get(10)?,
                rows: usize::try_from(row.try_get::<i64, _>(12)?).map_err(corrupt)?,
                last: progress_row(row)?,
            };
            Ok((DeploymentId::new(row.try_get(11)?), end))
        };
        rows.iter().map(end).collect()
    }
}

fn progress_row(row: &SqliteRow) -> Result<ProgressRow, StoreError> {
    let mut counts = ProgressCounts::default();
    for (place, bucket) in counts.buckets.iter_mut().enumerate() {
        *bucket = count(row, place + 2)?;
    }
    Ok(ProgressRow {
        slot: row.try_get(0)?,
        at_ms: row.try_get(1)?,
        counts,
        bytes_served: count(row, 9)?,
    })
}

fn count(row: &SqliteRow, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(corrupt)
}
