//! Lists of devices, a page at a time, whatever they are filtered by and however many devices there are.
//!
//! What the store's indexes have in the order of the list, the store is asked for. Who is connected, where a device stands and what it
//! runs is known here; so is its cohort, which saves the store to look at all who have a tag or a name. So, in that case:
//!
//! 1. What is known here says which devices may be wanted ([`Sieve`]).
//! 2. Devices are found by whatever leaves the fewest ([`Source`]): by what is known here, or by an index of the store, of which
//!    only the keys are read and sifted.
//! 3. Those that are left are read, and each is looked at once more: what is known here may be a moment old.

use std::collections::BTreeSet;

use super::directory::Directory;
use super::error::ControlError;
use super::handle::Control;
use super::ledger::Facts;
use super::reads::DeviceRecord;
use super::view::View;
use super::{connected::ConnectedNow, counter::Counting};
use crate::fleet::{
    CohortId, Device, DeviceId, DeviceName, Invalid, PackageName, ProjectId, Refusal, Stage, Tag, Version,
};
use crate::store::{DeviceFilter, DeviceKey, DeviceOrder, DevicePlace, KeyFilter};

/// Which devices to list.
#[derive(Debug, Clone, Default)]
pub struct DeviceQuery {
    /// Only the one with this name.
    pub name: Option<DeviceName>,
    /// Only those whose name starts so; the list is by name then, and otherwise by id.
    pub prefix: Option<String>,
    /// Only those in this cohort, or in none.
    pub cohort: Option<Option<CohortId>>,
    /// Only those with this tag.
    pub tag: Option<Tag>,
    /// Only those that are connected, or that are not.
    pub online: Option<bool>,
    /// Only those that stand here with the active deployment of their cohort.
    pub stage: Option<Stage>,
    /// Only those that run this version of this package.
    pub running: Option<(PackageName, Version)>,
    /// Only these.
    pub among: Option<Vec<DeviceId>>,
    /// Only those with one of these names.
    pub named: Option<Vec<DeviceName>>,
    /// Only those after this place, which a page of the same list ended at.
    pub after: Option<DevicePlace>,
    /// How many at most; 1 to 1000.
    pub limit: usize,
}

/// Some devices.
#[derive(Debug, Clone, Default)]
pub struct DevicePage {
    /// The devices.
    pub devices: Vec<DeviceRecord>,
    /// Ask for those after this place to read on; `None` at the end.
    pub next: Option<DevicePlace>,
}

impl DeviceQuery {
    /// The place that a page of this list ended at, from its text. `None` if it is no place in such a list.
    #[must_use]
    pub fn place(&self, text: &str) -> Option<DevicePlace> {
        DevicePlace::parse(text).filter(|place| self.order_after(Some(place)).is_some())
    }

    fn order_after(&self, after: Option<&DevicePlace>) -> Option<DeviceOrder> {
        match (self.is_by_name(), after) {
            (true, None) => Some(DeviceOrder::Name(None)),
            (true, Some(DevicePlace::Name(name))) => Some(DeviceOrder::Name(Some(name.clone()))),
            (false, None) => Some(DeviceOrder::Id(None)),
            (false, Some(DevicePlace::Id(id))) => Some(DeviceOrder::Id(Some(*id))),
            (true, Some(DevicePlace::Id(_))) | (false, Some(DevicePlace::Name(_))) => None,
        }
    }

    fn is_by_name(&self) -> bool {
        self.prefix.is_some()
    }

    /// Whether it asks for something that the store alone cannot tell.
    fn is_sifted(&self) -> bool {
        self.online.is_some() || self.stage.is_some() || self.running.is_some()
    }

    /// Whether it names the devices.
    fn is_of_few(&self) -> bool {
        self.name.is_some() || self.named.is_some() || self.among.is_some()
    }

