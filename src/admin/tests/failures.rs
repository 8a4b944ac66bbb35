//! `/sessions/failures`: who could not connect.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Api;
use crate::control::{FailedHandshake, FailureCause, Offered};
use crate::fleet::PskIdentity;

#[tokio::test]
async fn failures_say_whose_identity_it_was_from_where_why_and_what_to_do() {
    let api = Api::start().await;
    let made = api.device().await;
    api.failed(b"lamp-1-id@default", "192.0.2.1:4000", FailureCause::WrongKey)
        .await;
    api.failed(b"lamp-1-id@default", "192.0.2.1:4001", FailureCause::WrongKey)
        .await;
    api.failed(b"nobody", "192.0.2.2:5", FailureCause::UnknownIdentity)
        .await;

    let listed = api.get("sessions/failures").await.expect(200);
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{listed:#}");
    let (nobody, wrong) = (&items[0], &items[1]);
    assert_eq!(
        (&nobody["reason"], &nobody["identity"], &nobody["device"]),
        (&json!("unknownIdentity"), &json!("nobody"), &Value::Null)
    );
    assert_eq!(
        (
            &wrong["reason"],
            &wrong["identity"],
            &wrong["address"],
            &wrong["count"]
        ),
        (
            &json!("wrongKey"),
            &json!("lamp-1-id@default"),
            &json!("192.0.2.1:4001"),
            &json!(2)
        )
    );
    assert_eq!(wrong["device"], json!({"id": made["id"], "name": "lamp-1"}));
    assert!(wrong["firstAt"].as_str() <= wrong["lastAt"].as_str());
    assert!(
        wrong["text"]
            .as_str()
            .unwrap()
            .contains("tessera device credential add lamp-1"),
        "{wrong:#}"
    );
    assert!(!listed.to_string().contains("the-secret"), "{listed:#}");

    let shown = api.get("devices/lamp-1").await.expect(200);
    assert_eq!(&shown["handshakeFailure"], wrong);
    // A device that nothing is wrong with.
    api.post("devices", &json!({"name": "lamp-2"})).await.expect(201);
    let shown = api.get("devices/lamp-2").await.expect(200);
    assert_eq!(shown.get("handshakeFailure"), None);
}

#[tokio::test]
async fn a_disabled_device_and_a_retired_credential_are_not_just_unknown() {
    let api = Api::start().await;
    let made = api.device().await;
    api.patch("devices/lamp-1", &json!({"enabled": false}))
        .await
        .expect(200);
    api.failed(b"lamp-1-id@default", "192.0.2.1:1", FailureCause::UnknownIdentity)
        .await;
    let credential = made["credentials"][0]["id"].as_str().unwrap();
    let path = format!("devices/lamp-1/credentials/{credential}");
    api.delete(&path).await.expect(204);
    api.failed(b"lamp-1-id@default", "192.0.2.1:1", FailureCause::UnknownIdentity)
        .await;

    let listed = api.get("sessions/failures").await.expect(200);
    let reasons: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (&item["reason"], &item["device"]["name"], &item["count"]))
        .collect();
    assert_eq!(
        reasons,
        [
            (&json!("credentialRetired"), &json!("lamp-1"), &json!(1)),
            (&json!("deviceDisabled"), &json!("lamp-1"), &json!(1)),
        ]
    );
}

#[tokio::test]
async fn failures_are_filtered_and_paged_and_a_strange_identity_is_shown_twice() {
    let api = Api::start().await;
    for n in 0..5 {
        let identity = format!("id-{n}");
        let cause = FailureCause::UnknownIdentity;
        api.failed(identity.as_bytes(), "192.0.2.1:1", cause).await;
    }
    api.failed(b"\xffx\n", "192.0.2.1:1", FailureCause::ClientAlert(40))
        .await;
    let first = api.get("sessions/failures?limit=4").await.expect(200);
    assert_eq!(
        first["items"][0]["identity"], "\u{fffd}x\n",
        "{:#}",
        first["items"][0]
    );
    assert_eq!(first["items"][0]["identityHex"], "ff780a");
    assert_eq!(first["items"][0]["alert"], "handshake_failure");
    // What happens between two pages is not shown on the second, and shifts nothing.
    api.failed(b"id-4", "192.0.2.1:1", FailureCause::UnknownIdentity)
        .await;
    let token = first["nextPageToken"].as_str().unwrap();
    let second = api
        .get(&format!("sessions/failures?limit=4&pageToken={token}"))
        .await
        .expect(200);
    let identities: Vec<_> = second["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["identity"])
        .collect();
    assert_eq!(identities, ["id-1", "id-0"]);
    assert_eq!(second.get("nextPageToken"), None);

    for (query, count) in [
        ("reason=unknownIdentity", 5),
        ("reason=clientAlert", 1),
        ("reason=wrongKey", 0),
        ("identity=id-4", 1),
        ("identity=id", 0),
        ("identity=id-4&reason=clientAlert", 0),
    ] {
        let listed = api.get(&format!("sessions/failures?{query}")).await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), count, "{query}");
    }
    let problem = api
        .get("sessions/failures?reason=bad")
        .await
        .problem(422, "invalid-value");
    assert!(problem.to_string().contains("unknownIdentity"), "{problem:#}");
    api.get("sessions/failures?pageToken=x")
        .await
        .problem(422, "invalid-value");
}

impl Api {
    pub async fn device(&self) -> Value {
        let body = json!({"name": "lamp-1", "credentials": [{"type": "psk", "secret": "the-secret"}]});
        self.post("devices", &body).await.expect(201)
    }

    pub async fn failed(&self, identity: &[u8], peer: &str, cause: FailureCause) {
        let peer: SocketAddr = peer.parse().unwrap();
        let identity = Some(PskIdentity::new(identity).unwrap());
        let failed = FailedHandshake {
            offered: identity.map(Offered::Psk),
            peer,
            cause,
        };
        self.control.handshake_failed(failed).await;
    }
}
