mod bad;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tessera::virtual_device::{CipherSuite, Port, Szx};

use super::format::{self, Keys};
use super::read::check;
use super::shipped::find;
use super::value::show_share;
use super::words::{PORTS, SUITES};
use super::*;
use crate::network::{Delay, Profile};
use bad::{BAD, BASE};

#[test]
fn every_mistake_is_told_with_its_place_its_value_and_what_is_accepted() {
    for (line, text, expected) in BAD {
        let text = with_line(*line, text);
        let told = check(&text, &Overrides::default())
            .expect_err(&text)
            .in_file("F")
            .to_string();
        let lines: Vec<&str> = told.lines().skip(1).map(str::trim_start).collect();
        assert_eq!(lines, *expected, "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_files_order() {
    let text = r#"
name = "Two words"
stop_after = "soon"
sede = 5

[[devices]]
name = "sensor"
count = 0
port = "esp"
runs = "main"
cohort = "nobody's"
network = "wify"

[[events]]
do = "explode"
after = "lunch"

[expect]
connected_within = "never"
all_is_well = true
"#;
    let told = read(text, &Overrides::default()).unwrap_err().to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "12 mistakes in the scenario:", "{told}");
    let places = lines[1..]
        .iter()
        .map(|line| line.split(':').next().unwrap().trim());
    let expected = [2, 3, 4, 8, 9, 10, 11, 12, 15, 16, 19, 20].map(|line| format!("line {line}"));
    assert_eq!(places.collect::<Vec<_>>(), expected, "{told}");
}

#[test]
fn what_follows_from_a_syntax_error_is_not_told_beside_it() {
    let text = with_line(19, "count = ten").replace("loss = 0.05", "loss = 5.0");
    let told = read(&text, &Overrides::default()).unwrap_err().to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[1].starts_with("  line 19: this is no TOML: "), "{told}");
    assert!(
        lines[2].starts_with("  line 26: [networks.slow] loss = 5: "),
        "{told}"
    );
    assert_eq!(lines.len(), 3, "{told}");
}

#[test]
fn every_key_of_the_format_is_looked_at() {
    let sections: [(Keys, &str); 10] = [
        (format::TOP, ""),
        (format::GATEWAY, "[gateway]"),
        (format::IMAGE, "[images.\"main@1.2.0\"]"),
        (format::COHORT, "[[cohorts]]"),
        (format::DEVICES, "[[devices]]"),
        (format::NETWORK, "[networks.other]"),
        (format::DIRECTION, "[networks.other.down]"),
        (format::DELAY, "[networks.other.delay]"),
        (format::ARRIVAL, "[arrival]"),
        (format::EXPECT, "[expect]"),
    ];
    let events = format::EVENT_KINDS.iter().flat_map(|(kind, takes)| {
        let head = format!("[[events]]\ndo = \"{kind}\"\nat = \"30 s\"");
        takes.iter().map(move |key| (head.clone(), *key))
    });
    let moments = ["do", "at", "after", "delay"].map(|key| ("[[events]]".to_owned(), key));
    let others = sections
        .iter()
        .flat_map(|(keys, header)| keys.iter().map(|key| ((*header).to_owned(), *key)));
    let mut count = 0;
    for (header, key) in others.chain(events).chain(moments) {
        // A date is what no key takes.
        let text = format!("{header}\n{key} = 1979-05-27\n");
        let line = header.lines().count().max(1) + 1;
        let told = read(&text, &Overrides::default()).unwrap_err().to_string();
        let wrong = format!("line {line}: ");
        let at_the_key: Vec<&str> = told
            .lines()
            .filter(|told| told.trim_start().starts_with(&wrong))
            .collect();
        assert!(
            at_the_key
                .iter()
                .any(|told| told.contains("= 1979-05-27: expected ")),
            "{text}{told}"
        );
        count += 1;
    }
    assert_eq!(count, 14 + 3 + 2 + 2 + 12 + 9 + 6 + 6 + 2 + 18 + 18 + 4);
}

