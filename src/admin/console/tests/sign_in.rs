//! Signing in and out, and what a session is worth.

use axum::http::header;
use serde_json::{Value, json};

use super::{Api, Browser, KEY, Page, SAME_ORIGIN};
use crate::admin::{Console, Reached};
use crate::fleet::{Actor, KeyName, Role};

const HOME: &str = "/projects/default";

#[tokio::test]
async fn the_right_key_opens_the_page_that_was_asked_for() {
    let api = Api::start().await;
    let mut browser = Browser::new(&api);
    let asked = browser.ask("GET", "/projects/default?a=b%20c&d", &[], &[]).await;
    assert_eq!(asked.status, 303, "{}", asked.text());
    let page = browser.get("/projects/default?a=b%20c&d").await.expect(200);
    assert!(page.address.starts_with("/sign-in?"), "{}", page.address);
    let page = browser
        .submit(&page, "/sign-in", &[("key", KEY)])
        .await
        .expect(200);
    assert_eq!(page.address, "/projects/default?a=b%20c&d");
    page.says("Overview");

    let already = browser.get("/sign-in").await.expect(200);
    assert_eq!(already.address, HOME, "whoever is signed in is not asked again");
}

#[tokio::test]
async fn a_wrong_key_opens_nothing_and_is_not_shown_again() {
    let api = Api::start().await;
    let mut browser = Browser::new(&api);
    for wrong in ["", "wrong-key-1234", "a-bootstrap-key-for-test"] {
        let page = browser.get("/sign-in?next=%2Fprojects%2Fdefault%2Fcohorts").await;
        let page = browser
            .submit(&page, "/sign-in", &[("key", wrong)])
            .await
            .expect(422);
        page.says("This key is unknown, revoked or expired.");
        assert!(!page.headers.contains_key(header::SET_COOKIE));
        assert!(wrong.is_empty() || !page.html.contains(wrong), "{}", page.html);
        let inputs = page.root.all("input");
        let next = inputs
            .iter()
            .find(|input| input.attribute("name") == Some("next"))
            .unwrap();
        assert_eq!(
            next.attribute("value"),
            Some("/projects/default/cohorts"),
            "the way on is kept"
        );
        let key = inputs
            .iter()
            .find(|input| input.attribute("name") == Some("key"))
            .unwrap();
        assert_eq!(key.attribute("aria-invalid"), Some("true"));
        assert!(
            page.root
                .by_id(key.attribute("aria-describedby").unwrap())
                .is_some()
        );
    }
    assert!(browser.get(HOME).await.address.starts_with("/sign-in?"));
}

#[tokio::test]
async fn the_cookie_is_for_this_site_and_for_no_script_and_goes_without_tls_on_loopback_only() {
    let api = Api::start().await;
    for (host, secure) in [
        ("127.0.0.1:8080", false),
        ("localhost:8080", false),
        ("[::1]:8080", false),
        ("gateway.example", true),
        ("10.1.2.3:8080", true),
    ] {
        let mut browser = Browser::new(&api);
        browser.host = host;
        let page = browser
            .ask("POST", "/sign-in", &[("key", KEY)], &[SAME_ORIGIN])
            .await;
        assert_eq!(page.status, 303);
        let cookie = page.headers[header::SET_COOKIE].to_str().unwrap();
        let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
        for wanted in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(attributes.contains(&wanted), "{wanted}: {cookie}");
        }
        assert_eq!(attributes.contains(&"Secure"), secure, "{host}: {cookie}");
        assert_eq!(
            cookie.starts_with("__Host-tessera_session"),
            secure,
            "{host}: {cookie}"
        );
        assert!(!cookie.contains("Domain"), "{cookie}");
        let age = attributes.iter().find_map(|one| one.strip_prefix("Max-Age="));
        let age: u32 = age.unwrap().parse().unwrap();
        assert!((12 * 3600 - 60..=12 * 3600).contains(&age), "{cookie}");
        assert!(!cookie.contains(KEY), "{cookie}");
    }
}

