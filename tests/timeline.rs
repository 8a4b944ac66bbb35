//! A device's past, from the outside: foreign clients write to their log, operators read it over the API and with the
//! command line, before and after the process was killed.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{CoapClient, Device, KEY, Server, eventually, noise, tessera};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[test]
fn what_a_device_logs_is_read_over_the_api_and_with_the_command_line() {
    let mut server = Server::start();
    for client in CoapClient::ALL {
        let device = server.device(&format!("lamp-{client:?}"), "lamps");
        // As the SDK writes it: {_ "level": "warn", "module": "net", "msg": "no route"}.
        let cbor = b"\xbf\x65level\x64warn\x66module\x63net\x63msg\x68no route\xff";
        post(client, &server, &device, &["-t", "60"], cbor, "/.s/logs");
        // As the old Zephyr SDK does: non-confirmable, keys in another order, with metadata.
        let json = b"{\"msg\": \"\\u001b[31mred\", \"func\": \"main\", \"level\": \"error\"}";
        post(client, &server, &device, &["-t", "50", "-N"], json, "/logs");

        let shown = eventually("both lines are in the timeline", || {
            let lines = events(&server, &device, "?type=log");
            (lines.len() == 2).then_some(lines)
        });
        let red = shown.iter().find(|line| line["level"] == "error").unwrap();
        assert_eq!(red["message"], "\u{1b}[31mred");
        assert_eq!(red["text"], "error: \u{1b}[31mred");
        assert_eq!(red["metadata"], json!({"func": "main"}));
        assert_eq!(red["module"], Value::Null);
        let warned = shown.iter().find(|line| line["level"] == "warn").unwrap();
        assert_eq!(
            (&warned["type"], &warned["module"], &warned["message"]),
            (&json!("log"), &json!("net"), &json!("no route"))
        );
        assert!(warned["at"].as_str().unwrap().ends_with('Z'), "{warned:#}");

        let (body, said) = post(
            client,
            &server,
            &device,
            &["-t", "60"],
            b"\xbf\x63msg",
            "/.s/logs",
        );
        assert!(said.contains("4.00"), "{client:?}: {said} {body:?}");
        let (_, said) = post(client, &server, &device, &["-t", "0"], b"plain", "/.s/logs");
        assert!(said.contains("4.15"), "{client:?}: {said}");
        assert_eq!(events(&server, &device, "?type=log").len(), 2);
    }
    assert!(server.metric_where("tessera_coap_rejections_total", "bad_log") >= 2.0);
    assert!(
        !server.log().contains("no route"),
        "no payload reaches our own log"
    );

    server.kill();
    server.start_again();
    let printed = cli(&server, &["device", "log", "lamp-OpenSsl", "--type", "log"]);
    assert!(printed.contains("warn: net: no route"), "{printed}");
    assert!(printed.contains("error: \\u{1b}[31mred"), "{printed}");
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    let newest = cli(
        &server,
        &["device", "log", "lamp-OpenSsl", "-n", "1", "-o", "ndjson"],
    );
    assert_eq!(newest.lines().count(), 1, "{newest}");
}

#[test]
fn an_update_can_be_followed_in_the_timeline() {
    let server = Server::start();
    let device = server.device("lamp-1", "lamps");
    server.upload("main", "1.0.0", &noise(1, 3000));
    server.deploy("lamps", "first", &[("main", "1.0.0")]);
    let client = CoapClient::OpenSsl;
    let observer = client.observe(&server, &device, "/.u/desired");
    observer.wait_for("the manifest", |seen| seen.len() == 1);
    drop(observer);
    client.run(&server, &device, &["-A", "42", "-b", "1024"], "/.u/c/main@1.0.0");
    for _ in 0..3 {
        post(
            client,
            &server,
            &device,
            &["-t", "60"],
            b"\xa2\x61s\x00\x61v\x651.0.0",
            "/.u/c/main",
        );
    }
    server.done(
        "PATCH",
        &format!("devices/{}", device.id),
        json!({"cohort": null}),
    );

    let seen = eventually("all of it is there", || {
        let events = events(&server, &device, "");
        let has = |kind: &str| events.iter().any(|event| event["type"] == kind);
        (has("downloadFinished") && has("manifestAcknowledged") && has("report")).then_some(events)
    });
    let time = |event: &Value| OffsetDateTime::parse(event["at"].as_str().unwrap(), &Rfc3339).unwrap();
    let times: Vec<_> = seen.iter().map(time).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let of = |kind: &str| -> Vec<&Value> { seen.iter().filter(|event| event["type"] == kind).collect() };
    assert_eq!(of("manifestSent")[0]["sequence"], 1, "{seen:#?}");
    assert_eq!(of("manifestAcknowledged")[0]["sequence"], 1);
    assert_eq!(
        of("connected")[0]["cipherSuite"].as_str().unwrap()[..8],
        *"TLS_PSK_"
    );
    assert_eq!(of("downloadBegun")[0]["offset"], 0);
    assert_eq!(of("downloadFinished")[0]["size"], 3000);
    let reports = of("report");
    assert_eq!(
        (reports.len(), &reports[0]["count"]),
        (1, &json!(3)),
        "{reports:#?}"
    );
    assert_eq!(reports[0]["version"], "1.0.0");
    assert_eq!(of("moved")[0]["from"], "lamps");
}

fn post(
    client: CoapClient,
    server: &Server,
    device: &Device,
    options: &[&str],
    body: &[u8],
    path: &str,
) -> (Vec<u8>, String) {
    let file = server.folder.path().join("body");
    fs::write(&file, body).unwrap();
    let file = file.to_str().unwrap();
    client.run(
        server,
        device,
        &[&["-m", "post", "-B", "2", "-f", file], options].concat(),
        path,
    )
}

fn events(server: &Server, device: &Device, query: &str) -> Vec<Value> {
    let page = server.done(
        "GET",
        &format!("devices/{}/events{query}", device.id),
        Value::Null,
    );
    page["items"].as_array().unwrap().clone()
}

fn cli(server: &Server, args: &[&str]) -> String {
    let output = tessera()
        .args(args)
        .env("TESSERA_URL", server.url())
        .env("TESSERA_API_KEY", KEY)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
