//! What scales with the number of devices: devices, credentials, states, sightings.

use std::collections::{HashMap, HashSet};
use std::fmt;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::certificates::{SELECT_CERTIFICATES_OF, SELECT_RAW_PUBLIC_KEYS_OF, certificate, raw_public_key};
use super::error::StoreError;
use super::seal::Sealer;
use super::sqlite::{Store, WriteTransaction, corrupt};
use crate::fleet::{
    CohortId, Credential, CredentialId, CredentialKind, Deployment, Device, DeviceId, DeviceName,
    PackageState, ProjectId, PskIdentity, PskSecret, Setback, Tag,
};

/// A device, one of its credentials, and the secret.
#[derive(Debug)]
pub struct DeviceSecret {
    /// The device.
    pub device: Device,
    /// The credential.
    pub credential: CredentialId,
    /// The secret.
    pub secret: PskSecret,
}

/// A credential to be kept.
#[derive(Debug)]
pub struct NewCredentialRow {
    /// The credential.
    pub credential: Credential,
    /// Its secret, to be sealed; only a pre-shared key has one.
    pub secret: Option<PskSecret>,
}

/// A state to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// Who reported it.
    pub device: DeviceId,
    /// What was reported.
    pub state: PackageState,
}

/// What the gateway itself saw of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sighting {
    /// When it was last heard, in milliseconds of Unix time.
    pub last_seen_ms: Option<i64>,
    /// The sequence number of the newest manifest it was sent; 0 is none.
    pub manifest_sent: u32,
    /// The sequence number of the newest manifest it acknowledged; 0 is none.
    pub manifest_acknowledged: u32,
}

/// Which devices to read.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Only the one with this name.
    pub name: Option<DeviceName>,
    /// Only those whose name starts so.
    pub prefix: Option<String>,
    /// Only those in this cohort, or in none.
    pub cohort: Option<Option<CohortId>>,
    /// Only those with this tag.
    pub tag: Option<Tag>,
    /// Only these.
    pub among: Option<Vec<DeviceId>>,
    /// Only those with one of these names.
    pub named: Option<Vec<DeviceName>>,
    /// In which order, and only those after which one.
    pub order: DeviceOrder,
    /// How many at most.
    pub limit: usize,
}

/// The order of a list of devices, and the one after which it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceOrder {
    /// By rising id.
    Id(Option<DeviceId>),
    /// By name: what a prefix wants.
    Name(Option<DeviceName>),
}

impl DeviceOrder {
    /// The id after which a list by id goes on; one by name may go on with any.
    #[must_use]
    pub fn id(&self) -> Option<DeviceId> {
        match self {
            Self::Id(after) => *after,
            Self::Name(_) => None,
        }
    }
}

impl Default for DeviceOrder {
    fn default() -> Self {
        Self::Id(None)
    }
}

/// Where a page of a list of devices ended: what the list is sorted by, so that it goes on from there whatever has become of that
/// device. As text it is an id, or a name after a dot, with which neither begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DevicePlace {
    /// In a list by id.
    Id(DeviceId),
    /// In a list by name.
    Name(DeviceName),
}

impl DevicePlace {
    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('.') {
            Some(name) => DeviceName::parse(name).ok().map(Self::Name),
            None => text.parse().ok().map(Self::Id),
        }
    }
}

impl fmt::Display for DevicePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => write!(f, ".{name}"),
        }
    }
}

/// By what devices are looked for whose keys are read.
#[derive(Debug, Clone, Copy)]
pub struct KeyFilter<'a> {
    /// Those whose name starts so, in the order of names. Whether they have the tag is said of each then.
    pub prefix: Option<&'a str>,
    /// Those with this tag, in the order of ids.
    pub tag: Option<&'a Tag>,
}

/// What a list of devices is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// The device.
    pub id: DeviceId,
    /// Its place in the list.
    pub place: DevicePlace,
    /// Whether it has the tag that was asked for, if one was.
    pub has_tag: bool,
}

/// How many devices of a cohort are where with a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressCounts {
    /// In the order pending, notified, downloading, downloaded, updating, done, failed.
    pub buckets: [u64; 7],
}

/// What figures are counted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusRow {
    /// The device.
    pub device: DeviceId,
    /// Its project.
    pub project: ProjectId,
    /// Its cohort.
    pub cohort: Option<CohortId>,
    /// Whether it may connect.
    pub enabled: bool,
    /// The sequence number of the newest manifest it acknowledged; 0 is none.
    pub acknowledged: u32,
    /// What it last reported.
    pub states: Vec<PackageState>,
}

/// As it comes out of the database.
type CensusJson = (i64, i64, Option<i64>, i64, u32, Vec<StateJson>);
type StateJson = (
    String,
    u64,
    u64,
    Option<String>,
    Option<String>,
    i64,
    Option<SetbackJson>,
);
type SetbackJson = (u64, u64, Option<String>);

