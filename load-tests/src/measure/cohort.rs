//! What was deployed to a cohort, and who is on the way to it.

use super::device::{Moment, Version};
use crate::scenario::ImageName;

/// What was deployed to a cohort, oldest first; the last one is active.
#[derive(Clone, Debug, Default)]
pub struct Cohort {
    /// The deployments.
    pub deployments: Vec<Deployment>,
}

/// A deployment. There are no more than the scenario has events and cohorts.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// What devices know it by; `None` until its request was answered.
    pub sequence: Option<i64>,
    /// What it consists of.
    pub images: Vec<ImageName>,
    /// What the devices of each kind are to run; `None` where it has nothing for their package.
    pub versions: Vec<Option<Version>>,
    /// Whether whoever takes it comes to run it. Otherwise nobody is waited for.
    pub boots_well: bool,
    /// Good devices that were switched on and in the cohort when it was asked for, and did not wait for the one before.
    pub to_be_told: u64,
    /// Good devices that do not run it yet.
    pub waiting: u64,
    /// The longest that one took, in microseconds.
    pub slowest: u64,
    /// The longest that one had waited when another deployment replaced this one.
    pub cut_off: u64,
    /// When its request was due; the beginning, for what was deployed before.
    pub due: Moment,
}

impl Cohort {
    /// The active deployment and its place.
    pub fn active(&self) -> Option<(u32, &Deployment)> {
        (0_u32..).zip(&self.deployments).last()
    }

    /// Which deployment a manifest's sequence number is of. One that was asked for and not answered yet may be seen by a device
    /// before the answer is: whatever is above all that is known is of that one.
    pub fn of_sequence(&self, sequence: i64) -> Option<u32> {
        let highest_before = |place: usize| {
            let before = self.deployments[..place].iter();
            before.filter_map(|deployment| deployment.sequence).max()
        };
        let place =
            (0..self.deployments.len())
                .rev()
                .find(|&place| match self.deployments[place].sequence {
                    Some(known) => known <= sequence,
                    None => highest_before(place).is_none_or(|known| known < sequence),
                })?;
        u32::try_from(place).ok()
    }
}
