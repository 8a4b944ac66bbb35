//! `tessera audit`: who did what, when, and what it changed.

use clap::Subcommand;
use serde_json::Value;

use super::client::{Client, ServerArgs, segment};
use super::failure::Failure;
use super::output::{Column, escaped, field};

/// Verbs of `tessera audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List what was done, newest first
    ///
    /// What was done to API keys is listed for an admin key.
    List {
        /// Only what this actor did: the name of an API key, or what the gateway did by itself
        #[arg(long)]
        actor: Option<String>,
        /// Only this: deployment.create, device.update, key.revoke, …
        #[arg(long)]
        action: Option<String>,
        /// Only what was done to this: a name, an artifact such as main@1.4.0, or the id of what is gone
        #[arg(long)]
        subject: Option<String>,
        /// Only what was done at this time or later (RFC 3339, such as 2026-01-31T12:00:00Z)
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only what was done before this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// How many, 1 to 1000
        #[arg(short = 'n', long = "limit", default_value = "50", value_name = "N",
              value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs a verb.
pub fn run(command: AuditCommand) -> Result<(), Failure> {
    let AuditCommand::List {
        actor,
        action,
        subject,
        since,
        until,
        limit,
        server,
    } = command;
    let filters = [
        ("actor", actor),
        ("action", action),
        ("subject", subject),
        ("since", since),
        ("until", until),
    ];
    let filters = filters
        .iter()
        .filter_map(|(name, value)| Some(format!("&{name}={}", segment(value.as_deref()?))));
    let filters: String = filters.collect();
    let client = Client::new(&server)?;
    let wanted = usize::from(limit);
    let (mut rows, mut token) = (Vec::new(), String::new());
    // The server has pages of its own.
    loop {
        let left = wanted - rows.len();
        let mut page = client.get(&format!("audit?limit={left}{filters}{token}"))?;
        if let Value::Array(more) = page["items"].take() {
            rows.extend(more);
        }
        match page["nextPageToken"].as_str() {
            Some(next) if rows.len() < wanted => token = format!("&pageToken={}", segment(next)),
            Some(_) | None => break,
        }
    }
    server.output.list(&rows, LINE, "nothing like that was done");
    Ok(())
}

/// What is other than it was, on one line: `enabled: true → false`.
fn change(line: &Value) -> String {
    let (before, after) = (&line["before"], &line["after"]);
    let empty = serde_json::Map::new();
    let fields = |side: &Value| side.as_object().unwrap_or(&empty).clone();
    let (was, is) = (fields(before), fields(after));
    let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
    names.sort();
    names.dedup();
    let changes = names.into_iter().filter_map(|name| {
        let text = |side: &serde_json::Map<String, Value>| side.get(name).map(|value| field(value, ""));
        match (text(&was), text(&is)) {
            (was, is) if was == is => None,
            (None, Some(is)) | (Some(is), None) => Some(format!("{name}: {is}")).filter(|_| !is.is_empty()),
            (Some(was), Some(is)) => Some(format!("{name}: {was} → {is}")),
            (None, None) => None,
        }
    });
    escaped(&changes.collect::<Vec<_>>().join("; "))
}

const LINE: &[Column] = &[
    ("AT", |line| field(line, "/at")),
    ("ACTOR", |line| field(line, "/actor")),
    ("ACTION", |line| field(line, "/action")),
    ("SUBJECT", |line| field(line, "/subject")),
    ("WHAT", change),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_what_differs() {
        for (before, after, shown) in [
            (
                json!({"enabled": true, "cohort": null, "tags": ["a"]}),
                json!({"enabled": false, "cohort": "coh_1", "tags": ["a"]}),
                "cohort:  → coh_1; enabled: true → false",
            ),
            (
                Value::Null,
                json!({"name": "main", "size": 5}),
                "name: main; size: 5",
            ),
            (json!({"name": "main"}), Value::Null, "name: main"),
            (Value::Null, Value::Null, ""),
            (
                Value::Null,
                json!({"name": "a\u{1b}[2J\u{202e}"}),
                "name: a\u{fffd}[2J\u{fffd}",
            ),
        ] {
            assert_eq!(change(&json!({"before": before, "after": after})), shown);
        }
    }
}
