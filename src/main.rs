//! The `tessera` binary: arguments → runtime → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tessera::cli::run(std::env::args_os())
}
