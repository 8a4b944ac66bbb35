//! `tessera device`.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs, segment};
use super::failure::Failure;
use super::output::{Column, Output, ago, field, print, say, table};
use super::timeline::{self, TimelineArgs};

/// Verbs of `tessera device`.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Create a device with a pre-shared key; the secret is shown this once
    Create {
        /// Its name
        name: String,
        /// The cohort to put it in, by name or id
        #[arg(long)]
        cohort: Option<String>,
        /// A tag; may be given more than once
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// The PSK identity; `<name>-id@<project>` where there is none
        #[arg(long)]
        identity: Option<String>,
        /// A file that holds the secret, 1 to 32 bytes; one is made where there is none
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Put devices in a cohort; their update starts at once
    Assign {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// The cohort, by name or id
        #[arg(long, required_unless_present = "no_cohort")]
        cohort: Option<String>,
        /// Take them out of their cohort
        #[arg(long, conflicts_with = "cohort")]
        no_cohort: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List devices
    List {
        /// Only those of this cohort, by name or id
        #[arg(long)]
        cohort: Option<String>,
        /// Only those with this tag
        #[arg(long)]
        tag: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show a device: credentials, session, packages
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// What happened to a device, newest first: sessions, manifests, reports, its log, changes
    #[command(alias = "timeline")]
    Log(TimelineArgs),
}

/// Runs a verb.
pub fn run(command: DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::Create {
            name,
            cohort,
            tags,
            identity,
            secret_file,
            server,
        } => {
            let client = Client::new(&server)?;
            let mut credential = json!({ "type": "psk" });
            if let Some(identity) = identity {
                credential["identity"] = identity.into();
            }
            if let Some(path) = secret_file {
                let secret = fs::read_to_string(&path).map_err(|source| Failure::File { path, source })?;
                credential["secret"] = secret.trim_end_matches(['\r', '\n']).into();
            }
            let mut body = json!({ "name": name, "tags": tags, "credentials": [credential] });
            if let Some(cohort) = cohort {
                body["cohort"] = cohort.into();
            }
            let device = client.post("devices", &body)?;
            server.output.one(&device, CREATED);
            if device.pointer("/credentials/0/secret").is_some() {
                say("the secret is not shown again");
            }
            Ok(())
        }
        DeviceCommand::Assign {
            names,
            cohort,
            no_cohort: _,
            server,
        } => assign(&names, cohort, &server),
        DeviceCommand::List { cohort, tag, server } => {
            let mut filters = Vec::new();
            filters.extend(cohort.map(|cohort| format!("cohort={}", segment(&cohort))));
            filters.extend(tag.map(|tag| format!("tag={}", segment(&tag))));
            let path = match filters.as_slice() {
                [] => "devices".to_owned(),
                filters => format!("devices?{}", filters.join("&")),
            };
            server.output.list(&Client::new(&server)?.list(&path)?, DEVICE);
            Ok(())
        }
        DeviceCommand::Show { name, server } => {
            let client = Client::new(&server)?;
            let found = client.named("device", "devices", &name)?;
            show(
                &client.get(&format!("devices/{}", field(&found, "/id")))?,
                server.output,
            );
            Ok(())
        }
        DeviceCommand::Log(args) => timeline::run(&args),
    }
}

/// Assigns each device; one that fails does not keep the others from being assigned.
fn assign(names: &[String], cohort: Option<String>, server: &ServerArgs) -> Result<(), Failure> {
    let client = Client::new(server)?;
    let body = json!({ "cohort": cohort });
    let mut assigned = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        let answer = client
            .named("device", "devices", name)
            .and_then(|device| client.patch(&format!("devices/{}", field(&device, "/id")), &body));
        match answer {
            Ok(device) => assigned.push(device),
            Err(failure) => failures.push((name, failure)),
        }
    }
    if !assigned.is_empty() {
        server.output.list(&assigned, DEVICE);
    }
    match failures.len() {
        0 => Ok(()),
        1 if names.len() == 1 => Err(failures.remove(0).1),
        failed => {
            failures
                .iter()
                .for_each(|(name, failure)| say(&format!("{name}: {}", failure.to_text())));
            Err(Failure::Failed(format!(
                "{failed} of {} devices were not assigned",
                names.len()
            )))
        }
    }
}

