//! The small facts: projects, packages, cohorts, deployments, keys, and the audit.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::certificates::device_ca;
use super::error::StoreError;
use super::sqlite::{Store, WriteTransaction, corrupt, digest};
use crate::fleet::{
    ApiKey, Artifact, ArtifactId, ArtifactSize, Cohort, CohortId, CohortName, Deployment, DeploymentId,
    DeploymentName, FleetRecords, ImageKind, KeyId, KeyName, Package, PackageId, Project, ProjectId, Role,
    Sequence,
};

/// The SHA-256 of an API key.
pub type KeyHash = [u8; 32];

/// An API key as it is kept.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// What is known about it.
    pub key: ApiKey,
    /// The SHA-256 of its text.
    pub hash: KeyHash,
    /// When it was revoked, in milliseconds of Unix time.
    pub revoked_ms: Option<i64>,
}

/// A line of the audit to be written.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// The project it concerns; none for what concerns the installation.
    pub project: Option<ProjectId>,
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What: `deployment.create`.
    pub action: &'static str,
    /// To what: an id or a name.
    pub subject: String,
    /// What was before.
    pub before: Option<Value>,
    /// What was after.
    pub after: Option<Value>,
}

/// Which part of the audit to read.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only records older than this one.
    pub before: Option<i64>,
    /// Only what this actor did.
    pub actor: Option<String>,
    /// Only this: `deployment.create`.
    pub action: Option<String>,
    /// Only what was done to one of these, each an id such as `coh_12` or a name such as `main@1.0.0`; to whatever where there is
    /// none. At most 30 000.
    pub subjects: Vec<String>,
    /// Only what was done at this time or later, in milliseconds of Unix time.
    pub since_ms: Option<i64>,
    /// Only what was done before this time, in milliseconds of Unix time.
    pub until_ms: Option<i64>,
    /// How many at most; 1 to 1000.
    pub limit: usize,
}

/// Some of the audit, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditPage {
    /// What was found.
    pub records: Vec<AuditRecord>,
    /// What the filter of the next page has in `before`; none where there is no more.
    pub next: Option<i64>,
}

/// What follows in the audit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditAhead {
    /// What was found, oldest first.
    pub records: Vec<AuditRecord>,
    /// The last record that was looked at: what is up to here need not be looked at again.
    pub seen: i64,
    /// Whether there is more to look at.
    pub more: bool,
}

/// Whose lines of the audit somebody may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditScope {
    /// Those of the project.
    Project(ProjectId),
    /// Those of the project, and those of none: what concerns the installation, such as API keys.
    Installation(ProjectId),
}

impl AuditScope {
    /// Those that somebody with this role may read. What concerns the installation is for who administers it.
    #[must_use]
    pub fn of(role: Role, project: ProjectId) -> Self {
        match role {
            Role::Read | Role::Deploy => Self::Project(project),
            Role::Admin => Self::Installation(project),
        }
    }

    /// The condition on a row. The plus keeps SQLite from looking for an index.
    fn push_to(self, select: &mut QueryBuilder<Sqlite>) {
        match self {
            Self::Project(project) => {
                select.push("+project_id = ").push_bind(project.get());
            }
            Self::Installation(project) => {
                select
                    .push("(+project_id = ")
                    .push_bind(project.get())
                    .push(" OR +project_id IS NULL)");
            }
        }
    }
}

/// Who did what, when, and what it changed.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its number, rising with time.
    pub id: i64,
    /// The project it concerns; none for what concerns the installation.
    pub project: Option<ProjectId>,
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What: `deployment.create`.
    pub action: String,
    /// To what: an id or a name.
    pub subject: String,
    /// What was before.
    pub before: Option<Value>,
    /// What was after.
    pub after: Option<Value>,
}

