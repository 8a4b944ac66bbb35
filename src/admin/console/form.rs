//! What a form sends: its fields, with the token that only this session's pages hold.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::page::Refused;
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::problem::Problem;

/// A visitor and a form of theirs.
#[derive(Debug)]
pub struct Form {
    /// Who sent it.
    pub visitor: Visitor,
    /// What is in it.
    pub fields: Fields,
}

impl FromRequest<AdminState> for Form {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, state).await?;
        let fields = read(&parts.headers, body).await?;
        visitor.check_csrf(fields.text("csrf"))?;
        Ok(Form { visitor, fields })
    }
}

/// The fields of a form or of an address, in their order; a name may come more than once.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `application/x-www-form-urlencoded`, as bodies and queries have it.
    pub fn parse(text: &[u8]) -> Fields {
        Fields(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Adds a field.
    pub fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// The field with this name without the white space around it; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.trim())
    }

    /// The same, if it is there and holds something.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// The field with this name as it was typed, if it holds something: for what white space is a part of.
    pub fn raw(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Every field with this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.trim())
    }

    /// Every field whose name begins so: what comes after that, and the value.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let named = move |(key, value): &'a (String, String)| Some((key.strip_prefix(prefix)?, value.trim()));
        self.0.iter().filter_map(named)
    }

    /// As a query, with `changes` in place of what had their names; an empty one goes.
    pub fn with(&self, changes: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let kept = |name: &str| !changes.iter().any(|(changed, _)| *changed == name);
        query.extend_pairs(
            self.0
                .iter()
                .filter(|(name, value)| kept(name) && !value.is_empty()),
        );
        query.extend_pairs(changes.iter().filter(|(_, value)| !value.is_empty()));
        query.finish()
    }

    /// The address `path` with that query.
    pub fn link(&self, path: &str, changes: &[(&str, &str)]) -> String {
        match self.with(changes) {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

/// Reads a form that a page of this address sent.
///
/// # Errors
/// It comes from elsewhere, or is too long.
pub async fn read(headers: &HeaderMap, body: axum::body::Body) -> Result<Fields, Refused> {
    own_page(headers)?;
    let body = axum::body::to_bytes(body, FORM_BYTES)
        .await
        .map_err(|_| Problem::too_large("the form", FORM_BYTES as u64))?;
    Ok(Fields::parse(&body))
}

/// Whether a browser says that a request comes from a page of the same address: by `Sec-Fetch-Site`, which it sends to addresses
/// that it trusts, or else by `Origin`. One that says neither is believed: it is too old to say it, or no browser.
///
/// # Errors
/// It comes from elsewhere.
pub fn own_page(headers: &HeaderMap) -> Result<(), Refused> {
    let said = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let own = match (
        said(HeaderName::from_static("sec-fetch-site")),
        said(header::ORIGIN),
    ) {
        (Some(site), _) => matches!(site, b"same-origin" | b"none"),
        // No page of another site can set either of these.
        (None, Some(origin)) => [header::HOST, HeaderName::from_static("x-forwarded-host")]
            .into_iter()
            .any(|name| said(name).is_some_and(|host| is_at(origin, host))),
        (None, None) => true,
    };
    if own {
        return Ok(());
    }
    Err(Problem::forbidden(
        "the form was sent by a page of another site; nothing was changed. A proxy between has to pass on Host, or send \
         X-Forwarded-Host",
    )
    .into())
}

/// Whether an origin is at the host that a request was sent to. A proxy that speaks TLS passes on another scheme than its browser
/// has, but not another host.
fn is_at(origin: &[u8], host: &[u8]) -> bool {
    let at = |scheme: &[u8], port: &[u8]| {
        let Some(named) = origin.strip_prefix(scheme) else {
            return false;
        };
        let plain = |name| -> &[u8] { <[u8]>::strip_suffix(name, port).unwrap_or(name) };
        plain(named).eq_ignore_ascii_case(plain(host))
    };
    at(b"https://", b":443") || at(b"http://", b":80")
}

/// A page of devices that are all chosen is a few tens of KiB.
const FORM_BYTES: usize = 256 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::{HeaderMap, header};

    use super::{Fields, own_page};

    #[test]
    fn fields_are_read_by_name_however_often_they_come() {
        let fields = Fields::parse(b"device=a&device=b+c&name=%20caf%C3%A9%20&version%3Amain=1.0&empty=");
        assert_eq!(fields.all("device").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(fields.text("name"), "café");
        assert_eq!(fields.given("empty"), None);
        assert_eq!(fields.text("absent"), "");
        assert_eq!(fields.below("version:").collect::<Vec<_>>(), [("main", "1.0")]);
    }

    #[test]
    fn a_filter_replaces_its_former_value_and_keeps_the_others() {
        let fields = Fields::parse(b"state=failed&page=9&tag=a%26b");
        assert_eq!(
            fields.with(&[("page", ""), ("state", "done")]),
            "tag=a%26b&state=done"
        );
        assert_eq!(
            fields.link("/x", &[("page", "2")]),
            "/x?state=failed&tag=a%26b&page=2"
        );
        assert_eq!(Fields::parse(b"page=2").link("/x", &[("page", "")]), "/x");
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let from = |site: &'static str| {
            HeaderMap::from_iter([("sec-fetch-site".parse().unwrap(), site.parse().unwrap())])
        };
        assert!(own_page(&HeaderMap::new()).is_ok());
        assert!(own_page(&from("same-origin")).is_ok());
        assert!(own_page(&from("cross-site")).is_err());
        assert!(own_page(&from("same-site")).is_err());
    }

    #[test]
    fn where_no_site_is_said_the_origin_counts() {
        let from = |origin: &str, host: &str| {
            let named = [
                (header::ORIGIN, origin.parse().unwrap()),
                (header::HOST, host.parse().unwrap()),
            ];
            own_page(&HeaderMap::from_iter(named)).is_ok()
        };
        for (origin, host, own) in [
            ("http://10.0.0.7:8080", "10.0.0.7:8080", true),
            ("https://gateway.example", "gateway.example", true),
            ("https://gateway.example", "gateway.example:443", true),
            ("https://Gateway.example", "gateway.example", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("https://evil", "10.0.0.7:8080", false),
            ("http://10.0.0.7:8081", "10.0.0.7:8080", false),
            ("http://10.0.0.7", "10.0.0.7:8080", false),
            ("https://gateway.example.evil", "gateway.example", false),
            ("https://gateway.example:444", "gateway.example", false),
            ("null", "10.0.0.7:8080", false),
            ("", "", false),
        ] {
            assert_eq!(from(origin, host), own, "{origin} {host}");
        }
        let mut proxied = HeaderMap::from_iter([
            (header::ORIGIN, "http://gateway.example".parse().unwrap()),
            (header::HOST, "127.0.0.1:8080".parse().unwrap()),
        ]);
        assert!(own_page(&proxied).is_err());
        proxied.insert("x-forwarded-host", "gateway.example".parse().unwrap());
        assert!(own_page(&proxied).is_ok());
        let mut headers = HeaderMap::from_iter([(header::ORIGIN, "https://evil".parse().unwrap())]);
        assert!(own_page(&headers).is_err(), "no host at all");
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        assert!(own_page(&headers).is_ok(), "a page cannot say that");
    }
}
