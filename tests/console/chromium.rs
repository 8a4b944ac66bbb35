//! A browser: Debian's Chromium and its driver, with a profile of their own.

use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::free_port;
use crate::until;

/// A window with one page; it and its driver end with the test.
pub struct Chromium {
    client: Client,
    driver: Child,
    scripts: bool,
    errors_expected: bool,
    _profile: TempDir,
}

impl Chromium {
    pub async fn start() -> Chromium {
        Chromium::with(true).await
    }

    pub async fn without_scripts() -> Chromium {
        Chromium::with(false).await
    }

    async fn with(scripts: bool) -> Chromium {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}; tests/run installs it"));
        let profile = tempfile::tempdir().unwrap();
        let mut options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--window-size=1440,1000", format!("--user-data-dir={}", profile.path().display()),
            ],
        });
        if !scripts {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({"browser": "ALL"}));
        let client = until("chromedriver answers", async || {
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
                .capabilities(capabilities.clone())
                .connect(&format!("http://127.0.0.1:{port}"))
                .await
                .ok()
        })
        .await;
        Chromium {
            client,
            driver,
            scripts,
            errors_expected: false,
            _profile: profile,
        }
    }

    pub async fn open(&self, address: &str) {
        self.client.goto(address).await.unwrap();
    }

    pub async fn sign_in(&self, url: &str, key: &str) {
        self.open(&format!("{url}/sign-in")).await;
        self.fill("input[name=key]", key).await;
        self.click("button.primary").await;
        self.says("Overview").await;
    }

    pub async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// Waits until there is an element.
    pub async fn finds(&self, css: &str) {
        until(&format!("{css} on the page"), async || {
            self.client.find(Locator::Css(css)).await.ok()
        })
        .await;
    }

    /// Waits until something is read on the page.
    pub async fn says(&self, what: &str) {
        let mut shown = String::new();
        let begun = std::time::Instant::now();
        loop {
            if let Ok(body) = self.client.find(Locator::Css("body")).await
                && let Ok(text) = body.text().await
            {
                if text.contains(what) {
                    return;
                }
                shown = text;
            }
            let address = self.address().await;
            assert!(
                begun.elapsed() < crate::PATIENCE,
                "{what:?} is not on {address}:\n{shown}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Waits until there is no such element.
    pub async fn lacks(&self, css: &str) {
        until(&format!("no {css} on the page"), async || {
            let found = self.client.find_all(Locator::Css(css)).await.ok()?;
            found.is_empty().then_some(())
        })
        .await;
    }

    /// Takes away what is in a field, once.
    pub async fn clear(&self, css: &str) {
        let field = self.client.find(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
    }

    /// What stands in a field.
    pub async fn value(&self, css: &str) -> String {
        let field = self.client.find(Locator::Css(css)).await.unwrap();
        field.prop("value").await.unwrap().unwrap_or_default()
    }

    /// How often the page has been read again by its script; counted from the first time that this is asked.
    pub async fn looks(&self) -> u64 {
        let script = "
            if (window.looks === undefined) {
                window.looks = 0;
                document.addEventListener('tessera:renewed', () => { window.looks += 1; });
            }
            return window.looks;";
        let looks = self.client.execute(script, Vec::new()).await.unwrap();
        looks.as_u64().unwrap()
    }

    /// Waits until the page has been read twice more: the second reading was begun after this was asked.
    pub async fn looked_again(&self, looks: u64) {
        until("another look", async || {
            (self.looks().await >= looks + 2).then_some(())
        })
        .await;
    }

    /// What scrolls sideways in there.
    pub async fn scrolls_sideways(&self, css: &str) -> String {
        let script = format!(
            "return [...document.querySelectorAll('{css} *')].filter((e) => e.scrollWidth > e.clientWidth + 1
                && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).map((e) => e.outerHTML.slice(0, 160)).join(' | ');"
        );
        let found = self.client.execute(&script, Vec::new()).await.unwrap();
        found.as_str().unwrap_or_default().to_owned()
    }

    pub async fn click(&self, css: &str) {
        // The page may bring the element up to date between finding and clicking it.
        until(&format!("{css} to click on"), async || {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            element.click().await.ok()
        })
        .await;
    }

    pub async fn click_link(&self, text: &str) {
        until(&format!("the link {text:?}"), async || {
            let link = self.client.find(Locator::LinkText(text)).await.ok()?;
            link.click().await.ok()
        })
        .await;
    }

    /// Types into a field, in place of what is in it; a file is chosen.
    pub async fn fill(&self, css: &str, text: &str) {
        until(&format!("{css} to type into"), async || {
            let field = self.client.find(Locator::Css(css)).await.ok()?;
            if field.attr("type").await.ok()?.as_deref() != Some("file") {
                field.clear().await.ok()?;
            }
            field.send_keys(text).await.ok()
        })
        .await;
    }

    /// Chooses the option of a list that has this value.
    pub async fn choose(&self, css: &str, value: &str) {
        self.click(&format!("{css} option[value='{value}']")).await;
    }

    /// Leaves something in the page that is gone when it is loaded again.
    pub async fn mark(&self) {
        self.client
            .execute("window.marked = true", Vec::new())
            .await
            .unwrap();
    }

    pub async fn is_marked(&self) -> bool {
        let marked = self
            .client
            .execute("return window.marked === true", Vec::new())
            .await;
        marked.unwrap() == Value::Bool(true)
    }

    /// Waits until the page says that it is.
    pub async fn is_live(&self) {
        self.finds(".live[data-live-state=live]").await;
    }

    pub async fn resize(&self, width: u32) {
        self.client.set_window_size(width, 1000).await.unwrap();
        // A headless window has a smallest width; the page's own is what counts.
        let metrics = json!({"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What is wider than the window and does not scroll in itself; nothing on a page that fits.
    pub async fn sticks_out(&self) -> String {
        let script = "
            const wide = document.documentElement.scrollWidth > innerWidth;
            if (!wide) return '';
            const scrolls = (e) => { for (let p = e.parentElement; p; p = p.parentElement)
                if (getComputedStyle(p).overflowX !== 'visible' && getComputedStyle(e).position !== 'absolute') return true; return false; };
            const out = [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e));
            return out.slice(0, 3).map((e) => e.outerHTML.slice(0, 160)).join(' | ') || 'something';";
        let found = self.client.execute(script, Vec::new()).await.unwrap();
        found.as_str().unwrap_or_default().to_owned()
    }

    /// What axe-core objects to: rules of WCAG 2.0 to 2.2, levels A and AA, each with what breaks it.
    pub async fn axe(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(AXE)
            .unwrap_or_else(|error| panic!("{AXE}: {error}; tests/run fetches it"));
        self.client.execute(&axe, Vec::new()).await.unwrap();
        let script = "
            const done = arguments[0];
            const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
            axe.run(document, { runOnly: rules }).then((found) => done({
                tried: found.passes.length,
                broken: found.violations.map((rule) => `${rule.id}: ${rule.nodes.map((node) => node.html).join(' ').slice(0, 300)}`),
            }));";
        let found = self.client.execute_async(script, Vec::new()).await.unwrap();
        assert!(
            found["tried"].as_u64() > Some(5),
            "axe has looked at the page: {found}"
        );
        let broken = found["broken"].as_array().cloned().unwrap_or_default();
        broken
            .iter()
            .map(|rule| rule.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What the browser says that its owner prefers: `light` or `dark`.
    pub async fn prefers(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", features).await;
    }

    /// From here on the page may report that it could not load something.
    pub fn expects_errors(&mut self) {
        self.errors_expected = true;
    }

    /// Ends it. Nothing that a page reported may be an error.
    pub async fn end(mut self) {
        let log = self.client.issue_cmd(Log).await.unwrap();
        let lines = log.as_array().cloned().unwrap_or_default();
        let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "SEVERE").collect();
        assert!(self.errors_expected || errors.is_empty(), "{errors:#?}");
        assert!(
            self.scripts || lines.is_empty() || errors.is_empty(),
            "{lines:#?}"
        );
        self.client.clone().close().await.unwrap();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }

    async fn command(&self, name: &'static str, parameters: Value) {
        self.client
            .issue_cmd(DevTools { name, parameters })
            .await
            .unwrap();
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

const AXE: &str = "target/tools/axe-core-4.10.3/axe.min.js";

/// What the page reported, as chromedriver has it.
#[derive(Debug)]
struct Log;

impl fantoccini::wd::WebDriverCompatibleCommand for Log {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(json!({"type": "browser"}).to_string()))
    }
}

/// A command of the browser's own protocol.
#[derive(Debug)]
struct DevTools {
    name: &'static str,
    parameters: Value,
}

impl fantoccini::wd::WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (hyper::Method, Option<String>) {
        let body = json!({"cmd": self.name, "params": self.parameters});
        (hyper::Method::POST, Some(body.to_string()))
    }
}
