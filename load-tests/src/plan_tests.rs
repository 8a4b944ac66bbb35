use std::collections::BTreeSet;

use super::*;
use crate::scenario::{Overrides, read};

#[test]
fn a_seed_makes_this_plan_and_no_later_version_makes_another() {
    let plan = plan_of(TWO_KINDS);
    // Whoever has to change these changes `FORMAT`: the same scenario and seed no longer mean the same devices.
    assert_eq!(
        plan.digest(),
        "7fbca5269ab8d283903e10923b27df0fb513361e24112bf1c2a872260496ff0c"
    );
    let device = &plan.devices[0];
    assert_eq!(device.name, "a-1");
    assert_eq!(device.secret, "0a361c3ea27f704bfdb96b61ef945df7");
    assert_eq!(
        (device.seed, device.network_seed),
        (0xeffa_d6d5_1176_6361, 0x3b91_9c74_1c03_14da)
    );
    assert_eq!(device.start, Duration::from_nanos(9_572_867_540));
}

#[test]
fn the_same_seed_makes_the_same_plan_and_another_seed_another() {
    assert_eq!(plan_of(TWO_KINDS), plan_of(TWO_KINDS));
    let other = plan_of(&TWO_KINDS.replace("seed = 5", "seed = 6"));
    let plan = plan_of(TWO_KINDS);
    assert_ne!(plan.digest(), other.digest());
    for (one, other) in plan.devices.iter().zip(&other.devices) {
        assert_eq!(one.name, other.name);
        assert_ne!((one.seed, one.network_seed), (other.seed, other.network_seed));
        assert!(one.secret.is_empty() || one.secret != other.secret);
    }
}

#[test]
fn whatever_decides_what_happens_is_in_the_digest() {
    let digest = plan_of(TWO_KINDS).digest();
    for (from, to) in [
        ("count = 40", "count = 41"),
        ("loss = 0.05", "loss = 0.06"),
        ("size = \"8 KiB\"", "size = \"9 KiB\""),
        ("share = 0.25", "share = 0.5"),
        ("over = \"10 s\"", "over = \"11 s\""),
        ("after = \"connected\"", "after = \"connected\"\ndelay = \"1 s\""),
        ("name = \"b\"", "name = \"c\""),
        ("faster = 1\n", "faster = 2\n"),
        ("block_size = 512", "block_size = 256"),
        // The gateway's section is a part of it, key by key.
        ("[arrival]", "[gateway]\nshards = 2\n\n[arrival]"),
        ("[arrival]", "[gateway]\ndisk = \"64 MiB\"\n\n[arrival]"),
        (
            "[arrival]",
            "[gateway]\nconfig = { \"coaps.idle_timeout_cid\" = \"12h\" }\n\n[arrival]",
        ),
    ] {
        assert!(TWO_KINDS.contains(from), "{from}");
        assert_ne!(plan_of(&TWO_KINDS.replace(from, to)).digest(), digest, "{to}");
    }
    // What it is called, and how it is judged, decide nothing.
    for (from, to) in [
        ("name = \"two\"", "name = \"three\""),
        ("devices_lost = 0", "devices_lost = 1"),
        ("stop_after = \"5 min\"", "stop_after = \"6 min\""),
    ] {
        assert!(TWO_KINDS.contains(from), "{from}");
        assert_eq!(plan_of(&TWO_KINDS.replace(from, to)).digest(), digest, "{to}");
    }
}

#[test]
fn a_kind_that_is_added_or_grows_changes_no_other_device() {
    let plan = plan_of(TWO_KINDS);
    let kind = "[[devices]]\nname = \"first\"\ncount = 7\nruns = \"main@1.0.0\"\n\n[[devices]]\nname = \"a\"";
    let more = TWO_KINDS
        .replacen("[[devices]]\nname = \"a\"", kind, 1)
        .replace("count = 40", "count = 50");
    let more = plan_of(&more);
    assert_eq!(more.devices.len(), plan.devices.len() + 17);
    for device in &plan.devices {
        let same = more
            .devices
            .iter()
            .find(|other| other.name == device.name)
            .unwrap();
        assert_eq!(
            (same.seed, same.network_seed, &same.secret, same.start),
            (device.seed, device.network_seed, &device.secret, device.start),
            "{}",
            device.name
        );
    }
}

#[test]
fn every_device_has_its_own_name_seeds_and_key() {
    let plan = plan_of(TWO_KINDS);
    let names: BTreeSet<&str> = plan.devices.iter().map(|device| &*device.name).collect();
    assert_eq!(names.len(), 60);
    let seeds = plan
        .devices
        .iter()
        .flat_map(|device| [device.seed, device.network_seed]);
    assert_eq!(seeds.collect::<BTreeSet<u64>>().len(), 120);
    for device in &plan.devices {
        match device.kind {
            0 => assert!(
                device.secret.len() == 32 && device.secret.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{device:?}"
            ),
            _ => assert_eq!(device.secret, "", "a certificate has no key of this sort"),
        }
    }
}

