//! What is left of a run: a document, a page, and a table for whoever waited for it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::quantity::{self, Quantity};
use crate::report;
use crate::result::{HistogramFacts, RunResult};

/// Why there is no result.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The disk.
    #[error("{} cannot be written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be JSON.
    #[error("the result cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Writes `result.json` and `report.html` into a folder; returns both paths.
pub fn write(result: &RunResult, folder: &Path) -> Result<[PathBuf; 2], WriteError> {
    let (json, page) = (folder.join("result.json"), folder.join("report.html"));
    let text = serde_json::to_string_pretty(result)?;
    for (path, text) in [(&json, text), (&page, report::html(result))] {
        fs::write(path, text).map_err(|source| WriteError::File {
            path: path.clone(),
            source,
        })?;
    }
    Ok([json, page])
}

/// What happened, how long it took, and what was expected.
pub fn table(result: &RunResult) -> String {
    let mut table = String::new();
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(table, "{}", text.trim_end());
    };
    line(format!(
        "{}: {} devices, seed {}, {} ({})",
        result.scenario.name,
        quantity::count(result.scenario.devices),
        result.scenario.seed,
        quantity::duration(result.took_s),
        result.ended
    ));
    line(String::new());
    for (name, count) in result.counts.iter().filter(|(_, count)| **count > 0) {
        line(format!("{name:<34}{:>16}", number(name, *count)));
    }
    for (name, figure) in &result.server {
        line(format!(
            "{:<34}{:>16}",
            format!("gateway {name}"),
            Quantity::of_name(name).in_words(*figure)
        ));
    }
    line(String::new());
    line(format!(
        "{:<14}{:>10}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "", "count", "p50", "p90", "p99", "p99.9", "max"
    ));
    for (name, histogram) in &result.histograms {
        let HistogramFacts {
            count,
            p50,
            p90,
            p99,
            p999,
            max,
            ..
        } = histogram;
        let mut row = format!("{name:<14}{:>10}", quantity::count(*count));
        for micros in [p50, p90, p99, p999, max] {
            let _ = write!(row, "{:>12}", Quantity::Micros.in_words(*micros as f64));
        }
        line(row);
    }
    line(String::new());
    for verdict in &result.verdicts {
        let mark = if verdict.met { "✓" } else { "✗" };
        line(format!(
            "{mark} {:<26}{}: {}",
            verdict.key, verdict.expected, verdict.seen
        ));
    }
    table
}

/// A count, to the last one; bytes in three digits.
fn number(name: &str, count: u64) -> String {
    match Quantity::of_name(name) {
        Quantity::Bytes => Quantity::Bytes.in_words(count as f64),
        Quantity::Count | Quantity::Whole | Quantity::Micros | Quantity::Seconds | Quantity::Plain => {
            quantity::count(count)
        }
    }
}