impl WriteTransaction {
    /// Those of `names` that are taken in a project.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn taken_names(
        &mut self,
        project: ProjectId,
        names: impl Iterator<Item = &DeviceName>,
    ) -> Result<HashSet<String>, StoreError> {
        let names = serde_json::to_string(&names.collect::<Vec<_>>()).map_err(corrupt)?;
        let rows = sqlx::query(
            "SELECT name FROM devices WHERE project_id = ? AND name IN (SELECT value FROM json_each(?))",
        )
        .bind(project.get())
        .bind(names)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Those of `identities` that are taken in any project, with who has them.
    pub async fn taken_identities(
        &mut self,
        identities: &[PskIdentity],
    ) -> Result<HashMap<PskIdentity, (ProjectId, DeviceName)>, StoreError> {
        let mut taken = HashMap::new();
        for chunk in Chunks(identities) {
            let mut select = QueryBuilder::<Sqlite>::new(
                "SELECT c.identity, d.project_id, d.name FROM credentials c JOIN devices d ON d.id = c.device_id \
                 WHERE c.identity IN (",
            );
            let mut list = select.separated(", ");
            for identity in chunk {
                list.push_bind(identity.as_bytes().to_vec());
            }
            select.push(")");
            for row in select.build().fetch_all(self.connection()).await? {
                let identity = PskIdentity::new(row.try_get(0)?).map_err(corrupt)?;
                let name = row.try_get::<&str, _>(2)?.parse().map_err(corrupt)?;
                taken.insert(identity, (ProjectId::new(row.try_get(1)?), name));
            }
        }
        Ok(taken)
    }

    /// The devices of these names.
    pub async fn devices_named(
        &mut self,
        project: ProjectId,
        names: impl Iterator<Item = &DeviceName>,
    ) -> Result<Vec<Device>, StoreError> {
        let mut select = QueryBuilder::<Sqlite>::new(SELECT_DEVICE_COLUMNS);
        select
            .push(" FROM devices d WHERE d.project_id = ")
            .push_bind(project.get())
            .push(" AND d.name IN (SELECT value FROM json_each(")
            .push_bind(serde_json::to_string(&names.collect::<Vec<_>>()).map_err(corrupt)?)
            .push("))");
        let rows = select.build().fetch_all(self.connection()).await?;
        rows.iter().map(device).collect()
    }

    /// The devices with these ids.
    pub async fn devices(&mut self, project: ProjectId, ids: &[DeviceId]) -> Result<Vec<Device>, StoreError> {
        let mut select = QueryBuilder::<Sqlite>::new(SELECT_DEVICE_COLUMNS);
        select
            .push(" FROM devices d WHERE d.id IN (SELECT value FROM json_each(")
            .push_bind(ids_json(ids.iter()))
            .push(")) AND d.project_id = ")
            .push_bind(project.get());
        let rows = select.build().fetch_all(self.connection()).await?;
        rows.iter().map(device).collect()
    }

    /// The credentials of some devices, oldest first.
    pub async fn credentials_of(&mut self, devices: &[DeviceId]) -> Result<Vec<Credential>, StoreError> {
        let ids = ids_json(devices.iter());
        let mut found = Vec::new();
        for (select, read) in CREDENTIALS_OF {
            let rows = sqlx::query(select)
                .bind(ids.clone())
                .fetch_all(self.connection())
                .await?;
            for row in &rows {
                found.push(read(row)?);
            }
        }
        found.sort_unstable_by_key(|credential| credential.id);
        Ok(found)
    }

    /// The secrets of some credentials.
    pub async fn secrets_of(
        &mut self,
        credentials: &[CredentialId],
    ) -> Result<HashMap<CredentialId, PskSecret>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, identity, sealed FROM credentials WHERE id IN (SELECT value FROM json_each(?))",
        )
        .bind(numbers_json(credentials.iter().map(|id| id.get())))
        .fetch_all(self.connection())
        .await?;
        let sealer = &self.store.inner.sealer;
        rows.iter()
            .map(|row| {
                let secret = open(sealer, row.try_get(1)?, row.try_get(2)?)?;
                Ok((CredentialId::new(row.try_get(0)?), secret))
            })
            .collect()
    }

    /// The highest sequence number that some devices were sent, as far as it is on disk.
    pub async fn highest_sent(&mut self, devices: &[DeviceId]) -> Result<HashMap<DeviceId, u32>, StoreError> {
        let rows = sqlx::query(
            "SELECT device_id, manifest_sent FROM sightings WHERE device_id IN (SELECT value FROM json_each(?))",
        )
        .bind(ids_json(devices.iter()))
        .fetch_all(self.connection())
        .await?;
        rows.iter()
            .map(|row| Ok((DeviceId::new(row.try_get(0)?), row.try_get(1)?)))
            .collect()
    }

    /// Keeps devices and their tags.
    pub async fn insert_devices(&mut self, devices: &[Device]) -> Result<(), StoreError> {
        for chunk in Chunks(devices) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO devices (id, project_id, name, cohort_id, enabled, revision, created_ms) ",
            );
            insert.push_values(chunk, |mut row, device| {
                row.push_bind(device.id.get())
                    .push_bind(device.project.get())
                    .push_bind(device.name.to_string())
                    .push_bind(device.cohort.map(CohortId::get))
                    .push_bind(device.enabled)
                    .push_bind(device.revision)
                    .push_bind(device.created_ms);
            });
            insert.build().execute(self.connection()).await?;
        }
        self.insert_tags(devices).await
    }

    /// Keeps credentials of devices of a project, secrets sealed.
    pub async fn insert_credentials(
        &mut self,
        project: ProjectId,
        rows: &[NewCredentialRow],
    ) -> Result<(), StoreError> {
        let (mut psks, mut certificates, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            match (&row.credential.kind, &row.secret) {
                (CredentialKind::Psk(identity), Some(secret)) => {
                    psks.push((&row.credential, identity, secret))
                }
                (CredentialKind::Psk(_), None) => {
                    return Err(corrupt("a pre-shared key without its secret"));
                }
                (CredentialKind::Certificate(certificate), _) => {
                    certificates.push((row.credential.clone(), certificate.clone()));
                }
                (CredentialKind::RawPublicKey(sha256), _) => keys.push((row.credential.clone(), *sha256)),
            }
        }
        self.insert_certificates(project, &certificates).await?;
        self.insert_raw_public_keys(&keys).await?;
        for chunk in Chunks(&psks) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO credentials (id, device_id, identity, sealed, created_ms) ",
            );
            let sealer = &self.store.inner.sealer;
            insert.push_values(chunk, |mut values, (credential, identity, secret)| {
                let identity = identity.as_bytes();
                values
                    .push_bind(credential.id.get())
                    .push_bind(credential.device.get())
                    .push_bind(identity.to_vec())
                    .push_bind(sealer.seal(identity, secret.as_bytes()))
                    .push_bind(credential.created_ms);
            });
            insert.build().execute(self.connection()).await?;
        }
        Ok(())
    }

    /// The device with this id.
    pub async fn device(&mut self, project: ProjectId, id: DeviceId) -> Result<Option<Device>, StoreError> {
        let row = sqlx::query(SELECT_DEVICE_BY_ID)
            .bind(id.get())
            .fetch_optional(self.connection())
            .await?;
        let device = row.as_ref().map(device).transpose()?;
        Ok(device.filter(|device| device.project == project))
    }

    /// Keeps what has changed about a device.
    pub async fn update_device(&mut self, device: &Device) -> Result<(), StoreError> {
        sqlx::query("UPDATE devices SET cohort_id = ?, enabled = ?, revision = ? WHERE id = ?")
            .bind(device.cohort.map(CohortId::get))
            .bind(device.enabled)
            .bind(device.revision)
            .bind(device.id.get())
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM device_tags WHERE device_id = ?")
            .bind(device.id.get())
            .execute(self.connection())
            .await?;
        self.insert_tags(std::slice::from_ref(device)).await
    }

    /// Forgets a device and all that belongs to it.
    pub async fn delete_device(&mut self, id: DeviceId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM devices WHERE id = ?")
            .bind(id.get())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The credentials of a device, oldest first.
    pub async fn credentials(&mut self, device: DeviceId) -> Result<Vec<Credential>, StoreError> {
        self.credentials_of(&[device]).await
    }

    /// Forgets a pre-shared key.
    pub async fn delete_credential(&mut self, id: CredentialId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM credentials WHERE id = ?")
            .bind(id.get())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps what devices last reported. Later rows win. Reports of devices that are gone, and of more packages than a
    /// device can have, are passed over.
    pub async fn upsert_reports(&mut self, rows: &[ReportRow]) -> Result<(), StoreError> {
        for chunk in Chunks(rows) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO package_states (device_id, package, state, reason, version, target, at_ms, setback_state, setback_reason, setback_target) \
                 SELECT v.* FROM (",
            );
            insert.push_values(chunk, |mut values, row| {
                let why = row.state.setback.as_ref();
                values
                    .push_bind(row.device.get())
                    .push_bind(row.state.package.clone())
                    .push_bind(clamped(row.state.state))
                    .push_bind(clamped(row.state.reason))
                    .push_bind(row.state.version.clone())
                    .push_bind(row.state.target.clone())
                    .push_bind(row.state.at_ms)
                    .push_bind(why.map(|why| clamped(why.state)))
                    .push_bind(why.map(|why| clamped(why.reason)))
                    .push_bind(why.and_then(|why| why.target.clone()));
            });
            insert
                .push(
                    ") AS v JOIN devices d ON d.id = v.column1 WHERE (SELECT count(*) FROM package_states p \
                     WHERE p.device_id = v.column1 AND p.package <> v.column2) < ",
                )
                .push_bind(PACKAGES_OF_A_DEVICE)
                // The setback as `PackageState::follow` has it.
                .push(
                    " ON CONFLICT DO UPDATE SET state = excluded.state, reason = excluded.reason, \
                     version = excluded.version, target = excluded.target, at_ms = excluded.at_ms, \
                     setback_state = coalesce(excluded.setback_state, setback_state), \
                     setback_reason = coalesce(excluded.setback_reason, setback_reason), \
                     setback_target = iif(excluded.setback_reason IS NULL, setback_target, excluded.setback_target)",
                );
            insert.build().execute(self.connection()).await?;
        }
        Ok(())
    }

    /// Keeps what the gateway saw. Numbers only rise.
    pub async fn upsert_sightings(&mut self, rows: &[(DeviceId, Sighting)]) -> Result<(), StoreError> {
        for chunk in Chunks(rows) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO sightings (device_id, last_seen_ms, manifest_sent, manifest_acknowledged) \
                 SELECT v.* FROM (",
            );
            insert.push_values(chunk, |mut values, (device, sighting)| {
                values
                    .push_bind(device.get())
                    .push_bind(sighting.last_seen_ms.unwrap_or(0))
                    .push_bind(sighting.manifest_sent)
                    .push_bind(sighting.manifest_acknowledged);
            });
            insert.push(
                ") AS v JOIN devices d ON d.id = v.column1 WHERE true ON CONFLICT DO UPDATE SET \
                 last_seen_ms = max(last_seen_ms, excluded.last_seen_ms), \
                 manifest_sent = max(manifest_sent, excluded.manifest_sent), \
                 manifest_acknowledged = max(manifest_acknowledged, excluded.manifest_acknowledged)",
            );
            insert.build().execute(self.connection()).await?;
        }
        Ok(())
    }

    async fn insert_tags(&mut self, devices: &[Device]) -> Result<(), StoreError> {
        let tags: Vec<_> = devices
            .iter()
            .flat_map(|device| device.tags.iter().map(|tag| (device.id, tag.to_string())))
            .collect();
        for chunk in Chunks(&tags) {
            let mut insert =
                QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO device_tags (device_id, tag) ");
            insert.push_values(chunk, |mut row, (device, tag)| {
                row.push_bind(device.get()).push_bind(tag.clone());
            });
            insert.build().execute(self.connection()).await?;
        }
        Ok(())
    }
}

