//! `tessera device log`: what happened to a device, newest first.

use clap::Args;
use serde_json::Value;

use super::client::{Client, ServerArgs, segment};
use super::failure::Failure;
use super::output::{Column, escaped, field};

/// Arguments of `tessera device log`.
#[derive(Debug, Args)]
pub struct TimelineArgs {
    /// The device's name
    name: String,
    /// Only events of this type: log, report, connected, …; may be given more than once
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// How many, 1 to 1000
    #[arg(short = 'n', long = "limit", default_value = "50", value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub fn run(args: &TimelineArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let found = client.device(&args.name)?;
    let mut path = format!("devices/{}/events?limit={}", field(&found, "/id"), args.limit);
    if !args.types.is_empty() {
        path += &format!("&type={}", segment(&args.types.join(",")));
    }
    let page = client.get(&path)?;
    let events = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let none = format!("nothing like that happened to {} yet", args.name);
    args.server.output.list(events, EVENT, &none);
    Ok(())
}

/// What happened, on one line that a terminal takes as it is meant: a device may put anything into its log.
fn what(event: &Value) -> String {
    let shown = escaped(event["text"].as_str().unwrap_or_default());
    match event["count"].as_u64() {
        Some(count @ 2..) => format!("{shown} ({count} times, last {})", field(event, "/lastAt")),
        Some(_) | None => shown,
    }
}

const EVENT: &[Column] = &[
    ("AT", |event| field(event, "/at")),
    ("TYPE", |event| field(event, "/type")),
    ("WHAT", what),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_device_wrote_reaches_the_terminal_as_text_only() {
        for (text, shown) in [
            ("info: up", "info: up"),
            ("two\nlines\r", "two\\nlines\\r"),
            ("\u{1b}[2J\u{7}\0", "\\u{1b}[2J\\u{7}\\u{0}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("grün", "grün"),
        ] {
            assert_eq!(what(&json!({ "text": text })), shown);
        }
        let repeated = json!({"text": "main: idle", "count": 3, "lastAt": "2026-01-01T00:00:00Z"});
        assert_eq!(what(&repeated), "main: idle (3 times, last 2026-01-01T00:00:00Z)");
    }
}
