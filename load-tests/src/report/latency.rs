//! The figures of latencies: each histogram whole, as its percentiles.

use data_encoding::BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::figure::{self, Figure, Look, Plot, Room, Table};
use super::ink;
use crate::quantity::{self, Quantity};
use crate::result::{HistogramFacts, RunResult};
use tessera::picture::{self, Axis, Shape};

/// One for each histogram: the known ones in the order of a device's life, then whatever else there is.
pub fn figures(result: &RunResult) -> Vec<Figure> {
    let known = KNOWN.iter().map(|known| {
        let about = format!("{}{}", known.about, left_over(known.id, result));
        let facts = result.histograms.get(known.id);
        one(known.id.to_owned(), known.title, about, facts)
    });
    let others = result
        .histograms
        .iter()
        .filter(|(name, _)| KNOWN.iter().all(|known| known.id != name.as_str()));
    let others = others
        .enumerate()
        .map(|(number, (name, facts))| one(format!("other-{number}"), name, String::new(), Some(facts)));
    known.chain(others).collect()
}

/// What the histogram does not show by itself: who was still waiting, and what never came.
fn left_over(id: &str, result: &RunResult) -> String {
    let count = |name: &str| result.counts.get(name).copied().filter(|count| *count > 0);
    let waiting = count(&format!("{id}s_waiting")).map(|waiting| {
        let words = if waiting == 1 {
            "one that still waits is"
        } else {
            "that still wait are"
        };
        let number = if waiting == 1 {
            String::new()
        } else {
            format!("{} ", quantity::count(waiting))
        };
        format!(" {number}{words} in it with the time waited until the end.")
    });
    let failed = count("requests_failed").filter(|_| id == "block").map(|failed| {
        let requests = if failed == 1 { "request" } else { "requests" };
        format!(
            " {} {requests} that came to nothing, of whatever kind, are in no histogram.",
            quantity::count(failed)
        )
    });
    waiting.or(failed).unwrap_or_default()
}

/// The histogram that the document carries.
fn decoded(facts: &HistogramFacts) -> Result<Histogram<u64>, String> {
    let bytes = BASE64
        .decode(facts.hdr.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut reader = Deserializer::new();
    reader
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| error.to_string())
}

fn one(id: String, title: &str, about: String, facts: Option<&HistogramFacts>) -> Figure {
    let mut figure = Figure {
        id,
        title: title.to_owned(),
        unit: String::new(),
        about,
        keys: Vec::new(),
        plot: Plot::None("no data: the result has no such histogram".to_owned()),
        table: Table::default(),
    };
    let Some(facts) = facts else {
        return figure;
    };
    figure.table = table(facts);
    if facts.count == 0 {
        figure.plot = Plot::None("no data: nothing was measured".to_owned());
        return figure;
    }
    match decoded(facts) {
        Ok(histogram) if histogram.is_empty() => {
            figure.plot = Plot::None("no data: the histogram is empty, whatever its figures say".to_owned());
        }
        Ok(histogram) => {
            figure.unit = "logarithmic".to_owned();
            figure.keys = vec![figure::key(
                ink::FIRST,
                Look::Line,
                format!("{} values", quantity::count(histogram.len())),
            )];
            figure.plot = plot(title, &histogram);
        }
        Err(error) => figure.plot = Plot::None(format!("no plot: the histogram cannot be read: {error}")),
    }
    figure
}

