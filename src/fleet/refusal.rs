//! How the domain says no: in words an operator can act on.

use std::borrow::Cow;
use std::fmt;

use super::difference::Difference;
use super::id::DeploymentId;
use super::lint::SequenceGoesBack;
use super::name::{DeviceName, PackageName, Version};
use super::number::Digest;

/// In place of a value that is a secret, or whole files long.
pub const NOT_SHOWN: &str = "(not shown)";

/// A value that does not follow the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {wrong}; accepted: {accepted}")]
pub struct Invalid {
    /// What the value was meant to be: "package name".
    pub what: &'static str,
    /// The value as given, shortened if it is very long; never a secret.
    pub value: String,
    /// What is wrong with it: "contains '@'".
    pub wrong: Cow<'static, str>,
    /// What would be accepted instead.
    pub accepted: &'static str,
}

impl Invalid {
    /// An error about `value`, which is cut to a length fit for a message.
    pub fn new(
        what: &'static str,
        value: &str,
        wrong: impl Into<Cow<'static, str>>,
        accepted: &'static str,
    ) -> Self {
        let mut shown: String = value.chars().take(SHOWN_CHARS).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self {
            what,
            value: shown,
            wrong: wrong.into(),
            accepted,
        }
    }
}

/// The kinds of things an operator names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tenant.
    Project,
    /// A named thing a device runs or stores.
    Package,
    /// One version of a package.
    Artifact,
    /// Devices that should run the same set.
    Cohort,
    /// The set of a cohort.
    Deployment,
    /// A device.
    Device,
    /// What a device proves itself with.
    Credential,
    /// A CA that vouches for devices.
    DeviceCa,
    /// A key of the operator's API.
    ApiKey,
}

impl Kind {
    /// The word operators read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Package => "package",
            Self::Artifact => "artifact",
            Self::Cohort => "cohort",
            Self::Deployment => "deployment",
            Self::Device => "device",
            Self::Credential => "credential",
            Self::DeviceCa => "device CA",
            Self::ApiKey => "API key",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A part of a device that is not as a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// Which part: "cohort".
    pub field: &'static str,
    /// What it is.
    pub stored: String,
    /// What the file says.
    pub given: String,
}

/// Why the fleet did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value does not follow the rules of its kind.
    #[error(transparent)]
    Invalid(#[from] Invalid),

    /// Something named does not exist.
    #[error("there is no {kind} {value:?}; {accepted}")]
    Unknown {
        /// What was looked for.
        kind: Kind,
        /// How it was named.
        value: String,
        /// What would be accepted: existing ones, or how to make one.
        accepted: String,
    },

    /// A name is in use already.
    #[error("{kind} {value:?} exists already{}", holder(by))]
    Taken {
        /// The kind whose names are unique.
        kind: Kind,
        /// The name given.
        value: String,
        /// Who has it, where that is not plain from the name.
        by: Option<String>,
    },

    /// A PSK identity is in use already, in this project or another.
    #[error(
        "PSK identity {identity:?} is in use already{}; identities are unique over all projects",
        holder(by)
    )]
    IdentityTaken {
        /// The identity, as text.
        identity: String,
        /// The device that has it, if it is in the same project.
        by: Option<String>,
    },

    /// A certificate that was revoked is to be good again.
    #[error(
        "the certificate with SHA-256 {sha256} was revoked, which is for good; give the device another one"
    )]
    CertificateRevoked {
        /// The certificate.
        sha256: Digest,
    },

    /// The same version was uploaded before with other bytes.
    #[error(
        "artifact {package}@{version} is immutable and was stored with SHA-256 {stored}; the bytes given have SHA-256 {given}; upload them as another version"
    )]
    OtherBytes {
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// The digest of the bytes that are stored.
        stored: Digest,
        /// The digest of the bytes given.
        given: Digest,
    },

    /// Something else needs it.
    #[error("{kind} {value:?} cannot be deleted: needed by {}", needed_by(by, *more))]
    InUse {
        /// What was to be deleted.
        kind: Kind,
        /// Its name.
        value: String,
        /// Who needs it, the first few.
        by: Vec<String>,
        /// How many more there are.
        more: u64,
    },

    /// The review that led to this order has gone stale: another deployment was made since.
    #[error(
        "the cohort's active deployment is {}, not {}; look at the fresh difference and order again",
        deployment_or_none(*active), deployment_or_none(*expected)
    )]
    Stale {
        /// What the operator had looked at (`None`: no deployment).
        expected: Option<DeploymentId>,
        /// What is active (`None`: no deployment).
        active: Option<DeploymentId>,
        /// What the order would change against what is active.
        difference: Box<Difference>,
    },

    /// A deployment names no artifact at all.
    #[error("a deployment of nothing; name at least one package version")]
    EmptyDeployment,

    /// A deployment names one package more than once.
    #[error(
        "package {package} is named with {first} and with {second}; a deployment holds one version of a package"
    )]
    PackageTwice {
        /// The package.
        package: PackageName,
        /// One version.
        first: Version,
        /// The other.
        second: Version,
    },

    /// The manifest would not fit the one datagram that devices can take.
    #[error(
        "the manifest would be {bytes} bytes and devices take at most {limit}; deploy fewer packages or use shorter names"
    )]
    ManifestTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// More than the product keeps.
    #[error("{given} {what} are more than the {limit} that are accepted")]
    TooMany {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// How many were given.
        given: usize,
        /// How many are accepted.
        limit: usize,
    },

    /// The project has no sequence numbers left.
    #[error("the project has used its last sequence number; devices keep it in a signed 32-bit integer")]
    SequenceExhausted,

    /// The device would be sent a lower sequence number than it was sent before.
    #[error(
        "{0}; deploy the same set to that cohort anew, which gives it a higher number, or say that the number may go back"
    )]
    SequenceGoesBack(SequenceGoesBack),

    /// A file describes a device that exists, and differently.
    #[error(
        "device {device:?} exists already, with other content: {}",
        differing(differences)
    )]
    DeviceDiffers {
        /// The device.
        device: DeviceName,
        /// Where it differs.
        differences: Vec<Differing>,
    },

    /// A file gives a secret for an identity that the device has with another one.
    #[error(
        "device {device:?} has the PSK identity {identity:?} with another secret; secrets are not exchanged: add a credential with another identity, and retire this one"
    )]
    SecretDiffers {
        /// The device.
        device: DeviceName,
        /// The identity, as text.
        identity: String,
    },

    /// The key that the order came with is none any more.
    #[error("the API key {key:?} {how}; nothing more is done with it")]
    KeyEnded {
        /// The key's name.
        key: String,
        /// How: "was revoked".
        how: &'static str,
    },

    /// Revoking this key would leave nobody able to administer the gateway.
    #[error("API key {value:?} is the last admin key{}; create another one first", that_lasts(*others))]
    LastAdminKey {
        /// The key's name.
        value: String,
        /// There are others, which all end sooner.
        others: bool,
    },
}