#[test]
fn a_ramp_is_even_and_a_storm_takes_no_time() {
    let ramp = plan_of(TWO_KINDS);
    let tenth = Duration::from_secs(1);
    for part in 0..10_u32 {
        let there = |device: &&DevicePlan| device.start >= tenth * part && device.start < tenth * (part + 1);
        let starts = ramp.devices.iter().filter(there).count();
        // Sixty over ten parts; the golden ratio is never off by more than one or two a kind.
        assert!((4..=8).contains(&starts), "{starts} in part {part}");
    }
    let storm = TWO_KINDS.replace("how = \"ramp\"\nover = \"10 s\"", "how = \"storm\"");
    assert!(
        plan_of(&storm)
            .devices
            .iter()
            .all(|device| device.start == Duration::ZERO)
    );
}

#[test]
fn random_arrivals_come_as_independent_callers_do() {
    let random = TWO_KINDS
        .replace("how = \"ramp\"", "how = \"random\"")
        .replace("count = 40", "count = 2000");
    let plan = plan_of(&random);
    let mut starts: Vec<f64> = plan
        .devices
        .iter()
        .map(|device| device.start.as_secs_f64())
        .collect();
    starts.sort_by(f64::total_cmp);
    assert!(starts.iter().all(|start| (0.0..10.0).contains(start)));
    let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    // Of exponential gaps one in e is longer than their mean; of even ones about half, or none.
    let longer = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
    assert!((0.33..0.41).contains(&longer), "{longer}");
}

#[test]
fn an_event_chooses_its_share_and_not_the_same_as_another() {
    let scenario = read(TWO_KINDS, &Overrides::default()).unwrap();
    let plan = Plan::of(&scenario);
    let who = |kind: Option<usize>, share: f64| Who { kind, share };
    let quarter = plan.chosen(&scenario, &who(Some(0), 0.25), 0);
    assert_eq!(quarter.len(), 10);
    assert!(
        quarter.is_sorted()
            && quarter
                .iter()
                .all(|place| plan.devices[*place as usize].kind == 0)
    );
    assert_eq!(quarter, plan.chosen(&scenario, &who(Some(0), 0.25), 0));
    assert_ne!(quarter, plan.chosen(&scenario, &who(Some(0), 0.25), 1));
    // A larger share of the same event has the smaller one in it.
    let half: BTreeSet<u32> = plan
        .chosen(&scenario, &who(Some(0), 0.5), 0)
        .into_iter()
        .collect();
    assert!(quarter.iter().all(|place| half.contains(place)));
    assert_eq!(plan.chosen(&scenario, &who(Some(0), 0.001), 0).len(), 1);
    assert_eq!(plan.chosen(&scenario, &who(Some(1), 1.0), 0).len(), 20);
    assert_eq!(plan.chosen(&scenario, &who(None, 1.0), 0).len(), 60);
}

#[test]
fn without_a_kind_only_good_devices_are_chosen() {
    let bad = TWO_KINDS.replace(
        "credential = \"certificate\"",
        "credential = \"untrusted-certificate\"",
    );
    let scenario = read(&bad, &Overrides::default()).unwrap();
    let plan = Plan::of(&scenario);
    let who = Who {
        kind: None,
        share: 1.0,
    };
    let chosen = plan.chosen(&scenario, &who, 0);
    assert_eq!(chosen.len(), 40);
    assert!(chosen.iter().all(|place| plan.devices[*place as usize].kind == 0));
}

fn plan_of(text: &str) -> Plan {
    Plan::of(&read(text, &Overrides::default()).unwrap())
}

const TWO_KINDS: &str = r#"
name = "two"
seed = 5
stop_after = "5 min"

[images."main@1.1.0"]
size = "8 KiB"

[[cohorts]]
name = "all"

[networks.bad]
loss = 0.05

[[devices]]
name = "a"
count = 40
runs = "main@1.0.0"
cohort = "all"
network = "bad"
faster = 1

[[devices]]
name = "b"
count = 20
port = "zephyr"
credential = "certificate"
block_size = 512
runs = "main@1.0.0"

[arrival]
how = "ramp"
over = "10 s"

[[events]]
do = "deploy"
after = "connected"
cohort = "all"
images = "main@1.1.0"

[[events]]
do = "reboot"
after = "converged"
share = 0.25

[expect]
devices_lost = 0
"#;
