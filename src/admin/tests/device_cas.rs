//! `/device-cas`, and devices that have something else than pre-shared keys.

use serde_json::{Value, json};

use super::Api;

#[tokio::test]
async fn a_ca_is_added_listed_and_removed_and_the_answer_says_for_how_many_devices_it_vouched() {
    let api = Api::start().await;
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let body = json!({"pem": CA_PEM, "zeroTouch": true, "cohort": "lamps"});
    let made = api.post("device-cas", &body).await.expect(201);
    assert_eq!(made["name"], "factory");
    assert_eq!(
        made["subject"],
        json!({"organization": "default", "commonName": "factory"})
    );
    assert_eq!(
        (&made["zeroTouch"], &made["cohort"]["name"], &made["notBefore"]),
        (&json!(true), &json!("lamps"), &json!("2020-01-01T00:00:00.000Z"))
    );
    assert_eq!(api.post("device-cas", &body).await.expect(200), made);
    let other = json!({"pem": CA_PEM, "zeroTouch": false});
    api.post("device-cas", &other).await.problem(409, "name-taken");
    assert_eq!(api.get("device-cas").await.expect(200)["items"], json!([made]));
    assert_eq!(
        api.get("device-cas?name=factory").await.expect(200)["items"],
        json!([made])
    );
    assert_eq!(
        api.get("device-cas?name=other").await.expect(200)["items"],
        json!([])
    );
    assert_eq!(api.get("device-cas/factory").await.expect(200), made);
    api.delete("cohorts/lamps").await.problem(409, "in-use");

    let removed = api.delete("device-cas/factory").await.expect(200);
    assert_eq!(
        removed,
        json!({"id": made["id"], "name": "factory", "devices": 0})
    );
    api.delete("device-cas/factory").await.problem(404, "not-found");
    api.delete("cohorts/lamps").await.expect(204);
}

