//! Bad files: one that is right, with one of its lines made wrong at a time.

/// A scenario that is right: [`BAD`] makes one of its lines wrong at a time.
pub const BASE: &str = r#"name = "base"
stop_after = "60 s"
[gateway]
disk = "64 MiB"
[images."main@1.0.0"]
size = "8 KiB"
[images."main@1.1.0"]
size = "8 KiB"
[images."main@bad"]
size = "8 KiB"
boots = "badly"
[[cohorts]]
name = "all"
deployed = "main@1.0.0"
[[cohorts]]
name = "other"
[[devices]]
name = "sensor"
count = 10
port = "zephyr"
runs = "main@1.0.0"
cohort = "all"
network = "slow"
[networks.slow]
based_on = "wifi"
loss = 0.05
[arrival]
how = "ramp"
over = "5 s"
[[events]]
do = "deploy"
after = "connected"
cohort = "all"
images = ["main@1.1.0"]
[[events]]
do = "reboot"
after = "previous"
delay = "5 s"
share = 0.5
[expect]
converged = 1.0
connected_within = "30 s"
"#;

/// The line to be replaced, by what, and every line of what is said about it.
pub const BAD: &[(usize, &str, &[&str])] = &[
    (
        1,
        "name = base",
        &["F:1:8: this is no TOML: string values must be quoted, expected literal string"],
    ),
    (
        3,
        "[gateway",
        &["F:3:9: this is no TOML: unclosed table, expected `]`"],
    ),
    (
        19,
        "count = 10
count = 11",
        &["F:20:1: this is no TOML: duplicate key"],
    ),
    (
        1,
        r#"name = "Base 1""#,
        &[r#"F:1:8: name = "Base 1": expected 1 to 40 of a-z 0-9 -, starting with a letter or digit"#],
    ),
    (
        1,
        "# no name",
        &["F:1:1: name: is missing: expected 1 to 40 of a-z 0-9 -, starting with a letter or digit"],
    ),
    (
        2,
        r#"stop_after = "60 seconds""#,
        &[
            r#"F:2:14: stop_after = "60 seconds": expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 1 s to 720 h"#,
        ],
    ),
    (
        2,
        "stop_after = 60",
        &[
            r#"F:2:14: stop_after = 60: expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 1 s to 720 h"#,
        ],
    ),
    (
        2,
        "# without an end",
        &[
            r#"F:1:1: stop_after: is missing: expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 1 s to 720 h"#,
        ],
    ),
    (
        1,
        r#"name = "base"
sede = 1"#,
        &[
            "F:2:1: sede: unknown key; did you mean seed? There are name, about, seed, stop_after, linger, stragglers, gateway, images, cohorts, devices, networks, arrival, events, expect",
        ],
    ),
    (
        1,
        r#"name = "base"
seed = -1"#,
        &["F:2:8: seed = -1: expected a whole number from 0 to 9223372036854775807"],
    ),
    (
        1,
        r#"name = "base"
about = 1"#,
        &[r#"F:2:9: about = 1: expected a text, like "this one""#],
    ),
    (
        1,
        r#"name = "base"
stragglers = -1"#,
        &["F:2:14: stragglers = -1: expected a whole number from 0 to 1000000"],
    ),
    (
        1,
        r#"name = "base"
stragglers = 10"#,
        &["F:2:14: stragglers = 10: that is every good device: expected less than there are, 10"],
    ),
    (
        1,
        r#"name = "base"
linger = "1.0001234567891 s""#,
        &[
            r#"F:2:10: linger = "1.0001234567891 s": expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 0 s to 720 h"#,
        ],
    ),
    (
        3,
        "[[gateway]]",
        &["F:3:1: gateway = [a table]: expected a section [gateway]"],
    ),
    (
        3,
        "[gatewy]",
        &[
            "F:3:2: gatewy: unknown key; did you mean gateway? There are name, about, seed, stop_after, linger, stragglers, gateway, images, cohorts, devices, networks, arrival, events, expect",
        ],
    ),
    (
        4,
        r#"disk = "1 MiB""#,
        &[
            r#"F:4:8: [gateway] disk = "1 MiB": expected a size like "64 KiB" (B, KiB, MiB, GiB), from 16 MiB to 64 GiB"#,
        ],
    ),
    (
        4,
        r#"disk = "64 MiB"
shards = 0"#,
        &["F:5:10: [gateway] shards = 0: expected a whole number from 1 to 256"],
    ),
    (
        4,
        r#"disk = "64 MiB"
config = { "coaps.max_sessions" = 0 }"#,
        &["F:5:35: [gateway.config] coaps.max_sessions = 0: expected a whole number from 1 to 16777215"],
    ),
    (
        4,
        r#"disk = "64 MiB"
config = { "coaps.max_session" = 10 }"#,
        &[
            "F:5:34: [gateway.config] coaps.max_session = 10: unknown key; [coaps] has listen, max_sessions, idle_timeout, idle_timeout_cid, max_handshakes, handshake_initial_timeout, handshake_max_timeout, certificate_file, private_key_file, raw_public_keys",
        ],
    ),
    (
        4,
        r#"disk = "64 MiB"
config = { "data.dir" = "/tmp" }"#,
        &["F:5:12: [gateway.config] data.dir: is set by the run itself: a folder of its own"],
    ),
    (
        4,
        r#"disk = "64 MiB"
config = { coaps.max_sessions = 10 }"#,
        &[
            r#"F:5:12: [gateway.config] coaps: expected a key of the gateway's configuration in quotes, like "coaps.idle_timeout" = "1d""#,
        ],
    ),
    (
        4,
        r#"disk = "64 MiB"
config = 5"#,
        &["F:5:10: [gateway] config = 5: expected a table, like config = { … }"],
    ),
    (
        6,
        r#"size = "8 kB""#,
        &[
            r#"F:6:8: [images."main@1.0.0"] size = "8 kB": expected a size like "64 KiB" (B, KiB, MiB, GiB), from 1 B to 256 MiB"#,
        ],
    ),
    (
        6,
        "# no size",
        &[
            r#"F:5:9: [images."main@1.0.0"] size: is missing: expected a size like "64 KiB" (B, KiB, MiB, GiB), from 1 B to 256 MiB"#,
        ],
    ),
    (
        6,
        "size = 0",
        &[
            r#"F:6:8: [images."main@1.0.0"] size = 0: expected a size like "64 KiB" (B, KiB, MiB, GiB), from 1 B to 256 MiB"#,
        ],
    ),
    (
        9,
        r#"[images."main-bad"]"#,
        &[
            r#"F:9:9: [images.main-bad]: expected a package and a version like "main@1.1.0", each 1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit"#,
        ],
    ),
    (
        9,
        r#"[images."main@b/d"]"#,
        &[
            r#"F:9:9: [images."main@b/d"]: expected a package and a version like "main@1.1.0", each 1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit"#,
        ],
    ),
    (
        11,
        r#"boots = "poorly""#,
        &[
            r#"F:11:9: [images."main@bad"] boots = "poorly": expected "well", "badly" or, as another version than it is offered as, "as 1.0.0""#,
        ],
    ),
    (
        11,
        r#"boots = "as bad""#,
        &[
            r#"F:11:9: [images."main@bad"] boots = "as bad": that is what it is: expected "well", or another version"#,
        ],
    ),
    (
        11,
        r#"boot = "badly""#,
        &[r#"F:11:1: [images."main@bad"] boot: unknown key; did you mean boots? There are size, boots"#],
    ),
    (
        16,
        r#"name = "all""#,
        &[r#"F:16:8: [[cohorts]] name = "all": is there twice: expected a name of its own"#],
    ),
    (
        16,
        r#"name = "coh_12""#,
        &[
            r#"F:16:8: [[cohorts]] name = "coh_12": expected 1 to 100 characters that can be seen, in one line, no space at either end, not like coh_12"#,
        ],
    ),
    (
        14,
        r#"deployed = "main@1.2.0""#,
        &[
            r#"F:14:12: [[cohorts]] deployed = "main@1.2.0": expected an image: "main@1.0.0", "main@1.1.0" or "main@bad" (did you mean "main@1.1.0"?)"#,
        ],
    ),
    (
        14,
        r#"deployed = ["main@1.0.0", "main@1.1.0"]"#,
        &[r#"F:14:27: [[cohorts]] deployed = "main@1.1.0": expected one version of main at a time"#],
    ),
    (
        14,
        r#"deployed = "main""#,
        &[
            r#"F:14:12: [[cohorts]] deployed = "main": expected a package and a version like "main@1.1.0", each 1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit"#,
        ],
    ),
    (
        14,
        r#"deploy = "main@1.0.0""#,
        &["F:14:1: [[cohorts]] deploy: unknown key; did you mean deployed? There are name, deployed"],
    ),
    (
        18,
        r#"name = "Sensor""#,
        &[
            r#"F:18:8: [[devices]] name = "Sensor": expected 1 to 40 of a-z 0-9 -, starting with a letter or digit"#,
        ],
    ),
    (
        18,
        "# anonymous",
        &[
            "F:17:1: [[devices]] name: is missing: expected 1 to 40 of a-z 0-9 -, starting with a letter or digit",
        ],
    ),
    (
        19,
        "count = 0",
        &["F:19:9: [[devices]] count = 0: expected a whole number from 1 to 1000000"],
    ),
    (
        19,
        "count = 1_000_001",
        &["F:19:9: [[devices]] count = 1000001: expected a whole number from 1 to 1000000"],
    ),
    (
        19,
        "# how many",
        &["F:17:1: [[devices]] count: is missing: expected a whole number from 1 to 1000000"],
    ),
    (
        20,
        r#"port = "zephir""#,
        &[r#"F:20:8: [[devices]] port = "zephir": expected "libcoap" or "zephyr" (did you mean "zephyr"?)"#],
    ),
    (
        20,
        r#"port = "zephyr"
engine = "natve""#,
        &[
            r#"F:21:10: [[devices]] engine = "natve": expected "native" or "foreign" (did you mean "native"?)"#,
        ],
    ),
    (
        20,
        r#"port = "zephyr"
credential = "pks""#,
        &[
            r#"F:21:14: [[devices]] credential = "pks": expected "psk", "certificate", "unknown-identity", "wrong-key", "untrusted-certificate", "expired-certificate" or "disabled""#,
        ],
    ),
    (
        20,
        r#"port = "zephyr"
suites = ["psk-gmc"]"#,
        &[
            r#"F:21:11: [[devices]] suites = "psk-gmc": expected "psk-gcm", "psk-ccm", "psk-ccm-8", "psk-cbc", "ecdhe-psk-gcm", "ecdhe-psk-ccm", "ecdsa-gcm", "ecdsa-ccm" or "ecdsa-ccm-8" (did you mean "psk-gcm"?)"#,
        ],
    ),
    (
        20,
        r#"port = "zephyr"
suites = []"#,
        &["F:21:10: [[devices]] suites = []: expected at least one suite"],
    ),
    (
        20,
        r#"port = "zephyr"
suites = ["psk-gcm", "psk-gcm"]"#,
        &[r#"F:21:22: [[devices]] suites = "psk-gcm": is there twice: expected each once"#],
    ),
    (
        20,
        r#"port = "zephyr"
credential = "certificate"
suites = ["ecdsa-gcm", "psk-gcm"]"#,
        &[
            r#"F:22:24: [[devices]] suites = "psk-gcm": does not go with credential = "certificate": expected "ecdsa-gcm", "ecdsa-ccm" or "ecdsa-ccm-8""#,
        ],
    ),
    (
        20,
        r#"port = "zephyr"
suites = "ecdsa-ccm""#,
        &[
            r#"F:21:10: [[devices]] suites = "ecdsa-ccm": does not go with credential = "psk": expected "psk-gcm", "psk-ccm", "psk-ccm-8", "psk-cbc", "ecdhe-psk-gcm" or "ecdhe-psk-ccm""#,
        ],
    ),
    (
        20,
        r#"engine = "foreign"
suites = ["psk-cbc"]"#,
        &[
            r#"F:21:11: [[devices]] suites = "psk-cbc": the foreign engine does not have this suite: expected "psk-gcm", "psk-ccm", "psk-ccm-8", "ecdsa-gcm", "ecdsa-ccm" or "ecdsa-ccm-8""#,
        ],
    ),
    (
        20,
        r#"port = "libcoap"
connection_id = true"#,
        &[
            r#"F:21:17: [[devices]] connection_id = true: the SDK's libcoap port has no connection IDs: expected false, or port = "zephyr""#,
        ],
    ),
    (
        20,
        r#"port = "zephyr"
engine = "foreign"
connection_id = true"#,
        &[
            "F:22:17: [[devices]] connection_id = true: the foreign engine has no connection IDs: expected false",
        ],
    ),
    (
        20,
        r#"port = "zephyr"
connection_id = "yes""#,
        &[r#"F:21:17: [[devices]] connection_id = "yes": expected true or false"#],
    ),
    (
        19,
        r#"count = 20000
engine = "foreign""#,
        &[
            "F:19:9: [[devices]] count = 20000: the foreign engine carries thousands: expected at most 10000 devices",
        ],
    ),
    (
        20,
        r#"port = "zephyr"
block_size = 100"#,
        &["F:21:14: [[devices]] block_size = 100: expected 16, 32, 64, 128, 256, 512 or 1024"],
    ),
    (
        20,
        r#"port = "zephyr"
block_size = 2048"#,
        &["F:21:14: [[devices]] block_size = 2048: expected 16, 32, 64, 128, 256, 512 or 1024"],
    ),
    (
        20,
        r#"port = "zephyr"
block_size = "1 KiB ""#,
        &[r#"F:21:14: [[devices]] block_size = "1 KiB ": expected 16, 32, 64, 128, 256, 512 or 1024"#],
    ),
    (
        21,
        r#"runs = "1.0.0""#,
        &[
            r#"F:21:8: [[devices]] runs = "1.0.0": expected a package and a version like "main@1.1.0", each 1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit"#,
        ],
    ),
    (
        21,
        "# runs what",
        &[
            r#"F:17:1: [[devices]] runs: is missing: expected a package and a version like "main@1.1.0", each 1 to 63 of A-Z a-z 0-9 . _ + -, starting with a letter or digit"#,
        ],
    ),
    (
        22,
        r#"cohort = "al""#,
        &[
            r#"F:22:10: [[devices]] cohort = "al": expected the name of one of [[cohorts]]: "all" or "other" (did you mean "all"?)"#,
        ],
    ),
    (
        23,
        r#"network = "slwo""#,
        &[
            r#"F:23:11: [[devices]] network = "slwo": expected a network: "perfect", "wifi", "lte-m", "nb-iot", "satellite" or "slow" (did you mean "slow"?)"#,
        ],
    ),
    (
        23,
        r#"network = "slow"
faster = 0"#,
        &["F:24:10: [[devices]] faster = 0: expected a whole number from 1 to 1000"],
    ),
    (
        23,
        r#"network = "slow"
[[devices]]
name = "sensor"
count = 1
runs = "main@1.0.0""#,
        &[r#"F:25:8: [[devices]] name = "sensor": is there twice: expected a name of its own"#],
    ),
    (
        23,
        r#"network = "slow"
[[devices]]
name = "more"
count = 999_995
runs = "main@1.0.0""#,
        &[
            "F:26:9: [[devices]] count = 999995: makes more than 1000000 devices in all: expected at most that",
        ],
    ),
    (
        24,
        "[networks.wifi]
[networks.slow]",
        &[
            r#"F:24:11: [networks.wifi]: this network exists already: expected another name, and based_on = "wifi" to begin with it"#,
        ],
    ),
    (
        25,
        r#"based_on = "wfi""#,
        &[
            r#"F:25:12: [networks.slow] based_on = "wfi": expected "perfect", "wifi", "lte-m", "nb-iot" or "satellite" (did you mean "wifi"?)"#,
        ],
    ),
    (
        26,
        "loss = 1",
        &[r#"F:26:8: [networks.slow] loss = 1: expected a share like 0.3 or "30 %", from 0 to below 1"#],
    ),
    (
        26,
        r#"loss = "5""#,
        &[r#"F:26:8: [networks.slow] loss = "5": expected a share like 0.3 or "30 %", from 0 to below 1"#],
    ),
    (
        26,
        r#"duplicate = "100 %""#,
        &[
            r#"F:26:13: [networks.slow] duplicate = "100 %": expected a share like 0.3 or "30 %", from 0 to below 1"#,
        ],
    ),
    (
        26,
        "reorder = -0.1",
        &[
            r#"F:26:11: [networks.slow] reorder = -0.1: expected a share like 0.3 or "30 %", from 0 to below 1"#,
        ],
    ),
    (
        26,
        r#"delay = "2 min""#,
        &[
            r#"F:26:9: [networks.slow] delay = "2 min": expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 0 s to 1 min, or { from, to }, { mean, deviation } or { median, sigma }"#,
        ],
    ),
    (
        26,
        r#"delay = { from = "20 ms", to = "10 ms" }"#,
        &[
            r#"F:26:32: [networks.slow.delay] to = "10 ms": is before from = "20 ms": expected a longer delay"#,
        ],
    ),
    (
        26,
        r#"delay = { mean = "20 ms" }"#,
        &[
            "F:26:9: [networks.slow] delay = a table: expected { from, to }, { mean, deviation } or { median, sigma }",
        ],
    ),
    (
        26,
        r#"delay = { mean = "20 ms", sigma = 2 }"#,
        &[
            "F:26:9: [networks.slow] delay = a table: expected { from, to }, { mean, deviation } or { median, sigma }",
        ],
    ),
    (
        26,
        r#"delay = { media = "20 ms", sigma = 0.5 }"#,
        &[
            "F:26:9: [networks.slow] delay = a table: expected { from, to }, { mean, deviation } or { median, sigma }",
            "F:26:11: [networks.slow.delay] media: unknown key; did you mean median? There are from, to, mean, deviation, median, sigma",
        ],
    ),
    (
        26,
        r#"bandwidth = "27 kbps""#,
        &[
            r#"F:26:13: [networks.slow] bandwidth = "27 kbps": expected a rate like "27 kbit/s" (bit/s, kbit/s, Mbit/s, Gbit/s), from 100 bit/s to 10 Gbit/s, or "unlimited""#,
        ],
    ),
    (
        26,
        r#"queue = "1 KiB""#,
        &[
            r#"F:26:9: [networks.slow] queue = "1 KiB": expected a size like "64 KiB" (B, KiB, MiB, GiB), from 1500 B to 1 GiB"#,
        ],
    ),
    (
        26,
        "up = { los = 0.1 }",
        &[
            "F:26:8: [networks.slow.up] los: unknown key; did you mean loss? There are loss, duplicate, reorder, delay, bandwidth, queue",
        ],
    ),
    (
        26,
        r#"up = "wifi""#,
        &[r#"F:26:6: [networks.slow] up = "wifi": expected a table, like up = { … }"#],
    ),
    (
        28,
        r#"how = "rampe""#,
        &[r#"F:28:7: [arrival] how = "rampe": expected "storm", "ramp" or "random" (did you mean "ramp"?)"#],
    ),
    (
        28,
        r#"how = "storm""#,
        &[
            r#"F:29:8: [arrival] over = "5 s": a storm takes no time: expected how = "ramp" or how = "random" beside it"#,
        ],
    ),
    (
        29,
        "# how long",
        &[r#"F:27:2: [arrival] over: is missing: expected a duration like "60 s""#],
    ),
    (
        29,
        r#"over = "2 min""#,
        &[
            r#"F:29:8: [arrival] over = "2 min": the run ends before all have arrived: expected at most stop_after, 1 min"#,
            r#"F:42:20: [expect] connected_within = "30 s": the last devices are switched on later: expected more than the arrival takes, 2 min"#,
        ],
    ),
    (
        29,
        r#"over = "40 s""#,
        &[
            r#"F:42:20: [expect] connected_within = "30 s": the last devices are switched on later: expected more than the arrival takes, 40 s"#,
        ],
    ),
    (
        28,
        "# how",
        &[r#"F:27:2: [arrival] how: is missing: expected "storm", "ramp" or "random""#],
    ),
    (
        31,
        r#"do = "deplyo""#,
        &[
            r#"F:31:6: [[events]] do = "deplyo": expected "deploy", "roll-back", "move", "rebind", "reboot", "outage", "kill-gateway", "restart-gateway" or "fill-disk" (did you mean "deploy"?)"#,
        ],
    ),
    (
        31,
        "# what",
        &[
            r#"F:30:1: [[events]] do: is missing: expected "deploy", "roll-back", "move", "rebind", "reboot", "outage", "kill-gateway", "restart-gateway" or "fill-disk""#,
        ],
    ),
    (
        32,
        r#"after = "conected""#,
        &[
            r#"F:32:9: [[events]] after = "conected": expected "connected", "converged" or "previous" (did you mean "connected"?)"#,
        ],
    ),
    (
        32,
        "# when",
        &[
            r#"F:30:1: [[events]] at: is missing: expected a moment like "60 s" here, or after = "connected", "converged" or "previous""#,
        ],
    ),
    (
        32,
        r#"at = "10 s"
after = "connected""#,
        &[r#"F:32:6: [[events]] at = "10 s": expected either this or after, not both"#],
    ),
    (
        32,
        r#"at = "10 s"
delay = "5 s""#,
        &[r#"F:33:9: [[events]] delay = "5 s": goes with after, not with at: expected one moment"#],
    ),
    (
        33,
        r#"cohort = "none""#,
        &[
            r#"F:33:10: [[events]] cohort = "none": expected the name of one of [[cohorts]]: "all" or "other""#,
        ],
    ),
    (
        33,
        "# where",
        &["F:30:1: [[events]] cohort: is missing: expected the name of one of [[cohorts]]"],
    ),
    (
        34,
        "# which",
        &[r#"F:30:1: [[events]] images: is missing: expected an image like "main@1.1.0""#],
    ),
    (
        34,
        "images = []",
        &["F:34:10: [[events]] images = []: expected at least one image"],
    ),
    (
        34,
        r#"images = ["main@1.1"]"#,
        &[
            r#"F:34:11: [[events]] images = "main@1.1": expected an image: "main@1.0.0", "main@1.1.0" or "main@bad" (did you mean "main@1.1.0"?)"#,
        ],
    ),
    (
        34,
        r#"images = ["main@1.1.0"]
lasts = "5 s""#,
        &["F:35:1: [[events]] lasts: deploy has no such key; it has cohort, images"],
    ),
    (
        39,
        "share = 0",
        &[r#"F:39:9: [[events]] share = 0: expected a share like 0.3 or "30 %", above 0 and up to 1"#],
    ),
    (
        39,
        "share = 1.5",
        &[r#"F:39:9: [[events]] share = 1.5: expected a share like 0.3 or "30 %", above 0 and up to 1"#],
    ),
    (
        39,
        r#"share = 0.5
devices = "snesor""#,
        &[
            r#"F:40:11: [[events]] devices = "snesor": expected the name of one of [[devices]]: "sensor" (did you mean "sensor"?)"#,
        ],
    ),
    (
        36,
        r#"do = "outage""#,
        &[
            r#"F:35:1: [[events]] lasts: is missing: expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 1 ms to 24 h"#,
        ],
    ),
    (
        36,
        r#"do = "outage"
lasts = "0 s""#,
        &[
            r#"F:37:9: [[events]] lasts = "0 s": expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 1 ms to 24 h"#,
        ],
    ),
    (
        36,
        r#"do = "kill-gateway""#,
        &["F:39:1: [[events]] share: kill-gateway has no such key; it has away, shards"],
    ),
    (
        39,
        r#"to = "all"
share = 0.5"#,
        &["F:39:1: [[events]] to: reboot has no such key; it has devices, share"],
    ),
    (
        32,
        r#"after = "previous""#,
        &[
            r#"F:32:9: [[events]] after = "previous": there is no event before the first: expected at = …, or after = "connected""#,
        ],
    ),
    (
        32,
        r#"at = "2 min""#,
        &[
            r#"F:32:6: [[events]] at = "2 min": this is 2 min after the start or later, and the run ends at 1 min: expected less, or a later stop_after"#,
        ],
    ),
    (
        38,
        r#"delay = "2 min""#,
        &[
            r#"F:38:9: [[events]] delay = "2 min": this is 2 min after the start or later, and the run ends at 1 min: expected less, or a later stop_after"#,
        ],
    ),
    (
        35,
        r#"[[events]]
do = "kill-gateway"
at = "5 s"
away = "10 s"
[[events]]
do = "deploy"
at = "10 s"
cohort = "all"
images = "main@1.0.0"
[[events]]"#,
        &[
            r#"F:41:6: [[events]] at = "10 s": the gateway is away until 15 s after the start: expected a later moment"#,
        ],
    ),
    (
        31,
        r#"do = "roll-back""#,
        &[
            r#"F:33:10: [[events]] cohort = "all": there is nothing to go back to: expected two deployments before, there is one"#,
            "F:34:1: [[events]] images: roll-back has no such key; it has cohort",
        ],
    ),
    (
        35,
        r#"[[events]]
do = "roll-back"
after = "converged"
cohort = "other"
[[events]]"#,
        &[
            r#"F:38:10: [[events]] cohort = "other": there is nothing to go back to: expected two deployments before, there is none"#,
        ],
    ),
    (
        4,
        r#"# no disk
[[events]]
do = "fill-disk"
at = "0 s"
lasts = "5 s"
[gateway.config]"#,
        &[
            r#"F:6:6: [[events]] do = "fill-disk": the gateway has no disk of its own that could be filled: expected disk = "64 MiB" in [gateway]"#,
        ],
    ),
    (
        14,
        r#"deployed = "main@bad"
[[events]]
do = "rebind"
after = "converged""#,
        &[
            r#"F:17:9: [[events]] after = "converged": no cohort with good devices has anything deployed by then that boots well: expected a deployment before"#,
        ],
    ),
    (
        19,
        r#"count = 10
credential = "wrong-key""#,
        &[
            "F:31:1: [[events]] devices: there are no devices with good credentials: expected the name of one of [[devices]]",
            "F:36:1: [[events]] devices: there are no devices with good credentials: expected the name of one of [[devices]]",
            "F:42:13: [expect] converged = 1: nothing ever comes of it: no good device is ever given an image that boots well",
            r#"F:43:20: [expect] connected_within = "30 s": nothing ever comes of it: no device is good"#,
        ],
    ),
    (
        35,
        r#"[[devices]]
name = "thief"
count = 1
credential = "wrong-key"
runs = "main@1.0.0"
[[events]]
do = "move"
after = "previous"
devices = "thief"
to = "other"
[[events]]"#,
        &[
            r#"F:43:11: [[events]] devices = "thief": the gateway may not know these devices: expected devices with good credentials"#,
        ],
    ),
    (
        41,
        "converge = 1.0",
        &[
            "F:41:1: [expect] converge: unknown key; did you mean converged? There are connected_within, converged_within, converged, recorded, handshake_p99, notification_p99, block_p99, update_p99, devices_lost, handshakes_again, handshakes_failed, intruders, updates_failed, rolled_back, update_loops, reports_refused, store_errors, server_cpu_per_device, server_memory_per_device, simulator_late_p99",
        ],
    ),
    (
        41,
        "converged = 0",
        &[r#"F:41:13: [expect] converged = 0: expected a share like 0.3 or "30 %", above 0 and up to 1"#],
    ),
    (
        41,
        "converged = 1.1",
        &[r#"F:41:13: [expect] converged = 1.1: expected a share like 0.3 or "30 %", above 0 and up to 1"#],
    ),
    (
        42,
        r#"connected_within = "2 min""#,
        &[
            r#"F:42:20: [expect] connected_within = "2 min": the run ends before that: expected at most stop_after, 1 min"#,
        ],
    ),
    (
        42,
        "connected_within = 30",
        &[
            r#"F:42:20: [expect] connected_within = 30: expected a duration like "250 ms" or "5 min" (us, ms, s, min, h), from 1 us to 720 h"#,
        ],
    ),
    (
        41,
        "rolled_back = 0",
        &["F:41:15: [expect] rolled_back = 0: expected a whole number from 1 to 4294967295"],
    ),
    (
        41,
        "devices_lost = -1",
        &["F:41:16: [expect] devices_lost = -1: expected a whole number from 0 to 4294967295"],
    ),
    (
        41,
        r#"server_memory_per_device = "none""#,
        &[
            r#"F:41:28: [expect] server_memory_per_device = "none": expected a size like "64 KiB" (B, KiB, MiB, GiB), from 1 B to 1 GiB"#,
        ],
    ),
    (
        41,
        "intruders = 0",
        &["F:41:13: [expect] intruders = 0: nothing ever comes of it: no device has a bad credential"],
    ),
    (
        41,
        "rolled_back = 1",
        &[
            r#"F:41:15: [expect] rolled_back = 1: nothing ever comes of it: no good device is ever given an image with boots = "badly""#,
        ],
    ),
    (
        41,
        "update_loops = 1",
        &[
            r#"F:41:16: [expect] update_loops = 1: nothing ever comes of it: no good device is ever given an image with boots = "as …""#,
        ],
    ),
    (
        42,
        r#"connected_within = "4 s""#,
        &[
            r#"F:42:20: [expect] connected_within = "4 s": the last devices are switched on later: expected more than the arrival takes, 5 s"#,
        ],
    ),
    (
        35,
        r#"[[events]]
do = "rebind"
at = "20 s"
[[events]]
do = "rebind"
at = "10 s"
[[events]]"#,
        &[
            r#"F:40:6: [[events]] at = "10 s": events happen in the file's order, and the one before is not before 20 s: expected a later moment"#,
        ],
    ),
    (
        24,
        r#"[images."main@2"]
size = "17 MiB"
[[devices]]
name = "small"
count = 1
block_size = 16
runs = "main@1.0.0"
cohort = "other"
[[events]]
do = "deploy"
at = "0 s"
cohort = "other"
images = "main@2"
[networks.slow]"#,
        &[
            r#"F:36:10: [[events]] images = "main@2": main@2 has 17 MiB, and devices small can number no more than 16 MiB in blocks of 16 bytes: expected a smaller image, or larger blocks"#,
        ],
    ),
    (
        4,
        r#"disk = "16 MiB"
[images."main@big"]
size = "20 MiB""#,
        &[
            r#"F:4:8: [gateway] disk = "16 MiB": all images together are 20504 KiB: expected a larger disk, or smaller images"#,
        ],
    ),
    (
        35,
        r#"[[events]]
do = "deploy"
after = "previous"
cohort = "other"
images = ["main@1.0.0"]
[[events]]
do = "outage"
after = "previous"
lasts = "1 s"
shards = 4
[[events]]"#,
        &["F:44:1: [[events]] shards: outage has no such key; it has devices, share, lasts"],
    ),
];
