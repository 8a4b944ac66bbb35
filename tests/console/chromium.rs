//! A browser: Debian's Chromium and its driver, with a profile of their own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::free_port;
use crate::{PATIENCE, until};

/// A window with one page; it and its driver end with the test.
pub struct Chromium {
    client: Client,
    driver: Child,
    losses_expected: bool,
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
            losses_expected: false,
            _profile: profile,
        }
    }

    pub async fn open(&self, address: &str) {
        self.client.goto(address).await.unwrap();
    }

    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    pub async fn back(&self) {
        self.client.back().await.unwrap();
    }

    pub async fn forward(&self) {
        self.client.forward().await.unwrap();
    }

    /// Goes on in a window of its own, signed in as in the first one.
    pub async fn in_another_window(&self) {
        let window = self.client.new_window(false).await.unwrap();
        self.client.switch_to_window(window.handle).await.unwrap();
    }

    /// Signs out without telling the gateway.
    pub async fn forget_cookies(&self) {
        self.client.delete_all_cookies().await.unwrap();
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
        let begun = Instant::now();
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
                begun.elapsed() < PATIENCE,
                "{what:?} is not on {address}:\n{shown}"
            );
            tokio::time::sleep(ASKED_AGAIN).await;
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

    /// What stands in a field, or what an option is chosen of a list.
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

    /// Presses keys one after the other; they go to whatever has the focus.
    pub async fn press<K: Into<char>>(&self, keys: impl IntoIterator<Item = K>) {
        let keyboard = KeyActions::new("keyboard".into());
        let pressed = keys.into_iter().map(K::into).fold(keyboard, |so_far, value| {
            so_far
                .then(KeyAction::Down { value })
                .then(KeyAction::Up { value })
        });
        self.client.perform_actions(pressed).await.unwrap();
    }

    /// Presses keys all at once.
    pub async fn chord(&self, keys: &[Key]) {
        let keyboard = KeyActions::new("keyboard".into());
        let values = || keys.iter().map(|key| char::from(*key));
        let down = values().fold(keyboard, |so_far, value| so_far.then(KeyAction::Down { value }));
        let up = values()
            .rev()
            .fold(down, |so_far, value| so_far.then(KeyAction::Up { value }));
        self.client.perform_actions(up).await.unwrap();
    }

    /// Moves the pointer to the middle of an element.
    pub async fn point_at(&self, css: &str) {
        let at = self.middle_of(css).await;
        let event = json!({"type": "mouseMoved", "x": at[0], "y": at[1]});
        self.command("Input.dispatchMouseEvent", event).await;
    }

    /// Does something with files that are dragged from outside the window, in the middle of an element: `dragEnter`, `dragOver` or
    /// `drop`.
    pub async fn drag(&self, kind: &str, css: &str, files: &[&Path]) {
        let at = self.middle_of(css).await;
        let event = json!({
            "type": kind, "x": at[0], "y": at[1],
            "data": {"items": [], "files": files, "dragOperationsMask": 1},
        });
        self.command("Input.dispatchDragEvent", event).await;
    }

    async fn middle_of(&self, css: &str) -> Value {
        let middle = "
            const element = document.querySelector(arguments[0]);
            element.scrollIntoView({ block: 'center', behavior: 'instant' });
            const { x, y, width, height } = element.getBoundingClientRect();
            return [x + width / 2, y + height / 2];";
        self.finds(css).await;
        self.run(middle, &[json!(css)]).await
    }

    /// How fast what it sends goes out from here on; without bounds for `None`.
    pub async fn sends_at(&self, bytes_per_second: Option<u32>) {
        self.command("Network.enable", json!({})).await;
        let conditions = json!({
            "offline": false, "latency": 0, "downloadThroughput": -1,
            "uploadThroughput": bytes_per_second.map_or(-1, i64::from),
        });
        self.command("Network.emulateNetworkConditions", conditions).await;
    }

    /// What a script in the page returns.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.client.execute(script, arguments.to_vec()).await.unwrap()
    }

    /// What a script in the page hands to the function that is its last argument.
    pub async fn run_async(&self, script: &str, arguments: &[Value]) -> Value {
        let answer = self.client.execute_async(script, arguments.to_vec()).await;
        answer.unwrap()
    }

    /// Waits until a script returns this.
    pub async fn returns(&self, script: &str, arguments: &[Value], wanted: &Value) {
        let begun = Instant::now();
        loop {
            // The page may go away under the script.
            let answer = self.client.execute(script, arguments.to_vec()).await;
            match answer {
                Ok(answer) if answer == *wanted => return,
                answer => assert!(
                    begun.elapsed() < PATIENCE,
                    "{script}\nof {arguments:?} is {answer:?} and not {wanted}"
                ),
            }
            tokio::time::sleep(ASKED_AGAIN).await;
        }
    }

    /// Waits until a script returns true.
    pub async fn holds(&self, script: &str, arguments: &[Value]) {
        self.returns(script, arguments, &Value::Bool(true)).await;
    }

    /// What is read in an element.
    pub async fn text(&self, css: &str) -> String {
        let text = self
            .run(
                "return document.querySelector(arguments[0]).innerText",
                &[json!(css)],
            )
            .await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Leaves something in the page that is gone when it is loaded again.
    pub async fn mark(&self) {
        self.run("window.marked = true", &[]).await;
    }

    pub async fn is_marked(&self) -> bool {
        self.run("return window.marked === true", &[]).await == Value::Bool(true)
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

    /// Words of tables that are broken over two lines though they are short.
    pub async fn broken_words(&self) -> String {
        let script = "
            const broken = [];
            const unseen = (element) => !element.checkVisibility() || element.closest('.visually-hidden')
                || [element.closest('thead')].some((head) => head && getComputedStyle(head).position === 'absolute');
            for (const table of document.querySelectorAll('main table')) {
                const texts = document.createTreeWalker(table, NodeFilter.SHOW_TEXT);
                while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/\\S+/g)) {
                    if (word[0].length > 14 || word[0].includes('-') || unseen(texts.currentNode.parentElement)) continue;
                    const range = document.createRange();
                    range.setStart(texts.currentNode, word.index);
                    range.setEnd(texts.currentNode, word.index + word[0].length);
                    const lines = new Set([...range.getClientRects()].map((rect) => Math.round(rect.top)));
                    if (lines.size > 1) broken.push(word[0]);
                }
            }
            return broken.join(' ');";
        let found = self.client.execute(script, Vec::new()).await.unwrap();
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Tables that have to be scrolled sideways, by what they are called.
    pub async fn tables_that_scroll(&self) -> String {
        let script = "
            const wide = [...document.querySelectorAll('.table-wrap')]
                .filter((wrap) => wrap.checkVisibility() && wrap.scrollWidth > wrap.clientWidth + 1);
            return wide.map((wrap) => wrap.getAttribute('aria-label') || wrap.id).join(', ');";
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

    /// From here on the page may report that it could not load something, or that it was refused. Any other error is still one.
    pub fn expects_losses(&mut self) {
        self.losses_expected = true;
    }

    /// Ends it. Nothing that a page reported may be an error.
    pub async fn end(mut self) {
        let log = self.client.issue_cmd(Log).await.unwrap();
        let lines = log.as_array().cloned().unwrap_or_default();
        let errors: Vec<_> = lines
            .iter()
            .filter(|line| line["level"] == "SEVERE")
            .filter(|line| !(self.losses_expected && line["source"] == "network"))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        self.client.clone().close().await.unwrap();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }

    async fn command(&self, name: &'static str, parameters: Value) {
        let command = DevTools { name, parameters };
        self.client.issue_cmd(command).await.unwrap();
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Between two looks at a page.
const ASKED_AGAIN: Duration = Duration::from_millis(50);
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
