//! `/v1/openapi.json`: what this API takes and answers, as OpenAPI 3.1. Open to everybody: it holds no secrets, and tools
//! fetch it before they have a key.
//!
//! 1. [`calls`]: every call. Tests hold it against the router, against [`super::query`], and against the roles that are asked for.
//! 2. [`call`]: what is said of a call, and what follows from that for all of its kind.
//! 3. [`values`]: names, ids and words of the domain.
//!
//! Bodies and answers are described by the types that are read and sent. The whole document is compared with
//! `tests/golden/openapi.json`.

mod call;
mod calls;
mod values;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths};

/// `GET /v1/openapi.json`.
pub async fn show() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, DOCUMENT.as_str()).into_response()
}

/// It is the same for the whole run.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = document()
        .to_pretty_json()
        .expect("the document has text for keys");
    text.push('\n');
    text
});

/// The document.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut components = ComponentsBuilder::new()
        .security_scheme(
            call::BEARER,
            SecurityScheme::Http(
                Http::builder()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some(
                        "An API key. It has a role: `read`, `deploy` or `admin`; each includes the ones before it. \
                         An operation names the role that it needs.",
                    ))
                    .build(),
            ),
        )
        .responses_from_iter(call::common_responses());
    for one in calls::all() {
        let (method, path) = (one.method.clone(), one.path());
        let (operation, schemas) = one.described();
        components = components.schemas_from_iter(schemas);
        paths.add_path_operation(path, vec![method], operation);
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Tessera")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .license(Some(
                    License::builder()
                        .name("Apache-2.0")
                        .identifier(Some("Apache-2.0"))
                        .build(),
                )),
        )
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

const DESCRIPTION: &str = "The operator's API of a Tessera gateway: packages and their artifacts, cohorts, deployments, devices.\n\n\
    Ids are opaque strings, times are RFC 3339 in UTC. Lists come a page at a time: `limit`, `pageToken`, and a `Link` with \
    `rel=\"next\"` where there is more. Every error is an `application/problem+json` (RFC 9457) that says what was wrong, with \
    which value, and what would be accepted. A `POST` with an `Idempotency-Key` can be sent again within 24 h, while it is one of the \
    last 4096 of its API key, and still has one effect. A query parameter that a call does not know is refused.\n\n\
    `GET` can be asked as `HEAD`. What is at no address is a 404; a method that an address does not have is a 405 with an \
    `Allow` header.";
