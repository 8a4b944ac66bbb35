//! Uploads as the page does them: a file that is dropped, its progress, a connection that breaks, bytes that are refused.

use std::fs;
use std::path::{Path, PathBuf};

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::support::{KEY, Server, noise};

#[tokio::test]
async fn a_dropped_file_is_sent_with_its_progress_and_its_row_appears_by_itself() {
    let server = Server::start();
    server.upload("main", "2.0.0", b"the one before");
    let files = Files::new();
    let (first, second) = (
        files.make("main-2.1.0.bin", 5_000_000),
        files.make("main-2.2.0.bin", 1000),
    );
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/packages/main", server.url()))
        .await;
    browser.is_live().await;
    browser.mark().await;

    // Beside the place for them they are not taken: a browser would open them in place of the page.
    let both = [first.as_path(), second.as_path()];
    let note = "addEventListener('dragover', (event) => { window.over = [event.defaultPrevented, event.dataTransfer.dropEffect]; })";
    browser.run(note, &[]).await;
    browser.drag("dragEnter", "h1", &both).await;
    browser.drag("dragOver", "h1", &both).await;
    browser
        .returns("return window.over", &[], &json!([true, "none"]))
        .await;

    // In it both are, one after the other.
    browser.drag("dragEnter", ZONE, &both).await;
    browser.drag("dragOver", ZONE, &both).await;
    browser.finds("[data-drop].over").await;
    browser.drag("drop", ZONE, &both).await;
    version_is(&browser, "2.1.0").await;
    browser.says("1 more after it").await;

    // What the bar and its text say, for as long as the row is not there.
    browser.sends_at(Some(2_000_000)).await;
    let watch = "
        window.seen = [];
        const [bar, said] = document.querySelectorAll('#upload-form progress, #upload-form [data-said]');
        new MutationObserver(() => {
            if (document.querySelector('tr[data-key=\"2.1.0\"]') || !bar.getBoundingClientRect().width) return;
            window.seen.push([bar.value, said.textContent]);
        }).observe(bar, { attributeFilter: ['value'] });";
    browser.run(watch, &[]).await;
    browser.click(SUBMIT).await;
    browser.finds("tr[data-key='2.1.0']").await;
    let seen = browser.run("return window.seen", &[]).await;
    let seen = seen.as_array().unwrap();
    let parts: Vec<f64> = seen.iter().map(|seen| seen[0].as_f64().unwrap()).collect();
    let between = parts.iter().filter(|part| 0.0 < **part && **part < 1.0).count();
    assert!(between >= 3 && parts.is_sorted(), "{seen:#?}");
    let left = |seen: &Value| seen[1].as_str().unwrap().contains(" of 4.8 MiB, ");
    assert!(seen.iter().any(left), "{seen:#?}");

    // The second one waits for its own Upload; one that is cancelled leaves nothing.
    browser.says("Stored main@2.1.0").await;
    version_is(&browser, "2.2.0").await;
    browser.sends_at(Some(500)).await;
    browser.click(SUBMIT).await;
    browser.click("#upload-form [data-cancel]").await;
    browser.says("cancelled; nothing was stored").await;
    browser.sends_at(None).await;
    // By the keyboard, which stays where it is.
    browser.holds(FOCUS_AT_SUBMIT, &[]).await;
    browser.press([Key::Enter]).await;
    browser.finds("tr[data-key='2.2.0']").await;
    browser.says("Stored main@2.2.0").await;
    browser.holds(FOCUS_AT_SUBMIT, &[]).await;
    assert!(browser.is_marked().await, "the page was not loaded again");
    let stored = server.done("GET", "packages/main/artifacts", Value::Null);
    assert_eq!(stored["items"].as_array().unwrap().len(), 3, "{stored:#}");
    browser.end().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_says_so_keeps_the_form_and_is_sent_again() {
    let mut server = Server::start();
    let files = Files::new();
    let image = files.make("image.bin", 6_000_000);
    let mut browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/packages", server.url()))
        .await;
    browser.is_live().await;
    browser.mark().await;
    browser.fill("#upload-package", "main").await;
    browser
        .fill("#upload-form input[type=file]", image.to_str().unwrap())
        .await;
    browser.says("image.bin says no version").await;
    browser.fill("#upload-version", "3.0.0").await;
    browser.sends_at(Some(1_000_000)).await;
    browser.click(SUBMIT).await;
    let half_way = "
        const { value } = document.querySelector('#upload-form progress');
        return 0.1 < value && value < 0.9;";
    browser.holds(half_way, &[]).await;

    browser.expects_losses();
    server.kill();
    browser.says("The connection broke off after").await;
    browser.says("nothing was stored. Press Retry").await;
    assert_eq!(browser.value("#upload-package").await, "main");
    assert_eq!(browser.value("#upload-version").await, "3.0.0");
    // Not yet, and the page says so as well.
    browser.says("Reconnecting").await;
    browser.click(SUBMIT).await;
    browser.says("The connection broke off after").await;

    server.start_again();
    browser.is_live().await;
    let stored = server.done("GET", "packages", Value::Null);
    assert_eq!(stored["items"], json!([]), "{stored:#}");
    let left = fs::read_dir(server.data_dir().join("uploads")).unwrap().count();
    assert_eq!(left, 0, "what had come of it is gone");
    assert!(browser.text("#packages").await.contains("No packages yet"));
    browser.sends_at(None).await;
    assert_eq!(browser.text(SUBMIT).await, "Retry");
    browser.click(SUBMIT).await;
    browser.says("Stored main@3.0.0").await;
    browser.finds("#packages tr[data-key='main']").await;
    assert!(!browser.text("#upload-form").await.contains("broke off"));
    assert!(browser.is_marked().await, "the page was not loaded again");
    browser.end().await;
}

#[tokio::test]
async fn a_file_that_is_refused_is_refused_at_its_field_with_what_would_be_accepted() {
    let mut server = Server::start();
    server.upload("main", "1.0.0", b"the bytes of 1.0.0");
    let files = Files::new();
    let image = files.make("image.bin", 3_000_000);
    let mut browser = Chromium::start().await;
    browser.expects_losses();
    browser.sign_in(&server.url(), KEY).await;
    let page = format!("{}/projects/default/packages/main", server.url());
    browser.open(&page).await;
    browser.is_live().await;

    // Other bytes for a version that is there.
    browser
        .fill("#upload-form input[type=file]", image.to_str().unwrap())
        .await;
    browser.says("image.bin says no version").await;
    browser.fill("#upload-version", "1.0.0").await;
    browser.click(SUBMIT).await;
    wrong_at(&browser, "version", "artifact main@1.0.0 is immutable").await;
    wrong_at(&browser, "version", "upload them as another version").await;
    assert_eq!(browser.axe().await, [""; 0]);
    // Another version, and the same file.
    browser.fill("#upload-version", "a version").await;
    browser.click(SUBMIT).await;
    wrong_at(&browser, "version", "accepted: ").await;
    browser.fill("#upload-version", "1.0.1").await;
    browser.click(SUBMIT).await;
    browser.says("Stored main@1.0.1").await;
    browser.finds("tr[data-key='1.0.1']").await;

    // A limit that the page knows is told before anything is sent; one that was lowered since, by the gateway.
    browser.mark().await;
    server.kill();
    server.set("TESSERA__ADMIN__MAX_ARTIFACT_BYTES", "1MiB");
    server.start_again();
    browser.is_live().await;
    browser
        .fill("#upload-form input[type=file]", image.to_str().unwrap())
        .await;
    browser.fill("#upload-version", "1.0.2").await;
    browser.click(SUBMIT).await;
    wrong_at(
        &browser,
        "file",
        "larger than the 1 MiB that are accepted (1048576 bytes",
    )
    .await;
    assert_eq!(browser.value("#upload-version").await, "1.0.2");
    assert!(browser.is_marked().await, "the page was not loaded again");
    browser.open(&page).await;
    browser
        .fill("#upload-form input[type=file]", image.to_str().unwrap())
        .await;
    wrong_at(&browser, "file", "image.bin has 2.9 MiB; accepted: up to 1.0 MiB").await;
    browser.click(SUBMIT).await;
    wrong_at(&browser, "file", "image.bin has 2.9 MiB; accepted: up to 1.0 MiB").await;
    let stored = server.done("GET", "packages/main/artifacts", Value::Null);
    assert_eq!(stored["items"].as_array().unwrap().len(), 2, "{stored:#}");
    browser.end().await;
}

#[tokio::test]
async fn without_scripts_a_refused_file_brings_its_form_back_filled_in() {
    let server = Server::start_with(&[("TESSERA__ADMIN__MAX_ARTIFACT_BYTES", "1MiB")]);
    let files = Files::new();
    let (small, large) = (files.make("small.bin", 1000), files.make("large.bin", 20_000_000));
    let mut browser = Chromium::without_scripts().await;
    browser.expects_losses();
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/packages", server.url()))
        .await;
    for (file, at, said) in [
        (&small, "version", "none was given"),
        (
            &large,
            "file",
            "larger than the 1 MiB that are accepted (1048576 bytes",
        ),
    ] {
        browser.fill("#upload-package", "main").await;
        browser
            .fill("#upload-form input[type=file]", file.to_str().unwrap())
            .await;
        browser.click(SUBMIT).await;
        wrong_at(&browser, at, said).await;
    }
    browser.end().await;
}

/// Files to be uploaded, in a folder of their own.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn make(&self, name: &str, bytes: usize) -> PathBuf {
        let path = Path::join(self.0.path(), name);
        fs::write(&path, noise(bytes as u64, bytes)).unwrap();
        path
    }
}

/// Waits until a version is filled in.
async fn version_is(browser: &Chromium, version: &str) {
    let script = "return document.querySelector('#upload-version').value";
    browser.returns(script, &[], &json!(version)).await;
}

/// Waits until a field of the form is marked as wrong and its description says why.
async fn wrong_at(browser: &Chromium, field: &str, said: &str) {
    let script = "
        const field = document.getElementById(`upload-${arguments[0]}`);
        const texts = (field.getAttribute('aria-describedby') || '').split(' ').map((id) => document.getElementById(id)?.textContent);
        return (field.getAttribute('aria-invalid') === 'true' && texts.join(' ').includes(arguments[1])) || texts;";
    browser.holds(script, &[json!(field), json!(said)]).await;
}

const ZONE: &str = "#upload-form [data-drop]";
const SUBMIT: &str = "#upload-form [type=submit]";
const FOCUS_AT_SUBMIT: &str = "return document.activeElement.matches('#upload-form [type=submit]')";
