//! The result of a run as a page to look at: one HTML file that needs nothing else, no script and no network.
//!
//! 1. [`over_time`] and [`latency`] say which figures there are, [`by_kind`] those of kinds of devices; [`figure`] says what a figure is
//! 2. [`stacked`] and [`lines`] lay out those over time, which have a [`timeline`] in common
//! 3. [`tessera::picture`] makes SVG of them
//! 4. `templates/report.html` puts them, the verdicts and the facts on a page; `templates/report.css` says how it looks

mod by_kind;
mod figure;
mod ink;
mod latency;
mod lines;
mod over_time;
mod stacked;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeSet;

use askama::Template;

use crate::quantity::{self, Quantity};
use crate::result::{EventFacts, KindFacts, RunResult};
use figure::{Figure, Plot, Table};

/// The page.
pub fn html(result: &RunResult) -> String {
    let page = Page::of(result);
    let page = page
        .render()
        .expect("a template writes into a string, which takes everything");
    // Neither HTML nor a reader knows what to do with these; a name out of a broken file may hold them.
    let unprintable =
        |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}');
    page.replace(unprintable, "\u{fffd}")
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    result: &'a RunResult,
    /// What became of it, in a sentence.
    summary: String,
    /// The figures that one asks for first.
    glance: Vec<(&'static str, String, String)>,
    events: Vec<EventRow<'a>>,
    /// Events beyond those listed.
    more_events: usize,
    /// Whether there are too many events to have them all before one's eyes.
    folded: bool,
    progress: Figure,
    over_time: Vec<Figure>,
    latencies: Vec<Figure>,
    latencies_by_kind: Vec<Figure>,
    kinds: Table,
    kind_counts: Table,
    counts: Vec<(String, String)>,
    server: Vec<(String, String)>,
    facts: Vec<(String, String)>,
}

struct EventRow<'a> {
    number: usize,
    at: String,
    event: &'a EventFacts,
    devices: String,
}

