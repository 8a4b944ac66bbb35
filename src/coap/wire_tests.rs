#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::number;
use super::*;

/// Messages as they stand on the wire, written by hand, and what they say.
#[test]
fn messages_by_hand_read_and_write_alike() {
    struct Case {
        bytes: &'static [u8],
        kind: Kind,
        code: Code,
        mid: u16,
        token: &'static [u8],
        options: &'static [(u16, &'static [u8])],
        payload: &'static [u8],
    }
    let table = [
        // RFC 7252 figure 16: GET /temperature.
        Case {
            bytes: b"\x40\x01\x7d\x34\xbbtemperature",
            kind: Kind::Confirmable,
            code: Code::GET,
            mid: 0x7d34,
            token: b"",
            options: &[(11, b"temperature")],
            payload: b"",
        },
        // The same figure's answer.
        Case {
            bytes: b"\x60\x45\x7d\x34\xff22.3 C",
            kind: Kind::Acknowledgement,
            code: Code::CONTENT,
            mid: 0x7d34,
            token: b"",
            options: &[],
            payload: b"22.3 C",
        },
        // A device's registration: Observe 0, .u, desired, Accept 60.
        Case {
            bytes: b"\x48\x01\x00\x01\x11\x22\x33\x44\x55\x66\x77\x88\x60\x52.u\x07desired\x61\x3c",
            kind: Kind::Confirmable,
            code: Code::GET,
            mid: 1,
            token: b"\x11\x22\x33\x44\x55\x66\x77\x88",
            options: &[(6, b""), (11, b".u"), (11, b"desired"), (17, b"\x3c")],
            payload: b"",
        },
        // A device's keepalive: DELETE with eight zeros for a token.
        Case {
            bytes: b"\x48\x04\xff\xff\0\0\0\0\0\0\0\0",
            kind: Kind::Confirmable,
            code: Code::DELETE,
            mid: 0xffff,
            token: &[0; 8],
            options: &[],
            payload: b"",
        },
        // Size1 has the number 60, so its delta takes one byte more: 13 + 47.
        Case {
            bytes: b"\x61\x8d\x00\x02\x09\xd2\x2f\x40\x00",
            kind: Kind::Acknowledgement,
            code: Code::REQUEST_ENTITY_TOO_LARGE,
            mid: 2,
            token: b"\x09",
            options: &[(60, b"\x40\x00")],
            payload: b"",
        },
        // Delta 269 and 300 take two bytes more; so would lengths.
        Case {
            bytes: b"\x50\x02\x00\x03\xe0\x00\x00\xe1\x00\x1f\xaa\xff\x00",
            kind: Kind::NonConfirmable,
            code: Code::POST,
            mid: 3,
            token: b"",
            options: &[(269, b""), (569, b"\xaa")],
            payload: b"\0",
        },
        // The highest option number.
        Case {
            bytes: b"\x50\x02\x00\x03\xe0\xfe\xf2",
            kind: Kind::NonConfirmable,
            code: Code::POST,
            mid: 3,
            token: b"",
            options: &[(65535, b"")],
            payload: b"",
        },
        Case {
            bytes: b"\x70\x00\x12\x34",
            kind: Kind::Reset,
            code: Code::EMPTY,
            mid: 0x1234,
            token: b"",
            options: &[],
            payload: b"",
        },
    ];
    for case in table {
        let message = Message::parse(case.bytes).unwrap();
        assert_eq!(
            (message.kind, message.code, message.mid.0),
            (case.kind, case.code, case.mid)
        );
        assert_eq!(
            (message.token.as_bytes(), message.payload),
            (case.token, case.payload)
        );
        let options: Vec<_> = message
            .options()
            .map(|option| (option.number, option.value))
            .collect();
        assert_eq!(options, case.options);

        let mut out = Vec::new();
        let token = Token::new(case.token).unwrap();
        let mut writer = MessageWriter::new(&mut out, case.kind, case.code, MessageId(case.mid), token);
        for (number, value) in case.options {
            writer.option(*number, value);
        }
        writer.payload(case.payload);
        assert_eq!(out, case.bytes);
    }
}

#[test]
fn lengths_change_their_form_at_13_and_269() {
    for (len, header) in [
        (12, b"\xbc".as_slice()),
        (13, b"\xbd\x00"),
        (268, b"\xbd\xff"),
        (269, b"\xbe\x00\x00"),
        (1034, b"\xbe\x02\xfd"),
    ] {
        let value = vec![b'a'; len];
        let bytes = [b"\x40\x01\x00\x00", header, &value].concat();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.option(number::URI_PATH), Some(value.as_slice()));
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Kind::Confirmable, Code::GET, MessageId(0), Token::EMPTY)
            .option(number::URI_PATH, &value);
        assert_eq!(out, bytes);
    }
}