#[tokio::test]
async fn a_browser_that_does_not_send_the_cookie_back_is_told_so_and_not_asked_again_in_silence() {
    let says = "your browser did not send back the cookie";
    let by_tls = "Open the console by https://";
    let proxied = ("x-forwarded-proto", "https");
    for (reached, host, header, secure, said) in [
        // A proxy without TLS before a listener of this machine: the cookie is for TLS, and does not come back.
        (
            Reached::PlainHere,
            "gateway.example",
            SAME_ORIGIN,
            true,
            "allow cookies",
        ),
        (Reached::PlainHere, "gateway.example", ("x", "y"), true, by_tls),
        (
            Reached::PlainAnywhere,
            "gateway.example",
            ("x", "y"),
            false,
            "allow cookies",
        ),
        (
            Reached::PlainAnywhere,
            "gateway.example",
            proxied,
            true,
            "allow cookies",
        ),
        (Reached::Tls, "gateway.example", ("x", "y"), true, "allow cookies"),
        (
            Reached::PlainHere,
            "localhost:8080",
            ("x", "y"),
            false,
            "allow cookies",
        ),
    ] {
        let api = Api::reached_by(reached).await;
        let mut browser = Browser::new(&api);
        browser.host = host;
        let fields = [("key", KEY), ("next", "/projects/default/audit?actor=a%26b")];
        let answer = browser.ask("POST", "/sign-in", &fields, &[header]).await;
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        assert_eq!(
            cookie.contains("; Secure"),
            secure,
            "{reached:?} {host}: {cookie}"
        );
        let to = answer.redirect().unwrap();
        let kept = browser.get(&to).await.expect(200);
        assert_eq!(kept.address, "/projects/default/audit?actor=a%26b");

        browser.cookie = None;
        let page = browser.ask("GET", &to, &[], &[header]).await.expect(200);
        page.says(says);
        page.says(said);
        let again = browser
            .submit(&page, "/sign-in", &[("key", "a-wrong-key-12345")])
            .await
            .expect(422);
        again.does_not_say(says);
        let link = page.links("Go on");
        assert!(
            link.iter()
                .all(|link| link == "/projects/default/audit?actor=a%26b")
        );
    }
    let api = Api::start().await;
    let page = Browser::new(&api).get("/sign-in?next=%2F").await.expect(200);
    page.does_not_say(says);
}

#[tokio::test]
async fn a_cookie_that_another_site_has_added_signs_nobody_out() {
    let api = Api::start().await;
    for (host, name) in [
        ("127.0.0.1:8080", "tessera_session_8080"),
        ("gateway.example", "__Host-tessera_session"),
    ] {
        let mut browser = Browser::new(&api);
        browser.host = host;
        browser.sign_in(KEY).await;
        let own = browser.cookie.clone().unwrap();
        assert!(own.starts_with(name), "{own}");
        for held in [
            format!("tessera_session=tossed; {own}"),
            format!("{own}; tessera_session=tossed"),
            format!("a=b; tessera_session=; tessera_session=tossed; {own}; c=d"),
        ] {
            browser.cookie = Some(held.clone());
            assert_eq!(browser.get(HOME).await.expect(200).address, HOME, "{held}");
            let read = browser.ask("GET", "/v1/projects/default/cohorts", &[], &[]).await;
            assert_eq!(read.status, 200, "{held}");
        }
        browser.cookie = Some(own);
        let page = browser.get(HOME).await;
        let csrf = browser.csrf.clone();
        let fields = [("csrf", csrf.as_str())];
        let out = browser.ask("POST", "/sign-out", &fields, &[SAME_ORIGIN]).await;
        let gone = out.headers.get_all(header::SET_COOKIE).iter();
        let gone: Vec<_> = gone.map(|set| set.to_str().unwrap().to_owned()).collect();
        let removed = |set: &String| set.starts_with(&format!("{name}=;")) && set.contains("Max-Age=0");
        assert!(gone.iter().any(removed), "{gone:?}");
        assert!(page.has_form("/sign-out"));
    }
}

