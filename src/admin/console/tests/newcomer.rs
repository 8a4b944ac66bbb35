//! What somebody meets who uses the console for the first time: what is pasted works, names are shown and not ids, and no
//! address of a form is a dead end.

use serde_json::json;

use super::deploy::{cohort, deploy};
use super::{Api, Browser};

const P: &str = "/projects/default";

#[tokio::test]
async fn what_is_pasted_for_a_new_device_leads_to_the_gateway_as_it_was_reached() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.host = "tessera.example.org:8080";
    browser.get(&format!("{P}/devices/new")).await.expect(200);
    let fields = [("name", "lamp-1"), ("psk", "1")];
    let page = browser.post(&format!("{P}/devices/new"), &fields).await;
    let page = page.expect(200);
    page.says("CONFIG_GOLIOTH_COAP_HOST_URI=\"coaps://tessera.example.org:15684\"");
    page.says("coaps://tessera.example.org:15684/.u/desired");
    page.says("if it reaches the gateway by the name by which you did");
    page.does_not_say("gateway.example.org");
}

#[tokio::test]
async fn a_line_of_the_audit_names_what_it_is_about_and_leads_there() {
    let api = Api::start().await;
    let lamps = cohort(&api, "lamps").await;
    api.artifact("main", "1.0", 100).await;
    let first = deploy(&api, &lamps, "first light", &["main@1.0"]).await;
    let made = json!({"name": "lamp-1", "cohort": lamps});
    let lamp = api.post("devices", &made).await.expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let posts = cohort(&api, "posts").await;
    api.delete(&format!("cohorts/{posts}")).await.expect(204);

    let mut browser = Browser::signed_in(&api, "admin").await;
    for address in [format!("{P}/audit"), P.to_owned()] {
        let page = browser.get(&address).await.expect(200);
        for (name, below) in [
            ("lamps", format!("/cohorts/{lamps}")),
            ("first light", format!("/deployments/{first}")),
            ("lamp-1", format!("/devices/{lamp}")),
            ("main@1.0", "/packages/main".to_owned()),
        ] {
            let links = page.links(name);
            assert!(
                links.contains(&format!("{P}{below}")),
                "{address}: {name}: {links:?}"
            );
        }
        // What is gone is known by the name that it had.
        page.says(&format!("posts {posts}"));
        assert!(page.links("posts").is_empty());
    }
    let page = browser.get(&format!("{P}/audit")).await.expect(200);
    page.says(&format!("cohort lamps ({lamps})"));
    page.does_not_say("expiresMs");
    page.does_not_say("tags []");
}

#[tokio::test]
async fn the_address_of_every_form_leads_to_the_page_that_the_form_is_on() {
    let api = Api::start().await;
    api.artifact("main", "1.0", 100).await;
    let lamp = api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    let lamp = format!("{P}/devices/{}", lamp["id"].as_str().unwrap());
    let package = format!("{P}/packages/main");
    let settings = format!("{P}/settings");
    let mut browser = Browser::signed_in(&api, "admin").await;
    for (form, page) in [
        (format!("{settings}/keys"), &settings),
        (format!("{settings}/device-cas"), &settings),
        (format!("{package}/delete"), &package),
        (format!("{package}/versions/1.0/delete"), &package),
        (format!("{lamp}/enable"), &lamp),
        (format!("{lamp}/tags"), &lamp),
        (format!("{lamp}/push"), &lamp),
        (format!("{lamp}/delete"), &lamp),
        (format!("{lamp}/credentials"), &lamp),
        (format!("{lamp}/credentials/crd_1/retire"), &lamp),
    ] {
        let answer = browser.ask("GET", &form, &[], &[]).await;
        assert_eq!(answer.redirect().as_ref(), Some(page), "{form}");
        browser.get(page).await.expect(200);
    }
    let answer = browser.ask("GET", "/sign-out", &[], &[]).await;
    assert_eq!(answer.redirect().as_deref(), Some(P));
}

#[tokio::test]
async fn a_filter_that_is_wrong_does_not_say_that_nothing_matches() {
    let api = Api::start().await;
    api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    let mut browser = Browser::signed_in(&api, "read").await;
    let page = browser
        .get(&format!("{P}/devices?version=main"))
        .await
        .expect(422);
    page.says("package@version, for example main@1.4.0");
    page.says("Nothing was looked for");
    page.does_not_say("Nothing matches");
}
