//! What somebody sees whose key may look and change nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::support::Server;

#[tokio::test]
async fn a_reader_finds_nothing_that_changes_anything_on_any_page_and_a_form_of_theirs_is_refused() {
    let server = Server::start();
    for version in ["1.0.0", "1.1.0"] {
        server.upload("main", version, version.as_bytes());
    }
    server.done("POST", "packages", json!({"name": "empty"}));
    server.done("POST", "cohorts", json!({"name": "empty"}));
    let device = server.device("lamp-1", "lamps").id;
    server.done(
        "PATCH",
        &format!("devices/{device}"),
        json!({"addTags": ["north"]}),
    );
    server.deploy("lamps", "the first", &[("main", "1.0.0")]);
    server.deploy("lamps", "the second", &[("main", "1.1.0")]);
    let key = server.done("POST", "keys", json!({"name": "looks", "role": "read"}));
    let mut browser = Chromium::start().await;
    browser.sign_in(&server.url(), key["key"].as_str().unwrap()).await;
    // The sign-in is a line of it as well.
    let audited = audit(&server);

    // Every page that a link leads to from any other.
    let project = "/projects/default";
    let mut seen = BTreeSet::new();
    let mut next = vec![project.to_owned()];
    while let Some(page) = next.pop() {
        if !seen.insert(page.clone()) {
            continue;
        }
        browser.open(&format!("{}{page}", server.url())).await;
        browser.finds("main h1").await;
        let offers = browser.run(OFFERS, &[]).await;
        assert_eq!(offers, json!([]), "{page}");
        let links = browser.run(LINKS, &[]).await;
        let links: Vec<String> = serde_json::from_value(links).unwrap();
        next.extend(links);
    }
    let cohort = server.cohort_id("lamps");
    for page in [
        "/cohorts".to_owned(),
        format!("/cohorts/{cohort}"),
        format!("/cohorts/{cohort}/devices"),
        format!("/cohorts/{cohort}/settings"),
        format!("/cohorts/{}/devices", server.cohort_id("empty")),
        "/packages/main".to_owned(),
        "/packages/empty".to_owned(),
        format!("/devices/{device}"),
        "/audit".to_owned(),
        "/settings".to_owned(),
    ] {
        assert!(seen.contains(&format!("{project}{page}")), "{page} of {seen:#?}");
    }
    let deployments = seen.iter().filter(|page| page.contains("/deployments/dep_"));
    assert_eq!(deployments.count(), 2, "{seen:#?}");

    // What somebody with another key has been sent by their page, with the token of this session.
    browser.expects_losses();
    browser.open(&format!("{}{project}", server.url())).await;
    for (path, fields) in [
        ("/cohorts".to_owned(), json!({"name": "x"})),
        (format!("/cohorts/{cohort}/devices"), json!({"device": device})),
        (
            format!("/cohorts/{cohort}/devices/add"),
            json!({"device": device}),
        ),
        (
            format!("/cohorts/{}/settings", server.cohort_id("empty")),
            json!({}),
        ),
        (
            format!("/cohorts/{cohort}/deploy"),
            json!({"name": "x", "version:main": "1.0.0"}),
        ),
        ("/packages".to_owned(), json!({"name": "x"})),
        ("/packages/empty/delete".to_owned(), json!({})),
        ("/packages/main/versions/1.0.0/delete".to_owned(), json!({})),
        (
            "/devices/change".to_owned(),
            json!({"action": "disable", "device": device}),
        ),
        ("/devices/new".to_owned(), json!({"name": "x", "psk": "1"})),
        (format!("/devices/{device}/enable"), json!({})),
        (format!("/devices/{device}/tags"), json!({"add": "x"})),
        (format!("/devices/{device}/push"), json!({})),
        (format!("/devices/{device}/delete"), json!({"confirm": "lamp-1"})),
        (format!("/devices/{device}/credentials"), json!({"type": "psk"})),
        ("/settings/keys".to_owned(), json!({"name": "x", "role": "admin"})),
        ("/settings/device-cas".to_owned(), json!({"pem": "x"})),
    ] {
        let answer = browser
            .run_async(POST, &[json!(format!("{project}{path}")), fields])
            .await;
        refused(&path, &answer);
    }
    for (path, fields) in [
        ("/uploads", json!([["package", "main"], ["version", "2.0.0"]])),
        ("/packages/main", json!([["version", "2.0.0"]])),
        ("/devices/import", json!([])),
    ] {
        let answer = browser
            .run_async(POST_FILE, &[json!(format!("{project}{path}")), fields])
            .await;
        refused(path, &answer);
    }
    assert_eq!(audit(&server), audited, "nothing was changed");

    // The page of such a refusal, as they would see it.
    browser
        .open(&format!("{}{project}/cohorts/{cohort}/deploy", server.url()))
        .await;
    browser.says("403").await;
    browser.says("deploy").await;
    assert_eq!(browser.axe().await, [""; 0]);
    browser.end().await;
}

/// The answer is a page which says that this is not allowed, and what is needed for it.
fn refused(path: &str, answer: &Value) {
    assert_eq!(answer["status"], 403, "{path}: {answer}");
    let text = answer["text"].as_str().unwrap();
    assert!(
        text.contains("403") && text.contains("looks") && text.contains("read"),
        "{path}: {text}"
    );
}

/// How many lines the audit has.
fn audit(server: &Server) -> usize {
    let lines = server.done("GET", "audit", Value::Null);
    lines["items"].as_array().unwrap().len()
}

/// What a page offers to do, beside looking and signing out.
const OFFERS: &str = "
    const words = /deploy to|^deploy$|upload|create|delete|remove|revoke|roll back|add |import|push again|disable|enable|move…|put in|take out/i;
    const forms = [...document.forms].filter((form) => form.method !== 'get' && !form.action.endsWith('/sign-out'));
    const controls = [...document.querySelectorAll('main a, main button, main summary, main input[type=submit]')]
        .filter((control) => words.test(control.innerText.trim()));
    const inputs = document.querySelectorAll('main input[type=file], main input[type=checkbox]');
    return [...forms, ...controls, ...inputs].map((element) => element.outerHTML.slice(0, 200));";

/// The pages that a page links to, without what they are asked.
const LINKS: &str = "
    const inside = [...document.links].filter((link) => link.origin === location.origin && link.pathname.startsWith('/projects/') && !link.download);
    const files = /\\.(cbor|csv)$/;
    return [...new Set(inside.map((link) => link.pathname))].filter((path) => !files.test(path));";

/// Sends a form with the token of the page, and what is read on the page that comes back.
const POST: &str = "
    const [path, fields, done] = arguments;
    const csrf = document.querySelector('input[name=csrf]').value;
    fetch(path, { method: 'POST', body: new URLSearchParams({ csrf, ...fields }), redirect: 'manual' })
        .then(async (answer) => done({
            status: answer.status,
            text: new DOMParser().parseFromString(await answer.text(), 'text/html').body.textContent,
        }));";

/// The same of a form with a file.
const POST_FILE: &str = "
    const [path, fields, done] = arguments;
    const body = new FormData();
    body.append('csrf', document.querySelector('input[name=csrf]').value);
    for (const [name, value] of fields) body.append(name, value);
    body.append('file', new File(['bytes'], 'image.bin'));
    fetch(path, { method: 'POST', body, redirect: 'manual' })
        .then(async (answer) => done({
            status: answer.status,
            text: new DOMParser().parseFromString(await answer.text(), 'text/html').body.textContent,
        }));";
