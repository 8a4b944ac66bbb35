//! Lines of devices' logs, for their timelines. Answered at once, and before they are on disk: a device may be waiting
//! between every line and the next.

use crate::coap::{Code, ContentFormat, Reply, Request};
use crate::control::{Control, DeviceEntry};
use crate::fleet::LogLine;
use crate::manifest::{LogError, log_from_cbor, log_from_json};
use crate::telemetry::{self, GatewayEvent, Rejection};

/// Hands the line on.
pub fn answer(control: &Control, device: &DeviceEntry, request: &Request<'_>, reply: &mut Reply<'_>) {
    reply.code(match read(request) {
        Ok(line) => {
            // It was last heard with this request.
            control.logged(device, device.last_seen_ms(), line);
            Code::CHANGED
        }
        Err(code) => code,
    });
}

/// Content-Format decides. Without one, JSON is known by its first byte, which no CBOR map has.
fn read(request: &Request<'_>) -> Result<LogLine, Code> {
    let payload = &request.payload;
    let line = match request.content_format {
        Some(ContentFormat::CBOR) => log_from_cbor(payload),
        Some(ContentFormat::JSON) => log_from_json(payload),
        None if payload.first() == Some(&b'{') => log_from_json(payload),
        None => log_from_cbor(payload),
        Some(_) => return Err(Code::UNSUPPORTED_CONTENT_FORMAT),
    };
    line.map_err(|error| {
        // Never what the device wrote: the error says where it ends to make sense.
        tracing::debug!(%error, "a log line cannot be read");
        let (rejection, code) = match error {
            LogError::TooLong(_) => (Rejection::BodyTooLarge, Code::REQUEST_ENTITY_TOO_LARGE),
            LogError::NotAMap(_) | LogError::NotAText(_) | LogError::Nothing => {
                (Rejection::BadLog, Code::BAD_REQUEST)
            }
        };
        telemetry::emit(GatewayEvent::RequestRejected(rejection));
        code
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coap::Message;

    #[test]
    fn a_line_is_read_in_the_form_that_it_says_it_has() {
        let expected = LogLine {
            level: Some("info".to_owned()),
            message: "up".to_owned(),
            ..LogLine::default()
        };
        for bytes in [
            // CON and NON; {_ "level": "info", "msg": "up"} as CBOR, and without a format.
            &b"\x40\x02\0\x01\xC1\x3C\xFF\xBF\x65level\x64info\x63msg\x62up\xFF"[..],
            b"\x50\x02\0\x01\xC1\x3C\xFF\xA2\x63msg\x62up\x65level\x64info",
            b"\x40\x02\0\x01\xFF\xBF\x65level\x64info\x63msg\x62up\xFF",
            b"\x40\x02\0\x01\xC1\x32\xFF{\"msg\":\"up\",\"level\":\"info\"}",
            b"\x40\x02\0\x01\xFF{\"msg\":\"up\",\"level\":\"info\"}",
        ] {
            assert_eq!(read_bytes(bytes), Ok(expected.clone()), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_no_line_is_refused_with_the_code_that_says_why() {
        for (bytes, code) in [
            (
                &b"\x40\x02\0\x01\xC1\x2A\xFFx"[..],
                Code::UNSUPPORTED_CONTENT_FORMAT,
            ),
            (
                b"\x40\x02\0\x01\xC0\xFFplain text",
                Code::UNSUPPORTED_CONTENT_FORMAT,
            ),
            (b"\x40\x02\0\x01\xC1\x3C\xFF\xBF\x63msg", Code::BAD_REQUEST),
            (b"\x40\x02\0\x01\xC1\x3C\xFF\xA1\x63msg\x07", Code::BAD_REQUEST),
            (b"\x40\x02\0\x01\xC1\x3C\xFF\xA0", Code::BAD_REQUEST),
            (b"\x40\x02\0\x01\xC1\x3C", Code::BAD_REQUEST),
        ] {
            assert_eq!(read_bytes(bytes), Err(code), "{bytes:02x?}");
        }
        let mut long = b"\x40\x02\0\x01\xC1\x32\xFF{\"msg\":\"".to_vec();
        long.extend([b'x'; 2048]);
        long.extend(b"\"}");
        assert_eq!(read_bytes(&long), Err(Code::REQUEST_ENTITY_TOO_LARGE));
    }

    fn read_bytes(bytes: &[u8]) -> Result<LogLine, Code> {
        read(&Request::new(&Message::parse(bytes).unwrap()).unwrap())
    }
}