#[test]
fn what_a_file_says_is_what_the_scenario_has() {
    let text = r#"
name = "whole"
about = "All of it."
seed = 7
stop_after = "10 min"
linger = "1.5 s"
stragglers = 2

[gateway]
shards = 4
disk = "64 MiB"
config = { "coaps.max_sessions" = 1000, "coaps.idle_timeout_cid" = "12h" }

[images."main@1.0.0"]
size = "1 KiB"

[images."main@1.1.0"]
size = 2000
boots = "as 1.0.0"

[images."main@1.2.0"]
size = "1 MiB"
boots = "badly"

[[cohorts]]
name = "first"
deployed = "main@1.0.0"

[[cohorts]]
name = "second one"

[[devices]]
name = "a"
count = 3
port = "zephyr"
credential = "certificate"
suites = ["ecdsa-ccm-8", "ecdsa-gcm"]
connection_id = true
block_size = 64
runs = "main@0.9"
cohort = "first"
network = "slow"
faster = 20

[[devices]]
name = "b"
count = 1
engine = "foreign"
credential = "expired-certificate"
runs = "main@0.9"

[networks.slow]
based_on = "nb-iot"
loss = "7 %"
delay = { median = "400 ms", sigma = 0.5 }
[networks.slow.down]
bandwidth = "27.2 kbit/s"
loss = 0.5
queue = "4 KiB"

[arrival]
how = "random"
over = "1 min"

[[events]]
do = "deploy"
at = "90 s"
cohort = "first"
images = ["main@1.1.0"]
[[events]]
do = "roll-back"
after = "previous"
cohort = "first"
[[events]]
do = "move"
after = "connected"
delay = "250 ms"
devices = "a"
share = "50 %"
to = "second one"
[[events]]
do = "rebind"
after = "previous"
[[events]]
do = "reboot"
after = "converged"
share = 0.25
[[events]]
do = "outage"
after = "previous"
lasts = "10 s"
[[events]]
do = "kill-gateway"
after = "previous"
away = "2 s"
shards = 2
[[events]]
do = "restart-gateway"
after = "previous"
delay = "5 s"
[[events]]
do = "fill-disk"
after = "previous"
lasts = "20 s"

[expect]
update_loops = 1
converged = "99 %"
server_memory_per_device = "2 KiB"
handshake_p99 = "3 s"
"#;
    let scenario = read(text, &Overrides::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let image = |version: &str| ImageName {
        package: "main".to_owned(),
        version: version.to_owned(),
    };
    assert_eq!(scenario.name, "whole");
    assert_eq!(scenario.about, "All of it.");
    assert_eq!(scenario.seed, 7);
    assert_eq!(scenario.stop_after, Duration::from_secs(600));
    assert_eq!(scenario.linger, Duration::from_millis(1500));
    assert_eq!(scenario.stragglers, 2);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        scenario.gateway,
        GatewayPlan {
            shards: Some(4),
            disk: Some(64 << 20),
            config: BTreeMap::from([
                pair("coaps.max_sessions", "1000"),
                pair("coaps.idle_timeout_cid", "12h"),
            ]),
        }
    );
    let images = scenario
        .images
        .values()
        .map(|image| (image.size, image.boots.clone()));
    assert_eq!(
        images.collect::<Vec<_>>(),
        [
            (1024, Boots::Well),
            (2000, Boots::As("1.0.0".to_owned())),
            (1 << 20, Boots::Badly),
        ]
    );
    assert_eq!(scenario.cohorts[0].deployed, [image("1.0.0")]);
    assert_eq!(scenario.cohorts[1].name, "second one");

    let [a, b] = &scenario.kinds[..] else {
        panic!("{:?}", scenario.kinds)
    };
    assert_eq!((a.count, a.engine, a.port), (3, Engine::Native, Port::Zephyr));
    assert_eq!(
        a.suites,
        [
            CipherSuite::EcdheEcdsaAes128Ccm8,
            CipherSuite::EcdheEcdsaAes128GcmSha256,
        ]
    );
    assert_eq!((a.credential, a.connection_id), (Credential::Certificate, true));
    assert_eq!(
        (a.block_size, a.cohort, a.faster),
        (Szx::from_size(64).unwrap(), Some(0), 20)
    );
    assert_eq!(a.runs, image("0.9"));
    assert_eq!(a.network.up.loss, 0.07);
    assert_eq!(a.network.down.loss, 0.5);
    assert_eq!(
        a.network.down.delay,
        Delay::LogNormal {
            median: Duration::from_millis(400),
            sigma: 0.5,
        }
    );
    assert_eq!(a.network.down.bits_per_s, Some(27_200));
    assert_eq!(a.network.down.queue_bytes, 4096);
    let base = Profile::named("nb-iot").unwrap();
    assert_eq!(a.network.up.bits_per_s, base.up.bits_per_s);
    assert_eq!(a.network.up.queue_bytes, base.up.queue_bytes);

    assert_eq!(
        (b.engine, b.port, b.credential),
        (Engine::Foreign, Port::Libcoap, Credential::ExpiredCertificate)
    );
    assert_eq!(b.suites.len(), 3, "all with certificates");
    assert_eq!((b.block_size, b.cohort, b.faster), (Szx::MAX, None, 1));
    assert_eq!(b.network, Profile::perfect());

    assert_eq!(scenario.arrival, Arrival::Random(Duration::from_secs(60)));
    let all = |share: f64| Who { kind: None, share };
    let then = When::Then(Duration::ZERO);
    let events = [
        (
            When::At(Duration::from_secs(90)),
            What::Deploy {
                cohort: 0,
                images: vec![image("1.1.0")],
            },
        ),
        (then, What::RollBack { cohort: 0 }),
        (
            When::Connected(Duration::from_millis(250)),
            What::Move {
                who: Who {
                    kind: Some(0),
                    share: 0.5,
                },
                to: 1,
            },
        ),
        (then, What::Rebind { who: all(1.0) }),
        (When::Converged(Duration::ZERO), What::Reboot { who: all(0.25) }),
        (
            then,
            What::Outage {
                who: all(1.0),
                lasts: Duration::from_secs(10),
            },
        ),
        (
            then,
            What::KillGateway {
                away: Duration::from_secs(2),
                shards: Some(2),
            },
        ),
        (
            When::Then(Duration::from_secs(5)),
            What::RestartGateway {
                away: Duration::ZERO,
                shards: None,
            },
        ),
        (
            then,
            What::FillDisk {
                lasts: Duration::from_secs(20),
            },
        ),
    ];
    let read: Vec<(When, What)> = scenario
        .events
        .iter()
        .map(|event| (event.when, event.what.clone()))
        .collect();
    assert_eq!(read, events);
    assert_eq!(
        scenario.expect,
        [
            Expectation::UpdateLoops(1),
            Expectation::Converged(0.99),
            Expectation::ServerMemoryPerDevice(2048),
            Expectation::HandshakeP99(Duration::from_secs(3)),
        ]
    );
}

