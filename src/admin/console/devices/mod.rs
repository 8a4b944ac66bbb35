//! Devices: which there are, what many of them are told at once, and one of them from near.
//!
//! 1. [`list`]: a page of those that a filter finds; the filter is the address.
//! 2. [`change`]: what will follow for those that were chosen, and then that.
//! 3. [`create`] one, or [`import`] many from a file; [`once`]: what is shown of that only once.
//! 4. [`show`]: a device, with its [`timeline`]; [`act`]: what its buttons do; [`keys`]: its credentials.

mod act;
mod change;
mod create;
mod import;
mod keys;
mod list;
mod once;
mod show;
mod timeline;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;

pub use once::Kept;

use super::above;
use super::form::Fields;
use super::visitor::Visitor;
use crate::admin::AdminState;
use crate::admin::devices::Filter;
use crate::admin::problem::Problem;
use crate::control::DeviceQuery;
use crate::fleet::{CohortId, Project};

/// The routes, below a project.
pub fn routes() -> Router<AdminState> {
    Router::new()
        .route("/devices", get(list::show))
        .route("/devices/change", get(change::look).post(change::carry_out))
        .route("/devices/new", get(create::form).post(create::create))
        .route(
            "/devices/import",
            get(import::form)
                .post(import::import)
                // The file has a bound of its own, and so has each field before it.
                .layer(DefaultBodyLimit::disable()),
        )
        .route("/devices/import/{result}", get(import::result))
        .route("/devices/import/{result}/lines", get(import::lines))
        .route("/devices/{device}", get(show::show))
        .route("/devices/{device}/enable", get(above::<1>).post(act::enable))
        .route("/devices/{device}/tags", get(above::<1>).post(act::tags))
        .route("/devices/{device}/push", get(above::<1>).post(act::push))
        .route("/devices/{device}/delete", get(above::<1>).post(act::delete))
        .route("/devices/{device}/credentials", get(above::<1>).post(keys::add))
        .route(
            "/devices/{device}/credentials/{credential}/retire",
            get(above::<3>).post(keys::retire),
        )
}

/// Which devices an address, or a form, asks for: those that are all of what is given.
#[derive(Debug, Clone, Default)]
pub struct Sieve {
    /// With what the name begins.
    pub search: String,
    /// An id, or a name, or [`NO_COHORT`].
    pub cohort: String,
    /// One that it has.
    pub tag: String,
    /// `true`, or `false`.
    pub online: String,
    /// Where it stands with its cohort's deployment.
    pub state: String,
    /// What it runs: `package@version`.
    pub version: String,
}

impl Sieve {
    /// As an address or a form has it.
    pub fn of(fields: &Fields) -> Sieve {
        let field = |name| fields.text(name).to_owned();
        Sieve {
            search: field("search"),
            cohort: field("cohort"),
            tag: field("tag"),
            online: field("online"),
            state: field("state"),
            version: field("version"),
        }
    }

    /// Whether it lets everything through.
    pub fn is_open(&self) -> bool {
        self.pairs().all(|(_, value)| value.is_empty())
    }

    /// What is asked of the fleet.
    ///
    /// # Errors
    /// What is given cannot be.
    pub fn query(&self, project: &Project) -> Result<DeviceQuery, Problem> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let filter = Filter {
            name: None,
            cohort: match self.cohort.as_str() {
                NO_COHORT => Some(String::new()),
                other => given(other),
            },
            tag: given(&self.tag),
            search: given(&self.search),
            online: given(&self.online),
            state: given(&self.state),
            version: given(&self.version),
        };
        filter.query(project)
    }

    /// As the console's own addresses have it.
    pub fn address(&self) -> String {
        serialized(self.pairs().filter(|(_, value)| !value.is_empty()))
    }

    /// As the API's addresses have it.
    pub fn api_address(&self) -> String {
        let pairs = self.pairs().filter(|(_, value)| !value.is_empty());
        serialized(pairs.map(|(name, value)| match (name, value) {
            ("cohort", NO_COHORT) => (name, ""),
            pair => pair,
        }))
    }

    /// In words, each with what it is called.
    fn words(&self, project: &Project) -> Vec<(&'static str, String)> {
        let mut words = Vec::new();
        for (name, value) in self.pairs().filter(|(_, value)| !value.is_empty()) {
            words.push(match name {
                "search" => ("Name begins with", value.to_owned()),
                "cohort" => match value {
                    NO_COHORT => ("Cohort", "none".to_owned()),
                    named => ("Cohort", cohort_name(project, named)),
                },
                "tag" => ("Tag", value.to_owned()),
                "online" => match value {
                    "true" => ("Connected", "yes".to_owned()),
                    _ => ("Connected", "no".to_owned()),
                },
                "state" => ("State", value.to_owned()),
                _ => ("Runs", value.to_owned()),
            });
        }
        words
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("search", self.search.as_str()),
            ("cohort", &self.cohort),
            ("tag", &self.tag),
            ("online", &self.online),
            ("state", &self.state),
            ("version", &self.version),
        ]
        .into_iter()
    }
}

/// A cohort, to be chosen.
#[derive(Debug, Clone)]
pub struct CohortChoice {
    id: CohortId,
    name: String,
    devices: u64,
}

impl CohortChoice {
    /// Whether it is the one of this id or name.
    fn is(&self, named: &str) -> bool {
        self.id.to_string() == named || self.name == named
    }
}

/// The cohorts to choose from, by name. There may be more than a list of them can have: then its id or name is typed.
fn cohort_choices(project: &Project) -> Vec<CohortChoice> {
    let mut choices: Vec<_> = project
        .cohorts
        .values()
        .map(|cohort| CohortChoice {
            id: cohort.id,
            name: cohort.name.to_string(),
            devices: cohort.devices,
        })
        .collect();
    choices.sort_by(|one, other| one.name.cmp(&other.name));
    choices.truncate(CHOICES);
    choices
}

/// The name of the cohort with this id or name, or else just that.
fn cohort_name(project: &Project, named: &str) -> String {
    project
        .find_cohort(named)
        .map_or_else(|| named.to_owned(), |cohort| cohort.name.to_string())
}

fn serialized<'n, 'v>(pairs: impl Iterator<Item = (&'n str, &'v str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// The address of the list, as a filter has it.
fn list_path(visitor: &Visitor, sieve: &Sieve) -> String {
    match sieve.address().as_str() {
        "" => visitor.path("/devices"),
        query => visitor.path(&format!("/devices?{query}")),
    }
}

/// What stands for no cohort in an address: an empty value there is any.
const NO_COHORT: &str = "none";
/// Cohorts in a list to choose from: a reasoned guess at what somebody scrolls through.
const CHOICES: usize = 200;
