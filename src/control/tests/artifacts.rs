use super::{Given, me};
use crate::control::batch::Command;
use crate::control::cohorts::CreateCohort;
use crate::control::packages::{AddArtifact, NoPackage};
use crate::control::{AuditFilter, AuditScope, ControlError, UploadError};
use crate::fleet::Actor;
use crate::fleet::{ArtifactOutcome, CohortName, Digest, Kind, PackageName, Refusal, Version};

#[tokio::test]
async fn an_upload_becomes_an_artifact_once() {
    let given = Given::new().await;
    given.package("main").await;
    let ArtifactOutcome::Added(artifact) = given.upload("main", "1.0", b"bytes").await.unwrap() else {
        panic!()
    };
    assert_eq!((artifact.digest, artifact.size.get()), (Digest::of(b"bytes"), 5));
    assert!(matches!(
        given.upload("main", "1.0", b"bytes").await,
        Ok(ArtifactOutcome::Same(_))
    ));
    let other = given.upload("main", "1.0", b"other bytes").await.unwrap_err();
    assert!(matches!(other, ControlError::Refused(Refusal::OtherBytes { .. })));
    let nowhere = given.upload("modem", "1.0", b"lost bytes").await.unwrap_err();
    assert!(matches!(
        nowhere,
        ControlError::Refused(Refusal::Unknown {
            kind: Kind::Package,
            ..
        })
    ));
    let empty = given.upload("main", "2.0", b"").await.unwrap_err();
    assert!(matches!(empty, ControlError::Upload(error) if matches!(*error, UploadError::Empty)));
    assert_eq!(given.files(), 1, "what was refused leaves nothing behind");

    let given = given.killed().await;
    let mut block = [0; 3];
    let blob = given.control.open_blob(&artifact.digest).unwrap();
    blob.read_at(2, &mut block).unwrap();
    assert_eq!(&block, b"tes");
}

#[tokio::test]
async fn an_upload_past_the_limit_or_with_another_digest_leaves_nothing_behind() {
    let given = Given::new().await;
    given.package("main").await;
    let mut upload = given.control.begin_upload(&me(), 1_000_000).await.unwrap();
    for _ in 0..10 {
        upload.write(&[7; 100_000]).await.unwrap();
    }
    let error = upload.write(&[7]).await.unwrap_err();
    assert!(matches!(error, UploadError::TooLarge { limit: 1_000_000 }));
    drop(upload);
    assert_eq!(given.files(), 0);

    let mut upload = given.control.begin_upload(&me(), 10).await.unwrap();
    upload.write(b"abc").await.unwrap();
    let (package, version) = (PackageName::parse("main").unwrap(), Version::parse("1").unwrap());
    let declared = Some(Digest([1; 32]));
    let added = given
        .control
        .add_artifact(&me(), given.project, package, version, upload, declared)
        .await;
    assert!(
        matches!(added, Err(ControlError::Upload(error)) if matches!(*error, UploadError::WrongDigest { .. }))
    );
    assert_eq!(given.files(), 0);
}

#[tokio::test]
async fn bytes_go_with_the_last_artifact_that_has_them() {
    let given = Given::new().await;
    given.package("main").await;
    for version in ["1", "2"] {
        given.upload("main", version, b"same").await.unwrap();
    }
    assert_eq!(given.files(), 1);
    for (version, left) in [("1", 1), ("2", 0)] {
        let (package, version) = (
            PackageName::parse("main").unwrap(),
            Version::parse(version).unwrap(),
        );
        given
            .control
            .delete_artifact(&me(), given.project, package, version)
            .await
            .unwrap();
        assert_eq!(given.files(), left);
    }
}

