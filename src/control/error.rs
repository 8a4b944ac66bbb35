//! Why a command was not done.

use std::sync::Arc;

use crate::fleet::{Actor, Refusal};
use crate::store::{StoreError, UploadError};

/// Why a command was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlError {
    /// The rules of the fleet say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The bytes of an upload are not what they should be.
    #[error(transparent)]
    Upload(Arc<UploadError>),
    /// The store failed: nothing of the command was kept.
    #[error("the store failed; nothing was changed")]
    StoreFailed(#[source] Arc<StoreError>),
    /// As many uploads are under way as are taken at a time.
    #[error("{0} uploads are under way, which is as many as are taken at a time; nothing was stored")]
    TooManyUploads(usize),
    /// As many uploads of one actor are under way as one may have at a time.
    #[error(
        "{1} uploads of {0} are under way, which is as many as one key may have at a time; nothing was stored"
    )]
    TooManyOwnUploads(Actor, usize),
    /// The program is ending.
    #[error("the gateway is shutting down; nothing was changed")]
    ShuttingDown,
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        Self::StoreFailed(Arc::new(error))
    }
}

impl From<UploadError> for ControlError {
    fn from(error: UploadError) -> Self {
        Self::Upload(Arc::new(error))
    }
}
