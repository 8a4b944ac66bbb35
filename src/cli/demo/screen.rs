//! What the demonstration shows while devices update: bars on a terminal, plain lines elsewhere. Talk goes to
//! stderr, the summary to stdout.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::say;
use crate::virtual_device::Port;

/// The part of the terminal that belongs to one rollout.
#[derive(Debug)]
pub enum Screen {
    /// A bar for the fleet and one for each of the first devices.
    Bars {
        /// Devices updated.
        fleet: ProgressBar,
        /// The first [`MAX_BARS`] devices.
        devices: Vec<ProgressBar>,
    },
    /// A line whenever another quarter of the fleet is done.
    Lines {
        /// How many devices take part.
        of: usize,
        /// How many are done.
        done: usize,
    },
}

impl Screen {
    /// A screen for the named devices, each to fetch `bytes`.
    ///
    /// # Panics
    /// Never: the templates are constants.
    #[must_use]
    pub fn new(names: &[String], bytes: u64) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines {
                of: names.len(),
                done: 0,
            };
        }
        let fleet_style = ProgressStyle::with_template("{prefix:>14} [{bar:24}] {pos}/{len} updated")
            .expect("the template is a constant")
            .progress_chars(BAR);
        let device_style = ProgressStyle::with_template("{prefix:>14} [{bar:24}] {bytes:>10}  {wide_msg}")
            .expect("the template is a constant")
            .progress_chars(BAR);
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let fleet = all.add(
            ProgressBar::new(names.len() as u64)
                .with_style(fleet_style)
                .with_prefix("fleet"),
        );
        let devices = names
            .iter()
            .take(MAX_BARS)
            .map(|name| {
                let bar = ProgressBar::new(bytes)
                    .with_style(device_style.clone())
                    .with_prefix(name.clone());
                all.add(bar)
            })
            .collect();
        let screen = Self::Bars { fleet, devices };
        if let Self::Bars { fleet, devices } = &screen {
            fleet.tick();
            devices.iter().for_each(ProgressBar::tick);
        }
        screen
    }

    /// A device has that many bytes of the artifact.
    pub fn received(&self, device: usize, bytes: u64) {
        if let Some(bar) = self.bar(device) {
            bar.set_position(bytes);
        }
    }

    /// A device is somewhere worth a word.
    pub fn stage(&self, device: usize, word: &'static str) {
        if let Some(bar) = self.bar(device) {
            say_on(bar, word);
        }
    }

    /// A device runs what it should.
    pub fn updated(&mut self, device: usize, took: Duration) {
        if let Some(bar) = self.bar(device) {
            bar.set_position(bar.length().unwrap_or_default());
            bar.finish_with_message(format!("updated after {}", seconds(took)));
        }
        match self {
            Self::Bars { fleet, .. } => fleet.inc(1),
            Self::Lines { of, done } => {
                *done += 1;
                if *done == *of || *done % of.div_ceil(4) == 0 {
                    say(&format!("{done} of {of} devices updated"));
                }
            }
        }
    }

    /// A device's attempt failed; it will try again by itself.
    pub fn failed(&self, device: usize, name: &str, why: &'static str) {
        match self {
            Self::Bars { .. } => {
                if let Some(bar) = self.bar(device) {
                    say_on(bar, why);
                }
            }
            Self::Lines { .. } => say(&format!("{name}: {why}")),
        }
    }

    /// Leaves the bars as they are and gives the terminal back.
    pub fn close(self) {
        if let Self::Bars { fleet, devices } = &self {
            devices.iter().for_each(ProgressBar::abandon);
            fleet.abandon();
        }
    }

    /// The bar of a device that is still at it: the last word on a bar is that its device runs what it should.
    fn bar(&self, device: usize) -> Option<&ProgressBar> {
        match self {
            Self::Bars { devices, .. } => devices.get(device).filter(|bar| !bar.is_finished()),
            Self::Lines { .. } => None,
        }
    }
}

