//! The deploy wizard: which versions, then what that would change, then it starts.
//!
//! 1. [`show`], name and packages: from the active set, or with `?from=` from that of another deployment (Roll back).
//! 2. [`show`] with `step=review`: what it would change, by the same preview as the API's. Both steps are in the address: they
//!    change nothing, and reloading or going back loses nothing.
//! 3. [`start`]: makes the deployment, once for each review however often it is sent, and only if what is active is what was
//!    reviewed. Then on to the deployment's page.

mod choice;

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::form::{Fields, Form};
use super::page::{self, Frame, Notice, Refused, Section};
use super::show::counted;
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::clock;
use crate::control::{Before, Claim, ControlError, Expected, KeptAnswer, OnceKey, Preview, View};
use crate::fleet::{
    Actor, Cohort, DeployedArtifact, Deployment, DeploymentId, DeploymentOrder, Digest, Direction,
    MANIFEST_LIMIT, PackageName, Project, Refusal, Role, Severity,
};
use choice::{Choice, Row, Wrong};

#[derive(Template)]
#[template(path = "deploy.html", config = "src/admin/console/askama.toml")]
struct ChoosePage {
    frame: Frame,
    cohort: String,
    cohort_href: String,
    action: String,
    /// The active deployment as of this page.
    seen: String,
    name: String,
    rows: Vec<Row>,
    addable: Vec<String>,
    add: String,
    wrong: Wrong,
    origin: Option<Origin>,
    moved: Option<Moved>,
    /// Whether there is a version of anything.
    any_version: bool,
}

/// The deployment whose set a page starts from, where that is not the active one.
struct Origin {
    name: String,
    sequence: u32,
    /// Of another cohort.
    cohort: Option<String>,
}

#[derive(Template)]
#[template(path = "deploy_review.html", config = "src/admin/console/askama.toml")]
struct ReviewPage {
    frame: Frame,
    cohort: String,
    cohort_href: String,
    action: String,
    back: String,
    fields: Vec<(String, String)>,
    expected: String,
    token: String,
    name: String,
    groups: Vec<Group>,
    nothing: bool,
    devices: u64,
    online: u64,
    bytes_per_device: u64,
    bytes_total: u64,
    manifest_bytes: usize,
    manifest_limit: usize,
    estimate: Option<Expected>,
    /// By what the time is estimated, or why it is not.
    estimate_basis: String,
    findings: Vec<Finding>,
    cautions: Vec<&'static str>,
    confirm: String,
    confirm_wrong: bool,
    moved: Option<Moved>,
    again: bool,
}

/// The packages to which the same happens.
struct Group {
    name: &'static str,
    lines: Vec<Line>,
}

/// What happens to a package.
struct Line {
    glyph: &'static str,
    class: &'static str,
    package: String,
    from: Option<String>,
    to: Option<String>,
    /// What a device downloads for it.
    bytes: u64,
}

/// Something that a device would choke on.
struct Finding {
    rule: &'static str,
    grave: bool,
    message: String,
}

/// What was deployed since a page was made.
struct Moved {
    name: String,
    sequence: u32,
    author: String,
    at_ms: i64,
    /// How many others before it.
    others: Option<String>,
    /// Whether something was to be started, and was not.
    refused: bool,
}

/// What a review is shown with.
#[derive(Default)]
struct Told {
    status: StatusCode,
    moved: Option<Moved>,
    /// What was typed to confirm, where that was not what it had to be.
    unconfirmed: Option<String>,
    /// The review was used before, with something else in it.
    again: bool,
}

/// `GET /projects/{project}/cohorts/{cohort}/deploy`.
pub async fn show(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, cohort)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    visitor.may(Role::Deploy)?;
    let wizard = Wizard::open(&visitor, &state, &cohort)?;
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let Some(seen) = fields.given("seen") else {
        return wizard.begin(fields.given("from"));
    };
    let mut choice = Choice::read(&fields);
    if let Some(package) = fields.given("add") {
        let wrong = Wrong {
            add: choice
                .add(wizard.project()?, package)
                .err()
                .map(|refusal| refusal.to_string()),
            ..Wrong::default()
        };
        return wizard.choose(&choice, wrong, None, package);
    }
    if fields.text("step") != "review" {
        return wizard.choose(&choice, Wrong::default(), None, "");
    }
    let told = Told {
        moved: seen_before(seen).and_then(|seen| wizard.moved(seen, false)),
        ..Told::default()
    };
    wizard.review(&choice, told).await
}

