//! `tessera deploy`: what would change, a question where it matters, then the deployment.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, OK, ServerArgs, package_version};
use super::cohort::glyph;
use super::deployment::{self, CREATED};
use super::failure::{Failure, NAME_TAKEN};
use super::output::{Output, bytes, confirm_by_typing, count, field, print, rfc3339, say, span};
use super::rollout::Limits;
use crate::clock;

/// Arguments of `tessera deploy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 not allowed, 5 somebody else deployed meanwhile, 6 the rollout failed: a \
device did (more than --fail-if allows), or --timeout was over. A deployment goes on when the wait for it ends.")]
pub struct DeployArgs {
    /// The cohort, by name or id
    cohort: String,
    /// A version to deploy; the set is exactly what is given
    #[arg(
        short,
        long = "package",
        value_name = "PACKAGE@VERSION",
        value_parser = package_version,
        required = true
    )]
    packages: Vec<(String, String)>,
    /// What to call the deployment; the time where there is no name
    #[arg(long)]
    name: Option<String>,
    /// Show what would change and create nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, whatever is removed or goes back
    #[arg(short, long)]
    yes: bool,
    /// Wait until every device of the cohort is done or has failed, through restarts of the gateway
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    server: ServerArgs,
}

/// Deploys.
pub fn run(args: DeployArgs) -> Result<(), Failure> {
    if args.limits.is_any() && !args.wait {
        return Err(Failure::Usage(
            "--timeout and --fail-if say what ends the wait of --wait, which is missing".to_owned(),
        ));
    }
    let client = Client::new(&args.server)?;
    let cohort = client.cohort(&args.cohort)?;
    let cohort_name = field(&cohort, "/name");
    let path = format!("cohorts/{}/deployments", field(&cohort, "/id"));
    let artifacts: Vec<Value> = args
        .packages
        .iter()
        .map(|(package, version)| json!({ "package": package, "version": version }))
        .collect();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => default_name(&rfc3339(clock::unix_ms() / 1000)?),
    };
    let mut order = json!({
        "name": name,
        "artifacts": artifacts,
        // The review below is of this set against this one: a deployment that comes between is a conflict.
        "expectedActiveDeploymentId": cohort.pointer("/activeDeployment/id"),
    });

    let preview_path = format!("{path}:preview");
    let preview = match &args.name {
        Some(_) => client.post(&preview_path, &order)?,
        None => under_a_free_name(&client, &preview_path, &mut order)?,
    };
    let cautions = cautions(&client, &preview_path, &preview)?;
    if args.dry_run {
        match args.server.output {
            Output::Table => print(&review(&preview)),
            Output::Json | Output::Ndjson => args.server.output.one(&preview, &[]),
        }
        if !cautions.is_empty() {
            say(&format!(
                "the deployment {}: asks for a confirmation on a terminal, and for --yes elsewhere",
                listed(&cautions)
            ));
        }
        return Ok(());
    }
    say(review(&preview).trim_end());
    confirm(&cautions, &cohort_name, args.yes)?;
    let made = client.post_once(&path, &order)?;
    if args.wait {
        return deployment::wait(client, &made, &cohort_name, &args.limits, args.server.output);
    }
    args.server.output.one(&made, CREATED);
    Ok(())
}

/// The preview of an order that nobody has given a name: two in a second would have the same.
pub fn under_a_free_name(client: &Client, preview_path: &str, order: &mut Value) -> Result<Value, Failure> {
    let name = field(order, "/name");
    let mut number = 1;
    loop {
        match client.post(preview_path, order) {
            Err(Failure::Refused(problem)) if problem.kind == NAME_TAKEN && number < NAMES_TRIED => {
                number += 1;
                order["name"] = format!("{name} ({number})").into();
            }
            answer => return answer,
        }
    }
}

/// The name of a deployment that was given none. Names are unique, and a rollback has the packages of an earlier
/// deployment, which are shown beside the name anyway: so it is the time, to the second.
pub fn default_name(rfc3339: &str) -> String {
    rfc3339.replace('T', " ")
}

/// Names that are tried for a deployment that was given none: more than a script makes of one cohort in a second.
const NAMES_TRIED: u32 = 100;

