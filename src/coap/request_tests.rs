#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::coap::{BlockNum, MessageWriter, Szx};

fn bytes(code: Code, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, Kind::Confirmable, code, MessageId(1), Token::EMPTY);
    for (number, value) in options {
        writer.option(*number, value);
    }
    out
}

fn read<'a>(bytes: &'a [u8]) -> Result<Request<'a>, Refusal> {
    Request::new(&Message::parse(bytes).unwrap())
}

fn refusal(options: &[(u16, &[u8])]) -> Option<Code> {
    read(&bytes(Code::GET, options)).err().map(Refusal::code)
}

#[test]
fn every_option_a_device_sends_is_read() {
    let bytes = bytes(
        Code::GET,
        &[
            (number::URI_HOST, b"gateway.example"),
            (number::ETAG, &[1]),
            (number::ETAG, &[2, 3]),
            (number::OBSERVE, &[]),
            (number::URI_PORT, &[0x16, 0x34]),
            (number::URI_PATH, b".u"),
            (number::URI_PATH, b"c"),
            (number::URI_PATH, b"main@1.0.0"),
            (number::CONTENT_FORMAT, &[50]),
            (number::URI_QUERY, b"device=a"),
            (number::URI_QUERY, b"x"),
            (number::ACCEPT, &[42]),
            (number::BLOCK2, &[0x01, 0x00, 0x06]),
            (number::SIZE2, &[]),
            (number::SIZE1, &[0x10, 0x00]),
        ],
    );
    let request = read(&bytes).unwrap();
    assert_eq!(request.method, Method::Get);
    assert_eq!(request.observe, Some(ObserveRequest::Register));
    assert_eq!(request.path().collect::<Vec<_>>(), [".u", "c", "main@1.0.0"]);
    assert!(request.path_is(&[".u", "c", "main@1.0.0"]) && !request.path_is(&[".u", "c"]));
    assert_eq!(request.path_after(&[".u", "c"]).as_deref(), Some("main@1.0.0"));
    assert_eq!(request.path_after(&[".u"]).as_deref(), Some("c/main@1.0.0"));
    assert_eq!(request.path_after(&[".u", "c", "main@1.0.0"]), None);
    assert_eq!(request.path_after(&[".d"]), None);
    assert_eq!(request.queries().collect::<Vec<_>>(), ["device=a", "x"]);
    assert_eq!((request.query("device"), request.query("x")), (Some("a"), None));
    assert_eq!(request.accept, Some(ContentFormat::OCTET_STREAM));
    assert_eq!(request.content_format, Some(ContentFormat::JSON));
    let block = Block {
        num: BlockNum::new(4096).unwrap(),
        more: false,
        szx: Szx::MAX,
    };
    assert_eq!(
        (request.block2, request.block1, request.size1),
        (Some(block), None, Some(4096))
    );
    assert_eq!(
        request.etags().collect::<Vec<_>>(),
        [ETag::new(&[1]).unwrap(), ETag::new(&[2, 3]).unwrap()]
    );
}

#[test]
fn segments_are_not_merged() {
    let (one, two) = (
        bytes(Code::GET, &[(11, b"a/b")]),
        bytes(Code::GET, &[(11, b"a"), (11, b"b")]),
    );
    assert!(read(&one).unwrap().path_is(&["a/b"]));
    assert!(read(&two).unwrap().path_is(&["a", "b"]));
    assert_ne!(read(&one).unwrap().target(), read(&two).unwrap().target());
}

#[test]
fn rfc7252_5_4_1_unknown_critical_options_are_4_02_and_elective_ones_are_ignored() {
    for critical in [1, 5, 9, 13, 21, 65001] {
        assert_eq!(refusal(&[(critical, b"x")]), Some(Code::BAD_OPTION), "{critical}");
    }
    for elective in [2, 8, 10, 16, 258, 65000] {
        assert_eq!(refusal(&[(elective, b"x")]), None, "{elective}");
    }
}

