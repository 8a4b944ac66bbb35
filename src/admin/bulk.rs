//! `/devices:update` and `/devices:updatePreview`: many devices changed in the same way, and what will follow.
//!
//! 1. Which devices: those named, or those with a tag or of a cohort.
//! 2. A move is looked at whole before anything is changed: if a device would see the sequence number fall, and nothing was
//!    said about that, it is refused whole.
//! 3. Then some hundred devices a commit.

use std::collections::HashSet;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Deployer, Reader};
use super::body::{Body, present};
use super::devices::{cohort_in_body, not_in_both};
use super::problem::{FieldError, Problem, ProblemMember};
use super::shapes::{self, Answer};
use crate::control::{BACK_SHOWN, DevicePatch, DeviceQuery, DeviceRecord, MovePreview, go_on};
use crate::fleet::{
    Actor, DeploymentId, DeploymentName, DeviceId, DeviceName, ProjectId, Refusal, SequenceGoesBack, Tag,
};

/// The body of both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = BulkUpdate)]
pub struct Update {
    /// These, by id or name.
    #[schema(max_items = 1000)]
    devices: Option<Vec<String>>,
    /// Those with this tag.
    tag: Option<Tag>,
    /// Those of this cohort, by id or name; null: those of none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    from_cohort: Option<Option<String>>,
    /// The cohort to be in; null takes them out of theirs.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    cohort: Option<Option<String>>,
    #[serde(default)]
    add_tags: Vec<Tag>,
    #[serde(default)]
    remove_tags: Vec<Tag>,
    enabled: Option<bool>,
    /// A move to a cohort whose deployment is older than what a device was sent is meant.
    #[serde(default)]
    allow_sequence_back: bool,
}

/// What would follow.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BulkUpdatePreview)]
pub struct Preview {
    /// How many devices were looked at.
    devices: u64,
    /// Would join the cohort.
    joining: u64,
    /// Would be in no cohort any more.
    leaving: u64,
    /// Are there already.
    unchanged: u64,
    /// Would join, and are connected: their update starts at once.
    online: u64,
    /// Where they would go.
    #[schema(required)]
    cohort: Option<shapes::CohortRef>,
    /// What it deploys.
    #[schema(required)]
    deployment: Option<DeploymentRef>,
    /// The most that one of those that would join has to download.
    bytes_per_device: u64,
    /// What all of them have to download.
    bytes_total: u64,
    /// The first few that would see the sequence number fall.
    lint: Vec<shapes::SequenceBack>,
    more_lint: u64,
}

/// A deployment by its id, name and number.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeploymentRef {
    id: DeploymentId,
    name: DeploymentName,
    sequence: u32,
}

/// What became of the devices.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BulkUpdated)]
pub struct Updated {
    devices: u64,
    changed: u64,
    unchanged: u64,
    joined: u64,
    /// Joined, and are connected: their update has started.
    online: u64,
    /// The first few that see the sequence number fall.
    lint: Vec<shapes::SequenceBack>,
    more_lint: u64,
    /// The first few that were left as they are.
    refused: Vec<RefusedDevice>,
    more_refused: u64,
}

/// A device that was left as it is, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedDevice {
    device: DeviceId,
    #[serde(flatten)]
    problem: ProblemMember,
}

/// What will follow, without anything being changed.
pub async fn preview(
    State(state): State<AdminState>,
    reader: Reader,
    Body(body): Body<Update>,
) -> Result<Answer<Preview>, Problem> {
    let order = Order::read(&state, reader.project, body)?;
    let (preview, _) = order.look(&state).await?;
    Ok(Answer(shape(&preview)))
}

