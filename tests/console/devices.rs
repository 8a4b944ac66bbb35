//! Devices in bulk: filters that stay, and what is done to many of them at once.

use std::fs;

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::support::{CoapClient, Device, KEY, Server, eventually};
use crate::until;

#[tokio::test]
async fn what_will_follow_is_told_and_then_done_to_the_chosen_devices_and_to_all_that_match() {
    let server = Server::start();
    server.upload("main", "1.0.0", b"the bytes of 1.0.0");
    server.done("POST", "cohorts", json!({"name": "field"}));
    server.deploy("field", "spring", &[("main", "1.0.0")]);
    let lamps: Vec<Device> = (1..=5).map(|n| alone(&server, &format!("lamp-{n}"))).collect();
    alone(&server, "fan-1");
    let online = CoapClient::OpenSsl.observe(&server, &lamps[0], "/.u/desired");
    online.wait_for("an empty manifest", |manifests| manifests.len() == 1);
    let mut browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/devices", server.url()))
        .await;
    browser.fill("input[name=search]", "lamp-").await;
    browser.click("form[data-filter] [type=submit]").await;
    rows_are(&browser, &["lamp-1", "lamp-2", "lamp-3", "lamp-4", "lamp-5"]).await;

    // Nothing is chosen yet.
    browser.click("button[value=assign]").await;
    browser.says("No device was chosen").await;
    rows_are(&browser, &["lamp-1", "lamp-2", "lamp-3", "lamp-4", "lamp-5"]).await;

    // Two of them: what will follow, and then that.
    choose(&browser, "lamp-1").await;
    choose(&browser, "lamp-2").await;
    browser.click("button[value=assign]").await;
    browser.finds("select[name=cohort]").await;
    browser
        .choose("select[name=cohort]", &server.cohort_id("field"))
        .await;
    browser.click("form[method=get] .toolbar button").await;
    browser
        .says("2 devices join field, and the update to spring (#1) starts at once: 1 is online, the others when they connect.")
        .await;
    browser
        .says("Up to 18 B for each to download, 36 B in all.")
        .await;
    assert_eq!(browser.axe().await, [""; 0]);
    assert_eq!(joined(&server), [""; 0], "nothing is changed yet");
    browser.click("form[method=post] .actions [type=submit]").await;
    browser.says("Put 2 devices in field; 1 told at once.").await;
    // Back at the list, as it was filtered.
    rows_are(&browser, &["lamp-1", "lamp-2", "lamp-3", "lamp-4", "lamp-5"]).await;
    assert_eq!(
        cells(&browser, 4).await,
        ["field", "field", "none", "none", "none"]
    );
    assert_eq!(joined(&server), ["lamp-1", "lamp-2"]);
    let told = online.wait_for("the manifest", |manifests| manifests.len() == 2);
    assert_eq!((told[1].sequence, told[1].components.len()), (1, 1));

    // All that match, chosen or not, and nobody else.
    browser.click("input[name=all]").await;
    browser.click("button[value=tag]").await;
    browser.fill("input[name=tag]", "trial").await;
    browser.click("form[method=get] .toolbar button").await;
    browser.says("5 devices get the tag trial.").await;
    browser.click("form[method=post] .actions [type=submit]").await;
    browser.says("Tagged 5 devices with trial.").await;
    assert_eq!(cells(&browser, 7).await, ["trial"; 5]);
    browser.fill("input[name=search]", "").await;
    browser.fill("input[name=tag]", "trial").await;
    browser.click("form[data-filter] [type=submit]").await;
    rows_are(&browser, &["lamp-1", "lamp-2", "lamp-3", "lamp-4", "lamp-5"]).await;

    // All on the page but one.
    browser.click("input[data-all=device]").await;
    choose(&browser, "lamp-3").await;
    browser.click("button[value=untag]").await;
    browser.fill("input[name=tag]", "trial").await;
    browser.click("form[method=get] .toolbar button").await;
    browser.says("4 devices lose the tag trial.").await;
    browser.click("form[method=post] .actions [type=submit]").await;
    browser.says("Removed the tag trial from 4 devices.").await;
    rows_are(&browser, &["lamp-3"]).await;

    // By the pages of the cohort; a filter stays there as well.
    browser.expects_losses();
    let cohort = format!(
        "{}/projects/default/cohorts/{}",
        server.url(),
        server.cohort_id("field")
    );
    browser.open(&format!("{cohort}/devices/add?search=lamp-")).await;
    browser.says("Adding to a cohort starts the update at once").await;
    browser.click("form[method=post] [type=submit].primary").await;
    browser.says("No device was chosen").await;
    rows_are(&browser, &["lamp-3", "lamp-4", "lamp-5"]).await;
    choose(&browser, "lamp-4").await;
    browser.click("form[method=post] [type=submit].primary").await;
    browser.says("1 device was added to field").await;
    rows_are(&browser, &["lamp-1", "lamp-2", "lamp-4"]).await;
    browser.fill("input[name=search]", "lamp-2").await;
    browser.click("form[data-filter] [type=submit]").await;
    rows_are(&browser, &["lamp-2"]).await;
    browser.click("form[method=post] [type=submit].danger").await;
    browser.says("No device was chosen").await;
    rows_are(&browser, &["lamp-2"]).await;
    choose(&browser, "lamp-2").await;
    browser.click("form[method=post] [type=submit].danger").await;
    browser.says("No device of this cohort is like that").await;
    assert_eq!(browser.value("input[name=search]").await, "lamp-2");
    assert_eq!(joined(&server), ["lamp-1", "lamp-4"]);
    browser.end().await;
}

