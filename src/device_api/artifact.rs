//! Blocks of artifacts. Nothing is kept between two of them: (path, NUM, SZX) says it all, in any order, after any
//! restart.
//!
//! 1. A block that is in memory is answered at once.
//! 2. Any other is read by a thread that may wait for the disk, and answered then. The device's shard goes on meanwhile.
//! 3. A block that takes too long, or for which there is no room, gets no answer: its next transmission, seconds later, most
//!    likely finds it in memory. An error would cost one kind of device the whole download (`CONTRACT.md` 6).

use std::io::ErrorKind;
use std::sync::Arc;

use crate::coap::{
    Block, Code, ContentFormat, ETag, MAX_PENDING, Reply, Request, ResponseHead, Slice, Szx, block,
};
use crate::control::{BlockRead, Control, DeviceEntry, View};
use crate::fleet::Artifact;
use crate::telemetry::{self, BlockKind, GatewayEvent, Rejection, Route, StoreOperation};
use crate::transport::{Disposition, Overdue, RequestContext};

/// Answers a GET with the block asked for, of exactly the size asked for where the device has room for it.
///
/// Accept is not looked at: older devices send the manifest's format here.
pub fn answer(
    control: &Control,
    view: &View,
    context: &RequestContext<'_, Arc<DeviceEntry>>,
    (package, version): (&str, &str),
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Disposition {
    let answered = Disposition::Answered {
        route: Route::Artifact,
    };
    let Some(artifact) = view
        .project(context.device.project())
        .and_then(|project| project.artifact(package, version))
    else {
        reply.code(Code::NOT_FOUND);
        return answered;
    };
    let size = artifact.size.get();
    //= RFC 7959 section 2.4
    //# the server SHOULD use the block size indicated in the request option or a smaller size
    //
    // Exactly that size: no port of the SDK adapts to a smaller one.
    let Ok(mut slice) = block::slice(size, request.block2) else {
        reply.code(Code::BAD_REQUEST);
        return answered;
    };
    let head_of = |slice: &Slice| ResponseHead {
        etag: Some(ETag::from(artifact.digest.etag())),
        block2: slice.block2,
        size2: u32::try_from(size).ok(),
        ..ResponseHead::content(ContentFormat::OCTET_STREAM)
    };
    let mut head = head_of(&slice);
    // But a peer whose records have no room for it (record_size_limit) could take no other answer.
    let mut smaller = request.block2.unwrap_or(Block::first(Szx::MAX));
    while !reply.has_room_for(&head, slice.len())
        && let Some(block) = smaller.halved()
        && let Ok(half) = block::slice(size, Some(block))
    {
        (smaller, head, slice) = (block, head_of(&half), half);
    }
    let (start, len) = (slice.range.start, slice.len());
    let read = |block: &mut [u8]| {
        let there = control.read_now(&artifact.digest, start, block);
        there.then_some(()).ok_or_else(|| ErrorKind::WouldBlock.into())
    };
    if reply.respond_with(&head, len, read).is_ok() {
        served(control, context.device, artifact, start, len);
        return answered;
    }
    // A device that asks for ever newer blocks waits for the newest alone, and would leave its other reads in everybody's way.
    let slot = (context.waiting < MAX_PENDING).then(|| control.read_slot().ok());
    let Some(slot) = slot.flatten() else {
        telemetry::emit(GatewayEvent::RequestRejected(Rejection::QueueFull));
        if request.confirmable {
            return Disposition::NotNow;
        }
        // It comes once only.
        reply.code(Code::SERVICE_UNAVAILABLE);
        return answered;
    };
    telemetry::emit(GatewayEvent::ColdRead);
    let ticket = context.defer();
    let (control, device, artifact) = (control.clone(), Arc::clone(context.device), Arc::clone(artifact));
    slot.take(BlockRead {
        digest: artifact.digest,
        offset: start,
        len,
        done: Box::new(move |read| match read {
            Ok(bytes) => ticket.complete_with(move |reply| {
                reply.respond(&head, &bytes);
                served(&control, &device, &artifact, start, len);
            }),
            Err(error) => {
                let (id, digest) = (artifact.id, artifact.digest);
                tracing::warn!(%error, artifact = %id, %digest, "an artifact cannot be read");
                telemetry::emit(GatewayEvent::StoreFailed(StoreOperation::Blob));
                ticket.complete(Code::INTERNAL_SERVER_ERROR);
            }
        }),
    });
    Disposition::Deferred {
        route: Route::Artifact,
        overdue: Overdue::Lost,
    }
}

/// Counts a block that has been written.
fn served(control: &Control, device: &DeviceEntry, artifact: &Artifact, start: u64, len: usize) {
    let block = control.block_served(device, artifact, start, start + len as u64);
    let kind = match (block.begun, block.repeated) {
        (true, _) => BlockKind::First,
        (false, true) => BlockKind::Repeated,
        (false, false) => BlockKind::Following,
    };
    telemetry::emit(GatewayEvent::BlockServed {
        kind,
        bytes: len as u32,
    });
}
