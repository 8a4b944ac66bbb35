//! `tessera device`.

mod bulk;
mod credential;
mod file;
mod show;

use std::path::Path;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, ServerArgs, segment};
use super::failure::Failure;
use super::output::{Column, confirm_by_typing, field, say};
use super::rollout::State;
use super::timeline::{self, TimelineArgs};
use bulk::{AssignArgs, Selection};
use credential::{CredentialCommand, ProofArgs};
use file::ImportArgs;

/// Verbs of `tessera device`.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Create a device, with a pre-shared key unless something else is said; the secret is shown this once
    Create {
        /// Its name
        name: String,
        /// The cohort to put it in, by name or id
        #[arg(long)]
        cohort: Option<String>,
        /// A tag; may be given more than once
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        #[command(flatten)]
        proof: ProofArgs,
        /// Give it none: it comes with a certificate of a CA that is believed (`tessera ca add`)
        #[arg(long, conflicts_with = "proof")]
        without_credential: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make the fleet have the devices of a file; the same file again changes nothing
    Import(ImportArgs),
    /// Write devices to standard output, to be imported again; secrets are not in it
    Export {
        /// The form of the file
        #[arg(long, value_enum, default_value = "csv")]
        format: FileFormat,
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Put devices in a cohort; their update starts at once
    Assign(AssignArgs),
    /// Add tags to devices, or remove them
    #[command(group = ArgGroup::new("tags").required(true).multiple(true))]
    Tag {
        #[command(flatten)]
        selection: Selection,
        /// A tag to add; may be given more than once
        #[arg(long, value_name = "TAG", group = "tags")]
        add: Vec<String>,
        /// A tag to remove; may be given more than once
        #[arg(long, value_name = "TAG", group = "tags")]
        remove: Vec<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let devices connect again
    Enable {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End the sessions of devices and let them connect no more
    Disable {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// What a device proves itself with: add the next key, then remove the one before; revoke a certificate
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// List devices
    List {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show a device: credentials, session, packages, what happened to it
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// What happened to a device, newest first: sessions, manifests, reports, its log, changes
    #[command(alias = "timeline")]
    Log(TimelineArgs),
    /// Delete devices, with their credentials and all that is known about them
    Delete {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask; without a terminal, it has to be said
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// The form of a file of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// Comma-separated values, with a header
    Csv,
    /// A JSON document a line
    Ndjson,
}

impl FileFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// What the name of a file says about it.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// Which devices are listed or exported: those that are all of what is given.
#[derive(Debug, Default, Args)]
pub struct Filters {
    /// Only those of this cohort, by name or id
    #[arg(long)]
    cohort: Option<String>,
    /// Only those of no cohort
    #[arg(long, conflicts_with = "cohort")]
    no_cohort: bool,
    /// Only those with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only those whose name starts so
    #[arg(long, value_name = "PREFIX")]
    search: Option<String>,
    /// Only those that are connected
    #[arg(long)]
    online: bool,
    /// Only those that are not connected
    #[arg(long, conflicts_with = "online")]
    offline: bool,
    /// Only those that are so far with their cohort's deployment
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(State::ALL.map(State::as_str)))]
    state: Option<String>,
    /// Only those that run this version
    #[arg(long, value_name = "PACKAGE@VERSION")]
    version: Option<String>,
}

impl Filters {
    /// As a query, without its question mark.
    fn query(&self) -> Vec<String> {
        let mut query = Vec::new();
        let pair = |key: &str, value: &str| format!("{key}={}", segment(value));
        query.extend(self.cohort.as_ref().map(|cohort| pair("cohort", cohort)));
        query.extend(self.no_cohort.then(|| pair("cohort", "")));
        query.extend(self.tag.as_ref().map(|tag| pair("tag", tag)));
        query.extend(self.search.as_ref().map(|prefix| pair("search", prefix)));
        query.extend(self.online.then(|| pair("online", "true")));
        query.extend(self.offline.then(|| pair("online", "false")));
        query.extend(self.state.as_ref().map(|state| pair("state", state)));
        query.extend(self.version.as_ref().map(|version| pair("version", version)));
        query
    }
}

/// Runs a verb.
pub fn run(command: DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::Create {
            name,
            cohort,
            tags,
            proof,
            without_credential,
            server,
        } => {
            let client = Client::new(&server)?;
            let credentials = match without_credential {
                true => Vec::new(),
                false => vec![proof.body()?],
            };
            let mut body = json!({ "name": name, "tags": tags, "credentials": credentials });
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
        DeviceCommand::Import(args) => file::import(args),
        DeviceCommand::Export {
            format,
            filters,
            server,
        } => file::export(&server, format, &filters),
        DeviceCommand::Assign(args) => bulk::assign(args),
        DeviceCommand::Tag {
            selection,
            add,
            remove,
            server,
        } => {
            let change = json!({ "addTags": add, "removeTags": remove });
            bulk::change(&selection, change, "tags", &server)
        }
        DeviceCommand::Enable { selection, server } => {
            bulk::change(&selection, json!({ "enabled": true }), "enables", &server)
        }
        DeviceCommand::Disable { selection, server } => {
            bulk::change(&selection, json!({ "enabled": false }), "disables", &server)
        }
        DeviceCommand::Credential(command) => credential::run(command),
        DeviceCommand::List { filters, server } => {
            let path = match filters.query().as_slice() {
                [] => "devices".to_owned(),
                query => format!("devices?{}", query.join("&")),
            };
            let client = Client::new(&server)?;
            let none = match filters.query().is_empty() {
                true => "there is no device yet: tessera device create NAME, or tessera device import FILE",
                false => "no device is like that",
            };
            server.output.pages(client.pages(&path), DEVICE, none)
        }
        DeviceCommand::Show { name, server } => show::run(&name, &server),
        DeviceCommand::Delete { names, yes, server } => delete(&names, yes, &server),
        DeviceCommand::Log(args) => timeline::run(&args),
    }
}

/// Deletes each device, once all of them are found.
fn delete(names: &[String], yes: bool, server: &ServerArgs) -> Result<(), Failure> {
    let client = Client::new(server)?;
    let mut ids = Vec::new();
    for name in names {
        ids.push(field(&client.device(name)?, "/id"));
    }
    if !yes {
        let what = match names {
            [name] => format!("device {name} and all that is known about it are deleted"),
            names => format!(
                "{} devices and all that is known about them are deleted",
                names.len()
            ),
        };
        confirm_by_typing(&what, ("delete", "delete"), "nothing was deleted")?;
    }
    for (id, name) in ids.iter().zip(names) {
        client.delete(&format!("devices/{id}"))?;
        say(&format!("device {name} is deleted"));
    }
    Ok(())
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

/// What it last said it was doing, and why if it said so: `idle (integrity-check-failure, awaiting-retry)`.
fn reported(package: &Value) -> String {
    let (state, reasons) = (field(package, "/state"), reasons(package));
    if reasons.is_empty() {
        return state;
    }
    format!("{state} ({reasons})")
}

/// Why it failed, and what it says now if that is something else; nothing where there is no reason.
fn reasons(package: &Value) -> String {
    let (failure, reason) = (field(package, "/failure"), field(package, "/reason"));
    match (reason.as_str(), package["reasonNumber"].as_u64()) {
        (_, None | Some(0)) => String::new(),
        ("other", Some(number)) => format!("reason {number}"),
        (_, Some(_)) if failure.is_empty() || failure == reason => reason,
        (_, Some(_)) => format!("{failure}, {reason}"),
    }
}

/// Whom a certificate is for: `O=default, CN=lamp-1`; nothing where that is not known.
pub fn subject(subject: &Value) -> String {
    let parts = [("O", "/organization"), ("CN", "/commonName")];
    let parts = parts.map(|(name, pointer)| (name, field(subject, pointer)));
    let shown = parts.iter().filter(|(_, value)| !value.is_empty());
    let shown: Vec<String> = shown.map(|(name, value)| format!("{name}={value}")).collect();
    shown.join(", ")
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
    ("STATE", |device| field(device, "/state")),
    ("PACKAGES", |device| {
        let packages = device["packages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let shown: Vec<String> = packages.iter().map(have_and_want).collect();
        shown.join(" ")
    }),
    ("REPORTED", |device| {
        let packages = device["packages"].as_array().into_iter().flatten();
        let shown: Vec<String> = packages.map(reported).filter(|text| !text.is_empty()).collect();
        shown.join(", ")
    }),
    ("TAGS", |device| field(device, "/tags")),
    ("", disabled),
    ("ID", |device| field(device, "/id")),
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

    #[test]
    fn a_package_shows_what_the_device_said_last_and_why() {
        for (package, shown) in [
            (json!({"state": null}), ""),
            (
                json!({"state": "idle", "reason": "none", "reasonNumber": 0}),
                "idle",
            ),
            (
                json!({"state": "idle", "reason": "awaiting-retry", "reasonNumber": 11, "failure": null}),
                "idle (awaiting-retry)",
            ),
            (
                json!({"state": "idle", "reason": "awaiting-retry", "reasonNumber": 11, "failure": "io-error"}),
                "idle (io-error, awaiting-retry)",
            ),
            (
                json!({"state": "downloading", "reason": "io-error", "reasonNumber": 10, "failure": "io-error"}),
                "downloading (io-error)",
            ),
        ] {
            assert_eq!(reported(&package), shown);
        }
    }

    #[test]
    fn filters_are_a_query_that_says_no_cohort_too() {
        let filters = Filters {
            tag: Some("a/b".to_owned()),
            no_cohort: true,
            offline: true,
            state: Some("failed".to_owned()),
            version: Some("main@1".to_owned()),
            ..Filters::default()
        };
        let query = [
            "cohort=",
            "tag=a%2Fb",
            "online=false",
            "state=failed",
            "version=main%401",
        ];
        assert_eq!(filters.query(), query);
    }
}
