//! Figures, lists by state, and histories.

use rand::RngExt;
use rand::rngs::StdRng;

use super::super::batch::{Batch, Decision, Stop};
use super::super::counter::Counter;
use super::super::figures::FleetFigures;
use super::super::series::{FleetSeries, spread};
use super::super::{DeviceQuery, Pulse, Span};
use super::*;
use crate::clock;
use crate::fleet::{DeploymentId, Stage};
use crate::store::FleetRow;

#[tokio::test]
async fn devices_are_counted_as_the_store_itself_would_count_them_whatever_they_do() {
    let mut rng = dice();
    let mut given = Given::with_artifacts().await;
    let cohorts = [given.cohort("one").await, given.cohort("two").await];
    let mut names = Vec::new();
    for (round, sets) in [
        &["main@1.0"][..],
        &["main@2.0", "modem@1"],
        &["main@1.0", "modem@1"],
        &["main@2.0"],
    ]
    .into_iter()
    .enumerate()
    {
        for number in 0..8 {
            let name = format!("d{round}-{number}");
            let cohort = [None, Some(cohorts[0]), Some(cohorts[1])][rng.random_range(0..3)];
            given.device(&name, cohort).await;
            names.push(name);
        }
        let cohort = cohorts[rng.random_range(0..2)];
        let made = given.deploy(cohort, &format!("dep {round}"), sets).await.unwrap();
        for _ in 0..60 {
            let name = &names[rng.random_range(0..names.len())];
            act(&given, name, &mut rng, &cohorts, made.sequence.get()).await;
        }
        compare(&given, &cohorts).await;
        if round == 2 {
            given = given.restarted().await;
            compare(&given, &cohorts).await;
        }
    }
    // What devices acknowledged is on disk by then, without a restart.
    sightings_stored(&given).await;
    compare(&given, &cohorts).await;
}

#[tokio::test]
async fn devices_are_listed_by_state_and_version_page_by_page() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    let other = given.cohort("two").await;
    for number in 0..7 {
        given.device(&format!("d{number}"), Some(cohort)).await;
        given.device(&format!("e{number}"), Some(other)).await;
    }
    given.deploy(cohort, "first", &["main@2.0"]).await.unwrap();
    given.deploy(other, "first", &["main@2.0"]).await.unwrap();
    for number in [1, 3, 5] {
        say(&given, &format!("d{number}"), "main", 0, 5, "1.0", Some("2.0")).await;
    }
    say(&given, "e2", "main", 0, 5, "1.0", Some("2.0")).await;
    say(&given, "d6", "main", 0, 0, "2.0", None).await;
    counted(&given).await;

    let failed = DeviceQuery {
        cohort: Some(Some(cohort)),
        stage: Some(Stage::Failed),
        limit: 2,
        ..DeviceQuery::default()
    };
    assert_eq!(names(&given, &failed).await, [vec!["d1", "d3"], vec!["d5"]]);
    let everywhere = DeviceQuery {
        cohort: None,
        limit: 100,
        ..failed.clone()
    };
    assert_eq!(names(&given, &everywhere).await, [["d1", "e2", "d3", "d5"]]);
    let version = |package: &str, version: &str| {
        Some((
            PackageName::parse(package).unwrap(),
            Version::parse(version).unwrap(),
        ))
    };
    let running = |version| DeviceQuery {
        running: version,
        limit: 100,
        ..DeviceQuery::default()
    };
    assert_eq!(names(&given, &running(version("main", "2.0"))).await, [["d6"]]);
    assert_eq!(
        names(&given, &running(version("main", "1.0"))).await,
        [["d1", "e2", "d3", "d5"]]
    );
    assert_eq!(names(&given, &running(version("modem", "1"))).await, [[""; 0]]);
    let named = DeviceQuery {
        prefix: Some("d3".to_owned()),
        ..everywhere.clone()
    };
    assert_eq!(names(&given, &named).await, [["d3"]]);
    let online = DeviceQuery {
        online: Some(true),
        ..everywhere.clone()
    };
    assert_eq!(names(&given, &online).await, [[""; 0]]);

    // What was reported a moment ago counts.
    say(&given, "d3", "main", 0, 0, "2.0", None).await;
    assert_eq!(names(&given, &failed).await, [["d1", "d5"]]);
    given
        .update(
            given.entry("d1").await.id(),
            DevicePatch {
                cohort: Some(None),
                ..DevicePatch::default()
            },
        )
        .await;
    assert_eq!(names(&given, &failed).await, [["d5"]]);
}

