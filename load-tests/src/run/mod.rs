//! `run`: a scenario, from its file to a result.
//!
//! 1. The scenario is read and planned; a gateway is started ([`crate::gateway`]) or found, and told of the fleet.
//! 2. [`engines`]: the devices are seated, each with the moment at which it is switched on.
//! 3. Three threads: one counts what happens into the [`crate::measure::Recorder`], one looks at everything once a second ([`watch`]),
//!    and [`conductor`] has the events happen and says when it is over. [`halt`] is where they wait.
//! 4. [`record`]: what the gateway has on record of the devices, if anybody expects something of that.
//! 5. [`outcome`]: the result is judged, written and shown. [`progress`]: what is shown until then. [`facts`]: of what it was made.
//!    [`folder`]: where it is left.

mod args;
mod conductor;
mod engines;
mod facts;
mod folder;
mod halt;
mod outcome;
mod progress;
mod record;
mod watch;

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tessera::clock;
use thiserror::Error;
use tokio::sync::mpsc;

pub use args::RunArgs;
pub use conductor::chain;

use self::conductor::{Ended, Log, Stage};
use self::engines::{Engines, Site};
use self::folder::Folder;
use self::halt::Halt;
use self::progress::Progress;
use crate::bench::process_cpu;
use crate::endpoint::Ground;
use crate::engine::Happened;
use crate::gateway::{Credentials, Gateway};
use crate::measure::{End, Measured, Recorder};
use crate::plan::Plan;
use crate::result::{RunResult, ScenarioFacts, Verdict};
use crate::scenario::{Expectation, Found, Overrides, Scenario, Source, What};

/// Why there is no run.
#[derive(Debug, Error)]
enum RunError {
    /// The key of somebody else's gateway.
    #[error("the API key cannot be read from {}", path.display())]
    Key {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process of somebody else's gateway.
    #[error(
        "there is no process {pid} on this machine: --pid takes the number of the gateway's process, or is left out, and \
         the gateway says itself what it uses"
    )]
    Process {
        /// Which.
        pid: u32,
    },
    /// What is done to a gateway needs a gateway of one's own.
    #[error(
        "the scenario has an event {event:?}, which can be done only to a gateway that the run has started: leave --url out, \
         or the event"
    )]
    NotOurs {
        /// The event.
        event: String,
    },
}

/// Runs a scenario; true when all that was expected was seen. `out` takes the result for whoever reads it.
///
/// # Errors
///
/// The scenario has mistakes, or there is no gateway, no fleet or no place for the result.
pub fn run(
    args: &RunArgs,
    out: &mut dyn FnMut(&str),
    err: &mut dyn FnMut(&str),
) -> Result<bool, Box<dyn Error>> {
    let Found {
        source,
        overrides,
        scenario,
    } = args.asked.find(err)?;
    if let Some(pid) = args.pid
        && !Path::new("/proc").join(pid.to_string()).exists()
    {
        return Err(RunError::Process { pid }.into());
    }
    if args.url.is_some() {
        only_what_can_be_done_to_others(&scenario)?;
    }
    let plan = Plan::of(&scenario);
    let began_ms = clock::unix_ms();
    let halt = Halt::by_signals()?;
    let progress = Progress::new(args.quiet);

    let folder = Folder::make(args.out.as_deref(), &scenario.name, began_ms)?;
    let played = start_and_play(args, &scenario, &plan, &folder, &halt, &progress);
    progress.end();
    let (played, mut gateway) = match played {
        Ok(played) => played,
        Err(error) => {
            folder.leave();
            return Err(error);
        }
    };
    let result = result(&source, &overrides, &scenario, &plan, began_ms, played);
    if !result.passed
        && let Err(error) = gateway.keep_data()
    {
        err(&format!("warning: {}\n", chain(&error)));
    }
    drop(gateway);
    out(&outcome::table(&result));
    let [json, page] = outcome::write(&result, folder.path())?;
    out(&format!("\n{}\n{}\n", json.display(), page.display()));
    if result.passed {
        folder.tidy();
    }
    Ok(result.passed)
}