#[test]
fn a_device_that_says_little_is_a_stock_one() {
    let kind = |port: &str| {
        let text = with_line(20, &format!("port = {port:?}"));
        read(&text, &Overrides::default()).unwrap().kinds.remove(0)
    };
    let zephyr = kind("zephyr");
    assert_eq!(zephyr.suites, Port::Zephyr.dtls().suites);
    assert_eq!(
        (zephyr.credential, zephyr.connection_id),
        (Credential::Psk, false)
    );
    let libcoap = kind("libcoap");
    let of_the_port = Port::Libcoap.dtls();
    let with_psk: Vec<CipherSuite> = of_the_port
        .suites
        .iter()
        .copied()
        .filter(|suite| suite.has_psk())
        .collect();
    assert_eq!(libcoap.suites, with_psk);
}

#[test]
fn each_expectation_has_its_key_and_its_value() {
    for key in format::EXPECT {
        let text = ["\"5 s\"", "0.5", "7", "\"5 KiB\""].iter().find_map(|value| {
            let text = BASE.replace("converged = 1.0\nconnected_within = \"30 s\"", &format!("{key} = {value}"));
            let text = text.replace("credential", "# credential");
            let text = format!(
                "{text}\n[[devices]]\nname = \"bad\"\ncount = 1\ncredential = \"wrong-key\"\nruns = \"main@1.0.0\"\n\
                 [images.\"main@loop\"]\nsize = 1\nboots = \"as x\"\n\
                 [[events]]\ndo = \"deploy\"\nafter = \"previous\"\ncohort = \"all\"\nimages = \"main@loop\"\n\
                 [[events]]\ndo = \"deploy\"\nafter = \"previous\"\ncohort = \"all\"\nimages = \"main@bad\"\n"
            );
            read(&text, &Overrides::default()).ok()
        });
        let scenario = text.unwrap_or_else(|| panic!("nothing goes with {key}"));
        assert_eq!(scenario.expect.len(), 1, "{key}");
        assert_eq!(scenario.expect[0].key(), *key);
        assert!(
            !scenario.expect[0].to_string().is_empty(),
            "{key} says what it asks for"
        );
    }
}

