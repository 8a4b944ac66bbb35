//! Where every device stands, in memory: what figures are counted from, and what finds the devices of a state.
//!
//! A device costs twelve bytes here: its id, and the number of the class of those of which the same is known. A class knows how
//! many it has, so that counting a fleet is a walk over its classes, of which there are as many as there are combinations of
//! cohort, stage, versions and failures; and a new deployment moves its cohort's classes, not its devices. Finding the next
//! devices of a state is a walk over the numbers of their classes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::fleet::{CohortId, Deployment, DeploymentId, DeviceId, PackageState, ProjectId, Setback, Stage};

/// What figures need to know of a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Its project.
    pub project: ProjectId,
    /// Its cohort.
    pub cohort: Option<CohortId>,
    /// Whether it may connect.
    pub enabled: bool,
    /// Where it stands with its cohort's active deployment.
    pub standing: Option<(DeploymentId, Stage)>,
    /// What it runs: packages and versions, as it named them.
    pub runs: Vec<(String, Option<String>)>,
    /// Package, state and reason of what failed in that deployment.
    pub failures: Vec<(String, u64, u64)>,
    /// Whether what it runs, and where it failed, was left out: there are too many classes.
    pub coarse: bool,
}

impl Facts {
    /// What is known of a device that acknowledged the manifest numbered `acknowledged` and reported these states.
    #[must_use]
    pub fn of(
        project: ProjectId,
        cohort: Option<CohortId>,
        enabled: bool,
        active: Option<&Deployment>,
        acknowledged: u32,
        reported: Vec<PackageState>,
    ) -> Self {
        let standing = active.map(|active| (active.id, Stage::of(active, acknowledged, &reported)));
        let failing = active.filter(|_| standing.is_some_and(|(_, stage)| stage == Stage::Failed));
        let failed = reported.iter().filter_map(|state| {
            let Setback {
                state: did, reason, ..
            } = Stage::failure(failing?, state)?;
            Some((state.package.clone(), did, reason))
        });
        Self {
            project,
            cohort,
            enabled,
            standing,
            failures: failed.collect(),
            runs: reported
                .into_iter()
                .map(|state| (state.package, state.version))
                .collect(),
            coarse: false,
        }
    }

    /// The same devices right after a deployment was made: nothing that they reported before says anything about it, except the
    /// versions, and none has acknowledged its number, which is higher than all before.
    fn deployed(&self, deployment: &Deployment) -> Self {
        let mut wanted = deployment.artifacts.iter().filter_map(|artifact| {
            let (_, version) = self
                .runs
                .iter()
                .find(|(package, _)| package == artifact.package.as_str())?;
            Some(version.as_deref() == Some(artifact.version.as_str()))
        });
        let done = wanted
            .next()
            .is_some_and(|first| first && wanted.all(|runs| runs));
        let stage = if done { Stage::Done } else { Stage::Pending };
        Self {
            standing: Some((deployment.id, stage)),
            failures: Vec::new(),
            ..self.clone()
        }
    }
}

/// The devices of all projects and what is known of each.
#[derive(Debug)]
pub struct Ledger {
    /// By rising id.
    ids: Vec<DeviceId>,
    /// The class of each of them; [`GONE`] is none.
    places: Vec<u32>,
    /// How many of them are gone.
    gone: usize,
    /// The first is no class.
    classes: Vec<Class>,
    free: Vec<u32>,
    known: HashMap<Arc<Facts>, u32>,
}

/// Devices of which the same is known.
#[derive(Debug, Clone)]
struct Class {
    facts: Arc<Facts>,
    devices: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        let nobody = Facts {
            project: ProjectId::new(0),
            cohort: None,
            enabled: false,
            standing: None,
            runs: Vec::new(),
            failures: Vec::new(),
            coarse: false,
        };
        Self {
            ids: Vec::new(),
            places: Vec::new(),
            gone: 0,
            classes: vec![Class {
                facts: Arc::new(nobody),
                devices: 0,
            }],
            free: Vec::new(),
            known: HashMap::new(),
        }
    }
}

impl Ledger {
    /// Takes down what is known of a device. Returns whether that is something else than before.
    pub fn note(&mut self, id: DeviceId, facts: Facts) -> bool {
        let class = self.enter(facts);
        // Ids rise, so that most of those that are not in yet belong at the end.
        let place = match self.ids.last() {
            Some(&last) if last >= id => self.ids.binary_search(&id),
            _ => Err(self.ids.len()),
        };
        match place {
            Ok(place) => {
                let before = std::mem::replace(&mut self.places[place], class);
                self.gone -= usize::from(before == GONE);
                self.leave(before);
                before != class
            }
            Err(place) => {
                self.ids.insert(place, id);
                self.places.insert(place, class);
                true
            }
        }
    }

