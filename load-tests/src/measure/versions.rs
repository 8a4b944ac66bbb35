//! Versions as small numbers: a million devices each know some.

use std::collections::HashMap;

use super::device::Version;

/// Versions that have been met. Devices only report what the scenario names, so there are no more.
#[derive(Debug, Default)]
pub struct Versions {
    pub packages: Vec<String>,
    pub names: Vec<String>,
    /// By package, by version.
    places: Vec<HashMap<String, Version>>,
}

impl Versions {
    /// A package's place among those that have been met.
    pub fn package(&mut self, name: &str) -> usize {
        let known = self.packages.iter().position(|package| package == name);
        known.unwrap_or_else(|| {
            self.packages.push(name.to_owned());
            self.places.push(HashMap::new());
            self.packages.len() - 1
        })
    }

    /// A version's place, if it has been met.
    pub fn known(&self, package: usize, version: &str) -> Option<Version> {
        self.places[package].get(version).copied()
    }

    /// A version's place among those that have been met.
    pub fn of(&mut self, package: usize, version: &str) -> Version {
        if let Some(known) = self.places[package].get(version) {
            return *known;
        }
        let place = Version(self.names.len() as u32);
        // Where there is one package only, nobody wants to read its name each time.
        self.names.push(match &self.packages[..] {
            [_] => version.to_owned(),
            packages => format!("{}@{version}", packages[package]),
        });
        self.places[package].insert(version.to_owned(), place);
        place
    }
}
