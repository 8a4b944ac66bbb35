use std::collections::BTreeMap;

use rand::RngExt;
use tokio::sync::oneshot;

use super::{Given, dice, me, new_device};
use crate::control::{Change, Report};
use crate::fleet::PackageState;

#[tokio::test]
async fn a_report_is_acknowledged_when_it_is_on_disk_and_not_before() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    let (old, new) = (given.report(&entry, "main", 1), given.report(&entry, "main", 2));
    assert_eq!((old.await, new.await), (Ok(Ok(())), Ok(Ok(()))));
    given
        .report(&entry, "never-heard-of", u64::MAX)
        .await
        .unwrap()
        .unwrap();

    let given = given.killed().await;
    let record = given
        .control
        .device(given.project, device)
        .await
        .unwrap()
        .unwrap();
    let states: Vec<_> = record
        .packages
        .iter()
        .map(|state| (state.package.as_str(), state.state))
        .collect();
    assert_eq!(states, [("main", 2), ("never-heard-of", i64::MAX as u64)]);
    assert_eq!(record.packages[0].version.as_deref(), Some("1.0"));
    assert_eq!(record.packages[0].at_ms, 17);
}

#[tokio::test]
async fn a_device_that_makes_packages_up_does_not_fill_the_disk() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    for i in 0..100 {
        given.report(&entry, &format!("p{i}"), 0).await.unwrap().unwrap();
    }
    given.report(&entry, "p0", 3).await.unwrap().unwrap();
    let record = given
        .control
        .device(given.project, device)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.packages.len(), 32);
    assert_eq!(record.packages[0].state, 3, "what it has goes on being kept");
}

/// What is kept is what the reports say one after the other, however many of them a commit takes.
#[tokio::test]
async fn a_report_is_kept_as_the_one_after_those_before_it() {
    let mut rng = dice();
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    let mut kept: BTreeMap<String, PackageState> = BTreeMap::new();
    for _ in 0..600 {
        let (done, answer) = oneshot::channel();
        let some = |text: &str, one: bool| one.then(|| text.to_owned());
        let report = Report {
            device: std::sync::Arc::clone(&entry),
            package: format!("p{}", rng.random_range(10..40)),
            state: rng.random_range(0..4),
            reason: [0, 0, 1, 5, 8, 11, 11, 12][rng.random_range(0..8)],
            version: some("1.0", rng.random_bool(0.8)),
            target: some(
                ["2.0", "3.0"][usize::from(rng.random_bool(0.2))],
                rng.random_bool(0.7),
            ),
            at_ms: 17,
            done: Box::new(move |end| done.send(end).unwrap_or(())),
        };
        let mut said = report.said();
        if let Some(before) = kept.get(&said.package) {
            said.follow(before);
        }
        kept.insert(said.package.clone(), said);
        given.control.report_slot().unwrap().take(report);
        if rng.random_bool(0.2) {
            answer.await.unwrap().unwrap();
        }
    }
    given.report(&entry, "main", 0).await.unwrap().unwrap();
    let record = given
        .control
        .device(given.project, device)
        .await
        .unwrap()
        .unwrap();
    let stored = record
        .packages
        .into_iter()
        .filter(|state| state.package != "main");
    assert_eq!(stored.collect::<Vec<_>>(), kept.into_values().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_report_of_a_device_that_is_gone_harms_nobody() {
    let given = Given::new().await;
    let device = given.device("gone", None).await;
    let stays = given.device("stays", None).await;
    let (gone, entry) = (given.entry("gone").await, given.entry("stays").await);
    given
        .control
        .delete_device(&me(), given.project, device)
        .await
        .unwrap();
    let (one, two) = (given.report(&gone, "main", 1), given.report(&entry, "main", 1));
    given.control.manifest_sent(&gone, 7);
    assert_eq!((one.await, two.await), (Ok(Ok(())), Ok(Ok(()))));
    assert_eq!(
        given
            .control
            .device(given.project, stays)
            .await
            .unwrap()
            .unwrap()
            .packages
            .len(),
        1
    );
    given.control.close().await;
}

#[tokio::test]
async fn a_storm_of_reports_is_stored_in_few_commits() {
    let given = Given::new().await;
    let many = (0..3000).map(|i| new_device(&format!("d{i}"), None));
    let created = given
        .control
        .create_devices(&me(), given.project, many.collect())
        .await
        .unwrap();
    let mut entries = Vec::new();
    for created in created {
        let device = created.unwrap().device;
        entries.push(
            given
                .control
                .device_by_name(given.project, &device.name)
                .await
                .unwrap()
                .unwrap(),
        );
    }
    let mut changes = given.control.changes();
    let answers: Vec<_> = entries
        .iter()
        .map(|entry| given.report(entry, "main", 1))
        .collect();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    let (mut commits, mut stored) = (0, 0);
    while let Ok(Change::ReportsStored(reports)) = changes.try_recv() {
        commits += 1;
        stored += reports;
    }
    assert_eq!(stored, 3000);
    assert!(commits <= 10, "{commits} commits");
}

#[tokio::test]
async fn progress_puts_each_device_where_it_is() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("field").await;
    let names = [
        "pending",
        "notified",
        "downloading",
        "downloaded",
        "updating",
        "done",
        "failed",
        "partly",
    ];
    for name in names {
        given.device(name, Some(cohort)).await;
    }
    let deployment = given.deploy(cohort, "a", &["main@2.0", "modem@1"]).await.unwrap();
    let now = crate::clock::unix_ms() + 1000;
    let report =
        async |name: &str, package: &str, state: u64, reason: u64, version: &str, target: Option<&str>| {
            let entry = given.entry(name).await;
            let (done, answer) = oneshot::channel();
            let report = Report {
                device: entry,
                package: package.to_owned(),
                state,
                reason,
                version: Some(version.to_owned()),
                target: target.map(str::to_owned),
                at_ms: now,
                done: Box::new(move |end| done.send(end).unwrap_or(())),
            };
            given.control.report_slot().unwrap().take(report);
            answer.await.unwrap().unwrap();
        };
    report("downloading", "main", 1, 0, "1.0", Some("2.0")).await;
    report("downloaded", "main", 2, 0, "1.0", Some("2.0")).await;
    report("updating", "main", 3, 0, "1.0", Some("2.0")).await;
    report("done", "main", 0, 0, "2.0", None).await;
    report("failed", "main", 0, 5, "1.0", Some("2.0")).await;
    report("partly", "main", 0, 0, "2.0", None).await;
    report("partly", "modem", 1, 0, "0", Some("1")).await;
    let notified = given.entry("notified").await;
    given.control.manifest_sent(&notified, deployment.sequence.get());
    given
        .control
        .manifest_acknowledged(&notified, deployment.sequence.get());
    let main = deployment.artifacts[0].id;
    notified.note_block(main, 0, 1024, 1024);

    // Sightings are collected on a tick, and at the end.
    let given = given.restarted().await;
    let progress = given
        .control
        .progress(given.project, deployment.id)
        .await
        .unwrap();
    assert_eq!((progress.pending, progress.notified), (1, 1));
    assert_eq!(
        (progress.downloading, progress.downloaded, progress.updating),
        (2, 1, 1)
    );
    assert_eq!((progress.done, progress.failed), (1, 1));
}
