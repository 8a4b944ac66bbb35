//! Certificates and public keys of devices, and the CAs that are believed.

use std::collections::{HashMap, HashSet};

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::devices::{Chunks, clamped, device, numbers_json};
use super::error::StoreError;
use super::sqlite::{Store, WriteTransaction, corrupt, digest};
use crate::fleet::{
    CaCertificate, CaId, CaName, CertificateFacts, CertificateSubject, CohortId, Credential, CredentialId,
    CredentialKind, Device, DeviceCa, DeviceCertificate, DeviceId, DeviceName, Digest, ProjectId,
};

/// A device and the certificate that it is known by.
#[derive(Debug, Clone)]
pub struct CertificateHolder {
    /// The device.
    pub device: Device,
    /// The credential.
    pub credential: CredentialId,
    /// The CA that vouched for it when it was last used.
    pub ca: Option<CaId>,
    /// Whether an operator said that it is the device's.
    pub pinned: bool,
}

/// A certificate that is never good again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// The project in which it is not.
    pub project: ProjectId,
    /// The certificate.
    pub sha256: Digest,
    /// What its CA signed, if it was ever seen.
    pub signed: Option<Digest>,
    /// The device whose it was.
    pub device: DeviceId,
    /// The device's name.
    pub name: DeviceName,
    /// When it was revoked, in milliseconds of Unix time.
    pub at_ms: i64,
}

impl WriteTransaction {
    /// Keeps a CA.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn insert_device_ca(&mut self, ca: &DeviceCa) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO device_cas (id, project_id, name, certificate, zero_touch, cohort_id, created_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(ca.id.get())
        .bind(ca.project.get())
        .bind(ca.name.to_string())
        .bind(ca.certificate.der().to_vec())
        .bind(ca.zero_touch)
        .bind(ca.cohort.map(CohortId::get))
        .bind(ca.created_ms)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Forgets a CA, and the certificates that were only known because it vouched for them. Returns all that it vouched for, with
    /// their devices.
    pub async fn delete_device_ca(&mut self, id: CaId) -> Result<Vec<(DeviceId, CredentialId)>, StoreError> {
        let rows =
            sqlx::query("SELECT device_id, id FROM certificates WHERE ca_id = ? ORDER BY device_id, id")
                .bind(id.get())
                .fetch_all(self.connection())
                .await?;
        let vouched = rows
            .iter()
            .map(|row| Ok((DeviceId::new(row.try_get(0)?), CredentialId::new(row.try_get(1)?))))
            .collect::<Result<_, StoreError>>()?;
        for statement in [
            "DELETE FROM certificates WHERE ca_id = ? AND NOT pinned",
            "UPDATE certificates SET ca_id = NULL WHERE ca_id = ?",
            "DELETE FROM device_cas WHERE id = ?",
        ] {
            sqlx::query(statement)
                .bind(id.get())
                .execute(self.connection())
                .await?;
        }
        Ok(vouched)
    }

