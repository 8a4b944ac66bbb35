//! The router in this process over a real `Control` on a folder of its own: every call, and every bad input that is
//! worth an answer of its own.

mod audit;
mod description;
pub mod device_cas;
mod devices;
mod ended;
mod events;
mod failures;
mod figures;
mod guesses;
mod once;
mod strict;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, header};
use data_encoding::{BASE64, HEXLOWER};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tower::ServiceExt;

use super::{AdminState, Console, Guard, Reached, Readiness, router};
use crate::control::{Control, Options, SessionFacts};
use crate::fleet::{LogLine, TimelineEvent};
use crate::store::Store;
use crate::telemetry::install_metrics;

/// The key that administers from the first start on.
pub const KEY: &str = "a-bootstrap-key-for-tests";

#[tokio::test]
async fn a_package_is_created_once_shown_and_deleted() {
    let api = Api::start().await;
    let body = json!({"name": "main", "description": "the application", "metadata": {"team": "light"}});
    let made = api.post("packages", &body).await.expect(201);
    assert_eq!(made["name"], "main");
    assert_eq!(made["description"], "the application");
    assert_eq!(made["metadata"], json!({"team": "light"}));
    assert!(made["id"].as_str().unwrap().starts_with("pkg_"), "{made:#}");
    assert!(made["createdAt"].as_str().unwrap().ends_with('Z'), "{made:#}");

    api.post("packages", &body).await.problem(409, "name-taken");
    assert_eq!(api.get("packages/main").await.expect(200), made);
    assert_eq!(api.get("packages").await.expect(200)["items"], json!([made]));
    assert_eq!(
        api.get("packages?name=other").await.expect(200)["items"],
        json!([])
    );
    api.delete("packages/main").await.expect(204);
    api.get("packages/main").await.problem(404, "not-found");
    api.delete("packages/main").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_wrong_field_is_named_with_its_value_and_what_is_accepted() {
    let api = Api::start().await;
    for (path, body, field, said) in [
        ("packages", json!({"name": "a/b"}), "/name", "'/'"),
        ("packages", json!({"name": ""}), "/name", "1 to 63"),
        (
            "packages",
            json!({"name": 5}),
            "/name",
            "integer `5`, expected a string\"",
        ),
        (
            "packages",
            json!(["main", "positional", {}]),
            "the body",
            "the body: invalid type: sequence, expected a JSON object\"",
        ),
        (
            "keys",
            json!("ci"),
            "the body",
            "string \"ci\", expected a JSON object\"",
        ),
        (
            "cohorts/lamps/deployments",
            json!(["x", [["main", "1.5.0"]]]),
            "the body",
            "expected a JSON object\"",
        ),
        (
            "cohorts/lamps/deployments",
            json!({"name": "x", "artifacts": [["main", "1.5.0"]]}),
            "/artifacts/0",
            "expected a JSON object\"",
        ),
        (
            "cohorts/lamps/deployments",
            json!({"name": "x", "artifacts": [{"package": "main"}]}),
            "/artifacts/0/version",
            "missing field `version`\"",
        ),
        (
            "cohorts/lamps/deployments",
            json!({"name": "x", "artifacts": [], "expectedActiveDeploymentId": 5}),
            "/expectedActiveDeploymentId",
            "integer `5`, expected",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [["psk", "identity", "secret", null]]}),
            "/credentials/0",
            "expected a JSON object\"",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [{"type": 5}]}),
            "/credentials/0/type",
            "integer `5`, expected a string\"",
        ),
        ("packages", json!({}), "/name", "/name: missing field `name`"),
        (
            "packages",
            json!({"name": "a", "colour": "red"}),
            "/colour",
            "unknown field `colour`",
        ),
        ("cohorts", json!({"name": "coh_12"}), "/name", "id of a cohort"),
        ("devices", json!({"name": "a b"}), "/name", "accepted"),
        ("devices", json!({"name": "dev_4"}), "/name", "id of a device"),
        (
            "devices",
            json!({"name": "a", "tags": ["good", "not good"]}),
            "/tags/1",
            "accepted",
        ),
        (
            "devices",
            json!({"name": "a", "cohort": "nowhere"}),
            "/cohort",
            "no cohort \"nowhere\"",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [{"type": "password"}]}),
            "/credentials/0/type",
            "`psk`",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [{"type": "psk", "identity": "i".repeat(65)}]}),
            "/credentials/0/identity",
            "65 bytes",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [{"type": "psk", "secret": "s".repeat(33)}]}),
            "/credentials/0/secret",
            "33 bytes",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [{"type": "psk", "secretHex": "xyz"}]}),
            "/credentials/0/secretHex",
            "",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [{"type": "psk", "secret": "a", "secretHex": "61"}]}),
            "/credentials/0/secretHex",
            "twice",
        ),
        (
            "keys",
            json!({"name": "ci", "role": "root"}),
            "/role",
            "read, deploy or admin",
        ),
        (
            "keys",
            json!({"name": "ci", "role": "read", "expiresAt": "tomorrow"}),
            "/expiresAt",
            "not a time",
        ),
        (
            "keys",
            json!({"name": "ci", "role": "read", "expiresAt": "2001-01-01T00:00:00Z"}),
            "/expiresAt",
            "passed",
        ),
        (
            "keys",
            json!({"name": "ci", "role": "read", "expiresAt": "9999-12-31T23:59:59-00:01"}),
            "/expiresAt",
            "9999",
        ),
    ] {
        let answer = api.post(path, &body).await;
        let problem = answer.problem_of(422);
        let error = &problem["errors"][0];
        assert_eq!(error["field"], field, "{path} {body}: {problem:#}");
        assert!(
            problem.to_string().replace('\\', "").contains(said),
            "{path} {body}: {said:?} in {problem:#}"
        );
        for inside in [" at line ", "struct ", "enum "] {
            assert!(
                !problem.to_string().contains(inside),
                "{path} {body}: {problem:#}"
            );
        }
    }
    assert!(!api.post("devices", &json!({"name": "a", "credentials": [{"type": "psk", "secret": "this-secret-is-longer-than-32-bytes"}]})).await.text().contains("this-secret"));
}

