//! The domain, pure, in the operator's words: packages, artifacts, cohorts, deployments, devices.
//!
//! Nothing here waits, reads a clock or knows the disk. A rule that says no returns a [`Refusal`] that carries what was
//! wrong, with which value, and what would be accepted; a rule that says yes has changed the [`Fleet`] it was asked on.
//! The writer in `control` asks on a working copy and publishes it once it is on disk.
//!
//! 1. [`Invalid`]: text becomes a name, a version, a digest, a secret, once, at the edge.
//! 2. [`Fleet`]: the small part of the state (projects, packages, cohorts, deployments) and the rules over it.
//! 3. [`Difference`]: what a deployment would change for the devices of its cohort.
//! 4. [`History`]: what was deployed to a cohort, as a table.
//! 5. [`lint()`]: what a stock device would choke on.
//! 6. [`TimelineEvent`]: what is kept of a device's past.

mod caution;
mod certificate;
mod compare;
mod credential;
mod device;
mod difference;
mod file_name;
mod history;
mod id;
mod image;
mod key;
mod lint;
mod model;
mod name;
mod number;
mod refusal;
mod rules;
mod stage;
mod timeline;
mod uses;

pub use caution::Caution;
pub use certificate::{
    CaCertificate, CertificateFacts, CertificateSubject, DeviceCa, DeviceCertificate, NewCa,
    certificate_end_s,
};
pub use compare::compare_versions;
pub use credential::{Proof, PskIdentity, PskSecret};
pub use device::{
    Credential, CredentialKind, Device, DeviceState, PackageState, Setback, reason_str, reason_words,
};
pub use difference::{Change, Changed, Difference, Direction};
pub use file_name::FileNameGuess;
pub use history::{HISTORY_COLUMNS_FROM, History, HistoryCell, HistoryRow};
pub use id::{ArtifactId, CaId, CohortId, CredentialId, DeploymentId, DeviceId, KeyId, PackageId, ProjectId};
pub use image::{IMAGE_HEAD_BYTES, ImageKind, ImageVersion};
pub use key::{Actor, ApiKey, Role};
pub use lint::{DeviceProfile, Finding, SequenceGoesBack, Severity, image_version_differs, lint};
pub use model::{Artifact, Cohort, DeployedArtifact, Deployment, Fleet, FleetRecords, Package, Project};
pub use name::{
    CaName, CohortName, DeploymentName, DeviceName, HIDDEN, KeyName, PackageName, ProjectName, Tag,
    VARIATION_SELECTORS, Version,
};
pub use number::{ArtifactSize, Digest, Sequence};
pub use refusal::{Differing, Invalid, Kind, NOT_SHOWN, Refusal, RefusalClass};
pub use rules::{
    ArtifactOutcome, ArtifactRef, CaOutcome, DeploymentOrder, MANIFEST_LIMIT, METADATA_DEPTH, NewArtifact,
    NewPackage, json_depth,
};
pub use stage::Stage;
pub use timeline::{LogLine, Moment, Strand, TimelineEntry, TimelineEvent, TimelineKind, TimelinePlace};
pub use uses::Uses;
