//! Forms with a file, sent in every way that a browser and somebody who is none can send them.

use axum::body::Body;
use axum::http::header;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::desk::{Browser, Desk, LIMIT, Shown};
use crate::fleet::{Actor, Digest, NewPackage, PackageName, Role};

#[tokio::test]
async fn a_file_is_stored_as_it_came_and_its_package_is_made() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    // Line ends, dashes, and what looks like an end of the part but is none.
    let bytes = [
        b"\r\n--bound".as_slice(),
        &[0, 13, 10, 45, 45],
        b"\r\n--boundar\r\r\n",
    ]
    .concat();
    let form = Form::of(&browser)
        .text("package", "main")
        .text("version", "1.0")
        .file("a.bin", &bytes);
    let sent = form.send(&browser, "/uploads").await;
    assert_eq!(sent.headers[header::LOCATION], "/projects/default/packages/main");
    let sha256 = Digest::of(&bytes).to_string();
    browser
        .follow(&sent)
        .await
        .says(200, &["Stored main@1.0: 28 B", &sha256, "plain bytes"]);
    let project = desk.project();
    let artifact = project.require_artifact("main", "1.0").unwrap();
    assert_eq!(artifact.digest, Digest::of(&bytes));
    assert_eq!((desk.files_below("blobs"), desk.files_below("uploads")), (1, 0));

    let form = Form::of(&browser)
        .text("package", "main")
        .text("version", "1.0")
        .file("b.bin", &bytes);
    let again = form.send(&browser, "/uploads").await;
    browser.follow(&again).await.says(
        200,
        &["was there already with the same bytes", "nothing was changed"],
    );

    let form = Form::of(&browser).text("version", "1.0").file("a.bin", b"other");
    let other = form.send(&browser, "/packages/main").await;
    let given = Digest::of(b"other").to_string();
    other.says(
        409,
        &[
            "immutable",
            &sha256,
            &given,
            "upload them as another version",
            "value=\"1.0\"",
        ],
    );
    other.says(409, &["id=\"upload-version-wrong\"", "aria-invalid=\"true\""]);
    let form = Form::of(&browser).text("version", "1.1").file("a.bin", b"other");
    browser
        .follow(&form.send(&browser, "/packages/main").await)
        .await
        .says(200, &["Stored main@1.1"]);
    assert_eq!((desk.files_below("blobs"), desk.files_below("uploads")), (2, 0));
}

#[tokio::test]
async fn a_form_in_pieces_of_any_length_is_the_same_form() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let bytes = [
        b"\r\n--boundary".as_slice(),
        b"not",
        &vec![7; 700],
        b"\r\n--boundar",
    ]
    .concat();
    for length in [1, 2, 3, 7, 10, 64, 1000] {
        let version = format!("1.{length}");
        let form = Form::with_boundary(&browser, "boundary-1")
            .text("package", "main")
            .text("version", &version)
            .file("a.bin", &bytes);
        let pieces: Vec<_> = form.end().chunks(length).map(Bytes::copy_from_slice).collect();
        let body = Body::from_stream(stream::iter(pieces).map(Ok::<_, std::io::Error>));
        let sent = browser
            .call(
                browser
                    .request("POST", "/uploads")
                    .header(header::CONTENT_TYPE, "multipart/form-data; boundary=boundary-1")
                    .body(body)
                    .unwrap(),
            )
            .await;
        sent.says(303, &[]);
        let project = desk.project();
        assert_eq!(
            project.require_artifact("main", &version).unwrap().digest,
            Digest::of(&bytes)
        );
    }
}

