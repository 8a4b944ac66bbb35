//! Devices and what they say about themselves.

use std::borrow::Cow;

use super::certificate::DeviceCertificate;
use super::credential::{Proof, PskIdentity};
use super::id::{CohortId, CredentialId, DeviceId, ProjectId};
use super::name::{DeviceName, Tag};
use super::number::Digest;

/// A device, as an operator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: DeviceName,
    /// The one cohort it is in, if any.
    pub cohort: Option<CohortId>,
    /// Its tags, ordered.
    pub tags: Vec<Tag>,
    /// Whether it may connect.
    pub enabled: bool,
    /// How often this record was changed: the newest wins where two readers meet.
    pub revision: i64,
    /// When it was created, in milliseconds of Unix time.
    pub created_ms: i64,
}

/// A credential of a device, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The device it is for.
    pub device: DeviceId,
    /// What it is.
    pub kind: CredentialKind,
    /// When it was added, in milliseconds of Unix time.
    pub created_ms: i64,
}

/// The kinds of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialKind {
    /// A pre-shared key.
    Psk(PskIdentity),
    /// A certificate.
    Certificate(DeviceCertificate),
    /// A public key without a certificate, by the SHA-256 of its SubjectPublicKeyInfo.
    RawPublicKey(Digest),
}

impl Credential {
    /// What is looked for when a device shows it.
    #[must_use]
    pub fn proof(&self) -> Proof {
        match &self.kind {
            CredentialKind::Psk(identity) => Proof::Psk(identity.clone()),
            CredentialKind::Certificate(certificate) => Proof::Certificate(certificate.sha256),
            CredentialKind::RawPublicKey(sha256) => Proof::RawPublicKey(*sha256),
        }
    }

    /// The PSK identity, if it is a pre-shared key.
    #[must_use]
    pub fn identity(&self) -> Option<&PskIdentity> {
        match &self.kind {
            CredentialKind::Psk(identity) => Some(identity),
            CredentialKind::Certificate(_) | CredentialKind::RawPublicKey(_) => None,
        }
    }

    /// Whether somebody gave it to the device. The others are certificates that a CA vouches for, noted when they were used.
    #[must_use]
    pub fn is_given(&self) -> bool {
        match &self.kind {
            CredentialKind::Certificate(certificate) => certificate.pinned,
            CredentialKind::Psk(_) | CredentialKind::RawPublicKey(_) => true,
        }
    }
}

/// What a device last reported for one package. Values that nobody knows are kept as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageState {
    /// The package, as the device named it; it need not exist here.
    pub package: String,
    /// The state, see [`DeviceState`].
    pub state: u64,
    /// The reason for it; 0 is none.
    pub reason: u64,
    /// The version it runs, if it said so.
    pub version: Option<String>,
    /// The version it is on its way to, if it said so.
    pub target: Option<String>,
    /// When the report came, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Why an attempt failed last, as this report says or one before it.
    pub setback: Option<Setback>,
}

/// An attempt that failed, as the device reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// What it did, see [`DeviceState`].
    pub state: u64,
    /// Why it failed, see [`reason_str`].
    pub reason: u64,
    /// At which version, if it said so.
    pub target: Option<String>,
}

/// The states a device can report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// Nothing to do.
    Idle,
    /// Fetching blocks.
    Downloading,
    /// Has all of it, and it is what it should be.
    Downloaded,
    /// Writing or booting it.
    Updating,
    /// A number this program does not know.
    Other(u64),
}

impl DeviceState {
    /// The state with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Idle,
            1 => Self::Downloading,
            2 => Self::Downloaded,
            3 => Self::Updating,
            other => Self::Other(other),
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Idle => 0,
            Self::Downloading => 1,
            Self::Downloaded => 2,
            Self::Updating => 3,
            Self::Other(other) => other,
        }
    }

    /// The word for it; `other` where there is none.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Downloading => "downloading",
            Self::Downloaded => "downloaded",
            Self::Updating => "updating",
            Self::Other(_) => "other",
        }
    }
}

impl PackageState {
    /// The words for the reason; `other` where there are none.
    #[must_use]
    pub fn reason_str(&self) -> &'static str {
        reason_str(self.reason)
    }

    /// Why the last attempt failed, if it did. Who waits for the next one said so before, and says now only that it waits.
    #[must_use]
    pub fn failure(&self) -> Option<Setback> {
        if self.reason != AWAITING_RETRY {
            return self.says_why();
        }
        let before = self.setback.clone().filter(|before| {
            let targets = before.target.as_ref().zip(self.target.as_ref());
            targets.is_none_or(|(before, now)| before == now)
        });
        Some(before.unwrap_or_else(|| self.said()))
    }

    /// Why an attempt failed, if this very report says so.
    #[must_use]
    pub fn says_why(&self) -> Option<Setback> {
        let reasons = FIRMWARE_UPDATED + 1..AWAITING_RETRY;
        reasons.contains(&self.reason).then(|| self.said())
    }

    /// Takes over what was reported before it and still holds.
    pub fn follow(&mut self, before: &Self) {
        if self.setback.is_none() {
            self.setback.clone_from(&before.setback);
        }
    }

    fn said(&self) -> Setback {
        Setback {
            state: self.state,
            reason: self.reason,
            target: self.target.clone(),
        }
    }
}

const FIRMWARE_UPDATED: u64 = 1;
const AWAITING_RETRY: u64 = 11;

/// The words for the reason with this number, or the number where there are none: `reason 77`.
#[must_use]
pub fn reason_words(reason: u64) -> Cow<'static, str> {
    match reason_str(reason) {
        "other" => format!("reason {reason}").into(),
        words => words.into(),
    }
}

/// The words for the reason with this number; `other` where there are none.
#[must_use]
pub fn reason_str(reason: u64) -> &'static str {
    match reason {
        0 => "none",
        1 => "firmware-updated",
        2 => "not-enough-flash",
        3 => "out-of-ram",
        4 => "connection-lost",
        5 => "integrity-check-failure",
        6 => "unsupported-package-type",
        7 => "invalid-uri",
        8 => "firmware-update-failed",
        9 => "unsupported-protocol",
        10 => "io-error",
        11 => "awaiting-retry",
        _ => "other",
    }
}