#[test]
fn rfc7252_5_4_3_values_that_cannot_be_count_as_unknown_options() {
    for (number, value) in [
        (number::URI_PATH, [b'a'; 256].as_slice()),
        (number::URI_PATH, &[0xff]),
        (number::URI_QUERY, &[0xc3, 0x28]),
        (number::URI_HOST, &[]),
        (number::URI_PORT, &[1, 0, 0]),
        (number::ACCEPT, &[1, 0, 0]),
        (number::BLOCK2, &[1, 0, 0, 0]),
        (number::BLOCK1, &[1, 0, 0, 0]),
    ] {
        assert_eq!(refusal(&[(number, value)]), Some(Code::BAD_OPTION), "{number}");
    }
    let bytes = bytes(
        Code::GET,
        &[(6, &[1, 0, 0, 0, 0]), (12, &[1, 0, 0]), (60, &[1, 0, 0, 0, 0])],
    );
    let request = read(&bytes).unwrap();
    assert_eq!(
        (request.observe, request.content_format, request.size1),
        (None, None, None)
    );
}

#[test]
fn rfc7252_5_4_5_critical_options_too_many_are_4_02_and_elective_ones_ignored() {
    for critical in [
        number::URI_HOST,
        number::URI_PORT,
        number::ACCEPT,
        number::BLOCK2,
        number::BLOCK1,
    ] {
        assert_eq!(
            refusal(&[(critical, b"\x01"), (critical, b"\x01")]),
            Some(Code::BAD_OPTION),
            "{critical}"
        );
    }
    let twice = bytes(
        Code::GET,
        &[
            (6, &[1]),
            (6, &[]),
            (12, &[60]),
            (12, &[50]),
            (60, &[1]),
            (60, &[2]),
        ],
    );
    let request = read(&twice).unwrap();
    assert_eq!(request.observe, Some(ObserveRequest::Deregister));
    assert_eq!(request.content_format, Some(ContentFormat::CBOR));
    assert_eq!(request.size1, Some(1));
}

#[test]
fn rfc7252_5_8_unknown_methods_are_4_05() {
    for code in [5, 6, 7, 8, 31] {
        assert_eq!(
            read(&bytes(Code::from_byte(code), &[])).unwrap_err().code(),
            Code::METHOD_NOT_ALLOWED
        );
    }
}

#[test]
fn rfc7252_5_10_2_we_are_no_proxy() {
    assert_eq!(
        refusal(&[(number::PROXY_URI, b"coap://x")]),
        Some(Code::PROXYING_NOT_SUPPORTED)
    );
    assert_eq!(
        refusal(&[(number::PROXY_SCHEME, b"http")]),
        Some(Code::PROXYING_NOT_SUPPORTED)
    );
}

#[test]
fn rfc7959_2_2_reserved_size_is_4_00() {
    assert_eq!(refusal(&[(number::BLOCK2, &[0x07])]), Some(Code::BAD_REQUEST));
    assert_eq!(refusal(&[(number::BLOCK1, &[0x17])]), Some(Code::BAD_REQUEST));
}

#[test]
fn contract_2_numbers_with_leading_zeros_are_read() {
    let bytes = bytes(Code::GET, &[(6, &[0]), (17, &[0, 60]), (23, &[0, 0, 0x16])]);
    let request = read(&bytes).unwrap();
    assert_eq!(request.observe, Some(ObserveRequest::Register));
    assert_eq!(request.accept, Some(ContentFormat::CBOR));
    assert_eq!(request.block2.unwrap().num.get(), 1);
}

#[test]
fn contract_7_the_oldest_sdks_name_the_wanted_format_in_content_format() {
    let old = bytes(Code::GET, &[(12, &[50])]);
    assert_eq!(read(&old).unwrap().wanted_format(), Some(ContentFormat::JSON));
    let both = bytes(Code::POST, &[(12, &[50]), (17, &[60])]);
    assert_eq!(read(&both).unwrap().wanted_format(), Some(ContentFormat::CBOR));
    assert_eq!(read(&bytes(Code::GET, &[])).unwrap().wanted_format(), None);
}

#[test]
fn rfc7641_2_other_observe_values_mean_nothing() {
    for value in [2, 255] {
        assert_eq!(read(&bytes(Code::GET, &[(6, &[value])])).unwrap().observe, None);
    }
}

proptest! {
    #[test]
    fn reading_never_panics(
        code in 1..32u8,
        options in prop::collection::vec((0..70u16, prop::collection::vec(any::<u8>(), 0..8)), 0..10),
    ) {
        let mut options = options;
        options.sort_by_key(|(number, _)| *number);
        let options: Vec<(u16, &[u8])> = options.iter().map(|(number, value)| (*number, value.as_slice())).collect();
        if let Ok(request) = read(&bytes(Code::from_byte(code), &options)) {
            let _ = (request.path().count(), request.queries().count(), request.etags().count(), request.fingerprint());
        }
    }
}
