//! `tessera demo`: a gateway and a fleet in one process, and an update to watch.
//!
//! 1. a gateway on a temporary data folder, on loopback
//! 2. versions of a package, a cohort, and its devices, all through the HTTP API
//! 3. the devices ([`drive`]): real UDP, real DTLS, simulated behind that; each with a character of its own
//! 4. the second version is deployed, and the terminal shows how it arrives ([`screen`])
//! 5. the gateway's own word on every device, and a summary
//! 6. unless `--once`: where the console is, what to try next, and a fleet that goes on updating until Ctrl-C
//!
//! Waiting is asynchronous, so that it can be interrupted; calls to the API block, as they do in every other command.

mod drive;
mod screen;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use data_encoding::BASE64;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use self::drive::{Driver, Happened, Network};
use self::screen::{Screen, Share, Summary};
use super::client::Client;
use super::failure::Failure;
use super::interrupts::Interrupts;
use super::output::{count, field, print, say};
use crate::app::Gateway;
use crate::clock;
use crate::config::{Config, Secret};
use crate::virtual_device::{
    Booting, ClientCredential, Event, Identity, Model, Pace, Port, Psk, VirtualDevice,
};

/// Arguments of `tessera demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Devices to simulate
    #[arg(long, default_value_t = 25, value_name = "N", value_parser = devices)]
    devices: u32,
    /// End after the update; exit code 0 only if every device runs the new version
    #[arg(long)]
    once: bool,
    /// Lose this share of the datagrams, each way
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=50))]
    loss: u8,
}

fn devices(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=10_000).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 10000".to_owned())
}

/// Runs the demonstration.
pub fn run(args: DemoArgs) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(Failure::program)?;
    // Before there is a folder that a signal could leave behind.
    let interrupts = Interrupts::new(&runtime)?;
    let folder = tempfile::Builder::new()
        .prefix("tessera-demo-")
        .tempdir()
        .map_err(Failure::program)?;
    say("Starting a gateway on a temporary data folder …");
    let gateway = runtime
        .block_on(Gateway::start(&config(folder.path())))
        .map_err(Failure::program)?;
    let shown = Show::new(&runtime, &gateway, interrupts, &args).and_then(|mut show| show.run(&args));
    // The devices are gone by now; what the gateway holds of them goes with the folder.
    runtime.block_on(gateway.stop()).map_err(Failure::program)?;
    shown
}

/// Free ports on loopback; the API's usual one if nobody has it.
fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.data.dir = folder.join("data");
    config.coaps.listen = vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)];
    let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), API_PORT);
    let free = TcpListener::bind(usual).is_ok();
    config.admin.listen = if free {
        usual
    } else {
        SocketAddr::new(usual.ip(), 0)
    };
    config
}

/// The demonstration under way.
struct Show<'r> {
    runtime: &'r Runtime,
    gateway: &'r Gateway,
    client: Client,
    url: String,
    key: String,
    devices_at: SocketAddr,
    interrupts: Interrupts,
    happened: mpsc::Receiver<Happened>,
    sender: mpsc::Sender<Happened>,
    seats: Vec<Seat>,
}

/// What is known of one device.
#[derive(Debug)]
struct Seat {
    name: String,
    character: Character,
    version: String,
    /// The number of the manifest that it read last.
    sequence: Option<i64>,
    /// An update to what that manifest says has failed.
    has_failed: bool,
    settled: bool,
    /// What it last did, for the summary if it stays behind.
    last: &'static str,
}

/// What tells a device from others, beside its way to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Character {
    /// Its place in [`Port::ALL`].
    port: usize,
    /// Its place in [`REBOOTS`].
    reboot: usize,
    /// Its flash does not hold [`BAD`] as it came.
    is_delicate: bool,
}

/// What a device has come to.
enum News {
    /// It runs this version, and the gateway knows.
    Runs(String),
    /// It reports that an update failed, for the first time since it read this manifest.
    Failed,
}

/// What ended a wait.
enum Next {
    Happened(Happened),
    Late,
    Interrupted,
}

impl<'r> Show<'r> {
    fn new(
        runtime: &'r Runtime,
        gateway: &'r Gateway,
        interrupts: Interrupts,
        args: &DemoArgs,
    ) -> Result<Self, Failure> {
        let missing = |what: &str| Failure::Failed(format!("the gateway came up without {what}"));
        let key = gateway
            .first_admin_key
            .as_ref()
            .ok_or_else(|| missing("a key"))?
            .text
            .as_str()
            .to_owned();
        let url = format!("http://{}", gateway.admin_addr);
        let (sender, happened) = mpsc::channel(EVENTS_MAX);
        let seats = (1..=args.devices)
            .map(|number| Seat::new(number, args.devices))
            .collect();
        Ok(Self {
            runtime,
            gateway,
            client: Client::at(&url, "default", Secret::new(key.clone())),
            url,
            key,
            devices_at: *gateway
                .device_addrs
                .first()
                .ok_or_else(|| missing("a port for devices"))?,
            interrupts,
            happened,
            sender,
            seats,
        })
    }

