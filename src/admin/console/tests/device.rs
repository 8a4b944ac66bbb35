//! A device from near: what its page shows, and what its buttons do.

use serde_json::{Value, json};

use super::{Api, Browser, Page, SAME_ORIGIN, form_fields};
use crate::clock;
use crate::control::FailureCause;
use crate::fleet::{LogLine, TimelineEvent};

const LIST: &str = "/projects/default/devices";

#[tokio::test]
async fn the_page_shows_who_it_is_how_it_is_connected_and_what_it_has_and_should_have() {
    let api = Api::start().await;
    api.fleet().await;
    let one = api.access("lamp-1-id@default").await;
    api.control.manifest_was_sent(&one.entry, 1);
    api.control.manifest_acknowledged(&one.entry, 1);
    api.reported(&one, "bootloader", 0, 0).await;
    let mut browser = Browser::signed_in(&api, "read").await;
    let id = api.device_ids("").await[0].clone();
    for named in [&id, "lamp-1"] {
        let page = browser.get(&format!("{LIST}/{named}")).await.expect(200);
        assert_eq!(page.root.all("h1")[0].text(), "lamp-1");
        let standing = page.part("standing").text();
        for said in ["online", "notified", "second (#1)", "#1 sent and arrived"] {
            assert!(standing.contains(said), "{said}: {standing}");
        }
        let session = page.part("session").text();
        for said in [
            "192.0.2.1:40000",
            "0700000102a1b2c3",
            "TLS_PSK_WITH_AES_128_CCM_8",
            "Pre-shared key",
        ] {
            assert!(session.contains(said), "{said}: {session}");
        }
        let packages = page.rows("packages");
        assert_eq!(packages.len(), 3, "{packages:?}");
        assert_eq!(packages[1][..4], ["bootloader", "1.0.0", "anything", "idle"]);
        assert_eq!(packages[2][..4], ["main", "1.0.0", "2.0.0", "idle"]);
        let keys = page.rows("keys");
        assert_eq!(keys[1][1], "lamp-1-id@default");
        assert_eq!(keys[1][3], "by the live session");
        for said in ["north", "floor:1", "lamps"] {
            page.says(said);
        }
    }

    let failed = browser.get(&format!("{LIST}/lamp-2")).await.expect(200);
    failed.says("It is not connected.");
    assert!(failed.part("standing").text().contains("failed"));
    let packages = failed.rows("packages");
    assert_eq!(packages[1][3..5], ["failed idle", "integrity-check-failure"]);
    let spare = browser.get(&format!("{LIST}/spare-1")).await.expect(200);
    spare.says("it is in no cohort: there is nothing for it to do");
    spare.says("It has not reported any package, and nothing is deployed to it.");
    let lift = browser.get(&format!("{LIST}/lift-1")).await.expect(200);
    lift.says("nothing is deployed to its cohort");
}

#[tokio::test]
async fn what_a_device_says_of_itself_is_text_and_nothing_else() {
    let api = Api::start().await;
    let identity = "<img src=x>\u{202e}\u{1b}[2J";
    let long = format!("L{}", "o".repeat(62));
    let body = json!({"name": long, "credentials": [{"type": "psk", "identity": identity, "secret": "s"}]});
    api.post("devices", &body).await.expect(201);
    let access = api.access(identity).await;
    api.reported(&access, "<script>alert(1)</script>", 9, 99).await;
    let line = LogLine {
        level: Some("error".to_owned()),
        message: "\u{2066}</bdi><script>alert(2)</script>".to_owned(),
        ..LogLine::default()
    };
    api.control.logged(&access.entry, clock::unix_ms(), line);
    // The writer takes along what is queued.
    api.post(&format!("devices/{long}:push"), &Value::Null)
        .await
        .expect(202);
    let mut browser = Browser::signed_in(&api, "deploy").await;
    for address in [LIST.to_owned(), format!("{LIST}/{long}")] {
        let page = browser.get(&address).await.expect(200);
        for raw in ["<script>alert", "<img src=x", "\u{202e}", "\u{2066}", "\u{1b}"] {
            assert!(!page.html.contains(raw), "{raw:?} in {address}");
        }
        page.says("<script>alert(1)</script>");
        page.says(&long);
    }
    let page = browser.get(&format!("{LIST}/{long}")).await.expect(200);
    page.says("<img src=x>⟨U+202E⟩␛[2J");
    page.says("⟨U+2066⟩</bdi><script>alert(2)</script>");
    let packages = page.rows("packages");
    assert_eq!(packages[1][3..5], ["state 9", "reason 99"]);
    // What is copied is what is meant, where it can be shown as it is.
    let missing = browser
        .get(&format!("{LIST}/%3Cscript%3E%E2%80%AE"))
        .await
        .expect(404);
    missing.says("There is no device <script>⟨U+202E⟩ in this project");
    assert_eq!(missing.links("All devices"), [LIST]);
    assert!(!missing.html.contains("<script>\u{202e}"));
}