#[test]
fn what_is_likely_not_meant_is_warned_of() {
    for (line, text, expected) in [
        (
            5,
            "[images.\"main@1.0.0-rc.1+build.2026\"]\nsize = \"8 KiB\"\n[images.\"main@1.0.0\"]",
            "line 5: [images.\"main@1.0.0-rc.1+build.2026\"]: is never deployed",
        ),
        (
            21,
            "runs = \"main@1.0.0-rc.1+build2\"",
            "line 21: [[devices]] runs = \"main@1.0.0-rc.1+build2\": version \"1.0.0-rc.1+build2\" has 17 bytes",
        ),
        (
            21,
            "runs = \"firmware-of-the-sensor@1\"",
            "line 21: [[devices]] runs = \"firmware-of-the-sensor@1\": package \"firmware-of-the-sensor\" has 22 bytes",
        ),
        (
            21,
            "runs = \"modem@1.0.0\"",
            "line 14: [[cohorts]] deployed = \"main@1.0.0\": devices sensor run package modem, which is not deployed",
        ),
        (
            34,
            "images = [\"main@1.1.0\", \"modem@7\"]\n[images.\"modem@7\"]\nsize = 1",
            "line 34: [[events]] images = [\"main@1.1.0\", \"modem@7\"]: a stock device throws a manifest with more than 1 package away",
        ),
        (40, "# expects nothing\n[arrivals]", ""),
    ] {
        // What can be expected changes with some of them.
        let mut text = with_line(line, text).replace("converged = 1.0\n", "");
        if expected.is_empty() {
            let end = text.find("# expects nothing").unwrap();
            text.truncate(end);
        }
        let checked =
            check(&text, &Overrides::default()).unwrap_or_else(|mistakes| panic!("{text}{mistakes}"));
        let told: Vec<String> = checked
            .warnings
            .iter()
            .map(|warning| warning.told(None))
            .collect();
        let expected = if expected.is_empty() {
            "line 1: [expect]: expects nothing"
        } else {
            expected
        };
        assert!(
            told.iter().any(|told| told.starts_with(expected)),
            "{expected}\nis not in {told:#?}"
        );
    }
    let name = "a".repeat(16);
    let long = BASE
        .replace("main@", &format!("{name}@"))
        .replace("1.0.0", "1.0.0-rc.1+build")
        .replace("1.1.0", "1.1.0-rc.1+build");
    let checked = check(&long, &Overrides::default()).unwrap();
    let told: Vec<String> = checked
        .warnings
        .iter()
        .map(|warning| warning.told(None))
        .collect();
    assert!(
        told.iter()
            .any(|told| told.contains("are 48 bytes together; a stock device's report has room for 45")),
        "{told:#?}"
    );
}

