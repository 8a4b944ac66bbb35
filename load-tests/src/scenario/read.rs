//! From a text to a scenario: syntax, sections, sense, and what the command line changes.

use std::collections::{BTreeMap, BTreeSet};

use super::checked::{DEVICES_MAX, Draft};
use super::mistake::{Mistake, Mistakes};
use super::raw;
use super::reading::Reading;
use super::sense;
use super::{Image, ImageName, Kind, Scenario};

/// What the command line changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// So many devices in all: the kinds keep their proportions, and each at least one device.
    pub devices: Option<u32>,
    /// Another seed.
    pub seed: Option<u64>,
}

impl Overrides {
    /// As they were written: `--devices 1000`.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let devices = self.devices.map(|devices| format!("--devices {devices}"));
        let seed = self.seed.map(|seed| format!("--seed {seed}"));
        devices.into_iter().chain(seed).collect()
    }

    /// The same, and what of the file went with it.
    #[must_use]
    pub fn told_of(&self, scenario: &Scenario) -> Vec<String> {
        let stragglers = self
            .devices
            .filter(|_| scenario.stragglers > 0)
            .map(|_| format!("stragglers = {}", scenario.stragglers));
        self.told().into_iter().chain(stragglers).collect()
    }
}

/// A scenario, and what one would like to know of it before it is run.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The scenario.
    pub scenario: Scenario,
    /// What is allowed and most likely not meant, each in a line.
    pub warnings: Vec<Mistake>,
}

/// Reads a scenario.
///
/// # Errors
///
/// Every mistake, each with its place, the key, the value and what would be accepted.
pub fn read(text: &str, overrides: &Overrides) -> Result<Scenario, Mistakes> {
    check(text, overrides).map(|checked| checked.scenario)
}

/// The same, with the warnings.
///
/// # Errors
///
/// As [`read`].
pub fn check(text: &str, overrides: &Overrides) -> Result<Checked, Mistakes> {
    let mut syntax = Vec::new();
    let table = raw::parse(text, &mut syntax);
    let mut reading = Reading::default();
    let draft = Draft::of(&table, &mut reading);
    if syntax.is_empty() {
        sense::look(&draft, &mut reading);
    } else {
        // What cannot be read looks missing, and what was salvaged of its line means nothing.
        let lines: BTreeSet<Option<usize>> = syntax.iter().map(Mistake::line).collect();
        reading
            .mistakes
            .retain(|mistake| !mistake.is_missing() && !lines.contains(&mistake.line()));
    }
    let mut mistakes = syntax;
    mistakes.append(&mut reading.mistakes);
    let scenario = scenario(draft);
    match scenario {
        Some(mut scenario) if mistakes.is_empty() => match overridden(&mut scenario, overrides) {
            None => Ok(Checked {
                scenario,
                warnings: reading.warnings,
            }),
            Some(mistake) => Err(Mistakes::new(vec![mistake])),
        },
        _ => Err(Mistakes::new(mistakes)),
    }
}

fn scenario(draft: Draft<'_>) -> Option<Scenario> {
    let images = draft
        .images
        .into_iter()
        .map(|(name, image)| Some((name, image.read?)));
    let images: Option<BTreeMap<ImageName, Image>> = images.collect();
    Some(Scenario {
        name: draft.name?,
        about: draft.about?.trim().to_owned(),
        seed: draft.seed?,
        stop_after: draft.stop_after?,
        linger: draft.linger?,
        stragglers: draft.stragglers?,
        gateway: draft.gateway?,
        images: images?,
        cohorts: draft
            .cohorts
            .into_iter()
            .map(|cohort| cohort.read)
            .collect::<Option<_>>()?,
        kinds: draft
            .kinds
            .into_iter()
            .map(|kind| kind.read)
            .collect::<Option<_>>()?,
        arrival: draft.arrival?,
        events: draft
            .events
            .into_iter()
            .map(|event| event.read)
            .collect::<Option<_>>()?,
        expect: draft
            .expect
            .into_iter()
            .map(|(_, expectation)| expectation)
            .collect(),
    })
}

fn overridden(scenario: &mut Scenario, overrides: &Overrides) -> Option<Mistake> {
    if let Some(seed) = overrides.seed {
        scenario.seed = seed;
    }
    let devices = overrides.devices?;
    let kinds = scenario.kinds.len();
    let accepted = kinds..=DEVICES_MAX as usize;
    if !accepted.contains(&(devices as usize)) {
        return Some(Mistake::elsewhere(
            "--devices",
            devices.to_string(),
            format!("expected {kinds} to {DEVICES_MAX}, as there are {kinds} kinds of devices"),
        ));
    }
    let before: u64 = scenario.kinds.iter().map(|kind| u64::from(kind.count)).sum();
    // So many of so many: of a tenth of them a tenth, and one at least where there may be any.
    scenario.stragglers = (scenario.stragglers * u64::from(devices)).div_ceil(before);
    scale(&mut scenario.kinds, devices);
    let (good, stragglers) = (sense::good_devices(scenario.kinds.iter()), scenario.stragglers);
    (stragglers > 0 && good <= stragglers).then(|| {
        let problem = format!("{good} of them are good, and stragglers, in proportion {stragglers}, is all of those: expected more");
        Mistake::elsewhere("--devices", devices.to_string(), problem)
    })
}

/// Shares `devices` out in proportion, at least one to each kind; what is left by rounding goes to those who lost most by it.
fn scale(kinds: &mut [Kind], devices: u32) {
    let before: u64 = kinds.iter().map(|kind| u64::from(kind.count)).sum();
    let wanted = |kind: &Kind| u64::from(kind.count) * u64::from(devices);
    let mut lost: Vec<(u64, usize)> = kinds
        .iter()
        .enumerate()
        .map(|(place, kind)| (wanted(kind) % before, place))
        .collect();
    // Of two that lost the same, the first in the file is first.
    lost.sort_by_key(|(rest, place)| (std::cmp::Reverse(*rest), *place));
    for kind in kinds.iter_mut() {
        kind.count = (wanted(kind) / before).max(1) as u32;
    }
    let total = |kinds: &[Kind]| kinds.iter().map(|kind| kind.count).sum::<u32>();
    let mut missing = devices.saturating_sub(total(kinds));
    for (_, place) in lost {
        if missing == 0 {
            break;
        }
        kinds[place].count += 1;
        missing -= 1;
    }
    // Kinds that were raised to one device have it from the largest.
    for _ in 0..total(kinds).saturating_sub(devices) {
        if let Some(largest) = kinds.iter_mut().max_by_key(|kind| kind.count) {
            largest.count -= 1;
        }
    }
}