#[tokio::test]
async fn a_filter_is_its_address_and_outlives_a_reload_a_way_back_and_another_window() {
    let server = Server::start();
    server.upload("main", "1.0.0", b"the bytes of 1.0.0");
    let only = server.device("lamp-00", "lamps");
    for n in 1..=55 {
        let device = json!({"name": format!("lamp-{n:02}"), "cohort": "lamps", "tags": ["north"]});
        server.done("POST", "devices", device);
    }
    server.device("fan-1", "fans");
    let path = format!("devices/{}", only.id);
    server.done("PATCH", &path, json!({"addTags": ["north"]}));
    server.deploy("lamps", "spring", &[("main", "1.0.0")]);
    report(&server, &only, "1.0.0");
    eventually("the report is taken", || {
        let done = server.done("GET", "devices?state=done", Value::Null);
        (done["items"][0]["id"] == *only.id).then_some(())
    });
    let online = CoapClient::OpenSsl.observe(&server, &only, "/.u/desired");
    online.wait_for("the manifest", |manifests| !manifests.is_empty());
    let lamps = server.cohort_id("lamps");
    let list = format!("{}/projects/default/devices", server.url());

    let mut browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser.open(&list).await;
    browser.fill("input[name=search]", "lamp-").await;
    browser.fill("input[name=tag]", "north").await;
    sieve(&browser, "cohort", &lamps).await;
    // All but the one that is connected and done, on two pages.
    sieve(&browser, "online", "false").await;
    sieve(&browser, "state", "pending").await;
    let names: Vec<String> = (1..=55).map(|n| format!("lamp-{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rows_are(&browser, &names[..50]).await;
    let first_page = browser.address().await;
    browser.click("a[rel=next]").await;
    rows_are(&browser, &names[50..]).await;
    let second_page = browser.address().await;
    let fields = [
        ("search", "lamp-"),
        ("tag", "north"),
        ("cohort", lamps.as_str()),
        ("online", "false"),
        ("state", "pending"),
        ("version", ""),
    ];
    let filtered = Filtered {
        fields,
        rows: &names[50..],
    };
    filtered.is_shown(&browser).await;
    browser.reload().await;
    filtered.is_shown(&browser).await;
    assert_eq!(browser.address().await, second_page);

    // To a device and back, to the page before and on again.
    browser.click("tbody th a").await;
    browser.says("Where it stands").await;
    browser.back().await;
    filtered.is_shown(&browser).await;
    browser.back().await;
    Filtered {
        fields,
        rows: &names[..50],
    }
    .is_shown(&browser)
    .await;
    assert_eq!(browser.address().await, first_page);
    browser.forward().await;
    filtered.is_shown(&browser).await;
    browser.click_link("First page").await;
    Filtered {
        fields,
        rows: &names[..50],
    }
    .is_shown(&browser)
    .await;

    // The other one, by all six.
    sieve(&browser, "online", "true").await;
    sieve(&browser, "state", "done").await;
    browser.fill("input[name=version]", "main@1.0.0").await;
    browser.click("form[data-filter] [type=submit]").await;
    let fields = [
        ("search", "lamp-"),
        ("tag", "north"),
        ("cohort", lamps.as_str()),
        ("online", "true"),
        ("state", "done"),
        ("version", "main@1.0.0"),
    ];
    let filtered = Filtered {
        fields,
        rows: &["lamp-00"],
    };
    filtered.is_shown(&browser).await;
    browser.reload().await;
    filtered.is_shown(&browser).await;

    // Somebody else is given the address: in another window, and where they have to sign in first.
    let shared = browser.address().await;
    browser.in_another_window().await;
    browser.open(&shared).await;
    filtered.is_shown(&browser).await;
    browser.forget_cookies().await;
    browser.open(&shared).await;
    browser.fill("input[name=key]", KEY).await;
    browser.click("button.primary").await;
    filtered.is_shown(&browser).await;
    assert_eq!(browser.address().await, shared);

    // What cannot be asked for is said at its field, and the rest stays.
    browser.expects_losses();
    browser.fill("input[name=version]", "main").await;
    browser.click("form[data-filter] [type=submit]").await;
    browser.finds("input[name=version][aria-invalid=true]").await;
    assert_eq!(browser.value("input[name=version]").await, "main");
    assert_eq!(browser.value("input[name=tag]").await, "north");
    assert_eq!(browser.value("select[name=state]").await, "done");
    browser.end().await;
}

/// A list as a filter leaves it.
struct Filtered<'a> {
    fields: [(&'a str, &'a str); 6],
    rows: &'a [&'a str],
}

