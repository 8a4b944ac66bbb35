//! The console by the keyboard alone: focus that is seen, in the order of reading, and that stays where it is.

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::support::{KEY, Server};
use crate::{lamps, long_names, until};

#[tokio::test]
async fn the_whole_way_to_a_deployment_is_gone_by_the_keyboard() {
    let (server, _) = lamps();
    server.deploy("lamps", "the first", &[("main", "1.1.0")]);
    let mut browser = Chromium::start().await;
    browser.expects_losses();
    browser.open(&format!("{}/sign-in", server.url())).await;

    // A wrong key, and the field has the focus again.
    focus_is(&browser, "input[name=key]").await;
    browser.press("no-key".chars()).await;
    browser.press([Key::Enter]).await;
    browser.finds("input[name=key][aria-invalid=true]").await;
    focus_is(&browser, "input[name=key]").await;
    browser.press(KEY.chars()).await;
    browser.press([Key::Enter]).await;
    browser.says("Active deployments").await;

    // To the cohort, past the navigation: the first thing is the way around it.
    tab_to(&browser, "nav a[href$='/cohorts']").await;
    browser.press([Key::Enter]).await;
    browser.finds("main a[href*='/cohorts/coh_']").await;
    browser.press([Key::Tab]).await;
    focus_is(&browser, "a.skip").await;
    browser.press([Key::Enter]).await;
    focus_is(&browser, "main").await;
    tab_to(&browser, "main tbody th a[href*='/cohorts/coh_']").await;
    browser.press([Key::Enter]).await;
    browser.finds("#history").await;
    skip_to_main(&browser).await;
    tab_to(&browser, "a[href$='/deploy']").await;
    browser.press([Key::Enter]).await;

    // A name that is taken comes back at its field, with the rest as it was chosen.
    browser.finds("input[name=name]").await;
    skip_to_main(&browser).await;
    tab_to(&browser, "input[name=name]").await;
    browser.press("the first".chars()).await;
    tab_to(&browser, "select[name='version:main']").await;
    browser.press([Key::Down]).await;
    assert_eq!(browser.value("select[name='version:main']").await, "1.0.0");
    tab_to(&browser, ".actions button[value=review]").await;
    browser.press([Key::Enter]).await;
    browser.finds("input[name=name][aria-invalid=true]").await;
    focus_is(&browser, "input[name=name]").await;
    assert_eq!(browser.value("input[name=name]").await, "the first");
    assert_eq!(browser.value("select[name='version:main']").await, "1.0.0");
    assert_eq!(browser.axe().await, [""; 0]);

    // And back to it with Shift.
    tab_to(&browser, "select[name='version:main']").await;
    back_to(&browser, "input[name=name]").await;
    browser.press([Key::End]).await;
    browser.press(", again".chars()).await;
    browser.press([Key::Enter]).await;

    // It goes down, so the cohort's name is typed; wrong at first.
    browser.finds("input[name=confirm]").await;
    skip_to_main(&browser).await;
    tab_to(&browser, "input[name=confirm]").await;
    browser.press("lamp".chars()).await;
    browser.press([Key::Enter]).await;
    browser.finds("input[name=confirm][aria-invalid=true]").await;
    focus_is(&browser, "input[name=confirm]").await;
    assert_eq!(browser.value("input[name=confirm]").await, "lamp");
    browser.press([Key::End]).await;
    browser.press(['s']).await;
    tab_to(&browser, ".actions button.primary").await;
    browser.press([' ']).await;
    browser.finds("#progress").await;
    browser.says("the first, again").await;
    let address = browser.address().await;
    assert!(address.contains("/deployments/dep_"), "{address}");
    skip_to_main(&browser).await;
    tab_to(&browser, "#progress .stages a").await;
    browser.end().await;
}