    fn run(&mut self, args: &DemoArgs) -> Result<(), Failure> {
        let versions: &[&str] = if args.once {
            &[OLD, NEW]
        } else {
            &[OLD, NEW, NEXT, BAD]
        };
        say(&format!(
            "Uploading {PACKAGE}@{} ({} KiB each), creating {} in cohort {COHORT} …",
            versions.join(", "),
            artifact_bytes(args) / 1024,
            count(u64::from(args.devices), "device")
        ));
        let cohort = self.furnish(versions, artifact_bytes(args))?;
        let devices = self.create_devices(args.once)?;
        let network = Network {
            loss_percent: args.loss,
            farthest: if args.once { Duration::ZERO } else { FARTHEST },
            seed: SEED,
        };
        let driver = Driver::start(devices, self.devices_at, network, self.sender.clone())
            .map_err(|error| Failure::Failed(format!("no socket or thread for a device: {error}")))?;
        let patience = patience(args);
        self.gather(patience)?;
        let of = |port| self.seats.iter().filter(|seat| seat.port() == port).count();
        if !args.once {
            self.tell_where();
        }
        say(&format!(
            "All {} devices ({} of the SDK's libcoap port, {} of its Zephyr port) are connected and run {OLD}. Deploying {NEW} …",
            args.devices,
            of(Port::Libcoap),
            of(Port::Zephyr)
        ));
        let mut summary = self.roll_out(&cohort, artifact_bytes(args), patience)?;
        self.compare(&mut summary)?;
        print(&summary.table());
        if !args.once {
            self.invite();
            self.follow();
        }
        drop(driver);
        if summary.complete() {
            return Ok(());
        }
        let behind: Vec<String> = summary.failed.iter().map(|(name, _)| name.clone()).collect();
        Err(Failure::Failed(format!(
            "{} of {} devices do not run {NEW}: {}",
            behind.len(),
            args.devices,
            listing(&behind)
        )))
    }

    /// Versions, a cohort, the first deployment. Returns the cohort's id.
    fn furnish(&self, versions: &[&str], bytes: usize) -> Result<String, Failure> {
        self.client.post(
            "packages",
            &json!({ "name": PACKAGE, "description": "Made by the demonstration" }),
        )?;
        let mut rng = StdRng::seed_from_u64(SEED);
        for version in versions {
            let mut bytes = vec![0; bytes];
            rng.fill_bytes(&mut bytes);
            let digest = format!("sha-256=:{}:", BASE64.encode(&Sha256::digest(&bytes)));
            let path = format!("packages/{PACKAGE}/artifacts/{version}");
            self.client.put(&path, &digest, bytes.len() as u64, &bytes[..])?;
        }
        let cohort = field(&self.client.post("cohorts", &json!({ "name": COHORT }))?, "/id");
        self.deploy(&cohort, OLD)?;
        Ok(cohort)
    }

    fn deploy(&self, cohort: &str, version: &str) -> Result<Value, Failure> {
        let artifacts = json!([{ "package": PACKAGE, "version": version }]);
        let order = json!({ "name": format!("{PACKAGE} {version}"), "artifacts": artifacts });
        self.client.post(&format!("cohorts/{cohort}/deployments"), &order)
    }

