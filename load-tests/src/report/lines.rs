//! Figures of lines: how much of something there was, over time.

use super::figure::{self, Figure, Key, Look, Plot, Room, Table};
use super::ink;
use super::timeline::{ROWS_MAX, Run, SAMPLES_MAX};
use crate::quantity::{self, Quantity};
use crate::result::Sample;
use tessera::picture::{self, Ink, Shape};

/// One quantity over time.
pub struct Line<'a> {
    /// Its colour.
    pub ink: Ink,
    /// How it is drawn.
    pub look: Look,
    /// What it is.
    pub name: &'a str,
    /// Its value, where there is one.
    pub of: &'a dyn Fn(&Sample) -> Option<f64>,
}

/// What a figure of lines is about.
pub struct Lines<'a> {
    /// Of the figure.
    pub id: &'static str,
    /// Of the figure.
    pub title: &'a str,
    /// How to read it.
    pub about: &'a str,
    /// Whether it is a rate.
    pub per_s: bool,
    /// What all of them are.
    pub quantity: Quantity,
    /// The unit's name where the quantity has none.
    pub unit: &'a str,
    /// Whether the vertical axis is.
    pub logarithmic: bool,
    /// Drawn in this order.
    pub lines: &'a [Line<'a>],
}

impl Run<'_> {
    /// The lines on one plot, with gaps where there is no value.
    pub fn lines(&self, lines: &Lines<'_>) -> Figure {
        let values = |line: &Line<'_>| -> Vec<(f64, Option<f64>)> {
            let of = |sample: &&Sample| {
                (
                    sample.at_s,
                    (line.of)(sample).filter(|value| value.is_finite() && *value >= 0.0),
                )
            };
            self.samples.iter().map(of).collect()
        };
        let all: Vec<Vec<(f64, Option<f64>)>> = lines.lines.iter().map(values).collect();
        let known = || all.iter().flatten().filter_map(|(_, value)| *value);
        let greatest = known().fold(0.0, f64::max);
        let least = known().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let unit = lines.quantity.unit(greatest);
        let named = if unit.name.is_empty() {
            lines.unit
        } else {
            unit.name
        };
        let unit_name = match (lines.logarithmic, lines.per_s) {
            // Its labels have units of their own.
            (true, _) => "logarithmic".to_owned(),
            (false, true) => format!("{named}/s"),
            (false, false) => named.to_owned(),
        };
        let gaps = gaps(&all);
        let mut keys: Vec<Key> = lines
            .lines
            .iter()
            .map(|line| figure::key(line.ink, line.look, line.name))
            .collect();
        if !gaps.is_empty() && !lines.logarithmic {
            keys.push(figure::key(ink::GAP, Look::Area, "the gateway did not answer"));
        }
        let plot = if self.samples.is_empty() {
            Plot::None("no data: the result has no samples".to_owned())
        } else if known().next().is_none() {
            Plot::None("no data: no sample has a value".to_owned())
        } else if lines.logarithmic && !least.is_finite() {
            Plot::None("no data: every value is 0".to_owned())
        } else {
            let scaled = |value: f64| value * unit.factor;
            figure::drawn(
                Room::Half,
                &format!("{} over time, {unit_name}", lines.title),
                |size| {
                    let y = if lines.logarithmic {
                        picture::logarithmic(least, greatest, |value| lines.quantity.with_unit(value))
                    } else {
                        picture::from_zero(scaled(greatest), 5, picture::figure)
                    };
                    (self.time(size), y)
                },
                |size, x, y| {
                    let mut shapes = Vec::new();
                    if !lines.logarithmic {
                        shapes.extend(gaps.iter().map(|(from, to)| Shape::Span {
                            ink: ink::GAP,
                            from: *from,
                            to: *to,
                        }));
                    }
                    let at = |value: f64| {
                        if lines.logarithmic {
                            picture::on_logarithmic(y, value)
                        } else {
                            scaled(value)
                        }
                    };
                    for (line, values) in lines.lines.iter().zip(&all) {
                        for piece in pieces(&peaks(values)) {
                            let points: Vec<(f64, f64)> =
                                piece.into_iter().map(|(x, value)| (x, at(value))).collect();
                            if lines.lines.len() == 1 {
                                let points = points.iter().map(|(x, y)| (*x, 0.0, *y)).collect();
                                shapes.push(Shape::Band {
                                    ink: ink::WASH,
                                    points,
                                });
                            }
                            shapes.push(Shape::Line {
                                ink: line.ink,
                                points,
                            });
                        }
                    }
                    shapes.extend(self.moments(size, x));
                    shapes
                },
            )
        };
        let head = ["time".to_owned()]
            .into_iter()
            .chain(lines.lines.iter().map(|line| line.name.to_owned()));
        let row = |sample: &&Sample| {
            let of = |line: &Line<'_>| {
                let value = (line.of)(sample);
                value.map_or_else(|| "–".to_owned(), |value| with_rate(lines, value))
            };
            [quantity::duration(sample.at_s)]
                .into_iter()
                .chain(lines.lines.iter().map(of))
                .collect()
        };
        Figure {
            id: lines.id.to_owned(),
            title: lines.title.to_owned(),
            unit: unit_name.clone(),
            about: lines.about.to_owned(),
            keys,
            plot,
            table: Table {
                head: head.collect(),
                rows: figure::thinned(&self.samples, ROWS_MAX)
                    .into_iter()
                    .map(row)
                    .collect(),
            },
        }
    }
}

