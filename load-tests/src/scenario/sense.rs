//! Whether what is right section by section makes sense as a whole: what happens when, to whom, and what of it can be judged.
//!
//! 1. The events are gone through in their order, on a clock that knows the earliest moment of each.
//! 2. On the way it is noted what can come of them: an update, a roll back, a loop.
//! 3. Each expectation is held against that: one that nothing can meet or miss is a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tessera::fleet::DeviceProfile;

use super::checked::{DEVICES_MAX, Draft, Marked};
use super::mistake::Mistake;
use super::raw::Table;
use super::reading::Reading;
use super::value::{show_size, show_span};
use super::{Arrival, Boots, Cohort, Event, Expectation, Image, ImageName, Kind, What, When};

/// Holds the sections of a draft against each other.
pub fn look(draft: &Draft<'_>, reading: &mut Reading) {
    devices(draft, reading);
    stragglers(draft, reading);
    disk(draft, reading);
    times(draft, reading);
    unused(draft, reading);
    let (Some(kinds), Some(cohorts), Some(events)) =
        (whole(&draft.kinds), whole(&draft.cohorts), whole(&draft.events))
    else {
        // Whatever would be found from here on might follow from what has been found already.
        return;
    };
    let mut course = Course {
        images: &draft.images,
        kinds: &kinds,
        cohorts: &cohorts,
        deployed: vec![Vec::new(); cohorts.len()],
        present: vec![BTreeSet::new(); cohorts.len()],
        told: BTreeSet::new(),
        seen: Seen::default(),
    };
    course.begin(reading);
    course.run(draft, &events, reading);
    let seen = &course.seen;
    for (said, expectation) in &draft.expect {
        if let Some(problem) = seen.never_judged(expectation) {
            let key = format!("[expect] {}", expectation.key());
            reading.mistakes.push(Mistake::contradiction(
                said.place,
                key,
                said.value.to_string(),
                format!("nothing ever comes of it: {problem}"),
            ));
        }
    }
}

fn whole<'d, 't, T>(marked: &'d [Marked<'t, T>]) -> Option<Vec<(&'t Table, &'d T)>> {
    marked
        .iter()
        .map(|marked| Some((marked.table, marked.read.as_ref()?)))
        .collect()
}

fn devices(draft: &Draft<'_>, reading: &mut Reading) {
    let mut total = 0_u64;
    for (table, kind) in draft
        .kinds
        .iter()
        .filter_map(|marked| Some((marked.table, marked.read.as_ref()?)))
    {
        let before = total;
        total += u64::from(kind.count);
        if total > u64::from(DEVICES_MAX) && before <= u64::from(DEVICES_MAX) {
            contradict(
                reading,
                table,
                "count",
                format!("makes more than {DEVICES_MAX} devices in all: expected at most that"),
            );
        }
    }
}

/// Where everybody may be late, nobody is waited for.
fn stragglers(draft: &Draft<'_>, reading: &mut Reading) {
    let (Some(stragglers), Some(kinds)) = (draft.stragglers, whole(&draft.kinds)) else {
        return;
    };
    let good = good_devices(kinds.into_iter().map(|(_, kind)| kind));
    if stragglers > 0 && good <= stragglers {
        let problem = format!("that is every good device: expected less than there are, {good}");
        contradict(reading, draft.top, "stragglers", problem);
    }
}

fn disk(draft: &Draft<'_>, reading: &mut Reading) {
    let Some(gateway) = &draft.gateway else { return };
    let images = draft.images.values().filter_map(|image| image.read.as_ref());
    let bytes: u64 = images.map(|image| image.size).sum();
    match gateway.disk {
        Some(disk) if bytes >= disk => {
            if let Some(section) = draft.gateway_section {
                let problem = format!(
                    "all images together are {}: expected a larger disk, or smaller images",
                    show_size(bytes)
                );
                contradict(reading, section, "disk", problem);
            }
        }
        Some(_) => {}
        None => {
            for marked in &draft.events {
                if let Some(What::FillDisk { .. }) = marked.read.as_ref().map(|event| &event.what) {
                    contradict(
                        reading,
                        marked.table,
                        "do",
                        "the gateway has no disk of its own that could be filled: expected disk = \"64 MiB\" in [gateway]"
                            .to_owned(),
                    );
                }
            }
        }
    }
}

