use super::{DeploymentSeries, FleetSeries, POINTS, spread};
use crate::control::Span;
use crate::fleet::DeploymentId;
use crate::store::{FleetRow, ProgressCounts, ProgressRow, SeriesEnd};

const STEP: i64 = 10_000;

#[test]
fn what_stays_as_it_is_costs_no_rows_and_is_known_all_the_same() {
    let mut series = FleetSeries::default();
    for tick in 0..100 {
        series.sample(connected(tick * STEP, if tick < 90 { 3 } else { 4 }));
    }
    let written = taken(&mut series, Span::Hour);
    let at: Vec<_> = written
        .iter()
        .map(|row| (row.at_ms / STEP, row.connected, row.begins))
        .collect();
    assert_eq!(at, [(0, 3, true), (89, 3, false), (90, 4, false)]);

    let mut rows = written;
    rows.extend(series.newest(Span::Hour));
    let points = spread(&rows, STEP, 0, 99 * STEP);
    assert_eq!(points.len(), 100);
    assert!(
        points
            .iter()
            .all(|row| row.connected == if row.at_ms / STEP < 90 { 3 } else { 4 })
    );
    assert!(
        taken(&mut series, Span::Hour).is_empty(),
        "nothing has changed since"
    );
}

#[test]
fn where_the_gateway_did_not_run_there_are_no_points() {
    let mut series = FleetSeries::default();
    (0..10).for_each(|tick| series.sample(connected(tick * STEP, 3)));
    series.finish();
    let mut rows = taken(&mut series, Span::Hour);
    assert_eq!(rows.last().unwrap().at_ms, 9 * STEP, "the end is kept");

    let mut series = FleetSeries::default();
    (20..30).for_each(|tick| series.sample(connected(tick * STEP, 5)));
    rows.extend(taken(&mut series, Span::Hour));
    rows.extend(series.newest(Span::Hour));
    let at: Vec<_> = spread(&rows, STEP, 0, 29 * STEP)
        .iter()
        .map(|row| row.at_ms / STEP)
        .collect();
    assert_eq!(at, Vec::from_iter((0..10).chain(20..30)));
}

#[test]
fn a_longer_step_has_the_mean_of_the_bytes_and_everything_else_as_it_was_at_its_end() {
    let mut series = FleetSeries::default();
    let step_ms = Span::Day.step_ms();
    let ticks = step_ms / STEP;
    for tick in 0..=3 * ticks {
        let row = FleetRow {
            bytes_per_second: if tick % 2 == 0 { 100.0 } else { 300.0 },
            ..connected(tick * STEP, u64::try_from(tick).unwrap())
        };
        series.sample(row);
    }
    let rows = taken(&mut series, Span::Day);
    let at: Vec<_> = rows
        .iter()
        .map(|row| (row.at_ms / step_ms, row.connected, row.bytes_per_second))
        .collect();
    let ticks = u64::try_from(ticks).unwrap();
    assert_eq!(
        at,
        [
            (0, 0, 100.0),
            (1, ticks, 200.0),
            (2, 2 * ticks, 200.0),
            (3, 3 * ticks, 200.0)
        ]
    );
    for span in Span::ALL {
        assert!(span.length_ms() / span.step_ms() <= 480);
    }
}

#[test]
fn rows_that_cannot_be_written_are_bounded_and_the_newest_stay() {
    let mut series = FleetSeries::default();
    let mut waiting = Vec::new();
    for tick in 0..2000 {
        series.sample(connected(tick * STEP, u64::try_from(tick % 2).unwrap()));
        if tick % 7 == 0 {
            waiting = taken(&mut series, Span::Hour);
            series.put_back(Span::Hour, waiting.clone());
        }
    }
    assert!(waiting.len() <= POINTS);
    assert_eq!(taken(&mut series, Span::Hour).last().unwrap().at_ms, 1999 * STEP);
}

#[test]
fn a_deployment_begins_when_it_was_made_and_its_last_point_stays() {
    let mut series = DeploymentSeries::begin(DeploymentId::new(1), 10_000, 10_400, counts(3, 0));
    series.sample(10_400, counts(3, 0), 0);
    series.sample(15_000, counts(2, 1), 7);
    series.sample(15_500, counts(1, 2), 9);
    series.sample(15_900, counts(0, 3), 9);
    // Hours later it is still so, and then it is superseded.
    series.sample(9_000_000, counts(0, 3), 9);
    let points = |rows: &[ProgressRow]| -> Vec<_> {
        rows.iter()
            .map(|row| (row.at_ms, row.counts.buckets[5]))
            .collect()
    };
    let known = [(10_000, 0), (10_400, 0), (15_900, 3)];
    let whole = points(&series.whole(Vec::new()));
    assert_eq!(
        whole,
        [&known[..], &[(9_000_000, 3)]].concat(),
        "three moves in a second are one point"
    );
    let written = series.take().unwrap();
    assert_eq!(points(&written.rows), known);
    assert_eq!(series.take(), None, "nothing moved");
    series.finish();
    assert_eq!(points(&series.take().unwrap().rows), [(9_000_000, 3)]);
}

