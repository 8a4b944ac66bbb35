//! Figures of areas on each other: how many of a whole are what, over time.

use super::figure::{self, Figure, Look, Plot, Room, Table};
use super::timeline::{LETTER, ROWS_MAX, Run, SAMPLES_MAX};
use crate::quantity::{self, Quantity};
use crate::result::Sample;
use tessera::picture::{self, Axis, Ink, Shape, Size};

/// What is stacked.
#[derive(Clone, Copy, Debug)]
pub enum Stacked {
    /// Devices, up to all good ones.
    Devices,
    /// Shares of a hundred.
    Shares,
}

impl Stacked {
    fn unit(self) -> &'static str {
        match self {
            Stacked::Devices => "devices",
            Stacked::Shares => "%",
        }
    }

    fn greatest(self, good: u64) -> f64 {
        match self {
            Stacked::Devices => good as f64,
            Stacked::Shares => 100.0,
        }
    }
}

impl Run<'_> {
    /// Areas on each other; `kinds` and what `parts` gives go from top to bottom.
    pub fn stacked(
        &self,
        id: &str,
        title: &str,
        room: Room,
        kinds: &[(Ink, String)],
        parts: &dyn Fn(&Sample) -> Vec<f64>,
        of: Stacked,
    ) -> Figure {
        let unit = of.unit();
        let keys = kinds
            .iter()
            .map(|(ink, name)| figure::key(*ink, Look::Area, name.clone()));
        let head = ["time".to_owned()]
            .into_iter()
            .chain(kinds.iter().map(|(_, name)| format!("{name}, {unit}")));
        let row = |sample: &&Sample| {
            let time = [quantity::duration(sample.at_s)].into_iter();
            time.chain(
                parts(sample)
                    .into_iter()
                    .map(|part| Quantity::Whole.in_words(part)),
            )
            .collect()
        };
        let plot = match self.samples.as_slice() {
            [] => Plot::None("no data: the result has no samples".to_owned()),
            [_, ..] if self.good == 0 => Plot::None("no data: no device has good credentials".to_owned()),
            samples => {
                let samples = doubled(figure::thinned(samples, SAMPLES_MAX));
                let greatest = of.greatest(self.good);
                figure::drawn(
                    room,
                    &format!("{title} over time, {unit}"),
                    |size| (self.time(size), picture::from_zero(greatest, 5, picture::figure)),
                    |size, x, y| {
                        let bands = bands(&samples, kinds, parts, greatest);
                        let words = bands
                            .iter()
                            .zip(kinds)
                            .filter_map(|(band, (_, name))| amid(band, name, size, x, y));
                        let words: Vec<Shape> = words.collect();
                        let bands = bands
                            .into_iter()
                            .zip(kinds)
                            .map(|(points, (ink, _))| Shape::Band { ink: *ink, points });
                        bands.chain(self.moments(size, x)).chain(words).collect()
                    },
                )
            }
        };
        Figure {
            id: id.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            about: String::new(),
            keys: keys.collect(),
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

type Band = Vec<(f64, f64, f64)>;

/// Lower and upper edges of each kind, the first kind on top.
fn bands(
    samples: &[(f64, &Sample)],
    kinds: &[(Ink, String)],
    parts: &dyn Fn(&Sample) -> Vec<f64>,
    top: f64,
) -> Vec<Band> {
    let mut bands: Vec<Band> = vec![Vec::with_capacity(samples.len()); kinds.len()];
    for (at, sample) in samples {
        let mut below = 0.0;
        for (band, part) in bands.iter_mut().zip(parts(sample)).rev() {
            let upper = (below + part).min(top);
            band.push((*at, below, upper));
            below = upper;
        }
    }
    bands
}

/// A sample that is alone is drawn as if it had lasted a second: an area of no width would not be seen.
fn doubled<'a>(samples: Vec<&&'a Sample>) -> Vec<(f64, &'a Sample)> {
    let mut at: Vec<(f64, &'a Sample)> = samples.into_iter().map(|sample| (sample.at_s, *sample)).collect();
    if let [(only, sample)] = at[..] {
        at.push((only + 1.0, sample));
    }
    at
}

/// The name of a band in the middle of where it is thick enough for it, if it is anywhere.
fn amid(band: &Band, name: &str, size: Size, x: &Axis, y: &Axis) -> Option<Shape> {
    let (across, down) = size.plotted();
    let half = (name.chars().count() as f64 * LETTER / 2.0 + 4.0) * (x.to - x.from) / across;
    let needed = LETTERS_HIGH * (y.to - y.from) / down;
    let edges = |at: f64| {
        if at - half < x.from || at + half > x.to {
            return None;
        }
        let within = band.iter().filter(|(other, ..)| (other - at).abs() <= half);
        let start = (f64::MIN, f64::MAX);
        let (lower, upper) = within.fold(start, |(lower, upper), (_, low, high)| {
            (lower.max(*low), upper.min(*high))
        });
        (upper - lower >= needed).then_some((lower, upper))
    };
    // More room than for three lines looks no better.
    let rooms: Vec<(f64, f64)> = band
        .iter()
        .filter_map(|(at, ..)| edges(*at).map(|(lower, upper)| (*at, (upper - lower).min(3.0 * needed))))
        .collect();
    let most = rooms.iter().map(|(_, room)| *room).fold(0.0, f64::max);
    let good: Vec<f64> = rooms
        .into_iter()
        .filter(|(_, room)| *room >= 0.9 * most)
        .map(|(at, _)| at)
        .collect();
    // The longest stretch without a hole.
    let stretches = good.chunk_by(|a, b| b - a <= half);
    let longest = stretches.max_by(|a, b| length(a).total_cmp(&length(b)))?;
    let at = *longest.get(longest.len() / 2)?;
    let (lower, upper) = edges(at)?;
    Some(Shape::Words {
        at: (at, (lower + upper) / 2.0),
        words: name.to_owned(),
    })
}

fn length(stretch: &[f64]) -> f64 {
    match stretch {
        [] => 0.0,
        [first, ..] => stretch.last().map_or(0.0, |last| last - first),
    }
}

/// Pixels of a line of letters, with some air.
const LETTERS_HIGH: f64 = 17.0;
