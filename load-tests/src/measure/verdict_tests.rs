use super::*;
use crate::measure::counts::Counts;
use crate::measure::evidence::Outcome;

const S: u64 = 1_000_000;

/// A run of ten good devices and two bad ones in which everything went well.
fn evidence() -> Evidence {
    let mut counts = Counts::default();
    counts.more(Count::HandshakesAgain, 2);
    counts.more(Count::HandshakesFailed, 3);
    counts.more(Count::UpdatesFailed, 4);
    counts.more(Count::RolledBack, 5);
    counts.more(Count::UpdateLoops, 6);
    counts.more(Count::ReportsRefused, 7);
    let tail = |p99| Some(Tail { count: 100, p99 });
    Evidence {
        good: 10,
        stragglers: 0,
        was_registered: 10,
        last_registered: Some(9 * S),
        ended: 60 * S,
        is_interrupted: false,
        to_be_told: 200,
        outcomes: vec![
            Outcome {
                what: "main@1.1.0 for all".to_owned(),
                slowest: 8 * S,
                ..Outcome::default()
            },
            Outcome {
                what: "main@1.2.0 for all".to_owned(),
                slowest: 3 * S,
                ..Outcome::default()
            },
        ],
        connected: 9,
        wanted: 10,
        converged: 9,
        handshake: tail(S),
        notification: tail(2 * S),
        block: tail(3 * S),
        update: tail(4 * S),
        lateness: tail(5 * S),
        counts,
        bad: 2,
        bad_tried: 2,
        cpu: Some(Duration::from_millis(50)),
        store_errors: Some(8),
        recorded: Some(Ok(7)),
        memory_before: Some(1_000_000),
        memory_connected: Some(1_010_000),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn each_expectation_is_met_at_its_bound_and_not_beyond() {
    use Expectation::*;
    let just_below = |bound: u64| Duration::from_micros(bound * S - 1);
    let millis = Duration::from_millis;
    for (met, not_met, seen) in [
        (
            ConnectedWithin(seconds(9)),
            ConnectedWithin(just_below(9)),
            "all 10 after 9 s",
        ),
        (
            ConvergedWithin(seconds(8)),
            ConvergedWithin(just_below(8)),
            "the last one after 8 s (main@1.1.0 for all)",
        ),
        (Converged(0.9), Converged(0.91), "9 of 10"),
        (Recorded(0.7), Recorded(0.71), "7 of 10"),
        (
            HandshakeP99(seconds(1)),
            HandshakeP99(just_below(1)),
            "1 s at the 99th percentile of 100 handshakes",
        ),
        (
            NotificationP99(seconds(2)),
            NotificationP99(just_below(2)),
            "2 s at the 99th percentile of 100 notifications; 200 devices were to be told",
        ),
        (
            BlockP99(seconds(3)),
            BlockP99(just_below(3)),
            "3 s at the 99th percentile of 100 blocks",
        ),
        (
            UpdateP99(seconds(4)),
            UpdateP99(just_below(4)),
            "4 s at the 99th percentile of 100 updates",
        ),
        (DevicesLost(1), DevicesLost(0), "1 of 10"),
        (HandshakesAgain(2), HandshakesAgain(1), "2"),
        (HandshakesFailed(3), HandshakesFailed(2), "3"),
        (UpdatesFailed(4), UpdatesFailed(3), "4"),
        (RolledBack(5), RolledBack(6), "5"),
        (UpdateLoops(6), UpdateLoops(7), "6"),
        (ReportsRefused(7), ReportsRefused(6), "7"),
        (StoreErrors(8), StoreErrors(9), "8"),
        (
            ServerCpuPerDevice(millis(5)),
            ServerCpuPerDevice(millis(4)),
            "5 ms, 50 ms in all",
        ),
        (
            ServerMemoryPerDevice(1000),
            ServerMemoryPerDevice(999),
            "1,000 B: from 977 KiB to 986 KiB",
        ),
        (
            SimulatorLateP99(seconds(5)),
            SimulatorLateP99(just_below(5)),
            "5 s at the 99th percentile of 100 timers",
        ),
    ] {
        let verdict = judge(&met, &evidence());
        assert_eq!((verdict.met, &*verdict.seen), (true, seen), "{met:?}");
        assert_eq!(verdict.key, met.key());
        assert_eq!(verdict.expected, met.to_string());
        let verdict = judge(&not_met, &evidence());
        assert_eq!((verdict.met, &*verdict.seen), (false, seen), "{not_met:?}");
    }
}

#[test]
fn intruders_are_counted_once_every_bad_device_has_been_answered() {
    let expectation = Expectation::Intruders(0);
    let verdict = judge(&expectation, &evidence());
    assert_eq!(
        (verdict.met, &*verdict.seen),
        (true, "0 sessions of 2 bad devices")
    );
    let mut broken_into = evidence();
    broken_into.counts.one(Count::Intruders);
    assert!(!judge(&expectation, &broken_into).met);
    let unanswered = Evidence {
        bad_tried: 1,
        ..evidence()
    };
    let verdict = judge(&expectation, &unanswered);
    assert!(
        !verdict.met && verdict.seen.contains("only 1 of 2 bad devices"),
        "{}",
        verdict.seen
    );
}

#[test]
fn blocks_that_were_never_answered_are_told() {
    let mut failed = evidence();
    failed.counts.more(Count::BlocksFailed, 2);
    let verdict = judge(&Expectation::BlockP99(seconds(3)), &failed);
    let seen = "3 s at the 99th percentile of 100 blocks; 2 of them were never answered";
    assert_eq!((verdict.met, &*verdict.seen), (true, seen));
}

#[test]
fn notifications_of_less_than_half_of_those_to_be_told_prove_nothing() {
    let most = Evidence {
        to_be_told: 201,
        ..evidence()
    };
    let verdict = judge(&Expectation::NotificationP99(seconds(2)), &most);
    assert!(
        !verdict.met
            && verdict
                .seen
                .contains("of 100 notifications; 201 devices were to be told"),
        "{verdict:?}"
    );
}

#[test]
fn how_long_things_take_is_not_judged_by_a_run_that_was_interrupted() {
    use Expectation::*;
    let interrupted = Evidence {
        is_interrupted: true,
        ..evidence()
    };
    let hour = seconds(3600);
    for expectation in [
        HandshakeP99(hour),
        NotificationP99(hour),
        BlockP99(hour),
        UpdateP99(hour),
        SimulatorLateP99(hour),
        ConvergedWithin(hour),
    ] {
        let verdict = judge(&expectation, &interrupted);
        assert!(
            !verdict.met && verdict.seen.starts_with("not judged: interrupted"),
            "{verdict:?}"
        );
    }
    assert!(judge(&DevicesLost(1), &interrupted).met);
}

#[test]
fn what_has_not_been_reached_when_the_run_ends_is_not_met_however_late_the_bound() {
    let unconnected = Evidence {
        was_registered: 7,
        last_registered: None,
        ..evidence()
    };
    let verdict = judge(&Expectation::ConnectedWithin(seconds(3600)), &unconnected);
    assert_eq!(
        (verdict.met, &*verdict.seen),
        (false, "7 of 10 when the run ended, after 60 s")
    );
    let mut unconverged = evidence();
    unconverged.outcomes[1].waiting = 2;
    unconverged.outcomes[1].waited = 20 * S;
    let verdict = judge(&Expectation::ConvergedWithin(seconds(3600)), &unconverged);
    assert_eq!(
        (verdict.met, &*verdict.seen),
        (
            false,
            "2 devices did not run main@1.2.0 for all when the run ended, the longest after 20 s"
        )
    );
}

#[test]
fn what_could_not_be_judged_is_not_met_and_says_why() {
    use Expectation::*;
    let nothing = Evidence::default();
    let no_memory = Evidence {
        good: 1,
        ..Evidence::default()
    };
    let never_connected = Evidence {
        good: 1,
        memory_before: Some(1),
        ..Evidence::default()
    };
    let hour = seconds(3600);
    let silent = Evidence {
        good: 1,
        recorded: Some(Err("it does not answer".to_owned())),
        ..Evidence::default()
    };
    for (expectation, evidence, why) in [
        (Recorded(0.1), &nothing, "was not asked"),
        (Recorded(0.1), &silent, "could not be read: it does not answer"),
        (StoreErrors(1), &nothing, "could not be read"),
        (ConnectedWithin(hour), &nothing, "there is no good device"),
        (
            ConvergedWithin(hour),
            &nothing,
            "nothing was deployed that boots well",
        ),
        (Converged(0.0), &nothing, "anything deployed that boots well"),
        (HandshakeP99(hour), &nothing, "no handshakes to measure"),
        (NotificationP99(hour), &nothing, "no notifications to measure"),
        (BlockP99(hour), &nothing, "no blocks to measure"),
        (UpdateP99(hour), &nothing, "no updates to measure"),
        (SimulatorLateP99(hour), &nothing, "no timers to measure"),
        (Intruders(1), &nothing, "0 of 0 bad devices"),
        (ServerCpuPerDevice(hour), &nothing, "there is no good device"),
        (ServerCpuPerDevice(hour), &no_memory, "could not be read"),
        (
            ServerMemoryPerDevice(u64::MAX),
            &nothing,
            "there is no good device",
        ),
        (
            ServerMemoryPerDevice(u64::MAX),
            &no_memory,
            "before the first device",
        ),
        (
            ServerMemoryPerDevice(u64::MAX),
            &never_connected,
            "with all good devices connected",
        ),
    ] {
        let verdict = judge(&expectation, evidence);
        assert!(
            !verdict.met && verdict.seen.contains(why),
            "{expectation:?}: {verdict:?}"
        );
    }
}
