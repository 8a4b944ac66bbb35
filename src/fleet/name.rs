//! Names, each parsed once at the edge. Past that line there is nothing left to check.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::{CaId, CohortId, DeviceId};
use super::refusal::Invalid;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $what:literal $check:expr, $accepted:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// What is accepted, for messages.
            pub const ACCEPTED: &'static str = $accepted;

            /// Parses `text`.
            ///
            /// # Errors
            /// Says what is wrong with it and what would be accepted.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                match $check(text) {
                    None => Ok(Self(text.into())),
                    Some(wrong) => Err(Invalid::new($what, text, wrong, Self::ACCEPTED)),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// The name of a project, as it appears in paths.
    ProjectName "project name" |text| symbol(text, "-"),
        "1 to 63 of A-Z a-z 0-9 -, starting with a letter or digit";
    /// The name of a package. Devices have it compiled in, so it is case-sensitive.
    PackageName "package name" |text| symbol(text, "._+-"),
        "1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit";
    /// A version of a package. It needs to be unique, not semantic.
    Version "version" |text| symbol(text, "._+-"),
        "1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit";
    /// The name of a device. One that is to be made has to be [`DeviceName::for_new`] too.
    DeviceName "device name" |text| symbol(text, "._+-:@"),
        "1 to 63 of A-Z a-z 0-9 . _ + - : @, starting with a letter or digit, for a new device not like dev_12";
    /// A tag of a device.
    Tag "tag" |text| symbol(text, "._+-:=/"),
        "1 to 63 of A-Z a-z 0-9 . _ + - : = /, starting with a letter or digit";
    /// The name of a cohort: free text that is not a cohort id.
    CohortName "cohort name" |text: &str| match line(text) {
            None if text.parse::<CohortId>().is_ok() => Some("reads as the id of a cohort".to_owned()),
            wrong => wrong,
        },
        "1 to 100 characters that can be seen, in one line, no space at either end, not like coh_12";
    /// The name of a deployment: free text.
    DeploymentName "deployment name" line, "1 to 100 characters that can be seen, in one line, no space at either end";
    /// The name of a device CA: free text that is not the id of one.
    CaName "CA name" |text: &str| match line(text) {
            None if text.parse::<CaId>().is_ok() => Some("reads as the id of a device CA".to_owned()),
            wrong => wrong,
        },
        "1 to 100 characters that can be seen, in one line, no space at either end, not like ca_12";
    /// The name of an API key: free text that the audit says of nobody else.
    KeyName "key name" |text: &str| line(text).or_else(|| somebody_else(text)),
        "1 to 100 characters that can be seen, in one line, no space at either end, not tessera, bootstrap or device CA";
}

macro_rules! free_text {
    ($($name:ident)*) => {$(
        impl $name {
            /// A name that was given before, maybe to a former version, which took characters that cannot be seen, and names
            /// that are somebody else's.
            ///
            /// # Errors
            /// No version would have taken it.
            pub fn kept(text: &str) -> Result<Self, Invalid> {
                match shape(text) {
                    None => Ok(Self(text.into())),
                    Some(wrong) => Err(Invalid::new("name", text, wrong, Self::ACCEPTED)),
                }
            }
        }
    )*};
}

free_text! { CohortName DeploymentName CaName KeyName }

impl KeyName {
    /// The key of the configuration.
    #[must_use]
    pub fn bootstrap() -> Self {
        Self(BOOTSTRAP.into())
    }
}

impl DeviceName {
    /// The name if a device may be called so from here on: one that reads as an id would be taken for another device. Devices of
    /// former versions may have such names, and keep them.
    ///
    /// # Errors
    /// It reads as an id.
    pub fn for_new(self) -> Result<Self, Invalid> {
        match self.parse::<DeviceId>() {
            Err(_) => Ok(self),
            Ok(_) => {
                let wrong = "reads as the id of a device";
                Err(Invalid::new("device name", &self, wrong, Self::ACCEPTED))
            }
        }
    }
}

