//! Who may order what, and who did.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::KeyId;
use super::name::KeyName;
use super::refusal::Invalid;

/// What an API key allows. Each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look at everything.
    Read,
    /// Upload, deploy, manage cohorts and devices.
    Deploy,
    /// Manage keys and settings too.
    Admin,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "read" => Ok(Self::Read),
            "deploy" => Ok(Self::Deploy),
            "admin" => Ok(Self::Admin),
            _ => Err(Invalid::new("role", text, "is not one", "read, deploy or admin")),
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A key of the operator's API. The key itself is shown once and kept only as a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub name: KeyName,
    /// What it allows.
    pub role: Role,
    /// When it was made, in milliseconds of Unix time.
    pub created_ms: i64,
    /// When it ends, in milliseconds of Unix time.
    pub expires_ms: Option<i64>,
}

impl ApiKey {
    /// Whether it may still be used at `unix_ms`.
    #[must_use]
    pub fn is_live(&self, unix_ms: i64) -> bool {
        self.expires_ms.is_none_or(|expires| unix_ms < expires)
    }
}

/// Who orders a change: what the audit says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor(Arc<str>);

impl Actor {
    /// Somebody with this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The program itself: what it does at its first start.
    #[must_use]
    pub fn system() -> Self {
        Self::named("tessera")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
