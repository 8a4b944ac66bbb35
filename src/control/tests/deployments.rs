use std::collections::BTreeMap;
use std::time::Duration;

use super::{Given, me, order};
use crate::control::{Change, ControlError, DevicePatch, Estimate};
use crate::fleet::{CohortId, Deployment, Refusal};
use crate::store::ProgressCounts;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deployments_at_once_get_numbers_that_rise_and_are_never_given_twice() {
    let given = Given::with_artifacts().await;
    let mut cohorts = Vec::new();
    for i in 0..4 {
        cohorts.push(given.cohort(&format!("c{i}")).await);
    }
    let mut tasks = Vec::new();
    for i in 0..200 {
        let (control, project) = (given.control.clone(), given.project);
        let order = order(cohorts[i % 4], &format!("d{i}"), &["main@1.0"]);
        tasks.push(tokio::spawn(async move {
            control.create_deployment(&me(), project, order).await.unwrap()
        }));
    }
    let mut acknowledged = BTreeMap::new();
    for task in tasks {
        let deployment = task.await.unwrap();
        assert!(acknowledged.insert(deployment.sequence, deployment).is_none());
    }
    let numbers: Vec<_> = acknowledged.keys().map(|sequence| sequence.get()).collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    let view = given.control.view();
    for cohort in view.default_project().cohorts.values() {
        assert!(
            cohort
                .deployments
                .is_sorted_by_key(|deployment| deployment.sequence)
        );
        assert_eq!(
            view.manifest(cohort.id).unwrap().sequence,
            cohort.active().unwrap().sequence
        );
    }
    drop(view);

    let given = given.killed().await;
    let view = given.control.view();
    for deployment in acknowledged.values() {
        let (_, kept) = view.default_project().deployment(deployment.id).unwrap();
        assert_eq!(kept, deployment);
    }
    drop(view);
    let next = given.deploy(cohorts[0], "next", &["main@1.0"]).await.unwrap();
    assert_eq!(next.sequence.get(), 201);
}

#[tokio::test]
async fn a_stale_review_is_refused_and_nothing_of_it_is_kept() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("field").await;
    let first = given.deploy(cohort, "a", &["main@1.0"]).await.unwrap();
    given.deploy(cohort, "b", &["main@2.0"]).await.unwrap();
    let mut stale = order(cohort, "c", &["main@1.0"]);
    stale.expected_active = Some(Some(first.id));
    let error = given
        .control
        .create_deployment(&me(), given.project, stale)
        .await
        .unwrap_err();
    let ControlError::Refused(Refusal::Stale {
        expected, difference, ..
    }) = error
    else {
        panic!("{error}")
    };
    assert_eq!(expected, Some(first.id));
    assert_eq!(difference.changed.len(), 1);
    let view = given.control.view();
    assert_eq!(
        view.default_project().cohort(cohort).unwrap().deployments.len(),
        2
    );
}

#[tokio::test]
async fn a_manifest_that_no_device_can_take_is_refused() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("field").await;
    let mut wanted = Vec::new();
    for i in 0..8 {
        let name = format!("package-{i}");
        given.package(&name).await;
        given.upload(&name, "1.0.0", b"bytes").await.unwrap();
        wanted.push(format!("{name}@1.0.0"));
    }
    let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
    let error = given.deploy(cohort, "all", &wanted).await.unwrap_err();
    assert!(matches!(
        error,
        ControlError::Refused(Refusal::ManifestTooLarge {
            bytes: 1025..,
            limit: 1024
        })
    ));
    let preview = given
        .control
        .preview_deployment(given.project, &order(cohort, "all", &wanted))
        .await;
    assert!(matches!(
        preview,
        Err(ControlError::Refused(Refusal::ManifestTooLarge { .. }))
    ));
    assert!(given.control.view().manifest(cohort).is_none());
}

#[tokio::test]
async fn a_preview_changes_nothing() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("field").await;
    given.device("d1", Some(cohort)).await;
    given.device("d2", Some(cohort)).await;
    let order = order(cohort, "a", &["main@1.0", "modem@1"]);
    let preview = given
        .control
        .preview_deployment(given.project, &order)
        .await
        .unwrap();
    assert_eq!((preview.devices, preview.online), (2, 0));
    assert_eq!(preview.bytes_total, 2 * preview.bytes_per_device);
    assert_eq!(preview.lint[0].rule, "too-many-components");
    assert!(given.control.view().manifest(cohort).is_none());
}

