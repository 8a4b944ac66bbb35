//! The manifest: what a device should run.
//!
//! A device without a cohort, or whose cohort has no deployment, is answered "nothing to do". It is never answered
//! with an error, after which it would not ask again for a day. The version of the representation is the
//! deployment's sequence number, 0 for nothing to do, and 0 is never pushed.

use crate::coap::{
    Block, Code, ContentFormat, ETag, MAX_PAYLOAD, ObserveRequest, PastEnd, Relation, Reply, Request,
    ResponseHead, Szx, block,
};
use crate::control::{DeviceEntry, View};
use crate::manifest::{Manifest, NOTHING_CBOR, NOTHING_JSON};
use crate::telemetry::Route;
use crate::transport::{Disposition, Notification};

/// The manifest in the form that one device reads.
#[derive(Clone, Copy, Debug)]
struct Representation<'a> {
    format: ContentFormat,
    body: &'a [u8],
    etag: Option<ETag>,
    version: u32,
}

/// Names the manifest in a relation.
pub const RESOURCE: u8 = 1;

/// Answers a GET, with or without Observe; with the version of the manifest that went out, 0 for none.
pub fn answer(
    entry: &DeviceEntry,
    view: &View,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> (Disposition, u32) {
    let route = Route::Desired;
    let observes = request.observe == Some(ObserveRequest::Register);
    let mut manifest = Representation::new(active(entry, view), request.wanted_format());
    let exists = manifest.write(request.block2, reply).is_ok();
    if observes && !(exists && reply.fits()) {
        // An observation is never refused: the device would not ask again for a day. Neither port takes a notification in
        // blocks, so a device with so little room has its manifest from polling.
        tracing::info!(
            device = %entry.name(), bytes = manifest.body.len(),
            "the manifest does not fit an observation of this device, which is told that there is nothing to do"
        );
        manifest = Representation::nothing(manifest.format);
        reply.respond(&manifest.head(), manifest.body);
    } else if !exists {
        reply.code(Code::BAD_REQUEST);
        return (Disposition::Answered { route }, 0);
    } else {
        // The size asked for, if any; but a device that has no room for it could take no other answer.
        let mut block = request.block2.unwrap_or(Block::first(Szx::MAX));
        while !reply.fits()
            && let Some(half) = block.halved()
        {
            block = half;
            let _ = manifest.write(Some(block), reply);
        }
    }
    let disposition = if observes {
        Disposition::Observing {
            route,
            resource: RESOURCE,
            version: manifest.version,
        }
    } else {
        Disposition::Answered { route }
    };
    (disposition, manifest.version)
}

/// Writes a notification if there is something to tell.
pub fn notify(
    entry: &DeviceEntry,
    view: &View,
    relation: &Relation,
    forced: bool,
    reply: &mut Reply<'_>,
) -> Notification {
    let Some(manifest) = active(entry, view) else {
        return Notification::Unchanged;
    };
    let manifest = Representation::new(Some(manifest), relation.accept);
    if manifest.version == relation.sent && !forced {
        return Notification::Unchanged;
    }
    // A notification never uses Block2, and nothing larger than a block is ever sent without.
    if manifest.body.len() <= MAX_PAYLOAD {
        reply.respond(&manifest.head(), manifest.body);
        if reply.fits() {
            return Notification::Written {
                version: manifest.version,
            };
        }
        reply.clear();
    }
    // Only JSON and devices that agreed on short records get here: a deployment whose CBOR is larger than a block is
    // refused when it is made.
    tracing::debug!(device = %entry.name(), bytes = manifest.body.len(), "manifest too large to push");
    Notification::Unchanged
}

/// What the device's cohort deploys, if it has one and that deploys something.
fn active<'v>(entry: &DeviceEntry, view: &'v View) -> Option<&'v Manifest> {
    view.manifest(entry.cohort()?).map(AsRef::as_ref)
}

impl<'a> Representation<'a> {
    /// CBOR for those who ask for it; the oldest devices ask for JSON, or for nothing.
    fn new(manifest: Option<&'a Manifest>, wanted: Option<ContentFormat>) -> Self {
        let format = match wanted {
            Some(ContentFormat::CBOR) => ContentFormat::CBOR,
            Some(_) | None => ContentFormat::JSON,
        };
        let Some(manifest) = manifest else {
            return Self::nothing(format);
        };
        let (body, etag) = if format == ContentFormat::CBOR {
            (&manifest.cbor, manifest.cbor_etag)
        } else {
            (&manifest.json, manifest.json_etag)
        };
        Self {
            format,
            body,
            etag: Some(ETag::from(etag)),
            version: manifest.sequence.get(),
        }
    }

    /// Nothing to do.
    fn nothing(format: ContentFormat) -> Self {
        let body = if format == ContentFormat::CBOR {
            NOTHING_CBOR
        } else {
            NOTHING_JSON
        };
        Self {
            format,
            body,
            etag: None,
            version: 0,
        }
    }

    /// Writes it, or the block of it that was asked for.
    fn write(&self, block2: Option<Block>, reply: &mut Reply<'_>) -> Result<(), PastEnd> {
        let slice = block::slice(self.body.len() as u64, block2)?;
        // Less than a block, or as long as a manifest in memory: both fit.
        let body = &self.body[slice.range.start as usize..slice.range.end as usize];
        let head = ResponseHead {
            block2: slice.block2,
            size2: slice.block2.and_then(|_| u32::try_from(self.body.len()).ok()),
            ..self.head()
        };
        reply.respond(&head, body);
        Ok(())
    }

    fn head(&self) -> ResponseHead {
        ResponseHead {
            observe: true,
            etag: self.etag,
            ..ResponseHead::content(self.format)
        }
    }
}