    /// Whether one index of the store has such a list in its order: that of ids, of a cohort, of a tag, or of names.
    fn is_indexed(&self) -> bool {
        let filters = [self.prefix.is_some(), self.tag.is_some(), self.cohort.is_some()];
        !self.is_sifted() && filters.into_iter().filter(|&given| given).count() <= 1
    }

    /// Whether a device of which this is known may be what is asked for.
    fn may_be(&self, project: ProjectId, facts: &Facts) -> bool {
        let stage = facts.standing.map(|(_, stage)| stage);
        let runs = self.running.as_ref().is_none_or(|(package, version)| {
            let wanted = |(of, runs): &(String, Option<String>)| {
                of == package.as_str() && runs.as_deref() == Some(version.as_str())
            };
            facts.coarse || facts.runs.iter().any(wanted)
        });
        runs && facts.project == project
            && self.cohort.is_none_or(|cohort| cohort == facts.cohort)
            && (self.stage.is_none() || self.stage == stage)
    }

    /// Whether a device is what is asked for, as far as the store cannot tell.
    fn admits(&self, view: &View, record: &DeviceRecord) -> bool {
        let online = self
            .online
            .is_none_or(|online| online == record.session.is_some());
        let runs = self.running.as_ref().is_none_or(|(package, version)| {
            record.packages.iter().any(|state| {
                state.package == package.as_str() && state.version.as_deref() == Some(version.as_str())
            })
        });
        online && runs && self.stage.is_none_or(|stage| record.stage(view) == Some(stage))
    }

    /// What the store is asked, at the beginning of a page.
    fn filter(&self, order: DeviceOrder, limit: usize) -> DeviceFilter {
        DeviceFilter {
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            cohort: self.cohort,
            tag: self.tag.clone(),
            among: self.among.clone(),
            named: self.named.clone(),
            order,
            limit,
        }
    }
}

impl Control {
    /// Some devices, by rising id, or by name if a prefix is asked for.
    ///
    /// A page looks at no more than [`NAMES_LOOKED_AT`] names or [`IDS_LOOKED_AT`] ids of the store, and reads no more than some
    /// thousand devices, however many there are: where few of many are asked for it may be short, and even empty, and yet have a
    /// next one.
    ///
    /// # Errors
    /// The place is one in another list, or the store fails.
    pub async fn devices(&self, project: ProjectId, query: &DeviceQuery) -> Result<DevicePage, ControlError> {
        let limit = query.limit.clamp(1, PAGE);
        let Some(order) = query.order_after(query.after.as_ref()) else {
            let place = query.after.as_ref().map(ToString::to_string);
            return Err(Refusal::from(Invalid::new(
                "place in a list",
                &place.unwrap_or_default(),
                "is one in a list in another order",
                "where a page of the same list ended",
            ))
            .into());
        };
        if query.is_indexed() || (query.is_of_few() && !query.is_sifted()) {
            let filter = query.filter(order, limit + 1);
            let found = self.shared.store.devices(project, &filter).await?;
            let next = (found.len() > limit).then(|| place(query, &found[limit - 1]));
            let found = found.into_iter().take(limit).collect();
            return Ok(DevicePage {
                devices: self.records(found).await?,
                next,
            });
        }
        let mut search = Search::begin(self, project, query).await?;
        let view = self.shared.view.load_full();
        let mut page = DevicePage::default();
        let mut after = query.after.clone();
        for _ in 0..search.chunks() {
            let chunk = search
                .next(after.as_ref(), limit + 1 - page.devices.len())
                .await?;
            let records = self.records(chunk.devices).await?;
            page.devices
                .extend(records.into_iter().filter(|record| query.admits(&view, record)));
            if page.devices.len() > limit {
                page.devices.truncate(limit);
                page.next = page.devices.last().map(|last| place(query, &last.device));
                return Ok(page);
            }
            match chunk.last {
                None => return Ok(page),
                last => after = last,
            }
            if !search.has_more_to_look_at() {
                break;
            }
        }
        page.next = after;
        Ok(page)
    }
}