#[tokio::test]
async fn without_the_token_as_its_first_part_a_form_does_nothing() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let other = desk.visitor(Role::Admin).await;
    let part = |name: &str, value: &str| Form::empty("boundary").text(name, value).body;
    let file = Form::empty("boundary").file("a.bin", b"bytes").body;
    let names = [part("package", "main"), part("version", "1")].concat();
    for body in [
        [names.clone(), file.clone()].concat(),
        [names.clone(), part("csrf", &browser.csrf), file.clone()].concat(),
        [names.clone(), file.clone(), part("csrf", &browser.csrf)].concat(),
        [part("csrf", ""), names.clone(), file.clone()].concat(),
        [part("csrf", &other.csrf), names.clone(), file.clone()].concat(),
        [
            part("csrf", &format!("{}x", browser.csrf)),
            names.clone(),
            file.clone(),
        ]
        .concat(),
    ] {
        let form = Form {
            boundary: "boundary".to_owned(),
            body,
        };
        form.send(&browser, "/uploads")
            .await
            .says(403, &["not one of this session"]);
    }
    let form = Form::of(&browser)
        .text("package", "main")
        .text("version", "1")
        .file("a.bin", b"bytes");
    let elsewhere = browser
        .request("POST", "/uploads")
        .header("sec-fetch-site", "cross-site")
        .header(header::CONTENT_TYPE, form.kind())
        .body(Body::from(form.end()))
        .unwrap();
    browser.call(elsewhere).await.says(403, &["another site"]);
    let signed_out = Browser {
        cookie: "tessera_session=none".to_owned(),
        ..browser.clone()
    };
    let form = Form::of(&browser)
        .text("package", "main")
        .text("version", "1")
        .file("a.bin", b"bytes");
    form.send(&signed_out, "/uploads")
        .await
        .says(401, &["not signed in"]);
    let reader = desk.visitor(Role::Read).await;
    let form = Form::of(&reader)
        .text("package", "main")
        .text("version", "1")
        .file("a.bin", b"bytes");
    form.send(&reader, "/uploads")
        .await
        .says(403, &["this needs deploy"]);
    assert!(desk.project().packages.is_empty());
    assert_eq!((desk.files_below("blobs"), desk.files_below("uploads")), (0, 0));
}