impl Store {
    /// The device that has this PSK identity, and the secret.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn device_by_identity(&self, identity: &[u8]) -> Result<Option<DeviceSecret>, StoreError> {
        let row = sqlx::query(
            "SELECT d.id, d.project_id, d.name, d.cohort_id, d.enabled, d.revision, d.created_ms, NULL, c.id, c.sealed \
             FROM credentials c JOIN devices d ON d.id = c.device_id WHERE c.identity = ?",
        )
        .bind(identity.to_vec())
        .fetch_optional(&self.inner.key_readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let secret = open(&self.inner.sealer, identity, row.try_get(9)?)?;
        Ok(Some(DeviceSecret {
            device: device(&row)?,
            credential: CredentialId::new(row.try_get(8)?),
            secret,
        }))
    }

    /// The device that has this credential, if a session may go on with it at this many seconds since 1970.
    pub async fn device_by_credential(
        &self,
        id: CredentialId,
        unix_s: i64,
    ) -> Result<Option<Device>, StoreError> {
        let row = sqlx::query(
            "WITH owner AS (SELECT device_id FROM credentials WHERE id = ?1 \
             UNION ALL SELECT device_id FROM certificates WHERE id = ?1 AND ca_id IS NOT NULL AND not_after_s >= ?2 \
             UNION ALL SELECT device_id FROM raw_public_keys WHERE id = ?1) \
             SELECT d.id, d.project_id, d.name, d.cohort_id, d.enabled, d.revision, d.created_ms, NULL \
             FROM owner CROSS JOIN devices d ON d.id = owner.device_id",
        )
        .bind(id.get())
        .bind(unix_s)
        .fetch_optional(&self.inner.readers)
        .await?;
        row.as_ref().map(device).transpose()
    }

