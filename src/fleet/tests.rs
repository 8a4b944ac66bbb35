use super::{ArtifactOutcome, ArtifactRef, DeploymentOrder, NewArtifact, NewPackage};
use crate::fleet::{
    ArtifactSize, Change, CohortId, CohortName, Deployment, DeploymentName, DeviceName, DeviceProfile,
    Difference, Digest, Direction, Fleet, ImageKind, Kind, PackageName, ProjectId, ProjectName, Refusal,
    RefusalClass, Sequence, SequenceGoesBack, Severity, Version, lint,
};
use std::sync::Arc;

#[test]
fn names_are_unique_within_their_kind() {
    let mut fleet = Given::new();
    fleet.package("main");
    let again = fleet.fleet.create_package(fleet.project, new_package("main"), 0);
    assert!(matches!(again, Err(Refusal::Taken { kind: Kind::Package, value, .. }) if value == "main"));
    fleet.package("Main");

    fleet.cohort("field");
    let again = fleet
        .fleet
        .create_cohort(fleet.project, CohortName::parse("field").unwrap(), 0);
    assert!(matches!(
        again,
        Err(Refusal::Taken {
            kind: Kind::Cohort,
            ..
        })
    ));
    assert!(
        fleet
            .fleet
            .create_project(ProjectName::parse("default").unwrap(), 0)
            .is_err()
    );
}

#[test]
fn a_version_keeps_its_bytes() {
    let mut fleet = Given::new();
    fleet.package("main");
    let first = fleet.artifact("main", "1.0", 1).unwrap();
    assert!(matches!(first, ArtifactOutcome::Added(_)));
    let same = fleet.artifact("main", "1.0", 1).unwrap();
    assert!(matches!(&same, ArtifactOutcome::Same(artifact) if artifact == first.artifact()));
    let other = fleet.artifact("main", "1.0", 2).unwrap_err();
    assert!(matches!(&other, Refusal::OtherBytes { stored, given, .. }
        if *stored == Digest([1; 32]) && *given == Digest([2; 32])));
    assert_eq!(other.class(), RefusalClass::Conflict);
    assert!(
        matches!(fleet.artifact("main", "1.1", 1), Ok(ArtifactOutcome::Added(_))),
        "other name, same bytes"
    );
}