#[tokio::test]
async fn a_form_that_is_not_whole_or_goes_on_leaves_nothing_behind() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let started = || Form::of(&browser).text("package", "main").text("version", "1");
    let cases: Vec<(&str, u16, &str, Vec<u8>)> = vec![
        (
            "two files",
            422,
            "comes after the file",
            started().file("a", b"a").file("b", b"b").end(),
        ),
        (
            "a field after the file",
            422,
            "one file, as the last field",
            Form::of(&browser)
                .text("package", "main")
                .text("version", "1")
                .file("a", &[1; 100])
                .text("version", "2")
                .end(),
        ),
        (
            "a field that there is none",
            422,
            "no such field",
            started().text("colour", "red").file("a", b"a").end(),
        ),
        (
            "a name of a megabyte",
            400,
            "more than 16384 bytes",
            started().text(&"n".repeat(1 << 20), "x").end(),
        ),
        (
            "a long text",
            422,
            "too long",
            Form::of(&browser)
                .text("package", &"m".repeat(70_000))
                .file("a", b"a")
                .end(),
        ),
        (
            "many fields",
            400,
            "more than 16 fields",
            (0..30)
                .fold(started(), |form, _| form.text("version", "1"))
                .file("a", b"a")
                .end(),
        ),
        ("no text", 422, "text in UTF-8", {
            let mut form = started();
            form.body.extend_from_slice(
                b"--boundary\r\nContent-Disposition: form-data; name=\"version\"\r\n\r\n\xff\xfe\r\n",
            );
            form.end()
        }),
        ("no end", 400, "broke off or cannot be read", {
            let mut form = started();
            form.body.extend_from_slice(b"--boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhalf of it");
            form.body
        }),
        ("a line of a head without a colon", 400, "cannot be read", {
            let mut form = started();
            form.body.extend_from_slice(b"--boundary\r\nno head\r\n\r\nx\r\n");
            form.end()
        }),
        ("no file", 422, "no file was chosen", started().end()),
        (
            "none chosen",
            422,
            "no file was chosen",
            started().file("", b"").end(),
        ),
        (
            "an empty file",
            422,
            "has at least one",
            started().file("a.bin", b"").end(),
        ),
        (
            "a package that is none",
            422,
            "contains &#39;/&#39;",
            Form::of(&browser)
                .text("package", "a/b")
                .text("version", "1")
                .file("a", b"a")
                .end(),
        ),
        (
            "no package",
            422,
            "is empty",
            Form::of(&browser).text("version", "1").file("a", b"a").end(),
        ),
        (
            "a version that is none",
            422,
            "contains &#39; &#39;",
            Form::of(&browser)
                .text("package", "main")
                .text("version", "1 0")
                .file("a", b"a")
                .end(),
        ),
        (
            "no version",
            422,
            "says none in a header",
            Form::of(&browser)
                .text("package", "main")
                .file("a", b"plain")
                .end(),
        ),
        (
            "too large",
            413,
            "larger than the 0.5 MiB that are accepted (524288 bytes; admin.max_artifact_bytes",
            started().file("a", &vec![1; LIMIT + 1]).end(),
        ),
    ];
    for (case, status, said, body) in cases {
        let form = Form {
            boundary: "boundary".to_owned(),
            body,
        };
        let shown = form.send_as_it_is(&browser, "/uploads").await;
        assert_eq!(shown.status, status, "{case}: {}", shown.text);
        assert!(shown.text.contains(said), "{case}: no {said:?} in {}", shown.text);
        assert!(desk.project().packages.is_empty(), "{case}");
        assert_eq!(
            (desk.files_below("blobs"), desk.files_below("uploads")),
            (0, 0),
            "{case}"
        );
    }
    let full = started().file("a", &vec![1; LIMIT]);
    full.send(&browser, "/uploads").await.says(303, &[]);
    let none = browser
        .request("POST", "/uploads")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{}"))
        .unwrap();
    browser.call(none).await.says(415, &["multipart/form-data"]);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_a_file_leaves_nothing_behind() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let whole = Form::of(&browser)
        .text("package", "main")
        .text("version", "1")
        .file("a", &vec![9; 400_000])
        .end();
    let half = whole[..300_000].to_vec();
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the wire was cut");
    let pieces = stream::iter(
        half.chunks(10_000)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect::<Vec<_>>(),
    );
    let body = Body::from_stream(pieces.chain(stream::iter([Err(broken)])));
    let request = browser
        .request("POST", "/uploads")
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=boundary");
    browser
        .call(request.body(body).unwrap())
        .await
        .says(400, &["nothing was stored"]);
    assert_eq!((desk.files_below("blobs"), desk.files_below("uploads")), (0, 0));

    // Nobody is left to be answered: the call is dropped where it stands, with some of the file on the disk.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    }));
    let request = browser
        .request("POST", "/uploads")
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=boundary")
        .body(body)
        .unwrap();
    let call = tokio::spawn({
        let browser = browser.clone();
        async move { browser.call(request).await.status }
    });
    for piece in half.chunks(10_000) {
        sender.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    assert_eq!(desk.files_below("uploads"), 1, "it is on its way");
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!((desk.files_below("blobs"), desk.files_below("uploads")), (0, 0));
    assert!(desk.project().packages.is_empty());
}

#[tokio::test]
async fn what_is_no_part_of_the_form_is_not_gathered_in_memory() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    for head in [
        "no part begins: ".to_owned(),
        "--boundary\r\nContent-Disposition: form-data; name=\"".to_owned(),
        format!(
            "{}--boundary\r\nX: ",
            String::from_utf8(Form::of(&browser).body).unwrap()
        ),
    ] {
        let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&taken);
        let endless = stream::iter([Bytes::from(head.clone())]).chain(stream::repeat_with(move || {
            counted.fetch_add(1024, std::sync::atomic::Ordering::Relaxed);
            Bytes::from_static(&[b'x'; 1024])
        }));
        let request = browser
            .request("POST", "/uploads")
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=boundary")
            .body(Body::from_stream(endless.map(Ok::<_, std::io::Error>)))
            .unwrap();
        browser
            .call(request)
            .await
            .says(400, &["headed by more than 16384 bytes"]);
        let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
        assert!(taken <= 20 * 1024, "{taken} bytes of {head:?}");
    }
}