#[tokio::test]
async fn figures_say_who_is_there_what_runs_and_what_failed() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    for number in 0..4 {
        given.device(&format!("d{number}"), Some(cohort)).await;
    }
    given.device("alone", None).await;
    let deployment = given.deploy(cohort, "first", &["main@2.0"]).await.unwrap();
    say(&given, "d0", "main", 0, 5, "1.0", Some("2.0")).await;
    say(&given, "d1", "main", 0, 0, "2.0", None).await;
    let entry = given.entry("d2").await;
    given.control.connected(&entry, session(1));
    given.control.observing(&entry, 1, true);
    let main = &deployment.artifacts[0];
    entry.note_seen(clock::unix_ms());
    entry.note_block(main.id, 0, 4, main.size.get());
    let figures = counted(&given).await;
    assert!(figures.counted_ms > 0);
    assert_eq!((figures.devices, figures.online, figures.observing), (5, 1, 1));
    assert_eq!((figures.downloading, figures.failing), (1, 1));
    let of_cohort = &figures.cohorts[&cohort];
    assert_eq!((of_cohort.devices, of_cohort.online), (4, 1));
    let (id, progress) = of_cohort.progress.unwrap();
    assert_eq!(id, deployment.id);
    assert_eq!(
        (
            progress.pending,
            progress.done,
            progress.failed,
            progress.bytes_served
        ),
        (2, 1, 1, 4)
    );
    assert_eq!(figures.versions.len(), 2);
    assert_eq!((figures.failures[0].reason, figures.failures[0].devices), (5, 1));

    given
        .control
        .delete_device(&me(), given.project, given.entry("d0").await.id())
        .await
        .unwrap();
    given.control.disconnected(&entry, 1);
    let figures = counted(&given).await;
    assert_eq!(
        (
            figures.devices,
            figures.online,
            figures.observing,
            figures.failing
        ),
        (4, 0, 0, 0)
    );
}

/// A device says why it failed, then that it is idle, and then that it waits for the next attempt: the last is no reason.
#[tokio::test]
async fn why_a_device_failed_is_what_it_said_before_it_began_to_wait() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    given.device("d0", Some(cohort)).await;
    given.deploy(cohort, "two", &["main@2.0"]).await.unwrap();
    let failure = async |steps: &[(u64, u64)]| {
        for &(state, reason) in steps {
            say(&given, "d0", "main", state, reason, "1.0", Some("2.0")).await;
        }
        let figures = counted(&given).await;
        let shares = figures.failures.iter();
        shares
            .map(|share| (share.state.as_str(), share.reason))
            .collect::<Vec<_>>()
    };
    // Nothing else is known.
    assert_eq!(failure(&[(0, 11)]).await, [("idle", 11)]);
    assert_eq!(
        failure(&[(1, 0), (1, 5), (0, 0), (0, 11)]).await,
        [("downloading", 5)]
    );
    assert_eq!(failure(&[(1, 0)]).await, []);
    assert_eq!(failure(&[(0, 11)]).await, [("downloading", 5)]);
    assert_eq!(failure(&[(3, 8), (0, 11)]).await, [("updating", 8)]);
}