#[test]
fn rfc7252_3_unknown_versions_are_ignored() {
    for version in [0, 2, 3] {
        assert_eq!(
            Message::parse(&[version << 6, 1, 0, 0]).unwrap_err(),
            FormatError::Version
        );
    }
}

#[test]
fn rfc7252_3_token_lengths_above_8_are_format_errors() {
    for length in 9..=15 {
        let mut bytes = vec![0x40 | length, 1, 0, 0];
        bytes.extend([0; 20]);
        assert_eq!(Message::parse(&bytes).unwrap_err(), FormatError::TokenLength);
    }
}

#[test]
fn rfc7252_3_a_marker_without_payload_is_a_format_error() {
    assert_eq!(
        Message::parse(b"\x40\x01\x00\x00\xff").unwrap_err(),
        FormatError::EmptyPayload
    );
    assert_eq!(
        Message::parse(b"\x40\x01\x00\x00\xb1a\xff").unwrap_err(),
        FormatError::EmptyPayload
    );
}

#[test]
fn rfc7252_3_1_reserved_nibbles_are_format_errors() {
    for byte in (0xf0..=0xfe).chain([0x0f, 0x1f, 0xcf, 0xef]) {
        let bytes = [0x40, 1, 0, 0, byte, 0, 0, 0, 0];
        assert_eq!(
            Message::parse(&bytes).unwrap_err(),
            FormatError::ReservedNibble,
            "{byte:02x}"
        );
    }
}

#[test]
fn rfc7252_4_1_an_empty_message_is_four_bytes() {
    for bytes in [
        b"\x41\x00\x00\x00\x01".as_slice(),
        b"\x40\x00\x00\x00\xff\x01",
        b"\x40\x00\x00\x00\xb1a",
    ] {
        assert_eq!(Message::parse(bytes).unwrap_err(), FormatError::NotEmpty);
    }
    assert!(Message::parse(b"\x40\x00\x00\x00").is_ok());
}

#[test]
fn rfc7252_4_2_reserved_classes_are_refused() {
    for code in [0x20, 0x3f, 0xc0, 0xe1, 0xff] {
        assert_eq!(
            Message::parse(&[0x40, code, 0, 0]).unwrap_err(),
            FormatError::ReservedClass
        );
    }
}

#[test]
fn option_numbers_end_at_65535() {
    let bytes = b"\x40\x01\x00\x00\xe0\xfe\xf2\x10";
    assert_eq!(Message::parse(bytes).unwrap_err(), FormatError::OptionNumber);
    assert_eq!(
        Message::parse(b"\x40\x01\x00\x00\xe0\xff\xff").unwrap_err(),
        FormatError::OptionNumber
    );
}

#[test]
fn every_cut_of_a_message_is_a_message_or_an_error() {
    let whole =
        b"\x48\x01\x00\x01\x11\x22\x33\x44\x55\x66\x77\x88\x60\x52.u\x07desired\x61\x3c\xd1\x06\x16\xffx";
    let ends = [12, 13, 16, 24, 26, 29, 31];
    for len in 0..=whole.len() {
        assert_eq!(
            Message::parse(&whole[..len]).is_ok(),
            ends.contains(&len),
            "{len}"
        );
    }
}

#[test]
fn numbers_need_not_be_minimal() {
    for (bytes, value) in [
        (b"".as_slice(), Some(0)),
        (b"\0", Some(0)),
        (b"\x3c", Some(60)),
        (b"\0\x3c", Some(60)),
        (b"\0\0\0\0\0\xff", Some(255)),
        (b"\xff\xff\xff\xff", Some(u32::MAX)),
        (b"\x01\0\0\0\0", None),
    ] {
        assert_eq!(uint(bytes), value);
    }
}

#[test]
fn rfc7252_3_2_written_numbers_are_minimal() {
    for (value, bytes) in [
        (0, b"\x60".as_slice()),
        (1, b"\x61\x01"),
        (255, b"\x61\xff"),
        (256, b"\x62\x01\x00"),
        (0xff_ffff, b"\x63\xff\xff\xff"),
        (u32::MAX, b"\x64\xff\xff\xff\xff"),
    ] {
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Kind::Confirmable, Code::GET, MessageId(0), Token::EMPTY).uint(6, value);
        assert_eq!(&out[4..], bytes);
    }
}