/// Every message draws, and every block would bring the same one.
fn say_on(bar: &ProgressBar, word: &'static str) {
    if bar.message() != word {
        bar.set_message(word);
    }
}

/// How one rollout went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The version that was rolled out.
    pub version: String,
    /// From the deployment to the device's report that it runs the version, one entry per device that does.
    pub times: Vec<Duration>,
    /// Name of each device that does not, and what is known about it.
    pub failed: Vec<(String, String)>,
    /// How the devices of each port fared.
    pub ports: [Share; 2],
    /// Artifact bytes that arrived at devices with the right hash.
    pub bytes: u64,
    /// From the deployment to the last report, or to giving up.
    pub took: Duration,
}

/// The part of the fleet that is built with one of the SDK's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The port.
    pub port: Port,
    /// Devices of it.
    pub of: usize,
    /// Those that run the version.
    pub updated: usize,
}

impl Summary {
    /// Whether every device runs the version.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// The table, ending in a line break.
    #[must_use]
    pub fn table(&self) -> String {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = |percent| percentile(&times, percent).map_or_else(|| "-".to_owned(), seconds);
        let mut table = String::new();
        let mut row = |name: &str, value: String| {
            table.push_str(&format!("  {name:<22}{value}\n"));
        };
        row("version", self.version.clone());
        row("updated", self.times.len().to_string());
        row("failed", self.failed.len().to_string());
        for share in self.ports {
            let name = format!("of the {} port", share.port.as_str());
            row(&name, format!("{} of {}", share.updated, share.of));
        }
        row("artifact bytes", HumanBytes(self.bytes).to_string());
        row("time", seconds(self.took));
        row("per device, p50", at(50));
        row("per device, p99", at(99));
        for (name, why) in self.failed.iter().take(FAILED_MAX) {
            row(name, why.clone());
        }
        if let Some(others) = self
            .failed
            .len()
            .checked_sub(FAILED_MAX)
            .filter(|others| *others > 0)
        {
            row("", format!("and {others} more"));
        }
        table
    }
}

/// The smallest time that at least `percent` of the sorted times do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Seconds with two decimals: what a person compares.
fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// With the fleet's and the prompt's, what fits the 24 lines of an ordinary terminal. A bar that has scrolled off
/// cannot be drawn again, and shows an old word for good.
const MAX_BARS: usize = 20;
/// Drawing happens between events, and what it costs is missing from the update that is being timed. A guess: as
/// often as an eye can use.
const DRAWS_PER_SECOND: u8 = 5;
/// Devices named in a summary.
const FAILED_MAX: usize = 25;
const BAR: &str = "=> ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let times: Vec<Duration> = (1..=25).map(Duration::from_secs).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_secs(13)));
        assert_eq!(percentile(&times, 99), Some(Duration::from_secs(25)));
        assert_eq!(percentile(&times[..1], 50), Some(Duration::from_secs(1)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_summary_names_the_devices_that_stayed_behind() {
        let summary = Summary {
            version: "1.1.0".into(),
            times: vec![Duration::from_millis(1500)],
            failed: vec![("sensor-02".into(), "still runs 1.0.0".into())],
            ports: [(Port::Libcoap, 1), (Port::Zephyr, 0)].map(|(port, updated)| Share {
                port,
                of: 1,
                updated,
            }),
            bytes: 262_144,
            took: Duration::from_secs(9),
        };
        let table = summary.table();
        assert!(!summary.complete());
        assert!(table.contains("updated               1\n"), "{table}");
        assert!(table.contains("of the Zephyr port    0 of 1\n"), "{table}");
        assert!(table.contains("artifact bytes        256.00 KiB\n"), "{table}");
        assert!(table.contains("per device, p99       1.50 s\n"), "{table}");
        assert!(
            table.contains("sensor-02             still runs 1.0.0\n"),
            "{table}"
        );
    }
}