#[tokio::test]
async fn who_only_looks_whether_a_link_is_there_does_not_use_it_up() {
    let api = Api::start().await;
    let link = api.console.sign_in_path(&api.control).unwrap();
    let mut browser = Browser::new(&api);
    let looked = browser.ask("HEAD", &link, &[], &[]).await;
    assert_eq!(looked.status, 204);
    assert!(!looked.headers.contains_key(header::SET_COOKIE));
    assert_eq!(browser.ask("GET", &link, &[], &[]).await.status, 303);
    let mut late = Browser::new(&api);
    assert_eq!(late.ask("GET", &link, &[], &[]).await.status, 422);
}

/// A browser keeps one cookie of a name for all ports of a machine.
#[tokio::test]
async fn two_gateways_of_a_machine_do_not_sign_each_other_out() {
    let (one, other) = (Api::start().await, Api::start().await);
    let mut browsers = [(&one, "127.0.0.1:8080"), (&other, "127.0.0.1:8081")].map(|(api, host)| {
        let mut browser = Browser::new(api);
        browser.host = host;
        browser
    });
    for browser in &mut browsers {
        browser.sign_in(KEY).await;
    }
    let held = browsers.each_ref().map(|browser| browser.cookie.clone().unwrap());
    let names = held.each_ref().map(|cookie| cookie.split('=').next().unwrap());
    assert_ne!(names[0], names[1]);
    for browser in &mut browsers {
        browser.cookie = Some(held.join("; "));
        assert_eq!(browser.get(HOME).await.expect(200).address, HOME);
    }
}

#[tokio::test]
async fn signing_out_ends_this_session_and_no_other() {
    let api = Api::start().await;
    let (mut here, mut there) = (Browser::new(&api), Browser::new(&api));
    here.sign_in(KEY).await;
    there.sign_in(KEY).await;
    assert_ne!(here.cookie, there.cookie);
    let kept = here.cookie.clone();
    let page = here.get(HOME).await;
    let page = here.submit(&page, "/sign-out", &[]).await.expect(200);
    assert_eq!(page.address, "/sign-in");
    assert_eq!(here.cookie, None, "the browser is told to forget it");
    here.cookie = kept;
    assert!(
        here.get(HOME).await.address.starts_with("/sign-in?"),
        "and it is worth nothing"
    );
    assert_eq!(there.get(HOME).await.expect(200).address, HOME);
}

#[tokio::test]
async fn a_revoked_key_ends_its_sessions_at_once() {
    let api = Api::start().await;
    let mut reader = Browser::signed_in(&api, "read").await;
    reader.get(HOME).await.expect(200).says("read");
    let keys = api.get("keys").await.expect(200);
    let made = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["role"] == "read")
        .unwrap()
        .clone();
    api.delete(&format!("keys/{}", made["id"].as_str().unwrap()))
        .await
        .expect(204);

    assert!(reader.get(HOME).await.address.starts_with("/sign-in?"));
    let live = reader.ask("GET", HOME, &[], &[("x-live", "1")]).await;
    assert_eq!(live.status, 401, "an open page is told, and not sent to another");
    let csrf = reader.csrf.clone();
    let form = reader
        .ask("POST", "/sign-out", &[("csrf", csrf.as_str())], &[SAME_ORIGIN])
        .await;
    assert_eq!(form.status, 401);
    form.says("not signed in");
    assert_eq!(form.links("Sign in"), ["/sign-in?next=%2Fsign-out"]);
}

