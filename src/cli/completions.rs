//! `tessera completions`: what makes a shell complete this program's words.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::aot;

use super::failure::Failure;
use super::output::print;

/// Arguments of `tessera completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
For this shell alone:    source <(tessera completions bash)
From the next one on:
  bash  tessera completions bash > ~/.local/share/bash-completion/completions/tessera
  zsh   tessera completions zsh > a folder of $fpath, as _tessera
  fish  tessera completions fish > ~/.config/fish/completions/tessera.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell that can be told what there is to complete.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    /// GNU Bash, 4 or newer
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut super::Cli::command(), "tessera", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(())
}