/// `POST /projects/{project}/cohorts/{cohort}/deploy`.
pub async fn start(
    State(state): State<AdminState>,
    Path((_, cohort)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Deploy)?;
    let choice = Choice::read(&fields);
    let expected = expected(&fields)?;
    // The first order of a review makes it stale: whether it came before is asked before anything else.
    let claim = match before(&state, key(&visitor, &cohort, &fields)?).await? {
        Before::New(claim) => claim,
        Before::Answered(kept) => return Ok(made_before(&visitor, &kept)),
        Before::AnswerLost => {
            let wizard = Wizard::open(&visitor, &state, &cohort)?;
            return Ok(wizard.find_made(&choice.name));
        }
        Before::Other => {
            let told = Told {
                again: true,
                ..Told::default()
            };
            let wizard = Wizard::open(&visitor, &state, &cohort)?;
            return wizard.review(&choice, told).await;
        }
        Before::UnderWay => {
            return Err(Problem::same_key(
                "idempotency-key-in-use",
                "this deployment is being started, and that takes longer than it should; the cohort's page shows when it is there",
            )
            .into());
        }
    };
    let wizard = Wizard::open(&visitor, &state, &cohort)?;
    let order = match choice.order(wizard.project()?, wizard.cohort.id) {
        Ok(order) => DeploymentOrder {
            expected_active: Some(expected),
            ..order
        },
        Err(wrong) => return wizard.choose(&choice, wrong, wizard.moved(expected, true), ""),
    };
    let preview = match state.control.preview_deployment(visitor.project, &order).await {
        Ok(preview) => preview,
        Err(error) => return wizard.not_started(&choice, expected, error).await,
    };
    let typed = fields.text("confirm");
    if !preview.cautions.is_empty() && typed != wizard.cohort.name.as_str() {
        let told = Told {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            unconfirmed: Some(typed.to_owned()),
            ..Told::default()
        };
        return wizard.review_of(&choice, &preview, told);
    }
    let made = match deploy(&state, claim, actor, &visitor, order).await? {
        Ok(made) => made,
        Err(error) => {
            // Somebody was quicker: what there is to say is in a later view.
            let wizard = Wizard::open(&visitor, &state, &cohort)?;
            return wizard.not_started(&choice, expected, error).await;
        }
    };
    let devices = counted(preview.devices, "device", "devices");
    let said = format!(
        "Deployment “{}” (#{}) started for {devices}.",
        made.name, made.sequence
    );
    visitor.notify(&state, Notice::done(said));
    Ok(Redirect::to(&deployment_path(&visitor, made.id)).into_response())
}

/// The wizard for a cohort, as of one view.
struct Wizard<'a> {
    visitor: &'a Visitor,
    state: &'a AdminState,
    view: Arc<View>,
    cohort: Arc<Cohort>,
}

impl<'a> Wizard<'a> {
    fn open(visitor: &'a Visitor, state: &'a AdminState, cohort: &str) -> Result<Self, Refused> {
        let view = Arc::clone(&state.control.view());
        let cohort = Arc::clone(view.in_project(visitor.project)?.require_cohort_named(cohort)?);
        Ok(Wizard {
            visitor,
            state,
            view,
            cohort,
        })
    }

    fn project(&self) -> Result<&Arc<Project>, Refused> {
        Ok(self.view.in_project(self.visitor.project)?)
    }

    fn action(&self) -> String {
        self.visitor.path(&format!("/cohorts/{}/deploy", self.cohort.id))
    }

