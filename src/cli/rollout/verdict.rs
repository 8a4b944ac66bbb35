//! Whether a look at a rollout is the last one, and what came of it.

use std::time::Duration;

use serde_json::Value;

use super::limits::Limits;
use super::progress::{Progress, State};
use crate::cli::failure::Failure;
use crate::cli::output::{count, escaped, field, span};

/// What the gateway said of a deployment.
#[derive(Debug, Clone)]
pub struct Look {
    /// Its cohort's devices.
    pub progress: Progress,
    /// What has taken its place: `None` while it is the active one.
    pub newer: Option<Newer>,
}

/// The deployment that a cohort has by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// Its name.
    pub name: String,
    /// Its sequence number.
    pub sequence: String,
    /// Who made it.
    pub author: String,
}

/// What ended a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every device runs what was deployed.
    Done,
    /// Every device is done or failed, and not more failed than who asked allows.
    DoneButFailures,
    /// Every device is done or failed, and nobody has allowed that any fails.
    Failed,
    /// A condition of `--fail-if` holds.
    FailIf(String),
    /// `--timeout` is over.
    TimedOut(Duration),
    /// Another deployment has taken its place.
    Superseded(Newer),
    /// Ctrl-C.
    Interrupted,
}

impl Newer {
    /// From the deployment as the API shows it.
    pub fn of(deployment: &Value) -> Self {
        Self {
            name: field(deployment, "/name"),
            sequence: field(deployment, "/sequence"),
            author: field(deployment, "/author"),
        }
    }
}

/// What a look means; `None`: look again. Devices that are all done are done, whatever was deployed since. But of one that had been
/// superseded before anybody looked, or before anybody counted, nothing can be said: the devices may run anything by now.
pub fn verdict(look: &Look, limits: &Limits, was_active: bool) -> Option<Ending> {
    let progress = &look.progress;
    if let Some(newer) = &look.newer
        && (!was_active || progress.devices() == 0)
    {
        return Some(Ending::Superseded(newer.clone()));
    }
    if let Some(condition) = limits.fail_if.iter().find(|condition| condition.holds(progress)) {
        return Some(Ending::FailIf(condition.to_string()));
    }
    if progress.under_way() == 0 {
        return Some(match (progress.count(State::Failed), limits.allow_failures()) {
            (0, _) => Ending::Done,
            (_, true) => Ending::DoneButFailures,
            (_, false) => Ending::Failed,
        });
    }
    look.newer.clone().map(Ending::Superseded)
}

