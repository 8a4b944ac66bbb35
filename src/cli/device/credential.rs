//! `tessera device credential`: more than one at a time, so that keys can be rotated and certificates be revoked one by one.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::ca::read_pem;
use super::super::client::{Client, ServerArgs, segment};
use super::super::failure::Failure;
use super::super::output::{Column, ago, confirm_by_typing, field, say};
use super::subject;

/// Verbs of `tessera device credential`.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Give a device one more credential, a pre-shared key unless something else is said; the ones before stay good
    Add {
        /// The device's name
        name: String,
        #[command(flatten)]
        proof: ProofArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Retire a key, or revoke a certificate for good: it opens no session any more, and the one that it opened ends
    Remove {
        /// The device's name
        name: String,
        /// The credential, by PSK identity, SHA-256 or id
        credential: String,
        /// Do not ask before a certificate is revoked, or a device is left without a credential; without a terminal, it has to be said
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the credentials of a device
    List {
        /// The device's name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What a device is to prove itself with.
#[derive(Debug, Default, Args)]
#[group(id = "proof", multiple = true)]
pub struct ProofArgs {
    /// The PSK identity, another than the device has; `<name>-id@<project>` where there is none
    #[arg(long)]
    identity: Option<String>,
    /// A file that holds the secret, 1 to 32 bytes; one is made where there is none
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A certificate (a PEM file) that is this device's, whatever its subject says; a CA has to vouch for it all the same
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity", "secret_file"])]
    certificate: Option<PathBuf>,
    /// The same by the SHA-256 of its DER
    #[arg(long, value_name = "HEX", conflicts_with_all = ["identity", "secret_file", "certificate"])]
    certificate_sha256: Option<String>,
    /// A public key without a certificate, by the SHA-256 of its SubjectPublicKeyInfo in DER
    #[arg(long, value_name = "HEX",
        conflicts_with_all = ["identity", "secret_file", "certificate", "certificate_sha256"])]
    public_key_sha256: Option<String>,
}

impl ProofArgs {
    /// A credential to be made, as the API takes it.
    pub fn body(self) -> Result<Value, Failure> {
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|source| Failure::File { path, source });
        if let Some(path) = self.certificate {
            return Ok(json!({ "type": "certificate", "pem": read_pem(path)? }));
        }
        if let Some(sha256) = self.certificate_sha256 {
            return Ok(json!({ "type": "certificate", "sha256": sha256 }));
        }
        if let Some(sha256) = self.public_key_sha256 {
            return Ok(json!({ "type": "rawPublicKey", "sha256": sha256 }));
        }
        let mut credential = json!({ "type": "psk" });
        if let Some(identity) = self.identity {
            credential["identity"] = identity.into();
        }
        if let Some(path) = self.secret_file {
            credential["secret"] = read(path)?.trim_end_matches(['\r', '\n']).into();
        }
        Ok(credential)
    }
}

/// Runs a verb.
pub fn run(command: CredentialCommand) -> Result<(), Failure> {
    match command {
        CredentialCommand::Add { name, proof, server } => {
            let client = Client::new(&server)?;
            let made = client.post(&path(&client, &name)?, &proof.body()?)?;
            server.output.one(&made, ADDED);
            if made.get("secret").is_some() {
                say("the secret is not shown again");
            }
            Ok(())
        }
        CredentialCommand::Remove {
            name,
            credential,
            yes,
            server,
        } => {
            let client = Client::new(&server)?;
            let path = path(&client, &name)?;
            let there = client.list(&path)?;
            let found = find(&name, &there, &credential)?;
            let is_certificate = found["type"] == "certificate";
            let is_last = there.len() == 1;
            if is_certificate && !yes {
                let what = format!(
                    "the certificate {} of {name} is revoked for good, whatever a CA says of it",
                    known_by(found)
                );
                confirm_by_typing(&what, ("revoke", "revoke"), "nothing was revoked")?;
            } else if is_last && !yes {
                let what = format!(
                    "{} is the only credential of {name}: without it, it cannot connect",
                    known_by(found)
                );
                confirm_by_typing(&what, ("remove", "remove"), "nothing was removed")?;
            }
            client.delete(&format!("{path}/{}", segment(&field(found, "/id"))))?;
            let done = if is_certificate { "revoked" } else { "retired" };
            say(&format!("credential {credential} of {name} is {done}"));
            if is_last {
                say(&format!(
                    "{name} has no other: it cannot connect, unless a CA vouches for another certificate of it"
                ));
            }
            Ok(())
        }
        CredentialCommand::List { name, server } => {
            let client = Client::new(&server)?;
            let path = path(&client, &name)?;
            let none = format!("{name} has no credential: tessera device credential add {name}");
            server.output.pages(client.pages(&path), COLUMNS, &none)
        }
    }
}

fn path(client: &Client, name: &str) -> Result<String, Failure> {
    let device = client.device(name)?;
    Ok(format!("devices/{}/credentials", field(&device, "/id")))
}

/// The credential that is named by its identity, its SHA-256 or its id.
fn find<'t>(device: &str, there: &'t [Value], named: &str) -> Result<&'t Value, Failure> {
    let sha256 = named.to_ascii_lowercase();
    let found = there
        .iter()
        .find(|one| one["identity"] == named)
        .or_else(|| there.iter().find(|one| one["sha256"] == sha256.as_str()))
        .or_else(|| there.iter().find(|one| one["id"] == named));
    found.ok_or_else(|| {
        let has: Vec<String> = there.iter().map(known_by).collect();
        Failure::NotFound(match has.is_empty() {
            true => format!("device {device} has no credential"),
            false => format!(
                "device {device} has no credential {named:?}; it has: {}",
                has.join(", ")
            ),
        })
    })
}

/// What tells a credential from others: a PSK identity, or the SHA-256 of a certificate or a key.
fn known_by(credential: &Value) -> String {
    match field(credential, "/identity") {
        identity if identity.is_empty() => field(credential, "/sha256"),
        identity => identity,
    }
}

/// What kind it is; of a certificate, whom it is for and until when.
fn what(credential: &Value) -> String {
    let until: String = field(credential, "/notAfter").chars().take(10).collect();
    let parts = [
        field(credential, "/type"),
        subject(&credential["subject"]),
        match until.is_empty() {
            true => until,
            false => format!("until {until}"),
        },
    ];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// A list of credentials.
pub const COLUMNS: &[Column] = &[
    ("IDENTITY OR SHA-256", known_by),
    ("TYPE", what),
    ("ADDED", |credential| ago(credential, "/createdAt")),
    ("ID", |credential| field(credential, "/id")),
];

const ADDED: &[Column] = &[
    ("TYPE", what),
    ("IDENTITY", |credential| field(credential, "/identity")),
    ("SHA-256", |credential| field(credential, "/sha256")),
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
            json!({"id": "crd_3", "sha256": "00ff"}),
        ];
        for (named, id) in [
            ("crd_2", "crd_1"),
            ("crd_1", "crd_1"),
            ("one", "crd_2"),
            ("00FF", "crd_3"),
        ] {
            assert_eq!(find("lamp", &there, named).unwrap()["id"], id);
        }
        let failure = find("lamp", &there, "two").unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(
            failure.to_text().contains("it has: crd_2, one, 00ff"),
            "{}",
            failure.to_text()
        );
    }
}
