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
    page.does_not_say("create another first");
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
async fn the_admin_key_that_has_to_stay_is_not_offered_to_be_revoked() {
    let api = Api::start().await;
    let mut browser = Browser::new(&api);
    browser.sign_in(KEY).await;
    let settings = format!("{P}/settings");
    let alone = browser.get(&settings).await.expect(200);
    assert_eq!(alone.links("Revoke"), [""; 0]);
    alone.says("create another first");
    // One that ends does not replace it; one that lasts as long does.
    let ends = crate::admin::shapes::time(crate::clock::unix_ms() + 3_600_000);
    for (key, offered) in [
        (json!({"name": "ends", "role": "admin", "expiresAt": ends}), 1),
        (json!({"name": "stays", "role": "admin"}), 3),
    ] {
        api.post("keys", &key).await.expect(201);
        let page = browser.get(&settings).await.expect(200);
        assert_eq!(page.links("Revoke").len(), offered, "{key}");
    }
}

#[tokio::test]
async fn a_ca_is_deleted_once_it_was_said_what_follows() {
    let api = Api::start().await;
    let body = json!({"pem": crate::admin::tests::device_cas::CA_PEM, "name": "factory", "zeroTouch": true});
    api.post("device-cas", &body).await.expect(201);
    let settings = format!("{P}/settings");
    let mut browser = Browser::signed_in(&api, "admin").await;
    let page = browser.get(&settings).await.expect(200);
    let links = page.part("cas").all("a");
    let delete = links
        .last()
        .and_then(|link| link.attribute("href"))
        .unwrap()
        .to_owned();
    let asked = browser.get(&delete).await.expect(200);
    asked.says("Delete the CA factory?");
    asked.says("It vouches for 0 certificates.");
    asked.says("created no more");
    browser.get(&settings).await.expect(200).says("factory");

    let mut reader = Browser::signed_in(&api, "read").await;
    let refused = reader.ask("GET", &delete, &[], &[SAME_ORIGIN]).await;
    assert_eq!(refused.status, 403);

    let deleted = browser.post(&delete, &[]).await.expect(200);
    deleted.says("is believed no more");
    assert_eq!(browser.get(&delete).await.status, 404);
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
    let unread = browser
        .get(&format!("{P}/audit?since=yesterday"))
        .await
        .expect(422);
    unread.says("Nothing was looked for: the filter cannot be used as it is.");
    unread.does_not_say("Nothing like that was done");
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

/// Packages may be called as ids are.
#[tokio::test]
async fn a_line_of_the_audit_is_about_what_was_done_and_not_about_what_its_subject_looks_like() {
    let api = Api::start().await;
    furnished(&api).await;
    let key = json!({"name": "payroll of the night shift", "role": "admin"});
    let key = api.post("keys", &key).await.expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let device = api.get("devices").await.expect(200)["items"][0].clone();
    let (device, name) = (device["id"].as_str().unwrap(), device["name"].as_str().unwrap());
    for package in [&key, device] {
        api.post("packages", &json!({"name": package})).await.expect(201);
    }
    let mut reader = Browser::signed_in(&api, "read").await;
    for address in [format!("{P}/audit?action=package.create"), P.to_owned()] {
        reader.get(&address).await.expect(200).does_not_say("payroll");
    }
    let page = reader
        .get(&format!("{P}/audit?subject={device}&action=package.create"))
        .await;
    let about: Vec<String> = page.rows("audit").iter().map(|row| row.join(" ")).collect();
    assert!(about.iter().any(|row| row.contains(device)), "{about:?}");
    assert!(!about.iter().any(|row| row.contains(name)), "{about:?}");
}

#[tokio::test]
async fn the_audit_is_filtered_by_time_and_the_filter_outlives_a_reload() {
    let api = Api::start().await;
    furnished(&api).await;
    let mut browser = Browser::signed_in(&api, "admin").await;
    let audit = format!("{P}/audit");
    let times = async |query: &str| {
        let lines = api.get(&format!("audit?{query}")).await.expect(200);
        let lines = lines["items"].as_array().unwrap().iter();
        let times = lines.map(|line| line["at"].as_str().unwrap().to_owned());
        times.collect::<Vec<_>>()
    };
    let made = times("action=cohort.create").await.remove(0);
    let all = times("").await.len();
    let page = browser.get(&audit).await.expect(200);
    assert_eq!(page.rows("audit").len(), 1 + all);
    // What a browser's field holds has no zone: it is UTC, as it says there.
    let field = made.trim_end_matches('Z');
    for (fields, query) in [
        (vec![("since", field)], format!("since={made}")),
        (vec![("until", field)], format!("until={made}")),
        (
            vec![
                ("since", field),
                ("action", "cohort.create"),
                ("actor", "bootstrap"),
            ],
            format!("since={made}&action=cohort.create"),
        ),
        (
            vec![("since", "2001-01-01T00:00"), ("until", "2001-01-02T00:00:00")],
            "until=2001-01-02T00:00:00Z".to_owned(),
        ),
    ] {
        let asked = times(&query).await.len();
        let found = browser.press(&page, "Filter", &fields).await.expect(200);
        let rows = |page: &Page| match page.part("audit").all("table").is_empty() {
            true => 0,
            false => page.rows("audit").len() - 1,
        };
        assert_eq!(rows(&found), asked, "{query}");
        let again = browser.press(&found, "Filter", &[]).await.expect(200);
        assert_eq!(rows(&again), asked, "{}", again.address);
        assert!(again.address.contains(&fields[0].1[..10]), "{}", again.address);
        assert_eq!(found.links("Clear"), [audit.as_str()]);
    }
    for (field, value, said) in [
        ("since", "yesterday", "RFC 3339"),
        ("until", "2026-02-30T00:00", "RFC 3339"),
        ("action", "cohort.dance", "cohort.create"),
    ] {
        let address = format!("{audit}?{field}={value}&actor=bootstrap");
        let page = browser.get(&address).await.expect(422);
        assert!(page.wrong(field).contains(said), "{}", page.wrong(field));
        assert!(page.html.contains("value=\"bootstrap\""), "the rest is kept");
        assert!(
            page.root.all("table").is_empty(),
            "and nobody is shown everything"
        );
    }
}

#[tokio::test]
async fn an_open_page_on_which_there_is_nothing_comes_alive_with_the_first_thing() {
    let api = Api::start().await;
    let cohort = api.post("cohorts", &json!({"name": "first"})).await.expect(201);
    let cohort = format!("{P}/cohorts/{}", cohort["id"].as_str().unwrap());
    let mut admin = Browser::signed_in(&api, "admin").await;
    let mut reader = Browser::signed_in(&api, "read").await;
    let addresses = [
        P.to_owned(),
        format!("{P}/packages"),
        format!("{P}/devices"),
        format!("{P}/devices?tag=blue"),
        cohort.clone(),
        format!("{cohort}/devices"),
        format!("{cohort}/progress"),
    ];
    let mut open = Vec::new();
    for address in &addresses {
        open.push((
            admin.get(address).await.expect(200),
            reader.get(address).await.expect(200),
        ));
    }
    api.artifact("payload", "1.0.0", 64).await;
    let device = json!({"name": "lamp-1", "cohort": "first", "tags": ["blue"]});
    api.post("devices", &device).await.expect(201);
    let order = json!({"name": "the rollout", "artifacts": [{"package": "payload", "version": "1.0.0"}]});
    api.post("cohorts/first/deployments", &order).await.expect(201);
    let mut counts = api.control.counts();
    for _ in 0..2 {
        counts.changed().await.unwrap();
    }
    let rows = [
        "the rollout",
        "payload",
        "lamp-1",
        "lamp-1",
        "the rollout",
        "lamp-1",
        "the rollout",
    ];
    for ((address, row), before) in addresses.iter().zip(rows).zip(&open) {
        for (browser, before) in [(&mut admin, &before.0), (&mut reader, &before.1)] {
            let now = browser.get(address).await.expect(200);
            assert!(now.part("main").text().contains(row), "{row}: {}", now.text());
            before.does_not_say(row);
            assert!(
                comes_alive(before, &now, row),
                "{address} stays as it is: {}",
                before.text()
            );
        }
    }

    // The list of cohorts, before there is one and after.
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let cohorts = format!("{P}/cohorts");
    let before = browser.get(&cohorts).await.expect(200);
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let now = browser.get(&cohorts).await.expect(200);
    assert!(comes_alive(&before, &now, "lamps"));
    let whole = now.part("whole").attribute("data-live");
    assert_eq!(whole, None, "what is typed into the search is nobody's to renew");
}

/// Whether the script would put what is read in `row` on the page: it is in a part of the page after, by the id that a live
/// part of the page before has.
fn comes_alive(before: &Page, now: &Page, row: &str) -> bool {
    let parts = before.root.descendants().into_iter();
    let live = parts.filter(|part| part.attribute("data-live").is_some());
    let ids = live.filter_map(|part| part.attribute("id"));
    let next = ids.filter_map(|id| now.root.by_id(id));
    next.into_iter().any(|part| part.text().contains(row))
}

#[tokio::test]
async fn what_is_not_there_is_said_in_a_page_with_the_way_back() {
    let api = Api::start().await;
    let (cohort, _) = furnished(&api).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let longest = "x".repeat(5000);
    for (address, said, back) in [
        (
            format!("{P}/nothing"),
            "there is no page /projects/default/nothing",
            None,
        ),
        (
            "/nothing/at/all".to_owned(),
            "there is no page /nothing/at/all",
            None,
        ),
        (format!("{P}/{longest}"), "there is no page", None),
        (
            format!("{P}/cohorts/coh_999"),
            "coh_999",
            Some(("Cohorts", "/cohorts")),
        ),
        (
            format!("{P}/cohorts/coh_999/deploy"),
            "coh_999",
            Some(("Cohorts", "/cohorts")),
        ),
        (
            format!("{P}/cohorts/{cohort}/nowhere"),
            "there is no page",
            Some(("Cohorts", "/cohorts")),
        ),
        (
            format!("{P}/deployments/dep_999"),
            "dep_999",
            Some(("Cohorts", "/cohorts")),
        ),
        (
            format!("{P}/packages/lost"),
            "lost",
            Some(("Packages", "/packages")),
        ),
        (
            format!("{P}/devices/dev_999"),
            "dev_999",
            Some(("Devices", "/devices")),
        ),
        (
            format!("{P}/devices/import/7"),
            "no longer kept",
            Some(("Devices", "/devices")),
        ),
        (
            format!("{P}/packages/%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
            "alert(1)",
            None,
        ),
        ("/projects/elsewhere/cohorts".to_owned(), "elsewhere", None),
    ] {
        let page = browser.get(&address).await.expect(404);
        page.says(said);
        assert!(page.html.len() < 20_000, "{address}");
        assert!(!page.html.contains("<script>alert"), "{}", page.html);
        let main = page.part("main");
        assert!(!main.all("a").is_empty(), "{address} has a way back");
        assert_eq!(
            page.links("Devices")[0],
            format!("{P}/devices"),
            "the navigation is there"
        );
        if let Some((text, below)) = back {
            let links = main.all("a");
            let back = links
                .iter()
                .find(|link| link.attribute("href") == Some(&format!("{P}{below}")));
            assert!(back.is_some(), "{address}: {text}: {}", page.text());
        }
        let head = browser.ask("HEAD", &address, &[], &[]).await.expect(404);
        assert_eq!(head.html, "", "{address}");
    }
    let wrong = browser
        .ask("POST", &format!("{P}/audit"), &[], &[SAME_ORIGIN])
        .await;
    wrong
        .expect(405)
        .says("POST cannot be done to /projects/default/audit");
    for address in [P.to_owned(), format!("{P}/devices"), "/sign-in".to_owned()] {
        let head = browser.ask("HEAD", &address, &[], &[]).await;
        assert!([200, 303].contains(&head.status), "{address}");
        assert_eq!(head.html, "", "{address}");
    }
    // Who is not signed in is shown no navigation, and the API answers as ever.
    let page = Browser::new(&api).get("/nothing").await.expect(404);
    assert_eq!(page.links("To the overview"), ["/"]);
    assert!(page.links("Devices").is_empty());
    let problem = browser.get("/v1/projects/default/nothing").await.expect(404);
    assert!(problem.html.starts_with('{'), "{}", problem.html);
    // What a role may not do is said in the same way.
    let mut reader = Browser::signed_in(&api, "read").await;
    let page = reader
        .get(&format!("{P}/cohorts/{cohort}/deploy"))
        .await
        .expect(403);
    page.says("this needs deploy");
    assert_eq!(page.links("Devices")[0], format!("{P}/devices"));
}

/// Of everything that a page lists there is more than fits it.
#[tokio::test]
async fn no_page_holds_more_than_a_screen_of_rows_or_choices_whatever_there_is() {
    const MANY: usize = 210;
    let api = Api::start().await;
    for number in 0..MANY {
        api.artifact("main", &number.to_string(), 8).await;
        let package = json!({"name": format!("part-{number}")});
        api.post("packages", &package).await.expect(201);
        let cohort = json!({"name": format!("site {number}")});
        let cohort = api.post("cohorts", &cohort).await.expect(201);
        for cohort in [cohort["name"].as_str().unwrap(), "site 0"] {
            let order = json!({"name": format!("release {number}"), "artifacts": [{"package": "main", "version": number.to_string()}]});
            let path = format!("cohorts/{}/deployments", cohort.replace(' ', "%20"));
            // The first cohort is the same twice.
            api.post(&path, &order).await;
        }
        let key = json!({"name": format!("key {number}"), "role": "read"});
        api.post("keys", &key).await.expect(201);
        let device = json!({"name": format!("lamp-{number}"), "cohort": "site 0"});
        api.post("devices", &device).await.expect(201);
    }
    let cohorts = api.get("cohorts?name=site%200").await.expect(200);
    let cohort = cohorts["items"][0]["id"].as_str().unwrap();
    let deployments = api
        .get(&format!("cohorts/{cohort}/deployments?limit=1"))
        .await
        .expect(200);
    let deployment = deployments["items"][0]["id"].as_str().unwrap();
    let mut addresses = pages(cohort, deployment, &device_id(&api).await);
    for more in [
        "/devices?search=lamp",
        "/devices?cohort=site+0&state=pending",
        "/devices/new",
        "/devices/import",
        "/cohorts?search=site",
        "/packages?search=part",
    ] {
        addresses.push(format!("{P}{more}"));
    }
    addresses.push(format!("{P}/cohorts/{cohort}/deploy"));
    addresses.push(format!("{P}/cohorts/{cohort}/devices/add"));
    let mut browser = Browser::signed_in(&api, "admin").await;
    for address in addresses {
        let page = browser.get(&address).await.expect(200);
        for table in page.root.all("table") {
            let rows = table.all("tr").len();
            assert!(rows <= 51, "{address}: {rows} rows");
        }
        for kind in ["select", "datalist"] {
            for list in page.root.all(kind) {
                let choices = list.all("option").len();
                assert!(choices <= 201, "{address}: {choices} choices");
            }
        }
        assert!(page.html.len() < 200_000, "{address}: {} bytes", page.html.len());
    }
    // The last page of the keys has the rest of them, and the first is the way back.
    let mut page = browser.get(&format!("{P}/settings")).await;
    let mut keys = page.part("keys").all("tr").len() - 1;
    while let Some(next) = page.links("Next page").pop() {
        page = browser.get(&next).await.expect(200);
        keys += page.part("keys").all("tr").len() - 1;
    }
    assert_eq!(keys, api.control.view().keys().len());
    assert_eq!(page.links("First page"), [format!("{P}/settings")]);
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