    /// The device of this name.
    pub async fn device_by_name(
        &self,
        project: ProjectId,
        name: &DeviceName,
    ) -> Result<Option<Device>, StoreError> {
        let filter = DeviceFilter {
            name: Some(name.clone()),
            limit: 1,
            ..DeviceFilter::default()
        };
        Ok(self.devices(project, &filter).await?.pop())
    }

    /// The device with this id.
    pub async fn device_by_id(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        let row = sqlx::query(SELECT_DEVICE_BY_ID)
            .bind(id.get())
            .fetch_optional(&self.inner.readers)
            .await?;
        row.as_ref().map(device).transpose()
    }

    /// Devices by rising id, or by name.
    pub async fn devices(
        &self,
        project: ProjectId,
        filter: &DeviceFilter,
    ) -> Result<Vec<Device>, StoreError> {
        let mut select = select_devices(project, filter)?;
        let rows = select.build().fetch_all(&self.inner.readers).await?;
        rows.iter().map(device).collect()
    }

    /// The keys of the next devices after a place: what it takes to ask elsewhere which of them are wanted. Reads nothing but
    /// indexes.
    pub async fn device_keys(
        &self,
        project: ProjectId,
        filter: KeyFilter<'_>,
        after: Option<&DevicePlace>,
        limit: usize,
    ) -> Result<Vec<DeviceKey>, StoreError> {
        let row = select_keys(project, filter, after, limit)
            .build()
            .fetch_one(&self.inner.readers)
            .await?;
        let text: &str = row.try_get(0)?;
        if filter.prefix.is_none() {
            let ids: Vec<i64> = serde_json::from_str(text).map_err(corrupt)?;
            let keys = ids.into_iter().map(DeviceId::new).map(|id| DeviceKey {
                id,
                place: DevicePlace::Id(id),
                has_tag: true,
            });
            return Ok(keys.collect());
        }
        let named: Vec<(i64, DeviceName, i64)> = serde_json::from_str(text).map_err(corrupt)?;
        let keys = named.into_iter().map(|(id, name, has_tag)| DeviceKey {
            id: DeviceId::new(id),
            place: DevicePlace::Name(name),
            has_tag: has_tag != 0,
        });
        Ok(keys.collect())
    }

