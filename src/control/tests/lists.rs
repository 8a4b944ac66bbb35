//! Lists of devices, page by page, by whatever they are filtered.

use rand::RngExt;

use super::super::{DevicePlace, DeviceQuery};
use super::*;
use crate::fleet::{Stage, Tag};

/// A list that ends early looks like one that is at its end.
#[tokio::test]
async fn a_list_goes_on_though_the_device_that_a_page_ended_with_is_gone() {
    let given = Given::new().await;
    let cohort = given.cohort("one").await;
    for number in 0..9 {
        given.device(&format!("d{number}"), Some(cohort)).await;
    }
    let lists = [
        DeviceQuery::default(),
        DeviceQuery {
            prefix: Some("d".to_owned()),
            ..DeviceQuery::default()
        },
        DeviceQuery {
            cohort: Some(Some(cohort)),
            ..DeviceQuery::default()
        },
        DeviceQuery {
            online: Some(false),
            ..DeviceQuery::default()
        },
        DeviceQuery {
            prefix: Some("d".to_owned()),
            online: Some(false),
            ..DeviceQuery::default()
        },
    ];
    for (deleted, list) in lists.into_iter().enumerate() {
        let mut query = DeviceQuery { limit: 3, ..list };
        let all = names(&given, &query).await;
        let first = given.control.devices(given.project, &query).await.unwrap();
        let last = first.devices.last().unwrap().device.clone();
        given
            .control
            .delete_device(&me(), given.project, last.id)
            .await
            .unwrap();
        query.after = first.next;
        assert_eq!(names(&given, &query).await, all[3..], "list {deleted}");
        let again = given.device(&last.name, Some(cohort)).await;
        assert_ne!(again, last.id);
    }
}

#[tokio::test]
async fn a_place_is_text_that_only_such_a_list_understands() {
    let given = Given::new().await;
    let by_id = DeviceQuery::default();
    let by_name = DeviceQuery {
        prefix: Some(String::new()),
        ..DeviceQuery::default()
    };
    for (text, in_ids, in_names) in [
        ("dev_7", true, false),
        (".dev_7", false, true),
        (".a:b@c+d", false, true),
        ("7", false, false),
        (".", false, false),
        ("", false, false),
        ("..", false, false),
        (".%", false, false),
        ("lamp", false, false),
    ] {
        for (list, there) in [(&by_id, in_ids), (&by_name, in_names)] {
            let place = list.place(text);
            assert_eq!(place.is_some(), there, "{text}");
            assert!(place.is_none_or(|place| place.to_string() == text));
        }
    }
    let elsewhere = DeviceQuery {
        after: DevicePlace::parse(".d"),
        ..by_id
    };
    assert!(given.control.devices(given.project, &elsewhere).await.is_err());
}

/// Whichever way the devices are found, which depends on how many there are of what, the pages together are the devices that a
/// look at each one finds, in their order. (The bounds beyond which another way is taken are small in tests.)
#[tokio::test]
async fn every_list_is_what_a_look_at_each_device_would_find_whatever_it_is_filtered_by() {
    let mut rng = dice();
    let given = Given::with_artifacts().await;
    let cohorts = [given.cohort("large").await, given.cohort("small").await];
    let mut names = Vec::new();
    for number in 0..60 {
        let cohort = match rng.random_range(0..10) {
            0 => Some(cohorts[1]),
            1 | 2 => None,
            _ => Some(cohorts[0]),
        };
        let tags: Vec<_> = ["often", "seldom"]
            .into_iter()
            .filter(|&tag| {
                rng.random_ratio(if tag == "often" { 3 } else { 1 }, 5) && (tag == "often" || number < 20)
            })
            .map(|tag| Tag::parse(tag).unwrap())
            .collect();
        // Names in another order than ids.
        let name = format!("{}{:02}", ["a", "b"][number % 2], 99 - number);
        let new = NewDevice {
            tags,
            ..new_device(&name, cohort)
        };
        given
            .control
            .create_device(&me(), given.project, new)
            .await
            .unwrap();
        names.push(name);
    }
    for cohort in cohorts {
        given.deploy(cohort, "first", &["main@2.0"]).await.unwrap();
    }
    // Not counted yet, and then counted: what is asked for is the same.
    let mut entries = Vec::new();
    for round in 0..2 {
        if round == 1 {
            let mut counts = given.control.counts();
            while !given.control.shared.counting.is_loaded() {
                counts.changed().await.unwrap();
            }
        }
        for (serial, name) in names.iter().enumerate() {
            let entry = given.entry(name).await;
            match rng.random_range(0..4) {
                0 => given.control.connected(&entry, session(serial as u64 + 1)),
                1 => given.control.disconnected(&entry, serial as u64 + 1),
                _ => {}
            }
            if rng.random_ratio(1, 3) {
                let (reason, version) = [(5, "1.0"), (0, "2.0")][rng.random_range(0..2)];
                figures::say(&given, name, "main", 0, reason, version, Some("2.0")).await;
            }
            entries.push(entry);
        }
        every_filter(&given, &cohorts).await;
        // Nothing has been counted since.
        let id = given.entry(&names[7]).await.id();
        let patch = DevicePatch {
            cohort: Some(Some(cohorts[1])),
            add_tags: vec![Tag::parse("seldom").unwrap()],
            ..DevicePatch::default()
        };
        given.update(id, patch).await;
        let new = NewDevice {
            tags: vec![Tag::parse("often").unwrap()],
            ..new_device(&format!("a-new-{round}"), Some(cohorts[0]))
        };
        given
            .control
            .create_device(&me(), given.project, new)
            .await
            .unwrap();
        every_filter(&given, &cohorts).await;
    }
}

