//! Devices in bulk: files in and out, many changed at once, and moves that would make a sequence number fall.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes, to_bytes};
use futures_util::stream;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::pace::TooSlow;
use super::{Answer, Api};

#[tokio::test]
async fn a_name_that_is_too_long_for_the_identity_that_follows_from_it_is_told_the_way_out() {
    let api = Api::start().await;
    let psk = json!({"type": "psk"});
    let named = json!({"type": "psk", "identity": "its-own"});
    for (name, credentials, at) in [
        ("l".repeat(54), None, 0),
        ("l".repeat(63), Some(json!([psk])), 0),
        ("l".repeat(63), Some(json!([named, psk])), 1),
    ] {
        let mut body = json!({"name": name});
        if let Some(credentials) = credentials {
            body["credentials"] = credentials;
        }
        let refused = api.post("devices", &body).await.problem(422, "invalid-value");
        let error = &refused["errors"][0];
        assert_eq!(
            error["field"],
            format!("/credentials/{at}/identity"),
            "{refused:#}"
        );
        let accepted = error["accepted"].as_str().unwrap();
        for way in [
            "`identity` of the credential",
            "--identity",
            "Identity in the console",
        ] {
            assert!(accepted.contains(way), "{accepted}");
        }
    }
    let whole = json!({"name": "l".repeat(63), "credentials": []});
    api.post("devices", &whole).await.expect(201);
    let path = format!("devices/{}/credentials", "l".repeat(63));
    let refused = api.post(&path, &psk).await.problem(422, "invalid-value");
    assert_eq!(refused["errors"][0]["field"], "/identity", "{refused:#}");
    api.post(&path, &named).await.expect(201);
}

#[tokio::test]
async fn a_device_without_a_word_about_credentials_gets_a_key_and_one_with_an_empty_list_none() {
    let api = Api::start().await;
    let made = api.post("devices", &json!({"name": "lamp-1"})).await.expect(201);
    let credentials = made["credentials"].as_array().unwrap();
    assert_eq!(credentials.len(), 1, "{made:#}");
    assert_eq!(credentials[0]["identity"], "lamp-1-id@default");
    assert!(credentials[0]["secret"].as_str().unwrap().len() >= 20, "{made:#}");
    let shown = api.get("devices/lamp-1").await.expect(200);
    assert_eq!(shown["credentials"][0]["id"], credentials[0]["id"]);
    assert!(shown["credentials"][0]["secret"].is_null(), "shown once");

    let bare = json!({"name": "lamp-2", "credentials": []});
    let made = api.post("devices", &bare).await.expect(201);
    assert_eq!(made["credentials"], json!([]));
}

