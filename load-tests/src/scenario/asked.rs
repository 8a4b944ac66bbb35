//! The scenario that a command is given, and what its arguments change of it.

use std::error::Error;
use std::path::Path;

use super::Scenario;
use super::read::{self, Checked, Overrides};
use super::shipped::{self, Source};
use super::value::SEED_MAX;

/// Which scenario.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// A scenario's file, or the name of a shipped one (see `scenarios`)
    #[arg(value_name = "FILE|NAME")]
    scenario: String,
    /// So many devices in all, the kinds in proportion
    #[arg(long, value_name = "N")]
    devices: Option<u32>,
    /// Another seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    seed: Option<u64>,
}

/// The scenario that was asked for.
#[derive(Debug)]
pub struct Found {
    /// Its text, as it stands.
    pub source: Source,
    /// What the arguments have changed.
    pub overrides: Overrides,
    /// The scenario, changed.
    pub scenario: Scenario,
}

impl Asked {
    /// Finds and reads it; warnings go to `err`.
    ///
    /// # Errors
    ///
    /// It cannot be found, or has mistakes.
    pub fn find(&self, err: &mut dyn FnMut(&str)) -> Result<Found, Box<dyn Error>> {
        let source = shipped::find(&self.scenario)?;
        if source.is_shipped && Path::new(&self.scenario).is_file() {
            err(&format!(
                "note: {0} is the shipped scenario; the file of that name here is ./{0}\n",
                self.scenario
            ));
        }
        let overrides = Overrides {
            devices: self.devices,
            seed: self.seed,
        };
        let Checked { scenario, warnings } =
            read::check(&source.text, &overrides).map_err(|mistakes| mistakes.in_file(&source.name))?;
        for warning in warnings {
            err(&format!("warning: {}\n", warning.told(Some(&source.name))));
        }
        Ok(Found {
            source,
            overrides,
            scenario,
        })
    }
}