fn times(draft: &Draft<'_>, reading: &mut Reading) {
    let Some(stop_after) = draft.stop_after else {
        return;
    };
    let end = show_span(stop_after);
    let arrived = match draft.arrival {
        Some(Arrival::Ramp(over) | Arrival::Random(over)) => over,
        Some(Arrival::Storm) | None => Duration::ZERO,
    };
    if let Some(section) = draft.arrival_section
        && arrived > stop_after
    {
        contradict(
            reading,
            section,
            "over",
            format!("the run ends before all have arrived: expected at most stop_after, {end}"),
        );
    }
    for (said, expectation) in &draft.expect {
        let (Expectation::ConnectedWithin(bound) | Expectation::ConvergedWithin(bound)) = expectation else {
            continue;
        };
        let early = matches!(expectation, Expectation::ConnectedWithin(_)) && *bound < arrived;
        let problem = if *bound > stop_after {
            format!("the run ends before that: expected at most stop_after, {end}")
        } else if early {
            format!(
                "the last devices are switched on later: expected more than the arrival takes, {}",
                show_span(arrived)
            )
        } else {
            continue;
        };
        let key = format!("[expect] {}", expectation.key());
        reading.mistakes.push(Mistake::contradiction(
            said.place,
            key,
            said.value.to_string(),
            problem,
        ));
    }
}

/// What is there and is never used is most likely a mistake, but harms nobody.
fn unused(draft: &Draft<'_>, reading: &mut Reading) {
    let deployed = draft
        .cohorts
        .iter()
        .filter_map(|cohort| cohort.read.as_ref())
        .flat_map(|cohort| &cohort.deployed);
    let later = draft
        .events
        .iter()
        .filter_map(|event| {
            if let What::Deploy { images, .. } = &event.read.as_ref()?.what {
                Some(images)
            } else {
                None
            }
        })
        .flatten();
    let used: BTreeSet<&ImageName> = deployed.chain(later).collect();
    for (name, image) in &draft.images {
        if !used.contains(name) {
            let problem = "is never deployed".to_owned();
            let header = image.table.header.clone();
            reading
                .warnings
                .push(Mistake::key(image.table.place, header, problem));
        }
    }
    if draft.expect.is_empty() {
        let place = draft.expect_section.map(|section| section.place);
        reading.warnings.push(Mistake::key(
            place.unwrap_or(super::mistake::Place { line: 1, column: 1 }),
            "[expect]".to_owned(),
            "expects nothing: the run passes whatever happens".to_owned(),
        ));
    }
}

/// The run as it can be foreseen.
struct Course<'d, 't> {
    images: &'d BTreeMap<ImageName, Marked<'t, Image>>,
    kinds: &'d [(&'t Table, &'d Kind)],
    cohorts: &'d [(&'t Table, &'d Cohort)],
    /// Each cohort's deployments, the active one last.
    deployed: Vec<Vec<&'d [ImageName]>>,
    /// The kinds of good devices of which some may be in a cohort.
    present: Vec<BTreeSet<usize>>,
    /// What was warned of once.
    told: BTreeSet<(ImageName, usize)>,
    seen: Seen,
}

/// What can happen in a run, if only for one device.
#[derive(Debug, Default)]
struct Seen {
    good: bool,
    bad: bool,
    /// A deployment after the start, for somebody.
    pushed: bool,
    /// A deployment whose images boot well, for somebody.
    converging: bool,
    /// A deployment of something that somebody does not run yet.
    updating: bool,
    /// An image that boots badly, for somebody.
    rolled_back: bool,
    /// An image that says to be another version, for somebody.
    looping: bool,
}

