//! Who may order what, and who did.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::KeyId;
use super::name::KeyName;
use super::refusal::{Invalid, Refusal};

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

    /// Whether it may still be used at `unix_ms`, and for everything.
    #[must_use]
    pub fn administers(&self, unix_ms: i64) -> bool {
        self.role == Role::Admin && self.is_live(unix_ms)
    }
}

/// Who orders a change: what the audit says, and by what leave.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    name: Arc<str>,
    /// The key, and the role that the change needs. What goes on for long is asked for it again: a key may end meanwhile.
    leave: Option<(KeyId, Role)>,
}

impl Actor {
    /// Whoever has this key, for changes that need this role.
    #[must_use]
    pub fn with(key: &ApiKey, needs: Role) -> Self {
        Self {
            name: key.name.as_str().into(),
            leave: Some((key.id, needs)),
        }
    }

    /// Somebody with this name who needs no key: the program itself, or whom it believes.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            leave: None,
        }
    }

    /// The program itself: what it does at its first start.
    #[must_use]
    pub fn system() -> Self {
        Self::named("tessera")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether the key is still good at `unix_ms` for what it was taken for. `key` finds the keys that were not revoked.
    ///
    /// # Errors
    /// It is not.
    pub fn check<'a>(
        &self,
        unix_ms: i64,
        key: impl FnOnce(KeyId) -> Option<&'a ApiKey>,
    ) -> Result<(), Refusal> {
        let Some((id, needs)) = self.leave else {
            return Ok(());
        };
        let ended = |how| Refusal::KeyEnded {
            key: self.to_string(),
            how,
        };
        let key = key(id).ok_or_else(|| ended("was revoked"))?;
        if !key.is_live(unix_ms) {
            return Err(ended("has expired"));
        }
        if key.role < needs {
            return Err(ended("does not have the role that this needs any more"));
        }
        Ok(())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}
