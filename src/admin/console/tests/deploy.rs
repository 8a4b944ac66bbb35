//! The wizard: what is chosen, what is reviewed, what starts, and what comes back instead.

use axum::http::header;
use serde_json::{Value, json};

use super::{Api, Browser, Page, SAME_ORIGIN};
use crate::control::SessionFacts;

#[tokio::test]
async fn a_deployment_is_chosen_reviewed_started_and_shown() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    api.artifact("main", "1.0.0", 2048).await;
    api.artifact("main", "1.1.0", 4096).await;
    for name in ["lamp-1", "lamp-2", "lamp-3"] {
        device(&api, name, &cohort).await;
    }
    connect(&api, "lamp-2").await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let wizard = address(&cohort);

    let first = browser.get(&wizard).await.expect(200);
    first.says("not deployed");
    assert_eq!(current_step(&first), "1 Name and packages");
    let offered = options(&first, "main");
    assert_eq!(offered[0], "Not in this deployment");
    assert!(offered[1].starts_with("1.1.0 · 4.0 KiB · 20"), "{offered:?}");
    assert!(offered[2].starts_with("1.0.0 · 2.0 KiB · 20"), "{offered:?}");
    let name = value(&first, "name");
    assert!(name.ends_with('Z') && name.starts_with("20"), "{name}");

    let review = browser
        .submit(&first, &wizard, &[("step", "review"), ("version:main", "1.1.0")])
        .await
        .expect(200);
    assert_eq!(current_step(&review), "2 Review");
    let tiles = review.root.all("dd");
    let tiles: Vec<_> = tiles.iter().map(|tile| tile.text()).collect();
    assert_eq!(tiles, ["3", "1", "4.0 KiB", "12.0 KiB", "–"]);
    review.says("Estimated time: no rollout to measure by yet.");
    assert_eq!(
        groups(&review),
        [("Added 1", vec!["+ main not there 1.1.0 4.0 KiB"])].map(owned)
    );
    assert!(!asks(&review), "an addition needs no confirmation");

    let done = browser.submit(&review, &wizard, &[]).await.expect(200);
    assert!(done.address.contains("/deployments/dep_"), "{}", done.address);
    done.says(&format!("Deployment “{name}” (#1) started for 3 devices."));
    let made = &deployments(&api, "lamps").await[0];
    assert_eq!(made["name"], *name);
    assert_eq!(made["artifacts"][0]["version"], "1.1.0");
    assert!(
        made["author"].as_str().unwrap().starts_with("deploy "),
        "{made:#}"
    );

    let again = browser.get(&wizard).await.expect(200);
    assert_eq!(
        chosen(&again, "main"),
        "1.1.0",
        "the active set is where it starts"
    );
    let offered = options(&again, "main");
    assert!(offered[1].ends_with("· active"), "{offered:?}");
    assert!(offered[2].starts_with("↓ 1.0.0"), "{offered:?}");
}

#[tokio::test]
async fn a_name_is_typed_exactly_where_something_goes_back_is_removed_or_would_be_rejected() {
    // From the active set to the next one; whether it asks, and what for. A stock device takes one package.
    let rejected = "would be rejected by a stock device";
    for (active, next, reasons) in [
        (&[][..], &["main@1.1"][..], &[][..]),
        (&["main@1.0"], &["main@1.1"], &[]),
        (&["main@1.1"], &["main@1.1"], &[]),
        (&["main@1.1"], &["main@1.0"], &["goes back to an older version"]),
        (&["main@1.0"], &["boot@1.0"], &["removes a package"]),
        (&["main@1.0", "boot@1.0"], &["main@1.1"], &["removes a package"]),
        (
            &["main@1.1", "boot@1.0"],
            &["main@1.0"],
            &["goes back to an older version", "removes a package"],
        ),
        (&["main@1.0"], &["main@1.0", "boot@1.0"], &[rejected]),
        (&["main@1.0"], &["main@1.1", "boot@1.0"], &[rejected]),
    ] {
        let api = Api::start().await;
        let cohort = cohort(&api, "north-7").await;
        for (package, version) in [("main", "1.0"), ("main", "1.1"), ("boot", "1.0")] {
            api.artifact(package, version, 100).await;
        }
        if !active.is_empty() {
            deploy(&api, &cohort, "before", active).await;
        }
        let before = deployments(&api, "north-7").await.len();
        let mut browser = Browser::signed_in(&api, "deploy").await;
        let wizard = address(&cohort);
        let review = review(&mut browser, &cohort, "after", next).await;
        let case = format!("{active:?} to {next:?}");
        assert_eq!(asks(&review), !reasons.is_empty(), "{case}");
        for reason in reasons {
            review.says(reason);
        }
        if reasons.is_empty() {
            let done = browser.submit(&review, &wizard, &[]).await.expect(200);
            done.says("started for 0 devices");
            continue;
        }
        for typed in ["", "north", "NORTH-7"] {
            let back = browser
                .submit(&review, &wizard, &[("confirm", typed)])
                .await
                .expect(422);
            back.says("accepted: north-7. Nothing was started.");
            assert_eq!(value(&back, "confirm"), typed);
            assert_eq!(current_step(&back), "2 Review");
            assert_eq!(
                deployments(&api, "north-7").await.len(),
                before,
                "{case}: {typed:?}"
            );
        }
        let done = browser
            .submit(&review, &wizard, &[("confirm", " north-7 ")])
            .await
            .expect(200);
        done.says("started for 0 devices");
        assert_eq!(deployments(&api, "north-7").await.len(), before + 1, "{case}");
    }
}

