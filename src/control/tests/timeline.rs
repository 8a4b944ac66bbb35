use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::oneshot;

use super::{Given, credential, me};
use crate::control::{DeviceEntry, DevicePatch, DeviceRow, ImportRules, Report, TimelineFilter};
use crate::fleet::{DeviceId, DeviceName, LogLine, Strand, TimelineEntry, TimelineEvent, TimelineKind};

#[tokio::test]
async fn a_chatty_device_keeps_its_newest_lines_and_all_of_its_reports() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    for state in 0..3 {
        given.reports(&entry, state, NOW + state as i64).await;
    }
    for i in 0..10_000 {
        given.log(&entry, NOW + i * 50, &format!("line {i}"));
        if i % 1000 == 999 {
            given.written(device).await;
        }
    }
    given.bounds_hold(device).await;
    let (given, device) = (given.restarted().await, device);
    let lines = given.timeline(device, &[TimelineKind::Log]).await;
    assert!((100..125).contains(&lines.len()), "{}", lines.len());
    for (line, i) in lines.iter().zip((0..10_000).rev()) {
        assert_eq!(line.event.to_string(), format!("line {i}"));
    }
    let reports = given.timeline(device, &[TimelineKind::Report]).await;
    assert_eq!(reports.len(), 3);

    let entry = given.entry("d").await;
    given.log(&entry, NOW + 600_000, "after the restart");
    given.written(device).await;
    let newest = given.timeline(device, &[TimelineKind::Log]).await.remove(0);
    assert_eq!(newest.event.to_string(), "after the restart");
    assert_eq!(newest.place.seq, lines[0].place.seq + 1);
}

#[tokio::test]
async fn a_device_that_keeps_reconnecting_does_not_push_its_reports_out() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    given.reports(&entry, 1, NOW).await;
    for i in 0..500 {
        let at_ms = NOW + i * 30_000;
        let why = if i % 2 == 0 { "idle" } else { "closed" };
        let gone = TimelineEvent::Disconnected { why: why.into() };
        given.control.happened_at(&entry, at_ms, gone);
        let sent = TimelineEvent::ManifestSent { sequence: 1 };
        given.control.happened_at(&entry, at_ms + 1, sent);
        // As after every reconnect.
        given.reports(&entry, 0, at_ms + 2).await;
    }
    given.bounds_hold(device).await;
    let reports = given.timeline(device, &[TimelineKind::Report]).await;
    let counted: Vec<_> = reports
        .iter()
        .map(|report| (report.event.to_string(), report.count))
        .collect();
    assert_eq!(
        counted,
        [
            ("main: idle".to_owned(), 500),
            ("main: downloading".to_owned(), 1)
        ]
    );
}

#[tokio::test]
async fn a_manifest_with_a_lower_number_than_the_last_is_in_the_timeline_and_the_highest_stays_known() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    // Moved to a cohort that deploys an older one, with what repeats a notification, and out of it, and back.
    for sequence in [2, 2, 1, 1, 0, 2] {
        given.control.manifest_sent(&entry, sequence);
        given.control.manifest_acknowledged(&entry, sequence);
    }
    given.written(device).await;
    for kind in [TimelineKind::ManifestSent, TimelineKind::ManifestAcknowledged] {
        let entries = given.timeline(device, &[kind]).await;
        let numbers: Vec<_> = entries
            .iter()
            .rev()
            .map(|entry| match entry.event {
                TimelineEvent::ManifestSent { sequence }
                | TimelineEvent::ManifestAcknowledged { sequence } => sequence,
                ref other => panic!("{other}"),
            })
            .collect();
        assert_eq!(numbers, [2, 1, 2], "nothing to do is no manifest");
    }
    assert_eq!((entry.manifest_sent(), entry.manifest_acknowledged()), (2, 2));
}

#[tokio::test]
async fn what_an_import_does_to_a_device_is_in_its_timeline_as_if_done_by_hand() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let cohort = given.cohort("field").await;
    let row = DeviceRow {
        name: DeviceName::parse("d").unwrap(),
        cohort: Some(Some(cohort)),
        tags: None,
        enabled: Some(false),
        credentials: Some(vec![credential("second", None), credential("third", Some(b"x"))]),
    };
    let rules = ImportRules {
        update: true,
        ..ImportRules::default()
    };
    for _ in 0..2 {
        let outcomes = given
            .control
            .import_devices(&me(), given.project, rules, vec![row.clone()])
            .await;
        assert!(outcomes.unwrap().iter().all(Result::is_ok));
    }
    let entries = given.timeline(device, &[]).await;
    let said: Vec<_> = entries
        .iter()
        .rev()
        .map(|entry| (entry.event.to_string(), entry.count))
        .collect();
    let expected = [
        "put in cohort \"field\" by me",
        "disabled by me",
        "credential \"second\" added by me",
        "credential \"third\" added by me",
    ];
    assert_eq!(said, expected.map(|line| (line.to_owned(), 1)));
}