impl WriteTransaction {
    /// Keeps the next number for an id.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn set_next_id(&mut self, next: i64) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO counters VALUES ('id', ?) ON CONFLICT DO UPDATE SET value = excluded.value")
            .bind(next)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Writes when it was last tried whether writing works. SQLite writes nothing where nothing changes, so this is
    /// another value each time.
    pub async fn set_checked(&mut self, at_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO counters VALUES ('checked', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        )
        .bind(at_ms)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Keeps a project.
    pub async fn insert_project(&mut self, project: &Project) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO projects (id, name, created_ms) VALUES (?, ?, ?)")
            .bind(project.id.get())
            .bind(project.name.to_string())
            .bind(project.created_ms)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps a package.
    pub async fn insert_package(&mut self, package: &Package) -> Result<(), StoreError> {
        let metadata = Value::Object(package.metadata.clone()).to_string();
        sqlx::query(
            "INSERT INTO packages (id, project_id, name, description, metadata, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(package.id.get())
        .bind(package.project.get())
        .bind(package.name.to_string())
        .bind(package.description.clone())
        .bind(metadata)
        .bind(package.created_ms)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Forgets a package.
    pub async fn delete_package(&mut self, id: PackageId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM packages WHERE id = ?")
            .bind(id.get())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps an artifact. Its bytes are stored already.
    pub async fn insert_artifact(&mut self, artifact: &Artifact) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO artifacts (id, package_id, version, size, sha256, kind, image_version, created_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(artifact.id.get())
        .bind(artifact.package_id.get())
        .bind(artifact.version.to_string())
        .bind(i64::try_from(artifact.size.get()).map_err(corrupt)?)
        .bind(artifact.digest.0.to_vec())
        .bind(artifact.kind.as_str())
        .bind(artifact.image_version.clone())
        .bind(artifact.created_ms)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Forgets an artifact. Its bytes are still stored.
    pub async fn delete_artifact(&mut self, id: ArtifactId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM artifacts WHERE id = ?")
            .bind(id.get())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps a cohort.
    pub async fn insert_cohort(&mut self, cohort: &Cohort) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO cohorts (id, project_id, name, created_ms) VALUES (?, ?, ?, ?)")
            .bind(cohort.id.get())
            .bind(cohort.project.get())
            .bind(cohort.name.to_string())
            .bind(cohort.created_ms)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Forgets a cohort.
    pub async fn delete_cohort(&mut self, id: CohortId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM cohorts WHERE id = ?")
            .bind(id.get())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps a deployment, and that its project has given its sequence number.
    pub async fn insert_deployment(
        &mut self,
        project: ProjectId,
        new: &Deployment,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO deployments (id, project_id, cohort_id, name, sequence, author, created_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(new.id.get())
        .bind(project.get())
        .bind(new.cohort.get())
        .bind(new.name.to_string())
        .bind(new.sequence.get())
        .bind(new.author.clone())
        .bind(new.created_ms)
        .execute(self.connection())
        .await?;
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO deployment_artifacts (deployment_id, artifact_id) ");
        insert.push_values(&new.artifacts, |mut row, artifact| {
            row.push_bind(new.id.get()).push_bind(artifact.id.get());
        });
        insert
            .build()
            .persistent(false)
            .execute(self.connection())
            .await?;
        sqlx::query("UPDATE projects SET last_sequence = max(last_sequence, ?) WHERE id = ?")
            .bind(new.sequence.get())
            .bind(project.get())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps an API key.
    pub async fn insert_key(&mut self, row: &KeyRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_keys (id, name, sha256, role, created_ms, expires_ms, revoked_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(row.key.id.get())
        .bind(row.key.name.to_string())
        .bind(row.hash.to_vec())
        .bind(row.key.role.as_str())
        .bind(row.key.created_ms)
        .bind(row.key.expires_ms)
        .bind(row.revoked_ms)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// The API key with this hash, revoked or not.
    pub async fn key_by_hash(&mut self, hash: &KeyHash) -> Result<Option<KeyRow>, StoreError> {
        let row = sqlx::query(
            "SELECT id, name, sha256, role, created_ms, expires_ms, revoked_ms FROM api_keys WHERE sha256 = ?",
        )
        .bind(hash.to_vec())
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(key).transpose()
    }

    /// Keeps that an API key is revoked.
    pub async fn revoke_key(&mut self, id: KeyId, at_ms: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE api_keys SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL")
            .bind(at_ms)
            .bind(id.get())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Writes lines of the audit, and returns the number of the last.
    pub async fn insert_audit(&mut self, rows: &[AuditRow]) -> Result<Option<i64>, StoreError> {
        let mut last = None;
        for rows in rows.chunks(AUDIT_ROWS) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO audit (project_id, at_ms, actor, action, subject, before, after) ",
            );
            insert.push_values(rows, |mut values, row| {
                values
                    .push_bind(row.project.map(ProjectId::get))
                    .push_bind(row.at_ms)
                    .push_bind(row.actor.clone())
                    .push_bind(row.action)
                    .push_bind(row.subject.clone())
                    .push_bind(row.before.as_ref().map(Value::to_string))
                    .push_bind(row.after.as_ref().map(Value::to_string));
            });
            let persistent = rows.len() == 1 || rows.len() == AUDIT_ROWS;
            let written = insert
                .build()
                .persistent(persistent)
                .execute(self.connection())
                .await?;
            last = Some(written.last_insert_rowid());
        }
        Ok(last)
    }
}

impl Store {
    /// Reads everything that a view is made of.
    ///
    /// # Errors
    /// The database fails, or holds what makes no sense.
    pub async fn load(&self) -> Result<(FleetRecords, Vec<KeyRow>), StoreError> {
        // One transaction, so that everything is of one moment.
        let mut reader = self.inner.readers.begin().await?;
        let next_id = sqlx::query("SELECT value FROM counters WHERE name = 'id'")
            .fetch_optional(&mut *reader)
            .await?;
        let mut records = FleetRecords {
            next_id: next_id.map_or(Ok(1), |row| row.try_get(0))?,
            ..FleetRecords::default()
        };
        let rows = sqlx::query(
            "SELECT id, name, last_sequence, created_ms, \
             (SELECT count(*) FROM devices WHERE project_id = projects.id) FROM projects ORDER BY id",
        );
        for row in rows.fetch_all(&mut *reader).await? {
            records.projects.push(project(&row)?);
        }
        let rows =
            sqlx::query("SELECT id, project_id, name, description, metadata, created_ms FROM packages");
        for row in rows.fetch_all(&mut *reader).await? {
            records.packages.push(package(&row)?);
        }
        let rows = sqlx::query(
            "SELECT a.id, a.package_id, p.name, a.version, a.size, a.sha256, a.kind, a.image_version, a.created_ms, \
             p.project_id FROM artifacts a JOIN packages p ON p.id = a.package_id",
        );
        for row in rows.fetch_all(&mut *reader).await? {
            records
                .artifacts
                .push((ProjectId::new(row.try_get(9)?), artifact(&row)?));
        }
        let rows = sqlx::query(
            "SELECT id, project_id, name, created_ms, \
             (SELECT count(*) FROM devices WHERE cohort_id = cohorts.id) FROM cohorts",
        );
        for row in rows.fetch_all(&mut *reader).await? {
            records.cohorts.push(cohort(&row)?);
        }
        let rows = sqlx::query(
            "SELECT id, project_id, name, certificate, zero_touch, cohort_id, created_ms FROM device_cas ORDER BY id",
        );
        for row in rows.fetch_all(&mut *reader).await? {
            records.device_cas.push(device_ca(&row)?);
        }
        let rows = sqlx::query(
            "SELECT id, cohort_id, name, sequence, author, created_ms, project_id, \
             (SELECT group_concat(artifact_id) FROM deployment_artifacts WHERE deployment_id = deployments.id) \
             FROM deployments ORDER BY project_id, sequence",
        );
        for row in rows.fetch_all(&mut *reader).await? {
            let ids: Option<&str> = row.try_get(7)?;
            let ids = ids.unwrap_or("").split(',').filter(|id| !id.is_empty());
            let ids = ids
                .map(|id| id.parse().map(ArtifactId::new))
                .collect::<Result<_, _>>()
                .map_err(corrupt)?;
            records
                .deployments
                .push((ProjectId::new(row.try_get(6)?), deployment(&row)?, ids));
        }
        let rows =
            sqlx::query("SELECT id, name, sha256, role, created_ms, expires_ms, revoked_ms FROM api_keys");
        let keys = rows
            .fetch_all(&mut *reader)
            .await?
            .iter()
            .map(key)
            .collect::<Result<_, _>>()?;
        Ok((records, keys))
    }

    /// Reads the audit, newest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn audit(&self, scope: AuditScope, filter: &AuditFilter) -> Result<AuditPage, StoreError> {
        let mut select = QueryBuilder::<Sqlite>::new(AUDIT_COLUMNS);
        scope.push_to(&mut select);
        if let Some(before) = filter.before {
            select.push(" AND id < ").push_bind(before);
        }
        // Lines are numbered as time goes by, but for a clock that was set back. So a time is a number, as nearly as that, and
        // what there is between is in order. The plus keeps SQLite from sorting what the time alone finds.
        if let Some(until) = filter.until_ms {
            let Some(last) = self.audit_until(until).await? else {
                return Ok(AuditPage::default());
            };
            let end = last.saturating_add(SET_BACK_LINES);
            select.push(" AND id <= ").push_bind(end);
            select.push(" AND +at_ms < ").push_bind(until);
        }
        if let Some(since) = filter.since_ms {
            let Some(first) = self.audit_since(since).await? else {
                return Ok(AuditPage::default());
            };
            let begin = first.saturating_sub(SET_BACK_LINES);
            select.push(" AND id >= ").push_bind(begin);
            select.push(" AND +at_ms >= ").push_bind(since);
        }
        // Of a subject there are few lines, so the others are looked for among them.
        let by = if filter.subjects.is_empty() { "" } else { "+" };
        if let Some(actor) = &filter.actor {
            select
                .push(format_args!(" AND {by}actor = "))
                .push_bind(actor.clone());
        }
        if let Some(action) = &filter.action {
            select
                .push(format_args!(" AND {by}action = "))
                .push_bind(action.clone());
        }
        if !filter.subjects.is_empty() {
            let mut among = select.push(" AND subject IN (").separated(", ");
            for subject in &filter.subjects {
                among.push_bind(subject.clone());
            }
            select.push(")");
        }
        let limit = filter.limit.clamp(1, 1000);
        select
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let rows = select.build().fetch_all(&self.inner.readers).await?;
        let mut records: Vec<_> = rows.iter().map(audit_record).collect::<Result<_, _>>()?;
        let next = (records.len() > limit).then(|| {
            records.truncate(limit);
            records.last().map(|record| record.id)
        });
        Ok(AuditPage {
            records,
            next: next.flatten(),
        })
    }

    /// The line that was the last, by its time, before `until_ms`.
    async fn audit_until(&self, until_ms: i64) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query("SELECT id FROM audit WHERE at_ms < ? ORDER BY at_ms DESC LIMIT 1")
            .bind(until_ms)
            .fetch_optional(&self.inner.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The line that was the first, by its time, at `since_ms` or later.
    async fn audit_since(&self, since_ms: i64) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query("SELECT id FROM audit WHERE at_ms >= ? ORDER BY at_ms LIMIT 1")
            .bind(since_ms)
            .fetch_optional(&self.inner.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Reads on in the audit, oldest first: at most `limit` records with a number above `after`, among the next
    /// [`SEARCHED`], and none after `end`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn audit_after(
        &self,
        scope: AuditScope,
        after: i64,
        end: i64,
        limit: usize,
    ) -> Result<AuditAhead, StoreError> {
        let top = after.saturating_add(SEARCHED).min(end);
        let mut select = QueryBuilder::<Sqlite>::new(AUDIT_COLUMNS);
        scope.push_to(&mut select);
        select.push(" AND id > ").push_bind(after);
        select.push(" AND id <= ").push_bind(top);
        let limit = limit.clamp(1, 1000);
        let rows = i64::try_from(limit).unwrap_or(1000);
        select.push(" ORDER BY id LIMIT ").push_bind(rows);
        let rows = select.build().fetch_all(&self.inner.readers).await?;
        let records: Vec<_> = rows.iter().map(audit_record).collect::<Result<_, _>>()?;
        let seen = match records.last() {
            Some(last) if records.len() == limit => last.id,
            _ => top.max(after),
        };
        Ok(AuditAhead {
            records,
            seen,
            more: seen < end,
        })
    }

    /// The number of the last record of the audit; 0 where there is none.
    ///
    /// # Errors
    /// The database fails.
    pub async fn last_audit(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(id), 0) FROM audit")
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(row.try_get(0)?)
    }
}

fn project(row: &SqliteRow) -> Result<Project, StoreError> {
    let last: i64 = row.try_get(2)?;
    Ok(Project {
        id: ProjectId::new(row.try_get(0)?),
        name: row.try_get::<&str, _>(1)?.parse().map_err(corrupt)?,
        last_sequence: Sequence::new(last),
        created_ms: row.try_get(3)?,
        devices: u64::try_from(row.try_get::<i64, _>(4)?).map_err(corrupt)?,
        packages: Default::default(),
        cohorts: Default::default(),
    })
}

fn package(row: &SqliteRow) -> Result<Package, StoreError> {
    Ok(Package {
        id: PackageId::new(row.try_get(0)?),
        project: ProjectId::new(row.try_get(1)?),
        name: row.try_get::<&str, _>(2)?.parse().map_err(corrupt)?,
        description: row.try_get(3)?,
        metadata: serde_json::from_str(row.try_get(4)?).map_err(corrupt)?,
        created_ms: row.try_get(5)?,
        artifacts: Default::default(),
    })
}

fn artifact(row: &SqliteRow) -> Result<Artifact, StoreError> {
    let kind: &str = row.try_get(6)?;
    Ok(Artifact {
        id: ArtifactId::new(row.try_get(0)?),
        package_id: PackageId::new(row.try_get(1)?),
        package: row.try_get::<&str, _>(2)?.parse().map_err(corrupt)?,
        version: row.try_get::<&str, _>(3)?.parse().map_err(corrupt)?,
        size: ArtifactSize::new(u64::try_from(row.try_get::<i64, _>(4)?).map_err(corrupt)?)
            .map_err(corrupt)?,
        digest: digest(row.try_get(5)?)?,
        kind: ImageKind::from_word(kind).ok_or_else(|| corrupt(format!("image kind {kind:?}")))?,
        image_version: row.try_get(7)?,
        created_ms: row.try_get(8)?,
    })
}

fn cohort(row: &SqliteRow) -> Result<Cohort, StoreError> {
    Ok(Cohort {
        id: CohortId::new(row.try_get(0)?),
        project: ProjectId::new(row.try_get(1)?),
        name: CohortName::kept(row.try_get::<&str, _>(2)?).map_err(corrupt)?,
        created_ms: row.try_get(3)?,
        devices: u64::try_from(row.try_get::<i64, _>(4)?).map_err(corrupt)?,
        deployments: Vec::new(),
    })
}

fn deployment(row: &SqliteRow) -> Result<Deployment, StoreError> {
    let sequence: i64 = row.try_get(3)?;
    Ok(Deployment {
        id: DeploymentId::new(row.try_get(0)?),
        cohort: CohortId::new(row.try_get(1)?),
        name: DeploymentName::kept(row.try_get::<&str, _>(2)?).map_err(corrupt)?,
        sequence: Sequence::new(sequence).ok_or_else(|| corrupt(format!("sequence number {sequence}")))?,
        author: row.try_get(4)?,
        created_ms: row.try_get(5)?,
        artifacts: Vec::new(),
    })
}

fn key(row: &SqliteRow) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        key: ApiKey {
            id: KeyId::new(row.try_get(0)?),
            name: KeyName::kept(row.try_get::<&str, _>(1)?).map_err(corrupt)?,
            role: row.try_get::<&str, _>(3)?.parse().map_err(corrupt)?,
            created_ms: row.try_get(4)?,
            expires_ms: row.try_get(5)?,
        },
        hash: digest(row.try_get(2)?)?.0,
        revoked_ms: row.try_get(6)?,
    })
}

fn audit_record(row: &SqliteRow) -> Result<AuditRecord, StoreError> {
    let json = |text: Option<&str>| text.map(serde_json::from_str).transpose().map_err(corrupt);
    Ok(AuditRecord {
        id: row.try_get(0)?,
        project: row.try_get::<Option<i64>, _>(1)?.map(ProjectId::new),
        at_ms: row.try_get(2)?,
        actor: row.try_get(3)?,
        action: row.try_get(4)?,
        subject: row.try_get(5)?,
        before: json(row.try_get(6)?)?,
        after: json(row.try_get(7)?)?,
    })
}

const AUDIT_COLUMNS: &str =
    "SELECT id, project_id, at_ms, actor, action, subject, before, after FROM audit WHERE ";

/// Lines that are looked at past where a time stands in the audit, for a clock that was set back: what was written meanwhile has
/// times that were there already. More than this while a clock catches up are not all found by their time. They cost a page some
/// tens of milliseconds.
const SET_BACK_LINES: i64 = 50_000;
/// Records of the audit that a reader who goes on is moved past at a time, where it may not read them: some tens of milliseconds.
pub const SEARCHED: i64 = 50_000;

/// Rows of a statement: 7 values each, within SQLite's 32 766.
const AUDIT_ROWS: usize = 500;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_the_audit_is_filtered_by_is_found_at_once_and_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let row = |id: i64, action| AuditRow {
            project: Some(ProjectId::new(1)),
            at_ms: id,
            actor: "me".to_owned(),
            action,
            subject: "x".to_owned(),
            before: None,
            after: None,
        };
        let end = 120_500;
        let rare = [3, 50_000, 99_999, end - 7];
        let rows: Vec<_> = (1..=end)
            .map(|id| row(id, if rare.contains(&id) { "rare" } else { "often" }))
            .collect();
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.insert_audit(&rows).await.unwrap(), Some(end));
        tx.commit().await.unwrap();
        assert_eq!(store.last_audit().await.unwrap(), end);

        let pages = async |mut filter: AuditFilter| {
            let (mut ids, mut pages) = (Vec::new(), 0);
            loop {
                let page = store
                    .audit(AuditScope::Project(ProjectId::new(1)), &filter)
                    .await
                    .unwrap();
                ids.extend(page.records.iter().map(|record| record.id));
                pages += 1;
                match page.next {
                    Some(next) => filter.before = Some(next),
                    None => return (ids, pages),
                }
            }
        };
        let filter = AuditFilter {
            limit: 1000,
            ..AuditFilter::default()
        };
        let action = AuditFilter {
            action: Some("rare".to_owned()),
            ..filter.clone()
        };
        let mut found = rare;
        found.reverse();
        assert_eq!(pages(action.clone()).await, (found.to_vec(), 1));
        for (actor, subjects, ids) in [
            (Some("me"), &[][..], &found[..]),
            (Some("me"), &["x"], &found),
            (None, &["x"], &found),
            (None, &["w", "x", "y"], &found),
            (Some("you"), &[], &[]),
            (None, &["y", "z"], &[]),
        ] {
            let narrowed = AuditFilter {
                actor: actor.map(str::to_owned),
                subjects: subjects.iter().map(ToString::to_string).collect(),
                ..action.clone()
            };
            assert_eq!(pages(narrowed).await, (ids.to_vec(), 1), "{actor:?} {subjects:?}");
        }
        for (since_ms, until_ms, ids) in [
            (None, Some(3), vec![2, 1]),
            (Some(end - 1), None, vec![end, end - 1]),
            (Some(60_000), Some(60_003), vec![60_002, 60_001, 60_000]),
            (None, Some(1), vec![]),
            (Some(end + 1), None, vec![]),
            (Some(7), Some(7), vec![]),
        ] {
            let timed = AuditFilter {
                since_ms,
                until_ms,
                ..filter.clone()
            };
            assert_eq!(pages(timed).await, (ids, 1), "{since_ms:?} {until_ms:?}");
        }
        let both = AuditFilter {
            since_ms: Some(50_000),
            until_ms: Some(99_999),
            ..action.clone()
        };
        assert_eq!(pages(both).await, (vec![50_000], 1));
        let half = AuditFilter {
            until_ms: Some(60_001),
            ..filter.clone()
        };
        let (ids, count) = pages(half).await;
        assert_eq!((ids.len(), count), (60_000, 60));
        assert!(ids.iter().rev().copied().eq(1..=60_000));

        // The clock is set back, and the times come again: both of each are found.
        let mut tx = store.begin().await.unwrap();
        let again: Vec<_> = (1..=20).map(|late| row(end - 20 + late, "often")).collect();
        tx.insert_audit(&again).await.unwrap();
        tx.commit().await.unwrap();
        let twice = AuditFilter {
            since_ms: Some(end - 10),
            until_ms: Some(end - 8),
            ..filter
        };
        let found = [end + 11, end + 10, end - 9, end - 10];
        assert_eq!(pages(twice).await, (found.to_vec(), 1));
        let other = store.audit(AuditScope::Project(ProjectId::new(2)), &action).await;
        assert_eq!(other.unwrap().records, []);
    }

    #[tokio::test]
    async fn whoever_reads_on_is_moved_past_what_they_may_not_read_in_bounded_steps_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let end = 2 * SEARCHED + 500;
        let own = [3, SEARCHED + 20, end - 7];
        let rows: Vec<_> = (1..=end)
            .map(|id| AuditRow {
                project: own.contains(&id).then(|| ProjectId::new(1)),
                at_ms: id,
                actor: "me".to_owned(),
                action: "any",
                subject: "x".to_owned(),
                before: None,
                after: None,
            })
            .collect();
        let mut tx = store.begin().await.unwrap();
        tx.insert_audit(&rows).await.unwrap();
        tx.commit().await.unwrap();
        let scope = AuditScope::Project(ProjectId::new(1));
        let ids = |records: &[AuditRecord]| records.iter().map(|record| record.id).collect::<Vec<_>>();

        let mut after = 0;
        let mut steps = Vec::new();
        loop {
            let ahead = store.audit_after(scope, after, end, 2).await.unwrap();
            steps.push((ids(&ahead.records), ahead.seen));
            after = ahead.seen;
            if !ahead.more {
                break;
            }
        }
        let looked_at = [
            (vec![3], SEARCHED),
            (vec![SEARCHED + 20], 2 * SEARCHED),
            (vec![end - 7], end),
        ];
        assert_eq!(steps, looked_at);
        let full = store.audit_after(scope, 2, end, 1).await.unwrap();
        assert_eq!((ids(&full.records), full.seen, full.more), (vec![3], 3, true));
        // An id of another past stays what it is.
        let ahead = store.audit_after(scope, end + 9, end, 2).await.unwrap();
        assert_eq!((ahead.seen, ahead.more), (end + 9, false));
    }
}
