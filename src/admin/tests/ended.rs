//! A key that ends while something is under way that began with it: nothing more is done with it.

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::*;
use crate::clock;
use crate::fleet::{Actor, KeyId, KeyName, Role};

#[tokio::test]
async fn an_import_ends_with_its_key_and_says_why() {
    let api = Api::start().await;
    let key = api.key_of("importer", None).await;
    let (file, body) = piecewise();
    let request = key.request("POST", "devices:import", "text/csv", body);
    file.send("name\n").await;
    // Enough for a commit of its own, so that its lines can be waited for.
    file.send(&rows("before", 500)).await;
    let answer = api.router.clone().oneshot(request).await.unwrap();
    let mut lines = answer.into_body().into_data_stream();
    let told = lines.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&told).contains("before-499"), "{told:?}");

    key.revoke().await;
    file.send(&rows("after", 501)).await;
    drop(file);
    let mut rest = Vec::new();
    while let Some(chunk) = lines.next().await {
        rest.extend_from_slice(&chunk.unwrap());
    }
    let rest = String::from_utf8(rest).unwrap();
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(last["complete"], false, "{rest}");
    assert_eq!(last["summary"]["created"], 500, "{rest}");
    assert_eq!(last["problem"]["type"], "urn:tessera:problem:unauthenticated");
    let detail = last["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains("\"importer\" was revoked"), "{detail}");
    api.get("devices/before-499").await.expect(200);
    for name in ["after-0", "after-499", "after-500"] {
        api.get(&format!("devices/{name}"))
            .await
            .problem(404, "not-found");
    }
}

#[tokio::test]
async fn an_upload_ends_with_its_key_and_leaves_nothing() {
    let api = Api::start().await;
    api.post("packages", &json!({"name": "main"})).await.expect(201);
    for (version, more) in [("1", "more"), ("2", "")] {
        let key = api.key_of(version, None).await;
        let (file, body) = piecewise();
        let path = format!("packages/main/artifacts/{version}");
        let request = key.request("PUT", &path, "application/octet-stream", body);
        let answer = tokio::spawn({
            let api = api.router.clone();
            async move { api.oneshot(request).await.unwrap() }
        });
        file.send("the first bytes").await;
        file.taken().await;
        key.revoke().await;
        if !more.is_empty() {
            file.send(more).await;
        }
        drop(file);
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 401, "{version}");
        api.get(&path).await.problem(404, "not-found");
        assert_eq!(api.files_below("blobs") + api.files_below("uploads"), 0);
    }
}

#[tokio::test]
async fn a_download_and_an_export_break_off_with_their_key() {
    let api = Api::start().await;
    api.artifact("main", "1", 400_000).await;
    let file = "name\n".to_owned() + &rows("lamp", 1001);
    let answer = api.send("POST", "devices:import", &[("content-type", "text/csv")], file);
    assert_eq!(answer.await.status, 200);
    for path in ["packages/main/artifacts/1/content", "devices:export"] {
        let key = api.key_of(path, None).await;
        let request = key.request("GET", path, "text/csv", Body::empty());
        let answer = api.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let mut pieces = answer.into_body().into_data_stream();
        pieces.next().await.unwrap().unwrap();
        key.revoke().await;
        let error = pieces.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("was revoked"), "{path}: {error}");
    }
}

#[tokio::test]
async fn what_has_expired_is_asked_again_too() {
    let api = Api::start().await;
    let key = api.key_of("short", Some(clock::unix_ms() - 1)).await;
    let actor = Actor::with(api.control.view().key(key.id).unwrap(), Role::Deploy);
    let name = "lamps".parse().unwrap();
    let project = api.control.view().default_project().id;
    let refused = api
        .control
        .create_cohort(&actor, project, name)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("\"short\" has expired"), "{refused}");

    let key = api.key_of("deployer", None).await;
    let actor = Actor::with(api.control.view().key(key.id).unwrap(), Role::Admin);
    let name = KeyName::parse("another").unwrap();
    let refused = api.control.create_key(&actor, name, Role::Admin, None).await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("not have the role"), "{refused}");
}

/// A key to deploy with.
struct Held<'a> {
    api: &'a Api,
    id: KeyId,
    bearer: String,
}

impl Api {
    async fn key_of(&self, name: &str, expires_ms: Option<i64>) -> Held<'_> {
        let name = KeyName::parse(name).unwrap();
        let actor = Actor::system();
        let made = self.control.create_key(&actor, name, Role::Deploy, expires_ms);
        let made = made.await.unwrap();
        Held {
            api: self,
            id: made.key.id,
            bearer: format!("Bearer {}", made.text),
        }
    }
}

impl Held<'_> {
    fn request(&self, method: &str, path: &str, kind: &str, body: Body) -> Request<Body> {
        let headers = [("authorization", self.bearer.as_str()), ("content-type", kind)];
        Api::request(method, &format!("/v1/projects/default/{path}"), &headers, body)
    }

    async fn revoke(&self) {
        let revoked = self.api.delete(&format!("keys/{}", self.id)).await;
        revoked.expect(204);
    }
}

/// A body that is sent piece by piece, and ends when it is dropped.
struct Pieces(mpsc::Sender<Bytes>);

fn piecewise() -> (Pieces, Body) {
    let (pieces, sent) = mpsc::channel(PIECES);
    let body = stream::unfold(sent, |mut sent| async {
        Some((Ok::<_, std::io::Error>(sent.recv().await?), sent))
    });
    (Pieces(pieces), Body::from_stream(body))
}

impl Pieces {
    async fn send(&self, text: &str) {
        self.0.send(Bytes::from(text.to_owned())).await.unwrap();
    }

    /// Waits until all that was sent is taken.
    async fn taken(&self) {
        drop(self.0.reserve_many(PIECES).await.unwrap());
    }
}

/// More than a test sends at once.
const PIECES: usize = 8;

fn rows(name: &str, count: usize) -> String {
    (0..count).map(|number| format!("{name}-{number}\n")).collect()
}