impl<'d> Course<'d, '_> {
    fn begin(&mut self, reading: &mut Reading) {
        for (place, (table, kind)) in self.kinds.iter().enumerate() {
            if kind.credential.is_good() {
                self.seen.good = true;
                if let Some(cohort) = kind.cohort {
                    self.present[cohort].insert(place);
                }
            } else {
                self.seen.bad = true;
            }
            lengths(reading, table, "runs", &kind.runs);
        }
        for (place, (table, cohort)) in self.cohorts.iter().enumerate() {
            if !cohort.deployed.is_empty() {
                self.deploy(reading, table, "deployed", place, &cohort.deployed);
            }
        }
    }

    fn run(&mut self, draft: &Draft<'_>, events: &[(&Table, &'d Event)], reading: &mut Reading) {
        let stop_after = draft.stop_after.unwrap_or(Duration::MAX);
        // The earliest moment of the event before, and until when the gateway is away.
        let (mut earliest, mut back) = (Duration::ZERO, Duration::ZERO);
        for (number, (table, event)) in events.iter().enumerate() {
            let moment = self.moment(number, table, event.when, earliest, reading);
            if moment < stop_after {
                earliest = moment;
            } else {
                let key = if let When::At(_) = event.when {
                    "at"
                } else {
                    "delay"
                };
                let problem = format!(
                    "this is {} after the start or later, and the run ends at {}: expected less, or a later stop_after",
                    show_span(moment),
                    show_span(stop_after)
                );
                contradict(reading, table, key, problem);
            }
            let waits = matches!(event.when, When::Connected(_) | When::Converged(_));
            if earliest < back && !waits && needs_gateway(&event.what) {
                let key = if let When::At(_) = event.when {
                    "at"
                } else {
                    "delay"
                };
                let problem = format!(
                    "the gateway is away until {} after the start: expected a later moment",
                    show_span(back)
                );
                contradict(reading, table, key, problem);
            }
            match &event.what {
                What::Deploy { cohort, images } => {
                    self.seen.pushed |= !self.present[*cohort].is_empty();
                    self.deploy(reading, table, "images", *cohort, images);
                }
                What::RollBack { cohort } => self.roll_back(reading, table, *cohort),
                What::Move { who, to } => self.move_devices(reading, table, who, *to),
                What::KillGateway { away, .. } | What::RestartGateway { away, .. } => back = earliest + *away,
                What::Rebind { who } | What::Reboot { who } | What::Outage { who, .. } => {
                    if who.kind.is_none() && !self.seen.good {
                        no_good_devices(reading, table);
                    }
                }
                What::FillDisk { .. } => {}
            }
        }
    }

    /// When an event is at the earliest.
    fn moment(
        &self,
        number: usize,
        table: &Table,
        when: When,
        earliest: Duration,
        reading: &mut Reading,
    ) -> Duration {
        match when {
            When::At(at) if at < earliest => {
                let problem = format!(
                    "events happen in the file's order, and the one before is not before {}: expected a later moment",
                    show_span(earliest)
                );
                contradict(reading, table, "at", problem);
                earliest
            }
            When::At(at) => at,
            When::Then(delay) => {
                if number == 0 {
                    let problem =
                        "there is no event before the first: expected at = …, or after = \"connected\"";
                    contradict(reading, table, "after", problem.to_owned());
                }
                earliest + delay
            }
            When::Connected(delay) => {
                if !self.seen.good {
                    no_good_devices(reading, table);
                }
                earliest + delay
            }
            When::Converged(delay) => {
                let can = (0..self.cohorts.len()).any(|cohort| {
                    let active = self.deployed[cohort].last();
                    active.is_some_and(|active| self.boot_well(active)) && !self.present[cohort].is_empty()
                });
                if !can {
                    let problem = "no cohort with good devices has anything deployed by then that boots well: expected a \
                                   deployment before";
                    contradict(reading, table, "after", problem.to_owned());
                }
                earliest + delay
            }
        }
    }

    fn deploy(
        &mut self,
        reading: &mut Reading,
        table: &Table,
        key: &str,
        cohort: usize,
        images: &'d [ImageName],
    ) {
        self.deployed[cohort].push(images);
        let most = DeviceProfile::default().components;
        if images.len() > most {
            let problem = format!("a stock device throws a manifest with more than {most} package away");
            warn(reading, table, key, problem);
        }
        for image in images {
            lengths(reading, table, key, image);
        }
        self.reach(reading, table, key, cohort);
    }

    fn roll_back(&mut self, reading: &mut Reading, table: &Table, cohort: usize) {
        let history = &self.deployed[cohort];
        let Some(before) = history.len().checked_sub(2).and_then(|place| history.get(place)) else {
            let problem = format!(
                "there is nothing to go back to: expected two deployments before, there {}",
                match history.len() {
                    0 => "is none".to_owned(),
                    _ => "is one".to_owned(),
                }
            );
            contradict(reading, table, "cohort", problem);
            return;
        };
        let before = *before;
        self.deployed[cohort].push(before);
        self.seen.pushed |= !self.present[cohort].is_empty();
        self.reach(reading, table, "cohort", cohort);
    }

    fn move_devices(&mut self, reading: &mut Reading, table: &Table, who: &super::Who, to: usize) {
        let moved: Vec<usize> = match who.kind {
            Some(kind) if !self.kinds[kind].1.credential.is_good() => {
                let problem =
                    "the gateway may not know these devices: expected devices with good credentials";
                contradict(reading, table, "devices", problem.to_owned());
                return;
            }
            Some(kind) => vec![kind],
            None => {
                if !self.seen.good {
                    no_good_devices(reading, table);
                }
                let good = |place: &usize| self.kinds[*place].1.credential.is_good();
                (0..self.kinds.len()).filter(good).collect()
            }
        };
        for kind in moved {
            if who.share >= 1.0 {
                for kinds in &mut self.present {
                    kinds.remove(&kind);
                }
            }
            self.present[to].insert(kind);
        }
        self.reach(reading, table, "to", to);
    }

    /// What becomes of a cohort's devices with what it has deployed.
    fn reach(&mut self, reading: &mut Reading, table: &Table, key: &str, cohort: usize) {
        let Some(active) = self.deployed[cohort].last().copied() else {
            return;
        };
        let well = self.boot_well(active);
        for place in self.present[cohort].clone() {
            let (_, kind) = self.kinds[place];
            let Some(image) = active.iter().find(|image| image.package == kind.runs.package) else {
                let problem = format!(
                    "devices {} run package {}, which is not deployed: they are never up to date",
                    kind.name, kind.runs.package
                );
                warn(reading, table, key, problem);
                continue;
            };
            self.seen.converging |= well;
            if *image == kind.runs {
                continue;
            }
            self.seen.updating = true;
            let Some(what) = self.images.get(image).and_then(|image| image.read.as_ref()) else {
                continue;
            };
            match what.boots {
                Boots::Well => {}
                Boots::As(_) => self.seen.looping = true,
                Boots::Badly => self.seen.rolled_back = true,
            }
            let most = kind.block_size.size() * BLOCKS_MAX;
            if what.size > most {
                let problem = format!(
                    "{image} has {}, and devices {} can number no more than {} in blocks of {} bytes: \
                     expected a smaller image, or larger blocks",
                    show_size(what.size),
                    kind.name,
                    show_size(most),
                    kind.block_size.size()
                );
                contradict(reading, table, key, problem);
            }
            let together = kind.runs.package.len() + kind.runs.version.len() + image.version.len();
            let room = DeviceProfile::default().report_bytes;
            if together > room && self.told.insert((image.clone(), place)) {
                let problem = format!(
                    "package, version and the version before of devices {} are {together} bytes together; \
                     a stock device's report has room for {room}",
                    kind.name
                );
                warn(reading, table, key, problem);
            }
        }
    }

    fn boot_well(&self, images: &[ImageName]) -> bool {
        images.iter().all(|image| {
            let image = self.images.get(image).and_then(|image| image.read.as_ref());
            image.is_none_or(|image| image.boots == Boots::Well)
        })
    }
}