/// The rule for names that appear in paths: what is wrong with `text`, if anything.
fn symbol(text: &str, also: &str) -> Option<String> {
    let first = match text.chars().next() {
        None => return Some("is empty".to_owned()),
        Some(first) => first,
    };
    if let Some(bad) = text
        .chars()
        .find(|&c| !c.is_ascii_alphanumeric() && !also.contains(c))
    {
        return Some(format!("contains {bad:?}"));
    }
    if !first.is_ascii_alphanumeric() {
        return Some(format!("starts with {first:?}"));
    }
    (text.len() > SYMBOL_CHARS).then(|| format!("is {} characters long", text.len()))
}

/// The rule for free text: what is wrong with `text`, if anything.
fn line(text: &str) -> Option<String> {
    if let Some(wrong) = shape(text) {
        return Some(wrong);
    }
    let bad = text.chars().find(|&c| is_hidden(c))?;
    Some(format!("contains U+{:04X}, which cannot be seen", u32::from(bad)))
}

/// The part of it that has ever been.
fn shape(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("is empty".to_owned());
    }
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return Some(format!("contains {bad:?}"));
    }
    if text.trim() != text {
        return Some("has space at its ends".to_owned());
    }
    let length = text.chars().count();
    (length > LINE_CHARS).then(|| format!("is {length} characters long"))
}

/// Whether a character shows nothing by itself: it would make two names look the same, or turn around what is read after it.
/// Letters of scripts that run from right to left are not among them.
fn is_hidden(c: char) -> bool {
    is_in(&HIDDEN, c)
}

fn is_in(ranges: &[(char, char)], c: char) -> bool {
    ranges.iter().any(|&(first, last)| (first..=last).contains(&c))
}

/// The rule for names that the audit tells of: whether it could take one for somebody else.
fn somebody_else(text: &str) -> Option<String> {
    if let Some(bad) = text.chars().find(|&c| is_in(&VARIATION_SELECTORS, c)) {
        return Some(format!("contains U+{:04X}, which cannot be seen", u32::from(bad)));
    }
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["tessera"] => Some("is what the program itself is called in the audit".to_owned()),
        [BOOTSTRAP] => Some("is what the key of the configuration is called".to_owned()),
        ["device", "ca", ..] => Some("is what a device CA is called in the audit".to_owned()),
        _ => None,
    }
}

/// The general categories Cf (format), Zl and Zp of Unicode 16 (`DerivedGeneralCategory.txt`), and the letters and marks that it says
/// are shown as nothing (`Default_Ignorable_Code_Point`) but variation selectors, which belong to emoji. And two symbols that are
/// drawn as nothing: the blank of Braille, and the head of no note. In free text none of them is accepted, each with the last of its
/// range.
pub const HIDDEN: [(char, char); 28] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d159}', '\u{1d159}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// What is seen in the character before it, if at all. The name of a key has none of them.
pub const VARIATION_SELECTORS: [(char, char); 2] = [('\u{fe00}', '\u{fe0f}'), ('\u{e0100}', '\u{e01ef}')];

/// The name of the key of the configuration.
const BOOTSTRAP: &str = "bootstrap";

