//! `tessera deploy`: what would change, a question where it matters, then the deployment.

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs, package_version};
use super::cohort::glyph;
use super::failure::Failure;
use super::output::{Column, Output, ago, bytes, confirm_by_typing, field, print, rfc3339, say};
use crate::clock;

/// Arguments of `tessera deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The cohort's name
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
    #[command(flatten)]
    server: ServerArgs,
}

/// Deploys.
pub fn run(args: DeployArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let cohort = client.named("cohort", "cohorts", &args.cohort)?;
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
    let order = json!({
        "name": name,
        "artifacts": artifacts,
        // The review below is of this set against this one: a deployment that comes between is a conflict.
        "expectedActiveDeploymentId": cohort.pointer("/activeDeployment/id"),
    });

    let preview = client.post(&format!("{path}:preview"), &order)?;
    if args.dry_run {
        match args.server.output {
            Output::Table => print(&review(&preview)),
            Output::Json | Output::Ndjson => args.server.output.one(&preview, &[]),
        }
        return Ok(());
    }
    say(review(&preview).trim_end());
    confirm(&preview, &args)?;
    args.server
        .output
        .one(&client.post_once(&path, &order)?, DEPLOYMENT);
    Ok(())
}

/// The name of a deployment that was given none. Names are unique, and a rollback has the packages of an earlier
/// deployment, which are shown beside the name anyway: so it is the time, to the second.
pub fn default_name(rfc3339: &str) -> String {
    rfc3339.replace('T', " ")
}

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
    let devices = preview["devices"].as_u64().unwrap_or(0);
    lines.push(format!(
        "  {devices} device{}, {} online; {} each, {} in all",
        if devices == 1 { "" } else { "s" },
        field(preview, "/online"),
        bytes(preview["bytesPerDevice"].as_u64().unwrap_or(0)),
        bytes(preview["bytesTotal"].as_u64().unwrap_or(0)),
    ));
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

/// Asks where the deployment goes back, removes something, or would be rejected by a stock device.
fn confirm(preview: &Value, args: &DeployArgs) -> Result<(), Failure> {
    let reasons = grave(preview);
    if reasons.is_empty() || args.yes {
        return Ok(());
    }
    let reasons = reasons.join(", ");
    confirm_by_typing(
        &format!("the deployment {reasons}"),
        ("the cohort's name", &args.cohort),
        "nothing was deployed",
    )
}

fn grave(preview: &Value) -> Vec<&'static str> {
    let changes = &preview["changes"];
    let is_empty = |kind: &str| changes[kind].as_array().is_none_or(Vec::is_empty);
    let downgrades = changes["changed"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|one| one["change"] == "downgraded");
    let rejected = preview["lint"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|one| one["severity"] == "confirm");
    let mut reasons = Vec::new();
    if downgrades {
        reasons.push("goes back to an older version");
    }
    if !is_empty("removed") {
        reasons.push("removes a package");
    }
    if rejected {
        reasons.push("would be rejected by a stock device");
    }
    reasons
}

const DEPLOYMENT: &[Column] = &[
    ("NAME", |deployment| field(deployment, "/name")),
    ("SEQUENCE", |deployment| field(deployment, "/sequence")),
    ("PACKAGES", |deployment| {
        let artifacts = deployment["artifacts"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let shown: Vec<String> = artifacts
            .iter()
            .map(|artifact| format!("{}@{}", field(artifact, "/package"), field(artifact, "/version")))
            .collect();
        shown.join(" ")
    }),
    ("BY", |deployment| field(deployment, "/author")),
    ("CREATED", |deployment| ago(deployment, "/createdAt")),
    ("ID", |deployment| field(deployment, "/id")),
];

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
        });
        assert_eq!(
            review(&preview),
            "  + assets 7\n  ↓ main 1.1.0 → 1.0.0\n  ✕ modem 3 is removed\n  – boot 2\n  \
             25 devices, 24 online; 256.0 KiB each, 6.2 MiB in all\n  ! components: too many\n"
        );
        assert_eq!(grave(&preview).len(), 3);
    }

    #[test]
    fn a_review_without_a_change_says_so() {
        let preview = json!({
            "changes": { "unchanged": [{ "package": "boot", "version": "2" }] },
            "devices": 1, "online": 1, "bytesPerDevice": 0, "bytesTotal": 0,
        });
        assert_eq!(
            review(&preview),
            "  – boot 2\n  nothing changes: this is what the cohort has already\n  \
             1 device, 1 online; 0 B each, 0 B in all\n"
        );
    }

    #[test]
    fn a_name_is_the_time() {
        assert_eq!(default_name("2026-11-24T01:50:00Z"), "2026-11-24 01:50:00Z");
    }
}
