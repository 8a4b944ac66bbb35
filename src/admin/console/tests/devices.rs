//! The list of devices, the form that makes one, and what many are told at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Api, Browser, Page, SAME_ORIGIN};
use crate::clock;
use crate::control::{DeviceAccess, Report, SessionFacts};

const LIST: &str = "/projects/default/devices";
const CHANGE: &str = "/projects/default/devices/change";
const NEW: &str = "/projects/default/devices/new";

#[tokio::test]
async fn each_filter_finds_what_it_asks_for_and_stays_in_the_address() {
    let api = Api::start().await;
    api.fleet().await;
    let lamps = api.cohort_id("lamps").await;
    let by_id = format!("cohort={lamps}");
    let mut browser = Browser::signed_in(&api, "read").await;
    for (query, found) in [
        ("", vec!["lamp-1", "lamp-2", "lift-1", "spare-1"]),
        ("search=lamp", vec!["lamp-1", "lamp-2"]),
        ("search=Lamp", vec![]),
        ("search=-1", vec![]),
        ("cohort=lamps", vec!["lamp-1", "lamp-2"]),
        (&by_id, vec!["lamp-1", "lamp-2"]),
        ("cohort=none", vec!["spare-1"]),
        ("tag=north", vec!["lamp-1", "lift-1"]),
        ("tag=nor", vec![]),
        ("online=true", vec!["lamp-1"]),
        ("online=false", vec!["lamp-2", "lift-1", "spare-1"]),
        ("state=pending", vec!["lamp-1"]),
        ("state=failed", vec!["lamp-2"]),
        ("state=done", vec![]),
        ("version=main%401.0.0", vec!["lamp-1", "lamp-2"]),
        ("version=main%402.0.0", vec![]),
        ("tag=north&online=false", vec!["lift-1"]),
        (
            "search=lamp&cohort=lamps&tag=south&online=false&state=failed&version=main%401.0.0",
            vec!["lamp-2"],
        ),
    ] {
        let page = browser.get(&format!("{LIST}?{query}")).await.expect(200);
        assert_eq!(names(&page), found, "{query}");
        // Sent again as it stands, it asks for the same: what is chosen is what was asked for.
        let again = browser.press(&page, "Filter", &[]).await.expect(200);
        assert_eq!(names(&again), found, "{query}: {}", again.address);
        assert_eq!(page.links("Clear").is_empty(), query.is_empty(), "{query}");
        for format in ["CSV", "NDJSON"] {
            let link = page.links(format).remove(0);
            let file = browser.get(&link).await.expect(200);
            assert_eq!(exported(format, &file.html), found, "{link}");
        }
        if found.is_empty() {
            page.says("Nothing matches");
        }
    }
}

#[tokio::test]
async fn the_devices_of_a_cohort_are_filtered_as_all_devices_are() {
    let api = Api::start().await;
    api.fleet().await;
    let cohort = format!(
        "/projects/default/cohorts/{}/devices",
        api.cohort_id("lamps").await
    );
    let mut browser = Browser::signed_in(&api, "deploy").await;
    for (query, found) in [
        ("", &["lamp-1", "lamp-2"][..]),
        ("online=true", &["lamp-1"]),
        ("online=false", &["lamp-2"]),
        ("state=failed", &["lamp-2"]),
        ("version=main%401.0.0&tag=north", &["lamp-1"]),
        ("cohort=lifts", &["lamp-1", "lamp-2"]),
    ] {
        let page = browser.get(&format!("{cohort}?{query}")).await.expect(200);
        for name in ["lamp-1", "lamp-2", "lift-1", "spare-1"] {
            let shown = !page.links(name).is_empty();
            assert_eq!(shown, found.contains(&name), "{query}: {name}");
        }
    }
    // Who misspells a filter is not shown everything.
    for (query, said) in [
        ("online=maybe", "accepted: true or false"),
        ("version=main", "accepted"),
        ("state=broken", "accepted: pending"),
    ] {
        let page = browser.get(&format!("{cohort}?{query}")).await.expect(200);
        page.says("Nothing can be looked for like that");
        page.says(said);
        assert!(page.links("lamp-1").is_empty(), "{query}");
    }
}