#[tokio::test]
async fn a_file_is_imported_once_and_the_second_time_changes_nothing() {
    let api = Api::start().await;
    api.post("cohorts", &json!({"name": "north, upper"}))
        .await
        .expect(201);
    let file = "\u{feff}name,cohort,tags,enabled,identity,secret,identity2,secretHex2\r\n\
                lamp-1,\"north, upper\",b;a,,one,first,two,00ff\r\n\
                \r\n\
                lamp-2,,,false,,,,\r\n\
                lamp-3,,a,true,three,,,\r\n";
    let first = api.import("", "text/csv", file).await;
    assert_eq!(counts(&first), [3, 3, 0, 0, 0]);
    let made: Vec<&Value> = first
        .iter()
        .filter(|line| line["credentials"].is_array())
        .collect();
    let shown: Vec<_> = made
        .iter()
        .map(|line| {
            (
                line["line"].as_u64(),
                line["name"].as_str(),
                line["outcome"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (Some(4), Some("lamp-2"), Some("created")),
            (Some(5), Some("lamp-3"), Some("created"))
        ]
    );
    assert_eq!(made[0]["credentials"][0]["identity"], "lamp-2-id@default");
    assert_eq!(made[0]["credentials"][0]["secret"].as_str().unwrap().len(), 32);
    assert_eq!(made[1]["credentials"][0]["identity"], "three");

    let lamp = api.get("devices/lamp-1").await.expect(200);
    assert_eq!(
        (&lamp["cohort"]["name"], &lamp["tags"], &lamp["enabled"]),
        (&json!("north, upper"), &json!(["a", "b"]), &json!(true))
    );
    assert_eq!(api.get("devices/lamp-2").await.expect(200)["enabled"], false);
    let stored = api.control.device_by_identity(b"two").await.unwrap().unwrap();
    assert_eq!(stored.secret.as_bytes(), [0x00, 0xff]);

    let audit = crate::control::AuditScope::Project(api.control.view().default_project().id);
    let noted = async || {
        let filter = crate::control::AuditFilter {
            limit: 1000,
            ..Default::default()
        };
        api.control.audit(audit, &filter).await.unwrap().records.len()
    };
    let before = noted().await;
    for rules in ["", "?update=true"] {
        let again = api.import(rules, "text/csv", file).await;
        assert_eq!(counts(&again), [3, 0, 0, 3, 0], "{again:#?}");
        assert!(
            again.iter().all(|line| line["credentials"].is_null()),
            "a secret is shown once"
        );
    }
    assert_eq!(noted().await, before, "nothing was done");
}

#[tokio::test]
async fn one_key_s_slow_imports_leave_places_for_others() {
    let api = Api::start().await;
    let made = api
        .post("keys", &json!({"name": "slow", "role": "deploy"}))
        .await
        .expect(201);
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let slow = || {
        let never = stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let request = Api::request(
            "POST",
            "/v1/projects/default/devices:import",
            &[
                ("authorization", &bearer),
                ("content-type", "application/x-ndjson"),
            ],
            Body::from_stream(never),
        );
        api.router.clone().oneshot(request)
    };
    let begun = [slow().await.unwrap(), slow().await.unwrap()];
    assert!(begun.iter().all(|answer| answer.status() == 200));
    // It waits for its turn, and nothing else is to be done meanwhile.
    tokio::time::pause();
    let refused = slow().await.unwrap();
    tokio::time::resume();
    assert_eq!(refused.status(), 503);
    let told = to_bytes(refused.into_body(), 10_000).await.unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("2 imports of slow are under way"), "{told}");
    let lines = api.import("", "text/csv", "name\nlamp-1\n").await;
    assert_eq!(counts(&lines), [1, 1, 0, 0, 0]);
}

#[tokio::test]
async fn what_is_exported_can_be_imported_and_holds_no_secret() {
    let api = Api::start().await;
    api.post("cohorts", &json!({"name": "north; \"upper\""}))
        .await
        .expect(201);
    for number in 0..3 {
        let credentials: Vec<Value> = (0..number)
            .map(
                |at| json!({"type": "psk", "identity": format!("i,{number}\"{at}"), "secret": "do-not-show"}),
            )
            .collect();
        let cohort = (number > 0).then_some("north; \"upper\"");
        let body = json!({
            "name": format!("lamp-{number}"), "cohort": cohort, "tags": ["x", format!("t{number}")],
            "enabled": number != 1, "credentials": credentials,
        });
        api.post("devices", &body).await.expect(201);
    }
    for (format, kind) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
        let exported = api.get(&format!("devices:export?format={format}")).await;
        assert_eq!(exported.status, 200);
        assert!(!exported.text().contains("do-not-show"));
        let again = api.import("?update=true", kind, &exported.text()).await;
        assert_eq!(counts(&again), [3, 0, 0, 3, 0], "{format}: {}", exported.text());

        // Into another gateway: the same devices with secrets of their own.
        let other = Api::start().await;
        other
            .post("cohorts", &json!({"name": "north; \"upper\""}))
            .await
            .expect(201);
        let made = other.import("", kind, &exported.text()).await;
        assert_eq!(counts(&made), [3, 3, 0, 0, 0], "{made:#?}");
        let there = other.get(&format!("devices:export?format={format}")).await.text();
        if format == "ndjson" {
            assert_eq!(there, exported.text());
        }
    }
    let lines = async |filter: &str| {
        let exported = api.get(&format!("devices:export?format=ndjson&{filter}")).await;
        exported.text().lines().count()
    };
    assert_eq!(lines("tag=t1").await, 1);
    assert_eq!(lines("cohort=").await, 1);
    assert_eq!(lines("cohort=north%3B%20%22upper%22").await, 2);
    assert_eq!(lines("search=lamp").await, 3);
    assert_eq!(lines("online=true").await, 0);
    let refused = api.get("devices:export?format=xml").await;
    assert_eq!(
        refused.problem(422, "invalid-value")["errors"][0]["field"],
        "format"
    );
}