    /// The first step before anything was chosen.
    fn begin(&self, from: Option<&str>) -> Result<Response, Refused> {
        let now_ms = clock::unix_ms();
        let Some(from) = from else {
            let set = self.cohort.active().map_or(&[][..], |active| &active.artifacts);
            let choice = Choice::of_set(&self.cohort, set, now_ms);
            return self.choose(&choice, Wrong::default(), None, "");
        };
        let project = self.project()?;
        let found = from.parse().ok().and_then(|id| project.deployment(id));
        let Some((cohort, deployment)) = found else {
            return Err(Problem::not_found(format!(
                "there is no deployment {from:?} to start from; the cohort's page lists those there are"
            ))
            .into());
        };
        let choice = match cohort.id == self.cohort.id {
            true => Choice::back_to(cohort, deployment),
            false => Choice::of_set(&self.cohort, &deployment.artifacts, now_ms),
        };
        let mut page = self.choose_page(&choice, Wrong::default(), None, "")?;
        page.origin = Some(Origin {
            name: deployment.name.to_string(),
            sequence: deployment.sequence.get(),
            cohort: (cohort.id != self.cohort.id).then(|| cohort.name.to_string()),
        });
        Ok(page::html(&page))
    }

    /// The first step, as it was filled in.
    fn choose(
        &self,
        choice: &Choice,
        wrong: Wrong,
        moved: Option<Moved>,
        add: &str,
    ) -> Result<Response, Refused> {
        let add = if wrong.add.is_some() { add } else { "" };
        let is_wrong = !wrong.is_empty();
        let page = self.choose_page(choice, wrong, moved, add)?;
        Ok(if is_wrong {
            page::html_unprocessable(&page)
        } else {
            page::html(&page)
        })
    }

    fn choose_page(
        &self,
        choice: &Choice,
        wrong: Wrong,
        moved: Option<Moved>,
        add: &str,
    ) -> Result<ChoosePage, Refused> {
        let project = self.project()?;
        let rows = choice.rows(project, self.cohort.active().map(AsRef::as_ref), &wrong);
        let is_shown = |name: &PackageName| rows.iter().any(|row| row.package == name.as_str());
        let addable = project.packages.keys().filter(|name| !is_shown(name));
        Ok(ChoosePage {
            frame: self.visitor.frame(
                self.state,
                Section::Cohorts,
                format!("Deploy to {}", self.cohort.name),
            ),
            cohort: self.cohort.name.to_string(),
            cohort_href: self.visitor.path(&format!("/cohorts/{}", self.cohort.id)),
            action: self.action(),
            seen: seen(self.cohort.active()),
            name: choice.name.clone(),
            addable: addable.take(ADDABLE_SHOWN).map(ToString::to_string).collect(),
            add: add.to_owned(),
            origin: None,
            any_version: project
                .packages
                .values()
                .any(|package| !package.artifacts.is_empty()),
            rows,
            wrong,
            moved,
        })
    }

    /// The second step.
    async fn review(&self, choice: &Choice, told: Told) -> Result<Response, Refused> {
        let order = match choice.order(self.project()?, self.cohort.id) {
            Ok(order) => order,
            Err(wrong) => return self.choose(choice, wrong, told.moved, ""),
        };
        let control = &self.state.control;
        match control.preview_deployment(self.visitor.project, &order).await {
            Ok(preview) => self.review_of(choice, &preview, told),
            Err(ControlError::Refused(refusal)) => self.choose(choice, Wrong::of(refusal)?, told.moved, ""),
            Err(error) => Err(error.into()),
        }
    }

    fn review_of(&self, choice: &Choice, preview: &Preview, told: Told) -> Result<Response, Refused> {
        let expected = preview.active.as_ref().map(|active| active.id.to_string());
        let fields = choice.fields();
        let back = form_urlencoded::Serializer::new(String::new())
            .append_pair("seen", &seen(preview.active.as_ref()))
            .extend_pairs(&fields)
            .finish();
        let difference = &preview.difference;
        let page = ReviewPage {
            frame: self.visitor.frame(
                self.state,
                Section::Cohorts,
                format!("Review: {}", self.cohort.name),
            ),
            cohort: self.cohort.name.to_string(),
            cohort_href: self.visitor.path(&format!("/cohorts/{}", self.cohort.id)),
            action: self.action(),
            back: format!("{}?{back}", self.action()),
            fields,
            expected: expected.unwrap_or_default(),
            token: token(),
            name: choice.name.clone(),
            groups: groups(preview),
            nothing: difference.is_empty(),
            devices: preview.devices,
            online: preview.online,
            bytes_per_device: preview.bytes_per_device,
            bytes_total: preview.bytes_total,
            manifest_bytes: preview.manifest.cbor.len(),
            manifest_limit: MANIFEST_LIMIT,
            estimate: preview.estimate.known().cloned(),
            estimate_basis: preview.estimate.to_string(),
            findings: preview.lint.iter().map(Finding::of).collect(),
            cautions: preview.cautions.iter().map(|caution| caution.effect()).collect(),
            confirm_wrong: told.unconfirmed.is_some(),
            confirm: told.unconfirmed.unwrap_or_default(),
            moved: told.moved,
            again: told.again,
        };
        Ok(page::html_with(told.status, &page))
    }

