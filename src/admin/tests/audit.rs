//! The audit: every change leaves a line, and the list shows those that are asked for.

use std::collections::BTreeSet;

use super::*;
use crate::control::AUDIT_ACTIONS;

#[tokio::test]
async fn every_route_that_changes_something_leaves_a_line_with_what_was_and_what_is() {
    let api = Api::start().await;
    let mut walk = Walk {
        api: &api,
        walked: BTreeSet::new(),
        actions: BTreeSet::new(),
    };
    for name in ["main", "gone"] {
        walk.posts(
            "/packages",
            "packages",
            json!({"name": name}),
            &["package.create"],
        )
        .await;
    }
    for version in ["1.0.0", "1.1.0", "0.9.0"] {
        let path = format!("packages/main/artifacts/{version}");
        let route = "/packages/{package}/artifacts/{version}";
        let length = [("content-length", "64")];
        walk.calls("PUT", route, &path, &length, noise(64), &["artifact.create"])
            .await;
    }
    let route = "/packages/{package}/artifacts/{version}";
    walk.deletes(route, "packages/main/artifacts/0.9.0", &["artifact.delete"])
        .await;
    walk.deletes("/packages/{package}", "packages/gone", &["package.delete"])
        .await;
    for name in ["lamps", "gone"] {
        walk.posts("/cohorts", "cohorts", json!({"name": name}), &["cohort.create"])
            .await;
    }
    walk.deletes("/cohorts/{cohort}", "cohorts/gone", &["cohort.delete"])
        .await;
    for version in ["1.0.0", "1.1.0"] {
        let body = json!({"name": version, "artifacts": [{"package": "main", "version": version}]});
        let (route, path) = ("/cohorts/{cohort}/deployments", "cohorts/lamps/deployments");
        walk.posts(route, path, body, &["deployment.create"]).await;
    }
    let with_psk = ["device.create"];
    let body = json!({"name": "lamp-1", "credentials": [{"type": "psk", "secret": "s"}]});
    walk.posts("/devices", "devices", body, &with_psk).await;
    let body = json!({"cohort": "lamps", "enabled": false});
    let patch = walk.api.request_of("PATCH", "devices/lamp-1", &body);
    walk.answers("PATCH", "/devices/{device}", patch, &["device.update"])
        .await;
    let body = json!({"devices": ["lamp-1"], "addTags": ["x"]});
    walk.posts("/devices:update", "devices:update", body, &["device.update"])
        .await;
    let csv = [("content-type", "text/csv")];
    let file = "name,identity,secret\nlamp-2,two,s\n";
    walk.calls("POST", "/devices:import", "devices:import", &csv, file, &with_psk)
        .await;
    walk.posts(
        "/devices/{device}",
        "devices/lamp-1:push",
        Value::Null,
        &["device.push"],
    )
    .await;
    let route = "/devices/{device}/credentials";
    let body = json!({"type": "psk", "identity": "another", "secret": "s"});
    let made = walk
        .posts(route, "devices/lamp-1/credentials", body, &["credential.create"])
        .await;
    let path = format!("devices/lamp-1/credentials/{}", made["id"].as_str().unwrap());
    let route = "/devices/{device}/credentials/{credential}";
    walk.deletes(route, &path, &["credential.delete"]).await;
    walk.deletes("/devices/{device}", "devices/lamp-1", &["device.delete"])
        .await;
    let body = json!({"pem": device_cas::CA_PEM});
    walk.posts("/device-cas", "device-cas", body, &["device-ca.create"])
        .await;
    walk.deletes("/device-cas/{ca}", "device-cas/factory", &["device-ca.delete"])
        .await;
    let body = json!({"name": "ci", "role": "deploy"});
    let made = walk.posts("/keys", "keys", body, &["key.create"]).await;
    let path = format!("keys/{}", made["id"].as_str().unwrap());
    walk.deletes("/keys/{key}", &path, &["key.revoke"]).await;

    let missing: Vec<_> = changing_routes().difference(&walk.walked).cloned().collect();
    assert!(missing.is_empty(), "not walked: {missing:?}");
    // What the gateway does by itself, when a device comes with one certificate too many.
    walk.actions.insert("credential.forget".to_owned());
    // Of the console, whose tests look for them.
    walk.actions
        .extend(["session.open", "session.close"].map(str::to_owned));
    let told: BTreeSet<_> = AUDIT_ACTIONS.map(str::to_owned).into();
    assert_eq!(walk.actions, told);
}

