//! `tessera-fleet`: many simulated devices against a gateway, and what came of it.
//!
//! 1. [`scenario`]: what is to be; [`plan`]: every device and every choice, before anything happens; [`mod@check`]: both, said aloud
//! 2. [`mod@run`]: a [`gateway`] is started and told of the fleet; [`engine`]: devices at work, each on an [`endpoint`] of its own
//!    behind a simulated [`network`]
//! 3. [`measure`]: what happens is counted and judged; [`result`]: the document of it
//! 4. [`mod@report`]: a result to look at; [`mod@compare`]: two results beside each other; [`quantity`]: numbers for people
//!
//! And, without a gateway, [`mod@bench`]: what some things cost.

mod bench;
mod check;
mod compare;
mod endpoint;
mod engine;
mod gateway;
mod measure;
mod network;
mod plan;
mod quantity;
mod report;
mod result;
mod run;
mod scenario;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::check::CheckArgs;
use crate::result::RunResult;
use crate::run::RunArgs;

/// Simulates a fleet of devices against a gateway, and says what came of it.
#[derive(Debug, Parser)]
#[command(name = "tessera-fleet", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: exit code 0 when all that it expects was seen, 1 when not, 2 when it cannot be run
    Run(RunArgs),
    /// Say what a scenario would do, or everything that is wrong with it
    Check(CheckArgs),
    /// List the scenarios that come with the program
    Scenarios,
    /// Make a page with plots of a run's result
    Report(ReportArgs),
    /// Put two runs' results beside each other, as ratios
    Compare(CompareArgs),
    /// Measure what something costs the gateway, beside what it is made of
    Bench(BenchArgs),
    /// Be the gateway of a run, which starts this
    #[command(hide = true)]
    ServeGateway(gateway::ServeGatewayArgs),
    /// Keep the disk of a run's gateway
    #[command(hide = true)]
    HoldDisk(gateway::HoldDiskArgs),
}

#[derive(Debug, clap::Args)]
struct ReportArgs {
    /// What `run` wrote
    #[arg(value_name = "RESULT.json")]
    result: PathBuf,
    /// Where the page goes; without it, beside the result as .html
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct CompareArgs {
    /// The result that the other is measured by
    #[arg(value_name = "A.json")]
    a: PathBuf,
    /// The other
    #[arg(value_name = "B.json")]
    b: PathBuf,
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    #[command(subcommand)]
    what: Bench,
}

#[derive(Clone, Debug, Subcommand)]
enum Bench {
    /// CPU of a full handshake, by suite
    Handshakes,
    /// How long every page of the console and every list of the API takes, with a large fleet on record
    Lists(bench::ListsArgs),
}

fn main() -> ExitCode {
    let mut failed = None;
    let mut out = |text: &str| {
        if failed.is_none() {
            let mut to = io::stdout();
            failed = to.write_all(text.as_bytes()).and_then(|()| to.flush()).err();
        }
    };
    let mut err = |text: &str| {
        // Nobody is left to tell that nobody listens.
        let _ = io::stderr().write_all(text.as_bytes());
    };
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args, &mut out, &mut err),
        Command::Check(args) => check::check(&args, &mut out, &mut err).map(|()| true),
        Command::Scenarios => check::scenarios().map(|table| {
            out(&table);
            true
        }),
        Command::Report(args) => report(&args).map(|page| {
            out(&format!("{}\n", page.display()));
            true
        }),
        Command::Compare(args) => compare(&args).map(|table| {
            out(&table);
            true
        }),
        Command::Bench(args) => bench(&args.what, &mut err).map(|table| {
            out(&table);
            true
        }),
        Command::ServeGateway(args) => return gateway::serve_gateway(&args),
        Command::HoldDisk(args) => return gateway::hold_disk(&args),
    };
    // Whoever closes a pipe has read enough.
    let failed = failed.filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
    if let Some(error) = &failed {
        err(&format!("error: the output cannot be written: {error}\n"));
    }
    match outcome {
        Ok(_) if failed.is_some() => ExitCode::FAILURE,
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            err(&format!("error: {}\n", run::chain(&*error)));
            ExitCode::from(2)
        }
    }
}

fn bench(what: &Bench, err: &mut dyn FnMut(&str)) -> Result<String, Box<dyn Error>> {
    match what {
        Bench::Handshakes => Ok(bench::handshakes()?),
        Bench::Lists(args) => bench::lists(args, err),
    }
}

/// Writes the page and says where.
fn report(args: &ReportArgs) -> Result<PathBuf, Box<dyn Error>> {
    let result = RunResult::read(&args.result)?;
    let page = args
        .output
        .clone()
        .unwrap_or_else(|| args.result.with_extension("html"));
    if page == args.result {
        return Err(format!(
            "the page would replace the result {}; name another file with -o",
            page.display()
        )
        .into());
    }
    std::fs::write(&page, report::html(&result))
        .map_err(|error| format!("the page cannot be written to {}: {error}", page.display()))?;
    Ok(page)
}

fn compare(args: &CompareArgs) -> Result<String, Box<dyn Error>> {
    Ok(compare::table(
        &RunResult::read(&args.a)?,
        &RunResult::read(&args.b)?,
    ))
}