#[test]
fn another_number_of_devices_keeps_the_kinds_in_proportion() {
    let text = format!(
        "{BASE}\n[[devices]]\nname = \"most\"\ncount = 85\nruns = \"main@1.0.0\"\n[[devices]]\nname = \"few\"\ncount = 5\nruns = \"main@1.0.0\"\n"
    );
    for (devices, expected) in [
        (100, [10, 85, 5]),
        (1000, [100, 850, 50]),
        (10, [1, 8, 1]),
        (3, [1, 1, 1]),
        (7, [1, 5, 1]),
        (1_000_000, [100_000, 850_000, 50_000]),
        (1001, [100, 851, 50]),
        (117, [12, 99, 6]),
    ] {
        let scenario = read(&text, &devices_of(devices)).unwrap();
        let counts: Vec<u32> = scenario.kinds.iter().map(|kind| kind.count).collect();
        assert_eq!(counts, expected, "{devices}");
    }
    for devices in [0, 2, 1_000_001] {
        let told = read(&text, &devices_of(devices)).unwrap_err().to_string();
        assert!(
            told.ends_with(&format!(
                "--devices = {devices}: expected 3 to 1000000, as there are 3 kinds of devices"
            )),
            "{told}"
        );
    }
    let text = format!("stragglers = 8\n{text}");
    let told = read(&text, &devices_of(8)).unwrap_err().to_string();
    let all =
        "--devices = 8: 8 of them are good, and stragglers = 8 of the file is all of those: expected more";
    assert!(told.ends_with(all), "{told}");
    assert!(read(&text, &devices_of(9)).is_ok());
    assert_eq!(devices_of(5).told(), ["--devices 5"]);
    let both = Overrides {
        devices: Some(5),
        seed: Some(6),
    };
    assert_eq!(both.told(), ["--devices 5", "--seed 6"]);
    assert_eq!(read(BASE, &both).unwrap().seed, 6);
}

#[test]
fn every_shipped_scenario_can_be_run_and_can_fail() {
    let names: BTreeSet<&str> = shipped().iter().map(|(name, _)| *name).collect();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(folder).unwrap().map(|file| {
        let path = file.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    });
    let files: BTreeSet<String> = files.collect();
    assert_eq!(files, names.iter().map(|name| (*name).to_owned()).collect());
    for (name, text) in shipped() {
        let checked = check(text, &Overrides::default())
            .unwrap_or_else(|mistakes| panic!("{}", mistakes.in_file(name)));
        let told: Vec<String> = checked
            .warnings
            .iter()
            .map(|warning| warning.told(Some(name)))
            .collect();
        assert!(told.is_empty(), "{told:#?}");
        let scenario = checked.scenario;
        assert_eq!(scenario.name, *name);
        assert!(scenario.about.contains('.'), "{name} says what it shows");
        let expected: BTreeSet<&str> = scenario.expect.iter().map(Expectation::key).collect();
        for key in ["simulator_late_p99", "reports_refused", "converged_within"] {
            let is_there =
                expected.contains(key) || (key == "converged_within" && scenario.images.is_empty());
            assert!(is_there, "{name} does not expect {key}");
        }
        assert_eq!(find(name).unwrap().text, *text);
    }
}

#[test]
fn the_readme_has_every_key_and_no_other() {
    let sections: [(&str, Keys); 11] = [
        ("Above the first section", format::TOP),
        ("`[gateway]`", format::GATEWAY),
        ("`[images.\"PACKAGE@VERSION\"]`", format::IMAGE),
        ("`[[cohorts]]`", format::COHORT),
        ("`[[devices]]`", format::DEVICES),
        ("`[networks.NAME]`", format::NETWORK),
        ("`[networks.NAME.up]`, `[networks.NAME.down]`", format::DIRECTION),
        ("`delay = { … }`", format::DELAY),
        ("`[arrival]`", format::ARRIVAL),
        ("`[[events]]`", format::EVENT),
        ("`[expect]`", format::EXPECT),
    ];
    let expected: BTreeMap<String, Vec<String>> = sections
        .iter()
        .map(|(header, keys)| {
            let is_section = |key: &&&str| *keys == format::TOP && SECTIONS.contains(*key);
            let keys = keys.iter().filter(|key| !is_section(key));
            ((*header).to_owned(), keys.map(|key| (*key).to_owned()).collect())
        })
        .collect();
    let mut documented: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = "";
    for line in README.lines() {
        if let Some(header) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            section = header;
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|line| line.split_once("` |")) {
            documented
                .entry(section.to_owned())
                .or_default()
                .push(key.to_owned());
        }
    }
    documented.retain(|header, _| !NOT_KEYS.contains(&header.as_str()));
    assert_eq!(documented, expected);
}