#[tokio::test]
async fn an_upload_whose_bytes_cannot_be_kept_fails_alone() {
    let given = Given::new().await;
    let shelf = &Digest::of(b"bytes").to_string()[..2];
    let in_the_way = given.folder.path().join("blobs").join(shelf);
    std::fs::write(&in_the_way, b"not a folder").unwrap();
    let mut upload = given.control.begin_upload(&me(), 1000).await.unwrap();
    upload.write(b"bytes").await.unwrap();
    let (add, added) = Command::new(AddArtifact {
        actor: me(),
        project: given.project,
        package: PackageName::parse("main").unwrap(),
        version: Version::parse("1.0").unwrap(),
        bytes: upload.finish(None).await.unwrap(),
        no_package: NoPackage::Make,
    });
    let (create, created) = Command::new(CreateCohort {
        actor: me(),
        project: given.project,
        name: CohortName::parse("field").unwrap(),
    });
    // Nothing is awaited in between: both are in one batch.
    let jobs = &given.control.shared.jobs;
    assert!(jobs.try_send(Box::new(add)).is_ok() && jobs.try_send(Box::new(create)).is_ok());
    let error = added.await.unwrap().unwrap_err();
    assert!(matches!(error, ControlError::StoreFailed(_)), "{error}");
    created.await.unwrap().unwrap();

    std::fs::remove_file(&in_the_way).unwrap();
    given.package("main").await;
    let again = given.upload("main", "1.0", b"bytes").await.unwrap();
    assert!(
        matches!(again, ArtifactOutcome::Added(_)),
        "nothing of it was kept"
    );
}

#[tokio::test]
async fn a_package_that_is_missing_is_made_with_its_first_artifact_in_one_step() {
    let given = Given::new().await;
    let add = async |version: &str, bytes: &[u8]| {
        let mut upload = given.control.begin_upload(&me(), 1000).await.unwrap();
        upload.write(bytes).await.unwrap();
        let (package, version) = (
            PackageName::parse("main").unwrap(),
            Version::parse(version).unwrap(),
        );
        given
            .control
            .add_artifact_and_package(&me(), given.project, package, version, upload, None)
            .await
    };
    assert!(matches!(
        add("1.0", b"bytes").await,
        Ok(ArtifactOutcome::Added(_))
    ));
    // The package is there then, and stays as it is.
    assert!(matches!(add("1.0", b"bytes").await, Ok(ArtifactOutcome::Same(_))));
    assert!(matches!(add("1.1", b"more").await, Ok(ArtifactOutcome::Added(_))));
    let other = add("1.0", b"other").await.unwrap_err();
    assert!(matches!(other, ControlError::Refused(Refusal::OtherBytes { .. })));

    let filter = AuditFilter {
        actor: Some(me().to_string()),
        limit: 10,
        ..AuditFilter::default()
    };
    let audit = given
        .control
        .audit(AuditScope::Project(given.project), &filter)
        .await
        .unwrap();
    let done: Vec<_> = audit
        .records
        .iter()
        .map(|record| (record.action.as_str(), record.subject.as_str()))
        .collect();
    assert_eq!(
        done,
        [
            ("artifact.create", "main@1.1"),
            ("artifact.create", "main@1.0"),
            ("package.create", "main"),
        ]
    );

    let given = given.killed().await;
    let view = given.control.view();
    let project = view.in_project(given.project).unwrap();
    assert_eq!(project.require_package("main").unwrap().artifacts.len(), 2);
}

#[tokio::test]
async fn an_upload_past_the_bound_is_refused_until_another_one_ends() {
    let given = Given::new().await;
    let mut under_way = Vec::new();
    let until_refused = async |actor: &Actor, under_way: &mut Vec<_>| loop {
        match given.control.begin_upload(actor, 10).await {
            Ok(upload) => under_way.push(upload),
            Err(error) => return error,
        }
    };
    let refused = until_refused(&me(), &mut under_way).await;
    let own = under_way.len();
    assert!(
        matches!(&refused, ControlError::TooManyOwnUploads(actor, share) if *actor == me() && *share == own),
        "{refused}"
    );
    let other = Actor::named("other");
    let refused = until_refused(&other, &mut under_way).await;
    let refused_all = until_refused(&Actor::named("third"), &mut under_way).await;
    assert!(under_way.len() == 2 * own, "{refused}");
    assert!(
        matches!(refused_all, ControlError::TooManyUploads(bound) if bound == under_way.len()),
        "{refused_all}"
    );
    under_way.pop();
    given.control.begin_upload(&other, 10).await.unwrap();
}
