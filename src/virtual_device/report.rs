//! A state report as the SDK writes it: a CBOR map with text keys, its length left open unless the build is canonical.

use minicbor::Encoder;

/// What a device tells about one of its packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is doing.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The package; also the last segment of the path the report is sent to.
    pub package: String,
    /// The version that runs; left out when empty.
    pub version: String,
    /// The version it is on the way to.
    pub target: Option<String>,
}

/// `"s"`, with the numbers of `ota.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing to do.
    Idle = 0,
    /// Fetching blocks.
    Downloading = 1,
    /// All blocks there, hash agrees.
    Downloaded = 2,
    /// About to reboot, or just rebooted.
    Updating = 3,
}

/// `"r"`, with the numbers of `ota.h`; those that this device can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No reason to give.
    Ready = 0,
    /// The image fetched runs.
    Success = 1,
    /// The SHA-256 disagrees.
    IntegrityCheckFailure = 5,
    /// Too many blocks failed.
    UpdateFailed = 8,
    /// Will try again later.
    AwaitingRetry = 11,
}

/// How a build of the SDK deals in CBOR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cbor {
    /// As it comes: writes maps of indefinite length, and reads them if need be.
    #[default]
    Stock,
    /// Built with `ZCBOR_CANONICAL`: writes and reads definite lengths only.
    Canonical,
}

impl Report {
    /// Whether the SDK's buffer of 64 bytes has room for it; what does not fit is never sent.
    #[must_use]
    pub fn fits(&self) -> bool {
        let target = self.target.as_ref().map_or(0, String::len);
        self.package.len() + self.version.len() + target <= TEXTS_MAX
    }

    /// The CBOR bytes.
    #[must_use]
    pub fn encode(&self, cbor: Cbor) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        self.write(cbor, &mut Encoder::new(&mut bytes))
            .expect("writing to a Vec does not fail");
        bytes
    }

    fn write(
        &self,
        cbor: Cbor,
        encoder: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let target = self.target.as_deref().filter(|target| !target.is_empty());
        match cbor {
            Cbor::Stock => encoder.begin_map()?,
            Cbor::Canonical => {
                encoder.map(3 + u64::from(!self.version.is_empty()) + u64::from(target.is_some()))?
            }
        };
        encoder.str("s")?.u8(self.state as u8)?;
        encoder.str("r")?.u8(self.reason as u8)?;
        encoder.str("pkg")?.str(&self.package)?;
        if !self.version.is_empty() {
            encoder.str("v")?.str(&self.version)?;
        }
        if let Some(target) = target {
            encoder.str("t")?.str(target)?;
        }
        if cbor == Cbor::Stock {
            encoder.end()?;
        }
        Ok(())
    }
}

/// Bytes of package and versions together that the buffer has room for.
const TEXTS_MAX: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_byte_for_byte_what_the_sdk_sends() {
        let report = Report {
            state: State::Downloading,
            reason: Reason::Ready,
            package: "main".into(),
            version: "1.0.0".into(),
            target: Some("1.0.1".into()),
        };
        let expected = b"\xBF\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x651.0.0\x61t\x651.0.1\xFF";
        assert_eq!(report.encode(Cbor::Stock), expected);
        let canonical = b"\xA5\x61s\x01\x61r\x00\x63pkg\x64main\x61v\x651.0.0\x61t\x651.0.1";
        assert_eq!(report.encode(Cbor::Canonical), canonical);
    }

    #[test]
    fn empty_versions_are_left_out() {
        let report = Report {
            state: State::Idle,
            reason: Reason::AwaitingRetry,
            package: "main".into(),
            version: String::new(),
            target: None,
        };
        assert_eq!(
            report.encode(Cbor::Canonical),
            b"\xA3\x61s\x00\x61r\x0B\x63pkg\x64main"
        );
        assert_eq!(
            report.encode(Cbor::Stock),
            b"\xBF\x61s\x00\x61r\x0B\x63pkg\x64main\xFF"
        );
    }
}
