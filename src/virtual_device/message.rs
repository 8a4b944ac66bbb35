//! The few requests of a device, written the way the SDK does: never an ETag, a query or a host.

use super::port::Port;
use super::report::{Cbor, Report};
use crate::coap::client::Outgoing;
use crate::coap::{Block, BlockNum, ContentFormat, Kind, MessageId, Method, ObserveRequest, Szx, Token};

/// A request of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// POST of a state report.
    Report(Report),
    /// GET with Observe 0 of the manifest.
    Observe,
    /// GET of the manifest, once a day.
    Poll,
    /// GET of one block of an artifact.
    Fetch {
        /// The component's uri.
        uri: String,
        /// Which block.
        block: BlockNum,
        /// The transfer that it is part of.
        transfer: u32,
    },
    /// DELETE of nothing.
    Keepalive,
}

/// How a build of the SDK writes its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The port.
    pub port: Port,
    /// How it writes CBOR.
    pub cbor: Cbor,
    /// Block size of its downloads.
    pub block_size: Szx,
}

/// Writes a request.
pub fn request(ask: &Ask, mid: MessageId, token: Token, dialect: Dialect) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    let mut write = |request: Outgoing<'_>| request.write(Kind::Confirmable, mid, &mut bytes);
    match ask {
        Ask::Report(report) => write(Outgoing {
            path: &[".u", "c", &report.package],
            content_format: Some(ContentFormat::CBOR),
            accept: match dialect.port {
                Port::Libcoap => None,
                Port::Zephyr => Some(ContentFormat::CBOR),
            },
            payload: &report.encode(dialect.cbor),
            ..Outgoing::new(Method::Post, token)
        }),
        Ask::Observe => write(Outgoing {
            path: &[".u", "desired"],
            observe: Some(ObserveRequest::Register),
            accept: Some(ContentFormat::CBOR),
            ..Outgoing::new(Method::Get, token)
        }),
        Ask::Poll => write(Outgoing {
            path: &[".u", "desired"],
            accept: Some(ContentFormat::CBOR),
            ..Outgoing::new(Method::Get, token)
        }),
        Ask::Fetch { uri, block, .. } => write(Outgoing {
            // Both ports split at `/` and drop empty segments.
            path: &uri
                .split('/')
                .filter(|segment| !segment.is_empty())
                .collect::<Vec<_>>(),
            accept: Some(ContentFormat::OCTET_STREAM),
            block2: Some(Block {
                num: *block,
                more: false,
                szx: dialect.block_size,
            }),
            ..Outgoing::new(Method::Get, token)
        }),
        Ask::Keepalive => write(Outgoing::new(Method::Delete, token)),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::report::{Reason, State};
    use super::*;

    #[test]
    fn a_block_request_is_byte_for_byte_what_the_sdk_sends() {
        let ask = Ask::Fetch {
            uri: "/.u/c/main@1.0.1".into(),
            block: BlockNum::new(2).unwrap(),
            transfer: 0,
        };
        let token = Token::from([1, 2, 3, 4, 5, 6, 7, 8]);
        let expected =
            b"\x48\x01\x12\x34\x01\x02\x03\x04\x05\x06\x07\x08\xB2.u\x01c\x0Amain@1.0.1\x61\x2A\x61\x26";
        assert_eq!(
            request(&ask, MessageId(0x1234), token, dialect(Port::Libcoap)),
            expected
        );
    }

    #[test]
    fn a_registration_is_byte_for_byte_what_the_sdk_sends() {
        let expected = b"\x48\x01\0\x01\x09\0\0\0\0\0\0\0\x60\x52.u\x07desired\x61\x3C";
        let token = Token::from([9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            request(&Ask::Observe, MessageId(1), token, dialect(Port::Zephyr)),
            expected
        );
    }

    #[test]
    fn a_poll_is_a_registration_without_observe() {
        let expected = b"\x48\x01\0\x01\x09\0\0\0\0\0\0\0\xB2.u\x07desired\x61\x3C";
        let token = Token::from([9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            request(&Ask::Poll, MessageId(1), token, dialect(Port::Zephyr)),
            expected
        );
    }

    #[test]
    fn only_the_zephyr_port_says_what_it_would_accept_for_a_report() {
        let report = Report {
            state: State::Idle,
            reason: Reason::Ready,
            package: "main".into(),
            version: String::new(),
            target: None,
        };
        let head = |port| {
            let ask = Ask::Report(report.clone());
            let bytes = request(&ask, MessageId(1), Token::EMPTY, dialect(port));
            bytes[4..bytes.iter().position(|byte| *byte == 0xFF).unwrap()].to_vec()
        };
        assert_eq!(head(Port::Libcoap), b"\xB2.u\x01c\x04main\x11\x3C");
        assert_eq!(head(Port::Zephyr), b"\xB2.u\x01c\x04main\x11\x3C\x51\x3C");
    }

    #[test]
    fn a_keepalive_has_neither_path_nor_payload() {
        let bytes = request(
            &Ask::Keepalive,
            MessageId(1),
            Token::from([0; 8]),
            dialect(Port::Libcoap),
        );
        assert_eq!(bytes, b"\x48\x04\x00\x01\0\0\0\0\0\0\0\0");
    }

    fn dialect(port: Port) -> Dialect {
        Dialect {
            port,
            cbor: Cbor::Stock,
            block_size: Szx::MAX,
        }
    }
}