/// Everything before there is a result; the gateway is there still.
fn start_and_play(
    args: &RunArgs,
    scenario: &Scenario,
    plan: &Plan,
    folder: &Folder,
    halt: &Halt,
    progress: &Progress,
) -> Result<(Played, Gateway), Box<dyn Error>> {
    let gateway = gateway(args, scenario, folder, halt)?;
    progress.say(&format!("the gateway is at {}", gateway.url()));
    let credentials = gateway.set_up(scenario, &plan.devices, &mut |step| progress.set_up(step))?;
    play(args, scenario, plan, &credentials, gateway, halt, progress)
}

/// What came of it all.
struct Played {
    /// The gateway's, as it says.
    version: Option<String>,
    measured: Measured,
    log: Log,
    ended: Ended,
    took: Duration,
    remarks: Vec<String>,
}

/// Has everything happen, and measures it.
fn play(
    args: &RunArgs,
    scenario: &Scenario,
    plan: &Plan,
    credentials: &Credentials,
    gateway: Gateway,
    halt: &Halt,
    progress: &Progress,
) -> Result<(Played, Gateway), Box<dyn Error>> {
    let threads = match args.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    // Seating them takes a while, and none of them is to be late before it has begun.
    let began = clock::now() + LEAD + LEAD_EACH * u32::try_from(plan.devices.len()).unwrap_or(u32::MAX);
    let mut recorder = Recorder::new(scenario, plan, began);
    let before = watch::look(gateway.meter());
    let version = before.as_ref().map(|figures| figures.version.clone());
    recorder.before(before);
    for (cohort, deployed) in credentials.deployed.iter().enumerate() {
        if let Some(deployed) = deployed {
            recorder.asks(cohort, &deployed.images, began);
            recorder.deployed(cohort, Some(deployed.sequence));
        }
    }
    let recorder = Mutex::new(recorder);
    // What the set-up cost belongs to no second of the run.
    let set_up_cpu = process_cpu();
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let site = Site {
        gateway: gateway.coaps(),
        ground: Ground::told(gateway.coaps(), &args.from, args.ports.clone()),
        began,
        threads,
        happened: sender,
    };
    let engines = Engines::start(scenario, plan, credentials, site)?;
    let (meter, api) = (gateway.meter().clone(), gateway.api().clone());
    let gateway = Mutex::new(gateway);

    let (ended, log, mut end, remarks) = thread::scope(|counters| {
        counters.spawn(|| count(receiver, &recorder));
        let stage = Stage {
            scenario,
            plan,
            recorder: &recorder,
            engines: &engines,
            gateway: &gateway,
            api,
            halt,
            began,
            set_up_cpu,
            progress,
            is_away: AtomicBool::new(false),
            disturbed: Mutex::default(),
            log: Mutex::default(),
        };
        let times = watch::Times { began, set_up_cpu };
        let (ended, at) = thread::scope(|others| {
            others.spawn(|| watch::watch(&recorder, &meter, &engines, halt, progress, times));
            stage.conduct(others)
        });
        let mut log = stage.log.into_inner().unwrap_or_else(PoisonError::into_inner);
        let figures = match ended {
            Ended::Done | Ended::Time => watch::look(&meter),
            // It is known to be gone, or somebody waits.
            Ended::Gateway | Ended::Interrupted => meter.figures(),
        };
        // Whoever may not see its figures can ask whether it is there.
        log.refused(engines.counts().orders_refused);
        log.has_answered = figures.is_some() || stage.api.ready().is_ok();
        let end = End {
            at,
            figures,
            engines: engines.counts(),
            lateness: engines.lateness(),
            recorded: None,
            is_interrupted: halt.was_interrupted(),
        };
        let remarks = engines.remarks();
        // The devices fall silent, and with the last of them what happens, and its counting, ends.
        drop(engines);
        (ended, log, end, remarks)
    });
    let ended = if halt.was_interrupted() {
        Ended::Interrupted
    } else {
        ended
    };
    let took = end.at.saturating_duration_since(began);
    let recorder = recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
    let gateway = gateway.into_inner().unwrap_or_else(PoisonError::into_inner);
    let is_expected = |expectation: &Expectation| matches!(expectation, Expectation::Recorded(_));
    if scenario.expect.iter().any(is_expected) {
        // The devices are silent by now: what they run does not change any more.
        let recorded = record::agrees(gateway.api(), scenario, plan, &recorder);
        end.recorded = Some(recorded.map_err(|error| chain(&error)));
    }
    let played = Played {
        version,
        measured: recorder.finish(end),
        log,
        ended,
        took,
        remarks,
    };
    Ok((played, gateway))
}

