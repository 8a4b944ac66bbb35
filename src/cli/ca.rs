//! `tessera ca`: who is believed about devices that come with a certificate.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs, segment};
use super::device::subject;
use super::failure::Failure;
use super::output::{Column, confirm_by_typing, field, say};

/// Verbs of `tessera ca`.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Believe a CA: its certificates speak for the devices that they name (O the project, CN the device)
    Add {
        /// Its certificate, a PEM file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What to call it; as its subject's CN says where there is none
        #[arg(long)]
        name: Option<String>,
        /// Create devices that nobody has named before when they come with its certificate
        #[arg(long)]
        zero_touch: bool,
        /// The cohort to put such devices in, by name or id
        #[arg(long, requires = "zero_touch")]
        cohort: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the CAs that are believed
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Believe a CA no more: the sessions that its certificates opened end
    Remove {
        /// Its name or id
        ca: String,
        /// Do not ask; without a terminal, it has to be said
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs a verb.
pub fn run(command: CaCommand) -> Result<(), Failure> {
    match command {
        CaCommand::Add {
            file,
            name,
            zero_touch,
            cohort,
            server,
        } => {
            let client = Client::new(&server)?;
            let pem = read_pem(file)?;
            let mut body = json!({ "pem": pem, "zeroTouch": zero_touch });
            if let Some(name) = name {
                body["name"] = name.into();
            }
            if let Some(cohort) = cohort {
                body["cohort"] = cohort.into();
            }
            let (ca, is_new) = client.create_once("device-cas", &body)?;
            server.output.one(&ca, CA);
            if !is_new {
                say(&format!(
                    "the CA was there already, as {}; nothing was changed",
                    field(&ca, "/name")
                ));
            }
            Ok(())
        }
        CaCommand::List { server } => {
            let client = Client::new(&server)?;
            let none = "no CA is believed yet: tessera ca add FILE";
            server.output.pages(client.pages("device-cas"), CA, none)
        }
        CaCommand::Remove { ca, yes, server } => {
            let client = Client::new(&server)?;
            let path = format!("device-cas/{}", segment(&ca));
            let found = client.get(&path)?;
            if !yes {
                let what = format!(
                    "devices of the CA {} can connect with its certificates no more",
                    field(&found, "/name")
                );
                confirm_by_typing(&what, ("remove", "remove"), "nothing was changed")?;
            }
            let removed = client.delete(&path)?;
            let (name, devices) = (field(&removed, "/name"), &removed["devices"]);
            say(&format!(
                "the CA {name} is believed no more; devices that it had vouched for: {devices}"
            ));
            Ok(())
        }
    }
}

/// A file that should be PEM. Of one that is none only the beginning is sent: the server's answer says what is wrong with it, and not
/// that it is too long.
pub fn read_pem(path: PathBuf) -> Result<String, Failure> {
    let bytes = fs::read(&path).map_err(|source| Failure::File { path, source })?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if !text.contains("-----BEGIN ") {
        let end = text.char_indices().nth(CHARS_OF_NO_PEM);
        text.truncate(end.map_or(text.len(), |(end, _)| end));
    }
    Ok(text)
}

const CHARS_OF_NO_PEM: usize = 1000;

fn zero_touch(ca: &Value) -> String {
    match ca["zeroTouch"].as_bool() {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => String::new(),
    }
}

const CA: &[Column] = &[
    ("NAME", |ca| field(ca, "/name")),
    ("SUBJECT", |ca| subject(&ca["subject"])),
    ("ZERO-TOUCH", zero_touch),
    ("COHORT", |ca| field(ca, "/cohort/name")),
    ("UNTIL", |ca| field(ca, "/notAfter").chars().take(10).collect()),
    ("SHA-256", |ca| field(ca, "/sha256")),
    ("ID", |ca| field(ca, "/id")),
];