#[tokio::test]
async fn a_device_that_is_gone_is_not_missed_among_those_that_are_added_to_a_cohort() {
    let api = Api::start().await;
    api.fleet().await;
    let lamps = format!(
        "/projects/default/cohorts/{}/devices/add",
        api.cohort_id("lamps").await
    );
    api.post("devices", &json!({"name": "spare-2"})).await.expect(201);
    let ids = async |name: &str| {
        let device = api.get(&format!("devices/{name}")).await.expect(200);
        device["id"].as_str().unwrap().to_owned()
    };
    let (here, gone) = (ids("spare-1").await, ids("spare-2").await);
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(&lamps).await.expect(200);
    api.delete("devices/spare-2").await.expect(204);
    let chosen = [("device", here.as_str()), ("device", gone.as_str())];
    let page = browser.post(&lamps, &chosen).await.expect(200);
    page.says("1 device was added to lamps.");
    assert_eq!(
        api.device_names("cohort=lamps").await,
        ["lamp-1", "lamp-2", "spare-1"]
    );
}

#[tokio::test]
async fn a_filter_that_cannot_be_is_said_at_its_field_and_the_others_stay() {
    let api = Api::start().await;
    api.fleet().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    for (field, value, id, said) in [
        (
            "cohort",
            "nowhere",
            "filter-cohort",
            "there is no cohort \"nowhere\"",
        ),
        ("tag", "a b", "filter-tag", "accepted: 1 to 63"),
        (
            "online",
            "perhaps",
            "filter-online",
            "(perhaps); accepted: true or false",
        ),
        ("state", "lost", "filter-state", "pending"),
        ("version", "1.0", "filter-version", "package@version"),
    ] {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("search", "lamp")
            .append_pair(field, value)
            .finish();
        let page = browser.get(&format!("{LIST}?{query}")).await.expect(422);
        let wrong = page.wrong(id);
        assert!(wrong.contains(said), "{field}: {wrong}");
        assert_eq!(names(&page), Vec::<String>::new(), "{field}");
        assert!(page.html.contains("value=\"lamp\""), "{field}: the rest is kept");
        if ["tag", "version"].contains(&field) {
            assert_eq!(page.value(id), value);
        }
    }
    browser
        .get(&format!("{LIST}?pageToken=x"))
        .await
        .expect(422)
        .says("pageToken");
}

#[tokio::test]
async fn a_page_has_fifty_rows_and_leads_to_all_of_them_once_with_the_filter() {
    let api = Api::start().await;
    let mut file = "name,tags\n".to_owned();
    for number in 0..230 {
        let tag = if number % 2 == 0 { "even" } else { "odd" };
        file.push_str(&format!("lamp-{number:03},{tag}\n"));
    }
    api.send("POST", "devices:import", &[("content-type", "text/csv")], file)
        .await
        .expect(200);
    let mut browser = Browser::signed_in(&api, "read").await;
    let first = browser.get(&format!("{LIST}?tag=even")).await.expect(200);
    assert_eq!(first.links("First page"), Vec::<String>::new());
    let (mut seen, mut pages) = (names(&first), vec![names(&first).len()]);
    let mut next = first.links("Next page");
    while let Some(link) = next.pop() {
        assert!(link.contains("tag=even"), "{link}");
        let page = browser.get(&link).await.expect(200);
        pages.push(names(&page).len());
        seen.extend(names(&page));
        let back = browser.get(&page.links("First page")[0]).await.expect(200);
        assert_eq!(names(&back), names(&first));
        next = page.links("Next page");
    }
    assert_eq!(pages, [50, 50, 15]);
    let all: BTreeSet<String> = (0..230).step_by(2).map(|n| format!("lamp-{n:03}")).collect();
    assert_eq!(seen.len(), all.len(), "each once");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    browser.get(LIST).await.says("All devices 230");
}

