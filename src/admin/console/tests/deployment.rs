//! The page of a deployment, and the files that it gives.

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::deploy::{cohort, connect, deploy, device};
use super::{Api, Browser, Page};
use crate::control::Report;

#[tokio::test]
async fn a_deployment_says_what_it_is_and_what_devices_are_sent() {
    let api = Api::start().await;
    let lamps = cohort(&api, "lamps").await;
    api.artifact("main", "1.0", 2048).await;
    api.artifact("main", "1.1", 4096).await;
    let old = deploy(&api, &lamps, "old", &["main@1.0"]).await;
    let new = deploy(&api, &lamps, "new", &["main@1.1"]).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;

    let page = browser.get(&address(&new)).await.expect(200);
    page.part("summary");
    page.says("active");
    page.says("by bootstrap");
    assert!(page.links("Roll back to this").is_empty(), "it is active");
    assert_eq!(
        page.links("Deploy"),
        [format!("/projects/default/cohorts/{lamps}/deploy")]
    );
    page.says("The cohort has no devices.");
    page.says("4.0 KiB to download for a device that ran the deployment before");
    let row = page
        .root
        .all("tr")
        .into_iter()
        .find(|row| row.text().contains("1.1"))
        .unwrap();
    assert!(
        row.text().starts_with("main ↑ 1.1 plain 4.0 KiB "),
        "{}",
        row.text()
    );

    // Byte for byte what devices are sent.
    let sent = {
        let view = api.control.view();
        view.manifest(lamps.parse().unwrap()).unwrap().cbor.clone()
    };
    page.says(&format!("{} of 1024 bytes", sent.len()));
    page.says("\"sequenceNumber\": 2");
    let dump = page.root.all("pre")[1].text();
    let hex: String = sent[..8].iter().map(|byte| format!("{byte:02x} ")).collect();
    assert!(dump.starts_with(&format!("0000 {hex}")), "{dump}");
    let file = api_file(&api, &browser, &format!("{}/manifest.cbor", address(&new))).await;
    assert_eq!(file.1, sent);
    assert_eq!(file.0, "attachment; filename=\"manifest-2.cbor\"");

    let page = browser.get(&address(&old)).await.expect(200);
    page.says("superseded by new #2");
    page.says("Progress is counted for the active deployment of a cohort only: new #2.");
    assert!(page.links("Deploy").is_empty(), "it is not active");
    let back = page.links("Roll back to this");
    assert_eq!(
        back,
        [format!("/projects/default/cohorts/{lamps}/deploy?from={old}")]
    );
    assert!(page.root.by_id("devices").is_none());
    browser
        .get(&format!("{}/devices.csv", address(&old)))
        .await
        .expect(404)
        .says("not active any more");

    let mut reader = Browser::signed_in(&api, "read").await;
    let page = reader.get(&address(&old)).await.expect(200);
    assert!(page.links("Roll back to this").is_empty());
    for wrong in ["dep_999", "nonsense"] {
        reader.get(&address(wrong)).await.expect(404).says(wrong);
    }
}

#[tokio::test]
async fn a_review_has_the_time_that_the_last_rollout_took_and_so_has_the_preview_of_the_api() {
    let api = Api::start().await;
    let lamps = cohort(&api, "lamps").await;
    api.artifact("main", "1.0", 2048).await;
    api.artifact("main", "1.1", 3 * 2048).await;
    device(&api, "lamp-1", &lamps).await;
    let old = deploy(&api, &lamps, "old", &["main@1.0"]).await;
    let mut counts = api.control.counts();
    // Who runs it before it was first counted took no time that could be told.
    let history = format!("deployments/{old}/progress/history");
    while api.get(&history).await.expect(200)["points"][0].is_null() {
        counts.changed().await.unwrap();
    }
    report(&api, "lamp-1", (0, 0), Some("1.0"), None).await;
    let order = json!({"name": "new", "artifacts": [{"package": "main", "version": "1.1"}]});
    let path = format!("cohorts/{lamps}/deployments:preview");
    let preview = loop {
        let preview = api.post(&path, &order).await.expect(200);
        if !preview["estimate"].is_null() {
            break preview;
        }
        assert_eq!(preview["estimateBasis"], "no rollout to measure by yet");
        counts.changed().await.unwrap();
    };
    let estimate = &preview["estimate"];
    assert_eq!(preview["estimateBasis"], "as 1 device took \"old\" (#1)");
    assert_eq!(
        (
            &estimate["deployment"],
            &estimate["sequence"],
            &estimate["devices"]
        ),
        (&json!(old), &json!(1), &json!(1))
    );
    // However soon it was: in a history of seconds it took one, and three times as many bytes take three.
    let seconds = estimate["mostSeconds"].as_u64().unwrap();
    assert!(seconds >= 3 && estimate["halfSeconds"] == seconds, "{estimate:#}");

    let mut browser = Browser::signed_in(&api, "deploy").await;
    let review = browser
        .get(&format!(
            "/projects/default/cohorts/{lamps}/deploy?seen=none&step=review&name=new&version:main=1.1"
        ))
        .await
        .expect(200);
    review.says(&format!("Estimated time {seconds} s"));
    review.says("half of them in");
    review.says("as 1 device took \"old\" (#1)");
}

