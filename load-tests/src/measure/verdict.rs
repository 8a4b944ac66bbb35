//! Whether what was expected is what was seen. What could not be judged is not met, and says why.

use std::time::Duration;

use super::counts::Count;
use super::evidence::{Evidence, Tail};
use super::latency::micros;
use crate::quantity::{self, Quantity};
use crate::result::Verdict;
use crate::scenario::Expectation;

/// Judges one expectation.
pub fn judge(expectation: &Expectation, evidence: &Evidence) -> Verdict {
    let (met, seen) = match *expectation {
        Expectation::ConnectedWithin(bound) => connected(evidence, bound),
        Expectation::ConvergedWithin(bound) => converged_within(evidence, bound),
        Expectation::Converged(share) => converged(evidence, share),
        Expectation::Recorded(share) => recorded(evidence, share),
        Expectation::HandshakeP99(bound) => tail(evidence.handshake, bound, "handshakes"),
        Expectation::NotificationP99(bound) => notification(evidence, bound),
        Expectation::BlockP99(bound) => block(evidence, bound),
        Expectation::UpdateP99(bound) => tail(evidence.update, bound, "updates"),
        Expectation::DevicesLost(most) => {
            let lost = evidence.good - evidence.connected;
            (lost <= most, format!("{lost} of {}", evidence.good))
        }
        Expectation::HandshakesAgain(most) => at_most(evidence, Count::HandshakesAgain, most),
        Expectation::HandshakesFailed(most) => at_most(evidence, Count::HandshakesFailed, most),
        Expectation::Intruders(most) => intruders(evidence, most),
        Expectation::UpdatesFailed(most) => at_most(evidence, Count::UpdatesFailed, most),
        Expectation::RolledBack(least) => at_least(evidence, Count::RolledBack, least),
        Expectation::UpdateLoops(least) => at_least(evidence, Count::UpdateLoops, least),
        Expectation::ReportsRefused(most) => at_most(evidence, Count::ReportsRefused, most),
        Expectation::StoreErrors(least) => match evidence.store_errors {
            Some(errors) => (errors >= least, errors.to_string()),
            None => (false, "the gateway's counters could not be read".to_owned()),
        },
        Expectation::ServerCpuPerDevice(bound) => cpu(evidence, bound),
        Expectation::ServerMemoryPerDevice(bytes) => memory(evidence, bytes),
        Expectation::SimulatorLateP99(bound) => tail(evidence.lateness, bound, "timers"),
    };
    let (met, seen) = if evidence.is_interrupted && needs_the_whole_run(expectation) {
        (false, format!("not judged: interrupted; {seen}"))
    } else {
        (met, seen)
    };
    Verdict {
        key: expectation.key().to_owned(),
        expected: expectation.to_string(),
        seen,
        met,
    }
}

/// Whether what an interruption leaves out would have counted: those that would have been slow, or late.
fn needs_the_whole_run(expectation: &Expectation) -> bool {
    match expectation {
        Expectation::ConvergedWithin(_)
        | Expectation::HandshakeP99(_)
        | Expectation::NotificationP99(_)
        | Expectation::BlockP99(_)
        | Expectation::UpdateP99(_)
        | Expectation::SimulatorLateP99(_) => true,
        Expectation::ConnectedWithin(_)
        | Expectation::Converged(_)
        | Expectation::DevicesLost(_)
        | Expectation::HandshakesAgain(_)
        | Expectation::HandshakesFailed(_)
        | Expectation::Intruders(_)
        | Expectation::UpdatesFailed(_)
        | Expectation::RolledBack(_)
        | Expectation::UpdateLoops(_)
        | Expectation::ReportsRefused(_)
        | Expectation::ServerCpuPerDevice(_)
        | Expectation::ServerMemoryPerDevice(_)
        | Expectation::Recorded(_)
        | Expectation::StoreErrors(_) => false,
    }
}

fn connected(evidence: &Evidence, bound: Duration) -> (bool, String) {
    match evidence.last_registered {
        _ if evidence.good == 0 => (false, "there is no good device".to_owned()),
        Some(last) => (
            last <= micros(bound),
            format!("{} after {}", all_of(evidence), time(last)),
        ),
        None => (
            false,
            format!(
                "{} of {} when the run ended, after {}",
                evidence.was_registered,
                evidence.good,
                time(evidence.ended)
            ),
        ),
    }
}

fn converged_within(evidence: &Evidence, bound: Duration) -> (bool, String) {
    let mut outcomes = evidence.outcomes.iter();
    let unfinished = outcomes.find(|outcome| outcome.waiting > evidence.stragglers);
    if let Some(outcome) = unfinished {
        let seen = format!(
            "{} devices did not run {} when the run ended, the longest after {}",
            outcome.waiting,
            outcome.what,
            time(outcome.waited)
        );
        return (false, seen);
    }
    match evidence.outcomes.iter().max_by_key(|outcome| outcome.slowest) {
        Some(slowest) => (
            slowest.slowest <= micros(bound),
            format!(
                "{} after {} ({})",
                last_of(evidence),
                time(slowest.slowest),
                slowest.what
            ),
        ),
        None => (false, "nothing was deployed that boots well".to_owned()),
    }
}

