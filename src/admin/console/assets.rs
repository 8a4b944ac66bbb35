//! Style, script and icons: part of the program, each under a name that changes with its content, so that a browser keeps
//! it for good and never shows one version's page in another version's style.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::admin::problem::Problem;
use crate::fleet::Digest;

struct Asset {
    /// As templates name it.
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// Where it is.
    address: String,
}

static ASSETS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    [
        asset(
            "console.css",
            "text/css; charset=utf-8",
            include_bytes!("assets/console.css"),
        ),
        asset(
            "console.js",
            "text/javascript; charset=utf-8",
            include_bytes!("assets/console.js"),
        ),
        asset(
            "upload.js",
            "text/javascript; charset=utf-8",
            include_bytes!("assets/upload.js"),
        ),
        asset("icons.svg", "image/svg+xml", include_bytes!("assets/icons.svg")),
        asset("mark.svg", "image/svg+xml", include_bytes!("assets/mark.svg")),
    ]
});

fn asset(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Asset {
    let digest = Digest::of(bytes).to_string();
    Asset {
        name,
        kind,
        bytes,
        address: format!("/assets/{}-{name}", &digest[..12]),
    }
}

/// The address of a file that comes with the program, by its name in `assets/`.
pub fn address(name: &str) -> &'static str {
    let found = ASSETS.iter().find(|asset| asset.name == name);
    found.map_or("/assets/none", |asset| &asset.address)
}

/// `GET /assets/{name}`.
pub async fn serve(Path(name): Path<String>) -> Response {
    let found = ASSETS
        .iter()
        .find(|asset| asset.address.strip_prefix("/assets/") == Some(name.as_str()));
    let Some(asset) = found else {
        return Problem::not_found(format!(
            "there is no file {name:?}; a page names the present ones"
        ))
        .into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    (headers, asset.bytes).into_response()
}
