//! A CoAP message from anybody, and what `coap-lite` makes of the same bytes.
//!
//! What is held: what both read says the same in both; what only one reads is one of the other's known leniencies; what is
//! read and written again says the same; and what the message layer answers by itself is a message.

use coap_lite::{MessageType, Packet};
use tessera::coap::client::Heard;
use tessera::coap::{Code, Endpoint, FormatError, Incoming, Kind, Message, MessageId, MessageWriter};

use super::setup::start;

/// The target.
pub fn coap_parser(data: &[u8]) {
    compare(data);
    // A response as a device reads it, with the SDK's short sight too.
    let _ = Heard::parse(data);
    let _ = Heard::parse_short_sighted(data, 255);
    answer(data);
}

fn compare(bytes: &[u8]) {
    let (message, packet) = match (Message::parse(bytes), Packet::from_bytes(bytes)) {
        (Err(_), Err(_)) => return,
        (Err(error), Ok(_)) => {
            assert!(is_leniency(error), "only coap-lite reads it; we say {error}");
            return;
        }
        (Ok(_), Err(error)) => panic!("only we read it; coap-lite says {error}"),
        (Ok(message), Ok(packet)) => (message, packet),
    };
    let kind = match packet.header.get_type() {
        MessageType::Confirmable => Kind::Confirmable,
        MessageType::NonConfirmable => Kind::NonConfirmable,
        MessageType::Acknowledgement => Kind::Acknowledgement,
        MessageType::Reset => Kind::Reset,
    };
    assert_eq!((message.kind, message.mid.0), (kind, packet.header.message_id));
    assert_eq!(message.code.byte(), u8::from(packet.header.code));
    assert_eq!(message.token.as_bytes(), packet.get_token());
    assert_eq!(message.payload, &packet.payload[..]);
    let ours: Vec<(u16, &[u8])> = message
        .options()
        .map(|option| (option.number, option.value))
        .collect();
    let theirs: Vec<(u16, &[u8])> = packet
        .options()
        .flat_map(|(number, values)| values.iter().map(|value| (*number, &value[..])))
        .collect();
    assert_eq!(ours, theirs);

    let mut again = Vec::new();
    let mut writer = MessageWriter::new(&mut again, message.kind, message.code, message.mid, message.token);
    for (number, value) in &ours {
        writer.option(*number, value);
    }
    writer.payload(message.payload);
    let second = Message::parse(&again).expect("what is written can be read");
    assert!(second.options().eq(message.options()) && second.payload == message.payload);
    assert!(
        again.len() <= bytes.len(),
        "what is written is as short as can be"
    );
}

/// Known leniencies of coap-lite's decoder: it accepts any version, a payload marker without a payload, an empty message
/// with a token or more, and codes of reserved classes.
fn is_leniency(error: FormatError) -> bool {
    match error {
        FormatError::Version
        | FormatError::EmptyPayload
        | FormatError::NotEmpty
        | FormatError::ReservedClass => true,
        FormatError::Truncated
        | FormatError::TokenLength
        | FormatError::ReservedNibble
        | FormatError::OptionNumber => false,
    }
}

/// The same datagram twice: the first may be handled, the second never is anything worse.
fn answer(bytes: &[u8]) {
    let mut endpoint = Endpoint::new();
    for own_mid in [MessageId(1), MessageId(2)] {
        let mut out = Vec::new();
        match endpoint.handle(start(), bytes) {
            Ok(Incoming::Request(request)) => {
                let _ = (
                    request.path().count(),
                    request.queries().count(),
                    request.etags().count(),
                );
                let _ = (request.path_after(&[".u"]), request.wanted_format());
                let mut reply = endpoint.reply(&request, own_mid, 1_700_000_000_000, &mut out);
                reply.code(Code::CONTENT);
                let written = reply.finish();
                let observing = written
                    .as_ref()
                    .is_some_and(|written| endpoint.observing(&request, written, 0, 1));
                if !observing {
                    endpoint.answered(start(), &request, written.as_ref());
                }
            }
            Ok(Incoming::Respond(automatic)) => {
                automatic.write(own_mid, &mut out);
            }
            Ok(Incoming::Acknowledged(_) | Incoming::Rejected(_) | Incoming::PingAnswered) => {
                panic!("nothing was sent that this could answer")
            }
            Ok(Incoming::Ignored(_)) | Err(_) => {}
        }
        if !out.is_empty() {
            let answer = Packet::from_bytes(&out).expect("an answer is a message");
            assert!(Message::parse(&out).is_ok());
            assert!(answer.payload.is_empty());
        }
    }
}
