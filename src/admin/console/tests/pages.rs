//! Every page: who may see it, what it must not hold, and the operator's way from a package to a deployment and back.

use serde_json::json;

use super::{Api, Browser, KEY, Page, SAME_ORIGIN};
use crate::fleet::{Actor, CohortName};

const P: &str = "/projects/default";

/// Names that are anything but harmless.
const SCRIPT: &str = "<script>alert(1)</script>";
const BACKWARDS: &str = "\u{202e}drawkcab \"><img src=x onerror=alert(1)>";

/// A fleet of one device, a package of two versions, and a deployment, by the API.
async fn furnished(api: &Api) -> (String, String) {
    api.post("packages", &json!({"name": "main"})).await.expect(201);
    for version in ["1.0.0", "1.1.0"] {
        api.artifact("main", version, 64).await;
    }
    // As former versions let a cohort be called.
    let (actor, project) = (Actor::named("bootstrap"), api.control.view().default_project().id);
    let cohort = api
        .control
        .create_cohort(&actor, project, CohortName::kept(BACKWARDS).unwrap());
    let cohort = cohort.await.unwrap().id.to_string();
    let device = json!({"name": "lamp-1", "cohort": cohort, "tags": [SCRIPT]});
    let made = api.post("devices", &device).await;
    // A tag may be refused for what it is; the page must bear it where it is not.
    if made.status != 201 {
        api.post("devices", &json!({"name": "lamp-1", "cohort": cohort}))
            .await
            .expect(201);
    }
    let order = json!({"name": SCRIPT, "artifacts": [{"package": "main", "version": "1.0.0"}]});
    let made = api
        .post(&format!("cohorts/{cohort}/deployments"), &order)
        .await
        .expect(201);
    (cohort, made["id"].as_str().unwrap().to_owned())
}

async fn device_id(api: &Api) -> String {
    let devices = api.get("devices").await.expect(200);
    devices["items"][0]["id"].as_str().unwrap().to_owned()
}

fn pages(cohort: &str, deployment: &str, device: &str) -> Vec<String> {
    [
        String::new(),
        "/cohorts".to_owned(),
        format!("/cohorts/{cohort}"),
        format!("/cohorts/{cohort}/progress"),
        format!("/cohorts/{cohort}/devices"),
        format!("/cohorts/{cohort}/settings"),
        format!("/deployments/{deployment}"),
        "/packages".to_owned(),
        "/packages/main".to_owned(),
        "/devices".to_owned(),
        format!("/devices/{device}"),
        "/traffic".to_owned(),
        "/audit".to_owned(),
        "/settings".to_owned(),
    ]
    .map(|below| format!("{P}{below}"))
    .to_vec()
}