impl Filtered<'_> {
    async fn is_shown(&self, browser: &Chromium) {
        rows_are(browser, self.rows).await;
        let address = browser.address().await;
        for (name, value) in self.fields {
            let shown = browser.value(&format!("form[data-filter] [name={name}]")).await;
            assert_eq!(shown, value, "{name} at {address}");
        }
    }
}

/// A device in no cohort.
fn alone(server: &Server, name: &str) -> Device {
    let secret = format!("secret-of-{name}");
    let device = json!({"name": name, "credentials": [{"type": "psk", "secret": secret}]});
    let made = server.done("POST", "devices", device);
    Device {
        id: made["id"].as_str().unwrap().to_owned(),
        identity: format!("{name}-id@default"),
        secret,
    }
}

/// Says what the device runs, as the SDK writes it.
fn report(server: &Server, device: &Device, version: &str) {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.map(4).unwrap();
    encoder.str("s").unwrap().u8(0).unwrap();
    encoder.str("r").unwrap().u8(0).unwrap();
    encoder.str("pkg").unwrap().str("main").unwrap();
    encoder.str("v").unwrap().str(version).unwrap();
    let file = server.folder.path().join("report");
    fs::write(&file, encoder.into_writer()).unwrap();
    let options = ["-m", "post", "-t", "60", "-f", file.to_str().unwrap()];
    CoapClient::OpenSsl.run(server, device, &options, "/.u/c/main");
}

/// The names of the devices in the cohort.
fn joined(server: &Server) -> Vec<String> {
    let path = format!("devices?cohort={}", server.cohort_id("field"));
    let found = server.done("GET", &path, Value::Null);
    let devices = found["items"].as_array().unwrap();
    devices
        .iter()
        .map(|device| device["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn choose(browser: &Chromium, device: &str) {
    browser
        .click(&format!("input[aria-label='Choose {device}']"))
        .await;
}

/// Chooses of one of the filter's lists, which takes effect at once.
async fn sieve(browser: &Chromium, name: &str, value: &str) {
    browser
        .choose(&format!("form[data-filter] select[name={name}]"), value)
        .await;
    until(&format!("{name}={value} in the address"), async || {
        let address = browser.address().await;
        address.contains(&format!("{name}={value}")).then_some(())
    })
    .await;
    browser.finds("main h1").await;
}

/// Waits until the list is of these devices and no others.
pub async fn rows_are(browser: &Chromium, names: &[&str]) {
    let script = "
        const rows = [...document.querySelectorAll('main tbody tr')].map((row) => row.querySelector('th').innerText);
        return document.readyState === 'complete' ? rows : null;";
    browser.returns(script, &[], &json!(names)).await;
}

/// What is in a column of the list, from the left; the first is 1.
async fn cells(browser: &Chromium, column: usize) -> Vec<String> {
    let script = "
        const cells = document.querySelectorAll(`main tbody tr > :nth-child(${arguments[0]})`);
        return [...cells].map((cell) => cell.innerText.trim());";
    let cells = browser.run(script, &[json!(column)]).await;
    serde_json::from_value(cells).unwrap()
}