#[tokio::test]
async fn devices_are_listed_by_where_they_stand_and_why() {
    let api = Api::start().await;
    let lamps = cohort(&api, "lamps").await;
    api.artifact("main", "1.0", 2048).await;
    api.artifact("main", "1.1", 4096).await;
    let id = deploy(&api, &lamps, "new", &["main@1.1"]).await;
    for name in ["fails", "loads", "runs", "silent"] {
        device(&api, name, &lamps).await;
    }
    report(&api, "fails", (0, 5), Some("=cmd|'/c calc'!A1"), Some("1.1")).await;
    report(&api, "loads", (1, 0), Some("1.0"), Some("1.1")).await;
    report(&api, "runs", (0, 0), Some("1.1"), None).await;
    let mut browser = Browser::signed_in(&api, "read").await;

    let page = browser.get(&address(&id)).await.expect(200);
    assert_eq!(
        rows(&page),
        [
            "fails online main =cmd|'/c calc'!A1 → 1.1 failed integrity-check-failure just now",
            "loads online main 1.0 → 1.1 downloading just now",
            "runs online main 1.1 done just now",
            "silent offline main ? → 1.1 pending",
        ]
    );
    let states = page.part("progress").all("a");
    let states: Vec<_> = states.iter().map(|link| link.text()).collect();
    assert_eq!(
        states,
        [
            "all 4",
            "pending 1",
            "notified 0",
            "downloading 1",
            "downloaded 0",
            "updating 0",
            "done 1",
            "failed 1"
        ]
    );
    page.says("25 % done");
    for (state, found) in [
        ("failed", "fails"),
        ("done", "runs"),
        ("pending", "silent"),
        ("downloading", "loads"),
    ] {
        let page = browser
            .get(&format!("{}?state={state}", address(&id)))
            .await
            .expect(200);
        let rows = rows(&page);
        assert_eq!(rows.len(), 1, "{state}: {rows:?}");
        assert!(rows[0].starts_with(found), "{state}: {rows:?}");
    }
    let none = browser
        .get(&format!("{}?state=updating", address(&id)))
        .await
        .expect(200);
    none.says("No device is updating.");
    let wrong = browser
        .get(&format!("{}?state=happy", address(&id)))
        .await
        .expect(422);
    wrong.says("accepted: pending, notified, downloading, downloaded, updating, done or failed");
    browser
        .get(&format!("{}?pageToken=x", address(&id)))
        .await
        .expect(422);

    let (name, csv) = api_file(&api, &browser, &format!("{}/devices.csv", address(&id))).await;
    assert_eq!(name, "attachment; filename=\"deployment-1-devices.csv\"");
    let csv = String::from_utf8(csv).unwrap();
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "device,state,online,package,have,want,reported,reason,reportedAt,lastSeenAt"
    );
    assert!(
        lines[1].starts_with("fails,failed,true,main,'=cmd|'/c calc'!A1,1.1,idle,integrity-check-failure,20"),
        "{}",
        lines[1]
    );
    assert_eq!(lines[4], "silent,pending,false,main,,1.1,,,,");
    let failed = format!("{}/devices.csv?state=failed", address(&id));
    let (_, csv) = api_file(&api, &browser, &failed).await;
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 2);

    // When something else was deployed is when it is asked why.
    let back = deploy(&api, &lamps, "back", &["main@1.0"]).await;
    api.get(&format!("deployments/{back}/progress")).await.expect(200);
    let page = browser.get(&address(&id)).await.expect(200);
    page.says("25 % done of 4 devices, as last counted");
    page.says("Why devices failed");
    page.says("integrity-check-failure");
    let progress = api.get(&format!("deployments/{id}/progress")).await.expect(200);
    let why = json!([{
        "package": "main", "state": "idle", "reason": "integrity-check-failure", "reasonNumber": 5, "devices": 1,
    }]);
    assert_eq!(progress["failures"], why);
}