#[tokio::test]
async fn who_is_signed_out_in_the_middle_of_a_form_comes_back_to_its_page() {
    let api = Api::start().await;
    api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    for (page, action) in [
        ("/projects/default/devices/new", "/projects/default/devices/new"),
        ("/projects/default/cohorts", "/projects/default/cohorts"),
        // What only forms are sent to leads to the page that they are on.
        (
            "/projects/default/devices/lamp-1",
            "/projects/default/devices/lamp-1/delete",
        ),
        (
            "/projects/default/cohorts?search=a",
            "/projects/default/cohorts?search=a",
        ),
    ] {
        let mut browser = Browser::new(&api);
        let sent = browser
            .ask("POST", action, &[("name", "typed")], &[SAME_ORIGIN])
            .await;
        assert_eq!(sent.status, 401, "{action}");
        sent.says("what was typed there has to be typed again");
        let link = sent.links("Sign in").remove(0);
        let form = browser.get(&link).await.expect(200);
        let back = browser.submit(&form, "/sign-in", &[("key", KEY)]).await;
        assert_eq!(back.address, page, "{action}");
    }
}

#[tokio::test]
async fn a_session_ends_when_its_key_does() {
    let api = Api::start().await;
    let made = |name: &str, expires_ms| {
        let (control, name) = (api.control.clone(), KeyName::parse(name).unwrap());
        async move {
            control
                .create_key(&Actor::system(), name, Role::Read, Some(expires_ms))
                .await
                .unwrap()
        }
    };
    let past = made("past", 1_000).await;
    let mut browser = Browser::new(&api);
    let page = browser
        .ask("POST", "/sign-in", &[("key", &past.text)], &[SAME_ORIGIN])
        .await;
    assert_eq!(page.status, 422);
    let session = api.control.open_console_session(past.key.id).await.unwrap();
    browser.cookie = Some(format!("tessera_session={}", session.text));
    assert!(browser.get(HOME).await.address.starts_with("/sign-in?"));

    let soon = crate::clock::unix_ms() + 3_600_000;
    let key = made("soon", soon).await;
    let session = api.control.open_console_session(key.key.id).await.unwrap();
    assert_eq!(session.expires_ms, soon, "an hour, and not a working day");
    assert!(api.control.console_session(&session.text, soon - 1).is_some());
    assert!(api.control.console_session(&session.text, soon).is_none());
}

