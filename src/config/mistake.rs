//! What is wrong with a configuration, said so that it can be put right without a manual.

use std::fmt;

use super::raw::Origin;

/// Every mistake of a configuration.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "one mistake in the configuration:")?,
            many => write!(f, "{many} mistakes in the configuration:")?,
        }
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// What it is about: a key, or nothing where a file as a whole is meant.
    key: Option<String>,
    /// The value, masked if it is a secret.
    value: Option<String>,
    origin: Origin,
    problem: String,
}

impl Mistake {
    /// A key has a value that it does not accept.
    pub fn value(key: &str, value: String, origin: Origin, accepted: String) -> Self {
        Self {
            key: Some(key.to_owned()),
            value: Some(value),
            origin,
            problem: format!("expected {accepted}"),
        }
    }

    /// Something is wrong with a key, whatever its value.
    pub fn key(key: &str, origin: Origin, problem: String) -> Self {
        Self {
            key: Some(key.to_owned()),
            value: None,
            origin,
            problem,
        }
    }

    /// Something is wrong with a whole source.
    pub fn source(origin: Origin, problem: String) -> Self {
        Self {
            key: None,
            value: None,
            origin,
            problem,
        }
    }

    /// The same mistake in a file of another name: tests compare whole messages.
    #[cfg(test)]
    pub fn with_path(mut self, name: &str) -> Self {
        if let Origin::File { path, .. } = &mut self.origin {
            *path = name.into();
        }
        self
    }

    /// The key concerned, if it is one key.
    pub fn about(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            f.write_str(key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            match &self.origin {
                Origin::Together => {}
                origin => write!(f, " ({origin})")?,
            }
        } else {
            write!(f, "{}", self.origin)?;
        }
        write!(f, ": {}", self.problem)
    }
}