#[tokio::test]
async fn no_page_holds_what_a_policy_without_inline_script_would_refuse() {
    let api = Api::start().await;
    let (cohort, deployment) = furnished(&api).await;
    let mut browser = Browser::signed_in(&api, "admin").await;
    for address in pages(&cohort, &deployment, &device_id(&api).await) {
        let page = browser.get(&address).await.expect(200);
        for element in page.root.descendants() {
            let inline = element.name() == "script" && element.attribute("src").is_none();
            assert!(
                !inline && element.name() != "style",
                "{address}: {}",
                element.name()
            );
            for (name, _) in element.attributes() {
                assert!(name != "style" && !name.starts_with("on"), "{address}: {name}");
            }
        }
        assert!(
            !page.html.contains(SCRIPT) && !page.html.contains("<img src=x"),
            "{address}"
        );
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("script-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let headings = page.root.all("h1");
        assert_eq!(headings.len(), 1, "{address} has one h1");
    }
}

#[tokio::test]
async fn a_reader_sees_every_page_and_nothing_that_changes_anything() {
    let api = Api::start().await;
    let (cohort, deployment) = furnished(&api).await;
    let mut browser = Browser::signed_in(&api, "read").await;
    for address in pages(&cohort, &deployment, &device_id(&api).await) {
        let page = browser.get(&address).await.expect(200);
        let posts = page.root.all("form").into_iter().filter(|form| {
            form.attribute("method") == Some("post")
                && form.attribute("action") != Some("/sign-out")
                && !form.all("button").is_empty()
        });
        let forms: Vec<_> = posts.map(|form| form.text()).collect();
        assert!(forms.is_empty(), "{address} offers {forms:?}");
        for text in ["Deploy", "Roll back", "Upload", "Create device", "Add devices"] {
            assert!(page.links(text).is_empty(), "{address} offers {text}");
        }
    }
    let cohort = format!("{P}/cohorts/{cohort}");
    for (address, fields) in [
        (format!("{P}/cohorts"), &[("name", "x")][..]),
        (format!("{P}/packages"), &[("name", "x")]),
        (format!("{P}/settings/keys"), &[("name", "x"), ("role", "read")]),
        (format!("{P}/settings/device-cas"), &[("pem", "x")]),
        (format!("{cohort}/settings"), &[]),
        (
            format!("{cohort}/deploy"),
            &[("name", "x"), ("version:main", "1.1.0")],
        ),
    ] {
        let page = browser.post(&address, fields).await;
        assert_eq!(page.status, 403, "{address}: {}", page.text());
    }
    let made = api.get("packages?name=x").await.expect(200);
    assert_eq!(made["items"], json!([]));
}

#[tokio::test]
async fn a_set_is_chosen_reviewed_and_started_and_the_history_rolls_back() {
    let api = Api::start().await;
    let (cohort, _) = furnished(&api).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let cohort_page = format!("{P}/cohorts/{cohort}");
    let deploy = format!("{cohort_page}/deploy");

    let page = browser.get(&deploy).await.expect(200);
    let chosen = [("name", "second"), ("version:main", "1.1.0"), ("step", "review")];
    let review = browser.submit(&page, &deploy, &chosen).await.expect(200);
    review.says("1.0.0");
    review.says("1.1.0");
    assert!(
        !review
            .root
            .all("input")
            .iter()
            .any(|input| input.attribute("name") == Some("confirm")),
        "an upgrade asks for no typing: {}",
        review.text()
    );
    let started = browser.submit(&review, &deploy, &[]).await.expect(200);
    assert!(
        started.address.contains("/deployments/dep_"),
        "{}",
        started.address
    );
    started.says("second");

    let history = browser.get(&cohort_page).await.expect(200);
    let rows = history.rows("history");
    assert_eq!(rows[0][1], "main", "{rows:?}");
    assert!(
        rows[1][0].contains("second") && rows[1][0].contains("active"),
        "{rows:?}"
    );
    assert!(
        rows[1][1].contains("1.1.0") && rows[1][1].contains("upgrade"),
        "{rows:?}"
    );
    assert!(
        rows[2][1].contains("1.0.0") && rows[2][1].contains("added"),
        "{rows:?}"
    );

    // Back is a deployment like any other, and wants the cohort's name as it goes down.
    let back = history
        .root
        .all("a")
        .into_iter()
        .find(|link| link.text().trim() == "Roll back")
        .and_then(|link| link.attribute("href"))
        .unwrap()
        .to_owned();
    let page = browser.get(&back).await.expect(200);
    let fields = [("name", "back"), ("step", "review")];
    let review = browser.submit(&page, &deploy, &fields).await.expect(200);
    let refused = browser
        .submit(&review, &deploy, &[("confirm", "no")])
        .await
        .expect(422);
    let started = browser
        .submit(&refused, &deploy, &[("confirm", BACKWARDS)])
        .await
        .expect(200);
    assert!(
        started.address.contains("/deployments/dep_"),
        "{}",
        started.text()
    );
    let rows = browser.get(&cohort_page).await.rows("history");
    assert!(
        rows[1][1].contains("1.0.0") && rows[1][1].contains("downgrade"),
        "{rows:?}"
    );
    assert_eq!(rows.len(), 4, "{rows:?}");
}

#[tokio::test]
async fn a_review_gone_stale_comes_back_with_the_fresh_difference_and_starts_nothing() {
    let api = Api::start().await;
    let (cohort, _) = furnished(&api).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let deploy = format!("{P}/cohorts/{cohort}/deploy");
    let page = browser.get(&deploy).await.expect(200);
    let chosen = [("name", "mine"), ("version:main", "1.1.0"), ("step", "review")];
    let review = browser.submit(&page, &deploy, &chosen).await.expect(200);

    let theirs = json!({"name": "theirs", "artifacts": [{"package": "main", "version": "1.1.0"}]});
    api.post(&format!("cohorts/{cohort}/deployments"), &theirs)
        .await
        .expect(201);
    let again = browser.submit(&review, &deploy, &[]).await;
    again.says("theirs");
    again.says("Nothing was started");
    assert!(!again.address.contains("/deployments/"), "{}", again.address);
    let listed = api
        .get(&format!("cohorts/{cohort}/deployments"))
        .await
        .expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    // What is shown now is against what is active now, and can be started.
    let started = browser.submit(&again, &deploy, &[]).await.expect(200);
    assert!(
        started.address.contains("/deployments/dep_"),
        "{}",
        started.text()
    );
}

#[tokio::test]
async fn a_key_is_made_shown_once_and_revoked_in_the_settings() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "admin").await;
    let settings = format!("{P}/settings");
    let keys = format!("{settings}/keys");
    let page = browser.get(&settings).await.expect(200);
    let fields = [("name", SCRIPT), ("role", "deploy"), ("days", "30")];
    let made = browser.submit(&page, &keys, &fields).await;
    let made = if made.status == 422 {
        let fields = [("name", "ci"), ("role", "deploy"), ("days", "30")];
        browser.submit(&made, &keys, &fields).await
    } else {
        made
    };
    let text = made.text();
    let key = text
        .split_whitespace()
        .find(|word| word.starts_with("tsk_"))
        .unwrap()
        .to_owned();
    let shown = browser.get(&settings).await.expect(200);
    shown.does_not_say(&key);
    for (days, accepted) in [("0", "1 to 3650"), ("soon", "1 to 3650"), ("99999", "1 to 3650")] {
        let fields = [("name", "late"), ("role", "read"), ("days", days)];
        let page = browser.get(&settings).await;
        browser
            .submit(&page, &keys, &fields)
            .await
            .expect(422)
            .says(accepted);
    }
    let mut other = Browser::new(&api);
    other.sign_in(&key).await;
    other.get(P).await.expect(200).says("Overview");

    let rows = shown.part("keys").all("a");
    let revoke = rows
        .last()
        .and_then(|link| link.attribute("href"))
        .unwrap()
        .to_owned();
    browser.get(&revoke).await.expect(200);
    browser.post(&revoke, &[]).await.expect(200).says("is revoked");
    let turned = other.ask("GET", P, &[], &[]).await;
    assert_eq!(turned.status, 303, "its session ended with it");

    let mut deployer = Browser::signed_in(&api, "deploy").await;
    deployer.get(&settings).await.expect(200).does_not_say("API keys");
    let refused = deployer.ask("GET", &revoke, &[], &[SAME_ORIGIN]).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn the_audit_tells_who_did_what_and_filters_in_its_address() {
    let api = Api::start().await;
    furnished(&api).await;
    let mut browser = Browser::signed_in(&api, "admin").await;
    let all: Page = browser.get(&format!("{P}/audit")).await.expect(200);
    all.says("deployment.create");
    all.says("key.create");
    let page = browser
        .get(&format!("{P}/audit?action=cohort.create"))
        .await
        .expect(200);
    let rows = page.rows("audit");
    assert_eq!(rows.len(), 2, "{rows:?}");
    page.says("bootstrap");
    let none = browser.get(&format!("{P}/audit?actor=nobody")).await.expect(200);
    none.says("Nothing matches the filter");
    let wrong = browser.get(&format!("{P}/audit?pageToken=x")).await;
    assert_eq!(wrong.status, 422, "{}", wrong.text());

    let mut reader = Browser::signed_in(&api, "read").await;
    let seen = reader
        .get(&format!("{P}/audit?action=key.create"))
        .await
        .expect(200);
    seen.says("Nothing matches the filter");
}

#[tokio::test]
async fn what_is_said_on_the_next_page_is_the_last_of_it() {
    let api = Api::start().await;
    let made = api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    let mut browser = Browser::new(&api);
    browser.sign_in(KEY).await;
    let csrf = browser.csrf.clone();
    let push = format!("/projects/default/devices/{}/push", made["id"].as_str().unwrap());
    for _ in 0..100 {
        let fields = [("csrf", csrf.as_str())];
        let answer = browser.ask("POST", &push, &fields, &[SAME_ORIGIN]).await;
        assert_eq!(answer.status, 303, "{}", answer.html);
    }
    let page = browser.get("/projects/default/cohorts").await.expect(200);
    assert_eq!(page.html.matches("class=\"notice").count(), 8, "{}", page.html);
}