/// Where the devices stand now says nothing of it.
#[tokio::test]
async fn how_far_a_deployment_came_stays_as_it_was_when_another_took_its_place() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    for name in ["d0", "d1"] {
        given.device(name, Some(cohort)).await;
    }
    let first = given.deploy(cohort, "two", &["main@2.0"]).await.unwrap();
    say(&given, "d0", "main", 0, 0, "2.0", None).await;
    say(&given, "d1", "main", 1, 5, "1.0", Some("2.0")).await;
    counted(&given).await;
    given.deploy(cohort, "back", &["main@1.0"]).await.unwrap();
    say(&given, "d0", "main", 0, 0, "1.0", None).await;
    say(&given, "d1", "main", 0, 0, "1.0", None).await;
    counted(&given).await;
    let progress = given.control.progress(given.project, first.id).await.unwrap();
    assert_eq!((progress.done, progress.failed, progress.pending), (1, 1, 0));
    // Nor is it forgotten why devices failed: that is when it is asked for.
    let why = async |given: &Given| {
        let failures = given.control.deployment_failures(given.project, first.id).await;
        let failures = failures.unwrap().into_iter();
        let failures = failures.map(|one| {
            (
                one.package.to_string(),
                one.state.as_str(),
                one.reason,
                one.devices,
            )
        });
        failures.collect::<Vec<_>>()
    };
    let told = [("main".to_owned(), "downloading", 5, 1)];
    assert_eq!(why(&given).await, told);
    given.control.write_history(clock::unix_ms()).await.unwrap();
    assert_eq!(why(&given).await, told);
    let given = given.restarted().await;
    assert_eq!(why(&given).await, told);
}

/// A pipeline that waits for a rollout would take it for done.
#[tokio::test]
async fn who_was_not_looked_at_yet_has_not_heard_of_a_deployment() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    for name in ["d0", "d1"] {
        given.device(name, Some(cohort)).await;
    }
    given.deploy(cohort, "one", &["main@1.0"]).await.unwrap();
    for name in ["d0", "d1"] {
        say(&given, name, "main", 0, 0, "1.0", None).await;
    }
    counted(&given).await;
    stop_counter(&given).await;
    let counting = &given.control.shared.counting;
    let busy = counting.busy().await;

    given.device("d2", Some(cohort)).await;
    let first = given.control.view().clone();
    let first = first.in_project(given.project).unwrap().cohort(cohort).unwrap();
    let first = first.active().unwrap().id;
    let progress = async |id| given.control.progress(given.project, id).await.unwrap();
    let stands = progress(first).await;
    assert_eq!((stands.pending, stands.done), (1, 2));

    let second = given.deploy(cohort, "two", &["main@2.0"]).await.unwrap();
    let stands = progress(second.id).await;
    assert_eq!((stands.pending, stands.done), (3, 0));
    let figures = given.control.figures(given.project);
    let view = given.control.view().clone();
    let there = view.in_project(given.project).unwrap().cohort(cohort).unwrap();
    assert_eq!(figures.progress_of(there).unwrap().pending, 3);

    drop(busy);
    let stands = progress(second.id).await;
    assert_eq!((stands.pending, stands.done), (3, 0));
    assert_eq!(counting.stages(cohort, second.id), [3, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_deployment_that_nobody_counted_before_the_next_one_has_its_history_too() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    for name in ["d0", "d1"] {
        given.device(name, Some(cohort)).await;
    }
    given.deploy(cohort, "one", &["main@1.0"]).await.unwrap();
    say(&given, "d0", "main", 0, 0, "1.0", None).await;
    counted(&given).await;
    stop_counter(&given).await;
    let second = given.deploy(cohort, "two", &["main@2.0"]).await.unwrap();
    let third = given
        .deploy(cohort, "three", &["main@1.0", "modem@1"])
        .await
        .unwrap();
    let fourth = given.deploy(cohort, "four", &["main@1.0"]).await.unwrap();
    let progress = async |id| {
        let progress = given.control.progress(given.project, id).await.unwrap();
        (progress.pending, progress.done)
    };
    assert_eq!(progress(fourth.id).await, (1, 1));
    // Where the devices stand now says nothing of it.
    say(&given, "d1", "main", 0, 0, "2.0", None).await;
    given.control.catch_up().await.unwrap();
    assert_eq!(progress(second.id).await, (2, 0));
    assert_eq!(progress(third.id).await, (1, 1));
    for id in [second.id, third.id] {
        assert!(!history(&given, id).await.is_empty(), "{id}");
    }
    given.control.write_history(clock::unix_ms()).await.unwrap();
    assert_eq!(progress(second.id).await, (2, 0));
}

/// A start with a million devices on record counts for some seconds, and who asks meanwhile is not to count them once more.
#[tokio::test]
async fn until_a_large_cohort_is_counted_its_progress_is_what_was_written_down_last() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    for number in 0..11 {
        given.device(&format!("d{number}"), Some(cohort)).await;
    }
    let deployment = given.deploy(cohort, "two", &["main@2.0"]).await.unwrap();
    say(&given, "d0", "main", 0, 0, "2.0", None).await;
    counted(&given).await;
    stop_counter(&given).await;
    let (written_ms, _) = *history(&given, deployment.id).await.last().unwrap();
    say(&given, "d1", "main", 0, 0, "2.0", None).await;
    let progress = async || {
        let asked = given.control.counted_progress(given.project, deployment.id).await;
        let (progress, counted_ms) = asked.unwrap();
        (progress.done, progress.pending, counted_ms)
    };
    let (done, pending, _) = progress().await;
    assert_eq!((done, pending), (2, 9));
    given.control.shared.counting.unload();
    assert_eq!(progress().await, (1, 10, written_ms));
}

