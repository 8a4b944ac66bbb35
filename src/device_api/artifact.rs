//! Blocks of artifacts. Nothing is kept between two of them: (path, NUM, SZX) says it all, in any order, after any
//! restart.

use std::ops::Range;

use crate::coap::{Code, ContentFormat, ETag, Reply, Request, ResponseHead, block};
use crate::control::{Control, DeviceEntry, View};
use crate::telemetry::{self, BlockKind, GatewayEvent};

/// Answers a GET with the block asked for, of exactly the size asked for.
///
/// Accept is not looked at: older devices send the manifest's format here.
pub fn answer(
    control: &Control,
    view: &View,
    device: &DeviceEntry,
    (package, version): (&str, &str),
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) {
    let Some(artifact) = view
        .project(device.project())
        .and_then(|project| project.artifact(package, version))
    else {
        reply.code(Code::NOT_FOUND);
        return;
    };
    let size = artifact.size.get();
    //= RFC 7959 section 2.4
    //# the server SHOULD use the block size indicated in the request option or a smaller size
    //
    // Exactly that size: no port of the SDK adapts to a smaller one.
    let Ok(slice) = block::slice(size, request.block2) else {
        reply.code(Code::BAD_REQUEST);
        return;
    };
    let head = ResponseHead {
        etag: Some(ETag::from(artifact.digest.etag())),
        block2: slice.block2,
        size2: u32::try_from(size).ok(),
        ..ResponseHead::content(ContentFormat::OCTET_STREAM)
    };
    let Range { start, end } = slice.range;
    // At most a block, so it fits any integer.
    let len = (end - start) as u32;
    let read = |buffer: &mut [u8]| control.read_block(&artifact.digest, start, buffer);
    match reply.respond_with(&head, len as usize, read) {
        Ok(()) => {
            control.block_served(device, artifact, start, end);
            let kind = if start == 0 {
                BlockKind::First
            } else {
                BlockKind::Following
            };
            telemetry::emit(GatewayEvent::BlockServed { kind, bytes: len });
        }
        Err(error) => {
            tracing::warn!(%error, package, version, digest = %artifact.digest, "an artifact cannot be read");
            reply.code(Code::INTERNAL_SERVER_ERROR);
        }
    }
}
