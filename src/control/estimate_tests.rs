use proptest::prelude::*;

use super::super::reads::Progress;
use super::super::series::DeploymentSeries;
use super::*;
use crate::fleet::DeploymentId;
use crate::store::ProgressCounts;

/// A device of a rollout in virtual time: when it is told, and how long it takes from then on, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Way {
    told_ms: i64,
    takes_ms: i64,
}

proptest! {
    /// Against the times of the devices themselves, which the estimate never sees: it has what the counter saw twice a second.
    #[test]
    fn half_and_most_are_what_devices_took_that_were_told_at_once(
        takes in prop::collection::vec(2000_i64..400_000, 1..300),
    ) {
        let ways: Vec<_> = takes.iter().map(|&takes_ms| Way { told_ms: 300, takes_ms }).collect();
        let (points, step_ms) = rollout(&ways, 400_000 + 10_000);
        let measured = Measured::of(&points, step_ms).unwrap();
        let mut sorted = takes.clone();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
        prop_assert_eq!(measured.devices, takes.len() as u64);
        // Seen half a second late at most, and a second belongs to one point.
        for (estimated, real) in [(measured.half_ms, rank(50)), (measured.most_ms, rank(95))] {
            prop_assert!((estimated - real).abs() <= 1500, "{} for {}", estimated, real);
        }
    }
}

#[test]
fn a_device_that_comes_back_days_later_counts_by_what_it_took_from_then_on() {
    let mut ways: Vec<_> = (0..80)
        .map(|number| Way {
            told_ms: 100,
            takes_ms: 30_000 + number * 500,
        })
        .collect();
    ways.extend((1..=20).map(|day| Way {
        told_ms: day * 86_400_000,
        takes_ms: 50_000,
    }));
    let (points, step_ms) = rollout(&ways, 21 * 86_400_000);
    let measured = Measured::of(&points, step_ms).unwrap();
    assert_eq!(measured.devices, 100);
    assert!((45_000..=52_000).contains(&measured.half_ms), "{measured:?}");
    assert!((60_000..=72_000).contains(&measured.most_ms), "{measured:?}");
}

#[test]
fn what_is_under_way_what_failed_and_what_nobody_did_say_nothing() {
    let way = Way {
        told_ms: 100,
        takes_ms: 30_000,
    };
    let slow = Way {
        takes_ms: 900_000,
        ..way
    };
    let away = Way {
        told_ms: i64::MAX / 2,
        ..way
    };
    let nine_of_ten = [vec![way; 9], vec![slow]].concat();
    assert!(measured(&nine_of_ten, 60_000).is_some());
    let eight_of_ten = [vec![way; 8], vec![slow; 2]].concat();
    assert_eq!(
        measured(&eight_of_ten, 60_000),
        None,
        "the slow ones are still at it"
    );
    assert!(measured(&eight_of_ten, 1_000_000).is_some());
    assert!(
        measured(&[vec![way; 8], vec![away; 90]].concat(), 60_000).is_some(),
        "who was not told is not waited for"
    );
    assert_eq!(measured(&[away; 3], 60_000), None);
    assert_eq!(measured(&[], 60_000), None);
    assert_eq!(Measured::of(&[], 1000), None);
    let failed = |failed, done| ProgressPoint {
        at_ms: 9000,
        progress: Progress::of([0, 0, 0, 0, 0, done, failed], 0),
    };
    let begin = ProgressPoint {
        at_ms: 0,
        progress: Progress::of([10, 0, 0, 0, 0, 0, 0], 0),
    };
    assert_eq!(Measured::of(&[begin, failed(2, 8)], 1000), None);
    assert!(Measured::of(&[begin, failed(1, 9)], 1000).is_some());
}

#[test]
fn who_ran_it_before_took_no_time_and_counts_for_nothing() {
    let at = |at_ms, pending, notified, done| ProgressPoint {
        at_ms,
        progress: Progress::of([pending, notified, 0, 0, 0, done, 0], 0),
    };
    let points = [at(0, 2, 0, 90), at(2000, 0, 2, 90), at(42_000, 0, 0, 92)];
    let measured = Measured::of(&points, 1000).unwrap();
    assert_eq!(
        measured,
        Measured {
            half_ms: 40_000,
            most_ms: 40_000,
            devices: 2
        }
    );
}

#[test]
fn a_history_too_coarse_for_what_it_tells_says_nothing() {
    let at = |at_ms, notified, done| ProgressPoint {
        at_ms,
        progress: Progress::of([0, notified, 0, 0, 0, done, 0], 0),
    };
    let points = [at(0, 10, 0), at(63_000, 0, 10)];
    assert!(Measured::of(&points, 1000).is_some());
    assert!(Measured::of(&points, 8000).is_some());
    assert_eq!(Measured::of(&points, 16_000), None);
}

#[test]
fn more_bytes_take_longer_in_proportion_and_fewer_take_as_long() {
    for (ms, bytes, downloaded, seconds) in [
        (40_000, 1000, 1000, 40),
        (40_000, 3000, 1000, 120),
        (40_000, 1, 1000, 40),
        (40_100, 1000, 1000, 41),
        (1, 1, 1, 1),
        (i64::MAX, u64::MAX, 1, u64::MAX),
    ] {
        assert_eq!(
            in_proportion(ms, bytes, downloaded),
            Duration::from_secs(seconds),
            "{ms} ms of {downloaded} for {bytes}"
        );
    }
}

fn measured(ways: &[Way], until_ms: i64) -> Option<Measured> {
    let (points, step_ms) = rollout(ways, until_ms);
    Measured::of(&points, step_ms)
}

/// The history of a rollout to these devices, as the counter takes it down: looked at twice a second while something moves.
fn rollout(ways: &[Way], until_ms: i64) -> (Vec<ProgressPoint>, i64) {
    let counts = |at_ms: i64| {
        let mut buckets = [0; 7];
        for way in ways {
            let stage = match at_ms {
                _ if at_ms < way.told_ms => 0,
                _ if at_ms < way.told_ms + way.takes_ms => 1,
                _ => 5,
            };
            buckets[stage] += 1;
        }
        ProgressCounts { buckets }
    };
    let mut looks: Vec<i64> = ways
        .iter()
        .flat_map(|way| [way.told_ms, way.told_ms + way.takes_ms])
        .filter(|&at_ms| at_ms < until_ms)
        .map(|at_ms| (at_ms + LOOK_MS - 1) / LOOK_MS * LOOK_MS)
        .collect();
    looks.push(until_ms);
    looks.sort_unstable();
    looks.dedup();
    let mut series = DeploymentSeries::begin(DeploymentId::new(1), 0, 0, counts(0));
    for at_ms in looks {
        series.sample(at_ms, counts(at_ms), 0);
    }
    let points = series.whole(Vec::new()).into_iter().map(|row| ProgressPoint {
        at_ms: row.at_ms,
        progress: Progress::of(row.counts.buckets, row.bytes_served),
    });
    (points.collect(), series.step_ms())
}

const LOOK_MS: i64 = 500;