impl Seen {
    /// Why nothing can come of an expectation.
    fn never_judged(&self, expectation: &Expectation) -> Option<&'static str> {
        match expectation {
            Expectation::ConnectedWithin(_)
            | Expectation::Recorded(_)
            | Expectation::HandshakeP99(_)
            | Expectation::DevicesLost(_)
            | Expectation::HandshakesAgain(_)
            | Expectation::HandshakesFailed(_)
            | Expectation::ReportsRefused(_)
            | Expectation::ServerCpuPerDevice(_)
            | Expectation::ServerMemoryPerDevice(_) => (!self.good).then_some("no device is good"),
            Expectation::ConvergedWithin(_) | Expectation::Converged(_) => {
                (!self.converging).then_some("no good device is ever given an image that boots well")
            }
            Expectation::NotificationP99(_) => {
                (!self.pushed).then_some("no event deploys anything to a cohort with good devices")
            }
            Expectation::BlockP99(_) | Expectation::UpdatesFailed(_) => {
                (!self.updating).then_some("no good device is ever given another version than it runs")
            }
            Expectation::UpdateP99(_) => (!self.updating || !self.converging)
                .then_some("no good device is ever given another version that boots well"),
            Expectation::Intruders(_) => (!self.bad).then_some("no device has a bad credential"),
            Expectation::RolledBack(_) => {
                (!self.rolled_back).then_some("no good device is ever given an image with boots = \"badly\"")
            }
            Expectation::UpdateLoops(_) => {
                (!self.looping).then_some("no good device is ever given an image with boots = \"as …\"")
            }
            // A store may fail for whatever reason.
            Expectation::StoreErrors(_) | Expectation::SimulatorLateP99(_) => None,
        }
    }
}

