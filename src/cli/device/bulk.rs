//! `tessera device assign`, `tag`, `enable`, `disable`: what will follow, a question where it matters, then the change.

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::super::client::{Client, ServerArgs};
use super::super::deploy::{default_name, under_a_free_name};
use super::super::failure::{Failure, Problem};
use super::super::output::{Column, Output, bytes, confirm_by_typing, field, rfc3339, say};
use crate::clock;

/// Which devices: those named, or those that a filter finds.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
pub struct Selection {
    /// Their names
    #[arg(group = "which", conflicts_with_all = ["tag", "from_cohort", "from_no_cohort"])]
    names: Vec<String>,
    /// Those with this tag
    #[arg(long, group = "which")]
    tag: Option<String>,
    /// Those of this cohort, by name or id
    #[arg(long, value_name = "COHORT", group = "which")]
    from_cohort: Option<String>,
    /// Those of no cohort
    #[arg(long, conflicts_with = "from_cohort", group = "which")]
    from_no_cohort: bool,
    /// Do not ask, whatever follows
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `tessera device assign`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true))]
pub struct AssignArgs {
    #[command(flatten)]
    selection: Selection,
    /// The cohort, by name or id
    #[arg(long, group = "where")]
    cohort: Option<String>,
    /// Take them out of their cohort
    #[arg(long, group = "where")]
    no_cohort: bool,
    /// Where a device would see the sequence number fall, deploy the same set anew first: to the whole cohort, and nobody
    /// downloads what they have
    #[arg(long, conflicts_with = "no_cohort")]
    redeploy: bool,
    /// Show what will follow and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Selection {
    /// What is asked of the API: this, and which devices.
    fn add_to(&self, mut body: Value) -> Value {
        if !self.names.is_empty() {
            body["devices"] = json!(self.names);
        }
        if let Some(tag) = &self.tag {
            body["tag"] = json!(tag);
        }
        if self.from_no_cohort {
            body["fromCohort"] = Value::Null;
        }
        if let Some(cohort) = &self.from_cohort {
            body["fromCohort"] = json!(cohort);
        }
        body
    }

    /// Whether they are found by a filter: how many they are may come as a surprise.
    fn is_filter(&self) -> bool {
        self.names.is_empty()
    }
}

/// Assigns.
pub fn assign(args: AssignArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let mut body = args.selection.add_to(json!({ "cohort": args.cohort }));
    let preview = client.post("devices:updatePreview", &body)?;
    if args.dry_run {
        match args.server.output {
            Output::Table => super::super::output::print(&format!("{}\n", what_follows(&preview))),
            Output::Json | Output::Ndjson => args.server.output.one(&preview, &[]),
        }
        return Ok(());
    }
    say(&what_follows(&preview));
    let falls = !preview["lint"].as_array().is_none_or(Vec::is_empty);
    let mut reasons = Vec::new();
    if falls && !args.redeploy {
        reasons.push(FALLS.to_owned());
    }
    let moved = number(&preview, "joining") + number(&preview, "leaving");
    if args.selection.is_filter() && moved > 0 {
        reasons.push(format!("is of {} that a filter found", devices(moved)));
    }
    if !reasons.is_empty() && !args.selection.yes {
        let word = match &args.cohort {
            Some(cohort) => ("the cohort's name", cohort.as_str()),
            None => ("yes", "yes"),
        };
        let what = format!("the move {}", reasons.join(" and "));
        confirm_by_typing(&what, word, "nothing was moved")?;
    }
    if falls && args.redeploy {
        redeploy(&client, &field(&preview, "/cohort/id"))?;
    } else if falls {
        body["allowSequenceBack"] = json!(true);
    }
    finish(&client, &body, &args.server)
}

/// Changes devices otherwise. `verb` is what the change does to them.
pub fn change(selection: &Selection, change: Value, verb: &str, server: &ServerArgs) -> Result<(), Failure> {
    let client = Client::new(server)?;
    let body = selection.add_to(change);
    if selection.is_filter() && !selection.yes {
        let preview = client.post("devices:updatePreview", &body)?;
        let what = format!("this {verb} {}", devices(number(&preview, "devices")));
        confirm_by_typing(&what, ("yes", "yes"), "nothing was changed")?;
    }
    finish(&client, &body, server)
}

