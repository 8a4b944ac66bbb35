//! Every section of a scenario's file and its keys. What they mean: `load-tests/README.md`, which a test holds to this table.

/// Keys above the first section, and the sections themselves.
pub const TOP: Keys = &[
    "name",
    "about",
    "seed",
    "stop_after",
    "linger",
    "stragglers",
    "gateway",
    "images",
    "cohorts",
    "devices",
    "networks",
    "arrival",
    "events",
    "expect",
];

/// `[gateway]`
pub const GATEWAY: Keys = &["shards", "disk", "config"];

/// `[images."PACKAGE@VERSION"]`
pub const IMAGE: Keys = &["size", "boots"];

/// `[[cohorts]]`
pub const COHORT: Keys = &["name", "deployed"];

/// `[[devices]]`
pub const DEVICES: Keys = &[
    "name",
    "count",
    "engine",
    "port",
    "suites",
    "credential",
    "connection_id",
    "block_size",
    "runs",
    "cohort",
    "network",
    "faster",
];

/// `[networks.NAME]`
pub const NETWORK: Keys = &[
    "based_on",
    "loss",
    "duplicate",
    "reorder",
    "delay",
    "bandwidth",
    "queue",
    "up",
    "down",
];

/// `[networks.NAME.up]` and `[networks.NAME.down]`
pub const DIRECTION: Keys = &["loss", "duplicate", "reorder", "delay", "bandwidth", "queue"];

/// A delay that is not always the same.
pub const DELAY: Keys = &["from", "to", "mean", "deviation", "median", "sigma"];

/// `[arrival]`
pub const ARRIVAL: Keys = &["how", "over"];

/// `[[events]]`; beside `do` and when, each takes only what [`EVENT_KINDS`] says.
pub const EVENT: Keys = &[
    "do", "at", "after", "delay", "cohort", "images", "devices", "share", "to", "lasts", "away", "shards",
];

/// What can happen, and what each takes.
pub const EVENT_KINDS: &[(&str, Keys)] = &[
    ("deploy", &["cohort", "images"]),
    ("roll-back", &["cohort"]),
    ("move", &["devices", "share", "to"]),
    ("rebind", &["devices", "share"]),
    ("reboot", &["devices", "share"]),
    ("outage", &["devices", "share", "lasts"]),
    ("kill-gateway", &["away", "shards"]),
    ("restart-gateway", &["away", "shards"]),
    ("fill-disk", &["lasts"]),
];

/// `[expect]`
pub const EXPECT: Keys = &[
    "connected_within",
    "converged_within",
    "converged",
    "recorded",
    "handshake_p99",
    "notification_p99",
    "block_p99",
    "update_p99",
    "devices_lost",
    "handshakes_again",
    "handshakes_failed",
    "intruders",
    "updates_failed",
    "rolled_back",
    "update_loops",
    "reports_refused",
    "store_errors",
    "server_cpu_per_device",
    "server_memory_per_device",
    "simulator_late_p99",
];

/// Keys, in the order in which they are documented.
pub type Keys = &'static [&'static str];