fn review(preview: &Value) -> String {
    let mut lines = Vec::new();
    let each = |kind: &str| preview["changes"][kind].as_array().cloned().unwrap_or_default();
    for added in each("added") {
        lines.push(format!(
            "  + {} {}",
            field(&added, "/package"),
            field(&added, "/version")
        ));
    }
    for changed in each("changed") {
        let (glyph, _) = glyph(changed["change"].as_str().unwrap_or_default());
        lines.push(format!(
            "  {glyph} {} {} → {}",
            field(&changed, "/package"),
            field(&changed, "/from"),
            field(&changed, "/to"),
        ));
    }
    for removed in each("removed") {
        lines.push(format!(
            "  ✕ {} {} is removed",
            field(&removed, "/package"),
            field(&removed, "/version")
        ));
    }
    for unchanged in each("unchanged") {
        lines.push(format!(
            "  – {} {}",
            field(&unchanged, "/package"),
            field(&unchanged, "/version")
        ));
    }
    let same = |kind: &str| preview["changes"][kind].as_array().is_none_or(Vec::is_empty);
    if ["added", "changed", "removed"].into_iter().all(same) {
        lines.push("  nothing changes: this is what the cohort has already".to_owned());
    }
    lines.push(format!(
        "  {}, {} online; {} each, {} in all",
        count(preview["devices"].as_u64().unwrap_or(0), "device"),
        field(preview, "/online"),
        bytes(preview["bytesPerDevice"].as_u64().unwrap_or(0)),
        bytes(preview["bytesTotal"].as_u64().unwrap_or(0)),
    ));
    lines.push(format!("  {}", estimated(preview)));
    for finding in preview["lint"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  ! {}: {}",
            field(finding, "/rule"),
            field(finding, "/message")
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// How long it may take, and how that is known.
fn estimated(preview: &Value) -> String {
    let basis = field(preview, "/estimateBasis");
    let seconds = |name: &str| preview["estimate"][name].as_u64().map(Duration::from_secs);
    match (seconds("halfSeconds"), seconds("mostSeconds")) {
        (Some(half), Some(most)) => format!(
            "estimated time: {} for half of the devices that are online, {} for 95 %; {basis}",
            span(half),
            span(most)
        ),
        _ => format!("estimated time: {basis}"),
    }
}

/// What the deployment does that is to be confirmed, as the preview says; nothing where nothing is.
///
/// # Errors
/// The server says nothing about it: nobody must be let through by that.
fn cautions(client: &Client, path: &str, preview: &Value) -> Result<Vec<String>, Failure> {
    let Some(cautions) = preview["cautions"].as_array() else {
        return Err(client.strange(path, OK, "a preview that does not say what to confirm"));
    };
    Ok(cautions
        .iter()
        .map(|caution| field(caution, "/message"))
        .collect())
}

/// Asks where there is something to confirm.
fn confirm(cautions: &[String], cohort: &str, yes: bool) -> Result<(), Failure> {
    if cautions.is_empty() || yes {
        return Ok(());
    }
    confirm_by_typing(
        &format!("the deployment {}", listed(cautions)),
        ("the cohort's name", cohort),
        "nothing was deployed",
    )
}

/// `a`, `a and b`, `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_shows_each_change_and_what_it_costs() {
        let preview = json!({
            "changes": {
                "added": [{ "package": "assets", "version": "7" }],
                "changed": [{ "package": "main", "from": "1.1.0", "to": "1.0.0", "change": "downgraded" }],
                "removed": [{ "package": "modem", "version": "3" }],
                "unchanged": [{ "package": "boot", "version": "2" }],
            },
            "devices": 25, "online": 24, "bytesPerDevice": 262_144, "bytesTotal": 6_553_600,
            "lint": [{ "rule": "components", "severity": "confirm", "message": "too many" }],
            "estimate": { "halfSeconds": 41, "mostSeconds": 150 },
            "estimateBasis": "as 25 devices took \"spring\" (#2)",
        });
        assert_eq!(
            review(&preview),
            "  + assets 7\n  ↓ main 1.1.0 → 1.0.0\n  ✕ modem 3 is removed\n  – boot 2\n  \
             25 devices, 24 online; 256.0 KiB each, 6.2 MiB in all\n  \
             estimated time: 41 s for half of the devices that are online, 2 min 30 s for 95 %; as 25 devices took \
             \"spring\" (#2)\n  ! components: too many\n"
        );
    }

    #[test]
    fn a_review_without_a_change_says_so() {
        let preview = json!({
            "changes": { "unchanged": [{ "package": "boot", "version": "2" }] },
            "devices": 1, "online": 1, "bytesPerDevice": 0, "bytesTotal": 0,
            "estimate": null, "estimateBasis": "nothing to download",
        });
        assert_eq!(
            review(&preview),
            "  – boot 2\n  nothing changes: this is what the cohort has already\n  \
             1 device, 1 online; 0 B each, 0 B in all\n  estimated time: nothing to download\n"
        );
    }

    #[test]
    fn reasons_are_listed_as_a_sentence_has_them() {
        let parts = ["a", "b", "c"].map(str::to_owned);
        for (so_many, text) in [(0, ""), (1, "a"), (2, "a and b"), (3, "a, b and c")] {
            assert_eq!(listed(&parts[..so_many]), text);
        }
    }

    #[test]
    fn a_name_is_the_time() {
        assert_eq!(default_name("2026-11-24T01:50:00Z"), "2026-11-24 01:50:00Z");
    }
}