#[tokio::test]
async fn the_audit_is_listed_newest_first_and_filtered_by_who_what_and_when() {
    let api = Api::start().await;
    for n in 0..5 {
        api.post("cohorts", &json!({"name": format!("cohort-{n}")}))
            .await
            .expect(201);
    }
    api.delete("cohorts/cohort-3").await.expect(204);
    let all = api.get("audit").await.expect(200);
    let all = all["items"].as_array().unwrap();
    assert_eq!(all.len(), 7, "the key of the first start too");
    let ids: Vec<i64> = all
        .iter()
        .map(|line| line["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
    let mut fields: Vec<_> = all[0].as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["action", "actor", "after", "at", "before", "id", "subject"]
    );

    let count = async |query: &str| {
        let page = api.get(&format!("audit?{query}")).await.expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("action=cohort.create").await, 5);
    assert_eq!(count("action=cohort.create&actor=nobody").await, 0);
    assert_eq!(count("actor=bootstrap").await, 6);
    let gone = all[0]["subject"].as_str().unwrap();
    assert_eq!(count(&format!("subject={gone}")).await, 2);
    assert_eq!(count(&format!("subject={gone}&action=cohort.delete")).await, 1);
    let (first, last) = (all[6]["at"].as_str().unwrap(), all[0]["at"].as_str().unwrap());
    let at_last = all.iter().filter(|line| line["at"] == last).count();
    assert_eq!(count(&format!("since={first}")).await, 7);
    assert_eq!(count(&format!("since={last}")).await, at_last);
    assert_eq!(count(&format!("until={last}")).await, 7 - at_last);
    assert_eq!(count(&format!("until={first}")).await, 0);

    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = api
            .get(&format!("audit?limit=2&action=cohort.create{token}"))
            .await
            .expect(200);
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["nextPageToken"].as_str() {
            Some(next) => token = format!("&pageToken={next}"),
            None => break,
        }
    }
    let wanted: Vec<_> = all
        .iter()
        .filter(|line| line["action"] == "cohort.create")
        .cloned()
        .collect();
    assert_eq!(paged, wanted);

    for (query, field, accepted) in [
        ("action=cohort.explode", "action", "cohort.create"),
        ("since=yesterday", "since", "RFC 3339"),
        ("until=2026-01-31", "until", "RFC 3339"),
        ("pageToken=x", "pageToken", "nextPageToken"),
    ] {
        let problem = api
            .get(&format!("audit?{query}"))
            .await
            .problem(422, "invalid-value");
        assert_eq!(problem["errors"][0]["field"], field);
        let said = problem["errors"][0]["accepted"].as_str().unwrap();
        assert!(said.contains(accepted), "{said}");
    }
}

#[tokio::test]
async fn lines_about_keys_are_listed_for_administrators_alone() {
    let api = Api::start().await;
    let made = api
        .post("keys", &json!({"name": "looks", "role": "deploy"}))
        .await
        .expect(201);
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let seen = api
        .send("GET", "audit", &[("authorization", &bearer)], Body::empty())
        .await
        .expect(200);
    let seen: Vec<_> = seen["items"].as_array().unwrap().iter().collect();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["action"], "cohort.create");
    let all = api.get("audit").await.expect(200).to_string();
    assert!(all.contains("key.create"), "{all}");
    assert!(!all.contains(made["key"].as_str().unwrap()), "{all}");
}

#[tokio::test]
async fn the_audit_is_asked_by_name_as_well_as_by_id() {
    let api = Api::start().await;
    api.artifact("main", "1.0", 5).await;
    let post = async |path: &str, body: Value| {
        let made = api.post(path, &body).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    };
    let cohort = post("cohorts", json!({"name": "north"})).await;
    let artifacts = json!([{"package": "main", "version": "1.0"}]);
    let deployment = post(
        "cohorts/north/deployments",
        json!({"name": "First of all", "artifacts": artifacts}),
    )
    .await;
    // A device may be called as a cohort is, and a package as the id of a key.
    let device = post("devices", json!({"name": "north"})).await;
    let key = post("keys", json!({"name": "payroll", "role": "admin"})).await;
    post("packages", json!({"name": key})).await;
    post("cohorts", json!({"name": "northern"})).await;
    let made = api
        .post("keys", &json!({"name": "looks", "role": "read"}))
        .await
        .expect(201);
    let looks = format!("Bearer {}", made["key"].as_str().unwrap());

    let about = async |bearer: Option<&str>, subject: &str| {
        let path = format!("/v1/projects/default/audit?subject={subject}");
        let headers: Vec<_> = bearer
            .map(|bearer| ("authorization", bearer))
            .into_iter()
            .collect();
        let request = Api::request("GET", &path, &headers, Body::empty());
        let page = api.call(request).await.expect(200);
        let lines = page["items"].as_array().unwrap().iter();
        let lines = lines.map(|line| format!("{} {}", line["action"], line["subject"]).replace('"', ""));
        lines.collect::<Vec<_>>()
    };
    let cohort = format!("cohort.create {cohort}");
    let device = format!("device.create {device}");
    assert_eq!(about(None, "north").await, [device, cohort]);
    let deployment = format!("deployment.create {deployment}");
    assert_eq!(about(None, "First%20of%20all").await, [deployment]);
    let main = ["artifact.create main@1.0", "package.create main"];
    assert_eq!(about(None, "main").await, main);
    assert_eq!(about(None, "main@1.0").await, main[..1]);
    let lines = [format!("package.create {key}"), format!("key.create {key}")];
    assert_eq!(about(None, "payroll").await, lines);
    assert_eq!(about(None, &key).await, lines);
    assert_eq!(about(None, "nort").await, [""; 0]);
    // Or a reader would be told by it which key has that name.
    assert_eq!(about(Some(&looks), "payroll").await, [""; 0]);
    assert_eq!(about(Some(&looks), &key).await, lines[..1]);
}