/// The percentiles in equal steps of nines, which is how far into the tail one looks.
fn plot(title: &str, histogram: &Histogram<u64>) -> Plot {
    // On this axis 0 has no place; the clocks' next is 1 µs.
    let micros = |value: u64| value.max(1) as f64;
    let values = histogram.len() as f64;
    // The greatest of n values stands where one in n is: further right is nothing.
    let end = values.log10().clamp(1.0, NINES_MAX);
    let nines = |quantile: f64| (-(1.0 - quantile).max(0.0).log10()).clamp(0.0, end);
    let steps = histogram.iter_quantiles(STEPS_PER_HALF);
    let points: Vec<(f64, u64)> = steps
        .map(|step| (nines(step.quantile_iterated_to()), step.value_iterated_to()))
        .take(POINTS_MAX)
        .collect();
    let marks: Vec<(f64, u64)> = MARKS
        .iter()
        .filter(|quantile| nines(**quantile) < end * MARK_MAX)
        .map(|quantile| (nines(*quantile), histogram.value_at_quantile(*quantile)))
        .collect();
    figure::drawn(
        Room::Third,
        &format!("{title}: percentiles, both axes logarithmic"),
        |_| {
            let x = Axis {
                from: 0.0,
                to: end,
                ticks: TICKS
                    .iter()
                    .map(|(quantile, name)| (-(1.0 - quantile).log10(), (*name).to_owned()))
                    .filter(|(at, _)| *at <= end)
                    .collect(),
            };
            let y = picture::logarithmic(micros(histogram.min()), micros(histogram.max()), |value| {
                Quantity::Micros.with_unit(value)
            });
            (x, y)
        },
        |_, _, y| {
            let at = |value: u64| picture::on_logarithmic(y, micros(value));
            let line: Vec<(f64, f64)> = points.iter().map(|(x, value)| (*x, at(*value))).collect();
            let below = line.iter().map(|(x, upper)| (*x, y.from, *upper)).collect();
            let marks = marks.iter().map(|(x, value)| Shape::Point {
                ink: ink::FIRST,
                at: (*x, at(*value)),
                words: Quantity::Micros.in_words(*value as f64),
            });
            let curve = [
                Shape::Band {
                    ink: ink::WASH,
                    points: below,
                },
                Shape::Line {
                    ink: ink::FIRST,
                    points: line,
                },
            ];
            curve.into_iter().chain(marks).collect()
        },
    )
}

fn table(facts: &HistogramFacts) -> Table {
    let of = |name: &str, value: f64| vec![name.to_owned(), Quantity::Micros.in_words(value)];
    let mut rows = vec![vec!["values".to_owned(), quantity::count(facts.count)]];
    if facts.count > 0 {
        rows.extend([
            of("least", facts.min as f64),
            of("mean", facts.mean),
            of("50 %", facts.p50 as f64),
            of("90 %", facts.p90 as f64),
            of("99 %", facts.p99 as f64),
            of("99.9 %", facts.p999 as f64),
            of("greatest", facts.max as f64),
        ]);
    }
    Table {
        head: vec!["percentile".to_owned(), "latency".to_owned()],
        rows,
    }
}

struct Known {
    id: &'static str,
    title: &'static str,
    about: &'static str,
}

const KNOWN: [Known; 6] = [
    Known {
        id: "handshake",
        title: "Handshake",
        about: "From the moment it was due, which for a device's first is its start as planned, to the session.",
    },
    Known {
        id: "notification",
        title: "Notification",
        about: "From the moment the deployment was due to the device's first sight of it.",
    },
    Known {
        id: "block",
        title: "Block",
        about: "From the first transmission of a block's request to its answer.",
    },
    Known {
        id: "update",
        title: "Update",
        about: "From the moment the deployment was due to the answer to the report of the new version.",
    },
    Known {
        id: "report",
        title: "Report",
        about: "From the first transmission of a report to its answer.",
    },
    Known {
        id: "lateness",
        title: "Lateness of the simulator",
        about: "From the moment it had something to do to the moment it did it. What is not small beside a latency is the \
                simulator's or the machine's, not the gateway's.",
    },
];
const TICKS: [(f64, &str); 7] = [
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "5 nines"),
    (0.999999, "6 nines"),
];
/// Percentiles with a dot and their value.
const MARKS: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
/// How far to the right a dot may be, so that its value is still within the plot.
const MARK_MAX: f64 = 0.84;
/// Further than one in ten million no run of ours looks.
const NINES_MAX: f64 = 7.0;
const STEPS_PER_HALF: u32 = 12;
/// Twelve for each of 64 halvings is the most that the iteration gives.
const POINTS_MAX: usize = 800;
