//! The arguments of `run`.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::scenario::Asked;

/// What to run, and against which gateway.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub asked: Asked,
    /// Where the result goes; without it, tessera-fleet-results/SCENARIO-TIME
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The API of a gateway that runs already; without it, the run starts one of its own
    #[arg(long, value_name = "URL", requires = "api_key_file", requires = "gateway")]
    pub url: Option<String>,
    /// A file with an API key of that gateway that may change its fleet
    #[arg(long, value_name = "FILE", requires = "url")]
    pub api_key_file: Option<PathBuf>,
    /// Where that gateway listens for devices
    #[arg(long, value_name = "ADDR:PORT", requires = "url", value_parser = address)]
    pub gateway: Option<SocketAddr>,
    /// That gateway's process, if it is on this machine: its CPU time and memory are read from /proc
    #[arg(long, value_name = "PID", requires = "url")]
    pub pid: Option<u32>,
    /// Threads of the simulator; without it, one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// This machine's addresses that devices send from, separated by commas; without it, 127.0.0.0/8 for a gateway there, else
    /// what the routes choose
    #[arg(long, value_name = "ADDR,ADDR", value_delimiter = ',', value_parser = own_address)]
    pub from: Vec<IpAddr>,
    /// The ports of each of these addresses; every device has one of its own. Without it, 10000-65535
    #[arg(long, value_name = "A-B", value_parser = port_range)]
    pub ports: Option<RangeInclusive<u16>>,
    /// Show nothing while it runs
    #[arg(long)]
    pub quiet: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port: 192.0.2.1:5684 or [2001:db8::1]:5684".to_owned())
}

fn own_address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "expected IP addresses of this machine: 192.0.2.7 or 192.0.2.7,192.0.2.8".to_owned())
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?))
        .filter(|range: &RangeInclusive<u16>| *range.start() > 0 && !range.is_empty());
    range.ok_or_else(|| "expected two ports from 1 to 65535, the lower one first: 20000-29999".to_owned())
}
