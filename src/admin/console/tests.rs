//! The console over the router in this process, as a browser sees it: pages, forms, cookies, redirects.

mod deploy;
mod deployment;
mod desk;
mod device;
mod devices;
mod html;
mod import;
mod newcomer;
mod packages;
mod pages;
mod sign_in;
mod uploads;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use serde_json::json;
use tower::ServiceExt;

pub use crate::admin::tests::{Api, KEY};
pub use html::Element;

/// A browser: keeps the session's cookie, follows redirects, and sends the forms of the page it shows.
pub struct Browser<'a> {
    api: &'a Api,
    /// What it asks for as `Host`.
    pub host: &'static str,
    /// The cookie it holds, as it sends it.
    pub cookie: Option<String>,
    /// What the forms of the last page hold.
    pub csrf: String,
}

/// What a browser shows.
pub struct Page {
    /// Its address.
    pub address: String,
    pub status: u16,
    pub headers: HeaderMap,
    /// As it came.
    pub html: String,
    /// As it is read.
    pub root: Element,
}

impl<'a> Browser<'a> {
    /// Nobody is signed in.
    pub fn new(api: &'a Api) -> Browser<'a> {
        Browser {
            api,
            host: "127.0.0.1:8080",
            cookie: None,
            csrf: String::new(),
        }
    }

    /// Signed in with a key of this role that is made for it.
    pub async fn signed_in(api: &'a Api, role: &str) -> Browser<'a> {
        let name = format!("{role} {}", api.control.view().keys().len());
        let made = api.post("keys", &json!({"name": name, "role": role})).await;
        let key = made.expect(201)["key"].as_str().unwrap().to_owned();
        let mut browser = Browser::new(api);
        browser.sign_in(&key).await;
        browser
    }

    /// Signs in with a key.
    pub async fn sign_in(&mut self, key: &str) -> Page {
        let page = self.get("/sign-in").await;
        let page = self.submit(&page, "/sign-in", &[("key", key)]).await;
        assert!(self.cookie.is_some(), "signed in: {}", page.root.text());
        page
    }

    /// A page, after redirects.
    pub async fn get(&mut self, address: &str) -> Page {
        let mut page = self.ask("GET", address, &[], &[]).await;
        for _ in 0..REDIRECTS {
            let Some(to) = page.redirect() else { return page };
            page = self.ask("GET", &to, &[], &[]).await;
        }
        panic!("{address} redirects for ever");
    }

    /// Sends a form that no page need have, with the token of the session, and follows the redirect.
    pub async fn post(&mut self, address: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf.clone();
        let fields = [&[("csrf", csrf.as_str())], fields].concat();
        let page = self.ask("POST", address, &fields, &[SAME_ORIGIN]).await;
        match page.redirect() {
            Some(to) => self.get(&to).await,
            None => page,
        }
    }

    /// Fills in the form of a page that goes to `action` and sends it, as its first button would. Follows the redirect.
    pub async fn submit(&mut self, page: &Page, action: &str, fields: &[(&str, &str)]) -> Page {
        self.send(page, page.form(action), None, fields).await
    }

    /// Fills in the form of a page that has the button with this text, and presses it. Follows the redirect.
    pub async fn press(&mut self, page: &Page, button: &str, fields: &[(&str, &str)]) -> Page {
        let (form, pressed) = page.button(button);
        self.send(page, form, Some(pressed), fields).await
    }

    async fn send(
        &mut self,
        page: &Page,
        form: &Element,
        pressed: Option<&Element>,
        fields: &[(&str, &str)],
    ) -> Page {
        let own = page.address.split('?').next().unwrap();
        let action = form.attribute("action").unwrap_or(own);
        let action = action.split('#').next().unwrap();
        let mut sent: Vec<(String, String)> = form_fields(form)
            .into_iter()
            .filter(|(name, _)| !fields.iter().any(|(given, _)| given == name))
            .collect();
        let named = |name: &str| {
            let inputs = ["input", "select", "textarea", "button"]
                .map(|kind| form.all(kind))
                .concat();
            inputs.iter().any(|input| input.attribute("name") == Some(name))
        };
        for (name, value) in fields {
            assert!(
                named(name),
                "the form {action} has no field {name:?}: {}",
                form.text()
            );
            sent.push(((*name).to_owned(), (*value).to_owned()));
        }
        if let Some(name) = pressed.and_then(|button| button.attribute("name")) {
            let value = pressed.and_then(|button| button.attribute("value"));
            sent.push((name.to_owned(), value.unwrap_or_default().to_owned()));
        }
        let sent: Vec<(&str, &str)> = sent
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if form.attribute("method") != Some("post") {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(sent)
                .finish();
            return self.get(&format!("{action}?{query}")).await;
        }
        let page = self.ask("POST", action, &sent, &[SAME_ORIGIN]).await;
        match page.redirect() {
            Some(to) => self.get(&to).await,
            None => page,
        }
    }

    /// One request, with the cookie; a redirect is not followed.
    pub async fn ask(
        &mut self,
        method: &str,
        address: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Page {
        let form = "application/x-www-form-urlencoded";
        let (kind, body) = match method {
            "POST" => {
                let mut body = form_urlencoded::Serializer::new(String::new());
                (form, body.extend_pairs(fields).finish().into_bytes())
            }
            _ => ("", Vec::new()),
        };
        self.call(method, address, headers, kind, body).await
    }

    /// One request with a form that has a file, with the token of the session; a redirect is not followed.
    pub async fn ask_with_file(
        &mut self,
        address: &str,
        fields: &[(&str, &str)],
        (name, file): (&str, &[u8]),
    ) -> Page {
        let csrf = self.csrf.clone();
        let mut body = Vec::new();
        for (field, value) in [&[("csrf", csrf.as_str())], fields].concat() {
            let part = format!(
                "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(part.as_bytes());
        }
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        self.call("POST", address, &[SAME_ORIGIN], &kind, body).await
    }

    async fn call(
        &mut self,
        method: &str,
        address: &str,
        headers: &[(&str, &str)],
        kind: &str,
        body: Vec<u8>,
    ) -> Page {
        let mut request = Request::builder()
            .method(method)
            .uri(address)
            .header(header::HOST, self.host)
            .header(header::ACCEPT, "text/html,application/xhtml+xml");
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Body::from(body)).unwrap();
        let answer = self.api.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let html = String::from_utf8(body.to_vec()).unwrap();
        let is_html = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/html"));
        let page = Page {
            address: address.to_owned(),
            status: parts.status.as_u16(),
            root: if is_html {
                Element::parse(&html)
            } else {
                Element::default()
            },
            headers: parts.headers,
            html,
        };
        self.keep(&page);
        page
    }

    fn keep(&mut self, page: &Page) {
        if let Some(set) = page.headers.get(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let gone = set.contains("Max-Age=0");
            self.cookie = (!gone).then(|| set.split(';').next().unwrap().to_owned());
        }
        let inputs = page.root.all("input");
        if let Some(csrf) = inputs
            .iter()
            .find(|input| input.attribute("name") == Some("csrf"))
        {
            self.csrf = csrf.attribute("value").unwrap().to_owned();
        }
    }
}

impl Page {
    /// It has this status.
    pub fn expect(self, status: u16) -> Page {
        assert_eq!(self.status, status, "{}: {}", self.address, self.root.text());
        self
    }

    /// Where it redirects to.
    pub fn redirect(&self) -> Option<String> {
        (300..400).contains(&self.status).then(|| {
            let to = self.headers.get(header::LOCATION);
            to.unwrap().to_str().unwrap().to_owned()
        })
    }

    /// What is read on it.
    pub fn text(&self) -> String {
        self.root.text()
    }

    /// This is read on it.
    pub fn says(&self, what: &str) {
        assert!(
            self.text().contains(what),
            "{what:?} is not on {}: {}",
            self.address,
            self.text()
        );
    }

    /// This is not read on it.
    pub fn does_not_say(&self, what: &str) {
        assert!(
            !self.text().contains(what),
            "{what:?} is on {}: {}",
            self.address,
            self.text()
        );
    }

    /// The form that goes to `action`.
    pub fn form(&self, action: &str) -> &Element {
        let forms = self.root.all("form");
        let found = forms.iter().find(|form| form.attribute("action") == Some(action));
        found.unwrap_or_else(|| panic!("{} has no form {action}: {}", self.address, self.text()))
    }

    /// The button with this text, or of which this is the label, and its form.
    pub fn button(&self, text: &str) -> (&Element, &Element) {
        for form in self.root.all("form") {
            let mut buttons = form.all("button").into_iter();
            let named =
                buttons.find(|button| button.text() == text || button.attribute("aria-label") == Some(text));
            if let Some(button) = named {
                return (form, button);
            }
        }
        panic!("{} has no button {text:?}: {}", self.address, self.text());
    }

    /// The texts of its buttons, but for the one that signs out.
    pub fn buttons(&self) -> Vec<String> {
        let buttons = self.root.all("button").into_iter();
        let texts = buttons
            .map(|button| button.text())
            .filter(|text| text != "Sign out");
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// What stands in the field with this id.
    pub fn value(&self, id: &str) -> String {
        let field = self.part(id);
        match field.name() {
            "select" => {
                let options = field.all("option");
                let chosen = options
                    .iter()
                    .find(|option| option.attribute("selected").is_some());
                let value = chosen.and_then(|option| option.attribute("value"));
                value.unwrap_or_default().to_owned()
            }
            "textarea" => field.text(),
            _ => field.attribute("value").unwrap_or_default().to_owned(),
        }
    }

    /// What is wrong with the field with this id, where the field itself points to it.
    pub fn wrong(&self, id: &str) -> String {
        let field = self.part(id);
        assert_eq!(
            field.attribute("aria-invalid"),
            Some("true"),
            "{id}: {}",
            self.text()
        );
        self.part(field.attribute("aria-describedby").unwrap()).text()
    }

    /// Whether it has a form that goes to `action`.
    pub fn has_form(&self, action: &str) -> bool {
        self.root
            .all("form")
            .iter()
            .any(|form| form.attribute("action") == Some(action))
    }

    /// The addresses of its links with this text, or of which this is the label.
    pub fn links(&self, text: &str) -> Vec<String> {
        let links = self.root.all("a");
        let named = links
            .iter()
            .filter(|link| link.text() == text || link.attribute("aria-label") == Some(text));
        named
            .map(|link| link.attribute("href").unwrap().to_owned())
            .collect()
    }

    /// The element with this id.
    pub fn part(&self, id: &str) -> &Element {
        let found = self.root.by_id(id);
        found.unwrap_or_else(|| panic!("{} has no part {id}: {}", self.address, self.text()))
    }

    /// The cells of a table's rows as they are read, by the id of what the table is in.
    pub fn rows(&self, id: &str) -> Vec<Vec<String>> {
        let rows = self.part(id).all("tr").into_iter();
        let cells = |row: &Element| {
            let cells = row.descendants().into_iter();
            cells
                .filter(|cell| ["th", "td"].contains(&cell.name()))
                .map(Element::text)
                .collect()
        };
        rows.map(cells).collect()
    }
}

/// What a form sends as it stands.
fn form_fields(form: &Element) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for input in form.descendants() {
        let Some(name) = input.attribute("name") else {
            continue;
        };
        let value = match (input.name(), input.attribute("type")) {
            ("input", Some("checkbox" | "radio")) if input.attribute("checked").is_none() => continue,
            ("input", Some("checkbox")) => input.attribute("value").unwrap_or("on").to_owned(),
            ("input", _) => input.attribute("value").unwrap_or_default().to_owned(),
            ("textarea", _) => input.text(),
            ("select", _) => {
                let options = input.all("option");
                let chosen = options
                    .iter()
                    .find(|option| option.attribute("selected").is_some());
                let Some(option) = chosen.or(options.first()) else {
                    continue;
                };
                option
                    .attribute("value")
                    .map_or_else(|| option.text(), str::to_owned)
            }
            _ => continue,
        };
        fields.push((name.to_owned(), value));
    }
    fields
}

/// What a browser says of a form of the same address.
pub const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const REDIRECTS: usize = 5;
const BOUNDARY: &str = "a-boundary-of-the-tests";
