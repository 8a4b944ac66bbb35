//! The manifest: what a device should run.
//!
//! A device without a cohort, or whose cohort has no deployment, is answered "nothing to do". It is never answered
//! with an error, after which it would not ask again for a day. The version of the representation is the
//! deployment's sequence number, 0 for nothing to do, and 0 is never pushed.

use crate::coap::{
    Code, ContentFormat, ETag, MAX_PAYLOAD, ObserveRequest, Relation, Reply, Request, ResponseHead, block,
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

/// Answers a GET, with or without Observe; with the version of the manifest that went out.
pub fn answer(
    entry: &DeviceEntry,
    view: &View,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> (Disposition, u32) {
    let manifest = Representation::new(active(entry, view), request.wanted_format());
    let Ok(slice) = block::slice(manifest.body.len() as u64, request.block2) else {
        reply.code(Code::BAD_REQUEST);
        let disposition = Disposition::Answered {
            route: Route::Desired,
        };
        return (disposition, 0);
    };
    // Less than a block, or as long as a manifest in memory: both fit.
    let body = &manifest.body[slice.range.start as usize..slice.range.end as usize];
    let head = ResponseHead {
        observe: true,
        block2: slice.block2,
        size2: slice.block2.and_then(|_| u32::try_from(manifest.body.len()).ok()),
        ..manifest.head()
    };
    reply.respond(&head, body);
    let disposition = if request.observe == Some(ObserveRequest::Register) {
        Disposition::Observing {
            route: Route::Desired,
            resource: RESOURCE,
            version: manifest.version,
        }
    } else {
        Disposition::Answered {
            route: Route::Desired,
        }
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
    // A notification never uses Block2, and nothing larger is ever sent without.
    if manifest.body.len() > MAX_PAYLOAD {
        // Only JSON gets here: a deployment whose CBOR is larger is refused when it is made.
        tracing::debug!(device = %entry.name(), bytes = manifest.body.len(), "manifest too large to push");
        return Notification::Unchanged;
    }
    reply.respond(
        &ResponseHead {
            observe: true,
            ..manifest.head()
        },
        manifest.body,
    );
    Notification::Written {
        version: manifest.version,
    }
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
            let body = if format == ContentFormat::CBOR {
                NOTHING_CBOR
            } else {
                NOTHING_JSON
            };
            return Self {
                format,
                body,
                etag: None,
                version: 0,
            };
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

    fn head(&self) -> ResponseHead {
        ResponseHead {
            etag: self.etag,
            ..ResponseHead::content(self.format)
        }
    }
}
