//! How far a deployment has come: the devices of its cohort by what is known of each.

use serde_json::{Map, Value};

/// Where a device is on its way to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not heard of it, as far as the gateway knows.
    Pending,
    /// Has acknowledged the manifest.
    Notified,
    /// Fetches.
    Downloading,
    /// Has it all.
    Downloaded,
    /// Is about to boot it.
    Updating,
    /// Runs it.
    Done,
    /// Said that it did not work.
    Failed,
}

/// The devices of a cohort by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress([u64; State::ALL.len()]);

impl State {
    /// In the order of an update, the two in which it ends last.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Notified,
        Self::Downloading,
        Self::Downloaded,
        Self::Updating,
        Self::Done,
        Self::Failed,
    ];

    /// The API's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Notified => "notified",
            Self::Downloading => "downloading",
            Self::Downloaded => "downloaded",
            Self::Updating => "updating",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Pending => 0,
            Self::Notified => 1,
            Self::Downloading => 2,
            Self::Downloaded => 3,
            Self::Updating => 4,
            Self::Done => 5,
            Self::Failed => 6,
        }
    }
}

impl Progress {
    /// From the answer of `GET deployments/{id}/progress`; `None` if it is none.
    pub fn of(answer: &Value) -> Option<Self> {
        let mut progress = Self::default();
        for state in State::ALL {
            progress.0[state.index()] = answer[state.as_str()].as_u64()?;
        }
        Some(progress)
    }

    /// Devices in this state.
    pub fn count(&self, state: State) -> u64 {
        self.0[state.index()]
    }

    /// Devices of the cohort.
    pub fn devices(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Devices that are neither done nor failed.
    pub fn under_way(&self) -> u64 {
        self.devices() - self.count(State::Done) - self.count(State::Failed)
    }

    /// What is not done, in words: `2 failed, 3 downloading, 10 pending`. Nothing where everything is.
    pub fn rest(&self) -> String {
        let order = [
            State::Failed,
            State::Updating,
            State::Downloaded,
            State::Downloading,
            State::Notified,
            State::Pending,
        ];
        let shown = order.into_iter().filter(|&state| self.count(state) > 0);
        let shown: Vec<String> = shown
            .map(|state| format!("{} {}", self.count(state), state.as_str()))
            .collect();
        shown.join(", ")
    }

    /// For programs: a key per state, and how many devices they are.
    pub fn to_json(self) -> Map<String, Value> {
        let mut shape = Map::new();
        for state in State::ALL {
            shape.insert(state.as_str().to_owned(), self.count(state).into());
        }
        shape.insert("devices".to_owned(), self.devices().into());
        shape
    }

    /// Figures as a test has them, in the order of [`State::ALL`].
    #[cfg(test)]
    pub fn from_counts(counts: [u64; State::ALL.len()]) -> Self {
        Self(counts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_of_the_api_is_counted_and_told_in_words() {
        let answer = json!({
            "pending": 10, "notified": 1, "downloading": 3, "downloaded": 0, "updating": 2, "done": 7, "failed": 2,
            "bytesServed": 12_345,
        });
        let progress = Progress::of(&answer).expect("an answer");
        assert_eq!(progress.devices(), 25);
        assert_eq!(progress.under_way(), 16);
        assert_eq!(
            progress.rest(),
            "2 failed, 2 updating, 3 downloading, 1 notified, 10 pending"
        );
        assert_eq!(progress.to_json()["devices"], 25);
        assert_eq!(progress.to_json()["downloading"], 3);
        assert_eq!(Progress::default().rest(), "");
        assert_eq!(Progress::of(&json!({"done": 7})), None);
    }
}
