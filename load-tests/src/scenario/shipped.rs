//! The scenarios that come with the program, and files.

use std::io;

use super::value;

/// A scenario's text and what to call it in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, or the name of a shipped scenario.
    pub name: String,
    /// The text.
    pub text: String,
    /// Whether it came with the program.
    pub is_shipped: bool,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Neither a file nor a shipped scenario.
    #[error("{name}: no such file, and no scenario of that name is shipped: expected a file, or {accepted}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names there are.
        accepted: String,
    },
    /// The file is there, and cannot be read.
    #[error("{name} cannot be read")]
    Unreadable {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// The shipped scenarios: name and text, in the order in which one would try them.
#[must_use]
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    SHIPPED
}

/// The scenario that somebody means by a word: a shipped one of that name, else a file.
///
/// # Errors
///
/// There is neither, or the file cannot be read.
pub fn find(name: &str) -> Result<Source, SourceError> {
    let shipped = SHIPPED.iter().find(|(known, _)| *known == name);
    let text = match shipped {
        Some((_, text)) => Ok((*text).to_owned()),
        None => std::fs::read_to_string(name).map_err(|source| {
            let name = name.to_owned();
            if source.kind() == io::ErrorKind::NotFound {
                let names: Vec<&str> = SHIPPED.iter().map(|(known, _)| *known).collect();
                let accepted = value::one_of(&name, &names);
                SourceError::Unknown { name, accepted }
            } else {
                SourceError::Unreadable { name, source }
            }
        }),
    };
    text.map(|text| Source {
        name: name.to_owned(),
        text,
        is_shipped: shipped.is_some(),
    })
}

const SHIPPED: &[(&str, &str)] = &[
    ("smoke", include_str!("../../scenarios/smoke.toml")),
    ("foreign", include_str!("../../scenarios/foreign.toml")),
    (
        "connect-storm",
        include_str!("../../scenarios/connect-storm.toml"),
    ),
    ("deploy-10k", include_str!("../../scenarios/deploy-10k.toml")),
    ("lossy-nbiot", include_str!("../../scenarios/lossy-nbiot.toml")),
    ("nat-rebind", include_str!("../../scenarios/nat-rebind.toml")),
    (
        "gateway-restart",
        include_str!("../../scenarios/gateway-restart.toml"),
    ),
    ("mixed-fleet", include_str!("../../scenarios/mixed-fleet.toml")),
    ("bad-devices", include_str!("../../scenarios/bad-devices.toml")),
    ("disk-full", include_str!("../../scenarios/disk-full.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
];