    /// Keeps certificates of devices of a project.
    pub async fn insert_certificates(
        &mut self,
        project: ProjectId,
        rows: &[(Credential, DeviceCertificate)],
    ) -> Result<(), StoreError> {
        for chunk in Chunks(rows) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO certificates (id, device_id, project_id, sha256, signed, ca_id, pinned, organization, common_name, \
                 serial, not_before_s, not_after_s, first_seen_ms, created_ms) ",
            );
            insert.push_values(chunk, |mut values, (credential, certificate)| {
                let facts = certificate.facts.as_ref();
                values
                    .push_bind(credential.id.get())
                    .push_bind(credential.device.get())
                    .push_bind(project.get())
                    .push_bind(certificate.sha256.0.to_vec())
                    .push_bind(certificate.signed.map(|signed| signed.0.to_vec()))
                    .push_bind(certificate.ca.map(CaId::get))
                    .push_bind(certificate.pinned)
                    .push_bind(facts.and_then(|facts| facts.subject.organization.clone()))
                    .push_bind(facts.and_then(|facts| facts.subject.common_name.clone()))
                    .push_bind(facts.map(|facts| facts.serial.clone()))
                    .push_bind(facts.map(|facts| facts.not_before_s))
                    .push_bind(facts.map(|facts| facts.not_after_s))
                    .push_bind(certificate.first_seen_ms)
                    .push_bind(credential.created_ms);
            });
            insert.build().execute(self.connection()).await?;
        }
        Ok(())
    }

    /// Keeps that a certificate was used, who vouches for it, and what it says.
    pub async fn use_certificate(
        &mut self,
        credential: CredentialId,
        ca: CaId,
        signed: Digest,
        facts: &CertificateFacts,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE certificates SET ca_id = ?, signed = ?, organization = ?, common_name = ?, serial = ?, not_before_s = ?, \
             not_after_s = ?, first_seen_ms = coalesce(first_seen_ms, ?) WHERE id = ?",
        )
        .bind(ca.get())
        .bind(signed.0.to_vec())
        .bind(facts.subject.organization.clone())
        .bind(facts.subject.common_name.clone())
        .bind(facts.serial.clone())
        .bind(facts.not_before_s)
        .bind(facts.not_after_s)
        .bind(at_ms)
        .bind(credential.get())
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Keeps public keys of devices.
    pub async fn insert_raw_public_keys(&mut self, rows: &[(Credential, Digest)]) -> Result<(), StoreError> {
        for chunk in Chunks(rows) {
            let mut insert = QueryBuilder::<Sqlite>::new(
                "INSERT INTO raw_public_keys (id, device_id, sha256, created_ms) ",
            );
            insert.push_values(chunk, |mut values, (credential, sha256)| {
                values
                    .push_bind(credential.id.get())
                    .push_bind(credential.device.get())
                    .push_bind(sha256.0.to_vec())
                    .push_bind(credential.created_ms);
            });
            insert.build().execute(self.connection()).await?;
        }
        Ok(())
    }

    /// Keeps that a certificate is never good again.
    pub async fn insert_revoked_certificate(
        &mut self,
        revoked: &RevokedCertificate,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT OR IGNORE INTO revoked_certificates VALUES (?, ?, ?, ?, ?, ?)")
            .bind(revoked.project.get())
            .bind(revoked.sha256.0.to_vec())
            .bind(revoked.signed.map(|signed| signed.0.to_vec()))
            .bind(revoked.device.get())
            .bind(revoked.name.to_string())
            .bind(revoked.at_ms)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Forgets a certificate or a public key. (Ids are unique over all kinds.)
    pub async fn delete_key_credential(&mut self, id: CredentialId) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM certificates WHERE id = ?",
            "DELETE FROM raw_public_keys WHERE id = ?",
        ] {
            sqlx::query(statement)
                .bind(id.get())
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }

    /// Those of some certificates that are devices' of a project, with the devices' names.
    pub async fn taken_certificates(
        &mut self,
        project: ProjectId,
        sha256: &[Digest],
    ) -> Result<HashMap<Digest, DeviceName>, StoreError> {
        let mut taken = HashMap::new();
        for chunk in Chunks(sha256) {
            let mut select = QueryBuilder::<Sqlite>::new(
                "SELECT c.sha256, d.name FROM certificates c JOIN devices d ON d.id = c.device_id WHERE c.project_id = ",
            );
            select.push_bind(project.get()).push(" AND c.sha256 IN (");
            push_digests(&mut select, chunk);
            for row in select.build().fetch_all(self.connection()).await? {
                taken.insert(
                    digest(row.try_get(0)?)?,
                    row.try_get::<&str, _>(1)?.parse().map_err(corrupt)?,
                );
            }
        }
        Ok(taken)
    }

    /// Those of some digests that a certificate goes by, its own or that of what was signed, which is revoked in a project.
    pub async fn revoked_certificates(
        &mut self,
        project: ProjectId,
        digests: &[Digest],
    ) -> Result<HashSet<Digest>, StoreError> {
        let mut revoked = HashSet::new();
        for column in ["sha256", "signed"] {
            for chunk in Chunks(digests) {
                let mut select = QueryBuilder::<Sqlite>::new("SELECT ");
                select
                    .push(column)
                    .push(" FROM revoked_certificates WHERE project_id = ")
                    .push_bind(project.get())
                    .push(" AND ")
                    .push(column)
                    .push(" IN (");
                push_digests(&mut select, chunk);
                for row in select.build().fetch_all(self.connection()).await? {
                    revoked.insert(digest(row.try_get(0)?)?);
                }
            }
        }
        Ok(revoked)
    }

    /// Those of some public keys that are devices' in any project, with who has them.
    pub async fn taken_raw_public_keys(
        &mut self,
        sha256: &[Digest],
    ) -> Result<HashMap<Digest, (ProjectId, DeviceName)>, StoreError> {
        let mut taken = HashMap::new();
        for chunk in Chunks(sha256) {
            let mut select = QueryBuilder::<Sqlite>::new(
                "SELECT c.sha256, d.project_id, d.name FROM raw_public_keys c JOIN devices d ON d.id = c.device_id \
                 WHERE c.sha256 IN (",
            );
            push_digests(&mut select, chunk);
            for row in select.build().fetch_all(self.connection()).await? {
                let name = row.try_get::<&str, _>(2)?.parse().map_err(corrupt)?;
                taken.insert(digest(row.try_get(0)?)?, (ProjectId::new(row.try_get(1)?), name));
            }
        }
        Ok(taken)
    }

    /// The device of a project that has a certificate, as the batch sees it.
    pub async fn certificate_holder(
        &mut self,
        project: ProjectId,
        sha256: Digest,
        signed: Digest,
    ) -> Result<Option<CertificateHolder>, StoreError> {
        let row = sqlx::query(SELECT_HOLDER)
            .bind(project.get())
            .bind(sha256.0.to_vec())
            .bind(signed.0.to_vec())
            .fetch_optional(self.connection())
            .await?;
        row.as_ref().map(holder).transpose()
    }
}

