//! `tessera device credential`: more than one key at a time, so that they can be rotated.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::super::client::{Client, ServerArgs, segment};
use super::super::failure::Failure;
use super::super::output::{Column, ago, field, say};

/// Verbs of `tessera device credential`.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Give a device one more pre-shared key; the ones before stay good
    Add {
        /// The device's name
        name: String,
        /// The PSK identity, another than the device has; `<name>-id@<project>` where none is given
        #[arg(long)]
        identity: Option<String>,
        /// A file that holds the secret, 1 to 32 bytes; one is made where there is none
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Retire a key: it opens no session any more, and the one that it opened ends
    Remove {
        /// The device's name
        name: String,
        /// The credential, by PSK identity or id
        credential: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the keys of a device
    List {
        /// The device's name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs a verb.
pub fn run(command: CredentialCommand) -> Result<(), Failure> {
    match command {
        CredentialCommand::Add {
            name,
            identity,
            secret_file,
            server,
        } => {
            let client = Client::new(&server)?;
            let made = client.post(&path(&client, &name)?, &body(identity, secret_file)?)?;
            server.output.one(&made, ADDED);
            if made.get("secret").is_some() {
                say("the secret is not shown again");
            }
            Ok(())
        }
        CredentialCommand::Remove {
            name,
            credential,
            server,
        } => {
            let client = Client::new(&server)?;
            let path = path(&client, &name)?;
            let there = client.list(&path)?;
            let id = find(&name, &there, &credential)?;
            client.delete(&format!("{path}/{}", segment(&id)))?;
            say(&format!("credential {credential} of {name} is retired"));
            if there.len() == 1 {
                say(&format!("{name} has no other: it cannot connect"));
            }
            Ok(())
        }
        CredentialCommand::List { name, server } => {
            let client = Client::new(&server)?;
            server.output.list(&client.list(&path(&client, &name)?)?, COLUMNS);
            Ok(())
        }
    }
}

/// A credential to be made, as the API takes it.
pub fn body(identity: Option<String>, secret_file: Option<PathBuf>) -> Result<Value, Failure> {
    let mut credential = json!({ "type": "psk" });
    if let Some(identity) = identity {
        credential["identity"] = identity.into();
    }
    if let Some(path) = secret_file {
        let secret = fs::read_to_string(&path).map_err(|source| Failure::File { path, source })?;
        credential["secret"] = secret.trim_end_matches(['\r', '\n']).into();
    }
    Ok(credential)
}

fn path(client: &Client, name: &str) -> Result<String, Failure> {
    let device = client.named("device", "devices", name)?;
    Ok(format!("devices/{}/credentials", field(&device, "/id")))
}

/// The id of a credential that is named by its identity or its id.
fn find(device: &str, there: &[Value], named: &str) -> Result<String, Failure> {
    let found = there
        .iter()
        .find(|one| one["identity"] == named)
        .or_else(|| there.iter().find(|one| one["id"] == named));
    found.map(|one| field(one, "/id")).ok_or_else(|| {
        let has: Vec<String> = there.iter().map(|one| field(one, "/identity")).collect();
        Failure::NotFound(match has.is_empty() {
            true => format!("device {device} has no credential"),
            false => format!(
                "device {device} has no credential {named:?}; it has: {}",
                has.join(", ")
            ),
        })
    })
}

/// A list of credentials.
pub const COLUMNS: &[Column] = &[
    ("IDENTITY", |credential| field(credential, "/identity")),
    ("ADDED", |credential| ago(credential, "/createdAt")),
    ("ID", |credential| field(credential, "/id")),
];

const ADDED: &[Column] = &[
    ("IDENTITY", |credential| field(credential, "/identity")),
    ("SECRET", |credential| field(credential, "/secret")),
    ("ID", |credential| field(credential, "/id")),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_by_its_identity_before_its_id() {
        let there = [
            json!({"id": "crd_1", "identity": "crd_2"}),
            json!({"id": "crd_2", "identity": "one"}),
        ];
        assert_eq!(find("lamp", &there, "crd_2").unwrap(), "crd_1");
        assert_eq!(find("lamp", &there, "crd_1").unwrap(), "crd_1");
        assert_eq!(find("lamp", &there, "one").unwrap(), "crd_2");
        let failure = find("lamp", &there, "two").unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(
            failure.to_text().contains("it has: crd_2, one"),
            "{}",
            failure.to_text()
        );
    }
}