    /// A device is on record no more. Returns whether it was.
    pub fn forget(&mut self, id: DeviceId) -> bool {
        let Ok(place) = self.ids.binary_search(&id) else {
            return false;
        };
        let before = std::mem::replace(&mut self.places[place], GONE);
        if before == GONE {
            return false;
        }
        self.leave(before);
        self.gone += 1;
        // At most as many as are there, so that a walk costs no more than twice what it has to.
        if self.gone > GONE_KEPT && self.gone > self.ids.len() / 2 {
            let mut kept = self.places.iter().map(|&class| class != GONE);
            self.ids.retain(|_| kept.next().unwrap_or(false));
            self.places.retain(|&class| class != GONE);
            self.gone = 0;
        }
        true
    }

    /// Devices acknowledged the manifests with these sequence numbers. `active` says what is active for devices of which this is
    /// known: a device that waits to hear of it has, if its number is not lower.
    pub fn acknowledged(
        &mut self,
        devices: impl IntoIterator<Item = (DeviceId, u32)>,
        active: impl Fn(&Facts) -> Option<(DeploymentId, u32)>,
    ) {
        // Most devices of a rollout are of few classes: which class each moves to is asked once.
        let mut moves: HashMap<u32, Option<(u32, u32)>> = HashMap::new();
        for (id, sequence) in devices {
            let Ok(place) = self.ids.binary_search(&id) else {
                continue;
            };
            let class = self.places[place];
            let facts = &self.classes[class as usize].facts;
            // Whatever the number of a class stood for: one that waits was not entered in here.
            let Some((standing, Stage::Pending)) = facts.standing else {
                continue;
            };
            let (needed, to) = match moves.get(&class) {
                Some(Some(known)) => *known,
                Some(None) => continue,
                None => {
                    let Some((_, needed)) = active(facts).filter(|(active, _)| *active == standing) else {
                        moves.insert(class, None);
                        continue;
                    };
                    if sequence < needed {
                        continue;
                    }
                    let notified = Facts {
                        standing: Some((standing, Stage::Notified)),
                        ..Facts::clone(facts)
                    };
                    let to = self.enter(notified);
                    // Entered for this device, which is counted below as every other.
                    self.classes[to as usize].devices -= 1;
                    moves.insert(class, Some((needed, to)));
                    (needed, to)
                }
            };
            if sequence >= needed {
                self.classes[to as usize].devices += 1;
                self.places[place] = to;
                self.leave(class);
            }
        }
    }

    /// A cohort has another active deployment. Returns the devices of which that has to be read.
    pub fn deployed(&mut self, deployment: &Deployment) -> Vec<DeviceId> {
        let mut unknown = false;
        for class in 1..self.classes.len() {
            let facts = Arc::clone(&self.classes[class].facts);
            // Of a later one it was read: ids rise.
            let new = facts
                .standing
                .is_none_or(|(standing, _)| standing < deployment.id);
            if self.classes[class].devices == 0 || facts.cohort != Some(deployment.cohort) || !new {
                continue;
            }
            unknown |= facts.coarse;
            let number = u32::try_from(class).expect("there are no more classes than CLASSES");
            if self.known.get(&facts) == Some(&number) {
                self.known.remove(&facts);
            }
            let facts = Arc::new(facts.deployed(deployment));
            // Another class may be the same by now: then both go on, and this one is left by and by.
            self.known.entry(Arc::clone(&facts)).or_insert(number);
            self.classes[class].facts = facts;
        }
        if !unknown {
            return Vec::new();
        }
        let wanted = |facts: &Facts| facts.coarse && facts.cohort == Some(deployment.cohort);
        self.matching(None, usize::MAX, wanted, |_| true)
    }

    /// What is known of a device.
    #[cfg(test)]
    pub fn get(&self, id: DeviceId) -> Option<&Facts> {
        let class = self.places[self.ids.binary_search(&id).ok()?];
        (class != GONE).then(|| &*self.classes[class as usize].facts)
    }

