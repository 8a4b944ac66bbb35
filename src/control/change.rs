//! What is published after a commit.

use std::sync::Arc;

use crate::fleet::{CohortId, CredentialId, DeploymentId, DeviceId, ProjectId};

/// Something changed that somebody may have to act on. Sent after its commit, and after the view shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// A cohort has a new active deployment: its connected devices are to be told.
    CohortDeployed {
        /// The project.
        project: ProjectId,
        /// The cohort.
        cohort: CohortId,
        /// The deployment.
        deployment: DeploymentId,
    },
    /// A device joined a cohort: it is to be told.
    DeviceMoved(DeviceId),
    /// A device was taken out of its cohort: nothing is pushed.
    DeviceUnassigned(DeviceId),
    /// A device may no longer connect: its session is to end.
    DeviceDisabled(DeviceId),
    /// A device may connect again.
    DeviceEnabled(DeviceId),
    /// A device is gone: its session is to end.
    DeviceDeleted(DeviceId),
    /// A credential may no longer be used.
    CredentialRetired {
        /// The device it was for.
        device: DeviceId,
        /// The credential.
        credential: CredentialId,
    },
    /// Many credentials may no longer be used, each with the device it was for.
    CredentialsRetired(Arc<[(DeviceId, CredentialId)]>),
    /// An operator wants the device to be sent its manifest again.
    DevicePush(DeviceId),
    /// State reports were stored, so many.
    ReportsStored(u32),
}