#[tokio::test]
async fn a_form_that_is_refused_comes_back_filled_in_and_says_all_that_is_wrong() {
    let api = Api::start().await;
    api.fleet().await;
    let lamps = api.cohort_id("lamps").await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let page = browser.get(NEW).await.expect(200);
    let identity = "i".repeat(65);
    let secret = "correct horse battery";
    let fields = [
        ("name", "a b"),
        ("cohort", lamps.as_str()),
        ("tags", "north, so(uth"),
        ("identity", identity.as_str()),
        ("secret", secret),
    ];
    let again = browser.press(&page, "Create device", &fields).await.expect(422);
    for (id, said) in [
        ("name", "accepted: 1 to 63"),
        ("tags", "so(uth"),
        ("identity", "65 bytes"),
    ] {
        assert!(again.wrong(id).contains(said), "{id}: {}", again.wrong(id));
    }
    assert_eq!(again.value("name"), "a b");
    assert_eq!(again.value("cohort"), lamps);
    assert_eq!(again.value("tags"), "north, so(uth");
    assert_eq!(again.value("identity"), identity);
    assert!(!again.html.contains(secret), "a secret is not repeated");
    again.says("type it again");
    assert!(checked(&again, "psk"));

    let long = "s".repeat(33);
    for (fields, id, said) in [
        (vec![("name", "")], "name", "accepted: 1 to 63"),
        (vec![("name", "lamp-1")], "name", "lamp-1"),
        (
            vec![("name", "x"), ("identity", "lamp-1-id@default")],
            "identity",
            "lamp-1-id@default",
        ),
        (
            vec![("name", "x"), ("secret", long.as_str())],
            "secret",
            "33 bytes",
        ),
        (vec![("name", "<script>alert(1)</script>")], "name", "<script>"),
    ] {
        let again = browser.press(&page, "Create device", &fields).await.expect(422);
        let wrong = again.wrong(id);
        assert!(wrong.contains(said), "{id}: {wrong}");
        assert!(!wrong.contains(&long), "{wrong}");
        assert_eq!(again.value("name"), fields[0].1);
        assert!(!again.html.contains("<script>alert"), "{}", again.html);
    }
    // A list that is older than the cohorts are.
    let gone = [("name", "x"), ("cohort", "coh_999"), ("psk", "")];
    let again = browser.post(NEW, &gone).await.expect(422);
    assert!(
        again.wrong("cohort").contains("coh_999"),
        "{}",
        again.wrong("cohort")
    );
    assert!(!checked(&again, "psk"), "what was not chosen is not chosen");
    assert_eq!(api.device_names("").await.len(), 4, "nothing was made");
}

#[tokio::test]
async fn a_secret_that_is_made_is_shown_once_to_who_made_the_device_and_is_the_devices() {
    let api = Api::start().await;
    let name = format!("L{}", "o".repeat(62));
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let page = browser.get(NEW).await.expect(200);
    // The longest name is too long for the identity that is made of it, and that is said where another can be given.
    let again = browser
        .press(&page, "Create device", &[("name", name.as_str())])
        .await
        .expect(422);
    let wrong = again.wrong("identity");
    assert!(wrong.contains("74 bytes"), "{wrong}");
    let fields = [
        ("name", name.as_str()),
        ("tags", "north south;floor:2"),
        ("identity", "long"),
    ];
    let answer = {
        let csrf = browser.csrf.clone();
        let sent = [&[("csrf", csrf.as_str()), ("psk", "1")], &fields[..]].concat();
        browser.ask("POST", NEW, &sent, &[SAME_ORIGIN]).await
    };
    let address = answer.redirect().unwrap();
    // Neither the script nor somebody else is shown it.
    let live = browser
        .ask("GET", &address, &[], &[("x-live", "1")])
        .await
        .expect(200);
    live.does_not_say("Shown once");
    // Nor does what another page has the browser fetch for it.
    let part = browser
        .ask("GET", &address, &[], &[("sec-fetch-dest", "image")])
        .await
        .expect(200);
    part.does_not_say("Shown once");
    let mut other = Browser::signed_in(&api, "admin").await;
    other.get(&address).await.expect(200).does_not_say("Shown once");

    let shown = browser.get(&address).await.expect(200);
    shown.says("Shown once: the device’s secret");
    let copies: Vec<&str> = shown
        .root
        .all("button")
        .iter()
        .filter_map(|button| button.attribute("data-copy"))
        .collect();
    let access = api.access("long").await;
    let secret = String::from_utf8(access.secret.as_bytes().to_vec()).unwrap();
    assert_eq!(secret.len(), 32);
    assert!(copies.contains(&secret.as_str()), "{copies:?}");
    shown.says(&format!("CONFIG_GOLIOTH_SAMPLE_PSK=\"{secret}\""));
    for tag in ["north", "south", "floor:2"] {
        shown.says(tag);
    }
    let again = browser.get(&address).await.expect(200);
    again.does_not_say("Shown once");
    assert!(!again.html.contains(&secret));

    // Who gives one knows it.
    let page = browser.get(NEW).await.expect(200);
    let fields = [
        ("name", "lamp-2"),
        ("identity", "it's \"2\""),
        ("secret", " two words "),
    ];
    let shown = browser.press(&page, "Create device", &fields).await.expect(200);
    shown.says("What the device needs");
    shown.says("the secret that you gave");
    shown.says("CONFIG_GOLIOTH_SAMPLE_PSK_ID=\"it's \\\"2\\\"\"");
    shown.says("-u 'it'\\''s \"2\"'");
    assert!(!shown.html.contains("two words"));
    let access = api.access("it's \"2\"").await;
    assert_eq!(access.secret.as_bytes(), b" two words ", "as it was typed");

    let page = browser.get(NEW).await.expect(200);
    let fields = [("name", "lamp-3"), ("psk", "")];
    let shown = browser.press(&page, "Create device", &fields).await.expect(200);
    shown.says("It has none of its own");
}