impl Refusal {
    /// The family of this refusal, for whoever maps it to an answer.
    #[must_use]
    pub fn class(&self) -> RefusalClass {
        match self {
            Self::KeyEnded { .. } => RefusalClass::Unauthenticated,
            Self::Unknown { .. } => RefusalClass::Unknown,
            Self::Taken { .. }
            | Self::IdentityTaken { .. }
            | Self::CertificateRevoked { .. }
            | Self::OtherBytes { .. }
            | Self::InUse { .. }
            | Self::Stale { .. }
            | Self::SequenceGoesBack(_)
            | Self::DeviceDiffers { .. }
            | Self::SecretDiffers { .. }
            | Self::LastAdminKey { .. } => RefusalClass::Conflict,
            Self::Invalid(_)
            | Self::EmptyDeployment
            | Self::PackageTwice { .. }
            | Self::ManifestTooLarge { .. }
            | Self::TooMany { .. }
            | Self::SequenceExhausted => RefusalClass::Invalid,
        }
    }

    /// A stable word for this refusal, for problem types and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid-value",
            Self::Unknown { .. } => "not-found",
            Self::Taken { .. } => "name-taken",
            Self::IdentityTaken { .. } => "identity-taken",
            Self::CertificateRevoked { .. } => "certificate-revoked",
            Self::OtherBytes { .. } => "other-bytes",
            Self::InUse { .. } => "in-use",
            Self::Stale { .. } => "stale-review",
            Self::EmptyDeployment => "empty-deployment",
            Self::PackageTwice { .. } => "package-twice",
            Self::ManifestTooLarge { .. } => "manifest-too-large",
            Self::TooMany { .. } => "too-many",
            Self::SequenceExhausted => "sequence-exhausted",
            Self::SequenceGoesBack(_) => SequenceGoesBack::RULE,
            Self::DeviceDiffers { .. } => "device-differs",
            Self::SecretDiffers { .. } => "secret-differs",
            Self::KeyEnded { .. } => "unauthenticated",
            Self::LastAdminKey { .. } => "last-admin-key",
        }
    }
}

/// The families of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalClass {
    /// The order itself is wrong.
    Invalid,
    /// It names something that is not there.
    Unknown,
    /// It does not go with what is there.
    Conflict,
    /// Who orders it may not any more.
    Unauthenticated,
}

fn holder(by: &Option<String>) -> String {
    by.as_ref().map_or_else(String::new, |by| format!(" ({by})"))
}

fn that_lasts(others: bool) -> &'static str {
    match others {
        true => " that lasts so long: all others end sooner",
        false => "",
    }
}

fn needed_by(by: &[String], more: u64) -> String {
    let mut text = by.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn differing(differences: &[Differing]) -> String {
    let each = differences.iter().map(|differing| {
        let Differing { field, stored, given } = differing;
        format!("{field} is {stored}, not {given}")
    });
    each.collect::<Vec<_>>().join("; ")
}

fn deployment_or_none(id: Option<DeploymentId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

/// How much of a wrong value a message repeats: enough to recognise it.
const SHOWN_CHARS: usize = 80;
