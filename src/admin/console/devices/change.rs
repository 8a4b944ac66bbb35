//! Many devices changed in the same way: first what will follow, then that, if it is confirmed.
//!
//! 1. The list sends which devices (those chosen, or all that its filter finds) and what to do. What is missing is asked for.
//! 2. Each of them is looked at, without changing anything, and the page says what will follow.
//! 3. What is confirmed is looked at again, whole: a sequence number that would fall for somebody, of which nothing was said,
//!    brings the page back. Then it is done, whether somebody waits for it or not.

use std::collections::HashSet;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::super::form::{Fields, Form};
use super::super::page::{self, Frame, Notice, Refused, Section};
use super::super::show::{Bytes, Count, counted};
use super::super::visitor::Visitor;
use super::super::wrong::Wrongs;
use super::{CHOICES, CohortChoice, Sieve, cohort_choices, list_path};
use crate::admin::AdminState;
use crate::admin::bulk::{DEVICES_NAMED, Devices, Done, Order};
use crate::admin::problem::{FieldError, Problem};
use crate::control::{DevicePatch, DeviceQuery, MovePreview};
use crate::fleet::{DeviceId, Project, Role, SequenceGoesBack, Tag};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Assign,
    Leave,
    Tag,
    Untag,
    Enable,
    Disable,
}

/// What a form, or the address of a page, asks for.
struct Asked {
    action: Action,
    cohort: String,
    tag: String,
    /// All that the filter finds, and not those that are named.
    all: bool,
    named: Vec<String>,
    sieve: Sieve,
}

