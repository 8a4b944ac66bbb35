//! The pages of packages: nothing, a few, many; who may what.

use super::desk::{Browser, Desk};
use crate::fleet::{
    Actor, ArtifactRef, CohortName, DeploymentName, DeploymentOrder, NewPackage, PackageName, Role, Version,
};

#[tokio::test]
async fn with_no_packages_the_page_teaches_the_steps() {
    let desk = Desk::new().await;
    let deployer = desk.visitor(Role::Deploy).await;
    deployer.get("/packages").await.says(
        200,
        &[
            "No packages yet",
            "href=\"#upload\"",
            "/projects/default/cohorts",
            "enctype=\"multipart/form-data\"",
        ],
    );
    let reader = desk.visitor(Role::Read).await;
    reader
        .get("/packages")
        .await
        .says(200, &["No packages yet", "whose key may deploy"])
        .says_not(&["<form class=\"upload", "Create package", "type=\"file\""]);
    reader
        .post("/packages", &[("name", "main")])
        .await
        .says(403, &["this needs deploy"]);
    assert!(desk.project().packages.is_empty());
    reader
        .get("/packages/main")
        .await
        .says(404, &["there is no package"]);
}

#[tokio::test]
async fn a_package_is_created_once_and_deleted_while_it_is_empty() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let made = browser
        .post(
            "/packages",
            &[("name", " main "), ("description", "the application")],
        )
        .await;
    let shown = browser.follow(&made).await;
    shown.says(
        200,
        &[
            "Created package main",
            "the application",
            "No versions yet",
            "Delete package",
        ],
    );
    let again = browser
        .post("/packages", &[("name", "main"), ("description", "kept & typed")])
        .await;
    again.says(
        409,
        &[
            "exists already",
            "id=\"create-name-wrong\"",
            "value=\"main\"",
            "kept &#38; typed",
        ],
    );
    browser
        .post("/packages", &[("name", "a b")])
        .await
        .says(422, &["contains &#39; &#39;", "accepted: 1 to 63"]);
    let long = "d".repeat(1001);
    browser
        .post("/packages", &[("name", "b"), ("description", &long)])
        .await
        .says(422, &["1001 characters long"]);
    assert_eq!(desk.project().packages.len(), 1);

    let stranger = Browser {
        csrf: "none".to_owned(),
        ..browser.clone()
    };
    stranger
        .post("/packages", &[("name", "modem")])
        .await
        .says(403, &["not one of this session"]);
    stranger
        .post("/packages/main/delete", &[])
        .await
        .says(403, &["not one of this session"]);
    let reader = desk.visitor(Role::Read).await;
    reader
        .post("/packages/main/delete", &[])
        .await
        .says(403, &["this needs deploy"]);

    artifact(&desk, "main", "1.0", b"one").await;
    let kept = browser.post("/packages/main/delete", &[]).await;
    browser
        .follow(&kept)
        .await
        .says(200, &["cannot be deleted: needed by artifact main@1.0"]);
    browser.get("/packages/main").await.says_not(&["Delete package"]);
    let gone = browser.post("/packages/main/versions/1.0/delete", &[]).await;
    browser
        .follow(&gone)
        .await
        .says(200, &["Deleted main@1.0.", "No versions yet"]);
    let again = browser.post("/packages/main/versions/1.0/delete", &[]).await;
    browser.follow(&again).await.says(200, &["there is no artifact"]);
    let gone = browser.post("/packages/main/delete", &[]).await;
    browser
        .follow(&gone)
        .await
        .says(200, &["Deleted package main.", "No packages yet"]);
    assert_eq!(desk.files_below("blobs"), 0);
}