#[tokio::test]
async fn a_version_left_empty_is_the_one_in_the_image() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let image = mcuboot([1, 4, 2, 0]);
    let form = Form::of(&browser)
        .text("package", "main")
        .text("version", " ")
        .file("zephyr.signed.bin", &image);
    let sent = form.send(&browser, "/uploads").await;
    browser
        .follow(&sent)
        .await
        .says(200, &["Stored main@1.4.2", "MCUboot image that says 1.4.2"])
        .says_not(&["updates for ever"]);

    let form = Form::of(&browser)
        .text("version", "2.0")
        .file("zephyr.signed.bin", &image);
    let sent = form.send(&browser, "/packages/main").await;
    browser.follow(&sent).await.says(
        200,
        &["main@2.0 says 1.4.2 in its own header; a device that reports 1.4.2 updates for ever"],
    );

    let mut odd = vec![0; 100];
    odd[0] = 0xe9;
    odd[32..36].copy_from_slice(&[0x32, 0x54, 0xcd, 0xab]);
    odd[48..55].copy_from_slice(b"1.0 (a)");
    let form = Form::of(&browser).text("package", "esp").file("app.bin", &odd);
    form.send(&browser, "/uploads")
        .await
        .says(422, &["1.0 (a)", "header is none", "typed in"]);
}

#[tokio::test]
async fn the_script_is_told_what_a_file_is_and_how_its_upload_went() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let head = data_encoding::BASE64URL_NOPAD.encode(&mcuboot([1, 4, 2, 0])[..80]);
    let look = async |query: String| -> Value {
        let shown = browser.get(&format!("/uploads/look?{query}")).await;
        shown.says(200, &[]);
        serde_json::from_str(&shown.text).unwrap()
    };
    let seen = look(format!("file=main-9.9.bin&head={head}")).await;
    assert_eq!(
        (seen["version"].as_str(), seen["versionFrom"].as_str()),
        (Some("1.4.2"), Some("header"))
    );
    assert_eq!(seen["package"], "main");
    let seen = look("file=main-9.9.bin&head=".to_owned()).await;
    assert_eq!(
        (seen["version"].as_str(), seen["versionFrom"].as_str()),
        (Some("9.9"), Some("name"))
    );
    let seen = look("file=%3Cscript%3E&head=AAAA".to_owned()).await;
    assert_eq!((&seen["version"], &seen["package"]), (&Value::Null, &Value::Null));
    browser.get("/uploads/look?head=%21").await.says(400, &["Base64"]);
    desk.visitor(Role::Read)
        .await
        .get("/uploads/look?head=")
        .await
        .says(403, &["needs deploy"]);

    let sent = async |version: &str, bytes: &[u8]| {
        let form = Form::of(&browser)
            .text("package", "main")
            .text("version", version)
            .file("a", bytes);
        let request = browser
            .request("POST", "/uploads")
            .header(header::CONTENT_TYPE, form.kind());
        let mut request = request.body(Body::from(form.end())).unwrap();
        request
            .headers_mut()
            .insert(header::ACCEPT, "application/json".parse().unwrap());
        let shown = browser.call(request).await;
        let value: Value = serde_json::from_str(&shown.text).unwrap();
        (shown.status, value)
    };
    let (status, stored) = sent("1", b"bytes").await;
    assert_eq!(status, 201);
    assert_eq!(stored["artifact"]["sha256"], Digest::of(b"bytes").to_string());
    assert_eq!(stored["href"], "/projects/default/packages/main");
    let (status, again) = sent("1", b"bytes").await;
    assert!(
        status == 200 && again["said"].as_str().unwrap().contains("already"),
        "{again}"
    );
    let (status, other) = sent("1", b"other").await;
    assert_eq!(
        (status, &other["type"]),
        (409, &Value::from("urn:tessera:problem:other-bytes"))
    );
    let (status, wrong) = sent("/", b"other").await;
    assert_eq!(
        (status, &wrong["errors"][0]["field"]),
        (422, &Value::from("version"))
    );
    // What is said once on a page is not used up by the script.
    browser
        .get("/packages")
        .await
        .says(200, &[])
        .says_not(&["Stored main"]);
}

