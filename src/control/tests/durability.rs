use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;

use super::{Given, credential, me, new_device};
use crate::clock;
use crate::control::batch::{Batch, Command, Decision, Stop};
use crate::control::handle::CHECK_KEPT;
use crate::control::{AuditFilter, AuditScope, ControlError, DevicePatch, NewDevice, TimelineFilter};
use crate::fleet::{Actor, CohortName, KeyName, Role, TimelineEvent, TimelineKind};
use crate::store::{Store, StoreError};

#[tokio::test]
async fn secrets_are_not_in_the_data_folder() {
    let given = Given::new().await;
    let secret = b"correct-horse-battery-staple";
    let new = NewDevice {
        credentials: vec![credential("one", Some(secret))],
        ..new_device("d1", None)
    };
    given
        .control
        .create_device(&me(), given.project, new)
        .await
        .unwrap();
    for file in ["tessera.db", "tessera.db-wal"] {
        let bytes = std::fs::read(given.folder.path().join(file)).unwrap();
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret),
            "{file}"
        );
    }
}

#[tokio::test]
async fn a_failed_commit_fails_its_batch_and_leaves_the_view_as_it_was() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("field").await;
    let other = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(given.folder.path().join("tessera.db")),
    )
    .await
    .unwrap();
    sqlx::query("ALTER TABLE deployment_artifacts RENAME TO away")
        .execute(&other)
        .await
        .unwrap();
    let before = given.control.view().clone();
    let error = given.deploy(cohort, "a", &["main@1.0"]).await.unwrap_err();
    assert!(matches!(error, ControlError::StoreFailed(_)), "{error}");
    assert!(Arc::ptr_eq(&before, &given.control.view()));
    assert!(given.control.view().manifest(cohort).is_none());

    sqlx::query("ALTER TABLE away RENAME TO deployment_artifacts")
        .execute(&other)
        .await
        .unwrap();
    let deployment = given.deploy(cohort, "a", &["main@1.0"]).await.unwrap();
    assert_eq!(deployment.sequence.get(), 1);
}

#[tokio::test]
async fn what_was_seen_of_a_device_is_not_lost_with_a_commit_that_fails() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let other = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(given.folder.path().join("tessera.db")),
    )
    .await
    .unwrap();
    sqlx::query("ALTER TABLE sightings RENAME TO away")
        .execute(&other)
        .await
        .unwrap();
    let entry = given.entry("d").await;
    given.control.manifest_sent(&entry, 7);
    drop(entry);
    // Enough commands that some are in the batch that takes what was seen, which is what fails it.
    let actor = me();
    let failed = async {
        loop {
            let pushes = (0..1000).map(|_| given.control.push(&actor, given.project, device));
            if futures_util::future::join_all(pushes)
                .await
                .iter()
                .any(Result::is_err)
            {
                break;
            }
        }
    };
    let failed = tokio::time::timeout(Duration::from_secs(60), failed).await;
    failed.expect("what was seen is written again and again, until it is");

    sqlx::query("ALTER TABLE away RENAME TO sightings")
        .execute(&other)
        .await
        .unwrap();
    let given = given.restarted().await;
    let record = given.control.device(given.project, device).await.unwrap();
    assert_eq!(record.unwrap().sighting.manifest_sent, 7);
}

#[tokio::test]
async fn the_audit_says_who_did_what_to_what() {
    let given = Given::with_artifacts().await;
    let cohort = given.cohort("field").await;
    let device = given.device("d", None).await;
    given
        .update(
            device,
            DevicePatch {
                cohort: Some(Some(cohort)),
                ..DevicePatch::default()
            },
        )
        .await;
    given.deploy(cohort, "a", &["main@1.0"]).await.unwrap();
    given.deploy(cohort, "b", &["main@9"]).await.unwrap_err();

    let given = given.killed().await;
    let scope = AuditScope::Project(given.project);
    let filter = AuditFilter {
        limit: 2,
        ..AuditFilter::default()
    };
    let records = given.control.audit(scope, &filter).await.unwrap().records;
    let actions: Vec<_> = records.iter().map(|record| record.action.as_str()).collect();
    assert_eq!(
        actions,
        ["deployment.create", "device.update"],
        "newest first, refusals are no changes"
    );
    assert_eq!(records[1].actor, "me");
    assert_eq!(records[1].subject, device.to_string());
    assert_eq!(
        records[1].before.as_ref().unwrap()["cohort"],
        serde_json::Value::Null
    );
    assert_eq!(records[1].after.as_ref().unwrap()["cohort"], cohort.to_string());
    let filter = AuditFilter {
        before: Some(records[1].id),
        ..filter
    };
    let records = given.control.audit(scope, &filter).await.unwrap().records;
    assert_eq!(records[0].action, "device.create");
    let filter = AuditFilter {
        subjects: vec!["main@1.0".to_owned()],
        limit: 9,
        ..AuditFilter::default()
    };
    assert_eq!(
        given.control.audit(scope, &filter).await.unwrap().records.len(),
        1
    );
}

