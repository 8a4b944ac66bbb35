use super::{CLASSES, Facts, GONE_KEPT, Ledger};
use crate::fleet::{CohortId, Deployment, DeploymentId, DeviceId, ProjectId, Sequence, Stage};

#[test]
fn devices_of_which_the_same_is_known_are_counted_together() {
    let mut ledger = Ledger::default();
    for id in [5, 1, 3, 2, 4] {
        assert!(ledger.note(device(id), facts(Some(7), &[("main", "1")])));
    }
    assert!(
        !ledger.note(device(3), facts(Some(7), &[("main", "1")])),
        "nothing new"
    );
    assert!(ledger.note(device(3), facts(Some(7), &[("main", "2")])));
    assert_eq!(counts(&ledger), [(("main", "1"), 4), (("main", "2"), 1)]);
    assert!(ledger.forget(device(3)));
    assert!(!ledger.forget(device(3)) && !ledger.forget(device(99)));
    assert!(ledger.get(device(3)).is_none());
    assert_eq!(counts(&ledger), [(("main", "1"), 4)]);
    assert!(
        ledger.note(device(3), facts(Some(7), &[("main", "1")])),
        "it is back"
    );
    assert_eq!(counts(&ledger), [(("main", "1"), 5)]);
}

#[test]
fn the_next_devices_of_a_kind_are_found_by_rising_id() {
    let mut ledger = Ledger::default();
    for id in 1..=100 {
        let version = if id % 10 == 0 { "2" } else { "1" };
        ledger.note(device(id), facts(Some(7), &[("main", version)]));
    }
    ledger.forget(device(20));
    let runs = |wanted: &'static str| {
        move |facts: &Facts| {
            facts
                .runs
                .iter()
                .any(|(_, version)| version.as_deref() == Some(wanted))
        }
    };
    assert_eq!(
        ledger.matching(None, 3, runs("2"), |_| true),
        [10, 30, 40].map(device)
    );
    assert_eq!(
        ledger.matching(Some(device(40)), 9, runs("2"), |_| true),
        [50, 60, 70, 80, 90, 100].map(device)
    );
    assert_eq!(ledger.matching(Some(device(100)), 9, runs("2"), |_| true), []);
    assert_eq!(ledger.matching(None, 9, runs("3"), |_| true), []);
    assert_eq!(ledger.between(device(18), device(22)), [19, 21, 22].map(device));
}