async fn every_filter(given: &Given, cohorts: &[CohortId; 2]) {
    let everybody = DeviceQuery {
        limit: 1000,
        ..DeviceQuery::default()
    };
    let all = given.control.devices(given.project, &everybody).await.unwrap();
    assert!(all.next.is_none());
    let view = given.control.view().clone();
    let version = Some(("main".parse().unwrap(), "2.0".parse().unwrap()));
    let mut sizes = Vec::new();
    for cohort in [None, Some(None), Some(Some(cohorts[0])), Some(Some(cohorts[1]))] {
        for tag in [None, Some("often"), Some("seldom"), Some("never")] {
            for prefix in [None, Some(""), Some("a"), Some("b1"), Some("none")] {
                for online in [None, Some(true), Some(false)] {
                    for (stage, running) in [
                        (None, None),
                        (Some(Stage::Failed), None),
                        (Some(Stage::Pending), None),
                        (None, version.clone()),
                    ] {
                        let tag = tag.map(|tag| Tag::parse(tag).unwrap());
                        let query = DeviceQuery {
                            cohort,
                            tag: tag.clone(),
                            prefix: prefix.map(str::to_owned),
                            online,
                            stage,
                            running: running.clone(),
                            limit: 4,
                            ..DeviceQuery::default()
                        };
                        let mut expected: Vec<String> = all
                            .devices
                            .iter()
                            .filter(|record| {
                                let device = &record.device;
                                cohort.is_none_or(|cohort| cohort == device.cohort)
                                    && tag.as_ref().is_none_or(|tag| device.tags.contains(tag))
                                    && prefix.is_none_or(|prefix| device.name.starts_with(prefix))
                                    && online.is_none_or(|online| online == record.session.is_some())
                                    && stage.is_none_or(|stage| record.stage(&view) == Some(stage))
                                    && running.as_ref().is_none_or(|_| {
                                        let runs = |state: &crate::fleet::PackageState| {
                                            state.package == "main" && state.version.as_deref() == Some("2.0")
                                        };
                                        record.packages.iter().any(runs)
                                    })
                            })
                            .map(|record| record.device.name.to_string())
                            .collect();
                        if prefix.is_some() {
                            expected.sort();
                        }
                        assert_eq!(names(given, &query).await, expected, "{query:?}");
                        sizes.push(expected.len());
                    }
                }
            }
        }
    }
    assert!(sizes.contains(&0) && sizes.iter().any(|&size| size > 20));
}

/// All pages of a list.
async fn names(given: &Given, query: &DeviceQuery) -> Vec<String> {
    let mut names = Vec::new();
    let mut query = query.clone();
    loop {
        let page = given.control.devices(given.project, &query).await.unwrap();
        assert!(page.devices.len() <= query.limit);
        names.extend(page.devices.iter().map(|record| record.device.name.to_string()));
        query.after = page.next;
        if query.after.is_none() {
            return names;
        }
    }
}
