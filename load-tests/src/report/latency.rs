//! The figures of latencies: each histogram whole, as its percentiles.

use data_encoding::BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::draw::{Axis, Ink, Shape};
use super::figure::{self, Figure, Look, Plot, Room, Table};
use crate::quantity::{self, Quantity};
use crate::result::{HistogramFacts, RunResult};

/// One for each histogram: the known ones in the order of a device's life, then whatever else there is.
pub fn figures(result: &RunResult) -> Vec<Figure> {
    let known = KNOWN.iter().map(|known| {
        one(
            known.id,
            known.title,
            known.about,
            result.histograms.get(known.id),
        )
    });
    let others = result
        .histograms
        .iter()
        .filter(|(name, _)| KNOWN.iter().all(|known| known.id != name.as_str()));
    let others = others.map(|(name, facts)| one("other-latency", name, "", Some(facts)));
    known.chain(others).collect()
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

fn one(id: &'static str, title: &str, about: &str, facts: Option<&HistogramFacts>) -> Figure {
    let mut figure = Figure {
        id,
        title: title.to_owned(),
        unit: String::new(),
        about: about.to_owned(),
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
                Ink::First,
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
            let y = figure::logarithmic(micros(histogram.min()), micros(histogram.max()), |value| {
                Quantity::Micros.with_unit(value)
            });
            (x, y)
        },
        |_, _, y| {
            let at = |value: u64| figure::on_logarithmic(y, micros(value));
            let line: Vec<(f64, f64)> = points.iter().map(|(x, value)| (*x, at(*value))).collect();
            let below = line.iter().map(|(x, upper)| (*x, y.from, *upper)).collect();
            let marks = marks.iter().map(|(x, value)| Shape::Point {
                ink: Ink::First,
                at: (*x, at(*value)),
                words: Quantity::Micros.in_words(*value as f64),
            });
            let curve = [
                Shape::Band {
                    ink: Ink::Wash,
                    points: below,
                },
                Shape::Line {
                    ink: Ink::First,
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

const KNOWN: [Known; 5] = [
    Known {
        id: "handshake",
        title: "Handshake",
        about: "From the first ClientHello to the session, what was sent again included.",
    },
    Known {
        id: "notification",
        title: "Notification",
        about: "From the deployment being asked for to the device hearing of it.",
    },
    Known {
        id: "block",
        title: "Block",
        about: "From a block's first request to its answer, what was sent again included.",
    },
    Known {
        id: "update",
        title: "Update",
        about: "From the deployment being asked for to the device running and reporting it.",
    },
    Known {
        id: "lateness",
        title: "Lateness of the simulator",
        about: "How late its own timers were: what is not small beside a latency above belongs to the simulator or to the \
                machine, not to the gateway.",
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