pub async fn update(
    State(state): State<AdminState>,
    deployer: Deployer,
    Body(body): Body<Update>,
) -> Result<Answer<Updated>, Problem> {
    let order = Order::read(&state, deployer.project, body)?;
    let (preview, ids) = order.look(&state).await?;
    if !preview.back.is_empty() && !order.patch.allow_sequence_back {
        return Err(Problem::sequence_back(&preview.back, preview.more_back));
    }
    let done = order.carry_out(&state, deployer.actor, ids).await?;
    let refused = done.refused.into_iter().map(|(device, refusal)| RefusedDevice {
        device,
        problem: Problem::from(refusal).member(),
    });
    Ok(Answer(Updated {
        devices: done.devices,
        changed: done.changed,
        unchanged: done.unchanged,
        joined: done.joined,
        online: done.online,
        lint: done.back.iter().map(shapes::sequence_back).collect(),
        more_lint: done.more_back,
        refused: refused.collect(),
        more_refused: done.more_refused,
    }))
}

/// What became of some devices.
#[derive(Debug, Default)]
pub struct Done {
    /// How many they were.
    pub devices: u64,
    /// Are other than before.
    pub changed: u64,
    /// Were like that already.
    pub unchanged: u64,
    /// Joined a cohort.
    pub joined: u64,
    /// Joined, and are connected: their update has begun.
    pub online: u64,
    /// See the sequence number fall, which was allowed: the first few.
    pub back: Vec<SequenceGoesBack>,
    /// How many more do.
    pub more_back: u64,
    /// Were refused, and why: the first few.
    pub refused: Vec<(DeviceId, Refusal)>,
    /// How many more were.
    pub more_refused: u64,
}

impl Done {
    /// For who has to be told that the rest was not done.
    fn so_far(&self) -> String {
        let refused = self.refused.len() as u64 + self.more_refused;
        let looked_at = self.changed + self.unchanged + refused;
        format!(
            "of {} devices {} had been changed by then and {} were not come to; asked for again, the rest is done",
            self.devices,
            self.changed,
            self.devices - looked_at,
        )
    }
}

/// Which devices, and what to do with them.
#[derive(Debug, Clone)]
pub struct Order {
    /// Their project.
    pub project: ProjectId,
    /// Which.
    pub devices: Devices,
    /// What to do with each.
    pub patch: DevicePatch,
}

/// Which devices.
#[derive(Debug, Clone)]
pub enum Devices {
    /// These, by id or name.
    Named(Vec<String>),
    /// Those that are like that.
    Found(Box<DeviceQuery>),
}

impl Devices {
    /// These, by id or name. `otherwise` is what there is for those that are too many.
    ///
    /// # Errors
    /// They are more than can be named at once.
    pub fn named(named: Vec<String>, otherwise: &str) -> Result<Devices, Problem> {
        if named.len() <= DEVICES_NAMED {
            return Ok(Devices::Named(named));
        }
        Err(Problem::fields(vec![FieldError {
            field: "/devices".into(),
            detail: "more devices than can be named at once".into(),
            value: Some(named.len().to_string()),
            accepted: Some(format!("up to {DEVICES_NAMED}, or {otherwise}")),
        }]))
    }
}

