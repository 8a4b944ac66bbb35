//! A run as what its figures over time are drawn from: its samples in order, its events, and where both are from left to
//! right.

use crate::result::{EventFacts, RunResult, Sample};
use tessera::picture::{self, Axis, Shape, Size};

/// A run's time.
pub struct Run<'a> {
    /// In the order of their time.
    pub samples: Vec<&'a Sample>,
    /// As the page numbers them.
    pub events: &'a [EventFacts],
    /// Devices with good credentials.
    pub good: u64,
    /// Of the first of both.
    pub from: f64,
    /// Of the last of both.
    pub to: f64,
}

impl<'a> Run<'a> {
    /// Of a whole result.
    pub fn of(result: &'a RunResult) -> Run<'a> {
        let mut samples: Vec<&Sample> = result
            .series
            .iter()
            .filter(|sample| sample.at_s.is_finite())
            .collect();
        samples.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let moments = samples.iter().map(|sample| sample.at_s);
        let events = result
            .events
            .iter()
            .map(|event| event.at_s)
            .filter(|at| at.is_finite());
        let both = moments.chain(events);
        Run {
            from: both.clone().fold(0.0, f64::min),
            to: both.fold(0.0, f64::max),
            samples,
            events: &result.events,
            good: result
                .scenario
                .devices
                .saturating_sub(result.scenario.bad_devices),
        }
    }

    /// The axis that all of them share.
    pub fn time(&self, size: Size) -> Axis {
        let (across, _) = size.plotted();
        picture::time(self.from, self.to, (across / 90.0) as u32)
    }

    /// A line for each event, flagged with its number in the list. Flags that would touch are one, `3–7`; where there are
    /// more lines than a plot can bear, only the first of each flag is drawn.
    pub fn moments(&self, size: Size, x: &Axis) -> Vec<Shape> {
        let mut events: Vec<(usize, f64)> = self.events.iter().map(|event| event.at_s).enumerate().collect();
        events.retain(|(_, at)| at.is_finite());
        events.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let (across, _) = size.plotted();
        let digits = self.events.len().to_string().len() as f64;
        let near = (2.0 * digits + 3.0) * LETTER * (x.to - x.from) / across.max(1.0);
        let mut flags: Vec<(f64, usize, usize)> = Vec::new();
        for (number, at) in &events {
            match flags.last_mut() {
                Some((first, _, last)) if at - *first < near => *last = *number,
                Some(_) | None => flags.push((*at, *number, *number)),
            }
        }
        let lines: Vec<f64> = if events.len() > MOMENTS_MAX {
            flags.iter().map(|(at, ..)| *at).collect()
        } else {
            events.iter().map(|(_, at)| *at).collect()
        };
        let flags = flags.into_iter().map(|(at, from, to)| Shape::Flag {
            at,
            words: if from == to {
                format!("{}", from + 1)
            } else {
                format!("{}–{}", from + 1, to + 1)
            },
        });
        lines
            .into_iter()
            .map(|at| Shape::Moment { at })
            .chain(flags)
            .collect()
    }
}

/// Lines for events; more would be a wall.
const MOMENTS_MAX: usize = 40;
/// Pixels of a letter, about.
pub const LETTER: f64 = 6.6;
/// Samples that a plot is drawn from: the page's widest has three pixels for each.
pub const SAMPLES_MAX: usize = 400;
/// Rows of a figure's table: for reading, not for computing, which the JSON document is for.
pub const ROWS_MAX: usize = 40;