#[tokio::test]
async fn what_is_said_again_is_counted_and_not_kept_again() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    // In commits of their own, and two in one.
    given.reports(&entry, 0, NOW).await;
    given.reports(&entry, 0, NOW + 1).await;
    let (one, two) = (
        given.report_at(&entry, 0, NOW + 2),
        given.report_at(&entry, 0, NOW + 3),
    );
    assert_eq!((one.await, two.await), (Ok(Ok(())), Ok(Ok(()))));
    given.reports(&entry, 1, NOW + 4).await;
    let given = given.killed().await;
    let entry = given.entry("d").await;
    given.reports(&entry, 1, NOW + 5).await;
    given.reports(&entry, 0, NOW + 6).await;
    let seen: Vec<_> = given
        .timeline(device, &[])
        .await
        .into_iter()
        .map(|entry| {
            (
                entry.event.to_string(),
                entry.count,
                entry.place.at_ms - NOW,
                entry.last_ms - NOW,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("main: idle".to_owned(), 1, 6, 6),
            ("main: downloading".to_owned(), 2, 4, 5),
            ("main: idle".to_owned(), 4, 0, 3),
        ]
    );
}

#[tokio::test]
async fn pages_go_on_where_they_stopped_though_more_happens() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    for i in 0..40 {
        given.log(&entry, NOW + i * 100, &format!("line {i}"));
        // At the same millisecond, in another strand.
        let gone = TimelineEvent::Disconnected {
            why: i.to_string().into(),
        };
        given.control.happened_at(&entry, NOW + i * 100, gone);
    }
    given.written(device).await;
    let whole = given.timeline(device, &[]).await;
    assert_eq!(whole.len(), 80);
    assert!(whole.is_sorted_by(|a, b| a.place > b.place), "newest first");

    let mut filter = TimelineFilter {
        limit: 7,
        ..TimelineFilter::default()
    };
    let mut paged = Vec::new();
    // More than there are pages.
    for _ in 0..20 {
        let page = given.control.timeline(device, &filter).await.unwrap();
        given.log(
            &entry,
            NOW + 10_000 + paged.len() as i64,
            &format!("later {}", paged.len()),
        );
        given.written(device).await;
        filter.before = page.last().map(|last| last.place);
        paged.extend(page);
        if filter.before.is_none() {
            break;
        }
    }
    assert_eq!(paged, whole);
}

#[tokio::test]
async fn what_operators_do_to_a_device_is_in_its_timeline_with_their_name() {
    let given = Given::new().await;
    let (north, south) = (given.cohort("north").await, given.cohort("south").await);
    let device = given.device("d", Some(north)).await;
    let patch = |cohort, enabled| DevicePatch {
        cohort,
        enabled,
        ..DevicePatch::default()
    };
    given.update(device, patch(Some(Some(south)), None)).await;
    given.update(device, patch(Some(None), Some(false))).await;
    given.update(device, patch(Some(None), Some(true))).await;
    let new = credential("second", None);
    let made = given
        .control
        .add_credential(&me(), given.project, device, new)
        .await
        .unwrap();
    given
        .control
        .remove_credential(&me(), given.project, device, made.credential.id)
        .await
        .unwrap();
    let given = given.killed().await;
    let mut lines: Vec<_> = given
        .timeline(device, &[])
        .await
        .iter()
        .map(|entry| entry.event.to_string())
        .collect();
    lines.reverse();
    assert_eq!(
        lines,
        [
            "moved from cohort \"north\" to \"south\" by me",
            "taken out of cohort \"south\" by me",
            "disabled by me",
            "enabled by me",
            "credential \"second\" added by me",
            "credential \"second\" retired by me",
        ]
    );
}