#[tokio::test]
async fn a_row_that_is_refused_says_where_it_is_and_what_would_be_accepted() {
    let api = Api::start().await;
    let holder = json!({"name": "holder", "credentials": [{"type": "psk", "identity": "held"}]});
    api.post("devices", &holder).await.expect(201);
    let long = "x".repeat(20_000);
    for (row, kind, field, said) in [
        ("a b,,,,,", "invalid-value", "name", "' '"),
        (
            "lamp,nowhere,,,,",
            "invalid-value",
            "cohort",
            "no cohort \"nowhere\"",
        ),
        ("lamp,,good;not good,,,", "invalid-value", "tags", "not good"),
        (
            "lamp,,,perhaps,,",
            "invalid-value",
            "enabled",
            "true, false, or nothing",
        ),
        (
            "lamp,,,,i,this-secret-has-more-than-32-bytes-in-it",
            "invalid-value",
            "secret",
            "1 to 32 bytes",
        ),
        ("lamp,,,,held,", "identity-taken", "", "device \\\"holder\\\""),
        ("lamp,,", "invalid-value", "the row", "3 fields and the header 6"),
        ("lamp,,,,,,", "invalid-value", "the row", "7 fields"),
        (
            &format!("lamp,{long},,,,"),
            "invalid-value",
            "the row",
            "16384 bytes",
        ),
        ("\"lamp\n\",,,,,", "invalid-value", "name", "'\\n'"),
    ] {
        let file = format!("name,cohort,tags,enabled,identity,secret\n{row}\nlamp-2,,,,,\n");
        let lines = api.import("", "text/csv", &file).await;
        let refusal = &lines[0];
        let problem = &refusal["problem"];
        assert_eq!(
            (&refusal["outcome"], &refusal["line"]),
            (&json!("refused"), &json!(2)),
            "{row}: {refusal:#}"
        );
        let urn = format!("urn:tessera:problem:{kind}");
        assert_eq!(problem["type"], urn, "{row}: {refusal:#}");
        assert_eq!(
            problem["errors"][0]["field"].as_str().unwrap_or_default(),
            field,
            "{refusal:#}"
        );
        assert!(
            problem
                .to_string()
                .replace('\\', "")
                .contains(&said.replace('\\', "")),
            "{row}: {said} in {problem}"
        );
        assert!(!problem.to_string().contains("this-secret"), "{problem}");
        assert_eq!(
            lines.last().unwrap()["summary"]["refused"],
            1,
            "the next row is not kept from being imported"
        );
    }
    let latin = [b"name,tags\n".as_slice(), b"lamp,\xe4\n", b"l\xe4mp,a\n"].concat();
    let lines = api.import_bytes("", "text/csv", latin).await;
    assert_eq!(counts(&lines), [2, 0, 0, 0, 2]);
    assert_eq!(lines[0]["problem"]["errors"][0]["field"], "tags");
    assert!(lines[0].to_string().contains("not UTF-8"), "{:#}", lines[0]);
    assert_eq!(lines[1]["problem"]["errors"][0]["field"], "name");

    for (line, field) in [
        (json!({"name": "lamp", "colour": "red"}), "/colour"),
        (json!({"name": "lamp", "tags": ["a", "b c"]}), "/tags/1"),
        (json!({"name": "lamp", "cohort": "nowhere"}), "/cohort"),
        (
            json!({"name": "lamp", "credentials": [{"type": "psk", "secret": ""}]}),
            "/credentials/0/secret",
        ),
        (json!(["lamp"]), "the body"),
    ] {
        let lines = api
            .import("", "application/x-ndjson", &format!("\n{line}\n"))
            .await;
        assert_eq!(lines[0]["line"], 2);
        assert_eq!(
            lines[0]["problem"]["errors"][0]["field"], field,
            "{line}: {:#}",
            lines[0]
        );
    }
    let lines = api.import("", "application/x-ndjson", "{\"name\": \"cut").await;
    assert!(lines[0].to_string().contains("not JSON"), "{:#}", lines[0]);
    let there = api.get("devices:export?format=ndjson").await.text();
    assert_eq!(there.lines().count(), 2, "holder and lamp-2: {there}");
}