/// Calls that change something, and what the audit has to say of each.
struct Walk<'a> {
    api: &'a Api,
    walked: BTreeSet<(String, String)>,
    actions: BTreeSet<String>,
}

impl Walk<'_> {
    async fn posts(&mut self, route: &str, path: &str, body: Value, told: &[&str]) -> Value {
        let request = self.api.request_of("POST", path, &body);
        self.answers("POST", route, request, told).await
    }

    async fn deletes(&mut self, route: &str, path: &str, told: &[&str]) {
        self.calls("DELETE", route, path, &[], Body::empty(), told).await;
    }

    async fn calls(
        &mut self,
        method: &str,
        route: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
        told: &[&str],
    ) {
        let uri = format!("/v1/projects/default/{path}");
        let request = Api::request(method, &uri, headers, body);
        self.answers(method, route, request, told).await;
    }

    async fn answers(&mut self, method: &str, route: &str, request: Request<Body>, told: &[&str]) -> Value {
        let before = *self.api.control.audited().borrow();
        let answer = self.api.call(request).await;
        assert!(
            (200..300).contains(&answer.status),
            "{}: {}",
            answer.asked,
            answer.text()
        );
        let page = self.api.get("audit?limit=10").await.expect(200);
        let mut lines = page["items"].as_array().unwrap().clone();
        lines.retain(|line| line["id"].as_str().unwrap().parse::<i64>().unwrap() > before);
        lines.reverse();
        let actions: Vec<_> = lines
            .iter()
            .map(|line| line["action"].as_str().unwrap())
            .collect();
        assert_eq!(actions, told, "{}", answer.asked);
        for line in &lines {
            assert_eq!(line["actor"], "bootstrap", "{line}");
            assert!(!line["subject"].as_str().unwrap().is_empty(), "{line}");
            let (was, is) = (&line["before"], &line["after"]);
            let (_, verb) = line["action"].as_str().unwrap().split_once('.').unwrap();
            match (line["action"].as_str().unwrap(), verb) {
                // What was active before is what a deployment changes.
                ("deployment.create", _) | (_, "update") => {
                    assert!(was.is_object() && is.is_object() && was != is, "{line}");
                }
                (_, "create") => assert!(was.is_null() && is.is_object(), "{line}"),
                (_, "delete" | "revoke") => assert!(was.is_object() && is.is_null(), "{line}"),
                (_, "push") => assert!(was.is_null() && is.is_null(), "nothing is changed: {line}"),
                (action, _) => panic!("what does {action} change?"),
            }
            self.actions.insert(line["action"].as_str().unwrap().to_owned());
        }
        self.walked.insert((method.to_owned(), route.to_owned()));
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }
}

impl Api {
    fn request_of(&self, method: &str, path: &str, body: &Value) -> Request<Body> {
        let uri = format!("/v1/projects/default/{path}");
        Api::request(
            method,
            &uri,
            &[("content-type", "application/json")],
            body.to_string(),
        )
    }
}

/// Every route of the API with a method that may change something, as the router has them.
fn changing_routes() -> BTreeSet<(String, String)> {
    let source = include_str!("../mod.rs");
    let (_, routes) = source.split_once("let project = Router::new()").unwrap();
    let (routes, _) = routes.split_once(".nest(PROJECT, project)").unwrap();
    let mut found = BTreeSet::new();
    for route in routes.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        for (method, word) in [
            ("POST", "post("),
            ("PUT", "put("),
            ("PATCH", "patch("),
            ("DELETE", "delete("),
        ] {
            let is_called =
                |(at, _): (usize, &str)| !route[..at].ends_with(|c: char| c.is_alphabetic() || c == '_');
            if route.match_indices(word).any(is_called) {
                found.insert((method.to_owned(), path.to_owned()));
            }
        }
    }
    for unchanging in UNCHANGING {
        let (method, path) = unchanging;
        assert!(
            found.remove(&((*method).to_owned(), (*path).to_owned())),
            "{unchanging:?}"
        );
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

/// Previews, and what is refused whatever it says.
const UNCHANGING: &[(&str, &str)] = &[
    ("POST", "/cohorts/{cohort}/deployments:preview"),
    ("POST", "/devices:updatePreview"),
];