#[tokio::test]
async fn why_a_handshake_failed_is_told_in_words() {
    let api = Api::start().await;
    api.device().await;
    let cause = FailureCause::WrongKey;
    api.failed(b"lamp-1-id@default", "192.0.2.1:4000", cause).await;
    let mut browser = Browser::signed_in(&api, "read").await;
    for address in [
        "/projects/default/traffic".to_owned(),
        "/projects/default/traffic?reason=wrongKey".to_owned(),
        api.page_of("lamp-1").await,
    ] {
        let page = browser.get(&address).await.expect(200);
        let commands = page.root.all("code");
        let command = "tessera device credential add lamp-1";
        assert!(commands.iter().any(|code| code.text() == command), "{address}");
        assert!(!page.text().contains('`'), "{address}: {}", page.text());
        if address.contains("traffic") {
            page.says("Wrong key");
            page.does_not_say("wrongKey");
        }
    }
}

#[tokio::test]
async fn an_identity_that_would_be_refused_is_not_promised() {
    let api = Api::start().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    // With "-id@default" behind it, 64 bytes and 65.
    for (length, fits) in [(53, true), (54, false)] {
        let name = "l".repeat(length);
        let made = json!({"name": name, "credentials": []});
        api.post("devices", &made).await.expect(201);
        let address = api.page_of(&name).await;
        let page = browser.get(&address).await.expect(200);
        let promised = page.part("add-credential").text();
        assert_eq!(promised.contains("Empty: lll"), fits, "{promised}");
        let added = browser.press(&page, "Add the key", &[]).await;
        if fits {
            added.expect(200);
            continue;
        }
        let again = added.expect(422);
        assert!(
            again.wrong("identity").contains("an identity of its own"),
            "{}",
            again.wrong("identity")
        );
    }
}