#[tokio::test]
async fn devices_that_were_chosen_are_put_in_a_cohort_after_it_was_said_what_follows() {
    let api = Api::start().await;
    api.fleet().await;
    let lamps = api.cohort_id("lamps").await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let list = browser.get(&format!("{LIST}?tag=north")).await.expect(200);
    let ids = api.device_ids("").await;
    let chosen = [("device", ids[2].as_str())];
    let page = browser
        .press(&list, "Put in a cohort…", &chosen)
        .await
        .expect(200);
    page.says("Which cohort");
    page.says("lift-1");
    page.does_not_say("What will follow");
    let look = [("cohort", lamps.as_str())];
    let page = browser
        .press(&page, "Show what will follow", &look)
        .await
        .expect(200);
    page.says("1 device joins lamps, and the update to second (#1) starts when it connects: none is online.");
    page.says("Up to 64 B for each to download, 64 B in all.");
    assert_eq!(
        api.device_names("cohort=lamps").await.len(),
        2,
        "nothing is changed yet"
    );
    let done = browser
        .press(&page, "Put 1 device in lamps", &[])
        .await
        .expect(200);
    assert!(
        done.address.ends_with(&ids[2]),
        "one leads to its page: {}",
        done.address
    );
    done.says("Put 1 device in lamps.");
    assert_eq!(
        api.device_names("cohort=lamps").await,
        ["lamp-1", "lamp-2", "lift-1"]
    );

    // Several lead back to the list as it was filtered. Who is there already is told of.
    let chosen: Vec<_> = ids.iter().map(|id| ("device", id.as_str())).collect();
    let page = browser.press(&list, "Put in a cohort…", &chosen).await;
    let page = browser
        .press(&page, "Show what will follow", &look)
        .await
        .expect(200);
    page.says("1 device joins lamps");
    page.says("3 devices are there already: nothing changes there.");
    let done = browser
        .press(&page, "Put 1 device in lamps", &[])
        .await
        .expect(200);
    assert_eq!(done.address, format!("{LIST}?tag=north"));
    done.says("Put 1 device in lamps. 3 were as asked already.");

    let page = browser.press(&list, "Put in a cohort…", &chosen).await;
    let page = browser
        .press(&page, "Show what will follow", &look)
        .await
        .expect(200);
    page.says("Nothing would change.");
    assert!(!page.buttons().iter().any(|text| text.starts_with("Put ")));
}