#[test]
fn space_for_a_payload_begins_after_the_marker() {
    let mut out = vec![9];
    let writer = MessageWriter::new(
        &mut out,
        Kind::Acknowledgement,
        Code::CONTENT,
        MessageId(1),
        Token::EMPTY,
    );
    writer.payload_space(2).copy_from_slice(b"hi");
    assert_eq!(out, b"\x09\x60\x45\x00\x01\xffhi");
    let mut out = Vec::new();
    let writer = MessageWriter::new(
        &mut out,
        Kind::Acknowledgement,
        Code::CONTENT,
        MessageId(1),
        Token::EMPTY,
    );
    assert!(writer.payload_space(0).is_empty());
    assert_eq!(out, b"\x60\x45\x00\x01");
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![1..32u8, 0x40..0xc0u8];
    let token = prop::collection::vec(any::<u8>(), 0..=8);
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(any::<u8>(), 0..400)
    ];
    let number = prop_oneof![0..70u16, any::<u16>()];
    let options = prop::collection::vec((number, value), 0..8);
    let payload = prop::collection::vec(any::<u8>(), 0..80);
    (0..4u8, code, any::<u16>(), token, options, payload).prop_map(
        |(kind, code, mid, token, mut options, payload)| {
            options.sort_by_key(|(number, _)| *number);
            let mut out = Vec::new();
            let token = Token::new(&token).unwrap();
            let mut writer = MessageWriter::new(
                &mut out,
                Kind::from_bits(kind),
                Code::from_byte(code),
                MessageId(mid),
                token,
            );
            for (number, value) in &options {
                writer.option(*number, value);
            }
            writer.payload(&payload);
            out
        },
    )
}

fn rewrite(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, message.kind, message.code, message.mid, message.token);
    for option in message.options() {
        writer.option(option.number, option.value);
    }
    writer.payload(message.payload);
    out
}

/// Whether coap-lite reads bytes that are no message. Known leniencies of its decoder: it accepts any version, a payload
/// marker without a payload, an empty message with a token or more, and codes of reserved classes.
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

/// What coap-lite makes of the bytes.
fn compare_with_coap_lite(bytes: &[u8]) -> Result<(), TestCaseError> {
    use coap_lite::{MessageType, Packet};
    let (ours, theirs) = (Message::parse(bytes), Packet::from_bytes(bytes));
    let (message, packet) = match (ours, theirs) {
        (Err(_), Err(_)) => return Ok(()),
        (Err(error), Ok(_)) => {
            prop_assert!(is_leniency(error), "only coap-lite reads it; we say {error}");
            return Ok(());
        }
        (Ok(_), Err(error)) => {
            return Err(TestCaseError::fail(format!(
                "only we read it; coap-lite says {error}"
            )));
        }
        (Ok(message), Ok(packet)) => (message, packet),
    };
    let kind = match packet.header.get_type() {
        MessageType::Confirmable => Kind::Confirmable,
        MessageType::NonConfirmable => Kind::NonConfirmable,
        MessageType::Acknowledgement => Kind::Acknowledgement,
        MessageType::Reset => Kind::Reset,
    };
    prop_assert_eq!((message.kind, message.mid.0), (kind, packet.header.message_id));
    prop_assert_eq!(message.token.as_bytes(), packet.get_token());
    prop_assert_eq!(message.payload, &packet.payload[..]);
    let ours: Vec<(u16, Vec<u8>)> = message
        .options()
        .map(|option| (option.number, option.value.to_vec()))
        .collect();
    let theirs = packet
        .options()
        .flat_map(|(number, values)| values.iter().map(|value| (*number, value.clone())));
    prop_assert_eq!(ours, theirs.collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&bytes).map(|message| message.options().count());
    }

    #[test]
    fn writing_is_the_inverse_of_parsing(bytes in any_message()) {
        prop_assert_eq!(rewrite(&Message::parse(&bytes).unwrap()), bytes);
    }

    #[test]
    fn what_is_rewritten_says_the_same(bytes in any_message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = bytes;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = Message::parse(&bytes) {
            let again = rewrite(&message);
            let second = Message::parse(&again).unwrap();
            prop_assert_eq!(message.options().collect::<Vec<_>>(), second.options().collect::<Vec<_>>());
            prop_assert_eq!((message.token, message.payload), (second.token, second.payload));
        }
    }

    #[test]
    fn coap_lite_reads_messages_as_we_do(bytes in any_message()) {
        compare_with_coap_lite(&bytes)?;
    }

    #[test]
    fn coap_lite_reads_broken_messages_as_we_do_but_for_its_leniencies(
        bytes in any_message(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        compare_with_coap_lite(&bytes)?;
        bytes.truncate(cut.index(bytes.len() + 1));
        compare_with_coap_lite(&bytes)?;
    }

    #[test]
    fn coap_lite_reads_noise_as_we_do_but_for_its_leniencies(noise in prop::collection::vec(any::<u8>(), 0..40)) {
        compare_with_coap_lite(&noise)?;
        compare_with_coap_lite(&[b"\x42\x01\x00\x07\xaa\xbb".as_slice(), &noise].concat())?;
    }
}
