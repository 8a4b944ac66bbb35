//! What a stock device would choke on, said before a deployment starts.
//!
//! A device throws away a manifest whole when any part of it is outside its small fixed buffers, and tells nobody.

use super::model::{Cohort, Deployment};
use super::name::{CohortName, DeploymentName, DeviceName, PackageName, Version};
use super::number::Sequence;

/// What the devices of a cohort can take. The default is the SDK's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Components in a manifest (`CONFIG_GOLIOTH_OTA_MAX_NUM_COMPONENTS`).
    pub components: usize,
    /// Bytes of a package name.
    pub package_bytes: usize,
    /// Bytes of a version.
    pub version_bytes: usize,
    /// Bytes of a download path.
    pub uri_bytes: usize,
    /// Bytes of package name, running version and target version together in a state report.
    pub report_bytes: usize,
    /// Bytes of the slot an artifact is written to, if that is known.
    pub slot_bytes: Option<u64>,
}

impl Default for DeviceProfile {
    fn default() -> Self {
        Self {
            components: 1,
            package_bytes: 16,
            version_bytes: 16,
            uri_bytes: 39,
            report_bytes: 45,
            slot_bytes: None,
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// A device with this profile throws the manifest away or updates for ever: asks for confirmation.
    Confirm,
}

impl Severity {
    /// The word used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Confirm => "confirm",
        }
    }
}

/// One thing a device would choke on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable word for the rule.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The number and the limit, in a sentence.
    pub message: String,
}

/// Checks a deployment against what its devices can take.
#[must_use]
pub fn lint(deployment: &Deployment, profile: &DeviceProfile) -> Vec<Finding> {
    let mut findings = Vec::new();

    let components = deployment.artifacts.len();
    if components > profile.components {
        findings.push(confirm(
            "too-many-components",
            format!(
                "{components} packages; a device takes {} and rejects the manifest with more",
                profile.components
            ),
        ));
    }
    for artifact in &deployment.artifacts {
        let (package, version) = (&artifact.package, &artifact.version);
        if package.len() > profile.package_bytes {
            let (have, limit) = (package.len(), profile.package_bytes);
            findings.push(confirm(
                "package-name-long",
                format!("package name {package} is {have} bytes; a device takes {limit}"),
            ));
        }
        if version.len() > profile.version_bytes {
            let (have, limit) = (version.len(), profile.version_bytes);
            findings.push(confirm(
                "version-long",
                format!("version {package}@{version} is {have} bytes; a device takes {limit}"),
            ));
        }
        let uri = artifact.uri().len();
        if uri > profile.uri_bytes {
            let limit = profile.uri_bytes;
            findings.push(confirm(
                "uri-long",
                format!("the path of {package}@{version} is {uri} bytes; a device takes {limit}"),
            ));
        }
        // The running version is not known here; a device on its way between two such versions is the likely case.
        let report = package.len() + 2 * version.len();
        if report > profile.report_bytes {
            let limit = profile.report_bytes;
            findings.push(confirm(
                "report-long",
                format!("a report of {package}@{version} would need {report} bytes for its names; a device has {limit}"),
            ));
        }
        if let Some(slot) = profile.slot_bytes.filter(|&slot| artifact.size.get() > slot) {
            let size = artifact.size;
            findings.push(confirm(
                "slot-small",
                format!("{package}@{version} is {size} bytes; the slot of a device has {slot}"),
            ));
        }
        findings.extend(image_version_differs(
            package,
            version,
            artifact.image_version.as_deref(),
        ));
    }
    findings
}

/// What to say of an artifact whose own header gives it another version than it is stored under.
#[must_use]
pub fn image_version_differs(
    package: &PackageName,
    version: &Version,
    image: Option<&str>,
) -> Option<Finding> {
    let image = image.filter(|&image| image != version.as_str())?;
    let loops = image.split('+').next() != version.split('+').next();
    // What stands there, somebody else has written.
    let image = image.escape_debug();
    let message = format!(
        "{package}@{version} says {image} in its own header; a device that reports {image} updates for ever"
    );
    let severity = if loops {
        Severity::Confirm
    } else {
        Severity::Warning
    };
    Some(Finding {
        rule: "image-version-differs",
        severity,
        message,
    })
}

/// A device would see the sequence number fall: it was sent a manifest of a later deployment than the one of the cohort
/// that it is to join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "device {device:?} was sent sequence number {sent}, and deployment {deployment:?} of cohort {cohort:?} has {sequence}"
)]
pub struct SequenceGoesBack {
    /// The device.
    pub device: DeviceName,
    /// The highest number it was sent.
    pub sent: u32,
    /// The cohort it is to join.
    pub cohort: CohortName,
    /// What that cohort deploys.
    pub deployment: DeploymentName,
    /// Its number.
    pub sequence: Sequence,
}

impl SequenceGoesBack {
    /// The rule.
    pub const RULE: &'static str = "sequence-goes-back";

    /// Checks a move of a device, which was sent `sent` (0 is nothing), into a cohort.
    ///
    /// # Errors
    /// The number would fall.
    pub fn check(device: &DeviceName, sent: u32, to: &Cohort) -> Result<(), Self> {
        match to.active().filter(|active| active.sequence.get() < sent) {
            None => Ok(()),
            Some(active) => Err(Self {
                device: device.clone(),
                sent,
                cohort: to.name.clone(),
                deployment: active.name.clone(),
                sequence: active.sequence,
            }),
        }
    }

    /// What is shown before the move, and after it.
    #[must_use]
    pub fn finding(&self) -> Finding {
        confirm(Self::RULE, self.to_string())
    }
}

fn confirm(rule: &'static str, message: String) -> Finding {
    Finding {
        rule,
        severity: Severity::Confirm,
        message,
    }
}
