//! What a run was made with and on.

use std::collections::BTreeMap;
use std::{env, fs};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Of what the run was made: the versions of the gateway, if it has told, and of the simulator, how that was built, and which
/// build it is: two of one version need not be the same program.
pub fn versions(gateway: Option<&str>) -> BTreeMap<String, String> {
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let program = env::current_exe().and_then(fs::read);
    let build = program.ok().map(|program| of_build(&program));
    [
        ("build", build.as_deref()),
        ("tessera", gateway),
        ("tessera-fleet", Some(env!("CARGO_PKG_VERSION"))),
        ("profile", Some(profile)),
    ]
    .into_iter()
    .filter_map(|(name, version)| Some((name.to_owned(), version?.to_owned())))
    .collect()
}

/// The start of a program's SHA-256.
fn of_build(program: &[u8]) -> String {
    let digest = Sha256::digest(program);
    let bytes = digest.iter().take(BUILD_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
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

/// Enough to tell builds apart, and short enough for a table.
const BUILD_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_known_by_what_it_is_made_of() {
        let build = &versions(None)["build"];
        assert!(
            build.len() == 12 && build.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{build}"
        );
        assert_eq!(of_build(b"one"), "7692c3ad3540", "the start of its SHA-256");
    }

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
