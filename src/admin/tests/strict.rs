//! What is asked and cannot be meant, and what an error shows of it.

use super::*;
use crate::fleet::METADATA_DEPTH;

#[tokio::test]
async fn every_list_is_had_a_page_at_a_time() {
    let api = Api::start().await;
    api.artifact("main", "1", 10).await;
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    for list in [
        "packages",
        "packages/main/artifacts",
        "cohorts",
        "cohorts/lamps/deployments",
        "devices",
        "devices/lamp-1/events",
        "devices/lamp-1/credentials",
        "sessions",
        "device-cas",
        "keys",
    ] {
        let page = api.get(&format!("{list}?limit=1")).await.expect(200);
        assert!(page["items"].is_array(), "{list}: {page:#}");
    }
}

#[tokio::test]
async fn a_parameter_that_nobody_would_look_at_is_named_with_those_that_are() {
    let api = Api::start().await;
    api.artifact("main", "1", 10).await;
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    for (method, path, query, field, accepted) in [
        (
            "GET",
            "packages",
            "nmae=x",
            "nmae",
            "name, limit, pageToken, each once",
        ),
        (
            "GET",
            "packages",
            "Name=x",
            "Name",
            "name, limit, pageToken, each once",
        ),
        (
            "GET",
            "packages",
            "limit=1&limit=2",
            "limit",
            "name, limit, pageToken, each once",
        ),
        (
            "GET",
            "packages",
            "name=%ff",
            "name",
            "name, limit, pageToken, each once",
        ),
        (
            "GET",
            "packages/main/artifacts",
            "name=1",
            "name",
            "limit, pageToken, each once",
        ),
        ("GET", "cohorts", "x", "x", "name, limit, pageToken, each once"),
        (
            "GET",
            "cohorts/lamps/deployments",
            "cohort=x",
            "cohort",
            "limit, pageToken, each once",
        ),
        (
            "GET",
            "devices",
            "tags=x",
            "tags",
            "name, cohort, tag, search, online, state, version, limit, pageToken, each once",
        ),
        (
            "GET",
            "sessions",
            "online=true",
            "online",
            "limit, pageToken, each once",
        ),
        (
            "GET",
            "sessions/failures",
            "device=x",
            "device",
            "reason, identity, limit, pageToken, each once",
        ),
        ("GET", "keys", "name=x", "name", "limit, pageToken, each once"),
        (
            "GET",
            "devices/lamp-1/credentials",
            "type=psk",
            "type",
            "limit, pageToken, each once",
        ),
        (
            "GET",
            "devices/lamp-1/events",
            "kind=log",
            "kind",
            "type, limit, pageToken, each once",
        ),
        (
            "GET",
            "devices:export",
            "limit=1",
            "limit",
            "format, name, cohort, tag, search, online, state, version, each once",
        ),
        (
            "POST",
            "devices:import",
            "format=csv",
            "format",
            "update, allowSequenceBack, each once",
        ),
        ("GET", "devices/lamp-1", "limit=1", "limit", "no parameters here"),
        ("GET", "packages/main", "name=x", "name", "no parameters here"),
        (
            "GET",
            "packages/main/artifacts/1/content",
            "offset=5",
            "offset",
            "no parameters here",
        ),
        ("POST", "packages", "name=x", "name", "no parameters here"),
        (
            "DELETE",
            "devices/lamp-1",
            "force=true",
            "force",
            "no parameters here",
        ),
        (
            "POST",
            "devices/lamp-1:push",
            "name=x",
            "name",
            "no parameters here",
        ),
    ] {
        let answer = api
            .send(method, &format!("{path}?{query}"), &[], Body::empty())
            .await;
        let problem = answer.problem(400, "unknown-parameter");
        assert_eq!(problem["errors"][0]["field"], field, "{method} {path}?{query}");
        assert_eq!(
            problem["errors"][0]["accepted"], accepted,
            "{method} {path}?{query}"
        );
    }
    let head = api.send("HEAD", "packages?limit=1&x=y", &[], Body::empty()).await;
    assert_eq!((head.status, head.body.len()), (400, 0));
    api.get("devices/lamp-1").await.expect(200);
    api.get("packages?&name=main&limit=1&").await.expect(200);
    for list in [
        "packages",
        "packages/main/artifacts",
        "cohorts",
        "cohorts/lamps/deployments",
        "devices",
        "devices/lamp-1/events",
        "devices/lamp-1/credentials",
        "sessions",
        "sessions/failures",
        "keys",
    ] {
        api.get(&format!("{list}?limit=1")).await.expect(200);
    }
    api.get("nothing?x=y").await.problem(404, "not-found");
    let probe = Request::get("/livez?from=balancer").body(Body::empty());
    api.call(probe.unwrap()).await.expect(200);
    let many: String = (0..500).map(|n| format!("{n}=&")).collect();
    let many = api
        .get(&format!("packages?{many}"))
        .await
        .problem(400, "unknown-parameter");
    assert_eq!(many["errors"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn a_body_of_another_kind_or_in_another_coding_is_415() {
    let api = Api::start().await;
    let body = r#"{"name": "main"}"#;
    for kind in [
        "text/plain",
        "application/jsonx",
        "application/json-patch+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
    ] {
        let answer = api
            .send("POST", "packages", &[("content-type", kind)], body)
            .await;
        answer.problem(415, "unsupported-media-type");
    }
    let both = [
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
    ];
    api.send("POST", "packages", &both, body)
        .await
        .problem(415, "unsupported-media-type");
    let packed = [("content-encoding", "gzip")];
    let answer = api.send("POST", "packages", &packed, body).await;
    assert!(
        answer.problem(415, "unsupported-media-type")["detail"]
            .as_str()
            .unwrap()
            .contains("gzip")
    );
    let plain = [
        ("content-type", "Application/JSON; charset=utf-8"),
        ("content-encoding", "identity"),
    ];
    api.send("POST", "packages", &plain, body).await.expect(201);
    api.upload("main/artifacts/1", &[("content-encoding", "gzip")], noise(10))
        .await
        .problem(415, "unsupported-media-type");
    api.upload(
        "main/artifacts/1",
        &[("content-type", "application/json")],
        noise(10),
    )
    .await
    .problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn json_that_is_a_bomb_or_says_two_things_is_refused() {
    let api = Api::start().await;
    let deep = |open: &str, shut: &str, n| {
        format!(
            "{{\"name\":\"a\",\"metadata\":{{\"a\":{}1{}}}}}",
            open.repeat(n),
            shut.repeat(n)
        )
    };
    for (body, status) in [
        (deep("[", "]", 100_000), 400),
        (deep("{\"a\":", "}", 40_000), 400),
        // What readers of the answers, and of the audit, could not read again.
        (deep("[", "]", 100), 422),
        (deep("[", "]", METADATA_DEPTH + 1), 422),
        (r#"{"name":"a","name":"b"}"#.to_owned(), 422),
        (r#"{"name":1e999}"#.to_owned(), 400),
        (format!("{{\"name\":{}}}", "9".repeat(100_000)), 400),
        (r#"{"name":"a\u0000b"}"#.to_owned(), 422),
        (r#"{"name":"\ud800"}"#.to_owned(), 400),
        (r#"{"name":"\udc00\ud800"}"#.to_owned(), 400),
        ("{\"name\":\"a\u{0}\"}".to_owned(), 400),
        ("\u{feff}{\"name\":\"a\"}".to_owned(), 400),
        ("null".to_owned(), 422),
    ] {
        let answer = api
            .send(
                "POST",
                "packages",
                &[("content-type", "application/json")],
                body.clone(),
            )
            .await;
        answer.problem_of(status);
        assert!(
            answer.body.len() < 4096,
            "{} bytes: {}…",
            answer.body.len(),
            &body[..60.min(body.len())]
        );
    }
    assert_eq!(api.get("packages").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn an_error_shows_little_of_what_was_sent_and_nothing_that_moves_a_cursor() {
    let api = Api::start().await;
    let long = "x".repeat(100_000);
    let address = &long[..20_000];
    let orders = "\u{1b}[2J\u{9b}31m\u{202e}\u{7f}";
    for answer in [
        api.post("packages", &json!({"name": long})).await,
        api.post("packages", &json!({long.clone(): 1})).await,
        api.post("devices", &json!({"name": "a", "cohort": long})).await,
        api.get(&format!("packages/{address}")).await,
        api.get(&format!("{address}/{address}")).await,
        api.get(&format!("packages?{address}={address}")).await,
        api.get(&format!("packages?limit={address}")).await,
        api.send(&long[..1000], "packages", &[], Body::empty()).await,
        api.send("POST", "packages", &[("content-type", long.as_str())], "{}")
            .await,
    ] {
        answer.problem_of(answer.status);
        assert!(
            (400..500).contains(&answer.status) && answer.body.len() < 4096,
            "{}",
            answer.text()
        );
    }
    let escaped: String = orders.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for answer in [
        api.post("packages", &json!({"name": orders})).await,
        api.post("packages", &json!({orders: 1})).await,
        api.post("devices", &json!({"name": "a", "cohort": orders})).await,
        api.get(&format!("devices/{escaped}")).await,
        api.get(&format!("packages?{escaped}={escaped}")).await,
        api.get(&format!("packages?limit={escaped}")).await,
    ] {
        let problem = answer.problem_of(answer.status).to_string();
        let read: Value = serde_json::from_str(&problem).unwrap();
        let shown = [
            &read["detail"],
            &read["errors"][0]["value"],
            &read["errors"][0]["field"],
        ];
        for text in shown.into_iter().filter_map(Value::as_str) {
            assert!(
                !text.contains(|c: char| c.is_control() || c == '\u{202e}'),
                "{text:?}"
            );
        }
    }
}

#[tokio::test]
async fn one_key_is_shown_and_nothing_else_decides_who_asks_or_what_for() {
    let api = Api::start().await;
    let twice = Request::get("/v1/projects/default/packages")
        .header("authorization", format!("Bearer {KEY}"))
        .header("authorization", "Bearer another")
        .body(Body::empty());
    api.call(twice.unwrap()).await.problem(400, "malformed-request");

    api.post("packages", &json!({"name": "main"})).await.expect(201);
    for header in ["x-http-method-override", "x-http-method", "x-method-override"] {
        api.send("POST", "packages/main", &[(header, "DELETE")], Body::empty())
            .await
            .problem(405, "method-not-allowed");
        api.send(
            "GET",
            "packages/main",
            &[(header, "DELETE"), ("x-original-url", "/livez")],
            Body::empty(),
        )
        .await
        .expect(200);
    }
    let asked = api
        .send(
            "OPTIONS",
            "packages/main",
            &[("origin", "https://example.org")],
            Body::empty(),
        )
        .await;
    asked.problem(405, "method-not-allowed");
    assert_eq!(asked.headers[header::ALLOW], "GET,HEAD,DELETE");
    assert!(!asked.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    let head = api.send("HEAD", "packages/main", &[], Body::empty()).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn what_says_that_it_is_too_large_is_refused_before_it_is_sent() {
    let api = Api::start().await;
    let never = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let headers = [("content-type", "application/json"), ("content-length", "262145")];
    let answer = api.send("POST", "packages", &headers, never()).await;
    assert_eq!(answer.problem(413, "too-large")["limitBytes"], 262_144);
    assert_eq!(answer.headers[header::CONNECTION], "close");
    // Without a length it is found out on the way.
    let chunks = stream::iter((0..17).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 16 * 1024]))));
    let answer = api
        .send(
            "POST",
            "packages",
            &headers[..1],
            Body::from_stream(chunks.chain(stream::pending())),
        )
        .await;
    answer.problem(413, "too-large");
    let broken = stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))]);
    let answer = api
        .send("POST", "packages", &headers[..1], Body::from_stream(broken))
        .await;
    assert!(
        answer.problem(400, "malformed-request")["detail"]
            .as_str()
            .unwrap()
            .contains("broke off")
    );
}