#[tokio::test]
async fn what_is_wrong_with_a_member_has_its_value_and_what_would_be_accepted() {
    let api = Api::start().await;
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let symbol = "1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit";
    for (path, body, field, value, accepted) in [
        ("packages", json!({"name": 5}), "/name", Some("5"), "a string"),
        (
            "packages",
            json!({"name": null}),
            "/name",
            Some("null"),
            "a string",
        ),
        ("packages", json!({"name": []}), "/name", None, "a string"),
        ("packages", json!({"name": "a/b"}), "/name", Some("a/b"), symbol),
        ("packages", json!({}), "/name", None, symbol),
        (
            "packages",
            json!({"name": "a", "metadata": 1}),
            "/metadata",
            Some("1"),
            "a map",
        ),
        (
            "packages",
            json!({"name": "a", "n/m": 1}),
            "/n~1m",
            Some("1"),
            "one of `name`, `description`, `metadata`",
        ),
        (
            "cohorts/lamps/deployments",
            json!({"name": "x"}),
            "/artifacts",
            None,
            "a sequence",
        ),
        (
            "cohorts/lamps/deployments:preview",
            json!({"artifacts": [{"package": "main", "version": "1"}]}),
            "/name",
            None,
            "1 to 100 characters that can be seen, in one line, no space at either end",
        ),
        (
            "cohorts/lamps/deployments",
            json!({"name": "x", "artifacts": [{"package": "main"}]}),
            "/artifacts/0/version",
            None,
            symbol,
        ),
        (
            "keys",
            json!({"name": "ci"}),
            "/role",
            None,
            "read, deploy or admin",
        ),
        (
            "devices",
            json!({"name": "a", "credentials": [{"type": "psk", "secret": 12345}]}),
            "/credentials/0/secret",
            None,
            "a string",
        ),
    ] {
        let problem = api.post(path, &body).await.problem_of(422);
        let error = &problem["errors"][0];
        let told = (&error["field"], error["value"].as_str(), &error["accepted"]);
        assert_eq!(told, (&json!(field), value, &json!(accepted)), "{path} {body}");
        assert!(!problem.to_string().contains("12345"), "{problem:#}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_400_413_or_415() {
    let api = Api::start().await;
    let send = async |kind: &str, body: Vec<u8>| {
        api.send("POST", "packages", &[("content-type", kind)], body)
            .await
    };
    send("application/json", b"{\"name\": ".to_vec())
        .await
        .problem(400, "malformed-request");
    send("application/json", b"{\"name\": \"a\"} and more".to_vec())
        .await
        .problem(400, "malformed-request");
    send("application/json", Vec::new())
        .await
        .problem(400, "malformed-request");
    send("text/plain", b"{}".to_vec())
        .await
        .problem(415, "unsupported-media-type");
    let large = send("application/json", vec![b' '; super::JSON_LIMIT_BYTES + 1]).await;
    assert_eq!(
        large.problem(413, "too-large")["limitBytes"],
        super::JSON_LIMIT_BYTES
    );
}

#[tokio::test]
async fn an_artifact_is_stored_once_and_comes_back_as_it_was() {
    let api = Api::start().await;
    api.post("packages", &json!({"name": "main"})).await.expect(201);
    let bytes = noise(300_000);
    let sha256 = Sha256::digest(&bytes);
    let digest = format!("sha-512=:AAAA:, sha-256=:{}:", BASE64.encode(&sha256));

    let made = api
        .upload(
            "main/artifacts/1.0.0",
            &[("content-digest", &digest)],
            bytes.clone(),
        )
        .await
        .expect(201);
    assert_eq!(made["package"], "main");
    assert_eq!(made["version"], "1.0.0");
    assert_eq!(made["size"], 300_000);
    assert_eq!(made["sha256"], HEXLOWER.encode(&sha256));
    assert_eq!(made["type"], "plain");

    let again = api
        .upload("main/artifacts/1.0.0", &[], bytes.clone())
        .await
        .expect(200);
    assert_eq!(again, made);
    let other = api
        .upload("main/artifacts/1.0.0", &[], noise(10))
        .await
        .problem(409, "other-bytes");
    assert_eq!(other["storedSha256"], HEXLOWER.encode(&sha256));

    assert_eq!(api.get("packages/main/artifacts/1.0.0").await.expect(200), made);
    assert_eq!(
        api.get("packages/main/artifacts").await.expect(200)["items"],
        json!([made])
    );
    let content = api.get("packages/main/artifacts/1.0.0/content").await;
    assert_eq!(content.status, 200);
    assert_eq!(content.headers[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(content.headers[header::CONTENT_LENGTH], "300000");
    assert_eq!(content.body, bytes);
    let etag = content.headers[header::ETAG].to_str().unwrap();
    assert_eq!(etag, format!("\"{}\"", HEXLOWER.encode(&sha256)));
    let (among, weak) = (format!("\"x\", {etag}"), format!("W/{etag}"));
    for (known, status) in [
        (etag, 304),
        (&among, 304),
        (&weak, 304),
        ("*", 304),
        ("\"x\"", 200),
    ] {
        let headers = [("if-none-match", known)];
        let path = "packages/main/artifacts/1.0.0/content";
        let again = api.send("GET", path, &headers, Body::empty()).await;
        assert_eq!(again.status, status, "{known}");
        assert_eq!(again.body.is_empty(), status == 304);
        assert_eq!(again.headers[header::ETAG], etag);
    }

    api.get("packages/main/artifacts/2.0.0")
        .await
        .problem(404, "not-found");
    api.get("packages/other/artifacts")
        .await
        .problem(404, "not-found");
    assert_eq!(
        api.delete("packages/main").await.problem(409, "in-use")["neededBy"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    api.delete("packages/main/artifacts/1.0.0").await.expect(204);
    api.get("packages/main/artifacts/1.0.0/content")
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn an_older_digest_header_is_understood_too() {
    let api = Api::start().await;
    api.post("packages", &json!({"name": "main"})).await.expect(201);
    let bytes = noise(100);
    let digest = format!("SHA-256={}", BASE64.encode(&Sha256::digest(&bytes)));
    api.upload("main/artifacts/1", &[("digest", &digest)], bytes)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_declared_digest_counts_or_is_refused() {
    let api = Api::start().await;
    api.post("packages", &json!({"name": "main"})).await.expect(201);
    let bytes = noise(100);
    let (right, wrong) = (BASE64.encode(&Sha256::digest(&bytes)), BASE64.encode(&[7; 32]));
    let right_hex = HEXLOWER.encode(&Sha256::digest(&bytes));
    let long = "g".repeat(1000);
    for (header, value) in [
        ("content-digest", "garbage"),
        ("content-digest", ""),
        ("content-digest", long.as_str()),
        ("content-digest", "sha-256"),
        ("content-digest", "sha-256="),
        ("content-digest", "sha-256=::"),
        ("content-digest", "sha256=:AAAA:"),
        ("content-digest", "sha-512=:AAAA:"),
        ("content-digest", &right_hex),
        ("content-digest", &format!("sha256=:{right}:")),
        ("content-digest", &format!("sha-256={right_hex}")),
        ("content-digest", &format!("sha-256=:{right}:, sha-256=:{wrong}:")),
        ("repr-digest", "garbage"),
        ("digest", "MD5=AAAA"),
        ("digest", &right_hex),
    ] {
        let answer = api
            .upload("main/artifacts/1", &[(header, value)], bytes.clone())
            .await
            .problem(422, "invalid-value");
        let error = &answer["errors"][0];
        assert_eq!(error["field"], header, "{value}: {answer:#}");
        let shown: String = value.chars().take(80).collect();
        assert_eq!(error["value"], shown, "{header}: {answer:#}");
        assert!(
            error["accepted"].as_str().unwrap().starts_with("sha-256="),
            "{answer:#}"
        );
    }
    let wrong = format!("sha-256=:{wrong}:");
    let right = format!("sha-256=:{right}:");
    api.upload("main/artifacts/1", &[("repr-digest", &wrong)], bytes.clone())
        .await
        .problem(422, "digest-mismatch");
    let both = [
        ("content-digest", right.as_str()),
        ("repr-digest", wrong.as_str()),
    ];
    let differ = api.upload("main/artifacts/1", &both, bytes.clone()).await;
    assert_eq!(
        differ.problem(422, "invalid-value")["errors"][0]["field"],
        "repr-digest"
    );
    assert_eq!(
        api.get("packages/main/artifacts").await.expect(200)["items"],
        json!([])
    );
    assert_eq!(api.files_below("blobs") + api.files_below("uploads"), 0);
    api.upload("main/artifacts/1", &[("repr-digest", &right)], bytes)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_bad_upload_says_why_and_leaves_nothing_behind() {
    let api = Api::start().await;
    api.post("packages", &json!({"name": "main"})).await.expect(201);
    let wrong = format!("sha-256=:{}:", BASE64.encode(&[7; 32]));

    api.upload("main/artifacts/1", &[("content-digest", &wrong)], noise(100))
        .await
        .problem(422, "digest-mismatch");
    let bad = api
        .upload(
            "main/artifacts/1",
            &[("content-digest", "sha-256=:short:")],
            noise(100),
        )
        .await;
    assert_eq!(
        bad.problem(422, "invalid-value")["errors"][0]["field"],
        "content-digest"
    );
    api.upload("main/artifacts/1", &[], Vec::new())
        .await
        .problem(422, "empty-artifact");
    api.upload("main/artifacts/a@b", &[], noise(10))
        .await
        .problem(422, "invalid-value");
    api.upload("main/artifacts/a%2Fb", &[], noise(10))
        .await
        .problem(422, "invalid-value");
    api.upload("other/artifacts/1", &[], noise(10))
        .await
        .problem(404, "not-found");
    api.upload("main/artifacts/1", &[("content-type", "text/plain")], noise(10))
        .await
        .problem(415, "unsupported-media-type");

    // Announced as too large, and too large without saying so.
    let too_large = api
        .upload("main/artifacts/1", &[], noise(LIMIT + 1))
        .await
        .problem(413, "too-large");
    assert_eq!(too_large["limitBytes"], LIMIT);
    let streamed =
        stream::iter((0..=LIMIT / 1024).map(|_| Ok::<_, std::io::Error>(Bytes::from(noise(1024)))));
    api.send(
        "PUT",
        "packages/main/artifacts/1",
        &[],
        Body::from_stream(streamed),
    )
    .await
    .problem(413, "too-large");

    let broken = stream::iter([
        Ok(Bytes::from(noise(1000))),
        Err(std::io::Error::other("the cable")),
    ]);
    api.send("PUT", "packages/main/artifacts/1", &[], Body::from_stream(broken))
        .await
        .problem(400, "malformed-request");

    assert_eq!(
        api.get("packages/main/artifacts").await.expect(200)["items"],
        json!([])
    );
    assert_eq!(
        api.files_below("uploads"),
        0,
        "an unfinished upload was left behind"
    );
    assert_eq!(
        api.files_below("blobs"),
        0,
        "bytes were kept that belong to nothing"
    );
}

#[tokio::test]
async fn a_deployment_is_previewed_made_listed_and_never_changed() {
    let api = Api::start().await;
    api.artifact("main", "1.0.0", 1000).await;
    api.artifact("main", "1.1.0", 2000).await;
    api.artifact("assets", "7", 500).await;
    let cohort = api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    assert_eq!(cohort["deviceCount"], 0);
    assert_eq!(cohort["activeDeployment"], Value::Null);
    let id = cohort["id"].as_str().unwrap();
    let deployments = format!("cohorts/{id}/deployments");
    api.post("devices", &json!({"name": "lamp-1", "cohort": "lamps"}))
        .await
        .expect(201);

    let order = |versions: &[(&str, &str)], expected: Value| {
        let artifacts: Vec<_> = versions
            .iter()
            .map(|(package, version)| json!({"package": package, "version": version}))
            .collect();
        json!({"name": versions[0].1, "artifacts": artifacts, "expectedActiveDeploymentId": expected})
    };
    let first = order(&[("main", "1.0.0"), ("assets", "7")], Value::Null);
    let preview = api
        .post(&format!("{deployments}:preview"), &first)
        .await
        .expect(200);
    assert_eq!(
        preview["changes"]["added"].as_array().unwrap().len(),
        2,
        "{preview:#}"
    );
    assert_eq!(preview["devices"], 1);
    assert_eq!(preview["online"], 0);
    assert_eq!(preview["bytesPerDevice"], 1500);
    assert_eq!(preview["bytesTotal"], 1500);
    assert!(
        preview["lint"].as_array().is_some_and(|lint| !lint.is_empty()),
        "two components: {preview:#}"
    );
    assert_eq!(
        api.get(&deployments).await.expect(200)["items"],
        json!([]),
        "a preview creates nothing"
    );

    let made = api.post(&deployments, &first).await.expect(201);
    assert_eq!(made["name"], "1.0.0");
    assert_eq!(made["sequence"], 1);
    assert!(
        made["author"].as_str().is_some_and(|author| !author.is_empty()),
        "{made:#}"
    );
    let assets = &made["artifacts"][0];
    assert_eq!(
        (&assets["package"], &assets["version"]),
        (&json!("assets"), &json!("7")),
        "{made:#}"
    );
    assert_eq!(
        (&assets["size"], &assets["change"]),
        (&json!(500), &json!("added")),
        "{made:#}"
    );
    assert_eq!(assets["sha256"].as_str().unwrap().len(), 64);

    // Made on a review of an empty cohort, which it is no longer.
    let second = order(&[("main", "1.1.0")], Value::Null);
    let stale = api.post(&deployments, &second).await.problem(409, "stale-review");
    assert_eq!(stale["activeDeploymentId"], made["id"]);
    assert_eq!(stale["changes"]["changed"][0]["from"], "1.0.0");
    assert_eq!(stale["changes"]["removed"][0]["package"], "assets");

    let second = api
        .post(&deployments, &order(&[("main", "1.1.0")], made["id"].clone()))
        .await
        .expect(201);
    assert_eq!(second["sequence"], 2);
    assert_eq!(second["artifacts"][0]["change"], "upgraded");
    let listed = api.get(&deployments).await.expect(200);
    assert_eq!(listed["items"][0]["id"], second["id"], "newest first: {listed:#}");
    assert_eq!(listed["items"][1]["id"], made["id"]);
    let one = format!("deployments/{}", made["id"].as_str().unwrap());
    assert_eq!(api.get(&one).await.expect(200)["active"], false);
    assert_eq!(
        api.get(&format!("cohorts/{id}")).await.expect(200)["activeDeployment"]["id"],
        second["id"]
    );

    let progress = api
        .get(&format!(
            "deployments/{}/progress",
            second["id"].as_str().unwrap()
        ))
        .await
        .expect(200);
    assert_eq!(
        (&progress["pending"], &progress["done"]),
        (&json!(1), &json!(0)),
        "{progress:#}"
    );
    api.get("deployments/dep_999999/progress")
        .await
        .problem(404, "not-found");

    for method in ["PUT", "PATCH", "DELETE"] {
        for path in [one.as_str(), "deployments/dep_999999", "deployments/nonsense"] {
            let answer = api.send(method, path, &[], Body::empty()).await;
            answer.problem(405, "method-not-allowed");
            assert_eq!(answer.headers[header::ALLOW], "GET,HEAD", "{method} {path}");
        }
    }
    api.get("deployments/dep_999999").await.problem(404, "not-found");
    api.get("deployments/nonsense").await.problem(404, "not-found");
    assert!(
        api.delete("packages/main/artifacts/1.0.0")
            .await
            .problem(409, "in-use")["detail"]
            .as_str()
            .unwrap()
            .contains("1.0.0")
    );
    api.delete(&format!("cohorts/{id}")).await.problem(409, "in-use");
}

#[tokio::test]
async fn a_wrong_deployment_says_which_artifact() {
    let api = Api::start().await;
    api.artifact("main", "1.0.0", 1000).await;
    let cohort = api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let path = format!("cohorts/{}/deployments", cohort["id"].as_str().unwrap());
    let of = |artifacts: Value| json!({"name": "x", "artifacts": artifacts});
    for (artifacts, name, said) in [
        (
            json!([{"package": "main", "version": "9.9.9"}]),
            "unknown-reference",
            "main@9.9.9",
        ),
        (
            json!([{"package": "nothing", "version": "1"}]),
            "unknown-reference",
            "nothing",
        ),
        (json!([]), "empty-deployment", "at least one"),
        (
            json!([{"package": "main", "version": "1 0"}]),
            "invalid-value",
            "accepted",
        ),
        (
            json!([{"package": "main", "version": "1.0.0"}, {"package": "main", "version": "1.0.0"}]),
            "package-twice",
            "main",
        ),
    ] {
        for path in [path.clone(), format!("{path}:preview")] {
            let problem = api.post(&path, &of(artifacts.clone())).await.problem(422, name);
            assert!(problem["detail"].as_str().unwrap().contains(said), "{problem:#}");
        }
    }
    let misspelt = json!({"name": "x", "artifacts": [{"package": "main", "version": "1.0.0", "sha": "…"}]});
    let problem = api.post(&path, &misspelt).await.problem(422, "invalid-value");
    assert_eq!(problem["errors"][0]["field"], "/artifacts/0/sha");
    api.post(
        "cohorts/coh_999999/deployments",
        &of(json!([{"package": "main", "version": "1.0.0"}])),
    )
    .await
    .problem(404, "not-found");
}

#[tokio::test]
async fn a_device_gets_an_identity_and_a_secret_that_is_shown_once() {
    let api = Api::start().await;
    let cohort = api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let body =
        json!({"name": "lamp-1", "cohort": "lamps", "tags": ["berlin"], "credentials": [{"type": "psk"}]});
    let made = api.post("devices", &body).await.expect(201);
    let credential = &made["credentials"][0];
    assert_eq!(credential["identity"], "lamp-1-id@default");
    let secret = credential["secret"].as_str().unwrap();
    assert!((1..=32).contains(&secret.len()), "{secret}");
    assert_eq!(made["cohort"], json!({"id": cohort["id"], "name": "lamps"}));
    assert_eq!(made["tags"], json!(["berlin"]));
    assert_eq!(made["enabled"], true);
    assert_eq!(made["online"], false);

    let path = format!("devices/{}", made["id"].as_str().unwrap());
    let shown = api.get(&path).await;
    assert!(!shown.text().contains(secret), "a secret is shown once");
    assert_eq!(
        shown.expect(200)["credentials"][0]["identity"],
        "lamp-1-id@default"
    );
    assert_eq!(
        api.get("devices/lamp-1").await.expect(200)["id"],
        made["id"],
        "a name will do"
    );

    let given =
        json!({"name": "lamp-2", "credentials": [{"type": "psk", "identity": "two", "secret": "given"}]});
    let second = api.post("devices", &given).await.expect(201);
    assert_eq!(
        second["credentials"][0].get("secret"),
        None,
        "who gave it knows it: {second:#}"
    );
    assert_eq!(second["cohort"], Value::Null);

    api.post("devices", &body).await.problem(409, "name-taken");
    let taken = json!({"name": "lamp-3", "credentials": [{"type": "psk", "identity": "two"}]});
    api.post("devices", &taken).await.problem(409, "identity-taken");
    api.get("devices/lamp-3").await.problem(404, "not-found");
    api.get("devices/dev_999999").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_device_moves_is_tagged_disabled_and_deleted() {
    let api = Api::start().await;
    let cohort = api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let made = api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    let path = format!("devices/{}", made["id"].as_str().unwrap());

    assert_eq!(
        api.patch(&path, &json!({"cohort": "lamps"})).await.expect(200)["cohort"]["id"],
        cohort["id"]
    );
    let changed = api
        .patch(&path, &json!({"tags": ["a", "b"], "enabled": false}))
        .await
        .expect(200);
    assert_eq!(changed["cohort"]["name"], "lamps", "what is absent stays");
    assert_eq!(
        (&changed["tags"], &changed["enabled"]),
        (&json!(["a", "b"]), &json!(false))
    );
    assert_eq!(
        api.get(&format!("cohorts/{}", cohort["id"].as_str().unwrap()))
            .await
            .expect(200)["deviceCount"],
        1
    );
    assert_eq!(
        api.patch(&path, &json!({"cohort": null})).await.expect(200)["cohort"],
        Value::Null
    );

    api.patch(&path, &json!({"cohort": "nowhere"}))
        .await
        .problem(422, "unknown-reference");
    let unknown = api
        .patch(&path, &json!({"name": "other"}))
        .await
        .problem(422, "invalid-value");
    assert_eq!(unknown["errors"][0]["field"], "/name");
    let both = json!({"addTags": ["a", "b"], "removeTags": ["b"]});
    let both = api.patch(&path, &both).await.problem(422, "invalid-value");
    assert_eq!(both["errors"][0]["field"], "/removeTags");
    api.patch("devices/nobody", &json!({"enabled": true}))
        .await
        .problem(404, "not-found");
    api.delete(&path).await.expect(204);
    api.get(&path).await.problem(404, "not-found");
    api.delete(&path).await.problem(404, "not-found");
}

#[tokio::test]
async fn credentials_come_and_go_so_that_keys_can_be_rotated() {
    let api = Api::start().await;
    let body = json!({"name": "lamp-1", "credentials": [{"type": "psk", "secret": "first"}]});
    let made = api.post("devices", &body).await.expect(201);
    let path = format!("devices/{}/credentials", made["id"].as_str().unwrap());
    let second = api
        .post(&path, &json!({"type": "psk", "identity": "second"}))
        .await
        .expect(201);
    assert!(second["secret"].is_string());
    api.post(&path, &json!({"type": "psk", "identity": "second"}))
        .await
        .problem(409, "identity-taken");

    let first = made["credentials"][0]["id"].as_str().unwrap();
    api.delete(&format!("{path}/{first}")).await.expect(204);
    api.delete(&format!("{path}/{first}"))
        .await
        .problem(404, "not-found");
    api.delete(&format!("{path}/nonsense"))
        .await
        .problem(404, "not-found");
    let left = api.get("devices/lamp-1").await.expect(200);
    assert_eq!(left["credentials"].as_array().unwrap().len(), 1);
    assert_eq!(left["credentials"][0]["identity"], "second");
}

#[tokio::test]
async fn lists_are_filtered_and_paged_by_token_and_link() {
    let api = Api::start().await;
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    for number in 0..7 {
        let cohort = if number % 2 == 0 {
            json!("lamps")
        } else {
            Value::Null
        };
        let body =
            json!({"name": format!("lamp-{number}"), "cohort": cohort, "tags": [format!("t{}", number % 3)]});
        api.post("devices", &body).await.expect(201);
    }
    let mut names = Vec::new();
    let mut path = "devices?limit=3&tag=t0".to_owned();
    let mut whole = "devices?limit=3".to_owned();
    loop {
        let page = api.get(&whole).await;
        let link = page
            .headers
            .get(header::LINK)
            .map(|link| link.to_str().unwrap().to_owned());
        let page = page.expect(200);
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].as_str().unwrap().to_owned()),
        );
        let Some(token) = page["nextPageToken"].as_str() else {
            assert_eq!(link, None);
            break;
        };
        assert_eq!(
            link.unwrap(),
            format!("</v1/projects/default/devices?limit=3&pageToken={token}>; rel=\"next\"")
        );
        whole = format!("devices?limit=3&pageToken={token}");
    }
    assert_eq!(
        names,
        (0..7).map(|number| format!("lamp-{number}")).collect::<Vec<_>>()
    );

    let found = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!(found(&api.get(&path).await.expect(200)), 3);
    path.push_str("&cohort=lamps");
    assert_eq!(found(&api.get(&path).await.expect(200)), 2, "lamp-0 and lamp-6");
    assert_eq!(found(&api.get("devices?name=lamp-5").await.expect(200)), 1);
    assert_eq!(found(&api.get("devices?online=true").await.expect(200)), 0);
    assert_eq!(found(&api.get("devices?limit=1000").await.expect(200)), 7);
    let first = api.get("cohorts?limit=1").await.expect(200);
    assert_eq!((found(&first), first.get("nextPageToken")), (1, None));

    for wrong in [
        "limit=0",
        "limit=1001",
        "limit=many",
        "pageToken=nonsense",
        "online=perhaps",
        "tag=a%20b",
    ] {
        let problem = api
            .get(&format!("devices?{wrong}"))
            .await
            .problem(422, "invalid-value");
        assert_eq!(
            problem["errors"][0]["field"],
            wrong.split('=').next().unwrap(),
            "{problem:#}"
        );
    }
    api.get("devices?cohort=nowhere").await.problem(404, "not-found");
    api.get("cohorts?pageToken=nonsense")
        .await
        .problem(422, "invalid-value");
}

#[tokio::test]
async fn a_list_goes_on_where_its_page_ended_though_that_row_is_gone_and_others_came_before_it() {
    let api = Api::start().await;
    for number in 0..6 {
        api.post("packages", &json!({"name": format!("part+{number}")}))
            .await
            .expect(201);
        api.post("cohorts", &json!({"name": format!("site {number}")}))
            .await
            .expect(201);
        api.post("keys", &json!({"name": format!("key {number}"), "role": "read"}))
            .await
            .expect(201);
        let body = json!({"name": format!("lamp-{number}")});
        api.post("devices", &body).await.expect(201);
        api.artifact("part+0", &number.to_string(), 10).await;
    }
    // The list, the first row of its second page, and by what a row is called in its address.
    for (list, next, called) in [
        ("packages/part+0/artifacts", "2", "version"),
        ("packages", "part+3", "name"),
        ("cohorts", "site 3", "id"),
        ("devices", "lamp-3", "id"),
        ("devices?search=lamp", "lamp-5", "id"),
        ("keys", "key 2", "id"),
    ] {
        let mark = if list.contains('?') { '&' } else { '?' };
        let first = api.get(&format!("{list}{mark}limit=3")).await;
        let link = first.headers[header::LINK].to_str().unwrap().to_owned();
        let first = first.expect(200);
        let rows = first["items"].as_array().unwrap();
        let base = list.split('?').next().unwrap();
        // The last row of the page, and one before it.
        for row in [&rows[1], &rows[2]] {
            let named = row[called].as_str().unwrap();
            api.delete(&format!("{base}/{named}")).await.expect(204);
        }
        if list.contains("search") {
            api.post("devices", &json!({"name": "lamp-00"})).await.expect(201);
        }
        let address = link.strip_prefix("</v1/projects/default/").unwrap();
        let address = address.strip_suffix(">; rel=\"next\"").unwrap();
        let rest = api.get(address).await.expect(200);
        let row = &rest["items"][0];
        let found = row.get("version").or(row.get("name")).unwrap();
        assert_eq!(found, next, "{list}");
    }
}

#[tokio::test]
async fn a_connected_device_shows_its_session() {
    let api = Api::start().await;
    let made = api
        .post(
            "devices",
            &json!({"name": "lamp-1", "credentials": [{"type": "psk", "secret": "s"}]}),
        )
        .await
        .expect(201);
    let access = api
        .control
        .device_by_identity(b"lamp-1-id@default")
        .await
        .unwrap()
        .unwrap();
    let session = SessionFacts {
        shard: 0,
        peer: "192.0.2.1:40000".parse().unwrap(),
        suite: "TLS_PSK_WITH_AES_128_CCM_8",
        connection_id: Some([7, 0, 0, 1, 2, 0xa1, 0xb2, 0xc3]),
        credential: Some(access.credential),
        since_ms: 1_700_000_000_000,
        serial: 1,
    };
    api.control.connected(&access.entry, session);

    let listed = api.get("sessions").await.expect(200);
    assert_eq!(
        listed["items"],
        json!([{
            "device": {"id": made["id"], "name": "lamp-1"},
            "address": "192.0.2.1:40000",
            "cipherSuite": "TLS_PSK_WITH_AES_128_CCM_8",
            "connectionId": "0700000102a1b2c3",
            "credential": made["credentials"][0]["id"],
            "credentialType": "psk",
            "since": "2023-11-14T22:13:20.000Z",
            "lastSeenAt": "2023-11-14T22:13:20.000Z",
        }])
    );
    let elsewhere = "198.51.100.1:5000".parse().unwrap();
    api.control.moved(&access.entry, 1, elsewhere);
    assert_eq!(
        api.get("sessions").await.expect(200)["items"][0]["address"],
        "198.51.100.1:5000"
    );
    api.control
        .moved(&access.entry, 1, "192.0.2.1:40000".parse().unwrap());
    let shown = api.get("devices/lamp-1").await.expect(200);
    assert_eq!(
        (&shown["online"], &shown["session"]["address"]),
        (&json!(true), &json!("192.0.2.1:40000"))
    );
    assert_eq!(
        api.get("devices?online=true").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        api.post("devices/lamp-1:push", &Value::Null).await.expect(202)["online"],
        true
    );
    api.post("devices/nobody:push", &Value::Null)
        .await
        .problem(404, "not-found");
    let unknown_verb = api.post("devices/lamp-1:dance", &Value::Null).await;
    unknown_verb.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn what_happened_to_a_device_is_listed_newest_first_by_type_and_page() {
    let api = Api::start().await;
    let made = api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    api.post("devices", &json!({"name": "lamp-2"})).await.expect(201);
    let name = "lamp-1".parse().unwrap();
    let project = api.control.view().default_project().id;
    let entry = api.control.device_by_name(project, &name).await.unwrap().unwrap();
    let begun = TimelineEvent::Connected {
        address: "192.0.2.1:40000".parse().unwrap(),
        suite: "none".into(),
    };
    api.control.happened_at(&entry, 1_700_000_000_000, begun);
    for i in 0..5_i64 {
        let line = LogLine {
            level: Some("info".to_owned()),
            message: format!("line {}\n\u{1b}", i / 2),
            ..LogLine::default()
        };
        api.control.logged(&entry, 1_700_000_001_000 + i, line);
    }
    // The writer takes along what is queued.
    api.post("devices/lamp-1:push", &Value::Null).await.expect(202);

    let listed = api.get("devices/lamp-1/events").await.expect(200);
    let by_id = format!("devices/{}/events", made["id"].as_str().unwrap());
    assert_eq!(api.get(&by_id).await.expect(200), listed);
    let items = listed["items"].as_array().unwrap();
    let seen: Vec<_> = items.iter().map(|item| (&item["type"], &item["text"])).collect();
    assert_eq!(
        json!(seen),
        json!([
            ["log", "info: line 2\n\u{1b}"],
            ["log", "info: line 1\n\u{1b}"],
            ["log", "info: line 0\n\u{1b}"],
            ["connected", "connected from 192.0.2.1:40000 without security"],
        ])
    );
    let device = made["id"].as_str().unwrap().trim_start_matches("dev_").to_owned();
    assert_eq!(
        items[1],
        json!({
            "id": format!("evt_{device}l2"),
            "at": "2023-11-14T22:13:21.002Z",
            "type": "log",
            "text": "info: line 1\n\u{1b}",
            "level": "info",
            "module": null,
            "message": "line 1\n\u{1b}",
            "metadata": {},
            "count": 2,
            "lastAt": "2023-11-14T22:13:21.003Z",
        })
    );
    assert_eq!(items[0].get("count"), None, "it happened once");

    let only = api
        .get("devices/lamp-1/events?type=connected,report")
        .await
        .expect(200);
    assert_eq!(only["items"].as_array().unwrap().len(), 1);
    let first = api.get("devices/lamp-1/events?limit=3&type=log,connected").await;
    let token = first.expect(200)["nextPageToken"].as_str().unwrap().to_owned();
    assert_eq!(
        first.headers[header::LINK],
        format!(
            "</v1/projects/default/devices/lamp-1/events?limit=3&type=log,connected&pageToken={token}>; rel=\"next\""
        )
    );
    let rest = api
        .get(&format!("devices/lamp-1/events?limit=3&pageToken={token}"))
        .await
        .expect(200);
    assert_eq!(rest["items"], json!([items[3]]));
    assert_eq!(rest.get("nextPageToken"), None);

    assert_eq!(
        api.get("devices/lamp-2/events").await.expect(200)["items"],
        json!([])
    );
    api.get("devices/nobody/events").await.problem(404, "not-found");
    let problem = api.get("devices/lamp-1/events?type=logs").await.problem_of(422);
    let said = problem.to_string();
    assert!(
        said.contains("logs") && said.contains("manifestAcknowledged"),
        "{said}"
    );
    for token in ["12", "1l", "l1", "xl1", "1z1", ""] {
        api.get(&format!("devices/lamp-1/events?pageToken={token}"))
            .await
            .problem_of(422);
    }
}

#[tokio::test]
async fn a_key_opens_what_its_role_allows_and_nothing_else() {
    let api = Api::start().await;
    let key = |role: &'static str| {
        let api = &api;
        async move {
            let made = api
                .post("keys", &json!({"name": role, "role": role}))
                .await
                .expect(201);
            (
                made["id"].as_str().unwrap().to_owned(),
                made["key"].as_str().unwrap().to_owned(),
            )
        }
    };
    let (_, read) = key("read").await;
    let (deploy_id, deploy) = key("deploy").await;
    let (admin_id, admin) = key("admin").await;

    let as_key = async |key: &str, method: &str, path: &str, body: Value| {
        let bearer = format!("Bearer {key}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        api.send(method, path, &headers, body.to_string()).await
    };
    as_key(&read, "GET", "packages", Value::Null).await.expect(200);
    let refused = as_key(&read, "POST", "packages", json!({"name": "main"}))
        .await
        .problem(403, "forbidden");
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("role read; this needs deploy"),
        "{refused:#}"
    );
    as_key(&read, "PUT", "packages/main/artifacts/1", Value::Null)
        .await
        .problem(403, "forbidden");
    as_key(&read, "GET", "keys", Value::Null)
        .await
        .problem(403, "forbidden");
    as_key(&deploy, "POST", "packages", json!({"name": "main"}))
        .await
        .expect(201);
    as_key(&deploy, "POST", "keys", json!({"name": "x", "role": "admin"}))
        .await
        .problem(403, "forbidden");
    let keys = as_key(&admin, "GET", "keys", Value::Null).await;
    for secret in [&read, &deploy, &admin] {
        assert!(!keys.text().contains(secret.as_str()), "a key is shown once");
    }
    assert_eq!(
        keys.expect(200)["items"].as_array().unwrap().len(),
        4,
        "with the bootstrap key"
    );

    as_key(&admin, "DELETE", &format!("keys/{deploy_id}"), Value::Null)
        .await
        .expect(204);
    as_key(&deploy, "GET", "packages", Value::Null)
        .await
        .problem(401, "unauthenticated");
    as_key(&admin, "DELETE", "keys/nonsense", Value::Null)
        .await
        .problem(404, "not-found");
    api.delete(&format!("keys/{admin_id}")).await.expect(204);

    for authorization in [None, Some("Bearer wrong"), Some("Basic YTpi"), Some("nonsense")] {
        let mut request = Request::get("/v1/projects/default/packages");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let answer = api.call(request.body(Body::empty()).unwrap()).await;
        answer.problem(401, "unauthenticated");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}

#[tokio::test]
async fn what_is_nowhere_or_not_possible_is_a_problem_too() {
    let api = Api::start().await;
    for path in [
        "/nothing",
        "/v1",
        "/v2/projects",
        "/v1/projects/default/nothing",
        "/v1/projects/default/packages/a/b",
    ] {
        let answer = api.call(Api::request("GET", path, &[], Body::empty())).await;
        assert!(
            answer.problem(404, "not-found")["detail"]
                .as_str()
                .unwrap()
                .contains(path),
            "{path}"
        );
    }
    let nothing = api.get("deployments").await.problem(404, "not-found");
    let said = nothing["detail"].as_str().unwrap();
    assert!(
        said.contains("cohorts/{cohort}/deployments, deployments/{deployment}, devices"),
        "{said}"
    );
    for (limit, expected) in [
        ("0", "out of range"),
        ("1001", "out of range"),
        ("-1", "out of range"),
        ("99999999999999999999999", "out of range"),
        ("many", "not a number"),
        ("", "not a number"),
    ] {
        let refused = api.get(&format!("packages?limit={limit}")).await;
        let refused = refused.problem(422, "invalid-value");
        assert!(
            refused["detail"].as_str().unwrap().contains(expected),
            "{refused:#}"
        );
        assert_eq!(refused["errors"][0]["accepted"], "a whole number from 1 to 1000");
    }
    let other = api
        .call(Api::request(
            "GET",
            "/v1/projects/other/packages",
            &[],
            Body::empty(),
        ))
        .await;
    assert!(
        other.problem(404, "not-found")["detail"]
            .as_str()
            .unwrap()
            .contains("there are: default")
    );
    for (method, path, allow) in [
        ("DELETE", "packages", "GET,HEAD,POST"),
        ("POST", "sessions", "GET,HEAD"),
        ("PUT", "cohorts", "GET,HEAD,POST"),
        ("POST", "deployments/dep_1", "GET,HEAD"),
        ("PUT", "devices/x", "GET, HEAD, PATCH, DELETE"),
        ("POST", "devices/x", "GET, HEAD, PATCH, DELETE"),
        ("PUT", "devices/x:push", "POST"),
    ] {
        let answer = api.send(method, path, &[], Body::empty()).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.headers[header::ALLOW], allow, "{method} {path}");
    }
}

#[tokio::test]
async fn probes_are_open_and_metrics_want_a_key() {
    let api = Api::start().await;
    let open = async |path: &str| api.call(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(open("/livez").await.status, 200);
    assert_eq!(open("/readyz").await.status, 200);
    api.readiness.set(false);
    open("/readyz").await.problem(503, "unavailable");
    assert_eq!(open("/livez").await.status, 200);

    open("/metrics").await.problem(401, "unauthenticated");
    let metrics = api
        .call(Api::request("GET", "/metrics", &[], Body::empty()))
        .await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        metrics.text().contains("tessera_build_info"),
        "{}",
        metrics.text()
    );
}

/// A router over a folder of its own.
pub struct Api {
    pub router: Router,
    pub control: Control,
    pub console: Console,
    readiness: Readiness,
    folder: TempDir,
}

/// Small, so that a test can go past it.
const LIMIT: usize = 512 * 1024;

impl Api {
    pub async fn start() -> Api {
        Api::reached_by(Reached::PlainHere).await
    }

    pub async fn reached_by(reached: Reached) -> Api {
        Api::serve(tempfile::tempdir().unwrap(), reached).await
    }

    /// Ends, and starts again on the same folder.
    pub async fn restart(self) -> Api {
        let Api {
            router,
            control,
            folder,
            ..
        } = self;
        control.close().await;
        drop((router, control));
        Api::over(folder).await
    }

    /// A gateway that is started over what another one left.
    async fn over(folder: TempDir) -> Api {
        Api::serve(folder, Reached::PlainHere).await
    }

    async fn serve(folder: TempDir, reached: Reached) -> Api {
        let store = Store::open(folder.path()).await.unwrap();
        let options = Options {
            bootstrap_key: Some(KEY.to_owned()),
        };
        let control = Control::start(store, options).await.unwrap().control;
        let readiness = Readiness::default();
        readiness.set(true);
        let console = Console::default();
        let router = router(AdminState {
            devices_port: Some(15_684),
            console: console.clone(),
            control: control.clone(),
            metrics: install_metrics(),
            metrics_auth: true,
            max_artifact_bytes: LIMIT as u64,
            readiness: readiness.clone(),
            guard: Guard::default(),
            reached,
        });
        Api {
            router,
            control,
            console,
            readiness,
            folder,
        }
    }

    pub async fn artifact(&self, package: &str, version: &str, size: usize) {
        // Exists already where an earlier version was uploaded.
        self.post("packages", &json!({"name": package})).await;
        let bytes = noise(size);
        self.upload(&format!("{package}/artifacts/{version}"), &[], bytes)
            .await
            .expect(201);
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "PATCH",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], Body::empty()).await
    }

    async fn upload(&self, path: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> Answer {
        let length = bytes.len().to_string();
        let headers = [headers, &[("content-length", length.as_str())]].concat();
        self.send("PUT", &format!("packages/{path}"), &headers, bytes)
            .await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.call(Api::request(
            method,
            &format!("/v1/projects/default/{path}"),
            headers,
            body,
        ))
        .await
    }

    pub fn request(
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {KEY}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.into()).unwrap()
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        let asked = format!("{} {}", request.method(), request.uri());
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            asked,
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    fn files_below(&self, folder: &str) -> usize {
        let mut folders = vec![self.folder.path().join(folder)];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files += 1
                }
            }
        }
        files
    }
}

pub struct Answer {
    asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Problem details with this status and this stable name.
    pub fn problem(&self, status: u16, name: &str) -> Value {
        let problem = self.problem_of(status);
        assert_eq!(
            problem["type"],
            format!("urn:tessera:problem:{name}"),
            "{}: {problem:#}",
            self.asked
        );
        problem
    }

    fn problem_of(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{}",
            self.asked
        );
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

/// Bytes that look like no image.
fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64 | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        })
        .collect()
}
