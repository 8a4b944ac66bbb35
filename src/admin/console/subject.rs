//! What a line of the audit is about, by its name: whoever reads it knows names, and not ids.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use serde_json::Value;

use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::control::{AuditRecord, ControlError, DeviceQuery, View};
use crate::fleet::{CohortId, DeploymentId, DeviceId, KeyId, PackageName, Version};

/// What something was done to: its name, a link to it where it is still there, and its id.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "subject.html", config = "src/admin/console/askama.toml")]
pub struct Subject {
    name: String,
    href: Option<String>,
    id: Option<String>,
}

/// The template escapes what it shows.
impl askama::filters::HtmlSafe for Subject {}

impl Subject {
    /// What some lines are about. Devices are looked up, all at once; everything else is in memory, or in the line itself.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(
        visitor: &Visitor,
        state: &AdminState,
        records: &[AuditRecord],
    ) -> Result<Vec<Subject>, ControlError> {
        let ids: BTreeSet<DeviceId> = records.iter().filter_map(device).collect();
        let mut names = BTreeMap::new();
        if !ids.is_empty() {
            let query = DeviceQuery {
                limit: ids.len(),
                among: Some(ids.into_iter().collect()),
                ..DeviceQuery::default()
            };
            let found = state.control.devices(visitor.project, &query).await?;
            names.extend(
                found
                    .devices
                    .into_iter()
                    .map(|record| (record.device.id, record.device.name)),
            );
        }
        let view = state.control.view();
        let subject = |record: &AuditRecord| {
            let text = record.subject.as_str();
            let known = match device(record).and_then(|id| Some((id, names.get(&id)?))) {
                Some((id, name)) => {
                    let href = visitor.path(&format!("/devices/{id}"));
                    Some(Subject::there(text, name.to_string(), href))
                }
                None => Subject::known(visitor, &view, kind(record), text),
            };
            known.unwrap_or_else(|| Subject::gone(record))
        };
        Ok(records.iter().map(subject).collect())
    }

    /// The cohort, deployment, key, package or version of one that this text is for, if there is one. Which of these it may be is
    /// said by what was done and not by the text: a package may be called as the id of a key.
    pub fn known(visitor: &Visitor, view: &View, kind: &str, text: &str) -> Option<Subject> {
        let project = view.in_project(visitor.project).ok()?;
        match kind {
            "cohort" => {
                let id: CohortId = text.parse().ok()?;
                let name = project.cohort(id)?.name.to_string();
                let href = visitor.path(&format!("/cohorts/{id}"));
                Some(Subject::there(text, name, href))
            }
            "deployment" => {
                let id: DeploymentId = text.parse().ok()?;
                let name = project.deployment(id)?.1.name.to_string();
                let href = visitor.path(&format!("/deployments/{id}"));
                Some(Subject::there(text, name, href))
            }
            "key" | "session" => Some(Subject {
                name: view.key(text.parse::<KeyId>().ok()?)?.name.to_string(),
                href: None,
                id: Some(text.to_owned()),
            }),
            "package" | "artifact" => {
                let (package, version) = text
                    .split_once('@')
                    .map_or((text, None), |(package, version)| (package, Some(version)));
                let package = PackageName::parse(package).ok()?;
                let found = project.package(&package)?;
                if let Some(version) = version {
                    found.artifacts.get(&Version::parse(version).ok()?)?;
                }
                Some(Subject {
                    name: text.to_owned(),
                    href: Some(visitor.path(&format!("/packages/{package}"))),
                    id: None,
                })
            }
            _ => None,
        }
    }

    fn there(id: &str, name: String, href: String) -> Subject {
        Subject {
            name,
            href: Some(href),
            id: Some(id.to_owned()),
        }
    }

    /// By the name that the line remembers.
    fn gone(record: &AuditRecord) -> Subject {
        let sides = [&record.after, &record.before];
        let name = sides
            .into_iter()
            .find_map(|side| side.as_ref()?.get("name").and_then(Value::as_str));
        match name {
            Some(name) if name != record.subject => Subject {
                name: name.to_owned(),
                href: None,
                id: Some(record.subject.clone()),
            },
            Some(_) | None => Subject {
                name: record.subject.clone(),
                href: None,
                id: None,
            },
        }
    }

    /// The name alone.
    pub fn into_name(self) -> String {
        self.name
    }
}

/// What the line is about a thing of: the first word of what was done.
fn kind(record: &AuditRecord) -> &str {
    let action = record.action.as_str();
    action.split_once('.').map_or(action, |(kind, _)| kind)
}

/// The device that the line is about.
fn device(record: &AuditRecord) -> Option<DeviceId> {
    matches!(kind(record), "device" | "credential")
        .then(|| record.subject.parse().ok())
        .flatten()
}
