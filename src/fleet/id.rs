//! Opaque identifiers. Outside they are strings such as `coh_12`; inside, numbers of one counter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::refusal::Invalid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// The identifier with this number.
            #[must_use]
            pub const fn new(number: i64) -> Self {
                Self(number)
            }

            /// The number, for the store and for tables in memory.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let wrong = || Invalid::new(
                    concat!($what, " id"), text, "is not one",
                    concat!($prefix, "_ and a number, as answered when it was created"),
                );
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or_else(wrong)?;
                let canonical = !digits.is_empty()
                    && digits.bytes().all(|b| b.is_ascii_digit())
                    && (digits.len() == 1 || !digits.starts_with('0'));
                if !canonical {
                    return Err(wrong());
                }
                digits.parse().map(Self).map_err(|_| wrong())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A project.
    ProjectId "prj" "project";
    /// A package.
    PackageId "pkg" "package";
    /// An artifact.
    ArtifactId "art" "artifact";
    /// A cohort.
    CohortId "coh" "cohort";
    /// A deployment.
    DeploymentId "dep" "deployment";
    /// A device.
    DeviceId "dev" "device";
    /// A credential of a device.
    CredentialId "crd" "credential";
    /// A CA that vouches for devices.
    CaId "ca" "device CA";
    /// A key of the operator's API.
    KeyId "key" "API key";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{CohortId, DeviceId};

    #[test]
    fn an_id_reads_back_as_itself_and_nothing_else_reads_as_one() {
        let id = CohortId::new(12);
        assert_eq!(id.to_string(), "coh_12");
        assert_eq!("coh_12".parse::<CohortId>().unwrap(), id);
        for wrong in [
            "coh_",
            "coh_012",
            "coh_-1",
            "coh_+1",
            "12",
            "dev_12",
            "coh_1 ",
            "coh_99999999999999999999",
        ] {
            assert!(wrong.parse::<CohortId>().is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&DeviceId::new(7)).unwrap(), "\"dev_7\"");
        assert_eq!(
            serde_json::from_str::<DeviceId>("\"dev_7\"").unwrap(),
            DeviceId::new(7)
        );
    }
}
