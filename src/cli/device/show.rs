//! `tessera device show`.

use serde_json::Value;

use super::super::client::{Client, ServerArgs};
use super::super::failure::Failure;
use super::super::output::{Column, Output, ago, field, print, table};
use super::{credential, online, reasons};

/// Shows a device; for people also what happened to it of late.
pub fn run(name: &str, server: &ServerArgs) -> Result<(), Failure> {
    let client = Client::new(server)?;
    let device = client.device(name)?;
    let path = format!("devices/{}", field(&device, "/id"));
    server.output.one(&device, SHOWN);
    if server.output != Output::Table {
        return Ok(());
    }
    let events = match client.get(&format!("{path}/events?limit={EVENTS}")) {
        Ok(mut page) => page["items"].take(),
        // A gateway that keeps no timeline.
        Err(Failure::Refused(problem)) if problem.status == 404 => Value::Null,
        Err(failure) => return Err(failure),
    };
    for rows in [credentials(&device), packages(&device), timeline(&events)] {
        // A heading alone says nothing.
        if rows.len() > 1 {
            print(&format!("\n{}", table(rows)));
        }
    }
    Ok(())
}

fn credentials(device: &Value) -> Vec<Vec<String>> {
    let in_use = field(device, "/session/credential");
    let mut rows = vec![heading(&[
        "IDENTITY OR SHA-256",
        "TYPE",
        "ADDED",
        "",
        "CREDENTIAL",
    ])];
    for one in items(&device["credentials"]) {
        let mut row: Vec<String> = credential::COLUMNS.iter().map(|(_, show)| show(one)).collect();
        let used = !in_use.is_empty() && field(one, "/id") == in_use;
        row.insert(3, if used { "in use" } else { "" }.to_owned());
        rows.push(row);
    }
    rows
}

fn packages(device: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![heading(&[
        "PACKAGE", "HAVE", "WANT", "STATE", "REASON", "REPORTED",
    ])];
    for package in items(&device["packages"]) {
        rows.push(vec![
            field(package, "/package"),
            field(package, "/version"),
            field(package, "/want"),
            field(package, "/state"),
            reasons(package),
            ago(package, "/at"),
        ]);
    }
    rows
}

/// Newest first, as they come.
fn timeline(events: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![heading(&["WHEN", "WHAT", ""])];
    for event in items(events) {
        rows.push(vec![
            ago(event, "/at"),
            field(event, "/type"),
            field(event, "/text"),
        ]);
    }
    rows
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn heading(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

const SHOWN: &[Column] = &[
    ("NAME", |device| field(device, "/name")),
    ("ID", |device| field(device, "/id")),
    ("COHORT", |device| field(device, "/cohort/name")),
    ("TAGS", |device| field(device, "/tags")),
    ("ENABLED", |device| field(device, "/enabled")),
    ("CREATED", |device| ago(device, "/createdAt")),
    ("STATE", |device| field(device, "/state")),
    ("ONLINE", online),
    ("ADDRESS", |device| field(device, "/session/address")),
    ("CIPHER SUITE", |device| field(device, "/session/cipherSuite")),
    ("CONNECTION ID", |device| field(device, "/session/connectionId")),
    ("CONNECTED", |device| ago(device, "/session/since")),
    ("LAST SEEN", |device| ago(device, "/lastSeenAt")),
    ("LAST FAILURE", |device| {
        match field(device, "/handshakeFailure/address") {
            address if address.is_empty() => address,
            address => {
                let (last, text) = (
                    ago(device, "/handshakeFailure/lastAt"),
                    field(device, "/handshakeFailure/text"),
                );
                format!("{last}, a handshake from {address}: {text}")
            }
        }
    }),
    ("SENT SEQUENCE", |device| field(device, "/manifestSent")),
    ("ACKNOWLEDGED", |device| field(device, "/manifestAcknowledged")),
];

/// The newest of what happened: what fits on a screen below the rest.
const EVENTS: usize = 15;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_credential_of_the_session_is_marked_and_what_a_device_logs_cannot_drive_the_terminal() {
        let device = json!({
            "session": {"credential": "crd_2"},
            "credentials": [
                {"id": "crd_1", "type": "psk", "identity": "old", "createdAt": "then"},
                {
                    "id": "crd_2", "type": "certificate", "sha256": "00ff", "createdAt": "then",
                    "subject": {"organization": "default", "commonName": "lamp"}, "notAfter": "2030-01-01T00:00:00.000Z",
                },
            ],
        });
        assert_eq!(
            table(credentials(&device)),
            "IDENTITY OR SHA-256  TYPE                                               ADDED          CREDENTIAL\n\
             old                  psk                                                then           crd_1\n\
             00ff                 certificate, O=default, CN=lamp, until 2030-01-01  then   in use  crd_2\n"
        );
        assert_eq!(credentials(&json!({})).len(), 1);
        let events = json!([{"at": "now", "type": "log", "text": "boot \u{1b}[2J"}]);
        assert_eq!(timeline(&events)[1], ["now", "log", "boot \u{fffd}[2J"]);
        assert_eq!(timeline(&Value::Null).len(), 1);
    }
}
