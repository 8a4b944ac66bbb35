//! The SDK's other services. The gateway does not offer them; it answers the way that costs a device nothing: what
//! is sent is accepted and dropped, what is asked for is empty. An error would do no harm either, but a device
//! whose observation was refused does not ask again for a day.
//!
//! An observation of one of them is answered 2.05 without an Observe option, and nothing is kept: there will never be
//! anything to tell. Both ports take such an answer as the resource's representation (`CONTRACT` 4), and RFC 7641 4.1
//! has it so for a server that does not add the client.

use super::routes::Neighbour;
use crate::coap::{Code, ContentFormat, MAX_PAYLOAD, Reply, Request, ResponseHead};
use crate::control::DeviceEntry;

/// Answers for a service that is not there.
pub fn answer(service: Neighbour, device: &DeviceEntry, request: &Request<'_>, reply: &mut Reply<'_>) {
    let wants_json = request.wanted_format() == Some(ContentFormat::JSON);
    match service {
        // The original says 2.03. That code promises a representation which the client has (RFC 7252 5.9.1.3), and it has
        // none; to the SDK any 2.xx is success.
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
        Neighbour::Settings if wants_json => content(reply, ContentFormat::JSON, b"{}"),
        Neighbour::Settings => content(reply, ContentFormat::CBOR, &CBOR_EMPTY_MAP),
        Neighbour::Calls if wants_json => content(reply, ContentFormat::JSON, b"\"OK\""),
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
