//! What a call carries, read strictly: a JSON body of known fields, a page of a list.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::AdminState;
use super::pace::TooSlow;
use super::problem::{FieldError, Problem};
use super::shapes::NextPage;
use crate::control::DeviceQuery;

/// A JSON body. Unknown fields, wrong types and missing fields are errors that name the field.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AdminState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Problem> {
        of_kind(request.headers(), "application/json")?;
        let bytes = read(request, state).await?;
        parse(&bytes).map(Body)
    }
}

/// Refuses a body that says it is compressed.
pub fn not_packed(headers: &HeaderMap) -> Result<(), Problem> {
    for coding in headers.get_all(header::CONTENT_ENCODING) {
        if !coding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let coding = String::from_utf8_lossy(coding.as_bytes());
            return Err(Problem::unsupported_media_type(
                &format!("Content-Encoding: {coding}"),
                "no Content-Encoding",
            ));
        }
    }
    Ok(())
}

/// Refuses a body that says it is of another kind than `accepted`. One that does not say is read as `accepted`.
pub fn of_kind(headers: &HeaderMap, accepted: &'static str) -> Result<(), Problem> {
    not_packed(headers)?;
    for kind in headers.get_all(header::CONTENT_TYPE) {
        let kind = String::from_utf8_lossy(kind.as_bytes());
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(accepted) {
            return Err(Problem::unsupported_media_type(&kind, accepted));
        }
    }
    Ok(())
}

/// The whole of a small body, of [`JSON_LIMIT_BYTES`](super::JSON_LIMIT_BYTES) at the most. What says that it is larger
/// is refused before it is sent, where the caller waits for a word (`Expect: 100-continue`).
pub async fn read(request: Request, state: &AdminState) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large("the body", super::JSON_LIMIT_BYTES as u64);
    if announced(request.headers()).is_some_and(|bytes| bytes > super::JSON_LIMIT_BYTES as u64) {
        return Err(too_large());
    }
    Bytes::from_request(request, state)
        .await
        .map_err(|error| match error {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => too_large(),
            error => broken_off(&error),
        })
}

/// How long the body says that it is.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The answer to a body that could not be read to its end.
pub fn broken_off(error: &(dyn std::error::Error + 'static)) -> Problem {
    if TooSlow::is_behind(error) {
        Problem::too_slow(format!(
            "{TooSlow}; nothing was done. A body may take as long as it needs, but not slower than that"
        ))
    } else {
        Problem::malformed(format!("the body broke off: {error}; nothing was done"))
    }
}

/// Reads JSON; says where it is wrong.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Err(Problem::malformed("the body is empty; accepted: a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            Problem::fields(vec![wrong::<T>(bytes, pointer, without_position(&error))])
        } else {
            Problem::malformed(format!("the body is not JSON: {error}"))
        }
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::malformed(format!("the body is not one JSON value: {error}")))?;
    Ok(value)
}

/// A `T` that is a JSON object. What serde derives for a struct takes an array as well, its fields in their order: that
/// would get round the names of the fields, and with them round the unknown ones.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Tells an absent field (`None`) from null (`Some(None)`).
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What is wrong in a body, where, with which value, and what would be accepted there. The words are serde's, and in them those of
/// our own types.
fn wrong<T: DeserializeOwned>(bytes: &[u8], pointer: String, detail: String) -> FieldError {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if let Some(name) = missing(&detail) {
        let field = format!("{pointer}/{}", escaped(name));
        return FieldError {
            accepted: accepted_at::<T>(body, &pointer, name, &field),
            value: None,
            detail,
            field,
        };
    }
    // Members hold the values; and what is no secret by its type may be one by its place.
    let member = pointer.rsplit('/').next().unwrap_or_default();
    let is_shown = !member.to_ascii_lowercase().contains("secret");
    let value = body.pointer(&pointer).and_then(|value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    });
    FieldError {
        accepted: accepted(&detail),
        value: value.filter(|_| is_shown),
        detail: if is_shown { detail } else { without_value(&detail) },
        field: if pointer.is_empty() {
            "the body".to_owned()
        } else {
            pointer
        },
    }
}

/// The field that is not there, if that is what is wrong.
fn missing(detail: &str) -> Option<&str> {
    detail.strip_prefix("missing field `")?.strip_suffix('`')
}

/// What would be accepted for a member that is not there: what is said of an empty text in its place.
fn accepted_at<T: DeserializeOwned>(
    mut body: Value,
    pointer: &str,
    name: &str,
    field: &str,
) -> Option<String> {
    let members = body.pointer_mut(pointer)?.as_object_mut()?;
    members.insert(name.to_owned(), Value::String(String::new()));
    match serde_path_to_error::deserialize::<_, Object<T>>(body) {
        Err(error) if self::pointer(error.path()) == field => accepted(&error.inner().to_string()),
        // Another member is wrong, or none: this one is not.
        Err(_) | Ok(_) => Some("a string".to_owned()),
    }
}