/// Looking at a million who are connected takes a while, and so does the rest after it.
#[tokio::test]
async fn a_deployment_is_in_the_figures_at_once_while_the_counter_rests() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    let mut entries = Vec::new();
    for number in 0..9 {
        given.device(&format!("d{number}"), Some(cohort)).await;
        let entry = given.entry(&format!("d{number}")).await;
        given.control.connected(&entry, session(1));
        entries.push(entry);
    }
    counted(&given).await;
    // Another one in its place, which has just begun to rest.
    let counter = given.control.shared.counter.lock().unwrap().take().unwrap();
    counter.abort();
    assert!(counter.await.unwrap_err().is_cancelled());
    let control = given.control.clone();
    let resting = tokio::spawn(async move {
        let hour = std::time::Duration::from_secs(3600);
        Counter::new(control).rest(clock::now() + hour).await;
    });
    let mut counts = given.control.counts();
    let made = given.deploy(cohort, "first", &["main@2.0"]).await.unwrap();
    counts.changed().await.unwrap();
    let figures = given.control.figures(given.project);
    let (of, progress) = figures.cohorts[&cohort].progress.unwrap();
    assert_eq!((of, progress.pending), (made.id, 9));
    resting.abort();
}

#[tokio::test]
async fn a_deployments_history_begins_when_it_was_made_goes_on_after_a_restart_and_ends_with_the_next() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("one").await;
    for number in 0..3 {
        given.device(&format!("d{number}"), Some(cohort)).await;
    }
    let first = given.deploy(cohort, "first", &["main@2.0"]).await.unwrap();
    counted(&given).await;
    say(&given, "d0", "main", 0, 0, "2.0", None).await;
    counted(&given).await;
    let before = history(&given, first.id).await;
    assert_eq!(before[0], (first.created_ms, 0));
    assert_eq!(before.last().unwrap().1, 1);

    let given = given.restarted().await;
    counted(&given).await;
    say(&given, "d1", "main", 0, 0, "2.0", None).await;
    counted(&given).await;
    let after = history(&given, first.id).await;
    assert_eq!(after[0], before[0]);
    assert_eq!(after.last().unwrap().1, 2);
    assert!(
        after
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
        "{after:?}"
    );

    given.deploy(cohort, "second", &["main@1.0"]).await.unwrap();
    counted(&given).await;
    given.control.write_history(clock::unix_ms()).await.unwrap();
    let end = history(&given, first.id).await;
    assert_eq!(
        end.last().unwrap().1,
        2,
        "it stands as it did when it was superseded"
    );
    say(&given, "d2", "main", 0, 0, "2.0", None).await;
    counted(&given).await;
    assert_eq!(history(&given, first.id).await, end);
    let given = given.restarted().await;
    assert_eq!(history(&given, first.id).await, end);
    let nobody = DeploymentId::new(999_999);
    assert!(
        given
            .control
            .deployment_history(given.project, nobody)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn fleet_histories_are_kept_over_restarts_for_their_span_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let given = Given::on(folder).await;
    let (project, folder) = (given.project, given.folder);
    given.control.close().await;
    drop(given.control);

    let step = Span::Hour.step_ms();
    let mut now = 0;
    // Three runs of 300 samples, 50 steps without any between them.
    for run in 0..3_u64 {
        let store = Store::open(folder.path()).await.unwrap();
        let mut series = FleetSeries::default();
        for tick in 0..300_u64 {
            now += step;
            series.sample(FleetRow {
                at_ms: now,
                connected: 1000 * run + tick / 100,
                ..FleetRow::default()
            });
            if tick % 90 == 0 {
                write(&store, project, &mut series, now).await;
            }
        }
        series.finish();
        write(&store, project, &mut series, now).await;
        store.close().await;
        now += 50 * step;
    }
    now -= 50 * step;
    let store = Store::open(folder.path()).await.unwrap();
    let from = now - Span::Hour.length_ms();
    let rows = store.fleet_rows(project, step, i64::MIN).await.unwrap();
    assert!(rows[1].at_ms >= from - step, "older ones are forgotten");
    assert!(rows.len() < 30, "{} rows", rows.len());
    let points = spread(&rows, step, from + step, now);
    assert_eq!(
        points.len(),
        310,
        "300 of the last run, and before the gap what fits the hour"
    );
    assert_eq!(points.iter().filter(|point| point.connected == 2001).count(), 100);
    let day = Span::Day;
    let rows = store.fleet_rows(project, day.step_ms(), i64::MIN).await.unwrap();
    let runs = rows.iter().filter(|row| row.begins).count();
    assert_eq!(runs, 3, "a day has all of it");
}

