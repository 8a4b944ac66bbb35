use super::timeline::lost;
use super::{Given, credential, me, session};
use crate::control::{ControlError, DevicePatch, DeviceRow, ImportRules, NewCredential, RowOutcome};
use crate::fleet::{CohortId, DeviceName, Refusal, Tag};

#[tokio::test]
async fn the_rows_of_one_commit_see_each_other() {
    let given = Given::new().await;
    let cohort = given.cohort("field").await;
    let update = ImportRules {
        update: true,
        ..ImportRules::default()
    };
    let rows = || {
        vec![
            with("d1", vec![credential("one", Some(b"x"))]),
            with("d1", vec![credential("one", Some(b"x"))]),
            with("d1", vec![credential("one", Some(b"y"))]),
            with("d2", vec![credential("one", None)]),
            with("d1", vec![credential("two", None), credential("two", None)]),
            DeviceRow {
                cohort: Some(Some(cohort)),
                tags: Some(vec![Tag::parse("north").unwrap()]),
                ..with("d1", vec![credential("two", Some(b"z"))])
            },
            with("d1", vec![credential("two", Some(b"z"))]),
            with("d1", vec![credential("two", Some(b"other"))]),
            row("d3"),
            row("d3"),
        ]
    };
    let words = given.import(update, rows()).await;
    assert_eq!(
        words,
        [
            "created",
            "unchanged",
            "secret-differs",
            "identity-taken",
            "identity-taken",
            "updated",
            "unchanged",
            "secret-differs",
            "created",
            "unchanged"
        ]
    );
    let given = given.killed().await;
    let again = given.import(ImportRules::default(), rows()).await;
    assert_eq!(
        again,
        [
            "unchanged",
            "unchanged",
            "secret-differs",
            "identity-taken",
            "unchanged",
            "unchanged",
            "unchanged",
            "secret-differs",
            "unchanged",
            "unchanged"
        ]
    );
    let view = given.control.view();
    assert_eq!(
        view.in_project(given.project)
            .unwrap()
            .cohort(cohort)
            .unwrap()
            .devices,
        1
    );
    let access = given.control.device_by_identity(b"two").await.unwrap().unwrap();
    assert_eq!(
        (access.secret.as_bytes(), access.entry.cohort()),
        (&b"z"[..], Some(cohort))
    );
}

#[tokio::test]
async fn a_device_has_only_so_many_credentials_and_a_row_cannot_go_past_that() {
    let given = Given::new().await;
    let many = |count: usize| {
        (0..count)
            .map(|at| credential(&format!("i{at}"), None))
            .collect::<Vec<_>>()
    };
    let update = ImportRules {
        update: true,
        ..ImportRules::default()
    };
    let words = given
        .import(
            update,
            vec![
                with("d1", many(9)),
                with("d1", many(7)),
                with("d1", many(8)),
                with("d1", vec![credential("i9", None)]),
            ],
        )
        .await;
    assert_eq!(words, ["too-many", "created", "updated", "too-many"]);
}

#[tokio::test]
async fn the_highest_number_that_a_device_was_sent_counts_after_a_restart_and_right_after_it_is_gone() {
    let given = Given::with_artifacts().await;
    let (old, new) = (given.cohort("old").await, given.cohort("new").await);
    given.deploy(old, "first", &["main@1.0"]).await.unwrap();
    given.deploy(new, "second", &["main@1.0"]).await.unwrap();
    let id = given.device("d1", Some(new)).await;
    let name = DeviceName::parse("d1").unwrap();
    let entry = given
        .control
        .device_by_name(given.project, &name)
        .await
        .unwrap()
        .unwrap();
    given.control.connected(&entry, session(1));
    given.control.manifest_sent(&entry, 2);
    given.control.disconnected(&entry, 1);
    drop(entry);
    let refused = given.moved(id, old, false).await.unwrap_err();
    assert!(
        matches!(&refused, ControlError::Refused(Refusal::SequenceGoesBack(back)) if (back.sent, back.sequence.get()) == (2, 1)),
        "{refused:?}"
    );

    let given = given.restarted().await;
    assert!(given.moved(id, old, false).await.is_err());
    let third = given.cohort("never deployed to").await;
    given.moved(id, third, false).await.unwrap();
    assert!(given.moved(id, old, false).await.is_err(), "by a detour as well");
    given.moved(id, old, true).await.unwrap();
    given.deploy(old, "third", &["main@1.0"]).await.unwrap();
    given.moved(id, third, false).await.unwrap();
    given.moved(id, old, false).await.unwrap();
}

