//! Artifact bytes on their way in, without holding up whoever carries them.

use std::io;

use bytes::BytesMut;

use super::places::Place;
use crate::fleet::Digest;
use crate::store::{StoredBlob, Upload, UploadError};

/// Bytes that are to become an artifact. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct ArtifactUpload {
    /// Absent while a thread writes, and after an error.
    upload: Option<Upload>,
    buffered: BytesMut,
    length: u64,
    limit: u64,
    _place: Place,
}

impl ArtifactUpload {
    pub(super) fn new(upload: Upload, limit: u64, place: Place) -> Self {
        Self {
            upload: Some(upload),
            buffered: BytesMut::new(),
            length: 0,
            limit,
            _place: place,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// More bytes than were allowed, or the disk fails; the upload is over then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let length = self
            .length
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if length > self.limit {
            self.upload = None;
            return Err(UploadError::TooLarge { limit: self.limit });
        }
        self.length = length;
        self.buffered.extend_from_slice(bytes);
        if self.buffered.len() >= BUFFER_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// How many bytes were taken.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether none were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) async fn finish(mut self, declared: Option<Digest>) -> Result<StoredBlob, UploadError> {
        self.flush().await?;
        let upload = self.upload.take().ok_or_else(over)?;
        on_a_thread(move || upload.finish(declared)).await
    }

    async fn flush(&mut self) -> Result<(), UploadError> {
        let mut upload = self.upload.take().ok_or_else(over)?;
        let bytes = self.buffered.split();
        let upload = on_a_thread(move || {
            upload.write(&bytes)?;
            Ok(upload)
        });
        self.upload = Some(upload.await?);
        Ok(())
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn over() -> UploadError {
    UploadError::Io(io::Error::other("the upload is over"))
}

/// A reasoned guess: long enough to be worth a change of threads.
const BUFFER_BYTES: usize = 256 * 1024;
