//! One look at a rollout after the other. Nothing that passes ends it: neither a gateway that is being restarted nor a
//! network that is away. Whoever is asked to end does so at once, a call that is under way included.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::failing::Failing;
use super::limits::Limits;
use super::progress::{Progress, State};
use super::screen::Screen;
use super::verdict::{Ending, Look, Newer, verdict};
use crate::cli::client::{Client, OK};
use crate::cli::failure::Failure;
use crate::cli::interrupts::Interrupts;
use crate::cli::output::{field, say, span};
use crate::clock;

/// What came of a wait.
#[derive(Debug)]
pub struct Followed {
    /// What ended it.
    pub ending: Ending,
    /// The last look, if there was any.
    pub seen: Option<Progress>,
    /// How long it took.
    pub waited: Duration,
    /// The first few of the devices that failed.
    pub failing: Vec<Failing>,
}

/// What is waited for.
#[derive(Debug)]
struct Target {
    client: Client,
    id: String,
    cohort: String,
}

/// What a wait has been woken by.
enum Woken<T> {
    Interrupted,
    Late,
    Ready(T),
}

/// Follows `deployment`, as the API shows it, until the verdict. `each` is called with the figures of every look that
/// shows others than the one before.
pub fn follow(
    client: Client,
    deployment: &Value,
    cohort: &str,
    limits: &Limits,
    mut each: impl FnMut(&Progress),
) -> Result<Followed, Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::program)?;
    let mut interrupts = Interrupts::new(&runtime)?;
    let target = Arc::new(Target {
        client,
        id: field(deployment, "/id"),
        cohort: field(deployment, "/cohort"),
    });
    let mut screen = Screen::new(cohort);
    let was_active = deployment["active"] == true;
    let followed = looks(
        &runtime,
        &mut interrupts,
        &target,
        was_active,
        limits,
        &mut screen,
        &mut each,
    );
    screen.close();
    let followed = followed.map(|followed| Followed {
        failing: target.failing(&followed),
        ..followed
    });
    // A call to a gateway that hangs may take a minute to fail.
    runtime.shutdown_background();
    followed
}

fn looks(
    runtime: &Runtime,
    interrupts: &mut Interrupts,
    target: &Arc<Target>,
    mut was_active: bool,
    limits: &Limits,
    screen: &mut Screen,
    each: &mut dyn FnMut(&Progress),
) -> Result<Followed, Failure> {
    let began = clock::now();
    let deadline = limits.timeout.map(|timeout| began + timeout);
    let mut seen = None;
    let mut silent_since: Option<Instant> = None;
    let ending = loop {
        let asked = clock::now();
        let looking = {
            let target = Arc::clone(target);
            runtime.spawn_blocking(move || target.look())
        };
        let look = match runtime.block_on(until(interrupts, deadline, looking)) {
            Woken::Interrupted => break Ending::Interrupted,
            Woken::Late => break timed_out(limits, silent_since),
            Woken::Ready(look) => look.map_err(Failure::program)?,
        };
        let now = clock::now();
        let pause = match look {
            Ok(look) => {
                silent_since = None;
                let progress = look.progress;
                if seen != Some(progress) {
                    each(&progress);
                }
                seen = Some(progress);
                screen.show(now, &progress, now - began);
                was_active |= look.newer.is_none();
                if let Some(ending) = verdict(&look, limits, was_active) {
                    break ending;
                }
                // A gateway that takes long for an answer has much to count.
                ((now - asked) * 10).clamp(LOOK_EVERY, LOOK_EVERY_MAX)
            }
            Err(failure) if failure.may_pass() => {
                let silent = now - *silent_since.get_or_insert(asked);
                screen.lost(&failure, silent);
                silent.clamp(LOOK_EVERY, RECONNECT_EVERY_MAX)
            }
            Err(failure) => return Err(failure),
        };
        // Made where it is awaited: a timer belongs to the runtime around it.
        let paused = async { tokio::time::sleep(pause).await };
        match runtime.block_on(until(interrupts, deadline, paused)) {
            Woken::Interrupted => break Ending::Interrupted,
            Woken::Late => break timed_out(limits, silent_since),
            Woken::Ready(()) => {}
        }
    };
    Ok(Followed {
        ending,
        seen,
        waited: clock::now() - began,
        failing: Vec::new(),
    })
}

/// What was seen last may be long ago by then, which is worth a word.
fn timed_out(limits: &Limits, silent_since: Option<Instant>) -> Ending {
    if let Some(since) = silent_since {
        let silent = clock::now() - since;
        say(&format!(
            "the gateway has not answered in the last {}",
            span(silent)
        ));
    }
    Ending::TimedOut(limits.timeout.unwrap_or_default())
}

async fn until<T>(
    interrupts: &mut Interrupts,
    deadline: Option<Instant>,
    what: impl Future<Output = T>,
) -> Woken<T> {
    let late = async {
        match deadline {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = interrupts.recv() => Woken::Interrupted,
        ready = what => Woken::Ready(ready),
        () = late => Woken::Late,
    }
}

impl Target {
    fn look(&self) -> Result<Look, Failure> {
        let path = format!("deployments/{}", self.id);
        let progress = self.progress(&format!("{path}/progress"))?;
        let newer = match self.client.get(&path)?["active"].as_bool() {
            Some(false) => {
                let cohort = self.client.get(&format!("cohorts/{}", self.cohort))?;
                Some(Newer::of(&cohort["activeDeployment"]))
            }
            Some(true) | None => None,
        };
        Ok(Look { progress, newer })
    }

    /// None where nobody waits for it any longer, or where they are another deployment's.
    fn failing(&self, followed: &Followed) -> Vec<Failing> {
        let any = followed.seen.is_some_and(|seen| seen.count(State::Failed) > 0);
        match followed.ending {
            Ending::Interrupted | Ending::Superseded(_) => return Vec::new(),
            _ if !any => return Vec::new(),
            Ending::Done
            | Ending::DoneButFailures
            | Ending::Failed
            | Ending::FailIf(_)
            | Ending::TimedOut(_) => {}
        }
        // How the rollout ended is known all the same.
        Failing::of(&self.client, &self.cohort).unwrap_or_else(|failure| {
            say(&format!("which devices failed is not known: {failure}"));
            Vec::new()
        })
    }

    fn progress(&self, path: &str) -> Result<Progress, Failure> {
        let answer = self.client.get(path)?;
        Progress::of(&answer).ok_or_else(|| self.client.strange(path, OK, &format!("no progress ({answer})")))
    }
}

impl Followed {
    /// The result for programs: what was deployed, how far it came, and what ended the wait.
    pub fn to_json(&self, deployment: &Value) -> Value {
        let mut result = deployment.clone();
        result["outcome"] = json!(self.ending.as_str());
        result["waitedSeconds"] = json!(self.waited.as_secs());
        result["progress"] = json!(self.seen.map(Progress::to_json));
        result["failures"] = self.failing.iter().map(Failing::to_json).collect();
        result
    }
}

/// A fleet is looked at twice a second at most: what an eye can use.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// However long an answer takes, news are not older.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
/// A gateway is back within seconds, or is away for long.
const RECONNECT_EVERY_MAX: Duration = Duration::from_secs(5);