#[tokio::test]
async fn a_file_whose_header_is_wrong_is_refused_before_anything_is_done() {
    let api = Api::start().await;
    for (header, said) in [
        ("name,colour", "no such column"),
        ("name,tags,name", "twice"),
        ("cohort,tags", "no column `name`"),
        ("name,identity9", "no such column"),
        ("name,identity1", "no such column"),
        ("name,name2", "no such column"),
        ("Name", "no such column"),
        ("name;cohort;tags", "has commas"),
        ("name\tcohort", "has commas"),
        ("tags", "no column `name`"),
        ("lamp-1", "identity2 to identity8"),
    ] {
        let answer = api
            .import_answer("", "text/csv", format!("{header}\nlamp-1,x\n").into())
            .await;
        let problem = answer.problem(422, "invalid-value");
        assert!(problem.to_string().contains(said), "{header}: {problem:#}");
    }
    api.import_answer("", "text/csv", Body::empty())
        .await
        .problem(400, "malformed-request");
    api.import_answer("", "text/plain", "name\nlamp-1".into())
        .await
        .problem(415, "unsupported-media-type");
    let packed = [("content-type", "text/csv"), ("content-encoding", "gzip")];
    api.send("POST", "devices:import", &packed, "name\nlamp-1")
        .await
        .problem(415, "unsupported-media-type");
    api.import_answer("?update=yes", "text/csv", "name\nlamp-1".into())
        .await
        .problem(422, "invalid-value");
    // What would be read is not what was meant.
    for (header, value, status, kind) in [
        ("content-encoding", "gzip", 415, "unsupported-media-type"),
        ("idempotency-key", "a", 422, "invalid-value"),
    ] {
        let headers = [("content-type", "text/csv"), (header, value)];
        let answer = api
            .send("POST", "devices:import", &headers, "name\nlamp-1\n")
            .await;
        let problem = answer.problem(status, kind);
        assert!(problem.to_string().to_lowercase().contains(header), "{problem:#}");
    }
    let large = Api::request(
        "POST",
        "/v1/projects/default/devices:import",
        &[("content-type", "text/csv"), ("content-length", "268435457")],
        Body::empty(),
    );
    assert_eq!(
        api.call(large).await.problem(413, "too-large")["limitBytes"],
        268_435_456
    );
    assert_eq!(api.get("devices").await.expect(200)["items"], json!([]));

    // As a connection ends a body that does not keep its pace.
    for (sent, told) in [("nam", None), ("name\nlamp-1\nlam", Some([1, 1, 0, 0, 0]))] {
        let body = stream::iter([Ok(Bytes::from(sent)), Err(TooSlow)]);
        let answer = api.import_answer("", "text/csv", Body::from_stream(body)).await;
        let problem = match told {
            None => answer.problem(408, "too-slow"),
            Some(told) => {
                let lines = ndjson(&answer);
                assert_eq!(counts(&lines), told);
                lines.last().unwrap()["problem"].clone()
            }
        };
        assert_eq!(problem["type"], "urn:tessera:problem:too-slow", "{problem:#}");
    }
    api.delete("devices/lamp-1").await.expect(204);

    // No row at all is a file like any other.
    assert_eq!(counts(&api.import("", "text/csv", "name\n").await), [0; 5]);
    assert_eq!(counts(&api.import("", "application/x-ndjson", "").await), [0; 5]);
}

#[tokio::test]
async fn a_device_that_differs_from_its_row_is_changed_only_where_that_was_asked_for() {
    let api = Api::start().await;
    for cohort in ["north", "south"] {
        api.post("cohorts", &json!({"name": cohort})).await.expect(201);
    }
    let file = |cohort: &str, tags: &str, more: &str| {
        format!(
            "name,cohort,tags,identity,secret{more}\nlamp-1,{cohort},{tags},one,first{}\n",
            match more {
                "" => "",
                _ => ",two,second",
            }
        )
    };
    api.import("", "text/csv", &file("north", "a", "")).await;
    let other = file("south", "b", ",identity2,secret2");
    let refused = api.import("", "text/csv", &other).await;
    assert_eq!(counts(&refused), [1, 0, 0, 0, 1]);
    let problem = &refused[0]["problem"];
    assert_eq!(problem["type"], "urn:tessera:problem:device-differs");
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["field"])
        .collect();
    assert_eq!(fields, ["cohort", "tags", "identity"]);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("cohort is \"north\", not \"south\""),
        "{problem:#}"
    );
    assert_eq!(
        api.get("devices/lamp-1").await.expect(200)["cohort"]["name"],
        "north"
    );

    let updated = api.import("?update=true", "text/csv", &other).await;
    assert_eq!(counts(&updated), [1, 0, 1, 0, 0], "{updated:#?}");
    let lamp = api.get("devices/lamp-1").await.expect(200);
    assert_eq!(
        (&lamp["cohort"]["name"], &lamp["tags"]),
        (&json!("south"), &json!(["b"]))
    );
    assert_eq!(lamp["credentials"].as_array().unwrap().len(), 2);

    // What a row does not say stays; a credential that it does not name stays too.
    let less = api
        .import("?update=true", "text/csv", "name,identity\nlamp-1,two\n")
        .await;
    assert_eq!(counts(&less), [1, 0, 0, 1, 0]);
    let empty = api
        .import("?update=true", "text/csv", "name,cohort,tags\nlamp-1,,\n")
        .await;
    assert_eq!(counts(&empty), [1, 0, 1, 0, 0]);
    let lamp = api.get("devices/lamp-1").await.expect(200);
    assert_eq!((&lamp["cohort"], &lamp["tags"]), (&Value::Null, &json!([])));

    let exchanged = api
        .import(
            "?update=true",
            "text/csv",
            "name,identity,secret\nlamp-1,one,other\n",
        )
        .await;
    assert_eq!(
        exchanged[0]["problem"]["type"],
        "urn:tessera:problem:secret-differs"
    );
    let stored = api.control.device_by_identity(b"one").await.unwrap().unwrap();
    assert_eq!(stored.secret.as_bytes(), b"first");
    let stolen = api
        .import("?update=true", "text/csv", "name,identity\nlamp-2,\nlamp-2,one\n")
        .await;
    assert_eq!(counts(&stolen), [2, 1, 0, 0, 1]);
    assert_eq!(stolen[1]["problem"]["type"], "urn:tessera:problem:identity-taken");
}

