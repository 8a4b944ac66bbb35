//! `tessera config`.

use clap::Subcommand;

use super::failure::Failure;
use super::output::{print, say};
use super::settings::SettingArgs;
use crate::app;

/// Verbs of `tessera config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake at once; print what is in force, secrets masked
    Check(SettingArgs),
}

/// Runs a verb.
pub fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(settings) => {
            let config = settings.load()?;
            app::check_files(&config).map_err(Failure::program)?;
            print(&config.render_masked());
            say("the configuration is in order");
            Ok(())
        }
    }
}