    /// How many devices have a tag, `enough` at most. Of all projects.
    pub async fn tagged(&self, tag: &Tag, enough: usize) -> Result<usize, StoreError> {
        let row = sqlx::query("SELECT count(*) FROM (SELECT 1 FROM device_tags WHERE tag = ? LIMIT ?)")
            .bind(tag.to_string())
            .bind(i64::try_from(enough).unwrap_or(i64::MAX))
            .fetch_one(&self.inner.readers)
            .await?;
        usize::try_from(row.try_get::<i64, _>(0)?).map_err(corrupt)
    }

    /// The credentials of some devices, oldest first.
    pub async fn credentials_of(&self, devices: &[DeviceId]) -> Result<Vec<Credential>, StoreError> {
        let ids = ids_json(devices.iter());
        let mut found = Vec::new();
        for (select, read) in CREDENTIALS_OF {
            let rows = sqlx::query(select)
                .bind(ids.clone())
                .fetch_all(&self.inner.readers)
                .await?;
            for row in &rows {
                found.push(read(row)?);
            }
        }
        found.sort_unstable_by_key(|credential| credential.id);
        Ok(found)
    }

    /// Those of some credentials that sessions may go on with: they are there, and a CA vouches for those that need one.
    pub async fn credentials_there(
        &self,
        credentials: &[CredentialId],
    ) -> Result<HashSet<CredentialId>, StoreError> {
        let rows = sqlx::query(
            "WITH asked AS MATERIALIZED (SELECT value AS id FROM json_each(?)) \
             SELECT id FROM credentials WHERE id IN (SELECT id FROM asked) \
             UNION ALL SELECT id FROM certificates WHERE id IN (SELECT id FROM asked) AND ca_id IS NOT NULL \
             UNION ALL SELECT id FROM raw_public_keys WHERE id IN (SELECT id FROM asked)",
        )
        .bind(numbers_json(
            credentials.iter().map(|credential| credential.get()),
        ))
        .fetch_all(&self.inner.readers)
        .await?;
        rows.iter()
            .map(|row| Ok(CredentialId::new(row.try_get(0)?)))
            .collect()
    }

    /// What some devices last reported, by package name.
    pub async fn states_of(&self, devices: &[DeviceId]) -> Result<Vec<(DeviceId, PackageState)>, StoreError> {
        let rows = sqlx::query(
            "SELECT device_id, package, state, reason, version, target, at_ms, setback_state, setback_reason, setback_target FROM package_states \
             WHERE device_id IN (SELECT value FROM json_each(?)) ORDER BY device_id, package",
        )
        .bind(ids_json(devices.iter()))
        .fetch_all(&self.inner.readers)
        .await?;
        rows.iter()
            .map(|row| Ok((DeviceId::new(row.try_get(0)?), package_state(row)?)))
            .collect()
    }