#[test]
fn who_uses_a_version_is_told_apart_by_now_and_earlier() {
    let mut fleet = Given::new();
    for package in ["main", "modem"] {
        fleet.package(package);
        for version in ["1.0", "2.0", "3.0"] {
            fleet.artifact(package, version, 1).unwrap();
        }
    }
    let (field, lab) = (fleet.cohort("field"), fleet.cohort("lab"));
    fleet.cohort("empty");
    fleet.deploy(field, "a", &["main@1.0", "modem@1.0"]).unwrap();
    fleet.deploy(field, "b", &["main@2.0"]).unwrap();
    fleet.deploy(field, "c", &["main@2.0"]).unwrap();
    fleet.deploy(lab, "d", &["main@1.0"]).unwrap();
    let project = fleet.fleet.in_project(fleet.project).unwrap();
    let told = |package: &str, version: &str| {
        let uses = project.uses_of(package);
        let artifact = project.require_artifact(package, version).unwrap();
        uses.get(&artifact.id).map(|uses| {
            let names = |cohorts: &[&Arc<crate::fleet::Cohort>]| -> Vec<String> {
                cohorts.iter().map(|cohort| cohort.name.to_string()).collect()
            };
            (
                names(&uses.active).join(" "),
                names(&uses.earlier).join(" "),
                uses.deployments.len(),
            )
        })
    };
    let is =
        |active: &str, earlier: &str, deployments| Some((active.to_owned(), earlier.to_owned(), deployments));
    assert_eq!(told("main", "1.0"), is("lab", "field", 2));
    assert_eq!(told("main", "2.0"), is("field", "", 2));
    assert_eq!(told("main", "3.0"), None);
    assert_eq!(told("modem", "1.0"), is("", "field", 1));

    let running: Vec<_> = project.cohorts_by_package().into_iter().collect();
    assert_eq!(running.len(), 1, "modem is active nowhere");
    assert_eq!((running[0].0.as_str(), running[0].1.len()), ("main", 2));
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let mut fleet = Given::new();
    let error = fleet.artifact("main", "1", 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no package \"main\"; there are none yet"
    );
    fleet.package("main");
    fleet.artifact("main", "1.0", 1).unwrap();
    let cohort = fleet.cohort("field");
    let error = fleet.deploy(cohort, "d", &["main@2.0"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no artifact \"main@2.0\"; there are: 1.0"
    );
    assert_eq!(error.class(), RefusalClass::Unknown);
    for version in ["2.0", "3", "4", "5", "6"] {
        fleet.artifact("main", version, 1).unwrap();
    }
    let error = fleet.deploy(cohort, "d", &["main@7"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no artifact \"main@7\"; there are: 6, 5, 4, 3, 2.0, …"
    );
}

#[test]
fn sequence_numbers_rise_by_one_across_cohorts() {
    let mut fleet = Given::with_artifacts();
    let (one, two) = (fleet.cohort("one"), fleet.cohort("two"));
    let numbers: Vec<_> = [one, two, two, one]
        .into_iter()
        .enumerate()
        .map(|(i, cohort)| {
            fleet
                .deploy(cohort, &format!("d{i}"), &["main@1.0"])
                .unwrap()
                .sequence
                .get()
        })
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_refused_deployment_uses_no_number() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("one");
    fleet.deploy(cohort, "a", &["main@1.0"]).unwrap();
    fleet.deploy(cohort, "b", &["main@9"]).unwrap_err();
    assert_eq!(
        fleet.deploy(cohort, "c", &["main@1.0"]).unwrap().sequence.get(),
        2
    );
}

#[test]
fn the_last_sequence_number_is_the_last() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("one");
    let project = Arc::make_mut(fleet.fleet.projects.get_mut(&fleet.project).unwrap());
    project.last_sequence = Sequence::new(2_147_483_646);
    assert_eq!(
        fleet.deploy(cohort, "a", &["main@1.0"]).unwrap().sequence.get(),
        2_147_483_647
    );
    assert_eq!(
        fleet.deploy(cohort, "b", &["main@1.0"]).unwrap_err(),
        Refusal::SequenceExhausted
    );
}

#[test]
fn the_newest_deployment_is_the_active_one_and_rolling_back_is_a_new_one() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("one");
    let first = fleet.deploy(cohort, "a", &["main@1.0"]).unwrap();
    let second = fleet.deploy(cohort, "b", &["main@2.0"]).unwrap();
    assert_eq!(fleet.active(cohort).id, second.id);
    let back = fleet.deploy(cohort, "c", &["main@1.0"]).unwrap();
    assert_eq!(fleet.active(cohort).id, back.id);
    assert!(back.id != first.id && back.sequence > second.sequence);
    assert_eq!(back.artifacts[0].change, Change::Changed(Direction::Downgrade));
}

#[test]
fn a_deployment_holds_each_package_once_and_one_at_least() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("one");
    assert_eq!(
        fleet.deploy(cohort, "a", &[]).unwrap_err(),
        Refusal::EmptyDeployment
    );
    let twice = fleet
        .deploy(cohort, "a", &["main@1.0", "modem@1", "main@2.0"])
        .unwrap_err();
    assert!(
        matches!(twice, Refusal::PackageTwice { first, second, .. } if &*first == "1.0" && &*second == "2.0")
    );
}

#[test]
fn a_name_is_used_once_in_a_cohort() {
    let mut fleet = Given::with_artifacts();
    let (one, two) = (fleet.cohort("one"), fleet.cohort("two"));
    fleet.deploy(one, "spring", &["main@1.0"]).unwrap();
    assert!(matches!(
        fleet.deploy(one, "spring", &["main@2.0"]),
        Err(Refusal::Taken {
            kind: Kind::Deployment,
            ..
        })
    ));
    fleet.deploy(two, "spring", &["main@1.0"]).unwrap();
}

