//! The figures that set kinds of devices against each other: from the median to the 99th percentile of each.

use std::cmp::Reverse;

use super::figure::{self, Figure, Look, Room, Table};
use super::ink;
use crate::quantity::{self, Quantity};
use crate::result::{HistogramFacts, KindFacts};
use tessera::picture::{self, Axis, Shape, Size};

/// One for each latency that two kinds or more have: one alone has nothing beside it.
pub fn figures(kinds: &[KindFacts]) -> Vec<Figure> {
    LATENCIES
        .iter()
        .filter_map(|(id, title)| one(id, title, kinds))
        .collect()
}

fn one(id: &str, title: &str, kinds: &[KindFacts]) -> Option<Figure> {
    let mut measured: Vec<(&KindFacts, &HistogramFacts)> = kinds
        .iter()
        .filter_map(|kind| Some((kind, kind.histograms.get(id).filter(|facts| facts.count > 0)?)))
        .collect();
    if measured.len() < 2 {
        return None;
    }
    let left_out = measured.len().saturating_sub(KINDS_MAX);
    if left_out > 0 {
        measured.sort_by_key(|(kind, _)| Reverse(kind.devices));
        measured.truncate(KINDS_MAX);
    }
    // On a logarithmic axis 0 has no place; the clocks' next is 1 µs.
    let micros = |value: u64| value.max(1) as f64;
    let least = measured
        .iter()
        .map(|(_, facts)| micros(facts.p50))
        .fold(f64::INFINITY, f64::min);
    let greatest = measured
        .iter()
        .map(|(_, facts)| micros(facts.p99))
        .fold(0.0, f64::max);
    let rows = measured.len() as f64;
    let plot = figure::drawn(
        Room::Third,
        &format!("{title} by kind of device, median to 99th percentile, logarithmic"),
        |size| {
            let y = Axis {
                from: 0.0,
                to: rows,
                ticks: Vec::new(),
            };
            (across(size, least, greatest), y)
        },
        |_, x, _| {
            let row = |(place, (kind, facts)): (usize, &(&KindFacts, &HistogramFacts))| {
                let y = rows - place as f64 - BAR;
                let at = |value: u64| (picture::on_logarithmic(x, micros(value)), y);
                let dot = |value: u64| Shape::Line {
                    ink: ink::FIRST,
                    points: vec![at(value)],
                };
                [
                    Shape::Line {
                        ink: ink::FIRST,
                        points: vec![at(facts.p50), at(facts.p99)],
                    },
                    dot(facts.p50),
                    dot(facts.p90),
                    dot(facts.p99),
                    Shape::Name {
                        at: (x.from, y + BAR - 0.5),
                        words: kind.name.clone(),
                    },
                ]
            };
            measured.iter().enumerate().flat_map(row).collect()
        },
    );
    let words = |value: u64| Quantity::Micros.in_words(value as f64);
    let about = match left_out {
        0 => String::new(),
        some => {
            format!("The {KINDS_MAX} kinds with the most devices; the table above has the other {some}, too.")
        }
    };
    Some(Figure {
        id: format!("kinds-{id}"),
        title: title.to_owned(),
        unit: "logarithmic".to_owned(),
        about,
        keys: vec![figure::key(ink::FIRST, Look::Line, "50, 90 and 99 %")],
        plot,
        table: Table {
            head: ["kind", "values", "50 %", "90 %", "99 %", "greatest"]
                .map(str::to_owned)
                .into(),
            rows: measured
                .iter()
                .map(|(kind, facts)| {
                    let figures = [facts.p50, facts.p90, facts.p99, facts.max].map(words);
                    let start = [kind.name.clone(), quantity::count(facts.count)];
                    start.into_iter().chain(figures).collect()
                })
                .collect(),
        },
    })
}

/// Where all labels have no room, those of the decades are left.
fn across(size: Size, least: f64, greatest: f64) -> Axis {
    let mut x = picture::logarithmic(least, greatest, |value| Quantity::Micros.with_unit(value));
    let (pixels, _) = size.plotted();
    if x.ticks.len() as f64 * LABEL > pixels {
        x.ticks.retain(|(at, _)| at.fract().abs() < 1e-9);
    }
    x
}

const LATENCIES: [(&str, &str); 5] = [
    ("handshake", "Handshake by kind"),
    ("notification", "Notification by kind"),
    ("block", "Block by kind"),
    ("update", "Update by kind"),
    ("report", "Report by kind"),
];
/// Kinds of which a plot has room for the names.
const KINDS_MAX: usize = 9;
/// How far below its top the line of a row is; its name is above it.
const BAR: f64 = 0.72;
/// Pixels of a label with the space beside it.
const LABEL: f64 = 62.0;