#[tokio::test]
async fn a_ca_may_be_sent_as_the_pem_file_that_it_is() {
    let api = Api::start().await;
    for (kind, status) in [
        ("application/x-pem-file", 201),
        ("application/pem-certificate-chain; charset=utf-8", 200),
    ] {
        let sent = api
            .send("POST", "device-cas", &[("content-type", kind)], CA_PEM)
            .await;
        assert_eq!(sent.expect(status)["zeroTouch"], false);
    }
    let kind = [("content-type", "text/plain")];
    let sent = api.send("POST", "device-cas", &kind, CA_PEM).await;
    sent.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn what_is_no_certificate_of_a_ca_is_refused_by_what_it_is() {
    let api = Api::start().await;
    for (pem, said) in [
        ("hello", "is not PEM"),
        (
            DEVICE_PEM,
            "is not a CA's: it has no basicConstraints with CA:TRUE",
        ),
        (EXPIRED_CA_PEM, "has expired"),
    ] {
        let refused = api.post("device-cas", &json!({"pem": pem})).await;
        let problem = refused.problem(422, "invalid-value");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem:#}");
    }
    for (body, field) in [
        (json!({"pem": CA_PEM, "cohort": "none"}), "/cohort"),
        (json!({"pem": CA_PEM, "name": "ca_1"}), "/name"),
        (json!({"name": "factory"}), "/pem"),
        (json!({"pem": CA_PEM, "zerotouch": true}), "/zerotouch"),
    ] {
        let refused = api.post("device-cas", &body).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused:#}");
    }
    assert_eq!(api.get("device-cas").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_device_is_given_certificates_and_public_keys_beside_pre_shared_keys() {
    let api = Api::start().await;
    let digest = "00ff".repeat(16);
    let body = json!({"name": "lamp-1", "credentials": [
        {"type": "psk", "identity": "lamp-1"},
        {"type": "certificate", "pem": DEVICE_PEM},
    ]});
    let made = api.post("devices", &body).await.expect(201);
    let certificate = &made["credentials"][1];
    assert_eq!(
        (
            &certificate["type"],
            &certificate["pinned"],
            &certificate["firstSeenAt"]
        ),
        (&json!("certificate"), &json!(true), &Value::Null)
    );
    assert_eq!(certificate["subject"]["commonName"], "lamp-1");
    assert_eq!(certificate["notAfter"], "2120-01-01T00:00:00.000Z");
    let key = json!({"type": "rawPublicKey", "sha256": digest.to_uppercase()});
    let key = api.post("devices/lamp-1/credentials", &key).await.expect(201);
    assert_eq!(
        (&key["type"], &key["sha256"]),
        (&json!("rawPublicKey"), &json!(digest))
    );

    let shown = api.get("devices/lamp-1").await.expect(200);
    let kinds: Vec<_> = shown["credentials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["type"])
        .collect();
    assert_eq!(kinds, ["psk", "certificate", "rawPublicKey"]);
    let line = api
        .send("GET", "devices:export?format=ndjson", &[], "")
        .await
        .expect(200);
    assert_eq!(
        line["credentials"],
        json!([
            {"type": "psk", "identity": "lamp-1"},
            {"type": "certificate", "sha256": certificate["sha256"]},
            {"type": "rawPublicKey", "sha256": digest},
        ])
    );

    for (credential, status) in [
        (json!({"type": "certificate", "pem": DEVICE_PEM}), 409),
        (json!({"type": "rawPublicKey", "sha256": digest}), 409),
        (json!({"type": "rawPublicKey"}), 422),
        (json!({"type": "certificate"}), 422),
        (json!({"type": "certificate", "pem": "x"}), 422),
        (json!({"type": "certificate", "sha256": "00"}), 422),
        (
            json!({"type": "certificate", "sha256": digest, "pem": DEVICE_PEM}),
            422,
        ),
        (
            json!({"type": "certificate", "sha256": digest, "secret": "x"}),
            422,
        ),
        (json!({"type": "psk", "sha256": digest}), 422),
        (json!({"type": "rsa"}), 422),
    ] {
        api.post("devices/lamp-1/credentials", &credential)
            .await
            .expect(status);
    }
    // Taken back for good.
    let path = format!(
        "devices/lamp-1/credentials/{}",
        certificate["id"].as_str().unwrap()
    );
    api.delete(&path).await.expect(204);
    let again = json!({"type": "certificate", "pem": DEVICE_PEM});
    let again = api.post("devices/lamp-1/credentials", &again).await;
    again.problem(409, "certificate-revoked");
}

/// A self-signed root, O=default, CN=factory.
pub const CA_PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBezCCASKgAwIBAgICEjQwCgYIKoZIzj0EAwIwJDEQMA4GA1UECgwHZGVmYXVs\n\
dDEQMA4GA1UEAwwHZmFjdG9yeTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw\n\
MDAwMFowJDEQMA4GA1UECgwHZGVmYXVsdDEQMA4GA1UEAwwHZmFjdG9yeTBZMBMG\n\
ByqGSM49AgEGCCqGSM49AwEHA0IABD6savzBaebmpoKWYK3u09gJcDbYYIMy/QE4\n\
ukaTvOEsldsE8FEKNvhK30TxDbPI1ikzSyuxOF3jPNzclrAqwW+jQjBAMA8GA1Ud\n\
EwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBQ/QrIDho7qTVbj\n\
mLAe//vG0Xp5hzAKBggqhkjOPQQDAgNHADBEAiA3pHTJXPLIU+Va8SMOj+ELFbIq\n\
dRAWZJISynKPqy9ocgIgG3NcTvBo2ULHUyQUjepgnYfDjcBz1PnR6x4vS5nne9Y=\n\
-----END CERTIFICATE-----\n\
";
/// The same until 2021.
const EXPIRED_CA_PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBezCCASCgAwIBAgICEjgwCgYIKoZIzj0EAwIwJDEQMA4GA1UECgwHZGVmYXVs\n\
dDEQMA4GA1UEAwwHZmFjdG9yeTAeFw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAw\n\
MDBaMCQxEDAOBgNVBAoMB2RlZmF1bHQxEDAOBgNVBAMMB2ZhY3RvcnkwWTATBgcq\n\
hkjOPQIBBggqhkjOPQMBBwNCAAQ+rGr8wWnm5qaClmCt7tPYCXA22GCDMv0BOLpG\n\
k7zhLJXbBPBRCjb4St9E8Q2zyNYpM0srsThd4zzc3JawKsFvo0IwQDAPBgNVHRMB\n\
Af8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQUP0KyA4aO6k1W45iw\n\
Hv/7xtF6eYcwCgYIKoZIzj0EAwIDSQAwRgIhAJyNu9S/QKfmDBzTWr+W1/W01DFc\n\
DcYeFnQBgmfTrRjJAiEAugQskock5mSgRvY62ucUDz/1XMN2fbQZNraN3MWAA6A=\n\
-----END CERTIFICATE-----\n\
";
/// Signed by it, O=default, CN=lamp-1, of version 3.
const DEVICE_PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBhjCCASygAwIBAgICEjcwCgYIKoZIzj0EAwIwJDEQMA4GA1UECgwHZGVmYXVs\n\
dDEQMA4GA1UEAwwHZmFjdG9yeTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw\n\
MDAwMFowIzEQMA4GA1UECgwHZGVmYXVsdDEPMA0GA1UEAwwGbGFtcC0xMFkwEwYH\n\
KoZIzj0CAQYIKoZIzj0DAQcDQgAEB5UoWokFDkp4SD8G723aHbnOQlNdBQr/ZtQc\n\
odgSjhwFxKRFRzfCzw1RW0rd+PGIsRVvhxgj9d1hu3kgZv0n/aNNMEswCQYDVR0T\n\
BAIwADAdBgNVHQ4EFgQUYUP0gJWPaTdUXZdmjPc4rN2pfYEwHwYDVR0jBBgwFoAU\n\
P0KyA4aO6k1W45iwHv/7xtF6eYcwCgYIKoZIzj0EAwIDSAAwRQIgd8fdHfypbKBe\n\
xSGD82OStjWg35i944V41cqLPHusfUgCIQCwTU32N/aCl86eVRcDc9KTE6XsNktQ\n\
nL75+c0MGdfT5w==\n\
-----END CERTIFICATE-----\n\
";