#[tokio::test]
async fn what_is_removed_goes_back_or_stays_is_told_apart_and_only_what_changes_is_downloaded() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    for (package, version, size) in [
        ("assets", "7", 1024),
        ("boot", "2", 2048),
        ("main", "1.0", 3072),
        ("main", "1.1", 4096),
        ("modem", "3", 512),
    ] {
        api.artifact(package, version, size).await;
    }
    deploy(&api, &cohort, "before", &["boot@2", "main@1.1", "modem@3"]).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let page = review(
        &mut browser,
        &cohort,
        "after",
        &["assets@7", "boot@2", "main@1.0"],
    )
    .await;
    assert_eq!(
        groups(&page),
        [
            ("Added 1", vec!["+ assets not there 7 1.0 KiB"]),
            ("Changed 1", vec!["↓ main 1.1 1.0 downgrade 3.0 KiB"]),
            ("Removed 1", vec!["✕ modem 3 removed nothing"]),
            ("Unchanged 1", vec!["– boot 2 2 nothing"]),
        ]
        .map(owned)
    );
    page.says("Download for each 4.0 KiB");
    page.says("too-many-components 3 packages; a device takes 1");
    page.does_not_say("Nothing changes");

    let same = review(&mut browser, &cohort, "same", &["boot@2", "main@1.1", "modem@3"]).await;
    same.says("Nothing changes: this is what the cohort has already.");
    same.says("Estimated time: nothing to download.");
}

#[tokio::test]
async fn a_review_gone_stale_comes_back_with_the_fresh_difference_and_who_was_quicker() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    for version in ["1.0", "1.1", "1.2"] {
        api.artifact("main", version, 100).await;
    }
    deploy(&api, &cohort, "base", &["main@1.0"]).await;
    let wizard = address(&cohort);
    let mut one = Browser::signed_in(&api, "deploy").await;
    let mut other = Browser::signed_in(&api, "deploy").await;
    let first_step = other.get(&wizard).await;
    let slow = review(&mut one, &cohort, "slow", &["main@1.1"]).await;
    assert!(!asks(&slow));

    let quick = review(&mut other, &cohort, "quick", &["main@1.2"]).await;
    other.submit(&quick, &wizard, &[]).await.expect(200);
    let author = deployments(&api, "lamps").await[0]["author"]
        .as_str()
        .unwrap()
        .to_owned();

    let back = one.submit(&slow, &wizard, &[]).await.expect(409);
    back.says(&format!(
        "Nothing was started. Meanwhile {author} deployed quick (#2) just now."
    ));
    assert_eq!(deployments(&api, "lamps").await.len(), 2);
    assert_eq!(current_step(&back), "2 Review");
    assert_eq!(
        groups(&back),
        [("Changed 1", vec!["↓ main 1.2 1.1 downgrade 100 B"])].map(owned),
        "against what is active by now"
    );
    assert!(asks(&back), "it goes back by now");
    one.submit(&back, &wizard, &[("confirm", "lamps")])
        .await
        .expect(200)
        .says("“slow” (#3) started");

    // The first step is older than both; its review is of what is active, and says what came in between.
    let late = other
        .submit(&first_step, &wizard, &[("step", "review"), ("name", "late")])
        .await
        .expect(200);
    late.says("deployed slow (#3) just now, and 1 other before it.");
    late.does_not_say("Nothing was started");
}

