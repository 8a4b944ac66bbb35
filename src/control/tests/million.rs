use super::super::{DeviceQuery, Options, SessionFacts};
use super::*;
use crate::fleet::{Device, DeviceId, Stage};
use std::time::Instant;

#[tokio::test]
async fn million() {
    let Ok(folder) = std::env::var("MILLION") else {
        return;
    };
    let begun = Instant::now();
    let t = |what: &str, b: Instant| println!("{what}: {:?}", b.elapsed());
    let control = start(std::path::Path::new(&folder), Options::default())
        .await
        .control;
    t("start", begun);
    let project = control.view().default_project().id;
    let b = Instant::now();
    let mut counts = control.counts();
    let mut worst = std::time::Duration::ZERO;
    let cohort = control
        .view()
        .default_project()
        .cohorts
        .values()
        .next()
        .unwrap()
        .clone();
    loop {
        tokio::select! { _ = counts.changed() => break, () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {} }
        let p = Instant::now();
        let q = DeviceQuery {
            cohort: Some(Some(cohort.id)),
            limit: 100,
            ..DeviceQuery::default()
        };
        let page = control.devices(project, &q).await.unwrap();
        assert_eq!(page.devices.len(), 100);
        worst = worst.max(p.elapsed());
    }
    t("first count (pages read meanwhile)", b);
    println!("worst page of a cohort while counting: {worst:?}");
    let b = Instant::now();
    let figures = control.figures(project);
    println!(
        "figures: {:?} devices {} {:?}",
        b.elapsed(),
        figures.devices,
        figures.cohorts[&cohort.id].progress
    );
    println!("versions {:?} failures {:?}", figures.versions, figures.failures);
    let b = Instant::now();
    let active = cohort.active().unwrap();
    let sql = control.shared.store.progress(active).await.unwrap();
    t("SQL progress", b);
    let b = Instant::now();
    let progress = control.progress(project, active.id).await.unwrap();
    t("progress", b);
    assert_eq!(sql.buckets, progress.stages());
    for stage in Stage::ALL {
        let b = Instant::now();
        let q = DeviceQuery {
            cohort: Some(Some(cohort.id)),
            stage: Some(stage),
            limit: 100,
            ..DeviceQuery::default()
        };
        let page = control.devices(project, &q).await.unwrap();
        println!("page of {stage}: {} in {:?}", page.devices.len(), b.elapsed());
    }
    let b = Instant::now();
    let q = DeviceQuery {
        prefix: Some("dev-09999".into()),
        limit: 100,
        ..DeviceQuery::default()
    };
    let page = control.devices(project, &q).await.unwrap();
    println!("prefix: {} in {:?}", page.devices.len(), b.elapsed());
    let b = Instant::now();
    let q = DeviceQuery {
        prefix: Some("dev-09999".into()),
        stage: Some(Stage::Done),
        limit: 100,
        ..DeviceQuery::default()
    };
    let page = control.devices(project, &q).await.unwrap();
    println!(
        "prefix and state: {} next {:?} in {:?}",
        page.devices.len(),
        page.next,
        b.elapsed()
    );
    let b = Instant::now();
    let q = DeviceQuery {
        running: Some((PackageName::parse("main").unwrap(), Version::parse("9").unwrap())),
        limit: 100,
        ..DeviceQuery::default()
    };
    let page = control.devices(project, &q).await.unwrap();
    println!("version: {} in {:?}", page.devices.len(), b.elapsed());

    let b = Instant::now();
    let mut held = Vec::new();
    for id in 1_000..1_001_000_i64 {
        let device = Device {
            id: DeviceId::new(id),
            project,
            name: DeviceName::parse("d").unwrap(),
            cohort: Some(cohort.id),
            tags: Vec::new(),
            enabled: true,
            revision: 0,
            created_ms: 0,
        };
        let entry = control.shared.directory.enter(&device);
        control.shared.directory.connected(
            &entry,
            SessionFacts {
                serial: 1,
                ..session(1)
            },
        );
        held.push(entry);
    }
    t("connect 1M", b);
    let b = Instant::now();
    let (page, next) = control.sessions_after(project, Some(DeviceId::new(500_000)), 100);
    println!("sessions page {} {next:?} in {:?}", page.len(), b.elapsed());
    let b = Instant::now();
    let q = DeviceQuery {
        online: Some(true),
        cohort: Some(Some(cohort.id)),
        limit: 100,
        ..DeviceQuery::default()
    };
    let page = control.devices(project, &q).await.unwrap();
    println!("online page {} in {:?}", page.devices.len(), b.elapsed());
    let b = Instant::now();
    let q = DeviceQuery {
        online: Some(false),
        limit: 100,
        ..DeviceQuery::default()
    };
    let page = control.devices(project, &q).await.unwrap();
    println!(
        "offline page {} next {:?} in {:?}",
        page.devices.len(),
        page.next,
        b.elapsed()
    );
    counts.mark_unchanged();
    let b = Instant::now();
    counts.changed().await.unwrap();
    counts.changed().await.unwrap();
    t("two counts with 1M connected", b);
    println!("online {}", control.figures(project).online);
    let b = Instant::now();
    given_deploy(&control, project, cohort.id).await;
    t("deploy", b);
    let b = Instant::now();
    counts.mark_unchanged();
    counts.changed().await.unwrap();
    counts.changed().await.unwrap();
    t("counted after deploy", b);
    println!("{:?}", control.figures(project).cohorts[&cohort.id].progress);
    control.close().await;
}

async fn given_deploy(control: &Control, project: ProjectId, cohort: CohortId) {
    control
        .create_deployment(
            &me(),
            project,
            order(cohort, &format!("x{}", crate::clock::unix_ms()), &["main@1.0"]),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn million_prepare() {
    let Ok(folder) = std::env::var("MILLION_PREPARE") else {
        return;
    };
    std::fs::create_dir_all(&folder).unwrap();
    let control = start(std::path::Path::new(&folder), Options::default())
        .await
        .control;
    let project = control.view().default_project().id;
    let given = Given {
        folder: tempfile::tempdir().unwrap(),
        control,
        project,
    };
    given.package("main").await;
    given.upload("main", "1.0", b"one").await.unwrap();
    given.upload("main", "2.0", b"two").await.unwrap();
    let cohort = given.cohort("big").await;
    given.deploy(cohort, "two", &["main@2.0"]).await.unwrap();
    println!("COHORT {}", cohort.get());
    given.control.close().await;
}
