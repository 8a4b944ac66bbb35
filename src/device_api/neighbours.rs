//! The SDK's other services. The gateway does not offer them; it answers the way that costs a device nothing: what
//! is sent is accepted and dropped, what is asked for is empty. An error would do no harm either, but a device
//! whose observation was refused does not ask again for a day.

use super::routes::Neighbour;
use crate::coap::{Code, ContentFormat, MAX_PAYLOAD, Reply, Request, ResponseHead};
use crate::control::DeviceEntry;

/// Answers for a service that is not there.
pub fn answer(service: Neighbour, device: &DeviceEntry, request: &Request<'_>, reply: &mut Reply<'_>) {
    match service {
        Neighbour::Hello => {
            content(
                reply,
                ContentFormat::TEXT,
                format!("Hello {}", device.name()).as_bytes(),
            );
        }
        Neighbour::Echo if request.payload.len() > MAX_PAYLOAD => reply.code(Code::REQUEST_ENTITY_TOO_LARGE),
        Neighbour::Echo => {
            let head = ResponseHead {
                content_format: request.content_format,
                ..ResponseHead::new(Code::CHANGED)
            };
            reply.respond(&head, &request.payload);
        }
        Neighbour::Sink => reply.code(Code::CHANGED),
        Neighbour::State => {
            if request.wanted_format() == Some(ContentFormat::CBOR) {
                content(reply, ContentFormat::CBOR, &CBOR_NULL);
            } else {
                content(reply, ContentFormat::JSON, b"null");
            }
        }
        Neighbour::StateDeleted => reply.code(Code::DELETED),
        Neighbour::Settings => content(reply, ContentFormat::CBOR, &CBOR_EMPTY_MAP),
        Neighbour::Calls => content(reply, ContentFormat::CBOR, CBOR_OK),
    }
}

fn content(reply: &mut Reply<'_>, format: ContentFormat, payload: &[u8]) {
    reply.respond(&ResponseHead::content(format), payload);
}

const CBOR_NULL: [u8; 1] = [0xF6];
const CBOR_EMPTY_MAP: [u8; 1] = [0xA0];
/// The text `OK`.
const CBOR_OK: &[u8] = b"\x62OK";
