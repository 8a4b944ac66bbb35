//! Two runs beside each other: first in what they are not alike, then ratios of all that both have measured.

use std::collections::{BTreeMap, BTreeSet};

use crate::quantity::{self, Quantity};
use crate::result::{HistogramFacts, KindFacts, RunResult};

/// The table, for a terminal. The second run is measured by the first: a ratio of 2× is twice as much in `b`.
pub fn table(a: &RunResult, b: &RunResult) -> String {
    let mut out = format!("A  {}\nB  {}\n\n", run(a), run(b));
    let differences = differences(a, b);
    if differences.is_empty() {
        out.push_str(
            "Alike in scenario, plan, seed, size, machine and versions: what differs below is chance or the clock.\n",
        );
    } else {
        out.push_str("NOT ALIKE, so that a ratio below may come of this:\n");
        let widest = differences.iter().map(|(what, _)| wide(what)).max().unwrap_or(0);
        for (what, how) in &differences {
            out.push_str(&format!("  {what}{}  {how}\n", pad(widest - wide(what))));
        }
    }
    let sections = sections(a, b);
    let rows = || sections.iter().flat_map(|section| &section.rows);
    let widest = |of: &dyn Fn(&Row) -> usize, least: usize| rows().map(of).max().unwrap_or(0).max(least);
    let (name, first, second, ratio) = (
        widest(&|row| wide(&row.name), 0),
        widest(&|row| wide(&row.a), 1),
        widest(&|row| wide(&row.b), 1),
        widest(&|row| wide(&ratio(row)), 5),
    );
    out.push_str(&format!(
        "\n  {}  {:>first$}  {:>second$}  {:>ratio$}\n",
        pad(name),
        "A",
        "B",
        "B / A"
    ));
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        out.push_str(&format!("{}\n", section.title));
        for row in &section.rows {
            let factor = self::ratio(row);
            let line = format!(
                "  {}{}  {}{}  {}{}  {}{factor} {}",
                row.name,
                pad(name - wide(&row.name)),
                pad(first - wide(&row.a)),
                row.a,
                pad(second - wide(&row.b)),
                row.b,
                pad(ratio - wide(&factor)),
                mark(row.ratio),
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out.push_str(&alone(a, b));
    out.push_str(&expectations(a, b));
    out.push_str("\n▲ and ▼: more than a tenth above or below.\n");
    out
}

struct Section {
    title: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    a: String,
    b: String,
    ratio: Ratio,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ratio {
    Of(f64),
    /// Both are 0.
    Same,
    /// One is not there, or the first is 0.
    None,
}

fn run(result: &RunResult) -> String {
    let scenario = &result.scenario;
    let verdict = if result.passed { "passed" } else { "failed" };
    let devices = quantity::count(scenario.devices);
    format!(
        "{}, {devices} devices, {}, {verdict}",
        scenario.name, result.began
    )
}

/// What two runs are not alike in, and how.
fn differences(a: &RunResult, b: &RunResult) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut note = |what: &str, a: &str, b: &str| {
        if a != b {
            found.push((what.to_owned(), format!("{} against {}", named(a), named(b))));
        }
    };
    let (of_a, of_b) = (&a.scenario, &b.scenario);
    note("scenario", &of_a.name, &of_b.name);
    if let Some((line, a, b)) = first_difference(&of_a.text, &of_b.text) {
        note(&format!("scenario, line {line}"), a, b);
    }
    note("command line", &of_a.changed.join(" "), &of_b.changed.join(" "));
    let devices = |result: &RunResult| quantity::count(result.scenario.devices);
    note("devices", &devices(a), &devices(b));
    note(
        "bad devices",
        &quantity::count(of_a.bad_devices),
        &quantity::count(of_b.bad_devices),
    );
    note("seed", &of_a.seed.to_string(), &of_b.seed.to_string());
    note("plan", &of_a.plan, &of_b.plan);
    for (what, of_a, of_b) in [
        ("versions", &a.versions, &b.versions),
        ("machine", &a.machine, &b.machine),
    ] {
        let none = String::new();
        for name in keys(of_a, of_b) {
            let value = |of: &'_ BTreeMap<String, String>| of.get(name).unwrap_or(&none).clone();
            note(
                &format!("{what}, {}", quantity::name(name)),
                &value(of_a),
                &value(of_b),
            );
        }
    }
    note("ended", &a.ended, &b.ended);
    let passed = |result: &RunResult| if result.passed { "passed" } else { "failed" };
    note("verdict", passed(a), passed(b));
    let kinds = |result: &RunResult| {
        let names: Vec<&str> = result.kinds.iter().map(|kind| kind.name.as_str()).collect();
        names.join(", ")
    };
    note("kinds", &kinds(a), &kinds(b));
    found
}

fn named(value: &str) -> String {
    if value.is_empty() {
        "nothing".to_owned()
    } else {
        format!("`{value}`")
    }
}

/// The first line that is not the same in both, counted from 1.
fn first_difference<'a>(a: &'a str, b: &'a str) -> Option<(usize, &'a str, &'a str)> {
    if a == b {
        return None;
    }
    let (mut of_a, mut of_b) = (a.lines(), b.lines());
    for line in 1.. {
        match (of_a.next(), of_b.next()) {
            // The same lines, and another end of the last.
            (None, None) => return Some((line, "the end", "a line's end")),
            (a, b) if a != b => return Some((line, a.unwrap_or("the end"), b.unwrap_or("the end"))),
            (Some(_) | None, Some(_) | None) => {}
        }
    }
    None
}

fn sections(a: &RunResult, b: &RunResult) -> Vec<Section> {
    let sizes = (good(a), good(b));
    let mut sections = vec![
        Section {
            title: "run".to_owned(),
            rows: vec![row("took", Quantity::Seconds, Some(a.took_s), Some(b.took_s))],
        },
        Section {
            title: "per good device".to_owned(),
            rows: per_device(a, b),
        },
        Section {
            title: "latencies".to_owned(),
            rows: latencies("", &a.histograms, &b.histograms, &ALL),
        },
    ];
    let each = if sizes.0 == sizes.1 {
        ""
    } else {
        ", per good device"
    };
    let share = |value: f64, devices: u64| {
        if sizes.0 == sizes.1 {
            value
        } else {
            value / devices.max(1) as f64
        }
    };
    let server = keys(&a.server, &b.server).into_iter().map(|name| {
        let of = |of: &RunResult| of.server.get(name).map(|value| share(*value, good(of)));
        row(&quantity::name(name), exact(name), of(a), of(b))
    });
    sections.push(Section {
        title: format!("the gateway, whole run{each}"),
        rows: server.collect(),
    });
    let counts = keys(&a.counts, &b.counts).into_iter().map(|name| {
        let of = |of: &RunResult| of.counts.get(name).map(|count| share(*count as f64, good(of)));
        row(&quantity::name(name), exact(name), of(a), of(b))
    });
    sections.push(Section {
        title: format!("counts, whole run{each}"),
        rows: counts.collect(),
    });
    for section in &mut sections {
        // What neither run has seen says nothing.
        section.rows.retain(|row| row.ratio != Ratio::Same);
    }
    for of_a in &a.kinds {
        if let Some(of_b) = b.kinds.iter().find(|kind| kind.name == of_a.name) {
            sections.push(kind(of_a, of_b));
        }
    }
    sections
}

/// Good devices: what bad ones cost is not what a device costs.
fn good(result: &RunResult) -> u64 {
    let scenario = &result.scenario;
    scenario.devices.saturating_sub(scenario.bad_devices)
}

/// What was expected of either, and what was seen of it.
fn expectations(a: &RunResult, b: &RunResult) -> String {
    let found = |of: &'_ RunResult, key: &str| of.verdicts.iter().find(|verdict| verdict.key == key).cloned();
    let only_b = b
        .verdicts
        .iter()
        .filter(|verdict| found(a, &verdict.key).is_none());
    let keys: Vec<&str> = a
        .verdicts
        .iter()
        .chain(only_b)
        .map(|verdict| verdict.key.as_str())
        .collect();
    if keys.is_empty() {
        return String::new();
    }
    let told = |of: &RunResult, key: &str| match found(of, key) {
        Some(verdict) if verdict.met => format!("met: {}", verdict.seen),
        Some(verdict) => format!("NOT MET: {}", verdict.seen),
        None => ABSENT.to_owned(),
    };
    let name = keys.iter().map(|key| wide(key)).max().unwrap_or(0);
    let first = keys.iter().map(|key| wide(&told(a, key))).max().unwrap_or(0);
    let mut out = "\nexpectations\n".to_owned();
    for key in keys {
        let (of_a, of_b) = (told(a, key), told(b, key));
        let (after_key, after_a) = (pad(name - wide(key)), pad(first - wide(&of_a)));
        out.push_str(&format!("  {key}{after_key}  A {of_a}{after_a}  B {of_b}\n"));
    }
    out
}

/// Kinds that have nothing to stand beside.
fn alone(a: &RunResult, b: &RunResult) -> String {
    let only = |of: &RunResult, other: &RunResult, name: &str| -> String {
        let kinds = of.kinds.iter();
        let kinds = kinds.filter(|kind| other.kinds.iter().all(|another| another.name != kind.name));
        kinds
            .map(|kind| format!("kind {}: only in {name}\n", kind.name))
            .collect()
    };
    only(a, b, "A") + &only(b, a, "B")
}

fn per_device(a: &RunResult, b: &RunResult) -> Vec<Row> {
    let risen = |of: &RunResult| {
        let (before, connected) = (
            of.server.get("memory_bytes_before")?,
            of.server.get("memory_bytes_connected")?,
        );
        Some((connected - before).max(0.0) / good(of).max(1) as f64)
    };
    let memory = row("gateway, memory risen", Quantity::Bytes, risen(a), risen(b));
    let server = ["cpu_s", "datagrams_in", "datagrams_out"];
    let of_server = server.into_iter().map(|name| {
        let of = |of: &RunResult| of.server.get(name).map(|value| value / good(of).max(1) as f64);
        let title = format!("gateway, {}", quantity::name(name));
        row(&title, Quantity::of_name(name), of(a), of(b))
    });
    let counts = ["datagrams_sent", "datagrams_received"];
    let of_counts = counts.into_iter().map(|name| {
        let of = |of: &RunResult| {
            of.counts
                .get(name)
                .map(|count| *count as f64 / good(of).max(1) as f64)
        };
        row(
            &format!("devices, {}", quantity::name(name)),
            Quantity::of_name(name),
            of(a),
            of(b),
        )
    });
    let rows = of_server.chain([memory]).chain(of_counts);
    rows.filter(|row| row.a != ABSENT || row.b != ABSENT).collect()
}

type Figures = (&'static str, fn(&HistogramFacts) -> f64);

const ALL: [Figures; 7] = [
    ("least", |facts| facts.min as f64),
    ("mean", |facts| facts.mean),
    ("p50", |facts| facts.p50 as f64),
    ("p90", |facts| facts.p90 as f64),
    ("p99", |facts| facts.p99 as f64),
    ("p99.9", |facts| facts.p999 as f64),
    ("greatest", |facts| facts.max as f64),
];

const FEW: [Figures; 2] = [
    ("p50", |facts| facts.p50 as f64),
    ("p99", |facts| facts.p99 as f64),
];

fn latencies(
    of: &str,
    a: &BTreeMap<String, HistogramFacts>,
    b: &BTreeMap<String, HistogramFacts>,
    figures: &[Figures],
) -> Vec<Row> {
    let mut rows = Vec::new();
    for name in keys(a, b) {
        let some =
            |of: &'_ BTreeMap<String, HistogramFacts>| of.get(name).filter(|facts| facts.count > 0).cloned();
        let (of_a, of_b) = (some(a), some(b));
        if of_a.is_none() && of_b.is_none() {
            continue;
        }
        for (title, figure) in figures {
            rows.push(row(
                &format!("{of}{}, {title}", quantity::name(name)),
                Quantity::Micros,
                of_a.as_ref().map(figure),
                of_b.as_ref().map(figure),
            ));
        }
    }
    rows
}

/// Shares and medians of one kind of device, which may be more of them in one run.
fn kind(a: &KindFacts, b: &KindFacts) -> Section {
    let share = |name: &str, of: fn(&KindFacts) -> u64| {
        let of = |kind: &KindFacts| 100.0 * of(kind) as f64 / kind.devices.max(1) as f64;
        row(&format!("{name}, %"), Quantity::Plain, Some(of(a)), Some(of(b)))
    };
    let mut rows = vec![
        row(
            "devices",
            Quantity::Count,
            Some(a.devices as f64),
            Some(b.devices as f64),
        ),
        share("connected", |kind| kind.connected),
        share("converged", |kind| kind.converged),
    ];
    rows.extend(latencies("", &a.histograms, &b.histograms, &FEW));
    Section {
        title: format!("kind {}", a.name),
        rows,
    }
}

fn row(name: &str, quantity: Quantity, a: Option<f64>, b: Option<f64>) -> Row {
    let words =
        |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), |value| quantity.in_words(value));
    let ratio = match (a, b) {
        (Some(0.0), Some(0.0)) => Ratio::Same,
        (Some(a), Some(b)) if a != 0.0 && a.is_finite() && b.is_finite() => Ratio::Of(b / a),
        (Some(_) | None, Some(_) | None) => Ratio::None,
    };
    Row {
        name: name.to_owned(),
        a: words(a),
        b: words(b),
        ratio,
    }
}