impl Order {
    fn read(state: &AdminState, project: ProjectId, body: Update) -> Result<Self, Problem> {
        let view = state.control.view();
        let tenant = view.in_project(project)?;
        let devices = match (body.devices, body.tag, body.from_cohort) {
            (Some(named), None, None) => Devices::named(named, "tag, or fromCohort")?,
            (None, None, None) => {
                let detail = "which devices is not said; accepted: devices (a list of names or ids), or tag, or fromCohort, or \
                              tag and fromCohort";
                return Err(Problem::fields(vec![FieldError::other("/devices", detail)]));
            }
            (Some(_), ..) => {
                let detail = "devices are named and looked for at once; accepted: either devices, or tag and fromCohort";
                return Err(Problem::fields(vec![FieldError::other("/devices", detail)]));
            }
            (None, tag, from) => {
                let cohort = match from {
                    None => None,
                    Some(None) => Some(None),
                    Some(Some(named)) => Some(Some(cohort_in_body(tenant, "/fromCohort", &named)?)),
                };
                Devices::Found(Box::new(DeviceQuery {
                    tag,
                    cohort,
                    ..DeviceQuery::default()
                }))
            }
        };
        let cohort = match body.cohort {
            None => None,
            Some(None) => Some(None),
            Some(Some(named)) => Some(Some(cohort_in_body(tenant, "/cohort", &named)?)),
        };
        let nothing = cohort.is_none()
            && body.enabled.is_none()
            && body.add_tags.is_empty()
            && body.remove_tags.is_empty();
        if nothing {
            let detail = "nothing is to be changed; accepted: cohort, addTags, removeTags, enabled";
            return Err(Problem::fields(vec![FieldError::other("the body", detail)]));
        }
        not_in_both(&body.add_tags, &body.remove_tags)?;
        Ok(Self {
            project,
            devices,
            patch: DevicePatch {
                cohort,
                tags: None,
                add_tags: body.add_tags,
                remove_tags: body.remove_tags,
                enabled: body.enabled,
                allow_sequence_back: body.allow_sequence_back,
            },
        })
    }

    /// Looks at each device once: what will follow, and which they are.
    pub async fn look(&self, state: &AdminState) -> Result<(MovePreview, Vec<DeviceId>), Problem> {
        let (preview, ids, _) = self.look_at(state, usize::MAX).await?;
        Ok((preview, ids))
    }

    /// Looks at no more devices than some hundred past `enough`. Says too whether there are more.
    pub async fn look_at(
        &self,
        state: &AdminState,
        enough: usize,
    ) -> Result<(MovePreview, Vec<DeviceId>, bool), Problem> {
        let to = match self.patch.cohort.flatten() {
            Some(id) => {
                let view = state.control.view();
                Some(view.in_project(self.project)?.require_cohort(id)?.clone())
            }
            None => None,
        };
        let mut preview = MovePreview::new(to);
        let mut ids = Vec::new();
        let mut look = |records: &[DeviceRecord]| {
            for record in records {
                preview.look(record, &self.patch);
                ids.push(record.device.id);
            }
            ids.len()
        };
        let mut more = false;
        match &self.devices {
            Devices::Named(names) => {
                look(&named(state, self.project, names).await?);
            }
            Devices::Found(query) => {
                let mut query = DeviceQuery {
                    after: None,
                    limit: DEVICES_AT_ONCE,
                    ..DeviceQuery::clone(query)
                };
                loop {
                    let page = state.control.devices(self.project, &query).await?;
                    let seen = look(&page.devices);
                    query.after = page.next;
                    more = query.after.is_some();
                    if !more || seen >= enough {
                        break;
                    }
                }
            }
        }
        Ok((preview, ids, more))
    }

    /// Changes these devices, some hundred in a commit. Whoever asked may go away: half of a fleet is not left as it was for that.
    ///
    /// # Errors
    /// The store fails, or the gateway ends; says what was done until then.
    pub async fn carry_out(
        self,
        state: &AdminState,
        actor: Actor,
        ids: Vec<DeviceId>,
    ) -> Result<Done, Problem> {
        let state = state.clone();
        let work = go_on(async move { self.change_all(&state, &actor, &ids).await });
        work.await
            .map_err(|_| Problem::unavailable("the gateway is ending; some devices may not be changed"))?
    }