#[tokio::test]
async fn all_that_a_filter_finds_are_changed_and_nobody_else() {
    let api = Api::start().await;
    api.fleet().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let list = browser.get(&format!("{LIST}?tag=north")).await.expect(200);
    let all = [("all", "1")];

    let page = browser.press(&list, "Disable…", &all).await.expect(200);
    page.says("All devices that match when this is confirmed");
    page.says("Tag north");
    page.says(
        "2 devices may not connect any more: their handshakes are refused, as those of an unknown identity.",
    );
    page.says("1 live session ends at once");
    let done = browser.press(&page, "Disable 2 devices", &[]).await.expect(200);
    assert_eq!(done.address, format!("{LIST}?tag=north"));
    done.says("Disabled 2 devices.");
    let enabled = async || {
        let devices = api.get("devices").await.expect(200);
        let flags = devices["items"].as_array().unwrap().iter();
        flags.map(|device| device["enabled"] == true).collect::<Vec<_>>()
    };
    assert_eq!(enabled().await, [false, true, false, true]);

    let page = browser.press(&list, "Enable…", &all).await.expect(200);
    page.says("2 devices may connect again");
    browser.press(&page, "Enable 2 devices", &[]).await.expect(200);
    assert_eq!(enabled().await, [true; 4]);

    let page = browser
        .press(&list, "Take out of their cohort…", &all)
        .await
        .expect(200);
    page.says("2 devices leave their cohort. Nothing is pushed: they learn it when they next ask");
    // Whoever comes to match before it is confirmed is one of them.
    let tags = json!({"addTags": ["north"]});
    api.patch("devices/lamp-2", &tags).await.expect(200);
    let done = browser
        .press(&page, "Take 2 devices out of their cohort", &[])
        .await
        .expect(200);
    done.says("Took 3 devices out of their cohort.");
    assert_eq!(api.device_names("cohort=").await.len(), 4);

    let page = browser.press(&list, "Add a tag…", &all).await.expect(200);
    page.says("Which tag");
    let wrong = [("tag", "no good")];
    let again = browser
        .press(&page, "Show what will follow", &wrong)
        .await
        .expect(422);
    assert!(
        again.wrong("tag").contains("accepted: 1 to 63"),
        "{}",
        again.wrong("tag")
    );
    assert_eq!(again.value("tag"), "no good");
    let tag = [("tag", "east")];
    let page = browser
        .press(&again, "Show what will follow", &tag)
        .await
        .expect(200);
    page.says("3 devices get the tag east.");
    browser
        .press(&page, "Tag 3 devices", &[])
        .await
        .expect(200)
        .says("Tagged 3 devices with east.");
    assert_eq!(api.device_names("tag=east").await, ["lamp-1", "lamp-2", "lift-1"]);

    let everything = browser.get(LIST).await.expect(200);
    let page = browser
        .press(&everything, "Remove a tag…", &all)
        .await
        .expect(200);
    page.says("All devices of the project.");
    let page = browser
        .press(&page, "Show what will follow", &tag)
        .await
        .expect(200);
    page.says("3 devices lose the tag east.");
    page.says("1 device does not have it: nothing changes there.");
    browser
        .press(&page, "Remove the tag from 3 devices", &[])
        .await
        .expect(200)
        .says("Removed the tag east from 3 devices. 1 was as asked already.");
    assert_eq!(api.device_names("tag=east").await, Vec::<String>::new());
}

#[tokio::test]
async fn without_a_choice_nothing_is_done_and_the_list_says_so() {
    let api = Api::start().await;
    api.fleet().await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let list = browser.get(&format!("{LIST}?tag=north")).await.expect(200);
    let back = browser.press(&list, "Disable…", &[]).await.expect(200);
    assert_eq!(back.address, format!("{LIST}?tag=north"));
    back.says("No device was chosen.");
    let unknown = browser.get(&format!("{CHANGE}?action=dance&all=1")).await;
    unknown
        .expect(422)
        .says("assign, leave, tag, untag, enable or disable");
    let selected = browser.get(&format!("{LIST}?select=page")).await.expect(200);
    let page = browser.press(&selected, "Disable…", &[]).await.expect(200);
    page.says("4 devices may not connect any more");
    // A filter that was made up is nobody's, and not everybody's.
    let made_up = format!("{CHANGE}?action=disable&all=1&filter=state%3Dlost");
    let page = browser.get(&made_up).await.expect(422);
    page.says("lost");
    assert!(!page.buttons().iter().any(|text| text.starts_with("Disable")));
}