/// What is accepted, of a sentence that says so at its end.
fn accepted(detail: &str) -> Option<String> {
    let ours = detail.split_once("; accepted: ");
    let serdes = || detail.rsplit_once(", expected ");
    ours.or_else(serdes).map(|(_, accepted)| accepted.to_owned())
}

/// serde's sentence about a wrong type, without the value that it quotes.
fn without_value(detail: &str) -> String {
    match (detail.split_once(' '), detail.rsplit_once(", expected ")) {
        (Some(("invalid", _)), Some((_, expected))) => format!("invalid type, expected {expected}"),
        _ => "the value cannot be read".to_owned(),
    }
}

/// What is wrong with a value. Which value, its pointer says better than a line and a column.
fn without_position(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    said.strip_suffix(&position).unwrap_or(&said).to_owned()
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                text.push('/');
                text.push_str(&escaped(key));
            }
            Segment::Unknown => {}
        }
    }
    text
}

/// A member's name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Which part of a list is wanted: `limit` (1 to 1000, default 100) and the `pageToken` of the page before.
#[derive(Debug, Clone)]
pub struct Page {
    /// How many rows at the most.
    pub limit: usize,
    /// What the page before answered.
    pub token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPage {
    limit: Option<String>,
    page_token: Option<String>,
}

impl FromRequestParts<AdminState> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AdminState) -> Result<Self, Problem> {
        let Query(raw) = Query::<RawPage>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::malformed(format!("the query cannot be read: {error}")))?;
        let limit = match raw.limit {
            None => PAGE_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| {
                    Problem::fields(vec![FieldError {
                        field: "limit".into(),
                        detail: if is_integer(&text) {
                            "the limit is out of range".into()
                        } else {
                            "the limit is not a number of rows".into()
                        },
                        value: Some(text.clone()),
                        accepted: Some(format!("a whole number from 1 to {PAGE_MAX}")),
                    }])
                })?,
        };
        Ok(Page {
            limit,
            token: raw.page_token,
        })
    }
}

impl Page {
    /// Cuts a list that is in memory, and sorted by rising keys: the page, and the token of the next one. Tokens are the key of the
    /// last row, so that the list goes on from there whatever was added or deleted before it, or is that row itself.
    pub fn rising<T, K: Ord + FromStr + fmt::Display>(
        &self,
        rows: impl Iterator<Item = T>,
        key: impl Fn(&T) -> K,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        self.cut(rows, key, |key, last| key > last)
    }

    /// The same of a list that is sorted by falling keys.
    pub fn falling<T, K: Ord + FromStr + fmt::Display>(
        &self,
        rows: impl Iterator<Item = T>,
        key: impl Fn(&T) -> K,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        self.cut(rows, key, |key, last| key < last)
    }

    fn cut<T, K: FromStr + fmt::Display>(
        &self,
        rows: impl Iterator<Item = T>,
        key: impl Fn(&T) -> K,
        follows: impl Fn(&K, &K) -> bool,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        let last = match &self.token {
            None => None,
            Some(token) => Some(token.parse::<K>().map_err(|_| Page::unknown_token(token))?),
        };
        let rows = rows.filter(|row| last.as_ref().is_none_or(|last| follows(&key(row), last)));
        let mut page: Vec<T> = rows.take(self.limit.saturating_add(1)).collect();
        let more = page.len() > self.limit;
        page.truncate(self.limit);
        let next = page.last().filter(|_| more).map(|last| key(last).to_string());
        Ok((page, next))
    }

    /// The token was not made by this list.
    pub fn unknown_token(token: &str) -> Problem {
        Problem::fields(vec![FieldError {
            field: "pageToken".into(),
            detail: "the page token was not made by this list".into(),
            value: Some(token.into()),
            accepted: Some("the nextPageToken of the page before, or none for the first page".into()),
        }])
    }
}

/// The same list of devices from where a page of it ended.
pub fn devices_after(query: DeviceQuery, token: Option<&str>) -> Result<DeviceQuery, Problem> {
    let after = match token {
        None => None,
        Some(token) => Some(query.place(token).ok_or_else(|| Page::unknown_token(token))?),
    };
    Ok(DeviceQuery { after, ..query })
}

/// Adds `Link: <…>; rel="next"` (RFC 8288) to a page that has one after it.
pub async fn link_next(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    if let Some(NextPage(token)) = response.extensions_mut().remove::<NextPage>() {
        let kept = uri.query().unwrap_or_default().split('&');
        let mut query: Vec<&str> = kept
            .filter(|pair| !pair.is_empty() && !pair.starts_with("pageToken="))
            .collect();
        // Names may hold what means something else in an address.
        let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
        let token = format!("pageToken={token}");
        query.push(&token);
        let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"));
        if let Ok(value) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, value);
        }
    }
    response
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

pub const PAGE_DEFAULT: usize = 100;
pub const PAGE_MAX: usize = 1000;