    /// Creates the devices with keys of the gateway's making, in one go, so that a list has them in the order of their names.
    fn create_devices(&self, once: bool) -> Result<Vec<VirtualDevice>, Failure> {
        let mut models: BTreeMap<Character, Arc<Model>> = BTreeMap::new();
        for seat in &self.seats {
            let model = || Arc::new(seat.character.model(once));
            models.entry(seat.character).or_insert_with(model);
        }
        let rows = self.seats.iter().map(|seat| {
            let row = json!({ "name": seat.name, "cohort": COHORT, "credentials": [{ "type": "psk" }] });
            format!("{row}\n")
        });
        let rows: String = rows.collect();
        let told = self
            .client
            .post_lines("devices:import", "application/x-ndjson", rows.as_bytes())?;
        let created = told.iter().filter(|line| line["outcome"] == "created");
        let credentials: Vec<ClientCredential> = created
            .map(|line| {
                let (identity, secret) = (
                    field(line, "/credentials/0/identity"),
                    field(line, "/credentials/0/secret"),
                );
                let identity = Identity::new(identity.as_bytes()).map_err(Failure::program)?;
                let key = Psk::new(secret.as_bytes()).map_err(Failure::program)?;
                Ok(ClientCredential::Psk { identity, key })
            })
            .collect::<Result<_, Failure>>()?;
        if credentials.len() != self.seats.len() {
            let last = told.last().map(Value::to_string).unwrap_or_default();
            return Err(Failure::Failed(format!("not every device was created: {last}")));
        }
        let now = clock::now();
        let switched_on = |(index, credential): (usize, ClientCredential)| {
            let model = &models[&self.seats[index].character];
            VirtualDevice::new(Arc::clone(model), credential, OLD, now, SEED ^ index as u64)
        };
        Ok(credentials.into_iter().enumerate().map(switched_on).collect())
    }

    /// Waits until every device has read the first deployment and found nothing to do.
    fn gather(&mut self, patience: Duration) -> Result<(), Failure> {
        let deadline = clock::now() + patience;
        while self.seats.iter().any(|seat| !seat.settled) {
            match self.next(deadline) {
                Next::Happened(happened) => {
                    self.note(&happened);
                }
                Next::Late => {
                    let missing: Vec<String> = self
                        .seats
                        .iter()
                        .filter(|seat| !seat.settled)
                        .map(|seat| format!("{} ({})", seat.name, seat.last))
                        .collect();
                    return Err(Failure::Failed(format!("did not connect: {}", listing(&missing))));
                }
                Next::Interrupted => return Err(interrupted()),
            }
        }
        Ok(())
    }

    /// Deploys the new version and watches until every device runs it, or for as long as there is hope.
    fn roll_out(&mut self, cohort: &str, size: usize, patience: Duration) -> Result<Summary, Failure> {
        let names: Vec<String> = self.seats.iter().map(|seat| seat.name.clone()).collect();
        let began = clock::now();
        self.deploy(cohort, NEW)?;
        let mut screen = Screen::new(&names, size as u64);
        let mut times: Vec<Option<Duration>> = vec![None; names.len()];
        let mut bytes = 0;
        while times.iter().any(Option::is_none) {
            let happened = match self.next(began + patience) {
                Next::Happened(happened) => happened,
                Next::Late => break,
                Next::Interrupted => {
                    screen.close();
                    return Err(interrupted());
                }
            };
            let device = happened.device;
            match &happened.event {
                Event::Progress { received, .. } => screen.received(device, *received),
                Event::Downloaded { bytes: fetched, .. } => bytes += fetched,
                Event::UpdateFailed(_) => {
                    screen.failed(device, &names[device], "the download failed, to be repeated")
                }
                _ => {}
            }
            let news = self.note(&happened);
            if matches!(news, Some(News::Runs(version)) if version == NEW) && times[device].is_none() {
                let took = happened.at.saturating_duration_since(began);
                times[device] = Some(took);
                screen.updated(device, took);
            } else if times[device].is_none() {
                screen.stage(device, self.seats[device].last);
            }
        }
        screen.close();
        let failed = self.seats.iter().zip(&times).filter(|(_, time)| time.is_none());
        Ok(Summary {
            version: format!("{PACKAGE}@{NEW}"),
            failed: failed
                .map(|(seat, _)| (seat.name.clone(), seat.last.to_owned()))
                .collect(),
            ports: Port::ALL.map(|port| {
                let seats = self
                    .seats
                    .iter()
                    .zip(&times)
                    .filter(|(seat, _)| seat.port() == port);
                Share {
                    port,
                    of: seats.clone().count(),
                    updated: seats.filter(|(_, time)| time.is_some()).count(),
                }
            }),
            times: times.into_iter().flatten().collect(),
            bytes,
            took: clock::now() - began,
        })
    }