/// Where a device is in such a list.
fn place(query: &DeviceQuery, device: &Device) -> DevicePlace {
    match query.is_by_name() {
        true => DevicePlace::Name(device.name.clone()),
        false => DevicePlace::Id(device.id),
    }
}

/// Looks for the devices of a page.
struct Search<'a> {
    control: &'a Control,
    project: ProjectId,
    query: &'a DeviceQuery,
    sieve: Sieve<'a>,
    source: Source,
    /// Keys of the store, so far.
    looked_at: usize,
}

/// By what candidates are found.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// By what is known here.
    Known,
    /// By what is known here: so few that the store may put them in their order.
    Few,
    /// By names or a tag, of which the keys are sifted.
    Keys,
    /// By a tag that so few have that the store may put them in their order.
    Tag,
    /// By their names or ids, which are given.
    Named,
    /// By who is connected, if these are few, each to be read: until they are counted.
    Connected,
    /// By the keys of the store, each to be read: until they are counted.
    Unknown,
}

/// Devices that may be among those asked for.
struct Chunk {
    devices: Vec<Device>,
    /// The place of the last one looked at, unless it is the last of all.
    last: Option<DevicePlace>,
}

impl<'a> Search<'a> {
    async fn begin(
        control: &'a Control,
        project: ProjectId,
        query: &'a DeviceQuery,
    ) -> Result<Self, ControlError> {
        let counting = &control.shared.counting;
        let mut search = Self {
            control,
            project,
            query,
            sieve: Sieve::of(&control.shared.directory, project, query),
            source: Source::Named,
            looked_at: 0,
        };
        if !query.is_of_few() {
            search.source = match search.sieve.connected() <= FEW as u64 {
                true => Source::Connected,
                false => Source::Unknown,
            };
        }
        if query.is_of_few() || control.catch_up().await.is_err() || !counting.is_loaded() {
            return Ok(search);
        }
        let Some(moved) = counting.moved(MOVED_MAX) else {
            return Ok(search);
        };
        search.sieve.moved = moved;
        let found_by_store = query.prefix.is_some() || query.tag.is_some();
        let is_sieved = query.is_sifted() || query.cohort.is_some();
        search.source = if !found_by_store {
            Source::Known
        } else if is_sieved && search.sieve.size(counting) <= FEW {
            Source::Few
        } else if let (Some(tag), true) = (&query.tag, query.is_by_name())
            && control.shared.store.tagged(tag, FEW + 1).await? <= FEW
        {
            Source::Tag
        } else {
            Source::Keys
        };
        Ok(search)
    }

    /// The next devices after a place that may be wanted, about so many.
    async fn next(&mut self, after: Option<&DevicePlace>, wanted: usize) -> Result<Chunk, ControlError> {
        let query = self.query;
        let order = query
            .order_after(after)
            .expect("every place is one that this list has given, or was looked at before");
        let counting = &self.control.shared.counting;
        match self.source {
            Source::Known => {
                let DeviceOrder::Id(after) = order else {
                    unreachable!("a list by name is found by names")
                };
                // Some may be wanted no more by the time they are read.
                let ids = self.sieve.next(counting, after, wanted);
                let last = ids.last().copied().filter(|_| ids.len() == wanted);
                Ok(Chunk {
                    devices: self.read(ids, order).await?,
                    last: last.map(DevicePlace::Id),
                })
            }
            Source::Few => {
                let ids = self.sieve.next(counting, order.id(), usize::MAX);
                let filter = DeviceFilter {
                    among: Some(ids),
                    ..query.filter(order, wanted)
                };
                self.ask(filter).await
            }
            Source::Tag | Source::Named => self.ask(query.filter(order, PAGE)).await,
            Source::Connected => {
                let online = self.sieve.online.as_ref();
                let ids = online.map_or_else(Vec::new, |online| online.after(order.id(), FEW));
                let filter = DeviceFilter {
                    among: Some(ids),
                    ..query.filter(order, PAGE)
                };
                self.ask(filter).await
            }
            Source::Keys | Source::Unknown => {
                // Most of them are not wanted, if nothing is known of them.
                let wanted = match self.source == Source::Unknown {
                    true => PAGE,
                    false => wanted,
                };
                let (ids, last) = self.sift(after.cloned(), wanted).await?;
                Ok(Chunk {
                    devices: self.read(ids, order).await?,
                    last,
                })
            }
        }
    }