fn needs_gateway(what: &What) -> bool {
    match what {
        What::Deploy { .. }
        | What::RollBack { .. }
        | What::Move { .. }
        | What::KillGateway { .. }
        | What::RestartGateway { .. }
        | What::FillDisk { .. } => true,
        What::Rebind { .. } | What::Reboot { .. } | What::Outage { .. } => false,
    }
}

/// What a stock device has no room for.
fn lengths(reading: &mut Reading, table: &Table, key: &str, image: &ImageName) {
    let stock = DeviceProfile::default();
    for (what, text, most) in [
        ("package", &image.package, stock.package_bytes),
        ("version", &image.version, stock.version_bytes),
    ] {
        if text.len() > most {
            let problem = format!(
                "{what} {text:?} has {} bytes, and a stock device throws a manifest with more than {most} away",
                text.len()
            );
            warn(reading, table, key, problem);
        }
    }
}

fn no_good_devices(reading: &mut Reading, table: &Table) {
    let problem = "there are no devices with good credentials: expected the name of one of [[devices]]";
    contradict(reading, table, "devices", problem.to_owned());
}

/// How many devices have good credentials.
pub fn good_devices<'k>(kinds: impl Iterator<Item = &'k Kind>) -> u64 {
    kinds
        .filter(|kind| kind.credential.is_good())
        .map(|kind| u64::from(kind.count))
        .sum()
}

fn contradict(reading: &mut Reading, table: &Table, key: &str, problem: String) {
    let mistake = about(table, key, problem);
    reading.mistakes.push(mistake);
}

fn warn(reading: &mut Reading, table: &Table, key: &str, problem: String) {
    let warning = about(table, key, problem);
    if !reading.warnings.contains(&warning) {
        reading.warnings.push(warning);
    }
}

fn about(table: &Table, key: &str, problem: String) -> Mistake {
    match table.get(key) {
        Some(said) => Mistake::contradiction(said.place, table.key(key), said.value.to_string(), problem),
        None => Mistake::key(table.place, table.key(key), problem),
    }
}

/// As many as RFC 7959 has numbers for: 20 bits.
const BLOCKS_MAX: u64 = 1 << 20;