impl Store {
    /// For how many certificates a CA vouches, as far as `enough`.
    pub async fn vouched_by(&self, id: CaId, enough: u64) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT count(*) FROM (SELECT 1 FROM certificates WHERE ca_id = ? LIMIT ?)")
            .bind(id.get())
            .bind(clamped(enough))
            .fetch_one(&self.inner.readers)
            .await?;
        u64::try_from(row.try_get::<i64, _>(0)?).map_err(corrupt)
    }

    /// The device of a project that has a certificate.
    ///
    /// # Errors
    /// The database fails; so for all that follow.
    pub async fn certificate_holder(
        &self,
        project: ProjectId,
        sha256: Digest,
        signed: Digest,
    ) -> Result<Option<CertificateHolder>, StoreError> {
        let row = sqlx::query(SELECT_HOLDER)
            .bind(project.get())
            .bind(sha256.0.to_vec())
            .bind(signed.0.to_vec())
            .fetch_optional(&self.inner.key_readers)
            .await?;
        row.as_ref().map(holder).transpose()
    }

    /// Whether, and from whom, a certificate was taken in a project.
    pub async fn revoked_certificate(
        &self,
        project: ProjectId,
        sha256: Digest,
        signed: Digest,
    ) -> Result<Option<RevokedCertificate>, StoreError> {
        let row = sqlx::query(
            "SELECT device_id, device_name, at_ms FROM revoked_certificates \
             WHERE project_id = ? AND (sha256 = ? OR signed = ?) LIMIT 1",
        )
        .bind(project.get())
        .bind(sha256.0.to_vec())
        .bind(signed.0.to_vec())
        .fetch_optional(&self.inner.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(RevokedCertificate {
            project,
            sha256,
            signed: Some(signed),
            device: DeviceId::new(row.try_get(0)?),
            name: row.try_get::<&str, _>(1)?.parse().map_err(corrupt)?,
            at_ms: row.try_get(2)?,
        }))
    }

    /// The device that has a public key.
    pub async fn device_by_raw_public_key(
        &self,
        sha256: Digest,
    ) -> Result<Option<(Device, CredentialId)>, StoreError> {
        let row = sqlx::query(
            "SELECT d.id, d.project_id, d.name, d.cohort_id, d.enabled, d.revision, d.created_ms, NULL, c.id \
             FROM raw_public_keys c JOIN devices d ON d.id = c.device_id WHERE c.sha256 = ?",
        )
        .bind(sha256.0.to_vec())
        .fetch_optional(&self.inner.key_readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((device(&row)?, CredentialId::new(row.try_get(8)?))))
    }

    /// The kinds of some credentials, by the names of the API. Those that are gone have none.
    pub async fn credential_kinds(
        &self,
        credentials: &[CredentialId],
    ) -> Result<HashMap<CredentialId, &'static str>, StoreError> {
        let rows = sqlx::query(
            "WITH asked AS MATERIALIZED (SELECT value AS id FROM json_each(?)) \
             SELECT id, 0 FROM credentials WHERE id IN (SELECT id FROM asked) \
             UNION ALL SELECT id, 1 FROM certificates WHERE id IN (SELECT id FROM asked) \
             UNION ALL SELECT id, 2 FROM raw_public_keys WHERE id IN (SELECT id FROM asked)",
        )
        .bind(numbers_json(
            credentials.iter().map(|credential| credential.get()),
        ))
        .fetch_all(&self.inner.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let kind = match row.try_get::<i64, _>(1)? {
                    0 => "psk",
                    1 => "certificate",
                    _ => "rawPublicKey",
                };
                Ok((CredentialId::new(row.try_get(0)?), kind))
            })
            .collect()
    }

    /// Certificates whose validity ended after `after_s` and up to `until_s`, seconds since 1970, with their devices.
    pub async fn certificates_expired(
        &self,
        after_s: i64,
        until_s: i64,
    ) -> Result<Vec<(DeviceId, CredentialId)>, StoreError> {
        let rows =
            sqlx::query("SELECT device_id, id FROM certificates WHERE not_after_s > ? AND not_after_s <= ?")
                .bind(after_s)
                .bind(until_s)
                .fetch_all(&self.inner.readers)
                .await?;
        rows.iter()
            .map(|row| Ok((DeviceId::new(row.try_get(0)?), CredentialId::new(row.try_get(1)?))))
            .collect()
    }
}