    /// Reads keys until enough of them may be wanted.
    async fn sift(
        &mut self,
        mut after: Option<DevicePlace>,
        wanted: usize,
    ) -> Result<(Vec<DeviceId>, Option<DevicePlace>), ControlError> {
        let filter = KeyFilter {
            prefix: self.query.prefix.as_deref(),
            tag: self.query.tag.as_ref(),
        };
        // Where nothing says of any of them that it is not wanted, no more are needed than are read.
        let at_once = match self.source == Source::Unknown && self.sieve.online.is_none() {
            true => wanted.min(KEYS_AT_ONCE),
            false => KEYS_AT_ONCE,
        };
        let mut ids = Vec::new();
        while self.has_more_to_look_at() {
            let store = &self.control.shared.store;
            let keys = store
                .device_keys(self.project, filter, after.as_ref(), at_once)
                .await?;
            let more = keys.len() == at_once;
            self.looked_at += keys.len();
            let admitted = match self.source == Source::Unknown {
                true => self.sieve.online(&keys),
                false => self.sieve.admitted(&self.control.shared.counting, &keys),
            };
            for (key, admitted) in keys.into_iter().zip(admitted) {
                after = Some(key.place);
                if admitted {
                    ids.push(key.id);
                    if ids.len() == wanted {
                        return Ok((ids, after));
                    }
                }
            }
            if !more {
                return Ok((ids, None));
            }
        }
        Ok((ids, after))
    }

    fn has_more_to_look_at(&self) -> bool {
        let bound = match self.query.is_by_name() {
            true => NAMES_LOOKED_AT,
            false => IDS_LOOKED_AT,
        };
        self.looked_at < bound
    }

    /// How often devices are read for a page. More than once where what is known here was a moment old, or is not known yet.
    fn chunks(&self) -> usize {
        match self.source {
            Source::Connected | Source::Unknown => CHUNKS_UNKNOWN,
            Source::Known | Source::Few | Source::Keys | Source::Tag | Source::Named => CHUNKS,
        }
    }

    /// Reads devices that may be wanted.
    async fn read(&self, ids: Vec<DeviceId>, order: DeviceOrder) -> Result<Vec<Device>, ControlError> {
        let filter = DeviceFilter {
            limit: ids.len(),
            among: Some(ids),
            ..self.query.filter(order, 0)
        };
        Ok(self.control.shared.store.devices(self.project, &filter).await?)
    }

    /// Asks the store, which says of all but what only is known here whether it is wanted.
    async fn ask(&mut self, filter: DeviceFilter) -> Result<Chunk, ControlError> {
        let mut devices = self.control.shared.store.devices(self.project, &filter).await?;
        let last = devices.last().map(|device| place(self.query, device));
        let last = last.filter(|_| devices.len() == filter.limit);
        devices.retain(|device| self.sieve.is_online_as_wanted(device.id));
        Ok(Chunk { devices, last })
    }
}

/// What is known here of the devices that are wanted.
struct Sieve<'a> {
    project: ProjectId,
    query: &'a DeviceQuery,
    /// Who is connected, if that is asked for.
    online: Option<ConnectedNow>,
    /// Devices that are not known as they are: where it is in doubt, they may be wanted.
    moved: BTreeSet<DeviceId>,
}

