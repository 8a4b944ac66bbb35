//! Figures of the process itself, read from `/proc` when they are asked for.

use std::fmt::{Display, Write};
use std::fs;
use std::sync::LazyLock;

use super::event::FIGURES;

/// Appends the build's and the process's figures in Prometheus' text form. A figure that cannot be read (no
/// `/proc`) is left out.
pub fn write_figures(out: &mut String) {
    let [build, start, memory, cpu, open_fds, max_fds, threads] = FIGURES.map(|metric| {
        move |out: &mut String, labels: &str, value: &dyn Display| {
            let super::MetricName { name, kind, help } = metric;
            // Writing to a String does not fail.
            let _ = write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n\n"
            );
        }
    });
    build(out, concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), &1);
    if let Some(seconds) = *STARTED {
        start(out, "", &seconds);
    }
    if let Some(kilobytes) = status_field("VmRSS:") {
        memory(out, "", &(kilobytes * 1024));
    }
    if let Some(seconds) = cpu_seconds() {
        cpu(out, "", &seconds);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        open_fds(out, "", &entries.count());
    }
    if let Some(limit) = max_open_files() {
        max_fds(out, "", &limit);
    }
    if let Some(count) = status_field("Threads:") {
        threads(out, "", &count);
    }
}

fn status_field(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    // User and system time.
    Some((stat_field(14)? + stat_field(15)?) / TICKS_PER_SECOND)
}

/// Read once: where clocks are set, the kernel changes its mind about when it was booted, and nobody was started again.
static STARTED: LazyLock<Option<f64>> = LazyLock::new(start_time);

/// The kernel counts from when it was booted.
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.trim().parse::<f64>().ok()? + stat_field(22)? / TICKS_PER_SECOND)
}

/// A field of `/proc/self/stat`, numbered as `proc(5)` does, from the third on.
fn stat_field(number: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may hold spaces.
    let after_command = stat.rsplit_once(')')?.1;
    after_command.split_whitespace().nth(number - 3)?.parse().ok()
}

fn max_open_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `USER_HZ`: what the kernel reports times in, 100 on every Linux architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;