#[tokio::test]
async fn credentials_are_added_shown_once_and_retired() {
    let api = Api::start().await;
    api.fleet().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let address = api.page_of("lamp-1").await;
    let page = browser.get(&address).await.expect(200);

    // What is wrong is said at its field, in the form that was sent, and what was typed stays.
    let taken = [("identity", "lamp-2-id@default"), ("secret", "hunter2")];
    let again = browser.press(&page, "Add the key", &taken).await.expect(422);
    assert!(again.wrong("identity").contains("lamp-2-id@default"));
    assert_eq!(again.value("identity"), "lamp-2-id@default");
    assert!(!again.html.contains("hunter2"));
    assert_eq!(open_details(&again), ["Add a pre-shared key"]);
    let pem = [(
        "pem",
        "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----",
    )];
    let again = browser
        .press(&page, "Add the certificate", &pem)
        .await
        .expect(422);
    assert!(!again.wrong("pem").is_empty());
    assert!(again.value("pem").contains("BEGIN CERTIFICATE"));
    assert_eq!(open_details(&again), ["Add a certificate"]);
    let both = [("pem", ""), ("sha256", "12")];
    let again = browser
        .press(&page, "Add the certificate", &both)
        .await
        .expect(422);
    assert!(!again.wrong("certificate-sha256").is_empty());
    let none = [("pem", ""), ("sha256", "")];
    let again = browser
        .press(&page, "Add the certificate", &none)
        .await
        .expect(422);
    again.says("pem");
    assert_eq!(open_details(&again), ["Add a certificate"]);
    let short = [("sha256", "abc")];
    let again = browser
        .press(&page, "Add the public key", &short)
        .await
        .expect(422);
    assert!(!again.wrong("key-sha256").is_empty());
    assert_eq!(again.value("key-sha256"), "abc");
    assert_eq!(open_details(&again), ["Add a raw public key"]);
    assert_eq!(api.keys_of("lamp-1").await.len(), 1, "nothing was added");

    let second = [("identity", "lamp-1-second")];
    let shown = browser.press(&page, "Add the key", &second).await.expect(200);
    shown.says("Shown once: the device’s secret");
    shown.says("Those it had stay good until you retire them.");
    let access = api.access("lamp-1-second").await;
    let secret = String::from_utf8(access.secret.as_bytes().to_vec()).unwrap();
    shown.says(&secret);
    let page = browser.get(&address).await.expect(200);
    page.does_not_say(&secret);
    let sha256 = "ab".repeat(32);
    let page = browser
        .press(&page, "Add the certificate", &[("sha256", sha256.as_str())])
        .await
        .expect(200);
    page.says("given to this device");
    let key = "cd".repeat(32);
    let page = browser
        .press(&page, "Add the public key", &[("sha256", key.as_str())])
        .await
        .expect(200);
    let rows = page.rows("keys");
    assert_eq!(rows.len(), 5, "{rows:?}");

    // The first is in use, and the page says what retiring it does.
    let ids = api.keys_of("lamp-1").await;
    let retire = |id: &str| format!("{address}/credentials/{id}/retire");
    let form = page.form(&retire(&ids[0])).text();
    assert!(
        form.contains("The live session was opened with it, and ends at once."),
        "{form}"
    );
    let certificate = page.form(&retire(&ids[2])).text();
    assert!(certificate.contains("revoked for good"), "{certificate}");
    let gone = browser.submit(&page, &retire(&ids[0]), &[]).await.expect(200);
    gone.says("Retired the credential; the session that it had opened ends.");
    let gone = browser.submit(&gone, &retire(&ids[2]), &[]).await.expect(200);
    gone.says("Retired the credential.");
    let left = api.keys_of("lamp-1").await;
    assert_eq!(left, [ids[1].clone(), ids[3].clone()]);
    // A certificate that was revoked is nobody's any more.
    let back = [("pem", ""), ("sha256", sha256.as_str())];
    let again = browser
        .press(&gone, "Add the certificate", &back)
        .await
        .expect(422);
    assert!(
        again.wrong("certificate-sha256").contains("revoked"),
        "{}",
        again.text()
    );
    // One that is gone already: the page is shown, and says so.
    for id in [ids[0].as_str(), "cred_999", "nonsense"] {
        let page = browser.post(&retire(id), &[]).await.expect(404);
        page.says(&format!("The credential \"{id}\" is not there any more"));
        assert!(page.has_form(&retire(&ids[1])), "the page is the device's");
    }

    // Whoever only asks whether the page is there is not shown it, and uses nothing up.
    let page = browser.get(&address).await.expect(200);
    let (form, _) = page.button("Add the key");
    let mut fields = form_fields(form);
    fields.retain(|(name, _)| name != "identity");
    fields.push(("identity".to_owned(), "lamp-1-third".to_owned()));
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let action = form.attribute("action").unwrap().to_owned();
    let made = browser.ask("POST", &action, &fields, &[SAME_ORIGIN]).await;
    assert_eq!(made.status, 303, "{}", made.text());
    assert_eq!(browser.ask("HEAD", &address, &[], &[]).await.status, 200);
    browser
        .get(&address)
        .await
        .expect(200)
        .says("Shown once: the device’s secret");
}

#[tokio::test]
async fn the_buttons_of_a_page_do_what_they_say() {
    let api = Api::start().await;
    api.fleet().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let address = api.page_of("lamp-1").await;
    let page = browser.get(&address).await.expect(200);

    browser
        .press(&page, "Push again", &[])
        .await
        .expect(200)
        .says("The manifest goes out once more");
    let other = api.page_of("lamp-2").await;
    let offline = browser.get(&other).await.expect(200);
    browser
        .press(&offline, "Push again", &[])
        .await
        .expect(200)
        .says("The device is not connected. It gets the manifest when it connects");

    let page = browser.press(&page, "Add", &[("add", "east")]).await.expect(200);
    assert_eq!(api.device_names("tag=east").await, ["lamp-1"]);
    let page = browser
        .press(&page, "Remove the tag north", &[])
        .await
        .expect(200);
    assert_eq!(api.device_names("tag=north").await, ["lift-1"]);
    let again = browser
        .press(&page, "Add", &[("add", "no good")])
        .await
        .expect(422);
    assert!(again.wrong("tags").contains("accepted: 1 to 63"));
    assert_eq!(again.value("tags"), "no good");

    let ask = browser.get(&page.links("Disable…")[0]).await.expect(200);
    ask.says("lamp-1");
    ask.says("1 device may not connect any more");
    let page = browser.press(&ask, "Disable 1 device", &[]).await.expect(200);
    assert_eq!(page.address, address);
    page.says("disabled");
    let page = browser.press(&page, "Enable", &[]).await.expect(200);
    page.says("Enabled lamp-1. It may connect with its next attempt.");
    let ask = browser.get(&page.links("Take out…")[0]).await.expect(200);
    let page = browser
        .press(&ask, "Take 1 device out of their cohort", &[])
        .await
        .expect(200);
    assert_eq!(page.address, address);
    assert_eq!(api.device_names("cohort=lamps").await, ["lamp-2"]);
    assert_eq!(page.links("Put in a cohort…").len(), 1);

    let again = browser
        .press(&page, "Delete the device", &[("confirm", "lamp-2")])
        .await
        .expect(422);
    assert!(again.wrong("confirm").contains("nothing was deleted"));
    assert_eq!(again.value("confirm"), "lamp-2");
    assert_eq!(open_details(&again), ["Delete this device…"]);
    let list = browser
        .press(&again, "Delete the device", &[("confirm", "lamp-1")])
        .await
        .expect(200);
    assert_eq!(list.address, LIST);
    list.says("Deleted lamp-1 and all that was known about it.");
    assert_eq!(api.device_names("").await, ["lamp-2", "lift-1", "spare-1"]);
    // A page that was left open.
    for (button, fields) in [
        ("Push again", vec![]),
        ("Add", vec![("add", "x")]),
        ("Delete the device", vec![("confirm", "lamp-1")]),
        ("Add the key", vec![]),
    ] {
        let gone = browser.press(&page, button, &fields).await.expect(404);
        gone.says("There is no device");
        assert_eq!(gone.links("All devices"), [LIST], "{button}");
    }
}

