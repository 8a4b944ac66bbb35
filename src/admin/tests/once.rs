//! `Idempotency-Key`.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::*;

#[tokio::test]
async fn the_same_request_again_has_no_second_effect_and_the_same_answer() {
    let api = Api::start().await;
    api.artifact("main", "1", 10).await;
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let deployment = json!({"name": "first", "artifacts": [{"package": "main", "version": "1"}]});
    let path = "cohorts/lamps/deployments";

    let first = api.once("a", path, &deployment).await;
    let again = api.once("a", path, &deployment).await;
    assert_eq!(again.expect(201), first.expect(201));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(
        api.get(path).await.expect(200)["items"].as_array().unwrap().len(),
        1
    );

    // Another key is another request, and here the name is taken.
    api.once("b", path, &deployment).await.problem(409, "name-taken");
    // What it was used for decides, address included.
    let other = json!({"name": "second", "artifacts": []});
    api.once("a", path, &other)
        .await
        .problem(422, "idempotency-key-reused");
    api.once("a", "cohorts", &deployment)
        .await
        .problem(422, "idempotency-key-reused");
    // So does the project: in one that is not there nothing was made.
    let elsewhere = Api::request(
        "POST",
        "/v1/projects/other/cohorts/lamps/deployments",
        &[("content-type", "application/json"), ("idempotency-key", "a")],
        deployment.to_string(),
    );
    api.call(elsewhere).await.problem(404, "not-found");
    // A key of the API is its own namespace.
    let key = api
        .post("keys", &json!({"name": "ci", "role": "deploy"}))
        .await
        .expect(201);
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "a")];
    api.send("POST", "cohorts", &headers, json!({"name": "posts"}).to_string())
        .await
        .expect(201);
}

#[tokio::test]
async fn devices_that_come_later_are_not_what_was_asked_for_the_first_time() {
    let api = Api::start().await;
    for cohort in ["a", "b"] {
        api.post("cohorts", &json!({"name": cohort})).await.expect(201);
    }
    api.post("devices", &json!({"name": "d1", "cohort": "a"}))
        .await
        .expect(201);
    let moved = json!({"fromCohort": "a", "cohort": "b"});
    let first = api.once("m", "devices:update", &moved).await;
    assert_eq!(first.expect(200)["joined"], 1);
    api.post("devices", &json!({"name": "d2", "cohort": "a"}))
        .await
        .expect(201);
    let again = api.once("m", "devices:update", &moved).await;
    assert_eq!(again.expect(200), first.expect(200));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let there = api.get("devices?cohort=a").await.expect(200);
    assert_eq!(there["items"][0]["name"], "d2");
}

#[tokio::test]
async fn a_refusal_is_not_kept_because_nothing_was_done() {
    let api = Api::start().await;
    api.artifact("main", "1", 10).await;
    let deployment = json!({"name": "first", "artifacts": [{"package": "main", "version": "1"}]});
    let path = "cohorts/lamps/deployments";
    api.once("a", path, &deployment).await.problem(404, "not-found");
    let device = json!({"name": "lamp-1", "cohort": "lamps"});
    api.once("b", "devices", &device)
        .await
        .problem(422, "unknown-reference");
    api.once("c", "packages", &json!({"name": "a/b"}))
        .await
        .problem(422, "invalid-value");
    // Refused by a command, together with others that could have been done.
    api.post("devices", &json!({"name": "lamp-2"})).await.expect(201);
    let taken = json!({"name": "lamp-2", "tags": ["x"]});
    api.once("d", "devices", &taken).await.problem(409, "name-taken");

    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    api.delete("devices/lamp-2").await.expect(204);
    api.once("a", path, &deployment).await.expect(201);
    api.once("b", "devices", &device).await.expect(201);
    api.once("c", "packages", &json!({"name": "assets"}))
        .await
        .expect(201);
    api.once("d", "devices", &taken).await.expect(201);
    // What only looks is looked at again.
    let preview = json!({"name": "x", "artifacts": []});
    for body in [&deployment, &preview] {
        let looked = api.once("e", &format!("{path}:preview"), body).await;
        assert!(
            !looked.headers.contains_key("idempotency-replayed"),
            "{}",
            looked.text()
        );
    }
}