#[tokio::test]
async fn an_upload_that_breaks_off_keeps_what_was_acknowledged_and_says_where_it_broke() {
    let api = Api::start().await;
    let pieces: Vec<Result<Bytes, std::io::Error>> = vec![
        Ok(Bytes::from("name\nlamp-1\nlamp-2\nlam")),
        Err(std::io::Error::other("the cable was pulled")),
    ];
    let body = Body::from_stream(stream::iter(pieces));
    let answer = api.import_answer("", "text/csv", body).await;
    let lines = ndjson(&answer);
    let last = lines.last().unwrap();
    assert_eq!(last["complete"], false);
    assert_eq!(last["brokenLine"], 4);
    assert!(
        last["problem"]["detail"].as_str().unwrap().contains("broke off"),
        "{last:#}"
    );
    assert_eq!(last["summary"]["created"], 2);
    let there = api.get("devices:export?format=ndjson").await.text();
    assert_eq!(there.lines().count(), 2, "half a name is no name: {there}");
}

#[tokio::test]
async fn many_rows_are_told_of_in_the_order_of_the_file_a_commit_at_a_time() {
    let api = Api::start().await;
    let mut file = "name,identity,secret\n".to_owned();
    for number in 0..1234 {
        let name = if number % 100 == 7 {
            format!("bad {number}")
        } else {
            format!("lamp-{number}")
        };
        file.push_str(&format!("{name},id-{number},secret\n"));
    }
    let lines = api.import("", "text/csv", &file).await;
    assert_eq!(counts(&lines), [1234, 1221, 0, 0, 13]);
    let refused: Vec<u64> = lines
        .iter()
        .filter(|line| line["outcome"] == "refused")
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(
        refused,
        (0..13).map(|hundred| hundred * 100 + 9).collect::<Vec<u64>>()
    );
    let progress: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["progress"]["rows"].as_u64())
        .collect();
    assert_eq!(progress, [500, 1000, 1234]);
    assert_eq!(
        counts(&api.import("", "text/csv", &file).await),
        [1234, 0, 0, 1221, 13]
    );
}

#[tokio::test]
async fn tags_that_two_operators_add_at_once_are_all_there() {
    let api = Api::start().await;
    api.post("devices", &json!({"name": "lamp-1", "tags": ["old"]}))
        .await
        .expect(201);
    let changes = (0..12).map(|number| {
        let api = &api;
        async move {
            let body = match number {
                0 => json!({"removeTags": ["old", "never-there"]}),
                _ => json!({"addTags": [format!("t{number:02}")]}),
            };
            api.patch("devices/lamp-1", &body).await.expect(200);
        }
    });
    futures_util::future::join_all(changes).await;
    let tags = api.get("devices/lamp-1").await.expect(200)["tags"].clone();
    let expected: Vec<String> = (1..12).map(|number| format!("t{number:02}")).collect();
    assert_eq!(tags, json!(expected));

    let both = api
        .patch("devices/lamp-1", &json!({"tags": ["a"], "addTags": ["b"]}))
        .await;
    assert_eq!(both.problem(422, "invalid-value")["errors"][0]["field"], "/tags");
    let wrong = api.patch("devices/lamp-1", &json!({"addTags": ["a b"]})).await;
    assert_eq!(
        wrong.problem(422, "invalid-value")["errors"][0]["field"],
        "/addTags/0"
    );
    let many: Vec<String> = (0..40).map(|number| format!("many-{number}")).collect();
    api.patch("devices/lamp-1", &json!({"addTags": many}))
        .await
        .problem(422, "too-many");
}

