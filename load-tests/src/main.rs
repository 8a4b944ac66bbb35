//! `tessera-fleet`: many simulated devices against a gateway, and what they saw.
//!
//! 1. [`credentials`]: a file says who the devices are
//! 2. [`driving`]: each gets a socket and a clock
//! 3. [`tally`]: what happened to them is counted, and printed at the end
//!
//! And, without a gateway, [`mod@check`]: what a [`scenario`] would do, by its [`plan`]; and [`mod@bench`]: what some things cost.

mod bench;
mod check;
mod credentials;
mod driving;
#[expect(dead_code, unused_imports, reason = "the run uses it")]
mod gateway;
#[cfg_attr(not(test), expect(dead_code, reason = "the engines send through it"))]
mod network;
mod plan;
#[expect(dead_code, unused_imports, reason = "the run does what they say")]
mod scenario;
mod tally;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tessera::clock;
use tessera::virtual_device::{ClientCredential, Event, Model, Pace, Port, VirtualDevice};
use tokio::sync::mpsc;

use crate::check::CheckArgs;
use crate::credentials::Credentials;
use crate::driving::Happened;
use crate::tally::Tally;

/// Drives a simulated fleet.
#[derive(Debug, Parser)]
#[command(name = "tessera-fleet", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect every device of a file and report what they saw
    Drive(DriveArgs),
    /// Say what a scenario would do, or everything that is wrong with it
    Check(CheckArgs),
    /// List the scenarios that come with the program
    Scenarios,
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
struct BenchArgs {
    /// What to measure
    what: Bench,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Bench {
    /// CPU of a full handshake, by suite
    Handshakes,
}

#[derive(Debug, clap::Args)]
struct DriveArgs {
    /// The gateway's CoAP over DTLS port
    #[arg(long, value_name = "ADDRESS")]
    gateway: SocketAddr,
    /// A CSV file with a line `identity,secret` for each device
    #[arg(long, value_name = "FILE")]
    devices: PathBuf,
    /// The package that the devices update
    #[arg(long, default_value = "main")]
    package: String,
    /// The version that they run at the start
    #[arg(long, default_value = "1.0.0")]
    version: String,
    /// End once every device runs this version; without it, only time ends the run
    #[arg(long, value_name = "VERSION")]
    until: Option<String>,
    /// End after so many seconds, whatever has been reached
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// Spread the first connections over so many seconds
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    ramp: u64,
    /// Shorten the devices' own pauses by this factor
    #[arg(long, default_value_t = 1, value_name = "N")]
    faster: u32,
    /// Behave as the SDK's Zephyr port does, not as its libcoap port
    #[arg(long)]
    zephyr: bool,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Decides every random choice of the devices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let written = |text: &str, mut to: Box<dyn Write>| {
        // Nobody is left to tell that nobody listens.
        let _ = to.write_all(text.as_bytes());
    };
    let outcome = match Cli::parse().command {
        Command::Drive(args) => drive(&args).map(|tally| {
            written(&tally.table(), Box::new(std::io::stdout()));
            args.until.is_none() || tally.arrived()
        }),
        Command::Check(args) => check::check(
            &args,
            &mut |text| written(text, Box::new(std::io::stdout())),
            &mut |text| written(text, Box::new(std::io::stderr())),
        )
        .map(|()| true),
        Command::Scenarios => check::scenarios().map(|table| {
            written(&table, Box::new(std::io::stdout()));
            true
        }),
        Command::Bench(args) => bench(args.what).map(|table| {
            written(&table, Box::new(std::io::stdout()));
            true
        }),
        Command::ServeGateway(args) => return gateway::serve_gateway(&args),
        Command::HoldDisk(args) => return gateway::hold_disk(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            written(&format!("error: {error}\n"), Box::new(std::io::stderr()));
            ExitCode::from(2)
        }
    }
}

fn bench(what: Bench) -> Result<String, Box<dyn std::error::Error>> {
    match what {
        Bench::Handshakes => Ok(bench::handshakes()?),
    }
}

fn drive(args: &DriveArgs) -> Result<Tally, Box<dyn std::error::Error>> {
    let fleet = credentials::read(&args.devices)?;
    let port = if args.zephyr { Port::Zephyr } else { Port::Libcoap };
    let model = Arc::new(Model {
        package: args.package.clone(),
        pace: Pace::of(port).faster(args.faster),
        ..Model::of(port)
    });
    let began = clock::now();
    let devices = fleet
        .into_iter()
        .enumerate()
        .map(|(index, Credentials { identity, psk })| {
            let start = began + Duration::from_secs(args.ramp).mul_f64(spread(index));
            VirtualDevice::new(
                Arc::clone(&model),
                ClientCredential::Psk { identity, key: psk },
                &args.version,
                start,
                args.seed ^ index as u64,
            )
        });
    let devices: Vec<VirtualDevice> = devices.collect();
    let mut tally = Tally::new(devices.len(), &args.version, args.until.clone());
    let (sender, mut happened) = mpsc::channel(EVENTS_MAX);
    let fleet = driving::start(devices, args.gateway, usize::from(args.threads), &sender)
        .map_err(|error| format!("no socket or thread for a device: {error}"))?;
    drop(sender);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(count(
        &mut happened,
        began + Duration::from_secs(args.seconds),
        &mut tally,
    ));
    tally.took = clock::now() - began;
    drop(fleet);
    Ok(tally)
}

async fn count(happened: &mut mpsc::Receiver<Happened>, deadline: Instant, tally: &mut Tally) {
    let all = async {
        while let Some(Happened { device, at, event }) = happened.recv().await {
            tally.note(device, at, &event);
            let may_end = matches!(event, Event::Reported { .. });
            if may_end && tally.arrived() {
                return;
            }
        }
    };
    // Late is no error: the table says how far the devices came.
    let _ = tokio::time::timeout_at(deadline.into(), all).await;
}

/// Where in the ramp a device starts, 0 to 1: the golden ratio's multiples are spread evenly however many there are.
fn spread(index: usize) -> f64 {
    (index as f64 * 0.618_033_988_749_895).fract()
}

/// Events that may wait to be counted; devices pause at the bound.
const EVENTS_MAX: usize = 65_536;