impl<'a> Page<'a> {
    fn of(result: &'a RunResult) -> Page<'a> {
        let (progress, over_time) = over_time::figures(result);
        let events = result.events.iter().enumerate().take(EVENTS_LISTED_MAX);
        Page {
            summary: summary(result),
            glance: glance(result),
            events: events
                .map(|(number, event)| EventRow {
                    number: number + 1,
                    at: quantity::duration(event.at_s),
                    event,
                    devices: quantity::count(event.devices),
                })
                .collect(),
            more_events: result.events.len().saturating_sub(EVENTS_LISTED_MAX),
            folded: result.events.len() > EVENTS_OPEN_MAX,
            progress,
            over_time,
            latencies: latency::figures(result),
            latencies_by_kind: by_kind::figures(&result.kinds),
            kinds: kinds(&result.kinds),
            kind_counts: kind_counts(&result.kinds),
            counts: result
                .counts
                .iter()
                .map(|(name, count)| (quantity::name(name), in_words(name, *count as f64)))
                .collect(),
            server: result
                .server
                .iter()
                .map(|(name, value)| (quantity::name(name), in_words(name, *value)))
                .collect(),
            facts: facts(result),
            result,
        }
    }
}

fn summary(result: &RunResult) -> String {
    let met = result.verdicts.iter().filter(|verdict| verdict.met).count();
    let expectations = match (met, result.verdicts.len()) {
        (_, 0) => "nothing was expected of it".to_owned(),
        (1, 1) => "its expectation was met".to_owned(),
        (met, all) if met == all => format!("all {all} expectations were met"),
        (met, all) => format!("{met} of {all} expectations were met"),
    };
    let end = match result.ended.as_str() {
        "done" => "it ended by itself".to_owned(),
        "time" => "its time was up".to_owned(),
        other => format!("it ended with “{other}”"),
    };
    format!(
        "{expectations}; {end} after {}",
        quantity::duration(result.took_s)
    )
}

fn glance(result: &RunResult) -> Vec<(&'static str, String, String)> {
    let scenario = &result.scenario;
    let devices = scenario.devices;
    let bad = match scenario.bad_devices {
        0 => "all of them good".to_owned(),
        bad => format!("{} of them bad", quantity::count(bad)),
    };
    let mut glance = vec![("Devices", quantity::count(devices), bad)];
    if let Some(last) = result.series.last() {
        let share = if last.wanted > 0 {
            format!("of {} wanted", quantity::count(last.wanted))
        } else {
            "nothing was deployed".to_owned()
        };
        glance.push(("Converged at the end", quantity::count(last.converged), share));
    }
    for (name, title) in [
        ("handshake", "Handshake, p99"),
        ("notification", "Notification, p99"),
        ("block", "Block, p99"),
        ("update", "Update, p99"),
    ] {
        if let Some(facts) = result.histograms.get(name).filter(|facts| facts.count > 0) {
            let median = format!("median {}", Quantity::Micros.in_words(facts.p50 as f64));
            glance.push((title, Quantity::Micros.in_words(facts.p99 as f64), median));
        }
    }
    // As the expectations have it.
    let good = devices.saturating_sub(scenario.bad_devices);
    let each = |value: f64| value / good.max(1) as f64;
    if let Some(cpu) = result.server.get("cpu_s") {
        let whole = format!("gateway: {}", Quantity::Seconds.in_words(*cpu));
        glance.push(("CPU per device", Quantity::Seconds.in_words(each(*cpu)), whole));
    }
    let memory = |when: &str| result.server.get(&format!("memory_bytes_{when}"));
    if let (Some(before), Some(connected)) = (memory("before"), memory("connected")) {
        let words = |bytes: f64| Quantity::Bytes.in_words(bytes);
        let whole = format!("gateway: {} to {}", words(*before), words(*connected));
        let rise = (connected - before).max(0.0);
        glance.push(("Memory per device", words(each(rise)), whole));
    }
    glance
}

fn facts(result: &RunResult) -> Vec<(String, String)> {
    let scenario = &result.scenario;
    let changed = if scenario.changed.is_empty() {
        "nothing".to_owned()
    } else {
        scenario.changed.join(" ")
    };
    let mut facts = vec![
        ("began".to_owned(), result.began.clone()),
        ("took".to_owned(), quantity::duration(result.took_s)),
        ("ended".to_owned(), result.ended.clone()),
        ("changed by the command line".to_owned(), changed),
        ("seed".to_owned(), scenario.seed.to_string()),
        ("plan".to_owned(), scenario.plan.clone()),
    ];
    facts.extend(
        result
            .versions
            .iter()
            .map(|(name, value)| (quantity::name(name), value.clone())),
    );
    for (name, value) in &result.machine {
        let words = match value.parse::<f64>() {
            Ok(bytes) if Quantity::of_name(name) == Quantity::Bytes => Quantity::Bytes.in_words(bytes),
            Ok(_) | Err(_) => value.clone(),
        };
        facts.push((quantity::name(name), words));
    }
    facts
}

fn kinds(kinds: &[KindFacts]) -> Table {
    let names: BTreeSet<&str> = kinds
        .iter()
        .flat_map(|kind| kind.histograms.keys().map(String::as_str))
        .collect();
    let known = ["handshake", "notification", "block", "update"];
    let mut order: Vec<&str> = known.into_iter().filter(|name| names.contains(name)).collect();
    order.extend(names.iter().filter(|name| !known.contains(name)));
    let mut head: Vec<String> = ["kind", "devices", "connected", "converged"]
        .map(str::to_owned)
        .into();
    head.extend(
        order
            .iter()
            .map(|name| format!("{}, p50 / p99", quantity::name(name))),
    );
    let row = |kind: &KindFacts| {
        let counts = [kind.devices, kind.connected, kind.converged].map(quantity::count);
        let latencies = order.iter().map(|name| match kind.histograms.get(*name) {
            Some(facts) if facts.count > 0 => {
                let words = |micros: u64| Quantity::Micros.in_words(micros as f64);
                format!("{} / {}", words(facts.p50), words(facts.p99))
            }
            Some(_) | None => "–".to_owned(),
        });
        let name = if kind.what.is_empty() {
            kind.name.clone()
        } else {
            format!("{}: {}", kind.name, kind.what)
        };
        [name].into_iter().chain(counts).chain(latencies).collect()
    };
    Table {
        rows: kinds.iter().map(row).collect(),
        head,
    }
}

/// Counts down, kinds across: there are more counts than kinds.
fn kind_counts(kinds: &[KindFacts]) -> Table {
    let names: BTreeSet<&String> = kinds.iter().flat_map(|kind| kind.counts.keys()).collect();
    let head = ["count".to_owned()]
        .into_iter()
        .chain(kinds.iter().map(|kind| kind.name.clone()));
    let row = |name: &&String| {
        let of = |kind: &KindFacts| {
            kind.counts
                .get(*name)
                .map_or_else(|| "–".to_owned(), |count| quantity::count(*count))
        };
        [quantity::name(name)]
            .into_iter()
            .chain(kinds.iter().map(of))
            .collect()
    };
    Table {
        head: head.collect(),
        rows: names.iter().map(row).collect(),
    }
}

fn in_words(name: &str, value: f64) -> String {
    match Quantity::of_name(name) {
        Quantity::Plain => Quantity::Whole.in_words(value),
        quantity => quantity.in_words(value),
    }
}

/// Events that are listed openly.
const EVENTS_OPEN_MAX: usize = 24;

/// Events that the page lists; the JSON document has them all.
const EVENTS_LISTED_MAX: usize = 200;