#[tokio::test]
async fn names_are_shown_as_text_whatever_they_hold() {
    let desk = Desk::new().await;
    let browser = desk.visitor(Role::Deploy).await;
    let long = "m".repeat(63);
    let new = NewPackage {
        description: "<script>alert(1)</script> \u{202e}right to left\" onfocus=\"x".to_owned(),
        metadata: serde_json::from_str(r#"{"<b>team": "</dd><img src=x>", "n": 7}"#).unwrap(),
        ..NewPackage::named(PackageName::parse(&long).unwrap())
    };
    desk.control
        .create_package(&Actor::named("<i>me</i>"), desk.project_id(), new)
        .await
        .unwrap();
    for path in ["/packages", &format!("/packages/{long}")] {
        browser
            .get(path)
            .await
            .says(200, &[&long, "&#60;script&#62;"])
            .says_not(&["<script>alert", "<img src=x", "\" onfocus"]);
    }
    let form = Form::of(&browser)
        .text("package", "<script>")
        .text("version", "\"><b>")
        .file("<i>.bin", b"a");
    form.send(&browser, "/uploads")
        .await
        .says(422, &["value=\"&#60;script&#62;\"", "&#34;&#62;&#60;b&#62;"])
        .says_not(&["<script>\"", "\"><b>"]);
    browser
        .get("/packages?search=%3Cscript%3E%22")
        .await
        .says(200, &["&#60;script&#62;&#34;"])
        .says_not(&["<script>\""]);
}

/// An MCUboot header and something behind it.
fn mcuboot(version: [u8; 4]) -> Vec<u8> {
    let mut image = vec![0; 200];
    image[..4].copy_from_slice(&[0x3d, 0xb8, 0xf3, 0x96]);
    image[20..24].copy_from_slice(&version);
    image
}

/// A form as a browser writes it.
struct Form {
    boundary: String,
    body: Vec<u8>,
}

impl Form {
    fn empty(boundary: &str) -> Form {
        Form {
            boundary: boundary.to_owned(),
            body: Vec::new(),
        }
    }

    fn with_boundary(browser: &Browser, boundary: &str) -> Form {
        Form::empty(boundary).text("csrf", &browser.csrf)
    }

    fn of(browser: &Browser) -> Form {
        Form::with_boundary(browser, "boundary")
    }

    fn text(mut self, name: &str, value: &str) -> Form {
        let part = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n",
            self.boundary
        );
        self.body.extend_from_slice(part.as_bytes());
        self
    }

    fn file(mut self, file: &str, bytes: &[u8]) -> Form {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            self.boundary
        );
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    fn end(&self) -> Vec<u8> {
        [self.body.as_slice(), b"--", self.boundary.as_bytes(), b"--\r\n"].concat()
    }

    fn kind(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    async fn send(&self, browser: &Browser, path: &str) -> Shown {
        let whole = Form {
            boundary: self.boundary.clone(),
            body: self.end(),
        };
        whole.send_as_it_is(browser, path).await
    }

    async fn send_as_it_is(&self, browser: &Browser, path: &str) -> Shown {
        let request = browser
            .request("POST", path)
            .header(header::CONTENT_TYPE, self.kind());
        // As it comes from a socket: a piece at a time.
        let pieces: Vec<_> = self.body.chunks(8192).map(Bytes::copy_from_slice).collect();
        let pieces = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        browser
            .call(request.body(Body::from_stream(pieces)).unwrap())
            .await
    }
}