#[tokio::test]
async fn a_timeline_goes_with_its_device_and_harms_nobody_s() {
    let given = Given::new().await;
    let (gone, stays) = (
        given.device("gone", None).await,
        given.device("stays", None).await,
    );
    let (entry, other) = (given.entry("gone").await, given.entry("stays").await);
    given.log(&entry, NOW, "before");
    given.written(stays).await;
    given
        .control
        .delete_device(&me(), given.project, gone)
        .await
        .unwrap();
    given.log(&entry, NOW + 1, "late");
    given.log(&other, NOW + 1, "here");
    given.reports(&entry, 1, NOW + 2).await;
    given.written(stays).await;
    assert_eq!(given.rows(gone).await, 0);
    assert_eq!(given.timeline(stays, &[TimelineKind::Log]).await.len(), 1);
}

#[tokio::test]
async fn lines_that_the_queue_has_no_room_for_are_lost_and_hold_up_nothing() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    let before = lost("queue_full");
    // On one thread, which does not let the writer have its turn.
    for i in 0..16_384 + 10 {
        given.log(&entry, NOW + i * 50, &format!("line {i}"));
    }
    assert!(lost("queue_full") >= before + 10.0);
    let gone = TimelineEvent::Disconnected { why: "idle".into() };
    given.control.happened_at(&entry, NOW, gone);
    given.reports(&entry, 1, NOW).await;
    assert_eq!(
        given
            .timeline(device, &[TimelineKind::Disconnected, TimelineKind::Report])
            .await
            .len(),
        2,
        "both went ahead of the lines"
    );
    let given = given.restarted().await;
    let lines = given.timeline(device, &[TimelineKind::Log]).await;
    assert_eq!(lines[0].event.to_string(), "line 16383");
}

#[tokio::test]
async fn a_device_that_floods_its_timeline_is_cut_short_but_its_state_is_kept() {
    let given = Given::new().await;
    let device = given.device("d", None).await;
    let entry = given.entry("d").await;
    let before = lost("too_many");
    for i in 0..300 {
        given.reports(&entry, i, NOW).await;
    }
    assert!(lost("too_many") >= before + 200.0);
    assert_eq!(given.timeline(device, &[TimelineKind::Report]).await.len(), 100);
    let record = given
        .control
        .device(given.project, device)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.packages[0].state, 299);
}

const NOW: i64 = 1_700_000_000_000;

impl Given {
    fn log(&self, entry: &DeviceEntry, at_ms: i64, message: &str) {
        let line = LogLine {
            message: message.to_owned(),
            ..LogLine::default()
        };
        self.control.logged(entry, at_ms, line);
    }

    fn report_at(
        &self,
        entry: &Arc<DeviceEntry>,
        state: u64,
        at_ms: i64,
    ) -> oneshot::Receiver<Result<(), ()>> {
        let (done, answer) = oneshot::channel();
        let report = Report {
            device: Arc::clone(entry),
            package: "main".to_owned(),
            state,
            reason: 0,
            version: None,
            target: None,
            at_ms,
            done: Box::new(move |end| done.send(end).unwrap_or(())),
        };
        self.control.report_slot().unwrap().take(report);
        answer
    }

    /// Until it is acknowledged.
    async fn reports(&self, entry: &Arc<DeviceEntry>, state: u64, at_ms: i64) {
        self.report_at(entry, state, at_ms).await.unwrap().unwrap();
    }

    /// Until what is queued is on disk: the writer takes it along with a command.
    async fn written(&self, device: DeviceId) {
        self.control.push(&me(), self.project, device).await.unwrap();
    }

    async fn timeline(&self, device: DeviceId, kinds: &[TimelineKind]) -> Vec<TimelineEntry> {
        let filter = TimelineFilter {
            kinds: kinds.to_vec(),
            before: None,
            limit: usize::MAX,
        };
        self.control.timeline(device, &filter).await.unwrap()
    }

    async fn rows(&self, device: DeviceId) -> i64 {
        let file = self.folder.path().join("tessera.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM timeline WHERE device_id = ?");
        count.bind(device.get()).fetch_one(&mut other).await.unwrap()
    }

    /// On disk, not only in what is shown.
    async fn bounds_hold(&self, device: DeviceId) {
        let rows = self.rows(device).await;
        assert!(rows < 74 + 124 + 124, "{rows} rows");
        let entries = self.timeline(device, &[]).await;
        for (strand, most) in [(Strand::Contact, 74), (Strand::Progress, 124), (Strand::Log, 124)] {
            let kept = entries
                .iter()
                .filter(|entry| entry.place.strand == strand)
                .count();
            assert!(kept <= most, "{kept} in {strand:?}");
        }
    }
}

pub fn lost(why: &str) -> f64 {
    let text = crate::telemetry::install_metrics().render();
    let name = format!("tessera_timeline_lost_total{{reason=\"{why}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap().parse().unwrap()
}