    /// What the gateway saw of some devices.
    pub async fn sightings_of(
        &self,
        devices: &[DeviceId],
    ) -> Result<HashMap<DeviceId, Sighting>, StoreError> {
        let rows = sqlx::query(
            "SELECT device_id, last_seen_ms, manifest_sent, manifest_acknowledged FROM sightings \
             WHERE device_id IN (SELECT value FROM json_each(?))",
        )
        .bind(ids_json(devices.iter()))
        .fetch_all(&self.inner.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let sighting = Sighting {
                    last_seen_ms: Some(row.try_get(1)?).filter(|&ms: &i64| ms > 0),
                    manifest_sent: row.try_get(2)?,
                    manifest_acknowledged: row.try_get(3)?,
                };
                Ok((DeviceId::new(row.try_get(0)?), sighting))
            })
            .collect()
    }

    /// What figures are counted from, of these devices.
    pub async fn census_of(&self, devices: &[DeviceId]) -> Result<Vec<CensusRow>, StoreError> {
        self.census(CENSUS_OF, ids_json(devices.iter()), i64::MAX).await
    }

    /// What figures are counted from, of the next devices of all projects after one, so many at most.
    pub async fn census_after(&self, after: DeviceId, limit: usize) -> Result<Vec<CensusRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.census(CENSUS_AFTER, after.get().to_string(), limit).await
    }

    async fn census(
        &self,
        select: &'static str,
        which: String,
        limit: i64,
    ) -> Result<Vec<CensusRow>, StoreError> {
        let row = sqlx::query(select)
            .bind(which)
            .bind(limit)
            .fetch_one(&self.inner.readers)
            .await?;
        let found: Vec<CensusJson> = serde_json::from_str(row.try_get(0)?).map_err(corrupt)?;
        let states = |states: Vec<StateJson>| {
            let states =
                states
                    .into_iter()
                    .map(
                        |(package, state, reason, version, target, at_ms, setback)| PackageState {
                            package,
                            state,
                            reason,
                            version,
                            target,
                            at_ms,
                            setback: setback.map(|(state, reason, target)| Setback {
                                state,
                                reason,
                                target,
                            }),
                        },
                    );
            states.collect()
        };
        let rows =
            found.into_iter().map(
                |(id, project, cohort, enabled, acknowledged, reported)| CensusRow {
                    device: DeviceId::new(id),
                    project: ProjectId::new(project),
                    cohort: cohort.map(CohortId::new),
                    enabled: enabled != 0,
                    acknowledged,
                    states: states(reported),
                },
            );
        Ok(rows.collect())
    }

    /// How far the devices of a deployment's cohort have come with it. Looks at each of them.
    ///
    /// A device is done when it runs the wanted version of every wanted package it reports on, and reports on one at
    /// least: devices report on what they have. What was reported before the deployment says nothing about it, except
    /// the version.
    pub async fn progress(&self, deployment: &Deployment) -> Result<ProgressCounts, StoreError> {
        let rows = sqlx::query(
            "WITH want AS MATERIALIZED ( \
                 SELECT p.name AS package, a.version FROM deployment_artifacts x \
                 JOIN artifacts a ON a.id = x.artifact_id JOIN packages p ON p.id = a.package_id \
                 WHERE x.deployment_id = ?1), \
             each AS ( \
                 SELECT count(s.package) AS reported, \
                     coalesce(sum(s.version = w.version), 0) AS running, \
                     coalesce(sum(s.version IS NOT w.version AND s.at_ms >= ?2 AND s.reason BETWEEN 2 AND 11 \
                         AND coalesce(s.target, w.version) = w.version), 0) AS failed, \
                     coalesce(max(CASE WHEN s.version IS NOT w.version AND s.target = w.version AND s.at_ms >= ?2 \
                         THEN s.state END), 0) AS state, \
                     coalesce(max(g.manifest_acknowledged), 0) >= ?3 AS notified \
                 FROM devices d CROSS JOIN want w \
                 LEFT JOIN package_states s ON s.device_id = d.id AND s.package = w.package \
                 LEFT JOIN sightings g ON g.device_id = d.id \
                 WHERE d.cohort_id = ?4 GROUP BY d.id) \
             SELECT CASE WHEN reported > 0 AND running = reported THEN 5 WHEN failed > 0 THEN 6 \
                 WHEN state = 3 THEN 4 WHEN state = 2 THEN 3 WHEN state = 1 THEN 2 WHEN notified THEN 1 ELSE 0 END, \
                 count(*) FROM each GROUP BY 1",
        )
        .bind(deployment.id.get())
        .bind(deployment.created_ms)
        .bind(deployment.sequence.get())
        .bind(deployment.cohort.get())
        .fetch_all(&self.inner.readers)
        .await?;
        let mut counts = ProgressCounts::default();
        for row in rows {
            let bucket = usize::try_from(row.try_get::<i64, _>(0)?).map_err(corrupt)?;
            if let Some(place) = counts.buckets.get_mut(bucket) {
                *place = u64::try_from(row.try_get::<i64, _>(1)?).map_err(corrupt)?;
            }
        }
        Ok(counts)
    }
}

fn select_devices(project: ProjectId, filter: &DeviceFilter) -> Result<QueryBuilder<Sqlite>, StoreError> {
    // The planner has no statistics, so it is told where to begin: with the tag, the name or the cohort if there is
    // one, and with the whole project only if there is not. A `+` keeps a column's index out of it.
    let mut select = QueryBuilder::<Sqlite>::new(SELECT_DEVICE_COLUMNS);
    match &filter.tag {
        Some(tag) if filter.among.is_some() => {
            select
                .push(" FROM devices d WHERE EXISTS (SELECT 1 FROM device_tags w WHERE w.device_id = d.id AND w.tag = ")
                .push_bind(tag.to_string())
                .push(") AND +d.project_id = ")
                .push_bind(project.get());
        }
        Some(tag) => {
            select.push(" FROM device_tags w CROSS JOIN devices d ON d.id = w.device_id WHERE w.tag = ");
            select.push_bind(tag.to_string());
            select.push(" AND +d.project_id = ").push_bind(project.get());
        }
        None if filter.cohort.is_some() && filter.name.is_none() => {
            select
                .push(" FROM devices d WHERE +d.project_id = ")
                .push_bind(project.get());
        }
        None => {
            select
                .push(" FROM devices d WHERE d.project_id = ")
                .push_bind(project.get());
        }
    }
    if let Some(name) = &filter.name {
        select.push(" AND d.name = ").push_bind(name.to_string());
    }
    let prefix = filter.prefix.as_ref().filter(|prefix| !prefix.is_empty());
    if let Some(prefix) = prefix {
        // A range, which the index on names serves, unless the devices are named.
        let name = if filter.among.is_some() {
            "+d.name"
        } else {
            "d.name"
        };
        let after = match &filter.order {
            DeviceOrder::Name(after) => after.as_ref(),
            DeviceOrder::Id(_) => None,
        };
        if !is_past(after, prefix) {
            select
                .push(" AND ")
                .push(name)
                .push(" >= ")
                .push_bind(prefix.clone());
        }
        select
            .push(" AND ")
            .push(name)
            .push(" < ")
            .push_bind(format!("{prefix}{AFTER_NAMES}"));
    }
    match filter.cohort {
        None => {}
        Some(None) => {
            select.push(" AND d.cohort_id IS NULL");
        }
        Some(Some(cohort)) => {
            select.push(" AND d.cohort_id = ").push_bind(cohort.get());
        }
    }
    if let Some(among) = &filter.among {
        let ids = ids_json(among.iter());
        select
            .push(" AND d.id IN (SELECT value FROM json_each(")
            .push_bind(ids)
            .push("))");
    }
    if let Some(named) = &filter.named {
        let names = serde_json::to_string(named).map_err(corrupt)?;
        select
            .push(" AND d.name IN (SELECT value FROM json_each(")
            .push_bind(names)
            .push("))");
    }
    let order = match (&filter.order, &filter.tag) {
        (DeviceOrder::Name(_), _) => "d.name",
        (DeviceOrder::Id(_), Some(_)) if filter.among.is_none() => "w.device_id",
        (DeviceOrder::Id(_), _) => "d.id",
    };
    let after = match &filter.order {
        DeviceOrder::Id(after) => after.map(DevicePlace::Id),
        DeviceOrder::Name(after) => after.clone().map(DevicePlace::Name),
    };
    if let Some(after) = after {
        select.push(" AND ").push(order).push(" > ");
        bind_place(&mut select, &after);
    }
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    select
        .push(" ORDER BY ")
        .push(order)
        .push(" LIMIT ")
        .push_bind(limit);
    Ok(select)
}