#[tokio::test]
async fn whatever_the_keyboard_comes_to_is_seen_to_have_the_focus() {
    let server = Server::start();
    let pages = long_names(&server);
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    let mut unseen = Vec::new();
    for width in [1440, 390] {
        browser.resize(width).await;
        for page in &pages {
            browser.open(page).await;
            browser.finds("main h1").await;
            // From the first key on, the browser shows where the focus is.
            browser.press([Key::Tab]).await;
            let found = browser.run(&[UNSEEN, ALL_UNSEEN].concat(), &[]).await;
            let found = found.as_array().unwrap().iter();
            unseen.extend(found.map(|what| format!("{page} at {width}: {what}")));
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
    browser.end().await;
}

#[tokio::test]
async fn a_list_is_walked_through_by_the_keyboard_before_it_filters() {
    let (server, _) = lamps();
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    let page = format!("{}/projects/default/devices", server.url());
    browser.open(&page).await;
    browser.mark().await;
    skip_to_main(&browser).await;
    tab_to(&browser, "select[name=state]").await;
    browser.press([Key::Down, Key::Down]).await;
    let chosen = browser.value("select[name=state]").await;
    assert!(!chosen.is_empty());
    focus_is(&browser, "select[name=state]").await;
    tab_to(&browser, "form[data-filter] [type=submit]").await;
    assert!(browser.is_marked().await, "nothing was sent yet");
    browser.press([Key::Enter]).await;
    until("the filter is in the address", async || {
        let address = browser.address().await;
        address.contains(&format!("state={chosen}")).then_some(())
    })
    .await;
    browser.end().await;
}

#[tokio::test]
async fn what_opens_over_the_page_is_typed_into_at_once_and_closes_with_escape() {
    let (server, _) = lamps();
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/cohorts", server.url()))
        .await;
    browser.click("details.create summary").await;
    browser
        .holds("return document.activeElement.id === 'name'", &[])
        .await;
    browser.press([Key::Escape]).await;
    browser.finds("details.create:not([open])").await;
    focus_is(&browser, "details.create summary").await;
    browser.end().await;
}

#[tokio::test]
async fn a_form_that_comes_back_has_the_focus_where_something_is_wrong() {
    let (server, lamp) = lamps();
    server.done("POST", "devices", json!({"name": "fan-1"}));
    let (device, cohort) = (format!("/devices/{}", lamp.id), server.cohort_id("lamps"));
    let cohort = format!("/cohorts/{cohort}");
    let mut browser = Chromium::start().await;
    browser.expects_losses();
    browser.sign_in(&server.url(), KEY).await;
    let mut objections = Vec::new();
    for (page, form, fields, at) in [
        (
            "/cohorts",
            "form[action$='/cohorts'][method=post]",
            json!({"name": "lamps"}),
            "#name",
        ),
        (
            "/packages",
            "form[action$='/packages'][method=post]",
            json!({"name": "a b"}),
            "#create-name",
        ),
        (
            "/devices",
            "form[data-filter]",
            json!({"version": "main"}),
            "#filter-version",
        ),
        (
            "/devices",
            "form[action$='/devices/change']",
            json!({}),
            ".notice.wrong",
        ),
        ("/devices/new", "main form", json!({"name": "lamp-1"}), "#name"),
        (
            "/devices/new",
            "main form",
            json!({"name": "lamp-2", "tags": "what?"}),
            "#tags",
        ),
        ("/devices/import", "main form", json!({}), "#file"),
        (
            &format!("/devices/change?action=tag&device={}", lamp.id),
            "main form",
            json!({"tag": "a b"}),
            "#tag",
        ),
        (&device, "form:has(#tags)", json!({"add": "a b"}), "#tags"),
        (
            &device,
            "form:has(#identity)",
            json!({"identity": lamp.identity}),
            "#identity",
        ),
        (
            &device,
            "form:has(#confirm)",
            json!({"confirm": "lamp"}),
            "#confirm",
        ),
        (
            &format!("{cohort}/devices"),
            "main form[method=post]",
            json!({}),
            "#wrong",
        ),
        (
            &format!("{cohort}/devices/add"),
            "main form[method=post]",
            json!({}),
            "#wrong",
        ),
        (
            &format!("{cohort}/deploy"),
            ".steps-form",
            json!({"name": "none"}),
            "#packages-wrong",
        ),
        (
            "/settings",
            "form[action$='/keys']",
            json!({"name": "ci", "days": "ten"}),
            "[name=days]",
        ),
        (
            "/settings",
            "form[action$='/device-cas']",
            json!({"pem": "a b"}),
            "[name=pem]",
        ),
    ] {
        browser
            .open(&format!("{}/projects/default{page}", server.url()))
            .await;
        browser.mark().await;
        browser.run(SEND, &[json!(form), fields]).await;
        browser
            .returns("return window.marked ?? false", &[], &json!(false))
            .await;
        focus_is(&browser, at).await;
        let at = browser.run(&[UNSEEN, FOCUS].concat(), &[json!(at)]).await;
        assert_eq!(at["seen"], "", "{page}: {at:#}");
        let found = browser.axe().await;
        objections.extend(found.into_iter().map(|what| format!("{page}: {what}")));
    }
    assert!(objections.is_empty(), "{}", objections.join("\n"));
    browser.end().await;
}

/// Waits until an element has the focus.
async fn focus_is(browser: &Chromium, css: &str) {
    let script = "
        const at = document.activeElement;
        return at.matches(arguments[0]) || at.outerHTML.slice(0, 200);";
    browser.holds(script, &[json!(css)]).await;
}

/// Goes around the navigation, from the top of a page.
async fn skip_to_main(browser: &Chromium) {
    // A field that the page has put the focus at is beyond it.
    let at_top = browser
        .run("return document.activeElement === document.body", &[])
        .await;
    if at_top == true {
        browser.press([Key::Tab]).await;
        focus_is(browser, "a.skip").await;
        browser.press([Key::Enter]).await;
        focus_is(browser, "main").await;
    }
}

async fn tab_to(browser: &Chromium, css: &str) {
    walk_to(browser, css, &[Key::Tab]).await;
}

async fn back_to(browser: &Chromium, css: &str) {
    walk_to(browser, css, &[Key::Shift, Key::Tab]).await;
}

/// Moves the focus until an element has it. Wherever it comes by, it is seen, and it goes down the page, or up it with Shift.
async fn walk_to(browser: &Chromium, css: &str, keys: &[Key]) {
    let mut way: Vec<Value> = Vec::new();
    loop {
        browser.chord(keys).await;
        let at = browser.run(&[UNSEEN, FOCUS].concat(), &[json!(css)]).await;
        assert_eq!(at["seen"], "", "{css}, by way of {way:#?}: {at:#}");
        let place = |edge: &str, at: &Value| at[edge].as_f64().unwrap();
        if let Some(before) = way.last().filter(|before| before["in"] == at["in"]) {
            let (upper, lower) = if keys.len() > 1 {
                (&at, before)
            } else {
                (before, &at)
            };
            assert!(
                place("bottom", lower) > place("top", upper),
                "{css}: from {before:#} the focus jumped to {at:#}"
            );
        }
        if at["there"] == true {
            return;
        }
        way.push(at);
        assert!(way.len() < 60, "{css} is not reached, by way of {way:#?}");
    }
}

/// Why an element that has the focus is not seen to have it, if it is not (WCAG 2.2, 2.4.7 and 2.4.11).
const UNSEEN: &str = "
    const unseen = (at) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(at);
        const box = at.getBoundingClientRect();
        if (at === document.body) return 'nothing has it';
        if (outlineStyle === 'none' || parseFloat(outlineWidth) < 2) return 'it has no outline';
        if (box.width < 2 || box.height < 2) return 'it has no size';
        const [left, right] = [Math.max(box.left, 0), Math.min(box.right, innerWidth)];
        const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, innerHeight)];
        if (left >= right || top >= bottom) return 'it is out of sight';
        const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
        const label = [...(at.labels ?? [])].some((label) => label.contains(there));
        return at.contains(there) || there?.contains(at) || label ? '' : `${there?.outerHTML.slice(0, 80)} covers it`;
    };";

/// Where the focus is: whether it is seen, in which part of the page it is, and how far down.
const FOCUS: &str = "
    const at = document.activeElement;
    const box = at.getBoundingClientRect();
    return {
        seen: unseen(at), what: at.outerHTML.slice(0, 120), there: at.matches(arguments[0]),
        in: at.closest('main, nav, .rail')?.tagName ?? 'BODY', top: box.top + scrollY, bottom: box.bottom + scrollY,
    };";

/// What the keyboard can come to, and is not seen there.
const ALL_UNSEEN: &str = "
    const all = document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]');
    return [...all].filter((at) => at.tabIndex >= 0 && !at.disabled && at.type !== 'hidden' && at.checkVisibility()).flatMap((at) => {
        at.focus();
        const why = unseen(at);
        return why && document.activeElement === at ? [`${at.outerHTML.slice(0, 120)}: ${why}`] : [];
    });";

/// Fills a form in and sends it, whatever the browser itself thinks of it.
const SEND: &str = "
    const form = document.querySelector(arguments[0]);
    form.noValidate = true;
    for (const [name, value] of Object.entries(arguments[1])) form.elements[name].value = value;
    form.querySelector('button[type=submit], button:not([type])').click();";
