//! How many devices stand where, kept up as they move.

use super::device::{Link, Version};

/// Good devices, by where they stand.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub good: u64,
    pub connected: u64,
    pub observing: u64,
    pub registered: u64,
    pub was_registered: u64,
    pub had_session: u64,
    pub downloading: u64,
    pub wanted: u64,
    pub converged: u64,
    /// By [`Version`].
    pub versions: Vec<u64>,
    /// Of all those that are to be notified.
    pub notices: u64,
    pub bad: u64,
    pub bad_tried: u64,
}

/// What of a device is counted for the whole fleet.
pub struct Standing {
    pub is_good: bool,
    pub link: Link,
    pub is_registered: bool,
    pub had_session: bool,
    pub was_registered: bool,
    pub has_tried: bool,
    pub is_downloading: bool,
    pub is_wanted: bool,
    pub is_converged: bool,
    pub has_notice: bool,
    pub runs: Version,
}

impl Tally {
    /// A device stands like this from here on.
    pub fn enter(&mut self, standing: &Standing) {
        self.count(standing, |sum| *sum += 1);
    }

    /// A device stands like this no longer.
    pub fn leave(&mut self, standing: &Standing) {
        self.count(standing, |sum| *sum -= 1);
    }

    fn count(&mut self, standing: &Standing, step: impl Fn(&mut u64)) {
        if !standing.is_good {
            step(&mut self.bad);
            if standing.has_tried {
                step(&mut self.bad_tried);
            }
            return;
        }
        step(&mut self.good);
        let place = standing.runs.0 as usize;
        if self.versions.len() <= place {
            self.versions.resize(place + 1, 0);
        }
        step(&mut self.versions[place]);
        for (holds, sum) in [
            (standing.link != Link::Down, &mut self.connected),
            (standing.link == Link::Observing, &mut self.observing),
            (standing.is_registered, &mut self.registered),
            (standing.was_registered, &mut self.was_registered),
            (standing.had_session, &mut self.had_session),
            (standing.is_downloading, &mut self.downloading),
            (standing.is_wanted, &mut self.wanted),
            (standing.is_converged, &mut self.converged),
            (standing.has_notice, &mut self.notices),
        ] {
            if holds {
                step(sum);
            }
        }
    }
}