#[tokio::test]
async fn a_start_that_is_sent_again_starts_nothing_more_and_leads_to_the_same_deployment() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    api.artifact("main", "1.0", 100).await;
    api.artifact("main", "1.1", 100).await;
    let wizard = address(&cohort);
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let mut click = Browser::new(&api);
    let page = review(&mut browser, &cohort, "once", &["main@1.0"]).await;
    click.cookie.clone_from(&browser.cookie);
    let sent = sent(&page, &wizard);
    let sent: Vec<_> = sent
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();

    // Both at the same time, then once more, then after a restart.
    let (first, second) = tokio::join!(
        browser.ask("POST", &wizard, &sent, &[SAME_ORIGIN]),
        click.ask("POST", &wizard, &sent, &[SAME_ORIGIN])
    );
    let made = first.redirect().unwrap();
    assert!(made.contains("/deployments/dep_"), "{made}");
    assert_eq!(second.redirect(), Some(made.clone()));
    let reload = browser.ask("POST", &wizard, &sent, &[SAME_ORIGIN]).await;
    assert_eq!(reload.redirect(), Some(made.clone()));
    assert_eq!(deployments(&api, "lamps").await.len(), 1);

    // The same review cannot start another set.
    let mut changed = sent.clone();
    for (name, value) in &mut changed {
        if *name == "version:main" {
            *value = "1.1";
        }
        if *name == "name" {
            *value = "twice";
        }
    }
    let back = browser
        .ask("POST", &wizard, &changed, &[SAME_ORIGIN])
        .await
        .expect(200);
    back.says("This review was used already, for another set.");
    assert_eq!(deployments(&api, "lamps").await.len(), 1);
    let cookie = browser.cookie.clone();

    let api = api.restart().await;
    let mut browser = Browser::new(&api);
    browser.cookie = cookie;
    let reload = browser.ask("POST", &wizard, &sent, &[SAME_ORIGIN]).await;
    assert_eq!(reload.redirect(), Some(made));
    assert_eq!(deployments(&api, "lamps").await.len(), 1);
}

#[tokio::test]
async fn a_refusal_comes_back_at_its_field_with_everything_kept() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    let long = |letter: &str| letter.repeat(63);
    api.artifact("main", "1.0", 100).await;
    api.artifact("main", "1.1", 100).await;
    deploy(&api, &cohort, "taken", &["main@1.0"]).await;
    for letter in ["a", "b", "c", "d"] {
        api.artifact(&long(letter), &long("9"), 100).await;
    }
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let too_large: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|letter| format!("{}@{}", long(letter), long("9")))
        .collect();
    let too_large: Vec<_> = too_large.iter().map(String::as_str).collect();
    for (name, set, part, said) in [
        (
            "taken",
            &["main@1.1"][..],
            "name-wrong",
            "deployment \"taken\" exists already",
        ),
        ("", &["main@1.1"], "name-wrong", "accepted: 1 to 100 characters"),
        (
            "x",
            &[],
            "packages-wrong",
            "a deployment of nothing; name at least one package version",
        ),
        (
            "x",
            &too_large,
            "packages-wrong",
            "bytes and devices take at most 1024",
        ),
        (
            "x",
            &["main@9"],
            "wrong-",
            "there is no artifact \"main@9\"; there are: 1.1, 1.0",
        ),
        (
            "x",
            &["gone@1"],
            "wrong-",
            "there is no package \"gone\"; there are: ",
        ),
    ] {
        let page = review(&mut browser, &cohort, name, set).await;
        let page = page.expect(422);
        assert_eq!(current_step(&page), "1 Name and packages", "{name:?} {set:?}");
        let field = page
            .root
            .descendants()
            .into_iter()
            .find(|element| element.attribute("id").is_some_and(|id| id.starts_with(part)));
        let said_there = field.unwrap_or_else(|| panic!("{part}: {}", page.text())).text();
        assert!(said_there.contains(said), "{said_there}");
        assert_eq!(value(&page, "name"), name);
        for wanted in set {
            let (package, version) = wanted.split_once('@').unwrap();
            assert_eq!(chosen(&page, package), version, "{wanted} is kept");
        }
        let described = page.root.descendants().into_iter().any(|element| {
            element
                .attribute("aria-describedby")
                .is_some_and(|ids| ids.contains(part))
        });
        assert!(described, "{part} is said at its field");
    }
    // A version that goes between the review and the start.
    let page = review(&mut browser, &cohort, "x", &["main@1.1"])
        .await
        .expect(200);
    api.delete("packages/main/artifacts/1.1").await.expect(204);
    let page = browser.submit(&page, &address(&cohort), &[]).await.expect(422);
    page.says("there is no artifact \"main@1.1\"");
    // So does a name, where what is active is the same.
    assert_eq!(deployments(&api, "lamps").await.len(), 1);
}

