//! State reports and log lines, in CBOR and JSON, from anybody.
//!
//! What is held: none panics; what is read is bounded, whatever it was read from; and a report says the same when it is
//! written in another form and read again.

use serde_json::{Map, Value, json};
use tessera::fleet::LogLine;
use tessera::manifest::{LOG_BYTES, REPORT_BYTES, StateReport, log_from_cbor, log_from_json};

/// The target.
pub fn reports(data: &[u8]) {
    let (cbor, json) = (StateReport::from_cbor(data), StateReport::from_json(data));
    for report in [cbor, json].into_iter().flatten() {
        assert!(data.len() <= REPORT_BYTES, "too long, and read");
        hold(&report);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let (path, queries) = text.split_once('?').unwrap_or(("", text));
        if let Ok(report) = StateReport::from_queries(queries.split('&')) {
            hold(&report);
            if let Ok(name) = report.about(Some(path)) {
                assert!(!name.is_empty() && name.len() <= TEXT_BYTES);
            }
        }
    }
    for line in [log_from_cbor(data), log_from_json(data)].into_iter().flatten() {
        assert!(data.len() <= LOG_BYTES, "too long, and read");
        hold_line(&line);
    }
}

fn hold(report: &StateReport) {
    let texts = [&report.package, &report.version, &report.target];
    for text in texts.into_iter().flatten() {
        assert!(!text.is_empty() && text.len() <= TEXT_BYTES, "{text:?}");
    }
    assert!(
        i64::try_from(report.state).is_ok() && i64::try_from(report.reason).is_ok(),
        "the store has no such number"
    );
    let all = json!({
        "s": report.state, "r": report.reason, "pkg": report.package, "v": report.version, "target": report.target,
    });
    let Value::Object(all) = all else { return };
    // Null is no way to say nothing.
    let said: Map<String, Value> = all.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let json = serde_json::to_vec(&said).expect("texts and numbers are JSON");
    if json.len() <= REPORT_BYTES {
        assert_eq!(StateReport::from_json(&json).as_ref(), Ok(report));
    }
    let cbor = as_a_device_writes(&said);
    assert_eq!(StateReport::from_cbor(&cbor).as_ref(), Ok(report));
}

fn hold_line(line: &LogLine) {
    let texts = [line.level.as_ref(), line.module.as_ref(), Some(&line.message)];
    // What is cut ends in a sign that has three bytes.
    for (text, bytes) in texts.into_iter().zip([16, 64, 1024]) {
        assert!(text.is_none_or(|text| text.len() <= bytes + 3), "{text:?}");
    }
    let metadata = Value::Object(line.metadata.clone()).to_string();
    // Names and values are counted; quotation marks, colons, commas and what a name is escaped with are not.
    assert!(
        metadata.len() <= 8 * LOG_BYTES,
        "{} bytes of metadata",
        metadata.len()
    );
    // Not compared with what it was: the reader of JSON may round a float's last digit differently.
    let again: Result<Map<String, Value>, _> = serde_json::from_str(&metadata);
    assert_eq!(
        again.map(|again| again.len()).ok(),
        Some(line.metadata.len()),
        "whoever is shown it can read it"
    );
}

/// By hand, as a device writes it: an indefinite map.
fn as_a_device_writes(said: &Map<String, Value>) -> Vec<u8> {
    let mut out = vec![0xbf];
    for (key, value) in said {
        text(&mut out, key);
        match value {
            Value::String(value) => text(&mut out, value),
            other => {
                out.push(0x1b);
                out.extend_from_slice(&other.as_u64().unwrap_or_default().to_be_bytes());
            }
        }
    }
    out.push(0xff);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&[0x78, text.len() as u8]);
    out.extend_from_slice(text.as_bytes());
}

/// The longest name or version that is read.
const TEXT_BYTES: usize = 64;