#[test]
fn a_deployment_seen_long_after_it_was_made_is_not_said_to_have_stood_so_from_the_beginning() {
    let series = DeploymentSeries::begin(DeploymentId::new(1), 10_000, 90_000, counts(3, 0));
    assert_eq!(series.whole(Vec::new())[0].at_ms, 90_000);
}

#[test]
fn a_deployment_that_moves_for_ever_has_a_bounded_number_of_points_and_they_reach_from_its_beginning_to_its_end()
 {
    let mut series = DeploymentSeries::begin(DeploymentId::new(1), 0, 0, counts(100_000, 0));
    for second in 1..100_000_u64 {
        series.sample(
            i64::try_from(second).unwrap() * 1000,
            counts(100_000 - second, second),
            second,
        );
    }
    let points = series.whole(Vec::new());
    assert!(
        (POINTS / 2 - 1..=POINTS + 1).contains(&points.len()),
        "{}",
        points.len()
    );
    assert_eq!((points[0].at_ms, points.last().unwrap().at_ms), (0, 99_999_000));
    assert!(
        points
            .windows(2)
            .all(|pair| pair[0].at_ms < pair[1].at_ms && pair[0].slot < pair[1].slot)
    );
    let step_ms = series.step_ms();
    let longest = points
        .windows(2)
        .map(|pair| pair[1].at_ms - pair[0].at_ms)
        .max()
        .unwrap();
    assert!(
        longest <= 2 * step_ms,
        "no holes: {longest} ms, a step is {step_ms} ms"
    );
}

#[test]
fn what_was_not_written_is_written_later_though_slots_grew_meanwhile() {
    let mut tried = DeploymentSeries::begin(DeploymentId::new(1), 0, 0, counts(9, 0));
    let mut kept = DeploymentSeries::begin(DeploymentId::new(1), 0, 0, counts(9, 0));
    for second in 1..2000_u64 {
        for series in [&mut tried, &mut kept] {
            series.sample(i64::try_from(second).unwrap() * 1000, counts(second, 0), 0);
        }
        if second == 300 {
            let change = tried.take().unwrap();
            let mut later = tried.take();
            assert_eq!(later.take(), None);
            for more in 0..700_u64 {
                let at_ms = i64::try_from(300_000 + more).unwrap();
                tried.sample(at_ms, counts(300 + more % 2, 1), 0);
            }
            tried.put_back(change);
        }
    }
    let (tried, kept) = (tried.take().unwrap(), kept.take().unwrap());
    assert_eq!((tried.step_ms, tried.doubled), (kept.step_ms, kept.doubled));
    assert_eq!(tried.rows.first(), kept.rows.first());
    assert_eq!(tried.rows.last(), kept.rows.last());
}

#[test]
fn after_a_restart_a_deployment_goes_on_where_it_was() {
    let end = SeriesEnd {
        step_ms: 2000,
        rows: 20,
        last: ProgressRow {
            slot: 30,
            at_ms: 61_000,
            counts: counts(5, 5),
            bytes_served: 77,
        },
    };
    let mut series = DeploymentSeries::resume(DeploymentId::new(1), 0, end, 200_000);
    series.sample(201_000, counts(5, 5), 0);
    assert_eq!(series.take(), None);
    series.sample(202_000, counts(4, 6), 3);
    let change = series.take().unwrap();
    let points: Vec<_> = change
        .rows
        .iter()
        .map(|row| (row.slot, row.at_ms, row.counts.buckets[0]))
        .collect();
    assert_eq!(
        points,
        [(100, 201_000, 5), (101, 202_000, 4)],
        "it stood so until then"
    );
}

fn taken(series: &mut FleetSeries, span: Span) -> Vec<FleetRow> {
    let taken = series.take().into_iter().find(|(of, _)| *of == span);
    taken.map(|(_, rows)| rows).unwrap_or_default()
}

fn connected(at_ms: i64, connected: u64) -> FleetRow {
    FleetRow {
        at_ms,
        connected,
        ..FleetRow::default()
    }
}

fn counts(pending: u64, done: u64) -> ProgressCounts {
    ProgressCounts {
        buckets: [pending, 0, 0, 0, 0, done, 0],
    }
}