#[tokio::test]
async fn rolling_back_fills_the_wizard_in_with_that_set() {
    let api = Api::start().await;
    let (lamps, posts) = (cohort(&api, "lamps").await, cohort(&api, "posts").await);
    for (package, version) in [("main", "1.0"), ("main", "1.1"), ("boot", "1")] {
        api.artifact(package, version, 100).await;
    }
    let old = deploy(&api, &lamps, "old", &["main@1.0"]).await;
    deploy(&api, &lamps, "new", &["main@1.1", "boot@1"]).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let page = browser
        .get(&format!("{}?from={old}", address(&lamps)))
        .await
        .expect(200);
    page.says("Filled in with the set of old (#1).");
    assert_eq!(
        (chosen(&page, "main"), chosen(&page, "boot")),
        ("1.0".into(), String::new())
    );
    assert_eq!(value(&page, "name"), "back to old");
    let review = browser
        .submit(&page, &address(&lamps), &[("step", "review")])
        .await
        .expect(200);
    review.says("goes back to an older version and removes a package");

    // Going back keeps what was chosen.
    let back = review.links("Back");
    let first = browser.get(&back[0]).await.expect(200);
    assert_eq!(
        (chosen(&first, "main"), chosen(&first, "boot")),
        ("1.0".into(), String::new())
    );
    assert_eq!(value(&first, "name"), value(&page, "name"));

    let elsewhere = browser
        .get(&format!("{}?from={old}", address(&posts)))
        .await
        .expect(200);
    elsewhere.says("the set of old (#1) of cohort lamps.");
    for wrong in ["dep_999", "nonsense"] {
        let page = browser
            .get(&format!("{}?from={wrong}", address(&lamps)))
            .await
            .expect(404);
        page.says(wrong);
    }
    browser
        .get("/projects/default/cohorts/coh_999/deploy")
        .await
        .expect(404);
}

#[tokio::test]
async fn many_versions_and_packages_are_bounded_and_each_can_still_be_had() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    for number in 0..103 {
        api.artifact("main", &format!("1.{number}"), 10).await;
    }
    for number in 0..9 {
        api.artifact(&format!("extra-{number}"), "1", 10).await;
    }
    api.post("packages", &json!({"name": "empty"})).await.expect(201);
    deploy(&api, &cohort, "first", &["main@1.0"]).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let wizard = address(&cohort);
    let page = browser.get(&wizard).await.expect(200);
    let offered = options(&page, "main");
    assert_eq!(
        offered.len(),
        1 + 100 + 1,
        "none, the newest hundred, and the active one"
    );
    assert!(offered[1].contains("1.102"), "{}", offered[1]);
    page.says("or one of 2 older:");
    let select = |page: &Page, package: &str| {
        page.root
            .all("select")
            .iter()
            .any(|select| select.attribute("name") == Some(format!("version:{package}").as_str()))
    };
    assert!(!select(&page, "extra-1"), "not all of many packages are offered");

    let typed = [("step", "review"), ("name", "typed"), ("other:main", "1.1")];
    let review = browser.submit(&page, &wizard, &typed).await.expect(200);
    assert_eq!(
        groups(&review),
        [("Changed 1", vec!["↑ main 1.0 1.1 10 B"])].map(owned)
    );

    let added = browser
        .submit(&page, &wizard, &[("step", "add"), ("add", "extra-1")])
        .await
        .expect(200);
    assert_eq!(chosen(&added, "extra-1"), "1", "in its newest version");
    // Enter in the field of the package to be added does the same.
    let enter = browser
        .submit(&added, &wizard, &[("step", "review"), ("add", "empty")])
        .await
        .expect(200);
    enter.says("no versions yet");
    assert_eq!(chosen(&enter, "extra-1"), "1");
    let none = browser
        .submit(&page, &wizard, &[("step", "add"), ("add", "nope")])
        .await
        .expect(422);
    none.says("there is no package \"nope\"; there are: ");
    assert_eq!(value(&none, "add"), "nope");
}

