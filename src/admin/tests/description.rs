//! `/v1/openapi.json` against what it describes: routes, parameters, roles.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::admin::openapi;
use crate::admin::query::ACCEPTED;

/// A method that no route has: it is answered with those that there are.
const NO_METHOD: &str = "TRACE";

#[tokio::test]
async fn every_route_is_described_and_everything_described_is_a_route() {
    let api = Api::start().await;
    let mut routes = BTreeSet::new();
    for path in routes_in_the_source() {
        let below = format!("{}{path}", super::super::PROJECT);
        let (path, methods) = match methods(&api, &below).await {
            Some(methods) => (below, methods),
            None => (path.clone(), methods(&api, &path).await.expect(&path)),
        };
        // The handler takes what is behind a device for a verb.
        let pushed = format!("{path}:push");
        let verb = match path.ends_with("/devices/{device}") {
            true => self::methods(&api, &pushed).await.unwrap(),
            false => Vec::new(),
        };
        let verb = verb.into_iter().map(|method| (pushed.clone(), method));
        let plain = methods.into_iter().map(|method| (path.clone(), method));
        // What HEAD is answered follows from GET.
        routes.extend(plain.chain(verb).filter(|(_, method)| method != "HEAD"));
    }
    let described: BTreeSet<_> = operations().into_keys().collect();
    let hidden: Vec<_> = routes.difference(&described).collect();
    let invented: Vec<_> = described.difference(&routes).collect();
    assert!(
        hidden.is_empty() && invented.is_empty(),
        "to be described in src/admin/openapi/calls.rs: {hidden:?}; described, and no route: {invented:?}"
    );
    assert!(routes.len() > 40, "{routes:?}");
}

#[test]
fn every_parameter_is_described_and_everything_described_is_accepted() {
    let described: BTreeMap<_, BTreeSet<String>> = operations()
        .into_iter()
        .filter_map(|((path, method), operation)| {
            let names = names_of(&operation, "query");
            (!names.is_empty()).then(|| ((route_of(&path), method), names))
        })
        .collect();
    let accepted: BTreeMap<_, BTreeSet<String>> = ACCEPTED
        .iter()
        .map(|(method, below, names)| {
            let path = format!("{}{below}", super::super::PROJECT);
            let names = names.iter().map(|name| (*name).to_owned());
            ((path, method.to_string()), names.collect())
        })
        .collect();
    assert_eq!(
        described, accepted,
        "src/admin/openapi/calls.rs and src/admin/query.rs"
    );
}

#[tokio::test]
async fn every_call_asks_for_the_role_that_is_described() {
    let api = Api::start().await;
    let mut keys = BTreeMap::new();
    for role in ["read", "deploy"] {
        let made = api
            .post("keys", &json!({"name": role, "role": role}))
            .await
            .expect(201);
        keys.insert(role, made["key"].as_str().unwrap().to_owned());
    }
    for ((path, method), operation) in operations() {
        let asked = |key: Option<&str>| {
            // A stream that is given has no end to wait for.
            let endless = !operation["responses"]["200"]["content"]["text/event-stream"].is_null();
            let query = if endless { "?lastEventId=unreadable" } else { "" };
            let address = filled_in(&path) + query;
            let request = Request::builder().method(method.as_str()).uri(address);
            let request = match key {
                Some(key) => request.header("authorization", format!("Bearer {key}")),
                None => request,
            };
            api.call(request.body(Body::empty()).unwrap())
        };
        let needs = &operation["security"];
        let lower: &[&str] = match needs[0]["bearer"][0].as_str() {
            Some("read") => &[],
            Some("deploy") => &["read"],
            Some("admin") => &["read", "deploy"],
            Some(other) => panic!("{method} {path}: {other}"),
            None => {
                assert!(!path.starts_with("/v1/projects"), "{method} {path} is open");
                continue;
            }
        };
        let named = asked(None).await;
        assert_eq!(named.status, 401, "{method} {path} without a key");
        for (role, key) in &keys {
            let answer = asked(Some(key)).await;
            let refused = answer.status == 403;
            let should = lower.contains(role);
            assert_eq!(refused, should, "{method} {path} as {role}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn the_description_is_open_and_whole() {
    let api = Api::start().await;
    let request = Request::get("/v1/openapi.json").body(Body::empty()).unwrap();
    let document = api.call(request).await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");

    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut ids = BTreeSet::new();
    for ((path, method), operation) in operations() {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {path}: its id is another one's");
        assert!(
            operation["summary"].as_str().unwrap().ends_with('.'),
            "{method} {path}"
        );
        assert!(
            !operation["tags"][0].as_str().unwrap().is_empty(),
            "{method} {path}"
        );
        let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
        assert!(statuses[0].starts_with('2'), "{method} {path}: {statuses:?}");
        let braces = path.matches('{').count();
        assert_eq!(names_of(&operation, "path").len(), braces, "{method} {path}");
    }
}

/// Every operation by its path and method.
fn operations() -> BTreeMap<(String, String), Value> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.insert((path.clone(), method.to_uppercase()), operation.clone());
        }
    }
    operations
}

/// The names of an operation's parameters that stand there.
fn names_of(operation: &Value, place: &str) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().unwrap().iter();
    let there = parameters.filter(|parameter| parameter["in"] == place);
    there
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The route that takes calls of a described path: a verb behind a device is told apart by the handler.
fn route_of(path: &str) -> String {
    path.strip_suffix(":push").unwrap_or(path).to_owned()
}

/// What is written as a route, in the order of the file.
fn routes_in_the_source() -> Vec<String> {
    let source = include_str!("../mod.rs");
    let routes = source.split(".route(").skip(1);
    routes
        .map(|rest| rest.split('"').nth(1).unwrap().to_owned())
        .collect()
}

/// The methods of a route; none where there is no route.
async fn methods(api: &Api, path: &str) -> Option<Vec<String>> {
    let request = Request::builder().method(NO_METHOD).uri(filled_in(path));
    let answer = api.call(request.body(Body::empty()).unwrap()).await;
    if answer.status == 404 {
        return None;
    }
    assert_eq!(answer.status, 405, "{path}");
    let allowed = answer.headers["allow"].to_str().unwrap();
    Some(
        allowed
            .split(',')
            .map(|method| method.trim().to_owned())
            .collect(),
    )
}

/// A path with something for each of its parameters.
fn filled_in(path: &str) -> String {
    let mut filled = String::new();
    for part in path.split_inclusive(['{', '}']) {
        match part.strip_suffix('}') {
            Some("project") => filled.push_str("default"),
            Some("deployment") => filled.push_str("dep_1"),
            Some(_) => filled.push('x'),
            None => filled.push_str(part.trim_end_matches('{')),
        }
    }
    filled
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                references.push(reference.clone());
            }
            members
                .values()
                .for_each(|member| collect_references(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
