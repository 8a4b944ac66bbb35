//! The manifest and the report as bytes, by `minicbor`; the gateway reads and writes them with another library.

use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};
use tessera::virtual_device::Report;

/// What a device keeps of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The deployment's number; `None` for "nothing to do".
    pub sequence: Option<i64>,
    /// What it is asked to run: a stock device has room for one.
    pub component: Option<Component>,
}

/// A package's version that a device is asked to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The package.
    pub package: String,
    /// The version wanted.
    pub version: String,
    /// SHA-256 of the artifact, 64 hexadecimal digits.
    pub hash: String,
    /// Bytes of the artifact.
    pub size: u64,
    /// Its path at the gateway.
    pub uri: String,
}

/// A manifest, as the SDK takes it: integer keys, those it does not know skipped.
///
/// # Errors
/// In the library's words; and where something required is missing or there are more components than a stock device takes.
pub fn manifest(bytes: &[u8]) -> Result<Manifest, Error> {
    let mut decoder = Decoder::new(bytes);
    let (mut sequence, mut components) = (None, None);
    for _ in 0..definite(decoder.map()?)? {
        match key(&mut decoder)? {
            Some(1) => sequence = Some(decoder.i64()?),
            Some(3) => {
                let mut list = Vec::new();
                for _ in 0..definite(decoder.array()?)? {
                    list.push(component(&mut decoder)?);
                }
                components = Some(list);
            }
            Some(_) | None => decoder.skip()?,
        }
    }
    match (sequence, components) {
        (None, None) => Ok(Manifest::default()),
        (Some(sequence), Some(mut components)) if components.len() <= COMPONENTS_MAX => Ok(Manifest {
            sequence: Some(sequence),
            component: components.pop(),
        }),
        (Some(_), Some(_)) => Err(Error::message("more components than there is room for")),
        (Some(_), None) => Err(Error::message("no components")),
        (None, Some(_)) => Err(Error::message("no sequence number")),
    }
}

/// A report, as a stock build writes it: a map that does not say how long it is.
#[must_use]
pub fn report(report: &Report) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Encoder::new(&mut bytes), report).expect("a Vec takes anything");
    bytes
}

fn write(
    encoder: &mut Encoder<&mut Vec<u8>>,
    report: &Report,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    encoder.begin_map()?;
    encoder.str("s")?.u8(report.state as u8)?;
    encoder.str("r")?.u8(report.reason as u8)?;
    encoder.str("pkg")?.str(&report.package)?;
    for (key, version) in [
        ("v", Some(report.version.as_str())),
        ("t", report.target.as_deref()),
    ] {
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            encoder.str(key)?.str(version)?;
        }
    }
    encoder.end()?;
    Ok(())
}

fn component(decoder: &mut Decoder<'_>) -> Result<Component, Error> {
    let (mut texts, mut size) = ([const { None }; 4], None);
    for _ in 0..definite(decoder.map()?)? {
        match key(decoder)? {
            Some(1) => texts[0] = Some(decoder.str()?.to_owned()),
            Some(2) => texts[1] = Some(decoder.str()?.to_owned()),
            Some(3) => texts[2] = Some(decoder.str()?.to_owned()),
            Some(4) => size = Some(decoder.u64()?),
            Some(5) => texts[3] = Some(decoder.str()?.to_owned()),
            Some(_) | None => decoder.skip()?,
        }
    }
    let ([Some(package), Some(version), Some(hash), Some(uri)], Some(size)) = (texts, size) else {
        return Err(Error::message("a component lacks one of the keys 1 to 5"));
    };
    for (text, max) in [(&package, NAME_MAX), (&version, NAME_MAX), (&uri, URI_MAX)] {
        if text.len() > max {
            return Err(Error::message(format!("{text} is longer than {max} bytes")));
        }
    }
    Ok(Component {
        package,
        version,
        hash,
        size,
        uri,
    })
}

/// An integer key, or a text one: those are not looked at.
fn key(decoder: &mut Decoder<'_>) -> Result<Option<u64>, Error> {
    if decoder.datatype()? == Type::String {
        decoder.skip()?;
        return Ok(None);
    }
    decoder.u64().map(Some)
}

/// The gateway promises definite lengths, as some builds read nothing else.
fn definite(len: Option<u64>) -> Result<u64, Error> {
    len.ok_or_else(|| Error::message("of indefinite length"))
}

/// `CONFIG_GOLIOTH_OTA_MAX_NUM_COMPONENTS` as it comes.
const COMPONENTS_MAX: usize = 1;
/// The SDK's buffers.
const NAME_MAX: usize = 16;
const URI_MAX: usize = 39;

#[cfg(test)]
mod tests {
    use tessera::virtual_device::{Reason, State};

    use super::*;

    #[test]
    fn a_manifest_is_read_and_what_a_device_throws_away_is_an_error() {
        let head = b"\xA3\x01\x07\x02\x61x\x03\x81\xA6";
        let body = b"\x01\x64main\x02\x651.0.1\x03\x62ab\x04\x1A\x00\x01\x11\x70\x05\x70/.u/c/main@1.0.1\x06\x67default";
        let read = manifest(&[&head[..], body].concat()).unwrap();
        let component = Component {
            package: "main".into(),
            version: "1.0.1".into(),
            hash: "ab".into(),
            size: 70_000,
            uri: "/.u/c/main@1.0.1".into(),
        };
        assert_eq!(
            (read.sequence, read.component.as_ref()),
            (Some(7), Some(&component))
        );
        assert_eq!(manifest(b"\xA0").unwrap(), Manifest::default());
        for (what, bytes) in [
            ("nothing", &b""[..]),
            ("the text OK", b"\x62OK"),
            ("no components", b"\xA1\x01\x01"),
            ("no sequence", b"\xA1\x03\x80"),
            ("a component without keys", b"\xA2\x01\x01\x03\x81\xA0"),
            ("a map without its length", b"\xBF\x01\x01\x03\x80\xFF"),
            (
                "two components",
                &[&b"\xA2\x01\x07\x03\x82\xA6"[..], body, b"\xA6", body].concat(),
            ),
        ] {
            assert!(manifest(bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn a_report_is_byte_for_byte_what_the_sdk_sends() {
        let mut sent = Report {
            state: State::Downloading,
            reason: Reason::Ready,
            package: "main".into(),
            version: "1.0.0".into(),
            target: Some("1.0.1".into()),
        };
        assert_eq!(
            report(&sent),
            b"\xBF\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x651.0.0\x61t\x651.0.1\xFF"
        );
        (sent.version, sent.target) = (String::new(), None);
        assert_eq!(report(&sent), b"\xBF\x61s\x01\x61r\x00\x63pkg\x64main\xFF");
    }
}