#[tokio::test]
async fn the_devices_of_a_large_cohort_come_a_page_at_a_time() {
    let api = Api::start().await;
    let lamps = cohort(&api, "lamps").await;
    api.artifact("main", "1.0", 10).await;
    let id = deploy(&api, &lamps, "first", &["main@1.0"]).await;
    let lines: String = (0..1234)
        .map(|number| json!({"name": format!("lamp-{number:04}"), "cohort": "lamps"}).to_string() + "\n")
        .collect();
    let headers = [("content-type", "application/x-ndjson")];
    api.send("POST", "devices:import", &headers, lines)
        .await
        .expect(200);
    let mut browser = Browser::signed_in(&api, "read").await;

    for filter in ["", "?state=pending"] {
        let first = browser
            .get(&format!("{}{filter}", address(&id)))
            .await
            .expect(200);
        assert_eq!(rows(&first).len(), 50);
        assert!(first.links("First page").is_empty());
        let next = first.links("Next page");
        let second = browser.get(next[0].split('#').next().unwrap()).await.expect(200);
        assert!(rows(&second)[0].starts_with("lamp-0050 "), "{}", rows(&second)[0]);
        assert_eq!(
            second.links("First page"),
            [format!(
                "{}?{}#devices",
                address(&id),
                filter.trim_start_matches('?')
            )]
        );
    }
    let (_, csv) = api_file(&api, &browser, &format!("{}/devices.csv", address(&id))).await;
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 1 + 1234);

    // The devices that are read after that would stand with another deployment.
    let answer = api_answer(&api, &browser, &format!("{}/devices.csv", address(&id))).await;
    let mut file = answer.into_body().into_data_stream();
    file.next().await.unwrap().unwrap();
    deploy(&api, &lamps, "second", &["main@1.0"]).await;
    let rest: Vec<_> = file.collect().await;
    assert!(rest.last().unwrap().is_err(), "{} pieces", rest.len());
}

async fn report(
    api: &Api,
    name: &str,
    (state, reason): (u64, u64),
    version: Option<&str>,
    target: Option<&str>,
) {
    let device = connect(api, name).await;
    let (done, stored) = tokio::sync::oneshot::channel();
    api.control.report_slot().unwrap().take(Report {
        device,
        package: "main".to_owned(),
        state,
        reason,
        version: version.map(str::to_owned),
        target: target.map(str::to_owned),
        at_ms: crate::clock::unix_ms(),
        done: Box::new(move |end| done.send(end).unwrap_or(())),
    });
    stored.await.unwrap().unwrap();
}

fn address(id: &str) -> String {
    format!("/projects/default/deployments/{id}")
}

/// The rows of the device list, as they are read.
fn rows(page: &Page) -> Vec<String> {
    let rows = page.part("device-list").all("tr");
    rows.iter().skip(1).map(|row| row.text()).collect()
}

/// A file: under which name, and what is in it.
async fn api_file(api: &Api, browser: &Browser<'_>, address: &str) -> (String, Vec<u8>) {
    let answer = api_answer(api, browser, address).await;
    let name = answer.headers()[header::CONTENT_DISPOSITION]
        .to_str()
        .unwrap()
        .to_owned();
    (
        name,
        to_bytes(answer.into_body(), usize::MAX).await.unwrap().to_vec(),
    )
}

/// What a browser is answered, before it reads any of it.
async fn api_answer(api: &Api, browser: &Browser<'_>, address: &str) -> Response {
    let request = Request::get(address).header(header::COOKIE, browser.cookie.clone().unwrap());
    let answer = api
        .router
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{address}");
    answer
}
