//! `tessera serve`.

use clap::Args;

use super::failure::Failure;
use super::settings::SettingArgs;
use crate::app;

/// Arguments of `tessera serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingArgs,
}

/// Serves until SIGTERM.
pub fn run(args: ServeArgs) -> Result<(), Failure> {
    app::serve(args.settings.load()?).map_err(Failure::program)
}
