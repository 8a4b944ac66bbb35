//! `tessera key`.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, ServerArgs, segment};
use super::failure::Failure;
use super::output::{Column, Output, ago, confirm_by_typing, field, print, rfc3339, say};
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
        /// Its id, as `key list` shows it, or its name if no other key is called so
        #[arg(value_name = "ID|NAME")]
        key: String,
        /// Do not ask; without a terminal, it has to be said
        #[arg(short, long)]
        yes: bool,
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
        KeyCommand::Revoke { key, yes, server } => {
            let client = Client::new(&server)?;
            let keys = client.list("keys")?;
            let key = named(&keys, &key)?;
            let (id, called) = (field(key, "/id"), format!("key {:?}", field(key, "/name")));
            if !yes {
                let what = format!("{called} stops working at once");
                confirm_by_typing(&what, ("revoke", "revoke"), "nothing was revoked")?;
            }
            client.delete(&format!("keys/{}", segment(&id)))?;
            say(&format!("{called} ({id}) is revoked"));
            Ok(())
        }
    }
}

/// The key of this id, or the one key of this name.
fn named<'k>(keys: &'k [Value], named: &str) -> Result<&'k Value, Failure> {
    let of = |pointer: &'static str| keys.iter().filter(move |key| field(key, pointer) == named);
    if let Some(key) = of("/id").next() {
        return Ok(key);
    }
    let called: Vec<&Value> = of("/name").collect();
    match called.as_slice() {
        [key] => Ok(key),
        [] => Err(Failure::NotFound(format!(
            "there is no API key {named:?}; accepted: the id or the name of one, as tessera key list shows them"
        ))),
        several => {
            let ids: Vec<String> = several.iter().map(|key| field(key, "/id")).collect();
            Err(Failure::Usage(format!(
                "{} API keys are called {named:?}; accepted: the id of one of them: {}",
                several.len(),
                ids.join(", ")
            )))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_by_its_id_and_by_its_name_unless_others_are_called_so_too() {
        let keys = [
            json!({"id": "key_1", "name": "ci"}),
            json!({"id": "key_2", "name": "ann"}),
            json!({"id": "key_3", "name": "ann"}),
            json!({"id": "key_4", "name": "key_1"}),
        ];
        for (given, id) in [("ci", "key_1"), ("key_1", "key_1"), ("key_3", "key_3")] {
            let found = named(&keys, given).map(|key| field(key, "/id"));
            assert_eq!(found.ok().as_deref(), Some(id), "{given}");
        }
        for (given, code, said) in [("ann", 2, "key_2, key_3"), ("bob", 3, "\"bob\"")] {
            let failure = named(&keys, given).err();
            let told = failure.map(|failure| (failure.exit_code(), failure.to_string()));
            assert!(
                told.as_ref()
                    .is_some_and(|(exit, text)| *exit == code && text.contains(said)),
                "{told:?}"
            );
        }
    }
}