fn show(device: &Value, output: Output) {
    output.one(device, SHOWN);
    if output != Output::Table {
        return;
    }
    let packages = device["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if packages.is_empty() {
        return;
    }
    let mut rows = vec![
        ["PACKAGE", "HAVE", "WANT", "STATE", "REASON", "REPORTED"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for package in packages {
        rows.push(vec![
            field(package, "/package"),
            field(package, "/version"),
            field(package, "/want"),
            field(package, "/state"),
            field(package, "/reason"),
            ago(package, "/at"),
        ]);
    }
    print(&format!("\n{}", table(rows)));
}

fn online(device: &Value) -> String {
    match device["online"].as_bool() {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => String::new(),
    }
}

fn disabled(device: &Value) -> String {
    if device["enabled"] == false {
        "disabled".to_owned()
    } else {
        String::new()
    }
}

/// `main@1.0.0`, and `main@1.0.0→1.4.0` while it should run another version; `?` where it never said.
fn have_and_want(package: &Value) -> String {
    let (have, want) = (field(package, "/version"), field(package, "/want"));
    let name = field(package, "/package");
    let shown = if have.is_empty() { "?" } else { &have };
    if want.is_empty() || want == have {
        format!("{name}@{shown}")
    } else {
        format!("{name}@{shown}→{want}")
    }
}

const CREATED: &[Column] = &[
    ("NAME", |device| field(device, "/name")),
    ("COHORT", |device| field(device, "/cohort/name")),
    ("IDENTITY", |device| field(device, "/credentials/0/identity")),
    ("SECRET", |device| field(device, "/credentials/0/secret")),
    ("ID", |device| field(device, "/id")),
];

const DEVICE: &[Column] = &[
    ("NAME", |device| field(device, "/name")),
    ("COHORT", |device| field(device, "/cohort/name")),
    ("ONLINE", online),
    ("PACKAGES", |device| {
        let packages = device["packages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let shown: Vec<String> = packages.iter().map(have_and_want).collect();
        shown.join(" ")
    }),
    ("TAGS", |device| field(device, "/tags")),
    ("", disabled),
    ("ID", |device| field(device, "/id")),
];

const SHOWN: &[Column] = &[
    ("NAME", |device| field(device, "/name")),
    ("ID", |device| field(device, "/id")),
    ("COHORT", |device| field(device, "/cohort/name")),
    ("TAGS", |device| field(device, "/tags")),
    ("ENABLED", |device| field(device, "/enabled")),
    ("CREATED", |device| ago(device, "/createdAt")),
    ("IDENTITIES", |device| {
        let credentials = device["credentials"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let shown: Vec<String> = credentials
            .iter()
            .map(|credential| field(credential, "/identity"))
            .collect();
        shown.join(", ")
    }),
    ("ONLINE", online),
    ("ADDRESS", |device| field(device, "/session/address")),
    ("CIPHER SUITE", |device| field(device, "/session/cipherSuite")),
    ("CONNECTED", |device| ago(device, "/session/since")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_shows_what_it_has_and_what_it_should_have() {
        for (package, shown) in [
            (json!({"package": "main", "version": "1", "want": "1"}), "main@1"),
            (
                json!({"package": "main", "version": "1", "want": "2"}),
                "main@1→2",
            ),
            (
                json!({"package": "main", "version": null, "want": "2"}),
                "main@?→2",
            ),
            (json!({"package": "main", "version": "1", "want": null}), "main@1"),
        ] {
            assert_eq!(have_and_want(&package), shown);
        }
    }
}