/// The product's rule for names in paths.
const SYMBOL_CHARS: usize = 63;
/// A reasoned guess: what a table column can show.
const LINE_CHARS: usize = 100;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{CaName, CohortName, DeploymentName, DeviceName, KeyName, PackageName, Version};

    #[test]
    fn package_names_and_versions_hold_nothing_that_a_download_path_could_trip_over() {
        for good in ["main", "M", "9", "a.b_c+d-e", &"x".repeat(63)] {
            assert_eq!(PackageName::parse(good).unwrap().as_str(), good);
            assert_eq!(Version::parse(good).unwrap().as_str(), good);
        }
        for (bad, wrong) in [
            ("", "is empty"),
            ("ma@in", "contains '@'"),
            ("a/b", "contains '/'"),
            (".hidden", "starts with '.'"),
            ("-x", "starts with '-'"),
            ("a b", "contains ' '"),
            ("ä", "contains 'ä'"),
            (&"x".repeat(64), "is 64 characters long"),
        ] {
            assert_eq!(PackageName::parse(bad).unwrap_err().wrong, wrong);
            assert_eq!(Version::parse(bad).unwrap_err().wrong, wrong);
        }
    }

    #[test]
    fn an_error_says_what_was_wrong_with_which_value_and_what_is_accepted() {
        assert_eq!(
            Version::parse("1.0@rc").unwrap_err().to_string(),
            "version \"1.0@rc\" contains '@'; accepted: 1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit"
        );
    }

    #[test]
    fn a_cohort_cannot_be_named_like_a_cohort_id() {
        assert!(CohortName::parse("Field trial, north").is_ok());
        assert!(CohortName::parse("coh_12").is_err());
        assert!(CohortName::parse("coh_x").is_ok());
        assert!(DeploymentName::parse(" x").is_err());
        assert!(DeploymentName::parse("two\nlines").is_err());
    }

    #[test]
    fn free_text_holds_nothing_that_cannot_be_seen() {
        for good in [
            "Feldversuch, Süd",
            "القاهرة",
            "תל אביב",
            "工場 2",
            "☀\u{fe0f} solar",
            "Ωμέγα",
        ] {
            assert!(CohortName::parse(good).is_ok(), "{good}");
            assert!(DeploymentName::parse(good).is_ok(), "{good}");
            assert!(CaName::parse(good).is_ok(), "{good}");
            assert_eq!(KeyName::parse(good).is_ok(), !good.contains('\u{fe0f}'), "{good}");
        }
        for bad in [
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2028}',
            '\u{2066}',
            '\u{3164}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let text = format!("c{bad}i");
            let wrong = DeploymentName::parse(&text).unwrap_err().to_string();
            let said = format!("contains U+{:04X}, which cannot be seen", u32::from(bad));
            assert!(wrong.contains(&said), "{wrong}");
            assert_eq!(
                DeploymentName::kept(&text).unwrap().as_str(),
                text,
                "what is there stays"
            );
            for text in [text, format!("ci{bad}")] {
                assert!(CohortName::parse(&text).is_err() && CaName::parse(&text).is_err());
                assert!(KeyName::parse(&text).is_err() && DeploymentName::parse(&text).is_err());
            }
        }
        assert!(KeyName::kept("two\nlines").is_err(), "nobody ever took that");
    }

    #[test]
    fn a_key_is_called_as_nobody_else_in_the_audit() {
        for bad in [
            "tessera",
            "Tessera",
            "bootstrap",
            "BOOTSTRAP",
            "device CA factory",
            "Device\u{a0}ca x",
            "tessera\u{fe0f}",
        ] {
            assert!(KeyName::parse(bad).is_err(), "{bad}");
        }
        for good in [
            "tessera-ci",
            "my bootstrap",
            "device CAs",
            "devices",
            "first admin key",
        ] {
            assert!(KeyName::parse(good).is_ok(), "{good}");
        }
        assert_eq!(KeyName::bootstrap().as_str(), "bootstrap");
    }

    #[test]
    fn a_new_device_cannot_be_named_like_a_device_id() {
        for (name, free) in [
            ("dev_12", false),
            ("dev_0", false),
            ("dev_x", true),
            ("dev_012", true),
            ("dev-12", true),
        ] {
            let name = DeviceName::parse(name).expect("devices of former versions have such names");
            assert_eq!(name.clone().for_new().is_ok(), free, "{name}");
        }
    }

    #[test]
    fn a_name_compares_like_its_text_so_that_maps_can_be_asked_with_text() {
        let map = std::collections::BTreeMap::from([(PackageName::parse("main").unwrap(), 1)]);
        assert_eq!(map.get("main"), Some(&1));
    }
}