    /// The gateway's word counts: who does not run the new version by its account has not been updated.
    fn compare(&self, summary: &mut Summary) -> Result<(), Failure> {
        for device in self.client.list("devices")? {
            let name = field(&device, "/name");
            let runs = device["packages"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|package| package["package"] == PACKAGE && package["version"] == NEW);
            if !runs && summary.failed.iter().all(|(failed, _)| *failed != name) {
                summary.failed.push((
                    name,
                    "says that it is updated; the gateway does not know of it".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Where the console is, with a way in that is good once, and the key, which is good for ever.
    fn tell_where(&self) {
        let link = self.gateway.sign_in_link();
        say(&format!(
            "\n  Console  {}\n  API key  {}\n  Devices  coaps://{}\n",
            link.as_deref().unwrap_or(&self.url),
            self.key,
            self.devices_at
        ));
    }

    fn invite(&self) {
        let Self { url, key, .. } = self;
        let program = std::env::args().next().unwrap_or_else(|| "tessera".to_owned());
        // Where the command line looks by itself needs no words.
        let at = match self.gateway.admin_addr.port() {
            API_PORT => String::new(),
            _ => format!("TESSERA_URL={url} "),
        };
        say(
            "\nThe fleet stays up. The console's link signs one browser in; the key signs in as well, and later.",
        );
        self.tell_where();
        say(&format!(
            "Deploy {PACKAGE}@{NEXT} to cohort {COHORT} in the console and watch it arrive, or from another terminal:\n  \
             {at}TESSERA_API_KEY={key} {program} deploy {COHORT} -p {PACKAGE}@{NEXT} --wait\n\
             {PACKAGE}@{BAD} fails on every fifth device, for you to see how that looks: what arrived is not what was sent, so they \
             stay at what they run, report it, and try again after a minute, then two, …\n\
             Ctrl-C ends it and leaves nothing behind.",
        ));
    }

    /// Tells, once a second at most, how many devices have arrived at which version, and how many have failed.
    fn follow(&mut self) {
        let mut arrived: BTreeMap<String, u64> = BTreeMap::new();
        let mut failed = 0;
        let mut tell_at = clock::now() + TELL_EVERY;
        loop {
            match self.next(tell_at) {
                Next::Happened(happened) => match self.note(&happened) {
                    Some(News::Runs(version)) => *arrived.entry(version).or_default() += 1,
                    Some(News::Failed) => failed += 1,
                    None => {}
                },
                Next::Late => {
                    for (version, count_of) in std::mem::take(&mut arrived) {
                        let there = self.seats.iter().filter(|seat| seat.version == version).count();
                        say(&format!(
                            "{} more at {PACKAGE}@{version}: {there} of {}",
                            count(count_of, "device"),
                            self.seats.len()
                        ));
                    }
                    if failed > 0 {
                        say(&format!(
                            "{} failed to update, and will try again",
                            count(std::mem::take(&mut failed), "device")
                        ));
                    }
                    tell_at = clock::now() + TELL_EVERY;
                }
                Next::Interrupted => return,
            }
        }
    }

    fn next(&mut self, deadline: Instant) -> Next {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.interrupts.recv() => Next::Interrupted,
                happened = self.happened.recv() => happened.map_or(Next::Interrupted, Next::Happened),
                () = tokio::time::sleep_until(deadline.into()) => Next::Late,
            }
        })
    }

    /// Remembers what a device did. It runs a version when the gateway has taken the report of it; that an update failed is
    /// news once, and not each time that it has tried again.
    fn note(&mut self, happened: &Happened) -> Option<News> {
        let seat = &mut self.seats[happened.device];
        match &happened.event {
            Event::Established { .. } | Event::Observing => {}
            Event::Connected => seat.last = "connected",
            Event::Disconnected(_) => seat.last = "lost its session",
            Event::Manifest { sequence } => {
                seat.settled |= sequence.is_some();
                if seat.sequence != *sequence {
                    seat.sequence = *sequence;
                    seat.has_failed = false;
                }
                seat.last = "read the manifest";
            }
            Event::ManifestRejected(_) => seat.last = "cannot read the manifest",
            Event::ObservationRefused(_) => seat.last = "was refused the manifest",
            Event::Progress { .. } => seat.last = "downloading",
            Event::Downloaded { .. } => seat.last = "downloaded",
            Event::UpdateFailed(_) => {
                seat.last = "the download failed, to be repeated";
                return (!std::mem::replace(&mut seat.has_failed, true)).then_some(News::Failed);
            }
            Event::Crashed => seat.last = "crashed",
            Event::RolledBack { .. } => seat.last = "went back to its old image",
            Event::Rebooted { .. } => seat.last = "rebooting",
            Event::Retransmitted | Event::RequestFailed | Event::BlockFailed { .. } => {}
            Event::Reported { report, code, .. } => {
                // By the version, not by the state: a report that is lost is never repeated.
                if code.is_success() && report.version != seat.version {
                    seat.version.clone_from(&report.version);
                    seat.last = "updated";
                    return Some(News::Runs(report.version.clone()));
                }
            }
        }
        None
    }
}

impl Seat {
    fn new(number: u32, of: u32) -> Self {
        let digits = of.to_string().len().max(2);
        Self {
            name: format!("device-{number:0digits$}"),
            character: Character::of(number as usize),
            version: OLD.to_owned(),
            sequence: None,
            has_failed: false,
            settled: false,
            last: "not connected yet",
        }
    }

    fn port(&self) -> Port {
        Port::ALL[self.character.port]
    }
}

impl Character {
    fn of(number: usize) -> Self {
        Self {
            port: number % Port::ALL.len(),
            reboot: number / Port::ALL.len() % REBOOTS.len(),
            is_delicate: number.is_multiple_of(DELICATE_EVERY),
        }
    }

    /// What it is built as. To be looked at, it takes its time.
    fn model(self, once: bool) -> Model {
        let port = Port::ALL[self.port];
        let mut pace = Pace::of(port).faster(TIMES_FASTER);
        if !once {
            pace.reboot = REBOOTS[self.reboot];
            // The SDK's own: a device that has failed is to be seen as that, and not as one that downloads.
            pace.backoff = Pace::of(port).backoff;
        }
        let bad = self.is_delicate.then(|| (BAD.to_owned(), Booting::Spoilt));
        Model {
            package: PACKAGE.to_owned(),
            pace,
            images: bad.into_iter().collect(),
            ..Model::of(port)
        }
    }
}

/// A lost datagram costs a device two to three seconds, and every block is a chance to lose one.
fn artifact_bytes(args: &DemoArgs) -> usize {
    if args.loss == 0 {
        ARTIFACT_BYTES
    } else {
        ARTIFACT_BYTES_AT_LOSS
    }
}

/// Without loss an update takes seconds. With it a device may lose a session, and one of the ports then the download
/// that it was in.
fn patience(args: &DemoArgs) -> Duration {
    Duration::from_secs(120 + 60 * u64::from(args.loss)) + Duration::from_millis(100) * args.devices
}

/// The first few, and how many others there are.
fn listing(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(LISTED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        others => format!("{shown} and {others} more"),
    }
}

fn interrupted() -> Failure {
    Failure::Failed("interrupted".to_owned())
}

const PACKAGE: &str = "main";
const COHORT: &str = "demo";
const OLD: &str = "1.0.0";
const NEW: &str = "1.1.0";
/// Prepared for a visitor to deploy.
const NEXT: &str = "1.2.0";
/// Prepared for a visitor who wants to see a deployment fail: on one device in [`DELICATE_EVERY`] its hash is wrong.
const BAD: &str = "2.0.0-rc1";
const DELICATE_EVERY: usize = 5;
/// What a small microcontroller's application weighs.
const ARTIFACT_BYTES: usize = 256 * 1024;
/// What is worth waiting for over a bad link.
const ARTIFACT_BYTES_AT_LOSS: usize = 48 * 1024;
/// A reboot of one second in place of the SDK's five keeps the demonstration short.
const TIMES_FASTER: u32 = 5;
/// How long the devices of a fleet that is looked at take to reboot: not all at once.
const REBOOTS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
];
/// How far away such devices are. A block costs a way there and none back, so an update takes between 3 and 10 seconds.
const FARTHEST: Duration = Duration::from_millis(40);
/// Where `admin.listen` points by default.
const API_PORT: u16 = 8080;
/// Events that may wait to be shown; devices pause at the bound.
const EVENTS_MAX: usize = 4096;
/// Names in an error message.
const LISTED_MAX: usize = 10;
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Everything random here repeats from run to run.
const SEED: u64 = 0x7e55_e4a0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_takes_what_is_deployed_first_and_one_in_five_not_what_is_meant_to_fail() {
        let models: Vec<Model> = (1..=25)
            .map(|number| Character::of(number).model(false))
            .collect();
        for version in [OLD, NEW, NEXT] {
            assert!(models.iter().all(|model| !model.images.contains_key(version)));
        }
        let delicate = models
            .iter()
            .filter(|model| model.images.get(BAD) == Some(&Booting::Spoilt));
        assert_eq!(delicate.count(), 5);
        for port in Port::ALL {
            let of_port = models.iter().filter(|model| model.port == port);
            let delicate = of_port.clone().filter(|model| !model.images.is_empty());
            assert!(of_port.count() >= 12 && delicate.count() >= 2, "{port:?}");
        }
    }

    #[test]
    fn names_sort_as_numbers_do() {
        assert_eq!(Seat::new(3, 25).name, "device-03");
        assert_eq!(Seat::new(3, 5).name, "device-03");
        assert_eq!(Seat::new(40, 1000).name, "device-0040");
    }
}