#[tokio::test]
async fn where_there_is_nothing_to_deploy_the_page_says_what_comes_first() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let page = browser.get(&address(&cohort)).await.expect(200);
    page.says("There are no packages yet.");
    assert_eq!(page.links("Upload a version"), ["/projects/default/packages"]);
    assert!(!page.has_form(&address(&cohort)));
    api.post("packages", &json!({"name": "main"})).await.expect(201);
    let page = browser.get(&address(&cohort)).await.expect(200);
    page.says("The packages there are have no versions yet.");
}

#[tokio::test]
async fn a_reader_is_shown_no_wizard_and_starts_nothing() {
    let api = Api::start().await;
    let cohort = cohort(&api, "lamps").await;
    api.artifact("main", "1.0", 100).await;
    let mut deployer = Browser::signed_in(&api, "deploy").await;
    let page = review(&mut deployer, &cohort, "x", &["main@1.0"]).await;
    let fields = sent(&page, &address(&cohort));

    let mut reader = Browser::signed_in(&api, "read").await;
    let refused = reader.get(&address(&cohort)).await.expect(403);
    refused.says("has the role read; this needs deploy");
    reader.get("/projects/default").await;
    let fields: Vec<_> = fields
        .iter()
        .filter(|(name, _)| name != "csrf")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    reader
        .post(&address(&cohort), &fields)
        .await
        .expect(403)
        .says("this needs deploy");

    // Without the session's token, and from elsewhere.
    let mut forged = fields.clone();
    forged.push(("csrf", "0"));
    deployer
        .ask("POST", &address(&cohort), &forged, &[SAME_ORIGIN])
        .await
        .expect(403);
    let own = sent(&page, &address(&cohort));
    let own: Vec<_> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let cross = [("sec-fetch-site", "cross-site")];
    deployer
        .ask("POST", &address(&cohort), &own, &cross)
        .await
        .expect(403);
    // Without the token of a review.
    let tokenless: Vec<_> = own.iter().copied().filter(|(name, _)| *name != "token").collect();
    deployer
        .ask("POST", &address(&cohort), &tokenless, &[SAME_ORIGIN])
        .await
        .expect(400);
    assert!(deployments(&api, "lamps").await.is_empty());

    let mut nobody = Browser::new(&api);
    let page = nobody.ask("GET", &address(&cohort), &[], &[]).await.expect(303);
    assert!(
        page.headers[header::LOCATION]
            .to_str()
            .unwrap()
            .starts_with("/sign-in?next=")
    );
}

#[tokio::test]
async fn names_are_text_whatever_is_in_them() {
    let api = Api::start().await;
    let hostile = "<script>alert('1')</script>\"& \u{5e9}\u{5dc}\u{5d5}\u{5dd}";
    let cohort = cohort(&api, hostile).await;
    api.artifact(&"p".repeat(63), &"1".repeat(63), 100).await;
    let set = format!("{}@{}", "p".repeat(63), "1".repeat(63));
    deploy(&api, &cohort, hostile, &[&set]).await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let wizard = address(&cohort);
    let first = browser.get(&wizard).await.expect(200);
    let page = review(&mut browser, &cohort, "<b>bold</b>", &[&set])
        .await
        .expect(200);
    let id = deployments(&api, &cohort).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = browser
        .get(&format!("/projects/default/deployments/{id}"))
        .await
        .expect(200);
    for page in [&first, &page, &shown] {
        assert!(!page.html.contains("<script>alert"), "{}", page.html);
        assert!(!page.html.contains("<b>bold"), "{}", page.html);
        page.says(hostile);
    }
    // What is to be typed is exactly the name.
    let done = browser
        .submit(&page, &wizard, &[("confirm", hostile)])
        .await
        .expect(200);
    done.says("<b>bold</b>");
}

