//! A page that is brought up to date under somebody's hands.

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::devices::rows_are;
use crate::lamps;
use crate::support::{KEY, Server};

#[tokio::test]
async fn what_has_the_focus_keeps_it_while_the_page_is_brought_up_to_date() {
    let (server, lamp) = lamps();
    let cohort = server.cohort_id("lamps");
    server.deploy("lamps", "the first", &[("main", "1.0.0")]);
    let second = server.deploy("lamps", "the second", &[("main", "1.1.0")]);
    let second = second["id"].as_str().unwrap();
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    let mut round = 0;
    for (page, css) in [
        ("", "main [data-live] a"),
        ("/cohorts", "main tbody td a[href*='/deployments/']"),
        (
            &format!("/cohorts/{cohort}"),
            "#history tbody tr:last-child a.button",
        ),
        (&format!("/cohorts/{cohort}"), "#history .table-wrap"),
        (&format!("/cohorts/{cohort}"), ".actions a[href$='/deploy']"),
        (&format!("/deployments/{second}"), "#summary a"),
        (&format!("/deployments/{second}"), "#progress a"),
        ("/audit", "#audit"),
        ("/packages/main", "#versions tbody tr:last-child [data-copy]"),
        ("/devices", "#rows input[name=device]"),
        (&format!("/devices/{}", lamp.id), "#standing a"),
        (&format!("/devices/{}", lamp.id), "#who .button"),
    ] {
        round += 1;
        browser
            .open(&format!("{}/projects/default{page}", server.url()))
            .await;
        browser.is_live().await;
        let focus = "
            window.kept = document.querySelector(arguments[0]);
            window.kept?.focus();
            window.readings = 0;
            document.addEventListener('tessera:renewed', () => { window.readings += 1; });
            return document.activeElement === window.kept;";
        let focused = browser.run(focus, &[json!(css)]).await;
        assert_eq!(focused, true, "{css} on {page:?}");
        deploy(&server, round);
        browser.holds("return window.readings > 0", &[]).await;
        let kept = "return window.kept.isConnected && document.activeElement === window.kept";
        let kept = browser.run(kept, &[]).await;
        assert_eq!(kept, true, "{css} on {page:?} has lost the focus");
    }
    browser.end().await;
}

#[tokio::test]
async fn rows_wait_until_the_pointer_and_the_keyboard_have_left_their_list() {
    let (server, lamp) = lamps();
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/devices", server.url()))
        .await;
    browser.is_live().await;
    for round in ["by the pointer", "by the keyboard"] {
        let pointed = round == "by the pointer";
        let gone = server.done("POST", "devices", json!({"name": "fan-1"}));
        rows_are(&browser, &["lamp-1", "fan-1"]).await;
        if pointed {
            browser.point_at("#rows tbody tr:last-child").await;
        } else {
            browser
                .run("document.querySelector('#rows tbody input').focus()", &[])
                .await;
        }
        server.done(
            "DELETE",
            &format!("devices/{}", gone["id"].as_str().unwrap()),
            Value::Null,
        );
        // Its other cells are brought up to date, so the page was read after that.
        let tag = json!({"addTags": [round.replace(' ', "-")]});
        server.done("PATCH", &format!("devices/{}", lamp.id), tag);
        browser.says(&round.replace(' ', "-")).await;
        rows_are(&browser, &["lamp-1", "fan-1"]).await;
        if pointed {
            browser.point_at("h1").await;
        } else {
            browser.run("document.activeElement.blur()", &[]).await;
        }
        rows_are(&browser, &["lamp-1"]).await;
    }
    browser.end().await;
}

#[tokio::test]
async fn what_a_device_is_called_and_where_it_belongs_changes_on_its_page_and_what_is_typed_there_stays() {
    let (server, lamp) = lamps();
    let path = format!("devices/{}", lamp.id);
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/{path}", server.url()))
        .await;
    browser.is_live().await;
    browser.fill("#tags", "half a ta").await;
    server.done("POST", "cohorts", json!({"name": "posts"}));
    let change = json!({"cohort": "posts", "addTags": ["north"], "enabled": false});
    server.done("PATCH", &path, change);
    for (css, said) in [("#who", "posts"), ("#who", "north"), ("#enabled", "Enable")] {
        browser
            .returns(
                "return document.querySelector(arguments[0]).innerText.includes(arguments[1])",
                &[json!(css), json!(said)],
                &json!(true),
            )
            .await;
    }
    assert_eq!(browser.value("#tags").await, "half a ta");

    // A button that somebody is about to press stays what it is until the pointer has left it.
    browser.point_at("#enabled button").await;
    server.done("PATCH", &path, json!({"enabled": true, "addTags": ["south"]}));
    browser.says("south").await;
    assert_eq!(browser.text("#enabled").await, "Enable");
    browser.point_at("h1").await;
    browser.finds("#enabled a").await;
    browser.end().await;
}

#[tokio::test]
async fn a_page_that_answers_a_form_is_brought_up_to_date_as_well() {
    let (server, lamp) = lamps();
    let cohort = server.cohort_id("lamps");
    let mut browser = Chromium::start().await;
    browser.expects_losses();
    browser.sign_in(&server.url(), KEY).await;
    let project = format!("{}/projects/default", server.url());

    browser.open(&format!("{project}/devices/{}", lamp.id)).await;
    browser.fill("#tags", "no tag").await;
    browser.click("form:has(#tags) [type=submit]").await;
    browser.finds("#tags[aria-invalid=true]").await;
    browser.is_live().await;
    deploy(&server, 1);
    browser.says("round 1 (#1)").await;
    assert_eq!(browser.value("#tags").await, "no tag");

    browser.open(&format!("{project}/settings")).await;
    browser.fill("form[action$='/keys'] [name=name]", "ci").await;
    browser.fill("[name=days]", "ten").await;
    browser.click("form[action$='/keys'] [type=submit]").await;
    browser.finds("[name=days][aria-invalid=true]").await;
    browser.is_live().await;
    server.done("POST", "keys", json!({"name": "somebody", "role": "read"}));
    browser.says("somebody").await;
    assert_eq!(browser.value("[name=days]").await, "ten");

    browser
        .open(&format!("{project}/cohorts/{cohort}/devices?search=lamp-"))
        .await;
    browser.click("form[method=post] .danger").await;
    browser.finds("#wrong").await;
    browser.is_live().await;
    for name in ["fan-2", "lamp-2"] {
        server.device(name, "lamps");
    }
    rows_are(&browser, &["lamp-1", "lamp-2"]).await;
    browser.end().await;
}

/// Something that every page about the cohort shows.
fn deploy(server: &Server, round: u8) {
    let version = format!("2.0.{round}");
    server.upload("main", &version, &[round]);
    server.deploy("lamps", &format!("round {round}"), &[("main", &version)]);
}