fn bind_place(select: &mut QueryBuilder<Sqlite>, place: &DevicePlace) {
    match place {
        DevicePlace::Id(id) => select.push_bind(id.get()),
        DevicePlace::Name(name) => select.push_bind(name.to_string()),
    };
}

/// One row of JSON for all of them, as for a census.
fn select_keys(
    project: ProjectId,
    filter: KeyFilter<'_>,
    after: Option<&DevicePlace>,
    limit: usize,
) -> QueryBuilder<Sqlite> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select = QueryBuilder::<Sqlite>::new("SELECT ");
    let order = match (filter.prefix, filter.tag) {
        (Some(prefix), tag) => {
            select.push("json_group_array(json_array(id, name, has_tag)) FROM (SELECT d.id, d.name, ");
            match tag {
                Some(tag) => select
                    .push("EXISTS (SELECT 1 FROM device_tags w WHERE w.device_id = d.id AND w.tag = ")
                    .push_bind(tag.to_string())
                    .push(")"),
                None => select.push("1"),
            };
            select
                .push(" AS has_tag FROM devices d WHERE d.project_id = ")
                .push_bind(project.get());
            // The index is entered at one lower bound, and walked from there: of two it may be the one that is far behind.
            let name = match after {
                Some(DevicePlace::Name(name)) => Some(name),
                Some(DevicePlace::Id(_)) | None => None,
            };
            if !is_past(name, prefix) {
                select.push(" AND d.name >= ").push_bind(prefix.to_owned());
            }
            select
                .push(" AND d.name < ")
                .push_bind(format!("{prefix}{AFTER_NAMES}"));
            "d.name"
        }
        (None, Some(tag)) => {
            select
                .push(
                    "json_group_array(device_id) FROM (SELECT w.device_id FROM device_tags w WHERE w.tag = ",
                )
                .push_bind(tag.to_string());
            "w.device_id"
        }
        (None, None) => {
            select
                .push("json_group_array(id) FROM (SELECT d.id FROM devices d WHERE d.project_id = ")
                .push_bind(project.get());
            "d.id"
        }
    };
    if let Some(after) = after {
        select.push(" AND ").push(order).push(" > ");
        bind_place(&mut select, after);
    }
    select
        .push(" ORDER BY ")
        .push(order)
        .push(" LIMIT ")
        .push_bind(limit)
        .push(")");
    select
}

/// Whether a place in a list by name is no earlier than all names with a prefix begin.
fn is_past(after: Option<&DeviceName>, prefix: &str) -> bool {
    after.is_some_and(|name| name.to_string().as_str() >= prefix)
}

/// A device, from `id, project_id, name, cohort_id, enabled, revision, created_ms` and its tags or nothing.
pub fn device(row: &SqliteRow) -> Result<Device, StoreError> {
    let tags: Option<&str> = row.try_get(7)?;
    let tags = tags.unwrap_or("").split(',').filter(|tag| !tag.is_empty());
    let mut tags: Vec<Tag> = tags.map(str::parse).collect::<Result<_, _>>().map_err(corrupt)?;
    tags.sort();
    Ok(Device {
        id: DeviceId::new(row.try_get(0)?),
        project: ProjectId::new(row.try_get(1)?),
        name: row.try_get::<&str, _>(2)?.parse().map_err(corrupt)?,
        cohort: row.try_get::<Option<i64>, _>(3)?.map(CohortId::new),
        tags,
        enabled: row.try_get(4)?,
        revision: row.try_get(5)?,
        created_ms: row.try_get(6)?,
    })
}

