//! The console as an operator has it: Chromium, driven by chromedriver, in front of a real gateway with simulated devices.
//! A page that reports an error to the browser's console fails its test.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "console/alive.rs"]
mod alive;
#[path = "console/chromium.rs"]
mod chromium;
#[path = "console/devices.rs"]
mod devices;
#[path = "console/keyboard.rs"]
mod keyboard;
#[path = "console/live.rs"]
mod live;
#[path = "console/reader.rs"]
mod reader;
mod support;
#[path = "console/typed.rs"]
mod typed;
#[path = "console/uploads.rs"]
mod uploads;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use chromium::Chromium;
use serde_json::json;
use support::{Device, KEY, Server, noise, tessera};

/// `tessera demo` with its fleet at work; killed when dropped.
struct Demo {
    process: Child,
    link: String,
}

impl Demo {
    fn start() -> Demo {
        let mut process = tessera()
            .args(["demo", "--devices", "10"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The pipe stays open behind the lines: what the demonstration says later must not end it.
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let link = lines.find_map(|line| {
            let line = line.unwrap();
            let at = line.find("http://")?;
            line[at..]
                .contains("/sign-in/")
                .then(|| line[at..].trim().to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Demo {
            process,
            link: link.expect("the demonstration says where its console is"),
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn from_an_upload_to_devices_that_run_it_and_the_page_shows_it_by_itself() {
    let demo = Demo::start();
    let browser = Chromium::start().await;
    browser.open(&demo.link).await;
    browser.says("Active deployments").await;

    // Upload an artifact.
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.bin");
    fs::write(&image, noise(7, 100_000)).unwrap();
    browser.click_link("Packages").await;
    browser.click("a[href$='/packages/main']").await;
    browser
        .fill("#upload-form input[type=file]", image.to_str().unwrap())
        .await;
    browser.fill("#upload-form input[name=version]", "7.0.0").await;
    browser.click("#upload-form button[type=submit]").await;
    browser.says("7.0.0").await;
    browser.finds("tr[data-key='7.0.0']").await;

    // Open the cohort, Deploy, name and packages, Next, review, Start deployment.
    browser.click_link("Cohorts").await;
    browser.click("a[href*='/cohorts/coh_']").await;
    browser.click("a[href$='/deploy']").await;
    browser.fill("input[name=name]", "the seventh").await;
    browser.choose("select[name='version:main']", "7.0.0").await;
    browser.click(".actions button[value=review]").await;
    browser.finds("input[name=token]").await;
    browser.says("7.0.0").await;
    browser.click(".actions button.primary").await;
    browser.says("the seventh").await;
    browser.finds("#progress").await;
    let address = browser.address().await;
    assert!(address.contains("/deployments/dep_"), "{address}");

    // The fleet converges and nobody reloads the page.
    browser.mark().await;
    browser.says("100 % done").await;
    browser.finds("#progress-over-time svg").await;
    assert!(browser.is_marked().await, "the page was not loaded again");

    // Roll back: filled in, and confirmed by typing as it goes down.
    browser.click_link("Cohorts").await;
    browser.click("a[href*='/cohorts/coh_']").await;
    browser.says("the seventh").await;
    browser
        .click("#history tbody tr:nth-child(2) a[href*='from=']")
        .await;
    browser.click(".actions button[value=review]").await;
    browser.fill("input[name=confirm]", "demo").await;
    browser.click(".actions button.primary").await;
    // The deployment's page, and not the review that is about to go.
    browser.finds("#progress").await;
    browser.mark().await;
    browser.says("100 % done").await;
    assert!(browser.is_marked().await, "the page was not loaded again");
    browser.end().await;
}

#[tokio::test]
async fn a_page_left_open_over_a_restart_says_so_and_recovers_by_itself() {
    let mut server = Server::start();
    server.done("POST", "cohorts", json!({"name": "before it"}));
    let mut browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/cohorts", server.url()))
        .await;
    browser.is_live().await;
    browser.mark().await;
    // An hour goes by in which nothing moves.
    let hour = "
        const now = Date.now;
        window.asked = 0;
        Date.now = () => { window.asked += 1; return now() + 3_600_000; };";
    browser.run(hour, &[]).await;
    browser.holds("return window.asked > 1", &[]).await;

    server.kill();
    browser.expects_losses();
    browser.says(" s old").await;
    let shown = browser.text(".live").await;
    assert!(shown.starts_with("Reconnecting… data is "), "{shown}");
    // What is read out is that, and not every second of it.
    assert_eq!(browser.text("[data-live-said]").await, "Reconnecting…");
    server.start_again();
    browser.is_live().await;
    // The session is the same, and what happened since is on the page.
    server.done("POST", "cohorts", json!({"name": "after the restart"}));
    browser.says("after the restart").await;
    assert!(browser.is_marked().await, "the page was not loaded again");
    browser.end().await;
}

#[tokio::test]
async fn without_scripts_the_same_forms_do_the_same() {
    let server = Server::start();
    server.upload("main", "1.0.0", b"bytes");
    server.device("lamp-1", "lamps");
    let browser = Chromium::without_scripts().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/cohorts", server.url()))
        .await;
    browser.click("a[href*='/cohorts/coh_']").await;
    browser.click("a[href$='/deploy']").await;
    browser.fill("input[name=name]", "by forms alone").await;
    browser.choose("select[name='version:main']", "1.0.0").await;
    browser.click(".actions button[value=review]").await;
    browser.finds("input[name=token]").await;
    browser.click(".actions button.primary").await;
    browser.finds("#progress").await;
    browser.says("by forms alone").await;
    let address = browser.address().await;
    assert!(address.contains("/deployments/dep_"), "{address}");
    browser.end().await;
}

#[tokio::test]
async fn every_page_fits_a_telephone_and_reports_no_error() {
    let server = Server::start();
    let pages = long_names(&server);
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    let mut wide = Vec::new();
    for width in [1440, 1024, 768, 390] {
        browser.resize(width).await;
        for page in &pages {
            browser.open(page).await;
            browser.finds("main h1").await;
            let over = browser.sticks_out().await;
            if !over.is_empty() {
                wide.push(format!("{page} at {width}: {over}"));
            }
        }
    }
    assert!(wide.is_empty(), "wider than the window:\n{}", wide.join("\n"));
    browser.end().await;
}

#[tokio::test]
async fn tables_break_no_word_and_are_lists_on_a_telephone() {
    let server = Server::start();
    let packages = ["assets", "bootloader", "config", "main", "ml-model", "modem"];
    for package in packages {
        server.upload(package, "2026.06.1", package.as_bytes());
    }
    for number in 1..=3 {
        server.device(&format!("lamp-{number}"), "street-lamps");
    }
    for (number, name) in ["Rollout of spring", "Rollout of summer", "Hotfix dimming"]
        .into_iter()
        .enumerate()
    {
        let set: Vec<_> = packages[..4 + number]
            .iter()
            .map(|package| (*package, "2026.06.1"))
            .collect();
        server.deploy("street-lamps", name, &set);
    }
    // Two cohorts with one package: their names are side by side on its page, and have to be told apart by a finger.
    server.device("valve-1", "valves");
    server.deploy("valves", "Valves", &[("main", "2026.06.1")]);
    let cohort = format!("/cohorts/{}", server.cohort_id("street-lamps"));
    let pages = [
        String::new(),
        "/cohorts".to_owned(),
        cohort.clone(),
        format!("{cohort}/progress"),
        format!("{cohort}/devices"),
        format!("{cohort}/devices/add"),
        format!("{cohort}/deploy"),
        "/packages".to_owned(),
        "/packages/main".to_owned(),
        "/devices".to_owned(),
        "/traffic".to_owned(),
        "/audit".to_owned(),
        "/settings".to_owned(),
    ];
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    let mut wrong = Vec::new();
    for width in [1440, 1280, 1024, 768, 390] {
        browser.resize(width).await;
        for page in &pages {
            browser
                .open(&format!("{}/projects/default{page}", server.url()))
                .await;
            browser.finds("main h1").await;
            let mut found = browser.broken_words().await;
            // There is room for what is usual. A history of many packages scrolls, and its ends stay in sight.
            let scroll = browser.tables_that_scroll().await;
            if width < 1000 || scroll != "Deployments" {
                found.push_str(&scroll);
            }
            if !found.is_empty() {
                wrong.push(format!("{page} at {width}: {found}"));
            }
            let objections = browser.axe().await;
            wrong.extend(
                objections
                    .into_iter()
                    .map(|what| format!("{page} at {width}: {what}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    browser.end().await;
}

#[tokio::test]
async fn axe_finds_nothing_to_object_to_on_any_page_in_light_or_dark() {
    let server = Server::start();
    let mut pages = long_names(&server);
    let browser = Chromium::start().await;
    browser.open(&format!("{}/sign-in", server.url())).await;
    let mut found = browser.axe().await;
    browser.sign_in(&server.url(), KEY).await;
    pages.push(format!("{}/projects/default/nowhere", server.url()));
    for scheme in ["light", "dark"] {
        browser.prefers(scheme).await;
        for page in &pages {
            browser.open(page).await;
            browser.finds("main h1").await;
            let objections = browser.axe().await;
            found.extend(
                objections
                    .into_iter()
                    .map(|what| format!("{page}, {scheme}: {what}")),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A fleet in which everything has the longest name it can have, and every page about it.
fn long_names(server: &Server) -> Vec<String> {
    let (package, cohort) = ("m".repeat(63), "c".repeat(63));
    server.upload(&package, "1.0.0", b"bytes");
    server.done("POST", "cohorts", json!({"name": cohort}));
    let device = json!({
        "name": "d".repeat(63),
        "cohort": cohort,
        "credentials": [{"type": "psk", "identity": "d"}],
    });
    let device = server.done("POST", "devices", device);
    let deployed = server.deploy(&cohort, &"n".repeat(100), &[(&package, "1.0.0")]);
    let cohort = server.cohort_id(&cohort);
    [
        String::new(),
        "/cohorts".to_owned(),
        format!("/cohorts/{cohort}"),
        format!("/cohorts/{cohort}/progress"),
        format!("/cohorts/{cohort}/devices"),
        format!("/cohorts/{cohort}/devices/add"),
        format!("/cohorts/{cohort}/settings"),
        format!("/cohorts/{cohort}/deploy"),
        format!("/deployments/{}", deployed["id"].as_str().unwrap()),
        "/packages".to_owned(),
        format!("/packages/{package}"),
        "/devices".to_owned(),
        "/devices/new".to_owned(),
        "/devices/import".to_owned(),
        format!("/devices/{}", device["id"].as_str().unwrap()),
        format!(
            "/devices/change?action=disable&device={}",
            device["id"].as_str().unwrap()
        ),
        "/traffic".to_owned(),
        "/audit".to_owned(),
        "/settings".to_owned(),
    ]
    .map(|page| format!("{}/projects/default{page}", server.url()))
    .to_vec()
}

/// Two versions, and a cohort with a device.
fn lamps() -> (Server, Device) {
    let server = Server::start();
    server.upload("main", "1.0.0", b"the first bytes");
    server.upload("main", "1.1.0", b"the bytes after them");
    let lamp = server.device("lamp-1", "lamps");
    (server, lamp)
}

/// How long a page may take for something that takes a moment on a quiet machine. A device that lost its session in an update
/// takes its own time to come back.
const PATIENCE: Duration = Duration::from_secs(240);

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