#[tokio::test]
async fn an_import_takes_no_key_and_says_so_whatever_its_size() {
    let api = Api::start().await;
    let large = format!("name\n{}", "lamp-1\n".repeat(100_000));
    for file in ["name\nlamp-1\n", &large] {
        let headers = [("content-type", "text/csv"), ("idempotency-key", "a")];
        let refused = api
            .send("POST", "devices:import", &headers, file.to_owned())
            .await;
        let problem = refused.problem(422, "invalid-value");
        assert_eq!(problem["errors"][0]["field"], "idempotency-key");
        assert_eq!(problem["errors"][0]["value"], "a");
    }
    assert_eq!(api.get("devices").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_secret_is_not_shown_again_and_the_answer_says_so() {
    let api = Api::start().await;
    let device = json!({"name": "lamp-1", "credentials": [{"type": "psk"}], "tags": ["key"]});
    let credential = json!({"type": "psk", "identity": "second"});
    let key = json!({"name": "ci", "role": "read"});
    for (path, body, pointer) in [
        ("devices", &device, "/credentials/0/secret"),
        ("devices/lamp-1/credentials", &credential, "/secret"),
        ("keys", &key, "/key"),
    ] {
        let mut shown = api.once(path, path, body).await.expect(201);
        let secret = shown.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let again = api.once(path, path, body).await;
        assert!(!again.text().contains(&secret), "{}", again.text());
        let mut again = again.expect(201);
        assert_eq!(again["notShownAgain"], json!([pointer]));
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let holder = shown.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        holder.remove(member);
        again.as_object_mut().unwrap().remove("notShownAgain");
        assert_eq!(again, shown, "all else is the same");
    }
    // What the operator calls so is not ours to take.
    let package = json!({"name": "main", "metadata": {"key": "value", "secret": "no"}});
    api.once("p", "packages", &package).await.expect(201);
    let again = api.once("p", "packages", &package).await.expect(201);
    assert_eq!(again["metadata"], package["metadata"]);
    assert_eq!(again.get("notShownAgain"), None);
}

#[tokio::test]
async fn the_same_key_while_the_first_is_under_way_is_409() {
    let api = Api::start().await;
    let cohort = json!({"name": "lamps"});
    {
        let mut first = pin!(api.once("a", "cohorts", &cohort));
        assert!(!turn(first.as_mut()).await);
        api.once("a", "cohorts", &cohort)
            .await
            .problem(409, "idempotency-key-in-use");
        api.once("b", "cohorts", &json!({"name": "posts"}))
            .await
            .expect(201);
        first.await.expect(201);
    }
    api.once("a", "cohorts", &cohort).await.expect(201);
}

#[tokio::test]
async fn who_hangs_up_finds_the_answer_later() {
    let api = Api::start().await;
    for wait in 0..40 {
        let name = format!("cohort-{wait}");
        let cohort = json!({"name": name});
        {
            // Dropped when the runtime has had so many turns: before, while and after it is carried out.
            let mut hangs_up = pin!(api.once(&name, "cohorts", &cohort));
            for _ in 0..=wait {
                if turn(hangs_up.as_mut()).await {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        loop {
            let again = api.once(&name, "cohorts", &cohort).await;
            if again.status == 201 {
                break;
            }
            again.problem(409, "idempotency-key-in-use");
            tokio::task::yield_now().await;
        }
    }
    let all = api.get("cohorts").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 40);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let api = Api::start().await;
    let long = "x".repeat(256);
    for key in ["", "a b", long.as_str()] {
        let answer = api.once(key, "cohorts", &json!({"name": "lamps"})).await;
        let problem = answer.problem(422, "invalid-value");
        assert_eq!(problem["errors"][0]["field"], "idempotency-key");
    }
    let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
    api.send("POST", "cohorts", &two, "{}")
        .await
        .problem(422, "invalid-value");
    let stranger = [("idempotency-key", "a"), ("authorization", "Bearer none")];
    api.send("POST", "cohorts", &stranger, "{}")
        .await
        .problem(401, "unauthenticated");
    // It is for what has another effect each time.
    api.send("GET", "cohorts", &two, Body::empty()).await.expect(200);
}

/// Lets a future have one turn; says whether it has ended.
async fn turn<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

impl Api {
    async fn once(&self, key: &str, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.send("POST", path, &headers, body.to_string()).await
    }
}