#[tokio::test]
async fn who_signs_in_again_and_again_signs_nobody_else_out_and_is_paced() {
    let api = Api::start().await;
    let mut admin = Browser::new(&api);
    admin.sign_in(KEY).await;
    let name = KeyName::parse("monitor").unwrap();
    let actor = Actor::system();
    let made = api.control.create_key(&actor, name, Role::Read, None);
    let made = made.await.unwrap();
    let mut first = Browser::new(&api);
    first.sign_in(&made.text).await;
    let fields = [("key", made.text.as_str())];
    let mut signed_in = 1;
    let refused = loop {
        let page = Browser::new(&api)
            .ask("POST", "/sign-in", &fields, &[SAME_ORIGIN])
            .await;
        if page.status != 303 {
            break page;
        }
        signed_in += 1;
        assert!(signed_in < 100, "there is an end to it");
    };
    assert_eq!(refused.status, 429);
    refused.says("too many have signed in with this key");
    assert!(refused.has_form("/sign-in"), "it can be tried again");
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(admin.get(HOME).await.expect(200).address, HOME, "another key's");
    assert!(
        first.get(HOME).await.address.starts_with("/sign-in?"),
        "the oldest of this key's"
    );
    let audit = api.get("audit?limit=1000&action=session.close").await.expect(200);
    let lines = audit["items"].as_array().unwrap();
    assert_eq!(lines.len(), signed_in - 20, "each that gave way has its line");
    for line in lines {
        assert_eq!(line["actor"], "monitor", "{line:#}");
        assert_eq!(line["subject"], made.key.id.to_string(), "{line:#}");
        assert_eq!(line["before"]["crowdedOut"], true, "{line:#}");
    }
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_is_refused_and_changes_nothing() {
    let api = Api::start().await;
    let mut browser = Browser::new(&api);
    browser.sign_in(KEY).await;
    let mut other = Browser::new(&api);
    other.sign_in(KEY).await;
    assert_ne!(browser.csrf, other.csrf);
    assert!(
        !browser.cookie.clone().unwrap().contains(&browser.csrf),
        "the cookie does not tell it"
    );
    let own = browser.csrf.clone();
    for fields in [
        vec![],
        vec![("csrf", "")],
        vec![("csrf", other.csrf.as_str())],
        vec![("csrf", &own[1..])],
    ] {
        let page = browser.ask("POST", "/sign-out", &fields, &[SAME_ORIGIN]).await;
        assert_eq!(page.status, 403, "{fields:?}");
        page.says("not one of this session's");
        assert_eq!(
            browser.get(HOME).await.expect(200).address,
            HOME,
            "still signed in"
        );
    }
    for site in ["cross-site", "same-site"] {
        let fields = [("csrf", own.as_str())];
        let page = browser
            .ask("POST", "/sign-out", &fields, &[("sec-fetch-site", site)])
            .await;
        assert_eq!(page.status, 403, "{site}");
        page.says("another site");
        assert_eq!(
            browser.get(HOME).await.expect(200).address,
            HOME,
            "still signed in"
        );
        let fields = [("key", KEY)];
        let page = browser
            .ask("POST", "/sign-in", &fields, &[("sec-fetch-site", site)])
            .await;
        assert_eq!(page.status, 403, "nobody is signed in as somebody else: {site}");
    }
    let fields = [("csrf", own.as_str())];
    let page = browser.ask("POST", "/sign-out", &fields, &[SAME_ORIGIN]).await;
    assert_eq!(page.redirect().as_deref(), Some("/sign-in"), "its own is taken");
}

#[tokio::test]
async fn every_page_says_that_nothing_comes_from_elsewhere() {
    let api = Api::start().await;
    let mut admin = Browser::new(&api);
    admin.sign_in(KEY).await;
    let style = admin.get(HOME).await.root.all("link").iter().find_map(|link| {
        let sheet = link.attribute("rel") == Some("stylesheet");
        sheet.then(|| link.attribute("href").unwrap().to_owned())
    });
    let mut stranger = Browser::new(&api);
    let answers: Vec<(u16, Page)> = vec![
        (200, admin.ask("GET", HOME, &[], &[]).await),
        (303, admin.ask("GET", "/", &[], &[]).await),
        (404, admin.ask("GET", "/projects/default/nothing", &[], &[]).await),
        (404, admin.ask("GET", "/projects/nobody", &[], &[]).await),
        (404, admin.ask("GET", "/nothing", &[], &[]).await),
        (403, admin.ask("POST", "/sign-out", &[], &[]).await),
        (200, admin.ask("GET", &style.unwrap(), &[], &[]).await),
        (404, admin.ask("GET", "/assets/nothing.css", &[], &[]).await),
        (200, stranger.ask("GET", "/sign-in", &[], &[]).await),
        (422, stranger.ask("GET", "/sign-in/no-such-link", &[], &[]).await),
        (422, stranger.ask("POST", "/sign-in", &[("key", "x")], &[]).await),
        (401, stranger.ask("POST", "/sign-out", &[], &[]).await),
        (303, stranger.ask("GET", HOME, &[], &[]).await),
    ];
    for (status, page) in answers {
        assert_eq!(page.status, status, "{}", page.address);
        let said = |name: &str| {
            let value = page.headers.get(name);
            let value = value.unwrap_or_else(|| panic!("{} says no {name}", page.address));
            value.to_str().unwrap().to_owned()
        };
        let policy = said("content-security-policy");
        for wanted in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(
                policy.split("; ").any(|part| part.trim() == wanted),
                "{wanted}: {policy}"
            );
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(said("x-content-type-options"), "nosniff");
        assert_eq!(said("referrer-policy"), "same-origin");
        let kept = said("cache-control");
        let asset = page.address.starts_with("/assets/") && status == 200;
        assert_eq!(kept.contains("immutable"), asset, "{}: {kept}", page.address);
        assert_eq!(kept == "no-store", !asset, "{}: {kept}", page.address);
        for element in page.root.descendants() {
            for (name, value) in element.attributes() {
                let inline = name == "style" || name.starts_with("on") || value.starts_with("javascript:");
                assert!(!inline, "{}: {name}={value:?}", page.address);
            }
            let inline = ["script", "style"].contains(&element.name()) && !element.text().is_empty();
            assert!(!inline, "{}: {}", page.address, element.text());
        }
    }
}

#[tokio::test]
async fn a_link_signs_one_browser_in_and_then_nobody() {
    let api = Api::start().await;
    let console: &Console = &api.console;
    let key = api.control.view().keys()[0].id;
    let path = console.sign_in_path_with(key);
    assert_ne!(path, console.sign_in_path_with(key));
    let mut first = Browser::new(&api);
    assert_eq!(first.get(&path).await.expect(200).address, HOME);
    let mut second = Browser::new(&api);
    let page = second.get(&path).await.expect(422);
    page.says("This link was used already");
    assert_eq!(second.cookie, None);
    assert!(page.has_form("/sign-in"), "another way in is shown");
    assert_eq!(
        first.get(&path).await.expect(200).address,
        HOME,
        "who came by it is not sent away"
    );
}

#[tokio::test]
async fn a_session_outlives_a_restart_of_the_gateway() {
    let api = Api::start().await;
    let (cookie, csrf, out) = {
        let mut browser = Browser::new(&api);
        browser.sign_in(KEY).await;
        let mut reader = Browser::signed_in(&api, "read").await;
        let page = reader.get(HOME).await;
        let out = reader.cookie.clone();
        reader.submit(&page, "/sign-out", &[]).await;
        (browser.cookie.clone(), browser.csrf.clone(), out)
    };
    let api = api.restart().await;
    let mut browser = Browser::new(&api);
    browser.cookie = cookie;
    let page = browser.get(HOME).await.expect(200);
    assert_eq!(page.address, HOME);
    assert_eq!(browser.csrf, csrf, "a form that was open is taken");
    let mut gone = Browser::new(&api);
    gone.cookie = out;
    assert!(
        gone.get(HOME).await.address.starts_with("/sign-in?"),
        "signed out is signed out"
    );
}

#[tokio::test]
async fn the_cookie_reads_from_the_api_and_changes_nothing_in_it() {
    let api = Api::start().await;
    let mut admin = Browser::new(&api);
    admin.sign_in(KEY).await;
    let read = admin
        .ask("GET", "/v1/projects/default/cohorts", &[], &[])
        .await
        .expect(200);
    assert_eq!(
        serde_json::from_str::<Value>(&read.html).unwrap()["items"],
        json!([])
    );
    admin
        .ask("HEAD", "/v1/projects/default/cohorts", &[], &[])
        .await
        .expect(200);
    let csrf = admin.csrf.clone();
    for (method, path) in [
        ("POST", "cohorts"),
        ("POST", "devices:update"),
        ("PUT", "packages/main/artifacts/1.0.0"),
        ("PATCH", "devices/lamp"),
        ("DELETE", "cohorts/lamps"),
    ] {
        let path = format!("/v1/projects/default/{path}");
        let fields = [("name", "lamps"), ("csrf", csrf.as_str())];
        let answer = admin.ask(method, &path, &fields, &[SAME_ORIGIN]).await;
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.html);
    }
    let mut reader = Browser::signed_in(&api, "read").await;
    reader
        .ask("GET", "/v1/projects/default/cohorts", &[], &[])
        .await
        .expect(200);
    reader
        .ask("GET", "/v1/projects/default/keys", &[], &[])
        .await
        .expect(403);
}
