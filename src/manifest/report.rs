//! The state report: what a device says about a package.
//!
//! A map with text keys, in CBOR (indefinite or definite) or JSON, or the same as queries of the path; with short names
//! (`s`, `r`, `pkg`, `v`, `t`) or long ones (`state`, `reason`, `package`, `version`, `target`). All of it may be missing.
//! Unknown numbers are kept.

use super::cbor::{Field, decode_fields};

/// The longest report that is looked at, in bytes. Devices encode theirs into 64.
pub const REPORT_BYTES: usize = 1024;

/// What a device says about a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateReport {
    /// The package, if the report names it; otherwise the path does.
    pub package: Option<String>,
    /// The state: 0 idle, 1 downloading, 2 downloaded, 3 updating, anything else as it came.
    pub state: u64,
    /// The reason: 0 none; anything as it came.
    pub reason: u64,
    /// The version it runs.
    pub version: Option<String>,
    /// The version it is on its way to.
    pub target: Option<String>,
}

/// Bytes that are not a state report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Longer than any report.
    #[error("{0} bytes are more than a state report has")]
    TooLong(usize),
    /// Not a complete map of CBOR or JSON.
    #[error("not a map: {0}")]
    NotAMap(String),
    /// A value that cannot be what its name says.
    #[error("{0:?} has a value of another type")]
    WrongType(String),
    /// A name or version that is longer than names are.
    #[error("{0:?} is longer than {TEXT_BYTES} bytes")]
    LongText(String),
}

impl StateReport {
    /// Reads the CBOR form.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > REPORT_BYTES {
            return Err(ReportError::TooLong(bytes.len()));
        }
        Self::from_fields(decode_fields(bytes).map_err(ReportError::NotAMap)?)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > REPORT_BYTES {
            return Err(ReportError::TooLong(bytes.len()));
        }
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(bytes).map_err(|error| ReportError::NotAMap(error.to_string()))?;
        let fields = map.into_iter().filter_map(|(key, value)| match value {
            serde_json::Value::Number(number) => Some((key, Field::Number(number.as_i128().unwrap_or(-1)))),
            serde_json::Value::String(text) => Some((key, Field::Text(text))),
            _ => None,
        });
        Self::from_fields(fields.collect())
    }

    /// Reads the form of the oldest documentation, which says it all in queries: `state=1`, `v=1.0.0`.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn from_queries<'q>(queries: impl Iterator<Item = &'q str>) -> Result<Self, ReportError> {
        let fields = queries.filter_map(|query| {
            let (key, value) = query.split_once('=')?;
            let field = match key {
                // What is no number is told apart from a number by `number`.
                "s" | "state" | "r" | "reason" => value
                    .parse()
                    .map_or_else(|_| Field::Text(value.to_owned()), Field::Number),
                _ => Field::Text(value.to_owned()),
            };
            Some((key.to_owned(), field))
        });
        Self::from_fields(fields.collect())
    }

    /// The package that it is about: the one it names, else the one in the path, else [`DEFAULT_PACKAGE`].
    ///
    /// # Errors
    /// [`ReportError::LongText`] for a name in the path that is longer than names are.
    pub fn about(&self, path: Option<&str>) -> Result<String, ReportError> {
        let in_path = path.filter(|name| !name.is_empty());
        match (&self.package, in_path) {
            (Some(named), _) => Ok(named.clone()),
            (None, Some(named)) if named.len() > TEXT_BYTES => {
                Err(ReportError::LongText("package".to_owned()))
            }
            (None, Some(named)) => Ok(named.to_owned()),
            (None, None) => Ok(DEFAULT_PACKAGE.to_owned()),
        }
    }

    fn from_fields(fields: Vec<(String, Field)>) -> Result<Self, ReportError> {
        let mut report = Self::default();
        for (key, field) in fields {
            match key.as_str() {
                "s" | "state" => report.state = number(key, &field)?,
                "r" | "reason" => report.reason = number(key, &field)?,
                "pkg" | "package" => report.package = text(key, field)?,
                "v" | "version" => report.version = text(key, field)?,
                "t" | "target" => report.target = text(key, field)?,
                _ => {}
            }
        }
        Ok(report)
    }
}

