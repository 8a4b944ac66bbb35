//! A line of a device's log.
//!
//! A map with text keys, in CBOR (indefinite or definite) or JSON: `level`, `module` and `msg` are texts, in any order, each
//! of which may be missing; whatever else is in it is metadata. What is too long is cut, and not refused: a line that says
//! too much is still worth having.

use serde_json::{Map, Value};

use super::cbor::decode_json;
use crate::fleet::{LogLine, METADATA_DEPTH, json_depth};

/// The longest body that is looked at, in bytes: more than a device gets into one datagram (1.1 KB), less than it may put
/// together from blocks.
pub const LOG_BYTES: usize = 2048;

/// Bytes that are not a line of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Longer than any line.
    #[error("{0} bytes are more than the {LOG_BYTES} of a log line")]
    TooLong(usize),
    /// Not a complete map of CBOR or JSON.
    #[error("not a map: {0}")]
    NotAMap(String),
    /// A value that cannot be what its name says.
    #[error("{0:?} is not a text")]
    NotAText(&'static str),
    /// Neither a level, nor a module, nor a message, nor anything else.
    #[error("nothing is said")]
    Nothing,
}

/// Reads the CBOR form.
///
/// # Errors
/// See [`LogError`].
pub fn log_from_cbor(bytes: &[u8]) -> Result<LogLine, LogError> {
    bounded(bytes)?;
    line(decode_json(bytes).map_err(LogError::NotAMap)?)
}

/// Reads the JSON form.
///
/// # Errors
/// See [`LogError`].
pub fn log_from_json(bytes: &[u8]) -> Result<LogLine, LogError> {
    bounded(bytes)?;
    // Not as a map straight away: the error would quote what is there instead, and what a device wrote is not for our log.
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => line(map),
        Ok(_) => Err(LogError::NotAMap("another value".to_owned())),
        Err(error) => Err(LogError::NotAMap(error.to_string())),
    }
}

fn bounded(bytes: &[u8]) -> Result<(), LogError> {
    match bytes.len() {
        0..=LOG_BYTES => Ok(()),
        long => Err(LogError::TooLong(long)),
    }
}

fn line(mut map: Map<String, Value>) -> Result<LogLine, LogError> {
    if map.is_empty() {
        return Err(LogError::Nothing);
    }
    Ok(LogLine {
        level: text(&mut map, "level", LEVEL_BYTES)?,
        module: text(&mut map, "module", MODULE_BYTES)?,
        message: text(&mut map, "msg", MESSAGE_BYTES)?.unwrap_or_default(),
        metadata: some_of(map),
    })
}

/// Takes a text out of the map. Null and empty text are as good as none.
fn text(map: &mut Map<String, Value>, key: &'static str, bytes: usize) -> Result<Option<String>, LogError> {
    match map.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(cut(text, bytes))),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(LogError::NotAText(key))
        }
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// As many of the entries as there is room for.
fn some_of(map: Map<String, Value>) -> Map<String, Value> {
    let mut room = METADATA_BYTES;
    map.into_iter()
        // What is nested deeper is kept as text.
        .map(|(key, value)| match json_depth(&value) {
            0..=METADATA_DEPTH => (key, value),
            _ => (key, Value::String(value.to_string())),
        })
        .take_while(|(key, value)| {
            let takes = key.len() + value.to_string().len();
            let fits = takes <= room;
            room = room.saturating_sub(takes);
            fits
        })
        .collect()
}

