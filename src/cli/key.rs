//! `tessera key`.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::client::{Client, ServerArgs, segment};
use super::failure::Failure;
use super::output::{Column, Output, ago, field, print, rfc3339, say};
use crate::clock;

/// Verbs of `tessera key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create an API key; it is shown this once
    Create {
        /// What it allows
        #[arg(long, value_enum)]
        role: Role,
        /// What to call it, as the author of what is done with it
        #[arg(long)]
        name: Option<String>,
        /// Days until it expires; never where there are none
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List API keys
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Revoke an API key; it stops working at once
    Revoke {
        /// Its id, as `key list` shows it
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What a key allows; each role includes the ones before it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Role {
    /// Look
    Read,
    /// Upload, deploy, manage devices
    Deploy,
    /// Manage API keys and device CAs
    Admin,
}

/// Runs a verb.
pub fn run(command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create {
            role,
            name,
            expires_in_days,
            server,
        } => {
            let role = match role {
                Role::Read => "read",
                Role::Deploy => "deploy",
                Role::Admin => "admin",
            };
            let at = rfc3339(clock::unix_ms() / 1000)?;
            let name = name.unwrap_or_else(|| format!("{role} {at}"));
            let mut body = json!({ "name": name, "role": role });
            if let Some(days) = expires_in_days {
                body["expiresAt"] = rfc3339(clock::unix_ms() / 1000 + i64::from(days) * 86_400)?.into();
            }
            let key = Client::new(&server)?.post("keys", &body)?;
            match server.output {
                // The key alone, so that a script can keep it.
                Output::Table => {
                    say(&format!(
                        "API key {:?} ({role}); it is not shown again:",
                        field(&key, "/name")
                    ));
                    print(&format!("{}\n", field(&key, "/key")));
                }
                Output::Json | Output::Ndjson => server.output.one(&key, &[]),
            }
            Ok(())
        }
        KeyCommand::List { server } => {
            let client = Client::new(&server)?;
            server
                .output
                .pages(client.pages("keys"), KEY, "there is no API key")
        }
        KeyCommand::Revoke { id, server } => {
            Client::new(&server)?.delete(&format!("keys/{}", segment(&id)))?;
            say(&format!("{id} is revoked"));
            Ok(())
        }
    }
}

const KEY: &[Column] = &[
    ("NAME", |key| field(key, "/name")),
    ("ROLE", |key| field(key, "/role")),
    ("CREATED", |key| ago(key, "/createdAt")),
    ("EXPIRES", |key| field(key, "/expiresAt")),
    ("ID", |key| field(key, "/id")),
];