    /// The next devices after one of which `wanted` and `is_wanted` are true, by rising id, so many at most.
    pub fn matching(
        &self,
        after: Option<DeviceId>,
        limit: usize,
        wanted: impl Fn(&Facts) -> bool,
        mut is_wanted: impl FnMut(DeviceId) -> bool,
    ) -> Vec<DeviceId> {
        let admitted = self.admitted(wanted);
        if !admitted.contains(&true) {
            return Vec::new();
        }
        let from = self
            .ids
            .partition_point(|&id| after.is_some_and(|after| id <= after));
        let devices = self.ids[from..].iter().zip(&self.places[from..]);
        devices
            .filter(|(id, class)| admitted[**class as usize] && is_wanted(**id))
            .map(|(id, _)| *id)
            .take(limit)
            .collect()
    }

    /// Of each of some devices, whether `wanted` is true. Of one that is not known, it is not.
    pub fn are(&self, devices: impl Iterator<Item = DeviceId>, wanted: impl Fn(&Facts) -> bool) -> Vec<bool> {
        let admitted = self.admitted(wanted);
        let is_admitted = |id: DeviceId| {
            let place = self.ids.binary_search(&id).ok()?;
            Some(admitted[self.places[place] as usize])
        };
        devices.map(|id| is_admitted(id).unwrap_or(false)).collect()
    }

    /// How many devices there are of which `wanted` is true.
    pub fn count(&self, wanted: impl Fn(&Facts) -> bool) -> u64 {
        let classes = self.classes().filter(|(facts, _)| wanted(facts));
        classes.map(|(_, devices)| devices).sum()
    }

    /// Of each class, whether `wanted` is true.
    fn admitted(&self, wanted: impl Fn(&Facts) -> bool) -> Vec<bool> {
        let classes = self.classes.iter();
        classes
            .map(|class| class.devices > 0 && wanted(&class.facts))
            .collect()
    }

    /// The devices after one up to another.
    #[must_use]
    pub fn between(&self, after: DeviceId, last: DeviceId) -> Vec<DeviceId> {
        let from = self.ids.partition_point(|&id| id <= after);
        let to = self.ids.partition_point(|&id| id <= last);
        let devices = self.ids[from..to.max(from)].iter().zip(&self.places[from..]);
        devices
            .filter(|(_, class)| **class != GONE)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Everything that is known of devices, and of how many. The same may come more than once.
    pub fn classes(&self) -> impl Iterator<Item = (&Facts, u64)> {
        let classes = self.classes.iter().filter(|class| class.devices > 0);
        classes.map(|class| (&*class.facts, class.devices))
    }

    /// How many devices of a cohort stand where, in the order of [`Stage::ALL`], with its active deployment.
    #[must_use]
    pub fn stages(&self, cohort: CohortId, deployment: DeploymentId) -> [u64; 7] {
        let mut stages = [0; 7];
        for (facts, devices) in self.classes() {
            if let Some((standing, stage)) = facts.standing
                && standing == deployment
                && facts.cohort == Some(cohort)
            {
                stages[stage.index()] += devices;
            }
        }
        stages
    }

    /// One more of which this is known. Returns the class.
    fn enter(&mut self, facts: Facts) -> u32 {
        let facts = match self.known.contains_key(&facts) || self.known.len() < CLASSES {
            true => facts,
            false => Facts {
                runs: Vec::new(),
                failures: Vec::new(),
                coarse: true,
                ..facts
            },
        };
        if let Some(&class) = self.known.get(&facts) {
            self.classes[class as usize].devices += 1;
            return class;
        }
        let facts = Arc::new(facts);
        let class = Class {
            facts: Arc::clone(&facts),
            devices: 1,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.classes[number as usize] = class;
                number
            }
            None => {
                self.classes.push(class);
                u32::try_from(self.classes.len() - 1).expect("there are no more classes than devices")
            }
        };
        self.known.insert(facts, number);
        number
    }

    /// One less in a class.
    fn leave(&mut self, number: u32) {
        if number == GONE {
            return;
        }
        let class = &mut self.classes[number as usize];
        class.devices -= 1;
        if class.devices == 0 {
            if self.known.get(&class.facts) == Some(&number) {
                self.known.remove(&class.facts);
            }
            self.free.push(number);
        }
    }
}

/// No class.
const GONE: u32 = 0;
/// Classes in which everything is told apart. A fleet has some hundreds; devices that make versions up must not fill the memory.
const CLASSES: usize = 16_384;
/// Devices that are gone and still take up room: not worth a walk.
const GONE_KEPT: usize = 1024;

#[cfg(test)]
#[path = "ledger_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