/// A CA, from `id, project_id, name, certificate, zero_touch, cohort_id, created_ms`.
pub fn device_ca(row: &SqliteRow) -> Result<DeviceCa, StoreError> {
    Ok(DeviceCa {
        id: CaId::new(row.try_get(0)?),
        project: ProjectId::new(row.try_get(1)?),
        name: CaName::kept(row.try_get::<&str, _>(2)?).map_err(corrupt)?,
        certificate: CaCertificate::from_der(row.try_get(3)?).map_err(corrupt)?,
        zero_touch: row.try_get(4)?,
        cohort: row.try_get::<Option<i64>, _>(5)?.map(CohortId::new),
        created_ms: row.try_get(6)?,
    })
}

/// A certificate of a device, from the columns of [`SELECT_CERTIFICATES_OF`].
pub fn certificate(row: &SqliteRow) -> Result<Credential, StoreError> {
    let facts = match row.try_get::<Option<String>, _>(7)? {
        None => None,
        Some(serial) => Some(CertificateFacts {
            subject: CertificateSubject {
                organization: row.try_get(5)?,
                common_name: row.try_get(6)?,
            },
            serial,
            not_before_s: row.try_get(8)?,
            not_after_s: row.try_get(9)?,
        }),
    };
    Ok(Credential {
        id: CredentialId::new(row.try_get(0)?),
        device: DeviceId::new(row.try_get(1)?),
        kind: CredentialKind::Certificate(DeviceCertificate {
            sha256: digest(row.try_get(2)?)?,
            signed: row.try_get::<Option<&[u8]>, _>(12)?.map(digest).transpose()?,
            ca: row.try_get::<Option<i64>, _>(3)?.map(CaId::new),
            pinned: row.try_get(4)?,
            facts,
            first_seen_ms: row.try_get(10)?,
        }),
        created_ms: row.try_get(11)?,
    })
}

/// A public key of a device, from the columns of [`SELECT_RAW_PUBLIC_KEYS_OF`].
pub fn raw_public_key(row: &SqliteRow) -> Result<Credential, StoreError> {
    Ok(Credential {
        id: CredentialId::new(row.try_get(0)?),
        device: DeviceId::new(row.try_get(1)?),
        kind: CredentialKind::RawPublicKey(digest(row.try_get(2)?)?),
        created_ms: row.try_get(3)?,
    })
}

fn holder(row: &SqliteRow) -> Result<CertificateHolder, StoreError> {
    Ok(CertificateHolder {
        device: device(row)?,
        credential: CredentialId::new(row.try_get(8)?),
        ca: row.try_get::<Option<i64>, _>(9)?.map(CaId::new),
        pinned: row.try_get(10)?,
    })
}

fn push_digests(select: &mut QueryBuilder<Sqlite>, digests: &[Digest]) {
    let mut list = select.separated(", ");
    for digest in digests {
        list.push_bind(digest.0.to_vec());
    }
    select.push(")");
}

/// Certificates of some devices, given as JSON.
pub const SELECT_CERTIFICATES_OF: &str = "SELECT id, device_id, sha256, ca_id, pinned, organization, common_name, serial, \
    not_before_s, not_after_s, first_seen_ms, created_ms, signed FROM certificates \
    WHERE device_id IN (SELECT value FROM json_each(?))";
/// Public keys of some devices, given as JSON.
pub const SELECT_RAW_PUBLIC_KEYS_OF: &str = "SELECT id, device_id, sha256, created_ms FROM raw_public_keys \
    WHERE device_id IN (SELECT value FROM json_each(?))";
const SELECT_HOLDER: &str = "SELECT d.id, d.project_id, d.name, d.cohort_id, d.enabled, d.revision, d.created_ms, NULL, \
    c.id, c.ca_id, c.pinned FROM certificates c JOIN devices d ON d.id = c.device_id \
    WHERE c.project_id = ?1 AND (c.sha256 = ?2 OR c.signed = ?3) ORDER BY c.sha256 = ?2 DESC, c.id LIMIT 1";