    /// A page that says why nothing was started, with everything kept.
    async fn not_started(
        &self,
        choice: &Choice,
        expected: Option<DeploymentId>,
        error: ControlError,
    ) -> Result<Response, Refused> {
        match error {
            ControlError::Refused(Refusal::Stale { .. }) => {
                let told = Told {
                    status: StatusCode::CONFLICT,
                    moved: self.moved(expected, true),
                    ..Told::default()
                };
                self.review(choice, told).await
            }
            ControlError::Refused(refusal) => {
                self.choose(choice, Wrong::of(refusal)?, self.moved(expected, true), "")
            }
            error @ (ControlError::Upload(_)
            | ControlError::StoreFailed(_)
            | ControlError::TooManyUploads(_)
            | ControlError::TooManyOwnUploads(..)
            | ControlError::ShuttingDown) => Err(error.into()),
        }
    }

    /// What was deployed since `seen` was active, if anything.
    fn moved(&self, seen: Option<DeploymentId>, refused: bool) -> Option<Moved> {
        let mut since = self
            .cohort
            .newest_first()
            .take_while(|made| Some(made.id) != seen);
        let newest = since.next()?;
        let others = since.count() as u64;
        Some(Moved {
            name: newest.name.to_string(),
            sequence: newest.sequence.get(),
            author: newest.author.clone(),
            at_ms: newest.created_ms,
            others: (others > 0).then(|| counted(others, "other", "others")),
            refused,
        })
    }

    /// Where a deployment is that was made by a process that ended before it could say so: names are unique in a cohort.
    fn find_made(&self, name: &str) -> Response {
        let mut made = self.cohort.newest_first();
        let path = match made.find(|deployment| deployment.name.as_str() == name) {
            Some(deployment) => deployment_path(self.visitor, deployment.id),
            None => self.visitor.path(&format!("/cohorts/{}", self.cohort.id)),
        };
        Redirect::to(&path).into_response()
    }
}

impl Finding {
    fn of(finding: &crate::fleet::Finding) -> Finding {
        Finding {
            rule: finding.rule,
            grave: match finding.severity {
                Severity::Warning => false,
                Severity::Confirm => true,
            },
            message: finding.message.clone(),
        }
    }
}

/// Makes the deployment, in a task of its own: a browser that goes away does not end it half-way.
async fn deploy(
    state: &AdminState,
    claim: Claim,
    actor: Actor,
    visitor: &Visitor,
    order: DeploymentOrder,
) -> Result<Result<Arc<Deployment>, ControlError>, Refused> {
    let (control, project) = (state.control.clone(), visitor.project);
    let made = tokio::spawn(async move {
        let made = claim
            .carry_out(control.create_deployment(&actor, project, order))
            .await;
        let kept = made.as_ref().ok().map(|made| KeptAnswer {
            status: StatusCode::SEE_OTHER.as_u16(),
            body: made.id.to_string().into_bytes(),
        });
        if let Err(error) = claim.answered(kept).await {
            // It is found by its name then.
            warn!(
                error = &error as &dyn std::error::Error,
                "what a review led to could not be kept"
            );
        }
        made
    });
    made.await.map_err(|_| {
        Problem::unavailable("the request ended by itself; the cohort's page shows whether it took effect")
            .into()
    })
}

/// What became of a review's order before; one that is being carried out is waited for, as a second click finds it so.
async fn before(state: &AdminState, key: OnceKey) -> Result<Before, ControlError> {
    for _ in 0..LOOKS {
        match state.control.once(key).await? {
            Before::UnderWay => tokio::time::sleep(BETWEEN_LOOKS).await,
            known @ (Before::New(_) | Before::Other | Before::Answered(_) | Before::AnswerLost) => {
                return Ok(known);
            }
        }
    }
    Ok(Before::UnderWay)
}