/// From the last value before values are missing to the first after, where a whole line is.
fn gaps(lines: &[Vec<(f64, Option<f64>)>]) -> Vec<(f64, f64)> {
    let mut gaps = Vec::new();
    for line in lines {
        if line.iter().all(|(_, value)| value.is_none()) {
            continue;
        }
        let mut open: Option<f64> = None;
        let mut last = line.first().map_or(0.0, |(at, _)| *at);
        for (at, value) in line {
            match (value, open) {
                (None, None) => open = Some(last),
                (Some(_), Some(from)) => {
                    gaps.push((from, *at));
                    open = None;
                }
                (None, Some(_)) | (Some(_), None) => {}
            }
            last = *at;
        }
        gaps.extend(open.map(|from| (from, last)));
    }
    gaps
}

/// The values between the gaps.
fn pieces(values: &[(f64, Option<f64>)]) -> Vec<Vec<(f64, f64)>> {
    let pieces = values.split(|(_, value)| value.is_none());
    let known = pieces.map(|piece| {
        piece
            .iter()
            .filter_map(|(at, value)| Some((*at, (*value)?)))
            .collect()
    });
    known
        .filter(|piece: &Vec<(f64, f64)>| !piece.is_empty())
        .collect()
}

/// Of many values the least and the greatest of each few, so that no peak is lost; a gap stays one.
fn peaks(values: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let few = values.len().div_ceil(SAMPLES_MAX);
    if few <= 1 {
        return values.to_vec();
    }
    let mut kept = Vec::new();
    for chunk in values.chunks(few * 2) {
        if let Some(gap) = chunk.iter().find(|(_, value)| value.is_none()) {
            kept.push(*gap);
            continue;
        }
        let by_value = |(_, a): &&(f64, Option<f64>), (_, b): &&(f64, Option<f64>)| {
            a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0))
        };
        let mut ends: Vec<(f64, Option<f64>)> =
            [chunk.iter().min_by(by_value), chunk.iter().max_by(by_value)]
                .into_iter()
                .flatten()
                .copied()
                .collect();
        ends.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        ends.dedup();
        kept.extend(ends);
    }
    kept
}

fn with_rate(lines: &Lines<'_>, value: f64) -> String {
    let words = lines.quantity.in_words(value);
    if lines.per_s { format!("{words}/s") } else { words }
}
