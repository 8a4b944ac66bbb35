//! A run that never was, as the JSON document of one: for tests of what is made of a result. It is written out by hand
//! here, so that the program's own types are not the judge of themselves.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Value, json};

/// What run to pretend.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Devices in all; one in a hundred has bad credentials.
    pub devices: u64,
    /// Samples, one a second.
    pub seconds: u64,
    /// What latencies are multiplied by.
    pub slower: f64,
}

impl Run {
    /// Ten thousand devices for six minutes.
    pub fn large() -> Run {
        Run {
            devices: 10_000,
            seconds: 360,
            slower: 1.0,
        }
    }

    /// A hundred for twenty seconds.
    pub fn small() -> Run {
        Run {
            devices: 100,
            seconds: 20,
            slower: 1.0,
        }
    }
}

/// The document: devices arrive, a deployment reaches them, the gateway is killed and comes back, some change their address.
pub fn value(run: &Run) -> Value {
    let bad = run.devices / 100;
    let good = run.devices - bad;
    let end = run.seconds as f64;
    let at = |share: f64| (end * share).round();
    let (ramp, deployed, killed, back, rebound) = (at(0.15), at(0.25), at(0.58), at(0.62), at(0.8));
    let mut chance = Chance(1);
    let series: Vec<Value> = (0..run.seconds)
        .map(|second| {
            let now = second as f64;
            let share = |from: f64, took: f64| ((now - from) / took).clamp(0.0, 1.0);
            let smooth = |x: f64| x * x * (3.0 - 2.0 * x);
            let down = now >= killed && now < back;
            let arrived = share(0.0, ramp);
            let connected = (good as f64 * arrived * if down { 0.985 } else { 1.0 }).round() as u64;
            let observing = (connected as f64 * 0.995 * share(1.0, ramp).powf(0.8)).round() as u64;
            let converged = (good as f64 * smooth(share(deployed + at(0.06), end * 0.42))).round() as u64;
            let heard = (good as f64 * smooth(share(deployed, end * 0.12))).round() as u64;
            let downloading = heard.saturating_sub(converged);
            let wave = chance.around(1.0, 0.08);
            let busy = downloading as f64 / good.max(1) as f64;
            let rate = if down { 0.0 } else { wave * busy * good as f64 };
            let deployed_yet = now >= deployed;
            let old = good - converged;
            json!({
                "at_s": now,
                "connected": connected,
                "observing": observing,
                "downloading": downloading.min(connected),
                "converged": if deployed_yet { converged } else { connected },
                "wanted": good,
                "versions": versions(old, converged),
                "handshakes_per_s": if arrived < 1.0 { good as f64 / ramp * chance.around(1.0, 0.1) } else { 0.0 },
                "bytes_per_s": rate * 1024.0,
                "datagrams_out_per_s": rate * 1.05 + connected as f64 * 0.05,
                "datagrams_in_per_s": rate * 1.02 + connected as f64 * 0.05,
                "server_sessions": if down { Value::Null } else { json!(connected + connected / 80) },
                "server_cpu": if down { Value::Null } else { json!(0.02 + busy * 0.7 * wave + 0.3 * f64::from(u8::from(arrived < 1.0))) },
                "server_memory": if down { Value::Null } else { json!(14_000_000 + connected * 900 + second * 1_000) },
                "own_cpu": 0.05 + busy * 0.9 * wave,
                "block_p50_p99": if busy > 0.001 && !down {
                    json!([(400.0 * wave * run.slower) as u64, (2_100_000.0 * wave * run.slower) as u64])
                } else {
                    Value::Null
                },
            })
        })
        .collect();
    let mut histogram = |count: u64, median: f64, spread: f64, lossy: f64| {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 86_400_000_000, 3).unwrap();
        for _ in 0..count {
            let mut micros = median * run.slower * (spread * chance.normal()).exp();
            while chance.share() < lossy {
                micros += 2_000_000.0 * chance.around(1.25, 0.2);
            }
            histogram.record((micros as u64).max(1)).unwrap();
        }
        facts(&histogram)
    };
    let handshake = histogram(good, 3_000.0, 0.6, 0.1);
    let notification = histogram(good, 40_000.0, 0.9, 0.05);
    let block = histogram(good * 4, 420.0, 0.5, 0.1);
    let update = histogram(good, 60_000_000.0, 0.35, 0.0);
    let report = histogram(good * 3, 1_800.0, 0.7, 0.1);
    let slow_handshake = histogram(good / 3, 48_000.0, 0.5, 0.2);
    let slow_block = histogram(good, 31_000.0, 0.4, 0.2);
    let lateness = histogram(good * 4, 60.0, 1.1, 0.0);
    json!({
        "format": 1,
        "scenario": {
            "name": "deploy-10k",
            "about": "Ten thousand devices, a twentieth of their datagrams lost, get an update while the gateway is killed and comes back.",
            "text": "name = \"deploy-10k\" # <not> a tag & not an entity\nseed = 7\n\n[[kinds]]\nname = \"meter\"\ncount = 7000\nnetwork = \"lossy\"\n",
            "changed": [format!("--devices {}", run.devices)],
            "seed": 7,
            "plan": "0b7f3c4d8f0e6b1f5a2d9c7e4b3a1f6d8e9c0a7b5d4f3e2c1b0a9f8e7d6c5b4a",
            "devices": run.devices,
            "bad_devices": bad,
        },
        "versions": {"tessera": "0.1.0", "tessera-fleet": "0.1.0", "profile": "release", "rustc": "1.94.0"},
        "machine": {"cpu": "AMD EPYC 7763", "cores": "2", "memory_bytes": "25190000000", "kernel": "6.8.0"},
        "began": "2026-11-28T23:21:00Z",
        "took_s": end - 0.6,
        "ended": "done",
        "passed": false,
        "verdicts": [
            {"key": "converged_within", "expected": "every good device of cohort a runs main@1.1.0 within 4 min", "seen": "all 9,900 after 3 min 29 s", "met": true},
            {"key": "notification_p99", "expected": "below 3 s", "seen": "2.61 s", "met": true},
            {"key": "lost", "expected": "no device is without a session at the end", "seen": "0 of 9,900", "met": true},
            {"key": "server_memory_per_device", "expected": "at most 1 KiB", "seen": "2.23 KiB", "met": false},
        ],
        "events": [
            {"at_s": deployed, "kind": "deploy", "what": "deploy #2 main@1.1.0 to a", "devices": good},
            {"at_s": killed, "kind": "kill-gateway", "what": "kill the gateway", "devices": 0},
            {"at_s": back, "kind": "start-gateway", "what": "start the gateway", "devices": 0},
            {"at_s": rebound, "kind": "rebind", "what": "rebind a tenth", "devices": good / 10},
            {"at_s": rebound + 1.0, "kind": "reboot", "what": "reboot meter-1", "devices": 1},
        ],
        "histograms": {
            "handshake": handshake, "notification": notification, "block": block, "update": update,
            "report": report, "lateness": lateness,
        },
        "counts": {
            "handshakes": good, "notifications_waiting": good / 99, "requests_failed": good / 3, "blocks": good * 64, "bytes": good * 65_536, "reports": good * 3,
            "datagrams_sent": good * 90, "datagrams_received": good * 88, "lost_up": good * 5, "lost_down": good * 4,
        },
        "kinds": [
            {
                "name": "meter", "what": "Zephyr, PSK-GCM, lte-m", "devices": good / 10 * 7, "connected": good / 10 * 7, "converged": good / 10 * 7,
                "counts": {"handshakes": good / 10 * 7, "blocks": good / 10 * 7 * 64},
                "histograms": {"handshake": handshake, "block": block, "update": update},
            },
            {
                "name": "<b>camera</b>", "what": "libcoap, certificate & CID", "devices": good / 10 * 3, "connected": good / 10 * 3, "converged": good / 10 * 3,
                "counts": {"handshakes": good / 10 * 3, "blocks": good / 10 * 3 * 64, "handshakes_failed": 12},
                "histograms": {"handshake": slow_handshake, "notification": notification, "block": slow_block},
            },
        ],
        "server": {
            "cpu_s": 61.4, "memory_bytes_before": 14_000_000.0, "memory_bytes_connected": 14_000_000.0 + good as f64 * 800.0, "memory_bytes_max": 14_000_000.0 + good as f64 * 900.0, "datagrams_in": (good * 85) as f64,
            "datagrams_out": (good * 84) as f64, "retransmissions": (good / 20) as f64,
        },
        "series": series,
    })
}

fn versions(old: u64, new: u64) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([("main@1.0.0", old), ("main@1.1.0", new)])
}

fn facts(histogram: &Histogram<u64>) -> Value {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .unwrap();
    let at = |quantile| histogram.value_at_quantile(quantile);
    json!({
        "count": histogram.len(), "min": histogram.min(), "mean": histogram.mean(), "p50": at(0.5), "p90": at(0.9),
        "p99": at(0.99), "p999": at(0.999), "max": histogram.max(), "hdr": data_encoding::BASE64.encode(&bytes),
    })
}

/// Chances that are the same each time; nothing hangs on how good they are.
struct Chance(u64);

impl Chance {
    fn share(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn around(&mut self, middle: f64, spread: f64) -> f64 {
        middle + spread * (2.0 * self.share() - 1.0)
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}
