//! What is counted, by name: over the whole run, for each kind of device.

use std::collections::BTreeMap;

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// Handshakes of good devices that brought a session.
    Handshakes,
    /// Of them those that were neither a device's first nor its first after a boot.
    HandshakesAgain,
    /// Handshakes of good devices that came to nothing.
    HandshakesFailed,
    /// Sessions of devices with bad credentials.
    Intruders,
    /// Handshakes of devices with bad credentials that came to nothing.
    IntrudersRefused,
    /// Handshakes of devices with bad credentials in which nothing was heard: whether the gateway refused them nobody knows.
    IntrudersUnanswered,
    /// Sessions given up because a request stayed without an answer.
    EndedNoAnswer,
    /// Sessions given up because the gateway reset a request.
    EndedReset,
    /// Sessions given up because nothing was heard for too long.
    EndedSilence,
    /// Sessions given up because a message arrived that is none.
    EndedMalformed,
    /// Sessions closed by the gateway.
    EndedClosed,
    /// Sessions that could not seal any more records.
    EndedExhausted,
    /// Registrations for the manifest that were answered.
    Registrations,
    /// Registrations that were refused.
    RegistrationsRefused,
    /// Manifests, by whatever way they came.
    Manifests,
    /// Manifests that the device could not read.
    ManifestsRejected,
    /// Blocks.
    Blocks,
    /// Requests for a block that came to nothing.
    BlocksFailed,
    /// Bytes of artifacts.
    Bytes,
    /// Whole artifacts with the right hash.
    Downloads,
    /// Devices that reported what they were to run, having run something else.
    Updates,
    /// Updates given up for now.
    UpdatesFailed,
    /// Updates to the version that the same device's update before had been to.
    UpdateLoops,
    /// Roll backs after a bad image.
    RolledBack,
    /// Boots, for whatever reason, after the first.
    Boots,
    /// Programs that ran into an assertion.
    Crashes,
    /// Reports taken.
    Reports,
    /// Reports refused.
    ReportsRefused,
    /// Requests sent again.
    Retransmissions,
    /// Requests that came to nothing.
    RequestsFailed,
    /// Devices that were due and still had no session at the end, or none again.
    HandshakesWaiting,
    /// Devices that had not seen a manifest at the end that they were to be notified of.
    NotificationsWaiting,
    /// Devices that did not run at the end what they were to be updated to.
    UpdatesWaiting,
}

impl Count {
    /// All of them with their names, in the order of their declaration.
    const NAMES: [(Self, &'static str); COUNTS] = [
        (Self::Handshakes, "handshakes"),
        (Self::HandshakesAgain, "handshakes_again"),
        (Self::HandshakesFailed, "handshakes_failed"),
        (Self::Intruders, "intruders"),
        (Self::IntrudersRefused, "intruders_refused"),
        (Self::IntrudersUnanswered, "intruders_unanswered"),
        (Self::EndedNoAnswer, "ended_no_answer"),
        (Self::EndedReset, "ended_reset"),
        (Self::EndedSilence, "ended_silence"),
        (Self::EndedMalformed, "ended_malformed"),
        (Self::EndedClosed, "ended_closed"),
        (Self::EndedExhausted, "ended_exhausted"),
        (Self::Registrations, "registrations"),
        (Self::RegistrationsRefused, "registrations_refused"),
        (Self::Manifests, "manifests"),
        (Self::ManifestsRejected, "manifests_rejected"),
        (Self::Blocks, "blocks"),
        (Self::BlocksFailed, "blocks_failed"),
        (Self::Bytes, "bytes"),
        (Self::Downloads, "downloads"),
        (Self::Updates, "updates"),
        (Self::UpdatesFailed, "updates_failed"),
        (Self::UpdateLoops, "update_loops"),
        (Self::RolledBack, "rolled_back"),
        (Self::Boots, "boots"),
        (Self::Crashes, "crashes"),
        (Self::Reports, "reports"),
        (Self::ReportsRefused, "reports_refused"),
        (Self::Retransmissions, "retransmissions"),
        (Self::RequestsFailed, "requests_failed"),
        (Self::HandshakesWaiting, "handshakes_waiting"),
        (Self::NotificationsWaiting, "notifications_waiting"),
        (Self::UpdatesWaiting, "updates_waiting"),
    ];
}

/// The counts of some devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    numbers: [u64; COUNTS],
    /// Parts of some counts, by the reason given.
    reasons: BTreeMap<(Count, &'static str), u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            numbers: [0; COUNTS],
            reasons: BTreeMap::new(),
        }
    }
}

impl Counts {
    /// One more.
    pub fn one(&mut self, count: Count) {
        self.more(count, 1);
    }

    /// So many more.
    pub fn more(&mut self, count: Count, by: u64) {
        self.numbers[count as usize] += by;
    }

    /// One more, for a reason.
    pub fn because(&mut self, count: Count, reason: &'static str) {
        self.one(count);
        *self.reasons.entry((count, reason)).or_default() += 1;
    }

    /// Adds those of other devices.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.numbers.iter_mut().zip(other.numbers) {
            *sum += more;
        }
        for (reason, more) in &other.reasons {
            *self.reasons.entry(*reason).or_default() += more;
        }
    }

    /// How often it was counted.
    pub fn get(&self, count: Count) -> u64 {
        self.numbers[count as usize]
    }

    /// By name; a part by the name and the reason: `handshakes_failed_timeout`.
    pub fn facts(&self) -> BTreeMap<String, u64> {
        let whole = Count::NAMES
            .iter()
            .map(|(count, name)| ((*name).to_owned(), self.get(*count)));
        let parts = self.reasons.iter().map(|((count, reason), number)| {
            let (_, name) = Count::NAMES[*count as usize];
            (format!("{name}_{}", slug(reason)), *number)
        });
        whole.chain(parts).collect()
    }
}

/// `no common cipher suite` as `no_common_cipher_suite`.
fn slug(words: &str) -> String {
    let letters = words.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '_'
        }
    });
    letters.collect()
}

const COUNTS: usize = 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_stands_at_its_own_place_under_a_name_of_its_own() {
        for (place, (count, name)) in Count::NAMES.iter().enumerate() {
            assert_eq!(*count as usize, place, "{name}");
        }
        let mut counts = Counts::default();
        for (place, (count, _)) in (1..).zip(Count::NAMES) {
            counts.more(count, place);
        }
        let facts = counts.facts();
        assert_eq!(facts.len(), COUNTS);
        assert_eq!(facts["handshakes"], 1);
        assert_eq!(facts["updates_waiting"], COUNTS as u64);
    }

    #[test]
    fn a_reason_is_a_part_of_its_count() {
        let mut counts = Counts::default();
        counts.because(Count::HandshakesFailed, "no answer");
        counts.because(Count::HandshakesFailed, "no answer");
        counts.because(Count::HandshakesFailed, "alert");
        let mut sum = counts.clone();
        sum.add(&counts);
        let facts = sum.facts();
        assert_eq!(facts["handshakes_failed"], 6);
        assert_eq!(facts["handshakes_failed_no_answer"], 4);
        assert_eq!(facts["handshakes_failed_alert"], 2);
    }
}