fn number(key: String, field: &Field) -> Result<u64, ReportError> {
    match field {
        // The store keeps signed 64-bit numbers; beyond them nothing could be meant.
        Field::Number(number) => i64::try_from(*number)
            .ok()
            .and_then(|n| u64::try_from(n).ok())
            .ok_or(ReportError::WrongType(key)),
        Field::Text(_) => Err(ReportError::WrongType(key)),
    }
}

/// Empty text is as good as none: devices leave out what they do not know.
fn text(key: String, field: Field) -> Result<Option<String>, ReportError> {
    match field {
        Field::Text(text) if text.len() > TEXT_BYTES => Err(ReportError::LongText(key)),
        Field::Text(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Field::Number(_) => Err(ReportError::WrongType(key)),
    }
}

/// What a device means that names no package anywhere: the SDK's own default.
const DEFAULT_PACKAGE: &str = "main";
/// Old devices have names of 64 bytes; ours have 63.
const TEXT_BYTES: usize = 64;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{ReportError, StateReport};

    #[test]
    fn the_indefinite_map_of_a_stock_device_is_read() {
        let bytes = b"\xbf\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x651.0.0\x61t\x651.0.1\xff";
        assert_eq!(
            StateReport::from_cbor(bytes).unwrap(),
            report(1, 0, Some("main"), Some("1.0.0"), Some("1.0.1"))
        );
    }

    #[test]
    fn the_definite_map_of_a_canonical_build_is_read() {
        let bytes = b"\xa4\x61s\x03\x61r\x01\x63pkg\x64main\x61v\x651.0.1";
        assert_eq!(
            StateReport::from_cbor(bytes).unwrap(),
            report(3, 1, Some("main"), Some("1.0.1"), None)
        );
    }

    #[test]
    fn long_names_are_read() {
        let bytes = b"\xa5\x65state\x02\x66reason\x05\x67package\x65modem\x67version\x611\x66target\x612";
        assert_eq!(
            StateReport::from_cbor(bytes).unwrap(),
            report(2, 5, Some("modem"), Some("1"), Some("2"))
        );
    }

    #[test]
    fn what_is_missing_is_zero_or_nothing() {
        assert_eq!(StateReport::from_cbor(b"\xa0").unwrap(), StateReport::default());
        assert_eq!(
            StateReport::from_cbor(b"\xbf\xff").unwrap(),
            StateReport::default()
        );
        assert_eq!(
            StateReport::from_cbor(b"\xa1\x61s\x00").unwrap(),
            report(0, 0, None, None, None)
        );
        assert_eq!(
            StateReport::from_cbor(b"\xa1\x61v\x60").unwrap(),
            report(0, 0, None, None, None)
        );
    }

    #[test]
    fn unknown_numbers_and_unknown_keys_are_no_reason_to_refuse() {
        let bytes = b"\xa4\x61s\x18\x63\x61r\x19\x03\xe8\x63new\x82\x01\x02\x07\x08";
        assert_eq!(
            StateReport::from_cbor(bytes).unwrap(),
            report(99, 1000, None, None, None)
        );
    }

    #[test]
    fn the_json_form_is_read_with_short_and_long_names() {
        let long =
            br#"{"state":1,"reason":0,"package":"main","version":"1.0.0","target":"1.0.1","more":null}"#;
        let short = br#"{"s":1,"r":0,"pkg":"main","v":"1.0.0","t":"1.0.1"}"#;
        let expected = report(1, 0, Some("main"), Some("1.0.0"), Some("1.0.1"));
        assert_eq!(StateReport::from_json(long).unwrap(), expected);
        assert_eq!(StateReport::from_json(short).unwrap(), expected);
    }

    #[test]
    fn queries_say_what_a_map_says() {
        let read = |queries: &[&str]| StateReport::from_queries(queries.iter().copied());
        let expected = report(1, 0, Some("main"), Some("1.0.0"), Some("1.0.1"));
        let long = [
            "state=1",
            "reason=0",
            "package=main",
            "version=1.0.0",
            "target=1.0.1",
        ];
        assert_eq!(read(&long).unwrap(), expected);
        assert_eq!(
            read(&["s=1", "r=0", "pkg=main", "v=1.0.0", "t=1.0.1"]).unwrap(),
            expected
        );
        assert_eq!(
            read(&["device=lamp-1", "verbose", "v=a=b"]).unwrap(),
            report(0, 0, None, Some("a=b"), None)
        );
        assert_eq!(
            read(&["state=idle"]),
            Err(ReportError::WrongType("state".to_owned()))
        );
        assert_eq!(read(&["s=-1"]), Err(ReportError::WrongType("s".to_owned())));
        let long = format!("v={}", "x".repeat(65));
        assert_eq!(read(&[&long]), Err(ReportError::LongText("v".to_owned())));
    }

    #[test]
    fn a_report_names_its_package_or_the_path_does_or_it_is_main() {
        let named = report(0, 0, Some("modem"), None, None);
        let silent = StateReport::default();
        assert_eq!(named.about(Some("main")).unwrap(), "modem");
        assert_eq!(silent.about(Some("assets")).unwrap(), "assets");
        assert_eq!(silent.about(Some("")).unwrap(), "main");
        assert_eq!(silent.about(None).unwrap(), "main");
        assert_eq!(
            silent.about(Some(&"x".repeat(65))),
            Err(ReportError::LongText("package".to_owned()))
        );
    }

    #[test]
    fn what_is_not_a_report_is_refused() {
        for bytes in [
            &b""[..],
            b"\xf6",
            b"\x62OK",
            b"\xbf\x61s",
            b"\xa1\x61s",
            b"\x81\x01",
            b"\xff",
        ] {
            assert!(
                matches!(StateReport::from_cbor(bytes), Err(ReportError::NotAMap(_))),
                "{bytes:x?}"
            );
        }
        assert_eq!(
            StateReport::from_cbor(b"\xa1\x61s\x20"),
            Err(ReportError::WrongType("s".to_owned()))
        );
        assert_eq!(
            StateReport::from_cbor(b"\xa1\x61v\x01"),
            Err(ReportError::WrongType("v".to_owned()))
        );
        assert_eq!(
            StateReport::from_cbor(&[0xa0; 1025]),
            Err(ReportError::TooLong(1025))
        );
        let mut long = b"\xa1\x61v\x78\x41".to_vec();
        long.extend([b'x'; 0x41]);
        assert_eq!(
            StateReport::from_cbor(&long),
            Err(ReportError::LongText("v".to_owned()))
        );
        assert!(StateReport::from_json(b"[]").is_err());
        assert!(StateReport::from_json(br#"{"s":-1}"#).is_err());
        assert!(StateReport::from_json(br#"{"s":1.5}"#).is_err());
    }

    #[test]
    fn a_deep_nest_is_refused_without_harm() {
        assert!(StateReport::from_cbor(&[0x81; 1024]).is_err());
        assert!(StateReport::from_cbor(&[0xbf; 1024]).is_err());
        assert!(StateReport::from_json(&[b'['; 1024]).is_err());
    }

    #[test]
    fn a_claim_of_endless_length_allocates_nothing_and_is_refused() {
        assert!(StateReport::from_cbor(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(StateReport::from_cbor(b"\xa1\x61v\x7b\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = StateReport::from_cbor(&bytes);
            let _ = StateReport::from_json(&bytes);
        }
    }

    fn report(s: u64, r: u64, pkg: Option<&str>, v: Option<&str>, t: Option<&str>) -> StateReport {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        StateReport {
            package: owned(pkg),
            state: s,
            reason: r,
            version: owned(v),
            target: owned(t),
        }
    }
}