#[tokio::test]
async fn the_timeline_is_by_kind_and_a_page_at_a_time() {
    let api = Api::start().await;
    api.fleet().await;
    let one = api.access("lamp-1-id@default").await;
    let begun = TimelineEvent::Connected {
        address: "192.0.2.1:40000".parse().unwrap(),
        suite: "none".into(),
    };
    api.control.happened_at(&one.entry, 1_700_000_000_000, begun);
    for number in 0..70_i64 {
        let line = LogLine {
            level: Some("info".to_owned()),
            message: format!("line {number}"),
            ..LogLine::default()
        };
        // A device adds at most twenty a second after a burst.
        api.control
            .logged(&one.entry, 1_700_000_001_000 + number * 1000, line);
    }
    api.post("devices/lamp-1:push", &Value::Null).await.expect(202);
    let mut browser = Browser::signed_in(&api, "read").await;
    let address = api.page_of("lamp-1").await;
    let page = browser.get(&address).await.expect(200);
    assert_eq!(page.part("happened").attribute("data-live"), Some(""));
    let logs = browser
        .press(&page, "Filter", &[("type", "log")])
        .await
        .expect(200);
    assert_eq!(logs.value("type"), "log");
    let rows = logs.rows("happened");
    assert_eq!((rows.len(), rows[1][2].as_str()), (51, "info: line 69"));
    let next = browser.get(&logs.links("Next page")[0]).await.expect(200);
    assert_eq!(next.value("type"), "log");
    assert_eq!(next.part("happened").attribute("data-live"), None);
    let rows = next.rows("happened");
    assert_eq!((rows.len(), rows[1][2].as_str()), (21, "info: line 19"));
    assert!(next.links("Next page").is_empty());
    let first = browser.get(&next.links("First page")[0]).await.expect(200);
    assert_eq!(first.rows("happened"), logs.rows("happened"));
    let none = browser
        .get(&format!("{address}?type=certificate"))
        .await
        .expect(200);
    assert!(
        none.wrong("type").contains("certificate"),
        "{}",
        none.wrong("type")
    );
    let reports = browser.get(&format!("{address}?type=report")).await.expect(200);
    assert_eq!(reports.rows("happened").len(), 2);
    browser
        .get(&format!("{address}?pageToken=x"))
        .await
        .expect(422)
        .says("pageToken");
}

impl Api {
    async fn page_of(&self, name: &str) -> String {
        let device = self.get(&format!("devices/{name}")).await.expect(200);
        format!("{LIST}/{}", device["id"].as_str().unwrap())
    }

    async fn keys_of(&self, name: &str) -> Vec<String> {
        let keys = self.get(&format!("devices/{name}/credentials")).await.expect(200);
        let items = keys["items"].as_array().unwrap().iter();
        items.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// What is unfolded, by what it is called.
fn open_details(page: &Page) -> Vec<String> {
    let details = page.root.all("details").into_iter();
    let open = details.filter(|details| details.attribute("open").is_some());
    open.map(|details| details.all("summary")[0].text()).collect()
}