#[test]
fn a_stale_review_is_refused_with_the_fresh_difference() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("one");
    let mut order = order(cohort, "a", &["main@1.0"]);
    order.expected_active = Some(None);
    let first = fleet.order(&order).unwrap();

    order.name = DeploymentName::parse("b").unwrap();
    order.artifacts = refs(&["main@2.0", "modem@1"]);
    let Refusal::Stale {
        expected,
        active,
        difference,
    } = fleet.order(&order).unwrap_err()
    else {
        panic!()
    };
    assert_eq!((expected, active), (None, Some(first.id)));
    assert_eq!(names(&difference), (vec!["modem"], vec!["main"], vec![], vec![]));

    order.expected_active = Some(Some(first.id));
    let second = fleet.order(&order).unwrap();
    order.name = DeploymentName::parse("c").unwrap();
    assert!(matches!(fleet.order(&order), Err(Refusal::Stale { active, .. }) if active == Some(second.id)));
    order.expected_active = None;
    fleet.order(&order).unwrap();
}

#[test]
fn a_difference_tells_added_changed_removed_and_unchanged_apart() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("one");
    fleet
        .deploy(cohort, "a", &["main@2.0", "modem@1", "assets@7"])
        .unwrap();
    let order = order(cohort, "b", &["boot@1", "main@1.0", "assets@7"]);
    let (_, difference) = fleet
        .fleet
        .plan_deployment(fleet.project, &order, "me", 0)
        .unwrap();
    assert_eq!(
        names(&difference),
        (vec!["boot"], vec!["main"], vec!["modem"], vec!["assets"])
    );
    let changed = &difference.changed[0];
    assert_eq!((&*changed.from.version, &*changed.to.version), ("2.0", "1.0"));
    assert_eq!(changed.direction, Direction::Downgrade);
    assert_eq!(
        difference.bytes_per_device(),
        2000,
        "what stays is not downloaded"
    );
    assert!(!difference.is_empty());
}

#[test]
fn what_something_needs_cannot_be_deleted_and_the_refusal_says_who() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("field");
    fleet.deploy(cohort, "spring", &["main@1.0"]).unwrap();
    fleet.deploy(cohort, "summer", &["main@2.0"]).unwrap();
    let (project, main) = (fleet.project, PackageName::parse("main").unwrap());
    let one = Version::parse("1.0").unwrap();

    let error = fleet.fleet.delete_artifact(project, &main, &one).unwrap_err();
    assert_eq!(
        error.to_string(),
        "artifact \"main@1.0\" cannot be deleted: needed by deployment \"spring\" of cohort \"field\""
    );
    let error = fleet.fleet.delete_package(project, &main).unwrap_err();
    assert!(matches!(error, Refusal::InUse { by, .. } if by == ["artifact main@1.0", "artifact main@2.0"]));
    let error = fleet.fleet.delete_cohort(project, cohort).unwrap_err();
    assert!(
        matches!(error, Refusal::InUse { by, .. } if by == ["deployment \"spring\"", "deployment \"summer\""])
    );

    let modem = PackageName::parse("modem").unwrap();
    fleet
        .fleet
        .delete_artifact(project, &modem, &Version::parse("1").unwrap())
        .unwrap();
    fleet.fleet.delete_package(project, &modem).unwrap();
    assert!(fleet.fleet.project(project).unwrap().package("modem").is_none());
}

