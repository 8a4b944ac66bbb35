//! What a run was made with and on.

use std::collections::BTreeMap;
use std::fs;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Of what the run was made: the versions of the gateway, if it has told, and of the simulator, and how that was built.
pub fn versions(gateway: Option<&str>) -> BTreeMap<String, String> {
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    [
        ("tessera", gateway),
        ("tessera-fleet", Some(env!("CARGO_PKG_VERSION"))),
        ("profile", Some(profile)),
    ]
    .into_iter()
    .filter_map(|(name, version)| Some((name.to_owned(), version?.to_owned())))
    .collect()
}

/// The machine, as far as it can be read.
pub fn machine() -> BTreeMap<String, String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map(|cores| cores.to_string());
    let memory = value(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok())
        .map(|kib| (kib * 1024).to_string());
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let facts = [
        ("cpu", value(&read("/proc/cpuinfo"), "model name")),
        ("cores", cores.ok()),
        ("memory_bytes", memory),
        ("kernel", Some(kernel).filter(|kernel| !kernel.is_empty())),
    ];
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// A time of the wall clock as `2026-11-28T23:21:00Z`.
pub fn rfc3339(unix_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000));
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// The first `name : value` of a file of the kernel's.
fn value(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_to_the_second() {
        assert_eq!(rfc3339(1_796_000_000_999), "2026-11-30T00:53:20Z");
    }

    #[test]
    fn what_the_kernel_says_of_the_machine_is_found() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: another\n";
        assert_eq!(value(text, "model name").as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(value(text, "model"), None);
        let machine = machine();
        assert!(
            machine["memory_bytes"].parse::<u64>().unwrap() > 1 << 20,
            "{machine:?}"
        );
        assert!(machine["cores"].parse::<u64>().unwrap() >= 1, "{machine:?}");
    }
}