#[tokio::test]
async fn a_move_that_would_make_the_sequence_number_fall_is_never_silent() {
    let api = Api::with_two_cohorts().await;
    for name in ["lamp-1", "lamp-2"] {
        api.post(
            "devices",
            &json!({"name": name, "cohort": "new", "credentials": [{"type": "psk"}]}),
        )
        .await
        .expect(201);
    }
    let access = api
        .control
        .device_by_identity(b"lamp-1-id@default")
        .await
        .unwrap()
        .unwrap();
    api.control.manifest_sent(&access.entry, 2);
    // It goes away before the writer has collected what it was sent.
    drop(access);

    let preview = json!({"devices": ["lamp-1", "lamp-2"], "cohort": "old"});
    let preview = api.post("devices:updatePreview", &preview).await.expect(200);
    assert_eq!((&preview["joining"], &preview["online"]), (&json!(2), &json!(0)));
    assert_eq!(preview["deployment"]["sequence"], 1);
    assert_eq!(
        (&preview["bytesPerDevice"], &preview["bytesTotal"]),
        (&json!(1000), &json!(2000))
    );
    let lint = preview["lint"].as_array().unwrap();
    assert_eq!(lint.len(), 1, "lamp-2 was sent nothing");
    assert_eq!(
        (&lint[0]["rule"], &lint[0]["device"]),
        (&json!("sequence-goes-back"), &json!("lamp-1"))
    );
    assert_eq!((&lint[0]["sent"], &lint[0]["sequence"]), (&json!(2), &json!(1)));

    let refused = api.patch("devices/lamp-1", &json!({"cohort": "old"})).await;
    let refused = refused.problem(409, "sequence-goes-back");
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("deploy the same set"),
        "{refused:#}"
    );
    let many = json!({"devices": ["lamp-2", "lamp-1"], "cohort": "old"});
    api.post("devices:update", &many)
        .await
        .problem(409, "sequence-goes-back");
    let file = "name,cohort\nlamp-1,old\n";
    let row = api.import("?update=true", "text/csv", file).await;
    assert_eq!(
        row[0]["problem"]["type"],
        "urn:tessera:problem:sequence-goes-back"
    );
    for name in ["lamp-1", "lamp-2"] {
        let there = api.get(&format!("devices/{name}")).await.expect(200);
        assert_eq!(there["cohort"]["name"], "new", "nothing was changed");
    }

    api.patch("devices/lamp-1", &json!({"cohort": null}))
        .await
        .expect(200);
    let moved = json!({"cohort": "old", "allowSequenceBack": true});
    let moved = api.patch("devices/lamp-1", &moved).await.expect(200);
    assert_eq!(moved["lint"][0]["rule"], "sequence-goes-back", "{moved:#}");
    assert_eq!(moved["manifestSent"], 2);
    api.patch("devices/lamp-1", &json!({"cohort": "new"}))
        .await
        .expect(200);

    // The way out that the refusal names.
    api.deploy("old", "the same again", "1.0.0").await;
    let moved = api.post("devices:update", &many).await.expect(200);
    assert_eq!(
        (&moved["joined"], &moved["lint"]),
        (&json!(2), &json!([])),
        "{moved:#}"
    );
}