#[tokio::test]
async fn a_preview_says_how_long_it_may_take_by_the_last_rollout_that_says_anything_about_it() {
    let given = Given::with_artifacts().await;
    given
        .upload("main", "3.0", &[b'3'; 3 * "main 1.0".len()])
        .await
        .unwrap();
    let cohort = given.cohort("field").await;
    assert_eq!(
        estimate(&given, cohort, &["main@1.0"]).await,
        Estimate::NothingToGoBy
    );
    let first = given.deploy(cohort, "first", &["main@1.0"]).await.unwrap();
    assert_eq!(
        estimate(&given, cohort, &["main@1.0"]).await,
        Estimate::NothingToDownload
    );
    assert_eq!(
        estimate(&given, cohort, &["main@2.0"]).await,
        Estimate::NothingToGoBy,
        "it has only begun"
    );
    took(&given, &first, &[(40, 6), (90, 10)]);
    let known = |seconds: (u64, u64), by: &Estimate| {
        let Estimate::Known(expected) = by else {
            panic!("{by}")
        };
        assert_eq!(
            (expected.half, expected.most),
            (Duration::from_secs(seconds.0), Duration::from_secs(seconds.1))
        );
        assert_eq!((expected.by.id, expected.devices), (first.id, 10));
        assert_eq!(by.to_string(), "as 10 devices took \"first\" (#1)");
    };
    known((40, 90), &estimate(&given, cohort, &["main@2.0"]).await);
    known((120, 270), &estimate(&given, cohort, &["main@3.0"]).await);

    // One that brought nothing, and one that is not through.
    given.deploy(cohort, "again", &["main@1.0"]).await.unwrap();
    let third = given.deploy(cohort, "third", &["main@2.0"]).await.unwrap();
    took(&given, &third, &[(10, 8)]);
    known((40, 90), &estimate(&given, cohort, &["main@1.0"]).await);

    let given = given.restarted().await;
    known((40, 90), &estimate(&given, cohort, &["main@1.0"]).await);
    let elsewhere = given.cohort("elsewhere").await;
    assert_eq!(
        estimate(&given, elsewhere, &["main@1.0"]).await,
        Estimate::NothingToGoBy
    );
}

#[tokio::test]
async fn changes_are_published_when_the_view_shows_them() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("field").await;
    let device = given.device("d", None).await;
    let mut changes = given.control.changes();
    let deployment = given.deploy(cohort, "a", &["main@1.0"]).await.unwrap();
    let change = changes.recv().await.unwrap();
    let project = given.project;
    assert_eq!(
        change,
        Change::CohortDeployed {
            project,
            cohort,
            deployment: deployment.id
        }
    );
    assert_eq!(
        given.control.view().manifest(cohort).unwrap().sequence,
        deployment.sequence
    );

    let moved = DevicePatch {
        cohort: Some(Some(cohort)),
        ..DevicePatch::default()
    };
    given.update(device, moved.clone()).await;
    given.update(device, moved).await;
    given
        .update(
            device,
            DevicePatch {
                cohort: Some(None),
                ..DevicePatch::default()
            },
        )
        .await;
    given
        .update(
            device,
            DevicePatch {
                enabled: Some(false),
                ..DevicePatch::default()
            },
        )
        .await;
    assert!(!given.control.push(&me(), given.project, device).await.unwrap());
    given
        .control
        .delete_device(&me(), given.project, device)
        .await
        .unwrap();
    for expected in [
        Change::DeviceMoved(device),
        Change::DeviceUnassigned(device),
        Change::DeviceDisabled(device),
        Change::DevicePush(device),
        Change::DeviceDeleted(device),
    ] {
        assert_eq!(changes.recv().await.unwrap(), expected);
    }
}

async fn estimate(given: &Given, cohort: CohortId, artifacts: &[&str]) -> Estimate {
    let order = order(cohort, "next", artifacts);
    let preview = given.control.preview_deployment(given.project, &order).await;
    preview.unwrap().estimate
}

/// Ten devices are told of it, and by these seconds from then on so many are done: in a time of their own, from an hour after it was
/// made, in which the counter of the test has not looked yet.
fn took(given: &Given, deployment: &Deployment, done: &[(i64, u64)]) {
    let mut series = given.control.shared.history.lock();
    let mut sample = |at_ms: i64, [pending, notified, done]: [u64; 3]| {
        let counts = ProgressCounts {
            buckets: [pending, notified, 0, 0, 0, done, 0],
        };
        series.sample_deployment(deployment, deployment.created_ms + at_ms, counts, 0);
    };
    sample(0, [10, 0, 0]);
    sample(3_600_000, [0, 10, 0]);
    for &(after_s, done) in done {
        sample(3_600_000 + after_s * 1000, [0, 10 - done, done]);
    }
}