#[derive(Template)]
#[template(path = "device_change.html", config = "src/admin/console/askama.toml")]
struct ChangePage {
    frame: Frame,
    asked: Asked,
    wrong: Wrongs,
    /// Which devices, in words.
    words: Vec<(&'static str, String)>,
    names: Vec<String>,
    more_names: u64,
    cohorts: Vec<CohortChoice>,
    cohort_is_typed: bool,
    follows: Option<Follows>,
    cancel: String,
}

/// What will follow.
struct Follows {
    lines: Vec<String>,
    /// What the button says; none where nothing would change.
    confirm: Option<String>,
    /// More devices match than were looked at.
    more: bool,
    back: Vec<SequenceGoesBack>,
    more_back: u64,
    /// Where the same set is deployed anew.
    anew: Option<String>,
}

/// `GET /projects/{project}/devices/change`.
pub async fn look(
    visitor: Visitor,
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    visitor.may(Role::Deploy)?;
    let asked = Asked::of(&Fields::parse(query.unwrap_or_default().as_bytes()))?;
    if !asked.all && asked.named.is_empty() {
        let text = "No device was chosen. Choose some, or all that match, and then what to do with them.";
        visitor.notify(&state, Notice::wrong(text));
        return Ok(Redirect::to(&list_path(&visitor, &asked.sieve)).into_response());
    }
    show(&visitor, &state, asked, StatusCode::OK).await
}

/// `POST /projects/{project}/devices/change`.
pub async fn carry_out(State(state): State<AdminState>, form: Form) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Deploy)?;
    let asked = Asked::of(&fields)?;
    let order = {
        let view = state.control.view();
        asked.order(&visitor, view.in_project(visitor.project)?)
    };
    let Ok(Some(mut order)) = order else {
        return show(&visitor, &state, asked, StatusCode::UNPROCESSABLE_ENTITY).await;
    };
    order.patch.allow_sequence_back = fields.given("allow-back").is_some();
    let (preview, ids) = match order.look(&state).await {
        Ok(looked) => looked,
        // Something that was chosen is gone meanwhile: the page comes back and says what.
        Err(problem) if problem.status().is_client_error() => {
            return show(&visitor, &state, asked, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
        Err(problem) => return Err(problem.into()),
    };
    if !preview.back.is_empty() && !order.patch.allow_sequence_back {
        return show(&visitor, &state, asked, StatusCode::CONFLICT).await;
    }
    let only = match ids.as_slice() {
        [only] if !asked.all => Some(*only),
        _ => None,
    };
    let done = order.carry_out(&state, actor, ids).await?;
    for notice in asked.told(&preview, &done) {
        visitor.notify(&state, notice);
    }
    let next = match only {
        Some(id) => visitor.path(&format!("/devices/{id}")),
        None => list_path(&visitor, &asked.sieve),
    };
    Ok(Redirect::to(&next).into_response())
}

async fn show(
    visitor: &Visitor,
    state: &AdminState,
    mut asked: Asked,
    status: StatusCode,
) -> Result<Response, Refused> {
    let names = asked.names(visitor, state).await?;
    let mut wrong = Wrongs::default();
    if let Some(gone) = asked.leave_out_gone(&names) {
        wrong.and(Wrongs::at_field("", gone));
    }
    let frame = visitor.frame(state, Section::Devices, asked.action.title());
    let (order, words, cohorts, cohort_is_typed) = {
        let view = state.control.view();
        let project = view.in_project(visitor.project)?;
        (
            asked.order(visitor, project),
            asked.sieve.words(project),
            cohort_choices(project),
            project.cohorts.len() > CHOICES,
        )
    };
    let mut page = ChangePage {
        more_names: names.len().saturating_sub(NAMES_SHOWN) as u64,
        names: names
            .into_iter()
            .take(NAMES_SHOWN)
            .map(|(_, name)| name)
            .collect(),
        words,
        cohorts,
        cohort_is_typed,
        cancel: list_path(visitor, &asked.sieve),
        asked,
        frame,
        wrong,
        follows: None,
    };
    match order {
        Ok(None) => {}
        Ok(Some(order)) => match order.look_at(state, LOOKED_AT).await {
            Ok((preview, _, more)) => page.follows = Some(page.asked.follows(visitor, preview, more)),
            Err(problem) => page.wrong.and(Wrongs::of(&problem, &[])),
        },
        Err(wrong) => page.wrong.and(wrong),
    }
    Ok(match page.wrong.is_empty() {
        true => page::html_with(status, &page),
        false => page::html_unprocessable(&page),
    })
}

impl Asked {
    fn of(fields: &Fields) -> Result<Asked, Problem> {
        Ok(Asked {
            action: Action::parse(fields.text("action"))?,
            cohort: fields.text("cohort").to_owned(),
            tag: fields.text("tag").to_owned(),
            all: fields.given("all").is_some(),
            named: fields
                .all("device")
                .filter(|named| !named.is_empty())
                .map(str::to_owned)
                .collect(),
            sieve: Sieve::of(&Fields::parse(fields.text("filter").as_bytes())),
        })
    }

    /// What is to be done, unless something of it has not been said yet.
    fn order(&self, visitor: &Visitor, project: &Project) -> Result<Option<Order>, Wrongs> {
        let mut patch = DevicePatch::default();
        match self.action {
            Action::Assign if self.cohort.is_empty() => return Ok(None),
            Action::Tag | Action::Untag if self.tag.is_empty() => return Ok(None),
            Action::Assign => {
                let found = project.require_cohort_named(&self.cohort);
                let cohort = found.map_err(|refusal| Wrongs::at_field("cohort", refusal.to_string()))?;
                patch.cohort = Some(Some(cohort.id));
            }
            Action::Leave => patch.cohort = Some(None),
            Action::Tag | Action::Untag => {
                let tag = Tag::parse(&self.tag).map_err(|invalid| {
                    Wrongs::of(
                        &Problem::fields(vec![FieldError::invalid("tag", &invalid)]),
                        &["tag"],
                    )
                })?;
                match self.action == Action::Tag {
                    true => patch.add_tags.push(tag),
                    false => patch.remove_tags.push(tag),
                }
            }
            Action::Enable => patch.enabled = Some(true),
            Action::Disable => patch.enabled = Some(false),
        }
        let devices = match self.all {
            true => {
                let query = self.sieve.query(project);
                Devices::Found(Box::new(query.map_err(|problem| Wrongs::of(&problem, &[]))?))
            }
            false => Devices::named(self.named.clone(), "all that a filter finds")
                .map_err(|problem| Wrongs::of(&problem, &[]))?,
        };
        Ok(Some(Order {
            project: visitor.project,
            devices,
            patch,
        }))
    }

    /// Those that were chosen one by one and are there, with their names.
    async fn names(&self, visitor: &Visitor, state: &AdminState) -> Result<Vec<(DeviceId, String)>, Refused> {
        let ids: Vec<DeviceId> = self.named.iter().filter_map(|text| text.parse().ok()).collect();
        if self.all || ids.is_empty() || ids.len() > DEVICES_NAMED {
            return Ok(Vec::new());
        }
        let query = DeviceQuery {
            among: Some(ids),
            limit: DEVICES_NAMED,
            ..DeviceQuery::default()
        };
        let found = state.control.devices(visitor.project, &query).await?;
        let devices = found.devices.iter().map(|record| &record.device);
        Ok(devices
            .map(|device| (device.id, device.name.to_string()))
            .collect())
    }

    /// Leaves out those of the chosen that are there no more, and says which, so that the rest can be done.
    fn leave_out_gone(&mut self, there: &[(DeviceId, String)]) -> Option<String> {
        if self.all || self.named.len() > DEVICES_NAMED {
            return None;
        }
        let there: HashSet<DeviceId> = there.iter().map(|(id, _)| *id).collect();
        let is_gone = |text: &String| text.parse().is_ok_and(|id: DeviceId| !there.contains(&id));
        let gone: Vec<String> = self.named.extract_if(.., |text| is_gone(text)).collect();
        let (first, more) = gone.split_at(gone.len().min(REFUSED_SHOWN));
        let more = match more.len() as u64 {
            0 => String::new(),
            more => format!(" and {} more", Count(more)),
        };
        (!gone.is_empty()).then(|| {
            format!(
                "{} chosen and there no more: {}{more}. Left out below. Nothing was changed yet.",
                counted(gone.len() as u64, "device was", "devices were"),
                first.join(", ")
            )
        })
    }

    fn follows(&self, visitor: &Visitor, preview: MovePreview, more: bool) -> Follows {
        let lines = self.lines(&preview);
        let all = match more {
            true => "all that match".to_owned(),
            false => counted(preview.changing, "device", "devices"),
        };
        let to = preview.to.as_ref();
        let confirm = match self.action {
            Action::Assign => {
                let cohort = to.map_or("the cohort", |to| to.name.as_str());
                format!("Put {all} in {cohort}")
            }
            Action::Leave => format!("Take {all} out of their cohort"),
            Action::Tag => format!("Tag {all}"),
            Action::Untag => format!("Remove the tag from {all}"),
            Action::Enable => format!("Enable {all}"),
            Action::Disable => format!("Disable {all}"),
        };
        Follows {
            lines,
            confirm: (preview.changing > 0 || more).then_some(confirm),
            more,
            anew: to.map(|to| visitor.path(&format!("/cohorts/{}/deploy", to.id))),
            more_back: preview.more_back,
            back: preview.back,
        }
    }

    /// What will follow, in sentences.
    fn lines(&self, preview: &MovePreview) -> Vec<String> {
        let devices = |count| counted(count, "device", "devices");
        if preview.devices == 0 {
            return vec!["No device is like that.".to_owned()];
        }
        let mut lines = Vec::new();
        let (changing, same) = (preview.changing, preview.devices - preview.changing);
        let (one, ones) = (changing == 1, same == 1);
        let pick = |single, many| if one { single } else { many };
        let already = match self.action {
            Action::Assign => {
                let cohort = preview.to.as_ref().map_or("", |to| to.name.as_str());
                if let Some(line) = joining(preview, cohort) {
                    lines.push(line);
                }
                if preview.bytes_total > 0 {
                    lines.push(format!(
                        "Up to {} for each to download, {} in all.",
                        Bytes(preview.bytes_per_device),
                        Bytes(preview.bytes_total)
                    ));
                }
                if ones {
                    "is there already"
                } else {
                    "are there already"
                }
            }
            Action::Leave => {
                if changing > 0 {
                    lines.push(format!(
                        "{} {} cohort. Nothing is pushed: {} it when {} next {}, and {} running what {}.",
                        devices(changing),
                        pick("leaves its", "leave their"),
                        pick("it learns", "they learn"),
                        pick("it", "they"),
                        pick("asks", "ask"),
                        pick("keeps", "keep"),
                        pick("it runs", "they run"),
                    ));
                }
                if ones {
                    "is in no cohort"
                } else {
                    "are in no cohort"
                }
            }
            Action::Tag => {
                if changing > 0 {
                    let gets = pick("gets", "get");
                    lines.push(format!("{} {gets} the tag {}.", devices(changing), self.tag));
                }
                if ones { "has it already" } else { "have it already" }
            }
            Action::Untag => {
                if changing > 0 {
                    let loses = pick("loses", "lose");
                    lines.push(format!("{} {loses} the tag {}.", devices(changing), self.tag));
                }
                if ones {
                    "does not have it"
                } else {
                    "do not have it"
                }
            }
            Action::Enable => {
                if changing > 0 {
                    lines.push(format!(
                        "{} may connect again, and {} so with the next attempt.",
                        devices(changing),
                        pick("does", "do")
                    ));
                }
                if ones {
                    "is enabled already"
                } else {
                    "are enabled already"
                }
            }
            Action::Disable => {
                if changing > 0 {
                    lines.push(format!(
                        "{} may not connect any more: {} handshakes are refused, as those of an unknown identity.",
                        devices(changing),
                        pick("its", "their")
                    ));
                    lines.push(match preview.connected {
                        0 => "None of them is connected.".to_owned(),
                        online => format!(
                            "{} at once, and with {} whatever is under way.",
                            counted(online, "live session ends", "live sessions end"),
                            if online == 1 { "it" } else { "them" }
                        ),
                    });
                }
                if ones {
                    "is disabled already"
                } else {
                    "are disabled already"
                }
            }
        };
        if same > 0 {
            lines.push(format!("{} {already}: nothing changes there.", devices(same)));
        }
        lines
    }

    /// What was done.
    fn told(&self, preview: &MovePreview, done: &Done) -> Vec<Notice> {
        let devices = |count| counted(count, "device", "devices");
        let changed = devices(done.changed);
        let what = match self.action {
            Action::Assign => {
                let cohort = preview.to.as_ref().map_or("the cohort", |to| to.name.as_str());
                match done.online {
                    0 => format!("Put {changed} in {cohort}."),
                    online if preview.deployment().is_some() => {
                        format!("Put {changed} in {cohort}; {} told at once.", Count(online))
                    }
                    _ => format!("Put {changed} in {cohort}, to which nothing was deployed yet."),
                }
            }
            Action::Leave => format!("Took {changed} out of their cohort."),
            Action::Tag => format!("Tagged {changed} with {}.", self.tag),
            Action::Untag => format!("Removed the tag {} from {changed}.", self.tag),
            Action::Enable => format!("Enabled {changed}."),
            Action::Disable => format!("Disabled {changed}."),
        };
        let mut told = Vec::new();
        let refused = done.refused.len() as u64 + done.more_refused;
        if done.changed > 0 || refused == 0 {
            told.push(Notice::done(match done.unchanged {
                0 => what,
                same => format!("{what} {} as asked already.", counted(same, "was", "were")),
            }));
        }
        if refused > 0 {
            let first: Vec<String> = done
                .refused
                .iter()
                .take(REFUSED_SHOWN)
                .map(|(id, refusal)| format!("{id}: {refusal}"))
                .collect();
            let more = match refused.saturating_sub(first.len() as u64) {
                0 => String::new(),
                more => format!(" And {} more.", Count(more)),
            };
            let first = first.join(". ");
            told.push(Notice::wrong(format!(
                "{} not changed. {first}.{more}",
                counted(refused, "device was", "devices were")
            )));
        }
        told
    }
}

/// What joining a cohort does.
fn joining(preview: &MovePreview, cohort: &str) -> Option<String> {
    let (joining, online) = (preview.joining, preview.online);
    let join = counted(joining, "device joins", "devices join");
    Some(match (joining, preview.deployment()) {
        (0, _) => return None,
        (_, None) => format!("{join} {cohort}. Nothing was deployed to it yet, so nothing starts."),
        (_, Some(active)) => {
            let to = format!("the update to {} (#{})", active.name, active.sequence);
            match (online, joining) {
                (0, _) => format!(
                    "{join} {cohort}, and {to} starts when {}: none is online.",
                    if joining == 1 {
                        "it connects"
                    } else {
                        "they connect"
                    }
                ),
                (1, 1) => format!("{join} {cohort}, and {to} starts at once: it is online."),
                (online, _) if online == joining => {
                    format!("{join} {cohort}, and {to} starts at once: all of them are online.")
                }
                (online, _) => format!(
                    "{join} {cohort}, and {to} starts at once: {} online, the others when they connect.",
                    counted(online, "is", "are")
                ),
            }
        }
    })
}

impl Action {
    const ALL: [Action; 6] = [
        Action::Assign,
        Action::Leave,
        Action::Tag,
        Action::Untag,
        Action::Enable,
        Action::Disable,
    ];

    fn parse(text: &str) -> Result<Action, Problem> {
        let found = Action::ALL.into_iter().find(|action| action.word() == text);
        found.ok_or_else(|| {
            Problem::fields(vec![FieldError {
                field: "action".into(),
                detail: "there is nothing like that to do with devices".into(),
                value: Some(text.into()),
                accepted: Some("assign, leave, tag, untag, enable or disable".into()),
            }])
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::Leave => "leave",
            Self::Tag => "tag",
            Self::Untag => "untag",
            Self::Enable => "enable",
            Self::Disable => "disable",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Assign => "Put devices in a cohort",
            Self::Leave => "Take devices out of their cohort",
            Self::Tag => "Add a tag",
            Self::Untag => "Remove a tag",
            Self::Enable => "Enable devices",
            Self::Disable => "Disable devices",
        }
    }

    fn wants_cohort(self) -> bool {
        self == Self::Assign
    }

    fn wants_tag(self) -> bool {
        matches!(self, Self::Tag | Self::Untag)
    }

    fn is_grave(self) -> bool {
        self == Self::Disable
    }
}

/// Devices that are looked at for a page: so many that it comes at once. What is confirmed is looked at whole.
const LOOKED_AT: usize = 3000;
/// Chosen devices that are named: a page of the list.
const NAMES_SHOWN: usize = 50;
/// Refused devices that are named.
const REFUSED_SHOWN: usize = 5;