async fn write(store: &Store, project: ProjectId, series: &mut FleetSeries, now: i64) {
    let mut tx = store.begin().await.unwrap();
    for (span, rows) in series.take() {
        let kept = now - span.length_ms() - span.step_ms()..=now;
        tx.keep_fleet_rows(project, span.step_ms(), &rows, kept)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

/// Waits until what was committed before has been counted and published.
async fn counted(given: &Given) -> Arc<FleetFigures> {
    let mut counts = given.control.counts();
    for _ in 0..2 {
        counts.changed().await.unwrap();
    }
    given.control.figures(given.project)
}

/// What is known stays what it is.
async fn stop_counter(given: &Given) {
    let counter = given.control.shared.counter.lock().unwrap().take().unwrap();
    counter.abort();
    let _ = counter.await;
}

/// When, and how many were done.
async fn history(given: &Given, deployment: DeploymentId) -> Vec<(i64, u64)> {
    let history = given
        .control
        .deployment_history(given.project, deployment)
        .await
        .unwrap();
    history
        .points
        .iter()
        .map(|point| (point.at_ms, point.progress.done))
        .collect()
}

/// All pages of a list.
async fn names(given: &Given, query: &DeviceQuery) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut query = query.clone();
    loop {
        let page = given.control.devices(given.project, &query).await.unwrap();
        pages.push(
            page.devices
                .iter()
                .map(|record| record.device.name.to_string())
                .collect(),
        );
        query.after = page.next;
        if query.after.is_none() {
            return pages;
        }
    }
}

/// Something that happens to a device. `newest` is the sequence number of the last deployment: no device has heard of a later one.
async fn act(given: &Given, name: &str, rng: &mut StdRng, cohorts: &[CohortId], newest: u32) {
    let pick = |rng: &mut StdRng, some: &[&'static str]| some[rng.random_range(0..some.len())];
    match rng.random_range(0..10) {
        0 => {
            let id = given.entry(name).await.id();
            let cohort = [None, Some(cohorts[0]), Some(cohorts[1])][rng.random_range(0..3)];
            let patch = DevicePatch {
                cohort: Some(cohort),
                allow_sequence_back: true,
                ..DevicePatch::default()
            };
            given.update(id, patch).await;
        }
        1 => {
            let entry = given.entry(name).await;
            let sequence = rng.random_range(1..=newest);
            given.control.manifest_sent(&entry, sequence);
            given.control.manifest_acknowledged(&entry, sequence);
        }
        _ => {
            let package = pick(rng, &["main", "modem", "nothing"]);
            let target = [None, Some("1.0"), Some("2.0"), Some("1")][rng.random_range(0..4)];
            let version = pick(rng, &["1.0", "2.0", "1"]);
            say(
                given,
                name,
                package,
                rng.random_range(0..5),
                rng.random_range(0..13),
                version,
                target,
            )
            .await;
        }
    }
}

/// What the ledger says, beside what the store says of the same moment.
async fn compare(given: &Given, cohorts: &[CohortId]) {
    let mut counts = given.control.counts();
    for &cohort in cohorts {
        let view = given.control.view().clone();
        let cohort = view.in_project(given.project).unwrap().cohort(cohort).unwrap();
        let Some(active) = cohort.active() else { continue };
        loop {
            let before = committed(given).await;
            // Right after a start, the counter has to have read every device first.
            while !given.control.catch_up().await.unwrap() {
                counts.changed().await.unwrap();
            }
            let counted = given.control.shared.counting.stages(active.cohort, active.id);
            let stored = given.control.shared.store.progress(active).await.unwrap().buckets;
            // Sightings are committed when it is time to: what was between one and the other says nothing.
            if committed(given).await == before {
                assert_eq!(counted, stored, "counted, and stored");
                break;
            }
        }
    }
}

/// How much has been committed, and nothing is half way: the writer answers an order after it has said what it committed before.
async fn committed(given: &Given) -> Pulse {
    given.control.order(Nothing).await.unwrap();
    Pulse {
        // What the counter has found since is not committed.
        figures: 0,
        ..given.control.pulse()
    }
}

/// Waits until what was seen of devices is on disk. They are collected in the order in which they were seen.
async fn sightings_stored(given: &Given) {
    let last = given.entry("d0-0").await;
    let mut counts = given.control.counts();
    // Higher than all that it was sent before, in this run or another.
    let sequence = 1_000_000;
    given.control.manifest_sent(&last, sequence);
    let store = &given.control.shared.store;
    let is_stored = async || {
        let sightings = store.sightings_of(&[last.id()]).await.unwrap();
        let seen = sightings.get(&last.id());
        seen.is_some_and(|seen| seen.manifest_sent == sequence)
    };
    while !is_stored().await {
        counts.changed().await.unwrap();
    }
}

/// Changes nothing.
struct Nothing;

impl Decision for Nothing {
    type Answer = ();

    fn actor(&self) -> Option<&Actor> {
        None
    }

    async fn decide(self, _: &mut Batch) -> Result<(), Stop> {
        Ok(())
    }
}

pub async fn say(
    given: &Given,
    name: &str,
    package: &str,
    state: u64,
    reason: u64,
    version: &str,
    target: Option<&str>,
) {
    let (done, answer) = oneshot::channel();
    let report = Report {
        device: given.entry(name).await,
        package: package.to_owned(),
        state,
        reason,
        version: Some(version.to_owned()),
        target: target.map(str::to_owned),
        at_ms: clock::unix_ms(),
        done: Box::new(move |end| done.send(end).unwrap_or(())),
    };
    given.control.report_slot().unwrap().take(report);
    answer.await.unwrap().unwrap();
}