fn finish(client: &Client, body: &Value, server: &ServerArgs) -> Result<(), Failure> {
    let done = client.post("devices:update", body)?;
    server.output.one(&done, DONE);
    let refused = done["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
    for one in refused {
        let problem: Problem = serde_json::from_value(one.clone()).unwrap_or_default();
        say(&format!("{}: {}", field(one, "/device"), problem.summary()));
    }
    match refused.len() as u64 + number(&done, "moreRefused") {
        0 => Ok(()),
        failed => Err(Failure::Failed(format!(
            "{failed} of {} were not changed",
            devices(number(&done, "devices"))
        ))),
    }
}

/// Deploys what a cohort has once more, under a number that no device has seen.
fn redeploy(client: &Client, cohort: &str) -> Result<(), Failure> {
    let path = format!("cohorts/{cohort}");
    let active = client.get(&path)?["activeDeployment"].take();
    let artifacts: Vec<Value> = active["artifacts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|artifact| json!({ "package": artifact["package"], "version": artifact["version"] }))
        .collect();
    let mut order = json!({
        "name": default_name(&rfc3339(clock::unix_ms() / 1000)?),
        "artifacts": artifacts,
        "expectedActiveDeploymentId": active["id"],
    });
    let path = format!("{path}/deployments");
    under_a_free_name(client, &format!("{path}:preview"), &mut order)?;
    let made = client.post_once(&path, &order)?;
    say(&format!(
        "deployed the same set as {:?}, sequence {}",
        field(&made, "/name"),
        field(&made, "/sequence")
    ));
    Ok(())
}

/// What a move does, before it does it.
fn what_follows(preview: &Value) -> String {
    let mut lines = Vec::new();
    let (joining, online) = (number(preview, "joining"), number(preview, "online"));
    let cohort = field(preview, "/cohort/name");
    if joining > 0 {
        let deployment = &preview["deployment"];
        lines.push(match deployment.is_null() {
            true => format!(
                "adding {} to {cohort} starts nothing yet: nothing was deployed to it",
                devices(joining)
            ),
            false => format!(
                "adding {} to {cohort} starts the update to deployment '{}' (sequence {}) {}; up to {} each, {} in all",
                devices(joining),
                field(deployment, "/name"),
                field(deployment, "/sequence"),
                match (online, joining) {
                    (0, _) => "as soon as they connect".to_owned(),
                    (1, 1) => "at once".to_owned(),
                    (online, joining) if online == joining => format!("at once on all {online}"),
                    (online, _) => format!("at once on the {online} that are online"),
                },
                bytes(number(preview, "bytesPerDevice")),
                bytes(number(preview, "bytesTotal")),
            ),
        });
    }
    let leaving = number(preview, "leaving");
    if leaving > 0 {
        lines.push(match leaving {
            1 => "1 device leaves its cohort; nothing is pushed, it learns it when it next asks".to_owned(),
            n => {
                format!("{n} devices leave their cohort; nothing is pushed, they learn it when they next ask")
            }
        });
    }
    let unchanged = number(preview, "unchanged");
    if unchanged > 0 {
        lines.push(match unchanged {
            1 => "1 device is there already".to_owned(),
            n => format!("{n} devices are there already"),
        });
    }
    if number(preview, "devices") == 0 {
        lines.push("no device is like that".to_owned());
    }
    for finding in preview["lint"].as_array().into_iter().flatten() {
        let (rule, message) = (field(finding, "/rule"), field(finding, "/message"));
        lines.push(format!("  ! {rule}: {message}"));
    }
    let more = number(preview, "moreLint");
    if more > 0 {
        lines.push(format!("  ! and {more} more likewise"));
    }
    lines.join("\n")
}

fn number(answer: &Value, key: &str) -> u64 {
    answer[key].as_u64().unwrap_or(0)
}

fn devices(number: u64) -> String {
    match number {
        1 => "1 device".to_owned(),
        n => format!("{n} devices"),
    }
}

/// Both ways to go on, as one of them may be what nobody wanted.
const FALLS: &str = "makes devices see the sequence number fall (with --redeploy it does not: what the cohort has is deployed \
     anew first)";

const DONE: &[Column] = &[
    ("DEVICES", |done| field(done, "/devices")),
    ("CHANGED", |done| field(done, "/changed")),
    ("UNCHANGED", |done| field(done, "/unchanged")),
    ("JOINED", |done| field(done, "/joined")),
    ("UPDATING AT ONCE", |done| field(done, "/online")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_says_what_follows_before_it_is_done() {
        let preview = json!({
            "devices": 4, "joining": 3, "leaving": 0, "unchanged": 1, "online": 2,
            "cohort": {"id": "coh_1", "name": "lamps"},
            "deployment": {"name": "x", "sequence": 7}, "bytesPerDevice": 262_144, "bytesTotal": 786_432,
            "lint": [{"rule": "sequence-goes-back", "message": "device \"a\" was sent sequence number 9 …"}],
            "moreLint": 2,
        });
        assert_eq!(
            what_follows(&preview),
            "adding 3 devices to lamps starts the update to deployment 'x' (sequence 7) at once on the 2 that are online; \
             up to 256.0 KiB each, 768.0 KiB in all\n\
             1 device is there already\n  \
             ! sequence-goes-back: device \"a\" was sent sequence number 9 …\n  \
             ! and 2 more likewise"
        );
        let preview = json!({"devices": 2, "joining": 2, "cohort": {"name": "new"}, "deployment": null});
        assert_eq!(
            what_follows(&preview),
            "adding 2 devices to new starts nothing yet: nothing was deployed to it"
        );
        let preview = json!({"devices": 1, "leaving": 1, "cohort": null});
        assert!(what_follows(&preview).contains("nothing is pushed"));
        assert_eq!(what_follows(&json!({"devices": 0})), "no device is like that");
    }

    #[test]
    fn a_selection_says_which_devices() {
        let selection = |names: &[&str], from_no_cohort| Selection {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            tag: None,
            from_cohort: None,
            from_no_cohort,
            yes: false,
        };
        assert_eq!(
            selection(&["a", "b"], false).add_to(json!({"enabled": true})),
            json!({"enabled": true, "devices": ["a", "b"]})
        );
        let none = selection(&[], true);
        assert_eq!(none.add_to(json!({})), json!({"fromCohort": null}));
        assert!(none.is_filter());
    }
}