impl Ending {
    /// The word for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DoneButFailures => "doneButFailures",
            Self::Failed => "failed",
            Self::FailIf(_) => "failIf",
            Self::TimedOut(_) => "timeout",
            Self::Superseded(_) => "superseded",
            Self::Interrupted => "interrupted",
        }
    }

    /// What came of it, in a sentence, or why that is a failure. `seen` is the last look, if there was any.
    pub fn tell(
        &self,
        deployment: &str,
        seen: Option<&Progress>,
        waited: Duration,
    ) -> Result<String, Failure> {
        let Some(progress) = seen else {
            let nothing = format!("nothing was heard of {deployment} in {}", span(waited));
            return match self {
                Self::Interrupted => Ok(nothing),
                Self::Done
                | Self::DoneButFailures
                | Self::Failed
                | Self::FailIf(_)
                | Self::TimedOut(_)
                | Self::Superseded(_) => Err(Failure::Rollout(nothing)),
            };
        };
        let (devices, done) = (progress.devices(), progress.count(State::Done));
        let failed = progress.count(State::Failed);
        let not_done = format!(
            "{} of {} not done: {}",
            devices - done,
            count(devices, "device"),
            progress.rest()
        );
        match self {
            Self::Done if devices == 0 => {
                Ok("the cohort has no devices: there is nothing to wait for".to_owned())
            }
            Self::Done => Ok(match devices {
                1 => format!("the device runs it, after {}", span(waited)),
                _ => format!("all {devices} devices run it, after {}", span(waited)),
            }),
            Self::DoneButFailures => Ok(format!(
                "{done} of {} run it, after {}; {failed} failed, which --fail-if allows",
                count(devices, "device"),
                span(waited)
            )),
            Self::Failed => Err(Failure::Rollout(format!(
                "{failed} of {} failed, {done} run it",
                count(devices, "device")
            ))),
            Self::FailIf(condition) => Err(Failure::Rollout(format!(
                "{condition} holds after {}: of {}, {done} done{}{}",
                span(waited),
                count(devices, "device"),
                if progress.rest().is_empty() { "" } else { ", " },
                progress.rest()
            ))),
            Self::TimedOut(limit) => Err(Failure::Rollout(format!("after {}, {not_done}", span(*limit)))),
            Self::Superseded(newer) => Err(Failure::Superseded(format!(
                "{deployment} was not finished: {} deployed {:?} (sequence {}) to its cohort meanwhile, with {not_done}",
                escaped(&newer.author),
                newer.name,
                newer.sequence
            ))),
            Self::Interrupted => Ok(match devices - done {
                0 => format!("all {} run it", count(devices, "device")),
                _ => not_done,
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::condition::Condition;
    use super::*;

    fn look(counts: [u64; 7]) -> Look {
        Look {
            progress: Progress::from_counts(counts),
            newer: None,
        }
    }

    fn fail_if(text: &str) -> Limits {
        Limits {
            timeout: None,
            fail_if: vec![Condition::parse(text).unwrap()],
        }
    }

    fn newer() -> Newer {
        Newer {
            name: "hotfix".to_owned(),
            sequence: "8".to_owned(),
            author: "ann".to_owned(),
        }
    }

    #[test]
    fn a_wait_goes_on_while_a_device_is_neither_done_nor_failed() {
        let none = Limits::default();
        assert_eq!(verdict(&look([1, 0, 0, 0, 0, 9, 0]), &none, true), None);
        assert_eq!(verdict(&look([0, 0, 0, 0, 1, 8, 1]), &none, true), None);
        assert_eq!(
            verdict(&look([0, 0, 0, 0, 0, 10, 0]), &none, true),
            Some(Ending::Done)
        );
        assert_eq!(
            verdict(&look([0, 0, 0, 0, 0, 9, 1]), &none, true),
            Some(Ending::Failed)
        );
        assert_eq!(verdict(&look([0; 7]), &none, true), Some(Ending::Done));
    }

    #[test]
    fn who_allows_failures_gets_them_up_to_the_limit_and_at_once_past_it() {
        let limits = fail_if("failed>10%");
        assert_eq!(
            verdict(&look([0, 0, 0, 0, 0, 9, 1]), &limits, true),
            Some(Ending::DoneButFailures)
        );
        assert_eq!(
            verdict(&look([8, 0, 0, 0, 0, 0, 2]), &limits, true),
            Some(Ending::FailIf("failed>10%".to_owned()))
        );
        assert_eq!(
            verdict(&look([0, 0, 0, 0, 0, 9, 1]), &fail_if("pending>90%"), true),
            Some(Ending::Failed)
        );
    }

    #[test]
    fn a_newer_deployment_ends_the_wait_for_one_that_is_not_finished() {
        let superseded = |counts| Look {
            newer: Some(newer()),
            ..look(counts)
        };
        let none = Limits::default();
        assert_eq!(
            verdict(&superseded([1, 0, 0, 0, 0, 9, 0]), &none, true),
            Some(Ending::Superseded(newer()))
        );
        assert_eq!(
            verdict(&superseded([0, 0, 0, 0, 0, 9, 0]), &none, true),
            Some(Ending::Done)
        );
        for (counts, was_active) in [
            ([0, 0, 0, 0, 0, 9, 0], false),
            ([0, 0, 0, 0, 0, 8, 1], false),
            ([0; 7], true),
        ] {
            let ending = verdict(&superseded(counts), &none, was_active);
            assert_eq!(ending, Some(Ending::Superseded(newer())), "{counts:?}");
        }
    }

    #[test]
    fn what_came_of_it_is_a_sentence_or_a_failure_with_its_exit_code() {
        let waited = Duration::from_secs(63);
        let told = |ending: Ending, counts| {
            let progress = Progress::from_counts(counts);
            match ending.tell("\"spring\"", Some(&progress), waited) {
                Ok(text) => (0, text),
                Err(failure) => (failure.exit_code(), failure.to_string()),
            }
        };
        for (ending, counts, expected) in [
            (
                Ending::Done,
                [0, 0, 0, 0, 0, 25, 0],
                (0, "all 25 devices run it, after 1 min 3 s"),
            ),
            (
                Ending::Done,
                [0, 0, 0, 0, 0, 1, 0],
                (0, "the device runs it, after 1 min 3 s"),
            ),
            (
                Ending::Done,
                [0; 7],
                (0, "the cohort has no devices: there is nothing to wait for"),
            ),
            (
                Ending::DoneButFailures,
                [0, 0, 0, 0, 0, 24, 1],
                (
                    0,
                    "24 of 25 devices run it, after 1 min 3 s; 1 failed, which --fail-if allows",
                ),
            ),
            (
                Ending::Failed,
                [0, 0, 0, 0, 0, 24, 1],
                (6, "1 of 25 devices failed, 24 run it"),
            ),
            (
                Ending::FailIf("failed>2%".to_owned()),
                [20, 0, 0, 0, 0, 4, 1],
                (
                    6,
                    "failed>2% holds after 1 min 3 s: of 25 devices, 4 done, 1 failed, 20 pending",
                ),
            ),
            (
                Ending::TimedOut(Duration::from_secs(1800)),
                [2, 0, 1, 0, 0, 22, 0],
                (
                    6,
                    "after 30 min, 3 of 25 devices not done: 1 downloading, 2 pending",
                ),
            ),
            (
                Ending::Superseded(newer()),
                [1, 0, 0, 0, 0, 0, 0],
                (
                    5,
                    "\"spring\" was not finished: ann deployed \"hotfix\" (sequence 8) to its cohort meanwhile, \
                     with 1 of 1 device not done: 1 pending",
                ),
            ),
            (
                Ending::Interrupted,
                [1, 0, 0, 0, 0, 1, 0],
                (0, "1 of 2 devices not done: 1 pending"),
            ),
        ] {
            let (code, text) = told(ending, counts);
            assert_eq!((code, text.as_str()), expected);
        }
        let nothing = Ending::TimedOut(waited)
            .tell("\"spring\"", None, waited)
            .unwrap_err();
        assert_eq!(nothing.exit_code(), 6);
        assert_eq!(
            nothing.to_string(),
            "nothing was heard of \"spring\" in 1 min 3 s"
        );
    }
}
