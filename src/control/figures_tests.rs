use std::collections::BTreeMap;

use super::{Presence, PresenceOf, compose};
use crate::control::View;
use crate::control::ledger::{Facts, Ledger};
use crate::fleet::{
    CohortId, CohortName, DeviceId, DeviceState, NewPackage, PackageName, ProjectName, Version,
};

#[test]
fn beyond_the_ten_most_frequent_versions_are_others_and_of_packages_that_nobody_made_there_are_none() {
    let mut view = View::default();
    let project = view
        .fleet
        .create_project(ProjectName::parse("default").unwrap(), 0)
        .unwrap()
        .id;
    let new = NewPackage {
        name: PackageName::parse("main").unwrap(),
        description: String::new(),
        metadata: serde_json::Map::new(),
    };
    view.fleet.create_package(project, new, 0).unwrap();
    let cohort = view
        .fleet
        .create_cohort(project, CohortName::parse("c").unwrap(), 0)
        .unwrap()
        .id;

    let mut ledger = Ledger::default();
    let mut id = 0;
    for version in 1..=13 {
        for _ in 0..20 - version {
            id += 1;
            let facts = Facts {
                project,
                cohort: (version != 1).then_some(cohort),
                enabled: true,
                standing: None,
                runs: vec![
                    ("main".to_owned(), Some(format!("1.{version}"))),
                    ("whatever".to_owned(), Some("1".to_owned())),
                    ("silent".to_owned(), None),
                ],
                failures: Vec::from_iter((version == 2).then(|| ("main".to_owned(), 1, 5))),
                coarse: false,
            };
            ledger.note(DeviceId::new(id), facts);
        }
    }
    let presence = Presence {
        projects: BTreeMap::from([(
            project,
            PresenceOf {
                online: 9,
                observing: 8,
                downloading: 7,
                bytes_per_second: 6.5,
            },
        )]),
        cohorts: [(cohort, 4), (CohortId::new(999), 5)].into(),
        ..Presence::default()
    };
    let figures = compose(&view, &ledger, &presence, 1234).remove(&project).unwrap();
    assert_eq!(
        (
            figures.counted_ms,
            figures.online,
            figures.observing,
            figures.downloading
        ),
        (1234, 9, 8, 7)
    );
    let shares: Vec<_> = figures
        .versions
        .iter()
        .map(|share| {
            (
                share.package.as_str(),
                share.version.as_ref().map(Version::as_str),
                share.devices,
            )
        })
        .collect();
    let mut expected: Vec<_> = [
        "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9", "1.10",
    ]
    .into_iter()
    .zip((10..=19).rev())
    .map(|(version, devices)| ("main", Some(version), devices))
    .collect();
    expected.push(("main", None, 9 + 8 + 7));
    assert_eq!(shares, expected);
    let of_cohort = &figures.cohorts[&cohort];
    assert_eq!((of_cohort.online, of_cohort.progress), (4, None));
    assert_eq!(
        of_cohort.versions[0].version,
        Some(Version::parse("1.2").unwrap())
    );
    assert_eq!(of_cohort.failures.len(), 1);
    let failure = &of_cohort.failures[0];
    assert_eq!(
        (failure.state, failure.reason, failure.devices),
        (DeviceState::Downloading, 5, 18)
    );
    assert_eq!(figures.failures, of_cohort.failures);
}
