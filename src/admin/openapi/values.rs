//! Names, ids and words of the domain, as schemas. The domain knows nothing of them.

use std::borrow::Cow;

use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::admin::shapes::Time;
use crate::control::FailureCause;
use crate::fleet::{
    ArtifactId, CaId, CaName, Caution, Change, CohortId, CohortName, CredentialId, DeploymentId,
    DeploymentName, DeviceId, DeviceName, DeviceState, Digest, Direction, HIDDEN, ImageKind, KeyId, KeyName,
    PackageId, PackageName, ProjectName, Role, Severity, Stage, Tag, TimelineKind, VARIATION_SELECTORS,
    Version,
};

macro_rules! schemas {
    ($($name:ident: $schema:expr;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

schemas! {
    ArtifactId: id("art");
    CaId: id("ca");
    CohortId: id("coh");
    CredentialId: id("crd");
    DeploymentId: id("dep");
    DeviceId: id("dev");
    KeyId: id("key");
    PackageId: id("pkg");

    ProjectName: symbol("-", ProjectName::ACCEPTED);
    PackageName: symbol("._+-", PackageName::ACCEPTED);
    Version: symbol("._+-", Version::ACCEPTED);
    DeviceName: symbol("._+:@-", DeviceName::ACCEPTED);
    Tag: symbol("._+:=/-", Tag::ACCEPTED);

    CohortName: line(CohortName::ACCEPTED, &[]);
    DeploymentName: line(DeploymentName::ACCEPTED, &[]);
    CaName: line(CaName::ACCEPTED, &[]);
    KeyName: line(KeyName::ACCEPTED, &VARIATION_SELECTORS);

    Role: words("What a key allows; each includes the ones before it.", [Role::Read, Role::Deploy, Role::Admin].map(Role::as_str));
    ImageKind: words("What the first bytes of an artifact say it is.", [ImageKind::Plain, ImageKind::McuBoot, ImageKind::EspIdf].map(ImageKind::as_str));
    Change: words("What becomes of a package.", CHANGES.map(Change::as_str));
    Caution: words("Why a deployment is to be confirmed: a package goes back to an older version, a package disappears, or a stock device would throw the manifest away or update for ever.", Caution::ALL.map(Caution::as_str));
    Severity: words("Whether a finding is only told, or asks for a confirmation.", [Severity::Warning, Severity::Confirm].map(Severity::as_str));
    Stage: words("How far a device has come with a deployment.", Stage::ALL.map(Stage::as_str));
    DeviceState: words("What a device reported; `other` for a number that is not known.", STATES.map(DeviceState::as_str));
    FailureCause: words("Why a handshake failed.", FailureCause::ALL.map(FailureCause::as_str));
    TimelineKind: words("What happened to a device.", TimelineKind::ALL.map(TimelineKind::as_str));

    Digest: text("A SHA-256 in hexadecimal.").min_length(Some(64)).max_length(Some(64)).pattern(Some("^[0-9A-Fa-f]{64}$"));
    Time: text("RFC 3339 in UTC with three digits of a second.").format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
}

const CHANGES: [Change; 4] = [
    Change::Added,
    Change::Changed(Direction::Upgrade),
    Change::Changed(Direction::Downgrade),
    Change::Unchanged,
];

const STATES: [DeviceState; 5] = [
    DeviceState::Idle,
    DeviceState::Downloading,
    DeviceState::Downloaded,
    DeviceState::Updating,
    DeviceState::Other(0),
];

/// Any text.
pub fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
}

/// One of these words.
pub fn words<const N: usize>(description: &str, words: [&str; N]) -> ObjectBuilder {
    text(description).enum_values(Some(words))
}

fn id(prefix: &str) -> ObjectBuilder {
    text("Opaque.").pattern(Some(format!("^{prefix}_(0|[1-9][0-9]{{0,18}})$")))
}

/// A name that appears in paths.
fn symbol(also: &str, accepted: &str) -> ObjectBuilder {
    text(accepted)
        .min_length(Some(1))
        .max_length(Some(63))
        .pattern(Some(format!("^[A-Za-z0-9][A-Za-z0-9{also}]*$")))
}

/// A name in free text, in which nothing is that cannot be seen, and no space at either end.
fn line(accepted: &str, nor: &[(char, char)]) -> ObjectBuilder {
    let refused = format!(r"\x00-\x1f\x7f-\x9f{}{}", class(&HIDDEN), class(nor));
    let (inner, outer) = (format!("[^{refused}]"), format!(r"[^\s{refused}]"));
    text(accepted)
        .min_length(Some(1))
        .max_length(Some(100))
        .pattern(Some(format!("^{outer}({inner}*{outer})?$")))
}

/// These characters for a class, in escapes that all dialects of regular expressions share. They share none beyond U+FFFF, so that
/// what the domain refuses there is left out.
fn class(ranges: &[(char, char)]) -> String {
    ranges
        .iter()
        .map(|&(first, last)| (u32::from(first), u32::from(last)))
        .filter(|&(_, last)| last <= 0xffff)
        .map(|(first, last)| match first == last {
            true => format!(r"\u{first:04x}"),
            false => format!(r"\u{first:04x}-\u{last:04x}"),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;

    /// Texts that the schema of `T` admits.
    fn admitted<T: ToSchema>() -> impl Strategy<Value = String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let pattern = schema["pattern"].as_str().unwrap().to_owned();
        let limit = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        let unanchored = pattern.strip_prefix('^').unwrap().strip_suffix('$').unwrap();
        string_regex(unanchored)
            .unwrap()
            .prop_filter("too long", move |text| text.chars().count() as u64 <= limit)
            .prop_filter("no pattern says that", |text| !text.contains(is_hidden_beyond))
    }

    /// What a name must not hold, and no pattern can say.
    fn is_hidden_beyond(c: char) -> bool {
        HIDDEN
            .iter()
            .chain(&VARIATION_SELECTORS)
            .any(|&(first, last)| first > '\u{ffff}' && (first..=last).contains(&c))
    }

    proptest! {
        #[test]
        fn what_a_schema_admits_is_accepted(
            package in admitted::<PackageName>(),
            version in admitted::<Version>(),
            device in admitted::<DeviceName>(),
            tag in admitted::<Tag>(),
            cohort in admitted::<CohortName>(),
            deployment in admitted::<DeploymentName>(),
            ca in admitted::<CaName>(),
            key in admitted::<KeyName>(),
            digest in admitted::<Digest>(),
        ) {
            prop_assert!(PackageName::parse(&package).is_ok(), "{package:?}");
            prop_assert!(Version::parse(&version).is_ok(), "{version:?}");
            prop_assert!(DeviceName::parse(&device).is_ok(), "{device:?}");
            prop_assert!(Tag::parse(&tag).is_ok(), "{tag:?}");
            prop_assert!(CohortName::parse(&cohort).is_ok(), "{cohort:?}");
            prop_assert!(DeploymentName::parse(&deployment).is_ok(), "{deployment:?}");
            prop_assert!(CaName::parse(&ca).is_ok(), "{ca:?}");
            prop_assert!(KeyName::parse(&key).is_ok(), "{key:?}");
            prop_assert!(digest.parse::<Digest>().is_ok(), "{digest:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_in_no_name() {
        // What Unicode says of them, and not the list.
        let hidden = string_regex(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]").unwrap();
        proptest!(|(hidden in hidden)| {
            let name = format!("a{hidden}z");
            prop_assert!(CohortName::parse(&name).is_err(), "{name:?}");
            prop_assert!(DeploymentName::parse(&name).is_err(), "{name:?}");
            prop_assert!(CaName::parse(&name).is_err(), "{name:?}");
            prop_assert!(KeyName::parse(&name).is_err(), "{name:?}");
        });
    }

    #[test]
    fn no_name_holds_what_is_listed_and_of_variants_only_that_of_a_key_does_not() {
        for character in HIDDEN.iter().flat_map(|&(first, last)| first..=last) {
            let name = format!("a{character}z");
            assert!(CohortName::parse(&name).is_err(), "{name:?}");
            assert!(DeploymentName::parse(&name).is_err(), "{name:?}");
            assert!(CaName::parse(&name).is_err(), "{name:?}");
            assert!(KeyName::parse(&name).is_err(), "{name:?}");
        }
        for variant in VARIATION_SELECTORS.iter().flat_map(|&(first, last)| first..=last) {
            let name = format!("a{variant}z");
            assert!(CohortName::parse(&name).is_ok(), "{name:?}");
            assert!(KeyName::parse(&name).is_err(), "{name:?}");
        }
    }

    /// All of them, as a random one meets the one that differs once in many runs.
    #[test]
    fn free_text_and_its_schema_refuse_the_same_characters() {
        /// The ranges of a class that is written in escapes alone.
        fn ranges(class: &str) -> Vec<(u32, u32)> {
            let mut ranges = Vec::new();
            let mut first = None;
            for escape in class.split('\\').skip(1) {
                let code = u32::from_str_radix(escape[1..].trim_end_matches('-'), 16).unwrap();
                if escape.ends_with('-') {
                    first = Some(code);
                } else {
                    ranges.push((first.take().unwrap_or(code), code));
                }
            }
            ranges
        }
        fn check<T: ToSchema>(parses: impl Fn(&str) -> bool) {
            let schema = serde_json::to_value(T::schema()).unwrap();
            let (_, rest) = schema["pattern"].as_str().unwrap().split_once("([^").unwrap();
            let refused = ranges(rest.split_once("]*").unwrap().0);
            for character in (0..=0xffff).filter_map(char::from_u32) {
                let said = refused
                    .iter()
                    .any(|&(first, last)| (first..=last).contains(&u32::from(character)));
                assert_eq!(
                    parses(&format!("a{character}z")),
                    !said,
                    "{}: {character:?}",
                    T::name()
                );
            }
        }
        check::<CohortName>(|text| CohortName::parse(text).is_ok());
        check::<DeploymentName>(|text| DeploymentName::parse(text).is_ok());
        check::<CaName>(|text| CaName::parse(text).is_ok());
        check::<KeyName>(|text| KeyName::parse(text).is_ok());
    }

    #[test]
    fn every_character_that_a_name_may_hold_is_in_its_schema() {
        fn check<T: ToSchema>(parses: impl Fn(&str) -> bool) {
            let schema = serde_json::to_value(T::schema()).unwrap();
            let pattern = schema["pattern"].as_str().unwrap();
            let class = pattern.strip_prefix("^[A-Za-z0-9][A-Za-z0-9").unwrap();
            let also = class.strip_suffix("]*$").unwrap();
            for character in (0..128_u8).map(char::from) {
                let said = character.is_ascii_alphanumeric() || also.contains(character);
                assert_eq!(
                    parses(&format!("a{character}")),
                    said,
                    "{}: {character:?}",
                    T::name()
                );
            }
        }
        check::<ProjectName>(|text| ProjectName::parse(text).is_ok());
        check::<PackageName>(|text| PackageName::parse(text).is_ok());
        check::<Version>(|text| Version::parse(text).is_ok());
        check::<DeviceName>(|text| DeviceName::parse(text).is_ok());
        check::<Tag>(|text| Tag::parse(text).is_ok());
    }
}