#[test]
fn a_cohort_is_kept_while_devices_are_in_it() {
    let mut fleet = Given::new();
    let (one, two) = (fleet.cohort("one"), fleet.cohort("two"));
    let project = fleet.project;
    fleet.fleet.device_created(project, Some(one)).unwrap();
    fleet.fleet.device_created(project, Some(one)).unwrap();
    let error = fleet.fleet.delete_cohort(project, one).unwrap_err();
    assert!(matches!(error, Refusal::InUse { by, .. } if by == ["2 devices"]));
    fleet.fleet.device_moved(project, Some(one), Some(two)).unwrap();
    fleet.fleet.device_deleted(project, Some(one)).unwrap();
    fleet.fleet.delete_cohort(project, one).unwrap();
    assert_eq!(fleet.fleet.project(project).unwrap().devices, 1);
    assert!(
        fleet.fleet.device_moved(project, Some(two), Some(one)).is_err(),
        "it is gone"
    );
    assert_eq!(
        fleet.fleet.project(project).unwrap().cohort(two).unwrap().devices,
        1
    );
}

#[test]
fn a_sequence_number_falls_where_the_cohort_is_at_a_lower_one_than_the_device_was_sent() {
    let mut given = Given::with_artifacts();
    let (empty, lamps) = (given.cohort("empty"), given.cohort("lamps"));
    given.deploy(lamps, "first", &["main@1.0"]).unwrap();
    given.deploy(lamps, "second", &["main@1.0"]).unwrap();
    let project = given.fleet.project(given.project).unwrap();
    let device = DeviceName::parse("d1").unwrap();
    let check = |to, sent| SequenceGoesBack::check(&device, sent, project.cohort(to).unwrap());
    for (to, sent) in [(lamps, 0), (lamps, 1), (lamps, 2), (empty, 9)] {
        assert_eq!(check(to, sent), Ok(()), "{to} {sent}");
    }
    let back = check(lamps, 3).unwrap_err();
    let finding = back.finding();
    assert_eq!(
        (finding.rule, finding.severity, finding.message.as_str()),
        (
            "sequence-goes-back",
            Severity::Confirm,
            "device \"d1\" was sent sequence number 3, and deployment \"second\" of cohort \"lamps\" has 2"
        )
    );
    let refusal = Refusal::SequenceGoesBack(back);
    assert_eq!(
        (refusal.name(), refusal.class()),
        ("sequence-goes-back", RefusalClass::Conflict)
    );
    assert!(
        refusal
            .to_string()
            .contains("deploy the same set to that cohort anew"),
        "{refusal}"
    );
}

#[test]
fn a_working_copy_leaves_the_original_alone() {
    let mut fleet = Given::with_artifacts();
    let cohort = fleet.cohort("one");
    let before = fleet.fleet.clone();
    fleet.deploy(cohort, "a", &["main@1.0"]).unwrap();
    fleet.package("more");
    let project = before.project(fleet.project).unwrap();
    assert!(project.cohort(cohort).unwrap().active().is_none());
    assert!(project.package("more").is_none());
    assert_eq!(project.last_sequence, None);
}

#[test]
fn a_cohort_is_found_by_id_and_by_name() {
    let mut fleet = Given::new();
    let id = fleet.cohort("Field trial");
    let project = fleet.fleet.project(fleet.project).unwrap();
    assert_eq!(project.find_cohort("Field trial").unwrap().id, id);
    assert_eq!(project.find_cohort(&id.to_string()).unwrap().id, id);
    assert!(project.require_cohort_named("coh_99").is_err());
}

#[test]
fn lint_names_the_number_and_the_limit() {
    let mut fleet = Given::with_artifacts();
    fleet.package("a-package-name-too-long");
    fleet
        .artifact("a-package-name-too-long", "2026.11.24-nightly", 1)
        .unwrap();
    let cohort = fleet.cohort("one");
    let fine = fleet.deploy(cohort, "a", &["main@1.0"]).unwrap();
    assert_eq!(lint(&fine, &DeviceProfile::default()), []);

    let deployment = fleet
        .deploy(
            cohort,
            "b",
            &["main@1.0", "a-package-name-too-long@2026.11.24-nightly"],
        )
        .unwrap();
    let findings = lint(&deployment, &DeviceProfile::default());
    let rules: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
    assert_eq!(
        rules,
        [
            "too-many-components",
            "package-name-long",
            "version-long",
            "uri-long",
            "report-long"
        ]
    );
    assert!(
        findings[1].message.contains("is 23 bytes; a device takes 16"),
        "{}",
        findings[1].message
    );
}