fn ratio(row: &Row) -> String {
    match row.ratio {
        Ratio::Of(ratio) => format!("{}×", quantity::figure(ratio)),
        Ratio::Same => "=".to_owned(),
        Ratio::None => ABSENT.to_owned(),
    }
}

fn mark(ratio: Ratio) -> &'static str {
    match ratio {
        Ratio::Of(ratio) if ratio > 1.1 => "▲",
        Ratio::Of(ratio) if ratio < 1.0 / 1.1 => "▼",
        Ratio::Of(_) | Ratio::Same | Ratio::None => "",
    }
}

/// What is counted is shown to the last one where it is whole.
fn exact(name: &str) -> Quantity {
    match Quantity::of_name(name) {
        Quantity::Plain | Quantity::Count => Quantity::Whole,
        Quantity::Micros | Quantity::Seconds | Quantity::Bytes | Quantity::Whole => Quantity::of_name(name),
    }
}

fn keys<'a, T>(a: &'a BTreeMap<String, T>, b: &'a BTreeMap<String, T>) -> BTreeSet<&'a String> {
    a.keys().chain(b.keys()).collect()
}

fn wide(text: &str) -> usize {
    text.chars().count()
}

fn pad(columns: usize) -> String {
    " ".repeat(columns)
}

const ABSENT: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Verdict;
    use crate::result::sample::{self, Run};

    fn run(run: &Run) -> RunResult {
        serde_json::from_value(sample::value(run)).unwrap()
    }

    /// The words of the first row that begins so, after its name.
    fn cells(table: &str, name: &str) -> Vec<String> {
        let rows: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.strip_prefix(name))
            .filter(|rest| rest.starts_with("  "))
            .collect();
        let row = rows
            .first()
            .unwrap_or_else(|| panic!("no row {name} in\n{table}"));
        let cells = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    }

    #[test]
    fn a_run_is_once_itself() {
        let one = run(&Run::small());
        let table = table(&one, &one);
        assert!(table.contains("Alike in scenario"), "{table}");
        assert!(!table.contains("NOT ALIKE"), "{table}");
        assert_eq!(cells(&table, "took"), ["19.4 s", "19.4 s", "1×"]);
        let ratios: Vec<&str> = table.lines().filter(|line| line.contains('×')).collect();
        assert!(ratios.len() > 40, "{table}");
        assert!(ratios.iter().all(|line| line.ends_with(" 1×")), "{table}");
    }

    #[test]
    fn a_ratio_is_the_second_by_the_first_and_marked_where_it_is_large() {
        let one = run(&Run::small());
        let mut other = one.clone();
        other.took_s = one.took_s * 1.05;
        let block = other.histograms.get_mut("block").unwrap();
        block.p99 = 2 * one.histograms["block"].p99;
        block.p50 = one.histograms["block"].p50 / 2;
        other.counts.insert("reports".to_owned(), 0);
        other.counts.insert("rolled_back".to_owned(), 3);
        let text = table(&one, &other);
        assert_eq!(cells(&text, "took")[2], "1.05×");
        assert_eq!(cells(&text, "block, p99")[2], "2× ▲");
        assert!(cells(&text, "block, p50")[2].ends_with("× ▼"));
        assert_eq!(cells(&text, "reports"), ["297", "0", "0× ▼"]);
        assert_eq!(cells(&text, "rolled back"), ["–", "3", "–"]);
        // A ratio to nothing is none, and what neither has seen is no row.
        assert_eq!(cells(&table(&other, &one), "reports"), ["0", "297", "–"]);
        let both = table(&other, &other);
        assert!(!both.lines().any(|line| line.starts_with("  reports ")), "{both}");
    }

    #[test]
    fn what_a_device_costs_is_divided_by_the_good_ones_and_memory_is_what_it_rose_by() {
        let mut one = run(&Run::small());
        one.scenario.bad_devices = 50;
        one.server.insert("cpu_s".to_owned(), 1.0);
        one.server.insert("memory_bytes_before".to_owned(), 1_048_576.0);
        one.server
            .insert("memory_bytes_connected".to_owned(), 1_150_976.0);
        let text = table(&one, &one);
        assert_eq!(cells(&text, "gateway, cpu"), ["20 ms", "20 ms", "1×"]);
        assert_eq!(cells(&text, "gateway, memory risen"), ["2 KiB", "2 KiB", "1×"]);
        assert!(text.contains("per good device"), "{text}");
    }

    #[test]
    fn what_was_expected_of_both_stands_beside_each_other() {
        let verdict = |key: &str, seen: &str, met| Verdict {
            key: key.to_owned(),
            expected: "so much".to_owned(),
            seen: seen.to_owned(),
            met,
        };
        let mut one = run(&Run::small());
        let mut other = one.clone();
        one.verdicts = vec![
            verdict("devices_lost", "0 of 9", true),
            verdict("intruders", "0", true),
        ];
        other.verdicts = vec![
            verdict("devices_lost", "3 of 9", false),
            verdict("block_p99", "1 s", true),
        ];
        let text = table(&one, &other);
        assert_eq!(
            cells(&text, "devices_lost"),
            ["A met: 0 of 9", "B NOT MET: 3 of 9"]
        );
        assert_eq!(cells(&text, "intruders"), ["A met: 0", "B –"]);
        assert_eq!(cells(&text, "block_p99"), ["A –", "B met: 1 s"]);
    }

    #[test]
    fn a_kind_that_only_one_has_is_named() {
        let one = run(&Run::small());
        let mut other = one.clone();
        other.kinds.truncate(1);
        assert!(table(&one, &other).contains("\nkind <b>camera</b>: only in A\n"));
        assert!(table(&other, &one).contains("\nkind <b>camera</b>: only in B\n"));
    }

    #[test]
    fn fleets_of_other_sizes_are_compared_by_the_device() {
        let small = run(&Run::small());
        let large = run(&Run {
            devices: 1_000,
            ..Run::small()
        });
        let table = table(&small, &large);
        assert!(
            table.contains("devices") && table.contains("`100` against `1,000`"),
            "{table}"
        );
        assert!(table.contains("counts, whole run, per good device"), "{table}");
        assert_eq!(cells(&table, "handshakes"), ["1", "1", "1×"]);
        assert_eq!(cells(&table, "devices, datagrams sent")[2], "1×");
        assert_eq!(cells(&table, "gateway, cpu"), ["620 ms", "62 ms", "0.1× ▼"]);
        assert_eq!(cells(&table, "retransmissions"), ["0.0404", "0.0495", "1.22× ▲"]);
    }

    #[test]
    fn what_runs_are_not_alike_in_is_said_first() {
        let one = run(&Run::small());
        let mut other = one.clone();
        other.scenario.text = one.scenario.text.replace("count = 7000", "count = 9000");
        other.scenario.seed = 8;
        other.scenario.plan = "ff".to_owned();
        other.scenario.changed = Vec::new();
        other.versions.insert("profile".to_owned(), "debug".to_owned());
        other.machine.remove("kernel");
        other.kinds.truncate(1);
        other.ended = "time".to_owned();
        let table = table(&one, &other);
        let said: Vec<String> = table
            .lines()
            .skip_while(|line| !line.starts_with("NOT ALIKE"))
            .skip(1)
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            said,
            [
                "scenario, line 6 `count = 7000` against `count = 9000`",
                "command line `--devices 100` against nothing",
                "seed `7` against `8`",
                &format!("plan `{}` against `ff`", one.scenario.plan),
                "versions, profile `release` against `debug`",
                "machine, kernel `6.8.0` against nothing",
                "ended `done` against `time`",
                "kinds `meter, <b>camera</b>` against `meter`",
            ]
        );
        let first = table.find("NOT ALIKE").unwrap();
        assert!(first < table.find("took").unwrap());
    }

    #[test]
    fn empty_and_impossible_results_make_a_table() {
        let mut empty = run(&Run::small());
        empty.histograms.clear();
        empty.kinds.clear();
        empty.server.clear();
        empty.counts.clear();
        empty.scenario.devices = 0;
        empty.took_s = f64::NAN;
        let full = run(&Run::small());
        for (a, b) in [(&empty, &full), (&full, &empty), (&empty, &empty)] {
            let table = table(a, b);
            assert!(cells(&table, "took").contains(&"–".to_owned()), "{table}");
        }
    }
}