#[test]
fn the_readme_has_every_word_and_every_shipped_scenario() {
    let words = format::EVENT_KINDS.iter().map(|(word, _)| *word);
    let words = words
        .chain(SUITES.iter().map(|(word, _)| *word))
        .chain(words::CREDENTIALS.iter().map(|(word, _)| *word))
        .chain(words::ENGINES.iter().map(|(word, _)| *word))
        .chain(PORTS.iter().map(|(word, _)| *word))
        .chain(Profile::NAMES)
        .chain(shipped().iter().map(|(name, _)| *name));
    for word in words {
        assert!(
            README.contains(&format!("`{word}`")),
            "{word} is not in the README"
        );
    }
    for (kind, takes) in format::EVENT_KINDS {
        let takes: Vec<String> = takes.iter().map(|key| format!("`{key}`")).collect();
        let row = README
            .lines()
            .find(|line| line.starts_with(&format!("| `{kind}`")));
        let row = row.unwrap_or_else(|| panic!("no row for {kind}"));
        assert!(
            row.ends_with(&format!("| {} |", takes.join(", "))),
            "{row} does not end with {takes:?}"
        );
    }
}

#[test]
fn the_examples_of_the_readme_can_be_run() {
    let examples: Vec<&str> = README
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        let checked = check(example, &Overrides::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
    }
}

#[test]
fn values_are_read_in_every_unit_and_shown_as_one_would_write_them() {
    let text = |text: &str| raw::RawValue::Text(text.to_owned());
    let any_span = value::span(Duration::ZERO..=Duration::MAX);
    for (written, nanos, shown) in [
        ("250 ms", 250_000_000, "250 ms"),
        ("250ms", 250_000_000, "250 ms"),
        ("1.5 s", 1_500_000_000, "1.5 s"),
        ("90 s", 90_000_000_000, "1.5 min"),
        ("100 s", 100_000_000_000, "100 s"),
        ("2 h", 7_200_000_000_000, "2 h"),
        ("10 us", 10_000, "10 us"),
        ("0 ms", 0, "0 s"),
    ] {
        let span = any_span(&text(written)).unwrap();
        assert_eq!(span, Duration::from_nanos(nanos), "{written}");
        assert_eq!(show_span(span), shown);
    }
    for wrong in [
        "",
        "s",
        "5",
        "5 m",
        "-5 s",
        "5. s",
        ".5 s",
        "1e3 s",
        "5 S",
        "99999999999999999999 s",
        "9999999999999 h",
    ] {
        assert!(any_span(&text(wrong)).is_err(), "{wrong}");
    }
    let any_size = value::size(0..=u64::MAX);
    for (written, bytes, shown) in [
        ("64 KiB", 65_536, "64 KiB"),
        ("1.5 MiB", 1_572_864, "1.5 MiB"),
        ("1000 B", 1000, "1000 B"),
        ("2 GiB", 2 << 30, "2 GiB"),
    ] {
        let size = any_size(&text(written)).unwrap();
        assert_eq!(size, bytes, "{written}");
        assert_eq!(show_size(size), shown);
    }
    // A third of a kibibyte is no number of bytes.
    assert!(any_size(&text("0.333 KiB")).is_err());
    assert_eq!(value::rate(&text("27.2 kbit/s")), Ok(Some(27_200)));
    assert_eq!(value::rate(&text("unlimited")), Ok(None));
    assert_eq!(show_share(0.07), "7 %");
    assert_eq!(show_share(1.0), "100 %");
}

fn devices_of(devices: u32) -> Overrides {
    Overrides {
        devices: Some(devices),
        seed: None,
    }
}

/// The scenario that is right, with this in place of one of its lines.
fn with_line(number: usize, text: &str) -> String {
    let mut lines: Vec<&str> = BASE.lines().collect();
    lines[number - 1] = text;
    lines.join("\n")
}

const README: &str = include_str!("../../../README.md");

/// Documented under headings of their own.
const SECTIONS: &[&str] = &[
    "gateway", "images", "cohorts", "devices", "networks", "arrival", "events", "expect",
];

/// Headings of tables that are not of keys.
const NOT_KEYS: &[&str] = &[
    "Commands",
    "What can happen",
    "Networks there are",
    "Suites",
    "Credentials",
    "Shipped scenarios",
];
