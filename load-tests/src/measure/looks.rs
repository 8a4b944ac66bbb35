//! The gateway, as it was looked at.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::gateway::Figures;

/// What was seen of the gateway.
#[derive(Debug, Default)]
pub struct Looks {
    pub before: Option<Figures>,
    pub last: Option<Figures>,
    pub memory_max: u64,
    /// Resident bytes when all good devices were connected for the first time.
    pub memory_connected: Option<u64>,
}

impl Looks {
    /// Failures of the gateway's store in the run.
    pub fn store_errors(&self) -> Option<u64> {
        let (before, last) = (self.before.as_ref()?, self.last.as_ref()?);
        Some(
            last.counted
                .store_errors
                .saturating_sub(before.counted.store_errors),
        )
    }

    /// What the gateway counted from before the first device to the last look.
    pub fn facts(&self, at: Instant) -> BTreeMap<String, f64> {
        let Some(last) = &self.last else {
            return BTreeMap::new();
        };
        let mut facts = last.facts();
        if let Some(before) = &self.before {
            for (name, value) in before.facts() {
                // How many there are at the end is no sum.
                if name != "sessions" && name != "observers" {
                    *facts.entry(name).or_default() -= value;
                }
            }
            facts.insert("memory_bytes_before".to_owned(), before.resident_bytes as f64);
        }
        if let Some(bytes) = self.memory_connected {
            facts.insert("memory_bytes_connected".to_owned(), bytes as f64);
        }
        facts.insert("memory_bytes_max".to_owned(), self.memory_max as f64);
        facts.insert("memory_bytes".to_owned(), last.resident_bytes as f64);
        // How old all of this is: of a gateway that answers until the end, nothing.
        let age = at.saturating_duration_since(last.at);
        facts.insert("last_look_s".to_owned(), age.as_secs_f64());
        facts
    }
}