/// A fleet with a project, and short ways to fill it.
struct Given {
    fleet: Fleet,
    project: ProjectId,
}

impl Given {
    fn new() -> Self {
        let mut fleet = Fleet::default();
        let project = fleet
            .create_project(ProjectName::parse("default").unwrap(), 0)
            .unwrap()
            .id;
        Self { fleet, project }
    }

    fn with_artifacts() -> Self {
        let mut given = Self::new();
        for (package, versions) in [
            ("main", &["1.0", "2.0"][..]),
            ("modem", &["1"]),
            ("assets", &["7"]),
            ("boot", &["1"]),
        ] {
            given.package(package);
            for version in versions {
                given.artifact(package, version, 1).unwrap();
            }
        }
        given
    }

    fn package(&mut self, name: &str) {
        self.fleet
            .create_package(self.project, new_package(name), 0)
            .unwrap();
    }

    fn artifact(&mut self, package: &str, version: &str, digest: u8) -> Result<ArtifactOutcome, Refusal> {
        let new = NewArtifact {
            package: PackageName::parse(package).unwrap(),
            version: Version::parse(version).unwrap(),
            size: ArtifactSize::new(1000).unwrap(),
            digest: Digest([digest; 32]),
            kind: ImageKind::Plain,
            image_version: None,
        };
        self.fleet.add_artifact(self.project, new, 0)
    }

    fn cohort(&mut self, name: &str) -> CohortId {
        self.fleet
            .create_cohort(self.project, CohortName::parse(name).unwrap(), 0)
            .unwrap()
            .id
    }

    fn deploy(
        &mut self,
        cohort: CohortId,
        name: &str,
        artifacts: &[&str],
    ) -> Result<Arc<Deployment>, Refusal> {
        self.order(&order(cohort, name, artifacts))
    }

    fn order(&mut self, order: &DeploymentOrder) -> Result<Arc<Deployment>, Refusal> {
        let (deployment, _) = self.fleet.plan_deployment(self.project, order, "me", 0)?;
        self.fleet.deploy(self.project, deployment)
    }

    fn active(&self, cohort: CohortId) -> Arc<Deployment> {
        let project = self.fleet.project(self.project).unwrap();
        Arc::clone(project.cohort(cohort).unwrap().active().unwrap())
    }
}

fn new_package(name: &str) -> NewPackage {
    NewPackage {
        name: PackageName::parse(name).unwrap(),
        description: String::new(),
        metadata: serde_json::Map::new(),
    }
}

fn order(cohort: CohortId, name: &str, artifacts: &[&str]) -> DeploymentOrder {
    let name = DeploymentName::parse(name).unwrap();
    DeploymentOrder {
        cohort,
        name,
        artifacts: refs(artifacts),
        expected_active: None,
    }
}

fn refs(artifacts: &[&str]) -> Vec<ArtifactRef> {
    let parse = |text: &&str| {
        let (package, version) = text.split_once('@').unwrap();
        ArtifactRef {
            package: PackageName::parse(package).unwrap(),
            version: Version::parse(version).unwrap(),
        }
    };
    artifacts.iter().map(parse).collect()
}

type Names<'a> = (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>, Vec<&'a str>);

fn names(difference: &Difference) -> Names<'_> {
    (
        difference
            .added
            .iter()
            .map(|artifact| &*artifact.package)
            .collect(),
        difference
            .changed
            .iter()
            .map(|changed| &*changed.to.package)
            .collect(),
        difference
            .removed
            .iter()
            .map(|artifact| &*artifact.package)
            .collect(),
        difference
            .unchanged
            .iter()
            .map(|artifact| &*artifact.package)
            .collect(),
    )
}