    async fn change_all(&self, state: &AdminState, actor: &Actor, ids: &[DeviceId]) -> Result<Done, Problem> {
        let mut done = Done {
            devices: ids.len() as u64,
            ..Done::default()
        };
        for some in ids.chunks(DEVICES_AT_ONCE) {
            let updates = state
                .control
                .update_devices(actor, self.project, some.to_vec(), self.patch.clone())
                .await
                .map_err(|error| Problem::from(error).and(&done.so_far()))?;
            for (id, update) in some.iter().zip(updates) {
                match update {
                    Ok(update) => {
                        done.changed += u64::from(update.changed);
                        done.unchanged += u64::from(!update.changed);
                        done.joined += u64::from(update.joined);
                        let is_online = || state.control.entry(*id).is_some_and(|e| e.session().is_some());
                        done.online += u64::from(update.joined && is_online());
                        if let Some(back) = update.back {
                            match done.back.len() < BACK_SHOWN {
                                true => done.back.push(back),
                                false => done.more_back += 1,
                            }
                        }
                    }
                    Err(_) if done.refused.len() >= REFUSED_SHOWN => done.more_refused += 1,
                    Err(refusal) => done.refused.push((*id, refusal)),
                }
            }
        }
        Ok(done)
    }
}

/// The devices of these ids or names, each once; all of them or none.
async fn named(
    state: &AdminState,
    project: ProjectId,
    given: &[String],
) -> Result<Vec<DeviceRecord>, Problem> {
    let query = DeviceQuery {
        limit: DEVICES_NAMED,
        ..DeviceQuery::default()
    };
    let ids: Vec<DeviceId> = given.iter().filter_map(|text| text.parse().ok()).collect();
    let mut found = Vec::new();
    if !ids.is_empty() {
        let query = DeviceQuery {
            among: Some(ids),
            ..query.clone()
        };
        found = state.control.devices(project, &query).await?.devices;
    }
    let by_id: HashSet<String> = found.iter().map(|record| record.device.id.to_string()).collect();
    let others = given.iter().filter(|text| !by_id.contains(*text));
    let names: Vec<DeviceName> = others.filter_map(|text| DeviceName::parse(text).ok()).collect();
    if !names.is_empty() {
        let query = DeviceQuery {
            named: Some(names),
            ..query
        };
        found.extend(state.control.devices(project, &query).await?.devices);
    }
    found.sort_by_key(|record| record.device.id);
    found.dedup_by_key(|record| record.device.id);
    let there: HashSet<String> = found
        .iter()
        .flat_map(|record| [record.device.name.to_string(), record.device.id.to_string()])
        .collect();
    let missing = given
        .iter()
        .enumerate()
        .filter(|(_, text)| !there.contains(*text));
    let errors: Vec<_> = missing
        .take(MISSING_SHOWN)
        .map(|(at, text)| FieldError {
            field: format!("/devices/{at}"),
            detail: format!("there is no device {text:?}; nothing was changed"),
            value: Some(text.clone()),
            accepted: Some("the id or the name of a device".into()),
        })
        .collect();
    match errors.is_empty() {
        true => Ok(found),
        false => Err(Problem::unknown_references(errors)),
    }
}

fn shape(preview: &MovePreview) -> Preview {
    Preview {
        devices: preview.devices,
        joining: preview.joining,
        leaving: preview.leaving,
        unchanged: preview.unchanged,
        online: preview.online,
        cohort: preview.to.as_deref().map(shapes::cohort_ref),
        deployment: preview.deployment().map(|deployment| DeploymentRef {
            id: deployment.id,
            name: deployment.name.clone(),
            sequence: deployment.sequence.get(),
        }),
        bytes_per_device: preview.bytes_per_device,
        bytes_total: preview.bytes_total,
        lint: preview.back.iter().map(shapes::sequence_back).collect(),
        more_lint: preview.more_back,
    }
}

/// Devices of a commit: what the writer does in some ten milliseconds, so that nobody else waits for longer.
const DEVICES_AT_ONCE: usize = 500;
/// Devices that can be named in one body: their names fit into it.
pub const DEVICES_NAMED: usize = 1000;
/// Refused devices that an answer names: all of those that were named. A fleet that a filter found may be a million.
const REFUSED_SHOWN: usize = DEVICES_NAMED;
/// Missing devices that an answer names.
const MISSING_SHOWN: usize = 20;
