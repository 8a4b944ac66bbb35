//! What the name of a file says about the artifact in it.

use super::name::{PackageName, Version};

/// A guess from how build systems and people name their files: `main-1.4.0.signed.bin`, `modem@7.bin`. To be shown to
/// whoever uploads, never to be believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileNameGuess {
    /// The package: what stands before the version.
    pub package: Option<PackageName>,
    /// The version.
    pub version: Option<Version>,
}

impl FileNameGuess {
    /// Reads the name of a file; folders before it are passed over.
    #[must_use]
    pub fn of(file: &str) -> Self {
        let mut stem = file.rsplit(['/', '\\']).next().unwrap_or_default();
        while let Some((before, extension)) = stem.rsplit_once('.') {
            if !EXTENSIONS
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
            {
                break;
            }
            stem = before;
        }
        let (package, version) = match stem.rsplit_once('@') {
            Some((package, version)) => (package, version),
            None => match version_begins(stem) {
                Some(place) => (stem[..place].trim_end_matches(['v', 'V']), &stem[place..]),
                None => return Self::default(),
            },
        };
        Self {
            package: PackageName::parse(package.trim_end_matches(SEPARATORS)).ok(),
            version: Version::parse(version).ok(),
        }
    }
}

/// Where a number, a dot and a number stand, after nothing or a separator, with or without a `v`.
fn version_begins(stem: &str) -> Option<usize> {
    stem.char_indices().map(|(place, _)| place).find(|&place| {
        let before = stem[..place].strip_suffix(['v', 'V']).unwrap_or(&stem[..place]);
        let after = stem[place..].trim_start_matches(|c: char| c.is_ascii_digit());
        (before.is_empty() || before.ends_with(SEPARATORS))
            && stem[place..].starts_with(|c: char| c.is_ascii_digit())
            && after
                .strip_prefix('.')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

const SEPARATORS: [char; 5] = ['-', '_', '.', '+', ' '];
/// What names end in beside what they say: the formats of images, and what signing tools add.
const EXTENSIONS: [&str; 11] = [
    "bin",
    "img",
    "hex",
    "elf",
    "fw",
    "dat",
    "raw",
    "signed",
    "confirmed",
    "encrypted",
    "update",
];

#[cfg(test)]
mod tests {
    use super::FileNameGuess;

    #[test]
    fn package_and_version_are_read_from_the_names_that_files_usually_have() {
        for (file, package, version) in [
            ("main-1.4.0.bin", Some("main"), Some("1.4.0")),
            ("main-1.4.0-rc1.signed.bin", Some("main"), Some("1.4.0-rc1")),
            ("main_v2.0.SIGNED.HEX", Some("main"), Some("2.0")),
            ("main@7.bin", Some("main"), Some("7")),
            ("main@1.0+7", Some("main"), Some("1.0+7")),
            (
                "build/out/modem-nrf9160-1.3.5.img",
                Some("modem-nrf9160"),
                Some("1.3.5"),
            ),
            ("C:\\out\\boot.v1.0.bin", Some("boot"), Some("1.0")),
            ("nrf52840-board-2.1.bin", Some("nrf52840-board"), Some("2.1")),
            ("1.2.3.bin", None, Some("1.2.3")),
            ("v1.2.3.bin", None, Some("1.2.3")),
            ("zephyr.signed.bin", None, None),
            ("assets-7.bin", None, None),
            ("nrf9.1.bin", None, None),
            ("", None, None),
            (".bin", None, None),
            ("a b@c d", None, None),
            ("\u{202e}главный-1.0.bin", None, Some("1.0")),
        ] {
            let guess = FileNameGuess::of(file);
            assert_eq!(guess.package.as_deref(), package, "{file:?}");
            assert_eq!(guess.version.as_deref(), version, "{file:?}");
        }
    }
}