fn credential(row: &SqliteRow) -> Result<Credential, StoreError> {
    Ok(Credential {
        id: CredentialId::new(row.try_get(0)?),
        device: DeviceId::new(row.try_get(1)?),
        kind: CredentialKind::Psk(PskIdentity::new(row.try_get(2)?).map_err(corrupt)?),
        created_ms: row.try_get(3)?,
    })
}

fn package_state(row: &SqliteRow) -> Result<PackageState, StoreError> {
    Ok(PackageState {
        package: row.try_get(1)?,
        state: u64::try_from(row.try_get::<i64, _>(2)?).map_err(corrupt)?,
        reason: u64::try_from(row.try_get::<i64, _>(3)?).map_err(corrupt)?,
        version: row.try_get(4)?,
        target: row.try_get(5)?,
        at_ms: row.try_get(6)?,
        setback: setback(row)?,
    })
}

fn setback(row: &SqliteRow) -> Result<Option<Setback>, StoreError> {
    let numbers = Option::zip(
        row.try_get::<Option<i64>, _>(7)?,
        row.try_get::<Option<i64>, _>(8)?,
    );
    let Some((state, reason)) = numbers else {
        return Ok(None);
    };
    Ok(Some(Setback {
        state: u64::try_from(state).map_err(corrupt)?,
        reason: u64::try_from(reason).map_err(corrupt)?,
        target: row.try_get(9)?,
    }))
}

fn open(sealer: &Sealer, identity: &[u8], sealed: &[u8]) -> Result<PskSecret, StoreError> {
    PskSecret::new(&sealer.open_sealed(identity, sealed)?).map_err(corrupt)
}

fn ids_json<'a>(ids: impl Iterator<Item = &'a DeviceId>) -> String {
    numbers_json(ids.map(|id| id.get()))
}

/// A JSON array of numbers.
pub fn numbers_json(numbers: impl Iterator<Item = i64>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    format!("[{}]", numbers.join(","))
}

/// What the database can hold of a number.
pub fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Cuts rows into a few sizes of statement, so that the connection keeps them prepared.
pub struct Chunks<'a, T>(pub &'a [T]);

impl<'a, T> Iterator for Chunks<'a, T> {
    type Item = &'a [T];

    fn next(&mut self) -> Option<&'a [T]> {
        let size = STATEMENT_ROWS.into_iter().find(|&size| size <= self.0.len())?;
        let (chunk, rest) = self.0.split_at(size);
        self.0 = rest;
        Some(chunk)
    }
}

/// Names are ASCII: what begins like a prefix is before the prefix with this character.
const AFTER_NAMES: char = '\u{7f}';
/// 512 rows of 14 values are within SQLite's 32 766 values of a statement.
const STATEMENT_ROWS: [usize; 4] = [512, 64, 8, 1];
/// A device reports on one package, a few at most; one that makes names up must not fill the disk.
const PACKAGES_OF_A_DEVICE: i64 = 32;
const SELECT_PSKS_OF: &str = "SELECT id, device_id, identity, created_ms FROM credentials \
    WHERE device_id IN (SELECT value FROM json_each(?))";
/// How each kind of credential of some devices is read.
const CREDENTIALS_OF: [(&str, ReadCredential); 3] = [
    (SELECT_PSKS_OF, credential),
    (SELECT_CERTIFICATES_OF, certificate),
    (SELECT_RAW_PUBLIC_KEYS_OF, raw_public_key),
];
type ReadCredential = fn(&SqliteRow) -> Result<Credential, StoreError>;
/// One row of JSON for all of them: a row by itself costs a hand-over between two threads.
macro_rules! census {
    ($devices:literal) => {
        concat!(
            "SELECT json_group_array(json_array(d.id, d.project_id, d.cohort_id, d.enabled, \
             coalesce((SELECT g.manifest_acknowledged FROM sightings g WHERE g.device_id = d.id), 0), \
             json((SELECT json_group_array(json_array(s.package, s.state, s.reason, s.version, s.target, s.at_ms, \
             json(iif(s.setback_reason IS NULL, 'null', json_array(s.setback_state, s.setback_reason, s.setback_target))))) \
             FROM package_states s WHERE s.device_id = d.id)))) FROM (SELECT id, project_id, cohort_id, enabled \
             FROM devices WHERE ",
            $devices,
            " ORDER BY id LIMIT ?2) d"
        )
    };
}
const CENSUS_OF: &str = census!("id IN (SELECT value FROM json_each(?1))");
const CENSUS_AFTER: &str = census!("id > CAST(?1 AS INTEGER)");
const SELECT_DEVICE_COLUMNS: &str = "SELECT d.id, d.project_id, d.name, d.cohort_id, d.enabled, d.revision, d.created_ms, \
    (SELECT group_concat(t.tag) FROM device_tags t WHERE t.device_id = d.id)";
const SELECT_DEVICE_BY_ID: &str = "SELECT d.id, d.project_id, d.name, d.cohort_id, d.enabled, d.revision, d.created_ms, \
    (SELECT group_concat(t.tag) FROM device_tags t WHERE t.device_id = d.id) FROM devices d WHERE d.id = ?";

#[cfg(test)]
#[path = "devices_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