impl<'a> Sieve<'a> {
    fn of(directory: &Directory, project: ProjectId, query: &'a DeviceQuery) -> Self {
        Self {
            project,
            query,
            online: query.online.map(|_| directory.connected_now(project)),
            moved: BTreeSet::new(),
        }
    }

    fn is_online_as_wanted(&mut self, id: DeviceId) -> bool {
        match (&mut self.online, self.query.online) {
            (Some(online), Some(wanted)) => online.has(id) == wanted,
            (_, _) => true,
        }
    }

    /// How many may be wanted, at most.
    fn size(&self, counting: &Counting) -> usize {
        let wanted = |facts: &Facts| self.query.may_be(self.project, facts);
        let known = counting.count(wanted).saturating_add(self.moved.len() as u64);
        usize::try_from(known.min(self.connected())).unwrap_or(usize::MAX)
    }

    /// How many are connected, if only those are wanted.
    fn connected(&self) -> u64 {
        match (&self.online, self.query.online) {
            (Some(online), Some(true)) => online.count(),
            (_, _) => u64::MAX,
        }
    }

    /// The next devices after one that may be wanted, so many at most.
    fn next(&mut self, counting: &Counting, after: Option<DeviceId>, limit: usize) -> Vec<DeviceId> {
        let (query, project) = (self.query, self.project);
        let moved = std::mem::take(&mut self.moved);
        let wanted = |facts: &Facts| query.may_be(project, facts);
        let mut ids = counting.matching(after, limit, wanted, |id| self.is_online_as_wanted(id));
        let from = after.map_or(i64::MIN, |after| after.get().saturating_add(1));
        let more = moved.range(DeviceId::new(from)..).copied();
        let more: Vec<_> = more.filter(|&id| self.is_online_as_wanted(id)).collect();
        if !more.is_empty() {
            ids.extend(more);
            ids.sort_unstable();
            ids.dedup();
            ids.truncate(limit);
        }
        self.moved = moved;
        ids
    }

    /// Of each of some devices, whether it may be wanted.
    fn admitted(&mut self, counting: &Counting, keys: &[DeviceKey]) -> Vec<bool> {
        let (query, project) = (self.query, self.project);
        let wanted = |facts: &Facts| query.may_be(project, facts);
        let mut admitted = counting.are(keys.iter().map(|key| key.id), wanted);
        for (key, admitted) in keys.iter().zip(&mut admitted) {
            *admitted = key.has_tag
                && (*admitted || self.moved.contains(&key.id))
                && self.is_online_as_wanted(key.id);
        }
        admitted
    }

    /// The same, if nothing else is known of them.
    fn online(&mut self, keys: &[DeviceKey]) -> Vec<bool> {
        let keys = keys.iter();
        keys.map(|key| key.has_tag && self.is_online_as_wanted(key.id))
            .collect()
    }
}

/// The most devices of a page.
const PAGE: usize = 1000;
/// A reasoned guess: what is known here is seldom older than the page.
const CHUNKS: usize = 10;
/// Thousands of devices that are read for a page until they are counted: some hundred milliseconds.
const CHUNKS_UNKNOWN: usize = 3;
/// Devices that the store may be asked to look at and to put in order for one page: some ten milliseconds.
const FEW: usize = if cfg!(test) { 5 } else { 10_000 };
/// Keys that are read at once, in some ten milliseconds.
const KEYS_AT_ONCE: usize = if cfg!(test) { 7 } else { 20_000 };
/// Names that are looked at for a page: less than a hundred milliseconds of the store.
const NAMES_LOOKED_AT: usize = if cfg!(test) { 21 } else { 40_000 };
/// Ids that are looked at for a page: the same.
const IDS_LOOKED_AT: usize = if cfg!(test) { 28 } else { 300_000 };
/// Devices in doubt that are kept in mind for a page. Where there are more, as in the middle of an import, each is read.
const MOVED_MAX: usize = 10_000;