/// The names of a review and of what is in it. What was typed to confirm is no part of it.
fn key(visitor: &Visitor, cohort: &str, fields: &Fields) -> Result<OnceKey, Refused> {
    let Some(token) = fields.given("token") else {
        return Err(Problem::malformed(
            "the form does not say which review it is of; open the wizard again. Nothing was started",
        )
        .into());
    };
    let scope = Sha256::new()
        .chain_update("review")
        .chain_update(visitor.project.get().to_be_bytes())
        .chain_update(visitor.key.id.get().to_be_bytes())
        .chain_update(token);
    let mut request = Sha256::new();
    let mut part = |text: &str| {
        request.update((text.len() as u64).to_be_bytes());
        request.update(text);
    };
    part(cohort);
    part(fields.text(EXPECTED));
    for (name, value) in Choice::read(fields).fields() {
        part(&name);
        part(&value);
    }
    Ok(OnceKey {
        by: visitor.key.id,
        scope: Digest(scope.finalize().into()),
        request: Digest(request.finalize().into()),
    })
}

fn made_before(visitor: &Visitor, kept: &KeptAnswer) -> Response {
    let id = String::from_utf8_lossy(&kept.body);
    Redirect::to(&visitor.path(&format!("/deployments/{id}"))).into_response()
}

fn deployment_path(visitor: &Visitor, id: DeploymentId) -> String {
    visitor.path(&format!("/deployments/{id}"))
}

/// A name for a review that nobody guesses.
fn token() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    data_encoding::BASE64URL_NOPAD.encode(&bytes)
}

/// What was active when the review was made.
fn expected(fields: &Fields) -> Result<Option<DeploymentId>, Refused> {
    match fields.text(EXPECTED) {
        "" => Ok(None),
        id => id.parse().map(Some).map_err(Refused::from),
    }
}

/// The active deployment as a page of the first step remembers it.
fn seen(active: Option<&Arc<Deployment>>) -> String {
    active.map_or_else(|| NONE.to_owned(), |active| active.id.to_string())
}

/// What a page of the first step remembers, if it can be read.
fn seen_before(text: &str) -> Option<Option<DeploymentId>> {
    match text {
        NONE => Some(None),
        id => id.parse().ok().map(Some),
    }
}

/// What changes, then what does not.
fn groups(preview: &Preview) -> Vec<Group> {
    let difference = &preview.difference;
    let line = |glyph, class, artifact: &DeployedArtifact| Line {
        glyph,
        class,
        package: artifact.package.to_string(),
        from: None,
        to: None,
        bytes: artifact.size.get(),
    };
    let added = difference.added.iter().map(|artifact| Line {
        to: Some(artifact.version.to_string()),
        ..line("+", "added", artifact)
    });
    let changed = difference.changed.iter().map(|changed| {
        let (glyph, class) = match changed.direction {
            Direction::Upgrade => ("↑", "upgrade"),
            Direction::Downgrade => ("↓", "downgrade"),
        };
        Line {
            from: Some(changed.from.version.to_string()),
            to: Some(changed.to.version.to_string()),
            ..line(glyph, class, &changed.to)
        }
    });
    let removed = difference.removed.iter().map(|artifact| Line {
        from: Some(artifact.version.to_string()),
        bytes: 0,
        ..line("✕", "removed", artifact)
    });
    let unchanged = difference.unchanged.iter().map(|artifact| Line {
        from: Some(artifact.version.to_string()),
        to: Some(artifact.version.to_string()),
        bytes: 0,
        ..line("–", "unchanged", artifact)
    });
    let groups = [
        ("Added", added.collect::<Vec<_>>()),
        ("Changed", changed.collect()),
        ("Removed", removed.collect()),
        ("Unchanged", unchanged.collect()),
    ];
    groups
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(name, lines)| Group { name, lines })
        .collect()
}

const EXPECTED: &str = "expectedActiveDeploymentId";
/// A cohort without a deployment.
const NONE: &str = "none";
/// How often an order that is being carried out is looked at, and how long it is left alone in between: five seconds in all,
/// many times what a commit takes.
const LOOKS: usize = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Packages suggested to be added; any other one can be typed.
const ADDABLE_SHOWN: usize = 200;
