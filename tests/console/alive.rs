//! Pages on which there was nothing, left open; and a chooser of versions with the longest names that they can have.

use serde_json::json;

use crate::chromium::Chromium;
use crate::support::{KEY, Server};

#[tokio::test]
async fn a_page_on_which_there_is_nothing_yet_shows_the_first_thing_without_a_reload() {
    let server = Server::start();
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    let page = |below: &str| format!("{}/projects/default{below}", server.url());
    let opened = async |below: &str, empty: &str| {
        browser.open(&page(below)).await;
        browser.says(empty).await;
        browser.is_live().await;
        browser.mark().await;
    };
    let shows = async |what: &str| {
        browser.says(what).await;
        assert!(browser.is_marked().await, "the page was not loaded again");
    };

    opened("/cohorts", "No cohorts yet").await;
    // Whoever types is not disturbed: what was typed would be gone.
    browser.fill("#name", "mine").await;
    let looks = browser.looks().await;
    server.done("POST", "cohorts", json!({"name": "lamps"}));
    browser.looked_again(looks).await;
    assert_eq!(browser.value("#name").await, "mine");
    browser.clear("#name").await;
    shows("lamps").await;
    browser.finds("#cohorts tbody tr").await;
    let cohort = format!("/cohorts/{}", server.cohort_id("lamps"));

    opened("/packages", "No packages yet").await;
    server.upload("payload", "1.0.0", b"bytes");
    shows("payload").await;
    opened("/devices", "No devices yet").await;
    server.done("POST", "devices", json!({"name": "lamp-1"}));
    shows("lamp-1").await;
    opened("/devices?tag=blue", "Nothing matches").await;
    server.done("POST", "devices", json!({"name": "lamp-2", "tags": ["blue"]}));
    shows("lamp-2").await;
    opened(&format!("{cohort}/devices"), "No devices yet").await;
    server.done("POST", "devices", json!({"name": "lamp-3", "cohort": "lamps"}));
    shows("lamp-3").await;
    opened(&cohort, "Nothing deployed yet").await;
    server.deploy("lamps", "the rollout", &[("payload", "1.0.0")]);
    shows("the rollout").await;

    // And what was there and is not any more is gone from an open page.
    browser.open(&page("/devices?tag=blue")).await;
    browser.says("lamp-2").await;
    browser.is_live().await;
    browser.mark().await;
    server.done("DELETE", "devices/lamp-2", json!(null));
    shows("Nothing matches").await;
    browser.end().await;
}

#[tokio::test]
async fn the_overview_of_nothing_shows_the_first_deployment_without_a_reload() {
    let server = Server::start();
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser.says("Bring the first update to your devices").await;
    browser.is_live().await;
    browser.mark().await;
    server.upload("payload", "1.0.0", b"bytes");
    server.done("POST", "cohorts", json!({"name": "lamps"}));
    server.done("POST", "devices", json!({"name": "lamp-1", "cohort": "lamps"}));
    server.deploy("lamps", "the rollout", &[("payload", "1.0.0")]);
    browser.says("the rollout").await;
    browser.lacks("#first-steps section").await;
    assert!(browser.is_marked().await, "the page was not loaded again");
    browser.end().await;
}

#[tokio::test]
async fn versions_with_the_longest_names_fit_into_the_wizard_on_a_telephone() {
    let server = Server::start();
    let package = "p".repeat(63);
    let version = format!("1{}", "v".repeat(62));
    server.upload(&package, &version, b"bytes");
    server.upload("main", "1.0.0", b"bytes");
    server.done("POST", "cohorts", json!({"name": "lamps"}));
    server.deploy("lamps", "both", &[(&package, &version), ("main", "1.0.0")]);
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    for width in [1440, 390] {
        browser.resize(width).await;
        let cohort = server.cohort_id("lamps");
        browser
            .open(&format!(
                "{}/projects/default/cohorts/{cohort}/deploy",
                server.url()
            ))
            .await;
        browser.finds(".steps-form td select").await;
        let scrolls = browser.scrolls_sideways(".steps-form").await;
        assert!(scrolls.is_empty(), "at {width}: {scrolls}");
    }
    browser.end().await;
}