#[tokio::test]
async fn what_is_queued_at_the_end_is_committed_and_what_comes_later_is_refused() {
    let given = Given::new().await;
    let entry = {
        given.device("d", None).await;
        given.entry("d").await
    };
    let report = given.report(&entry, "main", 1);
    given.control.close().await;
    report.await.unwrap().unwrap();
    let name = CohortName::parse("late").unwrap();
    let late = given.control.create_cohort(&me(), given.project, name).await;
    assert!(matches!(late, Err(ControlError::ShuttingDown)));
    assert!(matches!(
        given.control.check().await,
        Err(ControlError::ShuttingDown)
    ));
}

#[tokio::test]
async fn names_that_a_former_version_took_are_kept() {
    let given = Given::with_artifacts().await;
    // U+200B in the place of three letters of ASCII.
    let cohort = given.cohort("lamps q_q").await;
    let device = given.device("lamp-1", None).await;
    let patch = DevicePatch {
        cohort: Some(Some(cohort)),
        ..DevicePatch::default()
    };
    given.update(device, patch).await;
    given.deploy(cohort, "first q_q", &["main@1.0"]).await.unwrap();
    for name in ["ops q_q", "tesserq"] {
        let name = KeyName::parse(name).unwrap();
        given
            .control
            .create_key(&me(), name, Role::Read, None)
            .await
            .unwrap();
    }
    let given = given.rewritten("q_q", "\u{200b}").await;
    let given = given.rewritten("tesserq", "tessera").await;
    let view = given.control.view().clone();
    let kept = view.in_project(given.project).unwrap().cohort(cohort).unwrap();
    assert_eq!(&*kept.name, "lamps \u{200b}");
    assert_eq!(&*kept.active().unwrap().name, "first \u{200b}");
    let names: Vec<_> = view.keys().iter().map(|key| key.name.to_string()).collect();
    assert_eq!(names[1..], ["ops \u{200b}", "tessera"]);
    let filter = TimelineFilter {
        kinds: vec![TimelineKind::Moved],
        before: None,
        limit: 10,
    };
    let entries = given.control.timeline(device, &filter).await.unwrap();
    let moved = |event: &TimelineEvent| matches!(event, TimelineEvent::Moved { to: Some(to), .. } if **to == *kept.name);
    assert!(entries.iter().any(|entry| moved(&entry.event)), "{entries:?}");
}

#[tokio::test]
async fn a_writer_that_panics_is_noticed() {
    struct Panics;
    impl Decision for Panics {
        type Answer = ();

        fn actor(&self) -> Option<&Actor> {
            None
        }

        async fn decide(self, _: &mut Batch) -> Result<(), Stop> {
            panic!("as the test wants");
        }
    }
    let given = Given::new().await;
    let lives = tokio::time::timeout(Duration::ZERO, given.control.ended());
    lives.await.unwrap_err();
    let (command, answer) = Command::new(Panics);
    given
        .control
        .shared
        .jobs
        .try_send(Box::new(command))
        .unwrap_or_else(|_| unreachable!("the queue is empty"));
    given.control.ended().await;
    answer.await.unwrap_err();
}

#[tokio::test]
async fn many_checks_are_one_commit() {
    let given = Given::new().await;
    // It commits what it has counted.
    let counter = given.control.shared.counter.lock().unwrap().take().unwrap();
    counter.abort();
    let _ = counter.await;
    let mut other = sqlx::SqliteConnection::connect_with(
        &sqlx::sqlite::SqliteConnectOptions::new().filename(given.folder.path().join("tessera.db")),
    )
    .await
    .unwrap();
    // Changes with every commit of somebody else.
    let mut version = async || -> i64 {
        let version = sqlx::query_scalar("PRAGMA data_version");
        version.fetch_one(&mut other).await.unwrap()
    };
    loop {
        let before = version().await;
        let begun = clock::now();
        given.control.check().await.unwrap();
        let once = version().await;
        assert_ne!(before, once, "the first one is a commit");
        for _ in 0..100 {
            given.control.check().await.unwrap();
        }
        let last = version().await;
        // On a slow machine what was found has become too old meanwhile.
        if begun.elapsed() < CHECK_KEPT {
            assert_eq!(last, once);
            return;
        }
        tokio::time::sleep(CHECK_KEPT).await;
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let given = Given::new().await;
    given.control.check().await.unwrap();
    let error = Store::open(given.folder.path()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Locked { folder } if folder == given.folder.path()));
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let given = Given::new().await;
    let copy = given.copy();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(copy.path().join("tessera.db"));
    let other = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'the future', TRUE, x'00', 0)",
    )
    .execute(&other)
    .await
    .unwrap();
    other.close().await;
    let error = Store::open(copy.path()).await.unwrap_err();
    assert!(
        matches!(
            &error,
            StoreError::Newer {
                found: 999,
                known: 1..999,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_or_exchanged_installation_key_is_noticed_at_start() {
    let given = Given::new().await;
    let copy = given.copy();
    let key = copy.path().join("installation.key");
    std::fs::remove_file(&key).unwrap();
    for _ in 0..2 {
        let error = Store::open(copy.path()).await.unwrap_err();
        assert!(matches!(&error, StoreError::KeyMissing { .. }), "{error}");
    }
    std::fs::write(&key, [7; 32]).unwrap();
    assert!(matches!(
        Store::open(copy.path()).await,
        Err(StoreError::KeyForeign { .. })
    ));
    std::fs::copy(given.folder.path().join("installation.key"), &key).unwrap();
    Store::open(copy.path()).await.unwrap();
}