#[tokio::test]
async fn of_more_devices_than_anybody_reads_about_the_first_are_named_and_the_others_counted() {
    let api = Api::with_two_cohorts().await;
    let mut file = "name,cohort,tags\n".to_owned();
    for number in 0..1030 {
        file.push_str(&format!("lamp-{number},new,x\n"));
    }
    api.import("", "text/csv", &file).await;
    for number in 0..25 {
        let identity = format!("lamp-{number}-id@default");
        let access = api.control.device_by_identity(identity.as_bytes()).await.unwrap();
        api.control.manifest_sent(&access.unwrap().entry, 2);
    }
    let back = json!({"tag": "x", "cohort": "old", "allowSequenceBack": true});
    let moved = api.post("devices:update", &back).await.expect(200);
    assert_eq!(moved["joined"], 1030);
    assert_eq!(
        (moved["lint"].as_array().unwrap().len(), &moved["moreLint"]),
        (20, &json!(5))
    );

    let tags: Vec<String> = (0..32).map(|number| format!("t{number}")).collect();
    let too_many = json!({"tag": "x", "addTags": tags});
    let refused = api.post("devices:update", &too_many).await.expect(200);
    assert_eq!(
        (
            refused["refused"].as_array().unwrap().len(),
            &refused["moreRefused"]
        ),
        (1000, &json!(30))
    );
    assert_eq!(
        (&refused["devices"], &refused["changed"], &refused["unchanged"]),
        (&json!(1030), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn of_many_devices_that_are_changed_it_is_said_how_far_that_came_before_the_store_failed() {
    let api = Api::start().await;
    let rows: String = (0..1100).map(|row| format!("lamp-{row},x\n")).collect();
    api.import("", "text/csv", &format!("name,tags\n{rows}")).await;
    let database = sqlx::sqlite::SqliteConnectOptions::new().filename(api.folder.path().join("tessera.db"));
    let other = sqlx::SqlitePool::connect_with(database).await.unwrap();
    let disk_fails = "CREATE TRIGGER fails BEFORE INSERT ON device_tags \
         WHEN new.tag = 'y' AND (SELECT count(*) FROM device_tags WHERE tag = 'y') >= 700 \
         BEGIN SELECT RAISE(FAIL, 'as a disk does'); END";
    sqlx::query(disk_fails).execute(&other).await.unwrap();
    let tagged = json!({"tag": "x", "addTags": ["y"]});
    let problem = api
        .post("devices:update", &tagged)
        .await
        .problem(500, "store-failed");
    let detail = problem["detail"].as_str().unwrap();
    let said = "of 1100 devices 500 had been changed by then and 600 were not come to";
    assert!(detail.contains(said), "{detail}");

    sqlx::query("DROP TRIGGER fails").execute(&other).await.unwrap();
    let rest = api.post("devices:update", &tagged).await.expect(200);
    assert_eq!((&rest["changed"], &rest["unchanged"]), (&json!(600), &json!(500)));
}

#[tokio::test]
async fn many_devices_are_changed_by_name_by_tag_or_by_cohort() {
    let api = Api::with_two_cohorts().await;
    let mut file = "name,cohort,tags\n".to_owned();
    for number in 0..1100 {
        let cohort = ["old", ""][number % 2];
        file.push_str(&format!("lamp-{number},{cohort},{}\n", ["x", "y"][number / 550]));
    }
    api.import("", "text/csv", &file).await;
    let count = async |filter: &str| {
        let exported = api
            .get(&format!("devices:export?format=ndjson&{filter}"))
            .await
            .text();
        exported.lines().count()
    };

    let preview = json!({"tag": "x", "fromCohort": "old", "cohort": "new"});
    let preview = api.post("devices:updatePreview", &preview).await.expect(200);
    assert_eq!(
        (&preview["devices"], &preview["joining"]),
        (&json!(275), &json!(275))
    );
    assert_eq!(count("cohort=new").await, 0, "a preview changes nothing");
    let moved = json!({"tag": "x", "cohort": "new", "addTags": ["moved"]});
    let moved = api.post("devices:update", &moved).await.expect(200);
    assert_eq!(
        (&moved["devices"], &moved["changed"], &moved["joined"]),
        (&json!(550), &json!(550), &json!(550))
    );
    assert_eq!((count("cohort=new").await, count("tag=moved").await), (550, 550));

    // A change that takes devices out of the very selection reaches all of them.
    let disabled = json!({"fromCohort": null, "enabled": false, "cohort": "new"});
    let disabled = api.post("devices:update", &disabled).await.expect(200);
    assert_eq!(
        (&disabled["changed"], &disabled["unchanged"]),
        (&json!(275), &json!(0))
    );
    let untagged = api
        .post(
            "devices:update",
            &json!({"tag": "moved", "removeTags": ["moved"]}),
        )
        .await
        .expect(200);
    assert_eq!(untagged["changed"], 550);
    assert_eq!(count("tag=moved").await, 0);
    let left = api
        .post(
            "devices:update",
            &json!({"devices": ["lamp-1", "lamp-0"], "cohort": null}),
        )
        .await
        .expect(200);
    assert_eq!((&left["changed"], &left["joined"]), (&json!(2), &json!(0)));

    let id = api.get("devices/lamp-3").await.expect(200)["id"].clone();
    let twice = json!({"devices": [id, "lamp-3"], "addTags": ["z"]});
    assert_eq!(api.post("devices:update", &twice).await.expect(200)["devices"], 1);
    for (body, field) in [
        (json!({"cohort": "new"}), "/devices"),
        (
            json!({"devices": ["lamp-1"], "tag": "x", "enabled": true}),
            "/devices",
        ),
        (json!({"devices": ["lamp-1"]}), "the body"),
        (json!({"devices": ["lamp-1"], "cohort": "nowhere"}), "/cohort"),
        (json!({"fromCohort": "nowhere", "enabled": true}), "/fromCohort"),
        (
            json!({"devices": ["lamp-1"], "addTags": ["q"], "removeTags": ["q"]}),
            "/removeTags",
        ),
        (
            json!({"devices": vec!["lamp-1"; 1001], "enabled": true}),
            "/devices",
        ),
        (
            json!({"devices": ["lamp-1", "lamp-x", "lamp y"], "enabled": false}),
            "/devices/1",
        ),
    ] {
        let problem = api.post("devices:update", &body).await;
        let problem = problem.problem_of(422);
        assert_eq!(problem["errors"][0]["field"], field, "{problem:#}");
    }
    assert_eq!(
        api.get("devices/lamp-551").await.expect(200)["enabled"],
        false,
        "it was of no cohort"
    );
    assert_eq!(
        api.get("devices/lamp-0").await.expect(200)["enabled"],
        true,
        "refused whole"
    );
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted_and_the_reason_names_the_user() {
    let api = Api::with_two_cohorts().await;
    api.post("cohorts", &json!({"name": "empty"})).await.expect(201);
    api.post("devices", &json!({"name": "lamp-1", "cohort": "empty"}))
        .await
        .expect(201);
    for (path, by) in [
        ("cohorts/old", vec!["deployment \"first\""]),
        ("cohorts/empty", vec!["1 device"]),
        (
            "packages/main",
            vec!["artifact main@1.0.0", "artifact main@1.1.0"],
        ),
        (
            "packages/main/artifacts/1.0.0",
            vec!["deployment \"first\" of cohort \"old\""],
        ),
    ] {
        let problem = api.delete(path).await.problem(409, "in-use");
        assert_eq!(problem["neededBy"], json!(by), "{path}");
        for user in by {
            assert!(
                problem["detail"].as_str().unwrap().contains(user),
                "{path}: {problem:#}"
            );
        }
    }
    api.patch("devices/lamp-1", &json!({"cohort": null}))
        .await
        .expect(200);
    api.delete("cohorts/empty").await.expect(204);
}

#[tokio::test]
async fn an_import_wants_a_key_that_may_change_devices() {
    let api = Api::start().await;
    let made = api
        .post("keys", &json!({"name": "reader", "role": "read"}))
        .await
        .expect(201);
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str()), ("content-type", "text/csv")];
    api.send("POST", "devices:import", &headers, "name\nlamp-1")
        .await
        .problem(403, "forbidden");
    api.send("GET", "devices:export", &headers, Body::empty())
        .await
        .expect(200);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = json!({"tag": "x", "enabled": false}).to_string();
    api.send("POST", "devices:update", &headers, body.clone())
        .await
        .problem(403, "forbidden");
    api.send("POST", "devices:updatePreview", &headers, body)
        .await
        .expect(200);
}

impl Api {
    /// Deployment 1 of cohort `old` and deployment 2 of cohort `new`, 1000 bytes each.
    async fn with_two_cohorts() -> Api {
        let api = Api::start().await;
        for (cohort, name, version) in [("old", "first", "1.0.0"), ("new", "second", "1.1.0")] {
            api.post("cohorts", &json!({"name": cohort})).await.expect(201);
            api.artifact("main", version, 1000).await;
            api.deploy(cohort, name, version).await;
        }
        api
    }

    async fn deploy(&self, cohort: &str, name: &str, version: &str) {
        let body = json!({"name": name, "artifacts": [{"package": "main", "version": version}]});
        let path = format!("cohorts/{cohort}/deployments");
        self.post(&path, &body).await.expect(201);
    }

    async fn import(&self, query: &str, kind: &str, file: &str) -> Vec<Value> {
        self.import_bytes(query, kind, file.as_bytes().to_vec()).await
    }

    async fn import_bytes(&self, query: &str, kind: &str, file: Vec<u8>) -> Vec<Value> {
        let answer = self.import_answer(query, kind, file.into()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let lines = ndjson(&answer);
        assert_eq!(lines.last().unwrap()["complete"], true, "{lines:#?}");
        lines
    }

    async fn import_answer(&self, query: &str, kind: &str, body: Body) -> Answer {
        let headers = [("content-type", kind)];
        self.send("POST", &format!("devices:import{query}"), &headers, body)
            .await
    }
}

fn ndjson(answer: &Answer) -> Vec<Value> {
    let lines = answer.text();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Rows, created, updated, unchanged, refused, as the last line has them; each row is counted once.
fn counts(lines: &[Value]) -> [u64; 5] {
    let summary = &lines.last().unwrap()["summary"];
    let counts =
        ["rows", "created", "updated", "unchanged", "refused"].map(|word| summary[word].as_u64().unwrap());
    assert_eq!(counts[0], counts[1..].iter().sum::<u64>(), "{summary:#}");
    let refused: BTreeSet<u64> = lines
        .iter()
        .filter(|line| line["outcome"] == "refused")
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(refused.len() as u64, counts[4], "a line per refusal");
    counts
}
