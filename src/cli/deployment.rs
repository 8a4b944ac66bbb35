//! `tessera deployment`: what was deployed, and how far it has come.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs, segment};
use super::cohort::{glyph, painted};
use super::failure::Failure;
use super::output::{
    Column, Output, ago, bytes, count, field, print, print_line, rfc3339, say, table, takes_colour, word,
};
use super::rollout::{Ending, Failing, Followed, Limits, Progress, State, follow, stacked};
use crate::clock;

/// Verbs of `tessera deployment`.
#[derive(Debug, Subcommand)]
pub enum DeploymentCommand {
    /// Watch a deployment until every device of its cohort is done or has failed; Ctrl-C ends the watching and nothing else
    Watch {
        /// The deployment's id, or a cohort by name or id: its active deployment
        #[arg(value_name = "ID|COHORT")]
        deployment: String,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show a deployment: its packages and what they changed, and how many devices are how far
    Show {
        /// The deployment's id, or a cohort by name or id: its active deployment
        #[arg(value_name = "ID|COHORT")]
        deployment: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List all deployments of a cohort, newest first
    List {
        /// The cohort, by name or id
        cohort: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs a verb.
pub fn run(command: DeploymentCommand) -> Result<(), Failure> {
    match command {
        DeploymentCommand::Watch {
            deployment,
            limits,
            server,
        } => watch(&deployment, &limits, &server),
        DeploymentCommand::Show { deployment, server } => show(&deployment, &server),
        DeploymentCommand::List { cohort, server } => {
            let client = Client::new(&server)?;
            let cohort = client.cohort(&cohort)?;
            let path = format!("cohorts/{}/deployments", field(&cohort, "/id"));
            let none = nothing_deployed(&field(&cohort, "/name"));
            server.output.pages(client.pages(&path), LISTED, &none)
        }
    }
}

/// What to say of a cohort without deployments.
pub fn nothing_deployed(cohort: &str) -> String {
    format!(
        "nothing was deployed to {cohort} yet: tessera deploy {} --package PACKAGE@VERSION",
        word(cohort)
    )
}

/// The deployment of this id, or the active one of the cohort that is named; and its cohort.
fn find(client: &Client, named: &str) -> Result<(Value, Value), Failure> {
    if named.starts_with("dep_") {
        match client.get(&format!("deployments/{}", segment(named))) {
            Ok(deployment) => {
                let cohort = client.get(&format!("cohorts/{}", field(&deployment, "/cohort")))?;
                return Ok((deployment, cohort));
            }
            // A cohort may be called like this.
            Err(Failure::Refused(problem)) if problem.status == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    let cohort = client.cohort(named).map_err(|failure| match failure {
        Failure::NotFound(_) => Failure::NotFound(format!(
            "there is neither a deployment nor a cohort {named:?}; tessera cohort list and tessera deployment list COHORT \
             show them"
        )),
        other => other,
    })?;
    match &cohort["activeDeployment"] {
        Value::Null => Err(Failure::NotFound(nothing_deployed(&field(&cohort, "/name")))),
        active => Ok((active.clone(), cohort)),
    }
}

fn watch(named: &str, limits: &Limits, server: &ServerArgs) -> Result<(), Failure> {
    let client = Client::new(server)?;
    let (deployment, cohort) = find(&client, named)?;
    let cohort = field(&cohort, "/name");
    let called = called(&deployment);
    say(&format!("watching {called} in {cohort}"));
    let each = |progress: &Progress| {
        if server.output == Output::Ndjson {
            print_line(&line(&deployment, progress));
        }
    };
    let followed = follow(client, &deployment, &cohort, limits, each)?;
    match server.output {
        Output::Ndjson => {
            let mut last = line(&deployment, &followed.seen.unwrap_or_default());
            last["outcome"] = json!(followed.ending.as_str());
            print_line(&last);
        }
        Output::Table | Output::Json => result(&followed, &deployment, server.output),
    }
    let told = followed
        .ending
        .tell(&called, followed.seen.as_ref(), followed.waited)?;
    match followed.ending {
        Ending::Interrupted => say(&format!("{told}; the deployment goes on")),
        Ending::Done
        | Ending::DoneButFailures
        | Ending::Failed
        | Ending::FailIf(_)
        | Ending::TimedOut(_)
        | Ending::Superseded(_) => say(&told),
    }
    Ok(())
}

/// Waits for a deployment that was just made, and says what came of it.
pub fn wait(
    client: Client,
    deployment: &Value,
    cohort: &str,
    limits: &Limits,
    output: Output,
) -> Result<(), Failure> {
    let called = called(deployment);
    let id = field(deployment, "/id");
    // Whoever is cut off from here on knows what to ask for.
    say(&format!("deployed as {called}; waiting for its devices"));
    let followed = follow(client, deployment, cohort, limits, |_| {}).inspect_err(|_| {
        say(&format!(
            "the deployment was made and goes on: tessera deployment watch {id}"
        ));
    })?;
    result(&followed, deployment, output);
    let told = followed
        .ending
        .tell(&called, followed.seen.as_ref(), followed.waited)?;
    if followed.ending == Ending::Interrupted {
        return Err(Failure::Failed(format!(
            "interrupted ({told}); the deployment goes on: tessera deployment watch {id}"
        )));
    }
    say(&told);
    Ok(())
}

/// What came of a wait, on standard output.
fn result(followed: &Followed, deployment: &Value, output: Output) {
    output.one(&followed.to_json(deployment), WAITED);
    if output == Output::Table
        && let Some(seen) = &followed.seen
    {
        print(&failures(&followed.failing, seen));
    }
}

/// Why devices failed, and how many did, below something else; nothing where none has.
fn reasons(answer: &Value) -> String {
    let reasons = answer["failures"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if reasons.is_empty() {
        return String::new();
    }
    let mut rows = vec![["WHY", "PACKAGE", "WHILE", "DEVICES"].map(str::to_owned).to_vec()];
    rows.extend(reasons.iter().map(|reason| {
        let told = ["/reason", "/package", "/state", "/devices"];
        told.map(|place| field(reason, place)).to_vec()
    }));
    format!("\n{}", table(rows))
}

/// The devices that failed and why, below something else; nothing where there are none.
fn failures(failing: &[Failing], progress: &Progress) -> String {
    if failing.is_empty() {
        return String::new();
    }
    let mut rows = vec![["FAILED", "PACKAGE", "REASON"].map(str::to_owned).to_vec()];
    rows.extend(failing.iter().map(|failing| {
        let Failing {
            device,
            package,
            reason,
        } = failing;
        vec![device.clone(), package.clone(), reason.clone()]
    }));
    let mut devices: Vec<&str> = failing.iter().map(|failing| failing.device.as_str()).collect();
    devices.dedup();
    let others = progress.count(State::Failed).saturating_sub(devices.len() as u64);
    let rest = match others {
        0 => String::new(),
        _ => format!(
            "and {}: tessera device list --state failed --cohort COHORT\n",
            count(others, "other")
        ),
    };
    format!("\n{}{rest}", table(rows))
}

/// `"spring" (dep_7, sequence 7)`.
fn called(deployment: &Value) -> String {
    format!(
        "{:?} ({}, sequence {})",
        field(deployment, "/name"),
        field(deployment, "/id"),
        field(deployment, "/sequence")
    )
}

/// How far a deployment is at this moment, for programs.
fn line(deployment: &Value, progress: &Progress) -> Value {
    let mut line = progress.to_json();
    line.insert("deployment".to_owned(), deployment["id"].clone());
    line.insert("sequence".to_owned(), deployment["sequence"].clone());
    line.insert("at".to_owned(), json!(rfc3339(clock::unix_ms() / 1000).ok()));
    Value::Object(line)
}

fn show(named: &str, server: &ServerArgs) -> Result<(), Failure> {
    let client = Client::new(server)?;
    let (mut deployment, cohort) = find(&client, named)?;
    let answer = client.get(&format!("deployments/{}/progress", field(&deployment, "/id")))?;
    // Which devices failed is known of an active one; of any, why how many did.
    let failing = match deployment["active"] == true && answer["failed"].as_u64() > Some(0) {
        true => Failing::of(&client, &field(&cohort, "/id"))?,
        false => Vec::new(),
    };
    if deployment["active"] == true {
        deployment["failures"] = failing.iter().map(Failing::to_json).collect();
    }
    deployment["cohortName"] = cohort["name"].clone();
    deployment["progress"] = answer.clone();
    server.output.one(&deployment, SHOWN);
    if server.output == Output::Table {
        let colour = takes_colour();
        print(&format!("\n{}", table(packages(&deployment, colour))));
        if let Some(progress) = Progress::of(&answer) {
            print(&format!(
                "\n{}",
                how_far(&progress, &answer, deployment["active"] == true, colour)
            ));
            print(&reasons(&answer));
            print(&failures(&failing, &progress));
        }
    }
    Ok(())
}

fn packages(deployment: &Value, colour: bool) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["PACKAGE", "VERSION", "SIZE", "SHA-256"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for artifact in deployment["artifacts"].as_array().into_iter().flatten() {
        let (glyph, paint) = glyph(artifact["change"].as_str().unwrap_or_default());
        rows.push(vec![
            field(artifact, "/package"),
            painted(&format!("{} {glyph}", field(artifact, "/version")), paint, colour),
            bytes(artifact["size"].as_u64().unwrap_or(0)),
            field(artifact, "/sha256"),
        ]);
    }
    rows
}

fn how_far(progress: &Progress, answer: &Value, is_active: bool, colour: bool) -> String {
    if progress.devices() == 0 {
        let none = if is_active {
            "the cohort has no devices"
        } else {
            "no device was counted"
        };
        return format!("{none}\n");
    }
    let mut rows = vec![["STATE", "DEVICES"].map(str::to_owned).to_vec()];
    for state in State::ALL {
        rows.push(vec![state.as_str().to_owned(), progress.count(state).to_string()]);
    }
    format!(
        "[{}] {} of {} done, {} served\n\n{}",
        stacked(progress, SHOWN_CELLS, colour),
        progress.count(State::Done),
        count(progress.devices(), "device"),
        bytes(answer["bytesServed"].as_u64().unwrap_or(0)),
        table(rows)
    )
}

/// `main@1.4.0 assets@7`.
fn set(deployment: &Value) -> String {
    let artifacts = deployment["artifacts"].as_array().into_iter().flatten();
    let shown: Vec<String> = artifacts
        .map(|artifact| format!("{}@{}", field(artifact, "/package"), field(artifact, "/version")))
        .collect();
    shown.join(" ")
}

fn active(deployment: &Value) -> String {
    match deployment["active"].as_bool() {
        Some(true) => "● active".to_owned(),
        Some(false) => "superseded".to_owned(),
        None => String::new(),
    }
}

/// A deployment that was just made.
pub const CREATED: &[Column] = &[
    ("NAME", |deployment| field(deployment, "/name")),
    ("SEQUENCE", |deployment| field(deployment, "/sequence")),
    ("PACKAGES", set),
    ("BY", |deployment| field(deployment, "/author")),
    ("CREATED", |deployment| ago(deployment, "/createdAt")),
    ("ID", |deployment| field(deployment, "/id")),
];

const LISTED: &[Column] = &[
    ("", |deployment| match deployment["active"] == true {
        true => "● active".to_owned(),
        false => String::new(),
    }),
    ("NAME", |deployment| field(deployment, "/name")),
    ("SEQUENCE", |deployment| field(deployment, "/sequence")),
    ("PACKAGES", set),
    ("BY", |deployment| field(deployment, "/author")),
    ("CREATED", |deployment| ago(deployment, "/createdAt")),
    ("ID", |deployment| field(deployment, "/id")),
];

const SHOWN: &[Column] = &[
    ("NAME", |deployment| field(deployment, "/name")),
    ("COHORT", |deployment| field(deployment, "/cohortName")),
    ("SEQUENCE", |deployment| field(deployment, "/sequence")),
    ("STATE", active),
    ("BY", |deployment| field(deployment, "/author")),
    ("CREATED", |deployment| {
        format!(
            "{} ({})",
            ago(deployment, "/createdAt"),
            field(deployment, "/createdAt")
        )
    }),
    ("ID", |deployment| field(deployment, "/id")),
];

const WAITED: &[Column] = &[
    ("NAME", |result| field(result, "/name")),
    ("SEQUENCE", |result| field(result, "/sequence")),
    ("PACKAGES", set),
    ("OUTCOME", |result| field(result, "/outcome")),
    ("DONE", |result| field(result, "/progress/done")),
    ("FAILED", |result| field(result, "/progress/failed")),
    ("DEVICES", |result| field(result, "/progress/devices")),
    ("WAITED", |result| {
        super::output::span(Duration::from_secs(result["waitedSeconds"].as_u64().unwrap_or(0)))
    }),
    ("ID", |result| field(result, "/id")),
];

/// Wider than the live bar: there are no words beside it but these.
const SHOWN_CELLS: u64 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_shown_with_the_glyph_of_each_change_and_every_state() {
        let deployment = json!({"artifacts": [
            {"package": "assets", "version": "7", "change": "unchanged", "size": 10, "sha256": "00"},
            {"package": "main", "version": "1.4.0", "change": "upgraded", "size": 2048, "sha256": "ff"},
        ]});
        assert_eq!(
            table(packages(&deployment, false)),
            "PACKAGE  VERSION  SIZE     SHA-256\n\
             assets   7 –      10 B     00\n\
             main     1.4.0 ↑  2.0 KiB  ff\n"
        );
        assert_eq!(set(&deployment), "assets@7 main@1.4.0");
        let answer = json!({
            "pending": 1, "notified": 0, "downloading": 0, "downloaded": 0, "updating": 0, "done": 3, "failed": 0,
            "bytesServed": 4096,
        });
        let shown = Progress::of(&answer).map(|progress| how_far(&progress, &answer, true, false));
        let shown = shown.unwrap_or_default();
        assert!(
            shown.starts_with(
                "[██████████████████████████████          ] 3 of 4 devices done, 4.0 KiB served\n"
            ),
            "{shown}"
        );
        for state in State::ALL {
            assert!(shown.contains(&format!("\n{}", state.as_str())), "{shown}");
        }
        assert_eq!(
            how_far(&Progress::default(), &answer, true, false),
            "the cohort has no devices\n"
        );
        let superseded = how_far(&Progress::default(), &answer, false, false);
        assert_eq!(superseded, "no device was counted\n");
    }

    #[test]
    fn devices_that_failed_are_named_with_why_and_those_that_are_not_are_counted() {
        let failing: Vec<Failing> = ["lamp-1", "lamp-2"]
            .map(|device| Failing {
                device: device.to_owned(),
                package: "main".to_owned(),
                reason: "io-error".to_owned(),
            })
            .to_vec();
        let failed = |devices: u64| {
            let answer = json!({
                "pending": 0, "notified": 0, "downloading": 0, "downloaded": 0, "updating": 0, "done": 3,
                "failed": devices,
            });
            Progress::of(&answer).map(|progress| failures(&failing, &progress))
        };
        let named = "\nFAILED  PACKAGE  REASON\nlamp-1  main     io-error\nlamp-2  main     io-error\n";
        assert_eq!(failed(2).as_deref(), Some(named));
        let more = format!("{named}and 3 others: tessera device list --state failed --cohort COHORT\n");
        assert_eq!(failed(5), Some(more));
        assert_eq!(failures(&[], &Progress::default()), "");
    }
}
