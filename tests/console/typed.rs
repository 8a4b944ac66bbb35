//! What somebody types into the form of an upload, and a session that ends under an open page.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::support::{KEY, Server, noise};

#[tokio::test]
async fn a_version_that_was_typed_stays_when_a_file_is_chosen_and_what_the_image_says_is_said() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (plain, image) = (make("image.bin", &noise(1, 1000)), make("signed.bin", &mcuboot()));
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), KEY).await;
    browser
        .open(&format!("{}/projects/default/packages", server.url()))
        .await;
    browser.is_live().await;
    let choose = async |file: &Path| {
        browser
            .fill("#upload-form input[type=file]", file.to_str().unwrap())
            .await;
    };
    let upload = async |version: &str| {
        browser.click("#upload-form button[type=submit]").await;
        browser.says(&format!("Stored main@{version}")).await;
    };

    browser.fill("#upload-package", "main").await;
    browser.fill("#upload-version", "7.7.7").await;
    choose(&plain).await;
    upload("7.7.7").await;

    browser.fill("#upload-package", "main").await;
    browser.fill("#upload-version", "7.7.8").await;
    choose(&image).await;
    browser
        .says("You typed 7.7.8, and that is kept; 3.1.4+7 is read from the")
        .await;
    upload("7.7.8").await;

    // Nothing was typed: the image says it.
    browser.fill("#upload-package", "main").await;
    choose(&image).await;
    browser.says("3.1.4+7: read from the").await;
    upload("3.1.4+7").await;
    browser.end().await;
}

#[tokio::test]
async fn a_page_whose_key_is_revoked_says_so_and_leads_to_where_one_signs_in() {
    let server = Server::start();
    let key = server.done("POST", "keys", json!({"name": "ann", "role": "deploy"}));
    let browser = Chromium::start().await;
    browser.sign_in(&server.url(), key["key"].as_str().unwrap()).await;
    browser
        .open(&format!("{}/projects/default/packages", server.url()))
        .await;
    browser.is_live().await;
    server.done(
        "DELETE",
        &format!("keys/{}", key["id"].as_str().unwrap()),
        Value::Null,
    );
    browser.says("You are signed out").await;
    browser.click_link("Sign in again").await;
    browser.finds("input[name=key]").await;
    browser.fill("input[name=key]", KEY).await;
    browser.click("button.primary").await;
    browser.finds("#upload-form").await;
    // What it was refused is in the browser's log: that is no end without an error.
}

/// The header of an image of MCUboot, version 3.1.4+7, and something behind it.
fn mcuboot() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0x96f3_b83d_u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(32_u16.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(1000_u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend([3, 1, 4, 0, 7, 0, 0, 0]);
    bytes.extend([0; 4]);
    bytes.extend(noise(2, 1000));
    bytes
}