fn converged(evidence: &Evidence, share: f64) -> (bool, String) {
    let (converged, wanted) = (evidence.converged, evidence.wanted);
    if wanted == 0 {
        let seen = "no good device is in a cohort with anything deployed that boots well";
        return (false, seen.to_owned());
    }
    (
        converged as f64 >= share * wanted as f64,
        format!("{converged} of {wanted}"),
    )
}

fn recorded(evidence: &Evidence, share: f64) -> (bool, String) {
    match &evidence.recorded {
        Some(Ok(recorded)) => (
            evidence.good > 0 && *recorded as f64 >= share * evidence.good as f64,
            format!("{recorded} of {}", evidence.good),
        ),
        Some(Err(why)) => (false, format!("the gateway's record could not be read: {why}")),
        None => (false, "the gateway was not asked for its record".to_owned()),
    }
}

fn tail(tail: Option<Tail>, bound: Duration, what: &str) -> (bool, String) {
    match tail {
        Some(Tail { count, p99 }) => (
            p99 <= micros(bound),
            format!("{} at the 99th percentile of {count} {what}", time(p99)),
        ),
        None => (false, format!("there were no {what} to measure")),
    }
}

/// A few fast notifications say nothing of a fleet that for the most part could not be told.
fn notification(evidence: &Evidence, bound: Duration) -> (bool, String) {
    let (is_fast, seen) = tail(evidence.notification, bound, "notifications");
    let count = evidence.notification.map_or(0, |tail| tail.count);
    let due = evidence.to_be_told;
    (
        is_fast && count.saturating_mul(2) >= due,
        format!("{seen}; {due} devices were to be told"),
    )
}

fn block(evidence: &Evidence, bound: Duration) -> (bool, String) {
    let (met, mut seen) = tail(evidence.block, bound, "blocks");
    let failed = evidence.counts.get(Count::BlocksFailed);
    if failed > 0 {
        seen.push_str(&format!("; {failed} of them were never answered"));
    }
    (met, seen)
}

fn intruders(evidence: &Evidence, most: u64) -> (bool, String) {
    let sessions = evidence.counts.get(Count::Intruders);
    if evidence.bad_tried < evidence.bad || evidence.bad == 0 {
        let seen = format!(
            "could not be judged: {sessions} sessions, but only {} of {} bad devices had been answered when the run ended",
            evidence.bad_tried, evidence.bad
        );
        return (false, seen);
    }
    (
        sessions <= most,
        format!("{sessions} sessions of {} bad devices", evidence.bad),
    )
}

fn cpu(evidence: &Evidence, bound: Duration) -> (bool, String) {
    match evidence.cpu {
        _ if evidence.good == 0 => (false, "there is no good device".to_owned()),
        Some(cpu) => {
            let each = micros(cpu) / evidence.good;
            let seen = format!("{}, {} in all", time(each), time(micros(cpu)));
            (each <= micros(bound), seen)
        }
        None => (false, "the gateway's CPU time could not be read".to_owned()),
    }
}

fn memory(evidence: &Evidence, most: u64) -> (bool, String) {
    match (evidence.memory_before, evidence.memory_connected) {
        _ if evidence.good == 0 => (false, "there is no good device".to_owned()),
        (Some(before), Some(connected)) => {
            let each = connected.saturating_sub(before) / evidence.good;
            let bytes = |bytes: u64| Quantity::Bytes.in_words(bytes as f64);
            let seen = format!("{}: from {} to {}", bytes(each), bytes(before), bytes(connected));
            (each <= most, seen)
        }
        (None, _) => (
            false,
            "the gateway's memory could not be read before the first device".to_owned(),
        ),
        (_, None) => (
            false,
            "the gateway's memory could not be read with all good devices connected".to_owned(),
        ),
    }
}

fn all_of(evidence: &Evidence) -> String {
    match evidence.stragglers {
        0 => format!("all {}", evidence.good),
        some => format!("all but at most {some} of {}", evidence.good),
    }
}

fn last_of(evidence: &Evidence) -> String {
    match evidence.stragglers {
        0 => "the last one".to_owned(),
        some => format!("all but at most {some}"),
    }
}

fn at_most(evidence: &Evidence, count: Count, most: u64) -> (bool, String) {
    let number = evidence.counts.get(count);
    (number <= most, number.to_string())
}

fn at_least(evidence: &Evidence, count: Count, least: u64) -> (bool, String) {
    let number = evidence.counts.get(count);
    (number >= least, number.to_string())
}

fn time(micros: u64) -> String {
    quantity::duration(micros as f64 / 1e6)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