#[tokio::test]
async fn a_version_in_use_says_by_whom_and_is_not_deleted() {
    let desk = Desk::new().await;
    for (version, bytes) in [("1.0", b"one"), ("2.0", b"two"), ("3.0", b"thr")] {
        artifact(&desk, "main", version, bytes).await;
    }
    let actor = Actor::named("me");
    for (cohort, versions) in [("field <1>", ["1.0", "2.0"]), ("lab", ["2.0", "2.0"])] {
        let name = CohortName::parse(cohort).unwrap();
        let cohort = desk
            .control
            .create_cohort(&actor, desk.project_id(), name)
            .await
            .unwrap()
            .id;
        for (number, version) in versions.into_iter().enumerate() {
            let order = DeploymentOrder {
                cohort,
                name: DeploymentName::parse(&format!("winter {number}")).unwrap(),
                artifacts: vec![ArtifactRef {
                    package: PackageName::parse("main").unwrap(),
                    version: Version::parse(version).unwrap(),
                }],
                expected_active: None,
            };
            desk.control
                .create_deployment(&actor, desk.project_id(), order)
                .await
                .unwrap();
        }
    }
    let browser = desk.visitor(Role::Deploy).await;
    let shown = browser.get("/packages/main").await;
    shown.says(200, &["field &#60;1&#62;", "nobody", "earlier:"]);
    let row = |version: &str| -> String {
        let from = shown.text.find(&format!("data-key=\"{version}\"")).unwrap();
        let to = shown.text[from..].find("</tr>").unwrap();
        shown.text[from..from + to].to_owned()
    };
    assert!(
        row("1.0").contains("Kept for deployment &#34;winter 0&#34; of cohort &#34;field &#60;1&#62;&#34;"),
        "{}",
        row("1.0")
    );
    assert!(
        row("1.0").contains("earlier:") && !row("1.0").contains("badge active"),
        "{}",
        row("1.0")
    );
    assert_eq!(row("2.0").matches("badge active").count(), 2, "{}", row("2.0"));
    assert!(
        row("2.0").contains("disabled") && !row("2.0").contains("versions/2.0/delete"),
        "{}",
        row("2.0")
    );
    assert!(
        row("3.0").contains("versions/3.0/delete") && row("3.0").contains("nobody"),
        "{}",
        row("3.0")
    );
    assert!(
        row("3.0").contains("artifacts/3.0/content") && row("3.0").contains("data-copy"),
        "{}",
        row("3.0")
    );
    browser
        .get("/packages")
        .await
        .says(200, &["field &#60;1&#62;", "lab", "3.0"]);

    let kept = browser.post("/packages/main/versions/1.0/delete", &[]).await;
    browser
        .follow(&kept)
        .await
        .says(200, &["cannot be deleted: needed by deployment"]);
    assert_eq!(desk.project().require_package("main").unwrap().artifacts.len(), 3);
    let reader = desk.visitor(Role::Read).await;
    reader
        .get("/packages/main")
        .await
        .says(200, &["Download"])
        .says_not(&[">Delete", "type=\"file\"", "/delete\""]);
}

#[tokio::test]
async fn lists_have_pages_and_a_filter_that_stays_in_the_address() {
    let desk = Desk::new().await;
    let actor = Actor::named("me");
    for number in 0..120 {
        let new = NewPackage {
            description: if number % 2 == 0 {
                "An even one".to_owned()
            } else {
                String::new()
            },
            ..NewPackage::named(PackageName::parse(&format!("p{number:03}")).unwrap())
        };
        desk.control
            .create_package(&actor, desk.project_id(), new)
            .await
            .unwrap();
    }
    for number in 0..60 {
        artifact(
            &desk,
            "p000",
            &format!("1.{number}"),
            format!("{number}").as_bytes(),
        )
        .await;
    }
    let reader = desk.visitor(Role::Read).await;
    let first = reader.get("/packages").await;
    first
        .says(200, &["p000", "p049", "pageToken=p049"])
        .says_not(&["p050", "First page"]);
    let next = reader.get("/packages?search=EVEN&pageToken=p098").await;
    next.says(
        200,
        &["p100", "p118", "search=EVEN", "First page", "value=\"EVEN\""],
    )
    .says_not(&["p101", "Next page"]);
    reader
        .get("/packages?search=nothing")
        .await
        .says(200, &["No package matches"]);
    reader
        .get("/packages?pageToken=%2F")
        .await
        .says(422, &["page token was not made by this list"]);
    let versions = reader.get("/packages/p000").await;
    let last = {
        let view = desk.control.view();
        let package = view.default_project().package("p000").unwrap();
        package.artifacts["1.10"].id
    };
    versions
        .says(
            200,
            &[
                "data-key=\"1.59\"",
                "data-key=\"1.10\"",
                &format!("pageToken={last}"),
            ],
        )
        .says_not(&["data-key=\"1.9\""]);
    // What came between two looks moves nothing on or off the next page.
    artifact(&desk, "p000", "2", b"2").await;
    let rest = reader.get(&format!("/packages/p000?pageToken={last}")).await;
    rest.says(200, &["data-key=\"1.9\"", "data-key=\"1.0\""])
        .says_not(&["data-key=\"1.10\""]);
}

async fn artifact(desk: &Desk, package: &str, version: &str, bytes: &[u8]) {
    let mut upload = desk.control.begin_upload(&Actor::system(), 1000).await.unwrap();
    upload.write(bytes).await.unwrap();
    let (package, version) = (
        PackageName::parse(package).unwrap(),
        Version::parse(version).unwrap(),
    );
    let added = desk
        .control
        .add_artifact_and_package(
            &Actor::named("me"),
            desk.project_id(),
            package,
            version,
            upload,
            None,
        )
        .await;
    added.unwrap();
}