#[tokio::test]
async fn what_has_changed_since_the_choice_is_said_and_the_rest_of_it_can_be_done() {
    let api = Api::start().await;
    api.fleet().await;
    let ids = api.device_ids("").await;
    let chosen: Vec<_> = ids.iter().map(|id| ("device", id.as_str())).collect();
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let list = browser.get(LIST).await.expect(200);

    // A device is gone.
    let page = browser.press(&list, "Disable…", &chosen).await.expect(200);
    api.delete("devices/lamp-2").await.expect(204);
    let again = browser.press(&page, "Disable 4 devices", &[]).await.expect(422);
    again.says(&ids[1]);
    again.says("Nothing was changed yet");
    let all = api.get("devices").await.expect(200);
    assert!(
        all["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|device| device["enabled"] == true)
    );
    browser
        .press(&again, "Disable 3 devices", &[])
        .await
        .expect(200)
        .says("Disabled 3 devices.");

    // The cohort is gone.
    let lifts = api.cohort_id("lifts").await;
    let page = browser
        .press(&list, "Put in a cohort…", &[("device", ids[0].as_str())])
        .await;
    let look = [("cohort", lifts.as_str())];
    let page = browser
        .press(&page, "Show what will follow", &look)
        .await
        .expect(200);
    api.patch("devices/lift-1", &json!({"cohort": null}))
        .await
        .expect(200);
    api.delete("cohorts/lifts").await.expect(204);
    let again = browser
        .press(&page, "Put 1 device in lifts", &[])
        .await
        .expect(422);
    assert!(
        again.wrong("cohort").contains(&lifts),
        "{}",
        again.wrong("cohort")
    );
    assert_eq!(api.device_names("cohort=lamps").await, ["lamp-1"]);
}

#[tokio::test]
async fn a_sequence_number_that_would_fall_is_confirmed_by_name_or_brings_the_page_back() {
    let api = Api::start().await;
    api.fleet().await;
    api.post("cohorts", &json!({"name": "newer"})).await.expect(201);
    api.deployed("newer", "third").await;
    let lamps = api.cohort_id("lamps").await;
    let ids = api.device_ids("").await;
    let mut browser = Browser::signed_in(&api, "deploy").await;
    let ask = format!(
        "{CHANGE}?action=assign&device={}&device={}&cohort={lamps}",
        ids[2], ids[3]
    );
    let page = browser.get(&ask).await.expect(200);
    page.does_not_say("would go back");
    // Meanwhile one of them is sent something newer.
    let access = api.access("lift-1-id@default").await;
    api.control.manifest_sent(&access.entry, 2);
    let again = browser
        .press(&page, "Put 2 devices in lamps", &[])
        .await
        .expect(409);
    again.says("The sequence number would go back.");
    let table: Vec<String> = again.root.all("td").iter().map(|cell| cell.text()).collect();
    assert_eq!(table, ["#2", "#1"]);
    let anew = again.links("deploy the same set to that cohort anew");
    assert_eq!(anew, [format!("/projects/default/cohorts/{lamps}/deploy")]);
    assert_eq!(
        api.device_names("cohort=lamps").await.len(),
        2,
        "nothing was changed"
    );
    let allow = [("allow-back", "1")];
    browser
        .press(&again, "Put 2 devices in lamps", &allow)
        .await
        .expect(200)
        .says("Put 2 devices in lamps.");
    assert_eq!(api.device_names("cohort=lamps").await.len(), 4);
}

#[tokio::test]
async fn more_devices_than_can_be_named_are_refused_in_a_sentence_and_none_is_changed() {
    let api = Api::start().await;
    let mut file = "name\n".to_owned();
    (0..1001).for_each(|number| file.push_str(&format!("lamp-{number}\n")));
    api.send("POST", "devices:import", &[("content-type", "text/csv")], file)
        .await
        .expect(200);
    let mut browser = Browser::signed_in(&api, "deploy").await;
    browser.get(LIST).await.expect(200);
    let mut ids = api.device_ids("").await;
    ids.push("dev_1".to_owned());
    let mut fields = vec![("action", "disable")];
    fields.extend(ids.iter().map(|id| ("device", id.as_str())));
    let page = browser.post(CHANGE, &fields).await.expect(422);
    page.says("more devices than can be named at once (1001)");
    page.says("accepted: up to 1000");
    page.does_not_say("there is no device");
    fields.pop();
    let csrf = browser.csrf.clone();
    let within = [&[("csrf", csrf.as_str())], &fields[..]].concat();
    let done = browser.ask("POST", CHANGE, &within, &[SAME_ORIGIN]).await;
    assert_eq!(done.status, 303, "{}", done.text());
    let all = api.get("devices?limit=1000").await.expect(200);
    let disabled = |list: &Value| {
        let items = list["items"].as_array().unwrap().iter();
        items.filter(|device| device["enabled"] == false).count()
    };
    assert_eq!(disabled(&all), 1000);
    // What is larger than a form may be is refused before it is read.
    let huge = vec![("device", "dev_123456789"); 20_000];
    let page = browser.post(CHANGE, &huge).await.expect(413);
    page.says("the form");
}

#[tokio::test]
async fn a_reader_is_offered_nothing_and_refused_everything() {
    let api = Api::start().await;
    api.fleet().await;
    let ids = api.device_ids("").await;
    let device = format!("{LIST}/{}", ids[0]);
    let before = api.get("devices").await.expect(200);
    let mut browser = Browser::signed_in(&api, "read").await;
    for address in [LIST.to_owned(), device.clone()] {
        let page = browser.get(&address).await.expect(200);
        let buttons = page.buttons();
        assert!(
            buttons.iter().all(|text| text == "Filter"),
            "{address}: {buttons:?}"
        );
        for text in [
            "Create device",
            "Import",
            "Disable…",
            "Move…",
            "Take out…",
            "Put in a cohort…",
        ] {
            assert!(page.links(text).is_empty(), "{address} offers {text}");
        }
        let boxes = page.root.all("input");
        assert!(
            !boxes
                .iter()
                .any(|input| input.attribute("name") == Some("device"))
        );
        for action in ["push", "enable", "tags", "delete", "credentials"] {
            assert!(!page.has_form(&format!("{device}/{action}")), "{action}");
        }
    }
    for address in [
        NEW.to_owned(),
        format!("{LIST}/import"),
        format!("{CHANGE}?action=disable&all=1"),
    ] {
        let page = browser.ask("GET", &address, &[], &[]).await;
        assert_eq!(page.status, 403, "{address}");
        page.says("has the role read; this needs deploy");
    }
    for (below, fields) in [
        ("/new", vec![("name", "x")]),
        ("/change", vec![("action", "disable"), ("all", "1")]),
    ] {
        browser.post(&format!("{LIST}{below}"), &fields).await.expect(403);
    }
    for (below, fields) in [
        ("enable", vec![]),
        ("tags", vec![("add", "x")]),
        ("push", vec![]),
        ("delete", vec![("confirm", "lamp-1")]),
        ("credentials", vec![("type", "psk")]),
        ("credentials/cred_1/retire", vec![]),
    ] {
        browser
            .post(&format!("{device}/{below}"), &fields)
            .await
            .expect(403);
    }
    let file = ("devices.csv", b"name\nx\n".as_slice());
    let page = browser.ask_with_file(&format!("{LIST}/import"), &[], file).await;
    page.expect(403);
    assert_eq!(api.get("devices").await.expect(200), before);
}

impl Api {
    /// Two lamps with a deployment that one of them has failed at, a lift, and a spare one.
    pub async fn fleet(&self) {
        for cohort in ["lamps", "lifts"] {
            self.post("cohorts", &json!({"name": cohort})).await.expect(201);
        }
        for version in ["1.0.0", "2.0.0"] {
            self.artifact("main", version, 64).await;
        }
        self.deployed("lamps", "second").await;
        for (name, cohort, tags) in [
            ("lamp-1", Some("lamps"), vec!["north", "floor:1"]),
            ("lamp-2", Some("lamps"), vec!["south"]),
            ("lift-1", Some("lifts"), vec!["north"]),
            ("spare-1", None, vec![]),
        ] {
            let mut body = json!({"name": name, "tags": tags, "credentials": [{"type": "psk"}]});
            if let Some(cohort) = cohort {
                body["cohort"] = json!(cohort);
            }
            self.post("devices", &body).await.expect(201);
        }
        let (one, two) = (
            self.access("lamp-1-id@default").await,
            self.access("lamp-2-id@default").await,
        );
        self.reported(&one, "main", 0, 0).await;
        self.reported(&two, "main", 0, 5).await;
        self.connect(&one);
    }

    /// Version 2.0.0 of `main` is deployed.
    pub async fn deployed(&self, cohort: &str, name: &str) {
        let body = json!({"name": name, "artifacts": [{"package": "main", "version": "2.0.0"}]});
        let path = format!("cohorts/{cohort}/deployments");
        self.post(&path, &body).await.expect(201);
    }

    pub async fn access(&self, identity: &str) -> DeviceAccess {
        let found = self.control.device_by_identity(identity.as_bytes()).await;
        found
            .unwrap()
            .unwrap_or_else(|| panic!("{identity} may not connect"))
    }

    /// A session that is opened with the credential.
    pub fn connect(&self, access: &DeviceAccess) {
        let session = SessionFacts {
            shard: 0,
            peer: "192.0.2.1:40000".parse().unwrap(),
            suite: "TLS_PSK_WITH_AES_128_CCM_8",
            connection_id: Some([7, 0, 0, 1, 2, 0xa1, 0xb2, 0xc3]),
            credential: Some(access.credential),
            since_ms: clock::unix_ms(),
            serial: 1,
        };
        self.control.connected(&access.entry, session);
    }

    /// A report that is stored: the device runs 1.0.0.
    pub async fn reported(&self, access: &DeviceAccess, package: &str, state: u64, reason: u64) {
        let (done, stored) = oneshot::channel();
        self.control.report_slot().unwrap().take(Report {
            device: access.entry.clone(),
            package: package.to_owned(),
            state,
            reason,
            version: Some("1.0.0".to_owned()),
            target: None,
            at_ms: clock::unix_ms(),
            done: Box::new(move |end| done.send(end).unwrap_or(())),
        });
        stored.await.unwrap().unwrap();
    }

    pub async fn cohort_id(&self, name: &str) -> String {
        let cohorts = self.get(&format!("cohorts?name={name}")).await.expect(200);
        cohorts["items"][0]["id"].as_str().unwrap().to_owned()
    }

    pub async fn device_names(&self, query: &str) -> Vec<String> {
        self.of_devices(query, "name").await
    }

    pub async fn device_ids(&self, query: &str) -> Vec<String> {
        self.of_devices(query, "id").await
    }

    async fn of_devices(&self, query: &str, field: &str) -> Vec<String> {
        let devices = self.get(&format!("devices?limit=1000&{query}")).await.expect(200);
        let items = devices["items"].as_array().unwrap().iter();
        items
            .map(|device| device[field].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The devices of a page of the list.
fn names(page: &Page) -> Vec<String> {
    let Some(rows) = page.root.by_id("rows") else {
        return Vec::new();
    };
    let heads = rows.all("th").into_iter();
    let rows = heads.filter(|head| head.attribute("scope") == Some("row"));
    let links = rows.map(|head| head.all("a")[0].text());
    links.collect()
}

/// The devices of a file.
fn exported(format: &str, file: &str) -> Vec<String> {
    let lines = file.lines();
    match format {
        "CSV" => lines
            .skip(1)
            .map(|line| line.split(',').next().unwrap().to_owned())
            .collect(),
        _ => lines
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect(),
    }
}

fn checked(page: &Page, name: &str) -> bool {
    let inputs = page.root.all("input");
    let found = inputs.iter().find(|input| input.attribute("name") == Some(name));
    found.unwrap().attribute("checked").is_some()
}