/// The SDK's longest word has five letters.
const LEVEL_BYTES: usize = 16;
/// Names of modules are short; some firmware puts a path here.
const MODULE_BYTES: usize = 64;
/// A stock device formats its lines into a few hundred bytes. With the others this bounds what a line costs on disk.
const MESSAGE_BYTES: usize = 1024;
const METADATA_BYTES: usize = 512;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_read_in_every_form_that_devices_write() {
        let plain = said(Some("warn"), Some("net"), "no route", json!({}));
        let cases: &[(&[u8], LogLine)] = &[
            // As the SDK writes it: indefinite. {_ "level": "warn", "module": "net", "msg": "no route"}
            (
                b"\xbf\x65level\x64warn\x66module\x63net\x63msg\x68no route\xff",
                plain.clone(),
            ),
            // Definite, in another order.
            (
                b"\xa3\x63msg\x68no route\x65level\x64warn\x66module\x63net",
                plain.clone(),
            ),
            // With bytes behind it, which devices ignore in what they get, too.
            (
                b"\xa3\x63msg\x68no route\x65level\x64warn\x66module\x63net\x00",
                plain.clone(),
            ),
            // A message in two chunks.
            (
                b"\xbf\x63msg\x7f\x63no \x65route\xff\x65level\x64warn\x66module\x63net\xff",
                plain.clone(),
            ),
            // Other keys, as the old Zephyr SDK has them: "func", "index": 7, "hexdump": h'00ff', a float, null, true.
            (
                b"\xbf\x64func\x64main\x65level\x65debug\x67hexdump\x42\x00\xff\x65index\x07\
                  \x61f\xf9\x3e\x00\x61n\xf6\x61t\xf5\xff",
                said(
                    Some("debug"),
                    None,
                    "",
                    json!({"func": "main", "hexdump": "00ff", "index": 7, "f": 1.5, "n": null, "t": true}),
                ),
            ),
            // {"msg": "", "n": -1, "big": 2^64-1, "less": -2^64, "tagged": 1(1)}
            (
                b"\xa5\x63msg\x60\x61n\x20\x63big\x1b\xff\xff\xff\xff\xff\xff\xff\xff\
                  \x64less\x3b\xff\xff\xff\xff\xff\xff\xff\xff\x66tagged\xc1\x01",
                said(
                    None,
                    None,
                    "",
                    json!({"n": -1, "big": u64::MAX, "less": "-18446744073709551616", "tagged": 1}),
                ),
            ),
            // A message in bytes is shown in hexadecimal: {"msg": h'78'}.
            (b"\xa1\x63msg\x41x", said(None, None, "78", json!({}))),
            // Keys that are no texts are passed over.
            (b"\xa2\x01\x02\x63msg\x61x", said(None, None, "x", json!({}))),
        ];
        for (bytes, line) in cases {
            assert_eq!(log_from_cbor(bytes).as_ref(), Ok(line), "{bytes:02x?}");
        }
        let json_bytes = br#"{"msg": "no route", "module": "net", "level": "warn", "more": {"a": [1]}}"#;
        assert_eq!(
            log_from_json(json_bytes),
            Ok(said(
                Some("warn"),
                Some("net"),
                "no route",
                json!({"more": {"a": [1]}})
            ))
        );
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for bytes in [
            &b""[..],
            b"\xf6",
            b"\x62OK",
            b"\xbf\x63msg",
            b"\xa1\x63msg",
            b"\x81\x01",
            b"body",
        ] {
            assert!(
                matches!(log_from_cbor(bytes), Err(LogError::NotAMap(_))),
                "{bytes:02x?}"
            );
            assert!(
                matches!(log_from_json(bytes), Err(LogError::NotAMap(_))),
                "{bytes:02x?}"
            );
        }
        for (bytes, key) in [
            (&b"\xa1\x63msg\x01"[..], "msg"),
            (b"\xa1\x65level\x03", "level"),
            (b"\xa1\x66module\x80", "module"),
        ] {
            assert_eq!(log_from_cbor(bytes), Err(LogError::NotAText(key)), "{bytes:02x?}");
        }
        let quoted = log_from_json(b"\"a secret\"").unwrap_err().to_string();
        assert!(!quoted.contains("secret"), "{quoted}");
        assert_eq!(log_from_cbor(b"\xa0"), Err(LogError::Nothing));
        assert_eq!(log_from_json(b"{}"), Err(LogError::Nothing));
        assert_eq!(
            log_from_cbor(&[0xa0; LOG_BYTES + 1]),
            Err(LogError::TooLong(2049))
        );
        assert_eq!(
            log_from_json(&[b' '; LOG_BYTES + 1]),
            Err(LogError::TooLong(2049))
        );
        assert!(log_from_cbor(&[0xbf; LOG_BYTES]).is_err(), "a deep nest");
        assert!(log_from_json(&[b'['; LOG_BYTES]).is_err(), "a deep nest");
        assert!(log_from_cbor(b"\xa1\x63msg\x7b\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn what_is_too_long_is_cut_where_a_character_ends() {
        let body = json!({"level": "l".repeat(17), "module": "m".repeat(65), "msg": "é".repeat(600) + "x"});
        let line = log_from_json(body.to_string().as_bytes()).unwrap();
        assert_eq!(line.level.unwrap(), "l".repeat(16) + "…");
        assert_eq!(line.module.unwrap(), "m".repeat(64) + "…");
        assert_eq!(line.message, "é".repeat(512) + "…");
        let odd = json!({"msg": "x".to_owned() + &"é".repeat(600)});
        let line = log_from_json(odd.to_string().as_bytes()).unwrap();
        assert_eq!(line.message, "x".to_owned() + &"é".repeat(511) + "…");
        let full = json!({"msg": "x".repeat(1024), "a": "y".repeat(500), "b": "z".repeat(10)});
        let line = log_from_json(full.to_string().as_bytes()).unwrap();
        assert_eq!(line.message.len(), 1024);
        assert_eq!(Value::Object(line.metadata), json!({"a": "y".repeat(500)}));
    }

    #[test]
    fn what_is_nested_however_deep_is_read_back_from_json() {
        let mut kept = 0;
        for depth in 1..=200 {
            let json = format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
            let mut cbor = b"\xa1\x61a".to_vec();
            cbor.extend(std::iter::repeat_n(0x81, depth));
            cbor.push(0xf6);
            let lines = [log_from_json(json.as_bytes()), log_from_cbor(&cbor)];
            for line in lines.into_iter().flatten() {
                kept += 1;
                // Some levels further in, as the timeline keeps it and as the API shows it.
                let shown = json!({"items": [{"metadata": line.metadata}]}).to_string();
                let read = serde_json::from_str::<Value>(&shown);
                assert!(read.is_ok(), "{depth}: {read:?}");
            }
        }
        assert!(kept > 200, "{kept}: the decoders take more than a hundred levels");
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = log_from_cbor(&bytes);
            let _ = log_from_json(&bytes);
        }
    }

    fn said(level: Option<&str>, module: Option<&str>, message: &str, metadata: Value) -> LogLine {
        let Value::Object(metadata) = metadata else {
            panic!()
        };
        LogLine {
            level: level.map(str::to_owned),
            module: module.map(str::to_owned),
            message: message.to_owned(),
            metadata,
        }
    }
}
