//! How a table is read: each key by a reader of its own, everything that is wrong noted, and reading goes on.

use std::collections::{BTreeMap, BTreeSet};

use super::ImageName;
use super::format::Keys;
use super::mistake::{Mistake, Place};
use super::raw::{RawValue, Said, Table};
use super::value::{self, Read};
use crate::network::Profile;

/// Reads sections and notes what is wrong with them.
#[derive(Debug, Default)]
pub struct Reading {
    pub mistakes: Vec<Mistake>,
    pub warnings: Vec<Mistake>,
}

/// A table whose keys are all known.
#[derive(Clone, Copy, Debug)]
pub struct Open<'t> {
    pub table: &'t Table,
    keys: Keys,
}

/// It is among the mistakes already.
#[derive(Clone, Copy, Debug)]
pub struct Reported;

/// Names that others refer to, whether or not what they name is right.
#[derive(Debug)]
pub struct Names<'t> {
    pub images: BTreeSet<ImageName>,
    pub cohorts: Vec<&'t str>,
    pub kinds: Vec<&'t str>,
    pub networks: BTreeMap<&'t str, Option<Profile>>,
}

impl Reading {
    /// Reports the keys that do not belong.
    pub fn open<'t>(&mut self, table: &'t Table, keys: Keys) -> Open<'t> {
        for (key, entry) in table.entries().filter(|(key, _)| !keys.contains(key)) {
            let problem = match value::nearest(key, keys) {
                Some(likely) => format!(
                    "unknown key; did you mean {likely}? There are {}",
                    keys.join(", ")
                ),
                None => format!("unknown key; there are {}", keys.join(", ")),
            };
            self.mistakes
                .push(Mistake::key(entry.key_place, table.key(key), problem));
        }
        Open { table, keys }
    }

    pub fn required<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Result<T, Reported> {
        match open.get(key) {
            Some(said) => read(&said.value).map_err(|accepted| self.wrong(open, key, said, &accepted)),
            None => {
                // Nobody says this, so every reader tells what it accepts.
                let accepted = read(&RawValue::Other(String::new())).err().unwrap_or_default();
                Err(self.lacks(open, key, &accepted))
            }
        }
    }

    pub fn optional<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Result<Option<T>, Reported> {
        match open.get(key) {
            Some(said) => read(&said.value)
                .map(Some)
                .map_err(|accepted| self.wrong(open, key, said, &accepted)),
            None => Ok(None),
        }
    }

    pub fn or<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        default: T,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Result<T, Reported> {
        Ok(self.optional(open, key, read)?.unwrap_or(default))
    }

    /// The place of what a key names, among names.
    pub fn reference(
        &mut self,
        open: Open<'_>,
        key: &str,
        section: &str,
        names: &[&str],
    ) -> Result<Option<usize>, Reported> {
        self.optional(open, key, |said| {
            let name = said.text().unwrap_or_default();
            names.iter().position(|known| *known == name).ok_or_else(|| {
                if names.is_empty() {
                    format!("the name of one of {section}, of which there are none")
                } else {
                    format!("the name of one of {section}: {}", value::one_of(name, names))
                }
            })
        })
    }

    pub fn required_reference(
        &mut self,
        open: Open<'_>,
        key: &str,
        section: &str,
        names: &[&str],
    ) -> Result<usize, Reported> {
        match self.reference(open, key, section, names)? {
            Some(place) => Ok(place),
            None => Err(self.lacks(open, key, &format!("the name of one of {section}"))),
        }
    }

    /// Names of images that exist, each package once.
    pub fn image_list(
        &mut self,
        open: Open<'_>,
        key: &str,
        names: &Names<'_>,
    ) -> Result<Option<Vec<ImageName>>, Reported> {
        let Some(said) = open.get(key) else {
            return Ok(None);
        };
        let before = self.mistakes.len();
        let mut images: Vec<ImageName> = Vec::new();
        for member in listed(said) {
            let Some(image) = self.member(open, key, member, value::image_name) else {
                continue;
            };
            let shown = || format!("\"{image}\"");
            if !names.images.contains(&image) {
                let known: Vec<String> = names.images.iter().map(ToString::to_string).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let accepted = if known.is_empty() {
                    format!("an image; there are none, as [images.\"{image}\"] would be one")
                } else {
                    format!("an image: {}", value::one_of(&image.to_string(), &known))
                };
                self.mistakes.push(Mistake::value(
                    member.place,
                    open.table.key(key),
                    shown(),
                    &accepted,
                ));
            } else if images.iter().any(|other| other.package == image.package) {
                let problem = format!("expected one version of {} at a time", image.package);
                self.mistakes.push(Mistake::contradiction(
                    member.place,
                    open.table.key(key),
                    shown(),
                    problem,
                ));
            }
            images.push(image);
        }
        if self.mistakes.len() == before {
            Ok(Some(images))
        } else {
            Err(Reported)
        }
    }

    pub fn member<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        member: &Said,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Option<T> {
        read(&member.value)
            .map_err(|accepted| self.wrong(open, key, member, &accepted))
            .ok()
    }

    pub fn section<'t>(&mut self, top: Open<'t>, key: &str) -> Option<&'t Table> {
        self.table_of(top, key)
    }

    pub fn table_of<'t>(&mut self, open: Open<'t>, key: &str) -> Option<&'t Table> {
        let said = open.get(key)?;
        if let RawValue::Table(table) = &said.value {
            return Some(table);
        }
        let accepted = if open.table.header.is_empty() {
            format!("a section [{key}]")
        } else {
            format!("a table, like {key} = {{ … }}")
        };
        self.wrong(open, key, said, &accepted);
        None
    }

    /// `[[key]]`, each.
    pub fn sections<'t>(&mut self, top: Open<'t>, key: &str) -> Vec<&'t Table> {
        let Some(said) = top.get(key) else {
            return Vec::new();
        };
        let RawValue::List(members) = &said.value else {
            self.wrong(top, key, said, &format!("sections [[{key}]], with two brackets"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for member in members {
            if let RawValue::Table(table) = &member.value {
                tables.push(table);
            } else {
                self.wrong(top, key, member, &format!("sections [[{key}]]"));
            }
        }
        tables
    }

    /// `[key.NAME]`, each.
    pub fn named_sections<'t>(&mut self, top: Open<'t>, key: &str) -> Vec<(&'t str, Place, &'t Table)> {
        let mut sections = Vec::new();
        let Some(tables) = self.section(top, key) else {
            return sections;
        };
        for (name, entry) in tables.entries() {
            match &entry.value.value {
                RawValue::Table(table) => sections.push((name, entry.key_place, table)),
                other => self.mistakes.push(Mistake::value(
                    entry.value.place,
                    tables.key(name),
                    other.to_string(),
                    &format!("a section [{key}.{name:?}]"),
                )),
            }
        }
        sections
    }

    /// The names in these sections, each once.
    pub fn names<'t>(&mut self, tables: &[&'t Table]) -> Vec<&'t str> {
        let mut names: Vec<&str> = Vec::new();
        for table in tables {
            // A name that is none keeps its place, so that the places of the others are right.
            let said = table.get("name").filter(|said| said.value.text().is_some());
            let name = said.and_then(|said| said.value.text()).unwrap_or_default();
            if let Some(said) = said
                && names.contains(&name)
            {
                self.mistakes.push(Mistake::contradiction(
                    said.place,
                    table.key("name"),
                    said.value.to_string(),
                    "is there twice: expected a name of its own".to_owned(),
                ));
            }
            names.push(name);
        }
        names
    }

    pub fn wrong(&mut self, open: Open<'_>, key: &str, said: &Said, accepted: &str) -> Reported {
        self.mistakes.push(Mistake::value(
            said.place,
            open.table.key(key),
            said.value.to_string(),
            accepted,
        ));
        Reported
    }

    pub fn lacks(&mut self, open: Open<'_>, key: &str, accepted: &str) -> Reported {
        self.mistakes
            .push(Mistake::missing(open.table.place, open.table.key(key), accepted));
        Reported
    }

    pub fn contradict(&mut self, open: Open<'_>, key: &str, problem: String) {
        let (place, value) = open.get(key).map_or((open.table.place, String::new()), |said| {
            (said.place, said.value.to_string())
        });
        self.mistakes
            .push(Mistake::contradiction(place, open.table.key(key), value, problem));
    }
}

impl<'t> Open<'t> {
    pub fn get(self, key: &str) -> Option<&'t Said> {
        debug_assert!(self.keys.contains(&key), "{key} is in no table of the format");
        self.table.get(key)
    }
}

/// A list's members; anything else is a list of one.
pub fn listed(said: &Said) -> Vec<&Said> {
    if let RawValue::List(members) = &said.value {
        members.iter().collect()
    } else {
        vec![said]
    }
}