/// Counts what happens until there is nobody left to whom something could.
fn count(mut happened: mpsc::Receiver<Vec<Happened>>, recorder: &Mutex<Recorder>) {
    while let Some(batch) = happened.blocking_recv() {
        recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&batch);
    }
}

fn result(
    source: &Source,
    overrides: &Overrides,
    scenario: &Scenario,
    plan: &Plan,
    began_ms: i64,
    played: Played,
) -> RunResult {
    let Played {
        version,
        measured,
        mut log,
        ended,
        took,
        remarks,
    } = played;
    log.events.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    let mut verdicts = measured.verdicts;
    if !(scenario.events.is_empty() && log.failures.is_empty()) {
        verdicts.push(events_verdict(scenario.events.len(), &log.failures));
    }
    if !log.has_answered {
        verdicts.push(Verdict {
            key: "gateway".to_owned(),
            expected: "it answers at the end".to_owned(),
            seen: "the gateway did not answer at the end".to_owned(),
            met: false,
        });
    }
    let mut versions = facts::versions(version.as_deref());
    for (number, remark) in (1..).zip(remarks) {
        versions.insert(format!("remark {number}"), remark);
    }
    let kind = |place: usize| &scenario.kinds[place];
    let bad = plan
        .devices
        .iter()
        .filter(|device| !kind(device.kind).credential.is_good());
    RunResult {
        format: 1,
        scenario: ScenarioFacts {
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            text: source.text.clone(),
            changed: overrides.told_of(scenario),
            seed: scenario.seed,
            plan: plan.digest(),
            devices: plan.devices.len() as u64,
            bad_devices: bad.count() as u64,
        },
        versions,
        machine: facts::machine(),
        began: facts::rfc3339(began_ms),
        took_s: took.as_secs_f64(),
        ended: ended.word().to_owned(),
        passed: ended != Ended::Interrupted && verdicts.iter().all(|verdict| verdict.met),
        verdicts,
        events: log.events,
        histograms: measured.histograms,
        counts: measured.counts,
        kinds: measured.kinds,
        server: measured.server,
        series: measured.series,
    }
}

/// A run whose events did not happen has shown nothing.
fn events_verdict(events: usize, failures: &[String]) -> Verdict {
    Verdict {
        key: "events".to_owned(),
        expected: "every event happens".to_owned(),
        seen: if failures.is_empty() {
            format!("all {events}")
        } else {
            failures.join("; ")
        },
        met: failures.is_empty(),
    }
}

fn gateway(
    args: &RunArgs,
    scenario: &Scenario,
    folder: &Folder,
    halt: &Halt,
) -> Result<Gateway, Box<dyn Error>> {
    let (Some(url), Some(key), Some(coaps)) = (&args.url, &args.api_key_file, args.gateway) else {
        let folder = folder.for_gateway()?;
        return Ok(Gateway::start(&scenario.gateway, &folder, halt.flag())?);
    };
    let key = fs::read_to_string(key).map_err(|source| RunError::Key {
        path: key.clone(),
        source,
    })?;
    Ok(Gateway::attach(url, key.trim(), coaps, args.pid)?)
}

fn only_what_can_be_done_to_others(scenario: &Scenario) -> Result<(), RunError> {
    let is_to_ours = |what: &What| match what {
        What::KillGateway { .. } | What::RestartGateway { .. } | What::FillDisk { .. } => true,
        What::Deploy { .. }
        | What::RollBack { .. }
        | What::Move { .. }
        | What::Rebind { .. }
        | What::Reboot { .. }
        | What::Outage { .. } => false,
    };
    match scenario.events.iter().find(|event| is_to_ours(&event.what)) {
        Some(event) => Err(RunError::NotOurs {
            event: event.what.word().to_owned(),
        }),
        None => Ok(()),
    }
}

/// Batches of events that may wait to be counted; engines pause at the bound, and are late.
const BATCHES_MAX: usize = 1024;
/// From the seating of the first device to the start of the arrival.
const LEAD: Duration = Duration::from_millis(500);
/// The same for each device: a device is seated in a third of this.
const LEAD_EACH: Duration = Duration::from_micros(30);