#[test]
fn a_deployment_puts_its_cohort_back_to_the_beginning_and_no_other() {
    let mut ledger = Ledger::default();
    let before = DeploymentId::new(50);
    let at = |cohort, runs: &[(&str, &str)], stage| Facts {
        standing: Some((before, stage)),
        failures: Vec::from_iter((stage == Stage::Failed).then(|| ("main".to_owned(), 0, 5))),
        ..facts(Some(cohort), runs)
    };
    ledger.note(device(1), at(7, &[("main", "1"), ("other", "9")], Stage::Done));
    ledger.note(device(2), at(7, &[("main", "0")], Stage::Failed));
    ledger.note(device(3), at(7, &[], Stage::Downloading));
    ledger.note(device(4), at(8, &[("main", "0")], Stage::Failed));
    ledger.note(device(5), at(7, &[("main", "2")], Stage::Updating));
    let deployment = deployment(51, 7, "2");
    assert_eq!(ledger.deployed(&deployment), []);
    let standing: Vec<_> = (1..=5)
        .map(|id| ledger.get(device(id)).unwrap().standing.unwrap())
        .collect();
    let new = deployment.id;
    assert_eq!(
        standing,
        [
            (new, Stage::Pending),
            (new, Stage::Pending),
            (new, Stage::Pending),
            (before, Stage::Failed),
            (new, Stage::Done),
        ]
    );
    assert!(ledger.get(device(2)).unwrap().failures.is_empty());
    assert_eq!(ledger.stages(CohortId::new(7), new), [3, 0, 0, 0, 0, 1, 0]);

    // What is active is number 30: a lower one that is heard of late says nothing about it.
    let acknowledged = [(1, 30), (3, 29), (4, 31), (5, 30), (6, 30)];
    let acknowledged = acknowledged.map(|(id, sequence)| (device(id), sequence));
    ledger.acknowledged(acknowledged, |facts| {
        (facts.cohort == Some(CohortId::new(7))).then_some((new, 30))
    });
    assert_eq!(ledger.stages(CohortId::new(7), new), [2, 1, 0, 0, 0, 1, 0]);
    let heard: Vec<_> = ledger.matching(
        None,
        9,
        |facts| facts.standing == Some((new, Stage::Notified)),
        |_| true,
    );
    assert_eq!(heard, [device(1)]);
    // Said twice, it changes nothing.
    ledger.deployed(&deployment);
    assert_eq!(ledger.stages(CohortId::new(7), new), [2, 1, 0, 0, 0, 1, 0]);
    // Nor does one that was made before.
    ledger.deployed(&self::deployment(50, 7, "2"));
    assert_eq!(ledger.stages(CohortId::new(7), new), [2, 1, 0, 0, 0, 1, 0]);
    // What is read later joins those of which the same is known.
    ledger.note(device(9), ledger.get(device(2)).unwrap().clone());
    assert_eq!(ledger.stages(CohortId::new(7), new), [3, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn a_storm_of_acknowledgements_moves_each_device_once_whatever_classes_end_and_begin_meanwhile() {
    let mut ledger = Ledger::default();
    let waiting = |version: &str, stage| Facts {
        standing: Some((DeploymentId::new(51), stage)),
        ..facts(Some(7), &[("main", version)])
    };
    for id in 0..300 {
        let stage = if id % 3 == 0 { Stage::Done } else { Stage::Pending };
        ledger.note(device(id), waiting(&(id % 20).to_string(), stage));
    }
    let active = |_: &Facts| Some((DeploymentId::new(51), 5));
    // By version, so that the last of a class is followed by the first of another, which may have its number.
    let mut order: Vec<i64> = (0..300).collect();
    order.sort_by_key(|id| id % 20);
    for _ in 0..2 {
        ledger.acknowledged(order.iter().map(|&id| (device(id), 5)), active);
        for id in 0..300 {
            let stage = if id % 3 == 0 { Stage::Done } else { Stage::Notified };
            assert_eq!(
                ledger.get(device(id)),
                Some(&waiting(&(id % 20).to_string(), stage)),
                "{id}"
            );
        }
        assert_eq!(ledger.classes().map(|(_, devices)| devices).sum::<u64>(), 300);
        assert_eq!(
            ledger.classes().count(),
            40,
            "and no class is left that has nobody"
        );
    }
}

#[test]
fn devices_that_make_versions_up_do_not_fill_the_memory_and_are_read_again_after_a_deployment() {
    let mut ledger = Ledger::default();
    let many = i64::try_from(CLASSES).unwrap() + 100;
    for id in 1..=many {
        ledger.note(device(id), facts(Some(7), &[("main", &format!("made-up-{id}"))]));
    }
    assert!(ledger.classes().count() <= CLASSES + 1);
    assert_eq!(
        ledger.classes().map(|(_, devices)| devices).sum::<u64>(),
        many.unsigned_abs()
    );
    let unknown = ledger.deployed(&deployment(51, 7, "2"));
    assert_eq!(unknown.len(), 100);
    assert_eq!(unknown[0], device(many - 99));
}

#[test]
fn what_is_gone_takes_up_no_more_room_than_what_is_there() {
    let mut ledger = Ledger::default();
    for id in 1..=10_000 {
        ledger.note(device(id), facts(None, &[]));
    }
    for id in 1..=9_999 {
        ledger.forget(device(id));
        assert!(ledger.ids.len() <= 2 * (10_000 - usize::try_from(id).unwrap()) + GONE_KEPT + 2);
    }
    assert_eq!(ledger.matching(None, 9, |_| true, |_| true), [device(10_000)]);
}

fn counts(ledger: &Ledger) -> Vec<((&str, &str), u64)> {
    let mut counts: Vec<_> = ledger
        .classes()
        .map(|(facts, devices)| {
            let (package, version) = &facts.runs[0];
            ((package.as_str(), version.as_deref().unwrap()), devices)
        })
        .collect();
    counts.sort_unstable();
    counts
}

fn facts(cohort: Option<i64>, runs: &[(&str, &str)]) -> Facts {
    Facts {
        project: ProjectId::new(1),
        cohort: cohort.map(CohortId::new),
        enabled: true,
        standing: None,
        runs: runs
            .iter()
            .map(|(package, version)| ((*package).to_owned(), Some((*version).to_owned())))
            .collect(),
        failures: Vec::new(),
        coarse: false,
    }
}

fn deployment(id: i64, cohort: i64, version: &str) -> Deployment {
    use crate::fleet::{
        ArtifactId, ArtifactSize, Change, DeployedArtifact, DeploymentName, Digest, ImageKind, PackageName,
        Version,
    };
    let artifact = DeployedArtifact {
        id: ArtifactId::new(1),
        package: PackageName::parse("main").unwrap(),
        version: Version::parse(version).unwrap(),
        size: ArtifactSize::new(1).unwrap(),
        digest: Digest([0; 32]),
        kind: ImageKind::Plain,
        image_version: None,
        change: Change::Added,
    };
    Deployment {
        id: DeploymentId::new(id),
        cohort: CohortId::new(cohort),
        name: DeploymentName::parse("d").unwrap(),
        sequence: Sequence::new(9).unwrap(),
        artifacts: vec![artifact],
        author: String::new(),
        created_ms: 1000,
    }
}

fn device(id: i64) -> DeviceId {
    DeviceId::new(id)
}