pub async fn cohort(api: &Api, name: &str) -> String {
    let made = api.post("cohorts", &json!({"name": name})).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

pub async fn device(api: &Api, name: &str, cohort: &str) {
    let device = json!({"name": name, "cohort": cohort, "credentials": [{"type": "psk", "secret": "s"}]});
    api.post("devices", &device).await.expect(201);
}

/// Gives a device a session for as long as the process lives.
pub async fn connect(api: &Api, name: &str) -> std::sync::Arc<crate::control::DeviceEntry> {
    let identity = format!("{name}-id@default");
    let access = api.control.device_by_identity(identity.as_bytes()).await;
    let access = access.unwrap().unwrap();
    let session = SessionFacts {
        shard: 0,
        peer: "192.0.2.1:40000".parse().unwrap(),
        suite: "TLS_PSK_WITH_AES_128_CCM_8",
        connection_id: None,
        credential: Some(access.credential),
        since_ms: 1_700_000_000_000,
        serial: 1,
    };
    api.control.connected(&access.entry, session);
    std::mem::forget(std::sync::Arc::clone(&access.entry));
    access.entry
}

/// Deploys by the API.
pub async fn deploy(api: &Api, cohort: &str, name: &str, set: &[&str]) -> String {
    let artifacts: Vec<Value> = set
        .iter()
        .map(|one| one.split_once('@').unwrap())
        .map(|(package, version)| json!({"package": package, "version": version}))
        .collect();
    let order = json!({"name": name, "artifacts": artifacts});
    let made = api
        .post(&format!("cohorts/{cohort}/deployments"), &order)
        .await
        .expect(201);
    made["id"].as_str().unwrap().to_owned()
}

async fn deployments(api: &Api, cohort: &str) -> Vec<Value> {
    let listed = api
        .get(&format!("cohorts/{cohort}/deployments"))
        .await
        .expect(200);
    listed["items"].as_array().unwrap().clone()
}

fn address(cohort: &str) -> String {
    format!("/projects/default/cohorts/{cohort}/deploy")
}

/// The review of a set, as the first step would ask for it.
async fn review(browser: &mut Browser<'_>, cohort: &str, name: &str, set: &[&str]) -> Page {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("seen", "unknown")
        .append_pair("step", "review")
        .append_pair("name", name);
    for one in set {
        let (package, version) = one.split_once('@').unwrap();
        query.append_pair(&format!("version:{package}"), version);
    }
    browser
        .get(&format!("{}?{}", address(cohort), query.finish()))
        .await
}

/// What the form that starts it sends.
fn sent(page: &Page, action: &str) -> Vec<(String, String)> {
    super::form_fields(page.form(action))
}

/// Whether a page wants the cohort's name typed.
fn asks(page: &Page) -> bool {
    page.root
        .all("input")
        .iter()
        .any(|input| input.attribute("name") == Some("confirm"))
}

fn value(page: &Page, name: &str) -> String {
    let inputs = page.root.all("input");
    let input = inputs.iter().find(|input| input.attribute("name") == Some(name));
    input.unwrap().attribute("value").unwrap().to_owned()
}

fn current_step(page: &Page) -> String {
    let items = page.root.all("li");
    let step = items
        .iter()
        .find(|item| item.attribute("aria-current") == Some("step"))
        .unwrap();
    step.text()
}

fn selected<'a>(page: &'a Page, package: &str) -> &'a super::Element {
    let name = format!("version:{package}");
    let selects = page.root.all("select");
    let found = selects
        .into_iter()
        .find(|select| select.attribute("name") == Some(name.as_str()));
    found.unwrap_or_else(|| panic!("no choice of {package}: {}", page.text()))
}

/// The versions that are offered, as they are read.
fn options(page: &Page, package: &str) -> Vec<String> {
    selected(page, package)
        .all("option")
        .iter()
        .map(|option| option.text())
        .collect()
}

/// The version that is chosen; empty is none.
fn chosen(page: &Page, package: &str) -> String {
    let options = selected(page, package).all("option");
    let option = options
        .iter()
        .find(|option| option.attribute("selected").is_some());
    option.map_or_else(String::new, |option| {
        option.attribute("value").unwrap().to_owned()
    })
}

/// What a review says happens, by group.
fn groups(page: &Page) -> Vec<(String, Vec<String>)> {
    let bodies = page.root.all("tbody");
    let group = |body: &&super::Element| {
        let mut lines = body.all("tr").into_iter().map(super::Element::text);
        (lines.next().unwrap(), lines.collect())
    };
    bodies.iter().map(group).collect()
}

fn owned((name, lines): (&str, Vec<&str>)) -> (String, Vec<String>) {
    (name.to_owned(), lines.into_iter().map(str::to_owned).collect())
}