#[tokio::test]
async fn what_a_device_was_sent_counts_for_a_move_that_is_decided_as_it_is_written() {
    // At the end the writer takes commands and what was seen in one go; which of them wakes it is chance.
    for _ in 0..10 {
        let given = Given::with_artifacts().await;
        let (old, new) = (given.cohort("old").await, given.cohort("new").await);
        given.deploy(old, "first", &["main@1.0"]).await.unwrap();
        given.deploy(new, "second", &["main@1.0"]).await.unwrap();
        let id = given.device("d1", Some(new)).await;
        let name = DeviceName::parse("d1").unwrap();
        let entry = given
            .control
            .device_by_name(given.project, &name)
            .await
            .unwrap()
            .unwrap();
        given.control.manifest_sent(&entry, 2);
        drop(entry);
        let (moved, ()) = tokio::join!(given.moved(id, old, false), given.control.close());
        assert!(matches!(
            moved,
            Err(ControlError::Refused(Refusal::SequenceGoesBack(_)))
        ));
    }
}

#[tokio::test]
async fn what_a_device_was_sent_is_written_later_where_it_cannot_be_written_at_once() {
    let given = Given::with_artifacts().await;
    let (old, new) = (given.cohort("old").await, given.cohort("new").await);
    given.deploy(old, "first", &["main@1.0"]).await.unwrap();
    given.deploy(new, "second", &["main@1.0"]).await.unwrap();
    let id = given.device("d1", Some(new)).await;
    let other = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(given.folder.path().join("tessera.db")),
    )
    .await
    .unwrap();
    sqlx::query("ALTER TABLE sightings RENAME TO away")
        .execute(&other)
        .await
        .unwrap();
    let before = lost("store_failed");
    let entry = given.entry("d1").await;
    given.control.manifest_sent(&entry, 2);
    drop(entry);
    // The entry of its timeline goes with the batch, and is counted.
    while lost("store_failed") <= before {
        tokio::task::yield_now().await;
    }
    sqlx::query("ALTER TABLE away RENAME TO sightings")
        .execute(&other)
        .await
        .unwrap();
    assert!(given.moved(id, old, false).await.is_err());
    let given = given.restarted().await;
    assert!(given.moved(id, old, false).await.is_err());
}

impl Given {
    async fn import(&self, rules: ImportRules, rows: Vec<DeviceRow>) -> Vec<&'static str> {
        let outcomes = self
            .control
            .import_devices(&me(), self.project, rules, rows)
            .await
            .unwrap();
        let word = |outcome: &Result<RowOutcome, Refusal>| match outcome {
            Ok(RowOutcome::Created(_)) => "created",
            Ok(RowOutcome::Updated { .. }) => "updated",
            Ok(RowOutcome::Unchanged) => "unchanged",
            Err(refusal) => refusal.name(),
        };
        outcomes.iter().map(word).collect()
    }

    async fn moved(&self, id: crate::fleet::DeviceId, to: CohortId, allow: bool) -> Result<(), ControlError> {
        let patch = DevicePatch {
            cohort: Some(Some(to)),
            allow_sequence_back: allow,
            ..DevicePatch::default()
        };
        self.control
            .update_device(&me(), self.project, id, patch)
            .await
            .map(drop)
    }
}

fn row(name: &str) -> DeviceRow {
    DeviceRow {
        name: DeviceName::parse(name).unwrap(),
        cohort: None,
        tags: None,
        enabled: None,
        credentials: None,
    }
}

fn with(name: &str, credentials: Vec<NewCredential>) -> DeviceRow {
    DeviceRow {
        credentials: Some(credentials),
        ..row(name)
    }
}
