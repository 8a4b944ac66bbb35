//! Which devices have a session: a bit for each id, in blocks, so that a million devices cost some hundred kilobytes, the next ones
//! after another are found by walking over words, and whether some hundred thousand have one is asked of a copy, without a lock.

use std::collections::{BTreeMap, HashMap};

use crate::fleet::{DeviceId, ProjectId};

/// The devices that have a session, by project.
#[derive(Debug, Default)]
pub struct Connected {
    projects: BTreeMap<ProjectId, OfProject>,
}

#[derive(Debug, Default)]
struct OfProject {
    /// By the ids divided by [`BLOCK`]; none is empty.
    blocks: BTreeMap<i64, Bits>,
    /// How many sessions a device has beside the first: more than one entry of it may have one for a moment.
    further: HashMap<DeviceId, u32>,
}

/// A bit for each id of a block.
type Bits = [u64; WORDS];

impl Connected {
    /// A device has one more session.
    pub fn begin(&mut self, project: ProjectId, id: DeviceId) {
        let of = self.projects.entry(project).or_default();
        let (block, word, bit) = place(id);
        let words = of.blocks.entry(block).or_default();
        if words[word] & bit != 0 {
            *of.further.entry(id).or_default() += 1;
        }
        words[word] |= bit;
    }

    /// A device has one less.
    pub fn end(&mut self, project: ProjectId, id: DeviceId) {
        let Some(of) = self.projects.get_mut(&project) else {
            return;
        };
        if let Some(further) = of.further.get_mut(&id) {
            *further -= 1;
            if *further == 0 {
                of.further.remove(&id);
            }
            return;
        }
        let (block, word, bit) = place(id);
        if let Some(words) = of.blocks.get_mut(&block) {
            words[word] &= !bit;
            if words.iter().all(|&word| word == 0) {
                of.blocks.remove(&block);
            }
        }
    }

    /// The next devices of a project after one, by rising id, so many at most.
    pub fn after(&self, project: ProjectId, after: Option<DeviceId>, limit: usize) -> Vec<DeviceId> {
        let Some(of) = self.projects.get(&project) else {
            return Vec::new();
        };
        let from = after.map_or(i64::MIN, |after| after.get().saturating_add(1));
        let blocks = of.blocks.range(from.div_euclid(BLOCK)..);
        ids(blocks.map(|(&block, words)| (block, words)), from, limit)
    }

    /// Those of a project as they are at this moment.
    pub fn of(&self, project: ProjectId) -> ConnectedNow {
        let of = self.projects.get(&project);
        let blocks = of.into_iter().flat_map(|of| &of.blocks);
        ConnectedNow {
            blocks: blocks.map(|(&block, words)| (block, *words)).collect(),
            last: 0,
        }
    }
}

/// The devices of a project that had a session at a moment. Asked for rising ids it finds its way without searching.
#[derive(Debug, Default)]
pub struct ConnectedNow {
    blocks: Vec<(i64, Bits)>,
    /// The block that was looked at last.
    last: usize,
}

impl ConnectedNow {
    /// Whether a device is one of them.
    pub fn has(&mut self, id: DeviceId) -> bool {
        let (block, word, bit) = place(id);
        if self.blocks.get(self.last).is_none_or(|(at, _)| *at != block) {
            let found = self.blocks.binary_search_by_key(&block, |(at, _)| *at);
            let Ok(found) = found else { return false };
            self.last = found;
        }
        self.blocks[self.last].1[word] & bit != 0
    }

    /// The next ones after one, by rising id, so many at most.
    pub fn after(&self, after: Option<DeviceId>, limit: usize) -> Vec<DeviceId> {
        let from = after.map_or(i64::MIN, |after| after.get().saturating_add(1));
        let first = self
            .blocks
            .partition_point(|(block, _)| *block < from.div_euclid(BLOCK));
        let blocks = self.blocks[first..].iter();
        ids(blocks.map(|(block, words)| (*block, words)), from, limit)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        let words = self.blocks.iter().flat_map(|(_, words)| words);
        words.map(|word| u64::from(word.count_ones())).sum()
    }
}

/// The ids of blocks from one on, so many at most.
fn ids<'a>(blocks: impl Iterator<Item = (i64, &'a Bits)>, from: i64, limit: usize) -> Vec<DeviceId> {
    let ids = blocks.flat_map(|(block, words)| {
        let words = words.iter().enumerate();
        words.flat_map(move |(word, &bits)| ones(bits).map(move |bit| block * BLOCK + number(word, bit)))
    });
    let ids = ids.filter(|&id| id >= from).map(DeviceId::new);
    ids.take(limit).collect()
}

fn place(id: DeviceId) -> (i64, usize, u64) {
    let (block, rest) = (id.get().div_euclid(BLOCK), id.get().rem_euclid(BLOCK));
    let rest = usize::try_from(rest).expect("it is not negative, and less than BLOCK");
    (block, rest / 64, 1 << (rest % 64))
}

/// The places of the bits that are set, rising.
fn ones(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

fn number(word: usize, bit: u32) -> i64 {
    i64::try_from(word * 64).expect("a block has few words") + i64::from(bit)
}

/// Ids of a block. Devices that were made together have ids that are close to each other; one that is alone costs 128 bytes.
const BLOCK: i64 = 1024;
const WORDS: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use super::Connected;
    use crate::fleet::{DeviceId, ProjectId};

    proptest! {
        #[test]
        fn it_knows_what_a_list_of_all_would_know(
            steps in vec((1..3_i64, id(), any::<bool>()), 0..400),
            after in id(),
            limit in 0..50_usize,
        ) {
            let mut connected = Connected::default();
            let mut all: BTreeMap<(i64, i64), u32> = BTreeMap::new();
            for (project, id, begins) in steps {
                let sessions = all.entry((project, id)).or_default();
                if begins {
                    *sessions += 1;
                    connected.begin(ProjectId::new(project), DeviceId::new(id));
                } else if *sessions > 0 {
                    *sessions -= 1;
                    connected.end(ProjectId::new(project), DeviceId::new(id));
                }
            }
            all.retain(|_, sessions| *sessions > 0);
            for project in 1..3 {
                let ids: Vec<i64> = all.keys().filter(|(of, _)| *of == project).map(|(_, id)| *id).collect();
                let page = |after: Option<i64>, limit| -> Vec<i64> {
                    let found = connected.after(ProjectId::new(project), after.map(DeviceId::new), limit);
                    found.into_iter().map(DeviceId::get).collect()
                };
                assert_eq!(page(None, usize::MAX), ids);
                let next: Vec<i64> = ids.iter().copied().filter(|&id| id > after).take(limit).collect();
                assert_eq!(page(Some(after), limit), next);
                let mut now = connected.of(ProjectId::new(project));
                assert_eq!(now.count(), ids.len() as u64);
                let page: Vec<_> = now.after(Some(DeviceId::new(after)), limit).into_iter().map(DeviceId::get).collect();
                assert_eq!(page, next);
                for id in (-5..5000).chain([i64::MAX, i64::MIN]).chain(ids.iter().copied()) {
                    assert_eq!(now.has(DeviceId::new(id)), ids.contains(&id), "{id}");
                }
            }
            // What is gone takes up no room.
            for ((project, id), sessions) in all {
                for _ in 0..sessions {
                    connected.end(ProjectId::new(project), DeviceId::new(id));
                }
            }
            assert!(connected.projects.values().all(|of| of.blocks.is_empty() && of.further.is_empty()));
        }
    }

    fn id() -> impl Strategy<Value = i64> {
        prop_oneof![0..70_i64, 0..5000_i64, any::<i64>()]
    }
}
