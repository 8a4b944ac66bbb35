//! Where a device stands, as far as it has told.

/// A moment of a run: microseconds since the arrival began. Whatever was before that is at its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Microseconds since an earlier moment.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many microseconds later.
    pub fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// A version of a package, by its place among those that have been met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u32);

/// Where a device stands.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its kind, by its place in the scenario.
    pub kind: u32,
    /// Its cohort, by its place in the scenario.
    pub cohort: Option<u32>,
    /// When it is switched on, as planned.
    pub due: Moment,
    /// Its session.
    pub link: Link,
    /// Whether a download runs.
    pub is_downloading: bool,
    /// Whether a registration was answered since its last boot.
    pub is_registered: bool,
    /// Whether a request came to nothing in this session before its registration was answered: if it was that, one port does not
    /// ask again before its next session.
    pub may_have_given_up: bool,
    /// Whether a registration was ever answered.
    pub was_registered: bool,
    /// Whether a handshake of it has ended, either way, in which the gateway was heard.
    pub has_tried: bool,
    /// Whether it ever had a session.
    pub had_session: bool,
    /// Whether its next handshake is its first, or its first after a boot.
    pub is_fresh: bool,
    /// While it has no session after one or after a boot: when its next handshake was to begin, or when the first one failed,
    /// whichever is earlier.
    pub waiting_since: Option<Moment>,
    /// What it runs.
    pub runs: Version,
    /// What it has reported to run, and had an answer to.
    pub reported: Option<Version>,
    /// The manifest that it is to be notified of.
    pub notice: Option<Notice>,
    /// What it is to run, while it does not.
    pub task: Option<Task>,
    /// What it has fetched and not booted yet.
    pub fetched: Option<Version>,
    /// What its last update was to.
    pub updated_to: Option<Version>,
}

/// A device's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// None.
    Down,
    /// There is one.
    Connected,
    /// There is one, in which the registration was answered.
    Observing,
}

/// A manifest to come.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// The deployment, by its place in its cohort.
    pub deployment: u32,
    /// When its request was due.
    pub due: Moment,
}

/// An update to be made, or a version to be reported.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The deployment, by its place in the device's cohort.
    pub deployment: u32,
    /// From when on the device could have begun.
    pub since: Moment,
    /// Whether it ran something else.
    pub is_update: bool,
}

impl Device {
    /// One that is switched on when it is due, and runs this.
    pub fn new(kind: u32, cohort: Option<u32>, due: Moment, runs: Version) -> Self {
        Self {
            kind,
            cohort,
            due,
            link: Link::Down,
            is_downloading: false,
            is_registered: false,
            may_have_given_up: false,
            was_registered: false,
            has_tried: false,
            had_session: false,
            is_fresh: true,
            waiting_since: None,
            runs,
            reported: None,
            notice: None,
            task: None,
            fetched: None,
            updated_to: None,
        }
    }

    /// Off and on: whatever was in memory is gone. If ever, it is to be back at this moment.
    pub fn restart(&mut self, back: Option<Moment>) {
        self.link = Link::Down;
        self.is_downloading = false;
        self.is_registered = false;
        self.may_have_given_up = false;
        self.is_fresh = true;
        self.waiting_since = back;
    }
}
