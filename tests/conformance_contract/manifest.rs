//! Section 4: the manifest in both forms, when it is pushed and when not.

use serde_json::{Value, json};

use crate::device::{CON, DESIRED, Device, GET, NOTHING, OBSERVE, ack, con, golden, image};
use crate::support::sha256_hex;

#[test]
fn contract_4_the_cbor_form_is_these_bytes() {
    let (mut device, sequence) = Device::deployed("manifest-cbor");
    let manifest = golden(sequence);
    let heard = device.asked(&con(GET, 1, b"", DESIRED));
    assert_eq!(heard.payload, manifest);
    assert!(manifest.len() < 250, "{} bytes", manifest.len());
}

#[test]
fn contract_4_the_json_form_has_the_names_of_the_documentation() {
    let (mut device, sequence) = Device::deployed("manifest-json");
    let heard = device.asked(&con(GET, 1, b"", b"\xb2.u\x07desired\x61\x32"));
    assert_eq!(heard.option(12), Some(&[50][..]));
    let read: Value = serde_json::from_slice(&heard.payload).unwrap();
    let hash = read["hash"].as_str().unwrap();
    assert!(
        hash.len() == 64 && golden(sequence).windows(64).any(|part| part == hash.as_bytes()),
        "{hash}"
    );
    let component = json!({
        "package": "main", "version": "1.0.0", "hash": sha256_hex(&image()), "size": 3000,
        "uri": "/.u/c/main@1.0.0", "type": "default",
    });
    assert_eq!(
        read,
        json!({"sequenceNumber": sequence, "hash": hash, "components": [component]})
    );
}

#[test]
fn contract_4_the_path_a_client_builds_itself_and_the_uri_are_the_same() {
    let (mut device, _) = Device::deployed("manifest-uri");
    let read: Value = {
        let heard = device.asked(&con(GET, 1, b"", b"\xb2.u\x07desired\x61\x32"));
        serde_json::from_slice(&heard.payload).unwrap()
    };
    let component = &read["components"][0];
    let uri = component["uri"].as_str().unwrap();
    let built = format!(
        ".u/c/{}@{}",
        component["package"].as_str().unwrap(),
        component["version"].as_str().unwrap()
    );
    assert_eq!(uri.trim_start_matches('/'), built);
    // Both ports cut a path at its slashes.
    let segments: Vec<u8> = built.split('/').fold(Vec::new(), |mut options, segment| {
        let delta = if options.is_empty() { 0xb0 } else { 0 };
        options.push(delta | segment.len() as u8);
        options.extend(segment.as_bytes());
        options
    });
    let heard = device.asked(&con(GET, 2, b"", &[&segments[..], b"\xc1\x06"].concat()));
    assert_eq!(heard.payload, image()[..1024]);
}

#[test]
fn contract_4_a_registration_is_answered_with_the_current_manifest_and_an_observe_number() {
    let (mut device, sequence) = Device::deployed("manifest-registration");
    let heard = device.asked(&con(GET, 1, b"observer", OBSERVE));
    assert_eq!((heard.code.as_str(), heard.payload), ("2.05", golden(sequence)));
    assert!(
        heard
            .options
            .iter()
            .any(|(number, value)| *number == 6 && (1..=3).contains(&value.len()))
    );
}

#[test]
fn contract_4_a_deployment_is_pushed_confirmably_and_not_again_once_acknowledged() {
    let mut device = Device::new("manifest-push");
    device.asked(&con(GET, 1, b"observer", OBSERVE));
    let sequence = device.deploy("first", &[("main", "1.0.0")]);
    let pushed = device.notified();
    assert_eq!((pushed.kind, pushed.token.as_slice()), (CON, &b"observer"[..]));
    assert_eq!(
        (&pushed.payload, pushed.option(12)),
        (&golden(sequence), Some(&[60][..]))
    );
    device.hear_nothing();
}

#[test]
fn contract_4_a_poll_with_a_token_of_its_own_leaves_the_observation_alone() {
    let mut device = Device::new("manifest-poll");
    device.asked(&con(GET, 1, b"observer", OBSERVE));
    let polled = device.asked(&con(GET, 2, b"the-poll", DESIRED));
    assert_eq!((polled.observe(), &polled.payload[..]), (None, &[0xa0][..]));
    let sequence = device.deploy("first", &[("main", "1.0.0")]);
    let pushed = device.notified();
    assert_eq!(
        (pushed.token.as_slice(), pushed.payload),
        (&b"observer"[..], golden(sequence))
    );
}

#[test]
fn contract_4_joining_a_cohort_pushes_and_leaving_it_pushes_nothing() {
    let (first, sequence) = Device::deployed("manifest-joined");
    let mut device = Device::new("manifest-joining");
    device.asked(&con(GET, 1, b"observer", OBSERVE));
    device.assign(Some(&first.cohort));
    assert_eq!(device.notified().payload, golden(sequence));
    device.assign(None);
    device.hear_nothing();
    assert_eq!(
        device.ask(&con(GET, 2, b"t", DESIRED)),
        ack(0x45, 2, b"t", NOTHING),
        "it learns at its next fetch"
    );
}

#[test]
fn contract_4_going_back_is_a_new_manifest_with_the_old_version_and_a_higher_number() {
    let mut device = Device::new("manifest-back");
    device.asked(&con(GET, 1, b"observer", OBSERVE));
    let numbers = [("up", "1.0.0"), ("further", "1.0.1"), ("back", "1.0.0")].map(|(name, version)| {
        let sequence = device.deploy(name, &[("main", version)]);
        (sequence, device.notified().payload)
    });
    assert!(
        numbers.is_sorted_by(|earlier, later| earlier.0 < later.0),
        "{numbers:?}"
    );
    assert_eq!(numbers[2].1, golden(numbers[2].0));
}

#[test]
fn contract_4_a_push_by_the_operator_sends_the_same_manifest_again() {
    let (mut device, sequence) = Device::deployed("manifest-again");
    let registered = device.asked(&con(GET, 1, b"observer", OBSERVE));
    device.server.done(
        "POST",
        &format!("devices/{}:push", device.registered.id),
        Value::Null,
    );
    let pushed = device.notified();
    assert_eq!(
        (&pushed.payload, &registered.payload),
        (&golden(sequence), &golden(sequence))
    );
    assert_ne!(pushed.observe(), registered.observe());
}
