//! `tessera cohort`.

use std::collections::BTreeSet;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Output;
use super::client::{Client, ServerArgs};
use super::deployment::nothing_deployed;
use super::failure::Failure;
use super::output::{Column, ago, confirm_by_typing, field, print, say, table, takes_colour, word};

/// Verbs of `tessera cohort`.
#[derive(Debug, Subcommand)]
pub enum CohortCommand {
    /// Create a cohort
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete a cohort that has neither devices nor deployments
    Delete {
        /// Its name or id
        name: String,
        /// Do not ask; without a terminal, it has to be said
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List cohorts
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// The last ten deployments of a cohort, newest first, a column for each of their packages
    ///
    /// Beside each version is what it was to the deployment before: ↑ an upgrade, ↓ a downgrade, + added, – unchanged; nothing
    /// where the package is not in it. `tessera deployment list` has them all.
    History {
        /// The cohort's name or id
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs a verb.
pub fn run(command: CohortCommand) -> Result<(), Failure> {
    match command {
        CohortCommand::Create { name, server } => {
            let client = Client::new(&server)?;
            server
                .output
                .one(&client.post("cohorts", &json!({ "name": name }))?, COHORT);
            Ok(())
        }
        CohortCommand::Delete { name, yes, server } => {
            let client = Client::new(&server)?;
            let cohort = client.cohort(&name)?;
            if !yes {
                let what = format!("cohort {} is deleted", field(&cohort, "/name"));
                confirm_by_typing(&what, ("delete", "delete"), "nothing was deleted")?;
            }
            client.delete(&format!("cohorts/{}", field(&cohort, "/id")))?;
            say(&format!("cohort {} is deleted", field(&cohort, "/name")));
            Ok(())
        }
        CohortCommand::List { server } => {
            let client = Client::new(&server)?;
            let none = "there is no cohort yet: tessera cohort create NAME";
            server.output.pages(client.pages("cohorts"), COHORT, none)
        }
        CohortCommand::History { name, server } => {
            let client = Client::new(&server)?;
            let cohort = client.cohort(&name)?;
            let path = format!("cohorts/{}/deployments", field(&cohort, "/id"));
            let name = field(&cohort, "/name");
            if server.output != Output::Table {
                return server.output.pages(client.pages(&path), &[], "");
            }
            let page = client.get(&format!("{path}?limit={HISTORY}"))?;
            let shown = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            if shown.is_empty() {
                say(&nothing_deployed(&name));
                return Ok(());
            }
            print(&history(shown, takes_colour()));
            if page["nextPageToken"].is_string() {
                say(&format!(
                    "there are older ones: tessera deployment list {}",
                    word(&name)
                ));
            }
            Ok(())
        }
    }
}

/// One row per deployment, one column per package that any of them has.
fn history(shown: &[Value], colour: bool) -> String {
    let packages: BTreeSet<&str> = shown
        .iter()
        .flat_map(|deployment| deployment["artifacts"].as_array().into_iter().flatten())
        .filter_map(|artifact| artifact["package"].as_str())
        .collect();

    let mut heading = vec!["".to_owned(), "NAME".to_owned()];
    heading.extend(packages.iter().map(|package| (*package).to_owned()));
    heading.extend(["WHEN", "BY", "SEQUENCE"].map(str::to_owned));
    let mut rows = vec![heading];
    for deployment in shown {
        let mark = if deployment["active"] == true {
            "● active"
        } else {
            ""
        };
        let mut row = vec![mark.to_owned(), field(deployment, "/name")];
        row.extend(packages.iter().map(|package| cell(deployment, package, colour)));
        row.push(ago(deployment, "/createdAt"));
        row.push(field(deployment, "/author"));
        row.push(field(deployment, "/sequence"));
        rows.push(row);
    }
    table(rows)
}

fn cell(deployment: &Value, package: &str, colour: bool) -> String {
    let artifacts = deployment["artifacts"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let Some(artifact) = artifacts.iter().find(|artifact| artifact["package"] == package) else {
        return String::new();
    };
    let (glyph, paint) = glyph(artifact["change"].as_str().unwrap_or_default());
    painted(&format!("{} {glyph}", field(artifact, "/version")), paint, colour)
}

/// Text in a glyph's colour, where it may have one.
pub fn painted(text: &str, paint: &str, colour: bool) -> String {
    if colour && !paint.is_empty() {
        format!("\u{1b}[{paint}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// A change's glyph and its colour.
pub fn glyph(change: &str) -> (&'static str, &'static str) {
    match change {
        "added" => ("+", "32"),
        "upgraded" => ("↑", "32"),
        "downgraded" => ("↓", "33"),
        "unchanged" => ("–", ""),
        _ => ("~", ""),
    }
}

/// Deployments of a history: what fits a screen.
const HISTORY: usize = 10;

const COHORT: &[Column] = &[
    ("NAME", |cohort| field(cohort, "/name")),
    ("DEVICES", |cohort| field(cohort, "/deviceCount")),
    ("ACTIVE DEPLOYMENT", |cohort| {
        field(cohort, "/activeDeployment/name")
    }),
    ("SEQUENCE", |cohort| field(cohort, "/activeDeployment/sequence")),
    ("CREATED", |cohort| ago(cohort, "/createdAt")),
    ("ID", |cohort| field(cohort, "/id")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_a_column_per_package_and_a_glyph_per_cell() {
        let deployment = |name: &str, sequence: u32, artifacts: Value| {
            json!({ "name": name, "sequence": sequence, "artifacts": artifacts, "author": "bootstrap",
                    "createdAt": "in a test", "active": sequence == 3 })
        };
        let of = |package: &str, version: &str, change: &str| json!({ "package": package, "version": version, "change": change });
        let shown = history(
            &[
                deployment("third", 3, json!([of("main", "1.0.0", "downgraded")])),
                deployment(
                    "second",
                    2,
                    json!([of("assets", "7", "unchanged"), of("main", "1.1.0", "upgraded")]),
                ),
                deployment(
                    "first",
                    1,
                    json!([of("assets", "7", "added"), of("main", "1.0.0", "added")]),
                ),
            ],
            false,
        );
        assert_eq!(
            shown,
            "          NAME    assets  main     WHEN       BY         SEQUENCE\n\
             ● active  third           1.0.0 ↓  in a test  bootstrap  3\n          \
                       second  7 –     1.1.0 ↑  in a test  bootstrap  2\n          \
                       first   7 +     1.0.0 +  in a test  bootstrap  1\n"
        );
    }
}
